/*
 * Text to ids: the recorded ids of llama.cpp and of the tokenizers library, long
 * texts, and what is refused.
 */
#include "formats/models/source.h"
#include "formats/tokenizer/byte_level.h"
#include "verify/tokenize/tokenize.h"

#include "formats/base/status.h"
#include "scratch.h"
#include "testing.h"

#include <ctype.h>

/* A checkpoint FOLDER with stories260K's tokenizer and no weights to speak of. */
static void
stories_checkpoint(const char *folder)
{
    static const char *const names[] = { "config.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json" };
    static const struct {
        const char *name;
        unsigned rows, columns;
    } parts[] = {
        { "input_layernorm.weight", 64, 0 },   { "post_attention_layernorm.weight", 64, 0 },
        { "self_attn.q_proj.weight", 64, 64 }, { "self_attn.k_proj.weight", 32, 64 },
        { "self_attn.v_proj.weight", 32, 64 }, { "self_attn.o_proj.weight", 64, 64 },
        { "mlp.gate_proj.weight", 172, 64 },   { "mlp.up_proj.weight", 172, 64 },
        { "mlp.down_proj.weight", 64, 172 },
    };
    char header[16384], path[SCRATCH_PATH];
    size_t at = 64 * 4 + 512 * 64 * 4;
    size_t n = (size_t)sprintf(header,
                               "{\"model.norm.weight\":{\"dtype\":\"F32\",\"shape\":[64],\"data_offsets\":[0,256]},"
                               "\"model.embed_tokens.weight\":{\"dtype\":\"F32\",\"shape\":[512,64],\"data_offsets\":"
                               "[256,%zu]}",
                               at);

    for (unsigned layer = 0; layer < 5; layer++) {
        for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
            const size_t size = 4 * (size_t)parts[i].rows * (parts[i].columns == 0 ? 1 : parts[i].columns);
            char shape[32];

            sprintf(shape, parts[i].columns == 0 ? "%u" : "%u,%u", parts[i].rows, parts[i].columns);
            n += (size_t)sprintf(header + n,
                                 ",\"model.layers.%u.%s\":{\"dtype\":\"F32\",\"shape\":[%s],"
                                 "\"data_offsets\":[%zu,%zu]}",
                                 layer, parts[i].name, shape, at, at + size);
            at += size;
        }
    }
    strcpy(header + n, "}");
    scratch_remove(folder);
    scratch_folder(folder);
    write_safetensors(folder, "model.safetensors", header, at);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        size_t size;
        unsigned char *bytes;

        snprintf(path, sizeof path, "%s/golden/stories260k/%s", TEST_DATA, names[i]);
        bytes = scratch_read(path, &size);
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        scratch_write(path, bytes, size);
        free(bytes);
    }
}

/* The sources that tests/golden/tokens.tsv speaks of, by its first column. */
static struct recorded {
    const char *name;
    struct nb_source source;
    struct nb_tokenizer *tokenizer;
} recorded[] = {
    { "stories260k folder", { 0 }, NULL },
    { "stories260k gguf", { 0 }, NULL },
    { "tinystories-3m folder", { 0 }, NULL },
    { "tinystories-3m gguf", { 0 }, NULL },
};

static void
open_source(struct recorded *r, const char *path)
{
    struct nb_error err;

    if (nb_source_open(&r->source, path, NULL, &err) != NB_OK ||
        nb_tokenizer_open(&r->tokenizer, &r->source, &err) != NB_OK)
        fail_msg("%s: %s", path, err.message);
}

static int
open_all(void **state)
{
    static struct run run;

    if (scratch_setup(state) != 0)
        return -1;
    stories_checkpoint("stories260k");
    RUN(&run, "quantize", "stories260k", "-t", "f16", "-o", "stories260k.gguf");
    if (run.code == 0)
        RUN(&run, "quantize", SAMPLE_DATA "/tinystories-3m", "-t", "q8_0", "-o", "tinystories-3m.gguf");
    if (run.code != 0) {
        fputs(run.err, stderr);
        return -1;
    }
    open_source(&recorded[0], scratch_path("stories260k"));
    open_source(&recorded[1], scratch_path("stories260k.gguf"));
    open_source(&recorded[2], SAMPLE_DATA "/tinystories-3m");
    open_source(&recorded[3], scratch_path("tinystories-3m.gguf"));
    return 0;
}

static int
close_all(void **state)
{
    for (size_t i = 0; i < sizeof recorded / sizeof recorded[0]; i++) {
        nb_tokenizer_close(recorded[i].tokenizer);
        nb_source_close(&recorded[i].source);
    }
    return scratch_teardown(state);
}

static size_t
from_hex(const char *hex, char *out)
{
    size_t n = 0;

    for (; isxdigit((unsigned char)hex[0]); hex += 2) {
        unsigned byte;

        assert_int_equal(sscanf(hex, "%2x", &byte), 1);
        out[n++] = (char)byte;
    }
    return n;
}

static void
check_ids(const struct recorded *r, const char *hex, char *ids, unsigned line)
{
    static char text[65536];
    struct nb_ids found = { 0 };
    struct nb_error err;
    size_t n = 0;
    /* llama.cpp's were recorded without BOS. */
    const unsigned flags = strstr(r->name, "folder") != NULL ? NB_ADD_SPECIAL | NB_PARSE_SPECIAL : NB_PARSE_SPECIAL;

    if (nb_tokenize(r->tokenizer, text, from_hex(hex, text), flags, &found, &err) != NB_OK)
        fail_msg("line %u: %s", line, err.message);
    for (char *id = strtok(ids, " \n"); id != NULL; id = strtok(NULL, " \n"), n++)
        if (n >= found.count || atoi(id) != found.id[n])
            fail_msg("line %u (%s): id %zu should be %s, but is %d", line, r->name, n, id,
                     n < found.count ? (int)found.id[n] : -1);
    if (n != found.count)
        fail_msg("line %u (%s): %zu ids, not %zu", line, r->name, found.count, n);
    nb_ids_free(&found);
}

static void
ids_are_those_of_the_libraries(void **unused)
{
    static char line[262144];
    FILE *f = fopen(TEST_DATA "/golden/tokens.tsv", "r");
    unsigned number = 0;

    (void)unused;
    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL) {
        char *hex = strchr(line, '\t'), *ids;

        number++;
        assert_non_null(hex);
        *hex++ = '\0';
        ids = strchr(hex, '\t');
        assert_non_null(ids);
        for (size_t i = 0; i < sizeof recorded / sizeof recorded[0]; i++)
            if (strcmp(line, recorded[i].name) == 0)
                check_ids(&recorded[i], hex, ids + 1, number);
    }
    fclose(f);
    assert_int_equal(number, 788);
}

/* One word of a million letters: n^2 would never end. */
static void
a_long_word_ends(void **unused)
{
    const size_t length = 1000000;
    char *text = malloc(length);

    (void)unused;
    assert_non_null(text);
    for (size_t i = 0; i < length; i++)
        text[i] = (char)('a' + i * i % 7);
    for (size_t i = 0; i < sizeof recorded / sizeof recorded[0]; i++) {
        struct nb_ids ids = { 0 };
        struct nb_error err;

        assert_int_equal(nb_tokenize(recorded[i].tokenizer, text, length, 0, &ids, &err), NB_OK);
        assert_true(ids.count > length / 20);
        nb_ids_free(&ids);
    }
    free(text);
}

/* The tokens' bytes, put together, are the text. */
static void
nothing_of_a_text_is_lost(void **unused)
{
    static const char text[] =
        "Once upon a time,\nthere was a caf\xC3\xA9 in \xE4\xB8\xAD\xE6\x96\x87. \xF0\x9F\x98\x80";

    (void)unused;
    for (size_t i = 0; i < sizeof recorded / sizeof recorded[0]; i++) {
        struct nb_ids ids = { 0 };
        struct nb_error err;
        char back[256];
        size_t n = 0;
        const size_t prefix = i < 2 ? 1 : 0; /* the space that SentencePiece puts before a text */

        assert_int_equal(nb_tokenize(recorded[i].tokenizer, text, sizeof text - 1, 0, &ids, &err), NB_OK);
        for (size_t k = 0; k < ids.count; k++)
            n += nb_token_bytes(recorded[i].tokenizer, ids.id[k], back + n, sizeof back - n);
        assert_int_equal(n, sizeof text - 1 + prefix);
        assert_memory_equal(back + prefix, text, sizeof text - 1);
        nb_ids_free(&ids);
    }
}

static void
a_checkpoint_refuses_text_that_is_not_utf8(void **unused)
{
    struct nb_ids ids = { 0 };
    struct nb_error err;

    (void)unused;
    assert_int_equal(nb_tokenize(recorded[2].tokenizer, "a\xFF", 2, 0, &ids, &err), NB_INPUT);
    assert_non_null(strstr(err.message, "UTF-8"));
    assert_int_equal(nb_tokenize(recorded[3].tokenizer, "a\xFF", 2, 0, &ids, &err), NB_OK);
    assert_int_equal(ids.count, 4); /* and the three bytes of U+FFFD */
    nb_ids_free(&ids);
}

static void
every_byte_has_a_character_of_its_own(void **unused)
{
    (void)unused;
    for (unsigned byte = 0; byte < 256; byte++) {
        const uint32_t c = nb_byte_level_character((unsigned char)byte);
        char text[2] = { (char)c, 0 }, back[2];
        size_t n = 1;

        if (c >= 0x80) {
            text[0] = (char)(0xC0 | c >> 6);
            text[1] = (char)(0x80 | (c & 0x3F));
            n = 2;
        }
        assert_true(nb_byte_level_decode(text, n, back, &n));
        assert_int_equal(n, 1);
        assert_int_equal((unsigned char)back[0], byte);
    }
}

/* What a broken tokenizer is refused with: a change of the tiny one, and a part of the sentence. */
static void
tokenizers_without_what_they_need_are_refused(void **unused)
{
    static const struct {
        const char *from, *to, *says;
    } cases[] = {
        { "\"normalizer\":null", "\"normalizer\":{\"type\":\"Precompiled\"}", "not supported" },
        { "\"normalizer\":null", "\"normalizer\":{\"type\":\"Prepend\",\"prepend\":\"\xE2\x96\x81\"}",
          "not supported" },
        { "\"a b\"", "\"ab\"", "not a pair" },
    };
    static struct run run;

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *at = strstr(tiny_tokenizer, cases[i].from);
        char changed[4096];

        assert_non_null(at);
        snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - tiny_tokenizer), tiny_tokenizer, cases[i].to,
                 at + strlen(cases[i].from));
        tiny_checkpoint("tiny");
        scratch_write_text("tiny/tokenizer.json", changed);
        RUN(&run, "tokenize", "-p", "ab", "tiny");
        if (run.code != NB_INPUT || strstr(run.err, cases[i].says) == NULL)
            fail_msg("case %zu: code %d: %s", i, run.code, run.err);
    }
}

/* What "tokenize" prints for a text that pre-tokenizers cut in different ways, with the file's set to PRE. */
static const char *
tokens_by(const char *pre)
{
    static struct run run;
    char set[64];

    snprintf(set, sizeof set, "tokenizer.ggml.pre=str:%s", pre);
    RUN(&run, "edit", "tinystories-3m.gguf", "--set", set, "-o", "other.gguf", "--force");
    assert_int_equal(run.code, 0);
    RUN(&run, "tokenize", "--ids", "-p", "It's 12345 o'clock,  HelloWorld she'LL\n\n say: \"a/b\"!!", "other.gguf");
    if (run.code != 0)
        fail_msg("%s: %s", pre, run.err);
    return run.out;
}

static void
names_that_mean_the_same_cut_the_same(void **unused)
{
    static const char *const pairs[][2] = {
        { "llama-bpe", "llama3" }, { "llama-bpe", "falcon-h1" },    { "llama-bpe", "lfm2" }, { "gpt-4o", "llama4" },
        { "gpt-2", "exaone4" },    { "qwen2", "deepseek-r1-qwen" }, { "gpt-2", "phi-2" },    { "qwen2", "megrez" },
    };
    char first[1024];

    (void)unused;
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        snprintf(first, sizeof first, "%s", tokens_by(pairs[i][0]));
        assert_string_equal(first, tokens_by(pairs[i][1]));
    }
}

static void
the_command_shows_ids_and_pieces(void **unused)
{
    static struct run run;

    (void)unused;
    RUN(&run, "tokenize", "-p", "Once upon", "tinystories-3m.gguf");
    assert_int_equal(run.code, 0);
    assert_string_equal(run.out, "  2046 -> '<|begin_of_text|>'\n    79 -> 'O'\n   110 -> 'n'\n   323 -> 'ce'\n"
                                 "   428 -> ' upon'\n");
    RUN(&run, "tokenize", "--ids", "--no-bos", "--show-count", "-p", "Once upon", "tinystories-3m.gguf");
    assert_string_equal(run.out, "[79, 110, 323, 428]\nTotal number of tokens: 4\n");
    scratch_write("texts", "a\0b b\0", 6);
    RUN(&run, "tokenize", "--ids", "-z", "--no-bos", "-f", "texts", "tinystories-3m.gguf");
    assert_string_equal(run.out, "[97]\n[98, 264]\n");
    RUN(&run, "tokenize", "--json", "-p", "\xC3\xA9", "--no-bos", "tinystories-3m.gguf");
    assert_non_null(strstr(run.out, "\"piece\":null")); /* half a character */
    RUN(&run, "tokenize", "-f", "no such file", "tinystories-3m.gguf");
    assert_int_equal(run.code, NB_INPUT);
    RUN(&run, "tokenize", "tinystories-3m.gguf");
    assert_int_equal(run.code, NB_USAGE);
    scratch_write("broken.gz", "\x1f\x8b\x08\0\0\0\0\0\0\3garbage", 17);
    RUN(&run, "tokenize", "-f", "broken.gz", "tinystories-3m.gguf");
    assert_int_equal(run.code, NB_INPUT);
    assert_non_null(strstr(run.err, "gzip"));
    /* a stored block of five bytes, of which all are there, but not the checksum */
    scratch_write("cut.gz", "\x1f\x8b\x08\0\0\0\0\0\0\3\x01\x05\0\xfa\xffhello", 20);
    RUN(&run, "tokenize", "-f", "cut.gz", "tinystories-3m.gguf");
    assert_int_equal(run.code, 3);
    assert_non_null(strstr(run.err, "cut short"));
    /* and another of which a part is there */
    scratch_write("cut.gz", "\x1f\x8b\x08\0\0\0\0\0\0\3\x01\x05\0\xfa\xffhel", 18);
    RUN(&run, "tokenize", "-f", "cut.gz", "tinystories-3m.gguf");
    assert_int_equal(run.code, 3);
    assert_non_null(strstr(run.err, "cut short"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_those_of_the_libraries),
        cmocka_unit_test(a_long_word_ends),
        cmocka_unit_test(names_that_mean_the_same_cut_the_same),
        cmocka_unit_test(nothing_of_a_text_is_lost),
        cmocka_unit_test(a_checkpoint_refuses_text_that_is_not_utf8),
        cmocka_unit_test(every_byte_has_a_character_of_its_own),
        cmocka_unit_test(tokenizers_without_what_they_need_are_refused),
        cmocka_unit_test(the_command_shows_ids_and_pieces),
    };

    return cmocka_run_group_tests(tests, open_all, close_all);
}
