/*
 * What the functions of nibble.h have in common: how statuses become codes, and how structs that
 * begin with their size are taken from callers that were compiled with another version, and given.
 */
#ifndef NB_PUBLIC_H
#define NB_PUBLIC_H

#include "formats/base/status.h"
#include "nibble.h"

#include <signal.h>
#include <stddef.h>
#include <stdint.h>

/* The end of every public function: STATUS as a code, and with WHY, unless it is NB_OK, in ERROR, which may be NULL. */
enum nibble_code nb_public_end(enum nb_status status, const struct nb_error *why, struct nibble_error *error);

/*
 * Copies the caller's struct THEIRS, which may be NULL, over OURS of SIZE bytes; what THEIRS is too
 * short for becomes 0. NB_USAGE: its size was not set, or it sets something that this version does not
 * know. NAME is the struct's.
 */
enum nb_status nb_public_take(void *ours, size_t size, const void *theirs, const char *name,
                              struct nb_error *err) NB_MUST_CHECK;
/* Copies OURS of SIZE bytes to the caller's struct THEIRS, as far as that reaches. NB_USAGE: its size was not set. */
enum nb_status nb_public_give(void *theirs, const void *ours, size_t size, const char *name, struct nb_error *err);

#define NB_PUBLIC_TAKE(ours, theirs, name, err) nb_public_take(&(ours), sizeof(ours), theirs, name, err)
#define NB_PUBLIC_GIVE(theirs, ours, name, err) nb_public_give(theirs, &(ours), sizeof(ours), name, err)

/* Refuses INDEX where there are only COUNT of WHAT. */
enum nb_status nb_public_check_index(size_t index, size_t count, const char *what, struct nb_error *err) NB_MUST_CHECK;

/* A struct nibble_run, and the flag that its callback sets. */
struct nb_public_run {
    unsigned threads;
    nibble_progress *progress;
    void *context;
    volatile sig_atomic_t stop; /* for the options of what runs */
};

enum nb_status nb_public_run(struct nb_public_run *out, const struct nibble_run *run,
                             struct nb_error *err) NB_MUST_CHECK;
/* For the progress of what runs, with a struct nb_public_run as CONTEXT. */
void nb_public_progress(void *context, uint64_t done, uint64_t total);
void nb_public_progress_chunks(void *context, uint32_t done, uint32_t total, double share);

#endif
