/*
 * GPTQ (AutoGPTQ, GPTQModel): codes of 2, 3, 4 or 8 bits that run down the inputs, a column for each output; scales and zero
 * points for groups of inputs, which need not be in order. Facts: GPTQModel's nn_modules/qlinear, as dequant_gptq of
 * llama.cpp v0.5.0 has them; 3 bits are packed without gaps.
 */
#include "formats/models/packed/format.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { QWEIGHT, SCALES, QZEROS, G_IDX };

/* In the format's first version zero points are stored less one. NB_UNSUPPORTED: a format for one kind of kernel. */
static enum nb_status
version(const struct nb_packed *p, const struct nb_packing *packing, int *less)
{
    const char *format = json_string_value(nb_quantization_entry(packing->quantization, "checkpoint_format"));

    if (json_is_true(nb_quantization_entry(packing->quantization, "is_marlin_format")))
        format = "marlin";
    *less = format == NULL || strcmp(format, "gptq") == 0;
    if (*less || strcmp(format, "gptq_v2") == 0)
        return NB_OK;
    return nb_fail(packing->err, NB_UNSUPPORTED,
                   "tensor '%s' is packed as '%.64s', and of GPTQ only 'gptq' and 'gptq_v2' can be read",
                   p->part[QWEIGHT]->name, format);
}

/* The width of the codes follows from the shapes: INPUTS x BITS / 32 words, OUTPUTS x BITS / 32 words of zero points. */
static enum nb_status
find_bits(const struct nb_packed *p, const struct nb_packing *packing, unsigned *bits)
{
    const uint64_t outputs = nb_sides_of(p->part[QWEIGHT]).columns, words = nb_sides_of(p->part[QZEROS]).columns;
    json_t *stated = nb_quantization_entry(packing->quantization, "bits");
    char text[128];

    *bits = outputs > 0 && words <= outputs ? (unsigned)(words * 32 / outputs) : 0;
    if ((*bits != 2 && *bits != 3 && *bits != 4 && *bits != 8) || words * 32 != outputs * *bits)
        return nb_packed_refuse(p, packing, "has zero points that do not fit its columns in 2, 3, 4 or 8 bits");
    if (!json_is_number(stated))
        return NB_OK;
    if (json_number_value(stated) == *bits ||
        json_object_size(nb_quantization_entry(packing->quantization, "dynamic")) > 0)
        return NB_OK;
    snprintf(text, sizeof text, "has %u bits by its shape, but %g by the config", *bits, json_number_value(stated));
    return nb_packed_refuse(p, packing, text);
}

static enum nb_status
open_gptq(struct nb_packed *p, const struct nb_packing *packing)
{
    const struct nb_sides s = nb_sides_of(p->part[QWEIGHT]), scales = nb_sides_of(p->part[SCALES]);
    unsigned bits;
    int less;
    enum nb_status status;

    p->matrices = 1;
    if (s.matrices != 1 || p->part[QZEROS]->type != NB_I32)
        return nb_packed_refuse(p, packing, "is no matrix of 32-bit words with such zero points");
    status = version(p, packing, &less);
    if (status == NB_OK)
        status = find_bits(p, packing, &bits);
    if (status != NB_OK)
        return status;
    p->rows = s.columns;
    p->columns = s.rows * 32 / bits;
    if (p->columns * bits != s.rows * 32)
        return nb_packed_refuse(p, packing, "has not whole groups of codes");
    status = nb_packed_is_number(p, packing, SCALES);
    if (status == NB_OK)
        status = nb_packed_expect(p, packing, SCALES, NB_ANY_SIDE, p->rows);
    if (status == NB_OK)
        status = nb_packed_expect(p, packing, QZEROS, scales.rows, NB_ANY_SIDE);
    if (status == NB_OK && p->part[G_IDX] != NULL)
        status = nb_packed_index(p, packing, G_IDX, scales.rows);
    if (status != NB_OK)
        return status;
    if (p->part[G_IDX] == NULL && p->columns % scales.rows != 0)
        return nb_packed_refuse(p, packing, "has groups that do not divide its columns");
    p->codes = nb_codes_of_columns(p->part[QWEIGHT], bits, true, 0);
    p->packed_zeros = nb_codes_stream(p->part[QZEROS], nb_sides_of(p->part[QZEROS]).columns * 4, bits, -less);
    p->scales = (struct nb_grid){
        p->part[SCALES], p->part[SCALES]->type, 1, p->columns / scales.rows, scales.rows, p->rows, 1
    };
    return nb_packed_keep(p, packing);
}

const struct nb_packed_format nb_packed_gptq = {
    .name = "GPTQ",
    .methods = "gptq",
    .codes = ".qweight",
    .weight = ".weight",
    .types = { NB_I32, NB_TYPE_NONE },
    .endings = { ".scales", ".qzeros", ".g_idx" },
    .needed = 2,
    .is_last = true,
    .open = open_gptq,
    .read = nb_packed_by_columns,
};
