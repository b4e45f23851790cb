/*
 * Tasks: the answers of the sample model are those that llama-perplexity finds, whatever the threads; and files that are not
 * what they should be are refused in words, wherever they are cut.
 */
#include "formats/base/status.h"
#include "formats/models/source.h"
#include "scratch.h"
#include "testing.h"
#include "verify/run/model.h"
#include "verify/tasks/questions.h"
#include "verify/tasks/sequences.h"
#include "verify/tasks/tasks.h"
#include "verify/tokenize/tokenize.h"

#include <jansson.h>

#define SAMPLE SAMPLE_DATA "/tinystories-3m"
#define FILES TEST_DATA "/golden/tasks"

static struct run run;

struct opened {
    struct nb_source source;
    struct nb_model model;
    struct nb_tokenizer *tokenizer;
};

static void
check(enum nb_status status, const struct nb_error *err)
{
    if (status != NB_OK)
        fail_msg("%s", err->message);
}

static void
open_sample(struct opened *o)
{
    struct nb_error err;

    check(nb_source_open(&o->source, SAMPLE, NULL, &err), &err);
    check(nb_model_open(&o->model, &o->source, &err), &err);
    check(nb_tokenizer_open(&o->tokenizer, &o->source, &err), &err);
}

static void
close_sample(struct opened *o)
{
    nb_tokenizer_close(o->tokenizer);
    nb_model_close(&o->model);
    nb_source_close(&o->source);
}

/* Whether the answers of the sample to the first QUESTIONS of FILE are right must be as EXPECTED says: '1' or '0' for each. */
static void
expect_right(enum nb_question_kind kind, const char *file, const char *expected, unsigned threads)
{
    const size_t questions = strlen(expected);
    struct nb_questions q;
    struct nb_task_result result;
    struct opened o;
    struct nb_error err;

    open_sample(&o);
    check(nb_questions_read(&q, kind, file, questions, &err), &err);
    assert_int_equal(q.count, questions);
    check(nb_tasks_run((const struct nb_model *const[]){ &o.model }, 1, &q, o.tokenizer,
                       &(struct nb_task_options){ .threads = threads }, &result, &err),
          &err);
    for (size_t i = 0; i < questions; i++)
        if (q.answer[q.question[i].first + result.choice[i]].right != (expected[i] == '1'))
            fail_msg("%s: question %zu", file, i + 1);
    nb_task_results_free(&result, 1);
    nb_questions_free(&q);
    close_sample(&o);
}

/* What llama-perplexity of v0.5.0 prints for the sample in F16; it leaves out the last line of Winogrande. */
static void
answers_are_those_of_llama_perplexity(void **unused)
{
    (void)unused;
    for (unsigned threads = 1; threads <= 3; threads += 2) {
        expect_right(NB_WINOGRANDE, FILES "/winogrande.csv", "01010101011001000110000110000", threads);
        expect_right(NB_MULTIPLE_CHOICE, FILES "/multiple-choice.bin", "11001111000111001111", threads);
    }
}

/* What sequences share is run once: their scores are those that they have one by one. */
static void
sequences_that_begin_alike_have_their_own_scores(void **unused)
{
    static const struct {
        uint32_t count, shared, start, lengths[4];
    } families[] = {
        { 4, 40, 41, { 52, 45, 70, 42 } }, { 1, 20, 20, { 33 } }, { 2, 48, 33, { 60, 49 } }, { 3, 5, 5, { 9, 30, 8 } },
        { 4, 40, 45, { 50, 51, 52, 46 } },
    };
    struct nb_sequence together[14], alone[14];
    static int32_t ids[14][80];
    struct nb_pool *pool;
    struct nb_error err;
    struct opened o;
    size_t n = 0;

    (void)unused;
    open_sample(&o);
    check(nb_pool_new(&pool, 2, &err), &err);
    for (size_t f = 0; f < sizeof families / sizeof families[0]; f++)
        for (uint32_t i = 0; i < families[f].count; i++, n++) {
            const uint32_t length = families[f].lengths[i];

            for (uint32_t k = 0; k < length; k++)
                ids[n][k] = (int32_t)((k < families[f].shared ? k * 7919 + f : k * 104729 + n * 31) % 2000);
            together[n] =
                (struct nb_sequence){ .id = ids[n], .length = length, .start = families[f].start, .end = length };
            alone[n] = together[n];
            alone[n].alike = 1;
            together[n].alike = i == 0 ? families[f].count : 0;
            together[n].shared = families[f].shared;
        }
    assert_int_equal(n, 14);
    check(nb_score_sequences(&o.model, together, n, false, pool, NULL, NULL, &err), &err);
    check(nb_score_sequences(&o.model, alone, n, false, pool, NULL, NULL, &err), &err);
    for (size_t i = 0; i < n; i++)
        if (!(fabs(together[i].score - alone[i].score) < 1e-4 && together[i].score < -1))
            fail_msg("sequence %zu: %g, alone %g", i, together[i].score, alone[i].score);
    nb_pool_free(pool);
    close_sample(&o);
}

static json_t *
report(const char *option, const char *file)
{
    json_t *o;

    RUN(&run, "verify", "-f", SAMPLE_DATA "/tinystories-valid.txt", "-c", "64", "--chunks", "2", "--json", option, file,
        SAMPLE, SAMPLE);
    if (run.code != 0)
        fail_msg("%s", run.err);
    o = json_loads(run.out, 0, NULL);
    assert_non_null(o);
    return o;
}

static void
tasks_are_reported_beside_the_divergence(void **unused)
{
    json_t *o = report("--hellaswag", FILES "/hellaswag.txt"), *task = json_array_get(json_object_get(o, "tasks"), 0);
    const json_t *base = json_array_get(json_object_get(task, "models"), 0);
    const json_t *model = json_array_get(json_object_get(task, "models"), 1);

    (void)unused;
    assert_string_equal(json_string_value(json_object_get(task, "task")), "hellaswag");
    assert_int_equal(json_integer_value(json_object_get(task, "questions")), 24);
    assert_true(json_real_value(json_object_get(base, "right")) == 0.5); /* as llama-perplexity says */
    assert_true(json_real_value(json_object_get(model, "right")) == 0.5);
    assert_null(json_object_get(base, "same_answers"));
    assert_true(json_real_value(json_object_get(model, "same_answers")) == 1);
    json_decref(o);
    RUN(&run, "verify", "-f", SAMPLE_DATA "/tinystories-valid.txt", "-c", "64", "--chunks", "2", "--tasks", "5",
        "--winogrande", FILES "/winogrande.csv", "--html", "tasks.html", SAMPLE);
    assert_int_equal(run.code, 0);
    assert_non_null(strstr(run.out, "Winogrande: 5 questions of"));
    {
        size_t size;
        unsigned char *page = scratch_read(scratch_path("tasks.html"), &size);

        assert_null(memmem(page, size, TEST_DATA, strlen(TEST_DATA))); /* no folders */
        assert_non_null(memmem(page, size, "winogrande.csv", 14));
        free(page);
    }
}

/* --- files ---------------------------------------------------------------------------------------------------- */

static void
refuses(enum nb_question_kind kind, const void *bytes, size_t size, const char *says)
{
    struct nb_questions q;
    struct nb_error err;

    scratch_write("questions", bytes, size);
    if (nb_questions_read(&q, kind, scratch_path("questions"), 0, &err) == NB_OK)
        fail_msg("taken: %s", says);
    if (strstr(err.message, says) == NULL)
        fail_msg("'%s' says not '%s'", err.message, says);
    assert_null(q.question);
}

static void
lines_that_are_no_questions_are_refused(void **unused)
{
    static const struct {
        enum nb_question_kind kind;
        const char *text, *says;
    } cases[] = {
        { NB_HELLASWAG, "", "has no questions" },
        { NB_HELLASWAG, "a\n1\nb\nc\nd\n", "ends amid a question" },
        { NB_HELLASWAG, "a\n4\nb\nc\nd\ne\n", "line 2 is not the number of an ending" },
        { NB_HELLASWAG, "a\n1\nb\nc\nd\ne\na\nx\nb\nc\nd\ne", "line 8 is not the number of an ending" },
        { NB_HELLASWAG, "\xFF\n1\nb\nc\nd\ne\n", "not valid UTF-8" },
        { NB_WINOGRANDE, "", "has no questions" },
        { NB_WINOGRANDE, "\n\n", "has no questions" },
        { NB_WINOGRANDE, "0,a _ b,c,d\n", "line 1 is not" },
        { NB_WINOGRANDE, "0,a _ b,c,d,3\n", "line 1 is not" },
        { NB_WINOGRANDE, "0,a _ b,c,d,1\n1,a b,c,d,1\n", "line 2 is not" },
        { NB_WINOGRANDE, "0,\"a, _ b,c,d,1\n", "line 1 is not" },
        { NB_WINOGRANDE, "0,\",c,d,1\n", "line 1 is not" },
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        refuses(cases[i].kind, cases[i].text, strlen(cases[i].text), cases[i].says);
}

static void
quotation_marks_keep_commas_together(void **unused)
{
    static const char text[] = "7,\"He, _, left.\", John ,Mary,2\r\n8,a_b,c,d,1";
    struct nb_questions q;
    struct nb_error err;

    (void)unused;
    scratch_write("wg.csv", text, sizeof text - 1);
    check(nb_questions_read(&q, NB_WINOGRANDE, scratch_path("wg.csv"), 0, &err), &err);
    assert_int_equal(q.count, 2);
    assert_string_equal(q.answer[0].text, "He,  John , left.");
    assert_string_equal(q.answer[1].text, "He, Mary, left.");
    assert_int_equal(q.answer[1].chosen, strlen("He, Mary"));
    assert_true(!q.answer[0].right && q.answer[1].right && q.answer[2].right);
    assert_string_equal(q.answer[3].text, "adb"); /* the last line needs no end */
    nb_questions_free(&q);
}

/* Cut anywhere, and with every number of it made huge. */
static void
binary_files_are_read_within_their_bounds(void **unused)
{
    size_t size;
    unsigned char *good = scratch_read(FILES "/multiple-choice.bin", &size), *bad = malloc(size);
    struct nb_questions q;
    struct nb_error err;

    (void)unused;
    for (size_t n = 0; n < size; n += n < 400 ? 1 : 13) {
        /* Of its own size, so that reading beyond it is seen. */
        unsigned char *cut = malloc(n + 1);

        memcpy(cut, good, n);
        refuses(NB_MULTIPLE_CHOICE, cut, n, n < 84 ? "is not a file of questions" : "is cut off or damaged");
        free(cut);
    }
    for (size_t at = 0; at + 4 <= size; at += 3) {
        memcpy(bad, good, size);
        memset(bad + at, 0xFF, 4);
        scratch_write("questions", bad, size);
        if (nb_questions_read(&q, NB_MULTIPLE_CHOICE, scratch_path("questions"), 0, &err) == NB_OK)
            nb_questions_free(&q);
    }
    memset(bad, 0, size);
    refuses(NB_MULTIPLE_CHOICE, bad, size, "is not a file of questions");
    bad[0] = 1;
    refuses(NB_MULTIPLE_CHOICE, bad, size, "question 1 has no text");
    free(good);
    free(bad);
}

static void
questions_are_read_before_anything_is_run(void **unused)
{
    (void)unused;
    scratch_write_text("none.txt", "nothing\n");
    RUN(&run, "verify", "--hellaswag", "none.txt", "--save-base", "never.base", SAMPLE);
    assert_int_equal(run.code, 3);
    assert_non_null(strstr(run.err, "ends amid a question"));
    assert_false(scratch_exists(scratch_path("never.base")));
    RUN(&run, "verify", "--winogrande", "nowhere.csv", SAMPLE);
    assert_int_equal(run.code, 3);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_those_of_llama_perplexity),
        cmocka_unit_test(sequences_that_begin_alike_have_their_own_scores),
        cmocka_unit_test(tasks_are_reported_beside_the_divergence),
        cmocka_unit_test(lines_that_are_no_questions_are_refused),
        cmocka_unit_test(quotation_marks_keep_commas_together),
        cmocka_unit_test(binary_files_are_read_within_their_bounds),
        cmocka_unit_test(questions_are_read_before_anything_is_run),
    };

    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
