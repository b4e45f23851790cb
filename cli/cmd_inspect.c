#include "cli/cli.h"

#include "cli/inspect_imatrix.h"
#include "cli/inspect_layers.h"
#include "cli/inspect_tensor.h"
#include "cli/kv_text.h"
#include "cli/memory_fit.h"
#include "cli/memory_report.h"
#include "cli/model_summary.h"
#include "cli/sandbox.h"
#include "formats/base/status.h"
#include "formats/base/text.h"
#include "formats/elements/types.h"
#include "formats/gguf/metadata.h"
#include "formats/models/source.h"
#include "formats/models/view.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct arguments {
    const char *input, *tensor;
    struct nb_source_options as; /* what a checkpoint is taken for */
    bool json, markdown, tensors, layers, full;
    const struct nb_effects_file *effects; /* of the types; NULL: not asked for */
    struct memory_question memory;
};

static double
share(uint64_t part, uint64_t all)
{
    return 100.0 * (double)part / (double)(all > 0 ? all : 1);
}

/* --- text ------------------------------------------------------------------------------------------------ */

static void
print_metadata(const struct nb_metadata *meta, bool full)
{
    cli_print("\nmetadata (%zu)\n", meta->count);
    for (size_t i = 0; i < meta->count; i++) {
        cli_print("  %-*s ", KV_KEY_COLUMNS, meta->items[i].key);
        if (full)
            kv_print(stdout, &meta->items[i], true);
        else
            kv_print_short(&meta->items[i], 2 + 1);
        cli_print("\n");
    }
}

static void
print_total(const char *name, const struct tensor_total *t, const struct model_summary *sum)
{
    char a[CLI_TEXT], b[CLI_TEXT];

    if (t->tensors > 0)
        cli_print("  %-12s %6" PRIu64 " tensor%s %10s weights %10s %5.1f %% %6.2f bpw\n", name, t->tensors,
                  t->tensors == 1 ? " " : "s", cli_count(a, (double)t->elements), cli_bytes(b, (double)t->bytes),
                  share(t->bytes, sum->all.bytes), total_bpw(t));
}

static void
print_totals(const struct model_summary *sum)
{
    cli_print("\ntypes\n");
    for (unsigned k = 0; k < SUMMARY_KINDS; k++)
        print_total(sum->kind[k].name, &sum->kind[k].total, sum);
    cli_print("\nroles\n");
    for (unsigned r = 0; r < ROLES; r++)
        print_total(role_name((enum tensor_role)r), &sum->of_role[r], sum);
}

static void
print_tensors(const struct nb_source *source, const struct model_summary *sum)
{
    char shape[CLI_TEXT], bytes[CLI_TEXT];

    cli_print("\ntensors (%zu)\n", source->n_tensors);
    for (size_t i = 0; i < source->n_tensors; i++) {
        const struct nb_view *t = &source->tensors[i];

        cli_print("  %-36s %-8s %18s %9s", t->name, storage_name(t), cli_shape(shape, t),
                  cli_bytes(bytes, (double)nb_source_stored_bytes(t)));
        if (cli_is_wide())
            cli_print(" %5.1f %% %14" PRIu64, share(nb_source_stored_bytes(t), sum->all.bytes), nb_view_offset(t));
        if (cli_is_wide() && source->kind == NB_SOURCE_CHECKPOINT)
            cli_print("  %s", t->source_name);
        cli_print("\n");
    }
}

static int
print_text(const struct nb_source *source, const struct model_summary *sum, const struct arguments *o)
{
    const char *arch = nb_meta_get_string(&source->meta, "general.architecture");
    char a[CLI_TEXT], b[CLI_TEXT];
    int code;

    cli_print("%s: %s, %s\n", source->path, source->kind == NB_SOURCE_GGUF ? "GGUF" : "checkpoint",
              arch == NULL ? "no architecture" : arch);
    cli_print("  %s parameters in %zu tensor%s, %s in %" PRIu32 " file%s, %.2f bits per weight\n",
              cli_count(a, (double)sum->all.elements), source->n_tensors, cli_s(source->n_tensors),
              cli_bytes(b, (double)source->file_bytes), source->store.n_files, cli_s(source->store.n_files),
              total_bpw(&sum->all));
    if (sum->layers.elements > 0 && sum->layers.elements < sum->all.elements)
        cli_print("  %.2f bits per weight without embedding and output\n", total_bpw(&sum->layers));
    print_totals(sum);
    code = source->n_tensors == 0 ? NB_OK : print_memory(&(struct memory_subject){ .source = source }, &o->memory);
    if (code != NB_OK)
        return code;
    if (o->layers)
        inspect_types(source);
    if (o->effects != NULL)
        inspect_effects(source, o->effects);
    print_metadata(&source->meta, o->full);
    if (o->tensors)
        print_tensors(source, sum);
    cli_print_notes(source);
    return cli_finish();
}

/* --- Markdown ---------------------------------------------------------------------------------------------- */

/* TEXT of a table's cell: a bar would end it. */
static void
print_cell(const struct nb_kv *kv, bool full)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);

    if (f == NULL) {
        cli_lose();
        return;
    }
    kv_print(f, kv, full);
    if (!nb_close_text(f, &text))
        cli_lose();
    for (size_t i = 0, n; i < size; i += n) {
        if (strchr("|<*`", text[i]) != NULL)
            cli_print("\\");
        n = 1 + strcspn(text + i + 1, "|<*`");
        cli_print("%.*s", (int)n, text + i);
    }
    free(text);
}

static void
print_markdown_total(const char *name, const struct tensor_total *t, const struct model_summary *sum)
{
    if (t->tensors > 0)
        cli_print("| %s | %" PRIu64 " | %" PRIu64 " | %" PRIu64 " | %.1f %% | %.2f |\n", name, t->tensors, t->elements,
                  t->bytes, share(t->bytes, sum->all.bytes), total_bpw(t));
}

static int
print_markdown(const struct nb_source *source, const struct model_summary *sum, const struct arguments *o)
{
    char shape[CLI_TEXT], a[CLI_TEXT], b[CLI_TEXT];

    cli_print("## %s\n\n", source->path);
    cli_print("%s parameters, %s, %.2f bits per weight (%.2f without embedding and output)\n\n",
              cli_count(a, (double)sum->all.elements), cli_bytes(b, (double)source->file_bytes), total_bpw(&sum->all),
              total_bpw(&sum->layers));
    cli_print(
        "| type or role | tensors | weights | bytes | share | bpw |\n| --- | ---: | ---: | ---: | ---: | ---: |\n");
    for (unsigned k = 0; k < SUMMARY_KINDS; k++)
        print_markdown_total(sum->kind[k].name, &sum->kind[k].total, sum);
    for (unsigned r = 0; r < ROLES; r++)
        print_markdown_total(role_name((enum tensor_role)r), &sum->of_role[r], sum);
    cli_print("\n| key | type | value |\n| --- | --- | --- |\n");
    for (size_t i = 0; i < source->meta.count; i++) {
        cli_print("| %s | %s | ", source->meta.items[i].key, nb_kv_type_name(source->meta.items[i].type));
        print_cell(&source->meta.items[i], o->full);
        cli_print(" |\n");
    }
    cli_print("\n| tensor | type | shape | bytes | offset |\n| --- | --- | --- | ---: | ---: |\n");
    for (size_t i = 0; i < source->n_tensors; i++) {
        const struct nb_view *t = &source->tensors[i];

        cli_print("| %s | %s | %s | %" PRIu64 " | %" PRIu64 " |\n", t->name, storage_name(t), cli_shape(shape, t),
                  nb_source_stored_bytes(t), nb_view_offset(t));
    }
    return cli_finish();
}

/* --- JSON ----------------------------------------------------------------------------------------------------- */

static json_t *
tensors_json(const struct nb_source *source)
{
    json_t *list = cli_json_array();

    for (size_t i = 0; i < source->n_tensors; i++) {
        const struct nb_view *t = &source->tensors[i];
        json_t *shape = cli_json_array();

        for (uint32_t d = 0; d < t->n_dims; d++)
            cli_json_add(shape, cli_json_integer((json_int_t)t->ne[d]));
        cli_json_add(list,
                     cli_json("{s:s, s:s, s:s, s:o, s:I, s:I, s:I}", "name", t->name, "source_name", t->source_name,
                              "type", storage_name(t), "shape", shape, "bytes", (json_int_t)nb_source_stored_bytes(t),
                              "file", (json_int_t)t->pieces->stored->file, "offset", (json_int_t)nb_view_offset(t)));
    }
    return list;
}

static json_t *
total_json(const struct tensor_total *t)
{
    return cli_json("{s:I, s:I, s:I, s:f}", "tensors", (json_int_t)t->tensors, "weights", (json_int_t)t->elements,
                    "bytes", (json_int_t)t->bytes, "bpw", total_bpw(t));
}

static int
print_json(const struct nb_source *source, const struct model_summary *sum, const struct arguments *o)
{
    json_t *meta = cli_json("{}"), *types = cli_json("{}"), *roles = cli_json("{}"), *object;

    for (size_t i = 0; i < source->meta.count; i++)
        cli_json_set(meta, source->meta.items[i].key, kv_json(&source->meta.items[i], UINT64_MAX));
    for (unsigned k = 0; k < SUMMARY_KINDS; k++)
        if (sum->kind[k].total.tensors > 0)
            cli_json_set(types, sum->kind[k].name, total_json(&sum->kind[k].total));
    for (unsigned r = 0; r < ROLES; r++)
        if (sum->of_role[r].tensors > 0)
            cli_json_set(roles, role_name((enum tensor_role)r), total_json(&sum->of_role[r]));
    object = cli_json("{s:s, s:s, s:I, s:I, s:I, s:f, s:f, s:o, s:o, s:o, s:o, s:o, s:o}", "path", source->path,
                      "format", source->kind == NB_SOURCE_GGUF ? "gguf" : "checkpoint", "file_bytes",
                      (json_int_t)source->file_bytes, "tensor_bytes", (json_int_t)sum->all.bytes, "parameters",
                      (json_int_t)sum->all.elements, "bpw", total_bpw(&sum->all), "bpw_without_embedding",
                      total_bpw(&sum->layers), "types", types, "roles", roles, "memory",
                      memory_json(&(struct memory_subject){ .source = source }, &o->memory), "metadata", meta,
                      "tensors", tensors_json(source), "notes", cli_notes_json(source));
    if (o->effects != NULL)
        cli_json_set(object, "effects", inspect_effects_json(source, o->effects));
    return cli_print_json(object);
}

/* --- the command -------------------------------------------------------------------------------------------------- */

static int
inspect(const struct arguments *o)
{
    struct model_summary sum;
    struct nb_source source;
    struct nb_error err;
    int code;

    if (nb_source_open(&source, o->input, &o->as, &err) != NB_OK)
        return cli_fail(&err);
    summarize(&source, &sum);
    if (o->tensor != NULL)
        code = inspect_tensor(&source, o->tensor, o->json);
    else if (o->json)
        code = print_json(&source, &sum, o);
    else
        code = o->markdown ? print_markdown(&source, &sum, o) : print_text(&source, &sum, o);
    nb_source_close(&source);
    return code;
}

/* The same with the file PATH of --effects. */
static int
inspect_with_effects(const struct arguments *given, const char *path)
{
    struct arguments o = *given;
    struct nb_effects_file effects;
    struct nb_error err;
    int code;

    if (nb_effects_load(&effects, path, &err) != NB_OK)
        return cli_fail(&err);
    o.effects = &effects;
    code = inspect(&o);
    nb_effects_free(&effects);
    return code;
}

int
cmd_inspect(const struct cli_line *line)
{
    struct arguments o = {
        .input = line->operands[0],
        .tensor = cli_text(line, OPT_TENSOR),
        .as.model_class = cli_text(line, OPT_MODEL_CLASS),
        .as.follow_links = cli_has(line, OPT_FOLLOW_LINKS),
        .json = cli_has(line, OPT_JSON),
        .markdown = cli_has(line, OPT_MARKDOWN),
        .tensors = cli_has(line, OPT_TENSORS),
        .layers = cli_has(line, OPT_LAYERS),
        .full = cli_has(line, OPT_FULL),
        .memory = memory_question(line),
    };
    int code;

    if (o.markdown && (o.layers || cli_has(line, OPT_EFFECTS)))
        return cli_usage("inspect", "--markdown does not go with --%s", o.layers ? "layers" : "effects");
    code = cli_sandbox(line);
    if (code != NB_OK)
        return code;
    if (inspect_is_effects(o.input))
        return inspect_effects_file(o.input, o.json);
    if (cli_has(line, OPT_EFFECTS))
        return inspect_with_effects(&o, cli_text(line, OPT_EFFECTS));
    return inspect_is_imatrix(o.input) ? inspect_imatrix(o.input, o.json) : inspect(&o);
}
