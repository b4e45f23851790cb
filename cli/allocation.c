#include "cli/allocation.h"

#include "calib/effects.h"
#include "calib/effects_file.h"
#include "calib/texts.h"
#include "cli/cli.h"
#include "formats/base/file_in.h"
#include "formats/base/text.h"
#include "quantize/pipeline.h"
#include "quantize/policy/allocation.h"
#include "quantize/type_error.h"
#include "verify/run/model.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TOKENS 2048u  /* by which effects are measured */
#define ALIGNMENT 32u /* of tensors in a file */

/* By default: for rows that divide into super-blocks, and for others. */
static const enum nb_type usual[] = { NB_Q2_K, NB_Q3_K, NB_Q4_K, NB_Q5_K, NB_Q6_K, NB_Q8_0 };
static const enum nb_type simple[] = { NB_Q4_0, NB_Q4_1, NB_Q5_0, NB_Q5_1, NB_IQ4_NL, NB_Q8_0 };

struct run {
    struct quantize_options *options;
    const struct nb_source *source;
    struct nb_plan plan; /* of the recipe: sizes, importance, and what is quantized at all */
    struct nb_allocated *tensors;
    const struct nb_plan_tensor **planned; /* for each of them */
    size_t count;
    uint64_t other_bytes; /* of the file: the header, and tensors whose type is not chosen here */
    uint64_t other_tensor_bytes;
};

bool
allocation_is_wanted(const struct quantize_options *a)
{
    return a->target_size > 0 || a->target_bpw > 0 || a->max_kld > 0;
}

/* --- candidates ------------------------------------------------------------------------------------------------ */

static uint64_t
aligned(uint64_t bytes)
{
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static void
add_candidates(const struct nb_view *view, const enum nb_type *types, size_t n, struct nb_allocated *t)
{
    for (size_t i = 0; i < n && t->n < NB_MAX_CANDIDATES; i++) {
        const struct nb_type_info *info = nb_type_info(types[i]);

        if (view->ne[0] % info->block == 0)
            t->candidate[t->n++] =
                (struct nb_candidate){ types[i], aligned(view->elements / info->block * info->block_bytes), 0 };
    }
}

static enum nb_status
list_tensors(struct run *r, struct nb_error *err)
{
    const struct quantize_options *a = r->options;

    r->tensors = calloc(r->plan.n_tensors + 1, sizeof *r->tensors);
    r->planned = calloc(r->plan.n_tensors + 1, sizeof *r->planned);
    if (r->tensors == NULL || r->planned == NULL)
        return nb_fail_memory(err);
    for (size_t i = 0; i < r->plan.n_tensors; i++) {
        const struct nb_plan_tensor *p = &r->plan.tensors[i];
        struct nb_allocated *t = &r->tensors[r->count];

        if (p->choice.why == NB_WHY_KEPT || p->choice.why == NB_WHY_USER)
            continue;
        t->name = p->source->name;
        if (a->n_allowed > 0)
            add_candidates(p->source, a->allowed, a->n_allowed, t);
        else if (p->source->ne[0] % nb_type_info(NB_Q4_K)->block == 0)
            add_candidates(p->source, usual, sizeof usual / sizeof usual[0], t);
        if (t->n == 0)
            add_candidates(p->source, simple, sizeof simple / sizeof simple[0], t);
        if (t->n > 0)
            r->planned[r->count++] = p;
    }
    return NB_OK;
}

static size_t
smallest(const struct nb_allocated *t)
{
    size_t best = 0;

    for (size_t i = 1; i < t->n; i++)
        if (t->candidate[i].bytes < t->candidate[best].bytes)
            best = i;
    return best;
}

/* --- named types ----------------------------------------------------------------------------------------------- */

static int
by_name(const void *a, const void *b)
{
    return strcmp(((const struct nb_named_type *)a)->name, ((const struct nb_named_type *)b)->name);
}

/* Makes the options name the candidates that are chosen. */
static enum nb_status
name_types(struct run *r, struct nb_error *err)
{
    struct quantize_options *a = r->options;

    free(a->named);
    a->named = calloc(r->count + 1, sizeof *a->named);
    if (a->named == NULL)
        return nb_fail_memory(err);
    for (size_t i = 0; i < r->count; i++)
        a->named[i] = (struct nb_named_type){ r->tensors[i].name, r->tensors[i].candidate[r->tensors[i].chosen].type };
    qsort(a->named, r->count, sizeof *a->named, by_name);
    a->plan.recipe.named = a->named;
    a->plan.recipe.n_named = r->count;
    return NB_OK;
}

void
allocation_free(struct quantize_options *a)
{
    for (size_t i = 0; i < a->plan.recipe.n_named && a->owns_names; i++)
        free((char *)a->named[i].name);
    free(a->named);
}

/* --- effects --------------------------------------------------------------------------------------------------- */

static void
on_progress(void *context, const char *what, double share)
{
    cli_progress_share(context, share, what);
}

/* The text by which effects are measured; NULL: there is none. */
static const char *
text_of(const struct quantize_options *a)
{
    return a->refine != NULL ? a->refine : a->calibrate != NULL ? a->calibrate : cli_data_file("calibration.txt");
}

/* What the smallest type of each tensor does to the predictions, which the file PATH has. */
static enum nb_status
measure_file(struct run *r, const char *path, struct nb_effect **effects, size_t *n, struct nb_error *err)
{
    const uint32_t chunk = nb_calibration_chunk(r->source, r->options->chunk_tokens);
    struct nb_effects_options o = { .chunk_tokens = chunk,
                                    .chunks = TOKENS / chunk > 0 ? TOKENS / chunk : 1u,
                                    .threads = r->options->pipeline.threads,
                                    .progress = on_progress,
                                    .stop = cli_catch_signals() };
    struct cli_progress progress;
    struct nb_source file;
    struct nb_model model;
    struct nb_ids ids = { 0 };
    const char *text = text_of(r->options);
    enum nb_status status = NB_OK;

    if (text == NULL)
        return nb_fail(err, NB_USAGE, "the default calibration text was not found; name a text with --calibrate");
    status = nb_source_open(&file, path, NULL, err);
    if (status != NB_OK)
        return status;
    status = nb_model_open(&model, r->source, err);
    if (status == NB_OK) {
        cli_progress_start(&progress);
        o.context = &progress;
        *n = nb_effects_count(&model);
        *effects = calloc(*n, sizeof **effects);
        status = *effects == NULL ? nb_fail_memory(err)
                                  : nb_calibration_chunks(r->source, text, chunk, &ids, &o.bos, err);
        if (status == NB_OK)
            status = nb_effects_measure(&model, &file, ids.id, ids.count, &o, *effects, err);
        cli_progress_end(&progress);
        nb_ids_free(&ids);
        nb_model_close(&model);
    }
    nb_source_close(&file);
    return status;
}

/* The smallest types, in a file that is measured and then removed. */
static enum nb_status
measure(struct run *r, struct nb_effect **effects, size_t *n, struct nb_error *err)
{
    struct quantize_options *a = r->options;
    struct nb_pipeline_options o = a->pipeline;
    struct nb_plan plan;
    char *path = nb_joined(a->output, ".measuring");
    enum nb_status status = path == NULL ? nb_fail_memory(err) : NB_OK;

    for (size_t i = 0; i < r->count; i++)
        r->tensors[i].chosen = smallest(&r->tensors[i]);
    if (status == NB_OK)
        status = name_types(r, err);
    if (status == NB_OK)
        status = nb_plan_make(&plan, r->source, &a->plan, err);
    if (status == NB_OK) {
        o.replace = true;
        o.stop = cli_catch_signals();
        status = nb_pipeline_run(&plan, path, &o, err);
        nb_plan_free(&plan);
        if (status == NB_OK)
            status = measure_file(r, path, effects, n, err);
        unlink(path);
    }
    free(path);
    return status;
}

/* The costs of a tensor's candidates: what was measured of the smallest, and for others in proportion to their errors. */
static enum nb_status
cost_of(const struct nb_plan_tensor *p, double measured, struct nb_allocated *t, struct nb_error *err)
{
    const size_t base = smallest(t);
    enum nb_type types[NB_MAX_CANDIDATES];
    double errors[NB_MAX_CANDIDATES];
    enum nb_status status;

    for (size_t i = 0; i < t->n; i++)
        types[i] = t->candidate[i].type;
    status = nb_type_errors(p->source, p->importance, types, t->n, errors, err);
    for (size_t i = 0; i < t->n; i++)
        t->candidate[i].cost = errors[base] > 0 ? measured * errors[i] / errors[base] : 0;
    return status;
}

/* Measured costs; tensors that a pass does not use keep the type of the recipe. */
static enum nb_status
measure_costs(struct run *r, struct nb_error *err)
{
    struct nb_effect *effects = NULL;
    size_t n = 0, used = 0;
    enum nb_status status = measure(r, &effects, &n, err);

    for (size_t i = 0; i < r->count && status == NB_OK; i++) {
        size_t k = 0;

        while (k < n && (effects[k].name == NULL || strcmp(effects[k].name, r->tensors[i].name) != 0))
            k++;
        if (k == n)
            continue;
        status = cost_of(r->planned[i], effects[k].kld, &r->tensors[i], err);
        r->planned[used] = r->planned[i];
        r->tensors[used++] = r->tensors[i];
    }
    r->count = used;
    free(effects);
    if (status == NB_OK && r->options->effects != NULL)
        status = nb_effects_write(r->options->effects, r->tensors, r->count, err);
    return status;
}

/* --- the choice ------------------------------------------------------------------------------------------------- */

/* The bytes of what is not chosen here. */
static void
sum_others(struct run *r)
{
    uint64_t all = 0;

    r->other_bytes = r->plan.total_bytes;
    for (size_t i = 0; i < r->plan.n_tensors; i++)
        all += r->plan.tensors[i].bytes;
    r->other_tensor_bytes = all;
    for (size_t i = 0; i < r->plan.n_tensors; i++)
        for (size_t k = 0; k < r->count; k++)
            if (strcmp(r->plan.tensors[i].source->name, r->tensors[k].name) == 0) {
                r->other_bytes -= aligned(r->plan.tensors[i].bytes);
                r->other_tensor_bytes -= r->plan.tensors[i].bytes;
            }
}

/* The bytes that the chosen tensors may have. */
static uint64_t
budget(const struct run *r)
{
    const struct quantize_options *a = r->options;
    const uint64_t others = a->target_size > 0 ? r->other_bytes : r->other_tensor_bytes;
    const uint64_t wanted = a->target_size > 0 ? a->target_size
                                               : (uint64_t)(a->target_bpw * (double)r->plan.parameters / 8);

    return wanted > others ? wanted - others : 0;
}

static enum nb_status
choose(struct run *r, struct nb_error *err)
{
    const struct quantize_options *a = r->options;
    char least[CLI_TEXT];

    if (a->max_kld > 0)
        return nb_allocate_cost(r->tensors, r->count, a->max_kld)
                   ? NB_OK
                   : nb_fail(err, NB_INPUT, "even the best of the types that may be used cost a KLD of %.3g",
                             nb_allocated_cost(r->tensors, r->count));
    if (nb_allocate_bytes(r->tensors, r->count, budget(r)))
        return NB_OK;
    return nb_fail(err, NB_INPUT, "even with the smallest types that may be used the file has %s",
                   cli_bytes(least, (double)(r->other_bytes + nb_allocated_bytes(r->tensors, r->count))));
}

/* The recipe that has the type of most weights as its base gives the file its type. */
static void
take_recipe(struct run *r)
{
    uint64_t elements[NB_TYPES] = { 0 };
    enum nb_type most = NB_F32;
    const struct nb_recipe *recipe;

    for (size_t i = 0; i < r->count; i++) {
        const enum nb_type type = r->tensors[i].candidate[r->tensors[i].chosen].type;

        elements[type] += r->planned[i]->source->elements;
        most = elements[type] > elements[most] ? type : most;
    }
    recipe = nb_recipe_by_name(nb_type_info(most)->name);
    if (recipe != NULL)
        r->options->plan.recipe.recipe = recipe;
}

static enum nb_status
run(struct run *r, struct nb_error *err)
{
    struct quantize_options *a = r->options;
    const bool is_known = a->effects != NULL && nb_exists(a->effects);
    enum nb_status status = list_tensors(r, err);

    if (status == NB_OK)
        status = is_known ? nb_effects_take(a->effects, r->tensors, &r->count, err) : measure_costs(r, err);
    for (size_t i = 0; i < r->count && status == NB_OK && is_known; i++) /* some may have been left out */
        for (size_t k = 0; k < r->plan.n_tensors; k++)
            if (strcmp(r->plan.tensors[k].source->name, r->tensors[i].name) == 0)
                r->planned[i] = &r->plan.tensors[k];
    if (status != NB_OK)
        return status;
    sum_others(r);
    status = choose(r, err);
    if (status != NB_OK)
        return status;
    take_recipe(r);
    cli_note("types were chosen for an expected KLD of %.3g", nb_allocated_cost(r->tensors, r->count));
    return name_types(r, err);
}

/* The types of the tensors of FILE. */
static enum nb_status
take_types(struct quantize_options *a, const struct nb_source *file, size_t *n, struct nb_error *err)
{
    a->named = calloc(file->n_tensors + 1, sizeof *a->named);
    a->owns_names = true;
    if (a->named == NULL)
        return nb_fail_memory(err);
    for (; *n < file->n_tensors; ++*n) {
        a->named[*n] = (struct nb_named_type){ strdup(file->tensors[*n].name), file->tensors[*n].type };
        if (a->named[*n].name == NULL)
            return nb_fail_memory(err);
    }
    return NB_OK;
}

enum nb_status
allocation_like(struct quantize_options *a, struct nb_error *err)
{
    uint64_t elements[NB_TYPES] = { 0 };
    enum nb_type most = NB_F32;
    struct nb_source like;
    size_t n = 0;
    enum nb_status status = nb_source_open(&like, a->like, NULL, err);

    if (status != NB_OK)
        return status;
    for (size_t i = 0; i < like.n_tensors; i++) {
        const struct nb_view *t = &like.tensors[i];

        elements[t->type] += t->elements;
        most = elements[t->type] > elements[most] ? t->type : most;
    }
    status = take_types(a, &like, &n, err);
    nb_source_close(&like);
    a->plan.recipe.named = a->named;
    a->plan.recipe.n_named = n;
    if (status != NB_OK)
        return status;
    qsort(a->named, n, sizeof *a->named, by_name);
    if (nb_recipe_by_name(nb_type_info(most)->name) != NULL)
        a->plan.recipe.recipe = nb_recipe_by_name(nb_type_info(most)->name);
    return NB_OK;
}

enum nb_status
allocation_run(struct quantize_options *a, const struct nb_source *source, struct nb_error *err)
{
    struct run r = { .options = a, .source = source };
    const bool only_look = a->plan.only_look;
    enum nb_status status;

    a->plan.only_look = true;
    status = nb_plan_make(&r.plan, source, &a->plan, err);
    a->plan.only_look = only_look;
    if (status != NB_OK)
        return status;
    status = run(&r, err);
    nb_plan_free(&r.plan);
    free(r.tensors);
    free(r.planned);
    return status;
}
