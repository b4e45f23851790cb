/* Types that are chosen for each tensor by what they do to this model, or as another file has them. */
#ifndef NB_TYPES_BY_EFFECT_H
#define NB_TYPES_BY_EFFECT_H

#include "formats/base/status.h"
#include "formats/base/watch.h"
#include "formats/models/source.h"
#include "quantize/plan.h"
#include "verify/tokenize/text_file.h"

struct nb_type_search {
    /* What is wanted; one of these is not 0. */
    uint64_t target_size; /* of the file at most, in bytes */
    double target_bpw;    /* bits per weight at most, of all tensors */
    double max_kld;       /* the smallest file that costs so much, in nats a token */
    /* Types that may be chosen; without any the K-quants from q2_K on and q8_0, or simpler ones where rows ask for them;
     * i-quants as well where all these are too large. */
    const enum nb_type *allowed;
    size_t n_allowed;
    const char *effects;        /* a file to keep what was measured in, or to use if it is there; NULL: none */
    const struct nb_text *text; /* to measure effects by; NULL: they cannot be measured */
    uint32_t chunk_tokens;      /* of the text; 0: as nb_calibration_chunk has it */
    const char *output;         /* OUTPUT.measuring is written, and removed again */
    unsigned threads;           /* 0: one per core */
    bool allow_nonfinite;       /* as in nb_pipeline_options */
    struct nb_step_watch watch;
};

struct nb_found_types {
    struct nb_named_type *named; /* by name */
    size_t count;
    const struct nb_recipe *recipe; /* that has the type of most weights; NULL: there is none */
    double kld;                     /* that is expected, in nats a token; 0 for types of another file */
};

/* Whether SEARCH asks for anything. */
bool nb_types_are_wanted(const struct nb_type_search *search);
/*
 * Finds types for the tensors of SOURCE that PLAN would quantize and whose type it leaves open; others, and those that a
 * pass does not use, keep the type that PLAN has. NB_INPUT: no choice reaches what is wanted.
 */
enum nb_status nb_types_by_effect(const struct nb_source *source, const struct nb_plan_options *plan,
                                  const struct nb_type_search *search, struct nb_found_types *found,
                                  struct nb_error *err) NB_MUST_CHECK;
/* The types that the tensors of the GGUF file PATH have. */
enum nb_status nb_types_like(const char *path, struct nb_found_types *found, struct nb_error *err) NB_MUST_CHECK;
/* Makes PLAN take the types, and the recipe if there is one. FOUND must outlive it. */
void nb_types_use(const struct nb_found_types *found, struct nb_plan_options *plan);
void nb_types_free(struct nb_found_types *found);

#endif
