#include "quantize/search/parts_grids.h"

#include "formats/elements/block_layouts.h"
#include "formats/elements/halves.h"

#include <string.h>

/* What a block holds, whatever its layout. */
struct grid_block {
    uint16_t d;
    uint16_t index[NB_SUPER_BLOCK / 4]; /* of an entry, per cell */
    uint8_t signs[NB_SUPER_BLOCK / 8];  /* a bit for each negative one of eight elements */
    uint8_t scale[NB_PARTS_GROUPS];     /* four bits, per group */
};

/* Eight signs from seven bits: the eighth makes the number of negative ones even. */
static uint8_t
eight_signs(uint32_t seven)
{
    return (uint8_t)((seven & 127) | (uint32_t)__builtin_parity(seven & 127) << 7);
}

/* --- layouts ----------------------------------------------------------------------------------------------------- */

static void
read_iq2_xxs(const struct block_iq2_xxs *b, struct grid_block *g)
{
    for (size_t j = 0; j < 8; j++) {
        for (size_t l = 0; l < 4; l++) {
            g->index[4 * j + l] = (uint16_t)(b->qs[2 * j] >> 8 * l & 255);
            g->signs[4 * j + l] = eight_signs(b->qs[2 * j + 1] >> 7 * l);
        }
        g->scale[j] = (uint8_t)(b->qs[2 * j + 1] >> 28);
    }
}

static void
write_iq2_xxs(const struct grid_block *g, struct block_iq2_xxs *b)
{
    for (size_t j = 0; j < 8; j++) {
        uint32_t indices = 0, rest = (uint32_t)g->scale[j] << 28;

        for (size_t l = 0; l < 4; l++) {
            indices |= (uint32_t)g->index[4 * j + l] << 8 * l;
            rest |= (uint32_t)(g->signs[4 * j + l] & 127) << 7 * l;
        }
        b->qs[2 * j] = indices;
        b->qs[2 * j + 1] = rest;
    }
}

static void
read_iq2_xs(const struct block_iq2_xs *b, struct grid_block *g)
{
    for (size_t j = 0; j < 32; j++) {
        g->index[j] = b->qs[j] & 511;
        g->signs[j] = eight_signs(b->qs[j] >> 9);
        g->scale[j / 2] = b->scales[j / 4] >> (j / 2 % 2 * 4) & 15;
    }
}

static void
write_iq2_xs(const struct grid_block *g, struct block_iq2_xs *b)
{
    for (size_t j = 0; j < 32; j++)
        b->qs[j] = (uint16_t)(g->index[j] | (g->signs[j] & 127) << 9);
    for (size_t j = 0; j < 8; j++)
        b->scales[j] = (uint8_t)(g->scale[2 * j] | g->scale[2 * j + 1] << 4);
}

static void
read_iq2_s(const struct block_iq2_s *b, struct grid_block *g)
{
    for (size_t j = 0; j < 32; j++) {
        g->index[j] = (uint16_t)(b->qs[j] | (b->qh[j / 4] >> (j % 4 * 2) & 3) << 8);
        g->signs[j] = b->signs[j];
        g->scale[j / 2] = b->scales[j / 4] >> (j / 2 % 2 * 4) & 15;
    }
}

static void
write_iq2_s(const struct grid_block *g, struct block_iq2_s *b)
{
    for (size_t j = 0; j < 32; j++) {
        b->qs[j] = (uint8_t)g->index[j];
        b->signs[j] = g->signs[j];
        b->qh[j / 4] = (uint8_t)(b->qh[j / 4] | g->index[j] >> 8 << (j % 4 * 2));
    }
    for (size_t j = 0; j < 8; j++)
        b->scales[j] = (uint8_t)(g->scale[2 * j] | g->scale[2 * j + 1] << 4);
}

static void
read_iq3_xxs(const struct block_iq3_xxs *b, struct grid_block *g)
{
    for (size_t j = 0; j < 64; j++)
        g->index[j] = b->qs[j];
    for (size_t j = 0; j < 32; j++)
        g->signs[j] = eight_signs(b->signs_and_scale[j / 4] >> j % 4 * 7);
    for (size_t j = 0; j < 8; j++)
        g->scale[j] = (uint8_t)(b->signs_and_scale[j] >> 28);
}

static void
write_iq3_xxs(const struct grid_block *g, struct block_iq3_xxs *b)
{
    for (size_t j = 0; j < 64; j++)
        b->qs[j] = (uint8_t)g->index[j];
    for (size_t j = 0; j < 8; j++) {
        uint32_t rest = (uint32_t)g->scale[j] << 28;

        for (size_t l = 0; l < 4; l++)
            rest |= (uint32_t)(g->signs[4 * j + l] & 127) << 7 * l;
        b->signs_and_scale[j] = rest;
    }
}

static void
read_iq3_s(const struct block_iq3_s *b, struct grid_block *g)
{
    for (size_t j = 0; j < 64; j++)
        g->index[j] = (uint16_t)(b->qs[j] | (b->qh[j / 8] >> j % 8 & 1) << 8);
    for (size_t j = 0; j < 32; j++)
        g->signs[j] = b->signs[j];
    for (size_t j = 0; j < 8; j++)
        g->scale[j] = b->scales[j / 2] >> (j % 2 * 4) & 15;
}

static void
write_iq3_s(const struct grid_block *g, struct block_iq3_s *b)
{
    for (size_t j = 0; j < 64; j++) {
        b->qs[j] = (uint8_t)g->index[j];
        b->qh[j / 8] = (uint8_t)(b->qh[j / 8] | g->index[j] >> 8 << j % 8);
    }
    for (size_t j = 0; j < 32; j++)
        b->signs[j] = g->signs[j];
    for (size_t j = 0; j < 4; j++)
        b->scales[j] = (uint8_t)(g->scale[2 * j] | g->scale[2 * j + 1] << 4);
}

static void
read_block(enum nb_type type, const void *block, struct grid_block *g)
{
    memcpy(&g->d, block, sizeof g->d); /* all layouts begin with it */
    switch ((int)type) {
    case NB_IQ2_XXS:
        read_iq2_xxs(block, g);
        break;
    case NB_IQ2_XS:
        read_iq2_xs(block, g);
        break;
    case NB_IQ2_S:
        read_iq2_s(block, g);
        break;
    case NB_IQ3_XXS:
        read_iq3_xxs(block, g);
        break;
    default:
        read_iq3_s(block, g);
    }
}

static void
write_block(enum nb_type type, const struct grid_block *g, void *block)
{
    memset(block, 0, nb_type_info(type)->block_bytes);
    memcpy(block, &g->d, sizeof g->d);
    switch ((int)type) {
    case NB_IQ2_XXS:
        write_iq2_xxs(g, block);
        break;
    case NB_IQ2_XS:
        write_iq2_xs(g, block);
        break;
    case NB_IQ2_S:
        write_iq2_s(g, block);
        break;
    case NB_IQ3_XXS:
        write_iq3_xxs(g, block);
        break;
    default:
        write_iq3_s(g, block);
    }
}

/* --- codes ------------------------------------------------------------------------------------------------------- */

void
nb_parts_unpack_grid(enum nb_type type, const struct nb_parts_type *t, const void *block, struct nb_parts *p)
{
    struct grid_block g;

    memset(p, 0, sizeof *p);
    read_block(type, block, &g);
    p->d = t->unit * nb_f16_to_f32(g.d);
    for (size_t j = 0; j < t->block / t->group; j++)
        p->scale[j] = (int16_t)(2 * g.scale[j] + 1);
    for (size_t i = 0; i < t->block; i++) {
        const int magnitude = t->entries[g.index[i / t->cell]] >> (i % t->cell * t->bits) & ((1 << t->bits) - 1);

        p->code[i] = (uint8_t)(magnitude | (g.signs[i / 8] >> i % 8 & 1) * NB_NEGATIVE);
    }
}

/* The index of the entry with the magnitudes of the cell at CODE. */
static uint16_t
index_of(const struct nb_parts_type *t, const uint8_t *code)
{
    uint16_t entry = 0, index = 0;

    for (size_t i = 0; i < t->cell; i++)
        entry = (uint16_t)(entry | (code[i] & ~NB_NEGATIVE) << (i * t->bits));
    while (index + 1 < t->n_entries && t->entries[index] != entry)
        index++;
    return index;
}

void
nb_parts_pack_grid(enum nb_type type, const struct nb_parts_type *t, const struct nb_parts *p, void *block)
{
    struct grid_block g = { .d = nb_f32_to_f16(p->d / t->unit) };

    for (size_t j = 0; j < t->block / t->group; j++)
        g.scale[j] = (uint8_t)((p->scale[j] - 1) / 2);
    for (size_t i = 0; i < t->block; i += t->cell)
        g.index[i / t->cell] = index_of(t, p->code + i);
    for (size_t i = 0; i < t->block; i++)
        g.signs[i / 8] = (uint8_t)(g.signs[i / 8] | (p->code[i] & NB_NEGATIVE ? 1 : 0) << i % 8);
    write_block(type, &g, block);
}
