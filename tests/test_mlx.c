/* MLX: the bytes of its formats. */
#include "formats/elements/decode.h"
#include "formats/elements/tier.h"
#include "golden_inputs.h"
#include "quantize/search/encode.h"
#include "quantize/search/mlx.h"
#include "testing.h"

#include <stdbool.h>
#include <xxhash.h>
#include <zlib.h>

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

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_tier_gives_the_planes_of_mlx),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
