/* Checkpoints made from the goldens of tests/golden/families: nothing but formulas and JSON, and always the same bytes. */
#ifndef NB_GOLDEN_CHECKPOINT_H
#define NB_GOLDEN_CHECKPOINT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* The golden at PATH, which is compressed by gzip. */
json_t *golden_read(const char *path);
/* That of the checkpoint NAME: of tests/golden/runs, or of tests/golden/families. */
json_t *golden_by_name(const char *name);
/* Writes the checkpoint that GOLDEN describes to the scratch folder's FOLDER. */
void golden_checkpoint(json_t *golden, const char *folder);

/* Whether NAME is one of ONLY, which ends with NULL; an empty list has all. */
bool golden_is_wanted(char *const *only, const char *name);
/*
 * Calls VISIT with the name of each golden "NAME.json.gz" in the folder FOLDER that is wanted, in alphabetical order.
 * Fails if there is none.
 */
void golden_each(const char *folder, char *const *only, void (*visit)(const char *name));

#endif
