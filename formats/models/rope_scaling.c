#include "formats/models/rope_scaling.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Checkpoints use one of two names; NULL if neither is present. */
static json_t *
find_scaling(json_t *config)
{
    json_t *scaling = nb_config_find(config, "rope_parameters");

    if (!json_is_object(scaling))
        scaling = nb_config_find(config, "rope_scaling");
    return json_is_object(scaling) ? scaling : NULL;
}

static const char *
type_of(json_t *scaling)
{
    const char *type = json_string_value(json_object_get(scaling, "rope_type"));

    return type != NULL ? type : json_string_value(json_object_get(scaling, "type"));
}

/* Whether FAMILY writes llama3's factors as a tensor. */
static bool
makes_freqs(const struct nb_family *family)
{
    for (size_t i = 0; i < family->n_made; i++)
        if (family->made[i].make == nb_make_rope_freqs)
            return true;
    return false;
}

/* Sets "ARCH.KEY" to the number NAME of SCALING; false if it is absent or out of range. */
static bool
scaling_number(const char *arch, const char *key, json_t *scaling, const char *name, bool as_integer,
               struct nb_metadata *meta)
{
    json_t *value = json_object_get(scaling, name);
    const double number = json_number_value(value);
    const bool fits = as_integer ? number >= 0 && number <= UINT32_MAX : fabs(number) <= (double)FLT_MAX;
    char full[128];

    if (!json_is_number(value) || !fits)
        return false;
    snprintf(full, sizeof full, "%s.rope.scaling.%s", arch, key);
    if (as_integer)
        nb_meta_set_u32(meta, full, (uint32_t)number);
    else
        nb_meta_set_f32(meta, full, (float)number);
    return true;
}

enum nb_status
nb_write_rope_scaling(const struct nb_conversion *c, struct nb_metadata *meta, struct nb_error *err)
{
    json_t *scaling = find_scaling(c->config);
    const char *type = type_of(scaling), *arch = c->family->arch->name;
    char key[128];

    /* llama3 has no keys: its factors are in rope_freqs.weight. */
    if (type == NULL || strcmp(type, "default") == 0 || (strcmp(type, "llama3") == 0 && makes_freqs(c->family)))
        return NB_OK;
    snprintf(key, sizeof key, "%s.rope.scaling.type", arch);
    nb_meta_set_string(meta, key, type);
    if (strcmp(type, "linear") == 0 && scaling_number(arch, "factor", scaling, "factor", false, meta))
        return NB_OK;
    if (strcmp(type, "yarn") == 0 && scaling_number(arch, "factor", scaling, "factor", false, meta) &&
        scaling_number(arch, "original_context_length", scaling, "original_max_position_embeddings", true, meta)) {
        scaling_number(arch, "yarn_ext_factor", scaling, "extrapolation_factor", false, meta);
        if (!scaling_number(arch, "yarn_attn_factor", scaling, "attention_factor", false, meta))
            scaling_number(arch, "yarn_attn_factor", scaling, "attn_factor", false, meta);
        scaling_number(arch, "yarn_beta_fast", scaling, "beta_fast", false, meta);
        scaling_number(arch, "yarn_beta_slow", scaling, "beta_slow", false, meta);
        return NB_OK;
    }
    return nb_fail(err, NB_UNSUPPORTED,
                   "config.json: rope_scaling of type '%s' is not supported for %s, or lacks its factors", type,
                   c->family->classes[0]);
}

static double
number_or(json_t *scaling, const char *name, double otherwise)
{
    json_t *value = json_object_get(scaling, name);

    return json_is_number(value) ? json_number_value(value) : otherwise;
}

enum nb_status
nb_make_rope_freqs(const struct nb_conversion *c, struct nb_arena *arena, const float **values, uint64_t *count,
                   struct nb_error *err)
{
    json_t *scaling = find_scaling(c->config);
    const char *type = type_of(scaling);
    const size_t half = (size_t)nb_hp(c->hp, NB_HP_KEY_LENGTH) / 2;
    const float dim = (float)nb_hp(c->hp, NB_HP_KEY_LENGTH);
    const float base = (float)number_or(scaling, "rope_theta", nb_hp(c->hp, NB_HP_ROPE_BASE));
    const double factor = number_or(scaling, "factor", 8), low = number_or(scaling, "low_freq_factor", 1),
                 high = number_or(scaling, "high_freq_factor", 4),
                 context = number_or(scaling, "original_max_position_embeddings", 8192);
    float *out;

    *values = NULL;
    if (type == NULL || strcmp(type, "llama3") != 0)
        return NB_OK;
    out = nb_arena_calloc(arena, half, sizeof *out);
    if (out == NULL)
        return nb_fail_memory(err);
    if (!(factor > 0) || !(low > 0) || !(high > low) || !(context > 0))
        return nb_fail(err, NB_INPUT, "config.json: the llama3 rope_scaling has factors that make no sense");
    for (size_t i = 0; i < half; i++) {
        /* torch uses float tensors, and rounds a Python number to float when it is combined with one. */
        const float frequency = 1.0f / powf(base, (float)(2 * i) / dim);
        const float wavelength = (float)(2 * M_PI) / frequency;

        if (wavelength < (float)(context / high)) {
            out[i] = 1;
        } else if (wavelength > (float)(context / low)) {
            out[i] = (float)factor;
        } else {
            const float smooth = ((float)context / wavelength - (float)low) / (float)(high - low);

            out[i] = 1.0f / ((1.0f - smooth) / (float)factor + smooth);
        }
        if (!isfinite(out[i]))
            return nb_fail(err, NB_INPUT, "config.json: the llama3 rope_scaling has factors beyond a 32-bit float");
    }
    *values = out;
    *count = half;
    return NB_OK;
}
