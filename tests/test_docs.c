/*
 * Manual pages and completions: every option is in them, the pages are well-formed, and the
 * real shells complete from them what a user types.
 */
#include "cli/docs/docs.h"
#include "scratch.h"
#include "testing.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_MS 60000

static bool
has_program(const char *name)
{
    char command[128];

    snprintf(command, sizeof command, "command -v %s >/dev/null 2>&1", name);
    return system(command) == 0;
}

/* What COMMAND, a line for sh, prints to both its outputs; its exit code goes to CODE. */
static const char *
output_of(const char *command, int *code)
{
    static char text[65536];
    FILE *f = popen(command, "r");
    int status;

    assert_non_null(f);
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    status = pclose(f);
    *code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    return text;
}

/* --- manual pages -------------------------------------------------------------------------------------------- */

static char *
page_of(const char *name)
{
    char path[SCRATCH_PATH];
    unsigned char *bytes;
    size_t size;

    snprintf(path, sizeof path, NIBBLE_DOCS "/man/man1/nibble%s%s.1", *name == '\0' ? "" : "-", name);
    bytes = scratch_read(path, &size);
    bytes[size] = '\0';
    return (char *)bytes;
}

/* "\-\-tensor\-type" */
static void
as_in_roff(const char *name, char *out)
{
    for (out += sprintf(out, "\\-\\-"); *name != '\0'; name++)
        out += sprintf(out, "%s%c", *name == '-' ? "\\" : "", *name);
}

static void
every_option_is_in_its_manual_page(void **unused)
{
    char name[128];

    (void)unused;
    for (size_t c = 0; c < CLI_N_COMMANDS; c++) {
        char *page = page_of(cli_commands[c].name);

        for (size_t i = 0; i < cli_n_options; i++) {
            as_in_roff(cli_options[i].name, name);
            if (cli_has_option(&cli_commands[c], &cli_options[i]) && strstr(page, name) == NULL)
                fail_msg("nibble-%s(1) lacks --%s", cli_commands[c].name, cli_options[i].name);
        }
        free(page);
        page = page_of("");
        snprintf(name, sizeof name, ".BR nibble\\-%s (1)", cli_commands[c].name);
        if (strstr(page, name) == NULL)
            fail_msg("nibble(1) lacks %s", cli_commands[c].name);
        free(page);
    }
}

static void
manual_pages_are_well_formed(void **unused)
{
    const char *text;
    int code;

    (void)unused;
    if (!has_program("mandoc")) {
        print_message("mandoc is not installed: skipped\n");
        skip();
    }
    text = output_of("mandoc -T lint -W warning " NIBBLE_DOCS "/man/man1/*.1 2>&1", &code);
    if (code != 0 || *text != '\0')
        fail_msg("mandoc: exit code %d: %s", code, text);
    text = output_of("mandoc -T ascii " NIBBLE_DOCS "/man/man1/nibble-quantize.1 | sed 's/.\b//g'", &code);
    assert_non_null(strstr(text, "-t, --type RECIPE")); /* with ASCII's hyphens, to be copied */
    assert_non_null(strstr(text, "nibble quantize Llama-3.2-1B -t Q4_K_M -o llama.gguf"));
}

/* --- completion by a shell on a terminal ------------------------------------------------------------------------ */

static const char *const typed[][2] = {
    /* what is typed, up to the Tab; the arguments that the line then has */
    { "nibble q", "quantize" },
    { "nibble quantize --im", "quantize --imatrix" },
    { "nibble quantize -t Q4", "quantize -t Q4_" },
    { "nibble quantize -t iq4_x", "quantize -t IQ4_XS" },
    { "nibble quantize --type Q6", "quantize --type Q6_K" },
    { "nibble quantize -qt Q4_1 --leave", "quantize -qt Q4_1 --leave-output-tensor" },
    { "nibble quantize --output-tensor-type=q6", "quantize --output-tensor-type=q6_K" },
    { "nibble quantize --tensor-type attn_v=iq4_x", "quantize --tensor-type attn_v=iq4_xs" },
    { "nibble quantize mod", "quantize model.gguf" },
    { "nibble quantize -o mod", "quantize -o model.gguf" },
    { "nibble edit --chat-template temp", "edit --chat-template template.jinja" },
    { "nibble check --level st", "check --level structure" },
    { "nibble verify --max-p", "verify --max-ppl-ratio" },
    { "nibble hash --wh", "hash --whole-file" },
    { "nibble help cal", "help calibrate" },
};

static struct shell {
    pid_t pid; /* 0: none runs */
    int terminal;
    char seen[65536]; /* what it has printed since the last expect() */
    size_t length;
} shell;

/* Runs ARGV in the scratch folder, on a terminal of its own. */
static void
start(struct shell *s, const char *const *argv)
{
    const char *slave;

    s->length = 0;
    s->terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(s->terminal >= 0);
    assert_int_equal(grantpt(s->terminal), 0);
    assert_int_equal(unlockpt(s->terminal), 0);
    slave = ptsname(s->terminal);
    assert_non_null(slave);
    s->pid = fork();
    if (s->pid == 0) {
        int fd;

        setsid();
        fd = open(slave, O_RDWR);
        for (int i = 0; i < 3; i++)
            dup2(fd, i);
        if (chdir(scratch_path("")) != 0)
            _exit(126);
        setenv("TERM", "dumb", 1);
        setenv("ZDOTDIR", scratch_path(""), 1);
        setenv("HOME", scratch_path(""), 1);
        unsetenv("HISTFILE");
        execvp(argv[0], (char *const *)argv);
        _exit(127);
    }
    assert_true(s->pid > 0);
}

/* Also where a test failed. */
static int
stop(void **unused)
{
    (void)unused;
    if (shell.pid > 0) {
        kill(shell.pid, SIGKILL);
        waitpid(shell.pid, NULL, 0);
        close(shell.terminal);
        shell.pid = 0;
    }
    return 0;
}

/* Reads until TEXT has been printed, and forgets what came before its end. */
static void
expect(struct shell *s, const char *text)
{
    char *found;

    for (;;) {
        struct pollfd p = { .fd = s->terminal, .events = POLLIN };
        ssize_t n;

        s->seen[s->length] = '\0';
        found = strstr(s->seen, text);
        if (found != NULL)
            break;
        if (s->length + 1 == sizeof s->seen || poll(&p, 1, PATIENCE_MS) != 1)
            fail_msg("waited for '%s', but saw: %s", text, s->seen);
        n = read(s->terminal, s->seen + s->length, sizeof s->seen - 1 - s->length);
        if (n <= 0)
            fail_msg("waited for '%s', but the shell ended: %s", text, s->seen);
        s->length += (size_t)n;
    }
    found += strlen(text);
    s->length -= (size_t)(found - s->seen);
    memmove(s->seen, found, s->length);
}

static void
type(struct shell *s, const char *text)
{
    assert_int_equal(write(s->terminal, text, strlen(text)), strlen(text));
}

/* In the shells, "nibble" is a function that prints its arguments: [[quantize --imatrix]]. */
#define SHOW_ARGUMENTS "nibble() { printf '[[%s]]\\n' \"$*\"; }\nPS1='READY>'\n"

static void
complete_on_a_terminal(const char *const *argv)
{
    char expected[128], line[128];

    scratch_write_text("model.gguf", "");
    scratch_write_text("modest.txt", "");
    scratch_write_text("template.jinja", "");
    start(&shell, argv);
    for (size_t i = 0; i < sizeof typed / sizeof typed[0]; i++) {
        snprintf(line, sizeof line, "%s\t\n", typed[i][0]);
        snprintf(expected, sizeof expected, "[[%s]]", typed[i][1]);
        expect(&shell, "READY>");
        type(&shell, line);
        expect(&shell, expected);
    }
}

static void
bash_completes(void **unused)
{
    (void)unused;
    scratch_write_text("bashrc", "source " NIBBLE_DOCS "/bash-completion/completions/nibble\n" SHOW_ARGUMENTS);
    complete_on_a_terminal(
        (const char *const[]){ "bash", "--noprofile", "--rcfile", scratch_path("bashrc"), "-i", NULL });
}

static void
zsh_completes(void **unused)
{
    (void)unused;
    if (!has_program("zsh")) {
        print_message("zsh is not installed: skipped\n");
        skip();
    }
    scratch_write_text(".zshrc", "fpath=(" NIBBLE_DOCS "/zsh/site-functions $fpath)\n"
                                 "autoload -U compinit\ncompinit -u -D\n" SHOW_ARGUMENTS);
    complete_on_a_terminal((const char *const[]){ "zsh", "-d", "-i", NULL });
}

/* fish says itself what it would complete: a word and, after a tab, its description, line by line. */
static void
fish_completes(void **unused)
{
    char command[3 * SCRATCH_PATH];

    (void)unused;
    if (!has_program("fish")) {
        print_message("fish is not installed: skipped\n");
        skip();
    }
    for (size_t i = 0; i < sizeof typed / sizeof typed[0]; i++) {
        const char *wanted = strrchr(typed[i][1], ' ') == NULL ? typed[i][1] : strrchr(typed[i][1], ' ') + 1;
        const char *text;
        int code;

        snprintf(command, sizeof command,
                 "cd '%s' && HOME=$PWD XDG_CONFIG_HOME=$PWD fish -N -c \"source " NIBBLE_DOCS
                 "/fish/vendor_completions.d/nibble.fish; complete -C '%s'\" 2>&1",
                 scratch_path(""), typed[i][0]);
        text = output_of(command, &code);
        if (code != 0 || strncmp(text, wanted, strlen(wanted)) != 0)
            fail_msg("%s: exit code %d, not '%s' but: %s", typed[i][0], code, wanted, text);
    }
}

/* What is there to choose from where several words are possible. */
static void
bash_offers_all_that_fits(void **unused)
{
    static const char *const lines[][2] = {
        { "nibble quantize -t Q4", "Q4_0 Q4_K_S Q4_K_M Q4_1" },
        { "nibble help c", "calibrate check" },
        { "nibble quantize --via = ''", "f16 bf16" },
        { "nibble quantize --via =", "f16 bf16" },
        { "nibble quantize --tensor-type = attn = q6", "q6_K" },
        { "nibble quantize --tensor-type attn", "" },
        { "nibble check --level ''", "structure content full" },
        { "nibble inspect --tensor", "--tensors --tensor" },
        { "nibble types --", "--json --quiet --verbose --help --version" },
        { "nibble types -- --", "" },
        { "nibble --", "--help --version" },
    };
    char command[1024];
    const char *text;
    int code;

    (void)unused;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        snprintf(command, sizeof command,
                 "bash --norc -c \"source " NIBBLE_DOCS "/bash-completion/completions/nibble; "
                 "COMP_WORDS=(%s); COMP_CWORD=\\$((\\${#COMP_WORDS[@]} - 1)); _nibble; "
                 "echo -n \\${COMPREPLY[*]}\" 2>&1",
                 lines[i][0]);
        text = output_of(command, &code);
        if (strcmp(text, lines[i][1]) != 0)
            fail_msg("%s: '%s', not '%s'", lines[i][0], text, lines[i][1]);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_option_is_in_its_manual_page), cmocka_unit_test(manual_pages_are_well_formed),
        cmocka_unit_test_teardown(bash_completes, stop),      cmocka_unit_test(bash_offers_all_that_fits),
        cmocka_unit_test_teardown(zsh_completes, stop),       cmocka_unit_test(fish_completes),
    };

    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
