/*
 * The tensors of any model file as they are stored, under the names they have there: of one GGUF
 * file (a part of a split set is a file by itself), a safetensors file, a checkpoint folder. For
 * those who look at bytes and not at weights.
 */
#ifndef NB_STORED_TENSORS_H
#define NB_STORED_TENSORS_H

#include "formats/base/arena.h"
#include "formats/base/file_in.h"
#include "formats/base/status.h"
#include "formats/elements/tensor.h"
#include "formats/gguf/gguf.h"
#include "formats/safetensors/checkpoint.h"
#include "formats/safetensors/safetensors.h"

struct nb_stored_tensors {
    const struct nb_tensor *tensors;
    size_t count;
    const struct nb_file_in *files;
    uint32_t n_files;
    /* What they belong to. */
    struct nb_gguf gguf;
    struct nb_checkpoint checkpoint;
    struct nb_file_in file;
    struct nb_tensor *own;
    struct nb_arena arena;
};

enum nb_status nb_stored_open(struct nb_stored_tensors *stored, const char *path, struct nb_error *err) NB_MUST_CHECK;
/* The file PATH, of whatever kind, as one without tensors. */
enum nb_status nb_stored_open_bytes(struct nb_stored_tensors *stored, const char *path, struct nb_error *err)
    NB_MUST_CHECK;
void nb_stored_close(struct nb_stored_tensors *stored);

/* A tensor of safetensors file number FILE; of more than four sides the slowest are one. */
struct nb_tensor nb_stored_safetensor(const struct nb_safetensor *tensor, uint32_t file);

#endif
