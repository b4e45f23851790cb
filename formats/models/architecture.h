/*
 * Architectures: the GGUF side of a model. Its name, its required keys, its tensors and their
 * dimensions, the blocks of a layer, and the few facts that llama.cpp has in code and that no file
 * stores. The tables are in architectures/; converting, checking, running and inspecting all use them.
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
    NB_TIED, /* may be absent: the token embedding is then used instead */
};

struct nb_arch_tensor {
    const char *name; /* "%l" is the layer number */
    /* Expressions, GGUF order: ne[0] is the row length; NULL after the last. "?x": of GGUF files only the tensor shows it. */
    const char *ne[NB_MAX_DIMS];
    enum nb_presence presence;
    const char *when; /* condition; if false, the model has no such tensor. NULL: always */
};

/*
 * A part of a layer, which reads the stream of hidden states and adds its result to it. Its kind is a row of
 * verify/run/blocks/blocks.def. Norms are names after "blk.%l."; one that the table of tensors lacks is not applied.
 */
struct nb_arch_block {
    const char *kind;
    const char *when;       /* condition by layer; NULL: always */
    const char *has;        /* only layers that have this tensor (a name after "blk.%l.") have the block; NULL: all */
    const char *norm;       /* of its input; "a|b": the first that the layer has; NULL: that of its kind */
    const char *norm_after; /* of its result; NULL: none */
    const char *beside;     /* condition: the next block reads the same stream, without the result; NULL: never */
    const char *norm_sum;   /* of the sum of its result and that of the block beside which it is; NULL: none */
    const char *times;      /* an expression: factor of the stream after it; NULL: 1 */
    const char *scale;      /* a tensor with another such factor; NULL: none */
};

/* A key that is demanded only on a condition, or that is no hyperparameter. */
struct nb_arch_key {
    const char *key;      /* after "ARCH." */
    enum nb_kv_type type; /* of the value, or of the elements of an array */
    const char *count;    /* an expression: of an array, at least so many elements; NULL: it is a single value */
    const char *when;     /* condition; NULL: always */
};

/* What must hold for the hyperparameters to fit together. */
struct nb_arch_rule {
    const char *holds;    /* condition */
    const char *violated; /* the end of a sentence that begins with the name of the file */
};

/* What llama.cpp assumes where a file has no key. By layer if the expression is. */
struct nb_arch_default {
    enum nb_hparam hparam;
    const char *value; /* an expression */
};

enum nb_norm_kind {
    NB_NORM_RMS,
    NB_NORM_LAYER, /* the mean is subtracted, too; may have biases */
};
/* Applied to the gate, or to the up projection where there is no gate. */
enum nb_activation {
    NB_ACTIVATION_SILU,         /* x / (1 + e^-x) */
    NB_ACTIVATION_GELU,         /* approximated by tanh */
    NB_ACTIVATION_GELU_EXACT,   /* by the error function */
    NB_ACTIVATION_RELU_SQUARED, /* max(0, x)^2 */
    NB_ACTIVATION_XIELU,        /* xIELU (Huang and Schlag 2025), whose parameters are hyperparameters by layer */
    NB_ACTIVATION_GPT_OSS,      /* x / (1 + e^(-1.702 x)), both inputs clamped, 1 added to the up projection */
};
/* Which elements of a head are rotated as a pair, in GGUF's row order. */
enum nb_rope_pairing {
    NB_ROPE_NEIGHBOURS, /* 2k and 2k + 1 */
    NB_ROPE_HALVES,     /* k and k + half */
    /* As halves before the converter interleaved the halves of the head, of which only a part may be rotated. */
    NB_ROPE_INTERLEAVED,
};

/* Of every PERIOD layers, all but the last (or all but the first) use a sliding window. */
struct nb_window_rule {
    uint64_t period; /* 0: windows are used only if the file has a pattern */
    bool first_is_full;
    uint64_t window; /* default size if the file has none; 0: then there is no window */
    uint64_t own;    /* tokens that a file's window does not count: 1 if it counts only those before the own one */
};

/* Whether LAYER slides by RULE, whose period is not 0. */
bool nb_window_slides(const struct nb_window_rule *rule, uint64_t layer);

/* What attention does beyond what tensors and keys say. */
struct nb_arch_attention {
    const char *rotates;        /* condition by layer: positions are rotary; NULL: always */
    bool norms_after_rotation;  /* queries and keys are normed after they are rotated */
    bool plain_norms;           /* queries and keys are normed without weights, */
    const char *plainly_normed; /* on this condition by layer; NULL: always */
    bool norms_values;          /* values are normed by head, without weights */
    bool keys_as_values;       /* layers without a matrix for values use the keys, before they are normed and rotated */
    bool gate_in_queries;      /* behind each head's query stands its output gate */
    bool gates_by_softplus;    /* gates are ln(1 + e^x) of what their matrix gives, not sigmoids */
    bool always_slides;        /* all layers, if the file has a window: as in transformers, where llama.cpp has none */
    bool chunked;              /* windows do not slide: a token looks back to the beginning of its chunk */
    bool indexer_halves;       /* the indexer's heads are rotated as halves, whatever those of attention are */
    bool yarn_scales_scores;   /* YaRN's logarithmic multiplier is for the scores, not for what is rotated */
    const char *rope_dims;     /* an expression by layer: rotated elements of a head; NULL: as the keys say */
    bool sliding_unscaled;     /* rotary scaling is for layers that do not slide */
    bool yarn_is_exact;        /* YaRN's range of pairs is not rounded to whole pairs */
    const char *heats;         /* condition by layer: queries have a temperature; NULL: always, if there is a scale */
    double temperature_offset; /* added to positions for it */
};

struct nb_arch {
    const char *name;               /* general.architecture */
    const enum nb_hparam *demanded; /* keys that llama.cpp requires beyond nb_arch_demanded */
    size_t n_demanded;
    const struct nb_arch_key *keys; /* that llama.cpp requires beyond these */
    size_t n_keys;
    const struct nb_arch_default *defaults; /* beyond those of every architecture */
    size_t n_defaults;
    const struct nb_arch_rule *rules;
    size_t n_rules;
    const struct nb_arch_tensor *tensors; /* none: its tensors are not known to nibble */
    size_t n_tensors;
    const struct nb_arch_block *blocks; /* the blocks of a layer, in order; none: it cannot be run */
    size_t n_blocks;
    enum nb_norm_kind norm;
    bool plain_norms;      /* norms have no weights */
    bool norm_may_be_rms;  /* where the norm is a LayerNorm: it is not if the file has the epsilon of the other kind */
    bool norms_embeddings; /* the embeddings of tokens are normed, without weights */
    double epsilon_after;  /* of norms of results; 0: that of all norms */
    enum nb_activation activation;
    enum nb_rope_pairing rope;
    struct nb_window_rule window;
    struct nb_arch_attention attention;
    bool averages_shared;     /* the results of chosen and shared experts are averaged, not added */
    bool limits_activated;    /* limits inside networks are of the activated gate, not of what is activated */
    bool weighs_expert_input; /* shares are factors of what experts read, not of their results */
    bool divides_logits;      /* by their scale */
    bool tiles_key_heads;     /* of delta nets: head h has the key h % keys; otherwise neighbours share one */
};

#define NB_ARCH(identifier) extern const struct nb_arch nb_arch_##identifier;
#include "formats/models/architectures/architectures.def"
#undef NB_ARCH

/* Every known architecture; ends with NULL. */
extern const struct nb_arch *const nb_archs[];
/* The architecture with this name, or NULL. */
const struct nb_arch *nb_arch_by_name(const char *name);
/* The keys that llama.cpp requires for every architecture. */
extern const enum nb_hparam nb_arch_demanded[];
extern const size_t nb_arch_n_demanded;

/* The row of ARCH for the tensor NAME, or NULL. LAYER receives the layer in NAME, or 0. */
const struct nb_arch_tensor *nb_arch_find(const struct nb_arch *arch, const char *name, uint64_t *layer);
/* The row whose name (with its "%l") is PATTERN, or NULL. */
const struct nb_arch_tensor *nb_arch_row(const struct nb_arch *arch, const char *pattern);
/*
 * The dimensions of ROW in layer LAYER; N_DIMS receives their number, further entries of NE are 1.
 * False if an expression does not give a whole number.
 */
bool nb_arch_shape(const struct nb_arch_tensor *row, const struct nb_hparams *hp, uint64_t layer,
                   uint64_t ne[NB_MAX_DIMS], uint32_t *n_dims);
/* The same, but lengths that only the tensor shows are those of FOUND, its dimensions. */
bool nb_arch_shape_beside(const struct nb_arch_tensor *row, const struct nb_hparams *hp, uint64_t layer,
                          const uint64_t found[NB_MAX_DIMS], uint64_t ne[NB_MAX_DIMS], uint32_t *n_dims);
/* Whether LAYER slides: by the file's own window and pattern, and RULE where it has none. RULE.period 0: only by the file. */
bool nb_layer_slides(const struct nb_window_rule *rule, const struct nb_hparams *hp, uint64_t layer);
/* The sliding window of LAYER in tokens; 0 if it does not slide. */
uint64_t nb_arch_window(const struct nb_arch *arch, const struct nb_hparams *hp, uint64_t layer);
/* Whether each layer has its own tensor of ROW. */
bool nb_arch_is_layered(const struct nb_arch_tensor *row);

/*
 * Fills in hyperparameters whose keys are absent from the metadata, with llama.cpp's defaults, and
 * rejects values that no model of ARCH can have. NAME is the model's, for messages.
 */
enum nb_status nb_arch_complete(const struct nb_arch *arch, struct nb_hparams *hp, const char *name,
                                struct nb_error *err) NB_MUST_CHECK;
/* Checks that apply to every model, from a checkpoint or from GGUF; NAME is the file's, for messages. */
enum nb_status nb_hparams_check(const struct nb_hparams *hp, const char *name, struct nb_error *err) NB_MUST_CHECK;

/* --- name patterns ----------------------------------------------------------------------------------- */

/* Writes PATTERN into NAME with LAYER for "%l" and EXPERT for "%e"; truncated to SIZE bytes. */
void nb_name_fill(const char *pattern, uint64_t layer, uint64_t expert, char *name, size_t size);
/* True if NAME matches PATTERN. LAYER and EXPERT are set only if PATTERN has their placeholder. */
bool nb_name_matches(const char *pattern, const char *name, uint64_t *layer, uint64_t *expert);

#endif
