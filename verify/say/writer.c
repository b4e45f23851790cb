#include "verify/say/writer.h"

#include "formats/base/checked.h"
#include "verify/run/forward.h"
#include "verify/say/sampler.h"

#include <stdlib.h>
#include <string.h>

#define FEWEST 24u /* texts at once, so that weights are not decoded for too few tokens */
#define MOST 64u
#define SHARE 4 /* of the weights as floats, that states of texts may take */

struct writer {
    const struct nb_model *model;
    const struct nb_vocabulary *vocabulary;
    struct nb_pool *pool;
    const struct nb_writing *writing;
    int32_t *ids;
    struct nb_sampler *samplers; /* of each text */
    struct nb_forward *forward;
    uint32_t first, at_once; /* of the texts that are now written */
    uint32_t position;       /* of the tokens that are drawn */
    int32_t *batch;          /* AT_ONCE tokens */
    float *logits;           /* AT_ONCE x vocabulary */
};

uint32_t
nb_texts_at_once(const struct nb_model *m, const struct nb_writing *w)
{
    const uint64_t each = nb_forward_text_bytes(m, w->length);
    uint64_t floats = 0, at_once;

    for (const struct nb_linear *l = m->matrices; l != NULL; l = l->next)
        floats += (uint64_t)l->rows * l->columns * l->experts;
    at_once = each == 0 ? MOST : floats * sizeof(float) / SHARE / each;
    at_once = at_once < FEWEST ? FEWEST : at_once > MOST ? MOST : at_once;
    return at_once < w->texts ? (uint32_t)at_once : w->texts;
}

uint64_t
nb_writing_bytes(const struct nb_model *m, const struct nb_writing *w)
{
    return nb_texts_at_once(m, w) * (nb_forward_text_bytes(m, w->length) + nb_model_vocab(m) * sizeof(float));
}

static int32_t *
token_at(const struct writer *w, size_t text, size_t position)
{
    return w->ids + (w->first + text) * w->writing->length + position;
}

/* A random token that is a piece of text; the first one if there is none. */
static int32_t
random_word(const struct writer *w, struct nb_sampler *sampler)
{
    const struct nb_vocabulary *v = w->vocabulary;

    for (unsigned tries = 0; tries < 1000; tries++) {
        const size_t id = (size_t)(nb_sample_fraction(sampler) * v->size);

        if (v->tokens[id].text != NULL && v->tokens[id].type == NB_TOKEN_NORMAL && id < nb_model_vocab(w->model))
            return (int32_t)id;
    }
    return 0;
}

static bool
has_bos(const struct writer *w)
{
    return w->vocabulary->add_bos && w->vocabulary->bos >= 0 && w->vocabulary->bos < nb_model_vocab(w->model);
}

/* Decides the next token of a text. */
static enum nb_status
draw_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct writer *w = context;
    const size_t vocab = nb_model_vocab(w->model), text = w->first + task;
    const bool begins = w->position == (has_bos(w) ? 1 : 0);
    struct nb_sampler *sampler = &w->samplers[text];
    int32_t *to = token_at(w, task, w->position);

    (void)worker;
    (void)err;
    if (w->position == 0)
        *sampler = (struct nb_sampler){ 1, w->writing->seed + text };
    if (begins)
        *to = random_word(w, sampler);
    else if (w->position == 0)
        *to = (int32_t)w->vocabulary->bos;
    else
        *to = nb_sample(sampler, w->logits + task * vocab, vocab);
    w->batch[task] = *to;
    return NB_OK;
}

static enum nb_status
write_side_by_side(struct writer *w, uint32_t texts, struct nb_error *err)
{
    enum nb_status status = NB_OK;

    for (w->position = 0; w->position < w->writing->length && status == NB_OK; w->position++) {
        const float *states;

        status = nb_pool_run(w->pool, draw_task, w, texts, err);
        if (status == NB_OK && w->writing->done != NULL)
            *w->writing->done += texts;
        if (status != NB_OK || w->position + 1 == w->writing->length)
            break;
        status = nb_forward_continue(w->forward, w->model, w->batch, 1, &states, err);
        if (status == NB_OK)
            status = nb_forward_logits(w->forward, w->model, states, texts, w->logits, err);
    }
    return status;
}

/* The texts from w->first on: a pass has memory for as many texts as it runs. */
static enum nb_status
write_some(struct writer *w, uint32_t texts, struct nb_error *err)
{
    enum nb_status status = nb_forward_new_texts(&w->forward, w->pool, texts, 1, w->writing->length, err);

    if (status == NB_OK)
        status = write_side_by_side(w, texts, err);
    nb_forward_free(w->forward);
    w->forward = NULL;
    return status;
}

enum nb_status
nb_write_texts(const struct nb_model *m, const struct nb_tokenizer *t, struct nb_pool *pool,
               const struct nb_writing *writing, int32_t *ids, struct nb_error *err)
{
    struct writer w = {
        .model = m, .vocabulary = nb_tokenizer_vocabulary(t), .pool = pool, .writing = writing, .ids = ids
    };
    enum nb_status status = NB_OK;

    w.at_once = nb_texts_at_once(m, writing);
    w.samplers = calloc((size_t)writing->texts + 1, sizeof *w.samplers);
    w.batch = calloc((size_t)w.at_once + 1, sizeof *w.batch);
    w.logits = nb_aligned((uint64_t)w.at_once * nb_model_vocab(m) * sizeof *w.logits);
    if (w.samplers == NULL || w.batch == NULL || w.logits == NULL)
        status = nb_fail_memory(err);
    else if (w.vocabulary->size == 0)
        status = nb_fail(err, NB_INPUT, "%s: has no tokens to write with", m->source->path);
    for (uint32_t n; w.first < writing->texts && status == NB_OK; w.first += n) {
        n = writing->texts - w.first < w.at_once ? writing->texts - w.first : w.at_once;
        status = write_some(&w, n, err);
    }
    free(w.samplers);
    free(w.batch);
    free(w.logits);
    return status;
}
