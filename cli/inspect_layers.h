/* 'nibble inspect --layers' and '--effects': the types of the matrices, layer by role, and what they cost. */
#ifndef NB_INSPECT_LAYERS_H
#define NB_INSPECT_LAYERS_H

#include "calib/effects_file.h"
#include "formats/models/source.h"

#include <jansson.h>
#include <stdbool.h>

/* Prints the types of the matrices of SOURCE. */
void inspect_types(const struct nb_source *source);
/*
 * What the type of each matrix of SOURCE costs by EFFECTS; where EFFECTS does not know it, as those of a checkpoint,
 * what its costliest type does. Prints the shares in the sum of all.
 */
void inspect_effects(const struct nb_source *source, const struct nb_effects_file *effects);
/* The same numbers: the sum, and for each matrix the type and its cost. */
json_t *inspect_effects_json(const struct nb_source *source, const struct nb_effects_file *effects);

/* Whether the file PATH is one of effects by itself; and what it says of the costliest type of each tensor. */
bool inspect_is_effects(const char *path);
int inspect_effects_file(const char *path, bool json);

#endif
