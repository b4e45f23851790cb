/* nibble quantize --format mlx. */
#ifndef NB_QUANTIZE_MLX_H
#define NB_QUANTIZE_MLX_H

#include "cli/quantize_options.h"
#include "formats/models/source.h"

/*
 * Plans, writes and reports as OPTIONS say. SOURCE is a checkpoint; ORIGINAL is SOURCE, or the GGUF file of which it was made.
 * Returns an exit code.
 */
int quantize_mlx(struct quantize_options *options, const struct nb_source *source, const struct nb_source *original);

#endif
