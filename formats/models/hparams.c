#include "formats/models/hparams.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const struct nb_hparam_info rows[NB_HPARAMS] = {
#define NB_HPARAM(identifier, key, type, form, low, high, label) \
    [NB_HP_##identifier] = { #identifier, key, NB_HP_TYPE_##type, NB_HP_FORM_##form, low, high, label },
#include "formats/models/hparams.def"
#undef NB_HPARAM
};

const struct nb_hparam_info *
nb_hparam_info(enum nb_hparam hparam)
{
    return &rows[hparam];
}

enum nb_hparam
nb_hparam_by_name(const char *name, size_t length)
{
    for (unsigned i = 0; i < NB_HPARAMS; i++)
        if (strlen(rows[i].name) == length && strncasecmp(rows[i].name, name, length) == 0)
            return (enum nb_hparam)i;
    return NB_HPARAMS;
}

void
nb_hparam_key(enum nb_hparam hparam, const char *arch, char key[128])
{
    if (rows[hparam].key[0] == '/')
        snprintf(key, 128, "%s", rows[hparam].key + 1);
    else
        snprintf(key, 128, "%.60s.%s", arch, rows[hparam].key);
}

double
nb_hp(const struct nb_hparams *hp, enum nb_hparam hparam)
{
    return hp->value[hparam].number;
}

double
nb_hp_at(const struct nb_hparams *hp, enum nb_hparam hparam, uint64_t layer)
{
    const struct nb_hparam_value *v = &hp->value[hparam];

    if (v->each == NULL)
        return v->number;
    return layer < v->count ? v->each[layer] : 0;
}

double
nb_hp_or(const struct nb_hparams *hp, enum nb_hparam hparam, double otherwise)
{
    return hp->value[hparam].present ? hp->value[hparam].number : otherwise;
}

bool
nb_hp_has(const struct nb_hparams *hp, enum nb_hparam hparam)
{
    return hp->value[hparam].present;
}

const char *
nb_hp_text(const struct nb_hparams *hp, enum nb_hparam hparam)
{
    return hp->value[hparam].text;
}

void
nb_hp_set(struct nb_hparams *hp, enum nb_hparam hparam, double number, bool given)
{
    hp->value[hparam] = (struct nb_hparam_value){ .present = true, .given = given, .number = number };
}

enum nb_status
nb_hp_set_each(struct nb_hparams *hp, enum nb_hparam hparam, const double *numbers, size_t count, bool given,
               struct nb_error *err)
{
    double *each = nb_arena_calloc(&hp->arena, count + 1, sizeof *each);
    double largest = 0;

    if (each == NULL)
        return nb_fail_memory(err);
    for (size_t i = 0; i < count; i++) {
        each[i] = numbers[i];
        largest = fmax(largest, numbers[i]);
    }
    hp->value[hparam] =
        (struct nb_hparam_value){ .present = true, .given = given, .number = largest, .each = each, .count = count };
    return NB_OK;
}

enum nb_status
nb_hp_set_text(struct nb_hparams *hp, enum nb_hparam hparam, const char *text, bool given, struct nb_error *err)
{
    const char *copy = nb_arena_strdup(&hp->arena, text);

    if (copy == NULL)
        return nb_fail_memory(err);
    hp->value[hparam] = (struct nb_hparam_value){ .present = true, .given = given, .text = copy };
    return NB_OK;
}

void
nb_hparams_free(struct nb_hparams *hp)
{
    nb_arena_free(&hp->arena);
    *hp = (struct nb_hparams){ 0 };
}

/* --- GGUF metadata ------------------------------------------------------------------------------------- */

static bool
type_fits(enum nb_hparam_type type, enum nb_kv_type stored)
{
    switch (type) {
    case NB_HP_TYPE_U32:
        return stored == NB_KV_U32;
    case NB_HP_TYPE_F32:
        return stored == NB_KV_F32;
    case NB_HP_TYPE_BOOL:
        return stored == NB_KV_BOOL;
    case NB_HP_TYPE_TEXT:
    default:
        return stored == NB_KV_STRING;
    }
}

bool
nb_hparam_fits(enum nb_hparam hparam, const struct nb_kv *kv)
{
    const struct nb_hparam_info *row = &rows[hparam];

    if (kv->type != NB_KV_ARRAY)
        return row->form != NB_HP_FORM_LIST && type_fits(row->type, kv->type);
    if (row->form == NB_HP_FORM_ONE)
        return false;
    /* The reference writes counts by layer as i32, and patterns also as booleans. */
    return type_fits(row->type, kv->element) || (row->type == NB_HP_TYPE_U32 && kv->element == NB_KV_I32) ||
           (row->form == NB_HP_FORM_ANY && kv->element == NB_KV_BOOL) ||
           (row->type == NB_HP_TYPE_BOOL && (kv->element == NB_KV_U32 || kv->element == NB_KV_I32));
}

static double
element(const struct nb_kv *kv, size_t i)
{
    uint32_t u;
    int32_t s;
    float f;

    switch (kv->element) {
    case NB_KV_BOOL:
        return kv->data[i] != 0;
    case NB_KV_F32:
        memcpy(&f, kv->data + sizeof f * i, sizeof f);
        return (double)f;
    case NB_KV_I32:
        memcpy(&s, kv->data + sizeof s * i, sizeof s);
        return (double)s;
    default:
        memcpy(&u, kv->data + sizeof u * i, sizeof u);
        return (double)u;
    }
}

/* A list of numbers of layers as 1 for each layer in it; numbers that no layer has are not kept. */
static enum nb_status
read_list(struct nb_hparams *hp, enum nb_hparam hparam, const struct nb_kv *kv, struct nb_error *err)
{
    const size_t layers = (size_t)fmin(fmax(nb_hp(hp, NB_HP_LAYERS), 0), NB_MAX_LAYERS);
    double flags[NB_MAX_LAYERS] = { 0 };

    for (size_t i = 0; i < kv->count; i++)
        if (element(kv, i) >= 0 && element(kv, i) < (double)layers)
            flags[(size_t)element(kv, i)] = 1;
    return nb_hp_set_each(hp, hparam, flags, layers, true, err);
}

static enum nb_status
read_array(struct nb_hparams *hp, enum nb_hparam hparam, const struct nb_kv *kv, struct nb_error *err)
{
    const size_t count = kv->count < NB_MAX_LAYERS ? (size_t)kv->count : NB_MAX_LAYERS;
    double numbers[NB_MAX_LAYERS];

    for (size_t i = 0; i < count; i++)
        numbers[i] = element(kv, i);
    return nb_hp_set_each(hp, hparam, numbers, count, true, err);
}

static enum nb_status
read_value(struct nb_hparams *hp, enum nb_hparam hparam, const struct nb_metadata *meta, const struct nb_kv *kv,
           struct nb_error *err)
{
    double number;
    bool flag;

    if (rows[hparam].form == NB_HP_FORM_LIST)
        return read_list(hp, hparam, kv, err);
    if (kv->type == NB_KV_ARRAY)
        return read_array(hp, hparam, kv, err);
    if (rows[hparam].type == NB_HP_TYPE_TEXT)
        return nb_hp_set_text(hp, hparam, nb_meta_get_string(meta, kv->key), true, err);
    if (rows[hparam].type == NB_HP_TYPE_BOOL && nb_meta_get_bool(meta, kv->key, &flag))
        nb_hp_set(hp, hparam, flag, true);
    else if (nb_meta_get_f64(meta, kv->key, &number))
        nb_hp_set(hp, hparam, number, true);
    return NB_OK;
}

enum nb_status
nb_hparams_read(struct nb_hparams *hp, const struct nb_metadata *meta, const char *arch, struct nb_error *err)
{
    enum nb_status status = NB_OK;

    *hp = (struct nb_hparams){ 0 };
    for (unsigned i = 0; i < NB_HPARAMS && status == NB_OK; i++) {
        const struct nb_kv *kv;
        char key[128];

        nb_hparam_key((enum nb_hparam)i, arch, key);
        kv = nb_meta_find(meta, key);
        if (kv != NULL && nb_hparam_fits((enum nb_hparam)i, kv))
            status = read_value(hp, (enum nb_hparam)i, meta, kv, err);
    }
    if (status != NB_OK)
        nb_hparams_free(hp);
    return status;
}

static enum nb_status
write_array(const struct nb_hparam_value *v, enum nb_hparam_type type, const char *key, struct nb_metadata *meta,
            struct nb_error *err)
{
    const bool flags = type == NB_HP_TYPE_BOOL || v->flags;
    const enum nb_kv_type element = type == NB_HP_TYPE_F32 ? NB_KV_F32
                                    : flags                ? NB_KV_BOOL
                                                           : NB_KV_I32; /* as gguf-py writes integers */
    const size_t size = (size_t)nb_kv_type_size(element);
    unsigned char *data = calloc(v->count + 1, size);

    if (data == NULL)
        return nb_fail_memory(err);
    for (size_t i = 0; i < v->count; i++) {
        const float f = (float)v->each[i];
        const int32_t s = element == NB_KV_I32 ? (int32_t)v->each[i] : 0;

        if (element == NB_KV_BOOL)
            data[i] = v->each[i] != 0;
        else
            memcpy(data + size * i, element == NB_KV_F32 ? (const void *)&f : (const void *)&s, size);
    }
    nb_meta_set(meta, key, NB_KV_ARRAY, element, v->count, data, size * v->count);
    free(data);
    return nb_meta_status(meta, err);
}

/* The numbers of the layers that are in the list; nothing if it is empty. */
static enum nb_status
write_list(const struct nb_hparam_value *v, const char *key, struct nb_metadata *meta, struct nb_error *err)
{
    int32_t numbers[NB_MAX_LAYERS];
    size_t n = 0;

    for (size_t i = 0; i < v->count && i < NB_MAX_LAYERS; i++)
        if (v->each[i] != 0)
            numbers[n++] = (int32_t)i;
    if (n > 0)
        nb_meta_set(meta, key, NB_KV_ARRAY, NB_KV_I32, n, numbers, n * sizeof numbers[0]);
    return nb_meta_status(meta, err);
}

enum nb_status
nb_hparam_write(const struct nb_hparams *hp, enum nb_hparam hparam, const char *arch, struct nb_metadata *meta,
                struct nb_error *err)
{
    const struct nb_hparam_value *v = &hp->value[hparam];
    char key[128];

    if (!v->present)
        return NB_OK;
    nb_hparam_key(hparam, arch, key);
    if (rows[hparam].form == NB_HP_FORM_LIST)
        return write_list(v, key, meta, err);
    if (v->each != NULL)
        return write_array(v, rows[hparam].type, key, meta, err);
    switch (rows[hparam].type) {
    case NB_HP_TYPE_U32:
        nb_meta_set_u32(meta, key, (uint32_t)v->number);
        break;
    case NB_HP_TYPE_F32:
        nb_meta_set_f32(meta, key, (float)v->number);
        break;
    case NB_HP_TYPE_BOOL:
        nb_meta_set_bool(meta, key, v->number != 0);
        break;
    case NB_HP_TYPE_TEXT:
        nb_meta_set_string(meta, key, v->text);
        break;
    }
    return nb_meta_status(meta, err);
}
