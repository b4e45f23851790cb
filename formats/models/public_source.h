/* A source behind its public name. */
#ifndef NB_PUBLIC_SOURCE_H
#define NB_PUBLIC_SOURCE_H

#include "formats/models/source.h"
#include "nibble.h"

struct nibble_source {
    struct nb_source source;
};

#endif
