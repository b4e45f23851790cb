/*
 * What Mistral publishes beside Hugging Face's files, or instead of them: tekken.json, and consolidated.safetensors with
 * params.json. Either layout gives the same model.
 */
#include "formats/base/status.h"
#include "formats/gguf/metadata.h"
#include "formats/models/source.h"
#include "formats/tokenizer/vocabulary.h"
#include "scratch.h"
#include "testing.h"

#include <jansson.h>
#include <unistd.h>

#define SPECIALS 8
#define VOCABULARY 272
#define WIDTH 64
#define HEADS 2
#define PATTERN                                                                                                \
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|"               \
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|\\p{N}| ?[^\\s" \
    "\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

static struct run run;

/* --- tekken.json ---------------------------------------------------------------------------------------------- */

/* The tokens after the single bytes; all bytes are those of "abc" and a quote. */
static const char *const words[] = { "ab", "bc", "abc", "a\"", "cc", "abcc", "ca", "aa" };

static json_t *
token(uint32_t rank, const char *bytes, size_t length)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char text[16];
    size_t n = 0;

    for (size_t i = 0; i < length; i += 3) {
        uint32_t bits = 0;

        for (size_t k = 0; k < 3; k++)
            bits = bits << 8 | (i + k < length ? (unsigned char)bytes[i + k] : 0);
        for (size_t k = 0; k < 4; k++)
            text[n++] = i + k > length ? '=' : digits[bits >> (18 - 6 * k) & 63];
    }
    text[n] = '\0';
    return json_pack("{s:i, s:s, s:n}", "rank", (int)rank, "token_bytes", text, "token_str");
}

static json_t *
make_tekken(void)
{
    json_t *vocab = json_array(), *specials = json_array();
    static const char *const names[] = { "<unk>", "<s>", "</s>", "[INST]" };

    for (uint32_t i = 0; i < 256; i++)
        json_array_append_new(vocab, token(i, (const char[]){ (char)i }, 1));
    for (uint32_t i = 0; i < 8; i++)
        json_array_append_new(vocab, token(256 + i, words[i], strlen(words[i])));
    json_array_append_new(vocab, token(264, "unused", 6));
    for (uint32_t i = 0; i < 4; i++)
        json_array_append_new(specials,
                              json_pack("{s:i, s:s, s:b}", "rank", (int)i, "token_str", names[i], "is_control", 1));
    return json_pack("{s:{s:s, s:i, s:i, s:s}, s:o, s:o}", "config", "pattern", PATTERN, "default_vocab_size",
                     VOCABULARY, "default_num_special_tokens", SPECIALS, "version", "v7", "vocab", vocab,
                     "special_tokens", specials);
}

static void
write_json(const char *name, json_t *tree)
{
    char *text = json_dumps(tree, 0);

    assert_non_null(text);
    scratch_write_text(name, text);
    free(text);
    json_decref(tree);
}

/* --- the two layouts ---------------------------------------------------------------------------------------------- */

static const struct {
    const char *own, *usual;
    unsigned rows, columns; /* COLUMNS 0: a vector */
    unsigned heads;         /* whose rotary pairs the usual layout stores as halves; 0: no heads */
} tensors[] = {
    { "tok_embeddings.weight", "model.embed_tokens.weight", VOCABULARY, WIDTH, 0 },
    { "norm.weight", "model.norm.weight", WIDTH, 0, 0 },
    { "output.weight", "lm_head.weight", VOCABULARY, WIDTH, 0 },
    { "layers.0.attention_norm.weight", "model.layers.0.input_layernorm.weight", WIDTH, 0, 0 },
    { "layers.0.ffn_norm.weight", "model.layers.0.post_attention_layernorm.weight", WIDTH, 0, 0 },
    { "layers.0.attention.wq.weight", "model.layers.0.self_attn.q_proj.weight", 64, WIDTH, HEADS },
    { "layers.0.attention.wk.weight", "model.layers.0.self_attn.k_proj.weight", 32, WIDTH, 1 },
    { "layers.0.attention.wv.weight", "model.layers.0.self_attn.v_proj.weight", 32, WIDTH, 0 },
    { "layers.0.attention.wo.weight", "model.layers.0.self_attn.o_proj.weight", WIDTH, 64, 0 },
    { "layers.0.feed_forward.w1.weight", "model.layers.0.mlp.gate_proj.weight", 96, WIDTH, 0 },
    { "layers.0.feed_forward.w3.weight", "model.layers.0.mlp.up_proj.weight", 96, WIDTH, 0 },
    { "layers.0.feed_forward.w2.weight", "model.layers.0.mlp.down_proj.weight", WIDTH, 96, 0 },
};
#define TENSORS (sizeof tensors / sizeof tensors[0])

/* Row R of a tensor of both layouts as the usual one stores it: the first of all pairs of a head, then the second. */
static size_t
usual_row(size_t i, size_t r)
{
    const size_t length = tensors[i].heads == 0 ? 0 : tensors[i].rows / tensors[i].heads;

    return length == 0 ? r : r / length * length + r % length % (length / 2) * 2 + r % length / (length / 2);
}

static void
write_weights(const char *folder, const char *name, bool own)
{
    char header[4096], path[SCRATCH_PATH];
    size_t length = 0, at = 0, size;
    unsigned char *bytes;

    for (size_t i = 0; i < TENSORS; i++) {
        const size_t columns = tensors[i].columns == 0 ? 1 : tensors[i].columns, n = 4 * tensors[i].rows * columns;
        char shape[32];

        snprintf(shape, sizeof shape, tensors[i].columns == 0 ? "[%u]" : "[%u,%u]", tensors[i].rows,
                 tensors[i].columns);
        length += (size_t)snprintf(header + length, sizeof header - length,
                                   "%s\"%s\":{\"dtype\":\"F32\",\"shape\":%s,\"data_offsets\":[%zu,%zu]}",
                                   i == 0 ? "{" : ",", own ? tensors[i].own : tensors[i].usual, shape, at, at + n);
        at += n;
    }
    snprintf(header + length, sizeof header - length, "}");
    write_safetensors(folder, name, header, at);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    bytes = scratch_read(scratch_path(path), &size);
    size -= at;
    for (size_t i = 0; i < TENSORS; i++) {
        const size_t columns = tensors[i].columns == 0 ? 1 : tensors[i].columns;

        for (size_t k = 0; k < tensors[i].rows * columns; k++) {
            const size_t row = own ? k / columns : usual_row(i, k / columns);
            const float value = (float)((row * columns + k % columns) * 2654435761u % 1000) / 500 - 1;

            memcpy(bytes + size, &value, 4);
            size += 4;
        }
    }
    scratch_write(path, bytes, size);
    free(bytes);
}

static void
make_usual(const char *folder)
{
    char path[SCRATCH_PATH];

    write_weights(folder, "model.safetensors", false);
    snprintf(path, sizeof path, "%s/config.json", folder);
    scratch_write_text(path,
                       "{\"architectures\":[\"MistralForCausalLM\"],\"hidden_size\":64,\"intermediate_size\":96,"
                       "\"num_hidden_layers\":1,\"num_attention_heads\":2,\"num_key_value_heads\":1,"
                       "\"head_dim\":32,\"vocab_size\":272,\"max_position_embeddings\":4096,\"rms_norm_eps\":1e-5,"
                       "\"rope_theta\":1000000.0,\"tie_word_embeddings\":false}");
}

#define PARAMS                                                                                                       \
    "{\"dim\":64,\"n_layers\":1,\"head_dim\":32,\"hidden_dim\":96,\"n_heads\":2,\"n_kv_heads\":1,\"norm_eps\":1e-5," \
    "\"vocab_size\":272,\"rope_theta\":1000000.0,\"max_position_embeddings\":4096"

static void
make_own(const char *folder)
{
    char path[SCRATCH_PATH];

    write_weights(folder, "consolidated.safetensors", true);
    snprintf(path, sizeof path, "%s/params.json", folder);
    scratch_write_text(path, PARAMS "}");
}

static void
both_layouts_are_the_same_model(void **unused)
{
    (void)unused;
    scratch_folder("usual");
    scratch_folder("usual/model"); /* which the file has for its name */
    scratch_folder("own");
    scratch_folder("own/model");
    make_usual("usual/model");
    make_own("own/model");
    write_json("usual/model/tekken.json", make_tekken());
    write_json("own/model/tekken.json", make_tekken());
    RUN(&run, "quantize", "usual/model", "-t", "f32", "-o", "usual.gguf");
    assert_int_equal(run.code, 0);
    RUN(&run, "quantize", "own/model", "-t", "f32", "-o", "own.gguf");
    if (run.code != 0)
        fail_msg("exit code %d: %s", run.code, run.err);
    RUN(&run, "diff", "own.gguf", "usual.gguf"); /* but for the order of the tensors, which is that of their names */
    if (run.code != 0)
        fail_msg("exit code %d: %s%s", run.code, run.out, run.err);
    RUN(&run, "check", "own/model");
    assert_int_equal(run.code, 0);
    RUN(&run, "quantize", "own/model/consolidated.safetensors", "-t", "f32", "-o", "named.gguf");
    assert_int_equal(run.code, 0);
    assert_int_equal(scratch_hash(scratch_path("named.gguf")), scratch_hash(scratch_path("own.gguf")));
}

/* Mistral often publishes both in one folder: the weights of the usual layout are those that are tested by others. */
static void
of_two_layouts_the_usual_is_taken(void **unused)
{
    struct nb_source source;

    (void)unused;
    scratch_folder("both");
    make_usual("both");
    make_own("both");
    write_json("both/tekken.json", make_tekken());
    scratch_open_source(&source, "both");
    assert_string_equal(source.store.tensors[0].name, "lm_head.weight");
    nb_source_close(&source);
    unlink(scratch_path("both/model.safetensors"));
    scratch_open_source(&source, "both");
    assert_string_equal(source.store.tensors[0].name, "layers.0.attention.wk.weight");
    nb_source_close(&source);
}

static void
what_params_ask_for_is_run_or_refused(void **unused)
{
    static const char *const more[] = { ",\"moe\":{\"num_experts\":4}}", ",\"yarn\":{\"factor\":4}}",
                                        ",\"llama_4_scaling\":{\"beta\":0.1}}", ",\"activation\":\"gelu\"}" };

    (void)unused;
    scratch_folder("more");
    make_own("more");
    write_json("more/tekken.json", make_tekken());
    for (size_t i = 0; i < sizeof more / sizeof more[0]; i++) {
        char text[1024], name[32];

        snprintf(text, sizeof text, "%s%s", PARAMS, more[i]);
        scratch_write_text("more/params.json", text);
        RUN(&run, "quantize", "more", "-o", "more.gguf");
        snprintf(name, sizeof name, "%.*s", (int)strcspn(more[i] + 2, "\""), more[i] + 2);
        if (run.code != 3 || strstr(run.err, name) == NULL || strstr(run.err, "params.json") == NULL)
            fail_msg("%s: exit code %d: %s", name, run.code, run.err);
    }
}

/* --- the tokenizer -------------------------------------------------------------------------------------------- */

static const char *
string_at(const struct nb_metadata *meta, const char *key, uint64_t index)
{
    static char text[64];
    const struct nb_kv *kv = nb_meta_find(meta, key);
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

static void
ranks_become_ids_and_merges(void **unused)
{
    /* Of "abc" there are two ways, by the ranks of their parts. */
    static const char *const merges[] = { "a b", "b c", "a bc", "ab c", "a \"", "c c", "ab cc", "abc c", "c a", "a a" };
    struct nb_source source;
    uint64_t id;
    int32_t type;

    (void)unused;
    scratch_folder("tokens");
    make_usual("tokens");
    write_json("tokens/tekken.json", make_tekken());
    scratch_open_source(&source, "tokens");
    assert_string_equal(nb_meta_get_string(&source.meta, "tokenizer.ggml.pre"), "tekken");
    assert_int_equal(nb_meta_find(&source.meta, "tokenizer.ggml.tokens")->count, VOCABULARY);
    assert_string_equal(string_at(&source.meta, "tokenizer.ggml.tokens", 3), "[INST]");
    assert_string_equal(string_at(&source.meta, "tokenizer.ggml.tokens", 7), "<SPECIAL_7>");
    assert_string_equal(string_at(&source.meta, "tokenizer.ggml.tokens", SPECIALS), "\xc4\x80");
    assert_string_equal(string_at(&source.meta, "tokenizer.ggml.tokens", SPECIALS + 256 + 5), "abcc");
    assert_int_equal(nb_meta_find(&source.meta, "tokenizer.ggml.merges")->count, sizeof merges / sizeof merges[0]);
    for (size_t i = 0; i < sizeof merges / sizeof merges[0]; i++)
        assert_string_equal(string_at(&source.meta, "tokenizer.ggml.merges", i), merges[i]);
    memcpy(&type, nb_meta_find(&source.meta, "tokenizer.ggml.token_type")->data + 4 * 7, 4);
    assert_int_equal(type, NB_TOKEN_CONTROL);
    assert_true(nb_meta_get_u64(&source.meta, "tokenizer.ggml.bos_token_id", &id) && id == 1);
    assert_true(nb_meta_get_u64(&source.meta, "tokenizer.ggml.eos_token_id", &id) && id == 2);
    nb_source_close(&source);
    RUN(&run, "tokenize", "--ids", "-p", "abcca", "tokens");
    assert_int_equal(run.code, 0);
    assert_non_null(strstr(run.out, "269")); /* "abcc" */
}

/* A tokenizer.json beside it is what the model's other users read. */
static void
a_tokenizer_json_comes_first(void **unused)
{
    struct nb_source source;

    (void)unused;
    scratch_folder("first");
    make_usual("first");
    write_json("first/tekken.json", make_tekken());
    scratch_write_text("first/tokenizer.json", tiny_tokenizer);
    scratch_open_source(&source, "first");
    assert_string_equal(nb_meta_get_string(&source.meta, "tokenizer.ggml.pre"), "gpt-2");
    nb_source_close(&source);
}

static void
a_tekken_that_makes_no_sense_is_refused(void **unused)
{
    static const struct {
        const char *config, *key; /* an entry of the config and its value, or of a token */
        int rank;                 /* of the token that is changed; -1: none */
        const char *value, *why;
    } cases[] = {
        { NULL, "rank", 260, "7", "another rank" },
        { NULL, "token_bytes", 258, "\"YWI=\"", "the same bytes" },
        { NULL, "token_bytes", 258, "\"enp6\"", "nothing merges into it" },
        { NULL, "token_bytes", 258, "\"a\"", "has no bytes" },
        { NULL, "token_bytes", 258, "\"a?==\"", "has no bytes" },
        { NULL, "token_bytes", 7, "\"YWI=\"", "" },
        { NULL, "token_bytes", 7, "3", "has no bytes" },
        { "default_vocab_size", NULL, -1, "300", "lists 265 tokens, but should have 292" },
        { "default_vocab_size", NULL, -1, "1e99", "a vocabulary of 0 tokens" },
        { "default_num_special_tokens", NULL, -1, "2", "2 of them special" },
        { "pattern", NULL, -1, "\"x\"", "its pre-tokenizer is none" },
        { "pattern", NULL, -1, "3", "'tekken' format" },
    };

    (void)unused;
    scratch_folder("bad");
    make_usual("bad");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *tekken = make_tekken(), *value = json_loads(cases[i].value, JSON_DECODE_ANY, NULL);

        if (cases[i].config != NULL)
            json_object_set_new(json_object_get(tekken, "config"), cases[i].config, value);
        else
            json_object_set_new(json_array_get(json_object_get(tekken, "vocab"), (size_t)cases[i].rank), cases[i].key,
                                value);
        write_json("bad/tekken.json", tekken);
        RUN(&run, "quantize", "bad", "-o", "bad.gguf");
        if (run.code != 3 || strstr(run.err, "tekken.json: ") == NULL || strstr(run.err, cases[i].why) == NULL)
            fail_msg("case %zu: exit code %d: %s", i, run.code, run.err);
    }
    scratch_write_text("bad/tekken.json", "version https://git-lfs.github.com/spec/v1\n");
    RUN(&run, "quantize", "bad", "-o", "bad.gguf");
    assert_int_equal(run.code, 3);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_layouts_are_the_same_model),
        cmocka_unit_test(of_two_layouts_the_usual_is_taken),
        cmocka_unit_test(what_params_ask_for_is_run_or_refused),
        cmocka_unit_test(ranks_become_ids_and_merges),
        cmocka_unit_test(a_tokenizer_json_comes_first),
        cmocka_unit_test(a_tekken_that_makes_no_sense_is_refused),
    };

    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
