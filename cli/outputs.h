/* The files that a command line says to write. */
#ifndef NB_OUTPUTS_H
#define NB_OUTPUTS_H

#include "cli/command_line.h"

/*
 * Refuses, with a sentence, a command line whose output, or the partial file of an output, is a file that
 * it says to read, under any name, or a folder with such a file. Returns an exit code.
 */
int cli_check_outputs(const struct cli_line *line);
/* The same for the output PATH, which stands otherwise in LINE. */
int cli_check_named_output(const struct cli_line *line, const char *path);

#endif
