/* nibble.h: calibrating. */
#include "calib/coverage.h"
#include "calib/sums.h"
#include "calib/texts.h"
#include "formats/base/file_out.h"
#include "formats/base/public.h"
#include "formats/models/public_source.h"
#include "verify/tokenize/tokenize.h"

#include <stdlib.h>

#define MIN_CHUNK 8u
#define MAX_CHUNK (1u << 20)

/* The texts of a call, as the room below has them; NULL where memory is out. */
static struct nb_text *
take_texts(const struct nibble_text *texts, size_t count, struct nb_error *err)
{
    struct nb_text *out = calloc(count, sizeof *out);

    if (out == NULL)
        nb_fail_memory(err);
    for (size_t i = 0; out != NULL && i < count; i++)
        out[i] = (struct nb_text){ texts[i].name, texts[i].bytes, texts[i].length };
    return out;
}

static enum nb_status
check_texts(const struct nibble_text *texts, size_t count, struct nb_error *err)
{
    if (count == 0)
        return nb_fail(err, NB_USAGE, "there is no text");
    for (size_t i = 0; i < count; i++)
        if (texts[i].name == NULL)
            return nb_fail(err, NB_USAGE, "text %zu has no name", i);
    return NB_OK;
}

static enum nb_status
take_options(const struct nibble_calibrate_options *o, const struct nb_source *source, struct nb_public_run *r,
             struct nb_calibrate_options *out, struct nb_error *err)
{
    *out = (struct nb_calibrate_options){
        .chunk_tokens = nb_calibration_chunk(source, o->chunk_tokens),
        .from_chunk = o->from_chunk,
        .max_chunks = o->max_chunks,
        .threads = r->threads,
        .process_output = o->process_output,
        .state = o->state,
        .save_every = o->save_every,
        .progress = nb_public_progress_chunks,
        .context = r,
        .stop = &r->stop,
    };
    if (out->chunk_tokens < MIN_CHUNK || out->chunk_tokens > MAX_CHUNK)
        return nb_fail(err, NB_USAGE, "chunk_tokens is %u, but must be %u to %u", (unsigned)out->chunk_tokens,
                       MIN_CHUNK, MAX_CHUNK);
    return NB_OK;
}

/* Whether OUTPUT can be written, asked before the work that it is for. */
static enum nb_status
check_output(const char *output, bool replace, struct nb_error *err)
{
    struct nb_file_out file;
    enum nb_status status = nb_out_create(&file, output, 0, replace, err);

    return status == NB_OK ? nb_out_discard(&file, err) : status;
}

static struct nibble_calibration
result_of(const struct nb_sums *sums)
{
    const struct nb_coverage c = nb_coverage(sums);

    return (struct nibble_calibration){
        .chunks = sums->chunks,
        .tokens = c.tokens,
        .entries = c.entries,
        .entries_without_tokens = c.empty,
        .experts = c.experts,
        .experts_without_tokens = c.idle_experts,
        .columns = c.columns,
        .zero_columns = c.zero_columns,
    };
}

static enum nb_status
calibrate(const struct nibble_source *source, const struct nb_calibration_texts *texts, const char *output,
          const struct nibble_calibrate_options *o, const struct nibble_run *run, struct nibble_calibration *result,
          struct nb_error *err)
{
    struct nb_public_run r;
    struct nb_calibrate_options options;
    struct nb_sums sums = { 0 };
    enum nb_status status = nb_public_run(&r, run, err);

    if (status == NB_OK)
        status = take_options(o, &source->source, &r, &options, err);
    if (status == NB_OK)
        status = check_output(output, o->replace, err);
    if (status == NB_OK)
        status = nb_calibrate_texts(&source->source, texts, &options, &sums, err);
    if (status == NB_OK)
        status = nb_sums_write(&sums, output, o->dat ? NB_SUMS_DAT : NB_SUMS_GGUF, err);
    if (status == NB_OK)
        *result = result_of(&sums);
    nb_sums_free(&sums);
    return status;
}

enum nibble_code
nibble_calibrate(const struct nibble_source *source, const struct nibble_text *texts, size_t count, const char *output,
                 const struct nibble_calibrate_options *options, const struct nibble_run *run,
                 struct nibble_calibration *out, struct nibble_error *error)
{
    struct nibble_calibrate_options o;
    struct nibble_calibration result = { 0 };
    struct nb_text *list = NULL;
    struct nb_error err;
    enum nb_status status = NB_PUBLIC_TAKE(o, options, "nibble_calibrate_options", &err);

    if (status == NB_OK && out != NULL) /* a struct that cannot be filled is refused before the work */
        status = NB_PUBLIC_GIVE(out, result, "nibble_calibration", &err);
    if (status == NB_OK)
        status = check_texts(texts, count, &err);
    if (status == NB_OK && (list = take_texts(texts, count, &err)) == NULL)
        status = NB_NO_MEMORY;
    if (status == NB_OK) {
        const struct nb_calibration_texts of = { list, count, o.parse_special ? NB_PARSE_SPECIAL : 0, NULL, 0 };

        status = calibrate(source, &of, output, &o, run, &result, &err);
    }
    if (status == NB_OK && out != NULL)
        status = NB_PUBLIC_GIVE(out, result, "nibble_calibration", &err);
    free(list);
    return nb_public_end(status, &err, error);
}
