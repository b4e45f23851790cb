#include "cli/cli.h"

#include "calib/sums.h"
#include "cli/calibration.h"
#include "formats/base/file_in.h"
#include "formats/base/status.h"
#include "formats/imatrix/imatrix.h"
#include "formats/models/source.h"
#include "verify/tokenize/tokenize.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help_text[] =
    "Usage: nibble calibrate [OPTIONS] SOURCE -o FILE\n"
    "       nibble calibrate --merge [OPTIONS] -o FILE MATRIX...\n"
    "\n"
    "Runs text through a model and writes an importance matrix, which 'nibble quantize --imatrix' and\n"
    "llama.cpp's tools read. SOURCE is a checkpoint folder or a GGUF file. With --merge, matrices of\n"
    "several runs are added up, weighted by their tokens.\n"
    "\n"
    "  -f, --file FILE        the text, plain or gzip; may be given several times\n"
    "                         (without it, the calibration text that comes with the program)\n"
    "  -o, --output FILE      the matrix\n"
    "  -c, --ctx N            tokens of a chunk (512)\n"
    "      --chunks N         at most N chunks\n"
    "      --from-chunk N     leaves out N chunks at the front\n"
    "      --process-output   also for the output matrix (or the embedding that it is tied to)\n"
    "      --parse-special    the names of control tokens in the text are these tokens\n"
    "      --save-every N     keeps the state in FILE.resume after every N chunks\n"
    "      --format FORMAT    gguf (default) or dat, llama-imatrix's older form\n"
    "      --force            writes over an existing FILE\n"
    "  -j, --threads N        threads (one for each core)\n"
    "      --json             one object on standard output\n"
    "  -h, --help             this text\n"
    "\n"
    "A run that is interrupted leaves FILE.resume; the same command goes on from there, and writes the\n"
    "file that an uninterrupted run would have written.\n"
    "\n"
    "Example: nibble calibrate Llama-3.2-1B -f calibration.txt -o llama.imatrix\n";

struct calibrate_options {
    struct calibration calibration;
    const char *output;
    enum nb_sums_format format;
    bool merge, json, force;
};

static int
report(const struct calibrate_options *o, const struct nb_sums *sums, double seconds)
{
    const struct coverage c = calibration_coverage(sums);

    if (o->json)
        return cli_print_json(json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f}", "output", o->output,
                                        "chunks", (json_int_t)sums->chunks, "chunk_tokens",
                                        (json_int_t)sums->chunk_size, "tokens", (json_int_t)c.tokens, "entries",
                                        (json_int_t)c.entries, "entries_without_tokens", (json_int_t)c.empty,
                                        "experts", (json_int_t)c.experts, "experts_without_tokens",
                                        (json_int_t)c.idle_experts, "columns", (json_int_t)c.columns, "zero_columns",
                                        (json_int_t)c.zero_columns, "seconds", seconds));
    printf("%s: %zu entries, %" PRIu64 " chunks, %" PRIu64 " tokens, in %.1f s\n", o->output, c.entries, sums->chunks,
           c.tokens, seconds);
    printf("  covered: %zu of %zu entries, ", c.entries - c.empty, c.entries);
    if (c.experts > 0)
        printf("%zu of %zu experts, ", c.experts - c.idle_experts, c.experts);
    printf("%.2f %% of the columns\n", c.columns == 0 ? 0 : 100 * (1 - (double)c.zero_columns / (double)c.columns));
    return cli_finish();
}

static enum nb_status
run_model(struct calibrate_options *o, const char *path, struct nb_sums *sums, struct nb_error *err)
{
    struct nb_source source;
    char *state = malloc(strlen(o->output) + sizeof ".resume");
    enum nb_status status;

    if (state == NULL)
        return nb_fail_memory(err);
    strcpy(state, o->output);
    strcat(state, ".resume");
    o->calibration.options.state = state;
    status = nb_source_open(&source, path, NULL, err);
    if (status == NB_OK) {
        if (nb_is_file(state) && !o->json)
            fprintf(stderr, "note: going on from %s\n", state);
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
    const double started = cli_now();
    struct nb_sums sums = { 0 };
    struct nb_error err;
    enum nb_status status = NB_OK;
    int code;

    if (nb_is_file(o->output) && !o->force)
        status = nb_fail(&err, NB_USAGE, "%s: exists already (--force writes over it)", o->output);
    if (status == NB_OK)
        status = cli_check_output(o->output, &err);
    if (status == NB_OK)
        status = o->merge ? merge(paths, count, &sums, &err) : run_model(o, paths[0], &sums, &err);
    if (status == NB_OK)
        status = nb_sums_write(&sums, o->output, o->format, &err);
    if (status == NB_OK && !o->json)
        calibration_warn(&sums);
    code = status == NB_OK ? report(o, &sums, cli_now() - started) : cli_fail(&err);
    nb_sums_free(&sums);
    return code;
}

static int
parse(struct calibrate_options *o, int argc, char **argv, bool *help)
{
    static const struct option options[] = {
        { "help", no_argument, NULL, 'h' },           { "file", required_argument, NULL, 'f' },
        { "output", required_argument, NULL, 'o' },   { "ctx", required_argument, NULL, 'c' },
        { "ctx-size", required_argument, NULL, 'c' }, { "chunks", required_argument, NULL, 'N' },
        { "from-chunk", required_argument, NULL, 'F' }, { "chunk", required_argument, NULL, 'F' },
        { "process-output", no_argument, NULL, 'P' }, { "parse-special", no_argument, NULL, 'S' },
        { "save-every", required_argument, NULL, 'E' }, { "format", required_argument, NULL, 'O' },
        { "output-format", required_argument, NULL, 'O' }, { "force", no_argument, NULL, 'Y' },
        { "threads", required_argument, NULL, 'j' },  { "merge", no_argument, NULL, 'M' },
        { "json", no_argument, NULL, 'J' },           { NULL, 0, NULL, 0 },
    };
    struct calibration *k = &o->calibration;
    uint32_t threads;
    int c;

    while ((c = getopt_long(argc, argv, "hf:o:c:j:", options, NULL)) != -1) {
        bool good = true;

        switch (c) {
        case 'h':
            *help = true;
            return NB_OK;
        case 'f':
            if (k->texts == MAX_TEXTS)
                return cli_usage("calibrate", "more than %d texts", MAX_TEXTS);
            k->text[k->texts++] = optarg;
            break;
        case 'o':
            o->output = optarg;
            break;
        case 'c':
            good = cli_parse_count(optarg, 8, 1u << 20, &k->options.chunk_tokens);
            break;
        case 'N':
            good = cli_parse_count(optarg, 1, UINT32_MAX, &k->options.max_chunks);
            break;
        case 'F':
            good = cli_parse_count(optarg, 0, UINT32_MAX, &k->options.from_chunk);
            break;
        case 'E':
            good = cli_parse_count(optarg, 1, UINT32_MAX, &k->options.save_every);
            break;
        case 'j':
            good = cli_parse_count(optarg, 1, 256, &threads);
            k->options.threads = threads;
            break;
        case 'P':
            k->options.process_output = true;
            break;
        case 'S':
            k->tokenize_flags = NB_PARSE_SPECIAL;
            break;
        case 'O':
            if (strcmp(optarg, "gguf") != 0 && strcmp(optarg, "dat") != 0)
                return cli_usage("calibrate", "'%s' is no format; gguf and dat are", optarg);
            o->format = strcmp(optarg, "dat") == 0 ? NB_SUMS_DAT : NB_SUMS_GGUF;
            break;
        case 'Y':
            o->force = true;
            break;
        case 'M':
            o->merge = true;
            break;
        case 'J':
            o->json = true;
            break;
        default:
            return cli_usage("calibrate", "that is not an option of calibrate");
        }
        if (!good)
            return cli_usage("calibrate", "'%s' is not a number that this option takes", optarg);
    }
    if (o->output == NULL)
        return cli_usage("calibrate", "name the file to write with -o");
    if (o->merge ? optind >= argc : optind + 1 != argc)
        return cli_usage("calibrate", o->merge ? "name the matrices to merge" : "name one model");
    return NB_OK;
}

int
cmd_calibrate(int argc, char **argv)
{
    static struct calibrate_options o = { .calibration.options = { .chunk_tokens = 512, .bos = -1 } };
    bool help = false;
    int code = parse(&o, argc, argv, &help);

    if (code != NB_OK)
        return code;
    if (help) {
        fputs(help_text, stdout);
        return cli_finish();
    }
    return calibrate(&o, argv + optind, (size_t)(argc - optind));
}
