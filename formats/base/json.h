/*
 * JSON as it occurs in checkpoints. Two ways to read it:
 *
 * - nb_json_load: a whole small file as a jansson tree.
 * - a cursor over the members of one object or array, which hands out each
 *   member as a span of the text. A tokenizer.json has half a million strings
 *   and a safetensors header may have 100 MB; a tree of either costs many
 *   times its text, a cursor nothing.
 */
#ifndef NB_JSON_H
#define NB_JSON_H

#include "formats/base/arena.h"
#include "formats/base/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* JSON that people write into a checkpoint by hand; far larger is a mistake or an attack. */
#define NB_JSON_FILE_LIMIT ((uint64_t)64 << 20)

/*
 * The object in the file NAME. Integers beyond 64 bits, which are common in
 * tokenizer_config.json, are read as reals with NB_JSON_BIG_INTEGERS (and then
 * every integer is).
 */
#define NB_JSON_BIG_INTEGERS 1
enum nb_status nb_json_load(const char *name, int flags, json_t **object, struct nb_error *err)
    NB_MUST_CHECK;

struct nb_json_span {
    const char *at;
    size_t length;
};

struct nb_json_cursor {
    const char *at, *end; /* what is still to be read */
    char close;           /* '}' or ']' */
    bool first;
};

/* The one value in TEXT, without the white space around it; false where there is not exactly one. */
bool nb_json_value(struct nb_json_span text, struct nb_json_span *value);
/* Starts on the object or array VALUE; false if it is neither. */
bool nb_json_enter(struct nb_json_cursor *cursor, struct nb_json_span value);
/*
 * The next member: 1, at the end: 0, malformed: -1. KEY is the quoted name of
 * an object's member and is left alone in an array.
 */
int nb_json_next(struct nb_json_cursor *cursor, struct nb_json_span *key, struct nb_json_span *value);

/* The decoded string SPAN with a NUL behind it; NULL if it is no string, or memory is out (ARENA is exhausted then). */
char *nb_json_string(struct nb_arena *arena, struct nb_json_span span, size_t *length);
/* SPAN as a tree of its own, or NULL. For the small values. */
json_t *nb_json_tree(struct nb_json_span span);
/* True if the string SPAN, which must have no escapes in it, is TEXT. */
bool nb_json_is(struct nb_json_span span, const char *text);
/* SPAN as an integer from 0 to LIMIT; false for everything else. */
bool nb_json_unsigned(struct nb_json_span span, uint64_t limit, uint64_t *out);

#endif
