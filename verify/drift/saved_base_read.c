#include "formats/base/checked.h"
#include "formats/base/file_in.h"
#include "formats/base/text.h"
#include "verify/drift/saved_base.h"
#include "verify/drift/saved_base_layout.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

struct nb_base_reader {
    struct nb_file_in file;
    struct nb_saved_base about;
    unsigned char *head; /* header, names and tokens */
    uint64_t at;         /* of the next chunk */
    unsigned char *chunk;
    size_t used, length;          /* of it */
    uint32_t in_chunk, per_chunk; /* predictions read of it */
    uint32_t chunks_read;
};

uint64_t
nb_vocabulary_hash(const struct nb_vocabulary *v)
{
    return XXH64(v->texts->data, (size_t)v->texts->size, 0);
}

static enum nb_status
damaged(const struct nb_base_reader *r, struct nb_error *err)
{
    return nb_fail(err, NB_INPUT, "%s: is damaged, or no saved base", r->file.name);
}

static bool
is_header(const struct nb_base_header *h)
{
    return memcmp(h->magic, NB_BASE_MAGIC, sizeof h->magic) == 0 && h->vocab >= 1 && h->vocab <= INT32_MAX &&
           h->chunk_tokens >= NB_BASE_MIN_CHUNK && h->chunk_tokens <= NB_BASE_MAX_CHUNK && h->chunks >= 1 &&
           h->model_length <= NB_BASE_NAME && h->text_length <= NB_BASE_NAME && h->bos >= -1 &&
           h->bos < (int64_t)h->vocab && h->bits_per_weight >= 0 && h->bits_per_weight <= 1024;
}

/* Reads all that stands before the chunks. */
static enum nb_status
read_head(struct nb_base_reader *r, const struct nb_base_header *h, struct nb_error *err)
{
    const uint64_t names = (uint64_t)h->model_length + h->text_length;
    const uint64_t tokens = (uint64_t)h->chunks * h->chunk_tokens;
    uint64_t size, digest;
    enum nb_status status;

    if (!nb_mul_u64(tokens, sizeof(int32_t), &size) || !nb_add_u64(size, sizeof *h + names, &size) ||
        size > r->file.size || r->file.size - size < sizeof digest)
        return damaged(r, err);
    r->head = nb_malloc(size);
    if (r->head == NULL)
        return nb_fail_memory(err);
    status = nb_file_read(&r->file, 0, r->head, size, err);
    if (status == NB_OK)
        status = nb_file_read(&r->file, size, &digest, sizeof digest, err);
    if (status == NB_OK && XXH64(r->head, (size_t)size, 0) != digest)
        status = damaged(r, err);
    r->at = size + sizeof digest;
    return status;
}

static enum nb_status
take_head(struct nb_base_reader *r, const struct nb_base_header *h, struct nb_error *err)
{
    const char *names = (const char *)r->head + sizeof *h;
    const size_t tokens = (size_t)h->chunks * h->chunk_tokens;
    int32_t *copy = malloc(tokens * sizeof *copy);

    r->about = (struct nb_saved_base){ .vocab = h->vocab,
                                       .chunk_tokens = h->chunk_tokens,
                                       .chunks = h->chunks,
                                       .bos = h->bos,
                                       .vocabulary = h->vocabulary,
                                       .file_bytes = h->file_bytes,
                                       .bits_per_weight = h->bits_per_weight,
                                       .model = strndup(names, h->model_length),
                                       .text = strndup(names + h->model_length, h->text_length),
                                       .tokens = copy };
    if (copy == NULL || r->about.model == NULL || r->about.text == NULL)
        return nb_fail_memory(err);
    memcpy(copy, names + h->model_length + h->text_length, tokens * sizeof *copy);
    for (size_t i = 0; i < tokens; i++)
        if (copy[i] < 0 || (uint32_t)copy[i] >= h->vocab)
            return damaged(r, err);
    if (!nb_utf8_valid(r->about.model, strlen(r->about.model)) || !nb_utf8_valid(r->about.text, strlen(r->about.text)))
        return damaged(r, err);
    return NB_OK;
}

enum nb_status
nb_base_reader_open(struct nb_base_reader **reader, const char *path, struct nb_error *err)
{
    struct nb_base_reader *r = calloc(1, sizeof *r);
    struct nb_base_header h;
    enum nb_status status;

    *reader = NULL;
    if (r == NULL)
        return nb_fail_memory(err);
    status = nb_file_open(&r->file, path, err);
    if (status != NB_OK) {
        free(r);
        return status;
    }
    if (r->file.size < sizeof h)
        status = damaged(r, err);
    if (status == NB_OK)
        status = nb_file_read(&r->file, 0, &h, sizeof h, err);
    if (status == NB_OK && !is_header(&h))
        status = damaged(r, err);
    if (status == NB_OK)
        status = read_head(r, &h, err);
    if (status == NB_OK)
        status = take_head(r, &h, err);
    if (status != NB_OK) {
        nb_base_reader_close(r);
        return status;
    }
    r->in_chunk = r->per_chunk = nb_base_scored(h.chunk_tokens);
    *reader = r;
    return NB_OK;
}

void
nb_base_reader_close(struct nb_base_reader *r)
{
    if (r == NULL)
        return;
    nb_file_close(&r->file);
    free(r->about.model);
    free(r->about.text);
    free((void *)r->about.tokens);
    free(r->head);
    free(r->chunk);
    free(r);
}

const struct nb_saved_base *
nb_base_reader_about(const struct nb_base_reader *r)
{
    return &r->about;
}

static enum nb_status
read_chunk(struct nb_base_reader *r, struct nb_error *err)
{
    const uint64_t left = r->file.size - r->at;
    uint64_t digest;
    uint32_t length;
    enum nb_status status;

    if (r->chunks_read == r->about.chunks || left < sizeof length + sizeof digest)
        return damaged(r, err);
    status = nb_file_read(&r->file, r->at, &length, sizeof length, err);
    if (status != NB_OK)
        return status;
    if (length > left - sizeof length - sizeof digest)
        return damaged(r, err);
    free(r->chunk);
    r->chunk = nb_malloc((uint64_t)length + 1);
    if (r->chunk == NULL)
        return nb_fail_memory(err);
    status = nb_file_read(&r->file, r->at + sizeof length, r->chunk, length, err);
    if (status == NB_OK)
        status = nb_file_read(&r->file, r->at + sizeof length + length, &digest, sizeof digest, err);
    if (status == NB_OK && XXH64(r->chunk, length, r->chunks_read) != digest)
        return damaged(r, err);
    r->at += sizeof length + length + sizeof digest;
    r->used = 0;
    r->length = length;
    r->in_chunk = 0;
    r->chunks_read++;
    return status;
}

/* Reads COUNT tokens whose ids ascend. False if they are not in the chunk, or not in the vocabulary. */
static bool
take_tokens(struct nb_base_reader *r, uint32_t count, uint32_t *id, float *log_p)
{
    uint64_t before = 0;

    for (uint32_t i = 0; i < count; i++) {
        uint32_t difference = 0, shift = 0;
        const unsigned char *code;

        do {
            if (r->used == r->length || shift > 28)
                return false;
            difference |= (uint32_t)(r->chunk[r->used] & 0x7F) << shift;
            shift += 7;
        } while ((r->chunk[r->used++] & 0x80) != 0);
        before += difference;
        if (before >= r->about.vocab || r->length - r->used < 3)
            return false;
        code = r->chunk + r->used;
        r->used += 3;
        id[i] = (uint32_t)before;
        log_p[i] = -(float)(code[0] | (uint32_t)code[1] << 8 | (uint32_t)code[2] << 16) / NB_BASE_STEPS;
    }
    return true;
}

static bool
take_prediction(struct nb_base_reader *r, struct nb_prediction *p)
{
    struct nb_base_record record;

    if (r->length - r->used < sizeof record)
        return false;
    memcpy(&record, r->chunk + r->used, sizeof record);
    r->used += sizeof record;
    if (!isfinite(record.nll) || !(record.rest >= 0 && record.rest <= 1) || record.top >= r->about.vocab ||
        record.listed == 0 || (uint32_t)record.listed + record.sampled > nb_prediction_capacity(r->about.vocab))
        return false;
    p->nll = record.nll;
    p->rest = record.rest;
    p->top = (int32_t)record.top;
    p->listed = record.listed;
    p->sampled = record.sampled;
    return take_tokens(r, p->listed, p->id, p->log_p) &&
           take_tokens(r, p->sampled, p->id + p->listed, p->log_p + p->listed);
}

enum nb_status
nb_base_reader_next(struct nb_base_reader *r, struct nb_prediction *predictions, size_t count, struct nb_error *err)
{
    enum nb_status status = NB_OK;

    for (size_t i = 0; i < count && status == NB_OK; i++) {
        if (r->in_chunk == r->per_chunk)
            status = read_chunk(r, err);
        if (status == NB_OK && !take_prediction(r, &predictions[i]))
            status = damaged(r, err);
        r->in_chunk++;
        if (status == NB_OK && r->in_chunk == r->per_chunk && r->used != r->length)
            status = damaged(r, err);
    }
    return status;
}
