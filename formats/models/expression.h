/*
 * The small arithmetic that the tables of architectures and families are written in: dimensions of
 * tensors ("heads * key_length"), conditions ("experts > 0 && layer >= 3"), defaults
 * ("embedding // heads").
 *
 * Names are hyperparameters in lower case, or "layer". A hyperparameter that is absent is 0; one
 * that has a value for each layer is that of the layer. Operators, loosest first: || && then
 * == != < <= > >= then + - then * / // (floor) % then unary - and !. Conditions are 1 or 0.
 */
#ifndef NB_EXPRESSION_H
#define NB_EXPRESSION_H

#include "formats/models/hparams.h"

/* The value of TEXT in layer LAYER; NaN where TEXT is malformed, or divides by zero. */
double nb_expression(const char *text, const struct nb_hparams *hp, uint64_t layer);
/* TEXT as a count; false unless its value is a whole number from 0 to 2^53. */
bool nb_expression_count(const char *text, const struct nb_hparams *hp, uint64_t layer, uint64_t *out);
/* Whether TEXT, which may be NULL for "always", holds. */
bool nb_expression_holds(const char *text, const struct nb_hparams *hp, uint64_t layer);
/* False where TEXT is malformed or has a name that is no hyperparameter. For tests of the tables. */
bool nb_expression_is_valid(const char *text);

#endif
