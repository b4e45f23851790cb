/* Weights that are stored as their transpose, a row for each input: GPTQ and AWQ. */
#include "formats/models/packed/format.h"
#include "formats/models/transpose.h"
#include "formats/models/view_parts.h"

/* As many columns of the weight are computed, then transposed. */
#define STRIP 16

/* For each group, the numbers of JOB's rows. */
static enum nb_status
load_scales(const struct nb_packed_job *j, float **out)
{
    const struct nb_grid *g = &j->packed->scales;
    enum nb_status status = NB_OK;

    *out = nb_packed_buffer(j, NB_BUFFER_SCALES, g->rows * j->rows * sizeof **out);
    if (*out == NULL)
        return nb_fail_memory(j->err);
    if (j->rows == g->columns)
        return nb_packed_numbers(j, g->tensor, g->type, 0, g->rows * g->columns, *out);
    for (uint64_t k = 0; k < g->rows && status == NB_OK; k++)
        status = nb_packed_numbers(j, g->tensor, g->type, k * g->columns + j->row, j->rows, *out + k * j->rows);
    return status;
}

static enum nb_status
load_zeros(const struct nb_packed_job *j, float **out)
{
    const struct nb_codes *c = &j->packed->packed_zeros;
    const uint64_t groups = j->packed->scales.rows, first = j->row / c->unit;
    const uint64_t units = (j->row + j->rows - 1) / c->unit - first + 1;
    enum nb_status status = NB_OK;

    *out = NULL;
    if (c->tensor == NULL)
        return NB_OK;
    *out = nb_packed_buffer(j, NB_BUFFER_ZEROS, groups * j->rows * sizeof **out);
    if (*out == NULL)
        return nb_fail_memory(j->err);
    for (uint64_t g = 0; g < groups && status == NB_OK; g++) {
        unsigned char *bytes;

        status = nb_packed_bytes(j, c->tensor, g * c->row_bytes + first * c->unit_bytes, units * c->unit_bytes,
                                 NB_BUFFER_RAW, &bytes);
        if (status == NB_OK)
            c->unpack(c, bytes, j->row - first * c->unit, j->rows, *out + g * j->rows);
    }
    return status;
}

/* The codes of JOB: words down the columns, or a row of units for each column. */
struct codes {
    unsigned char *bytes;
    uint64_t first; /* down: the code with which the words begin; else the unit */
    uint64_t units; /* of each row */
};

static enum nb_status
load_codes(const struct nb_packed_job *j, struct codes *out)
{
    const struct nb_packed *p = j->packed;
    const struct nb_codes *c = &p->codes;
    enum nb_status status = NB_OK;

    if (c->unpack == NULL)
        return nb_packed_words_down(j, c, j->column, j->columns, j->row, j->rows, p->rows, NB_BUFFER_CODES, &out->bytes,
                                    &out->first);
    out->first = j->row / c->unit;
    out->units = (j->row + j->rows - 1) / c->unit - out->first + 1;
    if (out->units * c->unit_bytes == c->row_bytes)
        return nb_packed_bytes(j, c->tensor, j->column * c->row_bytes, j->columns * c->row_bytes, NB_BUFFER_CODES,
                               &out->bytes);
    out->bytes = nb_packed_buffer(j, NB_BUFFER_CODES, j->columns * out->units * c->unit_bytes + 8);
    if (out->bytes == NULL)
        return nb_fail_memory(j->err);
    for (uint64_t i = 0; i < j->columns && status == NB_OK; i++)
        status = nb_stored_read(j->store, c->tensor, (j->column + i) * c->row_bytes + out->first * c->unit_bytes,
                                out->units * c->unit_bytes, out->bytes + i * out->units * c->unit_bytes, j->err);
    return status;
}

/* The codes of column COLUMN of the weight, counted from JOB's first, for each of JOB's rows. */
static void
unpack(const struct nb_packed_job *j, const struct codes *in, uint64_t column, float *out)
{
    const struct nb_codes *c = &j->packed->codes;

    if (c->unpack == NULL)
        nb_codes_down(c, in->bytes, j->rows, j->column + column - in->first, j->rows, out);
    else
        c->unpack(c, in->bytes + column * in->units * c->unit_bytes, j->row - in->first * c->unit, j->rows, out);
}

/* A constant length makes vectors of the loop. */
static void
scale(float *x, uint64_t n, const float *zeros, const float *scales)
{
    uint64_t i = 0;

    for (; zeros != NULL && i + STRIP <= n; i += STRIP)
        for (uint64_t k = i; k < i + STRIP; k++)
            x[k] = (x[k] - zeros[k]) * scales[k];
    for (; i < n; i++)
        x[i] = (x[i] - (zeros != NULL ? zeros[i] : 0)) * scales[i];
}

enum nb_status
nb_packed_by_columns(const struct nb_packed_job *j, void *out)
{
    const struct nb_packed *p = j->packed;
    float *strip = nb_packed_buffer(j, NB_BUFFER_STRIP, STRIP * j->rows * sizeof *strip), *scales = NULL, *zeros = NULL;
    const struct nb_matrix matrix = { (unsigned char *)strip, sizeof *strip, j->rows, STRIP };
    struct codes codes = { 0 };
    enum nb_status status = strip == NULL ? nb_fail_memory(j->err) : load_scales(j, &scales);

    if (status == NB_OK)
        status = load_zeros(j, &zeros);
    if (status == NB_OK)
        status = load_codes(j, &codes);
    for (uint64_t at = 0; at < j->columns && status == NB_OK; at += STRIP) {
        struct nb_matrix part = matrix;

        part.rows = j->columns - at < STRIP ? j->columns - at : STRIP;
        for (uint64_t i = 0; i < part.rows; i++) {
            const uint64_t column = j->column + at + i;
            const uint64_t group = p->index != NULL ? p->index[column] : column / p->scales.wide;

            unpack(j, &codes, at + i, strip + i * j->rows);
            scale(strip + i * j->rows, j->rows, zeros == NULL ? NULL : zeros + group * j->rows,
                  scales + group * j->rows);
        }
        nb_transpose(&part, 0, j->rows, (unsigned char *)out + at * sizeof *strip, j->columns, false);
    }
    return status;
}
