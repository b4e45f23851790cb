/*
 * NVFP4 of ModelOpt and compressed-tensors, MXFP4 of compressed-tensors and DeepSeek V4. GGUF has types for both, with the same bits in
 * another order; the factor of a whole NVFP4 weight is a tensor of its own there.
 */
#include "formats/models/packed/fp4.h"

#include <math.h>
#include <string.h>

enum { CODES, SCALE, FACTOR, INPUT };

const float nb_packed_e2m1[16] = { 0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
                                   -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f };

static enum nb_status
open_fp4(struct nb_packed *p, const struct nb_packing *packing, enum nb_type scale, unsigned group, enum nb_type kept)
{
    const struct nb_sides s = nb_sides_of(p->part[CODES]);
    const uint64_t row_bytes = s.columns * nb_type_info(p->part[CODES]->type)->block_bytes;
    enum nb_status status;

    p->rows = s.rows;
    p->columns = row_bytes * 2;
    p->matrices = s.matrices;
    if (p->columns % group != 0)
        return nb_packed_refuse(p, packing, "has rows that are not whole blocks");
    status = nb_packed_expect(p, packing, SCALE, p->rows, p->columns / group);
    if (status == NB_OK && nb_type_info(p->part[SCALE]->type)->block_bytes != 1)
        status = nb_packed_is_number(p, packing, SCALE);
    if (status == NB_OK && nb_type_info(p->part[SCALE]->type)->block_bytes != 1)
        status = nb_packed_refuse(p, packing, "has scales that are no bytes");
    p->scales_have_no_sign = kept == NB_NVFP4;
    p->codes = nb_codes_nibbles(p->part[CODES], row_bytes, nb_packed_e2m1, false);
    p->scales = (struct nb_grid){ p->part[SCALE], scale, 1, group, p->rows, p->columns / group, p->matrices };
    if (packing->quantization->keep && p->columns % nb_type_info(kept)->block == 0)
        p->kept = kept;
    return status;
}

enum nb_status
nb_packed_open_nvfp4(struct nb_packed *p, const struct nb_packing *packing)
{
    return open_fp4(p, packing, NB_F8_E4M3, 16, NB_NVFP4);
}

enum nb_status
nb_packed_open_mxfp4(struct nb_packed *p, const struct nb_packing *packing)
{
    return open_fp4(p, packing, NB_F8_E8M0, 32, NB_MXFP4);
}

/* ModelOpt's factors multiply. */
static enum nb_status
open_modelopt(struct nb_packed *p, const struct nb_packing *packing)
{
    enum nb_status status = nb_packed_open_nvfp4(p, packing);

    if (status == NB_OK)
        status = nb_packed_scalar(p, packing, p->part[FACTOR], &p->scale_factor);
    if (status == NB_OK && p->part[INPUT] != NULL)
        status = nb_packed_scalar(p, packing, p->part[INPUT], &p->input_factor);
    return status;
}

/* Those of compressed-tensors divide. */
static enum nb_status
open_nvfp4(struct nb_packed *p, const struct nb_packing *packing)
{
    enum nb_status status = nb_packed_open_nvfp4(p, packing);

    if (status == NB_OK)
        status = nb_packed_scalar(p, packing, p->part[FACTOR], &p->scale_factor);
    if (status == NB_OK && p->part[INPUT] != NULL)
        status = nb_packed_scalar(p, packing, p->part[INPUT], &p->input_factor);
    p->scale_factor = 1 / p->scale_factor;
    p->input_factor = 1 / p->input_factor;
    return status;
}

/* Blocks of GGUF: the scales of its groups, without the sign that NVFP4's cannot have; then the codes of each. */
static enum nb_status
read_blocks(const struct nb_packed_job *j, unsigned char *out)
{
    const struct nb_packed *p = j->packed;
    const unsigned group = (unsigned)p->scales.wide, block = nb_type_info(p->kept)->block;
    const uint64_t row = j->matrix * p->rows + j->row, count = j->rows * j->columns;
    const unsigned char sign = p->kept == NB_NVFP4 ? 0x7F : 0xFF;
    unsigned char *codes, *scales;
    enum nb_status status;

    status = nb_packed_bytes(j, p->part[CODES], (row * p->columns + j->column) / 2, count / 2, NB_BUFFER_CODES, &codes);
    if (status == NB_OK)
        status = nb_packed_bytes(j, p->part[SCALE], (row * p->columns + j->column) / group, count / group,
                                 NB_BUFFER_RAW, &scales);
    for (uint64_t i = 0; i < count / block && status == NB_OK; i++) {
        for (unsigned g = 0; g < block / group; g++)
            *out++ = *scales++ & sign;
        for (unsigned g = 0; g < block / group; g++, codes += group / 2, out += group / 2)
            nb_packed_reorder(codes, group, out);
    }
    return status;
}

enum nb_status
nb_packed_read_fp4(const struct nb_packed_job *j, void *out)
{
    return j->packed->kept != NB_TYPE_NONE ? read_blocks(j, out) : nb_packed_by_rows(j, out);
}

float
nb_packed_factor(const struct nb_packed *p)
{
    return p->kept == NB_NVFP4 ? p->scale_factor : 1;
}

float
nb_packed_input_factor(const struct nb_packed *p)
{
    return p->kept == NB_NVFP4 ? p->input_factor : 1;
}

const struct nb_packed_format nb_packed_nvfp4_modelopt = {
    .name = "NVFP4",
    .methods = "modelopt|modelopt_fp4",
    .codes = ".weight",
    .weight = ".weight",
    .types = { NB_U8, NB_TYPE_NONE },
    .endings = { ".weight_scale", ".weight_scale_2", ".input_scale" },
    .needed = 2,
    .open = open_modelopt,
    .read = nb_packed_read_fp4,
};

const struct nb_packed_format nb_packed_nvfp4 = {
    .name = "NVFP4",
    .methods = "compressed-tensors",
    .codes = ".weight_packed",
    .weight = ".weight",
    .types = { NB_U8, NB_TYPE_NONE },
    .endings = { ".weight_scale", ".weight_global_scale", ".input_global_scale" },
    .needed = 2,
    .is_last = true,
    .open = open_nvfp4,
    .read = nb_packed_read_fp4,
};

const struct nb_packed_format nb_packed_mxfp4 = {
    .name = "MXFP4",
    .methods = "compressed-tensors",
    .codes = ".weight_packed",
    .weight = ".weight",
    .types = { NB_U8, NB_TYPE_NONE },
    .endings = { ".weight_scale" },
    .needed = 1,
    .is_last = true,
    .open = nb_packed_open_mxfp4,
    .read = nb_packed_read_fp4,
};

/* The experts of DeepSeek V4, beside other weights in FP8. */
const struct nb_packed_format nb_packed_mxfp4_deepseek = {
    .name = "MXFP4",
    .methods = "fp8",
    .codes = ".weight",
    .weight = ".weight",
    .types = { NB_I8, NB_TYPE_NONE },
    .endings = { ".scale" },
    .needed = 1,
    .open = nb_packed_open_mxfp4,
    .read = nb_packed_read_fp4,
};
