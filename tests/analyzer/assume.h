/*
 * For the analyzers only, which see one source at a time: a function that reports an error never
 * returns NB_OK. Without this they follow each "out of memory" on as if it had gone well. Each of the
 * two follows one way of saying so.
 */
#include "formats/base/findings.h"
#include "formats/base/status.h"

#ifdef __clang__
static inline enum nb_status
nb_never_ok(enum nb_status status)
{
    return status == NB_OK ? NB_SYSTEM : status;
}
#define nb_fail(...) nb_never_ok(nb_fail(__VA_ARGS__))
#define nb_fail_memory(err) nb_never_ok(nb_fail_memory(err))
#define nb_found_end(...) nb_never_ok(nb_found_end(__VA_ARGS__))
#else
#define nb_fail(err, status, ...) ((void)nb_fail(err, status, __VA_ARGS__), (status) == NB_OK ? NB_SYSTEM : (status))
#define nb_fail_memory(err) ((void)nb_fail_memory(err), NB_NO_MEMORY)
#define nb_found_end(...) ((void)nb_found_end(__VA_ARGS__), NB_INPUT)
#endif
