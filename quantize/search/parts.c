#include "quantize/search/parts.h"

#include "formats/elements/block_layouts.h"
#include "formats/elements/codebooks.h"
#include "formats/elements/four_bit.h"
#include "formats/elements/halves.h"
#include "quantize/search/parts_fp4.h"
#include "quantize/search/parts_grids.h"

#include <string.h>

#define BLOCK 32 /* of the types without super-blocks */

/* The magnitudes of the codebooks' levels. */
static const float iq2_levels[] = { 8, 25, 43 };
static const float iq3_xxs_levels[] = { 4, 12, 20, 28, 36, 44, 52, 62 };
static const float iq3_s_levels[] = { 1, 3, 5, 7, 9, 11, 13, 15 };

#define SIMPLE(all, low, table, minimum)                                                                             \
    {                                                                                                                \
        .block = BLOCK, .group = BLOCK, .codes = all, .first = low, .levels = table, .scale_low = 1, .scale_top = 1, \
        .scale_step = 1, .min_top = minimum, .step = NB_F16                                                          \
    }
#define SUPER(size, all, low, table, bottom, top, minimum)                                                        \
    {                                                                                                             \
        .block = NB_SUPER_BLOCK, .group = size, .codes = all, .first = low, .levels = table, .scale_low = bottom, \
        .scale_top = top, .scale_step = 1, .min_top = minimum, .step = NB_F16                                     \
    }
#define GRID(size, table, of_cell, of_level, even, times, grid)                                                  \
    {                                                                                                            \
        .block = NB_SUPER_BLOCK, .group = size, .codes = sizeof table / sizeof table[0], .levels = table,        \
        .scale_low = 1, .scale_top = 31, .scale_step = 2, .cell = of_cell, .bits = of_level, .even_signs = even, \
        .step = NB_F16, .unit = times, .entries = grid, .n_entries = sizeof grid / sizeof grid[0]                \
    }

static const struct nb_parts_type types[NB_TYPES] = {
    [NB_Q4_0] = SIMPLE(16, -8, NULL, 0),
    [NB_Q4_1] = SIMPLE(16, 0, NULL, 1),
    [NB_Q5_0] = SIMPLE(32, -16, NULL, 0),
    [NB_Q5_1] = SIMPLE(32, 0, NULL, 1),
    [NB_IQ4_NL] = SIMPLE(16, 0, nb_iq4_values, 0),
    [NB_MXFP4] = { .block = BLOCK,
                   .group = BLOCK,
                   .codes = NB_FP4_LEVELS,
                   .levels = nb_fp4_levels,
                   .scale_low = 1,
                   .scale_top = 1,
                   .scale_step = 1,
                   .step = NB_F8_E8M0 },
    [NB_Q2_K] = SUPER(16, 4, 0, NULL, 0, 15, 15),
    [NB_Q3_K] = SUPER(16, 8, -4, NULL, -32, 31, 0),
    [NB_Q4_K] = SUPER(32, 16, 0, NULL, 0, 63, 63),
    [NB_Q5_K] = SUPER(32, 32, 0, NULL, 0, 63, 63),
    [NB_Q6_K] = SUPER(16, 64, -32, NULL, -128, 127, 0),
    [NB_IQ4_XS] = SUPER(32, 16, 0, nb_iq4_values, -32, 31, 0),
    [NB_IQ2_XXS] = GRID(32, iq2_levels, 8, 2, true, 0.125f, nb_grid_iq2_xxs),
    [NB_IQ2_XS] = GRID(16, iq2_levels, 8, 2, true, 0.125f, nb_grid_iq2_xs),
    [NB_IQ2_S] = GRID(16, iq2_levels, 8, 2, false, 0.125f, nb_grid_iq2_s),
    [NB_IQ3_XXS] = GRID(32, iq3_xxs_levels, 4, 3, true, 0.25f, nb_grid_iq3_xxs),
    [NB_IQ3_S] = GRID(32, iq3_s_levels, 4, 3, false, 1, nb_grid_iq3_s),
};

const struct nb_parts_type *
nb_parts_type(enum nb_type type)
{
    return (unsigned)type < NB_TYPES && types[type].block > 0 ? &types[type] : NULL;
}

/* --- bits ---------------------------------------------------------------------------------------------------- */

/* Puts the low BITS of VALUE at bit SHIFT of *BYTE. */
static void
put(uint8_t *byte, int shift, int bits, int value)
{
    const int mask = ((1 << bits) - 1) << shift;

    *byte = (uint8_t)((*byte & ~mask) | (value << shift & mask));
}

static int
get(uint8_t byte, int shift, int bits)
{
    return byte >> shift & ((1 << bits) - 1);
}

/* Moves BITS bits between a byte, from bit SHIFT on, and the number AT, from bit FROM on. */
static void
move(bool packs, uint8_t *byte, int shift, int bits, uint8_t *at, int from)
{
    if (packs)
        put(byte, shift, bits, *at >> from);
    else
        put(at, from, bits, get(*byte, shift, bits));
}

/* --- codes: the same loops pack and unpack ------------------------------------------------------------------- */

/* 2 * HALF codes in HALF bytes: the first half in the low four bits. */
static void
move_nibbles(bool packs, uint8_t *qs, uint8_t *code, size_t half)
{
    for (size_t i = 0; i < half; i++) {
        move(packs, &qs[i], 0, 4, &code[i], 0);
        move(packs, &qs[i], 4, 4, &code[i + half], 0);
    }
}

/* Bit I of the four bytes is the fifth bit of code I. */
static void
move_fifth_bits(bool packs, uint8_t *qh, uint8_t *code)
{
    for (int i = 0; i < BLOCK; i++)
        move(packs, &qh[i / 8], i % 8, 1, &code[i], 4);
}

/* The low two bits of 256 codes: byte l of 32 holds l, l + 32, l + 64 and l + 96 of 128. */
static void
move_pairs(bool packs, uint8_t *qs, uint8_t *code)
{
    for (int i = 0; i < NB_SUPER_BLOCK; i++)
        move(packs, &qs[i / 128 * 32 + i % 32], i / 32 % 4 * 2, 2, &code[i], 0);
}

/* Bit j of byte l: bit FROM of code 32 j + l. */
static void
move_high_bits(bool packs, uint8_t *qh, uint8_t *code, int from)
{
    for (int i = 0; i < NB_SUPER_BLOCK; i++)
        move(packs, &qh[i % 32], i / 32, 1, &code[i], from);
}

static void
move_q6_K(bool packs, struct block_q6_K *b, uint8_t *code)
{
    for (int i = 0; i < NB_SUPER_BLOCK; i++) {
        const int half = i / 128, part = i / 32 % 4;

        move(packs, &b->ql[half * 64 + part % 2 * 32 + i % 32], part / 2 * 4, 4, &code[i], 0);
        move(packs, &b->qh[half * 32 + i % 32], part * 2, 2, &code[i], 4);
    }
}

/* --- scales -------------------------------------------------------------------------------------------------- */

/* The eight scales and minimums of Q4_K and Q5_K, of six bits. */
static void
move_steps(bool packs, uint8_t *packed, uint8_t *scale, uint8_t *min)
{
    for (int j = 0; j < 4; j++) {
        move(packs, &packed[j], 0, 6, &scale[j], 0);
        move(packs, &packed[j + 4], 0, 6, &min[j], 0);
        move(packs, &packed[j + 8], 0, 4, &scale[j + 4], 0);
        move(packs, &packed[j + 8], 4, 4, &min[j + 4], 0);
        move(packs, &packed[j], 6, 2, &scale[j + 4], 4);
        move(packs, &packed[j + 4], 6, 2, &min[j + 4], 4);
    }
}

static void
move_scales(bool packs, enum nb_type type, unsigned char *block, uint8_t *scale, uint8_t *min)
{
    if (type == NB_Q2_K) {
        for (int j = 0; j < 16; j++) {
            move(packs, &((struct block_q2_K *)block)->scales[j], 0, 4, &scale[j], 0);
            move(packs, &((struct block_q2_K *)block)->scales[j], 4, 4, &min[j], 0);
        }
    } else if (type == NB_Q3_K) {
        for (int j = 0; j < 16; j++) {
            move(packs, &((struct block_q3_K *)block)->scales[j % 8], j / 8 * 4, 4, &scale[j], 0);
            move(packs, &((struct block_q3_K *)block)->scales[8 + j % 4], j / 4 * 2, 2, &scale[j], 4);
        }
    } else if (type == NB_Q4_K) {
        move_steps(packs, ((struct block_q4_K *)block)->scales, scale, min);
    } else if (type == NB_Q5_K) {
        move_steps(packs, ((struct block_q5_K *)block)->scales, scale, min);
    } else if (type == NB_Q6_K) {
        for (int j = 0; j < 16; j++)
            move(packs, (uint8_t *)&((struct block_q6_K *)block)->scales[j], 0, 8, &scale[j], 0);
    } else if (type == NB_IQ4_XS) {
        struct block_iq4_xs *b = (struct block_iq4_xs *)block;
        uint8_t high[2] = { (uint8_t)b->scales_h, (uint8_t)(b->scales_h >> 8) };

        for (int j = 0; j < 8; j++) {
            move(packs, &b->scales_l[j / 2], j % 2 * 4, 4, &scale[j], 0);
            move(packs, &high[j / 4], j % 4 * 2, 2, &scale[j], 4);
        }
        b->scales_h = (uint16_t)(high[0] | high[1] << 8);
    }
}

/* What a stored scale of 0 means. */
static int
scale_offset(enum nb_type type)
{
    return type == NB_Q3_K || type == NB_IQ4_XS ? -32 : 0;
}

/* --- blocks -------------------------------------------------------------------------------------------------- */

/* Where a block has its half floats. */
static void
find_steps(enum nb_type type, unsigned char *block, uint16_t **d, uint16_t **dmin)
{
    *dmin = NULL;
    switch ((int)type) {
    case NB_Q2_K:
        *d = &((struct block_q2_K *)block)->d;
        *dmin = &((struct block_q2_K *)block)->dmin;
        break;
    case NB_Q3_K:
        *d = &((struct block_q3_K *)block)->d;
        break;
    case NB_Q6_K:
        *d = &((struct block_q6_K *)block)->d;
        break;
    case NB_Q4_1:
    case NB_Q5_1:
    case NB_Q4_K:
    case NB_Q5_K:
        *d = (uint16_t *)block;
        *dmin = (uint16_t *)block + 1;
        break;
    default:
        *d = (uint16_t *)block;
    }
}

static void
move_codes(bool packs, enum nb_type type, unsigned char *block, uint8_t *code)
{
    switch ((int)type) {
    case NB_Q4_0:
        move_nibbles(packs, ((struct block_q4_0 *)block)->qs, code, 16);
        break;
    case NB_Q4_1:
        move_nibbles(packs, ((struct block_q4_1 *)block)->qs, code, 16);
        break;
    case NB_IQ4_NL:
        move_nibbles(packs, ((struct block_iq4_nl *)block)->qs, code, 16);
        break;
    case NB_Q5_0:
        move_nibbles(packs, ((struct block_q5_0 *)block)->qs, code, 16);
        move_fifth_bits(packs, ((struct block_q5_0 *)block)->qh, code);
        break;
    case NB_Q5_1:
        move_nibbles(packs, ((struct block_q5_1 *)block)->qs, code, 16);
        move_fifth_bits(packs, ((struct block_q5_1 *)block)->qh, code);
        break;
    case NB_Q2_K:
        move_pairs(packs, ((struct block_q2_K *)block)->qs, code);
        break;
    case NB_Q3_K:
        move_pairs(packs, ((struct block_q3_K *)block)->qs, code);
        move_high_bits(packs, ((struct block_q3_K *)block)->hmask, code, 2);
        break;
    case NB_Q4_K:
        for (size_t j = 0; j < 4; j++)
            move_nibbles(packs, ((struct block_q4_K *)block)->qs + 32 * j, code + 64 * j, 32);
        break;
    case NB_Q5_K:
        for (size_t j = 0; j < 4; j++)
            move_nibbles(packs, ((struct block_q5_K *)block)->qs + 32 * j, code + 64 * j, 32);
        move_high_bits(packs, ((struct block_q5_K *)block)->qh, code, 4);
        break;
    case NB_Q6_K:
        move_q6_K(packs, (struct block_q6_K *)block, code);
        break;
    default:
        for (size_t j = 0; j < 8; j++)
            move_nibbles(packs, ((struct block_iq4_xs *)block)->qs + 16 * j, code + 32 * j, 16);
    }
}

static void
unpack_mxfp4(const struct block_mxfp4 *b, struct nb_parts *p)
{
    uint8_t qs[BLOCK / 2];

    memcpy(qs, b->qs, sizeof qs);
    move_nibbles(false, qs, p->code, BLOCK / 2);
    nb_fp4_to_levels(p->code, BLOCK);
    p->scale[0] = 1;
    p->d = nb_fp4_step(NB_F8_E8M0, b->e);
}

static void
pack_mxfp4(const struct nb_parts *p, struct block_mxfp4 *b)
{
    uint8_t code[BLOCK];

    memcpy(code, p->code, sizeof code);
    nb_fp4_to_codes(code, BLOCK);
    move_nibbles(true, b->qs, code, BLOCK / 2);
    b->e = nb_fp4_byte(NB_F8_E8M0, p->d);
}

/* Q4_1 and Q5_1 add their minimum. */
static float
min_sign(enum nb_type type)
{
    return type == NB_Q4_1 || type == NB_Q5_1 ? -1.0f : 1.0f;
}

void
nb_parts_unpack(enum nb_type type, const void *block, struct nb_parts *p)
{
    const struct nb_parts_type *t = &types[type];
    uint8_t scale[NB_PARTS_GROUPS] = { 0 }, min[NB_PARTS_GROUPS] = { 0 };
    unsigned char bytes[sizeof(struct block_q6_K)] __attribute__((aligned(4)));
    uint16_t *d, *dmin;

    memset(p, 0, sizeof *p);
    if (t->cell > 0) {
        nb_parts_unpack_grid(type, t, block, p);
        return;
    }
    if (type == NB_MXFP4) {
        unpack_mxfp4(block, p);
        return;
    }
    memcpy(bytes, block, nb_type_info(type)->block_bytes);
    move_codes(false, type, bytes, p->code);
    move_scales(false, type, bytes, scale, min);
    for (int j = 0; j < t->block / t->group; j++) {
        const int stored = type == NB_Q6_K ? (int8_t)scale[j] : scale[j];

        p->scale[j] = (int16_t)(t->scale_top == 1 ? 1 : stored + scale_offset(type));
        p->min[j] = (int16_t)(t->min_top == 1 ? 1 : min[j]);
    }
    find_steps(type, bytes, &d, &dmin);
    p->d = nb_f16_to_f32(*d);
    p->dmin = dmin == NULL ? 0 : min_sign(type) * nb_f16_to_f32(*dmin);
}

void
nb_parts_pack(enum nb_type type, const struct nb_parts *p, void *block)
{
    const struct nb_parts_type *t = &types[type];
    uint8_t scale[NB_PARTS_GROUPS] = { 0 }, min[NB_PARTS_GROUPS] = { 0 }, code[NB_PARTS_ELEMENTS];
    unsigned char bytes[sizeof(struct block_q6_K)] __attribute__((aligned(4))) = { 0 };
    uint16_t *d, *dmin;

    if (t->cell > 0) {
        nb_parts_pack_grid(type, t, p, block);
        return;
    }
    if (type == NB_MXFP4) {
        pack_mxfp4(p, block);
        return;
    }
    memcpy(code, p->code, sizeof code);
    for (int j = 0; j < t->block / t->group; j++) {
        scale[j] = (uint8_t)(p->scale[j] - scale_offset(type));
        min[j] = (uint8_t)p->min[j];
    }
    move_codes(true, type, bytes, code);
    move_scales(true, type, bytes, scale, min);
    find_steps(type, bytes, &d, &dmin);
    *d = nb_f32_to_f16(p->d);
    if (dmin != NULL)
        *dmin = nb_f32_to_f16(min_sign(type) * p->dmin);
    memcpy(block, bytes, nb_type_info(type)->block_bytes);
}
