#include "cli/fitting_recipe.h"

#include "cli/memory_fit.h"
#include "cli/model_shape.h"
#include "formats/base/status.h"
#include "formats/elements/types.h"
#include "formats/models/source.h"
#include "quantize/plan.h"
#include "quantize/policy/recipe.h"

#include <stdlib.h>
#include <string.h>

static bool
is_quantized(const struct nb_source *source)
{
    for (size_t i = 0; i < source->n_tensors; i++)
        if (nb_type_info(source->tensors[i].type)->block > 1)
            return true;
    return false;
}

static enum nb_type
embedding_type(const struct nb_source *source)
{
    for (size_t i = 0; i < source->n_tensors; i++)
        if (strcmp(source->tensors[i].name, "token_embd.weight") == 0)
            return source->tensors[i].type;
    return NB_TYPE_NONE;
}

/* Neither recipes for models that were trained in a type, nor those of floats other than the source's. */
static bool
is_worth_trying(const struct nb_recipe *recipe, enum nb_type stored)
{
    switch (recipe->base) {
    case NB_TYPE_NONE:
    case NB_MXFP4:
    case NB_TQ1_0:
    case NB_TQ2_0:
    case NB_Q1_0:
    case NB_Q2_0:
        return false;
    default:
        return nb_type_info(recipe->base)->block > 1 || recipe->base == stored;
    }
}

/* If what the plan of OPTIONS writes fits and is the largest so far, it is OUT. */
static enum nb_status
consider(const struct nb_source *source, const struct nb_plan_options *options, const struct memory_question *question,
         struct model_shape *shape, struct fitting_recipe *out)
{
    const struct nb_recipe *recipe = options->recipe.recipe;
    struct nb_plan plan;
    struct memory_fit fit;
    struct nb_error err;
    const enum nb_status status = nb_plan_make(&plan, source, options, &err);

    if (status != NB_OK)
        return status;
    out->can_quantize = true;
    shape_of_plan(&plan, shape);
    fit_memory(shape, &plan.meta, question, &fit);
    if (plan.total_bytes > out->file_bytes && fit.known && fit.fits &&
        (question->vram == 0 || fit.gpu_layers == fit.all_gpu_layers) &&
        (shape->bytes <= plan.source_bytes || nb_type_info(recipe->base)->block == 1))
        *out = (struct fitting_recipe){ recipe, plan.needs_importance, true, plan.total_bytes, fit };
    nb_plan_free(&plan);
    return NB_OK;
}

bool
find_fitting_recipe(const struct nb_source *source, const struct nb_plan_options *options,
                    const struct memory_question *question, struct fitting_recipe *out)
{
    struct model_shape *shape = malloc(sizeof *shape);
    struct nb_plan_options each = *options;
    const enum nb_type stored = embedding_type(source);
    size_t n;
    const struct nb_recipe *recipes = nb_recipes(&n);

    bool has_memory = shape != NULL;

    memset(out, 0, sizeof *out);
    each.only_look = true;
    if (is_quantized(source) && !options->allow_requantize)
        n = 0;
    for (size_t i = 0; i < n && has_memory; i++) {
        each.recipe.recipe = &recipes[i];
        if (is_worth_trying(&recipes[i], stored))
            has_memory = !nb_status_is(consider(source, &each, question, shape, out), NB_SYSTEM);
    }
    free(shape);
    return has_memory;
}
