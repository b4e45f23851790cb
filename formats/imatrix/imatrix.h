/*
 * Importance matrices: for each weight matrix, the mean of the squared
 * activations that are multiplied by each column. Reads the files of
 * llama-imatrix, both GGUF and the older .dat format.
 */
#ifndef NB_IMATRIX_H
#define NB_IMATRIX_H

#include "formats/base/arena.h"
#include "formats/base/findings.h"
#include "formats/base/status.h"
#include "formats/gguf/metadata.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nb_imatrix_entry {
    const char *name; /* of the tensor, for example "blk.0.ffn_up.weight" */
    /* One mean per column, for stacked experts one row per expert; all ones for an expert that got no tokens. */
    float *values;
    uint64_t count;
    /* The number of tokens of each row of means: one, or one per expert. A .dat file counts chunks of 512. */
    uint64_t *tokens;
    uint64_t rows;
};

struct nb_imatrix {
    struct nb_imatrix_entry *entries; /* by name */
    size_t count;
    const char *dataset;          /* the first data set of the file, or NULL */
    const struct nb_kv *datasets; /* all of them, an array of strings; NULL if absent */
    uint32_t chunks;              /* number of text chunks; 0 if unknown */
    uint32_t chunk_size;          /* tokens per chunk; 0 if unknown */
    struct nb_arena arena;
    struct nb_findings *findings; /* NULL: the first finding is an error */
};

/*
 * Errors: neither format, missing or inconsistent parts, a duplicate entry, no
 * entries. After an error there is nothing to free.
 */
enum nb_status nb_imatrix_load(struct nb_imatrix *imatrix, const char *path, struct nb_error *err) NB_MUST_CHECK;
/*
 * The same, but faults are recorded in FINDINGS and reading continues where possible. Unless an error
 * is returned, *IMATRIX holds what could be read, and the caller frees it.
 */
enum nb_status nb_imatrix_examine(struct nb_imatrix *imatrix, const char *path, struct nb_findings *findings,
                                  struct nb_error *err) NB_MUST_CHECK;
void nb_imatrix_free(struct nb_imatrix *imatrix);

/*
 * Keeps the entries whose name contains one of PATTERNS; if KEEP is false,
 * those whose name contains none of them.
 */
void nb_imatrix_filter(struct nb_imatrix *imatrix, const char *const *patterns, size_t n_patterns, bool keep);
/*
 * Keeps the entries whose name contains one of INCLUDE (all, if that is empty) and none of EXCLUDE, and
 * checks them as nb_imatrix_check does. NB_USAGE if no entry is left. PATH is used in messages.
 */
enum nb_status nb_imatrix_select(struct nb_imatrix *imatrix, const char *path, const char *const *include,
                                 size_t n_include, const char *const *exclude, size_t n_exclude,
                                 struct nb_error *err) NB_MUST_CHECK;
/* An error for NaN, infinity and negative values; a finding if IMATRIX is being examined. */
enum nb_status nb_imatrix_check(const struct nb_imatrix *imatrix, const char *path, struct nb_error *err) NB_MUST_CHECK;
/* The entry of a tensor, or NULL. */
const struct nb_imatrix_entry *nb_imatrix_find(const struct nb_imatrix *imatrix, const char *name);

#endif
