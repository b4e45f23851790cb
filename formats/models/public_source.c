/* nibble.h: sources. */
#include "formats/models/public_source.h"

#include "formats/base/public.h"
#include "formats/elements/decode.h"
#include "formats/models/view.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Elements that are read at once: what a reader holds stays small, however many rows are asked for. */
#define ELEMENTS_AT_ONCE ((uint64_t)1 << 18)

enum nibble_code
nibble_source_open(const char *path, const struct nibble_source_options *options, struct nibble_source **out,
                   struct nibble_error *error)
{
    struct nibble_source_options o;
    struct nibble_source *s = NULL;
    struct nb_error err;
    enum nb_status status = NB_PUBLIC_TAKE(o, options, "nibble_source_options", &err);

    if (status == NB_OK && (s = calloc(1, sizeof *s)) == NULL)
        status = nb_fail_memory(&err);
    if (status == NB_OK) {
        const struct nb_source_options own = { .pre_tokenizer = o.pre_tokenizer,
                                               .model_class = o.model_class,
                                               .follow_links = o.follow_links,
                                               .keep_packed = o.keep_packed,
                                               .keep_quantized = o.keep_quantized };

        status = nb_source_open(&s->source, path, &own, &err);
    }
    if (status != NB_OK) {
        free(s);
        s = NULL;
    }
    *out = s;
    return nb_public_end(status, &err, error);
}

void
nibble_source_close(struct nibble_source *s)
{
    if (s != NULL)
        nb_source_close(&s->source);
    free(s);
}

void
nibble_source_get_info(const struct nibble_source *s, struct nibble_source_info *out)
{
    struct nibble_source_info info = {
        .format = s->source.kind == NB_SOURCE_GGUF ? "GGUF" : "checkpoint",
        .tensors = s->source.n_tensors,
        .parameters = nb_source_parameters(&s->source),
        .file_bytes = s->source.file_bytes,
    };

    for (const struct nb_note *note = s->source.notes; note != NULL; note = note->next)
        info.notes++;
    NB_PUBLIC_GIVE(out, info, "nibble_source_info", NULL);
}

const char *
nibble_source_note(const struct nibble_source *s, size_t index)
{
    const struct nb_note *note = s->source.notes;

    while (note != NULL && index-- > 0)
        note = note->next;
    return note == NULL ? NULL : note->text;
}

const struct nibble_metadata *
nibble_source_metadata(const struct nibble_source *s)
{
    return (const struct nibble_metadata *)&s->source.meta;
}

enum nibble_code
nibble_source_tensor(const struct nibble_source *s, size_t index, struct nibble_tensor *out, struct nibble_error *error)
{
    struct nb_error err;
    enum nb_status status = nb_public_check_index(index, s->source.n_tensors, "tensors", &err);

    if (status == NB_OK) {
        const struct nb_view *v = &s->source.tensors[index];
        struct nibble_tensor tensor = {
            .name = v->name,
            .stored_name = v->source_name,
            .type = nb_type_info(v->type)->name,
            .dims = v->n_dims,
            .elements = v->elements,
            .bytes = v->bytes,
        };

        memcpy(tensor.shape, v->ne, sizeof tensor.shape);
        status = NB_PUBLIC_GIVE(out, tensor, "nibble_tensor", &err);
    }
    return nb_public_end(status, &err, error);
}

enum nibble_code
nibble_source_find(const struct nibble_source *s, const char *name, size_t *index, struct nibble_error *error)
{
    struct nb_error err;

    for (size_t i = 0; i < s->source.n_tensors; i++)
        if (strcmp(s->source.tensors[i].name, name) == 0) {
            *index = i;
            return nb_public_end(NB_OK, NULL, error);
        }
    return nb_public_end(nb_fail(&err, NB_NOT_FOUND, "%s: has no tensor '%.80s'", s->source.path, name), &err, error);
}

static enum nb_status
read_rows(const struct nb_view *v, uint64_t first, uint64_t count, float *out, struct nb_error *err)
{
    const uint64_t at_once = nb_view_run(v, ELEMENTS_AT_ONCE) / v->ne[0];
    struct nb_view_reader reader = { 0 };
    enum nb_status status = NB_OK;

    for (uint64_t done = 0, n; done < count && status == NB_OK; done += n) {
        n = count - done < at_once ? count - done : at_once;
        status = nb_view_rows(v, first + done, n, out + done * v->ne[0], &reader, err);
    }
    nb_view_reader_free(&reader);
    return status;
}

static enum nb_status
check_rows(const struct nb_view *v, uint64_t first, uint64_t count, struct nb_error *err)
{
    const uint64_t rows = v->ne[0] == 0 ? 0 : v->elements / v->ne[0];

    if (first > rows || count > rows - first)
        return nb_fail(err, NB_USAGE, "tensor '%s' has only %" PRIu64 " rows", v->name, rows);
    if (!nb_can_decode(v->type))
        return nb_fail(err, NB_UNSUPPORTED, "tensor '%s' is of type %s, which is no numbers", v->name,
                       nb_type_info(v->type)->name);
    return NB_OK;
}

enum nibble_code
nibble_source_rows(const struct nibble_source *s, size_t index, uint64_t first, uint64_t count, float *out,
                   struct nibble_error *error)
{
    struct nb_error err;
    enum nb_status status = nb_public_check_index(index, s->source.n_tensors, "tensors", &err);

    if (status == NB_OK)
        status = check_rows(&s->source.tensors[index], first, count, &err);
    if (status == NB_OK && count > 0)
        status = read_rows(&s->source.tensors[index], first, count, out, &err);
    return nb_public_end(status, &err, error);
}
