#include "formats/base/public.h"

#include <string.h>

_Static_assert(NIBBLE_MESSAGE_SIZE == NB_ERROR_SIZE, "a sentence must fit");

const char *
nibble_version(void)
{
    return NIBBLE_VERSION_STRING;
}

const char *
nibble_code_name(enum nibble_code code)
{
    static const char *const names[] = {
        [NIBBLE_OK] = "ok",
        [NIBBLE_USAGE] = "usage",
        [NIBBLE_INVALID] = "invalid",
        [NIBBLE_UNSUPPORTED] = "unsupported",
        [NIBBLE_NOT_FOUND] = "not found",
        [NIBBLE_EXISTS] = "exists",
        [NIBBLE_IO] = "input or output failed",
        [NIBBLE_NO_SPACE] = "no space",
        [NIBBLE_NO_MEMORY] = "no memory",
        [NIBBLE_INTERRUPTED] = "interrupted",
    };

    return (unsigned)code < sizeof names / sizeof names[0] ? names[code] : "unknown";
}

static enum nibble_code
code_of(enum nb_status status)
{
    static const enum nibble_code codes[NB_STATUSES] = {
        [NB_OK] = NIBBLE_OK,
        [NB_NO] = NIBBLE_INVALID,
        [NB_USAGE] = NIBBLE_USAGE,
        [NB_INPUT] = NIBBLE_INVALID,
        [NB_SYSTEM] = NIBBLE_IO,
        [NB_EXISTS] = NIBBLE_EXISTS,
        [NB_NOT_FOUND] = NIBBLE_NOT_FOUND,
        [NB_UNSUPPORTED] = NIBBLE_UNSUPPORTED,
        [NB_NO_SPACE] = NIBBLE_NO_SPACE,
        [NB_NO_MEMORY] = NIBBLE_NO_MEMORY,
        [NB_INTERRUPTED] = NIBBLE_INTERRUPTED,
    };

    return codes[status];
}

enum nibble_code
nb_public_end(enum nb_status status, const struct nb_error *why, struct nibble_error *error)
{
    const enum nibble_code code = code_of(status);

    if (error != NULL) { /* no version had less than these two */
        error->code = code;
        if (status == NB_OK)
            error->message[0] = '\0';
        else
            memcpy(error->message, why->message, sizeof why->message);
    }
    return code;
}

static enum nb_status
check_size(const void *theirs, const char *name, size_t *size, struct nb_error *err)
{
    memcpy(size, theirs, sizeof *size);
    return *size >= sizeof *size ? NB_OK : nb_fail(err, NB_USAGE, "struct %s: its size is not set (NIBBLE_INIT)", name);
}

enum nb_status
nb_public_take(void *ours, size_t size, const void *theirs, const char *name, struct nb_error *err)
{
    const unsigned char *bytes = theirs;
    size_t given = 0;

    memset(ours, 0, size);
    if (theirs == NULL)
        return NB_OK;
    if (check_size(theirs, name, &given, err) != NB_OK)
        return NB_USAGE;
    memcpy(ours, theirs, given < size ? given : size);
    for (size_t i = size; i < given; i++)
        if (bytes[i] != 0)
            return nb_fail(err, NB_USAGE, "struct %s: has an option that is newer than this library (%s)", name,
                           NIBBLE_VERSION_STRING);
    return NB_OK;
}

enum nb_status
nb_public_give(void *theirs, const void *ours, size_t size, const char *name, struct nb_error *err)
{
    size_t room = 0;

    if (check_size(theirs, name, &room, err) != NB_OK)
        return NB_USAGE;
    memcpy((char *)theirs + sizeof room, (const char *)ours + sizeof room, (room < size ? room : size) - sizeof room);
    return NB_OK;
}

enum nb_status
nb_public_check_index(size_t index, size_t count, const char *what, struct nb_error *err)
{
    return index < count ? NB_OK : nb_fail(err, NB_USAGE, "%zu: there are only %zu %s", index, count, what);
}

enum nb_status
nb_public_run(struct nb_public_run *out, const struct nibble_run *run, struct nb_error *err)
{
    struct nibble_run r;
    enum nb_status status = NB_PUBLIC_TAKE(r, run, "nibble_run", err);

    *out = (struct nb_public_run){ .threads = r.threads, .progress = r.progress, .context = r.context };
    return status;
}

void
nb_public_progress(void *context, uint64_t done, uint64_t total)
{
    struct nb_public_run *run = context;

    if (run->progress != NULL && run->progress(run->context, done, total) != 0)
        run->stop = 1;
}

void
nb_public_progress_chunks(void *context, uint32_t done, uint32_t total, double share)
{
    (void)share;
    nb_public_progress(context, done, total);
}
