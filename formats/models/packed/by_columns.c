/*
 * Weights that are stored as their transpose, a row for each input: GPTQ and AWQ. The transpose is computed, by rows as it
 * is stored, and then turned; or it is given as it is to those who turn it themselves.
 */
#include "formats/elements/code_loops.h"
#include "formats/models/packed/format.h"
#include "formats/models/transpose.h"
#include "formats/models/view_parts.h"

/* As many inputs are computed, then transposed. */
#define STRIP 16

/* Inputs FIRST to FIRST + INPUTS of outputs OUTPUT to OUTPUT + OUTPUTS: what codes, scales and zero points are loaded for. */
struct area {
    const struct nb_packed_job *job;
    uint64_t first, inputs, output, outputs;
    uint64_t group, groups; /* those of the inputs */
    float *scales, *zeros;  /* GROUPS x OUTPUTS; no ZEROS: 0 */
    unsigned char *codes;
    uint64_t begin; /* down: the code with which the words of CODES begin; else the unit */
    uint64_t units; /* of each row */
};

static enum nb_status
load_scales(struct area *a)
{
    const struct nb_packed_job *j = a->job;
    const struct nb_grid *g = &j->packed->scales;
    enum nb_status status = NB_OK;

    a->scales = nb_packed_buffer(j, NB_BUFFER_SCALES, a->groups * a->outputs * sizeof *a->scales);
    if (a->scales == NULL)
        return nb_fail_memory(j->err);
    if (a->outputs == g->columns)
        return nb_packed_numbers(j, g->tensor, g->type, a->group * g->columns, a->groups * g->columns, a->scales);
    for (uint64_t k = 0; k < a->groups && status == NB_OK; k++)
        status = nb_packed_numbers(j, g->tensor, g->type, (a->group + k) * g->columns + a->output, a->outputs,
                                   a->scales + k * a->outputs);
    return status;
}

static enum nb_status
load_zeros(struct area *a)
{
    const struct nb_packed_job *j = a->job;
    const struct nb_codes *c = &j->packed->packed_zeros;
    uint64_t first, units;
    enum nb_status status = NB_OK;

    if (c->tensor == NULL)
        return NB_OK;
    first = a->output / c->unit;
    units = (a->output + a->outputs - 1) / c->unit - first + 1;
    a->zeros = nb_packed_buffer(j, NB_BUFFER_ZEROS, a->groups * a->outputs * sizeof *a->zeros);
    if (a->zeros == NULL)
        return nb_fail_memory(j->err);
    for (uint64_t g = 0; g < a->groups && status == NB_OK; g++) {
        unsigned char *bytes;

        status = nb_packed_bytes(j, c->tensor, (a->group + g) * c->row_bytes + first * c->unit_bytes,
                                 units * c->unit_bytes, NB_BUFFER_RAW, &bytes);
        if (status == NB_OK)
            c->unpack(c, bytes, a->output - first * c->unit, a->outputs, a->zeros + g * a->outputs);
    }
    return status;
}

static enum nb_status
load_codes(struct area *a)
{
    const struct nb_packed_job *j = a->job;
    const struct nb_codes *c = &j->packed->codes;
    enum nb_status status = NB_OK;
    uint64_t row;

    if (c->unpack == NULL)
        return nb_packed_words_down(j, c, a->first, a->inputs, a->output, a->outputs, j->packed->scales.columns,
                                    NB_BUFFER_CODES, &a->codes, &a->begin);
    a->begin = a->output / c->unit;
    a->units = (a->output + a->outputs - 1) / c->unit - a->begin + 1;
    row = a->units * c->unit_bytes;
    if (row == c->row_bytes)
        return nb_packed_bytes(j, c->tensor, a->first * row, a->inputs * row, NB_BUFFER_CODES, &a->codes);
    a->codes = nb_packed_buffer(j, NB_BUFFER_CODES, a->inputs * row + 8);
    if (a->codes == NULL)
        return nb_fail_memory(j->err);
    for (uint64_t i = 0; i < a->inputs && status == NB_OK; i++)
        status = nb_stored_read(j->store, c->tensor, (a->first + i) * c->row_bytes + a->begin * c->unit_bytes, row,
                                a->codes + i * row, j->err);
    return status;
}

static enum nb_status
load(struct area *a)
{
    const struct nb_packed *p = a->job->packed;
    enum nb_status status;

    a->group = p->index != NULL ? 0 : a->first / p->scales.wide;
    a->groups = p->index != NULL ? p->scales.rows : (a->first + a->inputs - 1) / p->scales.wide - a->group + 1;
    status = load_scales(a);
    if (status == NB_OK)
        status = load_zeros(a);
    return status == NB_OK ? load_codes(a) : status;
}

/* Input NUMBER, counted from the first, for each of A's outputs. */
static void
compute(const struct area *a, uint64_t number, float *out)
{
    const struct nb_packed *p = a->job->packed;
    const struct nb_codes *c = &p->codes;
    const uint64_t input = a->first + number;
    const uint64_t group = (p->index != NULL ? p->index[input] : input / p->scales.wide) - a->group;

    if (c->unpack == NULL)
        nb_codes_down(c, a->codes, a->outputs, input - a->begin, a->outputs, out);
    else
        c->unpack(c, a->codes + number * a->units * c->unit_bytes, a->output - a->begin * c->unit, a->outputs, out);
    nb_code_loops()->scale(out, a->zeros == NULL ? NULL : a->zeros + group * a->outputs, a->scales + group * a->outputs,
                           (size_t)a->outputs);
}

enum nb_status
nb_packed_by_columns(const struct nb_packed_job *j, void *out)
{
    struct area a = { .job = j, .first = j->column, .inputs = j->columns, .output = j->row, .outputs = j->rows };
    float *strip = nb_packed_buffer(j, NB_BUFFER_STRIP, STRIP * j->rows * sizeof *strip);
    struct nb_matrix part = { (unsigned char *)strip, sizeof *strip, j->rows, STRIP };
    const enum nb_status status = strip == NULL ? nb_fail_memory(j->err) : load(&a);

    for (uint64_t at = 0; at < j->columns && status == NB_OK; at += STRIP) {
        part.rows = j->columns - at < STRIP ? j->columns - at : STRIP;
        for (uint64_t i = 0; i < part.rows; i++)
            compute(&a, at + i, strip + i * j->rows);
        nb_transpose(&part, 0, j->rows, (unsigned char *)out + at * sizeof *strip, j->columns, false);
    }
    return status;
}

enum nb_status
nb_packed_turned(const struct nb_packed_job *j, void *out)
{
    struct area a = { .job = j, .first = j->row, .inputs = j->rows, .output = j->column, .outputs = j->columns };
    const enum nb_status status = load(&a);

    for (uint64_t i = 0; i < j->rows && status == NB_OK; i++)
        compute(&a, i, (float *)out + i * j->columns);
    return status;
}
