/* One safetensors file: its header, checked as the specification demands. */
#ifndef NB_SAFETENSORS_H
#define NB_SAFETENSORS_H

#include "formats/base/arena.h"
#include "formats/base/file_in.h"
#include "formats/base/findings.h"
#include "formats/base/status.h"
#include "formats/elements/types.h"

#include <stdint.h>

/* The specification's cap on the header. */
#define NB_SAFETENSORS_MAX_HEADER 100000000u
#define NB_SAFETENSORS_MAX_DIMS 8

struct nb_safetensor {
    const char *name;
    enum nb_type type;
    uint32_t n_dims;
    uint64_t shape[NB_SAFETENSORS_MAX_DIMS]; /* row-major: the last is the length of a row */
    uint64_t offset, bytes;                  /* in the file */
};

struct nb_safetensors {
    struct nb_safetensor *tensors; /* in the order of their bytes */
    size_t count;
};

/*
 * Reads the header of FILE into ARENA. Refused: a header longer than the file
 * or the cap, JSON that is malformed or has unknown fields, unknown dtypes,
 * names that occur twice, shapes that do not give the span of bytes, and spans
 * that overlap, leave a hole or do not end with the file.
 */
enum nb_status nb_safetensors_read(const struct nb_file_in *file, struct nb_arena *arena,
                                   struct nb_safetensors *out, struct nb_error *err) NB_MUST_CHECK;
/*
 * The same, but whatever can be read past goes into FINDINGS. Tensors whose data is not to be
 * touched are of NB_TYPE_NONE.
 */
enum nb_status nb_safetensors_examine(const struct nb_file_in *file, struct nb_arena *arena,
                                      struct nb_safetensors *out, struct nb_findings *findings,
                                      struct nb_error *err) NB_MUST_CHECK;

#endif
