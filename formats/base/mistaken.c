#include "formats/base/mistaken.h"

#include "formats/base/text.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define LOOKED_AT 4096u  /* bytes of the file */
#define SHORT_TEXT 300u  /* bytes: what a server answers in place of a file is no longer */
#define QUOTED 100       /* bytes of it in a phrase */
#define ERROR_MEMBERS 5u /* of an object that tells an error; a config.json has more */

#define UNPACK "unpack it first"
#define AGAIN "download the file again"
#define PYTORCH "a PyTorch file, which is not read, as it can run code when it is loaded: convert it to safetensors"
#define PAGE \
    "a web page, as a server sends it in place of a file: download the file again, logged in if it asks for that"

/* By the bytes at an offset. Sources: the formats' own specifications; those of GGML: llama.cpp before August 2023. */
static const struct {
    size_t offset, length;
    const char *bytes, *what;
} magics[] = {
    { 0, 4, "GGUF", "a GGUF file: give it a name that ends with .gguf" },
    { 0, 4, "tjgg", "a GGML file from before GGUF: convert the original model" },
    { 0, 4, "fmgg", "a GGML file from before GGUF: convert the original model" },
    { 0, 4, "lmgg", "a GGML file from before GGUF: convert the original model" },
    { 0, 2, "\x1F\x8B", "data compressed by gzip: " UNPACK },
    { 0, 4, "\x28\xB5\x2F\xFD", "data compressed by zstd: " UNPACK },
    { 0, 6, "\xFD\x37zXZ", "data compressed by xz: " UNPACK }, /* ends with a NUL */
    { 0, 3, "BZh", "data compressed by bzip2: " UNPACK },
    { 0, 6, "7z\xBC\xAF\x27\x1C", "a 7z archive: " UNPACK },
    { 257, 5, "ustar", "a tar archive: " UNPACK },
    { 0, 8, "\x89HDF\r\n\x1A\n",
      "an HDF5 file, as TensorFlow writes it, which is not read: convert it to safetensors" },
    { 0, 6, "\x93NUMPY", "a NumPy array, which is not read: convert the model to safetensors" },
};

/* By the words that a text begins with, in any case. */
static const struct {
    const char *word, *what;
} texts[] = {
    { "<!doctype html", PAGE },
    { "<html", PAGE },
    { "<head", PAGE },
    { "<body", PAGE },
    { "<?xml", "an XML text, as a server sends it in place of a file: " AGAIN },
    { "<Error", "an XML text, as a server sends it in place of a file: " AGAIN },
};

struct sample {
    const char *first;
    size_t length;
    uint64_t size;
};

static bool
begins(const struct sample *s, size_t offset, const char *bytes, size_t length)
{
    return s->length >= offset + length && memcmp(s->first + offset, bytes, length) == 0;
}

static const char *
by_magic(const struct sample *s)
{
    for (size_t i = 0; i < sizeof magics / sizeof magics[0]; i++)
        if (begins(s, magics[i].offset, magics[i].bytes, magics[i].length))
            return magics[i].what;
    return NULL;
}

/* A pickle begins with the opcode PROTO and a version (pickletools), then another opcode, and none is 0. */
static bool
is_pickle(const struct sample *s)
{
    return s->length > 2 && s->first[0] == '\x80' && s->first[1] >= 2 && s->first[1] <= 5 && s->first[2] != 0;
}

/* The length of a header, which is no longer than NB_SAFETENSORS_MAX_HEADER, and the header. */
static bool
is_safetensors(const struct sample *s)
{
    return s->length > 8 && s->first[8] == '{' && memcmp(s->first + 4, "\0\0\0", 4) == 0;
}

/* A ZIP archive, whose first entry tells whether torch.save wrote it. */
static const char *
by_zip(const struct sample *s)
{
    if (!begins(s, 0, "PK\3\4", 4) && !begins(s, 0, "PK\5\6", 4))
        return NULL;
    for (size_t i = 30; i + 8 <= s->length && i < 300; i++) /* after the fixed part of the entry's header */
        if (memcmp(s->first + i, "data.pkl", 8) == 0)
            return PYTORCH;
    return "a ZIP archive: " UNPACK;
}

/* Whether the file is a pointer of Git LFS (its specification, version 1), and its line "size N". */
static bool
is_pointer(const struct sample *s, char what[NB_MISTAKEN])
{
    static const char *const versions[] = { "version https://git-lfs.github.com/spec/", "version https://hawser" };
    char text[512], bytes[32];
    const size_t n = s->length < sizeof text - 1 ? s->length : sizeof text - 1;
    const char *line;

    if (!begins(s, 0, versions[0], strlen(versions[0])) && !begins(s, 0, versions[1], strlen(versions[1])))
        return false;
    memcpy(text, s->first, n);
    text[n] = '\0';
    line = strstr(text, "\nsize ");
    snprintf(what, NB_MISTAKEN, "a Git LFS pointer to one%s%s: run 'git lfs pull' in its folder",
             line == NULL ? "" : " of ",
             line == NULL ? "" : nb_scaled(bytes, sizeof bytes, strtod(line + 6, NULL), "B"));
    return true;
}

static bool
is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Without the byte-order mark and blanks before the text. */
static struct sample
text_of(const struct sample *s)
{
    struct sample t = *s;

    if (begins(&t, 0, "\xEF\xBB\xBF", 3))
        t = (struct sample){ t.first + 3, t.length - 3, t.size - 3 };
    while (t.length > 0 && is_blank(*t.first))
        t = (struct sample){ t.first + 1, t.length - 1, t.size - 1 };
    return t;
}

static const char *
by_words(const struct sample *t)
{
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (t->length >= strlen(texts[i].word) && strncasecmp(t->first, texts[i].word, strlen(texts[i].word)) == 0)
            return texts[i].what;
    return NULL;
}

static void
quote(const char *kind, const char *text, size_t length, char what[NB_MISTAKEN])
{
    char quoted[QUOTED];

    while (length > 0 && is_blank(text[length - 1]))
        length--;
    nb_show(quoted, sizeof quoted, text, length);
    snprintf(what, NB_MISTAKEN, "%s, '%s': " AGAIN, kind, quoted);
}

bool
nb_json_mistaken(const json_t *object, char what[NB_MISTAKEN])
{
    const json_t *error = json_object_get(object, "error"), *message = json_object_get(object, "message");
    const char *text = json_string_value(error);

    *what = '\0';
    if (json_object_size(object) > ERROR_MEMBERS)
        return false;
    if (json_is_object(error))
        text = json_string_value(json_object_get(error, "message"));
    if (text == NULL) /* some have a number or nothing else in "error" */
        text = json_string_value(message);
    if (text != NULL)
        quote("the answer of a server", text, strlen(text), what);
    return text != NULL;
}

/* What begins as a JSON text: the answer of a server, if it is small, or anything. */
static bool
is_json(const struct sample *t, char what[NB_MISTAKEN])
{
    json_t *object;

    if (t->length == 0 || (*t->first != '{' && *t->first != '['))
        return false;
    object = t->length == t->size ? json_loadb(t->first, t->length, 0, NULL) : NULL;
    if (!nb_json_mistaken(object, what))
        strcpy(what, "a JSON text");
    json_decref(object);
    return true;
}

/* "Entry not found": some words that anybody can read. */
static bool
is_short_text(const struct sample *t, char what[NB_MISTAKEN])
{
    if (t->length == 0 || t->length != t->size || t->size > SHORT_TEXT || !isalpha((unsigned char)*t->first) ||
        memchr(t->first, ' ', t->length) == NULL || !nb_utf8_valid(t->first, t->length))
        return false;
    for (size_t i = 0; i < t->length; i++)
        if ((unsigned char)t->first[i] < 0x20 && !is_blank(t->first[i]))
            return false;
    quote("a short text", t->first, t->length, what);
    return true;
}

/* By the first bytes of formats that are no text. */
static const char *
by_bytes(const struct sample *s)
{
    const char *found = by_magic(s);

    found = found == NULL && is_safetensors(s) ? "a safetensors file: give it a name that ends with .safetensors"
                                               : found;
    found = found == NULL && is_pickle(s) ? PYTORCH : found;
    return found == NULL ? by_zip(s) : found;
}

bool
nb_text_mistaken(const char *text, size_t length, char what[NB_MISTAKEN])
{
    const struct sample s = { text, length, length };
    const char *found = nb_utf8_valid(text, length) ? NULL : by_bytes(&s);

    *what = '\0';
    if (found != NULL)
        snprintf(what, NB_MISTAKEN, "%.*s", (int)strcspn(found, ":"), found); /* without what to do with a model */
    return found != NULL || is_pointer(&s, what);
}

bool
nb_mistaken(const char *first, size_t length, uint64_t size, char what[NB_MISTAKEN])
{
    const struct sample s = { first, length, size }, t = text_of(&s);
    const char *found = by_bytes(&s);

    *what = '\0';
    found = found == NULL ? by_words(&t) : found;
    if (found != NULL)
        snprintf(what, NB_MISTAKEN, "%s", found);
    return found != NULL || is_pointer(&s, what) || is_json(&t, what) || is_short_text(&t, what);
}

bool
nb_file_mistaken(const struct nb_file_in *file, char what[NB_MISTAKEN])
{
    char first[LOOKED_AT];
    const uint64_t n = file->size < sizeof first ? file->size : sizeof first;

    *what = '\0';
    return nb_file_read(file, 0, first, n, NULL) == NB_OK && nb_mistaken(first, (size_t)n, file->size, what);
}

const char *
nb_cut_short(char text[NB_CUT_SHORT], uint64_t here, uint64_t whole)
{
    char a[32], b[32];

    nb_scaled(a, sizeof a, (double)here, "B");
    nb_scaled(b, sizeof b, (double)whole, "B");
    if (strcmp(a, b) != 0)
        snprintf(text, NB_CUT_SHORT, "cut short: %s of %s; download it again", a, b);
    else
        snprintf(text, NB_CUT_SHORT, "cut short: the last %" PRIu64 " bytes of %s are missing; download it again",
                 whole - here, b);
    return text;
}
