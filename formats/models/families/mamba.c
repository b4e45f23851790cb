/*
 * Mamba, Falcon Mamba and Mamba 2: no attention. Names, keys and defaults: llama.cpp's conversion/mamba.py, which
 * reads config.json as it is, without the defaults of transformers.
 */
#include "formats/models/families/recurrent.h"
#include "formats/models/mlx_layout.h"
#include "formats/models/restore.h"

#define MODEL(embeddings)                                                  \
    { embeddings, "token_embd.weight", PLAIN },                            \
    { "backbone.norm_f.weight", "output_norm.weight", PLAIN },             \
    { "lm_head.weight", "output.weight", PLAIN }

static const struct nb_map_row mamba_tensors[] = {
    MODEL("backbone.embeddings.weight"),
    { "backbone.embedding.weight", "token_embd.weight", PLAIN }, /* as state-spaces' own code has it */
    { "backbone.layers.%l.norm.weight", BLOCK "attn_norm.weight", PLAIN },
    MAMBA1("backbone.layers.%l.mixer."),
};

/* Mamba-Codestral has "model." before the names, and the name of the embedding of the authors' own code. */
static const struct nb_map_row mamba2_tensors[] = {
    MODEL("backbone.embeddings.weight"),
    { "backbone.layers.%l.norm.weight", BLOCK "attn_norm.weight", PLAIN },
    MAMBA2("backbone.layers.%l.mixer."),
    { "backbone.embedding.weight", "token_embd.weight", PLAIN },
    { "model.backbone.embedding.weight", "token_embd.weight", PLAIN },
    { "model.backbone.embeddings.weight", "token_embd.weight", PLAIN },
    { "model.backbone.norm_f.weight", "output_norm.weight", PLAIN },
    { "model.lm_head.weight", "output.weight", PLAIN },
    { "model.backbone.layers.%l.norm.weight", BLOCK "attn_norm.weight", PLAIN },
    MAMBA2("model.backbone.layers.%l.mixer."),
};

#define CONFIG                                                                       \
    { NB_HP_LAYERS, "n_layers|num_hidden_layers|n_layer|num_layers", NULL },         \
    { NB_HP_VOCAB, "vocab_size", "" },                                               \
    { NB_HP_EMBEDDING, "hidden_size|d_model|dim", NULL },                            \
    { NB_HP_CONTEXT, "", "1048576" }, /* any length */                               \
    { NB_HP_FEED_FORWARD, "", "0" },                                                 \
    { NB_HP_HEADS, "", "0" },                                                        \
    { NB_HP_SSM_CONV, "conv_kernel|d_conv", "4" },                                   \
    { NB_HP_RMS_EPSILON, "layer_norm_epsilon|rms_norm_eps", "1e-5" }

#define CONFIG1                                                                      \
    CONFIG,                                                                          \
    { NB_HP_SSM_INNER, "intermediate_size|d_inner", "2 * embedding" },               \
    { NB_HP_SSM_STATE, "state_size|d_state", "16" },                                 \
    { NB_HP_SSM_RANK, "time_step_rank|dt_rank", "(embedding + 15) // 16" }

static const struct nb_config_row mamba_config[] = { CONFIG1, { NB_HP_SSM_NORMED, "", "0" } };
static const struct nb_config_row falcon_config[] = { CONFIG1, { NB_HP_SSM_NORMED, "", "1" } };

/* ssm_inner is the expansion at first, and ssm_rank the length of a head. */
static const struct nb_config_row mamba2_config[] = {
    CONFIG,
    { NB_HP_SSM_INNER, "mamba_expand|expand", "2" },
    { NB_HP_SSM_INNER, "mamba_d_ssm|intermediate_size|d_inner", "ssm_inner * embedding" },
    { NB_HP_SSM_STATE, "state_size|d_state", "128" },
    { NB_HP_SSM_RANK, "mamba_d_head|head_dim", "64" },
    { NB_HP_SSM_RANK, "", "ssm_inner // ssm_rank" },
    { NB_HP_SSM_GROUPS, "n_groups", "1" },
};

#define RULES                                                                        \
    RECURRENT_RULES,                                                                 \
    { "hidden_act", NB_CONFIG_ONLY, "silu|swish", NULL },                            \
    { "use_bias", NB_CONFIG_ONLY, "false", NULL },                                   \
    { "use_conv_bias", NB_CONFIG_ONLY, "true", NULL },                               \
    { "ssm_cfg", NB_CONFIG_ONLY, "", NULL },                                         \
    { "attn_layer_idx", NB_CONFIG_ONLY, "", NULL },                                  \
    { "rms_norm", NB_CONFIG_ONLY, "true", NULL },                                    \
    { "fused_add_norm", NB_CONFIG_IGNORED, NULL, NULL },                             \
    { "pad_vocab_size_multiple", NB_CONFIG_IGNORED, NULL, NULL } /* the rows of the embedding count */

/* mixer_rms_eps: of the norms within a layer, which llama.cpp runs with the epsilon of all norms. */
static const struct nb_config_rule mamba_rules[] = {
    RULES,
    { "expand", NB_CONFIG_IGNORED, NULL, NULL },
    { "mixer_rms_eps", NB_CONFIG_IGNORED, NULL, NULL },
};

static const struct nb_config_rule mamba2_rules[] = {
    RULES,
    { "num_heads", NB_CONFIG_IGNORED, NULL, NULL }, /* ssm_inner // head_dim */
    { "norm_before_gate", NB_CONFIG_ONLY, "true", NULL },
};

#define KEYS                                                                         \
    KEY(NB_HP_CONTEXT), KEY(NB_HP_EMBEDDING), KEY(NB_HP_FEED_FORWARD),               \
    KEY(NB_HP_HEADS), KEY(NB_HP_LAYERS), KEY(NB_HP_SSM_CONV),                        \
    KEY(NB_HP_SSM_INNER), KEY(NB_HP_SSM_STATE), KEY(NB_HP_SSM_RANK)

static const struct nb_key_row mamba_keys[] = {
    KEYS, KEY(NB_HP_RMS_EPSILON), KEY(NB_HP_SSM_NORMED), WRITE(nb_write_file_type),
};
static const struct nb_key_row mamba2_keys[] = {
    KEYS, KEY(NB_HP_SSM_GROUPS), KEY(NB_HP_RMS_EPSILON), WRITE(nb_write_file_type),
};

/* How much wider a layer is inside, from which the classes compute its size. */
static enum nb_status
restore(const struct nb_restoration *r, struct nb_error *err)
{
    const double inner = nb_hp(r->hp, NB_HP_SSM_INNER), embedding = nb_hp(r->hp, NB_HP_EMBEDDING);

    return embedding <= 0 || nb_restore_number(r, "expand", inner / embedding) ? NB_OK : nb_fail_memory(err);
}

static enum nb_status
restore_mamba2(const struct nb_restoration *r, struct nb_error *err)
{
    const enum nb_status status = restore(r, err);

    if (status != NB_OK)
        return status;
    return nb_restore_number(r, "num_heads", nb_hp(r->hp, NB_HP_SSM_RANK)) &&
                   nb_restore_number(r, "intermediate_size", nb_hp(r->hp, NB_HP_SSM_INNER))
               ? NB_OK
               : nb_fail_memory(err);
}

static const char *const mamba_classes[] = { "MambaForCausalLM", "MambaLMHeadModel", NULL };
static const char *const falcon_classes[] = { "FalconMambaForCausalLM", NULL };
static const char *const mamba2_classes[] = { "Mamba2ForCausalLM", NULL };

const struct nb_family nb_family_mamba = {
    .model_type = "mamba",
    .restore = restore,
    FAMILY(mamba_classes, nb_arch_mamba, mamba_config, mamba_rules, mamba_keys, mamba_tensors), .drops_equal_output = true, .mlx = &nb_mlx_mamba
};
const struct nb_family nb_family_falcon_mamba = {
    .model_type = "falcon_mamba",
    .restore = restore,
    FAMILY(falcon_classes, nb_arch_mamba, falcon_config, mamba_rules, mamba_keys, mamba_tensors),
    .drops_equal_output = true, .mlx = &nb_mlx_mamba
};
const struct nb_family nb_family_mamba2 = {
    .model_type = "mamba2",
    .restore = restore_mamba2,
    FAMILY(mamba2_classes, nb_arch_mamba2, mamba2_config, mamba2_rules, mamba2_keys, mamba2_tensors)
};
