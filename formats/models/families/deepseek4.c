/*
 * DeepSeek V4, under the names that its own code gives tensors: weights in FP8, experts in MXFP4. Names and keys:
 * llama.cpp's conversion/deepseek.py. transformers 4.57 does not know the class, so that the reference takes config.json
 * as it is.
 */
#include "formats/models/families/chat_templates.h"
#include "formats/models/families/rows.h"
#include "formats/models/model_card.h"

#include <math.h>
#include <string.h>

#define OWN "layers.%l."
#define HYPER(name)                                                 \
    { OWN name "_fn", BLOCK name "_fn.weight", PLAIN },             \
    { OWN name "_base", BLOCK name "_base.weight", PLAIN },         \
    { OWN name "_scale", BLOCK name "_scale.weight", PLAIN }
#define COMPRESSOR(from, to)                                        \
    { OWN from ".ape", BLOCK to "_ape.weight", PLAIN },             \
    { OWN from ".wkv.weight", BLOCK to "_kv.weight", PLAIN },       \
    { OWN from ".wgate.weight", BLOCK to "_gate.weight", PLAIN },   \
    { OWN from ".norm.weight", BLOCK to "_norm.weight", PLAIN }

static const struct nb_map_row tensors[] = {
    { "embed.weight", "token_embd.weight", PLAIN },
    { "norm.weight", "output_norm.weight", PLAIN },
    { "head.weight", "output.weight", PLAIN },
    { "hc_head_fn", "output_hc_fn.weight", PLAIN },
    { "hc_head_base", "output_hc_base.weight", PLAIN },
    { "hc_head_scale", "output_hc_scale.weight", PLAIN },
    HYPER("hc_attn"),
    HYPER("hc_ffn"),
    { OWN "attn_norm.weight", BLOCK "attn_norm.weight", PLAIN },
    { OWN "ffn_norm.weight", BLOCK "ffn_norm.weight", PLAIN },
    { OWN "attn.attn_sink", BLOCK "attn_sinks.weight", PLAIN },
    { OWN "attn.wq_a.weight", BLOCK "attn_q_a.weight", PLAIN },
    { OWN "attn.wq_b.weight", BLOCK "attn_q_b.weight", PLAIN },
    { OWN "attn.q_norm.weight", BLOCK "attn_q_a_norm.weight", PLAIN },
    { OWN "attn.wkv.weight", BLOCK "attn_kv.weight", PLAIN },
    { OWN "attn.kv_norm.weight", BLOCK "attn_kv_a_norm.weight", PLAIN },
    { OWN "attn.wo_a.weight", BLOCK "attn_output_a.weight", PLAIN },
    { OWN "attn.wo_b.weight", BLOCK "attn_output_b.weight", PLAIN },
    COMPRESSOR("attn.compressor", "attn_compressor"),
    COMPRESSOR("attn.indexer.compressor", "indexer_compressor"),
    { OWN "attn.indexer.wq_b.weight", BLOCK "indexer.attn_q_b.weight", PLAIN },
    { OWN "attn.indexer.weights_proj.weight", BLOCK "indexer.proj.weight", PLAIN },
    { OWN "ffn.gate.weight", BLOCK "ffn_gate_inp.weight", PLAIN },
    { OWN "ffn.gate.bias", BLOCK "exp_probs_b.bias", PLAIN },
    { OWN "ffn.gate.bias_vl", BLOCK "exp_probs_b_vl.bias", PLAIN },
    { OWN "ffn.gate.tid2eid", BLOCK "ffn_gate_tid2eid.weight", { { NB_MAP_NUMBERS, { "experts" } } } },
    { OWN "ffn.experts.%e.w1.weight", BLOCK "ffn_gate_exps.weight", PLAIN },
    { OWN "ffn.experts.%e.w2.weight", BLOCK "ffn_down_exps.weight", PLAIN },
    { OWN "ffn.experts.%e.w3.weight", BLOCK "ffn_up_exps.weight", PLAIN },
    { OWN "ffn.shared_experts.w1.weight", BLOCK "ffn_gate_shexp.weight", PLAIN },
    { OWN "ffn.shared_experts.w2.weight", BLOCK "ffn_down_shexp.weight", PLAIN },
    { OWN "ffn.shared_experts.w3.weight", BLOCK "ffn_up_shexp.weight", PLAIN },
};

static const char *const first_tensors[] = {
    BLOCK "ffn_gate_tid2eid.weight",
    BLOCK "ffn_gate_exps.weight|" BLOCK "ffn_down_exps.weight|" BLOCK "ffn_up_exps.weight",
    NULL,
};

/* Layers that predict further tokens, which the reference writes as a file of its own; parts that see. */
static const char *const ignored_prefixes[] = { "mtp.", "aligner.", "image_", NULL };
/* The bias of a router is not used where a table chooses. */
static const char *const ignored_suffixes[] = { ".ffn.gate.bias", NULL };

static const struct nb_config_row config[] = {
    { NB_HP_LAYERS, "num_hidden_layers", NULL },
    { NB_HP_EMBEDDING, "hidden_size", NULL },
    { NB_HP_FEED_FORWARD, "intermediate_size", "" },
    { NB_HP_HEADS, "num_attention_heads", NULL },
    { NB_HP_KV_HEADS, "num_key_value_heads", NULL },
    { NB_HP_KEY_LENGTH, "head_dim", NULL },
    { NB_HP_VALUE_LENGTH, "head_dim", NULL },
    { NB_HP_ROPE_DIMS, "qk_rope_head_dim", NULL },
    { NB_HP_CONTEXT, "max_position_embeddings", NULL },
    { NB_HP_RMS_EPSILON, "rms_norm_eps", NULL },
    CONFIG_ROPE_BASE(NULL),
    { NB_HP_Q_LORA_RANK, "q_lora_rank", NULL },
    { NB_HP_SLIDING_WINDOW, "sliding_window", NULL },
    { NB_HP_EXPERTS, "n_routed_experts", NULL },
    { NB_HP_EXPERTS_USED, "num_experts_per_tok", NULL },
    { NB_HP_EXPERT_GATING, "scoring_func", NULL },
    { NB_HP_EXPERT_FEED_FORWARD, "moe_intermediate_size", NULL },
    { NB_HP_EXPERTS_SHARED, "n_shared_experts", NULL },
    { NB_HP_EXPERT_WEIGHTS_SCALE, "routed_scaling_factor", NULL },
    { NB_HP_EXPERT_WEIGHTS_NORM, "norm_topk_prob", NULL },
    { NB_HP_INDEXER_HEADS, "index_n_heads", NULL },
    { NB_HP_INDEXER_KEY_LENGTH, "index_head_dim", NULL },
    { NB_HP_INDEXER_TOP_K, "index_topk", NULL },
    { NB_HP_OUTPUT_GROUPS, "o_groups", NULL },
    { NB_HP_OUTPUT_RANK, "o_lora_rank", NULL },
    { NB_HP_COMPRESS_RATIOS, "compress_ratios", NULL },
    { NB_HP_COMPRESS_BASE, "compress_rope_theta", NULL },
    { NB_HP_HYPER_COUNT, "hc_mult", NULL },
    { NB_HP_HYPER_ITERATIONS, "hc_sinkhorn_iters", NULL },
    { NB_HP_HYPER_EPSILON, "hc_eps", NULL },
    { NB_HP_HASH_LAYERS, "num_hash_layers", NULL },
    { NB_HP_EMBEDDING_OUT, "", "hyper_count * embedding" },
};

static const struct nb_config_rule rules[] = {
    { "hidden_act", NB_CONFIG_ONLY, "silu|swish", NULL },
    { "attention_bias", NB_CONFIG_ONLY, "false", NULL },
    { "topk_method", NB_CONFIG_ONLY, "noaux_tc", NULL },
    { "expert_dtype", NB_CONFIG_IGNORED, NULL, NULL }, /* the tensors show it */
    { "swiglu_limit", NB_CONFIG_IGNORED, NULL, NULL }, /* derive */
    { "num_nextn_predict_layers", NB_CONFIG_IGNORED, NULL, NULL },
};

static double
limit_of_layer(json_t *from, const struct nb_hparams *hp, uint64_t layer)
{
    json_t *limit = nb_config_find(from, "swiglu_limit");

    (void)hp;
    (void)layer;
    return json_is_number(limit) ? json_number_value(limit) : NAN;
}

/* One limit for all layers, and a ratio of compression for each of them at least. */
static enum nb_status
derive(json_t *from, const char *name, struct nb_hparams *hp, struct nb_error *err)
{
    enum nb_status status = nb_derive_each(from, name, NB_HP_SWIGLU_CLAMP, limit_of_layer, hp, err);

    if (status == NB_OK)
        status = nb_derive_each(from, name, NB_HP_SWIGLU_CLAMP_SHARED, limit_of_layer, hp, err);
    if (status != NB_OK)
        return status;
    if ((double)hp->value[NB_HP_COMPRESS_RATIOS].count < nb_hp(hp, NB_HP_LAYERS))
        return nb_fail(err, NB_INPUT, "%s: compress_ratios has not a ratio for each layer", name);
    return NB_OK;
}

/* The model's folder has no template, but code; the version of July 31 is known by its name. */
static enum nb_status
write_template(const struct nb_conversion *c, struct nb_metadata *meta, struct nb_error *err)
{
    char name[256];
    enum nb_status status = nb_model_folder_name(c->checkpoint->folder, name, sizeof name, err);

    if (status != NB_OK)
        return status;
    nb_meta_set_string(meta, "tokenizer.chat_template",
                       (const char *)(strstr(name, "0731") != NULL ? nb_chat_template_deepseek_v4_0731
                                                                   : nb_chat_template_deepseek_v4));
    return nb_meta_status(meta, err);
}

static const struct nb_key_row keys[] = {
    BASE_SIZES,
    BASE_EXPERTS,
    BASE_END(KEY),
    KEY(NB_HP_ROPE_DIMS),
    KEY(NB_HP_Q_LORA_RANK),
    KEY(NB_HP_SLIDING_WINDOW),
    KEY(NB_HP_EXPERT_FEED_FORWARD),
    KEY(NB_HP_EXPERTS_SHARED),
    KEY(NB_HP_EXPERT_WEIGHTS_SCALE),
    KEY(NB_HP_EXPERT_WEIGHTS_NORM),
    KEY(NB_HP_SWIGLU_CLAMP),
    KEY(NB_HP_SWIGLU_CLAMP_SHARED),
    KEY(NB_HP_INDEXER_HEADS),
    KEY(NB_HP_INDEXER_KEY_LENGTH),
    KEY(NB_HP_INDEXER_TOP_K),
    KEY(NB_HP_OUTPUT_GROUPS),
    KEY(NB_HP_OUTPUT_RANK),
    KEY(NB_HP_COMPRESS_RATIOS),
    KEY(NB_HP_COMPRESS_BASE),
    KEY(NB_HP_HYPER_COUNT),
    KEY(NB_HP_HYPER_ITERATIONS),
    KEY(NB_HP_HYPER_EPSILON),
    KEY(NB_HP_HASH_LAYERS),
    KEY(NB_HP_EMBEDDING_OUT),
};

static const char *const classes[] = { "DeepseekV4ForCausalLM", NULL };

const struct nb_family nb_family_deepseek4 = {
    FAMILY(classes, nb_arch_deepseek4, config, rules, keys, tensors),
    .derive = derive,
    .first = write_template,
    .first_tensors = first_tensors,
    .keeps_types = true,
    .ignored_prefixes = ignored_prefixes,
    .ignored_suffixes = ignored_suffixes,
};
