#include "codebook.h"

#include "../data/iq_codebooks.h"

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#define TWO_BIT_POINTS 6561   /* 3^8 */
#define THREE_BIT_POINTS 4096 /* 8^4 */
#define MAX_SIZE 2048
#define MAX_HALVES 256  /* codes of half a point */
#define MAX_DISTANCE 196

/* The sizes of the candidate lists follow from the entries; tests/test_codebooks.c holds them against that. */
static struct nb_point points_iq2_xxs[TWO_BIT_POINTS], points_iq2_xs[TWO_BIT_POINTS], points_iq2_s[TWO_BIT_POINTS],
    points_iq1[TWO_BIT_POINTS], points_iq3_xxs[THREE_BIT_POINTS], points_iq3_s[THREE_BIT_POINTS];
static uint16_t codes_iq2_xxs[161392], codes_iq2_xs[231072], codes_iq2_s[101600], codes_iq1[364400], codes_iq3_xxs[62688],
    codes_iq3_s[59808];

#define BOOK(dimensions, levels, bits, rings, grid, points, codes) \
    { dimensions, levels, bits, (int)(sizeof grid / sizeof *grid), rings, grid, points, codes, \
      (uint32_t)(sizeof codes / sizeof *codes) }

static const struct nb_codebook books[NB_CODEBOOKS] = {
    [NB_CODEBOOK_IQ2_XXS] = BOOK(8, 3, 2, 2, nb_grid_iq2_xxs, points_iq2_xxs, codes_iq2_xxs),
    [NB_CODEBOOK_IQ2_XS] = BOOK(8, 3, 2, 2, nb_grid_iq2_xs, points_iq2_xs, codes_iq2_xs),
    [NB_CODEBOOK_IQ2_S] = BOOK(8, 3, 2, 1, nb_grid_iq2_s, points_iq2_s, codes_iq2_s),
    [NB_CODEBOOK_IQ1] = BOOK(8, 3, 2, 3, nb_grid_iq1, points_iq1, codes_iq1),
    [NB_CODEBOOK_IQ3_XXS] = BOOK(4, 8, 3, 2, nb_grid_iq3_xxs, points_iq3_xxs, codes_iq3_xxs),
    [NB_CODEBOOK_IQ3_S] = BOOK(4, 8, 3, 3, nb_grid_iq3_s, points_iq3_s, codes_iq3_s),
};

/* Squared distances between halves of codes. */
struct halves {
    int bits;
    uint32_t mask;
    uint8_t distance[MAX_HALVES][MAX_HALVES];
};

static void
measure_halves(const struct nb_codebook *book, struct halves *h)
{
    const int n = book->dimensions / 2;
    const uint32_t level = (1u << book->bits) - 1;

    h->bits = n * book->bits;
    h->mask = (1u << h->bits) - 1;
    for (uint32_t a = 0; a <= h->mask; a++) {
        for (uint32_t b = 0; b <= h->mask; b++) {
            int sum = 0;

            for (int i = 0; i < n; i++) {
                const int d = (int)(a >> (book->bits * i) & level) - (int)(b >> (book->bits * i) & level);

                sum += d * d;
            }
            h->distance[a][b] = (uint8_t)sum;
        }
    }
}

static uint32_t
code_of_point(const struct nb_codebook *book, uint32_t point)
{
    uint32_t code = 0;

    for (int i = 0; i < book->dimensions; i++, point /= (uint32_t)book->levels)
        code |= point % (uint32_t)book->levels << (book->bits * i);
    return code;
}

/*
 * Writes the entries at the smallest distances from CODE, nearest first, equally
 * near ones in the order of the book. Returns how many.
 */
static uint32_t
list_candidates(const struct nb_codebook *book, const struct halves *h, uint32_t code, uint16_t *out)
{
    const uint8_t *low = h->distance[code & h->mask], *high = h->distance[code >> h->bits];
    uint8_t distance[MAX_SIZE];
    bool seen[MAX_DISTANCE + 1] = { false };
    uint32_t n = 0;
    int rings = 0;

    for (int j = 0; j < book->size; j++) {
        const uint32_t entry = book->entries[j];

        distance[j] = (uint8_t)(low[entry & h->mask] + high[entry >> h->bits]);
        seen[distance[j]] = true;
    }
    for (int d = 0; d <= MAX_DISTANCE && rings < book->rings; d++) {
        if (!seen[d])
            continue;
        rings++;
        for (int j = 0; j < book->size; j++)
            if (distance[j] == d)
                out[n++] = book->entries[j];
    }
    return n;
}

static void
prepare(const struct nb_codebook *book)
{
    const uint32_t n_points = book->levels == 3 ? TWO_BIT_POINTS : THREE_BIT_POINTS;
    struct halves halves;
    uint32_t at = 0;

    measure_halves(book, &halves);
    for (uint32_t p = 0; p < n_points; p++)
        book->points[p].entry = UINT16_MAX;
    for (int j = 0; j < book->size; j++)
        book->points[nb_point_of_code(book, book->entries[j])].entry = (uint16_t)j;
    for (uint32_t p = 0; p < n_points; p++) {
        struct nb_point *point = &book->points[p];
        uint16_t list[MAX_SIZE];
        uint32_t n = 1;

        list[0] = (uint16_t)code_of_point(book, p);
        if (point->entry == UINT16_MAX) {
            n = list_candidates(book, &halves, list[0], list);
            point->count = (uint16_t)n;
            while (n % NB_CANDIDATES != 0)
                list[n++] = list[0];
        }
        assert(at + n <= book->n_codes);
        point->at = at;
        memcpy(book->codes + at, list, n * sizeof *list);
        at += n;
    }
    assert(at == book->n_codes);
}

#define PREPARE(name, id) \
    static void name(void) { prepare(&books[id]); }

PREPARE(prepare_iq2_xxs, NB_CODEBOOK_IQ2_XXS)
PREPARE(prepare_iq2_xs, NB_CODEBOOK_IQ2_XS)
PREPARE(prepare_iq2_s, NB_CODEBOOK_IQ2_S)
PREPARE(prepare_iq1, NB_CODEBOOK_IQ1)
PREPARE(prepare_iq3_xxs, NB_CODEBOOK_IQ3_XXS)
PREPARE(prepare_iq3_s, NB_CODEBOOK_IQ3_S)

const struct nb_codebook *
nb_codebook(enum nb_codebook_id id)
{
    return &books[id];
}

const struct nb_codebook *
nb_codebook_ready(enum nb_codebook_id id)
{
    static pthread_once_t once[NB_CODEBOOKS] = { PTHREAD_ONCE_INIT, PTHREAD_ONCE_INIT, PTHREAD_ONCE_INIT,
                                                 PTHREAD_ONCE_INIT, PTHREAD_ONCE_INIT, PTHREAD_ONCE_INIT };
    static void (*const prepare_book[NB_CODEBOOKS])(void) = {
        [NB_CODEBOOK_IQ2_XXS] = prepare_iq2_xxs, [NB_CODEBOOK_IQ2_XS] = prepare_iq2_xs,
        [NB_CODEBOOK_IQ2_S] = prepare_iq2_s,     [NB_CODEBOOK_IQ1] = prepare_iq1,
        [NB_CODEBOOK_IQ3_XXS] = prepare_iq3_xxs, [NB_CODEBOOK_IQ3_S] = prepare_iq3_s,
    };

    pthread_once(&once[id], prepare_book[id]);
    return &books[id];
}
