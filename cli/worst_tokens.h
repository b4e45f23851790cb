/* Where a model says something else than its base, with the text around it. */
#ifndef NB_CLI_WORST_TOKENS_H
#define NB_CLI_WORST_TOKENS_H

#include "verify/drift/drift.h"
#include "verify/tokenize/tokenize.h"

#include <jansson.h>
#include <stddef.h>

/* A measured text. */
struct measured_text {
    const struct nb_tokenizer *tokenizer; /* of the base */
    const struct nb_ids *ids;
};

/*
 * The worst tokens of MODEL: {"kld", "token": its number in the text, "before", "text", "p_base", "p": the probabilities
 * of it, "base_says", "says": the tokens that were likelier than all others}. Texts whose bytes are no UTF-8 are shown
 * as cli_json_text has them.
 */
json_t *worst_tokens_json(const struct nb_drift *drift, size_t model, const struct measured_text *text);
/* The same as lines for people. */
void worst_tokens_print(const struct nb_drift *drift, size_t model, const struct measured_text *text);

#endif
