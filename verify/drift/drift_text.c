#include "verify/drift/drift_text.h"

#include "formats/tokenizer/vocabulary.h"
#include "verify/tokenize/agreement.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* A text, and what the tokenizer of the base makes of it. */
struct reading {
    const struct nb_model *const *model; /* the first is the base */
    const struct nb_vocabulary *base;
    const char *bytes;
    size_t length;
    struct nb_tokenized tokens;
};

/* Every model must have the base's tokens: otherwise their distributions cannot be compared. */
static enum nb_status
check_vocabulary(const struct reading *r, size_t i, const struct nb_vocabulary *own, struct nb_error *err)
{
    uint32_t where;

    if (nb_vocabulary_same(r->base, own, &where))
        return NB_OK;
    return nb_fail(err, NB_INPUT, "%s and %s have different vocabularies, from token %" PRIu32 " on",
                   r->model[0]->source->path, r->model[i]->source->path, where);
}

/* Calls O->other_tokens if T, the tokenizer of model I, makes other tokens of the text. */
static enum nb_status
compare_tokens(const struct reading *r, size_t i, struct nb_tokenizer *t, const struct nb_drift_options *o,
               struct nb_error *err)
{
    struct nb_ids ids = { 0 };
    char what[NB_DIFFERENCE_TEXT];
    enum nb_status status = nb_tokenize(t, r->bytes, r->length, NB_ADD_SPECIAL, &ids, err);
    const struct nb_tokenized own = { t, &ids, r->model[i]->source->path };

    if (status == NB_OK && nb_ids_differ(&r->tokens, &own, what))
        o->other_tokens(o->context, i, what);
    nb_ids_free(&ids);
    return nb_status_is(status, NB_INPUT) ? NB_OK : status; /* it is not needed for measuring */
}

/* Holds model I against the base. A tokenizer that nibble cannot follow is needed for its vocabulary only. */
static enum nb_status
compare_model(const struct reading *r, size_t i, const struct nb_drift_options *o, struct nb_error *err)
{
    const struct nb_source *source = r->model[i]->source;
    struct nb_vocabulary own;
    struct nb_tokenizer *t = NULL;
    enum nb_status status = nb_tokenizer_open(&t, source, err);

    if (status == NB_OK) {
        status = check_vocabulary(r, i, nb_tokenizer_vocabulary(t), err);
        if (status == NB_OK && o->other_tokens != NULL)
            status = compare_tokens(r, i, t, o, err);
        nb_tokenizer_close(t);
        return status;
    }
    if (!nb_status_is(status, NB_INPUT))
        return status;
    status = nb_source_vocabulary(source, &own, err);
    if (status != NB_OK)
        return status;
    status = check_vocabulary(r, i, &own, err);
    nb_vocabulary_free(&own);
    return status;
}

enum nb_status
nb_drift_tokens(const struct nb_model *const *model, size_t models, const struct nb_text *text,
                struct nb_drift_options *o, struct nb_ids *ids, struct nb_tokenizer **tokenizer, struct nb_error *err)
{
    struct reading r = { .model = model };
    struct nb_tokenizer *t = NULL;
    char *own;
    enum nb_status status = nb_text_open(text, &r.bytes, &r.length, &own, err);

    if (status != NB_OK)
        return status;
    status = nb_tokenizer_open(&t, model[0]->source, err);
    if (status == NB_OK) {
        r.base = nb_tokenizer_vocabulary(t);
        r.tokens = (struct nb_tokenized){ t, ids, model[0]->source->path };
        o->bos = r.base->add_bos ? r.base->bos : -1;
        status = nb_tokenize(t, r.bytes, r.length, NB_ADD_SPECIAL, ids, err);
    }
    for (size_t i = 1; i < models && status == NB_OK; i++)
        status = compare_model(&r, i, o, err);
    if (status == NB_OK && nb_drift_chunks(ids->count, o) == 0)
        status = nb_fail(err, NB_INPUT, "%s: has %zu tokens; at least two chunks of %" PRIu32 " are needed", text->name,
                         ids->count, o->chunk_tokens);
    if (status == NB_OK && tokenizer != NULL)
        *tokenizer = t;
    else
        nb_tokenizer_close(t);
    free(own);
    return status;
}

/* --- a saved base --------------------------------------------------------------------------------------------- */

static enum nb_status
check_saved_vocabulary(const struct nb_saved_base *base, const struct nb_source *source, struct nb_error *err)
{
    struct nb_vocabulary own;
    enum nb_status status = nb_source_vocabulary(source, &own, err);

    if (status != NB_OK)
        return status;
    if (own.size != base->vocab || nb_vocabulary_hash(&own) != base->vocabulary)
        status = nb_fail(err, NB_INPUT, "%s: has another vocabulary than %s, of which the base was saved", source->path,
                         base->model);
    nb_vocabulary_free(&own);
    return status;
}

/* The tokens that T makes of TEXT must begin with those of the base. */
static enum nb_status
check_saved_text(const struct nb_saved_base *base, struct nb_tokenizer *t, const struct nb_text *text,
                 struct nb_error *err)
{
    const size_t n = (size_t)base->chunks * base->chunk_tokens;
    struct nb_ids ids = { 0 };
    const char *bytes;
    char *own;
    size_t length, i = 0;
    enum nb_status status = nb_text_open(text, &bytes, &length, &own, err);

    if (status != NB_OK)
        return status;
    status = nb_tokenize(t, bytes, length, NB_ADD_SPECIAL, &ids, err);
    while (status == NB_OK && i < n && i < ids.count && ids.id[i] == base->tokens[i])
        i++;
    if (status == NB_OK && i < n)
        status =
            nb_fail(err, NB_INPUT,
                    "%s: is not the text that the base was saved with, or the model makes other tokens of it: token "
                    "%zu differs",
                    text->name, i);
    nb_ids_free(&ids);
    free(own);
    return status;
}

enum nb_status
nb_drift_saved_tokens(const struct nb_model *const *model, size_t models, const struct nb_text *text,
                      struct nb_drift_options *o, struct nb_ids *ids, struct nb_tokenizer **tokenizer,
                      struct nb_error *err)
{
    const struct nb_saved_base *base = nb_base_reader_about(o->base_from);
    const size_t n = (size_t)base->chunks * base->chunk_tokens;
    enum nb_status status = NB_OK;

    for (size_t i = 1; i < models && status == NB_OK; i++)
        status = check_saved_vocabulary(base, model[i]->source, err);
    if (status == NB_OK)
        status = nb_tokenizer_open(tokenizer, model[1]->source, err);
    if (status == NB_OK && text != NULL)
        status = check_saved_text(base, *tokenizer, text, err);
    if (status != NB_OK)
        return status;
    ids->id = malloc(n * sizeof *ids->id);
    if (ids->id == NULL)
        return nb_fail_memory(err);
    memcpy(ids->id, base->tokens, n * sizeof *ids->id);
    ids->count = n;
    o->bos = base->bos;
    return NB_OK;
}
