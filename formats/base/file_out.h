/*
 * Files that are written, whole or not at all: the bytes go to NAME.partial,
 * and only a finished, synced file gets the name NAME. A full disk, a signal
 * or a power cut leaves the old file or none.
 */
#ifndef NB_FILE_OUT_H
#define NB_FILE_OUT_H

#include "formats/base/file_in.h"
#include "formats/base/status.h"

#include <stdbool.h>
#include <stdint.h>

struct nb_file_out {
    int fd;
    char *name, *partial;
};

/*
 * Makes NAME.partial with room for SIZE bytes on the disk, so that a full disk
 * is found before the work and not after it. With !REPLACE an existing NAME is
 * refused. A .partial that a killed run left behind is written over; one that
 * another live process holds is refused.
 */
enum nb_status nb_out_create(struct nb_file_out *file, const char *name, uint64_t size, bool replace,
                             struct nb_error *err) NB_MUST_CHECK;
/* Writes SIZE bytes at OFFSET. May be called from many threads for separate ranges. */
enum nb_status nb_out_write(const struct nb_file_out *file, uint64_t offset, const void *bytes,
                            uint64_t size, struct nb_error *err) NB_MUST_CHECK;
/*
 * Copies SIZE bytes at FROM of IN to OFFSET, in the kernel where it can: on a file system with
 * shared extents no byte is moved.
 */
enum nb_status nb_out_copy(const struct nb_file_out *file, uint64_t offset, const struct nb_file_in *in, uint64_t from,
                           uint64_t size, struct nb_error *err) NB_MUST_CHECK;
/*
 * Starts to bring to the disk what has been written so far, and does not wait:
 * then there is less to sync in the end. Often is no better: small pieces are
 * slow on many disks.
 */
void nb_out_flush(const struct nb_file_out *file);
/* Syncs the file and gives it its name. FILE is closed either way. */
enum nb_status nb_out_commit(struct nb_file_out *file, bool replace, struct nb_error *err) NB_MUST_CHECK;
/* Removes what was written. Safe on a file that is already closed. */
void nb_out_abort(struct nb_file_out *file);

#endif
