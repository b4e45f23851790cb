#include "formats/gguf/gguf.h"

#include "formats/base/checked.h"

#include <stdlib.h>
#include <string.h>

/* Only counts if BYTES is NULL, otherwise writes: the same code computes the size. */
struct writer {
    unsigned char *bytes;
    uint64_t at;
    bool overflow;
};

static void
put(struct writer *w, const void *from, uint64_t size)
{
    if (w->bytes != NULL && size > 0)
        memcpy(w->bytes + w->at, from, (size_t)size);
    if (!nb_add_u64(w->at, size, &w->at))
        w->overflow = true;
}

static void
put_number(struct writer *w, uint64_t value, unsigned bytes)
{
    unsigned char raw[8];

    for (unsigned i = 0; i < bytes; i++)
        raw[i] = (unsigned char)(value >> (8 * i));
    put(w, raw, bytes);
}

static void
put_string(struct writer *w, const void *s, uint64_t length)
{
    put_number(w, length, 8);
    put(w, s, length);
}

static void
put_kv(struct writer *w, const struct nb_kv *kv)
{
    put_string(w, kv->key, strlen(kv->key));
    put_number(w, kv->type, 4);
    if (kv->type == NB_KV_STRING) {
        put_string(w, kv->data, kv->size);
        return;
    }
    if (kv->type == NB_KV_ARRAY) {
        put_number(w, kv->element, 4);
        put_number(w, kv->count, 8);
    }
    put(w, kv->data, kv->size);
}

static void
put_info(struct writer *w, const struct nb_gguf_info *info)
{
    put_string(w, info->name, strlen(info->name));
    put_number(w, info->n_dims, 4);
    for (uint32_t i = 0; i < info->n_dims; i++)
        put_number(w, info->ne[i], 8);
    put_number(w, info->type, 4);
    put_number(w, info->offset, 8);
}

static void
put_header(struct writer *w, const struct nb_metadata *meta, const struct nb_gguf_info *infos, size_t count)
{
    const uint32_t alignment = nb_gguf_alignment(meta);

    put(w, NB_GGUF_MAGIC, 4);
    put_number(w, NB_GGUF_VERSION, 4);
    put_number(w, count, 8);
    put_number(w, meta->count, 8);
    for (size_t i = 0; i < meta->count; i++)
        put_kv(w, &meta->items[i]);
    for (size_t i = 0; i < count; i++)
        put_info(w, &infos[i]);
    while (w->at % alignment != 0 && !w->overflow)
        put(w, "", 1);
}

enum nb_status
nb_gguf_header(const struct nb_metadata *meta, const struct nb_gguf_info *infos, size_t count, unsigned char **header,
               uint64_t *size, struct nb_error *err)
{
    struct writer w = { 0 };
    enum nb_status status = nb_gguf_check_metadata(meta, err);

    if (status != NB_OK)
        return status;
    put_header(&w, meta, infos, count);
    if (w.overflow || (w.bytes = nb_malloc(w.at)) == NULL)
        return nb_fail_memory(err);
    *header = w.bytes;
    *size = w.at;
    w.at = 0;
    put_header(&w, meta, infos, count);
    return NB_OK;
}
