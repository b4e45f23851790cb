#include "cli/cli.h"

#include "cli/edits.h"
#include "cli/metadata_diff.h"
#include "formats/base/file_in.h"
#include "formats/base/status.h"
#include "formats/base/text.h"
#include "formats/gguf/edit.h"
#include "formats/gguf/gguf.h"
#include "formats/gguf/journal.h"
#include "formats/gguf/metadata.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct change {
    enum edit_kind kind;
    const char *text;
    char *made; /* TEXT, where it is not from the command line */
};

struct arguments {
    struct change *edits;
    size_t count;
    const char *input, *output;
    char *real; /* INPUT with its links resolved, as in a hub's cache; NULL if there is no such file */
    bool dry_run, force, json;
};

/* "tokenizer.chat_template=str:FILE" */
static char *
template_edit(const char *file)
{
    static const char prefix[] = "tokenizer.chat_template=str:";
    char *text = malloc(sizeof prefix + strlen(file));

    if (text != NULL) {
        memcpy(text, prefix, sizeof prefix);
        strcat(text, file);
    }
    return text;
}

/* The change that G asks for, if it is one. */
static int
add_edit(struct arguments *a, const struct cli_given *g)
{
    static const struct {
        enum cli_option_id option;
        enum edit_kind kind;
    } kinds[] = {
        { OPT_SET, EDIT_SET },
        { OPT_SET_FILE, EDIT_SET_FILE },
        { OPT_CHAT_TEMPLATE, EDIT_SET_FILE },
        { OPT_SPECIAL_TOKEN, EDIT_SPECIAL_TOKEN },
        { OPT_RENAME, EDIT_RENAME },
        { OPT_REMOVE, EDIT_REMOVE },
    };

    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct change *e = &a->edits[a->count];

        if (g->option->id != kinds[i].option)
            continue;
        e->kind = kinds[i].kind;
        e->made = g->option->id == OPT_CHAT_TEMPLATE ? template_edit(g->text) : NULL;
        e->text = g->option->id == OPT_CHAT_TEMPLATE ? e->made : g->text;
        if (e->text == NULL)
            return cli_fail_memory();
        a->count++;
    }
    return NB_OK;
}

static int
read_options(const struct cli_line *line, struct arguments *a)
{
    int code = NB_OK;

    *a = (struct arguments){
        .edits = calloc(line->n_given + 1, sizeof *a->edits),
        .input = line->operands[0],
        .output = cli_text(line, OPT_OUTPUT),
        .dry_run = cli_has(line, OPT_DRY_RUN),
        .force = cli_has(line, OPT_FORCE),
        .json = cli_has(line, OPT_JSON),
    };
    if (a->edits == NULL)
        return cli_fail_memory();
    for (size_t i = 0; i < line->n_given && code == NB_OK; i++)
        code = add_edit(a, &line->given[i]);
    if (code == NB_OK && a->count == 0)
        code = cli_usage("edit", "name a change to make: --set, --rename, --remove, ...");
    return code;
}

static json_t *
diff_json(const struct metadata_diff *diff)
{
    json_t *list = cli_json_array();

    for (size_t i = 0; i < diff->count; i++)
        cli_json_add(list, metadata_change_json(&diff->changes[i]));
    return list;
}

static int
print(const struct arguments *a, const struct metadata_diff *diff, bool in_place)
{
    const char *output = a->output != NULL ? a->output : a->input;

    if (a->json)
        return cli_print_json(cli_json("{s:s, s:b, s:b, s:o}", "output", output, "written", !a->dry_run, "in_place",
                                       in_place, "metadata", diff_json(diff)));
    metadata_diff_print(diff);
    if (diff->count == 0)
        cli_print("%s: nothing changes\n", output);
    else
        cli_print("%s: %zu key%s %s, %s\n", output, diff->count, diff->count == 1 ? "" : "s",
                  a->dry_run ? "would change" : "changed", in_place ? "in place" : "as a new file");
    return cli_finish();
}

/* The file that is changed: a link stays a link, and the journal is next to the file itself, under any name of it. */
static const char *
place(const struct arguments *a)
{
    return a->real != NULL ? a->real : a->input;
}

/* The file, its metadata as it is, and as it will be. */
struct job {
    struct nb_file_in file;
    struct nb_gguf gguf;
    struct nb_metadata meta;
};

/*
 * Opens the file. One that is changed is locked before an interrupted edit is undone, and until the end:
 * otherwise two edits at once would each lose or tear what the other writes.
 */
static enum nb_status
open_file(const struct arguments *a, struct job *j, struct nb_error *err)
{
    const bool changes = a->output == NULL && !a->dry_run;
    enum nb_status status = changes ? nb_file_open_to_change(&j->file, place(a), err)
                                    : nb_file_open(&j->file, a->input, err);
    char note[NB_ERROR_SIZE];
    bool recovered = false;

    if (status == NB_OK)
        status = changes ? nb_edit_recover(&j->file, &recovered, err) : nb_journal_check(&j->file, note, err);
    if (status != NB_OK)
        return status;
    if (recovered)
        cli_note("an earlier edit of %s was interrupted; it has been undone", a->input);
    if (!changes && *note != '\0')
        cli_note("%s", note);
    return NB_OK;
}

static enum nb_status
read_and_change(const struct arguments *a, struct job *j, struct nb_error *err)
{
    enum nb_status status = open_file(a, j, err);

    if (status == NB_OK)
        status = nb_edit_read(&j->file, &j->gguf, err);
    if (status != NB_OK)
        return status;
    nb_meta_copy(&j->meta, &j->gguf.meta);
    status = nb_meta_status(&j->meta, err);
    for (size_t i = 0; i < a->count && status == NB_OK; i++)
        status = edit_apply(&j->meta, a->edits[i].kind, a->edits[i].text, err);
    return status;
}

static enum nb_status
write_change(const struct arguments *a, const struct job *j, bool in_place, struct nb_error *err)
{
    struct cli_progress progress;
    struct nb_watch watch;
    enum nb_status status;

    if (in_place)
        return nb_edit_in_place(&j->file, &j->gguf, &j->meta, err);
    if (a->output != NULL && nb_file_is(&j->file, a->output))
        return nb_fail(err, NB_USAGE, "%s: is the file that is read; omit -o to change it", a->output);
    watch = cli_watch(&progress);
    status = nb_edit_copy(&j->file, &j->gguf, &j->meta, a->output != NULL ? a->output : place(a),
                          a->output == NULL || a->force, &watch, err);
    cli_progress_end(&progress);
    return status;
}

/* Keys that others in the file depend on; one that ends with '.' stands for all that begin so. */
static const struct {
    const char *key, *breaks;
} essential[] = {
    { "general.architecture", "readers find all other keys, and the tensors, by it" },
    { "general.quantization_version", "readers refuse versions that they do not know" },
    { "split.", "the parts of a set are found by it" },
    { "tokenizer.ggml.model", "texts become other tokens than those that the model was trained on" },
    { "tokenizer.ggml.pre", "texts become other tokens than those that the model was trained on" },
    { "tokenizer.ggml.tokens", "texts become other tokens than those that the model was trained on" },
    { "tokenizer.ggml.scores", "texts become other tokens than those that the model was trained on" },
    { "tokenizer.ggml.token_type", "texts become other tokens than those that the model was trained on" },
    { "tokenizer.ggml.merges", "texts become other tokens than those that the model was trained on" },
    /* of an architecture, the numbers that tensors' shapes are made of */
    { "block_count", "the tensors have the shapes that it had when they were made" },
    { "vocab_size", "the tensors have the shapes that it had when they were made" },
    { "embedding_length", "the tensors have the shapes that it had when they were made" },
    { "feed_forward_length", "the tensors have the shapes that it had when they were made" },
    { "expert_count", "the tensors have the shapes that it had when they were made" },
    { "attention.head_count", "the tensors have the shapes that it had when they were made" },
    { "attention.head_count_kv", "the tensors have the shapes that it had when they were made" },
    { "attention.key_length", "the tensors have the shapes that it had when they were made" },
    { "attention.value_length", "the tensors have the shapes that it had when they were made" },
};

/* Whether KEY is NAME, or begins with it if that ends with '.', or is that of the architecture ARCH. */
static bool
is_key(const char *key, const char *name, const char *arch)
{
    const size_t n = arch == NULL ? 0 : strlen(arch);

    if (nb_ends_with(name, ".") ? strncmp(key, name, strlen(name)) == 0 : strcmp(key, name) == 0)
        return true;
    return arch != NULL && strncmp(key, arch, n) == 0 && key[n] == '.' && strcmp(key + n + 1, name) == 0;
}

/* Says what a change breaks, unless it only adds something. */
static void
warn_of(const struct metadata_diff *diff, const struct nb_metadata *before)
{
    const char *arch = nb_meta_get_string(before, "general.architecture");
    size_t warned = 0;

    for (size_t i = 0; i < diff->count; i++)
        for (size_t k = 0; k < sizeof essential / sizeof essential[0]; k++)
            if (diff->changes[i].a != NULL && is_key(diff->changes[i].a->key, essential[k].key, arch)) {
                cli_warn("%s: %s", diff->changes[i].a->key, essential[k].breaks);
                warned++;
            }
    if (warned > 0)
        cli_note("'nibble check' tells whether the file is still sound");
}

static int
edit(const struct arguments *a)
{
    struct job j = { .file.fd = -1 };
    struct metadata_diff diff = { 0 };
    struct nb_error err;
    bool in_place = false;
    int code;
    enum nb_status status = read_and_change(a, &j, &err);

    if (status == NB_OK)
        status = metadata_diff(&diff, &j.gguf.meta, &j.meta, &err);
    if (status == NB_OK)
        status = nb_edit_fits(&j.file, &j.gguf, &j.meta, &in_place, &err);
    in_place = in_place && a->output == NULL;
    if (status == NB_OK)
        warn_of(&diff, &j.gguf.meta);
    if (status == NB_OK && !a->dry_run && (diff.count > 0 || a->output != NULL))
        status = write_change(a, &j, in_place, &err);
    code = status == NB_OK ? print(a, &diff, in_place) : cli_fail(&err);
    metadata_diff_free(&diff);
    nb_meta_free(&j.meta);
    nb_gguf_free(&j.gguf);
    nb_file_close(&j.file);
    return code;
}

int
cmd_edit(const struct cli_line *line)
{
    struct arguments a;
    int code = read_options(line, &a);

    if (code == NB_OK) {
        a.real = realpath(a.input, NULL);
        code = a.real == NULL && errno == ENOMEM ? cli_fail_memory() : edit(&a);
    }
    free(a.real);
    for (size_t i = 0; i < a.count; i++)
        free(a.edits[i].made);
    free(a.edits);
    return code;
}
