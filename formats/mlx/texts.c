#include "formats/mlx/texts.h"

#include "formats/base/json_write.h"
#include "formats/base/names.h"

#include <stdlib.h>
#include <string.h>

/* --- config.json --------------------------------------------------------------------------------------------- */

static const struct {
    enum nb_type type;
    const char *name;
} dtypes[] = { { NB_F16, "float16" }, { NB_BF16, "bfloat16" }, { NB_F32, "float32" } };

#define N_DTYPES (sizeof dtypes / sizeof dtypes[0])

static const char *
dtype_name(enum nb_type type)
{
    for (size_t i = 0; i < N_DTYPES; i++)
        if (dtypes[i].type == type)
            return dtypes[i].name;
    return NULL;
}

enum nb_type
nb_mlx_config_dtype(json_t *config)
{
    json_t *inner = json_object_get(config, "text_config");
    json_t *const said[] = { json_object_get(config, "torch_dtype"), json_object_get(config, "dtype"),
                             json_object_get(inner, "torch_dtype"), json_object_get(inner, "dtype") };

    for (size_t i = 0; i < sizeof said / sizeof said[0]; i++)
        for (size_t k = 0; k < N_DTYPES && json_is_string(said[i]); k++)
            if (strcmp(json_string_value(said[i]), dtypes[k].name) == 0)
                return dtypes[k].type;
    return NB_TYPE_NONE;
}

static json_t *
entry_of(const struct nb_mlx_format *f, bool without_mode)
{
    json_t *entry = json_pack("{s:i, s:i}", "group_size", (int)f->group, "bits", (int)f->bits);

    if (entry != NULL && !without_mode &&
        json_object_set_new(entry, "mode", json_string(nb_mlx_mode_name(f->mode))) != 0) {
        json_decref(entry);
        return NULL;
    }
    return entry;
}

static bool
set_quantization(json_t *config, const struct nb_mlx_quantization *q)
{
    json_t *entry = entry_of(&q->format, false);
    bool good = entry != NULL;

    for (size_t i = 0; i < q->n_exceptions && good; i++)
        good = json_object_set_new(entry, q->exceptions[i].module,
                                   entry_of(&q->exceptions[i].format, q->exceptions[i].without_mode)) == 0;
    good = good && json_object_set(config, "quantization", entry) == 0 &&
           json_object_set(config, "quantization_config", entry) == 0;
    json_decref(entry);
    return good;
}

static bool
is_true_in_python(json_t *value)
{
    return value != NULL && !json_is_null(value) && !json_is_false(value) &&
           !(json_is_integer(value) && json_integer_value(value) == 0) &&
           !(json_is_array(value) && json_array_size(value) == 0);
}

/* rope_parameters { rope_theta, rope_type, ... } as rope_theta and rope_scaling, which mlx-lm reads. */
static bool
spread_rope_parameters(json_t *config)
{
    json_t *rope = json_object_get(config, "rope_parameters"), *theta = json_object_get(rope, "rope_theta");
    const char *type = json_string_value(json_object_get(rope, "rope_type"));
    json_t *scaling;
    bool good = true;

    if (theta == NULL)
        return true;
    if (json_object_get(config, "rope_theta") == NULL)
        good = json_object_set(config, "rope_theta", theta) == 0;
    if (!good || type == NULL || strcmp(type, "default") == 0 || json_object_get(config, "rope_scaling") != NULL)
        return good;
    scaling = json_copy(rope);
    good = scaling != NULL && json_object_del(scaling, "rope_theta") == 0 &&
           json_object_set(config, "rope_scaling", scaling) == 0;
    json_decref(scaling);
    return good;
}

bool
nb_mlx_set_dtype(json_t *config, enum nb_type dtype)
{
    static const char *const keys[] = { "torch_dtype", "dtype" };
    const char *name = dtype_name(dtype);
    bool said = nb_mlx_config_dtype(config) == dtype;

    for (size_t i = 0; i < 2 && name != NULL; i++) {
        if (!json_is_string(json_object_get(config, keys[i])))
            continue;
        if (json_object_set_new(config, keys[i], json_string(name)) != 0)
            return false;
        said = true;
    }
    return said || name == NULL || json_object_set_new(config, "torch_dtype", json_string(name)) == 0;
}

static int
by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* OBJECT with its own keys, but not those of inner objects, in the order of their bytes. NULL if out of memory. */
static json_t *
sorted(json_t *object)
{
    const size_t n = json_object_size(object);
    const char **keys = calloc(n + 1, sizeof *keys), *key;
    json_t *value, *out = json_object();
    bool good = keys != NULL && out != NULL;
    size_t i = 0;

    if (good) {
        json_object_foreach(object, key, value)
            keys[i++] = key;
        qsort(keys, n, sizeof *keys, by_text);
    }
    for (i = 0; i < n && good; i++)
        good = json_object_set(out, keys[i], json_object_get(object, keys[i])) == 0;
    free(keys);
    if (good)
        return out;
    json_decref(out);
    return NULL;
}

/* OBJECT, which is released, as TEXT. */
static enum nb_status
write_sorted(json_t *object, char **text, struct nb_error *err)
{
    json_t *in_order = sorted(object);

    *text = in_order == NULL ? NULL : nb_json_write(in_order, NB_JSON_INDENTED);
    json_decref(in_order);
    json_decref(object);
    return *text == NULL ? nb_fail_memory(err) : NB_OK;
}

enum nb_status
nb_mlx_config_text(json_t *config, json_t *generation, enum nb_type dtype, const struct nb_mlx_quantization *q,
                   char **text, struct nb_error *err)
{
    static const char *const dropped[] = { "_name_or_path", "vision_config", "quantization_config", "quantization" };
    json_t *end = json_object_get(generation, "eos_token_id");
    json_t *own = json_copy(config);
    bool good = own != NULL;

    *text = NULL;
    for (size_t i = 0; i < sizeof dropped / sizeof dropped[0] && good; i++)
        (void)json_object_del(own, dropped[i]);
    if (good && is_true_in_python(end))
        good = json_object_set(own, "eos_token_id", end) == 0;
    good = good && spread_rope_parameters(own) && nb_mlx_set_dtype(own, dtype) &&
           (q->format.bits == 0 || set_quantization(own, q));
    if (good)
        return write_sorted(own, text, err);
    json_decref(own);
    return nb_fail_memory(err);
}

/* --- the index ------------------------------------------------------------------------------------------------ */

enum nb_status
nb_mlx_index_text(const struct nb_mlx_placed *arrays, size_t count, uint64_t bytes, uint64_t parameters, char **text,
                  struct nb_error *err)
{
    const void **sorted_arrays = nb_list_by_name(arrays, count, sizeof *arrays);
    json_t *map = json_object(), *whole;
    bool good = sorted_arrays != NULL && map != NULL;

    for (size_t i = 0; i < count && good; i++) {
        const struct nb_mlx_placed *a = sorted_arrays[i];

        good = json_object_set_new(map, a->name, json_string(a->file)) == 0;
    }
    free(sorted_arrays);
    if (!good) {
        json_decref(map);
        return nb_fail_memory(err);
    }
    whole = json_pack("{s:{s:I, s:I}, s:o}", "metadata", "total_size", (json_int_t)bytes, "total_parameters",
                      (json_int_t)parameters, "weight_map", map);
    *text = whole == NULL ? NULL : nb_json_write(whole, NB_JSON_INDENTED);
    json_decref(whole);
    return *text == NULL ? nb_fail_memory(err) : NB_OK;
}
