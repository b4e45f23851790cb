#include "calib/effects_file.h"

#include "formats/base/file_out.h"
#include "formats/base/json.h"
#include "quantize/policy/allocation.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define VERSION 1

/* --- reading --------------------------------------------------------------------------------------------------- */

static bool
are_costs(const json_t *kld)
{
    const char *type;
    json_t *cost;

    json_object_foreach((json_t *)kld, type, cost) {
        const double x = json_number_value(cost);

        if (!json_is_number(cost) || !(x >= 0) || !isfinite(x))
            return false;
    }
    return true;
}

/* Puts the members of LIST into FILE by their names; members that are something else are passed over. */
static enum nb_status
index_by_name(struct nb_effects_file *file, const json_t *list, const char *path, struct nb_error *err)
{
    json_t *tensor;
    size_t i;

    json_array_foreach(list, i, tensor) {
        const char *name = json_string_value(json_object_get(tensor, "name"));
        json_t *kld = json_object_get(tensor, "kld");

        if (name == NULL || !json_is_object(kld))
            continue;
        if (!are_costs(kld))
            return nb_fail(err, NB_INPUT, "%s: tensor '%s': a cost is no number that is 0 or more", path, name);
        if (json_object_get(file->of, name) != NULL)
            return nb_fail(err, NB_INPUT, "%s: tensor '%s' is there twice", path, name);
        if (json_object_set(file->of, name, kld) != 0)
            return nb_fail_memory(err);
    }
    return NB_OK;
}

enum nb_status
nb_effects_load(struct nb_effects_file *file, const char *path, struct nb_error *err)
{
    const json_t *list;
    json_t *whole;
    enum nb_status status = nb_json_load(path, 0, &whole, err);

    file->of = NULL;
    if (status != NB_OK)
        return status;
    list = json_object_get(whole, "tensors");
    if (json_integer_value(json_object_get(whole, "effects")) != VERSION || !json_is_array(list))
        status = nb_fail(err, NB_INPUT, "%s: is no table of effects, as 'nibble quantize --effects' writes it", path);
    else if ((file->of = json_object()) == NULL)
        status = nb_fail_memory(err);
    else
        status = index_by_name(file, list, path, err);
    json_decref(whole);
    if (status != NB_OK)
        nb_effects_free(file);
    return status;
}

void
nb_effects_free(struct nb_effects_file *file)
{
    json_decref(file->of);
    file->of = NULL;
}

double
nb_effects_cost(const struct nb_effects_file *file, const char *name, enum nb_type type)
{
    const json_t *cost = json_object_get(json_object_get(file->of, name), nb_type_info(type)->name);

    return cost == NULL ? NAN : json_number_value(cost);
}

enum nb_type
nb_effects_costliest(const struct nb_effects_file *file, const char *name)
{
    enum nb_type most = NB_TYPE_NONE;
    double highest = -1;

    for (unsigned type = 0; type < NB_TYPES; type++) {
        const double cost = nb_effects_cost(file, name, (enum nb_type)type);

        if (cost > highest) {
            most = (enum nb_type)type;
            highest = cost;
        }
    }
    return most;
}

/* Leaves the candidates whose cost is known. */
static void
take_costs(const struct nb_effects_file *file, struct nb_allocated *t)
{
    size_t n = 0;

    for (size_t i = 0; i < t->n; i++) {
        struct nb_candidate c = t->candidate[i];

        c.cost = nb_effects_cost(file, t->name, c.type);
        if (!isnan(c.cost))
            t->candidate[n++] = c;
    }
    t->n = n;
}

enum nb_status
nb_effects_take(const char *path, struct nb_allocated *tensors, size_t *count, struct nb_error *err)
{
    struct nb_effects_file file;
    size_t n = 0;
    enum nb_status status = nb_effects_load(&file, path, err);

    if (status != NB_OK)
        return status;
    for (size_t i = 0; i < *count; i++) {
        struct nb_allocated t = tensors[i];

        take_costs(&file, &t);
        if (t.n > 0)
            tensors[n++] = t;
    }
    *count = n;
    nb_effects_free(&file);
    return n > 0 ? NB_OK : nb_fail(err, NB_INPUT, "%s: has no tensor of this model in a type that may be used", path);
}

/* --- writing --------------------------------------------------------------------------------------------------- */

/* NULL if memory is out. */
static json_t *
tensor_json(const struct nb_allocated *t)
{
    json_t *kld = json_object();
    bool good = kld != NULL;

    for (size_t k = 0; k < t->n && good; k++)
        good = json_object_set_new(kld, nb_type_info(t->candidate[k].type)->name, json_real(t->candidate[k].cost)) == 0;
    if (good)
        return json_pack("{s:s, s:o}", "name", t->name, "kld", kld);
    json_decref(kld);
    return NULL;
}

static char *
text_of(const struct nb_allocated *tensors, size_t count)
{
    json_t *list = json_array(), *whole;
    bool good = list != NULL;
    char *text = NULL;

    for (size_t i = 0; i < count && good; i++)
        good = json_array_append_new(list, tensor_json(&tensors[i])) == 0;
    whole = json_pack("{s:i, s:o}", "effects", VERSION, "tensors", list);
    if (good && whole != NULL)
        text = nb_json_dump(whole, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
    json_decref(whole);
    return text;
}

enum nb_status
nb_effects_write(const char *path, const struct nb_allocated *tensors, size_t count, struct nb_error *err)
{
    char *text = text_of(tensors, count);
    struct nb_file_out out;
    enum nb_status status = text == NULL ? nb_fail_memory(err) : nb_out_create(&out, path, 0, false, err);

    if (status == NB_OK) {
        status = nb_out_write(&out, 0, text, strlen(text), err);
        if (status == NB_OK)
            status = nb_out_commit(&out, false, err);
        else
            nb_out_abort(&out, err);
    }
    free(text);
    return status;
}
