#include "types.h"

#include "checked.h"

#include <stddef.h>
#include <string.h>
#include <strings.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "The files are little-endian, and so must the machine be: their numbers are used as they lie."
#endif

#define FLOAT(name, dtype, bytes) { name, dtype, NB_KIND_FLOAT, 1, bytes }
#define INTEGER(name, dtype, bytes) { name, dtype, NB_KIND_INTEGER, 1, bytes }
#define BLOCK(name, elements, bytes) { name, NULL, NB_KIND_BLOCK, elements, bytes }

/* Names, block lengths and sizes: ggml's type traits, llama.cpp v0.5.0. */
static const struct nb_type_info table[NB_TYPES] = {
    [NB_F32] = FLOAT("f32", "F32", 4),
    [NB_F16] = FLOAT("f16", "F16", 2),
    [NB_BF16] = FLOAT("bf16", "BF16", 2),
    [NB_F64] = FLOAT("f64", "F64", 8),
    [NB_I8] = INTEGER("i8", "I8", 1),
    [NB_I16] = INTEGER("i16", "I16", 2),
    [NB_I32] = INTEGER("i32", "I32", 4),
    [NB_I64] = INTEGER("i64", "I64", 8),
    [NB_Q4_0] = BLOCK("q4_0", 32, 18),
    [NB_Q4_1] = BLOCK("q4_1", 32, 20),
    [NB_Q5_0] = BLOCK("q5_0", 32, 22),
    [NB_Q5_1] = BLOCK("q5_1", 32, 24),
    [NB_Q8_0] = BLOCK("q8_0", 32, 34),
    [NB_Q8_1] = BLOCK("q8_1", 32, 36),
    [NB_Q2_K] = BLOCK("q2_K", 256, 84),
    [NB_Q3_K] = BLOCK("q3_K", 256, 110),
    [NB_Q4_K] = BLOCK("q4_K", 256, 144),
    [NB_Q5_K] = BLOCK("q5_K", 256, 176),
    [NB_Q6_K] = BLOCK("q6_K", 256, 210),
    [NB_Q8_K] = BLOCK("q8_K", 256, 292),
    [NB_IQ1_S] = BLOCK("iq1_s", 256, 50),
    [NB_IQ1_M] = BLOCK("iq1_m", 256, 56),
    [NB_IQ2_XXS] = BLOCK("iq2_xxs", 256, 66),
    [NB_IQ2_XS] = BLOCK("iq2_xs", 256, 74),
    [NB_IQ2_S] = BLOCK("iq2_s", 256, 82),
    [NB_IQ3_XXS] = BLOCK("iq3_xxs", 256, 98),
    [NB_IQ3_S] = BLOCK("iq3_s", 256, 110),
    [NB_IQ4_NL] = BLOCK("iq4_nl", 32, 18),
    [NB_IQ4_XS] = BLOCK("iq4_xs", 256, 136),
    [NB_TQ1_0] = BLOCK("tq1_0", 256, 54),
    [NB_TQ2_0] = BLOCK("tq2_0", 256, 66),
    [NB_MXFP4] = BLOCK("mxfp4", 32, 17),
    [NB_NVFP4] = BLOCK("nvfp4", 64, 36),
    [NB_Q1_0] = BLOCK("q1_0", 128, 18),
    [NB_Q2_0] = BLOCK("q2_0", 64, 18),
    [NB_F8_E4M3] = FLOAT("f8_e4m3", "F8_E4M3", 1),
    [NB_F8_E5M2] = FLOAT("f8_e5m2", "F8_E5M2", 1),
    [NB_F8_E8M0] = INTEGER("f8_e8m0", "F8_E8M0", 1), /* scales only: not a weight */
    [NB_BOOL] = INTEGER("bool", "BOOL", 1),
    [NB_U8] = INTEGER("u8", "U8", 1),
    [NB_U16] = INTEGER("u16", "U16", 2),
    [NB_U32] = INTEGER("u32", "U32", 4),
    [NB_U64] = INTEGER("u64", "U64", 8),
};

const struct nb_type_info *
nb_type_info(enum nb_type type)
{
    static const struct nb_type_info none = { "unknown", NULL, NB_KIND_NONE, 1, 0 };

    if ((unsigned)type >= NB_TYPES || table[type].kind == NB_KIND_NONE)
        return &none;
    return &table[type];
}

enum nb_type
nb_type_by_name(const char *name)
{
    for (unsigned i = 0; i < NB_GGUF_TYPES; i++)
        if (table[i].name != NULL && strcasecmp(table[i].name, name) == 0)
            return (enum nb_type)i;
    return NB_TYPE_NONE;
}

enum nb_type
nb_type_by_safetensors(const char *dtype)
{
    for (unsigned i = 0; i < NB_TYPES; i++)
        if (table[i].safetensors != NULL && strcmp(table[i].safetensors, dtype) == 0)
            return (enum nb_type)i;
    return NB_TYPE_NONE;
}

bool
nb_type_bytes(enum nb_type type, uint64_t count, uint64_t *bytes)
{
    const struct nb_type_info *info = nb_type_info(type);

    return info->kind != NB_KIND_NONE && count % info->block == 0 &&
           nb_mul_u64(count / info->block, info->block_bytes, bytes);
}

double
nb_type_bpw(enum nb_type type)
{
    const struct nb_type_info *info = nb_type_info(type);

    return 8.0 * info->block_bytes / info->block;
}
