#include "verify/check/hash.h"

#include "formats/base/pool.h"

#include <openssl/evp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define BUFFER_SIZE ((uint64_t)1 << 20)

static const struct {
    const char *name;
    size_t size;
} kinds[NB_HASHES] = {
    [NB_HASH_XXH64] = { "xxh64", 8 },    [NB_HASH_XXH3] = { "xxh3", 8 },  [NB_HASH_SHA1] = { "sha1", 20 },
    [NB_HASH_SHA256] = { "sha256", 32 }, [NB_HASH_UUID] = { "uuid", 16 },
};

const char *
nb_hash_name(enum nb_hash_kind kind)
{
    return kinds[kind].name;
}

size_t
nb_hash_size(enum nb_hash_kind kind)
{
    return kinds[kind].size;
}

/* --- one hash, computed in pieces ---------------------------------------------------------------------- */

/* A separate libcrypto context: creating its default context crashes when it runs out of memory. */
struct digests {
    OSSL_LIB_CTX *library;
    EVP_MD *sha1, *sha256;
};

static bool
fetch_digests(struct digests *d)
{
    d->library = OSSL_LIB_CTX_new();
    d->sha1 = d->library == NULL ? NULL : EVP_MD_fetch(d->library, "SHA1", NULL);
    d->sha256 = d->library == NULL ? NULL : EVP_MD_fetch(d->library, "SHA2-256", NULL);
    return d->sha1 != NULL && d->sha256 != NULL;
}

static void
free_digests(struct digests *d)
{
    EVP_MD_free(d->sha1);
    EVP_MD_free(d->sha256);
    OSSL_LIB_CTX_free(d->library);
}

struct hash {
    enum nb_hash_kind kind;
    XXH64_state_t *xxh64;
    XXH3_state_t *xxh3;
    EVP_MD_CTX *evp;
};

static bool
start(struct hash *h, enum nb_hash_kind kind, const struct digests *d)
{
    static const unsigned char llama_cpp[16] = { 0xef, 0x00, 0x12, 0x06, 0xda, 0xdc, 0x5f, 0x6d,
                                                 0xa1, 0x5f, 0x33, 0x59, 0xe5, 0x77, 0xd4, 0xe5 };

    *h = (struct hash){ .kind = kind };
    switch (kind) {
    case NB_HASH_XXH64:
        return (h->xxh64 = XXH64_createState()) != NULL && XXH64_reset(h->xxh64, 0) == XXH_OK;
    case NB_HASH_XXH3:
        return (h->xxh3 = XXH3_createState()) != NULL && XXH3_64bits_reset(h->xxh3) == XXH_OK;
    default:
        h->evp = EVP_MD_CTX_new();
        if (h->evp == NULL || EVP_DigestInit_ex(h->evp, kind == NB_HASH_SHA256 ? d->sha256 : d->sha1, NULL) != 1)
            return false;
        return kind != NB_HASH_UUID || EVP_DigestUpdate(h->evp, llama_cpp, sizeof llama_cpp) == 1;
    }
}

static bool
feed(struct hash *h, const void *bytes, size_t size)
{
    if (h->xxh64 != NULL)
        return XXH64_update(h->xxh64, bytes, size) == XXH_OK;
    if (h->xxh3 != NULL)
        return XXH3_64bits_update(h->xxh3, bytes, size) == XXH_OK;
    return EVP_DigestUpdate(h->evp, bytes, size) == 1;
}

static bool
finish(struct hash *h, unsigned char *digest)
{
    unsigned char full[EVP_MAX_MD_SIZE];
    XXH64_hash_t number;

    if (h->evp != NULL) {
        if (EVP_DigestFinal_ex(h->evp, full, NULL) != 1)
            return false;
        memcpy(digest, full, kinds[h->kind].size);
        if (h->kind == NB_HASH_UUID) {
            digest[6] = (unsigned char)((digest[6] & 0x0F) | 0x50); /* version 5 */
            digest[8] = (unsigned char)((digest[8] & 0x3F) | 0x80); /* the RFC's variant */
        }
        return true;
    }
    number = h->xxh64 != NULL ? XXH64_digest(h->xxh64) : XXH3_64bits_digest(h->xxh3);
    for (unsigned i = 0; i < 8; i++)
        digest[i] = (unsigned char)(number >> (56 - 8 * i));
    return true;
}

static void
drop(struct hash *h)
{
    XXH64_freeState(h->xxh64);
    XXH3_freeState(h->xxh3);
    EVP_MD_CTX_free(h->evp);
}

bool
nb_hash_bytes(enum nb_hash_kind kind, const void *bytes, size_t size, unsigned char digest[NB_HASH_MAX])
{
    struct digests d = { 0 };
    struct hash h = { 0 };
    const bool good = fetch_digests(&d) && start(&h, kind, &d) && feed(&h, bytes, size) && finish(&h, digest);

    drop(&h);
    free_digests(&d);
    return good;
}

/* --- jobs -------------------------------------------------------------------------------------------------- */

struct work {
    const struct nb_stored_tensors *stored;
    struct nb_hash_job **jobs; /* longest first */
    struct digests digests;
    const struct nb_watch *watch;
    uint64_t total;
    atomic_ullong done; /* bytes, of all jobs */
};

static enum nb_status
feed_range(struct work *w, struct hash *h, const struct nb_file_in *file, uint64_t offset, uint64_t size,
           unsigned char *buffer, struct nb_error *err)
{
    for (uint64_t at = 0; at < size; at += BUFFER_SIZE) {
        const uint64_t n = size - at < BUFFER_SIZE ? size - at : BUFFER_SIZE;
        enum nb_status status = nb_file_read(file, offset + at, buffer, n, err);

        if (status != NB_OK)
            return status;
        if (!feed(h, buffer, (size_t)n))
            return nb_fail(err, NB_SYSTEM, "hashing failed");
        atomic_fetch_add_explicit(&w->done, n, memory_order_relaxed);
    }
    return NB_OK;
}

static enum nb_status
feed_scope(struct work *w, struct hash *h, const struct nb_hash_job *job, unsigned char *buffer, struct nb_error *err)
{
    const struct nb_stored_tensors *s = w->stored;
    const size_t first = job->scope == NB_HASH_TENSOR ? job->which : 0;
    const size_t end = job->scope == NB_HASH_TENSOR ? first + 1 : s->count;
    enum nb_status status = NB_OK;

    if (job->scope == NB_HASH_FILE)
        return feed_range(w, h, &s->files[job->which], 0, s->files[job->which].size, buffer, err);
    for (size_t i = first; i < end && status == NB_OK; i++)
        status = feed_range(w, h, &s->files[s->tensors[i].file], s->tensors[i].offset, s->tensors[i].bytes, buffer,
                            err);
    return status;
}

static enum nb_status
hash_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    struct work *w = context;
    struct nb_hash_job *job = w->jobs[task];
    unsigned char *buffer = malloc(BUFFER_SIZE);
    struct hash h;
    enum nb_status status;

    (void)worker;
    status = !start(&h, job->kind, &w->digests) || buffer == NULL ? nb_fail_memory(err)
                                                                  : feed_scope(w, &h, job, buffer, err);
    if (status == NB_OK && !finish(&h, job->digest))
        status = nb_fail(err, NB_SYSTEM, "hashing failed");
    drop(&h);
    free(buffer);
    return status;
}

/* Jobs over all tensors take longest and are started first. */
static void
order(struct nb_hash_job **to, struct nb_hash_job *jobs, size_t count)
{
    size_t n = 0;

    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < count; i++)
            if ((jobs[i].scope == NB_HASH_TENSOR) == (pass == 1))
                to[n++] = &jobs[i];
}

static uint64_t
bytes_of(const struct nb_stored_tensors *s, const struct nb_hash_job *job)
{
    uint64_t sum = 0;

    if (job->scope == NB_HASH_FILE)
        return s->files[job->which].size;
    if (job->scope == NB_HASH_TENSOR)
        return s->tensors[job->which].bytes;
    for (size_t i = 0; i < s->count; i++)
        sum += s->tensors[i].bytes;
    return sum;
}

static void
look(void *context)
{
    struct work *w = context;

    if (w->watch->progress != NULL)
        w->watch->progress(w->watch->context, atomic_load_explicit(&w->done, memory_order_relaxed), w->total);
}

static enum nb_status
run(struct work *w, struct nb_pool *pool, size_t count, struct nb_error *err)
{
    const struct nb_pool_watch watch = { look, w, w->watch == NULL ? NULL : w->watch->stop };

    return w->watch == NULL ? nb_pool_run(pool, hash_task, w, count, err)
                            : nb_pool_run_watched(pool, hash_task, w, count, &watch, err);
}

enum nb_status
nb_hash_run(const struct nb_stored_tensors *stored, struct nb_hash_job *jobs, size_t count, unsigned threads,
            const struct nb_watch *watch, struct nb_error *err)
{
    struct work w = { .stored = stored, .jobs = calloc(count + 1, sizeof *w.jobs), .watch = watch };
    struct nb_pool *pool = NULL;
    enum nb_status status = w.jobs == NULL || !fetch_digests(&w.digests) ? nb_fail_memory(err)
                                                                         : nb_pool_new(&pool, threads, err);

    if (status == NB_OK) {
        order(w.jobs, jobs, count);
        for (size_t i = 0; i < count; i++)
            w.total += bytes_of(stored, &jobs[i]);
        status = run(&w, pool, count, err);
    }
    nb_pool_free(pool);
    free_digests(&w.digests);
    free(w.jobs);
    return status;
}

void
nb_hash_text(enum nb_hash_kind kind, const unsigned char *digest, char *text)
{
    for (size_t i = 0; i < kinds[kind].size; i++) {
        if (kind == NB_HASH_UUID && (i == 4 || i == 6 || i == 8 || i == 10))
            *text++ = '-';
        text += sprintf(text, "%02x", digest[i]);
    }
}
