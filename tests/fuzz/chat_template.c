/* A chat template from a stranger, with the message that 'nibble generate --chat' gives to it. */
#include "fuzz.h"

#include "verify/chat/template.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

void
fuzz_target(const uint8_t *data, size_t size)
{
    json_t *variables = json_pack("{s:[{s:s, s:s}], s:b, s:n, s:s}", "messages", "role", "user", "content", " Hi ",
                                  "add_generation_prompt", 1, "tools", "bos_token", "<s>");
    struct nb_template t;
    struct nb_error err;
    char *text = NULL;

    if (variables == NULL)
        return;
    if (nb_template_read(&t, (const char *)data, size, &err) == NB_OK &&
        nb_template_run(&t, variables, &text, &err) == NB_OK)
        fuzz_claim(text != NULL && strlen(text) < (size_t)64 << 20, "what is rendered is a text");
    free(text);
    nb_template_free(&t);
    json_decref(variables);
}
