#include "cli/cli.h"

#include "cli/metadata_diff.h"
#include "formats/base/pool.h"
#include "formats/base/status.h"
#include "formats/elements/types.h"
#include "formats/models/source.h"
#include "formats/models/view.h"
#include "verify/drift/weight_error.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct arguments {
    const struct cli_line *line; /* for every --ignore */
    bool no_metadata, no_tensors, json;
    unsigned threads;
    const char *a, *b;
};

/* Both models, and what differs. */
struct models {
    struct nb_source a, b;
    struct metadata_diff metadata;
    struct nb_weight_error *errors; /* one for each tensor of A */
    size_t equal, changed, gone, added;
};

/* --- finding ---------------------------------------------------------------------------------------------- */

static bool
is_ignored(const struct arguments *a, const char *key)
{
    for (size_t i = 0; i < a->line->n_given; i++)
        if (a->line->given[i].option->id == OPT_IGNORE && strcmp(a->line->given[i].text, key) == 0)
            return true;
    return false;
}

static enum nb_status
compare(const struct arguments *a, struct models *m, struct nb_error *err)
{
    struct nb_pool *pool = NULL;
    struct cli_progress progress;
    const struct nb_watch watch = { cli_progress_update, &progress, NULL };
    enum nb_status status = NB_OK;
    size_t kept = 0;

    if (!a->no_metadata)
        status = metadata_diff(&m->metadata, &m->a.meta, &m->b.meta, err);
    for (size_t i = 0; i < m->metadata.count; i++) {
        const struct metadata_change *c = &m->metadata.changes[i];

        if (!is_ignored(a, c->a != NULL ? c->a->key : c->b->key))
            m->metadata.changes[kept++] = *c;
    }
    m->metadata.count = kept;
    if (status != NB_OK || a->no_tensors)
        return status;
    cli_progress_start(&progress);
    m->errors = calloc(m->a.n_tensors + 1, sizeof *m->errors);
    status = m->errors == NULL ? nb_fail_memory(err) : nb_pool_new(&pool, a->threads, err);
    if (status == NB_OK)
        status = nb_weight_errors(&m->a, &m->b, pool, &watch, m->errors, err);
    cli_progress_end(&progress);
    nb_pool_free(pool);
    return status;
}

/* --- printing ----------------------------------------------------------------------------------------------- */

static json_t *
shape_json(const struct nb_view *t)
{
    json_t *list = cli_json_array();

    for (uint32_t i = 0; i < t->n_dims; i++)
        cli_json_add(list, cli_json_integer((json_int_t)t->ne[i]));
    return list;
}

static void
print_error(const struct nb_weight_error *e, const char *type_a, const char *type_b)
{
    cli_print("%-7s %s %-7s  relative RMS %.6g", type_a, strcmp(type_a, type_b) == 0 ? "= " : "->", type_b,
              e->relative_rms);
    if (cli_is_wide())
        cli_print(", cosine %.8g", e->cosine);
    cli_print("\n");
}

/* One tensor that is not the same: A or B is NULL where it is on one side only; E where the shapes are equal. */
static void
print_change(const struct nb_view *a, const struct nb_view *b, const struct nb_weight_error *e, json_t *list)
{
    const struct nb_view *any = a != NULL ? a : b;
    const char *type_a = a == NULL ? NULL : nb_type_info(a->type)->name,
               *type_b = b == NULL ? NULL : nb_type_info(b->type)->name;
    char x[CLI_TEXT], y[CLI_TEXT];

    if (list != NULL) {
        json_t *o = cli_json("{s:s, s:s?, s:s?, s:o, s:o}", "name", any->name, "was_type", type_a, "is_type", type_b,
                             "was_shape", a == NULL ? json_null() : shape_json(a), "is_shape",
                             b == NULL ? json_null() : shape_json(b));

        if (e != NULL && e->compared) {
            cli_json_set(o, "relative_rms", cli_json_real(e->relative_rms));
            cli_json_set(o, "cosine", cli_json_real(e->cosine));
        }
        cli_json_add(list, o);
        return;
    }
    if (a == NULL || b == NULL) {
        cli_print("%c %-32s %-8s %18s\n", a == NULL ? '+' : '-', any->name, a == NULL ? type_b : type_a,
                  cli_shape(x, any));
        return;
    }
    cli_print("~ %-32s ", a->name);
    if (e == NULL)
        cli_print("%s -> %s\n", cli_shape(x, a), cli_shape(y, b));
    else if (!e->compared)
        cli_print("%s -> %s, content differs\n", type_a, type_b);
    else
        print_error(e, type_a, type_b);
}

static enum nb_status
print_tensors(struct models *m, json_t *list, struct nb_error *err)
{
    const struct nb_view **in_a = nb_views_by_name(m->a.tensors, m->a.n_tensors);
    const struct nb_view **in_b = nb_views_by_name(m->b.tensors, m->b.n_tensors);
    const bool ready = in_a != NULL && in_b != NULL;

    for (size_t i = 0; ready && i < m->a.n_tensors; i++) {
        const struct nb_view *a = &m->a.tensors[i], *b = nb_views_find(in_b, m->b.n_tensors, a->name);
        const struct nb_weight_error *e = m->errors[i].other == NULL ? NULL : &m->errors[i];

        if (e != NULL && e->same_bytes) {
            m->equal++;
            continue;
        }
        *(b == NULL ? &m->gone : &m->changed) += 1;
        print_change(a, b, e, list);
    }
    for (size_t i = 0; ready && i < m->b.n_tensors; i++) {
        if (nb_views_find(in_a, m->a.n_tensors, m->b.tensors[i].name) != NULL)
            continue;
        m->added++;
        print_change(NULL, &m->b.tensors[i], NULL, list);
    }
    free(in_a);
    free(in_b);
    return ready ? NB_OK : nb_fail_memory(err);
}

static int
print(const struct arguments *a, struct models *m)
{
    json_t *tensors = a->json ? cli_json_array() : NULL, *keys;
    struct nb_error err;
    bool same;
    int code;

    if (!a->json)
        metadata_diff_print(&m->metadata);
    if (!a->no_tensors && print_tensors(m, tensors, &err) != NB_OK) {
        json_decref(tensors);
        return cli_fail(&err);
    }
    same = m->metadata.count + m->changed + m->gone + m->added == 0;
    if (a->json) {
        keys = cli_json_array();
        for (size_t i = 0; i < m->metadata.count; i++)
            cli_json_add(keys, metadata_change_json(&m->metadata.changes[i]));
        code = cli_print_json(cli_json("{s:s, s:s, s:b, s:o, s:o, s:I}", "a", a->a, "b", a->b, "same", same, "metadata",
                                       keys, "tensors", tensors, "equal_tensors", (json_int_t)m->equal));
    } else {
        cli_colored(stdout, same ? CLI_GOOD : CLI_CARE, same ? "same" : "different");
        cli_print(": %zu keys differ; %zu tensors differ, %zu gone, %zu new, %zu equal\n", m->metadata.count,
                  m->changed, m->gone, m->added, m->equal);
        code = cli_finish();
    }
    return code != NB_OK ? code : same ? NB_OK : NB_NO;
}

static int
diff(const struct arguments *a)
{
    struct models m = { .equal = 0 };
    struct nb_error err;
    int code;
    const struct nb_source_options options = { .follow_links = cli_has(a->line, OPT_FOLLOW_LINKS) };
    enum nb_status status = nb_source_open(&m.a, a->a, &options, &err);

    if (status != NB_OK)
        return cli_fail(&err);
    status = nb_source_open(&m.b, a->b, &options, &err);
    if (status != NB_OK) {
        nb_source_close(&m.a);
        return cli_fail(&err);
    }
    status = compare(a, &m, &err);
    code = status == NB_OK ? print(a, &m) : cli_fail(&err);
    metadata_diff_free(&m.metadata);
    free(m.errors);
    nb_source_close(&m.a);
    nb_source_close(&m.b);
    return code;
}

int
cmd_diff(const struct cli_line *line)
{
    const struct arguments a = {
        .line = line,
        .no_metadata = cli_has(line, OPT_NO_METADATA),
        .no_tensors = cli_has(line, OPT_NO_TENSORS),
        .json = cli_has(line, OPT_JSON),
        .threads = cli_number(line, OPT_THREADS, 0),
        .a = line->operands[0],
        .b = line->operands[1],
    };

    return diff(&a);
}
