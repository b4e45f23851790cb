/* JSON as Python's json module writes it, for texts that should be equal to those of MLX's own tools. */
#ifndef NB_PYTHON_JSON_H
#define NB_PYTHON_JSON_H

#include <jansson.h>

/*
 * VALUE as json.dumps(value, indent=4) has it, from malloc: four blanks for each level, ASCII, and numbers in the
 * shortest form that reads as the same double. The infinity of nb_json_load is written as mlx-lm does it,
 * {"__float__": "Infinity"}. NULL if out of memory.
 */
char *nb_python_json(const json_t *value);

#endif
