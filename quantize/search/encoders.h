/* The table of one tier's encoders: defined in the other files of this folder, used by encode.c. */
#ifndef NB_ENCODERS_H
#define NB_ENCODERS_H

#include "formats/elements/tier.h"
#include "formats/elements/types.h"
#include "quantize/search/encode.h"

typedef void nb_encode_planes_fn(const struct nb_encoding *encoding, const float *x, size_t rows, size_t columns,
                                 const float *importance, void *out);

struct nb_encoders {
    int lanes;
    nb_encode_fn *encode[NB_TYPES];
    nb_encode_planes_fn *mlx_affine, *mlx_floats; /* of mlx.h */
};

#ifdef NB_TIER
#define ENCODER(name) nb_encode_fn NB_TIERED(nb_encode_##name);
#define NO_ENCODER
#define NB_ELEMENT_TYPE(identifier, number, name, dtype, kind, elements, bytes, decoder, encoder, ...) encoder
#include "formats/elements/types.def"
#undef NB_ELEMENT_TYPE
#undef NO_ENCODER
#undef ENCODER
nb_encode_planes_fn NB_TIERED(nb_encode_mlx_affine), NB_TIERED(nb_encode_mlx_floats);
extern const struct nb_encoders NB_TIERED(nb_encoders);
#endif

#endif
