#include "verify/run/activations.h"

#include "formats/elements/halves.h"

#include <math.h>

#define BLOCK_Q8_0 32u
#define BLOCK_Q8_K 256u
#define ROWS_IN_TASK 16u

enum nb_rounding
nb_rounding_for(enum nb_type type)
{
    const struct nb_type_info *info = nb_type_info(type);

    if (type == NB_F16)
        return NB_ROUNDING_F16;
    if (type == NB_BF16)
        return NB_ROUNDING_BF16;
    if (info->kind != NB_KIND_BLOCK)
        return NB_ROUNDING_NONE;
    return info->block == BLOCK_Q8_K ? NB_ROUNDING_Q8_K : NB_ROUNDING_Q8_0;
}

/* Compared as integers, which orders floats without a sign, so that compilers vectorize it; NaN is above infinity. */
static float
largest(const float *x, size_t n)
{
    int32_t most = 0;

    for (size_t i = 0; i < n; i++) {
        const int32_t bits = (int32_t)(nb_float_bits(x[i]) & 0x7FFFFFFF);

        most = bits > most ? bits : most;
    }
    return nb_bits_float((uint32_t)most);
}

/* Rounds to the nearest whole number, ties to even, by the precision of a float at 1.5 * 2^23. For |x| below 2^22. */
static float
nearest(float x)
{
    const float shifted = x + 0x1.8p23f;

    return shifted - 0x1.8p23f;
}

/*
 * Levels from -127 to 127. Both kinds multiply by 127 / largest; what differs is the scale by which levels are multiplied
 * afterwards. llama.cpp turns the signs of Q8_K's levels and its scale around, which cancels out.
 */
static void
round_block(const float *x, size_t n, enum nb_rounding rounding, float *out)
{
    const float most = largest(x, n), inverse = 127.0f / most;
    const float scale = rounding == NB_ROUNDING_Q8_K ? 1 / inverse : nb_f16_to_f32(nb_f32_to_f16(most / 127.0f));

    if (!isfinite(inverse) || scale == 0) { /* all zero, or so small that it does not matter; or not finite */
        for (size_t i = 0; i < n; i++)
            out[i] = isfinite(most) ? 0 : NAN;
        return;
    }
    for (size_t i = 0; i < n; i++)
        out[i] = nearest(x[i] * inverse) * scale;
}

void
nb_round_row(enum nb_rounding rounding, const float *x, size_t n, float *out)
{
    const size_t block = rounding == NB_ROUNDING_Q8_K ? BLOCK_Q8_K : BLOCK_Q8_0;

    for (size_t i = 0; i < n; i += block) {
        const size_t length = n - i < block ? n - i : block;

        for (size_t k = i; k < i + length && rounding == NB_ROUNDING_F16; k++)
            out[k] = nb_f16_to_f32(nb_f32_to_f16(x[k]));
        for (size_t k = i; k < i + length && rounding == NB_ROUNDING_BF16; k++)
            out[k] = nb_bf16_to_f32(nb_f32_to_bf16(x[k]));
        for (size_t k = i; k < i + length && rounding == NB_ROUNDING_NONE; k++)
            out[k] = x[k];
        if (rounding == NB_ROUNDING_Q8_0 || rounding == NB_ROUNDING_Q8_K)
            round_block(x + i, length, rounding, out + i);
    }
}

struct rows {
    enum nb_rounding rounding;
    const float *x;
    float *out;
    size_t rows, columns;
};

static enum nb_status
round_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct rows *r = context;
    const size_t first = task * ROWS_IN_TASK;
    const size_t end = r->rows - first < ROWS_IN_TASK ? r->rows : first + ROWS_IN_TASK;

    (void)worker;
    (void)err;
    for (size_t i = first; i < end; i++)
        nb_round_row(r->rounding, r->x + i * r->columns, r->columns, r->out + i * r->columns);
    return NB_OK;
}

enum nb_status
nb_round_rows(enum nb_rounding rounding, const float *x, size_t rows, size_t columns, struct nb_pool *pool, float *out,
              struct nb_error *err)
{
    struct rows r = { rounding, x, out, rows, columns };

    return nb_pool_run(pool, round_task, &r, (rows + ROWS_IN_TASK - 1) / ROWS_IN_TASK, err);
}
