/*
 * Chat templates are programs (Jinja). llama.cpp's own interpreter gives them no access to the
 * system, but other programs run them in Python; constructs that only make sense as an attack there
 * are reported (CVE-2024-34359, CVE-2026-5760). This is a heuristic: a language in which strings become
 * names has always one more way to say a thing, so that a template without findings is not proved harmless.
 */
#include "verify/check/parts.h"

#include "formats/base/regex.h"
#include "verify/check/template_blocks.h"
#include "verify/check/template_code.h"

#include <inttypes.h>
#include <string.h>

#define KEY "tokenizer.chat_template"
#define LARGE ((uint64_t)256 << 10) /* bytes; the longest templates of published models have about 30 KiB */
#define UNREAD ((uint64_t)4 << 20)  /* what is so large is not looked at: it would take half a minute */

/* Which form of the template a pattern is for; no repetition in one is without a bound, so that all take linear time. */
enum form { TEXT, CODE, NUMBERS };

static const struct {
    enum nb_code code;
    enum form form;
    const char *pattern, *sentence;
} reaches[] = {
    /* Names with underscores around them, whole or in pieces, in text, too, as another template may be made of it. */
    { NB_BAD_TEMPLATE_ATTRIBUTE, TEXT, "__[a-z]{1,40}__|\\bmro\\s{0,9}\\(|\\\\x5f\\\\x5f|\\\\u005f\\\\u005f",
      "reaches for attributes that only Python's internals have" },
    { NB_BAD_TEMPLATE_ATTRIBUTE, CODE,
      "__[a-z]{1,40}__|'_{2,}'|'__[a-z]{2,40}'|'_'\\s{0,9}\\*|[\\w)\\]]\\s{0,9}\\.\\s{0,9}_|\\[\\s{0,9}'_[a-z_]|"
      "\\|\\s{0,9}attr\\b|\\bmap\\s{0,9}\\(\\s{0,9}'attr(?!ibute)|attribute\\s{0,9}=\\s{0,9}'[^']{0,200}\\b_|'%c%c|\\.\\s{0,9}format_map\\b",
      "reaches for attributes that only Python's internals have" },
    { NB_BAD_TEMPLATE_ATTRIBUTE, CODE,
      "\\b(mro|func_globals|func_code|gi_(frame|code)|cr_(frame|code)|ag_(frame|code)|f_(globals|builtins|locals|back)|"
      "tb_frame|co_(code|consts)|undefined_exception)\\b|"
      "\\b(lipsum|cycler|joiner|url_for|get_flashed_messages)\\b|\\bself\\s{0,9}[.\\[|]",
      "uses names by which Python's internals are reached" },
    { NB_BAD_TEMPLATE_IMPORT, TEXT, "\\{%[-+]?\\s{0,99}(import|include|extends|from)\\b|import_module|\\bimportlib\\b",
      "imports or includes" },
    { NB_BAD_TEMPLATE_FILE, TEXT,
      "\\b(open|popen|system|eval|exec|getattr|compile)\\s{0,9}\\(|\\bos\\s{0,9}\\.\\s{0,9}[a-z]|\\bsubprocess\\b|"
      "\\bbuiltins\\b|/etc/passwd",
      "names files, processes or code" },
    { NB_BAD_TEMPLATE_FILE, CODE,
      "\\b(globals|locals|vars|setattr|delattr|breakpoint|execfile|check_output|spawn|fork)\\s{0,9}\\(|"
      "\\['(os|sys|subprocess|builtins|popen|eval|exec)'\\]|\\bsys\\s{0,9}\\.\\s{0,9}modules\\b|/proc/self|/etc/shadow",
      "names files, processes or code" },
    { NB_BAD_TEMPLATE_COST, NUMBERS,
      "\\brange\\s{0,9}\\([^)]{0,99}\\d{5,}|\\d\\s{0,9}\\*\\*|\\*\\*\\s{0,9}\\d|[^\\w.]\\d{7,}\\b|\\b0x[0-9a-f]{5,}|"
      "[^\\w.]\\d{1,9}e[5-9]\\b|[^\\w.]\\d{1,9}e\\d{2,}|['\\])]\\s{0,9}\\*\\s{0,9}\\d{5,}|\\d{5,}\\s{0,9}\\*\\s{0,9}['\\[(]|"
      "\\b(center|ljust|rjust|zfill|indent|batch|slice|round)\\s{0,9}\\([^)]{0,99}\\d{5,}",
      "computes numbers or texts that fill the memory" },
    { NB_BAD_TEMPLATE_COST, CODE, "'[^']{0,200}%[-#0 +]{0,9}\\d{5,}|'[^']{0,200}:.{0,2}[<>^=]?\\d{5,}[a-z}]",
      "computes numbers or texts that fill the memory" },
    { NB_BAD_TEMPLATE_COST, NUMBERS,
      "\\bset\\s{1,9}([\\w.]{1,99})\\s{0,9}=[\\s(\\[]{0,9}\\1\\b\\s{0,9}([~+,]\\s{0,9}\\1\\b|\\*\\s{0,9}\\d)",
      "doubles a text again and again" },
};

static enum nb_status
check_reach(struct nb_checking *c, struct nb_place place, const char *const forms[3], size_t i)
{
    struct nb_regex *regex = nb_regex_new(reaches[i].pattern, c->err);
    bool out_of_memory = false, matches;

    if (regex == NULL)
        return nb_fail_memory(c->err); /* the patterns are valid */
    matches = nb_regex_search(regex, forms[reaches[i].form], &out_of_memory);
    nb_regex_free(regex);
    if (out_of_memory)
        return nb_fail_memory(c->err);
    return matches ? CHECK_FOUND(c, reaches[i].code, place, "%s (a heuristic)", reaches[i].sentence) : NB_OK;
}

/* Every kind of reach is reported once. */
static enum nb_status
check_reaches(struct nb_checking *c, struct nb_place place, const struct nb_kv *kv)
{
    struct nb_template_code code;
    enum nb_status status = nb_template_code((const char *)kv->data, (size_t)kv->size, &code, c->err);

    if (status != NB_OK)
        return status;
    for (size_t i = 0, found = 0; i < sizeof reaches / sizeof reaches[0] && status == NB_OK; i++) {
        const uint64_t before = c->findings->warnings;
        const char *const forms[] = { [TEXT] = (const char *)kv->data, [CODE] = code.code, [NUMBERS] = code.numbers };

        if (i > 0 && reaches[i].code != reaches[i - 1].code)
            found = 0;
        if (found == 0)
            status = check_reach(c, place, forms, i);
        found += c->findings->warnings > before;
    }
    nb_template_code_free(&code);
    return status;
}

static enum nb_status
check_characters(struct nb_checking *c, struct nb_place place, const struct nb_kv *kv)
{
    for (uint64_t i = 0; i < kv->size; i++) {
        const unsigned char b = kv->data[i];

        if ((b < 0x20 && b != '\n' && b != '\r' && b != '\t') || b == 0x7F)
            return CHECK_FOUND(c, NB_BAD_TEMPLATE_CONTROL, place, "byte %" PRIu64 " is the control character 0x%02X", i,
                               b);
    }
    return NB_OK;
}

static enum nb_status
check_template(struct nb_checking *c, const char *file, const struct nb_kv *kv)
{
    const struct nb_place place = nb_at_key(file, kv->key, NB_NO_OFFSET);
    char fault[NB_TEMPLATE_FAULT];
    enum nb_status status = NB_OK;

    if (kv->size > UNREAD)
        return CHECK_FOUND(c, NB_BAD_TEMPLATE_SIZE, place, "%" PRIu64 " bytes, which are not looked at", kv->size);
    if (kv->size > LARGE)
        status = CHECK_FOUND(c, NB_BAD_TEMPLATE_SIZE, place, "%" PRIu64 " bytes", kv->size);
    if (status == NB_OK)
        status = check_characters(c, place, kv);
    if (status == NB_OK && !nb_template_is_balanced((const char *)kv->data, (size_t)kv->size, fault))
        status = CHECK_FOUND(c, NB_BAD_TEMPLATE_BLOCK, place, "%s", fault);
    return status == NB_OK ? check_reaches(c, place, kv) : status;
}

enum nb_status
nb_check_templates(struct nb_checking *c, const char *file, const struct nb_metadata *meta)
{
    enum nb_status status = NB_OK;

    for (size_t i = 0; i < meta->count && status == NB_OK; i++) {
        const struct nb_kv *kv = &meta->items[i];

        if (strncmp(kv->key, KEY, strlen(KEY)) == 0 && kv->type == NB_KV_STRING)
            status = check_template(c, file, kv);
    }
    return status;
}
