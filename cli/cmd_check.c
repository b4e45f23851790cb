#include "cli/cli.h"

#include "cli/help.h"
#include "cli/sandbox.h"
#include "formats/base/findings.h"
#include "formats/base/status.h"
#include "verify/check/check.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *
severity_name(enum nb_code code)
{
    return nb_code_info(code)->severity == NB_ERROR ? "error" : "warning";
}

static void
print_severity(enum nb_code code)
{
    cli_colored(stdout, nb_code_info(code)->severity == NB_ERROR ? CLI_BAD : CLI_CARE, severity_name(code));
}

static void
print_code(const struct nb_code_info *info, enum nb_code code)
{
    cli_print("%-26s %-8s ", info->name, severity_name(code));
    if (cli_is_wide())
        cli_print("%s\n", info->meaning);
    else
        cli_fill(stdout, info->meaning, 26 + 1 + 8 + 1, 26 + 1 + 8 + 1);
}

static int
list_codes(bool json)
{
    json_t *list = cli_json_array();

    for (unsigned i = 0; i < NB_CODES; i++) {
        const struct nb_code_info *info = nb_code_info((enum nb_code)i);

        if (json)
            cli_json_add(list, cli_json("{s:s, s:s, s:s}", "code", info->name, "severity",
                                        severity_name((enum nb_code)i), "meaning", info->meaning));
        else
            print_code(info, (enum nb_code)i);
    }
    if (json)
        return cli_print_json(cli_json("{s:o}", "codes", list));
    json_decref(list);
    return cli_finish();
}

static void
print_text(const char *path, const struct nb_findings *f, const struct nb_check_result *r)
{
    char text[CLI_TEXT];

    for (size_t i = 0; i < f->count; i++) {
        cli_print("%s: ", f->items[i].place.file);
        print_severity(f->items[i].code);
        cli_print(": %s [%s]\n", f->items[i].sentence, nb_code_info(f->items[i].code)->name);
    }
    for (unsigned c = 0; c < NB_CODES; c++)
        if (f->of_code[c] > NB_LISTED_PER_CODE)
            cli_print("%s: %" PRIu64 " more of these [%s]\n", path, f->of_code[c] - NB_LISTED_PER_CODE,
                      nb_code_info((enum nb_code)c)->name);
    cli_print("%s: ", path);
    cli_colored(stdout, f->errors == 0 ? CLI_GOOD : CLI_BAD, f->errors == 0 ? "sound" : "not sound");
    if (f->of_code[NB_BAD_FILE_KIND] > 0)
        cli_print(": no model");
    else
        cli_print(": %s, %" PRIu64 " tensor%s", r->format, r->tensors, cli_s(r->tensors));
    if (r->bytes_read > 0)
        cli_print(", %s of data read", cli_bytes(text, (double)r->bytes_read));
    if (f->errors + f->warnings > 0)
        cli_print("; %" PRIu64 " error%s, %" PRIu64 " warning%s", f->errors, f->errors == 1 ? "" : "s", f->warnings,
                  f->warnings == 1 ? "" : "s");
    cli_print("\n");
}

static json_t *
finding_json(const struct nb_finding *f)
{
    json_t *object = cli_json("{s:s, s:s, s:s, s:s}", "code", nb_code_info(f->code)->name, "severity",
                              severity_name(f->code), "file", f->place.file, "message", f->sentence);

    /* A name may not be UTF-8; then the message has it made printable. */
    if (f->place.about != NB_ABOUT_FILE)
        cli_json_set(object, f->place.about == NB_ABOUT_KEY ? "key" : "tensor", cli_json_text(f->place.name));
    if (f->place.offset != NB_NO_OFFSET)
        cli_json_set(object, "offset", cli_json_integer((json_int_t)f->place.offset));
    return object;
}

static json_t *
result_json(const char *path, const struct nb_findings *f, const struct nb_check_result *r)
{
    json_t *list = cli_json_array();

    for (size_t i = 0; i < f->count; i++)
        cli_json_add(list, finding_json(&f->items[i]));
    return cli_json("{s:s, s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:o}", "path", path, "format", r->format, "sound",
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
        code = cli_complain(&err);
        if (list != NULL)
            cli_json_add(list, cli_json("{s:s, s:{s:s, s:s}}", "path", path, "error", "code",
                                        cli_status_name(err.status), "message", err.message));
    } else {
        if (list != NULL)
            cli_json_add(list, result_json(path, &findings, &result));
        else
            print_text(path, &findings, &result);
        code = findings.errors == 0 ? NB_OK : NB_NO;
    }
    nb_findings_free(&findings);
    return code;
}

static int
check_all(char **paths, struct nb_check_options *options, bool json)
{
    json_t *list = json ? cli_json_array() : NULL;
    int worst = NB_OK, code;

    for (; *paths != NULL; paths++) {
        code = check(*paths, options, list);
        worst = code > worst ? code : worst;
    }
    code = json ? cli_print_json(cli_json("{s:b, s:o}", "sound", worst == NB_OK, "files", list)) : cli_finish();
    return code > worst ? code : worst;
}

int
cmd_check(const struct cli_line *line)
{
    struct nb_check_options o = {
        .level = (enum nb_check_level)cli_word(line, OPT_LEVEL, NB_CHECK_FULL), /* the words are in its order */
        .threads = cli_number(line, OPT_THREADS, 0),
        .follow_links = cli_has(line, OPT_FOLLOW_LINKS),
    };
    const bool json = cli_has(line, OPT_JSON);
    int code;

    if (cli_has(line, OPT_CODES))
        return list_codes(json);
    if (line->n_operands == 0)
        return cli_usage("check", "name a file or folder");
    code = cli_sandbox(line);
    return code == NB_OK ? check_all(line->operands, &o, json) : code;
}
