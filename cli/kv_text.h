/* Metadata values as JSON, as short text, and from text. */
#ifndef NB_KV_TEXT_H
#define NB_KV_TEXT_H

#include "formats/base/status.h"
#include "formats/gguf/metadata.h"

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

/* The value of KV; of an array at most LIMIT elements. */
json_t *kv_json(const struct nb_kv *kv, uint64_t limit);
/* On one line, to F: long strings and arrays shortened unless FULL. Safe for a terminal. */
void kv_print(FILE *f, const struct nb_kv *kv, bool full);
#define KV_KEY_COLUMNS 38 /* of tables; for the longest usual key, llama.attention.layer_norm_rms_epsilon */
/*
 * The same, not FULL, to the standard output, in what is left of a line after the key, in KV_KEY_COLUMNS, and OTHER columns
 * before and after that; with --wide in any number of columns.
 */
void kv_print_short(const struct nb_kv *kv, int other);

/* A value in the making. */
struct kv_value {
    enum nb_kv_type type, element;
    uint64_t count;
    unsigned char *data; /* to be freed */
    uint64_t size;
};
/*
 * "u32", "str", "f32[]", ... as the beginning of TEXT, up to a colon: *REST is what follows.
 * False if TEXT does not begin with a type.
 */
bool kv_parse_type(const char *text, enum nb_kv_type *type, enum nb_kv_type *element, const char **rest);
/* TEXT of LENGTH bytes as a value of these types: an array is JSON. NB_USAGE says what does not fit. */
enum nb_status kv_parse(const char *text, size_t length, enum nb_kv_type type, enum nb_kv_type element,
                        struct kv_value *out, struct nb_error *err) NB_MUST_CHECK;

#endif
