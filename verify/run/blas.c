#include "verify/run/blas.h"

#include <cblas.h>
#include <string.h>

#ifdef NB_BLAS_LIBRARY
#include <dlfcn.h>
#include <pthread.h>

/* The types of cblas_sgemm and openblas_set_num_threads. */
typedef void sgemm_function(enum CBLAS_ORDER order, enum CBLAS_TRANSPOSE of_a, enum CBLAS_TRANSPOSE of_b, int m, int n,
                            int k, float alpha, const float *a, int a_row, const float *b, int b_row, float beta,
                            float *c, int c_row);
typedef void set_threads_function(int threads);

static sgemm_function *sgemm;
static struct nb_error failure;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* POSIX guarantees that a function's address fits into a void pointer; C has no conversion. */
static void
find_function(void *library, const char *name, void *function)
{
    void *address = dlsym(library, name);

    memcpy(function, &address, sizeof address);
}

static void
load(void)
{
    void *library = dlopen(NB_BLAS_LIBRARY, RTLD_NOW | RTLD_LOCAL);
    set_threads_function *set_threads = NULL;

    if (library != NULL)
        find_function(library, "cblas_sgemm", &sgemm);
    if (sgemm == NULL) {
        nb_fail(&failure, NB_SYSTEM, "models cannot be run without the library %s: %s", NB_BLAS_LIBRARY, dlerror());
        return;
    }
    /* OpenBLAS's own threads would compete with ours; other libraries lack this function. */
    find_function(library, "openblas_set_num_threads", &set_threads);
    if (set_threads != NULL)
        set_threads(1);
}

enum nb_status
nb_blas_load(struct nb_error *err)
{
    pthread_once(&once, load);
    return sgemm != NULL ? NB_OK : nb_fail(err, NB_SYSTEM, "%s", failure.message);
}
#else
#define sgemm cblas_sgemm

/* Linked with the program. Other libraries than OpenBLAS lack this function. */
extern void openblas_set_num_threads(int threads) __attribute__((weak));

enum nb_status
nb_blas_load(struct nb_error *err)
{
    (void)err;
    if (openblas_set_num_threads != NULL)
        openblas_set_num_threads(1);
    return NB_OK;
}
#endif

void
nb_sgemm(const struct nb_sgemm *p)
{
    sgemm(CblasRowMajor, CblasNoTrans, p->transpose ? CblasTrans : CblasNoTrans, (int)p->m, (int)p->n, (int)p->k,
          p->alpha, p->a, (int)p->a_row, p->b, (int)p->b_row, p->beta, p->c, (int)p->c_row);
}
