/* 'nibble quantize --refine': quantizes, then refines the blocks by what flows through the model. */
#ifndef NB_REFINEMENT_H
#define NB_REFINEMENT_H

#include "calib/refine_model.h"
#include "cli/quantize_options.h"
#include "formats/base/status.h"
#include "formats/models/source.h"
#include "quantize/plan.h"

/* Adds the keys to OPTIONS that tell how the file was made. */
enum nb_status refinement_keys(struct quantize_options *options, struct nb_error *err) NB_MUST_CHECK;
/* Writes the file that PLAN describes, refined, as nb_refine_model does. */
enum nb_status refinement_run(const struct quantize_options *options, const struct nb_source *source,
                              const struct nb_plan *plan, struct nb_refinement *refinement,
                              struct nb_error *err) NB_MUST_CHECK;

#endif
