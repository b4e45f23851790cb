/* JSON as Python's json module writes it, for texts that should be equal to those of Python programs. */
#ifndef NB_JSON_WRITE_H
#define NB_JSON_WRITE_H

#include <jansson.h>

enum nb_json_form {
    NB_JSON_COMPACT,  /* separators=(",", ":") */
    NB_JSON_INDENTED, /* indent=4 */
};

/*
 * VALUE as json.dumps has it, from malloc: ASCII, and numbers in the shortest form that reads as the same double. The
 * infinity of nb_json_load is written as mlx-lm does it, {"__float__": "Infinity"}. NULL if out of memory, which
 * jansson's own json_dumps does not always tell.
 */
char *nb_json_write(const json_t *value, enum nb_json_form form);

#endif
