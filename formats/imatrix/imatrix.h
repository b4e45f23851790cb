/*
 * Importance matrices: for each weight matrix the mean of the squares of what is
 * multiplied by each of its columns. Files as llama-imatrix writes them, GGUF or
 * the older .dat form.
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
    const char *name; /* of the tensor, "blk.0.ffn_up.weight" */
    /* Means, one for each column; for stacked experts one row for each, of ones where an expert saw no token. */
    float *values;
    uint64_t count;
    /* Tokens behind each row of means: one number, or one for each expert. In a .dat file these are told in chunks of 512. */
    uint64_t *tokens;
    uint64_t rows;
};

struct nb_imatrix {
    struct nb_imatrix_entry *entries; /* by name */
    size_t count;
    const char *dataset; /* the first that the file names, or NULL */
    const struct nb_kv *datasets; /* all of them, an array of strings; NULL if the file has no such list */
    uint32_t chunks;     /* of text that went in; 0 if the file does not say */
    uint32_t chunk_size; /* tokens in each; 0 if the file does not say */
    struct nb_arena arena;
    struct nb_findings *findings; /* NULL: the first is an error */
};

/*
 * Refused: whatever is neither form, parts that are missing or do not fit
 * together, an entry that comes twice, a file without any. After an error there
 * is nothing to free.
 */
enum nb_status nb_imatrix_load(struct nb_imatrix *imatrix, const char *path, struct nb_error *err) NB_MUST_CHECK;
/*
 * The same, but whatever can be read past goes into FINDINGS. *MATRIX has what could be read
 * and is to be freed, unless there is an error.
 */
enum nb_status nb_imatrix_examine(struct nb_imatrix *imatrix, const char *path, struct nb_findings *findings,
                                  struct nb_error *err) NB_MUST_CHECK;
void nb_imatrix_free(struct nb_imatrix *imatrix);

/*
 * Keeps the entries whose name contains one of PATTERNS, or with KEEP false
 * those whose name contains none.
 */
void nb_imatrix_filter(struct nb_imatrix *imatrix, const char *const *patterns, size_t n_patterns, bool keep);
/*
 * What is wanted of a matrix that was loaded from PATH: the entries whose name contains one of INCLUDE, if
 * there are any, without those whose name contains one of EXCLUDE. NB_USAGE: none is left. Checks them, too.
 */
enum nb_status nb_imatrix_select(struct nb_imatrix *imatrix, const char *path, const char *const *include,
                                 size_t n_include, const char *const *exclude, size_t n_exclude, struct nb_error *err)
    NB_MUST_CHECK;
/* Refuses NaN, infinity and negative values; into the findings of one that is examined. */
enum nb_status nb_imatrix_check(const struct nb_imatrix *imatrix, const char *path, struct nb_error *err) NB_MUST_CHECK;
/* The entry of a tensor, or NULL. */
const struct nb_imatrix_entry *nb_imatrix_find(const struct nb_imatrix *imatrix, const char *name);

#endif
