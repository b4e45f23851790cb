/* nibble.h: quantizing a model. */
#include "quantize/public_quantize.h"
#include "formats/base/public.h"
#include "formats/base/regex.h"
#include "formats/gguf/public_metadata.h"
#include "formats/imatrix/imatrix.h"
#include "formats/models/model_name.h"
#include "formats/models/public_source.h"
#include "quantize/pipeline.h"
#include "quantize/plan.h"
#include "quantize/policy/recipe.h"
#include "quantize/search/encode.h"

#include <stdlib.h>
#include <string.h>

/* --- recipes --------------------------------------------------------------------------------------------- */

static enum nb_status
give_recipe(const struct nb_recipe *recipe, struct nibble_recipe *out, struct nb_error *err)
{
    const struct nibble_recipe own = {
        .name = recipe->name,
        .description = recipe->description,
        .type = recipe->base == NB_TYPE_NONE ? NULL : nb_type_info(recipe->base)->name,
        .file_type = recipe->file_type,
    };

    return NB_PUBLIC_GIVE(out, own, "nibble_recipe", err);
}

static enum nb_status
find_recipe(const char *name, const struct nb_recipe **out, struct nb_error *err)
{
    *out = nb_recipe_by_name(name);
    return *out != NULL ? NB_OK : nb_fail(err, NB_USAGE, "'%.60s' is not a recipe", name);
}

size_t
nibble_recipe_count(void)
{
    size_t count;

    nb_recipes(&count);
    return count;
}

enum nibble_code
nibble_recipe_at(size_t index, struct nibble_recipe *out, struct nibble_error *error)
{
    struct nb_error err;
    size_t count;
    const struct nb_recipe *recipes = nb_recipes(&count);
    enum nb_status status = nb_public_check_index(index, count, "recipes", &err);

    return nb_public_end(status == NB_OK ? give_recipe(&recipes[index], out, &err) : status, &err, error);
}

enum nibble_code
nibble_recipe_find(const char *name, struct nibble_recipe *out, struct nibble_error *error)
{
    struct nb_error err;
    const struct nb_recipe *recipe;
    enum nb_status status = find_recipe(name, &recipe, &err);

    return nb_public_end(status == NB_OK ? give_recipe(recipe, out, &err) : status, &err, error);
}

/* --- options --------------------------------------------------------------------------------------------- */

struct nibble_plan {
    struct nb_plan plan;
    struct nb_imatrix imatrix;
    const struct nb_source *source;
    const char *recipe;
    char file_name[240]; /* with ".partial" after it still a name that file systems take */
    bool replace, allow_nonfinite;
};

void
nb_public_quantize_free(struct nb_public_quantize *g)
{
    for (size_t i = 0; i < g->plan.recipe.n_overrides; i++)
        nb_regex_free(g->types[i].regex);
    free(g->types);
    free(g->values);
    free(g->prune);
}

enum nb_status
nb_public_type(const char *name, enum nb_type *out, struct nb_error *err)
{
    *out = NB_TYPE_NONE;
    if (name == NULL)
        return NB_OK;
    *out = nb_type_by_name(name);
    if (*out == NB_TYPE_NONE)
        return nb_fail(err, NB_USAGE, "'%.60s' is not a type of tensors", name);
    return nb_can_encode(*out) ? NB_OK : nb_fail(err, NB_USAGE, "%s cannot be written", nb_type_info(*out)->name);
}

static enum nb_status
take_rules(struct nb_public_quantize *g, struct nb_error *err)
{
    enum nb_status status = NB_OK;

    g->types = calloc(g->o.n_tensor_types + 1, sizeof *g->types);
    if (g->types == NULL)
        return nb_fail_memory(err);
    g->plan.recipe.overrides = g->types;
    for (size_t i = 0; i < g->o.n_tensor_types && status == NB_OK; i++) {
        struct nb_type_override *to = &g->types[i];

        to->pattern = g->o.tensor_types[i].pattern;
        status = nb_public_type(g->o.tensor_types[i].type, &to->type, err);
        if (status != NB_OK)
            return status;
        if (to->type == NB_TYPE_NONE || to->pattern == NULL)
            return nb_fail(err, NB_USAGE, "tensor_types: rule %zu lacks a pattern or a type", i);
        to->regex = nb_regex_new(to->pattern, err);
        if (to->regex == NULL)
            return err->status;
        g->plan.recipe.n_overrides++;
    }
    return status;
}

static enum nb_status
take_value(const struct nb_kv *kv, struct nb_kv_override *to, struct nb_error *err)
{
    if (strcmp(kv->key, "general.alignment") == 0 || strncmp(kv->key, "split.", 6) == 0)
        return nb_fail(err, NB_USAGE, "key '%s' describes the file itself and cannot be set", kv->key);
    if (kv->type == NB_KV_ARRAY)
        return nb_fail(err, NB_USAGE, "key '%s' is an array; only single values can be set", kv->key);
    *to = (struct nb_kv_override){ .key = kv->key, .type = kv->type };
    if (kv->type == NB_KV_STRING)
        to->value.text = (const char *)kv->data;
    else /* a float or an integer, little-endian */
        memcpy(&to->value, kv->data, (size_t)kv->size);
    return NB_OK;
}

static enum nb_status
take_metadata(struct nb_public_quantize *g, struct nb_error *err)
{
    const struct nb_metadata *meta = nb_public_metadata(g->o.metadata);
    enum nb_status status = NB_OK;

    g->values = calloc((meta == NULL ? 0 : meta->count) + NB_PUBLIC_KEYS, sizeof *g->values);
    if (g->values == NULL)
        return nb_fail_memory(err);
    g->plan.overrides = g->values;
    g->plan.n_overrides = meta == NULL ? 0 : meta->count;
    for (size_t i = 0; i < g->plan.n_overrides && status == NB_OK; i++)
        status = take_value(&meta->items[i], &g->values[i], err);
    return status;
}

/* Each layer once. */
static enum nb_status
take_layers(struct nb_public_quantize *g, struct nb_error *err)
{
    g->prune = calloc(g->o.n_prune_layers + 1, sizeof *g->prune);
    if (g->prune == NULL)
        return nb_fail_memory(err);
    g->plan.prune = g->prune;
    for (size_t i = 0; i < g->o.n_prune_layers; i++) {
        size_t k = 0;

        while (k < g->plan.n_prune && g->prune[k] != g->o.prune_layers[i])
            k++;
        if (k == g->plan.n_prune)
            g->prune[g->plan.n_prune++] = g->o.prune_layers[i];
    }
    return NB_OK;
}

enum nb_status
nb_public_quantize_take(struct nb_public_quantize *g, const struct nibble_quantize_options *options,
                        struct nb_error *err)
{
    struct nb_recipe_options *r = &g->plan.recipe;
    enum nb_status status;

    *g = (struct nb_public_quantize){ 0 };
    status = NB_PUBLIC_TAKE(g->o, options, "nibble_quantize_options", err);
    if (status == NB_OK)
        status = find_recipe(g->o.recipe == NULL ? "Q4_K_M" : g->o.recipe, &r->recipe, err);
    if (status == NB_OK)
        status = nb_public_type(g->o.output_type, &r->output_type, err);
    if (status == NB_OK)
        status = nb_public_type(g->o.embedding_type, &r->embedding_type, err);
    if (status == NB_OK)
        status = nb_public_type(g->o.via, &g->plan.via, err);
    if (status == NB_OK && g->o.via != NULL && g->plan.via != NB_F16 && g->plan.via != NB_BF16)
        status = nb_fail(err, NB_USAGE, "via: '%s' is neither f16 nor bf16", g->o.via);
    if (status == NB_OK)
        status = take_rules(g, err);
    if (status == NB_OK)
        status = take_metadata(g, err);
    if (status == NB_OK)
        status = take_layers(g, err);
    r->pure = g->o.pure;
    r->leave_output = g->o.leave_output;
    r->no_fallback = g->o.no_fallback;
    g->plan.keep_split = g->o.keep_split;
    g->plan.allow_requantize = g->o.allow_requantize || g->o.requantize_all;
    r->requantize_all = g->o.requantize_all;
    g->plan.only_look = g->o.dry_run;
    return status;
}

enum nb_status
nb_public_quantize_imatrix(struct nb_public_quantize *g, struct nb_imatrix *imatrix, struct nb_error *err)
{
    const size_t chosen = g->o.n_include_weights + g->o.n_exclude_weights;
    enum nb_status status;

    if (g->o.n_include_weights > 0 && g->o.n_exclude_weights > 0)
        return nb_fail(err, NB_USAGE, "include_weights and exclude_weights exclude each other");
    if (g->o.imatrix == NULL)
        return chosen == 0 ? NB_OK
                           : nb_fail(err, NB_USAGE, "include_weights and exclude_weights choose from an imatrix");
    status = nb_imatrix_load(imatrix, g->o.imatrix, err);
    if (status != NB_OK) {
        *imatrix = (struct nb_imatrix){ 0 };
        return status;
    }
    g->plan.imatrix = imatrix;
    g->plan.imatrix_path = g->o.imatrix;
    return nb_imatrix_select(imatrix, g->o.imatrix, g->o.include_weights, g->o.n_include_weights, g->o.exclude_weights,
                             g->o.n_exclude_weights, err);
}

/* --- plans ----------------------------------------------------------------------------------------------- */

static enum nb_status
make_plan(struct nibble_plan *p, struct nb_public_quantize *g, struct nb_error *err)
{
    enum nb_status status = nb_public_quantize_imatrix(g, &p->imatrix, err);

    if (status == NB_OK)
        status = nb_plan_make(&p->plan, p->source, &g->plan, err);
    if (status != NB_OK)
        return status;
    p->recipe = g->plan.recipe.recipe->name;
    p->replace = g->o.replace;
    p->allow_nonfinite = g->o.allow_nonfinite;
    nb_gguf_file_name(&p->plan.meta, p->recipe, p->file_name, sizeof p->file_name);
    return NB_OK;
}

enum nibble_code
nibble_plan_new(const struct nibble_source *source, const struct nibble_quantize_options *options,
                struct nibble_plan **out, struct nibble_error *error)
{
    struct nibble_plan *p = calloc(1, sizeof *p);
    struct nb_public_quantize given;
    struct nb_error err;
    enum nb_status status = nb_public_quantize_take(&given, options, &err);

    if (status == NB_OK && p == NULL)
        status = nb_fail_memory(&err);
    if (status == NB_OK) {
        p->source = &source->source;
        status = make_plan(p, &given, &err);
    }
    nb_public_quantize_free(&given);
    if (status != NB_OK) {
        nibble_plan_free(p);
        p = NULL;
    }
    *out = p;
    return nb_public_end(status, &err, error);
}

void
nibble_plan_free(struct nibble_plan *p)
{
    if (p == NULL)
        return;
    nb_plan_free(&p->plan);
    nb_imatrix_free(&p->imatrix);
    free(p);
}

void
nibble_plan_get_info(const struct nibble_plan *p, struct nibble_plan_info *out)
{
    struct nibble_plan_info info = {
        .recipe = p->recipe,
        .file_name = p->file_name,
        .tensors = p->plan.n_tensors,
        .files = p->plan.n_files,
        .parameters = p->plan.parameters,
        .source_bytes = p->plan.source_bytes,
        .file_bytes = p->plan.total_bytes,
        .bits_per_parameter = nb_plan_bpw(&p->plan),
        .fallbacks = p->plan.n_fallbacks,
        .needs_importance = p->plan.needs_importance,
    };

    for (size_t i = 0; i < p->plan.n_tensors; i++)
        info.lack_importance += p->plan.tensors[i].lacks_importance;
    NB_PUBLIC_GIVE(out, info, "nibble_plan_info", NULL);
}

static enum nibble_reason
reason_of(enum nb_reason why)
{
    static const enum nibble_reason reasons[] = {
        [NB_WHY_KEPT] = NIBBLE_WHY_KEPT, [NB_WHY_BASE] = NIBBLE_WHY_RECIPE,       [NB_WHY_RULE] = NIBBLE_WHY_RULE,
        [NB_WHY_USER] = NIBBLE_WHY_USER, [NB_WHY_FALLBACK] = NIBBLE_WHY_FALLBACK,
    };

    return reasons[why];
}

enum nibble_code
nibble_plan_tensor(const struct nibble_plan *p, size_t index, struct nibble_planned_tensor *out,
                   struct nibble_error *error)
{
    struct nb_error err;
    enum nb_status status = nb_public_check_index(index, p->plan.n_tensors, "tensors", &err);

    if (status == NB_OK) {
        const struct nb_plan_tensor *t = &p->plan.tensors[index];
        struct nibble_planned_tensor tensor = {
            .name = t->source->name,
            .stored_name = t->source->source_name,
            .dims = t->source->n_dims,
            .source_type = nb_type_info(t->source->type)->name,
            .source_bytes = t->source->bytes,
            .type = nb_type_info(t->choice.type)->name,
            .meant = nb_type_info(t->choice.meant)->name,
            .reason = reason_of(t->choice.why),
            .importance = t->importance != NULL,
            .lacks_importance = t->lacks_importance,
            .file = t->file,
            .offset = t->offset,
            .bytes = t->bytes,
        };

        memcpy(tensor.shape, t->source->ne, sizeof tensor.shape);
        status = NB_PUBLIC_GIVE(out, tensor, "nibble_planned_tensor", &err);
    }
    return nb_public_end(status, &err, error);
}

static enum nb_status
write_plan(const struct nibble_plan *p, const char *output, const struct nibble_run *run, struct nb_error *err)
{
    struct nb_public_run r;
    enum nb_status status = nb_public_run(&r, run, err);
    const struct nb_pipeline_options options = {
        .threads = r.threads,
        .replace = p->replace,
        .allow_nonfinite = p->allow_nonfinite,
        .progress = nb_public_progress,
        .context = &r,
        .stop = &r.stop,
    };

    if (status == NB_OK && p->plan.needs_importance)
        status = nb_fail(err, NB_USAGE, "a tensor would become a type that needs an importance matrix");
    if (status == NB_OK)
        status = nb_plan_check_output(&p->plan, p->source, output, err);
    return status == NB_OK ? nb_pipeline_run(&p->plan, output, &options, err) : status;
}

enum nibble_code
nibble_plan_write(const struct nibble_plan *p, const char *output, const struct nibble_run *run,
                  struct nibble_error *error)
{
    struct nb_error err;

    return nb_public_end(write_plan(p, output, run, &err), &err, error);
}

enum nibble_code
nibble_quantize(const struct nibble_source *source, const char *output, const struct nibble_quantize_options *options,
                const struct nibble_run *run, struct nibble_error *error)
{
    struct nibble_plan *plan;
    enum nibble_code code = nibble_plan_new(source, options, &plan, error);

    if (code == NIBBLE_OK)
        code = nibble_plan_write(plan, output, run, error);
    nibble_plan_free(plan);
    return code;
}
