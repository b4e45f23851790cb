/*
 * Rows that most families share: Hugging Face's names of tensors and of entries of config.json, and
 * the keys that the reference converter's base class writes, in its order (conversion/base.py).
 */
#ifndef NB_FAMILY_ROWS_H
#define NB_FAMILY_ROWS_H

#include "formats/models/family.h"
#include "formats/models/rope_scaling.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* --- tensors ---------------------------------------------------------------------------------------------- */

#define LAYER "model.layers.%l."
#define BLOCK "blk.%l."
#define PLAIN { { 0 } }
/* The rows of q and k from Hugging Face's halves to llama.cpp's neighbours. */
#define NEIGHBOURS { { NB_MAP_NEIGHBOURS, { "key_length" } } }

/* Convolutions of single channels, which checkpoints have with a side of 1. */
#define KERNELS { { NB_MAP_SIDES, { "r1c" } } }

/* Norms that are stored without the one that the model adds to them. */
#define PLUS_ONE { { NB_MAP_ADD, { "1" } } }

#define EMBEDDINGS EMBEDDINGS_WITH(PLAIN)
#define EMBEDDINGS_WITH(norm)                                \
    { "model.embed_tokens.weight", "token_embd.weight", PLAIN }, \
    { "model.norm.weight", "output_norm.weight", norm },     \
    { "lm_head.weight", "output.weight", PLAIN }

/* The norms before attention and feed-forward. */
#define NORMS NORMS_WITH(PLAIN)
#define NORMS_WITH(norm)                                                \
    { LAYER "input_layernorm.weight", BLOCK "attn_norm.weight", norm }, \
    { LAYER "post_attention_layernorm.weight", BLOCK "ffn_norm.weight", norm }

/* Q_K is the operation on the rows of q and k. */
#define ATTENTION(q_k)                                                       \
    { LAYER "self_attn.q_proj.weight", BLOCK "attn_q.weight", q_k },         \
    { LAYER "self_attn.k_proj.weight", BLOCK "attn_k.weight", q_k },         \
    { LAYER "self_attn.v_proj.weight", BLOCK "attn_v.weight", PLAIN },       \
    { LAYER "self_attn.o_proj.weight", BLOCK "attn_output.weight", PLAIN }
#define QKV_BIASES(q_k)                                                      \
    { LAYER "self_attn.q_proj.bias", BLOCK "attn_q.bias", q_k },             \
    { LAYER "self_attn.k_proj.bias", BLOCK "attn_k.bias", q_k },             \
    { LAYER "self_attn.v_proj.bias", BLOCK "attn_v.bias", PLAIN }
#define Q_K_NORMS Q_K_NORMS_WITH(PLAIN)
#define Q_K_NORMS_WITH(norm)                                                 \
    { LAYER "self_attn.q_norm.weight", BLOCK "attn_q_norm.weight", norm },   \
    { LAYER "self_attn.k_norm.weight", BLOCK "attn_k_norm.weight", norm }

#define O_BIAS { LAYER "self_attn.o_proj.bias", BLOCK "attn_output.bias", PLAIN }
/* The biases of EMBEDDINGS and NORMS in models with LayerNorm. */
#define NORM_BIASES                                                          \
    { "model.norm.bias", "output_norm.bias", PLAIN },                        \
    { LAYER "input_layernorm.bias", BLOCK "attn_norm.bias", PLAIN },         \
    { LAYER "post_attention_layernorm.bias", BLOCK "ffn_norm.bias", PLAIN }

#define UP_AND_DOWN                                                          \
    { LAYER "mlp.up_proj.weight", BLOCK "ffn_up.weight", PLAIN },            \
    { LAYER "mlp.down_proj.weight", BLOCK "ffn_down.weight", PLAIN }
#define GATED_MLP_BIASES                                                     \
    { LAYER "mlp.gate_proj.bias", BLOCK "ffn_gate.bias", PLAIN },            \
    { LAYER "mlp.up_proj.bias", BLOCK "ffn_up.bias", PLAIN },                \
    { LAYER "mlp.down_proj.bias", BLOCK "ffn_down.bias", PLAIN }
#define GATED_MLP                                                            \
    { LAYER "mlp.gate_proj.weight", BLOCK "ffn_gate.weight", PLAIN },        \
    { LAYER "mlp.up_proj.weight", BLOCK "ffn_up.weight", PLAIN },            \
    { LAYER "mlp.down_proj.weight", BLOCK "ffn_down.weight", PLAIN }

/* Experts that are stored one by one: the reference writes a layer's stacks together, here in the order of the rows. */
#define EXPERTS                                                                          \
    { LAYER "mlp.gate.weight", BLOCK "ffn_gate_inp.weight", PLAIN },                     \
    EXPERTS_DOWN_FIRST
#define EXPERTS_DOWN_FIRST                                                               \
    { LAYER "mlp.experts.%e.down_proj.weight", BLOCK "ffn_down_exps.weight", PLAIN },    \
    { LAYER "mlp.experts.%e.gate_proj.weight", BLOCK "ffn_gate_exps.weight", PLAIN },    \
    { LAYER "mlp.experts.%e.up_proj.weight", BLOCK "ffn_up_exps.weight", PLAIN }

/* In the order of some classes, without the router. */
#define EXPERTS_UP_FIRST                                                                 \
    { LAYER "mlp.experts.%e.gate_proj.weight", BLOCK "ffn_gate_exps.weight", PLAIN },    \
    { LAYER "mlp.experts.%e.up_proj.weight", BLOCK "ffn_up_exps.weight", PLAIN },        \
    { LAYER "mlp.experts.%e.down_proj.weight", BLOCK "ffn_down_exps.weight", PLAIN }

/* Under the names that Mixtral gave them. */
#define MIXTRAL_EXPERTS                                                                      \
    { LAYER "block_sparse_moe.gate.weight", BLOCK "ffn_gate_inp.weight", PLAIN },            \
    { LAYER "block_sparse_moe.experts.%e.w1.weight", BLOCK "ffn_gate_exps.weight", PLAIN },  \
    { LAYER "block_sparse_moe.experts.%e.w2.weight", BLOCK "ffn_down_exps.weight", PLAIN },  \
    { LAYER "block_sparse_moe.experts.%e.w3.weight", BLOCK "ffn_up_exps.weight", PLAIN }

/* What MLX's classes make of matrices that are cut or turned, which is what GGUF has too. */
#define AS_IN_MLX { { NB_MAP_READ_ONLY, { NULL } } }
#define MLX_STACKS(block)                                                                \
    { block "gate_proj.weight", BLOCK "ffn_gate_exps.weight", AS_IN_MLX },                   \
    { block "up_proj.weight", BLOCK "ffn_up_exps.weight", AS_IN_MLX },                       \
    { block "down_proj.weight", BLOCK "ffn_down_exps.weight", AS_IN_MLX }
#define MLX_STACK_BIASES(block)                                                          \
    { block "gate_proj.bias", BLOCK "ffn_gate_exps.bias", AS_IN_MLX },                       \
    { block "up_proj.bias", BLOCK "ffn_up_exps.bias", AS_IN_MLX },                           \
    { block "down_proj.bias", BLOCK "ffn_down_exps.bias", AS_IN_MLX }
#define MLX_KEYS_AND_VALUES                                                              \
    { LAYER "self_attn.embed_q.weight", BLOCK "attn_k_b.weight", AS_IN_MLX },                \
    { LAYER "self_attn.unembed_out.weight", BLOCK "attn_v_b.weight", AS_IN_MLX }

#define SHARED_EXPERTS                                                                   \
    { LAYER "mlp.shared_experts.gate_proj.weight", BLOCK "ffn_gate_shexp.weight", PLAIN }, \
    { LAYER "mlp.shared_experts.up_proj.weight", BLOCK "ffn_up_shexp.weight", PLAIN },   \
    { LAYER "mlp.shared_experts.down_proj.weight", BLOCK "ffn_down_shexp.weight", PLAIN }
#define ROUTER_BIAS { LAYER "mlp.gate.e_score_correction_bias", BLOCK "exp_probs_b.bias", PLAIN }

/* What a layer that predicts further tokens has beside the tensors of any layer. */
#define NEXTN                                                                            \
    { LAYER "eh_proj.weight", BLOCK "nextn.eh_proj.weight", PLAIN },                     \
    { LAYER "embed_tokens.weight", BLOCK "nextn.embed_tokens.weight", PLAIN },           \
    { LAYER "enorm.weight", BLOCK "nextn.enorm.weight", PLAIN },                         \
    { LAYER "hnorm.weight", BLOCK "nextn.hnorm.weight", PLAIN },                         \
    { LAYER "shared_head.head.weight", BLOCK "nextn.shared_head_head.weight", PLAIN },   \
    { LAYER "shared_head.norm.weight", BLOCK "nextn.shared_head_norm.weight", PLAIN }

/* --- config.json ------------------------------------------------------------------------------------------ */

/* KV_HEADS is the class's default. */
#define CONFIG_SIZES(kv_heads)                             \
    { NB_HP_LAYERS, "num_hidden_layers", NULL },           \
    { NB_HP_EMBEDDING, "hidden_size", NULL },              \
    { NB_HP_FEED_FORWARD, "intermediate_size", NULL },     \
    { NB_HP_HEADS, "num_attention_heads", NULL },          \
    { NB_HP_KV_HEADS, "num_key_value_heads", kv_heads }
/* A head's length where the class has an entry for it. */
#define CONFIG_HEAD_DIM(otherwise)                         \
    { NB_HP_KEY_LENGTH, "head_dim", otherwise },           \
    { NB_HP_VALUE_LENGTH, "head_dim", otherwise },         \
    { NB_HP_ROPE_DIMS, "head_dim", otherwise }
#define CONFIG_ROPE_BASE(otherwise) { NB_HP_ROPE_BASE, "rope_theta", otherwise }
/* Everything above but a head's length; the arguments are the class's defaults. */
#define CONFIG_BASE(kv_heads, context, rope_base)              \
    CONFIG_SIZES(kv_heads),                                    \
    { NB_HP_CONTEXT, "max_position_embeddings", context },     \
    CONFIG_ROPE_BASE(rope_base)
#define CONFIG_RMS_EPSILON(otherwise) { NB_HP_RMS_EPSILON, "rms_norm_eps", otherwise }
#define CONFIG_LAYER_NORM_EPSILON(otherwise) { NB_HP_NORM_EPSILON, "layer_norm_eps|layer_norm_epsilon|norm_eps", otherwise }
/* Where a head's length is not an entry: all heads together are as long as an embedding. */
#define CONFIG_NO_HEAD_DIM                                 \
    { NB_HP_KEY_LENGTH, "", "embedding // heads" },        \
    { NB_HP_VALUE_LENGTH, "", "embedding // heads" }
/* The rotated part of it. */
#define CONFIG_ROTARY_FACTOR(otherwise)                                     \
    { NB_HP_ROTARY_FACTOR, "partial_rotary_factor", otherwise },            \
    { NB_HP_ROPE_DIMS, "", "rotary_factor * embedding // heads" }
#define RULE_ROTARY_FACTOR { "rope.partial_rotary_factor", NB_CONFIG_IGNORED, NULL, NULL } /* read by the row above */
/* Layers that predict further tokens are counted with the others, as they are stored with them. After NB_HP_LAYERS. */
#define CONFIG_NEXTN                                       \
    { NB_HP_NEXTN_LAYERS, "num_nextn_predict_layers", "" }, \
    { NB_HP_LAYERS, "", "layers + nextn_layers" }

/* --- keys ------------------------------------------------------------------------------------------------- */

#define KEY(hparam) { NB_KEY_HPARAM, hparam, NULL }
#define KEY_IF_GIVEN(hparam) { NB_KEY_IF_GIVEN, hparam, NULL }
#define KEY_IF_SET(hparam) { NB_KEY_IF_SET, hparam, NULL }
#define WRITE(writer) { NB_KEY_WRITER, 0, writer }
/* HEAD_LENGTH is KEY or KEY_IF_GIVEN: some configuration classes compute a head_dim, which then counts as given. */
#define BASE_KEYS(head_length) BASE_SIZES, BASE_EXPERTS, BASE_END(head_length)
#define BASE_SIZES                                         \
    KEY(NB_HP_LAYERS),                                     \
    KEY(NB_HP_CONTEXT),                                    \
    KEY(NB_HP_EMBEDDING),                                  \
    KEY(NB_HP_FEED_FORWARD),                               \
    KEY(NB_HP_HEADS),                                      \
    KEY(NB_HP_KV_HEADS),                                   \
    WRITE(nb_write_rope_scaling),                          \
    KEY(NB_HP_ROPE_SECTIONS),                              \
    KEY(NB_HP_ROPE_BASE),                                  \
    KEY(NB_HP_ROPE_BASE_SWA),                              \
    KEY(NB_HP_RMS_EPSILON),                                \
    KEY(NB_HP_NORM_EPSILON)
#define BASE_EXPERTS                                       \
    KEY(NB_HP_EXPERTS),                                    \
    KEY(NB_HP_EXPERTS_USED),                               \
    BASE_ROUTING
#define BASE_ROUTING                                       \
    KEY(NB_HP_EXPERT_GROUPS),                              \
    KEY(NB_HP_EXPERT_GROUPS_USED),                         \
    KEY_IF_GIVEN(NB_HP_EXPERT_GATING)
#define BASE_END(head_length)                              \
    head_length(NB_HP_KEY_LENGTH),                         \
    head_length(NB_HP_VALUE_LENGTH),                       \
    WRITE(nb_write_file_type)

/* The special tokens of GLM from 4.5 on, which the reference finds by name (conversion/base.py, _set_vocab_glm). */
extern const struct nb_named_token nb_glm_tokens[];

/* A key writer: the pattern of sliding layers, only if there are windows. */
enum nb_status nb_write_window_pattern(const struct nb_conversion *conversion, struct nb_metadata *meta,
                                       struct nb_error *err);
/* The rotary base and context that HunYuan's dynamic scaling amounts to; USUAL_ALPHA if config.json has no alpha. */
enum nb_status nb_grow_rope_base(json_t *from, double usual_alpha, const char *name, struct nb_hparams *hp,
                                 struct nb_error *err) NB_MUST_CHECK;

/* For nb_family.derive: counts the layers before the first one that mlp_layer_types does not call "dense", and refuses a dense one
   after it. Nothing if it is no array. */
enum nb_status nb_derive_leading_dense(json_t *from, const char *name, struct nb_hparams *hp, struct nb_error *err);

/* --- the family ------------------------------------------------------------------------------------------- */

#define FAMILY(class_list, architecture, config_rows, rule_rows, key_rows, tensor_rows)       \
    .classes = class_list, .arch = &architecture,                                             \
    .config = config_rows, .n_config = COUNT(config_rows),                                    \
    .rules = rule_rows, .n_rules = COUNT(rule_rows),                                          \
    .keys = key_rows, .n_keys = COUNT(key_rows),                                              \
    .to_gguf = tensor_rows, .n_to_gguf = COUNT(tensor_rows)

#endif
