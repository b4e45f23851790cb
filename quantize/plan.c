#include "plan.h"

#include "checked.h"
#include "codec.h"
#include "gguf.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* A checkpoint that is only converted to floats is written as the reference's converter writes it. */
static bool
is_plain_conversion(const struct nb_source *source, const struct nb_plan_options *o)
{
    return source->kind == NB_SOURCE_CHECKPOINT && nb_type_info(o->recipe.recipe->base)->kind == NB_KIND_FLOAT;
}

/* An overridden key goes to the end, as in llama-quantize. */
static void
apply_override(struct nb_metadata *meta, const struct nb_kv_override *o)
{
    nb_meta_remove(meta, o->key);
    switch (o->type) {
    case NB_KV_STRING:
        nb_meta_set_string(meta, o->key, o->value.text);
        break;
    case NB_KV_F32:
        nb_meta_set_f32(meta, o->key, o->value.real);
        break;
    default: /* little-endian, so a narrower number is the front of a wider one */
        nb_meta_set(meta, o->key, o->type, o->type, 1, &o->value.number, nb_kv_type_size(o->type));
        break;
    }
}

static enum nb_status
plan_metadata(struct nb_plan *plan, const struct nb_source *source, const struct nb_plan_options *o,
              struct nb_error *err)
{
    struct nb_metadata *meta = &plan->meta;

    nb_meta_copy(meta, &source->meta);
    if (!is_plain_conversion(source, o)) { /* llama-quantize moves these two to the end */
        nb_meta_remove(meta, "general.quantization_version");
        nb_meta_remove(meta, "general.file_type");
        nb_meta_set_u32(meta, "general.quantization_version", NB_QUANTIZATION_VERSION);
    }
    nb_meta_set_u32(meta, "general.file_type", o->recipe.recipe->file_type);
    /* The output is one file with the format's default alignment, whatever the input was. */
    nb_meta_remove(meta, "split.no");
    nb_meta_remove(meta, "split.count");
    nb_meta_remove(meta, "split.tensors.count");
    nb_meta_remove(meta, "general.alignment");
    for (size_t i = 0; i < o->n_overrides; i++)
        apply_override(meta, &o->overrides[i]);
    return nb_meta_status(meta, err);
}

/* Can T become TYPE, by these options and by this version? */
static enum nb_status
check_conversion(const struct nb_tensor *t, enum nb_type type, const struct nb_plan_options *o, struct nb_error *err)
{
    const struct nb_type_info *from = nb_type_info(t->type), *to = nb_type_info(type);

    if (t->type == type)
        return NB_OK;
    if (from->kind == NB_KIND_BLOCK && !o->allow_requantize)
        return nb_fail(err, NB_INPUT,
                       "tensor '%s' is quantized already (%s), and doing it again loses more than doing it once "
                       "(--allow-requantize does it all the same)",
                       t->name, from->name);
    if (!nb_can_decode(t->type))
        return nb_fail(err, NB_INPUT, "tensor '%s' is %s, which this version cannot decode", t->name, from->name);
    if (!nb_can_encode(type))
        return nb_fail(err, NB_USAGE, "tensor '%s' would become %s, which this version cannot write", t->name,
                       to->name);
    return NB_OK;
}

static enum nb_status
plan_tensors(struct nb_plan *plan, const struct nb_source *source, const struct nb_plan_options *o,
             struct nb_error *err)
{
    const struct nb_model_facts facts = nb_model_facts(&plan->meta);
    const struct nb_tensor **sorted = calloc(source->n_tensors + 1, sizeof *sorted);
    struct nb_choice *choices = calloc(source->n_tensors + 1, sizeof *choices);
    enum nb_status status = NB_OK;

    plan->tensors = calloc(source->n_tensors + 1, sizeof *plan->tensors);
    if (sorted == NULL || choices == NULL || plan->tensors == NULL)
        status = nb_fail_memory(err);
    for (size_t i = 0; i < source->n_tensors && status == NB_OK; i++)
        sorted[i] = &source->tensors[i];
    if (status == NB_OK) {
        qsort(sorted, source->n_tensors, sizeof *sorted, nb_layer_order);
        status = nb_recipe_choose(&o->recipe, &facts, sorted, source->n_tensors, choices, err);
    }
    for (size_t i = 0; i < source->n_tensors && status == NB_OK; i++) {
        /* In the source's own order, or in that in which the types were chosen. */
        const size_t to = is_plain_conversion(source, o) ? (size_t)(sorted[i] - source->tensors) : i;

        plan->tensors[to] = (struct nb_plan_tensor){ .source = sorted[i], .choice = choices[i], .via = o->via };
        if (nb_tensor_is_always_f32(sorted[i]) || nb_type_info(sorted[i]->type)->kind != NB_KIND_FLOAT ||
            sorted[i]->type == o->via)
            plan->tensors[to].via = NB_TYPE_NONE;
        plan->n_fallbacks += choices[i].why == NB_WHY_FALLBACK;
        status = check_conversion(sorted[i], choices[i].type, o, err);
    }
    plan->n_tensors = source->n_tensors;
    free(sorted);
    free(choices);
    return status;
}

/* Offsets first from the start of the data; then the header, whose size they do not change. */
static enum nb_status
plan_layout(struct nb_plan *plan, struct nb_error *err)
{
    struct nb_gguf_info *infos = calloc(plan->n_tensors + 1, sizeof *infos);
    uint64_t at = 0;
    enum nb_status status;

    if (infos == NULL)
        return nb_fail_memory(err);
    for (size_t i = 0; i < plan->n_tensors; i++) {
        struct nb_plan_tensor *t = &plan->tensors[i];
        uint64_t end;

        t->offset = at;
        if (!nb_type_bytes(t->choice.type, t->source->elements, &t->bytes) || !nb_add_u64(at, t->bytes, &end) ||
            !nb_align_u64(end, NB_GGUF_ALIGNMENT, &at) || at > INT64_MAX / 2) {
            free(infos);
            return nb_fail(err, NB_INPUT, "tensor '%s' makes the file too large to exist", t->source->name);
        }
        infos[i] = (struct nb_gguf_info){ t->source->name, t->choice.type, t->source->n_dims, t->source->ne, t->offset };
        plan->source_bytes += t->source->bytes;
        plan->parameters += t->source->elements;
    }
    status = nb_gguf_header(&plan->meta, infos, plan->n_tensors, &plan->header, &plan->header_bytes, err);
    free(infos);
    if (status != NB_OK)
        return status;
    for (size_t i = 0; i < plan->n_tensors; i++)
        plan->tensors[i].offset += plan->header_bytes;
    plan->total_bytes = plan->header_bytes + at;
    return NB_OK;
}

enum nb_status
nb_plan_make(struct nb_plan *plan, const struct nb_source *source, const struct nb_plan_options *options,
             struct nb_error *err)
{
    enum nb_status status;

    *plan = (struct nb_plan){ 0 };
    status = plan_metadata(plan, source, options, err);
    if (status == NB_OK)
        status = plan_tensors(plan, source, options, err);
    if (status == NB_OK)
        status = plan_layout(plan, err);
    if (status != NB_OK)
        nb_plan_free(plan);
    return status;
}

void
nb_plan_free(struct nb_plan *plan)
{
    nb_meta_free(&plan->meta);
    free(plan->tensors);
    free(plan->header);
    *plan = (struct nb_plan){ 0 };
}

double
nb_plan_bpw(const struct nb_plan *plan)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < plan->n_tensors; i++)
        bytes += plan->tensors[i].bytes;
    return plan->parameters == 0 ? 0 : 8.0 * (double)bytes / (double)plan->parameters;
}
