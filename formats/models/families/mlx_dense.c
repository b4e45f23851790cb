/* MLX layouts of dense models with attention in every layer. */
#include "formats/models/families/mlx_rows.h"

static const struct nb_mlx_row llama[] = { BEGINNING, ATTENTION, GATE_DOWN_UP, NORMS, ENDING };
const struct nb_mlx_layout nb_mlx_llama = { LAYOUT(llama) };

static const struct nb_mlx_row granite[] = {
    BEGINNING,
    Q_K_V,
    EIGHT(LAYER "self_attn.o_proj"),
    MATRIX(LAYER "mlp.gate_proj"),
    EIGHT(LAYER "mlp.down_proj"),
    MATRIX(LAYER "mlp.up_proj"),
    NORMS,
    NORM("model.norm"),
    EIGHT("lm_head"),
};
const struct nb_mlx_layout nb_mlx_granite = { LAYOUT(granite) };

static const struct nb_mlx_row minicpm[] = { BEGINNING, ATTENTION, GATE_UP_DOWN, NORMS, ENDING };
const struct nb_mlx_layout nb_mlx_minicpm = { LAYOUT(minicpm) };

static const struct nb_mlx_row cohere[] = { BEGINNING,    ATTENTION,           GATE_UP_DOWN,
                                            NORM(LAYER "input_layernorm"), NORM("model.norm") };
const struct nb_mlx_layout nb_mlx_cohere = { LAYOUT(cohere) };

static const struct nb_mlx_row olmo2[] = {
    BEGINNING,
    ATTENTION,
    GATE_DOWN_UP,
    NORM(LAYER "post_attention_layernorm"),
    NORM(LAYER "post_feedforward_layernorm"),
    ENDING,
};
const struct nb_mlx_layout nb_mlx_olmo2 = { LAYOUT(olmo2) };

static const struct nb_mlx_row glm4[] = {
    BEGINNING,
    Q_K_V_O,
    MATRIX(LAYER "mlp.gate_up_proj"),
    MATRIX(LAYER "mlp.down_proj"),
    NORMS,
    NORM(LAYER "post_self_attn_layernorm"),
    NORM(LAYER "post_mlp_layernorm"),
    ENDING,
};
const struct nb_mlx_layout nb_mlx_glm4 = { LAYOUT(glm4) };

static const struct nb_mlx_row phi3[] = {
    BEGINNING,
    MATRIX(LAYER "self_attn.qkv_proj"),
    MATRIX(LAYER "self_attn.o_proj"),
    MATRIX(LAYER "mlp.gate_up_proj"),
    MATRIX(LAYER "mlp.down_proj"),
    NORMS,
    ENDING,
};
const struct nb_mlx_layout nb_mlx_phi3 = { LAYOUT(phi3) };

static const struct nb_mlx_row phi2[] = {
    BEGINNING,
    Q_K_V,
    MATRIX(LAYER "self_attn.dense"),
    NORM(LAYER "input_layernorm"),
    MATRIX(LAYER "mlp.fc1"),
    MATRIX(LAYER "mlp.fc2"),
    NORM("model.final_layernorm"),
    MATRIX("lm_head"),
};
const struct nb_mlx_layout nb_mlx_phi2 = { LAYOUT(phi2) };

static const struct nb_mlx_row hunyuan[] = {
    BEGINNING, Q_K_V_O,      NORM(LAYER "self_attn.query_layernorm"), NORM(LAYER "self_attn.key_layernorm"),
    GATE_DOWN_UP, NORMS, ENDING,
};
const struct nb_mlx_layout nb_mlx_hunyuan = { LAYOUT(hunyuan) };

static const struct nb_mlx_row nemotron[] = {
    BEGINNING, Q_K_V_O, MATRIX(LAYER "mlp.down_proj"), MATRIX(LAYER "mlp.up_proj"), NORMS, ENDING,
};
const struct nb_mlx_layout nb_mlx_nemotron = { LAYOUT(nemotron) };

static const struct nb_mlx_row starcoder2[] = {
    BEGINNING, Q_K_V_O, MATRIX(LAYER "mlp.c_fc"), MATRIX(LAYER "mlp.c_proj"), NORMS, ENDING,
};
const struct nb_mlx_layout nb_mlx_starcoder2 = { LAYOUT(starcoder2) };

static const struct nb_mlx_row minicpm3[] = {
    BEGINNING,
    MATRIX(LAYER "self_attn.q_a_proj"),
    NORM(LAYER "self_attn.q_a_layernorm"),
    MATRIX(LAYER "self_attn.q_b_proj"),
    MATRIX(LAYER "self_attn.kv_a_proj_with_mqa"),
    NORM(LAYER "self_attn.kv_a_layernorm"),
    MATRIX(LAYER "self_attn.kv_b_proj"),
    MATRIX(LAYER "self_attn.o_proj"),
    GATE_UP_DOWN,
    NORMS,
    ENDING,
};
const struct nb_mlx_layout nb_mlx_minicpm3 = { LAYOUT(minicpm3) };

static const struct nb_mlx_row internlm2[] = {
    MATRIX("model.tok_embeddings"),
    MATRIX(LAYER "attention.wqkv"),
    MATRIX(LAYER "attention.wo"),
    MATRIX(LAYER "feed_forward.w1"),
    MATRIX(LAYER "feed_forward.w2"),
    MATRIX(LAYER "feed_forward.w3"),
    NORM(LAYER "attention_norm"),
    NORM(LAYER "ffn_norm"),
    NORM("model.norm"),
    MATRIX("output"),
};
const struct nb_mlx_layout nb_mlx_internlm2 = { LAYOUT(internlm2) };

#define EXAONE "transformer.h.%l."

static const struct nb_mlx_row exaone[] = {
    MATRIX("transformer.wte"),
    NORM(EXAONE "ln_1"),
    MATRIX(EXAONE "attn.attention.q_proj"),
    MATRIX(EXAONE "attn.attention.k_proj"),
    MATRIX(EXAONE "attn.attention.v_proj"),
    MATRIX(EXAONE "attn.attention.out_proj"),
    NORM(EXAONE "ln_2"),
    MATRIX(EXAONE "mlp.c_fc_0"),
    MATRIX(EXAONE "mlp.c_fc_1"),
    MATRIX(EXAONE "mlp.c_proj"),
    NORM("transformer.ln_f"),
    MATRIX("lm_head"),
};
const struct nb_mlx_layout nb_mlx_exaone = { LAYOUT(exaone) };

/* clang-format off */
#define SCALAR(name) { .module = name, .kind = NB_MLX_PARAMETER, .scalar = true }
/* clang-format on */

static const struct nb_mlx_row apertus[] = {
    BEGINNING,
    ATTENTION,
    MATRIX(LAYER "mlp.up_proj"),
    MATRIX(LAYER "mlp.down_proj"),
    SCALAR(LAYER "mlp.act_fn.alpha_p"),
    SCALAR(LAYER "mlp.act_fn.alpha_n"),
    SCALAR(LAYER "mlp.act_fn.beta"),
    SCALAR(LAYER "mlp.act_fn.eps"),
    NORM(LAYER "attention_layernorm"),
    NORM(LAYER "feedforward_layernorm"),
    ENDING,
};
const struct nb_mlx_layout nb_mlx_apertus = { LAYOUT(apertus) };

/* --- GPT-2's and what is like it ------------------------------------------------------------------------------ */

/* clang-format off */
#define TURNED(name, stored) \
    { .module = name, .kind = NB_MLX_MATRIX, .from = stored, .op = { { NB_MAP_TRANSPOSE, { NULL } } } }
/* clang-format on */
#define GPT2 "model.h.%l."

static const struct nb_mlx_row gpt2[] = {
    MATRIX_FROM("model.wte", "wte"),
    MATRIX_FROM("model.wpe", "wpe"),
    TURNED(GPT2 "attn.c_attn", "h.%l.attn.c_attn"),
    TURNED(GPT2 "attn.c_proj", "h.%l.attn.c_proj"),
    TURNED(GPT2 "mlp.c_fc", "h.%l.mlp.c_fc"),
    TURNED(GPT2 "mlp.c_proj", "h.%l.mlp.c_proj"),
    NORM_FROM(GPT2 "ln_1", "h.%l.ln_1"),
    NORM_FROM(GPT2 "ln_2", "h.%l.ln_2"),
    NORM_FROM("model.ln_f", "ln_f"),
};
const struct nb_mlx_layout nb_mlx_gpt2 = { LAYOUT(gpt2) };

#define BIGCODE "transformer.h.%l."

static const struct nb_mlx_row gpt_bigcode[] = {
    MATRIX("transformer.wte"),
    MATRIX("transformer.wpe"),
    MATRIX(BIGCODE "attn.c_attn"),
    MATRIX(BIGCODE "attn.c_proj"),
    MATRIX(BIGCODE "mlp.c_fc"),
    MATRIX(BIGCODE "mlp.c_proj"),
    NORM(BIGCODE "ln_1"),
    NORM(BIGCODE "ln_2"),
    NORM("transformer.ln_f"),
};
const struct nb_mlx_layout nb_mlx_gpt_bigcode = { LAYOUT(gpt_bigcode) };

#define NEOX "gpt_neox.layers.%l."

static const struct nb_mlx_row gpt_neox[] = {
    MATRIX_FROM("model.embed_in", "gpt_neox.embed_in"),
    MATRIX_FROM("model.embed_out", "embed_out"),
    MATRIX_FROM(GPT2 "attention.query_key_value", NEOX "attention.query_key_value"),
    MATRIX_FROM(GPT2 "attention.dense", NEOX "attention.dense"),
    MATRIX_FROM(GPT2 "mlp.dense_h_to_4h", NEOX "mlp.dense_h_to_4h"),
    MATRIX_FROM(GPT2 "mlp.dense_4h_to_h", NEOX "mlp.dense_4h_to_h"),
    NORM_FROM(GPT2 "input_layernorm", NEOX "input_layernorm"),
    NORM_FROM(GPT2 "post_attention_layernorm", NEOX "post_attention_layernorm"),
    NORM_FROM("model.final_layer_norm", "gpt_neox.final_layer_norm"),
};
const struct nb_mlx_layout nb_mlx_gpt_neox = { LAYOUT(gpt_neox) };
