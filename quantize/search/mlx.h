/* The encodings of MLX's formats. */
#ifndef NB_MLX_H
#define NB_MLX_H

#include "formats/mlx/format.h"
#include "quantize/search/encode.h"

/*
 * The encoding of weights that have the type COMPUTED_IN (F32, F16 or BF16), which is also that of scales and
 * biases of affine formats. The bytes are those of mlx.core.quantize on a CPU. Differences: a power of two
 * below 2^-127 becomes 2^-127, where mlx lets the exponent wrap around. With importance, scale and bias of
 * affine formats are those of the least weighted squared error that was found.
 */
struct nb_encoding nb_mlx_encoding(const struct nb_mlx_format *format, enum nb_type computed_in);

#endif
