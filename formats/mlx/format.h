/*
 * The quantized formats of MLX (mlx 0.32.4): groups of 16 to 128 weights of a row share a scale. The codes are
 * one array of little-endian words of 32 bits; the scales, and in affine formats the biases, are further arrays.
 */
#ifndef NB_MLX_FORMAT_H
#define NB_MLX_FORMAT_H

#include <stdbool.h>
#include <stdint.h>

enum nb_mlx_mode {
    NB_MLX_AFFINE, /* scale times code plus bias; both in the type of the weights */
    NB_MLX_MXFP4,  /* E2M1 codes, scales that are powers of two (E8M0) */
    NB_MLX_NVFP4,  /* E2M1 codes, E4M3 scales */
    NB_MLX_MXFP8,  /* E4M3 codes, E8M0 scales */
};
#define NB_MLX_MODES 4

/* BITS 0: not quantized. */
struct nb_mlx_format {
    enum nb_mlx_mode mode;
    uint8_t bits;   /* affine: 2, 3, 4, 5, 6 or 8; otherwise 4 or 8 by mode */
    uint16_t group; /* affine: 32, 64 or 128; otherwise 32, or 16 for NVFP4 */
};

/* "affine", "mxfp4", ...: as in the quantization entry of config.json. */
const char *nb_mlx_mode_name(enum nb_mlx_mode mode);
bool nb_mlx_same_format(const struct nb_mlx_format *a, const struct nb_mlx_format *b);

#endif
