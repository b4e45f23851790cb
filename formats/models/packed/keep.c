/*
 * Weights in 4 bits that GGUF can hold exactly: symmetric ones of GPTQ and compressed-tensors as Q4_0, whose codes less 8
 * are multiplied with an F16; MLX's as Q4_1, with an F16 to multiply with and one to add.
 */
#include "formats/models/packed/format.h"

#include <stdio.h>
#include <string.h>

enum { CODES, SCALES, ZEROS_OR_BIASES };

#define BLOCK 32u
#define HALF 2u /* bytes of an F16 */

static enum nb_status
refuse(const struct nb_packed *p, const struct nb_packing *packing, const char *why)
{
    char text[192];

    snprintf(text, sizeof text, "cannot stay as it is (--keep-quantized): %s", why);
    return nb_packed_refuse(p, packing, text);
}

/* Whether the zero points of GPTQ, which are packed, are all 8. */
static enum nb_status
check_zeros(const struct nb_packed *p, const struct nb_packing *packing)
{
    const unsigned char stored = (unsigned char)(0x88 + 0x11 * p->packed_zeros.minus); /* two codes */
    unsigned char *bytes;
    enum nb_status status = nb_packed_load_bytes(packing, p->packed_zeros.tensor, &bytes);

    for (uint64_t i = 0; status == NB_OK && i < p->packed_zeros.tensor->bytes; i++)
        if (bytes[i] != stored)
            return refuse(p, packing, "its zero points are not all 8, as Q4_0 has them");
    return status;
}

static bool
is_in_order(const struct nb_packed *p)
{
    for (uint64_t i = 0; p->index != NULL && i < p->columns; i++)
        if (p->index[i] != i / p->scales.wide)
            return false;
    return true;
}

enum nb_status
nb_packed_keep(struct nb_packed *p, const struct nb_packing *packing)
{
    const bool is_affine = p->biases.tensor != NULL, has_zeros = p->packed_zeros.tensor != NULL;

    if (!packing->quantization->keep_exact)
        return NB_OK;
    if (p->codes.bits != 4 || p->codes.table != NULL)
        return refuse(p, packing, "it has not 4 bits");
    if (p->scales.type != NB_F16 || (is_affine && p->biases.type != NB_F16))
        return refuse(p, packing, "its scales are no F16, as GGUF's are");
    if (p->scales.wide == 0 || p->scales.wide % BLOCK != 0 || p->columns % BLOCK != 0)
        return refuse(p, packing, "its groups are not whole blocks of 32");
    if (!is_in_order(p))
        return refuse(p, packing, "its groups are not in order");
    if (p->codes.minus == 0 && !is_affine && (!has_zeros || p->codes.unpack != NULL))
        return refuse(p, packing, "it has zero points");
    p->kept = is_affine ? NB_Q4_1 : NB_Q4_0;
    return has_zeros ? check_zeros(p, packing) : NB_OK;
}

/* The scales, or biases, of JOB's rows; those of GPTQ lie in rows of their own, [group][row]. */
static enum nb_status
load(const struct nb_packed_job *j, const struct nb_grid *g, enum nb_packed_buffer which, unsigned char **out)
{
    const struct nb_packed *p = j->packed;
    enum nb_status status = NB_OK;

    if (p->codes.unpack != NULL)
        return nb_packed_bytes(j, g->tensor, (j->matrix * p->rows + j->row) * g->columns * HALF,
                               j->rows * g->columns * HALF, which, out);
    *out = nb_packed_buffer(j, which, g->rows * j->rows * HALF);
    if (*out == NULL)
        return nb_fail_memory(j->err);
    for (uint64_t k = 0; k < g->rows && status == NB_OK; k++) {
        unsigned char *row;

        status = nb_packed_bytes(j, g->tensor, (k * g->columns + j->row) * HALF, j->rows * HALF, NB_BUFFER_RAW, &row);
        if (status == NB_OK)
            memcpy(*out + k * j->rows * HALF, row, (size_t)(j->rows * HALF));
    }
    return status;
}

/* The 16 bytes with the codes of row ROW of JOB from column COLUMN of it on, the first one in the low half of the first byte. */
static void
take_codes(const struct nb_packed_job *j, const unsigned char *codes, uint64_t begin, uint64_t row, uint64_t column,
           unsigned char out[BLOCK / 2])
{
    if (j->packed->codes.unpack != NULL) {
        memcpy(out, codes + (row * j->columns + column) / 2, BLOCK / 2);
        return;
    }
    for (uint64_t k = 0; k < BLOCK / 8; k++) /* a word has eight codes of an output */
        memcpy(out + 4 * k, codes + (((j->column + column - begin) / 8 + k) * j->rows + row) * 4, 4);
}

static enum nb_status
load_codes(const struct nb_packed_job *j, unsigned char **out, uint64_t *begin)
{
    const struct nb_packed *p = j->packed;

    *begin = 0;
    if (p->codes.unpack == NULL)
        return nb_packed_words_down(j, &p->codes, j->column, j->columns, j->row, j->rows, p->scales.columns,
                                    NB_BUFFER_CODES, out, begin);
    return nb_packed_bytes(j, p->codes.tensor, ((j->matrix * p->rows + j->row) * p->columns + j->column) / 2,
                           j->rows * j->columns / 2, NB_BUFFER_CODES, out);
}

enum nb_status
nb_packed_read_kept(const struct nb_packed_job *j, void *to)
{
    const struct nb_packed *p = j->packed;
    const bool down = p->codes.unpack == NULL;
    unsigned char *out = to, *codes, *scales, *biases = NULL, pairs[BLOCK / 2];
    uint64_t begin;
    enum nb_status status = load(j, &p->scales, NB_BUFFER_SCALES, &scales);

    if (status == NB_OK && p->kept == NB_Q4_1)
        status = load(j, &p->biases, NB_BUFFER_ZEROS, &biases);
    if (status == NB_OK)
        status = load_codes(j, &codes, &begin);
    for (uint64_t b = 0; status == NB_OK && b < j->rows * j->columns / BLOCK; b++) {
        const uint64_t row = b * BLOCK / j->columns, column = b * BLOCK % j->columns;
        const uint64_t group = (j->column + column) / p->scales.wide;
        const uint64_t at = (down ? group * j->rows + row : row * p->scales.columns + group) * HALF;

        memcpy(out, scales + at, HALF);
        out += HALF;
        if (biases != NULL) {
            memcpy(out, biases + at, HALF);
            out += HALF;
        }
        take_codes(j, codes, begin, row, column, pairs);
        nb_packed_reorder(pairs, BLOCK, out);
        out += BLOCK / 2;
    }
    return status;
}
