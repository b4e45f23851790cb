#include "cli/quantize_outputs.h"

#include "cli/cli.h"
#include "cli/outputs.h"
#include "formats/base/status.h"
#include "quantize/mlx_plan.h"
#include "quantize/policy/recipe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What --format mlx does not take. */
static int
check_mlx_options(const struct cli_line *line)
{
    static const enum cli_option_id others[] = {
        OPT_PURE,
        OPT_OUTPUT_TENSOR_TYPE,
        OPT_TOKEN_EMBEDDING_TYPE,
        OPT_LEAVE_OUTPUT_TENSOR,
        OPT_VIA,
        OPT_CACHE_TYPE,
        OPT_RAM,
        OPT_VRAM,
        OPT_OVERRIDE_KV,
        OPT_PRUNE_LAYERS,
        OPT_KEEP_SPLIT,
        OPT_ALLOW_NONFINITE,
        OPT_PRE_TOKENIZER,
    };

    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (cli_has(line, others[i]))
            return cli_usage("quantize", "--%s: does not go with --format mlx",
                             cli_find(line, others[i])->option->name);
    return NB_OK;
}

/* PATH, from malloc, is the options' then, or freed. */
static int
add_output(struct quantize_options *a, const struct nb_recipe *recipe, const struct nb_mlx_recipe *mlx, char *path)
{
    bool is_there = false;

    for (size_t i = 0; i < a->n_outputs; i++)
        is_there = is_there || (a->outputs[i].recipe == recipe && a->outputs[i].mlx_recipe == mlx);
    if (!is_there && a->n_outputs < MAX_OUTPUTS) {
        a->outputs[a->n_outputs++] = (struct quantize_output){ recipe, mlx, path };
        return NB_OK;
    }
    free(path);
    return is_there ? cli_usage("quantize", "-t: '%s' is named twice", recipe != NULL ? recipe->name : mlx->name)
                    : cli_usage("quantize", "-t: more than %d recipes", MAX_OUTPUTS);
}

/* The recipe and the folder of --also-mlx; what would make one of the outputs of its own. */
static int
read_also_mlx(struct quantize_options *a, const struct cli_line *line)
{
    static const enum cli_option_id others[] = {
        OPT_FORMAT, OPT_REFINE, OPT_TARGET_SIZE, OPT_TARGET_BPW, OPT_MAX_KLD, OPT_LIKE, OPT_PRUNE_LAYERS,
    };
    char *text = cli_find(line, OPT_ALSO_MLX)->text, *equals = strchr(text, '='), *path = NULL;
    const struct nb_mlx_recipe *recipe;

    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (cli_has(line, others[i]))
            return cli_usage("quantize", "--%s: does not go with --also-mlx", cli_find(line, others[i])->option->name);
    if (equals != NULL && equals[1] == '\0')
        return cli_usage("quantize", "--also-mlx: no folder after '%s'", text);
    if (equals != NULL)
        *equals = '\0';
    recipe = nb_mlx_recipe_by_name(text);
    if (recipe == NULL)
        return cli_usage("quantize", "--also-mlx: '%s' is not a recipe of --format mlx; 'nibble types' lists them",
                         text);
    if (equals != NULL && (path = strdup(equals + 1)) == NULL)
        return cli_fail_memory();
    return add_output(a, NULL, recipe, path);
}

#define PLACE "{ftype}" /* as llama.cpp's converter has it */

/* -o with the recipe in the place of {ftype}, from malloc. */
static char *
filled_in(const char *given, const char *recipe)
{
    const char *at = strstr(given, PLACE);
    const size_t size = strlen(given) + strlen(recipe) + 1;
    char *path = malloc(size);

    if (path != NULL && at != NULL)
        snprintf(path, size, "%.*s%s%s", (int)(at - given), given, recipe, at + strlen(PLACE));
    else if (path != NULL)
        snprintf(path, size, "%s", given);
    return path;
}

static int
add_recipe(struct quantize_options *a, const struct cli_line *line, const char *name)
{
    const struct nb_recipe *recipe = a->to_mlx ? NULL : nb_recipe_by_name(name);
    const struct nb_mlx_recipe *mlx = a->to_mlx ? nb_mlx_recipe_by_name(name) : NULL;
    const char *given = cli_text(line, OPT_OUTPUT);
    char *path = NULL;
    int code = NB_OK;

    if (recipe == NULL && mlx == NULL)
        return cli_usage("quantize",
                         a->to_mlx ? "-t: '%s' is not a recipe of --format mlx; 'nibble types' lists them"
                                   : "-t: '%s' is a recipe of --format mlx",
                         name);
    if (given != NULL) {
        path = filled_in(given, recipe != NULL ? recipe->name : mlx->name);
        code = path == NULL ? cli_fail_memory() : cli_check_named_output(line, path);
    }
    if (code == NB_OK)
        return add_output(a, recipe, mlx, path);
    free(path);
    return code;
}

/* An output for each recipe of -t, "Q4_K_M,Q8_0". */
static int
read_recipes(struct quantize_options *a, const struct cli_line *line)
{
    const char *output = cli_text(line, OPT_OUTPUT);
    char *list = cli_text(line, OPT_TYPE), *rest;
    int code = NB_OK;

    if (list == NULL)
        return add_recipe(a, line, a->to_mlx ? "4bit" : "Q4_K_M");
    for (char *word = strtok_r(list, ",", &rest); word != NULL && code == NB_OK; word = strtok_r(NULL, ",", &rest))
        code = add_recipe(a, line, word);
    if (code == NB_OK && a->n_outputs > 1 && output != NULL && strstr(output, PLACE) == NULL)
        return cli_usage("quantize", "-o: several recipes need a name with " PLACE " in it, as 'model-" PLACE "%s'",
                         a->to_mlx ? "" : ".gguf");
    return code;
}

int
quantize_read_outputs(struct quantize_options *a, const struct cli_line *line)
{
    static const uint16_t groups[] = { 16, 32, 64, 128 };
    const struct cli_given *dtype = cli_find(line, OPT_DTYPE), *group = cli_find(line, OPT_GROUP_SIZE);
    int code;

    a->to_mlx = cli_has(line, OPT_FORMAT) && cli_find(line, OPT_FORMAT)->value.word == 1;
    a->also_mlx = cli_has(line, OPT_ALSO_MLX);
    if (!a->to_mlx && !a->also_mlx && (dtype != NULL || group != NULL))
        return cli_usage("quantize", "--dtype and --group-size need --format mlx or --also-mlx");
    a->mlx.recipe.overrides = a->mlx_types;
    a->mlx.recipe.no_fallback = cli_has(line, OPT_NO_FALLBACK);
    a->mlx.recipe.group = group == NULL ? 0 : groups[group->value.word];
    a->mlx.dtype = cli_float_type(line, OPT_DTYPE, NB_TYPE_NONE);
    code = read_recipes(a, line);
    if (code == NB_OK && a->also_mlx)
        code = read_also_mlx(a, line);
    return code == NB_OK && a->to_mlx ? check_mlx_options(line) : code;
}
