#include "cli/cli.h"

#include "calib/coverage.h"
#include "calib/sums.h"
#include "cli/calibration.h"
#include "formats/base/clock.h"
#include "formats/base/file_in.h"
#include "formats/base/status.h"
#include "formats/base/text.h"
#include "formats/imatrix/imatrix.h"
#include "formats/models/source.h"
#include "verify/tokenize/tokenize.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct calibrate_options {
    struct nb_source_options as; /* what a checkpoint is taken for */
    struct calibration calibration;
    const char *output;
    enum nb_sums_format format;
    bool merge, json, force;
};

static int
report(const struct calibrate_options *o, const struct nb_sums *sums, double seconds)
{
    const struct nb_coverage c = nb_coverage(sums);

    if (o->json)
        return cli_print_json(cli_json("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f}", "output", o->output,
                                       "chunks", (json_int_t)sums->chunks, "chunk_tokens", (json_int_t)sums->chunk_size,
                                       "tokens", (json_int_t)c.tokens, "entries", (json_int_t)c.entries,
                                       "entries_without_tokens", (json_int_t)c.empty, "experts", (json_int_t)c.experts,
                                       "experts_without_tokens", (json_int_t)c.idle_experts, "columns",
                                       (json_int_t)c.columns, "zero_columns", (json_int_t)c.zero_columns, "seconds",
                                       seconds));
    cli_print("%s: %zu entries, %" PRIu64 " chunk%s, %" PRIu64 " tokens, in %.1f s\n", o->output, c.entries,
              sums->chunks, sums->chunks == 1 ? "" : "s", c.tokens, seconds);
    cli_print("  covered: %zu of %zu entries, ", c.entries - c.empty, c.entries);
    if (c.experts > 0)
        cli_print("%zu of %zu experts, ", c.experts - c.idle_experts, c.experts);
    cli_print("%.2f %% of the columns\n", c.columns == 0 ? 0 : 100 * (1 - (double)c.zero_columns / (double)c.columns));
    return cli_finish();
}

static enum nb_status
run_model(struct calibrate_options *o, const char *path, struct nb_sums *sums, struct nb_error *err)
{
    struct nb_source source;
    char *state = nb_joined(o->output, ".resume");
    enum nb_status status;

    if (state == NULL)
        return nb_fail_memory(err);
    o->calibration.options.state = state;
    status = nb_source_open(&source, path, &o->as, err);
    if (status == NB_OK) {
        if (nb_is_file(state) && !o->json)
            cli_note("continuing from %s", state);
        status = calibration_run(&o->calibration, &source, sums, err);
        nb_source_close(&source);
    }
    free(state);
    return status;
}

static enum nb_status
merge(char **paths, size_t count, struct nb_sums *sums, struct nb_error *err)
{
    enum nb_status status = NB_OK;

    for (size_t i = 0; i < count && status == NB_OK; i++) {
        struct nb_imatrix m;

        status = nb_imatrix_load(&m, paths[i], err);
        if (status != NB_OK)
            return status;
        status = nb_imatrix_check(&m, paths[i], err);
        if (status == NB_OK)
            status = nb_sums_merge(sums, &m, paths[i], err);
        nb_imatrix_free(&m);
    }
    return status;
}

static int
calibrate(struct calibrate_options *o, char **paths, size_t count)
{
    const double started = nb_seconds();
    struct nb_sums sums = { 0 };
    struct nb_error err;
    enum nb_status status = cli_check_output(o->output, o->force, &err);
    int code;

    if (status == NB_OK)
        status = o->merge ? merge(paths, count, &sums, &err) : run_model(o, paths[0], &sums, &err);
    if (status == NB_OK)
        status = nb_sums_write(&sums, o->output, o->format, &err);
    if (status == NB_OK && !o->json)
        calibration_warn(&sums);
    code = status == NB_OK ? report(o, &sums, nb_seconds() - started) : cli_fail(&err);
    nb_sums_free(&sums);
    return code;
}

static int
read_options(const struct cli_line *line, struct calibrate_options *o)
{
    struct calibration *k = &o->calibration;

    k->options = (struct nb_calibrate_options){
        .chunk_tokens = cli_number(line, OPT_CTX, 0),
        .from_chunk = cli_number(line, OPT_FROM_CHUNK, 0),
        .max_chunks = cli_number(line, OPT_CHUNKS, 0),
        .threads = cli_number(line, OPT_THREADS, 0),
        .bos = -1,
        .process_output = cli_has(line, OPT_PROCESS_OUTPUT),
        .save_every = cli_number(line, OPT_SAVE_EVERY, 0),
    };
    k->tokenize_flags = cli_has(line, OPT_PARSE_SPECIAL) ? NB_PARSE_SPECIAL : 0;
    o->as.model_class = cli_text(line, OPT_MODEL_CLASS);
    o->as.follow_links = cli_has(line, OPT_FOLLOW_LINKS);
    o->output = cli_text(line, OPT_OUTPUT);
    o->format = cli_word(line, OPT_FORMAT, 0) == 0 ? NB_SUMS_GGUF : NB_SUMS_DAT;
    o->force = cli_has(line, OPT_FORCE);
    o->merge = cli_has(line, OPT_MERGE);
    o->json = cli_has(line, OPT_JSON);
    for (size_t i = 0; i < line->n_given; i++) {
        if (line->given[i].option->id != OPT_FILE)
            continue;
        if (k->texts == MAX_TEXTS)
            return cli_usage("calibrate", "-f: more than %d texts", MAX_TEXTS);
        k->text[k->texts++].name = line->given[i].text;
    }
    if (o->output == NULL)
        return cli_usage("calibrate", "name the file to write with -o");
    if (!o->merge && line->n_operands > 1)
        return cli_usage("calibrate", "name one model, or use --merge to merge matrices");
    return NB_OK;
}

int
cmd_calibrate(const struct cli_line *line)
{
    struct calibrate_options o = { .output = NULL };
    const int code = read_options(line, &o);

    return code == NB_OK ? calibrate(&o, line->operands, line->n_operands) : code;
}
