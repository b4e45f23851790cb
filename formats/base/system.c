#include "formats/base/system.h"

#include "formats/base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* NB_POSIX_ONLY disables the system-specific calls, so that the POSIX code can be tested on any system. */
#if defined(__linux__) && !defined(NB_POSIX_ONLY)
#define ON_LINUX 1
#include <sys/mman.h>
#include <sys/random.h>
#elif defined(__APPLE__) && !defined(NB_POSIX_ONLY)
#define ON_MACOS 1
#include <mach-o/dyld.h>
#include <sys/random.h>
#include <sys/sysctl.h>
#endif

/* Sanitizers and the counting of lines read and write files of their own at the end. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(NB_COVERAGE)
#define HAS_RUNTIME 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HAS_RUNTIME 1
#endif
#endif
#if defined(ON_LINUX) && __has_include(<linux/landlock.h>) && !defined(HAS_RUNTIME)
#define HAS_SANDBOX 1
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#endif

#define COPY_AT_ONCE ((size_t)1 << 30)
#define LARGE_PAGE ((size_t)2 << 20)
#define STACK_BYTES ((size_t)2 << 20)

/* 0 if CODE only means that this file system cannot allocate; a full disk is then found by the writes. */
static int
unless_unsupported(int code)
{
    return code == EOPNOTSUPP || code == ENOTSUP || code == ENOSYS || code == EINVAL ? 0 : code;
}

int
nb_system_reserve(int fd, uint64_t size)
{
    int code = 0;

#ifdef ON_MACOS
    fstore_t store = { .fst_flags = F_ALLOCATEALL, .fst_posmode = F_PEOFPOSMODE, .fst_length = (off_t)size };

    if (size > 0 && fcntl(fd, F_PREALLOCATE, &store) != 0)
        code = unless_unsupported(errno);
#endif
    while (code == 0 && ftruncate(fd, (off_t)size) != 0)
        if (errno != EINTR)
            return errno;
#if defined(ON_LINUX) /* posix_fallocate would write zeros if the file system cannot allocate */
    while (size > 0 && fallocate(fd, 0, 0, (off_t)size) != 0)
        if (errno != EINTR)
            return unless_unsupported(errno);
#elif !defined(ON_MACOS) && defined(_POSIX_ADVISORY_INFO) && _POSIX_ADVISORY_INFO > 0
    do
        code = size > 0 ? unless_unsupported(posix_fallocate(fd, 0, (off_t)size)) : 0;
    while (code == EINTR);
#endif
    return code;
}

uint64_t
nb_system_copy(int in, uint64_t from, int out, uint64_t at, uint64_t size)
{
    uint64_t done = 0;

#ifdef ON_LINUX
    while (done < size) {
        off_t source = (off_t)(from + done), target = (off_t)(at + done);
        const size_t want = size - done < COPY_AT_ONCE ? (size_t)(size - done) : COPY_AT_ONCE;
        const ssize_t got = copy_file_range(in, &source, out, &target, want, 0);

        if (got <= 0 && !(got < 0 && errno == EINTR))
            break;
        done += got > 0 ? (uint64_t)got : 0;
    }
#else
    (void)in, (void)from, (void)out, (void)at, (void)size;
#endif
    return done;
}

void
nb_system_start_writing(int fd)
{
#ifdef ON_LINUX
    /* An error here occurs again in the final sync, which reports it. */
    (void)sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
#else
    (void)fd;
#endif
}

int
nb_system_sync(int fd)
{
#ifdef ON_MACOS /* on macOS, fsync may leave the data in the drive's cache */
    if (fcntl(fd, F_FULLFSYNC) == 0)
        return 0;
#endif
    while (fsync(fd) != 0)
        if (errno != EINTR)
            return errno;
    return 0;
}

/* Unlike rename, link never replaces a file; but not every file system supports it. */
static int
rename_by_link(const char *from, const char *to)
{
    struct stat st;
    int code;

    if (link(from, to) == 0) {
        if (unlink(from) == 0)
            return 0;
        code = errno;
        unlink(to);
        return code;
    }
    if (errno == EEXIST || lstat(to, &st) == 0)
        return EEXIST;
    return rename(from, to) == 0 ? 0 : errno;
}

int
nb_system_rename_to_new(const char *from, const char *to)
{
#if defined(ON_MACOS)
    if (renamex_np(from, to, RENAME_EXCL) == 0)
        return 0;
    if (unless_unsupported(errno) != 0)
        return errno;
#elif defined(ON_LINUX) && defined(RENAME_NOREPLACE) /* missing in some C libraries */
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (unless_unsupported(errno) != 0)
        return errno;
#endif
    return rename_by_link(from, to);
}

/* By way of a third name. */
static int
exchange_by_renaming(const char *from, const char *to)
{
    char *aside = nb_joined(to, ".replaced");
    int code = aside == NULL ? ENOMEM : nb_system_rename_to_new(to, aside);

    if (code == 0 && rename(from, to) != 0) {
        code = errno;
        (void)rename(aside, to);
    } else if (code == 0 && rename(aside, from) != 0) {
        code = errno;
    }
    free(aside);
    return code;
}

int
nb_system_exchange(const char *from, const char *to)
{
#if defined(ON_MACOS)
    if (renamex_np(from, to, RENAME_SWAP) == 0)
        return 0;
    if (unless_unsupported(errno) != 0)
        return errno;
#elif defined(ON_LINUX) && defined(RENAME_EXCHANGE)
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_EXCHANGE) == 0)
        return 0;
    if (unless_unsupported(errno) != 0)
        return errno;
#endif
    return exchange_by_renaming(from, to);
}

#ifdef HAS_SANDBOX
/* Rights of the first version, and those that later ones have as well. */
#define RIGHTS_1 ((LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1)
#define RIGHT_REFER (UINT64_C(1) << 13)    /* version 2 */
#define RIGHT_TRUNCATE (UINT64_C(1) << 14) /* version 3 */

/* Adds to RULES that files in FOLDER can be read. Returns 0 or an errno. */
static int
allow_reading(int rules, const char *folder)
{
    struct landlock_path_beneath_attr rule = { LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR, -1 };
    int code = 0;

    do
        rule.parent_fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    while (rule.parent_fd < 0 && errno == EINTR);
    if (rule.parent_fd < 0) /* where there is no such folder, there is nothing to be read */
        return errno == ENOENT || errno == ENOTDIR || errno == EACCES ? 0 : errno;
    if (syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0)
        code = errno;
    close(rule.parent_fd);
    return code;
}

/* *RULES: a ruleset by which only files in READABLE can be opened. Returns 0 or an errno: ENOSYS without Landlock. */
static int
make_rules(const char *const *readable, size_t count, int *rules)
{
    const long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    const struct landlock_ruleset_attr attr = {
        .handled_access_fs = RIGHTS_1 | (version >= 2 ? RIGHT_REFER : 0) | (version >= 3 ? RIGHT_TRUNCATE : 0),
    };
    int code = 0;

    *rules = version < 1 ? -1 : (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);
    if (*rules < 0)
        return ENOSYS;
    for (size_t i = 0; i < count && code == 0; i++)
        code = allow_reading(*rules, readable[i]);
    if (code != 0)
        close(*rules);
    return code;
}

#if defined(__x86_64__)
#define OWN_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OWN_ARCH AUDIT_ARCH_AARCH64
#endif

/*
 * From now on only the calls of a reader of files get through. All others answer as if the kernel did not have them, so
 * that a C library newer than the list goes on with the older call that it knows for such kernels: clone for clone3,
 * whose arguments a filter cannot see.
 */
static bool
allow_only_reading(void)
{
#ifdef OWN_ARCH
#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define ANSWER(what) BPF_STMT(BPF_RET | BPF_K, what)
#define IF(test, value, then, otherwise) BPF_JUMP(BPF_JMP | (test) | BPF_K, (unsigned)(value), then, otherwise)
/* Allows a call whose argument number N passes the test; otherwise the next rule is looked at. */
#define CALL_WITH(name, n, test, value) \
    IF(BPF_JEQ, SYS_##name, 0, 4), LOAD(args[n]), IF(test, value, 0, 1), ANSWER(SECCOMP_RET_ALLOW), LOAD(nr)
#define CALL(name) IF(BPF_JEQ, SYS_##name, 0, 1), ANSWER(SECCOMP_RET_ALLOW),
    const pid_t self = getpid();
    struct sock_filter code[] = {
        LOAD(arch),
        IF(BPF_JEQ, OWN_ARCH, 1, 0),
        ANSWER(SECCOMP_RET_ERRNO | ENOSYS), /* of another kind of program */
        LOAD(nr),
#include "formats/base/reader_calls.def"
        CALL_WITH(clone, 0, BPF_JSET, CLONE_THREAD),
        CALL_WITH(kill, 0, BPF_JEQ, self),
        CALL_WITH(tkill, 0, BPF_JEQ, self),
        CALL_WITH(tgkill, 0, BPF_JEQ, self),
        CALL_WITH(prlimit64, 0, BPF_JEQ, 0), /* its own limits */
        CALL_WITH(ioctl, 1, BPF_JEQ, TCGETS),
        CALL_WITH(ioctl, 1, BPF_JEQ, TIOCGWINSZ),
        CALL_WITH(fcntl, 1, BPF_JEQ, F_DUPFD),
        CALL_WITH(fcntl, 1, BPF_JEQ, F_DUPFD_CLOEXEC),
        CALL_WITH(fcntl, 1, BPF_JEQ, F_GETFD),
        CALL_WITH(fcntl, 1, BPF_JEQ, F_SETFD),
        CALL_WITH(fcntl, 1, BPF_JEQ, F_GETFL),
        CALL_WITH(fcntl, 1, BPF_JEQ, F_SETFL),
        ANSWER(SECCOMP_RET_ERRNO | ENOSYS),
    };
#undef CALL
#undef CALL_WITH
#undef IF
#undef ANSWER
#undef LOAD
    const struct sock_fprog program = { sizeof code / sizeof code[0], code };

    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
#else
    return true;
#endif
}
#endif

int
nb_system_sandbox(const char *const *readable, size_t count)
{
#ifdef HAS_SANDBOX
    int rules, code = make_rules(readable, count, &rules);

    if (code != 0)
        return code;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || syscall(SYS_landlock_restrict_self, rules, 0) != 0)
        code = ENOSYS;
    close(rules);
    return code == 0 && !allow_only_reading() ? ENOSYS : code;
#else
    (void)readable;
    (void)count;
    return ENOSYS;
#endif
}

bool
nb_system_random(void *buffer, size_t size)
{
#if defined(ON_LINUX) || defined(ON_MACOS)
    return getentropy(buffer, size) == 0;
#else
    const int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    const bool good = fd >= 0 && read(fd, buffer, size) == (ssize_t)size;

    if (fd >= 0)
        close(fd);
    return good;
#endif
}

bool
nb_system_program(char *path, size_t size)
{
#ifdef ON_MACOS
    char own[4096];
    uint32_t room = sizeof own;
    char *real = _NSGetExecutablePath(own, &room) == 0 ? realpath(own, NULL) : NULL;
    const bool good = real != NULL && strlen(real) < size;

    if (good)
        memcpy(path, real, strlen(real) + 1);
    free(real);
    return good;
#else
    /* Linux; FreeBSD and NetBSD where procfs is mounted; Solaris */
    static const char *const links[] = { "/proc/self/exe", "/proc/curproc/file", "/proc/curproc/exe",
                                         "/proc/self/path/a.out" };
    ssize_t n = -1;

    for (size_t i = 0; i < sizeof links / sizeof links[0] && n < 0; i++)
        n = readlink(links[i], path, size);
    if (n < 0 || (size_t)n >= size)
        return false;
    path[n] = '\0';
    return true;
#endif
}

bool
nb_system_cpu_name(char *text, size_t size)
{
    bool found = false;

#if defined(ON_MACOS)
    found = sysctlbyname("machdep.cpu.brand_string", text, &size, NULL, 0) == 0;
#elif defined(ON_LINUX)
    static const char key[] = "model name\t: "; /* absent on ARM */
    FILE *f = fopen("/proc/cpuinfo", "re");

    while (f != NULL && !found && fgets(text, (int)size, f) != NULL)
        found = strncmp(text, key, strlen(key)) == 0;
    if (f != NULL)
        fclose(f);
    if (found) {
        text[strcspn(text, "\n")] = '\0';
        memmove(text, text + strlen(key), strlen(text + strlen(key)) + 1);
    }
#else
    (void)text, (void)size;
#endif
    return found;
}

unsigned
nb_system_processors(void)
{
    const long n = sysconf(_SC_NPROCESSORS_ONLN);

    return n > 0 ? (unsigned)n : 1;
}

void *
nb_system_large_memory(uint64_t size)
{
    const uint64_t whole = size > UINT64_MAX - LARGE_PAGE ? size : (size + LARGE_PAGE - 1) / LARGE_PAGE * LARGE_PAGE;
    void *memory = whole > SIZE_MAX ? NULL : aligned_alloc(LARGE_PAGE, (size_t)whole);

#if defined(ON_LINUX) && defined(MADV_HUGEPAGE)
    if (memory != NULL)
        (void)madvise(memory, (size_t)whole, MADV_HUGEPAGE);
#endif
    return memory;
}

uint64_t
nb_system_memory(void)
{
#ifdef _SC_PHYS_PAGES /* not in POSIX, but Linux, macOS, the BSDs and Solaris have it */
    const long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);

    if (pages > 0 && size > 0)
        return (uint64_t)pages * (uint64_t)size;
#endif
    return 0;
}

void
nb_system_allow_files(uint32_t count)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return;
    limit.rlim_cur = limit.rlim_max == RLIM_INFINITY || limit.rlim_max - limit.rlim_cur > count ? limit.rlim_cur + count
                                                                                                : limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

uint64_t
nb_system_peak_memory(void)
{
#ifdef __APPLE__
    const uint64_t unit = 1;
#else
    const uint64_t unit = 1024;
#endif
    struct rusage usage;

    return getrusage(RUSAGE_SELF, &usage) == 0 ? unit * (uint64_t)usage.ru_maxrss : 0;
}

int
nb_system_start_thread(pthread_t *thread, void *(*start)(void *), void *argument)
{
    pthread_attr_t attributes;
    size_t stack = 0;
    int code = pthread_attr_init(&attributes);

    if (code != 0)
        return code;
    if (pthread_attr_getstacksize(&attributes, &stack) == 0 && stack < STACK_BYTES)
        (void)pthread_attr_setstacksize(&attributes, STACK_BYTES);
    code = pthread_create(thread, &attributes, start, argument);
    pthread_attr_destroy(&attributes);
    return code;
}
