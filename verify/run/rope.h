/*
 * Rotary position embedding: pairs of a head's elements are rotated by an angle that grows with the
 * position.
 */
#ifndef NB_ROPE_H
#define NB_ROPE_H

#include "formats/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nb_loader;

struct nb_rope {
    uint32_t dims;      /* rotated dimensions of each head; even */
    uint32_t step, gap; /* pair number k are the elements step * k and step * k + gap */
    double base;
    bool scaled;         /* by the model's kind of scaling, and by its factors */
    double *frequencies; /* radians per position, for each of dims / 2 pairs */
    double *far;         /* those for texts of more than NEAR positions; NULL: the same */
    double near;
    double magnitude; /* factor of the rotated elements */
    size_t before;    /* sum of the dims of the previous ones in the model's list */
    struct nb_rope *next;
};

/*
 * The rotary embedding for heads of HEAD_DIM elements, from the layer's hyperparameters and the
 * model's frequency factors. Layers with equal embeddings share one.
 */
enum nb_status nb_load_rope(struct nb_loader *loader, uint32_t head_dim, const struct nb_rope **out) NB_MUST_CHECK;
/* Fills TABLE (POSITIONS x dims) with the cosine and sine of each pair at each position. */
void nb_rope_table(const struct nb_rope *rope, size_t positions, float *table);
/* Rotates the HEADS heads of HEAD_DIM elements at X; ROW is the table's row for the position. */
void nb_rope_rotate(const struct nb_rope *rope, const float *row, float *x, size_t heads, size_t head_dim);

#endif
