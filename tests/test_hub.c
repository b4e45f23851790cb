/* Names of models in the cache of Hugging Face's hub are sources, where there is nothing of that name here. */
#include "scratch.h"
#include "testing.h"

#include <sys/stat.h>
#include <unistd.h>

#define SAMPLE SAMPLE_DATA "/tinystories-3m"
#define COMMIT "0123456789abcdef0123456789abcdef01234567"

static struct run run;

/* A checkpoint in the cache, as the hub's own library lays it out: a snapshot of links to blobs. */
static void
put_in_cache(const char *folder, const char *commit)
{
    static const char *const files[] = { "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
                                         "generation_config.json" };
    char path[SCRATCH_PATH], target[64];

    snprintf(path, sizeof path, "cache/%s", folder);
    scratch_folder(path);
    snprintf(path, sizeof path, "cache/%s/blobs", folder);
    scratch_folder(path);
    snprintf(path, sizeof path, "cache/%s/refs", folder);
    scratch_folder(path);
    snprintf(path, sizeof path, "cache/%s/refs/main", folder);
    scratch_write_text(path, commit);
    snprintf(path, sizeof path, "cache/%s/snapshots", folder);
    scratch_folder(path);
    snprintf(path, sizeof path, "cache/%s/snapshots/" COMMIT, folder);
    scratch_folder(path);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        unsigned char *bytes;
        size_t size;

        snprintf(path, sizeof path, SAMPLE "/%s", files[i]);
        bytes = scratch_read(path, &size);
        snprintf(path, sizeof path, "cache/%s/blobs/%zu", folder, i);
        scratch_write(path, bytes, size);
        free(bytes);
        snprintf(path, sizeof path, "cache/%s/snapshots/" COMMIT "/%s", folder, files[i]);
        snprintf(target, sizeof target, "../../blobs/%zu", i);
        assert_int_equal(symlink(target, scratch_path(path)), 0);
    }
}

static int
setup(void **state)
{
    if (scratch_setup(state) != 0)
        return -1;
    setenv("HF_HUB_CACHE", scratch_path("cache"), 1);
    scratch_folder("cache");
    put_in_cache("models--me--tiny", COMMIT);
    return chdir(scratch_path(""));
}

static void
a_name_in_the_cache_is_its_snapshot(void **unused)
{
    char by_name[SCRATCH_PATH], by_path[SCRATCH_PATH];

    (void)unused;
    snprintf(by_name, sizeof by_name, "%s", scratch_path("by-name.gguf"));
    snprintf(by_path, sizeof by_path, "%s", scratch_path("by-path.gguf"));
    RUN(&run, "quantize", "me/tiny", "-t", "Q4_0", "-o", by_name);
    if (run.code != 0)
        fail_msg("exit code %d: %s", run.code, run.err);
    RUN(&run, "quantize", scratch_path("cache/models--me--tiny/snapshots/" COMMIT), "-t", "Q4_0", "-o", by_path);
    assert_int_equal(run.code, 0);
    assert_true(scratch_hash(by_name) == scratch_hash(by_path));
    RUN(&run, "diff", "me/tiny", by_name, "--no-tensors");
    assert_true(run.code <= 1);
    RUN(&run, "check", "me/tiny");
    assert_int_equal(run.code, 0);
    RUN(&run, "tokenize", "-p", "once", "me/tiny");
    assert_int_equal(run.code, 0);
}

static void
outputs_are_called_by_the_models_name(void **unused)
{
    (void)unused;
    RUN(&run, "quantize", "me/tiny", "--format", "mlx", "--dry-run", "--json");
    assert_int_equal(run.code, 0);
    assert_non_null(strstr(run.out, "\"output\":\"tiny-4bit\""));
    RUN(&run, "dequantize", "me/tiny", "--dry-run", "--json");
    assert_int_equal(run.code, 0);
    assert_non_null(strstr(run.out, "\"output\":\"tiny-bf16\""));
}

static void
what_is_here_under_the_name_wins(void **unused)
{
    (void)unused;
    mkdir("me", 0777);
    mkdir("me/tiny", 0777);
    RUN(&run, "quantize", "me/tiny", "-o", scratch_path("none.gguf"));
    assert_int_equal(run.code, 3);
    assert_non_null(strstr(run.err, "me/tiny"));
    assert_null(strstr(run.err, "cache"));
    rmdir("me/tiny");
    rmdir("me");
}

static void
a_name_that_is_not_in_the_cache_is_said_to_be_in_neither_place(void **unused)
{
    static const char *const names[] = { "me/other", "HuggingFaceTB/SmolLM2-135M" };

    (void)unused;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        RUN(&run, "inspect", names[i]);
        if (run.code != 3 || strstr(run.err, "nibble downloads nothing") == NULL || strstr(run.err, names[i]) == NULL)
            fail_msg("%s: exit code %d: %s", names[i], run.code, run.err);
    }
    RUN(&run, "inspect", "me/other", "--json");
    assert_non_null(strstr(run.out, "\"not_found\""));
}

/* refs/main is a file like others, and may say anything. */
static void
a_reference_that_leads_elsewhere_is_not_followed(void **unused)
{
    static const char *const commits[] = { "", "../../../etc", COMMIT "0", "ffffffffffffffffffffffffffffffffffffffff",
                                           "main\n" };

    (void)unused;
    put_in_cache("models--me--odd", COMMIT);
    for (size_t i = 0; i < sizeof commits / sizeof commits[0]; i++) {
        scratch_write_text("cache/models--me--odd/refs/main", commits[i]);
        RUN(&run, "inspect", "me/odd");
        if (run.code != 3 || strstr(run.err, "has no model of this name") == NULL)
            fail_msg("'%s': exit code %d: %s", commits[i], run.code, run.err);
    }
    scratch_write_text("cache/models--me--odd/refs/main", COMMIT "\n");
    RUN(&run, "inspect", "me/odd");
    assert_int_equal(run.code, 0);
}

static void
a_single_gguf_file_is_taken_and_several_are_named(void **unused)
{
    static const char folder[] = "cache/models--me--gguf/snapshots/" COMMIT;
    char one[SCRATCH_PATH], other[SCRATCH_PATH];

    (void)unused;
    put_in_cache("models--me--gguf", COMMIT);
    snprintf(one, sizeof one, "%s/config.json", folder);
    assert_int_equal(unlink(scratch_path(one)), 0);
    snprintf(one, sizeof one, "%s/a-Q4_0.gguf", scratch_path(folder));
    snprintf(other, sizeof other, "%s/b-Q8_0.gguf", scratch_path(folder));
    RUN(&run, "quantize", SAMPLE, "-t", "Q4_0", "-o", one);
    assert_int_equal(run.code, 0);
    RUN(&run, "inspect", "me/gguf");
    assert_int_equal(run.code, 0);
    RUN(&run, "quantize", SAMPLE, "-t", "Q8_0", "-o", other);
    assert_int_equal(run.code, 0);
    RUN(&run, "inspect", "me/gguf");
    assert_int_equal(run.code, 2);
    assert_non_null(strstr(run.err, "has 2 GGUF files"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_in_the_cache_is_its_snapshot),
        cmocka_unit_test(outputs_are_called_by_the_models_name),
        cmocka_unit_test(what_is_here_under_the_name_wins),
        cmocka_unit_test(a_name_that_is_not_in_the_cache_is_said_to_be_in_neither_place),
        cmocka_unit_test(a_reference_that_leads_elsewhere_is_not_followed),
        cmocka_unit_test(a_single_gguf_file_is_taken_and_several_are_named),
    };

    return cmocka_run_group_tests(tests, setup, scratch_teardown);
}
