/* The parts of a model's name, by the rules of gguf-py's metadata heuristics. */
#include "formats/models/model_name.h"

#include "formats/base/regex.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_PARTS 32

enum label { BASENAME = 1, SIZE_LABEL = 2, FINETUNE = 4, VERSION = 8, TYPE = 16 };

struct part {
    char text[NB_NAME_PART];
    unsigned labels;
};

/* A size such as "8x7b", "1_5B" or "7b1" in its usual form: "8x7B", "1.5B", "7.1B". */
static void
normalize_size(char *s)
{
    size_t n;

    for (char *p = s; *p != '\0'; p++)
        if (*p == '_')
            *p = '.';
    n = strlen(s);
    if (n >= 3 && isdigit((unsigned char)s[n - 1]) && n + 1 < NB_NAME_PART) { /* 7b1 */
        const char unit = s[n - 2], digit = s[n - 1];

        s[n - 2] = '.';
        s[n - 1] = digit;
        s[n] = unit;
        s[++n] = '\0';
    }
    if (n > 1 && isdigit((unsigned char)s[n - 2]) && strchr("kmbt", s[n - 1]) != NULL)
        s[n - 1] = (char)toupper((unsigned char)s[n - 1]);
}

/* A "size" far from the model's parameter count is a context length or similar. */
static bool
is_far_from(const char *s, uint64_t parameters)
{
    static const char units[] = " KMBT";
    const size_t n = strlen(s);
    const char *unit = strchr(units, s[n - 1]);
    char *end;
    double size = strtod(s, &end);

    if (parameters == 0 || end != s + n - 1 || unit == NULL)
        return false;
    size *= pow(1000, (double)(unit - units));
    return fabs(size - (double)parameters) > (double)(7 * parameters / 8);
}

static void
label_part(struct part *part, bool first, uint64_t parameters, bool *oom)
{
    char *s = part->text;

    if (nb_regex_is("(v|iter)?\\d+([.]\\d+)*", s, oom)) {
        part->labels = VERSION;
    } else if (nb_regex_is("i?q\\d(_\\w)*|b?fp?(16|32)", s, oom)) {
        part->labels = TYPE;
        for (char *p = s; *p != '\0'; p++)
            *p = (char)toupper((unsigned char)*p);
    } else if (!first && nb_regex_is("((A|\\d+x)?\\d+([._]\\d+)?[KMBT]\\d?|small|mini|medium|large|x?xl)", s, oom)) {
        normalize_size(s);
        if (is_far_from(s, parameters)) {
            part->labels = FINETUNE;
            s[strlen(s) - 1] = (char)tolower((unsigned char)s[strlen(s) - 1]);
        } else {
            part->labels = SIZE_LABEL;
        }
    } else if (!first && nb_regex_is("chat|instruct|vision|lora", s, oom)) {
        part->labels = FINETUNE;
    }
}

/* "large" is redundant beside "7B". */
static void
drop_wordy_sizes(struct part *parts, size_t n)
{
    bool numeric = false;

    for (size_t i = 0; i < n; i++)
        if ((parts[i].labels & SIZE_LABEL) && strpbrk(parts[i].text, "0123456789") != NULL)
            numeric = true;
    for (size_t i = 0; numeric && i < n; i++)
        if ((parts[i].labels & SIZE_LABEL) && strpbrk(parts[i].text, "0123456789._") == NULL)
            parts[i].labels &= ~(unsigned)SIZE_LABEL;
}

static void
label_basename(struct part *parts, size_t n)
{
    bool at_start = true;

    for (size_t i = 0; i < n; i++) {
        if (at_start &&
            ((parts[i].labels == 0 && isalpha((unsigned char)*parts[i].text)) || (parts[i].labels & VERSION))) {
            parts[i].labels |= BASENAME;
        } else {
            at_start = false;
            if (parts[i].labels == 0)
                parts[i].labels = FINETUNE;
        }
    }
    /* A version at the end of the remaining parts is the model's version, not part of its name. */
    for (size_t i = n; i-- > 0 && parts[i].labels == (BASENAME | VERSION);)
        parts[i].labels = VERSION;
}

static bool
came_before(const struct part *parts, size_t i, unsigned label)
{
    for (size_t k = 0; k < i; k++)
        if ((parts[k].labels & label) && strcmp(parts[k].text, parts[i].text) == 0)
            return true;
    return false;
}

/* The parts that have LABEL and do not have EXCEPT, joined with "-". */
static void
join(const struct part *parts, size_t n, unsigned label, unsigned except, char *out)
{
    size_t at = 0;

    *out = '\0';
    for (size_t i = 0; i < n; i++) {
        if (!(parts[i].labels & label) || (parts[i].labels & except) ||
            (label == SIZE_LABEL && came_before(parts, i, label)))
            continue;
        at += (size_t)snprintf(out + at, NB_NAME_PART - at, "%s%s", at > 0 ? "-" : "", parts[i].text);
        if (at >= NB_NAME_PART - 1)
            return;
    }
}

void
nb_model_name_parse(const char *id, uint64_t parameters, struct nb_model_name *out)
{
    struct part parts[MAX_PARTS];
    size_t n = 0;
    const char *slash = strchr(id, '/');

    memset(out, 0, sizeof *out);
    memset(parts, 0, sizeof parts);
    if (strchr(id, ' ') != NULL) { /* text, not an id */
        snprintf(out->full, sizeof out->full, "%s", id);
        return;
    }
    if (slash != NULL) {
        if (*id != '.')
            snprintf(out->organization, sizeof out->organization, "%.*s", (int)(slash - id), id);
        id = slash + 1;
    }
    snprintf(out->full, sizeof out->full, "%s", id);
    for (const char *p = id; *p != '\0' && n < MAX_PARTS;) {
        size_t length = strcspn(p, "-");

        if (length > 0) {
            snprintf(parts[n].text, sizeof parts[n].text, "%.*s", (int)length, p);
            n++;
        }
        p += length + (p[length] == '-');
    }
    for (size_t i = 0; i < n; i++)
        label_part(&parts[i], i == 0, parameters, &out->out_of_memory);
    drop_wordy_sizes(parts, n);
    label_basename(parts, n);
    join(parts, n, BASENAME, 0, out->basename);
    join(parts, n, SIZE_LABEL, 0, out->size_label);
    join(parts, n, FINETUNE, 0, out->finetune);
    join(parts, n, VERSION, BASENAME, out->version);
    if (*out->size_label == '\0' && *out->finetune == '\0' && *out->version == '\0')
        *out->basename = '\0'; /* not enough information */
}

static bool
is_lower(const char *s, size_t n)
{
    bool letters = false;

    for (size_t i = 0; i < n; i++) {
        if (isupper((unsigned char)s[i]))
            return false;
        letters = letters || islower((unsigned char)s[i]);
    }
    return letters;
}

/* "v1.2" */
static bool
is_version(const char *s, size_t n)
{
    for (size_t i = 1; i < n; i++)
        if (!isdigit((unsigned char)s[i]) && !(s[i] == '.' && i > 1 && s[i - 1] != '.' && i + 1 < n))
            return false;
    return n > 1 && *s == 'v';
}

void
nb_model_title(const char *name, char *title)
{
    size_t at = 0;

    while (*name != '\0' && at + 1 < NB_NAME_PART) {
        const size_t n = strcspn(name, "- \t\n");
        bool capitalize, inside = false;

        if (n == 0) {
            name++;
            continue;
        }
        capitalize = is_lower(name, n) && !isdigit((unsigned char)*name) && !is_version(name, n);
        if (at > 0)
            title[at++] = ' ';
        for (size_t i = 0; i < n && at + 1 < NB_NAME_PART; i++) {
            const unsigned char c = (unsigned char)name[i];

            title[at++] = (char)(capitalize && !inside ? toupper(c) : c);
            inside = isalpha(c) || c >= 0x80;
        }
        name += n;
    }
    title[at] = '\0';
}

void
nb_size_label(const struct nb_parameters *p, char *label)
{
    static const struct {
        double above, scale;
        char unit;
    } units[] = { { 1e12, 1e-12, 'T' }, { 1e9, 1e-9, 'B' }, { 1e6, 1e-6, 'M' }, { -1, 1e-3, 'K' } };
    const double count = (double)(p->experts > 0 ? p->with_one_expert : p->all);
    char stack[24] = "";
    size_t i = 0;
    double scaled;
    int decimals;

    if (p->experts > 0)
        snprintf(stack, sizeof stack, "%" PRIu64 "x", p->experts);
    while (count <= units[i].above)
        i++;
    scaled = count * units[i].scale;
    /* At least two digits, not counting a zero before the point. */
    decimals = rint(scaled) >= 10 ? 0 : rint(scaled) >= 1 ? 1 : 2;
    snprintf(label, NB_NAME_PART, "%s%.*f%c", stack, decimals, scaled, units[i].unit);
}

/* Appends "-" and the value of KEY with spaces as dashes, if there is one. */
static void
append_key(const struct nb_metadata *meta, const char *key, char *name, size_t size)
{
    const char *value = nb_meta_get_string(meta, key);
    size_t at = strlen(name);

    if (value == NULL)
        return;
    snprintf(name + at, size - at, "%s%s", at > 0 ? "-" : "", value);
    for (char *p = name + at; *p != '\0'; p++)
        if (*p == ' ' || *p == '/' || (unsigned char)*p < 0x20)
            *p = '-';
}

void
nb_gguf_file_name(const struct nb_metadata *meta, const char *encoding, char *name, size_t size)
{
    char suffix[64];
    size_t at, room;

    /* Truncate a long name, not its suffix. */
    room = size - (size_t)snprintf(suffix, sizeof suffix, "-%s.gguf", encoding);
    *name = '\0';
    append_key(meta, "general.basename", name, room);
    if (*name == '\0')
        append_key(meta, "general.name", name, room);
    if (*name == '\0' || *name == '.')
        snprintf(name, room, "model");
    append_key(meta, "general.size_label", name, room);
    append_key(meta, "general.finetune", name, room);
    append_key(meta, "general.version", name, room);
    at = strlen(name);
    snprintf(name + at, size - at, "%s", suffix);
}
