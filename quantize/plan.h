/*
 * A plan is the complete layout of the output, computed before any weight is
 * read: the header, and the type, offset and size of every tensor. It depends
 * only on its inputs. The tensors can then be written in any order.
 */
#ifndef NB_PLAN_H
#define NB_PLAN_H

#include "formats/imatrix/imatrix.h"
#include "formats/models/source.h"
#include "quantize/policy/recipe.h"

/* --override-kv KEY=TYPE:VALUE */
struct nb_kv_override {
    const char *key;
    enum nb_kv_type type; /* U32, I32, U64, I64, F32, BOOL or STRING */
    union {
        uint64_t number; /* integers and BOOL */
        float real;
        const char *text;
    } value;
};

struct nb_plan_options {
    struct nb_recipe_options recipe;
    const struct nb_kv_override *overrides;
    size_t n_overrides;
    bool allow_requantize;
    /*
     * F16, BF16 or NB_TYPE_NONE. Weights are first rounded to this type, so that
     * the result equals that of two steps with an intermediate file of this type.
     */
    enum nb_type via;
    const struct nb_imatrix *imatrix; /* or NULL; must outlive the plan */
    const char *imatrix_path;         /* only the file name is written to the metadata */
    const uint64_t *prune;            /* layers to remove, without duplicates */
    size_t n_prune;
    bool only_look;  /* the plan will not be executed: missing importance is not an error */
    bool keep_split; /* write the same parts, with the same tensors, as a split source */
};

struct nb_plan_tensor {
    const struct nb_view *source; /* has the name of the output tensor */
    struct nb_choice choice;
    enum nb_type via;       /* NB_TYPE_NONE: no intermediate rounding */
    uint32_t file;          /* index into the output files */
    uint64_t offset, bytes; /* in that file */
    /* ne[0] error weights for each matrix of ne[0] x ne[1] elements (an expert), or NULL. */
    const float *importance;
    bool lacks_importance; /* the type uses importance, but the given matrix has no entry */
};

/* One file to be written. */
struct nb_plan_file {
    unsigned char *header;
    uint64_t header_bytes, bytes;
};

struct nb_plan {
    struct nb_metadata meta;
    struct nb_plan_tensor *tensors; /* by file, in file order */
    size_t n_tensors;
    struct nb_view *sources;    /* the array into which the tensors' sources point */
    struct nb_plan_file *files; /* one; with keep_split as many as the source has */
    uint32_t n_files;
    uint64_t total_bytes;  /* of all files */
    uint64_t source_bytes; /* of all tensors */
    uint64_t parameters;
    size_t n_fallbacks;
    bool needs_importance; /* with only_look: execution would fail for lack of importance */
    struct nb_arena arena;
};

/*
 * Makes a plan. Errors, besides those of the functions it calls: a conversion
 * that is impossible or not allowed; a type that needs importance when there is
 * none; importance whose size differs from the tensor's.
 */
enum nb_status nb_plan_make(struct nb_plan *plan, const struct nb_source *source, const struct nb_plan_options *options,
                            struct nb_error *err) NB_MUST_CHECK;
void nb_plan_free(struct nb_plan *plan);

/*
 * The name of output file NUMBER, from malloc: NAME itself, or for a part
 * "NAME-00001-of-00003.gguf". NULL if out of memory.
 */
char *nb_plan_file_name(const struct nb_plan *plan, const char *name, uint32_t number);

/* NB_USAGE if the output NAME, or one of its parts, is a file that SOURCE reads. */
enum nb_status nb_plan_check_output(const struct nb_plan *plan, const struct nb_source *source, const char *name,
                                    struct nb_error *err) NB_MUST_CHECK;

/* Average bits per weight of all tensors. */
double nb_plan_bpw(const struct nb_plan *plan);

#endif
