/* Weights whose codes run along the rows. */
#include "formats/elements/halves.h"
#include "formats/models/packed/format.h"

#include <math.h>

/* One number for each stretch of columns of some rows. */
struct numbers {
    float *values;  /* NULL: there is no such grid */
    uint64_t count; /* of all of them */
    uint64_t first; /* the column of the grid with which each row of VALUES begins */
    uint64_t columns, row;
};

/* Loads the numbers of G that JOB needs into BUFFER. */
static enum nb_status
load(const struct nb_packed_job *j, const struct nb_grid *g, enum nb_packed_buffer buffer, struct numbers *out)
{
    const uint64_t high = g->high == 0 ? 1 : g->high, first = j->row / high;
    uint64_t rows, at;
    float *values;

    *out = (struct numbers){ 0 };
    if (g->tensor == NULL)
        return NB_OK;
    rows = (j->row + j->rows - 1) / high - first + 1;
    at = ((g->matrices > 1 ? j->matrix * g->rows : 0) + first) * g->columns;
    out->columns = g->columns;
    out->row = first;
    if (rows == 1 && j->packed->index == NULL) { /* of one long row not all may be needed */
        out->first = j->column / g->wide;
        out->columns = (j->column + j->columns - 1) / g->wide - out->first + 1;
    }
    values = nb_packed_buffer(j, buffer, rows * out->columns * sizeof *values);
    out->values = values;
    out->count = rows * out->columns;
    return values == NULL ? nb_fail_memory(j->err)
                          : nb_packed_numbers(j, g->tensor, g->type, at + out->first, rows * out->columns, values);
}

/* Where the numbers of ROW begin. */
static const float *
row_of(const struct numbers *n, const struct nb_grid *g, uint64_t row)
{
    return n->values == NULL ? NULL : n->values + (row / g->high - n->row) * n->columns;
}

/* Loops of a length that the compiler knows, so that it makes vectors of them. */
#define STEP 16

static void
subtract(float *x, uint64_t n, float by)
{
    for (; n >= STEP; n -= STEP, x += STEP)
        for (int i = 0; i < STEP; i++)
            x[i] -= by;
    while (n-- > 0)
        *x++ -= by;
}

static void
add(float *x, uint64_t n, float by)
{
    for (; n >= STEP; n -= STEP, x += STEP)
        for (int i = 0; i < STEP; i++)
            x[i] += by;
    while (n-- > 0)
        *x++ += by;
}

static void
multiply(float *x, uint64_t n, float by)
{
    for (; n >= STEP; n -= STEP, x += STEP)
        for (int i = 0; i < STEP; i++)
            x[i] *= by;
    while (n-- > 0)
        *x++ *= by;
}

void
nb_packed_each(enum nb_packed_operation operation, const float *numbers, uint64_t wide, uint64_t first, uint64_t count,
               float *x)
{
    static void (*const operations[])(float *x, uint64_t n, float by) = { subtract, multiply, add };

    for (uint64_t done = 0; done < count; numbers++) {
        const uint64_t end = ((first + done) / wide + 1) * wide - first, stop = end < count ? end : count;

        operations[operation](x + done, stop - done, *numbers);
        done = stop;
    }
}

/* The same with the numbers of G for JOB's columns of a row, if there are any. */
static void
each(const struct nb_packed_job *j, enum nb_packed_operation operation, const float *numbers, const struct numbers *n,
     const struct nb_grid *g, float *x)
{
    if (numbers != NULL)
        nb_packed_each(operation, numbers + (j->column / g->wide - n->first), g->wide, j->column, j->columns, x);
}

/* The same if the columns' groups are not in order: zero points and scales alone occur with such. */
static void
by_index(const struct nb_packed_job *j, const float *zeros, const float *scales, float *x)
{
    const uint32_t *group = j->packed->index + j->column;

    for (uint64_t i = 0; i < j->columns; i++)
        x[i] = (x[i] - (zeros != NULL ? zeros[group[i]] : 0)) * scales[group[i]];
}

/* MLX computes in the type of its scales. */
static void
round_to(enum nb_type type, float *x, uint64_t count)
{
    for (uint64_t i = 0; type == NB_BF16 && i < count; i++)
        x[i] = nb_bf16_to_f32(nb_f32_to_bf16(x[i]));
    for (uint64_t i = 0; type == NB_F16 && i < count; i++)
        x[i] = nb_f16_to_f32(nb_f32_to_f16(x[i]));
}

/* The zero points of a row are numbers, or codes of their own that are packed down the rows. */
static enum nb_status
load_zeros(const struct nb_packed_job *j, struct numbers *out)
{
    const struct nb_codes *c = &j->packed->packed_zeros;
    const uint64_t groups = j->packed->scales.columns;
    float *values;
    unsigned char *words;
    uint64_t first;
    enum nb_status status;

    if (c->tensor == NULL)
        return load(j, &j->packed->zeros, NB_BUFFER_ZEROS, out);
    values = nb_packed_buffer(j, NB_BUFFER_ZEROS, j->rows * groups * sizeof *values);
    if (values == NULL)
        return nb_fail_memory(j->err);
    status = nb_packed_words_down(j, c, j->row, j->rows, 0, groups, groups, NB_BUFFER_RAW, &words, &first);
    for (uint64_t r = 0; r < j->rows && status == NB_OK; r++)
        nb_codes_down(c, words, groups, j->row + r - first, groups, values + r * groups);
    *out = (struct numbers){ values, j->rows * groups, 0, groups, j->row };
    return status;
}

/* Reads the codes of JOB; *FIRST is the code with which they begin in each row. */
static enum nb_status
load_codes(const struct nb_packed_job *j, uint64_t *first, unsigned char **bytes)
{
    const struct nb_codes *c = &j->packed->codes;
    const uint64_t row = j->matrix * j->packed->rows + j->row, from = j->column / c->unit;
    const uint64_t to = (j->column + j->columns + c->unit - 1) / c->unit;

    *first = from * c->unit;
    return nb_packed_bytes(j, c->tensor, row * c->row_bytes + from * c->unit_bytes,
                           (j->rows - 1) * c->row_bytes + (to - from) * c->unit_bytes, NB_BUFFER_CODES, bytes);
}

enum nb_status
nb_packed_by_rows(const struct nb_packed_job *j, void *to)
{
    const struct nb_packed *p = j->packed;
    const struct nb_grid *zero_grid = p->packed_zeros.tensor != NULL ? &p->scales : &p->zeros;
    struct numbers scales, zeros = { 0 }, biases = { 0 };
    unsigned char *codes;
    float *out = to;
    uint64_t first;
    enum nb_status status = load(j, &p->scales, NB_BUFFER_SCALES, &scales);

    for (uint64_t i = 0; status == NB_OK && p->scales_have_no_sign && i < scales.count; i++)
        scales.values[i] = fabsf(scales.values[i]);
    if (status == NB_OK && p->scale_factor != 1)
        multiply(scales.values, scales.count, p->scale_factor);
    if (status == NB_OK)
        status = load_zeros(j, &zeros);
    if (status == NB_OK)
        status = load(j, &p->biases, NB_BUFFER_STRIP, &biases);
    if (status == NB_OK)
        status = load_codes(j, &first, &codes);
    for (uint64_t r = 0; r < j->rows && status == NB_OK; r++, out += j->columns) {
        const float *s = row_of(&scales, &p->scales, j->row + r), *z = row_of(&zeros, zero_grid, j->row + r);

        p->codes.unpack(&p->codes, codes + r * p->codes.row_bytes, j->column - first, j->columns, out);
        if (p->index != NULL) {
            by_index(j, z, s, out);
            continue;
        }
        each(j, NB_PACKED_SUBTRACT, z, &zeros, zero_grid, out);
        each(j, NB_PACKED_MULTIPLY, s, &scales, &p->scales, out);
        round_to(p->rounding, out, j->columns);
        each(j, NB_PACKED_ADD, row_of(&biases, &p->biases, j->row + r), &biases, &p->biases, out);
        round_to(p->rounding, out, j->columns);
        if (p->factor != 1)
            multiply(out, j->columns, p->factor);
    }
    return status;
}
