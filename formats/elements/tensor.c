#include "formats/elements/tensor.h"

#include "formats/base/checked.h"
#include "formats/base/text.h"

#include <stdlib.h>
#include <string.h>

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

static int
compare_names(const void *a, const void *b)
{
    return strcmp((*(const struct nb_tensor *const *)a)->name, (*(const struct nb_tensor *const *)b)->name);
}

const struct nb_tensor **
nb_tensors_by_name(const struct nb_tensor *tensors, size_t count)
{
    const struct nb_tensor **sorted = calloc(count + 1, sizeof *sorted);

    if (sorted == NULL)
        return NULL;
    for (size_t i = 0; i < count; i++)
        sorted[i] = &tensors[i];
    qsort(sorted, count, sizeof *sorted, compare_names);
    return sorted;
}

const struct nb_tensor *
nb_tensors_find(const struct nb_tensor *const *sorted, size_t count, const char *name)
{
    const struct nb_tensor key = { .name = name }, *const pointer = &key;
    const struct nb_tensor *const *found = NULL;

    if (count > 0)
        found = bsearch(&pointer, sorted, count, sizeof *sorted, compare_names);
    return found == NULL ? NULL : *found;
}
