/* nibble.h: running a model. Tokens, logits and what is said hold together, and a caller's mistakes change nothing. */
#include "public_calls.h"
#include "scratch.h"
#include "testing.h"

#define SAMPLE SAMPLE_DATA "/tinystories-3m"
#define PROMPT "once upon a time"
#define ROOM 64

static struct nibble_source *source;
static struct nibble_model *model;
static int32_t prompt[ROOM];
static size_t prompt_tokens;

static float *
row(void)
{
    float *logits = calloc(nibble_model_vocabulary(model), sizeof *logits);

    assert_non_null(logits);
    return logits;
}

static size_t
likeliest(const float *logits)
{
    size_t best = 0;

    for (size_t i = 1; i < nibble_model_vocabulary(model); i++)
        best = logits[i] > logits[best] ? i : best;
    return best;
}

/* What is said without a temperature is the likeliest token each time, read one by one or many at once. */
static void
what_is_said_is_what_logits_make_likely(void **unused)
{
    struct nibble_generate_options options;
    int32_t said[8], again[8];
    size_t n, n_again;
    float *logits = row(), *at_once = row();

    (void)unused;
    NIBBLE_INIT(options);
    options.max_tokens = 8;
    MUST(nibble_generate(model, prompt, prompt_tokens, &options, said, &n, &error));
    assert_int_equal(n, 8);
    MUST(nibble_model_restart(model, &error));
    MUST(nibble_model_read(model, prompt, prompt_tokens, logits, &error));
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(likeliest(logits), said[i]);
        MUST(nibble_model_read(model, &said[i], 1, logits, &error));
    }
    MUST(nibble_generate(model, prompt, prompt_tokens, &options, again, &n_again,
                         &error)); /* what was read does not matter */
    assert_memory_equal(said, again, sizeof said);
    MUST(nibble_model_restart(model, &error));
    MUST(nibble_model_read(model, prompt, prompt_tokens, NULL, &error));
    MUST(nibble_model_read(model, said, 8, at_once, &error));
    for (size_t i = 0; i < nibble_model_vocabulary(model); i++)
        assert_true(fabsf(logits[i] - at_once[i]) < 1e-3F);
    free(logits);
    free(at_once);
}

static void
tokens_and_texts_come_back(void **unused)
{
    int32_t ids[ROOM];
    char text[ROOM];
    size_t n, length, few;

    (void)unused;
    MUST(nibble_model_tokens(model, PROMPT, strlen(PROMPT), false, ids, ROOM, &n, &error));
    assert_int_equal(n, prompt_tokens - 1); /* without BOS */
    MUST(nibble_model_text(model, ids, n, text, sizeof text, &length, &error));
    assert_int_equal(length, strlen(PROMPT));
    assert_memory_equal(text, PROMPT, length);
    MUST(nibble_model_text(model, prompt, prompt_tokens, text, sizeof text, &length, &error)); /* BOS has no text */
    assert_int_equal(length, strlen(PROMPT));

    memset(ids, 0xEE, sizeof ids);
    memset(text, 'x', sizeof text);
    MUST(nibble_model_tokens(model, PROMPT, strlen(PROMPT), true, ids, 2, &few, &error));
    assert_true(few == prompt_tokens && ids[0] == prompt[0] && ids[1] == prompt[1] && ids[2] == (int32_t)0xEEEEEEEE);
    MUST(nibble_model_text(model, prompt, prompt_tokens, text, 3, &length, &error));
    assert_true(length == strlen(PROMPT) && memcmp(text, "oncx", 4) == 0);
    MUST(nibble_model_tokens(model, "", 0, false, NULL, 0, &n, &error));
    assert_int_equal(n, 0);
    REFUSED(NIBBLE_INVALID, nibble_model_tokens(model, "\xFF", 1, false, ids, ROOM, &n, &error));
}

/* A read that is refused has read nothing: the next one goes on where the last good one ended. */
static void
mistakes_change_nothing(void **unused)
{
    const int32_t bad[] = { 1, -1 }, none = (int32_t)nibble_model_vocabulary(model);
    struct nibble_model_options options;
    struct nibble_model *small;
    int32_t said[ROOM];
    size_t n;
    char text[8];
    float *before = row(), *after = row();

    (void)unused;
    MUST(nibble_model_restart(model, &error));
    MUST(nibble_model_read(model, prompt, prompt_tokens, before, &error));
    MUST(nibble_model_restart(model, &error));
    MUST(nibble_model_read(model, prompt, prompt_tokens - 1, NULL, &error));
    REFUSED(NIBBLE_USAGE, nibble_model_read(model, bad, 2, NULL, &error));
    REFUSED(NIBBLE_USAGE, nibble_model_read(model, &none, 1, NULL, &error));
    REFUSED(NIBBLE_USAGE, nibble_model_read(model, bad, 0, NULL, &error));
    MUST(nibble_model_read(model, &prompt[prompt_tokens - 1], 1, after, &error));
    for (size_t i = 0; i < nibble_model_vocabulary(model); i++)
        assert_true(fabsf(before[i] - after[i]) < 1e-3F);
    REFUSED(NIBBLE_USAGE, nibble_model_text(model, bad, 2, text, sizeof text, &n, &error));
    REFUSED(NIBBLE_USAGE, nibble_generate(model, prompt, 0, NULL, said, &n, &error));
    REFUSED(NIBBLE_USAGE, nibble_generate(model, bad, 2, NULL, said, &n, &error));
    assert_int_equal(n, 0);

    NIBBLE_INIT(options);
    options.context = 6;
    MUST(nibble_model_open(source, &options, &small, &error));
    REFUSED(NIBBLE_USAGE, nibble_model_read(small, (const int32_t[7]){ 1 }, 7, NULL, &error));
    MUST(nibble_generate(small, prompt, 4, NULL, said, &n, &error));
    assert_int_equal(n, 2); /* the context is full */
    REFUSED(NIBBLE_USAGE, nibble_generate(small, (const int32_t[6]){ 1 }, 6, NULL, said, &n, &error));
    nibble_model_close(small);
    nibble_model_close(NULL);
    free(before);
    free(after);
}

static int
stop_at_third(void *context, int32_t id)
{
    int *calls = context;

    assert_true(id >= 0);
    return ++*calls == 3;
}

static void
saying_can_be_stopped(void **unused)
{
    struct nibble_generate_options options;
    int32_t said[ROOM];
    int calls = 0;
    size_t n;

    (void)unused;
    NIBBLE_INIT(options);
    options.say = stop_at_third;
    options.context = &calls;
    REFUSED(NIBBLE_INTERRUPTED, nibble_generate(model, prompt, prompt_tokens, &options, said, &n, &error));
    assert_true(n == 3 && calls == 3);
    options.max_tokens = 3;
    calls = 0;
    REFUSED(NIBBLE_INTERRUPTED, nibble_generate(model, prompt, prompt_tokens, &options, said, &n, &error));
    options.say = NULL;
    MUST(nibble_generate(model, prompt, prompt_tokens, &options, said, &n, &error)); /* and goes on */
    options.temperature = -1;
    REFUSED(NIBBLE_USAGE, nibble_generate(model, prompt, prompt_tokens, &options, said, &n, &error));
    options.temperature = 2;
    options.seed = 1;
    MUST(nibble_generate(model, prompt, prompt_tokens, &options, said, &n, &error));
}

static int
setup(void **state)
{
    const int failed = scratch_setup(state);

    source = open_source(SAMPLE);
    MUST(nibble_model_open(source, NULL, &model, &error));
    MUST(nibble_model_tokens(model, PROMPT, strlen(PROMPT), true, prompt, ROOM, &prompt_tokens, &error));
    assert_int_equal(prompt_tokens, 5);
    return failed;
}

static int
teardown(void **state)
{
    nibble_model_close(model);
    nibble_source_close(source);
    return scratch_teardown(state);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_said_is_what_logits_make_likely),
        cmocka_unit_test(tokens_and_texts_come_back),
        cmocka_unit_test(mistakes_change_nothing),
        cmocka_unit_test(saying_can_be_stopped),
    };

    NIBBLE_INIT(error);
    return cmocka_run_group_tests(tests, setup, teardown);
}
