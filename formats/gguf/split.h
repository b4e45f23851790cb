/*
 * One GGUF file as several, and back, as llama.cpp's gguf-split cuts them: the first part has
 * the metadata, every part says which it is, and no tensor is cut.
 */
#ifndef NB_GGUF_SPLIT_H
#define NB_GGUF_SPLIT_H

#include "formats/base/status.h"
#include "formats/elements/tensor.h"
#include "formats/gguf/metadata.h"
#include "formats/gguf/split_name.h"
#include "formats/base/file_in.h"

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
};

struct nb_split_options {
    uint64_t max_tensors; /* in a part; 0: any number */
    uint64_t max_bytes;   /* of the tensors of a part, padded; 0: any. A larger tensor is a part of its own */
    bool empty_first;     /* no tensors in the first part */
};

struct nb_split_part {
    size_t first, count; /* tensors of the set */
    uint64_t bytes;      /* of the file */
};

struct nb_split {
    struct nb_split_part *parts;
    uint32_t count;
};

/* How SET would be split. */
enum nb_status nb_split_plan(struct nb_split *split, const struct nb_gguf_set *set,
                             const struct nb_split_options *options, struct nb_error *err) NB_MUST_CHECK;
void nb_split_free(struct nb_split *split);
/*
 * Writes the parts as "PREFIX-00001-of-...". All of them or, after an error, none. Existing
 * files are refused without REPLACE, and the files of SET always.
 */
enum nb_status nb_split_write(const struct nb_split *split, const struct nb_gguf_set *set, const char *prefix,
                              bool replace, struct nb_error *err) NB_MUST_CHECK;
/*
 * Writes all of SET as one file NAME, without the keys of a set. The files of SET are
 * refused as NAME, REPLACE or not.
 */
enum nb_status nb_split_merge(const struct nb_gguf_set *set, const char *name, bool replace, struct nb_error *err)
    NB_MUST_CHECK;

#endif
