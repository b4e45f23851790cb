/* nibble.h: verifying. */
#include "formats/base/public.h"
#include "formats/models/public_source.h"
#include "verify/drift/drift.h"
#include "verify/drift/drift_stats.h"
#include "verify/drift/drift_text.h"

#include <stdlib.h>
#include <string.h>

#define DEFAULT_CHUNK 512u
#define MIN_CHUNK 8u
#define MAX_CHUNK (1u << 20)

_Static_assert(NIBBLE_QUANTILES == NB_QUANTILES && (int)NIBBLE_QUANTILE_50 == NB_Q_50 &&
                   (int)NIBBLE_QUANTILE_MAX == NB_Q_MAX,
               "both have the same quantiles");

struct nibble_verification {
    size_t models;
    struct nibble_drift *drift; /* of each */
};

/* The models of a call, opened. */
struct models {
    struct nb_model *model;
    const struct nb_model **list; /* pointers to them */
    size_t count, open;
};

static enum nb_status
open_models(struct models *m, const struct nibble_source *const *sources, struct nb_error *err)
{
    enum nb_status status = NB_OK;

    m->model = calloc(m->count, sizeof *m->model);
    m->list = calloc(m->count, sizeof *m->list);
    if (m->model == NULL || m->list == NULL)
        return nb_fail_memory(err);
    for (size_t i = 0; i < m->count && status == NB_OK; i++) {
        m->list[i] = &m->model[i];
        status = nb_model_open(&m->model[i], &sources[i]->source, err);
        m->open += status == NB_OK;
    }
    return status;
}

static void
close_models(struct models *m)
{
    for (size_t i = 0; i < m->open; i++)
        nb_model_close(&m->model[i]);
    free(m->list);
    free(m->model);
}

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
measure(const struct models *m, const struct nb_ids *ids, const struct nb_drift_options *o,
        struct nibble_verification *v, struct nb_error *err)
{
    struct nb_drift drift;
    enum nb_status status = nb_drift_measure(m->list, m->count, ids->id, ids->count, o, &drift, err);

    if (status != NB_OK)
        return status;
    for (size_t i = 0; i < m->count && status == NB_OK; i++) {
        struct nb_drift_stats stats;

        status = nb_drift_stats(&drift, i, drift.scored, &stats, err);
        if (status == NB_OK)
            v->drift[i] = drift_of(&drift, &stats);
    }
    nb_drift_free(&drift);
    return status;
}

static enum nb_status
take_options(const struct nibble_verify_options *options, const struct nibble_run *run, struct nb_drift_options *out,
             struct nb_public_run *r, struct nb_error *err)
{
    struct nibble_verify_options o;
    enum nb_status status = NB_PUBLIC_TAKE(o, options, "nibble_verify_options", err);

    if (status == NB_OK)
        status = nb_public_run(r, run, err);
    if (status != NB_OK)
        return status;
    *out = (struct nb_drift_options){
        .chunk_tokens = o.chunk_tokens == 0 ? DEFAULT_CHUNK : o.chunk_tokens,
        .max_chunks = o.max_chunks,
        .threads = r->threads,
        .progress = nb_public_progress_chunks,
        .context = r,
        .stop = &r->stop,
    };
    if (out->chunk_tokens < MIN_CHUNK || out->chunk_tokens > MAX_CHUNK)
        return nb_fail(err, NB_USAGE, "chunk_tokens is %u, but must be %u to %u", (unsigned)out->chunk_tokens,
                       MIN_CHUNK, MAX_CHUNK);
    return NB_OK;
}

static enum nb_status
verify(const struct nibble_source *const *sources, const struct nb_text *text,
       const struct nibble_verify_options *options, const struct nibble_run *run, struct nibble_verification *v,
       struct nb_error *err)
{
    struct models m = { .count = v->models };
    struct nb_public_run r;
    struct nb_drift_options o;
    struct nb_ids ids = { 0 };
    enum nb_status status = take_options(options, run, &o, &r, err);

    if (status == NB_OK)
        status = open_models(&m, sources, err);
    if (status == NB_OK)
        status = nb_drift_tokens(m.list, m.count, text, &o, &ids, NULL, err);
    if (status == NB_OK)
        status = measure(&m, &ids, &o, v, err);
    nb_ids_free(&ids);
    close_models(&m);
    return status;
}

enum nibble_code
nibble_verify(const struct nibble_source *const *models, size_t count, const struct nibble_text *text,
              const struct nibble_verify_options *options, const struct nibble_run *run,
              struct nibble_verification **out, struct nibble_error *error)
{
    struct nibble_verification *v = calloc(1, sizeof *v);
    struct nb_error err;
    enum nb_status status = NB_OK;

    if (count == 0 || text == NULL || text->name == NULL)
        status = nb_fail(&err, NB_USAGE, count == 0 ? "there is no model to measure" : "the text has no name");
    else if (v == NULL || (v->drift = calloc(count, sizeof *v->drift)) == NULL)
        status = nb_fail_memory(&err);
    if (status == NB_OK) {
        const struct nb_text own = { text->name, text->bytes, text->length };

        v->models = count;
        status = verify(models, &own, options, run, v, &err);
    }
    if (status != NB_OK) {
        nibble_verification_free(v);
        v = NULL;
    }
    *out = v;
    return nb_public_end(status, &err, error);
}

void
nibble_verification_free(struct nibble_verification *v)
{
    if (v != NULL)
        free(v->drift);
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
