/*
 * Measures how far models have drifted from a base model: the perplexity of
 * each, and the KL divergence of the next-token distributions, over the chunks
 * of a text, all models in one pass. Chunks and scored positions are those of
 * llama-perplexity (tools/perplexity): each chunk starts with an empty context,
 * and its second half is scored. Full logits are compared as floats; they are
 * never stored in a file.
 */
#ifndef NB_DRIFT_H
#define NB_DRIFT_H

#include "formats/base/status.h"
#include "verify/drift/saved_base.h"
#include "verify/run/model.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The scores of one model for one token. */
struct nb_score {
    float nll;     /* -ln of the true token's probability; all logarithms are natural */
    float kld;     /* KL divergence from the base's distribution, in nats; 0 for the base itself */
    bool same_top; /* its most likely token is the base's */
    int32_t top;   /* its most likely token */
};

struct nb_drift_options {
    uint32_t chunk_tokens; /* usually 512 */
    uint32_t max_chunks;   /* 0: all */
    unsigned threads;      /* 0: one per core */
    int64_t bos;           /* replaces the first token of every chunk; -1: not replaced */
    bool round;            /* run all models but the base with activations rounded as llama.cpp's kernels round them */
    struct nb_base_writer *save;      /* receives the predictions of the base; may be NULL */
    struct nb_base_reader *base_from; /* has them, and the first model is NULL; may be NULL */
    /* Called ten times a second from the calling thread, with the chunks and the share (0 to 1) that are done. */
    void (*progress)(void *context, uint32_t chunks, uint32_t of, double share); /* may be NULL */
    /*
     * Called for a model whose own tokenizer makes other tokens of the text: users of that model will see another
     * quality than is measured here. WHAT is the end of a sentence. May be NULL.
     */
    void (*other_tokens)(void *context, size_t model, const char *what);
    void *context;                     /* of both */
    const volatile sig_atomic_t *stop; /* not zero asks for a stop: NB_INTERRUPTED; may be NULL */
};

struct nb_drift {
    uint32_t chunks, chunk_tokens;
    size_t scored; /* tokens of all chunks: chunks x (chunk_tokens - 1 - chunk_tokens / 2) */
    size_t models;
    struct nb_score **score; /* MODELS x SCORED, in text order */
};

/* Where the scored token I stands in the tokens that were measured. */
size_t nb_drift_position(const struct nb_drift *drift, size_t i);

/* The number of chunks of COUNT tokens under OPTIONS; 0 if there are not at least two, which is an error. */
uint32_t nb_drift_chunks(size_t count, const struct nb_drift_options *options);

/*
 * Measures MODELS models, the first of which is the base, on COUNT tokens: those of the saved base, if there is one, or the
 * first of them. All must have the same vocabulary size. DRIFT is filled chunk by chunk, up to the
 * chunks that were last reported to PROGRESS.
 */
enum nb_status nb_drift_measure(const struct nb_model *const *model, size_t models, const int32_t *tokens, size_t count,
                                const struct nb_drift_options *options, struct nb_drift *drift,
                                struct nb_error *err) NB_MUST_CHECK;
void nb_drift_free(struct nb_drift *drift);

#endif
