#include "verify/chat/template_run.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_STEPS 2000000u
#define MOST_BYTES ((size_t)64 << 20)
#define DEEPEST_VALUE 32u
#define DEEPEST 300u

typedef struct nb_template_node node;
typedef struct nb_template_run run;

static json_t *eval(run *r, const node *n);
static void render(run *r, const node *n);

/* --- help ------------------------------------------------------------------------------------------------------------ */

json_t *
nb_template_fail(run *r, enum nb_status status, const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (r->status == NB_OK)
        r->status = nb_fail(r->err, status, "the chat template %s", text);
    return NULL;
}

/* So that templates end, however often they double a text. */
json_t *
nb_template_made(run *r, json_t *value)
{
    r->bytes += json_is_object(value) ? 1024 : 64 + json_string_length(value) + 32 * json_array_size(value);
    if (r->bytes > MOST_BYTES) {
        json_decref(value);
        return nb_template_fail(r, NB_UNSUPPORTED, "makes more than %zu bytes of values", MOST_BYTES);
    }
    if (value == NULL || json_array_append_new(r->made, value) != 0)
        return nb_template_fail(r, NB_NO_MEMORY, "takes more memory than there is");
    return value;
}

void
nb_template_append(run *r, json_t *list, json_t *item)
{
    r->bytes += 32;
    if (r->bytes > MOST_BYTES)
        nb_template_fail(r, NB_UNSUPPORTED, "makes more than %zu bytes of values", MOST_BYTES);
    else if (json_array_append(list, item == NULL ? json_null() : item) != 0)
        nb_template_fail(r, NB_NO_MEMORY, "takes more memory than there is");
}

bool
nb_template_holds(const json_t *v)
{
    if (v == NULL || json_is_null(v) || json_is_false(v))
        return false;
    if (json_is_string(v))
        return json_string_length(v) > 0;
    if (json_is_array(v))
        return json_array_size(v) > 0;
    if (json_is_object(v))
        return json_object_size(v) > 0;
    return !json_is_number(v) || json_number_value(v) != 0;
}

const char *
nb_template_text(run *r, const json_t *v, size_t *length)
{
    char text[64] = "";
    json_t *made;

    if (json_is_string(v)) {
        *length = json_string_length(v);
        return json_string_value(v);
    }
    if (json_is_integer(v))
        snprintf(text, sizeof text, "%lld", (long long)json_integer_value(v));
    else if (json_is_real(v))
        snprintf(text, sizeof text, "%.17g", json_real_value(v));
    else if (json_is_boolean(v))
        snprintf(text, sizeof text, "%s", json_is_true(v) ? "True" : "False");
    else if (json_is_null(v))
        snprintf(text, sizeof text, "None");
    else if (v != NULL)
        nb_template_fail(r, NB_UNSUPPORTED, "prints a list or an object, which nibble does not do");
    made = nb_template_made(r, json_string(text));
    *length = json_string_length(made);
    return made == NULL ? "" : json_string_value(made);
}

static bool
goes_on(run *r)
{
    if (r->status == NB_OK && ++r->steps > MOST_STEPS)
        nb_template_fail(r, NB_UNSUPPORTED, "takes more than %u steps", MOST_STEPS);
    return r->status == NB_OK;
}

static void
print(run *r, const char *text, size_t length)
{
    if (r->length + length > MOST_BYTES) {
        nb_template_fail(r, NB_UNSUPPORTED, "makes more than %zu bytes of text", MOST_BYTES);
        return;
    }
    if (r->length + length + 1 > r->room) {
        const size_t room = 2 * (r->length + length + 1);
        char *grown = realloc(r->out, room);

        if (grown == NULL) {
            nb_template_fail(r, NB_NO_MEMORY, "takes more memory than there is");
            return;
        }
        r->out = grown;
        r->room = room;
    }
    memcpy(r->out + r->length, text, length);
    r->length += length;
    r->out[r->length] = '\0';
}

static bool
walk(run *r, const json_t *value, unsigned depth)
{
    const char *key;
    json_t *item;
    size_t i;

    if (depth > DEEPEST_VALUE) {
        nb_template_fail(r, NB_UNSUPPORTED, "has lists that are nested too deeply");
        return false;
    }
    json_array_foreach(value, i, item) {
        if (!goes_on(r) || !walk(r, item, depth + 1))
            return false;
    }
    json_object_foreach((json_t *)(uintptr_t)value, key, item) {
        if (!goes_on(r) || !walk(r, item, depth + 1))
            return false;
    }
    return true;
}

bool
nb_template_walk(run *r, const json_t *value)
{
    r->steps += json_string_length(value) / 64;
    return walk(r, value, 0);
}

/* What BODY prints, as a value. */
static json_t *
printed(run *r, const node *body)
{
    const size_t start = r->length;
    json_t *text;

    render(r, body);
    text = nb_template_made(r, json_stringn(r->length == 0 ? "" : r->out + start, r->length - start));
    r->length = start;
    return text;
}

/* --- names ------------------------------------------------------------------------------------------------------------ */

static json_t *
lookup(const run *r, const char *name)
{
    for (size_t i = json_array_size(r->frames); i-- > 0;) {
        json_t *value = json_object_get(json_array_get(r->frames, i), name);

        if (value != NULL)
            return value;
    }
    return NULL;
}

static void
assign(run *r, const char *name, json_t *value)
{
    json_t *frame = json_array_get(r->frames, json_array_size(r->frames) - 1);

    if (value == NULL)
        json_object_del(frame, name);
    else if (json_object_set(frame, name, value) != 0)
        nb_template_fail(r, NB_NO_MEMORY, "takes more memory than there is");
}

static void
push_frame(run *r)
{
    if (json_array_append_new(r->frames, json_object()) != 0)
        nb_template_fail(r, NB_NO_MEMORY, "takes more memory than there is");
}

static void
pop_frame(run *r)
{
    json_array_remove(r->frames, json_array_size(r->frames) - 1);
}

/* --- operators ---------------------------------------------------------------------------------------------------------- */

static json_t *
boolean(bool value)
{
    return value ? json_true() : json_false();
}

static bool
are_equal(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b))
        return json_number_value(a) == json_number_value(b);
    return a == NULL || b == NULL ? a == b : json_equal(a, b) != 0;
}

static bool
is_in(run *r, const json_t *a, const json_t *b)
{
    json_t *item;
    size_t i;

    if (json_is_string(a) && json_is_string(b))
        return strstr(json_string_value(b), json_string_value(a)) != NULL;
    if (json_is_string(a) && json_is_object(b))
        return json_object_get(b, json_string_value(a)) != NULL;
    if (b != NULL && !json_is_array(b)) {
        nb_template_fail(r, NB_UNSUPPORTED, "looks for a value in something that is no list");
        return false;
    }
    json_array_foreach(b, i, item) {
        if (are_equal(a, item))
            return true;
    }
    return false;
}

static json_t *
joined(run *r, const json_t *a, const json_t *b)
{
    size_t n, m;
    const char *first = nb_template_text(r, a, &n), *second = nb_template_text(r, b, &m);
    char *text = n + m > MOST_BYTES ? NULL : malloc(n + m + 1);
    json_t *value;

    if (text == NULL)
        return nb_template_fail(r, NB_UNSUPPORTED, "makes a text of more than %zu bytes", MOST_BYTES);
    memcpy(text, first, n);
    memcpy(text + n, second, m);
    value = nb_template_made(r, json_stringn(text, n + m));
    free(text);
    return value;
}

static json_t *
concatenated(run *r, json_t *a, json_t *b)
{
    json_t *list = nb_template_made(r, json_copy(a));

    if (list != NULL && json_array_extend(list, b) != 0)
        return nb_template_fail(r, NB_NO_MEMORY, "takes more memory than there is");
    return list;
}

static json_t *
computed(run *r, char operator, const json_t * a, const json_t *b)
{
    const json_int_t x = json_integer_value(a), y = json_integer_value(b);
    json_int_t result = 0;
    bool good = json_is_integer(a) && json_is_integer(b);

    if (operator== '+')
        good = good && !__builtin_add_overflow(x, y, &result);
    else if (operator== '-')
        good = good && !__builtin_sub_overflow(x, y, &result);
    else if (operator== '*')
        good = good && !__builtin_mul_overflow(x, y, &result);
    else
        good = good && y > 0 && x >= 0;
    if (!good)
        return nb_template_fail(r, NB_UNSUPPORTED, "computes '%c' with other than small whole numbers", operator);
    if (operator== '/')
        result = x / y;
    else if (operator== '%')
        result = x % y;
    return nb_template_made(r, json_integer(result));
}

static json_t *
compared(run *r, const char *o, const json_t *a, const json_t *b)
{
    double difference;

    if (json_is_number(a) && json_is_number(b)) {
        difference = json_number_value(a) - json_number_value(b);
    } else if (json_is_string(a) && json_is_string(b)) {
        difference = (double)strcmp(json_string_value(a), json_string_value(b));
    } else {
        return nb_template_fail(r, NB_UNSUPPORTED, "compares values of different kinds by '%s'", o);
    }
    return boolean(*o == '<' ? difference < 0 || (o[1] == '=' && difference == 0)
                             : difference > 0 || (o[1] == '=' && difference == 0));
}

static json_t *
binary(run *r, const node *n)
{
    const char *o = n->name;
    json_t *a = eval(r, n->a), *b;

    if (r->status != NB_OK)
        return NULL;
    if (strcmp(o, "and") == 0 && !nb_template_holds(a))
        return a;
    if (strcmp(o, "or") == 0 && nb_template_holds(a))
        return a;
    b = eval(r, n->b);
    if (r->status != NB_OK || !nb_template_walk(r, a) || !nb_template_walk(r, b))
        return NULL;
    if (strcmp(o, "and") == 0 || strcmp(o, "or") == 0)
        return b;
    if (strcmp(o, "==") == 0 || strcmp(o, "!=") == 0)
        return boolean(are_equal(a, b) == (*o == '='));
    if (strcmp(o, "in") == 0)
        return boolean(is_in(r, a, b));
    if (strcmp(o, "not in") == 0)
        return boolean(!is_in(r, a, b));
    if (*o == '<' || *o == '>')
        return compared(r, o, a, b);
    if (*o == '~' || (*o == '+' && json_is_string(a) && json_is_string(b)))
        return joined(r, a, b);
    if (*o == '+' && json_is_array(a) && json_is_array(b))
        return concatenated(r, a, b);
    if (strcmp(o, "/") == 0)
        return nb_template_fail(r, NB_UNSUPPORTED, "divides, which nibble does not do");
    return computed(r, *o, a, b);
}

/* --- parts of values ------------------------------------------------------------------------------------------------------ */

static json_t *
element(run *r, const node *n)
{
    json_t *of = eval(r, n->a), *at = eval(r, n->b);
    json_int_t i;

    if (json_is_object(of) && json_is_string(at))
        return json_object_get(of, json_string_value(at));
    if (!json_is_array(of) || !json_is_integer(at))
        return of == NULL || r->status != NB_OK
                   ? nb_template_fail(r, NB_UNSUPPORTED, "takes an element of a value that is not defined")
                   : nb_template_fail(r, NB_UNSUPPORTED, "takes an element of what is neither a list nor an object");
    i = json_integer_value(at);
    i += i < 0 ? (json_int_t)json_array_size(of) : 0;
    return i < 0 ? NULL : json_array_get(of, (size_t)i);
}

/* Where a slice of SIZE elements begins or ends: at the value of N, or at OTHERWISE. */
static json_int_t
bound(run *r, const node *n, json_int_t size, json_int_t otherwise)
{
    const json_t *value = n == NULL ? NULL : eval(r, n);
    json_int_t i;

    if (value == NULL || json_is_null(value))
        return otherwise;
    if (!json_is_integer(value))
        nb_template_fail(r, NB_UNSUPPORTED, "has a slice whose bounds are no whole numbers");
    i = json_integer_value(value);
    i += i < 0 ? size : 0;
    return i < 0 ? 0 : i > size ? size : i;
}

static json_t *
slice(run *r, const node *n)
{
    json_t *of = eval(r, n->a), *result;
    const json_t *step = n->d == NULL ? NULL : eval(r, n->d);
    const json_int_t by = step == NULL ? 1 : json_integer_value(step), size = (json_int_t)json_array_size(of);
    json_int_t from, to;

    if (!json_is_array(of) || (by != 1 && (by != -1 || n->b != NULL || n->c != NULL)))
        return nb_template_fail(r, NB_UNSUPPORTED, "has a slice of what is no list, or by steps");
    from = bound(r, n->b, size, 0);
    to = bound(r, n->c, size, size);
    result = nb_template_made(r, json_array());
    for (json_int_t i = from; i < to && r->status == NB_OK; i++)
        nb_template_append(r, result, json_array_get(of, (size_t)(by == 1 ? i : size - 1 - i)));
    return result;
}

static json_t *
container(run *r, const node *n)
{
    json_t *value = nb_template_made(r, n->kind == NB_NODE_LIST ? json_array() : json_object());

    for (const node *e = n->a; e != NULL && r->status == NB_OK; e = e->next) {
        json_t *item = eval(r, e), *key = item;

        if (n->kind == NB_NODE_OBJECT) {
            e = e->next;
            item = eval(r, e);
        }
        item = item == NULL ? json_null() : item;
        if (!nb_template_walk(r, item))
            return NULL;
        if (n->kind == NB_NODE_OBJECT && !json_is_string(key))
            return nb_template_fail(r, NB_UNSUPPORTED, "has an object whose keys are no texts");
        if (n->kind == NB_NODE_LIST)
            nb_template_append(r, value, item);
        else if (json_object_set(value, json_string_value(key), item) != 0)
            return nb_template_fail(r, NB_NO_MEMORY, "takes more memory than there is");
    }
    return value;
}

/* --- calls ------------------------------------------------------------------------------------------------------------------ */

static void
evaluate_arguments(run *r, const node *list, struct nb_template_arguments *a)
{
    a->count = 0;
    for (const node *n = list; n != NULL && r->status == NB_OK; n = n->next) {
        if (a->count == NB_TEMPLATE_ARGUMENTS) {
            nb_template_fail(r, NB_UNSUPPORTED, "calls a function with more than %u arguments", NB_TEMPLATE_ARGUMENTS);
            return;
        }
        a->name[a->count] = n->name2;
        a->value[a->count++] = eval(r, n);
    }
}

/* Names see what is set outside, and what is set inside ends with the call. */
static json_t *
call_macro(run *r, const node *macro, const struct nb_template_arguments *a)
{
    size_t place = 0;
    json_t *text;

    push_frame(r);
    for (const node *p = macro->a; p != NULL && r->status == NB_OK; p = p->next, place++) {
        json_t *value = p->a == NULL ? NULL : eval(r, p->a);

        for (size_t i = 0; i < a->count; i++)
            if (a->name[i] == NULL ? i == place : strcmp(a->name[i], p->name) == 0)
                value = a->value[i];
        assign(r, p->name, value == NULL ? json_null() : value);
    }
    text = printed(r, macro->b);
    pop_frame(r);
    return text;
}

static json_t *
call(run *r, const node *n)
{
    struct nb_template_arguments a;
    json_t *number, *of;

    evaluate_arguments(r, n->b, &a);
    if (r->status != NB_OK)
        return NULL;
    if (n->a->kind == NB_NODE_MEMBER) {
        of = eval(r, n->a->a);
        return r->status != NB_OK || !nb_template_walk(r, of) ? NULL : nb_template_method(r, n->a->name, of, &a);
    }
    if (n->a->kind != NB_NODE_NAME)
        return nb_template_fail(r, NB_UNSUPPORTED, "calls something that has no name");
    number = json_object_get(r->macros, n->a->name);
    return number != NULL ? call_macro(r, r->macro[json_integer_value(number)], &a)
                          : nb_template_function(r, n->a->name, &a);
}

/* --- expressions ------------------------------------------------------------------------------------------------------------ */

static json_t *
name(run *r, const node *n)
{
    json_t *value = lookup(r, n->name);

    /* Functions and macros are defined, but are no values that anything is done with. */
    return value == NULL && (nb_template_is_function(n->name) || json_object_get(r->macros, n->name) != NULL)
               ? json_true()
               : value;
}

static json_t *
member(run *r, const node *n)
{
    json_t *of = eval(r, n->a);

    if (r->status == NB_OK && of == NULL)
        return nb_template_fail(r, NB_UNSUPPORTED, "asks for '%s' of a value that is not defined", n->name);
    return json_is_object(of) ? json_object_get(of, n->name) : NULL;
}

static json_t *
eval_node(run *r, const node *n)
{
    struct nb_template_arguments a;
    json_t *value;

    switch (n->kind) {
    case NB_NODE_LITERAL:
        return n->value;
    case NB_NODE_NAME:
        return name(r, n);
    case NB_NODE_LIST:
    case NB_NODE_OBJECT:
        return container(r, n);
    case NB_NODE_ELEMENT:
        return element(r, n);
    case NB_NODE_SLICE:
        return slice(r, n);
    case NB_NODE_MEMBER:
        return member(r, n);
    case NB_NODE_CALL:
        return call(r, n);
    case NB_NODE_CHOICE:
        return nb_template_holds(eval(r, n->a)) ? eval(r, n->b) : n->c == NULL ? NULL : eval(r, n->c);
    case NB_NODE_BINARY:
        return binary(r, n);
    case NB_NODE_UNARY:
        value = eval(r, n->a);
        if (*n->name == 'n')
            return boolean(!nb_template_holds(value));
        return computed(r, '-', nb_template_made(r, json_integer(0)), value);
    case NB_NODE_FILTER:
    case NB_NODE_TEST:
        value = eval(r, n->a);
        evaluate_arguments(r, n->b, &a);
        if (r->status != NB_OK || !nb_template_walk(r, value))
            return NULL;
        return n->kind == NB_NODE_FILTER ? nb_template_filter(r, n->name, value, &a)
                                         : boolean(nb_template_test(r, n->name, value, &a));
    default:
        return NULL; /* a statement is none */
    }
}

static json_t *
eval(run *r, const node *n)
{
    json_t *value;

    if (n == NULL || !goes_on(r))
        return NULL;
    if (++r->depth > DEEPEST)
        return nb_template_fail(r, NB_UNSUPPORTED, "is nested too deeply");
    value = eval_node(r, n);
    r->depth--;
    return r->status == NB_OK ? value : NULL;
}

/* --- statements ---------------------------------------------------------------------------------------------------------------- */

/* What a loop goes over: a list, the keys of an object, or nothing. */
static json_t *
items(run *r, json_t *value)
{
    json_t *list;
    const char *key;
    json_t *unused;

    if (json_is_array(value) || r->status != NB_OK)
        return value;
    list = nb_template_made(r, json_array());
    if (value != NULL && !json_is_object(value))
        return nb_template_fail(r, NB_UNSUPPORTED, "loops over what is neither a list nor an object");
    json_object_foreach(value, key, unused) {
        nb_template_append(r, list, nb_template_made(r, json_string(key)));
    }
    return list;
}

static void
assign_item(run *r, const node *n, json_t *item)
{
    if (n->name2 == NULL) {
        assign(r, n->name, item);
        return;
    }
    if (json_array_size(item) != 2)
        nb_template_fail(r, NB_UNSUPPORTED, "loops with two names over what are no pairs");
    assign(r, n->name, json_array_get(item, 0));
    assign(r, n->name2, json_array_get(item, 1));
}

static void
assign_loop(run *r, json_t *list, size_t i)
{
    const size_t n = json_array_size(list);
    json_t *loop =
        nb_template_made(r, json_pack("{s:I, s:I, s:b, s:b, s:I, s:I, s:I}", "index", (json_int_t)i + 1, "index0",
                                      (json_int_t)i, "first", i == 0, "last", i + 1 == n, "length", (json_int_t)n,
                                      "revindex", (json_int_t)(n - i), "revindex0", (json_int_t)(n - i - 1)));

    if (loop == NULL || (i > 0 && json_object_set(loop, "previtem", json_array_get(list, i - 1)) != 0) ||
        (i + 1 < n && json_object_set(loop, "nextitem", json_array_get(list, i + 1)) != 0))
        nb_template_fail(r, NB_NO_MEMORY, "takes more memory than there is");
    else
        assign(r, "loop", loop);
}

/* The items of LIST for which the condition of the loop N holds. */
static json_t *
chosen(run *r, const node *n, json_t *list)
{
    json_t *result = nb_template_made(r, json_array()), *item;
    size_t i;

    json_array_foreach(list, i, item) {
        push_frame(r);
        assign_item(r, n, item);
        if (nb_template_holds(eval(r, n->c)))
            nb_template_append(r, result, item);
        pop_frame(r);
        if (r->status != NB_OK)
            break;
    }
    return result;
}

static void
loop(run *r, const node *n)
{
    json_t *list = items(r, eval(r, n->a));

    if (n->c != NULL && r->status == NB_OK)
        list = chosen(r, n, list);
    for (size_t i = 0; i < json_array_size(list) && r->status == NB_OK && r->jump != NB_BREAK; i++) {
        r->jump = NB_GO_ON;
        push_frame(r);
        assign_item(r, n, json_array_get(list, i));
        assign_loop(r, list, i);
        render(r, n->b);
        pop_frame(r);
    }
    r->jump = NB_GO_ON;
    if (json_array_size(list) == 0 && r->status == NB_OK)
        render(r, n->d);
}

static void
set(run *r, const node *n)
{
    json_t *value = n->a != NULL ? eval(r, n->a) : printed(r, n->b), *of;

    if (r->status != NB_OK)
        return;
    if (n->name2 == NULL) {
        assign(r, n->name, value);
        return;
    }
    of = lookup(r, n->name);
    if (!json_is_object(of))
        nb_template_fail(r, NB_UNSUPPORTED, "sets '%s.%s', but '%s' is no namespace", n->name, n->name2, n->name);
    else if (value == NULL)
        json_object_del(of, n->name2);
    else if (nb_template_walk(r, value) &&
             json_object_set_new(of, n->name2, json_deep_copy(value)) != 0) /* no cycles */
        nb_template_fail(r, NB_NO_MEMORY, "takes more memory than there is");
}

static void
define_macro(run *r, const node *n)
{
    const struct nb_template_node **grown = realloc(r->macro, (r->n_macros + 1) * sizeof(*r->macro));

    if (grown == NULL ||
        (r->macro = grown, json_object_set_new(r->macros, n->name, json_integer((json_int_t)r->n_macros)) != 0)) {
        nb_template_fail(r, NB_NO_MEMORY, "takes more memory than there is");
        return;
    }
    r->macro[r->n_macros++] = n;
}

static void
render_one(run *r, const node *n)
{
    const char *text;
    size_t length;
    json_t *value;

    switch (n->kind) {
    case NB_NODE_TEXT:
        print(r, json_string_value(n->value), json_string_length(n->value));
        break;
    case NB_NODE_OUTPUT:
        value = eval(r, n->a);
        if (r->status != NB_OK)
            break;
        text = nb_template_text(r, value, &length);
        print(r, text, length);
        break;
    case NB_NODE_IF:
        render(r, nb_template_holds(eval(r, n->a)) ? n->b : n->c);
        break;
    case NB_NODE_FOR:
        loop(r, n);
        break;
    case NB_NODE_SET:
        set(r, n);
        break;
    case NB_NODE_MACRO:
        define_macro(r, n);
        break;
    case NB_NODE_BREAK:
    case NB_NODE_CONTINUE:
        r->jump = n->kind == NB_NODE_BREAK ? NB_BREAK : NB_CONTINUE;
        break;
    default:
        break; /* an expression is none */
    }
}

static void
render(run *r, const node *n)
{
    if (++r->depth > DEEPEST)
        nb_template_fail(r, NB_UNSUPPORTED, "is nested too deeply");
    for (; n != NULL && goes_on(r) && r->jump == NB_GO_ON; n = n->next)
        render_one(r, n);
    r->depth--;
}

enum nb_status
nb_template_run(const struct nb_template *t, json_t *variables, char **text, struct nb_error *err)
{
    run r = { .made = json_array(), .frames = json_array(), .macros = json_object(), .err = err };

    *text = NULL;
    if (r.made == NULL || r.macros == NULL || json_array_append(r.frames, variables) != 0)
        r.status = nb_fail_memory(err);
    push_frame(&r);
    print(&r, "", 0);
    if (r.status == NB_OK)
        render(&r, t->body);
    json_decref(r.frames);
    json_decref(r.macros);
    json_decref(r.made);
    free(r.macro);
    if (r.status == NB_OK)
        *text = r.out;
    else
        free(r.out);
    return r.status;
}
