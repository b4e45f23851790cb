/* nibble.h: running a model. */
#include "formats/base/pool.h"
#include "formats/base/public.h"
#include "formats/models/public_source.h"
#include "verify/run/model.h"
#include "verify/say/continuation.h"
#include "verify/say/speaker.h"
#include "verify/tokenize/tokenize.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define USUAL_CONTEXT 4096u
#define USUAL_TOKENS 64u

struct nibble_model {
    struct nb_model model;
    struct nb_tokenizer *tokenizer;
    struct nb_pool *pool;
    struct nb_speaker speaker;
    uint32_t context;
    bool is_open; /* MODEL */
};

/* The context is one token more than is read at once: so weights stay in memory. */
static enum nb_status
begin_text(struct nibble_model *m, struct nb_error *err)
{
    nb_speaker_close(&m->speaker);
    return nb_speaker_open(&m->speaker, &m->model, m->pool, m->context > 1 ? m->context - 1 : 1, m->context, err);
}

static enum nb_status
open_model(struct nibble_model *m, const struct nb_source *source, const struct nibble_model_options *o,
           struct nb_error *err)
{
    const size_t own = nb_source_context(source), usual = own > 0 && own < USUAL_CONTEXT ? own : USUAL_CONTEXT;
    enum nb_status status = nb_model_open(&m->model, source, err);

    m->is_open = status == NB_OK;
    m->context = o->context > 0 ? o->context : (uint32_t)usual;
    if (status == NB_OK)
        status = nb_tokenizer_open(&m->tokenizer, source, err);
    if (status == NB_OK)
        status = nb_pool_new(&m->pool, o->threads, err);
    return status == NB_OK ? begin_text(m, err) : status;
}

enum nibble_code
nibble_model_open(const struct nibble_source *source, const struct nibble_model_options *options,
                  struct nibble_model **out, struct nibble_error *error)
{
    struct nibble_model_options o;
    struct nibble_model *m = NULL;
    struct nb_error err;
    enum nb_status status = NB_PUBLIC_TAKE(o, options, "nibble_model_options", &err);

    if (status == NB_OK && (m = calloc(1, sizeof *m)) == NULL)
        status = nb_fail_memory(&err);
    if (status == NB_OK)
        status = open_model(m, &source->source, &o, &err);
    if (status != NB_OK) {
        nibble_model_close(m);
        m = NULL;
    }
    *out = m;
    return nb_public_end(status, &err, error);
}

void
nibble_model_close(struct nibble_model *m)
{
    if (m == NULL)
        return;
    nb_speaker_close(&m->speaker);
    nb_pool_free(m->pool);
    nb_tokenizer_close(m->tokenizer);
    if (m->is_open)
        nb_model_close(&m->model);
    free(m);
}

size_t
nibble_model_vocabulary(const struct nibble_model *m)
{
    return nb_model_vocab(&m->model);
}

enum nibble_code
nibble_model_tokens(const struct nibble_model *m, const char *text, size_t length, bool special, int32_t *ids,
                    size_t room, size_t *count, struct nibble_error *error)
{
    const unsigned flags = special ? NB_ADD_SPECIAL | NB_PARSE_SPECIAL : 0;
    struct nb_ids own = { 0 };
    struct nb_error err;
    enum nb_status status = nb_tokenize(m->tokenizer, text, length, flags, &own, &err);

    *count = status == NB_OK ? own.count : 0;
    if (*count > 0 && room > 0)
        memcpy(ids, own.id, (*count < room ? *count : room) * sizeof *ids);
    nb_ids_free(&own);
    return nb_public_end(status, &err, error);
}

static enum nb_status
check_ids(const struct nibble_model *m, const int32_t *ids, size_t count, struct nb_error *err)
{
    const uint32_t size = nb_tokenizer_vocabulary(m->tokenizer)->size;

    for (size_t i = 0; i < count; i++)
        if (ids[i] < 0 || (uint32_t)ids[i] >= size)
            return nb_fail(err, NB_USAGE, "token %zu is %" PRId32 ", but the vocabulary has the ids from 0 to %" PRIu32,
                           i, ids[i], size - 1);
    return NB_OK;
}

enum nibble_code
nibble_model_text(const struct nibble_model *m, const int32_t *ids, size_t count, char *text, size_t room,
                  size_t *length, struct nibble_error *error)
{
    struct nb_error err;
    enum nb_status status = check_ids(m, ids, count, &err);
    char *own = NULL;

    *length = 0;
    if (status == NB_OK && (own = nb_text_of(m->tokenizer, ids, count, length)) == NULL)
        status = nb_fail_memory(&err);
    if (own != NULL && room > 0)
        memcpy(text, own, *length < room ? *length : room);
    free(own);
    return nb_public_end(status, &err, error);
}

enum nibble_code
nibble_model_read(struct nibble_model *m, const int32_t *ids, size_t count, float *logits, struct nibble_error *error)
{
    struct nb_error err;
    enum nb_status status = nb_speaker_read(&m->speaker, ids, count, NULL, NULL, &err);

    if (status == NB_OK && logits != NULL)
        memcpy(logits, m->speaker.logits, nb_model_vocab(&m->model) * sizeof *logits);
    return nb_public_end(status, &err, error);
}

enum nibble_code
nibble_model_restart(struct nibble_model *m, struct nibble_error *error)
{
    struct nb_error err;

    return nb_public_end(begin_text(m, &err), &err, error);
}

static bool
on_said(void *context, int32_t id)
{
    const struct nibble_generate_options *o = context;

    return o->say == NULL || o->say(o->context, id) == 0;
}

enum nibble_code
nibble_generate(struct nibble_model *m, const int32_t *prompt, size_t count,
                const struct nibble_generate_options *options, int32_t *ids, size_t *said, struct nibble_error *error)
{
    struct nibble_generate_options o;
    struct nb_continuation c = { 0 };
    struct nb_error err;
    enum nb_status status = NB_PUBLIC_TAKE(o, options, "nibble_generate_options", &err);
    const struct nb_ids own = { (int32_t *)prompt, count, count };
    const struct nb_continuation_options say = {
        .tokens = o.max_tokens > 0 ? o.max_tokens : USUAL_TOKENS,
        .context = m->context,
        .sampler = { o.temperature, o.seed },
        .say = on_said,
        .say_context = &o,
    };

    *said = 0;
    if (status == NB_OK && !(o.temperature >= 0))
        status = nb_fail(&err, NB_USAGE, "the temperature is 0 or more");
    if (status == NB_OK)
        status = nb_continue_text(&m->model, m->tokenizer, m->pool, &own, &say, &c, &err);
    *said = c.ids.count;
    if (*said > 0)
        memcpy(ids, c.ids.id, *said * sizeof *ids);
    nb_continuation_free(&c);
    return nb_public_end(status, &err, error);
}
