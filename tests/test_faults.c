/*
 * Files of a disk that fails: interrupted calls, short reads and writes, errors where one opens, reads, writes, syncs,
 * closes or renames, a disk that is pulled out. Whatever fails, the right file comes of it, or an error and none.
 */
#include "formats/base/file_out.h"
#include "formats/base/text.h"
#include "scratch.h"
#include "testing.h"

#include <fcntl.h>
#include <unistd.h>
#include <xxhash.h>

static struct run run;

#define OUTPUTS 2
static const struct command {
    const char *args[14];
    const char *outputs[OUTPUTS];
} commands[] = {
    { { "quantize", "model", "-t", "q4_0", "-o", "out.gguf" }, { "out.gguf" } },
    { { "quantize", "in.gguf", "-t", "q8_0", "-o", "old.gguf", "--force" }, { "old.gguf" } },
    { { "split", "in.gguf", "part", "--max-tensors", "8" },
      { "part-00001-of-00002.gguf", "part-00002-of-00002.gguf" } },
    { { "merge", "set-00001-of-00002.gguf", "-o", "out.gguf" }, { "out.gguf" } },
    { { "edit", "in.gguf", "--set", "general.name=str:a longer name", "-o", "out.gguf" }, { "out.gguf" } },
    { { "calibrate", "in.gguf", "-f", "text.txt", "-c", "8", "-o", "out.gguf" }, { "out.gguf" } },
    { { "hash", "in.gguf", "-o", "out.manifest" }, { "out.manifest" } },
    { { "verify", "model", "in.gguf", "-f", "text.txt", "-c", "8", "--html", "out.html" }, { "out.html" } },
    { { "install", "in.gguf", "--to", "ollama", "--name", "me" },
      { ".ollama/models/manifests/registry.ollama.ai/library/me/latest" } },
    { { "check", "model" }, { NULL } },
    { { "check", "set-00001-of-00002.gguf" }, { NULL } },
    { { "inspect", "--json", "model" }, { NULL } },
    { { "hash", "--all", "in.gguf" }, { NULL } },
};
static const char *const inputs[] = {
    "in.gguf",           "set-00001-of-00002.gguf", "set-00002-of-00002.gguf", "text.txt",
    "model/config.json", "model/tokenizer.json",    "model/model.safetensors"
};
#define INPUTS (sizeof inputs / sizeof inputs[0])

static uint64_t input_hashes[INPUTS], old_hash;

static int
make_inputs(void **state)
{
    char text[2001];

    if (scratch_setup(state) != 0)
        return -1;
    for (size_t i = 0; i < sizeof text - 1; i++)
        text[i] = "ab ba"[i * i % 7 % 5];
    text[sizeof text - 1] = '\0';
    scratch_write_text("text.txt", text);
    tiny_checkpoint("model");
    setenv("HOME", scratch_path("."), 1);
    unsetenv("OLLAMA_MODELS");
    RUN(&run, "quantize", "model", "-t", "f16", "-o", "in.gguf");
    assert_int_equal(run.code, 0);
    RUN(&run, "split", "in.gguf", "set", "--max-tensors", "8");
    assert_int_equal(run.code, 0);
    for (size_t i = 0; i < INPUTS; i++)
        input_hashes[i] = scratch_hash(scratch_path(inputs[i]));
    return 0;
}

/* Removes what COMMAND writes; a file that it replaces is an old one again. */
static void
clean(const struct command *c)
{
    for (size_t i = 0; i < OUTPUTS && c->outputs[i] != NULL; i++) {
        char *partial = nb_joined(scratch_path(c->outputs[i]), NB_PARTIAL);

        unlink(partial);
        free(partial);
        unlink(scratch_path(c->outputs[i]));
        if (strncmp(c->outputs[i], "old", 3) == 0) {
            scratch_write_text(c->outputs[i], "the old file");
            old_hash = scratch_hash(scratch_path(c->outputs[i]));
        }
    }
}

/* A page says when it was made. */
static uint64_t
output_hash(const char *name)
{
    size_t size;
    unsigned char *bytes;
    uint64_t hash;

    if (strstr(name, ".html") == NULL)
        return scratch_hash(scratch_path(name));
    bytes = scratch_read(scratch_path(name), &size);
    bytes[size] = '\0';
    hash = strstr((char *)bytes, "</html>") != NULL;
    free(bytes);
    return hash;
}

/* Runs ARGS while call number AT fails in the way HOW; false if there are not so many. CALL receives its name. */
static bool
run_with_fault(const char *const *args, const char *how, unsigned at, char call[32])
{
    FILE *log = tmpfile();
    char number[16];

    assert_non_null(log);
    setenv("LD_PRELOAD", FAILING_IO, 1);
    setenv("FAULT", how, 1);
    setenv("FAULT_FOLDER", scratch_path(""), 1);
    snprintf(number, sizeof number, "%u", at);
    setenv("FAULT_AT", number, 1);
    snprintf(number, sizeof number, "%d", fileno(log));
    setenv("FAULT_LOG", number, 1);
    run_nibble(&run, args);
    unsetenv("LD_PRELOAD");
    rewind(log);
    call[fread(call, 1, 31, log)] = '\0';
    fclose(log);
    return *call != '\0';
}

static size_t
errors_in(const char *text)
{
    size_t count = 0;

    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        count += strncmp(line, "nibble: ", 8) == 0;
    }
    return count;
}

/* What is wrong with the outputs after a run; NULL if nothing is. */
static const char *
wrong_output(const struct command *c, const uint64_t *right)
{
    if (c->outputs[0] == NULL && run.code == 0 && XXH64(run.out, strlen(run.out), 0) != right[0])
        return "it is said to have worked, but it prints something else";
    for (size_t i = 0; i < OUTPUTS && c->outputs[i] != NULL; i++) {
        const char *path = scratch_path(c->outputs[i]);
        char *partial = nb_joined(path, NB_PARTIAL);
        const bool is_left = scratch_exists(partial), is_there = scratch_exists(path);

        free(partial);
        if (is_left && strstr(run.err, NB_PARTIAL) == NULL)
            return "an unfinished file is left and not told of";
        if (run.code == 0 && (!is_there || output_hash(c->outputs[i]) != right[i]))
            return "it is said to have worked, but the file is another";
        if (run.code != 0 && is_there && output_hash(c->outputs[i]) != right[i] && scratch_hash(path) != old_hash)
            return "there is half a file under the final name";
    }
    return NULL;
}

static const char *
wrong_input(void)
{
    for (size_t i = 0; i < INPUTS; i++)
        if (scratch_hash(scratch_path(inputs[i])) != input_hashes[i])
            return inputs[i];
    return NULL;
}

static unsigned n_wrong;

/* Looks at what a run has left in which CALL, number AT, failed in the way HOW. */
static void
judge(const struct command *c, const char *how, unsigned at, const char *call, bool must_work, const uint64_t *right)
{
    const char *wrong = wrong_output(c, right);

    if (wrong == NULL && must_work && run.code != 0)
        wrong = "it should have gone on";
    /* What cannot be looked up for a moment is opened, and may turn out not to be there, or to be a folder. */
    if (wrong == NULL && run.code != 0 && run.code != 4 && !(run.code != 2 && strcmp(call, "stat") == 0))
        wrong = "it is no failure of the system";
    if (wrong == NULL && run.code != 0 && run.code != 1 && errors_in(run.err) != 1)
        wrong = "it is not told in one sentence";
    if (wrong == NULL)
        wrong = wrong_input();
    if (wrong == NULL)
        return;
    print_message("%s, %s %u (%s): exit code %d, %s: %s\n", c->args[0], how, at, call, run.code, wrong, run.err);
    n_wrong++;
}

/* All calls of COMMAND fail in turn, in the way HOW; of many, after the first ones, some. */
static unsigned
try_calls(const struct command *c, const char *how, bool must_work, const uint64_t *right)
{
    unsigned tried = 0;
    char call[32];

    for (unsigned at = 1;; at += 1 + at / 25) {
        bool failed;

        clean(c);
        failed = run_with_fault(c->args, how, at, call);
        judge(c, how, at, call, must_work, right);
        if (!failed)
            return tried;
        tried++;
    }
}

static void
skip_without_faults(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(NB_COVERAGE) || !defined(__GLIBC__)
    print_message("calls of the system cannot be replaced here: skipped\n");
    skip();
#endif
}

/* Every command, and what comes of it when nothing fails. */
static void
try_commands(const char *how, bool must_work)
{
    skip_without_faults();
    n_wrong = 0;
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        const struct command *c = &commands[i];
        uint64_t right[OUTPUTS] = { 0 };
        unsigned tried;

        clean(c);
        run_nibble(&run, c->args);
        if (run.code != 0)
            fail_msg("%s: exit code %d: %s", c->args[0], run.code, run.err);
        right[0] = XXH64(run.out, strlen(run.out), 0);
        for (size_t k = 0; k < OUTPUTS && c->outputs[k] != NULL; k++)
            right[k] = output_hash(c->outputs[k]);
        tried = try_calls(c, how, must_work, right);
        clean(c);
        print_message("%s: %u calls\n", c->args[0], tried);
        assert_true(tried > 3 || strcmp(how, "crawling") == 0);
    }
    assert_int_equal(n_wrong, 0);
}

static void
an_interrupted_call_is_repeated(void **unused)
{
    (void)unused;
    try_commands("interrupted", true);
}

static void
a_short_read_or_write_goes_on(void **unused)
{
    (void)unused;
    try_commands("short", true);
}

static void
a_disk_that_crawls_is_waited_for(void **unused)
{
    (void)unused;
    try_commands("crawling", true);
}

static void
an_error_leaves_the_whole_file_or_none(void **unused)
{
    (void)unused;
    try_commands("error", false);
}

static void
another_error_does_so_too(void **unused)
{
    (void)unused;
    try_commands("other", false);
}

static void
a_disk_that_is_pulled_out_leaves_no_half_file(void **unused)
{
    (void)unused;
    try_commands("gone", false);
}

/* An edit in place has nothing but the journal. */
static void
an_edit_in_place_is_whole_or_can_be_undone(void **unused)
{
    static const char *const hows[] = { "interrupted", "short", "error", "other", "gone" };
    static const char *const args[] = { "edit", "e.gguf", "--set", "general.name=str:madel", "--force", NULL };
    size_t size;
    unsigned char *old;
    uint64_t before, after;
    char call[32];

    (void)unused;
    skip_without_faults();
    old = scratch_read(scratch_path("in.gguf"), &size);
    before = scratch_hash(scratch_path("in.gguf"));
    scratch_write("e.gguf", old, size);
    run_nibble(&run, args);
    assert_int_equal(run.code, 0);
    after = scratch_hash(scratch_path("e.gguf"));
    assert_int_not_equal(before, after);
    for (size_t h = 0; h < sizeof hows / sizeof hows[0]; h++) {
        for (unsigned at = 1;; at++) {
            bool failed;
            uint64_t now;

            unlink(scratch_path("e.gguf"));
            unlink(scratch_path("e.gguf.undo"));
            unlink(scratch_path("e.gguf.undo.partial"));
            scratch_write("e.gguf", old, size);
            failed = run_with_fault(args, hows[h], at, call);
            now = scratch_hash(scratch_path("e.gguf"));
            if (run.code == 0 ? now != after : h < 2 || run.code != 4 || errors_in(run.err) != 1)
                fail_msg("%s %u (%s): exit code %d: %s", hows[h], at, call, run.code, run.err);
            if (now != after && now != before && !scratch_exists(scratch_path("e.gguf.undo")))
                fail_msg("%s %u (%s): half a header, and no journal", hows[h], at, call);
            run_nibble(&run, args);
            if (run.code != 0 || scratch_hash(scratch_path("e.gguf")) != after)
                fail_msg("%s %u (%s), and once more: exit code %d: %s", hows[h], at, call, run.code, run.err);
            if (!failed)
                break;
        }
    }
    free(old);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_interrupted_call_is_repeated),
        cmocka_unit_test(a_short_read_or_write_goes_on),
        cmocka_unit_test(a_disk_that_crawls_is_waited_for),
        cmocka_unit_test(an_error_leaves_the_whole_file_or_none),
        cmocka_unit_test(another_error_does_so_too),
        cmocka_unit_test(a_disk_that_is_pulled_out_leaves_no_half_file),
        cmocka_unit_test(an_edit_in_place_is_whole_or_can_be_undone),
    };

    return cmocka_run_group_tests(tests, make_inputs, scratch_teardown);
}
