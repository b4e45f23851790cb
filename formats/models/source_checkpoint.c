/* A checkpoint as a source: its family, its hyperparameters, its tensors (checkpoint_tensors.c), its metadata. */
#include "formats/models/checkpoint_builder.h"

#include "formats/gguf/gguf.h"
#include "formats/models/config_defaults.h"
#include "formats/models/mlx_names.h"
#include "formats/models/model_card.h"
#include "formats/models/multimodal.h"
#include "formats/models/packed/packed.h"
#include "formats/models/stored_tensors.h"
#include "formats/tokenizer/tokenizer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- family and hyperparameters --------------------------------------------------------------------------- */

/* The first model class that OBJECT names, or NULL. */
static const char *
class_of(json_t *object)
{
    return json_string_value(json_array_get(json_object_get(object, "architectures"), 0));
}

/*
 * The class of CONFIG: that of its text model if it has one of its own. Some wrappers name a class there whose
 * models are others (llama.cpp's conversion/base.py, get_model_architecture).
 */
static const char *
model_class(json_t *config)
{
    static const char *const wrappers[] = { "StepVLForConditionalGeneration", "Step3p7ForConditionalGeneration",
                                            "Sarashina2VisionForCausalLM", "Exaone4_5_ForConditionalGeneration" };
    const char *outer = class_of(config), *inner = class_of(json_object_get(config, "text_config"));

    for (size_t i = 0; i < sizeof wrappers / sizeof wrappers[0]; i++)
        if (outer != NULL && strcmp(outer, wrappers[i]) == 0)
            return outer;
    return inner != NULL ? inner : outer;
}

static enum nb_status
find_family(struct nb_builder *b, const char *as_class)
{
    const char *class = as_class != NULL ? as_class : model_class(b->cp->config);
    char near[256];

    if (class == NULL)
        return nb_fail(b->err, NB_INPUT, "%s/%s: names no model class in 'architectures'", b->cp->folder,
                       nb_checkpoint_config_name(b->cp));
    b->family = nb_family_by_class(class, b->cp->config);
    if (b->family != NULL)
        return NB_OK;
    nb_family_nearest(class, near, sizeof near);
    if (as_class != NULL)
        return nb_fail(b->err, NB_USAGE, "--model-class: '%.64s' is not supported; the nearest classes that are: %s",
                       class, near);
    return nb_fail(b->err, NB_UNSUPPORTED,
                   "%s/config.json: model class '%.64s' is not supported; the nearest that are: %s (--model-class NAME "
                   "takes it as one of them; 'nibble families' lists all)",
                   b->cp->folder, class, near);
}

/* The number after "layers." at NAME, and *REST behind it; NULL if NAME is not that of a layer's tensor. */
static const char *
after_layer(const char *name, uint64_t *layer)
{
    char *end;

    if (strncmp(name, "layers.", 7) != 0 || name[7] < '0' || name[7] > '9')
        return NULL;
    *layer = strtoull(name + 7, &end, 10);
    return *end == '.' && *layer < NB_MAX_LAYERS ? end + 1 : NULL;
}

/* Gives STORED the name NAME, which is copied, and remembers its own. */
static enum nb_status
rename_stored(struct nb_builder *b, struct nb_tensor *stored, const char *name)
{
    struct nb_renamed *r = nb_arena_calloc(&b->source->arena, 1, sizeof *r);

    if (r == NULL || (r->name = nb_arena_strdup(&b->source->arena, name)) == NULL)
        return nb_fail_memory(b->err);
    r->own = stored->name;
    r->next = b->source->renamed;
    b->source->renamed = r;
    stored->name = r->name;
    return NB_OK;
}

/* NAME behind "model.", if it begins with that. */
static const char *
inside_model(const char *name)
{
    return name + (strncmp(name, "model.", 6) == 0 ? 6 : 0);
}

/* Gives the tensors of a family's FURTHER_LAYERS the names that they had if their layers followed on the others. */
static enum nb_status
add_further_layers(struct nb_builder *b)
{
    const char *prefix = b->family->further_layers == NULL ? NULL : inside_model(b->family->further_layers);
    struct nb_tensor *stored = (struct nb_tensor *)b->source->store.tensors;
    const uint64_t layers = (uint64_t)nb_hp(b->hp, NB_HP_LAYERS);
    uint64_t further = 0;
    const struct nb_hparam_value recurrent = b->hp->value[NB_HP_RECURRENT_LAYERS];

    for (size_t i = 0; prefix != NULL && i < b->source->store.count; i++) {
        const char *name = inside_model(stored[i].name), *rest;
        uint64_t layer = 0;
        char renamed[256];

        if (strncmp(name, prefix, strlen(prefix)) != 0)
            continue;
        name += strlen(prefix);
        rest = after_layer(name, &layer);
        further = layer + 1 > further ? layer + 1 : further;
        snprintf(renamed, sizeof renamed, "model.layers.%" PRIu64 ".%s", layers + layer, rest != NULL ? rest : name);
        if (rename_stored(b, &stored[i], renamed) != NB_OK)
            return NB_NO_MEMORY;
    }
    if (further == 0)
        return NB_OK;
    nb_hp_set(b->hp, NB_HP_LAYERS, (double)(layers + further), true);
    nb_hp_set(b->hp, NB_HP_NEXTN_LAYERS, (double)further, true);
    if (layers + further > NB_MAX_LAYERS)
        return nb_hparams_check(b->hp, b->cp->folder, b->err);
    if (recurrent.each != NULL) { /* the further ones are not */
        double each[NB_MAX_LAYERS] = { 0 };

        for (size_t i = 0; i < layers; i++)
            each[i] = nb_hp_at(b->hp, NB_HP_RECURRENT_LAYERS, i);
        return nb_hp_set_each(b->hp, NB_HP_RECURRENT_LAYERS, each, (size_t)(layers + further), recurrent.given, b->err);
    }
    return NB_OK;
}

/* Whether a tensor of a layer from FIRST on is stored. */
static bool
has_layers(const struct nb_builder *b, uint64_t first)
{
    for (size_t i = 0; i < b->source->store.count; i++) {
        uint64_t layer = 0;

        if (after_layer(inside_model(b->source->store.tensors[i].name), &layer) != NULL && layer >= first)
            return true;
    }
    return false;
}

/* MLX's tools leave out the layers that predict further tokens, of which config.json still tells. */
static void
forget_absent_layers(struct nb_builder *b)
{
    const double all = nb_hp(b->hp, NB_HP_LAYERS), further = nb_hp(b->hp, NB_HP_NEXTN_LAYERS);

    if (!b->cp->is_mlx || further == 0 || further >= all || has_layers(b, (uint64_t)(all - further)))
        return;
    nb_hp_set(b->hp, NB_HP_LAYERS, all - further, true);
    nb_hp_set(b->hp, NB_HP_NEXTN_LAYERS, 0, true);
    for (unsigned i = 0; i < NB_HPARAMS; i++)
        if (b->hp->value[i].each != NULL && (double)b->hp->value[i].count == all)
            b->hp->value[i].count -= (size_t)further;
    nb_source_note(b->source, "the layers that predict further tokens are not in the folder");
}

static enum nb_status
read_config(struct nb_builder *b, const struct nb_source_options *options)
{
    json_t *text = json_object_get(b->cp->config, "text_config");
    enum nb_status status;
    char name[512];

    snprintf(name, sizeof name, "%s/%s", b->cp->folder, nb_checkpoint_config_name(b->cp));
    b->family = options->family;
    if (text != NULL && !json_is_object(text) && !json_is_null(text))
        return nb_fail(b->err, NB_INPUT, "%s: text_config is not an object", name);
    status = nb_config_complete(b->cp->config, b->err);
    if (status == NB_OK && b->family == NULL)
        status = find_family(b, options->model_class);
    if (status != NB_OK)
        return status;
    b->source->family = b->family;
    status = nb_config_examine(b->source, b->family, name, b->findings, b->err);
    if (status == NB_OK)
        status = nb_family_hparams(b->family, b->cp->config, name, b->hp, b->err);
    if (status == NB_OK && b->family->measure != NULL)
        status = b->family->measure(&b->source->store, name, b->hp, b->err);
    if (status == NB_OK)
        status = add_further_layers(b);
    if (status == NB_OK)
        forget_absent_layers(b);
    b->layers = (uint64_t)nb_hp(b->hp, NB_HP_LAYERS);
    return status;
}

/* --- the source ----------------------------------------------------------------------------------------------- */

/* As gguf-py's get_total_parameter_count: stacks of different heights count with their mean. */
static struct nb_parameters
count_parameters(const struct nb_source *source)
{
    struct nb_parameters p = { .all = nb_source_parameters(source) };
    uint64_t stacks = 0;

    for (size_t i = 0; i < source->n_tensors; i++) {
        const struct nb_view *v = &source->tensors[i];
        const unsigned dimension = strstr(v->name, ".bias") != NULL ? 1 : 2; /* of the experts */
        const bool is_stack = strstr(v->name, "_exps.") != NULL && v->n_dims >= 3;

        p.with_one_expert += is_stack ? v->elements / v->ne[dimension] : v->elements;
        p.experts += is_stack ? v->ne[dimension] : 0;
        stacks += is_stack;
    }
    if (stacks > 0)
        p.experts /= stacks;
    return p;
}

static enum nb_status
build_metadata(struct nb_builder *b, const char *pre_tokenizer)
{
    const struct nb_parameters parameters = count_parameters(b->source);
    const struct nb_conversion conversion = { b->family, b->cp->config, b->hp, &b->source->store, 0, b->cp };
    struct nb_metadata *meta = &b->source->meta;
    enum nb_status status = NB_OK;

    nb_meta_set_string(meta, "general.architecture", b->family->arch->name);
    if (b->family->first != NULL)
        status = b->family->first(&conversion, meta, b->err);
    if (status != NB_OK)
        return status;
    nb_meta_set_string(meta, "general.type", "model");
    status = nb_general_metadata(b->cp, &parameters, meta, b->err);
    if (status == NB_OK)
        status = nb_family_metadata(&conversion, meta, b->err);
    if (status != NB_OK)
        return status;
    nb_meta_set_u32(meta, "general.quantization_version", NB_QUANTIZATION_VERSION);
    status = nb_tokenizer_metadata(b->cp, (uint64_t)nb_hp(b->hp, NB_HP_VOCAB), pre_tokenizer, &b->family->tokenizer,
                                   meta, b->err);
    return status == NB_OK && b->family->last != NULL ? b->family->last(&conversion, meta, b->err) : status;
}

/* Wrappers put their own name before that of every tensor: torch.compile, DataParallel, PEFT. */
static void
strip_wrappers(struct nb_builder *b, struct nb_tensor *stored, size_t count)
{
    static const char *const wrappers[] = { "_orig_mod.", "module.", "base_model.model." };

    for (size_t w = 0; w < sizeof wrappers / sizeof wrappers[0] && count > 0;) {
        const size_t n = strlen(wrappers[w]);
        size_t with = 0;

        while (with < count && strncmp(stored[with].name, wrappers[w], n) == 0 && stored[with].name[n] != '\0')
            with++;
        if (with < count) {
            w++;
            continue;
        }
        for (size_t i = 0; i < count; i++)
            stored[i].name += n;
        nb_source_note(b->source, "the names of all tensors begin with '%s', which is left out", wrappers[w]);
        w = 0; /* one may be in another */
    }
}

static enum nb_status
open_store(struct nb_builder *b)
{
    struct nb_source *source = b->source;
    struct nb_tensor *stored = nb_arena_calloc(&source->arena, b->cp->n_tensors + 1, sizeof *stored);

    if (stored == NULL)
        return nb_fail_memory(b->err);
    for (size_t i = 0; i < b->cp->n_tensors; i++)
        stored[i] = nb_stored_safetensor(&b->cp->tensors[i].info, b->cp->tensors[i].file);
    strip_wrappers(b, stored, b->cp->n_tensors);
    for (size_t i = 0; i < b->cp->n_tensors; i++)
        if ((stored[i].name = nb_text_name(&source->arena, stored[i].name)) == NULL)
            return nb_fail_memory(b->err);
    source->store = (struct nb_store){ stored, b->cp->n_tensors, b->cp->files, b->cp->n_files };
    return NB_OK;
}

/* A folder that MLX's tools wrote has the arrays of their classes. A class that is not known is told of later. */
static enum nb_status
undo_mlx_names(struct nb_builder *b, const struct nb_source_options *options)
{
    struct nb_error ignored;
    struct nb_builder probe = { .cp = b->cp, .err = &ignored };

    if (options->family != NULL || find_family(&probe, options->model_class) != NB_OK || probe.family->mlx == NULL)
        return NB_OK;
    return nb_mlx_names_undo(&b->source->store,
                             &(struct nb_mlx_undo){ probe.family->mlx, b->cp->config, b->cp->is_mlx },
                             &b->source->arena, b->err);
}

/* Takes the parts of weights that are quantized together. */
static enum nb_status
unpack_store(struct nb_builder *b, const struct nb_source_options *options)
{
    struct nb_quantization quantization = { .keep = options->keep_packed, .keep_exact = options->keep_quantized };
    struct nb_packed_summary found = { 0 };
    enum nb_status status = nb_quantization_find(b->cp, &quantization, b->err);

    if (status == NB_OK)
        status = nb_packed_replace(&b->source->store, &quantization, b->cp->folder, &b->source->arena, &found,
                                   b->findings, b->err);
    if (status == NB_OK && found.count > found.kept && !options->to_floats)
        nb_source_note(
            b->source,
            "%zu weights are quantized already (%s): quantizing them again loses more than starting from the "
            "original checkpoint",
            found.count - found.kept, found.format);
    if (status == NB_OK && found.kept > 0)
        nb_source_note(b->source, "%zu weights (%s) are not quantized again: they stay as %s", found.kept,
                       found.kept_format, nb_type_info(found.kept_type)->name);
    nb_quantization_free(&quantization);
    return status;
}

static enum nb_status
build(struct nb_builder *b, const char *path, const struct nb_source_options *options)
{
    struct nb_source *source = b->source;
    enum nb_status status;

    b->cp = nb_arena_calloc(&source->arena, 1, sizeof *b->cp);
    if (b->cp == NULL)
        return nb_fail_memory(b->err);
    source->kind = NB_SOURCE_CHECKPOINT;
    status = nb_checkpoint_open(b->cp, path, options->follow_links, b->err);
    if (status != NB_OK)
        return status;
    source->checkpoint = b->cp;
    if (b->cp->index_is_stale)
        nb_source_note(source,
                       "model.safetensors is taken; the shards that model.safetensors.index.json names are gone");
    status = open_store(b);
    if (status == NB_OK)
        status = undo_mlx_names(b, options);
    if (status == NB_OK)
        status = unpack_store(b, options);
    if (status == NB_OK)
        status = read_config(b, options);
    if (status == NB_OK)
        status = nb_builder_vocabulary(b);
    if (status == NB_OK)
        status = nb_builder_tensors(b);
    return status == NB_OK ? build_metadata(b, options->pre_tokenizer) : status;
}

static enum nb_status
open_checkpoint(struct nb_source *source, const char *path, const struct nb_source_options *options,
                struct nb_findings *findings, struct nb_error *err)
{
    struct nb_hparams hp = { 0 };
    struct nb_builder b = { .source = source, .hp = &hp, .findings = findings, .err = err };
    const enum nb_status status = build(&b, path, options);

    nb_hparams_free(&hp);
    return status;
}

enum nb_status
nb_source_open_checkpoint(struct nb_source *source, const char *path, const struct nb_source_options *options,
                          struct nb_error *err)
{
    return open_checkpoint(source, path, options, NULL, err);
}

enum nb_status
nb_source_examine_checkpoint(struct nb_source *source, const char *path, struct nb_findings *findings,
                             struct nb_error *err)
{
    const struct nb_source_options options = { .follow_links = true }; /* nb_checkpoint_examine looks at them */
    enum nb_status status;

    *source = (struct nb_source){ 0 };
    source->path = nb_arena_strdup(&source->arena, path);
    status = source->path == NULL ? nb_fail_memory(err) : open_checkpoint(source, path, &options, findings, err);
    if (status != NB_OK)
        nb_source_close(source);
    return status;
}

enum nb_status
nb_source_build(struct nb_source *source, const struct nb_source_options *options, struct nb_error *err)
{
    struct nb_hparams hp = { 0 };
    struct nb_builder b = { .source = source, .cp = source->checkpoint, .hp = &hp, .err = err };
    enum nb_status status = read_config(&b, options);

    source->kind = NB_SOURCE_CHECKPOINT;
    if (status == NB_OK)
        status = nb_builder_vocabulary(&b);
    if (status == NB_OK)
        status = nb_builder_tensors(&b);
    if (status == NB_OK) {
        const struct nb_conversion c = { b.family, b.cp->config, &hp, &source->store, 0, b.cp };

        nb_meta_set_string(&source->meta, "general.architecture", b.family->arch->name);
        if (b.family->first != NULL)
            status = b.family->first(&c, &source->meta, err);
        if (status == NB_OK)
            status = nb_family_metadata(&c, &source->meta, err);
    }
    nb_hparams_free(&hp);
    return status;
}
