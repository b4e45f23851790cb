/* MLX: the bytes of its formats, and folders for it. */
#include "formats/base/json_write.h"
#include "formats/elements/decode.h"
#include "formats/elements/tier.h"
#include "formats/models/expression.h"
#include "formats/models/mlx_layout.h"
#include "formats/models/source.h"
#include "golden_checkpoint.h"
#include "golden_inputs.h"
#include "quantize/search/encode.h"
#include "quantize/search/mlx.h"
#include "scratch.h"
#include "testing.h"

#include <math.h>

#include <jansson.h>
#include <stdbool.h>
#include <xxhash.h>
#include <zlib.h>

static struct nb_error err;

static enum nb_mlx_mode
mode_of(const char *name)
{
    for (enum nb_mlx_mode m = NB_MLX_AFFINE; m <= NB_MLX_MXFP8; m++)
        if (strcmp(nb_mlx_mode_name(m), name) == 0)
            return m;
    fail_msg("unknown mode '%s'", name);
    return NB_MLX_AFFINE;
}

struct unit_row {
    char input[32], dtype[8], mode[8], biases[17];
    unsigned bits, group;
    unsigned long long input_hash, weight_hash, scales_hash;
};

/* mlx lets exponents below that of E8M0 wrap around, where ours are the smallest. */
static bool
is_wrapped_in_mlx(const struct unit_row *r)
{
    return strcmp(r->input, "subnormal") == 0 && strcmp(r->mode, "mxfp4") == 0 && strcmp(r->dtype, "f16") != 0;
}

/* Whether the planes of the row's input are those of mlx. */
static void
check_row(const struct unit_row *r)
{
    static float x[GOLDEN_COUNT];
    static unsigned char stored[GOLDEN_COUNT * 4], out[GOLDEN_COUNT * 4];
    const enum nb_type type = nb_type_by_name(r->dtype);
    const struct nb_mlx_format format = { mode_of(r->mode), (uint8_t)r->bits, (uint16_t)r->group };
    const struct nb_encoding e = nb_mlx_encoding(&format, type);
    const size_t groups = GOLDEN_COUNT / r->group, codes = groups * e.plane_bytes[0];
    const size_t scales = groups * e.plane_bytes[1];
    uint64_t size;

    golden_input(golden_input_index(r->input), x);
    nb_encode(type, x, 1, GOLDEN_COUNT, NULL, stored);
    assert_true(nb_type_bytes(type, GOLDEN_COUNT, &size));
    assert_int_equal(XXH64(stored, (size_t)size, 0), r->input_hash);
    nb_decode(type, stored, GOLDEN_COUNT, x);
    memset(out, 0xA5, sizeof out);
    e.encode(&e, x, GOLDEN_ROWS, GOLDEN_COLUMNS, NULL, out);
    if (is_wrapped_in_mlx(r)) {
        for (size_t i = 0; i < scales; i++) /* 2^0 where the largest magnitude is rounded to 0 */
            assert_true(out[codes + i] == 0 || out[codes + i] == 127);
        return;
    }
    if (XXH64(out, codes, 0) != r->weight_hash)
        fail_msg("%s: %s in %s as %s %u %u: other codes than mlx's", nb_tier(), r->input, r->dtype, r->mode, r->bits,
                 r->group);
    if (XXH64(out + codes, scales, 0) != r->scales_hash)
        fail_msg("%s: %s in %s as %s %u %u: other scales than mlx's", nb_tier(), r->input, r->dtype, r->mode, r->bits,
                 r->group);
    if (e.n_planes == 3 && XXH64(out + codes + scales, scales, 0) != strtoull(r->biases, NULL, 16))
        fail_msg("%s: %s in %s as %s %u %u: other biases than mlx's", nb_tier(), r->input, r->dtype, r->mode, r->bits,
                 r->group);
    assert_int_equal(out[codes + scales * (e.n_planes - 1u)], 0xA5); /* not a byte behind */
}

static size_t
check_table(void)
{
    gzFile table = gzopen(TEST_DATA "/golden/mlx/unit_vectors.tsv.gz", "rb");
    char line[256];
    size_t checked = 0;

    assert_non_null(table);
    while (gzgets(table, line, sizeof line) != NULL) {
        struct unit_row r;

        assert_int_equal(sscanf(line, "%31s %7s %7s %u %u %llx %llx %llx %16s", r.input, r.dtype, r.mode, &r.group,
                                &r.bits, &r.input_hash, &r.weight_hash, &r.scales_hash, r.biases),
                         9);
        check_row(&r);
        checked++;
    }
    gzclose(table);
    return checked;
}

static void
every_tier_gives_the_planes_of_mlx(void **unused)
{
    (void)unused;
    for (const char *const *tier = nb_tiers(); *tier != NULL; tier++) {
        assert_true(nb_tier_set(*tier));
        assert_int_equal(check_table(), 702);
    }
    assert_true(nb_tier_set(NULL));
}

/* --- NVFP4 --------------------------------------------------------------------------------------------------- */

static void
blocks_that_vanish_are_counted(void **unused)
{
    static unsigned char out[256];
    const struct nb_encoding e = nb_mlx_encoding(&(struct nb_mlx_format){ NB_MLX_NVFP4, 4, 16 }, NB_F32);
    float x[64] = { 0 }; /* a block of zeros, one that is small, one whose scale is the smallest, a usual one */

    (void)unused;
    x[17] = -0.005f;
    x[40] = 0.006f;
    x[50] = 0.5f;
    e.encode(&e, x, 1, 64, NULL, out);
    assert_int_equal(out[32], 0);
    assert_int_equal(out[33], 0);
    assert_int_equal(out[34], 1);
    assert_int_equal(e.count_lost(&e, x, 64, out), 1);
}

/* --- importance ---------------------------------------------------------------------------------------------- */

/* Code NUMBER of BITS bits from the bytes at CODES on, lowest bits first. */
static unsigned
code_of(const unsigned char *codes, size_t number, unsigned bits)
{
    const size_t at = number * bits;
    const unsigned two = codes[at / 8] | (at % 8 + bits > 8 ? (unsigned)codes[at / 8 + 1] << 8 : 0);

    return two >> at % 8 & ((1u << bits) - 1);
}

/* The weighted squared errors of each group of X as ENCODING, in F32, has it. */
static void
errors_of(const struct nb_encoding *e, const float *x, const float *importance, const unsigned char *out,
          double *errors)
{
    const size_t groups = GOLDEN_COUNT / e->block;
    const unsigned char *scales = out + groups * e->plane_bytes[0], *biases = scales + groups * sizeof(float);

    for (size_t g = 0; g < groups; g++) {
        float scale, bias;

        memcpy(&scale, scales + g * sizeof scale, sizeof scale);
        memcpy(&bias, biases + g * sizeof bias, sizeof bias);
        errors[g] = 0;
        for (size_t i = g * e->block; i < (g + 1) * e->block; i++) {
            const double d = (double)scale * code_of(out, i, e->bits) + (double)bias - (double)x[i];

            errors[g] += (double)importance[i % GOLDEN_COLUMNS] * d * d;
        }
    }
}

static void
check_fit(unsigned input, const struct nb_mlx_format *format)
{
    static float x[GOLDEN_COUNT], importance[GOLDEN_COLUMNS];
    static unsigned char plain[GOLDEN_COUNT * 4], fitted[GOLDEN_COUNT * 4];
    static double before[GOLDEN_COUNT / 32], after[GOLDEN_COUNT / 32];
    const struct nb_encoding e = nb_mlx_encoding(format, NB_F32);
    double sum_before = 0, sum_after = 0;

    golden_input(input, x);
    golden_importance(input % 2, importance);
    e.encode(&e, x, GOLDEN_ROWS, GOLDEN_COLUMNS, NULL, plain);
    e.encode(&e, x, GOLDEN_ROWS, GOLDEN_COLUMNS, importance, fitted);
    errors_of(&e, x, importance, plain, before);
    errors_of(&e, x, importance, fitted, after);
    for (size_t g = 0; g < GOLDEN_COUNT / e.block; g++) {
        if (after[g] > before[g] * 1.0001 + 1e-12)
            fail_msg("input %u, %u bits: group %zu is worse for being fitted: %g, not %g", input, (unsigned)e.bits, g,
                     after[g], before[g]);
        sum_before += before[g];
        sum_after += after[g];
    }
    if (input == 0 && e.bits <= 4 && sum_after > 0.75 * sum_before)
        fail_msg("%u bits: the error is %g of the plain one", (unsigned)e.bits, sum_after / sum_before);
}

static void
groups_with_importance_have_less_weighted_error(void **unused)
{
    static const uint8_t bits[] = { 2, 3, 4, 5, 6, 8 };

    (void)unused;
    for (unsigned input = 0; input < 14; input++)
        for (size_t i = 0; i < sizeof bits / sizeof bits[0]; i++)
            check_fit(input, &(struct nb_mlx_format){ NB_MLX_AFFINE, bits[i], i % 2 == 0 ? 64 : 32 });
}

static void
every_tier_fits_groups_alike(void **unused)
{
    static float x[GOLDEN_COUNT], importance[GOLDEN_COLUMNS];
    static unsigned char first[GOLDEN_COUNT * 4], out[GOLDEN_COUNT * 4];
    const struct nb_encoding e = nb_mlx_encoding(&(struct nb_mlx_format){ NB_MLX_AFFINE, 3, 128 }, NB_BF16);

    (void)unused;
    golden_importance(1, importance);
    for (unsigned input = 0; input < 14; input++) {
        golden_input(input, x);
        for (const char *const *tier = nb_tiers(); *tier != NULL; tier++) {
            assert_true(nb_tier_set(*tier));
            memset(out, 0xA5, sizeof out);
            e.encode(&e, x, GOLDEN_ROWS, GOLDEN_COLUMNS, importance, out);
            if (tier == nb_tiers())
                memcpy(first, out, sizeof out);
            else if (memcmp(first, out, sizeof out) != 0)
                fail_msg("input %u: %s fits otherwise than %s", input, *tier, nb_tiers()[0]);
        }
    }
    assert_true(nb_tier_set(NULL));
}

/* --- folders ------------------------------------------------------------------------------------------------- */

#define SAMPLE SAMPLE_DATA "/tinystories-3m"

/* Writes the sample as folder "out" with OPTIONS, separated by blanks; nibble's exit code is returned. */
static int
write_sample(struct run *run, const char *options, const char *threads)
{
    const char *args[32] = { "quantize", SAMPLE, "--format", "mlx", "-o", scratch_path("out"), "-j", threads };
    char words[256], *rest, *word;
    size_t n = 8;

    snprintf(words, sizeof words, "%s", options);
    for (word = strtok_r(words, " ", &rest); word != NULL && n < 31; word = strtok_r(NULL, " ", &rest))
        args[n++] = word;
    scratch_remove("out");
    run_nibble(run, args);
    return run->code;
}

static void
check_setting(const char *setting, const char *options, const char *threads, const uint64_t hashes[3])
{
    static const char *const files[] = { "out/model.safetensors", "out/model.safetensors.index.json",
                                         "out/config.json" };
    static struct run run;

    if (write_sample(&run, options, threads) != 0)
        fail_msg("%s: %s", setting, run.err);
    for (int i = 0; i < 3; i++)
        if (scratch_hash(scratch_path(files[i])) != hashes[i])
            fail_msg("%s: %s is not that of mlx-lm", setting, files[i]);
}

static void
every_setting_gives_the_files_of_mlx_lm(void **unused)
{
    FILE *table = fopen(TEST_DATA "/golden/mlx/tinystories-3m.tsv", "r");
    char line[512], setting[64], options[128];
    unsigned long long hash[3];
    unsigned checked = 0;

    (void)unused;
    assert_non_null(table);
    while (fgets(line, sizeof line, table) != NULL) {
        if (*line == '#')
            continue;
        assert_int_equal(sscanf(line, "%63s %127[^\t] %llx %llx %llx", setting, options, &hash[0], &hash[1], &hash[2]),
                         5);
        check_setting(setting, options, checked % 2 == 0 ? "1" : "3", (const uint64_t[]){ hash[0], hash[1], hash[2] });
        checked++;
    }
    fclose(table);
    assert_int_equal(checked, 17);
}

/* --- families ------------------------------------------------------------------------------------------------ */

struct family_row {
    char golden[64], group[8], config[32];
    unsigned long long model, index;
};

static void
check_family(const struct family_row *r)
{
    static struct run run;
    char path[SCRATCH_PATH], out[SCRATCH_PATH];
    json_t *golden;

    snprintf(path, sizeof path, TEST_DATA "/golden/families/%s.json.gz", r->golden);
    golden = golden_read(path);
    golden_checkpoint(golden, "model");
    json_decref(golden);
    scratch_remove("out");
    snprintf(out, sizeof out, "%s", scratch_path("out"));
    RUN(&run, "quantize", scratch_path("model"), "--format", "mlx", "-t", "4bit", "--group-size", r->group, "-o", out);
    if (run.code != 0)
        fail_msg("%s: %s", r->golden, run.err);
    if (scratch_hash(scratch_path("out/model.safetensors")) != r->model)
        fail_msg("%s: other weights than those of mlx-lm", r->golden);
    if (scratch_hash(scratch_path("out/model.safetensors.index.json")) != r->index)
        fail_msg("%s: another index than that of mlx-lm", r->golden);
    if (strcmp(r->config, "-") != 0 && scratch_hash(scratch_path("out/config.json")) != strtoull(r->config, NULL, 16))
        fail_msg("%s: another config than that of mlx-lm", r->golden);
    scratch_remove("model");
}

/* Whether the views A and B have the same shape and the same floats. */
static bool
is_same_tensor(const struct nb_view *a, const struct nb_view *b)
{
    const uint64_t rows = a->ne[1] * a->ne[2] * a->ne[3];
    struct nb_view_reader reader = { 0 };
    float *x = malloc((size_t)(a->elements + 1) * sizeof *x), *y = malloc((size_t)(a->elements + 1) * sizeof *y);
    bool same = memcmp(a->ne, b->ne, sizeof a->ne) == 0;

    if (same)
        same = nb_view_rows(a, 0, rows, x, &reader, &err) == NB_OK &&
               nb_view_rows(b, 0, rows, y, &reader, &err) == NB_OK;
    for (uint64_t i = 0; i < a->elements && same; i++)
        same = x[i] == y[i];
    nb_view_reader_free(&reader);
    free(x);
    free(y);
    return same;
}

/* Whether SOURCE has tensors of the layer that the tensor NAME is of. */
static bool
has_layer(const struct nb_source *source, const char *name)
{
    const char *end = strncmp(name, "blk.", 4) == 0 ? strchr(name + 4, '.') : NULL;

    for (size_t i = 0; i < source->n_tensors && end != NULL; i++)
        if (strncmp(source->tensors[i].name, name, (size_t)(end - name) + 1) == 0)
            return true;
    return end == NULL;
}

/*
 * Whether V, of which each matrix has the rows of a gate and then those that it gates, has those of GATE and UP, which are
 * of the same size.
 */
static bool
is_of_halves(const struct nb_view *v, const struct nb_view *gate, const struct nb_view *up)
{
    const uint64_t half = v->ne[1] / 2, width = v->ne[0];
    struct nb_view_reader reader = { 0 };
    float *x = malloc((size_t)(v->elements + 1) * sizeof *x), *y = malloc((size_t)(v->elements + 1) * sizeof *y);
    bool same = gate != NULL && up != NULL && gate->elements == up->elements && gate->elements * 2 == v->elements;

    same = same && nb_view_rows(v, 0, v->elements / width, x, &reader, &err) == NB_OK;
    for (uint64_t k = 0; k < v->ne[2] && same; k++)
        for (unsigned i = 0; i < 2 && same; i++)
            same = nb_view_rows(i == 0 ? gate : up, k * half, half, y, &reader, &err) == NB_OK &&
                   memcmp(x + (2 * k + i) * half * width, y, (size_t)(half * width) * sizeof *x) == 0;
    nb_view_reader_free(&reader);
    free(x);
    free(y);
    return same;
}

/* Whether the folder "out" can be opened; what it holds then must be what "model" does, but layers that MLX leaves out. */
static bool
is_read_back(const char *name)
{
    struct nb_source model, out;
    const struct nb_view **sorted;

    if (nb_source_open(&out, scratch_path("out"), NULL, &err) != NB_OK)
        return false;
    scratch_open_source(&model, "model");
    sorted = nb_views_by_name(out.tensors, out.n_tensors);
    for (size_t i = 0; i < model.n_tensors; i++) {
        const struct nb_view *v = nb_views_find(sorted, out.n_tensors, model.tensors[i].name);
        char gate[64], up[64];

        if (v == NULL && sscanf(model.tensors[i].name, "blk.%3[0-9].ffn_gate_up_exps.weight", up) == 1) {
            snprintf(gate, sizeof gate, "blk.%.3s.ffn_gate_exps.weight", up);
            snprintf(up, sizeof up, "blk.%.*s.ffn_up_exps.weight", (int)strcspn(gate + 4, "."), gate + 4);
            if (is_of_halves(&model.tensors[i], nb_views_find(sorted, out.n_tensors, gate),
                             nb_views_find(sorted, out.n_tensors, up)))
                continue;
        }
        if (v == NULL ? has_layer(&out, model.tensors[i].name) : !is_same_tensor(&model.tensors[i], v))
            fail_msg("%s: '%s' comes back as another", name, model.tensors[i].name);
    }
    free(sorted);
    nb_source_close(&model);
    nb_source_close(&out);
    return true;
}

/* Names that MLX has given, and stacks of experts, are undone; what it has cut and turned is read as it is. */
static void
folders_of_mlx_are_read_as_checkpoints(void **unused)
{
    static struct run run;
    FILE *table = fopen(TEST_DATA "/golden/mlx/families.tsv", "r");
    struct family_row r;
    char line[512];
    unsigned read = 0;

    (void)unused;
    assert_non_null(table);
    while (fgets(line, sizeof line, table) != NULL) {
        json_t *golden;

        if (*line == '#')
            continue;
        assert_int_equal(sscanf(line, "%63s", r.golden), 1);
        golden = golden_by_name(r.golden);
        golden_checkpoint(golden, "model");
        json_decref(golden);
        scratch_remove("out");
        RUN(&run, "quantize", "model", "--format", "mlx", "-t", "f32", "-o", "out");
        assert_int_equal(run.code, 0);
        if (!is_read_back(r.golden))
            fail_msg("%s: %s", r.golden, err.message);
        read++;
        scratch_remove("model");
    }
    fclose(table);
    assert_int_equal(read, 70);
}

/* How far B's values are from A's, in parts of A's own size; INFINITY if B has another shape. */
static double
distance(const struct nb_view *a, const struct nb_view *b)
{
    const uint64_t rows = a->elements / a->ne[0];
    struct nb_view_reader reader = { 0 };
    float *x = malloc((size_t)(a->elements + 1) * sizeof *x), *y = malloc((size_t)(a->elements + 1) * sizeof *y);
    double difference = 0, size = 0;

    if (memcmp(a->ne, b->ne, sizeof a->ne) != 0 || nb_view_rows(a, 0, rows, x, &reader, &err) != NB_OK ||
        nb_view_rows(b, 0, rows, y, &reader, &err) != NB_OK)
        difference = INFINITY;
    for (uint64_t i = 0; i < a->elements && difference < INFINITY; i++) {
        difference += (double)(x[i] - y[i]) * (double)(x[i] - y[i]);
        size += (double)x[i] * (double)x[i];
    }
    nb_view_reader_free(&reader);
    free(x);
    free(y);
    return sqrt(difference / (size > 0 ? size : 1));
}

/* What MLX has cut, turned and stacked is quantized in it: rows taken for columns would have values of other weights. */
static void
parts_of_matrices_that_are_quantized_come_back_in_their_places(void **unused)
{
    static const char *const goldens[] = { "deepseek3", "gemma4_moe", "gpt2", "granitemoe", "kimi_linear", "llama4" };
    static struct run run;

    (void)unused;
    for (size_t k = 0; k < sizeof goldens / sizeof goldens[0]; k++) {
        json_t *golden = golden_by_name(goldens[k]);
        struct nb_source model, out;
        const struct nb_view **sorted;
        unsigned rounded = 0;

        golden_checkpoint(golden, "model");
        json_decref(golden);
        scratch_remove("out");
        RUN(&run, "quantize", "model", "--format", "mlx", "-t", "8bit", "--group-size", "32", "-o", "out");
        assert_int_equal(run.code, 0);
        scratch_open_source(&model, "model");
        scratch_open_source(&out, "out");
        sorted = nb_views_by_name(out.tensors, out.n_tensors);
        for (size_t i = 0; i < model.n_tensors; i++) {
            const struct nb_view *v = nb_views_find(sorted, out.n_tensors, model.tensors[i].name);
            const double d = v == NULL ? 0 : distance(&model.tensors[i], v);

            if (d > 0.02)
                fail_msg("%s: '%s' is %g from what it was", goldens[k], model.tensors[i].name, d);
            rounded += d > 0;
        }
        assert_true(rounded > 4);
        free(sorted);
        nb_source_close(&model);
        nb_source_close(&out);
        scratch_remove("model");
    }
}

static void
families_get_the_names_and_bytes_of_mlx_lm(void **unused)
{
    FILE *table = fopen(TEST_DATA "/golden/mlx/families.tsv", "r");
    struct family_row r;
    char line[512];
    unsigned checked = 0;

    (void)unused;
    assert_non_null(table);
    while (fgets(line, sizeof line, table) != NULL) {
        if (*line == '#')
            continue;
        assert_int_equal(sscanf(line, "%63s %7s %llx %llx %31s", r.golden, r.group, &r.model, &r.index, r.config), 5);
        check_family(&r);
        checked++;
    }
    fclose(table);
    assert_int_equal(checked, 70);
}

static void
check_layout(const struct nb_mlx_layout *layout)
{
    for (size_t i = 0; i < layout->n_rows; i++) {
        const struct nb_mlx_row *row = &layout->rows[i];

        for (size_t d = 0; d < NB_MAX_DIMS; d++)
            if (row->dim[d] != NULL && !nb_expression_is_valid(row->dim[d]))
                fail_msg("%s: '%s' is no expression", row->module, row->dim[d]);
        for (size_t o = 0; o < NB_MAP_OPS; o++)
            for (size_t a = 0; a < 3; a++)
                if (row->op[o].argument[a] != NULL && !nb_expression_is_valid(row->op[o].argument[a]))
                    fail_msg("%s: '%s' is no expression", row->module, row->op[o].argument[a]);
        for (size_t k = 0; k < i; k++) /* forms of one module stand together */
            if (strcmp(layout->rows[k].module, row->module) == 0 &&
                strcmp(layout->rows[i - 1].module, row->module) != 0)
                fail_msg("%s: comes twice", row->module);
    }
}

static void
expressions_of_all_layouts_parse_and_no_module_comes_twice(void **unused)
{
    unsigned n = 0;

    (void)unused;
    for (const struct nb_family *const *f = nb_families; *f != NULL; f++) {
        if ((*f)->mlx != NULL)
            check_layout((*f)->mlx);
        n += (*f)->mlx != NULL;
    }
    assert_true(n > 50);
}

/* --- refusals ------------------------------------------------------------------------------------------------- */

static void
files_beside_the_weights_are_copied_verbatim(void **unused)
{
    static const char *const files[] = { "tokenizer.json", "tokenizer_config.json", "generation_config.json",
                                         "special_tokens_map.json" };
    static struct run run;
    char from[256], to[64];

    (void)unused;
    assert_int_equal(write_sample(&run, "-t 2bit", "1"), 0);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        snprintf(from, sizeof from, SAMPLE "/%s", files[i]);
        snprintf(to, sizeof to, "out/%s", files[i]);
        assert_int_equal(scratch_hash(scratch_path(to)), scratch_hash(from));
    }
}

static void
a_folder_that_exists_is_refused_and_stays(void **unused)
{
    static struct run run;

    (void)unused;
    scratch_remove("out");
    scratch_folder("out");
    scratch_write_text("out/mine", "text");
    RUN(&run, "quantize", SAMPLE, "--format", "mlx", "-t", "4bit", "-o", scratch_path("out"));
    assert_int_equal(run.code, 2);
    assert_non_null(strstr(run.err, "exists already"));
    assert_true(scratch_exists(scratch_path("out/mine")));
    assert_false(scratch_exists(scratch_path("out/config.json")));
    assert_false(scratch_exists(scratch_path("out.partial")));
    scratch_remove("out");
}

static void
its_bits_per_weight_are_those_of_codes_and_scales(void **unused)
{
    static struct run run;
    json_t *report;

    (void)unused;
    assert_int_equal(write_sample(&run, "-t 4bit", "1"), 0);
    RUN(&run, "verify", "-f", SAMPLE_DATA "/tinystories-valid.txt", "-c", "64", "--chunks", "1", "--json", SAMPLE,
        scratch_path("out"));
    assert_int_equal(run.code, 0);
    report = json_loads(run.out, 0, NULL);
    assert_float_equal(json_real_value(json_object_get(json_object_get(report, "base"), "bpw")), 16, 0);
    assert_float_equal(json_real_value(json_object_get(json_array_get(json_object_get(report, "models"), 0), "bpw")),
                       4.507, 0.001);
    json_decref(report);
}

static void
what_a_killed_run_left_is_replaced_but_not_what_somebody_put_there(void **unused)
{
    static struct run run;

    (void)unused;
    scratch_folder("out.partial");
    scratch_write_text("out.partial/config.json", "{");
    assert_int_equal(write_sample(&run, "-t 2bit", "1"), 0);
    assert_false(scratch_exists(scratch_path("out.partial")));
    scratch_folder("out.partial");
    scratch_folder("out.partial/inner");
    assert_int_equal(write_sample(&run, "-t 2bit", "1"), 4);
    assert_non_null(strstr(run.err, "is in the way"));
    assert_false(scratch_exists(scratch_path("out")));
    assert_true(scratch_exists(scratch_path("out.partial/inner")));
    scratch_remove("out.partial");
}

static void
a_dry_run_writes_nothing(void **unused)
{
    static struct run run;

    (void)unused;
    assert_int_equal(write_sample(&run, "-t 4bit --dry-run", "1"), 0);
    assert_non_null(strstr(run.out, "model.layers.3.mlp.down_proj.weight"));
    assert_non_null(strstr(run.out, "4.507 bits per weight"));
    assert_false(scratch_exists(scratch_path("out")));
}

static void
what_fits_no_group_or_format_is_refused(void **unused)
{
    static const struct {
        const char *options, *sentence;
    } cases[] = {
        { "-t nvfp4 --group-size 64", "there are no groups of 64 in nvfp4" },
        { "-t 4bit --group-size 16", "there are no groups of 16 in 4bit" },
        { "-t Q4_K_M", "'Q4_K_M' is not a recipe of --format mlx" },
        { "-t 4bit --pure", "--pure: does not go with --format mlx" },
        { "-t bf16 --dtype f16", "exclude each other" },
        { "-t 4bit --tensor-type nothing=8bit", "'nothing' matches no module" },
        { "-t 4bit --tensor-type q_proj=q4_k", "'q4_k' is not a type of MLX" },
        { "-t 4bit --tensor-type q_proj=mixed_2_6", "'mixed_2_6' is not a type of MLX" },
    };
    static struct run run;

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(write_sample(&run, cases[i].options, "1"), 2);
        if (strstr(run.err, cases[i].sentence) == NULL)
            fail_msg("%s: %s", cases[i].options, run.err);
        assert_false(scratch_exists(scratch_path("out")));
        assert_false(scratch_exists(scratch_path("out.partial")));
    }
}

static json_t *
load_config(void)
{
    json_t *config = json_load_file(scratch_path("out/config.json"), 0, NULL);

    assert_non_null(config);
    return config;
}

static int
bits_of(json_t *config, const char *module)
{
    json_t *entry = json_object_get(json_object_get(config, "quantization"), module);

    return (int)json_integer_value(json_object_get(entry, "bits"));
}

static void
modules_that_are_asked_for_get_their_format_and_an_entry(void **unused)
{
    static struct run run;
    json_t *config, *map;

    (void)unused;
    assert_int_equal(write_sample(&run, "-t 4bit --tensor-type v_proj=8bit --tensor-type layers.0.=bf16", "2"), 0);
    config = load_config();
    assert_int_equal(bits_of(config, "model.layers.0.self_attn.v_proj"), 8); /* the first rule that matches decides */
    assert_int_equal(bits_of(config, "model.layers.2.self_attn.v_proj"), 8);
    assert_int_equal(bits_of(config, "model.layers.2.self_attn.q_proj"), 0);
    json_decref(config);
    config = json_load_file(scratch_path("out/model.safetensors.index.json"), 0, NULL);
    map = json_object_get(config, "weight_map");
    assert_null(json_object_get(map, "model.layers.0.self_attn.q_proj.scales"));
    assert_non_null(json_object_get(map, "model.layers.0.self_attn.v_proj.scales"));
    assert_non_null(json_object_get(map, "model.layers.1.self_attn.q_proj.scales"));
    json_decref(config);
}

static void
numbers_and_strings_are_those_of_python(void **unused)
{
    static const char text[] = "{\"a\": [1e-05, 0.0001, 1e16, 123456789012345680.0, 10000.0, 0.1, -0.0, 1E5, 1e22, 3],"
                               " \"b\": \"\\u00e4\\ud83d\\ude00\\n\\\"\\u007f/\", \"c\": {}, \"d\": [], \"e\": 1e308}";
    static const char expected[] =
        "{\n    \"a\": [\n        1e-05,\n        0.0001,\n        1e+16,\n        1.2345678901234568e+17,\n"
        "        10000.0,\n        0.1,\n        -0.0,\n        100000.0,\n        1e+22,\n        3\n    ],\n"
        "    \"b\": \"\\u00e4\\ud83d\\ude00\\n\\\"\\u007f/\",\n    \"c\": {},\n    \"d\": [],\n"
        "    \"e\": {\n        \"__float__\": \"Infinity\"\n    }\n}";
    json_t *value = json_loads(text, 0, NULL);
    char *written;

    (void)unused;
    assert_non_null(value);
    written = nb_json_write(value, NB_JSON_INDENTED);
    assert_string_equal(written, expected);
    free(written);
    json_decref(value);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_tier_gives_the_planes_of_mlx),
        cmocka_unit_test(blocks_that_vanish_are_counted),
        cmocka_unit_test(groups_with_importance_have_less_weighted_error),
        cmocka_unit_test(every_tier_fits_groups_alike),
        cmocka_unit_test(every_setting_gives_the_files_of_mlx_lm),
        cmocka_unit_test(families_get_the_names_and_bytes_of_mlx_lm),
        cmocka_unit_test(folders_of_mlx_are_read_as_checkpoints),
        cmocka_unit_test(parts_of_matrices_that_are_quantized_come_back_in_their_places),
        cmocka_unit_test(expressions_of_all_layouts_parse_and_no_module_comes_twice),
        cmocka_unit_test(files_beside_the_weights_are_copied_verbatim),
        cmocka_unit_test(a_folder_that_exists_is_refused_and_stays),
        cmocka_unit_test(its_bits_per_weight_are_those_of_codes_and_scales),
        cmocka_unit_test(what_a_killed_run_left_is_replaced_but_not_what_somebody_put_there),
        cmocka_unit_test(a_dry_run_writes_nothing),
        cmocka_unit_test(what_fits_no_group_or_format_is_refused),
        cmocka_unit_test(modules_that_are_asked_for_get_their_format_and_an_entry),
        cmocka_unit_test(numbers_and_strings_are_those_of_python),
    };

    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
