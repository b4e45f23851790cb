#include "cli/cli.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define WIDTH 30
#define REDRAW_SECONDS 0.1

double
cli_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void
cli_progress_start(struct cli_progress *p)
{
    p->on = !cli_is_quiet() && isatty(STDERR_FILENO) != 0;
    p->started = p->drawn = cli_now();
}

/* The bar and the time left, with MIDDLE between them; not more often than an eye can follow. */
static void
draw(struct cli_progress *p, double share, double now, const char *middle)
{
    const double seconds = now - p->started;
    const long left = (long)(seconds * (1 - share) / share + 0.5);
    char bar[WIDTH + 1];

    p->drawn = now;
    for (int i = 0; i < WIDTH; i++)
        bar[i] = i < (int)(share * WIDTH) ? '#' : '.';
    bar[WIDTH] = '\0';
    fprintf(stderr, "\r[%s] %3.0f %%  %s  %ld:%02ld left \033[K", bar, 100 * share, middle, left / 60, left % 60);
    fflush(stderr);
}

static bool
is_due(const struct cli_progress *p, uint64_t done, double now)
{
    return p->on && done > 0 && now - p->drawn >= REDRAW_SECONDS;
}

void
cli_progress_update(void *context, uint64_t done, uint64_t total)
{
    struct cli_progress *p = context;
    const double now = cli_now();
    char rate[CLI_TEXT], text[CLI_TEXT + 2];

    if (!is_due(p, done, now))
        return;
    snprintf(text, sizeof text, "%s/s", cli_bytes(rate, (double)done / (now - p->started)));
    draw(p, total > 0 ? (double)done / (double)total : 1, now, text);
}

void
cli_progress_steps(struct cli_progress *p, uint64_t done, uint64_t total, const char *text)
{
    const double now = cli_now();

    if (is_due(p, done, now))
        draw(p, (double)done / (double)total, now, text);
}

void
cli_progress_end(struct cli_progress *p)
{
    if (p->on)
        fputs("\r\033[K", stderr);
}
