/*
 * Architectures: what GGUF knows of a model. Its name, the keys it demands, its tensors with their
 * dimensions, of what blocks a layer is made, and the few facts that llama.cpp has in code and no
 * file says. Tables in architectures/; convert, check, run and inspect all read them.
 */
#ifndef NB_ARCHITECTURE_H
#define NB_ARCHITECTURE_H

#include "formats/elements/tensor.h"
#include "formats/models/hparams.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum nb_presence {
    NB_REQUIRED,
    NB_OPTIONAL,
    NB_TIED, /* may be absent: then the token embedding serves in its place */
};

struct nb_arch_tensor {
    const char *name;            /* "%l" stands for the layer */
    const char *ne[NB_MAX_DIMS]; /* expressions, GGUF order: ne[0] is the length of a row; NULL beyond the last */
    enum nb_presence presence;
    const char *when;            /* condition; where it does not hold, the tensor is no part of the model. NULL: always */
};

/* A part of a layer; its kind is a row of verify/run/blocks. */
struct nb_arch_block {
    const char *kind;
    const char *when; /* condition by layer; NULL: always */
};

enum nb_norm_kind { NB_NORM_RMS };
enum nb_activation { NB_ACTIVATION_SILU }; /* gated: silu(gate) * up */
/* Which elements of a head are rotated together, as the rows lie in GGUF. */
enum nb_rope_pairing {
    NB_ROPE_NEIGHBOURS, /* 2k and 2k + 1 */
    NB_ROPE_HALVES,     /* k and k + half */
};

/* A sliding window over all but one of PERIOD layers: the last of them, or the first. */
struct nb_window_rule {
    uint64_t period; /* 0: layers slide only where the file has a pattern */
    bool first_is_full;
    uint64_t window; /* where the file names none; 0: then no layer slides */
};

struct nb_arch {
    const char *name; /* general.architecture */
    const enum nb_hparam *demanded; /* keys without which llama.cpp does not load a model; beyond nb_arch_demanded */
    size_t n_demanded;
    const struct nb_arch_tensor *tensors; /* none: what tensors it has is not known here */
    size_t n_tensors;
    const struct nb_arch_block *blocks; /* of a layer, in order; none: it cannot be run */
    size_t n_blocks;
    enum nb_norm_kind norm;
    enum nb_activation activation;
    enum nb_rope_pairing rope;
    struct nb_window_rule window;
};

#define NB_ARCH(identifier) extern const struct nb_arch nb_arch_##identifier;
#include "formats/models/architectures/architectures.def"
#undef NB_ARCH

/* Every architecture that something is known of; ends with NULL. */
extern const struct nb_arch *const nb_archs[];
/* The architecture NAME, or NULL. */
const struct nb_arch *nb_arch_by_name(const char *name);
/* The keys that llama.cpp demands of every architecture. */
extern const enum nb_hparam nb_arch_demanded[];
extern const size_t nb_arch_n_demanded;

/* The row of ARCH for the tensor NAME, and the layer that NAME says (0 outside the layers); NULL if there is none. */
const struct nb_arch_tensor *nb_arch_find(const struct nb_arch *arch, const char *name, uint64_t *layer);
/* The row whose name, with its "%l", is PATTERN; NULL if there is none. */
const struct nb_arch_tensor *nb_arch_row(const struct nb_arch *arch, const char *pattern);
/*
 * The dimensions of ROW in layer LAYER, 1 beyond the last; N_DIMS of them are written. False where the
 * hyperparameters make no whole numbers of them.
 */
bool nb_arch_shape(const struct nb_arch_tensor *row, const struct nb_hparams *hp, uint64_t layer, uint64_t ne[NB_MAX_DIMS],
                   uint32_t *n_dims);
/* Whether ROW is one tensor for each layer. */
bool nb_arch_is_layered(const struct nb_arch_tensor *row);

/*
 * Completes hyperparameters that were read from metadata as llama.cpp does where keys are absent, and
 * refuses what no model of ARCH can have. NAME is the model's, for messages.
 */
enum nb_status nb_arch_complete(const struct nb_arch *arch, struct nb_hparams *hp, const char *name,
                                struct nb_error *err) NB_MUST_CHECK;
/* What holds of every model, wherever its hyperparameters come from; NAME is the file's, for messages. */
enum nb_status nb_hparams_check(const struct nb_hparams *hp, const char *name, struct nb_error *err) NB_MUST_CHECK;

/* --- names with holes -------------------------------------------------------------------------------- */

/* PATTERN with LAYER for its "%l" and EXPERT for its "%e", into NAME (SIZE bytes, cut if need be). */
void nb_name_fill(const char *pattern, uint64_t layer, uint64_t expert, char *name, size_t size);
/* True if NAME is PATTERN with numbers for its holes; LAYER and EXPERT stay as they are for holes it lacks. */
bool nb_name_matches(const char *pattern, const char *name, uint64_t *layer, uint64_t *expert);

#endif
