/*
 * A checkpoint folder as it is published: config.json, and the weights in one
 * safetensors file or in shards under an index.
 */
#ifndef NB_CHECKPOINT_H
#define NB_CHECKPOINT_H

#include "formats/base/arena.h"
#include "formats/base/file_in.h"
#include "formats/base/findings.h"
#include "formats/base/status.h"
#include "formats/safetensors/safetensors.h"

#include <jansson.h>

struct nb_checkpoint_tensor {
    struct nb_safetensor info;
    uint32_t file;
};

struct nb_checkpoint {
    struct nb_arena arena;
    const char *folder;
    json_t *config; /* config.json */
    struct nb_file_in *files;
    uint32_t n_files;
    struct nb_checkpoint_tensor *tensors; /* shard by shard, sorted by name within each */
    size_t n_tensors;
    struct nb_findings *findings; /* NULL: the first is an error */
};

/*
 * Opens the folder PATH, or the single file PATH with the config beside it.
 * The shards must be just those the index names, and hold just the tensors it
 * says.
 */
enum nb_status nb_checkpoint_open(struct nb_checkpoint *cp, const char *path, struct nb_error *err) NB_MUST_CHECK;
/*
 * The same for the folder PATH, but whatever can be read past goes into FINDINGS. CONFIG is
 * NULL where it cannot be read, and the descriptor of a shard that cannot be is -1.
 */
enum nb_status nb_checkpoint_examine(struct nb_checkpoint *cp, const char *path, struct nb_findings *findings,
                                     struct nb_error *err) NB_MUST_CHECK;
void nb_checkpoint_close(struct nb_checkpoint *cp);
/* "FOLDER/NAME" in the checkpoint's arena; NULL when memory is out. */
char *nb_checkpoint_path(struct nb_checkpoint *cp, const char *name);
/* The JSON object in FOLDER/NAME; *OBJECT is NULL without an error where there is no such file. */
enum nb_status nb_checkpoint_json(struct nb_checkpoint *cp, const char *name, json_t **object,
                                  struct nb_error *err) NB_MUST_CHECK;

#endif
