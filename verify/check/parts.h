/* Private to the files that check: what they hand one another. */
#ifndef NB_CHECK_PARTS_H
#define NB_CHECK_PARTS_H

#include "formats/base/file_in.h"
#include "formats/elements/tensor.h"
#include "formats/gguf/metadata.h"
#include "formats/models/source.h"
#include "verify/check/check.h"

/* A check that is under way. */
struct nb_checking {
    const struct nb_check_options *options;
    struct nb_findings *findings;
    struct nb_check_result *result;
    struct nb_error *err;
};

#define CHECK_FOUND(c, code, place, ...) nb_found((c)->findings, (c)->err, code, place, __VA_ARGS__)

/* The kinds of file; each checks up to the level that is wanted. */
enum nb_status nb_check_gguf(struct nb_checking *c, const char *path) NB_MUST_CHECK;
enum nb_status nb_check_safetensors(struct nb_checking *c, const char *path) NB_MUST_CHECK;
enum nb_status nb_check_folder(struct nb_checking *c, const char *path) NB_MUST_CHECK;
enum nb_status nb_check_imatrix(struct nb_checking *c, const char *path) NB_MUST_CHECK;

/*
 * NB_INPUT of a reader that had findings means that they say it; with none of them, that the
 * file was cut short meanwhile, which becomes one. COUNT is the number of findings before.
 */
enum nb_status nb_check_after(struct nb_checking *c, const char *path, uint64_t before, enum nb_status status)
    NB_MUST_CHECK;

/* NaN, infinity, codes that do not exist, tensors of one value. TENSORS of NB_TYPE_NONE are passed by. */
enum nb_status nb_check_content(struct nb_checking *c, const struct nb_file_in *files, const struct nb_tensor *tensors,
                                size_t count) NB_MUST_CHECK;
/* Keys, tensors and shapes of the architecture. FILE is the one with the metadata. */
enum nb_status nb_check_model(struct nb_checking *c, const char *file, const struct nb_metadata *meta,
                              const struct nb_tensor *tensors, size_t count) NB_MUST_CHECK;
/* tokenizer.ggml.* */
enum nb_status nb_check_tokens(struct nb_checking *c, const char *file, const struct nb_metadata *meta) NB_MUST_CHECK;
/* tokenizer.chat_template and its variants. */
enum nb_status nb_check_templates(struct nb_checking *c, const char *file, const struct nb_metadata *meta)
    NB_MUST_CHECK;

#endif
