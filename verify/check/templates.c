/*
 * Chat templates are programs (Jinja). llama.cpp's own interpreter gives them no access to the
 * system, but other programs run them in Python; constructs that only make sense as an attack there
 * are reported (CVE-2024-34359, CVE-2026-5760).
 */
#include "verify/check/parts.h"

#include "formats/base/regex.h"
#include "verify/check/template_blocks.h"

#include <inttypes.h>
#include <string.h>

#define KEY "tokenizer.chat_template"
#define LARGE ((uint64_t)256 << 10) /* bytes; the longest templates of published models have about 30 KiB */

static const struct {
    enum nb_code code;
    const char *pattern, *sentence;
} reaches[] = {
    { NB_BAD_TEMPLATE_ATTRIBUTE, "__[a-z]+__|\\|\\s*attr\\s*\\(|\\bmro\\s*\\(|\\\\x5f\\\\x5f",
      "reaches for attributes that only Python's internals have" },
    { NB_BAD_TEMPLATE_IMPORT, "\\{%-?\\+?\\s*(import|include|extends|from)\\b|import_module|\\bimportlib\\b",
      "imports or includes" },
    { NB_BAD_TEMPLATE_FILE,
      "\\b(open|popen|system|eval|exec|getattr|compile)\\s*\\(|\\bos\\s*\\.\\s*[a-z]|\\bsubprocess\\b|"
      "\\bbuiltins\\b|/etc/passwd",
      "names files, processes or code" },
};

static enum nb_status
check_reach(struct nb_checking *c, struct nb_place place, const char *text, size_t i)
{
    struct nb_regex *regex = nb_regex_new(reaches[i].pattern, c->err);
    bool out_of_memory = false, matches;

    if (regex == NULL)
        return nb_fail_memory(c->err); /* the patterns are valid */
    matches = nb_regex_search(regex, text, &out_of_memory);
    nb_regex_free(regex);
    if (out_of_memory)
        return nb_fail_memory(c->err);
    return matches ? CHECK_FOUND(c, reaches[i].code, place, "%s", reaches[i].sentence) : NB_OK;
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

    if (kv->size > LARGE)
        status = CHECK_FOUND(c, NB_BAD_TEMPLATE_SIZE, place, "%" PRIu64 " bytes", kv->size);
    if (status == NB_OK)
        status = check_characters(c, place, kv);
    if (status == NB_OK && !nb_template_is_balanced((const char *)kv->data, (size_t)kv->size, fault))
        status = CHECK_FOUND(c, NB_BAD_TEMPLATE_BLOCK, place, "%s", fault);
    for (size_t i = 0; i < sizeof reaches / sizeof reaches[0] && status == NB_OK; i++)
        status = check_reach(c, place, (const char *)kv->data, i);
    return status;
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
