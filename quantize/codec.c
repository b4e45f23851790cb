#include "codec.h"

#include "halves.h"
#include "kernels.h"

#if defined(NB_HAVE_X86)
#include <cpuid.h>
#endif
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

extern const struct nb_kernels nb_kernels_scalar;
#if defined(NB_HAVE_X86)
extern const struct nb_kernels nb_kernels_sse2, nb_kernels_avx2, nb_kernels_avx512;
#elif defined(NB_HAVE_NEON)
extern const struct nb_kernels nb_kernels_neon;
#endif

static int
always(void)
{
    return 1;
}

#if defined(NB_HAVE_X86)
/* The instructions for half floats; clang 14 cannot be asked for these by name. */
static int
has_f16c(void)
{
    unsigned a, b, c, d;

    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C) != 0;
}

static int
has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && has_f16c();
}

static int
has_avx512(void)
{
    return has_f16c() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}
#endif

/* Slowest first. */
static const struct tier {
    const struct nb_kernels *kernels;
    int (*runs_here)(void);
} tiers[] = {
    { &nb_kernels_scalar, always },
#if defined(NB_HAVE_X86)
    { &nb_kernels_sse2, always },
    { &nb_kernels_avx2, has_avx2 },
    { &nb_kernels_avx512, has_avx512 },
#elif defined(NB_HAVE_NEON)
    { &nb_kernels_neon, always },
#endif
};

#define N_TIERS (sizeof tiers / sizeof tiers[0])

/* The once-chosen table: the library's only global state. */
static _Atomic(const struct nb_kernels *) chosen;

static const struct nb_kernels *
fastest(void)
{
    const struct nb_kernels *best = NULL;

    for (size_t i = 0; i < N_TIERS; i++)
        if (tiers[i].runs_here())
            best = tiers[i].kernels;
    return best;
}

static const struct nb_kernels *
kernels(void)
{
    const struct nb_kernels *k = atomic_load_explicit(&chosen, memory_order_relaxed);

    if (k == NULL) {
        k = fastest(); /* the same for every thread that comes here at once */
        atomic_store_explicit(&chosen, k, memory_order_relaxed);
    }
    return k;
}

const char *
nb_tier(void)
{
    return kernels()->tier;
}

bool
nb_tier_set(const char *name)
{
    if (name == NULL) {
        atomic_store(&chosen, fastest());
        return true;
    }
    for (size_t i = 0; i < N_TIERS; i++) {
        if (strcmp(tiers[i].kernels->tier, name) == 0 && tiers[i].runs_here()) {
            atomic_store(&chosen, tiers[i].kernels);
            return true;
        }
    }
    return false;
}

const char *const *
nb_tiers(void)
{
    static const char *names[N_TIERS + 1];
    size_t n = 0;

    for (size_t i = 0; i < N_TIERS; i++)
        if (tiers[i].runs_here())
            names[n++] = tiers[i].kernels->tier;
    return names;
}

enum nb_status
nb_tier_from_environment(struct nb_error *err)
{
    const char *name = getenv("NIBBLE_CPU");

    if (name == NULL || *name == '\0' || nb_tier_set(name))
        return NB_OK;
    return nb_fail(err, NB_USAGE, "NIBBLE_CPU=%s: this machine cannot run that (it runs up to %s)", name,
                   fastest()->tier);
}

bool
nb_can_encode(enum nb_type type)
{
    return (unsigned)type < NB_GGUF_TYPES && nb_kernels_scalar.encode[type] != NULL;
}

bool
nb_can_decode(enum nb_type type)
{
    return (unsigned)type < NB_TYPES && nb_kernels_scalar.decode[type] != NULL;
}

void
nb_encode(enum nb_type type, const float *x, size_t rows, size_t columns, const float *importance, void *out)
{
    kernels()->encode[type](x, rows, columns, importance, out);
}

void
nb_decode(enum nb_type type, const void *from, size_t count, float *out)
{
    kernels()->decode[type](from, count, out);
}

/* What is to be known of a type beside its kernels: what importance is to it, and where half-float scales are. */
static const struct {
    enum nb_importance importance;
    uint8_t scales, at[2];
} traits[NB_GGUF_TYPES] = {
    [NB_Q4_0] = { NB_IMPORTANCE_USED, 1, { 0 } },
    [NB_Q4_1] = { NB_IMPORTANCE_USED, 2, { 0, 2 } },
    [NB_Q5_0] = { NB_IMPORTANCE_USED, 1, { 0 } },
    [NB_Q5_1] = { NB_IMPORTANCE_USED, 2, { 0, 2 } },
    [NB_Q8_0] = { NB_IMPORTANCE_IGNORED, 1, { 0 } },
    [NB_Q8_1] = { NB_IMPORTANCE_IGNORED, 2, { 0, 2 } },
    [NB_Q2_K] = { NB_IMPORTANCE_USED, 2, { 80, 82 } },
    [NB_Q3_K] = { NB_IMPORTANCE_USED, 1, { 108 } },
    [NB_Q4_K] = { NB_IMPORTANCE_USED, 2, { 0, 2 } },
    [NB_Q5_K] = { NB_IMPORTANCE_USED, 2, { 0, 2 } },
    [NB_Q6_K] = { NB_IMPORTANCE_USED, 1, { 208 } },
    [NB_IQ1_S] = { NB_IMPORTANCE_NEEDED, 1, { 0 } },
    [NB_IQ1_M] = { NB_IMPORTANCE_USED, 0, { 0 } },
    [NB_IQ2_XXS] = { NB_IMPORTANCE_NEEDED, 1, { 0 } },
    [NB_IQ2_XS] = { NB_IMPORTANCE_NEEDED, 1, { 0 } },
    [NB_IQ2_S] = { NB_IMPORTANCE_USED, 1, { 0 } },
    [NB_IQ3_XXS] = { NB_IMPORTANCE_USED, 1, { 0 } },
    [NB_IQ3_S] = { NB_IMPORTANCE_USED, 1, { 0 } },
    [NB_IQ4_NL] = { NB_IMPORTANCE_USED, 1, { 0 } },
    [NB_IQ4_XS] = { NB_IMPORTANCE_USED, 1, { 0 } },
    [NB_TQ1_0] = { NB_IMPORTANCE_IGNORED, 1, { 52 } },
    [NB_TQ2_0] = { NB_IMPORTANCE_IGNORED, 1, { 64 } },
    [NB_Q1_0] = { NB_IMPORTANCE_IGNORED, 1, { 0 } },
    [NB_Q2_0] = { NB_IMPORTANCE_IGNORED, 1, { 0 } },
};

enum nb_importance
nb_importance_of(enum nb_type type)
{
    return (unsigned)type < NB_GGUF_TYPES ? traits[type].importance : NB_IMPORTANCE_IGNORED;
}

/* The scales that are no half floats in one place; NVFP4's cannot be NaN, since readers take its NaN for 0. */
static bool
is_bad_odd_scale(enum nb_type type, const unsigned char *block)
{
    uint32_t bits;

    switch (type) {
    case NB_MXFP4: /* the first byte is a power of two; the highest stands for NaN */
        return block[0] == 0xFF;
    case NB_Q8_K: /* a float in front */
        memcpy(&bits, block, sizeof bits);
        return (bits & 0x7F800000) == 0x7F800000;
    case NB_IQ1_M: /* four bits at the top of each of four words; the exponent is in the last two */
        return (block[55] & 0x70) == 0x70 && (block[53] & 0xC0) == 0xC0;
    default:
        return false;
    }
}

static bool
is_bad_half(const unsigned char *at)
{
    uint16_t half;

    memcpy(&half, at, sizeof half);
    return (half & 0x7C00) == 0x7C00;
}

static size_t
find_bad_scale(enum nb_type type, const unsigned char *blocks, size_t count)
{
    const struct nb_type_info *info = nb_type_info(type);
    const size_t n = count / info->block, step = info->block_bytes;
    const unsigned char *a = blocks + traits[type].at[0], *b = blocks + traits[type].at[1];

    switch (traits[type].scales) {
    case 1:
        for (size_t i = 0; i < n; i++)
            if (is_bad_half(a + i * step))
                return i * info->block;
        return count;
    case 2:
        for (size_t i = 0; i < n; i++)
            if (is_bad_half(a + i * step) || is_bad_half(b + i * step))
                return i * info->block;
        return count;
    default:
        for (size_t i = 0; i < n; i++)
            if (is_bad_odd_scale(type, blocks + i * step))
                return i * info->block;
        return count;
    }
}

size_t
nb_find_bad_code(enum nb_type type, const void *from, size_t count)
{
    const struct nb_type_info *info = nb_type_info(type);
    const unsigned char *block = from;

    if (type != NB_NVFP4 && type != NB_TQ2_0)
        return count;
    for (size_t i = 0; i < count; i += info->block, block += info->block_bytes) {
        unsigned bad = 0;

        if (type == NB_NVFP4) /* four scales in front */
            for (unsigned k = 0; k < 4; k++)
                bad |= block[k] >= 0x7F;
        else /* four codes of two bits in each of 64 bytes */
            for (unsigned k = 0; k < 64; k++)
                bad |= block[k] & (block[k] >> 1) & 0x55u;
        if (bad != 0)
            return i;
    }
    return count;
}

size_t
nb_find_nonfinite(enum nb_type type, const void *from, size_t count)
{
    const struct nb_type_info *info = nb_type_info(type);
    nb_nonfinite_fn *any = kernels()->nonfinite[type];

    if (info->kind == NB_KIND_BLOCK)
        return type < NB_GGUF_TYPES ? find_bad_scale(type, from, count) : count;
    if (any == NULL || !any(from, count))
        return count;
    for (size_t i = 0; i < count; i++)
        if (any((const char *)from + i * info->block_bytes, 1))
            return i;
    return count;
}
