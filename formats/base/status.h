/*
 * How every function of the library says that something went wrong: it returns
 * a status and, where the caller gave a struct nb_error, fills it with one
 * sentence. The library never prints and never exits.
 */
#ifndef NB_STATUS_H
#define NB_STATUS_H

#include <stddef.h>

/* The numbers are the exit codes of the command line tool. */
enum nb_status {
    NB_OK = 0,
    NB_NO = 1,     /* the answer is no: an invalid file, a threshold passed */
    NB_USAGE = 2,  /* the caller asked for something that makes no sense */
    NB_INPUT = 3,  /* the input cannot be used */
    NB_SYSTEM = 4, /* the system failed: disk, memory, permissions */
};

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
 * Fills ERR (which may be NULL) and returns STATUS. Control characters and what
 * is no UTF-8 in the finished sentence become '?': names in it may come from a
 * hostile file and end up on somebody's terminal.
 */
enum nb_status nb_fail(struct nb_error *err, enum nb_status status, const char *format, ...)
    NB_PRINTF(3, 4);

/* NB_SYSTEM with "out of memory". */
enum nb_status nb_fail_memory(struct nb_error *err);

#endif
