/*
 * Phi 1.5 and 2, Phi 3 and 4, PhiMoE. Names and keys: llama.cpp's conversion/phi.py; defaults: the configuration
 * classes of transformers 4.57.
 */
#include "formats/models/families/rows.h"
#include "formats/models/mlx_layout.h"

#include <math.h>
#include <string.h>

/* --- Phi 2 ------------------------------------------------------------------------------------------------- */

static const struct nb_map_row phi2_tensors[] = {
    { "model.embed_tokens.weight", "token_embd.weight", PLAIN },
    { "lm_head.weight", "output.weight", PLAIN },
    { "lm_head.bias", "output.bias", PLAIN },
    { "model.final_layernorm.weight", "output_norm.weight", PLAIN },
    { "model.final_layernorm.bias", "output_norm.bias", PLAIN },
    { LAYER "input_layernorm.weight", BLOCK "attn_norm.weight", PLAIN },
    { LAYER "input_layernorm.bias", BLOCK "attn_norm.bias", PLAIN },
    { LAYER "self_attn.q_proj.weight", BLOCK "attn_q.weight", PLAIN },
    { LAYER "self_attn.k_proj.weight", BLOCK "attn_k.weight", PLAIN },
    { LAYER "self_attn.v_proj.weight", BLOCK "attn_v.weight", PLAIN },
    QKV_BIASES(PLAIN),
    { LAYER "self_attn.dense.weight", BLOCK "attn_output.weight", PLAIN },
    { LAYER "self_attn.dense.bias", BLOCK "attn_output.bias", PLAIN },
    { LAYER "mlp.fc1.weight", BLOCK "ffn_up.weight", PLAIN },
    { LAYER "mlp.fc1.bias", BLOCK "ffn_up.bias", PLAIN },
    { LAYER "mlp.fc2.weight", BLOCK "ffn_down.weight", PLAIN },
    { LAYER "mlp.fc2.bias", BLOCK "ffn_down.bias", PLAIN },
};

/* The reference does not look at intermediate_size and num_key_value_heads; others show in the shapes. */
static const struct nb_config_row phi2_config[] = {
    { NB_HP_LAYERS, "num_hidden_layers", NULL },
    { NB_HP_EMBEDDING, "hidden_size", NULL },
    { NB_HP_FEED_FORWARD, "", "4 * embedding" },
    { NB_HP_HEADS, "num_attention_heads", NULL },
    { NB_HP_KV_HEADS, "", "heads" },
    { NB_HP_CONTEXT, "n_positions|max_position_embeddings", "2048" },
    CONFIG_NO_HEAD_DIM,
    CONFIG_ROTARY_FACTOR("0.5"),
    CONFIG_LAYER_NORM_EPSILON("1e-5"),
};

static const struct nb_config_rule phi2_rules[] = {
    { "hidden_act", NB_CONFIG_ONLY, "gelu_new", NULL },
    { "qk_layernorm", NB_CONFIG_ONLY, "false", NULL },
    { "intermediate_size", NB_CONFIG_IGNORED, NULL, NULL },
    { "num_key_value_heads", NB_CONFIG_IGNORED, NULL, NULL },
    { "rope_theta", NB_CONFIG_ONLY, "10000", NULL }, /* llama.cpp's own: the file does not name it */
    { "rope_scaling", NB_CONFIG_ONLY, "", NULL },
    RULE_ROTARY_FACTOR,
};

static enum nb_status
write_no_bos(const struct nb_conversion *c, struct nb_metadata *meta, struct nb_error *err)
{
    (void)c;
    nb_meta_set_bool(meta, "tokenizer.ggml.add_bos_token", false);
    return nb_meta_status(meta, err);
}

static const struct nb_key_row phi2_keys[] = {
    KEY(NB_HP_CONTEXT),
    KEY(NB_HP_EMBEDDING),
    KEY(NB_HP_FEED_FORWARD),
    KEY(NB_HP_LAYERS),
    KEY(NB_HP_HEADS),
    KEY(NB_HP_KV_HEADS),
    KEY(NB_HP_NORM_EPSILON),
    KEY(NB_HP_ROPE_DIMS),
    WRITE(nb_write_file_type),
    WRITE(write_no_bos),
};

static const char *const phi2_classes[] = { "PhiForCausalLM", NULL };

const struct nb_family nb_family_phi2 = {
    .model_type = "phi",
    FAMILY(phi2_classes, nb_arch_phi2, phi2_config, phi2_rules, phi2_keys, phi2_tensors), .mlx = &nb_mlx_phi2
};

/* --- Phi 3 ------------------------------------------------------------------------------------------------- */

/* Fused matrices stay as they are. */
static const struct nb_map_row phi3_tensors[] = {
    EMBEDDINGS,
    NORMS,
    { LAYER "self_attn.qkv_proj.weight", BLOCK "attn_qkv.weight", PLAIN },
    { LAYER "self_attn.o_proj.weight", BLOCK "attn_output.weight", PLAIN },
    { LAYER "mlp.gate_up_proj.weight", BLOCK "ffn_up.weight", PLAIN },
    { LAYER "mlp.down_proj.weight", BLOCK "ffn_down.weight", PLAIN },
};

/* The window is zero where there is none. */
#define CONFIG(original_context)                                                           \
    { NB_HP_LAYERS, "num_hidden_layers", NULL },                                           \
    { NB_HP_EMBEDDING, "hidden_size", NULL },                                              \
    { NB_HP_FEED_FORWARD, "intermediate_size", NULL },                                     \
    { NB_HP_HEADS, "num_attention_heads", NULL },                                          \
    { NB_HP_KV_HEADS, "num_key_value_heads", "heads" },                                    \
    { NB_HP_CONTEXT, "n_positions|max_position_embeddings", "4096" },                      \
    { NB_HP_ROPE_CONTEXT, "original_max_position_embeddings", original_context },          \
    CONFIG_NO_HEAD_DIM,                                                                    \
    CONFIG_RMS_EPSILON("1e-5"),                                                            \
    CONFIG_ROTARY_FACTOR("1"),                                                             \
    CONFIG_ROPE_BASE("10000"),                                                             \
    { NB_HP_SLIDING_WINDOW, "sliding_window", "0" }

static const struct nb_config_row phi3_config[] = { CONFIG("4096") };

#define RULES                                                                              \
    { "hidden_act", NB_CONFIG_ONLY, "silu|swish", NULL },                                  \
    RULE_ROTARY_FACTOR,                                                                    \
    { "rope.short_factor", NB_CONFIG_IGNORED, NULL, NULL },                                \
    { "rope.long_factor", NB_CONFIG_IGNORED, NULL, NULL },                                 \
    { "sliding_window", NB_CONFIG_NOTED_BELOW, "max_position_embeddings",                  \
      "but llama.cpp lets each token of this architecture see the whole context: longer texts are scored otherwise" }

static const struct nb_config_rule phi3_rules[] = {
    RULES,
    { "attention_bias", NB_CONFIG_ONLY, "false", NULL },
};

#define KEYS                      \
    KEY(NB_HP_CONTEXT),           \
    KEY(NB_HP_ROPE_CONTEXT),      \
    KEY(NB_HP_EMBEDDING),         \
    KEY(NB_HP_FEED_FORWARD),      \
    KEY(NB_HP_LAYERS),            \
    KEY(NB_HP_HEADS),             \
    KEY(NB_HP_KV_HEADS),          \
    KEY(NB_HP_RMS_EPSILON),       \
    KEY(NB_HP_ROPE_DIMS),         \
    KEY(NB_HP_ROPE_BASE),         \
    WRITE(nb_write_file_type),    \
    KEY(NB_HP_SLIDING_WINDOW)

static const struct nb_key_row phi3_keys[] = { KEYS };

/* By how much longrope scales the attention: as much as the context has grown, by the papers' formulas. */
static enum nb_status
write_attention_factor(const struct nb_conversion *c, struct nb_metadata *meta, struct nb_error *err)
{
    const char *type = nb_rope_type(nb_config_rope(c->config));
    const double original = nb_hp(c->hp, NB_HP_ROPE_CONTEXT), scale = nb_hp(c->hp, NB_HP_CONTEXT) / original;
    char key[128];

    if (type == NULL || strcmp(type, "default") == 0)
        return NB_OK;
    if (strcmp(type, "longrope") != 0 && strcmp(type, "su") != 0)
        return nb_fail(err, NB_UNSUPPORTED, "config.json: rotary scaling of type '%s' is not supported for %s", type,
                       c->family->classes[0]);
    if (!(original > 1))
        return nb_fail(err, NB_INPUT, "config.json: original_max_position_embeddings is not a number of tokens");
    nb_hparam_key(NB_HP_ROPE_ATTN_FACTOR, c->family->arch->name, key);
    nb_meta_set_f32(meta, key, scale > 1 ? (float)sqrt(1 + log(scale) / log(original)) : 1);
    return nb_meta_status(meta, err);
}

static const struct nb_made_row made[] = {
    { "rope_factors_long.weight", "config.json: rope_scaling", nb_make_long_factors },
    { "rope_factors_short.weight", "config.json: rope_scaling", nb_make_short_factors },
};

#define WITH_FACTORS .first = write_attention_factor, .made = made, .n_made = COUNT(made), \
    .tokenizer = { .added_verbatim = true }

static const char *const phi3_classes[] = { "Phi3ForCausalLM", "Phi4ForCausalLMV", NULL };

const struct nb_family nb_family_phi3 = {
    .model_type = "phi3",
    FAMILY(phi3_classes, nb_arch_phi3, phi3_config, phi3_rules, phi3_keys, phi3_tensors), WITH_FACTORS, .mlx = &nb_mlx_phi3
};

/* --- PhiMoE ------------------------------------------------------------------------------------------------ */

static const struct nb_map_row phimoe_tensors[] = {
    EMBEDDINGS,
    { "lm_head.bias", "output.bias", PLAIN },
    NORMS,
    NORM_BIASES,
    ATTENTION(PLAIN),
    QKV_BIASES(PLAIN),
    O_BIAS,
    MIXTRAL_EXPERTS,
};

static const struct nb_config_row phimoe_config[] = {
    CONFIG("4096"),
    { NB_HP_EXPERTS, "num_local_experts", "16" },
    { NB_HP_EXPERTS_USED, "num_experts_per_tok", "2" },
};

static const struct nb_config_rule phimoe_rules[] = {
    RULES,
    { "attention_bias", NB_CONFIG_ONLY, "true", NULL },
    { "lm_head_bias", NB_CONFIG_ONLY, "true", NULL },
    { "router_jitter_noise", NB_CONFIG_IGNORED, NULL, NULL }, /* in training only */
    { "input_jitter_noise", NB_CONFIG_IGNORED, NULL, NULL },
    { "rope.long_mscale", NB_CONFIG_NOTED, "", "but llama.cpp scales by the context's growth" },
    { "rope.short_mscale", NB_CONFIG_NOTED, "", "but llama.cpp scales by the context's growth" },
};

static const struct nb_key_row phimoe_keys[] = { KEYS, KEY(NB_HP_EXPERTS_USED), KEY(NB_HP_EXPERTS) };

static const char *const phimoe_classes[] = { "PhiMoEForCausalLM", NULL };

const struct nb_family nb_family_phimoe = {
    .model_type = "phimoe",
    FAMILY(phimoe_classes, nb_arch_phimoe, phimoe_config, phimoe_rules, phimoe_keys, phimoe_tensors), WITH_FACTORS, .mlx = &nb_mlx_mixtral
};
