/* What a confined process can and cannot do, and that check and inspect find all that they need in their sandbox. */
#include "formats/base/status.h"
#include "formats/base/system.h"
#include "scratch.h"
#include "testing.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#ifdef __linux__
#include <sys/prctl.h>
#include <sys/syscall.h>
#endif
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SAMPLE SAMPLE_DATA "/tinystories-3m"

static struct run run;

enum {
    NO_SANDBOX = 1,
    CAN_READ_OUTSIDE,
    CANNOT_READ,
    CAN_WRITE,
    CAN_RUN,
    CAN_CALL,
    CAN_CONNECT,
    CANNOT_STOP,
    CANNOT_THREAD
};

static void *
read_again(void *path)
{
    return open(path, O_RDONLY) >= 0 ? path : NULL;
}

/* Whether there is an answer to a call that no reader of files makes. */
static bool
has_call_of_others(void)
{
#ifdef __linux__
    return prctl(PR_SET_DUMPABLE, 1) == 0 || syscall(SYS_inotify_init1, 0) >= 0 || errno != ENOSYS;
#else
    return false;
#endif
}

/* In a child: confined to the folder "in". */
static int
try_all(void)
{
    const char *const folders[] = { scratch_path("in"), scratch_path("nowhere") };
    char *const command[] = { (char *)"true", NULL };
    char inside[SCRATCH_PATH];
    pthread_t thread;
    void *read = NULL;

    snprintf(inside, sizeof inside, "%s", scratch_path("in/file"));
    if (nb_system_sandbox(folders, 2) != 0)
        return NO_SANDBOX;
    if (open(scratch_path("out/file"), O_RDONLY) >= 0 || errno != EACCES)
        return CAN_READ_OUTSIDE;
    if (open(inside, O_RDONLY) < 0)
        return CANNOT_READ;
    if (open(inside, O_WRONLY) >= 0 || open(scratch_path("in/new"), O_WRONLY | O_CREAT, 0600) >= 0 ||
        unlink(inside) == 0 || mkdir(scratch_path("in/folder"), 0700) == 0)
        return CAN_WRITE;
    execv("/bin/true", command);
    if (errno != ENOSYS || fork() >= 0)
        return CAN_RUN;
    if (kill(getppid(), 0) == 0 || has_call_of_others())
        return CAN_CALL;
    if (kill(getpid(), 0) != 0)
        return CANNOT_STOP;
    if (socket(AF_INET, SOCK_STREAM, 0) >= 0 || socket(AF_UNIX, SOCK_STREAM, 0) >= 0)
        return CAN_CONNECT;
    if (nb_system_start_thread(&thread, read_again, inside) != 0 || pthread_join(thread, &read) != 0 || read == NULL)
        return CANNOT_THREAD;
    return 0;
}

static bool
has_sandbox(void)
{
    RUN(&run, "check", "--sandbox", "yes", SAMPLE);
    if (run.code != 4)
        return true;
    assert_non_null(strstr(run.err, "--sandbox auto"));
    return false;
}

static void
a_confined_process_can_only_read_its_folders(void **unused)
{
    int status;
    pid_t child;

    (void)unused;
    scratch_folder("in");
    scratch_folder("out");
    scratch_write_text("in/file", "x");
    scratch_write_text("out/file", "x");
    if (!has_sandbox())
        skip();
    child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(try_all());
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_true(scratch_exists(scratch_path("in/file")));
}

/* What COMMAND says of PATH is the same with and without. */
static void
expect_same(const char *command, const char *path, const char *more)
{
    static struct run without;

    run_nibble(&without, (const char *const[]){ command, "--sandbox", "no", path, more, NULL });
    assert_int_equal(without.code, 0);
    run_nibble(&run, (const char *const[]){ command, "--sandbox", "yes", path, more, NULL });
    if (run.code != 0 || strcmp(run.out, without.out) != 0)
        fail_msg("%s %s: exit code %d: %s%s", command, path, run.code, run.out, run.err);
    run_nibble(&run, (const char *const[]){ command, path, more, NULL });
    assert_string_equal(run.out, without.out);
}

static void
models_are_read_whole_in_a_sandbox(void **unused)
{
    static const char *const names[] = { "config.json", "tokenizer.json", "model.safetensors" };
    static const char *const commands[] = { "check", "inspect" };

    (void)unused;
    if (!has_sandbox())
        skip();
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
    RUN(&run, "quantize", SAMPLE, "-t", "q8_0", "-o", "model.gguf");
    RUN(&run, "split", "model.gguf", "part", "--max-tensors", "20");
    assert_int_equal(run.code, 0);
    scratch_folder("linked");
    assert_int_equal(symlink("../model.gguf", scratch_path("linked/m.gguf")), 0);
    tiny_checkpoint("leads-out");
    assert_int_equal(rename(scratch_path("leads-out/tokenizer.json"), scratch_path("out-of-it")), 0);
    assert_int_equal(symlink("../out-of-it", scratch_path("leads-out/tokenizer.json")), 0);
    for (size_t i = 0; i < 2; i++) {
        expect_same(commands[i], SAMPLE, NULL);
        expect_same(commands[i], "model.gguf", NULL);
        expect_same(commands[i], "part-00001-of-00002.gguf", NULL);
        expect_same(commands[i], "linked/m.gguf", NULL);
        expect_same(commands[i], "hub/snapshots/0123", NULL);
        expect_same(commands[i], "hub/snapshots/0123/model.safetensors", NULL);
        expect_same(commands[i], "leads-out", "--follow-links");
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_confined_process_can_only_read_its_folders),
        cmocka_unit_test(models_are_read_whole_in_a_sandbox),
    };

    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
