/*
 * Reading of views. The files are always read in long runs: the wanted segments are sorted by file
 * offset, and segments that are close together are read at once and then separated in memory.
 */
#include "formats/base/checked.h"
#include "formats/elements/decode.h"
#include "formats/elements/halves.h"
#include "formats/models/packed/packed.h"
#include "formats/models/transpose.h"
#include "formats/models/view_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A read continues across a gap between two segments if the gap is not longer than the bytes wanted so far. */
#define MAX_GAP 65536u
/* The longest read for several segments. */
#define MAX_SPAN (4u << 20)
/* As many rows of a transposed view are read at once as fit into this. */
#define TRANSPOSED_BYTES (2u << 20)

/* Contiguous bytes of a stored tensor, and their destination. */
struct nb_segment {
    const struct nb_tensor *stored;
    uint64_t offset; /* from the tensor's first byte */
    unsigned char *to;
};

/* A rectangle of a view: rows from ROW on, COUNT columns each from COLUMN on. */
struct rectangle {
    uint64_t row, rows, column, columns;
};

static uint64_t
bytes_of(enum nb_type type, uint64_t elements)
{
    const struct nb_type_info *info = nb_type_info(type);

    return elements / info->block * info->block_bytes;
}

static enum nb_status
reserve(unsigned char **memory, size_t *size, uint64_t wanted, struct nb_error *err)
{
    unsigned char *grown;

    if (wanted <= *size)
        return NB_OK;
    if (wanted > SIZE_MAX || (grown = realloc(*memory, (size_t)wanted)) == NULL)
        return nb_fail_memory(err);
    *memory = grown;
    *size = (size_t)wanted;
    return NB_OK;
}

enum nb_status
nb_stored_read(const struct nb_store *store, const struct nb_tensor *stored, uint64_t offset, uint64_t size, void *to,
               struct nb_error *err)
{
    if (stored->bytes_in_memory != NULL) {
        memcpy(to, (const char *)stored->bytes_in_memory + offset, (size_t)size);
        return NB_OK;
    }
    return nb_file_read(&store->files[stored->file], stored->offset + offset, to, size, err);
}

/* The same for any stored tensor, also one that is computed from others. */
static enum nb_status
read_bytes(const struct nb_store *store, const struct nb_tensor *stored, uint64_t offset, uint64_t size, void *to,
           struct nb_view_reader *r, struct nb_error *err)
{
    return stored->packed != NULL ? nb_packed_read(store, stored, offset, size, to, r, err)
                                  : nb_stored_read(store, stored, offset, size, to, err);
}

uint64_t
nb_order_apply(const struct nb_order *order, uint64_t number)
{
    uint64_t at = order->start;

    if (order->n == 0)
        return number;
    for (unsigned i = order->n; i-- > 0;) {
        at += (i == 0 ? number : number % order->digit[i]) * order->stride[i];
        number /= order->digit[i];
    }
    return at;
}

const struct nb_piece *
nb_view_piece(const struct nb_view *v, uint64_t *row)
{
    size_t low = 0, high = v->n_pieces;

    while (high - low > 1) {
        const size_t middle = low + (high - low) / 2;

        if (v->pieces[middle].at <= *row)
            low = middle;
        else
            high = middle;
    }
    *row -= v->pieces[low].at;
    return &v->pieces[low];
}

bool
nb_view_stored_row(const struct nb_view *v, uint64_t row, const struct nb_tensor **stored, uint64_t *first)
{
    const struct nb_piece *piece;

    if (v->transposed || v->column_order.n > 0 || v->columns != v->ne[0] || v->foreign != NULL)
        return false;
    row = nb_order_apply(&v->row_order, row);
    piece = nb_view_piece(v, &row);
    *stored = piece->stored;
    *first = piece->start + row * piece->pitch;
    return true;
}

static uint64_t
offset_in(const struct nb_piece *piece, uint64_t row, uint64_t column)
{
    return bytes_of(piece->stored->type, piece->start + row * piece->pitch + column);
}

enum nb_status
nb_piece_read(const struct nb_view *v, const struct nb_piece *piece, uint64_t row, uint64_t column, uint64_t count,
              void *to, struct nb_view_reader *r, struct nb_error *err)
{
    return read_bytes(v->store, piece->stored, offset_in(piece, row, column), bytes_of(v->type, count), to, r, err);
}

enum nb_status
nb_reader_reserve(struct nb_view_reader *r, uint64_t size, struct nb_error *err)
{
    return reserve(&r->raw, &r->raw_size, size, err);
}

enum nb_status
nb_reader_reserve_span(struct nb_view_reader *r, uint64_t size, struct nb_error *err)
{
    return reserve(&r->span, &r->span_size, size, err);
}

/* --- segments ------------------------------------------------------------------------------------------ */

static int
by_place(const void *a, const void *b)
{
    const struct nb_segment *x = a, *y = b;

    if (x->stored != y->stored)
        return x->stored < y->stored ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* How many of the N segments at S, of SIZE bytes each, one read covers; *DIRECT: memory order is file order. */
static size_t
run_length(const struct nb_segment *s, size_t n, uint64_t size, bool *direct)
{
    size_t k = 1;

    *direct = true;
    for (; k < n && s[k].stored == s->stored; k++) {
        const uint64_t end = s[k - 1].offset + size, gap = s[k].offset > end ? s[k].offset - end : 0;
        const bool follows = s[k].offset == end && s[k].to == s[k - 1].to + size;

        if (*direct && follows)
            continue; /* any length */
        if (*direct && k > 1 && k * size > MAX_SPAN / 2)
            break;
        if (gap > MAX_GAP || gap > k * size || s[k].offset + size - s->offset > MAX_SPAN)
            break;
        *direct = false;
    }
    return k;
}

static enum nb_status
read_segments(const struct nb_view *v, struct nb_segment *s, size_t n, uint64_t size, struct nb_view_reader *r,
              struct nb_error *err)
{
    enum nb_status status = NB_OK;

    qsort(s, n, sizeof *s, by_place);
    while (n > 0 && status == NB_OK) {
        bool direct;
        const size_t k = run_length(s, n, size, &direct);
        const uint64_t span = s[k - 1].offset + size - s->offset;

        if (direct) {
            status = read_bytes(v->store, s->stored, s->offset, span, s->to, r, err);
        } else {
            status = reserve(&r->span, &r->span_size, span, err);
            if (status == NB_OK)
                status = read_bytes(v->store, s->stored, s->offset, span, r->span, r, err);
            for (size_t i = 0; i < k && status == NB_OK; i++)
                memcpy(s[i].to, r->span + (s[i].offset - s->offset), (size_t)size);
        }
        s += k;
        n -= k;
    }
    return status;
}

static enum nb_status
reserve_segments(struct nb_view_reader *r, uint64_t n, struct nb_error *err)
{
    struct nb_segment *grown;

    if (n <= r->n_segments)
        return NB_OK;
    if (n > SIZE_MAX / sizeof *grown || (grown = realloc(r->segments, (size_t)n * sizeof *grown)) == NULL)
        return nb_fail_memory(err);
    r->segments = grown;
    r->n_segments = (size_t)n;
    return NB_OK;
}

/* --- rows ----------------------------------------------------------------------------------------------- */

static enum nb_status
read_rows(const struct nb_view *v, const struct rectangle *rect, unsigned char *to, struct nb_view_reader *r,
          struct nb_error *err)
{
    const uint64_t size = bytes_of(v->type, rect->columns);
    enum nb_status status = reserve_segments(r, rect->rows, err);

    if (status != NB_OK)
        return status;
    for (uint64_t i = 0; i < rect->rows; i++) {
        uint64_t row = nb_order_apply(&v->row_order, rect->row + i);
        const struct nb_piece *piece = nb_view_piece(v, &row);

        r->segments[i] = (struct nb_segment){ piece->stored, offset_in(piece, row, rect->column), to + i * size };
    }
    return read_segments(v, r->segments, (size_t)rect->rows, size, r, err);
}

/* Rows with reordered columns: reads whole rows, a few at a time, and rearranges them. */
static enum nb_status
read_reordered_columns(const struct nb_view *v, const struct rectangle *rect, unsigned char *to,
                       struct nb_view_reader *r, struct nb_error *err)
{
    const size_t each = nb_type_info(v->type)->block_bytes;
    const uint64_t width = v->pieces->columns;
    unsigned char *row = nb_malloc(width * each);
    enum nb_status status = row == NULL ? nb_fail_memory(err) : NB_OK;

    for (uint64_t i = 0; i < rect->rows && status == NB_OK; i++) {
        const struct rectangle whole = { rect->row + i, 1, 0, width };

        status = read_rows(v, &whole, row, r, err);
        for (uint64_t c = 0; c < rect->columns && status == NB_OK; c++, to += each)
            memcpy(to, row + nb_order_apply(&v->column_order, rect->column + c) * each, each);
    }
    free(row);
    return status;
}

/* --- transposed views ------------------------------------------------------------------------------------- */

/* N rows of a transposed view that are nearby columns of one piece, within LOW to HIGH. */
struct band {
    const struct nb_piece *piece;
    uint64_t n, low, high;
};

/* The band that begins with row ROW of at most LEFT rows. */
static struct band
next_band(const struct nb_view *v, uint64_t row, uint64_t left)
{
    struct band band = { 0 };

    for (; band.n < left; band.n++) {
        uint64_t column = nb_order_apply(&v->row_order, row + band.n);
        const struct nb_piece *piece = nb_view_piece(v, &column);

        if (band.n == 0) {
            band = (struct band){ piece, 0, column, column };
        } else {
            const uint64_t low = column < band.low ? column : band.low, high = column > band.high ? column : band.high;

            if (piece != band.piece || high - low >= 4 * (band.n + 1)) /* most of it would not be used */
                break;
            band.low = low;
            band.high = high;
        }
    }
    return band;
}

/* The column of its piece that becomes row ROW of the view. */
static uint64_t
column_of_row(const struct nb_view *v, uint64_t row)
{
    uint64_t column = nb_order_apply(&v->row_order, row);

    (void)nb_view_piece(v, &column);
    return column;
}

/* Reads columns BAND->low to BAND->high of rows COLUMN, COLUMN + 1, ... of the piece into the reader's span. */
static enum nb_status
read_band(const struct nb_view *v, const struct band *band, const struct rectangle *rect, struct nb_view_reader *r,
          struct nb_error *err)
{
    const uint64_t width = band->high - band->low + 1, size = bytes_of(v->type, width);
    const bool whole = width == band->piece->pitch; /* the rows are contiguous */
    enum nb_status status = reserve(&r->span, &r->span_size, size * rect->columns, err);

    if (status == NB_OK && whole)
        return read_bytes(v->store, band->piece->stored, offset_in(band->piece, rect->column, band->low),
                          size * rect->columns, r->span, r, err);
    for (uint64_t i = 0; i < rect->columns && status == NB_OK; i++)
        status = read_bytes(v->store, band->piece->stored, offset_in(band->piece, rect->column + i, band->low), size,
                            r->span + i * size, r, err);
    return status;
}

static enum nb_status
read_transposed(const struct nb_view *v, const struct rectangle *rect, unsigned char *to, struct nb_view_reader *r,
                struct nb_error *err)
{
    const size_t each = nb_type_info(v->type)->block_bytes;
    enum nb_status status = NB_OK;

    for (uint64_t done = 0; done < rect->rows && status == NB_OK;) {
        const uint64_t fit = TRANSPOSED_BYTES / (rect->columns * each) + 1;
        const uint64_t left = rect->rows - done;
        const struct band band = next_band(v, rect->row + done, left < fit ? left : fit);

        status = read_band(v, &band, rect, r, err);
        for (uint64_t i = 0; i < band.n && status == NB_OK;) {
            const struct nb_matrix m = { r->span, each, band.high - band.low + 1, rect->columns };
            const uint64_t column = column_of_row(v, rect->row + done + i);
            uint64_t n = 1;

            while (i + n < band.n && column_of_row(v, rect->row + done + i + n) == column + n)
                n++;
            nb_transpose(&m, column - band.low, n, to, rect->columns, false);
            to += n * rect->columns * each;
            i += n;
        }
        done += band.n;
    }
    return status;
}

/* --- nb_view_fetch ------------------------------------------------------------------------------------------ */

static enum nb_status
read_rectangle(const struct nb_view *v, const struct rectangle *rect, unsigned char *to, struct nb_view_reader *r,
               struct nb_error *err)
{
    if (v->transposed)
        return read_transposed(v, rect, to, r, err);
    if (v->column_order.n > 0)
        return read_reordered_columns(v, rect, to, r, err);
    return read_rows(v, rect, to, r, err);
}

/* Pieces of whole stored rows in stored order. */
static enum nb_status
read_contiguous(const struct nb_view *v, uint64_t first, uint64_t count, unsigned char *to, struct nb_view_reader *r,
                struct nb_error *err)
{
    enum nb_status status = NB_OK;

    while (count > 0 && status == NB_OK) {
        uint64_t row = first / v->columns;
        const struct nb_piece *piece = nb_view_piece(v, &row);
        const uint64_t at = first - piece->at * v->columns, left = piece->rows * piece->columns - at;
        const uint64_t n = left < count ? left : count;

        status = read_bytes(v->store, piece->stored, offset_in(piece, 0, 0) + bytes_of(v->type, at),
                            bytes_of(v->type, n), to, r, err);
        to += bytes_of(v->type, n);
        first += n;
        count -= n;
    }
    return status;
}

/* Splits the elements into at most three rectangles: the rest of a row, whole rows, the beginning of a row. */
static enum nb_status
read_in_rectangles(const struct nb_view *v, uint64_t first, uint64_t count, unsigned char *to, struct nb_view_reader *r,
                   struct nb_error *err)
{
    enum nb_status status = NB_OK;

    while (count > 0 && status == NB_OK) {
        const uint64_t column = first % v->columns, left = v->columns - column;
        struct rectangle rect = { first / v->columns, 1, column, left < count ? left : count };

        if (column == 0 && count >= v->columns)
            rect = (struct rectangle){ rect.row, count / v->columns, 0, v->columns };
        status = read_rectangle(v, &rect, to, r, err);
        to += bytes_of(v->type, rect.rows * rect.columns);
        first += rect.rows * rect.columns;
        count -= rect.rows * rect.columns;
    }
    return status;
}

enum nb_status
nb_view_fetch(const struct nb_view *v, uint64_t first, uint64_t count, struct nb_view_reader *r, struct nb_error *err)
{
    enum nb_status status = reserve(&r->raw, &r->raw_size, bytes_of(v->type, count), err);

    r->elements = r->raw;
    r->first = first;
    if (status != NB_OK || count == 0)
        return status;
    if (v->foreign != NULL)
        return v->foreign->read(v, first, count, r->raw, r, err);
    return v->contiguous ? read_contiguous(v, first, count, r->raw, r, err)
                         : read_in_rectangles(v, first, count, r->raw, r, err);
}

uint64_t
nb_view_run(const struct nb_view *v, uint64_t wanted)
{
    const uint64_t row = v->ne[0], bytes = bytes_of(v->type, row);
    uint64_t rows = row == 0 ? 0 : wanted / row;

    if ((v->transposed || v->turned != NULL) && bytes > 0 && TRANSPOSED_BYTES / bytes > rows)
        rows = TRANSPOSED_BYTES / bytes;
    return rows == 0 ? row : rows * row;
}

/* --- floats ------------------------------------------------------------------------------------------------- */

/* X is in row ROW of the view. */
static float
compute(const struct nb_element_op *op, float x, uint64_t row)
{
    switch (op->kind) {
    case NB_OP_ADD:
        return x + op->by;
    case NB_OP_SCALE:
        return x * op->by;
    case NB_OP_TERNARY: /* as in conversion/bitnet.py: BY is the inverse of the mean magnitude */
        return fminf(fmaxf(nearbyintf(x * op->by), -1), 1) / op->by;
    case NB_OP_SCALE_ROWS:
        return x * op->rows[row];
    case NB_OP_NEGATE_EXP:
        return (float)-exp((double)x); /* the nearest float; the reference's library misses it for one value in 100 */
    case NB_OP_LOG_NEGATED:            /* what it was before, or a float beside it with the same exponential */
        return (float)log(-(double)x);
    case NB_OP_NONE:
    default:
        return x;
    }
}

void
nb_view_decode(const struct nb_view *v, const struct nb_view_reader *r, uint64_t at, uint64_t count, float *out)
{
    nb_decode(v->type, r->elements + bytes_of(v->type, at), (size_t)count, out);
    for (const struct nb_element_op *op = v->ops; op < v->ops + NB_VIEW_OPS && op->kind != NB_OP_NONE; op++) {
        for (uint64_t i = 0; i < count; i++)
            out[i] = compute(op, out[i], op->kind == NB_OP_SCALE_ROWS ? (r->first + at + i) / v->ne[0] : 0);
        for (uint64_t i = 0; v->type == NB_F16 && i < count; i++)
            out[i] = nb_f16_to_f32(nb_f32_to_f16(out[i]));
    }
}

uint64_t
nb_view_find_nonfinite(const struct nb_view *v, const struct nb_view_reader *r, uint64_t at, uint64_t count)
{
    return nb_find_nonfinite(v->type, r->elements + bytes_of(v->type, at), (size_t)count);
}

enum nb_status
nb_view_rows(const struct nb_view *v, uint64_t first, uint64_t rows, float *out, struct nb_view_reader *r,
             struct nb_error *err)
{
    enum nb_status status = nb_view_fetch(v, first * v->ne[0], rows * v->ne[0], r, err);

    if (status == NB_OK)
        nb_view_decode(v, r, 0, rows * v->ne[0], out);
    return status;
}
