/* Rows that many layouts of MLX share, in the order in which the classes of mlx-lm declare their modules. */
#ifndef NB_MLX_ROWS_H
#define NB_MLX_ROWS_H

#include "formats/models/mlx_layout.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define LAYER "model.layers.%l."

#define MATRIX(name) { .module = name, .kind = NB_MLX_MATRIX }
#define EIGHT(name) { .module = name, .kind = NB_MLX_EIGHT_BITS }
#define NORM(name) { .module = name, .kind = NB_MLX_PLAIN }

#define Q_K_V MATRIX(LAYER "self_attn.q_proj"), MATRIX(LAYER "self_attn.k_proj"), MATRIX(LAYER "self_attn.v_proj")
#define Q_K_NORMS NORM(LAYER "self_attn.q_norm"), NORM(LAYER "self_attn.k_norm")
#define ATTENTION Q_K_V, MATRIX(LAYER "self_attn.o_proj"), Q_K_NORMS
#define GATE_DOWN_UP MATRIX(LAYER "mlp.gate_proj"), MATRIX(LAYER "mlp.down_proj"), MATRIX(LAYER "mlp.up_proj")
#define NORMS NORM(LAYER "input_layernorm"), NORM(LAYER "post_attention_layernorm")

/* What is before the layers, and behind them. A model without an output matrix of its own has no lm_head. */
#define BEGINNING MATRIX("model.embed_tokens")
#define ENDING NORM("model.norm"), MATRIX("lm_head")

#endif
