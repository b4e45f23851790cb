/* Writes the two formats of importance matrices that llama.cpp reads. */
#include "calib/sums.h"

#include "formats/base/file_out.h"
#include "formats/base/text.h"
#include "formats/gguf/gguf.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A file that is being built in memory. */
struct bytes {
    FILE *stream;
    char *data;
    size_t size;
};

static enum nb_status
open_bytes(struct bytes *b, struct nb_error *err)
{
    *b = (struct bytes){ 0 };
    b->stream = open_memstream(&b->data, &b->size);
    return b->stream == NULL ? nb_fail_memory(err) : NB_OK;
}

/* Writes the bytes to the file PATH and frees them. */
static enum nb_status
write_bytes(struct bytes *b, const char *path, struct nb_error *err)
{
    struct nb_file_out out;
    enum nb_status status = nb_close_text(b->stream, &b->data) ? NB_OK : nb_fail_memory(err);

    if (status == NB_OK)
        status = nb_out_create(&out, path, b->size, true, err);
    if (status == NB_OK) {
        status = nb_out_write(&out, 0, b->data, b->size, err);
        if (status == NB_OK)
            status = nb_out_commit(&out, true, err);
        else
            nb_out_abort(&out, err);
    }
    free(b->data);
    return status;
}

/* --- GGUF ---------------------------------------------------------------------------------------------- */

static void
put_squares(FILE *f, const struct nb_sums_entry *e)
{
    for (uint64_t i = 0; i < e->columns * e->experts; i++) {
        const float value = (float)e->squares[i];

        fwrite(&value, sizeof value, 1, f);
    }
}

static void
put_tokens(FILE *f, const struct nb_sums_entry *e)
{
    for (uint64_t i = 0; i < e->experts; i++) {
        const float value = (float)e->tokens[i];

        fwrite(&value, sizeof value, 1, f);
    }
}

static void
pad(FILE *f, uint64_t size)
{
    for (; size % NB_GGUF_ALIGNMENT != 0; size++)
        fputc(0, f);
}

static void
set_metadata(const struct nb_sums *s, struct nb_metadata *meta)
{
    struct nb_strings datasets = { 0 };

    for (size_t i = 0; i < s->n_datasets; i++)
        nb_strings_add(&datasets, s->datasets[i], strlen(s->datasets[i]));
    if (s->n_datasets == 0)
        nb_strings_add(&datasets, "", 0);
    nb_meta_set_string(meta, "general.type", "imatrix");
    nb_meta_set_strings(meta, "imatrix.datasets", &datasets);
    nb_meta_set_u32(meta, "imatrix.chunk_count", (uint32_t)s->chunks);
    nb_meta_set_u32(meta, "imatrix.chunk_size", s->chunk_size);
}

/* Sets names and offsets of the tensors, sums and counts of each entry, sorted by name. */
static bool
fill_infos(const struct nb_sums *s, struct nb_gguf_info *infos, uint64_t (*ne)[4], char (*names)[2 * NB_MAX_NAME])
{
    uint64_t at = 0;

    for (size_t i = 0; i < 2 * s->count; i++) {
        const struct nb_sums_entry *e = &s->entries[i / 2];
        const bool counts = i % 2 == 1;
        const uint64_t elements = e->experts * (counts ? 1 : e->columns);

        ne[i][0] = counts ? 1 : e->columns;
        ne[i][1] = e->experts;
        if (snprintf(names[i], sizeof names[i], "%s.%s", e->name, counts ? "counts" : "in_sum2") > NB_MAX_NAME)
            return false;
        infos[i] = (struct nb_gguf_info){ names[i], NB_F32, e->experts == 1 ? 1 : 2, ne[i], at };
        at += (elements * sizeof(float) + NB_GGUF_ALIGNMENT - 1) / NB_GGUF_ALIGNMENT * NB_GGUF_ALIGNMENT;
    }
    return true;
}

static enum nb_status
gguf_bytes(const struct nb_sums *s, FILE *f, struct nb_error *err)
{
    struct nb_gguf_info *infos = calloc(2 * s->count + 1, sizeof *infos);
    uint64_t(*ne)[4] = calloc(2 * s->count + 1, sizeof *ne), size;
    char(*names)[2 * NB_MAX_NAME] = calloc(2 * s->count + 1, sizeof *names);
    struct nb_metadata meta = { 0 };
    unsigned char *header = NULL;
    enum nb_status status = NB_OK;

    set_metadata(s, &meta);
    if (infos == NULL || ne == NULL || names == NULL)
        status = nb_fail_memory(err);
    else if (!fill_infos(s, infos, ne, names))
        status = nb_fail(err, NB_INPUT, "the name of a tensor is too long for an importance matrix");
    if (status == NB_OK)
        status = nb_meta_status(&meta, err);
    if (status == NB_OK)
        status = nb_gguf_header(&meta, infos, 2 * s->count, &header, &size, err);
    if (status == NB_OK) {
        fwrite(header, 1, (size_t)size, f);
        for (size_t i = 0; i < s->count; i++) {
            put_squares(f, &s->entries[i]);
            pad(f, s->entries[i].experts * s->entries[i].columns * sizeof(float));
            put_tokens(f, &s->entries[i]);
            pad(f, s->entries[i].experts * sizeof(float));
        }
    }
    free(header);
    nb_meta_free(&meta);
    free(infos);
    free(ne);
    free(names);
    return status;
}

/* --- .dat ------------------------------------------------------------------------------------------------ */

static void
put_i32(FILE *f, int64_t value)
{
    const int32_t v = (int32_t)value;

    fwrite(&v, sizeof v, 1, f);
}

/* Means (or ones, for experts without tokens) times the number of chunks of the expert with the most tokens. */
static void
put_dat_entry(FILE *f, const struct nb_sums_entry *e, uint32_t chunk_size)
{
    uint64_t most = 0;
    float calls;

    for (uint64_t x = 0; x < e->experts; x++)
        most = e->tokens[x] > most ? e->tokens[x] : most;
    calls = (float)((most + chunk_size - 1) / chunk_size);
    put_i32(f, (int64_t)strlen(e->name));
    fputs(e->name, f);
    put_i32(f, (int64_t)calls);
    put_i32(f, (int64_t)(e->columns * e->experts));
    for (uint64_t i = 0; i < e->columns * e->experts; i++) {
        const uint64_t tokens = e->tokens[i / e->columns];
        const float mean = tokens == 0 ? 1 : (float)e->squares[i] / (float)tokens, value = mean * calls;

        fwrite(&value, sizeof value, 1, f);
    }
}

static void
dat_bytes(const struct nb_sums *s, FILE *f)
{
    const char *dataset = s->n_datasets == 0 ? "" : s->datasets[s->n_datasets - 1];

    put_i32(f, (int64_t)s->count);
    for (size_t i = 0; i < s->count; i++)
        put_dat_entry(f, &s->entries[i], s->chunk_size == 0 ? 512 : s->chunk_size);
    put_i32(f, (int64_t)s->chunks);
    put_i32(f, (int64_t)strlen(dataset));
    fputs(dataset, f);
}

enum nb_status
nb_sums_write(struct nb_sums *s, const char *path, enum nb_sums_format format, struct nb_error *err)
{
    struct bytes b;
    enum nb_status status = open_bytes(&b, err);

    if (status != NB_OK)
        return status;
    nb_sums_sort(s);
    if (format == NB_SUMS_DAT)
        dat_bytes(s, b.stream);
    else
        status = gguf_bytes(s, b.stream, err);
    if (status != NB_OK) {
        fclose(b.stream);
        free(b.data);
        return status;
    }
    return write_bytes(&b, path, err);
}
