#include "cli/allocation.h"

#include "calib/types_by_effect.h"
#include "cli/cli.h"
#include "formats/base/file_in.h"

bool
allocation_is_wanted(const struct quantize_options *a)
{
    return a->target_size > 0 || a->target_bpw > 0 || a->max_kld > 0;
}

/* The text by which effects are measured; NULL: there is none. */
static const char *
text_of(const struct quantize_options *a)
{
    return a->refine != NULL ? a->refine : a->calibrate != NULL ? a->calibrate : cli_data_file("calibration.txt");
}

static enum nb_status
by_effect(struct quantize_options *a, const struct nb_source *source, struct nb_error *err)
{
    const struct nb_text text = quantize_text(a, text_of(a));
    struct cli_progress progress;
    const struct nb_type_search search = {
        .target_size = a->target_size,
        .target_bpw = a->target_bpw,
        .max_kld = a->max_kld,
        .allowed = a->allowed,
        .n_allowed = a->n_allowed,
        .effects = a->effects,
        .text = text.name == NULL ? NULL : &text,
        .chunk_tokens = a->chunk_tokens,
        .output = a->outputs[0].path != NULL ? a->outputs[0].path : "nibble",
        .threads = a->pipeline.threads,
        .allow_nonfinite = a->pipeline.allow_nonfinite,
        .watch = cli_step_watch(&progress),
    };
    enum nb_status status;

    if (text.name == NULL && (a->effects == NULL || !nb_exists(a->effects)))
        return nb_fail(err, NB_USAGE, "the default calibration text was not found; name a text with --calibrate");
    status = nb_types_by_effect(source, &a->plan, &search, &a->types_found, err);
    cli_progress_end(&progress);
    if (status == NB_OK)
        cli_note("types were chosen for an expected KLD of %.3g", a->types_found.kld);
    return status;
}

enum nb_status
allocation_run(struct quantize_options *a, const struct nb_source *source, struct nb_error *err)
{
    enum nb_status status = a->like != NULL ? nb_types_like(a->like, &a->types_found, err) : by_effect(a, source, err);

    if (status == NB_OK) {
        nb_types_use(&a->types_found, &a->plan);
        a->outputs[0].recipe = a->plan.recipe.recipe;
    }
    return status;
}
