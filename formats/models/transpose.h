/* Columns of a matrix in memory, as rows. */
#ifndef NB_TRANSPOSE_H
#define NB_TRANSPOSE_H

#include <stddef.h>
#include <stdint.h>

/* ROWS rows of WIDTH elements of SIZE bytes (1, 2, 4 or 8). */
struct nb_matrix {
    const unsigned char *from;
    size_t size;
    uint64_t width, rows;
};

/* Columns COLUMN to COLUMN + N of MATRIX: each becomes a row of ROWS elements at TO, PITCH elements apart. */
void nb_transpose(const struct nb_matrix *matrix, uint64_t column, uint64_t n, unsigned char *to, uint64_t pitch);

#endif
