#include "verify/tokenize/text_index.h"

#include "formats/base/system.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

struct nb_text_slot {
    const char *text; /* NULL: free */
    uint32_t length;
    int32_t number;
};

bool
nb_text_index_new(struct nb_text_index *index, size_t count)
{
    size_t slots = 16;

    while (slots < 2 * count)
        slots *= 2;
    index->slots = calloc(slots, sizeof *index->slots);
    index->mask = slots - 1;
    index->used = 0;
    if (!nb_system_random(&index->seed, sizeof index->seed))
        index->seed = (uint64_t)(uintptr_t)index->slots; /* weak, but better than a constant */
    return index->slots != NULL;
}

/* The slot that contains TEXT, or the free one for it. */
static struct nb_text_slot *
find_slot(const struct nb_text_index *index, const char *text, size_t length)
{
    size_t i = (size_t)XXH3_64bits_withSeed(text, length, index->seed) & index->mask;

    while (index->slots[i].text != NULL &&
           (index->slots[i].length != length || memcmp(index->slots[i].text, text, length) != 0))
        i = (i + 1) & index->mask;
    return &index->slots[i];
}

static bool
grow(struct nb_text_index *index)
{
    struct nb_text_index larger;

    if (!nb_text_index_new(&larger, index->mask + 1))
        return false;
    for (size_t i = 0; i <= index->mask; i++)
        if (index->slots[i].text != NULL)
            *find_slot(&larger, index->slots[i].text, index->slots[i].length) = index->slots[i];
    larger.used = index->used;
    free(index->slots);
    *index = larger;
    return true;
}

int32_t
nb_text_index_add(struct nb_text_index *index, const char *text, size_t length, int32_t number)
{
    struct nb_text_slot *slot = find_slot(index, text, length);

    if (slot->text != NULL)
        return slot->number;
    if (2 * index->used > index->mask) {
        if (!grow(index))
            return -1;
        slot = find_slot(index, text, length);
    }
    *slot = (struct nb_text_slot){ text, (uint32_t)length, number };
    index->used++;
    return number;
}

int32_t
nb_text_index_find(const struct nb_text_index *index, const char *text, size_t length)
{
    const struct nb_text_slot *slot = find_slot(index, text, length);

    return slot->text == NULL ? -1 : slot->number;
}

void
nb_text_index_free(struct nb_text_index *index)
{
    free(index->slots);
    *index = (struct nb_text_index){ 0 };
}
