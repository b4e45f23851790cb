/*
 * Rows of a quantized matrix, to be taken apart: blocks of a type of GGUF, or groups of a format of MLX, whose codes,
 * scales and biases (of the affine ones) are arrays of their own. In memory a row has its planes one after the other, and the next row follows.
 */
#ifndef NB_PARTS_ROWS_H
#define NB_PARTS_ROWS_H

#include "quantize/search/encode.h"
#include "quantize/search/parts.h"

#include <stdbool.h>
#include <stddef.h>

/* What the blocks of ENCODING consist of; false for encodings that do not consist of such parts. */
bool nb_rows_parts(const struct nb_encoding *encoding, struct nb_parts_type *parts);
/* The bytes of a row of COLUMNS elements, a multiple of the block. */
size_t nb_rows_bytes(const struct nb_encoding *encoding, size_t columns);
/* Takes block number BLOCK of ROW, which has COLUMNS elements, apart, and puts it together again. */
void nb_rows_unpack(const struct nb_encoding *encoding, const void *row, size_t columns, size_t block,
                    struct nb_parts *parts);
void nb_rows_pack(const struct nb_encoding *encoding, const struct nb_parts *parts, void *row, size_t columns,
                  size_t block);
/* ROWS rows as floats. */
void nb_rows_decode(const struct nb_encoding *encoding, const void *rows, size_t count, size_t columns, float *out);

#endif
