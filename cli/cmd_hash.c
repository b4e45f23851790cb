#include "cli/cli.h"

#include "cli/manifest.h"
#include "formats/base/file_in.h"
#include "formats/base/status.h"
#include "formats/base/text.h"
#include "formats/models/stored_tensors.h"
#include "verify/check/hash.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct arguments {
    bool kinds[NB_HASHES], any;
    bool no_layer, of_file, json, follow_links;
    const char *check, *output, *input;
    unsigned threads;
};

/* The kinds of hashes that are named, and whether any is. */
static void
read_kinds(const struct cli_line *line, struct arguments *a)
{
    static const enum cli_option_id options[NB_HASHES] = {
        [NB_HASH_XXH64] = OPT_XXH64,   [NB_HASH_XXH3] = OPT_XXH3, [NB_HASH_SHA1] = OPT_SHA1,
        [NB_HASH_SHA256] = OPT_SHA256, [NB_HASH_UUID] = OPT_UUID,
    };

    if (cli_has(line, OPT_ALL))
        a->kinds[NB_HASH_XXH64] = a->kinds[NB_HASH_SHA1] = a->kinds[NB_HASH_SHA256] = a->any = true;
    for (unsigned k = 0; k < NB_HASHES; k++)
        if (cli_has(line, options[k]))
            a->kinds[k] = a->any = true;
}

static int
read_options(const struct cli_line *line, struct arguments *a)
{
    *a = (struct arguments){
        .no_layer = cli_has(line, OPT_NO_LAYER),
        .of_file = cli_has(line, OPT_WHOLE_FILE),
        .json = cli_has(line, OPT_JSON),
        .follow_links = cli_has(line, OPT_FOLLOW_LINKS),
        .check = cli_text(line, OPT_CHECK),
        .output = cli_text(line, OPT_OUTPUT),
        .input = line->operands[0],
        .threads = cli_number(line, OPT_THREADS, 0),
    };
    read_kinds(line, a);
    if (a->input == NULL && a->check == NULL)
        return cli_usage("hash", "name a file or folder");
    if (a->check == NULL && !a->json && strchr(a->input, '\n') != NULL)
        return cli_usage("hash", "%s: a manifest cannot have a name with a line feed", a->input);
    if (a->json && a->output != NULL)
        return cli_usage("hash", "-o writes a manifest; --json goes to standard output");
    if (a->of_file && (a->kinds[NB_HASH_XXH64] || a->kinds[NB_HASH_XXH3] || a->kinds[NB_HASH_UUID]))
        return cli_usage("hash", "--whole-file can only be combined with --sha256 or --sha1");
    if (!a->any && a->check == NULL)
        a->kinds[a->of_file ? NB_HASH_SHA256 : NB_HASH_XXH64] = true;
    return NB_OK;
}

/* --- writing ---------------------------------------------------------------------------------------------- */

/* In a manifest a name is what it is, so that it is found again; only people need it shown. */
static void
print_name(FILE *f, const char *name)
{
    if (isatty(fileno(f)) != 0)
        cli_print_to(f, "%s", name);
    else
        fputs(name, f);
}

static void
print_job(FILE *f, const struct nb_stored_tensors *s, const char *path, const struct nb_hash_job *job)
{
    char text[2 * NB_HASH_MAX + 8];

    nb_hash_text(job->kind, job->digest, text);
    if (job->scope != NB_HASH_FILE)
        cli_print_to(f, "%-8s  ", nb_hash_name(job->kind));
    cli_print_to(f, "%s  ", text);
    print_name(f, job->scope == NB_HASH_FILE && s->n_files > 1 ? s->files[job->which].name : path);
    if (job->scope == NB_HASH_TENSOR)
        cli_print_to(f, ":%s", s->tensors[job->which].name);
    cli_print_to(f, "\n");
}

static json_t *
job_json(const struct nb_stored_tensors *s, const struct nb_hash_job *job)
{
    char text[2 * NB_HASH_MAX + 8];

    nb_hash_text(job->kind, job->digest, text);
    return cli_json("{s:s, s:s, s:s*, s:s}", "hash", nb_hash_name(job->kind), "of",
                    job->scope == NB_HASH_FILE     ? "file"
                    : job->scope == NB_HASH_TENSOR ? "tensor"
                                                   : "model",
                    "tensor", job->scope == NB_HASH_TENSOR ? s->tensors[job->which].name : NULL, "digest", text);
}

static int
print_json(const struct arguments *a, const struct nb_stored_tensors *s, const struct nb_hash_job *jobs, size_t count)
{
    json_t *list = cli_json_array();

    for (size_t i = 0; i < count; i++)
        cli_json_add(list, job_json(s, &jobs[i]));
    return cli_print_json(cli_json("{s:s, s:o}", "path", a->input, "hashes", list));
}

/* The jobs in the order of the lines; returns how many. */
static size_t
list_jobs(const struct arguments *a, const struct nb_stored_tensors *s, struct nb_hash_job *jobs)
{
    const size_t things = a->of_file ? s->n_files : a->no_layer ? 0 : s->count;
    size_t n = 0;

    for (size_t i = 0; i <= things; i++) {
        const bool model = i == things;

        if (model && a->of_file)
            break;
        for (unsigned k = 0; k < NB_HASHES; k++)
            if (a->kinds[k] && (model || k != NB_HASH_UUID))
                jobs[n++] = (struct nb_hash_job){ .kind = (enum nb_hash_kind)k,
                                                  .which = i,
                                                  .scope = a->of_file ? NB_HASH_FILE
                                                           : model    ? NB_HASH_MODEL
                                                                      : NB_HASH_TENSOR };
    }
    return n;
}

static enum nb_status
print_all(const struct arguments *a, const struct nb_stored_tensors *s, const struct nb_hash_job *jobs, size_t count,
          struct nb_error *err)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = a->output == NULL ? stdout : open_memstream(&text, &size);
    enum nb_status status;

    if (f == NULL)
        return nb_fail_memory(err);
    for (size_t i = 0; i < count; i++)
        print_job(f, s, a->input, &jobs[i]);
    if (a->output == NULL)
        return NB_OK;
    status = nb_close_text(f, &text) ? cli_write_file(a->output, text, size, err) : nb_fail_memory(err);
    free(text);
    return status;
}

/* Files whose bytes are hashed may be of any format, and are not parsed. */
static enum nb_status
open_stored(struct nb_stored_tensors *s, const struct arguments *a, const char *path, bool bytes, struct nb_error *err)
{
    return bytes && !nb_is_folder(path) ? nb_stored_open_bytes(s, path, err)
                                        : nb_stored_open(s, path, a->follow_links, err);
}

static enum nb_status
hash(const struct arguments *a, const struct nb_stored_tensors *s, struct nb_hash_job *jobs, size_t count,
     struct nb_error *err)
{
    struct cli_progress progress;
    const struct nb_watch watch = { cli_progress_update, &progress, NULL };
    enum nb_status status;

    cli_progress_start(&progress);
    status = nb_hash_run(s, jobs, count, a->threads, &watch, err);
    cli_progress_end(&progress);
    return status;
}

static int
generate(const struct arguments *a)
{
    struct nb_stored_tensors s;
    struct nb_hash_job *jobs = NULL;
    struct nb_error err;
    size_t count;
    enum nb_status status = open_stored(&s, a, a->input, a->of_file, &err);

    if (status != NB_OK)
        return cli_fail(&err);
    jobs = calloc((s.count + s.n_files + 1) * NB_HASHES, sizeof *jobs);
    count = jobs == NULL ? 0 : list_jobs(a, &s, jobs);
    status = jobs == NULL ? nb_fail_memory(&err) : hash(a, &s, jobs, count, &err);
    if (status == NB_OK && a->json)
        status = (enum nb_status)print_json(a, &s, jobs, count);
    else if (status == NB_OK && print_all(a, &s, jobs, count, &err) == NB_OK)
        status = (enum nb_status)cli_finish();
    else
        status = (enum nb_status)cli_fail(&err);
    nb_stored_close(&s);
    free(jobs);
    return (int)nb_status_kind(status);
}

/* --- checking ----------------------------------------------------------------------------------------------- */

/* Which of the manifest's entries are compared: of the kinds that are named, or of the strongest there is. */
static void
choose_kinds(const struct arguments *a, const struct manifest *m, bool *kinds)
{
    static const enum nb_hash_kind strongest[] = { NB_HASH_SHA256, NB_HASH_SHA1, NB_HASH_XXH3, NB_HASH_XXH64,
                                                   NB_HASH_UUID };

    memcpy(kinds, a->kinds, sizeof a->kinds);
    for (size_t i = 0; i < sizeof strongest / sizeof strongest[0] && !a->any; i++) {
        if (m->has[strongest[i]]) {
            kinds[strongest[i]] = true;
            return;
        }
    }
}

struct tally {
    size_t equal, different, missing;
    json_t *list; /* of the entries, where JSON is wanted */
};

/* The number of the tensor NAME, or the count of them. Manifests have the file's order: the next is tried first. */
static size_t
find_tensor(const struct nb_stored_tensors *s, const char *name, size_t *next)
{
    size_t at = *next;

    for (size_t tried = 0; tried < s->count; tried++, at++) {
        at = at < s->count ? at : 0;
        if (strcmp(s->tensors[at].name, name) == 0) {
            *next = at; /* again, for its other hashes */
            return at;
        }
    }
    return s->count;
}

static void
report(const struct manifest_entry *e, const struct nb_hash_job *job, struct tally *tally)
{
    char text[2 * NB_HASH_MAX + 8] = "";
    const char *result;

    if (job != NULL)
        nb_hash_text(job->kind, job->digest, text);
    result = job == NULL ? "Not found" : strcmp(text, e->digest) == 0 ? "Ok" : "Mismatch";
    *(job == NULL ? &tally->missing : strcmp(text, e->digest) == 0 ? &tally->equal : &tally->different) += 1;
    if (tally->list != NULL)
        cli_json_add(tally->list, cli_json("{s:s, s:s, s:s, s:s*, s:s}", "hash", nb_hash_name(e->kind), "name", e->name,
                                           "digest", e->digest, "found", job == NULL ? NULL : text, "result", result));
    else if (e->of_file)
        cli_print("%s: ", e->name);
    else
        cli_print("%-8s  %s  %s  -  ", nb_hash_name(e->kind), e->digest, e->name);
    if (tally->list == NULL) {
        cli_colored(stdout, strcmp(result, "Ok") == 0 ? CLI_GOOD : CLI_BAD,
                    !e->of_file                 ? result
                    : job == NULL               ? "NOT FOUND"
                    : strcmp(result, "Ok") == 0 ? "OK"
                                                : "FAILED");
        cli_print("\n");
    }
}

/* Compares the entries of MEMBERS, which are all of the file PATH. */
static enum nb_status
compare(const struct arguments *a, struct manifest_entry **members, size_t count, const char *path, struct tally *tally,
        struct nb_error *err)
{
    struct nb_stored_tensors s;
    struct nb_hash_job *jobs = calloc(count + 1, sizeof *jobs);
    bool *there = calloc(count + 1, sizeof *there);
    size_t n = 0, reported = 0, next = 0;
    bool bytes = true;
    enum nb_status status;

    for (size_t i = 0; i < count; i++)
        bytes = bytes && members[i]->of_file;
    status = jobs == NULL || there == NULL ? nb_fail_memory(err) : open_stored(&s, a, path, bytes, err);
    if (status != NB_OK) {
        free(jobs);
        free(there);
        return status;
    }
    for (size_t i = 0; i < count; i++) {
        const struct manifest_entry *e = members[i];
        const size_t tensor = e->tensor == NULL ? 0 : find_tensor(&s, e->tensor, &next);

        there[i] = e->tensor == NULL || tensor < s.count;
        if (there[i])
            jobs[n++] = (struct nb_hash_job){
                .kind = e->kind,
                .which = tensor,
                .scope = e->of_file          ? NB_HASH_FILE
                         : e->tensor == NULL ? NB_HASH_MODEL
                                             : NB_HASH_TENSOR,
            };
    }
    status = hash(a, &s, jobs, n, err);
    for (size_t i = 0; i < count && status == NB_OK; i++)
        report(members[i], there[i] ? &jobs[reported++] : NULL, tally);
    nb_stored_close(&s);
    free(jobs);
    free(there);
    return status;
}

/* Whether the entries of FILE are those to compare: FILE was named, or none, or it is the only one there. */
static bool
is_wanted(const struct arguments *a, const struct manifest *m, const char *file)
{
    if (a->input == NULL || strcmp(nb_base_name(file), nb_base_name(a->input)) == 0)
        return true;
    for (size_t i = 0; i < m->count; i++)
        if (strcmp(m->entries[i].file, file) != 0)
            return false;
    return true;
}

/* The entries of one file after another; of FILE only, if that was named. */
static enum nb_status
compare_all(const struct arguments *a, struct manifest *m, struct tally *tally, struct nb_error *err)
{
    struct manifest_entry **members = calloc(m->count + 1, sizeof *members);
    bool kinds[NB_HASHES], *taken = calloc(m->count + 1, sizeof *taken);
    enum nb_status status = members == NULL || taken == NULL ? nb_fail_memory(err) : NB_OK;

    choose_kinds(a, m, kinds);
    for (size_t i = 0; i < m->count && status == NB_OK; i++) {
        const char *file = m->entries[i].file;
        size_t n = 0;

        if (taken[i] || !kinds[m->entries[i].kind] || !is_wanted(a, m, file))
            continue;
        for (size_t k = i; k < m->count; k++) {
            if (taken[k] || !kinds[m->entries[k].kind] || strcmp(m->entries[k].file, file) != 0)
                continue;
            taken[k] = true;
            members[n++] = &m->entries[k];
        }
        status = compare(a, members, n, a->input != NULL ? a->input : file, tally, err);
    }
    free(members);
    free(taken);
    return status;
}

static int
check(const struct arguments *a)
{
    struct manifest m;
    struct tally tally = { .list = NULL };
    struct nb_error err;
    int code;
    enum nb_status status = manifest_load(&m, a->check, &err);

    if (status != NB_OK)
        return cli_fail(&err);
    tally.list = a->json ? cli_json_array() : NULL;
    status = compare_all(a, &m, &tally, &err);
    manifest_free(&m);
    if (status == NB_OK && tally.equal + tally.different + tally.missing == 0)
        status = nb_fail(&err, NB_NO, "%s: has no hash of this kind for this file", a->check);
    if (status != NB_OK) {
        json_decref(tally.list);
        return cli_fail(&err);
    }
    if (a->json) {
        code = cli_print_json(cli_json("{s:s, s:I, s:I, s:I, s:o}", "manifest", a->check, "equal",
                                       (json_int_t)tally.equal, "different", (json_int_t)tally.different, "not_found",
                                       (json_int_t)tally.missing, "entries", tally.list));
    } else {
        cli_print("\n%s: %zu equal, %zu different, %zu not found\n", a->check, tally.equal, tally.different,
                  tally.missing);
        code = cli_finish();
    }
    return code != NB_OK ? code : tally.different + tally.missing > 0 ? NB_NO : NB_OK;
}

int
cmd_hash(const struct cli_line *line)
{
    struct arguments a;
    const int code = read_options(line, &a);

    if (code != NB_OK)
        return code;
    return a.check != NULL ? check(&a) : generate(&a);
}
