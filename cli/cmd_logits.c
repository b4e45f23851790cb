#include "cli/cli.h"

#include "cli/prompt.h"
#include "formats/base/pool.h"
#include "formats/base/status.h"
#include "formats/base/text.h"
#include "formats/models/source.h"
#include "verify/run/model.h"
#include "verify/say/ranking.h"
#include "verify/say/speaker.h"
#include "verify/tokenize/tokenize.h"

#include <math.h>
#include <stdlib.h>

#define DEFAULT_TOP 5u
#define PIECE 40 /* bytes of a token's text as it is shown */

struct logits_options {
    struct nb_source_options as; /* what a checkpoint is taken for */
    struct cli_prompt prompt;
    struct nb_ids at;
    uint32_t top;
    unsigned threads;
    bool json;
};

/* One text through one model. */
struct logits_run {
    const struct logits_options *options;
    struct nb_source source;
    struct nb_model model;
    struct nb_tokenizer *tokenizer; /* NULL: pieces are not shown */
    struct nb_pool *pool;
    struct cli_progress progress;
    struct nb_ids ids;
    struct nb_ranked *top;
    size_t n_top;
    json_t *positions; /* NULL: a table is printed */
};

/* The text of token ID in quotes, as it is shown. */
static const char *
piece_of(const struct logits_run *r, int32_t id, char shown[PIECE])
{
    char piece[PIECE];

    *shown = '\0';
    if (r->tokenizer != NULL)
        nb_show(shown, PIECE, piece, nb_token_bytes(r->tokenizer, id, piece, sizeof piece));
    return shown;
}

static json_t *
position_json(const struct logits_run *r, const float *row, double sum)
{
    const struct nb_ids *at = &r->options->at;
    json_t *position = cli_json("{s:f}", "logsumexp", sum), *top = cli_json_array(), *wanted = cli_json_array();

    for (size_t i = 0; i < r->n_top; i++)
        cli_json_add(top, cli_json("{s:i, s:f, s:f}", "id", (int)r->top[i].id, "logit", (double)r->top[i].logit,
                                   "logprob", (double)r->top[i].logit - sum));
    for (size_t i = 0; i < at->count; i++)
        cli_json_add(wanted, cli_json("{s:i, s:f}", "id", (int)at->id[i], "logit", (double)row[at->id[i]]));
    cli_json_set(position, "top", top);
    cli_json_set(position, "at", wanted);
    return position;
}

static void
print_token(const struct logits_run *r, const char *before, int32_t id, double logit, double sum)
{
    char shown[PIECE];

    cli_print("%s%8d  %-24.24s %11.5f  %8.4f %%\n", before, (int)id, piece_of(r, id, shown), logit,
              100 * exp(logit - sum));
}

static void
print_position(const struct logits_run *r, size_t position, const float *row, double sum)
{
    const struct nb_ids *at = &r->options->at;
    char shown[PIECE];

    cli_print("%zu: %d %s, log-sum-exp %.5f\n", position, (int)r->ids.id[position],
              piece_of(r, r->ids.id[position], shown), sum);
    for (size_t i = 0; i < r->n_top; i++)
        print_token(r, "   ", r->top[i].id, (double)r->top[i].logit, sum);
    for (size_t i = 0; i < at->count; i++)
        print_token(r, " at", at->id[i], (double)row[at->id[i]], sum);
}

static enum nb_status
on_logits(void *context, size_t position, const float *row, struct nb_error *err)
{
    struct logits_run *r = context;
    const size_t vocab = nb_model_vocab(&r->model);
    const double sum = nb_log_sum_exp(row, vocab);

    (void)err;
    if (position == 0)
        cli_progress_end(&r->progress);
    if (r->n_top > 0)
        nb_rank(row, vocab, r->top, r->n_top);
    if (r->positions != NULL)
        cli_json_add(r->positions, position_json(r, row, sum));
    else
        print_position(r, position, row, sum);
    return NB_OK;
}

static enum nb_status
check_wanted(const struct logits_run *r, struct nb_error *err)
{
    const struct nb_ids *at = &r->options->at;
    const uint32_t vocab = nb_model_vocab(&r->model);

    for (size_t i = 0; i < at->count; i++)
        if ((uint32_t)at->id[i] >= vocab)
            return nb_fail(err, NB_USAGE, "--at: the vocabulary of %s has the ids from 0 to %u, and not %d",
                           r->source.path, vocab - 1, (int)at->id[i]);
    return NB_OK;
}

/* Opens the model, with the tokenizer only where its texts are needed: tokens can be given for any model. */
static enum nb_status
open_model(struct logits_run *r, struct nb_error *err)
{
    const struct logits_options *o = r->options;
    enum nb_status status = nb_model_open(&r->model, &r->source, err);
    struct nb_error unreadable;

    if (status == NB_OK && o->prompt.text != NULL)
        status = nb_tokenizer_open(&r->tokenizer, &r->source, err);
    else if (status == NB_OK && !o->json && nb_tokenizer_open(&r->tokenizer, &r->source, &unreadable) != NB_OK)
        cli_note("%s; tokens are shown without their texts", unreadable.message);
    if (status == NB_OK)
        status = cli_prompt_tokens(&o->prompt, &r->source, r->tokenizer, &r->ids, err);
    if (status == NB_OK)
        status = check_wanted(r, err);
    if (status == NB_OK && r->ids.count == 0)
        status = nb_fail(err, NB_USAGE, "%s: the text has no tokens", r->source.path);
    return status;
}

static enum nb_status
run_text(struct logits_run *r, struct nb_error *err)
{
    const struct nb_pool_watch watch = { .stop = cli_catch_signals() };
    const uint32_t vocab = nb_model_vocab(&r->model);
    struct nb_speaker speaker = { 0 };
    enum nb_status status = nb_pool_new(&r->pool, r->options->threads, err);

    r->n_top = r->options->top < vocab ? r->options->top : vocab;
    r->top = calloc(r->n_top + 1, sizeof *r->top);
    if (status == NB_OK && r->top == NULL)
        status = nb_fail_memory(err);
    if (status != NB_OK)
        return status;
    nb_pool_watch(r->pool, &watch);
    cli_progress_start(&r->progress);
    cli_progress_say(&r->progress, "running the model");
    status = nb_speaker_open(&speaker, &r->model, r->pool, r->ids.count, r->ids.count, err);
    if (status == NB_OK)
        status = nb_speaker_read(&speaker, r->ids.id, r->ids.count, on_logits, r, err);
    cli_progress_end(&r->progress);
    nb_speaker_close(&speaker);
    nb_pool_watch(r->pool, NULL);
    return status;
}

static json_t *
ids_json(const struct nb_ids *ids)
{
    json_t *list = cli_json_array();

    for (size_t i = 0; i < ids->count; i++)
        cli_json_add(list, cli_json_integer(ids->id[i]));
    return list;
}

static int
logits(const struct logits_options *o, const char *path)
{
    struct logits_run r = { .options = o };
    struct nb_error err;
    enum nb_status status = nb_source_open(&r.source, path, &o->as, &err);
    int code;

    if (status != NB_OK)
        return cli_fail(&err);
    r.positions = o->json ? cli_json_array() : NULL;
    status = open_model(&r, &err);
    if (status == NB_OK) {
        if (nb_source_context(&r.source) < r.ids.count)
            cli_warn("%s: the text of %zu tokens is longer than its context of %zu", path, r.ids.count,
                     nb_source_context(&r.source));
        status = run_text(&r, &err);
    }
    if (status == NB_OK && o->json)
        code = cli_print_json(cli_json("{s:o, s:o}", "ids", ids_json(&r.ids), "positions", json_incref(r.positions)));
    else
        code = status == NB_OK ? cli_finish() : cli_fail(&err);
    json_decref(r.positions);
    free(r.top);
    nb_pool_free(r.pool);
    nb_ids_free(&r.ids);
    nb_tokenizer_close(r.tokenizer);
    nb_model_close(&r.model);
    nb_source_close(&r.source);
    return code;
}

int
cmd_logits(const struct cli_line *line)
{
    struct logits_options o = {
        .as.model_class = cli_text(line, OPT_MODEL_CLASS),
        .as.pre_tokenizer = cli_text(line, OPT_PRE_TOKENIZER),
        .as.follow_links = cli_has(line, OPT_FOLLOW_LINKS),
        .top = cli_number(line, OPT_TOP, DEFAULT_TOP),
        .threads = cli_number(line, OPT_THREADS, 0),
        .json = cli_has(line, OPT_JSON),
    };
    const char *at = cli_text(line, OPT_AT);
    int code = cli_prompt_read(&o.prompt, line);

    if (code == NB_OK && at != NULL)
        code = cli_read_ids(line, "--at", at, &o.at);
    if (code == NB_OK)
        code = logits(&o, line->operands[0]);
    cli_prompt_free(&o.prompt);
    nb_ids_free(&o.at);
    return code;
}
