#include "formats/gguf/split.h"

#include "formats/base/checked.h"
#include "formats/base/file_out.h"
#include "formats/base/system.h"
#include "formats/gguf/assemble.h"
#include "formats/gguf/gguf.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char *const split_keys[] = { "split.no", "split.count", "split.tensors.count" };

static void
remove_split_keys(struct nb_metadata *meta)
{
    for (size_t i = 0; i < sizeof split_keys / sizeof split_keys[0]; i++)
        nb_meta_remove(meta, split_keys[i]);
}

/* The metadata of part NUMBER: all keys in the first, only the necessary ones in the others. */
static enum nb_status
part_metadata(const struct nb_gguf_set *set, uint32_t number, uint32_t count, struct nb_metadata *meta,
              struct nb_error *err)
{
    const uint16_t no = (uint16_t)number, of = (uint16_t)count;
    const struct nb_kv *alignment = nb_meta_find(set->meta, "general.alignment");

    *meta = (struct nb_metadata){ 0 };
    if (number == 0)
        nb_meta_copy(meta, set->meta);
    else if (alignment != NULL)
        nb_meta_set(meta, alignment->key, alignment->type, alignment->element, 1, alignment->data, alignment->size);
    remove_split_keys(meta);
    nb_meta_set(meta, split_keys[0], NB_KV_U16, NB_KV_U16, 1, &no, sizeof no);
    nb_meta_set_i32(meta, split_keys[2], (int32_t)set->n_tensors);
    nb_meta_set(meta, split_keys[1], NB_KV_U16, NB_KV_U16, 1, &of, sizeof of); /* last, as in gguf-split */
    return nb_meta_status(meta, err);
}

/* --- planning --------------------------------------------------------------------------------------- */

static bool
add_part(struct nb_split *s, size_t first)
{
    struct nb_split_part *grown = realloc(s->parts, (s->count + 1) * sizeof *grown);

    if (grown == NULL)
        return false;
    s->parts = grown;
    grown[s->count++] = (struct nb_split_part){ .first = first };
    return true;
}

/* gguf-split's rule: a part is full if one more tensor would exceed a limit. */
static bool
is_full(const struct nb_split_options *o, const struct nb_split_part *part, uint64_t bytes, uint64_t more)
{
    return part->count > 0 &&
           ((o->max_tensors > 0 && part->count >= o->max_tensors) || (o->max_bytes > 0 && bytes + more > o->max_bytes));
}

static enum nb_status
cut(struct nb_split *s, const struct nb_gguf_set *set, const struct nb_split_options *o, struct nb_error *err)
{
    const uint32_t alignment = nb_gguf_alignment(set->meta);
    uint64_t bytes = 0;

    if (!add_part(s, 0) || (o->empty_first && !add_part(s, 0)))
        return nb_fail_memory(err);
    for (size_t i = 0; i < set->n_tensors; i++) {
        uint64_t more;

        if (!nb_align_u64(set->tensors[i].bytes, alignment, &more))
            return nb_fail(err, NB_INPUT, "%s: tensor '%s' is too large", set->path, set->tensors[i].name);
        if (is_full(o, &s->parts[s->count - 1], bytes, more)) {
            if (s->count == NB_MAX_SPLITS)
                return nb_fail(err, NB_USAGE, "%s: would become more than %u parts", set->path, NB_MAX_SPLITS);
            if (!add_part(s, i))
                return nb_fail_memory(err);
            bytes = 0;
        }
        s->parts[s->count - 1].count++;
        bytes += more;
    }
    return NB_OK;
}

/* --- writing ------------------------------------------------------------------------------------------ */

/* Pointers to COUNT tensors of SOURCE from FIRST on; the caller frees them. */
static const struct nb_tensor **
point_to(const struct nb_gguf_set *set, size_t first, size_t count)
{
    const struct nb_tensor **tensors = calloc(count + 1, sizeof *tensors);

    for (size_t i = 0; tensors != NULL && i < count; i++)
        tensors[i] = &set->tensors[first + i];
    return tensors;
}

/* Writes part NUMBER to NAME and leaves it open as OUT, or only computes its size if NAME is NULL. */
static enum nb_status
make_part(const struct nb_split *s, const struct nb_gguf_set *set, uint32_t number, const char *name, bool replace,
          struct nb_file_out *out, struct nb_error *err)
{
    struct nb_split_part *part = &s->parts[number];
    const struct nb_tensor **tensors = point_to(set, part->first, part->count);
    struct nb_metadata meta;
    const struct nb_assembly a = {
        .meta = &meta,
        .tensors = tensors,
        .count = part->count,
        .files = set->files,
        .watch = set->watch,
        .done = nb_tensor_bytes(set->tensors, part->first),
        .total = nb_tensor_bytes(set->tensors, set->n_tensors),
    };
    enum nb_status status = part_metadata(set, number, s->count, &meta, err);

    if (tensors == NULL)
        status = nb_fail_memory(err);
    if (status == NB_OK)
        status = name == NULL ? nb_assembly_size(&a, &part->bytes, err) : nb_assemble_to(&a, name, replace, out, err);
    nb_meta_free(&meta);
    free(tensors);
    return status;
}

enum nb_status
nb_split_plan(struct nb_split *s, const struct nb_gguf_set *set, const struct nb_split_options *o, struct nb_error *err)
{
    enum nb_status status = NB_OK;

    *s = (struct nb_split){ 0 };
    if (set->n_tensors > INT32_MAX)
        return nb_fail(err, NB_INPUT, "%s: has too many tensors", set->path);
    status = cut(s, set, o, err);
    for (uint32_t i = 0; i < s->count && status == NB_OK; i++)
        status = make_part(s, set, i, NULL, false, NULL, err);
    if (status != NB_OK)
        nb_split_free(s);
    return status;
}

void
nb_split_free(struct nb_split *s)
{
    free(s->parts);
    *s = (struct nb_split){ 0 };
}

/* An output must not be one of the input files: users have lost shards through a shell's glob. */
static enum nb_status
refuse_input(const struct nb_gguf_set *set, const char *name, struct nb_error *err)
{
    for (uint32_t i = 0; i < set->n_files; i++)
        if (nb_file_is(&set->files[i], name))
            return nb_fail(err, NB_USAGE, "%s: is one of the files that are read, and is not overwritten", name);
    return NB_OK;
}

enum nb_status
nb_split_write(const struct nb_split *s, const struct nb_gguf_set *set, const char *prefix, bool replace,
               struct nb_error *err)
{
    char **names = calloc(s->count, sizeof *names);
    struct nb_file_out *parts = calloc(s->count, sizeof *parts);
    uint32_t written = 0;
    enum nb_status status = names == NULL || parts == NULL ? nb_fail_memory(err) : NB_OK;

    nb_system_allow_files(s->count); /* no part gets its name before all are written */

    for (uint32_t i = 0; i < s->count && status == NB_OK; i++) {
        names[i] = nb_split_name(prefix, strlen(prefix), i, s->count);
        status = names[i] == NULL ? nb_fail_memory(err) : refuse_input(set, names[i], err);
    }
    for (; written < s->count && status == NB_OK; written += status == NB_OK)
        status = make_part(s, set, written, names[written], replace, &parts[written], err);
    if (status == NB_OK)
        status = nb_out_commit_all(parts, s->count, replace, err);
    else
        for (uint32_t i = 0; i < written; i++)
            nb_out_abort(&parts[i], err);
    for (uint32_t i = 0; names != NULL && i < s->count; i++)
        free(names[i]);
    free(names);
    free(parts);
    return status;
}

enum nb_status
nb_split_merge(const struct nb_gguf_set *set, const char *name, bool replace, struct nb_error *err)
{
    const struct nb_tensor **tensors = point_to(set, 0, set->n_tensors);
    struct nb_metadata meta = { 0 };
    const struct nb_assembly a = {
        .meta = &meta,
        .tensors = tensors,
        .count = set->n_tensors,
        .files = set->files,
        .watch = set->watch,
        .total = nb_tensor_bytes(set->tensors, set->n_tensors),
    };
    enum nb_status status = tensors == NULL ? nb_fail_memory(err) : refuse_input(set, name, err);

    nb_meta_copy(&meta, set->meta);
    remove_split_keys(&meta);
    if (status == NB_OK)
        status = nb_meta_status(&meta, err);
    if (status == NB_OK)
        status = nb_assemble(&a, name, replace, err);
    nb_meta_free(&meta);
    free(tensors);
    return status;
}
