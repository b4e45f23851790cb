#include "formats/models/view_panel.h"

#include "formats/base/system.h"
#include "formats/models/packed/packed.h"
#include "formats/models/transpose.h"
#include "formats/models/view_parts.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define READ_BYTES (1u << 20)    /* about what one thread reads at once: it stays in a second-level cache */
#define CACHED_BYTES (24u << 20) /* a larger panel does not stay in a last-level cache of 32 MiB, today's usual size */
#define ROWS_TOGETHER 32u        /* rows are read in multiples of this: transposed, a cache line of F16 */
#define MAX_GAP 8192u            /* reading so many bytes that are not wanted costs less than another system call */

/* Columns FIRST to FIRST + COUNT of a piece. */
struct band {
    const struct nb_piece *piece;
    uint64_t first, count;
};

struct nb_view_panel {
    pthread_mutex_t lock; /* protects the members below, except the contents of BYTES */
    pthread_cond_t changed;
    unsigned char *bytes; /* the columns of BAND, transposed: each has as many elements as the piece has rows */
    size_t size;
    struct band band; /* the contents of BYTES */
    unsigned users;   /* threads that fill BYTES or copy from it */
    uint64_t rows_taken, rows_read;
    enum nb_status status; /* of filling BYTES */
    struct nb_error error;
};

struct nb_view_panel *
nb_view_panel_new(void)
{
    struct nb_view_panel *p = calloc(1, sizeof *p);

    if (p == NULL)
        return NULL;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->changed, NULL);
    return p;
}

void
nb_view_panel_free(struct nb_view_panel *p)
{
    if (p == NULL)
        return;
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
    free(p->bytes);
    free(p);
}

/* --- choosing the band -------------------------------------------------------------------------------------- */

/* The order permutes columns only within groups of this size; 0: anywhere in the piece. */
static uint64_t
period_of(const struct nb_order *order)
{
    uint64_t span = 1;

    if (order->n == 0)
        return 1;
    for (unsigned i = 1; i < order->n; i++)
        span += (order->digit[i] - 1) * order->stride[i];
    return span <= order->stride[0] ? order->stride[0] : 0;
}

/* How many columns of PIECE a panel holds; 0: a panel would not help. */
static uint64_t
columns_in_panel(const struct nb_view *v, const struct nb_piece *piece)
{
    const uint64_t fit = NB_PANEL_BYTES / (piece->rows * nb_type_info(v->type)->block_bytes);
    const uint64_t period = period_of(&v->row_order);

    uint64_t panels, share;

    if (fit >= piece->columns)
        return piece->columns;
    if (period == 0 || fit < period)
        return 0;
    panels = (piece->columns + fit - 1) / fit; /* of equal width, since a narrow panel has short reads */
    share = ((piece->columns + panels - 1) / panels + period - 1) / period * period;
    return share <= fit ? share : fit / period * period;
}

/* The band that contains COLUMN of PIECE. The order may begin in the middle of a period. */
static struct band
band_of(const struct nb_view *v, const struct nb_piece *piece, uint64_t column)
{
    const uint64_t n = columns_in_panel(v, piece), first = n == 0 ? 0 : column / n * n;

    return (struct band){ piece, first, piece->columns - first < n ? piece->columns - first : n };
}

static bool
same_band(const struct band *a, const struct band *b)
{
    return a->piece == b->piece && a->first == b->first && a->count == b->count;
}

/* --- filling the panel --------------------------------------------------------------------------------------- */

/* Makes BAND the band to read. The lock is held and the panel unused. False if out of memory. */
static bool
begin_band(struct nb_view_panel *p, const struct nb_view *v, const struct band *band)
{
    const uint64_t size = band->piece->rows * band->count * nb_type_info(v->type)->block_bytes;

    p->band = *band;
    p->rows_taken = p->rows_read = 0;
    p->status = NB_OK;
    if (size <= p->size)
        return true;
    free(p->bytes);
    p->bytes = nb_system_large_memory(size);
    p->size = p->bytes == NULL ? 0 : (size_t)size;
    if (p->bytes == NULL)
        p->band.piece = NULL;
    return p->bytes != NULL;
}

static bool
is_transpose(const struct nb_piece *piece)
{
    return piece->stored->packed != NULL && nb_packed_is_transpose(piece->stored->packed);
}

/* Columns from one row to the next as they are read: those of the band, or all, so that one read takes many rows. */
static uint64_t
pitch_in_span(const struct nb_view_panel *p, const struct nb_view *v)
{
    const struct band *b = &p->band;
    const uint64_t gap = b->piece->pitch - b->count;

    if (b->piece->stored->packed != NULL)
        return b->count;
    return gap * nb_type_info(v->type)->block_bytes <= MAX_GAP ? b->piece->pitch : b->count;
}

/* Reads ROWS rows of the band from row FIRST of the piece on. The lock is not held. */
static enum nb_status
read_part(const struct nb_view_panel *p, const struct nb_view *v, uint64_t first, uint64_t rows,
          struct nb_view_reader *r, struct nb_error *err)
{
    const size_t each = nb_type_info(v->type)->block_bytes;
    const struct band *b = &p->band;
    const uint64_t pitch = pitch_in_span(p, v);
    const bool at_once = pitch == b->piece->pitch;
    enum nb_status status = nb_reader_reserve_span(r, rows * pitch * each, err);

    if (status == NB_OK && is_transpose(b->piece))
        status = nb_packed_rectangle(v->store, b->piece->stored, b->piece->start / b->piece->pitch + first, rows,
                                     b->piece->start % b->piece->pitch + b->first, b->count, r->span, r, err);
    else if (status == NB_OK && at_once)
        status = nb_piece_read(v, b->piece, first, b->first, (rows - 1) * pitch + b->count, r->span, r, err);
    for (uint64_t i = 0; i < rows && status == NB_OK && !at_once && !is_transpose(b->piece); i++)
        status = nb_piece_read(v, b->piece, first + i, b->first, b->count, r->span + i * pitch * each, r, err);
    if (status == NB_OK)
        nb_transpose(&(struct nb_matrix){ r->span, each, pitch, rows }, 0, b->count, p->bytes + first * each,
                     b->piece->rows, p->size > CACHED_BYTES);
    return status;
}

/* Helps the other threads to read the rest of the band, then waits for them. The lock is held. */
static enum nb_status
read_together(struct nb_view_panel *p, const struct nb_view *v, struct nb_view_reader *r, struct nb_error *err)
{
    const uint64_t rows = p->band.piece->rows;
    const uint64_t fit = READ_BYTES / (pitch_in_span(p, v) * nb_type_info(v->type)->block_bytes);
    const uint64_t step = fit < ROWS_TOGETHER ? ROWS_TOGETHER : fit / ROWS_TOGETHER * ROWS_TOGETHER;

    while (p->rows_taken < rows && p->status == NB_OK) {
        const uint64_t first = p->rows_taken, n = rows - first < step ? rows - first : step;
        struct nb_error error;
        enum nb_status status;

        p->rows_taken += n;
        pthread_mutex_unlock(&p->lock);
        status = read_part(p, v, first, n, r, &error);
        pthread_mutex_lock(&p->lock);
        p->rows_read += n;
        if (status != NB_OK && p->status == NB_OK) {
            p->status = status;
            p->error = error;
        }
        pthread_cond_broadcast(&p->changed);
    }
    while (p->rows_read < rows && p->status == NB_OK)
        pthread_cond_wait(&p->changed, &p->lock);
    if (p->status != NB_OK && err != NULL)
        *err = p->error;
    return p->status;
}

/* Waits until the panel holds BAND, and keeps it there until it is released. */
static enum nb_status
acquire(struct nb_view_panel *p, const struct nb_view *v, const struct band *band, struct nb_view_reader *r,
        struct nb_error *err)
{
    enum nb_status status = NB_OK;

    pthread_mutex_lock(&p->lock);
    while (!same_band(&p->band, band) && p->users > 0)
        pthread_cond_wait(&p->changed, &p->lock);
    if (!same_band(&p->band, band) && !begin_band(p, v, band)) {
        pthread_mutex_unlock(&p->lock);
        return nb_fail_memory(err);
    }
    p->users++;
    status = read_together(p, v, r, err);
    if (status != NB_OK) {
        p->users--;
        pthread_cond_broadcast(&p->changed);
    }
    pthread_mutex_unlock(&p->lock);
    return status;
}

static void
release(struct nb_view_panel *p)
{
    pthread_mutex_lock(&p->lock);
    p->users--;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

/* --- fetching -------------------------------------------------------------------------------------------------- */

struct source_column {
    const struct nb_piece *piece;
    uint64_t column;
};

static struct source_column
column_of_row(const struct nb_view *v, uint64_t row)
{
    uint64_t column = nb_order_apply(&v->row_order, row);
    const struct nb_piece *piece = nb_view_piece(v, &column);

    return (struct source_column){ piece, column };
}

/* Copies up to LEFT rows of the view from ROW on that the band contains, COUNT columns each from FIRST on. */
static uint64_t
take_rows(const struct nb_view_panel *p, const struct nb_view *v, uint64_t row, uint64_t left, uint64_t first,
          uint64_t count, unsigned char *to)
{
    const size_t each = nb_type_info(v->type)->block_bytes;
    const struct band *b = &p->band;
    uint64_t n = 0;

    for (; n < left; n++, to += count * each) {
        const struct source_column c = column_of_row(v, row + n);

        if (c.piece != b->piece || c.column < b->first || c.column - b->first >= b->count)
            break;
        memcpy(to, p->bytes + ((c.column - b->first) * b->piece->rows + first) * each, (size_t)(count * each));
    }
    return n;
}

/* Copies ROWS rows from ROW on, COUNT columns each from FIRST on. */
static enum nb_status
fetch_rows(const struct nb_view *v, uint64_t row, uint64_t rows, uint64_t first, uint64_t count, unsigned char *to,
           struct nb_view_reader *r, struct nb_view_panel *p, struct nb_error *err)
{
    enum nb_status status = NB_OK;

    for (uint64_t done = 0; done < rows && status == NB_OK;) {
        const struct source_column c = column_of_row(v, row + done);
        const struct band band = band_of(v, c.piece, c.column);

        status = acquire(p, v, &band, r, err);
        if (status != NB_OK)
            break;
        done += take_rows(p, v, row + done, rows - done, first, count,
                          to + done * count * nb_type_info(v->type)->block_bytes);
        release(p);
    }
    return status;
}

/* Elements that lie apart in a panel, or in several. */
static enum nb_status
copy_from_panels(const struct nb_view *v, uint64_t first, uint64_t count, struct nb_view_reader *r,
                 struct nb_view_panel *p, struct nb_error *err)
{
    const size_t each = nb_type_info(v->type)->block_bytes;
    enum nb_status status = nb_reader_reserve(r, count * each, err);
    unsigned char *to = r->raw;

    r->elements = r->raw;
    while (count > 0 && status == NB_OK) {
        const uint64_t column = first % v->columns, left = v->columns - column;
        const uint64_t rows = column == 0 && count >= v->columns ? count / v->columns : 1;
        const uint64_t n = rows > 1 || left < count ? left : count;

        status = fetch_rows(v, first / v->columns, rows, column, n, to, r, p, err);
        to += rows * n * each;
        first += rows * n;
        count -= rows * n;
    }
    return status;
}

/* Whether COUNT elements from FIRST on follow one another in a panel with BAND, and where: the element *AT of it. */
static bool
is_in_panel_as_wanted(const struct nb_view *v, const struct band *band, uint64_t first, uint64_t count, uint64_t *at)
{
    const uint64_t row = first / v->columns, end = (first + count - 1) / v->columns;
    const struct source_column c = column_of_row(v, row);

    for (uint64_t i = row; i <= end; i++) {
        const struct source_column next = column_of_row(v, i);

        if (next.piece != band->piece || next.column != c.column + (i - row) || next.column < band->first ||
            next.column - band->first >= band->count)
            return false;
    }
    *at = (c.column - band->first) * band->piece->rows + first % v->columns;
    return true;
}

enum nb_status
nb_view_fetch_shared(const struct nb_view *v, uint64_t first, uint64_t count, struct nb_view_reader *r,
                     struct nb_view_panel *p, struct nb_error *err)
{
    const size_t each = nb_type_info(v->type)->block_bytes; /* of the turned view, too */
    struct source_column c;
    enum nb_status status;
    struct band band;
    uint64_t at;

    if (v->turned != NULL)
        v = v->turned;
    if (!v->transposed || v->foreign != NULL || count == 0 || columns_in_panel(v, v->pieces) == 0)
        return nb_view_fetch(v, first, count, r, err);
    c = column_of_row(v, first / v->columns);
    band = band_of(v, c.piece, c.column);
    if (!is_in_panel_as_wanted(v, &band, first, count, &at))
        return copy_from_panels(v, first, count, r, p, err);
    status = acquire(p, v, &band, r, err);
    r->first = first;
    r->elements = status == NB_OK ? p->bytes + at * each : r->raw;
    return status;
}

void
nb_view_release(struct nb_view_reader *r, struct nb_view_panel *p)
{
    if (r->elements != r->raw)
        release(p);
    r->elements = r->raw;
}
