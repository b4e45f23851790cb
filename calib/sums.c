#include "calib/sums.h"
#include "formats/base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct nb_sums_entry *
find(const struct nb_sums *s, const char *name)
{
    for (size_t i = 0; i < s->count; i++)
        if (strcmp(s->entries[i].name, name) == 0)
            return &s->entries[i];
    return NULL;
}

struct nb_sums_entry *
nb_sums_entry(struct nb_sums *s, const char *name, uint64_t columns, uint64_t experts)
{
    struct nb_sums_entry *e = find(s, name);

    if (e != NULL)
        return e->columns == columns && e->experts == experts ? e : NULL;
    if (s->count == s->room) {
        const size_t room = s->room == 0 ? 256 : 2 * s->room;
        struct nb_sums_entry *grown = realloc(s->entries, room * sizeof *grown);

        if (grown == NULL)
            return NULL;
        s->entries = grown;
        s->room = room;
    }
    e = &s->entries[s->count];
    *e = (struct nb_sums_entry){
        .name = nb_arena_strdup(&s->arena, name),
        .columns = columns,
        .experts = experts,
        .squares = nb_arena_calloc(&s->arena, columns * experts, sizeof(double)),
        .tokens = nb_arena_calloc(&s->arena, experts, sizeof(uint64_t)),
    };
    if (e->name == NULL || e->squares == NULL || e->tokens == NULL)
        return NULL;
    s->count++;
    return e;
}

static int
by_name(const void *a, const void *b)
{
    return strcmp(((const struct nb_sums_entry *)a)->name, ((const struct nb_sums_entry *)b)->name);
}

void
nb_sums_sort(struct nb_sums *s)
{
    if (s->count > 0)
        qsort(s->entries, s->count, sizeof *s->entries, by_name);
}

static enum nb_status
add_dataset(struct nb_sums *s, const char *name, struct nb_error *err)
{
    for (size_t i = 0; i < s->n_datasets; i++)
        if (strcmp(s->datasets[i], name) == 0)
            return NB_OK;
    if (s->n_datasets == s->datasets_room) {
        const size_t room = s->datasets_room == 0 ? 8 : 2 * s->datasets_room;
        const char **grown = realloc(s->datasets, room * sizeof *grown);

        if (grown == NULL)
            return nb_fail_memory(err);
        s->datasets = grown;
        s->datasets_room = room;
    }
    s->datasets[s->n_datasets] = nb_arena_strdup(&s->arena, name);
    return s->datasets[s->n_datasets++] == NULL ? nb_fail_memory(err) : NB_OK;
}

enum nb_status
nb_sums_add_dataset(struct nb_sums *s, const char *name, struct nb_error *err)
{
    char *clean = nb_utf8_repaired(nb_base_name(name)); /* a file's name may be any bytes */
    enum nb_status status = clean == NULL ? nb_fail_memory(err) : add_dataset(s, clean, err);

    free(clean);
    return status;
}

static enum nb_status
merge_datasets(struct nb_sums *s, const struct nb_imatrix *m, struct nb_error *err)
{
    const unsigned char *at = m->datasets == NULL ? NULL : m->datasets->data;
    enum nb_status status = NB_OK;

    if (at == NULL)
        return m->dataset == NULL ? NB_OK : nb_sums_add_dataset(s, m->dataset, err);
    for (uint64_t i = 0; i < m->datasets->count && status == NB_OK; i++) {
        uint64_t length;
        char *name;

        memcpy(&length, at, sizeof length);
        name = nb_arena_strndup(&s->arena, (const char *)at + sizeof length, length);
        status = name == NULL ? nb_fail_memory(err) : nb_sums_add_dataset(s, name, err);
        at += sizeof length + length;
    }
    return status;
}

enum nb_status
nb_sums_merge(struct nb_sums *s, const struct nb_imatrix *m, const char *path, struct nb_error *err)
{
    for (size_t i = 0; i < m->count; i++) {
        const struct nb_imatrix_entry *from = &m->entries[i];
        const uint64_t columns = from->count / from->rows;
        const bool known = find(s, from->name) != NULL;
        struct nb_sums_entry *e = nb_sums_entry(s, from->name, columns, from->rows);

        if (e == NULL)
            return known ? nb_fail(err, NB_INPUT, "%s: '%s' has another shape than in the files before it", path,
                                   from->name)
                         : nb_fail_memory(err);
        for (uint64_t x = 0; x < from->rows; x++) {
            e->tokens[x] += from->tokens[x];
            for (uint64_t c = 0; c < columns && from->tokens[x] > 0; c++)
                e->squares[x * columns + c] += (double)from->values[x * columns + c] * (double)from->tokens[x];
        }
    }
    s->chunks += m->chunks;
    if (s->chunk_size == 0)
        s->chunk_size = m->chunk_size;
    return merge_datasets(s, m, err);
}

enum nb_status
nb_sums_imatrix(struct nb_sums *s, struct nb_imatrix *out, struct nb_error *err)
{
    nb_sums_sort(s);
    *out = (struct nb_imatrix){ .chunks = (uint32_t)s->chunks, .chunk_size = s->chunk_size };
    out->entries = calloc(s->count + 1, sizeof *out->entries);
    out->dataset = s->n_datasets == 0 ? NULL : nb_arena_strdup(&out->arena, s->datasets[0]);
    if (out->entries == NULL || (s->n_datasets > 0 && out->dataset == NULL)) {
        nb_imatrix_free(out);
        return nb_fail_memory(err);
    }
    for (size_t i = 0; i < s->count; i++) {
        const struct nb_sums_entry *e = &s->entries[i];
        struct nb_imatrix_entry *to = &out->entries[i];

        *to = (struct nb_imatrix_entry){
            .name = nb_arena_strdup(&out->arena, e->name),
            .values = nb_arena_calloc(&out->arena, e->columns * e->experts, sizeof(float)),
            .count = e->columns * e->experts,
            .tokens = nb_arena_calloc(&out->arena, e->experts, sizeof(uint64_t)),
            .rows = e->experts,
        };
        if (to->name == NULL || to->values == NULL || to->tokens == NULL) {
            nb_imatrix_free(out);
            return nb_fail_memory(err);
        }
        out->count++;
        for (uint64_t x = 0; x < e->experts; x++) {
            to->tokens[x] = e->tokens[x];
            /* The same as read from a file: a float sum divided by a float count; all ones without tokens. */
            for (uint64_t c = 0; c < e->columns; c++)
                to->values[x * e->columns + c] =
                    e->tokens[x] == 0 ? 1 : (float)e->squares[x * e->columns + c] / (float)e->tokens[x];
        }
    }
    return NB_OK;
}

void
nb_sums_free(struct nb_sums *s)
{
    free(s->entries);
    free(s->datasets);
    nb_arena_free(&s->arena);
    *s = (struct nb_sums){ 0 };
}
