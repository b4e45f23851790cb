/* Reads matrices and their blocks, has them refined, and writes what is better. */
#include "calib/refine_run.h"
#include "formats/base/checked.h"
#include "quantize/search/parts_rows.h"
#include "quantize/search/refine.h"

#include <stdlib.h>
#include <string.h>

#define PIECE_FLOATS ((size_t)64 << 20) /* of a matrix, that are refined at once */

struct reading {
    struct nb_refine_run *run;
    const struct nb_linear *matrix;
    uint64_t first;
    size_t rows;
    float *out;
};

#define ROWS_IN_TASK 64u

static enum nb_status
read_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct reading *g = context;
    const size_t first = task * ROWS_IN_TASK, rows = g->rows - first < ROWS_IN_TASK ? g->rows - first : ROWS_IN_TASK;

    return nb_model_rows(g->run->original, g->matrix->weight, g->first + first, rows, &g->run->readers[worker],
                         g->out + first * g->matrix->columns, err);
}

/* ROWS rows of matrix NUMBER of the group from row FIRST on; those of all experts are counted. */
static enum nb_status
refine_piece(struct nb_refine_run *r, const struct nb_refine_inputs *in, size_t number, uint64_t first, size_t rows,
             struct nb_error *err)
{
    const struct nb_linear *m = r->wanted->matrix[number];
    const struct nb_encoding *encoding = &r->wanted->encoding[number];
    float *weights = nb_aligned((uint64_t)rows * m->columns * sizeof *weights);
    void *blocks = nb_malloc((uint64_t)rows * nb_rows_bytes(encoding, m->columns));
    struct reading reading = { r, nb_refine_original_of(r, m), first, rows, weights };
    const struct nb_refine_matrix matrix = { encoding, rows, m->columns, weights, blocks };
    struct nb_refine_result result = { 0 };
    enum nb_status status = weights == NULL || blocks == NULL ? nb_fail_memory(err) : NB_OK;

    if (status == NB_OK)
        status = nb_pool_run(r->pool, read_task, &reading, (rows + ROWS_IN_TASK - 1) / ROWS_IN_TASK, err);
    if (status == NB_OK)
        status = nb_refine_read(r, m, first, rows, blocks, err);
    if (status == NB_OK)
        status = nb_refine_matrix(in, &matrix, r->pool, &result, err);
    if (status == NB_OK && result.taken)
        status = nb_refine_write(r, m, first, rows, blocks, err);
    if (status == NB_OK && r->options->refined != NULL)
        r->options->refined(r->options->context, m->name, &result);
    r->summary->matrices++;
    r->summary->refined += result.taken;
    free(weights);
    free(blocks);
    return status;
}

/* Where the moments have a row for each of the matrix, it is refined as a whole. */
static enum nb_status
refine_expert(struct nb_refine_run *r, const struct nb_refine_inputs *in, size_t number, uint32_t expert,
              struct nb_error *err)
{
    const struct nb_linear *m = r->wanted->matrix[number];
    const size_t piece = PIECE_FLOATS / m->columns / ROWS_IN_TASK * ROWS_IN_TASK;
    const size_t at_once = in->fit->r != NULL || piece == 0 || piece > m->rows ? m->rows : piece;
    enum nb_status status = NB_OK;

    for (size_t first = 0; first < m->rows && status == NB_OK; first += at_once)
        status = refine_piece(r, in, number, (uint64_t)expert * m->rows + first,
                              m->rows - first < at_once ? m->rows - first : at_once, err);
    return status;
}

enum nb_status
nb_refine_experts(struct nb_refine_run *r, struct nb_error *err)
{
    enum nb_status status = NB_OK;
    bool feeds = false;

    for (size_t i = 0; i < r->wanted->count; i++)
        feeds = feeds || nb_refine_feeds(&r->wanted->encoding[i]);
    for (uint32_t e = 0; e < r->experts && status == NB_OK; e++) {
        struct nb_refine_inputs in;

        if (r->fit[e].tokens == 0)
            continue; /* an expert that no token reached keeps its blocks */
        status = nb_refine_prepare(&in, &r->fit[e], &r->held[e], feeds, err);
        for (size_t i = 0; i < r->wanted->count && status == NB_OK; i++)
            status = refine_expert(r, &in, i, r->first_expert + e, err);
        nb_refine_inputs_free(&in);
    }
    return status;
}
