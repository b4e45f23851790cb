/* MLX layouts of dense models. */
#include "formats/models/families/mlx_rows.h"

static const struct nb_mlx_row llama[] = { BEGINNING, ATTENTION, GATE_DOWN_UP, NORMS, ENDING };

static const struct nb_mlx_row granite[] = {
    BEGINNING,
    Q_K_V,
    EIGHT(LAYER "self_attn.o_proj"),
    MATRIX(LAYER "mlp.gate_proj"),
    EIGHT(LAYER "mlp.down_proj"),
    MATRIX(LAYER "mlp.up_proj"),
    NORMS,
    NORM("model.norm"),
    EIGHT("lm_head"),
};

const struct nb_mlx_layout nb_mlx_llama = { .rows = llama, .n_rows = COUNT(llama) };
const struct nb_mlx_layout nb_mlx_granite = { .rows = granite, .n_rows = COUNT(granite) };
