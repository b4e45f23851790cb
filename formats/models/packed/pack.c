/*
 * compressed-tensors "pack-quantized": codes of 2 to 8 bits that run along the rows, stored plus half their range. Widths
 * that do not divide 32 are packed without gaps by compressed-tensors 0.20, and as many in a word as fit by older ones; the
 * number of words tells which. Zero points are packed the same way down the rows, plus the same half.
 */
#include "formats/models/packed/format.h"

#include <inttypes.h>
#include <string.h>

enum { PACKED, SCALE, ZERO_POINT, SHAPE, G_IDX };

/* Sets ROWS and COLUMNS from the tensor that has them. */
static enum nb_status
read_shape(struct nb_packed *p, const struct nb_packing *packing)
{
    const struct nb_tensor *t = p->part[SHAPE];
    unsigned char *bytes;
    int64_t sides[2];
    enum nb_status status;

    if (t == NULL || (t->type != NB_I64 && t->type != NB_I32) || t->elements != 2)
        return nb_packed_refuse(p, packing, "has no 'weight_shape' of two integers");
    status = nb_packed_load_bytes(packing, t, &bytes);
    if (status != NB_OK)
        return status;
    for (unsigned i = 0; i < 2; i++) {
        int32_t small;

        memcpy(&small, bytes + i * sizeof small, sizeof small);
        sides[i] = small;
        if (t->type == NB_I64)
            memcpy(&sides[i], bytes + i * sizeof sides[i], sizeof sides[i]);
    }
    if (sides[0] < 1 || sides[1] < 1 || sides[0] > INT32_MAX || sides[1] > INT32_MAX)
        return nb_fail(packing->err, NB_INPUT, "tensor '%s' says %" PRId64 " x %" PRId64 ", which is no shape", t->name,
                       sides[0], sides[1]);
    p->rows = (uint64_t)sides[0];
    p->columns = (uint64_t)sides[1];
    return NB_OK;
}

static uint64_t
words_without_gaps(uint64_t codes, unsigned bits)
{
    return (codes * bits + 31) / 32;
}

static uint64_t
words_of_whole_codes(uint64_t codes, unsigned bits)
{
    return (codes + 32 / bits - 1) / (32 / bits);
}

/* The width of the codes: that of the config, or, of several there, the one that fits the shape. */
static unsigned
find_bits(const struct nb_packed *p, const struct nb_packing *packing)
{
    const uint64_t words = nb_sides_of(p->part[PACKED]).columns;
    json_t *groups = json_object_get(packing->quantization->config, "config_groups"), *group;
    unsigned found = 0;
    const char *key;

    json_object_foreach(groups, key, group) {
        const double bits = json_number_value(json_object_get(json_object_get(group, "weights"), "num_bits"));
        const unsigned width = bits >= 2 && bits <= 8 ? (unsigned)bits : 0;

        if (width > 0 &&
            (words == words_without_gaps(p->columns, width) || words == words_of_whole_codes(p->columns, width)))
            found = found == 0 || found == width ? width : 9;
    }
    return found;
}

static enum nb_status
open_zeros(struct nb_packed *p, const struct nb_packing *packing, unsigned bits, bool dense)
{
    const struct nb_tensor *t = p->part[ZERO_POINT];
    const uint64_t words = dense ? words_without_gaps(p->rows, bits) : words_of_whole_codes(p->rows, bits);

    p->codes.minus = 0;
    if (t->type != NB_I32)
        return nb_packed_refuse(p, packing, "has zero points that are no 32-bit words");
    p->packed_zeros = nb_codes_of_columns(t, bits, dense, 0);
    return nb_packed_expect(p, packing, ZERO_POINT, words, p->scales.columns);
}

static enum nb_status
open_pack(struct nb_packed *p, const struct nb_packing *packing)
{
    const struct nb_sides s = nb_sides_of(p->part[PACKED]);
    unsigned bits;
    uint64_t wide;
    bool dense;
    enum nb_status status = read_shape(p, packing);

    p->matrices = 1;
    if (status != NB_OK)
        return status;
    bits = find_bits(p, packing);
    if (s.matrices != 1 || s.rows != p->rows || bits == 0 || bits > 8)
        return nb_packed_refuse(p, packing, "has not the words that its shape and the config's num_bits make");
    dense = s.columns == words_without_gaps(p->columns, bits);
    p->codes = (dense ? nb_codes_stream : nb_codes_words)(p->part[PACKED], s.columns * 4, bits, 1 << (bits - 1));
    status = nb_packed_group_size(p, packing, SCALE, p->columns, &wide);
    if (status == NB_OK)
        status = nb_packed_groups(p, packing, SCALE, wide, &p->scales);
    if (status == NB_OK && p->part[ZERO_POINT] != NULL)
        status = open_zeros(p, packing, bits, dense);
    if (status == NB_OK && p->part[G_IDX] != NULL)
        status = nb_packed_index(p, packing, G_IDX, p->scales.columns);
    return status == NB_OK ? nb_packed_keep(p, packing) : status;
}

const struct nb_packed_format nb_packed_pack = {
    .name = "compressed-tensors",
    .methods = "compressed-tensors",
    .codes = ".weight_packed",
    .weight = ".weight",
    .types = { NB_I32, NB_TYPE_NONE },
    .endings = { ".weight_scale", ".weight_zero_point", ".weight_shape", ".weight_g_idx" },
    .needed = 1,
    .is_last = true,
    .open = open_pack,
    .read = nb_packed_by_rows,
};
