#include "cli/model_summary.h"

#include "formats/models/source.h"
#include "formats/models/view.h"

#include <string.h>

const char *
role_name(enum tensor_role role)
{
    static const char *const names[ROLES] = { "embedding", "output", "attention", "feed-forward",
                                              "experts",   "norms",  "other" };

    return names[role];
}

static enum tensor_role
role_of(const char *name)
{
    const char *part = strncmp(name, "blk.", 4) == 0 ? strchr(name + 4, '.') : NULL;

    if (strstr(name, "_norm") != NULL)
        return ROLE_NORMS;
    if (strncmp(name, "token_embd", 10) == 0 || strncmp(name, "position_embd", 13) == 0)
        return ROLE_EMBEDDING;
    if (strncmp(name, "output", 6) == 0)
        return ROLE_OUTPUT;
    if (part == NULL)
        return ROLE_OTHER;
    if (strstr(part, "_exps") != NULL || strstr(part, "ffn_gate_inp") != NULL)
        return ROLE_EXPERTS;
    if (strncmp(part, ".attn_", 6) == 0)
        return ROLE_ATTENTION;
    return strncmp(part, ".ffn_", 5) == 0 ? ROLE_FEED_FORWARD : ROLE_OTHER;
}

double
total_bpw(const struct tensor_total *total)
{
    return total->elements == 0 ? 0 : 8.0 * (double)total->bytes / (double)total->elements;
}

static void
add(struct tensor_total *total, const struct nb_view *t)
{
    total->tensors++;
    total->elements += t->elements;
    total->bytes += nb_source_stored_bytes(t);
}

const char *
storage_name(const struct nb_view *t)
{
    const char *format = nb_source_packed_format(t);

    return format != NULL ? format : nb_type_info(t->type)->name;
}

/* The kind of T in OUT: the one of its name, or the first that has none yet; of more formats than fit, the type. */
static struct tensor_kind *
kind_of(struct model_summary *out, const struct nb_view *t)
{
    const char *name = storage_name(t);

    for (size_t i = nb_source_packed_format(t) == NULL ? (size_t)t->type : NB_TYPES; i < SUMMARY_KINDS; i++) {
        if (out->kind[i].name == NULL)
            out->kind[i].name = name;
        if (strcmp(out->kind[i].name, name) == 0)
            return &out->kind[i];
    }
    return &out->kind[t->type];
}

void
summarize(const struct nb_source *source, struct model_summary *out)
{
    memset(out, 0, sizeof *out);
    for (unsigned type = 0; type < NB_TYPES; type++)
        out->kind[type].name = nb_type_info((enum nb_type)type)->name;
    for (size_t i = 0; i < source->n_tensors; i++) {
        const struct nb_view *t = &source->tensors[i];
        const enum tensor_role role = role_of(t->name);

        add(&out->all, t);
        add(&kind_of(out, t)->total, t);
        add(&out->of_role[role], t);
        if (role != ROLE_EMBEDDING && role != ROLE_OUTPUT)
            add(&out->layers, t);
    }
}
