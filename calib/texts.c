#include "calib/texts.h"

#include "formats/tokenizer/vocabulary.h"

#include <stdlib.h>
#include <string.h>

#define USUAL_CHUNK 512u
#define LEAST_CHUNK 8u /* a shorter context is no sensible one */

uint32_t
nb_calibration_chunk(const struct nb_source *source, uint32_t given)
{
    const size_t context = nb_source_context(source);

    return given > 0 ? given : context >= LEAST_CHUNK && context < USUAL_CHUNK ? (uint32_t)context : USUAL_CHUNK;
}

/* Adds the complete chunks of a text; tokens left over at its end are not used. */
static enum nb_status
add_text(const struct nb_tokenizer *t, const struct nb_text *text, unsigned flags, uint32_t chunk_tokens,
         struct nb_ids *ids, size_t *tokens, struct nb_error *err)
{
    const size_t before = ids->count;
    const char *bytes;
    char *own;
    size_t length;
    enum nb_status status = nb_text_open(text, &bytes, &length, &own, err);

    if (status != NB_OK)
        return status;
    status = nb_tokenize(t, bytes, length, NB_ADD_SPECIAL | flags, ids, err);
    free(own);
    if (status != NB_OK)
        return status;
    *tokens = ids->count - before;
    ids->count -= *tokens % chunk_tokens;
    if (*tokens < chunk_tokens)
        return nb_fail(err, NB_INPUT, "%s: has %zu tokens, fewer than a chunk of %u", text->name, *tokens,
                       (unsigned)chunk_tokens);
    return NB_OK;
}

/* Keeps at most so many CHUNKS, if they are not 0. */
static void
keep_most(size_t chunks, uint32_t each, struct nb_ids *ids)
{
    if (chunks == 0 || chunks >= ids->count / each)
        return;
    nb_spread_chunks(ids->id, ids->count, each, (uint32_t)chunks, ids->id);
    ids->count = chunks * each;
}

enum nb_status
nb_calibrate_tokens(const struct nb_source *source, const struct nb_calibration_texts *texts,
                    struct nb_calibrate_options *o, struct nb_ids *ids, struct nb_sums *sums, struct nb_error *err)
{
    const struct nb_vocabulary *v;
    struct nb_tokenizer *t;
    enum nb_status status = nb_tokenizer_open(&t, source, err);

    if (status != NB_OK)
        return status;
    v = nb_tokenizer_vocabulary(t);
    o->bos = v->add_bos ? v->bos : -1;
    for (size_t i = 0; i < texts->count && status == NB_OK; i++) {
        size_t tokens;

        status = add_text(t, &texts->text[i], texts->tokenize_flags, o->chunk_tokens, ids, &tokens, err);
        if (status == NB_OK && texts->tokens != NULL)
            texts->tokens[i] = tokens;
        if (status == NB_OK)
            status = nb_sums_add_dataset(sums, texts->text[i].name, err);
    }
    nb_tokenizer_close(t);
    if (status == NB_OK)
        keep_most(texts->most_tokens / o->chunk_tokens, o->chunk_tokens, ids);
    return status;
}

enum nb_status
nb_calibration_chunks(const struct nb_source *source, const struct nb_text *text, uint32_t chunk_tokens,
                      struct nb_ids *ids, int64_t *bos, struct nb_error *err)
{
    const struct nb_calibration_texts texts = { .text = text, .count = 1 };
    struct nb_calibrate_options options = { .chunk_tokens = chunk_tokens };
    struct nb_sums sums = { 0 };
    enum nb_status status = nb_calibrate_tokens(source, &texts, &options, ids, &sums, err);

    *bos = options.bos;
    nb_sums_free(&sums);
    return status;
}

enum nb_status
nb_calibrate_texts(const struct nb_source *source, const struct nb_calibration_texts *texts,
                   struct nb_calibrate_options *options, struct nb_sums *sums, struct nb_error *err)
{
    struct nb_model model;
    struct nb_ids ids = { 0 };
    enum nb_status status = nb_model_open(&model, source, err);

    if (status != NB_OK)
        return status;
    status = nb_calibrate_tokens(source, texts, options, &ids, sums, err);
    if (status == NB_OK)
        status = nb_calibrate(&model, ids.id, ids.count, options, sums, err);
    nb_ids_free(&ids);
    nb_model_close(&model);
    return status;
}

void
nb_spread_chunks(const int32_t *tokens, size_t count, uint32_t each, uint32_t chunks, int32_t *to)
{
    const size_t all = count / each;

    for (size_t i = 0; i < chunks; i++)
        memmove(to + i * each, tokens + i * all / chunks * each, each * sizeof *to);
}
