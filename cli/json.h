/*
 * What machines read: with --json a command prints one object on one line, also where it fails. Values are made here and
 * in no other way: strings from anywhere become valid UTF-8, and what is lost for want of memory is not lost in silence,
 * as cli_print_json then says so.
 */
#ifndef NB_CLI_JSON_H
#define NB_CLI_JSON_H

#include "formats/base/status.h"

#include <jansson.h>
#include <stdbool.h>

/* The version of what --json prints. Grows when a key goes, or changes its meaning; not when one comes. */
#define CLI_JSON_VERSION 1

/*
 * An object, as json_pack makes it of FORMAT "{s:s, s:I}": a key, and a value, which is one of
 *   s a text; "s?" is null and "s*" leaves the key out where it is NULL    b a boolean, an int
 *   i a number, an int    I the same, a json_int_t    f the same, a double; null if it is not finite
 *   o a json_t, which is released; "o?" and "o*" as with s    {...} an object
 */
json_t *cli_json(const char *format, ...);
/* TEXT; bytes that are not UTF-8 are written as "\xE9". */
json_t *cli_json_text(const char *text);
json_t *cli_json_textn(const char *text, size_t length);
json_t *cli_json_integer(json_int_t value);
json_t *cli_json_real(double value);
json_t *cli_json_array(void);
/* VALUE, which is released, as the last of ARRAY, or as KEY of OBJECT. */
void cli_json_add(json_t *array, json_t *value);
void cli_json_set(json_t *object, const char *key, json_t *value);

/* All members of MORE, which is released, to OBJECT. */
void cli_json_merge(json_t *object, json_t *more);

/*
 * What could not be printed for want of memory is not printed in silence: after this, cli_finish says so. Values that
 * cannot be made tell it themselves.
 */
void cli_lose(void);
bool cli_has_lost(void);

/* What --json asks for, also before the command line was understood. */
void cli_set_json(bool wanted);
/* OBJECT, which is released, with the version, as one line on stdout. Returns the exit code. */
int cli_print_json(json_t *object);
/* Where --json is given and nothing was printed: {"error":{"code":...,"message":...}} on stdout. */
void cli_print_json_error(enum nb_status status, const char *message);
/* "not_found", the code of an error. */
const char *cli_status_name(enum nb_status status);

#endif
