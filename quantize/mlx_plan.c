#include "quantize/mlx_plan.h"

#include "formats/base/checked.h"
#include "formats/mlx/file_order.h"
#include "formats/mlx/texts.h"
#include "quantize/search/mlx.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct planner {
    struct nb_mlx_plan *plan;
    const struct nb_source *source;
    const struct nb_mlx_plan_options *options;
    enum nb_type dtype;
    struct nb_folder_array *arrays; /* in the order of the model */
    size_t n_arrays;
    struct nb_error *err;
};

/* --- formats ------------------------------------------------------------------------------------------------- */

static enum nb_type
type_of(const struct planner *p, const struct nb_mlx_tensor *t)
{
    const enum nb_type stored = t->view.type;
    const bool keeps = t->kind == NB_MLX_AS_STORED || p->dtype == NB_TYPE_NONE;

    if (t->kind == NB_MLX_CODES || t->kind == NB_MLX_SCALES)
        return NB_U8;
    if (!keeps)
        return p->dtype;
    return stored == NB_F16 || stored == NB_BF16 ? stored : NB_F32;
}

/* The entry of the importance matrix for what a tensor of the GGUF file makes of the same columns; NULL: none. */
static const struct nb_imatrix_entry *
importance_of(const struct planner *p, const struct nb_mlx_tensor *t)
{
    for (size_t i = 0; i < p->source->n_tensors; i++) {
        const struct nb_view *v = &p->source->tensors[i];

        if (v->pieces->stored == t->view.pieces->stored && v->ne[0] == t->view.ne[0] && !v->transposed &&
            !t->view.transposed && v->column_order.n == 0)
            return nb_imatrix_find(p->options->imatrix, v->name);
    }
    return NULL;
}

/* COUNT times the weight 1; NULL if out of memory. */
static const float *
equal_weights(struct planner *p, uint64_t count)
{
    float *ones = nb_arena_calloc(&p->plan->folder.arena, count, sizeof *ones);

    for (uint64_t i = 0; i < count && ones != NULL; i++)
        ones[i] = 1;
    return ones;
}

/* With a matrix, those that it has no entry for are fitted, too, but with equal weights. */
static enum nb_status
take_importance(struct planner *p, struct nb_mlx_plan_tensor *t)
{
    const struct nb_mlx_tensor *from = t->source;
    const uint64_t expected = from->view.ne[0] * from->view.ne[2] * from->view.ne[3];
    const struct nb_imatrix_entry *e;

    if (p->options->imatrix == NULL || p->options->imatrix->count == 0 || t->choice.format.bits == 0 ||
        t->choice.format.mode != NB_MLX_AFFINE)
        return NB_OK;
    e = importance_of(p, from);
    t->lacks_importance = e == NULL || e->count != expected;
    t->importance = t->lacks_importance ? equal_weights(p, expected) : e->values;
    return t->importance == NULL ? nb_fail_memory(p->err) : NB_OK;
}

static enum nb_status
choose_formats(struct planner *p)
{
    struct nb_mlx_plan *plan = p->plan;
    const size_t n = plan->sources.count;
    struct nb_mlx_choice *choices = calloc(n + 1, sizeof *choices);
    enum nb_status status = choices == NULL ? nb_fail_memory(p->err) : NB_OK;

    plan->parameters = plan->sources.parameters;
    plan->tensors = calloc(n + 1, sizeof *plan->tensors);
    if (status == NB_OK && plan->tensors == NULL)
        status = nb_fail_memory(p->err);
    if (status == NB_OK)
        status = nb_mlx_choose(&p->options->recipe, &plan->sources, choices, p->err);
    for (size_t i = 0; i < n && status == NB_OK; i++) {
        const struct nb_mlx_tensor *t = &plan->sources.tensors[i];

        plan->tensors[i] = (struct nb_mlx_plan_tensor){ .source = t, .choice = choices[i], .type = type_of(p, t) };
        plan->n_fallbacks += choices[i].why == NB_WHY_FALLBACK;
        plan->source_bytes += t->view.bytes;
        status = take_importance(p, &plan->tensors[i]);
    }
    free(choices);
    return status;
}

/* --- arrays -------------------------------------------------------------------------------------------------- */

static struct nb_encoding
encoding_of(const struct nb_mlx_plan_tensor *t)
{
    return t->choice.format.bits == 0 ? nb_encoding_of(t->type) : nb_mlx_encoding(&t->choice.format, t->type);
}

static enum nb_type
array_type(const struct nb_mlx_plan_tensor *t, const struct nb_encoding *e, unsigned plane)
{
    if (t->source->kind == NB_MLX_CODES || (t->choice.format.bits > 0 && plane == 0))
        return NB_U32;
    return t->choice.format.bits > 0 && e->plane_bytes[plane] == 1 ? NB_U8 : t->type;
}

/* Fills in A, which stands for plane PLANE of tensor NUMBER; its offset comes later. */
static enum nb_status
make_array(struct planner *p, size_t number, unsigned plane, const struct nb_encoding *e, struct nb_folder_array *a)
{
    static const char *const suffixes[] = { ".weight", ".scales", ".biases" };
    struct nb_mlx_plan_tensor *t = &p->plan->tensors[number];
    const struct nb_view *v = &t->source->view;
    const bool scales = t->choice.format.bits > 0 && plane > 0;
    char name[512];

    snprintf(name, sizeof name, "%s%s", t->source->module, suffixes[plane]);
    *a = (struct nb_folder_array){ .output = number, .plane = plane };
    a->out.name = t->choice.format.bits == 0 ? v->name : nb_arena_strdup(&p->plan->folder.arena, name);
    a->out.type = array_type(t, e, plane);
    a->out.n_dims = t->source->scalar ? 0 : v->n_dims;
    a->out.bytes = v->elements / e->block * e->plane_bytes[plane];
    for (uint32_t i = 0; i < v->n_dims; i++)
        a->out.shape[v->n_dims - 1 - i] = v->ne[i];
    if (scales)
        a->out.shape[v->n_dims - 1] /= e->block;
    else if (t->choice.format.bits > 0)
        a->out.shape[v->n_dims - 1] = v->ne[0] * t->choice.format.bits / 32;
    else if (t->source->kind == NB_MLX_CODES)
        a->out.shape[v->n_dims - 1] = v->ne[0] / 4;
    t->bytes += a->out.bytes;
    return a->out.name == NULL ? nb_fail_memory(p->err) : NB_OK;
}

static enum nb_status
make_arrays(struct planner *p)
{
    const size_t n = p->plan->sources.count;
    enum nb_status status = NB_OK;

    p->arrays = calloc(n * NB_MAX_PLANES + 1, sizeof *p->arrays);
    if (p->arrays == NULL)
        return nb_fail_memory(p->err);
    for (size_t i = 0; i < n; i++) {
        const struct nb_encoding e = encoding_of(&p->plan->tensors[i]);

        for (unsigned plane = 0; plane < e.n_planes && status == NB_OK; plane++)
            status = make_array(p, i, plane, &e, &p->arrays[p->n_arrays++]);
    }
    return status;
}

static enum nb_status
make_outputs(struct planner *p)
{
    struct nb_mlx_plan *plan = p->plan;

    plan->folder.outputs = calloc(plan->sources.count + 1, sizeof *plan->folder.outputs);
    plan->folder.n_outputs = plan->sources.count;
    plan->lost = calloc(plan->sources.count + 1, sizeof *plan->lost);
    if (plan->folder.outputs == NULL || plan->lost == NULL)
        return nb_fail_memory(p->err);
    for (size_t i = 0; i < plan->sources.count; i++) {
        const struct nb_mlx_plan_tensor *t = &plan->tensors[i];
        const bool is_rounded = t->choice.format.bits > 0 && t->type != NB_F32 && t->source->view.type != t->type;

        plan->folder.outputs[i] = (struct nb_output){
            .view = &t->source->view,
            .encoding = encoding_of(t),
            .via = is_rounded ? t->type : NB_TYPE_NONE,
            .importance = t->importance,
            .lost = &plan->lost[i],
        };
    }
    return NB_OK;
}

static enum nb_status
make_shards(struct planner *p)
{
    const enum nb_status status = make_outputs(p);

    if (status != NB_OK)
        return status;
    return nb_folder_plan_shards(&p->plan->folder, p->arrays, p->n_arrays, "mlx", 1, nb_mlx_file_order, p->err);
}

/* --- texts --------------------------------------------------------------------------------------------------- */

/* Whether a module of this format has an entry of its own in config.json. */
static bool
is_exception(const struct planner *p, const struct nb_mlx_choice *c)
{
    const struct nb_mlx_format base = nb_mlx_base_format(&p->options->recipe);

    return c->format.bits > 0 && (c->of_class || p->options->recipe.recipe->low > 0 ||
                                  p->source->family->mlx->all_named || !nb_mlx_same_format(&c->format, &base));
}

static enum nb_status
describe_quantization(const struct planner *p, struct nb_mlx_quantization *q)
{
    *q = (struct nb_mlx_quantization){ .format = nb_mlx_base_format(&p->options->recipe) };
    q->exceptions = calloc(p->plan->sources.count + 1, sizeof *q->exceptions);
    if (q->exceptions == NULL)
        return nb_fail_memory(p->err);
    for (size_t i = 0; i < p->plan->sources.count; i++) {
        const struct nb_mlx_plan_tensor *t = &p->plan->tensors[i];

        if (is_exception(p, &t->choice))
            q->exceptions[q->n_exceptions++] = (struct nb_mlx_exception){ t->source->module, t->choice.format,
                                                                          t->choice.of_class };
    }
    if (p->plan->sources.has_packed)
        q->format = NB_MLX_PACKED_FORMAT;
    else if (q->format.bits == 0 && q->n_exceptions > 0) /* floats, with a few quantized modules */
        q->format = q->exceptions[0].format;
    return NB_OK;
}

/* Says whether the embedding is also the output: MLX's classes do not agree on what it is if CONFIG does not. */
static bool
complete_config(const struct planner *p, json_t *config)
{
    return nb_config_find(config, "tie_word_embeddings") != NULL || !p->plan->sources.has_output ||
           json_object_set_new(config, "tie_word_embeddings", json_false()) == 0;
}

static enum nb_status
make_config(struct planner *p)
{
    struct nb_mlx_quantization q = { 0 };
    json_t *generation = NULL, *config = NULL;
    char *text = NULL;
    enum nb_status status = nb_folder_plan_load(p->source->checkpoint, "config.json", &config, p->err);

    if (status == NB_OK)
        status = nb_folder_plan_load(p->source->checkpoint, "generation_config.json", &generation, p->err);
    if (status == NB_OK && !complete_config(p, config))
        status = nb_fail_memory(p->err);
    if (status == NB_OK)
        status = describe_quantization(p, &q);
    if (status == NB_OK)
        status = nb_mlx_config_text(config, generation, p->dtype, &q, &text, p->err);
    if (status == NB_OK)
        nb_folder_plan_text(&p->plan->folder, "config.json", text);
    free(q.exceptions);
    json_decref(config);
    json_decref(generation);
    return status;
}

static enum nb_status
make_readme(struct planner *p)
{
    char *text = strdup("---\nlanguage: en\nlibrary_name: mlx\npipeline_tag: text-generation\ntags:\n- mlx\n---\n");

    if (text == NULL)
        return nb_fail_memory(p->err);
    nb_folder_plan_text(&p->plan->folder, "README.md", text);
    return NB_OK;
}

/* --- the plan ------------------------------------------------------------------------------------------------ */

static enum nb_status
choose_dtype(struct planner *p)
{
    const struct nb_mlx_recipe *recipe = p->options->recipe.recipe;

    p->dtype = p->options->dtype;
    if (recipe->dtype != NB_TYPE_NONE && p->dtype != NB_TYPE_NONE && p->dtype != recipe->dtype)
        return nb_fail(p->err, NB_USAGE, "--dtype %s and -t %s exclude each other", nb_type_info(p->dtype)->name,
                       recipe->name);
    if (p->dtype == NB_TYPE_NONE)
        p->dtype = recipe->dtype;
    if (p->dtype == NB_TYPE_NONE)
        p->dtype = nb_mlx_config_dtype(p->source->checkpoint->config);
    return NB_OK;
}

static enum nb_status
make(struct planner *p)
{
    enum nb_status status = nb_mlx_tensors_make(&p->plan->sources, p->source, p->err);

    if (status == NB_OK)
        status = choose_dtype(p);
    if (status == NB_OK)
        status = choose_formats(p);
    if (status == NB_OK)
        status = make_arrays(p);
    if (status == NB_OK)
        status = make_shards(p);
    if (status == NB_OK)
        status = make_config(p);
    if (status == NB_OK)
        status = nb_folder_plan_index(&p->plan->folder, p->arrays, p->n_arrays, p->plan->parameters, p->err);
    if (status == NB_OK)
        status = make_readme(p);
    return status == NB_OK ? nb_folder_plan_copies(&p->plan->folder, p->source->checkpoint, p->err) : status;
}

enum nb_status
nb_mlx_plan_make(struct nb_mlx_plan *plan, const struct nb_source *source, const struct nb_mlx_plan_options *options,
                 struct nb_error *err)
{
    struct planner p = { .plan = plan, .source = source, .options = options, .err = err };
    enum nb_status status;

    *plan = (struct nb_mlx_plan){ 0 };
    status = make(&p);
    free(p.arrays);
    if (status != NB_OK)
        nb_mlx_plan_free(plan);
    return status;
}

void
nb_mlx_plan_free(struct nb_mlx_plan *plan)
{
    free(plan->lost);
    free(plan->tensors);
    nb_mlx_tensors_free(&plan->sources);
    nb_folder_plan_free(&plan->folder);
    *plan = (struct nb_mlx_plan){ 0 };
}

struct nb_pipeline_product
nb_mlx_plan_product(const struct nb_mlx_plan *plan, const char *name)
{
    return nb_folder_plan_product(&plan->folder, name, plan->source_bytes);
}

enum nb_status
nb_mlx_plan_write(const struct nb_mlx_plan *plan, const char *name, const struct nb_pipeline_options *options,
                  struct nb_error *err)
{
    return nb_folder_plan_write(&plan->folder, name, plan->source_bytes, options, err);
}

double
nb_mlx_plan_bpw(const struct nb_mlx_plan *plan)
{
    return plan->parameters == 0 ? 0 : 8.0 * (double)plan->folder.array_bytes / (double)plan->parameters;
}
