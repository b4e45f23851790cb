/*
 * The reference inference path and what is measured with it: transformers'
 * logits, llama-perplexity's numbers, results that depend on nothing but the
 * input, and input that is refused.
 */
#include "cli/verdict.h"
#include "formats/base/pool.h"
#include "formats/base/status.h"
#include "formats/elements/tier.h"
#include "formats/models/source.h"
#include "scratch.h"
#include "testing.h"
#include "verify/drift/drift.h"
#include "verify/drift/drift_stats.h"
#include "verify/drift/worst_tokens.h"
#include "verify/run/forward.h"
#include "verify/run/model.h"
#include "verify/run/vector_math.h"
#include "verify/tokenize/text_file.h"
#include "verify/tokenize/tokenize.h"

#include <jansson.h>
#include <signal.h>
#include <time.h>

#define SAMPLE SAMPLE_DATA "/tinystories-3m"
#define TEXT SAMPLE_DATA "/tinystories-valid.txt"
#define CHUNKS 12

/* A model that is open, and the ids of the sample text. */
struct opened {
    struct nb_source source;
    struct nb_model model;
};

static struct nb_ids ids;

static void
open_model(struct opened *o, const char *path)
{
    struct nb_error err;

    if (nb_source_open(&o->source, path, NULL, &err) != NB_OK || nb_model_open(&o->model, &o->source, &err) != NB_OK)
        fail_msg("%s: %s", path, err.message);
}

static void
close_model(struct opened *o)
{
    nb_model_close(&o->model);
    nb_source_close(&o->source);
}

static int
load_text(void **state)
{
    struct nb_source source;
    struct nb_tokenizer *t;
    struct nb_error err;
    char *text;
    size_t length;

    if (scratch_setup(state) != 0 || nb_source_open(&source, SAMPLE, NULL, &err) != NB_OK ||
        nb_tokenizer_open(&t, &source, &err) != NB_OK || nb_text_file_load(TEXT, &text, &length, &err) != NB_OK ||
        nb_tokenize(t, text, length, NB_ADD_SPECIAL, &ids, &err) != NB_OK)
        return -1;
    free(text);
    nb_tokenizer_close(t);
    nb_source_close(&source);
    return 0;
}

static int
drop_text(void **state)
{
    nb_ids_free(&ids);
    return scratch_teardown(state);
}

/* --- the forward pass ------------------------------------------------------------------------------------- */

/* Every 64th row of 512, from row 63 on, recorded by tests/interop/logits.py. */
static void
logits_are_those_of_transformers(void **unused)
{
    const char *const *tiers = nb_tiers();
    size_t size, vocab;
    float *expected = (float *)(void *)scratch_read(TEST_DATA "/golden/tinystories-3m.logits", &size);
    struct opened o;
    struct nb_pool *pool;
    struct nb_error err;

    (void)unused;
    open_model(&o, SAMPLE);
    vocab = nb_model_vocab(&o.model);
    assert_int_equal(size, 8 * vocab * sizeof(float));
    assert_int_equal(nb_pool_new(&pool, 2, &err), NB_OK);
    for (; *tiers != NULL; tiers++) {
        struct nb_forward *forward;
        const float *hidden;
        float *logits = malloc(512 * vocab * sizeof *logits);
        double worst = 0;

        assert_non_null(logits);
        assert_true(nb_tier_set(*tiers));
        assert_int_equal(nb_forward_new(&forward, pool, 1, 512, &err), NB_OK);
        assert_int_equal(nb_forward_run(forward, &o.model, ids.id, -1, 1, &hidden, &err), NB_OK);
        assert_int_equal(nb_forward_logits(forward, &o.model, hidden, 512, logits, &err), NB_OK);
        for (size_t row = 0; row < 8; row++)
            for (size_t i = 0; i < vocab; i++)
                worst = fmax(worst,
                             fabs((double)logits[(63 + 64 * row) * vocab + i] - (double)expected[row * vocab + i]));
        if (!(worst < 1e-3))
            fail_msg("%s: a logit is %g from transformers'", *tiers, worst);
        nb_forward_free(forward);
        free(logits);
    }
    nb_tier_set(NULL);
    nb_pool_free(pool);
    close_model(&o);
    free(expected);
}

/* One tensor may stand in the place of another: also for so few tokens that they are multiplied in another way. */
static void
a_replacement_counts_for_any_number_of_tokens(void **unused)
{
    static struct run run;
    struct opened whole, other;
    struct nb_forward *forward;
    struct nb_pool *pool;
    struct nb_error err;
    const float *hidden;
    float *logits, few = 0, many = 0;
    size_t vocab;

    (void)unused;
    RUN(&run, "quantize", SAMPLE, "-t", "q4_0", "-o", "other.gguf");
    assert_int_equal(run.code, 0);
    open_model(&whole, SAMPLE);
    open_model(&other, scratch_path("other.gguf"));
    vocab = nb_model_vocab(&whole.model);
    logits = malloc(3 * 8 * vocab * sizeof *logits);
    assert_non_null(logits);
    assert_int_equal(nb_pool_new(&pool, 2, &err), NB_OK);
    assert_int_equal(nb_forward_new(&forward, pool, 1, 16, &err), NB_OK);
    assert_int_equal(nb_forward_run(forward, &whole.model, ids.id, -1, 1, &hidden, &err), NB_OK);
    assert_int_equal(nb_forward_logits(forward, &whole.model, hidden, 8, logits, &err), NB_OK);
    whole.model.replaced = whole.model.output->weight;
    whole.model.replacement = other.model.output->weight;
    assert_int_equal(nb_forward_logits(forward, &whole.model, hidden, 8, logits + 8 * vocab, &err), NB_OK);
    assert_int_equal(nb_forward_logits(forward, &whole.model, hidden, 1, logits + 16 * vocab, &err), NB_OK);
    for (size_t i = 0; i < vocab; i++) {
        many = fmaxf(many, fabsf(logits[8 * vocab + i] - logits[i]));
        few = fmaxf(few, fabsf(logits[16 * vocab + i] - logits[8 * vocab + i]));
    }
    assert_true(many > 0.01f);
    assert_true(few < 1e-4f);
    free(logits);
    nb_forward_free(forward);
    nb_pool_free(pool);
    close_model(&whole);
    close_model(&other);
}

static double
activation_of(enum nb_activation f, double x)
{
    const double inner = sqrt(2 / M_PI) * (x + 0.044715 * x * x * x);

    return f == NB_ACTIVATION_SILU         ? x / (1 + exp(-x))
           : f == NB_ACTIVATION_GELU       ? x / 2 * (1 + tanh(inner))
           : f == NB_ACTIVATION_GELU_EXACT ? x / 2 * (1 + erf(x / sqrt(2)))
                                           : fmax(x, 0) * fmax(x, 0);
}

static void
check_products(const struct nb_vector_math *math, const float *x, const float *y, size_t n)
{
    double product = 0, size = 0;

    for (size_t i = 0; i < n; i++) {
        product += (double)x[i] * (double)y[i];
        size += fabs((double)x[i] * (double)y[i]);
    }
    assert_true(fabs((double)math->dot(x, y, n) - product) <= 1e-6 * size);
}

static void
check_functions(const struct nb_vector_math *math, const float *x, const float *y, size_t n)
{
    static const enum nb_activation functions[] = { NB_ACTIVATION_SILU, NB_ACTIVATION_GELU, NB_ACTIVATION_GELU_EXACT,
                                                    NB_ACTIVATION_RELU_SQUARED };
    float z[700], alone[700];
    double mean = 0, variance = 0;

    for (size_t f = 0; f < sizeof functions / sizeof functions[0]; f++) {
        math->activate(functions[f], x, y, n, z);
        math->activate(functions[f], x, NULL, n, alone);
        for (size_t i = 0; i < n; i++) {
            const double expected = activation_of(functions[f], (double)x[i]);

            assert_true(fabs((double)alone[i] - expected) <= 2e-6 * fabs((double)x[i]) * fmax(1, fabs((double)x[i])));
            assert_true(z[i] == alone[i] * y[i]);
        }
    }
    memcpy(z, y, n * sizeof *z);
    math->apply_gate(z, x, n);
    memcpy(alone, x, n * sizeof *x);
    math->soft_cap(alone, n, 5);
    for (size_t i = 0; i < n; i++) {
        assert_true(fabs((double)z[i] - (double)y[i] / (1 + exp(-(double)x[i]))) <= 1e-6 * fabs((double)y[i]));
        assert_true(fabs((double)alone[i] - 5 * tanh((double)x[i] / 5)) < 3e-6);
        mean += (double)x[i] / (double)n;
    }
    for (size_t i = 0; i < n; i++)
        variance += ((double)x[i] - mean) * ((double)x[i] - mean) / (double)n;
    assert_true(fabs(math->layer_norm(x, y, x, n, 1e-5f, z) - variance) <= 1e-5 * variance + 1e-9);
    for (size_t i = 0; i < n; i++)
        assert_true(fabs((double)z[i] - ((double)x[i] - mean) / sqrt(variance + 1e-5) * (double)y[i] - (double)x[i]) <
                    3e-5 + 1e-6 * fabs((double)x[i]));
}

/* The arithmetic of every tier against the C library's, at every length that a vector can be cut to. */
static void
vector_math_is_the_c_librarys(void **unused)
{
    const char *const *tiers = nb_tiers();

    (void)unused;
    for (; *tiers != NULL; tiers++) {
        assert_true(nb_tier_set(*tiers));
        for (size_t n = 1; n < 700; n = n < 70 ? n + 1 : n + 101) {
            const struct nb_vector_math *math = nb_vector_math();
            float x[700], y[700], z[700], max = -INFINITY;
            double sum = 0, squares = 0, difference = 0;
            size_t at, first = 0;

            assert_string_equal(nb_tier(), *tiers);
            for (size_t i = 0; i < n; i++) {
                x[i] = (float)((double)(i * 2654435761u % 4001) / 100 - 30);
                y[i] = (float)((double)(i * 40503u % 991) / 100 - 5);
                if (x[i] > max) {
                    max = x[i];
                    first = i;
                }
            }
            for (size_t i = 0; i < n; i++) {
                sum += exp((double)x[i] - (double)max);
                difference += exp((double)x[i] - (double)max) * ((double)x[i] - (double)y[i]);
                squares += (double)x[i] * (double)x[i];
            }
            assert_true(math->largest(x, n, &at) == max && at == first);
            assert_true(fabs(math->sum_exp(x, n, max) / sum - 1) < 1e-6);
            assert_true(fabs(math->sum_exp_difference(x, y, n, max) - difference) < 1e-6 * (fabs(difference) + 30));
            assert_true(math->sum_exp_difference(x, x, n, max) == 0);
            memcpy(z, x, sizeof x);
            math->softmax(z, n);
            for (size_t i = 0; i < n; i++)
                assert_true(fabs((double)z[i] - exp((double)x[i] - (double)max) / sum) < 1e-6);
            check_functions(math, x, y, n);
            check_products(math, x, y, n);
            assert_true(fabs(math->rms_norm(x, y, n, 1e-5f, z) - squares / (double)n) < 1e-5 * squares);
            for (size_t i = 0; i < n; i++)
                assert_true(fabs((double)z[i] - (double)x[i] / sqrt(squares / (double)n + 1e-5) * (double)y[i]) < 1e-5);
        }
    }
    nb_tier_set(NULL);
}

/* --- measuring --------------------------------------------------------------------------------------------- */

static void
measure(const struct nb_model *const *models, size_t n, const struct nb_drift_options *options, struct nb_drift *drift)
{
    struct nb_error err;

    if (nb_drift_measure(models, n, ids.id, ids.count, options, drift, &err) != NB_OK)
        fail_msg("%s", err.message);
}

static const struct nb_drift_options usual = { .chunk_tokens = 512, .max_chunks = CHUNKS, .bos = 2046 };

/*
 * What llama-perplexity of llama.cpp v0.5.0 says of the sample model's F16 file and
 * of quantized ones, over 12 chunks. It rounds activations to 8 bits and its base's
 * logits to 16: its divergences are larger than the ones here, by at most 15 %
 * or 0.00045.
 */
static void
numbers_are_those_of_llama_perplexity(void **unused)
{
    static const struct {
        const char *recipe;
        double ppl, kld, same_top, rms_dp, ln_ratio;
    } rows[] = {
        { "F16", 26.883188, 0.000000, 100.000, 0.000, 0.000099 },
        { "Q8_0", 26.875558, 0.000191, 98.889, 0.294, -0.000185 },
        { "Q6_K", 26.866757, 0.001145, 97.614, 0.736, -0.000512 },
        { "Q5_K_M", 26.871032, 0.002342, 96.732, 1.168, -0.000353 },
        { "Q4_K_M", 26.970597, 0.006793, 94.444, 1.838, 0.003346 },
        { "Q4_0", 26.881440, 0.010332, 92.549, 2.240, 0.000034 },
        { "IQ4_XS", 27.055412, 0.008123, 94.085, 1.985, 0.006485 },
        { "Q3_K_M", 27.198184, 0.019345, 90.850, 3.149, 0.011748 },
        { "Q2_K", 27.688129, 0.079110, 81.340, 6.560, 0.029602 },
        { "TQ2_0", 115.874822, 1.652553, 25.196, 29.450, 1.461109 },
    };
    enum { N = sizeof rows / sizeof rows[0] };
    static struct opened o[N + 1];
    const struct nb_model *models[N + 1];
    static struct run run;
    struct nb_drift drift;
    struct nb_error err;

    (void)unused;
    open_model(&o[0], SAMPLE);
    models[0] = &o[0].model;
    for (size_t i = 0; i < N; i++) {
        char name[32];

        snprintf(name, sizeof name, "%s.gguf", rows[i].recipe);
        RUN(&run, "quantize", SAMPLE, "-t", rows[i].recipe, "-o", name);
        assert_int_equal(run.code, 0);
        open_model(&o[i + 1], scratch_path(name));
        models[i + 1] = &o[i + 1].model;
    }
    measure(models, N + 1, &usual, &drift);
    assert_int_equal(drift.scored, CHUNKS * 255);
    for (size_t i = 0; i < N; i++) {
        struct nb_drift_stats s;

        assert_int_equal(nb_drift_stats(&drift, i + 1, drift.scored, &s, &err), NB_OK);
        if (fabs(s.perplexity.value / rows[i].ppl - 1) > 0.002)
            fail_msg("%s: perplexity %f, not %f", rows[i].recipe, s.perplexity.value, rows[i].ppl);
        if (s.kld.value > rows[i].kld + 1e-6 || rows[i].kld - s.kld.value > fmax(0.15 * rows[i].kld, 4.5e-4))
            fail_msg("%s: divergence %f, not %f", rows[i].recipe, s.kld.value, rows[i].kld);
        assert_true(fabs(100 * s.same_top.value - rows[i].same_top) < 0.6);
        assert_true(fabs(100 * s.rms_dp.value - rows[i].rms_dp) < 0.16);
        assert_true(fabs(s.ln_ratio.value - rows[i].ln_ratio) < 0.002);
    }
    nb_drift_free(&drift);
    for (size_t i = 0; i < N + 1; i++)
        close_model(&o[i]);
}

static void
a_model_does_not_differ_from_itself(void **unused)
{
    struct opened o;
    struct nb_drift drift;
    struct nb_drift_stats s;
    struct nb_error err;

    (void)unused;
    open_model(&o, SAMPLE);
    measure((const struct nb_model *const[]){ &o.model, &o.model }, 2, &usual, &drift);
    for (size_t i = 0; i < drift.scored; i++)
        assert_true(drift.score[1][i].kld == 0 && drift.score[1][i].same_top &&
                    drift.score[1][i].nll == drift.score[0][i].nll);
    assert_int_equal(nb_drift_stats(&drift, 1, drift.scored, &s, &err), NB_OK);
    assert_true(s.ratio.value == 1 && s.ln_ratio.error == 0 && s.rms_dp.value == 0);
    assert_true(fabs(s.correlation - 1) < 1e-14); /* a quotient of sums: rounded */
    nb_drift_free(&drift);
    close_model(&o);
}

static void
assert_same(const struct nb_drift *a, const struct nb_drift *b)
{
    assert_int_equal(a->scored, b->scored);
    for (size_t k = 0; k < a->models; k++)
        for (size_t i = 0; i < a->scored; i++)
            if (a->score[k][i].nll != b->score[k][i].nll || a->score[k][i].kld != b->score[k][i].kld)
                fail_msg("model %zu, token %zu: another score", k, i);
}

/* To the bit: threads, and the base as a folder or as a file. */
static void
scores_depend_on_nothing_but_the_weights(void **unused)
{
    static struct opened folder, file, quantized;
    struct nb_drift_options options = usual;
    struct nb_drift expected, found;
    static struct run run;

    (void)unused;
    RUN(&run, "quantize", SAMPLE, "-t", "f32", "-o", "f32.gguf");
    assert_int_equal(run.code, 0);
    RUN(&run, "quantize", SAMPLE, "-t", "q4_k_m", "-o", "q4.gguf");
    assert_int_equal(run.code, 0);
    open_model(&folder, SAMPLE);
    open_model(&file, scratch_path("f32.gguf"));
    open_model(&quantized, scratch_path("q4.gguf"));
    options.threads = 1;
    measure((const struct nb_model *const[]){ &folder.model, &quantized.model }, 2, &options, &expected);
    for (options.threads = 2; options.threads < 5; options.threads++) {
        measure((const struct nb_model *const[]){ &folder.model, &quantized.model }, 2, &options, &found);
        assert_same(&expected, &found);
        nb_drift_free(&found);
    }
    measure((const struct nb_model *const[]){ &file.model, &quantized.model }, 2, &options, &found);
    assert_same(&expected, &found);
    nb_drift_free(&found);
    nb_drift_free(&expected);
    close_model(&folder);
    close_model(&file);
    close_model(&quantized);
}

/* Whatever the router says, and whoever is chosen: the shares add up to 1. */
static void
experts_that_are_alike_are_one(void **unused)
{
    static struct opened dense, mixture;
    static struct run run;
    struct nb_drift_options options = usual;
    struct nb_drift drift;

    (void)unused;
    RUN(&run, "quantize", SAMPLE, "-t", "f32", "-o", "dense.gguf");
    assert_int_equal(run.code, 0);
    open_model(&dense, scratch_path("dense.gguf"));
    options.max_chunks = 4;
    for (unsigned used = 1; used < 4; used++) {
        mixture_of("dense.gguf", "mixture.gguf", 3, used);
        open_model(&mixture, scratch_path("mixture.gguf"));
        assert_true(nb_hp(&mixture.model.hp, NB_HP_EXPERTS) == 3);
        measure((const struct nb_model *const[]){ &dense.model, &mixture.model }, 2, &options, &drift);
        for (size_t i = 0; i < drift.scored; i++)
            if (!(drift.score[1][i].kld < 1e-5f))
                fail_msg("%u used: token %zu: %g from the dense model", used, i, (double)drift.score[1][i].kld);
        nb_drift_free(&drift);
        close_model(&mixture);
    }
    close_model(&dense);
}

/* Four tokens whose numbers can be worked out by hand. */
static void
statistics_are_as_defined(void **unused)
{
    struct nb_score base[4] = { { 1, 0, true, 0 }, { 2, 0, true, 0 }, { 1, 0, true, 0 }, { 2, 0, true, 0 } };
    struct nb_score model[4] = {
        { 1, 0.1f, true, 0 }, { 3, 0.3f, false, 1 }, { 1, 0.2f, true, 0 }, { 3, 0.4f, true, 0 }
    };
    struct nb_score *scores[2] = { base, model };
    const struct nb_drift drift = { .chunks = 1, .scored = 4, .models = 2, .score = scores };
    const double dp = exp(-3) - exp(-2);
    struct nb_drift_stats s;
    struct nb_error err;

    (void)unused;
    assert_int_equal(nb_drift_stats(&drift, 1, 4, &s, &err), NB_OK);
    assert_true(fabs(s.perplexity.value - exp(2)) < 1e-12);
    assert_true(fabs(s.perplexity.error - exp(2) * sqrt(1.0 / 3)) < 1e-12);
    assert_true(fabs(s.ln_ratio.value - 0.5) < 1e-12);
    /* Standard errors sqrt(1/3) and sqrt(0.25/3), covariance 0.5/3. */
    assert_true(fabs(s.ln_ratio.error - sqrt(1.0 / 3 + 0.25 / 3 - 1.0 / 3)) < 1e-12);
    assert_true(fabs(s.correlation - 1) < 1e-12);
    assert_true(fabs(s.kld.value - 0.25) < 1e-7);
    assert_true(fabs(s.kld_quantile[NB_Q_50] - 0.25) < 1e-7);
    assert_true(fabs(s.kld_quantile[NB_Q_90] - 0.37) < 1e-7);
    assert_true(fabs(s.kld_quantile[NB_Q_MIN] - 0.1) < 1e-7 && fabs(s.kld_quantile[NB_Q_MAX] - 0.4) < 1e-7);
    assert_true(fabs(s.same_top.value - 0.75) < 1e-12);
    assert_true(fabs(s.same_top.error - sqrt(0.75 * 0.25 / 3)) < 1e-12);
    assert_true(fabs(s.dp.value - dp / 2) < 1e-7);
    assert_true(fabs(s.rms_dp.value - fabs(dp) / sqrt(2)) < 1e-7);
}

/* Chunks of 8 tokens, of which the last three are scored. */
static void
the_worst_tokens_are_those_of_the_text(void **unused)
{
    struct nb_score model[6] = { { .kld = 0.1f }, { .kld = 0.5f }, { .kld = 0 },
                                 { .kld = 0.7f }, { .kld = 0.5f }, { .kld = 0.2f } };
    struct nb_score *scores[2] = { NULL, model };
    const struct nb_drift drift = { .chunks = 2, .chunk_tokens = 8, .scored = 6, .models = 2, .score = scores };
    static const size_t scored[] = { 3, 1, 4, 5, 0 }, position[] = { 8 + 5, 6, 8 + 6, 8 + 7, 5 };
    struct nb_worst_token worst[8];

    (void)unused;
    assert_int_equal(nb_worst_tokens(&drift, 1, worst, 8), 5); /* equal predictions are none */
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(worst[i].scored, scored[i]);
        assert_int_equal(worst[i].position, position[i]);
    }
    for (size_t count = 0; count < 5; count++) {
        assert_int_equal(nb_worst_tokens(&drift, 1, worst, count), count);
        assert_true(count == 0 || worst[count - 1].scored == scored[count - 1]);
    }
}

static void
worst_tokens_are_shown_with_what_would_have_been_said(void **unused)
{
    static struct run run;
    json_t *o, *m, *list, *first;
    double last = INFINITY;
    json_t *token;
    size_t i;

    (void)unused;
    RUN(&run, "quantize", SAMPLE, "-t", "q2_k", "-o", "worst.gguf");
    RUN(&run, "verify", "-f", TEXT, "--chunks", "2", "--json", SAMPLE, "worst.gguf", SAMPLE);
    o = json_loads(run.out, 0, NULL);
    assert_non_null(o);
    m = json_array_get(json_object_get(o, "models"), 0);
    list = json_object_get(m, "worst_tokens");
    assert_int_equal(json_array_size(list), 10);
    first = json_array_get(list, 0);
    assert_true(fabs(json_real_value(json_object_get(first, "kld")) - json_real_value(json_object_get(m, "kld_max"))) <
                1e-6);
    json_array_foreach(list, i, token) {
        const double kld = json_real_value(json_object_get(token, "kld"));

        assert_true(kld <= last && json_real_value(json_object_get(token, "p")) <= 1);
        assert_true(strlen(json_string_value(json_object_get(token, "before"))) > 0);
        assert_true(strlen(json_string_value(json_object_get(token, "says"))) > 0);
        last = kld;
    }
    m = json_array_get(json_object_get(o, "models"), 1);
    assert_int_equal(json_array_size(json_object_get(m, "worst_tokens")), 0); /* the base itself */
    RUN(&run, "verify", "-f", TEXT, "--chunks", "2", "--worst-tokens", SAMPLE, "worst.gguf");
    assert_int_equal(run.code, 0);
    assert_non_null(strstr(run.out, json_string_value(json_object_get(first, "text"))));
    assert_non_null(strstr(run.out, "the base says '"));
    json_decref(o);
}

/* --- what is refused ------------------------------------------------------------------------------------------ */

static void
refuses(const char *says, int code, const char *const *args)
{
    static struct run run;

    run_nibble(&run, args);
    if (run.code != code || strstr(run.err, says) == NULL)
        fail_msg("expected code %d and '%s': code %d: %s", code, says, run.code, run.err);
}
#define REFUSES(says, code, ...) refuses(says, code, (const char *const[]){ __VA_ARGS__, NULL })

static void
texts_that_are_none_are_refused(void **unused)
{
    (void)unused;
    scratch_write_text("empty.txt", "");
    scratch_write_text("short.txt", "Once upon a time there was a little girl.");
    scratch_write("latin1.txt", "caf\xE9 caf\xE9", 9);
    REFUSES("has 1 tokens; at least two chunks of 512", 3, "verify", "-f", "empty.txt", SAMPLE);
    REFUSES("two chunks of 512 are needed", 3, "verify", "-f", "short.txt", SAMPLE);
    REFUSES("not valid UTF-8", 3, "verify", "-f", "latin1.txt", SAMPLE);
    REFUSES("No such file", 3, "verify", "-f", "nowhere.txt", SAMPLE);
}

/* Changes bytes of FILE at the first place of FROM. */
static void
spoil(const char *file, const char *from, const char *to)
{
    size_t size, n = strlen(from);
    unsigned char *bytes = scratch_read(scratch_path(file), &size);
    unsigned char *at = memmem(bytes, size, from, n);

    assert_non_null(at);
    memcpy(at, to, n);
    scratch_write(file, bytes, size);
    free(bytes);
}

/* Sets the first weight of the last tensor of the tiny checkpoint. */
static void
set_weight(const char *file, float value)
{
    size_t size;
    unsigned char *bytes = scratch_read(scratch_path(file), &size);

    memcpy(bytes + size - 4, &value, 4);
    scratch_write(file, bytes, size);
    free(bytes);
}

static void
models_that_cannot_be_run_are_refused(void **unused)
{
    static struct run run;

    (void)unused;
    scratch_write_text("ab.txt", "abababababababababababab abababababababababababab");
    tiny_checkpoint("tiny");
    REFUSES("", 0, "verify", "-f", "ab.txt", "-c", "8", "tiny"); /* what is spoilt below */
    RUN(&run, "quantize", "tiny", "-t", "f32", "-o", "tiny.gguf");
    assert_int_equal(run.code, 0);
    REFUSES("different vocabularies, from token 0", 3, "verify", "-f", "ab.txt", "-c", "8", "tiny", SAMPLE);
    RUN(&run, "quantize", "tiny", "-t", "f32", "-o", "bad.gguf");
    spoil("bad.gguf", "blk.0.attn_k.weight", "blk.0.attn_x.weight");
    REFUSES("tensor 'blk.0.attn_k.weight' is missing", 3, "verify", "-f", "ab.txt", "-c", "8", "bad.gguf");
    RUN(&run, "quantize", "tiny", "-t", "f32", "-o", "bad.gguf", "--force", "--override-kv",
        "llama.feed_forward_length=int:64");
    REFUSES("should be 64 x 64, but is 64 x 96", 3, "verify", "-f", "ab.txt", "-c", "8", "bad.gguf");
    RUN(&run, "quantize", "tiny", "-t", "f32", "-o", "bad.gguf", "--force", "--override-kv",
        "general.architecture=str:plamo3");
    REFUSES("architecture 'plamo3' cannot be run", 3, "verify", "-f", "ab.txt", "-c", "8", "bad.gguf");
    RUN(&run, "quantize", "tiny", "-t", "f32", "-o", "bad.gguf", "--force", "--override-kv",
        "tokenizer.ggml.model=str:bert");
    REFUSES("tokenizer of kind 'bert'", 3, "verify", "-f", "ab.txt", "-c", "8", "bad.gguf");
    set_weight("tiny/model.safetensors", NAN);
    REFUSES("is NaN or infinite", 3, "verify", "-f", "ab.txt", "-c", "8", "tiny");
    set_weight("tiny/model.safetensors", 3e38f);
    REFUSES("is NaN or infinite", 3, "verify", "-f", "ab.txt", "-c", "8", "tiny");
}

/* The page is for others: it must not say where the files are, nor replace another page unasked. */
static void
a_page_names_no_folders_and_replaces_nothing(void **unused)
{
    static struct run run;
    static const char page[] = "private-folder/page.html", command[] = "\"--html\",\"page.html\",\"tinystories-3m/\"";
    unsigned char *bytes;
    size_t size;

    (void)unused;
    scratch_folder("private-folder");
    RUN(&run, "quantize", SAMPLE, "-t", "q8_0", "-o", "private-folder/q8.gguf");
    assert_int_equal(run.code, 0);
    RUN(&run, "verify", "-f", TEXT, "--chunks", "2", "--html", page, SAMPLE "/",
        scratch_path("private-folder/q8.gguf"));
    assert_int_equal(run.code, 0);
    assert_non_null(strstr(run.err, "chunks of 512 tokens are longer than its context of 256"));
    bytes = scratch_read(scratch_path(page), &size);
    assert_non_null(memmem(bytes, size, "q8.gguf", 7));
    assert_non_null(memmem(bytes, size, command, sizeof command - 1));
    assert_null(memmem(bytes, size, "private-folder", 14));
    assert_null(memmem(bytes, size, SAMPLE_DATA, strlen(SAMPLE_DATA)));
    free(bytes);
    REFUSES("exists already", 2, "verify", "-f", TEXT, "--chunks", "2", "--html", page, SAMPLE);
    RUN(&run, "verify", "-f", TEXT, "--chunks", "2", "--html", page, "--json", SAMPLE);
    assert_non_null(strstr(run.out, "\"code\":\"exists\""));
    REFUSES("", 0, "verify", "-f", TEXT, "--chunks", "2", "--html", page, "--force", SAMPLE);
}

/* The words must not be kinder than the numbers. */
static void
a_verdict_follows_the_divergence(void **unused)
{
    static const struct {
        double kld;
        const char *level;
    } cases[] = { { 1e-9, "negligible" }, { 0.0055, "negligible" }, { 0.0056, "small" }, { 0.0171, "moderate" },
                  { 0.0321, "large" },    { 0.1101, "severe" },     { 0.4501, "unfit" }, { NAN, "unfit" } };
    struct nb_drift_stats stats = { .ratio = { .value = 1.00456 }, .same_top = { .value = 0.945 } };
    char text[VERDICT_TEXT];

    (void)unused;
    assert_string_equal(verdict_of(&stats)->level, "same");
    stats.kld_quantile[NB_Q_MIN] = -1e-9; /* rounding: not the same, though the mean is 0 */
    assert_string_equal(verdict_of(&stats)->level, "negligible");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        stats.kld.value = stats.kld_quantile[NB_Q_MAX] = cases[i].kld;
        assert_string_equal(verdict_of(&stats)->level, cases[i].level);
    }
    stats.kld.value = 0.01;
    assert_string_equal(verdict_text(&stats, text), "+0.46 % perplexity, 94.50 % same top token: fine for most uses");
}

/* A quantized model does better on the text that chose its scales than on others. */
static void
the_calibration_text_is_told(void **unused)
{
    static struct run run;
    json_t *o;

    (void)unused;
    RUN(&run, "quantize", SAMPLE, "-t", "q4_0", "--imatrix", TEST_DATA "/golden/tinystories-3m.imatrix", "-o",
        "im.gguf");
    assert_int_equal(run.code, 0);
    RUN(&run, "verify", "-f", TEXT, "-c", "64", "--chunks", "2", "--json", SAMPLE, "im.gguf");
    assert_int_equal(run.code, 0);
    assert_non_null(strstr(run.err, "im.gguf: its importance matrix was made with a text of this name, "
                                    "tinystories-valid.txt"));
    o = json_loads(run.out, 0, NULL);
    assert_true(json_is_true(json_object_get(json_array_get(json_object_get(o, "models"), 0), "calibrated_on_text")));
    assert_null(json_object_get(json_object_get(o, "base"), "calibrated_on_text"));
    json_decref(o);
    scratch_write_text("other-text.txt",
                       "Once upon a time there was a little girl. She had a red ball. One day she lost it, "
                       "and she was sad. Her mother said: do not cry, we will look for it.");
    RUN(&run, "verify", "-f", "other-text.txt", "-c", "8", SAMPLE, "im.gguf");
    assert_int_equal(run.code, 0);
    assert_null(strstr(run.err, "importance matrix"));
}

static void
layers_that_are_not_run_are_told(void **unused)
{
    static struct run run;

    (void)unused;
    RUN(&run, "quantize", SAMPLE, "-t", "f16", "--override-kv", "llama.nextn_predict_layers=int:1", "-o",
        "further.gguf");
    assert_int_equal(run.code, 0);
    RUN(&run, "verify", "-f", TEXT, "-c", "64", "--chunks", "2", "further.gguf");
    assert_int_equal(run.code, 0);
    assert_non_null(
        strstr(run.err, "further.gguf: runs without its last layer, which predicts tokens after the next one"));
    RUN(&run, "verify", "-f", TEXT, "-c", "64", "--chunks", "2", SAMPLE);
    assert_null(strstr(run.err, "runs without"));
}

/* Of a quantized base the numbers tell only what comes on top. */
static void
a_base_that_is_quantized_is_told(void **unused)
{
    static struct run run;

    (void)unused;
    RUN(&run, "quantize", SAMPLE, "-t", "Q8_0", "-o", "quantized.gguf");
    assert_int_equal(run.code, 0);
    RUN(&run, "verify", "-f", TEXT, "-c", "64", "--chunks", "2", "quantized.gguf", "further.gguf");
    assert_int_equal(run.code, 0);
    assert_non_null(strstr(run.err, "quantized.gguf is itself quantized"));
    RUN(&run, "verify", "-f", TEXT, "-c", "64", "--chunks", "2", SAMPLE, "quantized.gguf");
    assert_int_equal(run.code, 0);
    assert_null(strstr(run.err, "is itself quantized"));
}

static void
a_model_that_equals_its_base_is_told(void **unused)
{
    static struct run run;
    json_t *o, *m;

    (void)unused;
    RUN(&run, "quantize", SAMPLE, "-t", "f16", "-o", "f16.gguf");
    assert_int_equal(run.code, 0);
    RUN(&run, "verify", "-f", TEXT, "--chunks", "2", "--json", SAMPLE, "f16.gguf");
    assert_int_equal(run.code, 0);
    o = json_loads(run.out, 0, NULL);
    m = json_array_get(json_object_get(o, "models"), 0);
    assert_string_equal(json_string_value(json_object_get(m, "recipe")), "F16");
    assert_null(json_object_get(m, "imatrix"));
    assert_string_equal(json_string_value(json_object_get(json_object_get(m, "verdict"), "level")), "same");
    json_decref(o);
    RUN(&run, "verify", "-f", TEXT, "--chunks", "2", SAMPLE, "f16.gguf");
    assert_non_null(strstr(run.out, "f16.gguf        computes what the base computes"));
}

static void
limits_decide_the_exit_code(void **unused)
{
    static struct run run;
    json_t *o, *m;

    (void)unused;
    RUN(&run, "quantize", SAMPLE, "-t", "q2_k", "-o", "q2.gguf");
    assert_int_equal(run.code, 0);
    REFUSES("mean KL divergence", 1, "verify", "-f", TEXT, "--chunks", "2", "--max-kld", "0.01", SAMPLE, "q2.gguf");
    REFUSES("above 0.5", 1, "verify", "-f", TEXT, "--chunks", "2", "--max-ppl-ratio", "0.5", SAMPLE, "q2.gguf");
    REFUSES("", 0, "verify", "-f", TEXT, "--chunks", "2", "--max-kld", "0.2", "--max-ppl-ratio", "2", SAMPLE,
            "q2.gguf");
    REFUSES("not a number", 2, "verify", "--max-kld", "x", SAMPLE);
    RUN(&run, "verify", "-f", TEXT, "--chunks", "2", "--json", "--tensors", "--html", "page.html", SAMPLE, "q2.gguf");
    assert_int_equal(run.code, 0);
    o = json_loads(run.out, 0, NULL);
    m = json_array_get(json_object_get(o, "models"), 0);
    for (size_t i = 0; i < 14; i++) {
        static const char *const keys[] = { "path",     "bytes",      "bpw",     "perplexity", "perplexity_stderr",
                                            "kld_mean", "kld_stderr", "kld_p50", "kld_p99",    "kld_p999",
                                            "kld_max",  "same_top",   "rms_dp",  "tensors" };

        if (json_object_get(m, keys[i]) == NULL)
            fail_msg("no %s", keys[i]);
    }
    assert_int_equal(json_integer_value(json_object_get(o, "tokens_scored")), 510);
    assert_int_equal(json_integer_value(json_object_get(o, "chunks")), 2);
    assert_true(json_is_real(json_object_get(json_object_get(o, "base"), "perplexity")));
    assert_int_equal(json_array_size(json_object_get(m, "tensors")), 38);
    json_decref(o);
    assert_true(scratch_exists(scratch_path("page.html")));
}

/* --- the pool ----------------------------------------------------------------------------------------------- */

static enum nb_status
fail_at_some(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    (void)worker;
    __atomic_fetch_add((int *)context, 1, __ATOMIC_RELAXED);
    return task % 100 == 57 ? nb_fail(err, NB_INPUT, "task %zu", task) : NB_OK;
}

static void
the_first_of_several_errors_is_told(void **unused)
{
    struct nb_pool *pool;
    struct nb_error err;

    (void)unused;
    assert_int_equal(nb_pool_new(&pool, 4, &err), NB_OK);
    for (int i = 0; i < 200; i++) {
        int done = 0;

        assert_int_equal(nb_pool_run(pool, fail_at_some, &done, 57, &err), NB_OK);
        assert_int_equal(done, 57);
        assert_int_equal(nb_pool_run(pool, fail_at_some, &done, 1000, &err), NB_INPUT);
        assert_string_equal(err.message, "task 57");
    }
    nb_pool_free(pool);
}

struct watched {
    unsigned looks, stop_at;
    int tasks;
    volatile sig_atomic_t stop;
};

static enum nb_status
take_a_while(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    struct watched *w = context;

    (void)task;
    (void)worker;
    (void)err;
    nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
    __atomic_fetch_add(&w->tasks, 1, __ATOMIC_RELAXED);
    return NB_OK;
}

static void
look(void *context)
{
    struct watched *w = context;

    if (++w->looks == w->stop_at)
        w->stop = 1;
}

/* Forty tasks of 20 ms: progress is seen in between, and a stop does not wait for the last of them. */
static void
a_watch_sees_and_stops_the_pool(void **unused)
{
    struct watched w = { .stop_at = 0 };
    const struct nb_pool_watch watch = { look, &w, &w.stop };
    struct nb_error err;
    struct nb_pool *pool;

    (void)unused;
    assert_int_equal(nb_pool_new(&pool, 2, &err), NB_OK);
    nb_pool_watch(pool, &watch);
    assert_int_equal(nb_pool_run(pool, take_a_while, &w, 40, &err), NB_OK);
    assert_true(w.looks >= 2 && w.tasks == 40);
    w = (struct watched){ .stop_at = 1 };
    assert_int_equal(nb_pool_run(pool, take_a_while, &w, 400, &err), NB_INTERRUPTED);
    assert_string_equal(err.message, "interrupted");
    assert_true(w.looks == 1 && w.tasks < 100);
    nb_pool_watch(pool, NULL);
    assert_int_equal(nb_pool_run_watched(pool, take_a_while, &w, 4, &watch, &err), NB_INTERRUPTED); /* from before */
    nb_pool_free(pool);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_are_those_of_transformers),
        cmocka_unit_test(a_replacement_counts_for_any_number_of_tokens),
        cmocka_unit_test(vector_math_is_the_c_librarys),
        cmocka_unit_test(numbers_are_those_of_llama_perplexity),
        cmocka_unit_test(a_model_does_not_differ_from_itself),
        cmocka_unit_test(scores_depend_on_nothing_but_the_weights),
        cmocka_unit_test(experts_that_are_alike_are_one),
        cmocka_unit_test(statistics_are_as_defined),
        cmocka_unit_test(the_worst_tokens_are_those_of_the_text),
        cmocka_unit_test(worst_tokens_are_shown_with_what_would_have_been_said),
        cmocka_unit_test(texts_that_are_none_are_refused),
        cmocka_unit_test(models_that_cannot_be_run_are_refused),
        cmocka_unit_test(a_page_names_no_folders_and_replaces_nothing),
        cmocka_unit_test(a_verdict_follows_the_divergence),
        cmocka_unit_test(the_calibration_text_is_told),
        cmocka_unit_test(layers_that_are_not_run_are_told),
        cmocka_unit_test(a_base_that_is_quantized_is_told),
        cmocka_unit_test(a_model_that_equals_its_base_is_told),
        cmocka_unit_test(limits_decide_the_exit_code),
        cmocka_unit_test(the_first_of_several_errors_is_told),
        cmocka_unit_test(a_watch_sees_and_stops_the_pool),
    };

    return cmocka_run_group_tests(tests, load_text, drop_text);
}
