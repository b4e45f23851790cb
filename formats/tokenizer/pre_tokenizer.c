/*
 * Finds llama.cpp's name of a pre-tokenizer by comparing its steps in
 * tokenizer.json. (The reference converter hashes the ids of a fixed text
 * instead, and so recognizes only vocabularies that are in its list.)
 */
#include "formats/tokenizer/tokenizer.h"

#include <stdio.h>
#include <string.h>

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define LEAD "[^\\r\\n\\p{L}\\p{N}]?"
#define SPACES "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define WORDS_AND_DIGITS(digits) CONTRACTIONS "|" LEAD "\\p{L}+|" digits "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACES

/*
 * Steps, one per line: "split:REGEX", "digits" (splits off each digit), "bytes"
 * (byte level) and "bytes+words" (byte level with GPT-2's splitting). The
 * patterns are those of the models' tokenizer.json files.
 */
static const struct {
    const char *name;
    const char *merging; /* the name without ignore_merges, if it differs */
    const char *steps;
} known[] = {
    { "llama-bpe", "smaug-bpe", "split:" WORDS_AND_DIGITS("\\p{N}{1,3}") "\nbytes\n" },
    { "qwen2", NULL, "split:" WORDS_AND_DIGITS("\\p{N}") "\nbytes\n" },
    { "qwen35", NULL,
      "split:" CONTRACTIONS "|" LEAD "[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" SPACES
      "\nbytes\n" },
    { "gpt-2", NULL, "bytes+words\n" },
    { "gpt-4o", NULL,
      "split:" LEAD UPPER "*" LOWER "+" CONTRACTIONS "?|" LEAD UPPER "+" LOWER "*" CONTRACTIONS
      "?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACES "\nbytes\n" },
    { "tekken", NULL,
      "split:" LEAD UPPER "*" LOWER "+|" LEAD UPPER "+" LOWER "*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACES
      "\nbytes\n" },
    { "smollm", NULL, "digits\nbytes+words\n" },
    { "deepseek-v3", NULL,
      "split:\\p{N}{1,3}\nsplit:[一-龥぀-ゟ゠-ヿ]+\n"
      "split:[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|"
      "[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|" SPACES "\nbytes\n" },
};

struct steps {
    char text[4096];
    size_t length;
    bool strange; /* has an unknown kind of step */
};

static void
add_step(struct steps *s, const char *kind, const char *detail)
{
    int n = snprintf(s->text + s->length, sizeof s->text - s->length, "%s%s\n", kind, detail);

    if (n < 0 || (size_t)n >= sizeof s->text - s->length)
        s->strange = true;
    else
        s->length += (size_t)n;
}

static bool
is_true(json_t *step, const char *key, bool otherwise)
{
    json_t *value = json_object_get(step, key);

    return json_is_boolean(value) ? json_is_true(value) : otherwise;
}

static bool
has_text(json_t *step, const char *key, const char *text)
{
    const char *value = json_string_value(json_object_get(step, key));

    return value != NULL && strcmp(value, text) == 0;
}

/*
 * A regex in one spelling: JSON files write a line break in a class either as
 * the two characters "\n" or as the line break itself.
 */
static void
add_split(struct steps *s, json_t *step)
{
    const char *regex = json_string_value(json_object_get(json_object_get(step, "pattern"), "Regex"));
    char plain[2048];
    size_t n = 0;
    /* "Removed" with "invert" is the same as isolating the matches, since the patterns leave nothing between them. */
    const bool keeps = is_true(step, "invert", false) ? has_text(step, "behavior", "Removed")
                                                      : has_text(step, "behavior", "Isolated");

    if (regex == NULL || !keeps) {
        s->strange = true;
        return;
    }
    for (; *regex != '\0' && n + 2 < sizeof plain; regex++) {
        const bool line_break = *regex == '\n' || *regex == '\r';

        if (line_break)
            plain[n++] = '\\';
        plain[n++] = *regex == '\n' ? 'n' : *regex == '\r' ? 'r' : *regex;
    }
    plain[n] = '\0';
    add_step(s, "split:", plain);
}

static void
add_steps(struct steps *s, json_t *tree)
{
    size_t i;
    json_t *step;

    if (has_text(tree, "type", "Sequence")) {
        /* Nested sequences do not occur. */
        json_array_foreach(json_object_get(tree, "pretokenizers"), i, step)
            if (has_text(step, "type", "Sequence"))
                s->strange = true;
            else
                add_steps(s, step);
    } else if (has_text(tree, "type", "Split")) {
        add_split(s, tree);
    } else if (has_text(tree, "type", "Digits") && is_true(tree, "individual_digits", false)) {
        add_step(s, "digits", "");
    } else if (has_text(tree, "type", "ByteLevel")) {
        add_step(s, "bytes", is_true(tree, "use_regex", true) ? "+words" : "");
    } else {
        s->strange = true;
    }
}

const char *
nb_pre_tokenizer_name(json_t *tree, bool ignore_merges)
{
    struct steps s = { .length = 0 };

    add_steps(&s, tree);
    for (size_t i = 0; !s.strange && i < sizeof known / sizeof known[0]; i++)
        if (strcmp(known[i].steps, s.text) == 0)
            return ignore_merges || known[i].merging == NULL ? known[i].name : known[i].merging;
    return NULL;
}

const char *
nb_pre_tokenizer_steps(const char *name)
{
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(known[i].name, name) == 0 || (known[i].merging != NULL && strcmp(known[i].merging, name) == 0))
            return known[i].steps;
    return NULL;
}

/* The further names by which llama.cpp v0.5.0 (llama-vocab.cpp) knows those above, with the same rules for all else. */
static const struct {
    const char *name;
    const char *also[11];
} aliases[] = {
    { "llama-bpe", { "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano" } },
    { "qwen2", { "deepseek-r1-qwen", "kormo", "f2llmv2", "megrez" } },
    { "gpt-2",
      { "phi-2", "jina-es", "jina-de", "gigachat", "jina-v2-es", "jina-v2-de", "a.x-4.0", "mellum", "modern-bert",
        "exaone4" } },
    { "gpt-4o", { "llama4", "kanana2", "talkie" } },
};

const char *
nb_pre_tokenizer_known_as(const char *name)
{
    for (size_t i = 0; i < sizeof aliases / sizeof aliases[0] && name != NULL; i++)
        for (size_t k = 0; aliases[i].also[k] != NULL; k++)
            if (strcmp(aliases[i].also[k], name) == 0)
                return aliases[i].name;
    return name;
}

bool
nb_pre_tokenizer_adds_bos(const char *name)
{
    return strcmp(name, "llama-bpe") == 0 || strcmp(name, "tekken") == 0;
}
