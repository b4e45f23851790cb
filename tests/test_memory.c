/*
 * Whether a model fits: the cache, the buffers and the split between CPU and GPU are what llama.cpp v0.5.0 takes, and
 * what is said to fit does.
 */
#include "cli/cache_size.h"
#include "cli/compute_buffer.h"
#include "cli/graph_memory.h"
#include "cli/model_shape.h"
#include "formats/elements/types.h"
#include "formats/gguf/metadata.h"
#include "gguf_bytes.h"
#include "scratch.h"
#include "testing.h"

#include <jansson.h>

#define SAMPLE SAMPLE_DATA "/tinystories-3m"

static struct run run;

/* What the program prints with these arguments, which it must understand. */
static json_t *
print_json(const char *const *args)
{
    json_t *object;

    run_nibble(&run, args);
    object = json_loads(run.out, 0, NULL);
    if (run.code != 0 || object == NULL)
        fail_msg("%s: exit code %d: %s%s", args[0], run.code, run.out, run.err);
    return object;
}

#define run_json(...) print_json((const char *const[]){ __VA_ARGS__, NULL })

static json_int_t
number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    if (!json_is_integer(value))
        fail_msg("there is no number '%s' in: %s", key, run.out);
    return json_integer_value(value);
}

/* --- the memory of a graph --------------------------------------------------------------------------------- */

static void
a_result_takes_the_smallest_gap(void **unused)
{
    struct graph_memory m = { .alignment = 32 };
    const struct graph_block a = graph_take(&m, 1000), kept = graph_take(&m, 1), b = graph_take(&m, 100);
    struct graph_block c;

    (void)unused;
    assert_int_equal(a.size, 1024);
    assert_int_equal(kept.at, 1024);
    assert_int_equal(b.at, 1056);
    (void)graph_take(&m, 32);
    assert_int_equal(m.peak, 1216);
    graph_give(&m, a);
    graph_give(&m, b);
    c = graph_take(&m, 90); /* fits into both */
    assert_int_equal(c.at, b.at);
    assert_int_equal(m.peak, 1216);
    graph_give(&m, c);
    graph_give(&m, kept); /* the three are one now */
    assert_int_equal(graph_take(&m, 1184).at, 0);
    assert_int_equal(m.peak, 1216);
    assert_int_equal(graph_take(&m, 1).at, 1216);
}

/* --- buffers ------------------------------------------------------------------------------------------------- */

/* A model of equal layers, of which every sixth is full if the others slide a window. */
struct model {
    const char *name;
    uint64_t layers, embedding, q, kv, ff, vocabulary, key_length, window;
    uint64_t experts, used; /* 0: FF is that of one network */
};

static const struct model models[] = {
    { "Llama 3.1 8B", 32, 4096, 4096, 1024, 14336, 128256, 128, 0, 0, 0 },
    { "Llama 3.1 70B", 80, 8192, 8192, 1024, 28672, 128256, 128, 0, 0, 0 },
    { "Qwen3 30B-A3B", 48, 2048, 4096, 512, 768, 151936, 128, 0, 128, 8 },
    { "Mixtral 8x7B", 32, 4096, 4096, 1024, 14336, 32000, 128, 0, 8, 2 },
    { "Gemma 3 270M", 18, 640, 1024, 256, 2048, 262144, 256, 512, 0, 0 },
    { "Gemma 3 12B", 48, 3840, 4096, 2048, 15360, 262208, 256, 1024, 0, 0 },
    { "SmolLM2 135M", 30, 576, 576, 192, 1536, 49152, 64, 0, 0, 0 },
    { "the sample", 4, 256, 256, 128, 768, 2048, 32, 0, 0, 0 },
};

static void
make_shape(const struct model *m, struct model_shape *out)
{
    const struct ffn_shape ffn = { m->ff, m->ff, m->ff }, none = { 0 };

    *out = (struct model_shape){ .layers = m->layers,
                                 .embedding = m->embedding,
                                 .vocabulary = m->vocabulary,
                                 .experts_used = m->used,
                                 .key_length = m->key_length,
                                 .is_usual = true };
    for (uint64_t i = 0; i < m->layers; i++)
        out->layer[i] = (struct layer_shape){ .q = m->q,
                                              .k = m->kv,
                                              .v = m->kv,
                                              .attended = m->q,
                                              .ffn = m->experts > 0 ? none : ffn,
                                              .expert = m->experts > 0 ? ffn : none,
                                              .experts = m->experts,
                                              .attn_norm = true,
                                              .ffn_norm = true };
}

static void
make_cache(const struct model *m, uint64_t context, struct cache_size *out)
{
    *out = (struct cache_size){ .known = true, .context = context, .cells = (context + 255) / 256 * 256 };
    out->window_cells = m->window + 512 < out->cells ? m->window + 512 : out->cells;
    for (uint64_t i = 0; i < m->layers; i++) {
        out->layer[i].slides = m->window > 0 && i % 6 != 5;
        out->sliding += out->layer[i].slides;
    }
}

/*
 * "compute buffer size", in MiB, as llama.cpp v0.5.0 (CPU) says it of these models: the small ones as they are, files
 * with the header of the large ones with llama_model_params.no_alloc. ON_GPU: of a stand-in for a CUDA device, all
 * layers on it.
 */
static void
buffers_are_those_of_the_runtime(void **unused)
{
    static const struct {
        unsigned model;
        uint64_t context;
        enum nb_type type;
        bool on_gpu;
        double mebibytes;
    } rows[] = {
        { 0, 100, NB_F16, false, 52.05 },     { 0, 4096, NB_F16, false, 266.50 },
        { 0, 131072, NB_F16, false, 266.50 }, { 0, 131072, NB_Q8_0, false, 274.50 },
        { 0, 131072, NB_F16, true, 258.50 },  { 0, 131072, NB_Q4_0, true, 672.09 },
        { 1, 100, NB_F16, false, 55.18 },     { 1, 4096, NB_F16, false, 282.50 },
        { 1, 131072, NB_F16, false, 360.01 }, { 1, 131072, NB_Q8_0, false, 344.09 },
        { 1, 131072, NB_F16, true, 344.01 },  { 1, 131072, NB_Q4_0, true, 704.09 },
        { 2, 100, NB_F16, false, 59.52 },     { 2, 4096, NB_F16, false, 304.75 },
        { 2, 131072, NB_F16, false, 304.75 }, { 2, 131072, NB_Q8_0, false, 304.75 },
        { 2, 131072, NB_F16, true, 300.75 },  { 2, 131072, NB_Q4_0, true, 408.09 },
        { 3, 100, NB_F16, false, 39.11 },     { 3, 4096, NB_F16, false, 204.01 },
        { 3, 131072, NB_F16, false, 328.01 }, { 3, 131072, NB_Q8_0, false, 320.12 },
        { 3, 131072, NB_F16, true, 320.01 },  { 3, 131072, NB_Q4_0, true, 672.09 },
        { 4, 100, NB_F16, false, 100.49 },    { 4, 4096, NB_F16, false, 514.50 },
        { 4, 131072, NB_F16, false, 514.50 }, { 4, 131072, NB_Q8_0, false, 514.50 },
        { 4, 131072, NB_F16, true, 513.25 },  { 4, 131072, NB_Q4_0, true, 513.25 },
        { 5, 100, NB_F16, false, 102.95 },    { 5, 4096, NB_F16, false, 527.13 },
        { 5, 131072, NB_F16, false, 527.13 }, { 5, 131072, NB_Q8_0, false, 527.13 },
        { 5, 131072, NB_F16, true, 519.62 },  { 5, 131072, NB_Q4_0, true, 1185.05 },
        { 6, 100, NB_F16, false, 19.19 },     { 6, 4096, NB_F16, false, 98.25 },
        { 6, 131072, NB_F16, false, 141.51 }, { 6, 131072, NB_Q8_0, false, 140.42 },
        { 6, 131072, NB_F16, true, 140.39 },  { 6, 131072, NB_Q4_0, true, 228.54 },
        { 7, 100, NB_F16, false, 1.32 },      { 7, 4096, NB_F16, false, 10.51 },
        { 7, 131072, NB_F16, false, 134.51 }, { 7, 131072, NB_Q8_0, false, 134.51 },
        { 7, 131072, NB_F16, true, 134.01 },  { 7, 131072, NB_Q4_0, true, 194.51 },
    };
    static struct model_shape shape;
    static struct cache_size cache;

    (void)unused;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct model *m = &models[rows[i].model];
        struct compute_size size;
        double ours;

        make_shape(m, &shape);
        make_cache(m, rows[i].context, &cache);
        measure_compute(&shape, &cache, rows[i].type, rows[i].on_gpu, &size);
        ours = (double)size.bytes / 1048576;
        if (fabs(ours - rows[i].mebibytes) > (rows[i].on_gpu ? 0.01 * rows[i].mebibytes : 0.01)) /* as it is logged */
            fail_msg("%s, %u tokens in %s: %.3f MiB, not %.2f", m->name, (unsigned)rows[i].context,
                     nb_type_info(rows[i].type)->name, ours, rows[i].mebibytes);
        assert_int_equal(size.is_exact, !rows[i].on_gpu);
        assert_int_equal(size.output, 4 * m->vocabulary);
    }
}

/* --- the cache ------------------------------------------------------------------------------------------------- */

/* A key "ARCH.SUFFIX" of the file in the making. */
static void
key_u32(const char *arch, const char *suffix, uint32_t value)
{
    char key[64];

    snprintf(key, sizeof key, "%s.%s", arch, suffix);
    str(key);
    u32(NB_KV_U32);
    u32(value);
}

/* For each of 12 layers whether it slides. */
static void
key_pattern(const char *arch, const char *flags)
{
    char key[64];

    snprintf(key, sizeof key, "%s.attention.sliding_window_pattern", arch);
    str(key);
    u32(NB_KV_ARRAY);
    u32(NB_KV_BOOL);
    u64(12);
    for (size_t i = 0; i < 12; i++)
        put(flags[i] == 's' ? "\1" : "", 1);
}

/*
 * 12 layers of two heads of 128, 10000 tokens: 10240 cells of 1 KiB in a full layer, 1536 in one that
 * slides a window of 1024.
 */
static void
the_cache_holds_what_llama_cpp_keeps(void **unused)
{
    static const struct {
        const char *arch, *pattern;
        struct {
            const char *suffix;
            uint32_t value;
        } keys[3];
        unsigned cells, sliding; /* of all layers together */
    } cases[] = {
        { "llama", NULL, { { "attention.sliding_window", 1024 } }, 12 * 10240, 0 }, /* which llama.cpp ignores */
        { "gemma3", NULL, { { "attention.sliding_window", 1024 } }, 2 * 10240 + 10 * 1536, 10 },
        { "gemma3", NULL, { { NULL, 0 } }, 12 * 10240, 0 },
        { "gemma2", NULL, { { NULL, 0 } }, 6 * 10240 + 6 * 4608, 6 },
        { "cohere2moe", NULL, { { "attention.sliding_window", 1024 } }, 3 * 10240 + 9 * 1536, 9 },
        { "gpt-oss", NULL, { { "attention.sliding_window", 100000 } }, 12 * 10240, 6 },
        { "gemma4",
          "sssssfsssssf",
          { { "attention.sliding_window", 1024 }, { "attention.shared_kv_layers", 4 } },
          10240 + 7 * 1536,
          7 },
        { "gemma4",
          "sssssfsssssf",
          { { "attention.sliding_window", 1024 },
            { "attention.key_length_swa", 64 },
            { "attention.value_length_swa", 64 } },
          2 * 10240 + 10 * 1536 / 2,
          10 },
        { "deepseek2", NULL, { { "attention.kv_lora_rank", 96 }, { "attention.key_length_mla", 192 } }, 12 * 5120, 0 },
        { "deepseek32",
          NULL,
          { { "attention.kv_lora_rank", 96 },
            { "attention.key_length_mla", 192 },
            { "attention.indexer.key_length", 64 } },
          12 * (5120 + 1280),
          0 },
        { "qwen3next", NULL, { { "full_attention_interval", 4 } }, 3 * 10240, 0 },
        { "glm4moe", NULL, { { "nextn_predict_layers", 1 } }, 11 * 10240, 0 },
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *arch = cases[i].arch;
        json_t *object, *memory;
        uint32_t extra = 0;

        while (extra < 3 && cases[i].keys[extra].suffix != NULL)
            extra++;
        header(3, 0, 7 + extra + (cases[i].pattern != NULL));
        str("general.architecture");
        u32(NB_KV_STRING);
        str(arch);
        key_u32(arch, "block_count", 12);
        key_u32(arch, "context_length", 131072);
        key_u32(arch, "attention.head_count", 8);
        key_u32(arch, "attention.head_count_kv", 2);
        key_u32(arch, "attention.key_length", 128);
        key_u32(arch, "attention.value_length", 128);
        for (uint32_t k = 0; k < extra; k++)
            key_u32(arch, cases[i].keys[k].suffix, cases[i].keys[k].value);
        if (cases[i].pattern != NULL)
            key_pattern(arch, cases[i].pattern);
        scratch_write("cache.gguf", file, length);
        object = run_json("inspect", "--json", "--ctx", "10000", "cache.gguf");
        memory = json_object_get(object, "memory");
        if (json_integer_value(json_object_get(memory, "cache")) != 1024 * (json_int_t)cases[i].cells ||
            json_integer_value(json_object_get(memory, "sliding_layers")) != cases[i].sliding)
            fail_msg("case %zu, %s: %s", i, arch, run.out);
        json_decref(object);
    }
}

/* --- what is said ---------------------------------------------------------------------------------------------- */

static void
expect_output(const char *text)
{
    if (strstr(run.out, text) == NULL && strstr(run.err, text) == NULL)
        fail_msg("'%s' is not in: %s%s", text, run.out, run.err);
}

static void
inspect_tells_whether_it_fits(void **unused)
{
    json_t *object, *memory;

    (void)unused;
    RUN(&run, "quantize", SAMPLE, "-t", "q8_0", "-o", "model.gguf", "--force");
    object = run_json("inspect", "--json", "--ctx", "1000", "--cache-type", "q8_0", "model.gguf");
    memory = json_object_get(object, "memory");
    /* 4 layers x 4 heads x (32 + 32) x 1024 cells x 34 / 32 bytes */
    assert_int_equal(number(memory, "cache"), 4 * 4 * 64 * 1024 * 34 / 32);
    assert_int_equal(number(memory, "sum"),
                     number(memory, "tensors") + number(memory, "cache") + number(memory, "buffers"));
    assert_true(json_is_true(json_object_get(memory, "buffers_exact")));
    assert_true(json_is_null(json_object_get(memory, "largest_recipe"))); /* it is quantized already */
    json_decref(object);
    RUN(&run, "inspect", "--ctx", "1000", "--cache-type", "q8_0", "--ram", "20M", "model.gguf");
    expect_output("cache of 1000 tokens in q8_0 1.11 MB");
    expect_output("fits: takes 12.9 MB of the 20.0 MB of --ram");
    RUN(&run, "inspect", "--ctx", "1000", "--ram", "10MB", "model.gguf");
    expect_output("does not fit");
    RUN(&run, "inspect", "--cache-type", "q2_k", "model.gguf");
    assert_int_equal(run.code, 2);
    RUN(&run, "inspect", "--ram", "16", "model.gguf");
    assert_int_equal(run.code, 2);
    expect_output("--ram: '16' is not a number followed by M or G");
}

/* The sum of the file that 'quantize -t RECIPE' makes of the sample. */
static json_int_t
sum_of(const char *recipe)
{
    json_t *object;
    json_int_t sum;

    RUN(&run, "quantize", SAMPLE, "-t", recipe, "-o", "r.gguf", "--force");
    assert_int_equal(run.code, 0);
    object = run_json("inspect", "--json", "r.gguf");
    sum = number(json_object_get(object, "memory"), "sum");
    json_decref(object);
    return sum;
}

/* As bytes can only be asked for in millions. */
static void
the_largest_recipe_that_fits_does_fit(void **unused)
{
    static const struct {
        const char *ram, *recipe, *next;
        json_int_t bytes;
    } cases[] = {
        { "12M", "F16", NULL, 12000000 },
        { "8M", "Q8_0", "F16", 8000000 },
        { "7M", "Q5_1", "Q6_K", 7000000 },
        { "6MiB", "IQ4_NL", "Q4_K_S", 6291456 },
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *object = run_json("inspect", "--json", "--ram", cases[i].ram, SAMPLE);
        const json_t *best = json_object_get(json_object_get(object, "memory"), "largest_recipe");
        const json_int_t said = number(json_object_get(best, "memory"), "sum");

        assert_string_equal(json_string_value(json_object_get(best, "name")), cases[i].recipe);
        json_decref(object);
        assert_int_equal(sum_of(cases[i].recipe), said);
        assert_true(said <= cases[i].bytes);
        assert_true(cases[i].next == NULL || sum_of(cases[i].next) > cases[i].bytes);
    }
    RUN(&run, "inspect", "--ram", "3M", "--ctx", "100", SAMPLE);
    expect_output("needs an importance matrix");
    RUN(&run, "inspect", "--ram", "1M", SAMPLE);
    expect_output("no recipe makes it small enough");
}

static void
a_gpu_gets_as_many_layers_as_it_has_room_for(void **unused)
{
    json_int_t last = -1;
    char vram[16];

    (void)unused;
    for (unsigned mega = 1; mega <= 16; mega++) {
        json_t *object, *memory;

        snprintf(vram, sizeof vram, "%uM", mega);
        object = run_json("inspect", "--json", "--vram", vram, SAMPLE);
        memory = json_object_get(object, "memory");
        assert_true(number(memory, "gpu_layers") >= last);
        assert_true(number(memory, "vram_taken") <= mega * 1000000);
        /* What is not on the one is on the other. */
        assert_true(number(memory, "vram_taken") + number(memory, "ram_taken") >= number(memory, "tensors"));
        last = number(memory, "gpu_layers");
        json_decref(object);
    }
    assert_int_equal(last, 5); /* four layers and the output */
    RUN(&run, "inspect", "--vram", "2M", SAMPLE);
    expect_output("no recipe makes it small enough for the GPU");
    RUN(&run, "inspect", "--vram", "16M", SAMPLE);
    expect_output("-ngl 5 takes about");
    expect_output("all layers");
    RUN(&run, "inspect", "--vram", "1M", SAMPLE);
    expect_output("no room even for the output");
}

static void
a_dry_run_tells_whether_the_result_fits(void **unused)
{
    json_t *object;
    json_int_t said;

    (void)unused;
    object = run_json("quantize", SAMPLE, "-t", "q5_k_m", "--dry-run", "--json", "--ram", "1G");
    said = number(json_object_get(object, "memory"), "sum");
    json_decref(object);
    assert_int_equal(sum_of("q5_k_m"), said);
    object = run_json("quantize", SAMPLE, "-t", "q5_k_m", "--prune-layers", "1", "--dry-run", "--json");
    assert_int_equal(number(json_object_get(object, "memory"), "layers"), 3);
    json_decref(object);
    RUN(&run, "quantize", SAMPLE, "--dry-run", "--ram", "16G", "--ctx", "100", "--cache-type", "q4_0");
    expect_output("cache of 100 tokens in q4_0");
    RUN(&run, "quantize", SAMPLE, "--ram", "16G");
    assert_int_equal(run.code, 2);
    expect_output("--dry-run");
}

/* A file may lack what the sizes follow from, and say what it wants; the answer comes at once, and is an estimate. */
static void
odd_models_are_estimated(void **unused)
{
    static const struct {
        uint32_t embedding, heads, key_length, experts_used;
    } cases[] = { { 0, 8, 128, 0 }, { 32, 1, 0, 0 }, { 4096, 1, 0, 0 }, { 64, 1, 65536, 0xFFFFFFFF } };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *object, *memory;

        header(3, 2, 7);
        str("general.architecture");
        u32(NB_KV_STRING);
        str("llama");
        key_u32("llama", "block_count", 512);
        key_u32("llama", "context_length", 0x7FFFFFFF);
        key_u32("llama", "embedding_length", cases[i].embedding);
        key_u32("llama", "attention.head_count", cases[i].heads);
        key_u32("llama", cases[i].key_length > 0 ? "attention.key_length" : "x", cases[i].key_length);
        key_u32("llama", "expert_used_count", cases[i].experts_used);
        info("output.weight", 2, 32, 1, NB_F32, 0);
        info("blk.511.ssm_in.weight", 2, 32, 1, NB_F32, 128);
        pad(256);
        scratch_write("odd.gguf", file, length);
        object = run_json("inspect", "--json", "--vram", "8G", "odd.gguf");
        memory = json_object_get(object, "memory");
        assert_true(json_is_false(json_object_get(memory, "buffers_exact")));
        assert_true(json_array_size(json_object_get(memory, "table")) > 3);
        json_decref(object);
        RUN(&run, "inspect", "odd.gguf");
        expect_output("buffers of about");
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_result_takes_the_smallest_gap),
        cmocka_unit_test(buffers_are_those_of_the_runtime),
        cmocka_unit_test(the_cache_holds_what_llama_cpp_keeps),
        cmocka_unit_test(inspect_tells_whether_it_fits),
        cmocka_unit_test(the_largest_recipe_that_fits_does_fit),
        cmocka_unit_test(a_gpu_gets_as_many_layers_as_it_has_room_for),
        cmocka_unit_test(a_dry_run_tells_whether_the_result_fits),
        cmocka_unit_test(odd_models_are_estimated),
    };

    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
