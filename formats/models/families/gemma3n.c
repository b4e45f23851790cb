/*
 * Gemma 3n. Names and keys: llama.cpp's conversion/gemma.py; defaults: the configuration class of
 * transformers 4.57. Its norms are stored as they are used.
 */
#include "formats/models/families/rows.h"
#include "formats/models/mlx_layout.h"
#include "formats/models/restore.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define NORM(from, to) { LAYER from ".weight", BLOCK to ".weight", PLAIN }
#define FIT { { NB_MAP_FIT, { "vocab" } } }

static const struct nb_map_row tensors[] = {
    { "model.embed_tokens.weight", "token_embd.weight", FIT },
    { "model.embed_tokens_per_layer.weight", "per_layer_token_embd.weight", FIT },
    { "model.altup_projections.%e.weight", "altup_proj.weight", PLAIN },
    { "model.altup_unembed_projections.%e.weight", "altup_unembd_proj.weight", PLAIN },
    { "model.per_layer_model_projection.weight", "per_layer_model_proj.weight", PLAIN },
    { "model.per_layer_projection_norm.weight", "per_layer_proj_norm.weight", PLAIN },
    { "model.norm.weight", "output_norm.weight", PLAIN },
    { "lm_head.weight", "output.weight", PLAIN },
    NORM("input_layernorm", "attn_norm"),
    NORM("post_attention_layernorm", "post_attention_norm"),
    NORM("pre_feedforward_layernorm", "ffn_norm"),
    NORM("post_feedforward_layernorm", "post_ffw_norm"),
    ATTENTION(PLAIN),
    QKV_BIASES(PLAIN),
    Q_K_NORMS,
    GATED_MLP,
    { LAYER "per_layer_input_gate.weight", BLOCK "inp_gate.weight", PLAIN },
    { LAYER "per_layer_projection.weight", BLOCK "proj.weight", PLAIN },
    NORM("post_per_layer_input_norm", "post_norm"),
    { LAYER "altup.correction_coefs.weight", BLOCK "altup_correct_coef.weight", PLAIN },
    { LAYER "altup.correct_output_scale", BLOCK "altup_correct_scale.weight", PLAIN },
    { LAYER "altup.prediction_coefs.weight", BLOCK "altup_predict_coef.weight", PLAIN },
    { LAYER "altup.modality_router.weight", BLOCK "altup_router.weight", PLAIN },
    NORM("altup.router_norm", "altup_router_norm"),
    { LAYER "laurel.linear_left.weight", BLOCK "laurel_l.weight", PLAIN },
    { LAYER "laurel.linear_right.weight", BLOCK "laurel_r.weight", PLAIN },
    NORM("laurel.post_laurel_norm", "laurel_post_norm"),
};

static const struct nb_config_row config[] = {
    { NB_HP_LAYERS, "num_hidden_layers", "35" },
    { NB_HP_EMBEDDING, "hidden_size", "2048" },
    { NB_HP_FEED_FORWARD, "intermediate_size", "16384" },
    { NB_HP_HEADS, "num_attention_heads", "8" },
    { NB_HP_KV_HEADS, "num_key_value_heads", "2" },
    CONFIG_HEAD_DIM("256"),
    { NB_HP_VOCAB, "vocab_size", "262400" },
    { NB_HP_CONTEXT, "max_position_embeddings", "32768" },
    { NB_HP_RMS_EPSILON, "rms_norm_eps", "1e-6" },
    CONFIG_ROPE_BASE("1000000"),
    { NB_HP_ROPE_BASE_SWA, "rope_parameters.sliding_attention.rope_theta|rope_local_base_freq", "10000" },
    { NB_HP_FINAL_SOFTCAP, "final_logit_softcapping", "30" },
    { NB_HP_SLIDING_WINDOW, "sliding_window", "512" },
    { NB_HP_SLIDING_PATTERN, "layer_types=sliding_attention", "(layer + 1) % 5 != 0" },
    { NB_HP_ALTUP_ACTIVE, "altup_active_idx", "0" },
    { NB_HP_ALTUP_INPUTS, "altup_num_inputs", "4" },
    { NB_HP_EMBEDDING_PER_LAYER, "hidden_size_per_layer_input", "256" },
    { NB_HP_SHARED_KV_LAYERS, "num_kv_shared_layers", "15" },
};

/*
 * The inverse of erf, rounded to a 32-bit float, as torch gives it. Newton's method from the approximation of
 * S. Winitzki, "A handy approximation for the error function and its inverse" (2008).
 */
static float
inverse_erf(float y)
{
    const double a = 0.147, l = log(1 - (double)y * (double)y), h = 2 / (M_PI * a) + l / 2;
    double x = copysign(sqrt(sqrt(h * h - l / a) - h), (double)y);

    if (fabsf(y) >= 1)
        return copysignf(INFINITY, y);
    for (unsigned i = 0; i < 6; i++)
        x -= (erf(x) - (double)y) / (2 / sqrt(M_PI) * exp(-x * x));
    return (float)x;
}

/* How far above the mean values must be to be among all but SHARE of them. */
static double
scale_of(double share)
{
    return (double)(inverse_erf(2.0F * (float)share - 1.0F) * (float)sqrt(2.0));
}

/* The share with the fewest digits that gives SCALE; NaN if none does. */
static double
share_of(double scale)
{
    const double share = (1 + erf(scale / sqrt(2.0))) / 2;
    char text[32];

    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, share);
        if ((float)scale_of(strtod(text, NULL)) == (float)scale)
            return strtod(text, NULL);
    }
    return NAN;
}

static enum nb_status
restore(const struct nb_restoration *r, struct nb_error *err)
{
    json_t *shares = json_array();
    bool good = shares != NULL;

    for (uint64_t i = 0; i < nb_restore_layers(r) && good; i++) {
        const double share = share_of(nb_hp_at(r->hp, NB_HP_SPARSITY_SCALE, i));

        if (isnan(share)) {
            json_decref(shares);
            return nb_fail(err, NB_UNSUPPORTED, "no share of sparsity gives the scale of layer %u", (unsigned)i);
        }
        good = json_array_append_new(shares, json_real(share)) == 0;
    }
    if (!good)
        json_decref(shares);
    good = good && nb_restore(r, "activation_sparsity_pattern", shares) &&
           nb_restore_each(r, "intermediate_size", NB_HP_FEED_FORWARD) &&
           nb_restore_number(r, "vocab_size_per_layer_input", nb_hp(r->hp, NB_HP_VOCAB));
    return good ? NB_OK : nb_fail_memory(err);
}

/* By layer: the sizes of the feed-forward part, and how far above the mean values must be to count. */
static enum nb_status
derive_layers(json_t *root, const char *name, struct nb_hparams *hp, struct nb_error *err)
{
    const size_t layers = (size_t)fmin(nb_hp(hp, NB_HP_LAYERS), NB_MAX_LAYERS);
    json_t *pattern = nb_config_find(root, "activation_sparsity_pattern");
    double sizes[NB_MAX_LAYERS], scales[NB_MAX_LAYERS];
    const bool given = pattern != NULL && !json_is_null(pattern);
    enum nb_status status = NB_OK;

    if (given && json_array_size(pattern) != layers)
        return nb_fail(err, NB_INPUT, "%s: activation_sparsity_pattern has not one number for each layer", name);
    for (size_t i = 0; i < layers; i++) {
        const double share = given ? json_number_value(json_array_get(pattern, i)) : layers > 10 && i < 10 ? 0.95 : 0;

        if (!(share >= 0 && share < 1))
            return nb_fail(err, NB_INPUT, "%s: activation_sparsity_pattern has a number that is no share", name);
        scales[i] = scale_of(share);
        sizes[i] = nb_hp_at(hp, NB_HP_FEED_FORWARD, i);
    }
    status = nb_hp_set_each(hp, NB_HP_SPARSITY_SCALE, scales, layers, given, err);
    return status == NB_OK ? nb_hp_set_each(hp, NB_HP_FEED_FORWARD, sizes, layers, true, err) : status;
}

static const struct nb_config_rule rules[] = {
    { "hidden_activation", NB_CONFIG_ONLY, "gelu_pytorch_tanh", NULL },
    { "attention_bias", NB_CONFIG_BIASES, ".self_attn.q_proj.bias", NULL },
    { "activation_sparsity_pattern", NB_CONFIG_IGNORED, NULL, NULL }, /* derive_layers */
    { "altup_num_inputs", NB_CONFIG_ONLY, "4", NULL },
    { "hidden_size_per_layer_input", NB_CONFIG_ONLY, "256", NULL },
    { "laurel_rank", NB_CONFIG_ONLY, "64", NULL },
    { "altup_coef_clip", NB_CONFIG_IGNORED, NULL, NULL }, /* in training only */
    { "altup_lr_multiplier", NB_CONFIG_IGNORED, NULL, NULL },
    { "altup_correct_scale", NB_CONFIG_ONLY, "true", NULL },
    { "vocab_size_per_layer_input", NB_CONFIG_IGNORED, NULL, NULL }, /* filled up to the vocabulary */
    { "audio_soft_tokens_per_image", NB_CONFIG_IGNORED, NULL, NULL },
    { "vision_soft_tokens_per_image", NB_CONFIG_IGNORED, NULL, NULL },
};

static const struct nb_key_row keys[] = {
    BASE_KEYS(KEY),
    KEY(NB_HP_FINAL_SOFTCAP),
    KEY(NB_HP_SLIDING_WINDOW),
    KEY(NB_HP_ALTUP_ACTIVE),
    KEY(NB_HP_ALTUP_INPUTS),
    KEY(NB_HP_EMBEDDING_PER_LAYER),
    KEY(NB_HP_SHARED_KV_LAYERS),
    KEY(NB_HP_SPARSITY_SCALE),
    KEY(NB_HP_SLIDING_PATTERN),
};

static const char *const classes[] = { "Gemma3nForConditionalGeneration", "Gemma3nForCausalLM", NULL };

const struct nb_family nb_family_gemma3n = {
    .model_type = "gemma3n_text",
    .model_class = "Gemma3nForCausalLM",
    .restore = restore,
    FAMILY(classes, nb_arch_gemma3n, config, rules, keys, tensors),
    .derive = derive_layers,
    .tokenizer = { .no_space_prefix = true },
    .vocab_of_config = true, .mlx = &nb_mlx_gemma3n
};
