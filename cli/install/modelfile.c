/*
 * A Modelfile: what 'ollama create' reads. Its values have no escapes, and characters that Go does not call printable are
 * dropped from them without a word.
 */
#include "cli/install/install.h"

#include "formats/base/file_in.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define LICENSE_LIMIT ((uint64_t)1 << 20)
#define QUOTES "\"\"\""

/* How many characters of TEXT are none that Go's strconv.IsPrint knows; line feeds and tabs stay, too. */
static size_t
count_lost(const char *text)
{
    const utf8proc_uint8_t *at = (const utf8proc_uint8_t *)text;
    size_t lost = 0;

    while (*at != '\0') {
        utf8proc_int32_t character;
        const utf8proc_ssize_t n = utf8proc_iterate(at, -1, &character);
        const char *category = n > 0 ? utf8proc_category_string(character) : "C";

        lost += strchr("LMNPS", *category) == NULL && strchr(" \n\t\r", *at) == NULL;
        at += n > 0 ? n : 1;
    }
    return lost;
}

/* Adds the lines of the parameters to TEXT. */
static char *
add_parameters(struct install *in, char *text)
{
    json_t *parameters = install_parameters(&in->source->meta), *value;
    const char *name;

    if (parameters == NULL)
        return NULL;
    json_object_foreach(parameters, name, value)
        if (text != NULL)
            text = json_is_integer(value)
                       ? install_text(in, "%sPARAMETER %s %lld\n", text, name, (long long)json_integer_value(value))
                       : install_text(in, "%sPARAMETER %s %.9g\n", text, name, json_real_value(value));
    json_decref(parameters);
    return text;
}

/* Whether the value LICENSE would end before its end: at a line that ends with quotes. */
static bool
ends_early(const char *license)
{
    const char *at = strstr(license, QUOTES);

    while (at != NULL && at[strlen(QUOTES) + strspn(at + strlen(QUOTES), " \t\"\r")] != '\n')
        at = strstr(at + 1, QUOTES);
    return at != NULL;
}

static enum nb_status
add_license(struct install *in, char **text)
{
    char *license;
    size_t length;
    enum nb_status status = nb_file_load(in->license, LICENSE_LIMIT, &license, &length, in->err);

    if (status != NB_OK)
        return status;
    if (ends_early(license))
        status = nb_fail(in->err, NB_UNSUPPORTED, "%s: a line ends with " QUOTES ", which a Modelfile cannot hold",
                         in->license);
    else if ((*text = install_text(in, "%sLICENSE " QUOTES "%s" QUOTES "\n", *text, license)) == NULL)
        status = nb_fail_memory(in->err);
    free(license);
    return status;
}

enum nb_status
install_modelfile(struct install *in, const char **out, size_t *lost)
{
    char *path = realpath(in->source->path, NULL), *text;
    enum nb_status status = NB_OK;

    if (path == NULL)
        return nb_fail(in->err, nb_status_of_errno(errno, NB_INPUT), "%s: %s", in->source->path, strerror(errno));
    if (strchr(path, '\n') != NULL || path[strlen(path) - 1] == ' ') {
        free(path);
        return nb_fail(in->err, NB_UNSUPPORTED, "%s: a Modelfile cannot hold this path", in->source->path);
    }
    text = install_text(in, "FROM %s\n", path);
    free(path);
    if (text != NULL)
        text = add_parameters(in, text);
    if (text == NULL)
        return nb_fail_memory(in->err);
    if (in->license != NULL)
        status = add_license(in, &text);
    *out = text;
    *lost = count_lost(text);
    return status;
}
