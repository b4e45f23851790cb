/*
 * Importance matrices: files that lie, entries that do not fit, and stacked
 * experts, each of which has a row of its own.
 */
#include "formats/base/status.h"
#include "formats/elements/tensor.h"
#include "formats/elements/types.h"
#include "formats/gguf/gguf.h"
#include "formats/gguf/metadata.h"
#include "scratch.h"
#include "splitmix.h"
#include "testing.h"

#include <unistd.h>

#define SAMPLE SAMPLE_DATA "/tinystories-3m"
#define GOLDEN TEST_DATA "/golden/tinystories-3m.imatrix"
#define GOLDEN_DAT TEST_DATA "/golden/tinystories-3m.dat"

static struct run run;

/* A GGUF file in the making: tensors of floats or halves. */
static struct nb_metadata meta;
static struct nb_gguf_info infos[64];
static char names[64][NB_MAX_NAME + 1];
static uint64_t shapes[64][3];
static unsigned char data[1 << 23];
static size_t n_infos, n_data;

static void
start(void)
{
    nb_meta_free(&meta);
    n_infos = n_data = 0;
}

static void *
tensor(const char *name, enum nb_type type, uint64_t columns, uint64_t rows, uint64_t experts)
{
    void *at = data + n_data;
    uint64_t bytes;

    snprintf(names[n_infos], sizeof names[0], "%s", name);
    shapes[n_infos][0] = columns;
    shapes[n_infos][1] = rows;
    shapes[n_infos][2] = experts;
    infos[n_infos] = (struct nb_gguf_info){ names[n_infos], type,
                                            experts > 0 ? 3
                                            : rows > 0  ? 2
                                                        : 1,
                                            shapes[n_infos], n_data };
    n_infos++;
    assert_true(nb_type_bytes(type, columns * (rows == 0 ? 1 : rows) * (experts == 0 ? 1 : experts), &bytes));
    n_data += (size_t)(bytes + 31) / 32 * 32;
    assert_true(n_data <= sizeof data);
    memset(at, 0, n_data - (size_t)((unsigned char *)at - data));
    return at;
}

/* Writes tensors FROM to END, with the metadata given. */
static void
finish_part(const char *name, const struct nb_metadata *m, size_t from, size_t end)
{
    const size_t base = from < n_infos ? (size_t)infos[from].offset : 0;
    const size_t stop = end < n_infos ? (size_t)infos[end].offset : n_data;
    struct nb_gguf_info part[64];
    unsigned char *header, *whole;
    struct nb_error err;
    uint64_t size;

    for (size_t i = from; i < end; i++) {
        part[i - from] = infos[i];
        part[i - from].offset -= base;
    }
    assert_int_equal(nb_gguf_header(m, part, end - from, &header, &size, &err), NB_OK);
    whole = malloc((size_t)size + stop - base);
    assert_non_null(whole);
    memcpy(whole, header, (size_t)size);
    memcpy(whole + size, data + base, stop - base);
    scratch_write(name, whole, (size_t)size + stop - base);
    free(whole);
    free(header);
}

static void
finish(const char *name)
{
    finish_part(name, &meta, 0, n_infos);
}

static void
imatrix_keys(const char *dataset)
{
    struct nb_strings datasets = { 0 };

    nb_strings_add(&datasets, dataset, strlen(dataset));
    nb_meta_set_string(&meta, "general.type", "imatrix");
    nb_meta_set_strings(&meta, "imatrix.datasets", &datasets);
    nb_meta_set_u32(&meta, "imatrix.chunk_count", 7);
    nb_meta_set_u32(&meta, "imatrix.chunk_size", 512);
}

/* Sums of VALUE and counts of COUNT for a matrix. */
static void
entry(const char *name, uint64_t columns, uint64_t experts, float value, float count)
{
    char full[NB_MAX_NAME + 16];
    float *v;

    snprintf(full, sizeof full, "%s.in_sum2", name);
    v = tensor(full, NB_F32, columns, experts, 0);
    for (uint64_t i = 0; i < columns * experts; i++)
        v[i] = value;
    snprintf(full, sizeof full, "%s.counts", name);
    v = tensor(full, NB_F32, 1, experts, 0);
    for (uint64_t i = 0; i < experts; i++)
        v[i] = count;
}

static void
refused(const char *file, const char *sentence)
{
    RUN(&run, "quantize", SAMPLE, "-t", "Q4_K_M", "--imatrix", file, "-o", "out.gguf");
    if (run.code != 3 || strstr(run.err, sentence) == NULL)
        fail_msg("%s: code %d, not '%s' but: %s", file, run.code, sentence, run.err);
    assert_false(scratch_exists("out.gguf"));
    assert_false(scratch_exists("out.gguf.partial"));
}

static void
gguf_files_that_are_no_matrix_are_refused(void **unused)
{
    float *v;

    (void)unused;
    RUN(&run, "quantize", SAMPLE, "-t", "F16", "-o", "model.gguf");
    refused("model.gguf", "is a GGUF file, but no importance matrix");
    start();
    imatrix_keys("calibration.txt");
    finish("empty.gguf");
    refused("empty.gguf", "has no entries");
    start();
    imatrix_keys("calibration.txt");
    entry("a", 4, 1, 1, 1);
    n_infos--; /* no counts */
    finish("sums.gguf");
    refused("sums.gguf", "'a.in_sum2' has sums but no counts");
    start();
    imatrix_keys("calibration.txt");
    tensor("a.counts", NB_F32, 1, 1, 0);
    finish("counts.gguf");
    refused("counts.gguf", "counts but no sums");
    start();
    imatrix_keys("calibration.txt");
    tensor("a.in_sum2", NB_F16, 4, 1, 0);
    tensor("a.counts", NB_F32, 1, 1, 0);
    finish("halves.gguf");
    refused("halves.gguf", "are not F32");
    start();
    imatrix_keys("calibration.txt");
    tensor("a.in_sum2", NB_F32, 4, 2, 0);
    tensor("a.counts", NB_F32, 1, 3, 0);
    finish("odd.gguf");
    refused("odd.gguf", "8 sums for 3 counts");
    start();
    imatrix_keys("calibration.txt");
    tensor("a.weight", NB_F32, 4, 2, 0);
    finish("other.gguf");
    refused("other.gguf", "neither sums nor counts");
    start();
    imatrix_keys("calibration.txt");
    entry("a", 4, 1, NAN, 1);
    finish("nan.gguf");
    refused("nan.gguf", "value 0 of 'a' is no mean of squares: nan");
    start();
    imatrix_keys("calibration.txt");
    entry("a", 4, 1, -1, 1);
    finish("negative.gguf");
    refused("negative.gguf", "value 0 of 'a' is no mean of squares: -1");
    start();
    imatrix_keys("calibration.txt");
    entry("a", 4, 1, 1, INFINITY);
    finish("infinite.gguf");
    refused("infinite.gguf", "token count that is no number");
    start();
    imatrix_keys("calibration.txt");
    v = tensor("blk.0.attn_q.weight.in_sum2", NB_F32, 8, 1, 0); /* the model has 256 columns */
    v[0] = 1;
    v = tensor("blk.0.attn_q.weight.counts", NB_F32, 1, 1, 0);
    v[0] = 1;
    finish("size.gguf");
    refused("size.gguf", "has 8 values for tensor 'blk.0.attn_q.weight', which needs 256");
}

/* Every way to cut a file short is refused, and so are lengths that are not there. */
static void
files_that_are_cut_short_are_refused(void **unused)
{
    size_t size;
    unsigned char *whole = scratch_read(GOLDEN, &size);

    (void)unused;
    for (size_t n = 0; n < size; n += n < 2600 ? 97 : 4001) {
        scratch_write("cut.gguf", whole, n);
        RUN(&run, "quantize", SAMPLE, "--imatrix", "cut.gguf", "-o", "out.gguf");
        assert_int_equal(run.code, 3);
    }
    free(whole);
    whole = scratch_read(GOLDEN_DAT, &size);
    for (size_t n = 0; n < size - 29; n += n < 1200 ? 41 : 2003) { /* the trailer of 29 bytes may be absent */
        scratch_write("cut.dat", whole, n);
        refused("cut.dat", "cut.dat: is ");
    }
    for (size_t n = size - 29; n < size; n++) {
        scratch_write("cut.dat", whole, n);
        RUN(&run, "quantize", SAMPLE, "--imatrix", "cut.dat", "-o", "out.gguf", "--force");
        assert_int_equal(run.code, 0);
    }
    unlink(scratch_path("out.gguf"));
    free(whole);
}

static void
dat_files_that_lie_are_refused(void **unused)
{
    static const struct {
        int32_t at, value;
        const char *sentence;
    } lies[] = {
        { 0, 0, "0 is no length" },
        { 0, -5, "-5 is no length" },
        { 0, 1 << 30, "would have 1073741824 entries" },
        { 0, 29, "is no importance matrix, or is cut short" },
        { 4, -1, "-1 is no length" },
        { 4, 300, "a name of 300 bytes" },
        { 8, -1, "a name is no text" },
    };
    size_t size;
    unsigned char *whole = scratch_read(GOLDEN_DAT, &size), *copy = malloc(size);

    (void)unused;
    assert_non_null(copy);
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        memcpy(copy, whole, size);
        memcpy(copy + lies[i].at, &lies[i].value, 4);
        scratch_write("lie.dat", copy, size);
        refused("lie.dat", lies[i].sentence);
    }
    memcpy(copy, whole, size); /* a second entry with the first one's name */
    for (size_t i = 8; i + 30 < size; i++)
        if (memcmp(copy + i, "blk.0.attn_k.weight", 19) == 0)
            memcpy(copy + i, "blk.0.attn_q.weight", 19);
    scratch_write("lie.dat", copy, size);
    refused("lie.dat", "has two entries 'blk.0.attn_q.weight'");
    scratch_write_text("lie.dat", "");
    refused("lie.dat", "is no importance matrix, or is cut short");
    scratch_write_text("lie.dat", "This is a text about something else altogether.");
    refused("lie.dat", "is no importance matrix");
    refused("absent.dat", "cannot be opened");
    free(copy);
    free(whole);
}

static void
what_importance_is_missing_is_said(void **unused)
{
    (void)unused;
    RUN(&run, "quantize", SAMPLE, "-t", "IQ2_XS", "-o", "out.gguf");
    assert_int_equal(run.code, 2);
    assert_non_null(
        strstr(run.err, "'blk.0.attn_k.weight' (and 23 more) would become iq2_xs, which needs an importance"));
    RUN(&run, "quantize", SAMPLE, "-t", "IQ2_XS", "-o", "out.gguf", "--dry-run");
    assert_int_equal(run.code, 0);
    assert_non_null(strstr(run.err, "this is refused without --dry-run"));
    RUN(&run, "quantize", SAMPLE, "-t", "IQ2_XS", "-o", "out.gguf", "--imatrix", GOLDEN, "--exclude-weights", "attn_q");
    assert_int_equal(run.code, 3);
    assert_non_null(strstr(run.err, "'blk.0.attn_q.weight' (and 3 more) would become iq2_xs, but the importance"));
    RUN(&run, "quantize", SAMPLE, "-t", "Q4_K_M", "-o", "out.gguf", "--imatrix", GOLDEN, "--exclude-weights", "attn_q");
    assert_int_equal(run.code, 0);
    assert_non_null(strstr(run.err,
                           "5 tensors are quantized without importance, because the matrix has no entry for "
                           "them: token_embd.weight, blk.0.attn_q.weight, blk.1.attn_q.weight and 2 more; -v"));
    RUN(&run, "quantize", SAMPLE, "-o", "out.gguf", "--imatrix", GOLDEN, "--include-weights", "nothing");
    assert_int_equal(run.code, 2);
    RUN(&run, "quantize", SAMPLE, "-o", "out.gguf", "--include-weights", "attn");
    assert_int_equal(run.code, 2);
    RUN(&run, "quantize", SAMPLE, "-o", "out.gguf", "--imatrix", GOLDEN, "--include-weights", "a", "--exclude-weights",
        "b");
    assert_int_equal(run.code, 2);
    RUN(&run, "quantize", SAMPLE, "-o", "out.gguf", "--prune-layers", "4");
    assert_int_equal(run.code, 2);
    assert_non_null(strstr(run.err, "no layer 4"));
    RUN(&run, "quantize", SAMPLE, "-o", "out.gguf", "--prune-layers", "0,1,2,3");
    assert_int_equal(run.code, 2);
    RUN(&run, "quantize", SAMPLE, "-o", "out.gguf", "--prune-layers", "1,,2");
    assert_int_equal(run.code, 2);
    RUN(&run, "quantize", SAMPLE, "-o", "out.gguf", "--keep-split");
    assert_int_equal(run.code, 2);
    unlink(scratch_path("out.gguf"));
}

static void
where_files_were_is_not_written_down(void **unused)
{
    size_t size;
    unsigned char *bytes;

    (void)unused;
    start();
    imatrix_keys("/home/xqzv/calibration.txt");
    entry("blk.0.attn_q.weight", 256, 1, 1, 1);
    scratch_folder("vzqx");
    finish("vzqx/matrix.gguf");
    RUN(&run, "quantize", SAMPLE, "-t", "Q8_0", "--imatrix", "vzqx/matrix.gguf", "-o", "out.gguf");
    assert_int_equal(run.code, 0);
    bytes = scratch_read(scratch_path("out.gguf"), &size);
    assert_non_null(memmem(bytes, size, "matrix.gguf", 11));
    assert_non_null(memmem(bytes, size, "calibration.txt", 15));
    assert_null(memmem(bytes, size, "vzqx", 4));
    assert_null(memmem(bytes, size, "xqzv", 4));
    free(bytes);
    unlink(scratch_path("out.gguf"));
}

static uint64_t state;

/* Halves of a magnitude from 2^-6 to 2^-3. */
static void
weights(const char *name, uint64_t columns, uint64_t rows, uint64_t experts)
{
    uint16_t *h = tensor(name, NB_F16, columns, rows, experts);

    for (uint64_t i = 0; i < columns * rows * (experts == 0 ? 1 : experts); i++) {
        const uint64_t bits = splitmix(&state);

        h[i] = (uint16_t)((bits & 0x83FF) | (9 + bits / 65536 % 3) << 10);
    }
}

static void
floats(const char *name, uint64_t columns, uint64_t rows)
{
    float *f = tensor(name, NB_F32, columns, rows, 0);

    for (uint64_t i = 0; i < columns * (rows == 0 ? 1 : rows); i++)
        f[i] = 1 + (float)(splitmix(&state) % 64) / 64;
}

static const char *
in_layer(unsigned layer, const char *part)
{
    static char name[NB_MAX_NAME + 1];

    snprintf(name, sizeof name, "blk.%u.%s.weight", layer, part);
    return name;
}

#define EXPERTS 3u

static const char *const matrices[] = { "attn_q", "attn_k", "attn_v", "attn_output" };
static const char *const stacked[] = { "ffn_gate_exps", "ffn_up_exps", "ffn_down_exps" };

/* A mixture of experts: two layers of three; as one file, and as two. */
static void
write_experts_model(void)
{
    static const struct {
        const char *key;
        uint32_t value;
    } keys[] = { { "llama.block_count", 2 },          { "llama.context_length", 512 },
                 { "llama.embedding_length", 256 },   { "llama.feed_forward_length", 256 },
                 { "llama.attention.head_count", 4 }, { "llama.attention.head_count_kv", 4 },
                 { "llama.expert_count", EXPERTS },   { "llama.expert_used_count", 2 },
                 { "llama.vocab_size", 64 },          { "general.file_type", 1 } };
    struct nb_metadata second = { 0 };
    const uint16_t parts = 2, one = 1, zero = 0;
    size_t first_part = 0;

    start();
    state = 2026;
    nb_meta_set_string(&meta, "general.architecture", "llama");
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        nb_meta_set_u32(&meta, keys[i].key, keys[i].value);
    nb_meta_set_f32(&meta, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    weights("token_embd.weight", 256, 64, 0);
    weights("output.weight", 256, 64, 0);
    floats("output_norm.weight", 256, 0);
    for (unsigned layer = 0; layer < 2; layer++) {
        first_part = layer == 1 ? n_infos : 0;
        for (size_t i = 0; i < 4; i++)
            weights(in_layer(layer, matrices[i]), 256, 256, 0);
        floats(in_layer(layer, "attn_norm"), 256, 0);
        floats(in_layer(layer, "ffn_norm"), 256, 0);
        floats(in_layer(layer, "ffn_gate_inp"), 256, EXPERTS);
        for (size_t i = 0; i < 3; i++)
            weights(in_layer(layer, stacked[i]), 256, 256, EXPERTS);
    }
    finish("experts.gguf");
    nb_meta_set(&meta, "split.no", NB_KV_U16, NB_KV_U16, 1, &zero, 2);
    nb_meta_set(&meta, "split.count", NB_KV_U16, NB_KV_U16, 1, &parts, 2);
    nb_meta_set_i32(&meta, "split.tensors.count", (int32_t)n_infos);
    nb_meta_set(&second, "split.no", NB_KV_U16, NB_KV_U16, 1, &one, 2);
    nb_meta_set(&second, "split.count", NB_KV_U16, NB_KV_U16, 1, &parts, 2);
    nb_meta_set_i32(&second, "split.tensors.count", (int32_t)n_infos);
    finish_part("split-00001-of-00002.gguf", &meta, 0, first_part);
    finish_part("split-00002-of-00002.gguf", &second, first_part, n_infos);
    nb_meta_free(&second);
}

/* Its matrix; no token came to the second expert. */
static void
write_experts_matrix(void)
{
    start();
    imatrix_keys("calibration.txt");
    for (unsigned layer = 0; layer < 2; layer++) {
        for (size_t i = 0; i < 7; i++) {
            const uint64_t rows = i < 4 ? 1 : EXPERTS;
            const char *name = in_layer(layer, i < 4 ? matrices[i] : stacked[i - 4]);
            float *sums = (float *)(void *)(data + n_data), *counts;

            entry(name, 256, rows, 0, 40);
            counts = (float *)(void *)(data + n_data - 32);
            for (uint64_t k = 0; k < rows * 256; k++)
                sums[k] = (float)(1 + splitmix(&state) % 4096);
            if (rows > 1)
                counts[1] = 0;
        }
    }
    finish("experts.imatrix");
}

/* The reference's files for the same inputs: llama-quantize of llama.cpp v0.5.0, XXH64. */
static void
experts_have_rows_of_their_own(void **unused)
{
    static const struct {
        const char *recipe;
        uint64_t hash, parts[2]; /* of the whole, and with --keep-split */
    } golden[] = {
        { "Q4_0", 0xbe0c23af287570bf, { 0x329f71cc7c5a57d0, 0x83af6281383f8787 } },
        { "Q3_K_M", 0xb74247077976f38b, { 0x493f25ab0c52dc4e, 0xd01003ef94964235 } },
        { "Q4_K_M", 0x30038fd6dc4ce08b, { 0xab621dc2a356b667, 0x46d95678f45b6ac3 } },
        { "IQ1_S", 0x87a3df883e2ba385, { 0x596b317e311f3453, 0xfc4931645be532d5 } },
        { "IQ2_XXS", 0x794491727c1a21d0, { 0x1438656c940f2fa5, 0x23eb6b9f7c1dda11 } },
        { "IQ3_S", 0x747d03697fa1694a, { 0x4031a05480de5495, 0x7a28ebdba0902e15 } },
        { "IQ4_NL", 0xbbfed02fe9c5bfd0, { 0x6c115c0f7e462bb9, 0x4d352378b79beeb5 } },
        { "MXFP4_MOE", 0xa94286ab7fb35dd7, { 0xc77282d3d3c17374, 0x227c7794f14baaed } },
    };

    (void)unused;
    write_experts_model();
    write_experts_matrix();
    assert_int_equal(scratch_hash(scratch_path("experts.gguf")), 0xfabae112bd9bc14e);
    assert_int_equal(scratch_hash(scratch_path("experts.imatrix")), 0xfb1fc63ee61951f6);
    for (size_t i = 0; i < sizeof golden / sizeof golden[0]; i++) {
        RUN(&run, "quantize", "experts.gguf", "-t", golden[i].recipe, "--imatrix", "experts.imatrix", "-o", "out.gguf",
            "--force");
        assert_int_equal(run.code, 0);
        if (scratch_hash(scratch_path("out.gguf")) != golden[i].hash)
            fail_msg("%s: not the reference's file", golden[i].recipe);
        RUN(&run, "quantize", "split-00001-of-00002.gguf", "-t", golden[i].recipe, "--imatrix", "experts.imatrix",
            "--keep-split", "-o", "parts.gguf", "--force");
        assert_int_equal(run.code, 0);
        if (scratch_hash(scratch_path("parts-00001-of-00002.gguf")) != golden[i].parts[0] ||
            scratch_hash(scratch_path("parts-00002-of-00002.gguf")) != golden[i].parts[1])
            fail_msg("%s: the parts are not the reference's", golden[i].recipe);
    }
    RUN(&run, "quantize", "split-00001-of-00002.gguf", "--keep-split", "-t", "Q8_0", "-o", "split.gguf", "--force");
    assert_int_equal(run.code, 2); /* that would be the source */
    nb_meta_free(&meta);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gguf_files_that_are_no_matrix_are_refused),
        cmocka_unit_test(files_that_are_cut_short_are_refused),
        cmocka_unit_test(dat_files_that_lie_are_refused),
        cmocka_unit_test(what_importance_is_missing_is_said),
        cmocka_unit_test(where_files_were_is_not_written_down),
        cmocka_unit_test(experts_have_rows_of_their_own),
    };

    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
