#include "model_summary.h"

#include "text.h"

#include <stdio.h>
#include <string.h>

#define USUAL_CONTEXT 4096u
#define MAX_LAYERS 4096u

const char *
role_name(enum tensor_role role)
{
    static const char *const names[ROLES] = { "embedding", "output", "attention", "feed-forward", "experts", "norms",
                                              "other" };

    return names[role];
}

static enum tensor_role
role_of(const char *name)
{
    const char *part = strncmp(name, "blk.", 4) == 0 ? strchr(name + 4, '.') : NULL;

    if (strstr(name, "_norm") != NULL)
        return ROLE_NORMS;
    if (strncmp(name, "token_embd", 10) == 0 || strncmp(name, "position_embd", 13) == 0)
        return ROLE_EMBEDDING;
    if (strncmp(name, "output", 6) == 0)
        return ROLE_OUTPUT;
    if (part == NULL)
        return ROLE_OTHER;
    if (strstr(part, "_exps") != NULL || strstr(part, "ffn_gate_inp") != NULL)
        return ROLE_EXPERTS;
    if (strncmp(part, ".attn_", 6) == 0)
        return ROLE_ATTENTION;
    return strncmp(part, ".ffn_", 5) == 0 ? ROLE_FEED_FORWARD : ROLE_OTHER;
}

double
total_bpw(const struct tensor_total *total)
{
    return total->elements == 0 ? 0 : 8.0 * (double)total->bytes / (double)total->elements;
}

static void
add(struct tensor_total *total, const struct nb_tensor *t)
{
    total->tensors++;
    total->elements += t->elements;
    total->bytes += t->bytes;
}

/* --- the cache --------------------------------------------------------------------------------------------- */

static bool
get(const struct nb_source *s, const char *arch, const char *suffix, uint64_t *out)
{
    char key[128];

    snprintf(key, sizeof key, "%.60s.%s", arch, suffix);
    return nb_meta_get_u64(&s->meta, key, out);
}

/* The number of key-value heads of LAYER, which may be one for all or one for each. */
static uint64_t
heads_of_layer(const struct nb_source *s, const char *arch, uint64_t layer)
{
    const struct nb_kv *kv;
    uint64_t heads = 0;
    uint32_t each;
    char key[128];

    snprintf(key, sizeof key, "%.60s.attention.head_count_kv", arch);
    kv = nb_meta_find(&s->meta, key);
    if (kv == NULL) {
        snprintf(key, sizeof key, "%.60s.attention.head_count", arch);
        kv = nb_meta_find(&s->meta, key);
    }
    if (kv != NULL && kv->type == NB_KV_ARRAY && layer < kv->count && nb_kv_type_size(kv->element) == 4) {
        memcpy(&each, kv->data + 4 * layer, sizeof each);
        heads = each <= 4096 ? each : 0;
    } else if (kv != NULL) {
        (void)nb_meta_get_u64(&s->meta, key, &heads);
    }
    return heads;
}

static void
measure_cache(const struct nb_source *s, uint64_t context, enum nb_type type, struct model_summary *out)
{
    const char *arch = nb_meta_get_string(&s->meta, "general.architecture");
    const struct nb_type_info *info = nb_type_info(type);
    uint64_t layers, trained, embedding, heads, key = 0, value, unused, elements = 0;

    if (arch == NULL || !get(s, arch, "block_count", &layers) || !get(s, arch, "context_length", &trained) ||
        layers > MAX_LAYERS || get(s, arch, "attention.kv_lora_rank", &unused)) /* compressed: another cache */
        return;
    out->has_window = get(s, arch, "attention.sliding_window", &unused) && unused > 0;
    out->context = context > 0 ? context : trained < USUAL_CONTEXT ? trained : USUAL_CONTEXT;
    if (!get(s, arch, "attention.key_length", &key) && get(s, arch, "embedding_length", &embedding) &&
        get(s, arch, "attention.head_count", &heads) && heads > 0)
        key = embedding / heads;
    if (!get(s, arch, "attention.value_length", &value))
        value = key;
    for (uint64_t i = 0; i < layers; i++)
        elements += heads_of_layer(s, arch, i) * (key + value);
    if (elements == 0 || elements > UINT32_MAX * (uint64_t)MAX_LAYERS || out->context > UINT32_MAX)
        return;
    out->has_cache = true;
    out->cache_bytes = (uint64_t)((double)elements * (double)out->context * info->block_bytes / info->block);
}

void
summarize(const struct nb_source *source, uint64_t context, enum nb_type cache_type, struct model_summary *out)
{
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < source->n_tensors; i++) {
        const struct nb_tensor *t = &source->tensors[i];
        const enum tensor_role role = role_of(t->name);

        add(&out->all, t);
        add(&out->of_type[t->type], t);
        add(&out->of_role[role], t);
        if (role != ROLE_EMBEDDING && role != ROLE_OUTPUT)
            add(&out->layers, t);
    }
    measure_cache(source, context, cache_type, out);
}
