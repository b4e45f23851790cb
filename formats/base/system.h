/*
 * What operating systems do each in their own way. The rest of nibble needs POSIX.1-2008 and no more
 * (and getopt_long, memmem and flock, which Linux, macOS and the BSDs all have); for these few things
 * Linux and macOS have calls that are better than what POSIX has, and every other system gets the
 * POSIX way. No other file asks which system it is compiled for.
 */
#ifndef NB_SYSTEM_H
#define NB_SYSTEM_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Gives the file FD, which is empty, SIZE bytes and takes them from the disk. 0 or an errno: ENOSPC for a
 * full disk. Where the file system cannot reserve, the file has its size and later writes find out.
 */
int nb_system_reserve(int fd, uint64_t size);

/*
 * Copies SIZE bytes at FROM of the file IN to AT of the file OUT inside the kernel, which on some file
 * systems moves no byte. Returns how many were copied: fewer, or 0, where the kernel cannot.
 */
uint64_t nb_system_copy(int in, uint64_t from, int out, uint64_t at, uint64_t size);

/* Starts to write to the disk what has been written to FD so far, and does not wait. May do nothing. */
void nb_system_start_writing(int fd);

/* Waits until what was written to FD is on the disk, as far as the system can say so. 0 or an errno. */
int nb_system_sync(int fd);

/* Renames FROM to TO, but never replaces a file: EEXIST if there is one. 0 or an errno. */
int nb_system_rename_to_new(const char *from, const char *to);

/* Fills BUFFER with SIZE random bytes (at most 256); false where the system has none. */
bool nb_system_random(void *buffer, size_t size);

/* The path of the running program, resolved, in PATH of SIZE bytes; false where the system does not say. */
bool nb_system_program(char *path, size_t size);

/* Processors that can run threads of this process; at least 1. */
unsigned nb_system_processors(void);

/*
 * SIZE bytes of memory for free(), in large pages where there are some: where bytes here and there are written,
 * most of the time would go into finding small pages. NULL when memory is out.
 */
void *nb_system_large_memory(uint64_t size);

/* The most bytes of memory that this process has had at once. */
uint64_t nb_system_peak_memory(void);

/*
 * As pthread_create, with at least the stack that kernels and BLAS need: what threads get without being
 * asked is 8 MiB on one system and 128 KiB on another. 0 or an errno.
 */
int nb_system_start_thread(pthread_t *thread, void *(*start)(void *), void *argument);

#endif
