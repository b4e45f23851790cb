#include "cli/refinement.h"

#include "calib/texts.h"
#include "cli/cli.h"
#include "formats/base/file_in.h"
#include "formats/base/file_out.h"
#include "formats/base/text.h"
#include "formats/gguf/edit.h"
#include "formats/gguf/gguf.h"
#include "formats/gguf/metadata.h"
#include "quantize/pipeline.h"
#include "verify/run/model.h"
#include "verify/tokenize/text_file.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <xxhash.h>

#define SUFFIX ".refining" /* of the file that is worked on */
#define STATE ".state"     /* behind that: how far it is */

/* Written as 0, and set when they are known. */
#define KEY_TOKENS "nibble.refine.tokens"
#define KEY_BEFORE "nibble.refine.kld_before"
#define KEY_AFTER "nibble.refine.kld"

static void
add_key(struct quantize_options *a, struct nb_kv_override override)
{
    a->kvs[a->plan.n_overrides++] = override;
}

enum nb_status
refinement_keys(struct quantize_options *a, struct nb_error *err)
{
    static char hash[17];
    const struct nb_text text = { .name = a->refine };
    const char *bytes;
    char *own;
    size_t length;
    enum nb_status status = nb_text_open(&text, &bytes, &length, &own, err);

    if (status != NB_OK)
        return status;
    snprintf(hash, sizeof hash, "%016" PRIx64, (uint64_t)XXH3_64bits(bytes, length));
    free(own);
    if (a->plan.n_overrides + 4 > MAX_OVERRIDES)
        return nb_fail(err, NB_USAGE, "too many --override-kv");
    add_key(a, (struct nb_kv_override){ "nibble.refine.text.xxh3", NB_KV_STRING, { .text = hash } });
    add_key(a, (struct nb_kv_override){ KEY_TOKENS, NB_KV_U32, { .number = 0 } });
    add_key(a, (struct nb_kv_override){ KEY_BEFORE, NB_KV_F32, { .real = 0 } });
    add_key(a, (struct nb_kv_override){ KEY_AFTER, NB_KV_F32, { .real = 0 } });
    return NB_OK;
}

static void
on_progress(void *context, const char *what, double share)
{
    cli_progress_share(context, share, what);
}

/* With -v. */
static void
on_refined(void *context, const char *name, const struct nb_refine_result *result)
{
    (void)context;
    cli_detail("%s: %s (follows its inputs by %.2f, repairs by %.2f)", name, result->taken ? "refined" : "stays",
               result->shift, result->repair);
}

/* Sets a key of the file PATH, in place: to KLD, or to TOKENS if that is not 0. */
static enum nb_status
set_key(const char *path, const char *key, double kld, size_t tokens, struct nb_error *err)
{
    struct nb_metadata meta = { 0 };
    struct nb_file_in file;
    struct nb_gguf gguf;
    enum nb_status status = nb_file_open_to_change(&file, path, err);

    if (status != NB_OK)
        return status;
    status = nb_edit_read(&file, &gguf, err);
    if (status == NB_OK) {
        nb_meta_copy(&meta, &gguf.meta);
        if (tokens > 0)
            nb_meta_set_u32(&meta, key, (uint32_t)tokens);
        else
            nb_meta_set_f32(&meta, key, (float)kld);
        status = nb_meta_status(&meta, err);
        if (status == NB_OK)
            status = nb_edit_in_place(&file, &gguf, &meta, err);
        nb_meta_free(&meta);
        nb_gguf_free(&gguf);
    }
    nb_file_close(&file);
    return status;
}

static enum nb_status
get_kld_before(const char *path, double *kld, struct nb_error *err)
{
    struct nb_source source;
    enum nb_status status = nb_source_open(&source, path, NULL, err);

    if (status != NB_OK)
        return status;
    (void)nb_meta_get_f64(&source.meta, KEY_BEFORE, kld);
    nb_source_close(&source);
    return NB_OK;
}

/* Says what it will take. */
static enum nb_status
say_needs(const struct nb_model *model, const struct nb_ids *ids, const struct nb_refine_options *o,
          struct nb_error *err)
{
    char memory[CLI_TEXT];
    double seconds;
    uint64_t bytes;
    enum nb_status status = nb_refine_needs(model, ids->count, o, &bytes, &seconds, err);

    if (status == NB_OK)
        cli_note("refining by %u tokens takes about %s and %.0f %s", nb_refine_chunks(ids->count, o) * o->chunk_tokens,
                 cli_bytes(memory, (double)bytes), seconds < 90 ? ceil(seconds) : seconds / 60,
                 seconds < 90 ? "seconds" : "minutes");
    return status;
}

/* Refines the file PATH, and judges it before and after; before only if it is not GOING_ON with a stopped run. */
static enum nb_status
refine_and_judge(const struct nb_model *model, const char *path, const struct nb_ids *ids,
                 const struct nb_refine_options *o, bool going_on, struct refinement *r, struct nb_error *err)
{
    enum nb_status status = going_on ? get_kld_before(path, &r->kld_before, err)
                                     : nb_refine_judge(model, path, ids->id, ids->count, o, &r->kld_before, err);

    if (status == NB_OK && !going_on)
        status = set_key(path, KEY_BEFORE, r->kld_before, 0, err);
    if (status == NB_OK)
        status = nb_refine_file(model, path, ids->id, ids->count, o, &r->summary, err);
    if (status == NB_OK)
        status = nb_refine_judge(model, path, ids->id, ids->count, o, &r->kld, err);
    if (status == NB_OK)
        status = set_key(path, KEY_AFTER, r->kld, 0, err);
    return status == NB_OK ? set_key(path, KEY_TOKENS, 0, r->summary.tokens, err) : status;
}

static enum nb_status
refine(const struct quantize_options *a, const struct nb_source *source, const char *path, const char *state,
       bool going_on, struct refinement *r, struct nb_error *err)
{
    struct nb_refine_options o = { .chunk_tokens = nb_calibration_chunk(source, a->chunk_tokens),
                                   .threads = a->pipeline.threads,
                                   .state = state,
                                   .scratch = a->scratch,
                                   .progress = on_progress,
                                   .refined = on_refined,
                                   .stop = cli_catch_signals() };
    struct cli_progress progress;
    struct nb_ids ids = { 0 };
    struct nb_model model;
    enum nb_status status = nb_model_open(&model, source, err);

    if (status != NB_OK)
        return status;
    o.max_chunks = a->refine_tokens / o.chunk_tokens;
    cli_progress_start(&progress);
    cli_progress_say(&progress, "measuring what is to be bettered");
    o.context = &progress;
    status = nb_calibration_chunks(source, a->refine, o.chunk_tokens, &ids, &o.bos, err);
    if (status == NB_OK)
        status = say_needs(&model, &ids, &o, err);
    if (status == NB_OK)
        status = refine_and_judge(&model, path, &ids, &o, going_on, r, err);
    cli_progress_end(&progress);
    nb_ids_free(&ids);
    nb_model_close(&model);
    return status;
}

/* The blocks of the reference, in the file PATH. */
static enum nb_status
write_start(const struct quantize_options *a, const struct nb_plan *plan, const char *path, struct nb_error *err)
{
    struct nb_pipeline_options o = a->pipeline;
    struct cli_progress progress;
    enum nb_status status;

    cli_progress_start(&progress);
    o.replace = true;
    o.progress = cli_progress_update;
    o.context = &progress;
    o.stop = cli_catch_signals();
    status = nb_pipeline_run(plan, path, &o, err);
    cli_progress_end(&progress);
    return status;
}

/* Writes the reference's blocks, unless a stopped run is taken up again, and refines them. */
static enum nb_status
work(const struct quantize_options *a, const struct nb_source *source, const struct nb_plan *plan, const char *path,
     const char *state, struct refinement *r, struct nb_error *err)
{
    const bool goes_on = nb_is_file(path) && nb_is_file(state);
    enum nb_status status = NB_OK;

    if (goes_on) {
        cli_note("going on with what a stopped run left in %s", path);
    } else {
        unlink(state);
        status = write_start(a, plan, path, err);
    }
    if (status == NB_OK)
        status = refine(a, source, path, state, goes_on, r, err);
    if (status != NB_OK && !goes_on && !(status == NB_INTERRUPTED && nb_is_file(state)))
        unlink(path);
    return status;
}

enum nb_status
refinement_run(const struct quantize_options *a, const struct nb_source *source, const struct nb_plan *plan,
               struct refinement *r, struct nb_error *err)
{
    const bool replace = a->pipeline.replace;
    char *path = nb_joined(a->output, SUFFIX), *state = nb_joined(a->output, SUFFIX STATE);
    struct nb_file_out out;
    enum nb_status status = path == NULL || state == NULL ? nb_fail_memory(err)
                                                          : nb_out_adopt(&out, a->output, NULL, replace, err);

    if (status == NB_OK && plan->n_files > 1)
        status = nb_fail(err, NB_USAGE, "--refine writes one file, and no parts (--keep-split)");
    if (status == NB_OK)
        status = work(a, source, plan, path, state, r, err);
    if (status == NB_OK)
        status = nb_out_adopt(&out, a->output, path, replace, err);
    if (status == NB_OK)
        status = nb_out_commit(&out, replace, err);
    free(path);
    free(state);
    return status;
}
