#include "cli/cache_size.h"

#include "formats/elements/types.h"
#include "formats/gguf/metadata.h"
#include "formats/models/architecture.h"
#include "formats/models/expression.h"
#include "formats/models/hparams.h"

#include <stdio.h>
#include <string.h>

#define USUAL_CONTEXT 4096u
#define BATCH 512u             /* llama.cpp's --ubatch-size, which a sliding layer keeps besides its window */
#define CELLS 256u             /* a cache holds a multiple of so many tokens */
#define SHARED_FROM (1u << 20) /* GLM models for so many tokens have layers that use the selection of an earlier one */
#define MAX_SIDE 65536u        /* more is no model, and could overflow */
#define MAX_VALUES 1e18

/* What the hyperparameters say of the cache. */
struct attention {
    const struct nb_hparams *hp;
    enum nb_hparam heads; /* whose keys and values a layer keeps */
    uint64_t layers, trained;
    uint64_t own;                         /* layers before this one have keys and values of their own */
    uint64_t full_interval;               /* one of so many layers has attention; 0: all */
    uint64_t full, swa;                   /* a key and a value of one head: of a full layer, of a sliding one */
    const struct nb_arch_tensor *indexer; /* a tensor of the layers with an indexer, which keeps INDEXED for a token */
    uint64_t indexed;
    struct nb_window_rule rule;
    uint64_t window; /* of layers that slide */
};

static uint64_t
number(const struct attention *a, enum nb_hparam hparam, uint64_t otherwise)
{
    return (uint64_t)nb_hp_or(a->hp, hparam, (double)otherwise);
}

static bool
is_by_layer(const struct attention *a, enum nb_hparam hparam)
{
    return a->hp->value[hparam].each != NULL;
}

/* Architectures that are not known slide only with a pattern in the file. */
static void
read_windows(const struct nb_arch *arch, struct attention *a)
{
    a->rule = arch != NULL ? arch->window : (struct nb_window_rule){ 0 };
    if (a->rule.period > 0 || nb_hp_has(a->hp, NB_HP_SLIDING_PATTERN))
        a->window = number(a, NB_HP_SLIDING_WINDOW, a->rule.window);
}

/*
 * An indexer keeps one key for a token, in a cache of the same kind (llama-kv-cache-dsa.cpp, llama-kv-cache-msa.cpp). False
 * if not all layers have it that the table says.
 */
static bool
read_indexer(const struct nb_arch *arch, const struct nb_metadata *meta, uint64_t value, struct attention *a)
{
    const uint64_t key = number(a, NB_HP_INDEXER_KEY_LENGTH, 0);
    char types[128];

    if (key == 0)
        return true;
    a->indexer = arch == NULL ? NULL : nb_arch_row(arch, "blk.%l.indexer.k_norm.weight");
    if (a->indexer == NULL || key > MAX_SIDE)
        return false;
    a->indexed = key + (nb_hp_has(a->hp, NB_HP_KV_LORA_RANK) ? 0 : value);
    snprintf(types, sizeof types, "%s.attention.indexer.types", arch->name);
    return a->indexer->presence == NB_REQUIRED || (nb_meta_find(meta, types) == NULL && a->trained < SHARED_FROM);
}

/* The values of a key and a value of one head. False if the file does not say. */
static bool
read_sides(const struct nb_arch *arch, const struct nb_metadata *meta, struct attention *a)
{
    const bool compressed = nb_hp_has(a->hp, NB_HP_KV_LORA_RANK);
    const double heads = nb_hp_at(a->hp, NB_HP_HEADS, 0);
    const uint64_t usual = heads > 0 && !is_by_layer(a, NB_HP_HEADS) ? (uint64_t)(nb_hp(a->hp, NB_HP_EMBEDDING) / heads)
                                                                     : 0;
    const uint64_t key = number(a, NB_HP_KEY_LENGTH, usual), value = number(a, NB_HP_VALUE_LENGTH, usual);
    const uint64_t key_swa = number(a, NB_HP_KEY_LENGTH_SWA, key), value_swa = number(a, NB_HP_VALUE_LENGTH_SWA, value);

    if (!is_by_layer(a, a->heads) && nb_hp(a->hp, a->heads) == 0) /* nothing but recurrent layers */
        return true;
    if (key > MAX_SIDE || value > MAX_SIDE || key_swa > MAX_SIDE || value_swa > MAX_SIDE)
        return false;
    a->full = compressed ? key : key + value; /* the compressed key is the value, too */
    a->swa = key_swa + value_swa;
    return key > 0 && (!compressed || (nb_hp_has(a->hp, NB_HP_KEY_LENGTH_MLA) && a->window == 0)) &&
           read_indexer(arch, meta, value, a);
}

static bool
read_attention(const struct nb_arch *arch, const struct nb_metadata *meta, struct attention *a)
{
    uint64_t predicted, shared;

    if (!nb_hp_has(a->hp, NB_HP_LAYERS) || !nb_hp_has(a->hp, NB_HP_CONTEXT) ||
        nb_hp(a->hp, NB_HP_LAYERS) > NB_MAX_LAYERS)
        return false;
    a->layers = number(a, NB_HP_LAYERS, 0);
    a->trained = number(a, NB_HP_CONTEXT, 0);
    shared = number(a, NB_HP_SHARED_KV_LAYERS, 0);
    a->own = shared < a->layers ? a->layers - shared : 0;
    predicted = number(a, NB_HP_NEXTN_LAYERS, 0); /* they run only as a draft model */
    a->layers -= predicted < a->layers ? predicted : 0;
    if (!is_by_layer(a, NB_HP_RECURRENT_LAYERS))
        a->full_interval = number(a, NB_HP_FULL_INTERVAL, 0);
    a->heads = nb_hp_has(a->hp, NB_HP_KV_HEADS) ? NB_HP_KV_HEADS : NB_HP_HEADS;
    read_windows(arch, a);
    return nb_hp_has(a->hp, a->heads) && read_sides(arch, meta, a);
}

/* The heads whose keys and values LAYER keeps. */
static uint64_t
heads_of_layer(const struct attention *a, uint64_t layer)
{
    const double heads = nb_hp_at(a->hp, a->heads, layer);
    const bool recurrent = is_by_layer(a, NB_HP_RECURRENT_LAYERS) &&
                           nb_hp_at(a->hp, NB_HP_RECURRENT_LAYERS, layer) != 0;

    if (layer >= a->own || recurrent || (a->full_interval > 0 && (layer + 1) % a->full_interval != 0))
        return 0;
    return heads >= 0 && heads <= MAX_SIDE ? (uint64_t)heads : 0;
}

static uint64_t
whole_cells(uint64_t tokens)
{
    return (tokens + CELLS - 1) / CELLS * CELLS;
}

static void
add_layers(const struct attention *a, enum nb_type type, struct cache_size *out)
{
    const struct nb_type_info *info = nb_type_info(type);
    const uint64_t cells = whole_cells(out->context);
    uint64_t window_cells = a->window < cells ? whole_cells(a->window + BATCH) : cells;
    double values = 0;

    window_cells = window_cells < cells ? window_cells : cells;
    out->cells = cells;
    out->window_cells = window_cells;
    for (uint64_t i = 0; i < a->layers; i++) {
        const uint64_t heads = heads_of_layer(a, i);
        const bool sliding = nb_layer_slides(&a->rule, a->hp, i);
        const bool indexed = a->indexer != NULL && nb_expression_holds(a->indexer->when, a->hp, i);
        const double kept = (double)heads * (double)(sliding ? a->swa * window_cells : a->full * cells) +
                            (double)(indexed ? a->indexed * cells : 0);

        out->layers += heads > 0;
        out->sliding += heads > 0 && sliding;
        out->layer[i].slides = sliding;
        out->layer[i].bytes = kept < MAX_VALUES ? (uint64_t)(kept / info->block * info->block_bytes) : 0;
        values += kept;
    }
    out->known = values > 0 && values < MAX_VALUES;
    if (!out->known)
        return;
    out->bytes = (uint64_t)(values / info->block * info->block_bytes);
    out->window = out->sliding > 0 ? a->window : 0;
}

/* --- recurrent layers ------------------------------------------------------------------------------------------- */

/* The floats that one of them keeps, of its convolution and of its state (llama_hparams::n_embd_r and n_embd_s). */
static double
state_of_layer(const struct nb_hparams *hp)
{
    const double conv = nb_hp(hp, NB_HP_SSM_CONV), kda = nb_hp(hp, NB_HP_KDA_HEAD);
    const double short_conv = nb_hp(hp, NB_HP_SHORTCONV_CACHE);

    if (short_conv > 0)
        return nb_hp(hp, NB_HP_EMBEDDING) * (short_conv - 1);
    if (kda > 0)
        return nb_hp_at(hp, NB_HP_HEADS, 0) * kda * (3 * (conv > 0 ? conv - 1 : 3) + kda);
    return (conv > 0 ? conv - 1 : 0) *
               (nb_hp(hp, NB_HP_SSM_INNER) + 2 * nb_hp(hp, NB_HP_SSM_GROUPS) * nb_hp(hp, NB_HP_SSM_STATE)) +
           nb_hp(hp, NB_HP_SSM_STATE) * nb_hp(hp, NB_HP_SSM_INNER);
}

/* The architecture's tensor that all recurrent layers have, and no others; NULL if it has no such layers. */
static const struct nb_arch_tensor *
tensor_of_recurrent_layers(const struct nb_arch *arch)
{
    static const char *const names[] = { "blk.%l.ssm_conv1d.weight", "blk.%l.ssm_conv1d_q.weight",
                                         "blk.%l.shortconv.conv.weight" };
    const struct nb_arch_tensor *row = NULL;

    for (size_t i = 0; i < sizeof names / sizeof names[0] && row == NULL && arch != NULL; i++)
        row = nb_arch_row(arch, names[i]);
    return row;
}

/* HP gets the values that llama.cpp assumes where the file has none. */
static void
add_states(const struct nb_arch *arch, struct nb_hparams *hp, uint64_t layers, struct cache_size *out)
{
    const struct nb_arch_tensor *row = tensor_of_recurrent_layers(arch);
    struct nb_error ignored;

    out->has_state = nb_hp_has(hp, NB_HP_SSM_STATE) || nb_hp_has(hp, NB_HP_WKV_HEAD) ||
                     nb_hp_has(hp, NB_HP_SHORTCONV_CACHE) || nb_hp_has(hp, NB_HP_KDA_HEAD);
    if (row == NULL || nb_arch_complete(arch, hp, "", &ignored) != NB_OK)
        return;
    for (uint64_t i = 0; i < layers; i++) {
        const double bytes = nb_expression_holds(row->when, hp, i) ? state_of_layer(hp) * sizeof(float) : 0;

        if (!(bytes >= 0 && bytes < MAX_VALUES / NB_MAX_LAYERS))
            return;
        out->layer[i].bytes += (uint64_t)bytes;
        out->state += (uint64_t)bytes;
    }
    out->has_state = false;
    out->known = out->known || out->state > 0;
}

void
measure_cache(const struct nb_metadata *meta, uint64_t context, enum nb_type type, struct cache_size *out)
{
    const char *arch = nb_meta_get_string(meta, "general.architecture");
    struct nb_hparams hp = { 0 };
    struct attention a = { .hp = &hp };

    memset(out, 0, sizeof *out);
    if (arch == NULL || nb_hparams_read(&hp, meta, arch, NULL) != NB_OK)
        return;
    if (read_attention(nb_arch_by_name(arch), meta, &a)) {
        /* Models that look both ways read a text at once, and keep nothing. */
        out->known = nb_hp_has(&hp, NB_HP_CAUSAL) && nb_hp(&hp, NB_HP_CAUSAL) == 0;
        if (!out->known)
            out->context = context > 0 ? context : a.trained < USUAL_CONTEXT ? a.trained : USUAL_CONTEXT;
        if (!out->known && out->context <= INT32_MAX) {
            add_layers(&a, type, out);
            add_states(nb_arch_by_name(arch), &hp, a.layers, out);
        }
    }
    nb_hparams_free(&hp);
}
