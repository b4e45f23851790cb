#include "cli/cli.h"

#include "cli/suggest.h"
#include "formats/base/file_in.h"
#include "formats/base/file_out.h"
#include "formats/base/status.h"
#include "formats/base/text.h"
#include "formats/models/source.h"
#include "formats/models/view.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* "nibble: SENTENCE" */
static void
complain(const char *sentence)
{
    fflush(stdout);
    cli_colored(stderr, CLI_BAD, "nibble:");
    cli_print_to(stderr, " %s\n", sentence);
}

int
cli_fail(const struct nb_error *err)
{
    complain(err->message);
    cli_print_json_error(err->status, err->message);
    return (int)nb_status_kind(err->status);
}

int
cli_complain(const struct nb_error *err)
{
    complain(err->message);
    return (int)nb_status_kind(err->status);
}

int
cli_fail_memory(void)
{
    struct nb_error err;

    (void)nb_fail_memory(&err);
    return cli_fail(&err);
}

int
cli_usage(const char *command, const char *format, ...)
{
    char text[NB_ERROR_SIZE];
    struct nb_error err;
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    (void)nb_fail(&err, NB_USAGE, "%s", text);
    complain(err.message);
    cli_print_to(stderr, "Try 'nibble%s%s --help'.\n", *command == '\0' ? "" : " ", command);
    cli_print_json_error(NB_USAGE, err.message);
    return NB_USAGE;
}

int
cli_unknown_command(const char *name)
{
    struct cli_suggestion s;

    if (*name == '-')
        return cli_usage("", "'%s' is not an option of nibble; options of a command follow its name", name);
    cli_suggest_start(&s, name);
    for (size_t i = 0; i < CLI_N_COMMANDS; i++)
        cli_suggest_offer(&s, cli_commands[i].name);
    return cli_usage("", "'%s' is not a command%s", name, cli_suggest_text(&s, ""));
}

static bool is_quiet, is_verbose, is_wide;

bool
cli_is_wide(void)
{
    return is_wide;
}

void
cli_set_wide(bool wide)
{
    is_wide = wide;
}

void
cli_set_volume(bool quiet, bool verbose)
{
    is_quiet = quiet;
    is_verbose = verbose;
}

bool
cli_is_quiet(void)
{
    return is_quiet;
}

bool
cli_is_verbose(void)
{
    return is_verbose;
}

void
cli_note(const char *format, ...)
{
    va_list args;

    if (is_quiet)
        return;
    cli_print_to(stderr, "note: ");
    va_start(args, format);
    cli_print_list(stderr, format, args);
    va_end(args);
    cli_print_to(stderr, "\n");
}

void
cli_warn(const char *format, ...)
{
    va_list args;

    cli_colored(stderr, CLI_CARE, "warning:");
    cli_print_to(stderr, " ");
    va_start(args, format);
    cli_print_list(stderr, format, args);
    va_end(args);
    cli_print_to(stderr, "\n");
}

void
cli_detail(const char *format, ...)
{
    va_list args;

    if (!is_verbose)
        return;
    cli_print_to(stderr, "info: ");
    va_start(args, format);
    cli_print_list(stderr, format, args);
    va_end(args);
    cli_print_to(stderr, "\n");
}

void
cli_print_notes(const struct nb_source *source)
{
    for (const struct nb_note *note = source->notes; note != NULL; note = note->next)
        cli_note("%s", note->text);
}

size_t
cli_trained_context(const struct nb_source *source)
{
    const char *arch = nb_meta_get_string(&source->meta, "general.architecture");
    uint64_t context;
    char key[128];

    snprintf(key, sizeof key, "%.80s.context_length", arch == NULL ? "" : arch);
    return nb_meta_get_u64(&source->meta, key, &context) && context < SIZE_MAX ? (size_t)context : SIZE_MAX;
}

uint32_t
cli_calibration_chunk(const struct nb_source *source, uint32_t given)
{
    const size_t context = cli_trained_context(source);

    return given > 0 ? given : context >= 8 && context < 512 ? (uint32_t)context : 512;
}

void
cli_warn_context(const struct nb_source *source, uint32_t tokens)
{
    const size_t context = cli_trained_context(source);

    if (tokens > context)
        cli_warn("%s: chunks of %" PRIu32
                 " tokens are longer than its context of %zu; -c %zu measures what it was made for",
                 source->path, tokens, context, context);
}

json_t *
cli_notes_json(const struct nb_source *source)
{
    json_t *notes = cli_json_array();

    for (const struct nb_note *note = source->notes; note != NULL; note = note->next)
        cli_json_add(notes, cli_json_text(note->text));
    return notes;
}

int
cli_finish(void)
{
    if (cli_has_lost())
        return cli_fail_memory();
    if (fflush(stdout) == 0 && !ferror(stdout))
        return NB_OK;
    cli_print_to(stderr, "nibble: writing to the standard output failed: %s\n", strerror(errno));
    return NB_SYSTEM;
}

const char *
cli_bytes(char *text, double bytes)
{
    return nb_scaled(text, CLI_TEXT, bytes, "B");
}

const char *
cli_s(uint64_t count)
{
    return count == 1 ? "" : "s";
}

const char *
cli_count(char *text, double count)
{
    size_t n = strlen(nb_scaled(text, CLI_TEXT, count, ""));

    if (n > 0 && text[n - 1] == ' ') /* no prefix either */
        text[n - 1] = '\0';
    return text;
}

const char *
cli_shape(char *text, const struct nb_view *tensor)
{
    size_t at = 0;

    for (uint32_t i = 0; i < tensor->n_dims && at < CLI_TEXT; i++)
        at += (size_t)snprintf(text + at, CLI_TEXT - at, "%s%" PRIu64, i > 0 ? " x " : "", tensor->ne[i]);
    return text;
}

enum nb_status
cli_check_output(const char *name, bool force, struct nb_error *err)
{
    struct nb_file_out out;
    struct stat st;
    enum nb_status status;

    if (!force && stat(name, &st) == 0 && S_ISREG(st.st_mode))
        return nb_fail(err, NB_EXISTS, "%s: exists already (--force overwrites it)", name);
    status = nb_out_create(&out, name, 0, true, err);
    return status == NB_OK ? nb_out_discard(&out, err) : status;
}

bool
cli_parse_count(const char *text, uint32_t low, uint32_t high, uint32_t *out)
{
    char *end;
    unsigned long value;

    errno = 0;
    value = strtoul(text, &end, 10);
    *out = (uint32_t)value;
    return *text >= '0' && *text <= '9' && *end == '\0' && errno == 0 && value >= low && value <= high;
}
