/* Rows that many layouts of MLX share, in the order in which the classes of mlx-lm declare their modules. */
#ifndef NB_MLX_ROWS_H
#define NB_MLX_ROWS_H

#include "formats/models/mlx_layout.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define LAYOUT(table) .rows = table, .n_rows = COUNT(table)
#define LAYER "model.layers.%l."

/* clang-format off */
#define MATRIX(name) { .module = name, .kind = NB_MLX_MATRIX }
#define EIGHT(name) { .module = name, .kind = NB_MLX_EIGHT_BITS }
#define NORM(name) { .module = name, .kind = NB_MLX_PLAIN }
#define PARAMETER(name) { .module = name, .kind = NB_MLX_PARAMETER }
#define AS_STORED(name) { .module = name, .kind = NB_MLX_AS_STORED }
/* The same of modules that the checkpoint calls STORED. */
#define MATRIX_FROM(name, stored) { .module = name, .kind = NB_MLX_MATRIX, .from = stored }
#define EIGHT_FROM(name, stored) { .module = name, .kind = NB_MLX_EIGHT_BITS, .from = stored }
#define NORM_FROM(name, stored) { .module = name, .kind = NB_MLX_PLAIN, .from = stored }
#define AS_STORED_FROM(name, stored) { .module = name, .kind = NB_MLX_AS_STORED, .from = stored }
/* A norm that is stored without the one that the model adds to it. */
#define NORM_PLUS_ONE(name) { .module = name, .kind = NB_MLX_PLAIN, .op = { { NB_MAP_ADD, { "1" } } } }
/* Convolutions, channels x 1 x width in a checkpoint, are channels x width x 1. */
#define CONVOLUTION(name) CONVOLUTION_FROM(name, name)
#define CONVOLUTION_FROM(name, stored) \
    { .module = name, .kind = NB_MLX_PLAIN, .from = stored, .op = { { NB_MAP_FOLD, { NULL } } } }
/* Rows of a stored matrix, groups of them: how many groups, the first row of each and how many. */
#define CUT_FROM(name, stored, columns, groups, first, rows) \
    { .module = name, .kind = NB_MLX_MATRIX, .from = stored, .dim = { columns, rows, groups }, \
      .op = { { NB_MAP_CUT_GROUPS, { groups, first, rows } } } }
/* ROWS rows of each expert of a stack, from FIRST on: a stack has gates first, then what they gate. */
#define PART_OF_EXPERTS(name, stored, suffixed, first, rows) \
    { .module = name, .kind = NB_MLX_MATRIX, .from = stored, .without_suffix = !(suffixed), \
      .dim = { "embedding", rows, "experts" }, .op = { { NB_MAP_CUT_GROUPS, { "experts", first, rows } } } }
/* Something that is stored without ".weight" behind its name. */
#define BARE_FROM(name, stored) { .module = name, .kind = NB_MLX_MATRIX, .from = stored, .without_suffix = true }
/* clang-format on */

#define Q_K_V MATRIX(LAYER "self_attn.q_proj"), MATRIX(LAYER "self_attn.k_proj"), MATRIX(LAYER "self_attn.v_proj")
#define Q_K_V_O Q_K_V, MATRIX(LAYER "self_attn.o_proj")
#define Q_K_NORMS NORM(LAYER "self_attn.q_norm"), NORM(LAYER "self_attn.k_norm")
#define ATTENTION Q_K_V_O, Q_K_NORMS

#define GATE_DOWN_UP GATE_DOWN_UP_IN("mlp")
#define GATE_DOWN_UP_IN(block) \
    MATRIX(LAYER block ".gate_proj"), MATRIX(LAYER block ".down_proj"), MATRIX(LAYER block ".up_proj")
#define GATE_UP_DOWN GATE_UP_DOWN_IN("mlp")
#define GATE_UP_DOWN_IN(block) \
    MATRIX(LAYER block ".gate_proj"), MATRIX(LAYER block ".up_proj"), MATRIX(LAYER block ".down_proj")

#define NORMS NORM(LAYER "input_layernorm"), NORM(LAYER "post_attention_layernorm")

/* Stacks of experts: BLOCK is what they belong to, TO what MLX calls them in it. */
#define EXPERTS_IN(block, to) EXPERTS_CALLED(block, to, "gate_proj", "up_proj", "down_proj")
#define EXPERTS_CALLED(block, to, gate, up, down)                                      \
    MATRIX_FROM(LAYER block to ".gate_proj", LAYER block "experts.%e." gate),          \
    MATRIX_FROM(LAYER block to ".up_proj", LAYER block "experts.%e." up),              \
    MATRIX_FROM(LAYER block to ".down_proj", LAYER block "experts.%e." down)
#define EXPERTS EXPERTS_IN("mlp.", "switch_mlp")
#define EXPERTS_BY_NUMBER(block) EXPERTS_CALLED(block, "switch_mlp", "w1", "w3", "w2")

/* What is before the layers, and behind them. A model without an output matrix of its own has no lm_head. */
#define BEGINNING MATRIX("model.embed_tokens")
#define ENDING NORM("model.norm"), MATRIX("lm_head")

#endif
