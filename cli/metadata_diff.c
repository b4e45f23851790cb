#include "cli/metadata_diff.h"

#include "cli/cli.h"
#include "cli/kv_text.h"
#include "formats/base/status.h"
#include "formats/gguf/metadata.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int
by_key(const void *a, const void *b)
{
    return strcmp((*(const struct nb_kv *const *)a)->key, (*(const struct nb_kv *const *)b)->key);
}

/* The entries of META by key; to be freed. */
static const struct nb_kv **
sorted(const struct nb_metadata *meta)
{
    const struct nb_kv **list = calloc(meta->count + 1, sizeof *list);

    for (size_t i = 0; list != NULL && i < meta->count; i++)
        list[i] = &meta->items[i];
    if (list != NULL)
        qsort(list, meta->count, sizeof *list, by_key);
    return list;
}

static bool
same_value(const struct nb_kv *a, const struct nb_kv *b)
{
    return a->type == b->type && a->element == b->element && a->count == b->count && a->size == b->size &&
           memcmp(a->data, b->data, (size_t)a->size) == 0;
}

enum nb_status
metadata_diff(struct metadata_diff *diff, const struct nb_metadata *a, const struct nb_metadata *b,
              struct nb_error *err)
{
    const struct nb_kv **x = sorted(a), **y = sorted(b);
    size_t i = 0, k = 0;

    *diff = (struct metadata_diff){ .changes = calloc(a->count + b->count + 1, sizeof *diff->changes) };
    while (x != NULL && y != NULL && diff->changes != NULL && (i < a->count || k < b->count)) {
        const int order = i == a->count ? 1 : k == b->count ? -1 : strcmp(x[i]->key, y[k]->key);

        if (order != 0 || !same_value(x[i], y[k]))
            diff->changes[diff->count++] = (struct metadata_change){ order <= 0 ? x[i] : NULL,
                                                                     order >= 0 ? y[k] : NULL };
        i += order <= 0;
        k += order >= 0;
    }
    free(x);
    free(y);
    if (x != NULL && y != NULL && diff->changes != NULL)
        return NB_OK;
    metadata_diff_free(diff);
    return nb_fail_memory(err);
}

void
metadata_diff_free(struct metadata_diff *diff)
{
    free(diff->changes);
    *diff = (struct metadata_diff){ 0 };
}

static void
print_side(char sign, const struct nb_kv *kv)
{
    cli_print("%c %-*s %-5s ", sign, KV_KEY_COLUMNS, kv->key, kv->type == NB_KV_ARRAY ? "" : nb_kv_type_name(kv->type));
    kv_print_short(kv, 2 + 1 + 5 + 1);
    cli_print("\n");
}

/* The bytes of the element of KV, an array, that is at *AT, which moves on. */
static const void *
next_element(const struct nb_kv *kv, const unsigned char **at, uint64_t *size)
{
    const void *element = *at;

    if (kv->element == NB_KV_STRING)
        return nb_kv_next_string(at, size);
    *size = nb_kv_type_size(kv->element);
    *at += *size;
    return element;
}

/* Of two arrays of one type and length: which elements differ. */
static void
print_elements(const struct nb_kv *a, const struct nb_kv *b)
{
    const unsigned char *x = a->data, *y = b->data;
    uint64_t different = 0, first = 0, n, m;

    if (a->type != NB_KV_ARRAY || b->type != NB_KV_ARRAY || a->element != b->element || a->count != b->count)
        return;
    for (uint64_t i = 0; i < a->count; i++) {
        const void *p = next_element(a, &x, &n), *q = next_element(b, &y, &m);

        if ((n != m || memcmp(p, q, (size_t)n) != 0) && different++ == 0)
            first = i;
    }
    cli_print("  %" PRIu64 " of %" PRIu64 " elements differ, the first is element %" PRIu64 "\n", different, a->count,
              first);
}

void
metadata_diff_print(const struct metadata_diff *diff)
{
    for (size_t i = 0; i < diff->count; i++) {
        if (diff->changes[i].a != NULL)
            print_side('-', diff->changes[i].a);
        if (diff->changes[i].b != NULL)
            print_side('+', diff->changes[i].b);
        if (diff->changes[i].a != NULL && diff->changes[i].b != NULL)
            print_elements(diff->changes[i].a, diff->changes[i].b);
    }
}

json_t *
metadata_change_json(const struct metadata_change *change)
{
    return cli_json("{s:s, s:o, s:o}", "key", change->a != NULL ? change->a->key : change->b->key, "was",
                    change->a != NULL ? kv_json(change->a, UINT64_MAX) : json_null(), "is",
                    change->b != NULL ? kv_json(change->b, UINT64_MAX) : json_null());
}
