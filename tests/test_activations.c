/*
 * Rounded activations: blocks as llama.cpp rounds them, each kind of weight with its own, and only in the models that are
 * compared, not in their base.
 */
#include "formats/elements/types.h"
#include "golden_inputs.h"
#include "scratch.h"
#include "testing.h"
#include "verify/run/activations.h"

#include <jansson.h>
#include <xxhash.h>

#define SAMPLE SAMPLE_DATA "/tinystories-3m"
#define TEXT SAMPLE_DATA "/tinystories-valid.txt"

static struct run run;

static void
every_kind_of_weight_has_its_rounding(void **unused)
{
    static const struct {
        enum nb_type type;
        enum nb_rounding rounding;
    } cases[] = {
        { NB_F32, NB_ROUNDING_NONE },   { NB_F16, NB_ROUNDING_F16 },   { NB_BF16, NB_ROUNDING_BF16 },
        { NB_Q4_0, NB_ROUNDING_Q8_0 },  { NB_Q5_1, NB_ROUNDING_Q8_0 }, { NB_IQ4_NL, NB_ROUNDING_Q8_0 },
        { NB_MXFP4, NB_ROUNDING_Q8_0 }, { NB_Q2_K, NB_ROUNDING_Q8_K }, { NB_IQ1_M, NB_ROUNDING_Q8_K },
        { NB_TQ1_0, NB_ROUNDING_Q8_K }, { NB_I32, NB_ROUNDING_NONE },
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (nb_rounding_for(cases[i].type) != cases[i].rounding)
            fail_msg("%s: %d", nb_type_info(cases[i].type)->name, (int)nb_rounding_for(cases[i].type));
}

/* Zeros have no sign here: the reference's scales are negative in some blocks. */
static uint64_t
hash_of(enum nb_rounding rounding, const float *x)
{
    static float rounded[GOLDEN_COUNT];

    for (size_t row = 0; row < GOLDEN_ROWS; row++)
        nb_round_row(rounding, x + row * GOLDEN_COLUMNS, GOLDEN_COLUMNS, rounded + row * GOLDEN_COLUMNS);
    for (size_t i = 0; i < GOLDEN_COUNT; i++)
        rounded[i] += 0.0f;
    return XXH64(rounded, sizeof rounded, 0);
}

/*
 * The golden inputs after quantize_row_q8_0 (or _q8_1, which gives the same levels and scales) and quantize_row_q8_K of
 * llama.cpp v0.5.0's x86-64 build, and back.
 */
static void
blocks_are_rounded_as_llama_cpp_rounds_them(void **unused)
{
    static const uint64_t hashes[][2] = {
        { 0x6339f6a9d5bee62e, 0xb71a0a3f8fea4207 }, { 0x1ba31d67d7a93b72, 0x1ef4f2c886999693 },
        { 0x89e179851a970b24, 0x2d5d0303909372c7 }, { 0xa377ecc41bd6c8e9, 0x660cd2a059db1c87 },
        { 0x223e9d3f1b659e03, 0x2064b1a3c0fac1e1 }, { 0xff597ece4c25ff0c, 0x2268a39c47723cf5 },
        { 0xf47e8b319af23a38, 0x7c207566cc3f76b7 }, { 0x5983dda9f15715a4, 0xb806b50189015ca1 },
        { 0x5983dda9f15715a4, 0x5983dda9f15715a4 }, { 0xb1f2e2d62d230c49, 0xd57950cbcccbaeeb },
        { 0x54c78029b77ba16f, 0x8147cffb1bb1d9cf }, { 0xde99b79597fb84d8, 0xf8d8ed099335cb52 },
        { 0x2a0770c40da92100, 0xfa78584dd78f025e }, { 0xd43e6683afdac1ca, 0x9864b1da2f6f2133 },
    };
    static float x[GOLDEN_COUNT];

    (void)unused;
    for (unsigned i = 0; i < sizeof hashes / sizeof hashes[0]; i++) {
        golden_input(i, x);
        if (hash_of(NB_ROUNDING_Q8_0, x) != hashes[i][0] || hash_of(NB_ROUNDING_Q8_K, x) != hashes[i][1])
            fail_msg("input %u", i);
    }
}

static void
ties_floats_and_short_blocks_are_rounded(void **unused)
{
    float x[34] = { 127, 0.5f, 1.5f, -2.5f, -0.49f }, out[34];

    (void)unused;
    x[32] = 1; /* a block of two */
    nb_round_row(NB_ROUNDING_Q8_0, x, 34, out);
    assert_true(out[0] == 127 && out[1] == 0 && out[2] == 2 && out[3] == -2 && out[4] == 0);
    assert_true(fabsf(out[32] - 1) < 1e-3f && out[33] == 0);
    x[0] = 1.0f + 0x1p-11f;
    x[1] = 1.0f + 0x1p-8f;
    nb_round_row(NB_ROUNDING_F16, x, 2, out);
    assert_true(out[0] == 1 && out[1] == x[1]);
    nb_round_row(NB_ROUNDING_BF16, x, 2, out);
    assert_true(out[0] == 1 && out[1] == 1);
}

/* What the pass refuses must not become a number. */
static void
what_is_not_finite_stays_so(void **unused)
{
    const float bad[] = { NAN, INFINITY, -INFINITY };
    float x[300] = { 1, 2, 3 }, out[300];

    (void)unused;
    for (size_t i = 0; i < 3; i++) {
        x[5] = bad[i];
        nb_round_row(NB_ROUNDING_Q8_0, x, 300, out);
        assert_true(isnan(out[5]));
        nb_round_row(NB_ROUNDING_Q8_K, x, 300, out);
        assert_true(isnan(out[5]) && out[299] == 0);
    }
}

static double
number(const json_t *o, const char *key)
{
    assert_true(json_is_real(json_object_get(o, key)));
    return json_real_value(json_object_get(o, key));
}

/* The sample and two models of it: a quantized one, and one that has the same weights in F32. */
static json_t *
verify(const char *activations, const char *threads)
{
    json_t *o;

    RUN(&run, "verify", "-f", TEXT, "-c", "128", "--chunks", "2", "--json", "--activations", activations, "-j", threads,
        SAMPLE, "mixed.gguf", "f32.gguf");
    assert_int_equal(run.code, 0);
    o = json_loads(run.out, 0, NULL);
    assert_non_null(o);
    return o;
}

static void
only_the_models_under_test_are_rounded(void **unused)
{
    json_t *weights, *both, *again;
    const json_t *a, *b, *c;

    (void)unused;
    RUN(&run, "quantize", SAMPLE, "-t", "q8_0", "--tensor-type", "attn_k=q6_k", "--tensor-type", "attn_v=f16", "-o",
        "mixed.gguf"); /* one input, three roundings */
    assert_int_equal(run.code, 0);
    RUN(&run, "quantize", SAMPLE, "-t", "f32", "-o", "f32.gguf");
    assert_int_equal(run.code, 0);
    weights = verify("f32", "2");
    both = verify("q8", "2");
    again = verify("q8", "1");
    assert_true(number(json_object_get(weights, "base"), "perplexity") ==
                number(json_object_get(both, "base"), "perplexity"));
    a = json_array_get(json_object_get(weights, "models"), 0);
    b = json_array_get(json_object_get(both, "models"), 0);
    c = json_array_get(json_object_get(again, "models"), 0);
    assert_true(number(b, "kld_mean") > 1.5 * number(a, "kld_mean"));
    assert_true(number(b, "kld_mean") == number(c, "kld_mean"));
    assert_true(number(json_array_get(json_object_get(both, "models"), 1), "kld_max") == 0);
    json_decref(weights);
    json_decref(both);
    json_decref(again);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_weight_has_its_rounding),
        cmocka_unit_test(blocks_are_rounded_as_llama_cpp_rounds_them),
        cmocka_unit_test(ties_floats_and_short_blocks_are_rounded),
        cmocka_unit_test(what_is_not_finite_stays_so),
        cmocka_unit_test(only_the_models_under_test_are_rounded),
    };

    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
