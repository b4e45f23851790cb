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

void
nb_quantization_free(struct nb_quantization *q)
{
    json_decref(q->owned);
    *q = (struct nb_quantization){ 0 };
}
