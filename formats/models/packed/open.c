/* What formats check when they open a weight. */
#include "formats/base/checked.h"
#include "formats/elements/decode.h"
#include "formats/models/packed/format.h"
#include "formats/models/view_parts.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

struct nb_sides
nb_sides_of(const struct nb_tensor *t)
{
    return (struct nb_sides){ t->ne[1], t->ne[0], t->ne[2] * t->ne[3] };
}

enum nb_status
nb_packed_refuse(const struct nb_packed *p, const struct nb_packing *packing, const char *what)
{
    return nb_fail(packing->err, NB_INPUT, "tensor '%s' (%s) %s", p->part[0]->name, p->format->name, what);
}

static void
write_side(char text[24], uint64_t side)
{
    if (side == NB_ANY_SIDE)
        snprintf(text, 24, "any");
    else
        snprintf(text, 24, "%" PRIu64, side);
}

enum nb_status
nb_packed_expect(const struct nb_packed *p, const struct nb_packing *packing, unsigned number, uint64_t rows,
                 uint64_t columns)
{
    const struct nb_tensor *t = p->part[number];
    const struct nb_sides s = nb_sides_of(t);
    char wanted_rows[24], wanted_columns[24];

    if (s.matrices == p->matrices && (rows == NB_ANY_SIDE || s.rows == rows) &&
        (columns == NB_ANY_SIDE || s.columns == columns) && t->elements > 0)
        return NB_OK;
    write_side(wanted_rows, rows);
    write_side(wanted_columns, columns);
    return nb_fail(packing->err, NB_INPUT,
                   "tensor '%s' is %" PRIu64 " x %" PRIu64 ", but beside '%s' (%s) it must be %s x %s", t->name, s.rows,
                   s.columns, p->part[0]->name, p->format->name, wanted_rows, wanted_columns);
}

enum nb_status
nb_packed_is_number(const struct nb_packed *p, const struct nb_packing *packing, unsigned number)
{
    const struct nb_tensor *t = p->part[number];

    if (nb_type_info(t->type)->kind == NB_KIND_FLOAT || t->type == NB_F8_E8M0)
        return NB_OK;
    return nb_fail(packing->err, NB_INPUT, "tensor '%s' has dtype %s, which cannot scale '%s' (%s)", t->name,
                   nb_type_info(t->type)->safetensors, p->part[0]->name, p->format->name);
}

enum nb_status
nb_packed_group_size(const struct nb_packed *p, const struct nb_packing *packing, unsigned number, uint64_t columns,
                     uint64_t *wide)
{
    const struct nb_tensor *t = p->part[number];
    const uint64_t groups = nb_sides_of(t).columns;

    *wide = groups == 0 ? 0 : columns / groups;
    if (groups > 0 && columns > 0 && columns % groups == 0)
        return NB_OK;
    return nb_fail(packing->err, NB_INPUT,
                   "tensor '%s' has %" PRIu64 " numbers for the %" PRIu64 " columns of '%s' (%s), which do not divide",
                   t->name, groups, columns, p->part[0]->name, p->format->name);
}

enum nb_status
nb_packed_groups(struct nb_packed *p, const struct nb_packing *packing, unsigned number, uint64_t wide,
                 struct nb_grid *grid)
{
    const uint64_t groups = (p->columns + wide - 1) / wide;
    const struct nb_tensor *t = p->part[number];
    enum nb_status status = nb_packed_is_number(p, packing, number);

    if (status == NB_OK)
        status = nb_packed_expect(p, packing, number, p->rows, groups);
    *grid = (struct nb_grid){ t, t->type, 1, wide, p->rows, groups, p->matrices };
    return status;
}

/* As many bytes of small parts are loaded at most: an order of columns, a table. */
#define MOST_LOADED (64u << 20)

enum nb_status
nb_packed_load_bytes(const struct nb_packing *packing, const struct nb_tensor *t, unsigned char **out)
{
    *out = t->bytes > MOST_LOADED ? NULL : nb_arena_alloc(packing->arena, t->bytes + 1);
    if (*out == NULL)
        return t->bytes > MOST_LOADED
                   ? nb_fail(packing->err, NB_INPUT, "tensor '%s' is too large for what it is", t->name)
                   : nb_fail_memory(packing->err);
    (*out)[t->bytes] = '\0';
    return nb_stored_read(packing->store, t, 0, t->bytes, *out, packing->err);
}

enum nb_status
nb_packed_load(const struct nb_packing *packing, const struct nb_tensor *t, float **out)
{
    unsigned char *raw;
    enum nb_status status;

    *out = NULL;
    if (!nb_can_decode(t->type) && t->type != NB_F8_E8M0)
        return nb_fail(packing->err, NB_INPUT, "tensor '%s' has dtype %s, which holds no numbers", t->name,
                       nb_type_info(t->type)->safetensors);
    status = nb_packed_load_bytes(packing, t, &raw);
    if (status == NB_OK && (*out = nb_arena_calloc(packing->arena, t->elements + 1, sizeof **out)) == NULL)
        status = nb_fail_memory(packing->err);
    if (status == NB_OK)
        nb_packed_decode(t->type, raw, t->elements, *out);
    return status;
}

enum nb_status
nb_packed_scalar(const struct nb_packed *p, const struct nb_packing *packing, const struct nb_tensor *t, float *out)
{
    float *number;
    enum nb_status status;

    if (t->elements != 1)
        return nb_fail(packing->err, NB_INPUT, "tensor '%s' has %" PRIu64 " numbers, but '%s' (%s) needs a single one",
                       t->name, t->elements, p->part[0]->name, p->format->name);
    status = nb_packed_load(packing, t, &number);
    if (status != NB_OK)
        return status;
    *out = *number;
    if (!isfinite(*out) || *out == 0)
        return nb_fail(packing->err, NB_INPUT, "tensor '%s' is %g, which cannot scale '%s' (%s)", t->name, (double)*out,
                       p->part[0]->name, p->format->name);
    return NB_OK;
}

enum nb_status
nb_packed_index(struct nb_packed *p, const struct nb_packing *packing, unsigned number, uint64_t groups)
{
    const struct nb_tensor *t = p->part[number];
    unsigned char *bytes;
    uint32_t *index;
    enum nb_status status;

    if (t->type != NB_I32 || t->elements != p->columns || p->matrices != 1)
        return nb_fail(packing->err, NB_INPUT,
                       "tensor '%s' has not one I32 for each of the %" PRIu64 " columns of '%s'", t->name, p->columns,
                       p->part[0]->name);
    status = nb_packed_load_bytes(packing, t, &bytes);
    if (status != NB_OK)
        return status;
    index = (uint32_t *)(void *)bytes; /* the arena aligns for any type */
    p->index = index;
    for (uint64_t i = 0; i < p->columns; i++)
        if (index[i] >= groups)
            return nb_fail(packing->err, NB_INPUT,
                           "tensor '%s' puts column %" PRIu64 " into group %" PRId32 ", but there are %" PRIu64
                           " groups",
                           t->name, i, (int32_t)index[i], groups);
    return NB_OK;
}

json_t *
nb_quantization_entry(const struct nb_quantization *q, const char *name)
{
    json_t *entry = json_object_get(q->config, name), *group;
    const char *key;

    if (entry != NULL && !json_is_null(entry))
        return entry;
    json_object_foreach(json_object_get(q->config, "config_groups"), key, group) {
        entry = json_object_get(json_object_get(group, "weights"), name);
        if (entry != NULL && !json_is_null(entry))
            return entry;
    }
    return NULL;
}
