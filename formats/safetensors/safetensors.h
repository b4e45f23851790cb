/* The header of one safetensors file, checked by the rules of the specification. */
#ifndef NB_SAFETENSORS_H
#define NB_SAFETENSORS_H

#include "formats/base/arena.h"
#include "formats/base/file_in.h"
#include "formats/base/findings.h"
#include "formats/base/status.h"
#include "formats/elements/types.h"

#include <stdbool.h>
#include <stdint.h>

/* The specification's limit for the header size. */
#define NB_SAFETENSORS_MAX_HEADER 100000000u
#define NB_SAFETENSORS_MAX_DIMS 8

struct nb_safetensor {
    const char *name;
    enum nb_type type;
    uint32_t n_dims;
    uint64_t shape[NB_SAFETENSORS_MAX_DIMS]; /* row-major: the last is the row length */
    uint64_t offset, bytes;                  /* in the file */
};

struct nb_safetensors {
    struct nb_safetensor *tensors; /* sorted by offset */
    size_t count;
    bool is_mlx; /* by its metadata, MLX's tools wrote it */
};

/*
 * Reads the header of FILE into ARENA. Errors: a header longer than the file
 * or the limit, malformed JSON or unknown fields, unknown dtypes, duplicate
 * names, a byte range that does not match dtype and shape, and ranges that
 * overlap, leave a hole or do not end with the file.
 */
enum nb_status nb_safetensors_read(const struct nb_file_in *file, struct nb_arena *arena, struct nb_safetensors *out,
                                   struct nb_error *err) NB_MUST_CHECK;
/*
 * The same, but faults are recorded in FINDINGS and reading continues where possible. Tensors whose
 * data must not be read have NB_TYPE_NONE.
 */
enum nb_status nb_safetensors_examine(const struct nb_file_in *file, struct nb_arena *arena, struct nb_safetensors *out,
                                      struct nb_findings *findings, struct nb_error *err) NB_MUST_CHECK;
/*
 * Whether FILE begins with the length of a header and an object, as far as one byte of it tells. True also where it
 * cannot be read, of which those who read on are told.
 */
bool nb_safetensors_begins(const struct nb_file_in *file);

#endif
