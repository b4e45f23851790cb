/*
 * Functions for loading blocks: tensors, found and checked with the rows of the architecture, and
 * hyperparameters. A PATTERN is the name of such a row, with "%l" for the current layer.
 */
#ifndef NB_LOAD_H
#define NB_LOAD_H

#include "formats/models/hparams.h"
#include "verify/run/model.h"
#include "verify/run/rope.h"

struct nb_loader {
    struct nb_model *model;
    const struct nb_view **sorted; /* the source's views, by name */
    uint32_t layer;                /* the layer that is being loaded */
    const struct nb_linear **end;  /* end of the list of matrices */
    struct nb_rope **ropes_end;    /* end of the list of rotary embeddings */
    struct nb_error *err;
};

/* SIZE zeroed bytes with the lifetime of the model; NULL if out of memory. */
void *nb_load_room(const struct nb_loader *loader, size_t size);

/* A hyperparameter in this layer; an error unless it is a whole number from 1 to NB_MAX_SIDE. */
enum nb_status nb_load_count(const struct nb_loader *loader, enum nb_hparam hparam, uint32_t *out) NB_MUST_CHECK;
/* A hyperparameter in this layer; an error unless it is above zero. */
enum nb_status nb_load_above_zero(const struct nb_loader *loader, enum nb_hparam hparam, double *out) NB_MUST_CHECK;

/*
 * A vector or another small tensor as floats. *OUT is NULL if it is optional and absent, or if the
 * architecture has none with this name in this layer.
 */
enum nb_status nb_load_small(const struct nb_loader *loader, const char *pattern, const float **out) NB_MUST_CHECK;
/* Whether the model has the tensor PATTERN in this layer. */
bool nb_load_has(const struct nb_loader *loader, const char *pattern);
/*
 * The matrix "PATTERN.weight", which must be present or tied, and "PATTERN.bias" and "PATTERN.scale" if there are. OUT
 * is linked into the model's list of matrices, so it must have the lifetime of the model.
 */
enum nb_status nb_load_linear(struct nb_loader *loader, const char *pattern, struct nb_linear *out) NB_MUST_CHECK;
/* The same; OUT is left as it is if the model has none in this layer. */
enum nb_status nb_load_linear_if_any(struct nb_loader *loader, const char *pattern,
                                     struct nb_linear *out) NB_MUST_CHECK;
/* A matrix used only to look up rows, not for products; it is not added to the list. */
enum nb_status nb_load_table(const struct nb_loader *loader, const char *pattern, struct nb_linear *out) NB_MUST_CHECK;
/*
 * The norm whose weights are "PATTERN.weight" (or PATTERN itself, as Falcon-H1 has it), and "PATTERN.bias" if there is
 * one, of the architecture's kind. *OUT is NULL if the model has none in this layer.
 */
enum nb_status nb_load_norm(const struct nb_loader *loader, const char *pattern,
                            const struct nb_norm **out) NB_MUST_CHECK;
/* A norm without weights. */
enum nb_status nb_load_plain_norm(const struct nb_loader *loader, const struct nb_norm **out) NB_MUST_CHECK;

#endif
