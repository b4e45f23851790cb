#include "formats/safetensors/write.h"

#include "formats/base/json_write.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static json_t *
numbers(const uint64_t *values, uint32_t count)
{
    json_t *array = json_array();

    for (uint32_t i = 0; i < count && array != NULL; i++)
        if (json_array_append_new(array, json_integer((json_int_t)values[i])) != 0) {
            json_decref(array);
            return NULL;
        }
    return array;
}

static json_t *
entry_of(const struct nb_safetensor_out *t)
{
    const uint64_t place[2] = { t->offset, t->offset + t->bytes };

    return json_pack("{s:o, s:s, s:o}", "data_offsets", numbers(place, 2), "dtype", nb_type_info(t->type)->safetensors,
                     "shape", numbers(t->shape, t->n_dims));
}

static char *
text_of(const char *format, const struct nb_safetensor_out *tensors, size_t count)
{
    json_t *whole = json_pack("{s:{s:s}}", "__metadata__", "format", format);
    char *text = NULL;
    bool good = whole != NULL;

    for (size_t i = 0; i < count && good; i++)
        good = json_object_set_new(whole, tensors[i].name, entry_of(&tensors[i])) == 0;
    if (good)
        text = nb_json_write(whole, NB_JSON_COMPACT);
    json_decref(whole);
    return text;
}

enum nb_status
nb_safetensors_header(const char *format, const struct nb_safetensor_out *tensors, size_t count, uint64_t alignment,
                      unsigned char **header, uint64_t *header_bytes, struct nb_error *err)
{
    char *text = text_of(format, tensors, count);
    const size_t length = text == NULL ? 0 : strlen(text);
    const size_t padding = (size_t)((alignment - (8 + length) % alignment) % alignment);

    *header = text == NULL ? NULL : malloc(8 + length + padding);
    if (*header == NULL) {
        free(text);
        return nb_fail_memory(err);
    }
    for (unsigned i = 0; i < 8; i++)
        (*header)[i] = (unsigned char)((uint64_t)(length + padding) >> 8 * i);
    memcpy(*header + 8, text, length);
    memset(*header + 8 + length, ' ', padding);
    *header_bytes = 8 + length + padding;
    free(text);
    return NB_OK;
}
