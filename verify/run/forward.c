#include "verify/run/forward.h"

#include "verify/run/blas.h"
#include "verify/run/block.h"
#include "verify/run/product.h"
#include "verify/run/rope.h"
#include "verify/run/run.h"

#include <stdlib.h>

struct nb_forward {
    struct nb_run run;
    size_t blocks;                       /* offset of the blocks' part of the scratch memory */
    const struct nb_model *rotations_of; /* the model whose tables are in run.rotations; NULL: none */

    /* The current run. */
    const int32_t *tokens;
    int64_t bos;
    size_t blocks_done;
};

enum nb_status
nb_forward_new(struct nb_forward **forward, struct nb_pool *pool, uint32_t chunks, uint32_t chunk_tokens,
               struct nb_error *err)
{
    enum nb_status status = nb_blas_load(nb_pool_threads(pool), err);
    struct nb_forward *f;

    if (status != NB_OK)
        return status;
    f = calloc(1, sizeof *f);
    if (f == NULL)
        return nb_fail_memory(err);
    f->run.pool = pool;
    f->run.scratch = (struct nb_scratch){ .tokens = (size_t)chunks * chunk_tokens,
                                          .chunks = chunks,
                                          .chunk_tokens = chunk_tokens,
                                          .threads = nb_pool_threads(pool) };
    *forward = f;
    return NB_OK;
}

void
nb_forward_free(struct nb_forward *f)
{
    if (f == NULL)
        return;
    nb_panels_free(&f->run.panels);
    free(f->run.scratch.memory);
    free(f);
}

void
nb_forward_observe(struct nb_forward *f, nb_observe *observe, void *context)
{
    f->run.observe = observe;
    f->run.observer = context;
}

double
nb_forward_share(const struct nb_forward *f)
{
    return f->run.model == NULL ? 0 : (double)f->blocks_done / (double)f->run.model->n_blocks;
}

/* --- memory ------------------------------------------------------------------------------------------------- */

/* The sum of the dims of all rotary embeddings of M. */
static size_t
rotated_dims(const struct nb_model *m)
{
    size_t dims = 0;

    for (const struct nb_rope *r = m->ropes; r != NULL; r = r->next)
        dims = r->before + r->dims;
    return dims;
}

/* Takes the memory that is used throughout all layers; that of the blocks follows. */
static void
take_lasting(struct nb_run *r, const struct nb_model *m, struct nb_scratch *s)
{
    s->used = 0;
    r->x = nb_scratch_take(s, s->tokens, nb_model_embedding(m));
    r->normed = nb_scratch_take(s, s->tokens, nb_model_embedding(m));
    r->rotations = nb_scratch_take(s, s->chunk_tokens, rotated_dims(m));
}

/* The size of the scratch memory for M: the lasting part and the largest block's; false if it is too large. */
static bool
scratch_size(struct nb_forward *f, const struct nb_model *m, size_t *size)
{
    struct nb_scratch s = f->run.scratch;
    size_t lasting;

    s.memory = NULL;
    s.size = 0;
    s.too_large = false;
    take_lasting(&f->run, m, &s);
    *size = lasting = s.used;
    for (size_t i = 0; i < m->n_blocks; i++) {
        s.used = lasting;
        m->blocks[i].kind->scratch(&m->blocks[i], &s);
        *size = s.used > *size ? s.used : *size;
    }
    return !s.too_large;
}

/* Makes M the current model. Memory of the previous one is reused if it is large enough. */
static enum nb_status
take_model(struct nb_forward *f, const struct nb_model *m, struct nb_error *err)
{
    struct nb_scratch *s = &f->run.scratch;
    size_t size;
    enum nb_status status;

    if (f->run.model == m)
        return NB_OK;
    f->run.model = f->rotations_of = NULL;
    status = nb_panels_for(&f->run.panels, m, f->run.pool, err);
    if (status != NB_OK)
        return status;
    if (!scratch_size(f, m, &size))
        return nb_fail_memory(err);
    if (size > s->size) {
        free(s->memory);
        s->size = 0;
        s->memory = aligned_alloc(64, size);
        if (s->memory == NULL)
            return nb_fail_memory(err);
        s->size = size;
    }
    take_lasting(&f->run, m, s);
    f->blocks = s->used;
    f->run.model = m;
    return NB_OK;
}

static void
fill_rotations(struct nb_forward *f)
{
    const struct nb_model *m = f->run.model;

    if (f->rotations_of == m)
        return;
    for (const struct nb_rope *r = m->ropes; r != NULL; r = r->next)
        nb_rope_table(r, f->run.scratch.chunk_tokens, f->run.rotations + f->run.scratch.chunk_tokens * r->before);
    f->rotations_of = m;
}

/* --- the pass ------------------------------------------------------------------------------------------------ */

static enum nb_status
embed_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct nb_forward *f = context;
    const struct nb_run *r = &f->run;
    const struct nb_linear *table = r->model->token_embedding;
    size_t i, end = nb_run_task_rows(r, task, &i);
    enum nb_status status = NB_OK;

    for (; i < end && status == NB_OK; i++) {
        const int64_t token = f->bos >= 0 && i % r->scratch.chunk_tokens == 0 ? f->bos : f->tokens[i];

        status = nb_model_rows(r->model, table->weight, (uint64_t)token, 1, &r->panels.readers[worker],
                               r->x + i * table->columns, err);
    }
    return status;
}

enum nb_status
nb_forward_run(struct nb_forward *f, const struct nb_model *m, const int32_t *tokens, int64_t bos, uint32_t chunks,
               const float **hidden, struct nb_error *err)
{
    struct nb_run *r = &f->run;
    enum nb_status status = take_model(f, m, err);

    if (status != NB_OK)
        return status;
    fill_rotations(f);
    r->n = chunks * r->scratch.chunk_tokens;
    f->tokens = tokens;
    f->bos = bos;
    f->blocks_done = 0;
    status = nb_run_rows(r, embed_task, f, err);
    for (size_t i = 0; i < m->n_blocks && status == NB_OK; i++) {
        r->layer = m->blocks[i].layer;
        r->scratch.used = f->blocks;
        status = m->blocks[i].kind->run(&m->blocks[i], r, err);
        f->blocks_done = i + 1;
    }
    r->layer = nb_model_layers(m);
    if (status == NB_OK)
        status = nb_run_norm(r, &m->output_norm, err);
    *hidden = r->normed;
    return status;
}

enum nb_status
nb_forward_logits(struct nb_forward *f, const struct nb_model *m, const float *hidden, size_t rows, float *logits,
                  struct nb_error *err)
{
    const struct nb_product product = { m->output, 0, logits, false };
    enum nb_status status = take_model(f, m, err);

    return status == NB_OK ? nb_multiply(&f->run.panels, hidden, rows, &product, 1, err) : status;
}
