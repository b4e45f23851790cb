/*
 * Model families as data. A family is a table: which checkpoint tensor becomes
 * which GGUF tensor and how its rows move, and which entry of config.json
 * becomes which metadata key. A new family is a new table in families/.
 */
#ifndef NB_FAMILY_H
#define NB_FAMILY_H

#include "formats/base/status.h"
#include "formats/elements/tensor.h"
#include "formats/gguf/metadata.h"

#include <jansson.h>

enum nb_hparam {
    NB_HP_LAYERS,
    NB_HP_CONTEXT,
    NB_HP_EMBEDDING,
    NB_HP_FEED_FORWARD,
    NB_HP_HEADS,
    NB_HP_KV_HEADS,
    NB_HP_HEAD_DIM,
    NB_HP_VOCAB,
    NB_HP_ROPE_THETA,
    NB_HP_RMS_EPS,
    NB_HPARAMS,
};

/* Where a value comes from when config.json lacks it. */
enum nb_default {
    NB_REQUIRED,
    NB_CONSTANT,      /* the row's VALUE: what the model class assumes */
    NB_SAME_AS_HEADS, /* no grouped queries */
    NB_EMBEDDING_PER_HEAD,
};

struct nb_family_hparam {
    enum nb_hparam hparam;
    const char *config; /* entry of config.json */
    bool is_integer;
    enum nb_default otherwise;
    double value;
};

/* What to write, in the order of writing. */
enum nb_family_key_kind {
    NB_KEY_U32,
    NB_KEY_F32,
    NB_KEY_U32_IF_GIVEN, /* only where config.json has it */
    NB_KEY_ROPE_SCALING, /* the keys of config.json's rope_scaling */
    NB_KEY_FILE_TYPE,    /* general.file_type */
};

struct nb_family_key {
    enum nb_family_key_kind kind;
    const char *key; /* behind "ARCH." */
    enum nb_hparam hparam;
};

/* The side of a matrix in terms of the hyperparameters. */
enum nb_side {
    NB_SIDE_NONE, /* a vector has no columns */
    NB_SIDE_EMBEDDING,
    NB_SIDE_FEED_FORWARD,
    NB_SIDE_Q,  /* heads x head dimension */
    NB_SIDE_KV, /* key-value heads x head dimension */
    NB_SIDE_VOCAB,
};

enum nb_presence {
    NB_ALWAYS,
    NB_MAYBE, /* biases and the like: there if the checkpoint has them */
    NB_EMBEDDING_TABLE, /* may be stored under the output's name where the two are tied */
    NB_OUTPUT_TABLE,    /* may be absent where tied to the embedding */
};

struct nb_family_tensor {
    const char *checkpoint; /* "%u" stands for the layer */
    const char *gguf;
    enum nb_side rows, columns; /* rows x columns as in the checkpoint; a vector's length is ROWS */
    enum nb_presence presence;
    enum nb_row_map_kind map;
};

/* What the forward pass has to know of a family. */
enum nb_norm_kind { NB_NORM_RMS };
enum nb_activation { NB_ACTIVATION_SILU }; /* gated: silu(gate) * up */
/* Which elements of a head turn together, as the rows lie in GGUF. */
enum nb_rope_pairing {
    NB_ROPE_NEIGHBOURS, /* 2k and 2k + 1 */
    NB_ROPE_HALVES,     /* k and k + half */
};

struct nb_family {
    const char *const *classes; /* config.json's "architectures"; ends with NULL */
    const char *arch;           /* general.architecture */
    const struct nb_family_hparam *hparams;
    size_t n_hparams;
    const struct nb_family_key *keys;
    size_t n_keys;
    const struct nb_family_tensor *tensors;
    size_t n_tensors;
    const char *const *ignored; /* ends of names of tensors that are not weights; ends with NULL */
    bool can_scale_rope_llama3; /* writes rope_freqs.weight */
    enum nb_norm_kind norm;
    enum nb_activation activation;
    enum nb_rope_pairing rope;
};

/* families/llama.c */
extern const struct nb_family nb_family_llama, nb_family_mistral;

/* The family of the model class CLASS, or NULL. */
const struct nb_family *nb_family_by_class(const char *class);
/* The family that general.architecture calls ARCH, or NULL. */
const struct nb_family *nb_family_by_arch(const char *arch);
/* Every family; ends with NULL. */
extern const struct nb_family *const nb_families[];

struct nb_hparams {
    double value[NB_HPARAMS];
    bool given[NB_HPARAMS]; /* by config.json and not by a default */
};

/* Reads and checks what config.json says; NAME is the file's, for messages. */
enum nb_status nb_family_hparams(const struct nb_family *family, json_t *config, const char *name,
                                 struct nb_hparams *out, struct nb_error *err) NB_MUST_CHECK;
/*
 * Reads them back from the metadata of a model, as llama.cpp does where keys are
 * absent. NAME is the model's, for messages.
 */
enum nb_status nb_family_hparams_of(const struct nb_family *family, const struct nb_metadata *meta, const char *name,
                                    struct nb_hparams *out, struct nb_error *err) NB_MUST_CHECK;
/* Sets the family's metadata keys. FILE_TYPE is the number of general.file_type. */
enum nb_status nb_family_metadata(const struct nb_family *family, json_t *config, const struct nb_hparams *hp,
                                  uint32_t file_type, struct nb_metadata *meta, struct nb_error *err) NB_MUST_CHECK;
uint64_t nb_family_side(enum nb_side side, const struct nb_hparams *hp);
/* PATTERN, a tensor's name, with LAYER for its "%u", into NAME (SIZE bytes, cut if need be). */
void nb_name_in_layer(const char *pattern, uint64_t layer, char *name, size_t size);

/* config.json's rope_scaling, under either of the names that checkpoints use; NULL if there is none. */
json_t *nb_rope_scaling(json_t *config);
/* Its type, "rope_type" or "type"; NULL if there is none. */
const char *nb_rope_type(json_t *scaling);
/*
 * Llama 3's factors by which rotary frequencies are divided: HEAD_DIM / 2
 * floats from ARENA. Computed in the precisions that the reference converter's
 * mixture of torch floats and Python doubles has, so that the bytes agree.
 */
enum nb_status nb_rope_llama3_factors(json_t *scaling, const struct nb_hparams *hp, struct nb_arena *arena,
                                      const float **factors, struct nb_error *err) NB_MUST_CHECK;

#endif
