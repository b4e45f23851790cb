#include "cli/effects_file.h"

#include "cli/json.h"
#include "formats/base/file_out.h"
#include "formats/base/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define VERSION 1

/* The member of FILE's list for the tensor NAME. */
static const json_t *
find(const json_t *list, const char *name)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *tensor = json_array_get(list, i);
        const char *its = json_string_value(json_object_get(tensor, "name"));

        if (its != NULL && strcmp(its, name) == 0)
            return tensor;
    }
    return NULL;
}

/* Leaves the candidates whose cost is known; false if a cost is no number, or negative. */
static bool
take_costs(const json_t *kld, struct nb_allocated *t)
{
    size_t n = 0;

    for (size_t i = 0; i < t->n; i++) {
        struct nb_candidate *c = &t->candidate[i];
        const json_t *cost = json_object_get(kld, nb_type_info(c->type)->name);

        if (cost == NULL)
            continue;
        if (!json_is_number(cost) || !(json_number_value(cost) >= 0) || !isfinite(json_number_value(cost)))
            return false;
        t->candidate[n] = *c;
        t->candidate[n++].cost = json_number_value(cost);
    }
    t->n = n;
    return true;
}

enum nb_status
effects_read(const char *path, struct nb_allocated *tensors, size_t *count, struct nb_error *err)
{
    const json_t *list;
    json_t *file;
    size_t n = 0;
    enum nb_status status = nb_json_load(path, 0, &file, err);

    if (status != NB_OK)
        return status;
    list = json_object_get(file, "tensors");
    if (json_integer_value(json_object_get(file, "effects")) != VERSION || !json_is_array(list))
        status = nb_fail(err, NB_INPUT, "%s: is no table of effects, as 'nibble quantize --effects' writes it", path);
    for (size_t i = 0; i < *count && status == NB_OK; i++) {
        const json_t *tensor = find(list, tensors[i].name);

        if (tensor == NULL)
            continue;
        if (!take_costs(json_object_get(tensor, "kld"), &tensors[i]))
            status = nb_fail(err, NB_INPUT, "%s: tensor '%s': a cost is no number that is 0 or more", path,
                             tensors[i].name);
        else if (tensors[i].n > 0)
            tensors[n++] = tensors[i];
    }
    if (status == NB_OK && n == 0)
        status = nb_fail(err, NB_INPUT, "%s: has no tensor of this model in a type that may be used", path);
    *count = n;
    json_decref(file);
    return status;
}

static json_t *
make(const struct nb_allocated *tensors, size_t count)
{
    json_t *list = cli_json_array();

    for (size_t i = 0; i < count; i++) {
        json_t *kld = cli_json("{}");

        for (size_t k = 0; k < tensors[i].n; k++)
            cli_json_set(kld, nb_type_info(tensors[i].candidate[k].type)->name,
                         cli_json_real(tensors[i].candidate[k].cost));
        cli_json_add(list, cli_json("{s:s, s:o}", "name", tensors[i].name, "kld", kld));
    }
    return cli_json("{s:i, s:o}", "effects", VERSION, "tensors", list);
}

enum nb_status
effects_write(const char *path, const struct nb_allocated *tensors, size_t count, struct nb_error *err)
{
    json_t *object = make(tensors, count);
    char *text = json_dumps(object, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
    struct nb_file_out out;
    enum nb_status status = text == NULL || cli_has_lost() ? nb_fail_memory(err) : NB_OK;

    if (status == NB_OK)
        status = nb_out_create(&out, path, 0, false, err);
    if (status == NB_OK) {
        status = nb_out_write(&out, 0, text, strlen(text), err);
        if (status == NB_OK)
            status = nb_out_commit(&out, false, err);
        else
            nb_out_abort(&out, err);
    }
    free(text);
    json_decref(object);
    return status;
}
