#include "formats/base/blas.h"
#include "quantize/search/refine.h"

/* Swaps the elements above the diagonal of A that reversing both orders, and turning, puts in each other's place. */
static void
turn_over(float *a, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t k = i; i + k < n - 1; k++) {
            float *one = &a[i * n + k], *other = &a[(n - 1 - k) * n + (n - 1 - i)];
            const float kept = *one;

            *one = *other;
            *other = kept;
        }
}

enum nb_status
nb_refine_feedback(const float *h, size_t n, float *u, bool *definite, struct nb_error *err)
{
    enum nb_status status;

    /* The factor of H in the reversed order, L L', has U's elements in reverse: that of row i, column k is at k, i. */
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n; k++)
            u[i * n + k] = h[(n - 1 - i) * n + (n - 1 - k)];
    status = nb_cholesky(u, n, definite, err);
    if (status != NB_OK || !*definite)
        return status;
    turn_over(u, n);
    for (size_t i = 0; i < n; i++)
        for (size_t k = i + 1; k < n; k++)
            u[i * n + k] = u[k * n + i] = u[i * n + k] / u[k * n + k];
    for (size_t i = 0; i < n; i++)
        u[i * n + i] = 1;
    return NB_OK;
}
