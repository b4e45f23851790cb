/*
 * How every function of the library says that something went wrong: it returns
 * a status and, where the caller gave a struct nb_error, fills it with one
 * sentence. The library never prints and never exits.
 */
#ifndef NB_STATUS_H
#define NB_STATUS_H

#include <stdbool.h>
#include <stddef.h>

/*
 * The first five are kinds, and the exit codes of the command line tool. The others say more, and
 * each is of one of these kinds. So a status is compared with NB_OK only, or by nb_status_is.
 */
enum nb_status {
    NB_OK = 0,
    NB_NO = 1,     /* the answer is no: an invalid file, a threshold passed */
    NB_USAGE = 2,  /* the caller asked for something that makes no sense */
    NB_INPUT = 3,  /* the input is malformed, or its parts do not fit one another */
    NB_SYSTEM = 4, /* the system failed: reading, writing, permissions, threads */
    /* of kind NB_USAGE */
    NB_EXISTS = 5, /* a file to be written exists already */
    /* of kind NB_INPUT */
    NB_NOT_FOUND = 6,   /* a file or folder does not exist */
    NB_UNSUPPORTED = 7, /* the input may be sound, but this version cannot use it */
    /* of kind NB_SYSTEM */
    NB_NO_SPACE = 8,
    NB_NO_MEMORY = 9,
    NB_INTERRUPTED = 10, /* the caller asked for a stop */
};
#define NB_STATUSES 11

/* Of STATUS one of the first five: the exit code of a program that ends with it. */
enum nb_status nb_status_kind(enum nb_status status);
/* True if STATUS is of KIND, which is one of the first five. */
bool nb_status_is(enum nb_status status, enum nb_status kind);
/*
 * What an errno of the system's calls means. OTHERWISE is for those that have no status of their own.
 * A file that does not exist is NB_NOT_FOUND only where OTHERWISE is of kind NB_INPUT.
 */
enum nb_status nb_status_of_errno(int code, enum nb_status otherwise);
/* Whether the errno CODE says that a disk, a network or the machine failed, and nothing about the file that was named. */
bool nb_errno_is_of_system(int code);

#define NB_ERROR_SIZE 1024

struct nb_error {
    enum nb_status status;
    char message[NB_ERROR_SIZE]; /* one sentence, UTF-8, no control characters */
};

#if defined(__GNUC__)
#define NB_PRINTF(format_at, first_at) __attribute__((format(printf, format_at, first_at)))
#define NB_MUST_CHECK __attribute__((warn_unused_result))
#else
#define NB_PRINTF(format_at, first_at)
#define NB_MUST_CHECK
#endif

/*
 * Fills ERR (which may be NULL) and returns STATUS. The finished sentence is shown
 * as nb_show has it: names in it may come from a hostile file and end up on
 * somebody's terminal.
 */
enum nb_status nb_fail(struct nb_error *err, enum nb_status status, const char *format, ...) NB_PRINTF(3, 4);

/* NB_NO_MEMORY with "out of memory". */
enum nb_status nb_fail_memory(struct nb_error *err);

#endif
