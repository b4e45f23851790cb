/*
 * Reading GGUF. The layout: magic, u32 version, u64 tensor count, u64 metadata
 * count, the metadata, the tensor infos, padding, data. Strings are a u64
 * length and bytes. Source: ggml's docs/gguf.md.
 */
#include "formats/gguf/reader.h"

#include "formats/base/mistaken.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ALIGNMENT (1u << 20)

uint32_t
nb_gguf_alignment(const struct nb_metadata *meta)
{
    const struct nb_kv *kv = nb_meta_find(meta, "general.alignment");
    uint64_t value = 0;

    if (kv == NULL)
        return NB_GGUF_ALIGNMENT;
    if (kv->type != NB_KV_U32 || !nb_meta_get_u64(meta, kv->key, &value) || value > MAX_ALIGNMENT)
        return 0;
    return (value & (value - 1)) == 0 ? (uint32_t)value : 0;
}

static enum nb_status
read_alignment(const struct nb_gguf_reader *r)
{
    const uint32_t alignment = r->out->alignment = nb_gguf_alignment(&r->out->meta);

    if (alignment == 0)
        return FOUND_END(r, NB_BAD_GGUF_ALIGNMENT, nb_in_file(r->file->name),
                         "general.alignment is not a u32 power of two up to %u", MAX_ALIGNMENT);
    if (alignment % 8 != 0)
        return FOUND(r, NB_BAD_GGUF_ALIGNMENT_ODD, nb_in_file(r->file->name),
                     "general.alignment is %" PRIu32 ", which is not a multiple of 8", alignment);
    return NB_OK;
}

/* What does not begin as a GGUF file does. */
static enum nb_status
refuse(const struct nb_gguf_reader *r)
{
    char what[NB_MISTAKEN];

    if (nb_file_mistaken(r->file, what))
        return FOUND_END(r, NB_BAD_FILE_KIND, nb_in_file(r->file->name), "not a GGUF file, but %s", what);
    return FOUND_END(r, NB_BAD_GGUF_MAGIC, nb_in_file(r->file->name),
                     "not a GGUF file (its first bytes are not 'GGUF')");
}

static enum nb_status
read_preamble(struct nb_gguf_reader *r, uint64_t *n_tensors, uint64_t *n_kv)
{
    char magic[sizeof NB_GGUF_MAGIC - 1];
    uint64_t version;
    enum nb_status status = NB_OK;

    if (r->file->size >= sizeof magic)
        status = nb_gguf_take(r, magic, sizeof magic);
    if (status != NB_OK)
        return status;
    if (r->file->size > 0 && (r->at == 0 || memcmp(magic, NB_GGUF_MAGIC, sizeof magic) != 0))
        return refuse(r);
    if (r->file->size < 24)
        return FOUND_END(r, NB_BAD_GGUF_MAGIC, nb_in_file(r->file->name),
                         "too short to be a GGUF file (%" PRIu64 " bytes)", r->file->size);
    status = nb_gguf_take_number(r, 4, &version);
    if (status != NB_OK)
        return status;
    if ((version & 0xFFFF) == 0)
        return FOUND_END(r, NB_BAD_GGUF_ENDIAN, nb_in_file(r->file->name),
                         "a big-endian GGUF file, which cannot be read");
    if (version != 2 && version != 3)
        return FOUND_END(r, NB_BAD_GGUF_VERSION, nb_in_file(r->file->name),
                         "GGUF version %" PRIu64 "; 2 and 3 can be read", version);
    r->out->version = (uint32_t)version;
    status = nb_gguf_take_number(r, 8, n_tensors);
    return status == NB_OK ? nb_gguf_take_number(r, 8, n_kv) : status;
}

enum nb_status
nb_gguf_examine(const struct nb_file_in *file, uint32_t file_index, struct nb_gguf *out, struct nb_findings *findings,
                struct nb_error *err)
{
    struct nb_gguf_reader r = { .file = file, .out = out, .findings = findings, .err = err };
    uint64_t n_tensors, n_kv;
    enum nb_status status;

    *out = (struct nb_gguf){ 0 };
    r.buffer = malloc(NB_GGUF_BUFFER);
    if (r.buffer == NULL)
        return nb_fail_memory(err);
    status = read_preamble(&r, &n_tensors, &n_kv);
    if (status == NB_OK)
        status = nb_gguf_read_metadata(&r, n_kv);
    if (status == NB_OK)
        status = read_alignment(&r);
    if (status == NB_OK)
        status = nb_gguf_read_infos(&r, n_tensors);
    if (status == NB_OK)
        status = nb_gguf_place_tensors(&r);
    free(r.buffer);
    for (size_t i = 0; i < out->count; i++)
        out->tensors[i].file = file_index;
    if (status != NB_OK)
        nb_gguf_free(out);
    return status;
}

enum nb_status
nb_gguf_read(const struct nb_file_in *file, uint32_t file_index, struct nb_gguf *out, struct nb_error *err)
{
    return nb_gguf_examine(file, file_index, out, NULL, err);
}

void
nb_gguf_free(struct nb_gguf *gguf)
{
    nb_meta_free(&gguf->meta);
    free(gguf->tensors);
    *gguf = (struct nb_gguf){ 0 };
}
