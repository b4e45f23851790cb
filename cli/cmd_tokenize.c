#include "cli/cli.h"

#include "formats/base/status.h"
#include "formats/base/text.h"
#include "formats/models/source.h"
#include "verify/tokenize/text_file.h"
#include "verify/tokenize/tokenize.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tokenize_options {
    struct nb_source_options as; /* what a checkpoint is taken for */
    bool ids, count, json, null_data;
    unsigned flags;
};

static void
print_ids(const struct nb_ids *ids)
{
    cli_print("[");
    for (size_t i = 0; i < ids->count; i++)
        cli_print("%s%d", i > 0 ? ", " : "", (int)ids->id[i]);
    cli_print("]\n");
}

static json_t *
bytes_json(const char *bytes, size_t count)
{
    json_t *list = cli_json_array();

    for (size_t i = 0; i < count; i++)
        cli_json_add(list, cli_json_integer((unsigned char)bytes[i]));
    return list;
}

static json_t *
tokens_json(const struct nb_tokenizer *t, const struct nb_ids *ids)
{
    json_t *list = cli_json_array();
    char piece[1024];

    for (size_t i = 0; i < ids->count; i++) {
        const size_t length = nb_token_bytes(t, ids->id[i], piece, sizeof piece);
        const bool text = nb_utf8_valid(piece, length); /* a part of a character is none */
        json_t *token = cli_json("{s:i, s:o}", "id", (int)ids->id[i], "piece",
                                 text ? cli_json_textn(piece, length) : json_null());

        if (!text)
            cli_json_set(token, "bytes", bytes_json(piece, length));
        cli_json_add(list, token);
    }
    return list;
}

static void
print_text(const struct tokenize_options *a, const struct nb_tokenizer *t, const struct nb_ids *ids)
{
    char piece[1024];

    if (a->ids)
        print_ids(ids);
    for (size_t i = 0; i < ids->count && !a->ids; i++) {
        cli_print("%6d -> '", (int)ids->id[i]);
        cli_print_piece(piece, nb_token_bytes(t, ids->id[i], piece, sizeof piece));
        cli_print("'\n");
    }
}

/* Every text in its turn; JSON is collected in LISTS. */
static enum nb_status
each_text(const struct tokenize_options *a, const struct nb_tokenizer *t, const char *text, size_t length,
          json_t *lists, size_t *count, struct nb_error *err)
{
    struct nb_ids ids = { 0 };
    enum nb_status status = NB_OK;
    size_t from = 0;

    do {
        const char *end = a->null_data ? memchr(text + from, '\0', length - from) : NULL;
        const size_t n = end == NULL ? length - from : (size_t)(end - text) - from;

        ids.count = 0;
        status = nb_tokenize(t, text + from, n, a->flags, &ids, err);
        if (status == NB_OK && from > 0 && !a->ids && !a->json)
            cli_print("\n");
        if (status == NB_OK && a->json)
            cli_json_add(lists, tokens_json(t, &ids));
        else if (status == NB_OK)
            print_text(a, t, &ids);
        *count += ids.count;
        from += n + 1;
    } while (status == NB_OK && from < length);
    nb_ids_free(&ids);
    return status;
}

/* The one element of LISTS, which is released. */
static json_t *
only(json_t *lists)
{
    json_t *first = json_incref(json_array_get(lists, 0));

    json_decref(lists);
    return first;
}

static int
print(const struct tokenize_options *a, const struct nb_tokenizer *t, const char *text, size_t length)
{
    json_t *lists = cli_json_array();
    struct nb_error err;
    size_t count = 0;

    if (each_text(a, t, text, length, lists, &count, &err) != NB_OK) {
        json_decref(lists);
        return cli_fail(&err);
    }
    if (a->json)
        return cli_print_json(cli_json("{s:I, s:o}", "count", (json_int_t)count, a->null_data ? "texts" : "tokens",
                                       a->null_data ? lists : only(lists)));
    json_decref(lists);
    if (a->count)
        cli_print("Total number of tokens: %zu\n", count);
    return cli_finish();
}

static int
tokenize(const struct tokenize_options *a, const char *path, const char *text, size_t length)
{
    struct nb_source source;
    struct nb_tokenizer *t = NULL;
    struct nb_error err;
    int code;

    if (nb_source_open(&source, path, &a->as, &err) != NB_OK)
        return cli_fail(&err);
    if (nb_tokenizer_open(&t, &source, &err) != NB_OK)
        code = cli_fail(&err);
    else
        code = print(a, t, text, length);
    nb_tokenizer_close(t);
    nb_source_close(&source);
    return code;
}

int
cmd_tokenize(const struct cli_line *line)
{
    const struct tokenize_options a = {
        .as.model_class = cli_text(line, OPT_MODEL_CLASS),
        .as.follow_links = cli_has(line, OPT_FOLLOW_LINKS),
        .ids = cli_has(line, OPT_IDS),
        .count = cli_has(line, OPT_SHOW_COUNT),
        .json = cli_has(line, OPT_JSON),
        .null_data = cli_has(line, OPT_NULL_DATA),
        .flags = (cli_has(line, OPT_NO_BOS) ? 0u : NB_ADD_SPECIAL) |
                 (cli_has(line, OPT_NO_PARSE_SPECIAL) ? 0u : NB_PARSE_SPECIAL),
    };
    const char *prompt = cli_text(line, OPT_PROMPT), *file = cli_text(line, OPT_FILE), *source = line->operands[0];
    struct nb_error err;
    char *text = NULL;
    size_t length;
    int code;

    if ((prompt == NULL) == (file == NULL))
        return cli_usage("tokenize", "give a text, with either -p or -f");
    if (prompt != NULL)
        return tokenize(&a, source, prompt, strlen(prompt));
    if (nb_text_file_load(file, &text, &length, &err) != NB_OK)
        return cli_fail(&err);
    code = tokenize(&a, source, text, length);
    free(text);
    return code;
}
