/*
 * bitsandbytes NF4 and FP4: two codes in a byte through the whole weight, the first one in the high half, with a scale for
 * each block of, mostly, 64 elements, also across rows. The scales may be codes themselves ("double quantization").
 * Checked against bitsandbytes 0.50.2's portable kernel; its native kernel for CPUs errs where blocks cross rows.
 */
#include "formats/base/json.h"
#include "formats/models/packed/format.h"

#include <math.h>
#include <string.h>

enum { WEIGHT, ABSMAX, QUANT_MAP, NF4, FP4, NESTED_ABSMAX, NESTED_MAP };

/* Of weights whose scales are codes. */
struct nested {
    const float *values, *absmax;
    uint64_t block;
    float offset;
};

static uint64_t
count_of(json_t *state, const char *name)
{
    const double number = json_number_value(json_object_get(state, name));

    return number >= 1 && number <= 1 << 30 ? (uint64_t)number : 0;
}

static enum nb_status
open_nested(struct nb_packed *p, const struct nb_packing *packing, json_t *state)
{
    struct nested *n = nb_arena_calloc(packing->arena, 1, sizeof *n);
    const uint64_t block = count_of(state, "nested_blocksize"), scales = p->part[ABSMAX]->elements;
    float *values, *absmax;
    enum nb_status status;

    if (n == NULL)
        return nb_fail_memory(packing->err);
    if (p->part[NESTED_ABSMAX] == NULL || p->part[NESTED_MAP] == NULL || block == 0 ||
        p->part[NESTED_MAP]->elements != 256 || p->part[NESTED_ABSMAX]->elements != (scales + block - 1) / block)
        return nb_packed_refuse(p, packing, "has scales that are codes, without the tables that they need");
    status = nb_packed_load(packing, p->part[NESTED_MAP], &values);
    if (status == NB_OK)
        status = nb_packed_load(packing, p->part[NESTED_ABSMAX], &absmax);
    if (status != NB_OK)
        return status;
    *n = (struct nested){ values, absmax, block, (float)json_number_value(json_object_get(state, "nested_offset")) };
    p->own = n;
    return isfinite(n->offset) ? NB_OK : nb_packed_refuse(p, packing, "has a nested_offset that is no number");
}

static enum nb_status
open_with(struct nb_packed *p, const struct nb_packing *packing, json_t *state)
{
    json_t *shape = json_object_get(state, "shape");
    const uint64_t block = count_of(state, "blocksize");
    const double rows = json_number_value(json_array_get(shape, 0)),
                 columns = json_number_value(json_array_get(shape, 1));
    const bool are_codes = p->part[ABSMAX]->type == NB_U8;
    float *table;
    enum nb_status status;

    if (json_array_size(shape) != 2 || !(rows >= 1 && rows <= INT32_MAX) || !(columns >= 1 && columns <= INT32_MAX) ||
        block == 0)
        return nb_packed_refuse(p, packing, "has a quant_state without shape and blocksize");
    p->rows = (uint64_t)rows;
    p->columns = (uint64_t)columns;
    p->matrices = 1;
    if (p->part[WEIGHT]->elements != (p->rows * p->columns + 1) / 2 ||
        p->part[ABSMAX]->elements != (p->rows * p->columns + block - 1) / block || p->part[QUANT_MAP]->elements != 16 ||
        (p->part[ABSMAX]->type != NB_F32 && !are_codes))
        return nb_packed_refuse(p, packing, "has not the codes, scales and values that its quant_state makes");
    status = nb_packed_load(packing, p->part[QUANT_MAP], &table);
    if (status != NB_OK)
        return status;
    p->codes = nb_codes_nibbles(p->part[WEIGHT], 0, table, true);
    p->scales = (struct nb_grid){ .tensor = p->part[ABSMAX], .type = NB_F32, .wide = block };
    return are_codes ? open_nested(p, packing, state) : NB_OK;
}

static enum nb_status
open_bitsandbytes(struct nb_packed *p, const struct nb_packing *packing)
{
    const struct nb_tensor *text = p->part[p->part[NF4] != NULL ? NF4 : FP4];
    unsigned char *bytes;
    bool no_memory = false;
    json_t *state;
    enum nb_status status;

    if (text == NULL || text->type != NB_U8 || text->bytes > 65536)
        return nb_packed_refuse(p, packing, "has no quant_state");
    status = nb_packed_load_bytes(packing, text, &bytes);
    if (status != NB_OK)
        return status;
    state = nb_json_tree((struct nb_json_span){ (const char *)bytes, (size_t)text->bytes }, &no_memory);
    status = no_memory       ? nb_fail_memory(packing->err)
             : state == NULL ? nb_packed_refuse(p, packing, "has a quant_state that is not JSON")
                             : open_with(p, packing, state);
    json_decref(state);
    return status;
}

/* The scales of blocks FIRST to FIRST + COUNT. */
static enum nb_status
load_scales(const struct nb_packed_job *j, uint64_t first, uint64_t count, float *out)
{
    const struct nested *n = j->packed->own;
    unsigned char *codes;
    enum nb_status status;

    if (n == NULL)
        return nb_packed_numbers(j, j->packed->scales.tensor, NB_F32, first, count, out);
    status = nb_packed_bytes(j, j->packed->scales.tensor, first, count, NB_BUFFER_RAW, &codes);
    for (uint64_t i = 0; i < count && status == NB_OK; i++)
        out[i] = n->values[codes[i]] * n->absmax[(first + i) / n->block] + n->offset;
    return status;
}

static enum nb_status
read_bitsandbytes(const struct nb_packed_job *j, void *out)
{
    const struct nb_packed *p = j->packed;
    const uint64_t first = j->row * p->columns + j->column, count = j->rows * j->columns, wide = p->scales.wide;
    const uint64_t block = first / wide, blocks = (first + count - 1) / wide - block + 1;
    float *scales = nb_packed_buffer(j, NB_BUFFER_SCALES, blocks * sizeof *scales);
    unsigned char *codes;
    enum nb_status status = scales == NULL ? nb_fail_memory(j->err) : load_scales(j, block, blocks, scales);

    if (status == NB_OK)
        status = nb_packed_bytes(j, p->part[WEIGHT], first / 2, (first + count + 1) / 2 - first / 2, NB_BUFFER_CODES,
                                 &codes);
    if (status != NB_OK)
        return status;
    p->codes.unpack(&p->codes, codes, first % 2, count, out);
    nb_packed_each(NB_PACKED_MULTIPLY, scales, wide, first, count, out);
    return NB_OK;
}

const struct nb_packed_format nb_packed_bitsandbytes = {
    .name = "bitsandbytes",
    .methods = "bitsandbytes",
    .codes = ".weight",
    .weight = ".weight",
    .types = { NB_U8, NB_TYPE_NONE },
    .endings = { ".weight.absmax", ".weight.quant_map", ".weight.quant_state.bitsandbytes__nf4",
                 ".weight.quant_state.bitsandbytes__fp4", ".weight.nested_absmax", ".weight.nested_quant_map" },
    .needed = 2,
    .open = open_bitsandbytes,
    .read = read_bitsandbytes,
};
