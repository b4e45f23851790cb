/*
 * Private to the files that read GGUF: bytes, numbers, strings and names from a file, each
 * checked against what is left of it, and findings.
 */
#ifndef NB_GGUF_READER_H
#define NB_GGUF_READER_H

#include "formats/gguf/gguf.h"

#define NB_GGUF_BUFFER 65536u
/* Entries, and tensors: far more than any model has; a file of nothing else must not fill the memory. */
#define NB_GGUF_MAX_COUNT ((uint64_t)1 << 20)

/* Reads forward through a file, a buffer at a time. */
struct nb_gguf_reader {
    const struct nb_file_in *file;
    struct nb_gguf *out;
    struct nb_findings *findings; /* NULL: the first is an error */
    struct nb_error *err;
    uint64_t at;            /* of the next byte to hand out */
    uint64_t start;         /* of the buffer, in the file */
    size_t filled;
    unsigned char *buffer;
};

/* A finding that reading goes on behind, and one that it ends at. */
#define FOUND(r, code, place, ...) nb_found((r)->findings, (r)->err, code, place, __VA_ARGS__)
#define FOUND_END(r, code, place, ...) nb_found_end((r)->findings, (r)->err, code, place, __VA_ARGS__)

struct nb_place nb_gguf_here(const struct nb_gguf_reader *r);
uint64_t nb_gguf_left(const struct nb_gguf_reader *r);
enum nb_status nb_gguf_take(struct nb_gguf_reader *r, void *to, uint64_t size) NB_MUST_CHECK;
enum nb_status nb_gguf_take_number(struct nb_gguf_reader *r, unsigned bytes, uint64_t *out) NB_MUST_CHECK;
/* A string into the arena, with a NUL behind it. LIMIT bounds its bytes; beyond it is a finding CODE. */
enum nb_status nb_gguf_take_string(struct nb_gguf_reader *r, uint64_t limit, enum nb_code code, const char *what,
                                   char **out, uint64_t *length) NB_MUST_CHECK;
/* Keys and tensor names: not empty, UTF-8, without control characters. */
enum nb_status nb_gguf_take_name(struct nb_gguf_reader *r, uint64_t limit, enum nb_code code, const char *what,
                                 char **out) NB_MUST_CHECK;
/*
 * Sorting finds what comes twice in n log n: a hostile file may have millions of names.
 * NAMES has its order changed.
 */
enum nb_status nb_gguf_check_unique(const struct nb_gguf_reader *r, const char **names, size_t count,
                                    enum nb_code code) NB_MUST_CHECK;
/* Makes room for one more element: no count of a file is believed before its elements are seen. */
bool nb_gguf_grow(void **items, size_t count, size_t *room, size_t size);

/* gguf_metadata.c, gguf_tensors.c: the parts of a header, in their order. */
enum nb_status nb_gguf_read_metadata(struct nb_gguf_reader *r, uint64_t count) NB_MUST_CHECK;
enum nb_status nb_gguf_read_infos(struct nb_gguf_reader *r, uint64_t count) NB_MUST_CHECK;
/* After a finding the next tensor is expected behind this one, wherever that is. */
enum nb_status nb_gguf_place_tensors(const struct nb_gguf_reader *r) NB_MUST_CHECK;

#endif
