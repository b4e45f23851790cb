/* What the commands share. This is the only room that prints or exits. */
#ifndef NB_CLI_H
#define NB_CLI_H

#include "formats/base/status.h"
#include "formats/models/source.h"
#include "formats/models/view.h"

#include <jansson.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

int cmd_check(int argc, char **argv);
int cmd_calibrate(int argc, char **argv);
int cmd_merge(int argc, char **argv);
int cmd_diff(int argc, char **argv);
int cmd_edit(int argc, char **argv);
int cmd_quantize(int argc, char **argv);
int cmd_hash(int argc, char **argv);
int cmd_inspect(int argc, char **argv);
int cmd_split(int argc, char **argv);
int cmd_tokenize(int argc, char **argv);
int cmd_types(int argc, char **argv);
int cmd_verify(int argc, char **argv);

/* Prints "nibble: " and the sentence of ERR to stderr; returns the exit code. */
int cli_fail(const struct nb_error *err);
/* The same for a mistake on the command line, with a pointer to --help of COMMAND. */
int cli_usage(const char *command, const char *format, ...) NB_PRINTF(2, 3);
/*
 * The path of NAME in data/: in the current folder, beside the program, or where it
 * was installed. In a static buffer; NULL where it is in none of these.
 */
const char *cli_data_file(const char *name);
/* "note: ..." lines of a source, to stderr. */
void cli_print_notes(const struct nb_source *source);
json_t *cli_notes_json(const struct nb_source *source);
/* OBJECT, which is released, as one line on stdout. */
int cli_print_json(json_t *object);
/* Whether the file NAME can be written, asked before the work that it is for. */
enum nb_status cli_check_output(const char *name, struct nb_error *err) NB_MUST_CHECK;
/* TEXT as a whole number from LOW to HIGH; false if it is none. */
bool cli_parse_count(const char *text, uint32_t low, uint32_t high, uint32_t *out);
/*
 * From here on an interrupt, a hangup or a request to end asks the work to stop: the
 * flag is then not zero.
 */
const volatile sig_atomic_t *cli_catch_signals(void);
/* Flushes stdout; a full disk behind a pipe is an error too. Returns the exit code. */
int cli_finish(void);

#define CLI_TEXT 64
/* "1.23 GB"; decimal units, as disks and llama.cpp's tables have them. */
const char *cli_bytes(char *text, double bytes);
/* "3.67 M" */
const char *cli_count(char *text, double count);
/* "256 x 2048": rows last, as GGUF has them */
const char *cli_shape(char *text, const struct nb_view *tensor);

/* A bar on stderr, if that is a terminal. */
struct cli_progress {
    bool on;
    double started, drawn;
};
void cli_progress_start(struct cli_progress *progress);
/* For nb_pipeline_options.progress, with a struct cli_progress as CONTEXT. */
void cli_progress_update(void *context, uint64_t done, uint64_t total);
/* The same for work that goes in steps; TEXT, which may be "", is shown behind. */
void cli_progress_steps(struct cli_progress *progress, uint64_t done, uint64_t total, const char *text);
void cli_progress_end(struct cli_progress *progress);
/* Seconds of a clock that only goes forward. */
double cli_now(void);

#endif
