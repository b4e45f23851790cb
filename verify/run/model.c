#include "verify/run/model.h"

#include "formats/elements/decode.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Tensors by name, while a model is opened. */
struct finder {
    struct nb_model *model;
    const struct nb_view **sorted;
    struct nb_error *err;
};

static enum nb_status
check_shape(const struct finder *f, const struct nb_view *t, uint64_t columns, uint64_t rows, uint64_t experts)
{
    const bool vector = rows == 0;

    if (t->ne[0] != columns || (vector ? t->elements != columns
                                       : t->ne[1] != rows || t->elements != columns * rows * experts))
        return vector ? nb_fail(f->err, NB_INPUT, "%s: tensor '%s' should have %" PRIu64 " elements, but has %" PRIu64,
                                f->model->source->path, t->name, columns, t->elements)
                      : nb_fail(f->err, NB_INPUT, "%s: tensor '%s' should be %" PRIu64 " x %" PRIu64 ", but is %" PRIu64
                                " x %" PRIu64, f->model->source->path, t->name, columns, rows, t->ne[0], t->ne[1]);
    if (!nb_can_decode(t->type))
        return nb_fail(f->err, NB_INPUT, "%s: tensor '%s' is of type %s, which holds no weights",
                       f->model->source->path, t->name, nb_type_info(t->type)->name);
    return NB_OK;
}

/*
 * The tensor NAME ("%u" is LAYER) of COLUMNS x ROWS, or a vector (ROWS 0), or
 * EXPERTS of them stacked. *OUT is NULL where there is none and it is not NEEDED.
 */
static enum nb_status
find(const struct finder *f, const char *pattern, uint32_t layer, uint64_t columns, uint64_t rows, uint64_t experts,
     bool needed, const struct nb_view **out)
{
    const struct nb_source *source = f->model->source;
    char name[NB_MAX_NAME + 1];

    nb_name_fill(pattern, layer, 0, name, sizeof name);
    *out = nb_views_find(f->sorted, source->n_tensors, name);
    if (*out == NULL)
        return needed ? nb_fail(f->err, NB_INPUT, "%s: tensor '%s' is missing", source->path, name) : NB_OK;
    return check_shape(f, *out, columns, rows, experts);
}

/* A vector as floats; *OUT is NULL where there is none and it is not NEEDED. */
static enum nb_status
load_vector(const struct finder *f, const char *pattern, uint32_t layer, uint64_t length, bool needed,
            const float **out)
{
    const struct nb_view *t;
    enum nb_status status = find(f, pattern, layer, length, 0, 1, needed, &t);
    struct nb_view_reader reader = { 0 };
    float *values;

    *out = NULL;
    if (status != NB_OK || t == NULL)
        return status;
    values = nb_arena_calloc(&f->model->arena, (size_t)length, sizeof *values);
    status = values == NULL ? nb_fail_memory(f->err) : nb_model_rows(f->model, t, 0, 1, &reader, values, f->err);
    nb_view_reader_free(&reader);
    *out = values;
    return status;
}

static enum nb_status
load_linear(const struct finder *f, const char *weight, const char *bias, uint32_t layer, uint64_t columns,
            uint64_t rows, struct nb_linear *out)
{
    enum nb_status status = find(f, weight, layer, columns, rows, 1, true, &out->weight);

    out->rows = rows;
    return status == NB_OK ? load_vector(f, bias, layer, rows, false, &out->bias) : status;
}

static enum nb_status
load_experts(const struct finder *f, const char *weight, uint32_t layer, uint64_t columns, uint64_t rows,
             struct nb_linear *out)
{
    out->rows = rows;
    return find(f, weight, layer, columns, rows, f->model->experts, true, &out->weight);
}

/* A router, and the gates, ups and downs of all experts, each stacked. */
static enum nb_status
load_mixture(const struct finder *f, uint32_t i)
{
    const struct nb_model *m = f->model;
    struct nb_layer *l = &m->layer[i];
    enum nb_status status = find(f, "blk.%l.ffn_gate_inp.weight", i, m->embedding, m->experts, 1, true,
                                 &l->router.weight);

    l->router.rows = m->experts;
    if (status == NB_OK)
        status = load_experts(f, "blk.%l.ffn_gate_exps.weight", i, m->embedding, m->feed_forward, &l->gate);
    if (status == NB_OK)
        status = load_experts(f, "blk.%l.ffn_up_exps.weight", i, m->embedding, m->feed_forward, &l->up);
    if (status == NB_OK)
        status = load_experts(f, "blk.%l.ffn_down_exps.weight", i, m->feed_forward, m->embedding, &l->down);
    return status;
}

static enum nb_status
load_feed_forward(const struct finder *f, uint32_t i)
{
    const struct nb_model *m = f->model;
    struct nb_layer *l = &m->layer[i];
    const uint64_t e = m->embedding, ff = m->feed_forward;
    enum nb_status status;

    if (m->experts > 0)
        return load_mixture(f, i);
    status = load_linear(f, "blk.%l.ffn_gate.weight", "blk.%l.ffn_gate.bias", i, e, ff, &l->gate);
    if (status == NB_OK)
        status = load_linear(f, "blk.%l.ffn_up.weight", "blk.%l.ffn_up.bias", i, e, ff, &l->up);
    if (status == NB_OK)
        status = load_linear(f, "blk.%l.ffn_down.weight", "blk.%l.ffn_down.bias", i, ff, e, &l->down);
    return status;
}

static enum nb_status
load_layer(const struct finder *f, uint32_t i)
{
    const struct nb_model *m = f->model;
    struct nb_layer *l = &m->layer[i];
    const uint64_t e = m->embedding, q = (uint64_t)m->heads * m->head_dim, kv = (uint64_t)m->kv_heads * m->head_dim;
    enum nb_status status = load_vector(f, "blk.%l.attn_norm.weight", i, e, true, &l->attn_norm);

    if (status == NB_OK)
        status = load_vector(f, "blk.%l.ffn_norm.weight", i, e, true, &l->ffn_norm);
    if (status == NB_OK)
        status = load_linear(f, "blk.%l.attn_q.weight", "blk.%l.attn_q.bias", i, e, q, &l->q);
    if (status == NB_OK)
        status = load_linear(f, "blk.%l.attn_k.weight", "blk.%l.attn_k.bias", i, e, kv, &l->k);
    if (status == NB_OK)
        status = load_linear(f, "blk.%l.attn_v.weight", "blk.%l.attn_v.bias", i, e, kv, &l->v);
    if (status == NB_OK)
        status = load_linear(f, "blk.%l.attn_output.weight", "blk.%l.attn_output.bias", i, q, e, &l->attn_output);
    if (status == NB_OK)
        status = load_feed_forward(f, i);
    return status;
}

/* --- rotary frequencies ------------------------------------------------------------------------------- */

static double
number(const struct nb_model *m, const char *key, double otherwise)
{
    char name[128];
    double value;

    snprintf(name, sizeof name, "%s.%s", m->arch->name, key);
    return nb_meta_get_f64(&m->source->meta, name, &value) ? value : otherwise;
}

/* The pair that turns N times over CONTEXT positions (YaRN, eq. 17). */
static double
yarn_pair(double dims, double context, double turns, double base)
{
    return dims * log(context / (turns * 2 * M_PI)) / (2 * log(base));
}

/*
 * YaRN (Peng et al. 2023, as ggml's rope_yarn has it): slow pairs are stretched
 * by FACTOR, fast ones kept, those between mixed; and all of it is a little louder.
 */
static void
stretch_by_yarn(struct nb_model *m, double base, double factor)
{
    const double dims = m->rope_dims, original = number(m, "rope.scaling.original_context_length", m->context);
    const double low = fmax(0, floor(yarn_pair(dims, original, number(m, "rope.scaling.yarn_beta_fast", 32), base)));
    const double high =
        fmin(dims - 1, ceil(yarn_pair(dims, original, number(m, "rope.scaling.yarn_beta_slow", 1), base)));

    for (uint32_t i = 0; i < m->rope_dims / 2; i++) {
        const double ramp = 1 - fmin(1, fmax(0, (i - low) / fmax(0.001, high - low)));

        m->rope_frequencies[i] *= (1 - ramp) / factor + ramp;
    }
    m->rope_magnitude = (1 + 0.1 * log(factor)) * number(m, "rope.scaling.attn_factor", 1);
}

static enum nb_status
set_rope(const struct finder *f, double theta)
{
    struct nb_model *m = f->model;
    const double factor = number(m, "rope.scaling.factor", 1);
    const char *type;
    const float *factors;
    char key[128];
    enum nb_status status;

    snprintf(key, sizeof key, "%s.rope.scaling.type", m->arch->name);
    type = nb_meta_get_string(&m->source->meta, key);
    m->rope_frequencies = nb_arena_calloc(&m->arena, m->rope_dims / 2 + 1, sizeof *m->rope_frequencies);
    if (m->rope_frequencies == NULL)
        return nb_fail_memory(f->err);
    status = load_vector(f, "rope_freqs.weight", 0, m->rope_dims / 2, false, &factors);
    if (status != NB_OK)
        return status;
    for (uint32_t i = 0; i < m->rope_dims / 2; i++)
        m->rope_frequencies[i] = pow(theta, -2.0 * i / m->rope_dims) / (factors == NULL ? 1 : (double)factors[i]);
    m->rope_magnitude = 1;
    if (type == NULL || strcmp(type, "none") == 0)
        return NB_OK;
    if (strcmp(type, "yarn") == 0) {
        stretch_by_yarn(m, theta, factor);
    } else if (strcmp(type, "linear") == 0) {
        for (uint32_t i = 0; i < m->rope_dims / 2; i++)
            m->rope_frequencies[i] /= factor;
    } else {
        return nb_fail(f->err, NB_INPUT, "%s: rotary scaling of type '%s' is not supported", m->source->path, type);
    }
    return NB_OK;
}

/* --- opening -------------------------------------------------------------------------------------------- */

static enum nb_status
read_hparams(struct nb_model *m, double *theta, struct nb_error *err)
{
    const char *arch = nb_meta_get_string(&m->source->meta, "general.architecture");
    struct nb_hparams hp;
    enum nb_status status;

    m->arch = arch == NULL ? NULL : nb_arch_by_name(arch);
    if (m->arch == NULL || m->arch->n_blocks == 0)
        return nb_fail(err, NB_INPUT, "%s: models of architecture '%s' cannot be run", m->source->path,
                       arch == NULL ? "" : arch);
    status = nb_hparams_read(&hp, &m->source->meta, arch, err);
    if (status == NB_OK)
        status = nb_arch_complete(m->arch, &hp, m->source->path, err);
    if (status != NB_OK) {
        nb_hparams_free(&hp);
        return status;
    }
    m->layers = (uint32_t)nb_hp(&hp, NB_HP_LAYERS);
    m->embedding = (uint32_t)nb_hp(&hp, NB_HP_EMBEDDING);
    m->feed_forward = (uint32_t)nb_hp(&hp, NB_HP_FEED_FORWARD);
    m->heads = (uint32_t)nb_hp(&hp, NB_HP_HEADS);
    m->kv_heads = (uint32_t)nb_hp(&hp, NB_HP_KV_HEADS);
    m->head_dim = (uint32_t)number(m, "attention.key_length", nb_hp(&hp, NB_HP_EMBEDDING) / nb_hp(&hp, NB_HP_HEADS));
    m->context = (uint32_t)nb_hp(&hp, NB_HP_CONTEXT);
    m->rms_epsilon = (float)nb_hp(&hp, NB_HP_RMS_EPSILON);
    m->rope_dims = (uint32_t)number(m, "rope.dimension_count", m->head_dim);
    *theta = nb_hp(&hp, NB_HP_ROPE_BASE);
    nb_hparams_free(&hp);
    m->experts = (uint32_t)number(m, "expert_count", 0);
    m->experts_used = (uint32_t)number(m, "expert_used_count", 0);
    if (m->experts > 0 && (m->experts > 4096 || m->experts_used < 1 || m->experts_used > m->experts))
        return nb_fail(err, NB_INPUT, "%s: %" PRIu32 " of %" PRIu32 " experts cannot be used", m->source->path,
                       m->experts_used, m->experts);
    if (m->head_dim < 2 || m->head_dim % 2 != 0 || m->rope_dims % 2 != 0 || m->rope_dims > m->head_dim ||
        number(m, "attention.value_length", m->head_dim) != m->head_dim)
        return nb_fail(err, NB_INPUT, "%s: heads of %" PRIu32 " elements, of which %" PRIu32 " turn, cannot be run",
                       m->source->path, m->head_dim, m->rope_dims);
    return NB_OK;
}

static enum nb_status
load_tensors(struct finder *f, double theta)
{
    struct nb_model *m = f->model;
    const uint64_t e = m->embedding;
    const struct nb_kv *tokens = nb_meta_find(&m->source->meta, "tokenizer.ggml.tokens");
    enum nb_status status;

    if (tokens == NULL || tokens->type != NB_KV_ARRAY || tokens->count == 0 || tokens->count > 1u << 30)
        return nb_fail(f->err, NB_INPUT, "%s: has no vocabulary (tokenizer.ggml.tokens)", m->source->path);
    m->vocab = (uint32_t)tokens->count;
    m->layer = nb_arena_calloc(&m->arena, m->layers, sizeof *m->layer);
    if (m->layer == NULL)
        return nb_fail_memory(f->err);
    status = set_rope(f, theta);
    if (status == NB_OK)
        status = find(f, "token_embd.weight", 0, e, m->vocab, 1, true, &m->token_embedding);
    if (status == NB_OK)
        status = load_vector(f, "output_norm.weight", 0, e, true, &m->output_norm);
    if (status == NB_OK)
        status = find(f, "output.weight", 0, e, m->vocab, 1, false, &m->output.weight);
    for (uint32_t i = 0; i < m->layers && status == NB_OK; i++)
        status = load_layer(f, i);
    if (m->output.weight == NULL) /* tied */
        m->output.weight = m->token_embedding;
    m->output.rows = m->vocab;
    return status;
}

enum nb_status
nb_model_open(struct nb_model *m, const struct nb_source *source, struct nb_error *err)
{
    struct finder f = { .model = m, .err = err };
    double theta = 0;
    enum nb_status status;

    *m = (struct nb_model){ .source = source };
    status = read_hparams(m, &theta, err);
    f.sorted = nb_views_by_name(source->tensors, source->n_tensors);
    if (f.sorted == NULL)
        status = nb_fail_memory(err);
    if (status == NB_OK)
        status = load_tensors(&f, theta);
    free(f.sorted);
    if (status != NB_OK)
        nb_model_close(m);
    return status;
}

void
nb_model_close(struct nb_model *m)
{
    nb_arena_free(&m->arena);
    *m = (struct nb_model){ 0 };
}

enum nb_status
nb_model_rows(const struct nb_model *m, const struct nb_view *t, uint64_t first, uint64_t rows,
              struct nb_view_reader *reader, float *out, struct nb_error *err)
{
    const uint64_t n = rows * t->ne[0];
    enum nb_status status = nb_view_rows(t, first, rows, out, reader, err);
    uint64_t bad;

    if (status != NB_OK)
        return status;
    bad = nb_view_find_nonfinite(t, reader, 0, n);
    if (bad < n)
        return nb_fail(err, NB_INPUT, "%s: tensor '%s': row %" PRIu64 " has a weight that is NaN or infinite",
                       m->source->path, t->name, first + bad / t->ne[0]);
    return NB_OK;
}
