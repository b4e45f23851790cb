/*
 * config.json as the classes of transformers see it: the text model of a wrapper under the usual name,
 * and their defaults for what is absent.
 */
#ifndef NB_CONFIG_DEFAULTS_H
#define NB_CONFIG_DEFAULTS_H

#include "formats/base/status.h"

#include <jansson.h>
#include <stdbool.h>

/*
 * Adds to CONFIG a text_config where a wrapper calls it by another name, and to the text model (text_config,
 * or the root if there is none) the entries of config_defaults.def for its model_type that it lacks. An entry
 * that is null is not absent.
 */
enum nb_status nb_config_complete(json_t *config, struct nb_error *err) NB_MUST_CHECK;
/* Whether a class of transformers 4.57.6 reads CONFIG, as far as nibble's families go. */
bool nb_config_has_class(json_t *config);

#endif
