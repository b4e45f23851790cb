/* Private to the files of this folder: declarations that they share. */
#ifndef NB_CHECK_PARTS_H
#define NB_CHECK_PARTS_H

#include "formats/base/file_in.h"
#include "formats/elements/tensor.h"
#include "formats/gguf/metadata.h"
#include "formats/models/source.h"
#include "verify/check/check.h"

/* The state of a check. */
struct nb_checking {
    const struct nb_check_options *options;
    struct nb_findings *findings;
    struct nb_check_result *result;
    struct nb_error *err;
};

#define CHECK_FOUND(c, code, place, ...) nb_found((c)->findings, (c)->err, code, place, __VA_ARGS__)

/* The checks by kind of file; each checks up to the requested level. */
enum nb_status nb_check_gguf(struct nb_checking *c, const char *path) NB_MUST_CHECK;
enum nb_status nb_check_safetensors(struct nb_checking *c, const char *path) NB_MUST_CHECK;
enum nb_status nb_check_folder(struct nb_checking *c, const char *path) NB_MUST_CHECK;
enum nb_status nb_check_imatrix(struct nb_checking *c, const char *path) NB_MUST_CHECK;

/*
 * Handles the status of a reader. NB_INPUT with new findings: these give the reason. NB_INPUT without:
 * the file was truncated while it was read, which is recorded. BEFORE is the earlier number of findings.
 */
enum nb_status nb_check_after(struct nb_checking *c, const char *path, uint64_t before,
                              enum nb_status status) NB_MUST_CHECK;

/* Checks for NaN, infinity, invalid codes and constant tensors. TENSORS of NB_TYPE_NONE are skipped. */
enum nb_status nb_check_content(struct nb_checking *c, const struct nb_file_in *files, const struct nb_tensor *tensors,
                                size_t count) NB_MUST_CHECK;
/* Checks keys, tensors and shapes against the architecture. FILE is the file with the metadata. */
enum nb_status nb_check_model(struct nb_checking *c, const char *file, const struct nb_metadata *meta,
                              const struct nb_tensor *tensors, size_t count) NB_MUST_CHECK;
/* That the keys of tokenizer.ggml.* which llama.cpp's loader needs are there, with values that it knows. */
enum nb_status nb_check_vocabulary_keys(struct nb_checking *c, const char *file,
                                        const struct nb_metadata *meta) NB_MUST_CHECK;
/* tokenizer.ggml.*: these keys, and all others. */
enum nb_status nb_check_tokens(struct nb_checking *c, const char *file, const struct nb_metadata *meta) NB_MUST_CHECK;
/* tokenizer.chat_template and its variants. */
enum nb_status nb_check_templates(struct nb_checking *c, const char *file,
                                  const struct nb_metadata *meta) NB_MUST_CHECK;

#endif
