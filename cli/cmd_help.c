#include "cli/cli.h"

#include "cli/help.h"

int
cmd_help(const struct cli_line *line)
{
    const struct cli_command *command;

    if (line->n_operands == 0) {
        cli_help_program(stdout);
        return cli_finish();
    }
    command = cli_command_by_name(line->operands[0]);
    if (command == NULL)
        return cli_unknown_command(line->operands[0]);
    cli_help_command(stdout, command);
    return cli_finish();
}
