/*
 * DeciLM and Nemotron (51B and 253B): Llama's structure with another number of heads and another size in each
 * layer, or no attention or feed-forward part at all. Names and keys: llama.cpp's conversion/deci.py.
 */
#include "formats/models/families/rows.h"

#include <math.h>

static const struct nb_map_row tensors[] = {
    EMBEDDINGS,
    NORMS,
    ATTENTION(NEIGHBOURS),
    QKV_BIASES(NEIGHBOURS),
    O_BIAS,
    GATED_MLP,
    GATED_MLP_BIASES,
    /* Instead of attention. */
    { LAYER "self_attn.linear_attn.weight", BLOCK "attn_output.weight", PLAIN },
};

static const char *const ignored[] = { ".rotary_emb.inv_freq", NULL };

/* The arrays by layer are made of block_configs below. */
static const struct nb_config_row config[] = {
    { NB_HP_LAYERS, "num_hidden_layers", NULL },
    { NB_HP_EMBEDDING, "hidden_size", NULL },
    { NB_HP_FEED_FORWARD, "intermediate_size", "1" },
    { NB_HP_HEADS, "num_attention_heads", NULL },
    { NB_HP_KV_HEADS, "num_key_value_heads_per_layer|num_key_value_heads", "heads" },
    { NB_HP_CONTEXT, "max_position_embeddings", NULL },
    CONFIG_ROPE_BASE(""),
    CONFIG_NO_HEAD_DIM,
    { NB_HP_ROPE_DIMS, "head_dim", "key_length" },
    { NB_HP_VOCAB, "vocab_size", NULL },
    CONFIG_RMS_EPSILON(NULL),
};

#define ROUND_TO 256 /* sizes of feed-forward parts are its multiples */

/* The size of a feed-forward part that is MULT times as wide as the model. */
static double
size_of(double mult, double width)
{
    const double size = floor(2 * mult * width / 3);

    return ceil(size / ROUND_TO) * ROUND_TO;
}

/* Reads a block: PART receives its heads, key-value heads and size, 0 without; a linear layer has heads but no key-value heads. */
static enum nb_status
read_block(json_t *block, const char *name, size_t layer, const struct nb_hparams *hp, double part[3],
           struct nb_error *err)
{
    json_t *attention = json_object_get(block, "attention"), *ffn = json_object_get(block, "ffn");
    json_t *group = json_object_get(attention, "n_heads_in_group"), *mult = json_object_get(ffn, "ffn_mult");
    const double heads = nb_hp(hp, NB_HP_HEADS);

    if ((group != NULL && !json_is_null(group) && !(json_number_value(group) >= 1)) ||
        (mult != NULL && !json_is_null(mult) && !(json_number_value(mult) > 0)))
        return nb_fail(err, NB_INPUT, "%s: block %zu of block_configs has no n_heads_in_group or ffn_mult above zero",
                       name, layer);
    part[0] = json_is_number(group) || json_is_true(json_object_get(attention, "replace_with_linear")) ? heads : 0;
    part[1] = json_is_number(group) ? floor(heads / json_number_value(group)) : 0;
    part[2] = json_is_number(mult) ? size_of(json_number_value(mult), nb_hp(hp, NB_HP_EMBEDDING)) : 0;
    return NB_OK;
}

static enum nb_status
derive(json_t *from, const char *name, struct nb_hparams *hp, struct nb_error *err)
{
    static const enum nb_hparam hparams[3] = { NB_HP_HEADS, NB_HP_KV_HEADS, NB_HP_FEED_FORWARD };
    json_t *blocks = nb_config_find(from, "block_configs"), *block;
    double parts[3][NB_MAX_LAYERS];
    enum nb_status status = NB_OK;
    size_t i;

    if (blocks == NULL)
        return NB_OK;
    if (json_array_size(blocks) != (size_t)nb_hp(hp, NB_HP_LAYERS) || json_array_size(blocks) > NB_MAX_LAYERS)
        return nb_fail(err, NB_INPUT, "%s: block_configs does not have one block for each layer", name);
    json_array_foreach(blocks, i, block) {
        double part[3] = { 0 };

        status = read_block(block, name, i, hp, part, err);
        if (status != NB_OK)
            return status;
        for (unsigned k = 0; k < COUNT(parts); k++)
            parts[k][i] = part[k];
    }
    for (unsigned k = 0; k < COUNT(parts) && status == NB_OK; k++)
        status = nb_hp_set_each(hp, hparams[k], parts[k], json_array_size(blocks), true, err);
    return status;
}

static const struct nb_config_rule rules[] = {
    { "hidden_act", NB_CONFIG_ONLY, "silu|swish", NULL },
    { "attention_bias", NB_CONFIG_BIASES, ".self_attn.q_proj.bias", NULL },
    { "mlp_bias", NB_CONFIG_BIASES, ".mlp.gate_proj.bias", NULL },
    { "block_configs", NB_CONFIG_IGNORED, NULL, NULL }, /* read above */
    { "rope.rope_type", NB_CONFIG_ONLY, "default|llama3", NULL },
    { "rope.type", NB_CONFIG_ONLY, "default|llama3", NULL },
};

/* With block_configs the keys stand in another order. */
static enum nb_status
write_keys(const struct nb_conversion *c, struct nb_metadata *meta, struct nb_error *err)
{
    static const enum nb_hparam with_blocks[] = {
        NB_HP_ROPE_BASE, NB_HP_KV_HEADS,  NB_HP_HEADS,       NB_HP_FEED_FORWARD, NB_HP_LAYERS,
        NB_HP_CONTEXT,   NB_HP_EMBEDDING, NB_HP_RMS_EPSILON, NB_HP_KEY_LENGTH,   NB_HP_VALUE_LENGTH,
    };
    static const enum nb_hparam without[] = {
        NB_HP_LAYERS, NB_HP_CONTEXT,   NB_HP_EMBEDDING,   NB_HP_FEED_FORWARD,
        NB_HP_HEADS,  NB_HP_ROPE_BASE, NB_HP_RMS_EPSILON,
    };
    const bool blocks = nb_config_find(c->config, "block_configs") != NULL;
    const enum nb_hparam *order = blocks ? with_blocks : without;
    const size_t n = blocks ? COUNT(with_blocks) : COUNT(without);
    enum nb_status status = NB_OK;

    for (size_t i = 0; i < n && status == NB_OK; i++)
        status = nb_hparam_write(c->hp, order[i], c->family->arch->name, meta, err);
    if (status == NB_OK)
        status = nb_write_file_type(c, meta, err);
    return status == NB_OK && !blocks ? nb_hparam_write(c->hp, NB_HP_KV_HEADS, c->family->arch->name, meta, err)
                                      : status;
}

static const struct nb_key_row keys[] = { WRITE(write_keys), KEY(NB_HP_VOCAB), KEY(NB_HP_ROPE_DIMS) };

static const struct nb_made_row made[] = {
    { "rope_freqs.weight", "config.json: rope_scaling", nb_make_rope_freqs },
};

static const char *const classes[] = { "DeciLMForCausalLM", NULL };

const struct nb_family nb_family_deci = {
    FAMILY(classes, nb_arch_deci, config, rules, keys, tensors),
    .derive = derive,
    .made = made,
    .n_made = COUNT(made),
    .ignored_suffixes = ignored,
};
