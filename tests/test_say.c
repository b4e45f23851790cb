/*
 * What models say: tokens are run as they are given, one by one as all at once; texts end where they must, and seeds,
 * other vocabularies and broken files do what is said of them.
 */
#include "formats/base/pool.h"
#include "formats/base/status.h"
#include "formats/base/text.h"
#include "formats/models/source.h"
#include "scratch.h"
#include "testing.h"
#include "verify/run/forward.h"
#include "verify/run/model.h"
#include "verify/say/continuation.h"
#include "verify/say/endings.h"
#include "verify/say/ranking.h"
#include "verify/say/sampler.h"
#include "verify/say/speaker.h"
#include "verify/say/writer.h"
#include "verify/tokenize/tokenize.h"

#include <jansson.h>

#define SAMPLE SAMPLE_DATA "/tinystories-3m"
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static struct run run;

struct opened {
    struct nb_source source;
    struct nb_model model;
    struct nb_tokenizer *tokenizer;
    struct nb_pool *pool;
};

static void
open_model(struct opened *o, const char *path)
{
    struct nb_error err;

    assert_int_equal(nb_source_open(&o->source, path, NULL, &err), NB_OK);
    assert_int_equal(nb_model_open(&o->model, &o->source, &err), NB_OK);
    assert_int_equal(nb_tokenizer_open(&o->tokenizer, &o->source, &err), NB_OK);
    assert_int_equal(nb_pool_new(&o->pool, 2, &err), NB_OK);
}

static void
open_sample(struct opened *o)
{
    open_model(o, SAMPLE);
}

static void
close_sample(struct opened *o)
{
    nb_pool_free(o->pool);
    nb_tokenizer_close(o->tokenizer);
    nb_model_close(&o->model);
    nb_source_close(&o->source);
}

/* The logits of COUNT tokens as one chunk, from malloc. */
static float *
whole_chunk(const struct opened *o, const int32_t *ids, size_t count)
{
    const size_t vocab = nb_model_vocab(&o->model);
    float *logits = malloc(count * vocab * sizeof *logits);
    struct nb_forward *forward;
    const float *hidden;
    struct nb_error err;

    assert_non_null(logits);
    assert_int_equal(nb_forward_new(&forward, o->pool, 1, (uint32_t)count, &err), NB_OK);
    assert_int_equal(nb_forward_run(forward, &o->model, ids, -1, 1, &hidden, &err), NB_OK);
    assert_int_equal(nb_forward_logits(forward, &o->model, hidden, count, logits, &err), NB_OK);
    nb_forward_free(forward);
    return logits;
}

#define REFUSED(exit_code, says, ...)                                                                          \
    do {                                                                                                       \
        RUN(&run, __VA_ARGS__);                                                                                \
        if (run.code != (exit_code) || strstr(run.err, says) == NULL)                                          \
            fail_msg("expected code %d and '%s': code %d: %s%s", exit_code, says, run.code, run.out, run.err); \
    } while (0)

static json_t *
output(void)
{
    json_t *o = json_loads(run.out, 0, NULL);

    if (run.code != 0 || o == NULL)
        fail_msg("code %d: %s%s", run.code, run.out, run.err);
    assert_int_equal(json_integer_value(json_object_get(o, "version")), 1);
    return o;
}

static json_t *
model_of(json_t *o, size_t i)
{
    return json_array_get(json_object_get(o, "models"), i);
}

static double
number(json_t *o, const char *key)
{
    assert_true(json_is_number(json_object_get(o, key)));
    return json_number_value(json_object_get(o, key));
}

/* --- logits ------------------------------------------------------------------------------------------------------------ */

/* Nothing is put before them, and the numbers are those of one chunk. */
static void
ids_are_run_as_they_are(void **unused)
{
    static const int32_t ids[] = { 405, 428, 258, 0, 2047 };
    struct opened o;
    json_t *out, *positions;
    float *logits;

    (void)unused;
    RUN(&run, "logits", "--ids", "405, 428,258,0,2047", "--top", "3", "--at", "7,2047,0", "--json", SAMPLE);
    out = output();
    positions = json_object_get(out, "positions");
    assert_int_equal(json_array_size(positions), COUNT(ids));
    open_sample(&o);
    logits = whole_chunk(&o, ids, COUNT(ids));
    for (size_t i = 0; i < COUNT(ids); i++) {
        const size_t vocab = nb_model_vocab(&o.model);
        const float *row = logits + i * vocab;
        json_t *p = json_array_get(positions, i), *top = json_object_get(p, "top"), *at = json_object_get(p, "at");
        double sum = 0, before = INFINITY;

        assert_int_equal(json_integer_value(json_array_get(json_object_get(out, "ids"), i)), ids[i]);
        for (size_t k = 0; k < vocab; k++)
            sum += exp((double)row[k]);
        assert_true(fabs(number(p, "logsumexp") - log(sum)) < 1e-5);
        assert_int_equal(json_array_size(top), 3);
        for (size_t k = 0; k < 3; k++) {
            json_t *t = json_array_get(top, k);
            const double logit = number(t, "logit");

            assert_true(fabs(logit - (double)row[(size_t)number(t, "id")]) < 1e-5 && logit <= before);
            assert_true(fabs(number(t, "logprob") - (logit - log(sum))) < 1e-5);
            before = logit;
        }
        assert_int_equal(json_array_size(at), 3);
        assert_true(number(json_array_get(at, 1), "id") == 2047);
        assert_true(fabs(number(json_array_get(at, 1), "logit") - (double)row[2047]) < 1e-5);
    }
    free(logits);
    close_sample(&o);
    json_decref(out);
}

static void
ids_that_are_none_are_refused(void **unused)
{
    static const char *const lists[] = {
        "", ",", "1,", "1,,2", "-1", "1;2", "x", "99999999999999999999", "2147483648"
    };

    (void)unused;
    for (size_t i = 0; i < COUNT(lists); i++)
        REFUSED(2, "is not a list of ids, such as 1,2,3", "logits", "--ids", lists[i], SAMPLE);
    REFUSED(2, "token 1 is 2048, but the vocabulary has the ids from 0 to 2047", "logits", "--ids", "1,2048", SAMPLE);
    REFUSED(2, "token 0 is 2147483647", "generate", "--ids", "2147483647", SAMPLE);
    REFUSED(2, "--at: the vocabulary of", "logits", "--ids", "1", "--at", "2048", SAMPLE);
    REFUSED(2, "give a text, with one of -p, -f and --token-ids", "logits", SAMPLE);
    REFUSED(2, "give a text, with one of -p, -f and --token-ids", "generate", "-p", "a", "--ids", "1", SAMPLE);
}

static void
a_table_shows_what_json_says(void **unused)
{
    (void)unused;
    RUN(&run, "logits", "-p", "once upon", "--top", "1", "--at", "258", SAMPLE);
    assert_int_equal(run.code, 0);
    assert_non_null(strstr(run.out, "0: 2046 <|begin_of_text|>, log-sum-exp 11.5"));
    assert_non_null(strstr(run.out, "2: 428  upon, log-sum-exp"));
    assert_non_null(strstr(run.out, " at     258   a"));
}

static void
the_most_likely_come_first(void **unused)
{
    float logits[257];
    struct nb_ranked top[257];

    (void)unused;
    for (size_t n = 1; n < 258; n += 32)
        for (size_t k = 1; k <= n; k++) {
            for (size_t i = 0; i < n; i++)
                logits[i] = (float)(i * 40503u % 61) - 30; /* many are equal */
            nb_rank(logits, n, top, k);
            for (size_t i = 1; i < k; i++)
                assert_true(top[i].logit < top[i - 1].logit ||
                            (top[i].logit == top[i - 1].logit && top[i].id > top[i - 1].id));
            for (size_t i = 0; i < n; i++) {
                const bool behind = logits[i] < top[k - 1].logit ||
                                    (logits[i] == top[k - 1].logit && (int32_t)i > top[k - 1].id);
                bool found = false;

                for (size_t at = 0; at < k; at++)
                    found |= top[at].id == (int32_t)i && top[at].logit == logits[i];
                assert_true(found != behind);
            }
        }
}

/* --- generating ----------------------------------------------------------------------------------------------------- */

static enum nb_status
keep_row(void *context, size_t position, const float *row, struct nb_error *err)
{
    (void)err;
    memcpy((float *)context + position * 2048, row, 2048 * sizeof *row);
    return NB_OK;
}

/* What is said token by token is what the logits of the whole text make most likely, also beyond one batch. */
static void
greedy_text_is_that_of_whole_chunks(void **unused)
{
    static const char text[] = "once upon a time";
    const struct nb_continuation_options options = { .tokens = 60, .context = 256 };
    struct nb_continuation c;
    struct nb_ids all = { 0 };
    struct opened o;
    struct nb_error err;
    float *logits;

    (void)unused;
    open_sample(&o);
    assert_int_equal(nb_tokenize(o.tokenizer, text, strlen(text), NB_ADD_SPECIAL, &all, &err), NB_OK);
    assert_int_equal(nb_continue_text(&o.model, o.tokenizer, o.pool, &all, &options, &c, &err), NB_OK);
    assert_int_equal(c.ids.count, 60);
    assert_int_equal(c.stop, NB_STOP_LENGTH);
    all.id = realloc(all.id, (all.count + c.ids.count) * sizeof *all.id);
    assert_non_null(all.id);
    memcpy(all.id + all.count, c.ids.id, c.ids.count * sizeof *all.id);
    logits = whole_chunk(&o, all.id, all.count + c.ids.count);
    for (size_t i = 0; i < c.ids.count; i++) {
        struct nb_ranked top;

        nb_rank(logits + (all.count + i - 1) * nb_model_vocab(&o.model), nb_model_vocab(&o.model), &top, 1);
        assert_int_equal(c.ids.id[i], top.id);
    }
    free(logits);
    nb_ids_free(&all);
    nb_continuation_free(&c);
    close_sample(&o);
}

/* Of a file of each type that is multiplied in its own way: token by token as all at once. */
static void
one_token_is_run_like_many(void **unused)
{
    static const char *const recipes[] = { "f32",  "bf16", "q4_0",   "q4_1",   "q5_0",   "q5_1",
                                           "q8_0", "q2_k", "q3_k_m", "q4_k_m", "q5_k_m", "q6_k" };
    enum { TOKENS = 20 };
    static int32_t ids[TOKENS];
    static float found[TOKENS * 2048];

    (void)unused;
    for (size_t i = 0; i < TOKENS; i++)
        ids[i] = (int32_t)(i * 40503u % 2046);
    for (size_t r = 0; r < COUNT(recipes); r++) {
        struct nb_speaker speaker;
        struct opened o;
        struct nb_error err;
        double worst = 0;
        float *expected;

        RUN(&run, "quantize", SAMPLE, "-t", recipes[r], "-o", "one.gguf", "--force");
        assert_int_equal(run.code, 0);
        open_model(&o, scratch_path("one.gguf"));
        expected = whole_chunk(&o, ids, TOKENS);
        assert_int_equal(nb_speaker_open(&speaker, &o.model, o.pool, 1, TOKENS, &err), NB_OK);
        for (size_t i = 0; i < TOKENS; i++)
            assert_int_equal(nb_speaker_read(&speaker, &ids[i], 1, keep_row, found, &err), NB_OK);
        for (size_t i = 0; i < COUNT(found); i++)
            worst = fmax(worst, fabs((double)found[i] - (double)expected[i]));
        if (!(worst < 1e-4))
            fail_msg("%s: off by %g", recipes[r], worst);
        nb_speaker_close(&speaker);
        free(expected);
        close_sample(&o);
    }
}

/* To the bit: matrices that stay in memory, in part or not at all. */
static void
what_is_kept_changes_nothing(void **unused)
{
    static const uint64_t limits[] = { UINT64_MAX, 0, 1, (uint64_t)8 << 20 };
    static float first[2048], found[2048];
    const int32_t ids[] = { 405, 428, 258, 383 };
    struct opened o;
    struct nb_error err;

    (void)unused;
    open_model(&o, SAMPLE);
    for (size_t l = 0; l < COUNT(limits); l++) {
        struct nb_forward *forward;
        const float *hidden;

        assert_int_equal(nb_forward_new_text(&forward, o.pool, 1, COUNT(ids), &err), NB_OK);
        nb_forward_keep(forward, limits[l]);
        for (size_t i = 0; i < COUNT(ids); i++) {
            assert_int_equal(nb_forward_continue(forward, &o.model, &ids[i], 1, &hidden, &err), NB_OK);
            assert_int_equal(nb_forward_logits(forward, &o.model, hidden, 1, l == 0 ? first : found, &err), NB_OK);
        }
        assert_true(l == 0 || memcmp(first, found, sizeof first) == 0);
        nb_forward_free(forward);
    }
    close_sample(&o);
}

enum { WRITTEN = 70, WRITTEN_LENGTH = 24 }; /* more texts than are written at once */

static void
write_texts(const struct opened *o, uint64_t seed, int32_t *ids)
{
    volatile size_t done = 0;
    const struct nb_writing w = { .texts = WRITTEN, .length = WRITTEN_LENGTH, .seed = seed, .done = &done };
    struct nb_error err;

    assert_true(nb_texts_at_once(&o->model, &w) < WRITTEN);
    if (nb_write_texts(&o->model, o->tokenizer, o->pool, &w, ids, &err) != NB_OK)
        fail_msg("%s", err.message);
    assert_int_equal(done, WRITTEN * WRITTEN_LENGTH);
}

/* The mean, over the tokens of a text but the first two, of the logarithm of the model's probability. */
static double
likelihood(const struct opened *o, const int32_t *ids)
{
    const size_t vocab = nb_model_vocab(&o->model);
    double sum = 0;

    for (size_t t = 0; t < WRITTEN; t++) {
        const int32_t *text = ids + t * WRITTEN_LENGTH;
        float *logits = whole_chunk(o, text, WRITTEN_LENGTH);

        for (size_t i = 1; i + 1 < WRITTEN_LENGTH; i++) {
            const float *row = logits + i * vocab;
            double all = 0;

            for (size_t k = 0; k < vocab; k++)
                all += exp((double)row[k]);
            sum += (double)row[text[i + 1]] - log(all);
        }
        free(logits);
    }
    return sum / (WRITTEN * (WRITTEN_LENGTH - 2));
}

/* What is drawn by a model's probabilities is likely for it; the same tokens in another order are not. */
static void
a_model_writes_what_it_finds_likely(void **unused)
{
    static int32_t first[WRITTEN * WRITTEN_LENGTH], again[WRITTEN * WRITTEN_LENGTH], other[WRITTEN * WRITTEN_LENGTH];
    struct opened o;
    struct nb_error err;
    double written, shuffled;

    (void)unused;
    open_sample(&o);
    write_texts(&o, 1, first);
    nb_pool_free(o.pool);
    assert_int_equal(nb_pool_new(&o.pool, 1, &err), NB_OK);
    write_texts(&o, 1, again);
    assert_memory_equal(first, again, sizeof first);
    write_texts(&o, 2, other);
    assert_memory_not_equal(first, other, sizeof first);
    for (size_t i = 0; i < COUNT(first); i++) {
        const size_t text = i / WRITTEN_LENGTH, at = i % WRITTEN_LENGTH;

        assert_true(first[i] >= 0 && (uint32_t)first[i] < nb_model_vocab(&o.model));
        assert_true(at > 0 || first[i] == first[0] || nb_tokenizer_vocabulary(o.tokenizer)->bos < 0);
        other[i] = first[text * WRITTEN_LENGTH + WRITTEN_LENGTH - 1 - at];
    }
    written = likelihood(&o, first);
    shuffled = likelihood(&o, other);
    if (!(written > shuffled + 2))
        fail_msg("written: %g, backwards: %g", written, shuffled);
    close_sample(&o);
}

/* More tokens than are run at once: the logits are those of one chunk. */
static void
a_text_of_several_batches_is_one_text(void **unused)
{
    enum { TOKENS = 1100 };
    static int32_t ids[TOKENS];
    float *expected, *found = malloc(TOKENS * (size_t)2048 * sizeof *found);
    struct nb_speaker speaker;
    struct opened o;
    struct nb_error err;
    double worst = 0;

    (void)unused;
    assert_non_null(found);
    for (size_t i = 0; i < TOKENS; i++)
        ids[i] = (int32_t)(i * 40503u % 2046);
    open_sample(&o);
    expected = whole_chunk(&o, ids, TOKENS);
    assert_int_equal(nb_speaker_open(&speaker, &o.model, o.pool, TOKENS, TOKENS, &err), NB_OK);
    assert_int_equal(nb_speaker_read(&speaker, ids, TOKENS, keep_row, found, &err), NB_OK);
    for (size_t i = 0; i < TOKENS * (size_t)2048; i++)
        worst = fmax(worst, fabs((double)found[i] - (double)expected[i]));
    assert_true(worst < 1e-4);
    assert_int_equal(nb_speaker_read(&speaker, ids, 1, NULL, NULL, &err), NB_USAGE);
    assert_non_null(strstr(err.message, "exceeds the context"));
    nb_speaker_close(&speaker);
    free(expected);
    free(found);
    close_sample(&o);
}

/* Also on another number of threads. */
static void
a_seed_reproduces_the_text(void **unused)
{
    static char first[sizeof run.out];

    (void)unused;
    RUN(&run, "generate", "-p", "once", "-n", "40", "--temp", "1", "--seed", "5", SAMPLE);
    assert_int_equal(run.code, 0);
    assert_true(strlen(run.out) > 80 && strncmp(run.out, "once", 4) == 0);
    strcpy(first, run.out);
    RUN(&run, "generate", "-p", "once", "-n", "40", "--temp", "1", "--seed", "5", "-j", "1", SAMPLE);
    assert_string_equal(run.out, first);
    RUN(&run, "generate", "-p", "once", "-n", "40", "--temp", "1", "--seed", "6", SAMPLE);
    assert_string_not_equal(run.out, first);
    RUN(&run, "generate", "-p", "once", "-n", "40", "--temp", "0", "--seed", "6", SAMPLE);
    strcpy(first, run.out);
    RUN(&run, "generate", "-p", "once", "-n", "40", SAMPLE);
    assert_string_equal(run.out, first);
}

static void
tokens_are_drawn_as_often_as_they_are_likely(void **unused)
{
    static const float logits[] = { 1, 0, -30, 2.5f, 1 };
    enum { DRAWS = 40000 };
    struct nb_sampler sampler = { 2, 7 };
    size_t drawn[COUNT(logits)] = { 0 };
    double sum = 0;

    (void)unused;
    for (size_t i = 0; i < DRAWS; i++)
        drawn[nb_sample(&sampler, logits, COUNT(logits))]++;
    for (size_t i = 0; i < COUNT(logits); i++)
        sum += exp((double)logits[i] / 2);
    for (size_t i = 0; i < COUNT(logits); i++)
        assert_true(fabs((double)drawn[i] / DRAWS - exp((double)logits[i] / 2) / sum) < 0.01);
    assert_int_equal(drawn[2], 0);
    sampler.temperature = 1e-300;
    assert_int_equal(nb_sample(&sampler, logits, COUNT(logits)), 3);
    sampler.temperature = INFINITY;
    assert_in_range(nb_sample(&sampler, logits, COUNT(logits)), 0, COUNT(logits) - 1);
}

/* Two texts beside each other need 51 columns; on fewer they stand in turn, and no line is cut by the terminal. */
static void
texts_fit_into_a_narrow_terminal(void **unused)
{
    static const char *const args[] = { "generate", "-q", "-p", "once", "-n", "24", SAMPLE, SAMPLE, NULL };
    static const int widths[] = { 45, 60 };

    (void)unused;
    for (size_t i = 0; i < COUNT(widths); i++) {
        const char *texts = run.out;
        size_t longest = 0;

        if (!run_on_terminal(&run, widths[i], "dumb", args))
            skip();
        assert_int_equal(run.code, 0);
        for (const char *line = texts; *line != '\0'; line += strcspn(line, "\n") + 1) {
            const size_t length = strcspn(line, "\n");

            if (strstr(line, "says the same") == NULL || line[length] == '\0')
                break; /* what follows wraps */
            if (strstr(line, "says the same") > line + length)
                longest = length > longest ? length : longest;
        }
        assert_true(longest > 20 && longest <= (size_t)widths[i]);
    }
}

/* --- where a text ends ----------------------------------------------------------------------------------------------- */

static void
a_text_ends_where_the_model_ends_it(void **unused)
{
    char eot[64];
    json_t *o;

    (void)unused;
    RUN(&run, "quantize", SAMPLE, "-t", "f16", "-o", "ends.gguf");
    assert_int_equal(run.code, 0);
    RUN(&run, "generate", "-p", "once upon a time", "-n", "12", "--json", "ends.gguf");
    o = output();
    assert_string_equal(json_string_value(json_object_get(model_of(o, 0), "stopped_by")), "length");
    assert_int_equal(json_array_size(json_object_get(model_of(o, 0), "ids")), 12);
    assert_string_equal(json_string_value(json_object_get(model_of(o, 0), "text")),
                        ", there was a little girl named lily. she loved to");
    snprintf(eot, sizeof eot, "eot=%d",
             (int)json_integer_value(json_array_get(json_object_get(model_of(o, 0), "ids"), 5)));
    json_decref(o);
    RUN(&run, "edit", "--special-token", eot, "ends.gguf"); /* " girl": an end that is not eos */
    assert_int_equal(run.code, 0);
    RUN(&run, "generate", "-p", "once upon a time", "-n", "12", "--json", "ends.gguf");
    o = output();
    assert_string_equal(json_string_value(json_object_get(model_of(o, 0), "stopped_by")), "end");
    assert_string_equal(json_string_value(json_object_get(model_of(o, 0), "text")), ", there was a little");
    json_decref(o);
}

static void
ends_of_messages_end_no_text_of_several(void **unused)
{
    static struct nb_token tokens[] = { { "a", 1, NB_TOKEN_NORMAL, 0 },
                                        { "<|end|>", 7, NB_TOKEN_CONTROL, 0 },
                                        { NULL, 0, NB_TOKEN_UNUSED, 0 },
                                        { "<|call|>", 8, NB_TOKEN_CONTROL, 0 },
                                        { "<|return|>", 10, NB_TOKEN_CONTROL, 0 } };
    struct nb_vocabulary v = { .tokens = tokens, .size = 4 };
    const struct nb_metadata none = { 0 };
    struct nb_endings e;

    (void)unused;
    nb_endings_find(&e, &none, &v);
    assert_true(nb_ends(&e, 1) && nb_ends(&e, 3) && !nb_ends(&e, 0) && !nb_ends(&e, 2));
    v.size = 5;
    nb_endings_find(&e, &none, &v);
    assert_true(!nb_ends(&e, 1) && nb_ends(&e, 3) && nb_ends(&e, 4));
}

static void
a_context_is_never_exceeded(void **unused)
{
    json_t *o;

    (void)unused;
    REFUSED(2, "the prompt has 4 tokens, which leaves no room in a context of 4", "generate", "--ids", "1,2,3,4", "-c",
            "4", SAMPLE);
    RUN(&run, "generate", "--ids", "405,428,258", "-c", "10", "--json", SAMPLE);
    assert_non_null(strstr(run.err, "its context of 10 tokens is full"));
    o = output();
    assert_int_equal(json_array_size(json_object_get(model_of(o, 0), "ids")), 7);
    assert_string_equal(json_string_value(json_object_get(model_of(o, 0), "stopped_by")), "context");
    json_decref(o);
    RUN(&run, "generate", "--ids", "405,428,258", "-c", "10", "-n", "7", "--json", SAMPLE);
    o = output();
    assert_string_equal(json_string_value(json_object_get(model_of(o, 0), "stopped_by")), "length");
    json_decref(o);
    REFUSED(2, "leaves no room in a context of 256", "generate", "-f", SAMPLE_DATA "/tinystories-valid.txt", SAMPLE);
}

static void
a_prompt_of_nothing_is_refused(void **unused)
{
    (void)unused;
    tiny_checkpoint("tiny"); /* it has no token that begins a text */
    REFUSED(2, "the prompt has no tokens, and there is nothing to begin with", "generate", "-p", "", "tiny");
    REFUSED(2, "the text has no tokens", "logits", "-p", "", "tiny");
    RUN(&run, "generate", "-p", "", "-n", "3", SAMPLE); /* this one does */
    assert_int_equal(run.code, 0);
}

/* --- files that do not do ---------------------------------------------------------------------------------------------- */

static void
a_model_without_a_vocabulary_is_refused(void **unused)
{
    (void)unused;
    RUN(&run, "quantize", SAMPLE, "-t", "f16", "-o", "mute.gguf");
    assert_int_equal(run.code, 0);
    RUN(&run, "edit", "--remove", "tokenizer.ggml.tokens", "mute.gguf");
    assert_int_equal(run.code, 0);
    REFUSED(3, "has no vocabulary", "generate", "-p", "once", "mute.gguf");
    REFUSED(3, "has no vocabulary", "logits", "--ids", "1", "mute.gguf");
}

/* Ids need no tokenizer: a file whose pre-tokenizer nobody knows can still be run. */
static void
a_tokenizer_that_cannot_be_read_is_no_hindrance_to_ids(void **unused)
{
    (void)unused;
    RUN(&run, "quantize", SAMPLE, "-t", "f16", "-o", "odd.gguf");
    assert_int_equal(run.code, 0);
    RUN(&run, "edit", "--set", "tokenizer.ggml.pre=str:unheard-of", "odd.gguf");
    assert_int_equal(run.code, 0);
    REFUSED(3, "unheard-of", "logits", "-p", "once", "odd.gguf");
    REFUSED(0, "tokens are shown without their texts", "logits", "--ids", "405", "odd.gguf");
    RUN(&run, "logits", "--ids", "405", "--json", "odd.gguf");
    json_decref(output());
}

static void
logits_that_are_no_numbers_are_refused(void **unused)
{
    struct nb_speaker speaker;
    struct opened o;
    struct nb_error err;
    const int32_t id = 405;

    (void)unused;
    open_sample(&o);
    nb_hp_set(&o.model.hp, NB_HP_LOGIT_SCALE, 3e38, false);
    assert_int_equal(nb_speaker_open(&speaker, &o.model, o.pool, 1, 1, &err), NB_OK);
    assert_int_equal(nb_speaker_read(&speaker, &id, 1, NULL, NULL, &err), NB_INPUT);
    assert_non_null(strstr(err.message, "its logits are NaN or infinite after token 0"));
    nb_speaker_close(&speaker);
    close_sample(&o);
}

/* --- several models ------------------------------------------------------------------------------------------------------ */

#define WIDE "a-name-of-more-columns-than-half-a-line-has-room-for.gguf"

static void
the_first_other_token_is_marked(void **unused)
{
    json_t *o, *a, *b;
    size_t same = 0, agrees;

    (void)unused;
    RUN(&run, "quantize", SAMPLE, "-t", "q2_k", "-o", "q2.gguf");
    assert_int_equal(run.code, 0);
    RUN(&run, "generate", "-p", "once upon a time", "--json", SAMPLE, "q2.gguf");
    o = output();
    a = json_object_get(model_of(o, 0), "ids");
    b = json_object_get(model_of(o, 1), "ids");
    while (json_equal(json_array_get(a, same), json_array_get(b, same)))
        same++;
    agrees = (size_t)json_integer_value(json_object_get(model_of(o, 1), "agrees"));
    assert_true(agrees == same && same > 0 && same < 64);
    assert_null(json_object_get(model_of(o, 0), "agrees"));
    json_decref(o);
    RUN(&run, "generate", "-p", "once upon a time", SAMPLE, "q2.gguf");
    assert_int_equal(run.code, 0);
    assert_non_null(strstr(run.out, ">>"));
    assert_non_null(strstr(run.out, "<<"));
    assert_non_null(strstr(run.out, "q2.gguf says the same as"));
    for (const char *line = run.out; *line != '\0'; line += strcspn(line, "\n") + 1)
        if (strcspn(line, "\n") > 80 && strstr(line, "says the same") == NULL)
            fail_msg("a line is too long: %s", line);
    assert_int_equal(rename(scratch_path("q2.gguf"), scratch_path(WIDE)), 0);
    RUN(&run, "generate", "-n", "2", "-p", "once upon a time", SAMPLE, WIDE);
    assert_int_equal(run.code, 0);
    assert_true(strcspn(run.out, "\n") <= 80);
    RUN(&run, "generate", "-n", "2", "-p", "once upon a time", WIDE, WIDE, WIDE, WIDE); /* too many for columns */
    assert_non_null(strstr(run.out, "\n\n" WIDE "\n"));
    RUN(&run, "generate", "-p", "once upon a time", SAMPLE, SAMPLE);
    assert_null(strstr(run.out, ">>"));
    assert_non_null(strstr(run.out, ": 64 tokens\n"));
}

static void
other_vocabularies_are_compared_by_their_texts(void **unused)
{
    json_t *o;

    (void)unused;
    tiny_checkpoint("tiny");
    RUN(&run, "generate", "--ids", "5", "-n", "4", SAMPLE, "tiny");
    assert_int_equal(run.code, 0);
    assert_non_null(strstr(run.err, "has other tokens than"));
    RUN(&run, "generate", "--ids", "5", "-n", "4", "--json", SAMPLE, "tiny");
    o = output();
    assert_int_equal(json_array_size(json_object_get(o, "models")), 2);
    assert_true(json_is_integer(json_object_get(model_of(o, 1), "agrees")));
    json_decref(o);
    REFUSED(2, "tiny: token 0 is 2000", "generate", "--ids", "2000", SAMPLE, "tiny"); /* which only the first one has */
}

static void
what_is_said_cannot_give_orders(void **unused)
{
    (void)unused;
    RUN(&run, "generate", "-p", "once\x1B[31m\n\xE2\x80\xAE", "-n", "2", SAMPLE);
    assert_int_equal(run.code, 0);
    assert_int_equal(strncmp(run.out, "once\\x1B[31m\n\\u{202E}", strlen("once\\x1B[31m\n\\u{202E}")), 0);
}

static void
characters_are_shown_whole(void **unused)
{
    static const struct {
        const char *text;
        size_t whole;
    } cases[] = {
        { "", 0 },
        { "a", 1 },
        { "a\xC3", 1 },
        { "a\xC3\xA9", 3 },
        { "\xE2\x82", 0 },
        { "\xE2\x82\xAC", 3 },
        { "x\xF0\x9F\x98", 1 },
        { "x\xF0\x9F\x98\x80", 5 },
        { "\x80\x80\x80\x80\x80", 5 }, /* no character begins here */
        { "\xFF", 1 },
        { "\xC0", 1 },
    };

    (void)unused;
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_int_equal(nb_utf8_whole(cases[i].text, strlen(cases[i].text)), cases[i].whole);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_run_as_they_are),
        cmocka_unit_test(ids_that_are_none_are_refused),
        cmocka_unit_test(a_table_shows_what_json_says),
        cmocka_unit_test(the_most_likely_come_first),
        cmocka_unit_test(greedy_text_is_that_of_whole_chunks),
        cmocka_unit_test(a_model_writes_what_it_finds_likely),
        cmocka_unit_test(a_text_of_several_batches_is_one_text),
        cmocka_unit_test(one_token_is_run_like_many),
        cmocka_unit_test(what_is_kept_changes_nothing),
        cmocka_unit_test(a_seed_reproduces_the_text),
        cmocka_unit_test(tokens_are_drawn_as_often_as_they_are_likely),
        cmocka_unit_test(a_text_ends_where_the_model_ends_it),
        cmocka_unit_test(ends_of_messages_end_no_text_of_several),
        cmocka_unit_test(a_context_is_never_exceeded),
        cmocka_unit_test(a_prompt_of_nothing_is_refused),
        cmocka_unit_test(a_model_without_a_vocabulary_is_refused),
        cmocka_unit_test(a_tokenizer_that_cannot_be_read_is_no_hindrance_to_ids),
        cmocka_unit_test(logits_that_are_no_numbers_are_refused),
        cmocka_unit_test(texts_fit_into_a_narrow_terminal),
        cmocka_unit_test(the_first_other_token_is_marked),
        cmocka_unit_test(other_vocabularies_are_compared_by_their_texts),
        cmocka_unit_test(what_is_said_cannot_give_orders),
        cmocka_unit_test(characters_are_shown_whole),
    };

    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
