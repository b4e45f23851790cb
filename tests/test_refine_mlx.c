/* Refined MLX folders: nearer to the model, in the same format, and there as a whole or not at all. */
#include "halves.h"
#include "scratch.h"
#include "testing.h"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SAMPLE SAMPLE_DATA "/tinystories-3m"

static struct run run;

static void
refine(const char *source, const char *type, const char *name)
{
    RUN(&run, "quantize", source, "--format", "mlx", "-t", type, "--refine", "first.txt", "-c", "64", "-o", name,
        "--refine-tokens", "3200");
    if (run.code != 0)
        fail_msg("%s", run.err);
}

/* Names, shapes, types and places of all arrays are in the header, which begins with its length. */
static void
assert_same_format(const char *a, const char *b)
{
    static const char *const files[] = { "config.json", "model.safetensors.index.json", "tokenizer.json" };
    char one[64], other[64];
    unsigned char *x, *y;
    size_t size, other_size;
    uint64_t length;

    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        snprintf(one, sizeof one, "%s/%s", a, files[i]);
        snprintf(other, sizeof other, "%s/%s", b, files[i]);
        assert_true(scratch_hash(scratch_path(one)) == scratch_hash(scratch_path(other)));
    }
    snprintf(one, sizeof one, "%s/model.safetensors", a);
    snprintf(other, sizeof other, "%s/model.safetensors", b);
    x = scratch_read(scratch_path(one), &size);
    y = scratch_read(scratch_path(other), &other_size);
    memcpy(&length, x, sizeof length);
    assert_true(size == other_size && length < size);
    assert_memory_equal(x, y, (size_t)length + sizeof length);
    assert_memory_not_equal(x, y, size);
    free(x);
    free(y);
}

/* What refining leaves of the divergence that mlx-lm's rounding has, on text that it was not fitted to. */
static double
share_left(const char *type)
{
    double plain, refined;

    RUN(&run, "quantize", SAMPLE, "--format", "mlx", "-t", type, "-o", "plain");
    assert_int_equal(run.code, 0);
    refine(SAMPLE, type, "refined");
    assert_non_null(strstr(run.out, "refined: 29 of 29 matrices, by 3200 tokens"));
    assert_same_format("plain", "refined");
    plain = divergence_of(SAMPLE, "plain");
    refined = divergence_of(SAMPLE, "refined");
    RUN(&run, "check", "refined");
    assert_int_equal(run.code, 0);
    assert_false(scratch_exists(scratch_path("refined.refining")) ||
                 scratch_exists(scratch_path("refined.refining.state")));
    return refined / plain;
}

static void
a_refined_folder_is_nearer_to_its_base(void **unused)
{
    static const struct {
        const char *type;
        double most;
    } cases[] = { { "nvfp4", 0.6 }, { "mxfp4", 0.6 }, { "3bit", 0.5 }, { "4bit", 0.5 } }; /* the last one is kept */

    (void)unused;
    write_halves();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        double left;

        scratch_remove("refined");
        left = share_left(cases[i].type);
        scratch_remove("plain");
        if (!(left <= cases[i].most))
            fail_msg("%s: %g of the divergence is left", cases[i].type, left);
    }
}

static void
a_fitted_folder_is_nearer_to_its_base(void **unused)
{
    double plain, fitted;

    (void)unused;
    RUN(&run, "quantize", SAMPLE, "--format", "mlx", "-t", "3bit", "-o", "plain");
    assert_int_equal(run.code, 0);
    RUN(&run, "quantize", SAMPLE, "--format", "mlx", "-t", "3bit", "--calibrate", "first.txt", "-o", "fitted");
    assert_int_equal(run.code, 0);
    plain = divergence_of(SAMPLE, "plain");
    fitted = divergence_of(SAMPLE, "fitted");
    scratch_remove("plain");
    scratch_remove("fitted");
    if (!(fitted <= 0.85 * plain))
        fail_msg("%g became %g", plain, fitted);
}

/* The rows of keys and queries stand in another order in GGUF files, and experts in one array. */
static void
a_gguf_file_gives_the_same_refined_folder(void **unused)
{
    (void)unused;
    RUN(&run, "quantize", SAMPLE, "-t", "F16", "-o", "model.gguf");
    assert_int_equal(run.code, 0);
    refine("model.gguf", "4bit", "of_gguf");
    assert_true(scratch_hash(scratch_path("of_gguf/model.safetensors")) ==
                scratch_hash(scratch_path("refined/model.safetensors")));
}

/* MLX stacks experts, under names that no checkpoint has. */
static void
stacked_experts_are_refined(void **unused)
{
    double plain, refined;

    (void)unused;
    RUN(&run, "quantize", SAMPLE, "-t", "F32", "-o", "dense.gguf");
    mixture_of("dense.gguf", "mixture.gguf", 3, 2);
    RUN(&run, "quantize", "mixture.gguf", "--format", "mlx", "-t", "mixed_3_6", "-o", "plain");
    if (run.code != 0)
        fail_msg("%s", run.err);
    refine("mixture.gguf", "mixed_3_6", "mixed");
    if (strstr(run.out, "refined: 5") == NULL)
        fail_msg("%s", run.out);
    assert_same_format("plain", "mixed");
    plain = divergence_of("mixture.gguf", "plain");
    refined = divergence_of("mixture.gguf", "mixed");
    if (!(refined < 0.6 * plain))
        fail_msg("%g became %g: %s", plain, refined, run.out);
}

/* Stopped in the middle, and taken up again: the folder is the same. */
static void
a_stopped_run_is_taken_up_again_to_the_same_bytes(void **unused)
{
    const struct timespec moment = { 0, 20000000 };
    bool stopped = false;

    (void)unused;
    for (int tries = 0; !stopped && tries < 10; tries++) { /* a fast machine may be done before */
        pid_t child;
        int status;

        scratch_remove("again");
        child = fork();
        if (child == 0) {
            execl(NIBBLE_PROGRAM, "nibble", "quantize", SAMPLE, "--format", "mlx", "-t", "4bit", "--refine",
                  scratch_path("first.txt"), "-c", "64", "-o", scratch_path("again"), "-j", "1", "-q",
                  "--refine-tokens", "3200", (char *)NULL);
            _exit(127);
        }
        for (int i = 0;
             i < 3000 && !scratch_exists(scratch_path("again.refining.state")) && waitpid(child, &status, WNOHANG) == 0;
             i++)
            nanosleep(&moment, NULL);
        kill(child, SIGINT);
        waitpid(child, &status, 0);
        stopped = scratch_exists(scratch_path("again.refining.state"));
    }
    assert_true(stopped && scratch_exists(scratch_path("again.refining")) && !scratch_exists(scratch_path("again")));
    refine(SAMPLE, "4bit", "again");
    assert_non_null(strstr(run.err, "going on with what a stopped run left"));
    assert_non_null(strstr(run.out, "refined: 29 of 29 matrices, by 3200 tokens"));
    assert_true(scratch_hash(scratch_path("again/model.safetensors")) ==
                scratch_hash(scratch_path("refined/model.safetensors")));
    assert_false(scratch_exists(scratch_path("again.refining")) ||
                 scratch_exists(scratch_path("again.refining.state")));
}

static void
what_cannot_be_done_is_refused_before_the_work(void **unused)
{
    (void)unused;
    RUN(&run, "quantize", SAMPLE, "--format", "mlx", "--refine", "first.txt", "-o", "refined");
    assert_int_equal(run.code, 2);
    assert_non_null(strstr(run.err, "exists already"));
    scratch_folder("other");
    scratch_write_text("other/notes.txt", "mine");
    RUN(&run, "quantize", SAMPLE, "--format", "mlx", "--refine", "first.txt", "-o", "other", "--force");
    assert_int_equal(run.code, 2);
    assert_true(scratch_exists(scratch_path("other/notes.txt")) && !scratch_exists(scratch_path("other.refining")));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_refined_folder_is_nearer_to_its_base),
        cmocka_unit_test(a_fitted_folder_is_nearer_to_its_base),
        cmocka_unit_test(a_gguf_file_gives_the_same_refined_folder),
        cmocka_unit_test(stacked_experts_are_refined),
        cmocka_unit_test(a_stopped_run_is_taken_up_again_to_the_same_bytes),
        cmocka_unit_test(what_cannot_be_done_is_refused_before_the_work),
    };

    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
