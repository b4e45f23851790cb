/*
 * The output file: whole under its name, or not there. Full disks, kills,
 * folders that cannot be written, files that are in the way.
 */
#include "formats/base/status.h"
#include "formats/elements/types.h"
#include "formats/models/source.h"
#include "quantize/pipeline.h"
#include "quantize/plan.h"
#include "quantize/policy/recipe.h"
#include "scratch.h"
#include "testing.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SAMPLE SAMPLE_DATA "/tinystories-3m"

static struct run run;

static void
an_existing_file_is_kept_unless_forced(void **unused)
{
    uint64_t before;

    (void)unused;
    scratch_write_text("out.gguf", "precious");
    before = scratch_hash(scratch_path("out.gguf"));
    RUN(&run, "quantize", SAMPLE, "-o", "out.gguf");
    assert_int_equal(run.code, 2);
    assert_non_null(strstr(run.err, "exists already"));
    assert_int_equal(scratch_hash(scratch_path("out.gguf")), before);
    RUN(&run, "quantize", SAMPLE, "-o", "out.gguf", "--force");
    assert_int_equal(run.code, 0);
    RUN(&run, "inspect", "out.gguf");
    assert_int_equal(run.code, 0);
    unlink(scratch_path("out.gguf"));
}

static void
a_failed_run_leaves_the_old_file(void **unused)
{
    uint64_t before;
    size_t size;
    unsigned char *bytes;

    (void)unused;
    tiny_checkpoint("model");
    RUN(&run, "quantize", "model", "-t", "f16", "-o", "out.gguf");
    assert_int_equal(run.code, 0);
    before = scratch_hash(scratch_path("out.gguf"));
    bytes = scratch_read(scratch_path("model/model.safetensors"), &size);
    memcpy(bytes + size - 4, &(float){ NAN }, 4);
    scratch_write("model/model.safetensors", bytes, size);
    free(bytes);
    RUN(&run, "quantize", "model", "-t", "f16", "-o", "out.gguf", "--force");
    assert_int_equal(run.code, 3);
    assert_int_equal(scratch_hash(scratch_path("out.gguf")), before);
    assert_false(scratch_exists(scratch_path("out.gguf.partial")));
    unlink(scratch_path("out.gguf"));
}

static void
the_source_is_never_overwritten(void **unused)
{
    uint64_t before;

    (void)unused;
    RUN(&run, "quantize", SAMPLE, "-t", "f16", "-o", "model.gguf");
    assert_int_equal(run.code, 0);
    before = scratch_hash(scratch_path("model.gguf"));
    RUN(&run, "quantize", "model.gguf", "-t", "q8_0", "-o", "./model.gguf", "--force");
    assert_int_equal(run.code, 2);
    assert_non_null(strstr(run.err, "is the source"));
    assert_int_equal(scratch_hash(scratch_path("model.gguf")), before);
    unlink(scratch_path("model.gguf"));
}

static void
places_that_cannot_be_written_are_errors(void **unused)
{
    (void)unused;
    RUN(&run, "quantize", SAMPLE, "-o", "no/such/folder/out.gguf");
    assert_int_equal(run.code, 4);
    scratch_folder("folder.gguf");
    RUN(&run, "quantize", SAMPLE, "-o", "folder.gguf", "--force");
    assert_int_equal(run.code, 2);
    assert_non_null(strstr(run.err, "no file that could be replaced"));
    RUN(&run, "quantize", SAMPLE, "-o", "/dev/null", "--force");
    assert_int_equal(run.code, 2);
    scratch_remove("folder.gguf");
    if (geteuid() == 0)
        return; /* root may write everywhere */
    scratch_folder("locked");
    chmod(scratch_path("locked"), 0500);
    RUN(&run, "quantize", SAMPLE, "-o", "locked/out.gguf");
    assert_int_equal(run.code, 4);
}

static void
a_full_disk_leaves_nothing_behind(void **unused)
{
    const char *disk;

    (void)unused;
    scratch_folder("disk");
    disk = scratch_path("disk");
    if (!scratch_small_disk(disk, "size=1m")) {
        print_message("a tmpfs cannot be mounted here: skipped\n");
        skip();
    }
    RUN(&run, "quantize", SAMPLE, "-o", "disk/out.gguf");
    if (run.code != 4 || strstr(run.err, "No space left") == NULL || scratch_exists(scratch_path("disk/out.gguf")) ||
        scratch_exists(scratch_path("disk/out.gguf.partial"))) {
        scratch_small_disk_gone(disk);
        fail_msg("exit code %d: %s", run.code, run.err);
    }
    scratch_small_disk_gone(disk);
}

/* What a run leaves that is killed between giving the file its name and taking the other one away. */
static void
a_file_that_is_still_named_partial_is_kept(void **unused)
{
    uint64_t before;

    (void)unused;
    scratch_write_text("finished", "whole");
    before = scratch_hash(scratch_path("finished"));
    assert_int_equal(link(scratch_path("finished"), scratch_path("out.gguf.partial")), 0);
    RUN(&run, "quantize", SAMPLE, "-o", "out.gguf");
    assert_int_equal(run.code, 0);
    assert_int_equal(scratch_hash(scratch_path("finished")), before);
    assert_false(scratch_exists(scratch_path("out.gguf.partial")));
    unlink(scratch_path("out.gguf"));
}

/* Starts the program on the sample and returns its process. */
static pid_t
start(const char *recipe)
{
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        int null = open("/dev/null", O_WRONLY);

        dup2(null, STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
        execl(NIBBLE_PROGRAM, "nibble", "quantize", SAMPLE, "-t", recipe, "-o", scratch_path("out.gguf"), "--force",
              "-j", "2", NULL);
        _exit(127);
    }
    return child;
}

static void
a_kill_at_any_moment_leaves_no_half_file_under_the_name(void **unused)
{
    unsigned killed = 0, finished = 0;
    uint64_t whole;

    (void)unused;
    RUN(&run, "quantize", SAMPLE, "-t", "q5_k_m", "-o", "whole.gguf");
    assert_int_equal(run.code, 0);
    whole = scratch_hash(scratch_path("whole.gguf"));
    unlink(scratch_path("out.gguf"));
    for (unsigned i = 0; i < 120; i++) {
        pid_t child = start("q5_k_m");
        int status;

        /* moments from the start of the process to well behind its end */
        nanosleep(&(struct timespec){ 0, (long)(i * i) * 4000 }, NULL);
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, &status, 0), child);
        if (WIFSIGNALED(status))
            killed++;
        else
            finished++;
        if (scratch_exists(scratch_path("out.gguf")))
            assert_int_equal(scratch_hash(scratch_path("out.gguf")), whole);
    }
    print_message("%u killed, %u finished first\n", killed, finished);
    assert_true(killed > 0);
    /* what a killed run left is no hindrance to the next */
    RUN(&run, "quantize", SAMPLE, "-t", "q5_k_m", "-o", "out.gguf", "--force");
    assert_int_equal(run.code, 0);
    assert_int_equal(scratch_hash(scratch_path("out.gguf")), whole);
    assert_false(scratch_exists(scratch_path("out.gguf.partial")));
}

static void
an_interrupt_cleans_up(void **unused)
{
    unsigned interrupted = 0;

    (void)unused;
    unlink(scratch_path("out.gguf"));
    for (unsigned i = 0; i < 60; i++) {
        pid_t child = start("q5_k_m");
        int status;

        nanosleep(&(struct timespec){ 0, (long)(i + 1) * 300000 }, NULL);
        kill(child, SIGTERM);
        assert_int_equal(waitpid(child, &status, 0), child);
        /* before the handler is set up, the signal itself ends the program; then there is no file yet */
        /* after it the clean-up ends by the signal, too, so that a loop in a shell stops */
        assert_true(WIFSIGNALED(status) ? WTERMSIG(status) == SIGTERM : WEXITSTATUS(status) == 0);
        interrupted += WIFSIGNALED(status);
        assert_false(scratch_exists(scratch_path("out.gguf.partial")));
    }
    print_message("%u interrupted\n", interrupted);
}

static void
a_source_that_shrinks_while_it_is_read_is_an_error(void **unused)
{
    struct nb_plan_options options = { .via = NB_TYPE_NONE };
    const struct nb_pipeline_options how = { .threads = 2 };
    struct nb_source source;
    struct nb_plan plan;
    struct nb_error err;

    (void)unused;
    options.recipe.recipe = nb_recipe_by_name("F16");
    options.recipe.output_type = options.recipe.embedding_type = NB_TYPE_NONE;
    tiny_checkpoint("model");
    assert_int_equal(nb_source_open(&source, scratch_path("model"), NULL, &err), NB_OK);
    assert_int_equal(nb_plan_make(&plan, &source, &options, &err), NB_OK);
    assert_int_equal(truncate(scratch_path("model/model.safetensors"), 30000), 0);
    assert_int_equal(nb_pipeline_run(&plan, scratch_path("shrunk.gguf"), &how, &err), NB_INPUT);
    assert_non_null(strstr(err.message, "ends at byte"));
    assert_false(scratch_exists(scratch_path("shrunk.gguf")));
    assert_false(scratch_exists(scratch_path("shrunk.gguf.partial")));
    nb_plan_free(&plan);
    nb_source_close(&source);
}

/* Each allocation fails once: the same file comes of it, or an error and none. */
/* Every allocation of a run with the matrix IMATRIX fails once. */
static void
starve(const char *imatrix)
{
    unsigned refused = 0, in_a_row = 0;
    uint64_t whole;
    char number[16];

    /* of its entries, those of a layer that the tiny model has not */
#define STARVED(output)                                                                                \
    "quantize", "model", "-t", "q4_0", "-j", "1", "--imatrix", imatrix, "--include-weights", "blk.3.", \
        "--tensor-type", "attn_v=q8_0", "-o", output
    unlink(scratch_path("whole.gguf"));
    RUN(&run, STARVED("whole.gguf"));
    assert_int_equal(run.code, 0);
    whole = scratch_hash(scratch_path("whole.gguf"));
    setenv("LD_PRELOAD", FAILING_MALLOC, 1);
    for (unsigned i = 1; in_a_row < 50 && i < 5000; i++) { /* until nothing fails any more */
        snprintf(number, sizeof number, "%u", i);
        setenv("FAIL_AT", number, 1);
        unlink(scratch_path("out.gguf"));
        RUN(&run, STARVED("out.gguf"));
        in_a_row = run.code == 0 ? in_a_row + 1 : 0;
        refused += run.code != 0;
        if (run.code != 0 && run.code != 3 && run.code != 4)
            fail_msg("allocation %u: exit code %d: %s", i, run.code, run.err);
        if (scratch_exists(scratch_path("out.gguf")) != (run.code == 0) ||
            scratch_exists(scratch_path("out.gguf.partial")))
            fail_msg("allocation %u: exit code %d, but files say otherwise", i, run.code);
        if (run.code == 0 && scratch_hash(scratch_path("out.gguf")) != whole)
            fail_msg("allocation %u fails in silence: another file", i);
    }
    unsetenv("LD_PRELOAD");
    print_message("%u of them refused\n", refused);
    assert_true(refused > 100);
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
    scratch_write_text("model/README.md", "---\nlicense: mit\ntags: [a, b]\nbase_model: x/y-1B\n---\n");
    scratch_write_text("model/generation_config.json", "{\"temperature\":0.5}");
    starve(TEST_DATA "/golden/tinystories-3m.imatrix");
    starve(TEST_DATA "/golden/tinystories-3m.dat");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_existing_file_is_kept_unless_forced),
        cmocka_unit_test(a_failed_run_leaves_the_old_file),
        cmocka_unit_test(the_source_is_never_overwritten),
        cmocka_unit_test(places_that_cannot_be_written_are_errors),
        cmocka_unit_test(a_full_disk_leaves_nothing_behind),
        cmocka_unit_test(a_file_that_is_still_named_partial_is_kept),
        cmocka_unit_test(a_kill_at_any_moment_leaves_no_half_file_under_the_name),
        cmocka_unit_test(an_interrupt_cleans_up),
        cmocka_unit_test(running_out_of_memory_is_never_silent),
        cmocka_unit_test(a_source_that_shrinks_while_it_is_read_is_an_error),
    };

    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
