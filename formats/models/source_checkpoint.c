/* A checkpoint as a source: its tensors under the names, shapes and row orders of GGUF. */
#include "formats/base/text.h"
#include "formats/gguf/gguf.h"
#include "formats/models/family.h"
#include "formats/models/model_card.h"
#include "formats/models/source.h"
#include "formats/safetensors/checkpoint.h"
#include "formats/tokenizer/tokenizer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct builder {
    struct nb_source *source;
    struct nb_checkpoint *cp;
    const struct nb_family *family;
    struct nb_hparams hp;
    /* n_tensors x layers: which of the family's tensors have come; unlayered ones are at layer 0. */
    bool *seen;
    struct nb_findings *findings; /* NULL: the first is an error */
    struct nb_error *err;
};

/* A finding about the folder that building goes on behind. */
#define FOUND(b, code, ...) nb_found((b)->findings, (b)->err, code, nb_in_file((b)->cp->folder), __VA_ARGS__)

static enum nb_status
find_family(struct builder *b)
{
    json_t *classes = json_object_get(b->cp->config, "architectures");
    const char *class = json_string_value(json_array_get(classes, 0));
    char supported[256] = "";
    size_t at = 0;

    if (class == NULL)
        return nb_fail(b->err, NB_INPUT, "%s/config.json: names no model class in 'architectures'", b->cp->folder);
    b->family = nb_family_by_class(class);
    if (b->family != NULL)
        return NB_OK;
    for (const struct nb_family *const *f = nb_families; *f != NULL && at < sizeof supported; f++)
        at += (size_t)snprintf(supported + at, sizeof supported - at, "%s%s", at > 0 ? ", " : "", (*f)->classes[0]);
    return nb_fail(b->err, NB_INPUT, "%s/config.json: model class '%s' is not supported (%s are)", b->cp->folder,
                   class, supported);
}

static enum nb_status
read_config(struct builder *b)
{
    enum nb_status status;
    char name[512];

    snprintf(name, sizeof name, "%s/config.json", b->cp->folder);
    status = find_family(b);
    if (status != NB_OK)
        return status;
    if (json_is_object(json_object_get(b->cp->config, "quantization_config")))
        return nb_fail(b->err, NB_INPUT, "%s: the checkpoint is quantized already (quantization_config); take the "
                       "original one", name);
    return nb_family_hparams(b->family, b->cp->config, name, &b->hp, b->err);
}

/* True if NAME is PATTERN with a number for its "%u"; LAYER stays as it is for a pattern without. */
static bool
matches(const char *pattern, const char *name, uint64_t *layer)
{
    const char *hole = strstr(pattern, "%u");
    size_t before, digits;

    if (hole == NULL)
        return strcmp(pattern, name) == 0;
    before = (size_t)(hole - pattern);
    if (strncmp(pattern, name, before) != 0)
        return false;
    digits = strspn(name + before, "0123456789");
    if (digits == 0 || digits > 6 || (digits > 1 && name[before] == '0') ||
        strcmp(name + before + digits, hole + 2) != 0)
        return false;
    *layer = strtoull(name + before, NULL, 10);
    return true;
}

static const struct nb_family_tensor *
find_row(const struct builder *b, const char *name, uint64_t *layer)
{
    *layer = 0;
    for (size_t i = 0; i < b->family->n_tensors; i++)
        if (matches(b->family->tensors[i].checkpoint, name, layer))
            return &b->family->tensors[i];
    return NULL;
}

static bool
is_ignored(const struct builder *b, const char *name)
{
    for (const char *const *end = b->family->ignored; *end != NULL; end++)
        if (nb_ends_with(name, *end))
            return true;
    return false;
}

static const struct nb_checkpoint_tensor *
find_tensor(const struct builder *b, enum nb_presence presence)
{
    for (size_t i = 0; i < b->cp->n_tensors; i++) {
        uint64_t layer;
        const struct nb_family_tensor *row = find_row(b, b->cp->tensors[i].info.name, &layer);

        if (row != NULL && row->presence == presence)
            return &b->cp->tensors[i];
    }
    return NULL;
}

static const struct nb_family_tensor *
row_with(const struct builder *b, enum nb_presence presence)
{
    for (size_t i = 0; i < b->family->n_tensors; i++)
        if (b->family->tensors[i].presence == presence)
            return &b->family->tensors[i];
    return NULL;
}

/* The vocabulary is as long as the embedding, wherever that is stored. */
static enum nb_status
find_vocabulary(struct builder *b)
{
    const struct nb_checkpoint_tensor *embedding = find_tensor(b, NB_EMBEDDING_TABLE);
    const double told = b->hp.value[NB_HP_VOCAB];

    if (embedding == NULL)
        embedding = find_tensor(b, NB_OUTPUT_TABLE);
    if (embedding == NULL)
        return nb_fail(b->err, NB_INPUT, "%s: has no token embedding ('%s')", b->cp->folder,
                       row_with(b, NB_EMBEDDING_TABLE)->checkpoint);
    if (embedding->info.n_dims != 2 || embedding->info.shape[0] < 1 || embedding->info.shape[0] > 1u << 30)
        return nb_fail(b->err, NB_INPUT, "%s: tensor '%s' is not a matrix of tokens", b->cp->folder,
                       embedding->info.name);
    b->hp.value[NB_HP_VOCAB] = (double)embedding->info.shape[0];
    if (told != b->hp.value[NB_HP_VOCAB] && b->hp.given[NB_HP_VOCAB])
        nb_source_note(b->source, "config.json says vocab_size %.0f, but the embedding has %.0f rows: %.0f it is", told,
                       b->hp.value[NB_HP_VOCAB], b->hp.value[NB_HP_VOCAB]);
    return NB_OK;
}

/* What a GGUF file that nobody quantized has: vectors and norms in F32, the rest as it was. */
static enum nb_type
plain_type(const struct nb_tensor *t)
{
    return !nb_tensor_is_always_f32(t) && (t->type == NB_F16 || t->type == NB_BF16) ? t->type : NB_F32;
}

/* *GOOD: the tensor can be used. */
static enum nb_status
check_shape(const struct builder *b, const struct nb_family_tensor *row, const struct nb_safetensor *info, bool *good)
{
    const uint64_t rows = nb_family_side(row->rows, &b->hp), columns = nb_family_side(row->columns, &b->hp);
    const uint32_t dims = row->columns == NB_SIDE_NONE ? 1 : 2;

    *good = false;

    if (info->n_dims != dims || info->shape[0] != rows || (dims == 2 && info->shape[1] != columns)) {
        char found[128] = "";
        size_t at = 0;

        for (uint32_t i = 0; i < info->n_dims && at < sizeof found; i++)
            at += (size_t)snprintf(found + at, sizeof found - at, "%s%" PRIu64, i > 0 ? " x " : "", info->shape[i]);
        return dims == 2 ? FOUND(b, NB_BAD_MODEL_TENSOR_SHAPE, "tensor '%s' is %s, but config.json makes it %" PRIu64
                                 " x %" PRIu64, info->name, found, rows, columns)
                         : FOUND(b, NB_BAD_MODEL_TENSOR_SHAPE, "tensor '%s' is %s, but config.json makes it %" PRIu64,
                                 info->name, found, rows);
    }
    if (nb_type_info(info->type)->kind != NB_KIND_FLOAT)
        return FOUND(b, NB_BAD_MODEL_TENSOR_SHAPE, "tensor '%s' has dtype %s, which holds no weights", info->name,
                     nb_type_info(info->type)->safetensors);
    *good = true;
    return NB_OK;
}

static enum nb_status
add_tensor(struct builder *b, const struct nb_family_tensor *row, uint64_t layer,
           const struct nb_checkpoint_tensor *ct)
{
    struct nb_tensor *t = &b->source->tensors[b->source->n_tensors];
    bool *seen = &b->seen[(size_t)(row - b->family->tensors) * (size_t)b->hp.value[NB_HP_LAYERS] + layer];
    char name[NB_MAX_NAME + 1];
    bool good;
    enum nb_status status = check_shape(b, row, &ct->info, &good);

    if (status == NB_OK && *seen)
        return FOUND(b, NB_BAD_CP_TENSOR_PLACE, "tensor '%s' is in two shards", ct->info.name);
    *seen = true;
    if (status != NB_OK || !good)
        return status;
    nb_name_in_layer(row->gguf, layer, name, sizeof name);
    *t = (struct nb_tensor){
        .name = nb_arena_strdup(&b->source->arena, name),
        .source_name = ct->info.name,
        .type = ct->info.type,
        .n_dims = ct->info.n_dims,
        .ne = { 1, 1, 1, 1 },
        .rows = { row->map, (uint64_t)b->hp.value[NB_HP_HEAD_DIM] },
        .file = ct->file,
        .offset = ct->info.offset,
    };
    if (t->name == NULL)
        return nb_fail_memory(b->err);
    for (uint32_t i = 0; i < t->n_dims; i++)
        t->ne[i] = ct->info.shape[t->n_dims - 1 - i];
    t->plain_type = plain_type(t);
    if (!nb_tensor_measure(t))
        return nb_fail(b->err, NB_INPUT, "%s: tensor '%s' is too large", b->cp->folder, ct->info.name);
    b->source->n_tensors++;
    return NB_OK;
}

/* The first tensor of a Llama 3 model; no checkpoint stores it. */
static enum nb_status
add_rope_freqs(struct builder *b)
{
    json_t *scaling = nb_rope_scaling(b->cp->config);
    const char *type = nb_rope_type(scaling);
    struct nb_tensor *t = &b->source->tensors[b->source->n_tensors];
    const float *factors;
    enum nb_status status;

    if (!b->family->can_scale_rope_llama3 || type == NULL || strcmp(type, "llama3") != 0)
        return NB_OK;
    status = nb_rope_llama3_factors(scaling, &b->hp, &b->source->arena, &factors, b->err);
    if (status != NB_OK)
        return status;
    *t = (struct nb_tensor){
        .name = "rope_freqs.weight",
        .source_name = "config.json: rope_scaling",
        .type = NB_F32,
        .plain_type = NB_F32,
        .n_dims = 1,
        .ne = { (uint64_t)b->hp.value[NB_HP_HEAD_DIM] / 2, 1, 1, 1 },
        .bytes_in_memory = factors,
    };
    if (!nb_tensor_measure(t))
        return nb_fail_memory(b->err);
    b->source->n_tensors++;
    return NB_OK;
}

static enum nb_status
add_tensors(struct builder *b, bool embedding_under_output)
{
    const uint64_t layers = (uint64_t)b->hp.value[NB_HP_LAYERS];

    for (size_t i = 0; i < b->cp->n_tensors; i++) {
        const struct nb_checkpoint_tensor *ct = &b->cp->tensors[i];
        uint64_t layer;
        const struct nb_family_tensor *row = find_row(b, ct->info.name, &layer);
        enum nb_status status;

        if (row == NULL && is_ignored(b, ct->info.name))
            continue;
        if (row == NULL || layer >= layers) {
            status = FOUND(b, NB_BAD_MODEL_TENSOR_UNEXPECTED, "tensor '%s' is no part of a %s with %" PRIu64 " layers",
                           ct->info.name, b->family->classes[0], layers);
            if (status != NB_OK)
                return status;
            continue;
        }
        if (row->presence == NB_OUTPUT_TABLE && embedding_under_output)
            row = row_with(b, NB_EMBEDDING_TABLE);
        status = add_tensor(b, row, layer, ct);
        if (status != NB_OK)
            return status;
    }
    return NB_OK;
}

static enum nb_status
check_complete(const struct builder *b)
{
    json_t *tie = json_object_get(b->cp->config, "tie_word_embeddings");
    const uint64_t layers = (uint64_t)b->hp.value[NB_HP_LAYERS];
    enum nb_status status = NB_OK;

    for (size_t i = 0; i < b->family->n_tensors; i++) {
        const struct nb_family_tensor *row = &b->family->tensors[i];
        const uint64_t n = strstr(row->checkpoint, "%u") == NULL ? 1 : layers;
        const bool needed = row->presence == NB_ALWAYS || row->presence == NB_EMBEDDING_TABLE ||
                            (row->presence == NB_OUTPUT_TABLE && json_is_false(tie));

        for (uint64_t layer = 0; needed && layer < n && status == NB_OK; layer++) {
            char name[256];

            if (b->seen[i * layers + layer])
                continue;
            nb_name_in_layer(row->checkpoint, layer, name, sizeof name);
            status = FOUND(b, NB_BAD_MODEL_TENSOR_MISSING, "tensor '%s' is missing", name);
        }
    }
    return status;
}

static enum nb_status
build_tensors(struct builder *b)
{
    const bool embedding_under_output =
        find_tensor(b, NB_EMBEDDING_TABLE) == NULL &&
        json_is_true(json_object_get(b->cp->config, "tie_word_embeddings"));
    enum nb_status status;

    b->seen = nb_arena_calloc(&b->source->arena, b->family->n_tensors * (size_t)b->hp.value[NB_HP_LAYERS],
                              sizeof *b->seen);
    b->source->tensors = calloc(b->cp->n_tensors + 1, sizeof *b->source->tensors);
    if (b->seen == NULL || b->source->tensors == NULL)
        return nb_fail_memory(b->err);
    status = add_rope_freqs(b);
    if (status == NB_OK)
        status = add_tensors(b, embedding_under_output);
    if (status == NB_OK)
        status = check_complete(b);
    if (status == NB_OK && embedding_under_output)
        nb_source_note(b->source, "the tied embedding is stored as '%s'; it is written as '%s'",
                       row_with(b, NB_OUTPUT_TABLE)->checkpoint, row_with(b, NB_EMBEDDING_TABLE)->gguf);
    return status;
}

static enum nb_status
build_metadata(struct builder *b, const char *pre_tokenizer)
{
    struct nb_metadata *meta = &b->source->meta;
    enum nb_status status;

    nb_meta_set_string(meta, "general.architecture", b->family->arch);
    nb_meta_set_string(meta, "general.type", "model");
    status = nb_general_metadata(b->cp, nb_source_parameters(b->source), meta, b->err);
    if (status == NB_OK)
        status = nb_family_metadata(b->family, b->cp->config, &b->hp, 0, meta, b->err);
    if (status != NB_OK)
        return status;
    nb_meta_set_u32(meta, "general.quantization_version", NB_QUANTIZATION_VERSION);
    return nb_tokenizer_metadata(b->cp, (uint64_t)b->hp.value[NB_HP_VOCAB], pre_tokenizer, meta, b->err);
}

static enum nb_status
build(struct builder *b, const char *path, const char *pre_tokenizer)
{
    struct nb_source *source = b->source;
    enum nb_status status;

    b->cp = nb_arena_calloc(&source->arena, 1, sizeof *b->cp);
    if (b->cp == NULL)
        return nb_fail_memory(b->err);
    source->kind = NB_SOURCE_CHECKPOINT;
    status = nb_checkpoint_open(b->cp, path, b->err);
    if (status != NB_OK)
        return status;
    source->checkpoint = b->cp;
    source->files = b->cp->files;
    source->n_files = b->cp->n_files;
    status = read_config(b);
    if (status == NB_OK)
        status = find_vocabulary(b);
    if (status == NB_OK)
        status = build_tensors(b);
    return status == NB_OK ? build_metadata(b, pre_tokenizer) : status;
}

enum nb_status
nb_source_open_checkpoint(struct nb_source *source, const char *path, const char *pre_tokenizer,
                          struct nb_error *err)
{
    struct builder b = { .source = source, .err = err };

    return build(&b, path, pre_tokenizer);
}

enum nb_status
nb_source_examine_checkpoint(struct nb_source *source, const char *path, struct nb_findings *findings,
                             struct nb_error *err)
{
    struct builder b = { .source = source, .findings = findings, .err = err };
    enum nb_status status;

    *source = (struct nb_source){ 0 };
    source->path = nb_arena_strdup(&source->arena, path);
    status = source->path == NULL ? nb_fail_memory(err) : build(&b, path, NULL);
    if (status != NB_OK)
        nb_source_close(source);
    return status;
}
