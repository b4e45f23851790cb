#include "formats/gguf/assemble.h"

#include "formats/base/checked.h"
#include "formats/base/file_out.h"

#include <inttypes.h>
#include <stdlib.h>

static enum nb_status
place(const struct nb_assembly *a, struct nb_layout *l, struct nb_error *err)
{
    const uint32_t alignment = nb_gguf_alignment(a->meta);
    uint64_t at = 0, end;

    if (alignment == 0)
        return nb_fail(err, NB_INPUT, "general.alignment is not a u32 power of two");
    l->infos = calloc(a->count + 1, sizeof *l->infos);
    if (l->infos == NULL)
        return nb_fail_memory(err);
    for (size_t i = 0; i < a->count; i++) {
        const struct nb_tensor *t = a->tensors[i];

        l->infos[i] = (struct nb_gguf_info){ t->name, t->type, t->n_dims, t->ne, at };
        if (!nb_add_u64(at, t->bytes, &end) || !nb_align_u64(end, alignment, &at) || at > INT64_MAX / 2)
            return nb_fail(err, NB_INPUT, "tensor '%s' makes the file too large to exist", t->name);
    }
    l->size = at;
    return NB_OK;
}

void
nb_layout_free(struct nb_layout *l)
{
    free(l->infos);
    free(l->header);
    *l = (struct nb_layout){ 0 };
}

enum nb_status
nb_assembly_layout(const struct nb_assembly *a, struct nb_layout *l, struct nb_error *err)
{
    enum nb_status status;

    *l = (struct nb_layout){ 0 };
    status = place(a, l, err);
    if (status == NB_OK)
        status = nb_gguf_header(a->meta, l->infos, a->count, &l->header, &l->header_size, err);
    l->size += l->header_size;
    return status;
}

uint64_t
nb_tensor_bytes(const struct nb_tensor *tensors, size_t count)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < count; i++)
        sum += tensors[i].bytes;
    return sum;
}

enum nb_status
nb_assembly_size(const struct nb_assembly *a, uint64_t *size, struct nb_error *err)
{
    struct nb_layout l;
    enum nb_status status = nb_assembly_layout(a, &l, err);

    *size = l.size;
    nb_layout_free(&l);
    return status;
}

/*
 * Tensors that follow one another both in a source file and in the new file are copied at once, with
 * the padding between them; *NEXT receives the first tensor after them.
 */
static uint64_t
run_of(const struct nb_assembly *a, const struct nb_layout *l, size_t first, size_t *next)
{
    const struct nb_tensor *begin = a->tensors[first];
    size_t i = first;

    while (i + 1 < a->count && a->tensors[i + 1]->file == begin->file && a->tensors[i + 1]->offset > begin->offset &&
           a->tensors[i + 1]->offset - begin->offset == l->infos[i + 1].offset - l->infos[first].offset)
        i++;
    *next = i + 1;
    return a->tensors[i]->offset + a->tensors[i]->bytes - begin->offset;
}

#define COPIED_AT_ONCE ((uint64_t)16 << 20) /* between two looks at the watch */

static enum nb_status
copy_tensors(const struct nb_assembly *a, const struct nb_layout *l, const struct nb_file_out *out,
             struct nb_error *err)
{
    const struct nb_watch *w = a->watch;
    uint64_t copied = a->done;
    enum nb_status status = NB_OK;

    for (size_t i = 0, next; i < a->count && status == NB_OK; i = next) {
        const struct nb_tensor *t = a->tensors[i];
        const uint64_t bytes = run_of(a, l, i, &next), to = l->header_size + l->infos[i].offset;

        for (uint64_t done = 0; done < bytes && status == NB_OK; done += COPIED_AT_ONCE) {
            const uint64_t n = bytes - done < COPIED_AT_ONCE ? bytes - done : COPIED_AT_ONCE;

            if (w != NULL && w->stop != NULL && *w->stop)
                return nb_fail(err, NB_INTERRUPTED, "interrupted");
            status = nb_out_copy(out, to + done, &a->files[t->file], t->offset + done, n, err);
            copied += n;
            if (w != NULL && w->progress != NULL)
                w->progress(w->context, copied < a->total ? copied : a->total, a->total);
        }
    }
    return status;
}

enum nb_status
nb_assemble_to(const struct nb_assembly *a, const char *name, bool replace, struct nb_file_out *out,
               struct nb_error *err)
{
    struct nb_layout l;
    enum nb_status status = nb_assembly_layout(a, &l, err);

    if (status == NB_OK)
        status = nb_out_create(out, name, l.size, replace, err);
    if (status != NB_OK) {
        nb_layout_free(&l);
        return status;
    }
    status = nb_out_write(out, 0, l.header, l.header_size, err);
    if (status == NB_OK)
        status = copy_tensors(a, &l, out, err);
    if (status != NB_OK)
        nb_out_abort(out, err);
    nb_layout_free(&l);
    return status;
}

enum nb_status
nb_assemble(const struct nb_assembly *a, const char *name, bool replace, struct nb_error *err)
{
    struct nb_file_out out;
    const enum nb_status status = nb_assemble_to(a, name, replace, &out, err);

    return status == NB_OK ? nb_out_commit(&out, replace, err) : status;
}
