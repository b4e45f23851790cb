#include "cli/manifest.h"

#include "formats/base/file_in.h"
#include "formats/base/status.h"
#include "formats/base/text.h"
#include "verify/check/hash.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define LIMIT ((uint64_t)256 << 20)

/* The kind that a word of so many hexadecimal digits is of, without a type before it. */
static enum nb_hash_kind
kind_by_length(size_t digits)
{
    return digits == 64 ? NB_HASH_SHA256 : digits == 40 ? NB_HASH_SHA1 : digits == 16 ? NB_HASH_XXH64 : NB_HASHES;
}

static enum nb_hash_kind
kind_by_name(const char *name)
{
    unsigned k = 0;

    while (k < NB_HASHES && strcmp(name, nb_hash_name((enum nb_hash_kind)k)) != 0)
        k++;
    return (enum nb_hash_kind)k;
}

/* Cuts the next word off LINE, which then begins after the blanks that follow it. */
static char *
take_word(char **line)
{
    char *word = *line, *end = word + strcspn(word, " \t");

    *line = end + strspn(end, " \t");
    *end = '\0';
    return word;
}

static bool
is_digest(char *text, enum nb_hash_kind kind)
{
    size_t digits = 0;

    for (char *p = text; *p != '\0'; p++) {
        if (!isxdigit((unsigned char)*p) && *p != '-')
            return false;
        *p = (char)tolower((unsigned char)*p);
        digits += *p != '-';
    }
    return digits == 2 * nb_hash_size(kind);
}

/* "FILE" or "FILE:TENSOR"; which of them it is, is decided by which file exists. */
static bool
split_name(struct manifest_entry *e)
{
    char *colon;

    e->file = strdup(e->name);
    if (e->file == NULL)
        return false;
    colon = strrchr(e->file, ':');
    if (e->of_file || nb_is_file(e->file) || nb_is_folder(e->file) || colon == NULL)
        return true;
    *colon = '\0';
    e->tensor = e->name + (colon + 1 - e->file);
    return true;
}

/* "SHA256 (FILE) = DIGEST" of BSD's and GNU's --tag, or "SHA2-256(FILE)= DIGEST" of openssl; false if LINE is neither. */
static bool
parse_tagged(char *line, struct manifest_entry *e)
{
    static const struct {
        const char *tag;
        enum nb_hash_kind kind;
    } tags[] = { { "SHA256", NB_HASH_SHA256 },
                 { "SHA2-256", NB_HASH_SHA256 },
                 { "SHA1", NB_HASH_SHA1 },
                 { "XXH64", NB_HASH_XXH64 } };
    const size_t n = strcspn(line, " (");
    char *open = line + n + strspn(line + n, " "), *close = NULL, *digest;
    bool known = false;

    for (size_t i = 0; i < sizeof tags / sizeof tags[0] && !known; i++) {
        known = strlen(tags[i].tag) == n && strncasecmp(line, tags[i].tag, n) == 0;
        e->kind = tags[i].kind;
    }
    for (char *p = open; known && *open == '(' && (p = strchr(p, ')')) != NULL; p++)
        if (p[1 + strspn(p + 1, " ")] == '=')
            close = p; /* the last one: names may have brackets */
    if (close == NULL || close == open + 1)
        return false;
    e->of_file = true;
    e->name = open + 1;
    digest = strchr(close, '=') + 1;
    digest += strspn(digest, " ");
    e->digest = digest;
    *close = '\0';
    return is_digest(digest, e->kind);
}

static bool
parse_line(char *line, struct manifest_entry *e)
{
    char *first, *second;

    line += strspn(line, " \t");
    if (nb_ends_with(line, "\r"))
        line[strlen(line) - 1] = '\0';
    if (parse_tagged(line, e))
        return true;
    if (strncmp(line, "sha256:", strlen("sha256:")) == 0) /* as the hub and registries write it */
        line += strlen("sha256:");
    first = take_word(&line);
    e->kind = kind_by_name(first);
    e->of_file = e->kind == NB_HASHES;
    if (e->of_file)
        e->kind = kind_by_length(strlen(first));
    if (e->kind == NB_HASHES)
        return false;
    second = e->of_file ? first : take_word(&line);
    if (e->of_file && *line == '*') /* binary mode of sha256sum */
        line++;
    e->digest = second;
    e->name = line;
    return is_digest(second, e->kind) && *line != '\0';
}

static enum nb_status
parse(struct manifest *m, const char *path, struct nb_error *err)
{
    size_t room = 0, number = 0;

    for (char *line = m->text, *next; line != NULL; line = next) {
        struct manifest_entry e = { 0 };

        next = strchr(line, '\n');
        if (next != NULL)
            *next++ = '\0';
        number++;
        if (line[strspn(line, " \t\r")] == '\0' || *line == '#')
            continue;
        if (!parse_line(line, &e))
            return nb_fail(err, NB_INPUT, "%s: line %zu is not a hash and a name", path, number);
        if (m->count == room) {
            room = room == 0 ? 256 : 2 * room;
            struct manifest_entry *grown = realloc(m->entries, room * sizeof *grown);

            if (grown == NULL)
                return nb_fail_memory(err);
            m->entries = grown;
        }
        if (!split_name(&e))
            return nb_fail_memory(err);
        m->entries[m->count++] = e;
        m->has[e.kind] = true;
    }
    return m->count > 0 ? NB_OK : nb_fail(err, NB_INPUT, "%s: has no hashes", path);
}

enum nb_status
manifest_load(struct manifest *m, const char *path, struct nb_error *err)
{
    size_t length;
    enum nb_status status;

    *m = (struct manifest){ 0 };
    status = nb_file_load(path, LIMIT, &m->text, &length, err);
    if (status == NB_OK)
        status = parse(m, path, err);
    if (status != NB_OK)
        manifest_free(m);
    return status;
}

void
manifest_free(struct manifest *m)
{
    for (size_t i = 0; i < m->count; i++)
        free(m->entries[i].file);
    free(m->entries);
    free(m->text);
    *m = (struct manifest){ 0 };
}
