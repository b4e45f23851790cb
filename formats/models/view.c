#include "formats/models/view.h"

#include "formats/base/checked.h"
#include "formats/base/names.h"
#include "formats/base/text.h"

#include <stdlib.h>
#include <string.h>

static bool
measure_elements(struct nb_view *v)
{
    v->elements = 1;
    for (unsigned i = 0; i < NB_MAX_DIMS; i++)
        if (!nb_mul_u64(v->elements, v->ne[i], &v->elements))
            return false;
    return v->elements <= INT64_MAX && nb_type_bytes(v->type, v->elements, &v->bytes) && v->bytes <= INT64_MAX;
}

/* The number of rows or columns that ORDER selects from THERE; all without an order, 0 if it goes beyond THERE. */
static uint64_t
ordered(const struct nb_order *order, uint64_t there)
{
    uint64_t count = 1, last = order->start;

    if (order->n == 0)
        return there;
    for (unsigned i = 0; i < order->n; i++) {
        uint64_t step;

        if (order->digit[i] == 0 || !nb_mul_u64(count, order->digit[i], &count) ||
            !nb_mul_u64(order->digit[i] - 1, order->stride[i], &step) || !nb_add_u64(last, step, &last))
            return 0;
    }
    return last < there ? count : 0;
}

static bool
is_inside(const struct nb_piece *p)
{
    uint64_t last;

    return p->rows > 0 && p->columns > 0 && nb_mul_u64(p->rows - 1, p->pitch, &last) &&
           nb_add_u64(last, p->start, &last) && nb_add_u64(last, p->columns, &last) && last <= p->stored->elements;
}

/* The rows and columns of all pieces together. False if their shapes do not match. */
static bool
measure_pieces(struct nb_view *v, uint64_t *rows, uint64_t *columns)
{
    const uint16_t block = nb_type_info(v->type)->block;

    *rows = 0;
    *columns = v->transposed ? v->pieces->rows : v->pieces->columns;
    v->contiguous = !v->transposed && v->row_order.n == 0 && v->column_order.n == 0;
    for (size_t i = 0; i < v->n_pieces; i++) {
        struct nb_piece *p = &v->pieces[i];

        p->at = *rows;
        if (p->stored->type != v->type || !is_inside(p) || (v->transposed ? p->rows : p->columns) != *columns ||
            p->start % block != 0 || p->pitch % block != 0 || p->columns % block != 0 ||
            !nb_add_u64(*rows, v->transposed ? p->columns : p->rows, rows))
            return false;
        v->contiguous = v->contiguous && p->columns == p->pitch;
    }
    return (!v->transposed && v->column_order.n == 0) || block == 1;
}

bool
nb_view_measure(struct nb_view *v)
{
    uint64_t rows, columns, elements;

    if (!measure_elements(v) || v->ne[0] % nb_type_info(v->type)->block != 0)
        return false;
    v->columns = v->ne[0];
    v->rows = v->ne[0] == 0 ? 0 : v->elements / v->ne[0];
    if (v->foreign != NULL)
        return true;
    if (v->n_pieces == 0 || !measure_pieces(v, &rows, &columns))
        return false;
    v->rows = ordered(&v->row_order, rows);
    v->columns = ordered(&v->column_order, columns);
    return nb_mul_u64(v->rows, v->columns, &elements) && elements == v->elements;
}

void
nb_view_whole(struct nb_view *v, const struct nb_store *store, const struct nb_tensor *stored, struct nb_piece *piece)
{
    *v = (struct nb_view){
        .name = stored->name,
        .source_name = stored->name,
        .type = stored->type,
        .plain_type = stored->type,
        .n_dims = stored->n_dims,
        .elements = stored->elements,
        .bytes = stored->bytes,
        .store = store,
        .pieces = piece,
        .n_pieces = 1,
        .columns = stored->ne[0],
        .rows = stored->ne[0] == 0 ? 0 : stored->elements / stored->ne[0],
        .contiguous = true,
    };
    memcpy(v->ne, stored->ne, sizeof v->ne);
    *piece = (struct nb_piece){ .stored = stored, .pitch = v->columns, .rows = v->rows, .columns = v->columns };
}

uint64_t
nb_view_offset(const struct nb_view *v)
{
    const struct nb_type_info *info = nb_type_info(v->type);

    return v->pieces->stored->offset + v->pieces->start / info->block * info->block_bytes;
}

bool
nb_view_is_stored(const struct nb_view *v)
{
    return v->ops[0].kind == NB_OP_NONE && (v->foreign == NULL || nb_type_info(v->type)->kind != NB_KIND_FLOAT);
}

bool
nb_view_is_packed(const struct nb_view *v)
{
    return (v->foreign != NULL || (v->n_pieces > 0 && v->pieces->stored->packed != NULL)) &&
           nb_type_info(v->type)->kind == NB_KIND_BLOCK;
}

bool
nb_view_is_always_f32(const struct nb_view *v)
{
    /* Matrices that the reference converter (conversion/base.py, prepare_tensors) never writes in fewer bits. */
    static const char *const matrices[] = {
        ".ffn_gate_inp.weight",   ".ffn_gate_inp_shexp.weight", "position_embd.weight",       "token_types.weight",
        ".ssm_conv1d.weight",     ".ssm_conv1d_q.weight",       ".ssm_conv1d_k.weight",       ".ssm_conv1d_v.weight",
        ".shortconv.conv.weight", ".altup_correct_coef.weight", ".altup_predict_coef.weight", ".indexer.proj.weight",
    };

    if (v->in_f32 != NB_F32_BY_NAME && v->n_dims > 1)
        return v->in_f32 == NB_F32_ALWAYS;
    for (size_t i = 0; i < sizeof matrices / sizeof matrices[0]; i++)
        if (nb_ends_with(v->name, matrices[i]))
            return true;
    return v->n_dims < 2 || nb_ends_with(v->name, "_norm.weight") || !nb_ends_with(v->name, ".weight");
}

const struct nb_view **
nb_views_by_name(const struct nb_view *views, size_t count)
{
    return (const struct nb_view **)nb_list_by_name(views, count, sizeof *views);
}

const struct nb_view *
nb_views_find(const struct nb_view *const *sorted, size_t count, const char *name)
{
    return nb_find_by_name((const void *const *)sorted, count, name);
}

void
nb_view_reader_free(struct nb_view_reader *r)
{
    free(r->raw);
    free(r->span);
    free(r->segments);
    for (size_t i = 0; i < NB_PACKED_BUFFERS; i++)
        free(r->packed[i].bytes);
    *r = (struct nb_view_reader){ 0 };
}
