/*
 * The kernels of one tier. Every source that defines kernels is compiled once
 * for each tier, with NB_LANES and NB_TIER set on the command line; names get
 * the tier as a suffix.
 */
#ifndef NB_KERNELS_H
#define NB_KERNELS_H

#include "types.h"

#include <stddef.h>
#include <stdint.h>

/*
 * ROWS x COLUMNS floats, row-major, to blocks. COLUMNS is a multiple of the
 * type's block. IMPORTANCE, COLUMNS floats or NULL, is the weight of each
 * column's error.
 */
typedef void nb_encode_fn(const float *x, size_t rows, size_t columns, const float *importance, void *blocks);
/* COUNT elements, a multiple of the block, to floats. */
typedef void nb_decode_fn(const void *blocks, size_t count, float *out);
/* Not zero if one of COUNT stored floats is NaN or infinite. */
typedef int nb_nonfinite_fn(const void *values, size_t count);

struct nb_kernels {
    const char *tier;
    int lanes;
    nb_encode_fn *encode[NB_GGUF_TYPES];
    nb_decode_fn *decode[NB_TYPES];
    nb_nonfinite_fn *nonfinite[NB_TYPES]; /* for float types */
};

#define NB_PASTE_(a, b) a##_##b
#define NB_PASTE(a, b) NB_PASTE_(a, b)
#define NB_TIERED(name) NB_PASTE(name, NB_TIER)

#ifdef NB_TIER
extern const struct nb_kernels NB_TIERED(nb_kernels);
nb_encode_fn NB_TIERED(nb_encode_f32), NB_TIERED(nb_encode_f16), NB_TIERED(nb_encode_bf16),
    NB_TIERED(nb_encode_q4_0), NB_TIERED(nb_encode_q4_1), NB_TIERED(nb_encode_q5_0),
    NB_TIERED(nb_encode_q5_1), NB_TIERED(nb_encode_q8_0), NB_TIERED(nb_encode_q2_K),
    NB_TIERED(nb_encode_q3_K), NB_TIERED(nb_encode_q4_K), NB_TIERED(nb_encode_q5_K),
    NB_TIERED(nb_encode_q6_K), NB_TIERED(nb_encode_iq1_s), NB_TIERED(nb_encode_iq1_m),
    NB_TIERED(nb_encode_iq2_xxs), NB_TIERED(nb_encode_iq2_xs), NB_TIERED(nb_encode_iq2_s),
    NB_TIERED(nb_encode_iq3_xxs), NB_TIERED(nb_encode_iq3_s), NB_TIERED(nb_encode_iq4_nl),
    NB_TIERED(nb_encode_iq4_xs), NB_TIERED(nb_encode_tq1_0), NB_TIERED(nb_encode_tq2_0),
    NB_TIERED(nb_encode_q1_0), NB_TIERED(nb_encode_q2_0), NB_TIERED(nb_encode_mxfp4),
    NB_TIERED(nb_encode_nvfp4);
nb_decode_fn NB_TIERED(nb_decode_f32), NB_TIERED(nb_decode_f16), NB_TIERED(nb_decode_bf16),
    NB_TIERED(nb_decode_f64), NB_TIERED(nb_decode_f8_e4m3), NB_TIERED(nb_decode_f8_e5m2),
    NB_TIERED(nb_decode_i8), NB_TIERED(nb_decode_i16), NB_TIERED(nb_decode_i32), NB_TIERED(nb_decode_i64),
    NB_TIERED(nb_decode_q4_0), NB_TIERED(nb_decode_q4_1), NB_TIERED(nb_decode_q5_0),
    NB_TIERED(nb_decode_q5_1), NB_TIERED(nb_decode_q8_0), NB_TIERED(nb_decode_q8_1),
    NB_TIERED(nb_decode_q8_K), NB_TIERED(nb_decode_q2_K), NB_TIERED(nb_decode_q3_K),
    NB_TIERED(nb_decode_q4_K), NB_TIERED(nb_decode_q5_K), NB_TIERED(nb_decode_q6_K),
    NB_TIERED(nb_decode_iq1_s), NB_TIERED(nb_decode_iq1_m), NB_TIERED(nb_decode_iq2_xxs),
    NB_TIERED(nb_decode_iq2_xs), NB_TIERED(nb_decode_iq2_s), NB_TIERED(nb_decode_iq3_xxs),
    NB_TIERED(nb_decode_iq3_s), NB_TIERED(nb_decode_iq4_nl), NB_TIERED(nb_decode_iq4_xs),
    NB_TIERED(nb_decode_tq1_0), NB_TIERED(nb_decode_tq2_0), NB_TIERED(nb_decode_q1_0),
    NB_TIERED(nb_decode_q2_0), NB_TIERED(nb_decode_mxfp4), NB_TIERED(nb_decode_nvfp4);
nb_nonfinite_fn NB_TIERED(nb_nonfinite_f32), NB_TIERED(nb_nonfinite_16f), NB_TIERED(nb_nonfinite_16b),
    NB_TIERED(nb_nonfinite_f64), NB_TIERED(nb_nonfinite_f8_e4m3), NB_TIERED(nb_nonfinite_f8_e5m2);
#endif

#endif
