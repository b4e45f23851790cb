/* An MLX folder is there as a whole, or not at all. */
#include "scratch.h"
#include "testing.h"

#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SAMPLE SAMPLE_DATA "/tinystories-3m"

static struct run run;

static void
a_full_disk_leaves_no_folder(void **unused)
{
    const char *disk;

    (void)unused;
    scratch_folder("disk");
    disk = scratch_path("disk");
    scratch_small_disk(disk, "size=1m");
    RUN(&run, "quantize", SAMPLE, "--format", "mlx", "-o", "disk/out");
    if (run.code != 4 || strstr(run.err, "No space left") == NULL || scratch_exists(scratch_path("disk/out")) ||
        scratch_exists(scratch_path("disk/out.partial"))) {
        scratch_small_disk_gone(disk);
        fail_msg("exit code %d: %s", run.code, run.err);
    }
    scratch_small_disk_gone(disk);
}

/* Quantizes in a child; OPTION is one more option. */
static pid_t
start(const char *option)
{
    const pid_t child = fork();

    if (child == 0) {
        const int null = open("/dev/null", O_RDWR);

        dup2(null, STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
        execl(NIBBLE_PROGRAM, "nibble", "quantize", SAMPLE, "--format", "mlx", "-o", scratch_path("out"), "-j", "2",
              option, NULL);
        _exit(127);
    }
    return child;
}

static uint64_t
hash_of_folder(void)
{
    static const char *const files[] = { "out/model.safetensors", "out/config.json", "out/tokenizer.json",
                                         "out/model.safetensors.index.json", "out/generation_config.json" };
    uint64_t all = 0;

    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        assert_true(scratch_exists(scratch_path(files[i])));
        all = all * 31 + scratch_hash(scratch_path(files[i]));
    }
    return all;
}

static void
a_kill_at_any_moment_leaves_no_half_folder_under_the_name(void **unused)
{
    unsigned killed = 0;
    uint64_t whole;

    (void)unused;
    RUN(&run, "quantize", SAMPLE, "--format", "mlx", "-o", "out");
    assert_int_equal(run.code, 0);
    whole = hash_of_folder();
    for (unsigned i = 0; i < 60; i++) {
        const pid_t child = start("-q");
        int status;

        scratch_remove("out");
        nanosleep(&(struct timespec){ 0, (long)(i * i) * 16000 }, NULL);
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, &status, 0), child);
        killed += WIFSIGNALED(status);
        if (scratch_exists(scratch_path("out")))
            assert_int_equal(hash_of_folder(), whole);
    }
    print_message("%u killed\n", killed);
    assert_true(killed > 0);
    scratch_remove("out");
    RUN(&run, "quantize", SAMPLE, "--format", "mlx", "-o", "out"); /* what they left is no hindrance */
    assert_int_equal(run.code, 0);
    assert_int_equal(hash_of_folder(), whole);
    assert_false(scratch_exists(scratch_path("out.partial")));
    scratch_remove("out");
}

/* The old folder is there until the new one is. */
static void
force_replaces_a_folder_at_once(void **unused)
{
    uint64_t old, whole;
    unsigned replaced = 0;

    (void)unused;
    RUN(&run, "quantize", SAMPLE, "--format", "mlx", "-t", "3bit", "-o", "out");
    assert_int_equal(run.code, 0);
    old = hash_of_folder();
    RUN(&run, "quantize", SAMPLE, "--format", "mlx", "-o", "out");
    assert_int_equal(run.code, 2);
    assert_int_equal(hash_of_folder(), old);
    scratch_write_text("out/tokenizer.model", "of a model that was there before");
    RUN(&run, "quantize", SAMPLE, "--format", "mlx", "-o", "out", "--force");
    assert_int_equal(run.code, 0);
    whole = hash_of_folder();
    assert_true(whole != old && !scratch_exists(scratch_path("out/tokenizer.model")));
    for (unsigned i = 0; i < 30; i++) {
        pid_t child;
        int status;

        RUN(&run, "quantize", SAMPLE, "--format", "mlx", "-t", "3bit", "-o", "out", "--force");
        assert_int_equal(run.code, 0);
        child = start("--force");
        nanosleep(&(struct timespec){ 0, (long)(i * i) * 100000 }, NULL);
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, &status, 0), child);
        if (hash_of_folder() == whole)
            replaced++;
        else
            assert_int_equal(hash_of_folder(), old);
    }
    print_message("%u of 30 were replaced\n", replaced);
    RUN(&run, "quantize", SAMPLE, "--format", "mlx", "-o", "out", "--force");
    assert_int_equal(run.code, 0);
    assert_false(scratch_exists(scratch_path("out.partial")));
    scratch_remove("out");
}

/* Neither what is no model, nor one with more than files, nor the source. */
static void
force_replaces_nothing_else(void **unused)
{
    static const char *const outputs[] = { "plain", "deep", "file" };

    (void)unused;
    scratch_folder("plain");
    scratch_write_text("plain/notes.txt", "mine");
    tiny_checkpoint("deep");
    scratch_folder("deep/more");
    scratch_write_text("file", "mine");
    tiny_checkpoint("model");
    for (size_t i = 0; i < 3; i++) {
        RUN(&run, "quantize", "model", "--format", "mlx", "-t", "bf16", "-o", outputs[i], "--force");
        assert_int_equal(run.code, 2);
        assert_non_null(strstr(run.err, "exists already, and is not replaced"));
        RUN(&run, "dequantize", "model", "-o", outputs[i], "--force");
        assert_int_equal(run.code, 2);
    }
    assert_true(scratch_exists(scratch_path("plain/notes.txt")) && scratch_exists(scratch_path("deep/more")) &&
                scratch_exists(scratch_path("file")));
    RUN(&run, "dequantize", "model", "-o", "model", "--force");
    assert_int_equal(run.code, 2);
    assert_non_null(strstr(run.err, "is the source"));
    RUN(&run, "quantize", "model/model.safetensors", "--format", "mlx", "-t", "bf16", "-o", "model", "--force");
    assert_int_equal(run.code, 2);
    assert_non_null(strstr(run.err, "is the source"));
    RUN(&run, "dequantize", "model", "-o", "again");
    assert_int_equal(run.code, 0);
    RUN(&run, "dequantize", "model", "-o", "again/", "--force", "--dtype", "f32");
    assert_int_equal(run.code, 0);
    assert_true(scratch_hash(scratch_path("again/model.safetensors")) != 0);
    assert_false(scratch_exists(scratch_path("again.partial")));
}

/* With the same bytes as two runs. */
static void
one_run_writes_a_file_and_a_folder(void **unused)
{
    uint64_t folder;
    json_t *report, *outputs;

    (void)unused;
    RUN(&run, "quantize", SAMPLE, "--format", "mlx", "-t", "3bit", "--group-size", "32", "-o", "out");
    assert_int_equal(run.code, 0);
    folder = hash_of_folder();
    scratch_remove("out");
    RUN(&run, "quantize", SAMPLE, "-t", "Q4_K_M", "-o", "one.gguf");
    assert_int_equal(run.code, 0);
    RUN(&run, "quantize", SAMPLE, "-t", "Q4_K_M", "-o", "both.gguf", "--also-mlx", "3bit=out", "--group-size", "32",
        "-j", "3", "--json");
    assert_int_equal(run.code, 0);
    assert_int_equal(hash_of_folder(), folder);
    assert_int_equal(scratch_hash(scratch_path("one.gguf")), scratch_hash(scratch_path("both.gguf")));
    report = json_loads(run.out, 0, NULL);
    outputs = json_object_get(report, "outputs");
    assert_string_equal(json_string_value(json_object_get(json_array_get(outputs, 0), "recipe")), "Q4_K_M");
    assert_string_equal(json_string_value(json_object_get(json_array_get(outputs, 1), "recipe")), "3bit");
    json_decref(report);
    RUN(&run, "quantize", "one.gguf", "--allow-requantize", "-t", "Q8_0", "-o", "both.gguf", "--also-mlx", "3bit=out");
    assert_int_equal(run.code, 2); /* they are there */
    assert_int_equal(hash_of_folder(), folder);
    scratch_remove("both.gguf");
    RUN(&run, "quantize", "one.gguf", "--allow-requantize", "-t", "Q8_0", "-o", "both.gguf", "--also-mlx", "3bit=out");
    assert_int_equal(run.code, 2);
    assert_false(scratch_exists(scratch_path("both.gguf")) || scratch_exists(scratch_path("both.gguf.partial")));
    scratch_remove("out");
    RUN(&run, "quantize", "one.gguf", "--allow-requantize", "-t", "Q8_0", "-o", "both.gguf", "--also-mlx", "3bit=out");
    assert_int_equal(run.code, 0);
    assert_true(scratch_exists(scratch_path("both.gguf")) && hash_of_folder() != folder);
    scratch_remove("out");
}

static void
of_two_outputs_neither_is_there_after_an_error(void **unused)
{
    static const unsigned char nan[4] = { 0, 0, 0xC0, 0x7F };
    unsigned char *bytes;
    size_t size;

    (void)unused;
    tiny_checkpoint("spoilt");
    bytes = scratch_read(scratch_path("spoilt/model.safetensors"), &size);
    memcpy(bytes + size - 4, nan, 4);
    scratch_write("spoilt/model.safetensors", bytes, size);
    free(bytes);
    RUN(&run, "quantize", "spoilt", "-t", "Q8_0", "-o", "a.gguf", "--also-mlx", "bf16=a", "--allow-other-tokens");
    assert_int_equal(run.code, 3);
    assert_non_null(strstr(run.err, "is NaN or infinite"));
    assert_false(scratch_exists(scratch_path("a.gguf")) || scratch_exists(scratch_path("a.gguf.partial")) ||
                 scratch_exists(scratch_path("a")) || scratch_exists(scratch_path("a.partial")));
    RUN(&run, "quantize", "spoilt", "--also-mlx", "Q4_K_M=a", "-o", "a.gguf");
    assert_int_equal(run.code, 2);
    assert_non_null(strstr(run.err, "'Q4_K_M' is not a recipe of --format mlx"));
    RUN(&run, "quantize", "spoilt", "--format", "mlx", "--also-mlx", "4bit=a", "-o", "b");
    assert_int_equal(run.code, 2);
    RUN(&run, "quantize", "spoilt", "--also-mlx", "4bit=spoilt", "-o", "a.gguf", "--force");
    assert_int_equal(run.code, 2);
    assert_non_null(strstr(run.err, "is the source"));
}

static void
weights_that_are_not_finite_are_refused(void **unused)
{
    static const unsigned char nan[4] = { 0, 0, 0xC0, 0x7F };
    unsigned char *bytes;
    size_t size;

    (void)unused;
    tiny_checkpoint("model");
    bytes = scratch_read(scratch_path("model/model.safetensors"), &size);
    memcpy(bytes + size - 4, nan, 4);
    scratch_write("model/model.safetensors", bytes, size);
    free(bytes);
    RUN(&run, "quantize", "model", "--format", "mlx", "-o", "out");
    assert_int_equal(run.code, 3);
    assert_non_null(strstr(run.err, "is NaN or infinite"));
    assert_false(scratch_exists(scratch_path("out")));
    assert_false(scratch_exists(scratch_path("out.partial")));
}

#define STARVED "quantize", "model", "--format", "mlx", "-t", "mixed_3_6", "--group-size", "32", "-j", "1", "-o", "out"

/* Every allocation of a run fails once: the same folder comes of it, or an error and none. */
static void
starve(void)
{
    unsigned refused = 0, in_a_row = 0;
    uint64_t whole;
    char number[16];

    RUN(&run, STARVED);
    assert_int_equal(run.code, 0);
    whole = scratch_hash(scratch_path("out/model.safetensors"));
    setenv("LD_PRELOAD", FAILING_MALLOC, 1);
    for (unsigned i = 1; in_a_row < 50 && i < 5000; i++) { /* until nothing fails any more */
        snprintf(number, sizeof number, "%u", i);
        setenv("FAIL_AT", number, 1);
        scratch_remove("out");
        RUN(&run, STARVED);
        in_a_row = run.code == 0 ? in_a_row + 1 : 0;
        refused += run.code != 0;
        if (run.code != 0 && run.code != 3 && run.code != 4)
            fail_msg("allocation %u: exit code %d: %s", i, run.code, run.err);
        if (scratch_exists(scratch_path("out")) != (run.code == 0) || scratch_exists(scratch_path("out.partial")))
            fail_msg("allocation %u: exit code %d, but files say otherwise", i, run.code);
        if (run.code == 0 && scratch_hash(scratch_path("out/model.safetensors")) != whole)
            fail_msg("allocation %u fails in silence: another file", i);
    }
    unsetenv("LD_PRELOAD");
    print_message("%u of them refused\n", refused);
    assert_true(refused > 100);
}

/* What is stored counts, not the floats that it is computed to. */
static void
inspect_tells_what_quantized_weights_take(void **unused)
{
    json_t *report, *mlx;

    (void)unused;
    RUN(&run, "quantize", SAMPLE, "--format", "mlx", "-t", "4bit", "-o", "seen");
    assert_int_equal(run.code, 0);
    RUN(&run, "inspect", "--json", "seen");
    assert_int_equal(run.code, 0);
    report = json_loads(run.out, 0, NULL);
    mlx = json_object_get(json_object_get(report, "types"), "MLX");
    assert_true(json_number_value(json_object_get(report, "bpw")) < 5);
    assert_true(json_integer_value(json_object_get(mlx, "tensors")) == 29);
    assert_true(json_number_value(json_object_get(mlx, "bpw")) == 4.5);
    assert_true(json_integer_value(json_object_get(report, "tensor_bytes")) <
                json_integer_value(json_object_get(report, "file_bytes")));
    json_decref(report);
}

static void
running_out_of_memory_is_never_silent(void **unused)
{
    (void)unused;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(NB_COVERAGE) || !defined(__GLIBC__)
    print_message("the allocator cannot be replaced here: skipped\n");
    skip();
#endif
    tiny_checkpoint("model");
    scratch_write_text("model/generation_config.json", "{\"eos_token_id\":[1,2]}");
    starve();
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_disk_leaves_no_folder),
        cmocka_unit_test(a_kill_at_any_moment_leaves_no_half_folder_under_the_name),
        cmocka_unit_test(force_replaces_a_folder_at_once),
        cmocka_unit_test(force_replaces_nothing_else),
        cmocka_unit_test(one_run_writes_a_file_and_a_folder),
        cmocka_unit_test(of_two_outputs_neither_is_there_after_an_error),
        cmocka_unit_test(weights_that_are_not_finite_are_refused),
        cmocka_unit_test(inspect_tells_what_quantized_weights_take),
        cmocka_unit_test(running_out_of_memory_is_never_silent),
    };

    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
