/*
 * Importance from text: llama-imatrix's sums, runs that are merged, stopped and
 * taken up again, both forms of files, and what is refused.
 */
#include "calib/calibrate.h"
#include "calib/coverage.h"
#include "calib/importance_stats.h"
#include "calib/sums.h"
#include "formats/base/status.h"
#include "formats/base/text.h"
#include "formats/imatrix/imatrix.h"
#include "formats/models/source.h"
#include "scratch.h"
#include "testing.h"
#include "verify/run/model.h"
#include "verify/tokenize/text_file.h"
#include "verify/tokenize/tokenize.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SAMPLE SAMPLE_DATA "/tinystories-3m"
#define TEXT SAMPLE_DATA "/tinystories-valid.txt"
#define GOLDEN TEST_DATA "/golden/tinystories-3m-f32.imatrix"

static struct run run;

static void
load(struct nb_imatrix *m, const char *path)
{
    struct nb_error err;

    if (nb_imatrix_load(m, path, &err) != NB_OK)
        fail_msg("%s", err.message);
}

/* The largest difference of any mean of A from B's, relative to that; counts must be the same. */
static double
worst_difference(const struct nb_imatrix *a, const struct nb_imatrix *b)
{
    double worst = 0;

    for (size_t i = 0; i < b->count; i++) {
        const struct nb_imatrix_entry *y = &b->entries[i], *x = nb_imatrix_find(a, y->name);

        if (x == NULL || x->count != y->count || x->rows != y->rows)
            fail_msg("%s: not there, or another shape", y->name);
        for (uint64_t k = 0; k < y->rows; k++)
            if (x->tokens[k] != y->tokens[k])
                fail_msg("%s: %d tokens, not %d", y->name, (int)x->tokens[k], (int)y->tokens[k]);
        for (uint64_t k = 0; k < y->count; k++)
            worst = fmax(worst, fabs((double)x->values[k] / (double)y->values[k] - 1));
    }
    return worst;
}

static double
worst_in_files(const char *a, const char *b)
{
    struct nb_imatrix x, y;
    double worst;

    load(&x, a);
    load(&y, b);
    worst = worst_difference(&x, &y);
    nb_imatrix_free(&x);
    nb_imatrix_free(&y);
    return worst;
}

#define CALIBRATE(output, ...)                                                              \
    do {                                                                                    \
        RUN(&run, "calibrate", SAMPLE, "-f", TEXT, "-c", "128", "-o", output, __VA_ARGS__); \
        if (run.code != 0)                                                                  \
            fail_msg("%s: %s", output, run.err);                                            \
    } while (0)

/* Of the F32 file, and with keys and values kept as F32, which llama-imatrix rounds to F16 by default. */
static void
sums_are_those_of_llama_imatrix(void **unused)
{
    (void)unused;
    CALIBRATE("ours.imatrix", "--chunks", "40", "--process-output");
    assert_true(worst_in_files(scratch_path("ours.imatrix"), GOLDEN) < 1e-4);
}

static void
merged_runs_are_the_whole_one(void **unused)
{
    (void)unused;
    CALIBRATE("a.imatrix", "--chunks", "7");
    CALIBRATE("b.dat", "--from-chunk", "7", "--chunks", "13");
    CALIBRATE("whole.imatrix", "--chunks", "20");
    RUN(&run, "calibrate", "--merge", "a.imatrix", "b.dat", "-o", "merged.imatrix");
    assert_int_equal(run.code, 0);
    assert_true(worst_in_files(scratch_path("merged.imatrix"), scratch_path("whole.imatrix")) < 1e-6);
}

static void
both_forms_say_the_same(void **unused)
{
    struct nb_imatrix x, y;

    (void)unused;
    RUN(&run, "calibrate", SAMPLE, "-f", TEXT, "-c", "512", "--chunks", "4", "-o", "c.gguf");
    assert_int_equal(run.code, 0);
    RUN(&run, "calibrate", SAMPLE, "-f", TEXT, "-c", "512", "--chunks", "4", "-o", "c.dat", "--format", "dat");
    assert_int_equal(run.code, 0);
    load(&x, scratch_path("c.gguf"));
    load(&y, scratch_path("c.dat"));
    assert_true(worst_difference(&x, &y) < 1e-6);
    assert_int_equal(x.chunks, 4);
    assert_int_equal(y.chunks, 4);
    assert_string_equal(x.dataset, "tinystories-valid.txt");
    assert_string_equal(y.dataset, "tinystories-valid.txt");
    nb_imatrix_free(&x);
    nb_imatrix_free(&y);
}

/* Each token counts for every expert that it went through, and no expert for what others saw. */
static void
experts_have_sums_of_their_own(void **unused)
{
    struct nb_imatrix dense, mixture;

    (void)unused;
    RUN(&run, "quantize", SAMPLE, "-t", "f32", "-o", "dense.gguf");
    assert_int_equal(run.code, 0);
    mixture_of("dense.gguf", "mixture.gguf", 3, 2);
    RUN(&run, "calibrate", "mixture.gguf", "-f", TEXT, "-c", "512", "--chunks", "8", "-o", "mixture.imatrix");
    assert_int_equal(run.code, 0);
    RUN(&run, "calibrate", "dense.gguf", "-f", TEXT, "-c", "512", "--chunks", "8", "-o", "dense.imatrix");
    assert_int_equal(run.code, 0);
    load(&dense, scratch_path("dense.imatrix"));
    load(&mixture, scratch_path("mixture.imatrix"));
    for (size_t i = 0; i < mixture.count; i++) {
        const struct nb_imatrix_entry *e = &mixture.entries[i], *d;
        char name[64];
        double sums[1024] = { 0 };
        uint64_t tokens = 0;

        if (strstr(e->name, "_exps") == NULL)
            continue;
        assert_int_equal(e->rows, 3);
        snprintf(name, sizeof name, "%.*s.weight", (int)(strstr(e->name, "_exps") - e->name), e->name);
        d = nb_imatrix_find(&dense, name);
        assert_non_null(d);
        for (uint64_t x = 0; x < 3; x++) {
            tokens += e->tokens[x];
            for (uint64_t c = 0; c < d->count; c++)
                sums[c] += (double)e->values[x * d->count + c] * (double)e->tokens[x];
        }
        assert_int_equal(tokens, 2 * 8 * 512);
        for (uint64_t c = 0; c < d->count; c++) /* the experts are alike, so together they saw it twice */
            assert_true(fabs(sums[c] / (2 * (double)d->values[c] * 8 * 512) - 1) < 1e-3);
    }
    nb_imatrix_free(&dense);
    nb_imatrix_free(&mixture);
}

/* Compressed attention has a stack of matrices, too: one for each head. */
static void
only_experts_are_counted_as_experts(void **unused)
{
    struct nb_sums sums = { 0 };
    struct nb_sums_entry *heads = nb_sums_entry(&sums, "blk.0.attn_k_b.weight", 4, 3), *experts;
    struct nb_coverage c;

    (void)unused;
    for (size_t i = 0; i < 3; i++)
        heads->tokens[i] = 8;
    experts = nb_sums_entry(&sums, "blk.0.ffn_up_exps.weight", 4, 5);
    experts->tokens[1] = 8;
    c = nb_coverage(&sums);
    assert_int_equal(c.experts, 5);
    assert_int_equal(c.idle_experts, 4);
    assert_int_equal(c.entries, 2);
    assert_int_equal(c.columns, 4 * (3 + 1));
    nb_sums_free(&sums);
}

/* --- stopped and taken up again ---------------------------------------------------------------------------- */

static volatile sig_atomic_t stop;

struct stopper {
    uint32_t at; /* chunks */
    bool within; /* not before the next batch has begun; from then on every look takes longer than a stop may */
    double last;
};

static void
stop_at(void *context, uint32_t chunks, uint32_t of, double share)
{
    struct stopper *s = context;

    (void)of;
    assert_true(share >= s->last && share <= 1);
    s->last = share;
    if (chunks >= s->at && (!s->within || share * of > chunks))
        stop = 1;
    if (stop != 0 && s->within)
        nanosleep(&(struct timespec){ 0, 600000000 }, NULL);
}

/* Runs over the sample text until it is stopped or done, and writes OUTPUT in the latter case. */
static enum nb_status
run_with(struct stopper stopper, unsigned threads, const char *output, struct nb_error *err)
{
    struct nb_calibrate_options o = { .chunk_tokens = 512,
                                      .max_chunks = 20,
                                      .threads = threads,
                                      .bos = 2046,
                                      .state = scratch_path("state"),
                                      .progress = stop_at,
                                      .context = &stopper,
                                      .stop = &stop };
    struct nb_source source;
    struct nb_model model;
    struct nb_tokenizer *t;
    struct nb_ids ids = { 0 };
    struct nb_sums sums = { 0 };
    char *text;
    size_t length;
    enum nb_status status;

    stop = 0;
    assert_int_equal(nb_source_open(&source, SAMPLE, NULL, err), NB_OK);
    assert_int_equal(nb_model_open(&model, &source, err), NB_OK);
    assert_int_equal(nb_tokenizer_open(&t, &source, err), NB_OK);
    assert_int_equal(nb_text_file_load(TEXT, &text, &length, err), NB_OK);
    assert_int_equal(nb_tokenize(t, text, length, NB_ADD_SPECIAL, &ids, err), NB_OK);
    status = nb_calibrate(&model, ids.id, ids.count, &o, &sums, err);
    if (status == NB_OK)
        status = nb_sums_write(&sums, output, NB_SUMS_GGUF, err);
    nb_sums_free(&sums);
    nb_ids_free(&ids);
    free(text);
    nb_tokenizer_close(t);
    nb_model_close(&model);
    nb_source_close(&source);
    return status;
}

static enum nb_status
run_until(uint32_t chunks, unsigned threads, const char *output, struct nb_error *err)
{
    return run_with((struct stopper){ .at = chunks }, threads, output, err);
}

/* A batch of a large model takes minutes, and nobody waits for its end. */
static void
a_batch_that_is_broken_off_leaves_the_state_before_it(void **unused)
{
    struct nb_error err;
    char whole[SCRATCH_PATH], again[SCRATCH_PATH];

    (void)unused;
    strcpy(whole, scratch_path("whole"));
    strcpy(again, scratch_path("again"));
    assert_int_equal(run_until(1000, 1, whole, &err), NB_OK);
    assert_int_equal(run_with((struct stopper){ .at = 0, .within = true }, 2, again, &err), NB_INTERRUPTED);
    assert_false(scratch_exists(scratch_path("state"))); /* nothing was done */
    assert_int_equal(run_until(4, 2, again, &err), NB_INTERRUPTED);
    assert_non_null(strstr(err.message, "will go on after 4 of 20 chunks"));
    assert_int_equal(run_with((struct stopper){ .at = 4, .within = true }, 2, again, &err), NB_INTERRUPTED);
    assert_true(scratch_exists(scratch_path("state")));
    assert_int_equal(run_until(1000, 2, again, &err), NB_OK);
    assert_true(scratch_hash(whole) == scratch_hash(again));
    scratch_remove("again");
}

static void
a_run_taken_up_again_gives_the_same_bytes(void **unused)
{
    struct nb_error err;
    char whole[SCRATCH_PATH], again[SCRATCH_PATH];

    (void)unused;
    strcpy(whole, scratch_path("whole"));
    strcpy(again, scratch_path("again"));
    assert_int_equal(run_until(1000, 1, whole, &err), NB_OK);
    assert_false(scratch_exists(scratch_path("state")));
    assert_int_equal(run_until(8, 2, again, &err), NB_INTERRUPTED);
    assert_non_null(strstr(err.message, "interrupted"));
    assert_true(scratch_exists(scratch_path("state")));
    assert_false(scratch_exists(again));
    assert_int_equal(run_until(16, 3, again, &err), NB_INTERRUPTED);
    assert_int_equal(run_until(1000, 2, again, &err), NB_OK);
    assert_false(scratch_exists(scratch_path("state")));
    assert_true(scratch_hash(whole) == scratch_hash(again));
}

static void
a_state_of_another_run_is_refused(void **unused)
{
    struct nb_error err;
    size_t size;
    unsigned char *bytes;
    char out[SCRATCH_PATH];

    (void)unused;
    strcpy(out, scratch_path("out"));
    assert_int_equal(run_until(8, 1, out, &err), NB_INTERRUPTED);
    bytes = scratch_read(scratch_path("state"), &size);
    bytes[8] ^= 1;
    scratch_write("state", bytes, size);
    assert_int_equal(run_until(1000, 1, out, &err), NB_INPUT);
    assert_non_null(strstr(err.message, "another model, text or options"));
    bytes[8] ^= 1;
    scratch_write("state", bytes, size - 1); /* cut short */
    assert_int_equal(run_until(1000, 1, out, &err), NB_INPUT);
    scratch_write("state", bytes, 3);
    assert_int_equal(run_until(1000, 1, out, &err), NB_INPUT);
    free(bytes);
    scratch_remove("state");
}

/* --- with quantize, inspect, and what is refused --------------------------------------------------------------- */

static void
one_command_does_what_two_do(void **unused)
{
    (void)unused;
    RUN(&run, "calibrate", SAMPLE, "-f", TEXT, "-o", "m.imatrix");
    assert_int_equal(run.code, 0);
    RUN(&run, "quantize", SAMPLE, "-t", "iq2_m", "--calibrate", TEXT, "-o", "one.gguf");
    assert_int_equal(run.code, 0);
    /* The name of the matrix goes into the file, so it must be the text's. */
    scratch_folder("matrix");
    assert_int_equal(rename(scratch_path("m.imatrix"), scratch_path("matrix/tinystories-valid.txt")), 0);
    RUN(&run, "quantize", SAMPLE, "-t", "iq2_m", "--imatrix", "matrix/tinystories-valid.txt", "-o", "two.gguf");
    assert_int_equal(run.code, 0);
    assert_true(scratch_hash(scratch_path("one.gguf")) == scratch_hash(scratch_path("two.gguf")));
    RUN(&run, "inspect", "matrix/tinystories-valid.txt");
    assert_int_equal(run.code, 0);
    assert_non_null(strstr(run.out, "28 entries, 145 chunks of 256 tokens, of tinystories-valid.txt"));
    RUN(&run, "inspect", "--json", "matrix/tinystories-valid.txt");
    assert_non_null(strstr(run.out, "\"name\":\"blk.0.attn_k.weight\""));
}

/* A copy in the current folder comes before those of the build and the installation. */
static void
the_default_text_is_named_with_its_tokens(void **unused)
{
    (void)unused;
    scratch_folder("data");
    scratch_write_text("data/calibration.txt", "Once upon a time there was a little girl. She was very happy.");
    RUN(&run, "calibrate", SAMPLE, "-c", "8", "--chunks", "1", "-o", "default.imatrix");
    assert_int_equal(run.code, 0);
    assert_non_null(strstr(run.err, "comes with nibble, calibration.txt, of 20 tokens"));
    RUN(&run, "calibrate", SAMPLE, "-f", "data/calibration.txt", "-c", "8", "-o", "named.imatrix");
    assert_int_equal(run.code, 0);
    assert_null(strstr(run.err, "comes with nibble"));
    scratch_remove("data");
}

/* '--chunks 20' is a common short run; it sees some 24 KB. */
static void
the_default_text_has_all_kinds_early_and_no_debris(void **unused)
{
    static const char *const early[] = { "Assistant: ", "def ",   "human events", "Market report", "‘Treacle,’",
                                         "Empyreal",    "0b0000", "Artikel 25",   "Артыкул",       "First aid" };
    size_t size;
    char *text = (char *)scratch_read(SAMPLE_DATA "/calibration.txt", &size);

    (void)unused;
    assert_in_range(size, 300000, 600000);
    assert_true(nb_utf8_valid(text, size));
    for (size_t i = 0; i < size; i++)
        if (((unsigned char)text[i] < ' ' && text[i] != '\n' && text[i] != '\t') || text[i] == 0x7f)
            fail_msg("a control character at %zu", i);
    assert_null(memmem(text, size, "nb_", 3)); /* the names of nibble's own sources */
    for (size_t i = 0; i < sizeof early / sizeof early[0]; i++)
        if (memmem(text, 24000, early[i], strlen(early[i])) == NULL)
            fail_msg("'%s' is not in the first 24 KB", early[i]);
    free(text);
}

static void
statistics_are_as_defined(void **unused)
{
    float values[8] = { 1, 1, 1, 5, 9, 9, 9, 9 }, before[8] = { 2, 2, 2, 10, 1, 1, 1, 1 };
    uint64_t tokens[2] = { 10, 0 }; /* the second expert saw nothing */
    struct nb_imatrix_entry entries[2] = { { "blk.4.x", before, 8, tokens, 2 }, { "blk.5.x", values, 8, tokens, 2 } };
    const struct nb_imatrix m = { .entries = entries, .count = 2 };
    struct nb_importance_stats s;
    const double p = 1.0 / 8, q = 5.0 / 8;

    (void)unused;
    nb_importance_stats(&m, &entries[1], &s);
    assert_int_equal(s.columns, 4);
    assert_true(s.sum == 8 && s.mean == 2 && s.min == 1 && s.max == 5 && s.active == 1);
    assert_true(fabs(s.deviation - sqrt(3)) < 1e-12);
    assert_true(fabs(s.entropy + 3 * p * log2(p) + q * log2(q)) < 1e-12);
    assert_true(fabs(s.normalized_entropy - s.entropy / 2) < 1e-12);
    assert_true(s.outliers == 0.25);
    assert_true(s.similarity > 0 && s.similarity < 1);
    nb_importance_stats(&m, &entries[0], &s);
    assert_true(isnan(s.similarity));
}

static void
refuses(const char *says, int code, const char *const *args)
{
    run_nibble(&run, args);
    if (run.code != code || strstr(run.err, says) == NULL)
        fail_msg("expected code %d and '%s': code %d: %s", code, says, run.code, run.err);
}
#define REFUSES(says, code, ...) refuses(says, code, (const char *const[]){ __VA_ARGS__, NULL })

static void
what_cannot_be_calibrated_is_refused(void **unused)
{
    size_t size;
    unsigned char *bytes;
    const float huge = 3e38f;

    (void)unused;
    scratch_write_text("short.txt", "Once upon a time.");
    scratch_write("latin1.txt", "caf\xE9", 4);
    scratch_write_text("ab.txt", "abababababababababababab abababababababababababab");
    REFUSES("fewer than a chunk", 3, "calibrate", SAMPLE, "-f", "short.txt", "-o", "x");
    REFUSES("too few for a chunk", 3, "calibrate", SAMPLE, "-f", TEXT, "--from-chunk", "100000", "-o", "x");
    REFUSES("not valid UTF-8", 3, "calibrate", SAMPLE, "-f", "latin1.txt", "-o", "x");
    REFUSES("name the file to write", 2, "calibrate", SAMPLE, "-f", TEXT);
    REFUSES("'csv' is not gguf or dat", 2, "calibrate", SAMPLE, "-f", TEXT, "--format", "csv", "-o", "x");
    scratch_write_text("there", "mine");
    REFUSES("cannot be created", 4, "calibrate", SAMPLE, "-f", TEXT, "-o", "no such folder/x");
    REFUSES("exists already", 2, "calibrate", SAMPLE, "-f", TEXT, "-o", "there");
    tiny_checkpoint("tiny");
    REFUSES("", 0, "calibrate", "tiny", "-f", "ab.txt", "-c", "8", "-o", "tiny.imatrix");
    bytes = scratch_read(scratch_path("tiny/model.safetensors"), &size);
    memcpy(bytes + size - 64 * 96 * 4 - 4, &huge, 4); /* the last weight of the up projection */
    scratch_write("tiny/model.safetensors", bytes, size);
    free(bytes);
    REFUSES("the input of 'blk.0.ffn_down.weight' is NaN or infinite", 3, "calibrate", "tiny", "-f", "ab.txt", "-c",
            "8", "-o", "x");
    assert_false(scratch_exists(scratch_path("x")));
    REFUSES("another shape", 3, "calibrate", "--merge", GOLDEN, "tiny.imatrix", "-o", "x");
}

/* The types that the last run, with --json, tells. */
static char *
types_told(void)
{
    json_t *report = json_loads(run.out, 0, NULL), *tensor;
    char *text = calloc(1, 65536);
    size_t i, length = 0;

    json_array_foreach(json_object_get(report, "tensors"), i, tensor)
        length += (size_t)snprintf(text + length, 65536 - length, "%s ",
                                   json_string_value(json_object_get(tensor, "type")));
    json_decref(report);
    return text;
}

/* A dry run runs only a few tokens, but recipes choose types by whether there is importance. */
static void
a_dry_run_tells_the_types_of_the_real_one(void **unused)
{
    char *dry, *real;

    (void)unused;
    RUN(&run, "quantize", SAMPLE, "-t", "IQ2_M", "--calibrate", TEXT, "--dry-run", "--json");
    assert_int_equal(run.code, 0);
    dry = types_told();
    RUN(&run, "quantize", SAMPLE, "-t", "IQ2_M", "--calibrate", TEXT, "-o", "real.gguf", "--json");
    assert_int_equal(run.code, 0);
    real = types_told();
    assert_true(strlen(real) > 100);
    assert_string_equal(dry, real);
    free(dry);
    free(real);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_those_of_llama_imatrix),
        cmocka_unit_test(merged_runs_are_the_whole_one),
        cmocka_unit_test(a_dry_run_tells_the_types_of_the_real_one),
        cmocka_unit_test(both_forms_say_the_same),
        cmocka_unit_test(experts_have_sums_of_their_own),
        cmocka_unit_test(only_experts_are_counted_as_experts),
        cmocka_unit_test(a_batch_that_is_broken_off_leaves_the_state_before_it),
        cmocka_unit_test(a_run_taken_up_again_gives_the_same_bytes),
        cmocka_unit_test(a_state_of_another_run_is_refused),
        cmocka_unit_test(one_command_does_what_two_do),
        cmocka_unit_test(the_default_text_is_named_with_its_tokens),
        cmocka_unit_test(the_default_text_has_all_kinds_early_and_no_debris),
        cmocka_unit_test(statistics_are_as_defined),
        cmocka_unit_test(what_cannot_be_calibrated_is_refused),
    };

    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
