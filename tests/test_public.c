/*
 * nibble.h: that every function does what its comment says, also for callers that were compiled with
 * another version, that make mistakes, that run out of memory, and that change their minds.
 */
#include "public_calls.h"
#include "scratch.h"
#include "testing.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#define SAMPLE SAMPLE_DATA "/tinystories-3m"
#define TEXT SAMPLE_DATA "/tinystories-valid.txt"

/* --- structs that grow ----------------------------------------------------------------------------------------- */

static void
structs_of_other_versions_are_understood(void **unused)
{
    struct {
        struct nibble_quantize_options now;
        const char *later;
    } options;
    struct {
        struct nibble_recipe now;
        uint64_t later;
    } recipe;
    struct nibble_plan *plan;
    struct nibble_source *source = open_source(SAMPLE);

    (void)unused;
    memset(&options, 0, sizeof options);
    REFUSED(NIBBLE_USAGE, nibble_plan_new(source, &options.now, &plan, &error)); /* its size is not set */
    error_says("NIBBLE_INIT");
    assert_null(plan);
    options.now.size = offsetof(struct nibble_quantize_options, imatrix); /* it ends before that */
    options.now.recipe = "q8_0";
    options.now.imatrix = "not read";
    MUST(nibble_plan_new(source, &options.now, &plan, &error));
    nibble_plan_free(plan);
    options.now.imatrix = NULL;
    options.now.size = sizeof options;
    MUST(nibble_plan_new(source, &options.now, &plan, &error)); /* what is unknown is 0 */
    nibble_plan_free(plan);
    options.later = "an option";
    REFUSED(NIBBLE_USAGE, nibble_plan_new(source, &options.now, &plan, &error));
    error_says("newer than this library");

    memset(&recipe, 0, sizeof recipe);
    recipe.now.size = sizeof recipe;
    recipe.later = 7;
    MUST(nibble_recipe_find("Q4_K_M", &recipe.now, &error));
    assert_true(recipe.later == 7 && recipe.now.size == sizeof recipe && recipe.now.file_type == 15);
    recipe.now.size = offsetof(struct nibble_recipe, description);
    recipe.now.description = "before";
    MUST(nibble_recipe_find("Q8_0", &recipe.now, &error));
    assert_string_equal(recipe.now.name, "Q8_0");
    assert_string_equal(recipe.now.description, "before");
    nibble_source_close(source);
}

static void
codes_have_names(void **unused)
{
    char version[32];

    (void)unused;
    assert_string_equal(nibble_code_name(NIBBLE_OK), "ok");
    for (int i = 0; i <= NIBBLE_INTERRUPTED; i++)
        for (int k = 0; k < i; k++)
            assert_string_not_equal(nibble_code_name((enum nibble_code)i), nibble_code_name((enum nibble_code)k));
    assert_string_equal(nibble_code_name((enum nibble_code)(NIBBLE_INTERRUPTED + 1)), "unknown");
    assert_string_equal(nibble_code_name((enum nibble_code) - 1), "unknown");
    snprintf(version, sizeof version, "%d.%d.%d", NIBBLE_VERSION_MAJOR, NIBBLE_VERSION_MINOR, NIBBLE_VERSION_PATCH);
    assert_string_equal(version, NIBBLE_VERSION_STRING);
    assert_string_equal(nibble_version(), NIBBLE_VERSION_STRING);
}

/* --- rows ------------------------------------------------------------------------------------------------------ */

static void
every_type_can_be_found_and_written_rows_read(void **unused)
{
    enum { COLUMNS = 512, ROWS = 3 };
    static float x[ROWS * COLUMNS], again[ROWS * COLUMNS], importance[COLUMNS];
    static unsigned char blocks[sizeof x];
    struct nibble_type type, by_name;
    unsigned written = 0;
    uint64_t bytes;

    (void)unused;
    NIBBLE_INIT(type);
    NIBBLE_INIT(by_name);
    for (int i = 0; i < ROWS * COLUMNS; i++)
        x[i] = (float)(i * 37 % 101 - 50) / 50;
    for (int i = 0; i < COLUMNS; i++)
        importance[i] = 1;
    for (size_t i = 0; i < nibble_type_count(); i++) {
        MUST(nibble_type_at(i, &type, &error));
        MUST(nibble_type_find(type.name, &by_name, &error));
        assert_int_equal(type.gguf_number, by_name.gguf_number);
        MUST(nibble_rows_bytes(type.name, ROWS, COLUMNS, &bytes, &error));
        assert_int_equal(bytes, (uint64_t)ROWS * COLUMNS / type.block_elements * type.block_bytes);
        if (!type.writable)
            continue;
        written++;
        MUST(nibble_quantize_rows(type.name, x, ROWS, COLUMNS, importance, blocks, (size_t)bytes, &error));
        MUST(nibble_dequantize_rows(type.name, blocks, (size_t)bytes, ROWS, COLUMNS, again, &error));
        for (int k = 0; k < ROWS * COLUMNS; k++)
            assert_true(fabsf(x[k] - again[k]) <= 1.3f); /* the one-bit types are that far off */
    }
    assert_true(written >= 25);
    MUST(nibble_type_find("Q4_k", &type, &error));
    assert_string_equal(type.name, "q4_K");
    assert_true(type.quantized && type.readable && type.importance == NIBBLE_IMPORTANCE_USED);
    assert_true(type.gguf_number == 12 && fabs(type.bits_per_element - 4.5) < 1e-9);
    MUST(nibble_type_find("f8_e4m3", &type, &error));
    assert_true(type.gguf_number == -1 && !type.quantized && !type.writable);
}

static void
rows_that_cannot_be_are_refused(void **unused)
{
    float x[256] = { 0 }, importance[256] = { 0 };
    unsigned char blocks[1024];
    struct nibble_type type;
    uint64_t bytes;

    (void)unused;
    NIBBLE_INIT(type);
    REFUSED(NIBBLE_USAGE, nibble_type_at(nibble_type_count(), &type, &error));
    REFUSED(NIBBLE_USAGE, nibble_type_find("q9_K", &type, &error));
    REFUSED(NIBBLE_USAGE, nibble_rows_bytes("q4_K", 1, 255, &bytes, &error));
    REFUSED(NIBBLE_USAGE, nibble_rows_bytes("f32", UINT64_MAX / 2, 256, &bytes, &error));
    REFUSED(NIBBLE_USAGE, nibble_quantize_rows("q4_K", x, 1, 256, NULL, blocks, 143, &error));
    error_says("144 bytes");
    REFUSED(NIBBLE_USAGE, nibble_quantize_rows("q8_K", x, 1, 256, NULL, blocks, sizeof blocks, &error));
    REFUSED(NIBBLE_USAGE, nibble_quantize_rows("iq2_xxs", x, 1, 256, NULL, blocks, sizeof blocks, &error));
    REFUSED(NIBBLE_USAGE, nibble_dequantize_rows("u8", blocks, sizeof blocks, 1, 256, x, &error));
    REFUSED(NIBBLE_USAGE, nibble_dequantize_rows("q4_K", blocks, 143, 1, 256, x, &error));
    x[200] = NAN;
    REFUSED(NIBBLE_INVALID, nibble_quantize_rows("q4_K", x, 1, 256, NULL, blocks, sizeof blocks, &error));
    error_says("column 200");
    x[200] = 1e30f; /* beyond the half floats that scale a block */
    REFUSED(NIBBLE_INVALID, nibble_quantize_rows("q4_K", x, 1, 256, NULL, blocks, sizeof blocks, &error));
    error_says("too large");
    x[200] = 1;
    importance[3] = -1;
    REFUSED(NIBBLE_INVALID, nibble_quantize_rows("q4_K", x, 1, 256, importance, blocks, sizeof blocks, &error));
    assert_int_equal(nibble_quantize_rows("q9", x, 1, 256, NULL, blocks, sizeof blocks, NULL), NIBBLE_USAGE);
}

/* --- metadata -------------------------------------------------------------------------------------------------- */

static void
values_come_back_as_they_were_set(void **unused)
{
    static const char *const texts[] = { "a", "", "\xC3\xA9" };
    const float floats[] = { 0.5f, -2 };
    struct nibble_metadata *m;
    struct nibble_value v;
    struct nibble_string s[3];
    int64_t n;
    double d[2];

    (void)unused;
    NIBBLE_INIT(v);
    MUST(nibble_metadata_new(&m, &error));
    MUST(nibble_metadata_set_string(m, "text", "t", &error));
    MUST(nibble_metadata_set_integer(m, "small", NIBBLE_I8, -128, &error));
    MUST(nibble_metadata_set_integer(m, "large", NIBBLE_U64, INT64_MAX, &error));
    MUST(nibble_metadata_set_integer(m, "yes", NIBBLE_BOOL, 1, &error));
    MUST(nibble_metadata_set_float(m, "float", NIBBLE_F32, 0.25, &error));
    MUST(nibble_metadata_set_strings(m, "texts", texts, 3, &error));
    v.key = "floats";
    v.type = NIBBLE_F32;
    v.is_array = true;
    v.count = 2;
    v.data = floats;
    MUST(nibble_metadata_set(m, &v, &error));
    MUST(nibble_metadata_set_string(m, "text", "another", &error)); /* in its place */
    assert_int_equal(nibble_metadata_count(m), 7);

    MUST(nibble_metadata_at(m, 0, &v, &error));
    assert_true(v.type == NIBBLE_STRING && !v.is_array && v.count == 1);
    assert_string_equal(v.data, "another");
    MUST(nibble_value_strings(&v, 0, 1, s, &error));
    assert_int_equal(s[0].length, 7);
    MUST(nibble_metadata_find(m, "small", &v, &error));
    MUST(nibble_value_integers(&v, 0, 1, &n, &error));
    assert_int_equal(n, -128);
    MUST(nibble_value_floats(&v, 0, 1, d, &error));
    assert_true(d[0] < -127.5 && d[0] > -128.5);
    MUST(nibble_metadata_find(m, "yes", &v, &error));
    MUST(nibble_value_integers(&v, 0, 1, &n, &error));
    assert_int_equal(n, 1);
    MUST(nibble_metadata_find(m, "texts", &v, &error));
    MUST(nibble_value_strings(&v, 1, 2, s, &error));
    assert_true(s[0].length == 0 && s[1].length == 2 && memcmp(s[1].bytes, texts[2], 2) == 0);
    MUST(nibble_metadata_set(m, &v, &error)); /* what was read can be set */
    MUST(nibble_metadata_find(m, "floats", &v, &error));
    MUST(nibble_value_floats(&v, 0, 2, d, &error));
    assert_true(d[0] > 0.4 && d[1] < -1.9);

    REFUSED(NIBBLE_USAGE, nibble_value_floats(&v, 1, 2, d, &error));
    REFUSED(NIBBLE_USAGE, nibble_value_integers(&v, 0, 1, &n, &error));
    REFUSED(NIBBLE_USAGE, nibble_value_strings(&v, 0, 1, s, &error));
    REFUSED(NIBBLE_USAGE, nibble_metadata_at(m, 7, &v, &error));
    REFUSED(NIBBLE_NOT_FOUND, nibble_metadata_find(m, "none", &v, &error));
    nibble_metadata_remove(m, "texts");
    nibble_metadata_remove(m, "none");
    REFUSED(NIBBLE_NOT_FOUND, nibble_metadata_find(m, "texts", &v, &error));
    nibble_metadata_free(m);
    nibble_metadata_free(NULL);
}

static void
values_that_no_file_can_have_are_refused(void **unused)
{
    static const unsigned char cut[] = { 9, 0, 0, 0, 0, 0, 0, 0, 'x' }, two[] = { 2 };
    struct nibble_metadata *m;
    struct nibble_value v;
    struct nibble_string s;

    (void)unused;
    MUST(nibble_metadata_new(&m, &error));
    REFUSED(NIBBLE_USAGE, nibble_metadata_set_string(m, "", "t", &error));
    REFUSED(NIBBLE_USAGE, nibble_metadata_set_string(m, "a\nb", "t", &error));
    REFUSED(NIBBLE_USAGE, nibble_metadata_set_string(m, "a", "\xFF", &error));
    REFUSED(NIBBLE_USAGE, nibble_metadata_set_strings(m, "a", NULL, 0, &error));
    REFUSED(NIBBLE_USAGE, nibble_metadata_set_integer(m, "a", NIBBLE_U8, 256, &error));
    REFUSED(NIBBLE_USAGE, nibble_metadata_set_integer(m, "a", NIBBLE_I16, -32769, &error));
    REFUSED(NIBBLE_USAGE, nibble_metadata_set_integer(m, "a", NIBBLE_U64, -1, &error));
    REFUSED(NIBBLE_USAGE, nibble_metadata_set_integer(m, "a", NIBBLE_BOOL, 2, &error));
    REFUSED(NIBBLE_USAGE, nibble_metadata_set_integer(m, "a", NIBBLE_F32, 2, &error));
    REFUSED(NIBBLE_USAGE, nibble_metadata_set_integer(m, "a", (enum nibble_value_type)9, 2, &error));
    REFUSED(NIBBLE_USAGE, nibble_metadata_set_float(m, "a", NIBBLE_F32, 1e300, &error));
    REFUSED(NIBBLE_USAGE, nibble_metadata_set_float(m, "a", NIBBLE_I32, 1, &error));
    NIBBLE_INIT(v);
    v.key = "a";
    v.type = NIBBLE_STRING;
    v.is_array = true;
    v.count = 1;
    v.data = cut;
    v.bytes = sizeof cut;
    REFUSED(NIBBLE_USAGE, nibble_metadata_set(m, &v, &error));
    REFUSED(NIBBLE_USAGE, nibble_value_strings(&v, 0, 1, &s, &error));
    v.type = NIBBLE_BOOL;
    v.data = two;
    REFUSED(NIBBLE_USAGE, nibble_metadata_set(m, &v, &error));
    v.type = NIBBLE_F64;
    v.count = UINT64_MAX / 4;
    REFUSED(NIBBLE_USAGE, nibble_metadata_set(m, &v, &error));
    assert_int_equal(nibble_metadata_count(m), 0);
    nibble_metadata_free(m);
}

/* --- sources --------------------------------------------------------------------------------------------------- */

static void
a_source_gives_its_rows_as_floats(void **unused)
{
    struct nibble_source *source = open_source(SAMPLE), *gguf;
    struct nibble_tensor t, q;
    size_t index;
    float *all, *rows;

    (void)unused;
    NIBBLE_INIT(t);
    NIBBLE_INIT(q);
    MUST(nibble_source_find(source, "blk.1.attn_q.weight", &index, &error)); /* its rows are permuted */
    MUST(nibble_source_tensor(source, index, &t, &error));
    assert_string_equal(t.stored_name, "model.layers.1.self_attn.q_proj.weight");
    assert_true(t.dims == 2 && t.shape[0] == 256 && t.shape[1] == 256 && t.shape[2] == 1 && t.elements == 65536);
    all = malloc(65536 * sizeof *all);
    rows = malloc(65536 * sizeof *rows);
    MUST(nibble_source_rows(source, index, 0, 256, all, &error));
    for (uint64_t i = 0; i < 256; i += 3) {
        MUST(nibble_source_rows(source, index, i, 1, rows, &error));
        assert_memory_equal(rows, all + 256 * i, 256 * sizeof *rows);
    }
    MUST(nibble_quantize(source, scratch_path("f16.gguf"),
                         &(struct nibble_quantize_options){ .size = sizeof(struct nibble_quantize_options),
                                                            .recipe = "f16" },
                         NULL, &error));
    gguf = open_source(scratch_path("f16.gguf"));
    MUST(nibble_source_find(gguf, "blk.1.attn_q.weight", &index, &error));
    MUST(nibble_source_tensor(gguf, index, &q, &error));
    assert_string_equal(q.type, "f16");
    MUST(nibble_source_rows(gguf, index, 0, 256, rows, &error));
    assert_memory_equal(rows, all, 65536 * sizeof *rows);

    MUST(nibble_source_rows(gguf, index, 256, 0, rows, &error));
    REFUSED(NIBBLE_USAGE, nibble_source_rows(gguf, index, 256, 1, rows, &error));
    REFUSED(NIBBLE_USAGE, nibble_source_rows(gguf, index, 1, UINT64_MAX, rows, &error));
    REFUSED(NIBBLE_USAGE, nibble_source_rows(gguf, 1000, 0, 1, rows, &error));
    REFUSED(NIBBLE_USAGE, nibble_source_tensor(gguf, 1000, &t, &error));
    REFUSED(NIBBLE_NOT_FOUND, nibble_source_find(gguf, "none", &index, &error));
    free(all);
    free(rows);
    nibble_source_close(gguf);
    nibble_source_close(source);
    nibble_source_close(NULL);
}

static void
sources_that_cannot_be_opened_have_a_code(void **unused)
{
    struct nibble_source *source;
    struct nibble_source_options options;

    (void)unused;
    REFUSED(NIBBLE_NOT_FOUND, nibble_source_open(scratch_path("nowhere.gguf"), NULL, &source, &error));
    assert_null(source);
    scratch_write_text("text.gguf", "not a GGUF file, but long enough to be one");
    REFUSED(NIBBLE_INVALID, nibble_source_open(scratch_path("text.gguf"), NULL, &source, &error));
    scratch_write("version.gguf", "GGUF\x63\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24);
    REFUSED(NIBBLE_UNSUPPORTED, nibble_source_open(scratch_path("version.gguf"), NULL, &source, &error));
    REFUSED(NIBBLE_NOT_FOUND, nibble_source_open(scratch_path("pytorch.gguf/x"), NULL, &source, &error));
    tiny_checkpoint("odd");
    scratch_write_text("odd/config.json", "{\"architectures\":[\"OddForCausalLM\"]}");
    REFUSED(NIBBLE_UNSUPPORTED, nibble_source_open(scratch_path("odd"), NULL, &source, &error));
    scratch_write_text("odd/config.json", tiny_config);
    NIBBLE_INIT(options);
    options.model_class = "OddForCausalLM";
    REFUSED(NIBBLE_USAGE, nibble_source_open(scratch_path("odd"), &options, &source, &error));
    options.model_class = "LlamaForCausalLM";
    MUST(nibble_source_open(scratch_path("odd"), &options, &source, &error));
    nibble_source_close(source);
}

/* --- plans ----------------------------------------------------------------------------------------------------- */

static void
a_plan_says_what_comes_of_every_tensor(void **unused)
{
    static const struct nibble_type_rule rules[] = { { "ffn_down", "q8_0" } };
    static const uint64_t pruned[] = { 3, 3 };
    struct nibble_source *source = open_source(SAMPLE);
    struct nibble_quantize_options options;
    struct nibble_planned_tensor t;
    struct nibble_plan_info info;
    struct nibble_metadata *values;
    struct nibble_value v;
    struct nibble_plan *plan;
    unsigned by_rule = 0;

    (void)unused;
    NIBBLE_INIT(options);
    NIBBLE_INIT(t);
    NIBBLE_INIT(info);
    NIBBLE_INIT(v);
    MUST(nibble_metadata_new(&values, &error));
    MUST(nibble_metadata_set_string(values, "general.description", "mine", &error));
    MUST(nibble_metadata_set_integer(values, "llama.context_length", NIBBLE_U32, 77, &error));
    MUST(nibble_metadata_set_float(values, "mine.double", NIBBLE_F64, 0.1, &error));
    options.recipe = "q4_k_m";
    options.tensor_types = rules;
    options.n_tensor_types = 1;
    options.prune_layers = pruned;
    options.n_prune_layers = 2;
    options.metadata = values;
    options.embedding_type = "q6_k";
    MUST(nibble_plan_new(source, &options, &plan, &error));
    nibble_metadata_free(values); /* was copied */
    nibble_plan_get_info(plan, &info);
    assert_string_equal(info.recipe, "Q4_K_M");
    assert_non_null(strstr(info.file_name, "Q4_K_M.gguf"));
    for (size_t i = 0; i < info.tensors; i++) {
        MUST(nibble_plan_tensor(plan, i, &t, &error));
        assert_null(strstr(t.name, "blk.3."));
        if (strstr(t.name, "ffn_down") != NULL) {
            by_rule++;
            assert_string_equal(t.type, "q8_0");
            assert_int_equal(t.reason, NIBBLE_WHY_USER);
        }
        if (strstr(t.name, "norm") != NULL)
            assert_int_equal(t.reason, NIBBLE_WHY_KEPT);
    }
    assert_int_equal(by_rule, 3);
    REFUSED(NIBBLE_USAGE, nibble_plan_tensor(plan, info.tensors, &t, &error));
    MUST(nibble_plan_write(plan, scratch_path("pruned.gguf"), NULL, &error));
    REFUSED(NIBBLE_EXISTS, nibble_plan_write(plan, scratch_path("pruned.gguf"), NULL, &error));
    nibble_plan_free(plan);
    nibble_source_close(source);

    source = open_source(scratch_path("pruned.gguf"));
    MUST(nibble_metadata_find(nibble_source_metadata(source), "general.description", &v, &error));
    assert_string_equal(v.data, "mine");
    MUST(nibble_metadata_find(nibble_source_metadata(source), "mine.double", &v, &error));
    assert_true(v.type == NIBBLE_F64);
    MUST(nibble_metadata_find(nibble_source_metadata(source), "llama.block_count", &v, &error));
    NIBBLE_INIT(options);
    options.replace = true;
    options.allow_requantize = true;
    REFUSED(NIBBLE_USAGE, nibble_quantize(source, scratch_path("pruned.gguf"), &options, NULL, &error)); /* itself */
    nibble_source_close(source);
}

static enum nibble_code
try(const struct nibble_source *source, void (*change)(struct nibble_quantize_options *))
{
    struct nibble_quantize_options options;
    struct nibble_plan *plan;
    enum nibble_code code;

    NIBBLE_INIT(options);
    change(&options);
    code = nibble_plan_new(source, &options, &plan, &error);
    assert_true((code == NIBBLE_OK) == (plan != NULL));
    nibble_plan_free(plan);
    return code;
}

#define CHANGE(name, ...)                               \
    static void name(struct nibble_quantize_options *o) \
    {                                                   \
        __VA_ARGS__;                                    \
    }

static const struct nibble_type_rule no_match[] = { { "nothing", "q8_0" } }, bad_regex[] = { { "(", "q8_0" } },
                                     no_type[] = { { "ffn", NULL } };
static const char *const words[] = { "ffn" };
static struct nibble_metadata *of_the_file;

CHANGE(unknown_recipe, o->recipe = "q9")
CHANGE(unknown_type, o->output_type = "q9")
CHANGE(type_only_read, o->embedding_type = "q8_K")
CHANGE(odd_via, o->via = "q8_0")
CHANGE(rule_without_match, o->tensor_types = no_match; o->n_tensor_types = 1)
CHANGE(rule_without_regex, o->tensor_types = bad_regex; o->n_tensor_types = 1)
CHANGE(rule_without_type, o->tensor_types = no_type; o->n_tensor_types = 1)
CHANGE(words_without_matrix, o->include_weights = words; o->n_include_weights = 1)
CHANGE(both_words, o->include_weights = o->exclude_weights = words; o->n_include_weights = o->n_exclude_weights = 1)
CHANGE(importance_missing, o->recipe = "iq2_xxs")
CHANGE(importance_missing_dry, o->recipe = "iq2_xxs"; o->dry_run = true)
CHANGE(matrix_missing, o->imatrix = "/nowhere.imatrix")
CHANGE(matrix_is_a_text, o->imatrix = TEXT)
CHANGE(alignment, o->metadata = of_the_file)

static void
plans_that_cannot_be_are_refused(void **unused)
{
    struct nibble_source *source = open_source(SAMPLE);
    struct nibble_quantize_options options;
    struct nibble_plan_info info;
    struct nibble_plan *plan;

    (void)unused;
    MUST(nibble_metadata_new(&of_the_file, &error));
    MUST(nibble_metadata_set_integer(of_the_file, "general.alignment", NIBBLE_U32, 64, &error));
    REFUSED(NIBBLE_USAGE, try(source, unknown_recipe));
    REFUSED(NIBBLE_USAGE, try(source, unknown_type));
    REFUSED(NIBBLE_USAGE, try(source, type_only_read));
    REFUSED(NIBBLE_USAGE, try(source, odd_via));
    REFUSED(NIBBLE_USAGE, try(source, rule_without_match));
    REFUSED(NIBBLE_USAGE, try(source, rule_without_regex));
    REFUSED(NIBBLE_USAGE, try(source, rule_without_type));
    REFUSED(NIBBLE_USAGE, try(source, words_without_matrix));
    REFUSED(NIBBLE_USAGE, try(source, both_words));
    REFUSED(NIBBLE_USAGE, try(source, importance_missing));
    REFUSED(NIBBLE_NOT_FOUND, try(source, matrix_missing));
    REFUSED(NIBBLE_INVALID, try(source, matrix_is_a_text));
    REFUSED(NIBBLE_USAGE, try(source, alignment));
    MUST(try(source, importance_missing_dry));
    nibble_metadata_free(of_the_file);

    NIBBLE_INIT(options);
    NIBBLE_INIT(info);
    importance_missing_dry(&options);
    MUST(nibble_plan_new(source, &options, &plan, &error));
    nibble_plan_get_info(plan, &info);
    assert_true(info.needs_importance && info.file_bytes > 0);
    REFUSED(NIBBLE_USAGE, nibble_plan_write(plan, scratch_path("never.gguf"), NULL, &error));
    assert_false(scratch_exists(scratch_path("never.gguf")));
    nibble_plan_free(plan);
    nibble_source_close(source);
}

static void
a_full_disk_has_a_code(void **unused)
{
    struct nibble_source *source;
    const char *disk;
    enum nibble_code code;

    (void)unused;
    scratch_folder("disk");
    disk = scratch_path("disk");
    scratch_small_disk(disk, "size=1m");
    source = open_source(SAMPLE);
    code = nibble_quantize(source, scratch_path("disk/out.gguf"), NULL, NULL, &error);
    scratch_small_disk_gone(disk);
    nibble_source_close(source);
    REFUSED(NIBBLE_NO_SPACE, code);
}

/* --- stops ----------------------------------------------------------------------------------------------------- */

struct reports {
    pthread_t caller;
    uint64_t calls, last_total;
    bool started;     /* with 0 */
    uint64_t stop_at; /* this call; 0: none */
};

static int
report(void *context, uint64_t done, uint64_t total)
{
    struct reports *r = context;

    assert_true(pthread_equal(pthread_self(), r->caller) != 0);
    assert_true(done <= total);
    r->started |= r->calls == 0 && done == 0;
    r->last_total = total;
    r->calls++;
    return r->calls == r->stop_at;
}

static void
long_calls_report_and_stop(void **unused)
{
    struct nibble_source *source = open_source(SAMPLE);
    const struct nibble_source *models[2];
    const struct nibble_text text = { TEXT, NULL, 0 };
    struct nibble_calibrate_options calibrate;
    struct nibble_verify_options verify;
    struct nibble_verification *v;
    struct nibble_findings *f;
    struct nibble_run run;

    (void)unused;
    NIBBLE_INIT(calibrate);
    NIBBLE_INIT(verify);
    NIBBLE_INIT(run);
    calibrate.max_chunks = 8;
    calibrate.replace = true;
    verify.max_chunks = 4;
    models[0] = models[1] = source;
    run.progress = report;
    for (uint64_t stop_at = 0; stop_at < 2; stop_at++) {
        const enum nibble_code expected = stop_at == 0 ? NIBBLE_OK : NIBBLE_INTERRUPTED;
        struct reports r[4];

        for (int i = 0; i < 4; i++)
            r[i] = (struct reports){ .caller = pthread_self(), .stop_at = stop_at };
        run.context = &r[0];
        REFUSED(expected,
                nibble_quantize(source, scratch_path(stop_at == 0 ? "a.gguf" : "b.gguf"), NULL, &run, &error));
        run.context = &r[1];
        REFUSED(expected, nibble_calibrate(source, &text, 1, scratch_path(stop_at == 0 ? "a.imatrix" : "b.imatrix"),
                                           &calibrate, &run, NULL, &error));
        run.context = &r[2];
        REFUSED(expected, nibble_verify(models, 2, &text, &verify, &run, &v, &error));
        assert_true((v != NULL) == (expected == NIBBLE_OK));
        nibble_verification_free(v);
        run.context = &r[3];
        REFUSED(expected, nibble_check(SAMPLE, NULL, &run, &f, &error));
        assert_true((f != NULL) == (expected == NIBBLE_OK));
        nibble_findings_free(f);
        for (int i = 0; i < 4; i++)
            assert_true(r[i].started && r[i].calls >= 1 && r[i].last_total > 0);
    }
    assert_true(scratch_exists(scratch_path("a.gguf")) && scratch_exists(scratch_path("a.imatrix")));
    assert_false(scratch_exists(scratch_path("b.gguf")) || scratch_exists(scratch_path("b.gguf.partial")));
    assert_false(scratch_exists(scratch_path("b.imatrix")) || scratch_exists(scratch_path("b.imatrix.partial")));
    nibble_source_close(source);
}

/* --- calibrating and verifying --------------------------------------------------------------------------------- */

static void
calibrating_and_verifying_refuse_what_makes_no_sense(void **unused)
{
    static const char words_only[] = "only a few words";
    struct nibble_source *source = open_source(SAMPLE);
    const struct nibble_source *models[] = { source };
    struct nibble_text text = { "words", words_only, sizeof words_only - 1 };
    struct nibble_calibrate_options calibrate;
    struct nibble_verify_options verify;
    struct nibble_calibration result;
    struct nibble_verification *v;
    const char *out = scratch_path("none.imatrix");

    (void)unused;
    NIBBLE_INIT(calibrate);
    NIBBLE_INIT(verify);
    NIBBLE_INIT(result);
    REFUSED(NIBBLE_INVALID, nibble_calibrate(source, &text, 1, out, NULL, NULL, &result, &error));
    error_says("words: has");
    REFUSED(NIBBLE_INVALID, nibble_verify(models, 1, &text, NULL, NULL, &v, &error));
    text.bytes = "\xFF\xFE";
    text.length = 2;
    REFUSED(NIBBLE_INVALID, nibble_verify(models, 1, &text, NULL, NULL, &v, &error));
    text = (struct nibble_text){ "/nowhere.txt", NULL, 0 };
    REFUSED(NIBBLE_NOT_FOUND, nibble_calibrate(source, &text, 1, out, NULL, NULL, &result, &error));
    REFUSED(NIBBLE_NOT_FOUND, nibble_verify(models, 1, &text, NULL, NULL, &v, &error));
    REFUSED(NIBBLE_USAGE, nibble_calibrate(source, &text, 0, out, NULL, NULL, &result, &error));
    REFUSED(NIBBLE_USAGE, nibble_verify(models, 0, &text, NULL, NULL, &v, &error));
    REFUSED(NIBBLE_USAGE, nibble_verify(models, 1, NULL, NULL, NULL, &v, &error));
    calibrate.chunk_tokens = verify.chunk_tokens = 7;
    REFUSED(NIBBLE_USAGE, nibble_calibrate(source, &text, 1, out, &calibrate, NULL, &result, &error));
    REFUSED(NIBBLE_USAGE, nibble_verify(models, 1, &text, &verify, NULL, &v, &error));
    calibrate.chunk_tokens = 0;
    text.name = TEXT;
    scratch_write_text("none.imatrix", "is there already");
    REFUSED(NIBBLE_EXISTS, nibble_calibrate(source, &text, 1, scratch_path("none.imatrix"), NULL, NULL, NULL, &error));
    nibble_source_close(source);
}

/* Bytes in memory give what the file with them gives, and a model is no distance from itself. */
static void
texts_in_memory_are_texts(void **unused)
{
    struct nibble_source *source = open_source(SAMPLE);
    const struct nibble_source *models[] = { source, source };
    struct nibble_text texts[2] = { { TEXT, NULL, 0 } };
    struct nibble_verify_options options;
    struct nibble_verification *v;
    struct nibble_drift d[2];
    unsigned char *bytes;

    (void)unused;
    NIBBLE_INIT(options);
    options.max_chunks = 2;
    bytes = scratch_read(TEXT, &texts[1].length);
    texts[1].name = "memory";
    texts[1].bytes = (char *)bytes;
    for (int i = 0; i < 2; i++) {
        NIBBLE_INIT(d[i]);
        MUST(nibble_verify(models, 2, &texts[i], &options, NULL, &v, &error));
        MUST(nibble_verification_model(v, 1, &d[i], &error));
        REFUSED(NIBBLE_USAGE, nibble_verification_model(v, 2, &d[i], &error));
        nibble_verification_free(v);
    }
    assert_memory_equal(&d[0], &d[1], sizeof d[0]);
    assert_true(d[0].chunks == 2 && d[0].chunk_tokens == 512 && d[0].scored == 2 * 255);
    assert_true(d[0].perplexity.value > 5 && d[0].perplexity.value < 100);
    assert_true(d[0].kld.value < 1e-9 && d[0].same_top.value > 0.999);
    assert_true(d[0].kld_quantiles[NIBBLE_QUANTILE_MAX] < 1e-6);
    free(bytes);
    nibble_source_close(source);
}

/* --- checking -------------------------------------------------------------------------------------------------- */

static void
findings_have_place_and_severity(void **unused)
{
    struct nibble_check_options options;
    struct nibble_check_info info;
    struct nibble_finding finding;
    struct nibble_findings *f;
    struct nibble_metadata *m;
    struct nibble_writer *w;
    struct nibble_tensor t;
    bool about_key = false;

    (void)unused;
    NIBBLE_INIT(t);
    t.name = "one";
    t.type = "f32";
    t.dims = 1;
    t.shape[0] = 1;
    NIBBLE_INIT(options);
    NIBBLE_INIT(info);
    NIBBLE_INIT(finding);
    MUST(nibble_metadata_new(&m, &error));
    MUST(nibble_metadata_set_string(m, "general.architecture", "toy", &error));
    MUST(nibble_writer_new(m, &w, &error));
    MUST(nibble_writer_add(w, &t, &error));
    MUST(nibble_writer_begin(w, scratch_path("toy.gguf"), false, &error));
    MUST(nibble_writer_put(w, 0, 0, "\0\0\x80?", 4, &error));
    MUST(nibble_writer_finish(w, &error));
    nibble_writer_free(w);
    nibble_metadata_free(m);
    MUST(nibble_check(scratch_path("toy.gguf"), NULL, NULL, &f, &error));
    nibble_findings_get_info(f, &info);
    assert_true(info.errors > 0 && info.findings == info.errors + info.warnings && info.files == 1);
    for (size_t i = 0; i < info.findings; i++) {
        MUST(nibble_findings_at(f, i, &finding, &error));
        assert_true(finding.sentence[0] != '\0' && strchr(finding.code, '.') != NULL);
        about_key |= finding.key != NULL && finding.severity == NIBBLE_SEVERITY_ERROR && finding.tensor == NULL;
    }
    assert_true(about_key);
    REFUSED(NIBBLE_USAGE, nibble_findings_at(f, info.findings, &finding, &error));
    nibble_findings_free(f);
    options.level = NIBBLE_CHECK_STRUCTURE;
    MUST(nibble_check(scratch_path("toy.gguf"), &options, NULL, &f, &error));
    nibble_findings_get_info(f, &info);
    assert_int_equal(info.errors, 0);
    nibble_findings_free(f);
    options.level = (enum nibble_check_level)7;
    REFUSED(NIBBLE_USAGE, nibble_check(scratch_path("toy.gguf"), &options, NULL, &f, &error));
    REFUSED(NIBBLE_NOT_FOUND, nibble_check(scratch_path("nowhere"), NULL, NULL, &f, &error));
    assert_null(f);
}

/* --- writing --------------------------------------------------------------------------------------------------- */

enum { PIECES = 64 };

struct piece {
    struct nibble_writer *writer;
    const float *data;
    unsigned first;
};

static void *
put_pieces(void *argument)
{
    const struct piece *p = argument;

    for (unsigned i = p->first; i < PIECES; i += 4)
        if (nibble_writer_put(p->writer, 1, i * 256 * sizeof(float), p->data + i * 256, 256 * sizeof(float), NULL) !=
            NIBBLE_OK)
            return argument;
    return NULL;
}

static void
many_threads_write_a_file(void **unused)
{
    static float data[PIECES * 256], again[PIECES * 256];
    struct nibble_metadata *m;
    struct nibble_writer *w;
    struct nibble_tensor t;
    struct nibble_source *source;
    struct piece pieces[4];
    pthread_t threads[4];
    void *bad;
    size_t index;

    (void)unused;
    for (int i = 0; i < PIECES * 256; i++)
        data[i] = (float)i;
    MUST(nibble_metadata_new(&m, &error));
    MUST(nibble_metadata_set_string(m, "general.architecture", "toy", &error));
    MUST(nibble_metadata_set_integer(m, "general.alignment", NIBBLE_U32, 64, &error));
    MUST(nibble_writer_new(m, &w, &error));
    nibble_metadata_free(m); /* was copied */
    NIBBLE_INIT(t);
    t.name = "small";
    t.type = "f32";
    t.dims = 1;
    t.shape[0] = 3;
    MUST(nibble_writer_add(w, &t, &error));
    t.name = "large";
    t.dims = 2;
    t.shape[0] = 256;
    t.shape[1] = PIECES;
    MUST(nibble_writer_add(w, &t, &error));
    MUST(nibble_writer_begin(w, scratch_path("own.gguf"), false, &error));
    MUST(nibble_writer_put(w, 0, 0, data, 12, &error));
    for (unsigned i = 0; i < 4; i++) {
        pieces[i] = (struct piece){ w, data, i };
        assert_int_equal(pthread_create(&threads[i], NULL, put_pieces, &pieces[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(threads[i], &bad);
        assert_null(bad);
    }
    assert_false(scratch_exists(scratch_path("own.gguf")));
    MUST(nibble_writer_finish(w, &error));
    REFUSED(NIBBLE_USAGE, nibble_writer_finish(w, &error));
    nibble_writer_free(w);
    source = open_source(scratch_path("own.gguf"));
    MUST(nibble_source_find(source, "large", &index, &error));
    MUST(nibble_source_rows(source, index, 0, PIECES, again, &error));
    assert_memory_equal(again, data, sizeof data);
    nibble_source_close(source);
}

static void
a_writer_refuses_what_makes_no_file(void **unused)
{
    static const float data[32] = { 0 };
    struct nibble_metadata *m;
    struct nibble_writer *w;
    struct nibble_tensor t;

    (void)unused;
    MUST(nibble_metadata_new(&m, &error));
    MUST(nibble_writer_new(m, &w, &error));
    NIBBLE_INIT(t);
    t.dims = 1;
    t.shape[0] = 32;
    t.type = "f32";
    REFUSED(NIBBLE_USAGE, nibble_writer_add(w, &t, &error)); /* no name */
    t.name = "a name that is longer than the sixty-three bytes that llama.cpp has for it";
    REFUSED(NIBBLE_USAGE, nibble_writer_add(w, &t, &error));
    t.name = "a";
    t.type = "f8_e4m3";
    REFUSED(NIBBLE_USAGE, nibble_writer_add(w, &t, &error));
    t.type = "q4_K";
    REFUSED(NIBBLE_USAGE, nibble_writer_add(w, &t, &error)); /* part of a block */
    t.type = "f32";
    t.dims = 5;
    REFUSED(NIBBLE_USAGE, nibble_writer_add(w, &t, &error));
    t.dims = 2; /* and shape[1] is 0 */
    REFUSED(NIBBLE_USAGE, nibble_writer_add(w, &t, &error));
    t.dims = 1;
    REFUSED(NIBBLE_USAGE, nibble_writer_put(w, 0, 0, data, 4, &error));
    REFUSED(NIBBLE_USAGE, nibble_writer_finish(w, &error));
    MUST(nibble_writer_add(w, &t, &error));
    REFUSED(NIBBLE_USAGE, nibble_writer_add(w, &t, &error)); /* twice */
    scratch_write_text("there.gguf", "is there");
    REFUSED(NIBBLE_EXISTS, nibble_writer_begin(w, scratch_path("there.gguf"), false, &error));
    MUST(nibble_writer_begin(w, scratch_path("lacks.gguf"), false, &error));
    t.name = "b";
    REFUSED(NIBBLE_USAGE, nibble_writer_add(w, &t, &error));
    REFUSED(NIBBLE_USAGE, nibble_writer_begin(w, scratch_path("lacks.gguf"), false, &error));
    REFUSED(NIBBLE_USAGE, nibble_writer_put(w, 1, 0, data, 4, &error));
    REFUSED(NIBBLE_USAGE, nibble_writer_put(w, 0, 120, data, 12, &error));
    MUST(nibble_writer_put(w, 0, 4, data, 124, &error));
    REFUSED(NIBBLE_USAGE, nibble_writer_finish(w, &error));
    error_says("124 of 128");
    assert_true(scratch_exists(scratch_path("lacks.gguf.partial")));
    nibble_writer_free(w);
    assert_false(scratch_exists(scratch_path("lacks.gguf.partial")) || scratch_exists(scratch_path("lacks.gguf")));

    MUST(nibble_metadata_set_integer(m, "general.alignment", NIBBLE_U32, 33, &error));
    MUST(nibble_writer_new(m, &w, &error));
    REFUSED(NIBBLE_INVALID, nibble_writer_begin(w, scratch_path("lacks.gguf"), false, &error));
    nibble_writer_free(w);
    nibble_writer_free(NULL);
    nibble_metadata_free(m);
}

/* --- memory ---------------------------------------------------------------------------------------------------- */

/*
 * Each allocation of an example fails once, or every STEP-th: then it says so, or does all the same what
 * it should. A program's exit code is 1 or 2 where the library refuses, and a signal is none of them.
 */
static void
starve(const char *program, const char *model, const char *output, unsigned step)
{
    unsigned in_a_row = 0, refused = 0;
    char command[4 * SCRATCH_PATH];

    for (unsigned i = 1; in_a_row < 30 && i < 20000; i += step) {
        int code;

        if (output != NULL)
            unlink(scratch_path(output));
        snprintf(command, sizeof command, "cd '%s' && FAIL_AT=%u LD_PRELOAD='%s' '%s/%s' %s %s >said 2>&1",
                 scratch_path("."), i, FAILING_MALLOC, EXAMPLES, program, model, output == NULL ? "" : output);
        code = WEXITSTATUS(system(command));
        in_a_row = code == 0 ? in_a_row + 1 : 0;
        refused += code != 0;
        if (code > 2)
            fail_msg("%s, allocation %u: exit code %d", program, i, code);
        if (output != NULL && scratch_exists(scratch_path(output)) != (code == 0))
            fail_msg("%s, allocation %u: exit code %d, but files say otherwise", program, i, code);
    }
    print_message("%s: %u refused\n", program, refused);
    assert_true(refused > 0);
}

static void
running_out_of_memory_is_told(void **unused)
{
    (void)unused;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__GLIBC__)
    print_message("the allocator cannot be replaced here: skipped\n");
    skip();
#endif
    tiny_checkpoint("tiny");
    scratch_folder("texts");
    starve("list_source", "tiny", NULL, 1);
    starve("write_gguf", "", "starved.gguf", 1);
    starve("quantize_model", "tiny", "starved.gguf", 1);
    starve("check", "tiny", NULL, 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(structs_of_other_versions_are_understood),
        cmocka_unit_test(codes_have_names),
        cmocka_unit_test(every_type_can_be_found_and_written_rows_read),
        cmocka_unit_test(rows_that_cannot_be_are_refused),
        cmocka_unit_test(values_come_back_as_they_were_set),
        cmocka_unit_test(values_that_no_file_can_have_are_refused),
        cmocka_unit_test(a_source_gives_its_rows_as_floats),
        cmocka_unit_test(sources_that_cannot_be_opened_have_a_code),
        cmocka_unit_test(a_plan_says_what_comes_of_every_tensor),
        cmocka_unit_test(plans_that_cannot_be_are_refused),
        cmocka_unit_test(a_full_disk_has_a_code),
        cmocka_unit_test(long_calls_report_and_stop),
        cmocka_unit_test(calibrating_and_verifying_refuse_what_makes_no_sense),
        cmocka_unit_test(texts_in_memory_are_texts),
        cmocka_unit_test(findings_have_place_and_severity),
        cmocka_unit_test(many_threads_write_a_file),
        cmocka_unit_test(a_writer_refuses_what_makes_no_file),
        cmocka_unit_test(running_out_of_memory_is_told),
    };

    NIBBLE_INIT(error);
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
