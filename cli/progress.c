#include "cli/cli.h"
#include "formats/base/clock.h"

#include <stdio.h>
#include <string.h>

#define BAR 30
#define REDRAW_SECONDS 0.1
#define LINE_SECONDS 60 /* where stderr is not a terminal */

/*
 * BAR, which may be "", and TEXT in place of the line before, cut to the width of the terminal: a line that wraps could
 * not be replaced.
 */
static void
replace_line(const char *bar, const char *text)
{
    const int room = cli_columns(stderr) - 1 - (int)strlen(bar);

    fputs("\r", stderr);
    cli_colored(stderr, CLI_GOOD, bar);
    cli_print_to(stderr, "%.*s", room < 0 ? 0 : room, text);
    fputs("\033[K", stderr);
    fflush(stderr);
}

void
cli_progress_start(struct cli_progress *p)
{
    p->on = !cli_is_quiet();
    p->terminal = cli_is_terminal(stderr);
    p->started = p->drawn = nb_seconds();
}

void
cli_progress_say(struct cli_progress *p, const char *what)
{
    if (p->on && p->terminal)
        replace_line("", what);
}

/* The time left, as far as the SHARE that is done tells; "" if nothing is done. */
static void
time_left(char *text, size_t size, double seconds, double share)
{
    const double left = share > 0 ? seconds * (1 - share) / share + 0.5 : 0;

    text[0] = '\0';
    if (share > 0 && left < 1e6)
        snprintf(text, size, "  %ld:%02ld left", (long)left / 60, (long)left % 60);
}

/* "[####....]  40 %  TEXT  0:05 left"; the bar gets shorter, and at last is left out, on a narrow terminal. */
static void
draw(double share, const char *text, const char *left)
{
    char bar[BAR + 4] = "", line[256];
    const int rest = snprintf(line, sizeof line, "%3.0f %%  %s%s", 100 * share, text, left) + 1;
    const int room = cli_columns(stderr) - rest - 3, width = room < BAR ? room : BAR;

    if (width >= 5) {
        bar[0] = '[';
        for (int i = 0; i < width; i++)
            bar[1 + i] = i < (int)(share * width) ? '#' : '.';
        strcpy(bar + 1 + width, "] ");
    }
    replace_line(bar, line);
}

/* Whether a bar or a line is due; not more often than an eye can follow. */
static bool
is_due(struct cli_progress *p, double now)
{
    if (!p->on || now - p->drawn < (p->terminal ? REDRAW_SECONDS : LINE_SECONDS))
        return false;
    p->drawn = now;
    return true;
}

static void
show(struct cli_progress *p, double share, double now, const char *text)
{
    char left[CLI_TEXT];

    time_left(left, sizeof left, now - p->started, share);
    if (p->terminal)
        draw(share, text, left);
    else
        cli_print_to(stderr, "%3.0f %%  %s%s\n", 100 * share, text, left);
}

void
cli_progress_update(void *context, uint64_t done, uint64_t total)
{
    struct cli_progress *p = context;
    const double now = nb_seconds();
    char rate[CLI_TEXT], text[CLI_TEXT + 2];

    if (!is_due(p, now))
        return;
    snprintf(text, sizeof text, "%s/s", cli_bytes(rate, (double)done / (now - p->started)));
    show(p, total > 0 ? (double)done / (double)total : 1, now, text);
}

void
cli_progress_share(struct cli_progress *p, double share, const char *text)
{
    const double now = nb_seconds();

    if (is_due(p, now))
        show(p, share, now, text);
}

const char *
cli_chunks(char *text, uint32_t done, uint32_t of)
{
    if (done == 0)
        snprintf(text, CLI_TEXT, "%u chunks", (unsigned)of);
    else
        snprintf(text, CLI_TEXT, "%u of %u chunks", (unsigned)done, (unsigned)of);
    return text;
}

void
cli_progress_end(struct cli_progress *p)
{
    if (p->on && p->terminal)
        fputs("\r\033[K", stderr);
}

static void
on_step(void *context, const char *step, double share)
{
    cli_progress_share(context, share, step);
}

static void
on_note(void *context, const char *sentence)
{
    (void)context;
    cli_note("%s", sentence);
}

struct nb_step_watch
cli_step_watch(struct cli_progress *p)
{
    cli_progress_start(p);
    return (struct nb_step_watch){ on_step, on_note, p, cli_catch_signals() };
}

struct nb_watch
cli_watch(struct cli_progress *p)
{
    cli_progress_start(p);
    return (struct nb_watch){ cli_progress_update, p, cli_catch_signals() };
}
