/* What nibble quantize makes: a GGUF file. */
#ifndef NB_QUANTIZE_GGUF_H
#define NB_QUANTIZE_GGUF_H

#include "calib/refine.h"
#include "cli/cli.h"
#include "cli/quantize_options.h"
#include "formats/models/source.h"
#include "quantize/plan.h"

#include <stdio.h>

struct gguf_quantization {
    const struct quantize_options *options;
    struct nb_plan_options how; /* by its own recipe */
    const struct nb_source *source;
    struct nb_plan plan;
    const char *output;
    char name[240]; /* if it is not given; with ".partial" added still short enough for every file system */
    struct nb_refine_summary refined;
};

/* Plans OUTPUT, and warns. Returns an exit code; after NB_OK nb_plan_free is due. */
int quantize_gguf_begin(struct gguf_quantization *quantization, const struct quantize_options *options,
                        const struct quantize_output *output, const struct nb_source *source);
/* For struct planned_output, with a struct gguf_quantization as context. */
void quantize_gguf_print(void *context, FILE *f);
int quantize_gguf_summary(void *context, double seconds);
json_t *quantize_gguf_object(void *context);

#endif
