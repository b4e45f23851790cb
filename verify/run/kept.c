#include "verify/run/kept.h"

#include "formats/base/checked.h"
#include "formats/elements/types.h"

#include <stdlib.h>
#include <string.h>

static int
by_address(const void *left, const void *right)
{
    const uintptr_t a = (uintptr_t)((const struct nb_kept_matrix *)left)->matrix;
    const uintptr_t b = (uintptr_t)((const struct nb_kept_matrix *)right)->matrix;

    return a < b ? -1 : a > b;
}

bool
nb_kept_new(struct nb_kept *k, const struct nb_model *m, size_t (*rows_of)(size_t columns), uint64_t limit)
{
    size_t n = 0;

    *k = (struct nb_kept){ .limit = limit };
    for (const struct nb_linear *l = m->matrices; l != NULL; l = l->next)
        n++;
    k->matrices = calloc(n + 1, sizeof *k->matrices);
    if (k->matrices == NULL)
        return false;
    for (const struct nb_linear *l = m->matrices; l != NULL; l = l->next) {
        struct nb_kept_matrix *to = &k->matrices[k->count++];
        const size_t rows = rows_of(l->columns), experts = l->experts == 0 ? 1 : l->experts;

        to->matrix = l;
        to->in_expert = (l->rows + rows - 1) / rows;
        to->parts = nb_calloc((uint64_t)to->in_expert * experts, sizeof *to->parts);
        if (to->parts == NULL)
            return false;
    }
    qsort(k->matrices, k->count, sizeof *k->matrices, by_address);
    return true;
}

void
nb_kept_free(struct nb_kept *k)
{
    for (size_t i = 0; i < k->count; i++) {
        const struct nb_kept_matrix *m = &k->matrices[i];
        const size_t experts = m->matrix->experts == 0 ? 1 : m->matrix->experts;

        for (size_t p = 0; m->parts != NULL && p < m->in_expert * experts; p++)
            free(m->parts[p]);
        free(m->parts);
    }
    free(k->matrices);
    *k = (struct nb_kept){ 0 };
}

unsigned char **
nb_kept_part(const struct nb_kept *k, const struct nb_linear *matrix, uint32_t expert, size_t number)
{
    const struct nb_kept_matrix wanted = { .matrix = matrix };
    const struct nb_kept_matrix *found =
        k->count == 0 ? NULL : bsearch(&wanted, k->matrices, k->count, sizeof wanted, by_address);

    return found == NULL ? NULL : &found->parts[expert * found->in_expert + number];
}

void
nb_keep(struct nb_kept *k, unsigned char **part, const struct nb_view *view, const struct nb_view_reader *reader,
        uint64_t count)
{
    const struct nb_type_info *type = nb_type_info(view->type);
    const uint64_t bytes = count / type->block * type->block_bytes;

    if (atomic_fetch_add(&k->used, bytes) + bytes <= k->limit)
        *part = nb_malloc(bytes);
    if (*part != NULL)
        memcpy(*part, reader->elements, (size_t)bytes);
    else
        atomic_fetch_sub(&k->used, bytes);
}
