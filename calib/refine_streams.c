/*
 * What the passes through both models have between two steps, for all batches: the residual streams, and the states that
 * later blocks read. With a folder for them they are in files.
 */
#include "calib/refine_run.h"
#include "formats/base/checked.h"

#include <stdlib.h>
#include <string.h>

/* The bytes that a batch lends, and in *ALL those of a model's stream: what is lent comes first. False: too many. */
static bool
stream_bytes(const struct nb_model *m, uint32_t chunks, uint32_t batch, uint32_t chunk_tokens, uint64_t *lent,
             uint64_t *all)
{
    const uint64_t tokens = (uint64_t)chunks * chunk_tokens, batches = (chunks + batch - 1) / batch;
    uint64_t x;

    *lent = nb_forward_lent_bytes(m, batch, chunk_tokens);
    return nb_mul_u64(tokens, (uint64_t)nb_model_embedding(m) * sizeof(float), &x) && nb_mul_u64(batches, *lent, all) &&
           nb_add_u64(*all, x, all);
}

uint64_t
nb_refine_streams_bytes(const struct nb_model *m, size_t count, const struct nb_refine_options *o)
{
    uint64_t lent, all;

    if (!stream_bytes(m, nb_refine_chunks(count, o), nb_refine_batch(count, o), o->chunk_tokens, &lent, &all) ||
        !nb_mul_u64(all, 2, &all))
        return UINT64_MAX;
    return all;
}

enum nb_status
nb_refine_new_streams(struct nb_refine_run *r, struct nb_error *err)
{
    const uint64_t batch = (uint64_t)r->batch * r->options->chunk_tokens * nb_refine_embedding(r) * sizeof(float);
    enum nb_status status = NB_OK;
    uint64_t lent, all;

    if (!stream_bytes(r->original, r->chunks, r->batch, r->options->chunk_tokens, &lent, &all))
        return nb_fail_memory(err);
    for (int i = 0; i < 2 && status == NB_OK; i++)
        status = nb_spill_new(&r->streams[i], r->options->scratch, all, err);
    if (status != NB_OK)
        return status;
    r->lent_bytes = (size_t)lent;
    r->stream = nb_aligned(batch);
    r->lent = nb_aligned(lent);
    return r->stream != NULL && (r->lent != NULL || lent == 0) ? NB_OK : nb_fail_memory(err);
}

void
nb_refine_free_streams(struct nb_refine_run *r)
{
    for (int i = 0; i < 2; i++)
        nb_spill_free(&r->streams[i]);
    free(r->stream);
    free(r->lent);
}

struct nb_stream
nb_refine_stream(const struct nb_refine_run *r, bool is_original, uint32_t batch)
{
    unsigned char *lent = r->streams[is_original ? 0 : 1].memory;
    float *x = (float *)(void *)(lent + nb_refine_batches(r) * r->lent_bytes);

    return (struct nb_stream){ x + nb_refine_start_of(r, batch) * nb_refine_embedding(r),
                               lent + batch * r->lent_bytes };
}

struct nb_stream
nb_refine_copy(const struct nb_refine_run *r, bool is_original, uint32_t batch)
{
    const struct nb_stream stream = nb_refine_stream(r, is_original, batch);

    memcpy(r->stream, stream.x, nb_refine_tokens_in(r, batch) * nb_refine_embedding(r) * sizeof *stream.x);
    if (!nb_forward_step_lends(r->original, r->step))
        return (struct nb_stream){ r->stream, stream.lent };
    memcpy(r->lent, stream.lent, r->lent_bytes);
    return (struct nb_stream){ r->stream, r->lent };
}

void
nb_refine_take_copy(const struct nb_refine_run *r, bool is_original, uint32_t batch)
{
    const struct nb_stream stream = nb_refine_stream(r, is_original, batch);

    memcpy(stream.x, r->stream, nb_refine_tokens_in(r, batch) * nb_refine_embedding(r) * sizeof *stream.x);
    if (nb_forward_step_lends(r->original, r->step))
        memcpy(stream.lent, r->lent, r->lent_bytes);
}
