/*
 * The cache of Hugging Face's hub on this machine. What programs that load models have fetched is there as
 * models--OWNER--NAME, with a snapshot for each commit, and the one that "main" names. Nothing is ever fetched here.
 */
#ifndef NB_HUB_H
#define NB_HUB_H

#include "formats/base/status.h"

#include <stdbool.h>
#include <stddef.h>

/*
 * The folder of the cache, from malloc: HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME/hub, XDG_CACHE_HOME/huggingface/hub or
 * HOME/.cache/huggingface/hub, as huggingface_hub has it. NB_USAGE: not even HOME is set.
 */
enum nb_status nb_hub_cache(char **folder, struct nb_error *err) NB_MUST_CHECK;
/* Whether NAME can be a model's there: "OWNER/NAME", of letters, digits, '_', and '-' and '.' inside. */
bool nb_is_hub_name(const char *name);
/*
 * What of the model NAME is in the cache, from malloc: the snapshot that its refs/main names, or, where that has no
 * config.json and a single GGUF file, that file. NB_NOT_FOUND: there is none; NB_USAGE: there are several GGUF files.
 */
enum nb_status nb_hub_find(const char *name, char **path, struct nb_error *err) NB_MUST_CHECK;
/*
 * In the cache a model's folder is ".../models--OWNER--NAME/snapshots/COMMIT", where REAL ends. Writes "OWNER/NAME" into ID, of
 * SIZE bytes; false if REAL is not such a folder.
 */
bool nb_hub_name(const char *real, char *id, size_t size);

#endif
