/* nibble.h: quantizing a model by what flows through it. */
#include "calib/refine_model.h"
#include "calib/texts.h"
#include "calib/types_by_effect.h"
#include "calib/written_text.h"
#include "formats/base/file_in.h"
#include "formats/base/public.h"
#include "formats/models/public_source.h"
#include "quantize/pipeline.h"
#include "quantize/public_quantize.h"

#include <stdlib.h>
#include <string.h>

#define MIN_CHUNK 8u
#define MAX_CHUNK (1u << 20)
#define STEPS 1000 /* units of progress */

_Static_assert(NB_REFINE_KEYS <= NB_PUBLIC_KEYS, "they have room");

struct tune {
    const struct nb_source *source;
    const char *output;
    struct nb_public_quantize given;
    struct nibble_tune_options o;
    struct nb_text text;
    char *own_bytes; /* of it */
    struct nb_public_run run;
    struct nb_imatrix imatrix;
    enum nb_type *allowed;
    struct nb_refine_keys keys;
    struct nb_found_types types;
};

/* --- options ------------------------------------------------------------------------------------------------------ */

static bool
has_target(const struct nibble_tune_options *o)
{
    return o->target_bytes > 0 || o->target_bpw > 0 || o->max_kld > 0;
}

/* What excludes each other. */
static enum nb_status
check_options(const struct tune *t, struct nb_error *err)
{
    const struct nibble_tune_options *o = &t->o;
    const int targets = (o->target_bytes > 0) + (o->target_bpw > 0) + (o->max_kld > 0) + (o->like != NULL);
    const bool reads = o->refine || o->calibrate || (has_target(o) && (o->effects == NULL || !nb_exists(o->effects)));

    if (targets > 1)
        return nb_fail(err, NB_USAGE, "target_bytes, target_bpw, max_kld and like exclude each other");
    if (targets > 0 && (t->given.o.recipe != NULL || t->given.o.pure))
        return nb_fail(err, NB_USAGE, "recipe and pure do not go with types that are chosen for each tensor");
    if (!has_target(o) && (o->n_types > 0 || o->effects != NULL))
        return nb_fail(err, NB_USAGE, "types and effects need target_bytes, target_bpw or max_kld");
    if (!(o->target_bpw >= 0) || !(o->max_kld >= 0))
        return nb_fail(err, NB_USAGE, "target_bpw and max_kld are 0 or more");
    if ((o->refine || has_target(o)) && t->given.o.n_prune_layers > 0)
        return nb_fail(err, NB_USAGE, "the layers of prune_layers are needed; do one after the other");
    if (o->calibrate && t->given.o.imatrix != NULL)
        return nb_fail(err, NB_USAGE, "calibrate and imatrix exclude each other");
    if (t->given.o.dry_run)
        return nb_fail(err, NB_USAGE, "dry_run is for nibble_plan_new");
    if (o->write_text && o->text != NULL)
        return nb_fail(err, NB_USAGE, "text and write_text exclude each other");
    if (reads && !o->write_text && (o->text == NULL || o->text->name == NULL))
        return nb_fail(err, NB_USAGE, "there is no text, or it has no name");
    if (reads && o->text != NULL && o->text->bytes == NULL && strcmp(o->text->name, "-") == 0)
        return nb_fail(err, NB_USAGE, "the text is read more than once, and cannot come from the standard input");
    if (o->chunk_tokens != 0 && (o->chunk_tokens < MIN_CHUNK || o->chunk_tokens > MAX_CHUNK))
        return nb_fail(err, NB_USAGE, "chunk_tokens is %u, but must be 0 or %u to %u", (unsigned)o->chunk_tokens,
                       MIN_CHUNK, MAX_CHUNK);
    return NB_OK;
}

static enum nb_status
take_types(struct tune *t, struct nb_error *err)
{
    enum nb_status status = NB_OK;

    t->allowed = calloc(t->o.n_types + 1, sizeof *t->allowed);
    if (t->allowed == NULL)
        return nb_fail_memory(err);
    for (size_t i = 0; i < t->o.n_types && status == NB_OK; i++) {
        status = nb_public_type(t->o.types[i], &t->allowed[i], err);
        if (status == NB_OK && t->allowed[i] == NB_TYPE_NONE)
            status = nb_fail(err, NB_USAGE, "types: number %zu has no name", i);
    }
    return status;
}

static enum nb_status
take_options(struct tune *t, const struct nibble_quantize_options *options, const struct nibble_tune_options *tune,
             const struct nibble_run *run, struct nb_error *err)
{
    enum nb_status status = nb_public_quantize_take(&t->given, options, err);

    if (status == NB_OK)
        status = NB_PUBLIC_TAKE(t->o, tune, "nibble_tune_options", err);
    if (status == NB_OK)
        status = nb_public_run(&t->run, run, err);
    if (status == NB_OK)
        status = check_options(t, err);
    if (status == NB_OK)
        status = take_types(t, err);
    if (t->o.text != NULL)
        t->text = (struct nb_text){ t->o.text->name, t->o.text->bytes, t->o.text->length };
    return status;
}

/* --- the steps ---------------------------------------------------------------------------------------------------- */

static void
on_step(void *context, const char *step, double share)
{
    (void)step;
    nb_public_progress(context, (uint64_t)(share * STEPS), STEPS);
}

static void
on_chunks(void *context, uint32_t done, uint32_t total, double share)
{
    (void)done;
    (void)total;
    on_step(context, NULL, share);
}

static void
on_bytes(void *context, uint64_t done, uint64_t total)
{
    on_step(context, NULL, total > 0 ? (double)done / (double)total : 1);
}

static uint32_t
refine_tokens(const struct tune *t)
{
    return t->o.refine_tokens > 0 ? t->o.refine_tokens : NB_REFINE_TOKENS;
}

/* The importance matrix of the text. */
static enum nb_status
calibrate(struct tune *t, struct nb_error *err)
{
    struct nb_public_quantize *g = &t->given;
    const struct nb_calibration_texts texts = { &t->text, 1, 0, NULL, t->o.calibrate ? 0 : refine_tokens(t) };
    struct nb_calibrate_options o = { .chunk_tokens = nb_calibration_chunk(t->source, t->o.chunk_tokens),
                                      .threads = t->run.threads,
                                      .progress = on_chunks,
                                      .context = &t->run,
                                      .stop = &t->run.stop };
    struct nb_sums sums = { 0 };
    enum nb_status status = nb_calibrate_texts(t->source, &texts, &o, &sums, err);

    if (status == NB_OK)
        status = nb_sums_imatrix(&sums, &t->imatrix, err);
    nb_sums_free(&sums);
    if (status != NB_OK)
        return status;
    g->plan.imatrix = &t->imatrix;
    g->plan.imatrix_path = t->text.name;
    return nb_imatrix_select(&t->imatrix, t->text.name, g->o.include_weights, g->o.n_include_weights,
                             g->o.exclude_weights, g->o.n_exclude_weights, err);
}

static struct nb_step_watch
watch_of(struct tune *t)
{
    return (struct nb_step_watch){ .progress = on_step, .context = &t->run, .stop = &t->run.stop };
}

static enum nb_status
choose_types(struct tune *t, struct nb_error *err)
{
    const struct nb_type_search search = {
        .target_size = t->o.target_bytes,
        .target_bpw = t->o.target_bpw,
        .max_kld = t->o.max_kld,
        .allowed = t->allowed,
        .n_allowed = t->o.n_types,
        .effects = t->o.effects,
        .text = t->text.name == NULL ? NULL : &t->text,
        .chunk_tokens = t->o.chunk_tokens,
        .output = t->output,
        .threads = t->run.threads,
        .allow_nonfinite = t->given.o.allow_nonfinite,
        .watch = watch_of(t),
    };
    enum nb_status status = t->o.like != NULL   ? nb_types_like(t->o.like, &t->types, err)
                            : has_target(&t->o) ? nb_types_by_effect(t->source, &t->given.plan, &search, &t->types, err)
                                                : NB_OK;

    if (status == NB_OK && t->types.count > 0)
        nb_types_use(&t->types, &t->given.plan);
    return status;
}

static enum nb_status
add_keys(struct tune *t, struct nb_error *err)
{
    enum nb_status status = nb_refine_keys(&t->text, &t->keys, err);

    for (size_t i = 0; i < NB_REFINE_KEYS && status == NB_OK; i++)
        t->given.values[t->given.plan.n_overrides++] = t->keys.key[i];
    return status;
}

static enum nb_status
write_file(struct tune *t, const struct nb_plan *plan, struct nb_refine_summary *refinement, struct nb_error *err)
{
    const struct nb_refine_model_options refine = {
        .text = &t->text,
        .max_tokens = t->o.refine_tokens,
        .scratch = t->o.scratch,
        .chunk_tokens = t->o.chunk_tokens,
        .threads = t->run.threads,
        .replace = t->given.o.replace,
        .allow_nonfinite = t->given.o.allow_nonfinite,
        .watch = watch_of(t),
    };
    const struct nb_pipeline_options options = {
        .threads = t->run.threads,
        .replace = t->given.o.replace,
        .allow_nonfinite = t->given.o.allow_nonfinite,
        .progress = on_bytes,
        .context = &t->run,
        .stop = &t->run.stop,
    };
    enum nb_status status = nb_plan_check_output(plan, t->source, t->output, err);

    if (status != NB_OK)
        return status;
    return t->o.refine ? nb_refine_gguf(t->source, plan, t->output, &refine, refinement, err)
                       : nb_pipeline_run(plan, t->output, &options, err);
}

/* The text that the model writes. */
static enum nb_status
write_text(struct tune *t, struct nb_error *err)
{
    const struct nb_written_text_options options = {
        .tokens = refine_tokens(t), .chunk_tokens = t->o.chunk_tokens, .threads = t->run.threads, .watch = watch_of(t)
    };
    const enum nb_status status = nb_written_text(t->source, &options, &t->text, err);

    t->own_bytes = (char *)t->text.bytes;
    return status;
}

static enum nb_status
tune(struct tune *t, struct nb_refine_summary *refinement, struct nb_error *err)
{
    const bool calibrates = t->o.calibrate || (t->o.refine && t->given.o.imatrix == NULL);
    struct nb_plan plan;
    enum nb_status status = t->o.write_text ? write_text(t, err) : NB_OK;

    if (status == NB_OK)
        status = calibrates ? calibrate(t, err) : nb_public_quantize_imatrix(&t->given, &t->imatrix, err);
    if (status == NB_OK && t->o.refine) /* before sizes are counted */
        status = add_keys(t, err);
    if (status == NB_OK)
        status = choose_types(t, err);
    if (status == NB_OK)
        status = nb_plan_make(&plan, t->source, &t->given.plan, err);
    if (status != NB_OK)
        return status;
    status = write_file(t, &plan, refinement, err);
    nb_plan_free(&plan);
    return status;
}

static struct nibble_tuning
result_of(const struct tune *t, const struct nb_refine_summary *r)
{
    return (struct nibble_tuning){
        .expected_kld = t->types.kld,
        .matrices = r->matrices,
        .refined = r->refined,
        .tokens = r->tokens,
        .kld_before = r->kld_before,
        .kld = r->kld,
    };
}

enum nibble_code
nibble_tune(const struct nibble_source *source, const char *output, const struct nibble_quantize_options *options,
            const struct nibble_tune_options *tune_options, const struct nibble_run *run, struct nibble_tuning *out,
            struct nibble_error *error)
{
    struct tune t = { .source = &source->source, .output = output };
    struct nb_refine_summary refinement = { 0 };
    struct nibble_tuning result = { 0 };
    struct nb_error err;
    enum nb_status status = NB_OK;

    if (out != NULL) /* a struct that cannot be filled is refused before the work */
        status = NB_PUBLIC_GIVE(out, result, "nibble_tuning", &err);
    if (status == NB_OK)
        status = take_options(&t, options, tune_options, run, &err);
    if (status == NB_OK)
        status = tune(&t, &refinement, &err);
    result = result_of(&t, &refinement);
    if (status == NB_OK && out != NULL)
        status = NB_PUBLIC_GIVE(out, result, "nibble_tuning", &err);
    nb_types_free(&t.types);
    nb_imatrix_free(&t.imatrix);
    nb_public_quantize_free(&t.given);
    free(t.allowed);
    free(t.own_bytes);
    return nb_public_end(status, &err, error);
}
