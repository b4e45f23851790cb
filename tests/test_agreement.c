/*
 * The tokenizer of a folder and that of the GGUF made from it: what the model was trained with must be
 * what llama.cpp does, or else be told.
 */
#include "formats/gguf/metadata.h"
#include "formats/models/source.h"
#include "formats/tokenizer/vocabulary.h"
#include "nibble.h"
#include "scratch.h"
#include "testing.h"
#include "verify/tokenize/agreement.h"

#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* Whatever "Once upon a time there was a little cat. ..." needs, and six tokens that merges make. */
static const char *const vocabulary[] = { "<s>", "</s>", "\xE2\x96\x81",
                                          "O",   "n",    "c",
                                          "e",   "u",    "p",
                                          "o",   "a",    "t",
                                          "i",   "m",    "h",
                                          "r",   "w",    "s",
                                          "l",   ".",    "S",
                                          "d",   "'",    "k",
                                          ",",   "I",    "th",
                                          "he",  "er",   "\xE2\x96\x81t",
                                          "the" };

#define PREPEND "{\"type\":\"Prepend\",\"prepend\":\"\xE2\x96\x81\"}"
#define REPLACE "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\xE2\x96\x81\"}"
#define END_TOKENS                                                          \
    "{\"id\":0,\"content\":\"<s>\",\"special\":true,\"normalized\":false}," \
    "{\"id\":1,\"content\":\"</s>\",\"special\":true,\"normalized\":false}"

static struct nb_source source;

#define MERGES "\"t h\",\"th e\",\"\xE2\x96\x81 t\",\"h e\",\"e r\""

/* A tokenizer of SentencePiece's kind that has merges and no scores: the first TOKENS of the vocabulary. */
static void
write_part(size_t tokens, const char *merges, const char *normalizers, const char *added, const char *pre_tokenizer)
{
    char text[4096];
    size_t at = (size_t)snprintf(text, sizeof text,
                                 "{\"added_tokens\":[" END_TOKENS "%s],\"normalizer\":{\"type\":\"Sequence\","
                                 "\"normalizers\":[%s]},\"pre_tokenizer\":%s,\"decoder\":{\"type\":\"Sequence\"},"
                                 "\"model\":{\"type\":\"BPE\",\"byte_fallback\":true,\"merges\":[%s],\"vocab\":{",
                                 added, normalizers, pre_tokenizer, merges);

    for (size_t i = 0; i < tokens; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%s\"%s\":%zu", i > 0 ? "," : "", vocabulary[i], i);
    snprintf(text + at, sizeof text - at, "}}}");
    tiny_checkpoint("model");
    scratch_write_text("model/tokenizer.json", text);
}

/* The whole of it. ADDED: further added tokens. */
static void
write_tokenizer(const char *normalizers, const char *added)
{
    write_part(COUNT(vocabulary), MERGES, normalizers, added, "null");
}

static enum nb_agreement
agreement(char what[NB_DIFFERENCE_TEXT])
{
    enum nb_agreement found;
    struct nb_error err;

    if (nb_agreement_of(&source, &found, what, &err) != NB_OK)
        fail_msg("%s", err.message);
    return found;
}

static void
expect_agreement(enum nb_agreement wanted)
{
    char what[NB_DIFFERENCE_TEXT];

    if (agreement(what) != wanted)
        fail_msg("not %d: %s", (int)wanted, what);
}

static void
set_equal_scores(void)
{
    float scores[32];

    for (size_t i = 0; i < COUNT(scores); i++)
        scores[i] = -1000;
    nb_meta_set(&source.meta, "tokenizer.ggml.scores", NB_KV_ARRAY, NB_KV_F32, COUNT(scores), scores, sizeof scores);
}

static void
a_vocabulary_without_scores_merges_in_the_order_of_its_merges(void **unused)
{
    (void)unused;
    write_tokenizer(PREPEND "," REPLACE, "");
    scratch_open_source(&source, "model");
    expect_agreement(NB_AGREES);
    set_equal_scores(); /* as the reference converter writes them: "there" begins with "th" and not with "t" */
    expect_agreement(NB_DIFFERS);
    nb_source_close(&source);
}

static void
a_space_that_the_folder_does_not_add_is_not_added(void **unused)
{
    bool prefix = true;

    (void)unused;
    write_tokenizer(REPLACE, "");
    scratch_write_text("model/tokenizer_config.json", "{\"add_prefix_space\":true}"); /* tokenizer.json counts */
    scratch_open_source(&source, "model");
    assert_true(nb_meta_get_bool(&source.meta, "tokenizer.ggml.add_space_prefix", &prefix));
    assert_false(prefix);
    expect_agreement(NB_AGREES);
    nb_meta_set_bool(&source.meta, "tokenizer.ggml.add_space_prefix", true);
    expect_agreement(NB_DIFFERS);
    nb_source_close(&source);
}

/* The pre-tokenizer that newer saves of Llama 2's kind have in the place of a normalizer. */
static void
metaspace_adds_its_space_only_where_it_says(void **unused)
{
    static const struct {
        const char *entries;
        enum nb_agreement agreement;
        bool prefix;
    } cases[] = {
        { "\"prepend_scheme\":\"always\",\"split\":false", NB_DIFFERS_IN_RARE_TEXT, true }, /* " here" */
        { "\"prepend_scheme\":\"first\",\"split\":false", NB_DIFFERS_IN_RARE_TEXT, true },
        { "\"prepend_scheme\":\"never\",\"split\":false", NB_AGREES, false },
        { "\"add_prefix_space\":false", NB_AGREES, false }, /* of older versions; cut before each space */
    };

    (void)unused;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct nb_tokenizer *t;
        struct nb_ids ids = { 0 };
        struct nb_error err;
        char step[256];

        snprintf(step, sizeof step, "{\"type\":\"Metaspace\",\"replacement\":\"\xE2\x96\x81\",%s}", cases[i].entries);
        write_part(COUNT(vocabulary), MERGES, "", "", step);
        scratch_open_source(&source, "model");
        expect_agreement(cases[i].agreement);
        assert_int_equal(nb_tokenizer_open(&t, &source, &err), NB_OK);
        assert_int_equal(nb_tokenize(t, "the", 3, 0, &ids, &err), NB_OK);
        assert_int_equal(ids.count, cases[i].prefix ? 2 : 1);
        nb_tokenizer_close(t);
        nb_ids_free(&ids);
        nb_source_close(&source);
    }
}

static void
an_added_token_of_the_vocabulary_is_found_in_a_text(void **unused)
{
    (void)unused;
    write_tokenizer(PREPEND "," REPLACE, ",{\"id\":30,\"content\":\"the\",\"special\":true,\"normalized\":false}");
    scratch_open_source(&source, "model");
    expect_agreement(NB_AGREES);
    nb_source_close(&source);
}

static void
a_vocabulary_that_cannot_say_any_text_proves_nothing(void **unused)
{
    (void)unused;
    write_part(2, "", PREPEND "," REPLACE, "", "null");
    scratch_open_source(&source, "model");
    expect_agreement(NB_AGREEMENT_UNKNOWN);
    nb_source_close(&source);
}

/* Pieces of SentencePiece whose scores prefer other merges than tokenizer.json does. */
static void
write_other_model(void)
{
    unsigned char bytes[1024];
    size_t n = 0;

    for (size_t i = 0; i < COUNT(vocabulary); i++) {
        const size_t length = strlen(vocabulary[i]);
        const float score = -(float)(COUNT(vocabulary) - i);

        bytes[n++] = 0x0A; /* ModelProto.pieces */
        bytes[n++] = (unsigned char)(length + 9);
        bytes[n++] = 0x0A; /* piece */
        bytes[n++] = (unsigned char)length;
        memcpy(bytes + n, vocabulary[i], length);
        n += length;
        bytes[n++] = 0x15; /* score */
        memcpy(bytes + n, &score, sizeof score);
        n += sizeof score;
        bytes[n++] = 0x18; /* type */
        bytes[n++] = i < 2 ? 3 : 1;
    }
    scratch_write("model/tokenizer.model", bytes, n);
}

/* What nibble.h says of the folder "model". */
static enum nibble_agreement
agreement_told(char *what, size_t room)
{
    enum nibble_agreement agreement;
    struct nibble_source *model;

    assert_int_equal(nibble_source_open(scratch_path("model"), NULL, &model, NULL), NIBBLE_OK);
    assert_int_equal(nibble_source_agreement(model, &agreement, what, room, NULL), NIBBLE_OK);
    nibble_source_close(model);
    return agreement;
}

static void
a_tokenizer_model_of_another_vocabulary_is_refused(void **unused)
{
    struct run run;
    char what[64];

    (void)unused;
    write_tokenizer(PREPEND "," REPLACE, "");
    assert_int_equal(agreement_told(what, sizeof what), NIBBLE_AGREES);
    assert_string_equal(what, "");
    write_tokenizer(PREPEND "," REPLACE, "");
    write_other_model();
    assert_int_equal(agreement_told(what, sizeof what), NIBBLE_DIFFERS);
    assert_memory_equal(what, "after [", strlen("after ["));
    memset(what, 'x', sizeof what);
    assert_int_equal(agreement_told(what, 3), NIBBLE_DIFFERS);
    assert_memory_equal(what, "af\0x", 4);
    RUN(&run, "quantize", scratch_path("model"), "-t", "f16", "-o", scratch_path("out.gguf"));
    assert_int_equal(run.code, 3);
    assert_non_null(strstr(run.err, "other tokens of a text"));
    assert_non_null(strstr(run.err, "--allow-other-tokens"));
    assert_false(scratch_exists(scratch_path("out.gguf")));
    RUN(&run, "quantize", scratch_path("model"), "-t", "f16", "-o", scratch_path("out.gguf"), "--allow-other-tokens");
    assert_int_equal(run.code, 0);
    assert_non_null(strstr(run.err, "note: llama.cpp makes other tokens of a text: after"));
    unlink(scratch_path("model/tokenizer.model"));
}

static void
verify_says_that_a_model_makes_other_tokens(void **unused)
{
    struct run run;
    char text[4096] = "";
    unsigned char *page;
    size_t size;

    (void)unused;
    for (int i = 0; i < 60; i++)
        strcat(text, "there was a little cat. ");
    scratch_write_text("text", text);
    write_tokenizer(PREPEND "," REPLACE, "");
    RUN(&run, "quantize", scratch_path("model"), "-t", "f16", "-o", scratch_path("out.gguf"), "--force");
    assert_int_equal(run.code, 0);
    RUN(&run, "verify", scratch_path("model"), scratch_path("out.gguf"), "-f", scratch_path("text"), "-c", "32");
    assert_int_equal(run.code, 0);
    assert_null(strstr(run.err, "other tokens"));
    RUN(&run, "edit", "--set", "tokenizer.ggml.add_space_prefix=bool:false", scratch_path("out.gguf"));
    assert_int_equal(run.code, 0);
    RUN(&run, "verify", scratch_path("model"), scratch_path("out.gguf"), "-f", scratch_path("text"), "-c", "32");
    assert_int_equal(run.code, 0);
    assert_non_null(strstr(run.err, "makes other tokens of the text"));
    RUN(&run, "verify", "--json", "--html", "page.html", scratch_path("model"), scratch_path("out.gguf"), "-f",
        scratch_path("text"), "-c", "32");
    assert_int_equal(run.code, 0);
    assert_non_null(strstr(run.out, "\"other_tokens\":\""));
    page = scratch_read(scratch_path("page.html"), &size);
    page[size] = '\0';
    assert_non_null(strstr((char *)page, "\"other_tokens\":\""));
    free(page);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_vocabulary_without_scores_merges_in_the_order_of_its_merges),
        cmocka_unit_test(a_space_that_the_folder_does_not_add_is_not_added),
        cmocka_unit_test(metaspace_adds_its_space_only_where_it_says),
        cmocka_unit_test(an_added_token_of_the_vocabulary_is_found_in_a_text),
        cmocka_unit_test(a_vocabulary_that_cannot_say_any_text_proves_nothing),
        cmocka_unit_test(a_tokenizer_model_of_another_vocabulary_is_refused),
        cmocka_unit_test(verify_says_that_a_model_makes_other_tokens),
    };

    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
