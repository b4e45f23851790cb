#include "formats/models/architecture.h"

#include "formats/models/expression.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct nb_arch *const nb_archs[] = {
#define NB_ARCH(identifier) &nb_arch_##identifier,
#include "formats/models/architectures/architectures.def"
#undef NB_ARCH
    NULL,
};

const enum nb_hparam nb_arch_demanded[] = { NB_HP_LAYERS, NB_HP_CONTEXT, NB_HP_EMBEDDING };
const size_t nb_arch_n_demanded = sizeof nb_arch_demanded / sizeof nb_arch_demanded[0];

const struct nb_arch *
nb_arch_by_name(const char *name)
{
    for (const struct nb_arch *const *a = nb_archs; *a != NULL; a++)
        if (strcmp((*a)->name, name) == 0)
            return *a;
    return NULL;
}

bool
nb_window_slides(const struct nb_window_rule *rule, uint64_t layer)
{
    return rule->first_is_full ? layer % rule->period != 0 : layer % rule->period < rule->period - 1;
}

bool
nb_layer_slides(const struct nb_window_rule *usual, const struct nb_hparams *hp, uint64_t layer)
{
    struct nb_window_rule rule = *usual;

    if (nb_hp_or(hp, NB_HP_SLIDING_WINDOW, (double)rule.window) == 0 ||
        (rule.period == 0 && !nb_hp_has(hp, NB_HP_SLIDING_PATTERN)))
        return false;
    if (hp->value[NB_HP_SLIDING_PATTERN].each != NULL)
        return nb_hp_at(hp, NB_HP_SLIDING_PATTERN, layer) != 0;
    rule.period = (uint64_t)nb_hp_or(hp, NB_HP_SLIDING_PATTERN, (double)rule.period);
    return rule.period == 0 || nb_window_slides(&rule, layer);
}

uint64_t
nb_arch_window(const struct nb_arch *arch, const struct nb_hparams *hp, uint64_t layer)
{
    const uint64_t given = (uint64_t)nb_hp_or(hp, NB_HP_SLIDING_WINDOW, (double)arch->window.window);
    const uint64_t window = given == 0 ? 0 : given + arch->window.own;

    return arch->attention.always_slides || nb_layer_slides(&arch->window, hp, layer) ? window : 0;
}

const struct nb_arch_tensor *
nb_arch_find(const struct nb_arch *arch, const char *name, uint64_t *layer)
{
    uint64_t expert;

    *layer = 0;
    for (size_t i = 0; i < arch->n_tensors; i++)
        if (nb_name_matches(arch->tensors[i].name, name, layer, &expert))
            return &arch->tensors[i];
    return NULL;
}

const struct nb_arch_tensor *
nb_arch_row(const struct nb_arch *arch, const char *pattern)
{
    for (size_t i = 0; i < arch->n_tensors; i++)
        if (strcmp(arch->tensors[i].name, pattern) == 0)
            return &arch->tensors[i];
    return NULL;
}

bool
nb_arch_shape_beside(const struct nb_arch_tensor *row, const struct nb_hparams *hp, uint64_t layer,
                     const uint64_t found[NB_MAX_DIMS], uint64_t ne[NB_MAX_DIMS], uint32_t *n_dims)
{
    *n_dims = 0;
    for (unsigned i = 0; i < NB_MAX_DIMS; i++) {
        const bool is_open = row->ne[i] != NULL && *row->ne[i] == '?';

        ne[i] = 1;
        if (row->ne[i] == NULL)
            continue;
        if (!nb_expression_count(row->ne[i] + is_open, hp, layer, &ne[i]))
            return false;
        if (is_open && ne[i] == 0 && found == NULL)
            return false;
        if (is_open && ne[i] == 0)
            ne[i] = found[i];
        *n_dims = i + 1;
    }
    return true;
}

bool
nb_arch_shape(const struct nb_arch_tensor *row, const struct nb_hparams *hp, uint64_t layer, uint64_t ne[NB_MAX_DIMS],
              uint32_t *n_dims)
{
    return nb_arch_shape_beside(row, hp, layer, NULL, ne, n_dims);
}

bool
nb_arch_is_layered(const struct nb_arch_tensor *row)
{
    return strstr(row->name, "%l") != NULL;
}

/* --- hyperparameters -------------------------------------------------------------------------------------- */

enum nb_status
nb_hparams_check(const struct nb_hparams *hp, const char *name, struct nb_error *err)
{
    const double layers = nb_hp(hp, NB_HP_LAYERS), length = nb_hp(hp, NB_HP_KEY_LENGTH);

    if (layers > NB_MAX_LAYERS)
        return nb_fail(err, NB_INPUT, "%s: %.0f layers are more than any model has", name, layers);
    for (uint64_t i = 0; i < (uint64_t)layers; i++) {
        const double heads = nb_hp_at(hp, NB_HP_HEADS, i), kv_heads = nb_hp_at(hp, NB_HP_KV_HEADS, i);

        if (kv_heads > 0 && fmod(heads, kv_heads) != 0)
            return nb_fail(err, NB_INPUT, "%s: %.0f attention heads cannot share %.0f key-value heads", name, heads,
                           kv_heads);
    }
    if (nb_hp(hp, NB_HP_HEADS) > 0 && (length < 2 || fmod(length, 2) != 0))
        return nb_fail(err, NB_INPUT, "%s: a head dimension of %.0f cannot be rotated in pairs", name, length);
    return NB_OK;
}

static enum nb_status
check_demanded(const struct nb_hparams *hp, const enum nb_hparam *demanded, size_t n, const char *name,
               struct nb_error *err)
{
    for (size_t i = 0; i < n; i++)
        if (!nb_hp_has(hp, demanded[i]))
            return nb_fail(err, NB_INPUT, "%s: its metadata lacks the %s", name, nb_hparam_info(demanded[i])->label);
    return NB_OK;
}

/* Rejects values out of range, and 0 where it would be a count or a divisor. */
static enum nb_status
check_ranges(const struct nb_arch *arch, const struct nb_hparams *hp, const char *name, struct nb_error *err)
{
    for (unsigned i = 0; i < NB_HPARAMS; i++) {
        const struct nb_hparam_value *v = &hp->value[i];
        const struct nb_hparam_info *row = nb_hparam_info((enum nb_hparam)i);
        char key[128];

        if (!v->present || row->type == NB_HP_TYPE_TEXT || v->each != NULL ||
            (v->number >= row->low && v->number <= row->high))
            continue;
        nb_hparam_key((enum nb_hparam)i, arch->name, key);
        return nb_fail(err, NB_INPUT, "%s: %s is %g, which no model can have", name, key, v->number);
    }
    return NB_OK;
}

/* What llama.cpp v0.5.0 asserts of a mixture (llama_model_base::load_hparams), where a single expert may mean none. */
static enum nb_status
check_experts(const struct nb_arch *arch, const struct nb_hparams *hp, const char *name, struct nb_error *err)
{
    const double experts = nb_hp(hp, NB_HP_EXPERTS), groups = nb_hp(hp, NB_HP_EXPERT_GROUPS);
    double used = 0;

    if (experts <= 1 && strcmp(arch->name, "hunyuan-dense") == 0)
        return NB_OK;
    for (uint64_t i = 0; i < (uint64_t)fmin(nb_hp(hp, NB_HP_LAYERS), NB_MAX_LAYERS); i++)
        used = fmax(used, nb_hp_at(hp, NB_HP_EXPERTS_USED, i));
    if (used > experts)
        return nb_fail(err, NB_INPUT, "%s: %.0f of %.0f experts cannot be used", name, used, experts);
    if (experts > 0 && used == 0)
        return nb_fail(err, NB_INPUT, "%s: does not say how many of its %.0f experts are used", name, experts);
    if (groups > 1 && (groups >= experts || fmod(experts, groups) != 0))
        return nb_fail(err, NB_INPUT, "%s: %.0f experts do not make %.0f groups", name, experts, groups);
    if (groups > 1 && (nb_hp(hp, NB_HP_EXPERT_GROUPS_USED) < 1 || nb_hp(hp, NB_HP_EXPERT_GROUPS_USED) >= groups))
        return nb_fail(err, NB_INPUT, "%s: %.0f of %.0f groups of experts cannot be used", name,
                       nb_hp(hp, NB_HP_EXPERT_GROUPS_USED), groups);
    return NB_OK;
}

/* Sets "slides" by layer. */
static enum nb_status
set_slides(const struct nb_arch *arch, struct nb_hparams *hp, struct nb_error *err)
{
    const size_t layers = (size_t)fmin(nb_hp(hp, NB_HP_LAYERS), NB_MAX_LAYERS);
    double slides[NB_MAX_LAYERS];

    for (size_t i = 0; i < layers; i++)
        slides[i] = nb_arch_window(arch, hp, i) > 0;
    return nb_hp_set_each(hp, NB_HP_SLIDES, slides, layers, false, err);
}

static void
set_default(struct nb_hparams *hp, enum nb_hparam hparam, const char *expression)
{
    if (!nb_hp_has(hp, hparam))
        nb_hp_set(hp, hparam, nb_expression(expression, hp, 0), false);
}

enum nb_status
nb_arch_complete(const struct nb_arch *arch, struct nb_hparams *hp, const char *name, struct nb_error *err)
{
    enum nb_status status = check_demanded(hp, nb_arch_demanded, nb_arch_n_demanded, name, err);

    if (status == NB_OK)
        status = check_demanded(hp, arch->demanded, arch->n_demanded, name, err);
    if (status == NB_OK)
        status = check_ranges(arch, hp, name, err);
    if (status == NB_OK)
        status = check_experts(arch, hp, name, err);
    if (status != NB_OK)
        return status;
    if (!nb_hp_has(hp, NB_HP_KV_HEADS))
        hp->value[NB_HP_KV_HEADS] = hp->value[NB_HP_HEADS]; /* also the values by layer */
    if (nb_hp(hp, NB_HP_HEADS) > 0) {
        set_default(hp, NB_HP_KEY_LENGTH, "embedding // heads");
        set_default(hp, NB_HP_VALUE_LENGTH, "embedding // heads");
    }
    set_default(hp, NB_HP_ROPE_DIMS, "key_length");
    set_default(hp, NB_HP_ROPE_BASE, "10000");
    status = set_slides(arch, hp, err);
    for (size_t i = 0; i < arch->n_defaults && status == NB_OK; i++)
        if (!nb_hp_has(hp, arch->defaults[i].hparam))
            status = nb_expression_set(arch->defaults[i].value, hp, arch->defaults[i].hparam, err);
    if (status != NB_OK)
        return status;
    for (size_t i = 0; i < arch->n_rules; i++)
        if (!nb_expression_holds(arch->rules[i].holds, hp, 0))
            return nb_fail(err, NB_INPUT, "%s: %s", name, arch->rules[i].violated);
    return nb_hparams_check(hp, name, err);
}

/* --- name patterns ----------------------------------------------------------------------------------------- */

static bool
is_hole(const char *at)
{
    return at[0] == '%' && (at[1] == 'l' || at[1] == 'e');
}

void
nb_name_fill(const char *pattern, uint64_t layer, uint64_t expert, char *name, size_t size)
{
    size_t at = 0;

    while (*pattern != '\0' && at + 1 < size) {
        if (is_hole(pattern)) {
            at += (size_t)snprintf(name + at, size - at, "%" PRIu64, pattern[1] == 'l' ? layer : expert);
            pattern += 2;
        } else {
            name[at++] = *pattern++;
        }
    }
    name[at < size ? at : size - 1] = '\0';
}

bool
nb_name_matches(const char *pattern, const char *name, uint64_t *layer, uint64_t *expert)
{
    while (*pattern != '\0') {
        size_t digits;

        if (!is_hole(pattern)) {
            if (*pattern++ != *name++)
                return false;
            continue;
        }
        digits = strspn(name, "0123456789");
        if (digits == 0 || digits > 6 || (digits > 1 && *name == '0'))
            return false;
        *(pattern[1] == 'l' ? layer : expert) = strtoull(name, NULL, 10);
        name += digits;
        pattern += 2;
    }
    return *name == '\0';
}
