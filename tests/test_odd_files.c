/*
 * What is no regular file in the place of an input: FIFOs that nobody writes to, devices, links to
 * nowhere. All of them are refused at once; none is waited for, and none is taken for absent.
 */
#include "scratch.h"
#include "testing.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define SAMPLE SAMPLE_DATA "/tinystories-3m"

static struct run run;

/* Takes the alarm for a hang: the program would wait for ever. */
static int
setup(void **state)
{
    alarm(60);
    return scratch_setup(state);
}

static void
no_command_waits_for_a_fifo(void **unused)
{
    static const char *const commands[][8] = {
        { "check", "fifo.gguf" },
        { "check", "st/fifo.safetensors" },
        { "inspect", "fifo.gguf" },
        { "quantize", "fifo.gguf", "-o", "out.gguf" },
        { "quantize", "st/fifo.safetensors", "-o", "out.gguf" },
        { "quantize", SAMPLE, "--imatrix", "fifo.gguf", "-o", "out.gguf" },
        { "quantize", SAMPLE, "--tensor-type-file", "fifo.gguf", "-o", "out.gguf" },
        { "calibrate", SAMPLE, "-f", "fifo.gguf", "-o", "out.gguf" },
        { "calibrate", "--merge", "fifo.gguf", "fifo.gguf", "-o", "out.gguf" },
        { "verify", SAMPLE, "fifo.gguf" },
        { "verify", SAMPLE, "-f", "fifo.gguf" },
        { "diff", SAMPLE, "fifo.gguf" },
        { "edit", "fifo.gguf", "--set", "a=str:b" },
        { "edit", "model.gguf", "--set-file", "a=str:fifo.gguf" },
        { "edit", "model.gguf", "--chat-template", "fifo.gguf" },
        { "hash", "fifo.gguf" },
        { "hash", "--whole-file", "fifo.gguf" },
        { "hash", "--check", "fifo.gguf" },
        { "split", "fifo.gguf" },
        { "merge", "fifo.gguf", "-o", "out.gguf" },
        { "tokenize", SAMPLE, "-f", "fifo.gguf" },
        { "tokenize", SAMPLE, "-f", "/dev/zero" },
        { "inspect", "/dev/zero" },
    };

    (void)unused;
    assert_int_equal(mkfifo(scratch_path("fifo.gguf"), 0600), 0);
    tiny_checkpoint("st");
    assert_int_equal(mkfifo(scratch_path("st/fifo.safetensors"), 0600), 0);
    RUN(&run, "quantize", SAMPLE, "-t", "q8_0", "-o", "model.gguf");
    assert_int_equal(run.code, 0);
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        run_nibble(&run, commands[i]);
        if (run.code != 3 || strstr(run.err, "not a regular file") == NULL)
            fail_msg("row %zu, %s: exit code %d: %s", i, commands[i][0], run.code, run.err);
    }
}

/* In a folder, and in a set, names are not the user's: what has them is not taken for absent. */
static void
odd_files_of_a_model_are_named(void **unused)
{
    static const char *const names[] = { "config.json",       "model.safetensors",      "model.safetensors.index.json",
                                         "tokenizer.json",    "tokenizer_config.json",  "tokenizer.model",
                                         "README.md",         "generation_config.json", "chat_template.jinja",
                                         "chat_template.json" };

    (void)unused;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        for (int kind = 0; kind < 2; kind++) {
            const char *const expected = kind == 0 ? "not a regular file" : "is a link to a file that does not exist";
            char path[SCRATCH_PATH];

            scratch_remove("model");
            tiny_checkpoint("model");
            snprintf(path, sizeof path, "model/%s", names[i]);
            unlink(scratch_path(path));
            if (kind == 0)
                assert_int_equal(mkfifo(scratch_path(path), 0600), 0);
            else
                assert_int_equal(symlink("../nowhere", scratch_path(path)), 0);
            RUN(&run, "quantize", "model", "-t", "f16", "-o", "out.gguf");
            if (run.code != 3 || strstr(run.err, expected) == NULL || strstr(run.err, names[i]) == NULL)
                fail_msg("%s: exit code %d: %s", path, run.code, run.err);
            RUN(&run, "check", "model");
            if (run.code != 1 || strstr(run.out, expected) == NULL)
                fail_msg("check of %s: exit code %d: %s%s", path, run.code, run.out, run.err);
        }
    }
}

static void
a_part_that_is_a_fifo_is_named(void **unused)
{
    (void)unused;
    RUN(&run, "split", "model.gguf", "part", "--max-tensors", "20");
    assert_int_equal(run.code, 0);
    unlink(scratch_path("part-00002-of-00002.gguf"));
    assert_int_equal(mkfifo(scratch_path("part-00002-of-00002.gguf"), 0600), 0);
    RUN(&run, "quantize", "part-00001-of-00002.gguf", "-t", "f16", "-o", "out.gguf");
    assert_int_equal(run.code, 3);
    assert_non_null(strstr(run.err, "not a regular file"));
    RUN(&run, "check", "part-00001-of-00002.gguf");
    assert_int_equal(run.code, 1);
}

/* What a shell passes for <(command) is open already, and has an end. */
static void
an_open_pipe_is_a_text(void **unused)
{
    static const char text[] = "Once upon a time";
    char name[32], expected[1024];
    int ends[2];

    (void)unused;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], text, sizeof text - 1), sizeof text - 1);
    close(ends[1]);
    snprintf(name, sizeof name, "/dev/fd/%d", ends[0]);
    RUN(&run, "tokenize", SAMPLE, "-p", text);
    assert_true(strlen(run.out) < sizeof expected);
    strcpy(expected, run.out);
    RUN(&run, "tokenize", SAMPLE, "-f", name);
    assert_int_equal(run.code, 0);
    assert_string_equal(run.out, expected);
    close(ends[0]);
    RUN(&run, "tokenize", SAMPLE, "-f", "/dev/fd/999");
    assert_int_equal(run.code, 3);
}

/* A link in a folder from a stranger would put a private file into the output. */
static void
a_link_out_of_the_folder_is_refused(void **unused)
{
    static const char *const names[] = { "chat_template.jinja", "config.json", "README.md", "tokenizer.json",
                                         "model.safetensors" };

    (void)unused;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[SCRATCH_PATH], target[SCRATCH_PATH], away[SCRATCH_PATH];

        scratch_remove("model");
        scratch_remove("private");
        tiny_checkpoint("model");
        scratch_folder("private");
        snprintf(path, sizeof path, "model/%s", names[i]);
        snprintf(target, sizeof target, "../private/%s", names[i]);
        snprintf(away, sizeof away, "private/%s", names[i]);
        if (!scratch_exists(scratch_path(path)))
            scratch_write_text(path, "a secret\n");
        assert_int_equal(rename(scratch_path(path), scratch_path(away)), 0);
        assert_int_equal(symlink(target, scratch_path(path)), 0);
        unlink(scratch_path("out.gguf"));
        RUN(&run, "quantize", "model", "-t", "f16", "-o", "out.gguf");
        if (run.code != 3 || strstr(run.err, "leads out of the folder") == NULL)
            fail_msg("%s: exit code %d: %s", path, run.code, run.err);
        RUN(&run, "check", "model");
        if (run.code != 1 || strstr(run.out, "[checkpoint.link]") == NULL)
            fail_msg("check of %s: exit code %d: %s%s", path, run.code, run.out, run.err);
        RUN(&run, "hash", "model");
        assert_int_equal(run.code, 3);
        RUN(&run, "quantize", "model", "-t", "f16", "-o", "out.gguf", "--follow-links");
        if (run.code != 0)
            fail_msg("%s: exit code %d: %s", path, run.code, run.err);
        RUN(&run, "check", "model", "--follow-links");
        assert_null(strstr(run.out, "[checkpoint.link]"));
    }
    scratch_remove("model"); /* a template's link, a folder deeper */
    tiny_checkpoint("model");
    scratch_folder("model/additional_chat_templates");
    assert_int_equal(symlink("../../private/x", scratch_path("model/additional_chat_templates/a.jinja")), 0);
    scratch_write_text("private/x", "a secret\n");
    RUN(&run, "quantize", "model", "-t", "f16", "-o", "out.gguf", "--force");
    assert_int_equal(run.code, 3);
    assert_non_null(strstr(run.err, "leads out of the folder"));
    scratch_remove("model"); /* the folder itself, and a link within it, are the user's */
    tiny_checkpoint("model");
    assert_int_equal(rename(scratch_path("model/tokenizer.json"), scratch_path("model/t")), 0);
    assert_int_equal(symlink("t", scratch_path("model/tokenizer.json")), 0);
    assert_int_equal(symlink("model", scratch_path("alias")), 0);
    RUN(&run, "quantize", "alias", "-t", "f16", "-o", "out.gguf", "--force");
    assert_int_equal(run.code, 0);
}

/* MODEL/snapshots/REVISION/NAME leads to MODEL/blobs/HASH, and nowhere else. */
static void
links_of_the_hub_s_cache_are_followed(void **unused)
{
    static const char *const names[] = { "config.json", "tokenizer.json", "model.safetensors" };

    (void)unused;
    scratch_folder("hub");
    scratch_folder("hub/blobs");
    scratch_folder("hub/snapshots");
    tiny_checkpoint("hub/snapshots/0123");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[SCRATCH_PATH], blob[SCRATCH_PATH], target[SCRATCH_PATH];

        snprintf(path, sizeof path, "hub/snapshots/0123/%s", names[i]);
        snprintf(blob, sizeof blob, "hub/blobs/%zu", i);
        snprintf(target, sizeof target, "../../blobs/%zu", i);
        assert_int_equal(rename(scratch_path(path), scratch_path(blob)), 0);
        assert_int_equal(symlink(target, scratch_path(path)), 0);
    }
    RUN(&run, "quantize", "hub/snapshots/0123", "-t", "f16", "-o", "hub.gguf");
    assert_int_equal(run.code, 0);
    scratch_write_text("blobs", "a secret\n"); /* a name that only looks like the cache */
    assert_int_equal(symlink("../../../blobs", scratch_path("hub/snapshots/0123/chat_template.jinja")), 0);
    RUN(&run, "quantize", "hub/snapshots/0123", "-t", "f16", "-o", "hub.gguf", "--force");
    assert_int_equal(run.code, 3);
    unlink(scratch_path("hub/snapshots/0123/chat_template.jinja"));
    scratch_write_text("hub/refs", "a secret\n");
    assert_int_equal(symlink("../../refs", scratch_path("hub/snapshots/0123/chat_template.jinja")), 0);
    RUN(&run, "quantize", "hub/snapshots/0123", "-t", "f16", "-o", "hub.gguf", "--force");
    assert_int_equal(run.code, 3);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_command_waits_for_a_fifo),         cmocka_unit_test(odd_files_of_a_model_are_named),
        cmocka_unit_test(a_part_that_is_a_fifo_is_named),      cmocka_unit_test(an_open_pipe_is_a_text),
        cmocka_unit_test(a_link_out_of_the_folder_is_refused), cmocka_unit_test(links_of_the_hub_s_cache_are_followed),
    };

    return cmocka_run_group_tests(tests, setup, scratch_teardown);
}
