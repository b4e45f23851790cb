/*
 * Apertus. Names and keys: llama.cpp's conversion/llama.py; defaults: the configuration class of transformers
 * 4.57. The numbers of its activation, one tensor each in the checkpoint, become keys.
 */
#include "formats/models/families/rows.h"

#include "formats/models/mlx_layout.h"
#include "formats/models/view.h"

#include <stdio.h>
#include <string.h>

static const struct nb_map_row tensors[] = {
    EMBEDDINGS,
    { LAYER "attention_layernorm.weight", BLOCK "attn_norm.weight", PLAIN },
    { LAYER "feedforward_layernorm.weight", BLOCK "ffn_norm.weight", PLAIN },
    ATTENTION(PLAIN),
    QKV_BIASES(PLAIN),
    O_BIAS,
    Q_K_NORMS,
    UP_AND_DOWN,
};

static const char *const ignored[] = {
    ".rotary_emb.inv_freq", ".act_fn.alpha_n", ".act_fn.alpha_p", ".act_fn.beta", ".act_fn.eps", NULL,
};

static const struct nb_config_row config[] = {
    CONFIG_BASE("heads", "65536", "12000000"),
    CONFIG_HEAD_DIM("embedding // heads"),
    { NB_HP_VOCAB, "vocab_size", "131072" },
    CONFIG_RMS_EPSILON("1e-5"),
};

static const struct nb_config_rule rules[] = {
    { "hidden_act", NB_CONFIG_ONLY, "xielu", NULL },
    { "attention_bias", NB_CONFIG_BIASES, ".self_attn.q_proj.bias", NULL },
    { "mlp_bias", NB_CONFIG_ONLY, "false", NULL },
    { "qk_norm", NB_CONFIG_ONLY, "true", NULL },
    { "post_norm", NB_CONFIG_ONLY, "false", NULL },
    { "layer_types", NB_CONFIG_ONLY, "full_attention", NULL },
};

static const struct nb_tensor *
find_stored(const struct nb_store *store, const char *name)
{
    for (size_t i = 0; i < store->count; i++)
        if (strcmp(store->tensors[i].name, name) == 0)
            return &store->tensors[i];
    return NULL;
}

/* The number that is stored as the tensor NAME. */
static enum nb_status
read_scalar(const struct nb_store *store, const char *name, float *value, struct nb_error *err)
{
    const struct nb_tensor *stored = find_stored(store, name);
    struct nb_view_reader reader = { 0 };
    struct nb_piece piece;
    struct nb_view view;
    enum nb_status status;

    if (stored == NULL)
        return nb_fail(err, NB_INPUT, "tensor '%s' is missing", name);
    if (stored->elements != 1 || nb_type_info(stored->type)->kind != NB_KIND_FLOAT)
        return nb_fail(err, NB_INPUT, "tensor '%s' is not a single number", name);
    nb_view_whole(&view, store, stored, &piece);
    status = nb_view_rows(&view, 0, 1, value, &reader, err);
    nb_view_reader_free(&reader);
    return status;
}

/* "xielu.NAME": a number for each layer. */
static enum nb_status
write_numbers(const struct nb_conversion *c, const char *name, struct nb_metadata *meta, struct nb_error *err)
{
    const size_t layers = (size_t)nb_hp(c->hp, NB_HP_LAYERS);
    float values[NB_MAX_LAYERS];
    char key[64];

    for (size_t i = 0; i < layers; i++) {
        char stored[128];
        enum nb_status status;

        snprintf(stored, sizeof stored, "model.layers.%zu.mlp.act_fn.%s", i, name);
        status = read_scalar(c->store, stored, &values[i], err);
        if (status != NB_OK)
            return status;
    }
    snprintf(key, sizeof key, "xielu.%s", name);
    nb_meta_set(meta, key, NB_KV_ARRAY, NB_KV_F32, layers, values, layers * sizeof *values);
    return nb_meta_status(meta, err);
}

static enum nb_status
write_xielu(const struct nb_conversion *c, struct nb_metadata *meta, struct nb_error *err)
{
    static const char *const names[] = { "alpha_n", "alpha_p", "beta", "eps" };
    enum nb_status status = NB_OK;

    for (size_t i = 0; i < COUNT(names) && status == NB_OK; i++)
        status = write_numbers(c, names[i], meta, err);
    return status;
}

static const struct nb_key_row keys[] = { BASE_KEYS(KEY_IF_GIVEN), KEY(NB_HP_VOCAB), KEY(NB_HP_ROPE_DIMS) };

static const struct nb_made_row made[] = {
    { "rope_freqs.weight", "config.json: rope_scaling", nb_make_rope_freqs },
};

static const char *const classes[] = { "ApertusForCausalLM", NULL };

const struct nb_family nb_family_apertus = {
    FAMILY(classes, nb_arch_apertus, config, rules, keys, tensors),
    .first = write_xielu,
    .made = made,
    .n_made = COUNT(made),
    .ignored_suffixes = ignored,
    .tokenizer = { .space_prefix = NB_PREFIX_FIRST, .size_quirks = true }, .mlx = &nb_mlx_apertus
};
