#include "formats/base/spill.h"

#include "formats/base/checked.h"
#include "formats/base/system.h"
#include "formats/base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME "/nibble.XXXXXX"
#define WRITTEN_AT_ONCE ((size_t)1 << 20)

/* Where the file system cannot allocate, a full disk would be told by a signal: the file is written once. Returns an errno. */
static int
write_zeros(int fd, size_t size)
{
    struct stat st;
    char *zeros;
    int code = 0;

    if (fstat(fd, &st) == 0 && (uint64_t)st.st_blocks * 512 >= size)
        return 0;
    zeros = calloc(1, WRITTEN_AT_ONCE);
    if (zeros == NULL)
        return ENOMEM;
    for (size_t at = 0; at < size && code == 0;) {
        const size_t n = size - at < WRITTEN_AT_ONCE ? size - at : WRITTEN_AT_ONCE;
        const ssize_t got = pwrite(fd, zeros, n, (off_t)at);

        if (got > 0)
            at += (size_t)got;
        else
            code = got == 0 ? ENOSPC : errno == EINTR ? 0 : errno;
    }
    free(zeros);
    return code;
}

/* Returns an errno. */
static int
map(struct nb_spill *spill, int fd, size_t size)
{
    int code = nb_system_reserve(fd, size);

    if (code == 0)
        code = write_zeros(fd, size);
    if (code != 0)
        return code;
    spill->memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (spill->memory == MAP_FAILED) {
        spill->memory = NULL;
        return errno;
    }
    spill->mapped = size;
    return 0;
}

static enum nb_status
refused(const char *folder, size_t size, int code, struct nb_error *err)
{
    const enum nb_status status = nb_status_of_errno(code, NB_INPUT);

    return code == ENOSPC
               ? nb_fail(err, status, "%s: cannot hold a file of %zu bytes: %s", folder, size, strerror(code))
               : nb_fail(err, status, "%s: no file can be made there: %s", folder, strerror(code));
}

static enum nb_status
in_file(struct nb_spill *spill, const char *folder, size_t size, struct nb_error *err)
{
    char *path = nb_joined(folder, NAME);
    int fd, code;

    if (path == NULL)
        return nb_fail_memory(err);
    fd = mkstemp(path);
    code = fd < 0 ? errno : 0;
    if (fd >= 0) {
        unlink(path);
        code = map(spill, fd, size);
        close(fd);
    }
    free(path);
    return code == 0 ? NB_OK : refused(folder, size, code, err);
}

enum nb_status
nb_spill_new(struct nb_spill *spill, const char *folder, uint64_t bytes, struct nb_error *err)
{
    *spill = (struct nb_spill){ 0 };
    if (bytes > SIZE_MAX)
        return nb_fail_memory(err);
    if (folder != NULL && bytes > 0)
        return in_file(spill, folder, (size_t)bytes, err);
    spill->memory = nb_aligned(bytes);
    return spill->memory == NULL ? nb_fail_memory(err) : NB_OK;
}

void
nb_spill_free(struct nb_spill *spill)
{
    if (spill->mapped > 0)
        munmap(spill->memory, spill->mapped);
    else
        free(spill->memory);
    *spill = (struct nb_spill){ 0 };
}
