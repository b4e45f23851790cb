/*
 * GPT-2, GPTBigCode (StarCoder), GPT-NeoX, BLOOM, MPT, Falcon: older models whose attention has one matrix for
 * queries, keys and values. Names and keys: llama.cpp's conversion/gpt2.py, starcoder.py, gptneox.py, bloom.py,
 * mpt.py and falcon.py; defaults: the configuration classes of transformers 4.57.
 */
#include "formats/models/families/rows.h"
#include "formats/models/mlx_layout.h"

/* Buffers of the attention. */
static const char *const ignored[] = {
    ".attn.bias",        ".attn.masked_bias", ".attention.bias", ".attention.masked_bias",
    ".rotary_emb.inv_freq", NULL,
};

#define WITH_BIAS(from, to, op) { from ".weight", to ".weight", op }, { from ".bias", to ".bias", op }
#define NO_ROPE_SCALING { "rope_scaling", NB_CONFIG_ONLY, "", NULL }

#define CONFIG_HEADS(rope_dims)                             \
    CONFIG_NO_HEAD_DIM,                                     \
    { NB_HP_ROPE_DIMS, "", rope_dims }

/* Of a classifier, which is not used. */
#define SUMMARY_RULES                                                          \
    { "summary_activation", NB_CONFIG_IGNORED, NULL, NULL },                   \
    { "summary_first_dropout", NB_CONFIG_IGNORED, NULL, NULL },                \
    { "summary_proj_to_labels", NB_CONFIG_IGNORED, NULL, NULL },               \
    { "summary_type", NB_CONFIG_IGNORED, NULL, NULL },                         \
    { "summary_use_proj", NB_CONFIG_IGNORED, NULL, NULL }

/* --- GPT-2 and GPTBigCode ---------------------------------------------------------------------------------- */

#define TURNED { { NB_MAP_TRANSPOSE, { NULL } } }

/* MATRIX is the operation on the matrices: GPT-2 stores them transposed. P is what comes before all names. */
#define GPT2_ROWS(p, matrix)                                                                    \
    { p "wte.weight", "token_embd.weight", PLAIN },                                             \
    { p "wpe.weight", "position_embd.weight", PLAIN },                                          \
    WITH_BIAS(p "ln_f", "output_norm", PLAIN),                                                  \
    WITH_BIAS(p "h.%l.ln_1", BLOCK "attn_norm", PLAIN),                                         \
    WITH_BIAS(p "h.%l.ln_2", BLOCK "ffn_norm", PLAIN),                                          \
    { p "h.%l.attn.c_attn.weight", BLOCK "attn_qkv.weight", matrix },                           \
    { p "h.%l.attn.c_attn.bias", BLOCK "attn_qkv.bias", PLAIN },                                \
    { p "h.%l.attn.c_proj.weight", BLOCK "attn_output.weight", matrix },                        \
    { p "h.%l.attn.c_proj.bias", BLOCK "attn_output.bias", PLAIN },                             \
    { p "h.%l.mlp.c_fc.weight", BLOCK "ffn_up.weight", matrix },                                \
    { p "h.%l.mlp.c_fc.bias", BLOCK "ffn_up.bias", PLAIN },                                     \
    { p "h.%l.mlp.c_proj.weight", BLOCK "ffn_down.weight", matrix },                            \
    { p "h.%l.mlp.c_proj.bias", BLOCK "ffn_down.bias", PLAIN }

static const struct nb_map_row gpt2_tensors[] = {
    GPT2_ROWS("", TURNED),
    GPT2_ROWS("transformer.", TURNED),
    { "lm_head.weight", "output.weight", PLAIN },
    GPT2_ROWS("model.", AS_IN_MLX),
};

static const struct nb_map_row gptbigcode_tensors[] = {
    GPT2_ROWS("transformer.", PLAIN),
    { "lm_head.weight", "output.weight", PLAIN },
};

/* A feed-forward part of another size shows in the shapes. */
#define GPT2_CONFIG(kv_heads)                                      \
    { NB_HP_LAYERS, "n_layer", NULL },                             \
    { NB_HP_CONTEXT, "n_ctx|n_positions", "1024" },                \
    { NB_HP_EMBEDDING, "n_embd", NULL },                           \
    { NB_HP_FEED_FORWARD, "", "4 * embedding" },                   \
    { NB_HP_HEADS, "n_head", NULL },                               \
    { NB_HP_KV_HEADS, "", kv_heads },                              \
    CONFIG_HEADS("0"),                                             \
    { NB_HP_NORM_EPSILON, "layer_norm_epsilon", "1e-5" }

static const struct nb_config_row gpt2_config[] = { GPT2_CONFIG("heads") };
static const struct nb_config_row gptbigcode_config[] = { GPT2_CONFIG("1") };

#define GPT2_RULES                                                       \
    { "n_inner", NB_CONFIG_IGNORED, NULL, NULL },                        \
    { "scale_attn_weights", NB_CONFIG_ONLY, "true", NULL },              \
    SUMMARY_RULES

static const struct nb_config_rule gpt2_rules[] = {
    GPT2_RULES,
    { "activation_function", NB_CONFIG_ONLY, "gelu_new", NULL },
    { "scale_attn_by_inverse_layer_idx", NB_CONFIG_ONLY, "false", NULL },
    { "reorder_and_upcast_attn", NB_CONFIG_IGNORED, NULL, NULL }, /* how it is computed */
};

static const struct nb_config_rule gptbigcode_rules[] = {
    GPT2_RULES,
    { "activation_function", NB_CONFIG_ONLY, "gelu_pytorch_tanh", NULL },
    { "multi_query", NB_CONFIG_ONLY, "true", NULL },
    { "attention_softmax_in_fp32", NB_CONFIG_IGNORED, NULL, NULL }, /* how it is computed */
    { "scale_attention_softmax_in_fp32", NB_CONFIG_IGNORED, NULL, NULL },
};

static const struct nb_key_row gpt2_keys[] = {
    KEY(NB_HP_LAYERS),
    KEY(NB_HP_CONTEXT),
    KEY(NB_HP_EMBEDDING),
    KEY(NB_HP_FEED_FORWARD),
    KEY(NB_HP_HEADS),
    KEY(NB_HP_NORM_EPSILON),
    WRITE(nb_write_file_type),
};

static const struct nb_key_row gptbigcode_keys[] = {
    KEY(NB_HP_CONTEXT),
    KEY(NB_HP_EMBEDDING),
    KEY(NB_HP_FEED_FORWARD),
    KEY(NB_HP_LAYERS),
    KEY(NB_HP_HEADS),
    KEY(NB_HP_KV_HEADS),
    KEY(NB_HP_NORM_EPSILON),
    WRITE(nb_write_file_type),
};

static const char *const gpt2_classes[] = { "GPT2LMHeadModel", NULL };
static const char *const gptbigcode_classes[] = { "GPTBigCodeForCausalLM", NULL };

const struct nb_family nb_family_gpt2 = {
    .model_type = "gpt2",
    FAMILY(gpt2_classes, nb_arch_gpt2, gpt2_config, gpt2_rules, gpt2_keys, gpt2_tensors),
    .ignored_suffixes = ignored, .mlx = &nb_mlx_gpt2
};
const struct nb_family nb_family_gptbigcode = {
    .model_type = "gpt_bigcode",
    FAMILY(gptbigcode_classes, nb_arch_starcoder, gptbigcode_config, gptbigcode_rules, gptbigcode_keys,
           gptbigcode_tensors),
    .ignored_suffixes = ignored, .mlx = &nb_mlx_gpt_bigcode
};

/* --- GPT-NeoX and BLOOM ------------------------------------------------------------------------------------ */

/* The rows of each head's query, key and value follow each other; llama.cpp wants all queries first. */
#define BY_HEAD { { NB_MAP_SWAP, { "heads", "3", "key_length" } } }

#define MLP_OF_NEOX(p)                                                                          \
    WITH_BIAS(p "input_layernorm", BLOCK "attn_norm", PLAIN),                                   \
    WITH_BIAS(p "post_attention_layernorm", BLOCK "ffn_norm", PLAIN),                           \
    WITH_BIAS(p "mlp.dense_h_to_4h", BLOCK "ffn_up", PLAIN),                                    \
    WITH_BIAS(p "mlp.dense_4h_to_h", BLOCK "ffn_down", PLAIN)

#define NEOX "gpt_neox.layers.%l."

static const struct nb_map_row gptneox_tensors[] = {
    { "gpt_neox.embed_in.weight", "token_embd.weight", PLAIN },
    { "embed_out.weight", "output.weight", PLAIN },
    WITH_BIAS("gpt_neox.final_layer_norm", "output_norm", PLAIN),
    MLP_OF_NEOX(NEOX),
    WITH_BIAS(NEOX "attention.query_key_value", BLOCK "attn_qkv", BY_HEAD),
    WITH_BIAS(NEOX "attention.dense", BLOCK "attn_output", PLAIN),
};

#define BLOOM_ROWS(p)                                                                           \
    { p "word_embeddings.weight", "token_embd.weight", PLAIN },                                 \
    WITH_BIAS(p "word_embeddings_layernorm", "token_embd_norm", PLAIN),                         \
    WITH_BIAS(p "ln_f", "output_norm", PLAIN),                                                  \
    MLP_OF_NEOX(p "h.%l."),                                                                     \
    WITH_BIAS(p "h.%l.self_attention.query_key_value", BLOCK "attn_qkv", BY_HEAD),              \
    WITH_BIAS(p "h.%l.self_attention.dense", BLOCK "attn_output", PLAIN)

static const struct nb_map_row bloom_tensors[] = {
    BLOOM_ROWS(""),
    BLOOM_ROWS("transformer."),
    { "lm_head.weight", "output.weight", PLAIN },
};

static const struct nb_config_row gptneox_config[] = {
    { NB_HP_CONTEXT, "max_position_embeddings", "2048" },
    { NB_HP_EMBEDDING, "hidden_size", NULL },
    { NB_HP_LAYERS, "num_hidden_layers", NULL },
    { NB_HP_FEED_FORWARD, "intermediate_size", NULL },
    { NB_HP_HEADS, "num_attention_heads", NULL },
    { NB_HP_KV_HEADS, "", "heads" },
    { NB_HP_ROTARY_FACTOR, "rotary_pct", "0.25" },
    CONFIG_HEADS("rotary_factor * key_length // 1"),
    { NB_HP_PARALLEL_RESIDUAL, "use_parallel_residual", "1" },
    { NB_HP_NORM_EPSILON, "layer_norm_eps", "1e-5" },
};

static const struct nb_config_row bloom_config[] = {
    { NB_HP_EMBEDDING, "hidden_size|n_embed", NULL },
    { NB_HP_CONTEXT, "seq_length", "embedding" },
    { NB_HP_FEED_FORWARD, "", "4 * embedding" },
    { NB_HP_LAYERS, "n_layer|num_hidden_layers", NULL },
    { NB_HP_HEADS, "n_head|num_attention_heads", NULL },
    { NB_HP_KV_HEADS, "", "heads" },
    CONFIG_HEADS("0"),
    { NB_HP_NORM_EPSILON, "layer_norm_epsilon", "1e-5" },
};

static const struct nb_config_rule gptneox_rules[] = {
    { "hidden_act", NB_CONFIG_ONLY, "gelu", NULL },
    { "attention_bias", NB_CONFIG_ONLY, "true", NULL },
    { "rotary_emb_base", NB_CONFIG_ONLY, "10000", NULL }, /* llama.cpp's own: the file does not name it */
    { "rope_theta", NB_CONFIG_ONLY, "10000", NULL },
    { "classifier_dropout", NB_CONFIG_IGNORED, NULL, NULL },
    NO_ROPE_SCALING,
};

static const struct nb_config_rule bloom_rules[] = {
    { "hidden_act", NB_CONFIG_ONLY, "gelu", NULL }, /* the class has no other, nor the entry */
    { "apply_residual_connection_post_layernorm", NB_CONFIG_ONLY, "false", NULL },
    { "attention_softmax_in_fp32", NB_CONFIG_IGNORED, NULL, NULL }, /* how it is computed */
    { "masked_softmax_fusion", NB_CONFIG_IGNORED, NULL, NULL },
    { "bias_dropout_fusion", NB_CONFIG_IGNORED, NULL, NULL },
    { "skip_bias_add", NB_CONFIG_IGNORED, NULL, NULL },
    { "skip_bias_add_qkv", NB_CONFIG_IGNORED, NULL, NULL },
    { "slow_but_exact", NB_CONFIG_IGNORED, NULL, NULL },
    { "offset_alibi", NB_CONFIG_IGNORED, NULL, NULL },
    { "n_inner", NB_CONFIG_IGNORED, NULL, NULL },
};

/* The reference writes no general.file_type here. */
static const struct nb_key_row gptneox_keys[] = {
    KEY(NB_HP_CONTEXT),
    KEY(NB_HP_EMBEDDING),
    KEY(NB_HP_LAYERS),
    KEY(NB_HP_FEED_FORWARD),
    KEY(NB_HP_ROPE_DIMS),
    KEY(NB_HP_HEADS),
    KEY(NB_HP_PARALLEL_RESIDUAL),
    KEY(NB_HP_NORM_EPSILON),
};

static const struct nb_key_row bloom_keys[] = {
    KEY(NB_HP_CONTEXT),
    KEY(NB_HP_EMBEDDING),
    KEY(NB_HP_FEED_FORWARD),
    KEY(NB_HP_LAYERS),
    KEY(NB_HP_HEADS),
    KEY(NB_HP_KV_HEADS),
    KEY(NB_HP_NORM_EPSILON),
    WRITE(nb_write_file_type),
};

static const char *const gptneox_classes[] = { "GPTNeoXForCausalLM", NULL };
static const char *const bloom_classes[] = { "BloomForCausalLM", "BloomModel", NULL };

const struct nb_family nb_family_gptneox = {
    .model_type = "gpt_neox",
    FAMILY(gptneox_classes, nb_arch_gptneox, gptneox_config, gptneox_rules, gptneox_keys, gptneox_tensors),
    .ignored_suffixes = ignored, .mlx = &nb_mlx_gpt_neox
};
const struct nb_family nb_family_bloom = {
    .model_type = "bloom",
    FAMILY(bloom_classes, nb_arch_bloom, bloom_config, bloom_rules, bloom_keys, bloom_tensors)
};

/* --- MPT --------------------------------------------------------------------------------------------------- */

#define MPT "transformer.blocks.%l."

static const struct nb_map_row mpt_tensors[] = {
    { "transformer.wte.weight", "token_embd.weight", PLAIN },
    { "transformer.wpe.weight", "position_embd.weight", PLAIN },
    { "lm_head.weight", "output.weight", PLAIN },
    WITH_BIAS("transformer.norm_f", "output_norm", PLAIN),
    WITH_BIAS(MPT "norm_1", BLOCK "attn_norm", PLAIN),
    WITH_BIAS(MPT "norm_2", BLOCK "ffn_norm", PLAIN),
    WITH_BIAS(MPT "attn.Wqkv", BLOCK "attn_qkv", PLAIN),
    WITH_BIAS(MPT "attn.q_ln", BLOCK "attn_q_norm", PLAIN),
    WITH_BIAS(MPT "attn.k_ln", BLOCK "attn_k_norm", PLAIN),
    WITH_BIAS(MPT "attn.out_proj", BLOCK "attn_output", PLAIN),
    WITH_BIAS(MPT "ffn.up_proj", BLOCK "ffn_up", PLAIN),
    WITH_BIAS(MPT "ffn.down_proj", BLOCK "ffn_down", PLAIN),
    { MPT "ffn.act.scales", BLOCK "ffn_act.scales", PLAIN },
};

static const struct nb_config_row mpt_config[] = {
    { NB_HP_CONTEXT, "max_seq_len", "2048" },
    { NB_HP_EMBEDDING, "d_model", NULL },
    { NB_HP_LAYERS, "n_layers", NULL },
    { NB_HP_FEED_FORWARD, "", "4 * embedding" },
    { NB_HP_HEADS, "n_heads", NULL },
    { NB_HP_KV_HEADS, "attn_config.kv_n_heads", "heads" },
    CONFIG_HEADS("0"),
    { NB_HP_NORM_EPSILON, "", "1e-5" },
    { NB_HP_CLAMP_KQV, "attn_config.clip_qkv", "" },
    { NB_HP_MAX_ALIBI_BIAS, "attn_config.alibi_bias_max", "8" },
};

/* Without ALiBi the largest bias is zero. */
static enum nb_status
derive_mpt(json_t *from, const char *name, struct nb_hparams *hp, struct nb_error *err)
{
    if (json_is_true(nb_config_find(from, "attn_config.prefix_lm")) ||
        json_is_number(nb_config_find(from, "attn_config.softmax_scale")))
        return nb_fail(err, NB_UNSUPPORTED, "%s: attn_config has a prefix_lm or a softmax_scale, which cannot be converted",
                       name);
    if (!json_is_true(nb_config_find(from, "attn_config.alibi")))
        nb_hp_set(hp, NB_HP_MAX_ALIBI_BIAS, 0, true);
    return NB_OK;
}

static const struct nb_config_rule mpt_rules[] = {
    { "hidden_act", NB_CONFIG_ONLY, "gelu", NULL }, /* the class has no other, nor the entry */
    { "expansion_ratio", NB_CONFIG_ONLY, "4", NULL },
    { "logit_scale", NB_CONFIG_ONLY, "", NULL },
    { "learned_pos_emb", NB_CONFIG_IGNORED, NULL, NULL }, /* the tensor shows it */
    { "no_bias", NB_CONFIG_IGNORED, NULL, NULL },         /* likewise */
    { "norm_type", NB_CONFIG_ONLY, "low_precision_layernorm|layernorm", NULL },
    { "embedding_fraction", NB_CONFIG_IGNORED, NULL, NULL }, /* in training only */
    { "emb_pdrop", NB_CONFIG_IGNORED, NULL, NULL },
    { "init_device", NB_CONFIG_IGNORED, NULL, NULL },
    { "init_config", NB_CONFIG_IGNORED, NULL, NULL },
    { "verbose", NB_CONFIG_IGNORED, NULL, NULL },
};

/* Nor here. */
static const struct nb_key_row mpt_keys[] = {
    KEY(NB_HP_CONTEXT),
    KEY(NB_HP_EMBEDDING),
    KEY(NB_HP_LAYERS),
    KEY(NB_HP_FEED_FORWARD),
    KEY(NB_HP_HEADS),
    KEY_IF_GIVEN(NB_HP_KV_HEADS),
    KEY(NB_HP_NORM_EPSILON),
    KEY(NB_HP_CLAMP_KQV),
    KEY(NB_HP_MAX_ALIBI_BIAS),
};

static const char *const mpt_classes[] = { "MPTForCausalLM", NULL };

const struct nb_family nb_family_mpt = {
    .model_type = "mpt",
    FAMILY(mpt_classes, nb_arch_mpt, mpt_config, mpt_rules, mpt_keys, mpt_tensors), .derive = derive_mpt
};

/* --- Falcon ------------------------------------------------------------------------------------------------ */

#define FALCON "transformer.h.%l."

/* For each key-value head: its queries, its key, its value. The larger models have a norm for each of both parts. */
static const struct nb_map_row falcon_tensors[] = {
    { "transformer.word_embeddings.weight", "token_embd.weight", PLAIN },
    { "lm_head.weight", "output.weight", PLAIN },
    WITH_BIAS("transformer.ln_f", "output_norm", PLAIN),
    WITH_BIAS(FALCON "input_layernorm", BLOCK "attn_norm", PLAIN),
    WITH_BIAS(FALCON "ln_mlp", BLOCK "attn_norm", PLAIN),
    WITH_BIAS(FALCON "ln_attn", BLOCK "attn_norm_2", PLAIN),
    { FALCON "self_attention.query_key_value.weight",
      BLOCK "attn_qkv.weight",
      { { NB_MAP_PARTS, { "kv_heads", "heads // kv_heads * key_length", "key_length" } } } },
    { FALCON "self_attention.dense.weight", BLOCK "attn_output.weight", PLAIN },
    { FALCON "mlp.dense_h_to_4h.weight", BLOCK "ffn_up.weight", PLAIN },
    { FALCON "mlp.dense_4h_to_h.weight", BLOCK "ffn_down.weight", PLAIN },
};

static const struct nb_config_row falcon_config[] = {
    { NB_HP_CONTEXT, "", "2048" },
    { NB_HP_TENSOR_LAYOUT, "", "jploski" },
    { NB_HP_EMBEDDING, "hidden_size", NULL },
    { NB_HP_FEED_FORWARD, "", "4 * embedding" },
    { NB_HP_LAYERS, "num_hidden_layers|n_layer", NULL },
    { NB_HP_HEADS, "num_attention_heads|n_head", NULL },
    { NB_HP_KV_HEADS, "num_kv_heads|n_head_kv", "1" },
    CONFIG_HEADS("key_length"),
    { NB_HP_NORM_EPSILON, "layer_norm_epsilon", "1e-5" },
};

/* The older layout has one key-value head whatever the other entries say. (The reference's converter fails then.) */
static enum nb_status
derive_falcon(json_t *from, const char *name, struct nb_hparams *hp, struct nb_error *err)
{
    (void)name, (void)err;
    if (json_is_true(nb_config_find(from, "multi_query")) &&
        !json_is_true(nb_config_find(from, "new_decoder_architecture")))
        nb_hp_set(hp, NB_HP_KV_HEADS, 1, true);
    return NB_OK;
}

static const struct nb_config_rule falcon_rules[] = {
    { "alibi", NB_CONFIG_ONLY, "false", NULL },
    { "bias", NB_CONFIG_ONLY, "false", NULL },
    { "parallel_attn", NB_CONFIG_ONLY, "true", NULL },
    { "apply_residual_connection_post_layernorm", NB_CONFIG_ONLY, "false", NULL },
    { "activation", NB_CONFIG_ONLY, "gelu", NULL },
    { "ffn_hidden_size", NB_CONFIG_IGNORED, NULL, NULL }, /* a wrong one shows in the shapes */
    { "max_position_embeddings", NB_CONFIG_IGNORED, NULL, NULL },
    { "multi_query", NB_CONFIG_IGNORED, NULL, NULL }, /* read above */
    { "new_decoder_architecture", NB_CONFIG_IGNORED, NULL, NULL },
    { "num_ln_in_parallel_attn", NB_CONFIG_IGNORED, NULL, NULL }, /* the tensors show it */
    { "rope_theta", NB_CONFIG_ONLY, "10000", NULL },
    NO_ROPE_SCALING,
};

static const struct nb_key_row falcon_keys[] = {
    KEY(NB_HP_CONTEXT),
    KEY(NB_HP_TENSOR_LAYOUT),
    KEY(NB_HP_EMBEDDING),
    KEY(NB_HP_FEED_FORWARD),
    KEY(NB_HP_LAYERS),
    KEY(NB_HP_HEADS),
    KEY(NB_HP_KV_HEADS),
    KEY(NB_HP_NORM_EPSILON),
    WRITE(nb_write_file_type),
};

static const char *const falcon_classes[] = { "FalconForCausalLM", "RWForCausalLM", NULL };

const struct nb_family nb_family_falcon = {
    .model_type = "falcon",
    FAMILY(falcon_classes, nb_arch_falcon, falcon_config, falcon_rules, falcon_keys, falcon_tensors),
    .derive = derive_falcon,
};
