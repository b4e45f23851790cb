#include "verify/tasks/tasks.h"

#include "formats/base/checked.h"
#include "formats/base/pool.h"
#include "verify/tasks/sequences.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Of what follows a choice of Winogrande this many tokens must be left for the choice itself not to be scored. */
#define LEAST_AFTER_CHOICE 3u

struct run {
    const struct nb_questions *questions;
    const struct nb_tokenizer *tokenizer;
    const struct nb_task_options *options;
    struct nb_ids *ids; /* of each answer */
    struct nb_sequence *sequences;
    size_t model, models; /* the current one, of all */
    double share;
};

/* --- tokens --------------------------------------------------------------------------------------------------- */

/* The number of tokens with which all answers to a question begin. */
static uint32_t
common_prefix(const struct nb_ids *ids, size_t answers)
{
    size_t n = 0;

    for (;; n++)
        for (size_t i = 0; i < answers; i++)
            if (n == ids[i].count || ids[i].id[n] != ids[0].id[n])
                return (uint32_t)n;
}

/* The number of tokens of the first BYTES bytes of ANSWER. */
static enum nb_status
count_tokens(const struct run *r, const struct nb_answer *answer, size_t bytes, uint32_t *count, struct nb_error *err)
{
    struct nb_ids ids = { 0 };
    const enum nb_status status = nb_tokenize(r->tokenizer, answer->text, bytes, NB_ADD_SPECIAL, &ids, err);

    *count = (uint32_t)ids.count;
    nb_ids_free(&ids);
    return status;
}

/*
 * Which tokens of the two sentences of a question of Winogrande are scored: what follows the choice, but for the last token,
 * or from the first one that differs where too little follows.
 */
static enum nb_status
choose_after(const struct run *r, size_t first, uint32_t prefix, struct nb_error *err)
{
    struct nb_sequence *s = &r->sequences[first];
    const bool skips = s[0].length - prefix > LEAST_AFTER_CHOICE && s[1].length - prefix > LEAST_AFTER_CHOICE;
    enum nb_status status = NB_OK;

    for (size_t i = 0; i < 2 && status == NB_OK; i++) {
        const struct nb_answer *answer = &r->questions->answer[first + i];
        uint32_t start = prefix;

        if (skips)
            status = count_tokens(r, answer, answer->chosen, &start, err);
        s[i].start = start < s[i].length ? start : s[i].length - 1;
        s[i].end = s[i].length - (s[i].length - s[i].start > 1 ? 1 : 0);
    }
    return status;
}

/* The sequences of a question: what is scored is where they differ. */
static enum nb_status
make_sequences(struct run *r, size_t number, struct nb_error *err)
{
    const struct nb_question *q = &r->questions->question[number];
    enum nb_status status = NB_OK;
    uint32_t prefix;

    for (size_t i = q->first; i < q->first + q->answers && status == NB_OK; i++) {
        const struct nb_answer *a = &r->questions->answer[i];

        status = nb_tokenize(r->tokenizer, a->text, a->length, NB_ADD_SPECIAL, &r->ids[i], err);
        if (status == NB_OK && r->ids[i].count < 2)
            status = nb_fail(err, NB_INPUT, "question %zu has an answer of less than two tokens", number + 1);
    }
    if (status != NB_OK)
        return status;
    prefix = common_prefix(r->ids + q->first, q->answers);
    for (size_t i = q->first; i < q->first + q->answers; i++) {
        struct nb_sequence *s = &r->sequences[i];

        *s = (struct nb_sequence){ .id = r->ids[i].id, .length = (uint32_t)r->ids[i].count };
        s->start = prefix < s->length ? prefix : s->length - 1; /* one that is the beginning of another */
        s->end = s->length;
    }
    if (r->questions->kind == NB_WINOGRANDE)
        status = choose_after(r, q->first, prefix, err);
    for (size_t i = q->first; i < q->first + q->answers; i++) {
        struct nb_sequence *s = &r->sequences[i];

        s->start += s->start == 0; /* nothing predicts the first token */
        s->end += s->end <= s->start;
    }
    return status;
}

/* --- scores --------------------------------------------------------------------------------------------------- */

static uint32_t
likeliest(const struct run *r, const struct nb_question *q)
{
    const struct nb_sequence *s = &r->sequences[q->first];
    uint32_t best = 0;

    for (uint32_t i = 1; i < q->answers; i++)
        if (s[i].score > s[best].score || (s[i].score >= s[best].score && r->questions->kind == NB_WINOGRANDE))
            best = i;
    return best;
}

static enum nb_status
judge(const struct run *r, struct nb_task_result *result, struct nb_error *err)
{
    const struct nb_questions *q = r->questions;

    result->choice = nb_calloc(q->count, sizeof *result->choice);
    if (result->choice == NULL)
        return nb_fail_memory(err);
    for (size_t i = 0; i < q->count; i++) {
        result->choice[i] = likeliest(r, &q->question[i]);
        result->right += q->answer[q->question[i].first + result->choice[i]].right;
    }
    return NB_OK;
}

double
nb_task_share(const struct nb_task_result *result, size_t questions, double *error)
{
    const double share = (double)result->right / (double)questions;

    *error = questions > 1 ? sqrt(share * (1 - share) / (double)(questions - 1)) : 0;
    return share;
}

/* --- the run -------------------------------------------------------------------------------------------------- */

static void
look(void *context)
{
    const struct run *r = context;

    if (r->options->progress != NULL)
        r->options->progress(r->options->context, r->share);
}

static void
on_sequences(void *context, size_t done)
{
    struct run *r = context;

    r->share = ((double)r->model + (double)done / (double)r->questions->answers) / (double)r->models;
}

static enum nb_status
prepare(struct run *r, struct nb_error *err)
{
    const struct nb_questions *q = r->questions;
    enum nb_status status = NB_OK;

    r->ids = nb_calloc(q->answers, sizeof *r->ids);
    r->sequences = nb_calloc(q->answers, sizeof *r->sequences);
    if (r->ids == NULL || r->sequences == NULL)
        return nb_fail_memory(err);
    for (size_t i = 0; i < q->count && status == NB_OK; i++)
        status = make_sequences(r, i, err);
    return status;
}

enum nb_status
nb_tasks_run(const struct nb_model *const *model, size_t models, const struct nb_questions *questions,
             const struct nb_tokenizer *tokenizer, const struct nb_task_options *o, struct nb_task_result *results,
             struct nb_error *err)
{
    struct run r = { .questions = questions, .tokenizer = tokenizer, .options = o, .models = models };
    const struct nb_pool_watch watch = { look, &r, o->stop };
    struct nb_pool *pool = NULL;
    enum nb_status status;

    memset(results, 0, models * sizeof *results);
    status = prepare(&r, err);
    if (status == NB_OK)
        status = nb_pool_new(&pool, o->threads, err);
    if (status == NB_OK)
        nb_pool_watch(pool, &watch);
    for (r.model = 0; r.model < models && status == NB_OK; r.model++) {
        status = nb_score_sequences(model[r.model], r.sequences, questions->answers, o->round && r.model != o->base,
                                    pool, on_sequences, &r, err);
        if (status == NB_OK)
            status = judge(&r, &results[r.model], err);
    }
    nb_pool_free(pool);
    for (size_t i = 0; r.ids != NULL && i < questions->answers; i++)
        nb_ids_free(&r.ids[i]);
    free(r.ids);
    free(r.sequences);
    return status;
}

double
nb_task_same(const struct nb_task_result *a, const struct nb_task_result *b, size_t questions)
{
    size_t same = 0;

    for (size_t i = 0; i < questions; i++)
        same += a->choice[i] == b->choice[i];
    return (double)same / (double)questions;
}

void
nb_task_results_free(struct nb_task_result *results, size_t models)
{
    for (size_t i = 0; i < models; i++)
        free(results[i].choice);
}
