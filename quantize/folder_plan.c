#include "quantize/folder_plan.h"

#include "formats/base/file_in.h"
#include "formats/base/json.h"
#include "formats/base/names.h"
#include "formats/base/text.h"
#include "formats/mlx/texts.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The limit that transformers and mlx-lm have for the arrays of a shard, in bytes. */
#define SHARD_BYTES ((uint64_t)5 << 30)

/* Beside the shards: config.json, the index, a README, what describes a tokenizer; and copies. */
#define MAX_TEXTS 8
#define MAX_COPIES 64

/* --- shards -------------------------------------------------------------------------------------------------- */

/* A new shard begins where an array would make one too large. */
static void
divide(struct nb_folder_plan *plan, struct nb_folder_array *arrays, size_t count)
{
    uint64_t size = 0;

    plan->n_shards = 1;
    for (size_t i = 0; i < count; i++) {
        if (size > 0 && size + arrays[i].out.bytes > SHARD_BYTES) {
            plan->n_shards++;
            size = 0;
        }
        size += arrays[i].out.bytes;
        plan->array_bytes += arrays[i].out.bytes;
        arrays[i].shard = plan->n_shards - 1;
    }
}

static const char *
shard_name(struct nb_folder_plan *plan, uint32_t number)
{
    char name[64];

    if (plan->n_shards == 1)
        return "model.safetensors";
    snprintf(name, sizeof name, "model-%05" PRIu32 "-of-%05" PRIu32 ".safetensors", number + 1, plan->n_shards);
    return nb_arena_strdup(&plan->arena, name);
}

/* Gives the COUNT arrays of one shard their offsets in its data, whose size is returned in BYTES. */
static enum nb_status
place(struct nb_folder_array *arrays, size_t count, bool (*in_order)(const char *const *, size_t, size_t *),
      uint64_t *bytes, struct nb_error *err)
{
    const char **names = calloc(count + 1, sizeof *names);
    size_t *order = calloc(count + 1, sizeof *order);
    bool good = names != NULL && order != NULL;

    *bytes = 0;
    for (size_t i = 0; i < count && good; i++) {
        names[i] = arrays[i].out.name;
        order[i] = i;
    }
    good = good && (in_order == NULL || in_order(names, count, order));
    for (size_t i = 0; i < count && good; i++) {
        struct nb_safetensor_out *a = &arrays[order[i]].out;

        a->offset = *bytes;
        *bytes += a->bytes;
    }
    free(names);
    free(order);
    return good ? NB_OK : nb_fail_memory(err);
}

/* The header of a shard, which names its arrays in the order of their names. */
static enum nb_status
make_header(const struct nb_folder_array *arrays, size_t count, const char *format, uint64_t alignment,
            struct nb_pipeline_file *file, struct nb_error *err)
{
    const void **sorted = nb_list_by_name(arrays, count, sizeof *arrays);
    struct nb_safetensor_out *outs = calloc(count + 1, sizeof *outs);
    unsigned char *header = NULL;
    enum nb_status status = NB_OK;

    if (sorted == NULL || outs == NULL)
        status = nb_fail_memory(err);
    for (size_t i = 0; i < count && status == NB_OK; i++)
        outs[i] = ((const struct nb_folder_array *)sorted[i])->out;
    if (status == NB_OK)
        status = nb_safetensors_header(format, outs, count, alignment, &header, &file->header_bytes, err);
    file->header = header;
    free(sorted);
    free(outs);
    return status;
}

enum nb_status
nb_folder_plan_shards(struct nb_folder_plan *plan, struct nb_folder_array *arrays, size_t count, const char *format,
                      uint64_t alignment, bool (*order)(const char *const *names, size_t count, size_t *order),
                      struct nb_error *err)
{
    enum nb_status status = NB_OK;
    size_t first = 0;

    divide(plan, arrays, count);
    plan->files = calloc(plan->n_shards + MAX_TEXTS + MAX_COPIES, sizeof *plan->files);
    if (plan->files == NULL)
        return nb_fail_memory(err);
    for (uint32_t s = 0; s < plan->n_shards && status == NB_OK; s++) {
        struct nb_pipeline_file *file = &plan->files[plan->n_files++];
        size_t end = first;
        uint64_t bytes = 0;

        while (end < count && arrays[end].shard == s)
            end++;
        file->name = shard_name(plan, s);
        status = file->name == NULL ? nb_fail_memory(err) : place(arrays + first, end - first, order, &bytes, err);
        if (status == NB_OK)
            status = make_header(arrays + first, end - first, format, alignment, file, err);
        file->bytes = file->header_bytes + bytes;
        plan->total_bytes += file->bytes;
        for (; first < end; first++) {
            const struct nb_folder_array *a = &arrays[first];

            plan->outputs[a->output].plane[a->plane].file = s;
            plan->outputs[a->output].plane[a->plane].offset = file->header_bytes + a->out.offset;
        }
    }
    return status;
}

/* --- texts --------------------------------------------------------------------------------------------------- */

/* Adds the file NAME of SIZE bytes, from malloc. */
static void
add_bytes(struct nb_folder_plan *plan, const char *name, char *bytes, size_t size)
{
    struct nb_pipeline_file *file = &plan->files[plan->n_files++];

    file->name = name;
    file->header = (const unsigned char *)bytes;
    file->bytes = file->header_bytes = size;
    plan->total_bytes += file->bytes;
}

void
nb_folder_plan_text(struct nb_folder_plan *plan, const char *name, char *text)
{
    add_bytes(plan, name, text, strlen(text));
}

enum nb_status
nb_folder_plan_index(struct nb_folder_plan *plan, const struct nb_folder_array *arrays, size_t count,
                     uint64_t parameters, struct nb_error *err)
{
    struct nb_mlx_placed *placed = calloc(count + 1, sizeof *placed);
    char *text = NULL;
    enum nb_status status;

    if (placed == NULL)
        return nb_fail_memory(err);
    for (size_t i = 0; i < count; i++)
        placed[i] = (struct nb_mlx_placed){ arrays[i].out.name, plan->files[arrays[i].shard].name };
    status = nb_mlx_index_text(placed, count, plan->array_bytes, parameters, &text, err);
    if (status == NB_OK)
        nb_folder_plan_text(plan, "model.safetensors.index.json", text);
    free(placed);
    return status;
}

enum nb_status
nb_folder_plan_load(struct nb_checkpoint *cp, const char *name, json_t **object, struct nb_error *err)
{
    char *path;

    *object = NULL;
    for (size_t i = 0; i < cp->n_made; i++)
        if (strcmp(cp->made[i].name, name) == 0) {
            *object = json_loadb(cp->made[i].bytes, cp->made[i].size, 0, NULL);
            return *object == NULL ? nb_fail_memory(err) : NB_OK;
        }
    if (cp->n_made > 0)
        return NB_OK;
    path = nb_checkpoint_path(cp, name);
    if (path == NULL)
        return nb_fail_memory(err);
    return nb_exists(path) ? nb_json_load(path, 0, object, err) : NB_OK;
}

/* --- copies -------------------------------------------------------------------------------------------------- */

static int
by_text(const void *a, const void *b)
{
    return strcmp(((const struct nb_pipeline_file *)a)->name, ((const struct nb_pipeline_file *)b)->name);
}

static bool
is_copied(const char *name)
{
    static const char *const names[] = {
        "tokenizer.json",
        "tokenizer_config.json",
        "tokenizer.model",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.json",
        "vocab.txt",
        "merges.txt",
        "chat_template.jinja",
        "chat_template.json",
        "generation_config.json",
        "tekken.json",
    };

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return nb_ends_with(name, ".py") || nb_ends_with(name, ".tiktoken");
}

static enum nb_status
add_copy(struct nb_folder_plan *plan, struct nb_checkpoint *cp, const char *name, struct nb_error *err)
{
    struct nb_pipeline_file *file = &plan->files[plan->n_files];
    struct nb_file_in in;
    enum nb_status status;

    file->name = nb_arena_strdup(&plan->arena, name);
    file->copy_of = nb_checkpoint_path(cp, name);
    if (file->name == NULL || file->copy_of == NULL)
        return nb_fail_memory(err);
    status = nb_file_open(&in, file->copy_of, err);
    if (status != NB_OK)
        return status;
    plan->n_files++;
    plan->total_bytes += in.size;
    nb_file_close(&in);
    return NB_OK;
}

/* The files of a checkpoint that is not on disk, but for its config.json. */
static enum nb_status
add_made(struct nb_folder_plan *plan, const struct nb_checkpoint *cp, struct nb_error *err)
{
    for (size_t i = 0; i < cp->n_made; i++) {
        const struct nb_made_file *made = &cp->made[i];
        char *bytes;

        if (!is_copied(made->name))
            continue;
        bytes = malloc(made->size + 1);
        if (bytes == NULL)
            return nb_fail_memory(err);
        memcpy(bytes, made->bytes, made->size);
        add_bytes(plan, made->name, bytes, made->size);
    }
    return NB_OK;
}

/* The links among these files were checked when the checkpoint was opened. */
enum nb_status
nb_folder_plan_copies(struct nb_folder_plan *plan, struct nb_checkpoint *cp, struct nb_error *err)
{
    DIR *folder = cp->n_made > 0 ? NULL : opendir(cp->folder);
    const uint32_t before = plan->n_files;
    const struct dirent *entry;
    enum nb_status status = NB_OK;

    if (cp->n_made > 0)
        return add_made(plan, cp, err);
    if (folder == NULL)
        return nb_fail(err, NB_SYSTEM, "%s: cannot be read", cp->folder);
    while (status == NB_OK && (entry = readdir(folder)) != NULL)
        if (is_copied(entry->d_name) && plan->n_files - before < MAX_COPIES)
            status = add_copy(plan, cp, entry->d_name, err);
    closedir(folder);
    qsort(plan->files + before, plan->n_files - before, sizeof *plan->files, by_text);
    return status;
}

/* --- the plan ------------------------------------------------------------------------------------------------ */

struct nb_pipeline_product
nb_folder_plan_product(const struct nb_folder_plan *plan, const char *name, uint64_t source_bytes)
{
    return (struct nb_pipeline_product){
        .outputs = plan->outputs,
        .n_outputs = plan->n_outputs,
        .files = plan->files,
        .n_files = plan->n_files,
        .source_bytes = source_bytes,
        .folder = name,
    };
}

enum nb_status
nb_folder_plan_write(const struct nb_folder_plan *plan, const char *name, uint64_t source_bytes,
                     const struct nb_pipeline_options *options, struct nb_error *err)
{
    const struct nb_pipeline_product product = nb_folder_plan_product(plan, name, source_bytes);

    return nb_pipeline_write(&product, options, err);
}

void
nb_folder_plan_free(struct nb_folder_plan *plan)
{
    for (uint32_t i = 0; i < plan->n_files; i++)
        free((void *)plan->files[i].header);
    free(plan->files);
    free(plan->outputs);
    nb_arena_free(&plan->arena);
    *plan = (struct nb_folder_plan){ 0 };
}
