/*
 * Checkpoints of every mechanism that a family may have, spoilt in one place: experts, fused matrices, head counts,
 * kinds of layers, windows, nested configs. Each is refused with one sentence that names the place, exit code 3, and no
 * file. The checkpoints are those of tests/golden/families.
 */
#include "formats/base/text.h"
#include "golden_checkpoint.h"
#include "scratch.h"
#include "testing.h"

#include <ctype.h>

#define GOLDENS TEST_DATA "/golden/families"
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static const char *current; /* the golden that is spoilt */

/* Converts GOLDEN, which has been spoilt, and expects a refusal whose sentence, after notes, has EXPECTED in it. */
static void
expect_refusal(json_t *golden, const char *what, const char *expected)
{
    static struct run run;
    char out[SCRATCH_PATH];
    const char *sentence = run.err, *end;

    golden_checkpoint(golden, "spoilt");
    snprintf(out, sizeof out, "%s", scratch_path("out.gguf"));
    RUN(&run, "quantize", scratch_path("spoilt"), "-t", "f16", "-o", out, "--allow-other-tokens", "--pre-tokenizer",
        "llama-bpe");
    while (strncmp(sentence, "note: ", 6) == 0 && strchr(sentence, '\n') != NULL)
        sentence = strchr(sentence, '\n') + 1;
    end = strchr(sentence, '\n');
    if (run.code != 3 || end == NULL || end[1] != '\0' || strstr(sentence, expected) == NULL)
        fail_msg("%s: %s: exit code %d: %s (expected '%s')", current, what, run.code, run.err, expected);
    assert_false(scratch_exists(out));
    assert_false(scratch_exists(scratch_path("out.gguf.partial")));
    scratch_remove("spoilt");
}

static json_t *
read_golden(const char *name)
{
    char path[SCRATCH_PATH];

    snprintf(path, sizeof path, GOLDENS "/%s.json.gz", name);
    return golden_read(path);
}

static size_t (*spoil_now)(json_t *golden);
static size_t times_spoilt;

static void
spoil_golden(const char *name)
{
    json_t *golden = read_golden(name);

    current = name;
    times_spoilt += spoil_now(golden);
    json_decref(golden);
}

/* Calls SPOIL with each golden; returns how many times it has found something to spoil. */
static size_t
for_each_golden(size_t (*spoil)(json_t *golden))
{
    static char *all[] = { NULL };

    spoil_now = spoil;
    times_spoilt = 0;
    golden_each(GOLDENS, all, spoil_golden);
    return times_spoilt;
}

static json_t *
tensor_at(json_t *golden, size_t i)
{
    return json_array_get(json_object_get(golden, "tensors"), i);
}

static const char *
name_of(json_t *tensor)
{
    return json_string_value(json_object_get(tensor, "name"));
}

/* Makes side I of TENSOR longer by MORE; its data are no longer those of the golden. */
static void
stretch(json_t *tensor, size_t i, json_int_t more)
{
    json_t *shape = json_object_get(tensor, "shape");

    json_array_set_new(shape, i, json_integer(json_integer_value(json_array_get(shape, i)) + more));
    json_object_del(tensor, "xxh64");
}

/* --- experts ------------------------------------------------------------------------------------------------------ */

/* The number of a tensor of a single expert, neither the first nor the last of its layer; -1: GOLDEN has none. */
static int
find_expert(json_t *golden)
{
    json_t *tensor;
    size_t i;

    json_array_foreach(json_object_get(golden, "tensors"), i, tensor) {
        const char *at = strstr(name_of(tensor), "experts.1.");

        if (at != NULL && strstr(at, "weight") != NULL && strncmp(name_of(tensor), "mtp.", 4) != 0)
            return (int)i;
    }
    return -1;
}

static size_t
lose_expert(json_t *golden)
{
    const int i = find_expert(golden);
    char expected[128];

    if (i < 0)
        return 0;
    snprintf(expected, sizeof expected, "%s' is missing", strstr(name_of(tensor_at(golden, (size_t)i)), "experts."));
    json_array_remove(json_object_get(golden, "tensors"), (size_t)i);
    expect_refusal(golden, "an expert is missing", expected);
    return 1;
}

static size_t
double_expert(json_t *golden)
{
    const int i = find_expert(golden);
    const char *name;
    char other_name[256];
    json_t *other;

    if (i < 0)
        return 0;
    name = name_of(tensor_at(golden, (size_t)i));
    other = json_deep_copy(tensor_at(golden, (size_t)i));
    json_object_set_new(other, "shard", json_integer(!json_integer_value(json_object_get(other, "shard"))));
    json_array_append_new(json_object_get(golden, "tensors"), other);
    expect_refusal(golden, "an expert is in two shards", "is in shard");

    snprintf(other_name, sizeof other_name, "%.*s01%s", (int)(strstr(name, "experts.1.") + 8 - name), name,
             strstr(name, "experts.1.") + 9);
    json_object_set_new(other, "name", json_string(other_name));
    json_object_del(other, "xxh64");
    expect_refusal(golden, "an expert has two names", "experts.01.");
    return 1;
}

static size_t
stretch_expert(json_t *golden)
{
    const int i = find_expert(golden);

    if (i < 0 || nb_ends_with(name_of(tensor_at(golden, (size_t)i)), "_packed") ||
        strcmp(json_string_value(json_object_get(tensor_at(golden, (size_t)i), "dtype")), "I8") == 0)
        return 0; /* codes: test_packed */
    stretch(tensor_at(golden, (size_t)i), 0, 2);
    expect_refusal(golden, "an expert is higher than the others", "but config.json makes it");
    stretch(tensor_at(golden, (size_t)i), 0, -2);
    stretch(tensor_at(golden, (size_t)i), 1, 2);
    expect_refusal(golden, "an expert is wider than the others", "but config.json makes it");
    return 1;
}

static void
an_expert_that_is_missing_is_named(void **unused)
{
    (void)unused;
    assert_true(for_each_golden(lose_expert) >= 15);
}

static void
an_expert_that_comes_twice_is_refused(void **unused)
{
    (void)unused;
    assert_true(for_each_golden(double_expert) >= 15);
}

static void
an_expert_of_another_shape_is_refused(void **unused)
{
    (void)unused;
    assert_true(for_each_golden(stretch_expert) >= 15);
}

/* --- fused matrices ----------------------------------------------------------------------------------------------- */

static bool
is_fused(const char *name)
{
    static const char *const parts[] = {
        "qkv",           "query_key_value", "W_pack", "gate_up", "up_gate",           "Wqkv", "input_linear", "in_proj",
        "c_attn.weight", "kv_b_proj",       "mlp.w1", "mlp.v1",  "kv_a_proj_with_mqa"
    };

    if (strstr(name, "visual") != NULL || strstr(name, "vision") != NULL)
        return false;
    for (size_t i = 0; i < COUNT(parts); i++)
        if (strstr(name, parts[i]) != NULL)
            return true;
    return false;
}

/* The sides of each fused matrix of the first layer that has it. */
static size_t
stretch_fused(json_t *golden)
{
    char seen[64][256];
    size_t n = 0, i;
    json_t *tensor;

    json_array_foreach(json_object_get(golden, "tensors"), i, tensor) {
        const size_t sides = json_array_size(json_object_get(tensor, "shape"));
        char plain[256], place[16];
        size_t k = 0;

        for (const char *p = name_of(tensor); *p != '\0' && k + 1 < sizeof plain; p++)
            if (!isdigit((unsigned char)*p))
                plain[k++] = *p;
        plain[k] = '\0';
        for (k = 0; k < n && strcmp(seen[k], plain) != 0; k++)
            ;
        if (k < n || !is_fused(name_of(tensor)))
            continue;
        assert_true(n < COUNT(seen));
        snprintf(seen[n++], sizeof seen[0], "%s", plain);
        for (size_t side = 0; side < sides; side++) {
            json_t *shape = json_object_get(tensor, "shape"), *whole = json_deep_copy(tensor);
            const json_int_t length = json_integer_value(json_array_get(shape, side));
            const char *at = strstr(name_of(tensor), "layers.");

            stretch(tensor, side, length);
            snprintf(place, sizeof place, "%.9s", at != NULL ? at : name_of(tensor)); /* "layers.0." */
            expect_refusal(golden, plain, place);
            json_object_update(tensor, whole);
            json_decref(whole);
        }
    }
    return n;
}

static void
a_fused_matrix_of_a_wrong_height_is_refused(void **unused)
{
    (void)unused;
    assert_true(for_each_golden(stretch_fused) >= 40);
}

/* --- config.json -------------------------------------------------------------------------------------------------- */

/* The object of CONFIG with the entries of the text model. */
static json_t *
text_config(json_t *config)
{
    json_t *inner = json_object_get(config, "text_config");

    return inner != NULL ? inner : config;
}

/* One head more than there are: that many do not divide the matrices. */
static size_t
add_a_head(json_t *golden)
{
    static const char *const entries[] = { "num_attention_heads", "n_head", "n_heads" };
    json_t *config = text_config(json_object_get(golden, "config"));
    size_t spoilt = 0;

    for (size_t i = 0; i < COUNT(entries); i++) {
        const json_int_t heads = json_integer_value(json_object_get(config, entries[i]));

        if (heads == 0 || json_object_get(config, "num_attention_heads_per_layer") != NULL) /* which counts */
            continue;
        json_object_set_new(config, entries[i], json_integer(heads + 1));
        expect_refusal(golden, entries[i], "spoilt");
        json_object_set_new(config, entries[i], json_integer(heads));
        spoilt++;
    }
    return spoilt;
}

static void
head_counts_that_do_not_divide_are_refused(void **unused)
{
    (void)unused;
    assert_true(for_each_golden(add_a_head) >= 75);
}

static size_t
change_length_of_lists(json_t *golden)
{
    static const char *const entries[] = { "layer_types",      "mlp_layer_types",      "no_rope_layers",
                                           "attn_type_list",   "hybrid_layer_pattern", "activation_sparsity_pattern",
                                           "layers_block_type" };
    json_t *config = text_config(json_object_get(golden, "config"));
    size_t spoilt = 0;

    for (size_t i = 0; i < COUNT(entries); i++) {
        json_t *list = json_object_get(config, entries[i]), *last;

        if (json_array_size(list) == 0)
            continue;
        last = json_incref(json_array_get(list, json_array_size(list) - 1));
        json_array_remove(list, json_array_size(list) - 1);
        expect_refusal(golden, "a list is too short", entries[i]);
        for (int k = 0; k < 5; k++)
            json_array_append(list, last);
        expect_refusal(golden, "a list is too long", entries[i]);
        json_array_clear(list);
        json_decref(last);
        spoilt++;
    }
    return spoilt;
}

static void
a_list_by_layer_of_the_wrong_length_is_refused(void **unused)
{
    (void)unused;
    assert_true(for_each_golden(change_length_of_lists) >= 15);
}

static void
kinds_of_layers_that_do_not_match_the_tensors_are_refused(void **unused)
{
    static const struct {
        const char *golden, *entry, *value, *expected;
    } cases[] = {
        { "granite4h", "layer_types", "[\"attention\",\"mamba\",\"mamba\",\"mamba\"]", "layers.0." },
        { "bamba", "attn_layer_indices", "[0]", "layers.0." },
        { "jamba", "attn_layer_offset", "0", "layers.0." },
        { "jamba", "expert_layer_offset", "0", "layers.0." },
        { "lfm2", "full_attn_idxs", "[0]", "layers.0." },
        { "nemotron_h", "hybrid_override_pattern", "\"*-M-M\"", "layers.0." },
        { "kimi_linear", "linear_attn_config",
          "{\"full_attn_layers\":[1],\"kda_layers\":[2,3,4],\"head_dim\":16,"
          "\"num_heads\":4,\"short_conv_kernel_size\":4}",
          "layers.0." },
        { "kimi_linear", "linear_attn_config",
          "{\"full_attn_layers\":[4],\"kda_layers\":[1,2],\"head_dim\":16,"
          "\"num_heads\":4,\"short_conv_kernel_size\":4}",
          "layer 3, counted from 1, is in none of kda_layers" },
        { "kimi_linear", "linear_attn_config",
          "{\"full_attn_layers\":[3,4],\"kda_layers\":[1,2,3],\"head_dim\":16,"
          "\"num_heads\":4,\"short_conv_kernel_size\":4}",
          "layer 3, counted from 1, is in both of kda_layers" },
        { "nemotron_h_puzzle", "block_configs", "[]", "block_configs does not describe the layers" },
        { "nemotron_h_puzzle", "block_configs", "[{},{},{},{},{}]", "does not say what the number of key-value heads" },
        { "qwen3next", "full_attention_interval", "2", "layers.1." },
        { "gemma4", "layer_types",
          "[\"full_attention\",\"sliding_attention\",\"sliding_attention\","
          "\"full_attention\",\"sliding_attention\",\"full_attention\"]",
          "layers." },
        { "deepseek3", "first_k_dense_replace", "0", "layers.0." },
        { "llama4", "interleave_moe_layer_step", "1", "layers.0." },
    };

    (void)unused;
    for (size_t i = 0; i < COUNT(cases); i++) {
        json_t *golden = read_golden(cases[i].golden), *config = text_config(json_object_get(golden, "config"));

        current = cases[i].golden;
        json_object_set_new(config, cases[i].entry, json_loads(cases[i].value, JSON_DECODE_ANY, NULL));
        expect_refusal(golden, cases[i].entry, cases[i].expected);
        json_decref(golden);
    }
}

static size_t
replace_text_config(json_t *golden)
{
    static const char *const values[] = { "5", "\"x\"", "[]", "true" };
    json_t *config = json_object_get(golden, "config");

    if (json_object_get(config, "text_config") == NULL)
        return 0;
    for (size_t i = 0; i < COUNT(values); i++) {
        json_object_set_new(config, "text_config", json_loads(values[i], JSON_DECODE_ANY, NULL));
        expect_refusal(golden, values[i], "text_config is not an object");
    }
    return 1;
}

static void
a_text_config_that_is_no_object_is_refused(void **unused)
{
    (void)unused;
    assert_true(for_each_golden(replace_text_config) >= 6);
}

/* Sets how the values of the tensor NAME of GOLDEN are made. */
static void
refill(json_t *golden, const char *name, json_t *init)
{
    json_t *tensor;
    size_t i;

    json_array_foreach(json_object_get(golden, "tensors"), i, tensor) {
        if (strcmp(name_of(tensor), name) == 0) {
            json_object_set(tensor, "init", init);
            json_object_del(tensor, "xxh64");
        }
    }
    json_decref(init);
}

static void
a_token_that_chooses_no_expert_that_there_is_is_refused(void **unused)
{
    json_t *golden = read_golden("deepseek4");

    (void)unused;
    current = "deepseek4";
    refill(golden, "layers.0.ffn.gate.tid2eid", json_pack("[s, i, i]", "int", 0, 8));
    expect_refusal(golden, "an expert beyond the last",
                   "'layers.0.ffn.gate.tid2eid' has the number 8, but there are only 8");
    refill(golden, "layers.0.ffn.gate.tid2eid", json_pack("[s, i, i]", "int", -1, 7));
    expect_refusal(golden, "an expert before the first", "'layers.0.ffn.gate.tid2eid' has the number -1");
    json_decref(golden);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_that_chooses_no_expert_that_there_is_is_refused),
        cmocka_unit_test(an_expert_that_is_missing_is_named),
        cmocka_unit_test(an_expert_that_comes_twice_is_refused),
        cmocka_unit_test(an_expert_of_another_shape_is_refused),
        cmocka_unit_test(a_fused_matrix_of_a_wrong_height_is_refused),
        cmocka_unit_test(head_counts_that_do_not_divide_are_refused),
        cmocka_unit_test(a_list_by_layer_of_the_wrong_length_is_refused),
        cmocka_unit_test(kinds_of_layers_that_do_not_match_the_tensors_are_refused),
        cmocka_unit_test(a_text_config_that_is_no_object_is_refused),
    };

    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
