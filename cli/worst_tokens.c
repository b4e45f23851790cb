#include "cli/worst_tokens.h"

#include "cli/cli.h"
#include "verify/drift/worst_tokens.h"

#include <math.h>
#include <string.h>

#define WORST 10u        /* tokens of a model */
#define TOKENS_BEFORE 16 /* of the text before each */
#define TEXT 512u        /* bytes of such a text at most */

/* The text of one token in BUFFER. */
static size_t
token_text(const struct measured_text *t, int32_t id, char *buffer, size_t size)
{
    const size_t n = nb_token_bytes(t->tokenizer, id, buffer, size - 1);

    buffer[n] = '\0';
    return n;
}

/* The text before token POSITION, in BUFFER: what the models have seen last. It does not begin amid a character. */
static const char *
text_before(const struct measured_text *t, const struct nb_drift *drift, size_t position, char buffer[TEXT])
{
    const size_t chunk = position / drift->chunk_tokens * drift->chunk_tokens;
    size_t from = position > chunk + TOKENS_BEFORE ? position - TOKENS_BEFORE : chunk, used = 0;
    const char *begin = buffer;

    buffer[0] = '\0';
    for (; from < position && used + 64 < TEXT; from++)
        used += token_text(t, t->ids->id[from], buffer + used, 64);
    while (((unsigned char)*begin & 0xC0) == 0x80)
        begin++;
    return begin;
}

static json_t *
token_json(const struct measured_text *t, int32_t id)
{
    char text[128];

    return cli_json_textn(text, token_text(t, id, text, sizeof text));
}

json_t *
worst_tokens_json(const struct nb_drift *drift, size_t model, const struct measured_text *t)
{
    struct nb_worst_token worst[WORST];
    const size_t n = nb_worst_tokens(drift, model, worst, WORST);
    json_t *list = cli_json_array();

    for (size_t i = 0; i < n; i++) {
        const struct nb_score *base = &drift->score[0][worst[i].scored], *own = &drift->score[model][worst[i].scored];
        char before[TEXT];

        cli_json_add(list,
                     cli_json("{s:f, s:I, s:s, s:o, s:f, s:f, s:o, s:o}", "kld", (double)worst[i].kld, "token",
                              (json_int_t)worst[i].position, "before", text_before(t, drift, worst[i].position, before),
                              "text", token_json(t, t->ids->id[worst[i].position]), "p_base", exp(-(double)base->nll),
                              "p", exp(-(double)own->nll), "base_says", token_json(t, base->top), "says",
                              token_json(t, own->top)));
    }
    return list;
}

static void
print_quoted(const char *before, const char *text, size_t length)
{
    cli_print("%s'", before);
    cli_print_piece(text, length);
    cli_print("'");
}

static void
print_token(const struct measured_text *t, const char *before, int32_t id)
{
    char text[128];

    print_quoted(before, text, token_text(t, id, text, sizeof text));
}

void
worst_tokens_print(const struct nb_drift *drift, size_t model, const struct measured_text *t)
{
    struct nb_worst_token worst[WORST];
    const size_t n = nb_worst_tokens(drift, model, worst, WORST);

    for (size_t i = 0; i < n; i++) {
        const struct nb_score *base = &drift->score[0][worst[i].scored], *own = &drift->score[model][worst[i].scored];
        char buffer[TEXT];
        const char *before = text_before(t, drift, worst[i].position, buffer);

        cli_print("  KLD %8.4f", (double)worst[i].kld);
        print_token(t, "  the text has ", t->ids->id[worst[i].position]);
        cli_print(": %.2f %% by the base, %.2f %% by the model\n", 100 * exp(-(double)base->nll),
                  100 * exp(-(double)own->nll));
        print_quoted("    after ", before, strlen(before));
        print_token(t, "\n    the base says ", base->top);
        print_token(t, ", the model ", own->top);
        cli_print("\n");
    }
}
