/* The table of one tier's decoders: defined in decode_*.c, used by decode.c. */
#ifndef NB_DECODERS_H
#define NB_DECODERS_H

#include "formats/elements/tier.h"
#include "formats/elements/types.h"

#include <stddef.h>

/* Decodes COUNT elements, a multiple of the block size. */
typedef void nb_decode_fn(const void *blocks, size_t count, float *out);
/* Not zero if one of COUNT stored floats is NaN or infinite. */
typedef int nb_nonfinite_fn(const void *values, size_t count);

struct nb_decoders {
    nb_decode_fn *decode[NB_TYPES];
    nb_nonfinite_fn *nonfinite[NB_TYPES]; /* for float types */
};

#ifdef NB_TIER
#define DECODER(name) nb_decode_fn NB_TIERED(nb_decode_##name);
#define NO_DECODER
#define NB_ELEMENT_TYPE(identifier, number, name, dtype, kind, elements, bytes, decoder, ...) decoder
#include "formats/elements/types.def"
#undef NB_ELEMENT_TYPE
#undef NO_DECODER
#undef DECODER
nb_nonfinite_fn NB_TIERED(nb_nonfinite_f32), NB_TIERED(nb_nonfinite_16f), NB_TIERED(nb_nonfinite_16b),
    NB_TIERED(nb_nonfinite_f64), NB_TIERED(nb_nonfinite_f8_e4m3), NB_TIERED(nb_nonfinite_f8_e5m2);
extern const struct nb_decoders NB_TIERED(nb_decoders);
#endif

#endif
