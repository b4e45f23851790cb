#include "formats/models/source.h"

#include "formats/base/text.h"
#include "formats/models/packed/packed.h"
#include "formats/safetensors/checkpoint.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum nb_status
nb_source_open(struct nb_source *source, const char *path, const struct nb_source_options *options,
               struct nb_error *err)
{
    static const struct nb_source_options none = { 0 };
    enum nb_status status;

    *source = (struct nb_source){ 0 };
    source->path = nb_arena_strdup(&source->arena, path);
    if (source->path == NULL)
        return nb_fail_memory(err);
    if (nb_is_folder(path) || nb_ends_with(path, ".safetensors"))
        status = nb_source_open_checkpoint(source, source->path, options == NULL ? &none : options, err);
    else if (nb_ends_with(path, ".json") && nb_is_file(path))
        status = nb_fail(err, NB_INPUT, "%s: is no model, but may be a part of one: name its folder", path);
    else
        status = nb_source_open_gguf(source, source->path, err);
    for (uint32_t i = 0; i < source->store.n_files; i++)
        source->file_bytes += source->store.files[i].size;
    if (status != NB_OK)
        nb_source_close(source);
    return status;
}

void
nb_source_close(struct nb_source *source)
{
    if (source->checkpoint != NULL) {
        nb_checkpoint_close(source->checkpoint); /* owns the files */
    } else {
        for (uint32_t i = 0; i < source->store.n_files; i++)
            nb_file_close(&source->files[i]);
        free(source->stored);
    }
    free(source->tensors);
    nb_meta_free(&source->meta);
    nb_arena_free(&source->arena);
    *source = (struct nb_source){ 0 };
}

enum nb_status
nb_source_vocabulary(const struct nb_source *source, struct nb_vocabulary *vocabulary, struct nb_error *err)
{
    const struct nb_vocabulary_origin from = { source->path, &source->meta, source->checkpoint };

    return nb_vocabulary_read(vocabulary, &from, err);
}

struct nb_gguf_set
nb_source_gguf_set(const struct nb_source *source)
{
    const struct nb_store *s = &source->store;

    return (struct nb_gguf_set){ source->path, &source->meta, s->tensors, s->count, s->files, s->n_files, NULL };
}

uint64_t
nb_source_parameters(const struct nb_source *source)
{
    uint64_t total = 0;

    for (size_t i = 0; i < source->n_tensors; i++)
        total += source->tensors[i].elements;
    return total;
}

uint64_t
nb_source_stored_bytes(const struct nb_view *view)
{
    double bytes = 0, elements = 0;

    if (view->n_pieces == 0 || view->pieces->stored->packed == NULL)
        return view->bytes;
    for (size_t i = 0; i < view->n_pieces; i++) {
        const struct nb_piece *p = &view->pieces[i];
        const struct nb_packed *packed = p->stored->packed;
        const double n = (double)p->rows * (double)p->columns;

        bytes += (double)(packed == NULL ? p->stored->bytes : nb_packed_stored_bytes(packed)) * n /
                 (double)p->stored->elements;
        elements += n;
    }
    return (uint64_t)(bytes * (double)view->elements / elements + 0.5);
}

const char *
nb_source_packed_format(const struct nb_view *view)
{
    if (view->n_pieces == 0 || view->pieces->stored->packed == NULL || nb_view_is_packed(view))
        return NULL;
    return nb_packed_format(view->pieces->stored->packed);
}

double
nb_source_bits_per_weight(const struct nb_source *source)
{
    const uint64_t parameters = nb_source_parameters(source);
    double bytes = 0;

    for (size_t i = 0; i < source->n_tensors; i++)
        bytes += (double)nb_source_stored_bytes(&source->tensors[i]);
    return parameters == 0 ? 0 : 8 * bytes / (double)parameters;
}

void
nb_source_note(struct nb_source *source, const char *format, ...)
{
    struct nb_note *note = nb_arena_alloc(&source->arena, sizeof *note), **last = &source->notes;
    char text[NB_ERROR_SIZE];
    struct nb_error printable; /* names in a note may come from a hostile file */
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    nb_fail(&printable, NB_OK, "%s", text);
    if (note == NULL || (note->text = nb_arena_strdup(&source->arena, printable.message)) == NULL)
        return; /* a lost note is not an error */
    note->next = NULL;
    while (*last != NULL)
        last = &(*last)->next;
    *last = note;
}
