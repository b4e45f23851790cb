#include "quantize/search/parts_rows.h"

#include "formats/elements/decode.h"
#include "formats/elements/halves.h"
#include "quantize/search/parts_fp4.h"

#include <string.h>

/* The planes of MLX's formats; those of floats have no biases. */
enum { CODES, SCALES, BIASES };

static bool
is_affine(const struct nb_encoding *e)
{
    return e->type == NB_TYPE_NONE && e->n_planes == 3 && e->bits > 0 && e->block <= NB_PARTS_ELEMENTS;
}

/* MXFP4 and NVFP4 of MLX. */
static bool
is_fp4(const struct nb_encoding *e)
{
    return e->type == NB_TYPE_NONE && e->n_planes == 2 && e->bits == 4;
}

static enum nb_type
fp4_step(const struct nb_encoding *e)
{
    return e->block == 16 ? NB_F8_E4M3 : NB_F8_E8M0;
}

bool
nb_rows_parts(const struct nb_encoding *e, struct nb_parts_type *parts)
{
    const struct nb_parts_type *of_type = e->type == NB_TYPE_NONE ? NULL : nb_parts_type(e->type);

    if (of_type != NULL)
        *parts = *of_type;
    else if (is_affine(e)) /* the bias is a minimum of the other sign */
        *parts = (struct nb_parts_type){ .block = e->block,
                                         .group = e->block,
                                         .codes = (uint16_t)(1 << e->bits),
                                         .scale_low = 1,
                                         .scale_top = 1,
                                         .scale_step = 1,
                                         .min_top = 1,
                                         .step = e->computed_in };
    else if (is_fp4(e))
        *parts = (struct nb_parts_type){ .block = e->block,
                                         .group = e->block,
                                         .codes = NB_FP4_LEVELS,
                                         .levels = nb_fp4_levels,
                                         .scale_low = 1,
                                         .scale_top = 1,
                                         .scale_step = 1,
                                         .step = fp4_step(e) };
    return of_type != NULL || is_affine(e) || is_fp4(e);
}

size_t
nb_rows_bytes(const struct nb_encoding *e, size_t columns)
{
    size_t bytes = 0;

    for (unsigned i = 0; i < e->n_planes; i++)
        bytes += columns / e->block * e->plane_bytes[i];
    return bytes;
}

/* Where block number BLOCK begins in plane PLANE of a row. */
static size_t
place(const struct nb_encoding *e, size_t columns, unsigned plane, size_t block)
{
    size_t at = block * e->plane_bytes[plane];

    for (unsigned i = 0; i < plane; i++)
        at += columns / e->block * e->plane_bytes[i];
    return at;
}

static float
load_step(enum nb_type type, const uint8_t *from)
{
    uint16_t half;
    float f;

    if (type == NB_F32) {
        memcpy(&f, from, sizeof f);
        return f;
    }
    memcpy(&half, from, sizeof half);
    return type == NB_F16 ? nb_f16_to_f32(half) : nb_bf16_to_f32(half);
}

static void
store_step(enum nb_type type, float f, uint8_t *to)
{
    const uint16_t half = type == NB_F16 ? nb_f32_to_f16(f) : nb_f32_to_bf16(f);

    if (type == NB_F32)
        memcpy(to, &f, sizeof f);
    else
        memcpy(to, &half, sizeof half);
}

/* Codes of BITS bits without gaps, the lowest first. */
static void
unpack_codes(const uint8_t *bytes, unsigned bits, size_t count, uint8_t *code)
{
    for (size_t i = 0; i < count; i++) {
        const size_t at = i * bits / 8, shift = i * bits % 8;
        const unsigned word = bytes[at] | (shift + bits > 8 ? (unsigned)bytes[at + 1] << 8 : 0);

        code[i] = (uint8_t)(word >> shift & ((1u << bits) - 1));
    }
}

static void
pack_codes(const uint8_t *code, unsigned bits, size_t count, uint8_t *bytes)
{
    memset(bytes, 0, count * bits / 8);
    for (size_t i = 0; i < count; i++) {
        const size_t at = i * bits / 8, shift = i * bits % 8;
        const unsigned word = (unsigned)code[i] << shift;

        bytes[at] = (uint8_t)(bytes[at] | word);
        if (shift + bits > 8)
            bytes[at + 1] = (uint8_t)(word >> 8);
    }
}

void
nb_rows_unpack(const struct nb_encoding *e, const void *row, size_t columns, size_t block, struct nb_parts *p)
{
    const uint8_t *at = row;

    if (e->type != NB_TYPE_NONE) {
        nb_parts_unpack(e->type, at + place(e, columns, 0, block), p);
        return;
    }
    memset(p, 0, sizeof *p);
    p->scale[0] = p->min[0] = 1;
    unpack_codes(at + place(e, columns, CODES, block), e->bits, e->block, p->code);
    if (is_fp4(e)) {
        nb_fp4_to_levels(p->code, e->block);
        p->d = nb_fp4_step(fp4_step(e), at[place(e, columns, SCALES, block)]);
        return;
    }
    p->d = load_step(e->computed_in, at + place(e, columns, SCALES, block));
    p->dmin = -load_step(e->computed_in, at + place(e, columns, BIASES, block));
}

void
nb_rows_pack(const struct nb_encoding *e, const struct nb_parts *p, void *row, size_t columns, size_t block)
{
    uint8_t *at = row;

    if (e->type != NB_TYPE_NONE) {
        nb_parts_pack(e->type, p, at + place(e, columns, 0, block));
        return;
    }
    if (is_fp4(e)) {
        uint8_t code[NB_PARTS_ELEMENTS];

        memcpy(code, p->code, e->block);
        nb_fp4_to_codes(code, e->block);
        pack_codes(code, e->bits, e->block, at + place(e, columns, CODES, block));
        at[place(e, columns, SCALES, block)] = nb_fp4_byte(fp4_step(e), p->d);
        return;
    }
    pack_codes(p->code, e->bits, e->block, at + place(e, columns, CODES, block));
    store_step(e->computed_in, p->d, at + place(e, columns, SCALES, block));
    store_step(e->computed_in, -p->dmin, at + place(e, columns, BIASES, block));
}

void
nb_rows_decode(const struct nb_encoding *e, const void *rows, size_t count, size_t columns, float *out)
{
    const size_t bytes = nb_rows_bytes(e, columns);
    const uint8_t *row = rows;
    struct nb_parts_type type;
    struct nb_parts p;

    if (e->type != NB_TYPE_NONE) {
        nb_decode(e->type, rows, count * columns, out);
        return;
    }
    if (!nb_rows_parts(e, &type))
        return;
    for (size_t r = 0; r < count; r++, row += bytes)
        for (size_t block = 0; block < columns / e->block; block++) {
            nb_rows_unpack(e, row, columns, block, &p);
            for (size_t i = 0; i < e->block; i++)
                *out++ = p.d * nb_parts_level(&type, p.code[i]) - p.dmin;
        }
}
