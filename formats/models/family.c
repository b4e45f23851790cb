#include "formats/models/family.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

const struct nb_family *const nb_families[] = { &nb_family_llama, &nb_family_mistral, NULL };

const struct nb_family *
nb_family_by_class(const char *class)
{
    for (const struct nb_family *const *f = nb_families; *f != NULL; f++)
        for (const char *const *c = (*f)->classes; *c != NULL; c++)
            if (strcmp(*c, class) == 0)
                return *f;
    return NULL;
}

const struct nb_family *
nb_family_by_arch(const char *arch)
{
    for (const struct nb_family *const *f = nb_families; *f != NULL; f++)
        if (strcmp((*f)->arch, arch) == 0)
            return *f;
    return NULL;
}

/* Sizes are multiplied with one another below; this bound keeps every such product in 64 bits. */
#define MAX_SIZE (1u << 30)
#define MAX_LAYERS 4096u

static enum nb_status
read_hparam(const struct nb_family_hparam *row, json_t *config, const char *name, struct nb_hparams *out,
            struct nb_error *err)
{
    json_t *value = json_object_get(config, row->config);

    if (value == NULL) /* where transformers 5 puts rope_theta */
        value = json_object_get(json_object_get(config, "rope_parameters"), row->config);
    double *to = &out->value[row->hparam];

    out->given[row->hparam] = false;
    if (value != NULL && !json_is_null(value)) {
        if (!json_is_number(value) || !isfinite(json_number_value(value)))
            return nb_fail(err, NB_INPUT, "%s: %s is not a number", name, row->config);
        *to = json_number_value(value);
        out->given[row->hparam] = true;
        if (row->is_integer && (*to < 1 || *to > MAX_SIZE || *to != floor(*to)))
            return nb_fail(err, NB_INPUT, "%s: %s is %g, which is not a size that a model can have", name,
                           row->config, *to);
        if (!(*to > 0 && *to <= (double)FLT_MAX))
            return nb_fail(err, NB_INPUT, "%s: %s is %g, but must be above zero and fit a 32-bit float", name,
                           row->config, *to);
        return NB_OK;
    }
    switch (row->otherwise) {
    case NB_REQUIRED:
        return nb_fail(err, NB_INPUT, "%s: has no %s", name, row->config);
    case NB_CONSTANT:
        *to = row->value;
        break;
    case NB_SAME_AS_HEADS:
        *to = out->value[NB_HP_HEADS];
        break;
    case NB_EMBEDDING_PER_HEAD:
        *to = floor(out->value[NB_HP_EMBEDDING] / out->value[NB_HP_HEADS]);
        break;
    }
    return NB_OK;
}

static const char *const hparam_names[NB_HPARAMS] = {
    [NB_HP_LAYERS] = "number of layers",
    [NB_HP_EMBEDDING] = "length of its embeddings",
    [NB_HP_FEED_FORWARD] = "size of its feed-forward layers",
    [NB_HP_HEADS] = "number of attention heads",
};

/* What holds of every model, wherever its hyperparameters come from. */
static enum nb_status
check_hparams(const double *v, const char *name, struct nb_error *err)
{
    if (v[NB_HP_LAYERS] > MAX_LAYERS)
        return nb_fail(err, NB_INPUT, "%s: %.0f layers are more than any model has", name,
                       v[NB_HP_LAYERS]);
    if (fmod(v[NB_HP_HEADS], v[NB_HP_KV_HEADS]) != 0)
        return nb_fail(err, NB_INPUT, "%s: %.0f attention heads cannot share %.0f key-value heads", name,
                       v[NB_HP_HEADS], v[NB_HP_KV_HEADS]);
    if (v[NB_HP_HEAD_DIM] < 2 || fmod(v[NB_HP_HEAD_DIM], 2) != 0)
        return nb_fail(err, NB_INPUT, "%s: a head dimension of %.0f cannot be rotated in pairs", name,
                       v[NB_HP_HEAD_DIM]);
    return NB_OK;
}

enum nb_status
nb_family_hparams(const struct nb_family *family, json_t *config, const char *name, struct nb_hparams *out,
                  struct nb_error *err)
{
    const double *v = out->value;

    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < family->n_hparams; i++) {
        enum nb_status status = read_hparam(&family->hparams[i], config, name, out, err);

        if (status != NB_OK)
            return status;
    }
    return check_hparams(v, name, err);
}

enum nb_status
nb_family_hparams_of(const struct nb_family *family, const struct nb_metadata *meta, const char *name,
                     struct nb_hparams *out, struct nb_error *err)
{
    double *v = out->value;

    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < family->n_keys; i++) {
        const struct nb_family_key *row = &family->keys[i];
        char key[128];
        double value;

        if (row->key == NULL)
            continue;
        snprintf(key, sizeof key, "%s.%s", family->arch, row->key);
        if (!nb_meta_get_f64(meta, key, &value))
            continue;
        if (!(value > 0) || (row->kind != NB_KEY_F32 && (value > MAX_SIZE || value != floor(value))))
            return nb_fail(err, NB_INPUT, "%s: %s is %g, which no model can have", name, key, value);
        v[row->hparam] = value;
        out->given[row->hparam] = true;
    }
    for (enum nb_hparam h = NB_HP_LAYERS; h <= NB_HP_HEADS; h++)
        if (h != NB_HP_CONTEXT && !out->given[h])
            return nb_fail(err, NB_INPUT, "%s: its metadata lacks the %s", name, hparam_names[h]);
    if (!out->given[NB_HP_KV_HEADS])
        v[NB_HP_KV_HEADS] = v[NB_HP_HEADS];
    if (!out->given[NB_HP_HEAD_DIM])
        v[NB_HP_HEAD_DIM] = floor(v[NB_HP_EMBEDDING] / v[NB_HP_HEADS]);
    if (!out->given[NB_HP_ROPE_THETA])
        v[NB_HP_ROPE_THETA] = 10000;
    if (!out->given[NB_HP_RMS_EPS])
        return nb_fail(err, NB_INPUT, "%s: its metadata lacks the epsilon of its norms", name);
    return check_hparams(v, name, err);
}

uint64_t
nb_family_side(enum nb_side side, const struct nb_hparams *hp)
{
    switch (side) {
    case NB_SIDE_EMBEDDING:
        return (uint64_t)hp->value[NB_HP_EMBEDDING];
    case NB_SIDE_FEED_FORWARD:
        return (uint64_t)hp->value[NB_HP_FEED_FORWARD];
    case NB_SIDE_Q:
        return (uint64_t)hp->value[NB_HP_HEADS] * (uint64_t)hp->value[NB_HP_HEAD_DIM];
    case NB_SIDE_KV:
        return (uint64_t)hp->value[NB_HP_KV_HEADS] * (uint64_t)hp->value[NB_HP_HEAD_DIM];
    case NB_SIDE_VOCAB:
        return (uint64_t)hp->value[NB_HP_VOCAB];
    case NB_SIDE_NONE:
    default:
        return 1;
    }
}

void
nb_name_in_layer(const char *pattern, uint64_t layer, char *name, size_t size)
{
    const char *hole = strstr(pattern, "%u");

    if (hole == NULL)
        snprintf(name, size, "%s", pattern);
    else
        snprintf(name, size, "%.*s%" PRIu64 "%s", (int)(hole - pattern), pattern, layer, hole + 2);
}

json_t *
nb_rope_scaling(json_t *config)
{
    json_t *scaling = json_object_get(config, "rope_parameters");

    if (!json_is_object(scaling))
        scaling = json_object_get(config, "rope_scaling");
    return json_is_object(scaling) ? scaling : NULL;
}

const char *
nb_rope_type(json_t *scaling)
{
    const char *type = json_string_value(json_object_get(scaling, "rope_type"));

    return type != NULL ? type : json_string_value(json_object_get(scaling, "type"));
}

/* Sets "ARCH.KEY" from the number NAME of SCALING; false if there is none that can be written. */
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

static enum nb_status
rope_scaling_keys(const struct nb_family *family, json_t *config, struct nb_metadata *meta, struct nb_error *err)
{
    json_t *scaling = nb_rope_scaling(config);
    const char *type = nb_rope_type(scaling), *arch = family->arch;
    char key[128];

    /* llama3 is in the factors of rope_freqs.weight and has no keys. */
    if (type == NULL || strcmp(type, "default") == 0 ||
        (strcmp(type, "llama3") == 0 && family->can_scale_rope_llama3))
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
    return nb_fail(err, NB_INPUT, "config.json: rope_scaling of type '%s' is not supported for %s, or lacks its factors",
                   type, family->classes[0]);
}

enum nb_status
nb_family_metadata(const struct nb_family *family, json_t *config, const struct nb_hparams *hp,
                   uint32_t file_type, struct nb_metadata *meta, struct nb_error *err)
{
    for (size_t i = 0; i < family->n_keys; i++) {
        const struct nb_family_key *row = &family->keys[i];
        const double value = hp->value[row->hparam];
        enum nb_status status;
        char key[128];

        snprintf(key, sizeof key, "%s.%s", family->arch, row->key == NULL ? "" : row->key);
        switch (row->kind) {
        case NB_KEY_U32_IF_GIVEN:
            if (!hp->given[row->hparam])
                break;
            /* fall through */
        case NB_KEY_U32:
            nb_meta_set_u32(meta, key, (uint32_t)value);
            break;
        case NB_KEY_F32:
            nb_meta_set_f32(meta, key, (float)value);
            break;
        case NB_KEY_ROPE_SCALING:
            status = rope_scaling_keys(family, config, meta, err);
            if (status != NB_OK)
                return status;
            break;
        case NB_KEY_FILE_TYPE:
            nb_meta_set_u32(meta, "general.file_type", file_type);
            break;
        }
    }
    return nb_meta_status(meta, err);
}

static double
number_or(json_t *scaling, const char *name, double otherwise)
{
    json_t *value = json_object_get(scaling, name);

    return json_is_number(value) ? json_number_value(value) : otherwise;
}

enum nb_status
nb_rope_llama3_factors(json_t *scaling, const struct nb_hparams *hp, struct nb_arena *arena, const float **factors,
                       struct nb_error *err)
{
    const size_t half = (size_t)hp->value[NB_HP_HEAD_DIM] / 2;
    const float dim = (float)hp->value[NB_HP_HEAD_DIM];
    const float base = (float)number_or(scaling, "rope_theta", hp->value[NB_HP_ROPE_THETA]);
    const double factor = number_or(scaling, "factor", 8), low = number_or(scaling, "low_freq_factor", 1),
                 high = number_or(scaling, "high_freq_factor", 4),
                 context = number_or(scaling, "original_max_position_embeddings", 8192);
    float *out = nb_arena_calloc(arena, half, sizeof *out);

    if (out == NULL)
        return nb_fail_memory(err);
    if (!(factor > 0) || !(low > 0) || !(high > low) || !(context > 0))
        return nb_fail(err, NB_INPUT, "config.json: the llama3 rope_scaling has factors that make no sense");
    for (size_t i = 0; i < half; i++) {
        /* torch: float tensors; a Python number that meets one is rounded to float. */
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
    *factors = out;
    return NB_OK;
}
