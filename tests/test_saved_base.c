/*
 * Saved bases: what is measured with one is what is measured with the base itself; one of another text or vocabulary is
 * refused; and no file, however broken, is read beyond its end or believed.
 */
#include "formats/base/status.h"
#include "scratch.h"
#include "splitmix.h"
#include "testing.h"
#include "verify/drift/prediction.h"
#include "verify/drift/saved_base.h"

#include <jansson.h>
#include <stdbool.h>
#include <xxhash.h>

#define SAMPLE SAMPLE_DATA "/tinystories-3m"
#define TEXT SAMPLE_DATA "/tinystories-valid.txt"
#define VOCAB 32000u
#define POSITIONS 64u

static struct run run;

/* --- the estimate --------------------------------------------------------------------------------------------- */

static double
log_sum_of(const float *x)
{
    double sum = 0;

    for (size_t i = 0; i < VOCAB; i++)
        sum += exp((double)x[i]);
    return log(sum);
}

static double
kld_of(const float *p, double p_sum, const float *q, double q_sum)
{
    double sum = 0;

    for (size_t i = 0; i < VOCAB; i++)
        sum += exp((double)p[i] - p_sum) * ((double)p[i] - p_sum - (double)q[i] + q_sum);
    return sum;
}

/* Logits from sharp to nearly flat, whose rest is most of the probability, against others that are off by a tenth or so. */
static void
what_is_not_listed_is_estimated_well(void **unused)
{
    const uint32_t capacity = nb_prediction_capacity(VOCAB);
    float *p = malloc(VOCAB * sizeof *p), *q = malloc(VOCAB * sizeof *q);
    struct nb_candidate *room = malloc(capacity * sizeof *room);
    struct nb_prediction made = { .id = malloc(capacity * sizeof *made.id),
                                  .log_p = malloc(capacity * sizeof *made.log_p) };
    double exact = 0, estimated = 0, rest = 0;
    uint64_t state = 7;

    (void)unused;
    for (uint32_t k = 0; k < POSITIONS; k++) {
        double p_sum, q_sum;

        for (size_t i = 0; i < VOCAB; i++) {
            p[i] = (float)(splitmix_gaussian(&state) * (1 + k % 8));
            q[i] = p[i] + (float)(0.15 * splitmix_gaussian(&state));
        }
        p_sum = log_sum_of(p);
        q_sum = log_sum_of(q);
        nb_predict(p, VOCAB, p_sum, 5, k, room, &made);
        assert_true(made.listed >= 1 && made.listed + made.sampled <= capacity);
        assert_true(fabs((double)made.nll - (p_sum - (double)p[5])) < 1e-4);
        for (uint32_t i = 1; i < made.listed; i++)
            assert_true(made.id[i] > made.id[i - 1]);
        for (size_t i = 0; i < VOCAB; i++)
            assert_true(p[i] <= p[made.top]);
        exact += kld_of(p, p_sum, q, q_sum) / POSITIONS;
        estimated += nb_prediction_kld(&made, q, q_sum) / POSITIONS;
        rest += (double)made.rest / POSITIONS;
    }
    assert_true(rest > 0.2); /* the estimate matters */
    if (fabs(estimated - exact) > 0.01 * exact)
        fail_msg("%.7f, not %.7f", estimated, exact);
    free(p);
    free(q);
    free(room);
    free(made.id);
    free(made.log_p);
}

/* --- a run ---------------------------------------------------------------------------------------------------- */

static json_t *
object(void)
{
    json_t *o;

    if (run.code != 0)
        fail_msg("code %d: %s", run.code, run.err);
    o = json_loads(run.out, 0, NULL);
    assert_non_null(o);
    return o;
}

static double
number(const json_t *o, const char *key)
{
    assert_true(json_is_real(json_object_get(o, key)));
    return json_real_value(json_object_get(o, key));
}

static int
save_sample(void **state)
{
    if (scratch_setup(state) != 0)
        return -1;
    RUN(&run, "quantize", SAMPLE, "-t", "q4_0", "-o", "q4.gguf");
    if (run.code != 0)
        return -1;
    RUN(&run, "verify", "-f", TEXT, "-c", "128", "--chunks", "24", "--json", "--save-base", "sample.base", SAMPLE,
        "q4.gguf");
    return run.code;
}

static void
a_saved_base_measures_what_the_base_measures(void **unused)
{
    json_t *own, *saved;
    const json_t *a, *b;

    (void)unused;
    RUN(&run, "verify", "-f", TEXT, "-c", "128", "--chunks", "24", "--json", SAMPLE, "q4.gguf");
    own = object();
    RUN(&run, "verify", "--base-from", "sample.base", "--json", "q4.gguf");
    saved = object();
    a = json_object_get(own, "base");
    b = json_object_get(saved, "base");
    assert_true(number(a, "perplexity") == number(b, "perplexity") && number(a, "bpw") == number(b, "bpw"));
    assert_string_equal(json_string_value(json_object_get(b, "path")), "tinystories-3m");
    assert_true(json_is_true(json_object_get(b, "saved")));
    a = json_array_get(json_object_get(own, "models"), 0);
    b = json_array_get(json_object_get(saved, "models"), 0);
    assert_true(number(a, "perplexity_ratio") == number(b, "perplexity_ratio"));
    assert_true(number(a, "same_top") == number(b, "same_top") && number(a, "mean_dp") == number(b, "mean_dp"));
    /* With 2048 tokens the file has few of them. */
    if (fabs(number(a, "kld_mean") - number(b, "kld_mean")) > 0.02 * number(a, "kld_mean"))
        fail_msg("%.6f, not %.6f", number(b, "kld_mean"), number(a, "kld_mean"));
    json_decref(own);
    json_decref(saved);
}

static void
fewer_chunks_and_the_same_text_are_taken(void **unused)
{
    json_t *o;

    (void)unused;
    RUN(&run, "verify", "--base-from", "sample.base", "-f", TEXT, "-c", "128", "--chunks", "3", "--json", "q4.gguf",
        SAMPLE);
    o = object();
    assert_int_equal(json_integer_value(json_object_get(o, "chunks")), 3);
    assert_true(number(json_array_get(json_object_get(o, "models"), 1), "kld_mean") < 1e-6); /* the base itself */
    json_decref(o);
    RUN(&run, "verify", "--base-from", "sample.base", "--html", "page.html", "q4.gguf");
    assert_int_equal(run.code, 0);
}

static void
refuses(const char *says, int code, const char *const *args)
{
    run_nibble(&run, args);
    if (run.code != code || strstr(run.err, says) == NULL)
        fail_msg("expected code %d and '%s': code %d: %s", code, says, run.code, run.err);
}
#define REFUSES(says, code, ...) refuses(says, code, (const char *const[]){ __VA_ARGS__, NULL })

/* q4.gguf with another text of one token. */
static void
make_other_vocabulary(void)
{
    static const char token[] = "little";
    size_t size;
    unsigned char *bytes = scratch_read(scratch_path("q4.gguf"), &size);
    unsigned char *at = memmem(bytes, size, token, sizeof token - 1);

    assert_non_null(at);
    at[5] = 'q';
    scratch_write("other.gguf", bytes, size);
    free(bytes);
}

static void
a_base_of_something_else_is_refused(void **unused)
{
    (void)unused;
    scratch_write_text("other.txt", "Once upon a time there was another text.");
    REFUSES("is not the text that the base was saved with", 3, "verify", "--base-from", "sample.base", "-f",
            "other.txt", "q4.gguf");
    make_other_vocabulary();
    REFUSES("has another vocabulary than tinystories-3m", 3, "verify", "--base-from", "sample.base", "other.gguf");
    REFUSES("was saved with chunks of 128 tokens", 2, "verify", "--base-from", "sample.base", "-c", "64", "q4.gguf");
    REFUSES("--tensors needs the base itself", 2, "verify", "--base-from", "sample.base", "--tensors", "q4.gguf");
    REFUSES("--save-base needs the base itself", 2, "verify", "--base-from", "sample.base", "--save-base", "x.base",
            "q4.gguf");
    REFUSES("exists already", 2, "verify", "-f", TEXT, "--chunks", "2", "--save-base", "sample.base", SAMPLE);
    REFUSES("is damaged, or no saved base", 3, "verify", "--base-from", "q4.gguf", "q4.gguf");
    REFUSES("No such file", 3, "verify", "--base-from", "nowhere.base", "q4.gguf");
}

/* --- hostile files -------------------------------------------------------------------------------------------- */

#define SMALL 50u
#define CHUNK 8u
#define CHUNKS 3u
#define SCORED (CHUNKS * (CHUNK - 1 - CHUNK / 2))

static unsigned char *
small_file(size_t *size)
{
    int32_t tokens[CHUNKS * CHUNK];
    char model[] = "model.gguf", text[] = "text.txt";
    const struct nb_saved_base about = { .vocab = SMALL,
                                         .chunk_tokens = CHUNK,
                                         .chunks = CHUNKS,
                                         .bos = 1,
                                         .bits_per_weight = 16,
                                         .model = model,
                                         .text = text,
                                         .tokens = tokens };
    struct nb_candidate room[64];
    uint32_t id[64];
    float logits[SMALL], log_p[64];
    struct nb_prediction p = { .id = id, .log_p = log_p };
    struct nb_base_writer *w;
    struct nb_error err;
    uint64_t state = 3;

    for (size_t i = 0; i < CHUNKS * CHUNK; i++)
        tokens[i] = (int32_t)(i % SMALL);
    assert_int_equal(nb_base_writer_new(&w, scratch_path("small.base"), true, &about, &err), NB_OK);
    for (size_t k = 0; k < SCORED; k++) {
        double sum = 0;

        for (size_t i = 0; i < SMALL; i++) {
            logits[i] = (float)splitmix_gaussian(&state);
            sum += exp((double)logits[i]);
        }
        nb_predict(logits, SMALL, log(sum), 3, k, room, &p);
        assert_true(p.sampled > 0);
        assert_int_equal(nb_base_writer_put(w, &p, 1, &err), NB_OK);
    }
    assert_int_equal(nb_base_writer_end(w, &err), NB_OK);
    return scratch_read(scratch_path("small.base"), size);
}

/* Reads all of FILE. What is read must be as its header says. */
static enum nb_status
read_all(const char *file, struct nb_error *err)
{
    struct nb_base_reader *r;
    enum nb_status status = nb_base_reader_open(&r, file, err);
    uint32_t capacity;
    struct nb_prediction p;

    if (status != NB_OK)
        return status;
    capacity = nb_prediction_capacity(nb_base_reader_about(r)->vocab);
    p.id = malloc(capacity * sizeof *p.id);
    p.log_p = malloc(capacity * sizeof *p.log_p);
    for (size_t i = 0; i < SCORED && status == NB_OK; i++) {
        status = nb_base_reader_next(r, &p, 1, err);
        for (uint32_t k = 0; status == NB_OK && k < p.listed + p.sampled; k++)
            assert_true(p.id[k] < nb_base_reader_about(r)->vocab && p.log_p[k] <= 0);
    }
    free(p.id);
    free(p.log_p);
    nb_base_reader_close(r);
    return status;
}

static void
expect_refused(const unsigned char *bytes, size_t size)
{
    struct nb_error err;

    scratch_write("broken.base", bytes, size);
    assert_true(nb_status_is(read_all(scratch_path("broken.base"), &err), NB_INPUT));
    assert_non_null(strstr(err.message, "is damaged, or no saved base"));
}

static void
a_file_that_is_cut_or_changed_is_refused(void **unused)
{
    struct nb_error err;
    size_t size;
    unsigned char *bytes = small_file(&size);

    (void)unused;
    assert_int_equal(read_all(scratch_path("small.base"), &err), NB_OK);
    for (size_t n = 0; n < size; n++)
        expect_refused(bytes, n);
    for (size_t bit = 0; bit < 8 * size; bit += 3) {
        bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
        expect_refused(bytes, size);
        bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
    free(bytes);
}

static void
put_hash(unsigned char *at, uint64_t hash)
{
    memcpy(at, &hash, sizeof hash);
}

/* Makes the hashes right of a file whose lengths are those of the small one. HEAD is what stands before the first chunk. */
static void
seal(unsigned char *bytes, size_t size, size_t head)
{
    size_t at = head + 8;

    put_hash(bytes + head, XXH64(bytes, head, 0));
    for (uint64_t chunk = 0; at + 12 <= size; chunk++) {
        uint32_t length;

        memcpy(&length, bytes + at, sizeof length);
        if (length > size - at - 12)
            return;
        put_hash(bytes + at + 4 + length, XXH64(bytes + at + 4, length, chunk));
        at += 12 + length;
    }
}

/* Whoever makes a file can make its hashes, too. */
static void
a_file_with_right_hashes_is_not_believed(void **unused)
{
    const size_t head = 64 + strlen("model.gguf") + strlen("text.txt") + CHUNKS * CHUNK * sizeof(int32_t);
    size_t size, refused = 0;
    unsigned char *good = small_file(&size), *bad = malloc(size);
    struct nb_error err;

    (void)unused;
    memcpy(bad, good, size);
    seal(bad, size, head);
    assert_memory_equal(bad, good, size); /* the layout is understood */
    for (size_t bit = 0; bit < 8 * size; bit++) {
        enum nb_status status;

        memcpy(bad, good, size);
        bad[bit / 8] ^= (unsigned char)(1u << bit % 8);
        seal(bad, size, head);
        scratch_write("broken.base", bad, size);
        status = read_all(scratch_path("broken.base"), &err);
        assert_true(status == NB_OK || nb_status_is(status, NB_INPUT) || nb_status_is(status, NB_SYSTEM));
        refused += status != NB_OK;
    }
    assert_true(refused > size); /* of 8 bits of a byte more than one */
    free(good);
    free(bad);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_listed_is_estimated_well),
        cmocka_unit_test(a_saved_base_measures_what_the_base_measures),
        cmocka_unit_test(fewer_chunks_and_the_same_text_are_taken),
        cmocka_unit_test(a_base_of_something_else_is_refused),
        cmocka_unit_test(a_file_that_is_cut_or_changed_is_refused),
        cmocka_unit_test(a_file_with_right_hashes_is_not_believed),
    };

    return cmocka_run_group_tests(tests, save_sample, scratch_teardown);
}
