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
    cli_print("%-32s %8" PRIu64 " %11.4g", e->name, s->columns, s->sum);
    if (cli_is_wide())
        cli_print(" %11.4g %11.4g %11.4g", s->mean, s->deviation, s->max);
    cli_print(" %7.2f %%", 100 * s->active);
    if (cli_is_wide())
        cli_print(" %8.4f %7.4f", s->entropy, s->normalized_entropy);
    cli_print(" %6.2f %%", 100 * s->outliers);
    if (isfinite(s->similarity))
        cli_print(" %7.4f\n", s->similarity);
    else
        cli_print(" %7s\n", "-");
}

static void
print_heading(void)
{
    cli_print("\n\n%-32s %8s %11s", "entry", "columns", "sum");
    if (cli_is_wide())
        cli_print(" %11s %11s %11s", "mean", "deviation", "max");
    cli_print(" %9s", "active");
    if (cli_is_wide())
        cli_print(" %8s %7s", "entropy", "/ max");
    cli_print(" %8s %7s\n", "outliers", "cosine");
}

static int
print_text(const char *path, const struct nb_imatrix *m)
{
    uint64_t idle = 0, experts = 0;

    cli_print("%s: importance matrix, %zu entries", path, m->count);
    if (m->chunks > 0)
        cli_print(", %" PRIu32 " chunks", m->chunks);
    if (m->chunk_size > 0)
        cli_print(" of %" PRIu32 " tokens", m->chunk_size);
    if (m->dataset != NULL)
        cli_print(", of %s", m->dataset);
    print_heading();
    for (size_t i = 0; i < m->count; i++) {
        struct nb_importance_stats s;

        nb_importance_stats(m, &m->entries[i], &s);
        print_entry(&m->entries[i], &s);
        for (uint64_t x = 0; x < m->entries[i].rows; x++)
            idle += m->entries[i].tokens[x] == 0;
        experts += m->entries[i].rows;
    }
    if (idle > 0)
        cli_print("\n%" PRIu64 " of %" PRIu64 " rows saw no token\n", idle, experts);
    return cli_finish();
}

static int
print_json(const char *path, const struct nb_imatrix *m)
{
    json_t *entries = cli_json_array();

    for (size_t i = 0; i < m->count; i++) {
        const struct nb_imatrix_entry *e = &m->entries[i];
        struct nb_importance_stats s;

        nb_importance_stats(m, e, &s);
        cli_json_add(entries, cli_json("{s:s, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:o}", "name",
                                       e->name, "columns", (json_int_t)s.columns, "experts", (json_int_t)e->rows,
                                       "tokens", (json_int_t)tokens_of(e), "sum", s.sum, "mean", s.mean, "deviation",
                                       s.deviation, "min", s.min, "max", s.max, "active", s.active, "entropy",
                                       s.entropy, "normalized_entropy", s.normalized_entropy, "outliers", s.outliers,
                                       "cosine", isfinite(s.similarity) ? cli_json_real(s.similarity) : json_null()));
    }
    return cli_print_json(cli_json("{s:s, s:s, s:I, s:I, s:s*, s:o}", "path", path, "format", "imatrix", "chunks",
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
