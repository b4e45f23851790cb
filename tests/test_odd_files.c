/*
 * What is no regular file in the place of an input: FIFOs that nobody writes to, devices, links to
 * nowhere. All of them are refused at once; none is waited for, and none is taken for absent. And files
 * that are something else than their names say, or only a part of what was to be downloaded.
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
    alarm(240);
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

/* What downloads leave, and people rename: bytes, and words of the sentence that says what they are. */
static const struct {
    const char *bytes;
    size_t size;
    const char *expected;
} mistaken[] = {
#define BYTES(text) text, sizeof text - 1
    { BYTES(
          "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2"
          "ca24d17e2393\nsize 3970000000\n"),
      "a Git LFS pointer to one of 3.97 GB: run 'git lfs pull'" },
    { BYTES("<!DOCTYPE html>\n<html><head><title>Sign in</title>"), "a web page" },
    { BYTES("\xEF\xBB\xBF \n<HTML>"), "a web page" },
    { BYTES("<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>"), "an XML text" },
    { BYTES("{\"error\":\"Repository not found\"}"), "the answer of a server, 'Repository not found'" },
    { BYTES("{\"error\":{\"code\":401,\"message\":\"Log in\"}}"), "the answer of a server, 'Log in'" },
    { BYTES("{\"message\":\"Not Found\",\"status\":\"404\"}"), "the answer of a server, 'Not Found'" },
    { BYTES("Entry not found"), "a short text, 'Entry not found': download" },
    { BYTES("PK\3\4\0\0\x08\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x10\0\0\0archive/data.pkl\x80\2}q\0."),
      "a PyTorch file" },
    { BYTES("PK\3\4\0\0\x08\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x0A\0\0\0model.gguf.........."),
      "a ZIP archive: unpack" },
    { BYTES("\x80\2\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."), "a PyTorch file" },
    { BYTES("\x1F\x8B\x08\0\0\0\0\0\0\3GGUF"), "data compressed by gzip: unpack" },
    { BYTES("tjgg\3\0\0\0\0\x7D\0\0\0\x10\0\0"), "a GGML file from before GGUF" },
};

static void
what_is_in_the_place_of_a_model_is_named(void **unused)
{
    static const char *const commands[][8] = {
        { "inspect", "x.gguf" },
        { "inspect", "x.bin" },
        { "quantize", "x.gguf", "-o", "out.gguf" },
        { "quantize", "st", "-o", "out.gguf" },
        { "quantize", "st/model.safetensors", "-o", "out.gguf" },
        { "quantize", SAMPLE, "--imatrix", "x.gguf", "-o", "out.gguf" },
        { "calibrate", "x.gguf", "-o", "out.gguf" },
        { "calibrate", "--merge", "x.gguf", "-o", "out.gguf" },
        { "verify", SAMPLE, "x.gguf" },
        { "diff", SAMPLE, "x.gguf" },
        { "edit", "x.gguf", "--set", "a=str:b" },
        { "hash", "x.gguf" },
        { "hash", "st/model.safetensors" },
        { "split", "x.gguf" },
        { "merge", "x.gguf", "-o", "out.gguf" },
        { "tokenize", "x.gguf", "-p", "a" },
        { "check", "x.gguf" },
        { "check", "x.bin" },
        { "check", "st" },
        { "check", "st/model.safetensors" },
    };

    (void)unused;
    scratch_remove("st");
    scratch_remove("out.gguf");
    tiny_checkpoint("st");
    for (size_t m = 0; m < sizeof mistaken / sizeof mistaken[0]; m++) {
        scratch_write("x.gguf", mistaken[m].bytes, mistaken[m].size);
        scratch_write("x.bin", mistaken[m].bytes, mistaken[m].size);
        scratch_write("st/model.safetensors", mistaken[m].bytes, mistaken[m].size);
        for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
            const bool check = strcmp(commands[i][0], "check") == 0;

            run_nibble(&run, commands[i]);
            if (run.code != (check ? 1 : 3) || strstr(check ? run.out : run.err, mistaken[m].expected) == NULL)
                fail_msg("%s of %s: exit code %d: %s%s", mistaken[m].expected, commands[i][0], run.code, run.out,
                         run.err);
        }
    }
}

/* A text may begin with any words, but it is no pointer, and no bytes of other formats. */
static void
what_is_in_the_place_of_a_text_is_named(void **unused)
{
    static const struct {
        const char *bytes;
        size_t size;
        const char *expected;
    } cases[] = {
        { BYTES("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 3970000\n"),
          "no text, but a Git LFS pointer to one of 3.97 MB: run 'git lfs pull'" },
        { BYTES("PK\3\4\xFF\0\x08\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x0A\0\0\0model.gguf.........."),
          "no text, but a ZIP archive\n" },
        { BYTES("GGUF\3\0\0\0\xFF"), "no text, but a GGUF file\n" },
        { BYTES("\xFF\xFE"), "is not valid UTF-8 text" },
        { BYTES("GGUF is a format"), "two chunks" },
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        scratch_write("text", cases[i].bytes, cases[i].size);
        RUN(&run, "verify", SAMPLE, "-f", "text");
        if (run.code != 3 || strstr(run.err, cases[i].expected) == NULL)
            fail_msg("case %zu: exit code %d: %s", i, run.code, run.err);
        RUN(&run, "calibrate", SAMPLE, "-f", "text", "-o", "out.imatrix");
        if (run.code != 3 || (i < 4 && strstr(run.err, cases[i].expected) == NULL))
            fail_msg("calibrate, case %zu: exit code %d: %s", i, run.code, run.err);
    }
}

/* Of JSON files: those of the list that are no JSON, or an error of a server in it. */
static void
what_is_in_the_place_of_a_json_file_is_named(void **unused)
{
    static const char *const names[] = { "config.json",
                                         "tokenizer.json",
                                         "tokenizer_config.json",
                                         "generation_config.json",
                                         "model.safetensors.index.json",
                                         "tokenizer.model" };

    (void)unused;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        for (size_t m = 0; m < sizeof mistaken / sizeof mistaken[0]; m++) {
            char path[SCRATCH_PATH];

            scratch_remove("st");
            tiny_checkpoint("st");
            snprintf(path, sizeof path, "st/%s", names[i]);
            scratch_write(path, mistaken[m].bytes, mistaken[m].size);
            RUN(&run, "quantize", "st", "-o", "out.gguf");
            if (run.code != 3 || strstr(run.err, mistaken[m].expected) == NULL || strstr(run.err, names[i]) == NULL)
                fail_msg("%s in place of %s: exit code %d: %s", mistaken[m].expected, names[i], run.code, run.err);
            RUN(&run, "check", "st");
            if (run.code != 1 || strstr(run.out, mistaken[m].expected) == NULL)
                fail_msg("check of %s in place of %s: %s", mistaken[m].expected, names[i], run.out);
        }
    }
}

/* NAME, cut to SIZE bytes, is one fault that says so, for 'check' and for those who want to use MODEL. */
static void
expect_cut(const char *name, size_t size, const char *model)
{
    size_t whole;
    unsigned char *bytes = scratch_read(scratch_path(name), &whole);

    scratch_write(name, bytes, size);
    RUN(&run, "check", model);
    if (run.code != 1 || strstr(run.out, "cut short") == NULL || strstr(run.out, "download it again") == NULL ||
        strstr(run.out, "; 1 error, 0 warnings") == NULL)
        fail_msg("%s cut to %zu bytes: exit code %d: %s%s", name, size, run.code, run.out, run.err);
    RUN(&run, "quantize", model, "-t", "f16", "-o", "out.gguf");
    if (run.code != 3 || strstr(run.err, "cut short") == NULL || strstr(run.err, "download it again") == NULL)
        fail_msg("%s cut to %zu bytes: exit code %d: %s", name, size, run.code, run.err);
    scratch_write(name, bytes, whole);
    free(bytes);
}

static void
a_download_that_is_cut_short_is_one_fault(void **unused)
{
    size_t gguf, part, st;

    (void)unused;
    scratch_remove("st");
    tiny_checkpoint("st");
    RUN(&run, "quantize", SAMPLE, "-t", "q8_0", "-o", "whole.gguf");
    RUN(&run, "split", "whole.gguf", "set", "--max-tensors", "13");
    free(scratch_read(scratch_path("whole.gguf"), &gguf));
    free(scratch_read(scratch_path("set-00002-of-00003.gguf"), &part));
    free(scratch_read(scratch_path("st/model.safetensors"), &st));
    for (size_t i = 1; i < 40; i++)
        expect_cut("whole.gguf", gguf * i / 40, "whole.gguf");
    expect_cut("whole.gguf", gguf - 1, "whole.gguf");
    for (size_t i = 1; i < 10; i++) {
        expect_cut("set-00002-of-00003.gguf", part * i / 10, "set-00001-of-00003.gguf");
        expect_cut("st/model.safetensors", st * i / 10, "st");
    }
    expect_cut("st/model.safetensors", 100, "st");
    expect_cut("st/model.safetensors", st - 1, "st");
    RUN(&run, "check", "whole.gguf", "set-00001-of-00003.gguf", "st");
    assert_int_equal(run.code, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_command_waits_for_a_fifo),
        cmocka_unit_test(odd_files_of_a_model_are_named),
        cmocka_unit_test(a_part_that_is_a_fifo_is_named),
        cmocka_unit_test(an_open_pipe_is_a_text),
        cmocka_unit_test(a_link_out_of_the_folder_is_refused),
        cmocka_unit_test(links_of_the_hub_s_cache_are_followed),
        cmocka_unit_test(what_is_in_the_place_of_a_model_is_named),
        cmocka_unit_test(what_is_in_the_place_of_a_json_file_is_named),
        cmocka_unit_test(what_is_in_the_place_of_a_text_is_named),
        cmocka_unit_test(a_download_that_is_cut_short_is_one_fault),
    };

    return cmocka_run_group_tests(tests, setup, scratch_teardown);
}
