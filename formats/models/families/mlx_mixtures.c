/* MLX layouts of mixtures of experts with attention in every layer. */
#include "formats/models/families/mlx_rows.h"

static const struct nb_mlx_row mixtral[] = {
    BEGINNING, Q_K_V_O, MATRIX(LAYER "block_sparse_moe.gate"), EXPERTS_BY_NUMBER("block_sparse_moe."), NORMS, ENDING,
};
const struct nb_mlx_layout nb_mlx_mixtral = { LAYOUT(mixtral) };

static const struct nb_mlx_row olmoe[] = { BEGINNING, ATTENTION, MATRIX(LAYER "mlp.gate"), EXPERTS, NORMS, ENDING };
const struct nb_mlx_layout nb_mlx_olmoe = { LAYOUT(olmoe) };

static const struct nb_mlx_row qwen2_moe[] = {
    BEGINNING,
    Q_K_V_O,
    MATRIX(LAYER "mlp.gate"),
    EXPERTS,
    GATE_DOWN_UP_IN("mlp.shared_expert"),
    MATRIX(LAYER "mlp.shared_expert_gate"),
    NORMS,
    ENDING,
};
const struct nb_mlx_layout nb_mlx_qwen2_moe = { LAYOUT(qwen2_moe) };

static const struct nb_mlx_row qwen3_moe[] = {
    BEGINNING, ATTENTION, NORMS, EIGHT(LAYER "mlp.gate"), EXPERTS, GATE_DOWN_UP, ENDING,
};
const struct nb_mlx_layout nb_mlx_qwen3_moe = { LAYOUT(qwen3_moe) };

static const struct nb_mlx_row minimax[] = {
    BEGINNING,
    ATTENTION,
    EIGHT(LAYER "block_sparse_moe.gate"),
    EXPERTS_BY_NUMBER("block_sparse_moe."),
    AS_STORED(LAYER "block_sparse_moe.e_score_correction_bias"),
    NORMS,
    ENDING,
};
const struct nb_mlx_layout nb_mlx_minimax = { LAYOUT(minimax) };

static const struct nb_mlx_row bailing_moe[] = {
    MATRIX("model.word_embeddings"),
    MATRIX(LAYER "attention.query_key_value"),
    MATRIX(LAYER "attention.dense"),
    NORM(LAYER "attention.key_layernorm"),
    NORM(LAYER "attention.query_layernorm"),
    EXPERTS,
    EIGHT_FROM(LAYER "mlp.gate.gate_proj", LAYER "mlp.gate"),
    AS_STORED(LAYER "mlp.gate.expert_bias"),
    GATE_DOWN_UP_IN("mlp.shared_experts"),
    GATE_DOWN_UP,
    NORMS,
    ENDING,
};
const struct nb_mlx_layout nb_mlx_bailing_moe = { LAYOUT(bailing_moe) };

static const struct nb_mlx_row afmoe[] = {
    BEGINNING,
    ATTENTION,
    MATRIX(LAYER "self_attn.gate_proj"),
    EIGHT(LAYER "mlp.router.gate"),
    AS_STORED(LAYER "mlp.expert_bias"),
    EXPERTS_IN("mlp.", "experts"),
    GATE_DOWN_UP_IN("mlp.shared_experts"),
    GATE_DOWN_UP,
    NORMS,
    NORM(LAYER "pre_mlp_layernorm"),
    NORM(LAYER "post_mlp_layernorm"),
    ENDING,
};
const struct nb_mlx_layout nb_mlx_afmoe = { LAYOUT(afmoe) };

#define SPARSE LAYER "block_sparse_moe."

static const struct nb_mlx_row granite_moe[] = {
    BEGINNING,
    Q_K_V,
    EIGHT(LAYER "self_attn.o_proj"),
    NORM(LAYER "input_layernorm"),
    PART_OF_EXPERTS(SPARSE "switch_mlp.gate_proj", SPARSE "input_linear", true, "0", "feed_forward"),
    PART_OF_EXPERTS(SPARSE "switch_mlp.up_proj", SPARSE "input_linear", true, "feed_forward", "feed_forward"),
    MATRIX_FROM(SPARSE "switch_mlp.down_proj", SPARSE "output_linear"),
    EIGHT(SPARSE "router.layer"),
    NORM(LAYER "post_attention_layernorm"),
    ENDING,
};
const struct nb_mlx_layout nb_mlx_granite_moe = { LAYOUT(granite_moe) };

#define ROUTED LAYER "feed_forward."
/* clang-format off */
/* In a checkpoint the matrices of the experts are turned, and gates and what they gate stand side by side. */
#define COLUMNS_OF_EXPERTS(name, first) \
    { .module = ROUTED "experts." name, .kind = NB_MLX_MATRIX, .from = ROUTED "experts.gate_up_proj", \
      .without_suffix = true, .dim = { "embedding", "expert_feed_forward", "experts" }, \
      .op = { { NB_MAP_CUT_COLUMNS, { first, "expert_feed_forward" } }, { NB_MAP_TRANSPOSE, { NULL } } } }
#define TURNED_EXPERTS(name) \
    { .module = ROUTED "experts." name, .kind = NB_MLX_MATRIX, .from = ROUTED "experts." name, \
      .without_suffix = true, .op = { { NB_MAP_TRANSPOSE, { NULL } } } }
/* clang-format on */

static const struct nb_mlx_row llama4[] = {
    BEGINNING,
    Q_K_V_O,
    COLUMNS_OF_EXPERTS("gate_proj", "0"),
    COLUMNS_OF_EXPERTS("up_proj", "expert_feed_forward"),
    TURNED_EXPERTS("down_proj"),
    MATRIX(ROUTED "router"),
    GATE_DOWN_UP_IN("feed_forward.shared_expert"),
    GATE_DOWN_UP_IN("feed_forward"),
    NORMS,
    ENDING,
};
const struct nb_mlx_layout nb_mlx_llama4 = { LAYOUT(llama4), .place = NB_MLX_IN_LANGUAGE_MODEL };

/* clang-format off */
/* Rows FIRST, FIRST + N... of each expert, which are packed in a checkpoint as in MLX. */
#define PACKED(name, stored, first, n) \
    { .module = LAYER "mlp.experts." name, .kind = NB_MLX_PACKED, .from = LAYER "mlp.experts." stored, \
      .op = { { NB_MAP_EVERY, { first, n } } } }
/* clang-format on */

static const struct nb_mlx_row gpt_oss[] = {
    BEGINNING,
    NORM("model.norm"),
    PARAMETER(LAYER "self_attn.sinks"),
    Q_K_V_O,
    PACKED("gate_proj", "gate_up_proj", "0", "2"),
    PACKED("up_proj", "gate_up_proj", "1", "2"),
    PACKED("down_proj", "down_proj", "0", "1"),
    EIGHT(LAYER "mlp.router"),
    NORMS,
    MATRIX("lm_head"),
};
const struct nb_mlx_layout nb_mlx_gpt_oss = { LAYOUT(gpt_oss), .all_named = true };

/* --- DeepSeek's and what is like it ------------------------------------------------------------------------- */

/* The router's matrix is an array of its module, which is never quantized. */
#define ROUTER(bias) NORM(LAYER "mlp.gate"), bias(LAYER "mlp.gate.e_score_correction_bias")
#define SHARED_AND_DENSE GATE_UP_DOWN_IN("mlp.shared_experts"), GATE_UP_DOWN

static const struct nb_mlx_row deepseek[] = {
    BEGINNING, Q_K_V_O, EXPERTS, NORM(LAYER "mlp.gate"), SHARED_AND_DENSE, NORMS, ENDING,
};
const struct nb_mlx_layout nb_mlx_deepseek = { LAYOUT(deepseek) };

static const struct nb_mlx_row dots1[] = {
    BEGINNING, ATTENTION, EXPERTS_IN("mlp.", "experts"), ROUTER(PARAMETER), SHARED_AND_DENSE, NORMS, ENDING,
};
const struct nb_mlx_layout nb_mlx_dots1 = { LAYOUT(dots1) };

static const struct nb_mlx_row glm4_moe[] = {
    BEGINNING, ATTENTION, EXPERTS, ROUTER(AS_STORED), SHARED_AND_DENSE, NORMS, ENDING,
};
const struct nb_mlx_layout nb_mlx_glm4_moe = { LAYOUT(glm4_moe) };

#define QUERY                               \
    MATRIX(LAYER "self_attn.q_proj"),       \
    MATRIX(LAYER "self_attn.q_a_proj"),     \
    NORM(LAYER "self_attn.q_a_layernorm"),  \
    MATRIX(LAYER "self_attn.q_b_proj"),     \
    MATRIX(LAYER "self_attn.kv_a_proj_with_mqa"), \
    NORM(LAYER "self_attn.kv_a_layernorm")

/* clang-format off */
/* The two parts of kv_b_proj, by head: keys, turned, take a query to the compressed space; values come from there. */
#define UNROTATED "key_length_mla - rope_dims"
#define KEYS_AND_VALUES                                                                              \
    { .module = LAYER "self_attn.embed_q", .kind = NB_MLX_MATRIX, .from = LAYER "self_attn.kv_b_proj", \
      .dim = { UNROTATED, "kv_lora_rank", "heads" },                                                 \
      .op = { { NB_MAP_CUT_GROUPS, { "heads", "0", UNROTATED } }, { NB_MAP_TRANSPOSE, { NULL } } } }, \
    CUT_FROM(LAYER "self_attn.unembed_out", LAYER "self_attn.kv_b_proj", "kv_lora_rank", "heads", UNROTATED, \
             "value_length_mla")
/* clang-format on */

static const struct nb_mlx_row deepseek_v2[] = {
    BEGINNING,
    QUERY,
    MATRIX(LAYER "self_attn.kv_b_proj"),
    MATRIX(LAYER "self_attn.o_proj"),
    EXPERTS,
    NORM(LAYER "mlp.gate"),
    SHARED_AND_DENSE,
    NORMS,
    ENDING,
};
const struct nb_mlx_layout nb_mlx_deepseek_v2 = { LAYOUT(deepseek_v2) };

static const struct nb_mlx_row deepseek_v3[] = {
    BEGINNING,
    QUERY,
    KEYS_AND_VALUES,
    MATRIX(LAYER "self_attn.o_proj"),
    MATRIX(LAYER "self_attn.indexer.wq_b"),
    MATRIX(LAYER "self_attn.indexer.wk"),
    NORM(LAYER "self_attn.indexer.k_norm"),
    MATRIX(LAYER "self_attn.indexer.weights_proj"),
    EXPERTS,
    ROUTER(AS_STORED),
    SHARED_AND_DENSE,
    NORMS,
    ENDING,
};
const struct nb_mlx_layout nb_mlx_deepseek_v3 = { LAYOUT(deepseek_v3) };
