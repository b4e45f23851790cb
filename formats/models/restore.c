#include "formats/models/restore.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ENTRY 64

const struct nb_view *
nb_restore_tensor(const struct nb_restoration *r, const char *name)
{
    return nb_views_find(r->tensors, r->n_tensors, name);
}

uint64_t
nb_restore_layers(const struct nb_restoration *r)
{
    const double layers = nb_hp(r->hp, NB_HP_LAYERS), further = nb_hp(r->hp, NB_HP_NEXTN_LAYERS);

    return further < layers ? (uint64_t)fmin(layers - further, NB_MAX_LAYERS) : 0;
}

bool
nb_restore_entry(json_t *object, const char *name, json_t *value)
{
    const size_t n = strcspn(name, ".=");
    char key[MAX_ENTRY];
    json_t *inner;

    snprintf(key, sizeof key, "%.*s", (int)n, name);
    if (name[n] != '.')
        return json_object_set_new(object, key, value) == 0;
    inner = json_object_get(object, key);
    if (inner == NULL && json_object_set_new(object, key, json_object()) == 0)
        inner = json_object_get(object, key);
    if (inner != NULL)
        return nb_restore_entry(inner, name + n + 1, value);
    json_decref(value);
    return false;
}

bool
nb_restore(const struct nb_restoration *r, const char *name, json_t *value)
{
    return value != NULL && nb_restore_entry(r->config, name, value);
}

/* Whether config.json can have NUMBER. One that it cannot have is left out, and the file is refused as it does not come again. */
static bool
is_number(double number)
{
    return isfinite(number) && fabs(number) < 1e15;
}

bool
nb_restore_number(const struct nb_restoration *r, const char *name, double number)
{
    if (!is_number(number))
        return true;
    return nb_restore(r, name, number == floor(number) ? json_integer((json_int_t)number) : json_real(number));
}

bool
nb_restore_float(const struct nb_restoration *r, const char *name, double number)
{
    return !isfinite(number) || nb_restore(r, name, json_real(nb_shortest_double(number)));
}

bool
nb_restore_text(const struct nb_restoration *r, const char *name, const char *text)
{
    return nb_restore(r, name, json_string(text));
}

bool
nb_restore_flag(const struct nb_restoration *r, const char *name, bool flag)
{
    return nb_restore(r, name, json_boolean(flag));
}

/* Sets entry NAME to ARRAY, which is released; GOOD: all of it is there. */
static bool
set_array(const struct nb_restoration *r, const char *name, json_t *array, bool good)
{
    if (good)
        return nb_restore(r, name, array);
    json_decref(array);
    return false;
}

bool
nb_restore_kinds(const struct nb_restoration *r, const char *name, enum nb_hparam hparam, const char *yes,
                 const char *no)
{
    json_t *array = json_array();
    bool good = array != NULL;

    for (uint64_t i = 0; i < nb_restore_layers(r) && good; i++)
        good = json_array_append_new(array, json_string(nb_hp_at(r->hp, hparam, i) != 0 ? yes : no)) == 0;
    return set_array(r, name, array, good);
}

bool
nb_restore_numbers(const struct nb_restoration *r, const char *name, enum nb_hparam hparam, bool is, uint64_t first)
{
    json_t *array = json_array();
    bool good = array != NULL;

    for (uint64_t i = 0; i < nb_restore_layers(r) && good; i++)
        if ((nb_hp_at(r->hp, hparam, i) != 0) == is)
            good = json_array_append_new(array, json_integer((json_int_t)i + (json_int_t)first)) == 0;
    return set_array(r, name, array, good);
}

bool
nb_restore_each(const struct nb_restoration *r, const char *name, enum nb_hparam hparam)
{
    json_t *array = json_array();
    bool good = array != NULL;

    for (uint64_t i = 0; i < nb_restore_layers(r) && good; i++)
        good = json_array_append_new(array, json_integer((json_int_t)nb_hp_at(r->hp, hparam, i))) == 0;
    return set_array(r, name, array, good);
}

bool
nb_restore_sections(const struct nb_restoration *r, const char *name)
{
    const struct nb_hparam_value *sections = &r->hp->value[NB_HP_ROPE_SECTIONS];
    size_t n = sections->each == NULL ? 0 : sections->count;
    json_t *array = json_array();
    bool good = array != NULL;

    while (n > 0 && sections->each[n - 1] == 0)
        n--;
    for (size_t i = 0; i < n && good; i++)
        good = json_array_append_new(array, json_integer((json_int_t)sections->each[i])) == 0;
    return set_array(r, name, array, good);
}

/* Whether IS holds for just the layers from OFFSET on whose distance to it is a multiple of PERIOD. */
static bool
is_periodic(const bool *is, uint64_t layers, uint64_t period, uint64_t offset)
{
    for (uint64_t i = 0; i < layers; i++)
        if (is[i] != (i >= offset && (i - offset) % period == 0))
            return false;
    return true;
}

bool
nb_restore_period(const bool *is, uint64_t layers, uint64_t *period, uint64_t *offset)
{
    *offset = 0;
    while (*offset < layers && !is[*offset])
        ++*offset;
    for (*period = *offset + 1; *period <= layers + 1; ++*period)
        if (is_periodic(is, layers, *period, *offset))
            return true;
    return false;
}

double
nb_shortest_double(double number)
{
    const float wanted = (float)number;
    char text[32];

    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)wanted);
        if (strtof(text, NULL) == wanted)
            return strtod(text, NULL);
    }
    return number;
}
