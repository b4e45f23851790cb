/* Calls of nibble.h that must succeed, or must be refused. */
#ifndef NB_PUBLIC_CALLS_H
#define NB_PUBLIC_CALLS_H

#include "nibble.h"
#include "testing.h"

#include <string.h>

static struct nibble_error error;

/* CODE, which a call returned; and that the error says the same in a sentence. */
static inline enum nibble_code
told(enum nibble_code code)
{
    assert_int_equal(error.code, code);
    assert_true((code == NIBBLE_OK) == (error.message[0] == '\0'));
    return code;
}

#define MUST(call)                                                                      \
    do {                                                                                \
        if (told(call) != NIBBLE_OK)                                                    \
            fail_msg("%s: %s: %s", #call, nibble_code_name(error.code), error.message); \
    } while (0)

#define REFUSED(expected, call)                                                                             \
    do {                                                                                                    \
        if (told(call) != (expected))                                                                       \
            fail_msg("%s: %s, not %s: %s", #call, nibble_code_name(error.code), nibble_code_name(expected), \
                     error.message);                                                                        \
    } while (0)

static inline void
error_says(const char *part)
{
    if (strstr(error.message, part) == NULL)
        fail_msg("'%s' is not in: %s", part, error.message);
}

static inline struct nibble_source *
open_source(const char *path)
{
    struct nibble_source *source;

    MUST(nibble_source_open(path, NULL, &source, &error));
    return source;
}

#endif
