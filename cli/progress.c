#include "cli.h"

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
    p->on = isatty(STDERR_FILENO) != 0;
    p->started = p->drawn = cli_now();
}

void
cli_progress_update(void *context, uint64_t done, uint64_t total)
{
    struct cli_progress *p = context;
    const double now = cli_now(), seconds = now - p->started;
    const double share = total > 0 ? (double)done / (double)total : 1;
    char bar[WIDTH + 1], rate[CLI_TEXT];
    long left;

    if (!p->on || done == 0 || now - p->drawn < REDRAW_SECONDS)
        return;
    p->drawn = now;
    for (int i = 0; i < WIDTH; i++)
        bar[i] = i < (int)(share * WIDTH) ? '#' : '.';
    bar[WIDTH] = '\0';
    left = (long)(seconds * (1 - share) / share + 0.5);
    fprintf(stderr, "\r[%s] %3.0f %%  %s/s  %ld:%02ld left \033[K", bar, 100 * share,
            cli_bytes(rate, (double)done / seconds), left / 60, left % 60);
    fflush(stderr);
}

void
cli_progress_end(struct cli_progress *p)
{
    if (p->on)
        fputs("\r\033[K", stderr);
}
