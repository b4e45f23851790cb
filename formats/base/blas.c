#include "formats/base/blas.h"

#include "formats/base/checked.h"

#include <cblas.h>
#include <string.h>

#ifdef NB_BLAS_LIBRARY
#include <dlfcn.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>

/*
 * OpenBLAS tries for ever to get memory that it does not get: when it is loaded, and in the first product of each
 * thread. Where memory is limited, both are therefore made sure of before: what the first products need is held back
 * from everything else until then. Measured with OpenBLAS 0.3.21; other libraries need less.
 */
#define TO_LOAD ((size_t)96 << 20)
#define TO_MULTIPLY ((size_t)192 << 20) /* in each thread, of which the C library takes 128 for a heap of its own */
static void *reserve;

/* The types of cblas_sgemm and openblas_set_num_threads. */
typedef void sgemm_function(enum CBLAS_ORDER order, enum CBLAS_TRANSPOSE of_a, enum CBLAS_TRANSPOSE of_b, int m, int n,
                            int k, float alpha, const float *a, int a_row, const float *b, int b_row, float beta,
                            float *c, int c_row);
typedef void set_threads_function(int threads);
/* Those of LAPACK's spotrf and spotrs, with the length of the text as Fortran's compilers pass it. */
typedef void potrf_function(const char *triangle, const int *n, float *a, const int *row, int *info, size_t length);
typedef void potrs_function(const char *triangle, const int *n, const int *columns, const float *a, const int *row,
                            float *b, const int *b_row, int *info, size_t length);

static sgemm_function *sgemm;
static potrf_function *potrf;
static potrs_function *potrs;
static struct nb_error failure;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* POSIX guarantees that a function's address fits into a void pointer; C has no conversion. */
static void
find_function(void *library, const char *name, void *function)
{
    void *address = dlsym(library, name);

    memcpy(function, &address, sizeof address);
}

/* The limit of the address space in bytes; 0: none. */
static uint64_t
address_limit(void)
{
    struct rlimit limit;

    return getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY ? (uint64_t)limit.rlim_cur : 0;
}

static unsigned users; /* threads that will multiply */

static uint64_t
needed(unsigned threads)
{
    return (uint64_t)threads * TO_MULTIPLY + TO_LOAD;
}

/* Makes sure of the memory that USERS need, and before the library is loaded of what that takes. */
static bool
reserve_memory(bool is_loaded)
{
    const uint64_t limit = address_limit();

    if (limit == 0)
        return true;
    reserve = nb_malloc(needed(users) - (is_loaded ? TO_LOAD : 0));
    if (reserve == NULL)
        nb_fail(&failure, NB_NO_MEMORY,
                "a limit of the address space (ulimit -v) of %" PRIu64
                " MiB is too low to run a model: matrix products "
                "with %u thread%s take %" PRIu64 " MiB beside what is in use%s",
                limit >> 20, users, users == 1 ? "" : "s", needed(users) >> 20, users == 1 ? "" : "; -j 1 needs least");
    return reserve != NULL;
}

static void
release_memory(void)
{
    free(reserve);
    reserve = NULL;
}

static void
load(void)
{
    set_threads_function *set_threads = NULL;
    void *library;

    if (!reserve_memory(false))
        return;
    release_memory();
    library = dlopen(NB_BLAS_LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (library != NULL)
        find_function(library, "cblas_sgemm", &sgemm);
    if (sgemm == NULL) {
        nb_fail(&failure, NB_SYSTEM, "models cannot be run without the library %s: %s", NB_BLAS_LIBRARY, dlerror());
        return;
    }
    find_function(library, "spotrf_", &potrf);
    find_function(library, "spotrs_", &potrs);
    /* OpenBLAS's own threads would compete with ours; other libraries lack this function. */
    find_function(library, "openblas_set_num_threads", &set_threads);
    if (set_threads != NULL)
        set_threads(1);
    if (!reserve_memory(true))
        sgemm = NULL;
}

enum nb_status
nb_blas_load(unsigned threads, struct nb_error *err)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

    pthread_mutex_lock(&lock);
    users = threads > users ? threads : users;
    pthread_once(&once, load);
    pthread_mutex_unlock(&lock);
    return sgemm != NULL ? NB_OK : nb_fail(err, failure.status, "%s", failure.message);
}
#else
#define sgemm cblas_sgemm
#define potrf spotrf_
#define potrs spotrs_

/* Linked with the program. Other libraries than OpenBLAS lack the first function, and may lack the others. */
extern void openblas_set_num_threads(int threads) __attribute__((weak));
extern void spotrf_(const char *triangle, const int *n, float *a, const int *row, int *info, size_t length)
    __attribute__((weak));
extern void spotrs_(const char *triangle, const int *n, const int *columns, const float *a, const int *row, float *b,
                    const int *b_row, int *info, size_t length) __attribute__((weak));

enum nb_status
nb_blas_load(unsigned threads, struct nb_error *err)
{
    (void)threads;
    (void)err;
    if (openblas_set_num_threads != NULL)
        openblas_set_num_threads(1);
    return NB_OK;
}
#endif

void
nb_sgemm(const struct nb_sgemm *p)
{
#ifdef NB_BLAS_LIBRARY
    static pthread_once_t first = PTHREAD_ONCE_INIT;

    pthread_once(&first, release_memory);
#endif
    sgemm(CblasRowMajor, p->transpose_a ? CblasTrans : CblasNoTrans, p->transpose ? CblasTrans : CblasNoTrans,
          (int)p->m, (int)p->n, (int)p->k, p->alpha, p->a, (int)p->a_row, p->b, (int)p->b_row, p->beta, p->c,
          (int)p->c_row);
}

/*
 * Row-major symmetric matrices are column-major ones; the rows of X are the columns of LAPACK's right-hand side.
 */
enum nb_status
nb_cholesky(float *a, size_t n, bool *definite, struct nb_error *err)
{
    const int size = (int)n;
    int info = 0;

    *definite = false;
    if (potrf == NULL || potrs == NULL)
        return nb_fail(err, NB_SYSTEM, "the CBLAS library has no LAPACK, which factors matrices");
    potrf("L", &size, a, &size, &info, 1);
    *definite = info == 0;
    return NB_OK;
}

void
nb_cholesky_solve(const float *factor, size_t n, float *x, size_t rows)
{
    const int size = (int)n, count = (int)rows;
    int info = 0;

    potrs("L", &size, &count, factor, &size, x, &size, &info, 1);
}
