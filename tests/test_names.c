/* The parts of models' names, and the general metadata that comes of them. */
#include "formats/models/model_name.h"
#include "formats/models/source.h"

#include "formats/base/status.h"
#include "formats/gguf/metadata.h"
#include "scratch.h"
#include "testing.h"

static void
names_come_apart_as_the_reference_takes_them(void **unused)
{
    /* checked with gguf-py 0.19's Metadata.get_model_id_components */
    static const struct {
        const char *id;
        uint64_t parameters;
        const char *organization, *basename, *finetune, *version, *size;
    } cases[] = {
        { "Mistral", 0, "", "", "", "", "" },
        { "NousResearch/Meta-Llama-3-8B", 8030000000, "NousResearch", "Meta-Llama-3", "", "", "8B" },
        { "Qwen1.5-MoE-A2.7B-Chat", 14300000000, "", "Qwen1.5-MoE", "Chat", "", "A2.7B" },
        { "mistralai/Mixtral-8x7B-Instruct-v0.1", 46700000000, "mistralai", "Mixtral", "Instruct", "v0.1", "8x7B" },
        { "bigscience/bloom-7b1", 7070000000, "bigscience", "bloom", "", "", "7.1B" },
        { "Phi-3-mini-4k-instruct", 3820000000, "", "Phi-3", "4k-instruct", "", "mini" },
        { "tinystories-3m", 3674368, "", "tinystories", "", "", "3M" },
        { "not a name", 0, "", "", "", "", "" },
    };
    struct nb_model_name name;

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        nb_model_name_parse(cases[i].id, cases[i].parameters, &name);
        assert_string_equal(name.organization, cases[i].organization);
        assert_string_equal(name.basename, cases[i].basename);
        assert_string_equal(name.finetune, cases[i].finetune);
        assert_string_equal(name.version, cases[i].version);
        assert_string_equal(name.size_label, cases[i].size);
    }
}

static void
sizes_have_two_digits(void **unused)
{
    static const struct {
        uint64_t parameters;
        const char *label;
    } cases[] = { { 260032, "260K" },     { 999, "1.0K" },        { 94, "0.09K" },          { 1500000, "1.5M" },
                  { 8030261248, "8.0B" }, { 70553706496, "71B" }, { 671026419200, "671B" }, { 1040000000000, "1.0T" } };
    char label[NB_NAME_PART];

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        nb_size_label(&(struct nb_parameters){ .all = cases[i].parameters }, label);
        assert_string_equal(label, cases[i].label);
    }
}

static void
endless_names_do_no_harm(void **unused)
{
    char id[4096], title[NB_NAME_PART];
    struct nb_model_name name;

    (void)unused;
    for (size_t i = 0; i < sizeof id - 1; i++)
        id[i] = "a-7b-v1"[i % 7];
    id[sizeof id - 1] = '\0';
    nb_model_name_parse(id, 7000000000, &name);
    nb_model_title(id, title);
    memset(id, 'x', sizeof id - 1);
    nb_model_name_parse(id, 1, &name);
    nb_model_title(id, title);
    nb_model_name_parse("", 1, &name);
    nb_model_name_parse("/", 1, &name);
    nb_model_name_parse("---", 1, &name);
}

static void
a_file_name_keeps_its_ending(void **unused)
{
    struct nb_metadata meta = { .count = 0 };
    char name[240], model[1000];

    (void)unused;
    nb_gguf_file_name(&meta, "Q4_K_M", name, sizeof name);
    assert_string_equal(name, "model-Q4_K_M.gguf");
    memset(model, 'x', sizeof model - 1);
    model[sizeof model - 1] = '\0';
    nb_meta_set_string(&meta, "general.name", model);
    nb_meta_set_string(&meta, "general.size_label", "7B");
    nb_gguf_file_name(&meta, "Q4_K_M", name, sizeof name);
    assert_int_equal(strlen(name), sizeof name - 1);
    assert_string_equal(name + strlen(name) - strlen("-Q4_K_M.gguf"), "-Q4_K_M.gguf");
    nb_meta_set_string(&meta, "general.basename", "../a b");
    nb_gguf_file_name(&meta, "F16", name, sizeof name);
    assert_string_equal(name, "model-7B-F16.gguf"); /* never another folder, never hidden */
    nb_meta_free(&meta);
}

static const char *
meta(const struct nb_source *source, const char *key)
{
    const char *value = nb_meta_get_string(&source->meta, key);

    if (value == NULL)
        fail_msg("no '%s'", key);
    return value;
}

static void
the_model_card_and_generation_config_are_read(void **unused)
{
    struct nb_source source;
    struct nb_error err;
    const struct nb_kv *kv;
    float f;

    (void)unused;
    tiny_checkpoint("model");
    scratch_write_text(
        "model/README.md",
        "---\nlicense: [mit, apache-2.0]\nlanguage:\n- en\n- no\ntags:\n\t- one\nbase_model: meta/Base-1B-v2\n"
        "datasets:\n- https://huggingface.co/owner/Some-Set\nmodel_creator: \"A: B\"\nversion: 1.5\n---\n# Text\n");
    scratch_write_text("model/generation_config.json", "{\"temperature\":0.6,\"top_k\":20,\"repetition_penalty\":1.1}");
    if (nb_source_open(&source, scratch_path("model"), NULL, &err) != NB_OK)
        fail_msg("%s", err.message);
    assert_string_equal(meta(&source, "general.license"), "mit,apache-2.0");
    assert_string_equal(meta(&source, "general.author"), "A: B");
    assert_string_equal(meta(&source, "general.version"), "1.5");
    assert_string_equal(meta(&source, "general.base_model.0.name"), "Base 1B v2");
    assert_string_equal(meta(&source, "general.base_model.0.organization"), "Meta");
    assert_string_equal(meta(&source, "general.base_model.0.repo_url"), "https://huggingface.co/meta/Base-1B-v2");
    assert_string_equal(meta(&source, "general.dataset.0.name"), "Some Set");
    kv = nb_meta_find(&source.meta, "general.languages");
    assert_non_null(kv);
    assert_int_equal(kv->count, 2); /* "no" is a language, not a boolean */
    memcpy(&f, nb_meta_find(&source.meta, "general.sampling.temp")->data, 4);
    assert_true(f == 0.6f);
    memcpy(&f, nb_meta_find(&source.meta, "general.sampling.penalty_repeat")->data, 4);
    assert_true(f == 1.1f);
    nb_source_close(&source);
}

static void
strange_model_cards_are_passed_over(void **unused)
{
    static const char *const cards[] = { "",
                                         "---",
                                         "---\n",
                                         "---\n---\n",
                                         "---\n[1, 2]\n---\n",
                                         "---\na: [\n---\n",
                                         "---\na: *b\n---\n",
                                         "# no front matter\n",
                                         "---\n\x01\xff\n---\n",
                                         "---\nlicense: {a: b}\n---\n",
                                         "---\na: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
                                         "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\n"
                                         "e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n"
                                         "tags: [*f,*f,*f,*f,*f,*f,*f,*f,*f]\n---\n" };

    (void)unused;
    for (size_t i = 0; i < sizeof cards / sizeof cards[0]; i++) {
        struct nb_source source;
        struct nb_error err;

        tiny_checkpoint("model");
        scratch_write_text("model/README.md", cards[i]);
        if (nb_source_open(&source, scratch_path("model"), NULL, &err) != NB_OK)
            fail_msg("card %zu: %s", i, err.message);
        assert_null(nb_meta_find(&source.meta, "general.license"));
        nb_source_close(&source);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_come_apart_as_the_reference_takes_them),
        cmocka_unit_test(sizes_have_two_digits),
        cmocka_unit_test(endless_names_do_no_harm),
        cmocka_unit_test(a_file_name_keeps_its_ending),
        cmocka_unit_test(the_model_card_and_generation_config_are_read),
        cmocka_unit_test(strange_model_cards_are_passed_over),
    };

    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
