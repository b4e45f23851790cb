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
 * given as N x K, and with TRANSPOSE_A, A as K x M. A_ROW, B_ROW, C_ROW: elements from one stored row to the next.
 * After nb_blas_load.
 */
struct nb_sgemm {
    bool transpose, transpose_a;
    size_t m, n, k;
    float alpha, beta;
    const float *a, *b;
    float *c;
    size_t a_row, b_row, c_row;
};
void nb_sgemm(const struct nb_sgemm *product);

/*
 * Factors the symmetric positive definite matrix A of N x N elements, in place, for nb_cholesky_solve. False if it is
 * not positive definite. NB_SYSTEM if the library has no LAPACK. After nb_blas_load.
 */
enum nb_status nb_cholesky(float *a, size_t n, bool *definite, struct nb_error *err) NB_MUST_CHECK;
/* Replaces each of ROWS rows x of X (N elements) by the solution y of y * A = x. FACTOR is A after nb_cholesky. */
void nb_cholesky_solve(const float *factor, size_t n, float *x, size_t rows);

#endif
