/* 'nibble inspect --tensor': the values of one tensor. */
#ifndef NB_INSPECT_TENSOR_H
#define NB_INSPECT_TENSOR_H

#include "formats/models/source.h"

#include <stdbool.h>

/* Prints them; returns the exit code. */
int inspect_tensor(const struct nb_source *source, const char *name, bool json);

#endif
