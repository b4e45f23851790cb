#include "verify/say/continuation.h"

#include "formats/base/checked.h"
#include "formats/base/clock.h"
#include "verify/say/endings.h"
#include "verify/say/speaker.h"

#include <stdlib.h>
#include <string.h>

#define LONGEST_TOKEN 1024u

static enum nb_status
add(struct nb_ids *ids, int32_t id, struct nb_error *err)
{
    if (ids->count == ids->room) {
        const size_t room = ids->room == 0 ? 64 : 2 * ids->room;
        int32_t *grown = realloc(ids->id, room * sizeof *grown);

        if (grown == NULL)
            return nb_fail_memory(err);
        ids->id = grown;
        ids->room = room;
    }
    ids->id[ids->count++] = id;
    return NB_OK;
}

/* Says up to LIMIT tokens, the first of which the logits of SPEAKER decide. */
static enum nb_status
say(struct nb_speaker *speaker, const struct nb_endings *endings, const struct nb_continuation_options *o, size_t limit,
    struct nb_continuation *c, struct nb_error *err)
{
    struct nb_sampler sampler = o->sampler;
    enum nb_status status = NB_OK;

    while (c->ids.count < limit && status == NB_OK) {
        const int32_t id = nb_sample(&sampler, speaker->logits, nb_model_vocab(speaker->model));

        if (nb_ends(endings, id)) {
            c->stop = NB_STOP_END;
            break;
        }
        status = add(&c->ids, id, err);
        if (status == NB_OK && o->say != NULL && !o->say(o->say_context, id))
            status = nb_fail(err, NB_INTERRUPTED, "interrupted");
        if (status == NB_OK && c->ids.count < limit)
            status = nb_speaker_read(speaker, &id, 1, NULL, NULL, err);
    }
    return status;
}

enum nb_status
nb_continue_text(const struct nb_model *m, const struct nb_tokenizer *t, struct nb_pool *pool,
                 const struct nb_ids *prompt, const struct nb_continuation_options *o, struct nb_continuation *c,
                 struct nb_error *err)
{
    const double started = nb_seconds();
    struct nb_speaker speaker = { 0 };
    struct nb_endings endings;
    enum nb_status status;
    size_t limit;

    *c = (struct nb_continuation){ .stop = NB_STOP_LENGTH };
    if (prompt->count == 0)
        return nb_fail(err, NB_USAGE, "%s: the prompt has no tokens, and there is nothing to begin with",
                       m->source->path);
    if (prompt->count >= o->context)
        return nb_fail(err, NB_USAGE, "%s: the prompt has %zu tokens, which leaves no room in a context of %zu",
                       m->source->path, prompt->count, o->context);
    limit = o->tokens < o->context - prompt->count ? o->tokens : o->context - prompt->count;
    c->stop = limit < o->tokens ? NB_STOP_CONTEXT : NB_STOP_LENGTH;
    nb_endings_find(&endings, &m->source->meta, nb_tokenizer_vocabulary(t));
    /* The last token that is said is not run. */
    status = nb_speaker_open(&speaker, m, pool, prompt->count, prompt->count + (limit == 0 ? 0 : limit - 1), err);
    if (status == NB_OK)
        status = nb_speaker_read(&speaker, prompt->id, prompt->count, NULL, NULL, err);
    c->prompt_seconds = nb_seconds() - started;
    if (status == NB_OK)
        status = say(&speaker, &endings, o, limit, c, err);
    c->seconds = nb_seconds() - started - c->prompt_seconds;
    nb_speaker_close(&speaker);
    return status;
}

void
nb_continuation_free(struct nb_continuation *c)
{
    nb_ids_free(&c->ids);
}

char *
nb_text_of(const struct nb_tokenizer *t, const int32_t *ids, size_t count, size_t *length)
{
    const struct nb_vocabulary *v = nb_tokenizer_vocabulary(t);
    char piece[LONGEST_TOKEN], *text = malloc(1);
    size_t room = 1;

    *length = 0;
    for (size_t i = 0; i < count && text != NULL; i++) {
        const bool silent = v->tokens[ids[i]].text == NULL || v->tokens[ids[i]].type == NB_TOKEN_CONTROL;
        const size_t n = silent ? 0 : nb_token_bytes(t, ids[i], piece, sizeof piece);

        if (*length + n + 1 > room) {
            char *grown = realloc(text, 2 * (*length + n + 1));

            if (grown == NULL) {
                free(text);
                return NULL;
            }
            text = grown;
            room = 2 * (*length + n + 1);
        }
        memcpy(text + *length, piece, n);
        *length += n;
    }
    if (text != NULL)
        text[*length] = '\0';
    return text;
}
