#include "cli/cache_size.h"

#include "formats/elements/types.h"
#include "formats/gguf/metadata.h"
#include "formats/models/source.h"

#include <stdio.h>
#include <string.h>

#define USUAL_CONTEXT 4096u
#define BATCH 512u       /* llama.cpp's --ubatch-size, which a sliding layer keeps besides its window */
#define CELLS 256u       /* a cache holds a multiple of so many tokens */
#define MAX_LAYERS 4096u /* more of these are no model, and could overflow */
#define MAX_SIDE 65536u
#define MAX_VALUES 1e18

/*
 * Architectures that slide a window over all but one of PERIOD layers: the last, or the first.
 * A file may have other layers in its sliding_window_pattern. llama.cpp v0.5.0, src/models;
 * architectures that are not here slide only with such a pattern.
 */
static const struct rule {
    const char *arch;
    uint64_t period;
    bool first_is_full;
    uint64_t window; /* where the file names none; 0: then no layer slides */
} rules[] = {
    { "afmoe", 4, false, 0 },   { "cohere2", 4, false, 0 },      { "cohere2moe", 4, true, 0 },
    { "exaone4", 4, false, 0 }, { "exaone-moe", 4, false, 0 },   { "gemma2", 2, false, 4096 },
    { "gemma3", 6, false, 0 },  { "gemma3n", 5, false, 0 },      { "gpt-oss", 2, false, 0 },
    { "laguna", 4, true, 0 },   { "llama4", 4, false, 8192 },    { "mellum", 4, false, 0 },
    { "olmo2", 4, false, 0 },   { "muse-glimmer", 4, false, 0 }, { "plamo3", 8, false, 0 },
    { "smallthinker", 4, true, 0 },
};

/* What the keys of a file say of its layers. */
struct attention {
    uint64_t layers, trained;
    const struct nb_kv *heads;      /* of keys and values, one number or one for each layer */
    uint64_t own;                   /* layers before this one have keys and values of their own */
    uint64_t full_interval;         /* one of so many layers has attention; 0: all */
    const struct nb_kv *recurrent;  /* for each layer: it has none; NULL: not said */
    uint64_t full, swa;             /* a key and a value of one head: of a full layer, of a sliding one */
    uint64_t window, period;
    bool first_is_full;
    const struct nb_kv *pattern;    /* for each layer: it slides; NULL: by PERIOD */
};

static const struct nb_kv *
find(const struct nb_source *s, const char *arch, const char *suffix)
{
    char key[128];

    snprintf(key, sizeof key, "%.60s.%s", arch, suffix);
    return nb_meta_find(&s->meta, key);
}

static bool
get(const struct nb_source *s, const char *arch, const char *suffix, uint64_t *out)
{
    const struct nb_kv *kv = find(s, arch, suffix);

    return kv != NULL && nb_meta_get_u64(&s->meta, kv->key, out);
}

static const struct nb_kv *
find_array(const struct nb_source *s, const char *arch, const char *suffix)
{
    const struct nb_kv *kv = find(s, arch, suffix);

    return kv != NULL && kv->type == NB_KV_ARRAY ? kv : NULL;
}

/* Element I of an array of booleans or 32-bit integers, 0 if there is none. */
static uint64_t
element(const struct nb_kv *kv, uint64_t i)
{
    uint32_t value = 0;

    if (i < kv->count && nb_kv_type_size(kv->element) == sizeof value)
        memcpy(&value, kv->data + sizeof value * i, sizeof value);
    else if (i < kv->count && kv->element == NB_KV_BOOL)
        value = kv->data[i];
    return value;
}

static void
read_windows(const struct nb_source *s, const char *arch, struct attention *a)
{
    const struct rule *rule = NULL;
    bool says;

    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        if (strcmp(rules[i].arch, arch) == 0)
            rule = &rules[i];
    a->window = rule != NULL ? rule->window : 0;
    a->period = rule != NULL ? rule->period : 1;
    a->first_is_full = rule != NULL && rule->first_is_full;
    (void)get(s, arch, "attention.sliding_window", &a->window);
    a->pattern = find_array(s, arch, "attention.sliding_window_pattern");
    says = get(s, arch, "attention.sliding_window_pattern", &a->period) || a->pattern != NULL;
    if (rule == NULL && !says)
        a->window = 0;
}

/* The values of a key and a value of one head. False if the file does not tell. */
static bool
read_sides(const struct nb_source *s, const char *arch, struct attention *a)
{
    uint64_t key = 0, value, key_swa, value_swa, embedding, heads, unused;
    const bool compressed = get(s, arch, "attention.kv_lora_rank", &unused);

    if (!get(s, arch, "attention.key_length", &key) && get(s, arch, "embedding_length", &embedding) &&
        get(s, arch, "attention.head_count", &heads) && heads > 0)
        key = embedding / heads;
    if (!get(s, arch, "attention.value_length", &value))
        value = key;
    if (!get(s, arch, "attention.key_length_swa", &key_swa))
        key_swa = key;
    if (!get(s, arch, "attention.value_length_swa", &value_swa))
        value_swa = value;
    if (key > MAX_SIDE || value > MAX_SIDE || key_swa > MAX_SIDE || value_swa > MAX_SIDE)
        return false;
    a->full = compressed ? key : key + value; /* the compressed key is the value, too */
    a->swa = key_swa + value_swa;
    return key > 0 && (!compressed || (get(s, arch, "attention.key_length_mla", &unused) && a->window == 0)) &&
           find(s, arch, "attention.indexer.key_length") == NULL;
}

static bool
read_attention(const struct nb_source *s, const char *arch, struct attention *a)
{
    uint64_t predicted = 0, shared = 0;

    if (!get(s, arch, "block_count", &a->layers) || !get(s, arch, "context_length", &a->trained) ||
        a->layers > MAX_LAYERS)
        return false;
    (void)get(s, arch, "attention.shared_kv_layers", &shared);
    a->own = shared < a->layers ? a->layers - shared : 0;
    (void)get(s, arch, "nextn_predict_layers", &predicted); /* they run only as a draft model */
    a->layers -= predicted < a->layers ? predicted : 0;
    a->recurrent = find_array(s, arch, "attention.recurrent_layers");
    if (a->recurrent == NULL)
        (void)get(s, arch, "full_attention_interval", &a->full_interval);
    a->heads = find(s, arch, "attention.head_count_kv");
    if (a->heads == NULL)
        a->heads = find(s, arch, "attention.head_count");
    read_windows(s, arch, a);
    return a->heads != NULL && read_sides(s, arch, a);
}

static bool
slides(const struct attention *a, uint64_t layer)
{
    if (a->window == 0)
        return false;
    if (a->pattern != NULL)
        return element(a->pattern, layer) != 0;
    if (a->period == 0)
        return true;
    return a->first_is_full ? layer % a->period != 0 : layer % a->period < a->period - 1;
}

/* The heads whose keys and values LAYER keeps. */
static uint64_t
heads_of_layer(const struct nb_source *s, const struct attention *a, uint64_t layer)
{
    uint64_t heads = 0;

    if (layer >= a->own || (a->recurrent != NULL && element(a->recurrent, layer) != 0) ||
        (a->full_interval > 0 && (layer + 1) % a->full_interval != 0))
        return 0;
    if (a->heads->type == NB_KV_ARRAY)
        heads = element(a->heads, layer);
    else
        (void)nb_meta_get_u64(&s->meta, a->heads->key, &heads);
    return heads <= MAX_SIDE ? heads : 0;
}

/* Models that look both ways read a text at once, and keep nothing. */
static bool
is_causal(const struct nb_source *s, const char *arch)
{
    const struct nb_kv *kv = find(s, arch, "attention.causal");
    bool causal;

    return kv == NULL || !nb_meta_get_bool(&s->meta, kv->key, &causal) || causal;
}

static uint64_t
whole_cells(uint64_t tokens)
{
    return (tokens + CELLS - 1) / CELLS * CELLS;
}

void
measure_cache(const struct nb_source *source, uint64_t context, enum nb_type type, struct cache_size *out)
{
    const char *arch = nb_meta_get_string(&source->meta, "general.architecture");
    const struct nb_type_info *info = nb_type_info(type);
    struct attention a = { 0 };
    uint64_t cells, window_cells;
    double values = 0;

    memset(out, 0, sizeof *out);
    if (arch == NULL || !read_attention(source, arch, &a))
        return;
    if (!is_causal(source, arch)) {
        out->known = true;
        return;
    }
    out->context = context > 0 ? context : a.trained < USUAL_CONTEXT ? a.trained : USUAL_CONTEXT;
    if (out->context > INT32_MAX)
        return;
    cells = whole_cells(out->context);
    window_cells = a.window < cells ? whole_cells(a.window + BATCH) : cells;
    window_cells = window_cells < cells ? window_cells : cells;
    for (uint64_t i = 0; i < a.layers; i++) {
        const uint64_t heads = heads_of_layer(source, &a, i);
        const bool sliding = slides(&a, i);

        out->layers += heads > 0;
        out->sliding += heads > 0 && sliding;
        values += (double)heads * (double)(sliding ? a.swa * window_cells : a.full * cells);
    }
    out->known = values > 0 && values < MAX_VALUES;
    if (!out->known)
        return;
    out->bytes = (uint64_t)(values / info->block * info->block_bytes);
    out->window = out->sliding > 0 ? a.window : 0;
    out->has_state = find(source, arch, "ssm.state_size") != NULL || find(source, arch, "wkv.head_size") != NULL ||
                     find(source, arch, "shortconv.l_cache") != NULL || find(source, arch, "kda.head_dim") != NULL;
}
