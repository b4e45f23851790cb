/* MLX layouts of models with recurrent layers, and of those that mix them with attention. */
#include "formats/models/families/mlx_rows.h"

#define MIXER "backbone.layers.%l.mixer."

static const struct nb_mlx_row mamba[] = {
    MATRIX("backbone.embeddings"),
    MATRIX(MIXER "in_proj"),
    CONVOLUTION(MIXER "conv1d"),
    MATRIX(MIXER "x_proj"),
    MATRIX(MIXER "dt_proj"),
    PARAMETER(MIXER "A_log"),
    PARAMETER(MIXER "D"),
    MATRIX(MIXER "out_proj"),
    NORM("backbone.layers.%l.norm"),
    NORM("backbone.norm_f"),
    MATRIX("lm_head"),
};
const struct nb_mlx_layout nb_mlx_mamba = { LAYOUT(mamba) };

static const struct nb_mlx_row nemotron_h[] = {
    MATRIX("backbone.embeddings"),
    NORM("backbone.layers.%l.norm"),
    MATRIX(MIXER "q_proj"),
    MATRIX(MIXER "k_proj"),
    MATRIX(MIXER "v_proj"),
    MATRIX(MIXER "o_proj"),
    MATRIX(MIXER "up_proj"),
    MATRIX(MIXER "down_proj"),
    CONVOLUTION(MIXER "conv1d"),
    MATRIX(MIXER "in_proj"),
    PARAMETER(MIXER "dt_bias"),
    PARAMETER(MIXER "A_log"),
    PARAMETER(MIXER "D"),
    NORM(MIXER "norm"),
    MATRIX(MIXER "out_proj"),
    NORM("backbone.norm_f"),
    MATRIX("lm_head"),
};
const struct nb_mlx_layout nb_mlx_nemotron_h = { LAYOUT(nemotron_h) };

#define MAMBA LAYER "mamba."
#define MAMBA_2                          \
    CONVOLUTION(MAMBA "conv1d"),         \
    MATRIX(MAMBA "in_proj"),             \
    PARAMETER(MAMBA "dt_bias"),          \
    PARAMETER(MAMBA "A_log"),            \
    PARAMETER(MAMBA "D"),                \
    NORM(MAMBA "norm"),                  \
    MATRIX(MAMBA "out_proj")

#define SPARSE LAYER "block_sparse_moe."

static const struct nb_mlx_row granite_hybrid[] = {
    BEGINNING,
    NORM(LAYER "input_layernorm"),
    Q_K_V_O,
    MAMBA_2,
    MATRIX(LAYER "shared_mlp.input_linear"),
    MATRIX(LAYER "shared_mlp.output_linear"),
    PART_OF_EXPERTS(SPARSE "switch_mlp.gate_proj", SPARSE "input_linear", true, "0", "feed_forward"),
    PART_OF_EXPERTS(SPARSE "switch_mlp.up_proj", SPARSE "input_linear", true, "feed_forward", "feed_forward"),
    MATRIX_FROM(SPARSE "switch_mlp.down_proj", SPARSE "output_linear"),
    EIGHT(SPARSE "router.layer"),
    NORM(LAYER "post_attention_layernorm"),
    ENDING,
};
const struct nb_mlx_layout nb_mlx_granite_hybrid = { LAYOUT(granite_hybrid) };

static const struct nb_mlx_row jamba[] = {
    BEGINNING,
    Q_K_V_O,
    MATRIX(MAMBA "in_proj"),
    CONVOLUTION(MAMBA "conv1d"),
    MATRIX(MAMBA "x_proj"),
    MATRIX(MAMBA "dt_proj"),
    PARAMETER(MAMBA "A_log"),
    PARAMETER(MAMBA "D"),
    MATRIX(MAMBA "out_proj"),
    NORM(MAMBA "dt_layernorm"),
    NORM(MAMBA "b_layernorm"),
    NORM(MAMBA "c_layernorm"),
    EIGHT(LAYER "feed_forward.router"),
    EXPERTS_IN("feed_forward.", "switch_mlp"),
    GATE_UP_DOWN_IN("feed_forward"),
    NORM(LAYER "input_layernorm"),
    NORM(LAYER "pre_ff_layernorm"),
    NORM("model.final_layernorm"),
    MATRIX("lm_head"),
};
const struct nb_mlx_layout nb_mlx_jamba = { LAYOUT(jamba) };

static const struct nb_mlx_row lfm2[] = {
    BEGINNING,
    NORM(LAYER "self_attn.q_layernorm"),
    NORM(LAYER "self_attn.k_layernorm"),
    Q_K_V,
    MATRIX(LAYER "self_attn.out_proj"),
    CONVOLUTION(LAYER "conv.conv"),
    MATRIX(LAYER "conv.in_proj"),
    MATRIX(LAYER "conv.out_proj"),
    MATRIX(LAYER "feed_forward.w1"),
    MATRIX(LAYER "feed_forward.w3"),
    MATRIX(LAYER "feed_forward.w2"),
    NORM(LAYER "operator_norm"),
    NORM(LAYER "ffn_norm"),
    NORM("model.embedding_norm"),
};
const struct nb_mlx_layout nb_mlx_lfm2 = { LAYOUT(lfm2) };

/* --- delta nets ----------------------------------------------------------------------------------------------- */

#define DELTA LAYER "linear_attn."
#define ATTENTION_PLUS_ONE \
    Q_K_V_O, NORM_PLUS_ONE(LAYER "self_attn.q_norm"), NORM_PLUS_ONE(LAYER "self_attn.k_norm")
#define NORMS_PLUS_ONE NORM_PLUS_ONE(LAYER "input_layernorm"), NORM_PLUS_ONE(LAYER "post_attention_layernorm")
#define DELTA_REST(a) PARAMETER(DELTA "dt_bias"), a(DELTA "A_log"), NORM(DELTA "norm"), MATRIX(DELTA "out_proj")
#define SHARED_EXPERT GATE_DOWN_UP_IN("mlp.shared_expert"), EIGHT(LAYER "mlp.shared_expert_gate")

static const struct nb_mlx_row qwen3_next[] = {
    BEGINNING,
    ATTENTION_PLUS_ONE,
    CONVOLUTION(DELTA "conv1d"),
    MATRIX(DELTA "in_proj_qkvz"),
    MATRIX(DELTA "in_proj_ba"),
    DELTA_REST(PARAMETER),
    NORMS_PLUS_ONE,
    EIGHT(LAYER "mlp.gate"),
    EXPERTS,
    SHARED_EXPERT,
    NORM_PLUS_ONE("model.norm"),
    MATRIX("lm_head"),
};
const struct nb_mlx_layout nb_mlx_qwen3_next = { LAYOUT(qwen3_next) };

#define QWEN3_5                      \
    BEGINNING,                       \
    ATTENTION_PLUS_ONE,              \
    CONVOLUTION(DELTA "conv1d"),     \
    MATRIX(DELTA "in_proj_qkv"),     \
    MATRIX(DELTA "in_proj_z"),       \
    MATRIX(DELTA "in_proj_b"),       \
    MATRIX(DELTA "in_proj_a"),       \
    DELTA_REST(AS_STORED),           \
    NORMS_PLUS_ONE

static const struct nb_mlx_row qwen3_5[] = { QWEN3_5, GATE_DOWN_UP, NORM_PLUS_ONE("model.norm"), MATRIX("lm_head") };
const struct nb_mlx_layout nb_mlx_qwen3_5 = { LAYOUT(qwen3_5), .place = NB_MLX_IN_LANGUAGE_MODEL };


/* Experts may be stored in stacks, as MLX has them but for gates and what they gate, or one by one. */
#define SWITCH LAYER "mlp.switch_mlp."
#define STACKED LAYER "mlp.experts."

static const struct nb_mlx_row qwen3_5_moe[] = {
    QWEN3_5,
    EIGHT(LAYER "mlp.gate"),
    PART_OF_EXPERTS(SWITCH "gate_proj", STACKED "gate_up_proj", false, "0", "expert_feed_forward"),
    MATRIX_FROM(SWITCH "gate_proj", STACKED "%e.gate_proj"),
    PART_OF_EXPERTS(SWITCH "up_proj", STACKED "gate_up_proj", false, "expert_feed_forward", "expert_feed_forward"),
    MATRIX_FROM(SWITCH "up_proj", STACKED "%e.up_proj"),
    BARE_FROM(SWITCH "down_proj", STACKED "down_proj"),
    MATRIX_FROM(SWITCH "down_proj", STACKED "%e.down_proj"),
    SHARED_EXPERT,
    NORM_PLUS_ONE("model.norm"),
    MATRIX("lm_head"),
};
const struct nb_mlx_layout nb_mlx_qwen3_5_moe = { LAYOUT(qwen3_5_moe), .place = NB_MLX_IN_LANGUAGE_MODEL };

/* --- Kimi Linear ---------------------------------------------------------------------------------------------- */

#define ATTN LAYER "self_attn."
#define UNROTATED "key_length_mla - rope_dims"
/* clang-format off */
#define KEYS_AND_VALUES                                                                              \
    { .module = ATTN "embed_q", .kind = NB_MLX_MATRIX, .from = ATTN "kv_b_proj",                     \
      .dim = { UNROTATED, "kv_lora_rank", "heads" },                                                 \
      .op = { { NB_MAP_CUT_GROUPS, { "heads", "0", UNROTATED } }, { NB_MAP_TRANSPOSE, { NULL } } } }, \
    CUT_FROM(ATTN "unembed_out", ATTN "kv_b_proj", "kv_lora_rank", "heads", UNROTATED, "value_length_mla")
/* clang-format on */

static const struct nb_mlx_row kimi_linear[] = {
    BEGINNING,
    MATRIX(ATTN "q_proj"),
    MATRIX(ATTN "kv_a_proj_with_mqa"),
    NORM(ATTN "kv_a_layernorm"),
    KEYS_AND_VALUES,
    MATRIX(ATTN "k_proj"),
    MATRIX(ATTN "v_proj"),
    CONVOLUTION_FROM(ATTN "q_conv.conv", ATTN "q_conv1d"),
    CONVOLUTION_FROM(ATTN "k_conv.conv", ATTN "k_conv1d"),
    CONVOLUTION_FROM(ATTN "v_conv.conv", ATTN "v_conv1d"),
    MATRIX(ATTN "f_a_proj"),
    MATRIX(ATTN "f_b_proj"),
    MATRIX(ATTN "b_proj"),
    MATRIX(ATTN "g_a_proj"),
    MATRIX(ATTN "g_b_proj"),
    AS_STORED(ATTN "A_log"),
    AS_STORED(ATTN "dt_bias"),
    NORM(ATTN "o_norm"),
    MATRIX(ATTN "o_proj"),
    EIGHT_FROM(LAYER "mlp.gate", SPARSE "gate"),
    MATRIX_FROM(LAYER "mlp.switch_mlp.gate_proj", SPARSE "experts.%e.w1"),
    MATRIX_FROM(LAYER "mlp.switch_mlp.up_proj", SPARSE "experts.%e.w3"),
    MATRIX_FROM(LAYER "mlp.switch_mlp.down_proj", SPARSE "experts.%e.w2"),
    AS_STORED_FROM(LAYER "mlp.e_score_correction_bias", SPARSE "gate.e_score_correction_bias"),
    MATRIX_FROM(LAYER "mlp.shared_experts.gate_proj", SPARSE "shared_experts.gate_proj"),
    MATRIX_FROM(LAYER "mlp.shared_experts.up_proj", SPARSE "shared_experts.up_proj"),
    MATRIX_FROM(LAYER "mlp.shared_experts.down_proj", SPARSE "shared_experts.down_proj"),
    GATE_UP_DOWN,
    NORMS,
    ENDING,
};
const struct nb_mlx_layout nb_mlx_kimi_linear = { LAYOUT(kimi_linear) };
