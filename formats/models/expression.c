#include "formats/models/expression.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct parser {
    const char *at;
    const struct nb_hparams *hp; /* NULL: only check the syntax */
    uint64_t layer;
    bool malformed;
    bool by_layer; /* the value may differ by layer */
};

/* By rising precedence; an operator stands before its own prefixes (">=" before ">"). */
static const struct operator
{
    const char *text;
    int level;
}
operators[] = {
    { "||", 0 }, { "&&", 1 }, { "==", 2 }, { "!=", 2 }, { "<=", 2 }, { ">=", 2 }, { "<", 2 }, { ">", 2 },
    { "+", 3 },  { "-", 3 },  { "//", 4 }, { "*", 4 },  { "/", 4 },  { "%", 4 },  { "^", 5 },
};

#define TIGHTEST 5

static void
skip_spaces(struct parser *p)
{
    while (*p->at == ' ')
        p->at++;
}

static double parse(struct parser *p, int level);

static size_t
name_length(const char *name)
{
    size_t length = 0;

    while (isalnum((unsigned char)name[length]) || name[length] == '_')
        length++;
    return length;
}

/* "NAME)" of "any(NAME)". */
static double
parse_any(struct parser *p)
{
    const size_t length = name_length(p->at);
    const enum nb_hparam hparam = nb_hparam_by_name(p->at, length);

    p->malformed = p->malformed || hparam == NB_HPARAMS || p->at[length] != ')';
    if (p->malformed)
        return 0;
    p->at += length + 1;
    return p->hp == NULL || nb_hp(p->hp, hparam) != 0;
}

static double
parse_name(struct parser *p)
{
    const char *name = p->at;
    const size_t length = name_length(name);
    enum nb_hparam hparam;

    p->at += length;
    if (length == strlen("any") && strncmp(name, "any(", length + 1) == 0) {
        p->at++;
        return parse_any(p);
    }
    if (length == strlen("layer") && strncmp(name, "layer", length) == 0) {
        p->by_layer = true;
        return (double)p->layer;
    }
    hparam = nb_hparam_by_name(name, length);
    if (hparam == NB_HPARAMS) {
        p->malformed = true;
        return 0;
    }
    if (p->hp == NULL)
        return 1;
    p->by_layer = p->by_layer || p->hp->value[hparam].each != NULL;
    return nb_hp_at(p->hp, hparam, p->layer);
}

static double
parse_operand(struct parser *p)
{
    double value;
    char *end;

    skip_spaces(p);
    if (*p->at == '(') {
        p->at++;
        value = parse(p, 0);
        skip_spaces(p);
        p->malformed = p->malformed || *p->at != ')';
        p->at += *p->at == ')';
        return value;
    }
    if (*p->at == '-' || *p->at == '!') {
        const char sign = *p->at++;

        value = parse_operand(p);
        return sign == '-' ? -value : value == 0;
    }
    if (isdigit((unsigned char)*p->at)) {
        value = strtod(p->at, &end);
        p->at = end;
        return value;
    }
    return parse_name(p);
}

static double
apply(const char *operator, double a, double b)
{
    switch (operator[0]) {
    case '|':
        return a != 0 || b != 0;
    case '&':
        return a != 0 && b != 0;
    case '=':
        return a == b;
    case '!':
        return a != b;
    case '<':
        return operator[1] == '=' ? a <= b : a<b;
    case '>':
        return operator[1] == '=' ? a >= b : a> b;
    case '+':
        return a + b;
    case '-':
        return a - b;
    case '*':
        return a * b;
    case '^':
        return pow(a, b);
    case '%':
        return b == 0 ? NAN : fmod(a, b);
    default:
        if (b == 0)
            return NAN;
        return operator[1] == '/' ? floor(a / b) : a / b;
    }
}

/* The next operator if it is of LEVEL, or NULL. */
static const char *
take_operator(struct parser *p, int level)
{
    skip_spaces(p);
    for (size_t i = 0; i < sizeof operators / sizeof operators[0]; i++) {
        if (strncmp(p->at, operators[i].text, strlen(operators[i].text)) != 0)
            continue;
        if (operators[i].level != level)
            return NULL;
        p->at += strlen(operators[i].text);
        return operators[i].text;
    }
    return NULL;
}

static double
parse(struct parser *p, int level)
{
    double value = level == TIGHTEST ? parse_operand(p) : parse(p, level + 1);
    const char *operator;

    while (!p->malformed && (operator= take_operator(p, level)) != NULL)
        value = apply(operator, value, level == TIGHTEST ? parse_operand(p) : parse(p, level + 1));
    return value;
}

static double
evaluate(const char *text, const struct nb_hparams *hp, uint64_t layer, bool *malformed)
{
    struct parser p = { .at = text, .hp = hp, .layer = layer };
    const double value = parse(&p, 0);

    skip_spaces(&p);
    *malformed = p.malformed || *p.at != '\0';
    return value;
}

double
nb_expression(const char *text, const struct nb_hparams *hp, uint64_t layer)
{
    bool malformed;
    const double value = evaluate(text, hp, layer, &malformed);

    return malformed ? NAN : value;
}

bool
nb_expression_count(const char *text, const struct nb_hparams *hp, uint64_t layer, uint64_t *out)
{
    const double value = nb_expression(text, hp, layer);

    if (!(value >= 0 && value <= 0x1p53) || value != floor(value))
        return false;
    *out = (uint64_t)value;
    return true;
}

bool
nb_expression_holds(const char *text, const struct nb_hparams *hp, uint64_t layer)
{
    return text == NULL || nb_expression(text, hp, layer) != 0;
}

bool
nb_expression_is_by_layer(const char *text, const struct nb_hparams *hp)
{
    struct parser p = { .at = text, .hp = hp };

    (void)parse(&p, 0);
    return p.by_layer;
}

enum nb_status
nb_expression_set(const char *text, struct nb_hparams *hp, enum nb_hparam hparam, struct nb_error *err)
{
    const enum nb_hparam_form form = nb_hparam_info(hparam)->form;
    const double layers = fmin(nb_hp(hp, NB_HP_LAYERS), NB_MAX_LAYERS);
    double numbers[NB_MAX_LAYERS];
    enum nb_status status;

    for (unsigned i = 0; i == 0 || i < layers; i++) {
        numbers[i] = nb_expression(text, hp, i);
        numbers[i] = isfinite(numbers[i]) ? numbers[i] : 0;
    }
    if (form == NB_HP_FORM_ONE || !nb_expression_is_by_layer(text, hp)) {
        nb_hp_set(hp, hparam, numbers[0], false);
        return NB_OK;
    }
    status = nb_hp_set_each(hp, hparam, numbers, (size_t)layers, false, err);
    hp->value[hparam].flags = form == NB_HP_FORM_ANY; /* patterns */
    return status;
}

bool
nb_expression_is_valid(const char *text)
{
    bool malformed;

    (void)evaluate(text, NULL, 0, &malformed);
    return !malformed;
}
