/* Tensors of recurrent layers. WHEN is the condition by layer. Source: llama.cpp v0.5.0, src/models. */
#ifndef NB_ARCHITECTURE_RECURRENT_H
#define NB_ARCHITECTURE_RECURRENT_H

#include "formats/models/architectures/rows.h"

/* The selective state space of Mamba 1. */
#define MAMBA1(when)                                                                                \
    { BLOCK "ssm_in.weight", { "embedding", "2 * ssm_inner" }, NB_REQUIRED, when },                 \
    { BLOCK "ssm_conv1d.weight", { "ssm_conv", "ssm_inner" }, NB_REQUIRED, when },                  \
    { BLOCK "ssm_conv1d.bias", { "ssm_inner" }, NB_REQUIRED, when },                                \
    { BLOCK "ssm_x.weight", { "ssm_inner", "ssm_rank + 2 * ssm_state" }, NB_REQUIRED, when },       \
    { BLOCK "ssm_dt.weight", { "ssm_rank", "ssm_inner" }, NB_REQUIRED, when },                      \
    { BLOCK "ssm_dt.bias", { "ssm_inner" }, NB_REQUIRED, when },                                    \
    { BLOCK "ssm_a", { "ssm_state", "ssm_inner" }, NB_REQUIRED, when },                             \
    { BLOCK "ssm_d", { "ssm_inner" }, NB_REQUIRED, when },                                          \
    { BLOCK "ssm_out.weight", { "ssm_inner", "embedding" }, NB_REQUIRED, when }

/* Of Mamba 2; ssm_rank is its number of heads. Some architectures have models without biases or norms. */
#define CONVOLVED "ssm_inner + 2 * ssm_groups * ssm_state"
#define MAMBA2(when, bias, norm)                                                                    \
    { BLOCK "ssm_in.weight", { "embedding", "ssm_inner + ssm_rank + " CONVOLVED }, NB_REQUIRED, when }, \
    { BLOCK "ssm_conv1d.weight", { "ssm_conv", CONVOLVED }, NB_REQUIRED, when },                    \
    { BLOCK "ssm_conv1d.bias", { CONVOLVED }, bias, when },                                         \
    { BLOCK "ssm_dt.bias", { "ssm_rank" }, NB_REQUIRED, when },                                     \
    { BLOCK "ssm_a", { "1", "ssm_rank" }, NB_REQUIRED, when },                                      \
    { BLOCK "ssm_d", { "1", "ssm_rank" }, NB_REQUIRED, when },                                      \
    { BLOCK "ssm_norm.weight", { "ssm_inner / ssm_groups", "ssm_groups" }, norm, when },            \
    { BLOCK "ssm_out.weight", { "ssm_inner", "embedding" }, NB_REQUIRED, when }

/* Layers of hybrid models: those without key-value heads are recurrent. */
#define RECURRENT_LAYER "kv_heads == 0"
#define ATTENTION_LAYER "kv_heads > 0"
#define ATTENTION_WHEN(when)                                                                              \
    { BLOCK "attn_q.weight", { "embedding", "heads * key_length" }, NB_REQUIRED, when },                  \
    { BLOCK "attn_q.bias", { "heads * key_length" }, NB_OPTIONAL, when },                                 \
    { BLOCK "attn_k.weight", { "embedding", "kv_heads * key_length" }, NB_REQUIRED, when },               \
    { BLOCK "attn_k.bias", { "kv_heads * key_length" }, NB_OPTIONAL, when },                              \
    { BLOCK "attn_v.weight", { "embedding", "kv_heads * value_length" }, NB_REQUIRED, when },             \
    { BLOCK "attn_v.bias", { "kv_heads * value_length" }, NB_OPTIONAL, when },                            \
    { BLOCK "attn_output.weight", { "heads * value_length", "embedding" }, NB_REQUIRED, when }

#define DEMANDED_BY_MAMBA NB_HP_SSM_CONV, NB_HP_SSM_INNER, NB_HP_SSM_STATE, NB_HP_SSM_RANK, NB_HP_RMS_EPSILON

#endif
