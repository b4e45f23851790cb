/*
 * Families: what a checkpoint knows of a model. The class names of config.json, where each
 * hyperparameter stands there and what it is without, the keys that are written and their order, and
 * which stored tensors become which views of the architecture's. A new family is a table in families/.
 */
#ifndef NB_FAMILY_H
#define NB_FAMILY_H

#include "formats/base/arena.h"
#include "formats/base/status.h"
#include "formats/gguf/metadata.h"
#include "formats/models/architecture.h"
#include "formats/models/hparams.h"
#include "formats/models/view.h"

#include <jansson.h>

struct nb_family;

/* A checkpoint that is being converted, for what tables cannot say. */
struct nb_conversion {
    const struct nb_family *family;
    json_t *config;
    const struct nb_hparams *hp;
    uint32_t file_type; /* the number of general.file_type */
};

/* A hyperparameter in config.json. */
struct nb_config_row {
    enum nb_hparam hparam;
    /*
     * Entries of config.json, separated by "|"; the first that is there counts. They are looked for in
     * text_config, then at the root, then in rope_parameters. "a.b" is entry b of the object a.
     */
    const char *entries;
    /* An expression of hyperparameters above; of a TEXT the text. NULL: it must be there. "": then it is absent. */
    const char *otherwise;
};

/* What is written, in the order of writing. */
struct nb_key_row {
    enum { NB_KEY_HPARAM, NB_KEY_IF_GIVEN, NB_KEY_WRITER } kind;
    enum nb_hparam hparam; /* its own key; IF_GIVEN: only where config.json has it */
    /* Sets keys that are not a hyperparameter's. */
    enum nb_status (*write)(const struct nb_conversion *conversion, struct nb_metadata *meta, struct nb_error *err);
};

/* How a view is made of a stored tensor; rows are those of the stored matrix, arguments are expressions. */
enum nb_map_op_kind {
    NB_MAP_NOTHING,
    /* These change the shape... */
    NB_MAP_CUT,        /* rows: first, count */
    NB_MAP_CUT_GROUPS, /* the same of each of so many groups of rows: groups, first, count */
    NB_MAP_CUT_COLUMNS, /* columns: first, count */
    NB_MAP_EVERY,      /* each n-th row: first, n */
    /* ...and these keep it, but for NB_MAP_TRANSPOSE. */
    NB_MAP_NEIGHBOURS, /* rows of heads from halves to neighbours: rows of a head */
    NB_MAP_SWAP,       /* rows a x b x c to b x a x c: a, b, c */
    NB_MAP_SWAP_COLUMNS, /* columns a x b x c to b x a x c: a, b, c */
    NB_MAP_TRANSPOSE,  /* each matrix; of groups that were cut, each group */
    NB_MAP_ADD,        /* to each element: number */
    NB_MAP_SCALE,      /* each element by: number */
    NB_MAP_NEGATE_EXP, /* -exp of each element */
};

struct nb_map_op {
    enum nb_map_op_kind kind;
    const char *argument[3];
};

#define NB_MAP_OPS 4

struct nb_map_row {
    const char *from; /* in the checkpoint: "%l" a layer, "%e" an expert; experts are stacked */
    const char *to;   /* the name of a row of the architecture */
    struct nb_map_op op[NB_MAP_OPS];
};

/* A tensor that no checkpoint stores. */
struct nb_made_row {
    const char *to;
    const char *origin; /* for people */
    /* Its floats, from ARENA, or NULL where the model has none; COUNT receives how many. */
    enum nb_status (*make)(const struct nb_conversion *conversion, struct nb_arena *arena, const float **values,
                           uint64_t *count, struct nb_error *err);
};

struct nb_family {
    const char *const *classes; /* config.json's "architectures"; ends with NULL */
    const struct nb_arch *arch;
    const struct nb_config_row *config;
    size_t n_config;
    const struct nb_key_row *keys;
    size_t n_keys;
    const struct nb_made_row *made; /* before all stored ones */
    size_t n_made;
    const struct nb_map_row *to_gguf;
    size_t n_to_gguf;
    const struct nb_map_row *to_mlx; /* for MLX output; none: it cannot be written */
    size_t n_to_mlx;
    const char *const *ignored_suffixes; /* of names of tensors to skip; ends with NULL, or NULL */
    const char *const *ignored_prefixes; /* the same */
};

#define NB_FAMILY(identifier) extern const struct nb_family nb_family_##identifier;
#include "formats/models/families/families.def"
#undef NB_FAMILY

/* Every family; ends with NULL. */
extern const struct nb_family *const nb_families[];
/* The family of the model class CLASS, or NULL. */
const struct nb_family *nb_family_by_class(const char *class);

/* Reads and checks what config.json says; NAME is the file's, for messages. HP is to be freed, also after an error. */
enum nb_status nb_family_hparams(const struct nb_family *family, json_t *config, const char *name,
                                 struct nb_hparams *hp, struct nb_error *err) NB_MUST_CHECK;
/* Sets the family's metadata keys. */
enum nb_status nb_family_metadata(const struct nb_conversion *conversion, struct nb_metadata *meta,
                                  struct nb_error *err) NB_MUST_CHECK;

/* Entry NAME of config.json where families look for it (see nb_config_row); NULL if there is none. */
json_t *nb_config_find(json_t *config, const char *name);

/* Key writers that families share. */
enum nb_status nb_write_file_type(const struct nb_conversion *conversion, struct nb_metadata *meta,
                                  struct nb_error *err);

#endif
