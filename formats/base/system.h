/*
 * Functions that depend on the operating system. The rest of nibble needs only POSIX.1-2008, and
 * getopt_long, memmem and flock, which Linux, macOS and the BSDs all have. For the functions here,
 * Linux and macOS have better calls than POSIX; all other systems use POSIX. No other file depends on
 * the system for which it is compiled.
 */
#ifndef NB_SYSTEM_H
#define NB_SYSTEM_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Extends the empty file FD to SIZE bytes and allocates them on the disk. Returns 0 or an errno: ENOSPC
 * for a full disk. If the file system cannot allocate, only the size is set, and later writes may fail.
 */
int nb_system_reserve(int fd, uint64_t size);

/*
 * Copies SIZE bytes from offset FROM of the file IN to offset AT of the file OUT in the kernel; some file
 * systems share the data instead. Returns the number of bytes copied: less than SIZE, or 0, if the
 * kernel cannot copy them.
 */
uint64_t nb_system_copy(int in, uint64_t from, int out, uint64_t at, uint64_t size);

/* Starts writing back the data of FD without waiting. May do nothing. */
void nb_system_start_writing(int fd);

/* Waits until the data of FD is on the disk, as far as the system can guarantee it. Returns 0 or an errno. */
int nb_system_sync(int fd);

/* Renames FROM to TO without replacing a file. Returns 0 or an errno: EEXIST if TO exists. */
int nb_system_rename_to_new(const char *from, const char *to);

/*
 * Gives FROM and TO, which both exist and are in one folder, each other's name: at once where the system can do that, else
 * with a moment in which TO is missing. Returns 0 or an errno, with the names as they were.
 */
int nb_system_exchange(const char *from, const char *to);

/*
 * From now on this thread, and those that it starts, can open only files in the COUNT folders of READABLE, which are
 * not followed further than they exist, and only for reading; they can start no program and open no connection, and
 * all that for good. Files that are open already stay so. Returns 0 or an errno, with nothing changed: ENOSYS where the
 * system has no such means. On Linux these are Landlock (5.13) and a filter that lets through only the calls of
 * reader_calls.def.
 */
int nb_system_sandbox(const char *const *readable, size_t count);

/* Fills BUFFER with SIZE random bytes (at most 256); false if the system provides none. */
bool nb_system_random(void *buffer, size_t size);

/* Writes the resolved path of the running program to PATH, of SIZE bytes; false if it is unknown. */
bool nb_system_program(char *path, size_t size);

/* What the maker calls the processor: "AMD EPYC 7763", in TEXT of SIZE bytes; false if the system does not say. */
bool nb_system_cpu_name(char *text, size_t size);

/* The number of processors that can run threads of this process; at least 1. */
unsigned nb_system_processors(void);

/*
 * Allocates SIZE bytes, to be released with free(), in large pages if possible: with small pages, scattered writes
 * would spend most of their time on TLB misses. NULL if out of memory.
 */
void *nb_system_large_memory(uint64_t size);

/* The memory of this machine in bytes; 0 if the system does not tell. */
uint64_t nb_system_memory(void);

/* Lets this process have COUNT files open beside those that it may have now, as far as it is allowed to. */
void nb_system_allow_files(uint32_t count);

/* The peak memory use of this process in bytes. */
uint64_t nb_system_peak_memory(void);

/*
 * Like pthread_create, but with at least the stack that kernels and BLAS need: the default is 8 MiB on
 * some systems and 128 KiB on others. Returns 0 or an errno.
 */
int nb_system_start_thread(pthread_t *thread, void *(*start)(void *), void *argument);

#endif
