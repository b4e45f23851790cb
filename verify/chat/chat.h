/* A user's message as the chat template of a model wants it. */
#ifndef NB_CHAT_H
#define NB_CHAT_H

#include "formats/base/status.h"
#include "formats/models/source.h"
#include "formats/tokenizer/vocabulary.h"

#include <stddef.h>

/*
 * *PROMPT, from malloc, receives what the template of SOURCE (tokenizer.chat_template) makes of one message of LENGTH bytes at
 * TEXT, with the beginning of an answer. Its control tokens are those of VOCABULARY: it is to be tokenized with
 * NB_PARSE_SPECIAL, and without NB_ADD_SPECIAL.
 */
enum nb_status nb_chat_prompt(const struct nb_source *source, const struct nb_vocabulary *vocabulary, const char *text,
                              size_t length, char **prompt, struct nb_error *err) NB_MUST_CHECK;

#endif
