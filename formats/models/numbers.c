#include "formats/models/numbers.h"

#include "formats/models/view_parts.h"

#include <inttypes.h>
#include <string.h>

/* As many numbers are read at once. */
#define SPAN ((uint64_t)1 << 16)

static enum nb_status
convert(const struct nb_view *v, const unsigned char *from, uint64_t count, unsigned char *to, struct nb_error *err)
{
    for (uint64_t i = 0; i < count; i++) {
        int64_t number;
        int32_t small;

        memcpy(&number, from + i * sizeof number, sizeof number);
        if (number < 0 || (uint64_t)number >= v->limit)
            return nb_fail(err, NB_INPUT, "tensor '%s' has the number %" PRId64 ", but there are only %" PRIu64,
                           v->source_name, number, v->limit);
        small = (int32_t)number;
        memcpy(to + i * sizeof small, &small, sizeof small);
    }
    return NB_OK;
}

static enum nb_status
read_numbers(const struct nb_view *v, uint64_t first, uint64_t count, void *out, struct nb_view_reader *r,
             struct nb_error *err)
{
    const struct nb_view stored = { .type = NB_I64, .store = v->store };
    const struct nb_piece all = { .stored = v->pieces->stored };
    unsigned char *to = out;
    enum nb_status status = nb_reader_reserve_span(r, SPAN * sizeof(int64_t), err);

    while (count > 0 && status == NB_OK) {
        const uint64_t n = count < SPAN ? count : SPAN;

        status = nb_piece_read(&stored, &all, 0, first, n, r->span, r, err);
        if (status == NB_OK)
            status = convert(v, r->span, n, to, err);
        to += n * sizeof(int32_t);
        first += n;
        count -= n;
    }
    return status;
}

bool
nb_view_numbers(struct nb_view *v, uint64_t limit)
{
    static const struct nb_foreign format = { "I64", read_numbers };

    if (v->n_pieces != 1 || v->pieces->stored->type != NB_I64 || v->pieces->stored->packed != NULL || limit > INT32_MAX)
        return false;
    v->type = NB_I32;
    v->foreign = &format;
    v->limit = limit;
    return true;
}
