#include "calib/written_text.h"

#include "calib/texts.h"
#include "formats/base/checked.h"
#include "formats/base/text.h"
#include "verify/run/model.h"
#include "verify/say/continuation.h"
#include "verify/say/writer.h"
#include "verify/tokenize/repair_utf8.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEED 1u
#define REPLACEMENT "\xEF\xBF\xBD" /* U+FFFD, for bytes that are no characters */
#define BETWEEN "\n\n"

struct run {
    struct nb_model model;
    struct nb_tokenizer *tokenizer;
    struct nb_writing writing;
    const struct nb_step_watch *step_watch;
    struct nb_pool *pool;
    struct nb_pool_watch watch;
    volatile sig_atomic_t break_off;
    volatile size_t done; /* tokens */
    int32_t *ids;
};

static void
look(void *context)
{
    struct run *r = context;
    const struct nb_step_watch *w = r->step_watch;

    if (w->progress != NULL)
        w->progress(w->context, "the model writes a text",
                    (double)r->done / ((double)r->writing.texts * (double)r->writing.length));
    if (w->stop != NULL && *w->stop)
        r->break_off = 1;
}

/* What is between two U+FFFD, without them. */
static size_t
take_out_replacements(char *text, size_t length)
{
    const size_t n = strlen(REPLACEMENT);
    size_t kept = 0;

    for (size_t i = 0; i < length;) {
        if (length - i >= n && memcmp(text + i, REPLACEMENT, n) == 0)
            i += n;
        else
            text[kept++] = text[i++];
    }
    return kept;
}

/* Writes the text of the tokens at IDS to F; what is no UTF-8 is left out. False if memory is out. */
static bool
write_text(const struct run *r, const int32_t *ids, FILE *f)
{
    size_t length, clean_length = 0;
    char *clean = NULL, *seen = NULL, *text = nb_text_of(r->tokenizer, ids, r->writing.length, &length);
    const bool good = text != NULL && nb_repair_utf8(text, length, &clean, &seen, &clean_length);

    if (good) {
        fwrite(clean, 1, take_out_replacements(clean, clean_length), f);
        fputs(BETWEEN, f);
    }
    free(text);
    free(clean);
    free(seen);
    return good;
}

/* The texts of the tokens, one after another. */
static enum nb_status
join_texts(const struct run *r, struct nb_text *out, struct nb_error *err)
{
    char *text = NULL;
    size_t length = 0;
    FILE *f = open_memstream(&text, &length);
    bool good = f != NULL;

    for (size_t i = 0; i < r->writing.texts && good; i++)
        good = write_text(r, r->ids + i * r->writing.length, f);
    good = f != NULL && fclose(f) == 0 && good;
    if (!good) {
        free(text);
        return nb_fail_memory(err);
    }
    *out = (struct nb_text){ NB_WRITTEN_TEXT, text, length };
    return NB_OK;
}

/* Says what it will take. */
static void
say_needs(const struct run *r)
{
    char memory[32], sentence[160];

    if (r->step_watch->note == NULL)
        return;
    snprintf(sentence, sizeof sentence,
             "the model first writes %" PRIu64 " tokens, %" PRIu32 " texts at a time, which takes %s of memory",
             (uint64_t)r->writing.texts * r->writing.length, nb_texts_at_once(&r->model, &r->writing),
             nb_scaled(memory, sizeof memory, (double)nb_writing_bytes(&r->model, &r->writing), "B"));
    r->step_watch->note(r->step_watch->context, sentence);
}

static enum nb_status
write_it(struct run *r, const struct nb_written_text_options *o, struct nb_text *text, struct nb_error *err)
{
    enum nb_status status = nb_pool_new(&r->pool, o->threads, err);

    if (status != NB_OK)
        return status;
    r->watch = (struct nb_pool_watch){ look, r, &r->break_off };
    nb_pool_watch(r->pool, &r->watch);
    r->writing.done = &r->done;
    r->ids = nb_malloc((uint64_t)r->writing.texts * r->writing.length * sizeof *r->ids);
    status = r->ids == NULL ? nb_fail_memory(err)
                            : nb_write_texts(&r->model, r->tokenizer, r->pool, &r->writing, r->ids, err);
    if (status == NB_OK)
        status = join_texts(r, text, err);
    free(r->ids);
    nb_pool_free(r->pool);
    return status;
}

enum nb_status
nb_written_text(const struct nb_source *source, const struct nb_written_text_options *o, struct nb_text *text,
                struct nb_error *err)
{
    struct run r = { .step_watch = &o->watch };
    enum nb_status status = nb_tokenizer_open(&r.tokenizer, source, err);

    if (status != NB_OK)
        return status;
    r.writing.length = nb_calibration_chunk(source, o->chunk_tokens);
    /* A tenth more, since the text is cut into chunks again, by tokens that may be fewer. */
    r.writing.texts = (uint32_t)(((uint64_t)o->tokens + o->tokens / 10) / r.writing.length + 2);
    r.writing.seed = SEED;
    status = nb_model_open(&r.model, source, err);
    if (status == NB_OK) {
        say_needs(&r);
        status = write_it(&r, o, text, err);
        nb_model_close(&r.model);
    }
    nb_tokenizer_close(r.tokenizer);
    return status;
}
