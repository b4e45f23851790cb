/* What differs between two lists of metadata. */
#ifndef NB_METADATA_DIFF_H
#define NB_METADATA_DIFF_H

#include "formats/base/status.h"
#include "formats/gguf/metadata.h"

#include <jansson.h>
#include <stddef.h>

struct metadata_change {
    const struct nb_kv *a, *b; /* NULL: the key is not there */
};

struct metadata_diff {
    struct metadata_change *changes; /* by key */
    size_t count;
};

enum nb_status metadata_diff(struct metadata_diff *diff, const struct nb_metadata *a, const struct nb_metadata *b,
                             struct nb_error *err) NB_MUST_CHECK;
void metadata_diff_free(struct metadata_diff *diff);
/* To stdout, a line for each key that is gone ("-"), new ("+") or has changed ("-" and "+"). */
void metadata_diff_print(const struct metadata_diff *diff);
/* {"key", "was", "is"}: the values, or null where there is none. */
json_t *metadata_change_json(const struct metadata_change *change);

#endif
