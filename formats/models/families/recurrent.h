/* Rows of families with recurrent layers; FROM is what stands before the names of a layer's tensors. */
#ifndef NB_FAMILY_RECURRENT_H
#define NB_FAMILY_RECURRENT_H

#include "formats/models/families/rows.h"

#define NEGATE_EXP { { NB_MAP_NEGATE_EXP, { NULL } } }

#define MAMBA1(from)                                                     \
    { from "in_proj.weight", BLOCK "ssm_in.weight", PLAIN },             \
    { from "conv1d.weight", BLOCK "ssm_conv1d.weight", KERNELS },        \
    { from "conv1d.bias", BLOCK "ssm_conv1d.bias", PLAIN },              \
    { from "x_proj.weight", BLOCK "ssm_x.weight", PLAIN },               \
    { from "dt_proj.weight", BLOCK "ssm_dt.weight", PLAIN },             \
    { from "dt_proj.bias", BLOCK "ssm_dt.bias", PLAIN },                 \
    { from "A_log", BLOCK "ssm_a", NEGATE_EXP },                         \
    { from "D", BLOCK "ssm_d", PLAIN },                                  \
    { from "out_proj.weight", BLOCK "ssm_out.weight", PLAIN }

/* Without in_proj and out_proj, which some families scale. */
#define MAMBA2_STATE(from)                                               \
    { from "conv1d.weight", BLOCK "ssm_conv1d.weight", KERNELS },        \
    { from "conv1d.bias", BLOCK "ssm_conv1d.bias", PLAIN },              \
    { from "dt_bias", BLOCK "ssm_dt.bias", PLAIN },                      \
    { from "A_log", BLOCK "ssm_a", { { NB_MAP_SIDES, { "n" } }, { NB_MAP_NEGATE_EXP, { NULL } } } }, \
    { from "D", BLOCK "ssm_d", { { NB_MAP_SIDES, { "n" } } } },          \
    { from "norm.weight", BLOCK "ssm_norm.weight", { { NB_MAP_FOLD, { NULL } } } }
#define MAMBA2(from)                                                     \
    { from "in_proj.weight", BLOCK "ssm_in.weight", PLAIN },             \
    MAMBA2_STATE(from),                                                  \
    { from "out_proj.weight", BLOCK "ssm_out.weight", PLAIN }

/* How the time step is initialized, and how many tokens are computed together. */
#define RECURRENT_RULES                                                  \
    { "residual_in_fp32", NB_CONFIG_IGNORED, NULL, NULL },               \
    { "rescale_prenorm_residual", NB_CONFIG_IGNORED, NULL, NULL },       \
    { "time_step_floor", NB_CONFIG_IGNORED, NULL, NULL },                \
    { "time_step_init_scheme", NB_CONFIG_IGNORED, NULL, NULL },          \
    { "time_step_max", NB_CONFIG_IGNORED, NULL, NULL },                  \
    { "time_step_min", NB_CONFIG_IGNORED, NULL, NULL },                  \
    { "time_step_scale", NB_CONFIG_IGNORED, NULL, NULL },                \
    { "time_step_rank", NB_CONFIG_IGNORED, NULL, NULL },                 \
    { "time_step_limit", NB_CONFIG_IGNORED, NULL, NULL }, /* llama.cpp does not clip the time step */ \
    { "chunk_size", NB_CONFIG_IGNORED, NULL, NULL },                     \
    { "mamba_chunk_size", NB_CONFIG_IGNORED, NULL, NULL },               \
    { "use_mamba_kernels", NB_CONFIG_IGNORED, NULL, NULL },              \
    { "use_mambapy", NB_CONFIG_IGNORED, NULL, NULL },                    \
    { "num_logits_to_keep", NB_CONFIG_IGNORED, NULL, NULL },             \
    { "calc_logits_for_entire_prompt", NB_CONFIG_IGNORED, NULL, NULL }

#endif
