#include "formats/safetensors/checkpoint.h"

#include "formats/base/folder.h"
#include "formats/base/json.h"
#include "formats/base/links.h"
#include "formats/base/text.h"

#include <ctype.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * The names in a folder of weights. The second is Mistral's own, of which some models have no other; its params.json
 * names no class, so that CLASS stands for those that have it.
 */
static const struct nb_layout {
    const char *config, *class;
    const char *single, *index;
    const char *shard; /* what the names of shards begin with */
} layouts[] = {
    { "config.json", NULL, "model.safetensors", "model.safetensors.index.json", "model-" },
    { "params.json", "MistralParams", "consolidated.safetensors", "consolidated.safetensors.index.json",
      "consolidated-" },
};
#define SHARD_NUMBERS "00000-of-00000.safetensors" /* 0: any digit */
#define MAX_SHARDS 4096u

struct entry {
    const char *tensor, *shard;
    bool found;
};

/* The weight_map of the index: the shard of each tensor, sorted by tensor name. */
struct weight_map {
    struct entry *entries;
    size_t count, room;
};

struct names {
    const char **items;
    size_t count;
};

/* Record a finding; reading continues after FOUND and ends after FOUND_END. */
#define FOUND(cp, err, code, place, ...) nb_found((cp)->findings, err, code, place, __VA_ARGS__)
#define FOUND_END(cp, err, code, place, ...) nb_found_end((cp)->findings, err, code, place, __VA_ARGS__)

static struct nb_place
in_folder(const struct nb_checkpoint *cp)
{
    return nb_in_file(cp->folder);
}

char *
nb_checkpoint_path(struct nb_checkpoint *cp, const char *name)
{
    size_t a = strlen(cp->folder), b = strlen(name);
    char *path = nb_arena_alloc(&cp->arena, a + b + 2);

    if (path != NULL) {
        memcpy(path, cp->folder, a);
        path[a] = '/';
        memcpy(path + a + 1, name, b + 1);
    }
    return path;
}

const char *
nb_checkpoint_config_name(const struct nb_checkpoint *cp)
{
    return cp->layout == NULL ? "config.json" : cp->layout->config;
}

enum nb_status
nb_checkpoint_json(struct nb_checkpoint *cp, const char *name, json_t **object, struct nb_error *err)
{
    char *path = nb_checkpoint_path(cp, name);

    *object = NULL;
    if (path == NULL)
        return nb_fail_memory(err);
    return nb_exists(path) ? nb_json_load(path, NB_JSON_BIG_INTEGERS, object, err) : NB_OK;
}

static int
compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool
is_shard_name(const struct nb_layout *layout, const char *name)
{
    const char *p = SHARD_NUMBERS;

    if (strncmp(name, layout->shard, strlen(layout->shard)) != 0)
        return false;
    name += strlen(layout->shard);
    for (; *p != '\0' && (*p == '0' ? isdigit((unsigned char)*name) : *p == *name); p++)
        name++;
    return *p == '\0' && *name == '\0';
}

/* The files of the folder that have the names of shards, sorted. */
static enum nb_status
list_shards(struct nb_checkpoint *cp, struct names *out, struct nb_error *err)
{
    struct nb_folder folder;
    const char *name;
    enum nb_status status;

    *out = (struct names){ .items = nb_arena_calloc(&cp->arena, MAX_SHARDS, sizeof *out->items) };
    if (out->items == NULL)
        return nb_fail_memory(err);
    status = nb_folder_open(&folder, cp->folder, err);
    while (status == NB_OK && (status = nb_folder_next(&folder, &name, err)) == NB_OK && name != NULL) {
        if (!is_shard_name(cp->layout, name))
            continue;
        if (out->count == MAX_SHARDS)
            status = nb_fail(err, NB_INPUT, "%s: more than %u shards", cp->folder, MAX_SHARDS);
        else if ((out->items[out->count++] = nb_arena_strdup(&cp->arena, name)) == NULL)
            status = nb_fail_memory(err);
    }
    nb_folder_close(&folder);
    if (status == NB_OK)
        qsort(out->items, out->count, sizeof *out->items, compare_names);
    return status;
}

static enum nb_status
add_entry(struct nb_checkpoint *cp, struct weight_map *map, struct nb_json_span key, struct nb_json_span value,
          const char *path, struct nb_error *err)
{
    size_t a, b;
    char *tensor = nb_json_string(&cp->arena, key, &a), *shard = nb_json_string(&cp->arena, value, &b);

    if (cp->arena.exhausted)
        return nb_fail_memory(err);
    if (tensor == NULL || shard == NULL || (a > 0 && !nb_is_name(tensor, a)) || !nb_is_name(shard, b))
        return FOUND(cp, err, NB_BAD_CP_INDEX, nb_in_file(path),
                     "weight_map is not a map of tensor names to file names");
    /* A hostile index must not name files outside its folder. */
    if (strchr(shard, '/') != NULL || *shard == '.' || *shard == '\0')
        return FOUND(cp, err, NB_BAD_CP_INDEX, nb_in_file(path), "'%s' is not the name of a file in this folder",
                     shard);
    if (map->count == map->room) {
        size_t room = map->room == 0 ? 1024 : 2 * map->room;
        struct entry *grown = realloc(map->entries, room * sizeof *grown);

        if (grown == NULL)
            return nb_fail_memory(err);
        map->entries = grown;
        map->room = room;
    }
    map->entries[map->count++] = (struct entry){ .tensor = tensor, .shard = shard };
    return NB_OK;
}

static int
by_tensor(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->tensor, ((const struct entry *)b)->tensor);
}

static enum nb_status
parse_index(struct nb_checkpoint *cp, struct weight_map *map, struct nb_json_span text, const char *path,
            struct nb_error *err)
{
    struct nb_json_span root, key, value, weights = { 0 };
    struct nb_json_cursor cursor;
    char what[NB_MISTAKEN];
    enum nb_status status = NB_OK;
    int more;

    if (!nb_json_value(text, &root) || *root.at != '{' || !nb_json_enter(&cursor, root))
        return FOUND_END(cp, err, NB_BAD_CP_INDEX, nb_in_file(path), "%s%s",
                         nb_json_text_mistaken(text, what) ? "no index, but " : "holds no JSON object", what);
    while ((more = nb_json_next(&cursor, &key, &value)) > 0)
        if (nb_json_is(key, "weight_map"))
            weights = value;
    if (more < 0)
        return FOUND_END(cp, err, NB_BAD_CP_INDEX, nb_in_file(path), "not valid JSON");
    if (weights.at == NULL || *weights.at != '{' || !nb_json_enter(&cursor, weights))
        return FOUND_END(cp, err, NB_BAD_CP_INDEX, nb_in_file(path), "%s%s",
                         nb_json_text_mistaken(text, what) ? "no index, but " : "has no weight_map", what);
    while (status == NB_OK && (more = nb_json_next(&cursor, &key, &value)) > 0)
        status = add_entry(cp, map, key, value, path, err);
    if (status == NB_OK && more < 0)
        return FOUND_END(cp, err, NB_BAD_CP_INDEX, nb_in_file(path), "not valid JSON");
    if (status == NB_OK && map->count == 0)
        return FOUND_END(cp, err, NB_BAD_CP_INDEX, nb_in_file(path), "its weight_map is empty");
    if (status != NB_OK)
        return status;
    qsort(map->entries, map->count, sizeof *map->entries, by_tensor);
    for (size_t i = 1; i < map->count && status == NB_OK; i++)
        if (strcmp(map->entries[i - 1].tensor, map->entries[i].tensor) == 0)
            status = FOUND(cp, err, NB_BAD_CP_INDEX_DUPLICATE, nb_at_tensor(path, map->entries[i].tensor, NB_NO_OFFSET),
                           "occurs twice");
    return status;
}

static enum nb_status
read_index(struct nb_checkpoint *cp, struct weight_map *map, struct nb_error *err)
{
    char *path = nb_checkpoint_path(cp, cp->layout->index), *text;
    size_t length;
    enum nb_status status;

    if (path == NULL)
        return nb_fail_memory(err);
    status = nb_file_load(path, NB_JSON_FILE_LIMIT, &text, &length, err);
    if (status != NB_OK)
        return status;
    status = parse_index(cp, map, nb_json_after_mark((struct nb_json_span){ text, length }), path, err);
    free(text);
    return status;
}

/* The distinct shards that MAP names, sorted. */
static enum nb_status
shards_of(struct nb_checkpoint *cp, const struct weight_map *map, struct names *out, struct nb_error *err)
{
    const char **all = nb_arena_calloc(&cp->arena, map->count, sizeof *all);

    if (all == NULL)
        return nb_fail_memory(err);
    for (size_t i = 0; i < map->count; i++)
        all[i] = map->entries[i].shard;
    qsort(all, map->count, sizeof *all, compare_names);
    *out = (struct names){ .items = all };
    for (size_t i = 0; i < map->count; i++)
        if (i == 0 || strcmp(all[i], all[out->count - 1]) != 0)
            all[out->count++] = all[i];
    if (out->count > MAX_SHARDS)
        return nb_fail(err, NB_INPUT, "%s: the index names more than %u shards", cp->folder, MAX_SHARDS);
    return NB_OK;
}

static bool
is_named(const struct names *names, const char *name)
{
    return bsearch(&name, names->items, names->count, sizeof *names->items, compare_names) != NULL;
}

static enum nb_status
check_shards_against_index(struct nb_checkpoint *cp, const struct names *wanted, struct nb_error *err)
{
    struct names present;
    enum nb_status status = list_shards(cp, &present, err);

    if (status != NB_OK)
        return status;
    for (size_t i = 0; i < present.count && status == NB_OK; i++)
        if (!is_named(wanted, present.items[i]))
            status = FOUND(cp, err, NB_BAD_CP_SHARD, in_folder(cp), "shard '%s' is here, but %s does not name it",
                           present.items[i], cp->layout->index);
    for (size_t i = 0; i < wanted->count && status == NB_OK; i++) {
        char *path = nb_checkpoint_path(cp, wanted->items[i]);

        if (path == NULL)
            return nb_fail_memory(err);
        if (!nb_exists(path))
            status = FOUND(cp, err, NB_BAD_CP_SHARD, in_folder(cp), "shard '%s' is missing (%s names %zu)",
                           wanted->items[i], cp->layout->index, wanted->count);
    }
    return status;
}

/* Shards without an index must be numbered 1 to n of n. */
static enum nb_status
check_shard_numbers(struct nb_checkpoint *cp, const struct names *shards, struct nb_error *err)
{
    const size_t number = strlen(cp->layout->shard), total = number + strlen("00001-of-");
    unsigned long of = strtoul(shards->items[0] + total, NULL, 10);

    for (size_t i = 0; i < shards->count; i++) {
        const char *name = shards->items[i];

        if (strtoul(name + total, NULL, 10) != of || strtoul(name + number, NULL, 10) != i + 1)
            return FOUND(cp, err, NB_BAD_CP_SHARD, in_folder(cp),
                         "shard %zu of %lu is missing or has another name (found '%s')", i + 1, of, name);
    }
    if (shards->count != of)
        return FOUND(cp, err, NB_BAD_CP_SHARD, in_folder(cp), "shard %zu of %lu is missing", shards->count + 1, of);
    return NB_OK;
}

static int
by_name(const void *a, const void *b)
{
    return strcmp(((const struct nb_checkpoint_tensor *)a)->info.name,
                  ((const struct nb_checkpoint_tensor *)b)->info.name);
}

/* Moves the tensors of shard NUMBER to CP, sorted by name. */
static enum nb_status
adopt(struct nb_checkpoint *cp, const struct nb_safetensors *st, size_t number, size_t *room, struct nb_error *err)
{
    struct nb_checkpoint_tensor *first;

    if (cp->n_tensors + st->count > *room) {
        *room = 2 * (cp->n_tensors + st->count);
        struct nb_checkpoint_tensor *grown = realloc(cp->tensors, *room * sizeof *grown);

        if (grown == NULL)
            return nb_fail_memory(err);
        cp->tensors = grown;
    }
    first = cp->tensors + cp->n_tensors;
    for (size_t k = 0; k < st->count; k++)
        first[k] = (struct nb_checkpoint_tensor){ .info = st->tensors[k], .file = (uint32_t)number };
    if (st->count > 0)
        qsort(first, st->count, sizeof *first, by_name);
    cp->n_tensors += st->count;
    return NB_OK;
}

/* A link that leads out of the folder is a finding; nothing is read after it. */
static enum nb_status
check_link(struct nb_checkpoint *cp, const char *name, struct nb_error *err)
{
    bool inside = true;
    enum nb_status status = cp->follow_links ? NB_OK : nb_link_stays_inside(cp->folder, name, &inside, err);

    if (status != NB_OK || inside)
        return status;
    return FOUND_END(cp, err, NB_BAD_CP_LINK, in_folder(cp),
                     "'%s' is a link that leads out of the folder; --follow-links takes it all the same", name);
}

/* Checks the links among the files of the folder INNER, "" or a name and '/', that are read for what their names are. */
static enum nb_status
check_links_in(struct nb_checkpoint *cp, const char *inner, struct nb_error *err)
{
    static const char *const ends[] = { ".json", ".jinja", ".model", ".md", "additional_chat_templates" };
    char *path = nb_checkpoint_path(cp, inner);
    struct nb_folder folder;
    const char *found;
    enum nb_status status = path == NULL ? nb_fail_memory(err) : nb_folder_open(&folder, path, err);

    if (status != NB_OK)
        return status;
    while (status == NB_OK && (status = nb_folder_next(&folder, &found, err)) == NB_OK && found != NULL) {
        char name[2 * NAME_MAX + 2];

        snprintf(name, sizeof name, "%s%s", inner, found);
        for (size_t i = 0; i < sizeof ends / sizeof ends[0] && status == NB_OK; i++)
            if (nb_ends_with(name, ends[i]))
                status = check_link(cp, name, err);
    }
    nb_folder_close(&folder);
    return status;
}

/* Shards are checked later, by the names that the index has for them. */
static enum nb_status
check_links(struct nb_checkpoint *cp, struct nb_error *err)
{
    enum nb_status status = cp->follow_links ? NB_OK : check_links_in(cp, "", err);

    return status == NB_OK && !cp->follow_links ? check_links_in(cp, "additional_chat_templates/", err) : status;
}

/* With findings, an unreadable shard is recorded and skipped. */
static enum nb_status
open_shard(struct nb_checkpoint *cp, const char *name, size_t number, bool single, size_t *room, struct nb_error *err)
{
    struct nb_file_in *file = &cp->files[number];
    char *path = nb_checkpoint_path(cp, name);
    struct nb_error why;
    struct nb_safetensors st;
    enum nb_status status;

    if (path == NULL)
        return nb_fail_memory(err);
    cp->n_files = (uint32_t)number + 1;
    file->fd = -1;
    status = single ? NB_OK : check_link(cp, name, err);
    if (status != NB_OK)
        return status;
    if (cp->findings != NULL && !nb_exists(path))
        return NB_OK; /* missing, as was recorded */
    status = nb_file_open(file, path, &why);
    if (nb_status_is(status, NB_INPUT))
        return nb_found_error(cp->findings, err, NB_BAD_CP_SHARD, nb_in_file(path), &why);
    if (status != NB_OK)
        return nb_fail(err, status, "%s", why.message);
    status = nb_safetensors_examine(file, &cp->arena, &st, cp->findings, err);
    if (nb_status_is(status, NB_INPUT) && cp->findings != NULL) {
        nb_file_close(file);
        return NB_OK;
    }
    cp->is_mlx = cp->is_mlx || st.is_mlx;
    return status == NB_OK ? adopt(cp, &st, number, room, err) : status;
}

static enum nb_status
open_shards(struct nb_checkpoint *cp, const struct names *shards, bool single, struct nb_error *err)
{
    size_t room = 0;
    enum nb_status status = NB_OK;

    cp->files = nb_arena_calloc(&cp->arena, shards->count, sizeof *cp->files);
    if (cp->files == NULL)
        return nb_fail_memory(err);
    for (size_t i = 0; i < shards->count && status == NB_OK; i++)
        status = open_shard(cp, shards->items[i], i, single, &room, err);
    return status;
}

/* Whether the shard NAME is open; without findings all are. */
static bool
is_open(const struct nb_checkpoint *cp, const struct names *shards, const char *name)
{
    const char **found = bsearch(&name, shards->items, shards->count, sizeof *shards->items, compare_names);

    return found != NULL && cp->files[found - shards->items].fd >= 0;
}

/* Checks that each tensor is in the shard that the index names, and that no tensor is missing there or duplicate. */
static enum nb_status
check_tensors_against_index(struct nb_checkpoint *cp, const struct weight_map *map, const struct names *shards,
                            struct nb_error *err)
{
    enum nb_status status = NB_OK;

    for (size_t i = 0; i < cp->n_tensors && status == NB_OK; i++) {
        const struct nb_checkpoint_tensor *t = &cp->tensors[i];
        struct entry key = { .tensor = t->info.name };
        struct entry *entry = map->count == 0 ? NULL : bsearch(&key, map->entries, map->count, sizeof key, by_tensor);

        if (entry != NULL)
            entry->found = true;
        if (entry == NULL || strcmp(entry->shard, shards->items[t->file]) != 0)
            status = FOUND(cp, err, NB_BAD_CP_TENSOR_PLACE, in_folder(cp),
                           "tensor '%s' is in shard '%s', but %s says %s", t->info.name, shards->items[t->file],
                           cp->layout->index, entry == NULL ? "nothing of it" : entry->shard);
    }
    for (size_t i = 0; i < map->count && status == NB_OK; i++)
        if (!map->entries[i].found && is_open(cp, shards, map->entries[i].shard))
            status = FOUND(cp, err, NB_BAD_CP_TENSOR_PLACE, in_folder(cp),
                           "tensor '%s' is not in shard '%s', where %s puts it", map->entries[i].tensor,
                           map->entries[i].shard, cp->layout->index);
    return status;
}

/* What a folder is that is no checkpoint, by the name of something in it. */
static const struct {
    const char *begin, *end; /* of the name */
    const char *what;        /* "%s" is the name */
} kinds[] = {
    { "adapter_", "", "it holds a LoRA adapter: merge it into its base first" },
    { "consolidated", ".safetensors", "it holds '%s', Mistral's own layout, but no params.json" },
    { "model_index", ".json", "it holds a diffusion pipeline, not a language model" },
    { "", ".gguf", "it holds GGUF files: name one, such as '%s'" },
    { "snapshots", "", "it is the hub's cache of a model: name a folder in '%s'" },
    { "checkpoint-", "", "it holds the checkpoints of a training: name one, such as '%s'" },
    { "global_step", "", "it holds '%s', DeepSpeed's own layout: convert it by its zero_to_fp32.py" },
    { "pytorch_model", ".bin", "it holds '%s': PyTorch files are not read, as they can run code" },
    { "consolidated", ".pth", "it holds '%s', Meta's own layout: PyTorch files are not read, as they can run code" },
    { "flax_model", ".msgpack", "it holds '%s', weights for Flax" },
    { "tf_model", ".h5", "it holds '%s', weights for TensorFlow" },
};

/* Says in TEXT what the folder is, for those who look for what it lacks: ": it holds ..."; "" if nothing is known. */
static void
say_what_is_here(const struct nb_checkpoint *cp, char *text, size_t size)
{
    size_t best = sizeof kinds / sizeof kinds[0];
    struct nb_folder folder;
    const char *found;
    enum nb_status status = nb_folder_open(&folder, cp->folder, NULL); /* it is only to explain another error */

    *text = '\0';
    while (status == NB_OK && nb_folder_next(&folder, &found, NULL) == NB_OK && found != NULL) {
        for (size_t i = 0; i < best; i++) {
            const char *name = strstr(kinds[i].what, "%s");
            const int before = name == NULL ? (int)strlen(kinds[i].what) : (int)(name - kinds[i].what);

            if (strncmp(found, kinds[i].begin, strlen(kinds[i].begin)) != 0 || !nb_ends_with(found, kinds[i].end))
                continue;
            snprintf(text, size, ": %.*s%s%s", before, kinds[i].what, name == NULL ? "" : found,
                     name == NULL ? "" : name + 2);
            best = i;
        }
    }
    nb_folder_close(&folder);
}

/*
 * A single file beside an index of shards. If shards of it are here too, nothing says which set is the
 * model; if none is, the model was saved again in one file and the index stayed.
 */
static enum nb_status
single_beside_index(struct nb_checkpoint *cp, const struct names *shards, struct nb_error *err)
{
    for (size_t i = 0; i < shards->count; i++) {
        char *path = nb_checkpoint_path(cp, shards->items[i]);

        if (path == NULL)
            return nb_fail_memory(err);
        if (nb_exists(path))
            return FOUND_END(cp, err, NB_BAD_CP_WEIGHTS, in_folder(cp),
                             "has both %s and shard '%s' of %s: move one set away, or name the file to take",
                             cp->layout->single, shards->items[i], cp->layout->index);
    }
    cp->index_is_stale = true;
    return NB_OK;
}

static enum nb_status
open_indexed(struct nb_checkpoint *cp, bool has_single, struct nb_error *err)
{
    struct weight_map map = { 0 };
    struct names shards = { 0 };
    enum nb_status status = read_index(cp, &map, err);

    if (status == NB_OK)
        status = shards_of(cp, &map, &shards, err);
    if (status == NB_OK && has_single && !is_named(&shards, cp->layout->single))
        status = single_beside_index(cp, &shards, err);
    if (status == NB_OK && !cp->index_is_stale) {
        status = check_shards_against_index(cp, &shards, err);
        if (status == NB_OK)
            status = open_shards(cp, &shards, false, err);
        if (status == NB_OK)
            status = check_tensors_against_index(cp, &map, &shards, err);
    }
    free(map.entries);
    return status;
}

static enum nb_status
open_weights(struct nb_checkpoint *cp, struct nb_error *err)
{
    struct names shards;
    const char *single = cp->layout->single;
    char *index = nb_checkpoint_path(cp, cp->layout->index), *path = nb_checkpoint_path(cp, single), here[512];
    enum nb_status status = NB_OK;

    if (index == NULL || path == NULL)
        return nb_fail_memory(err);
    if (nb_exists(index)) {
        status = open_indexed(cp, nb_exists(path), err);
        if (status != NB_OK || !cp->index_is_stale)
            return status;
    }
    status = list_shards(cp, &shards, err);
    if (status != NB_OK)
        return status;
    if (nb_exists(path)) {
        if (shards.count > 0)
            return FOUND_END(cp, err, NB_BAD_CP_WEIGHTS, in_folder(cp),
                             "has both %s and shard '%s', and no index that says which to take", single,
                             shards.items[0]);
        shards = (struct names){ &single, 1 };
        return open_shards(cp, &shards, false, err);
    }
    if (shards.count == 0) {
        say_what_is_here(cp, here, sizeof here);
        return FOUND_END(cp, err, NB_BAD_CP_WEIGHTS, in_folder(cp), "no %s and no shards of one%s", single, here);
    }
    status = check_shard_numbers(cp, &shards, err);
    return status == NB_OK ? open_shards(cp, &shards, false, err) : status;
}

/* A weights file that is none is told before what is missing beside it. */
static enum nb_status
check_named(struct nb_checkpoint *cp, const char *path, struct nb_error *err)
{
    struct nb_file_in file;
    char what[NB_MISTAKEN];
    enum nb_status status = nb_file_open(&file, path, err);

    if (status != NB_OK)
        return status;
    if (!nb_safetensors_begins(&file) && nb_file_mistaken(&file, what))
        status = FOUND_END(cp, err, NB_BAD_FILE_KIND, nb_in_file(path), "not a safetensors file, but %s", what);
    nb_file_close(&file);
    return status;
}

/* Adds to the entries of a params.json what all readers look for in a config.json. */
static enum nb_status
say_as_config(struct nb_checkpoint *cp, struct nb_error *err)
{
    json_t *tied = json_object_get(cp->config, "tied_embeddings");

    return json_object_set_new(cp->config, "architectures", json_pack("[s]", cp->layout->class)) == 0 &&
                   json_object_set(cp->config, "tie_word_embeddings", json_is_true(tied) ? tied : json_false()) == 0
               ? NB_OK
               : nb_fail_memory(err);
}

/* SINGLE: the user named a single weights file. */
static enum nb_status
open_config(struct nb_checkpoint *cp, const char *named, bool single, struct nb_error *err)
{
    char *path = nb_checkpoint_path(cp, cp->layout->config), here[512];
    struct nb_error why;
    enum nb_status status;

    if (path == NULL)
        return nb_fail_memory(err);
    if (!nb_exists(path)) {
        say_what_is_here(cp, here, sizeof here);
        return FOUND(cp, err, NB_BAD_CP_CONFIG, nb_in_file(named), "%s%s",
                     single ? "has no config.json beside it, which says what model it is"
                            : "has no config.json, so it is not a checkpoint folder",
                     here);
    }
    status = nb_json_load(path, NB_JSON_BIG_INTEGERS, &cp->config, &why);
    if (status == NB_OK && cp->layout->class != NULL)
        return say_as_config(cp, err);
    if (!nb_status_is(status, NB_INPUT))
        return status == NB_OK ? NB_OK : nb_fail(err, status, "%s", why.message);
    return nb_found_error(cp->findings, err, NB_BAD_CP_CONFIG, nb_in_file(path), &why);
}

/* Whether the folder has weights by the names of LAYOUT. */
static bool
has_weights(struct nb_checkpoint *cp, const struct nb_layout *layout)
{
    char *single = nb_checkpoint_path(cp, layout->single), *index = nb_checkpoint_path(cp, layout->index);

    return single != NULL && index != NULL && (nb_exists(single) || nb_exists(index));
}

/* Which names the folder has; those of config.json if it has both, or neither. NAMED: the weights file to take, or NULL. */
static enum nb_status
find_layout(struct nb_checkpoint *cp, const char *named, struct nb_error *err)
{
    const struct nb_layout *own = &layouts[1];
    char *config = nb_checkpoint_path(cp, own->config), *usual = nb_checkpoint_path(cp, layouts[0].config);
    struct names shards;
    enum nb_status status;

    cp->layout = &layouts[0];
    if (config == NULL || usual == NULL)
        return nb_fail_memory(err);
    if (!nb_exists(config))
        return NB_OK;
    if (named != NULL) {
        if (!nb_exists(usual) || strcmp(named, own->single) == 0 || is_shard_name(own, named))
            cp->layout = own;
        return NB_OK;
    }
    status = list_shards(cp, &shards, err);
    if (status == NB_OK && !has_weights(cp, cp->layout) && shards.count == 0 && has_weights(cp, own))
        cp->layout = own;
    return status;
}

static enum nb_status
open_any(struct nb_checkpoint *cp, const char *path, struct nb_error *err)
{
    const bool single = !nb_is_folder(path);
    char *copy = nb_arena_strdup(&cp->arena, path);
    enum nb_status status;

    if (copy == NULL)
        return nb_fail_memory(err);
    if (single) {
        cp->folder = dirname(copy);
    } else {
        for (size_t n = strlen(copy); n > 1 && copy[n - 1] == '/'; n--)
            copy[n - 1] = '\0';
        cp->folder = copy;
    }
    status = check_links(cp, err);
    if (status == NB_OK)
        status = find_layout(cp, single ? nb_base_name(path) : NULL, err);
    if (status == NB_OK && single)
        status = check_named(cp, path, err);
    if (status == NB_OK)
        status = open_config(cp, single ? path : cp->folder, single, err);
    if (status == NB_OK && single) {
        const char *name = nb_base_name(path);

        if (is_shard_name(cp->layout, name) && !nb_ends_with(name, "-of-00001.safetensors"))
            status = nb_fail(err, NB_INPUT, "%s: is one of several shards of a model: name their folder, '%s'", path,
                             cp->folder);
        else
            status = open_shards(cp, &(struct names){ &name, 1 }, true, err);
    } else if (status == NB_OK) {
        status = open_weights(cp, err);
    }
    if (status != NB_OK)
        nb_checkpoint_close(cp);
    return status;
}

enum nb_status
nb_checkpoint_open(struct nb_checkpoint *cp, const char *path, bool follow_links, struct nb_error *err)
{
    *cp = (struct nb_checkpoint){ .follow_links = follow_links };
    return open_any(cp, path, err);
}

enum nb_status
nb_checkpoint_examine(struct nb_checkpoint *cp, const char *path, bool follow_links, struct nb_findings *findings,
                      struct nb_error *err)
{
    *cp = (struct nb_checkpoint){ .follow_links = follow_links, .findings = findings };
    return open_any(cp, path, err);
}

void
nb_checkpoint_close(struct nb_checkpoint *cp)
{
    for (uint32_t i = 0; i < cp->n_files; i++)
        nb_file_close(&cp->files[i]);
    for (size_t i = 0; i < cp->n_made; i++)
        free(cp->made[i].bytes);
    json_decref(cp->config);
    free(cp->tensors);
    nb_arena_free(&cp->arena);
    *cp = (struct nb_checkpoint){ 0 };
}
