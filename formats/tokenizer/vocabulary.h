/*
 * The vocabulary of a source, as who cuts text into tokens needs it. A GGUF file
 * says what llama.cpp's rules need; a checkpoint's tokenizer.json what those of
 * Hugging Face's tokenizers library do, which are others for some texts.
 */
#ifndef NB_VOCABULARY_H
#define NB_VOCABULARY_H

#include "formats/base/arena.h"
#include "formats/base/status.h"
#include "formats/gguf/metadata.h"
#include "formats/safetensors/checkpoint.h"

#include <stdbool.h>
#include <stdint.h>

/* The numbers of tokenizer.ggml.token_type; SentencePiece's own are the same. */
enum nb_token_type {
    NB_TOKEN_NORMAL = 1,
    NB_TOKEN_UNKNOWN = 2,
    NB_TOKEN_CONTROL = 3,
    NB_TOKEN_USER_DEFINED = 4,
    NB_TOKEN_UNUSED = 5,
    NB_TOKEN_BYTE = 6,
};

struct nb_token {
    const char *text; /* NULL where no token has this id */
    uint32_t length;
    enum nb_token_type type;
    float score;
};

enum nb_vocabulary_model {
    NB_VOCABULARY_BYTE_BPE,      /* merges by rank over bytes, each written as a character of its own (GPT-2) */
    NB_VOCABULARY_CHARACTER_BPE, /* merges by rank over characters, byte tokens for the unknown */
    NB_VOCABULARY_SCORES,        /* SentencePiece: merges to the token with the best score */
};

/* A token that is looked for in the text before it is cut. */
struct nb_added_token {
    uint32_t id;
    const char *text;
    uint32_t length;
    bool special;                   /* only found where the caller asks for such tokens */
    bool normalized;                /* looked for in the normalized text */
    bool strip_left, strip_right;   /* takes the white space beside it along */
    bool single_word;               /* not within a word */
};

struct nb_merge {
    const char *left, *right;
    uint32_t left_length, right_length;
};

/* What a text goes through before it is cut, in this order. */
enum nb_normal_form { NB_NORMAL_NONE, NB_NORMAL_NFC, NB_NORMAL_NFD, NB_NORMAL_NFKC, NB_NORMAL_NFKD };

struct nb_vocabulary {
    struct nb_arena arena; /* owns what is not the source's */
    bool by_checkpoint;    /* Hugging Face's rules, not llama.cpp's */
    enum nb_vocabulary_model model;
    struct nb_token *tokens;
    uint32_t size;
    const struct nb_kv *texts; /* tokenizer.ggml.tokens, which is the same for a checkpoint and its GGUF file */
    struct nb_merge *merges;   /* by rank */
    uint32_t n_merges;
    struct nb_added_token *added;
    uint32_t n_added;
    const char *pre; /* tokenizer.ggml.pre, of byte-level BPE */
    enum nb_normal_form normal_form;
    bool meta_space;       /* spaces become U+2581 */
    bool space_prefix;     /* a space is put before the text */
    bool ignore_merges;    /* a word that is a token is taken whole */
    bool fuse_unknown;     /* unknown characters in a row are one unknown token */
    bool add_bos, add_eos;
    int64_t bos, eos, unknown; /* ids; -1 where there is none */
};

/* What a vocabulary is read from: the metadata of a model and, of a checkpoint, its tokenizer.json. */
struct nb_vocabulary_origin {
    const char *path; /* for messages */
    const struct nb_metadata *meta;
    struct nb_checkpoint *checkpoint; /* NULL: a GGUF file */
};

/* Reads the vocabulary of a model, which must stay open as long as the vocabulary is used. */
enum nb_status nb_vocabulary_read(struct nb_vocabulary *vocabulary, const struct nb_vocabulary_origin *from,
                                  struct nb_error *err) NB_MUST_CHECK;
void nb_vocabulary_free(struct nb_vocabulary *vocabulary);

/* True if the ids of A and B stand for the same texts. *WHERE is the first id that differs, or the smaller size. */
bool nb_vocabulary_same(const struct nb_vocabulary *a, const struct nb_vocabulary *b, uint32_t *where);

/*
 * The splitting steps of the pre-tokenizer that llama.cpp calls NAME, as lines
 * "split:REGEX", "digits", "bytes" and "bytes+words"; NULL if it is not known.
 */
const char *nb_pre_tokenizer_steps(const char *name);

#endif
