/* What the reader refuses, the writer must not write. */
#include "formats/gguf/gguf.h"

#include "formats/base/text.h"

#include <inttypes.h>
#include <string.h>

static enum nb_status
check_text(const struct nb_kv *kv, const char *text, uint64_t length, struct nb_error *err)
{
    return nb_utf8_valid(text, (size_t)length)
               ? NB_OK
               : nb_fail(err, NB_INPUT, "key '%.200s': has a text that is not UTF-8, which GGUF does not allow",
                         kv->key);
}

static enum nb_status
check_value(const struct nb_kv *kv, struct nb_error *err)
{
    const unsigned char *at = kv->data;
    enum nb_status status = NB_OK;

    if (kv->type == NB_KV_STRING)
        return check_text(kv, (const char *)kv->data, kv->size, err);
    for (uint64_t i = 0; kv->type == NB_KV_ARRAY && kv->element == NB_KV_STRING && i < kv->count && status == NB_OK;
         i++) {
        uint64_t length;
        const char *text = nb_kv_next_string(&at, &length);

        status = check_text(kv, text, length, err);
    }
    for (uint64_t i = 0; kv->element == NB_KV_BOOL && i < kv->size && status == NB_OK; i++)
        if (kv->data[i] > 1)
            status = nb_fail(err, NB_INPUT, "key '%.200s': has a boolean that is neither 0 nor 1", kv->key);
    return status;
}

enum nb_status
nb_gguf_check_metadata(const struct nb_metadata *meta, struct nb_error *err)
{
    uint64_t bytes = 24, elements = 0; /* magic, version and counts */
    enum nb_status status = NB_OK;

    for (size_t i = 0; i < meta->count && status == NB_OK; i++) {
        const struct nb_kv *kv = &meta->items[i];
        const size_t length = strlen(kv->key);

        bytes += 8 + length + 4 + kv->size + (kv->type == NB_KV_ARRAY ? 12 : kv->type == NB_KV_STRING ? 8 : 0);
        elements += kv->type == NB_KV_ARRAY ? kv->count : 0;
        if (length == 0 || length > NB_GGUF_MAX_KEY || !nb_is_name(kv->key, length))
            status = nb_fail(err, NB_INPUT, "key %zu of the metadata is empty, too long, or not a name in UTF-8", i);
        else
            status = check_value(kv, err);
    }
    if (status == NB_OK && (bytes > NB_GGUF_MAX_METADATA || elements > NB_GGUF_MAX_ELEMENTS))
        status = nb_fail(err, NB_UNSUPPORTED,
                         "%" PRIu64 " bytes of metadata with %" PRIu64 " elements of arrays: more than %" PRIu64
                         " MiB, or %" PRIu64 " million elements, would not be read again",
                         bytes, elements, NB_GGUF_MAX_METADATA >> 20, NB_GGUF_MAX_ELEMENTS >> 20);
    return status;
}
