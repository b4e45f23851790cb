#include "cli/planned.h"

#include "formats/base/file_in.h"
#include "formats/base/text.h"
#include "formats/elements/types.h"
#include "formats/models/packed/composed.h"
#include "formats/models/reverse/as_checkpoint.h"
#include "quantize/checkpoint_plan.h"

#include <stdio.h>
#include <string.h>

struct dequantize_options {
    const char *source, *output;
    char default_name[240]; /* with ".partial" added still short enough for every file system */
    struct nb_source_options as;
    struct nb_checkpoint_plan_options plan;
    struct nb_pipeline_options pipeline;
    bool dry_run, json;
};

/* What is done, and with what. */
struct dequantization {
    const struct dequantize_options *options;
    const struct nb_source *source;
    const struct nb_checkpoint_plan *plan;
};

static json_t *
plan_json(void *context)
{
    const struct dequantization *d = context;
    const struct dequantize_options *o = d->options;
    const struct nb_checkpoint_plan *plan = d->plan;
    json_t *tensors = cli_json_array();

    for (size_t i = 0; i < plan->folder.n_outputs; i++) {
        const struct nb_view *v = &plan->views[i];
        json_t *shape = cli_json_array();

        for (uint32_t k = v->n_dims; k-- > 0;)
            cli_json_add(shape, cli_json_integer((json_int_t)v->ne[k]));
        cli_json_add(tensors,
                     cli_json("{s:s, s:s, s:o, s:s, s:s}", "name", v->name, "source_name", v->source_name, "shape",
                              shape, "source_type", nb_type_info(nb_composed_of(v->pieces->stored))->name, "type",
                              plan->folder.outputs[i].encoding.name));
    }
    return cli_json("{s:s, s:s, s:s, s:i, s:b, s:I, s:I, s:I, s:I, s:b, s:o, s:o}", "source", o->source, "output",
                    o->output, "dtype", nb_type_info(plan->dtype)->name, "files", (int)plan->folder.n_files, "dry_run",
                    (int)o->dry_run, "parameters", (json_int_t)plan->parameters, "source_bytes",
                    (json_int_t)d->source->file_bytes, "file_bytes", (json_int_t)plan->folder.total_bytes, "unpacked",
                    (json_int_t)plan->n_unpacked, "tokenizer", (int)plan->has_tokenizer, "tensors", tensors, "notes",
                    cli_notes_json(d->source));
}

static void
print_plan(void *context, FILE *f)
{
    const struct nb_checkpoint_plan *plan = ((const struct dequantization *)context)->plan;
    char shape[CLI_TEXT], bytes[CLI_TEXT];

    for (size_t i = 0; i < plan->folder.n_outputs; i++) {
        const struct nb_view *v = &plan->views[i];
        const struct nb_encoding *e = &plan->folder.outputs[i].encoding;

        cli_print_to(f, "%-52s", v->name);
        if (cli_is_wide())
            cli_print_to(f, " %18s ", cli_shape(shape, v));
        cli_print_to(f, " %7s -> %-4s %10s\n", nb_type_info(nb_composed_of(v->pieces->stored))->name, e->name,
                     cli_bytes(bytes, (double)(v->elements * e->plane_bytes[0])));
    }
}

static int
print_summary(void *context, double seconds)
{
    const struct dequantization *d = context;
    const struct nb_checkpoint_plan *plan = d->plan;
    char x[CLI_TEXT], y[CLI_TEXT];

    cli_print("%s -> %s (%s)\n", d->options->source, d->options->output, nb_type_info(plan->dtype)->name);
    cli_print("  %s parameters in %zu tensors, %zu of them unpacked\n", cli_count(x, (double)plan->parameters),
              plan->folder.n_outputs, plan->n_unpacked);
    cli_print("  %s -> %s", cli_bytes(x, (double)d->source->file_bytes),
              cli_bytes(y, (double)plan->folder.total_bytes));
    planned_print_time(d->options->dry_run, seconds, plan->folder.total_bytes);
    return NB_OK;
}

static enum nb_status
write_plan(const void *context, const struct nb_pipeline_options *options, struct nb_error *err)
{
    const struct dequantization *d = context;

    return nb_checkpoint_plan_write(d->plan, d->options->output, options, err);
}

static enum nb_status
write_folder(void *context, struct nb_error *err)
{
    const struct dequantization *d = context;

    return planned_write(write_plan, d, &d->options->pipeline, err);
}

/* The last part of the source's path without ".gguf", and the type: "Llama-3.2-1B-AWQ-bf16". */
static const char *
default_name(struct dequantize_options *o)
{
    char base[200];

    cli_model_name(o->source, base, sizeof base);
    if (nb_ends_with(base, ".gguf"))
        base[strlen(base) - strlen(".gguf")] = '\0';
    snprintf(o->default_name, sizeof o->default_name, "%s-%s", base, nb_type_info(o->plan.dtype)->name);
    return o->default_name;
}

static int
dequantize(const struct dequantize_options *o, const struct nb_source *source)
{
    struct nb_checkpoint_plan plan;
    struct dequantization d = { o, source, &plan };
    const struct planned_output output = { &d, print_plan, print_summary, plan_json };
    const struct planned planned = { &d, o->dry_run, o->json, write_folder, &output, 1 };
    struct nb_error err;
    int code;

    if (nb_checkpoint_plan_make(&plan, source, &o->plan, &err) != NB_OK)
        return cli_fail(&err);
    if (!o->json)
        cli_print_notes(source);
    code = planned_run(&planned);
    nb_checkpoint_plan_free(&plan);
    return code;
}

int
cmd_dequantize(const struct cli_line *line)
{
    struct dequantize_options o = {
        .source = line->operands[0],
        .output = cli_text(line, OPT_OUTPUT),
        .as = { .model_class = cli_text(line, OPT_MODEL_CLASS),
                .follow_links = cli_has(line, OPT_FOLLOW_LINKS),
                .to_floats = true },
        .plan.dtype = cli_float_type(line, OPT_DTYPE, NB_BF16),
        .pipeline = { .threads = cli_number(line, OPT_THREADS, 0),
                      .replace = cli_has(line, OPT_FORCE),
                      .allow_nonfinite = cli_has(line, OPT_ALLOW_NONFINITE) },
        .dry_run = cli_has(line, OPT_DRY_RUN),
        .json = cli_has(line, OPT_JSON),
    };
    struct nb_as_checkpoint as;
    struct nb_source source;
    struct nb_error err;
    int code;

    if (o.output == NULL)
        o.output = default_name(&o);
    if (nb_source_open(&source, o.source, &o.as, &err) != NB_OK)
        return cli_fail(&err);
    if (nb_as_checkpoint_open(&as, &source, o.as.model_class, true, &err) == NB_OK) {
        code = dequantize(&o, as.source);
        nb_as_checkpoint_close(&as);
    } else {
        code = cli_fail(&err);
    }
    nb_source_close(&source);
    return code;
}
