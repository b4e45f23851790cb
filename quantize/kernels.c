/* The kernels of this tier, as a table. */
#include "kernels.h"

#define STRING_(s) #s
#define STRING(s) STRING_(s)

const struct nb_kernels NB_TIERED(nb_kernels) = {
    .tier = STRING(NB_TIER),
    .lanes = NB_LANES,
    .encode = {
        [NB_F32] = NB_TIERED(nb_encode_f32),
        [NB_F16] = NB_TIERED(nb_encode_f16),
        [NB_BF16] = NB_TIERED(nb_encode_bf16),
        [NB_Q4_0] = NB_TIERED(nb_encode_q4_0),
        [NB_Q4_1] = NB_TIERED(nb_encode_q4_1),
        [NB_Q5_0] = NB_TIERED(nb_encode_q5_0),
        [NB_Q5_1] = NB_TIERED(nb_encode_q5_1),
        [NB_Q8_0] = NB_TIERED(nb_encode_q8_0),
        [NB_Q2_K] = NB_TIERED(nb_encode_q2_K),
        [NB_Q3_K] = NB_TIERED(nb_encode_q3_K),
        [NB_Q4_K] = NB_TIERED(nb_encode_q4_K),
        [NB_Q5_K] = NB_TIERED(nb_encode_q5_K),
        [NB_Q6_K] = NB_TIERED(nb_encode_q6_K),
    },
    .decode = {
        [NB_F32] = NB_TIERED(nb_decode_f32),
        [NB_F16] = NB_TIERED(nb_decode_f16),
        [NB_BF16] = NB_TIERED(nb_decode_bf16),
        [NB_F64] = NB_TIERED(nb_decode_f64),
        [NB_F8_E4M3] = NB_TIERED(nb_decode_f8_e4m3),
        [NB_F8_E5M2] = NB_TIERED(nb_decode_f8_e5m2),
        [NB_Q4_0] = NB_TIERED(nb_decode_q4_0),
        [NB_Q4_1] = NB_TIERED(nb_decode_q4_1),
        [NB_Q5_0] = NB_TIERED(nb_decode_q5_0),
        [NB_Q5_1] = NB_TIERED(nb_decode_q5_1),
        [NB_Q8_0] = NB_TIERED(nb_decode_q8_0),
        [NB_Q8_1] = NB_TIERED(nb_decode_q8_1),
        [NB_Q2_K] = NB_TIERED(nb_decode_q2_K),
        [NB_Q3_K] = NB_TIERED(nb_decode_q3_K),
        [NB_Q4_K] = NB_TIERED(nb_decode_q4_K),
        [NB_Q5_K] = NB_TIERED(nb_decode_q5_K),
        [NB_Q6_K] = NB_TIERED(nb_decode_q6_K),
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
