/*
 * Hyperparameters that a file may claim: for every family that can be run, each number is replaced by others. The model is
 * refused by a sentence, or it runs; reads and writes beyond its tensors and its memory are left to the address sanitizer.
 * 'test_hostile_numbers NAME...' tries only those goldens.
 */
#include "formats/base/pool.h"
#include "formats/base/text.h"
#include "formats/models/source.h"
#include "golden_checkpoint.h"
#include "scratch.h"
#include "testing.h"
#include "verify/run/forward.h"
#include "verify/run/model.h"

#include <dirent.h>

#define LOGITS TEST_DATA "/golden/logits"
#define TOKENS 6

static char **only;
static struct nb_pool *pool;

struct tally {
    size_t refused, ran;
};

/* Runs a text of TOKENS tokens, the last alone. What it computes may be NaN, which is refused, too. */
static enum nb_status
run_text(const struct nb_model *m, struct nb_error *err)
{
    static const int32_t ids[TOKENS] = { 1, 5, 3, 200, 7, 400 };
    struct nb_forward *forward;
    const float *hidden;
    enum nb_status status = nb_forward_new_text(&forward, pool, TOKENS, TOKENS, err);

    assert_int_equal(status, NB_OK);
    status = nb_forward_continue(forward, m, ids, TOKENS - 1, &hidden, err);
    if (status == NB_OK)
        status = nb_forward_continue(forward, m, ids + TOKENS - 1, 1, &hidden, err);
    nb_forward_free(forward);
    return status;
}

static void
try_model(const struct nb_source *source, const char *key, uint32_t value, struct tally *tally)
{
    struct nb_model m;
    struct nb_error err = { .message = "" };
    enum nb_status status = nb_model_open(&m, source, &err);

    if (status == NB_OK) {
        status = run_text(&m, &err);
        nb_model_close(&m);
    }
    if (status != NB_OK && strlen(err.message) < 10)
        fail_msg("%s = %u: no sentence, but '%s'", key, (unsigned)value, err.message);
    tally->refused += status != NB_OK;
    tally->ran += status == NB_OK;
}

/* Sets KEY to VALUE, as a number of TYPE, or of the elements of an array. */
static void
set_number(struct nb_metadata *meta, const char *key, enum nb_kv_type type, uint32_t value)
{
    if (type == NB_KV_F32)
        nb_meta_set_f32(meta, key, (float)value);
    else if (type == NB_KV_BOOL)
        nb_meta_set_bool(meta, key, value != 0);
    else
        nb_meta_set_u32(meta, key, value);
}

/* Tries other values of the key number I, which is put back. */
static void
try_key(struct nb_source *source, size_t i, struct tally *tally)
{
    static const uint32_t values[] = { 0, 1, 2, 3, 5, 24, 4096, 0x7FFFFFFF };
    const struct nb_kv old = source->meta.items[i];

    for (size_t v = 0; v < sizeof values / sizeof values[0]; v++) {
        set_number(&source->meta, old.key, old.type == NB_KV_ARRAY ? old.element : old.type, values[v]);
        try_model(source, old.key, values[v], tally);
    }
    source->meta.items[i] = old;
}

static void
try_golden(const char *name, struct tally *tally)
{
    struct nb_source source;
    struct nb_source_options options = { 0 };
    struct nb_error err;
    const char *arch;
    json_t *golden = golden_by_name(name);

    golden_checkpoint(golden, "golden");
    options.pre_tokenizer = json_string_value(json_object_get(golden, "pre"));
    if (nb_source_open(&source, scratch_path("golden"), &options, &err) != NB_OK)
        fail_msg("%s: %s", name, err.message);
    json_decref(golden);
    arch = nb_meta_get_string(&source.meta, "general.architecture");
    for (size_t i = 0; i < source.meta.count; i++) {
        const struct nb_kv *kv = &source.meta.items[i];

        if (strncmp(kv->key, arch, strlen(arch)) == 0 && kv->type != NB_KV_STRING)
            try_key(&source, i, tally);
    }
    nb_source_close(&source);
    scratch_remove("golden");
}

static bool
is_wanted(const char *name)
{
    for (char **o = only; *o != NULL; o++)
        if (strcmp(*o, name) == 0)
            return true;
    return *only == NULL;
}

static void
hostile_numbers_are_refused_or_run(void **unused)
{
    static const char ending[] = ".json.gz";
    struct dirent **entries;
    const int n = scandir(LOGITS, &entries, NULL, alphasort);
    struct tally tally = { 0 };

    (void)unused;
    assert_true(n > 0);
    for (int i = 0; i < n; i++) {
        char name[256];

        snprintf(name, sizeof name, "%s", entries[i]->d_name);
        if (nb_ends_with(name, ending)) {
            name[strlen(name) - strlen(ending)] = '\0';
            if (is_wanted(name))
                try_golden(name, &tally);
        }
        free(entries[i]);
    }
    free(entries);
    assert_true(tally.refused > 0 && tally.ran > 0);
    print_message("%zu refused, %zu ran\n", tally.refused, tally.ran);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(hostile_numbers_are_refused_or_run) };
    struct nb_error err;
    int failed;

    (void)argc;
    only = argv + 1;
    if (nb_pool_new(&pool, 2, &err) != NB_OK)
        return 1;
    failed = cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
    nb_pool_free(pool);
    return failed;
}
