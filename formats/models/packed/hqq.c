/*
 * HQQ: the weight as a matrix of groups, rows of it (axis 1) or columns (axis 0), each with a scale and a zero point that is
 * no integer. An element of W_q holds codes of rows that are far apart: the first 1 / n of all rows in its highest bits.
 * Source of the layouts: hqq 0.2.8, core/bitpack.py.
 */
#include "formats/models/packed/format.h"

#include <string.h>

enum { W_Q, SCALE, ZERO, SHAPE, NBITS, AXIS };

struct layout {
    unsigned bits, each; /* bytes of an element of W_q */
    unsigned top;        /* the shift of the first place */
    uint64_t fraction;   /* codes in one place */
    uint64_t wide;       /* axis 1: elements with the same scale, one after the other */
    uint64_t groups;     /* axis 0: the scale of element E is number E % GROUPS */
};

/* The integer in part NUMBER, or entry NAME of the config; 0 if there is neither. */
static enum nb_status
setting(const struct nb_packed *p, const struct nb_packing *packing, unsigned number, const char *name, uint64_t *out)
{
    json_t *all = nb_quantization_entry(packing->quantization, "quant_config");
    const double stated = json_number_value(json_object_get(json_object_get(all, "weight_quant_params"), name));
    const struct nb_tensor *t = p->part[number];
    unsigned char *bytes;
    enum nb_status status = NB_OK;

    *out = stated >= 0 && stated <= 1 << 20 ? (uint64_t)stated : 0;
    if (t == NULL || t->elements != 1 || nb_type_info(t->type)->kind != NB_KIND_INTEGER)
        return NB_OK;
    status = nb_packed_load_bytes(packing, t, &bytes);
    *out = 0;
    for (uint64_t i = 0; i < t->bytes && i < 4 && status == NB_OK; i++)
        *out |= (uint64_t)bytes[i] << 8 * i;
    return status;
}

static enum nb_status
read_shape(struct nb_packed *p, const struct nb_packing *packing)
{
    const struct nb_tensor *t = p->part[SHAPE];
    unsigned char *bytes;
    int64_t sides[2];
    enum nb_status status;

    if (t == NULL || t->type != NB_I64 || t->elements != 2)
        return nb_packed_refuse(p, packing, "has no 'shape' of two integers");
    status = nb_packed_load_bytes(packing, t, &bytes);
    if (status != NB_OK)
        return status;
    memcpy(sides, bytes, sizeof sides);
    if (sides[0] < 1 || sides[1] < 1 || sides[0] > INT32_MAX || sides[1] > INT32_MAX)
        return nb_packed_refuse(p, packing, "has a 'shape' that is none");
    p->rows = (uint64_t)sides[0];
    p->columns = (uint64_t)sides[1];
    p->matrices = 1;
    return NB_OK;
}

/* Where codes are: some widths fill a byte, 5 and 6 bits take one each, ten of 3 bits an I32. */
static bool
place(const struct nb_tensor *t, struct layout *l)
{
    const unsigned in_one = l->bits == 3 ? 10 : l->bits == 1 || l->bits == 2 || l->bits == 4 ? 8 / l->bits : 1;

    l->each = l->bits == 3 ? 4 : 1;
    l->top = (in_one - 1) * l->bits;
    l->fraction = t->elements;
    return l->bits >= 1 && l->bits <= 8 && l->bits != 7 && (l->bits == 3 ? t->type == NB_I32 : t->type == NB_U8);
}

static enum nb_status
open_hqq(struct nb_packed *p, const struct nb_packing *packing)
{
    struct layout *l = nb_arena_calloc(packing->arena, 1, sizeof *l);
    uint64_t bits, axis, n, held;
    enum nb_status status = l == NULL ? nb_fail_memory(packing->err) : read_shape(p, packing);

    if (status == NB_OK)
        status = setting(p, packing, NBITS, "nbits", &bits);
    if (status == NB_OK)
        status = setting(p, packing, AXIS, "axis", &axis);
    for (unsigned i = SCALE; i <= ZERO && status == NB_OK; i++)
        status = nb_packed_is_number(p, packing, i);
    if (status != NB_OK)
        return status;
    l->bits = bits <= 8 ? (unsigned)bits : 0;
    n = p->rows * p->columns;
    if (!place(p->part[W_Q], l))
        return nb_packed_refuse(p, packing,
                                "has not the dtype of the config's nbits (of view_as_float, nothing can be read)");
    held = l->fraction * (l->top / l->bits + 1);
    l->groups = p->part[SCALE]->elements;
    if (axis > 1 || l->groups == 0 || n % l->groups != 0 || p->part[ZERO]->elements != l->groups || held < n ||
        (l->bits != 3 && held != n))
        return nb_packed_refuse(p, packing, "has not the codes, scales and zero points that its shape makes");
    l->wide = axis == 1 ? n / l->groups : 0;
    p->own = l;
    return NB_OK;
}

/* COUNT codes from code FIRST on, all in one place. */
static enum nb_status
load_codes(const struct nb_packed_job *j, const struct layout *l, uint64_t first, uint64_t count, float *out)
{
    const unsigned shift = l->top - (unsigned)(first / l->fraction) * l->bits, mask = (1u << l->bits) - 1;
    unsigned char *bytes;
    const enum nb_status status = nb_packed_bytes(j, j->packed->part[W_Q], first % l->fraction * l->each,
                                                  count * l->each, NB_BUFFER_CODES, &bytes);

    for (uint64_t i = 0; i < count && status == NB_OK; i++) {
        uint32_t word = bytes[i];

        if (l->each == sizeof word)
            memcpy(&word, bytes + i * sizeof word, sizeof word);
        out[i] = (float)(word >> shift & mask);
    }
    return status;
}

/* The numbers of part NUMBER for COUNT elements from FIRST on: those of their groups, or all that the rows repeat. */
static enum nb_status
load_numbers(const struct nb_packed_job *j, const struct layout *l, unsigned number, uint64_t first, uint64_t count,
             enum nb_packed_buffer buffer, float **out)
{
    const struct nb_tensor *t = j->packed->part[number];
    const uint64_t from = l->wide > 0 ? first / l->wide : 0;
    const uint64_t n = l->wide > 0 ? (first + count - 1) / l->wide - from + 1 : l->groups;

    *out = nb_packed_buffer(j, buffer, n * sizeof **out);
    return *out == NULL ? nb_fail_memory(j->err) : nb_packed_numbers(j, t, t->type, from, n, *out);
}

static enum nb_status
read_hqq(const struct nb_packed_job *j, void *to)
{
    const struct layout *l = j->packed->own;
    const uint64_t first = j->row * j->packed->columns + j->column, count = j->rows * j->columns;
    float *out = to, *scales, *zeros;
    enum nb_status status = load_numbers(j, l, SCALE, first, count, NB_BUFFER_SCALES, &scales);

    if (status == NB_OK)
        status = load_numbers(j, l, ZERO, first, count, NB_BUFFER_ZEROS, &zeros);
    for (uint64_t done = 0; done < count && status == NB_OK;) {
        const uint64_t left = l->fraction - (first + done) % l->fraction, n = left < count - done ? left : count - done;

        status = load_codes(j, l, first + done, n, out + done);
        done += n;
    }
    if (status == NB_OK && l->wide > 0) {
        nb_packed_each(NB_PACKED_SUBTRACT, zeros, l->wide, first, count, out);
        nb_packed_each(NB_PACKED_MULTIPLY, scales, l->wide, first, count, out);
    }
    for (uint64_t i = 0; i < count && status == NB_OK && l->wide == 0; i++) {
        const uint64_t group = (first + i) % l->groups;

        out[i] = (out[i] - zeros[group]) * scales[group];
    }
    return status;
}

/* What else HQQ keeps for each weight. */
static const char *const kept[] = {
    ".group_size",         ".packing",
    ".view_as_float",      ".quant_zero",
    ".quant_scale",        ".compute_dtype",
    ".unpack_view_dtype",  ".channel_wise",
    ".optimize",           ".round_zero",
    ".offload_meta",       ".stores_quant_config",
    ".encoded_state_dict", NULL,
};

const struct nb_packed_format nb_packed_hqq = {
    .name = "HQQ",
    .methods = "hqq",
    .codes = ".W_q",
    .weight = ".weight",
    .types = { NB_U8, NB_I32 },
    .endings = { ".scale", ".zero", ".shape", ".nbits", ".axis" },
    .needed = 2,
    .is_last = true,
    .dropped = kept,
    .open = open_hqq,
    .read = read_hqq,
};
