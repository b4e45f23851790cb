#include "verify/run/blocks/attend.h"

#include "formats/base/blas.h"
#include "verify/run/vector_math.h"

#include <math.h>
#include <string.h>

#define QUERIES 128u /* processed at once */

float *
nb_attend_scores(struct nb_scratch *s)
{
    return nb_scratch_take(s, s->threads * QUERIES, s->chunk_tokens + 1); /* one more for a sink */
}

/* The first position that the token at POSITION sees. */
static size_t
first_seen(const struct nb_attend *a, size_t position)
{
    if (a->window == 0)
        return 0;
    if (a->chunked)
        return position - position % (size_t)a->window;
    return position < a->window ? 0 : position - (size_t)a->window + 1;
}

/* The slope of HEAD: a geometric sequence, and one between its terms for heads beyond a power of two. */
static float
alibi_slope(const struct nb_attend *a, size_t head)
{
    uint32_t whole = 1;

    while (whole * 2 <= a->heads)
        whole *= 2;
    return head < whole ? (float)exp2(-a->max_alibi_bias / whole * (double)(head + 1))
                        : (float)exp2(-a->max_alibi_bias / 2 / whole * (double)(2 * (head - whole) + 1));
}

/* Moves those of the N scores in ROW, from position FIRST on, whose bits are in CHOSEN to the front; returns their number. */
static size_t
pack(const uint32_t *chosen, size_t first, size_t n, float *row)
{
    size_t packed = 0;

    for (size_t k = 0; k < n; k++)
        if (chosen[(first + k) / 32] >> (first + k) % 32 & 1)
            row[packed++] = row[k];
    return packed;
}

/* Moves PACKED shares back to their positions; the others are 0. */
static void
unpack(const uint32_t *chosen, size_t first, size_t n, size_t packed, float *row)
{
    for (size_t k = n; k-- > 0;) {
        const bool is_chosen = (chosen[(first + k) / 32] >> (first + k) % 32 & 1) != 0;

        row[k] = is_chosen ? row[--packed] : 0;
    }
}

/*
 * The shares of the keys at positions from START up to SEEN for the query at POSITION, from their scores in ROW.
 */
static void
share_out(const struct nb_attend *a, const uint32_t *chosen, size_t head, size_t position, size_t start, size_t seen,
          float *row)
{
    const struct nb_vector_math *math = nb_vector_math();
    const size_t first = first_seen(a, position) - start, own = position + 1 - start, n = own - first;
    size_t used = n;

    if (a->soft_cap > 0)
        math->soft_cap(row + first, n, a->soft_cap);
    if (a->max_alibi_bias > 0) {
        const float slope = alibi_slope(a, head);

        for (size_t k = first; k < own; k++)
            row[k] += slope * (float)k;
    }
    if (chosen != NULL)
        used = pack(chosen, start + first, n, row + first);
    if (a->sinks != NULL)
        row[first + used] = a->sinks[head];
    if (used + (a->sinks != NULL) > 0)
        math->softmax(row + first, used + (a->sinks != NULL));
    if (chosen != NULL)
        unpack(chosen, start + first, n, used, row + first);
    memset(row, 0, first * sizeof *row);
    memset(row + own, 0, (seen - start - own) * sizeof *row);
}

/* One head's result for ROWS queries, the first of them at POSITION. K and V are those of the chunk and the head. */
static void
attend_rows(const struct nb_run *r, const struct nb_attend *a, const float *q, const float *k, const float *v,
            const uint32_t *chosen, size_t rows, size_t position, size_t chunk, size_t head, float *scores, float *out)
{
    const size_t start = first_seen(a, position), seen = position + rows, row = r->scratch.chunk_tokens + 1;

    nb_sgemm(&(struct nb_sgemm){ .transpose = true,
                                 .m = rows,
                                 .n = seen - start,
                                 .k = a->key_length,
                                 .alpha = a->scale,
                                 .a = q,
                                 .b = k + start * a->k_row,
                                 .c = scores,
                                 .a_row = (size_t)a->heads * a->key_length,
                                 .b_row = a->k_row,
                                 .c_row = row });
    for (size_t i = 0; i < rows; i++)
        share_out(a, chosen == NULL ? NULL : chosen + i * a->chosen_row, head, position + i, start, seen,
                  scores + i * row);
    if (r->observe_shares != NULL)
        r->observe_shares(r->shares_observer, chunk, head, scores, rows, row, start, seen - start);
    nb_sgemm(&(struct nb_sgemm){ .m = rows,
                                 .n = a->value_length,
                                 .k = seen - start,
                                 .alpha = 1,
                                 .a = scores,
                                 .b = v + start * a->v_row,
                                 .c = out,
                                 .a_row = row,
                                 .b_row = a->v_row,
                                 .c_row = (size_t)a->heads * a->value_length });
}

struct step {
    const struct nb_run *run;
    const struct nb_attend *attend;
};

/* One head of one chunk. */
static enum nb_status
attend_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct step *s = context;
    const struct nb_run *r = s->run;
    const struct nb_attend *a = s->attend;
    const size_t head = task % a->heads, chunk = task / a->heads, kv_head = head / (a->heads / a->kv_heads);
    const size_t q_row = (size_t)a->heads * a->key_length, out_row = (size_t)a->heads * a->value_length;
    const float *k = a->k + chunk * r->scratch.chunk_tokens * a->k_row + kv_head * a->key_length;
    const float *v = a->v + chunk * r->scratch.chunk_tokens * a->v_row + kv_head * a->value_length;
    float *scores = a->scores + (size_t)worker * QUERIES * (r->scratch.chunk_tokens + 1);

    (void)err;
    for (size_t i = 0; i < r->each; i += QUERIES) {
        const size_t rows = r->each - i < QUERIES ? r->each - i : QUERIES, token = chunk * r->each + i;

        attend_rows(r, a, a->q + token * q_row + head * a->key_length, k, v,
                    a->chosen == NULL ? NULL : a->chosen + token * a->chosen_row + kv_head * a->chosen_head, rows,
                    r->first + i, chunk, head, scores, a->out + token * out_row + head * a->value_length);
    }
    return NB_OK;
}

enum nb_status
nb_attend(struct nb_run *r, const struct nb_attend *a, struct nb_error *err)
{
    struct step step = { r, a };

    return nb_pool_run(r->pool, attend_task, &step, r->n / r->each * a->heads, err);
}
