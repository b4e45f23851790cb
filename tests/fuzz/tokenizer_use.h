/* Cuts a few texts with the tokenizer of a checkpoint folder, if it has a good one. */
#ifndef NB_TOKENIZER_USE_H
#define NB_TOKENIZER_USE_H

#include "formats/base/status.h"
#include "formats/models/source.h"
#include "verify/tokenize/tokenize.h"

#include <string.h>

static inline void
use_tokenizer_of(const char *path)
{
    static const char *const texts[] = {
        "ab <s> It's 123  \n\n x",
        "\xff\xe4\xb8 \xed\xa0\x80 ab\xf4\x90\x80\x80",
        "\xe4\xb8\xad caf\xc3\xa9 aaaaabbbab",
    };
    struct nb_tokenizer *tokenizer;
    struct nb_source source;
    char bytes[64];

    if (nb_source_open(&source, path, NULL, NULL) != NB_OK)
        return;
    if (nb_tokenizer_open(&tokenizer, &source, NULL) == NB_OK) {
        for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
            struct nb_ids ids = { 0 };

            if (nb_tokenize(tokenizer, texts[i], strlen(texts[i]), 3, &ids, NULL) == NB_OK)
                for (size_t k = 0; k < ids.count; k++)
                    nb_token_bytes(tokenizer, ids.id[k], bytes, sizeof bytes);
            nb_ids_free(&ids);
        }
        nb_tokenizer_close(tokenizer);
    }
    nb_source_close(&source);
}

#endif
