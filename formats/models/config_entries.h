/*
 * What the entries of config.json mean for the file that is written. Every entry that changes what a
 * model computes is used, or refused by name unless it has a value that the architecture runs; the
 * others are known not to matter. Entries that nobody here knows are named in a note.
 */
#ifndef NB_CONFIG_ENTRIES_H
#define NB_CONFIG_ENTRIES_H

#include "formats/base/findings.h"
#include "formats/base/status.h"
#include "formats/models/source.h"

struct nb_family;

enum nb_config_kind {
    NB_CONFIG_IGNORED,      /* does not change what the model computes */
    NB_CONFIG_ONLY,         /* refused unless it has one of the values */
    NB_CONFIG_NOTED,        /* a note unless it has one of the values: GGUF has no place for it */
    NB_CONFIG_NOTED_BELOW,  /* a note if it is a number below that of the entry VALUES */
    NB_CONFIG_NOTED_UNLIKE, /* a note if it is a number that is not that of the entry VALUES */
    NB_CONFIG_WINDOWS,      /* kinds of layers: refused unless the sliding ones are those of the architecture's rule */
    NB_CONFIG_BY_LAYER, /* an array: refused unless each element is what the expression VALUES gives for its layer */
    NB_CONFIG_BIASES,   /* a flag: whether tensors whose names end with VALUES are used */
};

/* null and empty arrays and objects are like an absent entry. */
struct nb_config_rule {
    const char *
        entry; /* its name; "rope.NAME" is an entry of rope_scaling or rope_parameters, "a.b" is entry b of the object a */
    enum nb_config_kind kind;
    const char *values; /* separated by "|": texts, numbers, true, false; of an array each element must be one */
    const char *why;    /* for notes: "and llama.cpp ..."; NULL: what can be said of any entry */
};

/* Whether VALUE of an entry, or each element of it, is one of VALUES of a rule, or says nothing. */
bool nb_config_is_one_of(json_t *value, const char *values);

/*
 * Examines the config.json (its text_config, its root and its rotary parameters) of SOURCE, a
 * checkpoint of FAMILY whose stored tensors are known. NAME is the file's, for messages. Notes go to
 * SOURCE, or into FINDINGS if that is not NULL. NB_UNSUPPORTED: an entry has a value that cannot be
 * converted.
 */
enum nb_status nb_config_examine(struct nb_source *source, const struct nb_family *family, const char *name,
                                 struct nb_findings *findings, struct nb_error *err) NB_MUST_CHECK;

#endif
