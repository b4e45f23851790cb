/*
 * An importance matrix in the making: for every weight matrix the sum of the
 * squares of what was multiplied by each of its columns, in double, and how many
 * tokens that were; for stacked experts, of each.
 */
#ifndef NB_SUMS_H
#define NB_SUMS_H

#include "formats/base/status.h"
#include "formats/imatrix/imatrix.h"

#include <stdbool.h>
#include <stdint.h>

struct nb_sums_entry {
    const char *name;  /* of the tensor */
    uint64_t columns, experts;
    double *squares;   /* EXPERTS x COLUMNS */
    uint64_t *tokens;  /* of each expert */
};

struct nb_sums {
    struct nb_arena arena;
    struct nb_sums_entry *entries; /* by name, once nb_sums_sort was called */
    size_t count, room;
    const char **datasets;         /* names of the texts */
    size_t n_datasets, datasets_room;
    uint64_t chunks;
    uint32_t chunk_size;           /* tokens of a chunk */
};

enum nb_sums_format { NB_SUMS_GGUF, NB_SUMS_DAT };

/* The entry NAME, a new one of zeros if need be. NULL when memory is out or it has another shape. */
struct nb_sums_entry *nb_sums_entry(struct nb_sums *sums, const char *name, uint64_t columns, uint64_t experts);
/* Adds the name of a text, without the folder it is in; one that is there already is not added again. */
enum nb_status nb_sums_add_dataset(struct nb_sums *sums, const char *name, struct nb_error *err) NB_MUST_CHECK;
/* Adds what another run gathered. PATH is for messages. */
enum nb_status nb_sums_merge(struct nb_sums *sums, const struct nb_imatrix *imatrix, const char *path,
                             struct nb_error *err) NB_MUST_CHECK;
void nb_sums_sort(struct nb_sums *sums);

/*
 * Writes the file PATH, whole or not at all, as llama-imatrix does (tools/imatrix):
 * GGUF with sums and counts as floats, or the older .dat form. An existing file is
 * written over.
 */
enum nb_status nb_sums_write(struct nb_sums *sums, const char *path, enum nb_sums_format format,
                             struct nb_error *err) NB_MUST_CHECK;
/* The same as the means that quantization works with. */
enum nb_status nb_sums_imatrix(struct nb_sums *sums, struct nb_imatrix *out, struct nb_error *err) NB_MUST_CHECK;
void nb_sums_free(struct nb_sums *sums);

#endif
