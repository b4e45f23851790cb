/* Compiled once per tier. */
#include "verify/run/vector_math.h"

#include "formats/elements/lanes.h"
#include "formats/elements/tier.h"

#include <math.h>

/* Elements that are summed in floats before the sum is added to a double: sixteen for each of 16 lanes. */
#define RUN 256u

/*
 * e^x for x from -87 to 88; x is clamped to this range. Computed as 2^n e^r with
 * |r| <= ln(2) / 2, the coefficients of e^r from Cephes' expf (S. Moshier); the
 * error is below two units in the last place.
 */
NB_INLINE lf
lf_exp(lf x)
{
    lf n, r, p;

    x = lf_max(lf_min(x, lf_set1(88.0f)), lf_set1(-87.0f));
    n = lf_round_small(x * lf_set1(1.44269504f));
    r = x - n * lf_set1(0.693359375f); /* ln 2 in two parts; the first has few bits, so this product is exact */
    r = r + n * lf_set1(2.12194440e-4f);
    p = lf_set1(1.9875691500e-4f);
    p = p * r + lf_set1(1.3981999507e-3f);
    p = p * r + lf_set1(8.3334519073e-3f);
    p = p * r + lf_set1(4.1665795894e-2f);
    p = p * r + lf_set1(1.6666665459e-1f);
    p = p * r + lf_set1(5.0000001201e-1f);
    p = p * r * r + r + lf_set1(1.0f);
    return p * li_as_float((lf_to_int(n) + 127) << 23);
}

/* The sum of the lanes of V. */
NB_INLINE double
lf_total(lf v)
{
    float lanes[NB_LANES];
    double sum = 0;

    lf_store(lanes, v);
    for (int i = 0; i < NB_LANES; i++)
        sum += (double)lanes[i];
    return sum;
}

/* The first N elements of X, FILL in the other lanes. */
NB_INLINE lf
load_part(const float *x, size_t n, float fill)
{
    float lanes[NB_LANES];

    for (size_t i = 0; i < NB_LANES; i++)
        lanes[i] = i < n ? x[i] : fill;
    return lf_load(lanes);
}

NB_INLINE void
store_part(float *x, size_t n, lf v)
{
    float lanes[NB_LANES];

    lf_store(lanes, v);
    for (size_t i = 0; i < n; i++)
        x[i] = lanes[i];
}

static float
largest(const float *x, size_t n, size_t *at)
{
    lf best = lf_set1(x[0]);
    float lanes[NB_LANES], max;
    size_t i = 0;

    for (; i + NB_LANES <= n; i += NB_LANES)
        best = lf_max(lf_load(x + i), best);
    lf_store(lanes, best);
    max = lanes[0];
    for (int k = 1; k < NB_LANES; k++)
        max = lanes[k] > max ? lanes[k] : max;
    for (; i < n; i++)
        max = x[i] > max ? x[i] : max;
    if (at != NULL)
        for (*at = 0; *at + 1 < n && x[*at] < max;)
            ++*at;
    return max;
}

static void
softmax(float *x, size_t n)
{
    const lf max = lf_set1(largest(x, n, NULL));
    lf sums = lf_set1(0), scale;
    double total = 0;
    size_t i = 0;

    for (; i + NB_LANES <= n; i += NB_LANES) {
        const lf e = lf_exp(lf_load(x + i) - max);

        lf_store(x + i, e);
        sums = sums + e;
        if ((i + NB_LANES) % RUN == 0) {
            total += lf_total(sums);
            sums = lf_set1(0);
        }
    }
    total += lf_total(sums);
    if (i < n) {
        store_part(x + i, n - i, lf_exp(load_part(x + i, n - i, 0) - max));
        for (size_t k = i; k < n; k++)
            total += (double)x[k];
    }
    scale = lf_set1((float)(1 / total));
    for (i = 0; i + NB_LANES <= n; i += NB_LANES)
        lf_store(x + i, lf_load(x + i) * scale);
    store_part(x + i, n - i, load_part(x + i, n - i, 0) * scale);
}

NB_INLINE lf
silu(lf x)
{
    return x / (lf_set1(1) + lf_exp(lf_set1(0) - x));
}

/* tanh(x), from e^2x. */
NB_INLINE lf
lf_tanh(lf x)
{
    return lf_set1(1) - lf_set1(2) / (lf_set1(1) + lf_exp(x + x));
}

/* The approximation by tanh (Hendrycks and Gimpel 2016). */
NB_INLINE lf
gelu(lf x)
{
    const lf u = lf_set1(0.79788456f) * (x + lf_set1(0.044715f) * x * x * x); /* sqrt(2 / pi) */

    return lf_set1(0.5f) * x * (lf_set1(1) + lf_tanh(u));
}

NB_INLINE lf
gelu_exact(lf x)
{
    float lanes[NB_LANES];

    lf_store(lanes, x);
    for (int i = 0; i < NB_LANES; i++)
        lanes[i] *= 0.5f * (1 + erff(lanes[i] * 0.70710678f));
    return lf_load(lanes);
}

NB_INLINE lf
relu_squared(lf x)
{
    const lf r = lf_max(x, lf_set1(0));

    return r * r;
}

NB_INLINE lf
function_of(const enum nb_activation f, lf x)
{
    return f == NB_ACTIVATION_GELU           ? gelu(x)
           : f == NB_ACTIVATION_GELU_EXACT   ? gelu_exact(x)
           : f == NB_ACTIVATION_RELU_SQUARED ? relu_squared(x)
                                             : silu(x);
}

/* Compiled for each function. */
NB_INLINE void
activate_by(const enum nb_activation f, const float *x, const float *up, size_t n, float *out)
{
    size_t i = 0;

    for (; i + NB_LANES <= n; i += NB_LANES) {
        const lf y = function_of(f, lf_load(x + i));

        lf_store(out + i, up == NULL ? y : y * lf_load(up + i));
    }
    if (i < n) {
        const lf y = function_of(f, load_part(x + i, n - i, 0));

        store_part(out + i, n - i, up == NULL ? y : y * load_part(up + i, n - i, 0));
    }
}

static void
activate(enum nb_activation f, const float *x, const float *up, size_t n, float *out)
{
    switch (f) {
    case NB_ACTIVATION_GELU:
        activate_by(NB_ACTIVATION_GELU, x, up, n, out);
        break;
    case NB_ACTIVATION_GELU_EXACT:
        activate_by(NB_ACTIVATION_GELU_EXACT, x, up, n, out);
        break;
    case NB_ACTIVATION_RELU_SQUARED:
        activate_by(NB_ACTIVATION_RELU_SQUARED, x, up, n, out);
        break;
    case NB_ACTIVATION_SILU:
    case NB_ACTIVATION_XIELU:
    case NB_ACTIVATION_GPT_OSS:
        activate_by(NB_ACTIVATION_SILU, x, up, n, out);
        break;
    }
}

static void
apply_gate(float *x, const float *gate, size_t n)
{
    size_t i = 0;

    for (; i + NB_LANES <= n; i += NB_LANES)
        lf_store(x + i, lf_load(x + i) / (lf_set1(1) + lf_exp(lf_set1(0) - lf_load(gate + i))));
    if (i < n)
        store_part(x + i, n - i,
                   load_part(x + i, n - i, 0) / (lf_set1(1) + lf_exp(lf_set1(0) - load_part(gate + i, n - i, 0))));
}

static void
soft_cap(float *x, size_t n, float cap)
{
    const lf c = lf_set1(cap);
    size_t i = 0;

    for (; i + NB_LANES <= n; i += NB_LANES)
        lf_store(x + i, c * lf_tanh(lf_load(x + i) / c));
    store_part(x + i, n - i, c * lf_tanh(load_part(x + i, n - i, 0) / c));
}

/* Four sums, so that none waits for the one before. */
static float
dot(const float *x, const float *y, size_t n)
{
    lf sums[4] = { lf_set1(0), lf_set1(0), lf_set1(0), lf_set1(0) };
    float rest = 0;
    size_t i = 0;

    for (; i + 4 * NB_LANES <= n; i += 4 * NB_LANES)
        for (size_t k = 0; k < 4; k++)
            sums[k] = sums[k] + lf_load(x + i + k * NB_LANES) * lf_load(y + i + k * NB_LANES);
    for (; i + NB_LANES <= n; i += NB_LANES)
        sums[0] = sums[0] + lf_load(x + i) * lf_load(y + i);
    for (; i < n; i++)
        rest += x[i] * y[i];
    return (float)lf_total((sums[0] + sums[1]) + (sums[2] + sums[3])) + rest;
}

/* The sum of (x[i] - SHIFT)^2, or of x[i]. */
NB_INLINE double
sum_of(const float *x, size_t n, float shift, const bool squares)
{
    double total = 0;
    size_t i = 0;

    while (i + NB_LANES <= n) {
        lf sums = lf_set1(0);

        for (size_t end = i + RUN; i + NB_LANES <= n && i < end; i += NB_LANES) {
            const lf v = lf_load(x + i) - lf_set1(shift);

            sums = sums + (squares ? v * v : v);
        }
        total += lf_total(sums);
    }
    for (; i < n; i++) {
        const double v = (double)(x[i] - shift);

        total += squares ? v * v : v;
    }
    return total;
}

/* out[i] = (x[i] - SHIFT) * SCALE * weight[i] + bias[i] */
NB_INLINE void
scale_by(const float *x, float shift, float scale, const float *weight, const float *bias, size_t n, float *out)
{
    size_t i = 0;

    for (; i + NB_LANES <= n; i += NB_LANES) {
        lf v = (lf_load(x + i) - lf_set1(shift)) * lf_set1(scale);

        v = weight == NULL ? v : v * lf_load(weight + i);
        lf_store(out + i, bias == NULL ? v : v + lf_load(bias + i));
    }
    for (; i < n; i++)
        out[i] = (x[i] - shift) * scale * (weight == NULL ? 1 : weight[i]) + (bias == NULL ? 0 : bias[i]);
}

static double
rms_norm(const float *x, const float *weight, size_t n, float epsilon, float *out)
{
    const double mean = sum_of(x, n, 0, true) / (double)n;

    scale_by(x, 0, (float)(1 / sqrt(mean + (double)epsilon)), weight, NULL, n, out);
    return mean;
}

static double
layer_norm(const float *x, const float *weight, const float *bias, size_t n, float epsilon, float *out)
{
    const float mean = (float)(sum_of(x, n, 0, false) / (double)n);
    const double variance = sum_of(x, n, mean, true) / (double)n;

    scale_by(x, mean, (float)(1 / sqrt(variance + (double)epsilon)), weight, bias, n, out);
    return variance;
}

/* Sum over i of exp(x[i] - max), or of that times (x[i] - y[i]). */
NB_INLINE double
sum_of_exps(const float *x, const float *y, size_t n, float max, const bool difference)
{
    double total = 0;
    size_t i = 0;

    while (i < n) {
        const size_t end = i + RUN;
        lf sums = lf_set1(0);

        for (; i + NB_LANES <= n && i < end; i += NB_LANES) {
            const lf v = lf_load(x + i), e = lf_exp(v - lf_set1(max));

            sums = sums + (difference ? e * (v - lf_load(y + i)) : e);
        }
        total += lf_total(sums);
        if (i < end && i < n) { /* the remaining elements */
            const lf v = load_part(x + i, n - i, 0), e = lf_exp(v - lf_set1(max));
            float lanes[NB_LANES];

            lf_store(lanes, difference ? e * (v - load_part(y + i, n - i, 0)) : e);
            for (size_t k = 0; k < n - i; k++)
                total += (double)lanes[k];
            i = n;
        }
    }
    return total;
}

static double
sum_exp(const float *x, size_t n, float max)
{
    return sum_of_exps(x, x, n, max, false);
}

static double
sum_exp_difference(const float *x, const float *y, size_t n, float max)
{
    return sum_of_exps(x, y, n, max, true);
}

/* Vectorized by the compiler: each column has its own sum, so the order of additions is kept. */
static void
add_squares(double *restrict sums, const float *restrict x, size_t rows, size_t stride, size_t columns)
{
    for (size_t row = 0; row < rows; row++, x += stride)
        for (size_t i = 0; i < columns; i++)
            sums[i] += (double)x[i] * (double)x[i];
}

/* Vectorized by the compiler. */
static void
recur(float *restrict state, size_t rows, size_t columns, const float *decay, const float *write,
      const float *restrict value, const float *read, float *restrict out)
{
    for (size_t r = 0; r < rows; r++, state += columns) {
        const float kept = decay == NULL ? 1 : decay[r], written = write == NULL ? 0 : write[r], factor = read[r];

        for (size_t c = 0; c < columns; c++) {
            const float s = kept * state[c] + written * value[c];

            state[c] = s;
            out[c] += factor * s;
        }
    }
}

static void
recur_selectively(float *state, size_t rows, size_t columns, size_t stride, const float *rates, const float *time,
                  const float *write, const float *value, const float *read, float *out)
{
    for (size_t r = 0; r < rows; r++, state += stride, rates += stride) {
        const lf written = lf_set1(write[r]), factor = lf_set1(read[r]);
        size_t c = 0;

        for (; c + NB_LANES <= columns; c += NB_LANES) {
            const lf kept = lf_exp(lf_load(rates + c) * lf_load(time + c));
            const lf s = kept * lf_load(state + c) + written * lf_load(value + c);

            lf_store(state + c, s);
            lf_store(out + c, lf_load(out + c) + factor * s);
        }
        if (c < columns) {
            const size_t n = columns - c;
            const lf kept = lf_exp(load_part(rates + c, n, 0) * load_part(time + c, n, 0));
            const lf s = kept * load_part(state + c, n, 0) + written * load_part(value + c, n, 0);

            store_part(state + c, n, s);
            store_part(out + c, n, load_part(out + c, n, 0) + factor * s);
        }
    }
}

extern const struct nb_vector_math NB_TIERED(nb_vector_math);
const struct nb_vector_math NB_TIERED(nb_vector_math) = {
    .softmax = softmax,
    .activate = activate,
    .apply_gate = apply_gate,
    .soft_cap = soft_cap,
    .rms_norm = rms_norm,
    .layer_norm = layer_norm,
    .dot = dot,
    .largest = largest,
    .sum_exp = sum_exp,
    .sum_exp_difference = sum_exp_difference,
    .add_squares = add_squares,
    .recur = recur,
    .recur_selectively = recur_selectively,
};
