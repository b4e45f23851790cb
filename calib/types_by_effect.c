#include "calib/types_by_effect.h"

#include "calib/effects.h"
#include "calib/effects_file.h"
#include "calib/texts.h"
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
/* Beside the usual ones, where even these are too large: they take more time to read. */
static const enum nb_type smaller[] = { NB_IQ2_XXS, NB_IQ2_XS, NB_IQ2_S, NB_IQ3_XXS, NB_IQ3_S, NB_IQ4_XS };

struct run {
    const struct nb_type_search *search;
    const struct nb_source *source;
    struct nb_plan_options options; /* of plans; what is chosen comes to them */
    struct nb_plan plan;            /* of the recipe: sizes, importance, and what is quantized at all */
    struct nb_allocated *tensors;
    const struct nb_plan_tensor **planned; /* for each of them */
    size_t count;
    uint64_t other_bytes; /* of the file: the header, and tensors whose type is not chosen here */
    uint64_t other_tensor_bytes;
};

bool
nb_types_are_wanted(const struct nb_type_search *s)
{
    return s->target_size > 0 || s->target_bpw > 0 || s->max_kld > 0;
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
    const struct nb_type_search *s = r->search;

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
        if (s->n_allowed > 0)
            add_candidates(p->source, s->allowed, s->n_allowed, t);
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

static void
choose_smallest(struct run *r)
{
    for (size_t i = 0; i < r->count; i++)
        r->tensors[i].chosen = smallest(&r->tensors[i]);
}

/* --- named types ----------------------------------------------------------------------------------------------- */

static int
by_name(const void *a, const void *b)
{
    return strcmp(((const struct nb_named_type *)a)->name, ((const struct nb_named_type *)b)->name);
}

static enum nb_status
add_name(struct nb_found_types *found, const char *name, enum nb_type type, struct nb_error *err)
{
    char *copy = strdup(name);

    if (copy == NULL)
        return nb_fail_memory(err);
    found->named[found->count++] = (struct nb_named_type){ copy, type };
    return NB_OK;
}

/* The candidates that are chosen. */
static enum nb_status
name_types(const struct run *r, struct nb_found_types *found, struct nb_error *err)
{
    enum nb_status status = NB_OK;

    found->named = calloc(r->count + 1, sizeof *found->named);
    if (found->named == NULL)
        return nb_fail_memory(err);
    for (size_t i = 0; i < r->count && status == NB_OK; i++)
        status = add_name(found, r->tensors[i].name, r->tensors[i].candidate[r->tensors[i].chosen].type, err);
    qsort(found->named, found->count, sizeof *found->named, by_name);
    return status;
}

void
nb_types_use(const struct nb_found_types *found, struct nb_plan_options *plan)
{
    plan->recipe.named = found->named;
    plan->recipe.n_named = found->count;
    if (found->recipe != NULL)
        plan->recipe.recipe = found->recipe;
}

void
nb_types_free(struct nb_found_types *found)
{
    for (size_t i = 0; i < found->count; i++)
        free((char *)found->named[i].name);
    free(found->named);
    *found = (struct nb_found_types){ 0 };
}

/* --- effects --------------------------------------------------------------------------------------------------- */

/* What the smallest type of each tensor does to the predictions of MODEL, which FILE has. */
static enum nb_status
measure_file(struct run *r, struct nb_model *model, const struct nb_source *file, struct nb_effect **effects, size_t *n,
             struct nb_error *err)
{
    const struct nb_type_search *s = r->search;
    const uint32_t chunk = nb_calibration_chunk(r->source, s->chunk_tokens);
    struct nb_effects_options o = { .chunk_tokens = chunk,
                                    .chunks = TOKENS / chunk > 0 ? TOKENS / chunk : 1u,
                                    .threads = s->threads,
                                    .progress = s->watch.progress,
                                    .context = s->watch.context,
                                    .stop = s->watch.stop };
    struct nb_ids ids = { 0 };
    enum nb_status status = nb_calibration_chunks(r->source, s->text, chunk, &ids, &o.bos, err);

    *n = nb_effects_count(model);
    *effects = calloc(*n, sizeof **effects);
    if (status == NB_OK && *effects == NULL)
        status = nb_fail_memory(err);
    if (status == NB_OK)
        status = nb_effects_measure(model, file, ids.id, ids.count, &o, *effects, err);
    nb_ids_free(&ids);
    return status;
}

static enum nb_status
measure_path(struct run *r, const char *path, struct nb_effect **effects, size_t *n, struct nb_error *err)
{
    struct nb_source file;
    struct nb_model model;
    enum nb_status status = nb_source_open(&file, path, NULL, err);

    if (status != NB_OK)
        return status;
    status = nb_model_open(&model, r->source, err);
    if (status == NB_OK) {
        status = measure_file(r, &model, &file, effects, n, err);
        nb_model_close(&model);
    }
    nb_source_close(&file);
    return status;
}

/* The smallest types, in the file PATH. */
static enum nb_status
write_smallest(struct run *r, const char *path, struct nb_error *err)
{
    const struct nb_pipeline_options o = { .threads = r->search->threads,
                                           .replace = true,
                                           .allow_nonfinite = r->search->allow_nonfinite,
                                           .stop = r->search->watch.stop };
    struct nb_plan_options options = r->options;
    struct nb_found_types small = { 0 };
    struct nb_plan plan;
    enum nb_status status;

    choose_smallest(r);
    status = name_types(r, &small, err);
    nb_types_use(&small, &options);
    if (status == NB_OK)
        status = nb_plan_make(&plan, r->source, &options, err);
    if (status == NB_OK) {
        status = nb_pipeline_run(&plan, path, &o, err);
        nb_plan_free(&plan);
    }
    nb_types_free(&small);
    return status;
}

/* Of a file that is measured and then removed. */
static enum nb_status
measure(struct run *r, struct nb_effect **effects, size_t *n, struct nb_error *err)
{
    char *path;
    enum nb_status status;

    if (r->search->text == NULL)
        return nb_fail(err, NB_USAGE, "there is no text to measure by what the types do");
    path = nb_joined(r->search->output, ".measuring");
    if (path == NULL)
        return nb_fail_memory(err);
    status = write_smallest(r, path, err);
    if (status == NB_OK)
        status = measure_path(r, path, effects, n, err);
    unlink(path);
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
    if (status == NB_OK && r->search->effects != NULL)
        status = nb_effects_write(r->search->effects, r->tensors, r->count, err);
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
    const struct nb_type_search *s = r->search;
    const uint64_t others = s->target_size > 0 ? r->other_bytes : r->other_tensor_bytes;
    const uint64_t wanted = s->target_size > 0 ? s->target_size
                                               : (uint64_t)(s->target_bpw * (double)r->plan.parameters / 8);

    return wanted > others ? wanted - others : 0;
}

static enum nb_status
too_large(const struct run *r, struct nb_error *err)
{
    char least[32];

    return nb_fail(err, NB_INPUT, "even with the smallest types that may be used the file has %s",
                   nb_scaled(least, sizeof least, (double)(r->other_bytes + nb_allocated_bytes(r->tensors, r->count)),
                             "B"));
}

static bool
fits(struct run *r)
{
    choose_smallest(r);
    return r->search->max_kld > 0 || nb_allocated_bytes(r->tensors, r->count) <= budget(r);
}

/* Adds smaller types where the usual ones are too large, and tells what cannot be before anything is measured. */
static enum nb_status
check_budget(struct run *r, struct nb_error *err)
{
    const struct nb_step_watch *watch = &r->search->watch;

    sum_others(r);
    if (fits(r))
        return NB_OK;
    for (size_t i = 0; i < r->count && r->search->n_allowed == 0; i++)
        for (size_t k = 0; k < sizeof smaller / sizeof smaller[0]; k++)
            if (r->planned[i]->importance != NULL || nb_type_info(smaller[k])->importance != NB_IMPORTANCE_NEEDED)
                add_candidates(r->planned[i]->source, &smaller[k], 1, &r->tensors[i]);
    if (!fits(r))
        return too_large(r, err);
    if (watch->note != NULL)
        watch->note(watch->context, "K-quants are too large for that; i-quants, which are slower, are used as well");
    return NB_OK;
}

static enum nb_status
choose(struct run *r, struct nb_error *err)
{
    if (r->search->max_kld > 0)
        return nb_allocate_cost(r->tensors, r->count, r->search->max_kld)
                   ? NB_OK
                   : nb_fail(err, NB_INPUT, "even the best of the types that may be used cost a KLD of %.3g",
                             nb_allocated_cost(r->tensors, r->count));
    if (nb_allocate_bytes(r->tensors, r->count, budget(r)))
        return NB_OK;
    return too_large(r, err);
}

/* The recipe with the type of most of these weights as its base; NULL if there is none. */
static const struct nb_recipe *
recipe_of(const uint64_t elements[NB_TYPES])
{
    enum nb_type most = NB_F32;

    for (unsigned type = 0; type < NB_TYPES; type++)
        if (elements[type] > elements[most])
            most = (enum nb_type)type;
    return nb_recipe_by_name(nb_type_info(most)->name);
}

static enum nb_status
give(const struct run *r, struct nb_found_types *found, struct nb_error *err)
{
    uint64_t elements[NB_TYPES] = { 0 };

    for (size_t i = 0; i < r->count; i++)
        elements[r->tensors[i].candidate[r->tensors[i].chosen].type] += r->planned[i]->source->elements;
    found->recipe = recipe_of(elements);
    found->kld = nb_allocated_cost(r->tensors, r->count);
    return name_types(r, found, err);
}

static enum nb_status
run(struct run *r, struct nb_found_types *found, struct nb_error *err)
{
    const char *effects = r->search->effects;
    const bool is_known = effects != NULL && nb_exists(effects);
    enum nb_status status = list_tensors(r, err);

    if (status == NB_OK && !is_known)
        status = check_budget(r, err);
    if (status == NB_OK)
        status = is_known ? nb_effects_take(effects, r->tensors, &r->count, err) : measure_costs(r, err);
    for (size_t i = 0; i < r->count && status == NB_OK && is_known; i++) /* some may have been left out */
        for (size_t k = 0; k < r->plan.n_tensors; k++)
            if (strcmp(r->plan.tensors[k].source->name, r->tensors[i].name) == 0)
                r->planned[i] = &r->plan.tensors[k];
    if (status != NB_OK)
        return status;
    sum_others(r);
    status = choose(r, err);
    return status == NB_OK ? give(r, found, err) : status;
}

enum nb_status
nb_types_by_effect(const struct nb_source *source, const struct nb_plan_options *plan,
                   const struct nb_type_search *search, struct nb_found_types *found, struct nb_error *err)
{
    struct run r = { .search = search, .source = source, .options = *plan };
    struct nb_plan_options look = *plan;
    enum nb_status status;

    *found = (struct nb_found_types){ 0 };
    look.only_look = true;
    status = nb_plan_make(&r.plan, source, &look, err);
    if (status != NB_OK)
        return status;
    status = run(&r, found, err);
    nb_plan_free(&r.plan);
    free(r.tensors);
    free(r.planned);
    if (status != NB_OK)
        nb_types_free(found);
    return status;
}

enum nb_status
nb_types_like(const char *path, struct nb_found_types *found, struct nb_error *err)
{
    uint64_t elements[NB_TYPES] = { 0 };
    struct nb_source like;
    enum nb_status status = nb_source_open(&like, path, NULL, err);

    *found = (struct nb_found_types){ 0 };
    if (status != NB_OK)
        return status;
    found->named = calloc(like.n_tensors + 1, sizeof *found->named);
    if (found->named == NULL)
        status = nb_fail_memory(err);
    for (size_t i = 0; i < like.n_tensors && status == NB_OK; i++) {
        elements[like.tensors[i].type] += like.tensors[i].elements;
        status = add_name(found, like.tensors[i].name, like.tensors[i].type, err);
    }
    nb_source_close(&like);
    if (status != NB_OK) {
        nb_types_free(found);
        return status;
    }
    qsort(found->named, found->count, sizeof *found->named, by_name);
    found->recipe = recipe_of(elements);
    return NB_OK;
}
