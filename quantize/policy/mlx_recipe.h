/* Recipes of MLX: which module gets which format. Names and rules are those of mlx-lm 0.32.2. */
#ifndef NB_MLX_RECIPE_H
#define NB_MLX_RECIPE_H

#include "formats/base/regex.h"
#include "formats/base/status.h"
#include "formats/mlx/format.h"
#include "formats/models/mlx_layout.h"
#include "quantize/policy/recipe.h"

struct nb_mlx_recipe {
    const char *name; /* "4bit" */
    struct nb_mlx_format
        format;         /* of all modules, or as config.json has it for those without an entry; BITS 0: floats */
    uint8_t low, high;  /* bits of two kinds of modules; 0: all have those of FORMAT */
    enum nb_type dtype; /* of recipes that only convert; NB_TYPE_NONE for others */
    const char *description;
};

/* Looks up a name in any case. NULL if there is none. */
const struct nb_mlx_recipe *nb_mlx_recipe_by_name(const char *name);
const struct nb_mlx_recipe *nb_mlx_recipes(size_t *count);

/* The user's recipe, none of two kinds, for modules with matching names: --tensor-type REGEX=TYPE. */
struct nb_mlx_override {
    const char *pattern;
    struct nb_regex *regex;
    const struct nb_mlx_recipe *recipe;
};

struct nb_mlx_recipe_options {
    const struct nb_mlx_recipe *recipe;
    uint16_t group;                          /* of affine formats; 0: 64 */
    bool no_fallback;                        /* an error if the rows of a matrix do not divide into groups */
    const struct nb_mlx_override *overrides; /* the first match is used */
    size_t n_overrides;
};

struct nb_mlx_choice {
    struct nb_mlx_format format; /* BITS 0: not quantized */
    enum nb_reason why;          /* NB_WHY_FALLBACK: the rows do not divide into groups, so it is not quantized */
    bool of_class;               /* it is the choice of the model's class */
};

/* The format of modules that have no entry of their own in config.json. */
struct nb_mlx_format nb_mlx_base_format(const struct nb_mlx_recipe_options *options);
/*
 * Chooses the format of each array of TENSORS. Errors: an override that matches no matrix or whose groups do not
 * divide its rows; a group that the recipe does not have; with no_fallback any fallback.
 */
enum nb_status nb_mlx_choose(const struct nb_mlx_recipe_options *options, const struct nb_mlx_tensors *tensors,
                             struct nb_mlx_choice *choices, struct nb_error *err) NB_MUST_CHECK;

#endif
