/* What a model's tensors and keys add up to: by type, by role, and in memory when it runs. */
#ifndef NB_MODEL_SUMMARY_H
#define NB_MODEL_SUMMARY_H

#include "source.h"
#include "types.h"

#include <stdbool.h>
#include <stdint.h>

/* What tensors are for, by the names that GGUF has for them. */
enum tensor_role {
    ROLE_EMBEDDING,
    ROLE_OUTPUT,
    ROLE_ATTENTION,
    ROLE_FEED_FORWARD,
    ROLE_EXPERTS,
    ROLE_NORMS,
    ROLE_OTHER,
    ROLES
};

struct tensor_total {
    uint64_t tensors, elements, bytes;
};

struct model_summary {
    struct tensor_total all, layers, of_type[NB_TYPES], of_role[ROLES]; /* LAYERS: all but embedding and output */
    /* The cache of keys and values, for one sequence in full attention. */
    bool has_cache;        /* the keys that tell its size are there */
    uint64_t context;      /* tokens */
    uint64_t cache_bytes;
    bool has_window;       /* the model slides a window in some layers, and may need less */
};

const char *role_name(enum tensor_role role);
/* Bits per weight. */
double total_bpw(const struct tensor_total *total);
/*
 * CONTEXT tokens (0: 4096, or what the model was trained for if that is less), keys and values
 * as CACHE_TYPE.
 */
void summarize(const struct nb_source *source, uint64_t context, enum nb_type cache_type, struct model_summary *out);

#endif
