/*
 * The stored tensors of a model file under their stored names: of one GGUF file (each part of a split
 * set is a separate file), a safetensors file or a checkpoint folder. For code that needs the bytes,
 * not the weights.
 */
#ifndef NB_STORED_TENSORS_H
#define NB_STORED_TENSORS_H

#include "formats/base/arena.h"
#include "formats/base/file_in.h"
#include "formats/base/status.h"
#include "formats/elements/tensor.h"
#include "formats/gguf/gguf.h"
#include "formats/models/view.h"
#include "formats/safetensors/checkpoint.h"
#include "formats/safetensors/safetensors.h"

struct nb_stored_tensors {
    const struct nb_tensor *tensors;
    size_t count;
    const struct nb_file_in *files;
    uint32_t n_files;
    /* The owners of the arrays above. */
    struct nb_gguf gguf;
    struct nb_checkpoint checkpoint;
    struct nb_file_in file;
    struct nb_tensor *own;
    struct nb_arena arena;
};

/* FOLLOW_LINKS: also those that lead out of a checkpoint folder. */
enum nb_status nb_stored_open(struct nb_stored_tensors *stored, const char *path, bool follow_links,
                              struct nb_error *err) NB_MUST_CHECK;
/* Opens any file PATH as a file without tensors. */
enum nb_status nb_stored_open_bytes(struct nb_stored_tensors *stored, const char *path,
                                    struct nb_error *err) NB_MUST_CHECK;
void nb_stored_close(struct nb_stored_tensors *stored);

/* A tensor of safetensors file number FILE; more than four dimensions: the slowest ones are merged. */
struct nb_tensor nb_stored_safetensor(const struct nb_safetensor *tensor, uint32_t file);

/* Whether each element of TENSOR in STORE is 0, or -0. */
enum nb_status nb_stored_is_zero(const struct nb_store *store, const struct nb_tensor *tensor, bool *zero,
                                 struct nb_error *err) NB_MUST_CHECK;

/* Whether A and B of STORE have the same type, shape and bytes. Of quantized weights nobody asks: they never have. */
enum nb_status nb_stored_are_equal(const struct nb_store *store, const struct nb_tensor *a, const struct nb_tensor *b,
                                   bool *equal, struct nb_error *err) NB_MUST_CHECK;

#endif
