#include "cli/cli.h"

#include "formats/base/file_in.h"
#include "formats/base/status.h"
#include "formats/gguf/split.h"
#include "formats/models/source.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Every named file must be a part of the set, and if more than one is named, all parts must be. */
static enum nb_status
check_named(const struct nb_source *source, char **named, size_t count, struct nb_error *err)
{
    for (size_t i = 1; i < count; i++) {
        bool part = false;

        for (uint32_t k = 0; k < source->store.n_files && !part; k++)
            part = nb_file_is(&source->files[k], named[i]);
        if (!part)
            return nb_fail(err, NB_USAGE, "%s: is not a part of the set of %s", named[i], named[0]);
    }
    if (count > 1 && count != source->store.n_files)
        return nb_fail(err, NB_USAGE, "%s: has %" PRIu32 " parts, but %zu files were named", named[0],
                       source->store.n_files, count);
    return NB_OK;
}

static int
merge(const struct cli_line *line, const char *output)
{
    const char *first = line->operands[0];
    struct nb_source source;
    struct nb_gguf_set set;
    struct cli_progress progress;
    struct nb_watch watch;
    struct nb_error err;
    enum nb_status status = nb_source_open(&source, first, NULL, &err);
    const uint32_t files = status == NB_OK ? source.store.n_files : 0;
    const size_t tensors = status == NB_OK ? source.n_tensors : 0;

    if (status != NB_OK)
        return cli_fail(&err);
    set = nb_source_gguf_set(&source);
    watch = cli_watch(&progress);
    set.watch = &watch;
    if (source.kind != NB_SOURCE_GGUF)
        status = nb_fail(&err, NB_USAGE, "%s: is not a GGUF file", first);
    if (status == NB_OK)
        status = check_named(&source, line->operands, line->n_operands, &err);
    if (status == NB_OK)
        status = nb_split_merge(&set, output, cli_has(line, OPT_FORCE), &err);
    cli_progress_end(&progress);
    nb_source_close(&source);
    if (status != NB_OK)
        return cli_fail(&err);
    if (cli_has(line, OPT_JSON))
        return cli_print_json(
            cli_json("{s:s, s:I, s:I}", "output", output, "parts", (json_int_t)files, "tensors", (json_int_t)tensors));
    cli_print("%s: %zu tensor%s of %" PRIu32 " part%s\n", output, tensors, cli_s(tensors), files, cli_s(files));
    return cli_finish();
}

int
cmd_merge(const struct cli_line *line)
{
    const char *output = cli_text(line, OPT_OUTPUT);

    if (output == NULL)
        return cli_usage("merge", "name the file to write with -o; it is never taken from the list of parts");
    return merge(line, output);
}
