#include "formats/elements/codebooks.h"

#include "data/iq_codebooks.h"
