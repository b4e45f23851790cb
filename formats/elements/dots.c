#include "formats/elements/dots.h"

const struct nb_dots NB_TIERED(nb_dots) = {
    .dot = {
        [NB_F32] = NB_TIERED(nb_dot_f32),
        [NB_F16] = NB_TIERED(nb_dot_f16),
        [NB_BF16] = NB_TIERED(nb_dot_bf16),
        [NB_Q4_0] = NB_TIERED(nb_dot_q4_0),
        [NB_Q4_1] = NB_TIERED(nb_dot_q4_1),
        [NB_Q5_0] = NB_TIERED(nb_dot_q5_0),
        [NB_Q5_1] = NB_TIERED(nb_dot_q5_1),
        [NB_Q8_0] = NB_TIERED(nb_dot_q8_0),
        [NB_Q2_K] = NB_TIERED(nb_dot_q2_K),
        [NB_Q3_K] = NB_TIERED(nb_dot_q3_K),
        [NB_Q4_K] = NB_TIERED(nb_dot_q4_K),
        [NB_Q5_K] = NB_TIERED(nb_dot_q5_K),
        [NB_Q6_K] = NB_TIERED(nb_dot_q6_K),
        [NB_IQ4_NL] = NB_TIERED(nb_dot_iq4_nl),
        [NB_IQ4_XS] = NB_TIERED(nb_dot_iq4_xs),
        [NB_MXFP4] = NB_TIERED(nb_dot_mxfp4),
    },
};
