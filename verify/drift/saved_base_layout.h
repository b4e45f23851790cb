/*
 * The file of a saved base, all numbers little-endian:
 *
 *   header   struct nb_base_header, the name of the model, that of the text, the tokens as int32; XXH64 of all this
 *   chunks   of each: the number of its bytes as uint32, these, and their XXH64 with the number of the chunk as seed
 *
 * The bytes of a chunk are its predictions one after the other: struct nb_base_record, then for each token the
 * difference of its id from that before (from 0 for the first listed and the first sampled one), seven bits to a byte, the
 * lowest first, with 0x80 in all but the last; then -ln of its probability in steps of 2^-19, as 24 bits.
 */
#ifndef NB_SAVED_BASE_LAYOUT_H
#define NB_SAVED_BASE_LAYOUT_H

#include <stdint.h>

#define NB_BASE_MAGIC "nbbase1"
#define NB_BASE_STEPS 524288.0f /* 2^19 to 1 */
#define NB_BASE_MOST_STEPS 0xFFFFFFu
#define NB_BASE_NAME 4096u /* bytes of a name at most */
#define NB_BASE_MIN_CHUNK 8u
#define NB_BASE_MAX_CHUNK (1u << 20)
#define NB_BASE_TOKEN_BYTES 8u /* of a token of a prediction, at most */

struct nb_base_header {
    char magic[8];
    uint32_t vocab, chunk_tokens, chunks, model_length, text_length, zero;
    int64_t bos;
    uint64_t vocabulary, file_bytes;
    double bits_per_weight;
};
_Static_assert(sizeof(struct nb_base_header) == 64, "written as it is in memory");

struct nb_base_record {
    float nll, rest;
    uint32_t top;
    uint16_t listed, sampled;
};
_Static_assert(sizeof(struct nb_base_record) == 16, "written as it is in memory");

/* The scored tokens of a chunk (drift.h). */
static inline uint32_t
nb_base_scored(uint32_t chunk_tokens)
{
    return chunk_tokens - 1 - chunk_tokens / 2;
}

#endif
