/*
 * Recurrent layers: steps of recurrences, by the kernels of every tier the machine has, against sums in double; and
 * matrices as older files have them. That they compute what transformers does is in test_logits.c.
 */
#include "formats/base/pool.h"
#include "formats/elements/tier.h"
#include "golden_checkpoint.h"
#include "scratch.h"
#include "testing.h"
#include "verify/run/forward.h"
#include "verify/run/model.h"
#include "verify/run/vector_math.h"

#include <math.h>

#define ROWS 5
#define MAX_COLUMNS 37
#define GUARD 1e30f

struct step {
    float state[ROWS * MAX_COLUMNS + 1];
    float rates[ROWS * MAX_COLUMNS];
    float decay[ROWS], write[ROWS], read[ROWS];
    float time[MAX_COLUMNS], value[MAX_COLUMNS], out[MAX_COLUMNS + 1];
};

static float
made_up(size_t i)
{
    return (float)((double)(i * 2654435761u % 1000) / 500 - 1);
}

static struct step
new_step(void)
{
    struct step s;

    for (size_t i = 0; i < ROWS * MAX_COLUMNS; i++) {
        s.state[i] = made_up(i);
        s.rates[i] = made_up(i + 7) - 1.5f;
    }
    for (size_t i = 0; i < ROWS; i++) {
        s.decay[i] = fabsf(made_up(i + 3));
        s.write[i] = made_up(i + 5);
        s.read[i] = made_up(i + 11);
    }
    for (size_t i = 0; i < MAX_COLUMNS; i++) {
        s.time[i] = fabsf(made_up(i + 13));
        s.value[i] = made_up(i + 17);
        s.out[i] = made_up(i + 19);
    }
    s.state[ROWS * MAX_COLUMNS] = s.out[MAX_COLUMNS] = GUARD;
    return s;
}

/* AFTER must be what BEFORE becomes if FACTORS (ROWS x COLUMNS) are its elements' decays. */
static void
check_step(const struct step *before, const struct step *after, size_t columns, size_t stride, const double *factors,
           bool writes)
{
    for (size_t c = 0; c < columns; c++) {
        double out = (double)before->out[c];

        for (size_t r = 0; r < ROWS; r++) {
            const double written = writes ? (double)before->write[r] * (double)before->value[c] : 0;
            const double s = factors[r * columns + c] * (double)before->state[r * stride + c] + written;

            out += (double)before->read[r] * s;
            assert_true(fabs((double)after->state[r * stride + c] - s) < 1e-5);
        }
        assert_true(fabs((double)after->out[c] - out) < 1e-5);
    }
    for (size_t c = columns; c <= MAX_COLUMNS; c++)
        assert_true(after->out[c] == before->out[c]);
}

static void
check_by_row(size_t columns, bool decays, bool writes)
{
    const struct step before = new_step();
    struct step after = before;
    double factors[ROWS * MAX_COLUMNS];

    for (size_t i = 0; i < ROWS * columns; i++)
        factors[i] = decays ? (double)before.decay[i / columns] : 1;
    nb_vector_math()->recur(after.state, ROWS, columns, decays ? after.decay : NULL, writes ? after.write : NULL,
                            after.value, after.read, after.out);
    check_step(&before, &after, columns, columns, factors, writes);
    for (size_t i = ROWS * columns; i <= ROWS * MAX_COLUMNS; i++)
        assert_true(after.state[i] == before.state[i]);
}

static void
check_by_element(size_t columns)
{
    const struct step before = new_step();
    struct step after = before;
    double factors[ROWS * MAX_COLUMNS];

    for (size_t r = 0; r < ROWS; r++)
        for (size_t c = 0; c < columns; c++)
            factors[r * columns + c] = exp((double)before.rates[r * MAX_COLUMNS + c] * (double)before.time[c]);
    nb_vector_math()->recur_selectively(after.state, ROWS, columns, MAX_COLUMNS, after.rates, after.time, after.write,
                                        after.value, after.read, after.out);
    check_step(&before, &after, columns, MAX_COLUMNS, factors, true);
    for (size_t i = 0; i <= ROWS * MAX_COLUMNS; i++)
        if (i % MAX_COLUMNS >= columns)
            assert_true(after.state[i] == before.state[i]);
}

/* Any number of columns, also such as no vector holds. */
static void
every_tier_steps_as_the_sums_say(void **unused)
{
    (void)unused;
    for (const char *const *tier = nb_tiers(); *tier != NULL; tier++) {
        assert_true(nb_tier_set(*tier));
        for (size_t columns = 1; columns <= MAX_COLUMNS; columns++) {
            check_by_row(columns, true, true);
            check_by_row(columns, true, false);
            check_by_row(columns, false, true);
            check_by_element(columns);
        }
    }
    assert_true(nb_tier_set(NULL));
}

/* --- matrices in one ------------------------------------------------------------------------------------------- */

/* The linear attention of the golden qwen3next. */
#define EMBEDDING 64
#define KEY 16 /* elements of a head */
#define GROUPS 2
#define KEYS (GROUPS * KEY)
#define VALUES (2 * KEYS)
#define VOCAB 2064
#define TOKENS 20

static void
check(enum nb_status status, const struct nb_error *err)
{
    if (status != NB_OK)
        fail_msg("%s", err->message);
}

static void
read_rows(const struct nb_source *source, const char *name, float *to)
{
    struct nb_view_reader reader = { 0 };
    struct nb_error err;

    for (size_t i = 0; i < source->n_tensors; i++) {
        const struct nb_view *t = &source->tensors[i];

        if (strcmp(t->name, name) == 0)
            check(nb_view_rows(t, 0, t->elements / t->ne[0], to, &reader, &err), &err);
    }
    nb_view_reader_free(&reader);
}

/* For each group of heads the rows of its query, key, values and gates. */
static void
make_fused(const struct nb_source *source, struct gguf_maker *g)
{
    static float qkv[(2 * KEYS + VALUES) * EMBEDDING], gate[VALUES * EMBEDDING];
    const size_t key = KEY * EMBEDDING, value = VALUES / GROUPS * EMBEDDING;
    float *to = make_tensor(g, "blk.0.ssm_in.weight", EMBEDDING, 2 * KEYS + 2 * VALUES, 1);

    read_rows(source, "blk.0.attn_qkv.weight", qkv);
    read_rows(source, "blk.0.attn_gate.weight", gate);
    for (size_t i = 0; i < GROUPS; i++, to += 2 * (key + value)) {
        memcpy(to, qkv + i * key, key * sizeof *to);
        memcpy(to + key, qkv + (GROUPS + i) * key, key * sizeof *to);
        memcpy(to + 2 * key, qkv + 2 * GROUPS * key + i * value, value * sizeof *to);
        memcpy(to + 2 * key + value, gate + i * value, value * sizeof *to);
    }
}

/* The file NAME has the first layer of SOURCE only. */
static void
make_first_layer(const struct nb_source *source, const char *name, bool fused)
{
    struct gguf_maker g = { .count = 0 };

    for (size_t i = 0; i < source->n_tensors; i++) {
        const struct nb_view *t = &source->tensors[i];
        const bool is_part = strstr(t->name, "attn_qkv") != NULL || strstr(t->name, "attn_gate") != NULL;

        if (strncmp(t->name, "blk.", 4) != 0 || (strncmp(t->name, "blk.0.", 6) == 0 && !(fused && is_part)))
            read_rows(source, t->name, make_tensor(&g, t->name, t->ne[0], t->n_dims > 1 ? t->ne[1] : 0, t->ne[2]));
    }
    if (fused)
        make_fused(source, &g);
    make_file(&g, &source->meta, name);
}

static void
logits_of(const char *name, float *logits)
{
    static const int32_t ids[TOKENS] = { 3, 1, 4, 1, 5, 9, 2, 6, 5, 35, 8, 97, 9, 3, 2, 38, 4, 62, 6, 4 };
    struct nb_source source;
    struct nb_model model;
    struct nb_pool *pool;
    struct nb_forward *forward;
    const float *hidden;
    struct nb_error err;

    scratch_open_source(&source, name);
    check(nb_model_open(&model, &source, &err), &err);
    assert_int_equal(nb_model_vocab(&model), VOCAB);
    check(nb_pool_new(&pool, 2, &err), &err);
    check(nb_forward_new(&forward, pool, 1, TOKENS, &err), &err);
    check(nb_forward_run(forward, &model, ids, -1, 1, &hidden, &err), &err);
    check(nb_forward_logits(forward, &model, hidden, TOKENS, logits, &err), &err);
    nb_forward_free(forward);
    nb_pool_free(pool);
    nb_model_close(&model);
    nb_source_close(&source);
}

static void
matrices_in_one_give_the_same_logits(void **unused)
{
    static float apart[TOKENS * VOCAB], in_one[TOKENS * VOCAB];
    json_t *golden = golden_read(TEST_DATA "/golden/families/qwen3next.json.gz");
    struct nb_source_options options = { .pre_tokenizer = json_string_value(json_object_get(golden, "pre")) };
    struct nb_source source;
    struct nb_error err;

    (void)unused;
    golden_checkpoint(golden, "golden");
    check(nb_source_open(&source, scratch_path("golden"), &options, &err), &err);
    json_decref(golden);
    nb_meta_set_u32(&source.meta, "qwen3next.block_count", 1);
    nb_meta_remove(&source.meta, "qwen3next.nextn_predict_layers");
    nb_meta_remove(&source.meta, "qwen3next.attention.recurrent_layers");
    make_first_layer(&source, "apart.gguf", false);
    make_first_layer(&source, "in_one.gguf", true);
    nb_source_close(&source);
    logits_of("apart.gguf", apart);
    logits_of("in_one.gguf", in_one);
    for (size_t i = 0; i < TOKENS * VOCAB; i++)
        assert_true(fabs((double)apart[i] - (double)in_one[i]) < 1e-5);
    assert_true(fabs((double)apart[0] - (double)apart[VOCAB]) > 1e-3); /* else nothing was compared */
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_tier_steps_as_the_sums_say),
        cmocka_unit_test(matrices_in_one_give_the_same_logits),
    };

    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
