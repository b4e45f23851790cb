/* What the commands that write models have in common: a plan is shown, or it is carried out. */
#ifndef NB_PLANNED_H
#define NB_PLANNED_H

#include "cli/cli.h"
#include "formats/base/status.h"
#include "quantize/pipeline.h"

#include <stdbool.h>
#include <stdio.h>

/* Writes what CONTEXT, of any kind, says. */
typedef enum nb_status planned_writer(const void *context, const struct nb_pipeline_options *options,
                                      struct nb_error *err);

/* Calls WRITE with progress on the terminal and signals caught; of OPTIONS what concerns these is replaced. */
enum nb_status planned_write(planned_writer *write, const void *context, const struct nb_pipeline_options *options,
                             struct nb_error *err) NB_MUST_CHECK;

/* The end of a line of a summary: how long it took to make something of BYTES, or that it was a dry run. */
void planned_print_time(bool dry_run, double seconds, uint64_t bytes);

struct planned_output {
    void *context; /* of its functions */
    void (*print_tensors)(void *context, FILE *f);
    int (*print_summary)(void *context, double seconds); /* 0: it was made beside others; returns an exit code */
    json_t *(*object)(void *context);                    /* of --json */
};

struct planned {
    void *context; /* of WRITE */
    bool dry_run, json;
    enum nb_status (*write)(void *context, struct nb_error *err); /* all outputs */
    const struct planned_output *outputs;
    size_t n_outputs;
};

/*
 * Writes, unless it is a dry run, and then prints the object, or with -v or in a dry run all tensors, and the summary, of
 * each output; the objects of several are the list "outputs" of one. Returns an exit code.
 */
int planned_run(const struct planned *planned);

#endif
