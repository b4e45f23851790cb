#include "formats/elements/decoders.h"

#define DECODER(name) NB_TIERED(nb_decode_##name)
#define NO_DECODER 0
#define NB_ELEMENT_TYPE(identifier, number, name, dtype, kind, elements, bytes, decoder, ...) \
    [NB_##identifier] = decoder,

const struct nb_decoders NB_TIERED(nb_decoders) = {
    .decode = {
#include "formats/elements/types.def"
    },
    .nonfinite = {
        [NB_F32] = NB_TIERED(nb_nonfinite_f32),
        [NB_F16] = NB_TIERED(nb_nonfinite_16f),
        [NB_BF16] = NB_TIERED(nb_nonfinite_16b),
        [NB_F64] = NB_TIERED(nb_nonfinite_f64),
        [NB_F8_E4M3] = NB_TIERED(nb_nonfinite_f8_e4m3),
        [NB_F8_E5M2] = NB_TIERED(nb_nonfinite_f8_e5m2),
    },
};
