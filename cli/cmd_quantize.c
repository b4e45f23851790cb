#include "cli/cli.h"

#include "calib/calibrate.h"
#include "calib/sums.h"
#include "cli/allocation.h"
#include "cli/calibration.h"
#include "cli/planned.h"
#include "cli/quantize_gguf.h"
#include "cli/quantize_mlx.h"
#include "cli/quantize_options.h"
#include "cli/refinement.h"
#include "formats/base/status.h"
#include "formats/imatrix/imatrix.h"
#include "formats/models/reverse/as_checkpoint.h"
#include "formats/models/source.h"
#include "quantize/pipeline.h"
#include "quantize/plan.h"
#include "verify/tokenize/agreement.h"

#include <stdio.h>
#include <stdlib.h>

/* All that is made of one source. */
struct quantization {
    struct quantize_options *options;
    const struct nb_source *source;
    const struct nb_source *checkpoint; /* what MLX folders are made of: SOURCE, or the checkpoint that became SOURCE */
    struct gguf_quantization gguf[MAX_OUTPUTS];
    struct mlx_quantization mlx[MAX_OUTPUTS];
    size_t n_gguf, n_mlx;
    struct planned_output outputs[MAX_OUTPUTS]; /* in the order in which they were named */
};

/* --- writing ----------------------------------------------------------------------------------------------------- */

/* Everything, with the source read once. */
static enum nb_status
write_all(const void *context, const struct nb_pipeline_options *options, struct nb_error *err)
{
    const struct quantization *q = context;
    struct nb_pipeline_product products[MAX_OUTPUTS];
    enum nb_status status = NB_OK;
    size_t made = 0;

    while (made < q->n_gguf && status == NB_OK) {
        status = nb_pipeline_product_of(&q->gguf[made].plan, q->gguf[made].output, &products[made], err);
        made += status == NB_OK;
    }
    for (size_t i = 0; i < q->n_mlx && status == NB_OK; i++)
        products[made + i] = nb_mlx_plan_product(&q->mlx[i].plan, q->mlx[i].output);
    if (status == NB_OK)
        status = nb_pipeline_write_all(products, q->n_gguf + q->n_mlx, options, err);
    for (size_t i = 0; i < made; i++)
        nb_pipeline_product_free(&products[i]);
    return status;
}

static enum nb_status
write_gguf(const void *plan, const char *name, const struct nb_pipeline_options *options, struct nb_error *err)
{
    return nb_pipeline_run(plan, name, options, err);
}

static enum nb_status
write_mlx(const void *plan, const char *name, const struct nb_pipeline_options *options, struct nb_error *err)
{
    return nb_mlx_plan_write(plan, name, options, err);
}

struct refinement {
    struct nb_refine_target target;
    struct nb_refine_summary *summary;
};

/* Of all outputs; returns how many. */
static size_t
list_refinements(struct quantization *q, struct refinement list[MAX_OUTPUTS])
{
    size_t count = 0;

    for (size_t i = 0; i < q->n_gguf; i++, count++)
        list[count] = (struct refinement){ { q->gguf[i].output, &q->gguf[i].plan, write_gguf, false },
                                           &q->gguf[i].refined };
    for (size_t i = 0; i < q->n_mlx; i++, count++)
        list[count] = (struct refinement){ { q->mlx[i].output, &q->mlx[i].plan, write_mlx, true }, &q->mlx[i].refined };
    return count;
}

/* What can be found out before the long work. */
static enum nb_status
check_refinements(const struct quantization *q, const struct refinement *list, size_t count, struct nb_error *err)
{
    enum nb_status status = NB_OK;

    for (size_t i = 0; i < q->n_gguf && status == NB_OK; i++)
        if (q->gguf[i].plan.n_files > 1)
            status = nb_fail(err, NB_USAGE, "--refine writes one file, and no parts (--keep-split)");
    for (size_t i = 0; i < q->n_mlx && status == NB_OK; i++)
        status = nb_mlx_tensors_check_readable(&q->mlx[i].plan.sources, q->checkpoint, err);
    for (size_t i = 0; i < count && status == NB_OK; i++)
        status = nb_refine_check_output(&list[i].target, q->options->pipeline.replace, err);
    return status;
}

/* One after the other. */
static enum nb_status
refine_all(struct quantization *q, struct nb_error *err)
{
    struct refinement list[MAX_OUTPUTS];
    const size_t count = list_refinements(q, list);
    enum nb_status status = check_refinements(q, list, count, err);
    size_t done = 0;

    while (done < count && status == NB_OK) {
        if (count > 1)
            cli_note("refining %s", list[done].target.output);
        status = refinement_run(q->options, q->source, &list[done].target, list[done].summary, err);
        done += status == NB_OK;
    }
    if (status != NB_OK && done > 0)
        cli_note("complete before this: %zu of %zu, up to %s; leave their recipes out to go on", done, count,
                 list[done - 1].target.output);
    return status;
}

static enum nb_status
write_outputs(void *context, struct nb_error *err)
{
    struct quantization *q = context;

    return q->options->refine != NULL ? refine_all(q, err) : planned_write(write_all, q, &q->options->pipeline, err);
}

/* --- what it is made with ---------------------------------------------------------------------------------------- */

#define GLANCE_TOKENS 8u

/* Whether of an importance matrix only the entries count that it will have. */
static bool
glances(const struct quantize_options *a)
{
    return a->dry_run && !allocation_is_wanted(a);
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
    if (glances(a))
        c.most_tokens = GLANCE_TOKENS;
    c.options = (struct nb_calibrate_options){ .chunk_tokens = glances(a) ? GLANCE_TOKENS : a->chunk_tokens,
                                               .threads = a->pipeline.threads };
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
    struct nb_written_text_options options = { .tokens = a->refine_tokens,
                                               .chunk_tokens = a->chunk_tokens,
                                               .threads = a->pipeline.threads,
                                               .watch = cli_step_watch(&progress) };
    enum nb_status status;

    if (glances(a)) {
        options.tokens = options.chunk_tokens = GLANCE_TOKENS;
        options.watch.note = NULL;
    }
    status = nb_written_text(source, &options, &a->written, err);
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

/* --- the whole --------------------------------------------------------------------------------------------------- */

static int
plan_output(struct quantization *q, const struct quantize_output *output)
{
    struct planned_output *planned = &q->outputs[q->n_gguf + q->n_mlx];
    int code;

    if (output->recipe != NULL) {
        struct gguf_quantization *g = &q->gguf[q->n_gguf];

        *planned = (struct planned_output){ g, quantize_gguf_print, quantize_gguf_summary, quantize_gguf_object };
        code = quantize_gguf_begin(g, q->options, output, q->source);
        q->n_gguf += code == NB_OK;
    } else {
        struct mlx_quantization *m = &q->mlx[q->n_mlx];

        *planned = (struct planned_output){ m, quantize_mlx_print, quantize_mlx_summary, quantize_mlx_object };
        code = quantize_mlx_begin(m, q->options, output, q->checkpoint);
        q->n_mlx += code == NB_OK;
    }
    return code;
}

/* Plans all outputs, writes them and reports. */
static int
run(struct quantization *q)
{
    const struct quantize_options *a = q->options;
    int code = NB_OK;

    if (!a->json) /* the object has all of them */
        cli_print_notes(a->to_mlx ? q->checkpoint : q->source);
    for (size_t i = 0; i < a->n_outputs && code == NB_OK; i++)
        code = plan_output(q, &a->outputs[i]);
    if (code == NB_OK)
        code = planned_run(&(struct planned){ q, a->dry_run, a->json, write_outputs, q->outputs, a->n_outputs });
    for (size_t i = 0; i < q->n_gguf; i++)
        nb_plan_free(&q->gguf[i].plan);
    for (size_t i = 0; i < q->n_mlx; i++)
        nb_mlx_plan_free(&q->mlx[i].plan);
    return code;
}

static int
run_with_mlx(struct quantization *q)
{
    struct nb_as_checkpoint as;
    struct nb_error err;
    int code;

    if (nb_as_checkpoint_open(&as, q->source, q->options->as.model_class, false, &err) != NB_OK)
        return cli_fail(&err);
    q->checkpoint = as.source;
    code = run(q);
    nb_as_checkpoint_close(&as);
    return code;
}

static int
quantize(struct quantize_options *a, const struct nb_source *source)
{
    struct quantization *q;
    struct nb_error err;
    int code;

    a->plan.only_look = a->dry_run;
    if (!a->to_mlx && a->refine != NULL && refinement_keys(a, &err) != NB_OK) /* before sizes are counted */
        return cli_fail(&err);
    if ((allocation_is_wanted(a) || a->like != NULL) && allocation_run(a, source, &err) != NB_OK)
        return cli_fail(&err);
    q = calloc(1, sizeof *q);
    if (q == NULL)
        return cli_fail_memory();
    q->options = a;
    q->source = source;
    code = a->to_mlx || a->also_mlx ? run_with_mlx(q) : run(q);
    free(q);
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
                   ? quantize(&a, &source)
                   : cli_fail(&err);
        nb_source_close(&source);
    }
    nb_imatrix_free(&imatrix);
    nb_types_free(&a.types_found);
    quantize_options_free(&a);
    return code;
}
