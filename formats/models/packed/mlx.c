/*
 * MLX: codes of 2, 3, 4, 5, 6 or 8 bits without gaps, with a scale and a bias for each group of a row; or MXFP4, NVFP4 and
 * MXFP8, which have bytes for scales and no biases. Widths and groups follow from the shapes and the config's group_size.
 */
#include "formats/models/packed/fp4.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { WEIGHT, SCALES, BIASES };

/* Entry NAME of the weight's own settings, or of all. */
static json_t *
setting(const struct nb_packed *p, const struct nb_packing *packing, const char *name)
{
    const char *codes = p->part[WEIGHT]->name;
    char module[NB_ERROR_SIZE];
    json_t *own;

    snprintf(module, sizeof module, "%.*s", (int)(strlen(codes) - strlen(".weight")), codes);
    own = json_object_get(json_object_get(packing->quantization->config, module), name);
    return own != NULL ? own : json_object_get(packing->quantization->config, name);
}

static enum nb_status
open_affine(struct nb_packed *p, const struct nb_packing *packing, uint64_t group)
{
    const struct nb_sides s = nb_sides_of(p->part[WEIGHT]), scales = nb_sides_of(p->part[SCALES]);
    uint64_t bits;
    enum nb_status status;

    p->columns = scales.columns * group;
    bits = p->columns == 0 ? 0 : s.columns * 32 / p->columns;
    if (bits < 2 || bits > 8 || bits == 7 || bits * p->columns != s.columns * 32)
        return nb_packed_refuse(p, packing,
                                "has not the words of 2, 3, 4, 5, 6 or 8 bits for its scales and group_size");
    if (p->part[BIASES] == NULL)
        return nb_packed_refuse(p, packing, "has no biases");
    p->codes = nb_codes_stream(p->part[WEIGHT], s.columns * 4, (unsigned)bits, 0);
    p->rounding = p->part[SCALES]->type; /* as mlx_lm.convert --dequantize has it */
    status = nb_packed_groups(p, packing, SCALES, group, &p->scales);
    if (status == NB_OK)
        status = nb_packed_groups(p, packing, BIASES, group, &p->biases);
    return status == NB_OK ? nb_packed_keep(p, packing) : status;
}

static enum nb_status
open_mxfp8(struct nb_packed *p, const struct nb_packing *packing)
{
    const struct nb_sides s = nb_sides_of(p->part[WEIGHT]);
    enum nb_status status;

    p->columns = s.columns * 4;
    if (p->columns % 32 != 0)
        return nb_packed_refuse(p, packing, "has rows that are not whole blocks");
    status = nb_packed_expect(p, packing, SCALES, p->rows, p->columns / 32);
    p->codes = nb_codes_floats(p->part[WEIGHT], p->columns, NB_F8_E4M3);
    p->scales = (struct nb_grid){ p->part[SCALES], NB_F8_E8M0, 1, 32, p->rows, p->columns / 32, p->matrices };
    return status;
}

static enum nb_status
open_mlx(struct nb_packed *p, const struct nb_packing *packing)
{
    const struct nb_sides s = nb_sides_of(p->part[WEIGHT]), scales = nb_sides_of(p->part[SCALES]);
    const char *mode = json_string_value(setting(p, packing, "mode"));
    const double group = json_number_value(setting(p, packing, "group_size"));

    p->rows = s.rows;
    p->matrices = s.matrices;
    if (mode == NULL || strcmp(mode, "affine") == 0) {
        if (p->part[SCALES]->type == NB_U8)
            return nb_packed_refuse(p, packing, "has bytes for scales, but by the config it is affine");
        return open_affine(p, packing, group >= 1 && group <= 1 << 20 ? (uint64_t)group : 64);
    }
    if (p->part[SCALES]->type != NB_U8 || scales.columns == 0)
        return nb_packed_refuse(p, packing, "has scales that are no bytes");
    if (strcmp(mode, "mxfp4") == 0)
        return nb_packed_open_mxfp4(p, packing);
    if (strcmp(mode, "nvfp4") == 0)
        return nb_packed_open_nvfp4(p, packing);
    if (strcmp(mode, "mxfp8") == 0)
        return open_mxfp8(p, packing);
    return nb_fail(packing->err, NB_UNSUPPORTED, "tensor '%s' is packed in MLX's mode '%.64s', which cannot be read",
                   p->part[WEIGHT]->name, mode);
}

/* Of four-bit floats, by their scales. */
static bool
as_fp4(const struct nb_packed *p, struct nb_packed_mlx *out)
{
    const bool is_nvfp4 = p->scales.type == NB_F8_E4M3;

    *out = (struct nb_packed_mlx){
        .format = { is_nvfp4 ? NB_MLX_NVFP4 : NB_MLX_MXFP4, 4, is_nvfp4 ? 16 : 32 },
        .type = NB_F32,
        .columns = p->columns,
        .part = { p->part[WEIGHT], p->part[SCALES] },
    };
    return p->codes.table == nb_packed_e2m1;
}

bool
nb_packed_as_mlx(const struct nb_packed *p, struct nb_packed_mlx *out)
{
    if (p->format != &nb_packed_mlx || p->kept != NB_TYPE_NONE)
        return false;
    if (p->biases.tensor == NULL)
        return as_fp4(p, out);
    *out = (struct nb_packed_mlx){
        .format = { NB_MLX_AFFINE, (uint8_t)p->codes.bits, (uint16_t)p->scales.wide },
        .type = p->part[SCALES]->type,
        .columns = p->columns,
        .part = { p->part[WEIGHT], p->part[SCALES], p->part[BIASES] },
    };
    return p->scales.wide <= UINT16_MAX && p->part[BIASES]->type == out->type;
}

const struct nb_packed_format nb_packed_mlx = {
    .name = "MLX",
    .methods = "mlx",
    .codes = ".weight",
    .weight = ".weight",
    .types = { NB_U32, NB_TYPE_NONE },
    .endings = { ".scales", ".biases" },
    .needed = 1,
    .open = open_mlx,
    .read = nb_packed_read_fp4,
};
