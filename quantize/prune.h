/* Removes layers from a model (--prune-layers) and renumbers the others. */
#ifndef NB_PRUNE_H
#define NB_PRUNE_H

#include "formats/gguf/metadata.h"
#include "formats/models/source.h"

/*
 * Copies the tensors of SOURCE, except those of the N layers in LAYERS, to OUT,
 * which has room for all of them; COUNT receives their number. New names are
 * allocated from ARENA. Errors: a layer that does not exist, or no layer left.
 */
enum nb_status nb_prune_tensors(const struct nb_source *source, const uint64_t *layers, size_t n,
                                struct nb_arena *arena, struct nb_view *out, size_t *count,
                                struct nb_error *err) NB_MUST_CHECK;
/* Writes to OUT the name that the tensor NAME had before the layers were removed. */
void nb_prune_original_name(const char *name, const uint64_t *layers, size_t n, char *out, size_t size);
/*
 * Sets the number of layers in META, and removes the values of LAYERS from the
 * architecture's per-layer arrays.
 */
enum nb_status nb_prune_metadata(struct nb_metadata *meta, const uint64_t *layers, size_t n,
                                 struct nb_error *err) NB_MUST_CHECK;

#endif
