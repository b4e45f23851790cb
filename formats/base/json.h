/*
 * Two ways to read the JSON of checkpoints:
 *
 * - nb_json_load reads a small file as a jansson tree.
 * - A cursor iterates over one object or array and returns each member as a
 *   span of the text. A tokenizer.json has half a million strings and a
 *   safetensors header may have 100 MB: a tree needs many times the memory of
 *   the text, a cursor needs none.
 */
#ifndef NB_JSON_H
#define NB_JSON_H

#include "formats/base/arena.h"
#include "formats/base/mistaken.h"
#include "formats/base/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* Limit for hand-written JSON files of a checkpoint; a larger one is a mistake or an attack. */
#define NB_JSON_FILE_LIMIT ((uint64_t)64 << 20)

/*
 * Limit for the memory of one tree, as estimated from its text. A value of two characters, "{}", takes up to 230 bytes
 * in jansson, so that a small file could fill the memory. The largest known trees are the added tokens of speech
 * models: 65,536 with seven members each, 90 MB.
 */
#define NB_JSON_TREE_LIMIT ((uint64_t)128 << 20)

/*
 * Loads the object in the file NAME. As in Python's json, the file may begin with a byte-order mark and
 * have the literals NaN, which is read as null, and Infinity, which is read as 1e308. With
 * NB_JSON_BIG_INTEGERS all integers are read as reals, for integers beyond 64 bits, which are common in
 * tokenizer_config.json.
 */
#define NB_JSON_BIG_INTEGERS 1
enum nb_status nb_json_load(const char *name, int flags, json_t **object, struct nb_error *err) NB_MUST_CHECK;

struct nb_json_span {
    const char *at;
    size_t length;
};

struct nb_json_cursor {
    const char *at, *end; /* the rest of the text */
    char close;           /* '}' or ']' */
    bool first;
};

/* TEXT without the byte-order mark that it may begin with. */
struct nb_json_span nb_json_after_mark(struct nb_json_span text);
/* The single value in TEXT, without surrounding white space; false unless there is exactly one. */
bool nb_json_value(struct nb_json_span text, struct nb_json_span *value);
/* Where TEXT, which is no single value, stops being one, as far as brackets and strings tell; its length at its end. */
size_t nb_json_fault(struct nb_json_span text);
/* Whether TEXT, of which nothing could be made, is something else than JSON, or an error that a server sent (mistaken.h). */
bool nb_json_text_mistaken(struct nb_json_span text, char what[NB_MISTAKEN]);
/* Line and column of AT in TEXT; both begin with 1, and columns are bytes. */
void nb_json_place(const char *text, const char *at, size_t *line, size_t *column);
/* Starts iterating over the object or array VALUE; false if it is neither. */
bool nb_json_enter(struct nb_json_cursor *cursor, struct nb_json_span value);
/*
 * Gets the next member: returns 1, or 0 at the end, or -1 if malformed. KEY
 * receives the quoted name of an object's member; in an array it is not changed.
 */
int nb_json_next(struct nb_json_cursor *cursor, struct nb_json_span *key, struct nb_json_span *value);

/* Decodes the string SPAN, with a terminating NUL; NULL if it is not a string or memory is out: ARENA is exhausted then. */
char *nb_json_string(struct nb_arena *arena, struct nb_json_span span, size_t *length);
/* Whether the tree of TEXT keeps to NB_JSON_TREE_LIMIT. */
bool nb_json_fits(struct nb_json_span text);
/*
 * SPAN as a new jansson tree, or NULL; also if it would be larger than NB_JSON_TREE_LIMIT. *NO_MEMORY, which may be NULL:
 * whether memory was out instead.
 */
json_t *nb_json_tree(struct nb_json_span span, bool *no_memory);
/*
 * VALUE as text, from malloc; NULL if memory is out. FLAGS are jansson's. (Its json_dumps leaves out what it has no memory
 * for.)
 */
char *nb_json_dump(const json_t *value, size_t flags);
/* True if the string SPAN, written without escapes, equals TEXT. */
bool nb_json_is(struct nb_json_span span, const char *text);
/* SPAN as an integer from 0 to LIMIT; false for anything else. */
bool nb_json_unsigned(struct nb_json_span span, uint64_t limit, uint64_t *out);

#endif
