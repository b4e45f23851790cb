/* nibble.h: checkpoint folders of floats, and MLX folders. */
#include "formats/base/public.h"
#include "formats/base/regex.h"
#include "formats/models/public_source.h"
#include "formats/models/reverse/as_checkpoint.h"
#include "quantize/checkpoint_plan.h"
#include "quantize/mlx_plan.h"

#include <stdlib.h>

/* F32, F16 or BF16; NULL is OTHERWISE. */
static enum nb_status
take_dtype(const char *name, enum nb_type otherwise, enum nb_type *out, struct nb_error *err)
{
    *out = name == NULL ? otherwise : nb_type_by_name(name);
    if (name == NULL || *out == NB_F32 || *out == NB_F16 || *out == NB_BF16)
        return NB_OK;
    return nb_fail(err, NB_USAGE, "dtype: '%.60s' is none of f32, f16 and bf16", name);
}

static struct nb_pipeline_options
pipeline_of(struct nb_public_run *run, bool allow_nonfinite)
{
    return (struct nb_pipeline_options){ .threads = run->threads,
                                         .allow_nonfinite = allow_nonfinite,
                                         .progress = nb_public_progress,
                                         .context = run,
                                         .stop = &run->stop };
}

/* --- floats ------------------------------------------------------------------------------------------------------- */

static enum nb_status
write_floats(const struct nb_source *source, const char *folder, const struct nb_checkpoint_plan_options *options,
             const struct nb_pipeline_options *pipeline, struct nb_error *err)
{
    struct nb_checkpoint_plan plan;
    enum nb_status status = nb_checkpoint_plan_make(&plan, source, options, err);

    if (status != NB_OK)
        return status;
    status = nb_checkpoint_plan_write(&plan, folder, pipeline, err);
    nb_checkpoint_plan_free(&plan);
    return status;
}

enum nibble_code
nibble_dequantize(const struct nibble_source *source, const char *folder,
                  const struct nibble_dequantize_options *options, const struct nibble_run *run,
                  struct nibble_error *error)
{
    struct nibble_dequantize_options o;
    struct nb_checkpoint_plan_options plan;
    struct nb_as_checkpoint as;
    struct nb_public_run r;
    struct nb_error err;
    enum nb_status status = NB_PUBLIC_TAKE(o, options, "nibble_dequantize_options", &err);

    if (status == NB_OK)
        status = nb_public_run(&r, run, &err);
    if (status == NB_OK)
        status = take_dtype(o.dtype, NB_BF16, &plan.dtype, &err);
    if (status == NB_OK)
        status = nb_as_checkpoint_open(&as, &source->source, o.model_class, true, &err);
    if (status == NB_OK) {
        const struct nb_pipeline_options pipeline = pipeline_of(&r, o.allow_nonfinite);

        status = write_floats(as.source, folder, &plan, &pipeline, &err);
        nb_as_checkpoint_close(&as);
    }
    return nb_public_end(status, &err, error);
}

/* --- MLX ---------------------------------------------------------------------------------------------------------- */

struct mlx {
    struct nibble_mlx_options o;
    struct nb_mlx_plan_options plan;
    struct nb_mlx_override *overrides;
    struct nb_imatrix imatrix;
    struct nb_public_run run;
};

static enum nb_status
find_recipe(const char *name, const struct nb_mlx_recipe **out, struct nb_error *err)
{
    *out = name == NULL ? NULL : nb_mlx_recipe_by_name(name);
    return *out != NULL ? NB_OK : nb_fail(err, NB_USAGE, "'%.60s' is not a recipe of MLX", name == NULL ? "" : name);
}

static enum nb_status
take_rules(struct mlx *m, struct nb_error *err)
{
    enum nb_status status = NB_OK;

    m->overrides = calloc(m->o.n_tensor_types + 1, sizeof *m->overrides);
    if (m->overrides == NULL)
        return nb_fail_memory(err);
    m->plan.recipe.overrides = m->overrides;
    for (size_t i = 0; i < m->o.n_tensor_types && status == NB_OK; i++) {
        struct nb_mlx_override *to = &m->overrides[i];

        to->pattern = m->o.tensor_types[i].pattern;
        status = find_recipe(m->o.tensor_types[i].type, &to->recipe, err);
        if (status == NB_OK && to->recipe->low != 0)
            status = nb_fail(err, NB_USAGE, "tensor_types: %s is a mixture, and not for one tensor", to->recipe->name);
        if (status == NB_OK && to->pattern == NULL)
            status = nb_fail(err, NB_USAGE, "tensor_types: rule %zu lacks a pattern", i);
        if (status == NB_OK && (to->regex = nb_regex_new(to->pattern, err)) == NULL)
            status = err->status;
        m->plan.recipe.n_overrides += status == NB_OK;
    }
    return status;
}

static enum nb_status
take_mlx_options(struct mlx *m, const struct nibble_mlx_options *options, const struct nibble_run *run,
                 struct nb_error *err)
{
    enum nb_status status = NB_PUBLIC_TAKE(m->o, options, "nibble_mlx_options", err);
    const uint32_t group = m->o.group_size;

    if (status == NB_OK)
        status = nb_public_run(&m->run, run, err);
    if (status == NB_OK)
        status = find_recipe(m->o.recipe == NULL ? "4bit" : m->o.recipe, &m->plan.recipe.recipe, err);
    if (status == NB_OK)
        status = take_dtype(m->o.dtype, NB_TYPE_NONE, &m->plan.dtype, err);
    if (status == NB_OK && group != 0 && group != 16 && group != 32 && group != 64 && group != 128)
        status = nb_fail(err, NB_USAGE, "group_size is %u, but must be 32, 64 or 128", (unsigned)group);
    m->plan.recipe.group = (uint16_t)group;
    m->plan.recipe.no_fallback = m->o.no_fallback;
    if (status == NB_OK)
        status = take_rules(m, err);
    if (status != NB_OK || m->o.imatrix == NULL)
        return status;
    status = nb_imatrix_load(&m->imatrix, m->o.imatrix, err);
    if (status != NB_OK) {
        m->imatrix = (struct nb_imatrix){ 0 };
        return status;
    }
    m->plan.imatrix = &m->imatrix;
    return nb_imatrix_select(&m->imatrix, m->o.imatrix, NULL, 0, NULL, 0, err);
}

static enum nb_status
write_mlx(struct mlx *m, const struct nb_source *source, const char *folder, struct nb_error *err)
{
    const struct nb_pipeline_options pipeline = pipeline_of(&m->run, false);
    struct nb_as_checkpoint as;
    struct nb_mlx_plan plan;
    enum nb_status status = nb_as_checkpoint_open(&as, source, m->o.model_class, false, err);

    if (status != NB_OK)
        return status;
    status = nb_mlx_plan_make(&plan, as.source, &m->plan, err);
    if (status == NB_OK) {
        status = nb_mlx_plan_write(&plan, folder, &pipeline, err);
        nb_mlx_plan_free(&plan);
    }
    nb_as_checkpoint_close(&as);
    return status;
}

enum nibble_code
nibble_quantize_mlx(const struct nibble_source *source, const char *folder, const struct nibble_mlx_options *options,
                    const struct nibble_run *run, struct nibble_error *error)
{
    struct mlx m = { .overrides = NULL };
    struct nb_error err;
    enum nb_status status = take_mlx_options(&m, options, run, &err);

    if (status == NB_OK)
        status = write_mlx(&m, &source->source, folder, &err);
    for (size_t i = 0; i < m.plan.recipe.n_overrides; i++)
        nb_regex_free(m.overrides[i].regex);
    free(m.overrides);
    nb_imatrix_free(&m.imatrix);
    return nb_public_end(status, &err, error);
}
