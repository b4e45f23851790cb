#include "verify/run/attention.h"

#include "verify/run/vector_math.h"

#include <cblas.h>
#include <math.h>
#include <string.h>

void
nb_attend(const struct nb_model *m, const float *q, const float *k, const float *v, size_t tokens, size_t head,
          float *scores, float *out)
{
    const size_t d = m->head_dim, q_row = m->heads * d, kv_row = m->kv_heads * d;
    const size_t kv_head = head / (m->heads / m->kv_heads);
    const float scale = 1.0f / sqrtf((float)d);
    const struct nb_vector_math *math = nb_vector_math();

    q += head * d;
    out += head * d;
    k += kv_head * d;
    v += kv_head * d;
    for (size_t first = 0; first < tokens; first += NB_ATTENTION_ROWS) {
        const size_t rows = tokens - first < NB_ATTENTION_ROWS ? tokens - first : NB_ATTENTION_ROWS;
        const size_t seen = first + rows; /* keys that any of these queries may see */

        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)rows, (int)seen, (int)d, scale, q + first * q_row,
                    (int)q_row, k, (int)kv_row, 0.0f, scores, (int)seen);
        for (size_t i = 0; i < rows; i++) {
            float *row = scores + i * seen;
            const size_t own = first + i + 1;

            math->softmax(row, own);
            memset(row + own, 0, (seen - own) * sizeof *row);
        }
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)rows, (int)d, (int)seen, 1.0f, scores, (int)seen,
                    v, (int)kv_row, 0.0f, out + first * q_row, (int)q_row);
    }
}
