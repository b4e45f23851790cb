/*
 * The way back: what 'nibble dequantize' writes is a checkpoint that gives the same GGUF file again. Of every golden of
 * tests/golden/families whose family can be written back, tensors and keys are compared; of the others it is known that
 * they are refused. 'test_dequantize NAME...' looks at only those.
 */
#include "formats/base/json.h"
#include "formats/base/text.h"
#include "formats/elements/decode.h"
#include "formats/models/family.h"
#include "formats/models/reverse/reverse.h"
#include "formats/models/stored_tensors.h"
#include "formats/models/view.h"
#include "formats/safetensors/checkpoint.h"
#include "golden_checkpoint.h"
#include "scratch.h"
#include "splitmix.h"
#include "testing.h"

#include <math.h>
#include <unistd.h>

#define GOLDENS TEST_DATA "/golden/families"
#define SAMPLE SAMPLE_DATA "/tinystories-3m"
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* Goldens of architectures, or with tensors, for which no checkpoint is written. */
static const char *const refused[] = {
    "apertus",     "bitnet", "dbrx",       "deepseek4",    "falcon_new",        "hunyuan_dense", "laguna",
    "llama_nvfp4", "mimo2",  "minimax_m3", "muse_glimmer", "nemotron_h_puzzle", "qwen4exp",      "step35",
};

/* One with weights in blocks, of which floats come again. */
static const char blocks[] = "gptoss_mxfp4";

/* Goldens of classes with vision parts, of which the class of the text model comes back: with the same tensors. */
static const char *const texts[] = { "qwen35" };

static char **only;
static struct run run;
static size_t written_back;

/* Whether NAME is one of the COUNT NAMES. */
static bool
is_in(const char *const *names, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

static bool
is_refused(const char *name)
{
    return is_in(refused, COUNT(refused), name);
}

/* --- comparing ------------------------------------------------------------------------------------------------- */

/* All elements of V as floats, from malloc. */
static float *
floats_of(const struct nb_view *v)
{
    struct nb_view_reader reader = { 0 };
    float *x = malloc((size_t)(v->elements + 1) * sizeof *x);
    struct nb_error err;

    assert_non_null(x);
    if (nb_view_rows(v, 0, v->elements / v->ne[0], x, &reader, &err) != NB_OK)
        fail_msg("%s", err.message);
    nb_view_reader_free(&reader);
    return x;
}

static const struct nb_view *
find(const struct nb_source *source, const char *name)
{
    for (size_t i = 0; i < source->n_tensors; i++)
        if (strcmp(source->tensors[i].name, name) == 0)
            return &source->tensors[i];
    return NULL;
}

/* TYPES: the types, too, must be the same. */
static void
assert_same_tensors(const char *what, const struct nb_source *a, const struct nb_source *b, bool types)
{
    if (a->n_tensors != b->n_tensors)
        fail_msg("%s: %zu tensors, but %zu", what, b->n_tensors, a->n_tensors);
    for (size_t i = 0; i < a->n_tensors; i++) {
        const struct nb_view *x = &a->tensors[i], *y = find(b, x->name);
        float *p, *q;

        if (y == NULL || x->n_dims != y->n_dims || memcmp(x->ne, y->ne, sizeof x->ne) != 0 ||
            (types && x->type != y->type))
            fail_msg("%s: tensor '%s' is gone, or has another shape or type", what, x->name);
        p = floats_of(x);
        q = floats_of(y);
        if (memcmp(p, q, (size_t)x->elements * sizeof *p) != 0)
            fail_msg("%s: tensor '%s' has other values", what, x->name);
        free(p);
        free(q);
    }
}

static bool
begins_with(const char *text, const char *beginning)
{
    return strncmp(text, beginning, strlen(beginning)) == 0;
}

/* The keys in A that are no general ones must be the same in B. */
static void
assert_same_keys(const char *what, const struct nb_metadata *a, const struct nb_metadata *b)
{
    for (size_t i = 0; i < a->count; i++) {
        const struct nb_kv *x = &a->items[i], *y = nb_meta_find(b, x->key);

        if (begins_with(x->key, "general.") && strcmp(x->key, "general.architecture") != 0)
            continue;
        if (y == NULL || x->type != y->type || x->size != y->size || memcmp(x->data, y->data, (size_t)x->size) != 0)
            fail_msg("%s: key '%s' is gone, or has another value", what, x->key);
    }
}

static void
assert_same_files(const char *what, const char *one, const char *other)
{
    struct nb_source a, b;

    scratch_open_source(&a, one);
    scratch_open_source(&b, other);
    assert_same_tensors(what, &a, &b, strcmp(what, blocks) != 0);
    assert_same_keys(what, &a.meta, &b.meta);
    assert_same_keys(what, &b.meta, &a.meta);
    nb_source_close(&a);
    nb_source_close(&b);
}

static void
assert_same_sources(const char *what, const char *one, const char *other)
{
    struct nb_source a, b;

    scratch_open_source(&a, one);
    scratch_open_source(&b, other);
    assert_same_tensors(what, &a, &b, true);
    nb_source_close(&a);
    nb_source_close(&b);
}

/* --- families ---------------------------------------------------------------------------------------------------- */

/* Whether X and Y, COUNT logarithms of STEP's precision, are the same or neighbours, whose exponentials are the same. */
static bool
are_neighbours(const float *x, const float *y, uint64_t count, float step)
{
    for (uint64_t i = 0; i < count; i++)
        if (!(fabsf(x[i] - y[i]) <= step * fmaxf(1, fabsf(x[i]))))
            return false;
    return true;
}

/* Whether NAME, of a file of GOLDEN's class, is OWN, or is it in a wrapper of the text model. */
static bool
is_same_name(const char *name, const char *own)
{
    static const char inner[] = "language_model.", outer[] = "llm.";
    const char *at = strstr(own, inner);
    char plain[256];

    own += strncmp(own, outer, strlen(outer)) == 0 ? strlen(outer) : 0;
    snprintf(plain, sizeof plain, "%.*s%s", (int)(at == NULL ? 0 : at - own), own,
             at == NULL ? own : at + strlen(inner));
    return strcmp(own, name) == 0 || strcmp(plain, name) == 0;
}

/* Whether a checkpoint with CONFIG has the tensors of GOLDEN: it is of its class, or of that of its text model. */
static bool
has_same_layout(const char *name, json_t *config, json_t *golden)
{
    json_t *own = json_object_get(golden, "config");

    for (size_t i = 0; i < COUNT(texts); i++)
        if (strcmp(texts[i], name) == 0)
            return true;
    return json_equal(json_object_get(config, "architectures"), json_object_get(own, "architectures")) &&
           json_object_get(own, "quantization_config") == NULL;
}

/* Names and shapes of the folder "back" must be those of GOLDEN's checkpoint; there may be fewer: tied ones, buffers. */
static void
assert_same_layout(const char *name, json_t *golden)
{
    struct nb_checkpoint cp;
    struct nb_error err;
    json_t *tensor;
    size_t i;

    if (nb_checkpoint_open(&cp, scratch_path("back"), false, &err) != NB_OK)
        fail_msg("%s: %s", name, err.message);
    if (!json_is_number(
            nb_config_find(cp.config, "vocab_size"))) /* transformers would look for matrices of another size */
        fail_msg("%s: config.json does not say how many tokens there are", name);
    for (size_t k = 0; k < cp.n_tensors && has_same_layout(name, cp.config, golden); k++) {
        const struct nb_safetensor *t = &cp.tensors[k].info;
        json_t *shape = NULL;
        size_t d = 0;

        json_array_foreach(json_object_get(golden, "tensors"), i, tensor)
            if (is_same_name(t->name, json_string_value(json_object_get(tensor, "name"))))
                shape = json_object_get(tensor, "shape");
        if (shape == NULL)
            fail_msg("%s: its checkpoint has no tensor '%s'", name, t->name);
        while (d < t->n_dims && (uint64_t)json_integer_value(json_array_get(shape, d)) == t->shape[d])
            d++;
        if (d != t->n_dims || d != json_array_size(shape))
            fail_msg("%s: tensor '%s' has another shape", name, t->name);
    }
    nb_checkpoint_close(&cp);
}

/* All elements of tensor NUMBER of CP, from malloc. */
static float *
floats_of_stored(const struct nb_checkpoint *cp, size_t number)
{
    const struct nb_tensor stored = nb_stored_safetensor(&cp->tensors[number].info, cp->tensors[number].file);
    const struct nb_store store = { &stored, 1, cp->files, cp->n_files };
    struct nb_piece piece;
    struct nb_view v;

    nb_view_whole(&v, &store, &stored, &piece);
    return floats_of(&v);
}

/* The values of one tensor of "back" and of the checkpoint that the file was made of, of which it may be a part. */
static void
compare_values(const char *what, const struct nb_checkpoint *back, size_t i, const struct nb_checkpoint *own, size_t k)
{
    const char *name = back->tensors[i].info.name;
    const struct nb_tensor stored = nb_stored_safetensor(&back->tensors[i].info, 0);
    float *x = floats_of_stored(own, k), *y = floats_of_stored(back, i);

    if (nb_ends_with(name, ".A_log") ? !are_neighbours(x, y, stored.elements, 0x1p-23F)
                                     : memcmp(x, y, (size_t)stored.elements * sizeof *x) != 0)
        fail_msg("%s: '%s' has not the values that it had in the checkpoint", what, name);
    free(x);
    free(y);
}

/*
 * The values of the folder "back" must be those of FOLDER, of which a file in BF16 was made without rounding. Not so of
 * those with factors, which are in the weights now.
 */
static size_t
assert_same_values(const char *what, const char *folder)
{
    static const char *const scaled[] = { "falcon_h1" };
    char path[SCRATCH_PATH];
    struct nb_checkpoint back, own;
    struct nb_error err;
    size_t compared = 0;

    snprintf(path, sizeof path, "%s", scratch_path("back"));
    if (is_in(scaled, COUNT(scaled), what))
        return 1;
    if (nb_checkpoint_open(&back, path, false, &err) != NB_OK ||
        nb_checkpoint_open(&own, scratch_path(folder), false, &err) != NB_OK)
        fail_msg("%s: %s", what, err.message);
    for (size_t i = 0; i < back.n_tensors; i++)
        for (size_t k = 0; k < own.n_tensors; k++) {
            const struct nb_safetensor *t = &own.tensors[k].info;

            if (!is_same_name(back.tensors[i].info.name, t->name) || (t->type != NB_BF16 && t->type != NB_F32) ||
                memcmp(back.tensors[i].info.shape, t->shape, t->n_dims * sizeof *t->shape) != 0)
                continue;
            compare_values(what, &back, i, &own, k);
            compared++;
        }
    nb_checkpoint_close(&back);
    nb_checkpoint_close(&own);
    return compared;
}

/* The tokenizers of goldens stand in for others, so that not all can be written: then the folder gets that of the golden. */
static void
complete_tokenizer(const char *folder)
{
    static const char *const names[] = { "tokenizer.json", "tokenizer.model", "tokenizer_config.json",
                                         "generation_config.json" };
    char from[SCRATCH_PATH], to[SCRATCH_PATH];

    if (scratch_exists(scratch_path("back/tokenizer_config.json")))
        return;
    for (size_t i = 0; i < COUNT(names); i++) {
        unsigned char *bytes;
        size_t size;

        snprintf(from, sizeof from, "%s/%s", scratch_path(folder), names[i]);
        snprintf(to, sizeof to, "back/%s", names[i]);
        if (!scratch_exists(from))
            continue;
        bytes = scratch_read(from, &size);
        scratch_write(to, bytes, size);
        free(bytes);
    }
}

static void
quantize(const char *name, json_t *golden, const char *folder, const char *out)
{
    const char *type = json_string_value(json_object_get(golden, "outtype"));
    const char *pre = json_string_value(json_object_get(golden, "pre"));

    RUN(&run, "quantize", folder, "-t", type, "-o", out, "--force", "--allow-other-tokens",
        pre == NULL ? "-q" : "--pre-tokenizer", pre);
    if (run.code != 0)
        fail_msg("%s: exit code %d: %s", name, run.code, run.err);
}

static void
go_back(const char *name)
{
    char path[SCRATCH_PATH], folder[256], out[SCRATCH_PATH], again[SCRATCH_PATH], back[SCRATCH_PATH];
    json_t *golden;

    snprintf(path, sizeof path, GOLDENS "/%s.json.gz", name);
    golden = golden_read(path);
    snprintf(folder, sizeof folder, "%s", json_string_value(json_object_get(golden, "folder")));
    snprintf(out, sizeof out, "%s", scratch_path("out.gguf"));
    snprintf(again, sizeof again, "%s", scratch_path("again.gguf"));
    snprintf(back, sizeof back, "%s", scratch_path("back"));
    golden_checkpoint(golden, folder);
    quantize(name, golden, scratch_path(folder), out);
    RUN(&run, "dequantize", out, "--dtype", "f32", "-o", back);
    if (is_refused(name)) {
        if (run.code != 3 || strstr(run.err, "out.gguf") == NULL || scratch_exists(back))
            fail_msg("%s: is to be refused, but the exit code is %d: %s", name, run.code, run.err);
    } else if (run.code != 0) {
        fail_msg("%s: exit code %d: %s", name, run.code, run.err);
    } else {
        if (strcmp(name, blocks) != 0)
            assert_same_layout(name, golden);
        if (strcmp(json_string_value(json_object_get(golden, "outtype")), "bf16") == 0 &&
            assert_same_values(name, folder) == 0)
            fail_msg("%s: no tensor comes back under its name", name);
        complete_tokenizer(folder);
        quantize(name, golden, back, again);
        assert_same_files(name, "out.gguf", "again.gguf");
        scratch_remove("back");
        written_back++;
    }
    scratch_remove(folder);
    json_decref(golden);
}

static void
files_of_families_go_back_and_come_again(void **unused)
{
    (void)unused;
    golden_each(GOLDENS, only, go_back);
    if (*only == NULL)
        assert_true(written_back >= 107);
}

/* --- MLX --------------------------------------------------------------------------------------------------------- */

static size_t mlx_folders;

/* Wrappers of text models, whose modules have other names in MLX; the file does not tell that it was in one. */
static const char *const wrapped[] = { "gemma3_cond", "internvl_qwen3", "llava_mistral", "smolvlm",  "kimi_k25",
                                       "kimi_vl",     "mistral3_cond",  "qwen35",        "qwen35moe" };

/* One whose file has the embeddings of all layers filled up with zeros, as the checkpoint has not. */
static const char filled[] = "gemma3n";

static void
to_mlx(const char *source, const char *out)
{
    RUN(&run, "quantize", source, "--format", "mlx", "-t", "4bit", "--group-size", "32", "--dtype", "f16", "-o",
        scratch_path(out), "-q");
}

/* T's elements as floats, from malloc; in FILE they need not be aligned. */
static float *
floats_in(const struct nb_safetensor *t, const unsigned char *file)
{
    const size_t count = (size_t)(t->bytes / nb_type_info(t->type)->block_bytes);
    unsigned char *aligned = malloc((size_t)t->bytes + 1);
    float *floats = malloc((count + 1) * sizeof *floats);

    assert_non_null(aligned);
    assert_non_null(floats);
    memcpy(aligned, file + t->offset, (size_t)t->bytes);
    nb_decode(t->type, aligned, count, floats);
    free(aligned);
    return floats;
}

/* The files ONE and OTHER must have the same arrays with the same bytes, but for logarithms of what was an exponential. */
static void
assert_same_arrays(const char *what, const char *one, const char *other)
{
    char path[SCRATCH_PATH];
    size_t size, other_size;
    unsigned char *x, *y;
    struct nb_checkpoint cp;
    struct nb_error err;

    snprintf(path, sizeof path, "%s", scratch_path(one));
    x = scratch_read(path, &size);
    y = scratch_read(scratch_path(other), &other_size);
    *strrchr(path, '/') = '\0';
    if (nb_checkpoint_open(&cp, path, false, &err) != NB_OK)
        fail_msg("%s: %s", what, err.message);
    assert_int_equal(size, other_size);
    for (size_t i = 0; i < cp.n_tensors; i++) {
        const struct nb_safetensor *t = &cp.tensors[i].info;
        float *own, *its;

        if (!nb_ends_with(t->name, ".A_log"))
            continue;
        own = floats_in(t, x);
        its = floats_in(t, y);
        if (are_neighbours(own, its, t->bytes / nb_type_info(t->type)->block_bytes,
                           t->type == NB_F32 ? 0x1p-23F : 0x1p-11F))
            memcpy(y + t->offset, x + t->offset, (size_t)t->bytes);
        free(own);
        free(its);
    }
    if (memcmp(x, y, size) != 0)
        fail_msg("%s: another MLX model comes of the GGUF file than of the checkpoint", what);
    nb_checkpoint_close(&cp);
    free(x);
    free(y);
}

static void
compare_mlx(const char *name)
{
    char folder[SCRATCH_PATH], out[SCRATCH_PATH];
    const char *pre;
    json_t *golden;

    if (is_in(wrapped, COUNT(wrapped), name) || is_refused(name) || strcmp(name, blocks) == 0)
        return;
    golden = golden_by_name(name);
    pre = json_string_value(json_object_get(golden, "pre"));
    golden_checkpoint(golden, "golden");
    snprintf(folder, sizeof folder, "%s", scratch_path("golden"));
    snprintf(out, sizeof out, "%s", scratch_path("out.gguf"));
    to_mlx(folder, "from-folder");
    if (run.code == 0) {
        RUN(&run, "quantize", folder, "-t", "f32", "-o", out, "--force", "--allow-other-tokens",
            pre == NULL ? "-q" : "--pre-tokenizer", pre);
        assert_int_equal(run.code, 0);
        to_mlx(out, "from-gguf");
        if (run.code != 0)
            fail_msg("%s: exit code %d: %s", name, run.code, run.err);
        if (strcmp(name, filled) == 0)
            assert_same_sources(name, "from-folder", "from-gguf");
        else
            assert_same_arrays(name, "from-folder/model.safetensors", "from-gguf/model.safetensors");
        scratch_remove("from-folder");
        scratch_remove("from-gguf");
        mlx_folders++;
    } else {
        if (strstr(run.err, "written for MLX") == NULL && strstr(run.err, "no place") == NULL)
            fail_msg("%s: exit code %d: %s", name, run.code, run.err);
    }
    scratch_remove("golden");
    json_decref(golden);
}

static void
an_mlx_model_of_a_gguf_file_is_that_of_its_checkpoint(void **unused)
{
    (void)unused;
    golden_each(GOLDENS, only, compare_mlx);
    if (*only == NULL)
        assert_true(mlx_folders >= 40);
}

/* A class that some other file is told to be of would be taken for what it is not. */
static void
families_that_are_written_back_are_known_to_transformers_by_their_type(void **unused)
{
    (void)unused;
    for (const struct nb_family *const *f = nb_families; *f != NULL; f++)
        if ((*f)->model_type != NULL && strchr((*f)->model_type, '-') != NULL)
            fail_msg("%s: model_type '%s'", (*f)->classes[0], (*f)->model_type);
}

/* --- quantized checkpoints --------------------------------------------------------------------------------------- */

/* The folder FOLDER read as it is, and the folder of floats that is made of it. */
static void
compare_floats(const char *what, const char *folder, const char *pre)
{
    char out[SCRATCH_PATH], again[SCRATCH_PATH], back[SCRATCH_PATH];
    struct nb_source a, b;

    snprintf(out, sizeof out, "%s", scratch_path("out.gguf"));
    snprintf(again, sizeof again, "%s", scratch_path("again.gguf"));
    snprintf(back, sizeof back, "%s", scratch_path("back"));
    RUN(&run, "dequantize", folder, "--dtype", "f32", "-o", back, "-q");
    if (run.code != 0)
        fail_msg("%s: exit code %d: %s", what, run.code, run.err);
    RUN(&run, "quantize", folder, "-t", "f32", "--requantize-all", "--allow-requantize", "-o", out, "--force",
        "--allow-other-tokens", pre == NULL ? "-q" : "--pre-tokenizer", pre);
    if (run.code != 0)
        fail_msg("%s: exit code %d: %s", what, run.code, run.err);
    RUN(&run, "quantize", back, "-t", "f32", "-o", again, "--force", "--allow-other-tokens",
        pre == NULL ? "-q" : "--pre-tokenizer", pre);
    if (run.code != 0 || strstr(run.err, "quantized already") != NULL)
        fail_msg("%s: exit code %d: %s", what, run.code, run.err);
    scratch_open_source(&a, "out.gguf");
    scratch_open_source(&b, "again.gguf");
    assert_same_tensors(what, &a, &b, strcmp(what, blocks) != 0);
    nb_source_close(&a);
    nb_source_close(&b);
    scratch_remove("back");
}

static void
quantized_checkpoints_become_the_floats_that_they_are_read_as(void **unused)
{
    static const char *const goldens[] = { "minimax_m2_fp8", "kimi_k2_int4", "llama_nvfp4", "gptoss_mxfp4" };

    (void)unused;
    for (size_t i = 0; i < COUNT(goldens); i++) {
        json_t *golden;

        if (!golden_is_wanted(only, goldens[i]))
            continue;
        golden = golden_by_name(goldens[i]);
        golden_checkpoint(golden, "packed");
        compare_floats(goldens[i], scratch_path("packed"), json_string_value(json_object_get(golden, "pre")));
        scratch_remove("packed");
        json_decref(golden);
    }
    RUN(&run, "quantize", SAMPLE, "--format", "mlx", "-t", "mixed_3_6", "-o", scratch_path("mlx"));
    assert_int_equal(run.code, 0);
    compare_floats("mlx", scratch_path("mlx"), NULL);
    scratch_remove("mlx");
}

/* --- quantized GGUF files ---------------------------------------------------------------------------------------- */

static void
blocks_of_all_kinds_become_their_floats_in_the_order_of_the_checkpoint(void **unused)
{
    static const char *const recipes[] = { "Q4_K_M", "Q8_0", "Q5_1", "TQ2_0", "BF16" };
    char out[SCRATCH_PATH], back[SCRATCH_PATH], again[SCRATCH_PATH];

    (void)unused;
    snprintf(out, sizeof out, "%s", scratch_path("out.gguf"));
    snprintf(back, sizeof back, "%s", scratch_path("back"));
    snprintf(again, sizeof again, "%s", scratch_path("again.gguf"));
    for (size_t i = 0; i < COUNT(recipes); i++) {
        struct nb_source a, b;

        RUN(&run, "quantize", SAMPLE, "-t", recipes[i], "-o", out, "--force");
        assert_int_equal(run.code, 0);
        RUN(&run, "dequantize", out, "--dtype", "f32", "-o", back);
        if (run.code != 0)
            fail_msg("%s: exit code %d: %s", recipes[i], run.code, run.err);
        RUN(&run, "quantize", back, "-t", "f32", "-o", again, "--force");
        assert_int_equal(run.code, 0);
        scratch_open_source(&a, "out.gguf");
        scratch_open_source(&b, "again.gguf");
        assert_same_tensors(recipes[i], &a, &b, false);
        nb_source_close(&a);
        nb_source_close(&b);
        scratch_remove("back");
    }
}

/* Threads read some elements here and some there; a row of the checkpoint may come from several places. */
static void
reversed_tensors_are_the_same_in_any_pieces(void **unused)
{
    char out[SCRATCH_PATH];
    struct nb_view_reader reader = { 0 };
    struct nb_source gguf, cp;
    struct nb_error err;
    uint64_t state = 1;

    (void)unused;
    snprintf(out, sizeof out, "%s", scratch_path("out.gguf"));
    RUN(&run, "quantize", SAMPLE, "-t", "Q8_0", "-o", out, "--force");
    assert_int_equal(run.code, 0);
    scratch_open_source(&gguf, "out.gguf");
    if (nb_reverse(&cp, &gguf, NULL, &err) != NB_OK)
        fail_msg("%s", err.message);
    for (size_t i = 0; i < cp.store.count; i++) {
        struct nb_piece piece;
        struct nb_view v;
        float *all, some[700];

        nb_view_whole(&v, &cp.store, &cp.store.tensors[i], &piece);
        all = floats_of(&v);
        for (unsigned k = 0; k < 8; k++) {
            const uint64_t n = 1 + splitmix(&state) % (v.elements < COUNT(some) ? v.elements : COUNT(some));
            const uint64_t first = splitmix(&state) % (v.elements - n + 1);

            assert_int_equal(nb_view_fetch(&v, first, n, &reader, &err), NB_OK);
            nb_view_decode(&v, &reader, 0, n, some);
            if (memcmp(all + first, some, (size_t)n * sizeof *some) != 0)
                fail_msg("%s: elements %llu to %llu", v.name, (unsigned long long)first,
                         (unsigned long long)(first + n));
        }
        free(all);
    }
    nb_view_reader_free(&reader);
    nb_source_close(&cp);
    nb_source_close(&gguf);
}

/* --- what cannot be written -------------------------------------------------------------------------------------- */

static void
what_config_json_cannot_say_is_refused_by_its_key(void **unused)
{
    static const struct {
        const char *edit, *message;
    } cases[] = {
        { "llama.attention.scale=f32:0.5", "cannot say what its key 'llama.attention.scale' says" },
        { "llama.anything=u32:1", "cannot say what its key 'llama.anything' says" },
        { "llama.attention.head_count=u32:4", "has not the shape that the file's keys give it" },
        { "llama.block_count=u32:3", "has no place in a checkpoint of class LlamaForCausalLM" },
        { "general.architecture=str:strange", "a file of architecture 'strange' cannot be written back" },
    };
    char out[SCRATCH_PATH], edited[SCRATCH_PATH], back[SCRATCH_PATH];

    (void)unused;
    snprintf(out, sizeof out, "%s", scratch_path("out.gguf"));
    snprintf(edited, sizeof edited, "%s", scratch_path("edited.gguf"));
    snprintf(back, sizeof back, "%s", scratch_path("back"));
    RUN(&run, "quantize", SAMPLE, "-t", "Q8_0", "-o", out, "--force");
    assert_int_equal(run.code, 0);
    for (size_t i = 0; i < COUNT(cases); i++) {
        RUN(&run, "edit", "--set", cases[i].edit, out, "-o", edited, "--force");
        assert_int_equal(run.code, 0);
        RUN(&run, "dequantize", edited, "-o", back);
        if (run.code != 3 || strstr(run.err, cases[i].message) == NULL || scratch_exists(back))
            fail_msg("%s: exit code %d: %s", cases[i].edit, run.code, run.err);
    }
    RUN(&run, "dequantize", out, "--model-class", "GPT2LMHeadModel", "-o", back);
    assert_int_equal(run.code, 3);
    assert_non_null(strstr(run.err, "as a checkpoint of class GPT2LMHeadModel"));
}

static void
a_folder_that_exists_is_left_as_it_is(void **unused)
{
    (void)unused;
    scratch_folder("there");
    scratch_write_text("there/mine.txt", "mine");
    RUN(&run, "dequantize", SAMPLE, "-o", scratch_path("there"));
    assert_int_equal(run.code, 2);
    assert_non_null(strstr(run.err, "exists already"));
    assert_true(scratch_exists(scratch_path("there/mine.txt")));
    assert_false(scratch_exists(scratch_path("there/config.json")));
    RUN(&run, "dequantize", SAMPLE, "--dry-run", "--json", "-o", scratch_path("new"));
    assert_int_equal(run.code, 0);
    assert_false(scratch_exists(scratch_path("new")));
}

static uint64_t
hash_of_folder(void)
{
    static const char *const files[] = { "starved/model.safetensors", "starved/config.json", "starved/tokenizer.json",
                                         "starved/tokenizer_config.json", "starved/generation_config.json" };
    uint64_t all = 0;

    for (size_t i = 0; i < COUNT(files); i++)
        all = all * 31 + (scratch_exists(scratch_path(files[i])) ? scratch_hash(scratch_path(files[i])) : 0);
    return all;
}

/* Every allocation of a run fails once: the same folder comes of it, or an error and none. */
static void
running_out_of_memory_is_never_silent(void **unused)
{
    char out[SCRATCH_PATH], number[16];
    unsigned refusals = 0, in_a_row = 0;
    uint64_t whole;

    (void)unused;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(NB_COVERAGE) || !defined(__GLIBC__)
    print_message("the allocator cannot be replaced here: skipped\n");
    skip();
#endif
    tiny_checkpoint("tiny");
    snprintf(out, sizeof out, "%s", scratch_path("tiny.gguf"));
    RUN(&run, "quantize", scratch_path("tiny"), "-t", "Q8_0", "-o", out, "--allow-other-tokens");
    assert_int_equal(run.code, 0);
    RUN(&run, "dequantize", out, "-j", "1", "-o", scratch_path("starved"));
    assert_int_equal(run.code, 0);
    whole = hash_of_folder();
    setenv("LD_PRELOAD", FAILING_MALLOC, 1);
    for (unsigned i = 1; in_a_row < 50 && i < 20000; i += 1 + i / 200) {
        snprintf(number, sizeof number, "%u", i);
        setenv("FAIL_AT", number, 1);
        scratch_remove("starved");
        RUN(&run, "dequantize", out, "-j", "1", "-o", scratch_path("starved"));
        in_a_row = run.code == 0 ? in_a_row + 1 : 0;
        refusals += run.code != 0;
        if (run.code != 0 && run.code != 4)
            fail_msg("allocation %u: exit code %d: %s", i, run.code, run.err);
        if (scratch_exists(scratch_path("starved")) != (run.code == 0) ||
            scratch_exists(scratch_path("starved.partial")))
            fail_msg("allocation %u: exit code %d, but files say otherwise", i, run.code);
        if (run.code == 0 && hash_of_folder() != whole)
            fail_msg("allocation %u fails in silence: another folder", i);
    }
    unsetenv("LD_PRELOAD");
    print_message("%u of them refused\n", refusals);
    assert_true(refusals > 100);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_of_families_go_back_and_come_again),
        cmocka_unit_test(an_mlx_model_of_a_gguf_file_is_that_of_its_checkpoint),
        cmocka_unit_test(families_that_are_written_back_are_known_to_transformers_by_their_type),
        cmocka_unit_test(quantized_checkpoints_become_the_floats_that_they_are_read_as),
        cmocka_unit_test(blocks_of_all_kinds_become_their_floats_in_the_order_of_the_checkpoint),
        cmocka_unit_test(reversed_tensors_are_the_same_in_any_pieces),
        cmocka_unit_test(what_config_json_cannot_say_is_refused_by_its_key),
        cmocka_unit_test(a_folder_that_exists_is_left_as_it_is),
        cmocka_unit_test(running_out_of_memory_is_never_silent),
    };

    (void)argc;
    only = argv + 1;
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
