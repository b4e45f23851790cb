/* Builds views from the rows of a family's table. */
#ifndef NB_VIEW_BUILD_H
#define NB_VIEW_BUILD_H

#include "formats/base/arena.h"
#include "formats/models/family.h"
#include "formats/models/view.h"

/* The input of a view: a row of the table and its stored tensors. */
struct nb_view_origin {
    const struct nb_map_row *row;
    const struct nb_hparams *hp;
    uint64_t layer;
    const struct nb_tensor *const *stored; /* one, or all experts in order */
    size_t n_stored;
    const struct nb_tensor *scales; /* of NB_MAP_MXFP4 */
    json_t *config;                 /* for NB_MAP_SCALE_BY; NULL: none */
};

/*
 * Builds VIEW, whose name, type, shape and store are already set, with the operations of the row.
 * NB_INPUT, with a message that does not name the file, if the stored tensors do not suit the
 * operations or do not give the shape of the view.
 */
enum nb_status nb_view_build(struct nb_view *view, const struct nb_view_origin *origin, struct nb_arena *arena,
                             struct nb_error *err) NB_MUST_CHECK;

#endif
