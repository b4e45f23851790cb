#include "quantize/search/encoders.h"

#define ENCODER(name) NB_TIERED(nb_encode_##name)
#define NO_ENCODER 0
#define NB_ELEMENT_TYPE(identifier, number, name, dtype, kind, elements, bytes, decoder, encoder, ...) \
    [NB_##identifier] = encoder,

const struct nb_encoders NB_TIERED(nb_encoders) = {
    .lanes = NB_LANES,
    .encode = {
#include "formats/elements/types.def"
    },
    .mlx_affine = NB_TIERED(nb_encode_mlx_affine),
    .mlx_floats = NB_TIERED(nb_encode_mlx_floats),
};
