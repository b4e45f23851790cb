/* Causal attention: what queries find in keys and values, once all of these are made. */
#ifndef NB_ATTEND_H
#define NB_ATTEND_H

#include "formats/base/status.h"
#include "verify/run/run.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nb_attend {
    uint32_t heads, kv_heads; /* HEADS is a multiple of KV_HEADS */
    uint32_t key_length, value_length;
    float scale;           /* of the scores */
    float soft_cap;        /* scores become cap * tanh(score / cap); 0: they stay */
    const float *sinks;    /* a score for each head that takes a share but has no value; NULL: none */
    double max_alibi_bias; /* ALiBi (Press et al. 2021); 0: none */
    uint64_t window;       /* a token sees so many tokens, itself included; 0: all before it */
    bool chunked;          /* the window begins at a multiple of its size instead */
    /* Bits for each token of the batch, CHOSEN_ROW words: the positions that it may see. NULL: all. */
    const uint32_t *chosen;
    size_t chosen_row, chosen_head; /* words; those of a key-value head, if each has its own, or 0 */

    const float *q;     /* tokens of the batch x (heads * key_length) */
    const float *k, *v; /* for each chunk as many rows as it has positions, of K_ROW and V_ROW elements */
    size_t k_row, v_row;
    float *out;    /* tokens of the batch x (heads * value_length) */
    float *scores; /* nb_attend_scores */
};

/* Words of a row of bits for all positions of a chunk. */
static inline size_t
nb_attend_words(const struct nb_scratch *scratch)
{
    return (scratch->chunk_tokens + 31) / 32;
}

/* Takes the memory for scores. */
float *nb_attend_scores(struct nb_scratch *scratch);
/* Fills OUT. Keys and values are there for all positions up to those of the batch. */
enum nb_status nb_attend(struct nb_run *run, const struct nb_attend *attend, struct nb_error *err) NB_MUST_CHECK;

#endif
