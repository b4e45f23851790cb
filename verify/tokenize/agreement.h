/*
 * Whether the tokenizer of a checkpoint can be expressed in GGUF: a text must become the same tokens
 * by the folder's tokenizer.json, which the model was trained with, and by the metadata, which
 * llama.cpp follows.
 */
#ifndef NB_AGREEMENT_H
#define NB_AGREEMENT_H

#include "formats/base/status.h"
#include "formats/models/source.h"
#include "verify/tokenize/tokenize.h"

/* How far two tokenizers agree. */
enum nb_agreement {
    NB_AGREES,
    NB_AGREEMENT_UNKNOWN,    /* tokenizer.json is absent, or has steps that nibble cannot follow */
    NB_DIFFERS_IN_RARE_TEXT, /* only beside control tokens, with combining marks or a space at the beginning */
    NB_DIFFERS,              /* in plain text */
};

#define NB_DIFFERENCE_TEXT 600

/*
 * Compares the tokenizers of SOURCE, a checkpoint, over a probe: scripts, spaces, source code, and its
 * own control tokens. WHAT receives the first difference as the end of a sentence, or why there is none
 * to be had. Errors: out of memory.
 */
enum nb_status nb_agreement_of(const struct nb_source *source, enum nb_agreement *agreement,
                               char what[NB_DIFFERENCE_TEXT], struct nb_error *err) NB_MUST_CHECK;

/* A text as the tokens of one of two tokenizers, and what to call that one. */
struct nb_tokenized {
    const struct nb_tokenizer *tokenizer;
    const struct nb_ids *ids;
    const char *name;
};

/* Whether two tokenizations of a text differ; WHAT then receives the first difference, as above. */
bool nb_ids_differ(const struct nb_tokenized *a, const struct nb_tokenized *b, char what[NB_DIFFERENCE_TEXT]);

#endif
