/*
 * Private to the files that read GGUF: reads bytes, numbers, strings and names, each checked against
 * the rest of the file, and records findings.
 */
#ifndef NB_GGUF_READER_H
#define NB_GGUF_READER_H

#include "formats/gguf/gguf.h"

#define NB_GGUF_BUFFER 65536u
/* Limit for metadata entries and for tensors, far above any model, so that a hostile file cannot fill the memory. */
#define NB_GGUF_MAX_COUNT ((uint64_t)1 << 20)
/* Reads forward through a file, a buffer at a time. */
struct nb_gguf_reader {
    const struct nb_file_in *file;
    struct nb_gguf *out;
    struct nb_findings *findings; /* NULL: the first finding is an error */
    struct nb_error *err;
    uint64_t elements; /* of the arrays so far */
    uint64_t at;       /* file offset of the next byte to return */
    uint64_t start;    /* file offset of the buffer */
    size_t filled;
    unsigned char *buffer;
};

/* Record a finding; reading continues after FOUND and ends after FOUND_END. */
#define FOUND(r, code, place, ...) nb_found((r)->findings, (r)->err, code, place, __VA_ARGS__)
#define FOUND_END(r, code, place, ...) nb_found_end((r)->findings, (r)->err, code, place, __VA_ARGS__)

/* What a sentence begins with if the file ends before something that it says it has. */
#define NB_GGUF_ENDS "cut short or damaged, download it again: "

struct nb_place nb_gguf_here(const struct nb_gguf_reader *r);
uint64_t nb_gguf_left(const struct nb_gguf_reader *r);
enum nb_status nb_gguf_take(struct nb_gguf_reader *r, void *to, uint64_t size) NB_MUST_CHECK;
enum nb_status nb_gguf_take_number(struct nb_gguf_reader *r, unsigned bytes, uint64_t *out) NB_MUST_CHECK;
/* Reads a string into the arena, with a terminating NUL. More than LIMIT bytes are a finding CODE. */
enum nb_status nb_gguf_take_string(struct nb_gguf_reader *r, uint64_t limit, enum nb_code code, const char *what,
                                   char **out, uint64_t *length) NB_MUST_CHECK;
/* Reads a key or tensor name: not empty, UTF-8, without control characters. */
enum nb_status nb_gguf_take_name(struct nb_gguf_reader *r, uint64_t limit, enum nb_code code, const char *what,
                                 char **out) NB_MUST_CHECK;
/*
 * Finds duplicates by sorting NAMES in place: a hostile file may have millions of names, so it must
 * not take quadratic time.
 */
enum nb_status nb_gguf_check_unique(const struct nb_gguf_reader *r, const char **names, size_t count,
                                    enum nb_code code) NB_MUST_CHECK;
/* Makes room for one more element. Arrays grow as elements are read: a count in a file is not trusted. */
bool nb_gguf_grow(void **items, size_t count, size_t *room, size_t size);

/* The parts of a header, in file order: read_metadata.c, read_tensors.c. */
enum nb_status nb_gguf_read_metadata(struct nb_gguf_reader *r, uint64_t count) NB_MUST_CHECK;
enum nb_status nb_gguf_read_infos(struct nb_gguf_reader *r, uint64_t count) NB_MUST_CHECK;
/* Checks the tensors' offsets. After a finding, the next tensor is expected after this one's actual place. */
enum nb_status nb_gguf_place_tensors(const struct nb_gguf_reader *r) NB_MUST_CHECK;

#endif
