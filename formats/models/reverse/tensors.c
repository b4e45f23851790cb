/*
 * The tensors of a checkpoint, of those of a GGUF file. No operation of the tables has an inverse of its own: the views
 * that a family makes of its stored tensors are built of tensors that have no data, and it is looked up where each of
 * their rows comes from. Then it is known where each stored row has gone.
 */
#include "formats/models/expression.h"
#include "formats/models/packed/composed.h"
#include "formats/models/reverse/work.h"
#include "formats/models/view_build.h"
#include "formats/models/view_parts.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Rows of a table that take parts of one stored tensor. */
#define MAX_PARTS 8
#define MAX_ROWS (1u << 22) /* of a stored tensor, or of all experts of a stack together */
#define NOWHERE UINT32_MAX

/* Where a row of a stored matrix has gone: row ROW of part PART. */
struct gone {
    uint64_t row;
    uint32_t part;
};

/* What the file makes of one stored tensor, or of the experts of a stack. */
struct group {
    struct nb_reversal *r;
    uint64_t layer;
    const struct nb_map_row *row[MAX_PARTS];
    const struct nb_view *part[MAX_PARTS];   /* of the file */
    const struct nb_tensor *from[MAX_PARTS]; /* as stored tensors, see find_source */
    unsigned n_parts;
    struct nb_tensor *stored; /* COUNT of them, of the same shape: first without data */
    uint64_t count, rows, columns;
    struct gone *gone; /* rows x count */
    struct nb_rectangle *rectangles;
    size_t n_rectangles, room;
    bool turned;                          /* the rows are those of the stored matrices' transposes */
    struct nb_map_row upright[MAX_PARTS]; /* ROW is then these, which are without the first operation */
};

const struct nb_view *
nb_reversal_find(const struct nb_reversal *r, const char *name)
{
    return nb_views_find(r->sorted, r->gguf->n_tensors, name);
}

static bool
has_op(const struct nb_map_row *row, enum nb_map_op_kind kind)
{
    for (size_t i = 0; i < NB_MAP_OPS; i++)
        if (row->op[i].kind == kind)
            return true;
    return false;
}

static enum nb_status
refuse(const struct group *g, const char *what)
{
    return nb_fail(g->r->err, NB_UNSUPPORTED, "%s: tensor '%s' cannot be written back as '%s': %s", g->r->gguf->path,
                   g->part[0]->name, g->row[0]->from, what);
}

/* --- shapes -------------------------------------------------------------------------------------------------- */

/* Operations that lose something. Factors that are multiplied into weights stay there (config.c sets them to 1). */
static bool
is_reversible(const struct nb_map_row *row)
{
    static const enum nb_map_op_kind others[] = { NB_MAP_FILL, NB_MAP_TERNARY, NB_MAP_MXFP4, NB_MAP_NUMBERS };

    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (has_op(row, others[i]))
            return false;
    return true;
}

/* Whether the parts are cut from the matrices of a stack of experts, not from rows that belong to heads. */
static bool
keeps_matrices(const struct group *g)
{
    for (unsigned i = 0; i < g->n_parts; i++)
        for (size_t k = 0; k < NB_MAP_OPS; k++)
            if (g->row[i]->op[k].kind == NB_MAP_CUT_GROUPS && strcmp(g->row[i]->op[k].argument[0], "experts") != 0)
                return false;
    return true;
}

/* Of every how many columns the parts take one; 1: of all. */
static uint64_t
column_step(const struct group *g)
{
    const struct nb_map_op *op = &g->row[0]->op[0];
    uint64_t step;

    return op->kind == NB_MAP_EVERY_COLUMN && nb_expression_count(op->argument[1], &g->r->hp, g->layer, &step) &&
                   step > 0 && step <= MAX_PARTS
               ? step
               : 1;
}

/* The length of the stored rows. */
static uint64_t
columns_of(const struct group *g)
{
    uint64_t together = 0;

    if (column_step(g) > 1)
        return g->part[0]->ne[0] * column_step(g);

    for (unsigned i = 0; i < g->n_parts; i++) {
        if (!has_op(g->row[i], NB_MAP_TRANSPOSE))
            return g->part[i]->ne[0];
        together += g->part[i]->ne[1];
    }
    return has_op(g->row[0], NB_MAP_CUT_COLUMNS) ? together : g->part[0]->ne[1];
}

/* The sides that ROW says a checkpoint has; false if they are more than a tensor can have. */
static bool
set_sides(const struct group *g, const struct nb_map_row *row, struct nb_tensor *shape)
{
    const char *sides = NULL;
    uint32_t n;

    for (size_t i = 0; i < NB_MAP_OPS; i++)
        if (row->op[i].kind == NB_MAP_SIDES)
            sides = row->op[i].argument[0];
    if (sides == NULL)
        return true;
    n = (uint32_t)strlen(sides);
    if (n > NB_MAX_DIMS)
        return false;
    shape->n_dims = n;
    for (uint32_t i = 0; i < NB_MAX_DIMS; i++) {
        const char side = i < n ? sides[n - 1 - i] : '1';

        shape->ne[i] = side == 'r' ? g->rows : side == 'c' ? g->columns : side == 'n' ? g->rows * g->columns : 1;
    }
    return true;
}

/* The shape of the stored tensors, which is that of their parts together. */
static enum nb_status
find_shape(struct group *g, struct nb_tensor *shape)
{
    const struct nb_view *first = g->part[0];
    const bool stacked = strstr(g->row[0]->from, "%e") != NULL, joined = has_op(g->row[0], NB_MAP_JOIN);
    const bool folded = has_op(g->row[0], NB_MAP_FOLD); /* a vector */
    const uint32_t n_dims = folded ? 1 : first->n_dims - (stacked && !joined);
    uint64_t total = 0;

    g->count = 1;
    if (joined && !nb_expression_count(g->row[0]->op[0].argument[0], &g->r->hp, g->layer, &g->count))
        return refuse(g, "it is not known how many parts it has");
    if (stacked && !joined)
        g->count = first->ne[first->n_dims - 1];
    for (unsigned i = 0; i < g->n_parts; i++)
        total += g->part[i]->elements;
    g->columns = n_dims < 2 ? 1 : columns_of(g);
    if (g->count == 0 || g->count > NB_MAX_EXPERTS || g->columns == 0 || total % (g->columns * g->count) != 0 ||
        total / g->columns > MAX_ROWS)
        return refuse(g, "it does not consist of whole rows");
    g->rows = total / g->columns / g->count;
    *shape = (struct nb_tensor){ .type = NB_F32, .n_dims = 2, .ne = { g->columns, g->rows, 1, 1 } };
    if (n_dims < 2) {
        shape->n_dims = 1;
        shape->ne[0] = g->rows;
        shape->ne[1] = 1;
    } else if (n_dims == 3 && keeps_matrices(g) && g->rows % first->ne[2] == 0) {
        shape->n_dims = 3;
        shape->ne[1] = g->rows / first->ne[2];
        shape->ne[2] = first->ne[2];
    }
    if (!set_sides(g, g->row[0], shape))
        return refuse(g, "it has more sides than a tensor of GGUF");
    if (column_step(g) > 1) { /* of single elements it is known where they have gone */
        g->rows *= g->columns;
        g->columns = 1;
    }
    if (g->rows * g->count > MAX_ROWS || !nb_tensor_measure(shape))
        return refuse(g, "it is too large");
    return NB_OK;
}

/* Whether the tensor NAME of a layer that predicts further tokens stands outside of those layers: before the first, or after. */
static bool
stands_outside(const char *name)
{
    return strcmp(name, "fc.weight") == 0 || strcmp(name, "norm.weight") == 0 || strncmp(name, "pre_fc_norm_", 12) == 0;
}

/*
 * The name of stored tensor NUMBER. Layers that predict further tokens may be numbered on their own. False if one name would
 * be for two.
 */
static bool
name_stored(const struct group *g, uint64_t number, char name[256])
{
    static const char layers[] = "model.layers.%l.";
    const char *prefix = g->r->family->further_layers, *from = g->row[0]->from;
    const double own = nb_hp(&g->r->hp, NB_HP_LAYERS) - nb_hp(&g->r->hp, NB_HP_NEXTN_LAYERS);
    char pattern[256];
    bool is_outside;

    if (prefix == NULL || strncmp(from, layers, strlen(layers)) != 0 || (double)g->layer < own) {
        nb_name_fill(from, g->layer, number, name, 256);
        return true;
    }
    is_outside = stands_outside(from + strlen(layers));
    snprintf(pattern, sizeof pattern, "%s%s%s", prefix, is_outside ? "" : "layers.%l.", from + strlen(layers));
    nb_name_fill(pattern, g->layer - (uint64_t)own, number, name, 256);
    return !is_outside || (double)g->layer == own;
}

/* The stored tensors, so far without data. */
static enum nb_status
make_stored(struct group *g)
{
    struct nb_tensor shape;
    enum nb_status status = find_shape(g, &shape);

    if (status != NB_OK)
        return status;
    if (g->count > g->r->room - g->r->n_stored)
        return refuse(g, "it has more parts than tensors that are there");
    g->stored = g->r->stored + g->r->n_stored;
    for (uint64_t e = 0; e < g->count; e++) {
        char name[256];

        if (!name_stored(g, e, name))
            return refuse(g, "several layers predict further tokens");
        g->stored[e] = shape;
        g->stored[e].name = nb_arena_strdup(g->r->arena, name);
        if (g->stored[e].name == NULL)
            return nb_fail_memory(g->r->err);
    }
    return NB_OK;
}

/* --- where rows have gone ------------------------------------------------------------------------------------ */

/* The operations that undo those on the elements of PART. */
static enum nb_status
reverse_ops(const struct group *g, unsigned part, struct nb_view *view)
{
    unsigned n = 0;

    for (size_t i = NB_MAP_OPS; i-- > 0;) {
        const struct nb_map_op *op = &g->row[part]->op[i];
        const bool adds = op->kind == NB_MAP_ADD, scales = op->kind == NB_MAP_SCALE;
        const double by = adds || scales ? nb_expression(op->argument[0], &g->r->hp, g->layer) : 0;
        int exponent;

        if (op->kind == NB_MAP_NEGATE_EXP && n < NB_VIEW_OPS)
            view->ops[n++] = (struct nb_element_op){ .kind = NB_OP_LOG_NEGATED };
        if (!adds && !scales)
            continue;
        if (!isfinite(by) || (scales && frexp(fabs(by), &exponent) != 0.5)) /* 1 / by is exact for powers of two */
            return refuse(g, "its values cannot be computed back exactly");
        view->ops[n++] = (struct nb_element_op){ .kind = adds ? NB_OP_ADD : NB_OP_SCALE,
                                                 .by = (float)(adds ? -by : 1 / by) };
    }
    return NB_OK;
}

static enum nb_status
add_rectangle(struct group *g, const struct nb_rectangle *rectangle)
{
    const size_t room = g->room == 0 ? 16 : 2 * g->room;
    struct nb_rectangle *grown = g->rectangles;

    if (g->n_rectangles == g->room) {
        grown = realloc(g->rectangles, room * sizeof *grown);
        if (grown == NULL)
            return nb_fail_memory(g->r->err);
        g->rectangles = grown;
        g->room = room;
    }
    grown[g->n_rectangles] = *rectangle;
    return nb_view_measure(&grown[g->n_rectangles++].view) ? NB_OK : refuse(g, "its rows are not whole blocks");
}

/* A view of rows of PART of the file, for a rectangle of ROWS x COLUMNS. */
static struct nb_view
part_view(const struct group *g, unsigned part, uint64_t rows, uint64_t columns, struct nb_piece *pieces, size_t count)
{
    return (struct nb_view){
        .name = g->part[part]->name,
        .source_name = g->part[part]->name,
        .type = pieces->stored->type,
        .plain_type = NB_F32,
        .n_dims = 2,
        .ne = { columns, rows, 1, 1 },
        .store = &g->r->gguf->store,
        .pieces = pieces,
        .n_pieces = count,
    };
}

/* Whether V is a stored tensor as it is. */
static bool
is_whole(const struct nb_view *v)
{
    return v->foreign == NULL && v->n_pieces == 1 && !v->transposed && v->row_order.n == 0 && v->column_order.n == 0 &&
           v->ops[0].kind == NB_OP_NONE && v->pieces->start == 0 && v->pieces->pitch == v->pieces->columns &&
           v->elements == v->pieces->stored->elements;
}

/* The stored tensor that PART is, or one that is composed of it: of floats, if its elements are wanted ONE_BY_ONE. */
static enum nb_status
find_source(struct group *g, unsigned part, bool one_by_one)
{
    const struct nb_view *v = g->part[part];
    struct nb_tensor *floats;
    struct nb_rectangle *all;

    if (g->from[part] != NULL)
        return NB_OK;
    g->from[part] = v->pieces->stored;
    if (is_whole(v) && (!one_by_one || nb_type_info(v->type)->block == 1))
        return NB_OK;
    floats = nb_arena_calloc(g->r->arena, 1, sizeof *floats);
    all = nb_arena_calloc(g->r->arena, 1, sizeof *all);
    if (floats == NULL || all == NULL)
        return nb_fail_memory(g->r->err);
    g->from[part] = floats;
    *floats = (struct nb_tensor){ .name = v->name, .n_dims = v->n_dims };
    memcpy(floats->ne, v->ne, sizeof floats->ne);
    *all = (struct nb_rectangle){ .rows = v->elements / v->ne[0], .columns = v->ne[0], .view = *v };
    if (v->n_dims == 1) { /* a vector is a column */
        all->view.n_dims = 2;
        all->rows = all->view.ne[1] = v->ne[0];
        all->columns = all->view.ne[0] = 1;
    }
    return nb_compose(floats, all, 1, g->r->arena, g->r->err);
}

/* Rectangles of the pieces of VIEW, which was transposed: rows of PART are columns of the stored tensor. */
static enum nb_status
add_turned(struct group *g, unsigned part, const struct nb_view *view)
{
    const uint64_t width = g->part[part]->ne[0];
    enum nb_status status = find_source(g, part, true);

    if (status == NB_OK && (view->row_order.n > 0 || view->column_order.n > 0))
        return refuse(g, "its columns are in another order");
    for (size_t i = 0; i < view->n_pieces && status == NB_OK; i++) {
        const struct nb_piece *p = &view->pieces[i];
        const uint64_t first = (uint64_t)(p->stored - g->stored) * g->rows + p->start / g->columns;
        struct nb_piece *piece = nb_arena_calloc(g->r->arena, 1, sizeof *piece);
        struct nb_rectangle r = { first, p->rows, p->start % g->columns, p->columns, { 0 } };

        if (piece == NULL)
            return nb_fail_memory(g->r->err);
        if (p->rows != width || p->pitch != g->columns)
            return refuse(g, "its rows are in another order");
        *piece = (struct nb_piece){
            .stored = g->from[part], .start = p->at * width, .pitch = width, .rows = p->columns, .columns = width
        };
        r.view = part_view(g, part, r.rows, r.columns, piece, 1);
        r.view.transposed = true;
        status = reverse_ops(g, part, &r.view);
        if (status == NB_OK)
            status = add_rectangle(g, &r);
    }
    return status;
}

/* Notes which stored row each row of VIEW, which is PART, comes from. A row of a vector is an element. */
static enum nb_status
note_rows(struct group *g, unsigned part, const struct nb_view *view)
{
    const uint64_t each = view->columns / g->columns, rows = view->rows * each;

    if (g->columns > 1 && ((view->column_order.n > 0 && !has_op(g->row[part], NB_MAP_SWAP_COLUMNS)) || each != 1))
        return refuse(g, "its columns are in another order");
    for (uint64_t i = 0; i < rows; i++) {
        uint64_t row = nb_order_apply(&view->row_order, i / each);
        const struct nb_piece *p = nb_view_piece(view, &row);
        const uint64_t at = p->start + row * p->pitch + nb_order_apply(&view->column_order, i % each);
        struct gone *gone = &g->gone[(uint64_t)(p->stored - g->stored) * g->rows + at / g->columns];

        if (at % g->columns != 0 || gone->part != NOWHERE)
            return refuse(g, "a row has gone to two places");
        *gone = (struct gone){ i, part };
    }
    return NB_OK;
}

static enum nb_status
trace_part(struct group *g, unsigned part, const struct nb_tensor *const *stored)
{
    const struct nb_view *there = g->part[part];
    struct nb_view view = { .name = there->name, .source_name = g->row[part]->from, .type = NB_F32 };
    const struct nb_view_origin origin = { g->row[part], &g->r->hp, g->layer, stored, (size_t)g->count, NULL, NULL };
    struct nb_error why;
    enum nb_status status;

    if (!is_reversible(g->row[part]))
        return refuse(g, "what was computed of it cannot be undone");
    view.n_dims = there->n_dims;
    memcpy(view.ne, there->ne, sizeof view.ne);
    status = nb_view_build(&view, &origin, g->r->arena, &why);
    if (nb_status_is(status, NB_INPUT))
        return refuse(g, "the operations of its class do not suit its shape");
    if (status != NB_OK)
        return nb_fail(g->r->err, status, "%s", why.message);
    return view.transposed ? add_turned(g, part, &view) : note_rows(g, part, &view);
}

/* --- rectangles ---------------------------------------------------------------------------------------------- */

/* How many of the COUNT rows at GONE follow each other in steps of *STEP. */
static uint64_t
run_of(const struct gone *gone, uint64_t count, uint64_t *step)
{
    uint64_t n = 1;

    *step = 1;
    if (count > 1 && gone[1].row > gone[0].row)
        *step = gone[1].row - gone[0].row;
    while (n < count && gone[n].row == gone[n - 1].row + *step)
        n++;
    return n;
}

/* Puts the columns of VIEW, of rows of PART, in the order that they had before those of all rows were swapped. */
static bool
swap_columns_back(const struct group *g, unsigned part, struct nb_view *view)
{
    for (size_t i = 0; i < NB_MAP_OPS; i++) {
        const struct nb_map_op *op = &g->row[part]->op[i];
        uint64_t side[3];

        if (op->kind != NB_MAP_SWAP_COLUMNS)
            continue;
        for (unsigned k = 0; k < 3; k++)
            if (!nb_expression_count(op->argument[k], &g->r->hp, g->layer, &side[k]))
                return false;
        view->column_order = (struct nb_order){ .n = 3,
                                                .digit = { side[0], side[1], side[2] },
                                                .stride = { side[2], side[0] * side[2], 1 } };
    }
    return true;
}

/* The rows from FIRST to END have gone to the same part. */
static enum nb_status
add_rows(struct group *g, uint64_t first, uint64_t end)
{
    const struct gone *gone = &g->gone[first];
    const uint64_t count = end - first, width = g->columns;
    struct nb_rectangle r = { first, count, 0, width, { 0 } };
    struct nb_piece *pieces;
    uint64_t step;
    size_t n = 0;
    enum nb_status status;

    status = find_source(g, gone->part, has_op(g->row[gone->part], NB_MAP_SWAP_COLUMNS));
    if (status != NB_OK)
        return status;
    for (uint64_t i = 0; i < count; i += run_of(gone + i, count - i, &step))
        n++;
    pieces = nb_arena_calloc(g->r->arena, n, sizeof *pieces);
    if (pieces == NULL)
        return nb_fail_memory(g->r->err);
    n = 0;
    for (uint64_t i = 0; i < count; i += pieces[n - 1].rows) {
        pieces[n] = (struct nb_piece){ .stored = g->from[gone->part], .start = gone[i].row * width, .columns = width };
        pieces[n].rows = run_of(gone + i, count - i, &step);
        pieces[n++].pitch = step * width;
    }
    r.view = part_view(g, gone->part, count, width, pieces, n);
    if (!swap_columns_back(g, gone->part, &r.view))
        return refuse(g, "its columns are in another order");
    status = reverse_ops(g, gone->part, &r.view);
    return status == NB_OK ? add_rectangle(g, &r) : status;
}

static int
by_place(const void *a, const void *b)
{
    const struct nb_rectangle *x = a, *y = b;

    if (x->row != y->row)
        return x->row < y->row ? -1 : 1;
    return x->column < y->column ? -1 : x->column > y->column;
}

/* Gives stored tensor NUMBER the rectangles from *AT on that are its own. */
static enum nb_status
compose(struct group *g, uint64_t number, size_t *at)
{
    const uint64_t first = number * g->rows, end = first + g->rows;
    const size_t begin = *at;
    struct nb_rectangle *own;
    struct nb_error why;
    enum nb_status status;

    while (*at < g->n_rectangles && g->rectangles[*at].row < end)
        ++*at;
    own = nb_arena_calloc(g->r->arena, *at - begin + 1, sizeof *own);
    if (own == NULL)
        return nb_fail_memory(g->r->err);
    for (size_t i = begin; i < *at; i++) {
        own[i - begin] = g->rectangles[i];
        own[i - begin].row -= first;
    }
    status = nb_compose(&g->stored[number], own, *at - begin, g->r->arena, &why);
    return status == NB_OK ? NB_OK : nb_fail(g->r->err, status, "%s: %s", g->r->gguf->path, why.message);
}

static enum nb_status
compose_all(struct group *g)
{
    const uint64_t rows = g->count * g->rows;
    enum nb_status status = NB_OK;
    size_t at = 0;

    for (uint64_t i = 0, end; i < rows && status == NB_OK; i = end) {
        end = i + 1;
        while (end < rows && end % g->rows != 0 && g->gone[end].part == g->gone[i].part)
            end++;
        if (g->gone[i].part != NOWHERE)
            status = add_rows(g, i, end);
    }
    if (status != NB_OK)
        return status;
    qsort(g->rectangles, g->n_rectangles, sizeof *g->rectangles, by_place);
    for (uint64_t e = 0; e < g->count && status == NB_OK; e++)
        status = compose(g, e, &at);
    g->r->n_stored += (size_t)g->count;
    return status;
}

/* Turns the matrices of the stored tensor T, which is composed. */
static enum nb_status
turn(struct group *g, struct nb_tensor *t)
{
    const uint64_t matrices = t->ne[2], rows = t->ne[1], columns = t->ne[0];
    struct nb_tensor *upright = nb_arena_calloc(g->r->arena, 1, sizeof *upright);
    struct nb_rectangle *r = nb_arena_calloc(g->r->arena, matrices, sizeof *r);
    struct nb_piece *pieces = nb_arena_calloc(g->r->arena, matrices, sizeof *pieces);

    if (upright == NULL || r == NULL || pieces == NULL)
        return nb_fail_memory(g->r->err);
    *upright = *t;
    for (uint64_t m = 0; m < matrices; m++) {
        pieces[m] = (struct nb_piece){
            .stored = upright, .start = m * rows * columns, .pitch = columns, .rows = rows, .columns = columns
        };
        r[m] = (struct nb_rectangle){ m * columns, columns, 0, rows, part_view(g, 0, columns, rows, &pieces[m], 1) };
        r[m].view.transposed = true;
        if (!nb_view_measure(&r[m].view))
            return refuse(g, "its matrices cannot be turned");
    }
    t->ne[0] = rows;
    t->ne[1] = columns;
    return nb_compose(t, r, (size_t)matrices, g->r->arena, g->r->err);
}

/* Where the first operation of all parts is to turn the matrices, and others follow, they are undone first. */
static void
set_upright(struct group *g)
{
    g->turned = true;
    for (unsigned i = 0; i < g->n_parts; i++)
        g->turned = g->turned && g->row[i]->op[0].kind == NB_MAP_TRANSPOSE && g->row[i]->op[1].kind != NB_MAP_NOTHING;
    for (unsigned i = 0; i < g->n_parts && g->turned; i++) {
        g->upright[i] = *g->row[i];
        memmove(g->upright[i].op, g->upright[i].op + 1, (NB_MAP_OPS - 1) * sizeof *g->upright[i].op);
        g->upright[i].op[NB_MAP_OPS - 1] = (struct nb_map_op){ .kind = NB_MAP_NOTHING };
        g->row[i] = &g->upright[i];
    }
}

static enum nb_status
reverse_group(struct group *g)
{
    const struct nb_tensor **stored;
    enum nb_status status;

    set_upright(g);
    status = make_stored(g);
    if (status != NB_OK)
        return status;
    stored = nb_arena_calloc(g->r->arena, g->count, sizeof *stored);
    g->gone = calloc((size_t)(g->count * g->rows + 1), sizeof *g->gone);
    if (stored == NULL || g->gone == NULL)
        status = nb_fail_memory(g->r->err);
    for (uint64_t i = 0; i < g->count * g->rows && status == NB_OK; i++)
        g->gone[i].part = NOWHERE;
    for (uint64_t e = 0; e < g->count && status == NB_OK; e++)
        stored[e] = &g->stored[e];
    for (unsigned i = 0; i < g->n_parts && status == NB_OK; i++)
        status = trace_part(g, i, stored);
    if (status == NB_OK)
        status = compose_all(g);
    for (uint64_t e = 0; e < g->count && status == NB_OK && g->turned; e++)
        status = turn(g, &g->stored[e]);
    free(g->gone);
    free(g->rectangles);
    return status;
}

/* --- the table ----------------------------------------------------------------------------------------------- */

/* The layers that ROW is of: *LAYER to *END. */
static void
layers_of(const struct nb_reversal *r, const struct nb_map_row *row, uint64_t *layer, uint64_t *end)
{
    const uint64_t layers = (uint64_t)nb_hp(&r->hp, NB_HP_LAYERS);

    *layer = strstr(row->to, "%l") != NULL && strstr(row->from, "%l") == NULL ? layers - 1 : 0;
    *end = strstr(row->to, "%l") != NULL ? layers : 1;
}

/* The file's tensor that ROW gives in LAYER, or NULL. */
static const struct nb_view *
target_of(const struct nb_reversal *r, const struct nb_map_row *row, uint64_t layer)
{
    char name[NB_MAX_NAME + 32];

    if (!nb_expression_holds(nb_arch_row(r->family->arch, row->to)->when, &r->hp, layer))
        return NULL;
    nb_name_fill(row->to, layer, 0, name, sizeof name);
    return nb_reversal_find(r, name);
}

/* For each tensor of the file, the number of the first row that gives it, from 1 on. */
static void
claim(const struct nb_reversal *r, size_t *claims)
{
    for (size_t i = 0; i < r->family->n_to_gguf; i++) {
        const struct nb_map_row *row = &r->family->to_gguf[i];
        uint64_t layer, end;

        for (layers_of(r, row, &layer, &end); layer < end; layer++) {
            const struct nb_view *target = target_of(r, row, layer);

            if (target != NULL && claims[target - r->gguf->tensors] == 0 && !has_op(row, NB_MAP_MXFP4) &&
                !has_op(row, NB_MAP_READ_ONLY))
                claims[target - r->gguf->tensors] = i + 1;
        }
    }
}

static bool
is_made(const struct nb_family *family, const char *name)
{
    for (size_t i = 0; i < family->n_made; i++)
        if (strcmp(family->made[i].to, name) == 0)
            return true;
    return false;
}

/* Every tensor of the file must be given by some row, or be computed; and have the shape that its keys give. */
static enum nb_status
check_claims(const struct nb_reversal *r, const size_t *claims)
{
    for (size_t i = 0; i < r->gguf->n_tensors; i++) {
        const struct nb_view *v = &r->gguf->tensors[i];
        uint64_t ne[NB_MAX_DIMS], layer;
        const struct nb_arch_tensor *row = nb_arch_find(r->family->arch, v->name, &layer);
        uint32_t n_dims;

        if (claims[i] == 0 && is_made(r->family, v->name))
            continue;
        if (claims[i] == 0)
            return nb_fail(r->err, NB_UNSUPPORTED, "%s: tensor '%s' has no place in a checkpoint of class %s",
                           r->gguf->path, v->name, r->family->classes[0]);
        if (row == NULL || !nb_arch_shape(row, &r->hp, layer, ne, &n_dims) || n_dims > v->n_dims + 1 ||
            memcmp(ne, v->ne, sizeof ne) != 0)
            return nb_fail(r->err, NB_INPUT, "%s: tensor '%s' has not the shape that the file's keys give it",
                           r->gguf->path, v->name);
    }
    return NB_OK;
}

/* Collects the parts of ROW's stored tensor in LAYER; none if an earlier row has them already. */
static bool
collect(struct group *g, const struct nb_map_row *row, const size_t *claims)
{
    const struct nb_family *f = g->r->family;

    g->n_parts = 0;
    for (size_t i = 0; i < f->n_to_gguf; i++) {
        const struct nb_map_row *other = &f->to_gguf[i];
        const struct nb_view *target = strcmp(other->from, row->from) == 0 ? target_of(g->r, other, g->layer) : NULL;

        if (target == NULL || claims[target - g->r->gguf->tensors] != i + 1)
            continue;
        if (g->n_parts == MAX_PARTS)
            return false;
        g->row[g->n_parts] = other;
        g->part[g->n_parts++] = target;
    }
    return g->n_parts > 0 && g->row[0] == row;
}

/* At most as many stored tensors as there are of the file's, or matrices in its stacks. */
static uint64_t
most_stored(const struct nb_reversal *r)
{
    uint64_t n = 1;

    for (size_t i = 0; i < r->gguf->n_tensors; i++) {
        const struct nb_view *v = &r->gguf->tensors[i];
        const uint64_t last = v->n_dims > 1 ? v->ne[v->n_dims - 1] : 1;
        const bool is_stack = v->n_dims > 2 || strstr(v->name, "_exps.") != NULL;

        n += is_stack && last <= NB_MAX_EXPERTS ? last : 1;
    }
    return n;
}

enum nb_status
nb_reverse_tensors(struct nb_reversal *r)
{
    size_t *claims = calloc(r->gguf->n_tensors + 1, sizeof *claims);
    enum nb_status status = NB_OK;

    r->room = (size_t)most_stored(r);
    r->stored = nb_arena_calloc(r->arena, r->room, sizeof *r->stored);
    if (claims == NULL || r->stored == NULL)
        status = nb_fail_memory(r->err);
    if (status == NB_OK) {
        claim(r, claims);
        status = check_claims(r, claims);
    }
    for (size_t i = 0; i < r->family->n_to_gguf && status == NB_OK; i++) {
        const struct nb_map_row *row = &r->family->to_gguf[i];
        uint64_t layer, end;

        for (layers_of(r, row, &layer, &end); layer < end && status == NB_OK; layer++) {
            struct group g = { .r = r, .layer = layer };

            if (collect(&g, row, claims))
                status = reverse_group(&g);
        }
    }
    free(claims);
    return status;
}
