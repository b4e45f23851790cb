#include "verify/drift/prediction.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#define ENTRY_BYTES 5u /* of a token in a saved base, at most on average (saved_base.c) */
#define OTHER_BYTES 96u
#define LEAST_TOKENS 16u
#define LEAST_REST 1e-7 /* what float logits say of a sum of probabilities near 1 is not more exact */

uint32_t
nb_prediction_capacity(uint32_t vocab)
{
    const uint32_t bytes = vocab / 10, fit = bytes < OTHER_BYTES ? 0 : (bytes - OTHER_BYTES) / ENTRY_BYTES;

    return fit < LEAST_TOKENS ? LEAST_TOKENS : fit > UINT16_MAX ? UINT16_MAX : fit;
}

static bool
is_likelier(const struct nb_candidate *a, const struct nb_candidate *b)
{
    return a->logit > b->logit || (a->logit == b->logit && a->id < b->id);
}

/* Puts the first element of a heap, whose first is the least likely, in its place. */
static void
sift(struct nb_candidate *heap, size_t n)
{
    const struct nb_candidate moved = heap[0];
    size_t at = 0;

    for (size_t child = 1; child < n; at = child, child = 2 * at + 1) {
        child += child + 1 < n && is_likelier(&heap[child], &heap[child + 1]);
        if (!is_likelier(&moved, &heap[child]))
            break;
        heap[at] = heap[child];
    }
    heap[at] = moved;
}

static int
likeliest_first(const void *a, const void *b)
{
    return is_likelier(a, b) ? -1 : is_likelier(b, a);
}

static int
by_id(const void *a, const void *b)
{
    const uint32_t x = ((const struct nb_candidate *)a)->id, y = ((const struct nb_candidate *)b)->id;

    return x < y ? -1 : x > y;
}

/* Fills BEST with the likeliest COUNT of VOCAB tokens, the likeliest first. */
static void
choose(const float *logits, uint32_t vocab, struct nb_candidate *best, uint32_t count)
{
    /* A sorted array is a heap, too. */
    for (uint32_t i = 0; i < count; i++)
        best[i] = (struct nb_candidate){ logits[i], i };
    qsort(best, count, sizeof *best, likeliest_first);
    for (uint32_t i = 0; i < count / 2; i++) {
        const struct nb_candidate likely = best[i];

        best[i] = best[count - 1 - i];
        best[count - 1 - i] = likely;
    }
    for (uint32_t i = count; i < vocab; i++) {
        if (!(logits[i] > best[0].logit))
            continue;
        best[0] = (struct nb_candidate){ logits[i], i };
        sift(best, count);
    }
    qsort(best, count, sizeof *best, likeliest_first);
}

/* How many of the COUNT likeliest tokens leave others out that do not matter; COUNT + 1 if they do. */
static uint32_t
enough(const struct nb_candidate *best, uint32_t count, double log_sum)
{
    double rest = 1;

    for (uint32_t i = 0; i < count; i++) {
        rest -= exp((double)best[i].logit - log_sum);
        if (rest < NB_PREDICTION_REST)
            return i + 1;
    }
    return count + 1;
}

/* A number from 0 to 1 that SEED decides: multiples of the golden ratio are spread evenly. */
static double
fraction(uint64_t seed)
{
    return (double)(seed * 0x9E3779B97F4A7C15u >> 11) * 0x1p-53;
}

/*
 * Draws OUT->sampled of the tokens that are less likely than LAST: their probabilities laid end to end, those that stand at
 * places of equal distance, so that the sample has of all sorts what there is of them.
 */
static void
sample(const float *logits, uint32_t vocab, double log_sum, const struct nb_candidate *last, uint64_t seed,
       struct nb_prediction *out)
{
    const double step = (double)out->rest / out->sampled, offset = fraction(seed);
    const uint32_t wanted = out->sampled;
    double reached = 0;

    out->sampled = 0;
    for (uint32_t i = 0; i < vocab && out->sampled < wanted; i++) {
        const struct nb_candidate token = { logits[i], i };

        if (!is_likelier(last, &token))
            continue;
        reached += exp((double)logits[i] - log_sum);
        while (out->sampled < wanted && (out->sampled + offset) * step < reached) {
            out->id[out->listed + out->sampled] = i;
            out->log_p[out->listed + out->sampled++] = (float)((double)logits[i] - log_sum);
        }
    }
}

void
nb_predict(const float *logits, uint32_t vocab, double log_sum, int32_t truth, uint64_t seed, struct nb_candidate *room,
           struct nb_prediction *out)
{
    const uint32_t capacity = nb_prediction_capacity(vocab), most = capacity < vocab ? capacity : vocab;
    struct nb_candidate last;
    double rest = 1;

    choose(logits, vocab, room, most);
    out->nll = (float)(log_sum - (double)logits[truth]);
    out->top = (int32_t)room[0].id;
    out->listed = enough(room, most, log_sum);
    out->sampled = 0;
    if (out->listed > most) {
        out->listed = most == vocab ? vocab : capacity / 2;
        out->sampled = most == vocab ? 0 : capacity - capacity / 2;
    }
    last = room[out->listed - 1];
    qsort(room, out->listed, sizeof *room, by_id);
    for (uint32_t i = 0; i < out->listed; i++) {
        out->id[i] = room[i].id;
        out->log_p[i] = (float)((double)room[i].logit - log_sum);
        rest -= exp((double)out->log_p[i]);
    }
    out->rest = rest > 0 && out->listed < vocab ? (float)rest : 0;
    if (out->sampled > 0)
        sample(logits, vocab, log_sum, &last, seed, out);
}

/*
 * The divergence of the listed tokens and of all others as one, and what the others differ among themselves: with r = the
 * ratio of their probabilities among the others, the mean under P of -ln r, or of r - 1 - ln r, since the mean of r is 1.
 * The latter is nowhere negative and varies far less from token to token.
 */
double
nb_prediction_kld(const struct nb_prediction *p, const float *logits, double log_sum)
{
    double sum = 0, other = 1, within = 0;

    for (uint32_t i = 0; i < p->listed; i++) {
        const double log_p = (double)p->log_p[i], log_q = (double)logits[p->id[i]] - log_sum;

        sum += exp(log_p) * (log_p - log_q);
        other -= exp(log_q);
    }
    if (!(p->rest > 0))
        return sum > 0 ? sum : 0; /* probabilities are saved rounded */
    other = other > LEAST_REST ? other : LEAST_REST;
    for (uint32_t i = p->listed; i < p->listed + p->sampled; i++) {
        const double log_r = (double)logits[p->id[i]] - log_sum - log(other) - (double)p->log_p[i] +
                             log((double)p->rest);

        within += expm1(log_r) - log_r;
    }
    if (p->sampled > 0)
        sum += (double)p->rest * within / p->sampled;
    sum += (double)p->rest * log((double)p->rest / other);
    return sum > 0 ? sum : 0;
}
