/*
 * Expressions in the tables of architectures and families: tensor dimensions ("heads * key_length"),
 * conditions ("experts > 0 && layer >= 3"), defaults ("embedding // heads").
 *
 * Names are hyperparameters in lower case, or "layer". An absent hyperparameter is 0; a per-layer one
 * has the value of the current layer, and "any(NAME)" says whether one of its values is not 0. Operators, lowest precedence first: || && then
 * == != < <= > >= then + - then * / // (floor) % then ^ (power) then unary - and !. Conditions give 1 or 0.
 */
#ifndef NB_EXPRESSION_H
#define NB_EXPRESSION_H

#include "formats/models/hparams.h"

/* The value of TEXT in layer LAYER; NaN if TEXT is malformed or divides by zero. */
double nb_expression(const char *text, const struct nb_hparams *hp, uint64_t layer);
/* The value of TEXT as an integer; false unless it is a whole number from 0 to 2^53. */
bool nb_expression_count(const char *text, const struct nb_hparams *hp, uint64_t layer, uint64_t *out);
/* Whether the condition TEXT is true; NULL means always. */
bool nb_expression_holds(const char *text, const struct nb_hparams *hp, uint64_t layer);
/*
 * Sets HPARAM, as a default, to the value of TEXT, or to 0 if it has none: an array by layer if TEXT depends on
 * the layer and HPARAM can.
 */
enum nb_status nb_expression_set(const char *text, struct nb_hparams *hp, enum nb_hparam hparam,
                                 struct nb_error *err) NB_MUST_CHECK;
/* Whether TEXT names the layer, or a hyperparameter that has values by layer. */
bool nb_expression_is_by_layer(const char *text, const struct nb_hparams *hp);
/* False if TEXT is malformed or uses an unknown name. For tests of the tables. */
bool nb_expression_is_valid(const char *text);

#endif
