/*
 * Checkpoints that are quantized already: every format gives the values that its toolkit gives (tests/golden/inputs), read
 * in any order and in any pieces; and parts that do not fit together are refused with a sentence.
 */
#include "formats/base/text.h"
#include "formats/elements/decode.h"
#include "formats/elements/halves.h"
#include "formats/models/packed/packed.h"
#include "formats/models/stored_tensors.h"
#include "formats/models/view_build.h"
#include "formats/models/view_panel.h"
#include "formats/safetensors/checkpoint.h"
#include "scratch.h"
#include "splitmix.h"
#include "testing.h"

#include <inttypes.h>
#include <math.h>
#include <xxhash.h>

#define GOLDENS TEST_DATA "/golden/inputs"

static unsigned mismatches; /* so that all are named */

/* The weights of a folder's checkpoint. */
struct weights {
    struct nb_checkpoint checkpoint;
    struct nb_quantization quantization;
    struct nb_packed_summary summary;
    struct nb_store store;
    struct nb_tensor *stored;
    struct nb_arena arena;
};

static enum nb_status
open_as(struct weights *w, const char *folder, bool keep, bool exact, struct nb_error *err)
{
    enum nb_status status;

    *w = (struct weights){ 0 };
    status = nb_checkpoint_open(&w->checkpoint, scratch_path(folder), false, err);
    if (status == NB_OK)
        status = nb_quantization_find(&w->checkpoint, &w->quantization, err);
    if (status != NB_OK)
        return status;
    w->quantization.keep = keep;
    w->quantization.keep_exact = exact;
    w->stored = calloc(w->checkpoint.n_tensors + 1, sizeof *w->stored);
    assert_non_null(w->stored);
    for (size_t i = 0; i < w->checkpoint.n_tensors; i++)
        w->stored[i] = nb_stored_safetensor(&w->checkpoint.tensors[i].info, w->checkpoint.tensors[i].file);
    w->store = (struct nb_store){ w->stored, w->checkpoint.n_tensors, w->checkpoint.files, w->checkpoint.n_files };
    return nb_packed_replace(&w->store, &w->quantization, folder, &w->arena, &w->summary, NULL, err);
}

static enum nb_status
open_weights(struct weights *w, const char *folder, bool keep, struct nb_error *err)
{
    return open_as(w, folder, keep, false, err);
}

static void
close_weights(struct weights *w)
{
    nb_quantization_free(&w->quantization);
    nb_checkpoint_close(&w->checkpoint);
    nb_arena_free(&w->arena);
    free(w->stored);
}

/* A folder with the tensors of the golden FORMAT and CONFIG, its entry of config.json. */
static void
golden_folder(const char *folder, const char *format, json_t *config)
{
    json_t *mlx = json_object_get(config, "quantization");
    json_t *all = mlx != NULL ? json_pack("{s:O}", "quantization", mlx)
                              : json_pack("{s:O}", "quantization_config", config);
    char path[SCRATCH_PATH], *text = json_dumps(all, 0);
    unsigned char *bytes;
    size_t size;

    scratch_folder(folder);
    snprintf(path, sizeof path, "%s/config.json", folder);
    scratch_write_text(path, text);
    snprintf(path, sizeof path, GOLDENS "/%s.safetensors", format);
    bytes = scratch_read(path, &size);
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    scratch_write(path, bytes, size);
    free(bytes);
    free(text);
    json_decref(all);
}

static void
assert_hash(const char *what, const char *as, const void *bytes, size_t size, json_t *expected)
{
    char hash[17];

    snprintf(hash, sizeof hash, "%016" PRIx64, XXH64(bytes, size, 0));
    if (strcmp(hash, json_string_value(expected)) != 0) {
        print_error("%s as %s: the hash is %s, but %s was expected\n", what, as, hash, json_string_value(expected));
        mismatches++;
    }
}

/* All of T, decoded to its type. */
static unsigned char *
read_all(const struct weights *w, const struct nb_tensor *t)
{
    struct nb_view_reader reader = { 0 };
    unsigned char *bytes = malloc((size_t)t->bytes + 1);
    struct nb_error err;

    assert_non_null(bytes);
    if (nb_packed_read(&w->store, t, 0, t->bytes, bytes, &reader, &err) != NB_OK)
        fail_msg("%s", err.message);
    nb_view_reader_free(&reader);
    return bytes;
}

static void
compare_hashes(const char *what, const float *values, size_t n, json_t *expected)
{
    uint16_t *halves = malloc(n * sizeof *halves + 1);

    assert_non_null(halves);
    assert_hash(what, "F32", values, n * sizeof *values, json_object_get(expected, "f32_xxh64"));
    for (size_t i = 0; i < n; i++)
        halves[i] = nb_f32_to_bf16(values[i]);
    assert_hash(what, "BF16", halves, n * sizeof *halves, json_object_get(expected, "bf16_xxh64"));
    for (size_t i = 0; i < n; i++)
        halves[i] = nb_f32_to_f16(values[i]);
    assert_hash(what, "F16", halves, n * sizeof *halves, json_object_get(expected, "f16_xxh64"));
    free(halves);
}

/* Pieces of T that begin and end anywhere have the elements of ALL. */
static void
compare_pieces(const struct weights *w, const struct nb_tensor *t, const unsigned char *all)
{
    struct nb_view_reader reader = { 0 };
    uint64_t state = XXH64(t->name, strlen(t->name), 0);
    unsigned char *piece = malloc((size_t)t->bytes + 1);
    struct nb_error err;

    assert_non_null(piece);
    for (unsigned i = 0; i < 200; i++) {
        const uint64_t n = t->elements, first = splitmix(&state) % n,
                       most = i % 4 == 0 ? 3 * t->ne[0] + 1 : t->ne[0] / 2 + 1;
        const uint64_t count = 1 + splitmix(&state) % (n - first < most ? n - first : most);

        assert_int_equal(nb_packed_read(&w->store, t, first * 4, count * 4, piece, &reader, &err), NB_OK);
        if (memcmp(piece, all + first * 4, (size_t)count * 4) != 0)
            fail_msg("%s: %" PRIu64 " elements from %" PRIu64 " on are others than in the whole", t->name, count,
                     first);
    }
    nb_view_reader_free(&reader);
    free(piece);
}

/* The hashes of the module that T is the weight of, or NULL. */
static json_t *
hashes_of(json_t *golden, const struct nb_tensor *t)
{
    json_t *hashes;
    const char *module;

    json_object_foreach(json_object_get(golden, "dequantized"), module, hashes)
        if (strstr(t->name, module) != NULL)
            return hashes;
    return NULL;
}

static void
compare_golden(const char *format, json_t *golden)
{
    struct weights w;
    struct nb_error err;

    golden_folder("golden", format, json_object_get(golden, "config"));
    if (open_weights(&w, "golden", false, &err) != NB_OK)
        fail_msg("%s: %s", format, err.message);
    assert_true(w.summary.count > 0);
    assert_int_equal(w.store.count, w.summary.count); /* no part is left over */
    for (size_t i = 0; i < w.store.count; i++) {
        const struct nb_tensor *t = &w.store.tensors[i];
        unsigned char *bytes = read_all(&w, t);
        json_t *hashes = hashes_of(golden, t);
        char what[256];

        snprintf(what, sizeof what, "%s: %s", format, t->name);
        assert_int_equal(t->type, NB_F32);
        if (hashes != NULL)
            compare_hashes(what, (const float *)(const void *)bytes, (size_t)t->elements, hashes);
        else
            assert_hash(what, "F32", bytes, (size_t)t->bytes, json_object_get(golden, "dequantized_f32_xxh64"));
        compare_pieces(&w, t, bytes);
        free(bytes);
    }
    close_weights(&w);
    scratch_remove("golden");
}

static void
every_format_decodes_to_the_values_of_its_toolkit(void **unused)
{
    json_error_t error;
    json_t *goldens = json_load_file(GOLDENS "/expected.json", 0, &error), *golden;
    const char *format;
    unsigned n = 0;

    (void)unused;
    if (goldens == NULL)
        fail_msg("%s", error.text);
    json_object_foreach(goldens, format, golden) {
        char path[SCRATCH_PATH];

        snprintf(path, sizeof path, GOLDENS "/%s.safetensors", format);
        if (strcmp(format, "gptoss_mxfp4") == 0 || !scratch_exists(path)) /* gpt-oss's: a family's, in test_families */
            continue;
        compare_golden(format, golden);
        n++;
    }
    assert_int_equal(mismatches, 0);
    assert_true(n > 20);
    json_decref(goldens);
}

/* What GGUF has a type for is only put in its order. */
static void
compare_blocks(const char *format, json_t *golden, enum nb_type type, const char *hash)
{
    struct weights w;
    struct nb_error err;
    unsigned char *bytes;
    json_t *factor = json_object_get(golden, "scale_tensor_f32");

    golden_folder("golden", format, json_object_get(golden, "config"));
    if (open_weights(&w, "golden", true, &err) != NB_OK)
        fail_msg("%s: %s", format, err.message);
    assert_int_equal(w.summary.kept, 1);
    assert_int_equal(w.store.tensors->type, type);
    bytes = read_all(&w, w.store.tensors);
    assert_hash(format, nb_type_info(type)->name, bytes, (size_t)w.store.tensors->bytes, json_object_get(golden, hash));
    free(bytes);
    if (factor != NULL)
        assert_true(nb_packed_factor(w.store.tensors->packed) == (float)json_number_value(factor));
    close_weights(&w);
    scratch_remove("golden");
}

static void
fp4_stays_in_the_type_that_gguf_has_for_it(void **unused)
{
    json_t *goldens = json_load_file(GOLDENS "/expected.json", 0, NULL);

    (void)unused;
    assert_non_null(goldens);
    mismatches = 0;
    compare_blocks("ct_nvfp4", json_object_get(goldens, "ct_nvfp4"), NB_NVFP4, "ggml_nvfp4_xxh64");
    compare_blocks("ct_mxfp4", json_object_get(goldens, "ct_mxfp4"), NB_MXFP4, "ggml_mxfp4_xxh64");
    assert_int_equal(mismatches, 0);
    json_decref(goldens);
}

/* --- views ---------------------------------------------------------------------------------------------------------- */

/* A view of T with the operation OP reads the same through a panel, in pieces, as by itself. */
static void
compare_through_panel(const struct weights *w, const struct nb_tensor *t, struct nb_map_op op)
{
    const struct nb_map_row row = { "x", "x", { op } };
    const struct nb_hparams none = { 0 };
    const struct nb_view_origin origin = { .row = &row, .hp = &none, .stored = &t, .n_stored = 1 };
    struct nb_view v = { .name = "x", .source_name = t->name, .type = t->type, .n_dims = 2, .store = &w->store };
    struct nb_view_panel *panel = nb_view_panel_new();
    struct nb_view_reader one = { 0 }, other = { 0 };
    struct nb_arena arena = { 0 };
    struct nb_error err;

    memcpy(v.ne, t->ne, sizeof v.ne);
    v.ne[1] = op.kind == NB_MAP_CUT ? 8 : v.ne[1];
    if (nb_view_build(&v, &origin, &arena, &err) != NB_OK)
        fail_msg("%s", err.message);
    assert_non_null(v.turned);
    assert_non_null(panel);
    for (uint64_t first = 0; first < v.elements; first += 100) {
        const uint64_t n = v.elements - first < 100 ? v.elements - first : 100;

        assert_int_equal(nb_view_fetch(&v, first, n, &one, &err), NB_OK);
        assert_int_equal(nb_view_fetch_shared(&v, first, n, &other, panel, &err), NB_OK);
        assert_memory_equal(one.elements, other.elements, (size_t)n * sizeof(float));
        nb_view_release(&other, panel);
    }
    nb_view_reader_free(&one);
    nb_view_reader_free(&other);
    nb_view_panel_free(panel);
    nb_arena_free(&arena);
}

static void
weights_stored_as_their_transpose_are_the_same_in_a_panel(void **unused)
{
    static const char *const formats[] = { "gptq3", "gptq4_sym", "gptq8", "awq4" };
    json_t *goldens = json_load_file(GOLDENS "/expected.json", 0, NULL);

    (void)unused;
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        struct weights w;
        struct nb_error err;

        golden_folder("golden", formats[i], json_object_get(json_object_get(goldens, formats[i]), "config"));
        assert_int_equal(open_weights(&w, "golden", false, &err), NB_OK);
        for (size_t k = 0; k < w.store.count; k++) {
            compare_through_panel(&w, &w.store.tensors[k], (struct nb_map_op){ NB_MAP_NOTHING, { NULL } });
            compare_through_panel(&w, &w.store.tensors[k], (struct nb_map_op){ NB_MAP_NEIGHBOURS, { "16" } });
            compare_through_panel(&w, &w.store.tensors[k], (struct nb_map_op){ NB_MAP_CUT, { "5", "8" } });
        }
        close_weights(&w);
        scratch_remove("golden");
    }
    json_decref(goldens);
}

/* --- codes that stay ------------------------------------------------------------------------------------------------ */

/* In the golden's file in FOLDER, scales of BF16 are taken for F16. */
static void
take_scales_for_f16(const char *folder)
{
    char path[SCRATCH_PATH];
    unsigned char *bytes;
    size_t size;

    snprintf(path, sizeof path, "%s/model.safetensors", scratch_path(folder));
    bytes = scratch_read(path, &size);
    for (size_t i = 0; i + 6 < size; i++)
        if (memcmp(bytes + i, "\"BF16\"", 6) == 0)
            memcpy(bytes + i, "\"F16\" ", 6);
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    scratch_write(path, bytes, size);
    free(bytes);
}

/* The weights of the golden FORMAT as blocks of Q4_0 decode to what they are as floats. */
static void
compare_kept(const char *format, bool take_for_f16)
{
    json_t *goldens = json_load_file(GOLDENS "/expected.json", 0, NULL);
    struct weights floats, kept;
    struct nb_error err;

    golden_folder("golden", format, json_object_get(json_object_get(goldens, format), "config"));
    if (take_for_f16)
        take_scales_for_f16("golden");
    assert_int_equal(open_as(&floats, "golden", true, false, &err), NB_OK);
    if (open_as(&kept, "golden", true, true, &err) != NB_OK)
        fail_msg("%s: %s", format, err.message);
    assert_true(kept.store.count == floats.store.count && kept.summary.kept == kept.store.count);
    for (size_t i = 0; i < kept.store.count; i++) {
        const struct nb_tensor *t = &kept.store.tensors[i];
        unsigned char *blocks = read_all(&kept, t), *expected = read_all(&floats, &floats.store.tensors[i]);
        float *decoded = malloc((size_t)t->elements * sizeof *decoded);

        assert_int_equal(t->type, NB_Q4_0);
        assert_non_null(decoded);
        nb_decode(NB_Q4_0, blocks, (size_t)t->elements, decoded);
        if (memcmp(decoded, expected, (size_t)t->elements * sizeof *decoded) != 0)
            fail_msg("%s: %s has other values as Q4_0", format, t->name);
        free(decoded);
        free(expected);
        free(blocks);
    }
    close_weights(&floats);
    close_weights(&kept);
    scratch_remove("golden");
    json_decref(goldens);
}

static void
codes_of_four_bits_stay_if_gguf_holds_the_same_values(void **unused)
{
    (void)unused;
    compare_kept("gptq4_sym", false);
    compare_kept("ct_pack4_sym", true);
}

/* Four rows of 64 codes, two groups in each: as Q4_1 they are code * scale + bias. */
static void
affine_codes_of_mlx_stay_as_q4_1(void **unused)
{
    static const char header[] = "{\"x.biases\":{\"dtype\":\"F16\",\"shape\":[4,2],\"data_offsets\":[0,16]},"
                                 "\"x.scales\":{\"dtype\":\"F16\",\"shape\":[4,2],\"data_offsets\":[16,32]},"
                                 "\"x.weight\":{\"dtype\":\"U32\",\"shape\":[4,8],\"data_offsets\":[32,160]}}";
    unsigned char *file, *blocks, *data;
    struct weights w;
    struct nb_error err;
    float decoded[256];
    uint64_t state = 7;
    size_t size;

    (void)unused;
    scratch_folder("mlx");
    scratch_write_text("mlx/config.json", "{\"quantization\":{\"group_size\":32,\"bits\":4}}");
    write_safetensors("mlx", "model.safetensors", header, 160);
    file = scratch_read(scratch_path("mlx/model.safetensors"), &size);
    data = file + size - 160;
    for (size_t i = 0; i < 160; i++)
        data[i] = (unsigned char)(splitmix(&state) & (i < 32 && i % 2 == 1 ? 0xBF : 0xFF)); /* halves that are finite */
    scratch_write("mlx/model.safetensors", file, size);
    if (open_as(&w, "mlx", true, true, &err) != NB_OK)
        fail_msg("%s", err.message);
    assert_int_equal(w.store.tensors->type, NB_Q4_1);
    blocks = read_all(&w, w.store.tensors);
    nb_decode(NB_Q4_1, blocks, 256, decoded);
    for (size_t i = 0; i < 256; i++) {
        const unsigned code = data[32 + i / 2] >> i % 2 * 4 & 15;
        uint16_t bias, scale;

        memcpy(&bias, data + i / 32 * 2, 2);
        memcpy(&scale, data + 16 + i / 32 * 2, 2);
        assert_true(decoded[i] == (float)code * nb_f16_to_f32(scale) + nb_f16_to_f32(bias));
    }
    free(blocks);
    free(file);
    close_weights(&w);
    scratch_remove("mlx");
}

/* The golden FORMAT cannot stay, and SENTENCE says why. */
static void
expect_not_kept(const char *format, const char *sentence)
{
    json_t *goldens = json_load_file(GOLDENS "/expected.json", 0, NULL);
    struct weights w;
    struct nb_error err = { 0 };

    golden_folder("golden", format, json_object_get(json_object_get(goldens, format), "config"));
    if (open_as(&w, "golden", true, true, &err) == NB_OK || strstr(err.message, sentence) == NULL)
        fail_msg("%s: '%s', expected '%s'", format, err.message, sentence);
    close_weights(&w);
    scratch_remove("golden");
    json_decref(goldens);
}

static void
codes_that_gguf_cannot_hold_exactly_are_refused(void **unused)
{
    (void)unused;
    expect_not_kept("gptq8", "it has not 4 bits");
    expect_not_kept("gptq4_v2", "--keep-quantized");
    expect_not_kept("ct_pack4_sym", "its scales are no F16");
    expect_not_kept("mlx_affine6", "it has not 4 bits");
}

/* --- what does not fit together ------------------------------------------------------------------------------------- */

/* A folder with this quantization_config, and tensors of zeros: "NAME DTYPE SIDE [SIDE]", separated by "; ". */
static void
folder_of(const char *folder, const char *config, const char *tensors)
{
    char text[512], header[2048] = "{", name[64], dtype[16];
    size_t at = 1, bytes = 0;
    unsigned long rows, columns;

    scratch_folder(folder);
    snprintf(text, sizeof text, "{\"quantization_config\": %s}", config);
    scratch_write_text("bad/config.json", text);
    for (const char *t = tensors; *t != '\0'; t += strcspn(t, ";"), t += *t == ';' ? 2 : 0) {
        const int n = sscanf(t, "%63s %15s %lu %lu", name, dtype, &rows, &columns);
        const size_t each = strncmp(dtype, "F8", 2) == 0 || dtype[1] == '8' ? 1
                            : strcmp(dtype, "I64") == 0                     ? 8
                            : strchr(dtype, '3') != NULL                    ? 4
                                                                            : 2;
        const size_t size = (n > 2 ? rows : 1) * (n > 3 ? columns : 1) * each;

        at += (size_t)snprintf(header + at, sizeof header - at, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[",
                               at > 1 ? "," : "", name, dtype);
        if (n > 2)
            at += (size_t)snprintf(header + at, sizeof header - at, n > 3 ? "%lu,%lu" : "%lu", rows, columns);
        at += (size_t)snprintf(header + at, sizeof header - at, "],\"data_offsets\":[%zu,%zu]}", bytes, bytes + size);
        bytes += size;
    }
    snprintf(header + at, sizeof header - at, "}");
    write_safetensors(folder, "model.safetensors", header, bytes);
}

static void
expect_sentence(const char *config, const char *tensors, const char *sentence)
{
    struct weights w;
    struct nb_error err = { 0 };
    enum nb_status status;

    folder_of("bad", config, tensors);
    status = open_weights(&w, "bad", false, &err);
    close_weights(&w);
    scratch_remove("bad");
    if (status == NB_OK || strstr(err.message, sentence) == NULL)
        fail_msg("%s with %s: status %d, '%s', expected '%s'", config, tensors, (int)status, err.message, sentence);
}

#define FP8_BLOCKS "{\"quant_method\":\"fp8\",\"weight_block_size\":[128,128]}"
#define GPTQ_4 "{\"quant_method\":\"gptq\",\"bits\":4}"
#define PACK_4                                                                \
    "{\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\"," \
    "\"config_groups\":{\"g\":{\"weights\":{\"num_bits\":4}}}}"
#define COMPRESSED "{\"quant_method\":\"compressed-tensors\"}"

static void
companions_that_do_not_fit_are_refused_with_a_sentence(void **unused)
{
    static const struct {
        const char *config, *tensors, *sentence;
    } cases[] = {
        { FP8_BLOCKS, "x.weight F8_E4M3 256 256; x.weight_scale_inv F32 3 2", "is 3 x 2, which fits neither the rows" },
        { FP8_BLOCKS, "x.weight F8_E4M3 256 256; x.weight_scale_inv I32 2 2", "has dtype I32, which cannot scale" },
        { FP8_BLOCKS, "x.weight F8_E4M3 256 256", "has dtype F8_E4M3, but no '_scale_inv' beside it" },
        { "{\"quant_method\":\"awq\",\"bits\":4}", "x.weight F8_E4M3 256 256; x.qweight I32 64 8",
          "tensor 'x.qweight' has dtype I32, but no '.scales' beside it" },
        { GPTQ_4, "x.scales F16 2 64; x.qzeros I32 2 8", "tensor 'x.qweight' is missing, to which 'x.scales' belongs" },
        { GPTQ_4, "x.qweight I32 8 64; x.scales F16 2 64; x.qzeros I32 2 9", "has zero points that do not fit" },
        { GPTQ_4, "x.qweight I32 8 64; x.scales F16 2 63; x.qzeros I32 2 8", "must be any x 64" },
        { GPTQ_4, "x.qweight I32 8 64; x.scales F16 2 64; x.qzeros I32 3 8", "must be 2 x any" },
        { GPTQ_4, "x.qweight I32 8 64; x.scales F16 3 64; x.qzeros I32 3 8", "has groups that do not divide" },
        { GPTQ_4, "x.qweight I32 8 64; x.scales F16 2 64; x.qzeros I32 2 8; x.g_idx I32 63",
          "has not one I32 for each" },
        { GPTQ_4, "x.qweight I32 4 64; x.scales F16 2 64; x.qzeros I32 2 4",
          "has 2 bits by its shape, but 4 by the config" },
        { "{\"quant_method\":\"gptq\",\"checkpoint_format\":\"marlin\"}",
          "x.qweight I32 8 64; x.scales F16 2 64; x.qzeros I32 2 8", "is packed as 'marlin'" },
        { "{\"quant_method\":\"awq\",\"version\":\"gemv\"}", "x.qweight I32 64 8; x.scales F16 2 64; x.qzeros I32 2 8",
          "is packed as 'gemv'" },
        { "{\"quant_method\":\"awq\"}", "x.qweight I32 64 8; x.scales F16 2 64; x.qzeros I32 2 7", "must be 2 x 8" },
        { "{\"quant_method\":\"awq\"}", "x.qweight I32 64 8; x.scales F16 2 64", "has no zero points" },
        { PACK_4, "x.weight_packed I32 64 8; x.weight_scale BF16 64 2", "has no 'weight_shape'" },
        { PACK_4, "x.weight_packed I32 64 8; x.weight_scale BF16 64 2; x.weight_shape I64 2", "says 0 x 0" },
        { COMPRESSED, "x.weight_packed U8 16 64; x.weight_scale F8_E4M3 16 7; x.weight_global_scale F32 1",
          "must be 16 x 8" },
        { COMPRESSED, "x.weight_packed U8 16 64; x.weight_scale F8_E4M3 16 8; x.weight_global_scale F32 1",
          "is 0, which cannot" },
        { COMPRESSED, "x.weight_packed U8 16 60; x.weight_scale U8 16 4", "has rows that are not whole blocks" },
        { "{\"quant_method\":\"compressed-tensors\",\"format\":\"marlin-24\"}",
          "x.weight_packed I32 64 8; x.weight_scale BF16 64 2", "the format 'marlin-24' of compressed-tensors" },
        { "{\"quant_method\":\"compressed-tensors\",\"sparsity_config\":{\"format\":\"sparse-24-bitmask\"}}",
          "x.weight I8 16 64; x.weight_scale F32 1", "the sparse format 'sparse-24-bitmask'" },
        { "{\"quant_method\":\"compressed-tensors\",\"transform_config\":{\"config_groups\":{\"R1\":{}}}}",
          "x.weight I8 16 64; x.weight_scale F32 1", "the transform_config of compressed-tensors" },
        { "{\"quant_method\":\"modelopt\"}", "x.weight U8 16 64; x.weight_scale F8_E4M3 16 8",
          "no '.weight_scale_2' beside" },
        { COMPRESSED, "x.weight I8 16 64; x.weight_scale F32 5 3", "is 5 x 3, which fits neither" },
        { "{\"quant_method\":\"bitsandbytes\"}", "x.weight U8 512 1; x.weight.absmax F32 16; x.weight.quant_map F32 16",
          "has no quant_state" },
        { "{\"quant_method\":\"bitsandbytes\"}",
          "x.weight U8 512 1; x.weight.absmax F32 16; x.weight.quant_map F32 16; "
          "x.weight.quant_state.bitsandbytes__nf4 U8 9",
          "has a quant_state that is not JSON" },
        { "{\"quant_method\":\"hqq\"}", "x.W_q U8 64 32; x.scale F32 128 1; x.zero F32 128 1", "has no 'shape'" },
        { "{\"quant_method\":\"hqq\"}", "x.W_q U8 64 32; x.scale F32 128 1; x.zero F32 128 1; x.shape I64 2",
          "has a 'shape' that is none" },
        { "{\"quant_method\":\"mlx\",\"group_size\":64,\"bits\":4}",
          "x.weight U32 8 16; x.scales F16 8 3; x.biases F16 8 3", "has not the words of" },
        { "{\"quant_method\":\"mlx\",\"group_size\":64,\"mode\":\"mxfp5\"}", "x.weight U32 8 16; x.scales U8 8 4",
          "MLX's mode 'mxfp5'" },
        { "{\"bits\":4}", "x.weight F8_E4M3 8 16; x.weight_scale F32 1", "has no quantization_config that says so" },
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        expect_sentence(cases[i].config, cases[i].tensors, cases[i].sentence);
}

/* Changes the bytes of the golden FORMAT's first tensor whose name ends with ENDING, and expects SENTENCE. */
static void
expect_refused_value(const char *format, const char *ending, const void *value, size_t size, const char *sentence)
{
    json_t *goldens = json_load_file(GOLDENS "/expected.json", 0, NULL);
    struct nb_error err = { 0 };
    struct weights w = { 0 };
    uint64_t at = 0;
    unsigned char *bytes;
    size_t length;

    golden_folder("golden", format, json_object_get(json_object_get(goldens, format), "config"));
    assert_int_equal(nb_checkpoint_open(&w.checkpoint, scratch_path("golden"), false, &err), NB_OK);
    for (size_t i = 0; i < w.checkpoint.n_tensors; i++)
        if (nb_ends_with(w.checkpoint.tensors[i].info.name, ending))
            at = w.checkpoint.tensors[i].info.offset;
    assert_true(at > 0);
    close_weights(&w);
    bytes = scratch_read(scratch_path("golden/model.safetensors"), &length);
    memcpy(bytes + at, value, size);
    scratch_write("golden/model.safetensors", bytes, length);
    if (open_weights(&w, "golden", false, &err) == NB_OK || strstr(err.message, sentence) == NULL)
        fail_msg("%s: '%s', expected '%s'", format, err.message, sentence);
    close_weights(&w);
    scratch_remove("golden");
    free(bytes);
    json_decref(goldens);
}

static void
values_that_cannot_be_are_refused_with_a_sentence(void **unused)
{
    static const int32_t group = 2, negative = -1;
    static const int64_t side = -64;
    static const float nan = NAN, zero = 0;

    (void)unused;
    expect_refused_value("gptq4_sym", ".g_idx", &group, sizeof group, "into group 2, but there are");
    expect_refused_value("gptq4_sym", ".g_idx", &negative, sizeof negative, "into group -1");
    expect_refused_value("ct_pack4_sym", ".weight_shape", &side, sizeof side, "which is no shape");
    expect_refused_value("ct_nvfp4", ".weight_global_scale", &nan, sizeof nan, "nan, which cannot scale");
    expect_refused_value("ct_nvfp4", ".weight_global_scale", &zero, sizeof zero, "is 0, which cannot scale");
    expect_refused_value("bnb_nf4", "__nf4", "[", 1, "has a quant_state that is not JSON");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_format_decodes_to_the_values_of_its_toolkit),
        cmocka_unit_test(fp4_stays_in_the_type_that_gguf_has_for_it),
        cmocka_unit_test(weights_stored_as_their_transpose_are_the_same_in_a_panel),
        cmocka_unit_test(codes_of_four_bits_stay_if_gguf_holds_the_same_values),
        cmocka_unit_test(affine_codes_of_mlx_stay_as_q4_1),
        cmocka_unit_test(codes_that_gguf_cannot_hold_exactly_are_refused),
        cmocka_unit_test(companions_that_do_not_fit_are_refused_with_a_sentence),
        cmocka_unit_test(values_that_cannot_be_are_refused_with_a_sentence),
    };

    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
