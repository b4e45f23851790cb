/* nibble.h: checking. */
#include "formats/base/public.h"
#include "verify/check/check.h"

#include <stdlib.h>

struct nibble_findings {
    struct nb_findings findings;
    struct nb_check_result result;
};

static enum nb_status
take_options(const struct nibble_check_options *options, struct nb_check_options *to, struct nb_error *err)
{
    struct nibble_check_options o;
    enum nb_status status = NB_PUBLIC_TAKE(o, options, "nibble_check_options", err);

    if (status != NB_OK)
        return status;
    to->follow_links = o.follow_links;
    switch (o.level) {
    case NIBBLE_CHECK_FULL:
        to->level = NB_CHECK_FULL;
        return NB_OK;
    case NIBBLE_CHECK_STRUCTURE:
        to->level = NB_CHECK_STRUCTURE;
        return NB_OK;
    case NIBBLE_CHECK_CONTENT:
        to->level = NB_CHECK_CONTENT;
        return NB_OK;
    default:
        return nb_fail(err, NB_USAGE, "there is no level %d of checks", (int)o.level);
    }
}

static enum nb_status
check(const char *path, const struct nibble_check_options *options, const struct nibble_run *run,
      struct nibble_findings *f, struct nb_error *err)
{
    struct nb_public_run r;
    struct nb_check_options o = { .progress = nb_public_progress, .context = &r, .stop = &r.stop };
    enum nb_status status = nb_public_run(&r, run, err);

    if (status == NB_OK)
        status = take_options(options, &o, err);
    o.threads = r.threads;
    return status == NB_OK ? nb_check(path, &o, &f->findings, &f->result, err) : status;
}

enum nibble_code
nibble_check(const char *path, const struct nibble_check_options *options, const struct nibble_run *run,
             struct nibble_findings **out, struct nibble_error *error)
{
    struct nibble_findings *f = calloc(1, sizeof *f);
    struct nb_error err;
    enum nb_status status = f == NULL ? nb_fail_memory(&err) : check(path, options, run, f, &err);

    if (status != NB_OK) {
        nibble_findings_free(f);
        f = NULL;
    }
    *out = f;
    return nb_public_end(status, &err, error);
}

void
nibble_findings_free(struct nibble_findings *f)
{
    if (f != NULL)
        nb_findings_free(&f->findings);
    free(f);
}

void
nibble_findings_get_info(const struct nibble_findings *f, struct nibble_check_info *out)
{
    const struct nibble_check_info info = {
        .format = f->result.format,
        .files = f->result.files,
        .tensors = f->result.tensors,
        .bytes_read = f->result.bytes_read,
        .errors = f->findings.errors,
        .warnings = f->findings.warnings,
        .findings = f->findings.count,
    };

    NB_PUBLIC_GIVE(out, info, "nibble_check_info", NULL);
}

enum nibble_code
nibble_findings_at(const struct nibble_findings *f, size_t index, struct nibble_finding *out,
                   struct nibble_error *error)
{
    struct nb_error err;
    enum nb_status status = nb_public_check_index(index, f->findings.count, "findings", &err);

    if (status == NB_OK) {
        const struct nb_finding *from = &f->findings.items[index];
        const struct nb_code_info *code = nb_code_info(from->code);
        const struct nibble_finding finding = {
            .code = code->name,
            .severity = code->severity == NB_ERROR ? NIBBLE_SEVERITY_ERROR : NIBBLE_SEVERITY_WARNING,
            .file = from->place.file,
            .key = from->place.about == NB_ABOUT_KEY ? from->place.name : NULL,
            .tensor = from->place.about == NB_ABOUT_TENSOR ? from->place.name : NULL,
            .has_offset = from->place.offset != NB_NO_OFFSET,
            .offset = from->place.offset != NB_NO_OFFSET ? from->place.offset : 0,
            .sentence = from->sentence,
        };

        status = NB_PUBLIC_GIVE(out, finding, "nibble_finding", &err);
    }
    return nb_public_end(status, &err, error);
}
