/* What nibble quantize is to make: recipes, formats and names. */
#ifndef NB_QUANTIZE_OUTPUTS_H
#define NB_QUANTIZE_OUTPUTS_H

#include "cli/command_line.h"
#include "cli/quantize_options.h"

/*
 * Reads -t, -o, --format, --also-mlx and what of MLX goes with them into OPTIONS. Returns an exit code; with anything but
 * NB_OK the sentence is printed.
 */
int quantize_read_outputs(struct quantize_options *options, const struct cli_line *line);

#endif
