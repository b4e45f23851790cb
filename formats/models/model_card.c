#include "formats/models/model_card.h"

#include "formats/base/file_in.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <yaml.h>

#define README_LIMIT ((uint64_t)8 << 20)
#define MAX_DEPTH 16

/*
 * What libyaml needs quadratic time for: it compares every anchor and every directive with all others, and looks at
 * every level of brackets with each word. A card that has more of these is not read.
 */
#define MAX_BYTES ((size_t)2 << 20) /* the longest cards list the results of benchmarks in 0.5 MB */
#define MAX_ANCHORS 4096u
#define MAX_DIRECTIVES 16u
#define MAX_BRACKETS 256u

/* A plain scalar with its type by YAML's core schema; a quoted one is always text. */
static json_t *
scalar(const yaml_node_t *node)
{
    const char *text = (const char *)node->data.scalar.value;
    char *end;
    static const char *const yes[] = { "true", "yes", "on" }, *const no[] = { "false", "no", "off" };

    if (node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return json_stringn(text, node->data.scalar.length);
    if (*text == '\0' || strcmp(text, "~") == 0 || strcasecmp(text, "null") == 0)
        return json_null();
    for (size_t i = 0; i < 3; i++) {
        if (strcasecmp(text, yes[i]) == 0)
            return json_true();
        if (strcasecmp(text, no[i]) == 0)
            return json_false();
    }
    if (isdigit((unsigned char)*text) || *text == '-' || *text == '+' || *text == '.') {
        long long whole = strtoll(text, &end, 10);

        if (*end == '\0' && end != text)
            return json_integer(whole);
        double real = strtod(text, &end);
        if (*end == '\0' && end != text)
            return isfinite(real) ? json_real(real) : json_null(); /* JSON has no infinities */
    }
    return json_stringn(text, node->data.scalar.length);
}

/* "- no" in a list is a language code, not YAML's false. */
static bool
is_norwegian(const yaml_node_t *node)
{
    return node != NULL && node->type == YAML_SCALAR_NODE && strcmp((const char *)node->data.scalar.value, "no") == 0;
}

struct reading {
    yaml_document_t document;
    unsigned budget; /* nodes still allowed: with aliases a small document can expand without limit */
    bool out_of_memory;
};

static json_t *to_json(struct reading *r, int index, unsigned depth);

static json_t *
sequence(struct reading *r, const yaml_node_t *node, unsigned depth)
{
    json_t *list = json_array();

    for (yaml_node_item_t *i = node->data.sequence.items.start; i < node->data.sequence.items.top; i++) {
        json_t *item = is_norwegian(yaml_document_get_node(&r->document, *i)) ? json_string("no")
                                                                              : to_json(r, *i, depth + 1);

        if (item != NULL && json_array_append_new(list, item) != 0)
            r->out_of_memory = true;
    }
    return list;
}

static json_t *
mapping(struct reading *r, const yaml_node_t *node, unsigned depth)
{
    json_t *map = json_object();

    for (yaml_node_pair_t *p = node->data.mapping.pairs.start; p < node->data.mapping.pairs.top; p++) {
        const yaml_node_t *key = yaml_document_get_node(&r->document, p->key);
        json_t *value = NULL;

        if (key != NULL && key->type == YAML_SCALAR_NODE)
            value = to_json(r, p->value, depth + 1);
        if (value != NULL && json_object_set_new(map, (const char *)key->data.scalar.value, value) != 0)
            r->out_of_memory = true;
    }
    return map;
}

/* Node INDEX as JSON, or NULL if it is skipped. */
static json_t *
to_json(struct reading *r, int index, unsigned depth)
{
    const yaml_node_t *node = yaml_document_get_node(&r->document, index);
    json_t *out;

    if (node == NULL || node->type == YAML_NO_NODE || depth > MAX_DEPTH || r->budget == 0)
        return NULL;
    r->budget--;
    out = node->type == YAML_SCALAR_NODE     ? scalar(node)
          : node->type == YAML_SEQUENCE_NODE ? sequence(r, node, depth)
                                             : mapping(r, node, depth);
    if (out == NULL)
        r->out_of_memory = true;
    return out;
}

/* The text between the first line, which must be "---", and the next such line; NULL if there is none. */
static char *
front_matter(char *text)
{
    char *from, *line;

    if (strncmp(text, "---\n", 4) != 0 && strncmp(text, "---\r\n", 5) != 0)
        return NULL;
    from = strchr(text, '\n') + 1;
    for (line = from; *line != '\0';) {
        char *next = strchr(line, '\n');

        if (strncmp(line, "---", 3) == 0 && (line[3] == '\n' || line[3] == '\r' || line[3] == '\0'))
            break;
        line = next == NULL ? line + strlen(line) : next + 1;
    }
    *line = '\0';
    /* Some authors indent with tabs, which YAML forbids. */
    for (char *p = from; *p != '\0'; p++)
        if (*p == '\t')
            *p = ' ';
    return from;
}

/* Whether YAML is within these limits. Text that looks like anchors or brackets counts as well: it is rare in cards. */
static bool
is_cheap(const char *yaml)
{
    unsigned anchors = 0, directives = 0, brackets = 0;
    const char *p;

    for (p = yaml; *p != '\0'; p++) {
        anchors += *p == '&';
        directives += *p == '%' && (p == yaml || p[-1] == '\n');
        if (*p == '[' || *p == '{')
            brackets++;
        else if ((*p == ']' || *p == '}') && brackets > 0)
            brackets--;
        if (anchors > MAX_ANCHORS || directives > MAX_DIRECTIVES || brackets > MAX_BRACKETS)
            return false;
    }
    return (size_t)(p - yaml) <= MAX_BYTES;
}

enum nb_status
nb_model_card_read(struct nb_checkpoint *cp, json_t **card, struct nb_error *err)
{
    char *path = nb_checkpoint_path(cp, "README.md"), *text, *yaml;
    size_t length;
    yaml_parser_t parser;
    struct reading reading = { .budget = 100000 };
    enum nb_status status;

    *card = NULL;
    if (path == NULL)
        return nb_fail_memory(err);
    if (!nb_exists(path))
        return NB_OK;
    status = nb_file_load(path, README_LIMIT, &text, &length, err);
    if (status != NB_OK)
        return status;
    yaml = front_matter(text);
    if (yaml != NULL && !is_cheap(yaml))
        yaml = NULL;
    if (yaml != NULL && !yaml_parser_initialize(&parser)) {
        reading.out_of_memory = true;
    } else if (yaml != NULL) {
        yaml_parser_set_input_string(&parser, (const unsigned char *)yaml, strlen(yaml));
        if (yaml_parser_load(&parser, &reading.document)) {
            if (yaml_document_get_root_node(&reading.document) != NULL)
                *card = to_json(&reading, 1, 0);
            yaml_document_delete(&reading.document);
        } else if (parser.error == YAML_MEMORY_ERROR || parser.error == YAML_NO_ERROR) { /* libyaml's strdup */
            reading.out_of_memory = true;
        }
        yaml_parser_delete(&parser);
    }
    free(text);
    if (reading.out_of_memory) {
        json_decref(*card);
        *card = NULL;
        return nb_fail_memory(err);
    }
    if (*card != NULL && !json_is_object(*card)) {
        json_decref(*card);
        *card = NULL;
    }
    return NB_OK;
}
