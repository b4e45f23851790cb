/* 'nibble install': a GGUF file where other programs look for their models, as they themselves would put it there. */
#ifndef NB_INSTALL_H
#define NB_INSTALL_H

#include "formats/base/arena.h"
#include "formats/base/status.h"
#include "formats/models/source.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INSTALL_DIGEST 65 /* SHA-256 as text */

struct install {
    const struct nb_source *source;
    const char *name;    /* as it was given or made up */
    const char *license; /* a file with its text, for Ollama; or NULL */
    bool force, dry_run;
    char (*digests)[INSTALL_DIGEST]; /* of the source's files */
    json_t *files;                   /* what was put where: an array of { path, how } */
    const char *run;                 /* the command that runs it */
    struct nb_arena arena;
    struct nb_error *err;
};

/* --- what all of them need ------------------------------------------------------------------------------------ */

/* A text in the arena; NULL if out of memory. */
char *install_text(struct install *install, const char *format, ...) NB_PRINTF(2, 3);
/* The folder that the first of the variables NAMES, separated by blanks, has, or "HOME/OTHERWISE"; REST is added behind it. */
enum nb_status install_root(struct install *install, const char *names, const char *otherwise,
                            const char **root) NB_MUST_CHECK;
/* The last part of the path of the source's file without ".gguf", with '-' for what has no place in a name. */
const char *install_base_name(struct install *install);

/* *THERE: whether there is anything called PATH; an error where that cannot be found out. */
enum nb_status install_look(struct install *install, const char *path, bool *there) NB_MUST_CHECK;
/* NB_EXISTS, with the end of a sentence about PATH, if there is anything of this name and it is not to be replaced. */
enum nb_status install_check(struct install *install, const char *path, const char *exists) NB_MUST_CHECK;
/* Puts the file FROM where its copy TO is to be: by a hard link or, where that cannot be done, as a copy. TO is left if SAME. */
enum nb_status install_file(struct install *install, const char *from, const char *to, bool same) NB_MUST_CHECK;
/* Writes the file TO. */
enum nb_status install_bytes(struct install *install, const char *to, const void *bytes, size_t size,
                             bool replace) NB_MUST_CHECK;
/* Makes the link TO that leads to TARGET. */
enum nb_status install_link(struct install *install, const char *target, const char *to) NB_MUST_CHECK;

/* --- where to --------------------------------------------------------------------------------------------------- */

enum nb_status install_ollama(struct install *install) NB_MUST_CHECK;
enum nb_status install_lmstudio(struct install *install) NB_MUST_CHECK;
enum nb_status install_huggingface(struct install *install) NB_MUST_CHECK;
/* A Modelfile for 'ollama create'. *LOST: how many characters there are in it that Ollama's parser drops. */
enum nb_status install_modelfile(struct install *install, const char **text, size_t *lost) NB_MUST_CHECK;
/* Ollama's parameters, sorted by name, that the file has keys for; NULL if out of memory. */
json_t *install_parameters(const struct nb_metadata *meta);

#endif
