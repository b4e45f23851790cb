/*
 * The quantized formats of MLX (mlx 0.32.4): groups of 16 to 128 weights of a row share a scale. The codes are
 * one plane, an array of little-endian words of 32 bits; the scales, and in affine formats the biases, are
 * further planes.
 */
#ifndef NB_MLX_H
#define NB_MLX_H

#include "quantize/search/encode.h"

enum nb_mlx_mode {
    NB_MLX_AFFINE, /* scale times code plus bias; both in the type of the weights */
    NB_MLX_MXFP4,  /* E2M1 codes, scales that are powers of two (E8M0) */
    NB_MLX_NVFP4,  /* E2M1 codes, E4M3 scales */
    NB_MLX_MXFP8,  /* E4M3 codes, E8M0 scales */
};

struct nb_mlx_format {
    enum nb_mlx_mode mode;
    uint8_t bits;   /* affine: 2, 3, 4, 5, 6 or 8; otherwise 4 or 8 by mode */
    uint16_t group; /* affine: 32, 64 or 128; otherwise 32, or 16 for NVFP4 */
};

/* "affine", "mxfp4", ...: as in the quantization entry of config.json. */
const char *nb_mlx_mode_name(enum nb_mlx_mode mode);

/*
 * The encoding of weights that have the type COMPUTED_IN (F32, F16 or BF16), which is also that of scales and
 * biases of affine formats. The bytes are those of mlx.core.quantize on a CPU. Differences: a power of two
 * below 2^-127 becomes 2^-127, where mlx lets the exponent wrap around. With importance, scale and bias of
 * affine formats are those of the least weighted squared error that was found.
 */
struct nb_encoding nb_mlx_encoding(const struct nb_mlx_format *format, enum nb_type computed_in);

#endif
