#include "verify/run/blocks/feed_forward.h"

#include "verify/run/scalar_math.h"
#include "verify/run/vector_math.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

/* --- loading ---------------------------------------------------------------------------------------------- */

static enum nb_status
load_matrices(struct nb_loader *l, const char *suffix, struct nb_feed_forward *f)
{
    char gate[64], up[64], down[64], both[64];
    enum nb_status status;

    snprintf(gate, sizeof gate, "blk.%%l.ffn_gate%s", suffix);
    snprintf(up, sizeof up, "blk.%%l.ffn_up%s", suffix);
    snprintf(down, sizeof down, "blk.%%l.ffn_down%s", suffix);
    snprintf(both, sizeof both, "blk.%%l.ffn_gate_up%s", suffix);
    status = nb_load_linear_if_any(l, both, &f->up);
    if (status == NB_OK && f->up.weight == NULL) {
        status = nb_load_linear_if_any(l, gate, &f->gate);
        if (status == NB_OK)
            status = nb_load_linear(l, up, &f->up);
    }
    return status == NB_OK ? nb_load_linear(l, down, &f->down) : status;
}

static enum nb_status
check_sizes(const struct nb_loader *l, const char *suffix, const struct nb_feed_forward *f)
{
    if (f->down.columns == f->inner &&
        (f->gate.weight == NULL || (f->gate.rows == f->inner && f->gate.columns == f->up.columns)) &&
        f->up.columns == f->down.rows && f->up.experts == f->down.experts &&
        (f->inner_norm == NULL || f->inner_norm->length == f->inner))
        return NB_OK;
    return nb_fail(l->err, NB_UNSUPPORTED,
                   "%s: the tensors 'ffn_up%s' and 'ffn_down%s' of layer %" PRIu32
                   " do not make a network that can be run",
                   l->model->source->path, suffix, suffix, l->layer);
}

static void
load_parameters(const struct nb_loader *l, enum nb_hparam limit, struct nb_feed_forward *f)
{
    const struct nb_hparams *hp = &l->model->hp;

    f->activation = l->model->arch->activation;
    f->limits_activated = l->model->arch->limits_activated;
    f->limit = limit == NB_HPARAMS ? 0 : (float)nb_hp_at(hp, limit, l->layer);
    f->beta = (float)nb_hp_at(hp, NB_HP_XIELU_BETA, l->layer);
    f->alpha_p = nb_softplus((float)nb_hp_at(hp, NB_HP_XIELU_ALPHA_P, l->layer));
    f->alpha_n = f->beta + nb_softplus((float)nb_hp_at(hp, NB_HP_XIELU_ALPHA_N, l->layer));
    f->epsilon = (float)nb_hp_at(hp, NB_HP_XIELU_EPS, l->layer);
    f->sparsity = nb_hp_has(hp, NB_HP_SPARSITY_SCALE) ? (float)nb_hp_at(hp, NB_HP_SPARSITY_SCALE, l->layer) : -INFINITY;
}

enum nb_status
nb_load_feed_forward(struct nb_loader *l, const char *suffix, enum nb_hparam limit, struct nb_feed_forward *f)
{
    enum nb_status status = load_matrices(l, suffix, f);

    if (status == NB_OK)
        status = nb_load_norm(l, "blk.%l.ffn_sub_norm", &f->inner_norm);
    if (status != NB_OK)
        return status;
    load_parameters(l, limit, f);
    /* Some architectures have both in "ffn_up". */
    f->is_fused = f->gate.weight == NULL && f->up.rows == 2 * f->down.columns;
    f->inner = f->is_fused ? f->up.rows / 2 : f->up.rows;
    return check_sizes(l, suffix, f);
}

/* --- running ------------------------------------------------------------------------------------------------ */

struct nb_feed_forward_memory
nb_feed_forward_take(const struct nb_feed_forward *f, struct nb_scratch *s)
{
    struct nb_feed_forward_memory m;

    m.gate = nb_scratch_take(s, s->tokens, f->gate.rows);
    m.up = nb_scratch_take(s, s->tokens, f->up.rows);
    m.inner = f->is_fused ? nb_scratch_take(s, s->tokens, f->inner) : f->gate.weight != NULL ? m.gate : m.up;
    return m;
}

/* As in gpt-oss: swish with a steeper sigmoid, of clamped inputs. */
static void
activate_gpt_oss(const struct nb_feed_forward *f, const float *gate, const float *up, float *out)
{
    const float limit = f->limit > 0 ? f->limit : 7; /* swiglu_limit of its config */

    for (size_t i = 0; i < f->inner; i++) {
        const float g = fminf(gate[i], limit), u = fmaxf(fminf(up[i], limit), -limit);

        out[i] = g / (1 + expf(-1.702f * g)) * (u + 1);
    }
}

/* xIELU: alpha_p x^2 + beta x above zero; below, (e^min(x, epsilon) - 1 - x) alpha_n + beta x. */
static void
activate_xielu(const struct nb_feed_forward *f, const float *x, float *out)
{
    for (size_t i = 0; i < f->inner; i++)
        out[i] = x[i] > 0 ? f->alpha_p * x[i] * x[i] + f->beta * x[i]
                          : (expm1f(fminf(x[i], f->epsilon)) - x[i]) * f->alpha_n + f->beta * x[i];
}

static void
clamp_inputs(const struct nb_feed_forward *f, float *gate, float *up)
{
    for (size_t i = 0; i < f->inner; i++) {
        gate[i] = fminf(gate[i], f->limit);
        up[i] = fmaxf(fminf(up[i], f->limit), -f->limit);
    }
}

/* As in Step 3.5. */
static void
activate_and_limit(const struct nb_feed_forward *f, const float *gate, const float *up, float *out)
{
    nb_vector_math()->activate(f->activation, gate, NULL, f->inner, out);
    for (size_t i = 0; i < f->inner; i++)
        out[i] = fminf(out[i], f->limit) * fmaxf(fminf(up[i], f->limit), -f->limit);
}

/* Leaves of the gate what is above its mean plus SPARSITY times its standard deviation (Gemma 3n). */
static void
thin_out(const struct nb_feed_forward *f, float *gate)
{
    double sum = 0, squares = 0, mean;
    float cutoff;

    for (size_t i = 0; i < f->inner; i++)
        sum += (double)gate[i];
    mean = sum / (double)f->inner;
    for (size_t i = 0; i < f->inner; i++)
        squares += ((double)gate[i] - mean) * ((double)gate[i] - mean);
    cutoff = (float)(mean + sqrt(squares / (double)f->inner) * (double)f->sparsity);
    for (size_t i = 0; i < f->inner; i++)
        gate[i] = fmaxf(gate[i] - cutoff, 0);
}

struct step {
    const struct nb_feed_forward *network;
    const struct nb_feed_forward_memory *memory;
    size_t n;
};

#define ROWS_IN_TASK 64u

/* Applies the activation to some rows. */
static enum nb_status
activate_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct step *s = context;
    const struct nb_feed_forward *f = s->network;
    const size_t first = task * ROWS_IN_TASK, end = s->n - first < ROWS_IN_TASK ? s->n : first + ROWS_IN_TASK;

    (void)worker;
    (void)err;
    for (size_t i = first; i < end; i++) {
        float *up = s->memory->up + i * f->up.rows, *gate = s->memory->gate + i * f->gate.rows;
        float *out = s->memory->inner + i * f->inner;
        const bool gated = f->is_fused || f->gate.weight != NULL;

        if (f->is_fused) {
            gate = up;
            up += f->inner;
        }
        if (gated && isfinite(f->sparsity))
            thin_out(f, gate);
        if (f->limit > 0 && gated && !f->limits_activated && f->activation != NB_ACTIVATION_GPT_OSS)
            clamp_inputs(f, gate, up);
        if (f->activation == NB_ACTIVATION_GPT_OSS)
            activate_gpt_oss(f, gate, up, out);
        else if (f->activation == NB_ACTIVATION_XIELU)
            activate_xielu(f, up, out);
        else if (f->limit > 0 && gated && f->limits_activated)
            activate_and_limit(f, gate, up, out);
        else
            nb_vector_math()->activate(f->activation, gated ? gate : up, gated ? up : NULL, f->inner, out);
        if (f->inner_norm != NULL)
            nb_norm_row(f->inner_norm, out, f->inner, out);
    }
    return NB_OK;
}

enum nb_status
nb_feed_forward_run(const struct nb_feed_forward *f, uint32_t expert, const struct nb_feed_forward_memory *m,
                    struct nb_run *r, const float *in, size_t n, float *out, bool add, struct nb_error *err)
{
    const struct nb_product inputs[] = { { &f->up, expert, m->up, false }, { &f->gate, expert, m->gate, false } };
    const struct nb_product down = { &f->down, expert, out, add };
    struct step step = { f, m, n };
    enum nb_status status = nb_run_multiply(r, in, n, inputs, f->gate.weight != NULL ? 2 : 1, err);

    if (status == NB_OK)
        status = nb_pool_run(r->pool, activate_task, &step, (n + ROWS_IN_TASK - 1) / ROWS_IN_TASK, err);
    return status == NB_OK ? nb_run_multiply(r, m->inner, n, &down, 1, err) : status;
}
