#include "quantize/policy/mlx_recipe.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define GROUP 64 /* of affine formats, unless the user says otherwise */

#define AFFINE(bits)               \
    {                              \
        NB_MLX_AFFINE, bits, GROUP \
    }
#define FLOATS              \
    {                       \
        NB_MLX_AFFINE, 0, 0 \
    }
#define ONE_KIND 0, 0, NB_TYPE_NONE

static const struct nb_mlx_recipe recipes[] = {
    { "2bit", AFFINE(2), ONE_KIND, "very small, large loss" },
    { "mixed_2_6", AFFINE(4), 2, 6, NB_TYPE_NONE, "2 bits, 6 for what is sensitive" },
    { "3bit", AFFINE(3), ONE_KIND, "small, noticeable loss" },
    { "mixed_3_4", AFFINE(4), 3, 4, NB_TYPE_NONE, "3 bits, 4 for what is sensitive" },
    { "mixed_3_6", AFFINE(4), 3, 6, NB_TYPE_NONE, "3 bits, 6 for what is sensitive" },
    { "mxfp4", { NB_MLX_MXFP4, 4, 32 }, ONE_KIND, "small floats that share powers of two" },
    { "4bit", AFFINE(4), ONE_KIND, "the usual choice" },
    { "nvfp4", { NB_MLX_NVFP4, 4, 16 }, ONE_KIND, "small floats that share scales of 8 bits" },
    { "mixed_4_6", AFFINE(4), 4, 6, NB_TYPE_NONE, "4 bits, 6 for what is sensitive" },
    { "5bit", AFFINE(5), ONE_KIND, "little loss" },
    { "6bit", AFFINE(6), ONE_KIND, "very little loss" },
    { "mxfp8", { NB_MLX_MXFP8, 8, 32 }, ONE_KIND, "floats of 8 bits that share powers of two" },
    { "8bit", AFFINE(8), ONE_KIND, "next to no loss" },
    { "f16", FLOATS, 0, 0, NB_F16, "half floats" },
    { "bf16", FLOATS, 0, 0, NB_BF16, "brain floats" },
    { "f32", FLOATS, 0, 0, NB_F32, "floats" },
};

#define N_RECIPES (sizeof recipes / sizeof recipes[0])

const struct nb_mlx_recipe *
nb_mlx_recipes(size_t *count)
{
    *count = N_RECIPES;
    return recipes;
}

const struct nb_mlx_recipe *
nb_mlx_recipe_by_name(const char *name)
{
    for (size_t i = 0; i < N_RECIPES; i++)
        if (strcasecmp(recipes[i].name, name) == 0)
            return &recipes[i];
    return NULL;
}

static struct nb_mlx_format
format_of(const struct nb_mlx_recipe *recipe, uint16_t group)
{
    struct nb_mlx_format f = recipe->format;

    if (f.bits > 0 && f.mode == NB_MLX_AFFINE && group > 0)
        f.group = group;
    return f;
}

struct nb_mlx_format
nb_mlx_base_format(const struct nb_mlx_recipe_options *o)
{
    return format_of(o->recipe, o->group);
}

/* The number behind "layers." in a module's name, or 0. */
static int64_t
layer_of(const char *module)
{
    const char *at = strstr(module, "layers.");

    return at == NULL ? 0 : (int64_t)strtoull(at + strlen("layers."), NULL, 10);
}

/*
 * Whether a module has the higher number of bits: values and what comes down from the feed-forward, in the first and
 * the last eighth of the layers and in every third one between; and the output.
 */
static bool
is_sensitive(const char *module, uint64_t layers)
{
    static const char *const parts[] = { "v_proj", "v_a_proj", "v_b_proj", "down_proj" };
    const int64_t layer = layer_of(module), n = (int64_t)layers, from_first = layer - n / 8;
    const bool more = from_first < 0 || layer >= 7 * n / 8 || from_first % 3 == 2;

    for (size_t i = 0; i < sizeof parts / sizeof parts[0] && more; i++)
        if (strstr(module, parts[i]) != NULL)
            return true;
    return strstr(module, "lm_head") != NULL;
}

static bool
fits(const struct nb_mlx_tensor *t, uint16_t group)
{
    return group > 0 && t->view.ne[0] % group == 0;
}

/* What the recipe, or the model's class, gives a matrix. */
static struct nb_mlx_choice
choose_by_recipe(const struct nb_mlx_recipe_options *o, const struct nb_mlx_tensor *t, uint64_t layers)
{
    const struct nb_mlx_recipe *recipe = o->recipe;
    struct nb_mlx_choice c = { nb_mlx_base_format(o), NB_WHY_BASE, false };

    if (c.format.bits == 0)
        return c;
    if (!fits(t, c.format.group)) {
        c.format.bits = 0;
        c.why = NB_WHY_FALLBACK;
    } else if (recipe->low > 0) {
        c.format.bits = is_sensitive(t->module, layers) ? recipe->high : recipe->low;
        c.why = c.format.bits == recipe->high ? NB_WHY_RULE : NB_WHY_BASE;
    } else if (t->kind == NB_MLX_EIGHT_BITS && fits(t, GROUP)) {
        c = (struct nb_mlx_choice){ { NB_MLX_AFFINE, 8, GROUP }, NB_WHY_RULE, true };
    }
    return c;
}

/* *FIRST is the first override for T, NULL if there is none; all that match are marked as used. */
static enum nb_status
find_override(const struct nb_mlx_recipe_options *o, const struct nb_mlx_tensor *t, bool *used,
              const struct nb_mlx_override **first, struct nb_error *err)
{
    bool out_of_memory = false;

    *first = NULL;
    for (size_t i = 0; i < o->n_overrides; i++) {
        if (!nb_regex_search(o->overrides[i].regex, t->module, &out_of_memory))
            continue;
        used[i] = true;
        *first = *first == NULL ? &o->overrides[i] : *first;
    }
    return out_of_memory ? nb_fail_memory(err) : NB_OK;
}

static enum nb_status
choose(const struct nb_mlx_recipe_options *o, const struct nb_mlx_tensor *t, uint64_t layers, bool *used,
       struct nb_mlx_choice *choice, struct nb_error *err)
{
    const struct nb_mlx_override *override;
    enum nb_status status;

    *choice = (struct nb_mlx_choice){ .why = NB_WHY_KEPT };
    if (!t->is_weight)
        return NB_OK;
    *choice = choose_by_recipe(o, t, layers);
    status = find_override(o, t, used, &override, err);
    if (status != NB_OK)
        return status;
    if (override != NULL)
        *choice = (struct nb_mlx_choice){ format_of(override->recipe, o->group), NB_WHY_USER, false };
    if (override != NULL && choice->format.bits > 0 && !fits(t, choice->format.group))
        return nb_fail(err, NB_USAGE, "--tensor-type %s=%s: '%s' has rows of %" PRIu64 ", no multiple of %u",
                       override->pattern, override->recipe->name, t->module, t->view.ne[0],
                       (unsigned)choice->format.group);
    if (choice->why == NB_WHY_FALLBACK && o->no_fallback)
        return nb_fail(err, NB_INPUT, "'%s' has rows of %" PRIu64 ", which do not divide into groups of %u", t->module,
                       t->view.ne[0], (unsigned)nb_mlx_base_format(o).group);
    return NB_OK;
}

static bool
has_group(const struct nb_mlx_recipe *recipe, uint16_t group)
{
    return recipe->format.mode == NB_MLX_AFFINE ? group == 32 || group == 64 || group == 128
                                                : group == recipe->format.group;
}

enum nb_status
nb_mlx_choose(const struct nb_mlx_recipe_options *o, const struct nb_mlx_tensors *tensors,
              struct nb_mlx_choice *choices, struct nb_error *err)
{
    bool *used = calloc(o->n_overrides + 1, sizeof *used);
    enum nb_status status = used == NULL ? nb_fail_memory(err) : NB_OK;

    if (status == NB_OK && o->group > 0 && o->recipe->format.bits > 0 && !has_group(o->recipe, o->group))
        status = nb_fail(err, NB_USAGE, "--group-size: there are no groups of %u in %s", (unsigned)o->group,
                         o->recipe->name);
    for (size_t i = 0; i < tensors->count && status == NB_OK; i++)
        status = choose(o, &tensors->tensors[i], tensors->layers, used, &choices[i], err);
    for (size_t i = 0; i < o->n_overrides && status == NB_OK; i++)
        if (!used[i])
            status = nb_fail(err, NB_USAGE, "--tensor-type: '%s' matches no module that can be quantized",
                             o->overrides[i].pattern);
    free(used);
    return status;
}
