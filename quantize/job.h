/*
 * A job converts views to other element types and writes them at given offsets of files. The work is
 * divided into numbered tiles: each is read, decoded to floats, encoded and written. Tiles are
 * independent, so threads can process them in any order, and a job can process only a range of them.
 * Memory is threads x tile, independent of the model's size.
 */
#ifndef NB_JOB_H
#define NB_JOB_H

#include "formats/base/file_out.h"
#include "formats/base/pool.h"
#include "formats/models/view.h"
#include "quantize/search/encode.h"

#include <signal.h>
#include <stdatomic.h>

/* A view, its target encoding and location. */
struct nb_output {
    const struct nb_view *view;
    struct nb_encoding encoding;
    enum nb_type via; /* F16 or BF16: weights are first rounded to it; NB_TYPE_NONE: no such step */
    /* ne[0] error weights for each matrix of ne[0] x ne[1] elements (an expert), or NULL. */
    const float *importance;
    atomic_size_t *lost; /* counts blocks that are zero though their weights are not; may be NULL */
    struct {
        uint32_t file;   /* index into the job's files */
        uint64_t offset; /* in that file */
    } plane[NB_MAX_PLANES];
};

struct nb_run_job {
    const struct nb_output *outputs;
    size_t n_outputs;
    const struct nb_file_out *files;
    uint32_t n_files;
    uint64_t first_tile, end_tile; /* the range to process; all: 0 to nb_job_tiles() */
    bool allow_nonfinite;          /* NaN and infinity are written instead of being an error */
    /* Called regularly from the calling thread, with the bytes of the sources processed so far; may be NULL. */
    void (*progress)(void *context, uint64_t done);
    void *context;
    /* Not zero asks for a stop: "interrupted". May be NULL. */
    const volatile sig_atomic_t *stop;
};

/* The number of tiles of all outputs; depends only on the outputs. */
uint64_t nb_job_tiles(const struct nb_output *outputs, size_t n_outputs);
/*
 * Processes the tiles of a job. Errors, with tensor and index: NaN or infinity in the source, and a
 * value that becomes one in the target type. The bytes do not depend on the number of threads.
 */
enum nb_status nb_job_run(const struct nb_run_job *job, struct nb_pool *pool, struct nb_error *err) NB_MUST_CHECK;

#endif
