/*
 * Eight-bit codes with scales: FP8 of DeepSeek, Qwen, Mistral, ModelOpt, fbgemm and compressed-tensors; INT8 of
 * compressed-tensors and bitsandbytes. A scale is for the whole weight, for each row, for blocks, or for groups of
 * columns. "_scale_inv" is a factor, too, in spite of its name (DeepSeek-V3, inference/kernel.py).
 */
#include "formats/models/packed/format.h"

#include <inttypes.h>

/* The sides of blocks that the config gives, if it gives any. */
static bool
block_sides(const struct nb_quantization *q, uint64_t sides[2])
{
    static const char *const names[] = { "weight_block_size", "block_structure" };

    for (unsigned n = 0; n < 2; n++) {
        json_t *entry = nb_quantization_entry(q, names[n]);

        for (unsigned i = 0; i < 2 && entry != NULL; i++) {
            const double side = json_number_value(json_array_get(entry, i));

            if (json_array_size(entry) != 2 || !(side >= 1 && side <= 1 << 30))
                return false;
            sides[i] = (uint64_t)side;
        }
        if (entry != NULL)
            return true;
    }
    return false;
}

/* The shape of a companion, with the dimensions at its end that it lacks beside CODES as 1. */
static struct nb_sides
aligned_sides(const struct nb_tensor *companion, const struct nb_tensor *codes)
{
    uint64_t ne[NB_MAX_DIMS] = { 1, 1, 1, 1 };
    const uint32_t missing = companion->n_dims < codes->n_dims ? codes->n_dims - companion->n_dims : 0;

    for (uint32_t i = 0; i < companion->n_dims && i + missing < NB_MAX_DIMS; i++)
        ne[i + missing] = companion->ne[i];
    return (struct nb_sides){ ne[1], ne[0], ne[2] * ne[3] };
}

/* GRID of part NUMBER, whose shape says for how many elements each of its numbers is. */
static enum nb_status
open_grid(struct nb_packed *p, const struct nb_packing *packing, unsigned number, struct nb_grid *grid)
{
    const struct nb_tensor *t = p->part[number];
    const struct nb_sides s = aligned_sides(t, p->part[0]);
    uint64_t block[2] = { 0, 0 };
    const bool has_blocks = block_sides(packing->quantization, block);

    *grid = (struct nb_grid){ t, t->type, 0, 0, s.rows, s.columns, s.matrices };
    if (t->elements == 0 || (s.matrices != 1 && s.matrices != p->matrices))
        grid->high = 0;
    else if (s.rows == 1 && s.columns == 1)
        *grid = (struct nb_grid){ t, t->type, p->rows, p->columns, 1, 1, s.matrices };
    else if (has_blocks && s.rows == (p->rows + block[0] - 1) / block[0] &&
             s.columns == (p->columns + block[1] - 1) / block[1])
        *grid = (struct nb_grid){ t, t->type, block[0], block[1], s.rows, s.columns, s.matrices };
    else if (s.rows == p->rows && p->columns % s.columns == 0)
        *grid = (struct nb_grid){ t, t->type, 1, p->columns / s.columns, s.rows, s.columns, s.matrices };
    if (grid->high > 0)
        return NB_OK;
    return nb_fail(packing->err, NB_INPUT,
                   "tensor '%s' is %" PRIu64 " x %" PRIu64 ", which fits neither the rows of '%s' (%" PRIu64
                   " x %" PRIu64 ") nor blocks of %" PRIu64 " x %" PRIu64,
                   t->name, s.rows, s.columns, p->part[0]->name, p->rows, p->columns, block[0], block[1]);
}

static enum nb_status
open_scaled(struct nb_packed *p, const struct nb_packing *packing)
{
    const struct nb_sides s = nb_sides_of(p->part[0]);
    enum nb_status status;

    p->rows = s.rows;
    p->columns = s.columns;
    p->matrices = s.matrices;
    p->codes = nb_codes_plain(p->part[0], p->columns);
    status = nb_packed_is_number(p, packing, 1);
    if (status == NB_OK)
        status = open_grid(p, packing, 1, &p->scales);
    if (status != NB_OK || p->part[2] == NULL)
        return status;
    if (p->part[2]->type != NB_I8 && nb_type_info(p->part[2]->type)->kind != NB_KIND_FLOAT)
        return nb_packed_is_number(p, packing, 2);
    return open_grid(p, packing, 2, &p->zeros);
}

/*
 * LLM.int8(): the largest magnitude of each row is stored, which code 127 stands for. In the order of bitsandbytes 0.50.2
 * (backends/default/ops.py): code times magnitude, times 1 / 127.
 */
static enum nb_status
open_int8(struct nb_packed *p, const struct nb_packing *packing)
{
    const enum nb_status status = open_scaled(p, packing);

    p->factor = 1.0f / 127;
    return status;
}

#define FP8                    \
    {                          \
        NB_F8_E4M3, NB_F8_E5M2 \
    }

const struct nb_packed_format nb_packed_fp8_inverse = {
    .name = "FP8",
    .methods = "fp8|compressed-tensors",
    .codes = "",
    .weight = "",
    .types = FP8,
    .endings = { "_scale_inv" },
    .needed = 1,
    .open = open_scaled,
    .read = nb_packed_by_rows,
};

const struct nb_packed_format nb_packed_fp8_mistral = {
    .name = "FP8",
    .methods = "fp8",
    .codes = ".weight",
    .weight = ".weight",
    .types = FP8,
    .endings = { ".qscale_weight" },
    .needed = 1,
    .open = open_scaled,
    .read = nb_packed_by_rows,
};

const struct nb_packed_format nb_packed_fp8 = {
    .name = "FP8",
    .methods = "fp8|fbgemm_fp8|modelopt|compressed-tensors",
    .codes = "",
    .weight = "",
    .types = FP8,
    .endings = { "_scale", "_zero_point" },
    .needed = 1,
    .open = open_scaled,
    .read = nb_packed_by_rows,
};

/* As DeepSeek V4 names them. */
const struct nb_packed_format nb_packed_fp8_deepseek = {
    .name = "FP8",
    .methods = "fp8",
    .codes = ".weight",
    .weight = ".weight",
    .types = FP8,
    .endings = { ".scale" },
    .needed = 1,
    .open = open_scaled,
    .read = nb_packed_by_rows,
};

const struct nb_packed_format nb_packed_int8 = {
    .name = "INT8",
    .methods = "compressed-tensors",
    .codes = "",
    .weight = "",
    .types = { NB_I8, NB_TYPE_NONE },
    .endings = { "_scale", "_zero_point" },
    .needed = 1,
    .open = open_scaled,
    .read = nb_packed_by_rows,
};

static const char *const of_int8[] = { ".weight_format", NULL };

const struct nb_packed_format nb_packed_int8_bitsandbytes = {
    .name = "bitsandbytes INT8",
    .methods = "bitsandbytes",
    .codes = ".weight",
    .weight = ".weight",
    .types = { NB_I8, NB_TYPE_NONE },
    .endings = { ".SCB" },
    .needed = 1,
    .dropped = of_int8,
    .open = open_int8,
    .read = nb_packed_by_rows,
};
