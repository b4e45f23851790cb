#include "verify/say/speaker.h"

#include "formats/base/checked.h"
#include "formats/base/system.h"
#include "verify/run/forward.h"
#include "verify/say/ranking.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#define BATCH 512u                      /* enough for fast products */
#define LOGITS_BYTES ((size_t)16 << 20) /* at once, where all are wanted */

enum nb_status
nb_speaker_open(struct nb_speaker *s, const struct nb_model *m, struct nb_pool *pool, size_t longest, size_t context,
                struct nb_error *err)
{
    const size_t vocab = nb_model_vocab(m);
    enum nb_status status;

    *s = (struct nb_speaker){ .model = m };
    if (longest == 0 || context < longest || context > UINT32_MAX)
        return nb_fail(err, NB_USAGE, "a text of %zu tokens, of which %zu are read at once, cannot be run", context,
                       longest);
    s->context = (uint32_t)context;
    s->batch = longest < BATCH ? (uint32_t)longest : BATCH;
    s->rows = LOGITS_BYTES / (vocab * sizeof *s->logits);
    s->rows = s->rows < 1 ? 1 : s->rows > s->batch ? s->batch : s->rows;
    s->logits = nb_malloc((uint64_t)s->rows * vocab * sizeof *s->logits);
    if (s->logits == NULL)
        return nb_fail_memory(err);
    status = nb_forward_new_text(&s->forward, pool, s->batch, s->context, err);
    if (status == NB_OK && context > longest)
        nb_forward_keep(s->forward, nb_system_memory() / 2);
    return status;
}

void
nb_speaker_close(struct nb_speaker *s)
{
    nb_forward_free(s->forward);
    free(s->logits);
    *s = (struct nb_speaker){ 0 };
}

static enum nb_status
check_ids(const struct nb_speaker *s, const int32_t *ids, size_t count, struct nb_error *err)
{
    const uint32_t vocab = nb_model_vocab(s->model);

    if (count == 0)
        return nb_fail(err, NB_USAGE, "there are no tokens to run");
    if (count > s->context - s->count)
        return nb_fail(err, NB_USAGE, "a text of %zu tokens exceeds the context of %" PRIu32, s->count + count,
                       s->context);
    for (size_t i = 0; i < count; i++)
        if (ids[i] < 0 || (uint32_t)ids[i] >= vocab)
            return nb_fail(err, NB_USAGE,
                           "%s: token %zu is %" PRId32 ", but the vocabulary has the ids from 0 to %" PRIu32,
                           s->model->source->path, s->count + i, ids[i], vocab - 1);
    return NB_OK;
}

/* NaN makes the sum NaN, and infinity makes it infinite. */
static enum nb_status
check_row(const struct nb_speaker *s, const float *row, size_t position, struct nb_error *err)
{
    float sum = 0;

    for (size_t i = 0; i < nb_model_vocab(s->model); i++)
        sum += row[i] * 0;
    if (sum == 0)
        return NB_OK;
    return nb_fail(err, NB_INPUT, "%s: its logits are NaN or infinite after token %zu", s->model->source->path,
                   position);
}

/* The logits of COUNT tokens that were read, from their states. */
static enum nb_status
tell_logits(struct nb_speaker *s, const float *states, size_t count, nb_on_logits *on_logits, void *context,
            struct nb_error *err)
{
    const size_t vocab = nb_model_vocab(s->model), embedding = nb_model_embedding(s->model);
    enum nb_status status = NB_OK;

    for (size_t i = 0, n; i < count && status == NB_OK; i += n) {
        n = count - i < s->rows ? count - i : s->rows;
        status = nb_forward_logits(s->forward, s->model, states + i * embedding, n, s->logits, err);
        for (size_t k = 0; k < n && status == NB_OK; k++) {
            status = check_row(s, s->logits + k * vocab, s->count + i + k, err);
            if (status == NB_OK && on_logits != NULL)
                status = on_logits(context, s->count + i + k, s->logits + k * vocab, err);
        }
    }
    return status;
}

enum nb_status
nb_speaker_read(struct nb_speaker *s, const int32_t *ids, size_t count, nb_on_logits *on_logits, void *context,
                struct nb_error *err)
{
    enum nb_status status = check_ids(s, ids, count, err);

    for (size_t i = 0, n; i < count && status == NB_OK; i += n) {
        const size_t embedding = nb_model_embedding(s->model);
        const float *states;

        n = count - i < s->batch ? count - i : s->batch;
        status = nb_forward_continue(s->forward, s->model, ids + i, (uint32_t)n, &states, err);
        if (status == NB_OK && on_logits != NULL)
            status = tell_logits(s, states, n, on_logits, context, err);
        else if (status == NB_OK && i + n == count)
            status = tell_logits(s, states + (n - 1) * embedding, 1, NULL, NULL, err);
        s->count += n;
    }
    return status;
}
