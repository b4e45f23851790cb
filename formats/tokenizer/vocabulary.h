/*
 * The vocabulary of a source, for tokenizing text. With a GGUF file, text is
 * tokenized by llama.cpp's rules; with a checkpoint's tokenizer.json, by those
 * of Hugging Face's tokenizers library, which differ for some texts.
 */
#ifndef NB_VOCABULARY_H
#define NB_VOCABULARY_H

#include "formats/base/arena.h"
#include "formats/base/status.h"
#include "formats/gguf/metadata.h"
#include "formats/safetensors/checkpoint.h"

#include <jansson.h>
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
    const char *text; /* NULL if no token has this id */
    uint32_t length;
    enum nb_token_type type;
    float score;
};

enum nb_vocabulary_model {
    NB_VOCABULARY_BYTE_BPE,      /* merges of bytes by rank; each byte is written as one character (GPT-2) */
    NB_VOCABULARY_CHARACTER_BPE, /* merges of characters by rank; byte tokens for unknown characters */
    NB_VOCABULARY_SCORES,        /* SentencePiece: merges to the token with the highest score first */
};

/* A token that is searched for in the text before the text is split. */
struct nb_added_token {
    uint32_t id;
    const char *text;
    uint32_t length;
    bool special;                 /* only found if the caller enables special tokens */
    bool normalized;              /* searched for in the normalized text */
    bool strip_left, strip_right; /* includes adjacent white space */
    bool single_word;             /* not found inside a word */
};

struct nb_merge {
    const char *left, *right;
    uint32_t left_length, right_length;
};

/* The space between the two sides of the merge LINE; NULL if it is no merge. The left side may begin with a space. */
const char *nb_merge_space(const char *line, uint64_t length);

/* The pre-tokenizer Metaspace of tokenizer.json: when it adds a space before a text that has none. */
enum nb_meta_prefix {
    NB_META_NO, /* there is no such pre-tokenizer */
    NB_META_NEVER,
    NB_META_FIRST, /* only at the beginning, not after a control token */
    NB_META_ALWAYS,
};

/* What the pre-tokenizer STEP does; NB_META_NO if it is another one. */
enum nb_meta_prefix nb_meta_prefix(json_t *step);

/* Unicode normalization of the text before it is split. */
enum nb_normal_form { NB_NORMAL_NONE, NB_NORMAL_NFC, NB_NORMAL_NFD, NB_NORMAL_NFKC, NB_NORMAL_NFKD };

struct nb_vocabulary {
    struct nb_arena arena; /* owns everything that the source does not own */
    bool by_checkpoint;    /* Hugging Face's rules, not llama.cpp's */
    enum nb_vocabulary_model model;
    struct nb_token *tokens;
    uint32_t size;
    const struct nb_kv *texts; /* tokenizer.ggml.tokens, equal for a checkpoint and its GGUF file */
    struct nb_merge *merges;   /* by rank */
    uint32_t n_merges;
    struct nb_added_token *added;
    uint32_t n_added;
    const char *pre; /* tokenizer.ggml.pre, for byte-level BPE */
    enum nb_normal_form normal_form;
    bool meta_space;   /* spaces become U+2581 */
    bool space_prefix; /* a space is added before the text */
    enum nb_meta_prefix meta_prefix;
    bool meta_split;    /* with Metaspace: the text is cut before each space */
    bool ignore_merges; /* a word that is itself a token is not merged */
    bool fuse_unknown;  /* consecutive unknown characters give one unknown token */
    bool add_bos, add_eos;
    int64_t bos, eos, unknown; /* ids; -1 if there is none */
};

/* The input for a vocabulary: the metadata of a model and, for a checkpoint, its tokenizer.json. */
struct nb_vocabulary_origin {
    const char *path; /* for messages */
    const struct nb_metadata *meta;
    struct nb_checkpoint *checkpoint; /* NULL: a GGUF file */
};

/* Reads the vocabulary of a model, which must stay open while the vocabulary is used. */
enum nb_status nb_vocabulary_read(struct nb_vocabulary *vocabulary, const struct nb_vocabulary_origin *from,
                                  struct nb_error *err) NB_MUST_CHECK;
void nb_vocabulary_free(struct nb_vocabulary *vocabulary);

/* True if all ids of A and B have the same text. *WHERE is the first id that differs, or the smaller size. */
bool nb_vocabulary_same(const struct nb_vocabulary *a, const struct nb_vocabulary *b, uint32_t *where);

/*
 * The splitting steps of llama.cpp's pre-tokenizer NAME, as lines "split:REGEX",
 * "digits", "bytes" and "bytes+words"; NULL if it is unknown.
 */
const char *nb_pre_tokenizer_steps(const char *name);
/* The name that nb_pre_tokenizer_steps knows for one that means the same; NAME itself, which may be NULL, otherwise. */
const char *nb_pre_tokenizer_known_as(const char *name);

#endif
