/* What one of several models said, and how long it said the same as the first of them. */
#ifndef NB_UTTERANCE_H
#define NB_UTTERANCE_H

#include "cli/json.h"
#include "cli/side_by_side.h"
#include "formats/base/status.h"
#include "verify/say/continuation.h"
#include "verify/tokenize/tokenize.h"

#include <stdbool.h>
#include <stddef.h>

struct utterance {
    const char *path;
    struct nb_ids prompt;
    struct nb_continuation said;
    char *text; /* with a NUL behind its LENGTH bytes */
    size_t length;
    size_t *end;    /* where the text of each token ends */
    bool compared;  /* with the first one */
    bool by_text;   /* as texts: their vocabularies differ */
    size_t agrees;  /* its tokens before the first that differs */
    size_t of_base; /* the tokens of the first one */
};

/* The text of what was said; TOKENIZER is the model's. */
enum nb_status utterance_read(struct utterance *utterance, const struct nb_tokenizer *tokenizer,
                              struct nb_error *err) NB_MUST_CHECK;
/* Compares what was said with BASE: token by token where the two have the SAME_VOCABULARY, else as far as the texts go. */
void utterance_compare(struct utterance *utterance, const struct utterance *base, bool same_vocabulary);
/* Whether all of it is what the first one said. */
bool utterance_is_same(const struct utterance *utterance);
/* What is printed of it, with the first token that differs marked. */
struct cli_side utterance_side(const struct utterance *utterance);
json_t *utterance_json(const struct utterance *utterance);
void utterance_free(struct utterance *utterance);

#endif
