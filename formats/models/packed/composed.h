/*
 * Weights that are composed of views: a stored tensor, for everyone who reads it, whose elements are those of other
 * tensors in another order. So a GGUF file can be read as the checkpoint that it was made of.
 */
#ifndef NB_COMPOSED_H
#define NB_COMPOSED_H

#include "formats/base/arena.h"
#include "formats/base/status.h"
#include "formats/models/view.h"

/* A rectangle of a weight, as a matrix: its elements are those of VIEW, row by row. */
struct nb_rectangle {
    uint64_t row, rows, column, columns;
    struct nb_view view;
};

/*
 * Makes TENSOR, whose name, dimensions and shape are set, one of F32 that consists of COUNT rectangles, which are kept and
 * must cover it, in the order of their rows; those of the same rows in the order of their columns. If all have only one
 * column, rows are single elements. NB_INPUT if they do not,
 * with a message that does not name the file.
 */
enum nb_status nb_compose(struct nb_tensor *tensor, const struct nb_rectangle *rectangles, size_t count,
                          struct nb_arena *arena, struct nb_error *err) NB_MUST_CHECK;

/*
 * If TENSOR is composed of whole matrices that are turned: makes VIEW, which is of all of it, one that turns them itself, as
 * threads read such together (view_panel.h), and returns true. *VIEW is unchanged if not, or if out of memory.
 */
bool nb_composed_turned(const struct nb_tensor *tensor, struct nb_view *view, struct nb_arena *arena);
/* The type in which the views of TENSOR, which is composed, are stored; of any other tensor its own. */
enum nb_type nb_composed_of(const struct nb_tensor *tensor);

#endif
