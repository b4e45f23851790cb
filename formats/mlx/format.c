#include "formats/mlx/format.h"

const char *
nb_mlx_mode_name(enum nb_mlx_mode mode)
{
    static const char *const names[NB_MLX_MODES] = { "affine", "mxfp4", "nvfp4", "mxfp8" };

    return names[mode];
}

bool
nb_mlx_same_format(const struct nb_mlx_format *a, const struct nb_mlx_format *b)
{
    return a->mode == b->mode && a->bits == b->bits && a->group == b->group;
}
