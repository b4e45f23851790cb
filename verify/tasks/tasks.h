/*
 * Tasks: how often a model finds the right answer the likeliest, as llama-perplexity (tools/perplexity) scores it with
 * --hellaswag, --winogrande and --multiple-choice.
 */
#ifndef NB_TASKS_H
#define NB_TASKS_H

#include "verify/run/model.h"
#include "verify/tasks/questions.h"
#include "verify/tokenize/tokenize.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nb_task_options {
    unsigned threads; /* 0: one per core */
    size_t base;      /* the model with this number is run as it is; the others with rounded activations if ROUND */
    bool round;
    void (*progress)(void *context, double share); /* of the work, from 0 to 1; may be NULL */
    void *context;
    const volatile sig_atomic_t *stop; /* not zero asks for a stop: NB_INTERRUPTED; may be NULL */
};

/* What one model makes of the questions. */
struct nb_task_result {
    size_t right;
    uint32_t *choice; /* of each question: the likeliest answer, of equal ones the first (Winogrande: the last) */
};

/* The share of right answers, and its standard error. */
double nb_task_share(const struct nb_task_result *result, size_t questions, double *error);

/* The share of the questions to which both give the same answer. */
double nb_task_same(const struct nb_task_result *a, const struct nb_task_result *b, size_t questions);

/*
 * RESULTS receives what each of MODELS models makes of QUESTIONS, for the caller to free by nb_task_results_free also after an
 * error. The tokens are those of TOKENIZER, whose vocabulary all of them have.
 */
enum nb_status nb_tasks_run(const struct nb_model *const *model, size_t models, const struct nb_questions *questions,
                            const struct nb_tokenizer *tokenizer, const struct nb_task_options *options,
                            struct nb_task_result *results, struct nb_error *err) NB_MUST_CHECK;
void nb_task_results_free(struct nb_task_result *results, size_t models);

#endif
