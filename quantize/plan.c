#include "quantize/plan.h"

#include "formats/base/checked.h"
#include "formats/base/text.h"
#include "formats/elements/decode.h"
#include "formats/gguf/gguf.h"
#include "formats/gguf/split_name.h"
#include "quantize/prune.h"
#include "quantize/search/encode.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Whether a checkpoint is only converted to floats; it is then written in the reference converter's form. */
static bool
is_plain_conversion(const struct nb_source *source, const struct nb_plan_options *o)
{
    return source->kind == NB_SOURCE_CHECKPOINT && nb_type_info(o->recipe.recipe->base)->kind == NB_KIND_FLOAT;
}

/* An overridden key is moved to the end, as in llama-quantize. */
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
    default: /* little-endian: a narrower number is the first bytes of a wider one */
        nb_meta_set(meta, o->key, o->type, o->type, 1, &o->value.number, nb_kv_type_size(o->type));
        break;
    }
}

static bool
has_imatrix(const struct nb_plan_options *o)
{
    return o->imatrix != NULL && o->imatrix->count > 0;
}

/* Sets the reference's keys about the importance matrix. */
static void
describe_imatrix(struct nb_metadata *meta, const struct nb_plan_options *o)
{
    char *file = nb_utf8_repaired(nb_base_name(o->imatrix_path));

    nb_meta_remove(meta, "quantize.imatrix.file");
    nb_meta_remove(meta, "quantize.imatrix.dataset");
    nb_meta_remove(meta, "quantize.imatrix.entries_count");
    nb_meta_remove(meta, "quantize.imatrix.chunks_count");
    if (file == NULL)
        meta->out_of_memory = true;
    else
        nb_meta_set_string(meta, "quantize.imatrix.file", file);
    free(file);
    if (o->imatrix->dataset != NULL)
        nb_meta_set_string(meta, "quantize.imatrix.dataset", nb_base_name(o->imatrix->dataset));
    nb_meta_set_u32(meta, "quantize.imatrix.entries_count", (uint32_t)o->imatrix->count);
    if (o->imatrix->chunks > 0)
        nb_meta_set_u32(meta, "quantize.imatrix.chunks_count", o->imatrix->chunks);
}

/* The file type of a copy: the source's, or the one of most of its tensors. */
static uint32_t
copied_file_type(const struct nb_source *source)
{
    size_t counts[NB_TYPES] = { 0 };
    enum nb_type most = NB_F32;
    const struct nb_recipe *recipe;
    uint64_t said;

    if (nb_meta_get_u64(&source->meta, "general.file_type", &said) && said <= UINT32_MAX)
        return (uint32_t)said;
    for (size_t i = 0; i < source->n_tensors; i++)
        if (++counts[source->tensors[i].type] > counts[most])
            most = source->tensors[i].type;
    recipe = nb_recipe_by_name(nb_type_info(most)->name);
    return NB_FT_GUESSED | (recipe == NULL ? NB_FT_F32 : recipe->file_type);
}

/* That of a file with weights in TYPE, which a checkpoint had so. */
static uint32_t
file_type_of(enum nb_type type)
{
    return type == NB_NVFP4  ? NB_FT_NVFP4
           : type == NB_Q4_0 ? NB_FT_Q4_0
           : type == NB_Q4_1 ? NB_FT_Q4_1
                             : NB_FT_MXFP4_MOE;
}

/* The file type of a conversion: as the reference has it, that of weights that were packed already. */
static uint32_t
file_type(const struct nb_source *source, const struct nb_recipe *recipe)
{
    if (recipe->file_type == NB_FT_COPY)
        return copied_file_type(source);
    for (size_t i = 0; i < source->n_tensors && nb_type_info(recipe->base)->kind == NB_KIND_FLOAT; i++)
        if (nb_view_is_packed(&source->tensors[i]))
            return file_type_of(source->tensors[i].type);
    return recipe->file_type;
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
    if (!is_plain_conversion(source, o) ||
        nb_meta_find(meta, "general.file_type") != NULL) /* a few families have none */
        nb_meta_set_u32(meta, "general.file_type", file_type(source, o->recipe.recipe));
    /* The output is one file with the default alignment, also if the input was not; only a copy keeps its own. */
    nb_meta_remove(meta, "split.no");
    nb_meta_remove(meta, "split.count");
    nb_meta_remove(meta, "split.tensors.count");
    if (o->recipe.recipe->file_type != NB_FT_COPY)
        nb_meta_remove(meta, "general.alignment");
    for (size_t i = 0; i < o->n_overrides; i++)
        apply_override(meta, &o->overrides[i]);
    if (has_imatrix(o))
        describe_imatrix(meta, o);
    return nb_meta_status(meta, err);
}

/* Checks that T can be converted to TYPE with these options and by this version. */
static enum nb_status
check_conversion(const struct nb_view *t, enum nb_type type, const struct nb_plan_options *o, struct nb_error *err)
{
    const struct nb_type_info *from = nb_type_info(t->type), *to = nb_type_info(type);

    if (t->type == type)
        return NB_OK;
    if (from->kind == NB_KIND_BLOCK && !o->allow_requantize)
        return nb_fail(err, NB_INPUT,
                       "tensor '%s' is already quantized (%s), and quantizing it again loses more quality than "
                       "quantizing the original (--allow-requantize permits it)",
                       t->name, from->name);
    if (!nb_can_decode(t->type))
        return nb_fail(err, NB_UNSUPPORTED, "tensor '%s' is %s, which this version cannot decode", t->name, from->name);
    if (!nb_can_encode(type))
        return nb_fail(err, NB_USAGE, "tensor '%s' would become %s, which this version cannot write", t->name,
                       to->name);
    return NB_OK;
}

static bool
uses_importance(enum nb_type type)
{
    return nb_type_info(type)->importance != NB_IMPORTANCE_IGNORED;
}

static bool
is_embedding(const struct nb_view *t)
{
    return strcmp(t->name, "token_embd.weight") == 0 || strcmp(t->name, "per_layer_token_embd.weight") == 0;
}

/*
 * Whether T as TYPE needs importance, by llama-quantize's rule: the smallest
 * types do, except for the embedding and the output, for which importance
 * matrices have no entries. Types that can never do without have no exception.
 */
static bool
needs_importance(const struct nb_view *t, enum nb_type type, const struct nb_recipe *recipe)
{
    if (nb_type_info(type)->importance == NB_IMPORTANCE_NEEDED)
        return true;
    if (is_embedding(t) || strcmp(t->name, "output.weight") == 0)
        return false;
    return type == NB_IQ1_M || type == NB_IQ2_S || type == NB_IQ3_XXS ||
           (type == NB_Q2_K && recipe->file_type == NB_FT_Q2_K_S);
}

/* T's entry of IMATRIX, found by the name that the tensor had before layers were removed. */
static enum nb_status
find_importance(struct nb_plan_tensor *t, const char *name, const struct nb_imatrix *imatrix, struct nb_error *err)
{
    const struct nb_imatrix_entry *e = nb_imatrix_find(imatrix, name);
    const uint64_t expected = t->source->ne[0] * t->source->ne[2] * t->source->ne[3];

    t->lacks_importance = e == NULL && uses_importance(t->choice.type);
    if (e == NULL)
        return NB_OK;
    if (e->count == expected) {
        t->importance = uses_importance(t->choice.type) ? e->values : NULL;
        return NB_OK;
    }
    if (is_embedding(t->source)) { /* some matrices have a wrong one */
        t->lacks_importance = uses_importance(t->choice.type);
        return NB_OK;
    }
    return nb_fail(err, NB_INPUT, "the importance matrix has %" PRIu64 " values for tensor '%s', which needs %" PRIu64,
                   e->count, name, expected);
}

static enum nb_status
missing_importance(const struct nb_plan_tensor *first, size_t count, bool given, struct nb_error *err)
{
    char others[64] = "";

    if (count > 1)
        snprintf(others, sizeof others, " (and %zu more)", count - 1);
    return nb_fail(err, given ? NB_INPUT : NB_USAGE,
                   given ? "tensor '%s'%s would become %s, but the importance matrix lacks the entry it needs"
                         : "tensor '%s'%s would become %s, which needs an importance matrix (--imatrix)",
                   first->source->name, others, nb_type_info(first->choice.type)->name);
}

static enum nb_status
plan_importance(struct nb_plan *plan, const struct nb_plan_options *o, struct nb_error *err)
{
    const bool given = has_imatrix(o);
    const struct nb_plan_tensor *first = NULL;
    size_t missing = 0;

    for (size_t i = 0; i < plan->n_tensors; i++) {
        struct nb_plan_tensor *t = &plan->tensors[i];
        char name[NB_MAX_NAME + 32];
        enum nb_status status = NB_OK;

        if (t->choice.type == t->source->type && t->via == NB_TYPE_NONE)
            continue; /* only copied */
        nb_prune_original_name(t->source->name, o->prune, o->n_prune, name, sizeof name);
        if (given)
            status = find_importance(t, name, o->imatrix, err);
        if (status != NB_OK)
            return status;
        if (t->importance == NULL && needs_importance(t->source, t->choice.type, o->recipe.recipe))
            first = missing++ == 0 ? t : first;
    }
    plan->needs_importance = missing > 0;
    return missing == 0 || o->only_look ? NB_OK : missing_importance(first, missing, given, err);
}

static int
by_file(const void *a, const void *b)
{
    const struct nb_tensor *x = (*(const struct nb_view *const *)a)->pieces->stored;
    const struct nb_tensor *y = (*(const struct nb_view *const *)b)->pieces->stored;

    if (x->file != y->file)
        return x->file < y->file ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Fills in the plan's next tensor from SORTED[i], except its offset. */
static enum nb_status
plan_tensor(struct nb_plan *plan, const struct nb_view *t, const struct nb_choice *choice,
            const struct nb_plan_options *o, struct nb_plan_tensor *out, struct nb_error *err)
{
    *out = (struct nb_plan_tensor){ .source = t, .choice = *choice, .via = o->via };
    out->file = o->keep_split ? t->pieces->stored->file : 0;
    if (nb_view_is_always_f32(t) || nb_type_info(t->type)->kind != NB_KIND_FLOAT || t->type == o->via)
        out->via = NB_TYPE_NONE;
    plan->n_fallbacks += choice->why == NB_WHY_FALLBACK;
    return check_conversion(t, choice->type, o, err);
}

static enum nb_status
plan_tensors(struct nb_plan *plan, const struct nb_source *source, const struct nb_plan_options *o,
             struct nb_error *err)
{
    const struct nb_model_facts facts = nb_model_facts(&plan->meta);
    struct nb_recipe_options recipe = o->recipe;
    const size_t n = plan->n_tensors;
    const struct nb_view **sorted = calloc(n + 1, sizeof *sorted);
    struct nb_choice *choices = calloc(n + 1, sizeof *choices);
    enum nb_status status = NB_OK;

    recipe.has_importance = has_imatrix(o);
    recipe.converts = is_plain_conversion(source, o);
    plan->tensors = calloc(n + 1, sizeof *plan->tensors);
    if (sorted == NULL || choices == NULL || plan->tensors == NULL)
        status = nb_fail_memory(err);
    for (size_t i = 0; i < n && status == NB_OK; i++)
        sorted[i] = &plan->sources[i];
    if (status == NB_OK) {
        qsort(sorted, n, sizeof *sorted, o->keep_split ? by_file : nb_layer_order);
        status = nb_recipe_choose(&recipe, &facts, sorted, n, choices, err);
    }
    for (size_t i = 0; i < n && status == NB_OK; i++) {
        /* In the order of the source, or in the order in which the types were chosen. */
        const size_t to = is_plain_conversion(source, o) ? (size_t)(sorted[i] - plan->sources) : i;

        status = plan_tensor(plan, sorted[i], &choices[i], o, &plan->tensors[to], err);
    }
    free(sorted);
    free(choices);
    return status;
}

/* The metadata of output file NUMBER. */
static enum nb_status
file_metadata(const struct nb_plan *plan, uint32_t number, struct nb_metadata *meta, struct nb_error *err)
{
    const struct nb_kv *alignment = nb_meta_find(&plan->meta, "general.alignment");

    *meta = (struct nb_metadata){ 0 };
    if (number == 0)
        nb_meta_copy(meta, &plan->meta);
    else if (alignment != NULL)
        nb_meta_set(meta, alignment->key, alignment->type, alignment->element, 1, alignment->data, alignment->size);
    if (plan->n_files > 1) {
        const uint16_t no = (uint16_t)number, count = (uint16_t)plan->n_files;

        nb_meta_set(meta, "split.no", NB_KV_U16, NB_KV_U16, 1, &no, sizeof no);
        nb_meta_set(meta, "split.count", NB_KV_U16, NB_KV_U16, 1, &count, sizeof count);
        nb_meta_set_i32(meta, "split.tensors.count", (int32_t)plan->n_tensors);
    }
    return nb_meta_status(meta, err);
}

/* Computes sizes and offsets of COUNT tensors from FIRST on, those of one file; then its header. */
static enum nb_status
plan_file(struct nb_plan *plan, uint32_t number, size_t first, size_t count, struct nb_error *err)
{
    struct nb_plan_file *file = &plan->files[number];
    struct nb_gguf_info *infos = calloc(count + 1, sizeof *infos);
    const uint32_t alignment = nb_gguf_alignment(&plan->meta);
    struct nb_metadata meta;
    uint64_t at = 0;
    enum nb_status status;

    if (infos == NULL)
        return nb_fail_memory(err);
    for (size_t i = 0; i < count; i++) {
        struct nb_plan_tensor *t = &plan->tensors[first + i];
        uint64_t end;

        t->offset = at;
        if (!nb_type_bytes(t->choice.type, t->source->elements, &t->bytes) || !nb_add_u64(at, t->bytes, &end) ||
            !nb_align_u64(end, alignment, &at) || at > INT64_MAX / 2) {
            free(infos);
            return nb_fail(err, NB_INPUT, "tensor '%s' makes the file too large to exist", t->source->name);
        }
        infos[i] = (struct nb_gguf_info){ t->source->name, t->choice.type, t->source->n_dims, t->source->ne,
                                          t->offset };
        plan->source_bytes += t->source->bytes;
        plan->parameters += t->source->elements;
    }
    status = file_metadata(plan, number, &meta, err);
    if (status == NB_OK)
        status = nb_gguf_header(&meta, infos, count, &file->header, &file->header_bytes, err);
    nb_meta_free(&meta);
    free(infos);
    if (status != NB_OK)
        return status;
    for (size_t i = 0; i < count; i++)
        plan->tensors[first + i].offset += file->header_bytes;
    file->bytes = file->header_bytes + at;
    plan->total_bytes += file->bytes;
    return NB_OK;
}

static enum nb_status
plan_layout(struct nb_plan *plan, struct nb_error *err)
{
    enum nb_status status = NB_OK;
    size_t first = 0;

    plan->files = calloc(plan->n_files, sizeof *plan->files);
    if (plan->files == NULL)
        return nb_fail_memory(err);
    for (uint32_t number = 0; number < plan->n_files && status == NB_OK; number++) {
        size_t end = first;

        while (end < plan->n_tensors && plan->tensors[end].file == number)
            end++;
        status = plan_file(plan, number, first, end - first, err);
        first = end;
    }
    return status;
}

/* The tensors of the output, with their output names. */
static enum nb_status
plan_sources(struct nb_plan *plan, const struct nb_source *source, const struct nb_plan_options *o,
             struct nb_error *err)
{
    if (o->recipe.recipe->file_type == NB_FT_COPY && source->kind != NB_SOURCE_GGUF)
        return nb_fail(err, NB_USAGE, "COPY needs a GGUF file, but %s is not one", source->path);
    if (o->keep_split && source->kind != NB_SOURCE_GGUF)
        return nb_fail(err, NB_USAGE, "--keep-split: %s is not a GGUF file, so it has no GGUF parts to keep",
                       source->path);
    plan->n_files = o->keep_split ? source->store.n_files : 1;
    plan->sources = calloc(source->n_tensors + 1, sizeof *plan->sources);
    if (plan->sources == NULL)
        return nb_fail_memory(err);
    return nb_prune_tensors(source, o->prune, o->n_prune, &plan->arena, plan->sources, &plan->n_tensors, err);
}

enum nb_status
nb_plan_make(struct nb_plan *plan, const struct nb_source *source, const struct nb_plan_options *options,
             struct nb_error *err)
{
    enum nb_status status;

    *plan = (struct nb_plan){ 0 };
    status = plan_metadata(plan, source, options, err);
    if (status == NB_OK)
        status = plan_sources(plan, source, options, err);
    if (status == NB_OK)
        status = plan_tensors(plan, source, options, err);
    if (status == NB_OK)
        status = plan_importance(plan, options, err);
    if (status == NB_OK && options->n_prune > 0) /* after the rules, which use the original number of layers */
        status = nb_prune_metadata(&plan->meta, options->prune, options->n_prune, err);
    if (status == NB_OK)
        status = plan_layout(plan, err);
    if (status != NB_OK)
        nb_plan_free(plan);
    return status;
}

char *
nb_plan_file_name(const struct nb_plan *plan, const char *name, uint32_t number)
{
    const size_t length = strlen(name), stem = nb_ends_with(name, ".gguf") ? length - strlen(".gguf") : length;

    return plan->n_files == 1 ? strdup(name) : nb_split_name(name, stem, number, plan->n_files);
}

static bool
is_source_file(const struct nb_source *source, const char *name)
{
    for (uint32_t i = 0; i < source->store.n_files; i++)
        if (nb_file_is(&source->store.files[i], name))
            return true;
    return false;
}

enum nb_status
nb_plan_check_output(const struct nb_plan *plan, const struct nb_source *source, const char *name, struct nb_error *err)
{
    enum nb_status status = NB_OK;

    for (uint32_t i = 0; i < plan->n_files && status == NB_OK; i++) {
        char *part = nb_plan_file_name(plan, name, i);

        if (part == NULL)
            status = nb_fail_memory(err);
        else if (is_source_file(source, part))
            status = nb_fail(err, NB_USAGE, "%s: is the source; choose another name for the output", part);
        free(part);
    }
    return status;
}

void
nb_plan_free(struct nb_plan *plan)
{
    nb_meta_free(&plan->meta);
    free(plan->tensors);
    free(plan->sources);
    for (uint32_t i = 0; i < plan->n_files && plan->files != NULL; i++)
        free(plan->files[i].header);
    free(plan->files);
    nb_arena_free(&plan->arena);
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
