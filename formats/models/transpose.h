/* Transposes columns of a matrix in memory. */
#ifndef NB_TRANSPOSE_H
#define NB_TRANSPOSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ROWS rows of WIDTH elements of SIZE bytes (1, 2, 4 or 8). */
struct nb_matrix {
    const unsigned char *from;
    size_t size;
    uint64_t width, rows;
};

/*
 * Writes columns COLUMN to COLUMN + N of MATRIX to TO, as rows of ROWS elements that begin PITCH elements apart.
 * STREAMED: the stores may bypass the caches, which saves memory traffic if the result does not fit in them.
 */
void nb_transpose(const struct nb_matrix *matrix, uint64_t column, uint64_t n, unsigned char *to, uint64_t pitch,
                  bool streamed);

#endif
