/*
 * Checkpoints of models that also see or hear: which of their tensors belong to the text model, and
 * under which names. Only the text model is converted.
 */
#ifndef NB_MULTIMODAL_H
#define NB_MULTIMODAL_H

#include "formats/base/arena.h"

#include <stdbool.h>

/* NAME without what wrappers put into it, as "language_model."; a copy from ARENA only if it has such. NULL: no memory. */
const char *nb_text_name(struct nb_arena *arena, const char *name);
/* Whether NAME is that of a tensor of a vision or audio part, or of what projects it into the text model. */
bool nb_is_beyond_text(const char *name);

#endif
