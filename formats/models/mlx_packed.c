#include "formats/models/mlx_packed.h"

#include <string.h>

#define BLOCK_BYTES 16 /* of the codes of 32 weights */

bool
nb_mlx_packed_view(struct nb_view *view, const struct nb_store *store, const struct nb_tensor *stored, bool is_blocks,
                   uint64_t first, uint64_t n, struct nb_arena *arena)
{
    const uint64_t *ne = stored->ne;
    const uint64_t row = is_blocks ? ne[0] * ne[1] : ne[0], rows = is_blocks ? ne[2] : ne[1];
    const uint64_t experts = is_blocks ? ne[3] : ne[2];
    struct nb_piece *piece;

    if (stored->type != NB_U8 || stored->n_dims != (is_blocks ? 4 : 3) || (is_blocks && ne[0] != BLOCK_BYTES) ||
        n == 0 || first >= n || rows % n != 0)
        return false;
    piece = nb_arena_calloc(arena, 1, sizeof *piece);
    if (piece == NULL)
        return false;
    *piece = (struct nb_piece){
        .stored = stored, .start = first * row, .pitch = n * row, .rows = experts * (rows / n), .columns = row
    };
    *view = (struct nb_view){
        .source_name = stored->name,
        .type = stored->type,
        .n_dims = 3,
        .ne = { row, rows / n, experts, 1 },
        .store = store,
        .pieces = piece,
        .n_pieces = 1,
    };
    return nb_view_measure(view);
}
