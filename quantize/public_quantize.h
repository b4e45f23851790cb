/* The options of nibble_plan_new as those of a plan, for all public functions that take them. */
#ifndef NB_PUBLIC_QUANTIZE_H
#define NB_PUBLIC_QUANTIZE_H

#include "formats/base/status.h"
#include "formats/imatrix/imatrix.h"
#include "nibble.h"
#include "quantize/plan.h"

/* The caller's options, and what they become. */
struct nb_public_quantize {
    struct nibble_quantize_options o;
    struct nb_plan_options plan;
    struct nb_type_override *types;
    struct nb_kv_override *values; /* to which plan points, with room for NB_PUBLIC_KEYS more */
    uint64_t *prune;
};
#define NB_PUBLIC_KEYS 8

enum nb_status nb_public_quantize_take(struct nb_public_quantize *given, const struct nibble_quantize_options *options,
                                       struct nb_error *err) NB_MUST_CHECK;
void nb_public_quantize_free(struct nb_public_quantize *given);
/* Loads the importance matrix that the options name, if they do, and makes the plan use it. */
enum nb_status nb_public_quantize_imatrix(struct nb_public_quantize *given, struct nb_imatrix *imatrix,
                                          struct nb_error *err) NB_MUST_CHECK;
/* The type NAME, that can be written; NULL is none. */
enum nb_status nb_public_type(const char *name, enum nb_type *out, struct nb_error *err) NB_MUST_CHECK;

#endif
