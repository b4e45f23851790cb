#include "cli/memory_report.h"

#include "cli/cli.h"
#include "cli/command_line.h"
#include "cli/fitting_recipe.h"
#include "cli/memory_fit.h"
#include "cli/model_shape.h"
#include "formats/base/status.h"
#include "formats/base/system.h"
#include "formats/elements/types.h"
#include "formats/gguf/metadata.h"
#include "formats/models/source.h"
#include "quantize/plan.h"

#include <inttypes.h>
#include <stdio.h>

#define ROWS 12
static const enum nb_type columns[] = { NB_F16, NB_Q8_0, NB_Q4_0 };
#define COLUMNS (sizeof columns / sizeof columns[0])

struct memory_question
memory_question(const struct cli_line *line)
{
    return (struct memory_question){
        .context = cli_number(line, OPT_CTX, 0),
        .cache_type = cli_type(line, OPT_CACHE_TYPE, NB_F16),
        .ram = cli_size(line, OPT_RAM, nb_system_memory()),
        .is_own_ram = !cli_has(line, OPT_RAM),
        .vram = cli_size(line, OPT_VRAM, 0),
    };
}

static void
read_shape(const struct memory_subject *subject, struct model_shape *shape, const struct nb_metadata **meta)
{
    if (subject->plan != NULL)
        shape_of_plan(subject->plan, shape);
    else
        shape_of_source(subject->source, shape);
    *meta = subject->plan != NULL ? &subject->plan->meta : &subject->source->meta;
}

/* False if out of memory. */
static bool
find_recipe(const struct memory_subject *subject, const struct memory_question *question, struct fitting_recipe *found)
{
    const struct nb_plan_options defaults = { .recipe = { .output_type = NB_TYPE_NONE, .embedding_type = NB_TYPE_NONE },
                                              .via = NB_TYPE_NONE };

    return find_fitting_recipe(subject->source, subject->options == NULL ? &defaults : subject->options, question,
                               found);
}

/*
 * The contexts of the table: CONTEXT, and from 4096 tokens on each four times the last, up to the model's own. None if
 * CONTEXT is 0, as that of a model without a cache is.
 */
static size_t
table_contexts(const struct nb_metadata *meta, uint64_t context, uint64_t out[ROWS])
{
    const char *arch = nb_meta_get_string(meta, "general.architecture");
    uint64_t trained = 0, next = 4096;
    bool is_listed = false;
    char key[128];
    size_t n = 0;

    snprintf(key, sizeof key, "%.80s.context_length", arch == NULL ? "" : arch);
    if (!nb_meta_get_u64(meta, key, &trained))
        trained = context;
    while (context > 0 && n + 2 < ROWS) {
        const uint64_t row = next < trained ? next : trained;

        if (context < row && !is_listed)
            out[n++] = context;
        is_listed |= context <= row;
        out[n++] = row;
        if (row == trained)
            break;
        next *= 4;
    }
    if (context > 0 && !is_listed)
        out[n++] = context;
    return n;
}

/* --- text ------------------------------------------------------------------------------------------------ */

static void
print_sum(const struct memory_fit *fit, enum nb_type cache_type)
{
    char a[CLI_TEXT], b[CLI_TEXT];

    cli_print("  weights %s", cli_bytes(a, (double)fit->weights));
    if (fit->context > 0 && fit->cache > 0)
        cli_print(" + cache of %" PRIu64 " tokens in %s %s", fit->context, nb_type_info(cache_type)->name,
                  cli_bytes(b, (double)fit->cache));
    if (fit->state > 0)
        cli_print(" + state of recurrent layers %s", cli_bytes(b, (double)fit->state));
    cli_print(" + buffers %s%s", fit->is_exact ? "" : "of about ", cli_bytes(a, (double)fit->buffers));
    cli_print(" = %s%s\n", cli_bytes(b, (double)fit->sum), fit->has_state ? ", and what recurrent layers keep" : "");
    if (fit->sliding > 0)
        cli_print("  %" PRIu64 " of the %" PRIu64 " layers in the cache keep only a window of %" PRIu64 " tokens\n",
                  fit->sliding, fit->layers, fit->window);
}

static void
print_verdict(const struct memory_fit *fit, const struct memory_question *question)
{
    const bool is_about = question->vram > 0 || !fit->is_exact;
    char a[CLI_TEXT], b[CLI_TEXT];

    if (fit->gpu_layers > 0)
        cli_print("  -ngl %" PRIu64 " takes about %s of the GPU's %s: %s\n", fit->gpu_layers,
                  cli_bytes(a, (double)fit->vram), cli_bytes(b, (double)question->vram),
                  fit->gpu_layers == fit->all_gpu_layers ? "all layers" : "the CPU computes the rest");
    else if (question->vram > 0)
        cli_print("  a GPU with %s has no room even for the output: -ngl 0\n", cli_bytes(a, (double)question->vram));
    if (question->ram > 0)
        cli_print("  %s %s%s of the %s of %s\n", fit->fits ? "fits: takes" : "does not fit: needs",
                  is_about ? "about " : "", cli_bytes(a, (double)fit->ram), cli_bytes(b, (double)question->ram),
                  question->is_own_ram ? "this machine" : "--ram");
}

/* "815 MB", "17.2 GB no", with a GPU "-ngl 20" */
static const char *
cell(char *text, const struct memory_fit *fit, const struct memory_question *question)
{
    char size[CLI_TEXT];

    if (question->vram > 0)
        snprintf(text, CLI_TEXT, "-ngl %" PRIu64 "%s", fit->gpu_layers, fit->fits ? "" : " no");
    else
        snprintf(text, CLI_TEXT, "%s%s", cli_bytes(size, (double)fit->sum), fit->fits ? "" : " no");
    return text;
}

static void
print_table(const struct model_shape *shape, const struct nb_metadata *meta, const struct memory_question *question,
            uint64_t context)
{
    struct memory_question each = *question;
    struct memory_fit fit;
    uint64_t contexts[ROWS];
    const size_t n = table_contexts(meta, context, contexts);
    bool is_marked = false;
    char text[CLI_TEXT];

    cli_print("\n  tokens    ");
    for (size_t c = 0; c < COLUMNS; c++)
        cli_print("%14s", nb_type_info(columns[c])->name);
    for (size_t r = 0; r < n; r++) {
        each.context = contexts[r];
        cli_print("\n  %-10" PRIu64, contexts[r]);
        for (size_t c = 0; c < COLUMNS; c++) {
            each.cache_type = columns[c];
            fit_memory(shape, meta, &each, &fit);
            cli_print("%14s", cell(text, &fit, question));
            is_marked |= !fit.fits;
        }
    }
    cli_print("\n");
    if (is_marked)
        cli_print("  no: does not fit\n");
}

static void
print_recipe(const struct fitting_recipe *found, const struct memory_question *question)
{
    char a[CLI_TEXT], b[CLI_TEXT];

    if (!found->can_quantize)
        return;
    if (found->recipe == NULL)
        cli_print("  no recipe makes it small enough%s\n", question->vram > 0 ? " for the GPU" : "");
    else
        cli_print("  largest recipe that fits%s: %s, a file of %s, %s to run%s\n",
                  question->vram > 0 ? " on the GPU" : "", found->recipe->name, cli_bytes(a, (double)found->file_bytes),
                  cli_bytes(b, (double)(question->vram > 0 ? found->fit.vram : found->fit.sum)),
                  found->needs_importance ? " (needs an importance matrix)" : "");
}

int
print_memory(const struct memory_subject *subject, const struct memory_question *question)
{
    struct fitting_recipe found;
    const struct nb_metadata *meta;
    struct model_shape shape;
    struct memory_fit fit;
    char a[CLI_TEXT];

    read_shape(subject, &shape, &meta);
    fit_memory(&shape, meta, question, &fit);
    if (!find_recipe(subject, question, &found))
        return cli_fail_memory();
    cli_print("\nmemory to run it with llama.cpp\n");
    if (!fit.known) {
        cli_print("  weights %s; the size of its cache is not known here\n", cli_bytes(a, (double)fit.weights));
        return NB_OK;
    }
    print_sum(&fit, question->cache_type);
    print_verdict(&fit, question);
    if (question->ram > 0 || question->vram > 0)
        print_recipe(&found, question);
    if (fit.context > 0)
        print_table(&shape, meta, question, fit.context);
    return NB_OK;
}

/* --- JSON: NULL if out of memory --------------------------------------------------------------------------- */

static json_t *
fit_json(const struct memory_fit *fit, const struct memory_question *question, enum nb_type cache_type)
{
    return cli_json("{s:I, s:s, s:I, s:I, s:I, s:b, s:I, s:I, s:o*, s:I, s:b, s:I, s:I}", "context",
                    (json_int_t)fit->context, "cache_type", nb_type_info(cache_type)->name, "tensors",
                    (json_int_t)fit->weights, "cache", (json_int_t)fit->cache, "state", (json_int_t)fit->state,
                    "buffers_exact", (int)fit->is_exact, "buffers", (json_int_t)fit->buffers, "sum",
                    (json_int_t)fit->sum, "fits", question->ram > 0 ? json_boolean(fit->fits) : NULL, "gpu_layers",
                    (json_int_t)fit->gpu_layers, "all_on_gpu", (int)(fit->gpu_layers == fit->all_gpu_layers),
                    "ram_taken", (json_int_t)fit->ram, "vram_taken", (json_int_t)fit->vram);
}

static json_t *
table_json(const struct model_shape *shape, const struct nb_metadata *meta, const struct memory_question *question,
           uint64_t context)
{
    struct memory_question each = *question;
    struct memory_fit fit;
    uint64_t contexts[ROWS];
    const size_t n = table_contexts(meta, context, contexts);
    json_t *table = cli_json_array();

    for (size_t i = 0; i < n * COLUMNS; i++) {
        each.context = contexts[i / COLUMNS];
        each.cache_type = columns[i % COLUMNS];
        fit_memory(shape, meta, &each, &fit);
        cli_json_add(table, fit_json(&fit, question, each.cache_type));
    }
    return table;
}

static json_t *
recipe_json(const struct memory_subject *subject, const struct memory_question *question)
{
    struct fitting_recipe found;

    if (!find_recipe(subject, question, &found))
        return NULL;
    if (found.recipe == NULL)
        return json_null();
    return cli_json("{s:s, s:I, s:b, s:o}", "name", found.recipe->name, "file_bytes", (json_int_t)found.file_bytes,
                    "needs_importance", (int)found.needs_importance, "memory",
                    fit_json(&found.fit, question, question->cache_type));
}

json_t *
memory_json(const struct memory_subject *subject, const struct memory_question *question)
{
    const struct nb_metadata *meta;
    struct model_shape shape;
    struct memory_fit fit;
    json_t *object, *more;

    read_shape(subject, &shape, &meta);
    fit_memory(&shape, meta, question, &fit);
    if (!fit.known)
        return cli_json("{s:I}", "tensors", (json_int_t)fit.weights);
    object = fit_json(&fit, question, question->cache_type);
    more = cli_json("{s:I, s:I, s:I, s:I, s:I, s:o, s:o}", "layers", (json_int_t)fit.layers, "sliding_layers",
                    (json_int_t)fit.sliding, "window", (json_int_t)fit.window, "ram", (json_int_t)question->ram, "vram",
                    (json_int_t)question->vram, "table", table_json(&shape, meta, question, fit.context),
                    "largest_recipe", recipe_json(subject, question));
    cli_json_merge(object, more);
    return object;
}
