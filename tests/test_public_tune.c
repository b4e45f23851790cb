/* nibble.h: types and blocks by a text. What contradicts itself is refused before any work, and a stop leaves what goes on. */
#include "public_calls.h"
#include "scratch.h"
#include "testing.h"

#define SAMPLE SAMPLE_DATA "/tinystories-3m"
#define TEXT SAMPLE_DATA "/tinystories-valid.txt"

static struct nibble_text text;
static struct nibble_quantize_options options;
static struct nibble_tune_options tune;
static struct nibble_source *source;

static void
begin(void)
{
    NIBBLE_INIT(options);
    NIBBLE_INIT(tune);
    text = (struct nibble_text){ TEXT, NULL, 0 };
    tune.text = &text;
    tune.chunk_tokens = 64;
}

#define TUNE_REFUSED(code, words)                                                                        \
    do {                                                                                                 \
        REFUSED(code, nibble_tune(source, scratch_path("x.gguf"), &options, &tune, NULL, NULL, &error)); \
        error_says(words);                                                                               \
        assert_false(scratch_exists(scratch_path("x.gguf")));                                            \
        begin();                                                                                         \
    } while (0)

static void
what_contradicts_itself_is_refused(void **unused)
{
    const char *const types[] = { "q4_K", "q9" };
    const uint64_t layer = 1;

    (void)unused;
    begin();
    tune.target_bpw = 4;
    tune.max_kld = 0.1;
    TUNE_REFUSED(NIBBLE_USAGE, "exclude each other");
    tune.like = "a.gguf";
    tune.target_bytes = 1;
    TUNE_REFUSED(NIBBLE_USAGE, "exclude each other");
    tune.target_bytes = 2000000;
    options.recipe = "Q4_K_M";
    TUNE_REFUSED(NIBBLE_USAGE, "recipe and pure");
    tune.effects = "effects.json";
    TUNE_REFUSED(NIBBLE_USAGE, "need target_bytes");
    tune.refine = true;
    options.prune_layers = &layer;
    options.n_prune_layers = 1;
    TUNE_REFUSED(NIBBLE_USAGE, "prune_layers");
    tune.calibrate = true;
    options.imatrix = "a.imatrix";
    TUNE_REFUSED(NIBBLE_USAGE, "exclude each other");
    tune.target_bpw = 5;
    tune.types = types;
    tune.n_types = 2;
    TUNE_REFUSED(NIBBLE_USAGE, "q9");
    tune.target_bpw = -1;
    TUNE_REFUSED(NIBBLE_USAGE, "0 or more");
    tune.refine = true;
    tune.text = NULL;
    TUNE_REFUSED(NIBBLE_USAGE, "there is no text");
    tune.write_text = true;
    TUNE_REFUSED(NIBBLE_USAGE, "write_text exclude");
    tune.refine = true;
    text.name = "-";
    TUNE_REFUSED(NIBBLE_USAGE, "standard input");
    tune.refine = true;
    tune.chunk_tokens = 7;
    TUNE_REFUSED(NIBBLE_USAGE, "chunk_tokens");
    options.dry_run = true;
    TUNE_REFUSED(NIBBLE_USAGE, "dry_run");
    tune.refine = true;
    text.name = "absent.txt";
    TUNE_REFUSED(NIBBLE_NOT_FOUND, "absent.txt");
    tune.like = "absent.gguf";
    TUNE_REFUSED(NIBBLE_NOT_FOUND, "absent.gguf");
    tune.size = 0;
    TUNE_REFUSED(NIBBLE_USAGE, "NIBBLE_INIT");
}

/* Costs that a caller knows need no text and no pass; the types that come of them are those of the file, and of 'like'. */
static void
known_effects_need_no_text(void **unused)
{
    char effects[SCRATCH_PATH];
    struct nibble_tuning result;
    struct nibble_source *file;
    struct nibble_tensor tensor;
    size_t index;

    (void)unused;
    begin();
    NIBBLE_INIT(result);
    NIBBLE_INIT(tensor);
    scratch_write_text("effects.json",
                       "{\"effects\": 1, \"tensors\": ["
                       "{\"name\": \"blk.0.attn_k.weight\", \"kld\": {\"q2_K\": 1, \"q8_0\": 0.25}},"
                       "{\"name\": \"blk.0.ffn_down.weight\", \"kld\": {\"q2_K\": 0.125, \"q8_0\": 0}}]}");
    snprintf(effects, sizeof effects, "%s", scratch_path("effects.json"));
    tune.text = NULL;
    tune.effects = effects;
    tune.max_kld = 0.5;
    MUST(nibble_tune(source, scratch_path("cheap.gguf"), &options, &tune, NULL, &result, &error));
    assert_true(result.expected_kld == 0.375 && result.matrices == 0 && result.kld == 0);
    file = open_source(scratch_path("cheap.gguf"));
    MUST(nibble_source_find(file, "blk.0.attn_k.weight", &index, &error));
    MUST(nibble_source_tensor(file, index, &tensor, &error));
    assert_string_equal(tensor.type, "q8_0");
    MUST(nibble_source_find(file, "blk.0.ffn_down.weight", &index, &error));
    MUST(nibble_source_tensor(file, index, &tensor, &error));
    assert_string_equal(tensor.type, "q2_K");
    nibble_source_close(file);
    tune.max_kld = 0.01;
    TUNE_REFUSED(NIBBLE_INVALID, "even the best");

    tune.like = effects; /* a copy of the path: scratch_path's buffers come in turns */
    snprintf(effects, sizeof effects, "%s", scratch_path("cheap.gguf"));
    MUST(nibble_tune(source, scratch_path("like.gguf"), &options, &tune, NULL, &result, &error));
    assert_true(scratch_hash(scratch_path("like.gguf")) == scratch_hash(scratch_path("cheap.gguf")));
}

static void
a_model_can_write_the_text_itself(void **unused)
{
    struct nibble_tuning result;

    (void)unused;
    begin();
    NIBBLE_INIT(result);
    options.recipe = "Q2_K";
    tune.text = NULL;
    tune.write_text = tune.refine = true;
    tune.refine_tokens = 1024;
    MUST(nibble_tune(source, scratch_path("own.gguf"), &options, &tune, NULL, &result, &error));
    assert_true(result.tokens == 1024 && result.refined > 0 && result.kld < result.kld_before);
}

/* Counts down. */
static int
stop_late(void *context, uint64_t done, uint64_t total)
{
    int *calls = context;

    assert_true(done <= total);
    return (*calls)-- <= 0;
}

/* Stopped as late as can be: a fast machine is done before many calls, and is tried again. */
static void
stop_a_run(void)
{
    enum nibble_code code = NIBBLE_OK;
    struct nibble_run run;

    NIBBLE_INIT(run);
    run.progress = stop_late;
    for (int limit = 12; code == NIBBLE_OK && limit >= 0; limit -= 4) {
        int calls = limit;

        scratch_remove("x.gguf");
        run.context = &calls;
        code = told(nibble_tune(source, scratch_path("x.gguf"), &options, &tune, &run, NULL, &error));
    }
    assert_int_equal(code, NIBBLE_INTERRUPTED);
}

/* Of a run that is stopped only what goes on is left, and then it is taken up: the same bytes as in one run. */
static void
a_stopped_run_goes_on_to_the_same_bytes(void **unused)
{
    struct nibble_tuning result;

    (void)unused;
    begin();
    NIBBLE_INIT(result);
    options.recipe = "Q2_K";
    tune.refine = true;
    tune.refine_tokens = 1024;
    text.bytes = "Once upon a time there was a dog. ";
    text.length = strlen(text.bytes);
    TUNE_REFUSED(NIBBLE_INVALID, "tokens"); /* too few */
    options.recipe = "Q2_K";
    tune.refine = true;
    tune.refine_tokens = 1024;
    MUST(nibble_tune(source, scratch_path("whole.gguf"), &options, &tune, NULL, &result, &error));
    assert_true(result.kld < result.kld_before && result.refined > 0 && result.tokens <= 1024);
    stop_a_run();
    assert_false(scratch_exists(scratch_path("x.gguf")));
    MUST(nibble_tune(source, scratch_path("x.gguf"), &options, &tune, NULL, NULL, &error));
    assert_true(scratch_hash(scratch_path("x.gguf")) == scratch_hash(scratch_path("whole.gguf")));
    assert_false(scratch_exists(scratch_path("x.gguf.refining")));
}

static int
setup(void **state)
{
    const int failed = scratch_setup(state);

    source = open_source(SAMPLE);
    return failed;
}

static int
teardown(void **state)
{
    nibble_source_close(source);
    return scratch_teardown(state);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_contradicts_itself_is_refused),
        cmocka_unit_test(known_effects_need_no_text),
        cmocka_unit_test(a_model_can_write_the_text_itself),
        cmocka_unit_test(a_stopped_run_goes_on_to_the_same_bytes),
    };

    NIBBLE_INIT(error);
    return cmocka_run_group_tests(tests, setup, teardown);
}
