/*
 * The output file: whole under its name, or not there. Full disks, kills,
 * folders that cannot be written, files that are in the way.
 */
#include "formats/base/file_in.h"
#include "formats/base/file_out.h"
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
#include <sys/resource.h>
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
    assert_non_null(strstr(run.err, "exists already (--force overwrites it)"));
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
    scratch_small_disk(disk, "size=1m");
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

/* A link from an archive, under the name that an output has until it is complete. */
static void
a_partial_file_that_is_the_input_is_refused(void **unused)
{
    static const char *const commands[][8] = {
        { "quantize", "in.gguf", "-t", "q8_0", "-o", "out.gguf" },
        { "edit", "in.gguf", "--set", "general.name=str:x", "-o", "out.gguf" },
        { "hash", "in.gguf", "-o", "out.gguf" },
        { "split", "in.gguf", "out", "--max-tensors", "20" },
        { "merge", "in.gguf", "-o", "out.gguf" },
        { "calibrate", "in.gguf", "--chunks", "1", "-o", "out.gguf" },
        { "verify", "in.gguf", "--chunks", "1", "--html", "out.gguf" },
        { "verify", "in.gguf", "--chunks", "1", "--save-base", "out.gguf" },
    };
    static const char *const partials[] = { "out.gguf.partial", "out-00001-of-00002.gguf.partial" };
    uint64_t before;

    (void)unused;
    RUN(&run, "quantize", SAMPLE, "-t", "f16", "-o", "in.gguf");
    assert_int_equal(run.code, 0);
    before = scratch_hash(scratch_path("in.gguf"));
    for (size_t k = 0; k < 2; k++)
        assert_int_equal(link(scratch_path("in.gguf"), scratch_path(partials[k])), 0);
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        run_nibble(&run, commands[i]);
        if ((run.code != 2 && run.code != 4) || strstr(run.err, ".partial: is ") == NULL)
            fail_msg("%s: exit code %d: %s", commands[i][0], run.code, run.err);
        assert_int_equal(scratch_hash(scratch_path("in.gguf")), before);
        assert_false(scratch_exists(scratch_path("out.gguf")));
    }
    unlink(scratch_path("in.gguf")); /* also where it is the input's only name */
    RUN(&run, "quantize", "out.gguf.partial", "-t", "q8_0", "-o", "out.gguf");
    assert_int_equal(run.code, 2);
    assert_int_equal(scratch_hash(scratch_path("out.gguf.partial")), before);
    for (size_t k = 0; k < 2; k++)
        unlink(scratch_path(partials[k]));
}

/* The same in the library, which has no command line to look at. */
static void
a_partial_file_that_is_being_read_is_refused(void **unused)
{
    struct nb_file_out out;
    struct nb_file_in in;
    struct nb_error err;

    (void)unused;
    scratch_write_text("out.partial", "input");
    assert_int_equal(nb_file_open(&in, scratch_path("out.partial"), &err), NB_OK);
    assert_int_equal(nb_out_create(&out, scratch_path("out"), 0, true, &err), NB_SYSTEM);
    assert_non_null(strstr(err.message, "is being read"));
    nb_file_close(&in);
    assert_int_equal(nb_out_create(&out, scratch_path("out"), 0, true, &err), NB_OK);
    assert_int_equal(nb_file_open(&in, scratch_path("out.partial"), &err), NB_SYSTEM);
    assert_non_null(strstr(err.message, "is writing it"));
    nb_out_abort(&out, NULL);
    assert_false(scratch_exists(scratch_path("out.partial")));
}

/* What stands in the way is removed, and never written to. */
static void
a_partial_file_of_somebody_else_is_never_written_to(void **unused)
{
    (void)unused;
    scratch_write_text("precious", "precious");
    for (unsigned kind = 0; kind < 4; kind++) {
        size_t size;
        char *text;

        if (kind == 0)
            assert_int_equal(symlink("precious", scratch_path("out.gguf.partial")), 0);
        else if (kind == 1)
            assert_int_equal(symlink("nowhere", scratch_path("out.gguf.partial")), 0);
        else if (kind == 2)
            assert_int_equal(link(scratch_path("precious"), scratch_path("out.gguf.partial")), 0);
        else
            assert_int_equal(mkfifo(scratch_path("out.gguf.partial"), 0600), 0);
        RUN(&run, "quantize", SAMPLE, "-o", "out.gguf");
        if (run.code != 0 || scratch_exists(scratch_path("out.gguf.partial")) ||
            scratch_exists(scratch_path("nowhere")))
            fail_msg("kind %u: exit code %d: %s", kind, run.code, run.err);
        text = (char *)scratch_read(scratch_path("precious"), &size);
        assert_memory_equal(text, "precious", 8);
        free(text);
        unlink(scratch_path("out.gguf"));
    }
    scratch_folder("out.gguf.partial");
    RUN(&run, "quantize", SAMPLE, "-o", "out.gguf");
    assert_int_equal(run.code, 4);
    assert_non_null(strstr(run.err, "in the way"));
    scratch_remove("out.gguf.partial");
}

static void
a_file_that_is_read_is_no_output(void **unused)
{
    static const char *const commands[][10] = {
        { "calibrate", SAMPLE, "-f", "text", "-o", "text", "--force" },
        { "calibrate", SAMPLE, "-f", "text", "-o", "other", "--force" },
        { "verify", SAMPLE, "-f", "text", "--html", "text" },
        { "verify", SAMPLE, "-f", "text", "--save-base", "text", "--force" },
        { "verify", SAMPLE, "--hellaswag", "text", "--save-base", "other", "--force" },
        { "hash", "--whole-file", "text", "-o", "text" },
        { "hash", "--whole-file", "text", "-o", "other" },
        { "edit", "m.gguf", "--set-file", "a=str:text", "-o", "text", "--force" },
        { "quantize", SAMPLE, "--imatrix", "text", "-o", "text", "--force" },
        { "merge", "text", "-o", "other", "--force" },
    };
    uint64_t before;

    (void)unused;
    scratch_write_text("text", "Once upon a time.");
    unlink(scratch_path("other"));
    assert_int_equal(symlink("text", scratch_path("other")), 0);
    before = scratch_hash(scratch_path("text"));
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        run_nibble(&run, commands[i]);
        if (run.code != 2 || strstr(run.err, "to be read") == NULL || scratch_hash(scratch_path("text")) != before)
            fail_msg("row %zu: exit code %d: %s", i, run.code, run.err);
    }
    unlink(scratch_path("other"));
}

static void
a_link_to_an_output_stays_a_link(void **unused)
{
    struct stat st;

    (void)unused;
    scratch_folder("elsewhere");
    scratch_write_text("elsewhere/real", "old");
    assert_int_equal(chmod(scratch_path("elsewhere/real"), 0640), 0);
    assert_int_equal(symlink("elsewhere/real", scratch_path("link.gguf")), 0);
    RUN(&run, "quantize", SAMPLE, "-o", "link.gguf");
    assert_int_equal(run.code, 2);
    RUN(&run, "quantize", SAMPLE, "-o", "link.gguf", "--force");
    assert_int_equal(run.code, 0);
    assert_int_equal(lstat(scratch_path("link.gguf"), &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(stat(scratch_path("elsewhere/real"), &st), 0);
    assert_true(st.st_size > 1000000);
    assert_int_equal(st.st_mode & 0777, 0640);
    unlink(scratch_path("elsewhere/real"));
    RUN(&run, "quantize", SAMPLE, "-o", "link.gguf", "--force");
    assert_int_equal(run.code, 2);
    assert_non_null(strstr(run.err, "is a link that cannot be followed"));
    unlink(scratch_path("link.gguf"));
}

/* A name that the program chooses may be a trap: the link goes, and what it leads to stays. */
static void
a_link_in_the_place_of_a_state_is_not_followed(void **unused)
{
    struct nb_file_out out;
    struct nb_error err;
    struct stat st;

    (void)unused;
    scratch_write_text("precious", "precious");
    assert_int_equal(symlink("precious", scratch_path("out.resume")), 0);
    assert_int_equal(nb_out_create_own(&out, scratch_path("out.resume"), 3, &err), NB_OK);
    assert_int_equal(nb_out_write(&out, 0, "new", 3, &err), NB_OK);
    assert_int_equal(nb_out_commit(&out, true, &err), NB_OK);
    assert_int_equal(lstat(scratch_path("out.resume"), &st), 0);
    assert_true(S_ISREG(st.st_mode));
    assert_int_equal(stat(scratch_path("precious"), &st), 0);
    assert_int_equal(st.st_size, 8);
}

/* A limit on the size of files is a full disk, not the end of the program. */
static void
a_limit_of_file_size_leaves_nothing_behind(void **unused)
{
    const struct rlimit small = { 100000, RLIM_INFINITY };
    struct rlimit old;

    (void)unused;
    unlink(scratch_path("out.gguf"));
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    RUN(&run, "quantize", SAMPLE, "-o", "out.gguf");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(run.code, 4);
    assert_non_null(strstr(run.err, "too large"));
    assert_false(scratch_exists(scratch_path("out.gguf")));
    assert_false(scratch_exists(scratch_path("out.gguf.partial")));
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
        cmocka_unit_test(a_partial_file_that_is_the_input_is_refused),
        cmocka_unit_test(a_partial_file_that_is_being_read_is_refused),
        cmocka_unit_test(a_partial_file_of_somebody_else_is_never_written_to),
        cmocka_unit_test(a_file_that_is_read_is_no_output),
        cmocka_unit_test(a_link_to_an_output_stays_a_link),
        cmocka_unit_test(a_link_in_the_place_of_a_state_is_not_followed),
        cmocka_unit_test(a_limit_of_file_size_leaves_nothing_behind),
        cmocka_unit_test(a_kill_at_any_moment_leaves_no_half_file_under_the_name),
        cmocka_unit_test(an_interrupt_cleans_up),
        cmocka_unit_test(running_out_of_memory_is_never_silent),
        cmocka_unit_test(a_source_that_shrinks_while_it_is_read_is_an_error),
    };

    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
