#include "calib/refine_model.h"

#include "calib/texts.h"
#include "formats/base/file_in.h"
#include "formats/base/file_out.h"
#include "formats/base/folder_out.h"
#include "formats/base/text.h"
#include "formats/gguf/edit.h"
#include "formats/gguf/gguf.h"
#include "formats/gguf/metadata.h"
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

enum nb_status
nb_refine_keys(const struct nb_text *text, struct nb_refine_keys *keys, struct nb_error *err)
{
    const char *bytes;
    char *own;
    size_t length;
    enum nb_status status = nb_text_open(text, &bytes, &length, &own, err);

    if (status != NB_OK)
        return status;
    snprintf(keys->hash, sizeof keys->hash, "%016" PRIx64, (uint64_t)XXH3_64bits(bytes, length));
    free(own);
    keys->key[0] = (struct nb_kv_override){ "nibble.refine.text.xxh3", NB_KV_STRING, { .text = keys->hash } };
    keys->key[1] = (struct nb_kv_override){ KEY_TOKENS, NB_KV_U32, { .number = 0 } };
    keys->key[2] = (struct nb_kv_override){ KEY_BEFORE, NB_KV_F32, { .real = 0 } };
    keys->key[3] = (struct nb_kv_override){ KEY_AFTER, NB_KV_F32, { .real = 0 } };
    return NB_OK;
}

static void
note(const struct nb_step_watch *watch, const char *sentence)
{
    if (watch->note != NULL)
        watch->note(watch->context, sentence);
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

/* What was found out, in the keys of the file PATH. */
static enum nb_status
set_keys(const char *path, const struct nb_refine_summary *summary, struct nb_error *err)
{
    enum nb_status status = set_key(path, KEY_BEFORE, summary->kld_before, 0, err);

    if (status == NB_OK)
        status = set_key(path, KEY_AFTER, summary->kld, 0, err);
    return status == NB_OK ? set_key(path, KEY_TOKENS, 0, summary->tokens, err) : status;
}

/* Says what it will take. */
static enum nb_status
say_needs(const struct nb_model *model, const struct nb_ids *ids, const struct nb_refine_options *o,
          const struct nb_step_watch *watch, struct nb_error *err)
{
    char memory[32], sentence[128];
    double seconds;
    uint64_t bytes;
    enum nb_status status = nb_refine_needs(model, ids->count, o, &bytes, &seconds, err);

    if (status != NB_OK)
        return status;
    snprintf(sentence, sizeof sentence, "refining by %u tokens takes about %s and %.0f %s",
             nb_refine_chunks(ids->count, o) * o->chunk_tokens, nb_scaled(memory, sizeof memory, (double)bytes, "B"),
             seconds < 90 ? ceil(seconds) : seconds / 60, seconds < 90 ? "seconds" : "minutes");
    note(watch, sentence);
    return NB_OK;
}

/* What one call works on. */
struct work {
    const struct nb_source *source;
    const struct nb_refine_target *target;
    const struct nb_refine_model_options *options;
    const char *path, *state; /* OUTPUT.refining, and how far it is */
};

static enum nb_status
refine(const struct work *w, struct nb_refine_summary *summary, struct nb_error *err)
{
    const struct nb_refine_model_options *given = w->options;
    struct nb_refine_options o = { .chunk_tokens = nb_calibration_chunk(w->source, given->chunk_tokens),
                                   .threads = given->threads,
                                   .state = w->state,
                                   .scratch = given->scratch,
                                   .progress = given->watch.progress,
                                   .refined = given->refined,
                                   .context = given->watch.context,
                                   .stop = given->watch.stop };
    struct nb_ids ids = { 0 };
    struct nb_model model;
    enum nb_status status = nb_model_open(&model, w->source, err);

    if (status != NB_OK)
        return status;
    o.max_chunks = (given->max_tokens == 0 ? NB_REFINE_TOKENS : given->max_tokens) / o.chunk_tokens;
    if (o.progress != NULL)
        o.progress(o.context, "measuring what is to be bettered", 0);
    status = nb_calibration_chunks(w->source, given->text, o.chunk_tokens, &ids, &o.bos, err);
    if (status == NB_OK)
        status = say_needs(&model, &ids, &o, &given->watch, err);
    if (status == NB_OK)
        status = nb_refine_file(&model, w->path, ids.id, ids.count, &o, summary, err);
    nb_ids_free(&ids);
    nb_model_close(&model);
    return status;
}

static void
on_written(void *context, uint64_t done, uint64_t total)
{
    const struct nb_step_watch *watch = context;

    if (watch->progress != NULL)
        watch->progress(watch->context, "quantizing", total > 0 ? (double)done / (double)total : 1);
}

/* The blocks of the reference. */
static enum nb_status
write_start(const struct work *w, struct nb_error *err)
{
    struct nb_step_watch watch = w->options->watch;
    const struct nb_pipeline_options o = { .threads = w->options->threads,
                                           .replace = true,
                                           .allow_nonfinite = w->options->allow_nonfinite,
                                           .progress = on_written,
                                           .context = &watch,
                                           .stop = watch.stop };

    return w->target->write(w->target->plan, w->path, &o, err);
}

/* Writes the reference's blocks, unless a stopped run is taken up again, and refines them. */
static enum nb_status
work(const struct work *w, struct nb_refine_summary *summary, struct nb_error *err)
{
    const bool goes_on = nb_exists(w->path) && nb_is_file(w->state);
    enum nb_status status = NB_OK;

    if (goes_on) {
        char sentence[NB_ERROR_SIZE];

        snprintf(sentence, sizeof sentence, "going on with what a stopped run left in %s", w->path);
        note(&w->options->watch, sentence);
    } else {
        unlink(w->state);
        status = write_start(w, err);
    }
    if (status == NB_OK)
        status = refine(w, summary, err);
    if (status == NB_OK && !w->target->is_folder)
        status = set_keys(w->path, summary, err);
    if (status != NB_OK && !goes_on && !(status == NB_INTERRUPTED && nb_is_file(w->state))) {
        if (w->target->is_folder)
            nb_folder_remove(w->path);
        else
            unlink(w->path);
    }
    return status;
}

/* Gives PATH the name of the output; NULL: only finds out whether that can be done. */
static enum nb_status
name_output(const struct nb_refine_target *target, const char *path, bool replace, struct nb_error *err)
{
    struct nb_folder_out folder;
    struct nb_file_out file;
    enum nb_status status;

    if (target->is_folder) {
        status = nb_folder_adopt(&folder, target->output, path, replace, err);
        return status == NB_OK && path != NULL ? nb_folder_commit(&folder, err) : status;
    }
    status = nb_out_adopt(&file, target->output, path, replace, err);
    return status == NB_OK && path != NULL ? nb_out_commit(&file, replace, err) : status;
}

enum nb_status
nb_refine_check_output(const struct nb_refine_target *target, bool replace, struct nb_error *err)
{
    return name_output(target, NULL, replace, err);
}

enum nb_status
nb_refine_model(const struct nb_source *source, const struct nb_refine_target *target,
                const struct nb_refine_model_options *o, struct nb_refine_summary *summary, struct nb_error *err)
{
    char *path = nb_joined(target->output, SUFFIX), *state = nb_joined(target->output, SUFFIX STATE);
    const struct work w = { source, target, o, path, state };
    enum nb_status status = path == NULL || state == NULL ? nb_fail_memory(err)
                                                          : name_output(target, NULL, o->replace, err);

    *summary = (struct nb_refine_summary){ 0 };
    if (status == NB_OK)
        status = work(&w, summary, err);
    if (status == NB_OK)
        status = name_output(target, path, o->replace, err);
    if (status == NB_OK && summary->matrices == 0)
        note(&o->watch, "nothing was refined, because no matrix has a type whose blocks can be bettered");
    free(path);
    free(state);
    return status;
}

static enum nb_status
write_gguf(const void *plan, const char *name, const struct nb_pipeline_options *options, struct nb_error *err)
{
    return nb_pipeline_run(plan, name, options, err);
}

enum nb_status
nb_refine_gguf(const struct nb_source *source, const struct nb_plan *plan, const char *output,
               const struct nb_refine_model_options *o, struct nb_refine_summary *summary, struct nb_error *err)
{
    const struct nb_refine_target target = { output, plan, write_gguf, false };

    *summary = (struct nb_refine_summary){ 0 };
    if (plan->n_files > 1)
        return nb_fail(err, NB_USAGE, "refining writes one file, and no parts (keep-split)");
    return nb_refine_model(source, &target, o, summary, err);
}
