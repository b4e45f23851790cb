/* The hyperparameters of a model, read from config.json (by a family) or from GGUF metadata. */
#ifndef NB_HPARAMS_H
#define NB_HPARAMS_H

#include "formats/base/arena.h"
#include "formats/base/status.h"
#include "formats/gguf/metadata.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NB_MAX_LAYERS 512u /* LLAMA_MAX_LAYERS of llama.cpp */
#define NB_MAX_EXPERTS 4096u
#define NB_MAX_SIDE 0x7FFFFFFFu /* the largest count or length */

enum nb_hparam {
#define NB_HPARAM(identifier, ...) NB_HP_##identifier,
#include "formats/models/hparams.def"
#undef NB_HPARAM
    NB_HPARAMS,
};

enum nb_hparam_type { NB_HP_TYPE_U32, NB_HP_TYPE_F32, NB_HP_TYPE_BOOL, NB_HP_TYPE_TEXT };
enum nb_hparam_form { NB_HP_FORM_ONE, NB_HP_FORM_EACH, NB_HP_FORM_ANY, NB_HP_FORM_LIST };

/* A row of hparams.def. */
struct nb_hparam_info {
    const char *name; /* the identifier; expressions use it in lower case */
    const char *key;
    enum nb_hparam_type type;
    enum nb_hparam_form form;
    double low, high;
    const char *label;
};

const struct nb_hparam_info *nb_hparam_info(enum nb_hparam hparam);
/* Looks up an identifier of LENGTH characters, in any case; NB_HPARAMS if there is none. */
enum nb_hparam nb_hparam_by_name(const char *name, size_t length);
/* Writes the whole key, which is "ARCH.KEY" for nearly all of them, into KEY. */
void nb_hparam_key(enum nb_hparam hparam, const char *arch, char key[128]);

struct nb_hparam_value {
    bool present;
    bool given;         /* read from the file, not a default */
    double number;      /* the largest entry of an array; a flag is 0 or 1 */
    const double *each; /* an array, usually by layer; NULL: one value for all layers */
    size_t count;       /* length of EACH */
    bool flags;         /* EACH is yes or no, and is written as such */
    const char *text;   /* the value of a TEXT */
};

struct nb_hparams {
    struct nb_hparam_value value[NB_HPARAMS];
    struct nb_arena arena; /* owns arrays and texts */
};

/* The number, 0 if absent; the largest one of a per-layer hyperparameter. */
double nb_hp(const struct nb_hparams *hp, enum nb_hparam hparam);
/* The number in layer LAYER; 0 after the end of an array. */
double nb_hp_at(const struct nb_hparams *hp, enum nb_hparam hparam, uint64_t layer);
/* The number, or OTHERWISE if absent. */
double nb_hp_or(const struct nb_hparams *hp, enum nb_hparam hparam, double otherwise);
bool nb_hp_has(const struct nb_hparams *hp, enum nb_hparam hparam);
/* NULL if absent. */
const char *nb_hp_text(const struct nb_hparams *hp, enum nb_hparam hparam);

/* Sets one number for all layers. */
void nb_hp_set(struct nb_hparams *hp, enum nb_hparam hparam, double number, bool given);
/* Sets COUNT numbers, which are copied. */
enum nb_status nb_hp_set_each(struct nb_hparams *hp, enum nb_hparam hparam, const double *numbers, size_t count,
                              bool given, struct nb_error *err) NB_MUST_CHECK;
enum nb_status nb_hp_set_text(struct nb_hparams *hp, enum nb_hparam hparam, const char *text, bool given,
                              struct nb_error *err) NB_MUST_CHECK;
void nb_hparams_free(struct nb_hparams *hp);

/*
 * Reads the hyperparameters that the metadata of a model of architecture ARCH contain. A key whose
 * type differs from its row in hparams.def is skipped: nb_check_file reports it.
 */
enum nb_status nb_hparams_read(struct nb_hparams *hp, const struct nb_metadata *meta, const char *arch,
                               struct nb_error *err) NB_MUST_CHECK;
/* Whether KV has the type of HPARAM's row: a single value, or an array where the form allows it. */
bool nb_hparam_fits(enum nb_hparam hparam, const struct nb_kv *kv);
/* Sets "ARCH.KEY" with the type of its row, if HPARAM is present. */
enum nb_status nb_hparam_write(const struct nb_hparams *hp, enum nb_hparam hparam, const char *arch,
                               struct nb_metadata *meta, struct nb_error *err) NB_MUST_CHECK;

#endif
