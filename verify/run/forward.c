#include "verify/run/forward.h"

#include "formats/base/blas.h"
#include "verify/run/block.h"
#include "verify/run/product.h"
#include "verify/run/rope.h"
#include "verify/run/run.h"
#include "verify/run/vector_math.h"

#include <stdlib.h>
#include <string.h>

struct nb_forward {
    struct nb_run run;
    bool continues;                      /* texts, in several batches: each block has its own state */
    float *normed;                       /* the normalized residual stream: tokens x embedding */
    float *result, *aside;               /* results of blocks that are not added at once; tokens x embedding, or NULL */
    size_t *states;                      /* offsets of the blocks' states in the scratch memory */
    size_t blocks;                       /* offset of the blocks' own part of the scratch memory */
    const struct nb_model *rotations_of; /* the model whose tables are in run.rotations; NULL: none */
    size_t blocks_done;                  /* in the current run */
    size_t trunk_room;                   /* tokens of nb_branches' trunks, which have streams of their own */
    float *trunk, *trunk_aside;          /* trunk_room x embedding */
    void *trunk_lent;                    /* as large as run.lent; NULL if there is no trunk_room */
};

static enum nb_status
new_forward(struct nb_forward **forward, struct nb_pool *pool, const struct nb_scratch *sizes, bool continues,
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
    f->run.scratch = *sizes;
    f->run.scratch.threads = nb_pool_threads(pool);
    f->continues = continues;
    *forward = f;
    return NB_OK;
}

enum nb_status
nb_forward_new(struct nb_forward **forward, struct nb_pool *pool, uint32_t chunks, uint32_t chunk_tokens,
               struct nb_error *err)
{
    const struct nb_scratch sizes = { .tokens = (size_t)chunks * chunk_tokens,
                                      .chunks = chunks,
                                      .chunk_tokens = chunk_tokens };

    return new_forward(forward, pool, &sizes, false, err);
}

enum nb_status
nb_forward_new_text(struct nb_forward **forward, struct nb_pool *pool, uint32_t batch, uint32_t context,
                    struct nb_error *err)
{
    return nb_forward_new_texts(forward, pool, 1, batch, context, err);
}

enum nb_status
nb_forward_new_texts(struct nb_forward **forward, struct nb_pool *pool, uint32_t texts, uint32_t batch,
                     uint32_t context, struct nb_error *err)
{
    const struct nb_scratch sizes = { .tokens = (size_t)texts * batch, .chunks = texts, .chunk_tokens = context };

    return new_forward(forward, pool, &sizes, true, err);
}

enum nb_status
nb_forward_new_branches(struct nb_forward **forward, struct nb_pool *pool, const struct nb_branches *most,
                        struct nb_error *err)
{
    const size_t trunks = (size_t)most->trunks * most->trunk_tokens;
    const size_t branches = (size_t)most->branches * most->branch_tokens;
    const struct nb_scratch sizes = { .tokens = trunks > branches ? trunks : branches,
                                      .chunks = most->branches,
                                      .chunk_tokens = (size_t)most->trunk_tokens + most->branch_tokens };
    const enum nb_status status = new_forward(forward, pool, &sizes, false, err);

    if (status == NB_OK)
        (*forward)->trunk_room = trunks;
    return status;
}

void
nb_forward_keep(struct nb_forward *f, uint64_t bytes)
{
    f->run.panels.keep = bytes;
}

void
nb_forward_round(struct nb_forward *f, bool rounds)
{
    f->run.panels.rounds = rounds;
}

void
nb_forward_free(struct nb_forward *f)
{
    if (f == NULL)
        return;
    nb_panels_free(&f->run.panels);
    free(f->run.scratch.memory);
    free(f->states);
    free(f);
}

void
nb_forward_observe(struct nb_forward *f, nb_observe *observe, void *context)
{
    f->run.observe = observe;
    f->run.observer = context;
}

void
nb_forward_observe_shares(struct nb_forward *f, nb_observe_shares *observe, void *context)
{
    f->run.observe_shares = observe;
    f->run.shares_observer = context;
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

/* Whether the result of B can be added to the stream as it is computed. */
static bool
adds_at_once(const struct nb_model *m, const struct nb_block *b)
{
    return b->kind->sets_stream || (b->norm != NULL && b->norm_after == NULL && b->norm_sum == NULL &&
                                    nb_hp_or(&m->hp, NB_HP_RESIDUAL_SCALE, 1) == 1);
}

static void
place_state(struct nb_forward *f, const struct nb_model *m, size_t i, struct nb_scratch *s)
{
    f->states[i] = s->used;
    if (m->blocks[i].kind->state != NULL)
        m->blocks[i].kind->state(&m->blocks[i], s);
}

/* Takes the memory for states that later blocks read: a part of its own, which callers of steps keep for each batch. */
static void
take_lent(struct nb_forward *f, const struct nb_model *m, struct nb_scratch *s)
{
    struct nb_scratch *lent = &f->run.lent;

    *lent = *s;
    lent->memory = NULL;
    lent->used = 0;
    for (size_t i = 0; i < m->n_blocks; i++)
        if (m->blocks[i].lends)
            place_state(f, m, i, lent);
    s->too_large |= lent->too_large;
    lent->size = lent->used;
    lent->memory = nb_scratch_take(s, lent->size / sizeof(float), 1);
    f->trunk_lent = nb_scratch_take(s, f->trunk_room > 0 ? lent->size / sizeof(float) : 0, 1);
}

/* Takes the memory that is used throughout all layers; that of the blocks follows. */
static void
take_lasting(struct nb_forward *f, const struct nb_model *m, struct nb_scratch *s)
{
    struct nb_run *r = &f->run;
    const size_t embedding = nb_model_embedding(m);
    bool has_results = false, is_parallel = false;

    for (size_t i = 0; i < m->n_blocks; i++) {
        has_results |= !adds_at_once(m, &m->blocks[i]);
        is_parallel |= m->blocks[i].beside;
    }
    s->used = 0;
    r->x = nb_scratch_take(s, s->tokens, embedding);
    f->normed = nb_scratch_take(s, s->tokens, embedding);
    f->result = nb_scratch_take(s, has_results ? s->tokens : 0, embedding);
    f->aside = nb_scratch_take(s, is_parallel ? s->tokens : 0, embedding);
    f->trunk = nb_scratch_take(s, f->trunk_room, embedding);
    f->trunk_aside = nb_scratch_take(s, is_parallel ? f->trunk_room : 0, embedding);
    r->rotations = nb_scratch_take(s, s->chunk_tokens, rotated_dims(m));
    take_lent(f, m, s);
}

/* Places the states that no other block reads: one after the other if they are kept, else all of them in the same memory. */
static void
take_states(struct nb_forward *f, const struct nb_model *m, struct nb_scratch *s)
{
    const size_t start = s->used;
    size_t end = start;

    for (size_t i = 0; i < m->n_blocks; i++) {
        if (m->blocks[i].lends)
            continue;
        s->used = f->continues ? end : start;
        place_state(f, m, i, s);
        end = s->used > end ? s->used : end;
    }
    s->used = end;
}

/* The size of the scratch memory for M; false if it is too large. */
static bool
scratch_size(struct nb_forward *f, const struct nb_model *m, size_t *size)
{
    struct nb_scratch s = f->run.scratch;

    s.memory = NULL;
    s.size = 0;
    s.too_large = false;
    take_lasting(f, m, &s);
    take_states(f, m, &s);
    f->blocks = *size = s.used;
    for (size_t i = 0; i < m->n_blocks; i++) {
        s.used = f->blocks;
        m->blocks[i].kind->scratch(&m->blocks[i], &s);
        *size = s.used > *size ? s.used : *size;
    }
    return !s.too_large;
}

/* The bytes of the states of all blocks, or of those that lend theirs. */
static uint64_t
state_bytes(const struct nb_model *m, struct nb_scratch *s, bool only_lent)
{
    for (size_t i = 0; i < m->n_blocks; i++)
        if (m->blocks[i].kind->state != NULL && (m->blocks[i].lends || !only_lent))
            m->blocks[i].kind->state(&m->blocks[i], s);
    return s->too_large ? UINT64_MAX : s->used;
}

uint64_t
nb_forward_text_bytes(const struct nb_model *m, uint32_t context)
{
    struct nb_scratch s = { .tokens = 1, .chunks = 1, .chunk_tokens = context, .threads = 1 };

    return state_bytes(m, &s, false);
}

uint64_t
nb_forward_lent_bytes(const struct nb_model *m, uint32_t chunks, uint32_t chunk_tokens)
{
    struct nb_scratch s = {
        .tokens = (size_t)chunks * chunk_tokens, .chunks = chunks, .chunk_tokens = chunk_tokens, .threads = 1
    };

    return state_bytes(m, &s, true);
}

static enum nb_status
check_positions(const struct nb_forward *f, const struct nb_model *m, struct nb_error *err)
{
    if (m->positions == NULL || m->positions->rows >= f->run.scratch.chunk_tokens)
        return NB_OK;
    return nb_fail(err, NB_INPUT,
                   "%s: the model has embeddings of %zu positions, and cannot be run on chunks of %zu tokens",
                   m->source->path, m->positions->rows, f->run.scratch.chunk_tokens);
}

/* Makes M the current model. Memory of the previous one is reused if it is large enough. */
static enum nb_status
take_model(struct nb_forward *f, const struct nb_model *m, struct nb_error *err)
{
    struct nb_scratch *s = &f->run.scratch;
    size_t size, *states;
    enum nb_status status;

    if (f->run.model == m)
        return NB_OK;
    f->run.model = f->rotations_of = NULL;
    status = check_positions(f, m, err);
    if (status == NB_OK)
        status = nb_panels_for(&f->run.panels, m, f->run.pool, err);
    if (status != NB_OK)
        return status;
    states = realloc(f->states, (m->n_blocks + 1) * sizeof *states);
    if (states == NULL)
        return nb_fail_memory(err);
    f->run.states = f->states = states;
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
    take_lasting(f, m, s);
    f->run.model = m;
    f->run.first = 0;
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

/* --- the input ----------------------------------------------------------------------------------------------- */

/* Adds the embedding of POSITION to X. */
static enum nb_status
add_position(const struct nb_run *r, size_t position, unsigned worker, float *x, struct nb_error *err)
{
    const struct nb_linear *table = r->model->positions;
    float *row = r->panels.floats[worker];
    const enum nb_status status = nb_model_rows(r->model, table->weight, position, 1, &r->panels.readers[worker], row,
                                                err);

    for (size_t i = 0; i < table->columns && status == NB_OK; i++)
        x[i] += row[i];
    return status;
}

static enum nb_status
embed_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct nb_forward *f = context;
    const struct nb_run *r = &f->run;
    const struct nb_model *m = r->model;
    const struct nb_linear *table = m->token_embedding;
    const float scale = (float)nb_hp_or(&m->hp, NB_HP_EMBEDDING_SCALE, 1);
    size_t i, end = nb_run_task_rows(r, task, &i);
    enum nb_status status = NB_OK;

    for (; i < end && status == NB_OK; i++) {
        const size_t position = nb_run_position(r, i);
        float *x = r->x + i * table->columns;

        status = nb_model_rows(m, table->weight, (uint64_t)nb_run_token(r, i), 1, &r->panels.readers[worker], x, err);
        for (size_t c = 0; c < table->columns && scale != 1; c++)
            x[c] *= scale;
        if (status == NB_OK && m->positions != NULL)
            status = add_position(r, position, worker, x, err);
        if (status == NB_OK && m->embedding_norm != NULL)
            nb_norm_row(m->embedding_norm, x, table->columns, x);
    }
    return status;
}

/* --- the blocks ---------------------------------------------------------------------------------------------- */

struct sum {
    struct nb_run *run;
    float *to;
    const float *addend;
    float scale;
};

static enum nb_status
add_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct sum *s = context;
    const size_t columns = nb_model_embedding(s->run->model);
    size_t first, end = nb_run_task_rows(s->run, task, &first);

    (void)worker;
    (void)err;
    for (size_t i = first * columns; i < end * columns; i++)
        s->to[i] += s->scale * s->addend[i];
    return NB_OK;
}

/* Adds ADDEND times SCALE to TO (both tokens x embedding). */
static enum nb_status
add(struct nb_run *r, float *to, const float *addend, double scale, struct nb_error *err)
{
    struct sum sum = { r, to, addend, (float)scale };

    return nb_run_rows(r, add_task, &sum, err);
}

static enum nb_status
scale_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct sum *s = context;
    const size_t columns = nb_model_embedding(s->run->model);
    size_t first, end = nb_run_task_rows(s->run, task, &first);

    (void)worker;
    (void)err;
    for (size_t i = first * columns; i < end * columns; i++)
        s->to[i] *= s->scale;
    return NB_OK;
}

static enum nb_status
scale_stream(struct nb_run *r, float factor, struct nb_error *err)
{
    struct sum sum = { r, r->x, NULL, factor };

    return factor == 1 ? NB_OK : nb_run_rows(r, scale_task, &sum, err);
}

/* Adds the result of block number I to the stream, unless it was added at once. One that has another BESIDE it waits. */
static enum nb_status
add_result(struct nb_forward *f, size_t i, struct nb_error *err)
{
    struct nb_run *r = &f->run;
    const struct nb_block *b = &r->model->blocks[i];
    const double scale = nb_hp_or(&r->model->hp, NB_HP_RESIDUAL_SCALE, 1);
    const bool follows = i > 0 && b[-1].beside, joins = follows && b->norm_sum != NULL;
    enum nb_status status = NB_OK;

    if (b->norm_after != NULL)
        status = nb_run_norm(r, b->norm_after, r->out, r->out, err);
    if (status == NB_OK && joins)
        status = add(r, r->out, f->aside, 1, err);
    if (status == NB_OK && joins)
        status = nb_run_norm(r, b->norm_sum, r->out, r->out, err);
    if (status == NB_OK && !adds_at_once(r->model, b) && !b->beside)
        status = add(r, r->x, r->out, scale, err);
    if (status == NB_OK && follows && !joins)
        status = add(r, r->x, f->aside, scale, err);
    return status == NB_OK ? scale_stream(r, b->times, err) : status;
}

/* Runs block number I. The result of one that has another BESIDE it waits until that has read the stream. */
static enum nb_status
run_block(struct nb_forward *f, size_t i, struct nb_error *err)
{
    struct nb_run *r = &f->run;
    const struct nb_model *m = r->model;
    const struct nb_block *b = &m->blocks[i];
    const bool at_once = adds_at_once(m, b) && !b->beside;
    enum nb_status status = NB_OK;

    r->layer = b->layer;
    r->in = b->norm != NULL ? f->normed : r->x;
    r->out = at_once ? r->x : b->beside ? f->aside : f->result;
    r->scratch.used = f->blocks;
    r->state = nb_run_state_of(r, b);
    if (!at_once)
        memset(r->out, 0, r->n * nb_model_embedding(m) * sizeof *r->out);
    if (b->norm != NULL)
        status = nb_run_norm(r, b->norm, r->x, f->normed, err);
    if (status == NB_OK)
        status = b->kind->run(b, r, err);
    return status == NB_OK ? add_result(f, i, err) : status;
}

/* Runs the blocks on the tokens of the batch. */
static enum nb_status
run_batch(struct nb_forward *f, const float **hidden, struct nb_error *err)
{
    struct nb_run *r = &f->run;
    const struct nb_model *m = r->model;
    enum nb_status status;

    fill_rotations(f);
    f->blocks_done = 0;
    status = nb_run_rows(r, embed_task, f, err);
    for (size_t i = 0; i < m->n_blocks && status == NB_OK; i++) {
        status = run_block(f, i, err);
        f->blocks_done = i + 1;
    }
    r->layer = nb_model_layers(m);
    if (status == NB_OK)
        status = nb_run_norm(r, m->output_norm, r->x, f->normed, err);
    *hidden = f->normed;
    return status;
}

/* A batch of whole chunks. */
static enum nb_status
take_chunks(struct nb_forward *f, const struct nb_model *m, const int32_t *tokens, int64_t bos, uint32_t chunks,
            struct nb_error *err)
{
    struct nb_run *r = &f->run;
    enum nb_status status = take_model(f, m, err);

    if (status != NB_OK)
        return status;
    r->each = r->scratch.chunk_tokens;
    r->n = chunks * r->each;
    r->first = 0;
    r->tokens = tokens;
    r->bos = bos;
    return NB_OK;
}

enum nb_status
nb_forward_run(struct nb_forward *f, const struct nb_model *m, const int32_t *tokens, int64_t bos, uint32_t chunks,
               const float **hidden, struct nb_error *err)
{
    enum nb_status status = take_chunks(f, m, tokens, bos, chunks, err);

    return status == NB_OK ? run_batch(f, hidden, err) : status;
}

enum nb_status
nb_forward_continue(struct nb_forward *f, const struct nb_model *m, const int32_t *tokens, uint32_t n,
                    const float **hidden, struct nb_error *err)
{
    struct nb_run *r = &f->run;
    enum nb_status status = take_model(f, m, err);

    if (status != NB_OK)
        return status;
    r->each = n;
    r->n = n * r->scratch.chunks;
    r->tokens = tokens;
    r->bos = -1;
    status = run_batch(f, hidden, err);
    r->first += n;
    return status;
}

/* --- texts that begin alike --------------------------------------------------------------------------------------- */

/* Makes the trunks the batch, or the branches; their streams change places, and what their blocks lend. */
static void
turn_to(struct nb_forward *f, const struct nb_branches *b, bool trunks)
{
    struct nb_run *r = &f->run;
    float *x = r->x, *aside = f->aside;
    void *lent = r->lent.memory;

    r->x = f->trunk;
    f->trunk = x;
    r->lent.memory = f->trunk_lent;
    f->trunk_lent = lent;
    f->aside = f->trunk_aside;
    f->trunk_aside = aside;
    r->each = trunks ? b->trunk_tokens : b->branch_tokens;
    r->n = r->each * (trunks ? b->trunks : b->branches);
    r->first = trunks ? 0 : b->trunk_tokens;
    r->tokens = trunks ? b->trunk_token : b->branch_token;
    r->bos = -1;
}

struct branching {
    const struct nb_branches *branches;
    size_t chunks;
    const unsigned char *trunks, *all; /* where their states are; both are the same unless they are lent */
};

/* Copies what an array of a state has of each trunk to each of its branches, from the last on: none is still to be read. */
static void
copy_array(void *context, unsigned char *array, size_t bytes)
{
    const struct branching *b = context;
    const size_t each = bytes / b->chunks;
    const unsigned char *from = b->trunks + (array - b->all);

    for (size_t i = b->branches->branches; i-- > 0;)
        if (from != array || b->branches->trunk[i] != i)
            memcpy(array + i * each, from + b->branches->trunk[i] * each, each);
}

/* The batch is the branches. */
static void
copy_state(const struct nb_forward *f, size_t i, const struct nb_branches *b)
{
    const struct nb_block *block = &f->run.model->blocks[i];
    struct nb_scratch state = nb_run_state_of(&f->run, block);
    struct branching branching = { b, state.chunks, block->lends ? f->trunk_lent : state.memory, state.memory };

    state.on_take = copy_array;
    state.context = &branching;
    if (block->kind->state != NULL)
        block->kind->state(block, &state);
}

/* Block by block, as states of different blocks share their memory. The batch is the branches before and after. */
static enum nb_status
run_block_of_both(struct nb_forward *f, size_t i, const struct nb_branches *b, struct nb_error *err)
{
    enum nb_status status;

    turn_to(f, b, true);
    status = run_block(f, i, err);
    turn_to(f, b, false);
    if (status == NB_OK)
        copy_state(f, i, b);
    return status == NB_OK ? run_block(f, i, err) : status;
}

static enum nb_status
run_branches(struct nb_forward *f, const struct nb_branches *b, const float **hidden, struct nb_error *err)
{
    struct nb_run *r = &f->run;
    enum nb_status status;

    turn_to(f, b, true);
    status = nb_run_rows(r, embed_task, f, err);
    turn_to(f, b, false);
    if (status == NB_OK)
        status = nb_run_rows(r, embed_task, f, err);
    for (size_t i = 0; i < r->model->n_blocks && status == NB_OK; i++) {
        status = run_block_of_both(f, i, b, err);
        f->blocks_done = i + 1;
    }
    r->layer = nb_model_layers(r->model);
    if (status == NB_OK)
        status = nb_run_norm(r, r->model->output_norm, r->x, f->normed, err);
    *hidden = f->normed;
    return status;
}

enum nb_status
nb_forward_run_branches(struct nb_forward *f, const struct nb_model *m, const struct nb_branches *b,
                        const float **hidden, struct nb_error *err)
{
    enum nb_status status;

    if (b->trunk_tokens == 0)
        return nb_forward_run(f, m, b->branch_token, -1, b->branches, hidden, err);
    status = take_model(f, m, err);
    if (status != NB_OK)
        return status;
    fill_rotations(f);
    f->blocks_done = 0;
    return run_branches(f, b, hidden, err);
}

/* --- in steps ------------------------------------------------------------------------------------------------- */

size_t
nb_forward_step_end(const struct nb_model *m, size_t first)
{
    while (first + 1 < m->n_blocks && m->blocks[first].beside)
        first++;
    return first + 1;
}

bool
nb_forward_step_lends(const struct nb_model *m, size_t first)
{
    for (size_t i = first; i < nb_forward_step_end(m, first); i++)
        if (m->blocks[i].lends || m->blocks[i].changes_lent)
            return true;
    return false;
}

enum nb_status
nb_forward_embed(struct nb_forward *f, const struct nb_model *m, const int32_t *tokens, int64_t bos, uint32_t chunks,
                 float *x, struct nb_error *err)
{
    struct nb_run *r = &f->run;
    enum nb_status status = take_chunks(f, m, tokens, bos, chunks, err);
    float *own = r->x;

    if (status != NB_OK)
        return status;
    r->x = x;
    status = nb_run_rows(r, embed_task, f, err);
    r->x = own;
    return status;
}

enum nb_status
nb_forward_step(struct nb_forward *f, const struct nb_model *m, const int32_t *tokens, int64_t bos, uint32_t chunks,
                size_t first, const struct nb_stream *stream, struct nb_error *err)
{
    struct nb_run *r = &f->run;
    const size_t end = nb_forward_step_end(m, first);
    enum nb_status status = take_chunks(f, m, tokens, bos, chunks, err);
    float *x = r->x;
    void *lent = r->lent.memory;

    if (status != NB_OK)
        return status;
    fill_rotations(f);
    r->x = stream->x;
    r->lent.memory = stream->lent;
    for (size_t i = first; i < end && status == NB_OK; i++)
        status = run_block(f, i, err);
    r->x = x;
    r->lent.memory = lent;
    return status;
}

enum nb_status
nb_forward_end(struct nb_forward *f, const struct nb_model *m, uint32_t chunks, const float *x, float *hidden,
               struct nb_error *err)
{
    struct nb_run *r = &f->run;
    enum nb_status status = take_chunks(f, m, NULL, -1, chunks, err);

    r->layer = nb_model_layers(m);
    return status == NB_OK ? nb_run_norm(r, m->output_norm, x, hidden, err) : status;
}

/* --- the output ---------------------------------------------------------------------------------------------- */

/* The factor of the logits, 0 for none. */
static double
logit_factor(const struct nb_model *m)
{
    const double scale = nb_hp(&m->hp, NB_HP_LOGIT_SCALE);

    return scale > 0 && m->arch->divides_logits ? 1 / scale : scale;
}

struct logits {
    const struct nb_model *model;
    float *values;
};

/* Scales the logits of a token, then caps them. */
static enum nb_status
finish_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct logits *l = context;
    const size_t n = l->model->output->rows;
    const double factor = logit_factor(l->model), cap = nb_hp(&l->model->hp, NB_HP_FINAL_SOFTCAP);
    float *row = l->values + task * n;

    (void)worker;
    (void)err;
    for (size_t i = 0; i < n && factor > 0; i++)
        row[i] *= (float)factor;
    if (cap > 0)
        nb_vector_math()->soft_cap(row, n, (float)cap);
    return NB_OK;
}

enum nb_status
nb_forward_logits(struct nb_forward *f, const struct nb_model *m, const float *hidden, size_t rows, float *logits,
                  struct nb_error *err)
{
    const struct nb_product product = { m->output, 0, logits, false };
    struct logits l = { m, logits };
    enum nb_status status = take_model(f, m, err);

    if (status == NB_OK)
        status = nb_multiply(&f->run.panels, hidden, rows, &product, 1, err);
    if (status == NB_OK && (nb_hp(&m->hp, NB_HP_LOGIT_SCALE) > 0 || nb_hp(&m->hp, NB_HP_FINAL_SOFTCAP) > 0))
        status = nb_pool_run(f->run.pool, finish_task, &l, rows, err);
    return status;
}
