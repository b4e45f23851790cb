/* Lists of hashes: llama.cpp's gguf-hash writes "TYPE  HEX  FILE:TENSOR", sha256sum "HEX  FILE". */
#ifndef NB_MANIFEST_H
#define NB_MANIFEST_H

#include "formats/base/status.h"
#include "verify/check/hash.h"

struct manifest_entry {
    enum nb_hash_kind kind;
    bool of_file;       /* without a type: of all bytes of the file */
    const char *digest; /* as text, lower case */
    char *file;
    const char *tensor; /* NULL: of all tensors, or of the file */
    const char *name;   /* as the line has it */
};

struct manifest {
    char *text;
    struct manifest_entry *entries;
    size_t count;
    bool has[NB_HASHES];
};

/* NB_INPUT where there is a line that is none, or nothing at all. */
enum nb_status manifest_load(struct manifest *manifest, const char *path, struct nb_error *err) NB_MUST_CHECK;
void manifest_free(struct manifest *manifest);

#endif
