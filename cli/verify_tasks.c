#include "cli/verify_tasks.h"

#include "formats/base/text.h"

#include <stdlib.h>

static const struct {
    enum cli_option_id option;
    const char *name, *title;
} kinds[NB_QUESTION_KINDS] = {
    [NB_HELLASWAG] = { OPT_HELLASWAG, "hellaswag", "HellaSwag" },
    [NB_WINOGRANDE] = { OPT_WINOGRANDE, "winogrande", "Winogrande" },
    [NB_MULTIPLE_CHOICE] = { OPT_MULTIPLE_CHOICE, "multiple-choice", "multiple choice" },
};

enum nb_status
verify_tasks_read(struct verify_tasks *tasks, const struct cli_line *line, struct nb_error *err)
{
    enum nb_status status = NB_OK;

    for (size_t k = 0; k < NB_QUESTION_KINDS && status == NB_OK; k++) {
        struct verify_task *t = &tasks->of[k];

        t->file = cli_text(line, kinds[k].option);
        if (t->file != NULL)
            status = nb_questions_read(&t->questions, (enum nb_question_kind)k, t->file, cli_number(line, OPT_TASKS, 0),
                                       err);
    }
    return status;
}

struct progress {
    struct cli_progress bar;
    const char *title;
    size_t questions;
};

static void
on_progress(void *context, double share)
{
    struct progress *p = context;
    char text[CLI_TEXT];

    snprintf(text, sizeof text, "%s, %zu questions", p->title, p->questions);
    cli_progress_share(&p->bar, share, text);
}

static enum nb_status
run_task(struct verify_task *task, const struct nb_model *const *model, size_t models, size_t first,
         const struct nb_tokenizer *tokenizer, const struct nb_task_options *options, struct nb_error *err)
{
    const struct nb_questions *q = &task->questions;
    struct progress progress = { .title = kinds[q->kind].title, .questions = q->count };
    struct nb_task_options o = *options;
    enum nb_status status;

    task->results = calloc(models, sizeof *task->results);
    if (task->results == NULL)
        return nb_fail_memory(err);
    o.progress = on_progress;
    o.context = &progress;
    cli_progress_start(&progress.bar);
    status = nb_tasks_run(model + first, models - first, q, tokenizer, &o, task->results + first, err);
    cli_progress_end(&progress.bar);
    return status;
}

enum nb_status
verify_tasks_run(struct verify_tasks *tasks, const struct nb_model *const *model, size_t models, size_t first,
                 const struct nb_tokenizer *tokenizer, const struct nb_task_options *options, struct nb_error *err)
{
    enum nb_status status = NB_OK;

    for (size_t k = 0; k < NB_QUESTION_KINDS && status == NB_OK; k++)
        if (tasks->of[k].file != NULL)
            status = run_task(&tasks->of[k], model, models, first, tokenizer, options, err);
    return status;
}

void
verify_tasks_free(struct verify_tasks *tasks, size_t models)
{
    for (size_t k = 0; k < NB_QUESTION_KINDS; k++) {
        if (tasks->of[k].results != NULL)
            nb_task_results_free(tasks->of[k].results, models);
        free(tasks->of[k].results);
        nb_questions_free(&tasks->of[k].questions);
    }
}

void
verify_tasks_print(const struct verify_tasks *tasks, const struct nb_source *source, size_t models, int width)
{
    for (size_t k = 0; k < NB_QUESTION_KINDS; k++) {
        const struct verify_task *t = &tasks->of[k];

        if (t->file == NULL)
            continue;
        cli_print("\n%s: %zu question%s of %s\n%-*s   right answers   same as base\n", kinds[k].title,
                  t->questions.count, t->questions.count == 1 ? "" : "s", t->file, width, "model");
        for (size_t i = 0; i < models; i++) {
            double error, share;

            if (t->results[i].choice == NULL)
                continue;
            share = nb_task_share(&t->results[i], t->questions.count, &error);
            cli_print_name(stdout, nb_base_name(source[i].path), width);
            cli_print("  %6.2f +- %5.2f %%", 100 * share, 100 * error);
            if (i > 0 && t->results[0].choice != NULL)
                cli_print("     %6.2f %%", 100 * nb_task_same(&t->results[i], &t->results[0], t->questions.count));
            cli_print("\n");
        }
    }
}

static json_t *
models_json(const struct verify_task *t, const struct nb_source *source, size_t models)
{
    json_t *list = cli_json_array();

    for (size_t i = 0; i < models; i++) {
        double error, share;
        json_t *o;

        if (t->results[i].choice == NULL)
            continue;
        share = nb_task_share(&t->results[i], t->questions.count, &error);
        o = cli_json("{s:s, s:f, s:f}", "path", source[i].path, "right", share, "right_stderr", error);
        if (i > 0 && t->results[0].choice != NULL)
            cli_json_set(o, "same_answers",
                         cli_json_real(nb_task_same(&t->results[i], &t->results[0], t->questions.count)));
        cli_json_add(list, o);
    }
    return list;
}

json_t *
verify_tasks_json(const struct verify_tasks *tasks, const struct nb_source *source, size_t models)
{
    json_t *list = NULL;

    for (size_t k = 0; k < NB_QUESTION_KINDS; k++) {
        const struct verify_task *t = &tasks->of[k];

        if (t->file == NULL)
            continue;
        list = list == NULL ? cli_json_array() : list;
        cli_json_add(list, cli_json("{s:s, s:s, s:I, s:o}", "task", kinds[k].name, "file", t->file, "questions",
                                    (json_int_t)t->questions.count, "models", models_json(t, source, models)));
    }
    return list;
}
