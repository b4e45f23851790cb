/*
 * Matrix products by a CBLAS library. It is loaded when the first model is run, and not with the
 * program: OpenBLAS starts threads and takes memory as soon as it is loaded, which commands that run
 * no model have no use for.
 */
#ifndef NB_BLAS_H
#define NB_BLAS_H

#include "formats/base/status.h"

#include <stdbool.h>
#include <stddef.h>

/*
 * Loads the library, once in a process, for products in THREADS threads at once. Fails if it is not installed, or if
 * the memory that it needs cannot be had. Any thread may call it.
 */
enum nb_status nb_blas_load(unsigned threads, struct nb_error *err) NB_MUST_CHECK;

/*
 * C = ALPHA * A * B + BETA * C, row-major: A is M x K, B is K x N, C is M x N; with TRANSPOSE, B is
 * given as N x K. A_ROW, B_ROW, C_ROW: elements from one stored row to the next. After nb_blas_load.
 */
struct nb_sgemm {
    bool transpose;
    size_t m, n, k;
    float alpha, beta;
    const float *a, *b;
    float *c;
    size_t a_row, b_row, c_row;
};
void nb_sgemm(const struct nb_sgemm *product);

#endif
