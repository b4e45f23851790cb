/*
 * One table of options: what it says is the same in every command, is in every command's help,
 * and is what the program does. A mistyped word is answered with the word that was meant.
 */
#include "cli/help.h"
#include "cli/options.h"
#include "cli/suggest.h"
#include "scratch.h"
#include "testing.h"

#include <limits.h>

#define SAMPLE SAMPLE_DATA "/tinystories-3m"

static struct run run;

static void
expect(int code, const char *out, const char *err)
{
    if (run.code != code || strstr(run.out, out) == NULL || strstr(run.err, err) == NULL)
        fail_msg("expected code %d, '%s' and '%s': code %d: %s%s", code, out, err, run.code, run.out, run.err);
}

/* --- the tables ----------------------------------------------------------------------------------------------- */

/* What an option takes; files of all formats are one kind here. */
static enum cli_argument
kind_of(const struct cli_option *o)
{
    return o->argument == ARG_GGUF || o->argument == ARG_MODEL ? ARG_FILE : o->argument;
}

static void
an_option_means_the_same_everywhere(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < cli_n_options; i++) {
        const struct cli_option *a = &cli_options[i];

        assert_true(a->commands != 0 && (a->commands & ~IN_ALL) == 0);
        assert_true((a->argument == ARG_NONE) == (a->placeholder == NULL));
        for (size_t k = 0; k < i; k++) {
            const struct cli_option *b = &cli_options[k];
            const bool same = a->id == b->id;

            if (same && ((a->commands & b->commands) != 0 || kind_of(a) != kind_of(b)))
                fail_msg("--%s has two meanings", a->name);
            if ((strcmp(a->name, b->name) == 0) != same)
                fail_msg("--%s and --%s are confused", a->name, b->name);
            if (a->letter != '\0' && (a->letter == b->letter) != same)
                fail_msg("-%c is --%s and --%s", a->letter, a->name, b->name);
        }
    }
}

static void
every_command_is_described(void **unused)
{
    (void)unused;
    for (size_t c = 0; c < CLI_N_COMMANDS; c++) {
        static const enum cli_option_id common[] = { OPT_HELP, OPT_VERSION, OPT_QUIET, OPT_VERBOSE };
        const struct cli_command *k = &cli_commands[c];

        assert_true(k->name != NULL && k->run != NULL && k->summary != NULL && k->usage != NULL);
        assert_true(k->description != NULL && strncmp(k->examples, "nibble ", 7) == 0);
        assert_true(k->min_operands == 0 || k->missing != NULL);
        assert_true((k->succeeded == NULL) == (k->answered_no == NULL));
        for (size_t n = 0; n < sizeof common / sizeof common[0]; n++) {
            bool found = false;

            for (size_t i = 0; i < cli_n_options; i++)
                found |= cli_options[i].id == common[n] && cli_has_option(k, &cli_options[i]);
            assert_true(found);
        }
    }
}

/* --- help ------------------------------------------------------------------------------------------------------- */

static void
lines_are_short(const char *text)
{
    for (const char *line = text; *line != '\0';) {
        const size_t n = strcspn(line, "\n");

        if (n > HELP_WIDTH || (n > 0 && line[n - 1] == ' '))
            fail_msg("a line is too long, or ends with a blank: '%.*s'", (int)n, line);
        line += n + (line[n] == '\n');
    }
}

static void
help_names_every_option(void **unused)
{
    static char help[sizeof run.out];
    char form[128];

    (void)unused;
    for (size_t c = 0; c < CLI_N_COMMANDS; c++) {
        const struct cli_command *k = &cli_commands[c];

        RUN(&run, k->name, "--help");
        expect(0, k->examples[0] == '\0' ? "?" : "Example", "");
        assert_string_equal(run.err, "");
        lines_are_short(run.out);
        strcpy(help, run.out);
        for (size_t i = 0; i < cli_n_options; i++) {
            if (!cli_has_option(k, &cli_options[i]))
                continue;
            cli_option_form(form, sizeof form, &cli_options[i]);
            if (strstr(help, form) == NULL)
                fail_msg("nibble %s --help lacks '%s'", k->name, form);
        }
        RUN(&run, k->name, "-h", "and", "--what", "follows");
        assert_string_equal(run.out, help);
        RUN(&run, "help", k->name);
        assert_string_equal(run.out, help);
    }
}

static void
the_program_names_every_command(void **unused)
{
    static char help[sizeof run.out];

    (void)unused;
    RUN(&run, "--help");
    lines_are_short(run.out);
    strcpy(help, run.out);
    for (size_t c = 0; c < CLI_N_COMMANDS; c++)
        expect(0, cli_commands[c].summary, "");
    RUN(&run, "-h");
    assert_string_equal(run.out, help);
    RUN(&run, "help");
    assert_string_equal(run.out, help);
}

static void
every_command_says_its_version(void **unused)
{
    (void)unused;
    RUN(&run, "-V");
    assert_string_equal(run.out, "nibble " NB_VERSION "\n");
    RUN(&run, "--version");
    assert_string_equal(run.out, "nibble " NB_VERSION "\n");
    for (size_t c = 0; c < CLI_N_COMMANDS; c++) {
        RUN(&run, cli_commands[c].name, "-V");
        expect(0, "nibble " NB_VERSION "\n", "");
        RUN(&run, cli_commands[c].name, "-q", "--version");
        expect(0, "nibble " NB_VERSION "\n", "");
    }
}

/* --- mistyped words ----------------------------------------------------------------------------------------------- */

/* NAME with two neighbours swapped; false if there are none that differ. */
static bool
misspell(const char *name, char *out)
{
    const size_t n = strlen(name);

    strcpy(out, name);
    for (size_t i = n / 2; i + 1 < n; i++) {
        if (name[i] == name[i + 1] || name[i] == '-' || name[i + 1] == '-')
            continue;
        out[i] = name[i + 1];
        out[i + 1] = name[i];
        return true;
    }
    return false;
}

static void
a_mistyped_option_is_recognized(void **unused)
{
    char typed[64] = "--", wanted[160];
    size_t tried = 0;

    (void)unused;
    for (size_t c = 0; c < CLI_N_COMMANDS; c++) {
        const struct cli_command *k = &cli_commands[c];

        for (size_t i = 0; i < cli_n_options; i++) {
            if (!cli_has_option(k, &cli_options[i]) || !misspell(cli_options[i].name, typed + 2))
                continue;
            snprintf(wanted, sizeof wanted, "nibble: '%s' is not an option of %s; did you mean '--%s'?\n", typed,
                     k->name, cli_options[i].name);
            RUN(&run, k->name, typed, "x");
            expect(2, "", wanted);
            assert_string_equal(run.out, "");
            tried++;
        }
    }
    assert_true(tried > 100);
}

static void
other_slips_are_recognized(void **unused)
{
    static const struct {
        const char *args[4], *says;
    } cases[] = {
        { { "quantise" }, "'quantise' is not a command; did you mean 'quantize'?" },
        { { "help", "tokenise" }, "'tokenise' is not a command; did you mean 'tokenize'?" },
        { { "quant" }, "did you mean 'quantize'?" },
        { { "frobnicate" }, "'frobnicate' is not a command\n" },
        { { "-q", "types" }, "'-q' is not an option of nibble" },
        { { "quantize", "--imatrx", "x" }, "'--imatrx' is not an option of quantize; did you mean '--imatrix'?" },
        { { "quantize", "--tensortype=a=f16" },
          "'--tensortype' is not an option of quantize; did you mean '--tensor-type'?" },
        { { "quantize", "-imatrix", "x" }, "did you mean '--imatrix'?" },
        { { "quantize", "--frobnicate" }, "'--frobnicate' is not an option of quantize\n" },
        { { "hash", "-c", "x" }, "'-c' is not an option of hash; did you mean '--check'?" },
        { { "hash", "--file", "x" }, "did you mean '--whole-file'?" },
        { { "quantize", "--out", "x" }, "'--out' is ambiguous: it could be '--output' or '--output-tensor-type'" },
        { { "quantize", "-t", "q4km" }, "'q4km' is not a recipe; did you mean 'Q4_K_M'? 'nibble types' lists them" },
        { { "quantize", "-t", "Q4K" }, "did you mean 'Q4_K'?" }, /* an alias */
        { { "quantize", "-t", "Q9_9" }, "'Q9_9' is not a recipe; 'nibble types' lists them" },
        { { "quantize", "--output-tensor-type", "q6k" }, "'q6k' is not a tensor type; did you mean 'q6_K'?" },
        { { "quantize", "--tensor-type", "a=iq4nl", "x" }, "'iq4nl' is not a tensor type; did you mean 'iq4_nl'?" },
        { { "quantize", "--via", "q8_0" }, "--via: 'q8_0' is not f16 or bf16" },
        { { "check", "--level", "none" }, "--level: 'none' is not structure, content or full" },
        { { "verify", "-j", "0" }, "-j: '0' is not a whole number from 1 to 256" },
        { { "verify", "--threads=1x" }, "--threads: '1x' is not a whole number from 1 to 256" },
        { { "verify", "--chunks", "0" }, "--chunks: '0' is not a whole number of 1 or more" },
        { { "verify", "--max-kld", "-1" }, "--max-kld: '-1' is not a number of 0 or more" },
        { { "types", "--json=yes" }, "--json takes no argument" },
        { { "quantize", "model", "-o" }, "-o needs an argument: FILE" },
        { { "diff", "a", "b", "c" }, "'c' is one argument too many" },
        { { "diff", "a" }, "name two models" },
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *args[5] = { NULL };

        memcpy(args, cases[i].args, sizeof cases[i].args);
        run_nibble(&run, args);
        expect(2, "", cases[i].says);
        expect(2, "", "\nTry 'nibble");
    }
}

static void
distances_are_those_of_slips(void **unused)
{
    static const struct {
        const char *a, *b;
        unsigned distance;
    } cases[] = {
        { "imatrix", "imatrix", 0 },
        { "imatrx", "imatrix", 1 },
        { "imatirx", "imatrix", 1 },
        { "kitten", "sitting", 3 },
        { "Q4_K_M", "q4km", 0 },
        { "ca", "abc", 3 },
        { "", "abc", 3 },
        { "quantise", "quantize", 1 },
        { "no-bos", "nobos", 0 },
    };
    char longest[100];

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(cli_distance(cases[i].a, cases[i].b), cases[i].distance);
        assert_int_equal(cli_distance(cases[i].b, cases[i].a), cases[i].distance);
    }
    memset(longest, 'a', sizeof longest);
    longest[99] = '\0';
    assert_int_equal(cli_distance(longest, "a"), UINT_MAX);
    RUN(&run, longest);
    expect(2, "", "is not a command\n");
}

/* --- the command line --------------------------------------------------------------------------------------------- */

static void
options_can_be_written_in_several_ways(void **unused)
{
    static const char *const lines[][9] = {
        { "tokenize", "-p", "Once", "--ids", SAMPLE },
        { "tokenize", "-pOnce", "--ids", SAMPLE },
        { "tokenize", SAMPLE, "--ids", "--prompt=Once" },
        { "tokenize", SAMPLE, "--ids", "--prom", "Once" },
        { "tokenize", "--ids", "-qp", "Once", SAMPLE },
        { "tokenize", "-p", "Once", "--prompt=Once", "--ids", "--", SAMPLE },
    };
    static char first[sizeof run.out];

    (void)unused;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        run_nibble(&run, lines[i]);
        expect(0, "[", "");
        if (i == 0)
            strcpy(first, run.out);
        assert_string_equal(run.out, first);
    }
    RUN(&run, "tokenize", "-p", "Twice", "-p", "Once", SAMPLE);
    expect(2, "", "-p is given twice, with different arguments");
    RUN(&run, "quantize", SAMPLE, "-o", "-");
    expect(2, "", "-o -: the standard output");
    RUN(&run, "quantize", "a", "q4_k_m");
    expect(2, "", "write 'nibble quantize a -t q4_k_m'");
    RUN(&run, "quantize", "a", "b.gguf", "Q4_K_M");
    expect(2, "", "write 'nibble quantize a -t Q4_K_M -o b.gguf'");
    RUN(&run, "inspect", "--", "--tensors");
    expect(3, "", "--tensors: cannot be opened");
    RUN(&run, "quantize", SAMPLE, "--dry-run", "-o", "x.gguf", "--type=q8_0", "--json");
    expect(0, "\"recipe\":\"Q8_0\"", "");
}

static void
quiet_and_verbose_leave_the_output_alone(void **unused)
{
    static char plain[sizeof run.out];

    (void)unused;
    tiny_checkpoint("tiny");
    RUN(&run, "quantize", "tiny", "-t", "f16", "-o", "tiny.gguf");
    expect(0, "", "");
    RUN(&run, "inspect", "tiny.gguf");
    strcpy(plain, run.out);
    RUN(&run, "inspect", "-v", "tiny.gguf");
    expect(0, plain, "info: ");
    assert_string_equal(run.out, plain);
    RUN(&run, "inspect", "-q", "tiny.gguf");
    assert_string_equal(run.out, plain);
    assert_string_equal(run.err, "");
    RUN(&run, "quantize", "tiny", "-v", "-t", "q8_0", "-o", "v.gguf");
    expect(0, "tiny -> v.gguf", "blk.0.attn_q.weight");
}

static void
quiet_hides_notes_but_no_warnings(void **unused)
{
    char config[4096], *vocabulary;

    (void)unused;
    tiny_checkpoint("noted");
    snprintf(config, sizeof config, "%s", tiny_config);
    vocabulary = strstr(config, "\"vocab_size\":32");
    assert_non_null(vocabulary);
    vocabulary[14] = '1'; /* 31, but the embedding has 32 rows */
    scratch_write_text("noted/config.json", config);
    RUN(&run, "quantize", "noted", "-t", "q8_0", "--dry-run");
    expect(0, "", "note: config.json says vocab_size");
    RUN(&run, "quantize", "noted", "-t", "q8_0", "--dry-run", "--quiet");
    expect(0, "nothing written", "");
    assert_string_equal(run.err, "");
    RUN(&run, "quantize", SAMPLE, "-t", "iq2_xs", "--dry-run", "-q");
    expect(0, "", "warning: this is refused without --dry-run");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_option_means_the_same_everywhere),
        cmocka_unit_test(every_command_is_described),
        cmocka_unit_test(help_names_every_option),
        cmocka_unit_test(the_program_names_every_command),
        cmocka_unit_test(every_command_says_its_version),
        cmocka_unit_test(a_mistyped_option_is_recognized),
        cmocka_unit_test(other_slips_are_recognized),
        cmocka_unit_test(distances_are_those_of_slips),
        cmocka_unit_test(options_can_be_written_in_several_ways),
        cmocka_unit_test(quiet_and_verbose_leave_the_output_alone),
        cmocka_unit_test(quiet_hides_notes_but_no_warnings),
    };

    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
