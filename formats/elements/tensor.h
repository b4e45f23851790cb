/* A stored tensor: its name, type and shape in the file, and the location of its bytes. */
#ifndef NB_TENSOR_H
#define NB_TENSOR_H

#include "formats/elements/types.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nb_packed;

#define NB_MAX_DIMS 4
#define NB_MAX_NAME 63 /* bytes; llama.cpp's limit */

struct nb_tensor {
    const char *name; /* first member, as nb_list_by_name needs it */
    enum nb_type type;
    uint32_t n_dims;
    uint64_t ne[NB_MAX_DIMS]; /* GGUF order: ne[0] is the row length; 1 after n_dims */
    uint64_t elements, bytes;
    uint32_t file;               /* index into the files of its store */
    uint64_t offset;             /* of its first byte in that file */
    const void *bytes_in_memory; /* the data of a computed tensor; NULL for one in a file */
    /* How elements are computed from other tensors' (formats/models/packed); FILE and OFFSET are the codes'. NULL: stored. */
    const struct nb_packed *packed;
};

/* Computes ELEMENTS and BYTES; false if they overflow or if rows are not whole blocks. */
bool nb_tensor_measure(struct nb_tensor *tensor);

/* The COUNT tensors sorted by name; the caller frees the list. NULL if out of memory. */
const struct nb_tensor **nb_tensors_by_name(const struct nb_tensor *tensors, size_t count);
/* The tensor called NAME in a list from nb_tensors_by_name, or NULL. */
const struct nb_tensor *nb_tensors_find(const struct nb_tensor *const *sorted, size_t count, const char *name);

#endif
