/*
 * What a stopped run leaves: which step it was in, and the blocks that the matrices of this step had before it. With these
 * put back, the step is done again, to the same bytes.
 */
#include "calib/refine_run.h"
#include "formats/base/checked.h"
#include "formats/base/file_in.h"
#include "formats/base/file_out.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAGIC UINT64_C(0x32656E696665526E) /* "nRefine2" */

struct head {
    uint64_t magic, fingerprint, step, bytes;
    uint64_t matrices, refined; /* in the steps before */
};

/* The matrix number I of the current step, NULL after the last. */
static const struct nb_linear *
matrix(const struct nb_refine_run *r, size_t i)
{
    for (size_t g = 0; g < r->n_groups; i -= r->groups[g++].count)
        if (i < r->groups[g].count)
            return r->groups[g].matrix[i];
    return NULL;
}

static uint64_t
bytes_of_step(const struct nb_refine_run *r)
{
    const struct nb_linear *m;
    uint64_t bytes = 0;

    for (size_t i = 0; (m = matrix(r, i)) != NULL; i++)
        bytes += m->weight->bytes;
    return bytes;
}

static enum nb_status
copy_blocks(const struct nb_refine_run *r, const struct nb_file_out *out, struct nb_error *err)
{
    const struct nb_linear *m;
    uint64_t at = sizeof(struct head);
    enum nb_status status = NB_OK;

    for (size_t i = 0; (m = matrix(r, i)) != NULL && status == NB_OK; i++) {
        status = nb_out_copy(out, at, &r->source.files[0], nb_view_offset(m->weight), m->weight->bytes, err);
        at += m->weight->bytes;
    }
    return status;
}

enum nb_status
nb_refine_state_write(const struct nb_refine_run *r, struct nb_error *err)
{
    const struct head head = {
        MAGIC, r->fingerprint, r->step, bytes_of_step(r), r->summary->matrices, r->summary->refined
    };
    struct nb_file_out out;
    enum nb_status status;

    if (r->options->state == NULL)
        return NB_OK;
    if (fsync(r->file.fd) != 0)
        return nb_fail(err, NB_SYSTEM, "%s: writing failed", r->source.path);
    status = nb_out_create_own(&out, r->options->state, sizeof head + head.bytes, err);
    if (status != NB_OK)
        return status;
    status = nb_out_write(&out, 0, &head, sizeof head, err);
    if (status == NB_OK)
        status = copy_blocks(r, &out, err);
    if (status == NB_OK)
        return nb_out_commit(&out, true, err);
    nb_out_abort(&out, err);
    return status;
}

/* Puts the blocks of the state's step back. */
static enum nb_status
restore_blocks(const struct nb_refine_run *r, const struct nb_file_in *file, struct nb_error *err)
{
    const struct nb_linear *m;
    uint64_t at = sizeof(struct head);
    enum nb_status status = NB_OK;

    for (size_t i = 0; (m = matrix(r, i)) != NULL && status == NB_OK; i++) {
        void *bytes = nb_malloc(m->weight->bytes);

        status = bytes == NULL ? nb_fail_memory(err) : nb_file_read(file, at, bytes, m->weight->bytes, err);
        if (status == NB_OK)
            status = nb_out_write(&r->file, nb_view_offset(m->weight), bytes, m->weight->bytes, err);
        at += m->weight->bytes;
        free(bytes);
    }
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
    return NB_OK;
}

enum nb_status
nb_refine_state_restore(const struct nb_refine_run *r, struct nb_error *err)
{
    struct nb_file_in file;
    enum nb_status status = nb_file_open(&file, r->options->state, err);

    if (status != NB_OK)
        return status;
    if (file.size != sizeof(struct head) + bytes_of_step(r))
        status = nb_fail(err, NB_INPUT, "%s: is not the state of this run; remove it to begin anew", r->options->state);
    else
        status = restore_blocks(r, &file, err);
    nb_file_close(&file);
    return status;
}
