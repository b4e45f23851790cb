/* What the commands share. This is the only room that prints or exits. */
#ifndef NB_CLI_H
#define NB_CLI_H

#include "cli/command_line.h"
#include "cli/json.h"
#include "cli/print.h"
#include "formats/base/status.h"
#include "formats/base/watch.h"
#include "formats/models/source.h"
#include "formats/models/view.h"

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

/* Prints "nibble: " and the sentence of ERR to stderr, with --json also as an object; returns the exit code. */
int cli_fail(const struct nb_error *err);
/* The same without the object, for a command that goes on and has the error in its own. */
int cli_complain(const struct nb_error *err);
/* The same with "out of memory". */
int cli_fail_memory(void);
/* The same for a mistake on the command line, followed by a pointer to --help of COMMAND. */
int cli_usage(const char *command, const char *format, ...) NB_PRINTF(2, 3);
/*
 * The path of NAME in data/: in the current folder, beside the program, or where it
 * was installed. In a static buffer; NULL where it is in none of these.
 */
const char *cli_data_file(const char *name);
#define CLI_NARROW 80 /* columns that tables fit into, unless --wide was given */
bool cli_is_wide(void);
void cli_set_wide(bool wide);
/* What -q and -v ask for. */
void cli_set_volume(bool quiet, bool verbose);
bool cli_is_quiet(void);
bool cli_is_verbose(void);
/* A line on stderr that begins with "note: ", unless -q was given. */
void cli_note(const char *format, ...) NB_PRINTF(1, 2);
/* A line on stderr that begins with "warning: ". */
void cli_warn(const char *format, ...) NB_PRINTF(1, 2);
/* A line on stderr that begins with "info: ", if -v was given. */
void cli_detail(const char *format, ...) NB_PRINTF(1, 2);
/* The notes of a source, each as a cli_note. */
void cli_print_notes(const struct nb_source *source);
/* A warning if chunks of TOKENS tokens are longer than the model's context: what follows was not trained. */
void cli_warn_context(const struct nb_source *source, uint32_t tokens);
struct nb_model;
/* A note if layers of MODEL are not run because they only predict further tokens. */
void cli_note_further_layers(const struct nb_model *model);
json_t *cli_notes_json(const struct nb_source *source);
/* Whether the file NAME may be written, if it exists only with FORCE; for use before long work whose result it holds. */
enum nb_status cli_check_output(const char *name, bool force, struct nb_error *err) NB_MUST_CHECK;
/* What an output of the model PATH is called: the last part of the path, or the name of a model in the hub's cache. */
void cli_model_name(const char *path, char *name, size_t size);
/* TEXT as a whole number from LOW to HIGH; false if it is none. */
bool cli_parse_count(const char *text, uint32_t low, uint32_t high, uint32_t *out);
/*
 * After this call the first SIGINT, SIGHUP or SIGTERM sets the flag that is returned, instead of ending
 * the process; a second one ends it.
 */
const volatile sig_atomic_t *cli_catch_signals(void);
/*
 * If a signal was caught, ends the process by it: what started nibble sees how it ended, and a loop in
 * a shell ends, too. For a command that was interrupted and has cleaned up.
 */
void cli_end_by_signal(void);
/* Flushes stdout; an error of that, such as a full disk, is printed. Returns the exit code. */
int cli_finish(void);

#define CLI_TEXT 64
/* "1.23 GB"; decimal units, as disks and llama.cpp's tables have them. */
const char *cli_bytes(char *text, double bytes);
/* The ending of a word for COUNT things: "" or "s". */
const char *cli_s(uint64_t count);
/* "3.67 M" */
const char *cli_count(char *text, double count);
/* "256 x 2048": rows last, as GGUF has them */
const char *cli_shape(char *text, const struct nb_view *tensor);

/* Unless -q was given: a bar on stderr, if that is a terminal, or else a line every minute. */
struct cli_progress {
    bool on, terminal;
    double started, drawn;
};
void cli_progress_start(struct cli_progress *progress);
/* What is being done before there is anything to measure: "loading the model". */
void cli_progress_say(struct cli_progress *progress, const char *what);
/* For nb_pipeline_options.progress, with a struct cli_progress as CONTEXT. */
void cli_progress_update(void *context, uint64_t done, uint64_t total);
/* The same with the SHARE that is done, from 0 to 1; TEXT, which may be "", is shown after the bar. */
void cli_progress_share(struct cli_progress *progress, double share, const char *text);
void cli_progress_end(struct cli_progress *progress);
/* "3 of 8 chunks" in TEXT of at least CLI_TEXT bytes; "8 chunks" as long as none is done, for they are run together. */
const char *cli_chunks(char *text, uint32_t done, uint32_t of);
/* Starts PROGRESS and returns what shows it, and stops at a signal (cli_catch_signals), for a command that cleans up. */
struct nb_watch cli_watch(struct cli_progress *progress);
/* The same for a run that tells its steps, and notes. */
struct nb_step_watch cli_step_watch(struct cli_progress *progress);

#endif
