/* Checks a checkpoint folder, or a single safetensors file. */
#include "verify/check/parts.h"

#include "formats/base/folder.h"
#include "formats/base/text.h"
#include "formats/models/family.h"
#include "formats/models/stored_tensors.h"
#include "formats/safetensors/checkpoint.h"

#include <stdlib.h>
#include <string.h>

enum nb_status
nb_check_safetensors(struct nb_checking *c, const char *path)
{
    const uint64_t before = c->findings->errors;
    struct nb_arena arena = { 0 };
    struct nb_tensor *tensors = NULL;
    struct nb_safetensors st = { 0 };
    struct nb_file_in file;
    enum nb_status status = nb_file_open(&file, path, c->err);

    c->result->format = "safetensors";
    if (status != NB_OK)
        return status;
    status = nb_check_after(c, path, before, nb_safetensors_examine(&file, &arena, &st, c->findings, c->err));
    if (status == NB_OK && (tensors = calloc(st.count + 1, sizeof *tensors)) == NULL)
        status = nb_fail_memory(c->err);
    for (size_t i = 0; i < st.count && tensors != NULL; i++)
        tensors[i] = nb_stored_safetensor(&st.tensors[i], 0);
    c->result->tensors = st.count;
    if (status == NB_OK && c->options->level >= NB_CHECK_CONTENT)
        status = nb_check_content(c, &file, tensors, st.count);
    free(tensors);
    nb_arena_free(&arena);
    nb_file_close(&file);
    return status;
}

/* Files that can run code when other programs load the folder; nibble reads none of them. */
static const struct {
    const char *end;
    enum nb_code code;
    const char *sentence;
} dangers[] = {
    { ".bin", NB_BAD_FILE_PICKLE, "may be a PyTorch file, which can run code when it is loaded" },
    { ".pt", NB_BAD_FILE_PICKLE, "may be a PyTorch file, which can run code when it is loaded" },
    { ".pth", NB_BAD_FILE_PICKLE, "may be a PyTorch file, which can run code when it is loaded" },
    { ".pkl", NB_BAD_FILE_PICKLE, "may be a PyTorch file, which can run code when it is loaded" },
    { ".ckpt", NB_BAD_FILE_PICKLE, "may be a PyTorch file, which can run code when it is loaded" },
    { ".py", NB_BAD_CP_CODE, "is a program: transformers runs it if it is told to trust remote code" },
};

static enum nb_status
find_dangers(struct nb_checking *c, const char *folder)
{
    struct nb_folder listed;
    const char *name;
    enum nb_status status = nb_folder_open(&listed, folder, c->err);

    while (status == NB_OK && (status = nb_folder_next(&listed, &name, c->err)) == NB_OK && name != NULL)
        for (size_t i = 0; i < sizeof dangers / sizeof dangers[0] && status == NB_OK; i++)
            if (nb_ends_with(name, dangers[i].end))
                status = CHECK_FOUND(c, dangers[i].code, nb_in_file(folder), "'%s' %s", name, dangers[i].sentence);
    nb_folder_close(&listed);
    return status;
}

/* Entries of config files that name programs for transformers to run, in the folder or in another repository. */
static enum nb_status
find_programs(struct nb_checking *c, struct nb_checkpoint *cp)
{
    static const char *const files[] = { "config.json", "tokenizer_config.json", "generation_config.json" };
    enum nb_status status = NB_OK;

    for (size_t i = 0; i < sizeof files / sizeof files[0] && status == NB_OK; i++) {
        json_t *config = NULL;

        if (i > 0)
            status = nb_checkpoint_json(cp, files[i], &config, c->err);
        if (nb_status_is(status, NB_INPUT))
            status = NB_OK; /* a finding of others */
        if (status == NB_OK && json_object_get(i == 0 ? cp->config : config, "auto_map") != NULL)
            status = CHECK_FOUND(c, NB_BAD_CP_CODE, nb_in_file(cp->folder),
                                 "%s has auto_map: transformers runs the programs that it names if it is told to trust "
                                 "remote code",
                                 files[i]);
        json_decref(config);
    }
    return status;
}

static enum nb_status
check_data(struct nb_checking *c, const struct nb_checkpoint *cp)
{
    struct nb_tensor *tensors = calloc(cp->n_tensors + 1, sizeof *tensors);
    enum nb_status status;

    if (tensors == NULL)
        return nb_fail_memory(c->err);
    for (size_t i = 0; i < cp->n_tensors; i++)
        tensors[i] = nb_stored_safetensor(&cp->tensors[i].info, cp->tensors[i].file);
    status = nb_check_content(c, cp->files, tensors, cp->n_tensors);
    free(tensors);
    return status;
}

/* Checks the result of a conversion: config, tensors, tokenizer, template. */
static enum nb_status
check_meaning(struct nb_checking *c, const char *folder, const struct nb_checkpoint *cp)
{
    const char *class = json_string_value(json_array_get(json_object_get(cp->config, "architectures"), 0));
    const uint64_t before = c->findings->errors;
    struct nb_source source;
    enum nb_status status;

    if (cp->config == NULL)
        return NB_OK;
    if (class != NULL && nb_family_by_class(class, NULL) == NULL)
        return CHECK_FOUND(c, NB_BAD_CP_FAMILY, nb_in_file(folder),
                           "the tensors of a '%.80s' are not known to nibble, so they are not compared", class);
    status = nb_source_examine_checkpoint(&source, folder, c->findings, c->err);
    if (nb_status_is(status, NB_INPUT)) {
        const struct nb_error why = *c->err;

        return c->findings->errors > before
                   ? NB_OK
                   : nb_found_error(c->findings, c->err, NB_BAD_CP_MODEL, nb_in_file(folder), &why);
    }
    if (status != NB_OK)
        return status;
    status = nb_check_tokens(c, folder, &source.meta);
    if (status == NB_OK)
        status = nb_check_templates(c, folder, &source.meta);
    nb_source_close(&source);
    return status;
}

enum nb_status
nb_check_folder(struct nb_checking *c, const char *path)
{
    const uint64_t before = c->findings->errors;
    struct nb_checkpoint cp;
    enum nb_status status = nb_checkpoint_examine(&cp, path, c->options->follow_links, c->findings, c->err);
    bool sound;

    c->result->format = "checkpoint";
    if (status != NB_OK) {
        status = nb_check_after(c, path, before, status);
        return status == NB_OK ? find_dangers(c, path) : status;
    }
    c->result->files = cp.n_files;
    c->result->tensors = cp.n_tensors;
    status = find_dangers(c, cp.folder);
    if (status == NB_OK)
        status = find_programs(c, &cp);
    sound = c->findings->errors == before;
    if (status == NB_OK && c->options->level >= NB_CHECK_CONTENT)
        status = check_data(c, &cp);
    /* Broken files cannot form a model; further findings would only repeat that. */
    if (status == NB_OK && sound && c->options->level >= NB_CHECK_FULL)
        status = check_meaning(c, cp.folder, &cp);
    nb_checkpoint_close(&cp);
    return status;
}
