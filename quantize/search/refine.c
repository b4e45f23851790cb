#include "quantize/search/refine.h"

#include "formats/base/blas.h"
#include "formats/elements/decode.h"
#include "quantize/search/parts_rows.h"
#include "quantize/search/refiners.h"

#include <string.h>

#define FEW_CHANGES 2000u /* a sweep that changes less than one code in so many is the last */

#define DECLARE(tier)                          \
    extern nb_sweep_fn nb_refine_sweep_##tier; \
    extern nb_feed_fn nb_refine_feed_##tier;
#define SWEEP(tier) nb_refine_sweep_##tier,
#define FEED(tier) nb_refine_feed_##tier,

NB_TIERS(DECLARE)
static nb_sweep_fn *const sweeps[] = { NB_TIERS(SWEEP) };
static nb_feed_fn *const feeds[] = { NB_TIERS(FEED) };

bool
nb_can_refine(const struct nb_encoding *encoding)
{
    struct nb_parts_type parts;

    return nb_rows_parts(encoding, &parts);
}

bool
nb_refine_feeds(const struct nb_encoding *encoding)
{
    struct nb_parts_type parts;

    return nb_rows_parts(encoding, &parts) && parts.cell == 0;
}

/* Rows of lanes: g, w, level and the error; scale, min, d, dmin for groups of 16 at least; a stride and room for four. */
static size_t
lanes(size_t columns)
{
    return 4 * columns + 4 * (columns / 16) + 5 * (size_t)NB_STRIDE_COLUMNS;
}

size_t
nb_refine_memory(size_t columns)
{
    return lanes(columns) * sizeof(nb_lane);
}

/* Returns the memory for the error. */
static nb_lane *
place(struct nb_tile *t, void *memory)
{
    const size_t n = t->refine->columns, groups = n / 16;
    nb_lane *at = memory;

    memset(memory, 0, nb_refine_memory(n));
    t->g = at;
    t->w = t->g + n;
    t->level = t->w + n;
    at = t->level + n;
    t->scale = at + n;
    t->min = t->scale + groups;
    t->d = t->min + groups;
    t->dmin = t->d + groups;
    t->change = t->dmin + groups;
    t->room = t->change + NB_STRIDE_COLUMNS;
    return at;
}

static uint8_t
code_of(const struct nb_parts_type *p, float level)
{
    const float wanted = p->cell > 0 && level < 0 ? -level : level;
    uint8_t code = 0;

    if (p->levels == NULL)
        return (uint8_t)(level - (float)p->first);
    while (code + 1 < p->codes && p->levels[code] < wanted)
        code++;
    return (uint8_t)(p->cell > 0 && level < 0 ? code | NB_NEGATIVE : code);
}

/* Block number BLOCK of row R, which is at FROM. */
static void
load_block(struct nb_tile *t, size_t r, size_t block, const void *from)
{
    const struct nb_parts_type *p = t->parts;
    struct nb_parts parts;

    nb_rows_unpack(t->refine->encoding, from, t->refine->columns, block, &parts);
    t->d[block][r] = parts.d;
    t->dmin[block][r] = parts.dmin;
    for (size_t i = 0; i < p->block; i++) {
        const size_t j = block * p->block + i, group = i / p->group, all = j / p->group;

        t->scale[all][r] = parts.scale[group];
        t->min[all][r] = parts.min[group];
        t->level[j][r] = nb_parts_level(p, parts.code[i]);
        t->w[j][r] = parts.d * (float)parts.scale[group] * t->level[j][r] - parts.dmin * (float)parts.min[group];
    }
}

static void
store_block(const struct nb_tile *t, size_t r, size_t block, void *to)
{
    const struct nb_parts_type *p = t->parts;
    struct nb_parts parts = { .d = t->d[block][r], .dmin = t->dmin[block][r] };

    for (size_t i = 0; i < p->block; i++) {
        const size_t j = block * p->block + i;

        parts.scale[i / p->group] = (int16_t)t->scale[j / p->group][r];
        parts.min[i / p->group] = (int16_t)t->min[j / p->group][r];
        parts.code[i] = code_of(p, t->level[j][r]);
    }
    nb_rows_pack(t->refine->encoding, &parts, to, t->refine->columns, block);
}

/* ERROR = target - w */
static void
find_error(const struct nb_tile *t, const float *target, size_t rows, nb_lane *error)
{
    const size_t n = t->refine->columns;

    for (size_t j = 0; j < n; j++)
        for (size_t r = 0; r < rows; r++)
            error[j][r] = target[r * n + j] - t->w[j][r];
}

/* G = ERROR H */
static void
find_gradient(struct nb_tile *t, nb_lane *error)
{
    const size_t n = t->refine->columns;

    nb_sgemm(&(struct nb_sgemm){ .m = n,
                                 .n = NB_TILE,
                                 .k = n,
                                 .alpha = 1,
                                 .a = t->refine->h,
                                 .b = error[0],
                                 .c = t->g[0],
                                 .a_row = n,
                                 .b_row = NB_TILE,
                                 .c_row = NB_TILE });
}

/* The error of each row, from that of its elements and from their gradients. */
static void
add_up(const struct nb_tile *t, nb_lane *error, double sum[NB_TILE])
{
    memset(sum, 0, NB_TILE * sizeof *sum);
    for (size_t j = 0; j < t->refine->columns; j++)
        for (size_t r = 0; r < NB_TILE; r++)
            sum[r] += (double)t->g[j][r] * (double)error[j][r];
}

static void
descend(struct nb_tile *t, size_t rows)
{
    for (unsigned i = 0; i < t->refine->sweeps; i++) {
        sweeps[nb_tier_index()](t);
        if (t->changed < rows * t->refine->columns / FEW_CHANGES)
            break;
    }
}

void
nb_refine_rows(const struct nb_refine *refine, const float *target, size_t rows, void *blocks, void *memory)
{
    const size_t n = refine->columns, bytes = nb_rows_bytes(refine->encoding, n);
    const size_t in_row = n / refine->encoding->block;
    struct nb_parts_type parts;
    struct nb_tile t = { .refine = refine, .parts = &parts };
    double before[NB_TILE], after[NB_TILE];
    nb_lane *error = place(&t, memory);
    unsigned char *at = blocks;

    if (!nb_rows_parts(refine->encoding, &parts))
        return;
    for (size_t r = 0; r < rows; r++)
        for (size_t b = 0; b < in_row; b++)
            load_block(&t, r, b, at + r * bytes);
    find_error(&t, target, rows, error);
    find_gradient(&t, error);
    add_up(&t, error, before);
    if (refine->feedback != NULL && nb_refine_feeds(refine->encoding)) {
        feeds[nb_tier_index()](&t, error);
        find_gradient(&t, error);
    }
    descend(&t, rows);
    find_error(&t, target, rows, error);
    add_up(&t, error, after);
    for (size_t r = 0; r < rows; r++)
        for (size_t b = 0; b < in_row && after[r] <= before[r]; b++)
            store_block(&t, r, b, at + r * bytes);
}
