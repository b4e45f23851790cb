/* A manifest of hashes, as 'nibble hash --check' reads it. */
#include "fuzz.h"

#include "cli/manifest.h"

#include <string.h>

void
fuzz_target(const uint8_t *data, size_t size)
{
    struct manifest m;

    if (manifest_load(&m, fuzz_file(data, size), NULL) != NB_OK)
        return;
    fuzz_claim(m.count > 0, "a manifest has entries");
    for (size_t i = 0; i < m.count; i++) {
        const struct manifest_entry *e = &m.entries[i];

        fuzz_claim(e->kind < NB_HASHES && m.has[e->kind], "every entry has a kind that the manifest has");
        fuzz_claim(strspn(e->digest, "0123456789abcdef-") >= 2 * nb_hash_size(e->kind), "a digest has all its digits");
        fuzz_claim(*e->name != '\0', "every entry has a name");
    }
    manifest_free(&m);
}
