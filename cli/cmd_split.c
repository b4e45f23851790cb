#include "cli/cli.h"

#include "formats/base/status.h"
#include "formats/base/text.h"
#include "formats/gguf/split.h"
#include "formats/gguf/split_name.h"
#include "formats/models/source.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct arguments {
    struct nb_split_options split;
    bool dry_run, force, json;
    const char *input;
    char *prefix;
    bool named; /* PREFIX was given, and is not the name of INPUT */
};

static int
read_options(const struct cli_line *line, struct arguments *a)
{
    *a = (struct arguments){
        .split.max_tensors = cli_number(line, OPT_MAX_TENSORS, 0),
        .split.max_bytes = cli_size(line, OPT_MAX_SIZE, 0),
        .split.empty_first = cli_has(line, OPT_NO_TENSOR_FIRST_SPLIT),
        .dry_run = cli_has(line, OPT_DRY_RUN),
        .force = cli_has(line, OPT_FORCE),
        .json = cli_has(line, OPT_JSON),
        .input = line->operands[0],
    };
    if (a->split.max_tensors == 0 && a->split.max_bytes == 0)
        a->split.max_tensors = 128; /* gguf-split's own */
    a->prefix = strdup(line->operands[line->n_operands - 1]);
    a->named = line->n_operands > 1;
    if (a->prefix == NULL)
        return cli_fail_memory();
    if (nb_ends_with(a->prefix, ".gguf"))
        a->prefix[strlen(a->prefix) - strlen(".gguf")] = '\0';
    return NB_OK;
}

static int
print_parts(const struct arguments *a, const struct nb_split *s)
{
    json_t *list = cli_json_array();
    char text[CLI_TEXT];

    for (uint32_t i = 0; i < s->count; i++) {
        const struct nb_split_part *p = &s->parts[i];
        char *name = nb_split_name(a->prefix, strlen(a->prefix), i, s->count);

        if (name == NULL)
            cli_lose();
        else if (a->json)
            cli_json_add(list, cli_json("{s:s, s:I, s:I}", "path", name, "tensors", (json_int_t)p->count, "bytes",
                                        (json_int_t)p->bytes));
        else
            cli_print("%s: %zu tensor%s, %s\n", name, p->count, cli_s(p->count), cli_bytes(text, (double)p->bytes));
        free(name);
    }
    if (a->json)
        return cli_print_json(cli_json("{s:b, s:o}", "written", !a->dry_run, "parts", list));
    json_decref(list);
    return cli_finish();
}

/* A set that is split anew: its parts are named as the old ones without their numbers. */
static void
take_set(const struct arguments *a, const struct nb_source *source)
{
    size_t prefix;

    if (source->store.n_files < 2)
        return;
    cli_note("%s: is the first of %u parts; the whole set is split anew", a->input, (unsigned)source->store.n_files);
    if (!a->named && nb_split_prefix(a->input, 0, source->store.n_files, &prefix))
        a->prefix[prefix] = '\0';
}

/* What --max-size does not count. */
static void
note_sizes(const struct arguments *a, const struct nb_split *s)
{
    uint32_t larger = 0;

    for (uint32_t i = 0; i < s->count; i++)
        larger += a->split.max_bytes > 0 && s->parts[i].bytes > a->split.max_bytes;
    if (larger > 0)
        cli_note("%u of %u parts are larger than --max-size: it counts tensors, not the metadata before them, and no "
                 "tensor is divided",
                 (unsigned)larger, (unsigned)s->count);
}

static int
split(const struct arguments *a)
{
    struct nb_source source;
    struct nb_gguf_set set;
    struct cli_progress progress;
    struct nb_watch watch;
    struct nb_split plan = { 0 };
    struct nb_error err;
    enum nb_status status = nb_source_open(&source, a->input, NULL, &err);

    if (status != NB_OK)
        return cli_fail(&err);
    take_set(a, &source);
    set = nb_source_gguf_set(&source);
    watch = cli_watch(&progress);
    set.watch = &watch;
    status = source.kind != NB_SOURCE_GGUF ? nb_fail(&err, NB_INPUT, "%s: is not a GGUF file", source.path)
                                           : nb_split_plan(&plan, &set, &a->split, &err);
    if (status == NB_OK && !a->dry_run)
        status = nb_split_write(&plan, &set, a->prefix, a->force, &err);
    cli_progress_end(&progress);
    nb_source_close(&source);
    if (status == NB_OK)
        note_sizes(a, &plan);
    if (status == NB_OK)
        status = (enum nb_status)print_parts(a, &plan);
    else
        cli_fail(&err);
    nb_split_free(&plan);
    return (int)nb_status_kind(status);
}

int
cmd_split(const struct cli_line *line)
{
    struct arguments a;
    int code = read_options(line, &a);

    if (code == NB_OK)
        code = split(&a);
    free(a.prefix);
    return code;
}
