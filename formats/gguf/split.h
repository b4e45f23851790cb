/*
 * Splits a GGUF file into parts and merges them, like llama.cpp's gguf-split: the first part has the
 * metadata, each part has its number and the total, and no tensor is divided.
 */
#ifndef NB_GGUF_SPLIT_H
#define NB_GGUF_SPLIT_H

#include "formats/base/file_in.h"
#include "formats/base/status.h"
#include "formats/base/watch.h"
#include "formats/elements/tensor.h"
#include "formats/gguf/metadata.h"
#include "formats/gguf/split_name.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A GGUF file, or the files of a split set, to be split or merged. */
struct nb_gguf_set {
    const char *path; /* for messages */
    const struct nb_metadata *meta;
    const struct nb_tensor *tensors;
    size_t n_tensors;
    const struct nb_file_in *files;
    uint32_t n_files;
    const struct nb_watch *watch; /* of what writes; may be NULL */
};

struct nb_split_options {
    uint64_t max_tensors; /* per part; 0: no limit */
    uint64_t max_bytes;   /* of padded tensors per part; 0: no limit. A larger tensor gets its own part */
    bool empty_first;     /* no tensors in the first part */
};

struct nb_split_part {
    size_t first, count; /* tensors of the set */
    uint64_t bytes;      /* size of the file */
};

struct nb_split {
    struct nb_split_part *parts;
    uint32_t count;
};

/* Computes how SET is split. */
enum nb_status nb_split_plan(struct nb_split *split, const struct nb_gguf_set *set,
                             const struct nb_split_options *options, struct nb_error *err) NB_MUST_CHECK;
void nb_split_free(struct nb_split *split);
/*
 * Writes the parts as "PREFIX-00001-of-...": all of them or, after an error, none; those that they replace are there until
 * all are written. An existing file is an error without REPLACE, a file of SET always.
 */
enum nb_status nb_split_write(const struct nb_split *split, const struct nb_gguf_set *set, const char *prefix,
                              bool replace, struct nb_error *err) NB_MUST_CHECK;
/*
 * Writes all of SET to one file NAME, without the split keys. NAME must not be a file of SET, even
 * with REPLACE.
 */
enum nb_status nb_split_merge(const struct nb_gguf_set *set, const char *name, bool replace,
                              struct nb_error *err) NB_MUST_CHECK;

#endif
