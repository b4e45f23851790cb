/*
 * The target of a matrix W whose inputs are x in the quantized model and were o in the original one: T x should be
 * W o + e, where e is what else the product should add (the error of earlier layers in the residual stream). By least
 * squares T = (sum (W o + e) x' + damping * W) (sum x x' + damping)^-1; see Arai and Ichikawa 2025 ("QEP") and
 * Li et al. 2025 ("GPTAQ"). It is split in two parts, for o and for e, each of which is followed as far as it lowers the
 * error on held-out tokens.
 */
#include "calib/refine_matrix.h"

#include "formats/base/blas.h"
#include "formats/base/checked.h"
#include "quantize/search/parts_rows.h"
#include "quantize/search/refine.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TARGET_DAMPING 0.02f /* relative to each column's own diagonal */
#define CODE_DAMPING 0.02f
#define SWEEPS 20u

/* --- inputs --------------------------------------------------------------------------------------------------- */

/* False if a sum is NaN or infinite. */
static bool
scale_and_damp(const struct nb_moments *m, struct nb_refine_inputs *in)
{
    const size_t n = m->columns;
    float largest = 0;

    for (size_t i = 0; i < n; i++) {
        const float square = m->h[i * n + i];

        in->scale[i] = square > 0 ? 1 / sqrtf(square) : 0;
        largest = square > largest ? square : largest;
        if (!isfinite(square))
            return false;
    }
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n; k++)
            in->factor[i * n + k] = m->h[i * n + k] * in->scale[i] * in->scale[k];
    memcpy(in->damped, m->h, n * n * sizeof *m->h);
    for (size_t i = 0; i < n; i++) {
        in->factor[i * n + i] = 1 + TARGET_DAMPING;
        in->damped[i * n + i] *= 1 + CODE_DAMPING;
        if (in->scale[i] == 0) /* any positive number: nothing else depends on this column */
            in->damped[i * n + i] = largest > 0 ? largest : 1;
    }
    return true;
}

static enum nb_status
factor(struct nb_refine_inputs *in, struct nb_error *err)
{
    const size_t n = in->fit->columns;
    bool definite = false, is_fed = in->feedback == NULL;
    enum nb_status status = scale_and_damp(in->fit, in) ? nb_cholesky(in->factor, n, &definite, err) : NB_OK;

    if (status == NB_OK && definite && in->feedback != NULL)
        status = nb_refine_feedback(in->damped, n, in->feedback, &is_fed, err);
    if (status == NB_OK && !(definite && is_fed))
        status = nb_fail(err, NB_INPUT, "the inputs of a matrix are NaN or infinite");
    return status;
}

enum nb_status
nb_refine_prepare(struct nb_refine_inputs *in, const struct nb_moments *fit, const struct nb_moments *held, bool feeds,
                  struct nb_error *err)
{
    const size_t n = fit->columns, bytes = n * n * sizeof(float);
    enum nb_status status = NB_OK;

    *in = (struct nb_refine_inputs){ .fit = fit,
                                     .held = held,
                                     .factor = nb_aligned(bytes),
                                     .damped = nb_aligned(bytes),
                                     .feedback = feeds ? nb_aligned(bytes) : NULL,
                                     .scale = nb_aligned(n * sizeof(float)) };
    if (in->factor == NULL || in->damped == NULL || (feeds && in->feedback == NULL) || in->scale == NULL)
        status = nb_fail_memory(err);
    if (status == NB_OK)
        status = factor(in, err);
    if (status != NB_OK)
        nb_refine_inputs_free(in);
    return status;
}

void
nb_refine_inputs_free(struct nb_refine_inputs *in)
{
    free(in->factor);
    free(in->damped);
    free(in->feedback);
    free(in->scale);
    *in = (struct nb_refine_inputs){ 0 };
}

/* --- rows ----------------------------------------------------------------------------------------------------- */

/* Sums over the elements of some rows. */
struct sums {
    double a_g, r_g, a_ha, a_hr, r_hr; /* of the parts of the target, with the gradient and with each other by held H */
    double before, after;
};

struct job {
    const struct nb_refine_inputs *in;
    const struct nb_refine_matrix *matrix;
    float *shift, *repair; /* the parts of the target, rows x columns; REPAIR may be NULL */
    float *wanted;         /* held: sum of what the product should be times x', rows x columns */
    unsigned char *blocks; /* refined */
    float **room;          /* of each worker */
    void **memory;
    struct sums *sums; /* of each task */
    double alpha, gamma;
};

#define ROWS_IN_TASK NB_REFINE_ROWS

/* OUT (rows x n) = A (rows x n) * B (n x n) */
static void
times(const float *a, const float *b, size_t rows, size_t n, float *out)
{
    nb_sgemm(&(struct nb_sgemm){
        .m = rows, .n = n, .k = n, .alpha = 1, .a = a, .b = b, .c = out, .a_row = n, .b_row = n, .c_row = n });
}

static double
dot(const float *a, const float *b, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

/* Solves for the rows of X (rows x n) by the factor of the fit, in place. */
static void
solve(const struct nb_refine_inputs *in, float *x, size_t rows)
{
    const size_t n = in->fit->columns;

    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < n; i++)
            x[r * n + i] *= in->scale[i];
    nb_cholesky_solve(in->factor, n, x, rows);
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < n; i++)
            x[r * n + i] *= in->scale[i];
}

/*
 * The parts of the target of some rows: shift = T - W for e = 0, which solves for W (sum o x' - sum x x'), and repair
 * for o = x, W = 0.
 */
static void
make_parts(const struct job *j, size_t first, size_t rows, float *room)
{
    const struct nb_moments *fit = j->in->fit;
    const size_t n = fit->columns, count = rows * n;
    const float *w = j->matrix->weights + first * n;
    float *shift = j->shift + first * n;

    if (fit->c != NULL) {
        times(w, fit->c, rows, n, shift);
        times(w, fit->h, rows, n, room);
        for (size_t i = 0; i < count; i++)
            shift[i] -= room[i];
        solve(j->in, shift, rows);
    }
    if (fit->r != NULL) {
        memcpy(j->repair + first * n, fit->r + first * n, count * sizeof(float));
        solve(j->in, j->repair + first * n, rows);
    }
}

/* What tells how far to follow the parts: the sums for some rows. */
static void
judge_parts(const struct job *j, size_t first, size_t rows, float *room, struct sums *sums)
{
    const struct nb_moments *held = j->in->held;
    const size_t n = held->columns, count = rows * n;
    const float *w = j->matrix->weights + first * n, *shift = j->shift + first * n;
    float *wanted = j->wanted + first * n, *gradient = room + count;

    times(w, held->h, rows, n, room);
    if (held->c != NULL)
        times(w, held->c, rows, n, wanted);
    else
        memcpy(wanted, room, count * sizeof *wanted);
    for (size_t i = 0; held->r != NULL && i < count; i++)
        wanted[i] += held->r[first * n + i];
    for (size_t i = 0; i < count; i++)
        gradient[i] = wanted[i] - room[i];
    sums->a_g = dot(shift, gradient, count);
    times(shift, held->h, rows, n, room);
    sums->a_ha = dot(shift, room, count);
    if (j->repair == NULL)
        return;
    sums->r_g = dot(j->repair + first * n, gradient, count);
    sums->a_hr = dot(j->repair + first * n, room, count);
    times(j->repair + first * n, held->h, rows, n, room);
    sums->r_hr = dot(j->repair + first * n, room, count);
}

static size_t
task_rows(const struct job *j, size_t task, size_t *first)
{
    *first = task * ROWS_IN_TASK;
    return j->matrix->rows - *first < ROWS_IN_TASK ? j->matrix->rows - *first : ROWS_IN_TASK;
}

static enum nb_status
aim_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct job *j = context;
    size_t first, rows = task_rows(j, task, &first);

    (void)err;
    make_parts(j, first, rows, j->room[worker]);
    judge_parts(j, first, rows, j->room[worker], &j->sums[task]);
    return NB_OK;
}

/* The held-out error of BLOCKS, less that of the best weights: w H w' - 2 w wanted'. ROOM: 2 x rows x n. */
static double
held_error(const struct job *j, size_t first, size_t rows, const void *blocks, float *room)
{
    const size_t n = j->matrix->columns, count = rows * n;
    float *w = room + count;

    nb_rows_decode(j->matrix->encoding, blocks, rows, n, w);
    times(w, j->in->held->h, rows, n, room);
    return dot(w, room, count) - 2 * dot(w, j->wanted + first * n, count);
}

static enum nb_status
refine_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct job *j = context;
    const struct nb_refine refine = { j->matrix->encoding, j->matrix->columns, j->in->damped, j->in->feedback, SWEEPS };
    size_t first, rows = task_rows(j, task, &first);
    const size_t n = j->matrix->columns, row_bytes = nb_rows_bytes(j->matrix->encoding, n);
    const unsigned char *given = (const unsigned char *)j->matrix->blocks + first * row_bytes;
    unsigned char *refined = j->blocks + first * row_bytes;
    float *target = j->shift + first * n; /* no longer needed as such */

    (void)err;
    for (size_t i = 0; i < rows * n; i++) {
        const double repair = j->repair == NULL ? 0 : j->gamma * (double)j->repair[first * n + i];

        target[i] = (float)((double)j->matrix->weights[first * n + i] + j->alpha * (double)target[i] + repair);
    }
    memcpy(refined, given, rows * row_bytes);
    nb_refine_rows(&refine, target, rows, refined, j->memory[worker]);
    j->sums[task].before = held_error(j, first, rows, given, j->room[worker]);
    j->sums[task].after = held_error(j, first, rows, refined, j->room[worker]);
    return NB_OK;
}

/* --- one matrix ----------------------------------------------------------------------------------------------- */

static struct sums
add_sums(const struct job *j, size_t tasks)
{
    struct sums all = { 0 };

    for (size_t i = 0; i < tasks; i++) {
        const struct sums *s = &j->sums[i];

        all.a_g += s->a_g;
        all.r_g += s->r_g;
        all.a_ha += s->a_ha;
        all.a_hr += s->a_hr;
        all.r_hr += s->r_hr;
        all.before += s->before;
        all.after += s->after;
    }
    return all;
}

static double
share(double x)
{
    return x > 1 ? 1 : x > 0 ? x : 0; /* not NaN either */
}

/* The shares of both parts that give the least error on held-out tokens. */
static void
choose_shares(struct job *j, const struct sums *s)
{
    const double det = s->a_ha * s->r_hr - s->a_hr * s->a_hr;

    j->alpha = share(s->a_g / s->a_ha);
    j->gamma = share(s->r_g / s->r_hr);
    if (s->a_ha <= 0 || s->r_hr <= 0 || det <= 1e-9 * s->a_ha * s->r_hr)
        return;
    j->gamma = share((s->r_g * s->a_ha - s->a_g * s->a_hr) / det);
    j->alpha = share((s->a_g - j->gamma * s->a_hr) / s->a_ha);
}

static void
free_job(struct job *j, unsigned threads)
{
    for (unsigned i = 0; i < threads; i++) {
        if (j->room != NULL)
            free(j->room[i]);
        if (j->memory != NULL)
            free(j->memory[i]);
    }
    free(j->room);
    free(j->memory);
    free(j->shift);
    free(j->repair);
    free(j->wanted);
    free(j->blocks);
    free(j->sums);
}

static bool
allocate(struct job *j, unsigned threads, size_t tasks)
{
    const struct nb_refine_matrix *m = j->matrix;
    const uint64_t floats = (uint64_t)m->rows * m->columns * sizeof(float);
    bool good;

    j->shift = nb_calloc(floats, 1);
    j->wanted = nb_calloc(floats, 1);
    j->repair = j->in->fit->r == NULL ? NULL : nb_calloc(floats, 1);
    j->blocks = nb_malloc((uint64_t)m->rows * nb_rows_bytes(m->encoding, m->columns));
    j->sums = calloc(tasks, sizeof *j->sums);
    j->room = calloc(threads, sizeof *j->room);
    j->memory = calloc(threads, sizeof *j->memory);
    good = j->shift != NULL && j->wanted != NULL && (j->repair != NULL || j->in->fit->r == NULL) && j->blocks != NULL &&
           j->sums != NULL && j->room != NULL && j->memory != NULL;
    for (unsigned i = 0; i < threads && good; i++) {
        j->room[i] = nb_aligned((size_t)2 * ROWS_IN_TASK * m->columns * sizeof(float));
        j->memory[i] = nb_aligned(nb_refine_memory(m->columns));
        good = j->room[i] != NULL && j->memory[i] != NULL;
    }
    return good;
}

enum nb_status
nb_refine_matrix(const struct nb_refine_inputs *in, const struct nb_refine_matrix *m, struct nb_pool *pool,
                 struct nb_refine_result *result, struct nb_error *err)
{
    const size_t tasks = (m->rows + ROWS_IN_TASK - 1) / ROWS_IN_TASK;
    struct job j = { .in = in, .matrix = m };
    struct sums sums;
    enum nb_status status = allocate(&j, nb_pool_threads(pool), tasks) ? NB_OK : nb_fail_memory(err);

    *result = (struct nb_refine_result){ 0 };
    if (status == NB_OK)
        status = nb_pool_run(pool, aim_task, &j, tasks, err);
    if (status == NB_OK) {
        sums = add_sums(&j, tasks);
        choose_shares(&j, &sums);
        status = nb_pool_run(pool, refine_task, &j, tasks, err);
    }
    if (status == NB_OK) {
        sums = add_sums(&j, tasks);
        *result = (struct nb_refine_result){ sums.before, sums.after, j.alpha, j.gamma, sums.after < sums.before };
        if (result->taken)
            memcpy(m->blocks, j.blocks, m->rows * nb_rows_bytes(m->encoding, m->columns));
    }
    free_job(&j, nb_pool_threads(pool));
    return status;
}
