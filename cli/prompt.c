#include "cli/prompt.h"

#include "cli/cli.h"
#include "verify/chat/chat.h"
#include "verify/tokenize/text_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int
cli_read_ids(const struct cli_line *line, const char *what, const char *text, struct nb_ids *ids)
{
    const char *at = text;

    ids->room = strlen(text) / 2 + 1;
    ids->count = 0;
    ids->id = malloc(ids->room * sizeof *ids->id);
    if (ids->id == NULL)
        return cli_fail_memory();
    for (;;) {
        char *end;
        unsigned long id;

        at += strspn(at, " \n");
        errno = 0;
        id = strtoul(at, &end, 10);
        if (*at < '0' || *at > '9' || errno != 0 || id > INT32_MAX)
            break;
        ids->id[ids->count++] = (int32_t)id;
        at = end + strspn(end, " \n");
        if (*at == '\0')
            return NB_OK;
        if (*at++ != ',')
            break;
    }
    return cli_usage(line->command->name, "%s: '%s' is not a list of ids, such as 1,2,3", what, text);
}

int
cli_prompt_read(struct cli_prompt *p, const struct cli_line *line)
{
    const char *text = cli_text(line, OPT_PROMPT), *file = cli_text(line, OPT_FILE),
               *ids = cli_text(line, OPT_TOKEN_IDS);
    struct nb_error err;

    *p =
        (struct cli_prompt){ .text = text, .length = text == NULL ? 0 : strlen(text), .chat = cli_has(line, OPT_CHAT) };
    if ((text != NULL) + (file != NULL) + (ids != NULL) != 1)
        return cli_usage(line->command->name, "give a text, with one of -p, -f and --token-ids");
    if (ids != NULL && p->chat)
        return cli_usage(line->command->name, "--chat is for a message; --token-ids are run as they are");
    if (ids != NULL)
        return cli_read_ids(line, "--token-ids", ids, &p->ids);
    if (file != NULL && nb_text_file_load(file, &p->own, &p->length, &err) != NB_OK)
        return cli_fail(&err);
    p->text = file != NULL ? p->own : text;
    return NB_OK;
}

/* The tokens of the message as its template has it. */
static enum nb_status
chat_tokens(const struct cli_prompt *p, const struct nb_source *source, const struct nb_tokenizer *t,
            struct nb_ids *ids, struct nb_error *err)
{
    char *text = NULL;
    enum nb_status status = nb_chat_prompt(source, nb_tokenizer_vocabulary(t), p->text, p->length, &text, err);

    if (status == NB_OK)
        status = nb_tokenize(t, text, strlen(text), NB_PARSE_SPECIAL, ids, err);
    free(text);
    return status;
}

enum nb_status
cli_prompt_tokens(const struct cli_prompt *p, const struct nb_source *source, const struct nb_tokenizer *t,
                  struct nb_ids *ids, struct nb_error *err)
{
    if (p->chat)
        return chat_tokens(p, source, t, ids, err);
    if (p->text != NULL)
        return nb_tokenize(t, p->text, p->length, NB_ADD_SPECIAL | NB_PARSE_SPECIAL, ids, err);
    ids->id = malloc(p->ids.count * sizeof *ids->id);
    if (ids->id == NULL)
        return nb_fail_memory(err);
    memcpy(ids->id, p->ids.id, p->ids.count * sizeof *ids->id);
    ids->count = ids->room = p->ids.count;
    return NB_OK;
}

void
cli_prompt_free(struct cli_prompt *p)
{
    free(p->own);
    nb_ids_free(&p->ids);
    *p = (struct cli_prompt){ 0 };
}
