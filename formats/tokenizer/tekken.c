/*
 * tekken.json, in which Mistral stores a tokenizer: byte-level BPE in tiktoken's manner, a list of byte strings by rank
 * and the control tokens that come before them. It is made into what a tokenizer.json of the same tokenizer says. The
 * format: mistral-common, tokens/tokenizers/tekken.py (ModelData).
 */
#include "formats/base/checked.h"
#include "formats/base/file_in.h"
#include "formats/base/system.h"
#include "formats/base/text.h"
#include "formats/tokenizer/byte_level.h"
#include "formats/tokenizer/tokenizer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define FILE_LIMIT ((uint64_t)256 << 20)
#define MAX_TOKENS 4194304u /* as many elements as an array of GGUF metadata may have */
/* The longest of Mistral's tokens has 78 bytes. All pairs of parts of a token are looked up, so its length is bounded. */
#define MAX_LENGTH 256u
#define BYTES 256u /* the tokens that come first */
/*
 * As many bytes of parts of tokens are written as merges for each byte of the file, and some for small files. Mistral's
 * own tokenizers have a tenth; where each token is made of others in all ways, there are a hundred.
 */
#define MERGED_BYTES 1u
#define FEW_MERGED_BYTES ((uint64_t)1 << 20)

struct piece {
    unsigned char *bytes;
    uint32_t length;
};

struct tekken {
    const char *path;
    struct nb_arena arena;
    char *text;
    struct nb_json_span vocab;
    json_t *config, *specials;
    uint32_t n_specials, count; /* control tokens, and the others, whose ids follow */
    struct piece *pieces;       /* by rank */
    uint32_t *table, mask;      /* ranks + 1 by hash */
    uint64_t merged, most;      /* bytes of parts of tokens that were written as merges, and may be */
    uint64_t seed;
    FILE *out;
};

/* --- reading -------------------------------------------------------------------------------------------------- */

static enum nb_status
malformed(const struct tekken *t, struct nb_error *err)
{
    return nb_fail(err, NB_INPUT, "%s: is not a tokenizer of Mistral's 'tekken' format", t->path);
}

static enum nb_status
read_members(struct tekken *t, size_t length, struct nb_error *err)
{
    struct nb_json_span root, key, value, text = nb_json_after_mark((struct nb_json_span){ t->text, length });
    struct nb_json_cursor members;
    char what[NB_MISTAKEN];
    bool no_memory;
    int more;

    if (!nb_json_value(text, &root) || *root.at != '{' || !nb_json_enter(&members, root))
        return nb_json_text_mistaken(text, what) ? nb_fail(err, NB_INPUT, "%s: no tokenizer, but %s", t->path, what)
                                                 : malformed(t, err);
    while ((more = nb_json_next(&members, &key, &value)) > 0) {
        json_t **tree = nb_json_is(key, "config")           ? &t->config
                        : nb_json_is(key, "special_tokens") ? &t->specials
                                                            : NULL;

        if (nb_json_is(key, "vocab"))
            t->vocab = value;
        if (tree == NULL || (value.length == 4 && memcmp(value.at, "null", 4) == 0))
            continue;
        json_decref(*tree);
        *tree = nb_json_tree(value, &no_memory);
        if (*tree == NULL)
            return no_memory ? nb_fail_memory(err) : malformed(t, err);
    }
    return more < 0 || t->config == NULL || t->vocab.at == NULL ? malformed(t, err) : NB_OK;
}

static enum nb_status
read_counts(struct tekken *t, struct nb_error *err)
{
    const json_int_t all = json_integer_value(json_object_get(t->config, "default_vocab_size"));
    const json_int_t specials = json_integer_value(json_object_get(t->config, "default_num_special_tokens"));

    if (specials < 3 || all < specials + (json_int_t)BYTES || all > (json_int_t)MAX_TOKENS)
        return nb_fail(err, NB_INPUT,
                       "%s: a vocabulary of %" JSON_INTEGER_FORMAT " tokens, %" JSON_INTEGER_FORMAT " of them special",
                       t->path, all, specials);
    t->n_specials = (uint32_t)specials;
    t->count = (uint32_t)(all - specials);
    return NB_OK;
}

static int
base64_value(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c == '\0' ? NULL : strchr(digits, c);

    return at == NULL ? -1 : (int)(at - digits);
}

/* Decodes TEXT in its own place; false if it is not base64. */
static bool
decode_base64(char *text, size_t length, uint32_t *out_length)
{
    size_t n = 0, digits = length;
    unsigned bits = 0, waiting = 0;

    while (digits > 0 && length - digits < 2 && text[digits - 1] == '=')
        digits--;
    for (size_t i = 0; i < digits; i++) {
        const int value = base64_value(text[i]);

        if (value < 0)
            return false;
        bits = (bits << 6 | (unsigned)value) & 0xFFFF;
        waiting += 6;
        if (waiting >= 8) {
            waiting -= 8;
            text[n++] = (char)(unsigned char)(bits >> waiting & 0xFF);
        }
    }
    *out_length = (uint32_t)n;
    return length % 4 == 0 && n > 0 && n <= MAX_LENGTH;
}

/* Stores the token that the object VALUE describes, which has to be the one of this RANK. */
static enum nb_status
read_piece(struct tekken *t, uint32_t rank, struct nb_json_span value, struct nb_error *err)
{
    struct piece *piece = &t->pieces[rank];
    struct nb_json_cursor members;
    struct nb_json_span key, member;
    uint64_t number = UINT64_MAX;
    size_t length = 0;
    int more = -1;

    if (*value.at != '{' || !nb_json_enter(&members, value))
        return malformed(t, err);
    while ((more = nb_json_next(&members, &key, &member)) > 0) {
        if (nb_json_is(key, "rank") && !nb_json_unsigned(member, UINT32_MAX, &number))
            return malformed(t, err);
        if (nb_json_is(key, "token_bytes"))
            piece->bytes = (unsigned char *)nb_json_string(&t->arena, member, &length);
    }
    if (t->arena.exhausted)
        return nb_fail_memory(err);
    if (more < 0 || piece->bytes == NULL || !decode_base64((char *)piece->bytes, length, &piece->length))
        return nb_fail(err, NB_INPUT, "%s: token %" PRIu32 " has no bytes, or more than %u", t->path, rank, MAX_LENGTH);
    if (number != rank)
        return nb_fail(err, NB_INPUT, "%s: token %" PRIu32 " has another rank", t->path, rank);
    return NB_OK;
}

static enum nb_status
read_pieces(struct tekken *t, struct nb_error *err)
{
    struct nb_json_cursor elements;
    struct nb_json_span unused, value;
    uint32_t rank = 0;
    enum nb_status status = NB_OK;
    int more = 0;

    t->pieces = nb_arena_calloc(&t->arena, t->count, sizeof *t->pieces);
    if (t->pieces == NULL)
        return nb_fail_memory(err);
    if (*t->vocab.at != '[' || !nb_json_enter(&elements, t->vocab))
        return malformed(t, err);
    /* Files list more tokens than they use. */
    while (status == NB_OK && rank < t->count && (more = nb_json_next(&elements, &unused, &value)) > 0)
        status = read_piece(t, rank++, value, err);
    if (status == NB_OK && more < 0)
        status = malformed(t, err);
    if (status == NB_OK && rank < t->count)
        status = nb_fail(err, NB_INPUT, "%s: lists %" PRIu32 " tokens, but should have %" PRIu32, t->path, rank,
                         t->count);
    return status;
}

/* --- looking up ----------------------------------------------------------------------------------------------- */

/* The place in the table of these bytes, or of the free one where they would be. */
static uint32_t *
slot_of(const struct tekken *t, const unsigned char *bytes, uint32_t length)
{
    uint32_t i = (uint32_t)XXH3_64bits_withSeed(bytes, length, t->seed) & t->mask;

    while (t->table[i] != 0) {
        const struct piece *p = &t->pieces[t->table[i] - 1];

        if (p->length == length && memcmp(p->bytes, bytes, length) == 0)
            break;
        i = (i + 1) & t->mask;
    }
    return &t->table[i];
}

static enum nb_status
make_table(struct tekken *t, struct nb_error *err)
{
    uint32_t size = 1024;

    while (size < 2 * t->count)
        size *= 2;
    t->mask = size - 1;
    t->table = nb_arena_calloc(&t->arena, size, sizeof *t->table);
    if (t->table == NULL)
        return nb_fail_memory(err);
    (void)nb_system_random(&t->seed, sizeof t->seed); /* so that nobody can choose tokens that collide */
    for (uint32_t rank = 0; rank < t->count; rank++) {
        uint32_t *slot = slot_of(t, t->pieces[rank].bytes, t->pieces[rank].length);

        if (*slot != 0)
            return nb_fail(err, NB_INPUT, "%s: tokens %" PRIu32 " and %" PRIu32 " have the same bytes", t->path,
                           *slot - 1, rank);
        if ((t->pieces[rank].length == 1) != (rank < BYTES))
            return nb_fail(err, NB_INPUT, "%s: its first %u tokens are not the single bytes", t->path, BYTES);
        *slot = rank + 1;
    }
    return NB_OK;
}

/* --- writing it as a tokenizer.json ---------------------------------------------------------------------------- */

/* Writes LENGTH bytes in the byte-level alphabet, as part of a JSON string. */
static void
put_bytes(struct tekken *t, const unsigned char *bytes, uint32_t length)
{
    for (uint32_t i = 0; i < length; i++) {
        const uint32_t c = nb_byte_level_character(bytes[i]);

        if (c == '"' || c == '\\')
            putc('\\', t->out);
        if (c >= 0x80)
            putc((int)(0xC0 | c >> 6), t->out);
        putc(c < 0x80 ? (int)c : (int)(0x80 | (c & 0x3F)), t->out);
    }
}

static void
put_vocab(struct tekken *t)
{
    for (uint32_t rank = 0; rank < t->count; rank++) {
        fputs(rank == 0 ? "{\"" : ",\"", t->out);
        put_bytes(t, t->pieces[rank].bytes, t->pieces[rank].length);
        fprintf(t->out, "\":%" PRIu32, t->n_specials + rank);
    }
    putc('}', t->out);
}

/* Two parts of a token, by their ranks. */
struct pair {
    uint32_t left, right;
};

static int
by_ranks(const void *a, const void *b)
{
    const struct pair *x = a, *y = b;

    return x->left != y->left ? (x->left > y->left) - (x->left < y->left)
                              : (x->right > y->right) - (x->right < y->right);
}

/* The merges that make the token RANK: of every two tokens that it consists of, in the order of their ranks. */
static enum nb_status
put_merges_of(struct tekken *t, uint32_t rank, struct nb_error *err)
{
    const struct piece *p = &t->pieces[rank];
    struct pair pairs[MAX_LENGTH];
    size_t count = 0;

    for (uint32_t cut = 1; cut < p->length; cut++) {
        const uint32_t left = *slot_of(t, p->bytes, cut), right = *slot_of(t, p->bytes + cut, p->length - cut);

        if (left != 0 && right != 0)
            pairs[count++] = (struct pair){ left - 1, right - 1 };
    }
    if (count == 0)
        return nb_fail(err, NB_INPUT, "%s: token %" PRIu32 " is not two others, so that nothing merges into it",
                       t->path, rank);
    t->merged += count * p->length;
    if (t->merged > t->most)
        return nb_fail(err, NB_INPUT, "%s: its tokens are made of each other in too many ways", t->path);
    qsort(pairs, count, sizeof *pairs, by_ranks);
    for (size_t i = 0; i < count; i++) {
        const struct piece *left = &t->pieces[pairs[i].left], *right = &t->pieces[pairs[i].right];

        fputs(rank == BYTES && i == 0 ? "[\"" : ",\"", t->out);
        put_bytes(t, left->bytes, left->length);
        putc(' ', t->out);
        put_bytes(t, right->bytes, right->length);
        putc('"', t->out);
    }
    return NB_OK;
}

static enum nb_status
put_merges(struct tekken *t, struct nb_error *err)
{
    enum nb_status status = NB_OK;

    for (uint32_t rank = BYTES; rank < t->count && status == NB_OK; rank++)
        status = put_merges_of(t, rank, err);
    fputs(t->count == BYTES ? "[]" : "]", t->out);
    return status;
}

/* The vocabulary and the merges as the text of OUT. */
static enum nb_status
write_text(struct tekken *t, struct nb_tokenizer_json *out, struct nb_error *err)
{
    size_t size = 0, vocab_end;
    enum nb_status status;
    bool failed;

    t->out = open_memstream(&out->text, &size);
    if (t->out == NULL)
        return nb_fail_memory(err);
    put_vocab(t);
    failed = fflush(t->out) != 0;
    vocab_end = size;
    status = put_merges(t, err);
    failed |= !nb_close_text(t->out, &out->text);
    if (status == NB_OK && failed)
        status = nb_fail_memory(err);
    out->vocab = (struct nb_json_span){ out->text, vocab_end };
    out->merges = (struct nb_json_span){ out->text + vocab_end, size - vocab_end };
    return status;
}

/*
 * The special tokens of files without a list of them (versions up to 3): the first ids, as in mistral-common. Those that
 * have no name are numbered.
 */
static const char *const unlisted[] = {
    "<unk>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "[TOOL_CALLS]",
    "[IMG]",
    "<pad>",
    "[IMG_BREAK]",
    "[IMG_END]",
    "[PREFIX]",
    "[MIDDLE]",
    "[SUFFIX]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[TOOL_CONTENT]",
};

/* The name of the special token ID in NAME. */
static void
name_of(const struct tekken *t, uint32_t id, char *name, size_t size)
{
    const size_t listed = t->specials == NULL ? sizeof unlisted / sizeof unlisted[0] : 0;
    json_t *token = json_array_get(t->specials, id);
    const char *text = json_string_value(json_object_get(token, "token_str"));

    if (text != NULL || id < listed)
        snprintf(name, size, "%s", text != NULL ? text : unlisted[id]);
    else
        snprintf(name, size, "<SPECIAL_%" PRIu32 ">", id);
}

static enum nb_status
add_specials(struct tekken *t, struct nb_tokenizer_json *out, struct nb_error *err)
{
    json_t *token;
    size_t i;

    json_array_foreach(t->specials, i, token)
        if (i >= t->n_specials || json_integer_value(json_object_get(token, "rank")) != (json_int_t)i ||
            !json_is_string(json_object_get(token, "token_str")))
            return nb_fail(err, NB_INPUT, "%s: special token %zu has another rank, or none", t->path, i);
    out->added_tokens = json_array();
    for (uint32_t id = 0; id < t->n_specials; id++) {
        char name[MAX_LENGTH];

        name_of(t, id, name, sizeof name);
        token = json_pack("{s:I, s:s, s:b}", "id", (json_int_t)id, "content", name, "special", 1);
        if (json_array_append_new(out->added_tokens, token) != 0)
            return nb_fail_memory(err);
    }
    return NB_OK;
}

/* How a text is split, and that the token of its beginning is put before it. */
static enum nb_status
add_steps(const struct tekken *t, struct nb_tokenizer_json *out, struct nb_error *err)
{
    const char *pattern = json_string_value(json_object_get(t->config, "pattern"));

    if (pattern == NULL)
        return malformed(t, err);
    snprintf(out->model_type, sizeof out->model_type, "BPE");
    out->ignore_merges = true;
    out->pre_tokenizer = json_pack("{s:s, s:[{s:s, s:{s:s}, s:s, s:b}, {s:s, s:b, s:b}]}", "type", "Sequence",
                                   "pretokenizers", "type", "Split", "pattern", "Regex", pattern, "behavior",
                                   "Isolated", "invert", 0, "type", "ByteLevel", "add_prefix_space", 0, "use_regex", 0);
    out->post_processor = json_pack("{s:s, s:[{s:{s:s, s:i}}, {s:{s:s, s:i}}]}", "type", "TemplateProcessing", "single",
                                    "SpecialToken", "id", "<s>", "type_id", 0, "Sequence", "id", "A", "type_id", 0);
    out->decoder = json_pack("{s:s}", "type", "ByteLevel");
    return out->pre_tokenizer == NULL || out->post_processor == NULL || out->decoder == NULL ? nb_fail_memory(err)
                                                                                             : NB_OK;
}

enum nb_status
nb_tekken_read(const char *path, struct nb_tokenizer_json *out, struct nb_error *err)
{
    struct tekken t = { .path = path };
    size_t length;
    enum nb_status status;

    *out = (struct nb_tokenizer_json){ .path = path };
    status = nb_file_load(path, FILE_LIMIT, &t.text, &length, err);
    if (status == NB_OK) {
        t.most = MERGED_BYTES * length + FEW_MERGED_BYTES;
        status = read_members(&t, length, err);
    }
    if (status == NB_OK)
        status = read_counts(&t, err);
    if (status == NB_OK)
        status = read_pieces(&t, err);
    if (status == NB_OK)
        status = make_table(&t, err);
    if (status == NB_OK)
        status = write_text(&t, out, err);
    if (status == NB_OK)
        status = add_specials(&t, out, err);
    if (status == NB_OK)
        status = add_steps(&t, out, err);
    json_decref(t.config);
    json_decref(t.specials);
    nb_arena_free(&t.arena);
    free(t.text);
    if (status != NB_OK)
        nb_tokenizer_json_free(out);
    return status;
}
