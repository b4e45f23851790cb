#include "calib/importance_stats.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ACTIVE 1e-5 /* llama-imatrix's threshold */

/* Iterates over the columns of an entry that received tokens. */
struct walk {
    const struct nb_imatrix_entry *e;
    uint64_t at;
};

static bool
next_value(struct walk *w, double *value)
{
    const uint64_t columns = w->e->count / w->e->rows;

    while (w->at < w->e->count && w->e->tokens[w->at / columns] == 0)
        w->at += columns;
    if (w->at >= w->e->count)
        return false;
    *value = (double)w->e->values[w->at++];
    return true;
}

/* The same tensor of the previous layer, or NULL. */
static const struct nb_imatrix_entry *
previous(const struct nb_imatrix *m, const struct nb_imatrix_entry *e)
{
    unsigned long layer;
    char *end, name[256];

    if (strncmp(e->name, "blk.", 4) != 0)
        return NULL;
    layer = strtoul(e->name + 4, &end, 10);
    if (end == e->name + 4 || layer == 0 || *end != '.')
        return NULL;
    snprintf(name, sizeof name, "blk.%lu%s", layer - 1, end);
    return nb_imatrix_find(m, name);
}

static double
cosine(const struct nb_imatrix_entry *a, const struct nb_imatrix_entry *b)
{
    double product = 0, x = 0, y = 0;

    if (b == NULL || a->count != b->count)
        return NAN;
    for (uint64_t i = 0; i < a->count; i++) {
        product += (double)a->values[i] * (double)b->values[i];
        x += (double)a->values[i] * (double)a->values[i];
        y += (double)b->values[i] * (double)b->values[i];
    }
    return x > 0 && y > 0 ? product / sqrt(x * y) : NAN;
}

void
nb_importance_stats(const struct nb_imatrix *m, const struct nb_imatrix_entry *e, struct nb_importance_stats *out)
{
    double squares = 0, value, n;
    uint64_t active = 0, outliers = 0;

    *out = (struct nb_importance_stats){ .min = INFINITY, .max = -INFINITY, .similarity = cosine(e, previous(m, e)) };
    for (struct walk w = { .e = e }; next_value(&w, &value);) {
        out->columns++;
        out->sum += value;
        squares += value * value;
        out->min = fmin(out->min, value);
        out->max = fmax(out->max, value);
        active += value > ACTIVE;
    }
    if (out->columns == 0) {
        out->min = out->max = 0;
        return;
    }
    n = (double)out->columns;
    out->mean = out->sum / n;
    out->deviation = sqrt(fmax(0, squares / n - out->mean * out->mean));
    out->active = (double)active / n;
    for (struct walk w = { .e = e }; next_value(&w, &value);) {
        const double share = out->sum > 0 ? value / out->sum : 0;

        out->entropy -= share > 0 ? share * log2(share) : 0;
        outliers += out->deviation > 0 && (value - out->mean) / out->deviation > 1;
    }
    out->normalized_entropy = n > 1 ? out->entropy / log2(n) : 0;
    out->outliers = (double)outliers / n;
}
