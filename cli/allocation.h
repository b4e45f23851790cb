/* 'nibble quantize --target-size' and its like: types that are chosen for each tensor by what they do to this model. */
#ifndef NB_CLI_ALLOCATION_H
#define NB_CLI_ALLOCATION_H

#include "cli/quantize_options.h"
#include "formats/base/status.h"
#include "formats/models/source.h"

/* Whether the types are to be chosen so. */
bool allocation_is_wanted(const struct quantize_options *options);
/*
 * Chooses the types, or takes those of --like, and puts them into OPTIONS' plan, with the recipe that has most of them.
 */
enum nb_status allocation_run(struct quantize_options *options, const struct nb_source *source,
                              struct nb_error *err) NB_MUST_CHECK;

#endif
