/* Reading of quantized weights: any elements, in parts that one format computes at once. */
#include "formats/elements/decode.h"
#include "formats/models/packed/format.h"
#include "formats/models/view_parts.h"

#include <stdlib.h>
#include <string.h>

/* As many elements are computed at once, or one row. */
#define AT_ONCE (1u << 18)

void *
nb_packed_buffer(const struct nb_packed_job *j, enum nb_packed_buffer which, uint64_t size)
{
    struct nb_buffer *b = &j->buffers[which];
    unsigned char *grown;

    if (size <= b->size)
        return b->bytes;
    if (size > SIZE_MAX - 64 || (grown = realloc(b->bytes, (size_t)size)) == NULL)
        return NULL;
    b->bytes = grown;
    b->size = (size_t)size;
    return grown;
}

enum nb_status
nb_packed_bytes(const struct nb_packed_job *j, const struct nb_tensor *t, uint64_t offset, uint64_t size,
                enum nb_packed_buffer which, unsigned char **out)
{
    *out = nb_packed_buffer(j, which, size + 8); /* codes of odd widths are read as 64-bit numbers */
    return *out == NULL ? nb_fail_memory(j->err) : nb_stored_read(j->store, t, offset, size, *out, j->err);
}

enum nb_status
nb_packed_numbers(const struct nb_packed_job *j, const struct nb_tensor *t, enum nb_type type, uint64_t first,
                  uint64_t count, float *out)
{
    const uint64_t each = nb_type_info(t->type)->block_bytes;
    unsigned char *raw;
    const enum nb_status status = nb_packed_bytes(j, t, first * each, count * each, NB_BUFFER_RAW, &raw);

    if (status == NB_OK)
        nb_packed_decode(type, raw, count, out);
    return status;
}

enum nb_status
nb_packed_words_down(const struct nb_packed_job *j, const struct nb_codes *c, uint64_t first, uint64_t count,
                     uint64_t column, uint64_t width, uint64_t all, enum nb_packed_buffer which, unsigned char **out,
                     uint64_t *begin)
{
    const uint64_t period = c->unit == 0 ? 32 : c->unit, words = c->unit == 0 ? c->bits : 1;
    const uint64_t from = first / period * words, last = (first + count - 1) % period;
    const uint64_t end = (first + count - 1) / period * words + (c->unit == 0 ? (last + 1) * c->bits + 31 : 32) / 32;
    const uint64_t each = sizeof(uint32_t);
    enum nb_status status = NB_OK;

    *begin = first / period * period;
    if (width == all)
        return nb_packed_bytes(j, c->tensor, from * all * each, (end - from) * all * each, which, out);
    *out = nb_packed_buffer(j, which, (end - from) * width * each);
    if (*out == NULL)
        return nb_fail_memory(j->err);
    for (uint64_t k = from; k < end && status == NB_OK; k++)
        status = nb_stored_read(j->store, c->tensor, (k * all + column) * each, width * each,
                                *out + (k - from) * width * each, j->err);
    return status;
}

/* The part of the weight that begins with element FIRST and has at most COUNT elements. */
static void
next_part(struct nb_packed_job *j, uint64_t first, uint64_t count)
{
    const struct nb_packed *p = j->packed;
    const uint64_t row = first / p->columns, left = p->columns - first % p->columns;
    const uint64_t rows = count / p->columns, in_matrix = p->rows - row % p->rows;
    const uint64_t most = p->columns < AT_ONCE ? AT_ONCE / p->columns : 1;

    j->matrix = row / p->rows;
    j->row = row % p->rows;
    j->column = first % p->columns;
    j->rows = 1;
    j->columns = left < count ? left : count;
    if (j->column == 0 && rows > 1)
        j->rows = rows < most ? rows : most;
    if (j->rows > in_matrix)
        j->rows = in_matrix;
}

static enum nb_status
read_part(const struct nb_packed_job *j, void *out)
{
    const struct nb_packed *p = j->packed;

    if (p->is_turned)
        return nb_packed_turned(j, out);
    return p->kept == NB_Q4_0 || p->kept == NB_Q4_1 ? nb_packed_read_kept(j, out) : p->format->read(j, out);
}

enum nb_status
nb_packed_read(const struct nb_store *store, const struct nb_tensor *t, uint64_t offset, uint64_t size, void *to,
               struct nb_view_reader *r, struct nb_error *err)
{
    const struct nb_type_info *info = nb_type_info(t->type);
    struct nb_packed_job j = { .packed = t->packed, .store = store, .buffers = r->packed, .reader = r, .err = err };
    uint64_t first = offset / info->block_bytes * info->block, count = size / info->block_bytes * info->block;
    unsigned char *out = to;
    enum nb_status status = NB_OK;

    while (count > 0 && status == NB_OK) {
        uint64_t done;

        next_part(&j, first, count);
        done = j.rows * j.columns;
        status = read_part(&j, out);
        out += done / info->block * info->block_bytes;
        first += done;
        count -= done;
    }
    return status;
}

struct nb_tensor *
nb_packed_as_floats(const struct nb_tensor *t, struct nb_arena *arena)
{
    struct nb_tensor *out = nb_arena_calloc(arena, 1, sizeof *out);
    struct nb_packed *p = nb_arena_calloc(arena, 1, sizeof *p);

    if (out == NULL || p == NULL)
        return NULL;
    *p = *t->packed;
    p->kept = NB_TYPE_NONE;
    *out = *t;
    out->type = NB_F32;
    out->packed = p;
    return nb_tensor_measure(out) ? out : NULL;
}

const struct nb_tensor *
nb_packed_transpose(const struct nb_packed *p)
{
    return p->turned;
}

bool
nb_packed_is_transpose(const struct nb_packed *p)
{
    return p->is_turned;
}

enum nb_status
nb_packed_rectangle(const struct nb_store *store, const struct nb_tensor *t, uint64_t row, uint64_t rows,
                    uint64_t column, uint64_t columns, void *to, struct nb_view_reader *r, struct nb_error *err)
{
    const struct nb_packed_job j = { .packed = t->packed,
                                     .store = store,
                                     .row = row,
                                     .rows = rows,
                                     .column = column,
                                     .columns = columns,
                                     .buffers = r->packed,
                                     .err = err };

    return nb_packed_turned(&j, to);
}

const char *
nb_packed_format(const struct nb_packed *p)
{
    return p->format->name;
}

uint64_t
nb_packed_stored_bytes(const struct nb_packed *p)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < NB_PACKED_PARTS; i++)
        bytes += p->part[i] == NULL ? 0 : p->part[i]->bytes;
    return bytes;
}
