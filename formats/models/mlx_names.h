/* Folders that MLX's tools wrote, as checkpoints: the names and stacks of a layout (mlx_layout.h) undone. */
#ifndef NB_MLX_NAMES_H
#define NB_MLX_NAMES_H

#include "formats/base/arena.h"
#include "formats/base/status.h"
#include "formats/models/mlx_layout.h"
#include "formats/models/view.h"

#include <jansson.h>
#include <stdbool.h>

/* What is undone. */
struct nb_mlx_undo {
    const struct nb_mlx_layout *layout;
    json_t *config; /* or NULL */
    bool is_mlx;    /* MLX's tools have written the folder: norms to which it adds a number lose that again */
};

/*
 * Gives tensors of STORE that have the name of one of LAYOUT's modules, but no checkpoint's, the names that they have in
 * checkpoints. A stack of experts becomes as many tensors, which lie in it. Modules that are made in other ways keep their
 * names. What the config says of the format of a module, it says of these, too. The array of STORE's tensors becomes
 * another one, from ARENA, which must be kept as long as STORE, if there are any.
 */
enum nb_status nb_mlx_names_undo(struct nb_store *store, const struct nb_mlx_undo *undo, struct nb_arena *arena,
                                 struct nb_error *err) NB_MUST_CHECK;

#endif
