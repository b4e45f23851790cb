/*
 * Parts of a model's matrices that stay in memory, as they are stored, for passes that use them for each token of a text.
 * Without this a part is read from the file each time it is used.
 */
#ifndef NB_KEPT_H
#define NB_KEPT_H

#include "formats/models/view.h"
#include "verify/run/model.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nb_kept_matrix {
    const struct nb_linear *matrix;
    unsigned char **parts; /* NULL: not kept, or not yet */
    size_t in_expert;      /* of them */
};

struct nb_kept_memory;

struct nb_kept {
    struct nb_kept_matrix *matrices; /* sorted by the address of the matrix */
    size_t count;
    pthread_mutex_t lock; /* protects the rest */
    struct nb_kept_memory *memory;
    uint64_t limit, used; /* bytes */
};

/*
 * For all matrices of MODEL, whose parts have as many rows as ROWS_OF says for so many columns; as many parts are kept as
 * LIMIT bytes hold. False if out of memory.
 */
bool nb_kept_new(struct nb_kept *kept, const struct nb_model *model, size_t (*rows_of)(size_t columns), uint64_t limit);
void nb_kept_free(struct nb_kept *kept);
/* Where part NUMBER of EXPERT's MATRIX is kept; NULL: nowhere. */
unsigned char **nb_kept_part(const struct nb_kept *kept, const struct nb_linear *matrix, uint32_t expert,
                             size_t number);
/*
 * Keeps what READER fetched, COUNT elements of VIEW, at PART, which nb_kept_part returned, if there is room. Several threads
 * may do so at once, but not for the same part.
 */
void nb_keep(struct nb_kept *kept, unsigned char **part, const struct nb_view *view,
             const struct nb_view_reader *reader, uint64_t count);

#endif
