#include "cli/calibration.h"

#include "calib/calibrate.h"
#include "calib/sums.h"
#include "cli/cli.h"
#include "formats/base/status.h"
#include "formats/base/text.h"
#include "formats/models/source.h"
#include "formats/tokenizer/vocabulary.h"
#include "verify/run/model.h"
#include "verify/tokenize/text_file.h"
#include "verify/tokenize/tokenize.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Adds the complete chunks of a text; tokens left over at its end are not used. */
static enum nb_status
add_text(const struct calibration *c, const struct nb_tokenizer *t, const char *name, struct nb_ids *ids,
         struct nb_error *err)
{
    const size_t before = ids->count;
    char *text;
    size_t length, tokens;
    enum nb_status status = nb_text_file_load(name, &text, &length, err);

    if (status != NB_OK)
        return status;
    status = nb_utf8_valid(text, length) ? nb_tokenize(t, text, length, NB_ADD_SPECIAL | c->tokenize_flags, ids, err)
                                         : nb_fail(err, NB_INPUT, "%s: is not valid UTF-8 text", name);
    free(text);
    if (status != NB_OK)
        return status;
    tokens = ids->count - before;
    ids->count -= tokens % c->options.chunk_tokens;
    if (tokens < c->options.chunk_tokens)
        return nb_fail(err, NB_INPUT, "%s: has %zu tokens, fewer than a chunk of %u", name, tokens,
                       (unsigned)c->options.chunk_tokens);
    cli_detail("%s: %zu tokens in chunks of %u", name, tokens, (unsigned)c->options.chunk_tokens);
    return NB_OK;
}

static enum nb_status
load_texts(struct calibration *c, const struct nb_source *source, struct nb_ids *ids, struct nb_sums *sums,
           struct nb_error *err)
{
    struct nb_tokenizer *t;
    const struct nb_vocabulary *v;
    enum nb_status status;

    if (c->texts == 0) {
        c->text[0] = cli_data_file("calibration.txt");
        c->texts = 1;
        if (c->text[0] == NULL)
            return nb_fail(err, NB_USAGE, "the default calibration text was not found; name a text with -f");
    }
    status = nb_tokenizer_open(&t, source, err);
    if (status != NB_OK)
        return status;
    v = nb_tokenizer_vocabulary(t);
    c->options.bos = v->add_bos ? v->bos : -1;
    for (size_t i = 0; i < c->texts && status == NB_OK; i++) {
        status = add_text(c, t, c->text[i], ids, err);
        if (status == NB_OK)
            status = nb_sums_add_dataset(sums, c->text[i], err);
    }
    nb_tokenizer_close(t);
    return status;
}

static void
on_progress(void *context, uint32_t chunks, uint32_t of)
{
    char text[64];

    snprintf(text, sizeof text, "%u of %u chunks", (unsigned)chunks, (unsigned)of);
    cli_progress_steps(context, chunks, of, text);
}

enum nb_status
calibration_run(struct calibration *c, const struct nb_source *source, struct nb_sums *sums, struct nb_error *err)
{
    struct cli_progress progress;
    struct nb_model model;
    struct nb_ids ids = { 0 };
    enum nb_status status = nb_model_open(&model, source, err);

    if (status != NB_OK)
        return status;
    status = load_texts(c, source, &ids, sums, err);
    if (status == NB_OK) {
        cli_progress_start(&progress);
        c->options.progress = on_progress;
        c->options.context = &progress;
        c->options.stop = cli_catch_signals();
        status = nb_calibrate(&model, ids.id, ids.count, &c->options, sums, err);
        cli_progress_end(&progress);
    }
    nb_ids_free(&ids);
    nb_model_close(&model);
    return status;
}

static uint64_t
zeros(const struct nb_sums_entry *e)
{
    uint64_t n = 0;

    for (uint64_t i = 0; i < e->columns * e->experts; i++)
        n += e->tokens[i / e->columns] > 0 && e->squares[i] == 0;
    return n;
}

struct coverage
calibration_coverage(const struct nb_sums *sums)
{
    struct coverage c = { .entries = sums->count };

    for (size_t i = 0; i < sums->count; i++) {
        const struct nb_sums_entry *e = &sums->entries[i];
        size_t idle = 0;

        for (uint64_t x = 0; x < e->experts; x++) {
            c.tokens = e->tokens[x] > c.tokens ? e->tokens[x] : c.tokens;
            idle += e->tokens[x] == 0;
        }
        c.empty += idle == e->experts;
        c.experts += e->experts > 1 ? (size_t)e->experts : 0;
        c.idle_experts += e->experts > 1 ? idle : 0;
        c.columns += (size_t)(e->columns * (e->experts - idle));
        c.zero_columns += (size_t)zeros(e);
    }
    return c;
}

void
calibration_warn(const struct nb_sums *sums)
{
    for (size_t i = 0; i < sums->count; i++) {
        const struct nb_sums_entry *e = &sums->entries[i];
        const uint64_t zero = zeros(e);
        size_t idle = 0;

        for (uint64_t x = 0; x < e->experts; x++)
            idle += e->tokens[x] == 0;
        if (idle == e->experts)
            fprintf(stderr, "warning: %s: received no token\n", e->name);
        else if (idle > 0)
            fprintf(stderr, "warning: %s: %zu of %zu experts received no token\n", e->name, idle, (size_t)e->experts);
        if (zero > 0)
            fprintf(stderr, "warning: %s: %zu of %zu columns are zero\n", e->name, (size_t)zero,
                    (size_t)(e->columns * e->experts));
    }
}
