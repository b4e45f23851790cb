/* nibble.h: element types, and rows of floats to and from blocks. */
#include "formats/base/checked.h"
#include "formats/base/public.h"
#include "formats/elements/decode.h"
#include "formats/elements/types.h"
#include "quantize/search/encode.h"

#include <inttypes.h>
#include <math.h>
#include <strings.h>

static bool
is_type(unsigned number)
{
    return number < NB_TYPES && nb_type_info((enum nb_type)number)->kind != NB_KIND_NONE;
}

static enum nb_status
give_type(enum nb_type type, struct nibble_type *out, struct nb_error *err)
{
    static const enum nibble_importance importance[] = {
        [NB_IMPORTANCE_IGNORED] = NIBBLE_IMPORTANCE_IGNORED,
        [NB_IMPORTANCE_USED] = NIBBLE_IMPORTANCE_USED,
        [NB_IMPORTANCE_NEEDED] = NIBBLE_IMPORTANCE_NEEDED,
    };
    const struct nb_type_info *info = nb_type_info(type);
    const struct nibble_type own = {
        .name = info->name,
        .gguf_number = type < NB_GGUF_TYPES ? (int)type : -1,
        .block_elements = info->block,
        .block_bytes = info->block_bytes,
        .bits_per_element = nb_type_bpw(type),
        .quantized = info->kind == NB_KIND_BLOCK,
        .readable = nb_can_decode(type),
        .writable = nb_can_encode(type),
        .importance = importance[info->importance],
    };

    return NB_PUBLIC_GIVE(out, own, "nibble_type", err);
}

static enum nb_status
find_type(const char *name, enum nb_type *out, struct nb_error *err)
{
    for (unsigned i = 0; i < NB_TYPES; i++) /* also those that GGUF does not have */
        if (is_type(i) && strcasecmp(nb_type_info((enum nb_type)i)->name, name) == 0) {
            *out = (enum nb_type)i;
            return NB_OK;
        }
    return nb_fail(err, NB_USAGE, "'%.60s' is not a type of tensors", name);
}

size_t
nibble_type_count(void)
{
    size_t count = 0;

    for (unsigned i = 0; i < NB_TYPES; i++)
        count += is_type(i);
    return count;
}

enum nibble_code
nibble_type_at(size_t index, struct nibble_type *out, struct nibble_error *error)
{
    struct nb_error err;
    enum nb_status status = nb_public_check_index(index, nibble_type_count(), "types", &err);
    unsigned number = 0;

    if (status != NB_OK)
        return nb_public_end(status, &err, error);
    while (!is_type(number) || index-- > 0)
        number++;
    return nb_public_end(give_type((enum nb_type)number, out, &err), &err, error);
}

enum nibble_code
nibble_type_find(const char *name, struct nibble_type *out, struct nibble_error *error)
{
    struct nb_error err;
    enum nb_type type = NB_TYPE_NONE;
    enum nb_status status = find_type(name, &type, &err);

    return nb_public_end(status == NB_OK ? give_type(type, out, &err) : status, &err, error);
}

/* The bytes of rows of TYPE, where there are whole blocks in each. */
static enum nb_status
measure(enum nb_type type, uint64_t rows, uint64_t columns, uint64_t *bytes, struct nb_error *err)
{
    const struct nb_type_info *info = nb_type_info(type);
    uint64_t row;

    if (columns % info->block != 0)
        return nb_fail(err, NB_USAGE, "rows of %" PRIu64 " elements do not divide into blocks of %u (%s)", columns,
                       (unsigned)info->block, info->name);
    if (!nb_type_bytes(type, columns, &row) || !nb_mul_u64(row, rows, bytes) || *bytes > INT64_MAX)
        return nb_fail(err, NB_USAGE, "%" PRIu64 " rows of %" PRIu64 " elements are more than 63 bits count", rows,
                       columns);
    return NB_OK;
}

static enum nb_status
measure_buffer(enum nb_type type, size_t rows, size_t columns, size_t room, struct nb_error *err)
{
    uint64_t bytes = 0;
    enum nb_status status = measure(type, rows, columns, &bytes, err);

    if (status == NB_OK && room < bytes)
        return nb_fail(err, NB_USAGE, "%zu rows of %zu elements of %s take %" PRIu64 " bytes, but there are only %zu",
                       rows, columns, nb_type_info(type)->name, bytes, room);
    return status;
}

enum nibble_code
nibble_rows_bytes(const char *name, uint64_t rows, uint64_t columns, uint64_t *bytes, struct nibble_error *error)
{
    struct nb_error err;
    enum nb_type type = NB_TYPE_NONE;
    enum nb_status status = find_type(name, &type, &err);

    return nb_public_end(status == NB_OK ? measure(type, rows, columns, bytes, &err) : status, &err, error);
}

static enum nb_status
check_floats(const float *floats, size_t rows, size_t columns, const float *importance, struct nb_error *err)
{
    const size_t bad = nb_find_nonfinite(NB_F32, floats, rows * columns);

    if (bad < rows * columns)
        return nb_fail(err, NB_INPUT, "row %zu, column %zu is NaN or infinite", bad / columns, bad % columns);
    for (size_t i = 0; importance != NULL && i < columns; i++)
        if (!isfinite(importance[i]) || importance[i] < 0)
            return nb_fail(err, NB_INPUT, "the importance of column %zu is %g", i, (double)importance[i]);
    return NB_OK;
}

enum nibble_code
nibble_quantize_rows(const char *name, const float *floats, size_t rows, size_t columns, const float *importance,
                     void *blocks, size_t bytes, struct nibble_error *error)
{
    struct nb_error err;
    enum nb_type type = NB_TYPE_NONE;
    size_t bad;
    enum nb_status status = find_type(name, &type, &err);

    if (status == NB_OK && !nb_can_encode(type))
        status = nb_fail(&err, NB_USAGE, "%s cannot be written", nb_type_info(type)->name);
    if (status == NB_OK && importance == NULL && nb_type_info(type)->importance == NB_IMPORTANCE_NEEDED)
        status = nb_fail(&err, NB_USAGE, "%s needs importance", nb_type_info(type)->name);
    if (status == NB_OK)
        status = measure_buffer(type, rows, columns, bytes, &err);
    if (status == NB_OK)
        status = check_floats(floats, rows, columns, importance, &err);
    if (status != NB_OK || rows == 0 || columns == 0)
        return nb_public_end(status, &err, error);
    nb_encode(type, floats, rows, columns, importance, blocks);
    bad = nb_find_nonfinite(type, blocks, rows * columns);
    if (bad < rows * columns)
        status = nb_fail(&err, NB_INPUT, "near row %zu, column %zu a value is too large for %s", bad / columns,
                         bad % columns, nb_type_info(type)->name);
    return nb_public_end(status, &err, error);
}

enum nibble_code
nibble_dequantize_rows(const char *name, const void *blocks, size_t bytes, size_t rows, size_t columns, float *floats,
                       struct nibble_error *error)
{
    struct nb_error err;
    enum nb_type type = NB_TYPE_NONE;
    enum nb_status status = find_type(name, &type, &err);

    if (status == NB_OK && !nb_can_decode(type))
        status = nb_fail(&err, NB_USAGE, "%s cannot be read", nb_type_info(type)->name);
    if (status == NB_OK)
        status = measure_buffer(type, rows, columns, bytes, &err);
    if (status == NB_OK)
        nb_decode(type, blocks, rows * columns, floats);
    return nb_public_end(status, &err, error);
}
