/*
 * tokenizer.model: a SentencePiece ModelProto. Only the list of pieces is
 * needed (sentencepiece_model.proto: field 1, each with piece = 1, score = 2,
 * type = 3), and add_dummy_prefix = 3 of the normalizer (field 3), so a few
 * lines parse the protocol buffer instead of a library and generated code.
 */
#include "formats/tokenizer/tokenizer.h"

#include "formats/base/file_in.h"
#include "formats/base/mistaken.h"
#include "formats/base/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define FILE_LIMIT ((uint64_t)64 << 20)

struct buffer {
    const unsigned char *at, *end;
};

struct field {
    uint64_t number;
    unsigned wire;       /* 0 varint, 1 eight bytes, 2 bytes, 5 four bytes */
    uint64_t value;      /* varint or fixed field */
    struct buffer bytes; /* bytes field */
};

static bool
read_varint(struct buffer *b, uint64_t *out)
{
    *out = 0;
    for (unsigned shift = 0; shift < 64 && b->at < b->end; shift += 7) {
        unsigned char byte = *b->at++;

        *out |= (uint64_t)(byte & 0x7F) << shift;
        if ((byte & 0x80) == 0)
            return true;
    }
    return false;
}

static bool
read_fixed(struct buffer *b, unsigned bytes, uint64_t *out)
{
    if ((size_t)(b->end - b->at) < bytes)
        return false;
    *out = 0;
    for (unsigned i = 0; i < bytes; i++)
        *out |= (uint64_t)*b->at++ << (8 * i);
    return true;
}

static bool
read_field(struct buffer *b, struct field *f)
{
    uint64_t tag;

    if (!read_varint(b, &tag))
        return false;
    f->number = tag >> 3;
    f->wire = (unsigned)(tag & 7);
    switch (f->wire) {
    case 0:
        return read_varint(b, &f->value);
    case 1:
        return read_fixed(b, 8, &f->value);
    case 2:
        if (!read_varint(b, &f->value) || f->value > (uint64_t)(b->end - b->at))
            return false;
        f->bytes = (struct buffer){ b->at, b->at + f->value };
        b->at += f->value;
        return true;
    case 5:
        return read_fixed(b, 4, &f->value);
    default:
        return false;
    }
}

static bool
read_piece(struct buffer b, struct nb_arena *arena, struct nb_token *out)
{
    struct field f;

    *out = (struct nb_token){ .type = NB_TOKEN_NORMAL };
    while (b.at < b.end) {
        if (!read_field(&b, &f))
            return false;
        if (f.number == 1 && f.wire == 2) {
            if (!nb_utf8_valid((const char *)f.bytes.at, (size_t)f.value))
                return false;
            out->length = (uint32_t)f.value;
            out->text = nb_arena_strndup(arena, (const char *)f.bytes.at, f.value);
        } else if (f.number == 2 && f.wire == 5) {
            uint32_t bits = (uint32_t)f.value;

            memcpy(&out->score, &bits, sizeof bits);
        } else if (f.number == 3 && f.wire == 0) {
            if (f.value < NB_TOKEN_NORMAL || f.value > NB_TOKEN_BYTE)
                return false;
            /* llama.cpp's converter treats SentencePiece's user-defined pieces as normal ones. */
            out->type = f.value == NB_TOKEN_USER_DEFINED ? NB_TOKEN_NORMAL : (enum nb_token_type)f.value;
        }
    }
    return out->text != NULL;
}

/* Whether the NormalizerSpec B puts a space before a text: by default it does. */
static bool
read_prefix(struct buffer b)
{
    struct field f;
    bool prefix = true;

    while (b.at < b.end && read_field(&b, &f))
        if (f.number == 3 && f.wire == 0)
            prefix = f.value != 0;
    return prefix;
}

bool
nb_is_tiktoken(const char *path)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=";
    struct nb_file_in file;
    char line[256] = "";
    size_t n, rank;

    if (nb_file_open(&file, path, NULL) != NB_OK)
        return false;
    if (nb_file_read(&file, 0, line, file.size < sizeof line ? file.size : sizeof line - 1, NULL) != NB_OK)
        *line = '\0';
    nb_file_close(&file);
    n = strspn(line, digits);
    rank = n > 0 && line[n] == ' ' ? strspn(line + n + 1, "0123456789") : 0;
    return rank > 0 && (line[n + 1 + rank] == '\n' || line[n + 1 + rank] == '\r');
}

enum nb_status
nb_sentencepiece_read(const char *path, struct nb_arena *arena, struct nb_vocab *vocab, bool *prefix,
                      struct nb_error *err)
{
    char *text, what[NB_MISTAKEN];
    size_t length;
    uint64_t id = 0;
    struct field f;
    enum nb_status status = nb_file_load(path, FILE_LIMIT, &text, &length, err);

    if (status != NB_OK)
        return status;
    *prefix = true;
    struct buffer b = { (unsigned char *)text, (unsigned char *)text + length };
    while (b.at < b.end && status == NB_OK) {
        struct nb_token token;

        if (!read_field(&b, &f)) {
            status = nb_mistaken(text, length, length, what)
                         ? nb_fail(err, NB_INPUT, "%s: no SentencePiece model, but %s", path, what)
                         : nb_fail(err, NB_INPUT, "%s: not a SentencePiece model, or cut short", path);
        } else if (f.number == 3 && f.wire == 2) {
            *prefix = read_prefix(f.bytes);
        } else if (f.number == 1 && f.wire == 2) {
            if (!read_piece(f.bytes, arena, &token))
                status = nb_fail(err, NB_INPUT, "%s: piece %" PRIu64 " is malformed", path, id);
            else if (id < vocab->size)
                vocab->tokens[id++] = token;
            else
                status = nb_fail(err, NB_INPUT, "%s: has more pieces than the embedding has rows (%" PRIu64 ")", path,
                                 vocab->size);
        }
    }
    if (status == NB_OK && id == 0)
        status = nb_fail(err, NB_INPUT, "%s: not a SentencePiece model: it has no pieces", path);
    free(text);
    return status;
}
