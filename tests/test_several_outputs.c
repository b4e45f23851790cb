/* Several recipes in one run of nibble quantize: each output is what it is alone, and all or none are there. */
#include "halves.h"
#include "scratch.h"
#include "testing.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define SAMPLE SAMPLE_DATA "/tinystories-3m"

static struct run run;

static void
each_file_is_as_if_it_were_alone(void **unused)
{
    static const char *const recipes[] = { "Q2_K", "F16", "Q4_K_M", "Q8_0" };
    char name[32];

    (void)unused;
    RUN(&run, "quantize", SAMPLE, "-t", "Q2_K,F16,q4_k_m,Q8_0", "-o", "all-{ftype}.gguf", "-j", "3");
    assert_int_equal(run.code, 0);
    for (size_t i = 0; i < sizeof recipes / sizeof recipes[0]; i++) {
        uint64_t hash;

        RUN(&run, "quantize", SAMPLE, "-t", recipes[i], "-o", "alone.gguf", "--force");
        assert_int_equal(run.code, 0);
        hash = scratch_hash(scratch_path("alone.gguf"));
        snprintf(name, sizeof name, "all-%s.gguf", recipes[i]);
        assert_true(hash == scratch_hash(scratch_path(name)));
    }
}

static void
refined_files_are_as_if_they_were_alone(void **unused)
{
    (void)unused;
    write_halves();
    RUN(&run, "quantize", SAMPLE, "-t", "Q4_0,Q2_K", "--refine", "first.txt", "-c", "64", "-o", "refined-{ftype}.gguf",
        "--refine-tokens", "2048");
    assert_int_equal(run.code, 0);
    RUN(&run, "quantize", SAMPLE, "-t", "Q2_K", "--refine", "first.txt", "-c", "64", "-o", "alone.gguf", "--force",
        "--refine-tokens", "2048");
    assert_int_equal(run.code, 0);
    assert_true(scratch_hash(scratch_path("alone.gguf")) == scratch_hash(scratch_path("refined-Q2_K.gguf")));
    scratch_remove("refined-Q4_0.gguf");
    RUN(&run, "quantize", SAMPLE, "-t", "Q4_0,Q2_K", "--refine", "first.txt", "-c", "64", "-o", "refined-{ftype}.gguf");
    assert_int_equal(run.code, 2); /* the second is there, which is found out before the first is made */
    assert_false(scratch_exists(scratch_path("refined-Q4_0.gguf")));
}

static void
one_object_lists_all(void **unused)
{
    json_t *report, *outputs;

    (void)unused;
    RUN(&run, "quantize", SAMPLE, "-t", "4bit,bf16", "--format", "mlx", "--dry-run", "--json");
    assert_int_equal(run.code, 0);
    report = json_loads(run.out, 0, NULL);
    outputs = json_object_get(report, "outputs");
    assert_int_equal(json_array_size(outputs), 2);
    assert_string_equal(json_string_value(json_object_get(json_array_get(outputs, 1), "recipe")), "bf16");
    json_decref(report);
}

static void
one_that_is_there_already_stops_all(void **unused)
{
    (void)unused;
    scratch_write_text("there-Q8_0.gguf", "kept");
    RUN(&run, "quantize", SAMPLE, "-t", "Q4_K_M,Q8_0,Q5_K_M", "-o", "there-{ftype}.gguf");
    assert_int_equal(run.code, 2);
    assert_non_null(strstr(run.err, "there-Q8_0.gguf"));
    assert_false(scratch_exists(scratch_path("there-Q4_K_M.gguf")) ||
                 scratch_exists(scratch_path("there-Q5_K_M.gguf")) ||
                 scratch_exists(scratch_path("there-Q4_K_M.gguf.partial")));
}

static void
is_refused(const char *recipes, const char *output, const char *why)
{
    RUN(&run, "quantize", SAMPLE, "-t", recipes, "-o", output);
    assert_int_equal(run.code, 2);
    assert_non_null(strstr(run.err, why));
    assert_false(scratch_exists(scratch_path(output)));
}

static void
lists_that_cannot_be_are_refused(void **unused)
{
    (void)unused;
    is_refused("Q4_K_M,Q8_0", "x.gguf", "need a name with {ftype} in it");
    is_refused("Q4_K_M,Q4_K_M", "x-{ftype}.gguf", "is named twice");
    is_refused("Q3_K,Q3_K_M", "x-{ftype}.gguf", "is named twice"); /* two names of one recipe */
    is_refused("Q4_K_M,Q9_0", "x-{ftype}.gguf", "'Q9_0' is not a recipe");
    is_refused(",", "x.gguf", "is not a recipe");
    is_refused("Q4_K_M,4bit", "x-{ftype}.gguf", "is a recipe of --format mlx");
    RUN(&run, "quantize", SAMPLE, "-t", "F16", "-o", "source-F16.gguf");
    assert_int_equal(run.code, 0);
    RUN(&run, "quantize", "source-F16.gguf", "-t", "F16,Q8_0", "-o", "source-{ftype}.gguf", "--force");
    assert_int_equal(run.code, 2);
    assert_non_null(strstr(run.err, "source-F16.gguf: is the source"));
    RUN(&run, "quantize", SAMPLE, "-t", "Q4_0,Q8_0", "--target-size", "2M", "-o", "x-{ftype}.gguf");
    assert_int_equal(run.code, 2);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_file_is_as_if_it_were_alone),
        cmocka_unit_test(refined_files_are_as_if_they_were_alone),
        cmocka_unit_test(one_object_lists_all),
        cmocka_unit_test(one_that_is_there_already_stops_all),
        cmocka_unit_test(lists_that_cannot_be_are_refused),
    };

    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
