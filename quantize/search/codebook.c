#include "quantize/search/codebook.h"

#include "formats/elements/codebooks.h"

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#define TWO_BIT_POINTS 6561   /* 3^8 */
#define THREE_BIT_POINTS 4096 /* 8^4 */
#define MAX_SIZE 2048
#define MAX_HALVES 256 /* codes of half a point */
#define MAX_DISTANCE 196

/* The sizes of the candidate lists follow from the entries; tests/test_golden_vectors.c checks them. */
static uint32_t lists_iq2_xxs[TWO_BIT_POINTS], lists_iq2_xs[TWO_BIT_POINTS], lists_iq2_s[TWO_BIT_POINTS],
    lists_iq1[TWO_BIT_POINTS], lists_iq3_xxs[THREE_BIT_POINTS], lists_iq3_s[THREE_BIT_POINTS];
static uint16_t indices_iq2_xxs[TWO_BIT_POINTS], indices_iq2_xs[TWO_BIT_POINTS], indices_iq2_s[TWO_BIT_POINTS],
    indices_iq1[TWO_BIT_POINTS], indices_iq3_xxs[THREE_BIT_POINTS], indices_iq3_s[THREE_BIT_POINTS];
static uint16_t codes_iq2_xxs[161136], codes_iq2_xs[230560], codes_iq2_s[100576], codes_iq1[362352],
    codes_iq3_xxs[62432], codes_iq3_s[59296];

/* clang-format off */
#define BOOK(dimensions, levels, bits, rings, name)                                                                   \
    { dimensions, levels, bits, (int)(sizeof nb_grid_##name / sizeof *nb_grid_##name), rings, nb_grid_##name,         \
      lists_##name, indices_##name, codes_##name, (uint32_t)(sizeof codes_##name / sizeof *codes_##name) }

static const struct nb_codebook books[NB_CODEBOOKS] = {
    [NB_CODEBOOK_IQ2_XXS] = BOOK(8, 3, 2, 2, iq2_xxs),
    [NB_CODEBOOK_IQ2_XS] = BOOK(8, 3, 2, 2, iq2_xs),
    [NB_CODEBOOK_IQ2_S] = BOOK(8, 3, 2, 1, iq2_s),
    [NB_CODEBOOK_IQ1] = BOOK(8, 3, 2, 3, iq1),
    [NB_CODEBOOK_IQ3_XXS] = BOOK(4, 8, 3, 2, iq3_xxs),
    [NB_CODEBOOK_IQ3_S] = BOOK(4, 8, 3, 3, iq3_s),
};
/* clang-format on */

/* Squared distances between half codes. */
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
 * Writes the entries at the smallest distances from CODE, nearest first, then in
 * codebook order. Returns their number.
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
        book->indices[p] = UINT16_MAX;
    for (int j = 0; j < book->size; j++)
        book->indices[nb_point_of_code(book, book->entries[j])] = (uint16_t)j;
    for (uint32_t p = 0; p < n_points; p++) {
        uint16_t list[MAX_SIZE];
        uint32_t n;

        book->lists[p] = 0;
        if (book->indices[p] != UINT16_MAX)
            continue;
        n = list_candidates(book, &halves, code_of_point(book, p), list);
        book->lists[p] = at << NB_LIST_BITS | n;
        while (n % NB_CANDIDATES != 0)
            list[n++] = list[0];
        assert(at + n <= book->n_codes);
        memcpy(book->codes + at, list, n * sizeof *list);
        at += n;
    }
    assert(at == book->n_codes);
}

#define PREPARE(name, id)    \
    static void name(void)   \
    {                        \
        prepare(&books[id]); \
    }

PREPARE(prepare_iq2_xxs, NB_CODEBOOK_IQ2_XXS)
PREPARE(prepare_iq2_xs, NB_CODEBOOK_IQ2_XS)
PREPARE(prepare_iq2_s, NB_CODEBOOK_IQ2_S)
PREPARE(prepare_iq1, NB_CODEBOOK_IQ1)
PREPARE(prepare_iq3_xxs, NB_CODEBOOK_IQ3_XXS)
PREPARE(prepare_iq3_s, NB_CODEBOOK_IQ3_S)

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
