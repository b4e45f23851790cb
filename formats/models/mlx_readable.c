/* Whether a folder with MLX's arrays can be read as a checkpoint again. */
#include "formats/models/mlx_names.h"

#include <string.h>

#define WRAPPER "language_model."

/* The arrays as a checkpoint would have them before they are quantized; NULL if out of memory. */
static struct nb_tensor *
arrays_as_stored(const struct nb_mlx_tensors *t, struct nb_arena *arena)
{
    struct nb_tensor *stored = nb_arena_calloc(arena, t->count + 1, sizeof *stored);

    for (size_t i = 0; i < t->count && stored != NULL; i++) {
        const struct nb_view *v = &t->tensors[i].view;
        const bool is_wrapped = strncmp(v->name, WRAPPER, strlen(WRAPPER)) == 0;

        stored[i] = (struct nb_tensor){ .name = v->name + (is_wrapped ? strlen(WRAPPER) : 0),
                                        .type = v->type,
                                        .n_dims = v->n_dims };
        memcpy(stored[i].ne, v->ne, sizeof stored[i].ne);
        if (!nb_tensor_measure(&stored[i]))
            return NULL;
    }
    return stored;
}

enum nb_status
nb_mlx_tensors_check_readable(const struct nb_mlx_tensors *t, const struct nb_source *source, struct nb_error *err)
{
    const struct nb_source_options options = { .family = source->family };
    struct nb_source probe = { .path = source->path, .checkpoint = source->checkpoint };
    struct nb_tensor *stored = arrays_as_stored(t, &probe.arena);
    enum nb_status status = stored == NULL ? nb_fail_memory(err) : NB_OK;

    probe.store = (struct nb_store){ stored, t->count, NULL, 0 };
    if (status == NB_OK)
        status = nb_mlx_names_undo(&probe.store, &(struct nb_mlx_undo){ .layout = source->family->mlx }, &probe.arena,
                                   err);
    if (status == NB_OK)
        status = nb_source_build(&probe, &options, err);
    probe.checkpoint = NULL; /* it is SOURCE's */
    nb_source_close(&probe);
    if (status == NB_OK || !nb_status_is(status, NB_INPUT))
        return status;
    return nb_fail(err, NB_UNSUPPORTED,
                   "%s: the arrays that MLX has of a %s cannot be read as a checkpoint again, so the folder cannot be "
                   "run and refined",
                   source->path, source->family->classes[0]);
}
