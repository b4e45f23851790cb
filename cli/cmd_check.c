#include "cli/cli.h"

#include "formats/base/findings.h"
#include "formats/base/status.h"
#include "verify/check/check.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char help_text[] =
    "Usage: nibble check [OPTIONS] FILE_OR_FOLDER...\n"
    "\n"
    "Says whether a model file is sound before anything else opens it: a GGUF file or split\n"
    "set, a safetensors file, a checkpoint folder, an importance matrix. Every fault is listed,\n"
    "not the first only, with a stable code, its place and one sentence. Errors are what\n"
    "readers refuse or what makes a model wrong; warnings are worth a look.\n"
    "\n"
    "  --level LEVEL   structure: the container; content: also the data, for NaN, infinity,\n"
    "                  bad scales and codes, tensors of one value; full: also whether keys,\n"
    "                  tensors, tokenizer and chat template make a model (default)\n"
    "  --codes         list every code there is, and what it means\n"
    "  -j, --threads N default: one for each core\n"
    "  --json          one JSON object\n"
    "\n"
    "Exit codes: 0 sound (there may be warnings), 1 not sound, 3 cannot be opened.\n"
    "\n"
    "Example: nibble check model-Q4_K_M.gguf\n";

static const char *
severity_name(enum nb_code code)
{
    return nb_code_info(code)->severity == NB_ERROR ? "error" : "warning";
}

static int
list_codes(bool json)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < NB_CODES; i++) {
        const struct nb_code_info *info = nb_code_info((enum nb_code)i);

        if (json)
            json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "code", info->name, "severity",
                                                  severity_name((enum nb_code)i), "meaning", info->meaning));
        else
            printf("%-26s %-8s %s\n", info->name, severity_name((enum nb_code)i), info->meaning);
    }
    if (json)
        return cli_print_json(json_pack("{s:o}", "codes", list));
    json_decref(list);
    return cli_finish();
}

static void
print_text(const char *path, const struct nb_findings *f, const struct nb_check_result *r)
{
    char text[CLI_TEXT];

    for (size_t i = 0; i < f->count; i++)
        printf("%s: %s: %s [%s]\n", f->items[i].place.file, severity_name(f->items[i].code), f->items[i].sentence,
               nb_code_info(f->items[i].code)->name);
    for (unsigned c = 0; c < NB_CODES; c++)
        if (f->of_code[c] > NB_LISTED_PER_CODE)
            printf("%s: %" PRIu64 " more of these [%s]\n", path, f->of_code[c] - NB_LISTED_PER_CODE,
                   nb_code_info((enum nb_code)c)->name);
    printf("%s: %s: %s, %" PRIu64 " tensors", path, f->errors == 0 ? "sound" : "not sound", r->format, r->tensors);
    if (r->bytes_read > 0)
        printf(", %s of data read", cli_bytes(text, (double)r->bytes_read));
    if (f->errors + f->warnings > 0)
        printf("; %" PRIu64 " error%s, %" PRIu64 " warning%s", f->errors, f->errors == 1 ? "" : "s", f->warnings,
               f->warnings == 1 ? "" : "s");
    putchar('\n');
}

static json_t *
finding_json(const struct nb_finding *f)
{
    json_t *object = json_pack("{s:s, s:s, s:s, s:s}", "code", nb_code_info(f->code)->name, "severity",
                               severity_name(f->code), "file", f->place.file, "message", f->sentence);

    /* A name may not be UTF-8; then the message has it made printable. */
    if (f->place.about != NB_ABOUT_FILE)
        json_object_set_new(object, f->place.about == NB_ABOUT_KEY ? "key" : "tensor", json_string(f->place.name));
    if (f->place.offset != NB_NO_OFFSET)
        json_object_set_new(object, "offset", json_integer((json_int_t)f->place.offset));
    return object;
}

static json_t *
result_json(const char *path, const struct nb_findings *f, const struct nb_check_result *r)
{
    json_t *list = json_array();

    for (size_t i = 0; i < f->count; i++)
        json_array_append_new(list, finding_json(&f->items[i]));
    return json_pack("{s:s, s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:o}", "path", path, "format", r->format, "sound",
                     f->errors == 0, "errors", (json_int_t)f->errors, "warnings", (json_int_t)f->warnings, "files",
                     (json_int_t)r->files, "tensors", (json_int_t)r->tensors, "bytes_read", (json_int_t)r->bytes_read,
                     "findings", list);
}

/* Checks PATH, and prints the result or adds it to LIST. */
static int
check(const char *path, struct nb_check_options *options, json_t *list)
{
    struct nb_findings findings = { 0 };
    struct nb_check_result result;
    struct cli_progress progress;
    struct nb_error err;
    enum nb_status status;
    int code;

    cli_progress_start(&progress);
    options->progress = cli_progress_update;
    options->context = &progress;
    status = nb_check(path, options, &findings, &result, &err);
    cli_progress_end(&progress);
    if (status != NB_OK) {
        code = cli_fail(&err);
    } else {
        if (list != NULL)
            json_array_append_new(list, result_json(path, &findings, &result));
        else
            print_text(path, &findings, &result);
        code = findings.errors == 0 ? NB_OK : NB_NO;
    }
    nb_findings_free(&findings);
    return code;
}

static bool
parse_level(const char *text, enum nb_check_level *out)
{
    static const char *const names[] = { "structure", "content", "full" };

    for (unsigned i = 0; i < 3; i++)
        if (strcmp(text, names[i]) == 0) {
            *out = (enum nb_check_level)i;
            return true;
        }
    return false;
}

static int
check_all(char **paths, struct nb_check_options *options, bool json)
{
    json_t *list = json ? json_array() : NULL;
    int worst = NB_OK, code;

    for (; *paths != NULL; paths++) {
        code = check(*paths, options, list);
        worst = code > worst ? code : worst;
    }
    code = json ? cli_print_json(json_pack("{s:b, s:o}", "sound", worst == NB_OK, "files", list)) : cli_finish();
    return code > worst ? code : worst;
}

int
cmd_check(int argc, char **argv)
{
    static const struct option options[] = {
        { "help", no_argument, NULL, 'h' },           { "json", no_argument, NULL, 'J' },
        { "level", required_argument, NULL, 'l' },    { "codes", no_argument, NULL, 'c' },
        { "threads", required_argument, NULL, 'j' },  { NULL, 0, NULL, 0 },
    };
    struct nb_check_options o = { .level = NB_CHECK_FULL };
    bool json = false, codes = false;
    uint32_t threads;
    int c;

    while ((c = getopt_long(argc, argv, "hj:", options, NULL)) != -1) {
        switch (c) {
        case 'h':
            fputs(help_text, stdout);
            return cli_finish();
        case 'J':
            json = true;
            break;
        case 'c':
            codes = true;
            break;
        case 'l':
            if (!parse_level(optarg, &o.level))
                return cli_usage("check", "--level '%s': structure, content or full", optarg);
            break;
        case 'j':
            if (!cli_parse_count(optarg, 1, 256, &threads))
                return cli_usage("check", "-j '%s': a number from 1 to 256", optarg);
            o.threads = threads;
            break;
        default:
            return cli_usage("check", "that is not an option of check");
        }
    }
    if (codes)
        return list_codes(json);
    if (optind == argc)
        return cli_usage("check", "name a file or folder");
    return check_all(argv + optind, &o, json);
}
