/*
 * Types by their effects: a size is kept, what costs most gets most bits, and a table of effects from anywhere is either
 * used or refused.
 */
#include "quantize/policy/allocation.h"
#include "scratch.h"
#include "splitmix.h"
#include "testing.h"

#define SAMPLE SAMPLE_DATA "/tinystories-3m"
#define TEXT SAMPLE_DATA "/tinystories-valid.txt"

static struct run run;

/* --- the choice ------------------------------------------------------------------------------------------------ */

#define TENSORS 4
#define TYPES 4

static void
random_tensors(struct nb_allocated *t, uint64_t *state)
{
    for (size_t i = 0; i < TENSORS; i++) {
        double cost = (double)(splitmix(state) % 1000);
        uint64_t bytes = 100 + splitmix(state) % 100;

        t[i] = (struct nb_allocated){ .name = "t", .n = TYPES };
        for (size_t k = 0; k < TYPES; k++) {
            t[i].candidate[(k + i) % TYPES] = (struct nb_candidate){ NB_Q2_K, bytes, cost };
            bytes += 1 + splitmix(state) % 50;
            cost *= (double)(splitmix(state) % 100) / 100;
        }
    }
}

/* The least cost of any choice within BUDGET bytes, by trying all. */
static double
least_cost(const struct nb_allocated *t, uint64_t budget)
{
    double least = INFINITY;

    for (unsigned choice = 0; choice < TYPES * TYPES * TYPES * TYPES; choice++) {
        uint64_t bytes = 0;
        double cost = 0;

        for (unsigned i = 0, c = choice; i < TENSORS; i++, c /= TYPES) {
            bytes += t[i].candidate[c % TYPES].bytes;
            cost += t[i].candidate[c % TYPES].cost;
        }
        if (bytes <= budget && cost < least)
            least = cost;
    }
    return least;
}

/* Steps along the hull are optimal but for the last one: the cost lies between the best for this budget and for less. */
static void
no_choice_of_that_size_is_much_better(void **unused)
{
    uint64_t state = 1;

    (void)unused;
    for (int n = 0; n < 500; n++) {
        struct nb_allocated all[TENSORS], t[TENSORS];
        const uint64_t budget = 500 + splitmix(&state) % 700;

        random_tensors(all, &state);
        memcpy(t, all, sizeof t);
        if (!nb_allocate_bytes(t, TENSORS, budget)) {
            assert_true(isinf(least_cost(all, budget)));
            continue;
        }
        assert_true(nb_allocated_bytes(t, TENSORS) <= budget);
        assert_true(nb_allocated_cost(t, TENSORS) >= least_cost(all, budget) - 1e-9);
        /* No hull step has more than 150 bytes, by which the budget can be missed. */
        assert_true(nb_allocated_cost(t, TENSORS) <= least_cost(all, budget - 150) + 1e-9);
    }
}

static void
a_cost_is_reached_with_as_few_steps_as_it_needs(void **unused)
{
    struct nb_allocated t[2] = {
        { "a", { { NB_Q2_K, 10, 8 }, { NB_Q4_K, 20, 2 }, { NB_Q8_0, 40, 0 } }, 3, 0 },
        { "b", { { NB_Q2_K, 10, 1 }, { NB_Q4_K, 20, 0.5 }, { NB_Q8_0, 40, 0 } }, 3, 0 },
    };

    (void)unused;
    assert_true(nb_allocate_cost(t, 2, 3));
    assert_int_equal(t[0].candidate[t[0].chosen].type, NB_Q4_K);
    assert_int_equal(t[1].candidate[t[1].chosen].type, NB_Q2_K);
    assert_true(nb_allocate_cost(t, 2, 0));
    assert_int_equal(nb_allocated_bytes(t, 2), 80);
    assert_false(nb_allocate_cost(t, 2, -1));
}

/* A type that is larger and worse than another is never chosen. */
static void
what_is_larger_and_worse_is_not_chosen(void **unused)
{
    struct nb_allocated t = { "a", { { NB_Q4_0, 30, 5 }, { NB_Q2_K, 10, 8 }, { NB_Q4_K, 20, 2 } }, 3, 0 };

    (void)unused;
    assert_true(nb_allocate_bytes(&t, 1, 1000));
    assert_int_equal(t.candidate[t.chosen].type, NB_Q4_K);
}

/* --- the command ------------------------------------------------------------------------------------------------ */

static size_t
size_of(const char *name)
{
    size_t size;

    free(scratch_read(scratch_path(name), &size));
    return size;
}

static void
expect(int code, const char *words)
{
    if (run.code != code || strstr(run.err, words) == NULL)
        fail_msg("expected code %d and '%s', not %d: %s%s", code, words, run.code, run.out, run.err);
}

static void
a_file_has_at_most_the_size_that_was_asked_for(void **unused)
{
    (void)unused;
    RUN(&run, "quantize", SAMPLE, "--target-size", "2M", "--calibrate", TEXT, "-c", "64", "--effects", "effects.json",
        "-o", "two.gguf");
    expect(0, "types were chosen for an expected KLD of");
    assert_true(size_of("two.gguf") <= 2000000 && size_of("two.gguf") > 1950000);
    assert_false(scratch_exists(scratch_path("two.gguf.measuring")));
    RUN(&run, "check", "two.gguf");
    assert_int_equal(run.code, 0);
    RUN(&run, "quantize", SAMPLE, "--target-size", "1M", "--effects", "effects.json", "-o", "one.gguf");
    expect(3, "even with the smallest types that may be used the file has");
    RUN(&run, "quantize", SAMPLE, "--target-size", "0.5M", "-o", "one.gguf"); /* before anything is measured */
    expect(3, "even with the smallest types that may be used the file has");
    assert_null(strstr(run.err, "expected"));
    RUN(&run, "quantize", SAMPLE, "--target-size", "1.15M", "--calibrate", TEXT, "-c", "64", "-o", "small.gguf");
    expect(0, "i-quants, which are slower, are used as well");
    assert_true(size_of("small.gguf") <= 1150000 && size_of("small.gguf") > 1050000);
    RUN(&run, "quantize", SAMPLE, "--target-bpw", "5", "--effects", "effects.json", "-o", "five.gguf", "-q", "--json");
    assert_int_equal(run.code, 0);
    assert_true(strtod(strstr(run.out, "\"bpw\":") + strlen("\"bpw\":"), NULL) <= 5);
    RUN(&run, "quantize", SAMPLE, "--max-kld", "1e-12", "--effects", "effects.json", "-o", "best.gguf");
    expect(3, "even the best of the types that may be used cost a KLD of");
    assert_false(scratch_exists(scratch_path("one.gguf")) || scratch_exists(scratch_path("best.gguf")));
}

/* The table decides: with one that says that nothing but one tensor matters, that one gets the best type. */
static void
a_table_of_effects_is_used_again(void **unused)
{
    char text[4096] = "{\"effects\": 1, \"tensors\": [";

    (void)unused;
    RUN(&run, "quantize", SAMPLE, "--target-size", "2M", "--calibrate", TEXT, "-c", "64", "--effects", "effects.json",
        "-o", "again.gguf");
    assert_int_equal(run.code, 0);
    assert_true(scratch_hash(scratch_path("again.gguf")) == scratch_hash(scratch_path("two.gguf")));
    strcat(text, "{\"name\": \"blk.0.attn_k.weight\", \"kld\": {\"q2_K\": 1, \"q8_0\": 0}},"
                 "{\"name\": \"blk.0.ffn_down.weight\", \"kld\": {\"q2_K\": 0, \"q8_0\": 0}}]}");
    scratch_write_text("own.json", text);
    RUN(&run, "quantize", SAMPLE, "--target-size", "3M", "--effects", "own.json", "-o", "own.gguf");
    assert_int_equal(run.code, 0);
    RUN(&run, "inspect", "--tensors", "own.gguf");
    assert_non_null(strstr(run.out, "blk.0.attn_k.weight"));
    RUN(&run, "quantize", SAMPLE, "--like", "own.gguf", "-o", "like.gguf", "--json");
    assert_int_equal(run.code, 0);
    assert_true(size_of("like.gguf") <= size_of("own.gguf"));
    assert_non_null(strstr(run.out, "\"type\":\"q8_0\""));
    assert_non_null(strstr(run.out, "\"type\":\"q2_K\""));
}

static void
a_bad_table_of_effects_is_refused(void **unused)
{
    static const char *const bad[][2] = {
        { "{", "JSON" },
        { "{}", "is no table of effects" },
        { "{\"effects\": 2, \"tensors\": []}", "is no table of effects" },
        { "{\"effects\": 1, \"tensors\": []}", "has no tensor of this model" },
        { "{\"effects\": 1, \"tensors\": [7, {}, {\"name\": 7}]}", "has no tensor of this model" },
        { "{\"effects\": 1, \"tensors\": [{\"name\": \"blk.0.attn_k.weight\"}]}", "has no tensor of this model" },
        { "{\"effects\": 1, \"tensors\": [{\"name\": \"blk.0.attn_k.weight\", \"kld\": {\"q2_K\": -1}}]}",
          "a cost is no number" },
        { "{\"effects\": 1, \"tensors\": [{\"name\": \"blk.0.attn_k.weight\", \"kld\": {\"q2_K\": \"x\"}}]}",
          "a cost is no number" },
    };

    (void)unused;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        scratch_write_text("bad.json", bad[i][0]);
        RUN(&run, "quantize", SAMPLE, "--target-size", "2M", "--effects", "bad.json", "-o", "x.gguf");
        expect(3, bad[i][1]);
        assert_false(scratch_exists(scratch_path("x.gguf")));
    }
}

static void
options_that_contradict_each_other_are_refused(void **unused)
{
    (void)unused;
    RUN(&run, "quantize", SAMPLE, "--target-size", "2M", "--target-bpw", "4", "-o", "x.gguf");
    expect(2, "exclude each other");
    RUN(&run, "quantize", SAMPLE, "--target-size", "2M", "-t", "Q4_K", "-o", "x.gguf");
    expect(2, "chooses the types itself");
    RUN(&run, "quantize", SAMPLE, "--types", "q4_K", "-o", "x.gguf");
    expect(2, "need --target-size");
    RUN(&run, "quantize", SAMPLE, "--target-size", "2M", "--types", "q4_K,q9", "-o", "x.gguf");
    expect(2, "q9");
    RUN(&run, "quantize", SAMPLE, "--target-bpw", "0", "-o", "x.gguf");
    expect(2, "more than 0");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_choice_of_that_size_is_much_better),
        cmocka_unit_test(a_cost_is_reached_with_as_few_steps_as_it_needs),
        cmocka_unit_test(what_is_larger_and_worse_is_not_chosen),
        cmocka_unit_test(a_file_has_at_most_the_size_that_was_asked_for),
        cmocka_unit_test(a_table_of_effects_is_used_again),
        cmocka_unit_test(a_bad_table_of_effects_is_refused),
        cmocka_unit_test(options_that_contradict_each_other_are_refused),
    };

    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
