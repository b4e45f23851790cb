/*
 * Tokenizers into metadata: which pre-tokenizer is which, and the vocabularies
 * of the three kinds, field by field.
 */
#include "formats/gguf/metadata.h"
#include "formats/models/source.h"
#include "formats/tokenizer/tokenizer.h"

#include "formats/base/status.h"
#include "formats/tokenizer/vocabulary.h"
#include "scratch.h"
#include "testing.h"

#include <unistd.h>

#define SPLIT(regex)                                                                                \
    "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" regex \
    "\"},\"behavior\":\"Isolated\",\"invert\":false}," BYTES "]}"
#define BYTES "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":false}"
#define LLAMA3                                                                                                       \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}| ?[^\\\\s\\\\p{L}\\\\p{N}]+" \
    "[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
#define QWEN2                                                                                                   \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}| ?[^\\\\s\\\\p{L}\\\\p{N}]+" \
    "[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"

static void
pre_tokenizers_are_known_by_what_they_do(void **unused)
{
    static const struct {
        const char *json, *name;
        bool ignore_merges;
    } cases[] = {
        { SPLIT(LLAMA3), "llama-bpe", true },
        { SPLIT(LLAMA3), "smaug-bpe", false },
        { SPLIT(QWEN2), "qwen2", false },
        { "{\"type\":\"ByteLevel\",\"add_prefix_space\":false}", "gpt-2", false }, /* use_regex is true by default */
        { "{\"type\":\"ByteLevel\",\"use_regex\":false}", NULL, false },
        { "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\",\"individual_digits\":true},"
          "{\"type\":\"ByteLevel\",\"use_regex\":true}]}",
          "smollm", false },
        { "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\",\"individual_digits\":false},"
          "{\"type\":\"ByteLevel\",\"use_regex\":true}]}",
          NULL, false },
        { "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" QWEN2
          "\"},\"behavior\":\"Removed\",\"invert\":true}," BYTES "]}",
          "qwen2", false }, /* the same the other way */
        { "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" QWEN2
          "\"},\"behavior\":\"Removed\",\"invert\":false}," BYTES "]}",
          NULL, false }, /* removes the words */
        { "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"String\":\" \"},"
          "\"behavior\":\"Isolated\",\"invert\":false}," BYTES "]}",
          NULL, false },
        { SPLIT("\\\\s+"), NULL, false },
        { "{\"type\":\"Whitespace\"}", NULL, false },
        { "{\"type\":\"Sequence\",\"pretokenizers\":[]}", NULL, false },
        { "[]", NULL, false },
        { "null", NULL, false },
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *tree = json_loads(cases[i].json, JSON_DECODE_ANY, NULL);
        const char *name;

        assert_non_null(tree);
        name = nb_pre_tokenizer_name(tree, cases[i].ignore_merges);
        if ((name == NULL) != (cases[i].name == NULL) || (name != NULL && strcmp(name, cases[i].name) != 0))
            fail_msg("case %zu: %s instead of %s", i, name == NULL ? "none" : name, cases[i].name);
        json_decref(tree);
    }
}

static struct nb_source source;

/* Element INDEX of the array of strings KEY. */
static const char *
string_at(const char *key, uint64_t index)
{
    static char text[256];
    const struct nb_kv *kv = nb_meta_find(&source.meta, key);
    const unsigned char *p;
    uint64_t length;

    assert_non_null(kv);
    assert_true(index < kv->count);
    p = kv->data;
    for (uint64_t i = 0;; i++, p += length) {
        memcpy(&length, p, 8);
        p += 8;
        if (i == index)
            break;
    }
    assert_true(length < sizeof text);
    memcpy(text, p, (size_t)length);
    text[length] = '\0';
    return text;
}

static int32_t
type_at(uint64_t index)
{
    int32_t type;

    memcpy(&type, nb_meta_find(&source.meta, "tokenizer.ggml.token_type")->data + 4 * index, 4);
    return type;
}

static float
score_at(uint64_t index)
{
    float score;

    memcpy(&score, nb_meta_find(&source.meta, "tokenizer.ggml.scores")->data + 4 * index, 4);
    return score;
}

static uint64_t
number(const char *key)
{
    uint64_t value;

    if (!nb_meta_get_u64(&source.meta, key, &value))
        fail_msg("no number '%s'", key);
    return value;
}

static void
byte_level_vocabularies_keep_ids_types_and_merges(void **unused)
{
    (void)unused;
    tiny_checkpoint("model");
    scratch_write_text(
        "model/tokenizer.json",
        "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":2,\"b\":3,\"ab\":4,\"\\u0120\":5,\"\\u00e9\\n\":6},"
        "\"merges\":[[\"a\",\"b\"],[\" a\",\"b \"]]},"
        "\"added_tokens\":[{\"id\":0,\"content\":\"<s>\",\"special\":true},"
        "{\"id\":1,\"content\":\"</s>\",\"special\":true},{\"id\":7,\"content\":\"<|im|>\",\"special\":false},"
        "{\"id\":8,\"content\":\"tool\\u2581x\",\"special\":false}],"
        "\"pre_tokenizer\":{\"type\":\"ByteLevel\"},\"decoder\":{\"type\":\"ByteLevel\"},"
        "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}},"
        "{\"Sequence\":{\"id\":\"A\"}},{\"SpecialToken\":{\"id\":\"</s>\"}}],\"pair\":[]}}");
    scratch_write_text("model/tokenizer_config.json",
                       "{\"bos_token\":\"<s>\",\"eos_token\":{\"content\":\"</s>\"},\"pad_token\":\"<|im|>\","
                       "\"model_max_length\":1000000000000000019884624838656,\"chat_template\":[{\"name\":\"default\","
                       "\"template\":\"D\"},{\"name\":\"tool use\",\"template\":\"T\"}]}");
    scratch_open_source(&source, "model");
    assert_string_equal(nb_meta_get_string(&source.meta, "tokenizer.ggml.model"), "gpt2");
    assert_string_equal(nb_meta_get_string(&source.meta, "tokenizer.ggml.pre"), "gpt-2");
    assert_int_equal(nb_meta_find(&source.meta, "tokenizer.ggml.tokens")->count, 32); /* filled up to the embedding */
    assert_string_equal(string_at("tokenizer.ggml.tokens", 4), "ab");
    assert_string_equal(string_at("tokenizer.ggml.tokens", 5), "\xc4\xa0");
    assert_string_equal(string_at("tokenizer.ggml.tokens", 6), "\xc3\xa9\n");
    assert_string_equal(string_at("tokenizer.ggml.tokens", 8), "tool x");
    assert_string_equal(string_at("tokenizer.ggml.tokens", 31), "[PAD31]");
    assert_int_equal(type_at(0), NB_TOKEN_CONTROL);
    assert_int_equal(type_at(4), NB_TOKEN_NORMAL);
    assert_int_equal(type_at(7), NB_TOKEN_CONTROL); /* looks special */
    assert_int_equal(type_at(8), NB_TOKEN_USER_DEFINED);
    assert_int_equal(type_at(31), NB_TOKEN_UNUSED);
    assert_string_equal(string_at("tokenizer.ggml.merges", 0), "a b");
    assert_string_equal(string_at("tokenizer.ggml.merges", 1), "\304\240a b\304\240");
    assert_int_equal(number("tokenizer.ggml.bos_token_id"), 0);
    assert_int_equal(number("tokenizer.ggml.eos_token_id"), 1);
    assert_int_equal(number("tokenizer.ggml.padding_token_id"), 7);
    assert_int_equal(*nb_meta_find(&source.meta, "tokenizer.ggml.add_bos_token")->data, 1);
    assert_int_equal(*nb_meta_find(&source.meta, "tokenizer.ggml.add_eos_token")->data, 1);
    assert_string_equal(nb_meta_get_string(&source.meta, "tokenizer.chat_template"), "D");
    assert_string_equal(nb_meta_get_string(&source.meta, "tokenizer.chat_template.tool_use"), "T");
    assert_null(nb_meta_find(&source.meta, "tokenizer.ggml.scores"));
    nb_source_close(&source);
}

static void
a_chat_template_of_its_own_is_found(void **unused)
{
    (void)unused;
    tiny_checkpoint("model");
    scratch_write_text("model/chat_template.jinja", "{{ x }}\n");
    scratch_open_source(&source, "model");
    assert_string_equal(nb_meta_get_string(&source.meta, "tokenizer.chat_template"), "{{ x }}\n");
    nb_source_close(&source);
    scratch_write_text("model/chat_template.jinja", "a\r\nb\rc\r\n\r\n"); /* Python reads them as "\n" */
    scratch_open_source(&source, "model");
    assert_string_equal(nb_meta_get_string(&source.meta, "tokenizer.chat_template"), "a\nb\nc\n\n");
    nb_source_close(&source);
}

static void
chat_templates_beside_the_default_are_kept(void **unused)
{
    struct nb_error err;

    (void)unused;
    tiny_checkpoint("model");
    scratch_write_text("model/chat_template.json", "{\"chat_template\":[{\"name\":\"default\",\"template\":\"J\"},"
                                                   "{\"name\":\"tool use\",\"template\":\"T\"}]}");
    scratch_open_source(&source, "model");
    assert_string_equal(nb_meta_get_string(&source.meta, "tokenizer.chat_template"), "J");
    assert_string_equal(nb_meta_get_string(&source.meta, "tokenizer.chat_template.tool_use"), "T");
    nb_source_close(&source);
    scratch_write_text("model/chat_template.jinja", "D");
    scratch_folder("model/additional_chat_templates");
    scratch_write_text("model/additional_chat_templates/rag.jinja", "R\r\n");
    scratch_write_text("model/additional_chat_templates/code-edit.jinja", "C");
    scratch_write_text("model/additional_chat_templates/notes.txt", "N");
    scratch_open_source(&source, "model");
    assert_string_equal(nb_meta_get_string(&source.meta, "tokenizer.chat_template"), "D");
    assert_string_equal(string_at("tokenizer.chat_templates", 0), "code_edit");
    assert_string_equal(string_at("tokenizer.chat_templates", 1), "rag");
    assert_int_equal(nb_meta_find(&source.meta, "tokenizer.chat_templates")->count, 2);
    assert_string_equal(nb_meta_get_string(&source.meta, "tokenizer.chat_template.code_edit"), "C");
    assert_string_equal(nb_meta_get_string(&source.meta, "tokenizer.chat_template.rag"), "R\n");
    nb_source_close(&source);
    scratch_write_text("model/additional_chat_templates/latin.jinja", "caf\xE9");
    assert_int_equal(nb_source_open(&source, scratch_path("model"), NULL, &err), NB_INPUT);
    assert_non_null(strstr(err.message, "latin.jinja: is not UTF-8"));
}

static void
bpe_with_byte_fallback_becomes_a_sentencepiece_vocabulary(void **unused)
{
    (void)unused;
    tiny_checkpoint("model");
    scratch_write_text(
        "model/tokenizer.json",
        "{\"model\":{\"type\":\"BPE\",\"byte_fallback\":true,\"vocab\":{\"<unk>\":0,\"<s>\":1,\"<0x0A>\":2,"
        "\"\\u2581a\":3,\"<0xZZ>\":4},\"merges\":[]},\"added_tokens\":[{\"id\":0,\"content\":\"<unk>\"},"
        "{\"id\":5,\"content\":\"<new>\"}],\"decoder\":{\"type\":\"Sequence\"},\"pre_tokenizer\":null}");
    scratch_write_text("model/tokenizer_config.json", "{\"unk_token\":\"<unk>\",\"bos_token\":\"<s>\"}");
    scratch_open_source(&source, "model");
    assert_string_equal(nb_meta_get_string(&source.meta, "tokenizer.ggml.model"), "llama");
    assert_string_equal(nb_meta_get_string(&source.meta, "tokenizer.ggml.pre"), "default");
    assert_int_equal(type_at(0), NB_TOKEN_CONTROL);
    assert_int_equal(type_at(1), NB_TOKEN_CONTROL);
    assert_int_equal(type_at(2), NB_TOKEN_BYTE);
    assert_int_equal(type_at(3), NB_TOKEN_NORMAL);
    assert_int_equal(type_at(4), NB_TOKEN_NORMAL); /* no hexadecimal number */
    assert_int_equal(type_at(5), NB_TOKEN_USER_DEFINED);
    assert_true(score_at(3) == -1000.0f);
    assert_null(nb_meta_find(&source.meta, "tokenizer.ggml.merges"));
    nb_source_close(&source);
}

static void
sentencepiece_models_keep_scores_and_types(void **unused)
{
    /* pieces: <unk> (unknown), <s> (control), <0x0A> (byte), "▁hi" with score -1.5, a user-defined one */
    static const char model[] = "\x0a\x09\x0a\x05<unk>\x18\x02"
                                "\x0a\x07\x0a\x03<s>\x18\x03"
                                "\x0a\x0a\x0a\x06<0x0A>\x18\x06"
                                "\x0a\x0c\x0a\x05\xe2\x96\x81hi\x15\x00\x00\xc0\xbf"
                                "\x0a\x07\x0a\x03usr\x18\x04"
                                "\x12\x02\x18\x02"; /* a trainer_spec, passed over */

    (void)unused;
    tiny_checkpoint("model");
    unlink(scratch_path("model/tokenizer.json"));
    scratch_write("model/tokenizer.model", model, sizeof model - 1);
    scratch_write_text("model/added_tokens.json", "{\"<extra>\":5,\"<beyond>\":99}");
    scratch_write_text("model/tokenizer_config.json",
                       "{\"added_tokens_decoder\":{\"6\":{\"content\":\"<|end|>\",\"special\":false}},"
                       "\"add_bos_token\":true,\"add_prefix_space\":false}");
    scratch_open_source(&source, "model");
    assert_string_equal(string_at("tokenizer.ggml.tokens", 3), "\xe2\x96\x81hi");
    assert_true(score_at(3) == -1.5f);
    assert_int_equal(type_at(0), NB_TOKEN_UNKNOWN);
    assert_int_equal(type_at(1), NB_TOKEN_CONTROL);
    assert_int_equal(type_at(2), NB_TOKEN_BYTE);
    assert_int_equal(type_at(4), NB_TOKEN_NORMAL);
    assert_int_equal(type_at(5), NB_TOKEN_USER_DEFINED);
    assert_int_equal(type_at(6), NB_TOKEN_CONTROL);
    assert_true(score_at(5) == -1000.0f);
    assert_true(score_at(31) == -10000.0f);
    assert_int_equal(*nb_meta_find(&source.meta, "tokenizer.ggml.add_bos_token")->data, 1);
    assert_int_equal(*nb_meta_find(&source.meta, "tokenizer.ggml.add_space_prefix")->data, 0);
    nb_source_close(&source);
}

/* Without that its id would be an unused one, and the end of a turn never found. */
static void
a_special_token_that_only_tokenizer_json_has_is_a_control_token(void **unused)
{
    static const char model[] = "\x0a\x09\x0a\x05<unk>\x18\x02"
                                "\x0a\x07\x0a\x03<s>\x18\x03"
                                "\x0a\x0d\x0a\x0b<unused_7_>";

    (void)unused;
    tiny_checkpoint("model");
    scratch_write("model/tokenizer.model", model, sizeof model - 1);
    scratch_write_text("model/tokenizer.json",
                       "{\"model\":{\"type\":\"BPE\",\"vocab\":{},\"merges\":[]},\"added_tokens\":["
                       "{\"id\":1,\"content\":\"<s>\",\"special\":true},"
                       "{\"id\":2,\"content\":\"<new>\",\"special\":true}," /* a name for an id that was kept free */
                       "{\"id\":3,\"content\":\"<end>\",\"special\":true},"
                       "{\"id\":4,\"content\":\"tool\\u2581x\",\"special\":false},"
                       "{\"id\":32,\"content\":\"<beyond>\",\"special\":true}]}");
    scratch_write_text("model/tokenizer_config.json", "{\"eos_token\":\"<end>\",\"added_tokens_decoder\":{"
                                                      "\"4\":{\"content\":\"tool\\u2581x\"}}}");
    scratch_open_source(&source, "model");
    assert_string_equal(string_at("tokenizer.ggml.tokens", 1), "<s>");
    assert_string_equal(string_at("tokenizer.ggml.tokens", 2), "<new>");
    assert_int_equal(type_at(2), NB_TOKEN_CONTROL);
    assert_string_equal(string_at("tokenizer.ggml.tokens", 3), "<end>");
    assert_int_equal(type_at(3), NB_TOKEN_CONTROL);
    assert_string_equal(string_at("tokenizer.ggml.tokens", 4), "tool x");
    assert_int_equal(type_at(4), NB_TOKEN_USER_DEFINED);
    assert_int_equal(type_at(31), NB_TOKEN_UNUSED);
    assert_int_equal(number("tokenizer.ggml.eos_token_id"), 3);
    nb_source_close(&source);
}

static void
llama3_without_bos_says_so(void **unused)
{
    char json[4096];

    (void)unused;
    tiny_checkpoint("model");
    snprintf(json, sizeof json,
             "{\"model\":{\"type\":\"BPE\",\"ignore_merges\":true,\"vocab\":{\"a\":2},"
             "\"merges\":[\"a a\"]},\"added_tokens\":[],\"pre_tokenizer\":%s,\"decoder\":{\"type\":\"ByteLevel\"}}",
             SPLIT(LLAMA3));
    scratch_write_text("model/tokenizer.json", json);
    scratch_open_source(&source, "model");
    assert_string_equal(nb_meta_get_string(&source.meta, "tokenizer.ggml.pre"), "llama-bpe");
    assert_int_equal(*nb_meta_find(&source.meta, "tokenizer.ggml.add_bos_token")->data, 0);
    nb_source_close(&source);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pre_tokenizers_are_known_by_what_they_do),
        cmocka_unit_test(byte_level_vocabularies_keep_ids_types_and_merges),
        cmocka_unit_test(a_chat_template_of_its_own_is_found),
        cmocka_unit_test(chat_templates_beside_the_default_are_kept),
        cmocka_unit_test(bpe_with_byte_fallback_becomes_a_sentencepiece_vocabulary),
        cmocka_unit_test(sentencepiece_models_keep_scores_and_types),
        cmocka_unit_test(a_special_token_that_only_tokenizer_json_has_is_a_control_token),
        cmocka_unit_test(llama3_without_bos_says_so),
    };

    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
