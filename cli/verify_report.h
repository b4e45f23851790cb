/* The results of a verify run, as a table and as JSON. */
#ifndef NB_VERIFY_REPORT_H
#define NB_VERIFY_REPORT_H

#include "calib/effects_file.h"
#include "cli/command_line.h"
#include "cli/verify_tasks.h"
#include "cli/worst_tokens.h"
#include "formats/models/source.h"
#include "verify/drift/drift.h"
#include "verify/drift/drift_stats.h"
#include "verify/drift/weight_error.h"
#include "verify/tokenize/agreement.h"

#include <jansson.h>

struct verify_report {
    const struct nb_source *source; /* of each model; the first is the base */
    size_t models;
    struct nb_drift_stats *stats; /* of each */
    struct nb_drift drift;
    struct nb_weight_error **errors;       /* of each model but the base; NULL: not measured */
    bool list_tensors;                     /* in the table too */
    const struct nb_effects_file *effects; /* of the types of all tensors; NULL: not known */
    const char *text;                      /* the name of the file */
    /* Of each: what other tokens its tokenizer makes of the text than the base's, or "" */
    char (*other_tokens)[NB_DIFFERENCE_TEXT];
    const struct measured_text *measured; /* its tokens */
    bool list_worst;                      /* tokens, in the table too */
    struct verify_tasks tasks;
    const struct cli_line *line; /* the command */
    unsigned threads;
    const struct nb_saved_base *saved; /* the base; NULL: the first source */
    bool rounded;                      /* activations of all models but the base */
    double seconds;
};

/* Whether SOURCE says that its importance matrix was made with a text that has the name of TEXT. */
bool verify_was_calibrated_on(const struct nb_source *source, const char *text);

int verify_report_table(const struct verify_report *report);
int verify_report_json(const struct verify_report *report);
/* What that prints. */
json_t *verify_report_object(const struct verify_report *report);

#endif
