/* How a checkpoint says that it is quantized: an object in config.json, or a file of the tool that made it. */
#include "formats/models/packed/packed.h"

#include "formats/safetensors/checkpoint.h"

#include <string.h>

static const char *
text(json_t *object, const char *name)
{
    const char *value = json_string_value(json_object_get(object, name));

    return value != NULL && *value != '\0' ? value : NULL;
}

/* What an object without quant_method is, by what it holds. */
static const char *
method_by_entries(json_t *object)
{
    if (json_object_get(object, "quant_algo") != NULL)
        return "modelopt";
    if (json_object_get(object, "config_groups") != NULL)
        return "compressed-tensors";
    return json_object_get(object, "qformat_weight") != NULL ? "fp8" : NULL;
}

static bool
take(struct nb_quantization *q, json_t *object, const char *method, const char *file)
{
    const char *named = text(object, "quant_method");

    if (json_object_size(object) == 0)
        return false;
    q->method = named != NULL ? named : method != NULL ? method : method_by_entries(object);
    q->config = object;
    q->file = file;
    return q->method != NULL;
}

/* MLX writes the same object under both names, and no method. */
static bool
take_from_config(struct nb_quantization *q, json_t *config)
{
    json_t *mlx = json_object_get(config, "quantization");

    if (take(q, json_object_get(config, "quantization_config"), NULL, "config.json") ||
        take(q, json_object_get(config, "compression_config"), "compressed-tensors", "config.json"))
        return true;
    return take(q, mlx, json_object_get(mlx, "group_size") != NULL ? "mlx" : NULL, "config.json");
}

enum nb_status
nb_quantization_find(struct nb_checkpoint *cp, struct nb_quantization *q, struct nb_error *err)
{
    static const struct {
        const char *file, *entry, *method;
    } files[] = {
        { "hf_quant_config.json", "quantization", "modelopt" },
        { "quantize_config.json", NULL, "gptq" },
        { "quant_config.json", NULL, "awq" },
    };
    enum nb_status status = NB_OK;

    if (take_from_config(q, cp->config) || take_from_config(q, json_object_get(cp->config, "text_config")))
        return NB_OK;
    for (size_t i = 0; i < sizeof files / sizeof files[0] && status == NB_OK; i++) {
        status = nb_checkpoint_json(cp, files[i].file, &q->owned, err);
        if (status == NB_OK && q->owned != NULL &&
            take(q, files[i].entry == NULL ? q->owned : json_object_get(q->owned, files[i].entry), files[i].method,
                 files[i].file))
            return NB_OK;
        json_decref(q->owned);
        q->owned = NULL;
    }
    q->config = NULL;
    q->method = NULL;
    return status;
}

/* Whether FORMAT, of compressed-tensors, can be read; NULL: it says nothing. */
static bool
is_known_format(const char *format)
{
    static const char *const known[] = {
        "dense",          "float-quantized",      "int-quantized",        "naive-quantized",
        "pack-quantized", "nvfp4-pack-quantized", "mxfp4-pack-quantized", "mixed-precision"
    };

    for (size_t i = 0; format != NULL && i < sizeof known / sizeof known[0]; i++)
        if (strcmp(format, known[i]) == 0)
            return true;
    return format == NULL;
}

enum nb_status
nb_quantization_check(const struct nb_quantization *q, struct nb_error *err)
{
    const char *format = text(q->config, "format"),
               *sparse = text(json_object_get(q->config, "sparsity_config"), "format");
    json_t *group;
    const char *key;

    if (q->method == NULL || strcmp(q->method, "compressed-tensors") != 0)
        return NB_OK;
    json_object_foreach(json_object_get(q->config, "config_groups"), key, group)
        if (is_known_format(format) && text(group, "format") != NULL)
            format = text(group, "format");
    if (!is_known_format(format))
        return nb_fail(err, NB_UNSUPPORTED, "weights in the format '%.64s' of compressed-tensors cannot be read",
                       format);
    if (sparse != NULL && strcmp(sparse, "dense") != 0)
        return nb_fail(err, NB_UNSUPPORTED, "weights in the sparse format '%.64s' of compressed-tensors cannot be read",
                       sparse);
    if (json_object_size(json_object_get(json_object_get(q->config, "transform_config"), "config_groups")) > 0)
        return nb_fail(err, NB_UNSUPPORTED,
                       "the transform_config of compressed-tensors transforms what weights are multiplied "
                       "with, which llama.cpp does not");
    return NB_OK;
}

void
nb_quantization_free(struct nb_quantization *q)
{
    json_decref(q->owned);
    *q = (struct nb_quantization){ 0 };
}
