/*
 * The layouts of the IQ types with codebooks, as ggml-common.h of llama.cpp
 * v0.5.0 has them.
 */
#ifndef NB_IQ_BLOCKS_H
#define NB_IQ_BLOCKS_H

#include <stdint.h>

#define SUPER 256
#define IQ1_DELTA 0.125f /* the shift of IQ1's levels */

struct block_iq1_s {
    uint16_t d;
    uint8_t qs[32];  /* the low 8 bits of four indices for each group of 32 */
    uint16_t qh[8];  /* four times their high 3 bits, 3 bits of scale, sign of the shift */
};

struct block_iq1_m {
    uint8_t qs[32], qh[16]; /* for each group of 16: two indices of 11 bits, each with the sign of its shift */
    uint16_t scales[4];     /* 3 bits for each group; above them four bits of d */
};

_Static_assert(sizeof(struct block_iq1_s) == 50, "iq1_s");
_Static_assert(sizeof(struct block_iq1_m) == 56, "iq1_m");

struct block_iq2_xxs {
    uint16_t d;
    uint32_t qs[16] __attribute__((packed)); /* for 32 weights: four indices of 8 bits; four times 7 signs, scale */
} __attribute__((packed));

struct block_iq2_xs {
    uint16_t d, qs[32]; /* an index of 9 bits and 7 signs */
    uint8_t scales[8];
};

struct block_iq2_s {
    uint16_t d;
    uint8_t qs[32], signs[32], qh[8], scales[8];
};

struct block_iq3_xxs {
    uint16_t d;
    uint8_t qs[64];
    uint32_t signs_and_scale[8]; /* four times 7 signs, scale */
} __attribute__((packed));

struct block_iq3_s {
    uint16_t d;
    uint8_t qs[64], qh[8], signs[32], scales[4];
};

_Static_assert(sizeof(struct block_iq2_xxs) == 66, "iq2_xxs");
_Static_assert(sizeof(struct block_iq2_xs) == 74, "iq2_xs");
_Static_assert(sizeof(struct block_iq2_s) == 82, "iq2_s");
_Static_assert(sizeof(struct block_iq3_xxs) == 98, "iq3_xxs");
_Static_assert(sizeof(struct block_iq3_s) == 110, "iq3_s");

#endif
