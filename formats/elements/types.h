/*
 * The table of element types: all that a GGUF file can contain, and the few
 * dtypes that only checkpoints have.
 */
#ifndef NB_TYPES_H
#define NB_TYPES_H

#include <stdbool.h>
#include <stdint.h>

/* Numbers below this are GGUF type ids; there are gaps for ids that were removed or are not yet assigned. */
#define NB_GGUF_TYPES 64
#define NB_TYPES 72 /* above all numbers */

enum nb_type {
#define NB_ELEMENT_TYPE(identifier, number, ...) NB_##identifier = number,
#include "formats/elements/types.def"
#undef NB_ELEMENT_TYPE
    NB_TYPE_NONE = 0xFF,
};

enum nb_type_kind {
    NB_KIND_NONE, /* no such type */
    NB_KIND_FLOAT,
    NB_KIND_INTEGER,
    NB_KIND_BLOCK, /* quantized */
};

/* How the encoder of a type uses an importance matrix. */
enum nb_importance {
    NB_IMPORTANCE_IGNORED,
    NB_IMPORTANCE_USED,
    NB_IMPORTANCE_NEEDED, /* ggml refuses to encode without one */
};

#define NB_MAX_PLANES 3

struct nb_type_info {
    const char *name;        /* as llama.cpp's tools print it: "q4_K" */
    const char *safetensors; /* the dtype's name in a safetensors header, or NULL */
    enum nb_type_kind kind;
    uint16_t block;       /* elements per block; 1 for floats and integers */
    uint16_t block_bytes; /* bytes per block, in all planes together */
    enum nb_importance importance;
    uint8_t n_scales, scale_at[2];       /* offsets of the half-float scales in a block */
    uint8_t n_planes;                    /* number of separate arrays in which a tensor is stored; 0 means 1 */
    uint16_t plane_bytes[NB_MAX_PLANES]; /* bytes per block in each plane; with one plane BLOCK_BYTES */
};

/* Never NULL: an id outside the table gives an entry of kind NB_KIND_NONE. */
const struct nb_type_info *nb_type_info(enum nb_type type);
/* Looks up a name in any case ("Q4_K" or "q4_k"); NB_TYPE_NONE if there is none. */
enum nb_type nb_type_by_name(const char *name);
enum nb_type nb_type_by_safetensors(const char *dtype);
/* The size of COUNT elements; false on overflow, or if COUNT is not a multiple of the block size. */
bool nb_type_bytes(enum nb_type type, uint64_t count, uint64_t *bytes);
/* Bits per weight. */
double nb_type_bpw(enum nb_type type);

#endif
