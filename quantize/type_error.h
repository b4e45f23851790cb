/* How much a tensor loses in several types. */
#ifndef NB_TYPE_ERROR_H
#define NB_TYPE_ERROR_H

#include "formats/base/status.h"
#include "formats/models/view.h"

#include <stddef.h>

/*
 * ERRORS receives for each of COUNT types the mean of the squared errors of VIEW's elements, weighted by IMPORTANCE (ne[0]
 * for each matrix of ne[0] x ne[1]; NULL: all alike), in a sample of its rows. Its rows must divide into the types' blocks.
 */
enum nb_status nb_type_errors(const struct nb_view *view, const float *importance, const enum nb_type *types,
                              size_t count, double *errors, struct nb_error *err) NB_MUST_CHECK;

#endif
