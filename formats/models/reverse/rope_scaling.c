/* The rotary scaling of config.json, of a GGUF file's keys and tensors. */
#include "formats/models/reverse/work.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Llama 3's: the same in all its models; and the high one of Llama 4's. */
#define LLAMA3_LOW 1
#define LLAMA3_HIGH 4
#define LLAMA4_HIGH 1
#define LLAMA3_CONTEXT 8192
#define MAX_CONTEXT (1 << 20)
#define MAX_FACTORS 1024

/* The elements of the vector NAME, at most SIZE of them; *COUNT 0 if there is none. */
static enum nb_status
read_vector(const struct nb_reversal *r, const char *name, float *values, size_t size, size_t *count)
{
    const struct nb_view *v = nb_reversal_find(r, name);
    struct nb_view_reader reader = { 0 };
    enum nb_status status;

    *count = 0;
    if (v == NULL)
        return NB_OK;
    if (v->n_dims != 1 || v->elements > size)
        return nb_fail(r->err, NB_INPUT, "%s: tensor '%s' is not a vector of rotary factors", r->gguf->path, name);
    *count = (size_t)v->elements;
    status = nb_view_rows(v, 0, 1, values, &reader, r->err);
    nb_view_reader_free(&reader);
    return status;
}

static bool
set_real(json_t *object, const char *name, double number)
{
    return json_object_set_new(object, name, json_real(number)) == 0;
}

/* As the keys say. */
static bool
add_keys(const struct nb_reversal *r, json_t *scaling)
{
    static const struct {
        enum nb_hparam hparam;
        const char *name;
    } numbers[] = {
        { NB_HP_ROPE_FACTOR, "factor" },
        { NB_HP_YARN_ATTN_FACTOR, "attention_factor" },
        { NB_HP_YARN_BETA_FAST, "beta_fast" },
        { NB_HP_YARN_BETA_SLOW, "beta_slow" },
    };
    const char *type = nb_hp_text(&r->said, NB_HP_ROPE_SCALING);
    bool good = json_object_set_new(scaling, "rope_type", json_string(type)) == 0;

    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0] && good; i++)
        if (nb_hp_has(&r->said, numbers[i].hparam))
            good = set_real(scaling, numbers[i].name, nb_hp(&r->said, numbers[i].hparam));
    if (good && nb_hp_has(&r->said, NB_HP_ROPE_CONTEXT))
        good = json_object_set_new(scaling, "original_max_position_embeddings",
                                   json_integer((json_int_t)nb_hp(&r->said, NB_HP_ROPE_CONTEXT))) == 0;
    return good;
}

/* Longrope's factors, which are tensors. */
static enum nb_status
add_factors(const struct nb_reversal *r, json_t *scaling, const char *tensor, const char *name, bool *found)
{
    float values[MAX_FACTORS];
    size_t count;
    json_t *array;
    enum nb_status status = read_vector(r, tensor, values, MAX_FACTORS, &count);
    bool good;

    if (status != NB_OK || count == 0)
        return status;
    *found = true;
    array = json_array();
    good = array != NULL;
    for (size_t i = 0; i < count && good; i++)
        good = json_array_append_new(array, json_real((double)values[i])) == 0;
    if (good)
        return json_object_set_new(scaling, name, array) == 0 ? NB_OK : nb_fail_memory(r->err);
    json_decref(array);
    return nb_fail_memory(r->err);
}

static enum nb_status
add_longrope(const struct nb_reversal *r, json_t *scaling)
{
    bool found = false;
    enum nb_status status = add_factors(r, scaling, "rope_factors_long.weight", "long_factor", &found);

    if (status == NB_OK)
        status = add_factors(r, scaling, "rope_factors_short.weight", "short_factor", &found);
    if (status == NB_OK && found && json_object_set_new(scaling, "rope_type", json_string("longrope")) != 0)
        return nb_fail_memory(r->err);
    return status;
}

/* Whether the family computes the COUNT divisors VALUES from its config.json with SCALING and this original CONTEXT. */
static bool
gives(const struct nb_reversal *r, json_t *scaling, int context, const float *values, size_t count)
{
    struct nb_conversion c = { .family = r->family, .config = r->config, .hp = &r->hp };
    struct nb_arena arena = { 0 };
    bool same = false;

    if (json_object_set_new(scaling, "original_max_position_embeddings", json_integer(context)) != 0 ||
        json_object_set(r->config, "rope_scaling", scaling) != 0)
        return false;
    for (size_t i = 0; i < r->family->n_made && !same; i++) {
        const float *made = NULL;
        uint64_t n = 0;

        same = strcmp(r->family->made[i].to, "rope_freqs.weight") == 0 &&
               r->family->made[i].make(&c, &arena, &made, &n, NULL) == NB_OK && made != NULL && n == count &&
               memcmp(made, values, count * sizeof *values) == 0;
    }
    nb_arena_free(&arena);
    return same;
}

/* Tries out original contexts; false if the divisors are those of none. */
static bool
find_context(const struct nb_reversal *r, json_t *scaling, const float *values, size_t count)
{
    int context = 32;

    if (gives(r, scaling, LLAMA3_CONTEXT, values, count))
        return true;
    while (context < MAX_CONTEXT && !gives(r, scaling, context, values, count))
        context *= 2;
    return context < MAX_CONTEXT;
}

/* The tensor of divisors has the factor; with what else it was computed is tried out. */
static enum nb_status
add_llama3(const struct nb_reversal *r, json_t *scaling)
{
    float values[MAX_FACTORS];
    size_t count;
    double factor = 1;
    enum nb_status status = read_vector(r, "rope_freqs.weight", values, MAX_FACTORS, &count);

    if (status != NB_OK || count == 0)
        return status;
    for (size_t i = 0; i < count; i++)
        factor = fmax(factor, (double)values[i]);
    if (json_object_set_new(scaling, "rope_type", json_string("llama3")) != 0 || !set_real(scaling, "factor", factor) ||
        !set_real(scaling, "low_freq_factor", LLAMA3_LOW) || !set_real(scaling, "high_freq_factor", LLAMA3_HIGH))
        return nb_fail_memory(r->err);
    if (find_context(r, scaling, values, count))
        return NB_OK;
    if (!set_real(scaling, "high_freq_factor", LLAMA4_HIGH))
        return nb_fail_memory(r->err);
    (void)find_context(r, scaling, values, count);
    return NB_OK; /* if it is none of these, the family is not taken: its tensor differs */
}

enum nb_status
nb_reverse_rope_scaling(struct nb_reversal *r)
{
    const char *type = nb_hp_text(&r->said, NB_HP_ROPE_SCALING);
    json_t *there = json_object_get(r->config, "rope_scaling"),
           *scaling = there == NULL ? json_object() : json_incref(there);
    enum nb_status status = scaling == NULL ? nb_fail_memory(r->err) : NB_OK;

    if (status == NB_OK && type != NULL && strcmp(type, "none") != 0 && !add_keys(r, scaling))
        status = nb_fail_memory(r->err);
    if (status == NB_OK)
        status = add_longrope(r, scaling);
    if (status == NB_OK &&
        json_object_get(r->config, "rope_parameters") == NULL) /* else the family knows its divisors */
        status = add_llama3(r, scaling);
    if (status == NB_OK && json_object_size(scaling) > 0 && json_object_set(r->config, "rope_scaling", scaling) != 0)
        status = nb_fail_memory(r->err);
    json_decref(scaling);
    return status;
}
