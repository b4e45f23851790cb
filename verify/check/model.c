/*
 * Whether metadata and tensors make a model: the keys that llama.cpp's loader demands, with the
 * types it demands, and the tensors of the architecture with the shapes that the keys give them.
 */
#include "verify/check/parts.h"

#include "formats/base/text.h"
#include "formats/gguf/gguf.h"
#include "formats/models/family.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LAYERS 512u /* LLAMA_MAX_LAYERS of llama.cpp */
#define MAX_SIZE 0x7FFFFFFFu
#define CHECK_SHAPE_TEXT 128

struct model {
    struct nb_checking *c;
    const char *file, *arch;
    const struct nb_metadata *meta;
    const struct nb_tensor **sorted; /* by name */
    size_t count;
    const struct nb_family *family; /* NULL: not known here */
    struct nb_hparams hp;
    uint64_t layers; /* 0: not known */
    uint64_t experts;
};

static void
write_key(const struct model *m, const char *suffix, char key[128])
{
    snprintf(key, 128, "%.60s.%s", m->arch, suffix);
}

static struct nb_place
at_key(const struct model *m, const char *key)
{
    return nb_at_key(m->file, key, NB_NO_OFFSET);
}

static struct nb_place
at_tensor(const struct model *m, const char *name)
{
    return nb_at_tensor(m->file, name, NB_NO_OFFSET);
}

/* --- keys ------------------------------------------------------------------------------------------------ */

enum demand { OPTIONAL, NEEDED, NEEDED_BY_LLAMA };

/* What is known of "ARCH.SUFFIX". Sizes are u32; some may also be an array with one for each layer. */
static const struct key {
    const char *suffix;
    enum nb_kv_type type;
    bool or_array;
    enum demand demand;
    double low, high;
} keys[] = {
    { "block_count", NB_KV_U32, false, NEEDED, 1, MAX_LAYERS },
    { "context_length", NB_KV_U32, false, NEEDED, 1, MAX_SIZE },
    { "embedding_length", NB_KV_U32, false, NEEDED, 1, MAX_SIZE },
    { "feed_forward_length", NB_KV_U32, true, NEEDED_BY_LLAMA, 0, MAX_SIZE },
    { "attention.head_count", NB_KV_U32, true, NEEDED_BY_LLAMA, 0, MAX_SIZE },
    { "attention.head_count_kv", NB_KV_U32, true, OPTIONAL, 0, MAX_SIZE },
    { "attention.layer_norm_rms_epsilon", NB_KV_F32, false, NEEDED_BY_LLAMA, 0, 1 },
    { "attention.layer_norm_epsilon", NB_KV_F32, false, OPTIONAL, 0, 1 },
    { "attention.key_length", NB_KV_U32, false, OPTIONAL, 1, MAX_SIZE },
    { "attention.value_length", NB_KV_U32, false, OPTIONAL, 1, MAX_SIZE },
    { "rope.dimension_count", NB_KV_U32, false, OPTIONAL, 0, MAX_SIZE },
    { "rope.freq_base", NB_KV_F32, false, OPTIONAL, 0, INFINITY },
    { "rope.scaling.factor", NB_KV_F32, false, OPTIONAL, 0, INFINITY },
    { "rope.scaling.type", NB_KV_STRING, false, OPTIONAL, 0, 0 },
    { "rope.scaling.original_context_length", NB_KV_U32, false, OPTIONAL, 0, MAX_SIZE },
    { "expert_count", NB_KV_U32, false, OPTIONAL, 0, 4096 },
    { "expert_used_count", NB_KV_U32, true, OPTIONAL, 0, 4096 },
    { "vocab_size", NB_KV_U32, false, OPTIONAL, 0, MAX_SIZE },
};

static enum nb_status
check_value(const struct model *m, const struct key *k, const struct nb_kv *kv)
{
    double value;

    if (kv->type == NB_KV_STRING || !nb_meta_get_f64(m->meta, kv->key, &value) ||
        (value >= k->low && value <= k->high))
        return NB_OK;
    return CHECK_FOUND(m->c, NB_BAD_MODEL_KEY_VALUE, at_key(m, kv->key), "is %g, which no model can have", value);
}

static enum nb_status
check_key(const struct model *m, const struct key *k)
{
    const struct nb_kv *kv;
    char key[128];
    bool array;

    write_key(m, k->suffix, key);
    kv = nb_meta_find(m->meta, key);
    if (kv == NULL) {
        const bool needed =
            m->count > 0 && (k->demand == NEEDED || (k->demand == NEEDED_BY_LLAMA && m->family != NULL));

        return needed ? CHECK_FOUND(m->c, NB_BAD_MODEL_KEY_MISSING, at_key(m, key), "is missing") : NB_OK;
    }
    array = k->or_array && kv->type == NB_KV_ARRAY && (kv->element == NB_KV_I32 || kv->element == NB_KV_U32);
    if (kv->type != k->type && !array)
        return CHECK_FOUND(m->c, NB_BAD_MODEL_KEY_TYPE, at_key(m, key), "is %s, should be %s",
                           nb_kv_type_name(kv->type), nb_kv_type_name(k->type));
    return array ? NB_OK : check_value(m, k, kv);
}

static enum nb_status
check_general_keys(const struct model *m)
{
    static const struct {
        const char *key;
        enum nb_kv_type type;
    } general[] = {
        { "general.name", NB_KV_STRING },          { "general.type", NB_KV_STRING },
        { "general.file_type", NB_KV_U32 },        { "general.quantization_version", NB_KV_U32 },
        { "general.description", NB_KV_STRING },   { "general.license", NB_KV_STRING },
    };
    enum nb_status status = NB_OK;

    for (size_t i = 0; i < sizeof general / sizeof general[0] && status == NB_OK; i++) {
        const struct nb_kv *kv = nb_meta_find(m->meta, general[i].key);

        if (kv != NULL && kv->type != general[i].type)
            status = CHECK_FOUND(m->c, NB_BAD_MODEL_KEY_TYPE, at_key(m, kv->key), "is %s, should be %s",
                                 nb_kv_type_name(kv->type), nb_kv_type_name(general[i].type));
    }
    return status;
}

static enum nb_status
check_quantization_version(const struct model *m)
{
    uint64_t version;
    bool quantized = false;

    for (size_t i = 0; i < m->count; i++)
        quantized = quantized || nb_type_info(m->sorted[i]->type)->kind == NB_KIND_BLOCK;
    if (!quantized || (nb_meta_get_u64(m->meta, "general.quantization_version", &version) &&
                       version == NB_QUANTIZATION_VERSION))
        return NB_OK;
    return CHECK_FOUND(m->c, NB_BAD_MODEL_QUANTIZATION, nb_in_file(m->file),
                       "has quantized tensors, but general.quantization_version is not %u", NB_QUANTIZATION_VERSION);
}

/* --- tensors ------------------------------------------------------------------------------------------------ */

static const struct nb_tensor *
find_tensor(const struct model *m, const char *name)
{
    return nb_tensors_find(m->sorted, m->count, name);
}

/* The layer that "blk.N." names; false if NAME is not of a layer. */
static bool
layer_of(const char *name, uint64_t *layer)
{
    const size_t digits = strncmp(name, "blk.", 4) == 0 ? strspn(name + 4, "0123456789") : 0;

    if (digits == 0 || digits > 9 || name[4 + digits] != '.')
        return false;
    *layer = strtoull(name + 4, NULL, 10);
    return true;
}

static enum nb_status
check_layers(const struct model *m)
{
    bool *seen = calloc((size_t)m->layers + 1, sizeof *seen);
    enum nb_status status = NB_OK;
    uint64_t layer;

    if (seen == NULL)
        return nb_fail_memory(m->c->err);
    for (size_t i = 0; i < m->count && status == NB_OK; i++) {
        if (!layer_of(m->sorted[i]->name, &layer))
            continue;
        if (layer < m->layers)
            seen[layer] = true;
        else
            status = CHECK_FOUND(m->c, NB_BAD_MODEL_LAYER, at_tensor(m, m->sorted[i]->name),
                                 "belongs to a layer beyond the last, %" PRIu64, m->layers - 1);
    }
    for (uint64_t i = 0; i < m->layers && status == NB_OK; i++)
        if (!seen[i])
            status = CHECK_FOUND(m->c, NB_BAD_MODEL_LAYER, nb_in_file(m->file), "layer %" PRIu64 " has no tensors", i);
    free(seen);
    return status;
}

static enum nb_status
check_shape(const struct model *m, const struct nb_tensor *t, uint64_t columns, uint64_t rows, uint64_t experts)
{
    const uint64_t wanted[3] = { columns, rows, experts };
    char want[CHECK_SHAPE_TEXT] = "", have[CHECK_SHAPE_TEXT] = "";
    size_t a = 0, b = 0;
    bool good = t->ne[3] == 1;

    for (unsigned i = 0; i < 3; i++) {
        good = good && t->ne[i] == wanted[i];
        if (i == 0 || wanted[i] > 1)
            a += (size_t)snprintf(want + a, sizeof want - a, "%s%" PRIu64, i > 0 ? " x " : "", wanted[i]);
        if (i < t->n_dims)
            b += (size_t)snprintf(have + b, sizeof have - b, "%s%" PRIu64, i > 0 ? " x " : "", t->ne[i]);
    }
    return good ? NB_OK : CHECK_FOUND(m->c, NB_BAD_MODEL_TENSOR_SHAPE, at_tensor(m, t->name),
                                      "is %s, but the keys make it %s", have, want);
}

/* The rows of embedding and output are the tokens, in every architecture. */
static enum nb_status
check_embedding(const struct model *m)
{
    static const char *const names[] = { "token_embd.weight", "output.weight" };
    const struct nb_kv *tokens = nb_meta_find(m->meta, "tokenizer.ggml.tokens");
    uint64_t embedding = 0;
    char key[128];
    enum nb_status status = NB_OK;

    write_key(m, "embedding_length", key);
    (void)nb_meta_get_u64(m->meta, key, &embedding);
    for (size_t i = 0; i < sizeof names / sizeof names[0] && status == NB_OK; i++) {
        const struct nb_tensor *t = find_tensor(m, names[i]);

        if (t == NULL)
            continue;
        if (tokens != NULL && tokens->type == NB_KV_ARRAY && t->ne[1] != tokens->count)
            status = CHECK_FOUND(m->c, NB_BAD_TOKENS_EMBEDDING, at_tensor(m, t->name),
                                 "has %" PRIu64 " rows, but there are %" PRIu64 " tokens", t->ne[1], tokens->count);
        if (status == NB_OK && embedding > 0 && t->ne[0] != embedding)
            status = CHECK_FOUND(m->c, NB_BAD_MODEL_TENSOR_SHAPE, at_tensor(m, t->name),
                                 "has rows of %" PRIu64 ", but embedding_length is %" PRIu64, t->ne[0], embedding);
    }
    return status;
}

/* --- tensors of a family that is known ------------------------------------------------------------------------ */

/* A mixture has these four instead of the feed-forward matrices. */
static bool
replaced_by_experts(const struct model *m, const struct nb_family_tensor *row)
{
    return m->experts > 0 && strstr(row->gguf, ".ffn_") != NULL && strstr(row->gguf, ".ffn_norm.") == NULL;
}

static enum nb_status
check_one(const struct model *m, const char *pattern, uint64_t layer, bool needed, uint64_t columns, uint64_t rows,
          uint64_t experts)
{
    const struct nb_tensor *t;
    char name[NB_MAX_NAME + 32];

    nb_name_in_layer(pattern, layer, name, sizeof name);
    t = find_tensor(m, name);
    if (t == NULL)
        return needed ? CHECK_FOUND(m->c, NB_BAD_MODEL_TENSOR_MISSING, at_tensor(m, name), "is missing") : NB_OK;
    return check_shape(m, t, columns, rows, experts);
}

static enum nb_status
check_row(const struct model *m, const struct nb_family_tensor *row)
{
    const uint64_t n = strstr(row->gguf, "%u") == NULL ? 1 : m->layers;
    const uint64_t rows = nb_family_side(row->rows, &m->hp), columns = nb_family_side(row->columns, &m->hp);
    const bool vector = row->columns == NB_SIDE_NONE, needed = row->presence == NB_ALWAYS;
    enum nb_status status = NB_OK;

    if (replaced_by_experts(m, row) || row->rows == NB_SIDE_VOCAB) /* of that check_embedding has told */
        return row->presence == NB_EMBEDDING_TABLE && find_tensor(m, row->gguf) == NULL
                   ? CHECK_FOUND(m->c, NB_BAD_MODEL_TENSOR_MISSING, at_tensor(m, row->gguf), "is missing")
                   : NB_OK;
    for (uint64_t i = 0; i < n && status == NB_OK; i++)
        status = check_one(m, row->gguf, i, needed, vector ? rows : columns, vector ? 1 : rows, 1);
    return status;
}

static enum nb_status
check_experts(const struct model *m)
{
    const uint64_t e = (uint64_t)m->hp.value[NB_HP_EMBEDDING], f = (uint64_t)m->hp.value[NB_HP_FEED_FORWARD];
    enum nb_status status = NB_OK;

    for (uint64_t i = 0; i < m->layers && status == NB_OK && m->experts > 0; i++) {
        status = check_one(m, "blk.%u.ffn_gate_inp.weight", i, true, e, m->experts, 1);
        if (status == NB_OK)
            status = check_one(m, "blk.%u.ffn_gate_exps.weight", i, true, e, f, m->experts);
        if (status == NB_OK)
            status = check_one(m, "blk.%u.ffn_up_exps.weight", i, true, e, f, m->experts);
        if (status == NB_OK)
            status = check_one(m, "blk.%u.ffn_down_exps.weight", i, true, f, e, m->experts);
    }
    return status;
}

/* Whether the family has a tensor of this name, in whatever layer. */
static bool
is_expected(const struct model *m, const char *name)
{
    static const char *const others[] = { "rope_freqs.weight", "rope_factors_long.weight",
                                          "rope_factors_short.weight" };
    static const char *const experts[] = { ".ffn_gate_inp.weight", ".ffn_gate_exps.weight", ".ffn_up_exps.weight",
                                           ".ffn_down_exps.weight" };
    uint64_t layer;
    const char *rest = layer_of(name, &layer) ? strchr(name + 4, '.') : name;

    if (nb_ends_with(name, ".scale") || nb_ends_with(name, ".input_scale")) /* of NVFP4 */
        return true;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (strcmp(name, others[i]) == 0)
            return true;
    for (size_t i = 0; i < sizeof experts / sizeof experts[0] && m->experts > 0; i++)
        if (rest != name && strcmp(rest, experts[i]) == 0)
            return true;
    for (size_t i = 0; i < m->family->n_tensors; i++) {
        const char *pattern = m->family->tensors[i].gguf, *hole = strstr(pattern, "%u");

        if (strcmp(rest, hole == NULL ? pattern : hole + 2) == 0 && (hole == NULL) == (rest == name))
            return true;
    }
    return false;
}

static enum nb_status
check_family(struct model *m)
{
    char key[128];
    uint64_t length;
    struct nb_error why;
    enum nb_status status = nb_family_hparams_of(m->family, m->meta, m->file, &m->hp, &why);

    if (status != NB_OK) /* missing and impossible keys have been told, but for how they fit together */
        return m->c->findings->of_code[NB_BAD_MODEL_KEY_MISSING] + m->c->findings->of_code[NB_BAD_MODEL_KEY_VALUE] +
                           m->c->findings->of_code[NB_BAD_MODEL_KEY_TYPE] > 0
                   ? NB_OK
                   : nb_found_error(m->c->findings, m->c->err, NB_BAD_MODEL_KEY_VALUE, nb_in_file(m->file), &why);
    write_key(m, "attention.key_length", key);
    m->hp.value[NB_HP_HEAD_DIM] = nb_meta_get_u64(m->meta, key, &length)
                                      ? (double)length
                                      : floor(m->hp.value[NB_HP_EMBEDDING] / m->hp.value[NB_HP_HEADS]);
    for (size_t i = 0; i < m->family->n_tensors && status == NB_OK; i++)
        status = check_row(m, &m->family->tensors[i]);
    if (status == NB_OK)
        status = check_experts(m);
    for (size_t i = 0; i < m->count && status == NB_OK; i++)
        if (!is_expected(m, m->sorted[i]->name))
            status = CHECK_FOUND(m->c, NB_BAD_MODEL_TENSOR_UNEXPECTED, at_tensor(m, m->sorted[i]->name),
                                 "is no part of a model of architecture '%s'", m->arch);
    return status;
}

/* --- all of it -------------------------------------------------------------------------------------------------- */

/* Keys with one value for each layer: such models have other shapes in each, which the tables do not know. */
static bool
is_layerwise(const struct model *m)
{
    static const char *const suffixes[] = { "feed_forward_length", "attention.head_count", "attention.head_count_kv" };
    char key[128];

    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        const struct nb_kv *kv;

        write_key(m, suffixes[i], key);
        kv = nb_meta_find(m->meta, key);
        if (kv != NULL && kv->type == NB_KV_ARRAY)
            return true;
    }
    return false;
}

static enum nb_status
check_with_architecture(struct model *m)
{
    char key[128];
    enum nb_status status = check_general_keys(m);

    if (strcmp(m->arch, "clip") == 0) /* a projector: all its keys are of another kind */
        return status;
    m->family = nb_family_by_arch(m->arch);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0] && status == NB_OK; i++)
        status = check_key(m, &keys[i]);
    if (status == NB_OK)
        status = check_quantization_version(m);
    if (status != NB_OK || m->count == 0) /* a vocabulary alone */
        return status;
    write_key(m, "block_count", key);
    if (nb_meta_get_u64(m->meta, key, &m->layers) && m->layers >= 1 && m->layers <= MAX_LAYERS)
        status = check_layers(m);
    write_key(m, "expert_count", key);
    (void)nb_meta_get_u64(m->meta, key, &m->experts);
    if (status == NB_OK)
        status = check_embedding(m);
    if (status != NB_OK)
        return status;
    if (m->family != NULL && !is_layerwise(m) && m->layers <= MAX_LAYERS && m->experts <= 4096)
        return check_family(m);
    return CHECK_FOUND(m->c, NB_BAD_MODEL_UNKNOWN, at_key(m, "general.architecture"),
                       "what tensors '%.60s' has is not known here, so they are not compared", m->arch);
}

enum nb_status
nb_check_model(struct nb_checking *c, const char *file, const struct nb_metadata *meta, const struct nb_tensor *tensors,
               size_t count)
{
    struct model m = { .c = c, .file = file, .meta = meta, .count = count };
    enum nb_status status;

    m.arch = nb_meta_get_string(meta, "general.architecture");
    if (m.arch == NULL || *m.arch == '\0')
        return CHECK_FOUND(c, NB_BAD_MODEL_ARCHITECTURE, nb_in_file(file), "does not say what model it is "
                           "(general.architecture)");
    m.sorted = nb_tensors_by_name(tensors, count);
    if (m.sorted == NULL)
        return nb_fail_memory(c->err);
    status = check_with_architecture(&m);
    free(m.sorted);
    return status;
}
