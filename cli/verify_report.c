#include "cli/verify_report.h"

#include "cli/cli.h"
#include "cli/verdict.h"
#include "formats/base/text.h"
#include "formats/gguf/metadata.h"
#include "formats/models/source.h"
#include "quantize/policy/recipe.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_COLUMNS 21 /* of a model, in the narrow table */

/* Bits per weight of model I. */
static double
bits_of(const struct verify_report *r, size_t i)
{
    return i == 0 && r->saved != NULL ? r->saved->bits_per_weight : nb_source_bits_per_weight(&r->source[i]);
}

static void
print_row(const struct verify_report *r, size_t i, int width)
{
    const struct nb_drift_stats *s = &r->stats[i];
    const struct nb_source *source = &r->source[i];
    char size[CLI_TEXT];

    cli_print_name(stdout, nb_base_name(source->path), width);
    cli_print(" %9s %6.2f  %10.4f +- %-8.4f", cli_bytes(size, (double)source->file_bytes), bits_of(r, i),
              s->perplexity.value, s->perplexity.error);
    if (i == 0)
        cli_print("  base\n");
    else
        cli_print("  %+8.2f %%  %9.6f +- %-9.6f %9.5f  %6.2f %%\n", 100 * (s->ratio.value - 1), s->kld.value,
                  s->kld.error, s->kld_quantile[NB_Q_99], 100 * s->same_top.value);
}

/* The same without errors and quantiles. */
static void
print_narrow_row(const struct verify_report *r, size_t i, int width)
{
    const struct nb_drift_stats *s = &r->stats[i];
    char size[CLI_TEXT];

    cli_print_name(stdout, nb_base_name(r->source[i].path), width);
    cli_print(" %8s %6.2f %9.4f", cli_bytes(size, (double)r->source[i].file_bytes), bits_of(r, i), s->perplexity.value);
    if (i == 0)
        cli_print("  base\n");
    else
        cli_print(" %+8.2f %% %9.6f %7.2f %%\n", 100 * (s->ratio.value - 1), s->kld.value, 100 * s->same_top.value);
}

/* The tensors whose weights are furthest from the base's, worst first. */
#define WORST 8

static int
worst_first(const void *a, const void *b)
{
    const double x = ((const struct nb_weight_error *)a)->relative_rms;
    const double y = ((const struct nb_weight_error *)b)->relative_rms;

    return x > y ? -1 : x < y;
}

/* What the types of all tensors cost by the file of effects. */
static double
expected_kld(const struct verify_report *r, size_t model)
{
    double sum = 0;

    for (size_t i = 0; i < r->source[0].n_tensors; i++) {
        const struct nb_view *other = r->errors[model][i].other;
        const double cost = other == NULL ? NAN : nb_effects_cost(r->effects, other->name, other->type);

        sum += isnan(cost) ? 0 : cost;
    }
    return sum;
}

static void
print_tensors(const struct verify_report *r, size_t model)
{
    const size_t n = r->source[0].n_tensors;
    struct nb_weight_error *sorted = malloc(n * sizeof *sorted);

    if (sorted == NULL) {
        cli_lose();
        return;
    }
    memcpy(sorted, r->errors[model], n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, worst_first);
    cli_print("\n%s:\nerror of the weights relative to their size, the worst of %zu tensors\n"
              "and, of each, the worst block of 256 weights\n",
              nb_base_name(r->source[model].path), n);
    for (size_t i = 0; i < n && i < WORST; i++)
        if (sorted[i].other != NULL)
            cli_print("  %-32s %-8s %9.5f  worst block %9.5f\n", sorted[i].base->name,
                      nb_type_info(sorted[i].other->type)->name, sorted[i].relative_rms, sorted[i].worst_block);
    if (r->effects != NULL)
        cli_print("  the effects of its types add up to a KLD of %.3g; measured are %.3g\n", expected_kld(r, model),
                  r->stats[model].kld.value);
    free(sorted);
}

/* Columns for the names of the models. */
static int
name_width(const struct verify_report *r)
{
    size_t width = 5;

    for (size_t i = 0; i < r->models; i++)
        if (strlen(nb_base_name(r->source[i].path)) > width)
            width = strlen(nb_base_name(r->source[i].path));
    return cli_is_wide() || width < NAME_COLUMNS ? (int)width : NAME_COLUMNS;
}

int
verify_report_table(const struct verify_report *r)
{
    const int width = name_width(r);

    cli_print("%s: %u chunk%s of %u tokens, %zu tokens scored, in %.1f s\n%s\n", r->text, (unsigned)r->drift.chunks,
              r->drift.chunks == 1 ? "" : "s", (unsigned)r->drift.chunk_tokens, r->drift.scored, r->seconds,
              r->rounded && r->models > 1 ? "all but the base with activations rounded as llama.cpp rounds them\n"
                                          : "");
    if (cli_is_wide())
        cli_print("%-*s %9s %6s  %-22s%s\n", width, "model", "size", "bpw", "       PPL",
                  r->models > 1 ? "   PPL change    mean KLD               99 % KLD  same top" : "");
    else
        cli_print("%-*s %8s %6s %9s%s\n", width, "model", "size", "bpw", "PPL",
                  r->models > 1 ? "     change  mean KLD  same top" : "");
    for (size_t i = 0; i < r->models; i++)
        (cli_is_wide() ? print_row : print_narrow_row)(r, i, width);
    if (r->models > 1)
        cli_print("\n");
    for (size_t i = 1; i < r->models; i++) {
        cli_print_name(stdout, nb_base_name(r->source[i].path), width);
        cli_print("  %s\n", verdict_of(&r->stats[i])->words);
    }
    if (!cli_is_wide() && r->models > 1)
        cli_note("--wide shows how certain these numbers are, and the 99 %% KLD, too");
    verify_tasks_print(&r->tasks, r->source, r->models, width);
    for (size_t i = 1; i < r->models && r->list_tensors; i++)
        print_tensors(r, i);
    for (size_t i = 1; i < r->models && r->list_worst; i++) {
        cli_print("\n%s:\ntokens at which it is furthest from the base\n", nb_base_name(r->source[i].path));
        worst_tokens_print(&r->drift, i, r->measured);
    }
    return cli_finish();
}

static json_t *
quantiles_json(const double *values)
{
    json_t *object = cli_json("{}");
    char key[16];

    for (size_t i = 0; i < NB_QUANTILES; i++) {
        snprintf(key, sizeof key, "%g", 100 * nb_quantile_shares[i]);
        cli_json_set(object, key, cli_json_real(values[i]));
    }
    return object;
}

static void
set(json_t *object, const char *key, double value)
{
    cli_json_set(object, key, cli_json_real(value));
}

static json_t *
tensors_json(const struct verify_report *r, size_t model)
{
    json_t *list = cli_json_array();

    for (size_t i = 0; i < r->source[0].n_tensors; i++) {
        const struct nb_weight_error *e = &r->errors[model][i];
        const enum nb_type type = e->other == NULL ? NB_TYPE_NONE : e->other->type;
        json_t *o = e->other == NULL ? cli_json("{s:s}", "name", e->base->name)
                                     : cli_json("{s:s, s:s, s:f, s:f, s:I}", "name", e->base->name, "type",
                                                nb_type_info(type)->name, "relative_rms", e->relative_rms,
                                                "worst_block", e->worst_block, "worst_at", (json_int_t)e->worst_at);

        if (r->effects != NULL && e->other != NULL && !isnan(nb_effects_cost(r->effects, e->base->name, type)))
            set(o, "effect", nb_effects_cost(r->effects, e->base->name, type));
        cli_json_add(list, o);
    }
    return list;
}

static void
set_text(json_t *object, const char *key, const char *text)
{
    if (text != NULL)
        cli_json_set(object, key, cli_json_text(text));
}

/* How a file was made, as far as it says: its recipe, and the importance matrix by llama-quantize's keys. */
static void
set_origin(json_t *o, const struct nb_metadata *meta)
{
    const char *file = nb_meta_get_string(meta, "quantize.imatrix.file");
    const char *text = nb_meta_get_string(meta, "quantize.imatrix.dataset");
    uint64_t n;

    if (nb_meta_get_u64(meta, "general.file_type", &n))
        set_text(o, "recipe", nb_file_type_name(n & ~(uint64_t)NB_FT_GUESSED));
    if (file == NULL)
        return;
    set_text(o, "imatrix", nb_base_name(file));
    set_text(o, "imatrix_text", text == NULL ? NULL : nb_base_name(text));
    if (nb_meta_get_u64(meta, "quantize.imatrix.chunks_count", &n))
        cli_json_set(o, "imatrix_chunks", cli_json_integer((json_int_t)n));
}

bool
verify_was_calibrated_on(const struct nb_source *source, const char *text)
{
    const char *own = nb_meta_get_string(&source->meta, "quantize.imatrix.dataset");

    return own != NULL && *own != '\0' && strcmp(nb_base_name(own), nb_base_name(text)) == 0;
}

static json_t *
model_json(const struct verify_report *r, size_t i)
{
    const struct nb_drift_stats *s = &r->stats[i];
    char verdict[VERDICT_TEXT];
    json_t *o = cli_json("{s:s, s:I, s:f, s:f, s:f}", "path", r->source[i].path, "bytes",
                         (json_int_t)r->source[i].file_bytes, "bpw", bits_of(r, i), "perplexity", s->perplexity.value,
                         "perplexity_stderr", s->perplexity.error);

    if (i == 0 && r->saved != NULL)
        cli_json_set(o, "saved", json_true());
    if (r->source[i].kind == NB_SOURCE_GGUF)
        set_origin(o, &r->source[i].meta);
    if (verify_was_calibrated_on(&r->source[i], r->text))
        cli_json_set(o, "calibrated_on_text", json_true());
    if (i == 0)
        return o;
    cli_json_set(o, "verdict", cli_json("{s:s, s:s}", "level", verdict_of(s)->level, "text", verdict_text(s, verdict)));
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
    cli_json_set(o, "kld_percentiles", quantiles_json(s->kld_quantile));
    set(o, "same_top", s->same_top.value);
    set(o, "same_top_stderr", s->same_top.error);
    set(o, "mean_dp", s->dp.value);
    set(o, "mean_dp_stderr", s->dp.error);
    set(o, "rms_dp", s->rms_dp.value);
    set(o, "rms_dp_stderr", s->rms_dp.error);
    cli_json_set(o, "dp_percentiles", quantiles_json(s->dp_quantile));
    if (*r->other_tokens[i] != '\0')
        set_text(o, "other_tokens", r->other_tokens[i]);
    cli_json_set(o, "worst_tokens", worst_tokens_json(&r->drift, i, r->measured));
    if (r->errors != NULL)
        cli_json_set(o, "tensors", tensors_json(r, i));
    return o;
}

json_t *
verify_report_object(const struct verify_report *r)
{
    json_t *models = cli_json_array(), *tasks = verify_tasks_json(&r->tasks, r->source, r->models), *o;

    for (size_t i = 1; i < r->models; i++)
        cli_json_add(models, model_json(r, i));
    o = cli_json("{s:o, s:o, s:s, s:s, s:I, s:i, s:I, s:f}", "base", model_json(r, 0), "models", models, "text",
                 r->text, "activations", r->rounded ? "q8" : "f32", "chunks", (json_int_t)r->drift.chunks,
                 "chunk_tokens", (int)r->drift.chunk_tokens, "tokens_scored", (json_int_t)r->drift.scored, "seconds",
                 r->seconds);
    if (tasks != NULL)
        cli_json_set(o, "tasks", tasks);
    return o;
}

int
verify_report_json(const struct verify_report *r)
{
    return cli_print_json(verify_report_object(r));
}
