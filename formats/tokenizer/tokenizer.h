/* Converts a checkpoint's tokenizer to GGUF metadata. */
#ifndef NB_TOKENIZER_H
#define NB_TOKENIZER_H

#include "formats/base/json.h"
#include "formats/base/status.h"
#include "formats/gguf/metadata.h"
#include "formats/safetensors/checkpoint.h"
#include "formats/tokenizer/vocabulary.h"

/* A vocabulary that is being built; SIZE is the number of rows of the embedding. */
struct nb_vocab {
    struct nb_token *tokens;
    uint64_t size;
};

/* Whether and where tokenizer_config.json's add_prefix_space is written. */
enum nb_space_prefix {
    NB_PREFIX_NOT,
    NB_PREFIX_FIRST,        /* before the tokenizer's other keys */
    NB_PREFIX_AFTER_TOKENS, /* between the vocabulary and the special tokens */
    NB_PREFIX_LAST,
    NB_PREFIX_OF_SENTENCEPIECE, /* there too, but the flag of tokenizer.model */
};

/* A special token that a family finds by its text. */
struct nb_named_token {
    const char *key; /* the GGUF key of its id */
    const char *token;
};

/* What the reference converter does for some families only. */
struct nb_tokenizer_habits {
    enum nb_space_prefix space_prefix;
    bool keeps_merges;    /* a BPE with byte fallback keeps its merges: llama.cpp's kind "gemma4" */
    bool adds_bos;        /* writes that BOS is put before a text, whatever the files say */
    bool no_space_prefix; /* writes that no space is put before a text */
    const char *last_eot; /* an added token whose id is written, last of all, as the end of a turn; NULL: none */
    uint32_t eot_token;   /* writes this id of the end of a turn; 0: none */
    uint32_t bos_token;   /* writes this id of the token before a text, whatever the files say; 0: theirs */
    bool added_verbatim;  /* added tokens replace SentencePiece's: their texts, types and scores, as they are listed */
    const char *control;  /* an added token that is not text, whatever the files say; NULL: none */
    const char *end_of_turn;            /* an added token that is the end token of models that have it; NULL: none */
    bool size_quirks;                   /* Code Llama's and Granite's keys, for vocabularies of their sizes */
    const struct nb_named_token *named; /* where the files name no other; ends with a NULL key */
};

/*
 * Sets all tokenizer.* keys. ROWS is the number of rows of the token embedding:
 * the vocabulary is padded to it. PRE, if not NULL, is written as
 * tokenizer.ggml.pre instead of the detected name.
 */
enum nb_status nb_tokenizer_metadata(struct nb_checkpoint *cp, uint64_t rows, const char *pre,
                                     const struct nb_tokenizer_habits *habits, struct nb_metadata *meta,
                                     struct nb_error *err) NB_MUST_CHECK;

/* The rest is private to the files of the conversion. */

/* tokenizer.json: the two large members as text, the others as jansson trees. */
struct nb_tokenizer_json {
    const char *path;
    char *text;
    struct nb_json_span vocab, merges;
    struct nb_json_span unknown; /* the name of the unknown token, if any */
    json_t *added_tokens, *normalizer, *pre_tokenizer, *post_processor, *decoder;
    char model_type[32];
    bool byte_fallback, ignore_merges, fuse_unknown;
};

/*
 * The path of CP's tokenizer.json or, where there is none, of its tekken.json, which says the same of Mistral's
 * tokenizers; belongs to CP. NULL: there is neither, or CP's arena is exhausted.
 */
char *nb_tokenizer_json_path(struct nb_checkpoint *cp);
/* Reads the file PATH, which is either; only one that is named tekken.json is that. */
enum nb_status nb_tokenizer_json_read(const char *path, struct nb_tokenizer_json *out,
                                      struct nb_error *err) NB_MUST_CHECK;
bool nb_is_tekken(const char *path);
enum nb_status nb_tekken_read(const char *path, struct nb_tokenizer_json *out, struct nb_error *err) NB_MUST_CHECK;
void nb_tokenizer_json_free(struct nb_tokenizer_json *tj);
/* Stores model.vocab in VOCAB; all tokens have type NORMAL. */
enum nb_status nb_tokenizer_json_vocab(const struct nb_tokenizer_json *tj, struct nb_arena *arena,
                                       struct nb_vocab *vocab, struct nb_error *err) NB_MUST_CHECK;
#define NB_MERGE_BYTES 4096u /* the longest line of a merge, "left right" */
enum nb_status nb_tokenizer_json_merges(const struct nb_tokenizer_json *tj, struct nb_metadata *meta,
                                        struct nb_error *err) NB_MUST_CHECK;
/* Gives the tokens of VOCAB the scores that make llama.cpp merge in the order of TJ's merges. */
enum nb_status nb_score_by_merges(const struct nb_tokenizer_json *tj, struct nb_vocab *vocab,
                                  struct nb_error *err) NB_MUST_CHECK;

/*
 * Stores the pieces of a SentencePiece model (tokenizer.model) in VOCAB. PREFIX receives whether it puts a space
 * before a text.
 */
enum nb_status nb_sentencepiece_read(const char *path, struct nb_arena *arena, struct nb_vocab *vocab, bool *prefix,
                                     struct nb_error *err) NB_MUST_CHECK;
/* Whether PATH, named tokenizer.model, is a vocabulary of tiktoken instead: lines of a token in base64 and its rank. */
bool nb_is_tiktoken(const char *path);

/*
 * llama.cpp's name for the pre-tokenizer TREE; NULL if none matches. In
 * llama.cpp the name also implies IGNORE_MERGES: whether a word that is itself
 * a token is used without merging.
 */
const char *nb_pre_tokenizer_name(json_t *tree, bool ignore_merges);
/* True if llama.cpp adds BOS to every text by default with this pre-tokenizer. */
bool nb_pre_tokenizer_adds_bos(const char *name);

/*
 * Sets special token ids, flags such as add_bos, normalizer flags and chat
 * templates. TJ, CONFIG (tokenizer_config.json) and NAMED may be NULL. Ids of LIMIT
 * and above are skipped.
 */
enum nb_status nb_special_tokens(struct nb_checkpoint *cp, const struct nb_tokenizer_json *tj, json_t *config,
                                 const struct nb_named_token *named, uint64_t limit, struct nb_metadata *meta,
                                 struct nb_error *err) NB_MUST_CHECK;
/* The text of a special token, which may be a string or an object with "content"; NULL if it is neither. */
const char *nb_token_content(json_t *token);

#endif
