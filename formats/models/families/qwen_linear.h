/* Rows of the families of Qwen with layers of linear attention, from Qwen3-Next on. */
#ifndef NB_FAMILY_QWEN_LINEAR_H
#define NB_FAMILY_QWEN_LINEAR_H

#include "formats/models/families/rows.h"

#define MINUS_EXP { NB_MAP_NEGATE_EXP, { NULL } }

/* The experts are stored one by one, or together: a checkpoint that is written back has them as the first rows do. */
#define MIXTURE_ROWS EXPERTS, EXPERTS_TOGETHER, SHARED_EXPERT
#define MIXTURE_ROWS_TOGETHER EXPERTS_TOGETHER, EXPERTS, SHARED_EXPERT
#define EXPERTS_TOGETHER                                                                                    \
    { LAYER "mlp.experts.down_proj", BLOCK "ffn_down_exps.weight", PLAIN },                                 \
    { LAYER "mlp.experts.gate_up_proj", BLOCK "ffn_gate_exps.weight",                                       \
      { { NB_MAP_CUT_GROUPS, { "experts", "0", "expert_feed_forward" } } } },                               \
    { LAYER "mlp.experts.gate_up_proj", BLOCK "ffn_up_exps.weight",                                         \
      { { NB_MAP_CUT_GROUPS, { "experts", "expert_feed_forward", "expert_feed_forward" } } } }
#define SHARED_EXPERT                                                                                       \
    { LAYER "mlp.shared_expert_gate.weight", BLOCK "ffn_gate_inp_shexp.weight", PLAIN },                    \
    { LAYER "mlp.shared_expert.gate_proj.weight", BLOCK "ffn_gate_shexp.weight", PLAIN },                   \
    { LAYER "mlp.shared_expert.up_proj.weight", BLOCK "ffn_up_shexp.weight", PLAIN },                       \
    { LAYER "mlp.shared_expert.down_proj.weight", BLOCK "ffn_down_shexp.weight", PLAIN }

/* The value heads that share a key head stand together; llama.cpp wants the first one of each key, then the second ... */
#define SHARED "ssm_rank // ssm_groups"
#define TILED { NB_MAP_SWAP_FROM, { "0", "ssm_groups", SHARED } }
#define TILED_VALUES { { NB_MAP_SWAP_FROM, { "2 * ssm_state * ssm_groups", "ssm_groups", SHARED } } }
#define LINEAR_ROWS                                                                                          \
    { LAYER "linear_attn.in_proj_qkv.weight", BLOCK "attn_qkv.weight", TILED_VALUES },                       \
    { LAYER "linear_attn.in_proj_z.weight", BLOCK "attn_gate.weight", { TILED } },                           \
    { LAYER "linear_attn.in_proj_a.weight", BLOCK "ssm_alpha.weight", { TILED } },                           \
    { LAYER "linear_attn.in_proj_b.weight", BLOCK "ssm_beta.weight", { TILED } },                            \
    { LAYER "linear_attn.conv1d.weight", BLOCK "ssm_conv1d.weight",                                          \
      { { NB_MAP_SIDES, { "r1c" } }, { NB_MAP_SWAP_FROM, { "2 * ssm_state * ssm_groups", "ssm_groups", SHARED } } } }, \
    { LAYER "linear_attn.A_log", BLOCK "ssm_a", { TILED, MINUS_EXP } },                                      \
    { LAYER "linear_attn.dt_bias", BLOCK "ssm_dt.bias", { TILED } },                                         \
    { LAYER "linear_attn.out_proj.weight", BLOCK "ssm_out.weight",                                           \
      { { NB_MAP_SWAP_COLUMNS, { "ssm_groups", SHARED, "ssm_inner // ssm_rank" } } } }

#define LINEAR_CONFIG(conv, keys, key_length, values, value_length)          \
    { NB_HP_SSM_CONV, "linear_conv_kernel_dim", conv },                      \
    { NB_HP_SSM_STATE, "linear_key_head_dim", key_length },                  \
    { NB_HP_SSM_GROUPS, "linear_num_key_heads", keys },                      \
    { NB_HP_SSM_RANK, "linear_num_value_heads", values },                    \
    { NB_HP_LINEAR_VALUE_LENGTH, "linear_value_head_dim", value_length },    \
    { NB_HP_SSM_INNER, "", "linear_value_length * ssm_rank" },               \
    { NB_HP_FULL_INTERVAL, "full_attention_interval", "4" },                 \
    { NB_HP_RECURRENT_LAYERS, "layer_types=linear_attention", "(layer + 1) % full_interval != 0" }, \
    { NB_HP_ROTARY_FACTOR, "partial_rotary_factor", "0.25" },                \
    { NB_HP_ROPE_DIMS, "", "key_length * rotary_factor // 1" }

#define LINEAR_KEYS(recurrent)                \
    BASE_KEYS(KEY),                    \
    KEY(NB_HP_EXPERT_FEED_FORWARD),    \
    KEY(NB_HP_SHARED_FEED_FORWARD),    \
    KEY(NB_HP_NEXTN_LAYERS),           \
    KEY(NB_HP_SSM_CONV),               \
    KEY(NB_HP_SSM_STATE),              \
    KEY(NB_HP_SSM_GROUPS),             \
    KEY(NB_HP_SSM_RANK),               \
    KEY(NB_HP_SSM_INNER),              \
    recurrent(NB_HP_RECURRENT_LAYERS), \
    KEY(NB_HP_FULL_INTERVAL),          \
    KEY(NB_HP_ROPE_DIMS)

/* A key writer: where config.json has no sections of rotary positions, those of every published model. */
enum nb_status nb_write_usual_sections(const struct nb_conversion *conversion, struct nb_metadata *meta,
                                       struct nb_error *err);

#endif
