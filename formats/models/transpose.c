/*
 * Squares of 8 x 8 elements are loaded by rows and stored by columns. Each store writes only a few
 * bytes of a row, so the number of rows written at once is limited: their cache lines must stay in
 * one set of a first-level cache, even if the row length is a power of two.
 */
#include "formats/models/transpose.h"

#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define SIDE 8u

#define SQUARE(name, element)                                                          \
    static void name(const element *from, uint64_t width, element *to, uint64_t pitch) \
    {                                                                                  \
        element square[SIDE][SIDE], column[SIDE];                                      \
                                                                                       \
        for (size_t i = 0; i < SIDE; i++)                                              \
            memcpy(square[i], from + i * width, sizeof square[i]);                     \
        for (size_t c = 0; c < SIDE; c++) {                                            \
            for (size_t i = 0; i < SIDE; i++)                                          \
                column[i] = square[i][c];                                              \
            memcpy(to + c * pitch, column, sizeof column);                             \
        }                                                                              \
    }

SQUARE(square_1, uint8_t)
SQUARE(square_8, uint64_t)

typedef uint16_t halves __attribute__((vector_size(16)));
typedef uint32_t words __attribute__((vector_size(16)));
typedef uint64_t longs __attribute__((vector_size(16)));

/* Interleave 2-byte, 4-byte and 8-byte units of A and B. */
#define LOW_2(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define HIGH_2(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#define LOW_4(a, b) __builtin_shufflevector((words)(a), (words)(b), 0, 4, 1, 5)
#define HIGH_4(a, b) __builtin_shufflevector((words)(a), (words)(b), 2, 6, 3, 7)
#define LOW_8(a, b) __builtin_shufflevector((longs)(a), (longs)(b), 0, 2)
#define HIGH_8(a, b) __builtin_shufflevector((longs)(a), (longs)(b), 1, 3)

/* A quarter of a square of 4 bytes. */
static inline void
turn_4(const uint32_t *from, uint64_t width, longs column[SIDE / 2])
{
    words r[4], w[4];

    for (size_t i = 0; i < 4; i++)
        memcpy(&r[i], from + i * width, sizeof r[i]);
    for (size_t i = 0; i < 2; i++) {
        w[2 * i] = LOW_4(r[2 * i], r[2 * i + 1]);
        w[2 * i + 1] = HIGH_4(r[2 * i], r[2 * i + 1]);
    }
    for (size_t i = 0; i < 2; i++) {
        column[2 * i] = LOW_8(w[i], w[i + 2]);
        column[2 * i + 1] = HIGH_8(w[i], w[i + 2]);
    }
}

static void
square_4(const uint32_t *from, uint64_t width, uint32_t *to, uint64_t pitch)
{
    for (size_t quarter = 0; quarter < 4; quarter++) {
        uint32_t *out = to + quarter % 2 * 4 * pitch + quarter / 2 * 4;
        longs column[SIDE / 2];

        turn_4(from + quarter / 2 * 4 * width + quarter % 2 * 4, width, column);
        for (size_t c = 0; c < SIDE / 2; c++)
            memcpy(out + c * pitch, &column[c], sizeof column[c]);
    }
}

/* 2 bytes, the size of nearly all weights, have a faster version. COLUMN receives the columns of the square. */
static inline void
turn_2(const uint16_t *from, uint64_t width, longs column[SIDE])
{
    halves r[8], t[8];
    words w[8];

    for (size_t i = 0; i < 8; i++)
        memcpy(&r[i], from + i * width, sizeof r[i]);
    for (size_t i = 0; i < 4; i++) {
        t[2 * i] = LOW_2(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = HIGH_2(r[2 * i], r[2 * i + 1]);
    }
    for (size_t i = 0; i < 2; i++) {
        w[4 * i] = LOW_4(t[4 * i], t[4 * i + 2]);
        w[4 * i + 1] = HIGH_4(t[4 * i], t[4 * i + 2]);
        w[4 * i + 2] = LOW_4(t[4 * i + 1], t[4 * i + 3]);
        w[4 * i + 3] = HIGH_4(t[4 * i + 1], t[4 * i + 3]);
    }
    for (size_t i = 0; i < 4; i++) {
        column[2 * i] = LOW_8(w[i], w[i + 4]);
        column[2 * i + 1] = HIGH_8(w[i], w[i + 4]);
    }
}

static void
square_2(const uint16_t *from, uint64_t width, uint16_t *to, uint64_t pitch)
{
    longs column[SIDE];

    turn_2(from, width, column);
    for (size_t c = 0; c < SIDE; c++)
        memcpy(to + c * pitch, &column[c], sizeof column[c]);
}

/* With stores that bypass the caches, where the processor has them and the alignment allows it. */
static void
square_2_streamed(const uint16_t *from, uint64_t width, uint16_t *to, uint64_t pitch)
{
#ifdef __SSE2__
    longs column[SIDE];

    if ((uintptr_t)to % sizeof column[0] == 0 && pitch % SIDE == 0) {
        turn_2(from, width, column);
        for (size_t c = 0; c < SIDE; c++)
            _mm_stream_si128((__m128i *)(void *)(to + c * pitch), (__m128i)column[c]);
        return;
    }
#endif
    square_2(from, width, to, pitch);
}

static void
square_4_streamed(const uint32_t *from, uint64_t width, uint32_t *to, uint64_t pitch)
{
#ifdef __SSE2__
    if ((uintptr_t)to % sizeof(longs) == 0 && pitch % (SIDE / 2) == 0) {
        for (size_t quarter = 0; quarter < 4; quarter++) {
            uint32_t *out = to + quarter / 2 * 4 * pitch + quarter % 2 * 4;
            longs column[SIDE / 2];

            turn_4(from + quarter % 2 * 4 * width + quarter / 2 * 4, width, column);
            for (size_t c = 0; c < SIDE / 2; c++)
                _mm_stream_si128((__m128i *)(void *)(out + c * pitch), (__m128i)column[c]);
        }
        return;
    }
#endif
    square_4(from, width, to, pitch);
}

static void
end_streaming(void)
{
#ifdef __SSE2__
    _mm_sfence(); /* other threads see the stores after the next lock */
#endif
}

#define TRANSPOSE(name, element, square)                                                                          \
    static void name(const element *from, uint64_t width, uint64_t rows, uint64_t n, element *to, uint64_t pitch) \
    {                                                                                                             \
        for (uint64_t c = 0; c < n; c += SIDE) {                                                                  \
            const uint64_t k = n - c < SIDE ? n - c : SIDE;                                                       \
            uint64_t i = 0;                                                                                       \
                                                                                                                  \
            for (; k == SIDE && i + SIDE <= rows; i += SIDE)                                                      \
                square(from + i * width + c, width, to + c * pitch + i, pitch);                                   \
            for (; i < rows; i++)                                                                                 \
                for (uint64_t x = c; x < c + k; x++)                                                              \
                    to[x * pitch + i] = from[i * width + x];                                                      \
        }                                                                                                         \
    }

TRANSPOSE(transpose_1, uint8_t, square_1)
TRANSPOSE(transpose_2, uint16_t, square_2)
TRANSPOSE(transpose_2_streamed, uint16_t, square_2_streamed)
TRANSPOSE(transpose_4, uint32_t, square_4)
TRANSPOSE(transpose_4_streamed, uint32_t, square_4_streamed)
TRANSPOSE(transpose_8, uint64_t, square_8)

void
nb_transpose(const struct nb_matrix *m, uint64_t column, uint64_t n, unsigned char *to, uint64_t pitch, bool streamed)
{
    const void *from = m->from + column * m->size;
    void *out = to;

    switch (m->size) {
    case 1:
        transpose_1(from, m->width, m->rows, n, out, pitch);
        break;
    case 2:
        (streamed ? transpose_2_streamed : transpose_2)(from, m->width, m->rows, n, out, pitch);
        break;
    case 4:
        (streamed ? transpose_4_streamed : transpose_4)(from, m->width, m->rows, n, out, pitch);
        break;
    default:
        transpose_8(from, m->width, m->rows, n, out, pitch);
        break;
    }
    if (streamed)
        end_streaming();
}
