/*
 * InternLM 2 and 3, Orion, Baichuan, MiniCPM, EXAONE 3, whose configuration classes are the models' own.
 * Names and keys: llama.cpp's conversion/internlm.py, orion.py, baichuan.py, minicpm.py and exaone.py.
 */
#include "formats/models/families/rows.h"
#include "formats/models/restore.h"
#include "formats/models/mlx_layout.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const ignored[] = { ".rotary_emb.inv_freq", NULL };

/* What is not in config.json is not written either. */
#define CONFIG                                                      \
    CONFIG_BASE("heads", "2048", ""),                               \
    CONFIG_HEAD_DIM("embedding // heads"),                          \
    CONFIG_RMS_EPSILON(NULL)

#define RULES                                               \
    { "hidden_act", NB_CONFIG_ONLY, "silu|swish", NULL }

static const struct nb_config_row config[] = { CONFIG };
static const struct nb_key_row base_keys[] = { BASE_KEYS(KEY_IF_GIVEN) };

/* --- InternLM 2 -------------------------------------------------------------------------------------------- */

/* For each key-value head, its queries' rows, then its key's and its value's. */
#define Q_ROWS "heads // kv_heads * key_length"
#define QKV(first, count) { NB_MAP_CUT_GROUPS, { "kv_heads", first, count } }

static const struct nb_map_row internlm2_tensors[] = {
    { "model.tok_embeddings.weight", "token_embd.weight", PLAIN },
    { "model.norm.weight", "output_norm.weight", PLAIN },
    { "output.weight", "output.weight", PLAIN },
    { LAYER "attention_norm.weight", BLOCK "attn_norm.weight", PLAIN },
    { LAYER "ffn_norm.weight", BLOCK "ffn_norm.weight", PLAIN },
    { LAYER "attention.wqkv.weight",
      BLOCK "attn_q.weight",
      { QKV("0", Q_ROWS), { NB_MAP_NEIGHBOURS, { "key_length" } } } },
    { LAYER "attention.wqkv.weight",
      BLOCK "attn_k.weight",
      { QKV(Q_ROWS, "key_length"), { NB_MAP_NEIGHBOURS, { "key_length" } } } },
    { LAYER "attention.wqkv.weight", BLOCK "attn_v.weight", { QKV(Q_ROWS " + key_length", "key_length") } },
    { LAYER "attention.wo.weight", BLOCK "attn_output.weight", PLAIN },
    { LAYER "feed_forward.w1.weight", BLOCK "ffn_gate.weight", PLAIN },
    { LAYER "feed_forward.w2.weight", BLOCK "ffn_down.weight", PLAIN },
    { LAYER "feed_forward.w3.weight", BLOCK "ffn_up.weight", PLAIN },
};

static const struct nb_config_rule internlm2_rules[] = { RULES, { "bias", NB_CONFIG_ONLY, "false", NULL } };

static const char *const internlm2_classes[] = { "InternLM2ForCausalLM", NULL };

const struct nb_family nb_family_internlm2 = {
    .model_type = "internlm2",
    FAMILY(internlm2_classes, nb_arch_internlm2, config, internlm2_rules, base_keys, internlm2_tensors),
    .tokenizer = { .added_verbatim = true, .space_prefix = NB_PREFIX_OF_SENTENCEPIECE, .end_of_turn = "<|im_end|>" }, .mlx = &nb_mlx_internlm2
};

/* --- InternLM 3 -------------------------------------------------------------------------------------------- */

static const struct nb_map_row llama_tensors[] = {
    EMBEDDINGS, NORMS, ATTENTION(NEIGHBOURS), QKV_BIASES(NEIGHBOURS), O_BIAS, GATED_MLP, GATED_MLP_BIASES,
};

static const struct nb_config_row internlm3_config[] = { CONFIG, { NB_HP_VOCAB, "vocab_size", NULL } };

static const struct nb_config_rule internlm3_rules[] = {
    RULES,
    { "qkv_bias", NB_CONFIG_BIASES, ".self_attn.q_proj.bias", NULL },
    { "bias", NB_CONFIG_BIASES, ".mlp.gate_proj.bias", NULL },
};

static const struct nb_key_row llama_keys[] = { BASE_KEYS(KEY_IF_GIVEN), KEY(NB_HP_VOCAB), KEY(NB_HP_ROPE_DIMS) };

static const char *const internlm3_classes[] = { "InternLM3ForCausalLM", NULL };

const struct nb_family nb_family_internlm3 = {
    .model_type = "internlm3",
    FAMILY(internlm3_classes, nb_arch_llama, internlm3_config, internlm3_rules, llama_keys, llama_tensors),
    .ignored_suffixes = ignored,
    .tokenizer = { .end_of_turn = "<|im_end|>", .space_prefix = NB_PREFIX_AFTER_TOKENS },
};

/* --- Orion ------------------------------------------------------------------------------------------------- */

/* Its LayerNorm has biases; config.json calls the epsilon that of an RMS norm. */
static const struct nb_map_row orion_tensors[] = { EMBEDDINGS, NORMS, NORM_BIASES, ATTENTION(PLAIN), GATED_MLP };

static const struct nb_config_row orion_config[] = {
    { NB_HP_LAYERS, "num_hidden_layers", NULL },
    { NB_HP_EMBEDDING, "hidden_size", NULL },
    { NB_HP_FEED_FORWARD, "intermediate_size", NULL },
    { NB_HP_HEADS, "num_attention_heads", NULL },
    { NB_HP_KV_HEADS, "num_key_value_heads", "heads" },
    { NB_HP_CONTEXT, "max_sequence_length|max_position_embeddings|model_max_length", NULL },
    CONFIG_NO_HEAD_DIM,
    { NB_HP_ROPE_DIMS, "", "key_length" },
    { NB_HP_NORM_EPSILON, "rms_norm_eps", NULL },
    { NB_HP_TENSOR_LAYOUT, "", "Meta AI original pth" },
};

/* llama.cpp rotates with its own defaults. */
static const struct nb_config_rule orion_rules[] = {
    RULES,
    { "attention_bias", NB_CONFIG_ONLY, "false", NULL },
    { "rope_theta", NB_CONFIG_ONLY, "10000", NULL },
    { "rope_scaling", NB_CONFIG_ONLY, "", NULL },
};

static const struct nb_key_row orion_keys[] = {
    WRITE(nb_write_file_type),
    KEY(NB_HP_TENSOR_LAYOUT),
    KEY(NB_HP_CONTEXT),
    KEY(NB_HP_EMBEDDING),
    KEY(NB_HP_LAYERS),
    KEY(NB_HP_FEED_FORWARD),
    KEY(NB_HP_HEADS),
    KEY(NB_HP_KV_HEADS),
    KEY(NB_HP_NORM_EPSILON),
};

static const char *const orion_classes[] = { "OrionForCausalLM", NULL };

const struct nb_family nb_family_orion = {
    .model_type = "orion",
    FAMILY(orion_classes, nb_arch_orion, orion_config, orion_rules, orion_keys, orion_tensors),
    .ignored_suffixes = ignored,
};

/* --- Baichuan ---------------------------------------------------------------------------------------------- */

/* The reference's converter calls itself without end; this is what its loader and its other classes want. */
#define PART(first) { NB_MAP_CUT, { first " * heads * key_length", "heads * key_length" } }

static const struct nb_map_row baichuan_tensors[] = {
    EMBEDDINGS,
    NORMS,
    { LAYER "self_attn.W_pack.weight",
      BLOCK "attn_q.weight",
      { PART("0"), { NB_MAP_NEIGHBOURS, { "key_length" } } } },
    { LAYER "self_attn.W_pack.weight",
      BLOCK "attn_k.weight",
      { PART("1"), { NB_MAP_NEIGHBOURS, { "key_length" } } } },
    { LAYER "self_attn.W_pack.weight", BLOCK "attn_v.weight", { PART("2") } },
    { LAYER "self_attn.o_proj.weight", BLOCK "attn_output.weight", PLAIN },
    GATED_MLP,
};

static const struct nb_config_row baichuan_config[] = {
    { NB_HP_LAYERS, "num_hidden_layers", NULL },
    { NB_HP_EMBEDDING, "hidden_size", NULL },
    { NB_HP_FEED_FORWARD, "intermediate_size", NULL },
    { NB_HP_HEADS, "num_attention_heads", NULL },
    { NB_HP_KV_HEADS, "", "heads" },
    { NB_HP_CONTEXT, "max_position_embeddings|model_max_length", NULL },
    CONFIG_ROPE_BASE(""),
    CONFIG_NO_HEAD_DIM,
    { NB_HP_ROPE_DIMS, "", "key_length" },
    CONFIG_RMS_EPSILON(NULL),
    { NB_HP_TENSOR_LAYOUT, "", "Meta AI original pth" },
};

static const struct nb_config_rule baichuan_rules[] = {
    RULES,
    { "z_loss_weight", NB_CONFIG_IGNORED, NULL, NULL }, /* in training only */
};

static const struct nb_key_row baichuan_keys[] = {
    BASE_KEYS(KEY_IF_GIVEN), KEY(NB_HP_TENSOR_LAYOUT), KEY(NB_HP_ROPE_DIMS),
};

static const char *const baichuan_classes[] = { "BaichuanForCausalLM", "BaiChuanForCausalLM", NULL };

const struct nb_family nb_family_baichuan = {
    FAMILY(baichuan_classes, nb_arch_baichuan, baichuan_config, baichuan_rules, baichuan_keys, baichuan_tensors),
    .ignored_suffixes = ignored,
};

/* --- MiniCPM ----------------------------------------------------------------------------------------------- */

static const struct nb_map_row minicpm_tensors[] = {
    EMBEDDINGS, NORMS, ATTENTION(NEIGHBOURS), QKV_BIASES(PLAIN), O_BIAS, GATED_MLP,
};

static const struct nb_config_row minicpm_config[] = {
    CONFIG,
    { NB_HP_EMBEDDING_SCALE, "scale_emb", NULL },
    { NB_HP_RESIDUAL_SCALE, "scale_depth", NULL },
    { NB_HP_LOGIT_SCALE, "dim_model_base", NULL },
};

/* Of the depth's scale each layer has its part; logits are divided by what the width has grown by. */
static enum nb_status
derive_minicpm(json_t *from, const char *name, struct nb_hparams *hp, struct nb_error *err)
{
    (void)from, (void)name, (void)err;
    nb_hp_set(hp, NB_HP_RESIDUAL_SCALE, nb_hp(hp, NB_HP_RESIDUAL_SCALE) / sqrt(nb_hp(hp, NB_HP_LAYERS)), true);
    nb_hp_set(hp, NB_HP_LOGIT_SCALE, nb_hp(hp, NB_HP_EMBEDDING) / nb_hp(hp, NB_HP_LOGIT_SCALE), true);
    return NB_OK;
}

/* The number with the fewest digits near NEAR of which DIVIDEND / number, or number / DIVISOR, is the float WANTED. */
static double
shortest(double near, double dividend, double divisor, double wanted)
{
    char text[32];

    for (int digits = 1; digits <= 17; digits++) {
        double number;

        snprintf(text, sizeof text, "%.*g", digits, near);
        number = strtod(text, NULL);
        if ((float)(divisor > 0 ? number / divisor : dividend / number) == (float)wanted)
            return number;
    }
    return near;
}

static enum nb_status
restore_minicpm(const struct nb_restoration *r, struct nb_error *err)
{
    const double depth = nb_hp(r->hp, NB_HP_RESIDUAL_SCALE), width = nb_hp(r->hp, NB_HP_LOGIT_SCALE);
    const double root = sqrt(nb_hp(r->hp, NB_HP_LAYERS)), embedding = nb_hp(r->hp, NB_HP_EMBEDDING);

    if (width <= 0)
        return nb_fail(err, NB_UNSUPPORTED, "a MiniCPMForCausalLM divides its logits");
    return nb_restore(r, "scale_depth", json_real(shortest(depth * root, 0, root, depth))) &&
                   nb_restore_number(r, "dim_model_base", shortest(embedding / width, embedding, 0, width))
               ? NB_OK
               : nb_fail_memory(err);
}

static const struct nb_config_rule minicpm_rules[] = {
    RULES,
    { "attention_bias", NB_CONFIG_ONLY, "false", NULL }, /* the reference leaves their rows in another order */
    { "rope.short_factor", NB_CONFIG_IGNORED, NULL, NULL },
    { "rope.long_factor", NB_CONFIG_IGNORED, NULL, NULL },
};

static const struct nb_key_row minicpm_keys[] = {
    BASE_KEYS(KEY_IF_GIVEN), KEY(NB_HP_EMBEDDING_SCALE), KEY(NB_HP_RESIDUAL_SCALE), KEY(NB_HP_LOGIT_SCALE),
};

static const struct nb_made_row long_factors[] = {
    { "rope_factors_long.weight", "config.json: rope_scaling", nb_make_long_factors },
    { "rope_factors_short.weight", "config.json: rope_scaling", nb_make_short_factors },
};

static const char *const minicpm_classes[] = { "MiniCPMForCausalLM", NULL };

const struct nb_family nb_family_minicpm = {
    .model_type = "minicpm",
    .restore = restore_minicpm,
    FAMILY(minicpm_classes, nb_arch_minicpm, minicpm_config, minicpm_rules, minicpm_keys, minicpm_tensors),
    .derive = derive_minicpm,
    .made = long_factors,
    .n_made = COUNT(long_factors),
    .ignored_suffixes = ignored, .mlx = &nb_mlx_minicpm
};

/* --- EXAONE 3 ---------------------------------------------------------------------------------------------- */

#define H "transformer.h.%l."

static const struct nb_map_row exaone_tensors[] = {
    { "transformer.wte.weight", "token_embd.weight", PLAIN },
    { "transformer.ln_f.weight", "output_norm.weight", PLAIN },
    { "lm_head.weight", "output.weight", PLAIN },
    { H "ln_1.weight", BLOCK "attn_norm.weight", PLAIN },
    { H "ln_2.weight", BLOCK "ffn_norm.weight", PLAIN },
    { H "attn.attention.q_proj.weight", BLOCK "attn_q.weight", PLAIN },
    { H "attn.attention.k_proj.weight", BLOCK "attn_k.weight", PLAIN },
    { H "attn.attention.v_proj.weight", BLOCK "attn_v.weight", PLAIN },
    { H "attn.attention.out_proj.weight", BLOCK "attn_output.weight", PLAIN },
    { H "mlp.c_fc_0.weight", BLOCK "ffn_gate.weight", PLAIN },
    { H "mlp.c_fc_1.weight", BLOCK "ffn_up.weight", PLAIN },
    { H "mlp.c_proj.weight", BLOCK "ffn_down.weight", PLAIN },
};

static const struct nb_config_row exaone_config[] = {
    { NB_HP_LAYERS, "num_layers|num_hidden_layers", NULL },
    { NB_HP_EMBEDDING, "hidden_size", NULL },
    { NB_HP_FEED_FORWARD, "intermediate_size", NULL },
    { NB_HP_HEADS, "num_attention_heads", NULL },
    { NB_HP_KV_HEADS, "num_key_value_heads", "heads" },
    { NB_HP_CONTEXT, "max_position_embeddings", NULL },
    CONFIG_ROPE_BASE(""),
    { NB_HP_KEY_LENGTH, "head_dim", "embedding // heads" },
    { NB_HP_VALUE_LENGTH, "head_dim", "embedding // heads" },
    CONFIG_ROTARY_FACTOR("1"),
    /* The reference calls it that of a LayerNorm, with which llama.cpp does not load the file. */
    { NB_HP_RMS_EPSILON, "layer_norm_epsilon", NULL },
};

static const struct nb_config_rule exaone_rules[] = {
    { "activation_function", NB_CONFIG_ONLY, "silu", NULL },
    { "embed_dropout", NB_CONFIG_IGNORED, NULL, NULL },
    RULE_ROTARY_FACTOR,
};

static const struct nb_key_row exaone_keys[] = { BASE_KEYS(KEY_IF_GIVEN), KEY(NB_HP_ROPE_DIMS) };

static const struct nb_made_row made[] = {
    { "rope_freqs.weight", "config.json: rope_scaling", nb_make_rope_freqs },
};

static const char *const exaone_classes[] = { "ExaoneForCausalLM", NULL };

const struct nb_family nb_family_exaone = {
    .model_type = "exaone",
    FAMILY(exaone_classes, nb_arch_exaone, exaone_config, exaone_rules, exaone_keys, exaone_tensors),
    .made = made,
    .n_made = COUNT(made),
    .ignored_suffixes = ignored, .mlx = &nb_mlx_exaone
};
