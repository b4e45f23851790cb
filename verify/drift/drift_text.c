#include "verify/drift/drift_text.h"

#include "formats/tokenizer/vocabulary.h"
#include "verify/tokenize/agreement.h"

#include <inttypes.h>
#include <stdlib.h>

/* Every model must have the base's tokens: otherwise their distributions cannot be compared. */
static enum nb_status
check_vocabularies(const struct nb_model *const *model, size_t models, const struct nb_vocabulary *base,
                   struct nb_error *err)
{
    enum nb_status status = NB_OK;

    for (size_t i = 1; i < models && status == NB_OK; i++) {
        struct nb_vocabulary other;
        uint32_t where;

        status = nb_source_vocabulary(model[i]->source, &other, err);
        if (status != NB_OK)
            return status;
        if (!nb_vocabulary_same(base, &other, &where))
            status = nb_fail(err, NB_INPUT, "%s and %s have different vocabularies, from token %" PRIu32 " on",
                             model[0]->source->path, model[i]->source->path, where);
        nb_vocabulary_free(&other);
    }
    return status;
}

/* Calls OPTIONS->other_tokens if the tokenizer of model I makes other tokens of the text than BASE has. */
static enum nb_status
compare_tokens(const struct nb_model *const *model, size_t i, const char *bytes, size_t length,
               const struct nb_tokenized *base, const struct nb_drift_options *o, struct nb_error *err)
{
    const struct nb_source *source = model[i]->source;
    struct nb_tokenizer *t = NULL;
    struct nb_ids ids = { 0 };
    char what[NB_DIFFERENCE_TEXT];
    enum nb_status status = nb_tokenizer_open(&t, source, err);

    if (status == NB_OK)
        status = nb_tokenize(t, bytes, length, NB_ADD_SPECIAL, &ids, err);
    if (status == NB_OK && nb_ids_differ(base, &(struct nb_tokenized){ t, &ids, source->path }, what))
        o->other_tokens(o->context, i, what);
    nb_tokenizer_close(t);
    nb_ids_free(&ids);
    return nb_status_is(status, NB_INPUT) ? NB_OK : status; /* it is not needed for measuring */
}

enum nb_status
nb_drift_tokens(const struct nb_model *const *model, size_t models, const struct nb_text *text,
                struct nb_drift_options *o, struct nb_ids *ids, struct nb_error *err)
{
    struct nb_tokenizer *t = NULL;
    const struct nb_vocabulary *v;
    const char *bytes;
    char *own;
    size_t length;
    enum nb_status status = nb_text_open(text, &bytes, &length, &own, err);

    if (status != NB_OK)
        return status;
    status = nb_tokenizer_open(&t, model[0]->source, err);
    if (status == NB_OK) {
        v = nb_tokenizer_vocabulary(t);
        o->bos = v->add_bos ? v->bos : -1;
        status = check_vocabularies(model, models, v, err);
    }
    if (status == NB_OK)
        status = nb_tokenize(t, bytes, length, NB_ADD_SPECIAL, ids, err);
    for (size_t i = 1; i < models && status == NB_OK && o->other_tokens != NULL; i++) {
        const struct nb_tokenized base = { t, ids, model[0]->source->path };

        status = compare_tokens(model, i, bytes, length, &base, o, err);
    }
    if (status == NB_OK && nb_drift_chunks(ids->count, o) == 0)
        status = nb_fail(err, NB_INPUT, "%s: has %zu tokens; at least two chunks of %" PRIu32 " are needed", text->name,
                         ids->count, o->chunk_tokens);
    nb_tokenizer_close(t);
    free(own);
    return status;
}
