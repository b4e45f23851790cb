#include "verify/chat/chat.h"

#include "verify/chat/template.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* The text of token ID; "" if there is none. */
static json_t *
token_text(const struct nb_vocabulary *v, int64_t id)
{
    const bool known = id >= 0 && id < v->size && v->tokens[id].text != NULL;

    return known ? json_stringn(v->tokens[id].text, v->tokens[id].length) : json_string("");
}

/* What transformers gives to a template. */
static json_t *
variables(const struct nb_vocabulary *v, const char *text, size_t length)
{
    json_t *content = json_stringn(text, length);

    return json_pack("{s:[{s:s, s:o}], s:b, s:n, s:n, s:o, s:o}", "messages", "role", "user", "content", content,
                     "add_generation_prompt", true, "tools", "documents", "bos_token", token_text(v, v->bos),
                     "eos_token", token_text(v, v->eos));
}

enum nb_status
nb_chat_prompt(const struct nb_source *source, const struct nb_vocabulary *vocabulary, const char *text, size_t length,
               char **prompt, struct nb_error *err)
{
    const char *written = nb_meta_get_string(&source->meta, "tokenizer.chat_template");
    struct nb_template t = { 0 };
    struct nb_error inner;
    json_t *given;
    enum nb_status status;

    if (written == NULL)
        return nb_fail(err, NB_UNSUPPORTED, "%s: has no chat template", source->path);
    given = variables(vocabulary, text, length);
    if (given == NULL)
        return nb_fail(err, NB_USAGE, "the message is not UTF-8 text");
    status = nb_template_read(&t, written, strlen(written), &inner);
    if (status == NB_OK)
        status = nb_template_run(&t, given, prompt, &inner);
    if (status != NB_OK)
        (void)nb_fail(err, status, "%s: %s", source->path, inner.message);
    nb_template_free(&t);
    json_decref(given);
    return status;
}
