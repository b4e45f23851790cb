/* The text that a model is to read, as it stands on the command line: -p, -f or --token-ids. */
#ifndef NB_CLI_PROMPT_H
#define NB_CLI_PROMPT_H

#include "cli/command_line.h"
#include "formats/base/status.h"
#include "formats/models/source.h"
#include "verify/tokenize/tokenize.h"

#include <stdbool.h>
#include <stddef.h>

struct cli_prompt {
    const char *text; /* NULL: tokens are given */
    size_t length;
    char *own;         /* the text, if it is of a file */
    struct nb_ids ids; /* that are given */
    bool chat;         /* the text is a message, for which the model has a template */
};

/*
 * Reads what LINE names: exactly one of the three. Returns an exit code; with anything but NB_OK the sentence is printed.
 * PROMPT is to be freed in any case.
 */
int cli_prompt_read(struct cli_prompt *prompt, const struct cli_line *line);
/*
 * IDS receives its tokens: those that are given, as they are, or else those that TOKENIZER, which is of SOURCE, makes of the
 * text.
 */
enum nb_status cli_prompt_tokens(const struct cli_prompt *prompt, const struct nb_source *source,
                                 const struct nb_tokenizer *tokenizer, struct nb_ids *ids,
                                 struct nb_error *err) NB_MUST_CHECK;
void cli_prompt_free(struct cli_prompt *prompt);

/* The list of ids TEXT, "1,2,3", which is the argument of WHAT, to IDS. Returns an exit code, as above. */
int cli_read_ids(const struct cli_line *line, const char *what, const char *text, struct nb_ids *ids);

#endif
