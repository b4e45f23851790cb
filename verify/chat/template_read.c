#include "verify/chat/template.h"

#include "formats/base/text.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEEPEST 100u /* parentheses and statements inside each other */

struct reader {
    struct nb_template *t;
    const char *text;
    size_t at, length;
    bool strips; /* white space after the last tag is dropped */
    unsigned depth;
    bool failed;
    struct nb_error *err;
};

typedef struct nb_template_node node;

static node *expression(struct reader *r);
static node *body(struct reader *r, const char *const *ends, const char **end);

/* --- help ------------------------------------------------------------------------------------------------------------ */

static void *refuse(struct reader *r, const char *format, ...) NB_PRINTF(2, 3);

/* Only the first of several sentences counts. */
static void *
refuse(struct reader *r, const char *format, ...)
{
    char text[256];
    va_list args;
    size_t line = 1;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (size_t i = 0; i < r->at && i < r->length; i++)
        line += r->text[i] == '\n';
    if (!r->failed)
        (void)nb_fail(r->err, NB_UNSUPPORTED, "the chat template, line %zu: %s", line, text);
    r->failed = true;
    return NULL;
}

static node *
new_node(struct reader *r, enum nb_template_node_kind kind)
{
    node *n = nb_arena_calloc(&r->t->arena, 1, sizeof *n);

    if (n == NULL) {
        if (!r->failed)
            (void)nb_fail_memory(r->err);
        r->failed = true;
        return NULL;
    }
    n->kind = kind;
    return n;
}

static node *
literal(struct reader *r, json_t *value)
{
    node *n = new_node(r, NB_NODE_LITERAL);

    if (value == NULL || json_array_append_new(r->t->values, value) != 0)
        return refuse(r, "out of memory, or a text that is not UTF-8");
    if (n != NULL)
        n->value = value;
    return n;
}

static void
skip_blanks(struct reader *r)
{
    while (r->at < r->length && isspace((unsigned char)r->text[r->at]))
        r->at++;
}

/* Whether WORD, a mark or a name, comes next; it is then taken. */
static bool
take(struct reader *r, const char *word)
{
    const size_t n = strlen(word);
    const bool is_name = isalpha((unsigned char)*word) != 0;

    skip_blanks(r);
    if (r->length - r->at < n || memcmp(r->text + r->at, word, n) != 0)
        return false;
    if (is_name && r->at + n < r->length && (isalnum((unsigned char)r->text[r->at + n]) || r->text[r->at + n] == '_'))
        return false;
    r->at += n;
    return true;
}

static bool
expect(struct reader *r, const char *word)
{
    if (!r->failed && !take(r, word))
        refuse(r, "'%s' is missing", word);
    return !r->failed;
}

static const char *
take_name(struct reader *r)
{
    size_t start;
    const char *name;

    skip_blanks(r);
    start = r->at;
    while (r->at < r->length && (isalnum((unsigned char)r->text[r->at]) || r->text[r->at] == '_'))
        r->at++;
    if (r->at == start || isdigit((unsigned char)r->text[start]))
        return refuse(r, "a name is missing");
    name = nb_arena_strndup(&r->t->arena, r->text + start, r->at - start);
    return name == NULL ? refuse(r, "out of memory") : name;
}

/* --- values ------------------------------------------------------------------------------------------------------------ */

/* The character of the escape at AT, whose first byte is behind the backslash; 0: there is none. */
static size_t
escaped(const char *at, size_t left, char *to)
{
    static const char letters[] = "ntr0\\'\"", meant[] = "\n\t\r\0\\'\"";
    const char *found = left == 0 || *at == '\0' ? NULL : strchr(letters, *at);

    *to = found == NULL ? '\0' : meant[found - letters];
    return found == NULL ? 0 : 1;
}

static node *
string_literal(struct reader *r)
{
    const char quote = r->text[r->at++];
    char *text = malloc(r->length - r->at + 1);
    size_t n = 0;
    node *result;

    while (text != NULL && r->at < r->length && r->text[r->at] != quote) {
        const char c = r->text[r->at++];
        const size_t taken = c == '\\' ? escaped(r->text + r->at, r->length - r->at, &text[n]) : 0;

        if (c == '\\' && taken == 0 && r->at < r->length && strchr("xuUN123", r->text[r->at]) != NULL) {
            free(text);
            return refuse(r, "'\\%c' in a text is not known", r->text[r->at]);
        }
        if (taken == 0)
            text[n] = c;
        n++;
        r->at += taken;
    }
    if (text == NULL || r->at == r->length) {
        free(text);
        return refuse(r, "a text has no end");
    }
    r->at++;
    result = literal(r, json_stringn(text, n));
    free(text);
    return result;
}

static node *
number_literal(struct reader *r)
{
    char *end;
    char digits[64];
    size_t n = 0;

    while (n < sizeof digits - 1 && r->at + n < r->length &&
           (isdigit((unsigned char)r->text[r->at + n]) || r->text[r->at + n] == '.')) {
        digits[n] = r->text[r->at + n];
        n++;
    }
    digits[n] = '\0';
    r->at += n;
    return strchr(digits, '.') == NULL ? literal(r, json_integer(strtoll(digits, &end, 10)))
                                       : literal(r, json_real(strtod(digits, &end)));
}

/* Expressions up to the mark END, separated by commas; with KEYS, 'a: b' gives two. Of calls, 'a=b' has a name. */
static node *
expressions(struct reader *r, const char *end, bool keys)
{
    node *first = NULL, **last = &first;

    while (!r->failed && !take(r, end)) {
        const size_t before = r->at;
        const char *keyword = NULL;

        skip_blanks(r);
        if (*end == ')' && r->at < r->length && (isalpha((unsigned char)r->text[r->at]) || r->text[r->at] == '_')) {
            keyword = take_name(r);
            skip_blanks(r);
            if (r->at + 1 < r->length && r->text[r->at] == '=' && r->text[r->at + 1] != '=') {
                r->at++;
            } else {
                keyword = NULL;
                r->at = before;
            }
        }
        *last = expression(r);
        if (*last == NULL)
            return NULL;
        if (keyword != NULL)
            (*last)->name2 = keyword;
        last = &(*last)->next;
        if (keys && expect(r, ":")) {
            *last = expression(r);
            if (*last == NULL)
                return NULL;
            last = &(*last)->next;
        }
        if (!take(r, ",") && expect(r, end))
            break;
    }
    return first;
}

static node *
parenthesis(struct reader *r)
{
    node *first = expression(r), *list;

    if (first == NULL || take(r, ")"))
        return first;
    if (!expect(r, ","))
        return NULL;
    list = new_node(r, NB_NODE_LIST);
    if (list == NULL)
        return NULL;
    first->next = expressions(r, ")", false);
    list->a = first;
    return r->failed ? NULL : list;
}

static node *
container(struct reader *r, enum nb_template_node_kind kind, const char *end)
{
    node *n = new_node(r, kind);

    if (n != NULL)
        n->a = expressions(r, end, kind == NB_NODE_OBJECT);
    return r->failed ? NULL : n;
}

static node *
primary(struct reader *r)
{
    static const struct {
        const char *word;
        int kind; /* 0: none, 1: true, 2: false */
    } words[] = { { "none", 0 }, { "None", 0 }, { "true", 1 }, { "True", 1 }, { "false", 2 }, { "False", 2 } };
    node *n;
    char c;

    skip_blanks(r);
    c = r->at < r->length ? r->text[r->at] : '\0';
    if (c == '\'' || c == '"')
        return string_literal(r);
    if (isdigit((unsigned char)c))
        return number_literal(r);
    if (take(r, "("))
        return parenthesis(r);
    if (take(r, "["))
        return container(r, NB_NODE_LIST, "]");
    if (take(r, "{"))
        return container(r, NB_NODE_OBJECT, "}");
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (take(r, words[i].word))
            return literal(r, words[i].kind == 0 ? json_null() : json_boolean(words[i].kind == 1));
    n = new_node(r, NB_NODE_NAME);
    if (n != NULL)
        n->name = take_name(r);
    return r->failed ? NULL : n;
}

/* --- what follows a value ---------------------------------------------------------------------------------------------- */

static node *
part_of_slice(struct reader *r)
{
    skip_blanks(r);
    return r->at < r->length && (r->text[r->at] == ':' || r->text[r->at] == ']') ? NULL : expression(r);
}

static node *
element(struct reader *r, node *of)
{
    node *n = new_node(r, NB_NODE_ELEMENT);

    if (n == NULL)
        return NULL;
    n->a = of;
    n->b = part_of_slice(r);
    if (take(r, ":")) {
        n->kind = NB_NODE_SLICE;
        n->c = part_of_slice(r);
        if (take(r, ":"))
            n->d = part_of_slice(r);
    }
    return expect(r, "]") ? n : NULL;
}

static node *
named(struct reader *r, enum nb_template_node_kind kind, node *of)
{
    node *n = new_node(r, kind);

    if (n == NULL)
        return NULL;
    n->a = of;
    n->name = take_name(r);
    if (kind == NB_NODE_FILTER && take(r, "("))
        n->b = expressions(r, ")", false);
    return r->failed ? NULL : n;
}

static node *postfix(struct reader *r);

/* "is NAME", "is not NAME", with an argument that may have no parentheses. */
static node *
test(struct reader *r, node *of)
{
    const bool negated = take(r, "not");
    node *n = ++r->depth > DEEPEST ? refuse(r, "it is nested too deeply") : named(r, NB_NODE_TEST, of), *whole;

    if (n == NULL)
        return NULL;
    if (take(r, "("))
        n->b = expressions(r, ")", false);
    else if (strcmp(n->name, "equalto") == 0 || strcmp(n->name, "eq") == 0 || strcmp(n->name, "in") == 0 ||
             strcmp(n->name, "divisibleby") == 0)
        n->b = postfix(r);
    r->depth--;
    if (!negated || r->failed)
        return r->failed ? NULL : n;
    whole = new_node(r, NB_NODE_UNARY);
    if (whole != NULL) {
        whole->name = "not";
        whole->a = n;
    }
    return whole;
}

static node *
postfix(struct reader *r)
{
    node *n = primary(r), *call;

    while (n != NULL && !r->failed) {
        skip_blanks(r);
        if (take(r, ".")) {
            n = named(r, NB_NODE_MEMBER, n);
        } else if (take(r, "[")) {
            n = element(r, n);
        } else if (take(r, "(")) {
            call = new_node(r, NB_NODE_CALL);
            if (call == NULL)
                return NULL;
            call->a = n;
            call->b = expressions(r, ")", false);
            n = call;
        } else if (take(r, "|")) {
            n = named(r, NB_NODE_FILTER, n);
        } else if (take(r, "is")) {
            n = test(r, n);
        } else {
            break;
        }
    }
    return r->failed ? NULL : n;
}

/* --- operators ----------------------------------------------------------------------------------------------------------- */

static node *
unary(struct reader *r)
{
    node *n;

    skip_blanks(r);
    if (r->at + 1 < r->length && r->text[r->at] == '-' && r->text[r->at + 1] != '%' && r->text[r->at + 1] != '}') {
        n = new_node(r, NB_NODE_UNARY);
        r->at++;
        if (n == NULL)
            return NULL;
        n->name = "-";
        if (++r->depth > DEEPEST)
            return refuse(r, "it is nested too deeply");
        n->a = unary(r);
        r->depth--;
        return n->a == NULL ? NULL : n;
    }
    return postfix(r);
}

/* Whether one of OPERATORS, which ends with NULL, comes next, and is not the beginning of a tag's end. */
static const char *
take_operator(struct reader *r, const char *const *operators)
{
    skip_blanks(r);
    for (size_t i = 0; operators[i] != NULL; i++) {
        const char *o = operators[i];
        const size_t before = r->at;

        if (strcmp(o, "not in") == 0) {
            if (take(r, "not") && take(r, "in"))
                return o;
            r->at = before;
            continue;
        }
        if (!take(r, o))
            continue;
        if ((*o == '-' || *o == '%') && r->at < r->length && (r->text[r->at] == '}' || r->text[r->at] == '%')) {
            r->at = before;
            return NULL;
        }
        return o;
    }
    return NULL;
}

static const char *const levels[][8] = {
    { "or", NULL },     { "and", NULL }, { "==", "!=", "<=", ">=", "<", ">", "not in", "in" },
    { "+", "-", NULL }, { "~", NULL },   { "*", "//", "/", "%", NULL },
};
#define COMPARISON 2u
#define N_LEVELS (sizeof levels / sizeof levels[0])

static node *
binary(struct reader *r, size_t level)
{
    const char *operators[9] = { NULL }, *o;
    node *n, *whole;

    if (level == N_LEVELS)
        return unary(r);
    if (level == COMPARISON && take(r, "not")) {
        whole = new_node(r, NB_NODE_UNARY);
        if (whole == NULL)
            return NULL;
        whole->name = "not";
        if (++r->depth > DEEPEST)
            return refuse(r, "it is nested too deeply");
        whole->a = binary(r, level);
        r->depth--;
        return whole->a == NULL ? NULL : whole;
    }
    memcpy(operators, levels[level], sizeof levels[level]);
    n = binary(r, level + 1);
    while (n != NULL && (o = take_operator(r, operators)) != NULL) {
        whole = new_node(r, NB_NODE_BINARY);
        if (whole == NULL)
            return NULL;
        whole->name = o;
        whole->a = n;
        whole->b = binary(r, level + 1);
        n = whole->b == NULL ? NULL : whole;
        if (level == COMPARISON && n != NULL && take_operator(r, operators) != NULL)
            return refuse(r, "comparisons in a chain are not known");
    }
    return n;
}

static node *
expression(struct reader *r)
{
    node *n, *choice;

    if (++r->depth > DEEPEST)
        return refuse(r, "it is nested too deeply");
    n = binary(r, 0);
    while (n != NULL && take(r, "if")) {
        choice = new_node(r, NB_NODE_CHOICE);
        if (choice == NULL)
            return NULL;
        choice->b = n;
        choice->a = binary(r, 0);
        if (choice->a != NULL && take(r, "else"))
            choice->c = expression(r);
        n = r->failed ? NULL : choice;
    }
    r->depth--;
    return r->failed ? NULL : n;
}

/* --- statements ------------------------------------------------------------------------------------------------------------ */

/* The end of a tag, "%}", before which there may be "-" or "+"; a line feed behind it is dropped, or all white space. */
static bool
end_tag(struct reader *r, const char *mark)
{
    const bool is_block = *mark != '}';
    bool keeps = false;

    skip_blanks(r);
    r->strips = r->at < r->length && r->text[r->at] == '-';
    if (r->at < r->length && (r->text[r->at] == '-' || r->text[r->at] == '+'))
        keeps = r->text[r->at++] == '+';
    if (r->failed || r->length - r->at < 2 || memcmp(r->text + r->at, mark, 2) != 0) {
        refuse(r, "'%s' is missing, or what is before it is not known", mark);
        return false;
    }
    r->at += 2;
    if (is_block && !keeps && !r->strips && r->at < r->length && r->text[r->at] == '\n')
        r->at++;
    return true;
}

static node *
if_statement(struct reader *r)
{
    static const char *const ends[] = { "elif", "else", "endif", NULL };
    node *n = new_node(r, NB_NODE_IF);
    const char *end = "";

    if (n == NULL)
        return NULL;
    n->a = expression(r);
    if (n->a == NULL || !end_tag(r, "%}"))
        return NULL;
    n->b = body(r, ends, &end);
    if (r->failed)
        return NULL;
    if (strcmp(end, "elif") == 0) {
        if (++r->depth > DEEPEST)
            return refuse(r, "it is nested too deeply");
        n->c = if_statement(r);
        r->depth--;
        return n->c == NULL ? NULL : n;
    }
    if (strcmp(end, "else") == 0) {
        if (!end_tag(r, "%}"))
            return NULL;
        n->c = body(r, ends + 2, &end);
    }
    return end_tag(r, "%}") ? n : NULL;
}

static node *
for_statement(struct reader *r)
{
    static const char *const ends[] = { "else", "endfor", NULL };
    node *n = new_node(r, NB_NODE_FOR);
    const char *end = "";

    if (n == NULL)
        return NULL;
    n->name = take_name(r);
    if (take(r, ","))
        n->name2 = take_name(r);
    if (r->failed || !expect(r, "in"))
        return NULL;
    n->a = binary(r, 0); /* an "if" behind it is the loop's */
    if (n->a != NULL && take(r, "if"))
        n->c = expression(r);
    if (r->failed || !end_tag(r, "%}"))
        return NULL;
    n->b = body(r, ends, &end);
    if (!r->failed && strcmp(end, "else") == 0 && end_tag(r, "%}"))
        n->d = body(r, ends + 1, &end);
    return !r->failed && end_tag(r, "%}") ? n : NULL;
}

static node *
set_statement(struct reader *r)
{
    static const char *const ends[] = { "endset", NULL };
    node *n = new_node(r, NB_NODE_SET);
    const char *end = "";

    if (n == NULL)
        return NULL;
    n->name = take_name(r);
    if (!r->failed && take(r, "."))
        n->name2 = take_name(r);
    if (r->failed)
        return NULL;
    if (take(r, "=")) {
        n->a = expression(r);
        return n->a != NULL && end_tag(r, "%}") ? n : NULL;
    }
    if (!end_tag(r, "%}"))
        return NULL;
    n->b = body(r, ends, &end);
    return !r->failed && end_tag(r, "%}") ? n : NULL;
}

/* Parameters are names, each with a default as its A, or none. */
static node *
parameters(struct reader *r)
{
    node *first = NULL, **last = &first;

    while (!r->failed && !take(r, ")")) {
        *last = new_node(r, NB_NODE_NAME);
        if (*last == NULL)
            return NULL;
        (*last)->name = take_name(r);
        if (!r->failed && take(r, "="))
            (*last)->a = expression(r);
        last = &(*last)->next;
        if (!r->failed && !take(r, ",") && expect(r, ")"))
            break;
    }
    return first;
}

static node *
macro_statement(struct reader *r)
{
    static const char *const ends[] = { "endmacro", NULL };
    node *n = new_node(r, NB_NODE_MACRO);
    const char *end = "";

    if (n == NULL)
        return NULL;
    n->name = take_name(r);
    if (!expect(r, "("))
        return NULL;
    n->a = parameters(r);
    if (r->failed || !end_tag(r, "%}"))
        return NULL;
    n->b = body(r, ends, &end);
    return !r->failed && end_tag(r, "%}") ? n : NULL;
}

/* What transformers marks for training is there for nothing else. */
static node *
generation_statement(struct reader *r)
{
    static const char *const ends[] = { "endgeneration", NULL };
    node *n = new_node(r, NB_NODE_IF);
    const char *end = "";

    if (n == NULL || !end_tag(r, "%}"))
        return NULL;
    n->a = literal(r, json_true());
    n->b = body(r, ends, &end);
    return !r->failed && end_tag(r, "%}") ? n : NULL;
}

static node *
jump(struct reader *r, enum nb_template_node_kind kind)
{
    node *n = new_node(r, kind);

    return n != NULL && end_tag(r, "%}") ? n : NULL;
}

static node *
statement(struct reader *r, const char *word)
{
    node *n = NULL;

    if (++r->depth > DEEPEST)
        return refuse(r, "it is nested too deeply");
    if (strcmp(word, "if") == 0)
        n = if_statement(r);
    else if (strcmp(word, "for") == 0)
        n = for_statement(r);
    else if (strcmp(word, "set") == 0)
        n = set_statement(r);
    else if (strcmp(word, "macro") == 0)
        n = macro_statement(r);
    else if (strcmp(word, "generation") == 0)
        n = generation_statement(r);
    else if (strcmp(word, "break") == 0 || strcmp(word, "continue") == 0)
        n = jump(r, *word == 'b' ? NB_NODE_BREAK : NB_NODE_CONTINUE);
    else
        refuse(r, "the statement '%s' is not known", word);
    r->depth--;
    return n;
}

/* --- bodies ------------------------------------------------------------------------------------------------------------------ */

static bool
begins_tag(const struct reader *r, size_t at)
{
    return at + 1 < r->length && r->text[at] == '{' &&
           (r->text[at + 1] == '{' || r->text[at + 1] == '%' || r->text[at + 1] == '#');
}

/* The text before the next tag, without the white space that the tags before and behind it drop. */
static node *
text(struct reader *r)
{
    size_t start = r->at, end, line;
    node *n;

    while (r->strips && start < r->length && isspace((unsigned char)r->text[start]))
        start++;
    for (end = start; end < r->length && !begins_tag(r, end);)
        end++;
    r->at = end;
    if (end + 2 < r->length && r->text[end + 2] == '-') {
        while (end > start && isspace((unsigned char)r->text[end - 1]))
            end--;
    } else if (end + 2 < r->length && r->text[end + 1] != '{' && r->text[end + 2] != '+') {
        for (line = end; line > start && (r->text[line - 1] == ' ' || r->text[line - 1] == '\t');)
            line--;
        if (line == 0 || r->text[line - 1] == '\n') /* the tag is the first on its line */
            end = line;
    }
    if (end == start)
        return NULL;
    n = literal(r, json_stringn(r->text + start, end - start));
    if (n != NULL)
        n->kind = NB_NODE_TEXT;
    return n;
}

static void
skip_comment(struct reader *r)
{
    while (r->at + 1 < r->length && (r->text[r->at] != '#' || r->text[r->at + 1] != '}'))
        r->at++;
    if (r->at > 0 && r->text[r->at - 1] == '-')
        r->at--;
    (void)end_tag(r, "#}");
}

/* Takes the "{%" or "{{" before R, with "-" or "+". */
static void
begin_tag(struct reader *r)
{
    r->at += 2;
    if (r->at < r->length && (r->text[r->at] == '-' || r->text[r->at] == '+'))
        r->at++;
}

static node *
output(struct reader *r)
{
    node *n = new_node(r, NB_NODE_OUTPUT);

    if (n == NULL)
        return NULL;
    n->a = expression(r);
    return n->a != NULL && end_tag(r, "}}") ? n : NULL;
}

/* The nodes up to a statement that is one of ENDS, which goes to *END; where there are none, up to the end of the text. */
static node *
body(struct reader *r, const char *const *ends, const char **end)
{
    node *first = NULL, **last = &first;

    while (!r->failed) {
        const char *word;
        char kind;

        *last = text(r);
        last = *last == NULL ? last : &(*last)->next;
        if (r->failed)
            break;
        if (r->at >= r->length) {
            if (ends != NULL)
                refuse(r, "'%s' is missing", *ends);
            break;
        }
        kind = r->text[r->at + 1];
        begin_tag(r);
        if (kind == '#') {
            skip_comment(r);
            continue;
        }
        if (kind == '{') {
            *last = output(r);
        } else {
            word = take_name(r);
            for (size_t i = 0; word != NULL && ends != NULL && ends[i] != NULL; i++)
                if (strcmp(word, ends[i]) == 0) {
                    *end = ends[i];
                    return first;
                }
            *last = word == NULL ? NULL : statement(r, word);
        }
        last = *last == NULL ? last : &(*last)->next;
    }
    return first;
}

enum nb_status
nb_template_read(struct nb_template *t, const char *bytes, size_t length, struct nb_error *err)
{
    struct reader r = { .t = t, .text = bytes, .length = length, .err = err };

    *t = (struct nb_template){ .values = json_array() };
    if (t->values == NULL)
        return nb_fail_memory(err);
    if (!nb_utf8_valid(bytes, length))
        return nb_fail(err, NB_INPUT, "the chat template is not UTF-8 text");
    r.length -= length > 0 && bytes[length - 1] == '\n'; /* Jinja drops the last one */
    t->body = body(&r, NULL, NULL);
    return r.failed ? err->status : NB_OK;
}

void
nb_template_free(struct nb_template *t)
{
    json_decref(t->values);
    nb_arena_free(&t->arena);
    *t = (struct nb_template){ 0 };
}
