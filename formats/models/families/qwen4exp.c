/*
 * Qwen4Exp (Qwen3.8-Flash-Next): Qwen3.5's layers with hyper-connections in the place of norms, an indexer that selects
 * what full attention sees, and a table of embeddings of n-grams, which the tokens' hashes select. Names and keys:
 * llama.cpp's conversion/qwen4exp.py. transformers 4.57 does not know the classes, so that the reference takes
 * config.json as it is.
 */
#include "formats/models/families/qwen_linear.h"

#include "formats/base/text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define HYPER(from, to)                                                                              \
    { from ".hc_norm.weight", to "norm.weight", PLUS_ONE },                                          \
    { from ".input_mix_weight_down.weight", to "down.weight", PLAIN },                               \
    { from ".input_mix_weight_up.weight", to "up.weight", PLAIN }
#define INJECTING(from, to)                                                                          \
    HYPER(from, to), { from ".block_inject_weight.weight", to "inject.weight", PLAIN }
#define PLE LAYER "ple."
#define INDEXER_ROWS "indexer_heads * indexer_key_length"

static const struct nb_map_row tensors[] = {
    { "model.embed_tokens.weight", "token_embd.weight", PLAIN },
    { "lm_head.weight", "output.weight", PLAIN },
    HYPER("model.hyper_connection_mixer", "output_hc_"),
    INJECTING(LAYER "attn_hyper_connection", BLOCK "hc_attn_"),
    INJECTING(LAYER "mlp_hyper_connection", BLOCK "hc_ffn_"),
    ATTENTION(PLAIN),
    Q_K_NORMS_WITH(PLUS_ONE),
    { LAYER "self_attn.indexer.index_qk_proj.weight", BLOCK "indexer.q_proj.weight",
      { { NB_MAP_CUT, { "0", INDEXER_ROWS } } } },
    { LAYER "self_attn.indexer.index_qk_proj.weight", BLOCK "indexer.k_proj.weight",
      { { NB_MAP_CUT, { INDEXER_ROWS, "indexer_key_length" } } } },
    { LAYER "self_attn.indexer.q_layernorm.weight", BLOCK "indexer.q_norm.weight", PLUS_ONE },
    { LAYER "self_attn.indexer.k_layernorm.weight", BLOCK "indexer.k_norm.weight", PLUS_ONE },
    { LAYER "linear_attn.norm.weight", BLOCK "ssm_norm.weight", PLAIN },
    LINEAR_ROWS,
    MIXTURE_ROWS,
    { PLE "key_proj.weight", BLOCK "ple_key.weight", PLAIN },
    { PLE "value_proj.weight", BLOCK "ple_value.weight", PLAIN },
    { PLE "norm_key.weight", BLOCK "ple_norm_key.weight", PLUS_ONE },
    { PLE "norm_query.weight", BLOCK "ple_norm_query.weight", PLUS_ONE },
    { PLE "norm_conv.weight", BLOCK "ple_norm_conv.weight", PLUS_ONE },
    { PLE "conv1d.weight", BLOCK "ple_conv1d.weight", PLAIN },
    { PLE "ple_embedding.ngram_embedding.shard_%e.weight", "per_layer_token_embd.weight",
      { { NB_MAP_JOIN, { "ple_parts" } } } },
};

/* Of the hashes, which become keys. */
#define MULTIPLIERS ".ple_embedding.layer_multipliers"
#define OFFSETS ".ple_embedding.ngram_heads_offsets"
#define SIZES ".ple_embedding.ngram_heads_vocab_sizes"
static const char *const ignored_suffixes[] = { MULTIPLIERS, OFFSETS, SIZES, NULL };
static const char *const ignored_prefixes[] = { "mtp.", "model.mtp.", NULL };

static const struct nb_config_row config[] = {
    { NB_HP_LAYERS, "num_hidden_layers", NULL },
    { NB_HP_EMBEDDING, "hidden_size", NULL },
    { NB_HP_FEED_FORWARD, "intermediate_size", "" },
    { NB_HP_HEADS, "num_attention_heads", NULL },
    { NB_HP_KV_HEADS, "num_key_value_heads", NULL },
    { NB_HP_KEY_LENGTH, "head_dim", "embedding // heads" },
    { NB_HP_VALUE_LENGTH, "head_dim", "embedding // heads" },
    { NB_HP_CONTEXT, "max_position_embeddings", NULL },
    { NB_HP_RMS_EPSILON, "rms_norm_eps", NULL },
    CONFIG_ROPE_BASE(NULL),
    { NB_HP_ROPE_SECTIONS, "mrope_section", "" },
    LINEAR_CONFIG(NULL, NULL, NULL, NULL, NULL),
    { NB_HP_EXPERTS, "num_experts", NULL },
    { NB_HP_EXPERTS_USED, "num_experts_per_tok", NULL },
    { NB_HP_EXPERT_FEED_FORWARD, "moe_intermediate_size", NULL },
    { NB_HP_SHARED_FEED_FORWARD, "shared_expert_intermediate_size", NULL },
    { NB_HP_HYPER_COUNT, "hc_count", NULL },
    { NB_HP_HYPER_RANK, "hc_lowrank", NULL },
    { NB_HP_INDEXER_HEADS, "indexer_n_heads", NULL },
    { NB_HP_INDEXER_KEY_LENGTH, "indexer_head_dim", NULL },
    { NB_HP_INDEXER_TOP_K, "indexer_budget", NULL },
    { NB_HP_PLE_NGRAM, "ngram_size", "" },
    { NB_HP_PLE_HEADS, "heads_per_ngram", "" },
    { NB_HP_PLE_CONV, "ple_conv_kernel_size", "" },
    { NB_HP_PLE_PARTS, "split_ngram_parts", "" },
};

static const struct nb_config_rule rules[] = {
    { "hidden_act", NB_CONFIG_ONLY, "silu|swish", NULL },
    { "attention_bias", NB_CONFIG_ONLY, "false", NULL },
    { "norm_topk_prob", NB_CONFIG_NOTED, "true", "but llama.cpp runs this architecture with it" },
    { "attn_output_gate", NB_CONFIG_ONLY, "true", NULL },
    { "rope.mrope_interleaved", NB_CONFIG_ONLY, "true", NULL },
    { "mamba_ssm_dtype", NB_CONFIG_IGNORED, NULL, NULL }, /* llama.cpp computes in F32 */
    { "indexer_kv_heads", NB_CONFIG_ONLY, "1", NULL },
    { "indexer_compress_ratio", NB_CONFIG_IGNORED, NULL, NULL }, /* write_ratios */
    { "ple_layer_ids", NB_CONFIG_IGNORED, NULL, NULL },          /* derive */
    { "ple_embed_dim", NB_CONFIG_IGNORED, NULL, NULL },          /* the table's tensors show it */
    { "ngram_vocab_size_base", NB_CONFIG_IGNORED, NULL, NULL },  /* what the sizes of the hashes come from */
    { "make_ngram_vocab_size_divisible_by", NB_CONFIG_IGNORED, NULL, NULL },
    { "seed", NB_CONFIG_IGNORED, NULL, NULL },
    { "mtp_num_hidden_layers", NB_CONFIG_IGNORED, NULL, NULL },
};

/* The layer that has n-grams, if there is one; config.json counts from 1. */
static enum nb_status
derive(json_t *from, const char *name, struct nb_hparams *hp, struct nb_error *err)
{
    json_t *listed = nb_config_find(from, "ple_layer_ids");
    const double layer = json_number_value(json_array_get(listed, 0)) - 1;
    const size_t layers = (size_t)fmin(nb_hp(hp, NB_HP_LAYERS), NB_MAX_LAYERS);
    double flags[NB_MAX_LAYERS] = { 0 };
    enum nb_status status = nb_pad_rope_sections(from, name, hp, err);

    if (status != NB_OK || json_array_size(listed) == 0)
        return status;
    if (json_array_size(listed) > 1 || !(layer >= 0 && layer < (double)layers))
        return nb_fail(err, NB_UNSUPPORTED, "%s: ple_layer_ids has not one layer, as llama.cpp needs it", name);
    flags[(size_t)layer] = 1;
    return nb_hp_set_each(hp, NB_HP_PLE_LAYERS, flags, layers, true, err);
}

/* The parts of the table have its rows; the length of a row is stored there only. */
static enum nb_status
measure_table(const struct nb_store *store, const char *name, struct nb_hparams *hp, struct nb_error *err)
{
    double rows = 0, length = 0;

    for (size_t i = 0; i < store->count; i++) {
        const struct nb_tensor *t = &store->tensors[i];

        if (strstr(t->name, ".ngram_embedding.shard_") == NULL)
            continue;
        if (length != 0 && length != (double)t->ne[0])
            return nb_fail(err, NB_INPUT, "%s: the rows of '%s' have another length than those of other parts", name,
                           t->name);
        length = (double)t->ne[0];
        rows += (double)t->ne[1];
    }
    if (length < 1 || length > NB_MAX_SIDE || rows > NB_MAX_SIDE)
        return length == 0 ? NB_OK : nb_fail(err, NB_INPUT, "%s: the table of n-grams has a size that no model has", name);
    nb_hp_set(hp, NB_HP_PLE_ROWS, rows, true);
    nb_hp_set(hp, NB_HP_EMBEDDING_PER_LAYER, length, true);
    return NB_OK;
}

/* Sets "ARCH.KEY" to COUNT numbers. */
static void
set_array(const struct nb_conversion *c, const char *key, enum nb_kv_type type, const void *numbers, size_t count,
          size_t width, struct nb_metadata *meta)
{
    char full[128];

    snprintf(full, sizeof full, "%s.%s", c->family->arch->name, key);
    nb_meta_set(meta, full, NB_KV_ARRAY, type, count, numbers, count * width);
}

/* By how much the indexer's keys are compressed in each layer; 0: there is no indexer. */
static enum nb_status
write_ratios(const struct nb_conversion *c, struct nb_metadata *meta, struct nb_error *err)
{
    const double ratio = json_number_value(nb_config_find(c->config, "indexer_compress_ratio"));
    const size_t layers = (size_t)nb_hp(c->hp, NB_HP_LAYERS);
    int32_t ratios[NB_MAX_LAYERS];

    if (!(ratio >= 1 && ratio <= INT32_MAX) || layers > NB_MAX_LAYERS)
        return nb_fail(err, NB_INPUT, "config.json: indexer_compress_ratio is no count");
    for (size_t i = 0; i < layers; i++)
        ratios[i] = nb_hp_at(c->hp, NB_HP_RECURRENT_LAYERS, i) != 0 ? 0 : (int32_t)ratio;
    set_array(c, "attention.compress_ratios", NB_KV_I32, ratios, layers, sizeof ratios[0], meta);
    return nb_meta_status(meta, err);
}

#define MAX_HASHES 64

/* Writes the integers of the stored tensor whose name ends with SUFFIX. */
static enum nb_status
write_hashes(const struct nb_conversion *c, const char *suffix, const char *key, struct nb_metadata *meta,
             struct nb_error *err)
{
    uint64_t numbers[MAX_HASHES];

    for (size_t i = 0; i < c->store->count; i++) {
        const struct nb_tensor *t = &c->store->tensors[i];
        enum nb_status status;

        if (!nb_ends_with(t->name, suffix))
            continue;
        if (t->type != NB_I64 || t->elements > MAX_HASHES)
            return nb_fail(err, NB_INPUT, "tensor '%s' is no short list of 64-bit integers", t->name);
        status = nb_file_read(&c->store->files[t->file], t->offset, numbers, t->bytes, err);
        if (status == NB_OK)
            set_array(c, key, NB_KV_U64, numbers, (size_t)t->elements, sizeof numbers[0], meta);
        return status == NB_OK ? nb_meta_status(meta, err) : status;
    }
    return nb_fail(err, NB_INPUT, "no tensor '*%s' is stored, without which n-grams have no hashes", suffix);
}

/* The token at which n-grams begin anew: of several end tokens the last one. */
static enum nb_status
write_end_token(const struct nb_conversion *c, struct nb_metadata *meta, struct nb_error *err)
{
    json_t *end = nb_config_find(c->config, "eos_token_id"), *image = nb_config_find(c->config, "image_token_id");
    char key[128];

    if (json_array_size(end) > 0)
        end = json_array_get(end, json_array_size(end) - 1);
    if (!json_is_number(end) || !(json_number_value(end) >= 0) || json_number_value(end) > UINT32_MAX)
        return nb_fail(err, NB_INPUT, "config.json: has no eos_token_id, at which n-grams begin anew");
    snprintf(key, sizeof key, "%s.ple.eos_token_id", c->family->arch->name);
    nb_meta_set_u32(meta, key, (uint32_t)json_number_value(end));
    if (json_is_number(image) && json_number_value(image) >= 0 && json_number_value(image) <= UINT32_MAX) {
        snprintf(key, sizeof key, "%s.ple.image_token_id", c->family->arch->name);
        nb_meta_set_u32(meta, key, (uint32_t)json_number_value(image));
    }
    return nb_meta_status(meta, err);
}

/* Nothing if no layer has n-grams. */
static enum nb_status
write_ple(const struct nb_conversion *c, struct nb_metadata *meta, struct nb_error *err)
{
    static const enum nb_hparam sizes[] = { NB_HP_PLE_NGRAM, NB_HP_PLE_HEADS, NB_HP_PLE_CONV };
    enum nb_status status = nb_hparam_write(c->hp, NB_HP_PLE_LAYERS, c->family->arch->name, meta, err);

    if (nb_hp(c->hp, NB_HP_PLE_LAYERS) == 0)
        return status;
    for (size_t i = 0; i < COUNT(sizes) && status == NB_OK; i++)
        status = nb_hparam_write(c->hp, sizes[i], c->family->arch->name, meta, err);
    if (status == NB_OK)
        status = write_end_token(c, meta, err);
    if (status == NB_OK)
        status = nb_hparam_write(c->hp, NB_HP_EMBEDDING_PER_LAYER, c->family->arch->name, meta, err);
    if (status == NB_OK)
        status = write_hashes(c, MULTIPLIERS, "ple.layer_multipliers", meta, err);
    if (status == NB_OK)
        status = write_hashes(c, OFFSETS, "ple.head_offsets", meta, err);
    return status == NB_OK ? write_hashes(c, SIZES, "ple.head_vocab_sizes", meta, err) : status;
}

static const struct nb_key_row keys[] = {
    LINEAR_KEYS(KEY_IF_GIVEN), WRITE(nb_write_usual_sections), KEY(NB_HP_HYPER_COUNT),   KEY(NB_HP_HYPER_RANK),
    KEY(NB_HP_INDEXER_HEADS),  KEY(NB_HP_INDEXER_KEY_LENGTH),  KEY(NB_HP_INDEXER_TOP_K), WRITE(write_ratios),
    WRITE(write_ple),
};

static const char *const classes[] = { "Qwen4ExpForConditionalGeneration", "Qwen4ExpForCausalLM", NULL };

const struct nb_family nb_family_qwen4exp = {
    FAMILY(classes, nb_arch_qwen4exp, config, rules, keys, tensors),
    .derive = derive,
    .measure = measure_table,
    .ignored_suffixes = ignored_suffixes,
    .ignored_prefixes = ignored_prefixes,
};
