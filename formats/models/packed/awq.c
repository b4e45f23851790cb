/*
 * AWQ as AutoAWQ's "gemm" stores it: a row of codes of 4 bits for each input, eight outputs in a word in an order of their
 * own; scales and zero points for groups of inputs. Checked against autoawq 0.2.9, but with the product in float32.
 */
#include "formats/elements/code_loops.h"
#include "formats/models/packed/format.h"

#include <string.h>
#include <strings.h>

enum { QWEIGHT, SCALES, QZEROS };

#define IN_WORD 8u

static void
unpack(const struct nb_codes *c, const unsigned char *units, uint64_t skip, uint64_t count, float *out)
{
    static const uint32_t shift[IN_WORD] = { 0, 16, 4, 20, 8, 24, 12, 28 }; /* of each output in its word */

    for (uint64_t i = 0, n; i < count; i += n) {
        const unsigned char *at = units + (skip + i) / IN_WORD * sizeof(uint32_t);
        uint32_t word;

        n = (count - i) / IN_WORD * IN_WORD;
        if ((skip + i) % IN_WORD == 0 && n > 0) {
            nb_code_loops()->of_nibbles(at, shift, c->minus, (size_t)(n / IN_WORD), out + i);
        } else {
            memcpy(&word, at, sizeof word);
            out[i] = (float)((int)(word >> shift[(skip + i) % IN_WORD] & 15) - c->minus);
            n = 1;
        }
    }
}

static struct nb_codes
codes_of(const struct nb_tensor *t)
{
    return (struct nb_codes){ .tensor = t,
                              .row_bytes = nb_sides_of(t).columns * 4,
                              .bits = 4,
                              .unit = IN_WORD,
                              .unit_bytes = 4,
                              .unpack = unpack };
}

static enum nb_status
open_awq(struct nb_packed *p, const struct nb_packing *packing)
{
    const char *layout = json_string_value(nb_quantization_entry(packing->quantization, "version"));
    const struct nb_sides s = nb_sides_of(p->part[QWEIGHT]), scales = nb_sides_of(p->part[SCALES]);
    enum nb_status status;

    if (layout != NULL && strcasecmp(layout, "gemm") != 0)
        return nb_fail(packing->err, NB_UNSUPPORTED,
                       "tensor '%s' is packed as '%.64s', and of AWQ only 'gemm' can be read", p->part[QWEIGHT]->name,
                       layout);
    p->matrices = 1;
    p->columns = s.rows;
    p->rows = s.columns * IN_WORD;
    if (s.matrices != 1)
        return nb_packed_refuse(p, packing, "is no matrix");
    status = nb_packed_is_number(p, packing, SCALES);
    if (status == NB_OK)
        status = nb_packed_expect(p, packing, SCALES, NB_ANY_SIDE, p->rows);
    if (status == NB_OK && p->part[QZEROS] != NULL)
        status = nb_packed_expect(p, packing, QZEROS, scales.rows, s.columns);
    if (status != NB_OK)
        return status;
    if (p->columns % scales.rows != 0 || (p->part[QZEROS] != NULL && p->part[QZEROS]->type != NB_I32))
        return nb_packed_refuse(p, packing,
                                "has groups that do not divide its columns, or zero points of another dtype");
    if (p->part[QZEROS] == NULL && !json_is_false(nb_quantization_entry(packing->quantization, "zero_point")))
        return nb_packed_refuse(p, packing, "has no zero points, which by the config it should have");
    p->codes = codes_of(p->part[QWEIGHT]);
    if (p->part[QZEROS] != NULL)
        p->packed_zeros = codes_of(p->part[QZEROS]);
    else
        p->codes.minus = 8;
    p->scales = (struct nb_grid){
        p->part[SCALES], p->part[SCALES]->type, 1, p->columns / scales.rows, scales.rows, p->rows, 1
    };
    return NB_OK;
}

const struct nb_packed_format nb_packed_awq = {
    .name = "AWQ",
    .methods = "awq",
    .codes = ".qweight",
    .weight = ".weight",
    .types = { NB_I32, NB_TYPE_NONE },
    .endings = { ".scales", ".qzeros" },
    .needed = 1,
    .is_last = true,
    .open = open_awq,
    .read = nb_packed_by_columns,
};
