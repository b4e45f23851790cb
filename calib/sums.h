/*
 * An importance matrix that is being built: for every weight matrix, the sum of
 * the squared inputs of each column, in double, and the number of tokens; for
 * stacked experts (or heads), separately for each.
 */
#ifndef NB_SUMS_H
#define NB_SUMS_H

#include "formats/base/status.h"
#include "formats/imatrix/imatrix.h"

#include <stdbool.h>
#include <stdint.h>

struct nb_sums_entry {
    const char *name; /* name of the tensor */
    uint64_t columns, experts;
    double *squares;  /* EXPERTS x COLUMNS */
    uint64_t *tokens; /* per expert */
};

struct nb_sums {
    struct nb_arena arena;
    struct nb_sums_entry *entries; /* sorted by name after nb_sums_sort */
    size_t count, room;
    const char **datasets; /* names of the texts */
    size_t n_datasets, datasets_room;
    uint64_t chunks;
    uint32_t chunk_size; /* tokens of a chunk */
};

enum nb_sums_format { NB_SUMS_GGUF, NB_SUMS_DAT };

/* The entry NAME, added with zeros if it is new. NULL if out of memory or if it has a different shape. */
struct nb_sums_entry *nb_sums_entry(struct nb_sums *sums, const char *name, uint64_t columns, uint64_t experts);
/* Adds the name of a text without its folder, unless it is already present. */
enum nb_status nb_sums_add_dataset(struct nb_sums *sums, const char *name, struct nb_error *err) NB_MUST_CHECK;
/* Adds the sums of another run. PATH is for messages. */
enum nb_status nb_sums_merge(struct nb_sums *sums, const struct nb_imatrix *imatrix, const char *path,
                             struct nb_error *err) NB_MUST_CHECK;
void nb_sums_sort(struct nb_sums *sums);

/*
 * Writes the file PATH atomically in the format of llama-imatrix (tools/imatrix):
 * GGUF with sums and counts as floats, or the older .dat format. An existing file
 * is overwritten.
 */
enum nb_status nb_sums_write(struct nb_sums *sums, const char *path, enum nb_sums_format format,
                             struct nb_error *err) NB_MUST_CHECK;
/* Converts SUMS to the means that quantization uses. */
enum nb_status nb_sums_imatrix(struct nb_sums *sums, struct nb_imatrix *out, struct nb_error *err) NB_MUST_CHECK;
void nb_sums_free(struct nb_sums *sums);

#endif
