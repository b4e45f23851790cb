/* The largest recipe with which a model fits. */
#ifndef NB_FITTING_RECIPE_H
#define NB_FITTING_RECIPE_H

#include "cli/memory_fit.h"
#include "formats/models/source.h"
#include "quantize/plan.h"

#include <stdbool.h>
#include <stdint.h>

struct fitting_recipe {
    const struct nb_recipe *recipe; /* NULL: none fits, or SOURCE cannot be quantized */
    bool needs_importance;          /* it is refused without a matrix, which OPTIONS does not have */
    bool can_quantize;              /* some recipe can be applied */
    uint64_t file_bytes;
    struct memory_fit fit;
};

/*
 * Plans SOURCE with every recipe that does not make it larger, and with what else stands in OPTIONS, and finds the
 * largest file that fits as QUESTION asks: with a GPU, all layers on it. False if out of memory.
 */
bool find_fitting_recipe(const struct nb_source *source, const struct nb_plan_options *options,
                         const struct memory_question *question, struct fitting_recipe *out);

#endif
