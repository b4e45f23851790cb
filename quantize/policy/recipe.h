/*
 * Recipes choose the type of each tensor. Names, file type numbers and rules
 * are those of llama-quantize (llama.cpp v0.5.0, src/llama-quant.cpp).
 */
#ifndef NB_RECIPE_H
#define NB_RECIPE_H

#include "formats/base/regex.h"
#include "formats/base/status.h"
#include "formats/gguf/metadata.h"
#include "formats/models/view.h"

/* The values of general.file_type. */
enum nb_file_type {
    NB_FT_F32 = 0,
    NB_FT_F16 = 1,
    NB_FT_Q4_0 = 2,
    NB_FT_Q4_1 = 3,
    NB_FT_Q8_0 = 7,
    NB_FT_Q5_0 = 8,
    NB_FT_Q5_1 = 9,
    NB_FT_Q2_K = 10,
    NB_FT_Q3_K_S = 11,
    NB_FT_Q3_K_M = 12,
    NB_FT_Q3_K_L = 13,
    NB_FT_Q4_K_S = 14,
    NB_FT_Q4_K_M = 15,
    NB_FT_Q5_K_S = 16,
    NB_FT_Q5_K_M = 17,
    NB_FT_Q6_K = 18,
    NB_FT_IQ2_XXS = 19,
    NB_FT_IQ2_XS = 20,
    NB_FT_Q2_K_S = 21,
    NB_FT_IQ3_XS = 22,
    NB_FT_IQ3_XXS = 23,
    NB_FT_IQ1_S = 24,
    NB_FT_IQ4_NL = 25,
    NB_FT_IQ3_S = 26,
    NB_FT_IQ3_M = 27,
    NB_FT_IQ2_S = 28,
    NB_FT_IQ2_M = 29,
    NB_FT_IQ4_XS = 30,
    NB_FT_IQ1_M = 31,
    NB_FT_BF16 = 32,
    NB_FT_TQ1_0 = 36,
    NB_FT_TQ2_0 = 37,
    NB_FT_MXFP4_MOE = 38,
    NB_FT_NVFP4 = 39,
    NB_FT_Q1_0 = 40,
    NB_FT_Q2_0 = 41,
    NB_FT_GUESSED = 1024, /* flag: the value was guessed from the tensors */
    NB_FT_COPY = 0xFFFF,  /* never written: the source's value is kept */
};

struct nb_recipe {
    const char *name; /* "Q4_K_M" */
    enum nb_file_type file_type;
    enum nb_type base;       /* the type of most tensors; NB_TYPE_NONE for COPY */
    const char *description; /* shown to users */
};

/* Names that stand for others, as "Q4_K" for "Q4_K_M"; ends with NULL. */
extern const char *const nb_recipe_aliases[][2];
/* Looks up a name or an alias in any case. NULL if there is none. */
const struct nb_recipe *nb_recipe_by_name(const char *name);
/* All recipes, smallest file first; COUNT receives their number. */
const struct nb_recipe *nb_recipes(size_t *count);
/* The recipe of a general.file_type value, or its name; NULL if it has none. */
const struct nb_recipe *nb_recipe_by_file_type(uint64_t file_type);
const char *nb_file_type_name(uint64_t file_type);

/* The user's type for tensors with matching names: --tensor-type REGEX=TYPE. */
struct nb_type_override {
    const char *pattern;
    struct nb_regex *regex;
    enum nb_type type;
};

/* The type of the tensor of this name. */
struct nb_named_type {
    const char *name;
    enum nb_type type;
};

struct nb_recipe_options {
    const struct nb_recipe *recipe;
    bool pure;           /* ignore the rules: the base type for all tensors */
    bool leave_output;   /* keep the type of output.weight */
    bool no_fallback;    /* an error if a row does not divide into blocks */
    bool requantize_all; /* also what a checkpoint has in a type of GGUF already, which stays so otherwise */
    bool converts;       /* a checkpoint to floats, as converters do it; set by nb_plan_make */
    bool has_importance; /* some rules depend on it; set by nb_plan_make */
    enum nb_type output_type, embedding_type; /* NB_TYPE_NONE: chosen by the rules */
    const struct nb_type_override *overrides; /* the first match is used */
    size_t n_overrides;
    const struct nb_named_type
        *named; /* types that were chosen for each tensor, sorted by name; overrides come before */
    size_t n_named;
};

enum nb_reason {
    NB_WHY_KEPT,     /* never quantized: vectors, norms, routers... */
    NB_WHY_BASE,     /* the recipe's base type */
    NB_WHY_RULE,     /* another type by the recipe's rules */
    NB_WHY_USER,     /* an option of the user */
    NB_WHY_FALLBACK, /* the intended type does not fit the row length */
};

struct nb_choice {
    enum nb_type type;
    enum nb_type meant; /* the intended type; differs only after a fallback */
    enum nb_reason why;
};

/* Facts about a model that the rules use, from its metadata. */
struct nb_model_facts {
    const char *arch;
    uint64_t layers, heads, kv_heads, experts;
};
struct nb_model_facts nb_model_facts(const struct nb_metadata *meta);

/*
 * Chooses the types of COUNT tensors, which must be sorted by nb_layer_order,
 * as some rules depend on the number of tensors so far. Errors: an override
 * that matches no tensor or whose type does not fit, and with no_fallback any
 * fallback.
 */
enum nb_status nb_recipe_choose(const struct nb_recipe_options *options, const struct nb_model_facts *facts,
                                const struct nb_view *const *tensors, size_t count, struct nb_choice *choices,
                                struct nb_error *err) NB_MUST_CHECK;

/* For qsort: tensors outside the layers first, then by layer, then by name. */
int nb_layer_order(const void *a, const void *b);

#endif
