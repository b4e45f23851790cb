/* nibble.h: folders. What cannot be written is refused, and leaves nothing. */
#include "public_calls.h"
#include "scratch.h"
#include "testing.h"

#define SAMPLE SAMPLE_DATA "/tinystories-3m"

static struct nibble_source *source;

static void
folders_that_cannot_be_are_refused(void **unused)
{
    const struct nibble_type_rule mixture = { "attn_q", "mixed_3_6" }, other = { "no_such_tensor", "8bit" };
    struct nibble_dequantize_options floats;
    struct nibble_mlx_options mlx;
    char folder[SCRATCH_PATH];

    (void)unused;
    snprintf(folder, sizeof folder, "%s", scratch_path("none"));
    NIBBLE_INIT(floats);
    NIBBLE_INIT(mlx);
    floats.dtype = "q4_K";
    REFUSED(NIBBLE_USAGE, nibble_dequantize(source, folder, &floats, NULL, &error));
    mlx.recipe = "Q4_K_M";
    REFUSED(NIBBLE_USAGE, nibble_quantize_mlx(source, folder, &mlx, NULL, &error));
    error_says("is not a recipe of MLX");
    mlx.recipe = NULL;
    mlx.group_size = 48;
    REFUSED(NIBBLE_USAGE, nibble_quantize_mlx(source, folder, &mlx, NULL, &error));
    mlx.group_size = 0;
    mlx.dtype = "f64";
    REFUSED(NIBBLE_USAGE, nibble_quantize_mlx(source, folder, &mlx, NULL, &error));
    mlx.dtype = NULL;
    mlx.n_tensor_types = 1;
    mlx.tensor_types = &mixture;
    REFUSED(NIBBLE_USAGE, nibble_quantize_mlx(source, folder, &mlx, NULL, &error));
    mlx.tensor_types = &other;
    REFUSED(NIBBLE_USAGE, nibble_quantize_mlx(source, folder, &mlx, NULL, &error));
    mlx.n_tensor_types = 0;
    mlx.imatrix = "absent";
    REFUSED(NIBBLE_NOT_FOUND, nibble_quantize_mlx(source, folder, &mlx, NULL, &error));
    mlx.size = 1;
    REFUSED(NIBBLE_USAGE, nibble_quantize_mlx(source, folder, &mlx, NULL, &error));
    assert_false(scratch_exists(folder));
    scratch_folder("there");
    REFUSED(NIBBLE_EXISTS, nibble_quantize_mlx(source, scratch_path("there"), NULL, NULL, &error));
    REFUSED(NIBBLE_EXISTS, nibble_dequantize(source, scratch_path("there"), NULL, NULL, &error));
}

static int
stop(void *context, uint64_t done, uint64_t total)
{
    (void)context;
    (void)done;
    (void)total;
    return 1;
}

static void
a_stop_leaves_no_folder(void **unused)
{
    struct nibble_run run;

    (void)unused;
    NIBBLE_INIT(run);
    run.progress = stop;
    REFUSED(NIBBLE_INTERRUPTED, nibble_quantize_mlx(source, scratch_path("none"), NULL, &run, &error));
    REFUSED(NIBBLE_INTERRUPTED, nibble_dequantize(source, scratch_path("none"), NULL, &run, &error));
    assert_false(scratch_exists(scratch_path("none")) || scratch_exists(scratch_path("none.partial")));
}

/* The rules of a caller reach the tensors that they name. */
static void
a_rule_gives_a_tensor_its_own_format(void **unused)
{
    const struct nibble_type_rule rule = { "layers\\.1\\.mlp\\.down_proj", "8bit" };
    struct nibble_mlx_options mlx;
    unsigned char *config;
    size_t size;

    (void)unused;
    NIBBLE_INIT(mlx);
    mlx.tensor_types = &rule;
    mlx.n_tensor_types = 1;
    mlx.group_size = 32;
    MUST(nibble_quantize_mlx(source, scratch_path("mlx"), &mlx, NULL, &error));
    config = scratch_read(scratch_path("mlx/config.json"), &size);
    config[size - 1] = '\0';
    assert_non_null(strstr((char *)config, "\"model.layers.1.mlp.down_proj\": {"));
    assert_non_null(strstr((char *)config, "\"group_size\": 32"));
    free(config);
}

/* What a folder has in MXFP4 stays as the command keeps it, or is quantized as the command does it when it is told to. */
static void
packed_weights_stay_or_are_quantized_as_by_the_command(void **unused)
{
    struct nibble_source_options keep;
    struct nibble_quantize_options options;
    struct nibble_mlx_options mlx;
    struct nibble_source *packed, *floats;
    struct run run;

    (void)unused;
    NIBBLE_INIT(keep);
    NIBBLE_INIT(options);
    NIBBLE_INIT(mlx);
    mlx.recipe = "mxfp4";
    MUST(nibble_quantize_mlx(source, scratch_path("mxfp4"), &mlx, NULL, &error));
    RUN(&run, "quantize", "mxfp4", "-t", "Q8_0", "-o", "kept.gguf");
    assert_int_equal(run.code, 0);
    RUN(&run, "quantize", "mxfp4", "-t", "Q8_0", "--requantize-all", "-o", "again.gguf");
    assert_int_equal(run.code, 0);
    assert_true(scratch_hash(scratch_path("kept.gguf")) != scratch_hash(scratch_path("again.gguf")));

    keep.keep_packed = true;
    options.recipe = "Q8_0";
    MUST(nibble_source_open(scratch_path("mxfp4"), &keep, &packed, &error));
    floats = open_source(scratch_path("mxfp4"));
    MUST(nibble_quantize(packed, scratch_path("a.gguf"), &options, NULL, &error));
    assert_true(scratch_hash(scratch_path("a.gguf")) == scratch_hash(scratch_path("kept.gguf")));
    MUST(nibble_quantize(floats, scratch_path("b.gguf"), &options, NULL, &error));
    assert_true(scratch_hash(scratch_path("b.gguf")) == scratch_hash(scratch_path("again.gguf")));
    nibble_source_close(packed);
    nibble_source_close(floats);

    keep.keep_quantized = true; /* of the sample in 4 bits: they are Q4_1 */
    mlx.recipe = "4bit";
    mlx.group_size = 32;
    mlx.dtype = "f16";
    MUST(nibble_quantize_mlx(source, scratch_path("4bit"), &mlx, NULL, &error));
    RUN(&run, "quantize", "4bit", "-t", "Q8_0", "--keep-quantized", "-o", "codes.gguf");
    assert_int_equal(run.code, 0);
    MUST(nibble_source_open(scratch_path("4bit"), &keep, &packed, &error));
    MUST(nibble_quantize(packed, scratch_path("c.gguf"), &options, NULL, &error));
    assert_true(scratch_hash(scratch_path("c.gguf")) == scratch_hash(scratch_path("codes.gguf")));
    nibble_source_close(packed);

    packed = open_source(scratch_path("kept.gguf")); /* a GGUF file has them in any case */
    options.requantize_all = true;
    MUST(nibble_quantize(packed, scratch_path("d.gguf"), &options, NULL, &error));
    RUN(&run, "quantize", "kept.gguf", "-t", "Q8_0", "--requantize-all", "-o", "e.gguf");
    assert_int_equal(run.code, 0);
    assert_true(scratch_hash(scratch_path("d.gguf")) == scratch_hash(scratch_path("e.gguf")));
    nibble_source_close(packed);
}

static int
setup(void **state)
{
    const int failed = scratch_setup(state);

    source = open_source(SAMPLE);
    return failed;
}

static int
teardown(void **state)
{
    nibble_source_close(source);
    return scratch_teardown(state);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folders_that_cannot_be_are_refused),
        cmocka_unit_test(a_stop_leaves_no_folder),
        cmocka_unit_test(packed_weights_stay_or_are_quantized_as_by_the_command),
        cmocka_unit_test(a_rule_gives_a_tensor_its_own_format),
    };

    NIBBLE_INIT(error);
    return cmocka_run_group_tests(tests, setup, teardown);
}
