/* Commands that only read a model give up all other rights before they open it. */
#ifndef NB_CLI_SANDBOX_H
#define NB_CLI_SANDBOX_H

#include "cli/command_line.h"

/*
 * Confines the process as --sandbox says to reading the models that LINE names: the folders that they are in, and that
 * their links lead to. Returns an exit code; with anything but NB_OK the sentence is printed.
 */
int cli_sandbox(const struct cli_line *line);

#endif
