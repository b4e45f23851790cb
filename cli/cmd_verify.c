#include "cli/cli.h"

#include "calib/effects_file.h"
#include "cli/verify_page.h"
#include "cli/verify_report.h"
#include "formats/base/clock.h"
#include "formats/base/pool.h"
#include "formats/base/status.h"
#include "formats/base/text.h"
#include "formats/models/source.h"
#include "verify/drift/drift.h"
#include "verify/drift/drift_stats.h"
#include "verify/drift/drift_text.h"
#include "verify/drift/save_base.h"
#include "verify/drift/weight_error.h"
#include "verify/run/model.h"
#include "verify/tokenize/tokenize.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct verify_options {
    const char *text, *html, *save_base, *base_from, *effects;
    bool force;                    /* overwrite HTML and SAVE_BASE */
    struct nb_source_options base; /* what a checkpoint is taken for */
    struct nb_drift_options drift;
    double max_kld, max_ratio;            /* NaN: no limit */
    bool json, tensors, worst, to_stdout; /* TO_STDOUT: of HTML */
};

/* The models of one run, and what was measured of them. */
struct verify_run {
    const struct verify_options *options;
    struct nb_source *source;
    struct nb_model *model;
    const struct nb_model **list; /* pointers to them */
    size_t models, sources_open, models_open;
    size_t first; /* that is opened: 1 with a saved base */
    struct nb_base_reader *saved;
    struct nb_ids ids;
    struct nb_tokenizer *tokenizer;           /* of the base */
    char (*other_tokens)[NB_DIFFERENCE_TEXT]; /* of each: what nb_drift_options says of it, or "" */
    struct cli_progress progress;
    const struct nb_drift *drift;
    struct nb_effects_file effects;
};

static enum nb_status
open_models(struct verify_run *r, char **paths, struct nb_error *err)
{
    const struct nb_source_options others = { .follow_links = r->options->base.follow_links };
    enum nb_status status = NB_OK;

    r->source = calloc(r->models, sizeof *r->source);
    r->model = calloc(r->models, sizeof *r->model);
    r->list = calloc(r->models, sizeof *r->list);
    r->other_tokens = calloc(r->models, sizeof *r->other_tokens);
    if (r->source == NULL || r->model == NULL || r->list == NULL || r->other_tokens == NULL)
        return nb_fail_memory(err);
    r->sources_open = r->models_open = r->first;
    for (size_t i = r->first; i < r->models && status == NB_OK; i++) {
        status = nb_source_open(&r->source[i], paths[i - r->first], i == 0 ? &r->options->base : &others, err);
        if (status != NB_OK)
            break;
        r->sources_open++;
        r->list[i] = &r->model[i];
        status = nb_model_open(&r->model[i], &r->source[i], err);
        r->models_open += status == NB_OK;
    }
    return status;
}

/* Opens the saved base, which takes the place of the first model. */
static enum nb_status
open_saved(struct verify_run *r, struct verify_options *o, bool has_size, struct nb_error *err)
{
    const struct nb_saved_base *base;
    enum nb_status status = nb_base_reader_open(&r->saved, o->base_from, err);

    if (status != NB_OK)
        return status;
    base = nb_base_reader_about(r->saved);
    if (has_size && o->drift.chunk_tokens != base->chunk_tokens)
        return nb_fail(err, NB_USAGE,
                       "%s: was saved with chunks of %" PRIu32 " tokens, so --ctx %" PRIu32 " cannot be had",
                       o->base_from, base->chunk_tokens, o->drift.chunk_tokens);
    r->source[0].path = base->model;
    r->source[0].file_bytes = base->file_bytes;
    o->drift.chunk_tokens = base->chunk_tokens;
    o->drift.base_from = r->saved;
    return NB_OK;
}

static void
close_models(struct verify_run *r)
{
    nb_tokenizer_close(r->tokenizer); /* it uses the source */
    for (size_t i = r->first; i < r->models_open; i++)
        nb_model_close(&r->model[i]);
    for (size_t i = r->first; i < r->sources_open; i++)
        nb_source_close(&r->source[i]);
    nb_base_reader_close(r->saved);
    free(r->other_tokens);
    free(r->list);
    free(r->model);
    free(r->source);
    nb_ids_free(&r->ids);
    nb_effects_free(&r->effects);
}

static void
on_other_tokens(void *context, size_t model, const char *what)
{
    const struct verify_run *r = context;

    snprintf(r->other_tokens[model], NB_DIFFERENCE_TEXT, "%s", what);
    cli_note("%s makes other tokens of the text than %s, whose tokens are used for all: %s", r->source[model].path,
             r->source[0].path, what);
}

static enum nb_status
load_tokens(struct verify_run *r, struct verify_options *o, struct nb_error *err)
{
    struct nb_text text = { 0 };
    enum nb_status status;

    if (o->text == NULL && r->saved == NULL) {
        o->text = cli_data_file("tinystories-valid.txt");
        if (o->text == NULL)
            return nb_fail(err, NB_USAGE, "the sample text was not found; name a text with -f");
        cli_note("measured on the sample text, simple stories for children; "
                 "-f names a text of the kind the model is for");
    }
    text.name = o->text;
    cli_progress_start(&r->progress);
    cli_progress_say(&r->progress, "tokenizing");
    o->drift.other_tokens = on_other_tokens;
    o->drift.context = r;
    if (r->saved != NULL)
        status = nb_drift_saved_tokens(r->list, r->models, o->text == NULL ? NULL : &text, &o->drift, &r->ids,
                                       &r->tokenizer, err);
    else
        status = nb_drift_tokens(r->list, r->models, &text, &o->drift, &r->ids, &r->tokenizer, err);
    if (r->saved != NULL && o->text == NULL)
        o->text = nb_base_reader_about(r->saved)->text;
    if (status == NB_OK)
        cli_detail("%s: %zu tokens in chunks of %" PRIu32, o->text, r->ids.count, o->drift.chunk_tokens);
    return status;
}

/* The mean KL divergence, or -ln p, of the chunks so far. */
static double
running_mean(const struct verify_run *r, size_t model, uint32_t chunks, bool kld)
{
    const size_t n = r->drift->scored / r->drift->chunks * chunks;
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += (double)(kld ? r->drift->score[model][i].kld : r->drift->score[model][i].nll);
    return sum / (double)n;
}

static void
on_progress(void *context, uint32_t chunks, uint32_t of, double share)
{
    struct verify_run *r = context;
    char text[160];
    size_t at = strlen(cli_chunks(text, chunks, of));

    if (chunks > 0)
        at += (size_t)snprintf(text + at, sizeof text - at, ", PPL %.4f", exp(running_mean(r, 0, chunks, false)));
    for (size_t i = 1; chunks > 0 && i < r->models && at < sizeof text; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%s %.4f", i == 1 ? ", KLD" : "",
                               running_mean(r, i, chunks, true));
    cli_progress_share(&r->progress, share, text);
}

/* The exit code: NB_NO if a model is beyond a limit. */
static int
judge(const struct verify_options *o, const struct verify_report *report)
{
    struct nb_error err;
    int code = NB_OK;

    for (size_t i = 1; i < report->models; i++) {
        const struct nb_drift_stats *s = &report->stats[i];

        if (s->kld.value > o->max_kld) {
            (void)nb_fail(&err, NB_NO, "%s: mean KL divergence %.6f is above %g", report->source[i].path, s->kld.value,
                          o->max_kld);
            code = cli_complain(&err);
        }
        if (s->ratio.value > o->max_ratio) {
            (void)nb_fail(&err, NB_NO, "%s: perplexity is %.4f times that of %s, above %g", report->source[i].path,
                          s->ratio.value, report->source[0].path, o->max_ratio);
            code = cli_complain(&err);
        }
    }
    return code;
}

/* Whether a matrix of SOURCE is quantized. */
static bool
is_quantized(const struct nb_source *source)
{
    for (size_t i = 0; i < source->n_tensors; i++)
        if (nb_source_packed_format(&source->tensors[i]) != NULL || nb_type_info(source->tensors[i].type)->block > 1)
            return true;
    return false;
}

/* What must be known of the models to read their numbers. */
static void
say_of_models(const struct verify_run *r, const struct verify_options *o)
{
    cli_warn_context(&r->source[r->first], o->drift.chunk_tokens);
    for (size_t i = r->first; i < r->models; i++) {
        cli_note_further_layers(&r->model[i]);
        if (i == 0 && is_quantized(&r->source[0]))
            cli_note("%s is itself quantized: what that cost is not in these numbers", r->source[0].path);
        if (verify_was_calibrated_on(&r->source[i], o->text))
            cli_warn("%s: its importance matrix was made with a text of this name, %s; on other texts it may do worse",
                     r->source[i].path, nb_base_name(o->text));
    }
}

static enum nb_status
measure(struct verify_run *r, struct verify_options *o, struct verify_report *report, struct nb_error *err)
{
    const struct nb_base_to_save base = { &r->source[0], o->text, &r->ids, r->tokenizer };
    enum nb_status status = NB_OK;

    r->drift = &report->drift;
    say_of_models(r, o);
    if (o->save_base != NULL)
        status = nb_save_base(&o->drift.save, o->save_base, o->force, &base, &o->drift, err);
    if (status != NB_OK)
        return status;
    cli_progress_start(&r->progress);
    o->drift.progress = on_progress;
    o->drift.context = r;
    o->drift.stop = cli_catch_signals();
    status = nb_drift_measure(r->list, r->models, r->ids.id, r->ids.count, &o->drift, &report->drift, err);
    cli_progress_end(&r->progress);
    if (o->drift.save != NULL && status == NB_OK)
        status = nb_base_writer_end(o->drift.save, err);
    else
        nb_base_writer_abort(o->drift.save, err);
    for (size_t i = 0; i < r->models && status == NB_OK; i++)
        status = nb_drift_stats(&report->drift, i, report->drift.scored, &report->stats[i], err);
    return status;
}

static enum nb_status
compare_weights(struct verify_run *r, struct verify_report *report, struct nb_error *err)
{
    const struct nb_watch watch = { cli_progress_update, &r->progress, cli_catch_signals() };
    struct nb_pool *pool;
    enum nb_status status;

    report->errors = calloc(r->models, sizeof *report->errors);
    if (report->errors == NULL)
        return nb_fail_memory(err);
    status = nb_pool_new(&pool, r->options->drift.threads, err);
    if (status != NB_OK)
        return status;
    cli_progress_start(&r->progress);
    cli_progress_say(&r->progress, "comparing the weights");
    for (size_t i = 1; i < r->models && status == NB_OK; i++) {
        report->errors[i] = calloc(r->source[0].n_tensors, sizeof *report->errors[i]);
        status = report->errors[i] == NULL
                     ? nb_fail_memory(err)
                     : nb_weight_errors(&r->source[0], &r->source[i], pool, &watch, report->errors[i], err);
    }
    cli_progress_end(&r->progress);
    nb_pool_free(pool);
    return status;
}

static enum nb_status
run_tasks(const struct verify_run *r, struct verify_report *report, struct nb_error *err)
{
    const struct nb_task_options options = { .threads = r->options->drift.threads,
                                             .base = r->first > 0 ? SIZE_MAX : 0,
                                             .round = r->options->drift.round,
                                             .stop = cli_catch_signals() };

    return verify_tasks_run(&report->tasks, r->list, r->models, r->first, r->tokenizer, &options, err);
}

static void
free_report(struct verify_report *report)
{
    verify_tasks_free(&report->tasks, report->models);
    for (size_t i = 1; report->errors != NULL && i < report->models; i++)
        free(report->errors[i]);
    free(report->errors);
    free(report->stats);
    nb_drift_free(&report->drift);
}

/* Opens and checks all that the command line names, before anything is run. */
static enum nb_status
prepare(struct verify_run *r, struct verify_options *o, const struct cli_line *line, struct verify_report *report,
        struct nb_error *err)
{
    enum nb_status status = open_models(r, line->operands, err);

    report->source = r->source;
    report->other_tokens = r->other_tokens;
    report->stats = calloc(r->models, sizeof *report->stats);
    if (status == NB_OK && report->stats == NULL)
        status = nb_fail_memory(err);
    if (status == NB_OK && o->base_from != NULL)
        status = open_saved(r, o, cli_has(line, OPT_CTX), err);
    if (r->saved != NULL)
        report->saved = nb_base_reader_about(r->saved);
    if (status == NB_OK && o->html != NULL && !o->to_stdout)
        status = cli_check_output(o->html, o->force, err);
    if (status == NB_OK && o->save_base != NULL)
        status = cli_check_output(o->save_base, o->force, err);
    if (status == NB_OK && o->effects != NULL)
        status = nb_effects_load(&r->effects, o->effects, err);
    if (status == NB_OK && o->effects != NULL)
        report->effects = &r->effects;
    if (status == NB_OK)
        status = verify_tasks_read(&report->tasks, line, err);
    if (status == NB_OK)
        status = load_tokens(r, o, err);
    cli_progress_end(&r->progress);
    return status;
}

static enum nb_status
examine(struct verify_run *r, struct verify_options *o, struct verify_report *report, struct nb_error *err)
{
    enum nb_status status = measure(r, o, report, err);

    if (status == NB_OK)
        status = run_tasks(r, report, err);
    if (status == NB_OK && r->saved == NULL && (o->tensors || o->html != NULL))
        status = compare_weights(r, report, err);
    return status;
}

/* Writes the page and prints the results. Returns the exit code. */
static int
tell(const struct verify_options *o, const struct verify_report *report)
{
    struct nb_error err;
    int code;

    if (o->html != NULL && verify_page_write(report, o->html, &err) != NB_OK) {
        if (!o->to_stdout && !o->json)
            (void)verify_report_table(report); /* what was measured is not lost with the page */
        return cli_fail(&err);
    }
    code = o->to_stdout ? cli_finish() : o->json ? verify_report_json(report) : verify_report_table(report);
    return code == NB_OK ? judge(o, report) : code;
}

static int
verify(struct verify_options *o, const struct cli_line *line)
{
    const size_t first = o->base_from == NULL ? 0 : 1, models = first + line->n_operands;
    struct verify_run r = { .options = o, .models = models, .first = first };
    struct verify_report report = {
        .models = models,
        .list_tensors = o->tensors,
        .list_worst = o->worst,
        .line = line,
        .threads = o->drift.threads,
        .rounded = o->drift.round,
    };
    const double started = nb_seconds();
    struct nb_error err;
    enum nb_status status = prepare(&r, o, line, &report, &err);
    const struct measured_text measured = { r.tokenizer, &r.ids };
    int code;

    if (status == NB_OK)
        status = examine(&r, o, &report, &err);
    report.text = o->text;
    report.measured = &measured;
    report.seconds = nb_seconds() - started;
    code = status == NB_OK ? tell(o, &report) : cli_fail(&err);
    free_report(&report);
    close_models(&r);
    return code;
}

int
cmd_verify(const struct cli_line *line)
{
    struct verify_options o = {
        .text = cli_text(line, OPT_FILE),
        .html = cli_text(line, OPT_HTML),
        .save_base = cli_text(line, OPT_SAVE_BASE),
        .base_from = cli_text(line, OPT_BASE_FROM),
        .effects = cli_text(line, OPT_EFFECTS),
        .force = cli_has(line, OPT_FORCE),
        .base = { .pre_tokenizer = cli_text(line, OPT_PRE_TOKENIZER),
                  .model_class = cli_text(line, OPT_MODEL_CLASS),
                  .follow_links = cli_has(line, OPT_FOLLOW_LINKS) },
        .drift = { .chunk_tokens = cli_number(line, OPT_CTX, 512),
                   .max_chunks = cli_number(line, OPT_CHUNKS, 0),
                   .threads = cli_number(line, OPT_THREADS, 0),
                   .bos = -1,
                   .round = cli_word(line, OPT_ACTIVATIONS, 0) == 1 },
        .max_kld = cli_real(line, OPT_MAX_KLD, NAN),
        .max_ratio = cli_real(line, OPT_MAX_PPL_RATIO, NAN),
        .json = cli_has(line, OPT_JSON),
        .tensors = cli_has(line, OPT_TENSORS) || cli_has(line, OPT_EFFECTS),
        .worst = cli_has(line, OPT_WORST_TOKENS),
    };

    o.to_stdout = o.html != NULL && strcmp(o.html, "-") == 0;
    if (o.to_stdout && o.json)
        return cli_usage("verify", "--html - and --json both print to the standard output; name a file for the page");
    if (o.base_from != NULL && (o.save_base != NULL || o.tensors))
        return cli_usage("verify", "%s needs the base itself, which --base-from is in the place of",
                         o.save_base != NULL ? "--save-base"
                         : o.effects != NULL ? "--effects"
                                             : "--tensors");
    return verify(&o, line);
}
