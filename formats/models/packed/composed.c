#include "formats/models/packed/composed.h"

#include "formats/models/packed/format.h"

#include <stdlib.h>
#include <string.h>

/* What nb_packed.own is. */
struct composition {
    const struct nb_rectangle *rectangles;
    size_t count;
};

/* The number of the first rectangle that ends after ROW. */
static size_t
first_with(const struct composition *c, uint64_t row)
{
    size_t low = 0, high = c->count;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;

        if (c->rectangles[middle].row + c->rectangles[middle].rows <= row)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Reads what RECTANGLE has of the rows from ROW to END to OUT, where ROW begins. */
static enum nb_status
read_rectangle(const struct nb_packed_job *j, const struct nb_rectangle *r, uint64_t row, uint64_t end, float *out)
{
    const uint64_t from = r->row > row ? r->row : row, until = r->row + r->rows < end ? r->row + r->rows : end;
    const uint64_t width = j->packed->columns;
    float *to = out + (from - row) * width, *strip;
    enum nb_status status;

    if (r->columns == width)
        return nb_view_rows(&r->view, from - r->row, until - from, to, j->reader->within, j->err);
    strip = nb_packed_buffer(j, NB_BUFFER_STRIP, (until - from) * r->columns * sizeof *strip);
    if (strip == NULL)
        return nb_fail_memory(j->err);
    status = nb_view_rows(&r->view, from - r->row, until - from, strip, j->reader->within, j->err);
    for (uint64_t i = 0; i < until - from && status == NB_OK; i++)
        memcpy(to + i * width + r->column, strip + i * r->columns, (size_t)r->columns * sizeof *to);
    return status;
}

static enum nb_status
read_rows(const struct nb_packed_job *j, uint64_t row, uint64_t rows, float *out)
{
    const struct composition *c = j->packed->own;
    enum nb_status status = NB_OK;

    for (size_t i = first_with(c, row); i < c->count && c->rectangles[i].row < row + rows && status == NB_OK; i++)
        status = read_rectangle(j, &c->rectangles[i], row, row + rows, out);
    return status;
}

static enum nb_status
read_part(const struct nb_packed_job *j, void *out)
{
    const struct nb_packed *p = j->packed;
    const uint64_t row = j->matrix * p->rows + j->row;
    float *whole;
    enum nb_status status;

    if (j->reader->within == NULL && (j->reader->within = calloc(1, sizeof *j->reader->within)) == NULL)
        return nb_fail_memory(j->err);
    if (j->columns == p->columns)
        return read_rows(j, row, j->rows, out);
    whole = nb_packed_buffer(j, NB_BUFFER_RAW, p->columns * sizeof *whole);
    if (whole == NULL)
        return nb_fail_memory(j->err);
    status = read_rows(j, row, 1, whole);
    if (status == NB_OK)
        memcpy(out, whole + j->column, (size_t)j->columns * sizeof *whole);
    return status;
}

static const struct nb_packed_format composed = { .name = "views", .read = read_part };

/* The width of the matrix that they cover: of single elements, or of vectors, 1. */
static uint64_t
width_of(const struct nb_tensor *t, const struct nb_rectangle *r, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (r[i].columns > 1 || r[i].column > 0)
            return t->n_dims == 1 ? 1 : t->ne[0];
    return 1;
}

/* Whether the rectangles cover ROWS rows of COLUMNS columns, each element once: bands of rows, from left to right. */
static bool
covers(const struct nb_rectangle *r, size_t count, uint64_t rows, uint64_t columns)
{
    uint64_t row = 0, column = 0;

    for (size_t i = 0; i < count; i++) {
        if (r[i].row != row || r[i].column != column || r[i].rows == 0 || r[i].columns > columns - column ||
            (column > 0 && r[i].rows != r[i - 1].rows) || r[i].view.elements != r[i].rows * r[i].columns)
            return false;
        column += r[i].columns;
        if (column == columns) {
            row += r[i].rows;
            column = 0;
        }
    }
    return row == rows && column == 0;
}

enum nb_status
nb_compose(struct nb_tensor *t, const struct nb_rectangle *rectangles, size_t count, struct nb_arena *arena,
           struct nb_error *err)
{
    struct nb_packed *p = nb_arena_calloc(arena, 1, sizeof *p);
    struct composition *own = nb_arena_calloc(arena, 1, sizeof *own);

    if (p == NULL || own == NULL)
        return nb_fail_memory(err);
    *own = (struct composition){ rectangles, count };
    t->type = NB_F32;
    t->packed = p;
    *p = (struct nb_packed){ .format = &composed,
                             .columns = width_of(t, rectangles, count),
                             .matrices = 1,
                             .factor = 1,
                             .scale_factor = 1,
                             .input_factor = 1,
                             .own = own,
                             .rounding = NB_TYPE_NONE,
                             .kept = NB_TYPE_NONE };
    if (!nb_tensor_measure(t) || t->elements == 0)
        return nb_fail(err, NB_INPUT, "tensor '%s' has no size that a tensor can have", t->name);
    p->rows = t->elements / p->columns;
    if (!covers(rectangles, count, p->rows, p->columns))
        return nb_fail(err, NB_INPUT, "tensor '%s' has parts that are not in the file", t->name);
    return NB_OK;
}

enum nb_type
nb_composed_of(const struct nb_tensor *t)
{
    while (t->packed != NULL && t->packed->format == &composed) {
        const struct composition *own = t->packed->own;

        t = own->rectangles->view.pieces->stored;
    }
    return t->type;
}

bool
nb_composed_turned(const struct nb_tensor *t, struct nb_view *view, struct nb_arena *arena)
{
    const struct composition *c = t->packed != NULL && t->packed->format == &composed ? t->packed->own : NULL;
    struct nb_view turned = *view;

    if (c == NULL)
        return false;
    turned.pieces = nb_arena_calloc(arena, c->count, sizeof *turned.pieces);
    turned.n_pieces = c->count;
    for (size_t i = 0; i < c->count && turned.pieces != NULL; i++) {
        const struct nb_view *v = &c->rectangles[i].view;

        if (!v->transposed || v->n_pieces != 1 || v->ops[0].kind != NB_OP_NONE ||
            c->rectangles[i].columns != t->packed->columns)
            return false;
        turned.pieces[i] = *v->pieces;
    }
    turned.type = c->rectangles->view.type;
    turned.store = c->rectangles->view.store;
    turned.transposed = true;
    if (turned.pieces == NULL || !nb_view_measure(&turned))
        return false;
    *view = turned;
    return true;
}
