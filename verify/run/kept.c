#include "verify/run/kept.h"

#include "formats/base/checked.h"
#include "formats/base/system.h"
#include "formats/elements/types.h"

#include <stdlib.h>
#include <string.h>

/* Parts are read from end to end, and lie in large pages, for each of which a CPU looks up the address but once. */
#define AT_ONCE ((uint64_t)8 << 20)
#define ALIGNMENT 64u

struct nb_kept_memory {
    struct nb_kept_memory *next;
    unsigned char *bytes;
    uint64_t used, size;
};

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
    pthread_mutex_init(&k->lock, NULL);
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
    if (k->matrices == NULL)
        return; /* there is none */
    for (struct nb_kept_memory *m = k->memory, *next; m != NULL; m = next) {
        next = m->next;
        free(m->bytes);
        free(m);
    }
    for (size_t i = 0; i < k->count; i++)
        free(k->matrices[i].parts);
    pthread_mutex_destroy(&k->lock);
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

/* Adds memory for BYTES or more; false if that exceeds the limit, or there is none. */
static bool
extend(struct nb_kept *k, uint64_t bytes)
{
    const uint64_t size = bytes > AT_ONCE ? bytes : AT_ONCE;
    struct nb_kept_memory *m = size > k->limit - k->used ? NULL : malloc(sizeof *m);

    if (m == NULL)
        return false;
    *m = (struct nb_kept_memory){ k->memory, nb_system_large_memory(size), 0, size };
    if (m->bytes == NULL) {
        free(m);
        return false;
    }
    k->memory = m;
    k->used += size;
    return true;
}

void
nb_keep(struct nb_kept *k, unsigned char **part, const struct nb_view *view, const struct nb_view_reader *reader,
        uint64_t count)
{
    const struct nb_type_info *type = nb_type_info(view->type);
    const uint64_t bytes = count / type->block * type->block_bytes;
    unsigned char *to = NULL;

    pthread_mutex_lock(&k->lock);
    if ((k->memory != NULL && k->memory->size - k->memory->used >= bytes) || extend(k, bytes)) {
        to = k->memory->bytes + k->memory->used;
        k->memory->used += (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        if (k->memory->used > k->memory->size)
            k->memory->used = k->memory->size;
    }
    pthread_mutex_unlock(&k->lock);
    if (to != NULL)
        memcpy(to, reader->elements, (size_t)bytes);
    *part = to;
}
