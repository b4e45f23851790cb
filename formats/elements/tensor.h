/* One tensor as a source offers it: under its GGUF name and shape, with the place of its bytes. */
#ifndef NB_TENSOR_H
#define NB_TENSOR_H

#include "formats/elements/types.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NB_MAX_DIMS 4
#define NB_MAX_NAME 63 /* bytes; llama.cpp's limit */

/*
 * Which row of the stored tensor is row r of the GGUF tensor. Renaming apart,
 * all that conversion does to weights is to move rows, so this is all that a
 * family has to say, and a tensor can be read in any order and in parts.
 */
enum nb_row_map_kind {
    NB_ROWS_SAME,
    /*
     * The rotary embedding of checkpoints pairs row k of a head with row
     * k + half; GGUF's llama pairs rows 2k and 2k + 1.
     */
    NB_ROWS_INTERLEAVE_HALVES,
};

struct nb_row_map {
    enum nb_row_map_kind kind;
    uint64_t head_rows; /* rows of one head */
};

struct nb_tensor {
    const char *name;        /* in GGUF */
    const char *source_name; /* in the file it comes from */
    enum nb_type type;       /* as stored */
    /* The type it has in a GGUF file that nobody quantized, where that is not the stored one. */
    enum nb_type plain_type;
    uint32_t n_dims;
    uint64_t ne[NB_MAX_DIMS]; /* GGUF order: ne[0] is the length of a row; 1 beyond n_dims */
    uint64_t elements, bytes;
    struct nb_row_map rows;
    uint32_t file;     /* index among the source's files */
    uint64_t offset;   /* of its first byte in that file */
    const void *bytes_in_memory; /* a tensor that no file holds; else NULL */
};

/* Fills ELEMENTS and BYTES from type and ne; false where they overflow, or a block does not fit the row. */
bool nb_tensor_measure(struct nb_tensor *tensor);
/* True for what converters write as F32 whatever they write else: vectors, norms. */
bool nb_tensor_is_always_f32(const struct nb_tensor *tensor);
/* The stored row that is row ROW of the GGUF tensor. */
uint64_t nb_row_map_apply(const struct nb_row_map *map, uint64_t row);

/* The COUNT tensors as a list by name, to be freed; NULL when memory is out. */
const struct nb_tensor **nb_tensors_by_name(const struct nb_tensor *tensors, size_t count);
/* The one in such a list that is called NAME, or NULL. */
const struct nb_tensor *nb_tensors_find(const struct nb_tensor *const *sorted, size_t count, const char *name);

#endif
