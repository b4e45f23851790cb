/* What a checkpoint says about itself: names, authors, licence, sampling defaults. */
#ifndef NB_MODEL_CARD_H
#define NB_MODEL_CARD_H

#include "formats/base/status.h"
#include "formats/gguf/metadata.h"
#include "formats/safetensors/checkpoint.h"

/*
 * The front matter of FOLDER/README.md (YAML between two lines of "---") as a
 * JSON object; *CARD is NULL where there is none, or it is not a map. YAML that
 * cannot be read is no error: a model card is prose first.
 */
enum nb_status nb_model_card_read(struct nb_checkpoint *cp, json_t **card, struct nb_error *err) NB_MUST_CHECK;

/*
 * Sets the general.* keys that the reference converter writes, found as it
 * finds them: generation_config.json, then the model card, then the parts of
 * the model's name. PARAMETERS is the number of elements of all tensors.
 */
enum nb_status nb_general_metadata(struct nb_checkpoint *cp, uint64_t parameters, struct nb_metadata *meta,
                                   struct nb_error *err) NB_MUST_CHECK;

#endif
