/*
 * MiniCPM 3: keys and values are compressed, but their projection stays in one piece. Names and keys: llama.cpp's
 * conversion/minicpm.py.
 */
#include "formats/models/families/rows.h"
#include "formats/models/mlx_layout.h"

static const struct nb_map_row tensors[] = {
    EMBEDDINGS,
    NORMS,
    { LAYER "self_attn.q_a_proj.weight", BLOCK "attn_q_a.weight", PLAIN },
    { LAYER "self_attn.q_a_layernorm.weight", BLOCK "attn_q_a_norm.weight", PLAIN },
    { LAYER "self_attn.q_b_proj.weight", BLOCK "attn_q_b.weight", PLAIN },
    { LAYER "self_attn.kv_a_proj_with_mqa.weight", BLOCK "attn_kv_a_mqa.weight", PLAIN },
    { LAYER "self_attn.kv_a_layernorm.weight", BLOCK "attn_kv_a_norm.weight", PLAIN },
    { LAYER "self_attn.kv_b_proj.weight", BLOCK "attn_kv_b.weight", PLAIN },
    { LAYER "self_attn.o_proj.weight", BLOCK "attn_output.weight", PLAIN },
    GATED_MLP,
};

/* transformers does not know the class, so that the reference takes config.json as it is. qk_nope_head_dim lacks the
   rotated part of a key. */
static const struct nb_config_row config[] = {
    CONFIG_SIZES("heads"),
    { NB_HP_CONTEXT, "max_position_embeddings", NULL },
    { NB_HP_RMS_EPSILON, "rms_norm_eps", NULL },
    { NB_HP_VOCAB, "vocab_size", NULL },
    { NB_HP_Q_LORA_RANK, "q_lora_rank", NULL },
    { NB_HP_KV_LORA_RANK, "kv_lora_rank", NULL },
    { NB_HP_ROPE_DIMS, "qk_rope_head_dim", NULL },
    { NB_HP_KEY_LENGTH, "qk_nope_head_dim", NULL },
    { NB_HP_KEY_LENGTH, "", "key_length + rope_dims" },
    { NB_HP_VALUE_LENGTH, "", "embedding // heads" },
};

/* minicpm3.cpp has the scales in its code, and a rotary base that no key says. */
static const struct nb_config_rule rules[] = {
    { "hidden_act", NB_CONFIG_ONLY, "silu|swish", NULL },
    { "attention_bias", NB_CONFIG_ONLY, "false", NULL },
    { "rope_theta", NB_CONFIG_ONLY, "10000", NULL },
    { "scale_emb", NB_CONFIG_ONLY, "12", NULL },
    { "scale_depth", NB_CONFIG_ONLY, "1.4", NULL },
    { "dim_model_base", NB_CONFIG_ONLY, "256", NULL },
    { "v_head_dim", NB_CONFIG_IGNORED, NULL, NULL }, /* a wrong one shows in the shapes */
    { "rope.long_factor", NB_CONFIG_IGNORED, NULL, NULL }, /* tensors */
    { "rope.short_factor", NB_CONFIG_IGNORED, NULL, NULL },
};

static const struct nb_key_row keys[] = {
    WRITE(nb_write_file_type),
    KEY(NB_HP_CONTEXT),
    KEY(NB_HP_EMBEDDING),
    KEY(NB_HP_LAYERS),
    KEY(NB_HP_FEED_FORWARD),
    KEY(NB_HP_HEADS),
    KEY(NB_HP_KV_HEADS),
    KEY(NB_HP_RMS_EPSILON),
    KEY(NB_HP_VOCAB),
    KEY(NB_HP_Q_LORA_RANK),
    KEY(NB_HP_KV_LORA_RANK),
    KEY(NB_HP_KEY_LENGTH),
    KEY(NB_HP_ROPE_DIMS),
};

static const struct nb_made_row made[] = {
    { "rope_factors_long.weight", "config.json: long_factor", nb_make_long_factors },
    { "rope_factors_short.weight", "config.json: short_factor", nb_make_short_factors },
};

static const char *const classes[] = { "MiniCPM3ForCausalLM", NULL };

const struct nb_family nb_family_minicpm3 = {
    .model_type = "minicpm3",
    FAMILY(classes, nb_arch_minicpm3, config, rules, keys, tensors), .made = made, .n_made = COUNT(made), .mlx = &nb_mlx_minicpm3
};
