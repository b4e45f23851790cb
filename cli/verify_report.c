#include "verify_report.h"

#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bits per weight of the tensors alone. */
static double
bits_per_weight(const struct nb_source *source)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < source->n_tensors; i++)
        bytes += source->tensors[i].bytes;
    return 8.0 * (double)bytes / (double)nb_source_parameters(source);
}

/* The last part of a path, which is what tells models apart in a table. */
static const char *
short_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash == NULL || slash[1] == '\0' ? path : slash + 1;
}

static void
print_row(const struct verify_report *r, size_t i, int width)
{
    const struct nb_drift_stats *s = &r->stats[i];
    const struct nb_source *source = &r->source[i];
    char size[CLI_TEXT];

    printf("%-*s %9s %6.2f  %10.4f +- %-8.4f", width, short_name(source->path),
           cli_bytes(size, (double)source->file_bytes), bits_per_weight(source), s->perplexity.value,
           s->perplexity.error);
    if (i == 0)
        puts("  base");
    else
        printf("  %+8.2f %%  %9.6f +- %-9.6f %9.5f  %6.2f %%\n", 100 * (s->ratio.value - 1), s->kld.value,
               s->kld.error, s->kld_quantile[NB_Q_99], 100 * s->same_top.value);
}

int
verify_report_table(const struct verify_report *r)
{
    size_t width = 5;

    for (size_t i = 0; i < r->models; i++)
        if (strlen(short_name(r->source[i].path)) > width)
            width = strlen(short_name(r->source[i].path));
    printf("%s: %u chunks of %u tokens, %zu tokens scored, in %.1f s\n\n", r->text, (unsigned)r->drift.chunks,
           (unsigned)r->drift.chunk_tokens, r->drift.scored, r->seconds);
    printf("%-*s %9s %6s  %-22s", (int)width, "model", "size", "bpw", "       PPL");
    puts(r->models > 1 ? "   PPL change    mean KLD               99 % KLD  same top" : "");
    for (size_t i = 0; i < r->models; i++)
        print_row(r, i, (int)width);
    return cli_finish();
}

static json_t *
quantiles_json(const double *values)
{
    json_t *object = json_object();
    char key[16];

    for (size_t i = 0; i < NB_QUANTILES; i++) {
        snprintf(key, sizeof key, "%g", 100 * nb_quantile_shares[i]);
        json_object_set_new(object, key, json_real(values[i]));
    }
    return object;
}

static void
set(json_t *object, const char *key, double value)
{
    json_object_set_new(object, key, json_real(value));
}

static json_t *
model_json(const struct verify_report *r, size_t i)
{
    const struct nb_drift_stats *s = &r->stats[i];
    json_t *o = json_pack("{s:s, s:I, s:f, s:f, s:f}", "path", r->source[i].path, "bytes",
                          (json_int_t)r->source[i].file_bytes, "bpw", bits_per_weight(&r->source[i]), "perplexity",
                          s->perplexity.value, "perplexity_stderr", s->perplexity.error);

    if (i == 0)
        return o;
    set(o, "perplexity_ratio", s->ratio.value);
    set(o, "perplexity_ratio_stderr", s->ratio.error);
    set(o, "ln_perplexity_ratio", s->ln_ratio.value);
    set(o, "ln_perplexity_ratio_stderr", s->ln_ratio.error);
    set(o, "correlation", s->correlation);
    set(o, "kld_mean", s->kld.value);
    set(o, "kld_stderr", s->kld.error);
    set(o, "kld_p50", s->kld_quantile[NB_Q_50]);
    set(o, "kld_p99", s->kld_quantile[NB_Q_99]);
    set(o, "kld_p999", s->kld_quantile[NB_Q_999]);
    set(o, "kld_max", s->kld_quantile[NB_Q_MAX]);
    json_object_set_new(o, "kld_percentiles", quantiles_json(s->kld_quantile));
    set(o, "same_top", s->same_top.value);
    set(o, "same_top_stderr", s->same_top.error);
    set(o, "mean_dp", s->dp.value);
    set(o, "mean_dp_stderr", s->dp.error);
    set(o, "rms_dp", s->rms_dp.value);
    set(o, "rms_dp_stderr", s->rms_dp.error);
    json_object_set_new(o, "dp_percentiles", quantiles_json(s->dp_quantile));
    return o;
}

static json_t *
report_json(const struct verify_report *r)
{
    json_t *models = json_array();

    for (size_t i = 1; i < r->models; i++)
        json_array_append_new(models, model_json(r, i));
    return json_pack("{s:o, s:o, s:s, s:I, s:i, s:I, s:f}", "base", model_json(r, 0), "models", models, "text",
                     r->text, "chunks", (json_int_t)r->drift.chunks, "chunk_tokens", (int)r->drift.chunk_tokens,
                     "tokens_scored", (json_int_t)r->drift.scored, "seconds", r->seconds);
}

int
verify_report_json(const struct verify_report *r)
{
    return cli_print_json(report_json(r));
}

enum nb_status
verify_report_html(const struct verify_report *r, const char *name, struct nb_error *err)
{
    (void)r;
    return nb_fail(err, NB_SYSTEM, "%s", name);
}
