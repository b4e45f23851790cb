/*
 * Every model family against the reference's converter: each golden of tests/golden/families describes a
 * checkpoint and the GGUF file that llama.cpp v0.5.0's converter makes of it. Whole files are compared; where
 * they differ, the first key or tensor that does is named. 'test_families NAME...' compares only those. With KEEP, a folder,
 * in the environment the files are left there, for tests/interop.
 */
#include "formats/base/text.h"
#include "formats/gguf/gguf.h"
#include "golden_checkpoint.h"
#include "scratch.h"
#include "testing.h"

#include <inttypes.h>
#include <strings.h>
#include <xxhash.h>

#define GOLDENS TEST_DATA "/golden/families"
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/*
 * Where nibble means to write something else: a key, or the tensors whose names end so. See "Differences from the
 * reference" in formats/README.md.
 */
static const struct {
    const char *golden, *key;
} exceptions[] = {
    /* The reference names the epsilon of EXAONE 3 as that of a LayerNorm; llama.cpp does not load such a file. */
    { "exaone", "exaone.attention.layer_norm_rms_epsilon" },
    /* -exp(x): the nearest float, which the exponential function of torch's library misses for one value in 100. */
    { "falcon_mamba", ".ssm_a" },
    { "jamba", ".ssm_a" },
    { "mamba", ".ssm_a" },
};

static char **only;
static const char *current; /* the golden that is compared */

static bool
is_exception(const char *key)
{
    for (size_t i = 0; i < COUNT(exceptions); i++)
        if (strcmp(exceptions[i].golden, current) == 0 && (key == NULL || nb_ends_with(key, exceptions[i].key)))
            return true;
    return false;
}

/* --- comparing what a file holds --------------------------------------------------------------------------------- */

static const char *
hash_of(const void *bytes, uint64_t size, char hash[17])
{
    snprintf(hash, 17, "%016" PRIx64, XXH64(bytes, (size_t)size, 0));
    return hash;
}

/* One value as the goldens have it: the decimal of an F32 is exact, so doubles compare. */
static bool
is_scalar(enum nb_kv_type type, const unsigned char *at, uint64_t size, json_t *expected)
{
    struct nb_kv kv = { .key = "x", .type = type, .element = type, .count = 1, .data = at, .size = size };
    struct nb_metadata meta = { .items = &kv, .count = 1 };
    double number;

    if (type == NB_KV_STRING)
        return json_is_string(expected) && json_string_length(expected) == size &&
               memcmp(json_string_value(expected), at, (size_t)size) == 0;
    if (type == NB_KV_BOOL)
        return json_is_boolean(expected) && *at == json_is_true(expected);
    return json_is_number(expected) && nb_meta_get_f64(&meta, "x", &number) && number == json_number_value(expected);
}

static bool
is_array(const struct nb_kv *kv, json_t *expected)
{
    json_t *values = json_object_get(expected, "values"), *value;
    const unsigned char *at = kv->data;
    char hash[17];
    size_t i;

    if (!json_is_object(expected) ||
        strcmp(nb_kv_type_name(kv->element), json_string_value(json_object_get(expected, "of"))) != 0)
        return false;
    if (values == NULL)
        return kv->count == (uint64_t)json_integer_value(json_object_get(expected, "n")) &&
               strcmp(hash_of(kv->data, kv->size, hash), json_string_value(json_object_get(expected, "xxh64"))) == 0;
    if (kv->count != json_array_size(values))
        return false;
    json_array_foreach(values, i, value) {
        uint64_t size = nb_kv_type_size(kv->element);
        const unsigned char *element = at;

        if (kv->element == NB_KV_STRING)
            element = (const unsigned char *)nb_kv_next_string(&at, &size);
        else
            at += size;
        if (!is_scalar(kv->element, element, size, value))
            return false;
    }
    return true;
}

/* How KV differs from EXPECTED, [key, type, value]; NULL: not at all. */
static const char *
key_difference(const struct nb_kv *kv, json_t *expected)
{
    json_t *value = json_array_get(expected, 2);

    if (strcmp(kv->key, json_string_value(json_array_get(expected, 0))) != 0)
        return "stands in its place";
    if (strcmp(kv->type == NB_KV_ARRAY ? "arr" : nb_kv_type_name(kv->type),
               json_string_value(json_array_get(expected, 1))))
        return "has another type";
    return (kv->type == NB_KV_ARRAY ? is_array(kv, value) : is_scalar(kv->type, kv->data, kv->size, value))
               ? NULL
               : "has another value";
}

static void
compare_keys(const struct nb_metadata *meta, json_t *expected)
{
    for (size_t i = 0; i < meta->count && i < json_array_size(expected); i++) {
        json_t *row = json_array_get(expected, i);
        const char *how = key_difference(&meta->items[i], row);
        char *text;

        if (how == NULL || is_exception(meta->items[i].key))
            continue;
        text = json_dumps(row, JSON_ENCODE_ANY);
        fail_msg("%s: key %zu: expected %.200s, but '%s' %s", current, i, text, meta->items[i].key, how);
    }
    if (meta->count != json_array_size(expected))
        fail_msg("%s: has %zu keys, expected %zu: the first one too many or missing is '%s'", current, meta->count,
                 json_array_size(expected),
                 meta->count > json_array_size(expected)
                     ? meta->items[json_array_size(expected)].key
                     : json_string_value(json_array_get(json_array_get(expected, meta->count), 0)));
}

static void
compare_tensor(const struct nb_file_in *file, const struct nb_tensor *t, json_t *expected)
{
    json_t *ne = json_object_get(expected, "ne");
    unsigned char *bytes = malloc((size_t)t->bytes + 1);
    struct nb_error err;
    char hash[17];

    if (strcmp(t->name, json_string_value(json_object_get(expected, "name"))) != 0)
        fail_msg("%s: expected tensor '%s', but '%s' stands in its place", current,
                 json_string_value(json_object_get(expected, "name")), t->name);
    if (t->n_dims != json_array_size(ne))
        fail_msg("%s: tensor '%s' has %u dimensions, expected %zu", current, t->name, t->n_dims, json_array_size(ne));
    for (unsigned i = 0; i < t->n_dims; i++)
        if (t->ne[i] != (uint64_t)json_integer_value(json_array_get(ne, i)))
            fail_msg("%s: tensor '%s': dimension %u is %" PRIu64, current, t->name, i, t->ne[i]);
    if (strcasecmp(nb_type_info(t->type)->name, json_string_value(json_object_get(expected, "type"))) != 0)
        fail_msg("%s: tensor '%s' is %s, expected %s", current, t->name, nb_type_info(t->type)->name,
                 json_string_value(json_object_get(expected, "type")));
    assert_non_null(bytes);
    assert_int_equal(nb_file_read(file, t->offset, bytes, t->bytes, &err), NB_OK);
    if (strcmp(hash_of(bytes, t->bytes, hash), json_string_value(json_object_get(expected, "xxh64"))) != 0 &&
        !is_exception(t->name))
        fail_msg("%s: tensor '%s' has other bytes", current, t->name);
    free(bytes);
}

static void
compare_contents(const char *path, json_t *expected)
{
    json_t *tensors = json_object_get(expected, "tensors");
    struct nb_gguf gguf;
    struct nb_file_in file;
    struct nb_error err;

    assert_int_equal(nb_file_open(&file, path, &err), NB_OK);
    assert_int_equal(nb_gguf_read(&file, 0, &gguf, &err), NB_OK);
    compare_keys(&gguf.meta, json_object_get(expected, "kv"));
    for (size_t i = 0; i < gguf.count && i < json_array_size(tensors); i++)
        compare_tensor(&file, &gguf.tensors[i], json_array_get(tensors, i));
    if (gguf.count != json_array_size(tensors))
        fail_msg("%s: has %zu tensors, expected %zu", current, gguf.count, json_array_size(tensors));
    nb_gguf_free(&gguf);
    nb_file_close(&file);
}

/* --- converting -------------------------------------------------------------------------------------------------- */

static void
convert(json_t *golden, const char *folder, const char *out)
{
    static struct run run;
    const char *type = json_string_value(json_object_get(golden, "outtype"));
    const char *pre = json_string_value(json_object_get(golden, "pre"));

    /* The tokenizers stand in for those of the families, so they are told what they stand for. */
    if (pre == NULL)
        RUN(&run, "quantize", folder, "-t", type, "-o", out, "--force", "--allow-other-tokens");
    else
        RUN(&run, "quantize", folder, "-t", type, "-o", out, "--force", "--allow-other-tokens", "--pre-tokenizer", pre);
    if (run.code != 0)
        fail_msg("%s: exit code %d: %s", current, run.code, run.err);
    if (strstr(run.err, "entries that are not known") != NULL)
        fail_msg("%s: %s", current, run.err);
}

/* Leaves the file of NAME where the user wants to have it. */
static void
keep(const char *name, const unsigned char *bytes, size_t size)
{
    const char *folder = getenv("KEEP");
    char path[SCRATCH_PATH];
    FILE *f;

    if (folder == NULL)
        return;
    snprintf(path, sizeof path, "%s/%s.gguf", folder, name);
    f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

static void
compare(const char *name)
{
    char path[SCRATCH_PATH], folder[256], out[SCRATCH_PATH], checked[SCRATCH_PATH];
    static struct run run;
    json_t *golden, *expected;
    unsigned char *bytes;
    char hash[17];
    size_t size;

    snprintf(path, sizeof path, GOLDENS "/%s.json.gz", name);
    golden = golden_read(path);
    expected = json_object_get(golden, "expected");
    current = name;
    snprintf(folder, sizeof folder, "%s", json_string_value(json_object_get(golden, "folder")));
    golden_checkpoint(golden, folder);
    snprintf(out, sizeof out, "%s", scratch_path("out.gguf"));
    convert(golden, scratch_path(folder), out);
    bytes = scratch_read(out, &size);
    if (strcmp(hash_of(bytes, size, hash), json_string_value(json_object_get(expected, "file_xxh64"))) != 0) {
        compare_contents(out, expected);
        if (!is_exception(NULL))
            fail_msg("%s: the file differs, but no key or tensor does", name);
    } else if (is_exception(NULL)) {
        fail_msg("%s: is an exception, but does not differ", name);
    }
    snprintf(checked, sizeof checked, "%s", out);
    RUN(&run, "check", checked);
    if (run.code != 0)
        fail_msg("%s: %s%s", name, run.out, run.err);
    keep(name, bytes, size);
    free(bytes);
    scratch_remove(folder);
    json_decref(golden);
}

static void
families_are_converted_as_the_reference_does(void **unused)
{
    (void)unused;
    golden_each(GOLDENS, only, compare);
}

/* transformers 5 has other names for the kinds of layers of Granite 4; llama.cpp's converter knows the older ones only. */
static void
kinds_of_layers_have_the_names_of_transformers_5_too(void **unused)
{
    json_t *golden, *types, *type;
    unsigned char *bytes;
    char out[SCRATCH_PATH], hash[17];
    size_t i, size;

    (void)unused;
    if (!golden_is_wanted(only, "granite4h"))
        return;
    golden = golden_read(GOLDENS "/granite4h.json.gz");
    current = "granite4h";
    types = json_object_get(json_object_get(golden, "config"), "layer_types");
    assert_true(json_array_size(types) > 0);
    json_array_foreach(types, i, type)
        json_array_set_new(types, i,
                           json_string(strcmp(json_string_value(type), "attention") == 0 ? "full_attention"
                                                                                         : "linear_attention"));
    golden_checkpoint(golden, json_string_value(json_object_get(golden, "folder")));
    snprintf(out, sizeof out, "%s", scratch_path("out.gguf"));
    convert(golden, scratch_path(json_string_value(json_object_get(golden, "folder"))), out);
    bytes = scratch_read(out, &size);
    assert_string_equal(hash_of(bytes, size, hash),
                        json_string_value(json_object_get(json_object_get(golden, "expected"), "file_xxh64")));
    free(bytes);
    scratch_remove(json_string_value(json_object_get(golden, "folder")));
    json_decref(golden);
}

/* --- what others might make of them ------------------------------------------------------------------------------- */

static void
n_grams_without_one_of_their_keys_are_unsound(void **unused)
{
    static const char *const keys[] = {
        "ple.layers", /* then there are tensors that no layer has */
        "ple.ngram_size",
        "ple.heads_per_ngram",
        "ple.conv_kernel",
        "ple.eos_token_id",
        "embedding_length_per_layer_input",
        "ple.layer_multipliers",
        "ple.head_offsets",
        "ple.head_vocab_sizes",
    };
    char out[SCRATCH_PATH], less[SCRATCH_PATH], key[64];
    static struct run run;
    json_t *golden;

    (void)unused;
    if (!golden_is_wanted(only, "qwen4exp"))
        return;
    golden = golden_read(GOLDENS "/qwen4exp.json.gz");
    current = "qwen4exp";
    golden_checkpoint(golden, "grams");
    json_decref(golden);
    snprintf(out, sizeof out, "%s", scratch_path("grams.gguf"));
    RUN(&run, "quantize", scratch_path("grams"), "-t", "f16", "-o", out, "--allow-other-tokens", "--pre-tokenizer",
        "qwen35");
    assert_int_equal(run.code, 0);
    snprintf(less, sizeof less, "%s", scratch_path("less.gguf"));
    for (size_t i = 0; i < COUNT(keys); i++) {
        snprintf(key, sizeof key, "qwen4exp.%s", keys[i]);
        RUN(&run, "edit", out, "--remove", key, "-o", less, "--force");
        assert_int_equal(run.code, 0);
        RUN(&run, "check", less);
        if (run.code != 1 || strstr(run.out, i == 0 ? "ple_key" : key) == NULL)
            fail_msg("without %s: %s", key, run.out);
    }
    RUN(&run, "edit", out, "--set", "qwen4exp.ple.head_offsets=u64[]:[0]", "-o", less, "--force");
    RUN(&run, "check", less);
    if (run.code != 1 || strstr(run.out, "has 1 elements, but needs") == NULL)
        fail_msg("with one offset: %s", run.out);
    scratch_remove("grams");
}

/* --- what it takes to run them ----------------------------------------------------------------------------------- */

/* As llama.cpp says that it allocates (by tests/interop/memory.mjs), for 4096 tokens in f16. */
static void
inspect_knows_what_caches_and_recurrent_layers_keep(void **unused)
{
    static const struct {
        const char *golden;
        json_int_t cache, state;
    } cases[] = {
        { "mamba", 0, 29184 },           { "falcon_h1", 1572864, 23040 }, /* each layer has attention, too */
        { "granite4h", 524288, 30336 },  { "nemotron_h", 1048576, 20992 },
        { "lfm2", 524288, 1536 },        { "kimi_linear", 327680, 19200 },
        { "qwen3next", 1048576, 16896 }, { "deepseek32", 1966080, 0 }, /* with an indexer's keys */
        { "glm5", 1966080, 0 },
    };
    static struct run run;

    (void)unused;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char path[SCRATCH_PATH], out[SCRATCH_PATH];
        json_t *golden, *memory;

        if (!golden_is_wanted(only, cases[i].golden))
            continue;
        current = cases[i].golden;
        snprintf(path, sizeof path, GOLDENS "/%s.json.gz", cases[i].golden);
        snprintf(out, sizeof out, "%s", scratch_path("out.gguf"));
        golden = golden_read(path);
        golden_checkpoint(golden, "measured");
        convert(golden, scratch_path("measured"), out);
        json_decref(golden);
        RUN(&run, "inspect", "--json", "--ctx", "4096", out);
        golden = json_loads(run.out, 0, NULL);
        memory = json_object_get(golden, "memory");
        if (json_integer_value(json_object_get(memory, "cache")) != cases[i].cache ||
            json_integer_value(json_object_get(memory, "state")) != cases[i].state)
            fail_msg("%s: %s", current, json_dumps(memory, 0));
        json_decref(golden);
        scratch_remove("measured");
    }
}

/* The factors of NVFP4 weights are tensors of their own, without which a model computes something else. */
static void
a_model_in_nvfp4_computes_what_its_checkpoint_does(void **unused)
{
    static struct run run;
    char text[SCRATCH_PATH], out[SCRATCH_PATH];
    json_t *golden;

    (void)unused;
    if (!golden_is_wanted(only, "llama_nvfp4"))
        return;
    golden = golden_read(GOLDENS "/llama_nvfp4.json.gz");
    current = "llama_nvfp4";
    golden_checkpoint(golden, "nvfp4");
    snprintf(out, sizeof out, "%s", scratch_path("nvfp4.gguf"));
    convert(golden, scratch_path("nvfp4"), out);
    snprintf(text, sizeof text, "%s", scratch_path("text.txt"));
    scratch_write_text("text.txt",
                       "Once upon a time there was a little dog. It ran and ran until it saw a big tree, and in "
                       "the tree there was a bird that sang all day long. The dog liked the song very much.");
    RUN(&run, "verify", scratch_path("nvfp4"), out, "-f", text, "-c", "16", "--pre-tokenizer", "llama-bpe", "--max-kld",
        "0.00001");
    if (run.code != 0)
        fail_msg("exit code %d: %s%s", run.code, run.out, run.err);
    scratch_remove(scratch_path("nvfp4"));
    json_decref(golden);
}

/* --- what cannot be converted ------------------------------------------------------------------------------------ */

/* Sets ENTRY, or "a.b" in an object, of CONFIG to the JSON text VALUE; NULL: removes it. */
static void
change(json_t *config, const char *entry, const char *value)
{
    const char *dot = strchr(entry, '.');
    char outer[64];

    if (dot != NULL) {
        snprintf(outer, sizeof outer, "%.*s", (int)(dot - entry), entry);
        config = json_object_get(config, outer);
        entry = dot + 1;
    }
    assert_non_null(config);
    if (value == NULL)
        assert_int_equal(json_object_del(config, entry), 0);
    else
        assert_int_equal(json_object_set_new(config, entry, json_loads(value, JSON_DECODE_ANY, NULL)), 0);
}

static void
what_llama_cpp_does_not_run_is_refused_by_name(void **unused)
{
    static const struct {
        const char *golden, *entry, *value, *message;
    } cases[] = {
        { "smollm3", "no_rope_layers", "[1,0,1,1]", "no_rope_layers is [1" },
        { "cohere2", "layer_types",
          "[\"full_attention\",\"sliding_attention\",\"sliding_attention\",\"full_attention\"]",
          "layer_types makes layer 0 another kind" },
        { "phi3_longrope", "rope_scaling.long_factor", "[1,2]",
          "long_factor of its rotary scaling has 2 factors, but 8" },
        { "phi3_longrope", "rope_scaling.short_factor", "[1,1,1,1,1,1,1,-1]", "factor 7 in short_factor" },
        { "hunyuan_dense", "rope_theta", "20000", "can be converted for a rope_theta of 10000" },
        { "minicpm", "dim_model_base", NULL, "has no dim_model_base" },
        { "mpt", "attn_config.softmax_scale", "0.5", "has a prefix_lm or a softmax_scale" },
        { "ministral3", "rope_parameters.rope_type", "\"linear\"", "a ministral3 needs rotary scaling of type 'yarn'" },
        { "ministral3", "rope_parameters.mscale_all_dim", NULL, "a ministral3 needs mscale_all_dim" },
        { "dbrx", "ffn_config.ffn_act_fn", "{\"name\":\"gelu\"}", "ffn_config.ffn_act_fn.name is \"gelu\"" },
        { "granitemoe", "num_local_experts", "3", "'model.layers.0.block_sparse_moe.input_linear.weight'" },
        { "internlm2", "num_key_value_heads", "1", "wqkv" },
    };
    static struct run run;

    (void)unused;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char path[SCRATCH_PATH], out[SCRATCH_PATH];
        json_t *golden;

        if (!golden_is_wanted(only, cases[i].golden))
            continue;
        snprintf(path, sizeof path, GOLDENS "/%s.json.gz", cases[i].golden);
        golden = golden_read(path);
        change(json_object_get(golden, "config"), cases[i].entry, cases[i].value);
        golden_checkpoint(golden, "changed");
        snprintf(out, sizeof out, "%s", scratch_path("refused.gguf"));
        RUN(&run, "quantize", scratch_path("changed"), "-t", "f16", "-o", out, "--allow-other-tokens",
            "--pre-tokenizer", "llama-bpe");
        if (run.code != 3 || strstr(run.err, cases[i].message) == NULL)
            fail_msg("%s: %s: exit code %d: %s", cases[i].golden, cases[i].entry, run.code, run.err);
        assert_false(scratch_exists(out));
        scratch_remove("changed");
        json_decref(golden);
    }
}

/* --- what config.json does not say ------------------------------------------------------------------------------ */

/* The number of KEY in the file that is made of GOLDEN without ENTRY of its config.json, or with NAME in its place. */
static double
number_without(const char *golden_name, const char *entry, const char *name, const char *key)
{
    char path[SCRATCH_PATH], out[SCRATCH_PATH];
    json_t *golden, *config;
    struct nb_gguf gguf;
    struct nb_file_in file;
    struct nb_error err;
    double number = -1;

    snprintf(path, sizeof path, GOLDENS "/%s.json.gz", golden_name);
    golden = golden_read(path);
    config = json_object_get(golden, "config");
    current = golden_name;
    if (name != NULL)
        json_object_set(config, name, json_object_get(config, entry));
    change(config, entry, NULL);
    golden_checkpoint(golden, "bare");
    snprintf(out, sizeof out, "%s", scratch_path("bare.gguf"));
    convert(golden, scratch_path("bare"), out);
    assert_int_equal(nb_file_open(&file, out, &err), NB_OK);
    assert_int_equal(nb_gguf_read(&file, 0, &gguf, &err), NB_OK);
    if (!nb_meta_get_f64(&gguf.meta, key, &number))
        fail_msg("%s without %s has no %s", golden_name, entry, key);
    nb_gguf_free(&gguf);
    nb_file_close(&file);
    scratch_remove("bare");
    json_decref(golden);
    return number;
}

/* The numbers are those of the configuration classes of transformers 4.57.6. */
static void
what_config_json_lacks_is_what_the_class_has(void **unused)
{
    static const struct {
        const char *golden, *entry, *other_name, *key;
        double number;
    } cases[] = {
        { "llama", "max_position_embeddings", NULL, "llama.context_length", 2048 },
        { "cohere", "logit_scale", NULL, "command-r.logit_scale", 0.0625 },
        { "deepseek3", "routed_scaling_factor", NULL, "deepseek2.expert_weights_scale", 2.5 },
        { "gptoss_mxfp4", "rope_scaling", NULL, "gpt-oss.rope.scaling.factor", 32 },
        { "mistral3_cond", "text_config.max_position_embeddings", NULL, "mistral3.context_length", 131072 },
        { "gpt2", "n_head", "num_attention_heads", "gpt2.attention.head_count", 4 },
    };

    (void)unused;
    for (size_t i = 0; i < COUNT(cases); i++) {
        double number;

        if (!golden_is_wanted(only, cases[i].golden))
            continue;
        number = number_without(cases[i].golden, cases[i].entry, cases[i].other_name, cases[i].key);
        if (number != cases[i].number)
            fail_msg("%s without %s: %s is %g", cases[i].golden, cases[i].entry, cases[i].key, number);
    }
}

/* Converts Cohere 2's golden with a bias of plus and minus SPREAD, whose bytes have BIAS_HASH; the exit code. */
static int
convert_with_bias(const char *spread, const char *bias_hash, const char *out, char hash[17])
{
    static const char bias[] = "{\"name\":\"model.layers.0.self_attn.q_proj.bias\",\"dtype\":\"BF16\",\"shape\":[64],"
                               "\"init\":[\"uniform\",0,%s],\"shard\":0,\"xxh64\":\"%s\"}";
    static struct run run;
    char tensor[256];
    json_t *golden = golden_read(GOLDENS "/cohere2.json.gz");

    snprintf(tensor, sizeof tensor, bias, spread, bias_hash);
    json_array_append_new(json_object_get(golden, "tensors"), json_loads(tensor, 0, NULL));
    golden_checkpoint(golden, "cohere2");
    RUN(&run, "quantize", scratch_path("cohere2"), "-t", json_string_value(json_object_get(golden, "outtype")), "-o",
        out, "--force", "--allow-other-tokens", "--pre-tokenizer", json_string_value(json_object_get(golden, "pre")));
    if (run.code == 0) {
        size_t size;
        unsigned char *bytes = scratch_read(out, &size);

        hash_of(bytes, size, hash);
        free(bytes);
    }
    scratch_remove("cohere2");
    json_decref(golden);
    return run.code;
}

static void
biases_without_a_place_must_be_zero(void **unused)
{
    char out[SCRATCH_PATH], hash[17];
    json_t *golden = golden_read(GOLDENS "/cohere2.json.gz");

    (void)unused;
    snprintf(out, sizeof out, "%s", scratch_path("biased.gguf"));
    assert_int_equal(convert_with_bias("0.125", "791df59132a037a2", out, hash), 3);
    assert_false(scratch_exists(out));
    assert_int_equal(convert_with_bias("0", "6f975641f69e7c17", out, hash), 0);
    assert_string_equal(hash, json_string_value(json_object_get(json_object_get(golden, "expected"), "file_xxh64")));
    json_decref(golden);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(families_are_converted_as_the_reference_does),
        cmocka_unit_test(kinds_of_layers_have_the_names_of_transformers_5_too),
        cmocka_unit_test(n_grams_without_one_of_their_keys_are_unsound),
        cmocka_unit_test(inspect_knows_what_caches_and_recurrent_layers_keep),
        cmocka_unit_test(a_model_in_nvfp4_computes_what_its_checkpoint_does),
        cmocka_unit_test(what_config_json_lacks_is_what_the_class_has),
        cmocka_unit_test(biases_without_a_place_must_be_zero),
        cmocka_unit_test(what_llama_cpp_does_not_run_is_refused_by_name),
    };

    (void)argc;
    only = argv + 1;
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
