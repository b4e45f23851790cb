#include "cli/quantize_mlx.h"

#include "cli/planned.h"
#include "cli/refinement.h"
#include "formats/base/text.h"
#include "formats/elements/types.h"
#include "quantize/mlx_plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* "4bit g64", "mxfp4", "bf16" */
static const char *
format_text(const struct nb_mlx_plan_tensor *t, char text[CLI_TEXT])
{
    const struct nb_mlx_format *f = &t->choice.format;

    if (f->bits == 0)
        snprintf(text, CLI_TEXT, "%s", nb_type_info(t->type)->name);
    else if (f->mode == NB_MLX_AFFINE)
        snprintf(text, CLI_TEXT, "%ubit g%u", (unsigned)f->bits, (unsigned)f->group);
    else
        snprintf(text, CLI_TEXT, "%s", nb_mlx_mode_name(f->mode));
    return text;
}

json_t *
quantize_mlx_object(void *context)
{
    const struct mlx_quantization *q = context;
    const struct quantize_options *a = q->options;
    const struct nb_mlx_plan *plan = &q->plan;
    json_t *object, *tensors = cli_json_array();

    for (size_t i = 0; i < plan->sources.count; i++) {
        const struct nb_mlx_plan_tensor *t = &plan->tensors[i];
        const struct nb_view *v = &t->source->view;
        json_t *shape = cli_json_array();
        char format[CLI_TEXT];

        for (uint32_t d = v->n_dims; d-- > 0;)
            cli_json_add(shape, cli_json_integer((json_int_t)v->ne[d]));
        cli_json_add(tensors,
                     cli_json("{s:s, s:s, s:o, s:s, s:s, s:s, s:b, s:I, s:I, s:I}", "name", v->name, "source_name",
                              v->source_name, "shape", shape, "source_type", nb_type_info(v->type)->name, "format",
                              format_text(t, format), "why", quantize_reason(t->choice.why), "importance",
                              (int)(t->importance != NULL), "lost_blocks", (json_int_t)plan->lost[i], "source_bytes",
                              (json_int_t)v->bytes, "bytes", (json_int_t)t->bytes));
    }
    object = cli_json("{s:s, s:s, s:s, s:s, s:i, s:b, s:I, s:I, s:I, s:f, s:I, s:o, s:o}", "source", a->source,
                      "output", q->output, "format", "mlx", "recipe", q->how.recipe.recipe->name, "files",
                      (int)plan->folder.n_files, "dry_run", (int)a->dry_run, "parameters", (json_int_t)plan->parameters,
                      "source_bytes", (json_int_t)plan->source_bytes, "file_bytes",
                      (json_int_t)plan->folder.total_bytes, "bpw", nb_mlx_plan_bpw(plan), "fallbacks",
                      (json_int_t)plan->n_fallbacks, "tensors", tensors, "notes", cli_notes_json(q->source));
    refinement_json(object, &q->refined);
    return object;
}

void
quantize_mlx_print(void *context, FILE *f)
{
    const struct nb_mlx_plan *plan = &((const struct mlx_quantization *)context)->plan;
    char shape[CLI_TEXT], bytes[CLI_TEXT], format[CLI_TEXT];

    for (size_t i = 0; i < plan->sources.count; i++) {
        const struct nb_mlx_plan_tensor *t = &plan->tensors[i];

        cli_print_to(f, "%-48s", t->source->view.name);
        if (cli_is_wide())
            cli_print_to(f, " %18s ", cli_shape(shape, &t->source->view));
        cli_print_to(f, " %s -> %-9s %-8s %10s\n", nb_type_info(t->source->view.type)->name, format_text(t, format),
                     quantize_reason(t->choice.why), cli_bytes(bytes, (double)t->bytes));
    }
}

/* What the user should know before the work. */
static void
print_warnings(const struct mlx_quantization *q)
{
    const struct nb_mlx_plan *plan = &q->plan;
    size_t lacking = 0;

    for (size_t i = 0; i < plan->sources.count; i++)
        lacking += plan->tensors[i].lacks_importance;
    if (plan->n_fallbacks > 0)
        cli_warn("%zu matrices are not quantized, because their rows do not divide into groups of %u%s",
                 plan->n_fallbacks, (unsigned)nb_mlx_base_format(&q->how.recipe).group,
                 cli_is_verbose() ? "" : "; -v names them");
    if (lacking > 0)
        cli_warn(
            "%zu of the matrices are fitted with equal importance for all columns, because the importance matrix has no "
            "entry for them",
            lacking);
    if (plan->sources.n_left_out > 0)
        cli_note("%zu tensors of layers that predict further tokens are left out, as mlx-lm does",
                 plan->sources.n_left_out);
}

/* Blocks of NVFP4 whose weights were too small for any scale. */
static void
print_lost(const struct nb_mlx_plan *plan)
{
    size_t blocks = 0, tensors = 0, most = 0;

    for (size_t i = 0; i < plan->sources.count; i++) {
        blocks += plan->lost[i];
        tensors += plan->lost[i] > 0;
        most = plan->lost[i] > plan->lost[most] ? i : most;
    }
    if (blocks > 0)
        cli_warn(
            "%zu blocks of 16 weights in %zu tensors became zero, because MLX has no scale of NVFP4 below 0.002; most "
            "are in %s (--tensor-type gives it another format)",
            blocks, tensors, plan->sources.tensors[most].module);
}

int
quantize_mlx_summary(void *context, double seconds)
{
    const struct mlx_quantization *q = context;
    const struct quantize_options *a = q->options;
    const struct nb_mlx_plan *plan = &q->plan;
    char x[CLI_TEXT], y[CLI_TEXT];
    size_t quantized = 0;

    for (size_t i = 0; i < plan->sources.count; i++)
        quantized += plan->tensors[i].choice.format.bits > 0;
    cli_print("%s -> %s (MLX, %s)\n", a->source, q->output, q->how.recipe.recipe->name);
    cli_print("  %s parameters in %zu tensor%s, %zu of them quantized", cli_count(x, (double)plan->parameters),
              plan->sources.count, cli_s(plan->sources.count), quantized);
    cli_print("\n  %s -> %s, %.3f bits per weight", cli_bytes(x, (double)plan->source_bytes),
              cli_bytes(y, (double)plan->folder.total_bytes), nb_mlx_plan_bpw(plan));
    planned_print_time(a->dry_run, seconds, plan->source_bytes);
    refinement_print(&q->refined);
    print_lost(plan);
    return NB_OK;
}

/* The last part of the source's path and the recipe: "Llama-3.2-1B-4bit". */
static void
default_name(const struct mlx_quantization *q, char *name, size_t size)
{
    char base[200];

    cli_model_name(q->options->source, base, sizeof base);
    snprintf(name, size, "%s-%s", base, q->how.recipe.recipe->name);
}

int
quantize_mlx_begin(struct mlx_quantization *q, const struct quantize_options *a, const struct quantize_output *output,
                   const struct nb_source *source)
{
    struct nb_error err;

    *q = (struct mlx_quantization){ .options = a, .how = a->mlx, .source = source, .output = output->path };
    q->how.recipe.recipe = output->mlx_recipe;
    q->how.imatrix = a->plan.imatrix;
    if (nb_mlx_plan_make(&q->plan, source, &q->how, &err) != NB_OK)
        return cli_fail(&err);
    if (q->output == NULL) {
        default_name(q, q->name, sizeof q->name);
        q->output = q->name;
    }
    if (!a->json)
        print_warnings(q);
    return NB_OK;
}
