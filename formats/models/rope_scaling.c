#include "formats/models/rope_scaling.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

const char *
nb_rope_type(json_t *rope)
{
    const char *type = json_string_value(json_object_get(rope, "rope_type"));

    return type != NULL ? type : json_string_value(json_object_get(rope, "type"));
}

/* Whether FAMILY has a tensor that MAKE computes. */
static bool
makes(const struct nb_family *family, enum nb_status (*make)(const struct nb_conversion *, struct nb_arena *,
                                                             const float **, uint64_t *, struct nb_error *))
{
    for (size_t i = 0; i < family->n_made; i++)
        if (family->made[i].make == make)
            return true;
    return false;
}

/* Sets "ARCH.rope.scaling.KEY" to the number NAME of SCALING, if there is one that fits. */
static void
set_if_given(const char *arch, const char *key, json_t *scaling, const char *name, struct nb_metadata *meta)
{
    json_t *value = json_object_get(scaling, name);
    char full[128];

    if (!json_is_number(value) || fabs(json_number_value(value)) > (double)FLT_MAX)
        return;
    snprintf(full, sizeof full, "%s.rope.scaling.%s", arch, key);
    nb_meta_set_f32(meta, full, (float)json_number_value(value));
}

/* Sets "ARCH.rope.scaling.factor", which linear and yarn need. */
static enum nb_status
set_factor(const char *arch, const char *type, json_t *scaling, struct nb_metadata *meta, struct nb_error *err)
{
    json_t *value = json_object_get(scaling, "factor");

    if (value == NULL || json_is_null(value))
        return nb_fail(err, NB_INPUT, "config.json: its rotary scaling of type '%s' has no factor", type);
    if (!json_is_number(value) || !(json_number_value(value) > 0) || json_number_value(value) > (double)FLT_MAX)
        return nb_fail(err, NB_INPUT,
                       "config.json: the factor of its rotary scaling of type '%s' is no number above zero that fits "
                       "a 32-bit float",
                       type);
    set_if_given(arch, "factor", scaling, "factor", meta);
    return NB_OK;
}

/* As transformers (5.24, standardize_rope_params) does it, the context length takes the place of one that is absent. */
static enum nb_status
original_context(const struct nb_conversion *c, json_t *scaling, double *context, struct nb_error *err)
{
    json_t *value = json_object_get(scaling, "original_max_position_embeddings");

    *context = json_is_number(value) ? json_number_value(value) : nb_hp(c->hp, NB_HP_CONTEXT);
    if ((value != NULL && !json_is_null(value) && !json_is_number(value)) || !(*context >= 1) || *context > UINT32_MAX)
        return nb_fail(err, NB_INPUT,
                       "config.json: original_max_position_embeddings of its rotary scaling is not a number of tokens");
    return NB_OK;
}

static enum nb_status
write_yarn(const struct nb_conversion *c, json_t *scaling, struct nb_metadata *meta, struct nb_error *err)
{
    const char *arch = c->family->arch->name;
    char key[128];
    double context;
    enum nb_status status = set_factor(arch, "yarn", scaling, meta, err);

    if (status == NB_OK)
        status = original_context(c, scaling, &context, err);
    if (status != NB_OK)
        return status;
    snprintf(key, sizeof key, "%s.rope.scaling.original_context_length", arch);
    nb_meta_set_u32(meta, key, (uint32_t)context);
    set_if_given(arch, "yarn_ext_factor", scaling, "extrapolation_factor", meta);
    set_if_given(arch, "yarn_attn_factor", scaling,
                 json_is_number(json_object_get(scaling, "attention_factor")) ? "attention_factor" : "attn_factor",
                 meta);
    set_if_given(arch, "yarn_beta_fast", scaling, "beta_fast", meta);
    set_if_given(arch, "yarn_beta_slow", scaling, "beta_slow", meta);
    return NB_OK;
}

/* Its older name is "su". */
static bool
is_longrope(const char *type)
{
    return strcmp(type, "longrope") == 0 || strcmp(type, "su") == 0;
}

enum nb_status
nb_write_rope_scaling(const struct nb_conversion *c, struct nb_metadata *meta, struct nb_error *err)
{
    json_t *scaling = nb_config_rope(c->config);
    const char *type = nb_rope_type(scaling), *arch = c->family->arch->name;
    char key[128];

    /* llama3 has no keys: its factors are in rope_freqs.weight. */
    if (type == NULL || strcmp(type, "default") == 0 || strcmp(type, "mrope") == 0 || strcmp(type, "dynamic") == 0 ||
        (strcmp(type, "llama3") == 0 &&
         (makes(c->family, nb_make_rope_freqs) || makes(c->family, nb_make_half_rope_freqs))))
        return NB_OK;
    if (is_longrope(type) && makes(c->family, nb_make_long_factors)) {
        snprintf(key, sizeof key, "%s.rope.scaling.type", arch);
        nb_meta_set_string(meta, key, "longrope");
        return NB_OK;
    }
    if (strcmp(type, "linear") != 0 && strcmp(type, "yarn") != 0)
        return nb_fail(err, NB_UNSUPPORTED, "config.json: rotary scaling of type '%s' is not supported for %s", type,
                       c->family->classes[0]);
    snprintf(key, sizeof key, "%s.rope.scaling.type", arch);
    nb_meta_set_string(meta, key, type);
    return strcmp(type, "linear") == 0 ? set_factor(arch, type, scaling, meta, err) : write_yarn(c, scaling, meta, err);
}

enum nb_status
nb_pad_rope_sections(json_t *config, const char *name, struct nb_hparams *hp, struct nb_error *err)
{
    const struct nb_hparam_value v = hp->value[NB_HP_ROPE_SECTIONS];
    double sections[4] = { 0 };

    (void)config;
    if (!v.present)
        return NB_OK;
    if (v.each == NULL || v.count == 0 || v.count > 4)
        return nb_fail(err, NB_INPUT, "%s: mrope_section is not a list of up to 4 numbers", name);
    memcpy(sections, v.each, v.count * sizeof *sections);
    return nb_hp_set_each(hp, NB_HP_ROPE_SECTIONS, sections, 4, v.given, err);
}

static double
number_or(json_t *scaling, const char *name, double otherwise)
{
    json_t *value = json_object_get(scaling, name);

    return json_is_number(value) ? json_number_value(value) : otherwise;
}

/* Llama 3's scaling. Absent entries have the values that the reference converter puts in their place. */
struct llama3 {
    double factor, low, high, context;
};

/* *USED: whether the rotary scaling is Llama 3's. */
static enum nb_status
read_llama3(const struct nb_conversion *c, struct llama3 *l, bool *used, struct nb_error *err)
{
    json_t *scaling = nb_config_rope(c->config),
           *context = json_object_get(scaling, "original_max_position_embeddings");
    const char *type = nb_rope_type(scaling);

    *used = type != NULL && strcmp(type, "llama3") == 0;
    if (!*used)
        return NB_OK;
    *l = (struct llama3){ number_or(scaling, "factor", c->family->rope_factor > 0 ? c->family->rope_factor : 8),
                          number_or(scaling, "low_freq_factor", 1), number_or(scaling, "high_freq_factor", 4), 8192 };
    if (!(l->factor > 0) || !(l->low > 0) || !(l->high >= l->low)) /* equal in Llama 4 */
        return nb_fail(err, NB_INPUT, "config.json: the llama3 rope_scaling has factors that make no sense");
    return context == NULL || json_is_null(context) ? NB_OK : original_context(c, scaling, &l->context, err);
}

/*
 * torch uses float tensors, rounds a Python number to float when it is combined with one, and divides a
 * number by a tensor by multiplying with its reciprocal.
 */
static float
divide_floats(const struct llama3 *l, float frequency)
{
    const float wavelength = 1.0f / frequency * (float)(2 * M_PI);
    float smooth;

    if (wavelength < (float)(l->context / l->high))
        return 1;
    if (wavelength > (float)(l->context / l->low))
        return (float)l->factor;
    smooth = (1.0f / wavelength * (float)l->context - (float)l->low) / (float)(l->high - l->low);
    return 1.0f / ((1.0f - smooth) / (float)l->factor + smooth);
}

static float
divide_doubles(const struct llama3 *l, float frequency)
{
    const double wavelength = 2 * M_PI / (double)frequency;
    double smooth;

    if (wavelength < l->context / l->high)
        return 1;
    if (wavelength > l->context / l->low)
        return (float)l->factor;
    smooth = (l->context / wavelength - l->low) / (l->high - l->low);
    return (float)(1 / ((1 - smooth) / l->factor + smooth));
}

/* Divisors for COUNT pairs, of which those beyond the first DIMS / 2 are not rotated, so that theirs are 1. */
static enum nb_status
make_llama3(const struct nb_conversion *c, float dims, size_t count, float (*divide)(const struct llama3 *, float),
            struct nb_arena *arena, const float **values, struct nb_error *err)
{
    const float base = (float)nb_hp(c->hp, NB_HP_ROPE_BASE);
    struct llama3 l;
    bool used;
    float *out;
    enum nb_status status = read_llama3(c, &l, &used, err);

    *values = NULL;
    if (status != NB_OK || !used)
        return status;
    out = nb_arena_calloc(arena, count, sizeof *out);
    if (out == NULL)
        return nb_fail_memory(err);
    for (size_t i = 0; i < count; i++) {
        out[i] = (float)(2 * i) < dims ? divide(&l, 1.0f / powf(base, (float)(2 * i) / dims)) : 1;
        if (!isfinite(out[i]))
            return nb_fail(err, NB_INPUT, "config.json: the llama3 rope_scaling has factors beyond a 32-bit float");
    }
    *values = out;
    return NB_OK;
}

enum nb_status
nb_make_rope_freqs(const struct nb_conversion *c, struct nb_arena *arena, const float **values, uint64_t *count,
                   struct nb_error *err)
{
    const float dims = (float)nb_hp(c->hp, NB_HP_KEY_LENGTH);

    *count = (uint64_t)nb_hp(c->hp, NB_HP_KEY_LENGTH) / 2;
    return make_llama3(c, dims, (size_t)*count, divide_floats, arena, values, err);
}

enum nb_status
nb_make_half_rope_freqs(const struct nb_conversion *c, struct nb_arena *arena, const float **values, uint64_t *count,
                        struct nb_error *err)
{
    const float dims = floorf((float)nb_hp(c->hp, NB_HP_KEY_LENGTH) / 2);

    *count = (uint64_t)nb_hp(c->hp, NB_HP_KEY_LENGTH) / 2;
    return make_llama3(c, dims, (size_t)*count, divide_doubles, arena, values, err);
}

/* The factors NAME, rope_dims / 2 numbers above zero. */
static enum nb_status
make_factors(const struct nb_conversion *c, const char *name, struct nb_arena *arena, const float **values,
             uint64_t *count, struct nb_error *err)
{
    json_t *scaling = nb_config_rope(c->config), *factors = json_object_get(scaling, name), *factor;
    const char *type = nb_rope_type(scaling);
    const size_t half = (size_t)nb_hp(c->hp, NB_HP_ROPE_DIMS) / 2;
    float *out;
    size_t i;

    *values = NULL;
    if (type == NULL || !is_longrope(type))
        return NB_OK;
    if (json_array_size(factors) != half || half == 0)
        return nb_fail(err, NB_INPUT, "config.json: %s of its rotary scaling has %zu factors, but %zu are needed", name,
                       json_array_size(factors), half);
    out = nb_arena_calloc(arena, half, sizeof *out);
    if (out == NULL)
        return nb_fail_memory(err);
    json_array_foreach(factors, i, factor) {
        if (!json_is_number(factor) || !(json_number_value(factor) > 0) || json_number_value(factor) > (double)FLT_MAX)
            return nb_fail(err, NB_INPUT, "config.json: factor %zu in %s of its rotary scaling is no number above zero",
                           i, name);
        out[i] = (float)json_number_value(factor);
    }
    *values = out;
    *count = half;
    return NB_OK;
}

enum nb_status
nb_make_long_factors(const struct nb_conversion *c, struct nb_arena *arena, const float **values, uint64_t *count,
                     struct nb_error *err)
{
    return make_factors(c, "long_factor", arena, values, count, err);
}

enum nb_status
nb_make_short_factors(const struct nb_conversion *c, struct nb_arena *arena, const float **values, uint64_t *count,
                      struct nb_error *err)
{
    return make_factors(c, "short_factor", arena, values, count, err);
}
