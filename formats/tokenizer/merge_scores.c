/*
 * Scores for a vocabulary that has merges instead. llama.cpp merges the pair whose result has the
 * highest score first, the tokenizers library the pair whose merge has the lowest rank. Both do the
 * same if the score of a token is minus the rank of the first merge that makes it.
 */
#include "formats/base/checked.h"
#include "formats/tokenizer/tokenizer.h"

#include <stdlib.h>
#include <string.h>

static int
by_text(const void *a, const void *b)
{
    const struct nb_token *x = *(const struct nb_token *const *)a, *y = *(const struct nb_token *const *)b;
    const uint32_t n = x->length < y->length ? x->length : y->length;
    const int order = memcmp(x->text, y->text, n);

    return order != 0 ? order : (x->length > y->length) - (x->length < y->length);
}

/* The tokens of VOCAB that have a text, sorted by it; N receives their number. NULL if out of memory. */
static struct nb_token **
sort_by_text(const struct nb_vocab *vocab, size_t *n)
{
    struct nb_token **sorted = nb_calloc(vocab->size + 1, sizeof *sorted);

    *n = 0;
    for (uint64_t i = 0; sorted != NULL && i < vocab->size; i++)
        if (vocab->tokens[i].text != NULL)
            sorted[(*n)++] = &vocab->tokens[i];
    if (sorted != NULL)
        qsort(sorted, *n, sizeof *sorted, by_text);
    return sorted;
}

/* The text that the merge LINE, "left right", makes, in JOINED. Both sides are never empty. */
static uint32_t
join(const char *line, uint64_t length, char *joined)
{
    const char *space = nb_merge_space(line, length);
    const size_t left = space == NULL ? 0 : (size_t)(space - line);

    memcpy(joined, line, left);
    memcpy(joined + left, line + left + (space != NULL), (size_t)length - left - (space != NULL));
    return (uint32_t)(length - (space != NULL));
}

static void
score_by_rank(const struct nb_kv *merges, struct nb_token *const *sorted, size_t n)
{
    const unsigned char *at = merges->data;

    for (uint64_t rank = 0; rank < merges->count; rank++) {
        char joined[NB_MERGE_BYTES];
        uint64_t length;
        const char *line = nb_kv_next_string(&at, &length);
        const struct nb_token wanted = { .text = joined, .length = join(line, length, joined) }, *key = &wanted;
        struct nb_token **found = bsearch(&key, sorted, n, sizeof *sorted, by_text);

        if (found != NULL && (*found)->score < -(float)rank)
            (*found)->score = -(float)rank;
    }
}

enum nb_status
nb_score_by_merges(const struct nb_tokenizer_json *tj, struct nb_vocab *vocab, struct nb_error *err)
{
    struct nb_metadata meta = { 0 };
    enum nb_status status = nb_tokenizer_json_merges(tj, &meta, err);
    const struct nb_kv *merges = nb_meta_find(&meta, "tokenizer.ggml.merges");
    struct nb_token **sorted = NULL;
    size_t n;

    if (status == NB_OK && merges != NULL && (sorted = sort_by_text(vocab, &n)) == NULL)
        status = nb_fail_memory(err);
    if (status == NB_OK && merges != NULL) {
        for (uint64_t i = 0; i < vocab->size; i++) /* no merge makes it: after all that one makes */
            vocab->tokens[i].score = -(float)merges->count;
        score_by_rank(merges, sorted, n);
    }
    free(sorted);
    nb_meta_free(&meta);
    return status;
}
