/*
 * What blocks load themselves with: tensors, found and checked by the rows of the architecture, and
 * hyperparameters. Patterns are names of such rows, "%l" for the layer that is being loaded.
 */
#ifndef NB_LOAD_H
#define NB_LOAD_H

#include "formats/models/hparams.h"
#include "verify/run/model.h"
#include "verify/run/rope.h"

struct nb_loader {
    struct nb_model *model;
    const struct nb_view **sorted; /* of the source, by name */
    uint32_t layer;                  /* that is being loaded */
    const struct nb_linear **end;    /* of the list of matrices */
    struct nb_rope **ropes_end;      /* of the list of rotary embeddings */
    struct nb_error *err;
};

/* SIZE zeroed bytes that live as long as the model; NULL when memory is out. */
void *nb_load_room(const struct nb_loader *loader, size_t size);

/* A hyperparameter in this layer: a whole number from 1 to NB_MAX_SIDE, else it is refused. */
enum nb_status nb_load_count(const struct nb_loader *loader, enum nb_hparam hparam, uint32_t *out) NB_MUST_CHECK;
/* A hyperparameter in this layer; refused unless it is above zero. */
enum nb_status nb_load_above_zero(const struct nb_loader *loader, enum nb_hparam hparam, double *out) NB_MUST_CHECK;

/*
 * A vector, or another small tensor, as floats. *OUT is NULL where it may be absent and is, or where
 * the architecture has none of that name in this layer.
 */
enum nb_status nb_load_small(const struct nb_loader *loader, const char *pattern, const float **out) NB_MUST_CHECK;
/*
 * The matrix "PATTERN.weight", which must be there or tied, and "PATTERN.bias" if there is one. It is
 * added to the matrices of the model, so OUT must live as long.
 */
enum nb_status nb_load_linear(struct nb_loader *loader, const char *pattern, struct nb_linear *out) NB_MUST_CHECK;
/* A matrix of which rows are looked up: nothing is multiplied by it, and it is not added to the list. */
enum nb_status nb_load_table(const struct nb_loader *loader, const char *pattern, struct nb_linear *out) NB_MUST_CHECK;
/* The norm whose weights are "PATTERN.weight", of the architecture's kind. */
enum nb_status nb_load_norm(const struct nb_loader *loader, const char *pattern, struct nb_norm *out) NB_MUST_CHECK;

#endif
