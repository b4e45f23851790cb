/* nibble quantize --format mlx. */
#ifndef NB_QUANTIZE_MLX_H
#define NB_QUANTIZE_MLX_H

#include "calib/refine.h"
#include "cli/cli.h"
#include "cli/quantize_options.h"
#include "formats/models/source.h"
#include "quantize/mlx_plan.h"

#include <stdio.h>

/* What is done, and with what. */
struct mlx_quantization {
    const struct quantize_options *options;
    const struct nb_source *source;   /* a checkpoint */
    const struct nb_source *original; /* what it was made of, or itself: what runs */
    struct nb_mlx_plan plan;
    const char *output;
    char name[240]; /* if it is not given; with ".partial" added still short enough for every file system */
    struct nb_refine_summary refined;
};

/* Plans, and warns. Of SOURCE and ORIGINAL as below. Returns an exit code; after NB_OK nb_mlx_plan_free is due. */
int quantize_mlx_begin(struct mlx_quantization *quantization, struct quantize_options *options,
                       const struct nb_source *source, const struct nb_source *original);
/* For struct planned, with a struct mlx_quantization as context. */
void quantize_mlx_print(void *context, FILE *f);
int quantize_mlx_summary(void *context, double seconds);
json_t *quantize_mlx_object(void *context);

/*
 * Plans, writes and reports as OPTIONS say. SOURCE is a checkpoint; ORIGINAL is SOURCE, or the GGUF file of which it was made.
 * Returns an exit code.
 */
int quantize_mlx(struct quantize_options *options, const struct nb_source *source, const struct nb_source *original);

#endif
