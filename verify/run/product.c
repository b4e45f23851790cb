#include "verify/run/product.h"

#include "formats/base/blas.h"
#include "formats/base/checked.h"
#include "formats/elements/dot.h"
#include "formats/elements/types.h"
#include "verify/run/activations.h"
#include "verify/run/vector_math.h"

#include <stdlib.h>

/*
 * Panels have 1 MiB of floats, to fit a second-level cache, with enough rows for
 * a fast product but few enough to divide a small matrix among threads.
 */
#define PANEL_FLOATS ((size_t)262144)
#define MIN_ROWS 16u
#define MAX_ROWS 128u
/*
 * For so few rows of input a matrix is decoded a few rows at a time, which are multiplied while they are in a first-level
 * cache: a product of BLAS would read and arrange the panel once more.
 */
#define FEW 4u
#define CACHED_FLOATS 4096u
#define AHEAD 4096u /* bytes that are asked for before they are needed: what is kept is read from main memory */

static size_t
panel_rows(size_t columns)
{
    const size_t rows = PANEL_FLOATS / columns / MIN_ROWS * MIN_ROWS;

    return rows < MIN_ROWS ? MIN_ROWS : rows > MAX_ROWS ? MAX_ROWS : rows;
}

static enum nb_status
allocate(struct nb_panels *p, uint64_t floats, struct nb_error *err)
{
    const unsigned threads = nb_pool_threads(p->pool);

    p->readers = calloc(threads, sizeof *p->readers);
    p->floats = calloc(threads, sizeof *p->floats);
    if (p->readers == NULL || p->floats == NULL)
        return nb_fail_memory(err);
    for (unsigned i = 0; i < threads; i++) {
        p->floats[i] = nb_aligned(floats * sizeof(float));
        if (p->floats[i] == NULL)
            return nb_fail_memory(err);
    }
    p->size = (size_t)floats;
    return NB_OK;
}

enum nb_status
nb_panels_for(struct nb_panels *p, const struct nb_model *model, struct nb_pool *pool, struct nb_error *err)
{
    const uint64_t longest = (uint64_t)nb_model_longest_row(model) * MIN_ROWS;
    const uint64_t floats = longest > PANEL_FLOATS ? longest : PANEL_FLOATS;
    enum nb_status status = NB_OK;

    if (p->size < floats) {
        nb_panels_free(p);
        p->pool = pool;
        status = allocate(p, floats, err);
    }
    nb_kept_free(&p->kept);
    p->model = model;
    if (status == NB_OK && p->keep > 0 && !nb_kept_new(&p->kept, model, panel_rows, p->keep))
        return nb_fail_memory(err);
    return status;
}

void
nb_panels_free(struct nb_panels *p)
{
    for (unsigned i = 0; p->pool != NULL && i < nb_pool_threads(p->pool); i++) {
        if (p->readers != NULL)
            nb_view_reader_free(&p->readers[i]);
        if (p->floats != NULL)
            free(p->floats[i]);
    }
    free(p->readers);
    free(p->floats);
    free(p->rounded);
    nb_kept_free(&p->kept);
    *p = (struct nb_panels){ .keep = p->keep, .rounds = p->rounds };
}

struct job {
    struct nb_panels *panels;
    const float *in;
    size_t n, columns, rows_in_panel;
    const struct nb_product *product;
    size_t count;
    size_t first_task[NB_MAX_PRODUCTS + 1];
};

/* ROWS rows of a matrix, from row FIRST of its expert on; BEFORE: the rows of other experts. */
struct part {
    const struct nb_product *product;
    const struct nb_view *weight;
    size_t number, first, rows, before;
};

static void
add_bias(const struct job *j, const struct part *part)
{
    const struct nb_product *p = part->product;
    const float *bias = p->matrix->bias + part->before + part->first;
    const size_t all = p->matrix->rows;
    float *out = p->out + part->first;

    for (size_t i = 0; i < j->n; i++)
        for (size_t r = 0; r < part->rows; r++)
            out[i * all + r] = (p->add ? out[i * all + r] : 0) + bias[r];
}

/* Decodes the rows and multiplies them with the whole input. */
static enum nb_status
multiply_panel(const struct job *j, const struct part *part, unsigned worker, struct nb_error *err)
{
    const struct nb_product *p = part->product;
    const struct nb_linear *m = p->matrix;
    float *panel = j->panels->floats[worker];
    const enum nb_status status = nb_model_rows(j->panels->model, part->weight, part->before + part->first, part->rows,
                                                &j->panels->readers[worker], panel, err);

    if (status != NB_OK)
        return status;
    if (m->bias != NULL)
        add_bias(j, part);
    nb_sgemm(&(struct nb_sgemm){ .transpose = true,
                                 .m = j->n,
                                 .n = part->rows,
                                 .k = j->columns,
                                 .alpha = m->scale == NULL ? 1 : m->scale[p->expert],
                                 .beta = p->add || m->bias != NULL ? 1 : 0,
                                 .a = j->in,
                                 .b = panel,
                                 .c = p->out + part->first,
                                 .a_row = j->columns,
                                 .b_row = j->columns,
                                 .c_row = m->rows });
    return NB_OK;
}

/* READER receives the elements of the rows, from the file or from where they are kept. */
static enum nb_status
fetch(const struct job *j, const struct part *part, struct nb_view_reader *reader, struct nb_error *err)
{
    struct nb_panels *panels = j->panels;
    const struct nb_linear *m = part->product->matrix;
    unsigned char **kept = nb_kept_part(&panels->kept, m, part->product->expert, part->number);
    enum nb_status status;

    if (kept != NULL && *kept != NULL) {
        reader->first = (part->before + part->first) * j->columns;
        reader->elements = *kept;
        return NB_OK;
    }
    status = nb_model_fetch(panels->model, part->weight, part->before + part->first, part->rows, reader, err);
    if (status == NB_OK && kept != NULL)
        nb_keep(&panels->kept, kept, part->weight, reader, (uint64_t)part->rows * j->columns);
    return status;
}

/* OUT[row] of one row of input becomes SUM, which is yet to be scaled. */
static void
put(const struct nb_product *p, size_t input, size_t row, float sum)
{
    const struct nb_linear *m = p->matrix;
    float *out = p->out + input * m->rows + row;

    sum *= m->scale == NULL ? 1 : m->scale[p->expert];
    *out = p->add || m->bias != NULL ? *out + sum : sum;
}

/* Multiplies the elements that READER has, a few rows at a time. */
static void
multiply_decoded(const struct job *j, const struct part *part, const struct nb_view_reader *reader, float *rows)
{
    const struct nb_vector_math *math = nb_vector_math();
    const size_t at_once = CACHED_FLOATS / j->columns + 1;

    for (size_t r = 0, n; r < part->rows; r += n) {
        n = part->rows - r < at_once ? part->rows - r : at_once;
        nb_view_decode(part->weight, reader, r * j->columns, n * j->columns, rows);
        for (size_t i = 0; i < j->n; i++)
            for (size_t k = 0; k < n; k++)
                put(part->product, i, part->first + r + k,
                    math->dot(j->in + i * j->columns, rows + k * j->columns, j->columns));
    }
}

/* The same without making floats of the elements in memory. */
static void
multiply_stored(const struct job *j, const struct part *part, const struct nb_view_reader *reader)
{
    const enum nb_type type = part->weight->type;
    const struct nb_type_info *info = nb_type_info(type);
    const size_t row_bytes = j->columns / info->block * info->block_bytes, all = part->rows * row_bytes;

    for (size_t r = 0; r < part->rows; r++) {
        const unsigned char *row = reader->elements + r * row_bytes;

        for (size_t at = r * row_bytes + AHEAD; at < (r + 1) * row_bytes + AHEAD && at < all; at += 64)
            __builtin_prefetch(reader->elements + at);
        for (size_t i = 0; i < j->n; i++)
            put(part->product, i, part->first + r, nb_dot(type, row, j->columns, j->in + i * j->columns));
    }
}

/* For a few rows of input. */
static enum nb_status
multiply_few(const struct job *j, const struct part *part, unsigned worker, struct nb_error *err)
{
    const struct nb_linear *m = part->product->matrix;
    struct nb_view_reader *reader = &j->panels->readers[worker];
    const enum nb_status status = fetch(j, part, reader, err);

    if (status != NB_OK)
        return status;
    if (m->bias != NULL)
        add_bias(j, part);
    if (part->weight->ops[0].kind == NB_OP_NONE && nb_can_dot(part->weight->type))
        multiply_stored(j, part, reader);
    else
        multiply_decoded(j, part, reader, j->panels->floats[worker]);
    return NB_OK;
}

static enum nb_status
multiply_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct job *j = context;
    struct part part = { .product = j->product };
    size_t k = 0, all;

    while (task >= j->first_task[k + 1])
        k++;
    part.product += k;
    part.weight = nb_model_view(j->panels->model, part.product->matrix->weight);
    all = part.product->matrix->rows;
    part.before = part.product->expert * all;
    part.number = task - j->first_task[k];
    part.first = part.number * j->rows_in_panel;
    part.rows = all - part.first < j->rows_in_panel ? all - part.first : j->rows_in_panel;
    return j->n < FEW ? multiply_few(j, &part, worker, err) : multiply_panel(j, &part, worker, err);
}

static enum nb_status
multiply(struct nb_panels *panels, const float *in, size_t n, const struct nb_product *product, size_t count,
         struct nb_error *err)
{
    const size_t columns = product[0].matrix->columns;
    struct job j = { panels, in, n, columns, panel_rows(columns), product, count, { 0 } };

    for (size_t k = 0; k < count; k++)
        j.first_task[k + 1] = j.first_task[k] + (product[k].matrix->rows + j.rows_in_panel - 1) / j.rows_in_panel;
    return nb_pool_run(panels->pool, multiply_task, &j, j.first_task[count], err);
}

/* *ROUNDED receives IN (N x COLUMNS) rounded, valid until the next call. */
static enum nb_status
round_input(struct nb_panels *p, enum nb_rounding rounding, const float *in, size_t n, size_t columns,
            const float **rounded, struct nb_error *err)
{
    const size_t size = n * columns;

    if (size > p->rounded_size) {
        free(p->rounded);
        p->rounded_size = 0;
        p->rounded = malloc(size * sizeof(float));
        if (p->rounded == NULL)
            return nb_fail_memory(err);
        p->rounded_size = size;
    }
    *rounded = p->rounded;
    return nb_round_rows(rounding, in, n, columns, p->pool, p->rounded, err);
}

enum nb_status
nb_multiply(struct nb_panels *panels, const float *in, size_t n, const struct nb_product *product, size_t count,
            struct nb_error *err)
{
    enum nb_status status = NB_OK;

    if (!panels->rounds)
        return multiply(panels, in, n, product, count, err);
    for (size_t k = 0, next; k < count && status == NB_OK; k = next) {
        const enum nb_rounding rounding = nb_rounding_for(product[k].matrix->weight->type);
        const float *rounded = NULL;

        for (next = k + 1; next < count && nb_rounding_for(product[next].matrix->weight->type) == rounding;)
            next++;
        status = round_input(panels, rounding, in, n, product[k].matrix->columns, &rounded, err);
        if (status == NB_OK)
            status = multiply(panels, rounded, n, product + k, next - k, err);
    }
    return status;
}
