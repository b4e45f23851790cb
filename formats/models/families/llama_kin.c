/*
 * Llama's structure under other names: SmolLM3, Arcee, Granite, Ernie 4.5, Seed-OSS, MiniCPM. Names and keys:
 * llama.cpp's conversion/llama.py, granite.py, ernie.py, olmo.py and minicpm.py; defaults: the configuration
 * classes of transformers 4.57, or the models' own.
 */
#include "formats/models/families/rows.h"
#include "formats/models/mlx_layout.h"
#include "formats/models/restore.h"

#include <math.h>
#include <string.h>

#define LLAMA_TENSORS         \
    EMBEDDINGS,               \
    NORMS,                    \
    ATTENTION(NEIGHBOURS),    \
    QKV_BIASES(NEIGHBOURS)

#define LLAMA_RULES                                                                      \
    { "layer_types", NB_CONFIG_ONLY, "full_attention", NULL },                           \
    { "max_window_layers", NB_CONFIG_IGNORED, NULL, NULL }

static const char *const ignored[] = { ".rotary_emb.inv_freq", ".attention.masked_bias", ".attention.bias", NULL };

static const struct nb_made_row made[] = {
    { "rope_freqs.weight", "config.json: rope_scaling", nb_make_rope_freqs },
};

#define OF_LLAMA .made = made, .n_made = COUNT(made), .ignored_suffixes = ignored, \
    .tokenizer = { .space_prefix = NB_PREFIX_FIRST, .size_quirks = true }

static const struct nb_key_row keys[] = { BASE_KEYS(KEY_IF_GIVEN), KEY(NB_HP_VOCAB), KEY(NB_HP_ROPE_DIMS) };

/* --- SmolLM3 ---------------------------------------------------------------------------------------------- */

static const struct nb_map_row smollm3_tensors[] = { LLAMA_TENSORS, GATED_MLP };

static const struct nb_config_row smollm3_config[] = {
    CONFIG_BASE("4", "32768", "2000000"),
    CONFIG_HEAD_DIM("embedding // heads"),
    { NB_HP_VOCAB, "vocab_size", "128256" },
    CONFIG_RMS_EPSILON("1e-6"),
};

/* llama.cpp leaves the rotation out of every fourth layer. */
static const struct nb_config_rule smollm3_rules[] = {
    LLAMA_RULES,
    { "hidden_act", NB_CONFIG_ONLY, "silu|swish", NULL },
    { "attention_bias", NB_CONFIG_ONLY, "false", NULL }, /* the output's bias has no place */
    { "mlp_bias", NB_CONFIG_ONLY, "false", NULL },
    { "no_rope_layer_interval", NB_CONFIG_ONLY, "4", NULL },
    { "no_rope_layers", NB_CONFIG_BY_LAYER, "(layer + 1) % 4 != 0", NULL },
    { "use_sliding_window", NB_CONFIG_ONLY, "false", NULL },
    { "sliding_window", NB_CONFIG_IGNORED, NULL, NULL }, /* counts with the one above */
};

static const char *const smollm3_classes[] = { "SmolLM3ForCausalLM", NULL };

const struct nb_family nb_family_smollm3 = {
    .model_type = "smollm3",
    FAMILY(smollm3_classes, nb_arch_smollm3, smollm3_config, smollm3_rules, keys, smollm3_tensors), OF_LLAMA, .mlx = &nb_mlx_llama
};

/* --- Arcee ------------------------------------------------------------------------------------------------- */

static const struct nb_map_row arcee_tensors[] = { LLAMA_TENSORS, UP_AND_DOWN };

static const struct nb_config_row arcee_config[] = {
    CONFIG_BASE("heads", "4096", "10000"),
    CONFIG_HEAD_DIM("embedding // heads"),
    { NB_HP_VOCAB, "vocab_size", "32000" },
    CONFIG_RMS_EPSILON("1e-5"),
};

static const struct nb_config_rule arcee_rules[] = {
    LLAMA_RULES,
    { "hidden_act", NB_CONFIG_ONLY, "relu2", NULL },
    { "attention_bias", NB_CONFIG_ONLY, "false", NULL },
    { "mlp_bias", NB_CONFIG_ONLY, "false", NULL },
};

/* As Llama's, its configuration class computes the length of a head. */
static const struct nb_key_row arcee_keys[] = { BASE_KEYS(KEY), KEY(NB_HP_VOCAB), KEY(NB_HP_ROPE_DIMS) };

static const char *const arcee_classes[] = { "ArceeForCausalLM", NULL };

const struct nb_family nb_family_arcee = {
    .model_type = "arcee",
    FAMILY(arcee_classes, nb_arch_arcee, arcee_config, arcee_rules, arcee_keys, arcee_tensors), OF_LLAMA
};

/* --- Granite ----------------------------------------------------------------------------------------------- */

static const struct nb_map_row granite_tensors[] = { LLAMA_TENSORS, O_BIAS, GATED_MLP, GATED_MLP_BIASES };

/* The gate's and the up projection's rows are in one matrix. */
#define GATE(rows) { { NB_MAP_CUT_GROUPS, { "experts", "0", rows } } }
#define UP(rows) { { NB_MAP_CUT_GROUPS, { "experts", rows, rows } } }

static const struct nb_map_row granitemoe_tensors[] = {
    LLAMA_TENSORS,
    O_BIAS,
    { LAYER "block_sparse_moe.router.layer.weight", BLOCK "ffn_gate_inp.weight", PLAIN },
    { LAYER "block_sparse_moe.input_linear.weight", BLOCK "ffn_gate_exps.weight", GATE("feed_forward") },
    { LAYER "block_sparse_moe.input_linear.weight", BLOCK "ffn_up_exps.weight", UP("feed_forward") },
    { LAYER "block_sparse_moe.output_linear.weight", BLOCK "ffn_down_exps.weight", PLAIN },
    { LAYER "shared_mlp.input_linear.weight",
      BLOCK "ffn_gate_shexp.weight",
      { { NB_MAP_CUT, { "0", "shared_feed_forward" } } } },
    { LAYER "shared_mlp.input_linear.weight",
      BLOCK "ffn_up_shexp.weight",
      { { NB_MAP_CUT, { "shared_feed_forward", "shared_feed_forward" } } } },
    { LAYER "shared_mlp.output_linear.weight", BLOCK "ffn_down_shexp.weight", PLAIN },
    MLX_STACKS(LAYER "block_sparse_moe.switch_mlp."),
};

/* An entry head_dim is not used. */
#define GRANITE_CONFIG                                               \
    CONFIG_BASE("heads", "2048", "10000"),                           \
    { NB_HP_KEY_LENGTH, "", "embedding // heads" },                  \
    { NB_HP_VALUE_LENGTH, "", "embedding // heads" },                \
    { NB_HP_ROPE_DIMS, "", "embedding // heads" },                   \
    { NB_HP_VOCAB, "vocab_size", "32000" },                          \
    CONFIG_RMS_EPSILON("1e-6"),                                      \
    { NB_HP_ATTENTION_SCALE, "attention_multiplier", "1" },          \
    { NB_HP_EMBEDDING_SCALE, "embedding_multiplier", "1" },          \
    { NB_HP_RESIDUAL_SCALE, "residual_multiplier", "1" },            \
    { NB_HP_LOGIT_SCALE, "logits_scaling", "1" }

static const struct nb_config_row granite_config[] = { GRANITE_CONFIG };
static const struct nb_config_row granitemoe_config[] = {
    GRANITE_CONFIG,
    { NB_HP_EXPERTS, "num_local_experts", "8" },
    { NB_HP_EXPERTS_USED, "num_experts_per_tok", "2" },
    { NB_HP_SHARED_FEED_FORWARD, "shared_intermediate_size", "" },
};

static const struct nb_config_rule granite_rules[] = {
    LLAMA_RULES,
    { "hidden_act", NB_CONFIG_ONLY, "silu|swish", NULL },
    { "attention_bias", NB_CONFIG_BIASES, ".self_attn.q_proj.bias", NULL },
    { "mlp_bias", NB_CONFIG_BIASES, ".mlp.gate_proj.bias", NULL },
    { "head_dim", NB_CONFIG_IGNORED, NULL, NULL }, /* a wrong one shows in the shapes */
    { "position_embedding_type", NB_CONFIG_ONLY, "rope", NULL },
};

#define NO_KEY(hparam) { NB_KEY_IF_GIVEN, hparam, NULL }
#define GRANITE_KEYS                  \
    BASE_KEYS(NO_KEY),                \
    KEY(NB_HP_VOCAB),                 \
    KEY(NB_HP_ROPE_DIMS),             \
    KEY(NB_HP_ATTENTION_SCALE),       \
    KEY(NB_HP_EMBEDDING_SCALE),       \
    KEY(NB_HP_RESIDUAL_SCALE),        \
    KEY(NB_HP_LOGIT_SCALE),           \
    KEY(NB_HP_SHARED_FEED_FORWARD)

static const struct nb_key_row granite_keys[] = { GRANITE_KEYS };

/* The class with shared experts is another one. */
static enum nb_status
restore_granitemoe(const struct nb_restoration *r, struct nb_error *err)
{
    return nb_hp(r->hp, NB_HP_SHARED_FEED_FORWARD) == 0 ||
                   (nb_restore_text(r, "model_type", "granitemoeshared") &&
                    nb_restore(r, "architectures", json_pack("[s]", "GraniteMoeSharedForCausalLM")))
               ? NB_OK
               : nb_fail_memory(err);
}

static const char *const granite_classes[] = { "GraniteForCausalLM", NULL };
static const char *const granitemoe_classes[] = { "GraniteMoeForCausalLM", "GraniteMoeSharedForCausalLM", NULL };

const struct nb_family nb_family_granite = {
    .model_type = "granite",
    FAMILY(granite_classes, nb_arch_granite, granite_config, granite_rules, granite_keys, granite_tensors), OF_LLAMA, .mlx = &nb_mlx_granite
};
const struct nb_family nb_family_granitemoe = {
    .model_type = "granitemoe",
    .restore = restore_granitemoe,
    FAMILY(granitemoe_classes, nb_arch_granitemoe, granitemoe_config, granite_rules, granite_keys, granitemoe_tensors),
    OF_LLAMA, .mlx = &nb_mlx_granite_moe
};

/* --- Ernie 4.5 --------------------------------------------------------------------------------------------- */

/* The original checkpoints fuse projections, and call the model "ernie". */
#define Q_ROWS "heads * key_length"
#define K_ROWS "kv_heads * key_length"

static const struct nb_map_row ernie4_5_tensors[] = {
    EMBEDDINGS,
    NORMS,
    ATTENTION(PLAIN),
    O_BIAS,
    QKV_BIASES(PLAIN),
    { LAYER "self_attn.qkv_proj.weight", BLOCK "attn_q.weight", { { NB_MAP_CUT, { "0", Q_ROWS } } } },
    { LAYER "self_attn.qkv_proj.weight", BLOCK "attn_k.weight", { { NB_MAP_CUT, { Q_ROWS, K_ROWS } } } },
    { LAYER "self_attn.qkv_proj.weight",
      BLOCK "attn_v.weight",
      { { NB_MAP_CUT, { Q_ROWS " + " K_ROWS, K_ROWS } } } },
    GATED_MLP,
    GATED_MLP_BIASES,
    { LAYER "mlp.up_gate_proj.weight", BLOCK "ffn_gate.weight", { { NB_MAP_CUT, { "0", "feed_forward" } } } },
    { LAYER "mlp.up_gate_proj.weight",
      BLOCK "ffn_up.weight",
      { { NB_MAP_CUT, { "feed_forward", "feed_forward" } } } },
};

static const struct nb_config_row ernie4_5_config[] = {
    CONFIG_BASE("2", "131072", "500000"),
    CONFIG_HEAD_DIM("embedding // heads"),
    CONFIG_RMS_EPSILON("1e-5"),
};

static const struct nb_config_rule ernie4_5_rules[] = {
    { "hidden_act", NB_CONFIG_ONLY, "silu|swish", NULL },
    { "use_bias", NB_CONFIG_BIASES, ".self_attn.q_proj.bias", NULL },
};

static const struct nb_key_row base_keys[] = { BASE_KEYS(KEY) };
static const char *const ernie4_5_classes[] = { "Ernie4_5_ForCausalLM", "Ernie4_5ForCausalLM", NULL };

const struct nb_family nb_family_ernie4_5 = {
    .model_type = "ernie4_5",
    FAMILY(ernie4_5_classes, nb_arch_ernie4_5, ernie4_5_config, ernie4_5_rules, base_keys, ernie4_5_tensors),
    .ignored_suffixes = ignored,
    .tokenizer = { .space_prefix = NB_PREFIX_LAST }, .mlx = &nb_mlx_llama
};

/* --- Seed-OSS ---------------------------------------------------------------------------------------------- */

static const struct nb_map_row seed_oss_tensors[] = {
    EMBEDDINGS,
    { LAYER "input_layernorm.weight", BLOCK "attn_norm.weight", PLAIN },
    { LAYER "post_attention_layernorm.weight", BLOCK "post_attention_norm.weight", PLAIN },
    ATTENTION(PLAIN),
    QKV_BIASES(PLAIN),
    GATED_MLP,
};

static const struct nb_config_row seed_oss_config[] = {
    CONFIG_BASE("8", "524288", "10000"),
    CONFIG_HEAD_DIM("128"),
    CONFIG_RMS_EPSILON("1e-6"),
};

static const struct nb_config_rule seed_oss_rules[] = {
    { "hidden_act", NB_CONFIG_ONLY, "silu|swish", NULL },
    { "attention_bias", NB_CONFIG_BIASES, ".self_attn.q_proj.bias", NULL },
    { "attention_out_bias", NB_CONFIG_ONLY, "false", NULL },
    { "mlp_bias", NB_CONFIG_ONLY, "false", NULL },
};

static const char *const seed_oss_classes[] = { "SeedOssForCausalLM", NULL };

const struct nb_family nb_family_seed_oss = {
    .model_type = "seed_oss",
    FAMILY(seed_oss_classes, nb_arch_seed_oss, seed_oss_config, seed_oss_rules, base_keys, seed_oss_tensors)
};

/* --- HunYuan ----------------------------------------------------------------------------------------------- */

static const struct nb_map_row hunyuan_tensors[] = {
    EMBEDDINGS,
    NORMS,
    ATTENTION(PLAIN),
    QKV_BIASES(PLAIN),
    { LAYER "self_attn.query_layernorm.weight", BLOCK "attn_q_norm.weight", PLAIN },
    { LAYER "self_attn.key_layernorm.weight", BLOCK "attn_k_norm.weight", PLAIN },
    GATED_MLP,
};

static const struct nb_config_row hunyuan_config[] = {
    CONFIG_BASE("heads", "2048", "10000"),
    CONFIG_HEAD_DIM("embedding // heads"),
    CONFIG_RMS_EPSILON("1e-5"),
};

#define TRAINED_CONTEXT (256 * 1024) /* of models with dynamic scaling, whatever config.json says */

/* Dynamic scaling grows the rotary base for good: by ALPHA to the power of d / (d - 2), d a head's length. */
enum nb_status
nb_grow_rope_base(json_t *from, double usual_alpha, const char *name, struct nb_hparams *hp, struct nb_error *err)
{
    json_t *rope = nb_config_rope(from), *given = json_object_get(rope, "alpha");
    const double alpha = json_is_number(given) ? json_number_value(given) : usual_alpha, d = nb_hp(hp, NB_HP_KEY_LENGTH);
    const double context = nb_hp(hp, NB_HP_CONTEXT), base = nb_hp(hp, NB_HP_ROPE_BASE);
    const char *type = nb_rope_type(rope);

    if (type == NULL || strcmp(type, "dynamic") != 0)
        return NB_OK;
    if (base != 10000 || (context != 32 * 1024 && context != TRAINED_CONTEXT) || !(alpha > 0) || d <= 2)
        return nb_fail(err, NB_UNSUPPORTED, "%s: dynamic rotary scaling can be converted for a rope_theta of 10000 and "
                                            "32768 or 262144 max_position_embeddings only", name);
    nb_hp_set(hp, NB_HP_ROPE_BASE, base * pow(alpha, d / (d - 2)), true);
    nb_hp_set(hp, NB_HP_CONTEXT, TRAINED_CONTEXT, true);
    nb_hp_set(hp, NB_HP_ROPE_FACTOR, 1, true);
    nb_hp_set(hp, NB_HP_ROPE_CONTEXT, TRAINED_CONTEXT, true);
    return nb_hp_set_text(hp, NB_HP_ROPE_SCALING, "none", true, err);
}

static enum nb_status
derive_hunyuan(json_t *from, const char *name, struct nb_hparams *hp, struct nb_error *err)
{
    return nb_grow_rope_base(from, 50, name, hp, err);
}

static const struct nb_config_rule hunyuan_rules[] = {
    { "hidden_act", NB_CONFIG_ONLY, "silu|swish", NULL },
    { "attention_bias", NB_CONFIG_BIASES, ".self_attn.q_proj.bias", NULL },
    { "mlp_bias", NB_CONFIG_ONLY, "false", NULL },
    { "use_qk_norm", NB_CONFIG_ONLY, "true", NULL },
    { "rope.alpha", NB_CONFIG_IGNORED, NULL, NULL }, /* read above */
    { "rope.mscale", NB_CONFIG_IGNORED, NULL, NULL }, /* not used by the model */
    { "rope.mscale_all_dim", NB_CONFIG_IGNORED, NULL, NULL },
};

static const struct nb_key_row hunyuan_keys[] = {
    BASE_KEYS(KEY_IF_GIVEN), KEY(NB_HP_ROPE_SCALING), KEY(NB_HP_ROPE_FACTOR), KEY(NB_HP_ROPE_CONTEXT),
};

static const char *const hunyuan_classes[] = { "HunYuanDenseV1ForCausalLM", NULL };

const struct nb_family nb_family_hunyuan_dense = {
    FAMILY(hunyuan_classes, nb_arch_hunyuan_dense, hunyuan_config, hunyuan_rules, hunyuan_keys, hunyuan_tensors),
    .derive = derive_hunyuan,
    .skips_tied_output = true, .mlx = &nb_mlx_hunyuan
};
