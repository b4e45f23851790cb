#include "formats/models/mlx_names.h"

#include "formats/base/checked.h"
#include "formats/elements/decode.h"
#include "formats/models/architecture.h"
#include "formats/models/view_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_EXPERTS 4096u
#define NAME 512
#define LONGEST_NORM (1u << 20) /* elements; those of models have thousands */

struct undoing {
    const struct nb_mlx_undo *how;
    struct nb_store *store;
    const struct nb_tensor **sorted; /* the stored tensors by name */
    struct nb_arena *arena;
    struct nb_tensor *out;
    size_t n_out;
    struct nb_error *err;
};

/* What wrappers with a text model in them have in names: "language_model.model.layers...", "model.language_model.layers...". */
#define INNER "language_model."
#define MODEL "model."

/* NAME without INNER, which is looked for before or behind MODEL, in PLAIN; returns where it was: SIZE_MAX: nowhere. */
static size_t
unwrap(const char *name, char plain[NAME])
{
    const size_t at = strncmp(name, MODEL, strlen(MODEL)) == 0 ? strlen(MODEL) : 0;
    const bool is_inside = strncmp(name + at, INNER, strlen(INNER)) == 0;

    snprintf(plain, NAME, "%.*s%s", (int)at, name, name + at + (is_inside ? strlen(INNER) : 0));
    return is_inside ? at : SIZE_MAX;
}

/* A stored tensor of a module that checkpoints have under other names. */
struct found {
    const struct nb_mlx_row *row; /* NULL: it is none */
    const char *suffix;
    uint64_t layer, parts; /* PARTS: experts; 1: no stack */
    size_t inner;          /* where INNER was in the name; SIZE_MAX: nowhere */
};

/* Norms to whose weights MLX adds a number. */
static bool
has_sum(const struct undoing *u, const struct nb_mlx_row *row)
{
    return u->how->is_mlx && row->kind == NB_MLX_PLAIN && row->from == NULL && row->op[0].kind == NB_MAP_ADD &&
           row->op[1].kind == NB_MAP_NOTHING;
}

/* Convolutions, whose weights have another order of dimensions, of which one is 1. */
static bool
is_convolution(const struct undoing *u, const struct nb_mlx_row *row)
{
    return u->how->is_mlx && row->kind == NB_MLX_PLAIN && row->from != NULL && row->op[0].kind == NB_MAP_FOLD &&
           row->op[1].kind == NB_MAP_NOTHING;
}

/* Arrays without a module of their own: their names have no suffix. */
static bool
is_bare(const struct nb_mlx_row *row)
{
    return row->kind == NB_MLX_PARAMETER || row->kind == NB_MLX_AS_STORED;
}

static bool
is_renamed(const struct nb_mlx_row *row)
{
    return row->from != NULL && strcmp(row->from, row->module) != 0 && row->op[0].kind == NB_MAP_NOTHING &&
           !row->without_suffix && row->kind != NB_MLX_PACKED;
}

static bool
is_stack(const struct nb_mlx_row *row)
{
    return row->from != NULL && strstr(row->from, "%e") != NULL;
}

/* The row of which MODULE is; its tensors have SUFFIX. */
static struct found
find_row(const struct undoing *u, const char *module, const char *suffix, const struct nb_tensor *t)
{
    struct found f = { .suffix = suffix };
    uint64_t expert = 0;

    for (size_t i = 0; i < u->how->layout->n_rows && f.row == NULL; i++) {
        const struct nb_mlx_row *row = &u->how->layout->rows[i];
        const bool is_stackable = t->n_dims > 1 && t->n_dims <= NB_MAX_DIMS; /* files may have more */
        const uint64_t parts = is_stackable ? t->ne[t->n_dims - 1] : 0;

        if (is_bare(row) != (*suffix == '\0') || !(is_renamed(row) || has_sum(u, row) || is_convolution(u, row)) ||
            !nb_name_matches(row->module, module, &f.layer, &expert))
            continue;
        f.parts = is_stack(row) ? parts : 1;
        if (f.parts > 0 && f.parts <= MAX_EXPERTS && t->bytes % f.parts == 0)
            f.row = row;
    }
    return f;
}

/* The name of PART of what was FOUND. */
static void
name_part(const struct found *f, uint64_t part, const char *suffix, char name[NAME])
{
    const size_t at = f->inner == SIZE_MAX ? 0 : f->inner;
    char plain[NAME - 64];

    nb_name_fill(f->row->from == NULL ? f->row->module : f->row->from, f->layer, part, plain, sizeof plain);
    snprintf(name, NAME, "%.*s%s%s%s", (int)at, plain, f->inner == SIZE_MAX ? "" : INNER, plain + at, suffix);
}

static struct found
look_up(const struct undoing *u, const struct nb_tensor *t)
{
    static const char *const suffixes[] = { ".weight", ".bias", ".scales", ".biases", "" };
    char module[NAME], name[NAME], plain[NAME];
    struct found f = { .row = NULL };
    const size_t inner = unwrap(t->name, plain), length = strlen(plain);

    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0] && f.row == NULL; i++) {
        const size_t n = strlen(suffixes[i]);

        if (length <= n || length - n >= sizeof module || strcmp(plain + length - n, suffixes[i]) != 0)
            continue;
        snprintf(module, sizeof module, "%.*s", (int)(length - n), plain);
        f = find_row(u, module, suffixes[i], t);
    }
    f.inner = inner;
    if (f.row != NULL && f.row->from != NULL) {
        name_part(&f, 0, f.suffix, name);
        if (strcmp(name, t->name) != 0 && nb_tensors_find(u->sorted, u->store->count, name) != NULL) /* it has both */
            f.row = NULL;
    }
    return f;
}

/* Says of the module of PART what CONFIG says of T's. */
static bool
copy_settings(const struct undoing *u, const struct nb_tensor *t, const struct found *f, uint64_t part)
{
    static const char *const entries[] = { "quantization", "quantization_config" };
    char module[NAME], name[NAME];
    bool good = true;

    snprintf(module, sizeof module, "%.*s", (int)(strlen(t->name) - strlen(f->suffix)), t->name);
    name_part(f, part, "", name);
    for (size_t i = 0; i < 2 && good; i++) {
        json_t *formats = json_object_get(u->how->config, entries[i]), *own = json_object_get(formats, module);

        good = own == NULL || json_object_set(formats, name, own) == 0;
    }
    return good;
}

/* Makes T, a vector, one of floats in memory, less what MLX has added: exact, and added again by the family. */
static enum nb_status
subtract(const struct undoing *u, struct nb_tensor *t, float sum)
{
    float *x = nb_arena_calloc(u->arena, t->elements + 1, sizeof *x);
    void *raw = nb_malloc(t->bytes + 1);
    enum nb_status status = x == NULL || raw == NULL ? nb_fail_memory(u->err)
                                                     : nb_stored_read(u->store, t, 0, t->bytes, raw, u->err);

    if (status == NB_OK) {
        nb_decode(t->type, raw, (size_t)t->elements, x);
        for (uint64_t i = 0; i < t->elements; i++)
            x[i] -= sum;
        t->type = NB_F32;
        t->bytes_in_memory = x;
        (void)nb_tensor_measure(t);
    }
    free(raw);
    return status;
}

/* Adds the parts of T. */
static enum nb_status
add_parts(struct undoing *u, const struct nb_tensor *t, const struct found *f)
{
    enum nb_status status = NB_OK;

    if (f->row->from == NULL) {
        u->out[u->n_out] = *t;
        if (t->n_dims != 1 || t->elements > LONGEST_NORM || nb_type_info(t->type)->kind != NB_KIND_FLOAT) {
            u->n_out++; /* is refused by its shape or type */
            return NB_OK;
        }
        return subtract(u, &u->out[u->n_out++], strtof(f->row->op[0].argument[0], NULL));
    }
    for (uint64_t part = 0; part < f->parts && status == NB_OK; part++) {
        struct nb_tensor *to = &u->out[u->n_out++];
        char name[NAME];

        *to = *t;
        name_part(f, part, f->suffix, name);
        to->name = nb_arena_strdup(u->arena, name);
        if (is_convolution(u, f->row) && to->n_dims == 3 && to->ne[0] == 1) {
            to->ne[0] = to->ne[1];
            to->ne[1] = 1;
        }
        if (is_stack(f->row)) {
            to->ne[--to->n_dims] = 1;
            to->elements = t->elements / f->parts;
            to->bytes = t->bytes / f->parts;
            to->offset = t->offset + part * to->bytes;
        }
        if (to->name == NULL || !copy_settings(u, t, f, part))
            status = nb_fail_memory(u->err);
    }
    return status;
}

static enum nb_status
undo_all(struct undoing *u, struct nb_store *store, const struct found *found, size_t total)
{
    enum nb_status status = NB_OK;

    u->out = nb_arena_calloc(u->arena, total + 1, sizeof *u->out);
    if (u->out == NULL)
        return nb_fail_memory(u->err);
    for (size_t i = 0; i < store->count && status == NB_OK; i++) {
        if (found[i].row == NULL)
            u->out[u->n_out++] = store->tensors[i];
        else
            status = add_parts(u, &store->tensors[i], &found[i]);
    }
    if (status == NB_OK) {
        store->tensors = u->out;
        store->count = u->n_out;
    }
    return status;
}

enum nb_status
nb_mlx_names_undo(struct nb_store *store, const struct nb_mlx_undo *undo, struct nb_arena *arena, struct nb_error *err)
{
    struct undoing u = { .how = undo, .store = store, .arena = arena, .err = err };
    struct found *found = calloc(store->count + 1, sizeof *found);
    size_t total = 0, changed = 0;
    enum nb_status status = NB_OK;

    u.sorted = nb_tensors_by_name(store->tensors, store->count);
    if (found == NULL || u.sorted == NULL)
        status = nb_fail_memory(err);
    for (size_t i = 0; i < store->count && status == NB_OK; i++) {
        found[i] = look_up(&u, &store->tensors[i]);
        total += found[i].row == NULL ? 1 : (size_t)found[i].parts;
        changed += found[i].row != NULL;
    }
    if (status == NB_OK && changed > 0)
        status = undo_all(&u, store, found, total);
    free(found);
    free(u.sorted);
    return status;
}
