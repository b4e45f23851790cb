#include "verify/run/run.h"

#include "verify/run/vector_math.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define ROWS_IN_TASK 64u /* tokens per elementwise task */
#define ALIGNMENT 64u

void *
nb_scratch_take(struct nb_scratch *s, size_t rows, size_t columns)
{
    unsigned char *at = s->memory == NULL ? NULL : (unsigned char *)s->memory + s->used;
    size_t bytes;

    if (__builtin_mul_overflow(rows, columns, &bytes) || __builtin_mul_overflow(bytes, sizeof(float), &bytes) ||
        __builtin_add_overflow(bytes, ALIGNMENT - 1, &bytes) ||
        __builtin_add_overflow(s->used, bytes / ALIGNMENT * ALIGNMENT, &s->used))
        s->too_large = true;
    if (s->too_large || s->used > s->size)
        return NULL;
    if (s->on_take != NULL)
        s->on_take(s->context, at, rows * columns * sizeof(float));
    return at;
}

void *
nb_scratch_take_made(struct nb_scratch *s, size_t columns)
{
    const bool is_apart = s->chunks > 1 && s->tokens < s->chunks * s->chunk_tokens;

    return nb_scratch_take(s, is_apart ? s->tokens : 0, columns);
}

float *
nb_run_keep(const struct nb_run *r, size_t i, float *kept, const float *made, size_t size)
{
    float *at = kept + nb_run_kept_row(r, i) * size;

    if (nb_run_is_apart(r))
        memcpy(at, made + i * size, size * sizeof *at);
    return at;
}

/* --- elementwise steps ------------------------------------------------------------------------------------ */

enum nb_status
nb_run_rows(const struct nb_run *r, nb_task *task, void *context, struct nb_error *err)
{
    return nb_pool_run(r->pool, task, context, (r->n + ROWS_IN_TASK - 1) / ROWS_IN_TASK, err);
}

size_t
nb_run_task_rows(const struct nb_run *r, size_t task, size_t *first)
{
    *first = task * ROWS_IN_TASK;
    return r->n - *first < ROWS_IN_TASK ? r->n : *first + ROWS_IN_TASK;
}

struct nb_scratch
nb_run_state_of(const struct nb_run *r, const struct nb_block *b)
{
    struct nb_scratch state = b->lends ? r->lent : r->scratch;

    state.used = r->states[b - r->model->blocks];
    return state;
}

double
nb_norm_row(const struct nb_norm *norm, const float *x, size_t n, float *out)
{
    const struct nb_vector_math *math = nb_vector_math();

    return norm->kind == NB_NORM_LAYER ? math->layer_norm(x, norm->weight, norm->bias, n, norm->epsilon, out)
                                       : math->rms_norm(x, norm->weight, n, norm->epsilon, out);
}

bool
nb_norm_fits(const struct nb_norm *norm, size_t heads, size_t length)
{
    return norm == NULL || norm->weight == NULL || (norm->rows == 1 && norm->length == length) ||
           (norm->rows == 1 && norm->length == heads * length) || (norm->rows == heads && norm->length == length);
}

void
nb_norm_heads(const struct nb_norm *norm, float *x, size_t heads, size_t length)
{
    struct nb_norm own = *norm;

    if (norm->weight != NULL && norm->rows == 1 && norm->length != length) {
        nb_norm_row(norm, x, heads * length, x);
        return;
    }
    for (size_t h = 0; h < heads; h++) {
        nb_norm_row(&own, x + h * length, length, x + h * length);
        if (norm->rows > 1)
            own.weight += length;
    }
}

struct norm_step {
    const struct nb_run *run;
    const struct nb_norm *norm;
    const float *x;
    float *out;
};

/* Detects NaN anywhere in the rows: it makes the mean of squares NaN. */
static enum nb_status
norm_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct norm_step *s = context;
    const struct nb_run *r = s->run;
    const size_t columns = nb_model_embedding(r->model);
    size_t i, end = nb_run_task_rows(r, task, &i);

    (void)worker;
    for (; i < end; i++) {
        if (isfinite(nb_norm_row(s->norm, s->x + i * columns, columns, s->out + i * columns)))
            continue;
        return r->layer < nb_model_layers(r->model)
                   ? nb_fail(err, NB_INPUT,
                             "%s: a state in block %" PRIu32 " is NaN or infinite at token %zu of a chunk",
                             r->model->source->path, r->layer, nb_run_position(r, i))
                   : nb_fail(err, NB_INPUT,
                             "%s: the output of the last block is NaN or infinite at token %zu of a chunk",
                             r->model->source->path, nb_run_position(r, i));
    }
    return NB_OK;
}

enum nb_status
nb_run_norm(struct nb_run *r, const struct nb_norm *norm, const float *x, float *out, struct nb_error *err)
{
    struct norm_step step = { r, norm, x, out };

    return nb_run_rows(r, norm_task, &step, err);
}

/* --- products and rotary embeddings ------------------------------------------------------------------------- */

enum nb_status
nb_run_multiply(struct nb_run *r, const float *in, size_t n, const struct nb_product *products, size_t count,
                struct nb_error *err)
{
    const struct nb_linear *matrices[NB_MAX_PRODUCTS];
    enum nb_status status = NB_OK;

    for (size_t i = 0; i < count; i++)
        matrices[i] = products[i].matrix;
    if (r->observe != NULL)
        status = r->observe(r->observer, matrices, count, products[0].expert, in, n, err);
    return status == NB_OK ? nb_multiply(&r->panels, in, n, products, count, err) : status;
}

const float *
nb_run_rotations(const struct nb_run *r, const struct nb_rope *rope)
{
    return r->rotations + r->scratch.chunk_tokens * rope->before;
}
