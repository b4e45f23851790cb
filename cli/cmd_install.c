#include "cli/cli.h"

#include "cli/install/install.h"
#include "formats/base/text.h"
#include "formats/models/stored_tensors.h"
#include "verify/check/hash.h"

#include <inttypes.h>
#include <string.h>

/* In the order of the words of --to. */
static const struct {
    const char *name;
    enum nb_status (*install)(struct install *install);
    bool by_digest; /* the files are kept by their hashes */
} places[] = {
    { "ollama", install_ollama, true },
    { "lmstudio", install_lmstudio, false },
    { "huggingface", install_huggingface, true },
};

/* The SHA-256 of one file of the source. */
static enum nb_status
hash_file(struct install *in, const char *path, const struct nb_watch *watch, char text[INSTALL_DIGEST])
{
    struct nb_hash_job job = { .kind = NB_HASH_SHA256, .scope = NB_HASH_FILE };
    struct nb_stored_tensors stored;
    enum nb_status status = nb_stored_open_bytes(&stored, path, in->err);

    if (status != NB_OK)
        return status;
    status = nb_hash_run(&stored, &job, 1, 1, watch, in->err);
    nb_stored_close(&stored);
    if (status == NB_OK)
        nb_hash_text(NB_HASH_SHA256, job.digest, text);
    return status;
}

static enum nb_status
hash_files(struct install *in)
{
    const uint32_t count = in->source->store.n_files;
    struct cli_progress progress;
    const struct nb_watch watch = cli_watch(&progress);
    enum nb_status status = NB_OK;

    in->digests = nb_arena_calloc(&in->arena, count, sizeof *in->digests);
    if (in->digests == NULL)
        status = nb_fail_memory(in->err);
    for (uint32_t i = 0; i < count && status == NB_OK; i++)
        status = hash_file(in, in->source->store.files[i].name, &watch, in->digests[i]);
    cli_progress_end(&progress);
    return status;
}

static int
print_result(const struct install *in, const char *place, bool json)
{
    size_t i;
    json_t *file;

    if (json)
        return cli_print_json(cli_json("{s:s, s:s, s:s, s:b, s:O, s:s}", "source", in->source->path, "to", place,
                                       "name", in->name, "dry_run", (int)in->dry_run, "files", in->files, "run",
                                       in->run));
    cli_print("%s -> %s: %s\n", in->source->path, place, in->name);
    json_array_foreach(in->files, i, file)
        cli_print("  %s (%s)\n", json_string_value(json_object_get(file, "path")),
                  json_string_value(json_object_get(file, "how")));
    if (!in->dry_run)
        cli_print("to run it: %s\n", in->run);
    return cli_finish();
}

static int
print_modelfile(struct install *in, bool json)
{
    const char *text;
    size_t lost;

    if (install_modelfile(in, &text, &lost) != NB_OK)
        return cli_fail(in->err);
    if (lost > 0)
        cli_warn(
            "Ollama drops %zu characters of this Modelfile, which it does not take for printable; --to ollama keeps "
            "them",
            lost);
    if (json)
        return cli_print_json(
            cli_json("{s:s, s:s, s:I}", "source", in->source->path, "modelfile", text, "lost", (json_int_t)lost));
    for (; *text != '\0'; text += strcspn(text, "\n"), text += *text == '\n')
        cli_print("%.*s\n", (int)strcspn(text, "\n"), text);
    return cli_finish();
}

static int
install(struct install *in, const struct cli_line *line)
{
    const unsigned to = cli_word(line, OPT_TO, 0);
    enum nb_status status;

    if (in->source->kind != NB_SOURCE_GGUF)
        return cli_usage("install", "%s: is not a GGUF file", in->source->path);
    if (cli_has(line, OPT_MODELFILE))
        return print_modelfile(in, cli_has(line, OPT_JSON));
    in->files = cli_json_array();
    status = places[to].by_digest ? hash_files(in) : NB_OK;
    if (status == NB_OK)
        status = places[to].install(in);
    if (status == NB_OK && in->run == NULL)
        status = nb_fail_memory(in->err);
    return status == NB_OK ? print_result(in, places[to].name, cli_has(line, OPT_JSON)) : cli_fail(in->err);
}

int
cmd_install(const struct cli_line *line)
{
    struct nb_source source;
    struct nb_error err;
    struct install in = {
        .source = &source,
        .name = cli_text(line, OPT_NAME),
        .license = cli_text(line, OPT_LICENSE),
        .force = cli_has(line, OPT_FORCE),
        .dry_run = cli_has(line, OPT_DRY_RUN),
        .err = &err,
    };
    int code;

    if (cli_has(line, OPT_MODELFILE) == cli_has(line, OPT_TO))
        return cli_usage("install", "say where to with --to, or ask for a Modelfile with --modelfile");
    if (in.license != NULL && cli_word(line, OPT_TO, 0) != 0)
        return cli_usage("install", "--license is for Ollama");
    if (nb_source_open(&source, line->operands[0], NULL, &err) != NB_OK)
        return cli_fail(&err);
    code = install(&in, line);
    json_decref(in.files);
    nb_arena_free(&in.arena);
    nb_source_close(&source);
    return code;
}
