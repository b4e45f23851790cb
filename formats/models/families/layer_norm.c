/*
 * Cohere, Cohere 2, Nemotron, StarCoder 2, StableLM, Jais 2: models with LayerNorm. Names and keys: llama.cpp's
 * conversion/command_r.py, nemotron.py, starcoder.py, stablelm.py and jais.py; defaults: the configuration
 * classes of transformers 4.57.
 */
#include "formats/models/families/rows.h"
#include "formats/models/mlx_layout.h"

static const char *const ignored[] = { ".rotary_emb.inv_freq", NULL };

#define NO_ROPE_SCALING { "rope_scaling", NB_CONFIG_ONLY, "", NULL }
/* llama.cpp's own base, which such files do not name. */
#define USUAL_ROPE_BASE { "rope_theta", NB_CONFIG_ONLY, "10000", NULL }

#define MLP_BIASES                                                        \
    { LAYER "mlp.up_proj.bias", BLOCK "ffn_up.bias", PLAIN },             \
    { LAYER "mlp.down_proj.bias", BLOCK "ffn_down.bias", PLAIN }

/* --- Cohere ------------------------------------------------------------------------------------------------ */

#define COHERE                                                                     \
    { "model.embed_tokens.weight", "token_embd.weight", PLAIN },                   \
    { "model.norm.weight", "output_norm.weight", PLAIN },                          \
    { LAYER "input_layernorm.weight", BLOCK "attn_norm.weight", PLAIN },           \
    ATTENTION(PLAIN),                                                              \
    GATED_MLP

static const struct nb_map_row cohere_tensors[] = { COHERE, Q_K_NORMS };
static const struct nb_map_row cohere2_tensors[] = { COHERE };

/* The models were trained for more tokens than max_position_embeddings says. */
static const struct nb_config_row cohere_config[] = {
    { NB_HP_LAYERS, "num_hidden_layers", NULL },
    { NB_HP_EMBEDDING, "hidden_size", NULL },
    { NB_HP_FEED_FORWARD, "intermediate_size", NULL },
    { NB_HP_HEADS, "num_attention_heads", NULL },
    { NB_HP_KV_HEADS, "num_key_value_heads", "heads" },
    { NB_HP_CONTEXT, "model_max_length|max_position_embeddings", "8192" },
    CONFIG_ROPE_BASE("10000"),
    CONFIG_NO_HEAD_DIM,
    { NB_HP_ROPE_DIMS, "", "key_length" },
    CONFIG_LAYER_NORM_EPSILON("1e-5"),
    { NB_HP_LOGIT_SCALE, "logit_scale", "0.0625" },
    { NB_HP_ROPE_SCALING, "", "none" },
};

static const struct nb_config_row cohere2_config[] = {
    CONFIG_BASE("heads", "8192", "10000"),
    CONFIG_LAYER_NORM_EPSILON("1e-5"),
    CONFIG_NO_HEAD_DIM,
    { NB_HP_VOCAB, "vocab_size", "256000" },
    { NB_HP_LOGIT_SCALE, "logit_scale", "0.0625" },
    { NB_HP_SLIDING_WINDOW, "sliding_window", "4096" },
    { NB_HP_ROTARY_FACTOR, "rotary_pct", NULL },
    { NB_HP_ROPE_DIMS, "", "rotary_factor * key_length // 1" },
    { NB_HP_ROPE_SCALING, "", "none" },
};

#define COHERE_RULES                                              \
    { "hidden_act", NB_CONFIG_ONLY, "silu|swish", NULL },         \
    { "attention_bias", NB_CONFIG_ONLY, "false", NULL },          \
    NO_ROPE_SCALING

/* llama.cpp norms q and k of models with 64 layers and more. */
static const struct nb_config_rule cohere_rules[] = {
    COHERE_RULES,
    { "use_qk_norm", NB_CONFIG_IGNORED, NULL, NULL }, /* the tensors show it */
};

/* Of every four layers the last one sees all tokens, without rotation. */
static const struct nb_config_rule cohere2_rules[] = {
    { "attention_bias", NB_CONFIG_IGNORED, NULL, NULL }, /* biases must be 0 */
    COHERE_RULES,
    { "use_qk_norm", NB_CONFIG_ONLY, "false", NULL },
    { "layer_types", NB_CONFIG_WINDOWS, "", NULL },
    { "sliding_window_pattern", NB_CONFIG_ONLY, "4", NULL },
    { "_sliding_window_pattern", NB_CONFIG_ONLY, "4", NULL },
    { "layer_switch", NB_CONFIG_ONLY, "4", NULL },
    { "order_of_interleaved_layers", NB_CONFIG_ONLY, "local_attn_first", NULL },
    { "position_embedding_type", NB_CONFIG_ONLY, "rope_gptj", NULL },
    { "use_parallel_block", NB_CONFIG_ONLY, "true", NULL },
    { "use_embedding_sharing", NB_CONFIG_ONLY, "true", NULL },
    { "use_parallel_embedding", NB_CONFIG_IGNORED, NULL, NULL },
    { "head_dim", NB_CONFIG_IGNORED, NULL, NULL }, /* transformers computes it too */
};

static const struct nb_key_row cohere_keys[] = {
    BASE_KEYS(KEY_IF_GIVEN), KEY(NB_HP_LOGIT_SCALE), KEY(NB_HP_ROPE_SCALING),
};

static const struct nb_key_row cohere2_keys[] = {
    BASE_KEYS(KEY),
    KEY(NB_HP_LOGIT_SCALE),
    KEY(NB_HP_SLIDING_WINDOW),
    KEY(NB_HP_VOCAB),
    KEY(NB_HP_ROPE_DIMS),
    KEY(NB_HP_ROPE_SCALING),
};

static const char *const cohere_classes[] = { "CohereForCausalLM", NULL };
static const char *const biases[] = { ".bias", NULL };
static const char *const cohere2_classes[] = { "Cohere2ForCausalLM", NULL };

const struct nb_family nb_family_cohere = {
    .model_type = "cohere",
    FAMILY(cohere_classes, nb_arch_command_r, cohere_config, cohere_rules, cohere_keys, cohere_tensors), .mlx = &nb_mlx_cohere
};
const struct nb_family nb_family_cohere2 = {
    .model_type = "cohere2",
    FAMILY(cohere2_classes, nb_arch_cohere2, cohere2_config, cohere2_rules, cohere2_keys, cohere2_tensors), .zero_suffixes = biases, .mlx = &nb_mlx_cohere
};

/* --- Nemotron ---------------------------------------------------------------------------------------------- */

static const struct nb_map_row nemotron_tensors[] = {
    EMBEDDINGS_WITH(PLUS_ONE),
    NORMS_WITH(PLUS_ONE),
    NORM_BIASES,
    ATTENTION(PLAIN),
    QKV_BIASES(PLAIN),
    O_BIAS,
    UP_AND_DOWN,
    MLP_BIASES,
};

static const struct nb_config_row nemotron_config[] = {
    CONFIG_BASE("heads", "4096", "10000"),
    { NB_HP_KEY_LENGTH, "head_dim", "embedding // heads" },
    { NB_HP_VALUE_LENGTH, "head_dim", "embedding // heads" },
    { NB_HP_VOCAB, "vocab_size", "256000" },
    { NB_HP_RMS_EPSILON, "norm_eps", "1e-5" }, /* written twice */
    { NB_HP_NORM_EPSILON, "norm_eps", "1e-5" },
    CONFIG_ROTARY_FACTOR("0.5"),
    { NB_HP_ROPE_SCALING, "", "none" },
};

static const struct nb_config_rule nemotron_rules[] = {
    { "hidden_act", NB_CONFIG_ONLY, "relu2", NULL },
    { "attention_bias", NB_CONFIG_BIASES, ".self_attn.q_proj.bias", NULL },
    { "mlp_bias", NB_CONFIG_BIASES, ".mlp.up_proj.bias", NULL },
    RULE_ROTARY_FACTOR,
    NO_ROPE_SCALING,
};

static const struct nb_key_row nemotron_keys[] = {
    KEY(NB_HP_LAYERS),
    KEY(NB_HP_CONTEXT),
    KEY(NB_HP_EMBEDDING),
    KEY(NB_HP_FEED_FORWARD),
    KEY(NB_HP_HEADS),
    KEY(NB_HP_KV_HEADS),
    KEY(NB_HP_ROPE_BASE),
    KEY(NB_HP_RMS_EPSILON),
    KEY(NB_HP_KEY_LENGTH),
    KEY(NB_HP_VALUE_LENGTH),
    WRITE(nb_write_file_type),
    KEY(NB_HP_VOCAB),
    KEY(NB_HP_NORM_EPSILON),
    KEY(NB_HP_ROPE_DIMS),
    KEY(NB_HP_ROPE_SCALING),
};

/* The ids that these models have. */
static enum nb_status
write_nemotron_ids(const struct nb_conversion *c, struct nb_metadata *meta, struct nb_error *err)
{
    (void)c;
    nb_meta_set_u32(meta, "tokenizer.ggml.padding_token_id", 0);
    nb_meta_set_u32(meta, "tokenizer.ggml.unknown_token_id", 1);
    return nb_meta_status(meta, err);
}

static const char *const nemotron_classes[] = { "NemotronForCausalLM", NULL };

const struct nb_family nb_family_nemotron = {
    .model_type = "nemotron",
    FAMILY(nemotron_classes, nb_arch_nemotron, nemotron_config, nemotron_rules, nemotron_keys, nemotron_tensors),
    .last = write_nemotron_ids,
    .ignored_suffixes = ignored, .mlx = &nb_mlx_nemotron
};

/* --- StarCoder 2 ------------------------------------------------------------------------------------------- */

static const struct nb_map_row starcoder2_tensors[] = {
    EMBEDDINGS,
    NORMS,
    NORM_BIASES,
    ATTENTION(PLAIN),
    QKV_BIASES(PLAIN),
    O_BIAS,
    { LAYER "mlp.c_fc.weight", BLOCK "ffn_up.weight", PLAIN },
    { LAYER "mlp.c_fc.bias", BLOCK "ffn_up.bias", PLAIN },
    { LAYER "mlp.c_proj.weight", BLOCK "ffn_down.weight", PLAIN },
    { LAYER "mlp.c_proj.bias", BLOCK "ffn_down.bias", PLAIN },
};

static const struct nb_config_row starcoder2_config[] = {
    CONFIG_BASE("2", "4096", "10000"),
    CONFIG_NO_HEAD_DIM,
    { NB_HP_ROPE_DIMS, "", "key_length" },
    { NB_HP_NORM_EPSILON, "norm_epsilon", "1e-5" },
};

static const struct nb_config_rule starcoder2_rules[] = {
    { "hidden_act", NB_CONFIG_ONLY, "gelu_pytorch_tanh", NULL },
    { "use_bias", NB_CONFIG_ONLY, "true", NULL },
    { "norm_type", NB_CONFIG_ONLY, "layer_norm", NULL },
    { "mlp_type", NB_CONFIG_ONLY, "default", NULL },
    { "sliding_window", NB_CONFIG_NOTED_BELOW, "max_position_embeddings",
      "but llama.cpp lets each token of this architecture see the whole context: longer texts are scored otherwise" },
};

static const struct nb_key_row base_keys[] = { BASE_KEYS(KEY_IF_GIVEN) };

static const char *const starcoder2_classes[] = { "Starcoder2ForCausalLM", NULL };

const struct nb_family nb_family_starcoder2 = {
    .model_type = "starcoder2",
    FAMILY(starcoder2_classes, nb_arch_starcoder2, starcoder2_config, starcoder2_rules, base_keys, starcoder2_tensors), .mlx = &nb_mlx_starcoder2
};

/* --- StableLM ---------------------------------------------------------------------------------------------- */

/* The 12B model norms each head of q and k by itself; the reference's converter drops these tensors and stops. */
static const struct nb_map_row stablelm_tensors[] = {
    EMBEDDINGS,
    NORMS,
    NORM_BIASES,
    ATTENTION(PLAIN),
    QKV_BIASES(PLAIN),
    { LAYER "self_attn.q_layernorm.norms.%e.weight", BLOCK "attn_q_norm.weight", PLAIN },
    { LAYER "self_attn.k_layernorm.norms.%e.weight", BLOCK "attn_k_norm.weight", PLAIN },
    GATED_MLP,
};

static const struct nb_config_row stablelm_config[] = {
    { NB_HP_LAYERS, "num_hidden_layers", NULL },
    { NB_HP_EMBEDDING, "hidden_size", NULL },
    { NB_HP_FEED_FORWARD, "intermediate_size", NULL },
    { NB_HP_HEADS, "num_attention_heads", NULL },
    { NB_HP_KV_HEADS, "num_key_value_heads", "32" },
    { NB_HP_CONTEXT, "max_position_embeddings", "4096" },
    CONFIG_NO_HEAD_DIM,
    { NB_HP_ROTARY_FACTOR, "partial_rotary_factor|rope_pct", "0.25" },
    { NB_HP_ROPE_DIMS, "", "rotary_factor * key_length // 1" },
    { NB_HP_PARALLEL_RESIDUAL, "use_parallel_residual", "0" },
    CONFIG_LAYER_NORM_EPSILON("1e-5"),
};

/* llama.cpp knows a parallel residual by the missing norm. */
static const struct nb_config_rule stablelm_rules[] = {
    { "hidden_act", NB_CONFIG_ONLY, "silu|swish", NULL },
    { "use_qkv_bias", NB_CONFIG_BIASES, ".self_attn.q_proj.bias", NULL },
    { "qk_layernorm", NB_CONFIG_BIASES, ".self_attn.q_layernorm.norms.0.weight", NULL },
    RULE_ROTARY_FACTOR,
    USUAL_ROPE_BASE,
    NO_ROPE_SCALING,
};

static const struct nb_key_row stablelm_keys[] = {
    KEY(NB_HP_CONTEXT),
    KEY(NB_HP_EMBEDDING),
    KEY(NB_HP_LAYERS),
    KEY(NB_HP_FEED_FORWARD),
    KEY(NB_HP_ROPE_DIMS),
    KEY(NB_HP_HEADS),
    KEY(NB_HP_KV_HEADS),
    KEY(NB_HP_PARALLEL_RESIDUAL),
    KEY(NB_HP_NORM_EPSILON),
    WRITE(nb_write_file_type),
};

static const char *const stablelm_classes[] = { "StableLmForCausalLM", "StableLMEpochForCausalLM",
                                                "LlavaStableLMEpochForCausalLM", NULL };

const struct nb_family nb_family_stablelm = {
    .model_type = "stablelm",
    FAMILY(stablelm_classes, nb_arch_stablelm, stablelm_config, stablelm_rules, stablelm_keys, stablelm_tensors),
    .ignored_suffixes = ignored, .mlx = &nb_mlx_llama
};

/* --- Jais 2 ------------------------------------------------------------------------------------------------ */

static const struct nb_map_row jais2_tensors[] = {
    EMBEDDINGS, NORMS, NORM_BIASES, ATTENTION(PLAIN), QKV_BIASES(PLAIN), O_BIAS, UP_AND_DOWN, MLP_BIASES,
};

static const struct nb_config_row jais2_config[] = {
    CONFIG_BASE("heads", NULL, ""),
    CONFIG_HEAD_DIM("embedding // heads"),
    CONFIG_LAYER_NORM_EPSILON(NULL),
};

static const struct nb_config_rule jais2_rules[] = {
    { "hidden_act", NB_CONFIG_ONLY, "relu2", NULL },
    { "attention_bias", NB_CONFIG_ONLY, "true", NULL },
    { "mlp_bias", NB_CONFIG_ONLY, "true", NULL },
};

static const struct nb_key_row jais2_keys[] = { BASE_KEYS(KEY_IF_GIVEN), KEY(NB_HP_ROPE_DIMS) };

static const char *const jais2_classes[] = { "Jais2ForCausalLM", NULL };

const struct nb_family nb_family_jais2 = {
    .model_type = "jais2",
    FAMILY(jais2_classes, nb_arch_jais2, jais2_config, jais2_rules, jais2_keys, jais2_tensors),
    .ignored_suffixes = ignored,
};
