/* Checkpoints made from the goldens of tests/golden/families: nothing but formulas and JSON, and always the same bytes. */
#ifndef NB_GOLDEN_CHECKPOINT_H
#define NB_GOLDEN_CHECKPOINT_H

#include <jansson.h>

/* The golden at PATH, which is compressed by gzip. */
json_t *golden_read(const char *path);
/* That of the checkpoint NAME: of tests/golden/runs, or of tests/golden/families. */
json_t *golden_by_name(const char *name);
/* Writes the checkpoint that GOLDEN describes to the scratch folder's FOLDER. */
void golden_checkpoint(json_t *golden, const char *folder);

#endif
