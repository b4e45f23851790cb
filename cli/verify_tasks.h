/* The tasks of 'nibble verify': right answers of every model, beside those of the base. */
#ifndef NB_CLI_VERIFY_TASKS_H
#define NB_CLI_VERIFY_TASKS_H

#include "cli/cli.h"
#include "formats/models/source.h"
#include "verify/run/model.h"
#include "verify/tasks/questions.h"
#include "verify/tasks/tasks.h"
#include "verify/tokenize/tokenize.h"

#include <jansson.h>

struct verify_task {
    const char *file; /* NULL: not asked for */
    struct nb_questions questions;
    struct nb_task_result *results; /* of each model */
};

struct verify_tasks {
    struct verify_task of[NB_QUESTION_KINDS];
};

/* Reads the files that the command line names. */
enum nb_status verify_tasks_read(struct verify_tasks *tasks, const struct cli_line *line,
                                 struct nb_error *err) NB_MUST_CHECK;
/* Runs them with MODELS models; the first FIRST of these are not there: their results stay empty. */
enum nb_status verify_tasks_run(struct verify_tasks *tasks, const struct nb_model *const *model, size_t models,
                                size_t first, const struct nb_tokenizer *tokenizer,
                                const struct nb_task_options *options, struct nb_error *err) NB_MUST_CHECK;
void verify_tasks_free(struct verify_tasks *tasks, size_t models);

/* Tables of them, with names in WIDTH columns. */
void verify_tasks_print(const struct verify_tasks *tasks, const struct nb_source *source, size_t models, int width);
/* [{"task", "file", "questions", "models": [{"path", "right", "right_stderr", "same_answers"}]}]; NULL if there are none. */
json_t *verify_tasks_json(const struct verify_tasks *tasks, const struct nb_source *source, size_t models);

#endif
