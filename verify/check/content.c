/* Checks the contents of tensors: read once, in parallel, in pieces that fit a core's cache. */
#include "verify/check/parts.h"

#include "formats/base/pool.h"
#include "formats/elements/decode.h"

#include <inttypes.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define TASK_BYTES ((uint64_t)4 << 20)
#define PIECE_BYTES ((uint64_t)256 << 10)
#define DECODED 512u /* elements decoded at once, a multiple of every block size */

/* Elements FIRST to FIRST + COUNT of a tensor. */
struct stretch {
    const struct nb_tensor *tensor;
    uint64_t first, count;
    /* The results; FIRST_... are indices of elements in the tensor. */
    uint64_t not_finite, first_not_finite, bad_codes, first_bad_code;
    bool constant; /* all elements are VALUE */
    float value;
};

struct job {
    struct nb_checking *c;
    const struct nb_file_in *files;
    struct stretch *stretches;
    size_t count;
    unsigned char **buffers; /* one per worker */
    uint64_t total;
    _Atomic uint64_t done;
};

static uint64_t
bytes_of(const struct nb_tensor *t, uint64_t elements)
{
    const struct nb_type_info *info = nb_type_info(t->type);

    return elements / info->block * info->block_bytes;
}

/* --- one piece --------------------------------------------------------------------------------------- */

/* Counts the elements that FIND finds among N, the first of which is element FIRST of the tensor. */
static void
count_bad(const struct nb_tensor *t, const unsigned char *raw, uint64_t n, uint64_t first,
          size_t (*find)(enum nb_type, const void *, size_t), uint64_t *count, uint64_t *first_bad)
{
    const uint32_t block = nb_type_info(t->type)->block;
    uint64_t at = 0;

    while (at < n) {
        at += find(t->type, raw + bytes_of(t, at), (size_t)(n - at));
        if (at >= n)
            break;
        if ((*count)++ == 0)
            *first_bad = first + at;
        at += block;
    }
}

/* Whether N elements have one value; cheap, since most tensors have different values in their first block. */
static bool
is_constant(const struct nb_tensor *t, const unsigned char *raw, uint64_t n, bool known, float *value)
{
    const struct nb_type_info *info = nb_type_info(t->type);
    const size_t size = (size_t)bytes_of(t, n);
    float decoded[DECODED];

    /* Equal blocks have equal values, so only the first is decoded. */
    if (n > info->block && memcmp(raw, raw + info->block_bytes, size - info->block_bytes) == 0)
        n = info->block;
    for (uint64_t at = 0; at < n; at += DECODED) {
        const size_t k = (size_t)(n - at < DECODED ? n - at : DECODED);

        nb_decode(t->type, raw + bytes_of(t, at), k, decoded);
        if (!known)
            *value = decoded[0];
        known = true;
        for (size_t i = 0; i < k; i++)
            if (!(decoded[i] >= *value && decoded[i] <= *value)) /* a NaN is not constant either */
                return false;
    }
    return true;
}

static void
scan(struct stretch *s, const unsigned char *raw, uint64_t n, uint64_t first)
{
    const struct nb_tensor *t = s->tensor;

    count_bad(t, raw, n, first, nb_find_nonfinite, &s->not_finite, &s->first_not_finite);
    count_bad(t, raw, n, first, nb_find_bad_code, &s->bad_codes, &s->first_bad_code);
    if (s->constant)
        s->constant = is_constant(t, raw, n, first != s->first, &s->value);
}

static enum nb_status
scan_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    struct job *j = context;
    struct stretch *s = &j->stretches[task];
    const struct nb_type_info *info = nb_type_info(s->tensor->type);
    const uint64_t piece = PIECE_BYTES / info->block_bytes * info->block;

    s->constant = nb_can_decode(s->tensor->type);
    for (uint64_t at = 0; at < s->count; at += piece) {
        const uint64_t n = s->count - at < piece ? s->count - at : piece, first = s->first + at;
        enum nb_status status = nb_file_read(&j->files[s->tensor->file], s->tensor->offset + bytes_of(s->tensor, first),
                                             j->buffers[worker], bytes_of(s->tensor, n), err);

        if (status != NB_OK)
            return status;
        scan(s, j->buffers[worker], n, first);
    }
    atomic_fetch_add(&j->done, bytes_of(s->tensor, s->count));
    return NB_OK;
}

static void
look(void *context)
{
    struct job *j = context;

    if (j->c->options->progress != NULL)
        j->c->options->progress(j->c->options->context, atomic_load(&j->done), j->total);
}

/* --- results of a tensor ----------------------------------------------------------------------------- */

/* Adds the results of MORE, which follows S, to S. */
static void
join(struct stretch *s, const struct stretch *more)
{
    if (s->not_finite == 0)
        s->first_not_finite = more->first_not_finite;
    if (s->bad_codes == 0)
        s->first_bad_code = more->first_bad_code;
    s->not_finite += more->not_finite;
    s->bad_codes += more->bad_codes;
    s->constant = s->constant && more->constant && s->value >= more->value && s->value <= more->value;
}

static enum nb_status
report(struct job *j, const struct stretch *s)
{
    const struct nb_tensor *t = s->tensor;
    const struct nb_type_info *info = nb_type_info(t->type);
    const char *file = j->files[t->file].name;
    const uint64_t blocks = t->elements / info->block;
    enum nb_status status = NB_OK;

    if (s->not_finite > 0 && info->kind == NB_KIND_BLOCK)
        status = CHECK_FOUND(j->c, NB_BAD_DATA_SCALE,
                             nb_at_tensor(file, t->name, t->offset + bytes_of(t, s->first_not_finite)),
                             "%" PRIu64 " of %" PRIu64
                             " blocks have a scale that is NaN or infinite, the first is block %" PRIu64,
                             s->not_finite, blocks, s->first_not_finite / info->block);
    else if (s->not_finite > 0)
        status = CHECK_FOUND(j->c, NB_BAD_DATA_NOT_FINITE,
                             nb_at_tensor(file, t->name, t->offset + bytes_of(t, s->first_not_finite)),
                             "%" PRIu64 " of %" PRIu64 " elements are NaN or infinite, the first is element %" PRIu64,
                             s->not_finite, t->elements, s->first_not_finite);
    if (status == NB_OK && s->bad_codes > 0)
        status = CHECK_FOUND(j->c, NB_BAD_DATA_CODE,
                             nb_at_tensor(file, t->name, t->offset + bytes_of(t, s->first_bad_code)),
                             "%" PRIu64 " of %" PRIu64
                             " blocks have a code that %s does not have, the first is block %" PRIu64,
                             s->bad_codes, blocks, info->name, s->first_bad_code / info->block);
    if (status != NB_OK || !s->constant || t->elements < 2)
        return status;
    if (s->value >= 0 && s->value <= 0)
        return CHECK_FOUND(j->c, NB_BAD_DATA_ZERO, nb_at_tensor(file, t->name, t->offset), "all of it is zero");
    if (t->n_dims < 2)
        return NB_OK; /* common for norms of ones and for biases */
    return CHECK_FOUND(j->c, NB_BAD_DATA_CONSTANT, nb_at_tensor(file, t->name, t->offset), "all of it is %g",
                       (double)s->value);
}

static enum nb_status
report_all(struct job *j)
{
    enum nb_status status = NB_OK;

    for (size_t i = 0; i < j->count && status == NB_OK;) {
        struct stretch whole = j->stretches[i];

        for (i++; i < j->count && j->stretches[i].tensor == whole.tensor; i++)
            join(&whole, &j->stretches[i]);
        status = report(j, &whole);
    }
    return status;
}

/* --- the job ------------------------------------------------------------------------------------------ */

static uint64_t
stretch_elements(const struct nb_tensor *t)
{
    const struct nb_type_info *info = nb_type_info(t->type);

    return TASK_BYTES / info->block_bytes * info->block;
}

static bool
has_content(const struct nb_tensor *t)
{
    return t->type != NB_TYPE_NONE && t->elements > 0 && t->bytes_in_memory == NULL;
}

static enum nb_status
cut(struct job *j, const struct nb_tensor *tensors, size_t count)
{
    size_t n = 0;

    for (size_t i = 0; i < count; i++)
        if (has_content(&tensors[i]))
            n += (size_t)((tensors[i].elements - 1) / stretch_elements(&tensors[i]) + 1);
    j->stretches = calloc(n + 1, sizeof *j->stretches);
    if (j->stretches == NULL)
        return nb_fail_memory(j->c->err);
    for (size_t i = 0; i < count; i++) {
        const struct nb_tensor *t = &tensors[i];

        if (!has_content(t))
            continue;
        j->total += t->bytes;
        for (uint64_t at = 0; at < t->elements; at += stretch_elements(t)) {
            const uint64_t left = t->elements - at, each = stretch_elements(t);

            j->stretches[j->count++] = (struct stretch){ .tensor = t, .first = at, .count = left < each ? left : each };
        }
    }
    return NB_OK;
}

static enum nb_status
run(struct job *j, struct nb_pool *pool)
{
    const struct nb_pool_watch watch = { look, j, j->c->options->stop };
    const unsigned threads = nb_pool_threads(pool);
    enum nb_status status = NB_OK;

    j->buffers = calloc(threads, sizeof *j->buffers);
    for (unsigned i = 0; i < threads && status == NB_OK; i++)
        if (j->buffers == NULL || (j->buffers[i] = malloc(PIECE_BYTES)) == NULL)
            status = nb_fail_memory(j->c->err);
    if (status == NB_OK)
        status = nb_pool_run_watched(pool, scan_task, j, j->count, &watch, j->c->err);
    for (unsigned i = 0; i < threads && j->buffers != NULL; i++)
        free(j->buffers[i]);
    free(j->buffers);
    return status;
}

enum nb_status
nb_check_content(struct nb_checking *c, const struct nb_file_in *files, const struct nb_tensor *tensors, size_t count)
{
    const uint64_t before = c->findings->errors;
    struct job j = { .c = c, .files = files };
    struct nb_pool *pool = NULL;
    enum nb_status status = cut(&j, tensors, count);

    if (status == NB_OK)
        status = nb_pool_new(&pool, c->options->threads, c->err);
    if (status == NB_OK)
        status = run(&j, pool);
    c->result->bytes_read += j.done;
    if (status == NB_OK)
        status = report_all(&j);
    else if (j.count > 0)
        status = nb_check_after(c, files[j.stretches[0].tensor->file].name, before, status);
    nb_pool_free(pool);
    free(j.stretches);
    return status;
}
