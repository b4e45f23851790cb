/*
 * Layers that are not like one another: in size, in kind and in what they lack. Each block says
 * what memory it needs and names its matrices; what is beyond the memory of another layer is left
 * to the address sanitizer.
 */
#include "formats/base/pool.h"
#include "formats/base/status.h"
#include "formats/gguf/gguf.h"
#include "formats/models/architecture.h"
#include "formats/models/source.h"
#include "formats/models/view.h"
#include "scratch.h"
#include "testing.h"
#include "verify/run/forward.h"
#include "verify/run/model.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

#define SAMPLE SAMPLE_DATA "/tinystories-3m"
#define LAYERS 4
#define EMBEDDING 256
#define HEAD 32 /* elements */
#define TOKENS 80
#define VOCAB 2048

struct opened {
    struct nb_source source;
    struct nb_model model;
};

static int
make_sample(void **state)
{
    static struct run run;

#ifdef __GLIBC__
    mallopt(M_PERTURB, 1); /* new memory is full of large numbers: nothing may depend on what it holds */
#endif
    if (scratch_setup(state) != 0)
        return -1;
    RUN(&run, "quantize", SAMPLE, "-t", "f32", "-o", "sample.gguf");
    return run.code;
}

static void
open_as(struct opened *o, const char *name, const struct nb_arch *arch)
{
    struct nb_error err;

    scratch_open_source(&o->source, name);
    if (nb_model_open_as(&o->model, &o->source, arch, &err) != NB_OK)
        fail_msg("%s", err.message);
    assert_int_equal(nb_model_vocab(&o->model), VOCAB);
}

static void
close_model(struct opened *o)
{
    nb_model_close(&o->model);
    nb_source_close(&o->source);
}

static void
check(enum nb_status status, const struct nb_error *err)
{
    if (status != NB_OK)
        fail_msg("%s", err->message);
}

/* The logits of two chunks of the same made-up text, in a batch that could have three. */
static float *
logits_in(struct nb_forward *forward, const struct nb_model *m)
{
    float *logits = malloc((size_t)2 * TOKENS * VOCAB * sizeof *logits);
    int32_t tokens[2 * TOKENS];
    const float *hidden;
    struct nb_error err;

    assert_non_null(logits);
    for (int32_t i = 0; i < 2 * TOKENS; i++)
        tokens[i] = i * 7919 % VOCAB;
    check(nb_forward_run(forward, m, tokens, -1, 2, &hidden, &err), &err);
    check(nb_forward_logits(forward, m, hidden, 2 * TOKENS, logits, &err), &err);
    return logits;
}

static float *
logits_of(const struct nb_model *m)
{
    struct nb_pool *pool;
    struct nb_forward *forward;
    struct nb_error err;
    float *logits;

    check(nb_pool_new(&pool, 3, &err), &err);
    check(nb_forward_new(&forward, pool, 3, TOKENS, &err), &err);
    logits = logits_in(forward, m);
    nb_forward_free(forward);
    nb_pool_free(pool);
    return logits;
}

static double
difference(const float *a, const float *b)
{
    double worst = 0;

    for (size_t i = 0; i < (size_t)2 * TOKENS * VOCAB; i++)
        worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
    return worst;
}

/* --- layers of other sizes ---------------------------------------------------------------------------------- */

/* Of keys and values; heads are twice as many. */
struct size {
    uint32_t kv_heads, feed_forward;
};

/* The sample's layers are all of the first; what is beyond it in the others is made up. */
static const struct size sizes[LAYERS] = { { 4, 768 }, { 6, 768 }, { 4, 512 }, { 4, 1024 } };
#define LARGEST \
    {           \
        6, 1024 \
    }

/* The rows and columns of the tensor NAME in a layer of SIZE. False for those that are the same in all. */
static bool
sides_of(const char *name, const struct size *size, uint64_t *rows, uint64_t *columns)
{
    const uint64_t kv = size->kv_heads * HEAD;
    const struct {
        const char *name;
        uint64_t rows, columns;
    } of[] = {
        { "attn_q", 2 * kv, EMBEDDING },
        { "attn_k", kv, EMBEDDING },
        { "attn_v", kv, EMBEDDING },
        { "attn_output", EMBEDDING, 2 * kv },
        { "ffn_gate.", size->feed_forward, EMBEDDING },
        { "ffn_up", size->feed_forward, EMBEDDING },
        { "ffn_down", EMBEDDING, size->feed_forward },
    };

    for (size_t i = 0; i < sizeof of / sizeof of[0]; i++) {
        if (strstr(name, of[i].name) != NULL) {
            *rows = of[i].rows;
            *columns = of[i].columns;
            return true;
        }
    }
    return false;
}

static void
read_all(const struct nb_view *t, float *to)
{
    struct nb_view_reader reader = { 0 };
    struct nb_error err;

    check(nb_view_rows(t, 0, t->elements / t->ne[0], to, &reader, &err), &err);
    nb_view_reader_free(&reader);
}

/* T of the sample made over: as large as in ROOM, with weights as far as SIZE goes, zeros beyond. */
static void
resize_tensor(struct gguf_maker *g, const struct nb_view *t, const struct size *size, const struct size *room)
{
    float *old = malloc((size_t)t->elements * sizeof *old), *new;
    uint64_t rows = t->ne[1], columns = t->ne[0], live_rows = rows, live_columns = columns;

    assert_non_null(old);
    read_all(t, old);
    if (sides_of(t->name, size, &live_rows, &live_columns))
        (void)sides_of(t->name, room, &rows, &columns);
    new = make_tensor(g, t->name, columns, t->n_dims > 1 ? rows : 0, 1);
    for (uint64_t r = 0; r < live_rows; r++)
        for (uint64_t c = 0; c < live_columns; c++)
            new[r * columns + c] = r < t->ne[1] && c < t->ne[0]
                                       ? old[r * t->ne[0] + c]
                                       : (float)((double)((r * 5 + c * 13) * 2654435761u % 1000) / 5000 - 0.1);
    free(old);
}

static void
set_by_layer(struct nb_metadata *meta, const char *key, const uint32_t values[LAYERS])
{
    nb_meta_set(meta, key, NB_KV_ARRAY, NB_KV_I32, LAYERS, values, LAYERS * sizeof *values);
}

/* The file NAME, whose layers are of SIZES, each in tensors as large as ROOM of it says. */
static void
make_resized(const char *name, const struct size room[LAYERS])
{
    struct gguf_maker g = { .count = 0 };
    struct nb_source source;
    uint32_t heads[LAYERS], kv_heads[LAYERS], feed_forward[LAYERS];

    scratch_open_source(&source, "sample.gguf");
    for (size_t i = 0; i < source.n_tensors; i++) {
        const char *layer = strstr(source.tensors[i].name, "blk.");
        const size_t l = layer == NULL ? 0 : (size_t)(layer[4] - '0');

        resize_tensor(&g, &source.tensors[i], &sizes[l], &room[l]);
    }
    for (size_t l = 0; l < LAYERS; l++) {
        kv_heads[l] = room[l].kv_heads;
        heads[l] = 2 * kv_heads[l];
        feed_forward[l] = room[l].feed_forward;
    }
    set_by_layer(&source.meta, "llama.attention.head_count", heads);
    set_by_layer(&source.meta, "llama.attention.head_count_kv", kv_heads);
    set_by_layer(&source.meta, "llama.feed_forward_length", feed_forward);
    make_file(&g, &source.meta, name);
    nb_source_close(&source);
}

static void
layers_may_differ_in_size(void **unused)
{
    static const struct size rooms[LAYERS] = { LARGEST, LARGEST, LARGEST, LARGEST };
    static struct opened plain, uneven, padded;
    float *expected, *found, *before;

    (void)unused;
    make_resized("uneven.gguf", sizes);
    make_resized("padded.gguf", rooms);
    open_as(&plain, "sample.gguf", &nb_arch_llama);
    open_as(&uneven, "uneven.gguf", &nb_arch_llama);
    open_as(&padded, "padded.gguf", &nb_arch_llama);
    before = logits_of(&plain.model);
    expected = logits_of(&padded.model);
    found = logits_of(&uneven.model);
    assert_true(difference(before, expected) > 0.1); /* else what was added would not be seen */
    if (!(difference(expected, found) < 1e-3))
        fail_msg("a logit is %g from that of the padded model", difference(expected, found));
    free(before);
    free(expected);
    free(found);
    close_model(&plain);
    close_model(&uneven);
    close_model(&padded);
}

/* The memory of one pass, used by models that need more and less of it, in turns. */
static void
models_that_share_memory_do_not_see_each_other(void **unused)
{
    static const char *const names[] = { "sample.gguf", "uneven.gguf", "mixture.gguf" };
    static const size_t turns[] = { 0, 0, 1, 0, 2, 1, 2, 0 };
    static const float state[EMBEDDING];
    static float ignored[VOCAB];
    static struct opened o[3];
    float *alone[3];
    struct nb_pool *pool;
    struct nb_forward *forward;
    struct nb_error err;

    (void)unused;
    make_resized("uneven.gguf", sizes);
    mixture_of("sample.gguf", "mixture.gguf", 3, 2);
    for (size_t i = 0; i < 3; i++) {
        open_as(&o[i], names[i], &nb_arch_llama);
        alone[i] = logits_of(&o[i].model);
    }
    check(nb_pool_new(&pool, 2, &err), &err);
    check(nb_forward_new(&forward, pool, 2, TOKENS, &err), &err);
    for (size_t i = 0; i < sizeof turns / sizeof turns[0]; i++) {
        float *found = logits_in(forward, &o[turns[i]].model);

        if (difference(alone[turns[i]], found) != 0)
            fail_msg("turn %zu: %s has other logits than alone", i, names[turns[i]]);
        free(found);
        check(nb_forward_logits(forward, &o[1].model, state, 1, ignored, &err), &err);
    }
    nb_forward_free(forward);
    nb_pool_free(pool);
    for (size_t i = 0; i < 3; i++) {
        free(alone[i]);
        close_model(&o[i]);
    }
}

/* --- layers of other kinds ---------------------------------------------------------------------------------- */

/* Llama with other blocks. */
static struct nb_arch
made_up(const struct nb_arch_block *blocks, size_t n)
{
    struct nb_arch arch = nb_arch_llama;

    arch.blocks = blocks;
    arch.n_blocks = n;
    return arch;
}

/* A layer without attention is one whose attention adds nothing: the same to the bit. */
static void
layers_may_lack_a_block(void **unused)
{
    static const struct nb_arch_block blocks[] = { { .kind = "attention", .when = "layer != 1" },
                                                   { .kind = "dense", .when = "layer < 3" } };
    const struct nb_arch arch = made_up(blocks, 2);
    static struct opened lacks, zeroed;
    struct gguf_maker g = { .count = 0 };
    struct nb_source source;
    float *expected, *found;

    (void)unused;
    scratch_open_source(&source, "sample.gguf");
    for (size_t i = 0; i < source.n_tensors; i++) {
        const struct nb_view *t = &source.tensors[i];
        float *to = make_tensor(&g, t->name, t->ne[0], t->n_dims > 1 ? t->ne[1] : 0, 1);

        if (strcmp(t->name, "blk.1.attn_output.weight") != 0 && strcmp(t->name, "blk.3.ffn_down.weight") != 0)
            read_all(t, to);
    }
    make_file(&g, &source.meta, "zeroed.gguf");
    nb_source_close(&source);
    open_as(&zeroed, "zeroed.gguf", &nb_arch_llama);
    open_as(&lacks, "sample.gguf", &arch);
    assert_int_equal(lacks.model.n_blocks, 2 * LAYERS - 2);
    expected = logits_of(&zeroed.model);
    found = logits_of(&lacks.model);
    assert_true(difference(expected, found) == 0);
    free(expected);
    free(found);
    close_model(&zeroed);
    close_model(&lacks);
}

/* The sample with its last two layers as mixtures, whose experts are alike, is the sample. */
static void
dense_layers_and_mixtures_may_take_turns(void **unused)
{
    static const struct nb_arch_block blocks[] = { { .kind = "attention" },
                                                   { .kind = "dense", .when = "layer < 2" },
                                                   { .kind = "mixture", .when = "layer >= 2" } };
    struct nb_arch_tensor tensors[64];
    struct nb_arch arch = made_up(blocks, 3);
    static struct opened dense, mixed;
    struct gguf_maker g = { .count = 0 };
    struct nb_source parts[2];
    float *expected, *found;

    (void)unused;
    memcpy(tensors, arch.tensors, arch.n_tensors * sizeof *tensors);
    for (size_t i = 0; i < arch.n_tensors; i++)
        tensors[i].when = NULL; /* the table of llama has dense layers or mixtures, not both */
    arch.tensors = tensors;
    mixture_of("sample.gguf", "mixture.gguf", 3, 2);
    scratch_open_source(&parts[0], "sample.gguf");
    scratch_open_source(&parts[1], "mixture.gguf");
    for (size_t i = 0; i < parts[0].n_tensors + parts[1].n_tensors; i++) {
        const size_t from = i < parts[0].n_tensors ? 0 : 1;
        const struct nb_view *t = &parts[from].tensors[i - from * parts[0].n_tensors];
        const bool is_late = strncmp(t->name, "blk.2", 5) == 0 || strncmp(t->name, "blk.3", 5) == 0;

        if (is_late == (from == 1))
            read_all(t, make_tensor(&g, t->name, t->ne[0], t->n_dims > 1 ? t->ne[1] : 0, t->ne[2]));
    }
    make_file(&g, &parts[1].meta, "mixed.gguf");
    open_as(&dense, "sample.gguf", &nb_arch_llama);
    open_as(&mixed, "mixed.gguf", &arch);
    expected = logits_of(&dense.model);
    found = logits_of(&mixed.model);
    if (!(difference(expected, found) < 1e-3))
        fail_msg("a logit is %g from that of the dense model", difference(expected, found));
    free(expected);
    free(found);
    close_model(&dense);
    close_model(&mixed);
    nb_source_close(&parts[0]);
    nb_source_close(&parts[1]);
}

/* --- matrices ------------------------------------------------------------------------------------------------ */

static const char *const attention_roles[] = { "attn_q", "attn_k", "attn_v", "attn_output" };
static const char *const dense_roles[] = { "ffn_gate", "ffn_up", "ffn_down" };
static const char *const mixture_roles[] = { "ffn_gate_inp", "ffn_gate_exps", "ffn_up_exps", "ffn_down_exps" };

/* COUNT matrices of layer LAYER from *AT on must have these roles; *AT moves past them. */
static void
expect_roles(const struct nb_linear **at, unsigned layer, const char *const *roles, size_t count)
{
    for (size_t i = 0; i < count; i++, *at = (*at)->next) {
        char role[64], name[64];

        assert_non_null(*at);
        snprintf(role, sizeof role, "blk.%%l.%s.weight", roles[i]);
        snprintf(name, sizeof name, "blk.%u.%s.weight", layer, roles[i]);
        assert_string_equal((*at)->role, role);
        assert_string_equal((*at)->name, name);
    }
}

static void
every_matrix_is_named_once_in_the_order_of_the_pass(void **unused)
{
    static struct opened dense, mixture;
    const struct nb_linear *d, *x;

    (void)unused;
    make_resized("uneven.gguf", sizes);
    mixture_of("sample.gguf", "mixture.gguf", 3, 2);
    open_as(&dense, "uneven.gguf", &nb_arch_llama);
    open_as(&mixture, "mixture.gguf", &nb_arch_llama);
    d = dense.model.matrices;
    x = mixture.model.matrices;
    for (unsigned l = 0; l < LAYERS; l++) {
        expect_roles(&d, l, attention_roles, 4);
        expect_roles(&d, l, dense_roles, 3);
        expect_roles(&x, l, attention_roles, 4);
        expect_roles(&x, l, mixture_roles, 4);
    }
    assert_true(d == dense.model.output && d->next == NULL);
    assert_true(x == mixture.model.output && x->next == NULL);
    assert_string_equal(d->name, "token_embd.weight"); /* tied */
    assert_string_equal(d->role, "output.weight");
    assert_int_equal(nb_model_longest_row(&dense.model), 1024);
    assert_int_equal(nb_model_longest_row(&mixture.model), 768);
    close_model(&dense);
    close_model(&mixture);
}

/* A matrix of each layer, of its own length, gets its importance. */
static void
layers_of_other_sizes_are_calibrated(void **unused)
{
    static struct run run;

    (void)unused;
    make_resized("uneven.gguf", sizes);
    RUN(&run, "calibrate", "uneven.gguf", "-f", SAMPLE_DATA "/tinystories-valid.txt", "--chunks", "2", "-o",
        "u.imatrix");
    assert_int_equal(run.code, 0);
    RUN(&run, "inspect", "u.imatrix");
    assert_non_null(strstr(run.out, "28 entries"));
}

/* --- what is refused ----------------------------------------------------------------------------------------- */

static void
refuses_as(struct nb_source *source, const struct nb_arch *arch, const char *says)
{
    struct nb_model model;
    struct nb_error err;
    const enum nb_status status = nb_model_open_as(&model, source, arch, &err);

    if (status == NB_OK)
        nb_model_close(&model);
    if (!nb_status_is(status, NB_INPUT) || strstr(err.message, says) == NULL)
        fail_msg("expected '%s', not %d: %s", says, status, status == NB_OK ? "" : err.message);
}

static void
models_without_blocks_are_refused(void **unused)
{
    static const struct nb_arch_block unknown[] = { { .kind = "attention" },
                                                    { .kind = "oracle", .when = "layer == 2" } };
    static const struct nb_arch_block mixture[] = { { .kind = "mixture" } };
    const struct nb_arch none = made_up(NULL, 0), oracle = made_up(unknown, 2), wrong = made_up(mixture, 1);
    struct nb_source source;

    (void)unused;
    scratch_open_source(&source, "sample.gguf");
    refuses_as(&source, &none, "models of architecture 'llama' cannot be run");
    refuses_as(&source, &oracle, "cannot be run: their layer 2 has a block of kind 'oracle'");
    refuses_as(&source, &wrong, "lacks the number of experts");
    nb_meta_set_u32(&source.meta, "llama.expert_count", 3);
    nb_meta_set_u32(&source.meta, "llama.expert_used_count", 4);
    refuses_as(&source, &wrong, "4 of 3 experts cannot be used");
    nb_meta_set_string(&source.meta, "general.architecture", "plamo3"); /* of which only windows are known */
    refuses_as(&source, nb_arch_by_name("plamo3"), "models of architecture 'plamo3' cannot be run");
    nb_source_close(&source);
}

static void
a_block_whose_tensors_no_table_has_is_refused(void **unused)
{
    struct nb_arch_tensor tensors[64];
    struct nb_arch arch = nb_arch_llama;
    struct nb_source source;

    (void)unused;
    memcpy(tensors, arch.tensors, arch.n_tensors * sizeof *tensors);
    for (size_t i = 0; i < arch.n_tensors; i++)
        if (strcmp(tensors[i].name, "blk.%l.ffn_down.weight") == 0)
            tensors[i].when = "layer < 2";
    arch.tensors = tensors;
    scratch_open_source(&source, "sample.gguf");
    refuses_as(&source, &arch, "have no tensor 'blk.%l.ffn_down.weight' in layer 2, which is needed to run them");
    nb_source_close(&source);
}

static void
hyperparameters_that_no_block_can_have_are_refused(void **unused)
{
    static const uint32_t heads[LAYERS] = { 8, 8, 0, 8 }, sizes_of[LAYERS] = { 768, 768, 768, 700 };
    static const uint32_t negative[LAYERS] = { 768, (uint32_t)-768, 768, 768 };
    static const char *const zero[] = { "llama.attention.head_count", "llama.attention.head_count_kv",
                                        "llama.feed_forward_length", "llama.rope.dimension_count" };
    struct nb_arch lax = nb_arch_llama; /* the blocks are of other architectures, too */
    struct nb_source source;

    (void)unused;
    lax.n_rules = 0;
    for (size_t i = 0; i < sizeof zero / sizeof zero[0]; i++) {
        char says[96];

        scratch_open_source(&source, "sample.gguf");
        nb_meta_set_u32(&source.meta, zero[i], 0);
        snprintf(says, sizeof says, "%s is 0, which no model can have", zero[i]);
        refuses_as(&source, &lax, says);
        nb_source_close(&source);
    }
    scratch_open_source(&source, "sample.gguf");
    nb_meta_set_f32(&source.meta, "llama.rope.freq_base", 0);
    refuses_as(&source, &nb_arch_llama, "llama.rope.freq_base is 0, which no model can have");
    nb_meta_set_f32(&source.meta, "llama.rope.freq_base", 10000);
    nb_meta_set_f32(&source.meta, "llama.attention.layer_norm_rms_epsilon", 0);
    refuses_as(&source, &nb_arch_llama, "llama.attention.layer_norm_rms_epsilon is 0, which no model can have");
    nb_meta_set_f32(&source.meta, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    nb_meta_set_u32(&source.meta, "llama.rope.dimension_count", 34);
    refuses_as(&source, &nb_arch_llama, "llama.rope.dimension_count is not the length of a head's key");
    refuses_as(&source, &lax, "heads of 32 elements, of which 34 turn, cannot be run");
    nb_meta_set_u32(&source.meta, "llama.rope.dimension_count", 31);
    refuses_as(&source, &lax, "heads of 32 elements, of which 31 turn, cannot be run");
    nb_meta_set_u32(&source.meta, "llama.rope.dimension_count", 32);
    nb_meta_set_u32(&source.meta, "llama.attention.value_length", 16);
    refuses_as(&source, &nb_arch_llama, "tensor 'blk.0.attn_v.weight' should be 256 x 64, but is 256 x 128");
    nb_meta_set_u32(&source.meta, "llama.attention.value_length", 32);
    nb_meta_set_string(&source.meta, "llama.rope.scaling.type", "mystery");
    refuses_as(&source, &nb_arch_llama, "rotary scaling of type 'mystery' is not supported");
    nb_meta_set_string(&source.meta, "llama.rope.scaling.type", "none");
    set_by_layer(&source.meta, "llama.attention.head_count", heads);
    refuses_as(&source, &nb_arch_llama, "llama.attention.head_count is 0 in layer 2, which no model can have");
    nb_meta_set_u32(&source.meta, "llama.attention.head_count", 8);
    set_by_layer(&source.meta, "llama.feed_forward_length", sizes_of);
    refuses_as(&source, &nb_arch_llama, "'blk.3.ffn_gate.weight' should be 256 x 700, but is 256 x 768");
    set_by_layer(&source.meta, "llama.feed_forward_length", negative);
    refuses_as(&source, &nb_arch_llama, "llama.feed_forward_length is -768 in layer 1, which no model can have");
    nb_source_close(&source);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layers_may_differ_in_size),
        cmocka_unit_test(models_that_share_memory_do_not_see_each_other),
        cmocka_unit_test(layers_may_lack_a_block),
        cmocka_unit_test(dense_layers_and_mixtures_may_take_turns),
        cmocka_unit_test(every_matrix_is_named_once_in_the_order_of_the_pass),
        cmocka_unit_test(layers_of_other_sizes_are_calibrated),
        cmocka_unit_test(models_without_blocks_are_refused),
        cmocka_unit_test(a_block_whose_tensors_no_table_has_is_refused),
        cmocka_unit_test(hyperparameters_that_no_block_can_have_are_refused),
    };

    return cmocka_run_group_tests(tests, make_sample, scratch_teardown);
}
