#include "cli/cli.h"

#include "cli/verify_report.h"
#include "formats/base/pool.h"
#include "formats/base/status.h"
#include "formats/base/text.h"
#include "formats/models/source.h"
#include "formats/tokenizer/vocabulary.h"
#include "verify/drift/drift.h"
#include "verify/drift/drift_stats.h"
#include "verify/drift/weight_error.h"
#include "verify/run/model.h"
#include "verify/tokenize/text_file.h"
#include "verify/tokenize/tokenize.h"

#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help_text[] =
    "Usage: nibble verify [OPTIONS] BASE [MODEL...]\n"
    "\n"
    "Says what quantization cost: the perplexity of every model on a text, and how far the next-token\n"
    "distributions of each MODEL are from those of BASE (KL divergence, in nats a token). All are read\n"
    "in one pass; no file of logits is written. BASE and MODEL are checkpoint folders or GGUF files.\n"
    "\n"
    "  -f, --file FILE        the text, plain or gzip; '-' is the standard input\n"
    "                         (without it, the sample text)\n"
    "  -c, --ctx N            tokens of a chunk (512); the second half of each is scored\n"
    "      --chunks N         the first N chunks only, for a quick look\n"
    "  -j, --threads N        threads (one for each core)\n"
    "      --tensors          also how far the weights are from the base's, tensor by tensor\n"
    "      --max-kld X        exit code 1 if a MODEL's mean KL divergence is above X\n"
    "      --max-ppl-ratio X  exit code 1 if a MODEL's perplexity is above X times that of BASE\n"
    "      --html FILE        a page with plots\n"
    "      --json             one object with every number on standard output\n"
    "      --pre-tokenizer NAME  of a BASE that is a checkpoint, unseen\n"
    "  -h, --help             this text\n"
    "\n"
    "Example: nibble verify -f wiki.test.raw Llama-3.2-1B llama-Q4_K_M.gguf llama-Q3_K_M.gguf\n";

struct verify_options {
    const char *text, *html;
    struct nb_source_options base; /* what a checkpoint is taken for */
    struct nb_drift_options drift;
    double max_kld, max_ratio; /* NaN: no limit */
    bool json, tensors;
};

/* The models of one run, and what was measured of them. */
struct verify_run {
    const struct verify_options *options;
    struct nb_source *source;
    struct nb_model *model;
    size_t models, sources_open, models_open;
    struct nb_ids ids;
    struct cli_progress progress;
    const struct nb_drift *drift;
};

static enum nb_status
open_models(struct verify_run *r, char **paths, struct nb_error *err)
{
    enum nb_status status = NB_OK;

    r->source = calloc(r->models, sizeof *r->source);
    r->model = calloc(r->models, sizeof *r->model);
    if (r->source == NULL || r->model == NULL)
        return nb_fail_memory(err);
    for (size_t i = 0; i < r->models && status == NB_OK; i++) {
        status = nb_source_open(&r->source[i], paths[i], i == 0 ? &r->options->base : NULL, err);
        if (status != NB_OK)
            break;
        r->sources_open++;
        status = nb_model_open(&r->model[i], &r->source[i], err);
        r->models_open += status == NB_OK;
    }
    return status;
}

static void
close_models(struct verify_run *r)
{
    for (size_t i = 0; i < r->models_open; i++)
        nb_model_close(&r->model[i]);
    for (size_t i = 0; i < r->sources_open; i++)
        nb_source_close(&r->source[i]);
    free(r->model);
    free(r->source);
    nb_ids_free(&r->ids);
}

/* The token texts of every model must be the base's: else a number would compare unlike things. */
static enum nb_status
check_vocabularies(const struct verify_run *r, const struct nb_vocabulary *base, struct nb_error *err)
{
    enum nb_status status = NB_OK;

    for (size_t i = 1; i < r->models && status == NB_OK; i++) {
        struct nb_vocabulary other;
        uint32_t where;

        status = nb_source_vocabulary(&r->source[i], &other, err);
        if (status != NB_OK)
            return status;
        if (!nb_vocabulary_same(base, &other, &where))
            status = nb_fail(err, NB_INPUT, "%s and %s have different vocabularies, from token %" PRIu32 " on",
                             r->source[0].path, r->source[i].path, where);
        nb_vocabulary_free(&other);
    }
    return status;
}

static enum nb_status
load_tokens(struct verify_run *r, struct verify_options *o, struct nb_error *err)
{
    struct nb_tokenizer *t = NULL;
    const struct nb_vocabulary *v;
    char *text = NULL;
    size_t length;
    enum nb_status status;

    if (o->text == NULL) {
        o->text = cli_data_file("tinystories-valid.txt");
        if (o->text == NULL)
            return nb_fail(err, NB_USAGE, "the sample text is not here; name a text with -f");
    }
    status = nb_text_file_load(o->text, &text, &length, err);
    if (status == NB_OK && !nb_utf8_valid(text, length))
        status = nb_fail(err, NB_INPUT, "%s: is not valid UTF-8, so it is no text", o->text);
    if (status == NB_OK)
        status = nb_tokenizer_open(&t, &r->source[0], err);
    if (status == NB_OK) {
        v = nb_tokenizer_vocabulary(t);
        o->drift.bos = v->add_bos ? v->bos : -1;
        status = check_vocabularies(r, v, err);
    }
    if (status == NB_OK)
        status = nb_tokenize(t, text, length, NB_ADD_SPECIAL, &r->ids, err);
    if (status == NB_OK && nb_drift_chunks(r->ids.count, &o->drift) == 0)
        status = nb_fail(err, NB_INPUT, "%s: has %zu tokens; two chunks of %" PRIu32 " are needed at least", o->text,
                         r->ids.count, o->drift.chunk_tokens);
    nb_tokenizer_close(t);
    free(text);
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
on_progress(void *context, uint32_t chunks, uint32_t of)
{
    struct verify_run *r = context;
    char text[160];
    size_t at = (size_t)snprintf(text, sizeof text, "%u of %u chunks, PPL %.4f", (unsigned)chunks, (unsigned)of,
                                 exp(running_mean(r, 0, chunks, false)));

    for (size_t i = 1; i < r->models && at < sizeof text; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%s %.4f", i == 1 ? ", KLD" : "",
                               running_mean(r, i, chunks, true));
    cli_progress_steps(&r->progress, chunks, of, text);
}

/* The answer for scripts: NB_NO where a limit was passed. */
static int
judge(const struct verify_options *o, const struct verify_report *report)
{
    int code = NB_OK;

    for (size_t i = 1; i < report->models; i++) {
        const struct nb_drift_stats *s = &report->stats[i];

        if (s->kld.value > o->max_kld) {
            fprintf(stderr, "nibble: %s: mean KL divergence %.6f is above %g\n", report->source[i].path, s->kld.value,
                    o->max_kld);
            code = NB_NO;
        }
        if (s->ratio.value > o->max_ratio) {
            fprintf(stderr, "nibble: %s: perplexity is %.4f times that of %s, above %g\n", report->source[i].path,
                    s->ratio.value, report->source[0].path, o->max_ratio);
            code = NB_NO;
        }
    }
    return code;
}

static enum nb_status
measure(struct verify_run *r, struct verify_options *o, struct verify_report *report, struct nb_error *err)
{
    const struct nb_model **models = calloc(r->models, sizeof *models);
    enum nb_status status = NB_OK;

    if (models == NULL)
        return nb_fail_memory(err);
    for (size_t i = 0; i < r->models; i++)
        models[i] = &r->model[i];
    r->drift = &report->drift;
    cli_progress_start(&r->progress);
    o->drift.progress = on_progress;
    o->drift.context = r;
    o->drift.stop = cli_catch_signals();
    status = nb_drift_measure(models, r->models, r->ids.id, r->ids.count, &o->drift, &report->drift, err);
    cli_progress_end(&r->progress);
    free(models);
    for (size_t i = 0; i < r->models && status == NB_OK; i++)
        status = nb_drift_stats(&report->drift, i, report->drift.scored, &report->stats[i], err);
    return status;
}

static enum nb_status
compare_weights(const struct verify_run *r, struct verify_report *report, struct nb_error *err)
{
    struct nb_pool *pool;
    enum nb_status status;

    report->errors = calloc(r->models, sizeof *report->errors);
    if (report->errors == NULL)
        return nb_fail_memory(err);
    status = nb_pool_new(&pool, r->options->drift.threads, err);
    if (status != NB_OK)
        return status;
    for (size_t i = 1; i < r->models && status == NB_OK; i++) {
        report->errors[i] = calloc(r->source[0].n_tensors, sizeof *report->errors[i]);
        status = report->errors[i] == NULL
                     ? nb_fail_memory(err)
                     : nb_weight_errors(&r->source[0], &r->source[i], pool, report->errors[i], err);
    }
    nb_pool_free(pool);
    return status;
}

static void
free_report(struct verify_report *report)
{
    for (size_t i = 1; report->errors != NULL && i < report->models; i++)
        free(report->errors[i]);
    free(report->errors);
    free(report->stats);
    nb_drift_free(&report->drift);
}

static int
verify(struct verify_options *o, char **paths, size_t models)
{
    struct verify_run r = { .options = o, .models = models };
    struct verify_report report = { .models = models, .list_tensors = o->tensors };
    const double started = cli_now();
    struct nb_error err;
    enum nb_status status = open_models(&r, paths, &err);
    int code;

    report.source = r.source;
    report.stats = calloc(models, sizeof *report.stats);
    if (status == NB_OK && report.stats == NULL)
        status = nb_fail_memory(&err);
    if (status == NB_OK && o->html != NULL)
        status = cli_check_output(o->html, &err);
    if (status == NB_OK)
        status = load_tokens(&r, o, &err);
    if (status == NB_OK)
        status = measure(&r, o, &report, &err);
    if (status == NB_OK && (o->tensors || o->html != NULL))
        status = compare_weights(&r, &report, &err);
    report.text = o->text;
    report.seconds = cli_now() - started;
    if (status == NB_OK && o->html != NULL)
        status = verify_report_html(&report, o->html, &err);
    if (status != NB_OK)
        code = cli_fail(&err);
    else
        code = o->json ? verify_report_json(&report) : verify_report_table(&report);
    if (status == NB_OK && code == NB_OK)
        code = judge(o, &report);
    free_report(&report);
    close_models(&r);
    return code;
}

static bool
parse_limit(const char *text, double *out)
{
    char *end;

    *out = strtod(text, &end);
    return end != text && *end == '\0' && *out >= 0;
}

static int
parse(struct verify_options *o, int argc, char **argv, bool *help)
{
    static const struct option options[] = {
        { "help", no_argument, NULL, 'h' },          { "file", required_argument, NULL, 'f' },
        { "ctx", required_argument, NULL, 'c' },     { "ctx-size", required_argument, NULL, 'c' },
        { "chunks", required_argument, NULL, 'N' },  { "threads", required_argument, NULL, 'j' },
        { "tensors", no_argument, NULL, 'T' },       { "max-kld", required_argument, NULL, 'K' },
        { "max-ppl-ratio", required_argument, NULL, 'R' }, { "html", required_argument, NULL, 'H' },
        { "json", no_argument, NULL, 'J' },          { "pre-tokenizer", required_argument, NULL, 'P' },
        { NULL, 0, NULL, 0 },
    };
    uint32_t threads;
    int c;

    while ((c = getopt_long(argc, argv, "hf:c:j:", options, NULL)) != -1) {
        bool good = true;

        switch (c) {
        case 'h':
            *help = true;
            return NB_OK;
        case 'f':
            o->text = optarg;
            break;
        case 'c':
            good = cli_parse_count(optarg, 8, 1u << 20, &o->drift.chunk_tokens);
            break;
        case 'N':
            good = cli_parse_count(optarg, 1, UINT32_MAX, &o->drift.max_chunks);
            break;
        case 'j':
            good = cli_parse_count(optarg, 1, 256, &threads);
            o->drift.threads = threads;
            break;
        case 'T':
            o->tensors = true;
            break;
        case 'K':
            good = parse_limit(optarg, &o->max_kld);
            break;
        case 'R':
            good = parse_limit(optarg, &o->max_ratio);
            break;
        case 'H':
            o->html = optarg;
            break;
        case 'J':
            o->json = true;
            break;
        case 'P':
            o->base.pre_tokenizer = optarg;
            break;
        default:
            return cli_usage("verify", "that is not an option of verify");
        }
        if (!good)
            return cli_usage("verify", "'%s' is not a number that this option takes", optarg);
    }
    if (optind >= argc)
        return cli_usage("verify", "name a base, and models to hold against it");
    return NB_OK;
}

int
cmd_verify(int argc, char **argv)
{
    struct verify_options o = { .drift = { .chunk_tokens = 512, .bos = -1 }, .max_kld = NAN, .max_ratio = NAN };
    bool help = false;
    int code = parse(&o, argc, argv, &help);

    if (code != NB_OK)
        return code;
    if (help) {
        fputs(help_text, stdout);
        return cli_finish();
    }
    return verify(&o, argv + optind, (size_t)(argc - optind));
}
