#define PCRE2_CODE_UNIT_WIDTH 8
#include "formats/base/regex.h"

#include <pcre2.h>
#include <string.h>

/* struct nb_regex is never defined: it is a pcre2_code under another name. */

static pcre2_code *
compile(const char *pattern, uint32_t options, struct nb_error *err)
{
    int why;
    PCRE2_SIZE at;
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, options, &why, &at, NULL);

    if (code == NULL && why == PCRE2_ERROR_HEAP_FAILED) {
        nb_fail_memory(err);
    } else if (code == NULL) {
        PCRE2_UCHAR text[128];

        pcre2_get_error_message(why, text, sizeof text);
        nb_fail(err, NB_USAGE, "'%s' is not a regular expression: at character %zu: %s", pattern, at, text);
    }
    return code;
}

/* 1 for a match, 0 for none, -1 if out of memory. */
static int
search(const pcre2_code *code, const char *text)
{
    pcre2_match_data *match = pcre2_match_data_create(1, NULL);
    int found = match == NULL ? PCRE2_ERROR_NOMEMORY
                              : pcre2_match(code, (PCRE2_SPTR)text, strlen(text), 0, 0, match, NULL);

    pcre2_match_data_free(match);
    return found >= 0 ? 1 : found == PCRE2_ERROR_NOMEMORY ? -1 : 0;
}

struct nb_regex *
nb_regex_new(const char *pattern, struct nb_error *err)
{
    return (struct nb_regex *)compile(pattern, PCRE2_UTF | PCRE2_CASELESS, err);
}

bool
nb_regex_search(const struct nb_regex *regex, const char *text, bool *out_of_memory)
{
    const int found = search((const pcre2_code *)regex, text);

    *out_of_memory |= found < 0;
    return found > 0;
}

void
nb_regex_free(struct nb_regex *regex)
{
    pcre2_code_free((pcre2_code *)regex);
}

bool
nb_regex_is(const char *pattern, const char *text, bool *out_of_memory)
{
    pcre2_code *code = compile(pattern, PCRE2_CASELESS | PCRE2_ANCHORED | PCRE2_ENDANCHORED, NULL);
    int found = code == NULL ? -1 : search(code, text); /* the patterns are valid, so only memory can fail */

    pcre2_code_free(code);
    if (found < 0)
        *out_of_memory = true;
    return found > 0;
}
