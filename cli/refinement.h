/* 'nibble quantize --refine': quantizes, then refines what it wrote by what flows through the model. */
#ifndef NB_REFINEMENT_H
#define NB_REFINEMENT_H

#include "calib/refine_model.h"
#include "cli/cli.h"
#include "cli/quantize_options.h"
#include "formats/base/status.h"
#include "formats/models/source.h"

/* Refuses a folder of --scratch where no file can be made, before there is work that would be lost. */
enum nb_status refinement_check(const struct quantize_options *options, struct nb_error *err) NB_MUST_CHECK;
/* Adds the keys to OPTIONS that tell how the file was made. */
enum nb_status refinement_keys(struct quantize_options *options, struct nb_error *err) NB_MUST_CHECK;
/* nb_refine_model with what OPTIONS say, and progress on the terminal. */
enum nb_status refinement_run(const struct quantize_options *options, const struct nb_source *source,
                              const struct nb_refine_target *target, struct nb_refine_summary *summary,
                              struct nb_error *err) NB_MUST_CHECK;
/* Adds what was refined to OBJECT, or prints it; nothing if there is nothing. */
void refinement_json(json_t *object, const struct nb_refine_summary *summary);
void refinement_print(const struct nb_refine_summary *summary);

#endif
