#include "verify/run/mixture.h"

#include "verify/run/vector_math.h"

#include <stdlib.h>
#include <string.h>

bool
nb_mixture_new(struct nb_mixture *x, const struct nb_model *m, size_t tokens)
{
    x->scores = calloc(tokens, m->experts * sizeof *x->scores);
    x->in = calloc(tokens, m->embedding * sizeof *x->in);
    x->out = calloc(tokens, m->embedding * sizeof *x->out);
    x->tokens = calloc(tokens, sizeof *x->tokens);
    x->shares = calloc(tokens, sizeof *x->shares);
    x->kept = calloc(m->experts, sizeof *x->kept);
    return x->kept != NULL && x->scores != NULL && x->in != NULL && x->out != NULL && x->tokens != NULL &&
           x->shares != NULL;
}

void
nb_mixture_free(struct nb_mixture *x)
{
    free(x->scores);
    free(x->in);
    free(x->out);
    free(x->tokens);
    free(x->shares);
    free(x->kept);
    *x = (struct nb_mixture){ 0 };
}

/* Leaves the USED highest of the N shares, and makes them add up to 1. KEPT is room for N marks. */
static void
keep_highest(float *shares, size_t n, size_t used, bool *kept)
{
    double sum = 0;

    memset(kept, 0, n * sizeof *kept);
    for (size_t k = 0; k < used; k++) {
        size_t best = n;

        for (size_t i = 0; i < n; i++)
            if (!kept[i] && (best == n || shares[i] > shares[best]))
                best = i;
        kept[best] = true;
        sum += (double)shares[best];
    }
    for (size_t i = 0; i < n; i++)
        shares[i] = kept[i] ? (float)((double)shares[i] / sum) : 0;
}

void
nb_mixture_choose(struct nb_mixture *x, const struct nb_model *m, size_t tokens)
{
    for (size_t i = 0; i < tokens; i++) {
        float *scores = x->scores + i * m->experts;

        nb_vector_math()->softmax(scores, m->experts);
        keep_highest(scores, m->experts, m->experts_used, x->kept);
    }
}

size_t
nb_mixture_gather(struct nb_mixture *x, const struct nb_model *m, const float *inputs, size_t tokens, uint32_t expert)
{
    size_t n = 0;

    for (size_t i = 0; i < tokens; i++) {
        const float share = x->scores[i * m->experts + expert];

        if (share == 0)
            continue;
        memcpy(x->in + n * m->embedding, inputs + i * m->embedding, m->embedding * sizeof *inputs);
        x->tokens[n] = (uint32_t)i;
        x->shares[n++] = share;
    }
    return n;
}

void
nb_mixture_scatter(const struct nb_mixture *x, const struct nb_model *m, size_t n, float *to)
{
    for (size_t i = 0; i < n; i++) {
        const float *from = x->out + i * m->embedding;
        float *row = to + (size_t)x->tokens[i] * m->embedding;

        for (size_t c = 0; c < m->embedding; c++)
            row[c] += x->shares[i] * from[c];
    }
}
