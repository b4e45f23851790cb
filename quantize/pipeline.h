/* Fills a plan: the files it plans, whole or not at all, by a job over all its tensors. */
#ifndef NB_PIPELINE_H
#define NB_PIPELINE_H

#include "quantize/plan.h"

#include <signal.h>

struct nb_pipeline_options {
    unsigned threads; /* 0: one for each core */
    bool replace;         /* an existing file */
    bool allow_nonfinite; /* NaN and infinity are written, not refused */
    /* Called now and then from the calling thread, with source bytes; may be NULL. */
    void (*progress)(void *context, uint64_t done, uint64_t total);
    void *context;
    /* Not zero asks for a stop: NB_INTERRUPTED. May be NULL. */
    const volatile sig_atomic_t *stop;
};

/*
 * Writes the file NAME, whole or not at all; or the parts of a split set, which
 * get their names one after the other when all of them are written. Refused,
 * with tensor and index: a NaN or infinity in the source, and a value that the
 * target type turns into one. The bytes do not depend on the number of threads.
 */
enum nb_status nb_pipeline_run(const struct nb_plan *plan, const char *name,
                               const struct nb_pipeline_options *options, struct nb_error *err) NB_MUST_CHECK;

#endif
