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
    uint32_t dims;       /* of each head, that are rotated: even */
    bool halves;         /* pairs are k and k + dims / 2; else 2k and 2k + 1 */
    double base;
    double *frequencies; /* radians a position, for each of dims / 2 pairs */
    double magnitude;    /* what the rotated elements are multiplied with */
    size_t before;       /* dims of those before it in the list of the model */
    struct nb_rope *next;
};

/*
 * The rotary embedding of heads of HEAD_DIM elements that the layer's hyperparameters, and the model's
 * factors of frequencies, make. Layers that have the same share one.
 */
enum nb_status nb_load_rope(struct nb_loader *loader, uint32_t head_dim, const struct nb_rope **out) NB_MUST_CHECK;
/* Fills TABLE (POSITIONS x dims) with the cosine and sine of each pair at each position, as pairs. */
void nb_rope_table(const struct nb_rope *rope, size_t positions, float *table);
/* Rotates the HEADS heads of HEAD_DIM elements at X for the position whose row of the table is ROW. */
void nb_rope_rotate(const struct nb_rope *rope, const float *row, float *x, size_t heads, size_t head_dim);

#endif
