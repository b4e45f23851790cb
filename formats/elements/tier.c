#include "formats/elements/tier.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static int
runs_scalar(void)
{
    return 1;
}

#if defined(__x86_64__)
/* Whether the CPU has the half-float instructions; clang 14 cannot test for them by name. */
static int
has_f16c(void)
{
    unsigned a, b, c, d;

    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C) != 0;
}

static int
runs_sse2(void)
{
    return 1;
}

static int
runs_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
}

static int
runs_avx512(void)
{
    return has_f16c() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}
#elif defined(__aarch64__)
static int
runs_neon(void)
{
    return 1;
}
#endif

/* Slowest first. */
static const struct tier {
    const char *name;
    int (*runs_here)(void);
} tiers[] = {
#define ROW(tier) { #tier, runs_##tier },
    NB_TIERS(ROW)
#undef ROW
};

#define N_TIERS (sizeof tiers / sizeof tiers[0])
#define UNCHOSEN N_TIERS

/* The once-chosen tier: the library's only global state. */
static atomic_uint chosen = UNCHOSEN;

static unsigned
fastest(void)
{
    unsigned best = 0;

    for (unsigned i = 0; i < N_TIERS; i++)
        if (tiers[i].runs_here())
            best = i;
    return best;
}

unsigned
nb_tier_index(void)
{
    unsigned index = atomic_load_explicit(&chosen, memory_order_relaxed);

    if (index == UNCHOSEN) {
        index = fastest(); /* all threads that get here at the same time choose the same */
        atomic_store_explicit(&chosen, index, memory_order_relaxed);
    }
    return index;
}

const char *
nb_tier(void)
{
    return tiers[nb_tier_index()].name;
}

bool
nb_tier_set(const char *name)
{
    if (name == NULL) {
        atomic_store(&chosen, fastest());
        return true;
    }
    for (unsigned i = 0; i < N_TIERS; i++) {
        if (strcmp(tiers[i].name, name) == 0 && tiers[i].runs_here()) {
            atomic_store(&chosen, i);
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
            names[n++] = tiers[i].name;
    return names;
}

enum nb_status
nb_tier_from_environment(struct nb_error *err)
{
    const char *name = getenv("NIBBLE_CPU");

    if (name == NULL || *name == '\0' || nb_tier_set(name))
        return NB_OK;
    return nb_fail(err, NB_USAGE, "NIBBLE_CPU=%s: this machine cannot run that (it runs up to %s)", name,
                   tiers[fastest()].name);
}
