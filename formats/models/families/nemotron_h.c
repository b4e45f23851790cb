/*
 * Nemotron-H and Nemotron 3: each layer is a Mamba 2, an attention or a feed-forward part, which may be a
 * mixture. Names and keys: llama.cpp's conversion/nemotron.py, which reads config.json as it is, without the
 * defaults of transformers.
 */
#include "formats/models/families/recurrent.h"
#include "formats/models/mlx_layout.h"
#include "formats/models/restore.h"

#include <math.h>
#include <string.h>

#define MIXER "backbone.layers.%l.mixer."

#define PARTS PARTS_OF("backbone."), OUTPUT
#define OUTPUT { "lm_head.weight", "output.weight", PLAIN }
/* ROOT is what all other names begin with. */
#define PARTS_OF(root)                                                           \
    { root "embeddings.weight", "token_embd.weight", PLAIN },                    \
    { root "norm_f.weight", "output_norm.weight", PLAIN },                       \
    { root "layers.%l.norm.weight", BLOCK "attn_norm.weight", PLAIN },           \
    MAMBA2(root "layers.%l.mixer."),                                             \
    { root "layers.%l.mixer.q_proj.weight", BLOCK "attn_q.weight", NEIGHBOURS }, \
    { root "layers.%l.mixer.q_proj.bias", BLOCK "attn_q.bias", NEIGHBOURS },     \
    { root "layers.%l.mixer.k_proj.weight", BLOCK "attn_k.weight", NEIGHBOURS }, \
    { root "layers.%l.mixer.k_proj.bias", BLOCK "attn_k.bias", NEIGHBOURS },     \
    { root "layers.%l.mixer.v_proj.weight", BLOCK "attn_v.weight", PLAIN },      \
    { root "layers.%l.mixer.v_proj.bias", BLOCK "attn_v.bias", PLAIN },          \
    { root "layers.%l.mixer.o_proj.weight", BLOCK "attn_output.weight", PLAIN }, \
    { root "layers.%l.mixer.o_proj.bias", BLOCK "attn_output.bias", PLAIN }

static const struct nb_map_row dense_tensors[] = {
    PARTS,
    { MIXER "up_proj.weight", BLOCK "ffn_up.weight", PLAIN },
    { MIXER "up_proj.bias", BLOCK "ffn_up.bias", PLAIN },
    { MIXER "down_proj.weight", BLOCK "ffn_down.weight", PLAIN },
    { MIXER "down_proj.bias", BLOCK "ffn_down.bias", PLAIN },
};

#define EXPERT_PART(from) \
    { from "gate.weight", BLOCK "ffn_gate_inp.weight", PLAIN }, \
    { from "gate.e_score_correction_bias", BLOCK "exp_probs_b.bias", PLAIN }, \
    { from "fc1_latent_proj.weight", BLOCK "ffn_latent_down.weight", PLAIN }, \
    { from "fc2_latent_proj.weight", BLOCK "ffn_latent_up.weight", PLAIN }, \
    { from "experts.%e.down_proj.weight", BLOCK "ffn_down_exps.weight", PLAIN }, \
    { from "experts.%e.up_proj.weight", BLOCK "ffn_up_exps.weight", PLAIN }, \
    { from "shared_experts.up_proj.weight", BLOCK "ffn_up_shexp.weight", PLAIN }, \
    { from "shared_experts.down_proj.weight", BLOCK "ffn_down_shexp.weight", PLAIN }

/* Of the block that predicts a further token, attention and experts are stored as two layers. */
#define MTP_ATTENTION "mtp.layers.0."
#define MTP_EXPERTS "mtp.layers.1."

static const struct nb_map_row mixture_tensors[] = {
    PARTS,
    { MTP_ATTENTION "enorm.weight", BLOCK "nextn.enorm.weight", PLAIN },
    { MTP_ATTENTION "hnorm.weight", BLOCK "nextn.hnorm.weight", PLAIN },
    { MTP_ATTENTION "eh_proj.weight", BLOCK "nextn.eh_proj.weight", PLAIN },
    { MTP_ATTENTION "norm.weight", BLOCK "attn_norm.weight", PLAIN },
    { MTP_ATTENTION "mixer.q_proj.weight", BLOCK "attn_q.weight", NEIGHBOURS },
    { MTP_ATTENTION "mixer.k_proj.weight", BLOCK "attn_k.weight", NEIGHBOURS },
    { MTP_ATTENTION "mixer.v_proj.weight", BLOCK "attn_v.weight", PLAIN },
    { MTP_ATTENTION "mixer.o_proj.weight", BLOCK "attn_output.weight", PLAIN },
    { MTP_EXPERTS "norm.weight", BLOCK "post_attention_norm.weight", PLAIN },
    { MTP_EXPERTS "final_layernorm.weight", BLOCK "nextn.shared_head_norm.weight", PLAIN },
    EXPERT_PART(MTP_EXPERTS "mixer."),
    EXPERT_PART(MIXER),
};

/* Puzzle's later release has other names for what is around the layers. What predicts a further token is left out. */
static const struct nb_map_row puzzle_tensors[] = {
    PARTS,
    EXPERT_PART(MIXER),
    PARTS_OF("model."),
    EXPERT_PART("model.layers.%l.mixer."),
};
static const char *const further[] = { "mtp.", NULL };

/* ssm_inner is the length of a head at first. */
#define CONFIG                                                                                        \
    { NB_HP_LAYERS, "num_hidden_layers", "" },                                                        \
    { NB_HP_VOCAB, "vocab_size", "" },                                                                \
    { NB_HP_CONTEXT, "", "1048576" }, /* no positions, and so no longest text */                      \
    { NB_HP_EMBEDDING, "hidden_size", NULL },                                                         \
    { NB_HP_HEADS, "num_attention_heads", NULL },                                                     \
    { NB_HP_KV_HEADS, "num_key_value_heads", "heads" },                                               \
    { NB_HP_KEY_LENGTH, "head_dim|attention_head_dim", NULL },                                        \
    { NB_HP_VALUE_LENGTH, "head_dim|attention_head_dim", NULL },                                      \
    { NB_HP_ROPE_DIMS, "attn_rotary_emb", "embedding // heads" },                                     \
    { NB_HP_ROPE_BASE, "rope_theta", "" },                                                            \
    { NB_HP_RMS_EPSILON, "rms_norm_eps|norm_eps", "" },                                               \
    { NB_HP_NORM_EPSILON, "layer_norm_eps|layer_norm_epsilon|norm_epsilon", NULL },                   \
    { NB_HP_SSM_CONV, "conv_kernel|d_conv|mamba_conv_kernel|mamba_d_conv", NULL },                    \
    { NB_HP_SSM_STATE, "state_size|d_state|ssm_state_size|mamba_state_size|mamba_d_state", NULL },    \
    { NB_HP_SSM_GROUPS, "n_groups|num_groups|mamba_n_groups|mamba_num_groups", NULL },                \
    { NB_HP_SSM_RANK, "n_heads|num_heads|mamba_n_heads|mamba_num_heads", NULL },                      \
    { NB_HP_SSM_INNER, "mamba_head_dim", NULL },                                                      \
    { NB_HP_SSM_INNER, "", "ssm_inner * ssm_rank" },                                                  \
    { NB_HP_ROPE_FINETUNED, "", "0" }

static const struct nb_config_row dense_config[] = {
    CONFIG,
    { NB_HP_FEED_FORWARD, "intermediate_size", NULL },
};

static const struct nb_config_row mixture_config[] = {
    CONFIG,
    { NB_HP_FEED_FORWARD, "moe_intermediate_size", NULL },
    { NB_HP_EXPERT_FEED_FORWARD, "moe_intermediate_size", NULL },
    { NB_HP_SHARED_FEED_FORWARD, "moe_shared_expert_intermediate_size", NULL },
    { NB_HP_EXPERTS, "n_routed_experts", NULL },
    { NB_HP_EXPERTS_USED, "num_experts_per_tok", NULL },
    { NB_HP_EXPERTS_SHARED, "n_shared_experts", NULL },
    { NB_HP_EXPERT_GROUPS, "n_group", NULL },
    { NB_HP_EXPERT_GROUPS_USED, "topk_group", "" },
    { NB_HP_EXPERT_WEIGHTS_NORM, "norm_topk_prob", NULL },
    { NB_HP_EXPERT_WEIGHTS_SCALE, "routed_scaling_factor", NULL },
    { NB_HP_EXPERT_LATENT, "moe_latent_size", "" },
    { NB_HP_NEXTN_LAYERS, "num_nextn_predict_layers", "" },
};

/* The sizes of experts and how many are used differ by layer. */
static const struct nb_config_row puzzle_config[] = {
    CONFIG,
    { NB_HP_FEED_FORWARD, "intermediate_size", "" },
    { NB_HP_SHARED_FEED_FORWARD, "moe_shared_expert_intermediate_size", NULL },
    { NB_HP_EXPERTS, "n_routed_experts", NULL },
    { NB_HP_EXPERTS_USED, "num_experts_per_tok", "" },
    { NB_HP_EXPERTS_SHARED, "n_shared_experts", NULL },
    { NB_HP_EXPERT_GROUPS, "n_group", NULL },
    { NB_HP_EXPERT_GROUPS_USED, "topk_group", "" },
    { NB_HP_EXPERT_WEIGHTS_NORM, "norm_topk_prob", NULL },
    { NB_HP_EXPERT_WEIGHTS_SCALE, "routed_scaling_factor", NULL },
    { NB_HP_EXPERT_LATENT, "moe_latent_size", NULL },
};

/* Whether LAYER is of the kind that is one CHARACTER in the older configs' pattern, and has NAMES in the newer ones' list. */
static double
is_kind(json_t *config, const struct nb_hparams *hp, uint64_t layer, const char *character, const char *names)
{
    const bool has_pattern = json_string_length(nb_config_find(config, "hybrid_override_pattern")) > 0;

    const uint64_t layers = (uint64_t)(nb_hp(hp, NB_HP_LAYERS) - nb_hp(hp, NB_HP_NEXTN_LAYERS));

    if (layer >= layers) /* has both parts */
        return 1;
    return nb_config_layer_is(config, has_pattern ? "hybrid_override_pattern" : "layers_block_type",
                              has_pattern ? character : names, layer, layers);
}

static double
kv_heads(json_t *config, const struct nb_hparams *hp, uint64_t layer)
{
    return nb_hp(hp, NB_HP_KV_HEADS) * is_kind(config, hp, layer, "*", "attention|full_attention");
}

static double
feed_forward(json_t *config, const struct nb_hparams *hp, uint64_t layer)
{
    return nb_hp(hp, NB_HP_FEED_FORWARD) * is_kind(config, hp, layer, nb_hp(hp, NB_HP_EXPERTS) > 0 ? "E" : "-", "moe|mlp");
}

static enum nb_status
derive(json_t *config, const char *name, struct nb_hparams *hp, struct nb_error *err)
{
    const size_t listed = json_array_size(nb_config_find(config, "layers_block_type"));
    enum nb_status status;

    if (listed > 0 && listed <= NB_MAX_LAYERS)
        nb_hp_set(hp, NB_HP_LAYERS, (double)listed, true);
    if (!nb_hp_has(hp, NB_HP_LAYERS))
        return nb_fail(err, NB_INPUT, "%s: has no num_hidden_layers", name);
    if (nb_hp(hp, NB_HP_NEXTN_LAYERS) > 1)
        return nb_fail(err, NB_UNSUPPORTED, "%s: num_nextn_predict_layers is %g, but only 1 can be converted", name,
                       nb_hp(hp, NB_HP_NEXTN_LAYERS));
    nb_hp_set(hp, NB_HP_LAYERS, nb_hp(hp, NB_HP_LAYERS) + nb_hp(hp, NB_HP_NEXTN_LAYERS), true);
    status = nb_derive_each(config, name, NB_HP_KV_HEADS, kv_heads, hp, err);
    return status == NB_OK ? nb_derive_each(config, name, NB_HP_FEED_FORWARD, feed_forward, hp, err) : status;
}

/* Entry NAME of the block of LAYER. */
static json_t *
of_block(json_t *config, uint64_t layer, const char *name)
{
    return json_object_get(json_array_get(nb_config_find(config, "block_configs"), (size_t)layer), name);
}

/* An entry of a block that may be absent or null: 0; NaN if it is no number. */
static double
count_of_block(json_t *config, uint64_t layer, const char *name)
{
    json_t *value = of_block(config, layer, name);

    return value == NULL || json_is_null(value) ? 0 : json_is_number(value) ? json_number_value(value) : NAN;
}

static double
puzzle_kv_heads(json_t *config, const struct nb_hparams *hp, uint64_t layer)
{
    const char *type = json_string_value(of_block(config, layer, "block_type"));
    const bool attends = type != NULL && (strcmp(type, "attention") == 0 || strcmp(type, "full_attention") == 0);

    return type == NULL ? NAN : nb_hp(hp, NB_HP_KV_HEADS) * attends;
}

static double
puzzle_experts(json_t *config, const struct nb_hparams *hp, uint64_t layer)
{
    (void)hp;
    return count_of_block(config, layer, "moe_intermediate_size");
}

static double
puzzle_experts_used(json_t *config, const struct nb_hparams *hp, uint64_t layer)
{
    (void)hp;
    return count_of_block(config, layer, "num_experts_per_tok");
}

/* There are as many layers as block_configs describes. */
static enum nb_status
derive_puzzle(json_t *config, const char *name, struct nb_hparams *hp, struct nb_error *err)
{
    const size_t blocks = json_array_size(nb_config_find(config, "block_configs"));
    enum nb_status status;

    if (blocks == 0 || blocks > NB_MAX_LAYERS)
        return nb_fail(err, NB_INPUT, "%s: block_configs does not describe the layers", name);
    nb_hp_set(hp, NB_HP_LAYERS, (double)blocks, true);
    status = nb_derive_each(config, name, NB_HP_KV_HEADS, puzzle_kv_heads, hp, err);
    if (status == NB_OK)
        status = nb_derive_each(config, name, NB_HP_FEED_FORWARD, puzzle_experts, hp, err);
    if (status == NB_OK)
        status = nb_derive_each(config, name, NB_HP_EXPERT_FEED_FORWARD, puzzle_experts, hp, err);
    return status == NB_OK ? nb_derive_each(config, name, NB_HP_EXPERTS_USED, puzzle_experts_used, hp, err) : status;
}

static bool
is_mixture(json_t *config)
{
    return nb_config_find(config, "num_experts_per_tok") != NULL;
}

static bool
is_dense(json_t *config)
{
    return !is_mixture(config);
}

#define RULES                                                                                         \
    RECURRENT_RULES,                                                                                  \
    { "attention_bias", NB_CONFIG_BIASES, ".q_proj.bias", NULL },                                     \
    { "hybrid_override_pattern", NB_CONFIG_IGNORED, NULL, NULL }, /* read by is_kind, as is the next */ \
    { "layers_block_type", NB_CONFIG_ONLY, "mamba|linear_attention|attention|full_attention|moe|mlp", NULL }, \
    { "mamba_hidden_act", NB_CONFIG_ONLY, "silu|swish", NULL },                                       \
    { "hidden_act", NB_CONFIG_ONLY, "relu2", NULL }, \
    { "mlp_hidden_act", NB_CONFIG_ONLY, "relu2", NULL },                                              \
    { "mamba_proj_bias", NB_CONFIG_ONLY, "false", NULL },                                             \
    { "use_bias", NB_CONFIG_ONLY, "false", NULL },                                                    \
    { "mlp_bias", NB_CONFIG_BIASES, ".up_proj.bias", NULL },                                          \
    { "use_conv_bias", NB_CONFIG_BIASES, ".conv1d.bias", NULL },                                      \
    { "max_position_embeddings", NB_CONFIG_IGNORED, NULL, NULL },                                     \
    { "partial_rotary_factor", NB_CONFIG_IGNORED, NULL, NULL },                                       \
    { "sliding_window", NB_CONFIG_ONLY, "", NULL },                                                   \
    { "expand", NB_CONFIG_IGNORED, NULL, NULL }

static const struct nb_config_rule dense_rules[] = { RULES };

static const struct nb_config_rule mixture_rules[] = {
    RULES,
    { "intermediate_size", NB_CONFIG_IGNORED, NULL, NULL },
    { "mtp_hybrid_override_pattern", NB_CONFIG_ONLY, "*E", NULL },
    { "moe_shared_expert_overlap", NB_CONFIG_IGNORED, NULL, NULL },
};

static const struct nb_config_rule puzzle_rules[] = {
    RULES,
    { "block_configs", NB_CONFIG_IGNORED, NULL, NULL }, /* derive_puzzle */
    { "mtp_block_configs", NB_CONFIG_IGNORED, NULL, NULL },
    { "num_nextn_predict_layers", NB_CONFIG_IGNORED, NULL, NULL },
    { "mtp_hybrid_override_pattern", NB_CONFIG_IGNORED, NULL, NULL },
    { "moe_shared_expert_overlap", NB_CONFIG_IGNORED, NULL, NULL },
};

#define KEYS KEYS_WITH(KEY)
/* AS_FLAT: of keys that the base class writes if config.json has them for all layers alike. */
#define KEYS_WITH(as_flat)                                                                            \
    KEY(NB_HP_LAYERS), KEY(NB_HP_CONTEXT), KEY(NB_HP_EMBEDDING), as_flat(NB_HP_FEED_FORWARD),         \
    KEY(NB_HP_HEADS), KEY(NB_HP_KV_HEADS), WRITE(nb_write_rope_scaling),                              \
    KEY(NB_HP_ROPE_BASE), KEY(NB_HP_RMS_EPSILON), KEY(NB_HP_NORM_EPSILON), KEY(NB_HP_EXPERTS),        \
    as_flat(NB_HP_EXPERTS_USED), KEY(NB_HP_EXPERT_GROUPS), KEY(NB_HP_EXPERT_GROUPS_USED),             \
    WRITE(nb_write_file_type), KEY(NB_HP_VOCAB), KEY(NB_HP_ROPE_DIMS),                                \
    KEY(NB_HP_SSM_CONV), KEY(NB_HP_SSM_STATE), KEY(NB_HP_SSM_GROUPS), KEY(NB_HP_SSM_INNER),           \
    KEY(NB_HP_SSM_RANK), KEY(NB_HP_ROPE_FINETUNED), KEY(NB_HP_KEY_LENGTH), KEY(NB_HP_VALUE_LENGTH)

static const struct nb_key_row dense_keys[] = { KEYS };
static const struct nb_key_row mixture_keys[] = {
    KEYS,
    KEY(NB_HP_EXPERT_FEED_FORWARD),
    KEY(NB_HP_SHARED_FEED_FORWARD),
    KEY(NB_HP_EXPERTS_SHARED),
    KEY(NB_HP_EXPERT_WEIGHTS_NORM),
    KEY(NB_HP_EXPERT_WEIGHTS_SCALE),
    KEY(NB_HP_EXPERT_LATENT),
    KEY_IF_SET(NB_HP_NEXTN_LAYERS),
};

static const struct nb_key_row puzzle_keys[] = {
    KEYS_WITH(KEY_IF_GIVEN),
    KEY(NB_HP_FEED_FORWARD),
    KEY(NB_HP_EXPERT_FEED_FORWARD),
    KEY(NB_HP_EXPERTS_USED),
    KEY(NB_HP_SHARED_FEED_FORWARD),
    KEY(NB_HP_EXPERTS_SHARED),
    KEY(NB_HP_EXPERT_WEIGHTS_NORM),
    KEY(NB_HP_EXPERT_WEIGHTS_SCALE),
    KEY(NB_HP_EXPERT_LATENT),
};

/* Each layer's kind as one character, and what the class calls the sizes of its recurrent layers. */
static enum nb_status
restore(const struct nb_restoration *r, struct nb_error *err)
{
    const char feed_forward = nb_hp(r->hp, NB_HP_EXPERTS) > 0 ? 'E' : '-';
    const uint64_t layers = nb_restore_layers(r);
    char pattern[NB_MAX_LAYERS + 1] = "";

    for (uint64_t i = 0; i < layers; i++)
        pattern[i] = nb_hp_at(r->hp, NB_HP_KV_HEADS, i) > 0        ? '*'
                     : nb_hp_at(r->hp, NB_HP_FEED_FORWARD, i) > 0 ? feed_forward
                                                                  : 'M';
    return nb_restore_text(r, "hybrid_override_pattern", pattern) &&
                   nb_restore_number(r, "num_key_value_heads", nb_hp(r->hp, NB_HP_KV_HEADS)) &&
                   nb_restore_number(r, "mamba_num_heads", nb_hp(r->hp, NB_HP_SSM_RANK)) &&
                   nb_restore_number(r, "ssm_state_size", nb_hp(r->hp, NB_HP_SSM_STATE)) &&
                   nb_restore_float(r, "layer_norm_epsilon", nb_hp(r->hp, NB_HP_NORM_EPSILON)) &&
                   nb_restore_number(r, "num_hidden_layers", (double)layers)
               ? NB_OK
               : nb_fail_memory(err);
}

static const char *const classes[] = { "NemotronHForCausalLM", NULL };
static const char *const puzzle_classes[] = { "NemotronHPuzzleForCausalLM", NULL };

const struct nb_family nb_family_nemotron_h = {
    .model_type = "nemotron_h",
    .restore = restore,
    FAMILY(classes, nb_arch_nemotron_h, dense_config, dense_rules, dense_keys, dense_tensors),
    .is_for = is_dense, .derive = derive, .tokenizer = { .adds_bos = true }, .mlx = &nb_mlx_nemotron_h
};
const struct nb_family nb_family_nemotron_h_moe = {
    .model_type = "nemotron_h",
    .restore = restore,
    FAMILY(classes, nb_arch_nemotron_h_moe, mixture_config, mixture_rules, mixture_keys, mixture_tensors),
    .is_for = is_mixture, .derive = derive
};
const struct nb_family nb_family_nemotron_h_puzzle = {
    FAMILY(puzzle_classes, nb_arch_nemotron_h_moe, puzzle_config, puzzle_rules, puzzle_keys, puzzle_tensors),
    .derive = derive_puzzle, .tokenizer = { .adds_bos = true }, .ignored_prefixes = further
};
