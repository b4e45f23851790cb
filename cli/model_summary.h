/* What a model's tensors add up to, by type and by role. */
#ifndef NB_MODEL_SUMMARY_H
#define NB_MODEL_SUMMARY_H

#include "formats/elements/types.h"
#include "formats/models/source.h"

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

#define SUMMARY_KINDS (NB_TYPES + 4)

/* Tensors that are stored in one way: in an element type, or in another toolkit's format of quantized weights. */
struct tensor_kind {
    const char *name;
    struct tensor_total total;
};

struct model_summary {
    struct tensor_total all, layers, of_role[ROLES]; /* LAYERS: all but embedding and output */
    struct tensor_kind kind[SUMMARY_KINDS]; /* types in their order, then formats; those without a tensor, too */
};

/* How T is stored. */
const char *storage_name(const struct nb_view *t);
const char *role_name(enum tensor_role role);
/* Bits per weight. */
double total_bpw(const struct tensor_total *total);
void summarize(const struct nb_source *source, struct model_summary *out);

#endif
