/*
 * The plan of an MLX folder: every array with its format and place, the shards with their headers, and the files
 * beside them. As nb_plan it is computed before any weight is read.
 */
#ifndef NB_MLX_PLAN_H
#define NB_MLX_PLAN_H

#include "formats/imatrix/imatrix.h"
#include "formats/models/mlx_layout.h"
#include "quantize/folder_plan.h"
#include "quantize/pipeline.h"
#include "quantize/policy/mlx_recipe.h"

struct nb_mlx_plan_options {
    struct nb_mlx_recipe_options recipe;
    /* The type of what is not quantized, and of scales and biases: F32, F16, BF16; NB_TYPE_NONE: as config.json says. */
    enum nb_type dtype;
    const struct nb_imatrix *imatrix; /* or NULL; must outlive the plan */
};

struct nb_mlx_plan_tensor {
    const struct nb_mlx_tensor *source;
    struct nb_mlx_choice choice;
    enum nb_type type;       /* of the elements, or of scales and biases */
    const float *importance; /* as in nb_plan_tensor */
    bool lacks_importance;
    uint64_t bytes; /* of all its arrays */
};

struct nb_mlx_plan {
    struct nb_mlx_tensors sources;
    struct nb_mlx_plan_tensor *tensors; /* as many as SOURCES has, in its order */
    /* Of each, after it was written: blocks of NVFP4 that are zero though their weights are not. */
    atomic_size_t *lost;
    struct nb_folder_plan folder; /* its outputs: one for each tensor */
    uint64_t source_bytes, parameters;
    size_t n_fallbacks; /* matrices that are not quantized because their rows do not divide into groups */
};

/* Makes the plan of SOURCE, which must outlive it. */
enum nb_status nb_mlx_plan_make(struct nb_mlx_plan *plan, const struct nb_source *source,
                                const struct nb_mlx_plan_options *options, struct nb_error *err) NB_MUST_CHECK;
void nb_mlx_plan_free(struct nb_mlx_plan *plan);
/* The folder NAME as a product, which points into PLAN. */
struct nb_pipeline_product nb_mlx_plan_product(const struct nb_mlx_plan *plan, const char *name);
/* Writes the folder NAME. */
enum nb_status nb_mlx_plan_write(const struct nb_mlx_plan *plan, const char *name,
                                 const struct nb_pipeline_options *options, struct nb_error *err) NB_MUST_CHECK;
/* Average bits per weight of all arrays. */
double nb_mlx_plan_bpw(const struct nb_mlx_plan *plan);

#endif
