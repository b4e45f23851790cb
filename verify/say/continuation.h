/* What a model goes on to say after a prompt. */
#ifndef NB_CONTINUATION_H
#define NB_CONTINUATION_H

#include "formats/base/pool.h"
#include "formats/base/status.h"
#include "verify/run/model.h"
#include "verify/say/sampler.h"
#include "verify/tokenize/tokenize.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Why it stopped. */
enum nb_stop {
    NB_STOP_LENGTH,  /* as many tokens as were wanted */
    NB_STOP_END,     /* the model ended it */
    NB_STOP_CONTEXT, /* the context is full */
};

struct nb_continuation_options {
    size_t tokens;  /* at most */
    size_t context; /* tokens of prompt and continuation together, at most */
    struct nb_sampler sampler;
    /*
     * Called with each token as soon as it is known, but not with the one that ends the text; false asks for a stop:
     * NB_INTERRUPTED. May be NULL.
     */
    bool (*say)(void *context, int32_t id);
    void *say_context;
};

struct nb_continuation {
    struct nb_ids ids; /* without the token that ended it */
    enum nb_stop stop;
    double prompt_seconds, seconds; /* for the prompt, and for all that was said */
};

/*
 * Continues PROMPT, which has at least one token and fewer than the context, by MODEL, of which TOKENIZER is. What was said
 * before an error is in CONTINUATION, too; it is to be freed in any case.
 */
enum nb_status nb_continue_text(const struct nb_model *model, const struct nb_tokenizer *tokenizer,
                                struct nb_pool *pool, const struct nb_ids *prompt,
                                const struct nb_continuation_options *options, struct nb_continuation *continuation,
                                struct nb_error *err) NB_MUST_CHECK;
void nb_continuation_free(struct nb_continuation *continuation);

/* The text of COUNT tokens, from malloc, with a NUL behind its *LENGTH bytes; NULL if out of memory. Control tokens have none. */
char *nb_text_of(const struct nb_tokenizer *tokenizer, const int32_t *ids, size_t count, size_t *length);

#endif
