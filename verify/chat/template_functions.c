/* The functions, filters, tests and methods that templates of published models use. */
#include "verify/chat/template_run.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct nb_template_run run;
typedef struct nb_template_arguments arguments;

#define BLANKS " \t\n\r\v\f"

/* --- help -------------------------------------------------------------------------------------------------------------- */

/* The argument at PLACE, or the one called NAME; NULL: there is none. */
static json_t *
argument(const arguments *a, size_t place, const char *name)
{
    for (size_t i = 0; i < a->count; i++)
        if (a->name[i] == NULL ? i == place : name != NULL && strcmp(a->name[i], name) == 0)
            return a->value[i];
    return NULL;
}

static const char *
text_argument(const arguments *a, size_t place, const char *name)
{
    return json_string_value(argument(a, place, name));
}

static json_t *
boolean(bool value)
{
    return value ? json_true() : json_false();
}

/* TEXT of LENGTH bytes as a value. */
static json_t *
new_text(run *r, const char *text, size_t length)
{
    return nb_template_made(r, json_stringn(text, length));
}

/* The text of VALUE, which a filter or method NAME is for; NULL if it is none. */
static const char *
needed_text(run *r, const char *name, const json_t *value, size_t *length)
{
    *length = json_string_length(value);
    if (json_is_string(value))
        return json_string_value(value);
    nb_template_fail(r, NB_UNSUPPORTED, "uses '%s' with what is no text", name);
    return NULL;
}

/* --- texts ---------------------------------------------------------------------------------------------------------------- */

static json_t *
stripped(run *r, const char *text, size_t length, const char *what, bool left, bool right)
{
    while (left && length > 0 && strchr(what, *text) != NULL && *text != '\0') {
        text++;
        length--;
    }
    while (right && length > 0 && text[length - 1] != '\0' && strchr(what, text[length - 1]) != NULL)
        length--;
    return new_text(r, text, length);
}

enum letters { UPPER, LOWER, CAPITALIZED, TITLE };

static json_t *
with_letters(run *r, const char *text, size_t length, enum letters how)
{
    char *copy = malloc(length + 1);
    bool begins = true;
    json_t *result;

    for (size_t i = 0; copy != NULL && i < length; i++) {
        const char c = text[i];
        const bool is_lower = c >= 'a' && c <= 'z', is_upper = c >= 'A' && c <= 'Z';
        const bool to_upper = how == UPPER || (how >= CAPITALIZED && begins);

        if ((unsigned char)c >= 0x80) {
            free(copy);
            return nb_template_fail(r, NB_UNSUPPORTED, "changes the case of letters that nibble does not know");
        }
        copy[i] = (char)(is_lower && to_upper ? c - 32 : is_upper && !to_upper ? c + 32 : c);
        begins = how == TITLE && !is_lower && !is_upper;
    }
    result = copy == NULL ? nb_template_made(r, NULL) : new_text(r, copy, length);
    free(copy);
    return result;
}

static json_t *
replaced(run *r, const char *text, const char *old, const char *new)
{
    const size_t n = old == NULL ? 0 : strlen(old), m = new == NULL ? 0 : strlen(new);
    size_t room = strlen(text) + 1, length = 0;
    char *copy;
    json_t *result;

    if (n == 0 || new == NULL)
        return nb_template_fail(r, NB_UNSUPPORTED, "replaces what is no text, or an empty one");
    for (const char *at = text; (at = strstr(at, old)) != NULL; at += n)
        room += m;
    copy = malloc(room);
    while (copy != NULL && *text != '\0') {
        const char *found = strstr(text, old);
        const size_t before = found == NULL ? strlen(text) : (size_t)(found - text);

        memcpy(copy + length, text, before);
        length += before;
        text += before;
        if (found != NULL) {
            memcpy(copy + length, new, m);
            length += m;
            text += n;
        }
    }
    result = copy == NULL ? nb_template_made(r, NULL) : new_text(r, copy, length);
    free(copy);
    return result;
}

/* The parts of TEXT between SEPARATOR, or between blanks where that is NULL. */
static json_t *
split(run *r, const char *text, const char *separator)
{
    json_t *list = nb_template_made(r, json_array());

    if (separator != NULL && *separator == '\0')
        return nb_template_fail(r, NB_UNSUPPORTED, "splits a text at nothing");
    while (list != NULL && r->status == NB_OK) {
        const char *end;
        json_t *part;

        text += separator == NULL ? strspn(text, BLANKS) : 0;
        if (separator == NULL && *text == '\0')
            break;
        end = separator == NULL ? text + strcspn(text, BLANKS) : strstr(text, separator);
        part = new_text(r, text, end == NULL ? strlen(text) : (size_t)(end - text));
        nb_template_append(r, list, part);
        if (end == NULL)
            break;
        text = separator == NULL ? end : end + strlen(separator);
    }
    return list;
}

static json_t *
joined(run *r, const json_t *list, const char *between)
{
    json_t *result = new_text(r, "", 0), *item;
    char *text = NULL;
    size_t length = 0, i;

    between = between == NULL ? "" : between;
    json_array_foreach(list, i, item) {
        size_t n;
        const char *piece = nb_template_text(r, item, &n);
        const size_t gap = i > 0 ? strlen(between) : 0;
        char *grown = realloc(text, length + gap + n + 1);

        if (grown == NULL || r->status != NB_OK) {
            free(grown == NULL ? text : grown);
            return nb_template_made(r, NULL);
        }
        text = grown;
        memcpy(text + length, between, gap);
        memcpy(text + length + gap, piece, n);
        length += gap + n;
    }
    if (text != NULL)
        result = new_text(r, text, length);
    free(text);
    return result;
}

static json_t *
as_json(run *r, const json_t *value, const arguments *a)
{
    const json_t *indent = argument(a, 0, "indent");
    const json_int_t n = json_integer_value(indent);
    char *text;
    json_t *result;

    if (value == NULL || n < 0 || n > 16)
        return nb_template_fail(r, NB_UNSUPPORTED, "makes JSON of what is not defined, or with a strange indent");
    text = json_dumps(value, JSON_ENCODE_ANY | JSON_INDENT((size_t)n));
    result = text == NULL ? nb_template_made(r, NULL) : new_text(r, text, strlen(text));
    free(text);
    return result;
}

/* --- lists ---------------------------------------------------------------------------------------------------------------- */

/* Pairs, keys or values of an object. */
static json_t *
members(run *r, json_t *object, const char *which)
{
    json_t *list = nb_template_made(r, json_array()), *value, *item;
    const char *key;

    if (!json_is_object(object))
        return nb_template_fail(r, NB_UNSUPPORTED, "uses '%s' with what is no object", which);
    json_object_foreach(object, key, value) {
        item = *which == 'i'   ? nb_template_made(r, json_pack("[s, O]", key, value))
               : *which == 'k' ? nb_template_made(r, json_string(key))
                               : value;
        nb_template_append(r, list, item);
    }
    return list;
}

static json_t *
listed(run *r, json_t *value)
{
    if (json_is_array(value))
        return nb_template_made(r, json_copy(value));
    return members(r, value, "keys");
}

/* map(attribute='a'), map('filter'); selectattr('a', 'test', value), rejectattr. */
static json_t *
over_list(run *r, const char *name, json_t *value, const arguments *a)
{
    const char *attribute = text_argument(a, 0, "attribute"), *test = text_argument(a, 1, NULL);
    const arguments of_test = { { argument(a, 2, NULL) }, { NULL }, argument(a, 2, NULL) != NULL },
                    none = { .count = 0 };
    const bool maps = *name == 'm';
    json_t *result = nb_template_made(r, json_array()), *item;
    size_t i;

    if (!nb_template_holds(value))
        return result; /* of nothing, as Jinja has it */
    if (attribute == NULL || !json_is_array(value))
        return nb_template_fail(r, NB_UNSUPPORTED, "uses '%s' in a way that nibble does not know", name);
    json_array_foreach(value, i, item) {
        json_t *part = json_object_get(item, attribute);
        bool holds;

        if (maps && a->name[0] == NULL)
            part = nb_template_filter(r, attribute, item, &none);
        holds = maps ||
                (test == NULL ? nb_template_holds(part) : nb_template_test(r, test, part, &of_test)) == (*name == 's');
        if (r->status != NB_OK)
            return NULL;
        if (holds)
            nb_template_append(r, result, maps ? part : item);
    }
    return result;
}

static json_t *
length_of(run *r, const json_t *value)
{
    size_t n = json_is_object(value) ? json_object_size(value) : json_array_size(value);

    for (size_t i = 0; json_is_string(value) && i < json_string_length(value); i++)
        n += ((unsigned char)json_string_value(value)[i] & 0xC0) != 0x80; /* characters */
    if (value != NULL && !json_is_object(value) && !json_is_array(value) && !json_is_string(value))
        return nb_template_fail(r, NB_UNSUPPORTED, "asks for the length of a number");
    return nb_template_made(r, json_integer((json_int_t)n));
}

/* --- filters ---------------------------------------------------------------------------------------------------------------- */

static json_t *
text_filter(run *r, const char *name, json_t *value, const arguments *a, bool *known)
{
    const bool capitalizes = strcmp(name, "capitalize") == 0;
    size_t n;
    const char *text;

    *known = strcmp(name, "trim") == 0 || strcmp(name, "upper") == 0 || strcmp(name, "lower") == 0 || capitalizes ||
             strcmp(name, "title") == 0 || strcmp(name, "replace") == 0;
    text = *known ? needed_text(r, name, value, &n) : NULL;
    if (text == NULL)
        return NULL;
    if (strcmp(name, "trim") == 0)
        return stripped(r, text, n, a->count > 0 ? text_argument(a, 0, "chars") : BLANKS, true, true);
    if (strcmp(name, "replace") == 0)
        return replaced(r, text, text_argument(a, 0, "old"), text_argument(a, 1, "new"));
    return with_letters(r, text, n, *name == 'u' ? UPPER : *name == 'l' ? LOWER : capitalizes ? CAPITALIZED : TITLE);
}

static json_t *
as_integer(run *r, const json_t *value)
{
    const char *text = json_string_value(value);
    char *end;
    json_int_t number = text == NULL ? 0 : strtoll(text, &end, 10);

    if (text != NULL && (*text == '\0' || *end != '\0'))
        number = 0; /* the default of Jinja's filter */
    if (json_is_real(value) && json_real_value(value) > -1e15 && json_real_value(value) < 1e15)
        number = (json_int_t)json_real_value(value);
    return json_is_integer(value) ? nb_template_made(r, json_integer(json_integer_value(value)))
                                  : nb_template_made(r, json_integer(number));
}

json_t *
nb_template_filter(run *r, const char *name, json_t *value, const arguments *a)
{
    bool known;
    json_t *result = text_filter(r, name, value, a, &known);

    if (known)
        return result;
    if (strcmp(name, "tojson") == 0)
        return as_json(r, value, a);
    if (strcmp(name, "length") == 0 || strcmp(name, "count") == 0)
        return length_of(r, value);
    if (strcmp(name, "join") == 0)
        return joined(r, value, text_argument(a, 0, "d"));
    if (strcmp(name, "first") == 0)
        return json_array_get(value, 0);
    if (strcmp(name, "last") == 0)
        return json_array_get(value, json_array_size(value) - 1);
    if (strcmp(name, "list") == 0)
        return listed(r, value);
    if (strcmp(name, "items") == 0)
        return members(r, value, "items");
    if (strcmp(name, "int") == 0 && a->count == 0)
        return as_integer(r, value);
    if (strcmp(name, "safe") == 0)
        return value;
    if (strcmp(name, "string") == 0) {
        size_t n;
        const char *text = nb_template_text(r, value, &n);

        return new_text(r, text, n);
    }
    if (strcmp(name, "default") == 0 || strcmp(name, "d") == 0)
        return value == NULL || (nb_template_holds(argument(a, 1, "boolean")) && !nb_template_holds(value))
                   ? argument(a, 0, "default_value")
                   : value;
    if (strcmp(name, "map") == 0 || strcmp(name, "selectattr") == 0 || strcmp(name, "rejectattr") == 0)
        return over_list(r, name, value, a);
    return nb_template_fail(r, NB_UNSUPPORTED, "uses the filter '%s', which nibble does not know", name);
}

/* --- tests -------------------------------------------------------------------------------------------------------------------- */

bool
nb_template_test(run *r, const char *name, json_t *v, const arguments *a)
{
    if (strcmp(name, "defined") == 0)
        return v != NULL;
    if (strcmp(name, "undefined") == 0)
        return v == NULL;
    if (strcmp(name, "none") == 0)
        return json_is_null(v);
    if (strcmp(name, "string") == 0)
        return json_is_string(v);
    if (strcmp(name, "number") == 0)
        return json_is_number(v);
    if (strcmp(name, "integer") == 0)
        return json_is_integer(v);
    if (strcmp(name, "boolean") == 0)
        return json_is_boolean(v);
    if (strcmp(name, "true") == 0)
        return json_is_true(v);
    if (strcmp(name, "false") == 0)
        return json_is_false(v);
    if (strcmp(name, "mapping") == 0)
        return json_is_object(v);
    if (strcmp(name, "iterable") == 0 || strcmp(name, "sequence") == 0)
        return json_is_array(v) || json_is_object(v) || json_is_string(v);
    if ((strcmp(name, "equalto") == 0 || strcmp(name, "eq") == 0) && argument(a, 0, NULL) != NULL && v != NULL)
        return json_equal(v, argument(a, 0, NULL)) != 0;
    if (strcmp(name, "equalto") == 0 || strcmp(name, "eq") == 0)
        return false;
    if (strcmp(name, "odd") == 0 || strcmp(name, "even") == 0)
        return (json_integer_value(v) % 2 != 0) == (*name == 'o');
    nb_template_fail(r, NB_UNSUPPORTED, "uses the test '%s', which nibble does not know", name);
    return false;
}

/* --- methods -------------------------------------------------------------------------------------------------------------------- */

static bool
begins_or_ends(const char *text, size_t n, const char *with, bool begins)
{
    const size_t m = with == NULL ? 0 : strlen(with);

    return with != NULL && m <= n && memcmp(begins ? text : text + n - m, with, m) == 0;
}

static json_t *
text_method(run *r, const char *name, const char *text, size_t n, const arguments *a)
{
    const char *first = text_argument(a, 0, NULL);

    if (strcmp(name, "startswith") == 0 || strcmp(name, "endswith") == 0)
        return boolean(begins_or_ends(text, n, first, *name == 's'));
    if (strcmp(name, "strip") == 0 || strcmp(name, "lstrip") == 0 || strcmp(name, "rstrip") == 0)
        return stripped(r, text, n, first == NULL ? BLANKS : first, *name != 'r', *name != 'l');
    if (strcmp(name, "split") == 0 && a->count < 2)
        return split(r, text, first);
    if (strcmp(name, "replace") == 0)
        return replaced(r, text, first, text_argument(a, 1, NULL));
    if (strcmp(name, "upper") == 0 || strcmp(name, "lower") == 0)
        return with_letters(r, text, n, *name == 'u' ? UPPER : LOWER);
    if (strcmp(name, "capitalize") == 0 || strcmp(name, "title") == 0)
        return with_letters(r, text, n, *name == 'c' ? CAPITALIZED : TITLE);
    if (strcmp(name, "join") == 0)
        return joined(r, argument(a, 0, NULL), text);
    return nb_template_fail(r, NB_UNSUPPORTED, "calls '%s' of a text, which nibble does not know", name);
}

json_t *
nb_template_method(run *r, const char *name, json_t *value, const arguments *a)
{
    if (json_is_string(value))
        return text_method(r, name, json_string_value(value), json_string_length(value), a);
    if (json_is_object(value) && strcmp(name, "get") == 0 && text_argument(a, 0, NULL) != NULL) {
        json_t *found = json_object_get(value, text_argument(a, 0, NULL)), *otherwise = argument(a, 1, NULL);

        return found != NULL ? found : otherwise != NULL ? otherwise : json_null();
    }
    if (strcmp(name, "items") == 0 || strcmp(name, "keys") == 0 || strcmp(name, "values") == 0)
        return members(r, value, name);
    return nb_template_fail(r, NB_UNSUPPORTED, "calls the function '%s', which nibble does not know", name);
}

/* --- functions -------------------------------------------------------------------------------------------------------------------- */

#define MOST_NUMBERS 100000

static json_t *
range(run *r, const arguments *a)
{
    const bool two = a->count > 1;
    json_int_t from = two ? json_integer_value(a->value[0]) : 0, to = json_integer_value(a->value[two ? 1 : 0]);
    const json_int_t step = a->count > 2 ? json_integer_value(a->value[2]) : 1;
    json_t *list = nb_template_made(r, json_array());

    if (a->count == 0 || step == 0 || from < -MOST_NUMBERS || from > MOST_NUMBERS || to < -MOST_NUMBERS ||
        to > MOST_NUMBERS || step < -MOST_NUMBERS || step > MOST_NUMBERS)
        return nb_template_fail(r, NB_UNSUPPORTED, "has a range that nibble does not make");
    for (; r->status == NB_OK && (step > 0 ? from < to : from > to); from += step)
        nb_template_append(r, list, nb_template_made(r, json_integer(from)));
    return list;
}

static json_t *
time_now(run *r, const arguments *a)
{
    const char *format = text_argument(a, 0, "format");
    const time_t now = time(NULL);
    char text[128];
    struct tm parts;

    if (format == NULL || localtime_r(&now, &parts) == NULL)
        return nb_template_fail(r, NB_UNSUPPORTED, "asks for the time in a way that nibble does not know");
    return new_text(r, text, strftime(text, sizeof text, format, &parts));
}

static json_t *namespace(run *r, const arguments *a)
{
    json_t *object = nb_template_made(r, json_object());

    for (size_t i = 0; i < a->count && r->status == NB_OK; i++)
        if (a->name[i] == NULL)
            nb_template_fail(r, NB_UNSUPPORTED, "makes a namespace of something that has no name");
        else if (json_object_set_new(object, a->name[i],
                                     a->value[i] == NULL ? json_null() : json_deep_copy(a->value[i])) != 0)
            return nb_template_made(r, NULL);
    return object;
}

static const char *const functions[] = { "namespace", "raise_exception", "range", "strftime_now" };

bool
nb_template_is_function(const char *name)
{
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++)
        if (strcmp(name, functions[i]) == 0)
            return true;
    return false;
}

json_t *
nb_template_function(run *r, const char *name, const arguments *a)
{
    const char *text;

    if (strcmp(name, "namespace") == 0)
        return namespace(r, a);
    if (strcmp(name, "range") == 0)
        return range(r, a);
    if (strcmp(name, "strftime_now") == 0)
        return time_now(r, a);
    if (strcmp(name, "raise_exception") != 0)
        return nb_template_fail(r, NB_UNSUPPORTED, "calls the function '%s', which nibble does not know", name);
    text = text_argument(a, 0, NULL);
    return nb_template_fail(r, NB_INPUT, "says: %s", text == NULL ? "" : text);
}
