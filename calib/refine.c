#include "calib/refine.h"

#include "calib/moments.h"
#include "formats/base/checked.h"
#include "formats/base/file_in.h"
#include "formats/base/pool.h"
#include "formats/models/source.h"
#include "quantize/search/refine.h"
#include "verify/run/forward.h"
#include "verify/run/product.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HELD_OUT 5u                            /* one batch of so many */
#define MAX_GROUPS 16u                         /* in a step */
#define PIECE_FLOATS ((size_t)64 << 20)        /* of a matrix, that are refined at once */
#define EXPERT_BYTES ((uint64_t)1024 << 20)    /* of moments of experts that are gathered at once */
#define PSEUDO_TOKENS(columns) ((columns) / 4) /* by which the moments of an expert are drawn to those of all experts */

#define EMBEDDING_SHARE 1.0f /* of the diagonal that a tied output gets for being the embedding, too */

/* What tokens count for in the moments of an input. */
enum weighting {
    ALL_ALIKE,
    BY_SHARES, /* keys and values: the attention that a token gets */
    BY_STREAM, /* what is added to the stream: one over the mean square of what is then there, by which it will be divided */
};

/* Matrices that are multiplied with the same input, and for which tokens count alike. */
struct group {
    const struct nb_linear *matrix[NB_MAX_PRODUCTS];
    size_t count;
    const char *key; /* the name of the first matrix of the product */
    enum weighting weighting;
    bool repairs; /* the product is added to the stream as it is, and can repair it */
    bool is_last; /* of the step: the original model has then done it */
};

struct run {
    const struct nb_model *original;
    const struct nb_refine_options *options;
    struct nb_source source; /* the quantized file */
    struct nb_model quantized;
    int fd; /* it, to be written */
    struct nb_pool *pool;
    struct nb_pool_watch watch;
    volatile sig_atomic_t break_off;
    struct nb_forward *of_original, *of_quantized;
    struct nb_view_reader *readers; /* one per thread */
    int32_t *tokens;
    uint32_t chunks, batch;                    /* chunks */
    float *original_stream, *quantized_stream; /* of all tokens */
    struct nb_refine_summary *summary;

    size_t step; /* the first block of the current one */
    struct group groups[MAX_GROUPS];
    size_t n_groups;

    /* The group whose moments are gathered. */
    const struct group *wanted;
    struct nb_moments *fit, *held;         /* of experts from FIRST_EXPERT on, or of the only one */
    struct nb_moments fit_pool, held_pool; /* of all experts */
    uint32_t first_expert, experts;
    bool is_held, seen;
    float *stream; /* a batch's copy */
    float *input;  /* of the original model */
    float *room, *error, *weights;
    float *shares; /* of attention that the tokens of a batch get from each head: heads x tokens */
    size_t heads;
};

static size_t
embedding(const struct run *r)
{
    return nb_model_embedding(r->original);
}

/* --- batches -------------------------------------------------------------------------------------------------- */

static uint32_t
batches(const struct run *r)
{
    return (r->chunks + r->batch - 1) / r->batch;
}

static uint32_t
chunks_in(const struct run *r, uint32_t batch)
{
    const uint32_t left = r->chunks - batch * r->batch;

    return left < r->batch ? left : r->batch;
}

static size_t
tokens_in(const struct run *r, uint32_t batch)
{
    return (size_t)chunks_in(r, batch) * r->options->chunk_tokens;
}

/* The first token of BATCH. */
static size_t
start_of(const struct run *r, uint32_t batch)
{
    return (size_t)batch * r->batch * r->options->chunk_tokens;
}

static bool
is_held_out(const struct run *r, uint32_t batch)
{
    return batches(r) < HELD_OUT ? batch + 1 == batches(r) : batch % HELD_OUT == HELD_OUT - 1;
}

/* --- groups --------------------------------------------------------------------------------------------------- */

static bool
has_role(const struct nb_linear *m, const char *name)
{
    char role[64];

    snprintf(role, sizeof role, "blk.%%l.%s.weight", name);
    return m->role != NULL && strcmp(m->role, role) == 0;
}

static enum weighting
weighting_of(const struct nb_linear *m)
{
    if (has_role(m, "attn_k") || has_role(m, "attn_v"))
        return BY_SHARES;
    return has_role(m, "attn_output") || has_role(m, "ffn_down") ? BY_STREAM : ALL_ALIKE;
}

/* Whether the result of block B is added to the stream without a norm or a factor. */
static bool
adds_plainly(const struct nb_model *m, const struct nb_block *b)
{
    return b->norm_after == NULL && b->norm_sum == NULL && b->times == 1 &&
           nb_hp_or(&m->hp, NB_HP_RESIDUAL_SCALE, 1) == 1;
}

static bool
can_refine(const struct nb_linear *m)
{
    return nb_can_refine(m->weight->type) && m->scale == NULL && nb_view_is_stored(m->weight) &&
           m->weight->n_pieces == 1 && m->columns % nb_type_info(m->weight->type)->block == 0;
}

/* The group of the product that begins with KEY and of WEIGHTING, made if need be; NULL if there are too many. */
static struct group *
group_of(struct run *r, const char *key, enum weighting weighting)
{
    struct group *g = r->groups;

    while (g < r->groups + r->n_groups && (strcmp(g->key, key) != 0 || g->weighting != weighting))
        g++;
    if (g == r->groups + MAX_GROUPS)
        return NULL;
    if (g == r->groups + r->n_groups) {
        *g = (struct group){ .key = key, .weighting = weighting };
        r->n_groups++;
    }
    return g;
}

/* Notes the matrices of the quantized model that are used. */
static enum nb_status
note(void *context, const struct nb_linear *const *matrices, size_t count, uint32_t expert, const float *input,
     size_t tokens, struct nb_error *err)
{
    struct run *r = context;

    (void)input;
    (void)tokens;
    (void)err;
    for (size_t i = 0; i < count && expert == 0; i++) {
        struct group *g = can_refine(matrices[i]) ? group_of(r, matrices[0]->name, weighting_of(matrices[i])) : NULL;
        bool is_new = g != NULL && g->count < NB_MAX_PRODUCTS;

        for (size_t k = 0; is_new && k < g->count; k++)
            is_new = g->matrix[k] != matrices[i];
        if (is_new)
            g->matrix[g->count++] = matrices[i];
    }
    return NB_OK;
}

/* Experts that the first batch does not choose are in the group all the same: their matrix is that of the others. */
static enum nb_status
find_groups(struct run *r, struct nb_error *err)
{
    const struct nb_block *b = &r->quantized.blocks[r->step];
    const size_t blocks = nb_forward_step_end(&r->quantized, r->step) - r->step;
    enum nb_status status;

    r->n_groups = 0;
    nb_forward_observe(r->of_quantized, note, r);
    memcpy(r->stream, r->quantized_stream, tokens_in(r, 0) * embedding(r) * sizeof(float));
    status = nb_forward_step(r->of_quantized, &r->quantized, r->tokens, r->options->bos, chunks_in(r, 0), r->step,
                             r->stream, err);
    nb_forward_observe(r->of_quantized, NULL, NULL);
    for (size_t i = 0; i < r->n_groups; i++) {
        struct group *g = &r->groups[i];

        g->is_last = i + 1 == r->n_groups && g->weighting != ALL_ALIKE && g->matrix[0]->experts == 1;
        g->repairs = g->is_last && blocks == 1 && g->count == 1 && g->weighting == BY_STREAM &&
                     adds_plainly(&r->quantized, b);
    }
    return status;
}

/* --- moments --------------------------------------------------------------------------------------------------- */

static bool
is_wanted(const struct run *r, const struct nb_linear *const *matrices)
{
    return strcmp(matrices[0]->name, r->wanted->key) == 0;
}

/* Keeps the original input. What follows is run only if the weights of tokens depend on it. */
static enum nb_status
take_original(void *context, const struct nb_linear *const *matrices, size_t count, uint32_t expert, const float *input,
              size_t tokens, struct nb_error *err)
{
    struct run *r = context;

    (void)count;
    (void)expert;
    (void)err;
    if (!is_wanted(r, matrices))
        return NB_OK;
    memcpy(r->input, input, tokens * matrices[0]->columns * sizeof *input);
    r->seen = true;
    return r->wanted->weighting == ALL_ALIKE ? NB_INTERRUPTED : NB_OK;
}

static enum nb_status
take_quantized(void *context, const struct nb_linear *const *matrices, size_t count, uint32_t expert,
               const float *input, size_t tokens, struct nb_error *err)
{
    struct run *r = context;
    const bool is_mixture = matrices[0]->experts > 1;
    const struct nb_moments_input in = { .n = tokens,
                                         .x = input,
                                         .o = r->input,
                                         .e = r->error,
                                         .weights = r->wanted->weighting == ALL_ALIKE ? NULL : r->weights,
                                         .room = r->room };
    enum nb_status status = NB_OK;

    (void)count;
    if (!is_wanted(r, matrices))
        return NB_OK;
    r->seen = true;
    if (is_mixture)
        status = nb_moments_add(r->is_held ? &r->held_pool : &r->fit_pool, r->pool, &in, err);
    if (status == NB_OK && expert >= r->first_expert && expert - r->first_expert < r->experts)
        status = nb_moments_add(&(r->is_held ? r->held : r->fit)[expert - r->first_expert], r->pool, &in, err);
    return status != NB_OK || is_mixture ? status : NB_INTERRUPTED;
}

/* Adds the shares of attention of some queries. */
static void
add_shares(void *context, size_t chunk, size_t head, const float *shares, size_t rows, size_t row, size_t first,
           size_t n)
{
    struct run *r = context;
    float *sum = r->shares + (head * r->batch + chunk) * r->options->chunk_tokens + first;

    for (size_t i = 0; i < rows && head < r->heads; i++)
        for (size_t k = 0; k < n; k++)
            sum[k] += shares[i * row + k];
}

/* Makes the mean of the weights of N tokens 1. */
static void
normalize(float *weights, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += (double)weights[i];
    for (size_t i = 0; i < n; i++)
        weights[i] = sum > 0 ? (float)((double)weights[i] * (double)n / sum) : 1;
}

static void
weigh_by_shares(struct run *r, size_t n)
{
    const size_t apart = (size_t)r->batch * r->options->chunk_tokens;

    memset(r->weights, 0, n * sizeof *r->weights);
    for (size_t head = 0; head < r->heads; head++)
        for (size_t i = 0; i < n; i++)
            r->weights[i] += r->shares[head * apart + i];
    normalize(r->weights, n);
}

/* STREAM: the original one after the step. */
static void
weigh_by_stream(struct run *r, size_t n)
{
    const size_t columns = embedding(r);

    for (size_t i = 0; i < n; i++) {
        double square = 0;

        for (size_t k = 0; k < columns; k++)
            square += (double)r->stream[i * columns + k] * (double)r->stream[i * columns + k];
        r->weights[i] = square > 0 ? (float)((double)columns / square) : 0;
    }
    normalize(r->weights, n);
}

/* Runs the current step on a copy of a stream's part for BATCH, as far as the observer wants. */
static enum nb_status
run_copy(struct run *r, bool is_original, uint32_t batch, struct nb_error *err)
{
    const size_t start = start_of(r, batch);
    const float *stream = is_original ? r->original_stream : r->quantized_stream;
    enum nb_status status;

    memcpy(r->stream, stream + start * embedding(r), tokens_in(r, batch) * embedding(r) * sizeof *stream);
    r->seen = false;
    status = nb_forward_step(is_original ? r->of_original : r->of_quantized, is_original ? r->original : &r->quantized,
                             r->tokens + start, r->options->bos, chunks_in(r, batch), r->step, r->stream, err);
    return status == NB_INTERRUPTED && r->seen && !r->break_off ? NB_OK : status;
}

static enum nb_status
gather_batch(struct run *r, uint32_t batch, struct nb_error *err)
{
    const size_t n = tokens_in(r, batch), from = start_of(r, batch) * embedding(r);
    enum nb_status status;

    r->is_held = is_held_out(r, batch);
    memset(r->shares, 0, r->heads * r->batch * r->options->chunk_tokens * sizeof *r->shares);
    for (size_t i = 0; r->wanted->repairs && i < n * embedding(r); i++)
        r->error[i] = r->original_stream[from + i] - r->quantized_stream[from + i];
    status = r->wanted->matrix[0]->experts > 1 ? NB_OK : run_copy(r, true, batch, err);
    if (r->wanted->weighting == BY_SHARES)
        weigh_by_shares(r, n);
    else if (r->wanted->weighting == BY_STREAM)
        weigh_by_stream(r, n);
    if (r->wanted->is_last)
        memcpy(r->original_stream + from, r->stream, n * embedding(r) * sizeof *r->stream);
    return status == NB_OK ? run_copy(r, false, batch, err) : status;
}

static void
free_moments(struct run *r)
{
    for (uint32_t i = 0; i < r->experts; i++) {
        if (r->fit != NULL)
            nb_moments_free(&r->fit[i]);
        if (r->held != NULL)
            nb_moments_free(&r->held[i]);
    }
    nb_moments_free(&r->fit_pool);
    nb_moments_free(&r->held_pool);
    free(r->fit);
    free(r->held);
    free(r->input);
    free(r->room);
    r->fit = r->held = NULL;
    r->input = r->room = NULL;
}

/* For experts from FIRST on: as many as memory is meant for. */
static enum nb_status
new_moments(struct run *r, uint32_t first, bool with_original, struct nb_error *err)
{
    const struct nb_linear *m = r->wanted->matrix[0];
    const uint64_t bytes = 2 * (uint64_t)m->columns * m->columns * sizeof(float);
    const uint64_t fits = EXPERT_BYTES / bytes > 0 ? EXPERT_BYTES / bytes : 1, left = m->experts - first;
    const size_t rows = r->wanted->repairs ? m->rows : 0, floats = tokens_in(r, 0) * m->columns;
    bool good;

    r->first_expert = first;
    r->experts = (uint32_t)(left < fits ? left : fits);
    r->fit = calloc(r->experts, sizeof *r->fit);
    r->held = calloc(r->experts, sizeof *r->held);
    r->input = nb_aligned(floats * sizeof(float));
    r->room = nb_aligned(floats * sizeof(float));
    good = r->fit != NULL && r->held != NULL && r->input != NULL && r->room != NULL;
    for (uint32_t i = 0; i < r->experts && good; i++)
        good = nb_moments_new(&r->fit[i], m->columns, with_original, rows) &&
               nb_moments_new(&r->held[i], m->columns, with_original, rows);
    if (good && m->experts > 1)
        good = nb_moments_new(&r->fit_pool, m->columns, false, 0) &&
               nb_moments_new(&r->held_pool, m->columns, false, 0);
    return good ? NB_OK : nb_fail_memory(err);
}

/* Adds to the moments of an expert some of those of all experts: few tokens say little. */
static void
draw_to_pool(struct nb_moments *m, const struct nb_moments *pool)
{
    const float factor = (float)PSEUDO_TOKENS(m->columns) / (float)(pool->tokens > 0 ? pool->tokens : 1);

    for (size_t i = 0; i < m->columns * m->columns; i++)
        m->h[i] += factor * pool->h[i];
}

static enum nb_status
gather(struct run *r, struct nb_error *err)
{
    enum nb_status status = NB_OK;

    nb_forward_observe(r->of_original, take_original, r);
    nb_forward_observe(r->of_quantized, take_quantized, r);
    if (r->wanted->weighting == BY_SHARES)
        nb_forward_observe_shares(r->of_original, add_shares, r);
    for (uint32_t b = 0; b < batches(r) && status == NB_OK; b++)
        status = gather_batch(r, b, err);
    nb_forward_observe(r->of_original, NULL, NULL);
    nb_forward_observe(r->of_quantized, NULL, NULL);
    nb_forward_observe_shares(r->of_original, NULL, NULL);
    for (uint32_t i = 0; i < r->experts; i++) {
        if (r->fit_pool.h != NULL) {
            draw_to_pool(&r->fit[i], &r->fit_pool);
            draw_to_pool(&r->held[i], &r->held_pool);
        }
        nb_moments_finish(&r->fit[i]);
        nb_moments_finish(&r->held[i]);
    }
    return status;
}

/* --- matrices -------------------------------------------------------------------------------------------------- */

struct reading {
    struct run *run;
    const struct nb_linear *matrix;
    uint64_t first;
    size_t rows;
    float *out;
};

#define ROWS_IN_TASK 64u

static enum nb_status
read_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct reading *g = context;
    const size_t first = task * ROWS_IN_TASK, rows = g->rows - first < ROWS_IN_TASK ? g->rows - first : ROWS_IN_TASK;

    return nb_model_rows(g->run->original, g->matrix->weight, g->first + first, rows, &g->run->readers[worker],
                         g->out + first * g->matrix->columns, err);
}

static enum nb_status
write_blocks(const struct run *r, const void *bytes, size_t size, uint64_t offset, struct nb_error *err)
{
    for (size_t done = 0; done < size;) {
        const ssize_t n = pwrite(r->fd, (const char *)bytes + done, size - done, (off_t)(offset + done));

        if (n < 0 && errno != EINTR)
            return nb_fail(err, NB_SYSTEM, "%s: %s", r->source.path, strerror(errno));
        done += n > 0 ? (size_t)n : 0;
    }
    return NB_OK;
}

static const struct nb_linear *
original_of(const struct run *r, const struct nb_linear *m)
{
    const struct nb_linear *o = r->original->matrices;

    while (o != NULL && strcmp(o->name, m->name) != 0)
        o = o->next;
    return o;
}

/* ROWS rows of M from row FIRST on, of all experts; MOMENTS_ROW is the first of them in its expert. */
static enum nb_status
refine_piece(struct run *r, const struct nb_refine_inputs *in, const struct nb_linear *m, uint64_t first, size_t rows,
             struct nb_error *err)
{
    const struct nb_type_info *info = nb_type_info(m->weight->type);
    const uint64_t row_bytes = m->columns / info->block * info->block_bytes;
    float *weights = nb_aligned((uint64_t)rows * m->columns * sizeof *weights);
    void *blocks = nb_malloc(rows * row_bytes);
    struct reading reading = { r, original_of(r, m), first, rows, weights };
    const struct nb_refine_matrix matrix = { m->weight->type, rows, m->columns, weights, blocks };
    struct nb_refine_result result = { 0 };
    enum nb_status status = weights == NULL || blocks == NULL ? nb_fail_memory(err) : NB_OK;

    if (status == NB_OK)
        status = nb_pool_run(r->pool, read_task, &reading, (rows + ROWS_IN_TASK - 1) / ROWS_IN_TASK, err);
    if (status == NB_OK)
        status = nb_view_fetch(m->weight, first * m->columns, (uint64_t)rows * m->columns, &r->readers[0], err);
    if (status == NB_OK) {
        memcpy(blocks, r->readers[0].elements, rows * row_bytes);
        status = nb_refine_matrix(in, &matrix, r->pool, &result, err);
    }
    if (status == NB_OK && result.taken)
        status = write_blocks(r, blocks, rows * row_bytes, nb_view_offset(m->weight) + first * row_bytes, err);
    if (status == NB_OK && r->options->refined != NULL)
        r->options->refined(r->options->context, m->name, &result);
    r->summary->matrices++;
    r->summary->refined += result.taken;
    free(weights);
    free(blocks);
    return status;
}

/* Where the moments have a row for each of the matrix, it is refined as a whole. */
static enum nb_status
refine_expert(struct run *r, const struct nb_refine_inputs *in, const struct nb_linear *m, uint32_t expert,
              struct nb_error *err)
{
    const size_t piece = PIECE_FLOATS / m->columns / ROWS_IN_TASK * ROWS_IN_TASK;
    const size_t at_once = in->fit->r != NULL || piece == 0 || piece > m->rows ? m->rows : piece;
    enum nb_status status = NB_OK;

    for (size_t first = 0; first < m->rows && status == NB_OK; first += at_once)
        status = refine_piece(r, in, m, (uint64_t)expert * m->rows + first,
                              m->rows - first < at_once ? m->rows - first : at_once, err);
    return status;
}

static enum nb_status
refine_experts(struct run *r, struct nb_error *err)
{
    enum nb_status status = NB_OK;

    for (uint32_t e = 0; e < r->experts && status == NB_OK; e++) {
        struct nb_refine_inputs in;

        if (r->fit[e].tokens == 0)
            continue; /* an expert that no token reached keeps its blocks */
        status = nb_refine_prepare(&in, &r->fit[e], &r->held[e], err);
        for (size_t i = 0; i < r->wanted->count && status == NB_OK; i++)
            status = refine_expert(r, &in, r->wanted->matrix[i], r->first_expert + e, err);
        nb_refine_inputs_free(&in);
    }
    return status;
}

static enum nb_status
refine_group(struct run *r, const struct group *g, struct nb_error *err)
{
    enum nb_status status = NB_OK;

    r->wanted = g;
    for (uint32_t first = 0; first < g->matrix[0]->experts && status == NB_OK; first += r->experts) {
        status = new_moments(r, first, g->matrix[0]->experts == 1, err);
        if (status == NB_OK)
            status = gather(r, err);
        if (status == NB_OK)
            status = refine_experts(r, err);
        free_moments(r);
    }
    return status;
}

/* --- steps ------------------------------------------------------------------------------------------------------ */

/* Does the current step in one of the models, or makes its stream. */
static enum nb_status
each_batch(struct run *r, bool is_original, bool embeds, struct nb_error *err)
{
    struct nb_forward *f = is_original ? r->of_original : r->of_quantized;
    const struct nb_model *m = is_original ? r->original : &r->quantized;
    float *all = is_original ? r->original_stream : r->quantized_stream;
    enum nb_status status = NB_OK;

    for (uint32_t b = 0; b < batches(r) && status == NB_OK; b++) {
        const size_t start = start_of(r, b);
        const int32_t *tokens = r->tokens + start;
        float *stream = all + start * embedding(r);

        status = embeds ? nb_forward_embed(f, m, tokens, r->options->bos, chunks_in(r, b), stream, err)
                        : nb_forward_step(f, m, tokens, r->options->bos, chunks_in(r, b), r->step, stream, err);
    }
    return status;
}

/* --- the output ------------------------------------------------------------------------------------------------- */

/* The moments of BATCH's last states: of the original model alone if the output is tied, else of both streams. */
static enum nb_status
gather_states(struct run *r, bool is_tied, uint32_t batch, struct nb_error *err)
{
    const size_t start = start_of(r, batch), at = start * embedding(r);
    const uint32_t n = chunks_in(r, batch);
    const float *states = r->stream;
    enum nb_status status;

    if (is_tied) {
        status = nb_forward_run(r->of_original, r->original, r->tokens + start, r->options->bos, n, &states, err);
    } else {
        status = nb_forward_end(r->of_original, r->original, n, r->original_stream + at, r->input, err);
        if (status == NB_OK)
            status = nb_forward_end(r->of_quantized, &r->quantized, n, r->quantized_stream + at, r->stream, err);
    }
    if (status == NB_OK) {
        const struct nb_moments_input in = { .n = tokens_in(r, batch), .x = states, .o = r->input };

        status = nb_moments_add(is_held_out(r, batch) ? r->held : r->fit, r->pool, &in, err);
    }
    return status;
}

/* A tied output is the embedding, too, for which all columns count alike. */
static void
add_embedding(struct nb_moments *m)
{
    double sum = 0;

    for (size_t i = 0; i < m->columns; i++)
        sum += (double)m->h[i * m->columns + i];
    for (size_t i = 0; i < m->columns; i++)
        m->h[i * m->columns + i] += EMBEDDING_SHARE * (float)(sum / (double)m->columns);
}

/*
 * The output matrix. One that is the embedding as well is refined before the layers, which then see its error, by the
 * states of the original model.
 */
static enum nb_status
refine_output(struct run *r, struct nb_error *err)
{
    const struct nb_model *m = &r->quantized;
    const bool is_tied = m->output->weight == m->token_embedding->weight;
    const struct group g = { .matrix = { m->output }, .count = 1, .key = m->output->name };
    enum nb_status status;

    r->wanted = &g;
    status = new_moments(r, 0, !is_tied, err);
    for (uint32_t b = 0; b < batches(r) && status == NB_OK; b++)
        status = gather_states(r, is_tied, b, err);
    if (status == NB_OK) {
        nb_moments_finish(r->fit);
        nb_moments_finish(r->held);
        if (is_tied) {
            add_embedding(r->fit);
            add_embedding(r->held);
        }
        status = refine_experts(r, err);
    }
    free_moments(r);
    return status;
}

static enum nb_status
refine_steps(struct run *r, struct nb_error *err)
{
    const bool refines_output = can_refine(r->quantized.output);
    const bool is_tied = r->quantized.output->weight == r->quantized.token_embedding->weight;
    enum nb_status status = refines_output && is_tied ? refine_output(r, err) : NB_OK;

    if (status == NB_OK)
        status = each_batch(r, true, true, err);
    if (status == NB_OK)
        status = each_batch(r, false, true, err);
    for (r->step = 0; r->step < r->quantized.n_blocks && status == NB_OK;) {
        status = find_groups(r, err);
        for (size_t i = 0; i < r->n_groups && status == NB_OK; i++)
            status = refine_group(r, &r->groups[i], err);
        if (status == NB_OK && (r->n_groups == 0 || !r->groups[r->n_groups - 1].is_last))
            status = each_batch(r, true, false, err);
        if (status == NB_OK)
            status = each_batch(r, false, false, err);
        r->step = nb_forward_step_end(&r->quantized, r->step);
    }
    if (status == NB_OK && refines_output && !is_tied)
        status = refine_output(r, err);
    return status;
}

/* --- the run ---------------------------------------------------------------------------------------------------- */

uint32_t
nb_refine_chunks(size_t count, const struct nb_refine_options *o)
{
    const size_t all = count / o->chunk_tokens;

    return (uint32_t)(o->max_chunks > 0 && all > o->max_chunks ? o->max_chunks : all);
}

/* Copies the chunks that are used, from all over the text. */
static bool
choose_chunks(struct run *r, const int32_t *tokens, size_t count)
{
    const size_t each = r->options->chunk_tokens, all = count / each;

    r->tokens = nb_malloc((uint64_t)r->chunks * each * sizeof *tokens);
    for (size_t i = 0; r->tokens != NULL && i < r->chunks; i++)
        memcpy(r->tokens + i * each, tokens + i * all / r->chunks * each, each * sizeof *tokens);
    return r->tokens != NULL;
}

static void
look(void *context)
{
    struct run *r = context;
    char what[64];

    if (r->options->progress != NULL && r->quantized.n_blocks > 0) {
        snprintf(what, sizeof what, "block %zu of %zu", r->step + 1, r->quantized.n_blocks);
        r->options->progress(r->options->context, what, (double)r->step / (double)r->quantized.n_blocks);
    }
    if (r->options->stop != NULL && *r->options->stop)
        r->break_off = 1;
}

static enum nb_status
allocate(struct run *r, const int32_t *tokens, size_t count, struct nb_error *err)
{
    const uint64_t all = (uint64_t)r->chunks * r->options->chunk_tokens;
    const uint64_t batch = (uint64_t)r->batch * r->options->chunk_tokens, columns = embedding(r);

    for (uint32_t i = 0; i < nb_model_layers(r->original); i++) {
        const size_t heads = (size_t)nb_hp_at(&r->original->hp, NB_HP_HEADS, i);

        r->heads = heads > r->heads ? heads : r->heads;
    }
    r->original_stream = nb_aligned(all * columns * sizeof(float));
    r->quantized_stream = nb_aligned(all * columns * sizeof(float));
    r->stream = nb_aligned(batch * columns * sizeof(float));
    r->error = nb_aligned(batch * columns * sizeof(float));
    r->weights = nb_aligned(batch * sizeof(float));
    r->shares = nb_aligned((r->heads + 1) * batch * sizeof(float));
    r->readers = calloc(nb_pool_threads(r->pool), sizeof *r->readers);
    return choose_chunks(r, tokens, count) && r->original_stream != NULL && r->quantized_stream != NULL &&
                   r->stream != NULL && r->error != NULL && r->weights != NULL && r->shares != NULL &&
                   r->readers != NULL
               ? NB_OK
               : nb_fail_memory(err);
}

static enum nb_status
start(struct run *r, const char *path, struct nb_error *err)
{
    enum nb_status status = nb_pool_new(&r->pool, r->options->threads, err);

    if (status != NB_OK)
        return status;
    r->watch = (struct nb_pool_watch){ look, r, &r->break_off };
    nb_pool_watch(r->pool, &r->watch);
    status = nb_forward_new(&r->of_original, r->pool, r->batch, r->options->chunk_tokens, err);
    if (status == NB_OK)
        status = nb_forward_new(&r->of_quantized, r->pool, r->batch, r->options->chunk_tokens, err);
    r->fd = nb_open(path, O_WRONLY | O_CLOEXEC, 0);
    if (status == NB_OK && r->fd < 0)
        status = nb_fail(err, NB_SYSTEM, "%s: %s", path, strerror(errno));
    return status;
}

static void
finish(struct run *r)
{
    for (unsigned i = 0; r->readers != NULL && i < nb_pool_threads(r->pool); i++)
        nb_view_reader_free(&r->readers[i]);
    free(r->readers);
    free(r->tokens);
    free(r->original_stream);
    free(r->quantized_stream);
    free(r->stream);
    free(r->error);
    free(r->weights);
    free(r->shares);
    nb_forward_free(r->of_original);
    nb_forward_free(r->of_quantized);
    nb_pool_free(r->pool);
    if (r->fd >= 0)
        close(r->fd);
}

enum nb_status
nb_refine_file(const struct nb_model *original, const char *path, const int32_t *tokens, size_t count,
               const struct nb_refine_options *o, struct nb_refine_summary *summary, struct nb_error *err)
{
    struct run r = { .original = original, .options = o, .fd = -1, .summary = summary };
    uint32_t whole = NB_BATCH_TOKENS / o->chunk_tokens;
    enum nb_status status;

    *summary = (struct nb_refine_summary){ 0 };
    r.chunks = nb_refine_chunks(count, o);
    summary->tokens = (size_t)r.chunks * o->chunk_tokens;
    if (r.chunks < 2)
        return nb_fail(err, NB_INPUT,
                       "the text has %zu tokens, fewer than the two chunks of %" PRIu32 " that are needed", count,
                       o->chunk_tokens);
    if (!nb_forward_has_steps(original))
        return nb_fail(err, NB_UNSUPPORTED, "%s: layers that use what others leave cannot be refined one by one",
                       original->source->path);
    whole = whole > r.chunks / (2 * HELD_OUT) ? r.chunks / (2 * HELD_OUT) : whole;
    r.batch = whole > 0 ? whole : 1;
    status = nb_source_open(&r.source, path, NULL, err);
    if (status != NB_OK)
        return status;
    status = nb_model_open(&r.quantized, &r.source, err);
    if (status == NB_OK) {
        status = start(&r, path, err);
        if (status == NB_OK)
            status = allocate(&r, tokens, count, err);
        if (status == NB_OK)
            status = refine_steps(&r, err);
        finish(&r);
        nb_model_close(&r.quantized);
    }
    nb_source_close(&r.source);
    return status;
}
