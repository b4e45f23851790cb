#include "formats/base/file_out.h"
#include "verify/drift/saved_base.h"
#include "verify/drift/saved_base_layout.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

struct nb_base_writer {
    struct nb_file_out out;
    uint64_t at; /* bytes written */
    bool replace;
    uint32_t capacity; /* tokens of a prediction */
    unsigned char *chunk;
    size_t used, size;            /* of it */
    uint32_t in_chunk, per_chunk; /* predictions */
    uint32_t chunks_done;
};

static enum nb_status
put(struct nb_base_writer *w, const void *bytes, size_t size, XXH64_state_t *hash, struct nb_error *err)
{
    const enum nb_status status = nb_out_write(&w->out, w->at, bytes, size, err);

    w->at += size;
    if (hash != NULL)
        XXH64_update(hash, bytes, size);
    return status;
}

static enum nb_status
put_header(struct nb_base_writer *w, const struct nb_saved_base *a, struct nb_error *err)
{
    const struct nb_base_header h = { .magic = NB_BASE_MAGIC,
                                      .vocab = a->vocab,
                                      .chunk_tokens = a->chunk_tokens,
                                      .chunks = a->chunks,
                                      .model_length = (uint32_t)strlen(a->model),
                                      .text_length = (uint32_t)strlen(a->text),
                                      .bos = a->bos,
                                      .vocabulary = a->vocabulary,
                                      .file_bytes = a->file_bytes,
                                      .bits_per_weight = a->bits_per_weight };
    XXH64_state_t *hash = XXH64_createState();
    enum nb_status status;
    uint64_t digest;

    if (hash == NULL)
        return nb_fail_memory(err);
    XXH64_reset(hash, 0);
    status = put(w, &h, sizeof h, hash, err);
    if (status == NB_OK)
        status = put(w, a->model, h.model_length, hash, err);
    if (status == NB_OK)
        status = put(w, a->text, h.text_length, hash, err);
    if (status == NB_OK)
        status = put(w, a->tokens, (size_t)a->chunks * a->chunk_tokens * sizeof *a->tokens, hash, err);
    digest = XXH64_digest(hash);
    XXH64_freeState(hash);
    return status == NB_OK ? put(w, &digest, sizeof digest, NULL, err) : status;
}

static void
release(struct nb_base_writer *w)
{
    free(w->chunk);
    free(w);
}

enum nb_status
nb_base_writer_new(struct nb_base_writer **writer, const char *path, bool replace, const struct nb_saved_base *about,
                   struct nb_error *err)
{
    struct nb_base_writer *w = calloc(1, sizeof *w);
    enum nb_status status;

    *writer = NULL;
    if (w == NULL)
        return nb_fail_memory(err);
    if (strlen(about->model) > NB_BASE_NAME || strlen(about->text) > NB_BASE_NAME)
        status = nb_fail(err, NB_INPUT, "%s: the name of the model or of the text is too long for it", path);
    else
        status = nb_out_create(&w->out, path, 0, replace, err);
    if (status != NB_OK) {
        release(w);
        return status;
    }
    w->replace = replace;
    w->capacity = nb_prediction_capacity(about->vocab);
    w->per_chunk = nb_base_scored(about->chunk_tokens);
    status = put_header(w, about, err);
    if (status != NB_OK) {
        nb_base_writer_abort(w, err);
        return status;
    }
    *writer = w;
    return NB_OK;
}

static unsigned char *
put_tokens(unsigned char *to, const uint32_t *id, const float *log_p, uint32_t count)
{
    uint32_t before = 0;

    for (uint32_t i = 0; i < count; i++) {
        const float steps = -log_p[i] * NB_BASE_STEPS + 0.5f;
        const uint32_t code = steps < 0 ? 0 : steps > (float)NB_BASE_MOST_STEPS ? NB_BASE_MOST_STEPS : (uint32_t)steps;
        uint32_t difference = id[i] - before;

        before = id[i];
        for (; difference >= 0x80; difference >>= 7)
            *to++ = (unsigned char)(difference | 0x80);
        *to++ = (unsigned char)difference;
        *to++ = (unsigned char)code;
        *to++ = (unsigned char)(code >> 8);
        *to++ = (unsigned char)(code >> 16);
    }
    return to;
}

static enum nb_status
make_room(struct nb_base_writer *w, size_t bytes, struct nb_error *err)
{
    unsigned char *larger;

    if (w->size - w->used >= bytes)
        return NB_OK;
    larger = realloc(w->chunk, 2 * w->size + bytes);
    if (larger == NULL)
        return nb_fail_memory(err);
    w->chunk = larger;
    w->size = 2 * w->size + bytes;
    return NB_OK;
}

static enum nb_status
end_chunk(struct nb_base_writer *w, struct nb_error *err)
{
    const uint32_t length = (uint32_t)w->used;
    const uint64_t digest = XXH64(w->chunk, w->used, w->chunks_done);
    enum nb_status status;

    if (w->used > UINT32_MAX)
        return nb_fail(err, NB_INPUT, "%s: the predictions of a chunk are too many for it", w->out.name);
    status = put(w, &length, sizeof length, NULL, err);
    if (status == NB_OK)
        status = put(w, w->chunk, w->used, NULL, err);
    if (status == NB_OK)
        status = put(w, &digest, sizeof digest, NULL, err);
    w->used = 0;
    w->in_chunk = 0;
    w->chunks_done++;
    return status;
}

enum nb_status
nb_base_writer_put(struct nb_base_writer *w, const struct nb_prediction *predictions, size_t count,
                   struct nb_error *err)
{
    enum nb_status status = NB_OK;

    for (size_t i = 0; i < count && status == NB_OK; i++) {
        const struct nb_prediction *p = &predictions[i];
        const struct nb_base_record record = { p->nll, p->rest, (uint32_t)p->top, (uint16_t)p->listed,
                                               (uint16_t)p->sampled };
        unsigned char *to;

        status = make_room(w, sizeof record + (size_t)w->capacity * NB_BASE_TOKEN_BYTES, err);
        if (status != NB_OK)
            return status;
        to = w->chunk + w->used;
        memcpy(to, &record, sizeof record);
        to = put_tokens(to + sizeof record, p->id, p->log_p, p->listed);
        to = put_tokens(to, p->id + p->listed, p->log_p + p->listed, p->sampled);
        w->used = (size_t)(to - w->chunk);
        if (++w->in_chunk == w->per_chunk)
            status = end_chunk(w, err);
    }
    return status;
}

enum nb_status
nb_base_writer_end(struct nb_base_writer *w, struct nb_error *err)
{
    const enum nb_status status = nb_out_commit(&w->out, w->replace, err);

    release(w);
    return status;
}

void
nb_base_writer_abort(struct nb_base_writer *w, struct nb_error *err)
{
    if (w == NULL)
        return;
    nb_out_abort(&w->out, err);
    release(w);
}
