/*
 * The table of tensor types: everything a GGUF file can hold, and the few
 * dtypes that only checkpoints have.
 */
#ifndef NB_TYPES_H
#define NB_TYPES_H

#include <stdbool.h>
#include <stdint.h>

/* Numbers below this are those of the GGUF format, with gaps for ids it has withdrawn or not given yet. */
#define NB_GGUF_TYPES 64
#define NB_TYPES 72 /* one more than the highest of all */

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

/* What the weights of errors, from an importance matrix, are to the encoder of a type. */
enum nb_importance {
    NB_IMPORTANCE_IGNORED,
    NB_IMPORTANCE_USED,
    NB_IMPORTANCE_NEEDED, /* ggml refuses to encode without */
};

#define NB_MAX_PLANES 3

struct nb_type_info {
    const char *name;        /* as llama.cpp's tools print it: "q4_K" */
    const char *safetensors; /* the dtype's name in a safetensors header, or NULL */
    enum nb_type_kind kind;
    uint16_t block;       /* elements in a block; 1 for floats and integers */
    uint16_t block_bytes; /* bytes of a block, in all planes together */
    enum nb_importance importance;
    uint8_t n_scales, scale_at[2]; /* the half floats of a block that scale it, by their offsets */
    uint8_t n_planes; /* separate arrays that a tensor is stored in; 0 and 1: one */
    uint16_t plane_bytes[NB_MAX_PLANES]; /* of a block in each; of one plane it is BLOCK_BYTES */
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
