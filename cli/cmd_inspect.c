#include "cli.h"

#include "inspect_imatrix.h"
#include "kv_text.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help_text[] =
    "Usage: nibble inspect [OPTIONS] FILE_OR_FOLDER\n"
    "\n"
    "Shows the metadata, the tensors by type, sizes and bits per weight of a GGUF file,\n"
    "a checkpoint folder or a safetensors file. A checkpoint is shown as the GGUF file it\n"
    "would become. Of an importance matrix it shows the statistics of every entry.\n"
    "\n"
    "  --tensors   list every tensor\n"
    "  --json      one JSON object, with metadata and tensors in full\n"
    "\n"
    "Example: nibble inspect --tensors model-Q4_K_M.gguf\n";

static void
print_metadata(const struct nb_metadata *meta)
{
    printf("\nmetadata (%zu)\n", meta->count);
    for (size_t i = 0; i < meta->count; i++) {
        const struct nb_kv *kv = &meta->items[i];

        printf("  %-44s ", kv->key);
        kv_print(stdout, kv, false);
        putchar('\n');
    }
}

struct totals {
    uint64_t tensors[NB_TYPES], bytes[NB_TYPES], all_bytes;
};

static struct totals
count_types(const struct nb_source *source)
{
    struct totals sum = { .all_bytes = 0 };

    for (size_t i = 0; i < source->n_tensors; i++) {
        sum.tensors[source->tensors[i].type]++;
        sum.bytes[source->tensors[i].type] += source->tensors[i].bytes;
        sum.all_bytes += source->tensors[i].bytes;
    }
    return sum;
}

static double
bpw(uint64_t bytes, uint64_t parameters)
{
    return parameters == 0 ? 0 : 8.0 * (double)bytes / (double)parameters;
}

static void
print_types(const struct totals *sum)
{
    char text[CLI_TEXT];

    puts("\ntypes");
    for (unsigned t = 0; t < NB_TYPES; t++)
        if (sum->tensors[t] > 0)
            printf("  %-8s %6" PRIu64 " tensors %10s %5.1f %%\n", nb_type_info((enum nb_type)t)->name,
                   sum->tensors[t], cli_bytes(text, (double)sum->bytes[t]),
                   100.0 * (double)sum->bytes[t] / (double)(sum->all_bytes > 0 ? sum->all_bytes : 1));
}

static void
print_tensors(const struct nb_source *source)
{
    char shape[CLI_TEXT], bytes[CLI_TEXT];

    printf("\ntensors (%zu)\n", source->n_tensors);
    for (size_t i = 0; i < source->n_tensors; i++) {
        const struct nb_tensor *t = &source->tensors[i];

        printf("  %-40s %-8s %18s %10s", t->name, nb_type_info(t->type)->name, cli_shape(shape, t),
               cli_bytes(bytes, (double)t->bytes));
        if (source->kind == NB_SOURCE_CHECKPOINT)
            printf("  %s", t->source_name);
        putchar('\n');
    }
}

static int
print_text(const struct nb_source *source, bool tensors)
{
    const struct totals sum = count_types(source);
    const uint64_t parameters = nb_source_parameters(source);
    const char *arch = nb_meta_get_string(&source->meta, "general.architecture");
    char a[CLI_TEXT], b[CLI_TEXT];

    printf("%s: %s, %s\n", source->path, source->kind == NB_SOURCE_GGUF ? "GGUF" : "checkpoint",
           arch == NULL ? "no architecture" : arch);
    printf("  %s parameters in %zu tensors, %s in %" PRIu32 " file%s, %.2f bits per weight\n",
           cli_count(a, (double)parameters), source->n_tensors, cli_bytes(b, (double)source->file_bytes),
           source->n_files, source->n_files == 1 ? "" : "s", bpw(sum.all_bytes, parameters));
    print_types(&sum);
    print_metadata(&source->meta);
    if (tensors)
        print_tensors(source);
    cli_print_notes(source);
    return cli_finish();
}

static json_t *
tensors_json(const struct nb_source *source)
{
    json_t *list = json_array();

    for (size_t i = 0; i < source->n_tensors; i++) {
        const struct nb_tensor *t = &source->tensors[i];
        json_t *shape = json_array();

        for (uint32_t d = 0; d < t->n_dims; d++)
            json_array_append_new(shape, json_integer((json_int_t)t->ne[d]));
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:o, s:I, s:I, s:I}", "name", t->name, "source_name",
                                              t->source_name, "type", nb_type_info(t->type)->name, "shape", shape,
                                              "bytes", (json_int_t)t->bytes, "file", (json_int_t)t->file, "offset",
                                              (json_int_t)t->offset));
    }
    return list;
}

static int
print_json(const struct nb_source *source)
{
    const struct totals sum = count_types(source);
    const uint64_t parameters = nb_source_parameters(source);
    json_t *meta = json_object(), *types = json_object();

    for (size_t i = 0; i < source->meta.count; i++)
        json_object_set_new(meta, source->meta.items[i].key, kv_json(&source->meta.items[i], UINT64_MAX));
    for (unsigned t = 0; t < NB_TYPES; t++)
        if (sum.tensors[t] > 0)
            json_object_set_new(types, nb_type_info((enum nb_type)t)->name,
                                json_pack("{s:I, s:I}", "tensors", (json_int_t)sum.tensors[t], "bytes",
                                          (json_int_t)sum.bytes[t]));
    return cli_print_json(json_pack(
        "{s:s, s:s, s:I, s:I, s:I, s:f, s:o, s:o, s:o, s:o}", "path", source->path, "format",
        source->kind == NB_SOURCE_GGUF ? "gguf" : "checkpoint", "file_bytes", (json_int_t)source->file_bytes,
        "tensor_bytes", (json_int_t)sum.all_bytes, "parameters", (json_int_t)parameters, "bpw",
        bpw(sum.all_bytes, parameters), "types", types, "metadata", meta, "tensors", tensors_json(source), "notes",
        cli_notes_json(source)));
}

int
cmd_inspect(int argc, char **argv)
{
    static const struct option options[] = {
        { "help", no_argument, NULL, 'h' },
        { "json", no_argument, NULL, 'J' },
        { "tensors", no_argument, NULL, 'T' },
        { NULL, 0, NULL, 0 },
    };
    bool json = false, tensors = false;
    struct nb_source source;
    struct nb_error err;
    int c, code;

    while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        switch (c) {
        case 'h':
            fputs(help_text, stdout);
            return cli_finish();
        case 'J':
            json = true;
            break;
        case 'T':
            tensors = true;
            break;
        default:
            return cli_usage("inspect", "that is not an option of inspect");
        }
    }
    if (optind + 1 != argc)
        return cli_usage("inspect", "name one file or folder");
    if (inspect_is_imatrix(argv[optind]))
        return inspect_imatrix(argv[optind], json);
    if (nb_source_open(&source, argv[optind], NULL, &err) != NB_OK)
        return cli_fail(&err);
    code = json ? print_json(&source) : print_text(&source, tensors);
    nb_source_close(&source);
    return code;
}
