/*
 * Checks whether metadata and tensors form a model: the keys and types that llama.cpp's loader
 * requires, and the tensors of the architecture with the shapes that follow from the keys.
 */
#include "verify/check/parts.h"

#include "formats/base/text.h"
#include "formats/gguf/gguf.h"
#include "formats/models/architecture.h"
#include "formats/models/expression.h"
#include "quantize/policy/recipe.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK_SHAPE_TEXT 128

struct model {
    struct nb_checking *c;
    const char *file, *arch;
    const struct nb_metadata *meta;
    const struct nb_tensor **sorted; /* by name */
    size_t count;
    const struct nb_arch *known; /* NULL: unknown */
    struct nb_hparams hp;
    uint64_t layers; /* 0: not known */
};

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

static bool
is_demanded(const struct model *m, enum nb_hparam hparam)
{
    for (size_t i = 0; i < nb_arch_n_demanded; i++)
        if (nb_arch_demanded[i] == hparam)
            return true;
    for (size_t i = 0; m->known != NULL && i < m->known->n_demanded; i++)
        if (m->known->demanded[i] == hparam)
            return true;
    return false;
}

static enum nb_status
check_value(const struct model *m, enum nb_hparam hparam, const struct nb_kv *kv)
{
    const struct nb_hparam_info *row = nb_hparam_info(hparam);
    double value;

    if (kv->type == NB_KV_STRING || kv->type == NB_KV_BOOL || !nb_meta_get_f64(m->meta, kv->key, &value) ||
        (value >= row->low && value <= row->high))
        return NB_OK;
    return CHECK_FOUND(m->c, NB_BAD_MODEL_KEY_VALUE, at_key(m, kv->key), "is %g, which no model can have", value);
}

static const char *
type_name(enum nb_hparam_type type)
{
    static const enum nb_kv_type types[] = {
        [NB_HP_TYPE_U32] = NB_KV_U32,
        [NB_HP_TYPE_F32] = NB_KV_F32,
        [NB_HP_TYPE_BOOL] = NB_KV_BOOL,
        [NB_HP_TYPE_TEXT] = NB_KV_STRING,
    };

    return nb_kv_type_name(types[type]);
}

static enum nb_status
check_key(const struct model *m, enum nb_hparam hparam)
{
    const struct nb_kv *kv;
    char key[128];

    nb_hparam_key(hparam, m->arch, key);
    kv = nb_meta_find(m->meta, key);
    if (kv == NULL)
        return m->count > 0 && is_demanded(m, hparam)
                   ? CHECK_FOUND(m->c, NB_BAD_MODEL_KEY_MISSING, at_key(m, key), "is missing")
                   : NB_OK;
    if (!nb_hparam_fits(hparam, kv))
        return CHECK_FOUND(m->c, NB_BAD_MODEL_KEY_TYPE, at_key(m, key), "is %s, should be %s",
                           nb_kv_type_name(kv->type), type_name(nb_hparam_info(hparam)->type));
    return kv->type == NB_KV_ARRAY ? NB_OK : check_value(m, hparam, kv);
}

/* Whether KV is what ROW says: a value of its type, or an array of such. */
static bool
is_of_type(const struct nb_arch_key *row, const struct nb_kv *kv)
{
    return row->count == NULL ? kv->type == row->type : kv->type == NB_KV_ARRAY && kv->element == row->type;
}

/* Keys that are demanded on a condition, and those that are no hyperparameters. */
static enum nb_status
check_further_key(const struct model *m, const struct nb_arch_key *row)
{
    const struct nb_kv *kv;
    uint64_t count = 0;
    char key[128];

    if (!nb_expression_holds(row->when, &m->hp, 0))
        return NB_OK;
    snprintf(key, sizeof key, "%s.%s", m->arch, row->key);
    kv = nb_meta_find(m->meta, key);
    if (kv == NULL)
        return CHECK_FOUND(m->c, NB_BAD_MODEL_KEY_MISSING, at_key(m, key), "is missing");
    if (!is_of_type(row, kv)) /* a value of a hyperparameter is reported as one */
        return row->count == NULL
                   ? NB_OK
                   : CHECK_FOUND(m->c, NB_BAD_MODEL_KEY_TYPE, at_key(m, key), "is %s, should be an array of %s",
                                 nb_kv_type_name(kv->type == NB_KV_ARRAY ? kv->element : kv->type),
                                 nb_kv_type_name(row->type));
    if (row->count != NULL && nb_expression_count(row->count, &m->hp, 0, &count) && kv->count < count)
        return CHECK_FOUND(m->c, NB_BAD_MODEL_KEY_VALUE, at_key(m, key),
                           "has %" PRIu64 " elements, but needs %" PRIu64 " at least", kv->count, count);
    return NB_OK;
}

static enum nb_status
check_general_keys(const struct model *m)
{
    static const struct {
        const char *key;
        enum nb_kv_type type;
    } general[] = {
        { "general.name", NB_KV_STRING },        { "general.type", NB_KV_STRING },
        { "general.file_type", NB_KV_U32 },      { "general.quantization_version", NB_KV_U32 },
        { "general.description", NB_KV_STRING }, { "general.license", NB_KV_STRING },
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
    if (!quantized ||
        (nb_meta_get_u64(m->meta, "general.quantization_version", &version) && version == NB_QUANTIZATION_VERSION))
        return NB_OK;
    return CHECK_FOUND(m->c, NB_BAD_MODEL_QUANTIZATION, nb_in_file(m->file),
                       "has quantized tensors, but general.quantization_version is not %u", NB_QUANTIZATION_VERSION);
}

/*
 * Whether a recipe was followed cannot be seen: users may choose other types, and rows that do not divide get others.
 * But a matrix that could have the recipe's type, of a file in which none has it, contradicts general.file_type.
 */
static enum nb_status
check_file_type(const struct model *m)
{
    const char *contrary = NULL;
    uint64_t number;
    const struct nb_recipe *recipe = NULL;
    uint32_t least; /* dimensions: MXFP4_MOE is a recipe for stacks of experts, and other matrices are Q8_0 */

    if (nb_meta_get_u64(m->meta, "general.file_type", &number))
        recipe = nb_recipe_by_file_type(number & ~(uint64_t)NB_FT_GUESSED);
    least = recipe != NULL && recipe->file_type == NB_FT_MXFP4_MOE ? 3 : 2;
    for (size_t i = 0; i < m->count && recipe != NULL; i++) {
        const struct nb_tensor *t = m->sorted[i];

        if (t->type == recipe->base || t->type == NB_TYPE_NONE) /* unknown, as of a file that is cut short */
            return NB_OK;
        if (t->n_dims >= least && nb_ends_with(t->name, ".weight") && t->ne[0] % nb_type_info(recipe->base)->block == 0)
            contrary = nb_type_info(t->type)->name;
    }
    if (contrary == NULL)
        return NB_OK;
    return CHECK_FOUND(m->c, NB_BAD_MODEL_FILE_TYPE, at_key(m, "general.file_type"),
                       "is that of %s, but no tensor is %s; others are %s", recipe->name,
                       nb_type_info(recipe->base)->name, contrary);
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

static void
write_shape(const uint64_t ne[NB_MAX_DIMS], uint32_t n_dims, char text[CHECK_SHAPE_TEXT])
{
    size_t at = 0;

    for (uint32_t i = 0; i < n_dims && at < CHECK_SHAPE_TEXT; i++)
        at += (size_t)snprintf(text + at, CHECK_SHAPE_TEXT - at, "%s%" PRIu64, i > 0 ? " x " : "", ne[i]);
}

/* The rows of embedding and output are the tokens, in every architecture. */
static enum nb_status
check_embedding(const struct model *m)
{
    static const char *const names[] = { "token_embd.weight", "output.weight" };
    const struct nb_kv *tokens = nb_meta_find(m->meta, "tokenizer.ggml.tokens");
    const uint64_t embedding = (uint64_t)nb_hp(&m->hp, NB_HP_EMBEDDING);
    enum nb_status status = NB_OK;

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

/* --- tensors of an architecture that is known ----------------------------------------------------------------- */

/*
 * Matrices that files may have in the place of several, with the rows of all: llama.cpp v0.5.0 takes them of architectures
 * whose own files have the parts (llama_model_base::create_tensor_qkv and create_tensor_gate_up_exps).
 */
static const struct fusion {
    const char *whole, *bias; /* BIAS: of the same parts, or NULL */
    const char *parts[3];
    const char *only, *never; /* architectures, each between spaces; NULL: all, none */
} fusions[] = {
    { "blk.%l.attn_qkv.weight",
      "blk.%l.attn_qkv.bias",
      { "blk.%l.attn_q.weight", "blk.%l.attn_k.weight", "blk.%l.attn_v.weight" },
      NULL,
      " bitnet " },
    { "blk.%l.ffn_gate_up_exps.weight",
      NULL,
      { "blk.%l.ffn_gate_exps.weight", "blk.%l.ffn_up_exps.weight" },
      " deepseek2 cohere2moe granite_swa hy_v3 qwen4exp ",
      NULL },
};

#define FUSIONS (sizeof fusions / sizeof fusions[0])

static bool
is_named(const char *architectures, const char *name)
{
    const char *at = strstr(architectures, name);

    for (const size_t n = strlen(name); at != NULL; at = strstr(at + 1, name))
        if (at[-1] == ' ' && at[n] == ' ')
            return true;
    return false;
}

/* Whether F may be in layer LAYER, where the architecture has its parts and nothing of the same name. */
static bool
may_be_fused(const struct model *m, const struct fusion *f, uint64_t layer)
{
    const struct nb_arch_tensor *own = nb_arch_row(m->known, f->whole);

    if (own != NULL && nb_expression_holds(own->when, &m->hp, layer))
        return false;
    if ((f->only != NULL && !is_named(f->only, m->known->name)) ||
        (f->never != NULL && is_named(f->never, m->known->name)))
        return false;
    return nb_arch_row(m->known, f->parts[0]) != NULL;
}

/* The tensor that holds ROW of layer LAYER together with others, described by *F; NULL if there is none. */
static const struct nb_tensor *
find_fused(const struct model *m, const struct nb_arch_tensor *row, uint64_t layer, const struct fusion **f)
{
    for (*f = fusions; *f < fusions + FUSIONS; (*f)++) {
        for (size_t i = 0; i < 3 && (*f)->parts[i] != NULL; i++) {
            char name[NB_MAX_NAME + 32];

            if (strcmp(row->name, (*f)->parts[i]) != 0 || !may_be_fused(m, *f, layer))
                continue;
            nb_name_fill((*f)->whole, layer, 0, name, sizeof name);
            return find_tensor(m, name);
        }
    }
    return NULL;
}

/* Whether T, in layer LAYER, has the rows of all parts of F. */
static bool
has_all_parts(const struct model *m, const struct fusion *f, const struct nb_tensor *t, uint64_t layer)
{
    uint64_t ne[NB_MAX_DIMS], rows = 0;
    uint32_t n_dims;

    for (size_t i = 0; i < 3 && f->parts[i] != NULL; i++) {
        const struct nb_arch_tensor *row = nb_arch_row(m->known, f->parts[i]);

        if (row == NULL || !nb_arch_shape(row, &m->hp, layer, ne, &n_dims))
            return true;
        rows += ne[1];
    }
    return t->ne[0] == ne[0] && t->ne[1] == rows && t->ne[2] == ne[2];
}

/* Whether one of the sides is the number of tokens: check_embedding has reported that. */
static bool
has_tokens(const struct nb_arch_tensor *row)
{
    return strcmp(row->ne[0], "vocab") == 0 || (row->ne[1] != NULL && strcmp(row->ne[1], "vocab") == 0);
}

static enum nb_status
check_one(const struct model *m, const struct nb_arch_tensor *row, uint64_t layer)
{
    char name[NB_MAX_NAME + 32], have[CHECK_SHAPE_TEXT] = "", want[CHECK_SHAPE_TEXT] = "";
    uint64_t ne[NB_MAX_DIMS];
    uint32_t n_dims;
    const struct fusion *f;
    const struct nb_tensor *t = find_fused(m, row, layer, &f);

    if (t != NULL)
        return strcmp(row->name, f->parts[0]) != 0 || has_all_parts(m, f, t, layer) /* said once */
                   ? NB_OK
                   : CHECK_FOUND(m->c, NB_BAD_MODEL_TENSOR_SHAPE, at_tensor(m, t->name),
                                 "does not have the rows of all its parts that the keys make");
    nb_name_fill(row->name, layer, 0, name, sizeof name);
    t = find_tensor(m, name);
    if (t == NULL)
        return row->presence == NB_REQUIRED && nb_expression_holds(row->when, &m->hp, layer)
                   ? CHECK_FOUND(m->c, NB_BAD_MODEL_TENSOR_MISSING, at_tensor(m, name), "is missing")
                   : NB_OK;
    if (has_tokens(row) || !nb_expression_holds(row->when, &m->hp, layer)) /* is_expected reports it */
        return NB_OK;
    if (!nb_arch_shape_beside(row, &m->hp, layer, t->ne, ne, &n_dims) || memcmp(ne, t->ne, sizeof ne) == 0)
        return NB_OK;
    write_shape(ne, n_dims, want);
    write_shape(t->ne, t->n_dims, have);
    return CHECK_FOUND(m->c, NB_BAD_MODEL_TENSOR_SHAPE, at_tensor(m, t->name), "is %s, but the keys make it %s", have,
                       want);
}

static enum nb_status
check_row(const struct model *m, const struct nb_arch_tensor *row)
{
    const uint64_t n = nb_arch_is_layered(row) ? m->layers : 1;
    enum nb_status status = NB_OK;

    for (uint64_t i = 0; i < n && status == NB_OK; i++)
        status = check_one(m, row, i);
    return status;
}

/* Whether NAME is that of a factor of a weight that is there, as NVFP4 has them. */
static bool
is_factor(const struct model *m, const char *name)
{
    static const char *const endings[] = { ".scale", ".input_scale" };
    char weight[NB_MAX_NAME + 32];

    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        if (!nb_ends_with(name, endings[i]))
            continue;
        snprintf(weight, sizeof weight, "%.*s.weight", (int)(strlen(name) - strlen(endings[i])), name);
        if (find_tensor(m, weight) != NULL)
            return true;
    }
    return false;
}

/* Whether the architecture has a tensor of this name; in a layer beyond the last, too: check_layers reports those. */
static bool
is_expected(const struct model *m, const char *name)
{
    uint64_t layer, expert;
    const struct nb_arch_tensor *row;

    if (is_factor(m, name))
        return true;
    for (const struct fusion *f = fusions; f < fusions + FUSIONS; f++)
        if ((nb_name_matches(f->whole, name, &layer, &expert) ||
             (f->bias != NULL && nb_name_matches(f->bias, name, &layer, &expert))) &&
            may_be_fused(m, f, layer))
            return true;
    row = nb_arch_find(m->known, name, &layer);
    return row != NULL && (layer >= m->layers || nb_expression_holds(row->when, &m->hp, layer));
}

static enum nb_status
check_tensors(struct model *m)
{
    struct nb_error why;
    enum nb_status status = nb_arch_complete(m->known, &m->hp, m->file, &why);

    if (nb_status_is(status, NB_SYSTEM)) {
        *m->c->err = why;
        return status;
    }
    if (status != NB_OK) /* missing and impossible keys are reported already, but not how they fit together */
        return m->c->findings->of_code[NB_BAD_MODEL_KEY_MISSING] + m->c->findings->of_code[NB_BAD_MODEL_KEY_VALUE] +
                           m->c->findings->of_code[NB_BAD_MODEL_KEY_TYPE] >
                       0
                   ? NB_OK
                   : nb_found_error(m->c->findings, m->c->err, NB_BAD_MODEL_KEY_VALUE, nb_in_file(m->file), &why);
    for (size_t i = 0; i < m->known->n_tensors && status == NB_OK; i++)
        status = check_row(m, &m->known->tensors[i]);
    for (size_t i = 0; i < m->count && status == NB_OK; i++)
        if (!is_expected(m, m->sorted[i]->name))
            status = CHECK_FOUND(m->c, NB_BAD_MODEL_TENSOR_UNEXPECTED, at_tensor(m, m->sorted[i]->name),
                                 "is no part of a model of architecture '%s'", m->arch);
    return status;
}

/* --- all of it -------------------------------------------------------------------------------------------------- */

static enum nb_status
check_with_architecture(struct model *m)
{
    double layers;
    enum nb_status status = check_general_keys(m);

    if (strcmp(m->arch, "clip") == 0) /* a projector: all its keys are of another kind */
        return status;
    m->known = nb_arch_by_name(m->arch);
    for (unsigned i = 0; i < NB_HPARAMS && status == NB_OK; i++)
        status = check_key(m, (enum nb_hparam)i);
    if (status == NB_OK)
        status = check_quantization_version(m);
    if (status == NB_OK)
        status = check_file_type(m);
    if (status == NB_OK)
        status = nb_hparams_read(&m->hp, m->meta, m->arch, m->c->err);
    if (status != NB_OK || m->count == 0) /* a vocabulary alone */
        return status;
    for (size_t i = 0; m->known != NULL && i < m->known->n_keys && status == NB_OK; i++)
        status = check_further_key(m, &m->known->keys[i]);
    if (status != NB_OK)
        return status;
    layers = nb_hp(&m->hp, NB_HP_LAYERS);
    if (layers >= 1 && layers <= NB_MAX_LAYERS) {
        m->layers = (uint64_t)layers;
        status = check_layers(m);
    }
    if (status == NB_OK)
        status = check_embedding(m);
    if (status != NB_OK)
        return status;
    if (m->known != NULL && m->known->n_tensors > 0)
        return check_tensors(m);
    return CHECK_FOUND(m->c, NB_BAD_MODEL_UNKNOWN, at_key(m, "general.architecture"),
                       "the tensors of '%.60s' are not known to nibble, so they are not compared", m->arch);
}

enum nb_status
nb_check_model(struct nb_checking *c, const char *file, const struct nb_metadata *meta, const struct nb_tensor *tensors,
               size_t count)
{
    struct model m = { .c = c, .file = file, .meta = meta, .count = count };
    enum nb_status status;

    m.arch = nb_meta_get_string(meta, "general.architecture");
    if (m.arch == NULL || *m.arch == '\0')
        return CHECK_FOUND(c, NB_BAD_MODEL_ARCHITECTURE, nb_in_file(file),
                           "does not say what model it is "
                           "(general.architecture)");
    m.sorted = nb_tensors_by_name(tensors, count);
    if (m.sorted == NULL)
        return nb_fail_memory(c->err);
    status = check_with_architecture(&m);
    nb_hparams_free(&m.hp);
    free(m.sorted);
    return status;
}
