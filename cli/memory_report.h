/* What nibble inspect and nibble quantize --dry-run say of the memory that a model takes to run. */
#ifndef NB_MEMORY_REPORT_H
#define NB_MEMORY_REPORT_H

#include "cli/command_line.h"
#include "cli/memory_fit.h"
#include "formats/models/source.h"
#include "quantize/plan.h"

#include <jansson.h>

/* What --ctx, --cache-type, --ram and --vram ask. Without --ram: this machine's own. */
struct memory_question memory_question(const struct cli_line *line);

/* The model that is spoken of. */
struct memory_subject {
    const struct nb_source *source;
    const struct nb_plan *plan;            /* if not NULL: not SOURCE itself, but what it would become */
    const struct nb_plan_options *options; /* for recipes that are tried; NULL: the defaults */
};

/*
 * Prints whether the model fits, the largest recipe that does, and a table over contexts and types of the cache.
 * Returns an exit code.
 */
int print_memory(const struct memory_subject *subject, const struct memory_question *question);
/* The same as an object; NULL if out of memory. */
json_t *memory_json(const struct memory_subject *subject, const struct memory_question *question);

#endif
