/*
 * What quantizing each matrix alone does to the predictions of a model: the KL divergence from the original's, measured on
 * a few chunks of a text. The layers before the changed one are computed once.
 */
#ifndef NB_EFFECTS_H
#define NB_EFFECTS_H

#include "formats/base/status.h"
#include "formats/models/source.h"
#include "verify/run/model.h"

#include <signal.h>
#include <stddef.h>
#include <stdint.h>

struct nb_effect {
    const char *name;           /* of the tensor */
    const struct nb_view *view; /* the original one */
    double kld;                 /* in nats a token, with the type that OTHER has */
};

struct nb_effects_options {
    uint32_t chunk_tokens, chunks; /* CHUNKS of them, spread over the text */
    unsigned threads;              /* 0: one per core */
    int64_t bos;                   /* replaces the first token of every chunk; -1: not replaced */
    /* Called ten times a second from the calling thread: what is being measured, and the share that is done. May be NULL. */
    void (*progress)(void *context, const char *what, double share);
    void *context;
    const volatile sig_atomic_t *stop; /* as for nb_refine_options */
};

/*
 * Fills EFFECTS (as many as nb_effects_count) for the matrices of MODEL, and its embedding, each replaced by the tensor of
 * the same name in OTHER, a quantized file of it. MODEL is changed meanwhile.
 */
enum nb_status nb_effects_measure(struct nb_model *model, const struct nb_source *other, const int32_t *tokens,
                                  size_t count, const struct nb_effects_options *options, struct nb_effect *effects,
                                  struct nb_error *err) NB_MUST_CHECK;
size_t nb_effects_count(const struct nb_model *model);

#endif
