/* A GGUF file as the checkpoint that it was made of: what is taken can be read, whole and in pieces. */
#include "fuzz.h"

#include "formats/base/status.h"
#include "formats/models/reverse/reverse.h"
#include "formats/models/source.h"
#include "formats/models/view.h"

#include <stdlib.h>
#include <string.h>

#define MOST ((uint64_t)1 << 16) /* elements of a tensor that is read */

/* The last row by itself must be the last row of all. */
static void
read_tensor(const struct nb_store *store, const struct nb_tensor *stored)
{
    struct nb_view_reader reader = { 0 };
    struct nb_piece piece;
    struct nb_view v;
    const uint64_t rows = stored->elements / stored->ne[0];
    float *all = malloc((size_t)stored->elements * sizeof *all), *last = malloc((size_t)stored->ne[0] * sizeof *last);

    nb_view_whole(&v, store, stored, &piece);
    if (all != NULL && last != NULL && nb_view_rows(&v, 0, rows, all, &reader, NULL) == NB_OK &&
        nb_view_rows(&v, rows - 1, 1, last, &reader, NULL) == NB_OK)
        fuzz_claim(memcmp(all + (rows - 1) * stored->ne[0], last, (size_t)stored->ne[0] * sizeof *last) == 0,
                   "a row is the same by itself");
    nb_view_reader_free(&reader);
    free(all);
    free(last);
}

void
fuzz_target(const uint8_t *data, size_t size)
{
    struct nb_source gguf, checkpoint;

    if (nb_source_open(&gguf, fuzz_file(data, size), NULL, NULL) != NB_OK)
        return;
    if (gguf.kind == NB_SOURCE_GGUF && nb_reverse(&checkpoint, &gguf, NULL, NULL) == NB_OK) {
        fuzz_claim(checkpoint.n_tensors == gguf.n_tensors, "every tensor comes again");
        for (size_t i = 0; i < checkpoint.store.count; i++)
            if (checkpoint.store.tensors[i].elements <= MOST)
                read_tensor(&checkpoint.store, &checkpoint.store.tensors[i]);
        nb_source_close(&checkpoint);
    }
    nb_source_close(&gguf);
}
