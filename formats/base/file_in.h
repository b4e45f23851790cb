/*
 * Files that are read. Reading goes through pread and never through a mapping:
 * a file that is cut short while it is open gives an error, not a signal, and
 * the memory in use does not grow with the file.
 */
#ifndef NB_FILE_IN_H
#define NB_FILE_IN_H

#include "formats/base/status.h"

#include <stdbool.h>
#include <stdint.h>

struct nb_file_in {
    int fd;
    uint64_t size;    /* bytes, when it was opened */
    const char *name; /* for messages; belongs to the caller */
};

/* NAME is used in messages and must outlive FILE. */
enum nb_status nb_file_open(struct nb_file_in *file, const char *name, struct nb_error *err)
    NB_MUST_CHECK;
/* Exactly SIZE bytes at OFFSET, or an error that says how the file fell short. */
enum nb_status nb_file_read(const struct nb_file_in *file, uint64_t offset, void *buffer,
                            uint64_t size, struct nb_error *err) NB_MUST_CHECK;
void nb_file_close(struct nb_file_in *file);

/*
 * The whole of a small file in memory from malloc, with a NUL behind it. A
 * file larger than LIMIT bytes is refused.
 */
enum nb_status nb_file_load(const char *name, uint64_t limit, char **text, size_t *length,
                            struct nb_error *err) NB_MUST_CHECK;

/* True if PATH is this file, under whatever name. */
bool nb_file_is(const struct nb_file_in *file, const char *path);
/* True for a regular file (or a link to one); false for everything else. */
bool nb_is_file(const char *path);
bool nb_is_folder(const char *path);

#endif
