/*
 * GGUF metadata: an ordered list of typed keys. Values are kept as their bytes
 * in the file, so that they can be written back unchanged.
 */
#ifndef NB_METADATA_H
#define NB_METADATA_H

#include "formats/base/arena.h"
#include "formats/base/status.h"

#include <stdbool.h>
#include <stdint.h>

/* The numbers of the GGUF format. */
enum nb_kv_type {
    NB_KV_U8 = 0,
    NB_KV_I8 = 1,
    NB_KV_U16 = 2,
    NB_KV_I16 = 3,
    NB_KV_U32 = 4,
    NB_KV_I32 = 5,
    NB_KV_F32 = 6,
    NB_KV_BOOL = 7,
    NB_KV_STRING = 8,
    NB_KV_ARRAY = 9,
    NB_KV_U64 = 10,
    NB_KV_I64 = 11,
    NB_KV_F64 = 12,
    NB_KV_TYPES,
};

struct nb_kv {
    const char *key;
    enum nb_kv_type type;
    enum nb_kv_type element; /* element type of an array */
    uint64_t count;          /* elements of an array; 1 otherwise */
    /*
     * Numbers: little-endian, contiguous. A string: its bytes with a
     * terminating NUL. An array of strings: for each a 64-bit length and its
     * bytes.
     */
    const unsigned char *data;
    uint64_t size;
};

struct nb_metadata {
    struct nb_arena arena; /* owns keys and values */
    struct nb_kv *items;
    size_t count, room;
    /* Sticky: the setters return nothing, so that long lists of them stay readable; see nb_meta_status. */
    bool out_of_memory;
};

/* "u32", "str", ...; "?" for an unknown number. */
const char *nb_kv_type_name(enum nb_kv_type type);
/* Bytes of one number of TYPE; 0 for strings, arrays and unknown types. */
uint64_t nb_kv_type_size(enum nb_kv_type type);

const struct nb_kv *nb_meta_find(const struct nb_metadata *meta, const char *key);
/* The value of a non-negative integer of any width; false if KEY is absent or not such an integer. */
bool nb_meta_get_u64(const struct nb_metadata *meta, const char *key, uint64_t *out);
/* The value of a number of any type; false if KEY is absent or not a number. */
bool nb_meta_get_f64(const struct nb_metadata *meta, const char *key, double *out);
bool nb_meta_get_bool(const struct nb_metadata *meta, const char *key, bool *out);
/* The string's bytes, or NULL. */
const char *nb_meta_get_string(const struct nb_metadata *meta, const char *key);

/*
 * The string at *AT in the data of an array of strings, without a terminating NUL; *AT moves to the
 * next. Lengths are not checked here: the reader of the array has done so.
 */
const char *nb_kv_next_string(const unsigned char **at, uint64_t *length);

/* Setting an existing key replaces its value; a new key is appended. */
void nb_meta_set_u32(struct nb_metadata *meta, const char *key, uint32_t value);
void nb_meta_set_i32(struct nb_metadata *meta, const char *key, int32_t value);
void nb_meta_set_f32(struct nb_metadata *meta, const char *key, float value);
void nb_meta_set_bool(struct nb_metadata *meta, const char *key, bool value);
void nb_meta_set_string(struct nb_metadata *meta, const char *key, const char *value);
/* Sets a value of any type; DATA has the form described in struct nb_kv and is copied. */
void nb_meta_set(struct nb_metadata *meta, const char *key, enum nb_kv_type type, enum nb_kv_type element,
                 uint64_t count, const void *data, uint64_t size);
void nb_meta_remove(struct nb_metadata *meta, const char *key);
/* Sets every key of FROM. */
void nb_meta_copy(struct nb_metadata *meta, const struct nb_metadata *from);
/* NB_SYSTEM if any setter ran out of memory. */
enum nb_status nb_meta_status(const struct nb_metadata *meta, struct nb_error *err) NB_MUST_CHECK;
void nb_meta_free(struct nb_metadata *meta);

/* An array of strings that is being built. */
struct nb_strings {
    unsigned char *data;
    uint64_t size, room, count;
    bool out_of_memory;
};
void nb_strings_add(struct nb_strings *strings, const char *s, uint64_t length);
/* Sets KEY to the array and frees it. An empty array is not written, because readers reject it. */
void nb_meta_set_strings(struct nb_metadata *meta, const char *key, struct nb_strings *strings);

#endif
