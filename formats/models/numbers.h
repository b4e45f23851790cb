/* Tables of small integers, which checkpoints store in 64 bits and GGUF in 32: numbers of experts, for example. */
#ifndef NB_NUMBERS_H
#define NB_NUMBERS_H

#include "formats/models/view.h"

/*
 * Makes VIEW, whose only piece is all of an I64 tensor, one of type I32. Reading fails if a number is not below LIMIT.
 * False if the piece is something else, or LIMIT is no 32-bit number.
 */
bool nb_view_numbers(struct nb_view *view, uint64_t limit);

#endif
