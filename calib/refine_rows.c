/* The rows of quantized matrices as they are stored: in one array of blocks, or in the arrays of an MLX folder. */
#include "calib/refine_run.h"
#include "formats/models/packed/packed.h"
#include "quantize/search/mlx.h"
#include "quantize/search/parts_rows.h"
#include "quantize/search/refine.h"

#include <stdlib.h>
#include <string.h>

#define RUN_BYTES ((uint64_t)4 << 20) /* of consecutive rows that are read or written at once */

/* The arrays in which some matrix is stored. */
struct arrays {
    struct nb_encoding encoding;
    const struct nb_tensor *plane[NB_MAX_PLANES];
    uint64_t columns; /* of its rows; the matrix may have parts of them */
};

static bool
arrays_of(const struct nb_tensor *stored, struct arrays *out)
{
    struct nb_packed_mlx mlx;

    if (stored->packed == NULL) {
        *out = (struct arrays){ nb_encoding_of(stored->type), { stored }, stored->ne[0] };
        return nb_can_refine(&out->encoding);
    }
    if (!nb_packed_as_mlx(stored->packed, &mlx))
        return false;
    *out = (struct arrays){ .encoding = nb_mlx_encoding(&mlx.format, mlx.type), .columns = mlx.columns };
    memcpy(out->plane, mlx.part, sizeof out->plane);
    return nb_can_refine(&out->encoding);
}

static bool
is_same_encoding(const struct nb_encoding *a, const struct nb_encoding *b)
{
    return a->type == b->type && a->block == b->block && a->bits == b->bits && a->computed_in == b->computed_in;
}

bool
nb_refine_encoding(const struct nb_linear *m, struct nb_encoding *encoding)
{
    const struct nb_view *v = m->weight;
    const struct nb_tensor *stored;
    struct arrays a;
    uint64_t first;

    if (m->scale != NULL || !nb_view_is_stored(v) || v->n_pieces == 0 || !nb_view_stored_row(v, 0, &stored, &first) ||
        !arrays_of(stored, &a))
        return false;
    *encoding = a.encoding;
    for (size_t i = 0; i < v->n_pieces; i++) {
        const struct nb_piece *p = &v->pieces[i];

        if (p->stored->bytes_in_memory != NULL || !arrays_of(p->stored, &a) ||
            !is_same_encoding(encoding, &a.encoding) || p->columns != m->columns || p->start % a.encoding.block != 0 ||
            p->pitch % a.encoding.block != 0 || p->columns % a.encoding.block != 0)
            return false;
    }
    return true;
}

/* Consecutive rows of a matrix that are consecutive where they are stored, too. */
struct run {
    struct arrays arrays;
    uint64_t block; /* the number of the first block */
    size_t rows;
};

/* The longest one that begins with row FIRST of at most ROWS, of a matrix that nb_refine_encoding knows. */
static struct run
find_run(const struct nb_linear *m, uint64_t first, size_t rows)
{
    const uint64_t most = RUN_BYTES / m->columns + 1;
    const struct nb_tensor *stored = NULL, *next = NULL;
    struct run run = { .rows = 1 };
    uint64_t at = 0, follows = 0;

    (void)nb_view_stored_row(m->weight, first, &stored, &at);
    (void)arrays_of(stored, &run.arrays);
    run.block = at / run.arrays.encoding.block;
    for (; run.rows < rows && run.rows < most; run.rows++) {
        at += m->columns;
        (void)nb_view_stored_row(m->weight, first + run.rows, &next, &follows);
        if (next != stored || follows != at)
            break;
    }
    return run;
}

/* Copies the rows of RUN between one plane, which is in SPAN alone, and whole rows, of which each begins with it at AT. */
static void
move_plane(const struct run *run, size_t bytes, size_t row_bytes, unsigned char *span, unsigned char *at, bool writes)
{
    for (size_t i = 0; i < run->rows; i++)
        memcpy(writes ? span + i * bytes : at + i * row_bytes, writes ? at + i * row_bytes : span + i * bytes, bytes);
}

static enum nb_status
move_run(struct nb_refine_run *r, const struct nb_linear *m, const struct run *run, unsigned char *rows, bool writes,
         struct nb_error *err)
{
    const struct nb_encoding *e = &run->arrays.encoding;
    const size_t blocks = m->columns / e->block, row_bytes = nb_rows_bytes(e, m->columns);
    enum nb_status status = NB_OK;
    size_t done = 0;

    for (unsigned i = 0; i < e->n_planes && status == NB_OK; i++) {
        const struct nb_tensor *t = run->arrays.plane[i];
        const size_t bytes = blocks * e->plane_bytes[i];
        const uint64_t at = t->offset + run->block * e->plane_bytes[i];
        unsigned char *span = malloc(run->rows * bytes);

        if (span == NULL)
            return nb_fail_memory(err);
        if (!writes)
            status = nb_file_read(&r->source.store.files[t->file], at, span, run->rows * bytes, err);
        move_plane(run, bytes, row_bytes, span, rows + done, writes);
        if (writes)
            status = nb_out_write(&r->files[t->file], at, span, run->rows * bytes, err);
        done += bytes;
        free(span);
    }
    return status;
}

static enum nb_status
move_rows(struct nb_refine_run *r, const struct nb_linear *m, uint64_t first, size_t count, unsigned char *rows,
          bool writes, struct nb_error *err)
{
    enum nb_status status = NB_OK;
    struct run run;

    for (size_t done = 0; done < count && status == NB_OK; done += run.rows) {
        run = find_run(m, first + done, count - done);
        status = move_run(r, m, &run, rows + done * nb_rows_bytes(&run.arrays.encoding, m->columns), writes, err);
    }
    return status;
}

enum nb_status
nb_refine_read(struct nb_refine_run *r, const struct nb_linear *m, uint64_t first, size_t count, void *rows,
               struct nb_error *err)
{
    return move_rows(r, m, first, count, rows, false, err);
}

enum nb_status
nb_refine_write(struct nb_refine_run *r, const struct nb_linear *m, uint64_t first, size_t count, void *rows,
                struct nb_error *err)
{
    return move_rows(r, m, first, count, rows, true, err);
}
