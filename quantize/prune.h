/* Leaving layers out of a model (--prune-layers): the rest is numbered anew. */
#ifndef NB_PRUNE_H
#define NB_PRUNE_H

#include "formats/gguf/metadata.h"
#include "formats/models/source.h"

/*
 * Copies the tensors of SOURCE to OUT, which has room for all of them, without
 * those of the N layers in LAYERS; COUNT receives how many there are. Names
 * with new numbers go into ARENA. Refused: a layer that is not there, and to
 * leave out all.
 */
enum nb_status nb_prune_tensors(const struct nb_source *source, const uint64_t *layers, size_t n,
                                struct nb_arena *arena, struct nb_view *out, size_t *count,
                                struct nb_error *err) NB_MUST_CHECK;
/* The name that the tensor NAME had before the layers were left out, in OUT. */
void nb_prune_original_name(const char *name, const uint64_t *layers, size_t n, char *out, size_t size);
/*
 * Sets the number of layers in META, and takes the values of the LAYERS out of
 * the architecture's arrays that have one for each layer.
 */
enum nb_status nb_prune_metadata(struct nb_metadata *meta, const uint64_t *layers, size_t n,
                                 struct nb_error *err) NB_MUST_CHECK;

#endif
