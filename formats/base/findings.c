#include "formats/base/findings.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct nb_code_info table[NB_CODES] = {
#define NB_FINDING(constant, name, severity, meaning) { name, NB_##severity, meaning },
#include "formats/base/findings.def"
#undef NB_FINDING
};

const struct nb_code_info *
nb_code_info(enum nb_code code)
{
    return &table[code];
}

struct nb_place
nb_in_file(const char *file)
{
    return (struct nb_place){ file, NB_ABOUT_FILE, NULL, NB_NO_OFFSET };
}

struct nb_place
nb_at_byte(const char *file, uint64_t offset)
{
    return (struct nb_place){ file, NB_ABOUT_FILE, NULL, offset };
}

struct nb_place
nb_at_key(const char *file, const char *key, uint64_t offset)
{
    return (struct nb_place){ file, NB_ABOUT_KEY, key, offset };
}

struct nb_place
nb_at_tensor(const char *file, const char *tensor, uint64_t offset)
{
    return (struct nb_place){ file, NB_ABOUT_TENSOR, tensor, offset };
}

static enum nb_status
add(struct nb_findings *f, enum nb_code code, struct nb_place place, const char *sentence, struct nb_error *err)
{
    struct nb_finding *item;

    if (f->count == f->room) {
        const size_t room = f->room == 0 ? 64 : 2 * f->room;
        struct nb_finding *grown = realloc(f->items, room * sizeof *grown);

        if (grown == NULL)
            return nb_fail_memory(err);
        f->items = grown;
        f->room = room;
    }
    item = &f->items[f->count];
    *item = (struct nb_finding){ code, place, nb_arena_strdup(&f->arena, sentence) };
    /* The owners of the names may be freed before the list is read. */
    item->place.file = nb_arena_strdup(&f->arena, place.file);
    if (place.name != NULL)
        item->place.name = nb_arena_strdup(&f->arena, place.name);
    if (item->sentence == NULL || item->place.file == NULL || (place.name != NULL && item->place.name == NULL))
        return nb_fail_memory(err);
    f->count++;
    return NB_OK;
}

/* Writes the sentence with its subject in front, as in an error, to SPARE. */
static void
write_sentence(struct nb_error *spare, struct nb_place place, const char *text)
{
    if (place.about == NB_ABOUT_KEY)
        nb_fail(spare, NB_INPUT, "key '%s': %s", place.name, text);
    else if (place.about == NB_ABOUT_TENSOR)
        nb_fail(spare, NB_INPUT, "tensor '%s': %s", place.name, text);
    else if (place.offset != NB_NO_OFFSET)
        nb_fail(spare, NB_INPUT, "at byte %" PRIu64 ": %s", place.offset, text);
    else
        nb_fail(spare, NB_INPUT, "%s", text);
}

/* What a reader returns that stops at a finding. */
static enum nb_status
status_of(enum nb_code code)
{
    return code == NB_BAD_GGUF_VERSION || code == NB_BAD_GGUF_ENDIAN ? NB_UNSUPPORTED : NB_INPUT;
}

static enum nb_status
found(struct nb_findings *f, struct nb_error *err, enum nb_code code, struct nb_place place, const char *format,
      va_list args)
{
    char text[NB_ERROR_SIZE];
    struct nb_error sentence;

    if (f == NULL && table[code].severity == NB_WARNING)
        return NB_OK;
    if (f != NULL && f->of_code[code] >= NB_LISTED_PER_CODE) {
        text[0] = '\0';
    } else {
        vsnprintf(text, sizeof text, format, args);
        write_sentence(&sentence, place, text);
    }
    if (f == NULL)
        return nb_fail(err, status_of(code), "%s: %s", place.file, sentence.message);
    *(table[code].severity == NB_ERROR ? &f->errors : &f->warnings) += 1;
    if (f->of_code[code]++ < NB_LISTED_PER_CODE)
        return add(f, code, place, sentence.message, err);
    if (f->errors + f->warnings < NB_MAX_FINDINGS || code == NB_BAD_FILE_TOO_MANY)
        return NB_OK;
    if (f->of_code[NB_BAD_FILE_TOO_MANY] == 0) {
        const enum nb_status status =
            nb_found(f, err, NB_BAD_FILE_TOO_MANY, nb_in_file(place.file), "%s",
                     "more findings than anybody would read; the rest of the file was not read");

        if (status != NB_OK)
            return status;
    }
    return nb_fail(err, NB_INPUT, "%s: has too many faults", place.file);
}

enum nb_status
nb_found(struct nb_findings *findings, struct nb_error *err, enum nb_code code, struct nb_place place,
         const char *format, ...)
{
    enum nb_status status;
    va_list args;

    va_start(args, format);
    status = found(findings, err, code, place, format, args);
    va_end(args);
    return status;
}

enum nb_status
nb_found_end(struct nb_findings *findings, struct nb_error *err, enum nb_code code, struct nb_place place,
             const char *format, ...)
{
    enum nb_status status;
    va_list args;

    va_start(args, format);
    status = found(findings, err, code, place, format, args);
    va_end(args);
    return status != NB_OK ? status : nb_fail(err, NB_INPUT, "%s: cannot be read any further", place.file);
}

enum nb_status
nb_found_error(struct nb_findings *findings, struct nb_error *err, enum nb_code code, struct nb_place place,
               const struct nb_error *error)
{
    const size_t length = strlen(place.file);
    const char *text = error->message;
    enum nb_status status;

    /* An error begins with the file name; a finding has it in its place. */
    if (strncmp(text, place.file, length) == 0 && strncmp(text + length, ": ", 2) == 0)
        text += length + 2;
    status = nb_found(findings, err, code, place, "%s", text);
    if (findings != NULL || status == NB_OK)
        return status;
    if (err != NULL)
        err->status = error->status;
    return error->status;
}

void
nb_findings_free(struct nb_findings *findings)
{
    nb_arena_free(&findings->arena);
    free(findings->items);
    *findings = (struct nb_findings){ 0 };
}
