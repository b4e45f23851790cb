/*
 * What a stopped run leaves: which step it was in, and the blocks that the matrices of this step had before it. With these
 * put back, the step is done again, to the same bytes.
 */
#include "calib/refine_run.h"
#include "formats/base/checked.h"
#include "formats/base/file_in.h"
#include "formats/base/file_out.h"
#include "quantize/search/parts_rows.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAGIC UINT64_C(0x33656E696665526E) /* "nRefine3" */
#define AT_ONCE ((size_t)4 << 20)          /* bytes */

struct head {
    uint64_t magic, fingerprint, step, bytes;
    uint64_t matrices, refined; /* in the steps before */
    double kld_before;
};

/* The file of the state: OUT while it is written, else IN. */
struct state_file {
    const struct nb_file_out *out;
    const struct nb_file_in *in;
};

/* The matrix number I of the current step, and the bytes of its rows; NULL after the last. */
static const struct nb_linear *
matrix(const struct nb_refine_run *r, size_t i, size_t *row_bytes)
{
    for (const struct nb_refine_group *g = r->groups; g < r->groups + r->n_groups; i -= g++->count)
        if (i < g->count) {
            *row_bytes = nb_rows_bytes(&g->encoding[i], g->matrix[i]->columns);
            return g->matrix[i];
        }
    return NULL;
}

static uint64_t
rows_of(const struct nb_linear *m)
{
    return (uint64_t)m->rows * m->experts;
}

static uint64_t
bytes_of_step(const struct nb_refine_run *r)
{
    const struct nb_linear *m;
    uint64_t bytes = 0;
    size_t each;

    for (size_t i = 0; (m = matrix(r, i, &each)) != NULL; i++)
        bytes += rows_of(m) * each;
    return bytes;
}

/* Copies the rows of M, of EACH bytes, to the state or from it, where they begin at AT. */
static enum nb_status
copy_matrix(struct nb_refine_run *r, const struct state_file *f, const struct nb_linear *m, size_t each, uint64_t at,
            struct nb_error *err)
{
    const size_t most = AT_ONCE / each + 1;
    void *rows = nb_malloc((uint64_t)most * each);
    enum nb_status status = rows == NULL ? nb_fail_memory(err) : NB_OK;

    for (uint64_t first = 0; first < rows_of(m) && status == NB_OK; first += most) {
        const uint64_t left = rows_of(m) - first, place = at + first * each;
        const size_t n = left < most ? (size_t)left : most;

        status = f->out != NULL ? nb_refine_read(r, m, first, n, rows, err)
                                : nb_file_read(f->in, place, rows, n * each, err);
        if (status == NB_OK)
            status = f->out != NULL ? nb_out_write(f->out, place, rows, n * each, err)
                                    : nb_refine_write(r, m, first, n, rows, err);
    }
    free(rows);
    return status;
}

static enum nb_status
copy_step(struct nb_refine_run *r, const struct state_file *f, struct nb_error *err)
{
    enum nb_status status = NB_OK;
    const struct nb_linear *m;
    uint64_t at = sizeof(struct head);
    size_t each;

    for (size_t i = 0; (m = matrix(r, i, &each)) != NULL && status == NB_OK; i++) {
        status = copy_matrix(r, f, m, each, at, err);
        at += rows_of(m) * each;
    }
    return status;
}

enum nb_status
nb_refine_state_write(struct nb_refine_run *r, struct nb_error *err)
{
    const struct head head = { .magic = MAGIC,
                               .fingerprint = r->fingerprint,
                               .step = r->step,
                               .bytes = bytes_of_step(r),
                               .matrices = r->summary->matrices,
                               .refined = r->summary->refined,
                               .kld_before = r->summary->kld_before };
    struct nb_file_out out;
    enum nb_status status;

    if (r->options->state == NULL)
        return NB_OK;
    for (uint32_t i = 0; i < r->source.store.n_files; i++)
        if (fsync(r->files[i].fd) != 0)
            return nb_fail(err, NB_SYSTEM, "%s: writing failed", r->files[i].name);
    status = nb_out_create_own(&out, r->options->state, sizeof head + head.bytes, err);
    if (status != NB_OK)
        return status;
    status = nb_out_write(&out, 0, &head, sizeof head, err);
    if (status == NB_OK)
        status = copy_step(r, &(struct state_file){ .out = &out }, err);
    if (status == NB_OK)
        return nb_out_commit(&out, true, err);
    nb_out_abort(&out, err);
    return status;
}

enum nb_status
nb_refine_state_read(struct nb_refine_run *r, struct nb_error *err)
{
    struct nb_file_in file;
    struct head head;
    enum nb_status status;

    r->resumed = SIZE_MAX;
    if (r->options->state == NULL || !nb_is_file(r->options->state))
        return NB_OK;
    status = nb_file_open(&file, r->options->state, err);
    if (status != NB_OK)
        return status;
    status = nb_file_read(&file, 0, &head, sizeof head, err);
    nb_file_close(&file);
    if (status != NB_OK)
        return status;
    if (head.magic != MAGIC || head.fingerprint != r->fingerprint || head.step > r->quantized.n_blocks)
        return nb_fail(err, NB_INPUT, "%s: is not the state of this run; remove it to begin anew", r->options->state);
    r->resumed = (size_t)head.step;
    r->summary->matrices = (size_t)head.matrices;
    r->summary->refined = (size_t)head.refined;
    r->summary->kld_before = head.kld_before;
    return NB_OK;
}

enum nb_status
nb_refine_state_restore(struct nb_refine_run *r, struct nb_error *err)
{
    struct nb_file_in file;
    enum nb_status status = nb_file_open(&file, r->options->state, err);

    if (status != NB_OK)
        return status;
    if (file.size != sizeof(struct head) + bytes_of_step(r))
        status = nb_fail(err, NB_INPUT, "%s: is not the state of this run; remove it to begin anew", r->options->state);
    else
        status = copy_step(r, &(struct state_file){ .in = &file }, err);
    nb_file_close(&file);
    return status;
}
