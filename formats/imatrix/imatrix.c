#include "formats/imatrix/imatrix.h"

#include "formats/base/checked.h"
#include "formats/base/file_in.h"
#include "formats/base/mistaken.h"
#include "formats/base/text.h"
#include "formats/gguf/gguf.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SUMS ".in_sum2"
#define COUNTS ".counts"
#define DAT_CHUNK 512u /* tokens per chunk in llama-imatrix; .dat files do not store it */

/* Record a finding; reading continues after FOUND and ends after FOUND_END. */
#define FOUND(m, err, code, place, ...) nb_found((m)->findings, err, code, place, __VA_ARGS__)
#define FOUND_END(m, err, code, place, ...) nb_found_end((m)->findings, err, code, place, __VA_ARGS__)

static int
by_name(const void *a, const void *b)
{
    return strcmp(((const struct nb_imatrix_entry *)a)->name, ((const struct nb_imatrix_entry *)b)->name);
}

/* Adds entry NAME, of LENGTH bytes, with COUNT values; the caller has checked both against the file. */
static struct nb_imatrix_entry *
add_entry(struct nb_imatrix *m, const char *name, size_t length, uint64_t count, uint64_t rows)
{
    struct nb_imatrix_entry *e = &m->entries[m->count];

    e->name = nb_arena_strndup(&m->arena, name, length);
    e->values = nb_arena_calloc(&m->arena, count, sizeof *e->values);
    e->tokens = nb_arena_calloc(&m->arena, rows, sizeof *e->tokens);
    e->count = count;
    e->rows = rows;
    if (e->name == NULL || e->values == NULL || e->tokens == NULL)
        return NULL;
    m->count++;
    return e;
}

/* The GGUF format: sums of squares and token counts, two tensors per entry. */

/* A GGUF file's tensors sorted by name. */
struct sorted {
    const struct nb_tensor **tensors;
    size_t count;
};

/* The counts that belong to SUMS, or NULL. */
static const struct nb_tensor *
find_counts(const struct sorted *sorted, const struct nb_tensor *sums)
{
    const size_t length = strlen(sums->name) - strlen(SUMS);
    char name[NB_MAX_NAME + 1];

    memcpy(name, sums->name, length);
    memcpy(name + length, COUNTS, sizeof COUNTS);
    return nb_tensors_find(sorted->tensors, sorted->count, name);
}

/* Makes means from ROW of the sums: divides by the tokens of the expert; all ones if it has none. */
static enum nb_status
divide_row(const struct nb_imatrix *m, const struct nb_file_in *file, const char *name, float *row, uint64_t columns,
           float count, struct nb_error *err)
{
    if (!isfinite(count) || fabsf(count) > 1e15f)
        return FOUND(m, err, NB_BAD_IMATRIX_COUNT, nb_in_file(file->name), "'%s' has a token count that is no number",
                     name);
    count = roundf(count);
    for (uint64_t i = 0; i < columns; i++)
        row[i] = count > 0 ? row[i] / count : 1;
    return NB_OK;
}

static enum nb_status
read_means(const struct nb_imatrix *m, const struct nb_file_in *file, const struct nb_tensor *sums,
           const struct nb_tensor *counts, struct nb_imatrix_entry *e, struct nb_error *err)
{
    const uint64_t columns = e->count / counts->elements;
    float *count = nb_malloc(counts->bytes);
    enum nb_status status = count == NULL ? nb_fail_memory(err) : NB_OK;

    if (status == NB_OK)
        status = nb_file_read(file, sums->offset, e->values, sums->bytes, err);
    if (status == NB_OK)
        status = nb_file_read(file, counts->offset, count, counts->bytes, err);
    for (uint64_t expert = 0; expert < counts->elements && status == NB_OK; expert++) {
        status = divide_row(m, file, e->name, e->values + expert * columns, columns, count[expert], err);
        if (status == NB_OK && count[expert] > 0 && count[expert] <= 1e15f)
            e->tokens[expert] = (uint64_t)roundf(count[expert]);
    }
    free(count);
    return status;
}

static enum nb_status
add_pair(struct nb_imatrix *m, const struct nb_file_in *file, const struct sorted *sorted, const struct nb_tensor *sums,
         struct nb_error *err)
{
    const struct nb_tensor *counts = find_counts(sorted, sums);
    struct nb_imatrix_entry *e;

    if (counts == NULL)
        return FOUND(m, err, NB_BAD_IMATRIX_PAIR, nb_in_file(file->name), "'%s' has sums but no counts", sums->name);
    if (sums->type != NB_F32 || counts->type != NB_F32)
        return FOUND(m, err, NB_BAD_IMATRIX_SHAPE, nb_in_file(file->name), "sums and counts of '%s' are not F32",
                     sums->name);
    if (sums->elements == 0 || counts->elements == 0 || sums->elements % counts->elements != 0)
        return FOUND(m, err, NB_BAD_IMATRIX_SHAPE, nb_in_file(file->name),
                     "'%s' has %" PRIu64 " sums for %" PRIu64 " counts", sums->name, sums->elements, counts->elements);
    e = add_entry(m, sums->name, strlen(sums->name) - strlen(SUMS), sums->elements, counts->elements);
    if (e == NULL)
        return nb_fail_memory(err);
    return read_means(m, file, sums, counts, e, err);
}

static enum nb_status
read_metadata(struct nb_imatrix *m, const struct nb_gguf *gguf, const char *path, struct nb_error *err)
{
    const struct nb_kv *datasets = nb_meta_find(&gguf->meta, "imatrix.datasets");
    uint64_t chunks = 0, size = 0, length;
    struct nb_kv *copy;

    if (datasets == NULL || !nb_meta_get_u64(&gguf->meta, "imatrix.chunk_count", &chunks) || chunks > UINT32_MAX ||
        nb_meta_find(&gguf->meta, "imatrix.chunk_size") == NULL)
        return FOUND(m, err, NB_BAD_IMATRIX_KEYS, nb_in_file(path),
                     "is a GGUF file, but no importance matrix: imatrix.datasets, imatrix.chunk_count or "
                     "imatrix.chunk_size is missing");
    m->chunks = (uint32_t)chunks;
    if (nb_meta_get_u64(&gguf->meta, "imatrix.chunk_size", &size) && size <= UINT32_MAX)
        m->chunk_size = (uint32_t)size;
    if (datasets->type != NB_KV_ARRAY || datasets->element != NB_KV_STRING || datasets->count == 0)
        return NB_OK;
    memcpy(&length, datasets->data, sizeof length); /* the reader has checked that it fits */
    m->dataset = nb_arena_strndup(&m->arena, (const char *)datasets->data + sizeof length, length);
    m->datasets = copy = nb_arena_alloc(&m->arena, sizeof *copy);
    if (m->dataset == NULL || copy == NULL)
        return nb_fail_memory(err);
    *copy = *datasets; /* with a copy of the bytes, as the reader is freed */
    copy->data = (const unsigned char *)nb_arena_strndup(&m->arena, (const char *)datasets->data, datasets->size);
    return copy->data == NULL ? nb_fail_memory(err) : NB_OK;
}

/* Whether the sums that belong to COUNTS are present. */
static bool
has_sums(const struct sorted *sorted, const struct nb_tensor *counts)
{
    const size_t length = strlen(counts->name) - strlen(COUNTS);
    char name[NB_MAX_NAME + sizeof SUMS];

    memcpy(name, counts->name, length);
    memcpy(name + length, SUMS, sizeof SUMS);
    return nb_tensors_find(sorted->tensors, sorted->count, name) != NULL;
}

static enum nb_status
read_pairs(struct nb_imatrix *m, const struct nb_file_in *file, const struct sorted *sorted, struct nb_error *err)
{
    enum nb_status status = NB_OK;

    for (size_t i = 0; i < sorted->count && status == NB_OK; i++) {
        const struct nb_tensor *t = sorted->tensors[i];
        const bool counts = nb_ends_with(t->name, COUNTS);

        if (nb_ends_with(t->name, SUMS))
            status = add_pair(m, file, sorted, t, err);
        else if (!counts)
            status = FOUND(m, err, NB_BAD_IMATRIX_PAIR, nb_in_file(file->name),
                           "tensor '%s' is neither sums nor counts", t->name);
        else if (!has_sums(sorted, t))
            status = FOUND(m, err, NB_BAD_IMATRIX_PAIR, nb_in_file(file->name), "'%s' has counts but no sums", t->name);
    }
    return status;
}

static enum nb_status
read_gguf(struct nb_imatrix *m, const struct nb_file_in *file, struct nb_error *err)
{
    struct nb_gguf gguf;
    struct sorted sorted;
    enum nb_status status = nb_gguf_examine(file, 0, &gguf, m->findings, err);

    if (status != NB_OK)
        return status;
    m->entries = calloc(gguf.count + 1, sizeof *m->entries);
    sorted.tensors = nb_tensors_by_name(gguf.tensors, gguf.count);
    sorted.count = gguf.count;
    if (m->entries == NULL || sorted.tensors == NULL) {
        status = nb_fail_memory(err);
    } else {
        status = read_metadata(m, &gguf, file->name, err);
    }
    if (status == NB_OK)
        status = read_pairs(m, file, &sorted, err);
    free(sorted.tensors);
    nb_gguf_free(&gguf);
    return status;
}

/* The older format: a number of entries, each a name, a number of calls, and the values times that number. */

struct dat {
    const struct nb_file_in *file;
    struct nb_findings *findings;
    uint64_t at;
};

/* After a fault the rest cannot be read: nothing tells where the next entry begins. */
#define BROKEN(d, err, ...) \
    nb_found_end((d)->findings, err, NB_BAD_IMATRIX_FORM, nb_in_file((d)->file->name), __VA_ARGS__)

/* Reads SIZE bytes, if the file has them. */
static enum nb_status
take(struct dat *d, void *to, uint64_t size, struct nb_error *err)
{
    if (size > d->file->size - d->at)
        return BROKEN(d, err,
                      "is no importance matrix, or is cut short: %" PRIu64 " bytes are expected at byte %" PRIu64
                      " of %" PRIu64,
                      size, d->at, d->file->size);
    d->at += size;
    return nb_file_read(d->file, d->at - size, to, size, err);
}

static enum nb_status
take_count(struct dat *d, int32_t *out, struct nb_error *err)
{
    enum nb_status status = take(d, out, sizeof *out, err);

    if (status == NB_OK && *out < 1)
        status = BROKEN(d, err, "is no importance matrix: %" PRId32 " is no length, at byte %" PRIu64, *out,
                        d->at - sizeof *out);
    return status;
}

static enum nb_status
take_entry(struct nb_imatrix *m, struct dat *d, struct nb_error *err)
{
    char name[256];
    int32_t length, calls, count;
    struct nb_imatrix_entry *e;
    enum nb_status status = take_count(d, &length, err);

    if (status != NB_OK)
        return status;
    if ((size_t)length >= sizeof name)
        return BROKEN(d, err, "is no importance matrix: a name of %" PRId32 " bytes", length);
    status = take(d, name, (uint64_t)length, err);
    if (status != NB_OK)
        return status;
    name[length] = '\0';
    if (!nb_utf8_valid(name, (size_t)length) || strlen(name) == 0)
        return BROKEN(d, err, "is no importance matrix: a name is no text");
    status = take(d, &calls, sizeof calls, err);
    if (status == NB_OK)
        status = take_count(d, &count, err);
    if (status != NB_OK)
        return status;
    if ((uint64_t)count > (d->file->size - d->at) / sizeof(float))
        return BROKEN(d, err, "is no importance matrix, or is cut short: '%s' has %" PRId32 " values", name, count);
    e = add_entry(m, name, strlen(name), (uint64_t)count, 1);
    if (e == NULL)
        return nb_fail_memory(err);
    e->tokens[0] = calls > 0 ? (uint64_t)calls * DAT_CHUNK : 0;
    status = take(d, e->values, (uint64_t)count * sizeof(float), err);
    for (int32_t i = 0; i < count && status == NB_OK && calls > 0; i++)
        e->values[i] /= (float)calls;
    return status;
}

/* After the entries: the number of chunks and the name of the data set. Both may be absent. */
static enum nb_status
take_trailer(struct nb_imatrix *m, struct dat *d, struct nb_error *err)
{
    int32_t chunks, length;
    enum nb_status status;
    char *dataset;

    if (d->file->size - d->at < sizeof chunks + sizeof length)
        return NB_OK;
    status = take(d, &chunks, sizeof chunks, err);
    if (status == NB_OK)
        status = take(d, &length, sizeof length, err);
    if (status != NB_OK)
        return status;
    m->chunks = chunks > 0 ? (uint32_t)chunks : 0;
    if (length < 1 || (uint64_t)length > d->file->size - d->at)
        return NB_OK;
    dataset = nb_arena_calloc(&m->arena, (uint64_t)length + 1, 1);
    if (dataset == NULL)
        return nb_fail_memory(err);
    m->dataset = dataset;
    status = take(d, dataset, (uint64_t)length, err);
    if (status == NB_OK && !nb_utf8_valid(dataset, strlen(dataset)))
        m->dataset = NULL;
    return status;
}

static enum nb_status
read_dat(struct nb_imatrix *m, const struct nb_file_in *file, struct nb_error *err)
{
    struct dat d = { .file = file, .findings = m->findings };
    int32_t count;
    enum nb_status status = take_count(&d, &count, err);

    if (status != NB_OK)
        return status;
    if ((uint64_t)count > file->size / 16) /* at least three lengths and a value */
        return BROKEN(&d, err, "is no importance matrix: it would have %" PRId32 " entries", count);
    m->entries = calloc((size_t)count, sizeof *m->entries);
    if (m->entries == NULL)
        return nb_fail_memory(err);
    for (int32_t i = 0; i < count && status == NB_OK; i++)
        status = take_entry(m, &d, err);
    if (status == NB_OK)
        status = take_trailer(m, &d, err);
    return status;
}

static enum nb_status
sort_entries(struct nb_imatrix *m, const char *path, struct nb_error *err)
{
    enum nb_status status = NB_OK;

    if (m->count == 0)
        return FOUND(m, err, NB_BAD_IMATRIX_FORM, nb_in_file(path), "has no entries");
    qsort(m->entries, m->count, sizeof *m->entries, by_name);
    for (size_t i = 1; i < m->count && status == NB_OK; i++)
        if (strcmp(m->entries[i - 1].name, m->entries[i].name) == 0)
            status = FOUND(m, err, NB_BAD_IMATRIX_DUPLICATE, nb_in_file(path), "has two entries '%s'",
                           m->entries[i].name);
    return status;
}

static enum nb_status
load(struct nb_imatrix *m, const char *path, struct nb_error *err)
{
    struct nb_file_in file;
    char magic[4] = { 0 }, what[NB_MISTAKEN];
    enum nb_status status = nb_file_open(&file, path, err);

    if (status != NB_OK)
        return status;
    if (file.size >= sizeof magic)
        status = nb_file_read(&file, 0, magic, sizeof magic, err);
    if (status == NB_OK && memcmp(magic, NB_GGUF_MAGIC, sizeof magic) == 0)
        status = read_gguf(m, &file, err);
    else if (status == NB_OK)
        status = nb_file_mistaken(&file, what)
                     ? FOUND_END(m, err, NB_BAD_FILE_KIND, nb_in_file(path), "is no importance matrix, but %s", what)
                     : read_dat(m, &file, err);
    if (status == NB_OK)
        status = sort_entries(m, path, err);
    nb_file_close(&file);
    if (status != NB_OK)
        nb_imatrix_free(m);
    return status;
}

enum nb_status
nb_imatrix_load(struct nb_imatrix *m, const char *path, struct nb_error *err)
{
    *m = (struct nb_imatrix){ 0 };
    return load(m, path, err);
}

enum nb_status
nb_imatrix_examine(struct nb_imatrix *m, const char *path, struct nb_findings *findings, struct nb_error *err)
{
    *m = (struct nb_imatrix){ .findings = findings };
    return load(m, path, err);
}

void
nb_imatrix_free(struct nb_imatrix *m)
{
    free(m->entries);
    nb_arena_free(&m->arena);
    *m = (struct nb_imatrix){ 0 };
}

void
nb_imatrix_filter(struct nb_imatrix *m, const char *const *patterns, size_t n_patterns, bool keep)
{
    size_t kept = 0;

    for (size_t i = 0; i < m->count; i++) {
        bool matches = false;

        for (size_t p = 0; p < n_patterns && !matches; p++)
            matches = strstr(m->entries[i].name, patterns[p]) != NULL;
        if (matches == keep)
            m->entries[kept++] = m->entries[i];
    }
    m->count = kept;
}

/* One finding per entry is enough. */
static enum nb_status
check_entry(const struct nb_imatrix *m, const struct nb_imatrix_entry *e, const char *path, struct nb_error *err)
{
    for (uint64_t k = 0; k < e->count; k++)
        if (!(e->values[k] >= 0 && e->values[k] < INFINITY))
            return FOUND(m, err, NB_BAD_IMATRIX_VALUE, nb_in_file(path),
                         "value %" PRIu64 " of '%s' is no mean of squares: %g", k, e->name, (double)e->values[k]);
    return NB_OK;
}

enum nb_status
nb_imatrix_check(const struct nb_imatrix *m, const char *path, struct nb_error *err)
{
    enum nb_status status = NB_OK;

    for (size_t i = 0; i < m->count && status == NB_OK; i++)
        status = check_entry(m, &m->entries[i], path, err);
    return status;
}

enum nb_status
nb_imatrix_select(struct nb_imatrix *m, const char *path, const char *const *include, size_t n_include,
                  const char *const *exclude, size_t n_exclude, struct nb_error *err)
{
    if (n_include > 0)
        nb_imatrix_filter(m, include, n_include, true);
    if (n_exclude > 0)
        nb_imatrix_filter(m, exclude, n_exclude, false);
    if (m->count == 0)
        return nb_fail(err, NB_USAGE, "%s: no entry is left after --%s-weights", path,
                       n_include > 0 ? "include" : "exclude");
    return nb_imatrix_check(m, path, err);
}

const struct nb_imatrix_entry *
nb_imatrix_find(const struct nb_imatrix *m, const char *name)
{
    const struct nb_imatrix_entry key = { .name = name };

    return m->count == 0 ? NULL : bsearch(&key, m->entries, m->count, sizeof key, by_name);
}
