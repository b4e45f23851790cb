/*
 * What reaches people and programs: on a terminal nothing that a stranger wrote gives orders to it, tables fit into 80
 * columns, and colours come only where they can be seen; with --json there is one object, also where a command fails.
 */
#include "scratch.h"
#include "testing.h"

#include "formats/base/text.h"
#include "formats/gguf/metadata.h"

#include <jansson.h>
#include <unistd.h>

#define SAMPLE SAMPLE_DATA "/tinystories-3m"
#define TEXT SAMPLE_DATA "/tinystories-valid.txt"
/* Clears the screen by ESC and by C1, goes back to the line's start, turns text around, and is no UTF-8. */
#define HOSTILE       \
    "\x1b[2J\xc2\x9b" \
    "31m\r\xe2\x80\xae\x07\x7f\xff"
#define MAX_ARGS 10

static struct run run;

/* A model whose texts are hostile, under a hostile name, and what else the commands read under such names. */
static int
setup(void **state)
{
    struct gguf_maker g = { .count = 0 };
    struct nb_metadata meta = { .count = 0 };
    const char text[] = "\x1b[2J\xc2\x9b"
                        "31m\r\xe2\x80\xae\x07\x7f"; /* the reader refuses what is no UTF-8 */

    alarm(240);
    if (scratch_setup(state) != 0)
        return -1;
    nb_meta_set_string(&meta, "general.architecture", text);
    nb_meta_set_string(&meta, "general.name", text);
    nb_meta_set_string(&meta, "tokenizer.chat_template", text);
    make_tensor(&g,
                "a\xe2\x80\xae"
                "b",
                32, 4, 1)[0] = 1; /* names have no controls, or the file is refused */
    make_file(&g, &meta, "h" HOSTILE ".gguf");
    nb_meta_free(&meta);
    scratch_write_text("t" HOSTILE, "Once upon a time");
    scratch_write_text("m" HOSTILE, "0123456789abcdef0123456789abcdef01234567  h" HOSTILE ".gguf\n");
    tiny_checkpoint("c" HOSTILE);
    RUN(&run, "quantize", SAMPLE, "-t", "q8_0", "-o", "model.gguf");
    return run.code;
}

/* Commands whose arguments, and what they read, are hostile. A row ends with NULL. */
static const char *const hostile[][MAX_ARGS] = {
    { HOSTILE },
    { "check", "--" HOSTILE },
    { "quantize", "-" HOSTILE, "x" },
    { "quantize", "c" HOSTILE, "-t", HOSTILE },
    { "quantize", "c" HOSTILE, "--tensor-type", HOSTILE },
    { "quantize", "c" HOSTILE, "--override-kv", HOSTILE "=int:x" },
    { "quantize", "c" HOSTILE, "-t", "f16", "-o", "o" HOSTILE, "--force" },
    { "quantize", "c" HOSTILE, "-t", "q8_0", "--dry-run", "-v" },
    { "quantize", "c" HOSTILE, "--imatrix", "t" HOSTILE },
    { "quantize", HOSTILE },
    { "calibrate", "c" HOSTILE, "-f", "t" HOSTILE, "-o", "i" HOSTILE },
    { "calibrate", "--merge", "t" HOSTILE, "-o", "i" },
    { "verify", "c" HOSTILE, "h" HOSTILE ".gguf" },
    { "verify", "c" HOSTILE, "-f", "t" HOSTILE },
    { "check", "h" HOSTILE ".gguf", "c" HOSTILE, "t" HOSTILE, "absent" HOSTILE },
    { "inspect", "h" HOSTILE ".gguf" },
    { "inspect", "--full", "--tensors", "--wide", "h" HOSTILE ".gguf" },
    { "inspect", "--markdown", "h" HOSTILE ".gguf" },
    { "inspect", "--tensor",
      "a\xe2\x80\xae"
      "b",
      "h" HOSTILE ".gguf" },
    { "inspect", "--tensor", HOSTILE, "h" HOSTILE ".gguf" },
    { "diff", "h" HOSTILE ".gguf", "model.gguf" },
    { "diff", "c" HOSTILE, "h" HOSTILE ".gguf" },
    { "edit", "h" HOSTILE ".gguf", "--set", "general.name=str:" HOSTILE },
    { "edit", "h" HOSTILE ".gguf", "--set", "general.name=str:\x1b[1m", "--dry-run" },
    { "edit", "h" HOSTILE ".gguf", "--remove", HOSTILE },
    { "hash", "h" HOSTILE ".gguf" },
    { "hash", "--whole-file", "h" HOSTILE ".gguf" },
    { "hash", "--check", "m" HOSTILE },
    { "hash", "--check", "t" HOSTILE },
    { "split", "h" HOSTILE ".gguf", "p" HOSTILE, "--dry-run" },
    { "split", "h" HOSTILE ".gguf", "--max-size", HOSTILE },
    { "merge", "h" HOSTILE ".gguf", "-o", "w" HOSTILE, "--force" },
    { "tokenize", "c" HOSTILE, "-p", "a" HOSTILE },
    { "tokenize", "model.gguf", "-p", "a" HOSTILE "\xe2\x82\xac" },
    { "tokenize", "model.gguf", "-f", "absent" HOSTILE },
    { "help", HOSTILE },
};

/* The first byte of TEXT that a terminal must not get; NULL if there is none. Lines may end. */
static const char *
order_in(const char *text)
{
    char shown[NB_SHOWN];

    for (const char *at = text; *at != '\0'; at++) {
        if (*at == '\n' || ((unsigned char)*at & 0xC0) == 0x80)
            continue;
        nb_show_character(at, strlen(at), shown);
        if (*at != *shown)
            return at;
    }
    return nb_utf8_valid(text, strlen(text)) ? NULL : text;
}

static void
expect_harmless(const char *const *args)
{
    const char *order = order_in(run.out);

    if (order != NULL)
        fail_msg("%s %s: byte %zu of the output is an order to the terminal: %.60s", args[0],
                 args[1] == NULL ? "" : args[1], (size_t)(order - run.out), run.out);
    if (run.code >= 128)
        fail_msg("%s %s: exit code %d: %s", args[0], args[1] == NULL ? "" : args[1], run.code, run.out);
}

static void
nothing_from_a_stranger_gives_orders_to_a_terminal(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof hostile / sizeof hostile[0]; i++) {
        const char *args[MAX_ARGS + 2];
        size_t n = 0;

        for (; hostile[i][n] != NULL; n++)
            args[n] = hostile[i][n];
        args[n] = args[n + 1] = NULL;
        if (!run_on_terminal(&run, 80, "dumb", args))
            skip();
        expect_harmless(args);
        args[n] = "--json";
        assert_true(run_on_terminal(&run, 80, "dumb", args));
        expect_harmless(args);
    }
}

/* A manifest names files as they are, or none of them could be checked. */
static void
a_manifest_in_a_file_has_the_true_names(void **unused)
{
    (void)unused;
    RUN(&run, "hash", "--whole-file", "h" HOSTILE ".gguf");
    assert_int_equal(run.code, 0);
    assert_non_null(strstr(run.out, "  h" HOSTILE ".gguf\n"));
    scratch_write_text("true.manifest", run.out);
    RUN(&run, "hash", "--check", "true.manifest");
    assert_int_equal(run.code, 0);
    RUN(&run, "hash", "a\nb");
    assert_int_equal(run.code, 2);
    assert_non_null(strstr(run.err, "a name with a line feed"));
}

/* What "-" means for files that are text. */
static void
texts_can_go_to_standard_output(void **unused)
{
    (void)unused;
    RUN(&run, "hash", "--no-layer", "-o", "-", "model.gguf");
    assert_int_equal(run.code, 0);
    assert_memory_equal(run.out, "xxh64     ", 10);
    RUN(&run, "verify", SAMPLE, "-f", TEXT, "--chunks", "1", "--html", "-");
    assert_int_equal(run.code, 0);
    assert_memory_equal(run.out, "<!DOCTYPE html>", 15);
    assert_null(strstr(run.out, "tokens scored, in"));
    RUN(&run, "verify", SAMPLE, "-f", TEXT, "--chunks", "1", "--html", "-", "--json");
    assert_int_equal(run.code, 2);
    RUN(&run, "merge", "model.gguf", "-o", "-");
    assert_int_equal(run.code, 2);
    assert_false(scratch_exists(scratch_path("-")));
}

static void
a_part_of_a_character_is_shown_as_its_bytes(void **unused)
{
    (void)unused;
    RUN(&run, "tokenize", "model.gguf", "--no-bos", "-p", "\xe2\x82\xac");
    assert_non_null(strstr(run.out, "-> '<0xE2>'\n"));
    assert_non_null(strstr(run.out, "-> '<0x82>'\n"));
    RUN(&run, "tokenize", "model.gguf", "--no-bos", "-p", "\xe2\x82\xac", "--json");
    assert_non_null(strstr(run.out, "\"piece\":null,\"bytes\":[226]"));
}

/* --- JSON --------------------------------------------------------------------------------------------------- */

static const char *const with_json[][MAX_ARGS] = {
    { "quantize", SAMPLE, "--dry-run" },
    { "calibrate", SAMPLE, "-f", TEXT, "--chunks", "1", "-o", "x.imatrix", "--force" },
    { "verify", SAMPLE, "model.gguf", "-f", TEXT, "--chunks", "1", "--tensors" },
    { "check", "model.gguf" },
    { "check", "--codes" },
    { "inspect", "model.gguf" },
    { "inspect", "x.imatrix" },
    { "inspect", "--tensor", "blk.0.attn_q.weight", "model.gguf" },
    { "diff", SAMPLE, "model.gguf" },
    { "edit", "model.gguf", "--set", "general.name=str:x", "--dry-run" },
    { "hash", "model.gguf" },
    { "hash", "--check", "true.manifest" },
    { "split", "model.gguf", "--dry-run" },
    { "merge", "model.gguf", "-o", "whole.gguf", "--force" },
    { "tokenize", SAMPLE, "-p", "\xe2\x82\xac" },
    { "types" },
    { "families" },
};

/* The object that is all of the output. */
static json_t *
the_object(const char *const *args)
{
    json_error_t why;
    json_t *object = json_loads(run.out, JSON_REJECT_DUPLICATES, &why);

    if (object == NULL)
        fail_msg("%s %s: not one JSON object: %s: %.200s", args[0], args[1] == NULL ? "" : args[1], why.text, run.out);
    assert_int_equal(json_integer_value(json_object_get(object, "version")), 1);
    assert_string_equal(strchr(run.out, '\n'), "\n"); /* one line */
    return object;
}

static void
every_object_has_the_version_of_the_schema(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof with_json / sizeof with_json[0]; i++) {
        const char *args[MAX_ARGS + 1] = { NULL };
        json_t *object;

        for (size_t n = 0; with_json[i][n] != NULL; n++)
            args[n] = with_json[i][n], args[n + 1] = "--json";
        run_nibble(&run, args);
        object = the_object(args);
        if (json_object_get(object, "error") != NULL || run.code > 1)
            fail_msg("%s: exit code %d: %s%s", args[0], run.code, run.out, run.err);
        json_decref(object);
    }
}

static void
an_error_is_an_object_too(void **unused)
{
    static const struct {
        const char *args[MAX_ARGS], *code;
    } cases[] = {
        { { "quantize", "absent" }, "not_found" },
        { { "quantize", "absent\xff" }, "not_found" },
        { { "quantize", "model.gguf", "-t", "q4_0", "-o", "model.gguf" }, "usage" },
        { { "quantize", SAMPLE, "-t", "f16", "-o", "whole.gguf" }, "exists" },
        { { "quantize", "--no-such-option" }, "usage" },
        { { "quantise" }, "usage" },
        { { "calibrate", SAMPLE }, "usage" },
        { { "calibrate", "t" HOSTILE, "-o", "x" }, "input" },
        { { "verify", "t" HOSTILE }, "input" },
        { { "inspect", "t" HOSTILE }, "input" },
        { { "diff", "model.gguf", "absent" }, "not_found" },
        { { "edit", "model.gguf", "--remove", "absent" }, "usage" },
        { { "hash", "absent" }, "not_found" },
        { { "hash", "--check", "t" HOSTILE }, "input" },
        { { "split", "absent" }, "not_found" },
        { { "merge", "absent", "-o", "x" }, "not_found" },
        { { "tokenize", "model.gguf" }, "usage" },
        { { "tokenize", "model.gguf", "-f", "absent" }, "not_found" },
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *args[MAX_ARGS + 1] = { NULL };
        size_t n = 0;
        json_t *object, *error;
        int code;

        for (; cases[i].args[n] != NULL; n++)
            args[n] = cases[i].args[n];
        run_nibble(&run, args);
        code = run.code;
        assert_true(code > 1);
        assert_string_equal(run.out, "");
        args[n] = "--json";
        run_nibble(&run, args);
        assert_int_equal(run.code, code);
        object = the_object(args);
        error = json_object_get(object, "error");
        if (strcmp(json_string_value(json_object_get(error, "code")), cases[i].code) != 0)
            fail_msg("%s %s: %s", args[0], args[1] == NULL ? "" : args[1], run.out);
        /* the sentence on stderr is the same */
        assert_non_null(strstr(run.err, "nibble: "));
        assert_memory_equal(strstr(run.err, "nibble: ") + 8, json_string_value(json_object_get(error, "message")),
                            json_string_length(json_object_get(error, "message")));
        json_decref(object);
    }
}

/* An object was once left out of its list in silence, and the list called sound. */
static void
no_file_is_lost_from_a_list(void **unused)
{
    static const char *const args[] = { "check", "--json", "model.gguf", "absent\xff", "h" HOSTILE ".gguf", NULL };
    json_t *object, *files;

    (void)unused;
    run_nibble(&run, args);
    assert_int_equal(run.code, 3);
    object = the_object(args);
    files = json_object_get(object, "files");
    assert_true(json_is_false(json_object_get(object, "sound")));
    assert_int_equal(json_array_size(files), 3);
    assert_string_equal(json_string_value(json_object_get(json_array_get(files, 1), "path")), "absent\\xFF");
    assert_non_null(json_object_get(json_array_get(files, 1), "error"));
    assert_non_null(json_object_get(json_array_get(files, 2), "findings"));
    json_decref(object);
}

/* --- tables and colours ----------------------------------------------------------------------------------------- */

static void
tables_fit_into_80_columns(void **unused)
{
    static const char *const commands[][MAX_ARGS] = {
        { "types" },
        { "families" },
        { "check", "--codes" },
        { "check", "model.gguf" },
        { "inspect", "--tensors", "model.gguf" },
        { "inspect", "--tensor", "blk.0.attn_q.weight", "model.gguf" },
        { "diff", "model.gguf", "h" HOSTILE ".gguf" },
        { "quantize", SAMPLE, "--dry-run", "-o", "o.gguf" },
        { "verify", "s", "a-name-of-a-model-that-takes-more-than-its-part-of-a-line.gguf", "-f", "text", "--chunks",
          "1", "--tensors" },
    };
    size_t size;
    unsigned char *bytes = scratch_read(scratch_path("model.gguf"), &size);

    (void)unused;
    scratch_write("a-name-of-a-model-that-takes-more-than-its-part-of-a-line.gguf", bytes, size);
    free(bytes);
    assert_int_equal(symlink(SAMPLE, scratch_path("s")), 0);
    assert_int_equal(symlink(TEXT, scratch_path("text")), 0);
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        run_nibble(&run, commands[i]);
        assert_true(run.code <= 1);
        for (const char *line = run.out, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
            size_t columns = 0;

            for (const char *at = line; at < end; at++)
                columns += ((unsigned char)*at & 0xC0) != 0x80;
            if (columns > 80 && strstr(line, "memory to run") == NULL && strncmp(line, "  weights ", 10) != 0)
                fail_msg("%s: %zu columns: %.*s", commands[i][0], columns, (int)(end - line), line);
        }
    }
    assert_non_null(strstr(run.out, "..")); /* the long name */
    RUN(&run, "verify", "--wide", "s", "a-name-of-a-model-that-takes-more-than-its-part-of-a-line.gguf", "-f", "text",
        "--chunks", "1");
    assert_non_null(strstr(run.out, "\na-name-of-a-model-that-takes-more-than-its-part-of-a-line.gguf "));
    assert_non_null(strstr(run.out, "+-"));
}

static void
colours_come_only_where_they_are_seen(void **unused)
{
    static const char *const args[] = { "check", "model.gguf", "t" HOSTILE, "absent", NULL };

    (void)unused;
    unsetenv("NO_COLOR");
    if (!run_on_terminal(&run, 80, "xterm", args))
        skip();
    assert_non_null(strstr(run.out, "\x1b[32msound\x1b[0m"));
    assert_non_null(strstr(run.out, "\x1b[31mnot sound\x1b[0m"));
    assert_non_null(strstr(run.out, "\x1b[31mnibble:\x1b[0m"));
    assert_true(run_on_terminal(&run, 80, "dumb", args));
    assert_null(strchr(run.out, '\x1b'));
    setenv("NO_COLOR", "1", 1);
    assert_true(run_on_terminal(&run, 80, "xterm", args));
    assert_null(strstr(run.out, "\x1b[3"));
    unsetenv("NO_COLOR");
    run_nibble(&run, args);
    assert_null(strchr(run.out, '\x1b'));
    assert_null(strchr(run.err, '\x1b'));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_from_a_stranger_gives_orders_to_a_terminal),
        cmocka_unit_test(a_manifest_in_a_file_has_the_true_names),
        cmocka_unit_test(texts_can_go_to_standard_output),
        cmocka_unit_test(a_part_of_a_character_is_shown_as_its_bytes),
        cmocka_unit_test(every_object_has_the_version_of_the_schema),
        cmocka_unit_test(an_error_is_an_object_too),
        cmocka_unit_test(no_file_is_lost_from_a_list),
        cmocka_unit_test(tables_fit_into_80_columns),
        cmocka_unit_test(colours_come_only_where_they_are_seen),
    };

    return cmocka_run_group_tests(tests, setup, scratch_teardown);
}
