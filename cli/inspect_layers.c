#include "cli/inspect_layers.h"

#include "cli/cli.h"
#include "cli/layer_map.h"
#include "cli/model_summary.h"
#include "formats/base/file_in.h"
#include "formats/models/view.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- types ----------------------------------------------------------------------------------------------------- */

void
inspect_types(const struct nb_source *source)
{
    struct layer_map_cell *cells = calloc(source->n_tensors + 1, sizeof *cells);
    size_t n = 0;

    if (cells == NULL) {
        cli_lose();
        return;
    }
    for (size_t i = 0; i < source->n_tensors; i++)
        if (source->tensors[i].n_dims > 1)
            cells[n++] = (struct layer_map_cell){ source->tensors[i].name, storage_name(&source->tensors[i]),
                                                  CLI_PLAIN };
    cli_print("\ntypes of the matrices, layer by role\n");
    layer_map_print(cells, n);
    free(cells);
}

/* --- effects --------------------------------------------------------------------------------------------------- */

struct cost {
    const char *name;
    enum nb_type type;
    double kld;
};

struct costs {
    struct cost *list;
    size_t count;
    double sum;
};

/* Adds the tensor NAME with TYPE, or its costliest one where what that costs is not known; if any is. */
static void
add_cost(struct costs *costs, const struct nb_effects_file *effects, const char *name, enum nb_type type)
{
    double kld = type == NB_TYPE_NONE ? NAN : nb_effects_cost(effects, name, type);

    if (isnan(kld)) {
        type = nb_effects_costliest(effects, name);
        if (type == NB_TYPE_NONE)
            return;
        kld = nb_effects_cost(effects, name, type);
    }
    costs->list[costs->count++] = (struct cost){ name, type, kld };
    costs->sum += kld;
}

/* Those of the matrices of SOURCE, or of all tensors that EFFECTS has if that is NULL; false if memory is out. */
static bool
find_costs(struct costs *costs, const struct nb_source *source, const struct nb_effects_file *effects)
{
    const char *name;
    json_t *value;

    *costs = (struct costs){ 0 };
    costs->list = calloc((source == NULL ? json_object_size(effects->of) : source->n_tensors) + 1, sizeof *costs->list);
    if (costs->list == NULL) {
        cli_lose();
        return false;
    }
    for (size_t i = 0; source != NULL && i < source->n_tensors; i++)
        add_cost(costs, effects, source->tensors[i].name, source->tensors[i].type);
    if (source == NULL)
        json_object_foreach(effects->of, name, value)
            add_cost(costs, effects, name, NB_TYPE_NONE);
    return true;
}

#define CELL 24
#define MUCH 3 /* times the mean are shown as bad; as little is no concern */

/* SHARE in percent, in at most four columns; with TYPE if types differ. */
static void
write_cell(char *text, double percent, const char *type)
{
    snprintf(text, CELL, "%s%s%.*f", type == NULL ? "" : type, type == NULL ? "" : " ", percent < 9.995 ? 2 : 1,
             percent);
}

static bool
have_one_type(const struct costs *costs)
{
    for (size_t i = 1; i < costs->count; i++)
        if (costs->list[i].type != costs->list[0].type)
            return false;
    return true;
}

static void
print_costs(const struct costs *costs)
{
    const bool one = have_one_type(costs);
    const double all = costs->sum > 0 ? costs->sum : 1, mean = 1 / (double)(costs->count > 0 ? costs->count : 1);
    struct layer_map_cell *cells = calloc(costs->count + 1, sizeof *cells);
    char(*text)[CELL] = calloc(costs->count + 1, sizeof *text);

    if (cells == NULL || text == NULL)
        cli_lose();
    for (size_t i = 0; i < costs->count && cells != NULL && text != NULL; i++) {
        const struct cost *c = &costs->list[i];
        const double share = c->kld / all;

        write_cell(text[i], 100 * share, one ? NULL : nb_type_info(c->type)->name);
        cells[i] = (struct layer_map_cell){ c->name, text[i],
                                            share > MUCH * mean   ? CLI_BAD
                                            : share * MUCH < mean ? CLI_FAINT
                                                                  : CLI_PLAIN };
    }
    cli_print("sum of the effects: a KLD of %.3g nats a token%s%s\n", costs->sum,
              one && costs->count > 0 ? ", all in " : "",
              one && costs->count > 0 ? nb_type_info(costs->list[0].type)->name : "");
    cli_print("percent of that, layer by role\n");
    if (cells != NULL && text != NULL)
        layer_map_print(cells, costs->count);
    free(cells);
    free(text);
}

void
inspect_effects(const struct nb_source *source, const struct nb_effects_file *effects)
{
    struct costs costs;

    if (!find_costs(&costs, source, effects))
        return;
    cli_print("\n");
    print_costs(&costs);
    free(costs.list);
}

static json_t *
costs_json(const struct costs *costs)
{
    json_t *list = cli_json_array();

    for (size_t i = 0; i < costs->count; i++)
        cli_json_add(list, cli_json("{s:s, s:s, s:f}", "name", costs->list[i].name, "type",
                                    nb_type_info(costs->list[i].type)->name, "kld", costs->list[i].kld));
    return cli_json("{s:f, s:o}", "kld_sum", costs->sum, "tensors", list);
}

json_t *
inspect_effects_json(const struct nb_source *source, const struct nb_effects_file *effects)
{
    struct costs costs;
    json_t *object;

    if (!find_costs(&costs, source, effects))
        return json_null();
    object = costs_json(&costs);
    free(costs.list);
    return object;
}

/* --- a file of effects ----------------------------------------------------------------------------------------- */

bool
inspect_is_effects(const char *path)
{
    const size_t length = strlen(path), ending = sizeof ".json" - 1;
    struct nb_effects_file effects;
    enum nb_status status;

    if (length <= ending || strcmp(path + length - ending, ".json") != 0 || !nb_is_file(path))
        return false;
    status = nb_effects_load(&effects, path, NULL);
    if (status == NB_OK)
        nb_effects_free(&effects);
    return status == NB_OK || status == NB_NO_MEMORY; /* which the next call tells */
}

int
inspect_effects_file(const char *path, bool json)
{
    struct nb_effects_file effects;
    struct costs costs;
    struct nb_error err;
    int code;

    if (nb_effects_load(&effects, path, &err) != NB_OK)
        return cli_fail(&err);
    if (!find_costs(&costs, NULL, &effects)) {
        code = cli_finish();
    } else if (json) {
        json_t *object = cli_json("{s:s, s:s}", "path", path, "format", "effects");

        cli_json_merge(object, costs_json(&costs));
        code = cli_print_json(object);
    } else {
        cli_print("%s: effects, of %zu tensors, each in the type that costs most\n", path, costs.count);
        print_costs(&costs);
        code = cli_finish();
    }
    free(costs.list);
    nb_effects_free(&effects);
    return code;
}
