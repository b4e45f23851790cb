/* What nibble quantize makes: an MLX folder. */
#ifndef NB_QUANTIZE_MLX_H
#define NB_QUANTIZE_MLX_H

#include "calib/refine.h"
#include "cli/cli.h"
#include "cli/quantize_options.h"
#include "formats/models/source.h"
#include "quantize/mlx_plan.h"

#include <stdio.h>

struct mlx_quantization {
    const struct quantize_options *options;
    struct nb_mlx_plan_options how; /* by its own recipe */
    const struct nb_source *source; /* a checkpoint */
    struct nb_mlx_plan plan;
    const char *output;
    char name[240]; /* if it is not given; with ".partial" added still short enough for every file system */
    struct nb_refine_summary refined;
};

/* Plans OUTPUT, and warns. SOURCE is a checkpoint. Returns an exit code; after NB_OK nb_mlx_plan_free is due. */
int quantize_mlx_begin(struct mlx_quantization *quantization, const struct quantize_options *options,
                       const struct quantize_output *output, const struct nb_source *source);
/* For struct planned_output, with a struct mlx_quantization as context. */
void quantize_mlx_print(void *context, FILE *f);
int quantize_mlx_summary(void *context, double seconds);
json_t *quantize_mlx_object(void *context);

#endif
