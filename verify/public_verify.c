/* nibble.h: verifying. */
#include "formats/base/file_out.h"
#include "formats/base/public.h"
#include "formats/models/public_source.h"
#include "verify/drift/drift.h"
#include "verify/drift/drift_stats.h"
#include "verify/drift/drift_text.h"
#include "verify/drift/save_base.h"
#include "verify/drift/saved_base.h"
#include "verify/tasks/tasks.h"
#include "verify/tokenize/agreement.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_CHUNK 512u
#define MIN_CHUNK 8u
#define MAX_CHUNK (1u << 20)
#define STEPS 1000 /* units of a task's progress */

_Static_assert(NIBBLE_QUANTILES == NB_QUANTILES && (int)NIBBLE_QUANTILE_50 == NB_Q_50 &&
                   (int)NIBBLE_QUANTILE_MAX == NB_Q_MAX,
               "both have the same quantiles");
_Static_assert((int)NIBBLE_HELLASWAG == NB_HELLASWAG && (int)NIBBLE_WINOGRANDE == NB_WINOGRANDE &&
                   (int)NIBBLE_MULTIPLE_CHOICE == NB_MULTIPLE_CHOICE,
               "both have the same kinds of questions");

struct nibble_verification {
    size_t models, tasks, first;     /* FIRST: that was run; 1 with a saved base */
    struct nibble_drift *drift;      /* of each model */
    char **other_tokens;             /* of each, or NULL */
    struct nibble_task_score *score; /* of each task, for each model */
};

/* The models of a call, opened; the first is NULL with a saved base. */
struct models {
    struct nb_model *model;
    const struct nb_model **list; /* pointers to them */
    size_t count, first, open;
};

/* One call. */
struct call {
    struct nibble_verify_options o;
    const struct nb_text *text; /* NULL: that of the saved base */
    struct nb_public_run run;
    struct nb_drift_options drift;
    struct models models;
    struct nb_base_reader *saved;
    struct nb_ids ids;
    struct nb_tokenizer *tokenizer;
    struct nibble_verification *out;
    bool out_of_memory;
};

/* --- models ------------------------------------------------------------------------------------------------------- */

static enum nb_status
open_models(struct models *m, const struct nibble_source *const *sources, struct nb_error *err)
{
    enum nb_status status = NB_OK;

    m->model = calloc(m->count, sizeof *m->model);
    m->list = calloc(m->count, sizeof *m->list);
    if (m->model == NULL || m->list == NULL)
        return nb_fail_memory(err);
    for (size_t i = m->first; i < m->count && status == NB_OK; i++) {
        m->list[i] = &m->model[i];
        status = nb_model_open(&m->model[i], &sources[i - m->first]->source, err);
        m->open += status == NB_OK;
    }
    return status;
}

static void
close_models(struct models *m)
{
    for (size_t i = 0; i < m->open; i++)
        nb_model_close(&m->model[m->first + i]);
    free(m->list);
    free(m->model);
}

/* --- options ------------------------------------------------------------------------------------------------------ */

/* Whether the file PATH can be written, asked before the work that it is for. */
static enum nb_status
check_output(const char *path, bool replace, struct nb_error *err)
{
    struct nb_file_out file;
    enum nb_status status = nb_out_create(&file, path, 0, replace, err);

    return status == NB_OK ? nb_out_discard(&file, err) : status;
}

static void
on_other_tokens(void *context, size_t model, const char *what)
{
    struct call *c = context;

    c->out->other_tokens[model] = strdup(what);
    c->out_of_memory |= c->out->other_tokens[model] == NULL;
}

static void
on_chunks(void *context, uint32_t done, uint32_t total, double share)
{
    struct call *c = context;

    nb_public_progress_chunks(&c->run, done, total, share);
}

/* The saved base's own number of tokens in a chunk, which options may repeat. */
static enum nb_status
open_saved(struct call *c, struct nb_error *err)
{
    enum nb_status status;
    uint32_t chunk;

    if (c->o.save_base != NULL)
        return nb_fail(err, NB_USAGE, "save_base needs the base itself, which base_from is in the place of");
    status = nb_base_reader_open(&c->saved, c->o.base_from, err);
    if (status != NB_OK)
        return status;
    chunk = nb_base_reader_about(c->saved)->chunk_tokens;
    if (c->o.chunk_tokens != 0 && c->o.chunk_tokens != chunk)
        return nb_fail(err, NB_USAGE, "%s: was saved with chunks of %u tokens, not %u", c->o.base_from, (unsigned)chunk,
                       (unsigned)c->o.chunk_tokens);
    c->drift.chunk_tokens = chunk;
    c->drift.base_from = c->saved;
    return NB_OK;
}

static enum nb_status
take_options(struct call *c, struct nb_error *err)
{
    struct nb_drift_options *out = &c->drift;

    *out = (struct nb_drift_options){
        .chunk_tokens = c->o.chunk_tokens == 0 ? DEFAULT_CHUNK : c->o.chunk_tokens,
        .max_chunks = c->o.max_chunks,
        .threads = c->run.threads,
        .round = c->o.round_activations,
        .progress = on_chunks,
        .other_tokens = on_other_tokens,
        .context = c,
        .stop = &c->run.stop,
    };
    if (out->chunk_tokens < MIN_CHUNK || out->chunk_tokens > MAX_CHUNK)
        return nb_fail(err, NB_USAGE, "chunk_tokens is %u, but must be %u to %u", (unsigned)out->chunk_tokens,
                       MIN_CHUNK, MAX_CHUNK);
    for (size_t i = 0; i < c->o.n_tasks; i++)
        if (c->o.tasks[i].file == NULL || (unsigned)c->o.tasks[i].kind >= NB_QUESTION_KINDS)
            return nb_fail(err, NB_USAGE, "tasks: number %zu has no file, or a kind that is not known", i);
    return c->o.base_from != NULL ? open_saved(c, err) : NB_OK;
}

/* --- measuring ---------------------------------------------------------------------------------------------------- */

static struct nibble_estimate
estimate(struct nb_estimate e)
{
    return (struct nibble_estimate){ e.value, e.error };
}

static struct nibble_drift
drift_of(const struct nb_drift *d, const struct nb_drift_stats *s)
{
    struct nibble_drift out = {
        .size = sizeof out,
        .chunks = d->chunks,
        .chunk_tokens = d->chunk_tokens,
        .scored = s->scored,
        .perplexity = estimate(s->perplexity),
        .ln_ratio = estimate(s->ln_ratio),
        .ratio = estimate(s->ratio),
        .correlation = s->correlation,
        .kld = estimate(s->kld),
        .dp = estimate(s->dp),
        .rms_dp = estimate(s->rms_dp),
        .same_top = estimate(s->same_top),
    };

    memcpy(out.kld_quantiles, s->kld_quantile, sizeof out.kld_quantiles);
    memcpy(out.dp_quantiles, s->dp_quantile, sizeof out.dp_quantiles);
    return out;
}

static enum nb_status
begin_save(struct call *c, struct nb_error *err)
{
    const struct nb_base_to_save base = { c->models.list[0]->source, c->text->name, &c->ids, c->tokenizer };

    return nb_save_base(&c->drift.save, c->o.save_base, c->o.replace, &base, &c->drift, err);
}

static enum nb_status
measure(struct call *c, struct nb_error *err)
{
    const struct models *m = &c->models;
    struct nb_drift drift;
    enum nb_status status = c->o.save_base != NULL ? begin_save(c, err) : NB_OK;

    if (status != NB_OK)
        return status;
    status = nb_drift_measure(m->list, m->count, c->ids.id, c->ids.count, &c->drift, &drift, err);
    if (status != NB_OK) {
        nb_base_writer_abort(c->drift.save, err);
        return status;
    }
    if (c->drift.save != NULL)
        status = nb_base_writer_end(c->drift.save, err);
    for (size_t i = 0; i < m->count && status == NB_OK; i++) {
        struct nb_drift_stats stats;

        status = nb_drift_stats(&drift, i, drift.scored, &stats, err);
        if (status == NB_OK)
            c->out->drift[i] = drift_of(&drift, &stats);
        c->out->drift[i].other_tokens = c->out->other_tokens[i];
    }
    nb_drift_free(&drift);
    return status;
}

static enum nb_status
read_text(struct call *c, struct nb_error *err)
{
    const struct models *m = &c->models;
    enum nb_status status =
        c->saved != NULL ? nb_drift_saved_tokens(m->list, m->count, c->text, &c->drift, &c->ids, &c->tokenizer, err)
                         : nb_drift_tokens(m->list, m->count, c->text, &c->drift, &c->ids, &c->tokenizer, err);

    return status == NB_OK && c->out_of_memory ? nb_fail_memory(err) : status;
}

/* --- tasks -------------------------------------------------------------------------------------------------------- */

static void
on_task(void *context, double share)
{
    nb_public_progress(context, (uint64_t)(share * STEPS), STEPS);
}

static struct nibble_task_score
score_of(const struct nb_task_result *result, const struct nb_task_result *base, size_t questions)
{
    struct nibble_task_score out = { .size = sizeof out, .questions = questions };

    out.right.value = nb_task_share(result, questions, &out.right.error);
    out.same_as_base = base == NULL ? (double)NAN : nb_task_same(result, base, questions);
    return out;
}

static enum nb_status
run_task(struct call *c, const struct nb_questions *q, struct nibble_task_score *score, struct nb_error *err)
{
    const struct models *m = &c->models;
    const size_t n = m->count - m->first;
    const struct nb_task_options o = { .threads = c->run.threads,
                                       .base = m->first > 0 ? SIZE_MAX : 0,
                                       .round = c->o.round_activations,
                                       .progress = on_task,
                                       .context = &c->run,
                                       .stop = &c->run.stop };
    struct nb_task_result *results = calloc(n, sizeof *results);
    enum nb_status status = results == NULL ? nb_fail_memory(err)
                                            : nb_tasks_run(m->list + m->first, n, q, c->tokenizer, &o, results, err);

    for (size_t i = 0; i < n && status == NB_OK; i++)
        score[m->first + i] = score_of(&results[i], m->first > 0 ? NULL : &results[0], q->count);
    if (results != NULL)
        nb_task_results_free(results, n);
    free(results);
    return status;
}

/* Reads all questions before the first is asked. */
static enum nb_status
read_tasks(struct call *c, struct nb_questions *questions, struct nb_error *err)
{
    enum nb_status status = NB_OK;

    for (size_t i = 0; i < c->o.n_tasks && status == NB_OK; i++) {
        const struct nibble_task *t = &c->o.tasks[i];

        status = nb_questions_read(&questions[i], (enum nb_question_kind)t->kind, t->file, t->max_questions, err);
    }
    return status;
}

/* --- the call ----------------------------------------------------------------------------------------------------- */

static enum nb_status
run(struct call *c, const struct nibble_source *const *sources, struct nb_error *err)
{
    struct nb_questions *questions = calloc(c->o.n_tasks + 1, sizeof *questions);
    enum nb_status status = questions == NULL ? nb_fail_memory(err) : take_options(c, err);

    if (status == NB_OK && c->o.save_base != NULL)
        status = check_output(c->o.save_base, c->o.replace, err);
    if (status == NB_OK)
        status = open_models(&c->models, sources, err);
    if (status == NB_OK)
        status = read_tasks(c, questions, err);
    if (status == NB_OK)
        status = read_text(c, err);
    if (status == NB_OK)
        status = measure(c, err);
    for (size_t i = 0; i < c->o.n_tasks && status == NB_OK; i++)
        status = run_task(c, &questions[i], c->out->score + i * c->models.count, err);
    for (size_t i = 0; i < c->o.n_tasks && questions != NULL; i++)
        nb_questions_free(&questions[i]);
    free(questions);
    return status;
}

static struct nibble_verification *
new_verification(size_t models, size_t tasks, size_t first)
{
    struct nibble_verification *v = calloc(1, sizeof *v);

    if (v == NULL)
        return NULL;
    *v = (struct nibble_verification){ .models = models, .tasks = tasks, .first = first };
    v->drift = calloc(models, sizeof *v->drift);
    v->other_tokens = calloc(models, sizeof *v->other_tokens);
    v->score = calloc(models * tasks + 1, sizeof *v->score);
    if (v->drift != NULL && v->other_tokens != NULL && v->score != NULL)
        return v;
    nibble_verification_free(v);
    return NULL;
}

static enum nb_status
verify(const struct nibble_source *const *sources, size_t count, struct call *c, struct nb_error *err)
{
    const size_t first = c->o.base_from != NULL ? 1 : 0;
    enum nb_status status = NB_OK;

    if (count == 0 || (c->text == NULL && first == 0))
        return nb_fail(err, NB_USAGE, count == 0 ? "there is no model to measure" : "the text has no name");
    c->models = (struct models){ .count = first + count, .first = first };
    c->out = new_verification(first + count, c->o.n_tasks, first);
    status = c->out == NULL ? nb_fail_memory(err) : run(c, sources, err);
    nb_ids_free(&c->ids);
    nb_tokenizer_close(c->tokenizer);
    close_models(&c->models);
    nb_base_reader_close(c->saved);
    return status;
}

enum nibble_code
nibble_verify(const struct nibble_source *const *models, size_t count, const struct nibble_text *text,
              const struct nibble_verify_options *options, const struct nibble_run *run,
              struct nibble_verification **out, struct nibble_error *error)
{
    const bool has_text = text != NULL && text->name != NULL;
    const struct nb_text own = has_text ? (struct nb_text){ text->name, text->bytes, text->length }
                                        : (struct nb_text){ 0 };
    struct call c = { .text = has_text ? &own : NULL };
    struct nb_error err;
    enum nb_status status = NB_PUBLIC_TAKE(c.o, options, "nibble_verify_options", &err);

    if (status == NB_OK)
        status = nb_public_run(&c.run, run, &err);
    if (status == NB_OK)
        status = verify(models, count, &c, &err);
    if (status != NB_OK) {
        nibble_verification_free(c.out);
        c.out = NULL;
    }
    *out = c.out;
    return nb_public_end(status, &err, error);
}

/* --- results ------------------------------------------------------------------------------------------------------ */

void
nibble_verification_free(struct nibble_verification *v)
{
    if (v == NULL)
        return;
    for (size_t i = 0; i < v->models && v->other_tokens != NULL; i++)
        free(v->other_tokens[i]);
    free(v->other_tokens);
    free(v->drift);
    free(v->score);
    free(v);
}

enum nibble_code
nibble_verification_model(const struct nibble_verification *v, size_t index, struct nibble_drift *out,
                          struct nibble_error *error)
{
    struct nb_error err;
    enum nb_status status = nb_public_check_index(index, v->models, "models", &err);

    if (status == NB_OK)
        status = NB_PUBLIC_GIVE(out, v->drift[index], "nibble_drift", &err);
    return nb_public_end(status, &err, error);
}

enum nibble_code
nibble_verification_task(const struct nibble_verification *v, size_t index, size_t task, struct nibble_task_score *out,
                         struct nibble_error *error)
{
    struct nb_error err;
    enum nb_status status = nb_public_check_index(index, v->models, "models", &err);

    if (status == NB_OK)
        status = nb_public_check_index(task, v->tasks, "tasks", &err);
    if (status == NB_OK && index < v->first)
        status = nb_fail(&err, NB_NOT_FOUND, "a saved base has no answers to questions");
    if (status == NB_OK)
        status = NB_PUBLIC_GIVE(out, v->score[task * v->models + index], "nibble_task_score", &err);
    return nb_public_end(status, &err, error);
}
