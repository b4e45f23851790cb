#include "calib/moments.h"

#include "formats/base/blas.h"
#include "formats/base/checked.h"

#include <stdlib.h>

#define BLOCK 192u /* rows and columns of a task's part of a matrix */

static float *
zeros(size_t rows, size_t columns)
{
    size_t all;

    return __builtin_mul_overflow(rows, columns, &all) ? NULL : calloc(all, sizeof(float));
}

bool
nb_moments_new(struct nb_moments *m, size_t columns, bool with_original, size_t rows)
{
    *m = (struct nb_moments){ .columns = columns, .rows = rows, .h = zeros(columns, columns) };
    if (with_original)
        m->c = zeros(columns, columns);
    if (rows > 0)
        m->r = zeros(rows, columns);
    if (m->h != NULL && (m->c != NULL || !with_original) && (m->r != NULL || rows == 0))
        return true;
    nb_moments_free(m);
    return false;
}

void
nb_moments_free(struct nb_moments *m)
{
    free(m->h);
    free(m->c);
    free(m->r);
    *m = (struct nb_moments){ 0 };
}

struct job {
    struct nb_moments *moments;
    const struct nb_moments_input *input;
    const float *x;      /* times the weights */
    size_t across, rows; /* blocks of the columns and of R's rows */
};

/* OUT (rows of LEFT's columns) += LEFT' * x, the block at ROW and COLUMN. */
static void
add_block(const struct job *j, float *out, const float *left, size_t left_columns, size_t row, size_t column)
{
    const size_t n = j->moments->columns;

    nb_sgemm(&(struct nb_sgemm){ .transpose_a = true,
                                 .m = left_columns - row < BLOCK ? left_columns - row : BLOCK,
                                 .n = n - column < BLOCK ? n - column : BLOCK,
                                 .k = j->input->n,
                                 .alpha = 1,
                                 .beta = 1,
                                 .a = left + row,
                                 .b = j->x + column,
                                 .c = out + row * n + column,
                                 .a_row = left_columns,
                                 .b_row = n,
                                 .c_row = n });
}

static enum nb_status
add_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct job *j = context;
    const struct nb_moments *m = j->moments;
    const size_t row = task / j->across, column = task % j->across * BLOCK;

    (void)worker;
    (void)err;
    if (row >= j->across) {
        add_block(j, m->r, j->input->e, m->rows, (row - j->across) * BLOCK, column);
        return NB_OK;
    }
    if (column >= row * BLOCK)
        add_block(j, m->h, j->input->x, m->columns, row * BLOCK, column);
    if (m->c != NULL)
        add_block(j, m->c, j->input->o, m->columns, row * BLOCK, column);
    return NB_OK;
}

enum nb_status
nb_moments_add(struct nb_moments *m, struct nb_pool *pool, const struct nb_moments_input *in, struct nb_error *err)
{
    struct job j = { m, in, in->x, (m->columns + BLOCK - 1) / BLOCK, (m->rows + BLOCK - 1) / BLOCK };

    for (size_t i = 0; in->weights != NULL && i < in->n; i++)
        for (size_t k = 0; k < m->columns; k++)
            in->room[i * m->columns + k] = in->weights[i] * in->x[i * m->columns + k];
    if (in->weights != NULL)
        j.x = in->room;
    m->tokens += in->n;
    return nb_pool_run(pool, add_task, &j, (j.across + (m->r == NULL ? 0 : j.rows)) * j.across, err);
}

void
nb_moments_finish(struct nb_moments *m)
{
    for (size_t i = 0; i < m->columns; i++)
        for (size_t k = 0; k < i; k++)
            m->h[i * m->columns + k] = m->h[k * m->columns + i];
}
