/*
 * How far a model has drifted from its base: perplexity of each, and the
 * divergence of their next-token distributions, over the chunks of a text, all
 * models in one pass. Chunks and scored positions are llama-perplexity's
 * (tools/perplexity): the text is cut into chunks of so many tokens, each begins
 * anew, and the second half of each is scored. Logits are compared as floats, whole,
 * and never stored in a file.
 */
#ifndef NB_DRIFT_H
#define NB_DRIFT_H

#include "formats/base/status.h"
#include "verify/run/model.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One model on one scored token. */
struct nb_score {
    float nll;      /* -ln of the probability of the token that came; natural logarithms everywhere */
    float kld;      /* KL divergence from the base's distribution, in nats; 0 for the base itself */
    bool same_top;  /* its likeliest token is the base's */
};

struct nb_drift_options {
    uint32_t chunk_tokens; /* 512 is the usual number */
    uint32_t max_chunks;   /* 0: all there are */
    unsigned threads;      /* 0: one for each core */
    int64_t bos;           /* replaces the first token of every chunk; -1: nothing does */
    /* Called ten times a second from the calling thread, with the chunks that are done; may be NULL. */
    void (*progress)(void *context, uint32_t chunks, uint32_t of);
    void *context;
    const volatile sig_atomic_t *stop; /* not zero asks for a stop: NB_INTERRUPTED; may be NULL */
};

struct nb_drift {
    uint32_t chunks, chunk_tokens;
    size_t scored; /* tokens, of all chunks together: chunks x (chunk_tokens - 1 - chunk_tokens / 2) */
    size_t models;
    struct nb_score **score; /* of each model, MODELS x SCORED, in the order of the text */
};

/* Chunks that COUNT tokens make under OPTIONS; 0 where they are too few for two, which is refused. */
uint32_t nb_drift_chunks(size_t count, const struct nb_drift_options *options);

/*
 * Measures MODELS models, of which the first is the base, on COUNT tokens. All must
 * have vocabularies of one size. DRIFT is filled chunk by chunk; its chunks so far
 * are those that PROGRESS was told of.
 */
enum nb_status nb_drift_measure(const struct nb_model *const *model, size_t models, const int32_t *tokens,
                                size_t count, const struct nb_drift_options *options, struct nb_drift *drift,
                                struct nb_error *err) NB_MUST_CHECK;
void nb_drift_free(struct nb_drift *drift);

#endif
