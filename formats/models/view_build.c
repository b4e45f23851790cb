#include "formats/models/view_build.h"

#include "formats/base/checked.h"
#include "formats/models/expression.h"
#include "formats/models/mxfp4.h"
#include "formats/models/numbers.h"
#include "formats/models/packed/packed.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct builder {
    struct nb_view *view;
    const struct nb_view_origin *origin;
    struct nb_arena *arena;
    size_t n_ops;
    struct nb_error *err;
};

static enum nb_status
refuse(const struct builder *b, const char *what)
{
    return nb_fail(b->err, NB_INPUT, "tensor '%s' %s, as '%s' needs it", b->view->source_name, what, b->view->name);
}

/* Argument I of OP as a count. */
static bool
argument(const struct builder *b, const struct nb_map_op *op, unsigned i, uint64_t *out)
{
    return op->argument[i] != NULL && nb_expression_count(op->argument[i], b->origin->hp, b->origin->layer, out);
}

/* One piece for each matrix of the stored tensors. */
static enum nb_status
take_whole(struct builder *b, bool by_matrix)
{
    const struct nb_view_origin *o = b->origin;
    struct nb_view *v = b->view;
    uint64_t n = 0;

    for (size_t i = 0; i < o->n_stored; i++)
        n += by_matrix && o->stored[i]->n_dims > 2 ? o->stored[i]->ne[2] * o->stored[i]->ne[3] : 1;
    v->pieces = nb_arena_calloc(b->arena, n + 1, sizeof *v->pieces);
    if (v->pieces == NULL)
        return nb_fail_memory(b->err);
    for (size_t i = 0; i < o->n_stored; i++) {
        const struct nb_tensor *t = o->stored[i];
        const uint64_t rows = t->ne[0] == 0 ? 0 : t->elements / t->ne[0];
        const uint64_t matrices = by_matrix && t->n_dims > 2 ? t->ne[2] * t->ne[3] : 1;

        for (uint64_t k = 0; k < matrices; k++)
            v->pieces[v->n_pieces++] = (struct nb_piece){
                .stored = t,
                .start = k * (rows / matrices) * t->ne[0],
                .pitch = t->ne[0],
                .rows = rows / matrices,
                .columns = t->ne[0],
            };
    }
    return NB_OK;
}

/* A vector whose elements are cut or reordered is treated as a matrix of one column. */
static void
stand_up(struct nb_view *v)
{
    for (size_t i = 0; i < v->n_pieces; i++) {
        struct nb_piece *p = &v->pieces[i];

        if (p->stored->n_dims == 1 && p->rows == 1) {
            p->rows = p->columns;
            p->columns = p->pitch = 1;
        }
    }
}

/* Keeps COUNT rows, from FIRST on, of each of GROUPS groups of rows of each piece. */
static enum nb_status
cut_groups(struct builder *b, uint64_t groups, uint64_t first, uint64_t count)
{
    struct nb_view *v = b->view;
    struct nb_piece *pieces;
    size_t n = 0;

    if (groups == 0 || groups > 1u << 20 || count == 0)
        return refuse(b, "cannot be cut");
    pieces = nb_arena_calloc(b->arena, v->n_pieces * (size_t)groups + 1, sizeof *pieces);
    if (pieces == NULL)
        return nb_fail_memory(b->err);
    for (size_t i = 0; i < v->n_pieces; i++) {
        const uint64_t rows = v->pieces[i].rows / groups;

        if (v->pieces[i].rows % groups != 0 || count > rows || first > rows - count)
            return nb_fail(b->err, NB_INPUT, "tensor '%s' has %" PRIu64 " rows, too few or too many for '%s'",
                           b->view->source_name, v->pieces[i].rows, b->view->name);
        for (uint64_t g = 0; g < groups; g++) {
            pieces[n] = v->pieces[i];
            pieces[n].start += (g * rows + first) * pieces[n].pitch;
            pieces[n++].rows = count;
        }
    }
    v->pieces = pieces;
    v->n_pieces = n;
    return NB_OK;
}

/* Appends the same rows of each group of all rows, as cut_groups keeps them. */
static enum nb_status
also_groups(struct builder *b, uint64_t groups, uint64_t first, uint64_t count)
{
    struct nb_view whole = *b->view, *v = b->view;
    struct builder other = *b;
    struct nb_piece *pieces;
    enum nb_status status;

    whole.pieces = NULL;
    whole.n_pieces = 0;
    other.view = &whole;
    status = take_whole(&other, false);
    if (status == NB_OK) {
        stand_up(&whole);
        status = cut_groups(&other, groups, first, count);
    }
    if (status != NB_OK)
        return status;
    pieces = nb_arena_calloc(b->arena, v->n_pieces + whole.n_pieces + 1, sizeof *pieces);
    if (pieces == NULL)
        return nb_fail_memory(b->err);
    memcpy(pieces, v->pieces, v->n_pieces * sizeof *pieces);
    memcpy(pieces + v->n_pieces, whole.pieces, whole.n_pieces * sizeof *pieces);
    v->pieces = pieces;
    v->n_pieces += whole.n_pieces;
    return NB_OK;
}

/* Rows from FIRST on: A x B blocks of rows become B x A. */
static enum nb_status
swap_from(struct builder *b, uint64_t first, uint64_t outer, uint64_t inner)
{
    struct nb_view *v = b->view;
    struct nb_piece *pieces, whole;
    uint64_t rows;
    size_t n = 0;

    stand_up(v);
    whole = v->pieces[0];
    if (v->n_pieces != 1 || outer == 0 || inner == 0 || outer > 1u << 12 || inner > 1u << 12 || first >= whole.rows ||
        (whole.rows - first) % (outer * inner) != 0)
        return refuse(b, "has not the rows");
    rows = (whole.rows - first) / (outer * inner);
    pieces = nb_arena_calloc(b->arena, (size_t)(outer * inner) + 1, sizeof *pieces);
    if (pieces == NULL)
        return nb_fail_memory(b->err);
    if (first > 0) {
        pieces[n] = whole;
        pieces[n++].rows = first;
    }
    for (uint64_t i = 0; i < inner * outer; i++) {
        pieces[n] = whole;
        pieces[n].start += (first + ((i % outer) * inner + i / outer) * rows) * whole.pitch;
        pieces[n++].rows = rows;
    }
    v->pieces = pieces;
    v->n_pieces = n;
    return NB_OK;
}

/* Of the first ROTATED rows of each head of HEAD rows: those with even numbers, then the others. */
static enum nb_status
halves(struct builder *b, uint64_t head, uint64_t rotated)
{
    struct nb_view *v = b->view;
    struct nb_piece *pieces, whole;
    size_t n = 0;

    stand_up(v);
    whole = v->pieces[0];
    if (v->n_pieces != 1 || head == 0 || whole.rows % head != 0 || whole.rows / head > 1u << 16 || rotated > head ||
        rotated % 2 != 0 || rotated == 0)
        return refuse(b, "has not the rows of whole heads");
    pieces = nb_arena_calloc(b->arena, (size_t)(whole.rows / head) * 3 + 1, sizeof *pieces);
    if (pieces == NULL)
        return nb_fail_memory(b->err);
    for (uint64_t at = 0; at < whole.rows; at += head) {
        for (uint64_t odd = 0; odd < 2; odd++) {
            pieces[n] = whole;
            pieces[n].start += (at + odd) * whole.pitch;
            pieces[n].pitch = 2 * whole.pitch;
            pieces[n++].rows = rotated / 2;
        }
        pieces[n] = whole;
        pieces[n].start += (at + rotated) * whole.pitch;
        pieces[n].rows = head - rotated;
        n += head > rotated;
    }
    v->pieces = pieces;
    v->n_pieces = n;
    return NB_OK;
}

/* A vector that is not stored. */
static enum nb_status
fill(struct builder *b, double number)
{
    struct nb_view *v = b->view;
    struct nb_tensor *t = nb_arena_calloc(b->arena, 1, sizeof *t);
    float *values = nb_arena_calloc(b->arena, v->ne[0] + 1, sizeof *values);

    if (t == NULL || values == NULL)
        return nb_fail_memory(b->err);
    for (uint64_t i = 0; i < v->ne[0]; i++)
        values[i] = (float)number;
    *t = (struct nb_tensor){
        .name = "", .type = NB_F32, .n_dims = 1, .ne = { v->ne[0], 1, 1, 1 }, .bytes_in_memory = values
    };
    if (!isfinite(number) || v->n_dims != 1 || !nb_tensor_measure(t))
        return refuse(b, "cannot be computed");
    v->type = NB_F32;
    v->pieces[0] = (struct nb_piece){ .stored = t, .pitch = v->ne[0], .rows = 1, .columns = v->ne[0] };
    v->n_pieces = 1;
    return NB_OK;
}

/* Appends a piece of ROWS rows of zeros. */
static enum nb_status
add_zeros(struct builder *b, uint64_t rows)
{
    struct nb_view *v = b->view;
    const uint64_t columns = v->pieces->columns;
    struct nb_piece *pieces = nb_arena_calloc(b->arena, v->n_pieces + 1, sizeof *pieces);
    struct nb_tensor *zeros = nb_arena_calloc(b->arena, 1, sizeof *zeros);

    if (pieces == NULL || zeros == NULL)
        return nb_fail_memory(b->err);
    *zeros = (struct nb_tensor){ .name = "", .type = v->type, .n_dims = 2, .ne = { columns, rows, 1, 1 } };
    if (rows > 1u << 20 || !nb_tensor_measure(zeros))
        return refuse(b, "has too few rows");
    zeros->bytes_in_memory = nb_arena_calloc(b->arena, zeros->bytes, 1);
    if (zeros->bytes_in_memory == NULL)
        return nb_fail_memory(b->err);
    memcpy(pieces, v->pieces, v->n_pieces * sizeof *pieces);
    pieces[v->n_pieces] = (struct nb_piece){ .stored = zeros, .pitch = columns, .rows = rows, .columns = columns };
    v->pieces = pieces;
    v->n_pieces++;
    return NB_OK;
}

/* Of each of GROUPS groups of rows: the first FIRST rows of all, then the next FURTHER ones of all, and so on. */
static enum nb_status
sort_parts(struct builder *b, uint64_t groups, uint64_t first, uint64_t further)
{
    struct nb_view *v = b->view;
    const uint64_t rows = v->pieces[0].rows / (groups == 0 ? 1 : groups);
    const uint64_t parts = further == 0 || first > rows ? 0 : 1 + (rows - first) / further;
    struct nb_piece *pieces;
    size_t n = 0;

    if (v->n_pieces != 1 || groups == 0 || first == 0 || parts == 0 || v->pieces[0].rows % groups != 0 ||
        (rows - first) % further != 0 || groups * parts > 1u << 20)
        return refuse(b, "has not the rows");
    pieces = nb_arena_calloc(b->arena, (size_t)(groups * parts) + 1, sizeof *pieces);
    if (pieces == NULL)
        return nb_fail_memory(b->err);
    for (uint64_t p = 0; p < parts; p++) {
        for (uint64_t g = 0; g < groups; g++) {
            pieces[n] = v->pieces[0];
            pieces[n].start += (g * rows + (p == 0 ? 0 : first + (p - 1) * further)) * pieces[n].pitch;
            pieces[n++].rows = p == 0 ? first : further;
        }
    }
    v->pieces = pieces;
    v->n_pieces = n;
    return NB_OK;
}

static enum nb_status
cut_columns(struct builder *b, uint64_t first, uint64_t count)
{
    for (size_t i = 0; i < b->view->n_pieces; i++) {
        struct nb_piece *p = &b->view->pieces[i];

        if (count > p->columns || first > p->columns - count)
            return refuse(b, "has too few columns");
        p->start += first;
        p->columns = count;
    }
    return NB_OK;
}

/* Rows A x B x C to B x A x C. */
static struct nb_order
swapped(uint64_t a, uint64_t b, uint64_t c)
{
    return (struct nb_order){ .n = 3, .digit = { b, a, c }, .stride = { c, b * c, 1 } };
}

/* The number of rows of the view to which an order applies. */
static uint64_t
rows_of_view(const struct nb_view *v)
{
    return v->n_dims == 1 ? v->ne[0] : v->ne[1] * v->ne[2] * v->ne[3];
}

/* The number of rows that are there to be put in order. */
static uint64_t
rows_of_pieces(const struct nb_view *v)
{
    uint64_t rows = 0;

    for (size_t i = 0; i < v->n_pieces; i++)
        rows += v->transposed ? v->pieces[i].columns : v->pieces[i].rows;
    return rows;
}

static enum nb_status
order_rows(struct builder *b, const struct nb_map_op *op)
{
    struct nb_view *v = b->view;
    uint64_t x[3] = { 0 };

    for (unsigned i = 0; i < 3 && op->argument[i] != NULL; i++)
        if (!argument(b, op, i, &x[i]))
            return refuse(b, "has not the rows");
    if (v->row_order.n > 0)
        return refuse(b, "would be put in order twice");
    stand_up(v);
    switch (op->kind) {
    case NB_MAP_NEIGHBOURS: /* heads of 2 x half rows become half x 2 */
        if (x[0] == 0 || x[0] % 2 != 0 || rows_of_view(v) % x[0] != 0)
            return refuse(b, "has not the rows of whole heads");
        v->row_order = (struct nb_order){ .n = 3,
                                          .digit = { rows_of_view(v) / x[0], x[0] / 2, 2 },
                                          .stride = { x[0], 1, x[0] / 2 } };
        return NB_OK;
    case NB_MAP_EVERY:
        if (x[1] == 0 || rows_of_pieces(v) != rows_of_view(v) * x[1])
            return refuse(b, "has not the rows");
        v->row_order = (struct nb_order){ .n = 1, .start = x[0], .digit = { rows_of_view(v) }, .stride = { x[1] } };
        return NB_OK;
    case NB_MAP_SWAP:
    default:
        v->row_order = swapped(x[0], x[1], x[2]);
        return NB_OK;
    }
}

static enum nb_status
swap_columns(struct builder *b, const struct nb_map_op *op)
{
    uint64_t x[3];

    for (unsigned i = 0; i < 3; i++)
        if (!argument(b, op, i, &x[i]))
            return refuse(b, "has not the columns");
    b->view->column_order = swapped(x[0], x[1], x[2]);
    return NB_OK;
}

static enum nb_status
every_column(struct builder *b, uint64_t first, uint64_t n)
{
    struct nb_view *v = b->view;

    if (n == 0 || v->pieces->columns % n != 0)
        return refuse(b, "has not the columns");
    v->column_order = (struct nb_order){ .n = 1, .start = first, .digit = { v->pieces->columns / n }, .stride = { n } };
    return NB_OK;
}

static enum nb_status
add_op(struct builder *b, enum nb_element_op_kind kind, const struct nb_map_op *op)
{
    struct nb_element_op *e = &b->view->ops[b->n_ops];
    const double by = op->argument[0] == NULL ? 0 : nb_expression(op->argument[0], b->origin->hp, b->origin->layer);

    if (b->n_ops == NB_VIEW_OPS || !isfinite(by))
        return refuse(b, "cannot be computed");
    *e = (struct nb_element_op){ .kind = kind, .by = (float)by };
    b->n_ops++;
    return NB_OK;
}

/* A number of config.json, or 1. False if it is none that a float holds. */
static bool
factor(json_t *value, float *out)
{
    *out = value == NULL || json_is_null(value) ? 1 : json_is_number(value) ? (float)json_number_value(value) : NAN;
    return isfinite(*out);
}

static enum nb_status
scale_by(struct builder *b, const struct nb_map_op *op)
{
    struct nb_element_op *e = &b->view->ops[b->n_ops];

    if (b->n_ops == NB_VIEW_OPS || !factor(nb_config_find(b->origin->config, op->argument[0]), &e->by))
        return refuse(b, "cannot be scaled");
    e->kind = NB_OP_SCALE;
    b->n_ops++;
    return NB_OK;
}

/* The height that begins at *AT, which moves to the next one. */
static bool
next_height(struct builder *b, const char **at, uint64_t *height)
{
    const size_t n = strcspn(*at, ",");
    char text[128];

    snprintf(text, sizeof text, "%.*s", (int)n, *at);
    *at += n + ((*at)[n] == ',');
    return n < sizeof text && nb_expression_count(text, b->origin->hp, b->origin->layer, height);
}

static enum nb_status
scale_parts(struct builder *b, const struct nb_map_op *op)
{
    json_t *factors = nb_config_find(b->origin->config, op->argument[0]);
    const uint64_t rows = b->view->ne[1];
    float *each, by = 1;
    uint64_t row = 0, height;
    size_t part = 0;

    if (b->n_ops == NB_VIEW_OPS || b->view->n_dims != 2 || rows > NB_MAX_SIDE)
        return refuse(b, "cannot be scaled");
    each = nb_arena_calloc(b->arena, (size_t)rows + 1, sizeof *each);
    if (each == NULL)
        return nb_fail_memory(b->err);
    for (const char *at = op->argument[1]; *at != '\0'; part++) {
        if (!next_height(b, &at, &height) || height > rows - row || !factor(json_array_get(factors, part), &by))
            return refuse(b, "cannot be scaled");
        for (const uint64_t end = row + height; row < end; row++)
            each[row] = by;
    }
    if (row != rows || (json_is_array(factors) && json_array_size(factors) != part))
        return refuse(b, "has not the rows");
    b->view->ops[b->n_ops++] = (struct nb_element_op){ .kind = NB_OP_SCALE_ROWS, .rows = each };
    return NB_OK;
}

static enum nb_status
apply(struct builder *b, const struct nb_map_op *op)
{
    uint64_t x[3] = { 1, 0, 0 };

    switch (op->kind) {
    case NB_MAP_CUT:
        if (!argument(b, op, 0, &x[1]) || !argument(b, op, 1, &x[2]))
            return refuse(b, "has not the rows");
        stand_up(b->view);
        return cut_groups(b, 1, x[1], x[2]);
    case NB_MAP_CUT_GROUPS:
        if (!argument(b, op, 0, &x[0]) || !argument(b, op, 1, &x[1]) || !argument(b, op, 2, &x[2]))
            return refuse(b, "has not the rows");
        stand_up(b->view);
        return cut_groups(b, x[0], x[1], x[2]);
    case NB_MAP_PARTS:
        if (!argument(b, op, 0, &x[0]) || !argument(b, op, 1, &x[1]) || !argument(b, op, 2, &x[2]))
            return refuse(b, "has not the rows");
        stand_up(b->view);
        return sort_parts(b, x[0], x[1], x[2]);
    case NB_MAP_ALSO_GROUPS:
        if (!argument(b, op, 0, &x[0]) || !argument(b, op, 1, &x[1]) || !argument(b, op, 2, &x[2]))
            return refuse(b, "has not the rows");
        return also_groups(b, x[0], x[1], x[2]);
    case NB_MAP_SWAP_FROM:
        if (!argument(b, op, 0, &x[0]) || !argument(b, op, 1, &x[1]) || !argument(b, op, 2, &x[2]))
            return refuse(b, "has not the rows");
        return swap_from(b, x[0], x[1], x[2]);
    case NB_MAP_CUT_COLUMNS:
        if (!argument(b, op, 0, &x[0]) || !argument(b, op, 1, &x[1]))
            return refuse(b, "has not the columns");
        return cut_columns(b, x[0], x[1]);
    case NB_MAP_HALVES:
        if (!argument(b, op, 0, &x[0]) || !argument(b, op, 1, &x[1]))
            return refuse(b, "has not the rows");
        return halves(b, x[0], x[1]);
    case NB_MAP_FILL:
        return fill(b, nb_expression(op->argument[0], b->origin->hp, b->origin->layer));
    case NB_MAP_FIT:
        if (!argument(b, op, 0, &x[1]))
            return refuse(b, "has not the rows");
        return x[1] > b->view->pieces->rows ? add_zeros(b, x[1] - b->view->pieces->rows) : cut_groups(b, 1, 0, x[1]);
    case NB_MAP_NEIGHBOURS:
    case NB_MAP_EVERY:
    case NB_MAP_SWAP:
        return order_rows(b, op);
    case NB_MAP_SWAP_COLUMNS:
        return swap_columns(b, op);
    case NB_MAP_EVERY_COLUMN:
        if (!argument(b, op, 0, &x[0]) || !argument(b, op, 1, &x[1]))
            return refuse(b, "has not the columns");
        return every_column(b, x[0], x[1]);
    case NB_MAP_MXFP4:
        if (!argument(b, op, 0, &x[0]) || !argument(b, op, 1, &x[1]) ||
            !nb_view_mxfp4(b->view, b->origin->scales, x[0], x[1]))
            return refuse(b, "has not the blocks and scales");
        return NB_OK;
    case NB_MAP_NUMBERS:
        if (!argument(b, op, 0, &x[0]) || !nb_view_numbers(b->view, x[0]))
            return refuse(b, "has no integers of 64 bits");
        return NB_OK;
    case NB_MAP_TRANSPOSE:
        b->view->transposed = true;
        return NB_OK;
    case NB_MAP_ADD:
        return add_op(b, NB_OP_ADD, op);
    case NB_MAP_SCALE:
        return add_op(b, NB_OP_SCALE, op);
    case NB_MAP_TERNARY:
        return add_op(b, NB_OP_TERNARY, op);
    case NB_MAP_SCALE_BY:
        return scale_by(b, op);
    case NB_MAP_SCALE_PARTS:
        return scale_parts(b, op);
    case NB_MAP_NEGATE_EXP:
        return add_op(b, NB_OP_NEGATE_EXP, op);
    case NB_MAP_FOLD:
    case NB_MAP_SIDES:
    case NB_MAP_READ_ONLY:
    case NB_MAP_JOIN:
    case NB_MAP_NOTHING:
    default:
        return NB_OK;
    }
}

#define SMALLEST_MEAN 1e-5f /* that of BitNet's own code */
#define MEAN_ROWS 65536     /* elements to read at once */

/* Gives ternary operations the inverse of the mean magnitude, for which all elements are read. */
static enum nb_status
find_mean(struct builder *b, struct nb_element_op *ternary)
{
    struct nb_view plain = *b->view;
    const uint64_t n = plain.elements / plain.ne[0], run = nb_view_run(&plain, MEAN_ROWS) / plain.ne[0];
    struct nb_view_reader reader = { 0 };
    float *values = nb_calloc(run * plain.ne[0] + 1, sizeof *values);
    enum nb_status status = values == NULL ? nb_fail_memory(b->err) : NB_OK;
    double sum = 0;

    memset(plain.ops, 0, sizeof plain.ops);
    for (uint64_t row = 0; row < n && status == NB_OK; row += run) {
        const uint64_t rows = n - row < run ? n - row : run;

        status = nb_view_rows(&plain, row, rows, values, &reader, b->err);
        for (uint64_t i = 0; i < rows * plain.ne[0] && status == NB_OK; i++)
            sum += fabs((double)values[i]);
    }
    nb_view_reader_free(&reader);
    free(values);
    ternary->by = 1.0f / fmaxf((float)(sum / (double)plain.elements), SMALLEST_MEAN);
    return status;
}

static bool
has_op(const struct nb_map_row *row, enum nb_map_op_kind kind)
{
    for (size_t i = 0; i < NB_MAP_OPS; i++)
        if (row->op[i].kind == kind)
            return true;
    return false;
}

/* Whether piece P takes whole stretches of rows of a weight that is stored as its transpose. */
static bool
is_by_columns(const struct nb_piece *p)
{
    return p->stored->packed != NULL && nb_packed_transpose(p->stored->packed) != NULL && p->pitch == p->stored->ne[0];
}

/* Weights that are stored as their transpose: the same elements from that, turned. */
static enum nb_status
add_turned(const struct builder *b)
{
    struct nb_view *v = b->view, *turned;

    for (size_t i = 0; i < v->n_pieces; i++)
        if (!is_by_columns(&v->pieces[i]) || v->transposed || v->column_order.n > 0)
            return NB_OK;
    turned = nb_arena_calloc(b->arena, 1, sizeof *turned);
    if (turned == NULL)
        return nb_fail_memory(b->err);
    *turned = *v;
    turned->transposed = true;
    turned->pieces = nb_arena_calloc(b->arena, v->n_pieces + 1, sizeof *turned->pieces);
    if (turned->pieces == NULL)
        return nb_fail_memory(b->err);
    for (size_t i = 0; i < v->n_pieces; i++) {
        const struct nb_piece *p = &v->pieces[i];
        const struct nb_tensor *t = nb_packed_transpose(p->stored->packed);

        turned->pieces[i] = (struct nb_piece){
            .stored = t,
            .start = p->start % p->pitch * t->ne[0] + p->start / p->pitch,
            .pitch = t->ne[0],
            .rows = p->columns,
            .columns = p->rows,
        };
    }
    if (nb_view_measure(turned) && turned->rows == v->rows && turned->columns == v->columns)
        v->turned = turned;
    return NB_OK;
}

enum nb_status
nb_view_build(struct nb_view *view, const struct nb_view_origin *origin, struct nb_arena *arena, struct nb_error *err)
{
    struct builder b = { view, origin, arena, 0, err };
    enum nb_status status = take_whole(&b, has_op(origin->row, NB_MAP_TRANSPOSE));

    for (size_t i = 0; i < NB_MAP_OPS && status == NB_OK; i++)
        status = apply(&b, &origin->row->op[i]);
    if (status != NB_OK)
        return status;
    if (!nb_view_measure(view))
        return nb_fail(err, NB_INPUT, "tensor '%s' has not the shape that '%s' needs", view->source_name, view->name);
    status = add_turned(&b);
    for (size_t i = 0; i < NB_VIEW_OPS && status == NB_OK; i++)
        if (view->ops[i].kind == NB_OP_TERNARY)
            status = find_mean(&b, &view->ops[i]);
    return status;
}
