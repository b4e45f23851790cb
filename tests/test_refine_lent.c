/*
 * Models whose layers use what earlier ones leave: shared keys and values, several streams, embeddings by layer, the choice of
 * an indexer. They are refined and measured step by step as others are.
 */
#include "calib/effects.h"
#include "calib/refine.h"
#include "formats/models/source.h"
#include "golden_checkpoint.h"
#include "scratch.h"
#include "splitmix.h"
#include "testing.h"
#include "verify/drift/drift.h"
#include "verify/drift/drift_stats.h"
#include "verify/run/forward.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CHUNK 64
#define CHUNKS 30
#define TOKENS (CHUNK * CHUNKS)
#define EFFECT_CHUNKS 8 /* of them all positions are scored whose effects are measured */

static struct nb_error err;
static struct run run;
static const char *base; /* the model that is quantized */

/* --- models ------------------------------------------------------------------------------------------------------ */

/* The golden NAME as the folder "golden" and the F32 file "base.gguf". */
static void
make_golden(const char *name)
{
    json_t *golden = golden_by_name(name);
    const char *pre = json_string_value(json_object_get(golden, "pre"));

    scratch_remove("golden");
    golden_checkpoint(golden, "golden");
    RUN(&run, "quantize", "golden", "-t", "f32", "-o", "base.gguf", "--force", "--allow-other-tokens", "-q",
        "--pre-tokenizer", pre == NULL ? "default" : pre);
    if (run.code != 0)
        fail_msg("%s: %s", name, run.err);
    json_decref(golden);
}

/* "base.gguf" with the indexer of its first layer alone, whose choice then holds in the others. */
static void
share_the_indexer(void)
{
    struct gguf_maker g = { .count = 0 };
    struct nb_view_reader reader = { 0 };
    struct nb_source source;

    assert_int_equal(nb_source_open(&source, scratch_path("base.gguf"), NULL, &err), NB_OK);
    for (size_t i = 0; i < source.n_tensors; i++) {
        const struct nb_view *t = &source.tensors[i];
        float *to;

        if (strstr(t->name, ".indexer.") != NULL && strncmp(t->name, "blk.0.", 6) != 0)
            continue;
        to = make_tensor(&g, t->name, t->ne[0], t->n_dims > 1 ? t->ne[1] : 0, t->ne[2]);
        assert_int_equal(nb_view_rows(t, 0, t->elements / t->ne[0], to, &reader, &err), NB_OK);
    }
    nb_view_reader_free(&reader);
    make_file(&g, &source.meta, "shared.gguf");
    nb_source_close(&source);
    assert_int_equal(rename(scratch_path("shared.gguf"), scratch_path("base.gguf")), 0);
}

struct opened {
    struct nb_source source;
    struct nb_model model;
};

static void
open_model(struct opened *o, const char *name)
{
    if (nb_source_open(&o->source, scratch_path(name), NULL, &err) != NB_OK ||
        nb_model_open(&o->model, &o->source, &err) != NB_OK)
        fail_msg("%s", err.message);
}

static void
close_model(struct opened *o)
{
    nb_model_close(&o->model);
    nb_source_close(&o->source);
}

/* --- refining ---------------------------------------------------------------------------------------------------- */

static void
make_tokens(uint64_t seed, uint32_t vocab, int32_t tokens[TOKENS])
{
    const uint32_t some = vocab < 256 ? vocab : 256;

    for (size_t i = 0; i < TOKENS; i++)
        tokens[i] = (int32_t)(splitmix(&seed) % some);
}

struct stopping {
    const char *where; /* the matrix after which it stops; NULL: nowhere */
    volatile sig_atomic_t stop;
};

/* Until a stop is seen, which is looked for ten times a second. */
static void
stop_there(void *context, const char *name, const struct nb_refine_result *result)
{
    const struct timespec a_while = { 0, 150000000 };
    struct stopping *s = context;

    (void)result;
    if (s->where == NULL || strncmp(name, s->where, strlen(s->where)) != 0)
        return;
    s->stop = 1;
    nanosleep(&a_while, NULL);
}

/* Refines NAME until it is at WHERE. */
static enum nb_status
refine_until(const char *where, const char *name, unsigned threads, bool in_files, struct nb_refine_summary *summary)
{
    char state[SCRATCH_PATH], folder[SCRATCH_PATH];
    struct stopping stopping = { where, 0 };
    const struct nb_refine_options o = { .chunk_tokens = CHUNK,
                                         .threads = threads,
                                         .bos = -1,
                                         .state = state,
                                         .scratch = in_files ? folder : NULL,
                                         .refined = stop_there,
                                         .context = &stopping,
                                         .stop = &stopping.stop };
    static int32_t tokens[TOKENS];
    struct opened original;
    enum nb_status status;

    snprintf(state, sizeof state, "%s", scratch_path("lent.state"));
    snprintf(folder, sizeof folder, "%s", scratch_path("streams"));
    open_model(&original, base);
    make_tokens(1, nb_model_vocab(&original.model), tokens);
    status = nb_refine_file(&original.model, scratch_path(name), tokens, TOKENS, &o, summary, &err);
    close_model(&original);
    return status;
}

/* The base quantized, as the file or the folder NAME. */
static void
make_start(const char *name)
{
    const bool is_file = strcmp(base, "base.gguf") == 0;

    RUN(&run, "quantize", base, is_file ? "--pure" : "--format=mlx", "-t", is_file ? "Q4_0" : "4bit", "-o", name,
        "--force");
    if (run.code != 0)
        fail_msg("%s", run.err);
}

/* Of the file NAME, or of the weights in the folder. */
static uint64_t
hash_of(const char *name)
{
    char path[SCRATCH_PATH];

    snprintf(path, sizeof path, "%s%s", name, strcmp(base, "base.gguf") == 0 ? "" : "/model.safetensors");
    return scratch_hash(scratch_path(path));
}

/* The mean KL divergence of NAME from the base, on chunks by which nothing was refined. */
static double
divergence(const char *name, size_t chunks)
{
    const struct nb_drift_options options = { .chunk_tokens = CHUNK, .bos = -1 };
    static int32_t tokens[TOKENS];
    struct opened original, other;
    const struct nb_model *models[2] = { &original.model, &other.model };
    struct nb_drift_stats stats;
    struct nb_drift drift;

    open_model(&original, base);
    open_model(&other, name);
    make_tokens(2, nb_model_vocab(&original.model), tokens);
    if (nb_drift_measure(models, 2, tokens, chunks * CHUNK, &options, &drift, &err) != NB_OK ||
        nb_drift_stats(&drift, 1, drift.scored, &stats, &err) != NB_OK)
        fail_msg("%s", err.message);
    nb_drift_free(&drift);
    close_model(&other);
    close_model(&original);
    return stats.kld.value;
}

/* Stopped at WHERE, and taken up again by other threads, with what is lent in a file. */
static void
refine_in_parts(const char *name, const char *where)
{
    struct nb_refine_summary summary;

    scratch_folder("streams");
    scratch_remove("parts");
    make_start("parts");
    if (refine_until(where, "parts", 1, true, &summary) != NB_INTERRUPTED)
        fail_msg("%s was not stopped at %s", name, where);
    assert_true(scratch_exists(scratch_path("lent.state")));
    if (refine_until(NULL, "parts", 2, true, &summary) != NB_OK)
        fail_msg("%s, stopped at %s: %s", name, where, err.message);
    if (hash_of("parts") != hash_of("whole"))
        fail_msg("%s: stopped at %s it became another file", name, where);
    assert_false(scratch_exists(scratch_path("lent.state")));
    scratch_remove("streams");
}

/* What is refined is nearer to the base BASE, and has the same bytes if that is stopped in any of the PLACES. */
static void
refine_base(const char *name, const char *from, const char *const *places)
{
    struct nb_refine_summary summary;
    double before, after;

    base = from;
    scratch_remove("start");
    scratch_remove("whole");
    make_start("start");
    make_start("whole");
    if (refine_until(NULL, "whole", 2, false, &summary) != NB_OK)
        fail_msg("%s: %s", name, err.message);
    before = divergence("start", CHUNKS);
    after = divergence("whole", CHUNKS);
    if (!(summary.refined > summary.matrices / 2 && summary.kld < summary.kld_before && after < 0.9 * before))
        fail_msg("%s: %zu of %zu matrices, %g became %g, on other tokens %g became %g", name, summary.refined,
                 summary.matrices, summary.kld_before, summary.kld, before, after);
    for (; *places != NULL; places++)
        refine_in_parts(name, *places);
}

/* --- effects ----------------------------------------------------------------------------------------------------- */

/* What is measured of MATRIX step by step is what a file with its blocks in "start" has in a whole pass. */
static void
measure_effect(const char *name, const char *matrix)
{
    const struct nb_effects_options o = { .chunk_tokens = CHUNK, .chunks = EFFECT_CHUNKS, .bos = -1 };
    static int32_t tokens[TOKENS];
    struct opened original, start;
    struct nb_effect *effects;
    char type[NB_MAX_NAME + 8];
    double measured = 0, whole;
    size_t n;

    open_model(&original, base);
    open_model(&start, "start");
    make_tokens(2, nb_model_vocab(&original.model), tokens);
    n = nb_effects_count(&original.model);
    effects = calloc(n, sizeof *effects);
    assert_non_null(effects);
    if (nb_effects_measure(&original.model, &start.source, tokens, EFFECT_CHUNKS * CHUNK, &o, effects, &err) != NB_OK)
        fail_msg("%s: %s", name, err.message);
    for (size_t i = 0; i < n; i++)
        if (effects[i].name != NULL && strncmp(effects[i].name, matrix, strlen(matrix)) == 0)
            measured += effects[i].kld;
    free(effects);
    close_model(&start);
    close_model(&original);
    snprintf(type, sizeof type, "%s=q4_0", matrix);
    RUN(&run, "quantize", "base.gguf", "-t", "f32", "--tensor-type", type, "-o", "one.gguf", "--force");
    if (run.code != 0)
        fail_msg("%s", run.err);
    whole = divergence("one.gguf", EFFECT_CHUNKS);
    if (!(whole > 0 && fabs(measured - whole) < 0.1 * whole))
        fail_msg("%s: %s has %g step by step, %g in a whole pass", name, matrix, measured, whole);
}

/* --- families ---------------------------------------------------------------------------------------------------- */

/* Layers 4 and 5 have the keys and values of others; all have embeddings, and several streams. */
static void
gemma3n_is_refined_and_measured(void **unused)
{
    static const char *const places[] = { "blk.3.proj", "blk.5.attn_q", NULL };

    (void)unused;
    make_golden("gemma3n");
    refine_base("gemma3n", "base.gguf", places);
    measure_effect("gemma3n", "blk.2.attn_v");
    measure_effect("gemma3n", "blk.1.inp_gate");
}

/* Layers 3 to 5 have the keys and values of others; all have embeddings. */
static void
gemma4_is_refined_and_measured(void **unused)
{
    static const char *const places[] = { "blk.2.attn_v", "blk.4.attn_q", NULL };

    (void)unused;
    make_golden("gemma4_e");
    refine_base("gemma4_e", "base.gguf", places);
    measure_effect("gemma4_e", "blk.2.attn_v");
    measure_effect("gemma4_e", "blk.1.attn_k");
}

static void
layers_that_share_an_indexer_are_refined_and_measured(void **unused)
{
    static const char *const places[] = { "blk.2.attn_q", NULL };

    (void)unused;
    make_golden("glm5");
    share_the_indexer();
    refine_base("glm5", "base.gguf", places);
    measure_effect("glm5", "blk.0.indexer.attn_k");
}

/* In these folders what chooses among the streams is quantized, too, which two blocks of a layer use. */
static void
folders_are_refined(void **unused)
{
    static const char *const places[] = { "blk.1.attn_k", NULL };

    (void)unused;
    make_golden("gemma3n");
    refine_base("gemma3n", "golden", places);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gemma3n_is_refined_and_measured),
        cmocka_unit_test(gemma4_is_refined_and_measured),
        cmocka_unit_test(folders_are_refined),
        cmocka_unit_test(layers_that_share_an_indexer_are_refined_and_measured),
    };

    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
