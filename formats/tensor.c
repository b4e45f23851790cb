#include "tensor.h"

#include "checked.h"
#include "text.h"

bool
nb_tensor_measure(struct nb_tensor *tensor)
{
    const struct nb_type_info *info = nb_type_info(tensor->type);

    tensor->elements = 1;
    for (unsigned i = 0; i < NB_MAX_DIMS; i++)
        if (!nb_mul_u64(tensor->elements, tensor->ne[i], &tensor->elements))
            return false;
    return tensor->ne[0] % info->block == 0 && tensor->elements <= INT64_MAX &&
           nb_type_bytes(tensor->type, tensor->elements, &tensor->bytes) && tensor->bytes <= INT64_MAX;
}

bool
nb_tensor_is_always_f32(const struct nb_tensor *t)
{
    return t->n_dims < 2 || nb_ends_with(t->name, "_norm.weight") || !nb_ends_with(t->name, ".weight");
}

uint64_t
nb_row_map_apply(const struct nb_row_map *map, uint64_t row)
{
    uint64_t head, inside;

    switch (map->kind) {
    case NB_ROWS_INTERLEAVE_HALVES:
        head = row / map->head_rows;
        inside = row % map->head_rows;
        return head * map->head_rows + (inside % 2) * (map->head_rows / 2) + inside / 2;
    case NB_ROWS_SAME:
    default:
        return row;
    }
}
