/*
 * Chat templates: what Jinja makes of them in transformers' settings, refusals of all that is not known, and templates that
 * would never end or take all memory.
 */
#include "formats/base/status.h"
#include "scratch.h"
#include "testing.h"
#include "verify/chat/template.h"

#include <jansson.h>

#define SAMPLE SAMPLE_DATA "/tinystories-3m"
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* What TEMPLATE prints, from malloc; NULL, and the sentence in ERR, if it is refused. */
static char *
rendered(const char *template, struct nb_error *err)
{
    json_t *variables = json_pack("{s:[{s:s, s:s}], s:b, s:n, s:n, s:s, s:s}", "messages", "role", "user", "content",
                                  " Hi <there> ", "add_generation_prompt", 1, "tools", "documents", "bos_token", "<s>",
                                  "eos_token", "</s>");
    struct nb_template t;
    char *text = NULL;
    enum nb_status status;

    assert_non_null(variables);
    status = nb_template_read(&t, template, strlen(template), err);
    if (status == NB_OK)
        status = nb_template_run(&t, variables, &text, err);
    assert_true((status == NB_OK) == (text != NULL));
    nb_template_free(&t);
    json_decref(variables);
    return text;
}

/* The second column is what Jinja2 3.1 makes of the first, with trim_blocks, lstrip_blocks and loop controls. */
static void
templates_are_rendered_as_by_jinja(void **unused)
{
    /* clang-format off */
    static const char *const cases[][2] = {
        { "a\n  {% if true %}\n  b\n  {% endif %}\nc\n", "a\n  b\nc" },
        { "x  {%- if true -%}  y  {%- endif -%}  z", "xyz" },
        { "a {#- note -#} b{# more #}\nc", "abc" },
        { "{{ bos_token }}{% for m in messages %}{{ m['role'] + ': ' + m.content|trim }}{{ eos_token }}{% endfor %}", "<s>user: Hi <there></s>" },
        { "{{ messages[0]['content'].strip().upper() ~ messages[-1].role[0:1]|length if false else messages|length }}", "1" },
        { "{% for m in messages if m.role == 'system' %}{{ m.content }}{% else %}none{% endfor %}", "none" },
        { "{% set ns = namespace(n=0, last='') %}{% for i in range(5) %}{% if i is odd %}{% continue %}{% endif %}{% if i > 3 %}{% break %}{% endif %}{% set ns.n = ns.n + i %}{% set ns.last = loop.index ~ loop.first ~ loop.last %}{% endfor %}{{ ns.n }} {{ ns.last }}", "2 3FalseFalse" },
        { "{% macro tag(name, text='?', end=true) %}<{{ name }}>{{ text }}{% if end %}</{{ name }}>{% endif %}{% endmacro %}{{ tag('a') }}{{ tag('b', 'x', end=false) }}{{ tag(name='c', text=1) }}", "<a>?</a><b>x<c>1</c>" },
        { "{% set x = 1 %}{% for i in [1, 2] %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}", "231" },
        { "{% set text %}a{{ 1 + 1 }}{% endset %}[{{ text }}]", "[a2]" },
        { "{{ {'a': [1, 2.5, none, true], 'b': '\xC3""\xA9""\"'} | tojson }}", "{\"a\": [1, 2.5, null, true], \"b\": \"\xC3""\xA9""\\\"\"}" },
        { "{{ {'a': [1]} | tojson(indent=2) }}", "{\n  \"a\": [\n    1\n  ]\n}" },
        { "{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}={{ v }}{{ ',' if not loop.last }}{% endfor %}", "a=1,b=2" },
        { "{% for k, v in {'a': 1, 'b': 2}|items %}{{ k }}{{ v }}{% endfor %}", "a1b2" },
        { "{{ 'abc' in 'xabcx' }} {{ 'a' in ['b', 'a'] }} {{ 'c' not in {'a': 1} }} {{ 1 in [1.0] }} {{ 3 in missing }}", "True True True True False" },
        { "{{ missing is defined }} {{ tools is none }} {{ missing|default('d') }} {{ ''|default('e', true) }} {{ tools is not none and tools|length }}", "False True d e False" },
        { "{{ raise_exception is defined }} {{ messages is iterable }} {{ messages[0] is mapping }} {{ 'a' is string }} {{ 1 is number }} {{ true is boolean }} {{ 'a' is eq 'a' }}", "True True True True True True True" },
        { "{{ 'a,b,,c'.split(',') | join('+') }} {{ ' a  b '.split() | join('+') }} {{ 'aXbX'.replace('X', '--') }} {{ 'a b'|replace(' ', '') }}", "a+b++c a+b a--b-- ab" },
        { "{{ 'xxaxx'.strip('x') }} {{ 'xxaxx'.lstrip('x') }} {{ 'xxaxx'.rstrip('x') }} {{ 'abc'.startswith('ab') }} {{ 'abc'.endswith('bc') }} {{ 'hello wORLD'.title() }} {{ 'hELLO'|capitalize }} {{ 'aB'|lower }}", "a axx xxa True True Hello World Hello ab" },
        { "{{ messages|map(attribute='role')|join(',') }} {{ ['a', 'b']|map('upper')|join }} {{ messages|selectattr('role', 'equalto', 'user')|list|length }} {{ messages|rejectattr('role', 'eq', 'user')|list|length }} {{ tools|selectattr('x')|list|length }}", "user AB 1 0 0" },
        { "{{ [1, 2, 3][1:]|join(',') }} {{ [1, 2, 3][:-1]|join(',') }} {{ [1, 2, 3][::-1]|join(',') }} {{ [1, 2, 3]|last }} {{ [1, 2, 3]|first }} {{ ([1] + [2])|length }}", "2,3 1,2 3,2,1 3 1 2" },
        { "{{ none }} {{ true }} {{ 1.5 }} {{ missing }} {{ 'its' }} {{ \"a\\n\\\"b\\\"\" }}", "None True 1.5  its a\n\"b\"" },
        { "{{ messages[0].get('role') }} {{ messages[0].get('x', 'no') }} {{ messages[0].get('x') }} {{ messages[0].x is defined }} {{ '12'|int + 1 }} {{ 3|string ~ 4 }}", "user no None False 13 34" },
        { "{% if tools %}a{% elif messages|length > 1 %}b{% elif messages %}c{% else %}d{% endif %}", "c" },
        { "{% for m in messages %}{{ loop.previtem is defined }}{{ loop.nextitem is defined }}{{ loop.index0 }}{{ loop.length }}{{ loop.revindex }}{% endfor %}", "FalseFalse011" },
        { "line one   \n{%+ if true %} kept{% endif +%}\nend", "line one   \n kept\nend" },
        { "{{ 7 // 2 }} {{ 7 % 4 }} {{ 2 * 3 - 1 }} {{ -1 }} {{ 'a' < 'b' }} {{ 1 == 1.0 }} {{ not 1 == 2 }} {{ 2 != 2 }} {{ 3 >= 3 }}", "3 3 5 -1 True True True False True" },
        { "{{ '%}' }}{{ '{{' }} { % } {{ [] or 'empty' }} {{ 0 and 1 }} {{ (1, 2)|length }}", "%}{{ { % } empty 0 2" },
        { "{% generation %}a{% endgeneration %}b", "ab" },
    };
    /* clang-format on */

    (void)unused;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct nb_error err;
        char *text = rendered(cases[i][0], &err);

        if (text == NULL)
            fail_msg("%s: %s", cases[i][0], err.message);
        if (strcmp(text, cases[i][1]) != 0)
            fail_msg("%s: '%s', not '%s'", cases[i][0], text, cases[i][1]);
        free(text);
    }
}

static void
what_is_not_known_is_refused_by_name(void **unused)
{
    static const char *const cases[][2] = {
        { "\n{% filter upper %}a{% endfilter %}", "line 2: the statement 'filter' is not known" },
        { "{% raw %}{% endraw %}", "the statement 'raw' is not known" },
        { "{{ 'a'|sort }}", "uses the filter 'sort', which nibble does not know" },
        { "{{ 'a' is prime }}", "uses the test 'prime', which nibble does not know" },
        { "{{ 'a'.format(1) }}", "calls 'format' of a text, which nibble does not know" },
        { "{{ cycler('a') }}", "calls the function 'cycler', which nibble does not know" },
        { "{{ messages.append(1) }}", "calls the function 'append', which nibble does not know" },
        { "{{ 1 / 2 }}", "divides" },
        { "{{ messages }}", "prints a list or an object" },
        { "{{ 1 < 2 < 3 }}", "comparisons in a chain" },
        { "{{ '\\u00e9' }}", "'\\u' in a text is not known" },
        { "{{ missing.content }}", "asks for 'content' of a value that is not defined" },
        { "{{ 'A\xC3\xA9'|lower }}", "changes the case of letters" },
        { "{{ raise_exception('Only one\x1B[2J message') }}", "says: Only one" },
        { "{% if true %}", "'elif' is missing" },
        { "{{ 1 ", "'}}' is missing" },
        { "{{ 'a }}", "a text has no end" },
        { "{{ }}", "a name is missing" },
        { "{% for x in 1 %}{% endfor %}", "loops over what is neither a list nor an object" },
        { "{% set x.y = 1 %}", "'x' is no namespace" },
        { "{{ 9223372036854775807 + 1 }}", "computes '+'" },
    };

    (void)unused;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct nb_error err;

        if (rendered(cases[i][0], &err) != NULL)
            fail_msg("%s is rendered", cases[i][0]);
        if (strstr(err.message, cases[i][1]) == NULL)
            fail_msg("%s: '%s', not '%s'", cases[i][0], err.message, cases[i][1]);
    }
}

/* BEFORE, N times MIDDLE, AFTER. */
static char *
repeated(const char *before, const char *middle, size_t n, const char *after)
{
    char *text = malloc(strlen(before) + n * strlen(middle) + strlen(after) + 1), *to = text;

    assert_non_null(text);
    to += sprintf(to, "%s", before);
    for (size_t i = 0; i < n; i++)
        to += sprintf(to, "%s", middle);
    strcpy(to, after);
    return text;
}

/* Each of these would take the stack, all memory, or hours. */
static void
hostile_templates_end_in_a_sentence(void **unused)
{
    static const struct {
        const char *before, *middle, *after;
    } cases[] = {
        { "{{ ", "(", "" },
        { "{{ ", "[", "" },
        { "{{ ", "-", "1 }}" },
        { "{{ ", "not ", "1 }}" },
        { "{{ 1", "+1", " }}" },
        { "{{ 1", "|int", " }}" },
        { "{{ x", ".x", " }}" },
        { "{{ 1", " is eq 1", " }}" },
        { "{{ 1 if 1 else ", "1 if 1 else ", "1 }}" },
        { "", "{% if 1 %}", "" },
        { "{% if 1 %}", "{% elif 1 %}", "{% endif %}" },
        { "{% set ns = namespace(x=[]) %}{% for i in range(100000) %}", "{% set ns.x = [ns.x] %}", "{% endfor %}" },
        { "{% set ns = namespace(x='ab') %}{% for i in range(100) %}", "{% set ns.x = ns.x + ns.x %}", "{% endfor %}" },
        { "{% set ns = namespace(x=[1]) %}{% for i in range(100) %}", "{% set ns.x = ns.x + ns.x %}", "{% endfor %}" },
        { "{% set ns = namespace(x=1) %}{% for i in range(1000) %}{% for k in range(1000) %}{% set x = range(1000) %}",
          "x", "{% endfor %}{% endfor %}" },
        { "{% macro f() %}{{ f() }}", "{{ f() }}", "{% endmacro %}{{ f() }}" },
        { "{% for i in range(100000) %}{% for k in range(100000) %}", "x", "{% endfor %}{% endfor %}" },
    };

    (void)unused;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char *template = repeated(cases[i].before, cases[i].middle, i < 11 ? 100000 : 1, cases[i].after);
        struct nb_error err;

        if (rendered(template, &err) != NULL)
            fail_msg("case %zu is rendered", i);
        assert_non_null(strstr(err.message, "the chat template"));
        free(template);
    }
}

/* A list that holds the namespace that it is put into would never be released. */
static void
values_have_no_cycles(void **unused)
{
    struct nb_error err;
    char *text = rendered("{% set ns = namespace(x=1) %}{% set ns.x = [ns] %}{% set ns.x = [ns] %}{{ ns.x == [ns] }}",
                          &err);

    (void)unused;
    assert_non_null(text);
    assert_string_equal(text, "False");
    free(text);
}

/* Every beginning and every change of one byte of a template of all statements. */
static void
spoiled_templates_are_safe(void **unused)
{
    static const char whole[] =
        "{%- set ns = namespace(a='b') -%}{% macro m(x, y=[1]) %}{{ x|trim }}{% endmacro %}{# c #}"
        "{% for k, v in {'a': 1}.items() if v is not none %}{{ m(k ~ v, y=(2, 3)) if k else v[0:-1] }}"
        "{% else %}{% break %}{% endfor %}{% if a and not b == 1 %}{{ 1 // 2 }}{% elif 1 %}x{% else %}y{% endif %}";

    (void)unused;
    for (size_t i = 0; i < strlen(whole); i++) {
        char copy[sizeof whole];
        struct nb_error err;

        memcpy(copy, whole, sizeof whole);
        copy[i] = '\0';
        free(rendered(copy, &err));
        for (const char *c = "{}%-'()[]#|.=\x80"; *c != '\0'; c++) {
            copy[i] = *c;
            free(rendered(copy, &err));
        }
    }
}

/* Its control tokens are tokens, and nothing is put before what the template has. */
static void
a_message_becomes_what_the_template_says(void **unused)
{
    static struct run run;
    json_t *o, *ids;

    (void)unused;
    scratch_write_text("t.jinja", "<|begin_of_text|>{% for m in messages %}{{ m.content|lower }}{% endfor %} upon");
    RUN(&run, "quantize", SAMPLE, "-t", "f16", "-o", "chat.gguf");
    assert_int_equal(run.code, 0);
    RUN(&run, "generate", "--chat", "-p", "ONCE", "chat.gguf");
    assert_int_equal(run.code, 3);
    assert_non_null(strstr(run.err, "has no chat template"));
    RUN(&run, "edit", "--chat-template", scratch_path("t.jinja"), "chat.gguf");
    assert_int_equal(run.code, 0);
    RUN(&run, "generate", "--chat", "-p", "ONCE", "-n", "2", "--json", "chat.gguf");
    o = json_loads(run.out, 0, NULL);
    ids = json_object_get(json_array_get(json_object_get(o, "models"), 0), "prompt_ids");
    assert_int_equal(json_array_size(ids), 3);
    assert_int_equal(json_integer_value(json_array_get(ids, 0)), 2046);
    assert_int_equal(json_integer_value(json_array_get(ids, 1)), 405);
    assert_int_equal(json_integer_value(json_array_get(ids, 2)), 428);
    json_decref(o);
    RUN(&run, "generate", "--chat", "--ids", "1", "chat.gguf");
    assert_int_equal(run.code, 2);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(templates_are_rendered_as_by_jinja),
        cmocka_unit_test(what_is_not_known_is_refused_by_name),
        cmocka_unit_test(hostile_templates_end_in_a_sentence),
        cmocka_unit_test(values_have_no_cycles),
        cmocka_unit_test(spoiled_templates_are_safe),
        cmocka_unit_test(a_message_becomes_what_the_template_says),
    };

    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
