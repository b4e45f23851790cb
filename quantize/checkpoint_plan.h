/*
 * The plan of a checkpoint folder in Hugging Face's layout whose weights are floats: the way back from weights that are
 * quantized, for training and for tools that read nothing else. As nb_plan it is computed before any weight is read.
 */
#ifndef NB_CHECKPOINT_PLAN_H
#define NB_CHECKPOINT_PLAN_H

#include "formats/models/source.h"
#include "quantize/folder_plan.h"

struct nb_checkpoint_plan_options {
    enum nb_type dtype; /* of all weights: F32, F16 or BF16 */
};

struct nb_checkpoint_plan {
    struct nb_view *views;        /* the arrays, under the names of the checkpoint, in its order */
    struct nb_folder_plan folder; /* its outputs: one for each view */
    uint64_t source_bytes, parameters;
    enum nb_type dtype;
    size_t n_unpacked; /* weights that were quantized */
    bool has_tokenizer;
};

/*
 * Makes the plan of SOURCE, a checkpoint folder, which must outlive it. Arrays of integers, which are no weights, stay as
 * they are. Errors: a folder in Mistral's own layout; packed weights that only their family can read.
 */
enum nb_status nb_checkpoint_plan_make(struct nb_checkpoint_plan *plan, const struct nb_source *source,
                                       const struct nb_checkpoint_plan_options *options,
                                       struct nb_error *err) NB_MUST_CHECK;
void nb_checkpoint_plan_free(struct nb_checkpoint_plan *plan);
/* Writes the folder NAME, which must not exist. */
enum nb_status nb_checkpoint_plan_write(const struct nb_checkpoint_plan *plan, const char *name,
                                        const struct nb_pipeline_options *options, struct nb_error *err) NB_MUST_CHECK;

#endif
