#include "cli/cli.h"

#include "cli/prompt.h"
#include "cli/side_by_side.h"
#include "cli/utterance.h"
#include "formats/base/pool.h"
#include "formats/base/status.h"
#include "formats/base/text.h"
#include "formats/models/source.h"
#include "verify/run/model.h"
#include "verify/say/continuation.h"
#include "verify/tokenize/tokenize.h"

#include <stdlib.h>
#include <string.h>

#define DEFAULT_TOKENS 64u
#define MAX_PIECE 1024u

struct generate_options {
    struct nb_source_options as; /* what a checkpoint is taken for; of the first source */
    struct cli_prompt prompt;
    struct nb_sampler sampler;
    uint32_t tokens, context; /* CONTEXT 0: what the model was trained for */
    unsigned threads;
    bool json, echo; /* ECHO: of the prompt */
};

/* A model that is open. */
struct speaking {
    struct nb_source source;
    struct nb_model model;
    struct nb_tokenizer *tokenizer;
};

struct generate_run {
    const struct generate_options *options;
    struct nb_pool *pool;
    struct speaking base; /* the first source, whose vocabulary the others are compared with */
    struct utterance *utterances;
    size_t models, done;
    struct cli_progress progress;

    /* What is being said. */
    const struct nb_tokenizer *tokenizer;
    size_t said;
    char pending[MAX_PIECE + 4]; /* the beginning of a character */
    size_t n_pending;
};

/* --- as it is said -------------------------------------------------------------------------------------------------- */

/* Writes what is said so far, but not the beginning of a character whose end may come with the next token. */
static void
stream(struct generate_run *r, int32_t id)
{
    size_t n, whole;
    char *piece = nb_text_of(r->tokenizer, &id, 1, &n);

    if (piece == NULL)
        return; /* the next call that needs memory says so */
    n = n < MAX_PIECE ? n : MAX_PIECE;
    memcpy(r->pending + r->n_pending, piece, n);
    free(piece);
    n += r->n_pending;
    whole = nb_utf8_whole(r->pending, n);
    cli_show_lines(stdout, r->pending, whole);
    fflush(stdout);
    r->n_pending = n - whole;
    memmove(r->pending, r->pending + whole, r->n_pending);
}

static bool
on_said(void *context, int32_t id)
{
    struct generate_run *r = context;
    const size_t tokens = r->options->tokens;
    char text[64];

    r->said++;
    if (r->models == 1 && !r->options->json) {
        if (r->said == 1)
            cli_progress_end(&r->progress);
        stream(r, id);
        return true;
    }
    snprintf(text, sizeof text, "model %zu of %zu, token %zu", r->done + 1, r->models, r->said);
    cli_progress_share(&r->progress, ((double)r->done + (double)r->said / (double)tokens) / (double)r->models, text);
    return true;
}

/* --- models ------------------------------------------------------------------------------------------------------------ */

static enum nb_status
open_speaking(struct speaking *s, const char *path, const struct nb_source_options *as, struct nb_error *err)
{
    enum nb_status status = nb_source_open(&s->source, path, as, err);

    if (status != NB_OK)
        return status;
    status = nb_model_open(&s->model, &s->source, err);
    if (status == NB_OK) {
        status = nb_tokenizer_open(&s->tokenizer, &s->source, err);
        if (status != NB_OK)
            nb_model_close(&s->model);
    }
    if (status != NB_OK)
        nb_source_close(&s->source);
    return status;
}

static void
close_speaking(struct speaking *s)
{
    if (s->tokenizer == NULL)
        return; /* it is not open */
    nb_tokenizer_close(s->tokenizer);
    nb_model_close(&s->model);
    nb_source_close(&s->source);
    s->tokenizer = NULL;
}

static enum nb_status
speak(struct generate_run *r, const struct speaking *s, struct utterance *u, struct nb_error *err)
{
    const struct generate_options *o = r->options;
    const struct nb_continuation_options options = {
        .tokens = o->tokens,
        .context = o->context != 0 ? o->context : nb_source_context(&s->source),
        .sampler = o->sampler,
        .say = on_said,
        .say_context = r,
    };
    enum nb_status status = cli_prompt_tokens(&o->prompt, &s->source, s->tokenizer, &u->prompt, err), ended;

    if (status != NB_OK)
        return status;
    cli_progress_start(&r->progress);
    cli_progress_say(&r->progress, "reading the prompt");
    r->tokenizer = s->tokenizer;
    r->said = 0;
    status = nb_continue_text(&s->model, s->tokenizer, r->pool, &u->prompt, &options, &u->said, err);
    cli_progress_end(&r->progress);
    if (r->models == 1 && !o->json && r->said > 0) {
        cli_show_lines(stdout, r->pending, r->n_pending);
        cli_print("\n");
    }
    if (status != NB_OK)
        return status;
    ended = utterance_read(u, s->tokenizer, err);
    cli_detail("%s: %zu tokens of the prompt in %.2f s, %zu more in %.2f s (%.1f a second)", u->path, u->prompt.count,
               u->said.prompt_seconds, u->said.ids.count, u->said.seconds,
               u->said.seconds > 0 ? (double)(u->said.ids.count - 1) / u->said.seconds : 0);
    return ended;
}

/* Lets the model at PATH, which is not the first one, speak. */
static enum nb_status
speak_too(struct generate_run *r, const char *path, struct utterance *u, struct nb_error *err)
{
    const struct nb_source_options as = { .follow_links = r->options->as.follow_links };
    struct speaking s = { 0 };
    enum nb_status status = open_speaking(&s, path, &as, err);
    uint32_t where;

    if (status == NB_OK)
        status = speak(r, &s, u, err);
    if (status == NB_OK)
        utterance_compare(u, &r->utterances[0],
                          nb_vocabulary_same(nb_tokenizer_vocabulary(s.tokenizer),
                                             nb_tokenizer_vocabulary(r->base.tokenizer), &where));
    close_speaking(&s);
    return status;
}

static enum nb_status
speak_all(struct generate_run *r, char **paths, struct nb_error *err)
{
    enum nb_status status = open_speaking(&r->base, paths[0], &r->options->as, err);

    for (r->done = 0; r->done < r->models && status == NB_OK; r->done++) {
        struct utterance *u = &r->utterances[r->done];

        u->path = paths[r->done];
        if (r->done == 0 && r->options->echo && r->models == 1 && !r->options->json)
            cli_show_lines(stdout, r->options->prompt.text, r->options->prompt.length);
        status = r->done == 0 ? speak(r, &r->base, u, err) : speak_too(r, u->path, u, err);
    }
    return status;
}

/* --- results ------------------------------------------------------------------------------------------------------------- */

static void
print_agreement(const struct utterance *u, const struct utterance *base)
{
    const char *unit = u->said.ids.count == 1 ? "token" : "tokens";

    if (utterance_is_same(u))
        cli_print("%s says the same as %s: %zu %s\n", u->path, base->path, u->said.ids.count, unit);
    else
        cli_print("%s says the same as %s for %zu of %zu %s\n", u->path, base->path, u->agrees, u->said.ids.count,
                  unit);
    if (u->by_text)
        cli_note("%s has other tokens than %s: their texts were compared", u->path, base->path);
}

static int
print_texts(const struct generate_run *r)
{
    struct cli_side *sides = calloc(r->models, sizeof *sides);
    const int columns = cli_columns(stdout);
    int code;

    if (sides == NULL)
        return cli_fail_memory();
    for (size_t i = 0; i < r->models; i++)
        sides[i] = utterance_side(&r->utterances[i]);
    code = cli_side_by_side(sides, r->models, cli_is_wide() || columns < CLI_NARROW ? columns : CLI_NARROW);
    free(sides);
    if (code == NB_OK)
        cli_print("\n");
    for (size_t i = 1; i < r->models && code == NB_OK; i++)
        print_agreement(&r->utterances[i], &r->utterances[0]);
    return code == NB_OK ? cli_finish() : code;
}

static int
print_json(const struct generate_run *r)
{
    json_t *models = cli_json_array();

    for (size_t i = 0; i < r->models; i++)
        cli_json_add(models, utterance_json(&r->utterances[i]));
    return cli_print_json(cli_json("{s:o}", "models", models));
}

static void
note_full_contexts(const struct generate_run *r)
{
    for (size_t i = 0; i < r->models; i++)
        if (r->utterances[i].said.stop == NB_STOP_CONTEXT)
            cli_note("%s: its context of %zu tokens is full", r->utterances[i].path,
                     r->utterances[i].prompt.count + r->utterances[i].said.ids.count);
}

static int
generate(const struct generate_options *o, const struct cli_line *line)
{
    const struct nb_pool_watch watch = { .stop = cli_catch_signals() };
    struct generate_run r = { .options = o, .models = line->n_operands };
    struct nb_error err;
    enum nb_status status = nb_pool_new(&r.pool, o->threads, &err);
    int code;

    if (status == NB_OK)
        nb_pool_watch(r.pool, &watch);
    r.utterances = calloc(r.models, sizeof *r.utterances);
    if (status == NB_OK && r.utterances == NULL)
        status = nb_fail_memory(&err);
    if (status == NB_OK)
        status = speak_all(&r, line->operands, &err);
    if (status != NB_OK) {
        code = cli_fail(&err);
    } else {
        note_full_contexts(&r);
        code = o->json ? print_json(&r) : r.models > 1 ? print_texts(&r) : cli_finish();
    }
    for (size_t i = 0; r.utterances != NULL && i < r.models; i++)
        utterance_free(&r.utterances[i]);
    free(r.utterances);
    close_speaking(&r.base);
    nb_pool_free(r.pool);
    return code;
}

int
cmd_generate(const struct cli_line *line)
{
    struct generate_options o = {
        .as.model_class = cli_text(line, OPT_MODEL_CLASS),
        .as.pre_tokenizer = cli_text(line, OPT_PRE_TOKENIZER),
        .as.follow_links = cli_has(line, OPT_FOLLOW_LINKS),
        .sampler = { cli_real(line, OPT_TEMP, 0), cli_number(line, OPT_SEED, 1) },
        .tokens = cli_number(line, OPT_PREDICT, DEFAULT_TOKENS),
        .context = cli_number(line, OPT_CTX, 0),
        .threads = cli_number(line, OPT_THREADS, 0),
        .json = cli_has(line, OPT_JSON),
        .echo = cli_has(line, OPT_PROMPT) && !cli_has(line, OPT_CHAT),
    };
    int code = cli_prompt_read(&o.prompt, line);

    if (code == NB_OK)
        code = generate(&o, line);
    cli_prompt_free(&o.prompt);
    return code;
}
