#include "cli/cli.h"

#include "formats/base/status.h"
#include "formats/base/text.h"
#include "formats/gguf/split.h"
#include "formats/gguf/split_name.h"
#include "formats/models/source.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help_text[] =
    "Usage: nibble split [OPTIONS] MODEL.gguf [PREFIX]\n"
    "\n"
    "Cuts a GGUF file into PREFIX-00001-of-0000N.gguf and so on, as llama.cpp's gguf-split\n"
    "does; no tensor is cut. PREFIX is the model's name without .gguf by default. The model\n"
    "stays as it is. 'nibble merge' makes one file of them again.\n"
    "\n"
    "  --max-tensors N       tensors in a part (default 128); also --split-max-tensors\n"
    "  --max-size N(M|G)     size of a part, in millions or thousand millions of bytes;\n"
    "                        also --split-max-size\n"
    "  --no-tensor-first-split   only metadata in the first part\n"
    "  --dry-run             show the parts and write nothing\n"
    "  --force               replace files that exist; never the model itself\n"
    "  --json                one JSON object\n"
    "\n"
    "Example: nibble split --max-size 4G model-F16.gguf\n";

struct arguments {
    struct nb_split_options split;
    bool dry_run, force, json;
    const char *input;
    char *prefix;
};

/* "300M", "2G" as gguf-split takes them. */
static bool
parse_size(const char *text, uint64_t *out)
{
    char *end;
    const unsigned long value = strtoul(text, &end, 10);
    const uint64_t unit = *end == 'G' ? 1000000000u : *end == 'M' ? 1000000u : 0;

    *out = value * unit;
    return *text >= '0' && *text <= '9' && unit > 0 && end[1] == '\0' && value > 0 && value <= 1000000;
}

static int
parse(int argc, char **argv, struct arguments *a)
{
    static const struct option options[] = {
        { "help", no_argument, NULL, 'h' },
        { "max-tensors", required_argument, NULL, 't' },
        { "split-max-tensors", required_argument, NULL, 't' },
        { "max-size", required_argument, NULL, 's' },
        { "split-max-size", required_argument, NULL, 's' },
        { "no-tensor-first-split", no_argument, NULL, 'n' },
        { "dry-run", no_argument, NULL, 'd' },
        { "force", no_argument, NULL, 'f' },
        { "json", no_argument, NULL, 'J' },
        { NULL, 0, NULL, 0 },
    };
    uint32_t tensors;
    int c;

    while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        switch (c) {
        case 'h':
            fputs(help_text, stdout);
            exit(cli_finish());
        case 't':
            if (!cli_parse_count(optarg, 1, INT32_MAX, &tensors))
                return cli_usage("split", "--max-tensors '%s': a number of tensors", optarg);
            a->split.max_tensors = tensors;
            break;
        case 's':
            if (!parse_size(optarg, &a->split.max_bytes))
                return cli_usage("split", "--max-size '%s': a number with M or G behind it", optarg);
            break;
        case 'n':
            a->split.empty_first = true;
            break;
        case 'd':
            a->dry_run = true;
            break;
        case 'f':
            a->force = true;
            break;
        case 'J':
            a->json = true;
            break;
        default:
            return cli_usage("split", "that is not an option of split");
        }
    }
    if (optind + 1 != argc && optind + 2 != argc)
        return cli_usage("split", "name one GGUF file, and a prefix if you like");
    if (a->split.max_tensors == 0 && a->split.max_bytes == 0)
        a->split.max_tensors = 128; /* gguf-split's own */
    a->input = argv[optind];
    a->prefix = strdup(argv[argc - 1]);
    if (a->prefix != NULL && nb_ends_with(a->prefix, ".gguf"))
        a->prefix[strlen(a->prefix) - strlen(".gguf")] = '\0';
    return NB_OK;
}

static int
print_parts(const struct arguments *a, const struct nb_split *s)
{
    json_t *list = json_array();
    char text[CLI_TEXT];

    for (uint32_t i = 0; i < s->count; i++) {
        const struct nb_split_part *p = &s->parts[i];
        char *name = nb_split_name(a->prefix, strlen(a->prefix), i, s->count);

        if (a->json)
            json_array_append_new(list, json_pack("{s:s, s:I, s:I}", "path", name == NULL ? "" : name, "tensors",
                                                  (json_int_t)p->count, "bytes", (json_int_t)p->bytes));
        else
            printf("%s: %zu tensors, %s\n", name == NULL ? "" : name, p->count, cli_bytes(text, (double)p->bytes));
        free(name);
    }
    if (a->json)
        return cli_print_json(json_pack("{s:b, s:o}", "written", !a->dry_run, "parts", list));
    json_decref(list);
    return cli_finish();
}

static int
split(const struct arguments *a)
{
    struct nb_source source;
    struct nb_gguf_set set;
    struct nb_split plan = { 0 };
    struct nb_error err;
    enum nb_status status = nb_source_open(&source, a->input, NULL, &err);

    if (status != NB_OK)
        return cli_fail(&err);
    set = nb_source_gguf_set(&source);
    status = source.kind != NB_SOURCE_GGUF ? nb_fail(&err, NB_INPUT, "%s: is no GGUF file", source.path)
                                           : nb_split_plan(&plan, &set, &a->split, &err);
    if (status == NB_OK && !a->dry_run)
        status = nb_split_write(&plan, &set, a->prefix, a->force, &err);
    nb_source_close(&source);
    if (status == NB_OK)
        status = (enum nb_status)print_parts(a, &plan);
    else
        cli_fail(&err);
    nb_split_free(&plan);
    return (int)status;
}

int
cmd_split(int argc, char **argv)
{
    struct arguments a = { 0 };
    int code = parse(argc, argv, &a);

    if (code == NB_OK)
        code = a.prefix == NULL ? cli_fail(&(struct nb_error){ NB_SYSTEM, "out of memory" }) : split(&a);
    free(a.prefix);
    return code;
}
