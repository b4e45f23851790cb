/*
 * A job: views that become elements of other types at places of files. Read a tile, make floats of
 * it, make blocks of those, write them where they belong. The tiles are numbered and independent of
 * one another, so that any threads can do them in any order, and a part of them can be done by
 * itself. Memory is threads x tile, whatever the model's size.
 */
#ifndef NB_JOB_H
#define NB_JOB_H

#include "formats/base/file_out.h"
#include "formats/base/pool.h"
#include "formats/models/view.h"
#include "quantize/search/encode.h"

#include <signal.h>

/* A view, and what becomes of it. */
struct nb_output {
    const struct nb_view *view;
    struct nb_encoding encoding;
    enum nb_type via; /* F16, BF16: weights are rounded to that first; NB_TYPE_NONE: they are not */
    /* ne[0] weights for each ne[0] x ne[1] elements (an expert), or NULL. */
    const float *importance;
    struct {
        uint32_t file;   /* of the job's */
        uint64_t offset; /* in it */
    } plane[NB_MAX_PLANES];
};

struct nb_run_job {
    const struct nb_output *outputs;
    size_t n_outputs;
    const struct nb_file_out *files;
    uint32_t n_files;
    uint64_t first_tile, end_tile; /* of nb_job_tiles() */
    bool allow_nonfinite; /* NaN and infinity are written, not refused */
    /* Called now and then from the calling thread, with bytes of the sources that are done; may be NULL. */
    void (*progress)(void *context, uint64_t done);
    void *context;
    /* Not zero asks for a stop: "interrupted". May be NULL. */
    const volatile sig_atomic_t *stop;
};

/* How many tiles there are of all outputs; a pure function of the outputs. */
uint64_t nb_job_tiles(const struct nb_output *outputs, size_t n_outputs);
/*
 * Does the job's tiles. Refused, with tensor and index: a NaN or infinity in the source, and a value
 * that the target type turns into one. The bytes do not depend on the number of threads.
 */
enum nb_status nb_job_run(const struct nb_run_job *job, struct nb_pool *pool, struct nb_error *err) NB_MUST_CHECK;

#endif
