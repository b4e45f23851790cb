#include "verify/run/load.h"

#include "formats/elements/decode.h"
#include "formats/models/expression.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

void *
nb_load_room(const struct nb_loader *l, size_t size)
{
    return nb_arena_calloc(&l->model->arena, 1, size);
}

/* --- hyperparameters -------------------------------------------------------------------------------------- */

static enum nb_status
refuse_value(const struct nb_loader *l, enum nb_hparam hparam, double value)
{
    const struct nb_model *m = l->model;
    char key[128], where[32] = "";

    if (!nb_hp_has(&m->hp, hparam))
        return nb_fail(l->err, NB_INPUT, "%s: its metadata lacks the %s", m->source->path,
                       nb_hparam_info(hparam)->label);
    nb_hparam_key(hparam, m->arch->name, key);
    if (m->hp.value[hparam].each != NULL)
        snprintf(where, sizeof where, " in layer %" PRIu32, l->layer);
    return nb_fail(l->err, NB_INPUT, "%s: %s is %g%s, which no model can have", m->source->path, key, value, where);
}

enum nb_status
nb_load_count(const struct nb_loader *l, enum nb_hparam hparam, uint32_t *out)
{
    const double value = nb_hp_at(&l->model->hp, hparam, l->layer);

    if (!(value >= 1 && value <= NB_MAX_SIDE) || value != floor(value))
        return refuse_value(l, hparam, value);
    *out = (uint32_t)value;
    return NB_OK;
}

enum nb_status
nb_load_above_zero(const struct nb_loader *l, enum nb_hparam hparam, double *out)
{
    *out = nb_hp_at(&l->model->hp, hparam, l->layer);
    return *out > 0 ? NB_OK : refuse_value(l, hparam, *out);
}

/* --- tensors ------------------------------------------------------------------------------------------------ */

/* "256 x 64", with at least DIMS dimensions. */
static const char *
shape_text(const uint64_t ne[NB_MAX_DIMS], uint32_t dims, char text[96])
{
    size_t at = 0;

    for (uint32_t i = 0; i < dims; i++)
        at += (size_t)snprintf(text + at, 96 - at, "%s%" PRIu64, i == 0 ? "" : " x ", ne[i]);
    return text;
}

static enum nb_status
check_tensor(const struct nb_loader *l, const struct nb_arch_tensor *row, const struct nb_view *t)
{
    const char *path = l->model->source->path;
    uint64_t ne[NB_MAX_DIMS];
    uint32_t dims;
    char should[96], is[96];

    if (!nb_arch_shape_beside(row, &l->model->hp, l->layer, t->ne, ne, &dims))
        return nb_fail(l->err, NB_INPUT, "%s: the metadata give no valid shape for tensor '%s'", path, t->name);
    if (dims == 1 && t->elements != ne[0])
        return nb_fail(l->err, NB_INPUT, "%s: tensor '%s' should have %" PRIu64 " elements, but has %" PRIu64, path,
                       t->name, ne[0], t->elements);
    if (memcmp(ne, t->ne, sizeof ne) != 0)
        return nb_fail(l->err, NB_INPUT, "%s: tensor '%s' should be %s, but is %s", path, t->name,
                       shape_text(ne, dims, should), shape_text(t->ne, t->n_dims > dims ? t->n_dims : dims, is));
    for (uint32_t i = 0; i < dims; i++)
        if (ne[i] < 1 || ne[i] > NB_MAX_SIDE)
            return nb_fail(l->err, NB_INPUT, "%s: tensor '%s' cannot be %s", path, t->name,
                           shape_text(ne, dims, should));
    if (!nb_can_decode(t->type))
        return nb_fail(l->err, NB_INPUT, "%s: tensor '%s' is of type %s, which holds no weights", path, t->name,
                       nb_type_info(t->type)->name);
    return NB_OK;
}

/*
 * The checked tensor of the row PATTERN. *OUT is NULL if the architecture has none in this layer (then
 * *ROW is NULL, too), or if it is optional and absent.
 */
static enum nb_status
find(const struct nb_loader *l, const char *pattern, const struct nb_arch_tensor **row, const struct nb_view **out)
{
    const struct nb_model *m = l->model;
    char name[NB_MAX_NAME + 1];

    *out = NULL;
    *row = nb_arch_row(m->arch, pattern);
    if (*row != NULL && !nb_expression_holds((*row)->when, &m->hp, l->layer))
        *row = NULL;
    if (*row == NULL)
        return NB_OK;
    nb_name_fill(pattern, l->layer, 0, name, sizeof name);
    *out = nb_views_find(l->sorted, m->source->n_tensors, name);
    if (*out != NULL)
        return check_tensor(l, *row, *out);
    return (*row)->presence == NB_REQUIRED
               ? nb_fail(l->err, NB_INPUT, "%s: tensor '%s' is missing", m->source->path, name)
               : NB_OK;
}

/* An error: a block needs a tensor that its architecture's table lacks or declares optional. */
static enum nb_status
refuse_absent(const struct nb_loader *l, const char *pattern)
{
    return nb_fail(l->err, NB_INPUT,
                   "%s: models of architecture '%s' have no tensor '%s' in layer %" PRIu32
                   ", which is needed to run them",
                   l->model->source->path, l->model->arch->name, pattern, l->layer);
}

enum nb_status
nb_load_small(const struct nb_loader *l, const char *pattern, const float **out)
{
    const struct nb_arch_tensor *row;
    const struct nb_view *t;
    enum nb_status status = find(l, pattern, &row, &t);
    struct nb_view_reader reader = { 0 };
    float *values;

    *out = NULL;
    if (status != NB_OK || t == NULL)
        return status;
    values = nb_arena_calloc(&l->model->arena, t->elements, sizeof *values);
    status = values == NULL ? nb_fail_memory(l->err)
                            : nb_model_rows(l->model, t, 0, t->elements / t->ne[0], &reader, values, l->err);
    nb_view_reader_free(&reader);
    *out = values;
    return status;
}

enum nb_status
nb_load_table(const struct nb_loader *l, const char *pattern, struct nb_linear *out)
{
    const struct nb_linear *embedding = l->model->token_embedding;
    const struct nb_arch_tensor *row;
    const struct nb_view *t;
    enum nb_status status = find(l, pattern, &row, &t);

    if (status != NB_OK)
        return status;
    if (t == NULL && row != NULL && row->presence == NB_TIED && embedding != NULL)
        t = embedding->weight;
    if (t == NULL)
        return refuse_absent(l, pattern);
    if (t->ne[0] > SIZE_MAX || t->ne[1] > SIZE_MAX || t->ne[2] > SIZE_MAX)
        return nb_fail_memory(l->err);
    *out = (struct nb_linear){ .name = t->name,
                               .role = row->name,
                               .columns = (size_t)t->ne[0],
                               .rows = (size_t)t->ne[1],
                               .experts = (size_t)t->ne[2],
                               .weight = t };
    return NB_OK;
}

bool
nb_load_has(const struct nb_loader *l, const char *pattern)
{
    const struct nb_arch_tensor *row = nb_arch_row(l->model->arch, pattern);
    char name[NB_MAX_NAME + 1];

    if (row == NULL || !nb_expression_holds(row->when, &l->model->hp, l->layer))
        return false;
    nb_name_fill(pattern, l->layer, 0, name, sizeof name);
    return row->presence == NB_REQUIRED || nb_views_find(l->sorted, l->model->source->n_tensors, name) != NULL;
}

/* "PATTERN.weight" and the like. */
static const char *
with_suffix(const char *pattern, const char *suffix, char name[NB_MAX_NAME + 1])
{
    snprintf(name, NB_MAX_NAME + 1, "%s.%s", pattern, suffix);
    return name;
}

/*
 * Weights in NVFP4 have a factor for each matrix in a tensor of its own, which llama.cpp (v0.5.0, build_lora_mm) multiplies
 * the product with, whatever the architecture, unless that has a tensor of this name itself.
 */
static enum nb_status
take_factor(const struct nb_loader *l, const char *pattern, struct nb_linear *out)
{
    const struct nb_model *m = l->model;
    struct nb_view_reader reader = { 0 };
    char row[NB_MAX_NAME + 1], name[NB_MAX_NAME + 1];
    const struct nb_view *t;
    enum nb_status status;
    float *values;

    with_suffix(pattern, "scale", row);
    if (nb_arch_row(m->arch, row) != NULL)
        return nb_load_small(l, row, &out->scale);
    nb_name_fill(row, l->layer, 0, name, sizeof name);
    t = nb_views_find(l->sorted, m->source->n_tensors, name);
    if (t == NULL)
        return NB_OK;
    if (t->elements != out->experts || !nb_can_decode(t->type))
        return nb_fail(l->err, NB_INPUT, "%s: tensor '%s' has not one factor for each matrix of '%s'", m->source->path,
                       name, out->name);
    values = nb_arena_calloc(&l->model->arena, t->elements, sizeof *values);
    status = values == NULL ? nb_fail_memory(l->err)
                            : nb_model_rows(m, t, 0, t->elements / t->ne[0], &reader, values, l->err);
    nb_view_reader_free(&reader);
    out->scale = values;
    return status;
}

enum nb_status
nb_load_linear(struct nb_loader *l, const char *pattern, struct nb_linear *out)
{
    char name[NB_MAX_NAME + 1];
    enum nb_status status = nb_load_table(l, with_suffix(pattern, "weight", name), out);

    if (status != NB_OK)
        return status;
    *l->end = out;
    l->end = &out->next;
    status = nb_load_small(l, with_suffix(pattern, "bias", name), &out->bias);
    return status == NB_OK ? take_factor(l, pattern, out) : status;
}

enum nb_status
nb_load_linear_if_any(struct nb_loader *l, const char *pattern, struct nb_linear *out)
{
    char name[NB_MAX_NAME + 1];

    return nb_load_has(l, with_suffix(pattern, "weight", name)) ? nb_load_linear(l, pattern, out) : NB_OK;
}

/* --- norms ------------------------------------------------------------------------------------------------- */

/* A norm with the epsilon of the model. Some models with LayerNorm have the other key. */
static enum nb_status
new_norm(const struct nb_loader *l, struct nb_norm **out)
{
    const struct nb_model *m = l->model;
    const bool is_rms = m->arch->norm_may_be_rms && nb_hp(&m->hp, NB_HP_RMS_EPSILON) > 0;
    const bool layer = m->arch->norm == NB_NORM_LAYER && !is_rms && nb_hp_has(&m->hp, NB_HP_NORM_EPSILON);
    double epsilon;
    enum nb_status status = nb_load_above_zero(l, layer ? NB_HP_NORM_EPSILON : NB_HP_RMS_EPSILON, &epsilon);

    if (status != NB_OK)
        return status;
    *out = nb_load_room(l, sizeof **out);
    if (*out == NULL)
        return nb_fail_memory(l->err);
    **out = (struct nb_norm){ .kind = is_rms ? NB_NORM_RMS : m->arch->norm, .epsilon = (float)epsilon };
    return NB_OK;
}

enum nb_status
nb_load_plain_norm(const struct nb_loader *l, const struct nb_norm **out)
{
    struct nb_norm *norm = NULL;
    const enum nb_status status = new_norm(l, &norm);

    *out = norm;
    return status;
}

enum nb_status
nb_load_norm(const struct nb_loader *l, const char *pattern, const struct nb_norm **out)
{
    const struct nb_arch_tensor *row;
    const struct nb_view *view;
    char name[NB_MAX_NAME + 1];
    struct nb_norm *norm = NULL;
    enum nb_status status;

    *out = NULL;
    with_suffix(pattern, "weight", name);
    if (nb_arch_row(l->model->arch, name) == NULL && nb_arch_row(l->model->arch, pattern) != NULL)
        snprintf(name, sizeof name, "%s", pattern);
    status = find(l, name, &row, &view);
    if (status != NB_OK || view == NULL)
        return status;
    status = new_norm(l, &norm);
    if (status != NB_OK)
        return status;
    norm->length = (size_t)view->ne[0];
    norm->rows = (size_t)(view->elements / view->ne[0]);
    status = nb_load_small(l, name, &norm->weight);
    if (status == NB_OK)
        status = nb_load_small(l, with_suffix(pattern, "bias", name), &norm->bias);
    *out = norm;
    return status;
}
