/*
 * Output files, written atomically: the data goes to NAME.partial, which is
 * synced and renamed to NAME when it is complete. After a full disk, a signal
 * or a power failure, NAME is the old file or does not exist.
 */
#ifndef NB_FILE_OUT_H
#define NB_FILE_OUT_H

#include "formats/base/file_in.h"
#include "formats/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the name of an unfinished file has after that of the finished one. */
#define NB_PARTIAL ".partial"

struct nb_file_out {
    int fd;
    char *name, *partial;
};

/*
 * Creates NAME.partial and allocates SIZE bytes on the disk, so that a full
 * disk is detected before the work and not after it. Without REPLACE, an
 * existing NAME is an error. With REPLACE, a NAME that is a link stays one, and
 * the file that it leads to is replaced. NAME.partial is always a new file: one
 * that a killed process left, or that somebody else made, is removed and never
 * written to; one that a running nibble reads or writes is an error.
 */
enum nb_status nb_out_create(struct nb_file_out *file, const char *name, uint64_t size, bool replace,
                             struct nb_error *err) NB_MUST_CHECK;
/*
 * The same, with REPLACE, for a NAME that the user did not choose, as that of a
 * saved state: a link of this name is replaced itself, not the file it leads to.
 */
enum nb_status nb_out_create_own(struct nb_file_out *file, const char *name, uint64_t size,
                                 struct nb_error *err) NB_MUST_CHECK;
/*
 * Takes the finished file PATH, of the same file system, as that of NAME: nb_out_commit gives it this name, and
 * nb_out_discard removes it. The rest is as for nb_out_create. PATH may be NULL: then only errors are found.
 */
enum nb_status nb_out_adopt(struct nb_file_out *file, const char *name, const char *path, bool replace,
                            struct nb_error *err) NB_MUST_CHECK;
/* Writes SIZE bytes at OFFSET. May be called from many threads for separate ranges. */
enum nb_status nb_out_write(const struct nb_file_out *file, uint64_t offset, const void *bytes, uint64_t size,
                            struct nb_error *err) NB_MUST_CHECK;
/*
 * Copies SIZE bytes from offset FROM of IN to OFFSET, in the kernel if possible: a file system with
 * shared extents then copies no data.
 */
enum nb_status nb_out_copy(const struct nb_file_out *file, uint64_t offset, const struct nb_file_in *in, uint64_t from,
                           uint64_t size, struct nb_error *err) NB_MUST_CHECK;
/*
 * Starts writing back what has been written so far, without waiting, so that
 * less is left for the final sync. Do not call it often: small pieces are slow
 * on many disks.
 */
void nb_out_flush(const struct nb_file_out *file);
/* Syncs the file and renames it to NAME. FILE is closed also after an error. */
enum nb_status nb_out_commit(struct nb_file_out *file, bool replace, struct nb_error *err) NB_MUST_CHECK;
/*
 * The same for COUNT files that belong together: all are safe on the disk before the first gets its name. Where one cannot get
 * it, the others, without REPLACE, are removed again. All are closed, also after an error.
 */
enum nb_status nb_out_commit_all(struct nb_file_out *files, size_t count, bool replace,
                                 struct nb_error *err) NB_MUST_CHECK;
/* Closes and removes NAME.partial. Safe on a file that is already closed. */
enum nb_status nb_out_discard(struct nb_file_out *file, struct nb_error *err) NB_MUST_CHECK;
/* The same after an error, which stays the one in ERR: if the file cannot be removed, the sentence there says so, too. */
void nb_out_abort(struct nb_file_out *file, struct nb_error *err);

#endif
