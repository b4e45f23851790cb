/* A template while it is run: what its functions, filters and tests need. */
#ifndef NB_TEMPLATE_RUN_H
#define NB_TEMPLATE_RUN_H

#include "verify/chat/template.h"

#include <stdbool.h>

#define NB_TEMPLATE_ARGUMENTS 8u

/* Arguments of a call; a value that is not defined is NULL, as everywhere here. */
struct nb_template_arguments {
    json_t *value[NB_TEMPLATE_ARGUMENTS];
    const char *name[NB_TEMPLATE_ARGUMENTS]; /* NULL: by place */
    size_t count;
};

struct nb_template_run {
    json_t *made;   /* an array that owns all values that were made */
    json_t *frames; /* an array of objects: the names that are set, the innermost last */
    json_t *macros; /* an object: numbers of them */
    const struct nb_template_node **macro;
    size_t n_macros;
    char *out;
    size_t length, room;
    size_t steps, bytes; /* that were taken, and that were made */
    unsigned depth;
    enum { NB_GO_ON, NB_BREAK, NB_CONTINUE } jump;
    enum nb_status status;
    struct nb_error *err;
};

/* Ends the run with this sentence; returns NULL. Only the first one counts. */
json_t *nb_template_fail(struct nb_template_run *r, enum nb_status status, const char *format, ...) NB_PRINTF(3, 4);
/* VALUE, which is new, and released when the run ends; NULL, and the end of the run, if that is NULL. */
json_t *nb_template_made(struct nb_template_run *r, json_t *value);
/* Adds ITEM, or none where that is not defined, to LIST. */
void nb_template_append(struct nb_template_run *r, json_t *list, json_t *item);
/*
 * Counts the parts of VALUE as steps, before something goes through all of them; false, and the end of the run, if they are
 * too many, or nested so deeply that functions that call themselves would not come back.
 */
bool nb_template_walk(struct nb_template_run *r, const json_t *value);
bool nb_template_holds(const json_t *value);
/* VALUE as it is printed; "" if it is not defined. Lists and objects are refused. */
const char *nb_template_text(struct nb_template_run *r, const json_t *value, size_t *length);

/* VALUE | NAME(ARGUMENTS) */
json_t *nb_template_filter(struct nb_template_run *r, const char *name, json_t *value,
                           const struct nb_template_arguments *arguments);
/* VALUE is NAME(ARGUMENTS) */
bool nb_template_test(struct nb_template_run *r, const char *name, json_t *value,
                      const struct nb_template_arguments *arguments);
/* VALUE.NAME(ARGUMENTS) */
json_t *nb_template_method(struct nb_template_run *r, const char *name, json_t *value,
                           const struct nb_template_arguments *arguments);
/* NAME(ARGUMENTS), a function that every template has. */
bool nb_template_is_function(const char *name);
json_t *nb_template_function(struct nb_template_run *r, const char *name,
                             const struct nb_template_arguments *arguments);

#endif
