/*
 * The table of tensor types: everything a GGUF file can hold, and the few
 * dtypes that only checkpoints have.
 */
#ifndef NB_TYPES_H
#define NB_TYPES_H

#include <stdbool.h>
#include <stdint.h>

/* The first group has the numbers of the GGUF format; gaps are ids it has withdrawn. */
enum nb_type {
    NB_F32 = 0,
    NB_F16 = 1,
    NB_Q4_0 = 2,
    NB_Q4_1 = 3,
    NB_Q5_0 = 6,
    NB_Q5_1 = 7,
    NB_Q8_0 = 8,
    NB_Q8_1 = 9,
    NB_Q2_K = 10,
    NB_Q3_K = 11,
    NB_Q4_K = 12,
    NB_Q5_K = 13,
    NB_Q6_K = 14,
    NB_Q8_K = 15,
    NB_IQ2_XXS = 16,
    NB_IQ2_XS = 17,
    NB_IQ3_XXS = 18,
    NB_IQ1_S = 19,
    NB_IQ4_NL = 20,
    NB_IQ3_S = 21,
    NB_IQ2_S = 22,
    NB_IQ4_XS = 23,
    NB_I8 = 24,
    NB_I16 = 25,
    NB_I32 = 26,
    NB_I64 = 27,
    NB_F64 = 28,
    NB_IQ1_M = 29,
    NB_BF16 = 30,
    NB_TQ1_0 = 34,
    NB_TQ2_0 = 35,
    NB_MXFP4 = 39,
    NB_NVFP4 = 40,
    NB_Q1_0 = 41,
    NB_Q2_0 = 42,
    NB_GGUF_TYPES, /* one more than the highest id of a GGUF type */

    /* Only in checkpoints. */
    NB_F8_E4M3 = NB_GGUF_TYPES,
    NB_F8_E5M2,
    NB_F8_E8M0,
    NB_BOOL,
    NB_U8,
    NB_U16,
    NB_U32,
    NB_U64,
    NB_TYPES,
    NB_TYPE_NONE = 0xFF,
};

enum nb_type_kind {
    NB_KIND_NONE, /* no such type */
    NB_KIND_FLOAT,
    NB_KIND_INTEGER,
    NB_KIND_BLOCK, /* quantized */
};

struct nb_type_info {
    const char *name;        /* as llama.cpp's tools print it: "q4_K" */
    const char *safetensors; /* the dtype's name in a safetensors header, or NULL */
    enum nb_type_kind kind;
    uint16_t block;       /* elements in a block; 1 for floats and integers */
    uint16_t block_bytes; /* bytes of a block */
};

/* Never NULL: an id outside the table gives an entry of kind NB_KIND_NONE. */
const struct nb_type_info *nb_type_info(enum nb_type type);
/* By name, in any case ("Q4_K" is "q4_k"); NB_TYPE_NONE if there is none. */
enum nb_type nb_type_by_name(const char *name);
enum nb_type nb_type_by_safetensors(const char *dtype);
/* Bytes of COUNT elements, which must be a multiple of the block; false on overflow or a part block. */
bool nb_type_bytes(enum nb_type type, uint64_t count, uint64_t *bytes);
/* Bits per weight. */
double nb_type_bpw(enum nb_type type);

#endif
