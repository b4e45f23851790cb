#include "cli/cli.h"

#include <stdio.h>

static volatile sig_atomic_t caught; /* the number of the signal; 0: none */

static void
on_signal(int number)
{
    caught = number;
}

const volatile sig_atomic_t *
cli_catch_signals(void)
{
    static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
    /* Once: a second signal ends the program where it is. */
    const struct sigaction action = { .sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND };
    struct sigaction old;

    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        /* those that nohup or a script has made nibble ignore stay ignored */
        if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            sigaction(signals[i], &action, NULL);
    return &caught;
}

void
cli_end_by_signal(void)
{
    if (caught == 0)
        return;
    fflush(NULL);
    signal(caught, SIG_DFL);
    raise(caught);
}
