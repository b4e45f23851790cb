/* struct nibble_metadata is never completed: it is a struct nb_metadata under its public name. */
#ifndef NB_PUBLIC_METADATA_H
#define NB_PUBLIC_METADATA_H

#include "formats/gguf/metadata.h"
#include "nibble.h"

static inline const struct nb_metadata *
nb_public_metadata(const struct nibble_metadata *metadata)
{
    return (const struct nb_metadata *)metadata;
}

#endif
