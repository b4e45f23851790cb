/*
 * std::unordered_map<std::string, ...> of libstdc++, as far as its order goes: all entries are in one list, in which
 * those of a bucket stand together; a new entry goes to the front of its bucket, or of the list if the bucket is
 * empty. The hash is MurmurHash64A.
 */
#include "formats/mlx/file_order.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MULTIPLIER UINT64_C(0xC6A4A7935BD1E995)
#define SEED UINT64_C(0xC70F6907)

static uint64_t
mix(uint64_t v)
{
    return v ^ (v >> 47);
}

static uint64_t
hash_of(const char *name)
{
    const size_t length = strlen(name);
    uint64_t h = SEED ^ ((uint64_t)length * MULTIPLIER), word = 0;
    size_t i = 0;

    for (; i + 8 <= length; i += 8) {
        word = 0;
        for (size_t k = 0; k < 8; k++)
            word |= (uint64_t)(unsigned char)name[i + k] << 8 * k;
        h = (h ^ (mix(word * MULTIPLIER) * MULTIPLIER)) * MULTIPLIER;
    }
    word = 0;
    for (size_t k = 0; i + k < length; k++)
        word |= (uint64_t)(unsigned char)name[i + k] << 8 * k;
    if (i < length)
        h = (h ^ word) * MULTIPLIER;
    return mix(mix(h) * MULTIPLIER);
}

/* Entries are numbered from 1 on; 0 is the front of the list, and as a successor the end. */
struct table {
    uint64_t *hash;
    size_t *next;   /* of each entry, and of the front */
    size_t *bucket; /* the entry before the first one of each bucket, plus 1; 0: the bucket is empty */
    size_t n_buckets;
};

/* The sizes to which the table grows. */
static const size_t sizes[] = { 13,    29,    59,    127,   257,    541,    1109,   2357,   5087,
                                10273, 20753, 42043, 85229, 172933, 351061, 712697, 1447153 };
#define N_SIZES (sizeof sizes / sizeof sizes[0])

static size_t *
bucket_of(const struct table *t, size_t entry)
{
    return &t->bucket[t->hash[entry] % t->n_buckets];
}

static void
put_in_front(struct table *t, size_t entry)
{
    t->next[entry] = t->next[0];
    t->next[0] = entry;
    if (t->next[entry] != 0)
        *bucket_of(t, t->next[entry]) = entry + 1;
    *bucket_of(t, entry) = 1;
}

static void
insert(struct table *t, size_t entry)
{
    const size_t before = *bucket_of(t, entry);

    if (before == 0) {
        put_in_front(t, entry);
        return;
    }
    t->next[entry] = t->next[before - 1];
    t->next[before - 1] = entry;
}

/*
 * Distributes the list over more buckets. An entry whose new bucket has others goes behind the one before them all,
 * which is why the order changes.
 */
static bool
grow(struct table *t, size_t n_buckets)
{
    size_t entry = t->next[0], next;

    free(t->bucket);
    t->bucket = calloc(n_buckets, sizeof *t->bucket);
    if (t->bucket == NULL)
        return false;
    t->n_buckets = n_buckets;
    t->next[0] = 0;
    for (; entry != 0; entry = next) {
        next = t->next[entry];
        insert(t, entry);
    }
    return true;
}

static bool
fill(struct table *t, const char *const *names, size_t count)
{
    size_t size = 0;

    t->n_buckets = 0;
    for (size_t i = 1; i <= count; i++) {
        t->hash[i] = hash_of(names[i - 1]);
        if (i > t->n_buckets && size < N_SIZES && !grow(t, sizes[size++]))
            return false;
        insert(t, i);
    }
    return true;
}

bool
nb_mlx_file_order(const char *const *names, size_t count, size_t *order)
{
    struct table t = { .hash = calloc(count + 1, sizeof *t.hash), .next = calloc(count + 1, sizeof *t.next) };
    const bool good = t.hash != NULL && t.next != NULL && fill(&t, names, count);
    size_t n = 0;

    for (size_t at = good ? t.next[0] : 0; at != 0; at = t.next[at])
        order[n++] = at - 1;
    free(t.hash);
    free(t.next);
    free(t.bucket);
    return good;
}
