#include "cli/kv_text.h"

#include "cli/cli.h"
#include "formats/base/checked.h"
#include "formats/base/json.h"
#include "formats/base/status.h"
#include "formats/base/text.h"
#include "formats/gguf/metadata.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN_ELEMENTS 6
#define SHOWN_BYTES 60

/* --- to JSON ------------------------------------------------------------------------------------------ */

static uint64_t
little_endian(const unsigned char *bytes, uint64_t size)
{
    uint64_t value = 0;

    for (uint64_t i = 0; i < size; i++)
        value |= (uint64_t)bytes[i] << (8 * i);
    return value;
}

/* One number of TYPE; null where JSON has none such (NaN, infinity), rounded where jansson has none (2^63 and more). */
static json_t *
number_json(enum nb_kv_type type, const unsigned char *data)
{
    const uint64_t size = nb_kv_type_size(type);
    uint64_t raw = little_endian(data, size);
    float f;
    double d;

    switch (type) {
    case NB_KV_BOOL:
        return json_boolean(raw != 0);
    case NB_KV_F32:
        memcpy(&f, data, sizeof f);
        return isfinite(f) ? cli_json_real((double)f) : json_null();
    case NB_KV_F64:
        memcpy(&d, data, sizeof d);
        return isfinite(d) ? cli_json_real(d) : json_null();
    case NB_KV_I8:
    case NB_KV_I16:
    case NB_KV_I32:
    case NB_KV_I64:
        if (size < 8 && (raw >> (8 * size - 1)) != 0)
            raw |= ~(uint64_t)0 << (8 * size);
        return cli_json_integer((json_int_t)raw);
    default:
        return raw > INT64_MAX ? cli_json_real((double)raw) : cli_json_integer((json_int_t)raw);
    }
}

static json_t *
array_json(const struct nb_kv *kv, uint64_t limit)
{
    const unsigned char *at = kv->data;
    json_t *list = cli_json_array();
    uint64_t length;

    for (uint64_t i = 0; i < kv->count && i < limit; i++) {
        if (kv->element == NB_KV_STRING) {
            const char *text = nb_kv_next_string(&at, &length);

            cli_json_add(list, cli_json_textn(text, (size_t)length));
        } else {
            cli_json_add(list, number_json(kv->element, at));
            at += nb_kv_type_size(kv->element);
        }
    }
    return list;
}

json_t *
kv_json(const struct nb_kv *kv, uint64_t limit)
{
    if (kv->type == NB_KV_ARRAY)
        return array_json(kv, limit);
    if (kv->type == NB_KV_STRING)
        return cli_json_textn((const char *)kv->data, (size_t)kv->size);
    return number_json(kv->type, kv->data);
}

/* --- to text ------------------------------------------------------------------------------------------- */

/* TEXT on one line, cut after SHOWN_BYTES unless FULL; it may come from a stranger. */
static void
print_text(FILE *f, const char *text, bool full)
{
    size_t n = full ? strlen(text) : strnlen(text, SHOWN_BYTES);
    while (text[n] != '\0' && ((unsigned char)text[n] & 0xC0) == 0x80) /* the rest of a character */
        n++;
    cli_show(f, text, n);
    if (text[n] != '\0')
        cli_print_to(f, "... (%zu bytes)", strlen(text));
}

static void
print_array(FILE *f, const struct nb_kv *kv, bool full)
{
    json_t *list = array_json(kv, full ? UINT64_MAX : SHOWN_ELEMENTS), *entry;
    size_t i;

    cli_print_to(f, "%" PRIu64 " %s: [", kv->count, nb_kv_type_name(kv->element));
    json_array_foreach(list, i, entry) {
        char *text = nb_json_dump(entry, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));

        cli_print_to(f, "%s", i > 0 ? ", " : "");
        if (text == NULL)
            cli_lose();
        else
            print_text(f, text, full);
        free(text);
    }
    cli_print_to(f, "%s]", !full && kv->count > SHOWN_ELEMENTS ? ", ..." : "");
    json_decref(list);
}

void
kv_print(FILE *f, const struct nb_kv *kv, bool full)
{
    json_t *number;
    char *text;

    if (kv->type == NB_KV_ARRAY) {
        print_array(f, kv, full);
    } else if (kv->type == NB_KV_STRING) {
        print_text(f, (const char *)kv->data, full);
    } else if (kv->type == NB_KV_U64) {
        cli_print_to(f, "%" PRIu64, little_endian(kv->data, kv->size));
    } else {
        number = number_json(kv->type, kv->data);
        text = json_is_null(number) ? NULL : nb_json_dump(number, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
        if (text == NULL && !json_is_null(number))
            cli_lose();
        cli_print_to(f, "%s", text == NULL ? "not finite" : text);
        free(text);
        json_decref(number);
    }
}

void
kv_print_short(const struct nb_kv *kv, int other)
{
    const int key = (int)strlen(kv->key), left = CLI_NARROW - other - (key > KV_KEY_COLUMNS ? key : KV_KEY_COLUMNS);
    char *text = NULL;
    size_t size = 0;
    FILE *f = cli_is_wide() ? stdout : open_memstream(&text, &size);

    if (f == NULL) {
        cli_lose();
        return;
    }
    kv_print(f, kv, false);
    if (f == stdout)
        return;
    if (nb_close_text(f, &text))
        cli_print_start(stdout, text, left);
    else
        cli_lose();
    free(text);
}

/* --- from text ------------------------------------------------------------------------------------------ */

bool
kv_parse_type(const char *text, enum nb_kv_type *type, enum nb_kv_type *element, const char **rest)
{
    for (unsigned t = 0; t < NB_KV_TYPES; t++) {
        const char *name = nb_kv_type_name((enum nb_kv_type)t);
        const size_t n = strlen(name);

        if (t == NB_KV_ARRAY || strncmp(text, name, n) != 0)
            continue;
        if (text[n] == ':' || strncmp(text + n, "[]:", 3) == 0) {
            *element = (enum nb_kv_type)t;
            *type = text[n] == ':' ? *element : NB_KV_ARRAY;
            *rest = text + n + (text[n] == ':' ? 1 : 3);
            return true;
        }
    }
    return false;
}

static bool
is_integer_type(enum nb_kv_type type)
{
    return type != NB_KV_F32 && type != NB_KV_F64 && type != NB_KV_BOOL && type != NB_KV_STRING;
}

static bool
is_signed_type(enum nb_kv_type type)
{
    return type == NB_KV_I8 || type == NB_KV_I16 || type == NB_KV_I32 || type == NB_KV_I64;
}

/* A whole number in TEXT, if TYPE can hold it, as bytes. */
static bool
parse_integer(const char *text, enum nb_kv_type type, unsigned char *to)
{
    const uint64_t bits = 8 * nb_kv_type_size(type);
    const bool negative = *text == '-';
    uint64_t value, limit = is_signed_type(type) ? ((uint64_t)1 << (bits - 1)) - !negative : UINT64_MAX >> (64 - bits);
    char *end;

    errno = 0;
    value = strtoull(text + negative, &end, 10);
    if (text[negative] < '0' || text[negative] > '9' || *end != '\0' || errno != 0 || value > limit ||
        (negative && !is_signed_type(type)))
        return false;
    value = negative ? -value : value;
    for (uint64_t i = 0; i < bits / 8; i++)
        to[i] = (unsigned char)(value >> (8 * i));
    return true;
}

static bool
parse_float(const char *text, enum nb_kv_type type, unsigned char *to)
{
    char *end;
    const double value = strtod(text, &end);
    const float single = (float)value;

    if (*text == '\0' || *end != '\0' || (isfinite(value) && type == NB_KV_F32 && !isfinite(single)))
        return false;
    if (type == NB_KV_F32)
        memcpy(to, &single, sizeof single);
    else
        memcpy(to, &value, sizeof value);
    return true;
}

static bool
parse_bool(const char *text, unsigned char *to)
{
    *to = strcmp(text, "true") == 0 || strcmp(text, "1") == 0;
    return *to != 0 || strcmp(text, "false") == 0 || strcmp(text, "0") == 0;
}

static enum nb_status
parse_number(const char *text, enum nb_kv_type type, unsigned char *to, struct nb_error *err)
{
    const bool good = is_integer_type(type) ? parse_integer(text, type, to)
                      : type == NB_KV_BOOL  ? parse_bool(text, to)
                                            : parse_float(text, type, to);

    return good ? NB_OK : nb_fail(err, NB_USAGE, "'%.60s' is not a valid %s", text, nb_kv_type_name(type));
}

static enum nb_status
parse_strings(json_t *list, struct kv_value *out, struct nb_error *err)
{
    struct nb_strings strings = { 0 };
    json_t *entry;
    size_t i;

    json_array_foreach(list, i, entry) {
        if (!json_is_string(entry)) {
            free(strings.data);
            return nb_fail(err, NB_USAGE, "element %zu is not a string", i);
        }
        nb_strings_add(&strings, json_string_value(entry), json_string_length(entry));
    }
    if (strings.out_of_memory || (strings.data == NULL && (strings.data = malloc(1)) == NULL)) {
        free(strings.data);
        return nb_fail_memory(err);
    }
    out->data = strings.data;
    out->size = strings.size;
    return NB_OK;
}

static enum nb_status
parse_numbers(json_t *list, struct kv_value *out, struct nb_error *err)
{
    const uint64_t each = nb_kv_type_size(out->element);
    json_t *entry;
    size_t i;
    enum nb_status status = NB_OK;

    out->size = each * json_array_size(list);
    out->data = nb_malloc(out->size + 1);
    if (out->data == NULL)
        return nb_fail_memory(err);
    json_array_foreach(list, i, entry) {
        char *text = json_is_string(entry) ? strdup(json_string_value(entry))
                                           : nb_json_dump(entry, JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));

        status = text == NULL
                     ? nb_fail(err, NB_USAGE, "element %zu is not a valid %s", i, nb_kv_type_name(out->element))
                     : parse_number(text, out->element, out->data + i * each, err);
        free(text);
        if (status != NB_OK)
            break;
    }
    return status;
}

static enum nb_status
parse_array(const char *text, size_t length, struct kv_value *out, struct nb_error *err)
{
    json_error_t where;
    json_t *list = json_loadb(text, length, JSON_ALLOW_NUL, &where);
    enum nb_status status;

    if (!json_is_array(list)) {
        json_decref(list);
        return nb_fail(err, NB_USAGE, "an array is written as JSON, like [1, 2] or [\"a\", \"b\"]");
    }
    out->count = json_array_size(list);
    status = out->element == NB_KV_STRING ? parse_strings(list, out, err) : parse_numbers(list, out, err);
    json_decref(list);
    return status;
}

enum nb_status
kv_parse(const char *text, size_t length, enum nb_kv_type type, enum nb_kv_type element, struct kv_value *out,
         struct nb_error *err)
{
    enum nb_status status;

    *out = (struct kv_value){ .type = type, .element = element, .count = 1 };
    if (type == NB_KV_ARRAY) {
        status = parse_array(text, length, out, err);
    } else if ((out->data = malloc(length + 8)) == NULL) {
        status = nb_fail_memory(err);
    } else if (type == NB_KV_STRING) {
        memcpy(out->data, text, length);
        out->size = length;
        status = nb_utf8_valid(text, length) ? NB_OK : nb_fail(err, NB_USAGE, "is not UTF-8 text");
    } else {
        out->size = nb_kv_type_size(type);
        status = parse_number(text, type, out->data, err);
    }
    if (status != NB_OK) {
        free(out->data);
        out->data = NULL;
    }
    return status;
}
