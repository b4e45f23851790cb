/*
 * Checkpoints that cannot be used, one for each way to be wrong: one clear
 * sentence, exit code 3, and no file.
 */
#include "scratch.h"
#include "testing.h"

#include <unistd.h>

static struct run run;

/* Quantizes the folder "bad" and expects a refusal whose sentence has EXPECTED in it. */
static void
expect_refusal(const char *what, const char *expected)
{
    size_t lines = 0;

    RUN(&run, "quantize", "bad", "-t", "q8_0", "-o", "out.gguf");
    for (const char *p = run.err; *p != '\0'; p++)
        lines += *p == '\n';
    if (run.code != 3 || lines != 1 || strstr(run.err, expected) == NULL)
        fail_msg("%s: exit code %d, %zu lines: %s (expected '%s')", what, run.code, lines, run.err, expected);
    assert_false(scratch_exists(scratch_path("out.gguf")));
    assert_false(scratch_exists(scratch_path("out.gguf.partial")));
}

static void
a_good_checkpoint_is_converted(void **unused)
{
    (void)unused;
    tiny_checkpoint("bad");
    RUN(&run, "quantize", "bad", "-t", "q8_0", "-o", "out.gguf");
    if (run.code != 0)
        fail_msg("%s", run.err);
    assert_true(scratch_exists(scratch_path("out.gguf")));
    unlink(scratch_path("out.gguf"));
}

/* The weights as a whole: HEADER with DATA_BYTES behind it. */
static void
safetensors_headers_that_lie_are_refused(void **unused)
{
    static const struct {
        const char *what, *header;
        size_t data_bytes;
        const char *expected;
    } cases[] = {
        { "no JSON", "hello", 0, "not a JSON object" },
        { "an array", "[]", 0, "not a JSON object" },
        { "unfinished", "{\"a\":{\"dtype\":\"F32\"", 0, "not a JSON object" },
        { "a comma too many", "{\"a\":1,}", 0, "dtype, shape and data_offsets" },
        { "white space before", " {}", 0, "not a JSON object" },
        { "something behind", "{} x", 0, "not a JSON object" },
        { "an entry that is no object", "{\"a\":[1]}", 0, "dtype, shape and data_offsets" },
        { "a missing field", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "dtype, shape and data_offsets" },
        { "an unknown field", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1}}", 4,
          "dtype, shape and data_offsets" },
        { "an unknown dtype", "{\"a\":{\"dtype\":\"F99\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
          "unknown dtype 'F99'" },
        { "a dtype that is no string", "{\"a\":{\"dtype\":1,\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
          "dtype is not a string" },
        { "a shape that is no array", "{\"a\":{\"dtype\":\"F32\",\"shape\":1,\"data_offsets\":[0,4]}}", 4,
          "shape is not an array" },
        { "a negative side", "{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "not a count" },
        { "half a side", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,4]}}", 4, "not a count" },
        { "nine dimensions", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4,
          "more dimensions" },
        { "a product of 2^64", "{\"a\":{\"dtype\":\"U8\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0,
          "overflows" },
        { "bytes of 2^64", "{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", 0,
          "overflows" },
        { "an integer beyond 64 bits",
          "{\"a\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,4]}}", 4, "dtype, shape" },
        { "one offset", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, "not a pair of counts" },
        { "a negative offset", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", 4,
          "not a pair of counts" },
        { "offsets the wrong way", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4,
          "not a pair of counts that is a range" },
        { "offsets beyond the end", "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 4,
          "cut short: 66 B of 70 B; download it again" },
        { "offsets near 2^63",
          "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[9223372036854775803,9223372036854775807]}}", 4,
          "9223372036854775803 bytes before tensor 'a' belong to no tensor" },
        { "a span of another size", "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4,
          "but its span has 4" },
        { "an overlap",
          "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
          "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}",
          12, "overlap" },
        { "a hole",
          "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
          "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,12]}}",
          12, "belong to no tensor" },
        { "a hole before the first", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8,
          "belong to no tensor" },
        { "bytes behind the last", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 8,
          "belong to no tensor" },
        { "data without tensors", "{}", 4, "no tensor that it belongs to" },
        { "a name twice",
          "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
          "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
          8, "occurs twice" },
        { "metadata twice", "{\"__metadata__\":{},\"__metadata__\":{}}", 0, "occurs twice" },
        { "metadata of numbers", "{\"__metadata__\":{\"a\":1}}", 0, "strings to strings" },
        { "a name that is not UTF-8", "{\"a\xff\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
          "not valid UTF-8" },
        { "a name with NUL", "{\"a\\u0000b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
          "not valid UTF-8" },
        { "nothing at all", "{}", 0, "no token embedding" },
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tiny_checkpoint("bad");
        write_safetensors("bad", "model.safetensors", cases[i].header, cases[i].data_bytes);
        expect_refusal(cases[i].what, cases[i].expected);
    }
}

static void
files_that_are_cut_short_are_refused_at_every_length(void **unused)
{
    size_t size;
    unsigned char *whole;

    (void)unused;
    tiny_checkpoint("bad");
    whole = scratch_read(scratch_path("bad/model.safetensors"), &size);
    for (size_t n = 0; n < size; n += n < 16 ? 1 : n < 2000 ? 97 : 9973) {
        scratch_write("bad/model.safetensors", whole, n);
        expect_refusal("cut short", "model.safetensors");
    }
    memset(whole, 0xFF, 8); /* a header of 2^64 - 1 bytes */
    scratch_write("bad/model.safetensors", whole, size);
    expect_refusal("a giant header", "over the format's limit of 100000000");
    memcpy(whole, &(uint64_t){ 100000000 }, 8); /* allowed, but not there */
    scratch_write("bad/model.safetensors", whole, size);
    expect_refusal("a long header", "cut short");
    free(whole);
}

static void
deep_nesting_is_refused_and_not_followed(void **unused)
{
    char *deep = malloc(400001);

    (void)unused;
    assert_non_null(deep);
    tiny_checkpoint("bad");
    memset(deep, '[', 400000);
    deep[400000] = '\0';
    scratch_write_text("bad/config.json", deep);
    expect_refusal("a deep config", "not valid JSON");
    tiny_checkpoint("bad");
    memcpy(deep, "{\"a\":", 5);
    write_safetensors("bad", "model.safetensors", deep, 0);
    expect_refusal("a deep header", "not a JSON object");
    tiny_checkpoint("bad");
    scratch_write_text("bad/tokenizer.json", deep);
    expect_refusal("a deep tokenizer", "not valid JSON");
    free(deep);
}

/* TEXT with its first FROM replaced by TO, into bad/NAME. */
static void
write_changed(const char *name, const char *text, const char *from, const char *to)
{
    const char *at = strstr(text, from);
    char changed[8192], path[SCRATCH_PATH];

    assert_non_null(at);
    snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    snprintf(path, sizeof path, "bad/%s", name);
    scratch_write_text(path, changed);
}

static void
configs_that_fit_no_model_are_refused(void **unused)
{
    static const struct {
        const char *from, *to, *expected;
    } cases[] = {
        { "{", "", "not valid JSON" },
        { "\"LlamaForCausalLM\"", "\"GPT99\"", "'GPT99' is not supported" },
        { "\"LlamaForCausalLM\"", "7", "names no model class" },
        { "[\"LlamaForCausalLM\"]", "[]", "names no model class" },
        { "\"hidden_size\":64", "\"hidden_siz\":64", "has no hidden_size" },
        { "\"hidden_size\":64", "\"hidden_size\":\"64\"", "hidden_size is not a number" },
        { "\"hidden_size\":64", "\"hidden_size\":0", "hidden_size is 0" },
        { "\"hidden_size\":64", "\"hidden_size\":-64", "hidden_size is -64" },
        { "\"hidden_size\":64", "\"hidden_size\":64.5", "hidden_size is 64.5" },
        { "\"hidden_size\":64", "\"hidden_size\":1e300", "hidden_size is 1e+300" },
        { "\"hidden_size\":64", "\"hidden_size\":128", "but config.json makes it" },
        { "\"num_hidden_layers\":1", "\"num_hidden_layers\":2", "'model.layers.1.input_layernorm.weight' is missing" },
        { "\"num_hidden_layers\":1", "\"num_hidden_layers\":1000000000", "more than any model has" },
        { "\"num_hidden_layers\":1", "\"num_hidden_layers\":0", "num_hidden_layers is 0" },
        { "\"num_attention_heads\":2", "\"num_attention_heads\":4", "but config.json makes it" },
        { "\"num_key_value_heads\":1", "\"num_key_value_heads\":2", "but config.json makes it" },
        { "\"num_key_value_heads\":1", "\"num_key_value_heads\":3", "cannot share 3 key-value heads" },
        { "\"rms_norm_eps\":1e-05", "\"rms_norm_eps\":0", "must be above zero" },
        { "\"rms_norm_eps\":1e-05", "\"rms_norm_eps\":1e300", "fit a 32-bit float" },
        { "\"tie_word_embeddings\":true", "\"tie_word_embeddings\":false", "'lm_head.weight' is missing" },
        { "\"rope_theta\":10000.0", "\"rope_theta\":10000.0,\"head_dim\":1", "cannot be rotated" },
        { "\"rope_theta\":10000.0", "\"rope_scaling\":{\"type\":\"mystery\"}", "'mystery' is not supported" },
        { "\"rope_theta\":10000.0", "\"rope_scaling\":\"linear\"", "rope_scaling is \"linear\", which cannot" },
        { "\"rope_theta\":10000.0", "\"rope_scaling\":{\"rope_type\":\"yarn\"}", "type 'yarn' has no factor" },
        { "\"rope_theta\":10000.0",
          "\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":2,\"original_max_position_embeddings\":\"8\"}",
          "original_max_position_embeddings of its rotary scaling is not" },
        { "\"rope_theta\":10000.0", "\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":1e300}",
          "the factor of its rotary scaling of type 'linear' is no number" },
        { "\"rope_theta\":10000.0", "\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":0}", "make no sense" },
        { "\"rope_theta\":10000.0", "\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":1e300}", "beyond a 32-bit" },
        { "\"hidden_size\":64", "\"hidden_size\":64,\"hidden_size\":64", "not valid JSON" },
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tiny_checkpoint("bad");
        write_changed("config.json", tiny_config, cases[i].from, cases[i].to);
        expect_refusal(cases[i].to, cases[i].expected);
    }
    tiny_checkpoint_in("bad", "F8_E4M3");
    write_changed("config.json", tiny_config, "{", "{\"quantization_config\":{\"quant_method\":\"fp8\"},");
    expect_refusal("codes without their scales", "no '_scale_inv' beside it, as fp8 needs it");
    write_changed("config.json", tiny_config, "{", "{\"quantization_config\":{\"quant_method\":\"aqlm\"},");
    expect_refusal("codes of an unknown toolkit", "quantized already (quantization_config: aqlm)");
    tiny_checkpoint("bad");
    unlink(scratch_path("bad/config.json"));
    expect_refusal("no config", "has no config.json");
    scratch_write_text("bad/config.json", "");
    expect_refusal("an empty config", "not valid JSON");
}

static void
entries_that_change_what_a_model_computes_are_refused_by_name(void **unused)
{
    static const struct {
        const char *entry, *expected;
    } cases[] = {
        { "\"hidden_act\":\"relu\"", "hidden_act is \"relu\", but only silu or swish can be converted" },
        { "\"text_config\":{\"hidden_act\":\"gelu\"}", "hidden_act is \"gelu\"" },
        { "\"is_causal\":false", "is_causal is false, but only true" },
        { "\"is_encoder_decoder\":true", "is_encoder_decoder is true" },
        { "\"partial_rotary_factor\":0.5", "partial_rotary_factor is 0.5, but only 1" },
        { "\"rope_parameters\":{\"partial_rotary_factor\":0.5}", "partial_rotary_factor of rope_parameters is 0.5" },
        { "\"rope_scaling\":{\"type\":\"yarn\",\"factor\":2,\"mscale\":1,\"mscale_all_dim\":0.5}",
          "mscale_all_dim of rope_scaling is 0.5" },
        { "\"rope_interleaved\":true", "rope_interleaved is true" },
        { "\"layer_types\":[\"full_attention\",\"sliding_attention\"]",
          "layer_types has 2 elements, but the model has 1 layers" },
        { "\"per_layer_config\":{\"0\":{\"hidden_act\":\"relu\"}}", "per_layer_config is {" },
        { "\"attention_bias\":true", "attention_bias is true, but no tensor '*.self_attn.q_proj.bias'" },
        { "\"mlp_bias\":true", "mlp_bias is true, but no tensor '*.mlp.gate_proj.bias'" },
    };
    char added[256];

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tiny_checkpoint("bad");
        snprintf(added, sizeof added, "{%s,", cases[i].entry);
        write_changed("config.json", tiny_config, "{", added);
        expect_refusal(cases[i].entry, cases[i].expected);
    }
}

static void
tokenizers_that_fit_no_vocabulary_are_refused(void **unused)
{
    static const struct {
        const char *from, *to, *expected;
    } cases[] = {
        { "{", "", "not valid JSON" },
        { "\"BPE\"", "\"Unigram\"", "of type 'Unigram'" },
        { "\"model\"", "\"modem\"", "has no model" },
        { "\"vocab\"", "\"vocap\"", "has no vocabulary" },
        { "\"merges\"", "\"merge\"", "has no merges" },
        { "[\"a b\"]", "[\"a b\",7]", "merge 1 is not a pair" },
        { "[\"a b\"]", "[[\"a\"]]", "merge 0 is not a pair" },
        { "[\"a b\"]", "[[\"a\",\"b\",\"c\"]]", "merge 0 is not a pair" },
        { "\"a\":2", "\"a\":32", "the embedding only 32 rows" },
        { "\"a\":2", "\"a\":-2", "an id that is not a number" },
        { "\"a\":2", "\"a\":\"2\"", "an id that is not a number" },
        { "\"a\":2", "\"a\":18446744073709551618", "an id that is not a number" },
        { "\"a\":2", "\"a\":3", "the same id 3" },
        { "\"id\":0", "\"id\":99", "the embedding only 32 rows" },
        { "\"id\":0", "\"id\":-1", "has no text or no id" },
        { "\"content\":\"<s>\"", "\"content\":5", "has no text or no id" },
        { "\"id\":1", "\"id\":0", "added token '</s>' has the id 0, which is that of '<s>'" },
        { "\"id\":1", "\"id\":4", "added token '</s>' has the id 4, which is that of 'ab'" },
        { "\"use_regex\":true", "\"use_regex\":false", "its pre-tokenizer is none" },
        { "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true}", "null",
          "its pre-tokenizer is none" },
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tiny_checkpoint("bad");
        write_changed("tokenizer.json", tiny_tokenizer, cases[i].from, cases[i].to);
        expect_refusal(cases[i].to, cases[i].expected);
    }
    tiny_checkpoint("bad");
    unlink(scratch_path("bad/tokenizer.json"));
    expect_refusal("no tokenizer", "none of tokenizer.json, tokenizer.model and tekken.json");
    scratch_write("bad/tokenizer.model", "\x0a\xff\xff\xff\xff\x0f", 6);
    expect_refusal("a piece longer than the file", "not a SentencePiece model");
    scratch_write("bad/tokenizer.model", "\x0a\x03\x0a\x05x", 5);
    expect_refusal("a text longer than its piece", "piece 0 is malformed");
    scratch_write("bad/tokenizer.model", "\x0a\x03\x0a\x01\xff", 5);
    expect_refusal("a piece that is not UTF-8", "piece 0 is malformed");
    scratch_write("bad/tokenizer.model", "", 0);
    expect_refusal("an empty model", "has no pieces");
    scratch_write("bad/tokenizer.model", "\x0a\x03\x0a\x01x", 5);
    scratch_write_text("bad/added_tokens.json", "{\"y\":1e30}");
    expect_refusal("an added id beyond 64 bits", "token 'y' has no id");
    scratch_write_text("bad/added_tokens.json", "{\"y\":0}");
    expect_refusal("an added token with the id of a piece", "'y' has the id 0, which is that of 'x'");
    scratch_write_text("bad/added_tokens.json", "{\"x\":0}");
    scratch_write_text("bad/tokenizer_config.json", "{\"added_tokens_decoder\":{\"0\":{\"content\":\"z\"}}}");
    expect_refusal("the same in another file", "tokenizer_config.json: added token 'z' has the id 0");
    scratch_write_text("bad/tokenizer_config.json", "{}");
    scratch_write_text("bad/tokenizer.json", tiny_tokenizer);
    expect_refusal("and in a third", "tokenizer.json: added token '<s>' has the id 0, which is that of 'x'");
    unlink(scratch_path("bad/added_tokens.json"));
    tiny_checkpoint("bad");
    scratch_write_text("bad/tokenizer_config.json", "{\"bos_token\":");
    expect_refusal("half a tokenizer_config", "not valid JSON");
    tiny_checkpoint("bad");
    scratch_write_text("bad/generation_config.json", "[]");
    expect_refusal("a generation_config that is no object", "holds no JSON object");
    scratch_write_text("bad/generation_config.json", "{\"top_k\":4118446744073709551616.9}");
    expect_refusal("a top_k beyond 32 bits", "not a 32-bit integer");
    scratch_write_text("bad/generation_config.json", "{\"temperature\":-1e300}");
    expect_refusal("a temperature beyond a float", "more than a 32-bit float holds");
}

#define INDEX "bad/model.safetensors.index.json"

static void
indexes_that_do_not_match_their_shards_are_refused(void **unused)
{
    static const struct {
        const char *what, *index, *expected;
    } cases[] = {
        { "no JSON", "x", "no JSON object" },
        { "no map", "{}", "has no weight_map" },
        { "an empty map", "{\"weight_map\":{}}", "weight_map is empty" },
        { "a map of numbers", "{\"weight_map\":{\"a\":1}}", "not a map of tensor names to file names" },
        { "a tensor twice", "{\"weight_map\":{\"a\":\"x\",\"a\":\"x\"}}", "occurs twice" },
        { "a file of another folder", "{\"weight_map\":{\"a\":\"../model.safetensors\"}}", "not the name of a file" },
        { "an absolute path", "{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "not the name of a file" },
        { "a tensor that is not there", "{\"weight_map\":{\"a\":\"model.safetensors\"}}",
          "but model.safetensors.index.json says nothing of it" },
    };
    size_t size;
    unsigned char *whole;

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tiny_checkpoint("bad");
        scratch_write_text(INDEX, cases[i].index);
        expect_refusal(cases[i].what, cases[i].expected);
    }
    tiny_checkpoint("bad");
    whole = scratch_read(scratch_path("bad/model.safetensors"), &size);
    unlink(scratch_path("bad/model.safetensors"));
    expect_refusal("no weights", "no model.safetensors");
    scratch_write_text(INDEX, "{\"weight_map\":{\"a\":\"model-00001-of-00002.safetensors\"}}");
    expect_refusal("a shard that is not there", "is missing");
    unlink(scratch_path(INDEX));
    scratch_write("bad/model-00001-of-00002.safetensors", whole, size);
    expect_refusal("half the shards, no index", "shard 2 of 2 is missing");
    scratch_write("bad/model-00002-of-00002.safetensors", whole, size);
    expect_refusal("the same tensors in two shards", "is in two shards");
    unlink(scratch_path("bad/model-00001-of-00002.safetensors"));
    expect_refusal("the other half", "shard 1 of 2 is missing");
    tiny_checkpoint("bad");
    scratch_write("bad/model-00001-of-00002.safetensors", whole, size);
    expect_refusal("one file and a shard, no index", "has both model.safetensors and shard");
    tiny_checkpoint("bad");
    scratch_write_text(INDEX, "{\"weight_map\":{\"a\":\"model-00001-of-00002.safetensors\"}}");
    scratch_write("bad/model-00001-of-00002.safetensors", whole, size);
    expect_refusal("one file beside an index with its shards", "model.safetensors and shard 'model-00001-of-00002");
    scratch_write_text(INDEX, "{\"weight_map\":{\"a\":\"model.safetensors\"}}");
    expect_refusal("a shard that the index does not name", "does not name it");
    free(whole);
}

static void
tensors_that_are_no_part_of_the_model_are_refused(void **unused)
{
    size_t size;
    unsigned char *whole, *at;

    (void)unused;
    tiny_checkpoint("bad");
    whole = scratch_read(scratch_path("bad/model.safetensors"), &size);
    at = memmem(whole, size, "up_proj", 7);
    memcpy(at, "xp_proj", 7);
    scratch_write("bad/model.safetensors", whole, size);
    expect_refusal("an unknown tensor", "mlp.xp_proj.weight' is no part of a LlamaForCausalLM");
    memcpy(at, "up_proj", 7);
    at = memmem(whole, size, "layers.0.mlp.up", 15);
    at[7] = '7';
    scratch_write("bad/model.safetensors", whole, size);
    expect_refusal("a layer too many", "is no part of a LlamaForCausalLM with 1 layers");
    at[7] = '0';
    at = memmem(whole, size, "F32", 3);
    memcpy(at, "I32", 3);
    scratch_write("bad/model.safetensors", whole, size);
    expect_refusal("integers for weights", "holds no weights");
    free(whole);
}

static void
nan_and_infinity_are_refused_with_tensor_and_place(void **unused)
{
    static const float bad[] = { NAN, INFINITY, -INFINITY };
    size_t size;
    unsigned char *whole;

    (void)unused;
    tiny_checkpoint("bad");
    whole = scratch_read(scratch_path("bad/model.safetensors"), &size);
    for (size_t i = 0; i < 3; i++) {
        unsigned char good[4];

        memcpy(good, whole + size - 4, 4);
        memcpy(whole + size - 4, &bad[i], 4); /* the last element of down_proj, 64 x 96 */
        scratch_write("bad/model.safetensors", whole, size);
        expect_refusal("not finite", "'model.layers.0.mlp.down_proj.weight' (blk.0.ffn_down.weight): element 6143 "
                                     "(row 63, column 95) is NaN or infinite");
        RUN(&run, "quantize", "bad", "-t", "f16", "-o", "out.gguf", "--allow-nonfinite");
        assert_int_equal(run.code, 0);
        RUN(&run, "quantize", "bad", "-t", "q8_0", "-o", "out.gguf", "--allow-nonfinite", "--force");
        assert_int_equal(run.code, 0);
        unlink(scratch_path("out.gguf"));
        memcpy(whole + size - 4, good, 4);
    }
    memcpy(whole + size - 4, &(float){ 1e30f }, 4); /* finite, but not as a half */
    scratch_write("bad/model.safetensors", whole, size);
    expect_refusal("too large for a scale", "too large for q8_0");
    free(whole);
}

static void
sources_of_other_kinds_are_refused(void **unused)
{
    (void)unused;
    RUN(&run, "quantize", "nowhere", "-o", "out.gguf");
    assert_int_equal(run.code, 3);
    assert_non_null(strstr(run.err, "nowhere: cannot be opened"));
    scratch_write("pytorch_model.bin", "\x80\2\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 15);
    RUN(&run, "quantize", "pytorch_model.bin", "-o", "out.gguf");
    assert_int_equal(run.code, 3);
    assert_non_null(strstr(run.err, "can run code"));
    scratch_write_text("notes.txt", "this is no model at all");
    RUN(&run, "inspect", "notes.txt");
    assert_int_equal(run.code, 3);
    assert_non_null(strstr(run.err, "GGUF"));
    RUN(&run, "quantize", "/dev/null", "-o", "out.gguf");
    assert_int_equal(run.code, 3);
    assert_non_null(strstr(run.err, "not a regular file"));
}

/* People name the folder above, one of the parts, or what another program left. */
static void
what_is_there_instead_is_named(void **unused)
{
    static const struct {
        const char *name, *expected;
    } cases[] = {
        { "adapter_config.json", "LoRA adapter: merge it into its base" },
        { "consolidated.safetensors", "'consolidated.safetensors', Mistral's own layout, but no params.json" },
        { "consolidated.00.pth", "'consolidated.00.pth', Meta's own layout" },
        { "model-Q4_K_M.gguf", "GGUF files: name one, such as 'model-Q4_K_M.gguf'" },
        { "checkpoint-500", "the checkpoints of a training: name one, such as 'checkpoint-500'" },
        { "snapshots", "the hub's cache of a model: name a folder in 'snapshots'" },
        { "pytorch_model-00001-of-00002.bin", "PyTorch files are not read" },
        { "model_index.json", "diffusion pipeline" },
    };
    char path[SCRATCH_PATH];

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        scratch_remove("bad");
        scratch_folder("bad");
        snprintf(path, sizeof path, "bad/%s", cases[i].name);
        scratch_write_text(path, "x");
        expect_refusal(cases[i].name, "has no config.json");
        expect_refusal(cases[i].name, cases[i].expected);
        scratch_write_text("bad/config.json", tiny_config);
        expect_refusal(cases[i].name, cases[i].expected);
    }
}

/* As a download into the hub's cache that was not finished leaves them. */
static void
links_that_lead_nowhere_are_not_taken_for_absent_files(void **unused)
{
    static const char *const names[] = { "config.json",           "tokenizer.model",   "tokenizer.json",
                                         "tokenizer_config.json", "model.safetensors", "generation_config.json",
                                         "chat_template.jinja",   "README.md",         "model.safetensors.index.json" };
    char path[SCRATCH_PATH];

    (void)unused;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        tiny_checkpoint("bad");
        snprintf(path, sizeof path, "bad/%s", names[i]);
        unlink(scratch_path(path));
        assert_int_equal(symlink("../blobs/0123", scratch_path(path)), 0);
        expect_refusal(path, names[i]);
        RUN(&run, "check", "bad");
        assert_int_equal(run.code, 1);
        assert_non_null(strstr(run.out, names[i]));
    }
}

static void
parts_of_a_checkpoint_are_no_sources(void **unused)
{
    size_t size;
    unsigned char *whole;

    (void)unused;
    tiny_checkpoint("bad");
    whole = scratch_read(scratch_path("bad/model.safetensors"), &size);
    scratch_write("bad/model-00002-of-00003.safetensors", whole, size);
    free(whole);
    RUN(&run, "quantize", "bad/model-00002-of-00003.safetensors", "-o", "out.gguf");
    assert_int_equal(run.code, 3);
    assert_non_null(strstr(run.err, "one of several shards of a model: name their folder, 'bad'"));
    RUN(&run, "quantize", "bad/config.json", "-o", "out.gguf");
    assert_int_equal(run.code, 3);
    assert_non_null(strstr(run.err, "name its folder"));
}

static void
weights_that_are_no_model_are_told_apart(void **unused)
{
    (void)unused;
    tiny_checkpoint("bad");
    write_safetensors("bad", "model.safetensors",
                      "{\"model.embed_tokens.weight\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0);
    expect_refusal("weights that ZeRO-3 kept", "as if ZeRO-3 had saved the model");
    write_safetensors("bad", "model.safetensors",
                      "{\"model.embed_tokens.weight\":{\"dtype\":\"F32\",\"shape\":[32,64],\"data_offsets\":[0,8192]},"
                      "\"model.layers.0.self_attn.q_proj.lora_A.weight\":{\"dtype\":\"F32\",\"shape\":[1],"
                      "\"data_offsets\":[8192,8196]}}",
                      8196);
    expect_refusal("an adapter", "lora_A.weight' belongs to an adapter: merge it");
    write_safetensors("bad", "model.safetensors",
                      "{\"net.wte\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4);
    expect_refusal("other names", "no token embedding ('model.embed_tokens.weight'); its first tensor is 'net.wte'");
    tiny_checkpoint("bad");
    unlink(scratch_path("bad/tokenizer.json"));
    scratch_write_text("bad/tokenizer.model", "IQ== 0\nIg== 1\n");
    expect_refusal("tiktoken's vocabulary", "a vocabulary of tiktoken: the tokenizer.json");
    unlink(scratch_path("bad/tokenizer.model"));
    scratch_write_text("bad/tekken.json", "{}");
    expect_refusal("Mistral's vocabulary", "is not a tokenizer of Mistral's");
}

static void
a_tokenizer_that_is_no_json_is_refused_with_the_place(void **unused)
{
    static const struct {
        const char *json, *expected;
    } cases[] = {
        { "{\n \"model\": {\n", "line 3, column 1" },
        { "{\n \"model\" 5}", "line 1, column 2" },
        { "{\"a\": [1, 2}}", "line 1, column 12" },
        { "{} x", "line 1, column 4" },
        { "{\"added_tokens\":\n [1 2]}", "line 2, column 2" },
        { "", "line 1, column 1" },
    };

    (void)unused;
    tiny_checkpoint("bad");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        scratch_write_text("bad/tokenizer.json", cases[i].json);
        expect_refusal(cases[i].json, cases[i].expected);
    }
}

static void
a_safetensors_file_alone_needs_its_config(void **unused)
{
    uint64_t folder;

    (void)unused;
    tiny_checkpoint("bad");
    RUN(&run, "quantize", "bad", "-t", "q8_0", "-o", "out.gguf");
    assert_int_equal(run.code, 0);
    folder = scratch_hash(scratch_path("out.gguf"));
    RUN(&run, "quantize", "bad/model.safetensors", "-t", "q8_0", "-o", "out.gguf", "--force");
    assert_int_equal(run.code, 0);
    assert_int_equal(scratch_hash(scratch_path("out.gguf")), folder);
    unlink(scratch_path("out.gguf"));
    unlink(scratch_path("bad/config.json"));
    RUN(&run, "quantize", "bad/model.safetensors", "-t", "q8_0", "-o", "out.gguf");
    assert_int_equal(run.code, 3);
    assert_non_null(strstr(run.err, "has no config.json beside it"));
}

static void
names_from_strangers_cannot_reach_the_terminal(void **unused)
{
    (void)unused;
    tiny_checkpoint("bad");
    write_safetensors("bad", "model.safetensors",
                      "{\"\\u001b[31mred\":{\"dtype\":\"F99\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4);
    expect_refusal("an escape sequence in a name", "has control characters");
    write_safetensors("bad", "model.safetensors",
                      "{\"a\":{\"dtype\":\"\\u001b[31mF99\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4);
    expect_refusal("an escape sequence in a dtype", "'\\x1B[31mF99'");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_checkpoint_is_converted),
        cmocka_unit_test(safetensors_headers_that_lie_are_refused),
        cmocka_unit_test(files_that_are_cut_short_are_refused_at_every_length),
        cmocka_unit_test(deep_nesting_is_refused_and_not_followed),
        cmocka_unit_test(configs_that_fit_no_model_are_refused),
        cmocka_unit_test(entries_that_change_what_a_model_computes_are_refused_by_name),
        cmocka_unit_test(tokenizers_that_fit_no_vocabulary_are_refused),
        cmocka_unit_test(indexes_that_do_not_match_their_shards_are_refused),
        cmocka_unit_test(tensors_that_are_no_part_of_the_model_are_refused),
        cmocka_unit_test(nan_and_infinity_are_refused_with_tensor_and_place),
        cmocka_unit_test(sources_of_other_kinds_are_refused),
        cmocka_unit_test(what_is_there_instead_is_named),
        cmocka_unit_test(links_that_lead_nowhere_are_not_taken_for_absent_files),
        cmocka_unit_test(parts_of_a_checkpoint_are_no_sources),
        cmocka_unit_test(weights_that_are_no_model_are_told_apart),
        cmocka_unit_test(a_tokenizer_that_is_no_json_is_refused_with_the_place),
        cmocka_unit_test(a_safetensors_file_alone_needs_its_config),
        cmocka_unit_test(names_from_strangers_cannot_reach_the_terminal),
    };

    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
