/* MLX layouts of the Gemma models. Their output matrix is the embedding. */
#include "formats/models/families/mlx_rows.h"

#define EXPERT "expert_feed_forward"
#define FEED_FORWARD_NORMS NORM(LAYER "pre_feedforward_layernorm"), NORM(LAYER "post_feedforward_layernorm")

static const struct nb_mlx_row gemma2[] = {
    BEGINNING,
    Q_K_V_O,
    GATE_DOWN_UP,
    NORM(LAYER "input_layernorm"),
    FEED_FORWARD_NORMS,
    NORM(LAYER "post_attention_layernorm"),
    NORM("model.norm"),
};
const struct nb_mlx_layout nb_mlx_gemma2 = { LAYOUT(gemma2) };

static const struct nb_mlx_row gemma3[] = {
    BEGINNING, ATTENTION, GATE_DOWN_UP, NORMS, FEED_FORWARD_NORMS, NORM("model.norm"),
};
const struct nb_mlx_layout nb_mlx_gemma3 = { LAYOUT(gemma3) };

static const struct nb_mlx_row gemma4[] = {
    BEGINNING,
    ATTENTION,
    GATE_DOWN_UP,
    NORMS,
    FEED_FORWARD_NORMS,
    EIGHT(LAYER "router.proj"),
    PARAMETER(LAYER "router.scale"),
    PARAMETER(LAYER "router.per_expert_scale"),
    PART_OF_EXPERTS(LAYER "experts.switch_glu.gate_proj", LAYER "experts.gate_up_proj", false, "0", EXPERT),
    PART_OF_EXPERTS(LAYER "experts.switch_glu.up_proj", LAYER "experts.gate_up_proj", false, EXPERT, EXPERT),
    BARE_FROM(LAYER "experts.switch_glu.down_proj", LAYER "experts.down_proj"),
    NORM(LAYER "post_feedforward_layernorm_1"),
    NORM(LAYER "post_feedforward_layernorm_2"),
    NORM(LAYER "pre_feedforward_layernorm_2"),
    MATRIX(LAYER "per_layer_input_gate"),
    MATRIX(LAYER "per_layer_projection"),
    NORM(LAYER "post_per_layer_input_norm"),
    PARAMETER(LAYER "layer_scalar"),
    NORM("model.norm"),
    MATRIX("model.embed_tokens_per_layer"),
    MATRIX("model.per_layer_model_projection"),
    NORM("model.per_layer_projection_norm"),
};
const struct nb_mlx_layout nb_mlx_gemma4 = { LAYOUT(gemma4) };

static const struct nb_mlx_row gemma3n[] = {
    BEGINNING,
    ATTENTION,
    GATE_UP_DOWN,
    NORMS,
    FEED_FORWARD_NORMS,
    PARAMETER(LAYER "altup.correct_output_scale"),
    MATRIX(LAYER "altup.correction_coefs"),
    MATRIX(LAYER "altup.prediction_coefs"),
    MATRIX(LAYER "altup.modality_router"),
    NORM(LAYER "altup.router_norm"),
    MATRIX(LAYER "laurel.linear_left"),
    MATRIX(LAYER "laurel.linear_right"),
    NORM(LAYER "laurel.post_laurel_norm"),
    MATRIX(LAYER "per_layer_input_gate"),
    MATRIX(LAYER "per_layer_projection"),
    NORM(LAYER "post_per_layer_input_norm"),
    MATRIX("model.embed_tokens_per_layer"),
    MATRIX("model.per_layer_model_projection"),
    NORM("model.per_layer_projection_norm"),
    MATRIX("model.altup_projections.0"),
    MATRIX("model.altup_projections.1"),
    MATRIX("model.altup_projections.2"),
    MATRIX("model.altup_unembed_projections.0"),
    MATRIX("model.altup_unembed_projections.1"),
    MATRIX("model.altup_unembed_projections.2"),
    NORM("model.norm"),
};
const struct nb_mlx_layout nb_mlx_gemma3n = { LAYOUT(gemma3n), .place = NB_MLX_INSIDE_MODEL };
