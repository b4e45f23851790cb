#include "quantize/checkpoint_plan.h"

#include "formats/base/checked.h"
#include "formats/base/json_write.h"
#include "formats/base/text.h"
#include "formats/mlx/texts.h"
#include "formats/models/family.h"
#include "formats/models/packed/composed.h"
#include "formats/models/view_build.h"

#include <stdlib.h>
#include <string.h>

/* That of the data in a file, as safetensors' own writer has it. */
#define ALIGNMENT 8

struct planner {
    struct nb_checkpoint_plan *plan;
    const struct nb_source *source;
    struct nb_folder_array *arrays;
    struct nb_error *err;
};

/* --- arrays -------------------------------------------------------------------------------------------------- */

static bool
is_weight(const struct nb_view *v)
{
    return v->pieces->stored->packed != NULL || nb_type_info(v->type)->kind == NB_KIND_FLOAT;
}

/* Blocks that only the tables of a family put together, as those of gpt-oss. */
static enum nb_status
check_blocks(const struct planner *p, const struct nb_tensor *stored)
{
    if (p->source->family->packed_as == NULL || stored->type != NB_U8 || !nb_ends_with(stored->name, "_blocks"))
        return NB_OK;
    return nb_fail(
        p->err, NB_UNSUPPORTED,
        "%s: tensor '%s' has weights in %s in a form of its class, from which no checkpoint of floats is made",
        p->source->path, stored->name, p->source->family->packed_as);
}

static enum nb_status
make_view(struct planner *p, const struct nb_tensor *stored, struct nb_view *view)
{
    static const struct nb_map_row as_stored = { .from = "", .to = "" };
    static const struct nb_hparams none = { 0 };
    const struct nb_view_origin origin = { .row = &as_stored, .hp = &none, .stored = &stored, .n_stored = 1 };
    enum nb_status status = check_blocks(p, stored);

    *view = (struct nb_view){ .name = nb_source_stored_name(p->source, stored),
                              .source_name = stored->name,
                              .type = stored->type,
                              .plain_type = stored->type,
                              .n_dims = stored->n_dims < NB_MAX_DIMS ? stored->n_dims : NB_MAX_DIMS,
                              .store = &p->source->store };
    memcpy(view->ne, stored->ne, sizeof view->ne);
    if (status == NB_OK)
        status = nb_view_build(view, &origin, &p->plan->folder.arena, p->err);
    if (status != NB_OK)
        return status;
    (void)nb_composed_turned(stored, view, &p->plan->folder.arena);
    p->plan->parameters += is_weight(view) ? view->elements : 0;
    p->plan->n_unpacked += stored->packed != NULL && nb_type_info(nb_composed_of(stored))->kind != NB_KIND_FLOAT;
    p->plan->source_bytes += view->bytes;
    return NB_OK;
}

/* The tensor of the files that STORED is, with all its dimensions; NULL if it is computed. */
static const struct nb_safetensor *
file_tensor(const struct planner *p, const struct nb_tensor *stored)
{
    const struct nb_checkpoint *cp = p->source->checkpoint;

    for (size_t i = 0; i < cp->n_tensors && stored->packed == NULL; i++)
        if (cp->tensors[i].file == stored->file && cp->tensors[i].info.offset == stored->offset &&
            cp->tensors[i].info.bytes == stored->bytes)
            return &cp->tensors[i].info;
    return NULL;
}

/* Numbers that decide which experts are chosen, or grow exponentially: classes of transformers keep them in F32. */
static bool
stays_in_f32(const struct nb_view *v)
{
    static const char *const endings[] = { ".e_score_correction_bias", ".expert_bias", ".A_log" };

    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++)
        if (v->type == NB_F32 && nb_ends_with(v->name, endings[i]))
            return true;
    return false;
}

static enum nb_status
make_array(struct planner *p, size_t number)
{
    const struct nb_view *v = &p->plan->views[number];
    const enum nb_type type = is_weight(v) && !stays_in_f32(v) ? p->plan->dtype : v->type;
    const struct nb_safetensor *info = v->n_dims == NB_MAX_DIMS ? file_tensor(p, v->pieces->stored) : NULL;
    struct nb_safetensor_out *out = &p->arrays[number].out;

    p->arrays[number] = (struct nb_folder_array){ .output = number };
    *out = (struct nb_safetensor_out){ .name = v->name, .type = type, .n_dims = v->n_dims };
    for (uint32_t i = 0; i < v->n_dims; i++)
        out->shape[v->n_dims - 1 - i] = v->ne[i];
    if (info != NULL) { /* more than four dimensions */
        out->n_dims = info->n_dims;
        memcpy(out->shape, info->shape, sizeof out->shape);
    }
    if (!nb_type_bytes(type, v->elements, &out->bytes))
        return nb_fail(p->err, NB_INPUT, "%s: tensor '%s' is too large", p->source->path, v->name);
    p->plan->folder.outputs[number] = (struct nb_output){ .view = v, .encoding = nb_encoding_of(type) };
    return NB_OK;
}

static enum nb_status
make_arrays(struct planner *p)
{
    const struct nb_store *store = &p->source->store;
    struct nb_checkpoint_plan *plan = p->plan;
    enum nb_status status = NB_OK;

    plan->views = calloc(store->count + 1, sizeof *plan->views);
    plan->folder.outputs = calloc(store->count + 1, sizeof *plan->folder.outputs);
    plan->folder.n_outputs = store->count;
    p->arrays = calloc(store->count + 1, sizeof *p->arrays);
    if (plan->views == NULL || plan->folder.outputs == NULL || p->arrays == NULL)
        return nb_fail_memory(p->err);
    for (size_t i = 0; i < store->count && status == NB_OK; i++) {
        status = make_view(p, &store->tensors[i], &plan->views[i]);
        if (status == NB_OK)
            status = make_array(p, i);
    }
    return status;
}

/* --- files beside them ---------------------------------------------------------------------------------------- */

/* config.json as the source has it, but for what it says of the weights' types. */
static enum nb_status
make_config(struct planner *p)
{
    static const char *const dropped[] = { "quantization_config", "compression_config", "quantization" };
    json_t *config, *inner;
    char *text = NULL;
    enum nb_status status = nb_folder_plan_load(p->source->checkpoint, "config.json", &config, p->err);
    bool good = true;

    if (status != NB_OK || config == NULL)
        return status != NB_OK
                   ? status
                   : nb_fail(p->err, NB_UNSUPPORTED,
                             "%s: is in Mistral's own layout, which is not written; one with config.json is",
                             p->source->path);
    inner = json_object_get(config, "text_config");
    for (size_t i = 0; i < sizeof dropped / sizeof dropped[0]; i++) {
        (void)json_object_del(config, dropped[i]);
        (void)json_object_del(inner, dropped[i]);
    }
    if (json_is_object(inner) && nb_mlx_config_dtype(inner) != NB_TYPE_NONE)
        good = nb_mlx_set_dtype(inner, p->plan->dtype);
    if (good && nb_mlx_set_dtype(config, p->plan->dtype))
        text = nb_json_write(config, NB_JSON_INDENTED);
    json_decref(config);
    if (text == NULL)
        return nb_fail_memory(p->err);
    nb_folder_plan_text(&p->plan->folder, "config.json", text);
    return NB_OK;
}

static enum nb_status
make(struct planner *p)
{
    struct nb_folder_plan *folder = &p->plan->folder;
    const size_t count = p->source->store.count;
    enum nb_status status = make_arrays(p);

    if (status == NB_OK)
        status = nb_folder_plan_shards(folder, p->arrays, count, "pt", ALIGNMENT, NULL, p->err);
    if (status == NB_OK)
        status = make_config(p);
    if (status == NB_OK && folder->n_shards > 1)
        status = nb_folder_plan_index(folder, p->arrays, count, p->plan->parameters, p->err);
    return status == NB_OK ? nb_folder_plan_copies(folder, p->source->checkpoint, p->err) : status;
}

enum nb_status
nb_checkpoint_plan_make(struct nb_checkpoint_plan *plan, const struct nb_source *source,
                        const struct nb_checkpoint_plan_options *options, struct nb_error *err)
{
    struct planner p = { .plan = plan, .source = source, .err = err };
    enum nb_status status;

    *plan = (struct nb_checkpoint_plan){ .dtype = options->dtype };
    status = make(&p);
    free(p.arrays);
    if (status != NB_OK)
        nb_checkpoint_plan_free(plan);
    return status;
}

void
nb_checkpoint_plan_free(struct nb_checkpoint_plan *plan)
{
    free(plan->views);
    nb_folder_plan_free(&plan->folder);
    *plan = (struct nb_checkpoint_plan){ 0 };
}

enum nb_status
nb_checkpoint_plan_write(const struct nb_checkpoint_plan *plan, const char *name,
                         const struct nb_pipeline_options *options, struct nb_error *err)
{
    return nb_folder_plan_write(&plan->folder, name, plan->source_bytes, options, err);
}
