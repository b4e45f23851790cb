#include "cli/cli.h"

#include "cli/help.h"
#include "cli/outputs.h"
#include "formats/base/clock.h"
#include "formats/base/status.h"
#include "formats/base/system.h"
#include "formats/elements/tier.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static int
version(void)
{
    cli_print("nibble %s\n", NB_VERSION);
    return cli_finish();
}

/* What -v says of every run. */
static void
print_effort(double seconds)
{
    struct rusage usage;
    char peak[CLI_TEXT];

    getrusage(RUSAGE_SELF, &usage);
    cli_detail("%.2f s, %.2f s of CPU time, peak memory %s, %s kernels", seconds,
               (double)usage.ru_utime.tv_sec + 1e-6 * (double)usage.ru_utime.tv_usec + (double)usage.ru_stime.tv_sec +
                   1e-6 * (double)usage.ru_stime.tv_usec,
               cli_bytes(peak, (double)nb_system_peak_memory()), nb_tier());
}

/* Whether the line has --json, also if it has mistakes: they are told as an object then. */
static bool
wants_json(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--json") == 0)
            return true;
    return false;
}

static int
run(const struct cli_command *command, int argc, char **argv)
{
    const double started = nb_seconds();
    struct cli_line line;
    int code = cli_line_read(&line, command, argc, argv);

    if (code == NB_OK && line.wants_help) {
        cli_help_command(stdout, command);
        code = cli_finish();
    } else if (code == NB_OK && line.wants_version) {
        code = version();
    } else if (code == NB_OK) {
        cli_set_json(cli_has(&line, OPT_JSON));
        cli_set_wide(cli_has(&line, OPT_WIDE));
        cli_set_volume(cli_has(&line, OPT_QUIET), cli_has(&line, OPT_VERBOSE));
        code = cli_line_find_models(&line);
        code = code == NB_OK ? cli_check_outputs(&line) : code;
        code = code == NB_OK ? command->run(&line) : code;
        print_effort(nb_seconds() - started);
    }
    cli_line_free(&line);
    if (nb_status_is((enum nb_status)code, NB_SYSTEM))
        cli_end_by_signal();
    return (int)nb_status_kind((enum nb_status)code);
}

int
main(int argc, char **argv)
{
    const struct cli_command *command;
    struct nb_error err;

    setenv("OPENBLAS_NUM_THREADS", "1", 0); /* if it is loaded, it starts no threads of its own */
    signal(SIGXFSZ, SIG_IGN); /* a file that grows beyond a limit is then an error of the write, and cleaned up */
    cli_set_json(wants_json(argc, argv));
    if (argc < 2)
        return cli_usage("", "name a command");
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        cli_help_program(stdout);
        return cli_finish();
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)
        return version();
    if (nb_tier_from_environment(&err) != NB_OK)
        return cli_fail(&err);
    command = cli_command_by_name(argv[1]);
    return command == NULL ? cli_unknown_command(argv[1]) : run(command, argc - 1, argv + 1);
}
