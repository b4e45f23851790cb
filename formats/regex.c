#define PCRE2_CODE_UNIT_WIDTH 8
#include "regex.h"

#include <pcre2.h>
#include <string.h>

/* struct nb_regex is never completed: it is a pcre2_code under a name of our own. */

static pcre2_code *
compile(const char *pattern, uint32_t options, struct nb_error *err)
{
    int why;
    PCRE2_SIZE at;
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, options, &why, &at, NULL);

    if (code == NULL) {
        PCRE2_UCHAR text[128];

        pcre2_get_error_message(why, text, sizeof text);
        nb_fail(err, NB_USAGE, "'%s' is not a regular expression: at character %zu: %s", pattern, at, text);
    }
    return code;
}

static bool
search(const pcre2_code *code, const char *text)
{
    pcre2_match_data *match = pcre2_match_data_create(1, NULL);
    bool found = match != NULL && pcre2_match(code, (PCRE2_SPTR)text, strlen(text), 0, 0, match, NULL) >= 0;

    pcre2_match_data_free(match);
    return found;
}

struct nb_regex *
nb_regex_new(const char *pattern, struct nb_error *err)
{
    return (struct nb_regex *)compile(pattern, PCRE2_UTF | PCRE2_CASELESS, err);
}

bool
nb_regex_search(const struct nb_regex *regex, const char *text)
{
    return search((const pcre2_code *)regex, text);
}

void
nb_regex_free(struct nb_regex *regex)
{
    pcre2_code_free((pcre2_code *)regex);
}

bool
nb_regex_is(const char *pattern, const char *text)
{
    pcre2_code *code = compile(pattern, PCRE2_CASELESS | PCRE2_ANCHORED | PCRE2_ENDANCHORED, NULL);
    bool matches = code != NULL && search(code, text);

    pcre2_code_free(code);
    return matches;
}
