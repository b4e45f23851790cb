#include "cli/cli.h"

#include "cli/edits.h"
#include "cli/metadata_diff.h"
#include "formats/base/file_in.h"
#include "formats/base/status.h"
#include "formats/gguf/edit.h"
#include "formats/gguf/gguf.h"
#include "formats/gguf/metadata.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help_text[] =
    "Usage: nibble edit [OPTIONS] MODEL.gguf\n"
    "\n"
    "Changes the metadata of a GGUF file, in the order of the options. Tensor data stays as it\n"
    "is. Where the new metadata takes up as much room as the old, to the next multiple of the\n"
    "alignment, it is written in its place; otherwise a new file takes the name of the old one\n"
    "once it is whole. An edit that was killed is undone by the next one.\n"
    "\n"
    "  --set KEY=TYPE:VALUE       u8 i8 u16 i16 u32 i32 u64 i64 f32 f64 bool str, and with []\n"
    "                             arrays, written as JSON. A key that exists keeps its place,\n"
    "                             and its type where none is said; KEY[N]= sets one element\n"
    "  --set-file KEY=TYPE:FILE   the same with the text, or JSON array, in FILE\n"
    "  --chat-template FILE       tokenizer.chat_template from FILE\n"
    "  --special-token NAME=TOKEN bos, eos, eot, unk, pad, ...: TOKEN is an id or a text\n"
    "  --rename OLD=NEW\n"
    "  --remove KEY\n"
    "  -o, --output FILE          write a new file and leave MODEL as it is\n"
    "  --dry-run                  show what would change and write nothing\n"
    "  --force                    replace the output if it exists\n"
    "  --json                     one JSON object\n"
    "\n"
    "Example: nibble edit --set general.name='str:My model' --set llama.context_length=8192 \\\n"
    "             --chat-template chat.jinja model.gguf\n";

struct arguments {
    struct {
        enum edit_kind kind;
        const char *text;
        char *made; /* TEXT, where it is not from the command line */
    } *edits;
    size_t count;
    const char *input, *output;
    char *real; /* the file behind INPUT, which may be a link, as in a hub's cache; NULL if there is none */
    bool dry_run, force, json;
};

enum option_code { SET = 256, SET_FILE, CHAT_TEMPLATE, SPECIAL_TOKEN, RENAME, REMOVE, DRY_RUN, FORCE, JSON };

static const struct option option_table[] = {
    { "help", no_argument, NULL, 'h' },
    { "output", required_argument, NULL, 'o' },
    { "set", required_argument, NULL, SET },
    { "set-file", required_argument, NULL, SET_FILE },
    { "chat-template", required_argument, NULL, CHAT_TEMPLATE },
    { "special-token", required_argument, NULL, SPECIAL_TOKEN },
    { "rename", required_argument, NULL, RENAME },
    { "remove", required_argument, NULL, REMOVE },
    { "dry-run", no_argument, NULL, DRY_RUN },
    { "force", no_argument, NULL, FORCE },
    { "json", no_argument, NULL, JSON },
    { NULL, 0, NULL, 0 },
};

static enum edit_kind
kind_of(int option)
{
    switch (option) {
    case SET_FILE: case CHAT_TEMPLATE: return EDIT_SET_FILE;
    case SPECIAL_TOKEN: return EDIT_SPECIAL_TOKEN;
    case RENAME: return EDIT_RENAME;
    case REMOVE: return EDIT_REMOVE;
    default: return EDIT_SET;
    }
}

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

static int
parse(int argc, char **argv, struct arguments *a)
{
    int c;

    while ((c = getopt_long(argc, argv, "ho:", option_table, NULL)) != -1) {
        switch (c) {
        case 'h': fputs(help_text, stdout); exit(cli_finish());
        case 'o': a->output = optarg; break;
        case DRY_RUN: a->dry_run = true; break;
        case FORCE: a->force = true; break;
        case JSON: a->json = true; break;
        case '?': return cli_usage("edit", "that is not an option of edit");
        default:
            a->edits[a->count].kind = kind_of(c);
            a->edits[a->count].made = c == CHAT_TEMPLATE ? template_edit(optarg) : NULL;
            a->edits[a->count].text = c == CHAT_TEMPLATE ? a->edits[a->count].made : optarg;
            if (a->edits[a->count++].text == NULL)
                return cli_fail(&(struct nb_error){ NB_SYSTEM, "out of memory" });
        }
    }
    if (optind + 1 != argc)
        return cli_usage("edit", "name one GGUF file");
    if (a->count == 0)
        return cli_usage("edit", "say what to change: --set, --rename, --remove, ...");
    a->input = argv[optind];
    return NB_OK;
}

static json_t *
diff_json(const struct metadata_diff *diff)
{
    json_t *list = json_array();

    for (size_t i = 0; i < diff->count; i++)
        json_array_append_new(list, metadata_change_json(&diff->changes[i]));
    return list;
}

static int
print(const struct arguments *a, const struct metadata_diff *diff, bool in_place)
{
    const char *output = a->output != NULL ? a->output : a->input;

    if (a->json)
        return cli_print_json(json_pack("{s:s, s:b, s:b, s:o}", "output", output, "written",
                                        !a->dry_run, "in_place", in_place, "metadata", diff_json(diff)));
    metadata_diff_print(diff);
    if (diff->count == 0)
        printf("%s: nothing changes\n", output);
    else
        printf("%s: %zu key%s %s, %s\n", output, diff->count, diff->count == 1 ? "" : "s",
               a->dry_run ? "would change" : "changed", in_place ? "in place" : "as a new file");
    return cli_finish();
}

/* Where the file is changed: a link stays a link, and the journal lies beside the file whatever name it goes by. */
static const char *
place(const struct arguments *a)
{
    return a->real != NULL ? a->real : a->input;
}

/* The file, what it says and what it is to say. */
struct job {
    struct nb_file_in file;
    struct nb_gguf gguf;
    struct nb_metadata meta;
};

static enum nb_status
read_and_change(const struct arguments *a, struct job *j, struct nb_error *err)
{
    enum nb_status status = nb_file_open(&j->file, a->input, err);

    if (status == NB_OK)
        status = nb_gguf_read(&j->file, 0, &j->gguf, err);
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
    if (in_place)
        return nb_edit_in_place(place(a), &j->gguf, &j->meta, err);
    if (a->output != NULL && nb_file_is(&j->file, a->output))
        return nb_fail(err, NB_USAGE, "%s: is the file that is read; leave -o away to change it", a->output);
    return nb_edit_copy(&j->file, &j->gguf, &j->meta, a->output != NULL ? a->output : place(a),
                        a->output == NULL || a->force, err);
}

static int
edit(const struct arguments *a)
{
    struct job j = { .file.fd = -1 };
    struct metadata_diff diff = { 0 };
    struct nb_error err;
    bool recovered = false, in_place = false;
    int code;
    enum nb_status status = a->dry_run ? NB_OK : nb_edit_recover(place(a), &recovered, &err);

    if (recovered)
        fprintf(stderr, "note: an earlier edit of %s was cut short; it has been undone\n", a->input);
    if (status == NB_OK)
        status = read_and_change(a, &j, &err);
    if (status == NB_OK)
        status = metadata_diff(&diff, &j.gguf.meta, &j.meta, &err);
    if (status == NB_OK)
        status = nb_edit_fits(&j.gguf, &j.meta, &in_place, &err);
    in_place = in_place && a->output == NULL;
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
cmd_edit(int argc, char **argv)
{
    struct arguments a = { .edits = calloc((size_t)argc + 1, sizeof *a.edits) };
    int code = a.edits == NULL ? cli_fail(&(struct nb_error){ NB_SYSTEM, "out of memory" }) : parse(argc, argv, &a);

    if (code == NB_OK) {
        a.real = realpath(a.input, NULL);
        code = a.real == NULL && errno == ENOMEM ? cli_fail(&(struct nb_error){ NB_SYSTEM, "out of memory" })
                                                 : edit(&a);
    }
    free(a.real);
    for (size_t i = 0; i < a.count; i++)
        free(a.edits[i].made);
    free(a.edits);
    return code;
}
