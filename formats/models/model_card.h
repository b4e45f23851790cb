/* General metadata of a checkpoint: names, authors, licence, sampling defaults. */
#ifndef NB_MODEL_CARD_H
#define NB_MODEL_CARD_H

#include "formats/base/status.h"
#include "formats/gguf/metadata.h"
#include "formats/models/model_name.h"
#include "formats/safetensors/checkpoint.h"

/*
 * The front matter of FOLDER/README.md (YAML between two lines of "---") as a
 * JSON object; *CARD is NULL if there is none or it is not a map. Invalid YAML
 * is not an error: a model card is written for people.
 */
enum nb_status nb_model_card_read(struct nb_checkpoint *cp, json_t **card, struct nb_error *err) NB_MUST_CHECK;

/*
 * The real name of FOLDER, also if that is "." or "..", or "OWNER/NAME" of a folder in the hub's cache; cut to SIZE bytes.
 */
enum nb_status nb_model_folder_name(const char *folder, char *name, size_t size, struct nb_error *err) NB_MUST_CHECK;

/*
 * Sets the general.* keys that the reference converter writes, from the same
 * places in the same order: generation_config.json, the model card, the parts
 * of the model's name.
 */
enum nb_status nb_general_metadata(struct nb_checkpoint *cp, const struct nb_parameters *parameters,
                                   struct nb_metadata *meta, struct nb_error *err) NB_MUST_CHECK;

#endif
