#include "cli/cli.h"

#include "calib/calibrate.h"
#include "calib/sums.h"
#include "cli/allocation.h"
#include "cli/calibration.h"
#include "cli/memory_report.h"
#include "cli/planned.h"
#include "cli/quantize_mlx.h"
#include "cli/quantize_options.h"
#include "cli/refinement.h"
#include "formats/base/status.h"
#include "formats/elements/tier.h"
#include "formats/elements/types.h"
#include "formats/imatrix/imatrix.h"
#include "formats/models/model_name.h"
#include "formats/models/reverse/as_checkpoint.h"
#include "formats/models/source.h"
#include "quantize/pipeline.h"
#include "quantize/plan.h"
#include "quantize/policy/recipe.h"
#include "verify/tokenize/agreement.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static const char *
reason(const struct nb_choice *choice)
{
    switch (choice->why) {
    case NB_WHY_KEPT:
        return "kept";
    case NB_WHY_BASE:
        return "recipe";
    case NB_WHY_RULE:
        return "rule";
    case NB_WHY_USER:
        return "asked";
    case NB_WHY_FALLBACK:
    default:
        return "fallback";
    }
}

static bool
is_same_fallback(const struct nb_plan_tensor *a, const struct nb_plan_tensor *b)
{
    return b->choice.why == NB_WHY_FALLBACK && a->choice.meant == b->choice.meant && a->choice.type == b->choice.type &&
           a->source->ne[0] == b->source->ne[0];
}

static bool
is_first_of_fallback(const struct nb_plan *plan, size_t i)
{
    if (plan->tensors[i].choice.why != NB_WHY_FALLBACK)
        return false;
    for (size_t k = 0; k < i; k++)
        if (is_same_fallback(&plan->tensors[i], &plan->tensors[k]))
            return false;
    return true;
}

/* How many tensors get another type than the one that was meant, and which; the plan, with -v, names them. */
static void
print_fallbacks(const struct nb_plan *plan)
{
    const char *separator = ":";

    if (plan->n_fallbacks == 0)
        return;
    cli_colored(stderr, CLI_CARE, "warning:");
    cli_print_to(stderr, " %zu of %zu tensors have rows that do not divide into blocks of the type they should get",
                 plan->n_fallbacks, plan->n_tensors);
    for (size_t i = 0; i < plan->n_tensors; i++) {
        const struct nb_plan_tensor *t = &plan->tensors[i];
        size_t count = 0;

        if (!is_first_of_fallback(plan, i))
            continue;
        for (size_t k = i; k < plan->n_tensors; k++)
            count += is_same_fallback(t, &plan->tensors[k]);
        cli_print_to(stderr, "%s %zu of %s get %s (rows of %" PRIu64 ")", separator, count,
                     nb_type_info(t->choice.meant)->name, nb_type_info(t->choice.type)->name, t->source->ne[0]);
        separator = ",";
    }
    cli_print_to(stderr, "%s\n", cli_is_verbose() ? "" : "; -v names them");
}

#define NAMES 3 /* of a list, without -v */

/* The tensors whose type uses importance and for which the matrix has no entry. */
static void
print_lacking(const struct nb_plan *plan)
{
    size_t count = 0, named = 0;

    for (size_t i = 0; i < plan->n_tensors; i++)
        count += plan->tensors[i].lacks_importance;
    if (count == 0)
        return;
    cli_colored(stderr, CLI_CARE, "warning:");
    cli_print_to(stderr, " %zu %s quantized without importance, because the matrix has no entry for %s:", count,
                 count == 1 ? "tensor is" : "tensors are", count == 1 ? "it" : "them");
    for (size_t i = 0; i < plan->n_tensors && (named < NAMES || cli_is_verbose()); i++)
        if (plan->tensors[i].lacks_importance)
            cli_print_to(stderr, "%s %s", named++ == 0 ? "" : ",", plan->tensors[i].source->name);
    if (named < count)
        cli_print_to(stderr, " and %zu more; -v names them", count - named);
    cli_print_to(stderr, "\n");
}

/* "q4_K 21, q6_K 8, f32 9" */
static void
print_type_counts(const struct nb_plan *plan)
{
    size_t counts[NB_TYPES] = { 0 };
    bool first = true;

    for (size_t i = 0; i < plan->n_tensors; i++)
        counts[plan->tensors[i].choice.type]++;
    for (unsigned t = 0; t < NB_TYPES; t++) {
        if (counts[t] > 0) {
            cli_print("%s%zu %s", first ? "" : ", ", counts[t], nb_type_info((enum nb_type)t)->name);
            first = false;
        }
    }
}

/* What is done, and with what. */
struct quantization {
    const struct quantize_options *options;
    const struct nb_source *source;
    const struct nb_plan *plan;
    struct mlx_quantization *mlx; /* of --also-mlx; NULL: none */
    struct nb_refine_summary refined;
};

static json_t *
plan_json(void *context)
{
    const struct quantization *q = context;
    const struct quantize_options *a = q->options;
    const struct nb_source *source = q->source;
    const struct nb_plan *plan = q->plan;
    const struct memory_subject subject = { source, plan, &a->plan };
    json_t *object, *tensors = cli_json_array();

    for (size_t i = 0; i < plan->n_tensors; i++) {
        const struct nb_plan_tensor *t = &plan->tensors[i];
        json_t *shape = cli_json_array();

        for (uint32_t d = 0; d < t->source->n_dims; d++)
            cli_json_add(shape, cli_json_integer((json_int_t)t->source->ne[d]));
        cli_json_add(tensors, cli_json("{s:s, s:s, s:o, s:s, s:s, s:s, s:s, s:b, s:I, s:I}", "name", t->source->name,
                                       "source_name", t->source->source_name, "shape", shape, "source_type",
                                       nb_type_info(t->source->type)->name, "type", nb_type_info(t->choice.type)->name,
                                       "meant", nb_type_info(t->choice.meant)->name, "why", reason(&t->choice),
                                       "importance", (int)(t->importance != NULL), "source_bytes",
                                       (json_int_t)t->source->bytes, "bytes", (json_int_t)t->bytes));
    }
    object = cli_json("{s:s, s:s, s:s, s:i, s:b, s:I, s:I, s:I, s:f, s:I, s:o, s:o}", "source", a->source, "output",
                      a->output, "recipe", a->plan.recipe.recipe->name, "files", (int)plan->n_files, "dry_run",
                      (int)a->dry_run, "parameters", (json_int_t)plan->parameters, "source_bytes",
                      (json_int_t)plan->source_bytes, "file_bytes", (json_int_t)plan->total_bytes, "bpw",
                      nb_plan_bpw(plan), "fallbacks", (json_int_t)plan->n_fallbacks, "tensors", tensors, "notes",
                      cli_notes_json(source));
    if (a->dry_run)
        cli_json_set(object, "memory", memory_json(&subject, &a->memory));
    refinement_json(object, &q->refined);
    if (q->mlx != NULL)
        cli_json_set(object, "mlx", quantize_mlx_object(q->mlx));
    return object;
}

static void
print_plan(void *context, FILE *f)
{
    const struct quantization *q = context;
    const struct nb_plan *plan = q->plan;
    char shape[CLI_TEXT], bytes[CLI_TEXT];

    for (size_t i = 0; i < plan->n_tensors; i++) {
        const struct nb_plan_tensor *t = &plan->tensors[i];

        cli_print_to(f, "%-36s", t->source->name);
        if (cli_is_wide())
            cli_print_to(f, " %18s ", cli_shape(shape, t->source));
        cli_print_to(f, " %7s -> %-7s %-8s %10s\n", nb_type_info(t->source->type)->name,
                     nb_type_info(t->choice.type)->name, reason(&t->choice), cli_bytes(bytes, (double)t->bytes));
    }
    if (q->mlx != NULL)
        quantize_mlx_print(q->mlx, f);
}

static int
print_summary(void *context, double seconds)
{
    const struct quantization *q = context;
    const struct quantize_options *a = q->options;
    const struct nb_plan *plan = q->plan;
    const struct memory_subject subject = { q->source, plan, &a->plan };
    char x[CLI_TEXT], y[CLI_TEXT], z[CLI_TEXT];

    cli_print("%s -> %s (%s", a->source, a->output, a->plan.recipe.recipe->name);
    if (plan->n_files > 1)
        cli_print(", in %u parts", (unsigned)plan->n_files);
    cli_print(")\n  ");
    cli_print("%s parameters in %zu tensor%s: ", cli_count(x, (double)plan->parameters), plan->n_tensors,
              cli_s(plan->n_tensors));
    print_type_counts(plan);
    cli_print("\n  %s -> %s, %.2f bits per weight", cli_bytes(x, (double)plan->source_bytes),
              cli_bytes(y, (double)plan->total_bytes), nb_plan_bpw(plan));
    if (a->dry_run)
        cli_print(" (nothing written)\n");
    else
        cli_print(", in %.2f s (%s/s, %s)\n", seconds, cli_bytes(z, (double)plan->source_bytes / seconds), nb_tier());
    refinement_print(&q->refined);
    if (q->mlx != NULL)
        (void)quantize_mlx_summary(q->mlx, seconds);
    return a->dry_run ? print_memory(&subject, &a->memory) : NB_OK;
}

static enum nb_status
write_plan(const void *plan, const char *name, const struct nb_pipeline_options *options, struct nb_error *err)
{
    return nb_pipeline_run(plan, name, options, err);
}

/* The file and the folder, with the source read once. */
static enum nb_status
write_both(const void *plan, const char *name, const struct nb_pipeline_options *options, struct nb_error *err)
{
    const struct quantization *q = plan;
    struct nb_pipeline_product products[2];
    enum nb_status status = nb_pipeline_product_of(q->plan, name, &products[0], err);

    if (status != NB_OK)
        return status;
    products[1] = nb_mlx_plan_product(&q->mlx->plan, q->mlx->output);
    status = nb_pipeline_write_all(products, 2, options, err);
    nb_pipeline_product_free(&products[0]);
    return status;
}

static enum nb_status
write_file(void *context, struct nb_error *err)
{
    struct quantization *q = context;
    const struct quantize_options *a = q->options;
    const struct nb_refine_target target = { a->output, q->plan, write_plan, false };

    if (q->mlx != NULL)
        return planned_write(write_both, q, a->output, &a->pipeline, err);
    if (a->refine == NULL)
        return planned_write(write_plan, q->plan, a->output, &a->pipeline, err);
    if (q->plan->n_files > 1)
        return nb_fail(err, NB_USAGE, "--refine writes one file, and no parts (--keep-split)");
    return refinement_run(a, q->source, &target, &q->refined, err);
}

static int
run_plan(struct quantization *q)
{
    const struct quantize_options *a = q->options;
    const struct planned planned = { q, a->dry_run, a->json, write_file, print_plan, print_summary, plan_json };
    struct nb_error err;

    return nb_plan_check_output(q->plan, q->source, a->output, &err) == NB_OK ? planned_run(&planned) : cli_fail(&err);
}

/* With the folder of --also-mlx, which CHECKPOINT becomes: SOURCE, or what it was made of. */
static int
run_both(struct quantization *q, struct quantize_options *a, const struct nb_source *checkpoint)
{
    struct mlx_quantization mlx;
    int code = quantize_mlx_begin(&mlx, a, checkpoint, q->source);

    if (code != NB_OK)
        return code;
    q->mlx = &mlx;
    code = run_plan(q);
    q->mlx = NULL;
    nb_mlx_plan_free(&mlx.plan);
    return code;
}

static int
run_with_mlx(struct quantization *q, struct quantize_options *a)
{
    struct nb_as_checkpoint as;
    struct nb_error err;
    int code;

    if (nb_as_checkpoint_open(&as, q->source, a->as.model_class, false, &err) != NB_OK)
        return cli_fail(&err);
    code = run_both(q, a, as.source);
    nb_as_checkpoint_close(&as);
    return code;
}

/* The matrix of --calibrate: SOURCE itself is run. */
static enum nb_status
make_imatrix(const struct quantize_options *a, const struct nb_source *source, struct nb_imatrix *imatrix,
             struct nb_error *err)
{
    struct calibration c = { .text = { quantize_text(a, a->calibrate) }, .texts = 1 };
    struct nb_sums sums = { 0 };
    enum nb_status status;

    if (a->calibrate == a->refine) /* its blocks are only where refinement begins */
        c.most_tokens = a->refine_tokens;
    c.options = (struct nb_calibrate_options){ .chunk_tokens = a->chunk_tokens, .threads = a->pipeline.threads };
    status = calibration_run(&c, source, &sums, err);
    if (status == NB_OK)
        status = nb_sums_imatrix(&sums, imatrix, err);
    nb_sums_free(&sums);
    return status;
}

/* The text of --refine self. */
static enum nb_status
write_text(struct quantize_options *a, const struct nb_source *source, struct nb_error *err)
{
    struct cli_progress progress;
    const struct nb_written_text_options options = { .tokens = a->refine_tokens,
                                                     .chunk_tokens = a->chunk_tokens,
                                                     .threads = a->pipeline.threads,
                                                     .watch = cli_step_watch(&progress) };
    enum nb_status status = nb_written_text(source, &options, &a->written, err);

    cli_progress_end(&progress);
    return status;
}

/* The matrix of --imatrix or --calibrate, filtered and checked; an empty one without either. */
static enum nb_status
load_imatrix(struct quantize_options *a, const struct nb_source *source, struct nb_imatrix *imatrix,
             struct nb_error *err)
{
    enum nb_status status;

    *imatrix = (struct nb_imatrix){ 0 };
    if (a->refines_by_itself && (status = write_text(a, source, err)) != NB_OK)
        return status;
    if (a->plan.imatrix_path == NULL)
        return NB_OK;
    status = a->calibrate != NULL ? make_imatrix(a, source, imatrix, err)
                                  : nb_imatrix_load(imatrix, a->plan.imatrix_path, err);
    if (status != NB_OK)
        return status;
    a->plan.imatrix = imatrix;
    return nb_imatrix_select(imatrix, a->plan.imatrix_path, a->include, a->n_include, a->exclude, a->n_exclude, err);
}

static int
quantize(struct quantize_options *a, const struct nb_source *source)
{
    struct nb_plan plan;
    struct quantization q = { .options = a, .source = source, .plan = &plan };
    struct nb_error err;
    char name[240]; /* with ".partial" added still short enough for every file system */
    int code;

    a->plan.only_look = a->dry_run;
    if (a->refine != NULL && refinement_keys(a, &err) != NB_OK) /* before sizes are counted */
        return cli_fail(&err);
    if ((allocation_is_wanted(a) || a->like != NULL) && allocation_run(a, source, &err) != NB_OK)
        return cli_fail(&err);
    if (nb_plan_make(&plan, source, &a->plan, &err) != NB_OK)
        return cli_fail(&err);
    if (a->output == NULL) {
        nb_gguf_file_name(&plan.meta, a->plan.recipe.recipe->name, name, sizeof name);
        a->output = name;
    }
    if (!a->json) { /* the object has all of them */
        cli_print_notes(source);
        print_fallbacks(&plan);
        print_lacking(&plan);
        if (plan.needs_importance)
            cli_warn("this is refused without --dry-run, because it needs an importance matrix (--imatrix)");
    }
    code = a->also_mlx ? run_with_mlx(&q, a) : run_plan(&q);
    nb_plan_free(&plan);
    return code;
}

/* Refuses a folder whose texts would become other tokens, unless that was asked for or nothing is written. */
static enum nb_status
check_tokens(const struct quantize_options *a, struct nb_source *source, struct nb_error *err)
{
    char what[NB_DIFFERENCE_TEXT];
    enum nb_agreement agreement;
    enum nb_status status;

    if (source->kind != NB_SOURCE_CHECKPOINT || a->to_mlx) /* MLX reads the folder's own tokenizer */
        return NB_OK;
    status = nb_agreement_of(source, &agreement, what, err);
    if (status != NB_OK || agreement == NB_AGREES)
        return status;
    if (agreement == NB_AGREEMENT_UNKNOWN)
        nb_source_note(source, "whether llama.cpp makes the same tokens of a text is not known: %s", what);
    else if (agreement == NB_DIFFERS_IN_RARE_TEXT)
        nb_source_note(
            source,
            "llama.cpp makes other tokens of rare texts (control tokens, combining marks, a space at the beginning): %s",
            what);
    else if (a->allow_other_tokens || a->dry_run)
        nb_source_note(source, "llama.cpp makes other tokens of a text: %s", what);
    else
        return nb_fail(err, NB_UNSUPPORTED,
                       "%s: llama.cpp would make other tokens of a text than the model was trained with: %s "
                       "(--allow-other-tokens writes the file anyway)",
                       source->path, what);
    return NB_OK;
}

static int
quantize_as(struct quantize_options *a, const struct nb_source *source)
{
    struct nb_as_checkpoint as;
    struct nb_error err;
    int code;

    if (!a->to_mlx)
        return quantize(a, source);
    if (nb_as_checkpoint_open(&as, source, a->as.model_class, false, &err) != NB_OK)
        return cli_fail(&err);
    code = quantize_mlx(a, as.source, source);
    nb_as_checkpoint_close(&as);
    return code;
}

int
cmd_quantize(const struct cli_line *line)
{
    static struct quantize_options a; /* tens of kilobytes */
    struct nb_imatrix imatrix = { 0 };
    struct nb_source source;
    struct nb_error err;
    int code = quantize_options_read(&a, line);

    if (code == NB_OK && nb_source_open(&source, a.source, &a.as, &err) != NB_OK) {
        code = cli_fail(&err);
    } else if (code == NB_OK) {
        code = check_tokens(&a, &source, &err) == NB_OK && refinement_check(&a, &err) == NB_OK &&
                       load_imatrix(&a, &source, &imatrix, &err) == NB_OK
                   ? quantize_as(&a, &source)
                   : cli_fail(&err);
        nb_source_close(&source);
    }
    nb_imatrix_free(&imatrix);
    nb_types_free(&a.types_found);
    quantize_options_free(&a);
    return code;
}
