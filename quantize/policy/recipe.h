/*
 * Recipes: which tensor becomes which type. The names, file type numbers and
 * rules are those of llama-quantize (llama.cpp v0.5.0, src/llama-quant.cpp).
 */
#ifndef NB_RECIPE_H
#define NB_RECIPE_H

#include "formats/base/regex.h"
#include "formats/base/status.h"
#include "formats/gguf/metadata.h"
#include "formats/models/view.h"

/* The numbers of general.file_type. */
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
    NB_FT_Q1_0 = 40,
    NB_FT_Q2_0 = 41,
    NB_FT_GUESSED = 1024, /* a bit: the number is a guess by the tensors */
    NB_FT_COPY = 0xFFFF,  /* in no file: what the source says */
};

struct nb_recipe {
    const char *name; /* "Q4_K_M" */
    enum nb_file_type file_type;
    enum nb_type base;       /* what most tensors become; NB_TYPE_NONE for COPY */
    const char *description; /* for people */
};

/* By name, in any case; "Q4_K" is "Q4_K_M". NULL if there is none. */
const struct nb_recipe *nb_recipe_by_name(const char *name);
/* Every recipe, smallest file first; COUNT receives how many. */
const struct nb_recipe *nb_recipes(size_t *count);
/* The name for a number of general.file_type; NULL if it has none. */
const char *nb_file_type_name(uint64_t file_type);

/* A user's word on tensors whose names match: --tensor-type REGEX=TYPE. */
struct nb_type_override {
    const char *pattern;
    struct nb_regex *regex;
    enum nb_type type;
};

struct nb_recipe_options {
    const struct nb_recipe *recipe;
    bool pure;            /* no rules: the base type everywhere */
    bool leave_output;    /* output.weight stays as it is */
    bool no_fallback;     /* refuse where a row does not divide into blocks */
    bool has_importance;  /* some rules ask; a plan sets it by its matrix */
    enum nb_type output_type, embedding_type; /* NB_TYPE_NONE: by the rules */
    const struct nb_type_override *overrides; /* the first that matches counts */
    size_t n_overrides;
};

enum nb_reason {
    NB_WHY_KEPT,     /* never quantized: vectors, norms, routers... */
    NB_WHY_BASE,     /* the recipe's own type */
    NB_WHY_RULE,     /* the recipe's rules give this tensor another one */
    NB_WHY_USER,    /* the user's word */
    NB_WHY_FALLBACK, /* the type that was meant does not fit the row */
};

struct nb_choice {
    enum nb_type type;
    enum nb_type meant; /* before a fallback; otherwise the same */
    enum nb_reason why;
};

/* What the rules ask of a model, from its metadata. */
struct nb_model_facts {
    const char *arch;
    uint64_t layers, heads, kv_heads, experts;
};
struct nb_model_facts nb_model_facts(const struct nb_metadata *meta);

/*
 * Chooses for COUNT tensors, which must stand in the order of nb_layer_order:
 * the rules count as they go. Refused: an override that changes nothing because
 * no tensor matches, or whose type does not fit; and, with no_fallback, any
 * fallback.
 */
enum nb_status nb_recipe_choose(const struct nb_recipe_options *options, const struct nb_model_facts *facts,
                                const struct nb_view *const *tensors, size_t count, struct nb_choice *choices,
                                struct nb_error *err) NB_MUST_CHECK;

/* Compares two tensors: those outside the layers first, then layer by layer, by name within. For qsort. */
int nb_layer_order(const void *a, const void *b);

#endif
