/*
 * Models whose hyperparameters lie: each key of each architecture's small checkpoint becomes 0, 1, odd, huge, negative,
 * infinite or not a number. Opening such a model and running a chunk of it ends in a sentence, or with numbers: never
 * otherwise, which is left to the sanitizers. 'test_hostile_models all NAME...' tries all values, not a choice of them.
 */
#include "formats/base/pool.h"
#include "formats/models/hparams.h"
#include "formats/models/source.h"
#include "golden_checkpoint.h"
#include "scratch.h"
#include "testing.h"
#include "verify/run/forward.h"
#include "verify/run/model.h"

#include <math.h>
#include <xxhash.h>

#define GOLDENS TEST_DATA "/golden/families"
#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define TOKENS 12

static char **only;
static bool all_values;
static struct nb_pool *pool;

static const double values[] = {
    0,   1,    2,         3,        5,   17, 64, 1e6, 2147483647.0, 4294967295.0, -1.0, -2147483648.0,
    0.5, 1e30, -INFINITY, INFINITY, NAN, 8,  16, 32
};

/* Sets KEY as a number of the type of HPARAM's row. */
static void
set(struct nb_metadata *meta, enum nb_hparam hparam, const char *key, double value)
{
    const enum nb_hparam_type type = nb_hparam_info(hparam)->type;

    if (type == NB_HP_TYPE_F32)
        nb_meta_set_f32(meta, key, (float)value);
    else if (type == NB_HP_TYPE_BOOL)
        nb_meta_set_bool(meta, key, value != 0);
    else
        nb_meta_set_u32(meta, key, value >= 0 && value <= 4294967295.0 ? (uint32_t)value : (uint32_t)(int32_t)-7);
}

/* Opens the model, and runs it if that can be. */
static void
try_to_run(const struct nb_source *source, const char *what)
{
    static const int32_t tokens[TOKENS] = { 1, 5, 9, 200, 31, 7, 7, 7, 400, 2, 64, 3 };
    struct nb_model model;
    struct nb_forward *forward;
    struct nb_error err = { .message = "" };
    const float *hidden;
    enum nb_status status = nb_model_open(&model, source, &err);
    float *logits;

    if (status == NB_OK) {
        assert_int_equal(nb_forward_new(&forward, pool, 1, TOKENS, &err), NB_OK);
        status = nb_forward_run(forward, &model, tokens, -1, 1, &hidden, &err);
        logits = malloc((size_t)nb_model_vocab(&model) * sizeof *logits);
        assert_non_null(logits);
        if (status == NB_OK)
            status = nb_forward_logits(forward, &model, hidden, 1, logits, &err);
        free(logits);
        nb_forward_free(forward);
        nb_model_close(&model);
    }
    if (status != NB_OK && (!nb_status_is(status, NB_INPUT) || strlen(err.message) == 0) && status != NB_NO_MEMORY)
        fail_msg("%s: status %d, '%s'", what, status, err.message);
}

static void
try_values(struct nb_source *source, const char *name, enum nb_hparam hparam)
{
    const char *arch = nb_meta_get_string(&source->meta, "general.architecture");
    const struct nb_kv *found;
    struct nb_kv old = { 0 };
    char key[128], what[512];
    size_t chosen;

    nb_hparam_key(hparam, arch, key);
    snprintf(what, sizeof what, "%s %s", name, key);
    chosen = (size_t)XXH64(what, strlen(what), 0) % COUNT(values);
    found = nb_meta_find(&source->meta, key);
    if (found != NULL)
        old = *found;
    for (size_t i = 0; i < COUNT(values); i++) {
        if (!all_values && i != chosen)
            continue;
        set(&source->meta, hparam, key, values[i]);
        snprintf(what, sizeof what, "%s with %s of %g", name, key, values[i]);
        try_to_run(source, what);
    }
    if (old.key != NULL)
        nb_meta_set(&source->meta, key, old.type, old.element, old.count, old.data, old.size);
    else
        nb_meta_remove(&source->meta, key);
}

static void
try_model(const char *name)
{
    char path[SCRATCH_PATH];
    struct nb_source_options options = { 0 };
    struct nb_source source;
    struct nb_error err;
    json_t *golden;

    snprintf(path, sizeof path, GOLDENS "/%s.json.gz", name);
    golden = golden_read(path);
    golden_checkpoint(golden, "hostile");
    options.pre_tokenizer = json_string_value(json_object_get(golden, "pre"));
    if (nb_source_open(&source, scratch_path("hostile"), &options, &err) != NB_OK)
        fail_msg("%s: %s", name, err.message);
    json_decref(golden);
    if (nb_arch_by_name(nb_meta_get_string(&source.meta, "general.architecture"))->n_blocks > 0)
        for (unsigned i = 0; i < NB_HPARAMS; i++)
            if (nb_hparam_info((enum nb_hparam)i)->key[0] != '\0' &&
                nb_hparam_info((enum nb_hparam)i)->type != NB_HP_TYPE_TEXT)
                try_values(&source, name, (enum nb_hparam)i);
    nb_source_close(&source);
    scratch_remove("hostile");
}

static void
hyperparameters_that_lie_end_in_a_sentence(void **unused)
{
    (void)unused;
    golden_each(GOLDENS, only, try_model);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(hyperparameters_that_lie_end_in_a_sentence) };
    struct nb_error err;
    int failed;

    (void)argc;
    all_values = argv[1] != NULL && strcmp(argv[1], "all") == 0;
    only = argv + 1 + all_values;
    if (nb_pool_new(&pool, 1, &err) != NB_OK)
        return 1;
    failed = cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
    nb_pool_free(pool);
    return failed;
}
