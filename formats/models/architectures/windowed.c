/*
 * Architectures of which nibble knows only the sliding windows, not the tensors: the windows are
 * needed to compute a model's memory use. Source: llama.cpp v0.5.0, src/models.
 */
#include "formats/models/architecture.h"

#define WINDOWED(identifier, arch, every, is_first_full, usual) \
    const struct nb_arch nb_arch_##identifier = { .name = arch, .window = { every, is_first_full, usual, 0 } };

WINDOWED(plamo3, "plamo3", 8, false, 0)
WINDOWED(smallthinker, "smallthinker", 4, true, 0)
