#include "quantize/mlx_plan.h"

#include "formats/base/checked.h"
#include "formats/base/file_in.h"
#include "formats/base/json.h"
#include "formats/base/names.h"
#include "formats/base/text.h"
#include "formats/mlx/file_order.h"
#include "formats/mlx/texts.h"
#include "formats/safetensors/checkpoint.h"
#include "formats/safetensors/write.h"
#include "quantize/search/mlx.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* mlx-lm's limit for the arrays of a shard, in bytes. */
#define SHARD_BYTES ((uint64_t)5 << 30)

/* Beside the shards: config.json, the index, a README, and copies. */
#define MAX_TEXTS 3
#define MAX_COPIES 64

/* A stored array: the elements of a tensor, or one plane of a quantized one. */
struct array {
    struct nb_safetensor_out out; /* first member, as nb_list_by_name needs its name */
    size_t tensor;
    unsigned plane;
};

struct planner {
    struct nb_mlx_plan *plan;
    const struct nb_source *source;
    const struct nb_mlx_plan_options *options;
    enum nb_type dtype;
    struct array *arrays; /* in the order of the model */
    size_t n_arrays;
    uint32_t *shard; /* of each array */
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
    float *ones = nb_arena_calloc(&p->plan->arena, count, sizeof *ones);

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
make_array(struct planner *p, size_t number, unsigned plane, const struct nb_encoding *e, struct array *a)
{
    static const char *const suffixes[] = { ".weight", ".scales", ".biases" };
    struct nb_mlx_plan_tensor *t = &p->plan->tensors[number];
    const struct nb_view *v = &t->source->view;
    const bool scales = t->choice.format.bits > 0 && plane > 0;
    char name[512];

    snprintf(name, sizeof name, "%s%s", t->source->module, suffixes[plane]);
    *a = (struct array){ .tensor = number, .plane = plane };
    a->out.name = t->choice.format.bits == 0 ? v->name : nb_arena_strdup(&p->plan->arena, name);
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
    p->plan->array_bytes += a->out.bytes;
    return a->out.name == NULL ? nb_fail_memory(p->err) : NB_OK;
}

static enum nb_status
make_arrays(struct planner *p)
{
    const size_t n = p->plan->sources.count;
    enum nb_status status = NB_OK;

    p->arrays = calloc(n * NB_MAX_PLANES + 1, sizeof *p->arrays);
    p->shard = calloc(n * NB_MAX_PLANES + 1, sizeof *p->shard);
    if (p->arrays == NULL || p->shard == NULL)
        return nb_fail_memory(p->err);
    for (size_t i = 0; i < n; i++) {
        const struct nb_encoding e = encoding_of(&p->plan->tensors[i]);

        for (unsigned plane = 0; plane < e.n_planes && status == NB_OK; plane++)
            status = make_array(p, i, plane, &e, &p->arrays[p->n_arrays++]);
    }
    return status;
}

/* --- shards -------------------------------------------------------------------------------------------------- */

/* A new shard begins where an array would make one too large. */
static void
divide(struct planner *p)
{
    uint64_t size = 0;

    p->plan->n_shards = 1;
    for (size_t i = 0; i < p->n_arrays; i++) {
        if (size > 0 && size + p->arrays[i].out.bytes > SHARD_BYTES) {
            p->plan->n_shards++;
            size = 0;
        }
        size += p->arrays[i].out.bytes;
        p->shard[i] = p->plan->n_shards - 1;
    }
}

static const char *
shard_name(struct planner *p, uint32_t number)
{
    char name[64];

    if (p->plan->n_shards == 1)
        return "model.safetensors";
    snprintf(name, sizeof name, "model-%05" PRIu32 "-of-%05" PRIu32 ".safetensors", number + 1, p->plan->n_shards);
    return nb_arena_strdup(&p->plan->arena, name);
}

/* Gives COUNT arrays from FIRST on, those of one shard, their offsets in its data, whose size is returned in BYTES. */
static enum nb_status
place(struct planner *p, size_t first, size_t count, uint64_t *bytes)
{
    const char **names = calloc(count + 1, sizeof *names);
    size_t *order = calloc(count + 1, sizeof *order);
    bool good = names != NULL && order != NULL;

    *bytes = 0;
    for (size_t i = 0; i < count && good; i++)
        names[i] = p->arrays[first + i].out.name;
    good = good && nb_mlx_file_order(names, count, order);
    for (size_t i = 0; i < count && good; i++) {
        struct nb_safetensor_out *a = &p->arrays[first + order[i]].out;

        a->offset = *bytes;
        *bytes += a->bytes;
    }
    free(names);
    free(order);
    return good ? NB_OK : nb_fail_memory(p->err);
}

/* The header of a shard, which names its arrays in the order of their names. */
static enum nb_status
make_header(struct planner *p, size_t first, size_t count, struct nb_pipeline_file *file)
{
    const void **sorted = nb_list_by_name(p->arrays + first, count, sizeof *p->arrays);
    struct nb_safetensor_out *outs = calloc(count + 1, sizeof *outs);
    unsigned char *header = NULL;
    enum nb_status status = NB_OK;

    if (sorted == NULL || outs == NULL)
        status = nb_fail_memory(p->err);
    for (size_t i = 0; i < count && status == NB_OK; i++)
        outs[i] = ((const struct array *)sorted[i])->out;
    if (status == NB_OK)
        status = nb_safetensors_header("mlx", outs, count, 1, &header, &file->header_bytes, p->err);
    file->header = header;
    free(sorted);
    free(outs);
    return status;
}

static void
set_outputs(struct planner *p, size_t first, size_t count, uint32_t shard, uint64_t header_bytes)
{
    for (size_t i = first; i < first + count; i++) {
        const struct array *a = &p->arrays[i];

        p->plan->outputs[a->tensor].plane[a->plane].file = shard;
        p->plan->outputs[a->tensor].plane[a->plane].offset = header_bytes + a->out.offset;
    }
}

static enum nb_status
make_outputs(struct planner *p)
{
    struct nb_mlx_plan *plan = p->plan;

    plan->outputs = calloc(plan->sources.count + 1, sizeof *plan->outputs);
    plan->lost = calloc(plan->sources.count + 1, sizeof *plan->lost);
    if (plan->outputs == NULL || plan->lost == NULL)
        return nb_fail_memory(p->err);
    for (size_t i = 0; i < plan->sources.count; i++) {
        const struct nb_mlx_plan_tensor *t = &plan->tensors[i];
        const bool is_rounded = t->choice.format.bits > 0 && t->type != NB_F32 && t->source->view.type != t->type;

        plan->outputs[i] = (struct nb_output){
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
    struct nb_mlx_plan *plan = p->plan;
    enum nb_status status = make_outputs(p);
    size_t first = 0;

    divide(p);
    plan->files = calloc(plan->n_shards + MAX_TEXTS + MAX_COPIES, sizeof *plan->files);
    if (status == NB_OK && plan->files == NULL)
        return nb_fail_memory(p->err);
    for (uint32_t s = 0; s < plan->n_shards && status == NB_OK; s++) {
        struct nb_pipeline_file *file = &plan->files[plan->n_files++];
        size_t end = first;
        uint64_t bytes = 0;

        while (end < p->n_arrays && p->shard[end] == s)
            end++;
        file->name = shard_name(p, s);
        status = file->name == NULL ? nb_fail_memory(p->err) : place(p, first, end - first, &bytes);
        if (status == NB_OK)
            status = make_header(p, first, end - first, file);
        file->bytes = file->header_bytes + bytes;
        plan->total_bytes += file->bytes;
        if (status == NB_OK)
            set_outputs(p, first, end - first, s, file->header_bytes);
        first = end;
    }
    return status;
}

/* --- texts --------------------------------------------------------------------------------------------------- */

/* Adds the file NAME with TEXT, from malloc. */
static void
add_text(struct nb_mlx_plan *plan, const char *name, char *text)
{
    struct nb_pipeline_file *file = &plan->files[plan->n_files++];

    file->name = name;
    file->header = (const unsigned char *)text;
    file->bytes = file->header_bytes = strlen(text);
    plan->total_bytes += file->bytes;
}

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

/* The object in a file of the checkpoint, with integers as they are; NULL if there is no such file. */
static enum nb_status
load(const struct planner *p, const char *name, json_t **object)
{
    char *path = nb_checkpoint_path(p->source->checkpoint, name);

    *object = NULL;
    if (path == NULL)
        return nb_fail_memory(p->err);
    return nb_exists(path) ? nb_json_load(path, 0, object, p->err) : NB_OK;
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
    enum nb_status status = load(p, "config.json", &config);

    if (status == NB_OK)
        status = load(p, "generation_config.json", &generation);
    if (status == NB_OK && !complete_config(p, config))
        status = nb_fail_memory(p->err);
    if (status == NB_OK)
        status = describe_quantization(p, &q);
    if (status == NB_OK)
        status = nb_mlx_config_text(config, generation, p->dtype, &q, &text, p->err);
    if (status == NB_OK)
        add_text(p->plan, "config.json", text);
    free(q.exceptions);
    json_decref(config);
    json_decref(generation);
    return status;
}

static enum nb_status
make_index(struct planner *p)
{
    struct nb_mlx_placed *placed = calloc(p->n_arrays + 1, sizeof *placed);
    char *text = NULL;
    enum nb_status status = NB_OK;

    if (placed == NULL)
        return nb_fail_memory(p->err);
    for (size_t i = 0; i < p->n_arrays; i++)
        placed[i] = (struct nb_mlx_placed){ p->arrays[i].out.name, p->plan->files[p->shard[i]].name };
    status = nb_mlx_index_text(placed, p->n_arrays, p->plan->array_bytes, p->plan->parameters, &text, p->err);
    if (status == NB_OK)
        add_text(p->plan, "model.safetensors.index.json", text);
    free(placed);
    return status;
}

static enum nb_status
make_readme(struct planner *p)
{
    char *text = strdup("---\nlanguage: en\nlibrary_name: mlx\npipeline_tag: text-generation\ntags:\n- mlx\n---\n");

    if (text == NULL)
        return nb_fail_memory(p->err);
    add_text(p->plan, "README.md", text);
    return NB_OK;
}

/* --- copies -------------------------------------------------------------------------------------------------- */

static int
by_text(const void *a, const void *b)
{
    return strcmp(((const struct nb_pipeline_file *)a)->name, ((const struct nb_pipeline_file *)b)->name);
}

/* Whether a file of the checkpoint belongs to its tokenizer, its settings of generation, or its own code. */
static bool
is_copied(const char *name)
{
    static const char *const names[] = {
        "tokenizer.json",
        "tokenizer_config.json",
        "tokenizer.model",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.json",
        "vocab.txt",
        "merges.txt",
        "chat_template.jinja",
        "chat_template.json",
        "generation_config.json",
        "tekken.json",
    };

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return nb_ends_with(name, ".py") || nb_ends_with(name, ".tiktoken");
}

static enum nb_status
add_copy(struct planner *p, const char *name)
{
    struct nb_pipeline_file *file = &p->plan->files[p->plan->n_files];
    struct nb_file_in in;
    enum nb_status status;

    file->name = nb_arena_strdup(&p->plan->arena, name);
    file->copy_of = nb_checkpoint_path(p->source->checkpoint, name);
    if (file->name == NULL || file->copy_of == NULL)
        return nb_fail_memory(p->err);
    status = nb_file_open(&in, file->copy_of, p->err);
    if (status != NB_OK)
        return status;
    p->plan->n_files++;
    p->plan->total_bytes += in.size;
    nb_file_close(&in);
    return NB_OK;
}

/* The links among these files were checked when the checkpoint was opened. */
static enum nb_status
add_copies(struct planner *p)
{
    DIR *folder = opendir(p->source->checkpoint->folder);
    const uint32_t before = p->plan->n_files;
    const struct dirent *entry;
    enum nb_status status = NB_OK;

    if (folder == NULL)
        return nb_fail(p->err, NB_SYSTEM, "%s: cannot be read", p->source->checkpoint->folder);
    while (status == NB_OK && (entry = readdir(folder)) != NULL)
        if (is_copied(entry->d_name) && p->plan->n_files - before < MAX_COPIES)
            status = add_copy(p, entry->d_name);
    closedir(folder);
    qsort(p->plan->files + before, p->plan->n_files - before, sizeof *p->plan->files, by_text);
    return status;
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
        status = make_index(p);
    if (status == NB_OK)
        status = make_readme(p);
    return status == NB_OK ? add_copies(p) : status;
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
    free(p.shard);
    if (status != NB_OK)
        nb_mlx_plan_free(plan);
    return status;
}

void
nb_mlx_plan_free(struct nb_mlx_plan *plan)
{
    for (uint32_t i = 0; i < plan->n_files; i++)
        free((void *)plan->files[i].header);
    free(plan->files);
    free(plan->outputs);
    free(plan->lost);
    free(plan->tensors);
    nb_mlx_tensors_free(&plan->sources);
    nb_arena_free(&plan->arena);
    *plan = (struct nb_mlx_plan){ 0 };
}

enum nb_status
nb_mlx_plan_write(const struct nb_mlx_plan *plan, const char *name, const struct nb_pipeline_options *options,
                  struct nb_error *err)
{
    const struct nb_pipeline_product product = {
        .outputs = plan->outputs,
        .n_outputs = plan->sources.count,
        .files = plan->files,
        .n_files = plan->n_files,
        .source_bytes = plan->source_bytes,
        .folder = name,
    };

    return nb_pipeline_write(&product, options, err);
}

double
nb_mlx_plan_bpw(const struct nb_mlx_plan *plan)
{
    return plan->parameters == 0 ? 0 : 8.0 * (double)plan->array_bytes / (double)plan->parameters;
}
