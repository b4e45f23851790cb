/* Tensors that a family's converter writes before it goes through the checkpoint. */
#include "formats/models/checkpoint_builder.h"

#include <stdlib.h>
#include <string.h>

/* The work on one list of views. */
struct order {
    const struct nb_view **sorted; /* by name */
    bool *is_placed;               /* for each view of the source */
    struct nb_view *out;
    size_t n_out;
};

/* Appends the view NAME if there is one that has no place yet. */
static void
place(const struct nb_source *s, struct order *o, const char *name)
{
    const struct nb_view *v = nb_views_find(o->sorted, s->n_tensors, name);

    if (v == NULL || o->is_placed[v - s->tensors])
        return;
    o->is_placed[v - s->tensors] = true;
    o->out[o->n_out++] = *v;
}

/* Appends the views of the names that PATTERNS, separated by "|", have in LAYER. */
static void
place_layer(const struct nb_source *s, struct order *o, const char *patterns, uint64_t layer)
{
    while (*patterns != '\0') {
        const size_t n = strcspn(patterns, "|");
        char pattern[NB_MAX_NAME + 1] = "", name[NB_MAX_NAME + 1];

        if (n < sizeof pattern)
            memcpy(pattern, patterns, n);
        nb_name_fill(pattern, layer, 0, name, sizeof name);
        place(s, o, name);
        patterns += n + (patterns[n] == '|');
    }
}

enum nb_status
nb_builder_put_first(struct nb_builder *b)
{
    struct nb_source *s = b->source;
    struct order o = { 0 };
    enum nb_status status = NB_OK;

    if (b->family->first_tensors == NULL)
        return NB_OK;
    o.sorted = nb_views_by_name(s->tensors, s->n_tensors);
    o.is_placed = calloc(s->n_tensors + 1, sizeof *o.is_placed);
    o.out = calloc(s->n_tensors + 1, sizeof *o.out);
    if (o.sorted == NULL || o.is_placed == NULL || o.out == NULL)
        status = nb_fail_memory(b->err);
    for (const char *const *list = b->family->first_tensors; *list != NULL && status == NB_OK; list++)
        for (uint64_t layer = 0; layer < b->layers; layer++)
            place_layer(s, &o, *list, layer);
    for (size_t i = 0; i < s->n_tensors && status == NB_OK; i++)
        if (!o.is_placed[i])
            o.out[o.n_out++] = s->tensors[i];
    if (status == NB_OK)
        memcpy(s->tensors, o.out, o.n_out * sizeof *o.out);
    free((void *)o.sorted);
    free(o.is_placed);
    free(o.out);
    return status;
}
