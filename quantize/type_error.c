#include "quantize/type_error.h"

#include "formats/base/checked.h"
#include "formats/elements/decode.h"
#include "quantize/search/encode.h"

#include <stdlib.h>

#define ROWS 192u /* of the sample, at most */

struct room {
    float *row, *decoded;
    void *blocks;
    struct nb_view_reader reader;
};

static double
row_error(const struct nb_view *view, enum nb_type type, const float *importance, struct room *room)
{
    const size_t n = (size_t)view->ne[0];
    double sum = 0;

    nb_encode(type, room->row, 1, n, importance, room->blocks);
    nb_decode(type, room->blocks, n, room->decoded);
    for (size_t i = 0; i < n; i++) {
        const double d = (double)(room->decoded[i] - room->row[i]);

        sum += d * d * (importance == NULL ? 1 : (double)importance[i]);
    }
    return sum / (double)n;
}

enum nb_status
nb_type_errors(const struct nb_view *view, const float *importance, const enum nb_type *types, size_t count,
               double *errors, struct nb_error *err)
{
    const uint64_t n = view->ne[0], all = view->elements / n, rows = all < ROWS ? all : ROWS;
    struct room room = {
        nb_malloc(n * sizeof(float)), nb_malloc(n * sizeof(float)), nb_malloc(n * sizeof(float)), { 0 }
    };
    enum nb_status status = room.row == NULL || room.decoded == NULL || room.blocks == NULL ? nb_fail_memory(err)
                                                                                            : NB_OK;

    for (size_t t = 0; t < count; t++)
        errors[t] = 0;
    for (uint64_t i = 0; i < rows && status == NB_OK; i++) {
        const uint64_t row = i * (all / rows) + i * (all % rows) / rows;
        const float *of_row = importance == NULL ? NULL : importance + row / view->ne[1] * n;

        status = nb_view_rows(view, row, 1, room.row, &room.reader, err);
        for (size_t t = 0; t < count && status == NB_OK; t++)
            errors[t] += row_error(view, types[t], of_row, &room) / (double)rows;
    }
    nb_view_reader_free(&room.reader);
    free(room.row);
    free(room.decoded);
    free(room.blocks);
    return status;
}
