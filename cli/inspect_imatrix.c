/* 'nibble inspect' of an importance matrix. */
#include "cli/inspect_imatrix.h"

#include "calib/importance_stats.h"
#include "cli/cli.h"
#include "formats/base/file_in.h"
#include "formats/base/status.h"
#include "formats/imatrix/imatrix.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

static uint64_t
tokens_of(const struct nb_imatrix_entry *e)
{
    uint64_t sum = 0;

    for (uint64_t i = 0; i < e->rows; i++)
        sum += e->tokens[i];
    return sum;
}

static void
print_entry(const struct nb_imatrix_entry *e, const struct nb_importance_stats *s)
{
    printf("%-32s %8" PRIu64 " %12.4g %11.4g %11.4g %11.4g %7.2f %% %8.4f %7.4f %6.2f %%", e->name, s->columns, s->sum,
           s->mean, s->deviation, s->max, 100 * s->active, s->entropy, s->normalized_entropy, 100 * s->outliers);
    if (isfinite(s->similarity))
        printf(" %8.4f\n", s->similarity);
    else
        printf(" %8s\n", "-");
}

static int
print_text(const char *path, const struct nb_imatrix *m)
{
    uint64_t idle = 0, experts = 0;

    printf("%s: importance matrix, %zu entries", path, m->count);
    if (m->chunks > 0)
        printf(", %" PRIu32 " chunks", m->chunks);
    if (m->chunk_size > 0)
        printf(" of %" PRIu32 " tokens", m->chunk_size);
    if (m->dataset != NULL)
        printf(", of %s", m->dataset);
    printf("\n\n%-32s %8s %12s %11s %11s %11s %9s %8s %7s %8s %8s\n", "entry", "columns", "sum", "mean", "deviation",
           "max", "active", "entropy", "/ max", "outliers", "cosine");
    for (size_t i = 0; i < m->count; i++) {
        struct nb_importance_stats s;

        nb_importance_stats(m, &m->entries[i], &s);
        print_entry(&m->entries[i], &s);
        for (uint64_t x = 0; x < m->entries[i].rows; x++)
            idle += m->entries[i].tokens[x] == 0;
        experts += m->entries[i].rows;
    }
    if (idle > 0)
        printf("\n%" PRIu64 " of %" PRIu64 " rows saw no token\n", idle, experts);
    return cli_finish();
}

static int
print_json(const char *path, const struct nb_imatrix *m)
{
    json_t *entries = json_array();

    for (size_t i = 0; i < m->count; i++) {
        const struct nb_imatrix_entry *e = &m->entries[i];
        struct nb_importance_stats s;

        nb_importance_stats(m, e, &s);
        json_array_append_new(
            entries, json_pack("{s:s, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:o}", "name",
                               e->name, "columns", (json_int_t)s.columns, "experts", (json_int_t)e->rows, "tokens",
                               (json_int_t)tokens_of(e), "sum", s.sum, "mean", s.mean, "deviation", s.deviation, "min",
                               s.min, "max", s.max, "active", s.active, "entropy", s.entropy, "normalized_entropy",
                               s.normalized_entropy, "outliers", s.outliers, "cosine",
                               isfinite(s.similarity) ? json_real(s.similarity) : json_null()));
    }
    return cli_print_json(json_pack("{s:s, s:s, s:I, s:I, s:s*, s:o}", "path", path, "format", "imatrix", "chunks",
                                    (json_int_t)m->chunks, "chunk_tokens", (json_int_t)m->chunk_size, "dataset",
                                    m->dataset, "entries", entries));
}

bool
inspect_is_imatrix(const char *path)
{
    struct nb_imatrix m;

    if (!nb_is_file(path) || nb_imatrix_load(&m, path, NULL) != NB_OK)
        return false;
    nb_imatrix_free(&m);
    return true;
}

int
inspect_imatrix(const char *path, bool json)
{
    struct nb_imatrix m;
    struct nb_error err;
    int code;

    if (nb_imatrix_load(&m, path, &err) != NB_OK)
        return cli_fail(&err);
    code = json ? print_json(path, &m) : print_text(path, &m);
    nb_imatrix_free(&m);
    return code;
}
