#include "quantize/prune.h"

#include "formats/base/checked.h"
#include "formats/models/hparams.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The beginning and end of the number in "blk.NUMBER."; NULL for a tensor outside the layers. */
static const char *
find_layer(const char *name, uint64_t *layer, const char **end)
{
    for (const char *at = strstr(name, "blk."); at != NULL; at = strstr(at + 1, "blk.")) {
        const char *digits = at + strlen("blk.");
        char *stop;

        if (!isdigit((unsigned char)*digits))
            continue;
        *layer = strtoull(digits, &stop, 10);
        *end = stop;
        if (*stop == '.')
            return digits;
    }
    return NULL;
}

static bool
contains(const uint64_t *layers, size_t n, uint64_t layer)
{
    for (size_t i = 0; i < n; i++)
        if (layers[i] == layer)
            return true;
    return false;
}

/* LAYER's number after the N layers are removed. */
static uint64_t
new_number(const uint64_t *layers, size_t n, uint64_t layer)
{
    uint64_t before = 0;

    for (size_t i = 0; i < n; i++)
        before += layers[i] < layer;
    return layer - before;
}

/* NAME with the new layer number. */
static const char *
renumbered(const char *name, const uint64_t *layers, size_t n, struct nb_arena *arena)
{
    char text[NB_MAX_NAME + 32];
    const char *end, *digits;
    uint64_t layer;

    digits = find_layer(name, &layer, &end);
    if (digits == NULL || new_number(layers, n, layer) == layer)
        return name;
    snprintf(text, sizeof text, "%.*s%" PRIu64 "%s", (int)(digits - name), name, new_number(layers, n, layer), end);
    return nb_arena_strdup(arena, text);
}

void
nb_prune_original_name(const char *name, const uint64_t *layers, size_t n, char *out, size_t size)
{
    const char *end, *digits;
    uint64_t layer, old;

    digits = n == 0 ? NULL : find_layer(name, &layer, &end);
    if (digits == NULL) {
        snprintf(out, size, "%s", name);
        return;
    }
    for (old = layer; contains(layers, n, old) || new_number(layers, n, old) < layer; old++)
        ;
    snprintf(out, size, "%.*s%" PRIu64 "%s", (int)(digits - name), name, old, end);
}

/* Whether SOURCE has a tensor of LAYER. */
static bool
has_layer(const struct nb_source *source, uint64_t wanted)
{
    const char *end;
    uint64_t layer;

    for (size_t i = 0; i < source->n_tensors; i++)
        if (find_layer(source->tensors[i].name, &layer, &end) != NULL && layer == wanted)
            return true;
    return false;
}

enum nb_status
nb_prune_tensors(const struct nb_source *source, const uint64_t *layers, size_t n, struct nb_arena *arena,
                 struct nb_view *out, size_t *count, struct nb_error *err)
{
    bool any_left = n == 0;

    *count = 0;
    for (size_t i = 0; i < n; i++)
        if (!has_layer(source, layers[i]))
            return nb_fail(err, NB_USAGE, "--prune-layers: there is no layer %" PRIu64 " in %s", layers[i],
                           source->path);
    for (size_t i = 0; i < source->n_tensors; i++) {
        struct nb_view *t = &out[*count];
        const char *end;
        uint64_t layer;

        *t = source->tensors[i];
        if (find_layer(t->name, &layer, &end) != NULL) {
            if (contains(layers, n, layer))
                continue;
            any_left = true;
        }
        t->name = renumbered(t->name, layers, n, arena);
        if (t->name == NULL)
            return nb_fail_memory(err);
        (*count)++;
    }
    return any_left ? NB_OK : nb_fail(err, NB_USAGE, "--prune-layers: no layer would be left");
}

/* Removes the elements of LAYERS from KV, a per-layer array. */
static enum nb_status
prune_array(struct nb_metadata *meta, const struct nb_kv *kv, const uint64_t *layers, size_t n, struct nb_error *err)
{
    const uint64_t size = nb_kv_type_size(kv->element);
    unsigned char *kept = nb_malloc(kv->size + 1);
    uint64_t count = 0;

    if (kept == NULL)
        return nb_fail_memory(err);
    for (uint64_t i = 0; i < kv->count; i++)
        if (!contains(layers, n, i))
            memcpy(kept + size * count++, kv->data + size * i, (size_t)size);
    nb_meta_set(meta, kv->key, NB_KV_ARRAY, kv->element, count, kept, size * count);
    free(kept);
    return nb_meta_status(meta, err);
}

enum nb_status
nb_prune_metadata(struct nb_metadata *meta, const uint64_t *layers, size_t n, struct nb_error *err)
{
    const char *arch = nb_meta_get_string(meta, "general.architecture");
    char key[128];
    uint64_t total;

    nb_hparam_key(NB_HP_LAYERS, arch == NULL ? "" : arch, key);
    if (arch == NULL || !nb_meta_get_u64(meta, key, &total))
        return nb_fail(err, NB_INPUT, "--prune-layers: the model does not say how many layers it has (%s)", key);
    for (size_t i = 0; i < meta->count; i++) {
        const struct nb_kv kv = meta->items[i];
        enum nb_status status = NB_OK;

        if (kv.type == NB_KV_ARRAY && kv.count == total && nb_kv_type_size(kv.element) > 0 &&
            strncmp(kv.key, arch, strlen(arch)) == 0 && kv.key[strlen(arch)] == '.')
            status = prune_array(meta, &kv, layers, n, err);
        if (status != NB_OK)
            return status;
    }
    nb_meta_remove(meta, key); /* so that it is set at the end, as in llama-quantize */
    nb_meta_set_u32(meta, key, (uint32_t)(total - n));
    return nb_meta_status(meta, err);
}
