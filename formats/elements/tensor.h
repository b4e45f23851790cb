/* A tensor as a file stores it: its name, type and shape there, and the place of its bytes. */
#ifndef NB_TENSOR_H
#define NB_TENSOR_H

#include "formats/elements/types.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NB_MAX_DIMS 4
#define NB_MAX_NAME 63 /* bytes; llama.cpp's limit */

struct nb_tensor {
    const char *name; /* first, so that lists by name can be made */
    enum nb_type type;
    uint32_t n_dims;
    uint64_t ne[NB_MAX_DIMS]; /* GGUF order: ne[0] is the length of a row; 1 beyond n_dims */
    uint64_t elements, bytes;
    uint32_t file;   /* index among the files it belongs to */
    uint64_t offset; /* of its first byte in that file */
    const void *bytes_in_memory; /* a tensor that no file holds; else NULL */
};

/* Fills ELEMENTS and BYTES from type and ne; false where they overflow, or a block does not fit the row. */
bool nb_tensor_measure(struct nb_tensor *tensor);

/* The COUNT tensors as a list by name, to be freed; NULL when memory is out. */
const struct nb_tensor **nb_tensors_by_name(const struct nb_tensor *tensors, size_t count);
/* The one in such a list that is called NAME, or NULL. */
const struct nb_tensor *nb_tensors_find(const struct nb_tensor *const *sorted, size_t count, const char *name);

#endif
