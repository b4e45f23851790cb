/* Executes a plan: writes its files atomically with one job over all tensors. */
#ifndef NB_PIPELINE_H
#define NB_PIPELINE_H

#include "quantize/plan.h"

#include <signal.h>

struct nb_pipeline_options {
    unsigned threads;     /* 0: one per core */
    bool replace;         /* overwrite an existing file */
    bool allow_nonfinite; /* NaN and infinity are written instead of being an error */
    /* Called regularly from the calling thread, with bytes of the source; may be NULL. */
    void (*progress)(void *context, uint64_t done, uint64_t total);
    void *context;
    /* Not zero asks for a stop: NB_INTERRUPTED. May be NULL. */
    const volatile sig_atomic_t *stop;
};

/*
 * Writes the file NAME atomically, or the parts of a split set, which are
 * renamed one by one when all are complete. Errors, with tensor and index: NaN
 * or infinity in the source, and a value that becomes one in the target type.
 * The bytes do not depend on the number of threads.
 */
enum nb_status nb_pipeline_run(const struct nb_plan *plan, const char *name, const struct nb_pipeline_options *options,
                               struct nb_error *err) NB_MUST_CHECK;

#endif
