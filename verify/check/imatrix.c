/* Checks an importance matrix. */
#include "verify/check/parts.h"

#include "formats/imatrix/imatrix.h"

#include <inttypes.h>

/* Some experts of an entry may have received no tokens; an entry without experts should have some. */
static enum nb_status
check_idle(struct nb_checking *c, const char *path, const struct nb_imatrix_entry *e)
{
    uint64_t idle = 0;

    for (uint64_t i = 0; i < e->rows; i++)
        idle += e->tokens[i] == 0;
    if (idle == 0)
        return NB_OK;
    return e->rows == 1
               ? CHECK_FOUND(c, NB_BAD_IMATRIX_IDLE, nb_in_file(path), "'%s' received no tokens", e->name)
               : CHECK_FOUND(c, NB_BAD_IMATRIX_IDLE, nb_in_file(path),
                             "'%s': %" PRIu64 " of %" PRIu64 " experts received no tokens", e->name, idle, e->rows);
}

enum nb_status
nb_check_imatrix(struct nb_checking *c, const char *path)
{
    const uint64_t before = c->findings->errors;
    struct nb_imatrix matrix;
    enum nb_status status = nb_imatrix_examine(&matrix, path, c->findings, c->err);

    c->result->format = "importance matrix";
    if (status != NB_OK)
        return nb_check_after(c, path, before, status);
    c->result->tensors = matrix.count;
    if (c->options->level >= NB_CHECK_CONTENT)
        status = nb_imatrix_check(&matrix, path, c->err);
    for (size_t i = 0; i < matrix.count && status == NB_OK && c->options->level >= NB_CHECK_CONTENT; i++)
        status = check_idle(c, path, &matrix.entries[i]);
    nb_imatrix_free(&matrix);
    return status;
}
