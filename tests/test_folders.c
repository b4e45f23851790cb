/*
 * Checkpoint folders as they are found: what the entries of config.json become, which of several files
 * counts, and what users are told about them.
 */
#include "formats/models/family.h"
#include "formats/models/source.h"
#include "formats/safetensors/checkpoint.h"
#include "scratch.h"
#include "testing.h"

#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static struct nb_source source;

/* Opens the tiny checkpoint with ENTRIES, "a":1,"b":2, put before those of its config.json. */
static void
open_with(const char *entries)
{
    char config[4096];

    tiny_checkpoint("model");
    snprintf(config, sizeof config, "{%s%s%s", entries, *entries != '\0' ? "," : "", tiny_config + 1);
    scratch_write_text("model/config.json", config);
    scratch_open_source(&source, "model");
}

/* Without the entry rope_theta, which the tiny checkpoint has. */
static void
open_without_theta(const char *entries)
{
    char config[4096];
    const char *theta = strstr(tiny_config, "\"rope_theta\":10000.0,");

    assert_non_null(theta);
    tiny_checkpoint("model");
    snprintf(config, sizeof config, "{%s,%.*s%s", entries, (int)(theta - tiny_config - 1), tiny_config + 1,
             theta + strlen("\"rope_theta\":10000.0,"));
    scratch_write_text("model/config.json", config);
    scratch_open_source(&source, "model");
}

static size_t
n_notes(void)
{
    size_t n = 0;

    for (const struct nb_note *note = source.notes; note != NULL; note = note->next)
        n++;
    return n;
}

static void
expect_note(const char *text)
{
    for (const struct nb_note *note = source.notes; note != NULL; note = note->next)
        if (strstr(note->text, text) != NULL)
            return;
    fail_msg("no note with '%s'%s%s", text, source.notes != NULL ? ", but " : "",
             source.notes != NULL ? source.notes->text : "");
}

static float
float_of(const char *key)
{
    const struct nb_kv *kv = nb_meta_find(&source.meta, key);
    float value;

    if (kv == NULL || kv->type != NB_KV_F32)
        fail_msg("no float '%s'", key);
    memcpy(&value, kv->data, sizeof value);
    return value;
}

/* --- config.json -------------------------------------------------------------------------------------------- */

/* What transformers 5.24 makes of the same entries: LlamaConfig(**entries).rope_parameters. */
static void
the_rotary_base_is_the_one_that_transformers_takes(void **unused)
{
    static const struct {
        const char *entries;
        float base;
        const char *type, *note;
    } cases[] = {
        { "\"rope_scaling\":null", 10000, NULL, NULL },
        { "\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":500000}", 500000, NULL, "500000 counts" },
        { "\"rope_scaling\":{},\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":500000}", 500000, NULL,
          "500000 counts" },
        { "\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":500000},"
          "\"rope_scaling\":{\"type\":\"linear\",\"factor\":2}",
          10000, "linear", "rope_scaling counts" },
        { "\"rope_scaling\":{\"type\":\"yarn\",\"rope_type\":\"linear\",\"factor\":2,\"rope_theta\":7}", 7, "linear",
          "7 counts" },
    };

    (void)unused;
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *type;

        open_with(cases[i].entries);
        type = nb_meta_get_string(&source.meta, "llama.rope.scaling.type");
        if (float_of("llama.rope.freq_base") != cases[i].base || (type == NULL) != (cases[i].type == NULL) ||
            (type != NULL && strcmp(type, cases[i].type) != 0))
            fail_msg("%s: %g, %s", cases[i].entries, (double)float_of("llama.rope.freq_base"), type ? type : "none");
        assert_int_equal(n_notes(), cases[i].note != NULL);
        if (cases[i].note != NULL)
            expect_note(cases[i].note);
        nb_source_close(&source);
    }
    open_without_theta("\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":500000}");
    assert_true(float_of("llama.rope.freq_base") == 500000);
    nb_source_close(&source);
    /* what is scaled otherwise loses its base, too */
    open_without_theta(
        "\"rope_parameters\":{\"rope_theta\":500000},\"rope_scaling\":{\"type\":\"linear\",\"factor\":2}");
    assert_true(float_of("llama.rope.freq_base") == 10000);
    nb_source_close(&source);
}

/* Llama 3's divisors depend on the base: 8 rotary pairs of a base of 10,000 are not those of 500,000. */
static void
llama3_factors_follow_the_inner_base(void **unused)
{
    float of_stale[16], of_inner[16];
    struct nb_view_reader reader = { 0 };
    struct nb_error err;

#define LLAMA3 "\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,\"high_freq_factor\":4"
    (void)unused;
    open_with("\"rope_parameters\":{" LLAMA3 ",\"original_max_position_embeddings\":64}");
    assert_string_equal(source.tensors[0].name, "rope_freqs.weight");
    assert_int_equal(nb_view_rows(&source.tensors[0], 0, 1, of_stale, &reader, &err), NB_OK);
    nb_source_close(&source);
    open_with("\"rope_parameters\":{" LLAMA3 ",\"rope_theta\":500000,\"original_max_position_embeddings\":64}");
    assert_int_equal(nb_view_rows(&source.tensors[0], 0, 1, of_inner, &reader, &err), NB_OK);
    assert_memory_not_equal(of_stale, of_inner, sizeof of_stale);
    nb_view_reader_free(&reader);
    nb_source_close(&source);
    open_without_theta("\"rope_theta\":500000,\"rope_scaling\":{" LLAMA3 "}"); /* 8192 stands in, as in the reference */
    nb_source_close(&source);
}

static void
yarn_without_its_context_takes_the_context_length(void **unused)
{
    uint64_t context;

    (void)unused;
    open_with("\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":2}");
    assert_true(nb_meta_get_u64(&source.meta, "llama.rope.scaling.original_context_length", &context));
    assert_int_equal(context, 128);
    nb_source_close(&source);
    open_with("\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":2,\"original_max_position_embeddings\":64}");
    assert_true(nb_meta_get_u64(&source.meta, "llama.rope.scaling.original_context_length", &context));
    assert_int_equal(context, 64);
    nb_source_close(&source);
}

static void
dynamic_scaling_is_none_within_the_context(void **unused)
{
    (void)unused;
    open_with("\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":2}");
    assert_null(nb_meta_find(&source.meta, "llama.rope.scaling.type"));
    expect_note("'dynamic' begins beyond the context length");
    nb_source_close(&source);
}

static void
entries_that_gguf_cannot_say_are_named(void **unused)
{
    static const struct {
        const char *entries, *note; /* NULL: none */
    } cases[] = {
        { "", NULL },
        { "\"hidden_act\":\"swish\",\"is_causal\":true,\"layer_types\":[\"full_attention\"],\"pruned_heads\":{}",
          NULL },
        { "\"attention_dropout\":0.1,\"torch_dtype\":\"bfloat16\",\"max_length\":20,\"image_token_id\":3", NULL },
        { "\"model_max_length\":1000000000000000019884624838656", NULL }, /* beyond 64 bits, as Python writes it */
        { "\"logit_scale\":null,\"use_what\":false,\"some_list\":[],\"some_map\":{}", NULL },
        { "\"logit_scale\":0.5,\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":2,\"strange\":1}",
          "not known for a LlamaForCausalLM: logit_scale, strange of rope_scaling; if" },
        { "\"auto_map\":{\"AutoModelForCausalLM\":\"modeling.Mine\"}", "auto_map is {\"AutoModelForCausalLM\":" },
        { "\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":2,\"beta_fast\":16}",
          "beta_fast of rope_scaling is 16" },
        { "\"sliding_window\":16", NULL }, /* a Llama has none */
        { "\"quantization_config\":{}", NULL },
        { "\"quantization_config\":{\"quant_method\":\"bitsandbytes\",\"load_in_4bit\":true}",
          "quantization_config (bitsandbytes), but all weights are floats" },
    };

    (void)unused;
    for (size_t i = 0; i < COUNT(cases); i++) {
        open_with(cases[i].entries);
        if (cases[i].note != NULL)
            expect_note(cases[i].note);
        if (n_notes() != (cases[i].note != NULL))
            fail_msg("%s: %zu notes; first: %s", cases[i].entries, n_notes(),
                     source.notes != NULL ? source.notes->text : "");
        nb_source_close(&source);
    }
}

static void
a_window_shorter_than_the_context_is_noted(void **unused)
{
    const struct nb_source_options as_mistral = { .model_class = "MistralForCausalLM" };
    struct nb_error err;
    char config[4096];

    (void)unused;
    tiny_checkpoint("model");
    for (int window = 16; window <= 128; window += 112) {
        snprintf(config, sizeof config, "{\"sliding_window\":%d,%s", window, tiny_config + 1);
        scratch_write_text("model/config.json", config);
        assert_int_equal(nb_source_open(&source, scratch_path("model"), &as_mistral, &err), NB_OK);
        assert_int_equal(n_notes(), window < 128);
        nb_source_close(&source);
    }
}

/* Names of entries come from strangers, and notes go to a terminal. */
static void
notes_have_no_control_characters(void **unused)
{
    (void)unused;
    open_with("\"a\\u001b[31m\":5,\"b\\u009b\":6,\"hidden_act\":\"silu\",\"auto_map\":\"\\u009b31m\"");
    assert_int_equal(n_notes(), 2);
    for (const struct nb_note *note = source.notes; note != NULL; note = note->next)
        assert_true(strchr(note->text, '\x1b') == NULL && strstr(note->text, "\xc2\x9b") == NULL);
    nb_source_close(&source);
}

/* Classes whose config.json has no entry for it: their code fixes it. */
static bool
has_a_fixed_activation(const char *class)
{
    static const char *const fixed[] = { "BloomForCausalLM", "MPTForCausalLM" };

    for (size_t i = 0; i < COUNT(fixed); i++)
        if (strcmp(fixed[i], class) == 0)
            return true;
    return false;
}

static bool
settles_activation(const struct nb_config_rule *rule)
{
    static const char *const entries[] = { "hidden_act",     "hidden_activation", "activation_function",
                                           "mlp_hidden_act", "activation",        "ffn_config.ffn_act_fn.name" };

    for (size_t i = 0; i < COUNT(entries); i++)
        if (strcmp(entries[i], rule->entry) == 0)
            return rule->kind == NB_CONFIG_ONLY && rule->values != NULL && *rule->values != '\0';
    return false;
}

/* A family that does not say which activation it runs would take any. */
static void
every_family_settles_its_activation(void **unused)
{
    (void)unused;
    for (const struct nb_family *const *f = nb_families; *f != NULL; f++) {
        bool settled = has_a_fixed_activation((*f)->classes[0]);

        for (size_t i = 0; i < (*f)->n_rules; i++) {
            const struct nb_config_rule *rule = &(*f)->rules[i];

            settled = settled || settles_activation(rule);
            assert_true(rule->kind == NB_CONFIG_IGNORED || rule->kind == NB_CONFIG_WINDOWS || rule->values != NULL);
        }
        if (!settled)
            fail_msg("%s: no rule says which activation it has", (*f)->classes[0]);
    }
}

/* --- the name ----------------------------------------------------------------------------------------------- */

/* The folder's own name is a commit there. */
static void
a_snapshot_of_the_hub_has_the_name_of_its_repository(void **unused)
{
#define SNAPSHOT "hub/models--some-one--tiny-llama-3M--x/snapshots/0123456789abcdef0123456789abcdef01234567"
    struct nb_error err;

    (void)unused;
    scratch_folder("hub");
    scratch_folder("hub/models--some-one--tiny-llama-3M--x");
    scratch_folder("hub/models--some-one--tiny-llama-3M--x/snapshots");
    tiny_checkpoint(SNAPSHOT);
    assert_int_equal(nb_source_open(&source, scratch_path(SNAPSHOT), NULL, &err), NB_OK);
    assert_string_equal(nb_meta_get_string(&source.meta, "general.name"), "Tiny Llama 3M X");
    assert_string_equal(nb_meta_get_string(&source.meta, "general.organization"), "Some One");
    nb_source_close(&source);
}

/* --- weights ------------------------------------------------------------------------------------------------ */

/* Saving a sharded model again in one file leaves the index behind. */
static void
an_index_whose_shards_are_gone_is_passed_over(void **unused)
{
    (void)unused;
    tiny_checkpoint("model");
    scratch_write_text("model/model.safetensors.index.json",
                       "{\"weight_map\":{\"a\":\"model-00001-of-00002.safetensors\"}}");
    scratch_open_source(&source, "model");
    assert_int_equal(source.store.count, 11);
    expect_note("the shards that model.safetensors.index.json names are gone");
    nb_source_close(&source);
}

/* Renames all tensors of the tiny checkpoint, NAME to BEFORE.NAME. */
static void
put_before_names(const char *before)
{
    size_t size, at = 0;
    unsigned char *whole = scratch_read(scratch_path("model/model.safetensors"), &size);
    uint64_t length;
    char header[8192];

    memcpy(&length, whole, sizeof length);
    for (const char *p = (const char *)whole + 8, *end = p + length; p < end; p++) {
        assert_true(at + 64 < sizeof header);
        header[at++] = *p;
        if (*p == '"' && (strncmp(p + 1, "model.", 6) == 0 || strncmp(p + 1, "lm_head.", 8) == 0))
            at += (size_t)snprintf(header + at, sizeof header - at, "%s", before);
    }
    header[at] = '\0';
    write_safetensors("model", "model.safetensors", header, size - 8 - (size_t)length);
    free(whole);
}

static void
names_that_wrappers_put_before_all_tensors_are_left_out(void **unused)
{
    static const char *const wrappers[] = { "_orig_mod.", "module.", "base_model.model.", "module._orig_mod." };

    (void)unused;
    for (size_t i = 0; i < COUNT(wrappers); i++) {
        tiny_checkpoint("model");
        put_before_names(wrappers[i]);
        scratch_open_source(&source, "model");
        assert_int_equal(source.n_tensors, 11);
        expect_note("the names of all tensors begin with '");
        assert_int_equal(n_notes(), i == 3 ? 2 : 1);
        nb_source_close(&source);
    }
}

/* --- JSON as Python writes it --------------------------------------------------------------------------------- */

static void
json_may_have_a_byte_order_mark(void **unused)
{
    static const char *const names[] = { "config.json", "tokenizer.json", "tokenizer_config.json",
                                         "model.safetensors.index.json" };
    char path[64], marked[8192];

    (void)unused;
    for (size_t i = 0; i < COUNT(names); i++) {
        const char *const texts[] = { tiny_config, tiny_tokenizer, "{}",
                                      "{\"weight_map\":{\"a\":\"model-00001-of-00002.safetensors\"}}" };

        tiny_checkpoint("model");
        snprintf(path, sizeof path, "model/%s", names[i]);
        snprintf(marked, sizeof marked, "\xEF\xBB\xBF%s", texts[i]);
        scratch_write_text(path, marked);
        scratch_open_source(&source, "model");
        nb_source_close(&source);
    }
}

static void
json_may_have_the_literals_that_python_writes(void **unused)
{
    (void)unused;
    open_with(
        "\"time_step_limit\":[0.0,Infinity],\"attention_dropout\":NaN,\"rope_scaling\":NaN,\"logit_scale\":-Infinity,"
        "\"_name_or_path\":\"a \\\"NaN\\\" Infinity\"");
    expect_note("not known for a LlamaForCausalLM: time_step_limit, logit_scale;");
    assert_string_equal(json_string_value(json_object_get(source.checkpoint->config, "_name_or_path")),
                        "a \"NaN\" Infinity");
    assert_true(json_is_null(json_object_get(source.checkpoint->config, "attention_dropout")));
    nb_source_close(&source);
}

/* --- tokenizers --------------------------------------------------------------------------------------------- */

static void
a_tokenizer_of_an_older_version_has_no_type(void **unused)
{
    const char *type = strstr(tiny_tokenizer, "\"type\":\"BPE\",");
    char json[8192];

    (void)unused;
    assert_non_null(type);
    tiny_checkpoint("model");
    snprintf(json, sizeof json, "%.*s%s", (int)(type - tiny_tokenizer), tiny_tokenizer,
             type + strlen("\"type\":\"BPE\","));
    scratch_write_text("model/tokenizer.json", json);
    scratch_open_source(&source, "model");
    assert_string_equal(nb_meta_get_string(&source.meta, "tokenizer.ggml.model"), "gpt2");
    nb_source_close(&source);
}

static void
tokenizer_json_counts_beside_a_vocabulary_of_tiktoken(void **unused)
{
    (void)unused;
    tiny_checkpoint("model");
    scratch_write_text("model/tokenizer.model", "IQ== 0\nIg== 1\n");
    scratch_open_source(&source, "model");
    assert_string_equal(nb_meta_get_string(&source.meta, "tokenizer.ggml.model"), "gpt2");
    nb_source_close(&source);
}

/* Linux takes any bytes as a name; readers of GGUF take only UTF-8. */
static void
names_of_files_that_are_not_utf8_are_repaired(void **unused)
{
    struct run run;

    (void)unused;
    tiny_checkpoint("caf\xE9");
    scratch_write_text("caf\xE9.txt",
                       "ab a b ab ab ab a b ab ab ab a b ab ab ab a b ab ab ab a b ab ab ab a b ab ab ab a b ab");
    RUN(&run, "calibrate", scratch_path("caf\xE9"), "-f", scratch_path("caf\xE9.txt"), "-c", "8", "-o",
        scratch_path("caf\xE9.imatrix"));
    assert_int_equal(run.code, 0);
    RUN(&run, "quantize", scratch_path("caf\xE9"), "-t", "q4_0", "--imatrix", scratch_path("caf\xE9.imatrix"), "-o",
        scratch_path("out.gguf"));
    assert_int_equal(run.code, 0);
    scratch_open_source(&source, "out.gguf");
    assert_string_equal(nb_meta_get_string(&source.meta, "general.name"), "Caf\xEF\xBF\xBD");
    assert_string_equal(nb_meta_get_string(&source.meta, "quantize.imatrix.file"), "caf\xEF\xBF\xBD.imatrix");
    assert_string_equal(nb_meta_get_string(&source.meta, "quantize.imatrix.dataset"), "caf\xEF\xBF\xBD.txt");
    nb_source_close(&source);
}

static void
what_readers_refuse_is_not_written(void **unused)
{
    struct run run;

    (void)unused;
    tiny_checkpoint("model");
    RUN(&run, "quantize", scratch_path("model"), "-t", "q4_0", "--override-kv", "general.name=str:caf\xE9", "-o",
        scratch_path("refused.gguf"));
    assert_int_equal(run.code, 3);
    assert_non_null(strstr(run.err, "general.name"));
    assert_non_null(strstr(run.err, "not UTF-8"));
    assert_false(scratch_exists(scratch_path("refused.gguf")));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rotary_base_is_the_one_that_transformers_takes),
        cmocka_unit_test(llama3_factors_follow_the_inner_base),
        cmocka_unit_test(yarn_without_its_context_takes_the_context_length),
        cmocka_unit_test(dynamic_scaling_is_none_within_the_context),
        cmocka_unit_test(entries_that_gguf_cannot_say_are_named),
        cmocka_unit_test(a_window_shorter_than_the_context_is_noted),
        cmocka_unit_test(notes_have_no_control_characters),
        cmocka_unit_test(every_family_settles_its_activation),
        cmocka_unit_test(a_snapshot_of_the_hub_has_the_name_of_its_repository),
        cmocka_unit_test(an_index_whose_shards_are_gone_is_passed_over),
        cmocka_unit_test(names_that_wrappers_put_before_all_tensors_are_left_out),
        cmocka_unit_test(json_may_have_a_byte_order_mark),
        cmocka_unit_test(json_may_have_the_literals_that_python_writes),
        cmocka_unit_test(a_tokenizer_of_an_older_version_has_no_type),
        cmocka_unit_test(tokenizer_json_counts_beside_a_vocabulary_of_tiktoken),
        cmocka_unit_test(names_of_files_that_are_not_utf8_are_repaired),
        cmocka_unit_test(what_readers_refuse_is_not_written),
    };

    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
