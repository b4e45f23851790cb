/* The KL divergence of a file from its original, on the tokens that refinement holds out. */
#include "calib/refine_run.h"
#include "formats/base/checked.h"
#include "verify/drift/drift.h"
#include "verify/drift/drift_stats.h"

#include <stdlib.h>
#include <string.h>

#define CHUNKS 16u /* at most */

/* Copies held-out chunks, from all over them; returns their number. */
static uint32_t
take_held_out(const struct nb_refine_run *r, int32_t *to)
{
    const size_t each = r->options->chunk_tokens;
    uint32_t held = 0, taken = 0;

    for (uint32_t i = 0; i < r->chunks; i++)
        held += nb_refine_is_held_out(r, i / r->batch);
    for (uint32_t i = 0, seen = 0; i < r->chunks && taken < CHUNKS; i++) {
        if (!nb_refine_is_held_out(r, i / r->batch))
            continue;
        if (held <= CHUNKS || seen * CHUNKS / held == taken)
            memcpy(to + (size_t)taken++ * each, r->tokens + (size_t)i * each, each * sizeof *to);
        seen++;
    }
    return taken;
}

static enum nb_status
measure(const struct nb_refine_run *r, const int32_t *tokens, uint32_t chunks, double *kld, struct nb_error *err)
{
    const struct nb_refine_options *o = r->options;
    const struct nb_model *const models[] = { r->original, &r->quantized };
    const struct nb_drift_options options = {
        .chunk_tokens = o->chunk_tokens, .threads = o->threads, .bos = o->bos, .stop = o->stop
    };
    struct nb_drift_stats stats;
    struct nb_drift drift;
    enum nb_status status = nb_drift_measure(models, 2, tokens, (size_t)chunks * o->chunk_tokens, &options, &drift,
                                             err);

    if (status != NB_OK)
        return status;
    status = nb_drift_stats(&drift, 1, drift.scored, &stats, err);
    *kld = stats.kld.value;
    nb_drift_free(&drift);
    return status;
}

enum nb_status
nb_refine_judge(const struct nb_refine_run *r, double *kld, struct nb_error *err)
{
    int32_t *held = nb_malloc((uint64_t)CHUNKS * r->options->chunk_tokens * sizeof *held);
    enum nb_status status = NB_OK;
    uint32_t chunks;

    *kld = 0;
    if (held == NULL)
        return nb_fail_memory(err);
    chunks = take_held_out(r, held);
    if (chunks >= 2)
        status = measure(r, held, chunks, kld, err);
    free(held);
    return status;
}
