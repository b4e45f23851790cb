/*
 * AltUp (Baykal et al. 2023, as in Gemma 3n): beside the stream that blocks read there are several, of which the layers
 * compute one and predict the others. "altup_start" makes them from the embeddings; in each layer "altup_predict" mixes them
 * and gives the active one to the blocks, "altup_correct" brings what these have changed into all of them, "altup_input"
 * adds the embeddings by layer; "altup_end" makes one stream of them.
 */
#include "verify/run/block.h"
#include "verify/run/blocks/layer_input.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define MAX_STREAMS 16u /* as many as the key of their number allows */

/* --- the streams ------------------------------------------------------------------------------------------------ */

struct streams {
    struct nb_linear projection; /* stacked: of each stream but the first */
    uint32_t count, active;
};

/* Row I of stream number K. */
static float *
stream_row(float *streams, const struct nb_run *r, size_t k, size_t i)
{
    return streams + (k * r->n + i) * nb_model_embedding(r->model);
}

static float *
take_streams(const struct streams *x, struct nb_scratch *s)
{
    return nb_scratch_take(s, s->tokens * x->count, x->projection.rows);
}

static enum nb_status
load_projection(struct nb_loader *l, const char *pattern, struct nb_linear *out)
{
    const uint32_t embedding = nb_model_embedding(l->model);
    const enum nb_status status = nb_load_linear(l, pattern, out);

    if (status != NB_OK || (out->columns == embedding && out->rows == embedding))
        return status;
    return nb_fail(l->err, NB_INPUT, "%s: tensor '%s' does not map states to states", l->model->source->path,
                   out->name);
}

static enum nb_status
load_start(struct nb_loader *l, struct nb_block *b)
{
    struct streams *x = b->data = nb_load_room(l, sizeof *x);
    const double active = nb_hp(&l->model->hp, NB_HP_ALTUP_ACTIVE);
    enum nb_status status = x == NULL ? nb_fail_memory(l->err) : load_projection(l, "altup_proj", &x->projection);

    if (status != NB_OK)
        return status;
    b->lends = true;
    if (!(active >= 0 && active <= (double)x->projection.experts) || x->projection.experts > MAX_STREAMS - 1)
        return nb_fail(l->err, NB_INPUT, "%s: stream %g of %zu cannot be the active one", l->model->source->path,
                       active, x->projection.experts + 1);
    x->count = (uint32_t)x->projection.experts + 1;
    x->active = (uint32_t)active;
    return NB_OK;
}

static void
state_of_start(const struct nb_block *b, struct nb_scratch *s)
{
    (void)take_streams(b->data, s);
}

/* The block that has made the streams; NULL if there is none. */
static const struct nb_block *
starting_block(const struct nb_model *m)
{
    for (size_t i = 0; i < m->n_blocks; i++)
        if (m->blocks[i].kind == &nb_block_altup_start)
            return &m->blocks[i];
    return NULL;
}

static float *
streams_of(const struct nb_block *start, const struct nb_run *r)
{
    struct nb_scratch state = nb_run_state_of(r, start);

    return take_streams(start->data, &state);
}

static double
mean_of_squares(const float *x, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sum / (double)n;
}

/* Scales X, of N elements, to the magnitude of LIKE. */
static void
scale_like(const float *like, float *x, size_t n)
{
    const float factor = (float)(sqrt(mean_of_squares(like, n)) / sqrt(fmax(mean_of_squares(x, n), 1e-5)));

    for (size_t i = 0; i < n; i++)
        x[i] *= factor;
}

struct step {
    const struct nb_run *run;
    const void *x; /* the block's own data */
    float *streams;
    float *routed, *coefficients; /* rows are tokens */
};

static enum nb_status
start_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct step *s = context;
    const struct nb_run *r = s->run;
    const struct streams *x = s->x;
    const size_t columns = nb_model_embedding(r->model);
    size_t i, end = nb_run_task_rows(r, task, &i);

    (void)worker;
    (void)err;
    for (; i < end; i++) {
        memcpy(stream_row(s->streams, r, 0, i), r->x + i * columns, columns * sizeof *r->x);
        for (size_t k = 1; k < x->count; k++)
            scale_like(r->x + i * columns, stream_row(s->streams, r, k, i), columns);
    }
    return NB_OK;
}

static void
scratch_of_start(const struct nb_block *b, struct nb_scratch *s)
{
    (void)b;
    (void)s;
}

static enum nb_status
run_start(const struct nb_block *b, struct nb_run *r, struct nb_error *err)
{
    const struct streams *x = b->data;
    struct step step = { r, x, take_streams(x, &r->state), NULL, NULL };
    enum nb_status status = NB_OK;

    for (uint32_t k = 1; k < x->count && status == NB_OK; k++) {
        const struct nb_product product = { &x->projection, k - 1, stream_row(step.streams, r, k, 0), false };

        status = nb_run_multiply(r, r->x, r->n, &product, 1, err);
    }
    return status == NB_OK ? nb_run_rows(r, start_task, &step, err) : status;
}

const struct nb_block_kind nb_block_altup_start = { .name = "altup_start",
                                                    .sets_stream = true,
                                                    .load = load_start,
                                                    .scratch = scratch_of_start,
                                                    .state = state_of_start,
                                                    .run = run_start };

/* --- the end ------------------------------------------------------------------------------------------------------ */

struct end {
    struct nb_linear projection;
    const struct nb_block *start;
};

static enum nb_status
load_end(struct nb_loader *l, struct nb_block *b)
{
    struct end *x = b->data = nb_load_room(l, sizeof *x);
    enum nb_status status = x == NULL ? nb_fail_memory(l->err)
                                      : load_projection(l, "altup_unembd_proj", &x->projection);

    if (status != NB_OK)
        return status;
    x->start = starting_block(l->model);
    if (x->start != NULL && ((const struct streams *)x->start->data)->count == x->projection.experts + 1)
        return NB_OK;
    return nb_fail(l->err, NB_INPUT, "%s: tensor '%s' is not for as many streams as there are", l->model->source->path,
                   x->projection.name);
}

static void
scratch_of_end(const struct nb_block *b, struct nb_scratch *s)
{
    const struct end *x = b->data;

    (void)nb_scratch_take(s, s->tokens, x->projection.rows);
}

/* Adds a projected stream, scaled to the first one, to the mean. */
static enum nb_status
end_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct step *s = context;
    const struct nb_run *r = s->run;
    const size_t columns = nb_model_embedding(r->model);
    const float share = 1.0f / (float)((const struct streams *)s->x)->count;
    size_t i, end = nb_run_task_rows(r, task, &i);

    (void)worker;
    (void)err;
    for (; i < end; i++) {
        float *row = s->routed + i * columns;

        scale_like(stream_row(s->streams, r, 0, i), row, columns);
        for (size_t c = 0; c < columns; c++)
            r->x[i * columns + c] += share * row[c];
    }
    return NB_OK;
}

static enum nb_status
run_end(const struct nb_block *b, struct nb_run *r, struct nb_error *err)
{
    const struct end *x = b->data;
    const struct streams *all = x->start->data;
    float *projected = nb_scratch_take(&r->scratch, r->scratch.tokens, x->projection.rows);
    struct step step = { r, all, streams_of(x->start, r), projected, NULL };
    enum nb_status status = NB_OK;

    for (size_t i = 0; i < r->n * nb_model_embedding(r->model); i++)
        r->x[i] = step.streams[i] / (float)all->count;
    for (uint32_t k = 1; k < all->count && status == NB_OK; k++) {
        const struct nb_product product = { &x->projection, k - 1, projected, false };

        status = nb_run_multiply(r, stream_row(step.streams, r, k, 0), r->n, &product, 1, err);
        if (status == NB_OK)
            status = nb_run_rows(r, end_task, &step, err);
    }
    return status;
}

const struct nb_block_kind nb_block_altup_end = {
    .name = "altup_end", .sets_stream = true, .load = load_end, .scratch = scratch_of_end, .run = run_end
};

/* --- prediction and correction ------------------------------------------------------------------------------------- */

struct mixing {
    struct nb_linear router, coefficients;
    const struct nb_norm *norm; /* of the router's input */
    const float *scale;         /* of the active stream for the embeddings by layer */
    const struct nb_block *start;
    uint32_t count, active;
};

struct memory {
    float *normed, *routed, *coefficients; /* rows are tokens */
};

static enum nb_status
load_mixing(struct nb_loader *l, struct nb_block *b, const char *coefficients, bool predicts)
{
    struct mixing *x = b->data = nb_load_room(l, sizeof *x);
    enum nb_status status = x == NULL ? nb_fail_memory(l->err) : nb_load_linear(l, "blk.%l.altup_router", &x->router);
    const struct streams *all;

    if (status == NB_OK)
        status = nb_load_linear(l, coefficients, &x->coefficients);
    if (status == NB_OK)
        status = nb_load_norm(l, "blk.%l.altup_router_norm", &x->norm);
    if (status == NB_OK)
        status = nb_load_small(l, "blk.%l.altup_correct_scale.weight", &x->scale);
    if (status != NB_OK)
        return status;
    b->changes_lent = true;
    x->start = starting_block(l->model);
    all = x->start == NULL ? NULL : x->start->data;
    x->count = all == NULL ? 0 : all->count;
    x->active = all == NULL ? 0 : all->active;
    if (all != NULL && x->norm != NULL && x->scale != NULL && x->router.rows == x->count &&
        x->coefficients.columns == x->count && x->coefficients.rows == (predicts ? x->count * x->count : x->count))
        return NB_OK;
    return nb_fail(l->err, NB_UNSUPPORTED, "%s: tensor '%s' is not for as many streams as there are",
                   l->model->source->path, x->coefficients.name);
}

static enum nb_status
load_predict(struct nb_loader *l, struct nb_block *b)
{
    return load_mixing(l, b, "blk.%l.altup_predict_coef", true);
}

static enum nb_status
load_correct(struct nb_loader *l, struct nb_block *b)
{
    return load_mixing(l, b, "blk.%l.altup_correct_coef", false);
}

static struct memory
take(const struct mixing *x, struct nb_scratch *s)
{
    struct memory m;

    m.normed = nb_scratch_take(s, s->tokens, x->router.columns);
    m.routed = nb_scratch_take(s, s->tokens, x->router.rows);
    m.coefficients = nb_scratch_take(s, s->tokens, x->coefficients.rows);
    return m;
}

static void
scratch_of_mixing(const struct nb_block *b, struct nb_scratch *s)
{
    (void)take(b->data, s);
}

/* The coefficients for each token, by what the router makes of its row in FROM. */
static enum nb_status
find_coefficients(const struct mixing *x, const struct memory *m, struct nb_run *r, const float *from,
                  struct nb_error *err)
{
    const struct nb_product router = { &x->router, 0, m->routed, false };
    const struct nb_product mixing = { &x->coefficients, 0, m->coefficients, false };
    enum nb_status status = nb_run_norm(r, x->norm, from, m->normed, err);

    for (size_t i = 0; i < r->n * x->router.columns && status == NB_OK; i++)
        m->normed[i] /= (float)x->router.columns;
    if (status == NB_OK)
        status = nb_run_multiply(r, m->normed, r->n, &router, 1, err);
    for (size_t i = 0; i < r->n * x->count && status == NB_OK; i++)
        m->routed[i] = tanhf(m->routed[i]);
    return status == NB_OK ? nb_run_multiply(r, m->routed, r->n, &mixing, 1, err) : status;
}

/* Each stream becomes itself plus a mixture of all. */
static enum nb_status
predict_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct step *s = context;
    const struct nb_run *r = s->run;
    const struct mixing *x = s->x;
    const size_t columns = nb_model_embedding(r->model);
    size_t i, end = nb_run_task_rows(r, task, &i);

    (void)worker;
    (void)err;
    for (; i < end; i++) {
        const float *coefficients = s->coefficients + i * x->coefficients.rows;

        for (size_t c = 0; c < columns; c++) {
            float was[MAX_STREAMS];

            for (size_t k = 0; k < x->count; k++)
                was[k] = stream_row(s->streams, r, k, i)[c];
            for (size_t k = 0; k < x->count; k++) {
                float sum = was[k];

                for (size_t p = 0; p < x->count; p++)
                    sum += was[p] * coefficients[k * x->count + p];
                stream_row(s->streams, r, k, i)[c] = sum;
            }
        }
        memcpy(r->x + i * columns, stream_row(s->streams, r, x->active, i), columns * sizeof *r->x);
    }
    return NB_OK;
}

static enum nb_status
run_predict(const struct nb_block *b, struct nb_run *r, struct nb_error *err)
{
    const struct mixing *x = b->data;
    const struct memory m = take(x, &r->scratch);
    struct step step = { r, x, streams_of(x->start, r), m.routed, m.coefficients };
    enum nb_status status = find_coefficients(x, &m, r, stream_row(step.streams, r, x->active, 0), err);

    return status == NB_OK ? nb_run_rows(r, predict_task, &step, err) : status;
}

/* Adds to each stream what the layer has changed in the active one, times the stream's coefficient plus one. */
static enum nb_status
correct_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct step *s = context;
    const struct nb_run *r = s->run;
    const struct mixing *x = s->x;
    const size_t columns = nb_model_embedding(r->model);
    size_t i, end = nb_run_task_rows(r, task, &i);

    (void)worker;
    (void)err;
    for (; i < end; i++) {
        const float *coefficients = s->coefficients + i * x->coefficients.rows;
        float *row = r->x + i * columns;

        for (size_t c = 0; c < columns; c++) {
            const float change = row[c] - stream_row(s->streams, r, x->active, i)[c];

            for (size_t k = 0; k < x->count; k++)
                stream_row(s->streams, r, k, i)[c] += change * (coefficients[k] + 1);
            row[c] = stream_row(s->streams, r, x->active, i)[c] * x->scale[c];
        }
    }
    return NB_OK;
}

/* Leaves the scaled active stream to the block "altup_input". */
static enum nb_status
run_correct(const struct nb_block *b, struct nb_run *r, struct nb_error *err)
{
    const struct mixing *x = b->data;
    const struct memory m = take(x, &r->scratch);
    struct step step = { r, x, streams_of(x->start, r), m.routed, m.coefficients };
    enum nb_status status = find_coefficients(x, &m, r, r->x, err);

    return status == NB_OK ? nb_run_rows(r, correct_task, &step, err) : status;
}

const struct nb_block_kind nb_block_altup_predict = {
    .name = "altup_predict", .sets_stream = true, .load = load_predict, .scratch = scratch_of_mixing, .run = run_predict
};
const struct nb_block_kind nb_block_altup_correct = {
    .name = "altup_correct", .sets_stream = true, .load = load_correct, .scratch = scratch_of_mixing, .run = run_correct
};

/* --- embeddings by layer ------------------------------------------------------------------------------------------- */

struct input {
    struct nb_layer_input input;
    const struct nb_norm *norm; /* of what is added */
    const struct nb_block *start;
};

static enum nb_status
load_input(struct nb_loader *l, struct nb_block *b)
{
    struct input *x = b->data = nb_load_room(l, sizeof *x);
    enum nb_status status = x == NULL ? nb_fail_memory(l->err) : nb_load_layer_input(l, &x->input);

    if (status == NB_OK)
        status = nb_load_norm(l, "blk.%l.post_norm", &x->norm);
    if (status != NB_OK)
        return status;
    x->start = starting_block(l->model);
    b->changes_lent = true;
    if (x->norm != NULL && x->start != NULL)
        return NB_OK;
    return nb_fail(l->err, NB_UNSUPPORTED, "%s: layer %" PRIu32 " lacks what its embeddings are added by",
                   l->model->source->path, l->layer);
}

static void
scratch_of_input(const struct nb_block *b, struct nb_scratch *s)
{
    const struct input *x = b->data;

    (void)nb_layer_input_take(&x->input, s);
    (void)nb_scratch_take(s, s->tokens, x->input.projection.rows);
}

/* Adds a row to all streams but the first. */
static enum nb_status
input_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct step *s = context;
    const struct nb_run *r = s->run;
    const struct input *x = s->x;
    const uint32_t count = ((const struct streams *)x->start->data)->count;
    const size_t columns = nb_model_embedding(r->model);
    size_t i, end = nb_run_task_rows(r, task, &i);

    (void)worker;
    (void)err;
    for (; i < end; i++)
        for (size_t k = 1; k < count; k++)
            for (size_t c = 0; c < columns; c++)
                stream_row(s->streams, r, k, i)[c] += s->routed[i * columns + c];
    return NB_OK;
}

static enum nb_status
run_input(const struct nb_block *b, struct nb_run *r, struct nb_error *err)
{
    const struct input *x = b->data;
    float *gate = nb_layer_input_take(&x->input, &r->scratch);
    float *added = nb_scratch_take(&r->scratch, r->scratch.tokens, x->input.projection.rows);
    struct step step = { r, x, streams_of(x->start, r), added, NULL };
    enum nb_status status;

    memset(added, 0, r->n * x->input.projection.rows * sizeof *added);
    status = nb_layer_input_run(&x->input, gate, r, r->x, added, err);
    if (status == NB_OK)
        status = nb_run_norm(r, x->norm, added, added, err);
    return status == NB_OK ? nb_run_rows(r, input_task, &step, err) : status;
}

const struct nb_block_kind nb_block_altup_input = {
    .name = "altup_input", .sets_stream = true, .load = load_input, .scratch = scratch_of_input, .run = run_input
};
