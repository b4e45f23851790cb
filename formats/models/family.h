/*
 * Families: the checkpoint side of a model. The class names of config.json, where each hyperparameter
 * is stored there and its default, the GGUF keys to write and their order, and how the stored tensors
 * map to the architecture's tensors. A new family is a table in families/.
 */
#ifndef NB_FAMILY_H
#define NB_FAMILY_H

#include "formats/base/arena.h"
#include "formats/base/status.h"
#include "formats/gguf/metadata.h"
#include "formats/models/architecture.h"
#include "formats/models/config_entries.h"
#include "formats/models/hparams.h"
#include "formats/models/view.h"
#include "formats/safetensors/checkpoint.h"
#include "formats/tokenizer/tokenizer.h"

#include <jansson.h>

struct nb_family;
struct nb_mlx_layout;

/* A checkpoint that is being converted; the argument of the functions that tables name. */
struct nb_conversion {
    const struct nb_family *family;
    json_t *config;
    const struct nb_hparams *hp;
    const struct nb_store *store; /* the stored tensors */
    uint32_t file_type;           /* the number of general.file_type */
    struct nb_checkpoint *checkpoint;
};

/* A hyperparameter in config.json. */
struct nb_config_row {
    enum nb_hparam hparam;
    /*
     * Entries of config.json, separated by "|"; the first one present is used. They are looked up in
     * text_config, then at the root, then among the rotary parameters (nb_config_rope), but rope_theta and
     * partial_rotary_factor there first, as in transformers. "a.b" is entry b of the object a, "a.0" the first
     * element of the array a; "a=text" says for each element of the array a whether it is this text. "" is never
     * present.
     */
    const char *entries;
    /*
     * The default: an expression of earlier rows, or a text for a TEXT. NULL: required. "": stays absent. If it
     * depends on the layer and the hyperparameter can, it gives an array by layer.
     */
    const char *otherwise;
};

/* A GGUF key to write; rows are in the order of writing. */
struct nb_key_row {
    enum { NB_KEY_HPARAM, NB_KEY_IF_GIVEN, NB_KEY_IF_SET, NB_KEY_WRITER } kind;
    enum nb_hparam hparam; /* HPARAM: writes its key; IF_GIVEN: only if config.json has it; IF_SET: unless 0 */
    /* WRITER: sets keys that are not hyperparameters. */
    enum nb_status (*write)(const struct nb_conversion *conversion, struct nb_metadata *meta, struct nb_error *err);
};

/* How a stored tensor is changed into a view. Rows are rows of the stored matrix; arguments are expressions. */
enum nb_map_op_kind {
    NB_MAP_NOTHING,
    /* Operations that change the shape: */
    NB_MAP_CUT,          /* keeps rows: first, count */
    NB_MAP_CUT_GROUPS,   /* splits the rows into groups and keeps rows of each: groups, first, count */
    NB_MAP_ALSO_GROUPS,  /* adds, after those kept so far, rows of each group of all rows: groups, first, count */
    NB_MAP_CUT_COLUMNS,  /* keeps columns: first, count */
    NB_MAP_FOLD,         /* the same elements in the shape of the tensor */
    NB_MAP_EVERY_COLUMN, /* keeps every n-th column: first, n */
    NB_MAP_MXFP4, /* every n-th row of "x_blocks" with the scales in "x_scales": first, n. Such come first of all */
    NB_MAP_EVERY, /* keeps every n-th row: first, n */
    /* puts the first parts of all groups of rows before the second ones, and so on: groups, rows of the first part, rows
       of each further one */
    NB_MAP_PARTS,
    NB_MAP_FILL, /* a vector of a number, whatever is stored: number */
    NB_MAP_JOIN, /* of "%e" in FROM: the rows of so many stored tensors, one after the other: count */
    NB_MAP_FIT,  /* keeps the first rows, or adds rows of zeros: number of rows */
    NB_MAP_NUMBERS, /* integers of 64 bits as those of 32, each of which must be below this: number. Nothing else is done */
    /* Operations that keep the shape, except NB_MAP_TRANSPOSE: */
    NB_MAP_NEIGHBOURS,   /* the q/k permutation, rotary pairs from halves to neighbours: rows per head */
    NB_MAP_HALVES,       /* rotary pairs from neighbours to halves: rows per head, rotated ones of them */
    NB_MAP_SWAP,         /* reorders rows a x b x c to b x a x c: a, b, c */
    NB_MAP_SWAP_FROM,    /* reorders the rows from FIRST on, a x b x any to b x a x any: first, a, b */
    NB_MAP_SWAP_COLUMNS, /* reorders columns a x b x c to b x a x c: a, b, c */
    NB_MAP_TRANSPOSE,    /* transposes each matrix, or each group after NB_MAP_CUT_GROUPS */
    NB_MAP_ADD,          /* adds to each element: number */
    NB_MAP_SCALE,        /* multiplies each element: factor */
    NB_MAP_TERNARY,      /* each element to the nearest of -1, 0 and 1 times the mean magnitude of the whole tensor */
    /*
     * Multiply with what an entry of config.json says, or with 1 if it is absent: a number; or an array with a factor
     * for each part of the rows, and the heights of the parts, separated by commas.
     */
    NB_MAP_SCALE_BY,
    NB_MAP_SCALE_PARTS,
    NB_MAP_NEGATE_EXP, /* -exp of each element */
    /*
     * Nothing is done. It says which sides a checkpoint has where GGUF has others, for the way back: a text with "r" for the
     * rows of the matrix, "c" for its columns, "n" for all elements, and "1".
     */
    NB_MAP_SIDES,
    NB_MAP_READ_ONLY, /* Nothing is done. The row is for checkpoints that are read, not for those that are written back */
};

struct nb_map_op {
    enum nb_map_op_kind kind;
    const char *argument[3];
};

#define NB_MAP_OPS 4

struct nb_map_row {
    /* Name in the checkpoint: "%l" is the layer, "%e" the expert; experts are stacked. Without "%l": of the last layer. */
    const char *from;
    const char *to; /* name of the architecture's tensor */
    struct nb_map_op op[NB_MAP_OPS];
};

/* A tensor that is computed, not stored in the checkpoint. */
struct nb_made_row {
    const char *to;
    const char *origin; /* how it is computed, for people */
    /* VALUES receives COUNT floats allocated from ARENA, or NULL if the model has no such tensor. */
    enum nb_status (*make)(const struct nb_conversion *conversion, struct nb_arena *arena, const float **values,
                           uint64_t *count, struct nb_error *err);
};

/* A GGUF file that is written back as a checkpoint; the argument of nb_family.restore. */
struct nb_restoration {
    const struct nb_hparams *said, *hp;   /* what the file's keys say, and the same with llama.cpp's defaults */
    const struct nb_view *const *tensors; /* of the file, by name */
    size_t n_tensors;
    const struct nb_metadata *meta; /* of the file */
    json_t *config;                 /* config.json in the making */
};

struct nb_family {
    const char *const *classes; /* config.json's "architectures"; ends with NULL */
    /* Some classes are of several architectures: whether CONFIG is of this family. NULL: always. */
    bool (*is_for)(json_t *config);
    const struct nb_arch *arch;
    /* config.json's model_type of a checkpoint that is written back from GGUF; NULL: none is (formats/models/reverse) */
    const char *model_type;
    /* The class of such a checkpoint. NULL: the first one. For families whose first class is one with vision parts. */
    const char *model_class;
    /*
     * The model_type of the wrapper in whose text_config that of such a checkpoint stands, if transformers has no class of the
     * text model alone. Names then begin with "model.language_model." instead of "model.". NULL: there is one.
     */
    const char *wrapper;
    /*
     * Sets, before all else, the entries of such a checkpoint's config.json that no row of CONFIG can say: what DERIVE undoes.
     * Rows then leave them as they are. NB_UNSUPPORTED: the file is none of this family's. NULL: nothing.
     */
    enum nb_status (*restore)(const struct nb_restoration *restoration, struct nb_error *err);
    const struct nb_config_row *config;
    size_t n_config;
    /* Sets, after CONFIG, what no row can say. NULL: nothing. NAME is config.json's, for messages. */
    enum nb_status (*derive)(json_t *config, const char *name, struct nb_hparams *hp, struct nb_error *err);
    /* Sets, after DERIVE, what only the stored tensors say. NULL: nothing. */
    enum nb_status (*measure)(const struct nb_store *store, const char *name, struct nb_hparams *hp,
                              struct nb_error *err);
    const struct nb_config_rule *rules; /* entries of config.json that no row of CONFIG reads */
    size_t n_rules;
    const struct nb_key_row *keys;
    size_t n_keys;
    /* Set keys before all but the architecture's name, and after all, those of the tokenizer too. NULL: none. */
    enum nb_status (*first)(const struct nb_conversion *conversion, struct nb_metadata *meta, struct nb_error *err);
    enum nb_status (*last)(const struct nb_conversion *conversion, struct nb_metadata *meta, struct nb_error *err);
    const struct nb_made_row *made; /* written before all stored ones */
    size_t n_made;
    const struct nb_map_row *to_gguf;
    size_t n_to_gguf;
    const struct nb_mlx_layout *mlx; /* for MLX output; NULL: not supported */
    /*
     * What the names of the layers begin with that predict further tokens, "mtp." for "mtp.layers.0.x" and
     * "mtp.x", also behind "model.", where they are not numbered on from the others. They become the last layers. NULL: no such.
     */
    const char *further_layers;
    const char *packed_as;               /* a quant_method of config.json whose tensors TO_GGUF can read; NULL: none */
    const char *const *ignored_suffixes; /* name suffixes of tensors to skip; ends with NULL. NULL: none */
    const char *const *zero_suffixes;    /* of tensors to skip if they are 0 everywhere, and to refuse otherwise */
    const char *const *ignored_prefixes; /* name prefixes, likewise */
    /* What the names of a layer's tensors begin with, if those beyond the last layer are left out: they predict further
       tokens. NULL: there is no such layer */
    const char *extra_layers;
    const char *matrices_in_f32; /* a part of the names of matrices that are always F32; NULL: the usual ones */
    bool no_matrix_in_f32;       /* not even routers */
    bool keeps_types;            /* converters write matrices in the type they are stored in, those in FP8 as Q8_0 */
    /*
     * The architecture's tensors that come before all others. Those that stand together, separated by "|", come layer by
     * layer. Ends with NULL. NULL: none.
     */
    const char *const *first_tensors;
    bool drops_equal_output; /* an output equal to the embedding, if that comes first, is not written */
    struct nb_tokenizer_habits tokenizer;
    bool skips_tied_output; /* an output matrix that is tied to the embedding is not written, even if it is stored */
    double rope_factor;     /* that of llama3 scaling if config.json has none; 0: the usual one */
    bool vocab_of_config;   /* the vocabulary has vocab_size tokens, however many rows the embedding has */
};

#define NB_FAMILY(identifier) extern const struct nb_family nb_family_##identifier;
#include "formats/models/families/families.def"
#undef NB_FAMILY

/* Every family; ends with NULL. */
extern const struct nb_family *const nb_families[];
/* The family of the model class CLASS with this CONFIG, or NULL. CONFIG NULL: the first one of the class. */
const struct nb_family *nb_family_by_class(const char *class, json_t *config);

/* The names of the three known classes that are most like CLASS, separated by commas. */
void nb_family_nearest(const char *class, char *names, size_t size);

/* Reads and checks config.json; NAME is the file's, for messages. The caller frees HP, also after an error. */
enum nb_status nb_family_hparams(const struct nb_family *family, json_t *config, const char *name,
                                 struct nb_hparams *hp, struct nb_error *err) NB_MUST_CHECK;
/* Sets the family's metadata keys. */
enum nb_status nb_family_metadata(const struct nb_conversion *conversion, struct nb_metadata *meta,
                                  struct nb_error *err) NB_MUST_CHECK;

/* Entry NAME of config.json, looked up as nb_config_row says; NULL if absent. */
json_t *nb_config_find(json_t *config, const char *name);
/*
 * The rotary parameters: rope_scaling if it is not empty, else rope_parameters, as in transformers; of those by
 * kind of layer, the ones of full attention. NULL if absent.
 */
json_t *nb_config_rope(json_t *config);

/*
 * Whether entry NAME has one of VALUES (separated by "|") for layer LAYER: an array of texts, or a text with one
 * character per layer. 1 or 0; NaN if it has not one for each of LAYERS layers.
 */
double nb_config_layer_is(json_t *config, const char *name, const char *values, uint64_t layer, uint64_t layers);
/* Whether the array NAME has the number of layer LAYER, counted from FIRST. 1 or 0; NaN if it is no array. */
double nb_config_lists_layer(json_t *config, const char *name, uint64_t first, uint64_t layer);
/*
 * For nb_family.derive: makes HPARAM an array by layer of what VALUE gives, in which nb_hp has the value so far.
 * NB_INPUT if it gives NaN; NAME is config.json's.
 */
enum nb_status nb_derive_each(json_t *config, const char *name, enum nb_hparam hparam,
                              double (*value)(json_t *config, const struct nb_hparams *hp, uint64_t layer),
                              struct nb_hparams *hp, struct nb_error *err) NB_MUST_CHECK;

/* The text that config.json has for NUMBER of HPARAM, as the name of a router's function; NULL: it has the number. */
const char *nb_config_number_name(enum nb_hparam hparam, double number);

/* A key writer that families share. */
enum nb_status nb_write_file_type(const struct nb_conversion *conversion, struct nb_metadata *meta,
                                  struct nb_error *err);

#endif
