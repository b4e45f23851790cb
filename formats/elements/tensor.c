#include "formats/elements/tensor.h"

#include "formats/base/checked.h"
#include "formats/base/names.h"

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

const struct nb_tensor **
nb_tensors_by_name(const struct nb_tensor *tensors, size_t count)
{
    return (const struct nb_tensor **)nb_list_by_name(tensors, count, sizeof *tensors);
}

const struct nb_tensor *
nb_tensors_find(const struct nb_tensor *const *sorted, size_t count, const char *name)
{
    return nb_find_by_name((const void *const *)sorted, count, name);
}
