/*
 * Chat templates: the subset of Jinja that those of published models use, as transformers renders it (with trim_blocks and
 * lstrip_blocks). What is not in the subset is refused by its name, never passed over.
 */
#ifndef NB_TEMPLATE_H
#define NB_TEMPLATE_H

#include "formats/base/arena.h"
#include "formats/base/status.h"

#include <jansson.h>
#include <stddef.h>

enum nb_template_node_kind {
    NB_NODE_TEXT,   /* VALUE, a string */
    NB_NODE_OUTPUT, /* {{ A }} */
    NB_NODE_IF,     /* if A: B, else C */
    NB_NODE_FOR,    /* for NAME (and NAME2) in A if C: B, else D */
    NB_NODE_SET,    /* NAME (with NAME2: an attribute) = A, or what B prints */
    NB_NODE_MACRO,  /* NAME(A: parameters): B */
    NB_NODE_BREAK,  /* out of a loop */
    NB_NODE_CONTINUE,
    NB_NODE_LITERAL, /* VALUE */
    NB_NODE_NAME,
    NB_NODE_LIST,    /* A: its elements */
    NB_NODE_OBJECT,  /* A: keys and values in turns */
    NB_NODE_ELEMENT, /* A[B] */
    NB_NODE_SLICE,   /* A[B:C:D], each of which may be missing */
    NB_NODE_MEMBER,  /* A.NAME */
    NB_NODE_CALL,    /* A(B: arguments) */
    NB_NODE_FILTER,  /* A | NAME(B: arguments) */
    NB_NODE_TEST,    /* A is NAME(B: arguments) */
    NB_NODE_CHOICE,  /* B if A else C */
    NB_NODE_UNARY,   /* NAME A: "not", "-" */
    NB_NODE_BINARY,  /* A NAME B */
};

struct nb_template_node {
    enum nb_template_node_kind kind;
    const char *name, *name2; /* of an argument: its keyword, or NULL */
    json_t *value;
    struct nb_template_node *a, *b, *c, *d;
    struct nb_template_node *next; /* in a body, or in a list of expressions */
};

struct nb_template {
    struct nb_arena arena;
    json_t *values; /* an array that owns those of all nodes */
    struct nb_template_node *body;
};

/* Reads the LENGTH bytes at TEXT, which must be UTF-8. To be freed also after an error. */
enum nb_status nb_template_read(struct nb_template *t, const char *text, size_t length,
                                struct nb_error *err) NB_MUST_CHECK;
void nb_template_free(struct nb_template *t);
/*
 * *TEXT, from malloc, receives what T makes of the names in VARIABLES, an object. What the template itself raises is an
 * error, too.
 */
enum nb_status nb_template_run(const struct nb_template *t, json_t *variables, char **text,
                               struct nb_error *err) NB_MUST_CHECK;

#endif
