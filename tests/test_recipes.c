/*
 * The recipes against the reference's own choices: tests/golden/policy has, for
 * real models, which tensors get another type than the recipe's base.
 */
#include "formats/base/regex.h"
#include "formats/base/status.h"
#include "formats/elements/types.h"
#include "formats/models/view.h"
#include "quantize/policy/recipe.h"
#include "testing.h"

#define MAX_TENSORS 4096

static struct nb_view tensors[MAX_TENSORS];
static char names[MAX_TENSORS][NB_MAX_NAME + 1];
static const struct nb_view *sorted[MAX_TENSORS];
static struct nb_choice choices[MAX_TENSORS], expected[MAX_TENSORS];
static size_t n_tensors;

static void
add(const char *name, uint64_t columns, uint64_t rows, uint64_t experts)
{
    struct nb_view *t = &tensors[n_tensors];

    assert_true(n_tensors < MAX_TENSORS);
    snprintf(names[n_tensors], sizeof names[0], "%s", name);
    *t = (struct nb_view){
        .name = names[n_tensors],
        .type = NB_F16,
        .plain_type = NB_F16,
        .n_dims = experts > 1 ? 3
                  : rows > 1  ? 2
                              : 1,
        .ne = { columns, rows, experts, 1 },
    };
    sorted[n_tensors++] = t;
}

struct shape {
    unsigned embd, ff, vocab, layers, heads, kv_heads, experts;
};

/* A dense transformer of that shape, under llama.cpp's names. */
static void
make_dense(const struct shape *s, unsigned head_dim)
{
    static const struct {
        const char *part;
        int columns, rows; /* 'e'mbedding, 'f'eed-forward, 'q', 'k', '1' */
    } parts[] = {
        { "attn_norm", 'e', '1' }, { "ffn_norm", 'e', '1' }, { "attn_q", 'e', 'q' },
        { "attn_k", 'e', 'k' },    { "attn_v", 'e', 'k' },   { "attn_output", 'q', 'e' },
        { "ffn_gate", 'e', 'f' },  { "ffn_up", 'e', 'f' },   { "ffn_down", 'f', 'e' },
    };

    n_tensors = 0;
    add("token_embd.weight", s->embd, s->vocab, 1);
    add("output.weight", s->embd, s->vocab, 1);
    add("output_norm.weight", s->embd, 1, 1);
    for (unsigned layer = 0; layer < s->layers; layer++) {
        for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
            const int sides[2] = { parts[i].columns, parts[i].rows };
            uint64_t n[2];
            char name[NB_MAX_NAME + 1];

            for (int k = 0; k < 2; k++)
                n[k] = sides[k] == 'e'   ? s->embd
                       : sides[k] == 'f' ? s->ff
                       : sides[k] == 'q' ? (uint64_t)s->heads * head_dim
                       : sides[k] == 'k' ? (uint64_t)s->kv_heads * head_dim
                                         : 1;
            snprintf(name, sizeof name, "blk.%u.%s.weight", layer, parts[i].part);
            add(name, n[0], n[1], 1);
        }
    }
    qsort(sorted, n_tensors, sizeof sorted[0], nb_layer_order);
}

static size_t
index_of(const char *name)
{
    for (size_t i = 0; i < n_tensors; i++)
        if (strcmp(sorted[i]->name, name) == 0)
            return i;
    fail_msg("the table has a tensor '%s' that the model has not", name);
    return 0;
}

/* A tensor of the layers FROM to TO. */
struct part {
    const char *name;
    unsigned columns, rows, experts, from, to;
};

struct model {
    const char *file, *arch;
    bool tied; /* no output.weight */
    struct part parts[16];
};

/* clang-format off */
static const struct model models[] = {
    { "qwen3-0.6b.schema", "qwen3", false,
      { { "attn_q", 1024, 2048, 1, 0, 27 }, { "attn_k", 1024, 1024, 1, 0, 27 }, { "attn_v", 1024, 1024, 1, 0, 27 },
        { "attn_output", 2048, 1024, 1, 0, 27 }, { "ffn_gate", 1024, 3072, 1, 0, 27 },
        { "ffn_up", 1024, 3072, 1, 0, 27 }, { "ffn_down", 3072, 1024, 1, 0, 27 } } },
    { "meta-llama-3.1-70b-instruct.schema", "llama", false,
      { { "attn_q", 8192, 8192, 1, 0, 79 }, { "attn_k", 8192, 1024, 1, 0, 79 }, { "attn_v", 8192, 1024, 1, 0, 79 },
        { "attn_output", 8192, 8192, 1, 0, 79 }, { "ffn_gate", 8192, 28672, 1, 0, 79 },
        { "ffn_up", 8192, 28672, 1, 0, 79 }, { "ffn_down", 28672, 8192, 1, 0, 79 } } },
    { "gemma-3-4b-it.schema", "gemma3", true,
      { { "attn_q", 2560, 2048, 1, 0, 33 }, { "attn_k", 2560, 1024, 1, 0, 33 }, { "attn_v", 2560, 1024, 1, 0, 33 },
        { "attn_output", 2048, 2560, 1, 0, 33 }, { "ffn_gate", 2560, 10240, 1, 0, 33 },
        { "ffn_up", 2560, 10240, 1, 0, 33 }, { "ffn_down", 10240, 2560, 1, 0, 33 } } },
    { "glm-4.6v.schema", "glm4moe", false,
      { { "attn_q", 4096, 12288, 1, 0, 45 }, { "attn_k", 4096, 1024, 1, 0, 45 }, { "attn_v", 4096, 1024, 1, 0, 45 },
        { "attn_output", 12288, 4096, 1, 0, 45 }, { "ffn_gate", 4096, 10944, 1, 0, 0 },
        { "ffn_up", 4096, 10944, 1, 0, 0 }, { "ffn_down", 10944, 4096, 1, 0, 0 },
        { "ffn_gate_inp", 4096, 128, 1, 1, 45 }, { "ffn_gate_exps", 4096, 1408, 128, 1, 45 },
        { "ffn_up_exps", 4096, 1408, 128, 1, 45 }, { "ffn_down_exps", 1408, 4096, 128, 1, 45 },
        { "ffn_gate_shexp", 4096, 1408, 1, 1, 45 }, { "ffn_up_shexp", 4096, 1408, 1, 1, 45 },
        { "ffn_down_shexp", 1408, 4096, 1, 1, 45 } } },
    { "gpt-oss-120b.schema", "gpt-oss", false,
      { { "attn_q", 2880, 4096, 1, 0, 35 }, { "attn_k", 2880, 512, 1, 0, 35 }, { "attn_v", 2880, 512, 1, 0, 35 },
        { "attn_output", 4096, 2880, 1, 0, 35 }, { "ffn_gate_inp", 2880, 128, 1, 0, 35 },
        { "ffn_gate_exps", 2880, 2880, 128, 0, 35 }, { "ffn_up_exps", 2880, 2880, 128, 0, 35 },
        { "ffn_down_exps", 2880, 2880, 128, 0, 35 } } },
    { "deepseek-v3.1.schema", "deepseek2", false,
      { { "attn_q_a", 7168, 1536, 1, 0, 60 }, { "attn_q_b", 1536, 24576, 1, 0, 60 },
        { "attn_kv_a_mqa", 7168, 576, 1, 0, 60 }, { "attn_k_b", 128, 512, 128, 0, 60 },
        { "attn_v_b", 512, 128, 128, 0, 60 }, { "attn_output", 16384, 7168, 1, 0, 60 },
        { "ffn_gate", 7168, 18432, 1, 0, 2 }, { "ffn_up", 7168, 18432, 1, 0, 2 }, { "ffn_down", 18432, 7168, 1, 0, 2 },
        { "ffn_gate_inp", 7168, 256, 1, 3, 60 }, { "ffn_gate_exps", 7168, 2048, 256, 3, 60 },
        { "ffn_up_exps", 7168, 2048, 256, 3, 60 }, { "ffn_down_exps", 2048, 7168, 256, 3, 60 },
        { "ffn_gate_shexp", 7168, 2048, 1, 3, 60 }, { "ffn_up_shexp", 7168, 2048, 1, 3, 60 },
        { "ffn_down_shexp", 2048, 7168, 1, 3, 60 } } },
};
/* clang-format on */

static void
choose_and_compare(const struct model *model, const struct nb_recipe *recipe, const struct shape *s)
{
    struct nb_recipe_options options = { .recipe = recipe,
                                         .output_type = NB_TYPE_NONE,
                                         .embedding_type = NB_TYPE_NONE };
    const struct nb_model_facts facts = { model->arch, s->layers, s->heads, s->kv_heads, s->experts };
    struct nb_error err;

    if (nb_recipe_choose(&options, &facts, sorted, n_tensors, choices, &err) != NB_OK)
        fail_msg("%s, %s: %s", model->file, recipe->name, err.message);
    for (size_t i = 0; i < n_tensors; i++) {
        if (choices[i].why == NB_WHY_KEPT)
            continue;
        if (choices[i].type != expected[i].type)
            fail_msg("%s, %s: %s is %s, but the reference makes it %s", model->file, recipe->name, sorted[i]->name,
                     nb_type_info(choices[i].type)->name, nb_type_info(expected[i].type)->name);
    }
}

static void
make_model(const struct model *model, const struct shape *s)
{
    char name[NB_MAX_NAME + 1];

    n_tensors = 0;
    add("token_embd.weight", s->embd, 1000, 1);
    add("output_norm.weight", s->embd, 1, 1);
    if (!model->tied)
        add("output.weight", s->embd, 1000, 1);
    for (unsigned layer = 0; layer < s->layers; layer++) {
        snprintf(name, sizeof name, "blk.%u.attn_norm.weight", layer);
        add(name, s->embd, 1, 1);
        for (const struct part *p = model->parts; p < model->parts + 16 && p->name != NULL; p++) {
            snprintf(name, sizeof name, "blk.%u.%s.weight", layer, p->name);
            if (layer >= p->from && layer <= p->to)
                add(name, p->columns, p->rows, p->experts);
        }
    }
    qsort(sorted, n_tensors, sizeof sorted[0], nb_layer_order);
}

/* Checks every recipe of MODEL's table; returns how many there were. */
static size_t
check_table(const struct model *model)
{
    char path[512], line[256], word[2][128];
    struct shape s = { .experts = 0 };
    const struct nb_recipe *recipe = NULL;
    size_t checked = 0;
    FILE *f;

    snprintf(path, sizeof path, TEST_DATA "/golden/policy/%s", model->file);
    f = fopen(path, "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL) {
        if (sscanf(line, "# n_embd=%u, n_ff=%u, n_vocab=%u, n_layer=%u, n_head=%u, n_head_kv=%u, n_expert=%u", &s.embd,
                   &s.ff, &s.vocab, &s.layers, &s.heads, &s.kv_heads, &s.experts) >= 6) {
            make_model(model, &s);
        } else if (sscanf(line, "[%127[^]]] %127s", word[0], word[1]) == 2) {
            if (recipe != NULL)
                choose_and_compare(model, recipe, &s);
            recipe = nb_recipe_by_name(word[0]);
            if (recipe == NULL)
                fail_msg("no recipe '%s'", word[0]);
            assert_int_equal(recipe->base, nb_type_by_name(word[1]));
            for (size_t i = 0; i < n_tensors; i++)
                expected[i].type = recipe->base;
            checked++;
        } else if (sscanf(line, "%127s %127s", word[0], word[1]) == 2 && *line != '#') {
            const enum nb_type type = nb_type_by_name(word[1]);

            assert_int_not_equal(type, NB_TYPE_NONE);
            expected[index_of(word[0])].type = type;
        }
    }
    if (recipe != NULL)
        choose_and_compare(model, recipe, &s);
    fclose(f);
    return checked;
}

static void
real_models_get_the_reference_types(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++)
        assert_int_equal(check_table(&models[i]), 33);
}

/* A small model for what follows. */
static void
make_small(unsigned ff)
{
    static const struct shape shape = { .embd = 256, .vocab = 1000, .layers = 2, .heads = 4, .kv_heads = 4 };
    struct shape s = shape;

    s.ff = ff;
    make_dense(&s, 64);
}

static enum nb_status
choose(struct nb_recipe_options *options, struct nb_error *err)
{
    const struct nb_model_facts facts = { "llama", 2, 4, 4, 0 };

    options->recipe = nb_recipe_by_name("Q4_K_M");
    return nb_recipe_choose(options, &facts, sorted, n_tensors, choices, err);
}

static struct nb_recipe_options
plain_options(void)
{
    return (struct nb_recipe_options){ .output_type = NB_TYPE_NONE, .embedding_type = NB_TYPE_NONE };
}

static void
rows_that_do_not_divide_fall_back_or_are_refused(void **unused)
{
    struct nb_recipe_options options = plain_options();
    struct nb_error err;

    (void)unused;
    make_small(96); /* down rows of 96: blocks of 32 */
    assert_int_equal(choose(&options, &err), NB_OK);
    assert_int_equal(choices[index_of("blk.0.ffn_down.weight")].why, NB_WHY_FALLBACK);
    assert_int_equal(choices[index_of("blk.0.ffn_down.weight")].type, NB_Q5_0); /* meant Q4_K */
    assert_int_equal(choices[index_of("blk.1.ffn_down.weight")].type, NB_Q8_0); /* meant Q6_K */
    options.pure = true;
    assert_int_equal(choose(&options, &err), NB_OK);
    assert_int_equal(choices[index_of("blk.1.ffn_down.weight")].type, NB_Q5_0); /* meant Q4_K */
    assert_int_equal(choices[index_of("output.weight")].type, NB_Q4_K);
    make_small(100); /* no blocks at all */
    assert_int_equal(choose(&options, &err), NB_OK);
    assert_int_equal(choices[index_of("blk.0.ffn_down.weight")].type, NB_F16);
    options.no_fallback = true;
    assert_int_equal(choose(&options, &err), NB_INPUT);
    assert_non_null(strstr(err.message, "blk.0.ffn_down.weight"));
}

static void
overrides_count_or_are_refused(void **unused)
{
    struct nb_recipe_options options = plain_options();
    struct nb_type_override overrides[2] = { { .pattern = "ffn_(up|gate)", .type = NB_Q8_0 },
                                             { .pattern = "FFN_UP", .type = NB_Q5_0 } };
    struct nb_error err;

    (void)unused;
    make_small(512);
    options.overrides = overrides;
    for (int i = 0; i < 2; i++) {
        overrides[i].regex = nb_regex_new(overrides[i].pattern, &err);
        assert_non_null(overrides[i].regex);
    }
    options.n_overrides = 2;
    options.pure = true; /* an explicit word counts here too */
    assert_int_equal(choose(&options, &err), NB_OK);
    assert_int_equal(choices[index_of("blk.1.ffn_up.weight")].type, NB_Q8_0); /* the first that matches */
    assert_int_equal(choices[index_of("blk.1.ffn_up.weight")].why, NB_WHY_USER);
    assert_int_equal(choices[index_of("blk.1.attn_q.weight")].type, NB_Q4_K);
    nb_regex_free(overrides[1].regex);
    overrides[1].regex = nb_regex_new("attn_norm", &err); /* never quantized */
    assert_int_equal(choose(&options, &err), NB_USAGE);
    assert_non_null(strstr(err.message, "matches no tensor"));
    nb_regex_free(overrides[1].regex);
    overrides[1].regex = nb_regex_new("attn_q", &err);
    overrides[1].type = NB_Q6_K;
    assert_int_equal(choose(&options, &err), NB_OK);
    make_small(100);
    overrides[1].type = NB_Q8_0;
    nb_regex_free(overrides[1].regex);
    overrides[1].regex = nb_regex_new("ffn_down", &err); /* rows of 100 */
    assert_int_equal(choose(&options, &err), NB_USAGE);
    assert_non_null(strstr(err.message, "do not divide"));
    for (int i = 0; i < 2; i++)
        nb_regex_free(overrides[i].regex);
    assert_null(nb_regex_new("blk.(", &err));
    assert_int_equal(err.status, NB_USAGE);
}

static void
output_and_embedding_can_be_named(void **unused)
{
    struct nb_recipe_options options = plain_options();
    struct nb_error err;

    (void)unused;
    make_small(512);
    options.output_type = NB_Q8_0;
    options.embedding_type = NB_F16;
    assert_int_equal(choose(&options, &err), NB_OK);
    assert_int_equal(choices[index_of("output.weight")].type, NB_Q8_0);
    assert_int_equal(choices[index_of("token_embd.weight")].type, NB_F16);
    options = plain_options();
    options.leave_output = true;
    assert_int_equal(choose(&options, &err), NB_OK);
    assert_int_equal(choices[index_of("output.weight")].why, NB_WHY_KEPT);
}

static void
names_are_understood_as_people_write_them(void **unused)
{
    (void)unused;
    assert_string_equal(nb_recipe_by_name("q4_k_m")->name, "Q4_K_M");
    assert_string_equal(nb_recipe_by_name("Q4_K")->name, "Q4_K_M");
    assert_string_equal(nb_recipe_by_name("q5_k")->name, "Q5_K_M");
    assert_null(nb_recipe_by_name("Q4"));
    assert_int_equal(nb_type_by_name("Q6_k"), NB_Q6_K);
    assert_int_equal(nb_type_by_name("f8_e4m3"), NB_TYPE_NONE); /* GGUF has none */
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(real_models_get_the_reference_types),
        cmocka_unit_test(rows_that_do_not_divide_fall_back_or_are_refused),
        cmocka_unit_test(overrides_count_or_are_refused),
        cmocka_unit_test(output_and_embedding_can_be_named),
        cmocka_unit_test(names_are_understood_as_people_write_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
