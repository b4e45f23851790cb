/*
 * The sample checkpoint against llama.cpp's own files, whole and byte for byte,
 * on every tier and for several numbers of threads. tests/golden/tinystories-3m.tsv
 * has their hashes.
 */
#include "formats/elements/tier.h"
#include "scratch.h"
#include "testing.h"

#include <jansson.h>
#include <unistd.h>

#define SAMPLE SAMPLE_DATA "/tinystories-3m"
#define IMATRIX TEST_DATA "/golden/tinystories-3m.imatrix"
#define DAT TEST_DATA "/golden/tinystories-3m.dat"

static struct run run;

/* Runs the program with ARGS and returns the hash of out.gguf. */
static uint64_t
made(const char *const *args)
{
    uint64_t hash;

    run_nibble(&run, args);
    if (run.code != 0)
        fail_msg("exit code %d: %s", run.code, run.err);
    hash = scratch_hash(scratch_path("out.gguf"));
    unlink(scratch_path("out.gguf"));
    return hash;
}
#define MADE(...) made((const char *const[]){ "quantize", "-o", "out.gguf", __VA_ARGS__, NULL })

static void
check(const char *how, const char *recipe, uint64_t expected)
{
    uint64_t hash = 0;

    if (strcmp(how, "convert") == 0) {
        hash = MADE(SAMPLE, "-t", recipe);
    } else if (strcmp(how, "quantize") == 0) {
        hash = MADE("f16.gguf", "-t", recipe);
        /* and, where something is quantized, in one step from the checkpoint */
        if (hash == expected && strchr("FBC", *recipe) == NULL)
            hash = MADE(SAMPLE, "-t", recipe);
    } else if (strcmp(how, "imatrix") == 0) {
        hash = MADE("f16.gguf", "-t", recipe, "--imatrix", IMATRIX);
    } else if (strcmp(how, "dat") == 0) {
        hash = MADE("f16.gguf", "-t", recipe, "--imatrix", DAT);
    } else if (strcmp(how, "prune") == 0) {
        hash = MADE("f16.gguf", "-t", recipe, "--imatrix", IMATRIX, "--prune-layers", "1,2");
    } else if (strcmp(how, "include") == 0) {
        hash = MADE("f16.gguf", "-t", recipe, "--imatrix", IMATRIX, "--include-weights", "attn_v", "--include-weights",
                    "ffn_down");
    } else if (strcmp(how, "exclude") == 0) {
        hash = MADE("f16.gguf", "-t", recipe, "--imatrix", IMATRIX, "--exclude-weights", "ffn_up");
    } else if (strcmp(how, "pure") == 0) {
        hash = MADE("f16.gguf", "-t", recipe, "--pure");
    } else if (strcmp(how, "requantize") == 0) {
        RUN(&run, "quantize", SAMPLE, "-t", "Q4_K_M", "-o", "q4.gguf", "--force");
        hash = MADE("q4.gguf", "-t", recipe, "--allow-requantize");
    } else if (strcmp(how, "options") == 0) {
        hash = MADE("f16.gguf", "-t", recipe, "--output-tensor-type", "q5_0", "--token-embedding-type", "q8_0",
                    "--tensor-type", "attn_v=q6_k", "--tensor-type", "blk\\.[01]\\.ffn_(up|gate|down)=q4_1",
                    "--override-kv", "llama.context_length=int:128", "--override-kv", "general.name=str:other");
    } else {
        fail_msg("unknown line '%s'", how);
    }
    if (hash != expected)
        fail_msg("%s, %s, %s: not the reference's file", nb_tier(), how, recipe);
}

/*
 * With a sanitizer, importance is left to the fastest tier: the searches take
 * minutes, and test_golden_vectors has them on every tier.
 */
static bool
is_too_slow_here(const char *how, const char *const *tier)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return strcmp(how, "imatrix") == 0 && tier[1] != NULL;
#else
    (void)how;
    (void)tier;
    return false;
#endif
}

static void
every_tier_writes_the_reference_files(void **unused)
{
    (void)unused;
    RUN(&run, "quantize", SAMPLE, "-t", "F16", "-o", "f16.gguf");
    assert_int_equal(run.code, 0);
    for (const char *const *tier = nb_tiers(); *tier != NULL; tier++) {
        FILE *table = fopen(TEST_DATA "/golden/tinystories-3m.tsv", "r");
        char line[256], how[32], recipe[32];
        unsigned long long hash;
        size_t checked = 0;

        assert_non_null(table);
        setenv("NIBBLE_CPU", *tier, 1);
        assert_true(nb_tier_set(*tier));
        while (fgets(line, sizeof line, table) != NULL) {
            if (*line == '#')
                continue;
            assert_int_equal(sscanf(line, "%31s %31s %llx", how, recipe, &hash), 3);
            if (!is_too_slow_here(how, tier))
                check(how, recipe, hash);
            checked++;
        }
        fclose(table);
        assert_int_equal(checked, 66);
    }
    unsetenv("NIBBLE_CPU");
}

static void
threads_do_not_change_a_byte(void **unused)
{
    static const char *const recipes[] = { "F32",    "F16",     "BF16",   "Q8_0",   "Q4_0", "Q5_1",
                                           "Q2_K",   "Q3_K_M",  "Q4_K_M", "Q5_K_S", "Q6_K", "IQ1_M",
                                           "IQ2_XS", "IQ3_XXS", "IQ3_S",  "IQ4_XS", "TQ1_0" };

    (void)unused;
    for (size_t i = 0; i < sizeof recipes / sizeof recipes[0]; i++) {
        const uint64_t one = MADE(SAMPLE, "-t", recipes[i], "--imatrix", IMATRIX, "-j", "1");

        assert_int_equal(MADE(SAMPLE, "-t", recipes[i], "--imatrix", IMATRIX, "-j", "2"), one);
        assert_int_equal(MADE(SAMPLE, "-t", recipes[i], "--imatrix", IMATRIX, "-j", "3"), one);
        assert_int_equal(MADE(SAMPLE, "-t", recipes[i], "--imatrix", IMATRIX, "-j", "16"), one);
    }
}

static void
rounding_via_f16_is_the_two_step_way(void **unused)
{
    uint64_t direct, two_steps;

    (void)unused;
    tiny_checkpoint("model"); /* F32, so that the way matters */
    RUN(&run, "quantize", "model", "-t", "f16", "-o", "half.gguf");
    assert_int_equal(run.code, 0);
    two_steps = MADE("half.gguf", "-t", "q8_0");
    direct = MADE("model", "-t", "q8_0");
    assert_int_equal(MADE("model", "-t", "q8_0", "--via", "f16"), two_steps);
    assert_int_not_equal(direct, two_steps);
    RUN(&run, "quantize", "model", "-t", "f32", "-o", "single.gguf");
    assert_int_equal(MADE("single.gguf", "-t", "q8_0"), direct);
    assert_int_equal(MADE("single.gguf", "-t", "q8_0", "--via", "f16"), two_steps); /* norms stay as they are */
}

static void
every_stored_dtype_gives_the_same_floats(void **unused)
{
    static const char *const dtypes[] = { "F64", "F16", "BF16", "F8_E4M3", "F8_E5M2" };
    static const char *const recipes[] = { "F32", "F16", "Q8_0", "Q5_1" };

    (void)unused;
    for (size_t r = 0; r < sizeof recipes / sizeof recipes[0]; r++) {
        uint64_t expected;

        tiny_checkpoint_in("model", "F32");
        expected = MADE("model", "-t", recipes[r]);
        for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++) {
            tiny_checkpoint_in("model", dtypes[i]);
            if (MADE("model", "-t", recipes[r]) != expected)
                fail_msg("%s from %s", recipes[r], dtypes[i]);
        }
    }
}

static void
wrong_usage_is_answered_with_code_2(void **unused)
{
    static const char *const lines[][6] = {
        { NULL },
        { "frobnicate" },
        { "quantize" },
        { "quantize", "a", "b" },
        { "quantize", "-t", "Q9_9", SAMPLE },
        { "quantize", "-t", "IQ2_XS", SAMPLE },
        { "quantize", "-j", "0", SAMPLE },
        { "quantize", "-j", "many", SAMPLE },
        { "quantize", "--no-such-option", SAMPLE },
        { "quantize", "--tensor-type", "attn", SAMPLE },
        { "quantize", "--tensor-type", "attn=q9", SAMPLE },
        { "quantize", "--tensor-type", "(=q8_0", SAMPLE },
        { "quantize", "--tensor-type", "nothing_like_it=q8_0", SAMPLE },
        { "quantize", "--output-tensor-type", "q7", SAMPLE },
        { "quantize", "--override-kv", "a=b", SAMPLE },
        { "quantize", "--override-kv", "a=int:x", SAMPLE },
        { "quantize", "--override-kv", "a=bool:1", SAMPLE },
        { "quantize", "--override-kv", "general.alignment=int:64", SAMPLE },
        { "quantize", "--via", "q8_0", SAMPLE },
        { "inspect" },
        { "inspect", "a", "b" },
        { "types", "x" },
    };

    (void)unused;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        run_nibble(&run, lines[i]);
        if (run.code != 2 || *run.err == '\0' || *run.out != '\0')
            fail_msg("line %zu (%s): exit code %d: %s", i, lines[i][0], run.code, run.err);
    }
    setenv("NIBBLE_CPU", "z80", 1);
    RUN(&run, "types");
    unsetenv("NIBBLE_CPU");
    assert_int_equal(run.code, 2);
    RUN(&run, "quantize", "q4.gguf", "-t", "q8_0", "-o", "x.gguf");
    assert_int_equal(run.code, 3);
    assert_non_null(strstr(run.err, "--allow-requantize"));
}

static void
a_dry_run_writes_nothing_and_tells_the_sizes(void **unused)
{
    json_t *plan;
    size_t size;
    unsigned char *bytes;

    (void)unused;
    RUN(&run, "quantize", SAMPLE, "--dry-run", "--json", "-o", "dry.gguf");
    assert_int_equal(run.code, 0);
    assert_false(scratch_exists(scratch_path("dry.gguf")));
    plan = json_loads(run.out, 0, NULL);
    assert_non_null(plan);
    assert_int_equal(json_array_size(json_object_get(plan, "tensors")), 38);
    assert_string_equal(json_string_value(json_object_get(plan, "recipe")), "Q4_K_M");
    RUN(&run, "quantize", SAMPLE, "-o", "dry.gguf");
    bytes = scratch_read(scratch_path("dry.gguf"), &size);
    free(bytes);
    assert_int_equal(json_integer_value(json_object_get(plan, "file_bytes")), size);
    json_decref(plan);
    /* without -o the name follows the convention, in the current folder */
    RUN(&run, "quantize", SAMPLE);
    assert_int_equal(run.code, 0);
    assert_true(scratch_exists(scratch_path("tinystories-3M-Q4_K_M.gguf")));
}

static void
inspect_tells_the_same_as_text_and_as_json(void **unused)
{
    json_t *object;

    (void)unused;
    tiny_checkpoint("model");
    RUN(&run, "inspect", "model", "--json");
    object = json_loads(run.out, 0, NULL);
    assert_non_null(object);
    assert_string_equal(json_string_value(json_object_get(object, "format")), "checkpoint");
    assert_int_equal(json_integer_value(json_object_get(object, "parameters")), 32960);
    assert_int_equal(json_array_size(json_object_get(object, "tensors")), 11);
    json_decref(object);
    RUN(&run, "inspect", "model", "--tensors");
    assert_int_equal(run.code, 0);
    assert_non_null(strstr(run.out, "33.0 k parameters in 11 tensors"));
    assert_non_null(strstr(run.out, "blk.0.attn_q.weight"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_tier_writes_the_reference_files),
        cmocka_unit_test(threads_do_not_change_a_byte),
        cmocka_unit_test(rounding_via_f16_is_the_two_step_way),
        cmocka_unit_test(every_stored_dtype_gives_the_same_floats),
        cmocka_unit_test(wrong_usage_is_answered_with_code_2),
        cmocka_unit_test(a_dry_run_writes_nothing_and_tells_the_sizes),
        cmocka_unit_test(inspect_tells_the_same_as_text_and_as_json),
    };

    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
