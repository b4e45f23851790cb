#include "verify/check/parts.h"

#include "formats/base/mistaken.h"
#include "formats/base/text.h"
#include "formats/gguf/gguf.h"

#include <string.h>

enum nb_status
nb_check_after(struct nb_checking *c, const char *path, uint64_t before, enum nb_status status)
{
    const struct nb_error why = *c->err;

    if (!nb_status_is(status, NB_INPUT))
        return status;
    if (c->findings->errors > before)
        return NB_OK;
    return nb_found_error(c->findings, c->err, NB_BAD_FILE_CHANGED, nb_in_file(path), &why);
}

/* The kind of a file, from its first bytes and its name. */
enum kind { GGUF, SAFETENSORS, IMATRIX, UNKNOWN };

static enum kind
kind_by_bytes(const unsigned char *first, size_t n)
{
    if (n >= 4 && memcmp(first, NB_GGUF_MAGIC, 4) == 0)
        return GGUF;
    if (n >= 9 && first[8] == '{' && first[4] == 0 && first[5] == 0)
        return SAFETENSORS;
    return UNKNOWN;
}

static enum kind
kind_by_name(const char *path)
{
    if (nb_ends_with(path, ".gguf"))
        return GGUF;
    if (nb_ends_with(path, ".safetensors"))
        return SAFETENSORS;
    if (nb_ends_with(path, ".imatrix") || nb_ends_with(path, ".dat"))
        return IMATRIX;
    return UNKNOWN;
}

/* True if the GGUF file has keys or tensors of an importance matrix. */
static bool
is_imatrix(const struct nb_file_in *file)
{
    struct nb_gguf gguf;
    bool has;

    if (nb_gguf_read(file, 0, &gguf, NULL) != NB_OK)
        return false;
    has = nb_meta_find(&gguf.meta, "imatrix.chunk_count") != NULL ||
          nb_meta_find(&gguf.meta, "imatrix.datasets") != NULL ||
          (gguf.count > 0 &&
           (nb_ends_with(gguf.tensors[0].name, ".in_sum2") || nb_ends_with(gguf.tensors[0].name, ".counts")));
    nb_gguf_free(&gguf);
    return has;
}

static enum nb_status
find_kind(const char *path, enum kind *kind, char what[NB_MISTAKEN], struct nb_error *err)
{
    unsigned char first[16] = { 0 };
    struct nb_file_in file;
    size_t n;
    enum nb_status status = nb_file_open(&file, path, err);

    if (status != NB_OK)
        return status;
    n = file.size < sizeof first ? (size_t)file.size : sizeof first;
    status = nb_file_read(&file, 0, first, n, err);
    *kind = kind_by_bytes(first, n);
    if (*kind == UNKNOWN)
        *kind = kind_by_name(path);
    if (status == NB_OK && *kind == UNKNOWN)
        (void)nb_file_mistaken(&file, what);
    if (status == NB_OK && *kind == GGUF && is_imatrix(&file))
        *kind = IMATRIX;
    nb_file_close(&file);
    return status;
}

static enum nb_status
check_file(struct nb_checking *c, const char *path)
{
    enum kind kind;
    char what[NB_MISTAKEN] = "";
    enum nb_status status = find_kind(path, &kind, what, c->err);

    c->result->files = 1;
    if (status != NB_OK)
        return status;
    switch (kind) {
    case GGUF:
        return nb_check_gguf(c, path);
    case SAFETENSORS:
        return nb_check_safetensors(c, path);
    case IMATRIX:
        return nb_check_imatrix(c, path);
    case UNKNOWN:
    default:
        return CHECK_FOUND(c, NB_BAD_FILE_KIND, nb_in_file(path), "%s%s",
                           *what != '\0' ? "no model, but "
                                         : "neither a GGUF nor a safetensors file nor an importance matrix",
                           what);
    }
}

enum nb_status
nb_check(const char *path, const struct nb_check_options *options, struct nb_findings *findings,
         struct nb_check_result *result, struct nb_error *err)
{
    struct nb_error own;
    struct nb_checking c = { options, findings, result, err != NULL ? err : &own };
    enum nb_status status;

    *result = (struct nb_check_result){ .format = "unknown" };
    status = nb_is_folder(path) ? nb_check_folder(&c, path) : check_file(&c, path);
    /* A check that ended because the list is full has its answer: the list. */
    return nb_status_is(status, NB_INPUT) && findings->of_code[NB_BAD_FILE_TOO_MANY] > 0 ? NB_OK : status;
}
