/* What each type costs in each tensor of a model, in a file (JSON): so that it is measured once, and can be looked at. */
#ifndef NB_EFFECTS_FILE_H
#define NB_EFFECTS_FILE_H

#include "formats/base/status.h"
#include "formats/elements/types.h"

#include <jansson.h>
#include <stddef.h>

struct nb_allocated; /* of quantize/policy/allocation.h */

struct nb_effects_file {
    json_t *of; /* by the names of tensors: an object that has, by the names of types, what they cost */
};

/* Reads the file PATH. Refused: costs that are no finite numbers of 0 or more, and a tensor that is there twice. */
enum nb_status nb_effects_load(struct nb_effects_file *file, const char *path, struct nb_error *err) NB_MUST_CHECK;
void nb_effects_free(struct nb_effects_file *file);

/* What TYPE costs in the tensor NAME, in nats a token; NaN if the file does not know it. */
double nb_effects_cost(const struct nb_effects_file *file, const char *name, enum nb_type type);
/* The type that costs most in the tensor NAME; NB_TYPE_NONE if the file does not know the tensor. */
enum nb_type nb_effects_costliest(const struct nb_effects_file *file, const char *name);

/*
 * Takes the costs of COUNT tensors from the file PATH; candidates whose type the file does not know, and tensors that it
 * does not name, are left out. COUNT receives how many tensors are left.
 */
enum nb_status nb_effects_take(const char *path, struct nb_allocated *tensors, size_t *count,
                               struct nb_error *err) NB_MUST_CHECK;
enum nb_status nb_effects_write(const char *path, const struct nb_allocated *tensors, size_t count,
                                struct nb_error *err) NB_MUST_CHECK;

#endif
