#include "cli/inspect_tensor.h"

#include "cli/cli.h"
#include "cli/model_summary.h"
#include "formats/base/status.h"
#include "formats/elements/decode.h"
#include "formats/elements/types.h"
#include "formats/models/source.h"
#include "formats/models/view.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TILE 65536u /* elements at a time, a multiple of every block */
#define BINS 24u
#define BAR 50
#define WORST 8u

struct statistics {
    uint64_t finite, not_finite, zeros;
    double sum, squares, min, max;
    double low, high; /* of the histogram: four deviations, within what there is */
    uint64_t bins[BINS], below, above;
    struct {
        uint64_t at;
        double value;
    } worst[WORST]; /* the largest magnitudes first */
};

typedef void visit(struct statistics *s, double value, uint64_t at);

static void
visit_first(struct statistics *s, double v, uint64_t at)
{
    unsigned k = WORST;

    if (!isfinite(v)) {
        s->not_finite++;
        return;
    }
    if (s->finite++ == 0)
        s->min = s->max = v;
    s->zeros += v >= 0 && v <= 0;
    s->sum += v;
    s->squares += v * v;
    s->min = fmin(s->min, v);
    s->max = fmax(s->max, v);
    while (k > 0 && (s->finite <= k || fabs(v) > fabs(s->worst[k - 1].value)))
        k--;
    if (k == WORST)
        return;
    memmove(&s->worst[k + 1], &s->worst[k], (WORST - 1 - k) * sizeof s->worst[0]);
    s->worst[k].at = at;
    s->worst[k].value = v;
}

static void
visit_second(struct statistics *s, double v, uint64_t at)
{
    const double width = (s->high - s->low) / BINS;
    unsigned bin;

    (void)at;
    if (!isfinite(v))
        return;
    if (v < s->low) {
        s->below++;
    } else if (v > s->high) {
        s->above++;
    } else {
        bin = width > 0 ? (unsigned)((v - s->low) / width) : 0;
        s->bins[bin < BINS ? bin : BINS - 1]++;
    }
}

static enum nb_status
walk(const struct nb_view *t, visit *each, struct statistics *s, struct nb_error *err)
{
    float *values = malloc(TILE * sizeof *values);
    struct nb_view_reader reader = { 0 };
    enum nb_status status = values == NULL ? nb_fail_memory(err) : NB_OK;

    for (uint64_t at = 0; at < t->elements && status == NB_OK; at += TILE) {
        const uint64_t left = t->elements - at, n = left < TILE ? left : TILE;

        status = nb_view_fetch(t, at, n, &reader, err);
        if (status != NB_OK)
            break;
        nb_view_decode(t, &reader, 0, n, values);
        for (uint64_t i = 0; i < n; i++)
            each(s, (double)values[i], at + i);
    }
    free(values);
    nb_view_reader_free(&reader);
    return status;
}

static double
mean(const struct statistics *s)
{
    return s->finite == 0 ? 0 : s->sum / (double)s->finite;
}

static double
deviation(const struct statistics *s)
{
    return s->finite == 0 ? 0 : sqrt(fmax(0, s->squares / (double)s->finite - mean(s) * mean(s)));
}

static void
print_histogram(const struct statistics *s)
{
    uint64_t most = 1;

    for (unsigned i = 0; i < BINS; i++)
        most = s->bins[i] > most ? s->bins[i] : most;
    cli_print("\n%12s  %10s\n", "from", "elements");
    if (s->below > 0)
        cli_print("%12s  %10" PRIu64 "\n", "below", s->below);
    for (unsigned i = 0; i < BINS; i++) {
        cli_print("%12.5g  %10" PRIu64 "  ", s->low + (s->high - s->low) * i / BINS, s->bins[i]);
        for (int k = 0; k < (int)((double)s->bins[i] * BAR / (double)most + 0.5); k++)
            cli_print("#");
        cli_print("\n");
    }
    if (s->above > 0)
        cli_print("%12s  %10" PRIu64 "\n", "above", s->above);
}

static void
print_worst(const struct nb_view *t, const struct statistics *s)
{
    cli_print("\nlargest magnitudes\n");
    for (unsigned i = 0; i < WORST && i < s->finite; i++)
        cli_print("  %12.6g  row %" PRIu64 ", column %" PRIu64 "\n", s->worst[i].value, s->worst[i].at / t->ne[0],
                  s->worst[i].at % t->ne[0]);
}

static int
print_text(const struct nb_view *t, const struct statistics *s)
{
    char shape[CLI_TEXT], bytes[CLI_TEXT];

    cli_print("%s: %s, %s, %s at byte %" PRIu64 "\n", t->name, storage_name(t), cli_shape(shape, t),
              cli_bytes(bytes, (double)nb_source_stored_bytes(t)), nb_view_offset(t));
    cli_print("  mean %.6g, deviation %.6g, root mean square %.6g\n  from %.6g to %.6g\n", mean(s), deviation(s),
              s->finite == 0 ? 0 : sqrt(s->squares / (double)s->finite), s->min, s->max);
    cli_print("  %" PRIu64 " of %" PRIu64 " elements are zero (%.2f %%)", s->zeros, t->elements,
              100.0 * (double)s->zeros / (double)t->elements);
    if (s->not_finite > 0)
        cli_print(", %" PRIu64 " are NaN or infinite", s->not_finite);
    cli_print("\n");
    print_histogram(s);
    print_worst(t, s);
    return cli_finish();
}

static int
print_json(const struct nb_view *t, const struct statistics *s)
{
    json_t *shape = cli_json_array(), *bins = cli_json_array(), *worst = cli_json_array();

    for (uint32_t i = 0; i < t->n_dims; i++)
        cli_json_add(shape, cli_json_integer((json_int_t)t->ne[i]));
    for (unsigned i = 0; i < BINS; i++)
        cli_json_add(bins, cli_json_integer((json_int_t)s->bins[i]));
    for (unsigned i = 0; i < WORST && i < s->finite; i++)
        cli_json_add(worst, cli_json("{s:I, s:f}", "element", (json_int_t)s->worst[i].at, "value", s->worst[i].value));
    return cli_print_json(cli_json(
        "{s:s, s:s, s:o, s:I, s:I, s:f, s:f, s:f, s:f, s:I, s:I, s:{s:f, s:f, s:I, s:I, s:o}, s:o}", "name", t->name,
        "type", storage_name(t), "shape", shape, "bytes", (json_int_t)nb_source_stored_bytes(t), "offset",
        (json_int_t)nb_view_offset(t), "mean", mean(s), "deviation", deviation(s), "min", s->min, "max", s->max,
        "zeros", (json_int_t)s->zeros, "not_finite", (json_int_t)s->not_finite, "histogram", "from", s->low, "to",
        s->high, "below", (json_int_t)s->below, "above", (json_int_t)s->above, "counts", bins, "largest", worst));
}

int
inspect_tensor(const struct nb_source *source, const char *name, bool json)
{
    struct statistics s = { 0 };
    const struct nb_view *t = NULL;
    struct nb_error err;
    enum nb_status status;

    for (size_t i = 0; i < source->n_tensors && t == NULL; i++)
        if (strcmp(source->tensors[i].name, name) == 0)
            t = &source->tensors[i];
    if (t == NULL)
        return cli_usage("inspect", "%s has no tensor '%s'", source->path, name);
    if (!nb_can_decode(t->type))
        return cli_usage("inspect", "tensor '%s' is of type %s, which has no values to show", name,
                         nb_type_info(t->type)->name);
    status = walk(t, visit_first, &s, &err);
    s.low = fmax(s.min, mean(&s) - 4 * deviation(&s));
    s.high = fmin(s.max, mean(&s) + 4 * deviation(&s));
    if (status == NB_OK)
        status = walk(t, visit_second, &s, &err);
    if (status != NB_OK)
        return cli_fail(&err);
    return json ? print_json(t, &s) : print_text(t, &s);
}
