#include "cli/cli.h"

static volatile sig_atomic_t caught;

static void
on_signal(int number)
{
    (void)number;
    caught = 1;
}

const volatile sig_atomic_t *
cli_catch_signals(void)
{
    const struct sigaction action = { .sa_handler = on_signal };

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    return &caught;
}
