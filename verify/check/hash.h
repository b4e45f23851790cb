/*
 * Hashes of tensor data and of whole files, several at once. As in llama.cpp's gguf-hash, a hash
 * covers the bytes of a tensor, or of all tensors in file order, without metadata and padding.
 */
#ifndef NB_HASH_H
#define NB_HASH_H

#include "formats/base/status.h"
#include "formats/base/watch.h"
#include "formats/models/stored_tensors.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum nb_hash_kind {
    NB_HASH_XXH64, /* seed 0, big-endian */
    NB_HASH_XXH3,  /* 64 bits, seed 0, big-endian */
    NB_HASH_SHA1,
    NB_HASH_SHA256,
    NB_HASH_UUID, /* version 5 (RFC 9562) in llama.cpp's namespace ef001206-dadc-5f6d-a15f-3359e577d4e5 */
    NB_HASHES,
};

#define NB_HASH_MAX 32 /* bytes of the longest digest */

/* "xxh64", "xxh3", "sha1", "sha256", "uuid" */
const char *nb_hash_name(enum nb_hash_kind kind);
/* Length of the digest in bytes. */
size_t nb_hash_size(enum nb_hash_kind kind);

enum nb_hash_scope {
    NB_HASH_TENSOR, /* number WHICH */
    NB_HASH_MODEL,  /* the data of all tensors */
    NB_HASH_FILE,   /* all bytes of file number WHICH */
};

struct nb_hash_job {
    enum nb_hash_kind kind;
    enum nb_hash_scope scope;
    size_t which;
    unsigned char digest[NB_HASH_MAX]; /* the result */
};

/* Runs COUNT jobs on THREADS threads (0: one per core). WATCH, which may be NULL, is told the bytes of all jobs. */
enum nb_status nb_hash_run(const struct nb_stored_tensors *stored, struct nb_hash_job *jobs, size_t count,
                           unsigned threads, const struct nb_watch *watch, struct nb_error *err) NB_MUST_CHECK;
/* The hash of SIZE bytes in memory; false if out of memory. */
bool nb_hash_bytes(enum nb_hash_kind kind, const void *bytes, size_t size, unsigned char digest[NB_HASH_MAX]);
/* Writes the digest as text: hexadecimal, a UUID with dashes. TEXT has room for 2 * NB_HASH_MAX + 1 bytes. */
void nb_hash_text(enum nb_hash_kind kind, const unsigned char *digest, char *text);

#endif
