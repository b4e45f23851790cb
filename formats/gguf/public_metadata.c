/* nibble.h: metadata. */
#include "formats/gguf/public_metadata.h"

#include "formats/base/checked.h"
#include "formats/base/public.h"
#include "formats/base/text.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_KEY_BYTES 65535u

_Static_assert((int)NIBBLE_U8 == NB_KV_U8 && (int)NIBBLE_I8 == NB_KV_I8 && (int)NIBBLE_U16 == NB_KV_U16 &&
                   (int)NIBBLE_I16 == NB_KV_I16 && (int)NIBBLE_U32 == NB_KV_U32 && (int)NIBBLE_I32 == NB_KV_I32 &&
                   (int)NIBBLE_F32 == NB_KV_F32 && (int)NIBBLE_BOOL == NB_KV_BOOL &&
                   (int)NIBBLE_STRING == NB_KV_STRING && (int)NIBBLE_U64 == NB_KV_U64 && (int)NIBBLE_I64 == NB_KV_I64 &&
                   (int)NIBBLE_F64 == NB_KV_F64,
               "both are GGUF's numbers");

static struct nb_metadata *
own(struct nibble_metadata *metadata)
{
    return (struct nb_metadata *)metadata;
}

enum nibble_code
nibble_metadata_new(struct nibble_metadata **out, struct nibble_error *error)
{
    struct nb_metadata *meta = calloc(1, sizeof *meta);
    struct nb_error err;

    *out = (struct nibble_metadata *)meta;
    return nb_public_end(meta == NULL ? nb_fail_memory(&err) : NB_OK, &err, error);
}

void
nibble_metadata_free(struct nibble_metadata *metadata)
{
    if (metadata != NULL)
        nb_meta_free(own(metadata));
    free(metadata);
}

/* --- reading --------------------------------------------------------------------------------------------- */

size_t
nibble_metadata_count(const struct nibble_metadata *metadata)
{
    return nb_public_metadata(metadata)->count;
}

static enum nb_status
give_value(const struct nb_kv *kv, struct nibble_value *out, struct nb_error *err)
{
    const bool is_array = kv->type == NB_KV_ARRAY;
    const struct nibble_value value = {
        .key = kv->key,
        .type = (enum nibble_value_type)(is_array ? kv->element : kv->type),
        .is_array = is_array,
        .count = kv->count,
        .data = kv->data,
        .bytes = kv->size,
    };

    return NB_PUBLIC_GIVE(out, value, "nibble_value", err);
}

enum nibble_code
nibble_metadata_at(const struct nibble_metadata *metadata, size_t index, struct nibble_value *out,
                   struct nibble_error *error)
{
    const struct nb_metadata *meta = nb_public_metadata(metadata);
    struct nb_error err;
    enum nb_status status = nb_public_check_index(index, meta->count, "keys", &err);

    if (status == NB_OK)
        status = give_value(&meta->items[index], out, &err);
    return nb_public_end(status, &err, error);
}

enum nibble_code
nibble_metadata_find(const struct nibble_metadata *metadata, const char *key, struct nibble_value *out,
                     struct nibble_error *error)
{
    const struct nb_kv *kv = nb_meta_find(nb_public_metadata(metadata), key);
    struct nb_error err;
    enum nb_status status = kv == NULL ? nb_fail(&err, NB_NOT_FOUND, "there is no key '%.80s'", key)
                                       : give_value(kv, out, &err);

    return nb_public_end(status, &err, error);
}

static bool
is_integer(enum nibble_value_type type)
{
    return type != NIBBLE_STRING && type != NIBBLE_F32 && type != NIBBLE_F64 &&
           nb_kv_type_size((enum nb_kv_type)type) > 0;
}

static bool
is_signed(enum nibble_value_type type)
{
    return type == NIBBLE_I8 || type == NIBBLE_I16 || type == NIBBLE_I32 || type == NIBBLE_I64;
}

/* Integer INDEX of VALUE in 64 bits; a negative one as its two's complement. */
static uint64_t
integer_at(const struct nibble_value *value, uint64_t index)
{
    const size_t size = (size_t)nb_kv_type_size((enum nb_kv_type)value->type);
    const unsigned char *at = (const unsigned char *)value->data + index * size;
    uint64_t number = 0;

    for (size_t i = 0; i < size; i++)
        number |= (uint64_t)at[i] << (8 * i);
    if (is_signed(value->type) && size < 8 && (at[size - 1] & 0x80) != 0)
        number |= UINT64_MAX << (8 * size);
    return number;
}

/* VALUE as this version knows it; refused where it lacks elements FIRST to FIRST + COUNT - 1, or is no GOOD type. */
static enum nb_status
take_range(struct nibble_value *value, const struct nibble_value *from, uint64_t first, uint64_t count,
           struct nb_error *err)
{
    enum nb_status status = NB_PUBLIC_TAKE(*value, from, "nibble_value", err);

    if (status == NB_OK && (first > value->count || count > value->count - first))
        status = nb_fail(err, NB_USAGE, "the value has only %" PRIu64 " elements", value->count);
    return status;
}

enum nibble_code
nibble_value_integers(const struct nibble_value *from, uint64_t first, uint64_t count, int64_t *out,
                      struct nibble_error *error)
{
    struct nibble_value value;
    struct nb_error err;
    enum nb_status status = take_range(&value, from, first, count, &err);

    if (status == NB_OK && !is_integer(value.type))
        status = nb_fail(&err, NB_USAGE, "the value is no integer");
    for (uint64_t i = 0; i < count && status == NB_OK; i++) {
        const uint64_t number = integer_at(&value, first + i);

        if (value.type == NIBBLE_U64 && number > INT64_MAX)
            status = nb_fail(&err, NB_USAGE, "%" PRIu64 " does not fit 64 bits with sign", number);
        memcpy(&out[i], &number, sizeof number);
    }
    return nb_public_end(status, &err, error);
}

static double
float_at(const struct nibble_value *value, uint64_t index)
{
    const unsigned char *data = value->data;
    float single;
    double number;

    if (value->type == NIBBLE_F32) {
        memcpy(&single, data + index * sizeof single, sizeof single);
        return (double)single;
    }
    if (value->type == NIBBLE_F64) {
        memcpy(&number, data + index * sizeof number, sizeof number);
        return number;
    }
    return is_signed(value->type) ? (double)(int64_t)integer_at(value, index) : (double)integer_at(value, index);
}

enum nibble_code
nibble_value_floats(const struct nibble_value *from, uint64_t first, uint64_t count, double *out,
                    struct nibble_error *error)
{
    struct nibble_value value;
    struct nb_error err;
    enum nb_status status = take_range(&value, from, first, count, &err);

    if (status == NB_OK && nb_kv_type_size((enum nb_kv_type)value.type) == 0)
        status = nb_fail(&err, NB_USAGE, "the value is no number");
    for (uint64_t i = 0; i < count && status == NB_OK; i++)
        out[i] = float_at(&value, first + i);
    return nb_public_end(status, &err, error);
}

/* The string at *AT in the data of an array of strings, of which LEFT bytes are left; false where it is cut short. */
static bool
next_string(const unsigned char **at, uint64_t *left, struct nibble_string *out)
{
    uint64_t length;

    if (*left < sizeof length)
        return false;
    memcpy(&length, *at, sizeof length);
    if (length > *left - sizeof length)
        return false;
    *out = (struct nibble_string){ (const char *)*at + sizeof length, (size_t)length };
    *at += sizeof length + length;
    *left -= sizeof length + length;
    return true;
}

enum nibble_code
nibble_value_strings(const struct nibble_value *from, uint64_t first, uint64_t count, struct nibble_string *out,
                     struct nibble_error *error)
{
    struct nibble_value value;
    struct nb_error err;
    enum nb_status status = take_range(&value, from, first, count, &err);
    const unsigned char *at = value.data;
    uint64_t left = value.bytes;

    if (status == NB_OK && value.type != NIBBLE_STRING)
        status = nb_fail(&err, NB_USAGE, "the value is no string");
    if (status == NB_OK && !value.is_array && count == 1)
        *out = (struct nibble_string){ value.data, (size_t)value.bytes };
    for (uint64_t i = 0; value.is_array && i < first + count && status == NB_OK; i++) {
        struct nibble_string passed;

        if (!next_string(&at, &left, i < first ? &passed : &out[i - first]))
            status = nb_fail(&err, NB_USAGE, "the value is cut short in string %" PRIu64, i);
    }
    return nb_public_end(status, &err, error);
}

/* --- setting --------------------------------------------------------------------------------------------- */

static enum nb_status
check_key(const char *key, struct nb_error *err)
{
    if (strlen(key) > MAX_KEY_BYTES || !nb_is_name(key, strlen(key)))
        return nb_fail(err, NB_USAGE, "'%.80s' is no key: it is empty, too long, not UTF-8 or has control characters",
                       key);
    return NB_OK;
}

static enum nb_status
set(struct nibble_metadata *metadata, const struct nb_kv *kv, struct nb_error *err)
{
    struct nb_metadata *meta = own(metadata);
    enum nb_status status = check_key(kv->key, err);

    if (status != NB_OK)
        return status;
    meta->out_of_memory = false; /* of this call, not of those before */
    nb_meta_set(meta, kv->key, kv->type, kv->element, kv->count, kv->data, kv->size);
    return nb_meta_status(meta, err);
}

static enum nb_status
set_bytes(struct nibble_metadata *metadata, const char *key, enum nb_kv_type type, const void *data, uint64_t size,
          struct nb_error *err)
{
    const struct nb_kv kv = { key, type, type, 1, data, size };

    return set(metadata, &kv, err);
}

static enum nb_status
check_text(const char *key, const char *text, size_t length, struct nb_error *err)
{
    return nb_utf8_valid(text, length) ? NB_OK : nb_fail(err, NB_USAGE, "key '%.80s': a text that is not UTF-8", key);
}

enum nibble_code
nibble_metadata_set_string(struct nibble_metadata *metadata, const char *key, const char *text,
                           struct nibble_error *error)
{
    struct nb_error err;
    enum nb_status status = check_text(key, text, strlen(text), &err);

    if (status == NB_OK)
        status = set_bytes(metadata, key, NB_KV_STRING, text, strlen(text), &err);
    return nb_public_end(status, &err, error);
}

/* Whether an integer of TYPE can be NUMBER. */
static bool
fits(enum nibble_value_type type, int64_t number)
{
    const unsigned bits = 8 * (unsigned)nb_kv_type_size((enum nb_kv_type)type);

    if (type == NIBBLE_BOOL)
        return number == 0 || number == 1;
    if (!is_signed(type))
        return number >= 0 && (bits == 64 || number < INT64_C(1) << bits);
    return bits == 64 || (number >= -(INT64_C(1) << (bits - 1)) && number < INT64_C(1) << (bits - 1));
}

enum nibble_code
nibble_metadata_set_integer(struct nibble_metadata *metadata, const char *key, enum nibble_value_type type,
                            int64_t number, struct nibble_error *error)
{
    struct nb_error err;
    enum nb_status status;

    if (!is_integer(type))
        status = nb_fail(&err, NB_USAGE, "key '%.80s': type %d is no integer", key, (int)type);
    else if (!fits(type, number))
        status = nb_fail(&err, NB_USAGE, "key '%.80s': %" PRId64 " does not fit %s", key, number,
                         nb_kv_type_name((enum nb_kv_type)type));
    else /* little-endian, so a narrower number is the front of a wider one */
        status = set_bytes(metadata, key, (enum nb_kv_type)type, &number, nb_kv_type_size((enum nb_kv_type)type), &err);
    return nb_public_end(status, &err, error);
}

enum nibble_code
nibble_metadata_set_float(struct nibble_metadata *metadata, const char *key, enum nibble_value_type type, double number,
                          struct nibble_error *error)
{
    const float single = (float)number;
    struct nb_error err;
    enum nb_status status;

    if (type == NIBBLE_F64)
        status = set_bytes(metadata, key, NB_KV_F64, &number, sizeof number, &err);
    else if (type != NIBBLE_F32)
        status = nb_fail(&err, NB_USAGE, "key '%.80s': type %d is no float", key, (int)type);
    else if (isfinite(number) && !isfinite(single))
        status = nb_fail(&err, NB_USAGE, "key '%.80s': %g does not fit f32", key, number);
    else
        status = set_bytes(metadata, key, NB_KV_F32, &single, sizeof single, &err);
    return nb_public_end(status, &err, error);
}

enum nibble_code
nibble_metadata_set_strings(struct nibble_metadata *metadata, const char *key, const char *const *texts, size_t count,
                            struct nibble_error *error)
{
    struct nb_strings strings = { 0 };
    struct nb_error err;
    enum nb_status status = count == 0 ? nb_fail(&err, NB_USAGE, "key '%.80s': an array without elements", key) : NB_OK;

    for (size_t i = 0; i < count && status == NB_OK; i++) {
        status = check_text(key, texts[i], strlen(texts[i]), &err);
        nb_strings_add(&strings, texts[i], strlen(texts[i]));
    }
    if (status == NB_OK && strings.out_of_memory)
        status = nb_fail_memory(&err);
    if (status == NB_OK)
        status = set(metadata, &(struct nb_kv){ key, NB_KV_ARRAY, NB_KV_STRING, count, strings.data, strings.size },
                     &err);
    free(strings.data);
    return nb_public_end(status, &err, error);
}

static enum nb_status
check_strings(const struct nibble_value *v, struct nb_error *err)
{
    const unsigned char *at = v->data;
    uint64_t left = v->bytes;
    struct nibble_string s;

    if (!v->is_array)
        return check_text(v->key, v->data, (size_t)v->bytes, err);
    for (uint64_t i = 0; i < v->count; i++) {
        if (!next_string(&at, &left, &s))
            return nb_fail(err, NB_USAGE, "key '%.80s': is cut short in string %" PRIu64, v->key, i);
        if (!nb_utf8_valid(s.bytes, s.length))
            return check_text(v->key, s.bytes, s.length, err);
    }
    return left == 0 ? NB_OK : nb_fail(err, NB_USAGE, "key '%.80s': has bytes after its last string", v->key);
}

/* KV receives what VALUE is, with as many bytes as its elements take. */
static enum nb_status
check_value(const struct nibble_value *v, struct nb_kv *kv, struct nb_error *err)
{
    const enum nb_kv_type type = (enum nb_kv_type)v->type;
    const uint64_t size = nb_kv_type_size(type);

    *kv =
        (struct nb_kv){ v->key, v->is_array ? NB_KV_ARRAY : type, type, v->is_array ? v->count : 1, v->data, v->bytes };
    if (type != NB_KV_STRING && size == 0)
        return nb_fail(err, NB_USAGE, "key '%.80s': there is no type %d of values", v->key, (int)type);
    if (v->is_array && v->count == 0)
        return nb_fail(err, NB_USAGE, "key '%.80s': an array without elements", v->key);
    if (type == NB_KV_STRING)
        return check_strings(v, err);
    if (!nb_mul_u64(size, kv->count, &kv->size) || kv->size > SIZE_MAX / 2)
        return nb_fail(err, NB_USAGE, "key '%.80s': is too large", v->key);
    for (uint64_t i = 0; type == NB_KV_BOOL && i < kv->size; i++)
        if (kv->data[i] > 1)
            return nb_fail(err, NB_USAGE, "key '%.80s': %u is not a boolean", v->key, kv->data[i]);
    return NB_OK;
}

enum nibble_code
nibble_metadata_set(struct nibble_metadata *metadata, const struct nibble_value *from, struct nibble_error *error)
{
    struct nibble_value value;
    struct nb_kv kv;
    struct nb_error err;
    enum nb_status status = NB_PUBLIC_TAKE(value, from, "nibble_value", &err);

    if (status == NB_OK)
        status = check_value(&value, &kv, &err);
    if (status == NB_OK)
        status = set(metadata, &kv, &err);
    return nb_public_end(status, &err, error);
}

void
nibble_metadata_remove(struct nibble_metadata *metadata, const char *key)
{
    nb_meta_remove(own(metadata), key);
}
