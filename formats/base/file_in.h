/*
 * Input files. They are read with pread and never mapped: a file that is
 * truncated while it is open gives an error, not a signal, and memory use does
 * not depend on the file size.
 */
#ifndef NB_FILE_IN_H
#define NB_FILE_IN_H

#include "formats/base/status.h"

#include <stdbool.h>
#include <stdint.h>

struct nb_file_in {
    int fd;
    uint64_t size;    /* in bytes, at the time of opening */
    const char *name; /* for messages; belongs to the caller */
    /* These bytes are read in the place of the first ones of the file; NULL: none. They are not copied by nb_out_copy. */
    const unsigned char *head;
    uint64_t head_size;
};

/*
 * NAME is used in messages and must outlive FILE. Never waits: what is not a regular file, such as a
 * FIFO or a device, is an error, and so is a file that a running nibble is writing. While FILE is
 * open, it cannot become the partial file of an output, nor be changed in place.
 */
enum nb_status nb_file_open(struct nb_file_in *file, const char *name, struct nb_error *err) NB_MUST_CHECK;
/*
 * The same for a file that is to be changed or replaced: until it is closed, no other process can open
 * it by these functions. Its descriptor can write, unless the file does not allow it.
 */
enum nb_status nb_file_open_to_change(struct nb_file_in *file, const char *name, struct nb_error *err) NB_MUST_CHECK;
/* Reads exactly SIZE bytes at OFFSET; if the file is too short, the error says by how much. */
enum nb_status nb_file_read(const struct nb_file_in *file, uint64_t offset, void *buffer, uint64_t size,
                            struct nb_error *err) NB_MUST_CHECK;
void nb_file_close(struct nb_file_in *file);
/*
 * Locks the open file FD without waiting; KIND is flock's LOCK_SH or LOCK_EX. False if another open file
 * has a lock that excludes this one; true also where the file system has no locks.
 */
bool nb_file_lock(int fd, int kind);

/*
 * Loads a whole small file into memory from malloc, with a terminating NUL. A
 * file larger than LIMIT bytes is an error.
 */
enum nb_status nb_file_load(const char *name, uint64_t limit, char **text, size_t *length,
                            struct nb_error *err) NB_MUST_CHECK;

/* open, for which a signal is no reason to give up: the descriptor, or -1 and errno. */
int nb_open(const char *path, int flags, unsigned mode);

/* True if PATH refers to the same file, under any name. */
bool nb_file_is(const struct nb_file_in *file, const char *path);
/*
 * True if there is anything of this name, also a link that leads nowhere, or if that cannot be found out because a disk
 * or a network fails: opening it then says what is wrong.
 */
bool nb_exists(const char *path);
/* True for a regular file (or a link to one), or where that cannot be found out; false for everything else. */
bool nb_is_file(const char *path);
bool nb_is_folder(const char *path);

#endif
