#include "cli/json.h"

#include "cli/cli.h"
#include "formats/base/json.h"
#include "formats/base/text.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_wanted, is_printed;
static bool is_incomplete; /* a value could not be made or added */

/* --- values ----------------------------------------------------------------------------------------------- */

static json_t *
checked(json_t *value)
{
    is_incomplete = is_incomplete || value == NULL;
    return value;
}

/* TEXT with what is not UTF-8 as it is shown; from malloc. */
static char *
repaired(const char *text, size_t length, size_t *size)
{
    char *copy = malloc(4 * length + 1), shown[NB_SHOWN];

    *size = 0;
    for (size_t i = 0, n; copy != NULL && i < length; i += n) {
        n = nb_show_character(text + i, length - i, shown);
        if (nb_utf8_valid(text + i, n)) {
            memcpy(copy + *size, text + i, n);
            *size += n;
        } else {
            memcpy(copy + *size, shown, strlen(shown));
            *size += strlen(shown);
        }
    }
    return copy;
}

json_t *
cli_json_textn(const char *text, size_t length)
{
    size_t size;
    char *copy;
    json_t *value;

    if (nb_utf8_valid(text, length))
        return checked(json_stringn(text, length));
    copy = repaired(text, length, &size);
    value = copy == NULL ? NULL : json_stringn(copy, size);
    free(copy);
    return checked(value);
}

json_t *
cli_json_text(const char *text)
{
    return cli_json_textn(text, strlen(text));
}

json_t *
cli_json_integer(json_int_t value)
{
    return checked(json_integer(value));
}

json_t *
cli_json_real(double value)
{
    return checked(isfinite(value) ? json_real(value) : json_null());
}

json_t *
cli_json_array(void)
{
    return checked(json_array());
}

void
cli_json_add(json_t *array, json_t *value)
{
    if (json_array_append_new(array, value) != 0)
        is_incomplete = true;
}

void
cli_json_set(json_t *object, const char *key, json_t *value)
{
    json_t *name = cli_json_text(key);

    if (name == NULL)
        json_decref(value);
    else if (json_object_set_new(object, json_string_value(name), value) != 0)
        is_incomplete = true;
    json_decref(name);
}

void
cli_json_merge(json_t *object, json_t *more)
{
    if (json_object_update(object, more) != 0)
        is_incomplete = true;
    json_decref(more);
}

/* --- formats ---------------------------------------------------------------------------------------------- */

static json_t *object_of(const char **at, va_list *args);

/* The next value that *AT names; NULL, and *LEFT_OUT, where the key is to be left out. */
static json_t *
value_of(const char **at, va_list *args, bool *left_out)
{
    const char kind = **at, next = kind == '\0' ? '\0' : (*at)[1];
    const char *text;
    json_t *value;

    if (kind == '{')
        return object_of(at, args);
    ++*at;
    switch (kind) {
    case 's':
        text = va_arg(*args, const char *);
        *at += next == '?' || next == '*';
        *left_out = text == NULL && next == '*';
        return *left_out ? NULL : text == NULL ? json_null() : cli_json_text(text);
    case 'b':
        return json_boolean(va_arg(*args, int));
    case 'i':
        return cli_json_integer(va_arg(*args, int));
    case 'I':
        return cli_json_integer(va_arg(*args, json_int_t));
    case 'f':
        return cli_json_real(va_arg(*args, double));
    case 'o':
        value = va_arg(*args, json_t *);
        *at += next == '?' || next == '*';
        *left_out = value == NULL && next == '*';
        return *left_out ? NULL : value == NULL && next == '?' ? json_null() : checked(value);
    default:
        return checked(NULL);
    }
}

/* The object that begins at *AT, which moves behind its '}'. */
static json_t *
object_of(const char **at, va_list *args)
{
    json_t *object = checked(json_object());

    for (++*at; **at != '}' && **at != '\0';) {
        const char *key;
        bool left_out = false;
        json_t *value;

        if (strchr(" ,:", **at) != NULL) {
            ++*at;
            continue;
        }
        ++*at; /* the key's 's' */
        key = va_arg(*args, const char *);
        *at += strspn(*at, " :");
        value = value_of(at, args, &left_out);
        if (!left_out)
            cli_json_set(object, key, value);
    }
    *at += **at == '}';
    return object;
}

json_t *
cli_json(const char *format, ...)
{
    va_list args;
    json_t *object;

    va_start(args, format);
    object = object_of(&format, &args);
    va_end(args);
    return object;
}

void
cli_lose(void)
{
    is_incomplete = true;
}

bool
cli_has_lost(void)
{
    return is_incomplete;
}

/* --- output ----------------------------------------------------------------------------------------------- */

void
cli_set_json(bool wanted)
{
    is_wanted = wanted;
}

/* TEXT, which is JSON, on a line; what would be an order to a terminal is written as its escape, which means the same. */
static void
print_line(const char *text)
{
    const size_t length = strlen(text);
    char shown[NB_SHOWN];

    for (size_t i = 0, n; i < length; i += n) {
        n = nb_show_character(text + i, length - i, shown);
        if (*shown == text[i])
            fwrite(text + i, 1, n, stdout);
        else
            printf("\\u%04lX", strtoul(shown + (shown[1] == 'u' ? 3 : 2), NULL, 16));
    }
    putchar('\n');
}

int
cli_print_json(json_t *object)
{
    json_t *whole = cli_json("{s:i}", "version", CLI_JSON_VERSION);
    char *text = NULL;

    if (json_object_update(whole, object) == 0 && !is_incomplete)
        text = nb_json_dump(whole, JSON_COMPACT | JSON_REAL_PRECISION(9));
    json_decref(whole);
    json_decref(object);
    if (text == NULL)
        return cli_fail_memory();
    is_printed = true;
    print_line(text);
    free(text);
    return cli_finish();
}

const char *
cli_status_name(enum nb_status status)
{
    static const char *const names[NB_STATUSES] = {
        [NB_OK] = "ok",
        [NB_NO] = "no",
        [NB_USAGE] = "usage",
        [NB_INPUT] = "input",
        [NB_SYSTEM] = "system",
        [NB_EXISTS] = "exists",
        [NB_NOT_FOUND] = "not_found",
        [NB_UNSUPPORTED] = "unsupported",
        [NB_NO_SPACE] = "no_space",
        [NB_NO_MEMORY] = "no_memory",
        [NB_INTERRUPTED] = "interrupted",
    };

    return names[status];
}

/* The error, made without what may be used up. */
static void
print_short_of_memory(void)
{
    printf("{\"version\":%d,\"error\":{\"code\":\"no_memory\",\"message\":\"out of memory\"}}\n", CLI_JSON_VERSION);
}

void
cli_print_json_error(enum nb_status status, const char *message)
{
    json_t *object;
    char *text;

    if (!is_wanted || is_printed)
        return;
    is_printed = true;
    is_incomplete = false;
    object = cli_json("{s:i, s:{s:s, s:s}}", "version", CLI_JSON_VERSION, "error", "code", cli_status_name(status),
                      "message", message);
    text = is_incomplete ? NULL : nb_json_dump(object, JSON_COMPACT);
    json_decref(object);
    if (text == NULL)
        print_short_of_memory();
    else
        print_line(text);
    free(text);
    fflush(stdout);
}
