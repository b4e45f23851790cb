/*
 * tokenizer.model: a SentencePiece ModelProto (sentencepiece_model.proto) of the pieces with their scores and types, of
 * what its trainer is known to have done, and of a normalizer that only puts its own character in the place of spaces.
 */
#include "formats/tokenizer/write.h"

#include <stdlib.h>
#include <string.h>

/* Numbers of fields. */
enum { MODEL_PIECES = 1, MODEL_TRAINER = 2, MODEL_NORMALIZER = 3 };
enum { PIECE_TEXT = 1, PIECE_SCORE = 2, PIECE_TYPE = 3 };
enum { TRAINER_TYPE = 3, TRAINER_SIZE = 4, TRAINER_BYTES = 35, TRAINER_UNK = 40, TRAINER_BOS, TRAINER_EOS };
enum { NORMALIZER_NAME = 1, NORMALIZER_PREFIX = 3, NORMALIZER_STRIPS = 4, NORMALIZER_ESCAPES = 5 };

#define TYPE_BPE 2
enum wire { VARINT = 0, BYTES = 2, FOUR_BYTES = 5 };

struct message {
    unsigned char *bytes;
    size_t size, room;
    bool out_of_memory;
};

static void
put(struct message *m, const void *bytes, size_t size)
{
    if (m->room - m->size < size && !m->out_of_memory) {
        const size_t room = 2 * (m->room + size) + 256;
        unsigned char *grown = realloc(m->bytes, room);

        m->out_of_memory = grown == NULL;
        m->bytes = grown == NULL ? m->bytes : grown;
        m->room = grown == NULL ? m->room : room;
    }
    if (m->out_of_memory || size == 0)
        return;
    memcpy(m->bytes + m->size, bytes, size);
    m->size += size;
}

static void
put_varint(struct message *m, uint64_t value)
{
    do {
        const unsigned char byte = (unsigned char)((value & 0x7F) | (value > 0x7F ? 0x80 : 0));

        put(m, &byte, 1);
        value >>= 7;
    } while (value > 0);
}

static void
put_number(struct message *m, unsigned field, uint64_t value)
{
    put_varint(m, field << 3 | VARINT);
    put_varint(m, value);
}

static void
put_bytes(struct message *m, unsigned field, const void *bytes, size_t size)
{
    put_varint(m, field << 3 | BYTES);
    put_varint(m, size);
    put(m, bytes, size);
}

/* Adds INNER, which is then freed. */
static void
put_message(struct message *m, unsigned field, struct message *inner)
{
    put_bytes(m, field, inner->bytes, inner->size);
    m->out_of_memory = m->out_of_memory || inner->out_of_memory;
    free(inner->bytes);
}

static void
put_piece(struct message *m, const struct nb_token *t)
{
    struct message piece = { 0 };
    unsigned char score[4];
    uint32_t bits;

    memcpy(&bits, &t->score, sizeof bits);
    for (unsigned i = 0; i < 4; i++)
        score[i] = (unsigned char)(bits >> 8 * i);
    put_bytes(&piece, PIECE_TEXT, t->text, t->length);
    put_varint(&piece, PIECE_SCORE << 3 | FOUR_BYTES);
    put(&piece, score, sizeof score);
    if (t->type != NB_TOKEN_NORMAL)
        put_number(&piece, PIECE_TYPE, t->type);
    put_message(m, MODEL_PIECES, &piece);
}

/* An id that may be -1, which the format has as a 64-bit number. */
static void
put_id(struct message *m, unsigned field, int64_t id)
{
    put_number(m, field, (uint64_t)id);
}

char *
nb_sentencepiece_model(const struct nb_vocabulary *v, size_t *size)
{
    struct message model = { 0 }, trainer = { 0 }, normalizer = { 0 };
    uint32_t count = v->size;
    bool has_bytes = false;

    while (count > 0 && nb_token_is_filling(&v->tokens[count - 1], count - 1))
        count--;
    for (uint32_t i = 0; i < count; i++) {
        has_bytes = has_bytes || v->tokens[i].type == NB_TOKEN_BYTE;
        put_piece(&model, &v->tokens[i]);
    }
    put_number(&trainer, TRAINER_TYPE, TYPE_BPE);
    put_number(&trainer, TRAINER_SIZE, count);
    put_number(&trainer, TRAINER_BYTES, has_bytes);
    put_id(&trainer, TRAINER_UNK, v->unknown);
    put_id(&trainer, TRAINER_BOS, v->bos);
    put_id(&trainer, TRAINER_EOS, v->eos);
    put_message(&model, MODEL_TRAINER, &trainer);
    put_bytes(&normalizer, NORMALIZER_NAME, "identity", strlen("identity"));
    put_number(&normalizer, NORMALIZER_PREFIX, v->space_prefix);
    put_number(&normalizer, NORMALIZER_STRIPS, 0);
    put_number(&normalizer, NORMALIZER_ESCAPES, 1);
    put_message(&model, MODEL_NORMALIZER, &normalizer);
    *size = model.size;
    if (!model.out_of_memory)
        return (char *)model.bytes;
    free(model.bytes);
    return NULL;
}
