/*
 * The stored blocks of every quantized type. Source: ggml-common.h of llama.cpp v0.5.0.
 * Scales named d, m, dmin and s are half floats.
 */
#ifndef NB_BLOCK_LAYOUTS_H
#define NB_BLOCK_LAYOUTS_H

#include <stdint.h>

#define NB_SUPER_BLOCK 256 /* weights of a super-block: K-quants, most IQ types, ternary types */
#define IQ1_DELTA 0.125f   /* the shift of IQ1's levels */

struct block_q4_0 {
    uint16_t d;
    uint8_t qs[16];
};

struct block_q4_1 {
    uint16_t d, m;
    uint8_t qs[16];
};

struct block_q5_0 {
    uint16_t d;
    uint8_t qh[4], qs[16];
};

struct block_q5_1 {
    uint16_t d, m;
    uint8_t qh[4], qs[16];
};

struct block_q8_0 {
    uint16_t d;
    int8_t qs[32];
};

struct block_q8_1 {
    uint16_t d, s;
    int8_t qs[32];
};

struct block_tq1_0 {
    uint8_t qs[48]; /* five weights per byte: the base-3 fraction 0.t0 t1 t2 t3 t4, times 256 */
    uint8_t qh[4];  /* four weights per byte */
    uint16_t d;
};

struct block_tq2_0 {
    uint8_t qs[64];
    uint16_t d;
};

struct block_q1_0 {
    uint16_t d;
    uint8_t qs[16];
};

struct block_q2_0 {
    uint16_t d;
    uint8_t qs[16];
};

struct block_q2_K {
    uint8_t scales[16]; /* low four bits: scale, high four bits: minimum */
    uint8_t qs[64];
    uint16_t d, dmin; /* half floats: scale of the scales, scale of the minimums */
};

struct block_q4_K {
    uint16_t d, dmin;
    uint8_t scales[12]; /* eight 6-bit scales and eight 6-bit minimums */
    uint8_t qs[128];
};

struct block_q5_K {
    uint16_t d, dmin;
    uint8_t scales[12];
    uint8_t qh[32];
    uint8_t qs[128];
};

struct block_q3_K {
    uint8_t hmask[32];  /* bit j of byte l: the third bit of weight 32 j + l */
    uint8_t qs[64];     /* the low two bits */
    uint8_t scales[12]; /* sixteen 6-bit scales */
    uint16_t d;         /* a half float */
};

struct block_q6_K {
    uint8_t ql[128], qh[64]; /* the low four bits, the high two bits */
    int8_t scales[16];
    uint16_t d;
};

struct block_iq4_nl {
    uint16_t d;
    uint8_t qs[16];
};

struct block_iq4_xs {
    uint16_t d;
    uint16_t scales_h; /* the high two bits of eight 6-bit scales */
    uint8_t scales_l[4];
    uint8_t qs[128];
};

struct block_mxfp4 {
    uint8_t e;
    uint8_t qs[16];
};

struct block_nvfp4 {
    uint8_t d[4];
    uint8_t qs[32];
};

struct block_q8_K {
    float d;
    int8_t qs[256];
    int16_t bsums[16];
};

struct block_iq1_s {
    uint16_t d;
    uint8_t qs[32]; /* the low 8 bits of four indices for each group of 32 */
    uint16_t qh[8]; /* the high 3 bits of each of the four, 3 bits of scale, sign of the shift */
};

struct block_iq1_m {
    uint8_t qs[32], qh[16]; /* for each group of 16: two indices of 11 bits, each with the sign of its shift */
    uint16_t scales[4];     /* 3 bits for each group; above them four bits of d */
};

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

_Static_assert(sizeof(struct block_q4_0) == 18, "q4_0");
_Static_assert(sizeof(struct block_q4_1) == 20, "q4_1");
_Static_assert(sizeof(struct block_q5_0) == 22, "q5_0");
_Static_assert(sizeof(struct block_q5_1) == 24, "q5_1");
_Static_assert(sizeof(struct block_q8_0) == 34, "q8_0");
_Static_assert(sizeof(struct block_q8_1) == 36, "q8_1");
_Static_assert(sizeof(struct block_tq1_0) == 54, "tq1_0");
_Static_assert(sizeof(struct block_tq2_0) == 66, "tq2_0");
_Static_assert(sizeof(struct block_q1_0) == 18, "q1_0");
_Static_assert(sizeof(struct block_q2_0) == 18, "q2_0");
_Static_assert(sizeof(struct block_q2_K) == 84, "q2_K");
_Static_assert(sizeof(struct block_q4_K) == 144, "q4_K");
_Static_assert(sizeof(struct block_q5_K) == 176, "q5_K");
_Static_assert(sizeof(struct block_q3_K) == 110, "q3_K");
_Static_assert(sizeof(struct block_q6_K) == 210, "q6_K");
_Static_assert(sizeof(struct block_iq4_nl) == 18, "iq4_nl");
_Static_assert(sizeof(struct block_iq4_xs) == 136, "iq4_xs");
_Static_assert(sizeof(struct block_mxfp4) == 17, "mxfp4");
_Static_assert(sizeof(struct block_nvfp4) == 36, "nvfp4");
_Static_assert(sizeof(struct block_q8_K) == 292, "q8_K");
_Static_assert(sizeof(struct block_iq1_s) == 50, "iq1_s");
_Static_assert(sizeof(struct block_iq1_m) == 56, "iq1_m");
_Static_assert(sizeof(struct block_iq2_xxs) == 66, "iq2_xxs");
_Static_assert(sizeof(struct block_iq2_xs) == 74, "iq2_xs");
_Static_assert(sizeof(struct block_iq2_s) == 82, "iq2_s");
_Static_assert(sizeof(struct block_iq3_xxs) == 98, "iq3_xxs");
_Static_assert(sizeof(struct block_iq3_s) == 110, "iq3_s");

#endif
