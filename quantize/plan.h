/*
 * The whole output file, decided before the first weight is read: its header,
 * and the type, offset and size of every tensor. A plan is a pure function of
 * its inputs; what remains is to fill it in, in any order.
 */
#ifndef NB_PLAN_H
#define NB_PLAN_H

#include "recipe.h"
#include "source.h"

/* --override-kv KEY=TYPE:VALUE */
struct nb_kv_override {
    const char *key;
    enum nb_kv_type type; /* U32, I32, U64, I64, F32, BOOL or STRING */
    union {
        uint64_t number; /* the integers, and BOOL */
        float real;
        const char *text;
    } value;
};

struct nb_plan_options {
    struct nb_recipe_options recipe;
    const struct nb_kv_override *overrides;
    size_t n_overrides;
    bool allow_requantize;
    /*
     * F16, BF16 or NB_TYPE_NONE. Weights are rounded to this type first, so that
     * the result is that of the two-step way with such a file in between.
     */
    enum nb_type via;
};

struct nb_plan_tensor {
    const struct nb_tensor *source;
    struct nb_choice choice;
    enum nb_type via;       /* NB_TYPE_NONE where nothing is rounded in between */
    uint64_t offset, bytes; /* in the output file */
};

struct nb_plan {
    struct nb_metadata meta;
    struct nb_plan_tensor *tensors; /* in file order */
    size_t n_tensors;
    unsigned char *header;
    uint64_t header_bytes, total_bytes;
    uint64_t source_bytes;                  /* of all tensors */
    uint64_t parameters;
    size_t n_fallbacks;
};

enum nb_status nb_plan_make(struct nb_plan *plan, const struct nb_source *source,
                            const struct nb_plan_options *options, struct nb_error *err) NB_MUST_CHECK;
void nb_plan_free(struct nb_plan *plan);

/* Bits per weight of all tensors together. */
double nb_plan_bpw(const struct nb_plan *plan);

#endif
