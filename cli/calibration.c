#include "cli/calibration.h"

#include "calib/coverage.h"
#include "calib/texts.h"
#include "cli/cli.h"
#include "verify/run/model.h"
#include "verify/tokenize/text_file.h"
#include "verify/tokenize/tokenize.h"

#include <stdio.h>

static enum nb_status
load_texts(struct calibration *c, const struct nb_source *source, struct nb_ids *ids, struct nb_sums *sums,
           struct nb_error *err)
{
    size_t tokens[MAX_TEXTS];
    struct nb_calibration_texts texts = { c->text, 0, c->tokenize_flags, tokens, c->most_tokens };
    const bool own_text = c->texts == 0;
    enum nb_status status;

    if (own_text) {
        c->text[0].name = cli_data_file("calibration.txt");
        c->texts = 1;
        if (c->text[0].name == NULL)
            return nb_fail(err, NB_USAGE, "the default calibration text was not found; name a text with -f");
    }
    texts.count = c->texts;
    status = nb_calibrate_tokens(source, &texts, &c->options, ids, sums, err);
    for (size_t i = 0; i < c->texts && status == NB_OK; i++)
        cli_detail("%s: %zu tokens in chunks of %u", c->text[i].name, tokens[i], (unsigned)c->options.chunk_tokens);
    if (own_text && status == NB_OK)
        cli_note("calibrated with the text that comes with nibble, calibration.txt, of %zu tokens; -f names others",
                 tokens[0]);
    return status;
}

static void
on_progress(void *context, uint32_t chunks, uint32_t of, double share)
{
    char text[CLI_TEXT];

    cli_progress_share(context, share, cli_chunks(text, chunks, of));
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
    c->options.chunk_tokens = nb_calibration_chunk(source, c->options.chunk_tokens);
    cli_warn_context(source, c->options.chunk_tokens);
    cli_note_further_layers(&model);
    cli_progress_start(&progress);
    cli_progress_say(&progress, "tokenizing");
    status = load_texts(c, source, &ids, sums, err);
    if (status == NB_OK) {
        cli_progress_start(&progress); /* the time left is of what follows */
        c->options.progress = on_progress;
        c->options.context = &progress;
        c->options.stop = cli_catch_signals();
        status = nb_calibrate(&model, ids.id, ids.count, &c->options, sums, err);
    }
    cli_progress_end(&progress);
    nb_ids_free(&ids);
    nb_model_close(&model);
    return status;
}

void
calibration_warn(const struct nb_sums *sums)
{
    for (size_t i = 0; i < sums->count; i++) {
        const struct nb_sums_entry *e = &sums->entries[i];
        const uint64_t zero = nb_coverage_zeros(e);
        size_t idle = 0;

        for (uint64_t x = 0; x < e->experts; x++)
            idle += e->tokens[x] == 0;
        if (idle == e->experts)
            cli_warn("%s: received no token", e->name);
        else if (idle > 0)
            cli_warn("%s: %zu of %zu experts received no token", e->name, idle, (size_t)e->experts);
        if (zero > 0)
            cli_warn("%s: %zu of %zu columns are zero", e->name, (size_t)zero, (size_t)(e->columns * e->experts));
    }
}
