#include "cli/cli.h"

#include "formats/elements/decode.h"
#include "formats/elements/types.h"
#include "quantize/policy/mlx_recipe.h"
#include "quantize/policy/recipe.h"
#include "quantize/search/encode.h"

#include <stdio.h>

static const char *
abilities(enum nb_type type)
{
    return nb_can_encode(type) ? "read, write" : nb_can_decode(type) ? "read" : "-";
}

static json_t *
mlx_json(void)
{
    json_t *list = cli_json_array();
    size_t n;
    const struct nb_mlx_recipe *r = nb_mlx_recipes(&n);

    for (size_t i = 0; i < n; i++)
        cli_json_add(list, cli_json("{s:s, s:s}", "name", r[i].name, "description", r[i].description));
    return list;
}

static int
print_json(void)
{
    json_t *types = cli_json_array(), *list = cli_json_array();
    size_t n;
    const struct nb_recipe *r = nb_recipes(&n);

    for (size_t i = 0; i < n; i++)
        cli_json_add(list, cli_json("{s:s, s:i, s:s, s:s}", "name", r[i].name, "file_type", (int)r[i].file_type, "base",
                                    r[i].base == NB_TYPE_NONE ? "" : nb_type_info(r[i].base)->name, "description",
                                    r[i].description));
    for (unsigned t = 0; t < NB_GGUF_TYPES; t++) {
        const struct nb_type_info *info = nb_type_info((enum nb_type)t);

        if (info->kind != NB_KIND_NONE)
            cli_json_add(types, cli_json("{s:s, s:i, s:i, s:i, s:f, s:b, s:b}", "name", info->name, "id", (int)t,
                                         "block", (int)info->block, "block_bytes", (int)info->block_bytes, "bpw",
                                         nb_type_bpw((enum nb_type)t), "read", (int)nb_can_decode((enum nb_type)t),
                                         "write", (int)nb_can_encode((enum nb_type)t)));
    }
    return cli_print_json(cli_json("{s:o, s:o, s:o}", "recipes", list, "mlx_recipes", mlx_json(), "types", types));
}

static int
print_tables(void)
{
    size_t n, n_mlx;
    const struct nb_recipe *r = nb_recipes(&n);
    const struct nb_mlx_recipe *of_mlx = nb_mlx_recipes(&n_mlx);

    cli_print("%-10s %-8s %6s  %s\n", "recipe", "base", "bpw", "");
    for (size_t i = 0; i < n; i++)
        if (r[i].base == NB_TYPE_NONE)
            cli_print("%-10s %-8s %6s  %s\n", r[i].name, "-", "-", r[i].description);
        else
            cli_print("%-10s %-8s %6.4g  %s\n", r[i].name, nb_type_info(r[i].base)->name, nb_type_bpw(r[i].base),
                      r[i].description);
    cli_print("\n%-10s %-8s\n", "of MLX", "");
    for (size_t i = 0; i < n_mlx; i++)
        cli_print("%-10s %-8s %6s  %s\n", of_mlx[i].name, "", "", of_mlx[i].description);
    cli_print("\n%-8s %3s %6s %6s %8s  %s\n", "type", "id", "block", "bytes", "bpw", "");
    for (unsigned t = 0; t < NB_GGUF_TYPES; t++) {
        const struct nb_type_info *info = nb_type_info((enum nb_type)t);

        if (info->kind != NB_KIND_NONE)
            cli_print("%-8s %3u %6u %6u %8.5g  %s\n", info->name, t, info->block, info->block_bytes,
                      nb_type_bpw((enum nb_type)t), abilities((enum nb_type)t));
    }
    cli_print("\nbpw of a recipe is its base type's; its rules give some tensors more.\n");
    return cli_finish();
}

int
cmd_types(const struct cli_line *line)
{
    return cli_has(line, OPT_JSON) ? print_json() : print_tables();
}
