/*
 * The whole output file, decided before the first weight is read: its header,
 * and the type, offset and size of every tensor. A plan is a pure function of
 * its inputs; what remains is to fill it in, in any order.
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
        uint64_t number; /* the integers, and BOOL */
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
     * F16, BF16 or NB_TYPE_NONE. Weights are rounded to this type first, so that
     * the result is that of the two-step way with such a file in between.
     */
    enum nb_type via;
    const struct nb_imatrix *imatrix; /* or NULL; must outlive the plan */
    const char *imatrix_path;         /* where it was; only the file's name is written down */
    const uint64_t *prune;            /* layers to leave out, each once */
    size_t n_prune;
    bool only_look;                   /* the plan will not be run: missing importance is no error */
    bool keep_split;                  /* as many output files as a split source has, with the same tensors */
};

struct nb_plan_tensor {
    const struct nb_view *source; /* under the name it will have */
    struct nb_choice choice;
    enum nb_type via;       /* NB_TYPE_NONE where nothing is rounded in between */
    uint32_t file;          /* of the output files */
    uint64_t offset, bytes; /* in that file */
    /* ne[0] weights for each ne[0] x ne[1] elements (an expert), or NULL. */
    const float *importance;
    bool lacks_importance;  /* the type would use it, a matrix is given, but has no entry */
};

/* One file to be written. */
struct nb_plan_file {
    unsigned char *header;
    uint64_t header_bytes, bytes;
};

struct nb_plan {
    struct nb_metadata meta;
    struct nb_plan_tensor *tensors; /* file by file, in file order */
    size_t n_tensors;
    struct nb_view *sources;      /* what the tensors' sources point to */
    struct nb_plan_file *files;     /* one, or with keep_split as many as the source has */
    uint32_t n_files;
    uint64_t total_bytes;           /* of all files */
    uint64_t source_bytes;          /* of all tensors */
    uint64_t parameters;
    size_t n_fallbacks;
    bool needs_importance;          /* with only_look: a run would be refused */
    struct nb_arena arena;
};

/*
 * Refused, beside what the parts refuse: a conversion that is not possible or
 * was not allowed; a type that needs importance where there is none; importance
 * of another size than the tensor.
 */
enum nb_status nb_plan_make(struct nb_plan *plan, const struct nb_source *source,
                            const struct nb_plan_options *options, struct nb_error *err) NB_MUST_CHECK;
void nb_plan_free(struct nb_plan *plan);

/*
 * The name of output file NUMBER, from malloc: NAME itself, or for a part
 * "NAME-00001-of-00003.gguf". NULL where memory is out.
 */
char *nb_plan_file_name(const struct nb_plan *plan, const char *name, uint32_t number);

/* Refuses the output NAME where it is, or one of its parts is, a file that SOURCE reads. */
enum nb_status nb_plan_check_output(const struct nb_plan *plan, const struct nb_source *source, const char *name,
                                    struct nb_error *err) NB_MUST_CHECK;

/* Bits per weight of all tensors together. */
double nb_plan_bpw(const struct nb_plan *plan);

#endif
