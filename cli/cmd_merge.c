#include "cli/cli.h"
#include "formats/base/file_in.h"
#include "formats/base/status.h"
#include "formats/gguf/split.h"
#include "formats/models/source.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char help_text[] =
    "Usage: nibble merge FIRST-PART... -o OUTPUT.gguf\n"
    "\n"
    "Makes one GGUF file of a split set. Naming the first part is enough; where more are\n"
    "named, as by a shell's model-*.gguf, they must be just the parts of one set. The output\n"
    "is never taken from the list of parts, and no part is ever overwritten. Tensor data and\n"
    "alignment stay as they are; the keys of the set are left out.\n"
    "\n"
    "  -o, --output FILE   what to write\n"
    "  --force             replace OUTPUT if it exists\n"
    "  --json              one JSON object\n"
    "\n"
    "Example: nibble merge model-00001-of-00003.gguf -o model.gguf\n";

/* Every file that was named must be one of the set's, and if more than one is named, all must be. */
static enum nb_status
check_named(const struct nb_source *source, char **named, int count, struct nb_error *err)
{
    for (int i = 1; i < count; i++) {
        bool part = false;

        for (uint32_t k = 0; k < source->store.n_files && !part; k++)
            part = nb_file_is(&source->files[k], named[i]);
        if (!part)
            return nb_fail(err, NB_USAGE, "%s: is no part of the set of %s", named[i], named[0]);
    }
    if (count > 1 && (uint32_t)count != source->store.n_files)
        return nb_fail(err, NB_USAGE, "%s: has %" PRIu32 " parts, but %d files were named", named[0], source->store.n_files,
                       count);
    return NB_OK;
}

static int
merge(char **named, int count, const char *output, bool force, bool json)
{
    struct nb_source source;
    struct nb_gguf_set set;
    struct nb_error err;
    enum nb_status status = nb_source_open(&source, named[0], NULL, &err);
    const uint32_t files = status == NB_OK ? source.store.n_files : 0;
    const size_t tensors = status == NB_OK ? source.n_tensors : 0;

    if (status != NB_OK)
        return cli_fail(&err);
    set = nb_source_gguf_set(&source);
    if (source.kind != NB_SOURCE_GGUF)
        status = nb_fail(&err, NB_USAGE, "%s: is no GGUF file", named[0]);
    if (status == NB_OK)
        status = check_named(&source, named, count, &err);
    if (status == NB_OK)
        status = nb_split_merge(&set, output, force, &err);
    nb_source_close(&source);
    if (status != NB_OK)
        return cli_fail(&err);
    if (json)
        return cli_print_json(json_pack("{s:s, s:I, s:I}", "output", output, "parts", (json_int_t)files, "tensors",
                                        (json_int_t)tensors));
    printf("%s: %zu tensors of %" PRIu32 " part%s\n", output, tensors, files, files == 1 ? "" : "s");
    return cli_finish();
}

int
cmd_merge(int argc, char **argv)
{
    static const struct option options[] = {
        { "help", no_argument, NULL, 'h' },  { "output", required_argument, NULL, 'o' },
        { "force", no_argument, NULL, 'f' }, { "json", no_argument, NULL, 'J' },
        { NULL, 0, NULL, 0 },
    };
    const char *output = NULL;
    bool force = false, json = false;
    int c;

    while ((c = getopt_long(argc, argv, "ho:", options, NULL)) != -1) {
        switch (c) {
        case 'h':
            fputs(help_text, stdout);
            return cli_finish();
        case 'o':
            output = optarg;
            break;
        case 'f':
            force = true;
            break;
        case 'J':
            json = true;
            break;
        default:
            return cli_usage("merge", "that is not an option of merge");
        }
    }
    if (optind == argc)
        return cli_usage("merge", "name the first part of a split set");
    if (output == NULL)
        return cli_usage("merge", "name the file to write with -o: it is never taken from the list of parts");
    return merge(argv + optind, argc - optind, output, force, json);
}
