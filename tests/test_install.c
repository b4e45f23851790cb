/* A model is put where other programs look for it as they would put it there, as a whole or not at all. */
#include "formats/base/json.h"
#include "scratch.h"
#include "testing.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define SAMPLE SAMPLE_DATA "/tinystories-3m"

/* What golden/ollama_store.py, whose stores Ollama's own code reads, writes for this file. */
#define MODEL_DIGEST "16764c9ec5b169a1adc3094c9d7fb9758643911419028890ebec8a157b72e8ec"
#define CONFIG_DIGEST "2b125578e42c5a00750bf904c9c50dc7fbc1071466994a55bf70bb4b54d25ec7"
#define MANIFEST                                                                                                           \
    "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.docker.distribution.manifest.v2+json\",\"config\":{"             \
    "\"mediaType\":\"application/vnd.docker.container.image.v1+json\",\"digest\":\"sha256:" CONFIG_DIGEST                  \
    "\",\"size\":152},\"layers\":[{\"mediaType\":\"application/vnd.ollama.image.model\",\"digest\":\"sha256:" MODEL_DIGEST \
    "\",\"size\":2391136}]}\n"
#define CONFIG                                                                                                       \
    "{\"model_format\":\"gguf\",\"model_family\":\"llama\",\"model_families\":[\"llama\"],\"model_type\":\"3.67M\"," \
    "\"file_type\":\"Q4_K_M\",\"architecture\":\"amd64\",\"os\":\"linux\"}\n"

static struct run run;
static char model[SCRATCH_PATH];

static int
setup(void **state)
{
    if (scratch_setup(state) != 0)
        return -1;
    snprintf(model, sizeof model, "%s", scratch_path("tinystories-3m-Q4_K_M.gguf"));
    RUN(&run, "quantize", SAMPLE, "-t", "Q4_K_M", "-o", model);
    setenv("HOME", scratch_path("home"), 1);
    unsetenv("OLLAMA_MODELS");
    unsetenv("HF_HOME");
    unsetenv("HF_HUB_CACHE");
    unsetenv("HUGGINGFACE_HUB_CACHE");
    unsetenv("XDG_CACHE_HOME");
    return run.code;
}

static void
assert_text(const char *path, const char *expected)
{
    size_t size;
    char *text = (char *)scratch_read(scratch_path(path), &size);

    if (size != strlen(expected) || memcmp(text, expected, size) != 0)
        fail_msg("%s: '%.*s' instead of '%s'", path, (int)size, text, expected);
    free(text);
}

static void
assert_same_file(const char *path)
{
    struct stat a, b;

    assert_int_equal(stat(model, &a), 0);
    if (stat(scratch_path(path), &b) != 0 || a.st_ino != b.st_ino || a.st_dev != b.st_dev)
        fail_msg("%s is not the model", path);
}

/* --- Ollama ------------------------------------------------------------------------------------------------------ */

static void
the_store_is_the_one_that_ollama_writes(void **unused)
{
    (void)unused;
    setenv("OLLAMA_MODELS", scratch_path("store"), 1);
    RUN(&run, "install", "--to", "ollama", model);
    if (run.code != 0)
        fail_msg("exit code %d: %s", run.code, run.err);
    assert_text("store/manifests/registry.ollama.ai/library/tinystories-3m/Q4_K_M", MANIFEST);
    assert_text("store/blobs/sha256-" CONFIG_DIGEST, CONFIG);
    assert_same_file("store/blobs/sha256-" MODEL_DIGEST);
    unsetenv("OLLAMA_MODELS");
    RUN(&run, "install", "--to", "ollama", "--name", "hf.co/me/Tiny-GGUF:Q4", model);
    assert_int_equal(run.code, 0);
    assert_text("home/.ollama/models/manifests/hf.co/me/Tiny-GGUF/Q4", MANIFEST);
}

/* Go's encoder sorts the keys of a map, and escapes what HTML would take for its own. */
static void
parameters_and_license_are_layers_in_ollamas_order(void **unused)
{
    char edited[SCRATCH_PATH], *manifest, *at;
    size_t size;

    (void)unused;
    snprintf(edited, sizeof edited, "%s", scratch_path("edited.gguf"));
    scratch_write_text("LICENSE", "Do <what> you want & more\n");
    RUN(&run, "edit", "--set", "general.sampling.temp=f32:0.7", "--set", "general.sampling.top_k=i32:20", "--set",
        "general.sampling.top_p=f32:0.95", model, "-o", edited);
    assert_int_equal(run.code, 0);
    setenv("OLLAMA_MODELS", scratch_path("layers"), 1);
    RUN(&run, "install", "--to", "ollama", "--name", "edited", "--license", scratch_path("LICENSE"), edited);
    if (run.code != 0)
        fail_msg("exit code %d: %s", run.code, run.err);
    unsetenv("OLLAMA_MODELS");
    /* the digest is that of sha256sum */
    assert_text("layers/blobs/sha256-a671aff08c08d799ffc135a9cdfe440f8a3e3f7c470d1b6ce5ec4f45b4b91d1c",
                "{\"temperature\":0.7,\"top_k\":20,\"top_p\":0.95}\n");
    manifest = (char *)scratch_read(scratch_path("layers/manifests/registry.ollama.ai/library/edited/latest"), &size);
    at = strstr(manifest, "image.model");
    assert_non_null(at);
    at = strstr(at, "image.license");
    assert_non_null(at);
    assert_non_null(strstr(at, "image.params"));
    free(manifest);
}

static void
a_model_of_the_name_is_replaced_only_with_force(void **unused)
{
    static const char manifest[] = "home/.ollama/models/manifests/registry.ollama.ai/library/mine/latest";

    (void)unused;
    RUN(&run, "install", "--to", "ollama", "--name", "mine", model);
    assert_int_equal(run.code, 0);
    scratch_write_text(manifest, "other");
    RUN(&run, "install", "--to", "ollama", "--name", "mine", model);
    assert_int_equal(run.code, 2);
    assert_non_null(strstr(run.err, "has a model of this name already"));
    RUN(&run, "install", "--to", "ollama", "--name", "MINE:Latest", "--json", model); /* the same to Ollama */
    assert_int_equal(run.code, 2);
    assert_non_null(strstr(run.out, "\"exists\""));
    assert_text(manifest, "other");
    RUN(&run, "install", "--to", "ollama", "--name", "mine", "--force", "--dry-run", model);
    assert_int_equal(run.code, 0);
    assert_text(manifest, "other");
    RUN(&run, "install", "--to", "ollama", "--name", "mine", "--force", model);
    assert_int_equal(run.code, 0);
    assert_text(manifest, MANIFEST);
}

static void
names_that_lead_out_of_the_store_are_refused(void **unused)
{
    static const char *const names[] = {
        "../up", "a/../b", "a:..", "..", "a/b/c/d", "a b", "", ":x", "a/", "/etc", "-x"
    };
    static const char *const pairs[] = { "one", "../x", "a/..", "a/b/c", "a/", "/b", "a/.b", "a/b c" };
    char name[64];

    (void)unused;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(name, sizeof name, "--name=%s", names[i]);
        RUN(&run, "install", "--to", "ollama", name, model);
        if (run.code != 2 || strstr(run.err, "as Ollama has names") == NULL)
            fail_msg("%s: exit code %d: %s", names[i], run.code, run.err);
    }
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        snprintf(name, sizeof name, "--name=%s", pairs[i]);
        RUN(&run, "install", "--to", i % 2 == 0 ? "lmstudio" : "huggingface", name, model);
        if (run.code != 2 || strstr(run.err, "PUBLISHER/MODEL") == NULL)
            fail_msg("%s: exit code %d: %s", pairs[i], run.code, run.err);
    }
}

/* The manifest comes last, so that nothing is seen of a model that is not all there. */
static void
a_full_disk_leaves_no_manifest(void **unused)
{
    const char *disk;

    (void)unused;
    scratch_folder("disk");
    disk = scratch_path("disk");
    scratch_small_disk(disk, "size=1m");
    setenv("OLLAMA_MODELS", disk, 1);
    RUN(&run, "install", "--to", "ollama", model);
    unsetenv("OLLAMA_MODELS");
    if (run.code != 4 || strstr(run.err, "No space left") == NULL || scratch_exists(scratch_path("disk/manifests")) ||
        scratch_exists(scratch_path("disk/blobs/sha256-" MODEL_DIGEST)) ||
        scratch_exists(scratch_path("disk/blobs/sha256-" MODEL_DIGEST ".partial"))) {
        scratch_small_disk_gone(disk);
        fail_msg("exit code %d: %s", run.code, run.err);
    }
    scratch_small_disk_gone(disk);
}

/* The store keeps a file by its hash; an edit in place would change it there, too. */
static void
an_edit_leaves_a_model_that_was_installed_as_it_is(void **unused)
{
    (void)unused;
    setenv("OLLAMA_MODELS", scratch_path("kept"), 1);
    RUN(&run, "install", "--to", "ollama", model);
    unsetenv("OLLAMA_MODELS");
    assert_int_equal(run.code, 0);
    RUN(&run, "edit", "--set", "general.name=str:tinystories-3X", model);
    assert_int_equal(run.code, 0);
    RUN(&run, "hash", "--whole-file", scratch_path("kept/blobs/sha256-" MODEL_DIGEST));
    assert_int_equal(run.code, 0);
    assert_non_null(strstr(run.out, MODEL_DIGEST));
    RUN(&run, "quantize", SAMPLE, "-t", "Q4_K_M", "-o", model, "--force");
    assert_int_equal(run.code, 0);
}

static void
a_modelfile_tells_what_it_cannot_hold(void **unused)
{
    char expected[SCRATCH_PATH + 64];

    (void)unused;
    snprintf(expected, sizeof expected, "FROM %s\n", model);
    RUN(&run, "install", "--modelfile", model);
    assert_int_equal(run.code, 0);
    assert_string_equal(run.out, expected);
    assert_string_equal(run.err, "");
    scratch_write_text("LICENSE", "zero\xE2\x80\x8Bwidth\n");
    RUN(&run, "install", "--modelfile", "--license", scratch_path("LICENSE"), model);
    assert_int_equal(run.code, 0);
    assert_non_null(strstr(run.err, "drops 1 characters"));
    scratch_write_text("LICENSE", "a \"\"\"\nb\n");
    RUN(&run, "install", "--modelfile", "--license", scratch_path("LICENSE"), model);
    assert_int_equal(run.code, 3);
    RUN(&run, "install", model);
    assert_int_equal(run.code, 2);
}

/* --- the others -------------------------------------------------------------------------------------------------- */

static void
lm_studio_finds_it_two_folders_deep(void **unused)
{
    (void)unused;
    RUN(&run, "install", "--to", "lmstudio", "--name", "me/tiny", model);
    assert_int_equal(run.code, 0);
    assert_same_file("home/.lmstudio/models/me/tiny/tinystories-3m-Q4_K_M.gguf");
    scratch_write_text("home/.lmstudio-home-pointer", scratch_path("elsewhere"));
    RUN(&run, "install", "--to", "lmstudio", "--name", "me/tiny", model);
    assert_int_equal(run.code, 0);
    assert_same_file("elsewhere/models/me/tiny/tinystories-3m-Q4_K_M.gguf");
}

static void
the_cache_of_the_hub_names_its_snapshot_last(void **unused)
{
    static const char folder[] = "home/.cache/huggingface/hub/models--me--tiny";
    char path[SCRATCH_PATH], commit[64] = "", target[256] = "";
    size_t size;
    unsigned char *ref;

    (void)unused;
    RUN(&run, "install", "--to", "huggingface", "--name", "me/tiny", model);
    assert_int_equal(run.code, 0);
    snprintf(path, sizeof path, "%s/refs/main", folder);
    ref = scratch_read(scratch_path(path), &size);
    assert_int_equal(size, 40);
    memcpy(commit, ref, 40);
    free(ref);
    snprintf(path, sizeof path, "%s/snapshots/%s/tinystories-3m-Q4_K_M.gguf", folder, commit);
    assert_same_file(path);
    assert_true(readlink(scratch_path(path), target, sizeof target - 1) > 0);
    assert_string_equal(target, "../../blobs/" MODEL_DIGEST);
    RUN(&run, "install", "--to", "huggingface", "--name", "me/tiny", model);
    assert_int_equal(run.code, 2);
    setenv("HF_HOME", scratch_path("hf"), 1);
    RUN(&run, "install", "--to", "huggingface", "--name", "me/tiny", model);
    unsetenv("HF_HOME");
    assert_int_equal(run.code, 0);
    assert_true(scratch_exists(scratch_path("hf/hub/models--me--tiny/refs/main")));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_store_is_the_one_that_ollama_writes),
        cmocka_unit_test(parameters_and_license_are_layers_in_ollamas_order),
        cmocka_unit_test(a_model_of_the_name_is_replaced_only_with_force),
        cmocka_unit_test(names_that_lead_out_of_the_store_are_refused),
        cmocka_unit_test(a_full_disk_leaves_no_manifest),
        cmocka_unit_test(an_edit_leaves_a_model_that_was_installed_as_it_is),
        cmocka_unit_test(a_modelfile_tells_what_it_cannot_hold),
        cmocka_unit_test(lm_studio_finds_it_two_folders_deep),
        cmocka_unit_test(the_cache_of_the_hub_names_its_snapshot_last),
    };

    return cmocka_run_group_tests(tests, setup, scratch_teardown);
}
