#include "verify/run/blocks/convolution.h"

#include "verify/run/vector_math.h"

#include <stdio.h>
#include <string.h>

/* The taps of each channel become rows with one tap of all channels. */
static enum nb_status
arrange(const struct nb_loader *l, const float *weight, struct nb_convolution *c)
{
    float *taps = nb_arena_calloc(&l->model->arena, c->length, c->channels * sizeof *taps);

    if (taps == NULL)
        return nb_fail_memory(l->err);
    for (size_t channel = 0; channel < c->channels; channel++)
        for (size_t t = 0; t < c->length; t++)
            taps[t * c->channels + channel] = weight[channel * c->length + t];
    c->taps = taps;
    return NB_OK;
}

enum nb_status
nb_load_convolution(const struct nb_loader *l, const char *pattern, struct nb_convolution *c)
{
    char name[NB_MAX_NAME + 1];
    struct nb_linear shape;
    const float *weight;
    enum nb_status status;

    snprintf(name, sizeof name, "%s.weight", pattern);
    status = nb_load_table(l, name, &shape);
    if (status == NB_OK)
        status = nb_load_small(l, name, &weight);
    if (status != NB_OK)
        return status;
    c->length = shape.columns;
    c->channels = shape.rows * shape.experts; /* the dimension of channels is the second or the third */
    status = arrange(l, weight, c);
    snprintf(name, sizeof name, "%s.bias", pattern);
    return status == NB_OK ? nb_load_small(l, name, &c->bias) : status;
}

float *
nb_convolution_take(const struct nb_convolution *c, struct nb_scratch *s)
{
    return nb_scratch_take(s, s->chunks * (c->length - 1), c->channels);
}

struct step {
    const struct nb_run *run;
    const struct nb_convolution *convolution;
    const float *in;
    size_t in_row;
    float *kept, *out;
    bool activates;
};

/* The row that is BACK tokens before token I of the batch; NULL before the beginning of its chunk. */
static const float *
earlier_row(const struct step *s, size_t i, size_t back)
{
    const struct nb_run *r = s->run;
    const struct nb_convolution *c = s->convolution;
    const size_t chunk = i / r->each, at = i % r->each;

    if (back <= at)
        return s->in + (i - back) * s->in_row;
    if (back > r->first + at)
        return NULL;
    return s->kept + ((chunk + 1) * (c->length - 1) - (back - at)) * c->channels;
}

static enum nb_status
convolve_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    const struct step *s = context;
    const struct nb_convolution *c = s->convolution;
    size_t i, end = nb_run_task_rows(s->run, task, &i);

    (void)worker;
    (void)err;
    for (; i < end; i++) {
        float *restrict out = s->out + i * c->channels;

        if (c->bias == NULL)
            memset(out, 0, c->channels * sizeof *out);
        else
            memcpy(out, c->bias, c->channels * sizeof *out);
        for (size_t t = 0; t < c->length; t++) {
            const float *row = earlier_row(s, i, c->length - 1 - t), *taps = c->taps + t * c->channels;

            for (size_t k = 0; k < c->channels && row != NULL; k++)
                out[k] += taps[k] * row[k];
        }
        if (s->activates)
            nb_vector_math()->activate(NB_ACTIVATION_SILU, out, NULL, c->channels, out);
    }
    return NB_OK;
}

/* Keeps the last rows of each chunk. Those that were kept before the batch move up. */
static void
keep_last(const struct step *s)
{
    const struct nb_run *r = s->run;
    const size_t channels = s->convolution->channels, length = s->convolution->length - 1;
    const size_t added = r->each < length ? r->each : length;

    for (size_t chunk = 0; chunk < r->n / r->each; chunk++) {
        float *kept = s->kept + chunk * length * channels;

        memmove(kept, kept + added * channels, (length - added) * channels * sizeof *kept);
        for (size_t i = 0; i < added; i++)
            memcpy(kept + (length - added + i) * channels, s->in + ((chunk + 1) * r->each - added + i) * s->in_row,
                   channels * sizeof *kept);
    }
}

enum nb_status
nb_convolve(const struct nb_run *r, const struct nb_convolution *c, const float *in, size_t in_row, float *kept,
            float *out, bool activates, struct nb_error *err)
{
    struct step step = { r, c, in, in_row, kept, out, activates };
    const enum nb_status status = nb_run_rows(r, convolve_task, &step, err);

    if (status == NB_OK)
        keep_last(&step);
    return status;
}
