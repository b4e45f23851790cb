#include "verify/run/product.h"

#include "formats/base/checked.h"
#include "verify/run/blas.h"

#include <stdlib.h>

/*
 * Panels have 1 MiB of floats, to fit a second-level cache, with enough rows for
 * a fast product but few enough to divide a small matrix among threads.
 */
#define PANEL_FLOATS ((size_t)262144)
#define MIN_ROWS 16u
#define MAX_ROWS 128u

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
    p->model = model;
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
    *p = (struct nb_panels){ 0 };
}

struct job {
    struct nb_panels *panels;
    const float *in;
    size_t n, columns, rows_in_panel;
    const struct nb_product *product;
    size_t count;
    size_t first_task[NB_MAX_PRODUCTS + 1];
};

/* Decodes one panel and multiplies it with the whole input. */
static enum nb_status
multiply_panel(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct job *j = context;
    const struct nb_product *p = j->product;
    const struct nb_linear *m;
    size_t k = 0, first, rows, all, before;
    float *panel = j->panels->floats[worker], *out;
    enum nb_status status;

    while (task >= j->first_task[k + 1])
        k++;
    p += k;
    m = p->matrix;
    all = m->rows;
    before = p->expert * all; /* rows of other experts */
    first = (task - j->first_task[k]) * j->rows_in_panel;
    rows = all - first < j->rows_in_panel ? all - first : j->rows_in_panel;
    status = nb_model_rows(j->panels->model, m->weight, before + first, rows, &j->panels->readers[worker], panel, err);
    if (status != NB_OK)
        return status;
    out = p->out + first;
    if (m->bias != NULL)
        for (size_t i = 0; i < j->n; i++)
            for (size_t r = 0; r < rows; r++)
                out[i * all + r] = (p->add ? out[i * all + r] : 0) + m->bias[before + first + r];
    nb_sgemm(&(struct nb_sgemm){ .transpose = true,
                                 .m = j->n,
                                 .n = (size_t)rows,
                                 .k = j->columns,
                                 .alpha = m->scale == NULL ? 1 : m->scale[p->expert],
                                 .beta = p->add || m->bias != NULL ? 1 : 0,
                                 .a = j->in,
                                 .b = panel,
                                 .c = out,
                                 .a_row = j->columns,
                                 .b_row = j->columns,
                                 .c_row = all });
    return NB_OK;
}

enum nb_status
nb_multiply(struct nb_panels *panels, const float *in, size_t n, const struct nb_product *product, size_t count,
            struct nb_error *err)
{
    const size_t columns = product[0].matrix->columns;
    struct job j = { panels, in, n, columns, panel_rows(columns), product, count, { 0 } };

    for (size_t k = 0; k < count; k++)
        j.first_task[k + 1] = j.first_task[k] + (product[k].matrix->rows + j.rows_in_panel - 1) / j.rows_in_panel;
    return nb_pool_run(panels->pool, multiply_panel, &j, j.first_task[count], err);
}
