/*
 * For LD_PRELOAD: calls of the program that open, read, write, look at, rename or remove its files fail. Concerned are
 * files named by relative paths, or in the folder FAULT_FOLDER; not those of the system and of libraries. FAULT says how:
 *
 *   interrupted  call number FAULT_AT is interrupted by a signal (EINTR), if it can be
 *   short        it transfers less than it was asked for
 *   error, other it fails with the first or second error of its table
 *   gone         it and all later ones fail, as if the disk had been pulled out
 *   crawling     every second call is interrupted, and all transfers are short
 *
 * Counted are those calls that FAULT concerns. The name of the first that failed goes to the descriptor FAULT_LOG.
 */
#undef _FILE_OFFSET_BITS /* both names of the calls with an offset are defined */
#undef _FORTIFY_SOURCE   /* it makes others of some */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

struct call {
    const char *name;
    bool can_wait, transfers;
    int errors[2];
};

static const struct call open_call = { "open", true, false, { EIO, ESTALE } },
                         read_call = { "read", true, true, { EIO, ESTALE } },
                         write_call = { "write", true, true, { ENOSPC, EIO } },
                         copy_call = { "copy_file_range", true, true, { EIO, EOPNOTSUPP } },
                         sync_call = { "fsync", true, false, { EIO, ENOSPC } },
                         close_call = { "close", true, false, { EIO, ENOSPC } },
                         stat_call = { "stat", false, false, { EIO, ESTALE } },
                         resize_call = { "ftruncate", true, false, { EIO, EFBIG } },
                         reserve_call = { "fallocate", true, false, { ENOSPC, EOPNOTSUPP } },
                         mode_call = { "fchmod", false, false, { EPERM, EIO } },
                         lock_call = { "flock", false, false, { ENOLCK, EOPNOTSUPP } },
                         rename_call = { "rename", false, false, { EIO, ENOSPC } },
                         unlink_call = { "unlink", false, false, { EIO, EACCES } },
                         resolve_call = { "realpath", false, false, { EIO, ESTALE } },
                         list_call = { "opendir", false, false, { EIO, ESTALE } },
                         next_call = { "readdir", false, false, { EIO, ESTALE } };

#define DESCRIPTORS 1024
static atomic_bool ours[DESCRIPTORS]; /* descriptors of files that are concerned */

static bool
is_open(int fd)
{
    return fd >= 0 && fd < DESCRIPTORS && atomic_load(&ours[fd]);
}

static bool
is_named(const char *path)
{
    const char *folder = getenv("FAULT_FOLDER");

    return *path != '/' || (folder != NULL && strncmp(path, folder, strlen(folder)) == 0);
}

static void
tell(const char *name)
{
    static atomic_bool told;
    const char *log = getenv("FAULT_LOG");

    if (log != NULL && !atomic_exchange(&told, true))
        dprintf((int)strtol(log, NULL, 10), "%s", name);
}

#define SHORT (-1) /* not an error: less is transferred */

/* What this call fails with: 0, SHORT or an errno. */
static int
fault(const struct call *c)
{
    static atomic_long count;
    const char *how = getenv("FAULT"), *at = getenv("FAULT_AT");
    const bool crawls = how != NULL && strcmp(how, "crawling") == 0;
    long number;

    if (how == NULL || (strcmp(how, "interrupted") == 0 && !c->can_wait) ||
        (strcmp(how, "short") == 0 && !c->transfers))
        return 0;
    number = atomic_fetch_add(&count, 1) + 1;
    if (crawls)
        return number % 2 == 0 && c->can_wait ? EINTR : c->transfers ? SHORT : 0;
    if (at == NULL || number < strtol(at, NULL, 10) || (number > strtol(at, NULL, 10) && strcmp(how, "gone") != 0))
        return 0;
    tell(c->name);
    if (strcmp(how, "short") == 0)
        return SHORT;
    return strcmp(how, "interrupted") == 0 ? EINTR : strcmp(how, "gone") == 0 ? EIO : c->errors[*how == 'o'];
}

/* Whether the call fails; errno is set then. Where it does not, SIZE is what it may transfer. */
static bool
fails(const struct call *c, bool concerned, size_t *size)
{
    const int code = concerned ? fault(c) : 0;

    if (code == SHORT && *size > 1)
        *size = *size > 4096 ? 4097 : (*size + 1) / 2;
    else if (code > 0)
        errno = code;
    return code > 0;
}

/* The same function of the next library. */
#define NEXT(name, next)                        \
    static __typeof__(name) *next;              \
    if (next == NULL) {                         \
        void *symbol = dlsym(RTLD_NEXT, #name); \
        memcpy(&next, &symbol, sizeof next);    \
    }

#define UNLESS_NAMED(call, path)                \
    do {                                        \
        size_t all = 0;                         \
        if (fails(&call, is_named(path), &all)) \
            return -1;                          \
    } while (0)
#define UNLESS_OPEN(call, fd)                \
    do {                                     \
        size_t all = 0;                      \
        if (fails(&call, is_open(fd), &all)) \
            return -1;                       \
    } while (0)

static int
opened(int fd, const char *path)
{
    if (fd >= 0 && fd < DESCRIPTORS)
        atomic_store(&ours[fd], is_named(path));
    return fd;
}

#define OPEN(name)                                    \
    int name(const char *path, int flags, ...)        \
    {                                                 \
        mode_t mode = 0;                              \
        va_list args;                                 \
        NEXT(name, next)                              \
        va_start(args, flags);                        \
        if ((flags & O_CREAT) != 0)                   \
            mode = va_arg(args, mode_t);              \
        va_end(args);                                 \
        UNLESS_NAMED(open_call, path);                \
        return opened(next(path, flags, mode), path); \
    }
OPEN(open)
OPEN(open64)

int
close(int fd)
{
    NEXT(close, next)
    size_t all = 0;
    const bool concerned = is_open(fd), failed = fails(&close_call, concerned, &all);
    const int code = errno;
    int result;

    if (concerned)
        atomic_store(&ours[fd], false);
    result = next(fd); /* it is closed also where Linux says otherwise */
    errno = failed ? code : errno;
    return failed ? -1 : result;
}

ssize_t
read(int fd, void *to, size_t size)
{
    NEXT(read, next)
    return fails(&read_call, is_open(fd), &size) ? -1 : next(fd, to, size);
}

ssize_t
write(int fd, const void *from, size_t size)
{
    NEXT(write, next)
    return fails(&write_call, is_open(fd), &size) ? -1 : next(fd, from, size);
}

#define TRANSFER(name, qualifier, offset_type, call)                              \
    ssize_t name(int fd, qualifier void *bytes, size_t size, offset_type at)      \
    {                                                                             \
        NEXT(name, next)                                                          \
        return fails(&call, is_open(fd), &size) ? -1 : next(fd, bytes, size, at); \
    }
#define NO_QUALIFIER
TRANSFER(pread, NO_QUALIFIER, off_t, read_call)
TRANSFER(pread64, NO_QUALIFIER, off64_t, read_call)
TRANSFER(pwrite, const, off_t, write_call)
TRANSFER(pwrite64, const, off64_t, write_call)

/* What _FORTIFY_SOURCE makes of them. */
#define CHECKED(name, offset_type)                                                         \
    ssize_t __##name##_chk(int fd, void *bytes, size_t size, offset_type at, size_t room); \
    ssize_t __##name##_chk(int fd, void *bytes, size_t size, offset_type at, size_t room)  \
    {                                                                                      \
        return size > room ? (abort(), -1) : name(fd, bytes, size, at);                    \
    }
CHECKED(pread, off_t)
CHECKED(pread64, off64_t)

ssize_t
copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t size, unsigned flags)
{
    NEXT(copy_file_range, next)
    return fails(&copy_call, is_open(in) || is_open(out), &size) ? -1 : next(in, from, out, to, size, flags);
}

int
fsync(int fd)
{
    NEXT(fsync, next)
    UNLESS_OPEN(sync_call, fd);
    return next(fd);
}

int
flock(int fd, int kind)
{
    NEXT(flock, next)
    UNLESS_OPEN(lock_call, fd);
    return next(fd, kind);
}

int
fchmod(int fd, mode_t mode)
{
    NEXT(fchmod, next)
    UNLESS_OPEN(mode_call, fd);
    return next(fd, mode);
}

#define RESIZE(name, offset_type)      \
    int name(int fd, offset_type size) \
    {                                  \
        NEXT(name, next)               \
        UNLESS_OPEN(resize_call, fd);  \
        return next(fd, size);         \
    }
RESIZE(ftruncate, off_t)
RESIZE(ftruncate64, off64_t)

#define RESERVE(name, offset_type)                               \
    int name(int fd, int mode, offset_type at, offset_type size) \
    {                                                            \
        NEXT(name, next)                                         \
        UNLESS_OPEN(reserve_call, fd);                           \
        return next(fd, mode, at, size);                         \
    }
RESERVE(fallocate, off_t)
RESERVE(fallocate64, off64_t)

#define STAT_NAME(name, type)                   \
    int name(const char *path, struct type *st) \
    {                                           \
        NEXT(name, next)                        \
        UNLESS_NAMED(stat_call, path);          \
        return next(path, st);                  \
    }
STAT_NAME(stat, stat)
STAT_NAME(stat64, stat64)
STAT_NAME(lstat, stat)
STAT_NAME(lstat64, stat64)

#define STAT_OPEN(name, type)         \
    int name(int fd, struct type *st) \
    {                                 \
        NEXT(name, next)              \
        UNLESS_OPEN(stat_call, fd);   \
        return next(fd, st);          \
    }
STAT_OPEN(fstat, stat)
STAT_OPEN(fstat64, stat64)

int
rename(const char *from, const char *to)
{
    NEXT(rename, next)
    UNLESS_NAMED(rename_call, from);
    return next(from, to);
}

int
renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags)
{
    NEXT(renameat2, next)
    UNLESS_NAMED(rename_call, from);
    return next(from_folder, from, to_folder, to, flags);
}

int
link(const char *from, const char *to)
{
    NEXT(link, next)
    UNLESS_NAMED(rename_call, from);
    return next(from, to);
}

int
unlink(const char *path)
{
    NEXT(unlink, next)
    UNLESS_NAMED(unlink_call, path);
    return next(path);
}

char *
realpath(const char *path, char *resolved)
{
    NEXT(realpath, next)
    size_t all = 0;

    return fails(&resolve_call, is_named(path), &all) ? NULL : next(path, resolved);
}

/* --- folders --------------------------------------------------------------------------------------------- */

static _Atomic(DIR *) listed; /* the folder that is being read */

DIR *
opendir(const char *path)
{
    NEXT(opendir, next)
    size_t all = 0;
    DIR *folder = fails(&list_call, is_named(path), &all) ? NULL : next(path);

    if (folder != NULL && is_named(path))
        atomic_store(&listed, folder);
    return folder;
}

#define LIST(name, type)                                                                      \
    struct type *name(DIR *folder)                                                            \
    {                                                                                         \
        NEXT(name, next)                                                                      \
        size_t all = 0;                                                                       \
        return fails(&next_call, folder == atomic_load(&listed), &all) ? NULL : next(folder); \
    }
LIST(readdir, dirent)
LIST(readdir64, dirent64)
