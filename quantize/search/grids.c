/*
 * IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS and IQ3_S: signs, and magnitudes that are
 * entries of a codebook times a scale. For each group some scales are tried;
 * each rounds the magnitudes to a point, which is replaced by the nearest entry
 * of the codebook if it is not an entry. Layouts and algorithms: ggml-quants.c
 * of llama.cpp v0.5.0, reproduced to the bit. One lane holds one super-block;
 * the search for the nearest entry has one candidate per lane.
 */
#include "formats/elements/block_layouts.h"
#include "quantize/search/candidates.h"
#include "quantize/search/codebook.h"
#include "quantize/search/encoders.h"
#include "quantize/search/fit.h"
#include "quantize/search/strip.h"

#define MAX_GROUP 32
#define MAX_CELLS 8 /* points per group */
#define MAX_GROUPS 16

/* Which cells are rounded again with the scale that was found. */
enum refit { REFIT_ALWAYS, REFIT_REPLACED, REFIT_ALL_IF_REPLACED };

struct grid_type {
    enum nb_codebook_id codebook;
    int group, cell, levels, bits;
    bool even_signs;     /* each eight weights have an even number of negative signs: the eighth is not stored */
    bool fitted_start;   /* trial scales are around a fit, not around the largest magnitude */
    float flat;          /* groups whose largest magnitude is below this are zero */
    float sigma2_factor; /* with importance: factor of the mean square in the weights */
    float plain_sigma2;  /* without importance a weight is this * sigma2 + x^2 */
    int trials;          /* trial scales are -trials to trials steps from the first one */
    float step;
    enum refit refit;
    float d_factor;
};

/* clang-format off */
static const struct grid_type iq2_xxs = { NB_CODEBOOK_IQ2_XXS, 32, 8, 3, 2, true, true, 1e-15f, 1, 0, 6, 0.1f,
                                          REFIT_ALWAYS, 1 };
static const struct grid_type iq2_xs = { NB_CODEBOOK_IQ2_XS, 16, 8, 3, 2, true, false, 1e-15f, 1, 0, 9, 0.1f,
                                         REFIT_REPLACED, 1 };
static const struct grid_type iq2_s = { NB_CODEBOOK_IQ2_S, 16, 8, 3, 2, false, false, 1e-8f, 2, 0.25f, 9, 0.1f,
                                        REFIT_REPLACED, 0.9875f };
static const struct grid_type iq3_xxs = { NB_CODEBOOK_IQ3_XXS, 32, 4, 8, 3, true, false, 1e-8f, 2, 0, 15, 0.2f,
                                          REFIT_REPLACED, 1.0125f };
static const struct grid_type iq3_s = { NB_CODEBOOK_IQ3_S, 32, 4, 8, 3, false, false, 0, 2, 0, 9, 0.2f,
                                        REFIT_ALL_IF_REPLACED, 1.033f };
/* clang-format on */

#define CELLS(type) ((type)->group / (type)->cell)
#define GROUPS(type) (NB_SUPER_BLOCK / (type)->group)

/* One group per lane, in the form that the search needs. */
struct group {
    lf x[MAX_GROUP]; /* magnitudes; negative if the sign was flipped to make the number of signs even */
    lf w[MAX_GROUP], wx[MAX_GROUP];
    /* The same magnitudes, and the square roots of the weights, by block. */
    float plain_x[NB_LANES][MAX_GROUP], root_w[NB_LANES][MAX_GROUP];
    lu signs;       /* a bit for each negative sign */
    lm flat, small; /* small: trials keep all products below 2^22 */
};

/* The points of a group after a trial. */
struct cells {
    lu code[MAX_CELLS];
    lu replaced; /* bit k: the point of cell k was not an entry */
};

/* The result for a group. */
struct grid_group {
    lf scale;
    lu code[MAX_CELLS], signs;
    lm flat;
};

/* If eight weights have an odd number of negative signs, flips the sign with the smallest cost. */
NB_INLINE void
even_out_signs(const lf *original, struct group *g, int at, lu *bits)
{
    lf least = g->w[at] * original[at] * original[at];
    li where = (li)lu_set1(0), count = (li)(*bits & 1);
    lm odd;

    for (int i = 1; i < 8; i++) {
        const lf cost = g->w[at + i] * original[at + i] * original[at + i];
        const lm less = lf_lt(cost, least);

        least = lf_select(less, cost, least);
        where = li_select(less, (li)lu_set1((uint32_t)i), where);
        count += (li)(*bits >> i & 1);
    }
    odd = li_eq(count & 1, (li)lu_set1(1));
    for (int i = 0; i < 8; i++) {
        const lm flip = lm_and(odd, li_eq(where, (li)lu_set1((uint32_t)i)));

        g->x[at + i] = lf_select(flip, -g->x[at + i], g->x[at + i]);
        *bits ^= (lu)lm_int(flip) << i;
    }
    *bits &= 127;
}

/* The magnitudes and signs of ORIGINAL. */
NB_INLINE void
split_signs(const struct grid_type *type, const lf *original, struct group *g)
{
    const int stored = type->even_signs ? 7 : 8;

    g->signs = lu_set1(0);
    for (int at = 0; at < type->group; at += 8) {
        lu bits = lu_set1(0);

        for (int i = 0; i < 8; i++) {
            const lm minus = lf_lt(original[at + i], lf_set1(0));

            g->x[at + i] = lf_select(minus, -original[at + i], original[at + i]);
            bits |= (lu)lm_int(minus) << i;
        }
        if (type->even_signs)
            even_out_signs(original, g, at, &bits);
        g->signs |= bits << stored * (at / 8);
    }
}

/* Converts from lanes to blocks, for the search among candidates. */
NB_INLINE void
unload_group(const struct grid_type *type, struct group *g)
{
    uint8_t *x[NB_LANES], *w[NB_LANES];
    lf root[MAX_GROUP];
    lu words[MAX_GROUP];

    for (int k = 0; k < NB_LANES; k++) {
        x[k] = (uint8_t *)g->plain_x[k];
        w[k] = (uint8_t *)g->root_w[k];
    }
    for (int i = 0; i < type->group; i++) {
        root[i] = lf_sqrt(g->w[i]);
        g->wx[i] = g->w[i] * g->x[i];
    }
    memcpy(words, g->x, sizeof words);
    lu_store_blocks(x, 0, words, type->group);
    memcpy(words, root, sizeof words);
    lu_store_blocks(w, 0, words, type->group);
}

/* Rounds each cell, with magnitudes times INVERSE, to a point: its number and its code. */
NB_INLINE void
round_to_points(const struct grid_type *type, const struct group *g, lf inverse, const bool small, lu *point, lu *code)
{
    const lf one = lf_set1(1), half = lf_set1(0.5f), top = lf_set1((float)(type->levels - 1));

    for (int c = 0; c < CELLS(type); c++) {
        lf number = lf_set1(0), bits = lf_set1(0);

        for (int i = type->cell - 1; i >= 0; i--) {
            const lf level = nb_level(half * (inverse * g->x[c * type->cell + i] - one), lf_set1(0), top, small);

            number = number * lf_set1((float)type->levels) + level;
            if (type->levels != 1 << type->bits)
                bits = bits * lf_set1((float)(1 << type->bits)) + level;
        }
        point[c] = (lu)lf_to_int(number);
        code[c] = type->levels == 1 << type->bits ? point[c] : (lu)lf_to_int(bits);
    }
}

/* Cells whose point is not an entry: cell * NB_LANES + lane, and their candidate list. */
struct queue {
    uint32_t count;
    struct {
        uint32_t cell, list;
    } item[MAX_CELLS * NB_LANES + 1]; /* one more, since an item is written before it is known to be needed */
};

/* The values of the levels in each lane: levels 0, 1, 2... are 1, 3, 5... times the scale. */
NB_INLINE void
level_values(const struct grid_type *type, lf scale, float values[NB_LANES][8])
{
    uint8_t *to[NB_LANES];
    lf v[8];
    lu words[8];

    for (int k = 0; k < NB_LANES; k++)
        to[k] = (uint8_t *)values[k];
    for (int l = 0; l < 8; l++)
        v[l] = l < type->levels ? scale * lf_set1((float)(2 * l + 1)) : scale;
    memcpy(words, v, sizeof words);
    lu_store_blocks(to, 0, words, type->levels == 8 ? 8 : 4);
}

NB_INLINE void
search_queue(const struct grid_type *type, const struct nb_codebook *book, const struct group *g,
             float values[NB_LANES][8], const struct queue *queue, const bool short_lists, uint32_t *codes)
{
    for (uint32_t i = 0; i < queue->count; i++) {
        const uint32_t cell = queue->item[i].cell, k = cell % NB_LANES, c = cell / NB_LANES;
        const uint32_t list = queue->item[i].list, length = NB_LIST_LENGTH(list);
        const uint16_t *candidates = book->codes + NB_LIST_AT(list);
        const float *x = g->plain_x[k] + c * (uint32_t)type->cell, *w = g->root_w[k] + c * (uint32_t)type->cell;

        codes[cell] = type->cell == 8 ? nb_nearest_of_8(x, w, values[k], candidates, length, short_lists)
                                      : nb_nearest_of_4(x, w, values[k], candidates, length, short_lists);
    }
}

/*
 * Replaces the CODE of each cell whose point is not an entry by that of the
 * nearest entry; only for cells with a bit in WANTED, the others keep their
 * value in OUT. Whether a point is an entry is unpredictable, so cells are
 * first queued without a branch and then searched.
 */
NB_INLINE void
find_codes(const struct grid_type *type, const struct nb_codebook *book, const struct group *g, lf scale,
           const lu *point, const lu *code, lu wanted, struct cells *out)
{
    uint32_t lists[NB_LANES], codes[MAX_CELLS * NB_LANES];
    struct queue quick, slow; /* for short and long candidate lists */
    float values[NB_LANES][8];

    quick.count = slow.count = 0;
    level_values(type, scale, values);
    out->replaced = lu_set1(0);
    for (uint32_t c = 0; c < (uint32_t)CELLS(type); c++) {
        const lm want = lm_not(li_eq((li)(wanted >> c & 1), (li)lu_set1(0)));
        const lu list = (lu)li_select(want, (li)lu_gather(book->lists, point[c]), (li)lu_set1(0));

        out->replaced |= (lu)lm_int(lm_not(li_eq((li)list, (li)lu_set1(0)))) << c;
        lu_store(codes + c * NB_LANES, (lu)li_select(want, (li)code[c], (li)out->code[c]));
        lu_store(lists, list);
        for (uint32_t k = 0; k < NB_LANES; k++) {
            const uint32_t length = NB_LIST_LENGTH(lists[k]), cell = c * NB_LANES + k;

            quick.item[quick.count].cell = slow.item[slow.count].cell = cell;
            quick.item[quick.count].list = slow.item[slow.count].list = lists[k];
            quick.count += length - 1 < NB_SHORT_LIST;
            slow.count += length > NB_SHORT_LIST;
        }
    }
    search_queue(type, book, g, values, &quick, true, codes);
    search_queue(type, book, g, values, &slow, false, codes);
    for (int c = 0; c < CELLS(type); c++)
        out->code[c] = lu_load(codes + c * NB_LANES);
}

/* The sums for the least squares scale of the magnitudes of CODE. */
NB_INLINE void
code_sums(const struct grid_type *type, const struct group *g, const lu *code, lf *qx, lf *q2)
{
    const uint32_t mask = (uint32_t)type->levels == 8 ? 14 : 6;

    *qx = *q2 = lf_set1(0);
    for (int c = 0; c < CELLS(type); c++) {
        const lu doubled = code[c] << 1;

        for (int i = 0; i < type->cell; i++) {
            const int at = c * type->cell + i;
            const lf q = lf_from_int((li)((doubled >> type->bits * i & mask) | 1)); /* 2 level + 1 */

            *qx += g->wx[at] * q;
            *q2 += g->w[at] * q * q;
        }
    }
}

/* The scale around which trials are made, as the largest magnitude that it can represent. */
NB_INLINE lf
trial_range(const struct grid_type *type, struct group *g, lf *scale)
{
    const lf top = lf_set1((float)(2 * type->levels - 1)), limit = lf_set1(2000000.0f);
    lf max = g->x[0], least = g->x[0];
    lm far;

    for (int i = 1; i < type->group; i++) {
        max = lf_max(max, g->x[i]);
        least = lf_min(least, g->x[i]);
    }
    g->flat = type->flat > 0 ? lf_lt(max, lf_set1(type->flat)) : lf_eq(max, lf_set1(0));
    *scale = max / top;
    if (type->fitted_start) {
        li unused[MAX_GROUP];

        *scale = nb_fit_positive(g->x, g->w, type->group, (float)type->levels + 1, unused);
        far = lf_lt(lf_set1((float)type->levels) * *scale * limit, max);
        max = *scale * lf_set1((float)type->levels);
        g->flat = lm_or(g->flat, lf_le(max, lf_set1(0)));
    } else {
        far = lf_lt(limit * max, -least);
    }
    max = lf_select(g->flat, lf_set1(1), max);
    /* An inverse that overflows, and magnitudes far out of range, need the slower rounding. */
    far = lm_or(far, lf_lt(max, lf_set1(1e-30f)));
    far = lm_or(far, lf_lt(limit * max, -least));
    g->small = lm_not(far);
    return max;
}

/* Rounds the cells of the best trial again with its scale, then computes the scale of the result. */
NB_INLINE void
refit(const struct grid_type *type, const struct nb_codebook *book, const struct group *g, struct cells *best,
      lf *scale)
{
    const lu all = lu_set1((1u << CELLS(type)) - 1), none = lu_set1(0);
    const lm positive = lm_and(lf_lt(lf_set1(0), *scale), lm_not(g->flat));
    const lm any = lm_not(li_eq((li)best->replaced, (li)none));
    const lm again = type->refit == REFIT_ALWAYS ? positive : lm_and(positive, any);
    const lu cells = type->refit == REFIT_REPLACED ? best->replaced : all;
    lu point[MAX_CELLS], code[MAX_CELLS];
    lf qx, q2;

    if (!lm_any(again))
        return;
    round_to_points(type, g, lf_set1(1) / lf_select(again, *scale, lf_set1(1)), false, point, code);
    find_codes(type, book, g, *scale, point, code, (lu)li_select(again, (li)cells, (li)none), best);
    code_sums(type, g, best->code, &qx, &q2);
    *scale = lf_select(lm_and(again, lf_lt(lf_set1(0), q2)), qx / q2, *scale);
}

/* Tries all scales for a group. */
NB_INLINE void
fit_group(const struct grid_type *type, const struct nb_codebook *book, struct group *g, struct grid_group *out)
{
    const int n_signs = (type->even_signs ? 7 : 8) * type->group / 8;
    const lu all = lu_set1((1u << CELLS(type)) - 1), sign_mask = lu_set1(n_signs == 32 ? ~0u : (1u << n_signs) - 1);
    lf scale, best_merit = lf_set1(0);
    const lf range = trial_range(type, g, &scale);
    struct cells best, trial;
    lm negative;

    for (int c = 0; c < CELLS(type); c++)
        best.code[c] = lu_set1(0);
    best.replaced = type->refit == REFIT_ALL_IF_REPLACED ? all : lu_set1(0);
    trial = best;
    for (int t = -type->trials; t <= type->trials; t++) {
        const lf inverse = lf_set1((float)(2 * type->levels - 1) + (float)t * type->step) / range;
        lu point[MAX_CELLS], code[MAX_CELLS];
        lf qx, q2;
        lm better;

        if (lm_all(g->small))
            round_to_points(type, g, inverse, true, point, code);
        else
            round_to_points(type, g, inverse, false, point, code);
        find_codes(type, book, g, lf_set1(1) / inverse, point, code, all, &trial);
        code_sums(type, g, trial.code, &qx, &q2);
        better = lm_and(lf_lt(lf_set1(0), q2), lf_lt(best_merit * q2, qx * qx));
        if (!lm_any(better))
            continue;
        scale = lf_select(better, qx / q2, scale);
        best_merit = lf_select(better, scale * qx, best_merit);
        for (int c = 0; c < CELLS(type); c++)
            best.code[c] = (lu)li_select(better, (li)trial.code[c], (li)best.code[c]);
        best.replaced = (lu)li_select(better, (li)trial.replaced, (li)best.replaced);
    }
    refit(type, book, g, &best, &scale);
    negative = lf_lt(scale, lf_set1(0)); /* scales are stored unsigned */
    out->flat = g->flat;
    out->scale = lf_select(g->flat, lf_set1(0), lf_abs(scale));
    out->signs = (lu)li_select(negative, (li)(~g->signs & sign_mask), (li)g->signs);
    out->signs = (lu)li_select(g->flat, (li)lu_set1(0), (li)out->signs);
    for (int c = 0; c < CELLS(type); c++)
        out->code[c] = (lu)li_select(g->flat, (li)lu_set1(0), (li)best.code[c]);
}

NB_INLINE void
load_group(const struct grid_type *type, const struct nb_strip *s, const lf *x, int at, lf sigma2, struct group *g)
{
    lf importance[MAX_GROUP];

    if (s->has_importance) {
        lf_load_blocks(importance, s->importance, (size_t)at, type->group);
        nb_importance_weights(x + at, importance, sigma2, type->group, g->w);
    } else {
        for (int i = 0; i < type->group; i++)
            g->w[i] = type->plain_sigma2 > 0 ? lf_set1(type->plain_sigma2) * sigma2 + x[at + i] * x[at + i]
                                             : x[at + i] * x[at + i];
    }
    split_signs(type, x + at, g);
    unload_group(type, g);
}

/* Converts codes to indices. */
NB_INLINE void
look_up_entries(const struct grid_type *type, const struct nb_codebook *book, struct grid_group *group)
{
    for (int c = 0; c < CELLS(type); c++) {
        uint32_t v[NB_LANES];

        lu_store(v, group->code[c]);
        for (int k = 0; k < NB_LANES; k++)
            v[k] = book->indices[nb_point_of_code(book, v[k])];
        group->code[c] = lu_load(v);
    }
}

/*
 * Encodes all groups of a strip: their codes become indices, SCALE receives the
 * four bits of each scale. Returns d as halves. EMPTY: lanes whose scales are
 * all zero.
 */
NB_INLINE lu
quantize_strip(const struct grid_type *type, const struct nb_strip *s, struct grid_group *group, lu *scale, lm *empty)
{
    const struct nb_codebook *book = nb_codebook_ready(type->codebook);
    lf x[NB_SUPER_BLOCK], sigma2, fitted[MAX_GROUPS];

    lf_load_blocks(x, s->x, 0, NB_SUPER_BLOCK);
    sigma2 = lf_set1(type->sigma2_factor) * nb_sum_of_squares(x, NB_SUPER_BLOCK) / lf_set1(NB_SUPER_BLOCK);
    for (int j = 0; j < GROUPS(type); j++) {
        struct group g;

        load_group(type, s, x, j * type->group, sigma2, &g);
        fit_group(type, book, &g, &group[j]);
        look_up_entries(type, book, &group[j]);
        fitted[j] = group[j].scale;
    }
    return nb_halves(nb_round_odd_scales(fitted, GROUPS(type), 15, scale, empty) * lf_set1(type->d_factor));
}

/* 0 in EMPTY lanes */
NB_INLINE lu
unless(lm empty, lu v)
{
    return (lu)li_select(empty, (li)lu_set1(0), (li)v);
}

NB_INLINE void
encode_iq2_xxs_strip(const struct nb_strip *s)
{
    struct grid_group group[MAX_GROUPS];
    lu scale[MAX_GROUPS], words[16], d;
    lm empty;

    d = quantize_strip(&iq2_xxs, s, group, scale, &empty);
    for (int j = 0; j < 8; j++) {
        words[2 * j] = unless(empty, nb_bytes(group[j].code[0], group[j].code[1], group[j].code[2], group[j].code[3]));
        words[2 * j + 1] = unless(empty, group[j].signs | scale[j] << 28);
    }
    nb_store_u16(s, 0, d);
    lu_store_blocks(s->out, offsetof(struct block_iq2_xxs, qs), words, 16);
}

/* The scales of two adjacent groups share a byte. */
NB_INLINE void
store_scales(const struct nb_strip *s, size_t at, const lu *scale, int groups)
{
    for (int w = 0; w < groups / 8; w++) {
        lu word = lu_set1(0);

        for (int j = 0; j < 8; j++)
            word |= scale[8 * w + j] << 4 * j;
        nb_store_u32(s, at + 4 * (size_t)w, word);
    }
}

NB_INLINE void
encode_iq2_xs_strip(const struct nb_strip *s)
{
    struct grid_group group[MAX_GROUPS];
    lu scale[MAX_GROUPS], words[16], d;
    lm empty;

    d = quantize_strip(&iq2_xs, s, group, scale, &empty);
    for (int j = 0; j < 16; j++)
        words[j] = unless(empty, group[j].code[0] | (group[j].signs & 127) << 9 | group[j].code[1] << 16 |
                                     group[j].signs >> 7 << 25);
    nb_store_u16(s, 0, d);
    lu_store_blocks(s->out, offsetof(struct block_iq2_xs, qs), words, 16);
    store_scales(s, offsetof(struct block_iq2_xs, scales), scale, 16);
}

NB_INLINE void
encode_iq2_s_strip(const struct nb_strip *s)
{
    struct grid_group group[MAX_GROUPS];
    lu scale[MAX_GROUPS], words[16], high[2] = { lu_set1(0), lu_set1(0) }, d;
    lm empty;

    d = quantize_strip(&iq2_s, s, group, scale, &empty);
    for (int j = 0; j < 8; j++) {
        const struct grid_group *a = &group[2 * j], *b = a + 1;

        words[j] = nb_bytes(a->code[0] & 255, a->code[1] & 255, b->code[0] & 255, b->code[1] & 255);
        words[j + 8] = a->signs | b->signs << 16;
        high[j / 4] |= (a->code[0] >> 8 | a->code[1] >> 8 << 2 | b->code[0] >> 8 << 4 | b->code[1] >> 8 << 6)
                       << j % 4 * 8;
    }
    nb_store_u16(s, 0, d);
    lu_store_blocks(s->out, offsetof(struct block_iq2_s, qs), words, 16);
    nb_store_u32(s, offsetof(struct block_iq2_s, qh), high[0]);
    nb_store_u32(s, offsetof(struct block_iq2_s, qh) + 4, high[1]);
    store_scales(s, offsetof(struct block_iq2_s, scales), scale, 16);
}

NB_INLINE void
encode_iq3_xxs_strip(const struct nb_strip *s)
{
    struct grid_group group[MAX_GROUPS];
    lu scale[MAX_GROUPS], words[16], signs[8], d;
    lm empty;

    d = quantize_strip(&iq3_xxs, s, group, scale, &empty);
    for (int j = 0; j < 8; j++) {
        const lu *c = group[j].code;

        words[2 * j] = unless(empty, nb_bytes(c[0], c[1], c[2], c[3]));
        words[2 * j + 1] = unless(empty, nb_bytes(c[4], c[5], c[6], c[7]));
        signs[j] = unless(empty, group[j].signs | scale[j] << 28);
    }
    nb_store_u16(s, 0, d);
    lu_store_blocks(s->out, offsetof(struct block_iq3_xxs, qs), words, 16);
    lu_store_blocks(s->out, offsetof(struct block_iq3_xxs, signs_and_scale), signs, 8);
}

/*
 * The reference does not advance its output for a group of zeros when it stores
 * indices and signs: those of later groups move forward, and the end is filled
 * with zeros. Such a block decodes to wrong weights, but the bytes must be equal
 * to the reference's.
 */
NB_INLINE void
move_up_iq3_s(const struct nb_strip *s, const struct grid_group *group)
{
    uint32_t flat[8][NB_LANES];

    for (int j = 0; j < 8; j++)
        lu_store(flat[j], (lu)lm_int(group[j].flat));
    for (int k = 0; k < NB_LANES; k++) {
        struct block_iq3_s b;
        int to = 0;

        memcpy(&b, s->out[k], sizeof b);
        for (int j = 0; j < 8; j++) {
            if (flat[j][k])
                continue;
            memmove(b.qs + 8 * to, b.qs + 8 * j, 8);
            memmove(b.signs + 4 * to, b.signs + 4 * j, 4);
            to++;
        }
        memset(b.qs + 8 * to, 0, sizeof b.qs - 8 * (size_t)to);
        memset(b.signs + 4 * to, 0, sizeof b.signs - 4 * (size_t)to);
        memcpy(s->out[k], &b, sizeof b);
    }
}

NB_INLINE void
encode_iq3_s_strip(const struct nb_strip *s)
{
    struct grid_group group[MAX_GROUPS];
    lu scale[MAX_GROUPS], words[16], signs[8], high[2] = { lu_set1(0), lu_set1(0) }, d;
    lm empty;
    bool any_flat = false;

    d = quantize_strip(&iq3_s, s, group, scale, &empty);
    for (int j = 0; j < 8; j++) {
        const lu *c = group[j].code;

        any_flat |= lm_any(group[j].flat);
        words[2 * j] = nb_bytes(c[0] & 255, c[1] & 255, c[2] & 255, c[3] & 255);
        words[2 * j + 1] = nb_bytes(c[4] & 255, c[5] & 255, c[6] & 255, c[7] & 255);
        signs[j] = group[j].signs;
        for (int i = 0; i < 8; i++)
            high[j / 4] |= c[i] >> 8 << (j % 4 * 8 + i);
    }
    nb_store_u16(s, 0, d);
    lu_store_blocks(s->out, offsetof(struct block_iq3_s, qs), words, 16);
    nb_store_u32(s, offsetof(struct block_iq3_s, qh), high[0]);
    nb_store_u32(s, offsetof(struct block_iq3_s, qh) + 4, high[1]);
    lu_store_blocks(s->out, offsetof(struct block_iq3_s, signs), signs, 8);
    store_scales(s, offsetof(struct block_iq3_s, scales), scale, 8);
    if (any_flat)
        move_up_iq3_s(s, group);
}

NB_ENCODER(nb_encode_iq2_xxs, NB_SUPER_BLOCK, sizeof(struct block_iq2_xxs), false, strips, encode_iq2_xxs_strip)
NB_ENCODER(nb_encode_iq2_xs, NB_SUPER_BLOCK, sizeof(struct block_iq2_xs), false, strips, encode_iq2_xs_strip)
NB_ENCODER(nb_encode_iq2_s, NB_SUPER_BLOCK, sizeof(struct block_iq2_s), false, strips, encode_iq2_s_strip)
NB_ENCODER(nb_encode_iq3_xxs, NB_SUPER_BLOCK, sizeof(struct block_iq3_xxs), false, strips, encode_iq3_xxs_strip)
NB_ENCODER(nb_encode_iq3_s, NB_SUPER_BLOCK, sizeof(struct block_iq3_s), false, strips, encode_iq3_s_strip)
