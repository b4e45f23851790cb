/*
 * Tables of a model's tensors, layer by role: they fit into the terminal, say the same without colour, and neither names
 * nor numbers from a file make them large or wrong.
 */
#include "formats/gguf/metadata.h"
#include "scratch.h"
#include "testing.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SAMPLE SAMPLE_DATA "/tinystories-3m"

static struct run run;

static int
setup(void **state)
{
    const int failed = scratch_setup(state);

    RUN(&run, "quantize", SAMPLE, "-t", "Q4_K_M", "-o", "model.gguf");
    assert_int_equal(run.code, 0);
    RUN(&run, "quantize", SAMPLE, "-t", "Q8_0", "-o", "even.gguf");
    assert_int_equal(run.code, 0);
    scratch_write_text("effects.json",
                       "{\"effects\": 1, \"tensors\": ["
                       "{\"name\": \"token_embd.weight\", \"kld\": {\"q2_K\": 0.5, \"q6_K\": 0.01}},"
                       "{\"name\": \"blk.0.attn_q.weight\", \"kld\": {\"q2_K\": 0.3, \"q4_K\": 0.03, \"q8_0\": 0.001}},"
                       "{\"name\": \"blk.3.ffn_down.weight\", \"kld\": {\"q2_K\": 0.2, \"q6_K\": 0.06}},"
                       "{\"name\": \"blk.1.attn_q.weight\", \"kld\": {\"q2_K\": 0}},"
                       "{\"name\": \"blk.2.ffn_up.weight\", \"kld\": {}}]}");
    return failed;
}

/* A line of OUT that has all WORDS in this order. */
static bool
has_line(const char *out, const char *const *words, size_t n)
{
    for (const char *line = out; *line != '\0'; line += strcspn(line, "\n") + (line[strcspn(line, "\n")] == '\n')) {
        const char *end = line + strcspn(line, "\n"), *at = line;
        size_t found = 0;

        while (found < n && (at = strstr(at, words[found])) != NULL && at + strlen(words[found]) <= end)
            at += strlen(words[found++]);
        if (found == n)
            return true;
    }
    return false;
}
#define HAS_LINE(...)                                       \
    has_line(run.out, (const char *const[]){ __VA_ARGS__ }, \
             sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(char *))

static void
layers_with_the_same_types_share_a_line(void **unused)
{
    (void)unused;
    RUN(&run, "inspect", "--layers", "even.gguf");
    assert_int_equal(run.code, 0);
    assert_true(HAS_LINE("  0-3 q8_0 q8_0 q8_0   q8_0 q8_0 q8_0 q8_0"));
    RUN(&run, "inspect", "--layers", "model.gguf");
    assert_int_equal(run.code, 0);
    assert_true(HAS_LINE("attn", "attn", "attn", "attn", "ffn", "ffn", "ffn"));
    assert_true(HAS_LINE("layer", "q", "k", "v", "output", "gate", "up", "down"));
    assert_true(HAS_LINE("  0-1 q4_K q4_K q4_K   q4_K q4_K q4_K q4_K"));
    assert_true(HAS_LINE("  2-3 q4_K q4_K q6_K   q4_K q4_K q4_K q6_K"));
    assert_true(HAS_LINE("token_embd.weight q6_K"));
    assert_null(strstr(strstr(run.out, "types of the matrices"), "norm.weight"));
}

/* Every value is there, whatever the width; no line is longer. */
static void
a_map_fits_into_a_narrow_terminal(void **unused)
{
    static const char *const args[] = { "inspect", "--layers", "--effects", "effects.json", "model.gguf", NULL };
    static const int widths[] = { 45, 80, 20 };

    (void)unused;
    for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++) {
        const char *map, *end;
        unsigned q4 = 0, q6 = 0;

        if (!run_on_terminal(&run, widths[i], "dumb", args))
            skip();
        map = strstr(run.out, "types of the matrices");
        assert_non_null(map);
        map += strcspn(map, "\n") + 1;
        end = strstr(map, "sum of the effects");
        assert_non_null(end);
        for (const char *at = map; at < end; at++) {
            q4 += strncmp(at, "q4_K", 4) == 0;
            q6 += strncmp(at, "q6_K", 4) == 0;
        }
        assert_int_equal(q4, 7 + 5); /* two lines of seven, and the embedding */
        assert_int_equal(q6, 2 + 1);
        for (const char *line = map; line < end && widths[i] > 20; line += strcspn(line, "\n") + 1)
            assert_true(strcspn(line, "\n") <= (size_t)widths[i]);
    }
}

static void
colours_say_nothing_that_numbers_do_not(void **unused)
{
    static const char *const args[] = { "inspect", "effects.json", NULL };

    (void)unused;
    unsetenv("NO_COLOR");
    if (!run_on_terminal(&run, 80, "xterm", args))
        skip();
    assert_non_null(strstr(run.out, "\x1b[2m0.00\x1b[0m"));
    setenv("NO_COLOR", "1", 1);
    assert_true(run_on_terminal(&run, 80, "xterm", args));
    unsetenv("NO_COLOR");
    assert_null(strstr(run.out, "\x1b[3"));
    assert_true(HAS_LINE("token_embd.weight 50.0"));
    assert_true(HAS_LINE("0", "30.0", "-"));
    assert_true(HAS_LINE("3", "-", "20.0"));
}

/* Of a GGUF file, what its own types cost; of a checkpoint, what the costliest would. Unknown tensors are left out. */
static void
effects_are_those_of_the_types_that_a_file_has(void **unused)
{
    (void)unused;
    RUN(&run, "inspect", "--effects", "effects.json", "model.gguf");
    assert_int_equal(run.code, 0);
    assert_true(HAS_LINE("sum of the effects: a KLD of 0.1 nats a token"));
    assert_true(HAS_LINE("0", "q4_K 30.0"));
    assert_true(HAS_LINE("3", "q6_K 60.0"));
    assert_true(HAS_LINE("token_embd.weight q6_K 10.0"));
    RUN(&run, "inspect", "--effects", "effects.json", SAMPLE, "--json");
    assert_int_equal(run.code, 0);
    assert_non_null(strstr(run.out, "{\"name\":\"blk.0.attn_q.weight\",\"type\":\"q2_K\",\"kld\":0.3}"));
    assert_non_null(strstr(run.out, "\"kld_sum\":1."));
    assert_null(strstr(strstr(run.out, "\"kld_sum\""), "ffn_up"));
    RUN(&run, "inspect", "effects.json", "--json");
    assert_int_equal(run.code, 0);
    assert_non_null(strstr(run.out, "\"format\":\"effects\""));
}

/* 'verify' tells the effects beside what it measures, of types that the file knows and of no others. */
static void
verify_tells_effects_beside_what_it_measures(void **unused)
{
    (void)unused;
    RUN(&run, "verify", "-f", SAMPLE_DATA "/tinystories-valid.txt", "-c", "64", "--chunks", "2", "--effects",
        "effects.json", SAMPLE, "model.gguf", "even.gguf", "--json");
    assert_int_equal(run.code, 0);
    assert_non_null(strstr(run.out, "\"effect\":0.03"));
    assert_null(strstr(run.out, "\"effect\":0.3"));
    assert_null(strstr(run.out, "\"effect\":0.2"));
    RUN(&run, "verify", "-f", SAMPLE_DATA "/tinystories-valid.txt", "-c", "64", "--chunks", "2", "--effects",
        "effects.json", SAMPLE, "model.gguf");
    assert_int_equal(run.code, 0);
    assert_true(HAS_LINE("the effects of its types add up to a KLD of 0.1;"));
    RUN(&run, "verify", "--base-from", "x", "--effects", "effects.json", "model.gguf");
    assert_int_equal(run.code, 2);
    assert_non_null(strstr(run.err, "--effects needs the base itself"));
}

/* The sandbox of 'inspect' leaves the folder of the file open, and no other. */
static void
a_file_of_effects_may_be_in_another_folder(void **unused)
{
    size_t size;
    unsigned char *bytes = scratch_read(scratch_path("effects.json"), &size);

    (void)unused;
    scratch_folder("elsewhere");
    scratch_write("elsewhere/effects.json", bytes, size);
    free(bytes);
    scratch_folder("models");
    RUN(&run, "quantize", SAMPLE, "-t", "Q4_K_M", "-o", "models/model.gguf");
    assert_int_equal(run.code, 0);
    RUN(&run, "inspect", "--effects", "elsewhere/effects.json", "models/model.gguf");
    assert_int_equal(run.code, 0);
    assert_non_null(strstr(run.out, "sum of the effects"));
}

static void
a_bad_file_of_effects_is_refused(void **unused)
{
    (void)unused;
    RUN(&run, "inspect", "--effects", SAMPLE "/config.json", "model.gguf");
    assert_int_equal(run.code, 3);
    assert_non_null(strstr(run.err, "is no table of effects"));
    scratch_write_text(
        "twice.json",
        "{\"effects\": 1, \"tensors\": [{\"name\": \"a\", \"kld\": {}}, {\"name\": \"a\", \"kld\": {}}]}");
    RUN(&run, "inspect", "--effects", "twice.json", "model.gguf");
    assert_int_equal(run.code, 3);
    assert_non_null(strstr(run.err, "tensor 'a' is there twice"));
    RUN(&run, "inspect", "--effects", "effects.json", "--markdown", "model.gguf");
    assert_int_equal(run.code, 2);
    assert_non_null(strstr(run.err, "--markdown does not go with --effects"));
}

/* A layer and a role of its own for every tensor: a table of them would have the square of their number. */
static void
a_file_cannot_ask_for_a_table_without_end(void **unused)
{
    struct gguf_maker maker = { .count = 0 };
    struct nb_metadata meta = { 0 };
    struct nb_error err;

    (void)unused;
    for (unsigned i = 0; i < 60; i++) {
        char name[NB_MAX_NAME + 1];

        snprintf(name, sizeof name, "blk.%u.role%u.weight", 1000 - i, i);
        make_tensor(&maker, name, 32, 2, 1);
    }

    nb_meta_set_string(&meta, "general.architecture", "x");
    assert_int_equal(nb_meta_status(&meta, &err), NB_OK);
    make_file(&maker, &meta, "sparse.gguf");
    nb_meta_free(&meta);
    RUN(&run, "inspect", "--layers", "sparse.gguf");
    assert_int_equal(run.code, 0);
    assert_true(HAS_LINE("  blk.1000.role0.weight f32"));
    assert_true(strlen(run.out) < 20000);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layers_with_the_same_types_share_a_line),
        cmocka_unit_test(a_map_fits_into_a_narrow_terminal),
        cmocka_unit_test(colours_say_nothing_that_numbers_do_not),
        cmocka_unit_test(effects_are_those_of_the_types_that_a_file_has),
        cmocka_unit_test(verify_tells_effects_beside_what_it_measures),
        cmocka_unit_test(a_file_of_effects_may_be_in_another_folder),
        cmocka_unit_test(a_bad_file_of_effects_is_refused),
        cmocka_unit_test(a_file_cannot_ask_for_a_table_without_end),
    };

    return cmocka_run_group_tests(tests, setup, scratch_teardown);
}
