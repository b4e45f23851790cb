/* Views made by the rows of a family's table. */
#ifndef NB_VIEW_BUILD_H
#define NB_VIEW_BUILD_H

#include "formats/base/arena.h"
#include "formats/models/family.h"
#include "formats/models/view.h"

/* What a row of the table makes a view of. */
struct nb_view_origin {
    const struct nb_map_row *row;
    const struct nb_hparams *hp;
    uint64_t layer;
    const struct nb_tensor *const *stored; /* one, or all experts in their order */
    size_t n_stored;
};

/*
 * Makes VIEW, whose name, type, shape and store are set already, by the operations of the row.
 * NB_INPUT, with what does not fit in one sentence without a file's name: the stored tensors are not
 * what the operations need, or do not give the shape of the view.
 */
enum nb_status nb_view_build(struct nb_view *view, const struct nb_view_origin *origin, struct nb_arena *arena,
                             struct nb_error *err) NB_MUST_CHECK;

#endif
