/*
 * A checkpoint folder in Hugging Face's layout: config.json, and the weights in
 * one safetensors file or in shards with an index. Also in Mistral's own, which has
 * params.json and consolidated.safetensors, if there are no weights in the other.
 */
#ifndef NB_CHECKPOINT_H
#define NB_CHECKPOINT_H

#include "formats/base/arena.h"
#include "formats/base/file_in.h"
#include "formats/base/findings.h"
#include "formats/base/status.h"
#include "formats/safetensors/safetensors.h"

#include <jansson.h>
#include <stdbool.h>

struct nb_checkpoint_tensor {
    struct nb_safetensor info;
    uint32_t file;
};

/* A file that is not on disk, of a checkpoint that is made of something else. */
struct nb_made_file {
    const char *name;
    char *bytes; /* from malloc, and ended by a NUL */
    size_t size; /* without it */
};
#define NB_MADE_FILES 8

struct nb_checkpoint {
    struct nb_arena arena;
    const char *folder;
    const struct nb_layout *layout;
    json_t *config; /* config.json, or params.json with its model class */
    struct nb_file_in *files;
    uint32_t n_files;
    struct nb_checkpoint_tensor *tensors; /* shard by shard, sorted by name within each */
    size_t n_tensors;
    bool index_is_stale;                     /* the index names shards that are not here, and model.safetensors is */
    bool is_mlx;                             /* MLX's tools wrote it */
    bool follow_links;                       /* also those that lead out of the folder */
    struct nb_findings *findings;            /* NULL: the first finding is an error */
    struct nb_made_file made[NB_MADE_FILES]; /* all of its files, if there are any, instead of those in FOLDER */
    size_t n_made;
};

/*
 * Opens the folder PATH, or the single file PATH with config.json in the same
 * folder. Shards and their tensors must be exactly those of the index; an index
 * of shards that are all gone is passed over if there is a model.safetensors. Links
 * that lead out of the folder are refused: it may come from a stranger, and what they lead to would be
 * read into the output. Allowed are those of Hugging Face's cache, from snapshots/ to blobs/, and with
 * FOLLOW_LINKS all.
 */
enum nb_status nb_checkpoint_open(struct nb_checkpoint *cp, const char *path, bool follow_links,
                                  struct nb_error *err) NB_MUST_CHECK;
/*
 * The same for the folder PATH, but faults are recorded in FINDINGS and reading continues where
 * possible. CONFIG is NULL if it cannot be read; an unreadable shard has the descriptor -1.
 */
enum nb_status nb_checkpoint_examine(struct nb_checkpoint *cp, const char *path, bool follow_links,
                                     struct nb_findings *findings, struct nb_error *err) NB_MUST_CHECK;
void nb_checkpoint_close(struct nb_checkpoint *cp);
/* The name of the file that CONFIG is from. */
const char *nb_checkpoint_config_name(const struct nb_checkpoint *cp);
/* "FOLDER/NAME" in the checkpoint's arena; NULL if out of memory. */
char *nb_checkpoint_path(struct nb_checkpoint *cp, const char *name);
/* Loads the JSON object in FOLDER/NAME; if there is no such file, *OBJECT is NULL and the status NB_OK. */
enum nb_status nb_checkpoint_json(struct nb_checkpoint *cp, const char *name, json_t **object,
                                  struct nb_error *err) NB_MUST_CHECK;

#endif
