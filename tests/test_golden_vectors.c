/*
 * Every codec against the reference's blocks: tests/golden/quant_vectors.tsv
 * has hashes of what ggml writes for 14 inputs, with and without importance.
 * Every tier of this machine must give all of them.
 */
#include "formats/elements/decode.h"
#include "formats/elements/dot.h"
#include "formats/elements/tier.h"
#include "formats/elements/types.h"
#include "golden_inputs.h"
#include "quantize/search/codebook.h"
#include "quantize/search/encode.h"
#include "splitmix.h"
#include "testing.h"

#include <stdbool.h>
#include <xxhash.h>

static uint64_t state;

static uint64_t
hash(const void *bytes, size_t size)
{
    return XXH64(bytes, size, 0);
}

/* NaN counts as the default quiet NaN. */
static uint64_t
hash_floats(float *x)
{
    for (int i = 0; i < GOLDEN_COUNT; i++)
        if (x[i] != x[i])
            x[i] = NAN;
    return hash(x, GOLDEN_COUNT * sizeof *x);
}

/* Returns how many rows of the table it checked. */
static size_t
check_table(void)
{
    static float x[GOLDEN_COUNT], importance[GOLDEN_COLUMNS], back[GOLDEN_COUNT];
    static unsigned char blocks[GOLDEN_COUNT * 4];
    FILE *table = fopen(TEST_DATA "/golden/quant_vectors.tsv", "r");
    char line[512], type_name[32], input[32], kind[32];
    unsigned long long input_hash, blocks_hash, floats_hash, bytes;
    size_t checked = 0;

    assert_non_null(table);
    while (fgets(line, sizeof line, table) != NULL) {
        enum nb_type type;
        uint64_t size;

        if (*line == '#')
            continue;
        assert_int_equal(sscanf(line, "%31s %31s %31s %llx %llx %llx %llu", type_name, input, kind, &input_hash,
                                &blocks_hash, &floats_hash, &bytes),
                         7);
        type = nb_type_by_name(type_name);
        if (!nb_can_encode(type))
            fail_msg("%s: no codec", type_name);
        golden_input(golden_input_index(input), x);
        assert_int_equal(hash(x, sizeof x), input_hash);
        if (strcmp(kind, "none") != 0)
            golden_importance(strcmp(kind, "zeros") == 0, importance);
        memset(blocks, 0xA5, sizeof blocks);
        nb_encode(type, x, GOLDEN_ROWS, GOLDEN_COLUMNS, strcmp(kind, "none") == 0 ? NULL : importance, blocks);
        assert_true(nb_type_bytes(type, GOLDEN_COUNT, &size));
        assert_int_equal(size, bytes);
        if (hash(blocks, (size_t)size) != blocks_hash)
            fail_msg("%s: %s, %s, importance %s: other blocks than the reference's", nb_tier(), type_name, input, kind);
        nb_decode(type, blocks, GOLDEN_COUNT, back);
        if (hash_floats(back) != floats_hash)
            fail_msg("%s: %s, %s, importance %s: decodes to other floats", nb_tier(), type_name, input, kind);
        checked++;
    }
    fclose(table);
    return checked;
}

static void
every_tier_gives_the_reference_blocks(void **unused)
{
    (void)unused;
    for (const char *const *tier = nb_tiers(); *tier != NULL; tier++) {
        assert_true(nb_tier_set(*tier));
        /* all there are */
        assert_int_equal(check_table(), 1036);
    }
    assert_true(nb_tier_set(NULL));
}

/* Types whose weights by importance depend on the whole row. */
static bool
is_by_rows(enum nb_type type)
{
    return type == NB_Q4_0 || type == NB_Q4_1 || type == NB_Q5_0 || type == NB_Q5_1;
}

static void
a_row_of_any_length_is_encoded_as_its_blocks_alone(void **unused)
{
    static float x[GOLDEN_COUNT], importance[GOLDEN_COUNT];
    static unsigned char whole[GOLDEN_COUNT * 4], part[GOLDEN_COUNT * 4];

    (void)unused;
    golden_input(1, x);
    for (int i = 0; i < GOLDEN_COUNT; i++)
        importance[i] = (float)(i % 31 + 1) / 16;
    for (const char *const *tier = nb_tiers(); *tier != NULL; tier++) {
        assert_true(nb_tier_set(*tier));
        for (enum nb_type t = 0; t < NB_GGUF_TYPES; t++) {
            const size_t block = nb_type_info(t)->block, size = nb_type_info(t)->block_bytes;

            if (!nb_can_encode(t))
                continue;
            for (size_t n = 1; n <= 35; n++) { /* more than two strips */
                const bool weighted = n % 2 == 1 && !is_by_rows(t);

                memset(whole, 0xA5, sizeof whole);
                nb_encode(t, x, 1, n * block, weighted ? importance : NULL, whole);
                for (size_t b = 0; b < n; b++)
                    nb_encode(t, x + b * block, 1, block, weighted ? importance + b * block : NULL, part + b * size);
                if (memcmp(whole, part, n * size) != 0)
                    fail_msg("%s: %s: a row of %zu blocks is not those blocks", *tier, nb_type_info(t)->name, n);
                assert_int_equal(whole[n * size], 0xA5); /* not a byte behind */
            }
        }
    }
    assert_true(nb_tier_set(NULL));
}

static void
rows_with_importance_are_encoded_as_each_row_alone(void **unused)
{
    static float x[GOLDEN_COUNT], importance[GOLDEN_COLUMNS];
    static unsigned char whole[GOLDEN_COUNT * 4], part[GOLDEN_COUNT * 4];

    (void)unused;
    golden_input(13, x);
    golden_importance(1, importance);
    for (const char *const *tier = nb_tiers(); *tier != NULL; tier++) {
        assert_true(nb_tier_set(*tier));
        for (enum nb_type t = 0; t < NB_GGUF_TYPES; t++) {
            const size_t columns = 768; /* three super-blocks: no strip ends with a row */
            uint64_t bytes;

            if (!nb_can_encode(t))
                continue;
            assert_true(nb_type_bytes(t, columns, &bytes));
            nb_encode(t, x, 19, columns, importance, whole);
            for (size_t row = 0; row < 19; row++)
                nb_encode(t, x + row * columns, 1, columns, importance, part + row * bytes);
            if (memcmp(whole, part, 19 * (size_t)bytes) != 0)
                fail_msg("%s: %s: rows depend on each other", *tier, nb_type_info(t)->name);
        }
    }
    assert_true(nb_tier_set(NULL));
}

static void
halves_round_trip_and_round_to_even(void **unused)
{
    static uint16_t all[65536], back[65536];
    static float x[65536];
    const float cases[] = { 65504.0f, 65519.996f,      65520.0f,        0x1p-24f, 0x1p-25f,     0x1.8p-25f,
                            -0.0f,    1.0f + 0x1p-11f, 1.0f + 0x3p-11f, 1e30f,    0x1.ffcp-15f, 0x1.fffp-15f };
    const uint16_t expected[] = { 0x7BFF, 0x7BFF, 0x7C00, 1, 0, 1, 0x8000, 0x3C00, 0x3C02, 0x7C00, 0x03FF + 1, 0x0400 };
    uint16_t out[sizeof cases / sizeof cases[0]];

    (void)unused;
    for (unsigned i = 0; i < 65536; i++)
        all[i] = (uint16_t)i;
    for (const char *const *tier = nb_tiers(); *tier != NULL; tier++) {
        assert_true(nb_tier_set(*tier));
        nb_decode(NB_F16, all, 65536, x);
        nb_encode(NB_F16, x, 1, 65536, NULL, back);
        for (unsigned i = 0; i < 65536; i++) /* NaN becomes the one quiet NaN of its sign */
            assert_int_equal(back[i], (i & 0x7FFF) > 0x7C00 ? (i & 0x8000) | 0x7E00 : i);
        nb_decode(NB_BF16, all, 65536, x);
        nb_encode(NB_BF16, x, 1, 65536, NULL, back);
        for (unsigned i = 0; i < 65536; i++)
            assert_int_equal(back[i], (i & 0x7FFF) > 0x7F80 ? i | 64 : i);
        nb_encode(NB_F16, cases, 1, sizeof cases / sizeof cases[0], NULL, out);
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
            assert_int_equal(out[i], expected[i]);
    }
    assert_true(nb_tier_set(NULL));
}

static void
bytes_of_float8_decode_by_the_ocp_tables(void **unused)
{
    const unsigned char e4m3[] = { 0x00, 0x01, 0x08, 0x38, 0x7E, 0xFE, 0x7F, 0x80 };
    const float e4m3_floats[] = { 0, 0x1p-9f, 0x1p-6f, 1, 448, -448, NAN, -0.0f };
    const unsigned char e5m2[] = { 0x01, 0x3C, 0x7B, 0xFB, 0x7C };
    const float e5m2_floats[] = { 0x1p-16f, 1, 57344, -57344, INFINITY };
    float out[8];

    (void)unused;
    nb_decode(NB_F8_E4M3, e4m3, 8, out);
    for (int i = 0; i < 8; i++)
        assert_true(out[i] == e4m3_floats[i] || (isnan(out[i]) && isnan(e4m3_floats[i])));
    assert_true(signbit(out[7]));
    nb_decode(NB_F8_E5M2, e5m2, 5, out);
    for (int i = 0; i < 5; i++)
        assert_true(out[i] == e5m2_floats[i]);
    assert_int_equal(nb_find_nonfinite(NB_F8_E4M3, e4m3, 8), 6);
    assert_int_equal(nb_find_nonfinite(NB_F8_E5M2, e5m2, 5), 4);
}

/*
 * A super-block whose weights differ by 2^40 and whose importance has zeros, so
 * that some scales come out negative: the reference keeps bytes of these, whose
 * upper bits end up with a neighbour. Found by comparing random blocks with it.
 */
static void
negative_scales_are_packed_as_in_the_reference(void **unused)
{
    static const struct {
        enum nb_type type;
        uint64_t seed, blocks;
    } cases[] = {
        { NB_Q5_K, 16922, 0xa2251d60aa5c41f5 },
        { NB_Q5_K, 411197, 0x6d2d404be0f50f19 },
        { NB_Q4_K, 416243, 0x2b824c5b8ebefd12 },
    };
    float x[256], importance[256];
    unsigned char block[176];

    (void)unused;
    for (const char *const *tier = nb_tiers(); *tier != NULL; tier++) {
        assert_true(nb_tier_set(*tier));
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            state = cases[i].seed;
            for (int k = 0; k < 256; k++) {
                const int exponent = (int)(splitmix(&state) % 40) - 30;

                x[k] = ldexpf((float)splitmix_gaussian(&state), exponent);
            }
            for (int k = 0; k < 256; k++) {
                const float v = (float)splitmix_gaussian(&state);

                importance[k] = splitmix(&state) % 4 != 0 ? v * v * v * v : 0;
            }
            nb_encode(cases[i].type, x, 1, 256, importance, block);
            if (hash(block, nb_type_info(cases[i].type)->block_bytes) != cases[i].blocks)
                fail_msg("%s: %s, seed %u: not the reference's block", *tier, nb_type_info(cases[i].type)->name,
                         (unsigned)cases[i].seed);
        }
    }
    assert_true(nb_tier_set(NULL));
}

/*
 * Importance so small that the squares of its sums are subnormal: there the
 * search of IQ1 must not leave out cuts. Hashes of the reference's blocks.
 */
static void
importance_that_underflows_is_searched_in_full(void **unused)
{
    static const struct {
        enum nb_type type;
        uint64_t seed, blocks;
        int exponent;
    } cases[] = { { NB_IQ1_S, 22, 0x907c56cac0a70b1c, -88 }, { NB_IQ1_M, 23, 0x639923c59daab8c2, -87 } };
    float x[256], importance[256];
    unsigned char block[56];

    (void)unused;
    for (const char *const *tier = nb_tiers(); *tier != NULL; tier++) {
        assert_true(nb_tier_set(*tier));
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            state = cases[i].seed;
            for (int k = 0; k < 256; k++)
                x[k] = (float)(30 * splitmix_gaussian(&state));
            for (int k = 0; k < 256; k++) {
                const float v = (float)splitmix_gaussian(&state);

                importance[k] = ldexpf(0.05f + v * v, cases[i].exponent);
            }
            nb_encode(cases[i].type, x, 1, 256, importance, block);
            if (hash(block, nb_type_info(cases[i].type)->block_bytes) != cases[i].blocks)
                fail_msg("%s: %s: not the reference's block", *tier, nb_type_info(cases[i].type)->name);
        }
    }
    assert_true(nb_tier_set(NULL));
}

/* Finite floats with any bits: NaN and infinity are refused before they come to the codecs. */
static void
make_any_bits(float *x, size_t count, bool positive)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t bits = (uint32_t)splitmix(&state);

        if ((bits & 0x7F800000) == 0x7F800000)
            bits &= 0xFF7FFFFF;
        if (positive)
            bits &= 0x7FFFFFFF;
        memcpy(&x[i], &bits, sizeof bits);
    }
}

static void
any_bit_pattern_is_encoded_alike_by_every_tier(void **unused)
{
    static float x[GOLDEN_COUNT], importance[GOLDEN_COLUMNS], back[GOLDEN_COUNT], other[GOLDEN_COUNT];
    static unsigned char first[GOLDEN_COUNT * 4], again[GOLDEN_COUNT * 4];

    (void)unused;
    state = 42;
    make_any_bits(x, GOLDEN_COUNT, false);
    make_any_bits(importance, GOLDEN_COLUMNS, true);
    for (int i = 0; i < GOLDEN_COUNT / 2; i++) /* the second half: neighbours of like size, as search expects them */
        x[GOLDEN_COUNT / 2 + i] = ldexpf(frexpf(x[GOLDEN_COUNT / 2 + i], &(int){ 0 }), (int)(i / 512 * 24 % 250) - 125);
    for (enum nb_type t = 0; t < NB_GGUF_TYPES; t++) {
        for (int weighted = 0; weighted < 2 && nb_can_encode(t); weighted++) {
            uint64_t size;

            assert_true(nb_type_bytes(t, GOLDEN_COUNT, &size));
            assert_true(nb_tier_set("scalar"));
            nb_encode(t, x, GOLDEN_ROWS, GOLDEN_COLUMNS, weighted ? importance : NULL, first);
            nb_decode(t, first, GOLDEN_COUNT, back);
            for (const char *const *tier = nb_tiers(); *tier != NULL; tier++) {
                assert_true(nb_tier_set(*tier));
                nb_encode(t, x, GOLDEN_ROWS, GOLDEN_COLUMNS, weighted ? importance : NULL, again);
                if (memcmp(first, again, (size_t)size) != 0)
                    fail_msg("%s differs from scalar on %s%s", *tier, nb_type_info(t)->name,
                             weighted ? " with importance" : "");
                nb_decode(t, first, GOLDEN_COUNT, other);
                assert_int_equal(hash_floats(other), hash_floats(back));
            }
        }
    }
    assert_true(nb_tier_set(NULL));
}

static void
importance_matters_to_the_types_that_say_so(void **unused)
{
    static float x[GOLDEN_COUNT], importance[GOLDEN_COLUMNS];
    static unsigned char with[GOLDEN_COUNT * 4], without[GOLDEN_COUNT * 4];

    (void)unused;
    golden_input(0, x);
    golden_importance(0, importance);
    for (enum nb_type t = 0; t < NB_GGUF_TYPES; t++) {
        uint64_t size;

        if (!nb_can_encode(t))
            continue;
        assert_true(nb_type_bytes(t, GOLDEN_COUNT, &size));
        nb_encode(t, x, GOLDEN_ROWS, GOLDEN_COLUMNS, importance, with);
        nb_encode(t, x, GOLDEN_ROWS, GOLDEN_COLUMNS, NULL, without);
        if ((memcmp(with, without, (size_t)size) != 0) != (nb_type_info(t)->importance != NB_IMPORTANCE_IGNORED))
            fail_msg("%s", nb_type_info(t)->name);
    }
}

static void
any_bytes_decode_alike_on_every_tier(void **unused)
{
    static float back[GOLDEN_COUNT], other[GOLDEN_COUNT];
    static unsigned char bytes[GOLDEN_COUNT * 8];

    (void)unused;
    state = 4711;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)splitmix(&state);
    for (enum nb_type t = 0; t < NB_GGUF_TYPES; t++) {
        if (nb_type_info(t)->kind == NB_KIND_NONE)
            continue;
        assert_true(nb_can_decode(t));
        assert_true(nb_tier_set("scalar"));
        nb_decode(t, bytes, GOLDEN_COUNT, back);
        for (const char *const *tier = nb_tiers(); *tier != NULL; tier++) {
            assert_true(nb_tier_set(*tier));
            nb_decode(t, bytes, GOLDEN_COUNT, other);
            if (hash_floats(other) != hash_floats(back))
                fail_msg("%s differs from scalar on %s", *tier, nb_type_info(t)->name);
        }
    }
    assert_true(nb_tier_set(NULL));
}

/* A block of every type with a scale of infinity is found, one with the largest finite scale is not. */
static void
scales_that_are_not_finite_are_found_in_every_type(void **unused)
{
    static unsigned char block[512];

    (void)unused;
    for (enum nb_type t = 0; t < NB_GGUF_TYPES; t++) {
        const struct nb_type_info *info = nb_type_info(t);
        bool found = false;

        if (info->kind != NB_KIND_BLOCK || t == NB_NVFP4)
            continue;
        memset(block, 0, sizeof block);
        assert_int_equal(nb_find_nonfinite(t, block, info->block), info->block);
        memset(block, 0xFF, info->block_bytes); /* NaN wherever the scale is */
        assert_int_equal(nb_find_nonfinite(t, block, info->block), 0);
        for (unsigned at = 0; at < info->block_bytes; at++) { /* one byte makes the difference */
            memset(block, 0xFF, info->block_bytes);
            block[at] = 0;
            found |= nb_find_nonfinite(t, block, info->block) == info->block;
        }
        if (!found && t != NB_Q4_1 && t != NB_Q5_1 && t != NB_Q2_K && t != NB_Q4_K && t != NB_Q5_K && t != NB_Q8_1)
            fail_msg("%s: no byte is the scale's", info->name); /* those have two */
    }
}

/* Blocks of any bits with which all floats are finite; DECODED receives these. */
static void
fill_finite(enum nb_type type, unsigned char *blocks, size_t count, float *decoded)
{
    const struct nb_type_info *info = nb_type_info(type);

    state = 77;
    for (size_t i = 0; i < count; i += info->block, blocks += info->block_bytes) {
        bool finite;

        do {
            for (unsigned k = 0; k < info->block_bytes; k++)
                blocks[k] = (unsigned char)splitmix(&state);
            nb_decode(type, blocks, info->block, decoded + i);
            finite = true;
            for (size_t k = i; k < i + info->block; k++)
                finite = finite && isfinite(decoded[k]);
        } while (!finite);
    }
}

/* What is decoded in registers: the product with a vector of zeros and a one is the element. */
static void
products_take_the_elements_that_decoding_gives(void **unused)
{
    enum { COUNT = 768 };
    static unsigned char blocks[COUNT * 4];
    static float decoded[COUNT], x[COUNT];
    size_t types = 0;

    (void)unused;
    for (unsigned t = 0; t < NB_TYPES; t++) {
        const enum nb_type type = (enum nb_type)t;
        const struct nb_type_info *info = nb_type_info(type);
        size_t compared = 0;

        if (!nb_can_dot(type))
            continue;
        types++;
        for (const char *const *tier = nb_tiers(); *tier != NULL; tier++) {
            assert_true(nb_tier_set(*tier));
            fill_finite(type, blocks, COUNT, decoded);
            for (size_t i = 0; i < COUNT; i++, compared++) {
                x[i] = 1;
                if (nb_dot(type, blocks, COUNT, x) != decoded[i])
                    fail_msg("%s, %s: element %zu", info->name, *tier, i);
                x[i] = 0;
            }
        }
        assert_true(compared >= COUNT);
    }
    nb_tier_set(NULL);
    assert_int_equal(types, 16);
}

/* Sums of rows of any length, to the precision of floats; a length that no vector divides has its last elements, too. */
static void
products_are_sums_of_all_elements(void **unused)
{
    enum { COUNT = 1536 };
    static unsigned char blocks[COUNT * 4];
    static float decoded[COUNT], x[COUNT];

    (void)unused;
    for (size_t i = 0; i < COUNT; i++)
        x[i] = 1e-6f * ((float)(i * 37 % 101) - 50); /* so small that nothing overflows */
    for (unsigned t = 0; t < NB_TYPES; t++) {
        const enum nb_type type = (enum nb_type)t;

        for (const char *const *tier = nb_tiers(); nb_can_dot(type) && *tier != NULL; tier++) {
            assert_true(nb_tier_set(*tier));
            fill_finite(type, blocks, COUNT, decoded);
            for (size_t n = nb_type_info(type)->block; n <= COUNT; n += nb_type_info(type)->block) {
                double sum = 0, size = 0;

                for (size_t i = 0; i < n; i++) {
                    sum += (double)decoded[i] * (double)x[i];
                    size += fabs((double)decoded[i] * (double)x[i]);
                }
                if (!(fabs((double)nb_dot(type, blocks, n, x) - sum) <= 1e-6 * size))
                    fail_msg("%s, %s: %zu elements", nb_type_info(type)->name, *tier, n);
            }
        }
    }
    nb_tier_set(NULL);
}

/* The room for candidates is a number in the source; it must be exactly what the entries lead to. */
static void
codebooks_fill_their_tables(void **unused)
{
    (void)unused;
    for (enum nb_codebook_id id = 0; id < NB_CODEBOOKS; id++) {
        const struct nb_codebook *book = nb_codebook_ready(id);
        const uint32_t points = book->levels == 3 ? 6561 : 4096;
        uint32_t used = 0;

        for (uint32_t p = 0; p < points; p++) {
            const uint32_t length = NB_LIST_LENGTH(book->lists[p]);

            assert_int_equal(length == 0, book->indices[p] != UINT16_MAX);
            assert_true(length == 0 || NB_LIST_AT(book->lists[p]) == used);
            used += (length + NB_CANDIDATES - 1) / NB_CANDIDATES * NB_CANDIDATES;
        }
        assert_int_equal(used, book->n_codes);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_tier_gives_the_reference_blocks),
        cmocka_unit_test(a_row_of_any_length_is_encoded_as_its_blocks_alone),
        cmocka_unit_test(rows_with_importance_are_encoded_as_each_row_alone),
        cmocka_unit_test(halves_round_trip_and_round_to_even),
        cmocka_unit_test(bytes_of_float8_decode_by_the_ocp_tables),
        cmocka_unit_test(negative_scales_are_packed_as_in_the_reference),
        cmocka_unit_test(importance_that_underflows_is_searched_in_full),
        cmocka_unit_test(any_bit_pattern_is_encoded_alike_by_every_tier),
        cmocka_unit_test(importance_matters_to_the_types_that_say_so),
        cmocka_unit_test(any_bytes_decode_alike_on_every_tier),
        cmocka_unit_test(products_take_the_elements_that_decoding_gives),
        cmocka_unit_test(products_are_sums_of_all_elements),
        cmocka_unit_test(codebooks_fill_their_tables),
        cmocka_unit_test(scales_that_are_not_finite_are_found_in_every_type),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
