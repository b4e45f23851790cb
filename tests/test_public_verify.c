/* nibble.h: verifying. Every option measures what the command measures, and what contradicts itself is refused. */
#include "public_calls.h"
#include "scratch.h"
#include "testing.h"

#include <jansson.h>

#define SAMPLE SAMPLE_DATA "/tinystories-3m"
#define TEXT SAMPLE_DATA "/tinystories-valid.txt"
#define FILES TEST_DATA "/golden/tasks"

static struct run run;
static struct nibble_source *model[2]; /* the sample, and its Q4_0 */
static struct nibble_text text = { TEXT, NULL, 0 };
static struct nibble_verify_options options;
static struct nibble_drift drift;
static struct nibble_task_score score;

static void
begin(void)
{
    NIBBLE_INIT(options);
    NIBBLE_INIT(drift);
    NIBBLE_INIT(score);
    options.chunk_tokens = 128;
    options.max_chunks = 4;
}

static struct nibble_verification *
verify(const struct nibble_source *const *models, size_t count, const struct nibble_text *of)
{
    struct nibble_verification *v;

    MUST(nibble_verify(models, count, of, &options, NULL, &v, &error));
    return v;
}

/* The number KEY of the first model in what the command has printed. */
static double
told_by_command(const char *key)
{
    json_t *object = json_loads(run.out, 0, NULL);
    const double value = json_real_value(json_object_get(json_array_get(json_object_get(object, "models"), 0), key));

    assert_int_equal(run.code, 0);
    json_decref(object);
    return value;
}

/* The command prints nine digits. */
static void
near(double a, double b)
{
    if (!(fabs(a - b) <= 1e-8 * fabs(b)))
        fail_msg("%.17g is not %.17g", a, b);
}

static void
activations_are_rounded_as_the_command_rounds_them(void **unused)
{
    struct nibble_verification *v;
    double exact;

    (void)unused;
    begin();
    v = verify((const struct nibble_source *const *)model, 2, &text);
    MUST(nibble_verification_model(v, 1, &drift, &error));
    exact = drift.kld.value;
    nibble_verification_free(v);
    options.round_activations = true;
    v = verify((const struct nibble_source *const *)model, 2, &text);
    MUST(nibble_verification_model(v, 1, &drift, &error));
    nibble_verification_free(v);
    assert_true(drift.kld.value > exact);
    RUN(&run, "verify", "-f", TEXT, "-c", "128", "--chunks", "4", "--activations", "q8", "--json", SAMPLE, "q4.gguf");
    near(drift.kld.value, told_by_command("kld_mean"));
}

/* A base that the library saved is read by both, and one that the command saved by the library, with the same numbers. */
static void
a_base_can_be_saved_and_taken_up_again(void **unused)
{
    struct nibble_verification *v;
    char ours[SCRATCH_PATH], theirs[SCRATCH_PATH];
    double exact, saved;

    (void)unused;
    begin();
    snprintf(ours, sizeof ours, "%s", scratch_path("ours.base"));
    snprintf(theirs, sizeof theirs, "%s", scratch_path("theirs.base"));
    options.save_base = ours;
    v = verify((const struct nibble_source *const *)model, 2, &text);
    MUST(nibble_verification_model(v, 1, &drift, &error));
    exact = drift.kld.value;
    nibble_verification_free(v);
    REFUSED(NIBBLE_EXISTS,
            nibble_verify((const struct nibble_source *const *)model, 2, &text, &options, NULL, &v, &error));
    RUN(&run, "verify", "-f", TEXT, "-c", "128", "--chunks", "4", "--save-base", "theirs.base", SAMPLE);
    assert_int_equal(run.code, 0);
    assert_true(scratch_hash(ours) == scratch_hash(theirs));

    options.save_base = NULL;
    options.base_from = ours;
    options.chunk_tokens = 0;
    v = verify((const struct nibble_source *const *)&model[1], 1, NULL);
    MUST(nibble_verification_model(v, 1, &drift, &error));
    saved = drift.kld.value;
    assert_true(fabs(saved - exact) < 0.01 * exact + 1e-5 && drift.chunk_tokens == 128);
    MUST(nibble_verification_model(v, 0, &drift, &error)); /* the base that was saved */
    assert_true(drift.perplexity.value > 1);
    REFUSED(NIBBLE_USAGE, nibble_verification_model(v, 2, &drift, &error));
    nibble_verification_free(v);
    RUN(&run, "verify", "--base-from", "ours.base", "--json", "q4.gguf");
    near(saved, told_by_command("kld_mean"));

    options.chunk_tokens = 64;
    REFUSED(NIBBLE_USAGE,
            nibble_verify((const struct nibble_source *const *)model, 2, NULL, &options, NULL, &v, &error));
    error_says("was saved with chunks of 128 tokens");
    options.chunk_tokens = 0;
    options.save_base = theirs;
    REFUSED(NIBBLE_USAGE,
            nibble_verify((const struct nibble_source *const *)model, 2, NULL, &options, NULL, &v, &error));
    assert_null(v);
}

static void
tasks_are_scored_as_the_command_scores_them(void **unused)
{
    const struct nibble_task tasks[] = {
        { NIBBLE_HELLASWAG, FILES "/hellaswag.txt", 0 },
        { NIBBLE_WINOGRANDE, FILES "/winogrande.csv", 0 },
        { NIBBLE_MULTIPLE_CHOICE, FILES "/multiple-choice.bin", 7 },
    };
    struct nibble_verification *v;
    json_t *object;

    (void)unused;
    begin();
    options.tasks = tasks;
    options.n_tasks = 3;
    v = verify((const struct nibble_source *const *)model, 2, &text);
    RUN(&run, "verify", "-f", TEXT, "-c", "128", "--chunks", "4", "--json", "--hellaswag", tasks[0].file,
        "--winogrande", tasks[1].file, SAMPLE, "q4.gguf");
    assert_int_equal(run.code, 0);
    object = json_loads(run.out, 0, NULL);
    for (size_t t = 0; t < 2; t++)
        for (size_t i = 0; i < 2; i++) {
            const json_t *task = json_array_get(json_object_get(object, "tasks"), t);
            const json_t *of = json_array_get(json_object_get(task, "models"), i);

            MUST(nibble_verification_task(v, i, t, &score, &error));
            assert_int_equal(score.questions, json_integer_value(json_object_get(task, "questions")));
            near(score.right.value, json_real_value(json_object_get(of, "right")));
            near(score.right.error, json_real_value(json_object_get(of, "right_stderr")));
            near(score.same_as_base, i == 0 ? 1 : json_real_value(json_object_get(of, "same_answers")));
        }
    json_decref(object);
    MUST(nibble_verification_task(v, 1, 2, &score, &error));
    assert_int_equal(score.questions, 7);
    REFUSED(NIBBLE_USAGE, nibble_verification_task(v, 1, 3, &score, &error));
    REFUSED(NIBBLE_USAGE, nibble_verification_task(v, 2, 0, &score, &error));
    nibble_verification_free(v);
}

static void
tasks_that_cannot_be_are_refused(void **unused)
{
    struct nibble_task task = { NIBBLE_WINOGRANDE, FILES "/multiple-choice.bin", 0 };
    struct nibble_verification *v;

    (void)unused;
    begin();
    options.tasks = &task;
    options.n_tasks = 1;
    REFUSED(NIBBLE_INVALID,
            nibble_verify((const struct nibble_source *const *)model, 1, &text, &options, NULL, &v, &error));
    task.file = "absent";
    REFUSED(NIBBLE_NOT_FOUND,
            nibble_verify((const struct nibble_source *const *)model, 1, &text, &options, NULL, &v, &error));
    task.kind = (enum nibble_task_kind)3;
    REFUSED(NIBBLE_USAGE,
            nibble_verify((const struct nibble_source *const *)model, 1, &text, &options, NULL, &v, &error));
    task.file = NULL;
    task.kind = NIBBLE_HELLASWAG;
    REFUSED(NIBBLE_USAGE,
            nibble_verify((const struct nibble_source *const *)model, 1, &text, &options, NULL, &v, &error));
    assert_null(v);
}

/* A saved base is not run: it has no answers, and nothing can be the same as them. */
static void
a_saved_base_has_no_answers(void **unused)
{
    const struct nibble_task task = { NIBBLE_HELLASWAG, FILES "/hellaswag.txt", 3 };
    char path[SCRATCH_PATH];
    struct nibble_verification *v;

    (void)unused;
    begin();
    snprintf(path, sizeof path, "%s", scratch_path("ours.base"));
    options.chunk_tokens = 0;
    options.base_from = path;
    options.tasks = &task;
    options.n_tasks = 1;
    v = verify((const struct nibble_source *const *)&model[1], 1, NULL);
    MUST(nibble_verification_task(v, 1, 0, &score, &error));
    assert_true(score.questions == 3 && isnan(score.same_as_base));
    REFUSED(NIBBLE_NOT_FOUND, nibble_verification_task(v, 0, 0, &score, &error));
    nibble_verification_free(v);
}

/* What users of a model that lacks its BOS will not see as it was measured. */
static void
a_model_that_makes_other_tokens_is_told(void **unused)
{
    const struct nibble_source *models[3] = { model[0], model[1], NULL };
    struct nibble_source *other;
    struct nibble_verification *v;

    (void)unused;
    begin();
    RUN(&run, "edit", "--set", "tokenizer.ggml.add_bos_token=bool:false", "-o", "other.gguf", "q4.gguf");
    assert_int_equal(run.code, 0);
    other = open_source(scratch_path("other.gguf"));
    models[2] = other;
    v = verify(models, 3, &text);
    MUST(nibble_verification_model(v, 1, &drift, &error));
    assert_null(drift.other_tokens);
    MUST(nibble_verification_model(v, 2, &drift, &error));
    assert_non_null(drift.other_tokens);
    nibble_verification_free(v);
    nibble_source_close(other);
}

static int
setup(void **state)
{
    const int failed = scratch_setup(state);

    RUN(&run, "quantize", SAMPLE, "-t", "Q4_0", "-o", "q4.gguf");
    assert_int_equal(run.code, 0);
    model[0] = open_source(SAMPLE);
    model[1] = open_source(scratch_path("q4.gguf"));
    return failed;
}

static int
teardown(void **state)
{
    nibble_source_close(model[0]);
    nibble_source_close(model[1]);
    return scratch_teardown(state);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(activations_are_rounded_as_the_command_rounds_them),
        cmocka_unit_test(a_base_can_be_saved_and_taken_up_again),
        cmocka_unit_test(a_saved_base_has_no_answers),
        cmocka_unit_test(tasks_are_scored_as_the_command_scores_them),
        cmocka_unit_test(tasks_that_cannot_be_are_refused),
        cmocka_unit_test(a_model_that_makes_other_tokens_is_told),
    };

    NIBBLE_INIT(error);
    return cmocka_run_group_tests(tests, setup, teardown);
}
