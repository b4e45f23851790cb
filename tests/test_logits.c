/*
 * The forward pass of every family against transformers: the logits that tests/golden/logits has for the checkpoints of
 * tests/golden/families and tests/golden/runs. 'test_logits NAME...' compares only those and prints their largest differences;
 * 'test_logits --in FOLDER NAME...' takes the logits of FOLDER/NAME.logits.json.
 */
#include "formats/base/pool.h"
#include "formats/models/source.h"
#include "golden_checkpoint.h"
#include "scratch.h"
#include "testing.h"
#include "verify/run/forward.h"
#include "verify/run/model.h"

#include <math.h>

#define LOGITS TEST_DATA "/golden/logits"
#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define SEQUENCES 2
#define TOKENS 48

/* What no key of GGUF holds, and so neither llama.cpp nor nibble can know: only the first tokens are compared. */
static const struct {
    const char *name;
    size_t tokens; /* of each sequence */
} exceptions[] = {
    { "starcoder2", 24 }, /* its sliding window */
    { "phimoe", 1 },      /* the factor of its rotary embedding, short_mscale: it changes nothing at position 0 */
};

#define AGAIN_LIMIT 2e-4 /* products of fewer tokens add up in another order */

static char **only;
static const char *logits_folder; /* of "--in", or NULL */
static struct nb_pool *pool;
static size_t failed; /* comparisons */

struct comparison {
    const char *name;
    json_t *logits;
    struct nb_source source;
    struct nb_model model;
    int32_t ids[SEQUENCES * TOKENS];
    float *found; /* SEQUENCES * TOKENS x vocabulary */
};

static void
check(const struct comparison *c, enum nb_status status, const struct nb_error *err)
{
    if (status != NB_OK)
        fail_msg("%s: %s", c->name, err->message);
}

/* --- running ---------------------------------------------------------------------------------------------------- */

static void
run_whole_chunks(struct comparison *c)
{
    struct nb_forward *forward;
    const float *hidden;
    struct nb_error err;

    check(c, nb_forward_new(&forward, pool, SEQUENCES, TOKENS, &err), &err);
    check(c, nb_forward_run(forward, &c->model, c->ids, -1, SEQUENCES, &hidden, &err), &err);
    check(c, nb_forward_logits(forward, &c->model, hidden, SEQUENCES * TOKENS, c->found, &err), &err);
    nb_forward_free(forward);
}

/* The first sequence again, in pieces, by what the blocks keep. */
static double
difference_in_pieces(struct comparison *c)
{
    static const uint32_t pieces[] = { 7, 1, 1, 20, 1, 18 };
    const size_t vocab = nb_model_vocab(&c->model);
    float *again = malloc(TOKENS * vocab * sizeof *again);
    struct nb_forward *forward;
    const float *hidden;
    struct nb_error err;
    double worst = 0;
    size_t at = 0;

    assert_non_null(again);
    check(c, nb_forward_new_text(&forward, pool, 24, TOKENS, &err), &err);
    for (size_t i = 0; i < COUNT(pieces); at += pieces[i++]) {
        check(c, nb_forward_continue(forward, &c->model, c->ids + at, pieces[i], &hidden, &err), &err);
        check(c, nb_forward_logits(forward, &c->model, hidden, pieces[i], again + at * vocab, &err), &err);
    }
    assert_int_equal(at, TOKENS);
    for (size_t i = 0; i < TOKENS * vocab; i++)
        worst = fmax(worst, fabs((double)again[i] - (double)c->found[i]));
    nb_forward_free(forward);
    free(again);
    return worst;
}

/* All sequences side by side, in pieces. */
static double
difference_side_by_side(struct comparison *c)
{
    static const uint32_t pieces[] = { 7, 1, 20, 20 };
    const size_t vocab = nb_model_vocab(&c->model);
    float *again = malloc(SEQUENCES * 20 * vocab * sizeof *again);
    struct nb_forward *forward;
    const float *hidden;
    struct nb_error err;
    double worst = 0;
    size_t at = 0;

    assert_non_null(again);
    check(c, nb_forward_new_texts(&forward, pool, SEQUENCES, 20, TOKENS, &err), &err);
    for (size_t i = 0; i < COUNT(pieces); at += pieces[i++]) {
        int32_t ids[SEQUENCES * 20];

        for (size_t s = 0; s < SEQUENCES; s++)
            memcpy(ids + s * pieces[i], c->ids + s * TOKENS + at, pieces[i] * sizeof *ids);
        check(c, nb_forward_continue(forward, &c->model, ids, pieces[i], &hidden, &err), &err);
        check(c, nb_forward_logits(forward, &c->model, hidden, SEQUENCES * pieces[i], again, &err), &err);
        for (size_t s = 0; s < SEQUENCES; s++)
            for (size_t k = 0; k < pieces[i] * vocab; k++)
                worst = fmax(worst, fabs((double)again[s * pieces[i] * vocab + k] -
                                         (double)c->found[(s * TOKENS + at) * vocab + k]));
    }
    assert_int_equal(at, TOKENS);
    nb_forward_free(forward);
    free(again);
    return worst;
}

/* Each sequence as a beginning and its two continuations, which are the same. */
static double
difference_in_branches(struct comparison *c)
{
    enum { TRUNK = 17, BRANCH = TOKENS - TRUNK, BRANCHES = 2 * SEQUENCES };
    int32_t trunks[SEQUENCES * TRUNK], ids[BRANCHES * BRANCH];
    uint32_t trunk[BRANCHES];
    const struct nb_branches branches = { trunks, ids, trunk, SEQUENCES, BRANCHES, TRUNK, BRANCH };
    const size_t vocab = nb_model_vocab(&c->model);
    float *again;
    struct nb_forward *forward;
    const float *hidden;
    struct nb_error err;
    double worst = 0;

    again = malloc(BRANCHES * BRANCH * vocab * sizeof *again);
    assert_non_null(again);
    for (size_t s = 0; s < SEQUENCES; s++)
        memcpy(trunks + s * TRUNK, c->ids + s * TOKENS, TRUNK * sizeof *ids);
    for (size_t b = 0; b < BRANCHES; b++) {
        trunk[b] = (uint32_t)(b / 2);
        memcpy(ids + b * BRANCH, c->ids + b / 2 * TOKENS + TRUNK, BRANCH * sizeof *ids);
    }
    check(c, nb_forward_new_branches(&forward, pool, &branches, &err), &err);
    check(c, nb_forward_run_branches(forward, &c->model, &branches, &hidden, &err), &err);
    check(c, nb_forward_logits(forward, &c->model, hidden, BRANCHES * BRANCH, again, &err), &err);
    for (size_t b = 0; b < BRANCHES; b++)
        for (size_t k = 0; k < BRANCH * vocab; k++)
            worst = fmax(worst, fabs((double)again[b * BRANCH * vocab + k] -
                                     (double)c->found[(b / 2 * TOKENS + TRUNK) * vocab + k]));
    nb_forward_free(forward);
    free(again);
    return worst;
}

/* What a sequence has between two steps. */
struct in_steps {
    struct nb_stream stream, copy;
    size_t x_bytes, lent_bytes;
};

static struct in_steps
new_in_steps(const struct comparison *c)
{
    struct in_steps s = { .x_bytes = (size_t)TOKENS * nb_model_embedding(&c->model) * sizeof(float),
                          .lent_bytes = (size_t)nb_forward_lent_bytes(&c->model, 1, TOKENS) };

    s.stream = (struct nb_stream){ malloc(s.x_bytes), aligned_alloc(64, s.lent_bytes + 64) };
    s.copy = (struct nb_stream){ malloc(s.x_bytes), aligned_alloc(64, s.lent_bytes + 64) };
    assert_true(s.stream.x != NULL && s.stream.lent != NULL && s.copy.x != NULL && s.copy.lent != NULL);
    memset(s.stream.lent, 0, s.lent_bytes);
    return s;
}

static void
free_in_steps(struct in_steps *s)
{
    free(s->stream.x);
    free(s->stream.lent);
    free(s->copy.x);
    free(s->copy.lent);
}

/*
 * A step on a copy, which is thrown away, and then in earnest. What does not change the lent part leaves each byte of it, so
 * it may be run without a copy of that.
 */
static void
run_step(struct comparison *c, struct nb_forward *forward, size_t first, const int32_t *ids, struct in_steps *s)
{
    const bool lends = nb_forward_step_lends(&c->model, first);
    struct nb_error err;

    memcpy(s->copy.x, s->stream.x, s->x_bytes);
    memcpy(s->copy.lent, s->stream.lent, s->lent_bytes);
    check(c, nb_forward_step(forward, &c->model, ids, -1, 1, first, &s->copy, &err), &err);
    if (!lends)
        assert_memory_equal(s->copy.lent, s->stream.lent, s->lent_bytes);
    check(c, nb_forward_step(forward, &c->model, ids, -1, 1, first, &s->stream, &err), &err);
}

/* All sequences step by step, each of them with what it has between two steps. */
static double
difference_in_steps(struct comparison *c)
{
    const size_t vocab = nb_model_vocab(&c->model);
    float *again = malloc(TOKENS * vocab * sizeof *again);
    struct in_steps each[SEQUENCES];
    struct nb_forward *forward;
    struct nb_error err;
    double worst = 0;

    assert_non_null(again);
    check(c, nb_forward_new(&forward, pool, 1, TOKENS, &err), &err);
    for (size_t s = 0; s < SEQUENCES; s++) {
        each[s] = new_in_steps(c);
        check(c, nb_forward_embed(forward, &c->model, c->ids + s * TOKENS, -1, 1, each[s].stream.x, &err), &err);
    }
    for (size_t i = 0; i < c->model.n_blocks; i = nb_forward_step_end(&c->model, i))
        for (size_t s = 0; s < SEQUENCES; s++)
            run_step(c, forward, i, c->ids + s * TOKENS, &each[s]);
    for (size_t s = 0; s < SEQUENCES; s++) {
        check(c, nb_forward_end(forward, &c->model, 1, each[s].stream.x, each[s].copy.x, &err), &err);
        check(c, nb_forward_logits(forward, &c->model, each[s].copy.x, TOKENS, again, &err), &err);
        for (size_t k = 0; k < TOKENS * vocab; k++)
            worst = fmax(worst, fabs((double)again[k] - (double)c->found[s * TOKENS * vocab + k]));
        free_in_steps(&each[s]);
    }
    nb_forward_free(forward);
    free(again);
    return worst;
}

/* --- comparing ---------------------------------------------------------------------------------------------------- */

static double
log_sum_exp(const float *x, size_t n)
{
    double max = -INFINITY, sum = 0;

    for (size_t i = 0; i < n; i++)
        max = fmax(max, (double)x[i]);
    for (size_t i = 0; i < n; i++)
        sum += exp((double)x[i] - max);
    return max + log(sum);
}

static double
off_by(const float *row, size_t vocab, json_t *ids, json_t *expected)
{
    double worst = 0;
    json_t *id;
    size_t i;

    json_array_foreach(ids, i, id) {
        assert_true((size_t)json_integer_value(id) < vocab);
        worst = fmax(worst, fabs((double)row[json_integer_value(id)] - json_number_value(json_array_get(expected, i))));
    }
    return worst;
}

/* The largest difference of a logit, or of the logarithm of the sum, at one position. NaN is infinite. */
static double
position_off_by(const struct comparison *c, const float *row, json_t *expected)
{
    const size_t vocab = nb_model_vocab(&c->model);
    const double lse = fabs(log_sum_exp(row, vocab) - json_number_value(json_object_get(expected, "lse")));
    const double fixed = off_by(row, vocab, json_object_get(c->logits, "fixed_ids"),
                                json_object_get(expected, "fixed"));
    const double top = off_by(row, vocab, json_object_get(expected, "top"), json_object_get(expected, "top_logits"));

    return isnan(lse) ? INFINITY : fmax(lse, fmax(fixed, top));
}

static size_t
tokens_to_compare(const char *name)
{
    for (size_t i = 0; i < COUNT(exceptions); i++)
        if (strcmp(exceptions[i].name, name) == 0)
            return exceptions[i].tokens;
    return TOKENS;
}

static double
difference(const struct comparison *c)
{
    const size_t vocab = nb_model_vocab(&c->model), tokens = tokens_to_compare(c->name);
    double worst = 0;

    for (size_t s = 0; s < SEQUENCES; s++) {
        json_t *sequence = json_array_get(json_object_get(c->logits, "sequences"), s), *position;
        json_t *at = json_object_get(sequence, "at");
        size_t i;

        json_array_foreach(json_object_get(sequence, "positions"), i, position) {
            const size_t token = at == NULL ? i : (size_t)json_integer_value(json_array_get(at, i));

            if (token >= tokens)
                break;
            worst = fmax(worst, position_off_by(c, c->found + (s * TOKENS + token) * vocab, position));
        }
    }
    return worst;
}

/* The logits of the GGUF file that the checkpoint becomes: of the same weights. */
static double
difference_as_file(struct comparison *c, json_t *golden)
{
    static struct run run;
    const char *pre = json_string_value(json_object_get(golden, "pre"));
    char folder[SCRATCH_PATH], out[SCRATCH_PATH];
    struct comparison file = *c;
    struct nb_error err;
    double off = 0;

    snprintf(folder, sizeof folder, "%s", scratch_path("golden"));
    snprintf(out, sizeof out, "%s", scratch_path("golden.gguf"));
    RUN(&run, "quantize", folder, "-t", "f32", "-o", out, "--force", "--allow-other-tokens", "-q", "--pre-tokenizer",
        pre == NULL ? "default" : pre);
    if (run.code != 0)
        fail_msg("%s: %s", c->name, run.err);
    check(c, nb_source_open(&file.source, out, NULL, &err), &err);
    check(c, nb_model_open(&file.model, &file.source, &err), &err);
    file.found = malloc((size_t)SEQUENCES * TOKENS * nb_model_vocab(&file.model) * sizeof *file.found);
    assert_non_null(file.found);
    run_whole_chunks(&file);
    for (size_t i = 0; i < (size_t)SEQUENCES * TOKENS * nb_model_vocab(&file.model); i++)
        off = fmax(off, fabs((double)file.found[i] - (double)c->found[i]));
    free(file.found);
    nb_model_close(&file.model);
    nb_source_close(&file.source);
    return off;
}

static void
open_golden(struct comparison *c, json_t *golden)
{
    struct nb_source_options options = { 0 };
    struct nb_error err;

    golden_checkpoint(golden, "golden");
    options.pre_tokenizer = json_string_value(json_object_get(golden, "pre"));
    check(c, nb_source_open(&c->source, scratch_path("golden"), &options, &err), &err);
    check(c, nb_model_open(&c->model, &c->source, &err), &err);
}

static void
read_logits(struct comparison *c)
{
    char path[SCRATCH_PATH];

    if (logits_folder == NULL)
        snprintf(path, sizeof path, LOGITS "/%s.json.gz", c->name);
    else
        snprintf(path, sizeof path, "%s/%s.logits.json", logits_folder, c->name);
    c->logits = golden_read(path);
    for (size_t s = 0; s < SEQUENCES; s++) {
        json_t *ids = json_object_get(json_array_get(json_object_get(c->logits, "sequences"), s), "ids");

        assert_int_equal(json_array_size(ids), TOKENS);
        for (size_t i = 0; i < TOKENS; i++)
            c->ids[s * TOKENS + i] = (int32_t)json_integer_value(json_array_get(ids, i));
    }
}

static void
compare(const char *name)
{
    struct comparison c = { .name = name };
    double off, in_pieces, in_steps, as_file, limit;
    json_t *golden = golden_by_name(name);

    open_golden(&c, golden);
    read_logits(&c);
    c.found = malloc((size_t)SEQUENCES * TOKENS * nb_model_vocab(&c.model) * sizeof *c.found);
    assert_non_null(c.found);
    limit = nb_hp(&c.model.hp, NB_HP_EXPERTS) > 0 ? 2e-3 : 5e-4;
    run_whole_chunks(&c);
    off = difference(&c);
    in_pieces = fmax(difference_in_pieces(&c), difference_side_by_side(&c));
    in_pieces = fmax(in_pieces, difference_in_branches(&c));
    in_steps = difference_in_steps(&c);
    as_file = difference_as_file(&c, golden);
    if (*only != NULL || off > limit || in_pieces > AGAIN_LIMIT || in_steps > AGAIN_LIMIT || as_file > 1e-4)
        print_message("%-16s off by %.2g, in pieces by %.2g, in steps by %.2g, as a file by %.2g\n", name, off,
                      in_pieces, in_steps, as_file);
    free(c.found);
    json_decref(c.logits);
    json_decref(golden);
    nb_model_close(&c.model);
    nb_source_close(&c.source);
    scratch_remove("golden");
    failed += !(off <= limit && in_pieces <= AGAIN_LIMIT && in_steps <= AGAIN_LIMIT && as_file <= 1e-4);
}

static void
logits_are_those_of_transformers(void **unused)
{
    (void)unused;
    golden_each(LOGITS, only, compare);
    assert_int_equal(failed, 0);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(logits_are_those_of_transformers) };
    struct nb_error err;
    int code;

    (void)argc;
    only = argv + 1;
    if (*only != NULL && strcmp(*only, "--in") == 0) {
        logits_folder = only[1];
        only += 2;
    }
    if (nb_pool_new(&pool, 2, &err) != NB_OK)
        return 1;
    code = cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
    nb_pool_free(pool);
    return code;
}
