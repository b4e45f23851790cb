/*
 * Bad files of every class, made here one by one, and the finding that each must yield:
 * what the reference's readers let through, the shapes of published vulnerabilities, the
 * kinds of llama.cpp's own tests/test-gguf.cpp. And good files, which must yield none.
 */
#include "gguf_bytes.h"
#include "quantize/policy/recipe.h"
#include "scratch.h"
#include "testing.h"

#include "formats/base/file_in.h"
#include "formats/base/findings.h"
#include "formats/base/status.h"
#include "formats/elements/tensor.h"
#include "formats/elements/types.h"
#include "formats/gguf/gguf.h"
#include "formats/gguf/journal.h"
#include "formats/gguf/metadata.h"
#include "verify/check/check.h"

#include <unistd.h>

static bool seen[NB_CODES]; /* the codes that some file yielded */
static unsigned bad_files;

static enum nb_code
code_by_name(const char *name)
{
    unsigned i = 0;

    while (i < NB_CODES && strcmp(nb_code_info((enum nb_code)i)->name, name) != 0)
        i++;
    if (i == NB_CODES)
        fail_msg("no such code: %s", name);
    return (enum nb_code)i;
}

static bool
has(const struct nb_findings *f, enum nb_code code)
{
    for (size_t i = 0; i < f->count; i++)
        if (f->items[i].code == code)
            return true;
    return false;
}

/* PATH must yield the finding EXPECTED, or none at all where that is NULL. */
static void
expect_path(const char *what, const char *path, enum nb_check_level level, const char *expected)
{
    const struct nb_check_options options = { .level = level, .threads = 2 };
    struct nb_findings f = { 0 };
    struct nb_check_result result;
    struct nb_error err;
    enum nb_code code;

    if (nb_check(path, &options, &f, &result, &err) != NB_OK)
        fail_msg("%s: %s", what, err.message);
    if (expected == NULL) {
        if (f.count > 0)
            fail_msg("%s: should be sound, but: %s", what, f.items[0].sentence);
        nb_findings_free(&f);
        return;
    }
    code = code_by_name(expected);
    if (!has(&f, code))
        fail_msg("%s: no finding %s, but %zu others, the first: %s", what, expected, f.count,
                 f.count > 0 ? f.items[0].sentence : "");
    assert_true(nb_code_info(code)->severity == NB_WARNING || f.errors > 0);
    seen[code] = true;
    bad_files++;
    nb_findings_free(&f);
}

/* The file that was just put together. */
static void
expect(const char *what, const char *expected)
{
    scratch_write("bad.gguf", file, length);
    expect_path(what, scratch_path("bad.gguf"), NB_CHECK_CONTENT, expected);
}

/* --- the container -------------------------------------------------------------------------------- */

static void
headers_that_are_none(void **unused)
{
    (void)unused;
    length = 0;
    expect("an empty file", "gguf.magic");
    header(3, 0, 0), length = 23;
    expect("23 bytes", "gguf.magic");
    header(3, 0, 0), memcpy(file, "GGML", 4);
    expect("HEADER_BAD_MAGIC", "gguf.magic");
    header(0, 0, 0);
    expect("HEADER_BAD_VERSION_0", "gguf.endian"); /* no bit in the low half, as of a swapped one */
    header(1, 0, 0);
    expect("HEADER_BAD_VERSION_1", "gguf.version");
    header(4, 0, 0);
    expect("HEADER_BAD_VERSION_FUTURE", "gguf.version");
    header(0x03000000, 0, 0);
    expect("big-endian", "gguf.endian");
    header(3, (uint64_t)-1, 0);
    expect("HEADER_BAD_N_TENSORS", "gguf.count");
    header(3, 0, (uint64_t)-1);
    expect("HEADER_BAD_N_KV", "gguf.count");
    header(3, (uint64_t)1 << 61, 0);
    expect("CVE-2024-21836: a number of tensors that overflows", "gguf.count");
    header(3, 0, (uint64_t)1 << 60), pad(0);
    expect("CVE-2024-25664: a number of entries that overflows", "gguf.count");
    header(3, 0, 2), str("a"), u32(4), u32(1), put("1234567890123456", 16);
    expect("a length of nonsense where an entry should be", "gguf.string-length");
    header(3, 0, 2), str("a"), u32(4), u32(1), u64(1), put("b", 1), u32(10);
    expect("cut inside a value", "gguf.truncated");
    header(3, 0, 0);
    expect("HEADER_EMPTY", NULL);
}

static void
metadata_that_lies(void **unused)
{
    static char long_key[65600];

    (void)unused;
    header(3, 0, 1), u64((uint64_t)-1), put("k", 1), u32(4), u32(1), pad(32);
    expect("KV_BAD_KEY_SIZE; CVE-2024-23496", "gguf.string-length");
    header(3, 0, 1), str(""), u32(4), u32(1);
    expect("KV_EMPTY_KEY", "gguf.key");
    header(3, 0, 1), str("k"), u32(13), u32(1);
    expect("KV_BAD_TYPE", "gguf.value-type");
    header(3, 0, 2), str("k"), u32(4), u32(1), str("k"), u32(4), u32(1);
    expect("KV_DUPLICATE_KEY", "gguf.key-duplicate");
    header(3, 0, 1), str("general.alignment"), u32(4), u32(13);
    expect("KV_BAD_ALIGN", "gguf.alignment");
    header(3, 0, 1), str("general.alignment"), u32(10), u64(32);
    expect("KV_WRONG_TYPE_ALIGN", "gguf.alignment");
    header(3, 0, 1), str("general.alignment"), u32(4), u32(0);
    expect("CVE-2025-0317: an alignment of 0", "gguf.alignment");
    header(3, 0, 1), str("general.alignment"), u32(4), u32(1u << 31);
    expect("an alignment of 2 GiB", "gguf.alignment");
    header(3, 0, 1), str("general.alignment"), u32(4), u32(4);
    expect("an alignment of 4", "gguf.alignment-odd");
    header(3, 0, 1), str("\xff\xfe"), u32(4), u32(1);
    expect("a key that is no text", "gguf.key");
    header(3, 0, 1), u64(3), put("a\0b", 3), u32(4), u32(1);
    expect("a key with NUL", "gguf.key");
    header(3, 0, 1), str("a\x1b[2J"), u32(4), u32(1);
    expect("a key that clears the screen", "gguf.key");
    memset(long_key, 'k', 65599);
    length = 0, header(3, 0, 1), u64(65536), put(long_key, 40000);
    expect("a key of 65536 bytes, cut", "gguf.string-length");
    header(3, 0, 1), str("General.Name"), u32(4), u32(1), pad(0);
    expect("capitals in a key", "gguf.key-style");
    header(3, 0, 1), str("k"), u32(8), u64((uint64_t)-1), put("v", 1);
    expect("CVE-2024-23605: a string of 2^64 - 1 bytes", "gguf.string-length");
    header(3, 0, 1), str("k"), u32(8), str("\xc0\x80");
    expect("an overlong character", "gguf.text");
    header(3, 0, 1), str("k"), u32(9), u32(8), u64(2), str("good"), str("\xed\xa0\x80");
    expect("a surrogate in an array", "gguf.text");
    header(3, 0, 1), str("k"), u32(7), put("\5", 1);
    expect("a boolean of 5", "gguf.bool");
    header(3, 0, 1), str("k"), u32(9), u32(7), u64(3), put("\1\0\2", 3);
    expect("a boolean of 2 in an array", "gguf.bool");
    header(3, 0, 1), str("k"), u32(9), u32(13), u64(1), u64(0);
    expect("an array of type 13", "gguf.array-type");
    header(3, 0, 2), str("k"), u32(9), u32(9), u64(1), u32(4), u64(1), u32(7), str("l"), u32(7), put("\7", 1);
    expect("an array of arrays", "gguf.array-nested");
    expect("and what comes behind it", "gguf.bool");
    header(3, 0, 1), str("k"), u32(9), u32(10), u64((uint64_t)1 << 61), pad(64);
    expect("CVE-2024-21825: 2^61 elements", "gguf.array-length");
    header(3, 0, 1), str("k"), u32(9), u32(8), u64((uint64_t)1 << 40), pad(64);
    expect("CVE-2025-0315: strings beyond all memory", "gguf.array-length");
    header(3, 0, 1), str("k"), u32(9), u32(8), u64(1), u64(1000), pad(64);
    expect("a string in an array beyond the file", "gguf.string-length");
    header(3, 0, 2), str("k.a"), u32(9), u32(4), u64(0), str("k_b"), u32(12), u64(0), pad(0);
    expect("KV_SUCCESS", NULL);
}

static void
tensor_infos_that_lie(void **unused)
{
    static const struct {
        const char *what, *name;
        uint32_t n_dims;
        uint64_t a, b;
        uint32_t type;
        uint64_t offset;
        const char *expected;
    } cases[] = {
        { "no name", "", 1, 4, 0, 0, 0, "gguf.tensor-name" },
        { "TENSORS_BAD_NAME_SIZE", "0123456789012345678901234567890123456789012345678901234567890123", 1, 4, 0, 0, 0,
          "gguf.tensor-name" },
        { "a name that is no text", "\x80", 1, 4, 0, 0, 0, "gguf.tensor-name" },
        { "no dimensions", "t", 0, 0, 0, 0, 0, "gguf.tensor-dims" },
        { "TENSORS_BAD_N_DIMS", "t", 5, 1, 1, 0, 0, "gguf.tensor-dims" },
        { "CVE-2024-21802: 2^31 dimensions", "t", 0x80000000u, 1, 1, 0, 0, "gguf.tensor-dims" },
        { "TENSORS_ZERO_DIM", "t", 2, 4, 0, 0, 0, "gguf.tensor-dims" },
        { "TENSORS_BAD_SHAPE", "t", 1, (uint64_t)-4, 0, 0, 0, "gguf.tensor-size" },
        { "TENSORS_NE_TOO_BIG", "t", 2, (uint64_t)1 << 62, 4, 0, 0, "gguf.tensor-size" },
        { "2^32 x 2^32, whose product is 0", "t", 2, (uint64_t)1 << 32, (uint64_t)1 << 32, 0, 0, "gguf.tensor-size" },
        { "2^62 - 1 floats, whose bytes are -4", "t", 1, ((uint64_t)1 << 62) - 1, 0, 0, 0, "gguf.tensor-size" },
        { "TENSORS_NBYTES_TOO_BIG; CVE-2026-33298", "t", 2, (uint64_t)1 << 31, (uint64_t)1 << 31, 0, 0,
          "gguf.tensor-size" },
        { "TENSORS_BAD_TYPE", "t", 1, 32, 0, 43, 0, "gguf.tensor-type" },
        { "a type that was withdrawn", "t", 1, 32, 0, 4, 0, "gguf.tensor-type" },
        { "half a block", "t", 1, 16, 0, 2, 0, "gguf.tensor-block" },
        { "rows of half a block", "t", 2, 16, 2, 2, 0, "gguf.tensor-block" },
        { "TENSORS_BAD_OFFSET", "t", 1, 4, 0, 0, 1, "gguf.offset-alignment" },
        { "a gap", "t", 1, 4, 0, 0, 32, "gguf.offset-gap" },
        { "an offset that wraps", "t", 1, 4, 0, 0, (uint64_t)-32, "gguf.tensor-outside" },
        { "CVE-2026-7482", "t", 1, 1024, 0, 0, 0, "gguf.tensor-outside" },
        { "2^60 bytes; CVE-2025-53630", "t", 2, (uint64_t)1 << 30, (uint64_t)1 << 28, 0, 0, "gguf.tensor-outside" },
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        header(3, 1, 0);
        info(cases[i].name, cases[i].n_dims, cases[i].a, cases[i].b, cases[i].type, cases[i].offset);
        pad(64);
        memset(file + length - 64, '\1', 64);
        expect(cases[i].what, cases[i].expected);
    }
}

static void
layouts_that_lie(void **unused)
{
    (void)unused;
    header(3, 2, 0), info("t", 1, 8, 0, 24, 0), info("t", 1, 8, 0, 24, 32), pad(64);
    expect("TENSORS_DUPLICATE_NAME", "gguf.tensor-duplicate");
    header(3, 2, 0), info("t", 1, 64, 0, 24, 0), info("u", 1, 64, 0, 24, 32), pad(128);
    expect("an overlap", "gguf.offset-overlap");
    header(3, 2, 0), info("t", 1, 8, 0, 24, 0), info("u", 1, 8, 0, 24, 8), pad(32);
    expect("TENSORS_BAD_ALIGN", "gguf.offset-alignment");
    header(3, 2, 1), str("general.alignment"), u32(4), u32(64);
    info("t", 1, 8, 0, 24, 0), info("u", 1, 8, 0, 24, 32), pad(128);
    expect("TENSORS_INCONSISTENT_ALIGN", "gguf.offset-alignment");
    header(3, 2, 0), info("t", 2, (uint64_t)1 << 40, 1 << 20, 24, 0), info("u", 2, (uint64_t)1 << 40, 1 << 22, 24, 0);
    pad(0);
    expect("DATA_MEM_SIZE_OVERFLOW; CVE-2026-27940", "gguf.tensor-outside");
    header(3, 1, 0), info("t", 1, 8, 0, 24, 0), pad(8);
    expect("no padding at the end; DATA_NOT_ENOUGH_DATA", "gguf.cut");
    header(3, 1, 0), info("t", 1, 8, 0, 24, 0), pad(32 + 100);
    memset(file + length - 100, 'x', 100), memset(file + length - 132, '\1', 4);
    expect("a hundred bytes behind all", "gguf.end");
    header(3, 1, 0), info("t", 1, 8, 0, 24, 0), pad(32);
    file[length - 32] = 1, file[length - 1] = 1;
    expect("padding of ones", "gguf.padding");
    header(3, 1, 0), info("t", 1, 8, 0, 24, 0), put("x", 1), pad(32), file[length - 32] = 1;
    expect("padding of the header", "gguf.padding");
    header(3, 2, 0), info("t", 1, 8, 0, 24, 0), info("u", 1, 8, 0, 24, 32), pad(64);
    file[length - 64] = file[length - 32] = 1;
    expect("TENSORS_SUCCESS, DATA_SUCCESS", NULL);
    header(3, 2, 1), str("general.alignment"), u32(4), u32(64);
    info("t", 1, 8, 0, 24, 0), info("u", 1, 8, 0, 24, 64), pad(0);
    while (length % 64 != 0)
        put("", 1);
    pad(128), file[length - 128] = file[length - 64] = 1;
    expect("TENSORS_CUSTOM_ALIGN, DATA_CUSTOM_ALIGN", NULL);
    length -= 120;
    expect("DATA_BAD_ALIGN, DATA_INCONSISTENT_ALIGN: cut where 32 would do", "gguf.tensor-outside");
}

/* All faults are listed, and with their places. */
static void
all_faults_are_listed(void **unused)
{
    const struct nb_check_options options = { .level = NB_CHECK_STRUCTURE };
    struct nb_findings f = { 0 };
    struct nb_check_result result;
    struct nb_error err;

    (void)unused;
    header(3, 3, 3);
    str("a"), u32(7), put("\2", 1);
    str("B"), u32(4), u32(1);
    str("a"), u32(8), str("\xff");
    info("t", 1, 8, 0, 24, 0), info("u", 2, 8, 0, 24, 32), info("v", 1, 4000, 0, 99, 32), pad(64);
    scratch_write("bad.gguf", file, length);
    assert_int_equal(nb_check(scratch_path("bad.gguf"), &options, &f, &result, &err), NB_OK);
    assert_int_equal(f.count, 6);
    assert_true(has(&f, NB_BAD_GGUF_BOOL) && has(&f, NB_BAD_GGUF_KEY_STYLE) && has(&f, NB_BAD_GGUF_TEXT) &&
                has(&f, NB_BAD_GGUF_KEY_DUPLICATE) && has(&f, NB_BAD_GGUF_TENSOR_DIMS) &&
                has(&f, NB_BAD_GGUF_TENSOR_TYPE));
    assert_string_equal(f.items[0].place.name, "a");
    assert_int_equal(f.items[0].place.offset, 24 + 8 + 1 + 4 + 1);
    assert_int_equal(f.errors, 5);
    assert_int_equal(f.warnings, 1);
    nb_findings_free(&f);
}

/* A file that is large enough for millions of entries and tensors, and has nothing else. */
static void
no_count_fills_the_memory(void **unused)
{
    (void)unused;
    for (int tensors = 0; tensors < 2; tensors++) {
        header(3, tensors ? 1u << 21 : 0, tensors ? 0 : 1u << 21);
        scratch_write("bad.gguf", file, length);
        assert_int_equal(truncate(scratch_path("bad.gguf"), (off_t)1 << 30), 0); /* a hole */
        expect_path("2^21 of nothing", scratch_path("bad.gguf"), NB_CHECK_STRUCTURE, "gguf.count");
    }
}

/* Many entries, none of them the same, and many faults: neither may make it slow or large. */
static void
a_million_faults_end_the_reading(void **unused)
{
    const size_t n = 300000, each = 8 + 8 + 4 + 1;
    unsigned char *big = malloc(24 + n * each), *at = big;
    const uint64_t count = n, eight = 8;
    const uint32_t version = 3, type = 7;

    (void)unused;
    assert_non_null(big);
    memcpy(at, "GGUF", 4), memcpy(at + 4, &version, 4), memset(at + 8, 0, 8), memcpy(at + 16, &count, 8), at += 24;
    for (size_t i = 0; i < n; i++, at += each) {
        char key[9];

        snprintf(key, sizeof key, "k%07zu", i);
        memcpy(at, &eight, 8), memcpy(at + 8, key, 8), memcpy(at + 16, &type, 4), at[20] = 9;
    }
    scratch_write("bad.gguf", big, 24 + n * each);
    expect_path("300,000 bad booleans", scratch_path("bad.gguf"), NB_CHECK_FULL, "file.too-many");
    free(big);
}

static void
no_file_that_it_knows(void **unused)
{
    (void)unused;
    scratch_write_text("notes.txt", "just some text, and more of it");
    expect_path("a text", scratch_path("notes.txt"), NB_CHECK_FULL, "file.kind");
    scratch_write("pytorch_model.bin", "PK\3\4 and so on", 14);
    expect_path("a PyTorch file", scratch_path("pytorch_model.bin"), NB_CHECK_FULL, "file.kind");
}

/* --- the data ----------------------------------------------------------------------------------------- */

/* A file of one tensor "t.weight" of TYPE with two rows of 256, whose bytes are VALUE. */
static unsigned char *
tensor_of(enum nb_type type, unsigned char value)
{
    uint64_t bytes;

    assert_true(nb_type_bytes(type, 512, &bytes));
    header(3, 1, 0), info("t.weight", 2, 256, 2, type, 0), pad(0);
    memset(file + length, value, (size_t)bytes);
    length += (size_t)bytes;
    while (length % 32 != 0)
        put("", 1);
    return file + length - (bytes + 31) / 32 * 32;
}

static void
values_that_are_no_numbers(void **unused)
{
    static const struct {
        enum nb_type type;
        unsigned at[4]; /* of the high bytes of its scales in the first block; 0: no more */
        unsigned char infinite;
        const char *expected;
    } cases[] = {
        { NB_Q4_0, { 1 }, 0x7C, "data.scale" },    { NB_Q4_1, { 1, 3 }, 0x7C, "data.scale" },
        { NB_Q5_0, { 1 }, 0x7C, "data.scale" },    { NB_Q5_1, { 1, 3 }, 0xFC, "data.scale" },
        { NB_Q8_0, { 1 }, 0x7E, "data.scale" },    { NB_Q2_K, { 81, 83 }, 0x7C, "data.scale" },
        { NB_Q3_K, { 109 }, 0x7C, "data.scale" },  { NB_Q4_K, { 1, 3 }, 0x7C, "data.scale" },
        { NB_Q5_K, { 1, 3 }, 0x7C, "data.scale" }, { NB_Q6_K, { 209 }, 0xFC, "data.scale" },
        { NB_IQ1_S, { 1 }, 0x7C, "data.scale" },   { NB_IQ2_XXS, { 1 }, 0x7C, "data.scale" },
        { NB_IQ2_XS, { 1 }, 0x7C, "data.scale" },  { NB_IQ2_S, { 1 }, 0x7C, "data.scale" },
        { NB_IQ3_XXS, { 1 }, 0x7C, "data.scale" }, { NB_IQ3_S, { 1 }, 0x7C, "data.scale" },
        { NB_IQ4_NL, { 1 }, 0x7C, "data.scale" },  { NB_IQ4_XS, { 1 }, 0x7C, "data.scale" },
        { NB_TQ1_0, { 53 }, 0x7C, "data.scale" },  { NB_TQ2_0, { 65 }, 0x7C, "data.scale" },
        { NB_Q1_0, { 1 }, 0x7C, "data.scale" },    { NB_Q2_0, { 1 }, 0x7C, "data.scale" },
        { NB_Q8_K, { 3 }, 0xFF, "data.scale" },    { NB_MXFP4, { 0 }, 0xFF, "data.scale" },
        { NB_NVFP4, { 0 }, 0x7F, "data.code" },    { NB_NVFP4, { 3 }, 0x80, "data.code" },
        { NB_TQ2_0, { 17 }, 0x30, "data.code" },
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct nb_type_info *type = nb_type_info(cases[i].type);

        for (unsigned k = 0; k < 4 && (k == 0 || cases[i].at[k] != 0); k++) {
            unsigned char *data = tensor_of(cases[i].type, 0);

            data[type->block_bytes + cases[i].at[k]] = cases[i].infinite; /* in the second block */
            if (cases[i].type == NB_Q8_K)
                data[type->block_bytes + 2] = 0x80;
            expect(type->name, cases[i].expected);
        }
    }
    tensor_of(NB_IQ1_M, 0);
    memset(file + length - 64, 0xF0, 56); /* the top bits of its four words are an exponent of ones */
    expect("iq1_m", "data.scale");
}

static void
floats_that_are_no_numbers(void **unused)
{
    static const struct {
        enum nb_type type;
        unsigned size;
        unsigned char high, low; /* bytes of a NaN or infinity, the rest is 0 */
    } cases[] = {
        { NB_F32, 4, 0x7F, 0xC0 }, { NB_F32, 4, 0xFF, 0x80 },  { NB_F16, 2, 0x7C, 0 },
        { NB_F16, 2, 0xFE, 1 },    { NB_BF16, 2, 0x7F, 0x80 }, { NB_F64, 8, 0x7F, 0xF0 },
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        unsigned char *data = tensor_of(cases[i].type, 1), *last = data + 511 * cases[i].size;

        memset(last, 0, cases[i].size);
        last[cases[i].size - 1] = cases[i].high;
        last[cases[i].size - 2] = cases[i].low;
        expect(nb_type_info(cases[i].type)->name, "data.not-finite");
    }
    tensor_of(NB_F32, 0);
    expect("zeros", "data.zero");
    tensor_of(NB_Q4_K, 0);
    expect("zeros of a quantized tensor", "data.zero");
    tensor_of(NB_F16, 0x3C);
    expect("all the same", "data.constant");
    tensor_of(NB_Q8_0, 0x11);
    expect("all the same, quantized", "data.constant");
}

/* While the check reads it the file becomes shorter: an error, and no signal. */
static void
shorten(void *context, uint64_t done, uint64_t total)
{
    (void)done;
    (void)total;
    assert_int_equal(truncate(context, 1 << 20), 0);
}

static void
a_file_that_shrinks_is_told(void **unused)
{
    char path[SCRATCH_PATH];
    struct nb_check_options options = { .level = NB_CHECK_CONTENT, .threads = 1, .progress = shorten, .context = path };
    struct nb_findings f = { 0 };
    struct nb_check_result result;
    struct nb_error err;

    (void)unused;
    strcpy(path, scratch_path("shrinks.gguf"));
    header(3, 1, 0), info("t", 2, 1 << 20, 16, 24, 0), pad(0);
    scratch_write("shrinks.gguf", file, length);
    assert_int_equal(truncate(path, (off_t)length + (16 << 20)), 0);
    assert_int_equal(nb_check(path, &options, &f, &result, &err), NB_OK);
    assert_true(has(&f, NB_BAD_FILE_CHANGED));
    seen[NB_BAD_FILE_CHANGED] = true;
    nb_findings_free(&f);
}

/* --- models: a good one, and one change ------------------------------------------------------------------ */

static struct {
    struct nb_gguf gguf;
    struct nb_gguf_info *infos;
    unsigned char *whole;
    size_t size;
} good;

static void
load_good(void)
{
    struct nb_file_in in;
    struct nb_error err;
    struct run run;

    if (good.whole != NULL)
        return;
    tiny_checkpoint("model");
    RUN(&run, "quantize", "model", "-t", "q8_0", "-o", "good.gguf", "--force");
    assert_int_equal(run.code, 0);
    good.whole = scratch_read(scratch_path("good.gguf"), &good.size);
    assert_int_equal(nb_file_open(&in, scratch_path("good.gguf"), &err), NB_OK);
    assert_int_equal(nb_gguf_read(&in, 0, &good.gguf, &err), NB_OK);
    nb_file_close(&in);
    good.infos = calloc(good.gguf.count + 1, sizeof *good.infos);
    assert_non_null(good.infos);
    for (size_t i = 0; i < good.gguf.count; i++) {
        const struct nb_tensor *t = &good.gguf.tensors[i];

        good.infos[i] = (struct nb_gguf_info){ t->name, t->type, t->n_dims, t->ne, t->offset - good.gguf.data_offset };
    }
}

/* Writes NAME with this metadata and the good tensors under INFOS. */
static void
write_model(const char *name, const struct nb_metadata *meta, const struct nb_gguf_info *infos, size_t count)
{
    const uint64_t data = good.size - good.gguf.data_offset;
    unsigned char *head, *whole;
    struct nb_error err;
    uint64_t size;

    assert_int_equal(nb_gguf_header(meta, infos, count, &head, &size, &err), NB_OK);
    whole = malloc((size_t)(size + data));
    assert_non_null(whole);
    memcpy(whole, head, (size_t)size);
    memcpy(whole + size, good.whole + good.gguf.data_offset, (size_t)data);
    scratch_write(name, whole, (size_t)(size + data));
    free(whole);
    free(head);
}

/* The good model with KEY set to this (or without it, where DATA is NULL). */
static void
with_key(const char *what, const char *key, enum nb_kv_type type, enum nb_kv_type element, uint64_t count,
         const void *data, uint64_t size, const char *expected)
{
    struct nb_metadata meta = { 0 };

    load_good();
    nb_meta_copy(&meta, &good.gguf.meta);
    if (data == NULL)
        nb_meta_remove(&meta, key);
    else
        nb_meta_set(&meta, key, type, element, count, data, size);
    write_model("changed.gguf", &meta, good.infos, good.gguf.count);
    nb_meta_free(&meta);
    expect_path(what, scratch_path("changed.gguf"), NB_CHECK_FULL, expected);
}

static void
with_u32(const char *what, const char *key, uint32_t value, const char *expected)
{
    with_key(what, key, NB_KV_U32, NB_KV_U32, 1, &value, sizeof value, expected);
}

static void
with_text(const char *what, const char *key, const char *value, const char *expected)
{
    with_key(what, key, NB_KV_STRING, NB_KV_STRING, 1, value, strlen(value), expected);
}

static void
without(const char *key, const char *expected)
{
    with_key(key, key, NB_KV_U32, NB_KV_U32, 0, NULL, 0, expected);
}

/* The good model with tensor NUMBER under another NAME, or with another shape. */
static void
with_tensor(const char *what, size_t number, const char *name, uint64_t columns, uint64_t rows, const char *expected)
{
    const uint64_t ne[4] = { columns, rows, 1, 1 };
    struct nb_gguf_info saved;

    load_good();
    saved = good.infos[number];
    if (name != NULL)
        good.infos[number].name = name;
    else
        good.infos[number].ne = ne;
    write_model("changed.gguf", &good.gguf.meta, good.infos, good.gguf.count);
    good.infos[number] = saved;
    expect_path(what, scratch_path("changed.gguf"), NB_CHECK_FULL, expected);
}

static size_t
number_of(const char *name)
{
    size_t i = 0;

    load_good();
    while (i < good.gguf.count && strcmp(good.infos[i].name, name) != 0)
        i++;
    assert_true(i < good.gguf.count);
    return i;
}

static void
keys_that_make_no_model(void **unused)
{
    static const uint64_t wide = 1;

    (void)unused;
    without("general.name", NULL);
    without("general.architecture", "model.architecture");
    with_text("another architecture", "general.architecture", "mamba9", "model.unknown");
    without("llama.block_count", "model.key-missing");
    without("llama.context_length", "model.key-missing");
    without("llama.attention.layer_norm_rms_epsilon", "model.key-missing");
    with_key("a u64", "llama.block_count", NB_KV_U64, NB_KV_U64, 1, &wide, 8, "model.key-type");
    with_text("a text", "llama.embedding_length", "64", "model.key-type");
    with_u32("an integer", "general.name", 3, "model.key-type");
    with_u32("CVE-2024-8063: no layers", "llama.block_count", 0, "model.key-value");
    with_u32("more layers than there can be", "llama.block_count", 513, "model.key-value");
    with_key("an epsilon of 4", "llama.attention.layer_norm_rms_epsilon", NB_KV_F32, NB_KV_F32, 1, &(float){ 4 }, 4,
             "model.key-value");
    with_u32("heads that cannot share", "llama.attention.head_count_kv", 3, "model.key-value");
    with_u32("a rotation of half a head", "llama.rope.dimension_count", 3, "model.key-value");
    with_u32("values of length 1", "llama.attention.value_length", 1, "model.tensor-shape");
    with_u32("a layer too few", "llama.block_count", 2, "model.layer");
    without("general.quantization_version", "model.quantization-version");
    without("general.file_type", NULL);
    with_u32("a file type of another recipe", "general.file_type", NB_FT_Q5_1, "model.file-type");
    with_u32("a recipe that no row fits", "general.file_type", NB_FT_Q5_K_M, NULL);
    with_u32("another width", "llama.feed_forward_length", 192, "model.tensor-shape");
}

static void
tensors_that_make_no_model(void **unused)
{
    const size_t norm = number_of("output_norm.weight"), q = number_of("blk.0.attn_q.weight"),
                 table = number_of("token_embd.weight");
    const uint64_t columns = good.gguf.tensors[q].ne[0], rows = good.gguf.tensors[q].ne[1];

    (void)unused;
    with_tensor("a norm under another name", norm, "output_nrom.weight", 0, 0, "model.tensor-missing");
    with_tensor("a tensor that nobody needs", norm, "output_nrom.weight", 0, 0, "model.tensor-unexpected");
    with_tensor("a factor whose weight is not there", norm, "blk.0.attn_p.scale", 0, 0, "model.tensor-unexpected");
    with_tensor("a layer beyond the last", norm, "blk.7.attn_norm.weight", 0, 0, "model.layer");
    with_tensor("a fused matrix of queries alone", q, "blk.0.attn_qkv.weight", 0, 0, "model.tensor-shape");
    with_tensor("a matrix on its side", q, NULL, columns * 2, rows / 2, "model.tensor-shape");
    with_tensor("an embedding with other rows", table, NULL, good.gguf.tensors[table].ne[0] * 2,
                good.gguf.tensors[table].ne[1] / 2, "tokenizer.embedding");
}

/* An array of strings in the form of struct nb_kv. */
static uint64_t
strings(unsigned char *to, const char *const *texts, size_t count)
{
    uint64_t at = 0;

    for (size_t i = 0; i < count; i++) {
        const uint64_t n = strlen(texts[i]);

        memcpy(to + at, &n, 8);
        memcpy(to + at + 8, texts[i], (size_t)n);
        at += 8 + n;
    }
    return at;
}

static void
with_tokens(const char *what, const char *const *texts, const int32_t *types, size_t count, const char *expected)
{
    unsigned char data[1024];
    const uint64_t size = strings(data, texts, count);
    struct nb_metadata meta = { 0 };

    load_good();
    nb_meta_copy(&meta, &good.gguf.meta);
    nb_meta_set(&meta, "tokenizer.ggml.tokens", NB_KV_ARRAY, NB_KV_STRING, count, data, size);
    nb_meta_set(&meta, "tokenizer.ggml.token_type", NB_KV_ARRAY, NB_KV_I32, count, types, count * sizeof *types);
    write_model("changed.gguf", &meta, good.infos, good.gguf.count);
    nb_meta_free(&meta);
    expect_path(what, scratch_path("changed.gguf"), NB_CHECK_FULL, expected);
}

/* A SentencePiece vocabulary whose scores differ by STEP. */
static void
with_scores(const char *what, float step, const char *expected)
{
    enum { COUNT = 64 };
    char names[COUNT][8];
    const char *texts[COUNT];
    unsigned char data[COUNT * 16];
    int32_t types[COUNT];
    float scores[COUNT];
    struct nb_metadata meta = { 0 };

    for (int i = 0; i < COUNT; i++) {
        snprintf(names[i], sizeof names[i], "t%d", i);
        texts[i] = names[i];
        types[i] = 1;
        scores[i] = -1000 - step * (float)i;
    }
    load_good();
    nb_meta_copy(&meta, &good.gguf.meta);
    nb_meta_set_string(&meta, "tokenizer.ggml.model", "llama");
    nb_meta_set(&meta, "tokenizer.ggml.tokens", NB_KV_ARRAY, NB_KV_STRING, COUNT, data, strings(data, texts, COUNT));
    nb_meta_set(&meta, "tokenizer.ggml.token_type", NB_KV_ARRAY, NB_KV_I32, COUNT, types, sizeof types);
    nb_meta_set(&meta, "tokenizer.ggml.scores", NB_KV_ARRAY, NB_KV_F32, COUNT, scores, sizeof scores);
    nb_meta_remove(&meta, "tokenizer.ggml.merges");
    write_model("changed.gguf", &meta, good.infos, good.gguf.count);
    nb_meta_free(&meta);
    expect_path(what, scratch_path("changed.gguf"), NB_CHECK_FULL, expected);
}

static void
vocabularies_that_are_none(void **unused)
{
    const int32_t types[] = { 1, 1, 6 }, wrong[] = { 1, 1, 7 };
    const float nan_scores[2] = { 0, NAN };
    unsigned char data[1024];

    (void)unused;
    without("tokenizer.ggml.model", "tokenizer.missing");
    without("tokenizer.ggml.tokens", "tokenizer.missing");
    without("tokenizer.ggml.merges", "tokenizer.missing");
    without("tokenizer.ggml.pre", "tokenizer.pre-missing");
    with_text("an unknown pre-tokenizer", "tokenizer.ggml.pre", "llama-bpe2", "tokenizer.pre");
    with_text("a pre-tokenizer that only has another name", "tokenizer.ggml.pre", "llama-v3", NULL);
    with_key("token types of u32", "tokenizer.ggml.token_type", NB_KV_ARRAY, NB_KV_U32, 1, types, 4, "tokenizer.type");
    with_text("a kind that is not known", "tokenizer.ggml.model", "quantum", "tokenizer.kind");
    with_u32("a number as kind", "tokenizer.ggml.model", 1, "tokenizer.type");
    with_key("tokens of u8; PR #26690", "tokenizer.ggml.token_type", NB_KV_ARRAY, NB_KV_U8, 4, "\1\1\1\1", 4,
             "tokenizer.type");
    with_key("scores of f64", "tokenizer.ggml.scores", NB_KV_ARRAY, NB_KV_F64, 1, &(double){ 0 }, 8, "tokenizer.type");
    with_u32("a flag as number", "tokenizer.ggml.add_bos_token", 1, "tokenizer.type");
    with_text("an id as text", "tokenizer.ggml.bos_token_id", "1", "tokenizer.type");
    with_key("one score", "tokenizer.ggml.scores", NB_KV_ARRAY, NB_KV_F32, 1, nan_scores, 4, "tokenizer.length");
    with_key("two types", "tokenizer.ggml.token_type", NB_KV_ARRAY, NB_KV_I32, 2, types, 8, "tokenizer.length");
    with_key("a score of NaN", "tokenizer.ggml.scores", NB_KV_ARRAY, NB_KV_F32, 2, nan_scores, 8, "tokenizer.score");
    with_scores("one score for all", 0, "tokenizer.equal-scores");
    with_u32("BOS beyond the vocabulary", "tokenizer.ggml.bos_token_id", 1u << 20, "tokenizer.special-id");
    with_u32("padding of 2^32 - 1", "tokenizer.ggml.padding_token_id", UINT32_MAX, "tokenizer.special-id");
    with_tokens("<0x-1>; PR #25969", (const char *const[]){ "a", "b", "<0x-1>" }, types, 3, "tokenizer.byte-token");
    with_tokens("<0xG0>", (const char *const[]){ "a", "b", "<0xG0>" }, types, 3, "tokenizer.byte-token");
    with_tokens("<0x041>", (const char *const[]){ "a", "b", "<0x041>" }, types, 3, "tokenizer.byte-token");
    with_tokens("type 7", (const char *const[]){ "a", "b", "<0x41>" }, wrong, 3, "tokenizer.token-type");
    with_tokens("a text twice", (const char *const[]){ "a", "a", "<0x41>" }, types, 3, "tokenizer.duplicate");
    with_key("merges of one word", "tokenizer.ggml.merges", NB_KV_ARRAY, NB_KV_STRING, 1, data,
             strings(data, (const char *const[]){ "ab" }, 1), "tokenizer.merge");
    with_key("merges of strangers", "tokenizer.ggml.merges", NB_KV_ARRAY, NB_KV_STRING, 1, data,
             strings(data, (const char *const[]){ "qwertz uiop" }, 1), "tokenizer.merge-token");
}

static void
templates_that_reach_out(void **unused)
{
    static char large[300000];

    (void)unused;
    memset(large, 'x', sizeof large - 1);
    with_text("a good template", "tokenizer.chat_template",
              "{% for m in messages %}{{ '<|' ~ m['role'] ~ '|>' ~ m.content | trim }}{% endfor %}", NULL);
    with_text("300 kB", "tokenizer.chat_template", large, "template.size");
    with_text("an escape", "tokenizer.chat_template", "{{ m }}\x1b[2J", "template.control");
    with_text("CVE-2024-34359", "tokenizer.chat_template",
              "{% for c in ().__class__.__base__.__subclasses__() %}{{ c }}{% endfor %}", "template.attribute");
    with_text("an attribute by filter", "tokenizer.chat_template", "{{ x|attr('a') }}", "template.attribute");
    with_text("an import", "tokenizer.chat_template", "{% import 'x' as y %}", "template.import");
    with_text("an include in a variant", "tokenizer.chat_template.tool_use", "{%- include 'x' %}", "template.import");
    with_text("a file", "tokenizer.chat_template", "{{ open('/etc/passwd').read() }}", "template.file");
    with_text("a process; CVE-2026-5760", "tokenizer.chat_template", "{{ os.popen('id') }}", "template.file");
}

/* Ways to Python's internals, and to all memory, that were published or are short to think of. */
static void
templates_that_hide_what_they_reach_for(void **unused)
{
    static const char *const attributes[] = {
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ x|attr('__cl'~'ass__') }}",
        "{{ x|attr('\\x5f\\x5fclass\\x5f\\x5f') }}",
        "{{ x['__cl' + 'ass__'] }}",
        "{{ x['\\x5f\\x5fclass\\x5f\\x5f'] }}",
        "{{ x['\\137\\137class\\137\\137'] }}",
        "{{ x[('__cl','ass__')|join] }}",
        "{{ x[['_','_','class','_','_']|join('')] }}",
        "{{ x['%c%cclass%c%c'|format(95,95,95,95)] }}",
        "{{ x['_'*2 ~ 'class' ~ '_'*2] }}",
        "{{ x['__ssalc__'|reverse] }}",
        "{{ messages|map(attribute='__class__')|list }}",
        "{{ '{0.__class__}'.format(x) }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ lipsum['__glob'~'als__'] }}",
        "{{ joiner|attr('x') }}",
        "{{ namespace.__init__ }}",
        "{{ self._TemplateReference__context }}",
        "{{ x['__CLASS__'|lower] }}",
        "{% set a = '__cl' %}{% set b = 'ass__' %}{{ x[a ~ b] }}",
        "{{ x|map('attr','y') }}",
        "{{ config.__class__ }}",
        "{{ url_for.x }}",
        "{{ (()|attr)('a') }}",
        "{{ dict(__class__=1)|list|first }}",
        "{{ \"\".join([\"__\", \"class\", \"__\"]) }}",
        "{{ '\\u005f\\u005fclass\\u005f\\u005f' }}",
    };
    static const char *const costs[] = {
        "{% for i in range(10**9) %}x{% endfor %}",
        "{{ 'a' * 1000000000 }}",
        "{{ 'a' * 10**9 }}",
        "{% for i in range(1000000) %}{% for j in range(1000000) %}x{% endfor %}{% endfor %}",
        "{{ 'x'|center(99999999) }}",
        "{{ '%99999999d'|format(1) }}",
        "{{ '{:>99999999}'.format(1) }}",
        "{% set x = x ~ x %}",
        "{% set ns.x = ns.x + ns.x %}",
        "{{ range(1_000_000_000)|list }}",
        "{{ 9**9**9 }}",
        "{{ (1e9|int) * 'a' }}",
        "{{ [0] * 100000000 }}",
    };
    static const char *const harmless[] = {
        "{% set ns = namespace(n=0, last='') %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}",
        "{% for i in range(messages|length - 1, -1, -1) %}{{ messages[i]['content'] }}{% endfor %}",
        "{{ 'Environment: ipython' ~ '\\n' }}{{ '\u2581' }}{{ m['system'] }}{{ 'a_b' }}{{ x | tojson(indent=4) }}",
        "{{- strftime_now('%d %b %Y') }}{{ \"Today's date: 20240101\" }}{{ 'it\\'s' }}{# a class of its own #}",
    };

    (void)unused;
    for (size_t i = 0; i < sizeof attributes / sizeof attributes[0]; i++)
        with_text(attributes[i], "tokenizer.chat_template", attributes[i], "template.attribute");
    for (size_t i = 0; i < sizeof costs / sizeof costs[0]; i++)
        with_text(costs[i], "tokenizer.chat_template", costs[i], "template.cost");
    with_text("a module by subscript", "tokenizer.chat_template", "{{ x['os'] }}", "template.file");
    for (size_t i = 0; i < sizeof harmless / sizeof harmless[0]; i++)
        with_text(harmless[i], "tokenizer.chat_template", harmless[i], NULL);
}

static void
templates_that_do_not_end(void **unused)
{
    static const char *const whole[] = {
        "{{ {'a': {'b': 1}} }}{{ '}}' ~ \"%}\" }}{% if a == '%}' %}x{% elif b %}y{% else %}z{% endif %}",
        "{%- set ns = namespace(x='') -%}{%- set t %}{{ a }}{% endset -%}{% set u | trim %} b {% endset %}",
        "{% raw %}{{ {% if %} {% endraw %}{# {{ {% for #}{ {{ '\\'}}' }}",
        "{% macro f(x) %}{% for i in x %}{% if i %}{% break %}{% endif %}{% else %}none{% endfor %}{% endmacro %}{{ f(1) }}",
        "{% generation %}{{ m }}{% endgeneration %}{% call(x) f() %}{% endcall %}",
    };
    static const char *const broken[] = {
        "{% if a %}x",  "{{ a }",
        "{% if a ",     "{# a",
        "x{% endif %}", "{% for a in b %}{% if a %}{% endfor %}{% endif %}",
        "{{ 'a }}",     "{% raw %}{% endif %}",
        "{% else %}",   "{{ (a }}",
    };

    (void)unused;
    for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++)
        with_text(whole[i], "tokenizer.chat_template", whole[i], NULL);
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++)
        with_text(broken[i], "tokenizer.chat_template", broken[i], "template.block");
}

/* --- split sets -------------------------------------------------------------------------------------------- */

static void
write_part(const char *name, unsigned no, unsigned count, const char *tensor, int32_t tensors)
{
    const uint16_t numbers[2] = { (uint16_t)no, (uint16_t)count };

    header(3, 1, 3);
    str("split.no"), u32(2), put(&numbers[0], 2);
    str("split.count"), u32(2), put(&numbers[1], 2);
    str("split.tensors.count"), u32(5), put(&tensors, 4);
    info(tensor, 1, 4, 0, 24, 0), pad(32), file[length - 32] = 1;
    scratch_write(name, file, length);
}

static void
expect_set(const char *what, const char *name, const char *expected)
{
    expect_path(what, scratch_path(name), NB_CHECK_CONTENT, expected);
}

static void
split_sets_that_are_none(void **unused)
{
    (void)unused;
    write_part("a-00001-of-00002.gguf", 0, 2, "x", 2);
    expect_set("a part is missing", "a-00001-of-00002.gguf", "split.part");
    write_part("a-00002-of-00002.gguf", 1, 2, "y", 2);
    expect_set("a good set", "a-00001-of-00002.gguf", NULL);
    expect_set("by its second part", "a-00002-of-00002.gguf", NULL);
    write_part("a-00002-of-00002.gguf", 1, 2, "x", 2);
    expect_set("a tensor twice", "a-00001-of-00002.gguf", "split.tensor-duplicate");
    write_part("a-00002-of-00002.gguf", 0, 2, "y", 2);
    expect_set("part 1 again", "a-00001-of-00002.gguf", "split.keys");
    write_part("a-00001-of-00002.gguf", 0, 2, "x", 3);
    write_part("a-00002-of-00002.gguf", 1, 2, "y", 3);
    expect_set("three tensors are told", "a-00001-of-00002.gguf", "split.tensor-count");
    write_part("b.gguf", 0, 2, "x", 2);
    expect_set("another name", "b.gguf", "split.name");
    write_part("b.gguf", 2, 2, "x", 2);
    expect_set("part 3 of 2", "b.gguf", "split.keys");
    write_part("b.gguf", 0, 65535, "x", 2);
    expect_set("one of 65535", "b.gguf", "split.keys");
}

/* --- safetensors ------------------------------------------------------------------------------------------------ */

#define ENTRY(dtype, shape, from, to) \
    "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #from "," #to "]}"

static void
safetensors_that_lie(void **unused)
{
    static const struct {
        const char *what, *header;
        size_t data;
        const char *expected;
    } cases[] = {
        { "no object", "[]", 0, "safetensors.header" },
        { "no JSON", "{\"a\":", 0, "safetensors.header" },
        { "a surrogate alone", "{\"\\ud800\":" ENTRY("U8", "[4]", 0, 4) "}", 4, "safetensors.name" },
        { "numbers as metadata", "{\"__metadata__\":{\"a\":1}}", 0, "safetensors.metadata" },
        { "metadata twice", "{\"__metadata__\":{},\"__metadata__\":{}}", 0, "safetensors.metadata" },
        { "a name twice", "{\"a\":" ENTRY("U8", "[2]", 0, 2) ",\"a\":" ENTRY("U8", "[2]", 2, 4) "}", 4,
          "safetensors.duplicate" },
        { "a number as entry", "{\"a\":1}", 0, "safetensors.entry" },
        { "an entry without shape", "{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,4],\"x\":1}}", 4,
          "safetensors.entry" },
        { "no dtype that there is", "{\"a\":" ENTRY("Q4", "[4]", 0, 4) "}", 4, "safetensors.dtype" },
        { "a shape of text", "{\"a\":" ENTRY("U8", "\"4\"", 0, 4) "}", 4, "safetensors.shape" },
        { "a shape below zero", "{\"a\":" ENTRY("U8", "[-4]", 0, 4) "}", 4, "safetensors.shape" },
        { "a shape whose product wraps", "{\"a\":" ENTRY("U8", "[4294967296,4294967296]", 0, 4) "}", 4,
          "safetensors.shape" },
        { "a range beyond the data", "{\"a\":" ENTRY("U8", "[8]", 0, 8) "}", 4, "safetensors.outside" },
        { "a range backwards", "{\"a\":" ENTRY("U8", "[4]", 4, 0) "}", 4, "safetensors.outside" },
        { "a range too short", "{\"a\":" ENTRY("F32", "[4]", 0, 4) "}", 4, "safetensors.size" },
        { "an overlap", "{\"a\":" ENTRY("U8", "[3]", 0, 3) ",\"b\":" ENTRY("U8", "[2]", 2, 4) "}", 4,
          "safetensors.overlap" },
        { "a hole", "{\"a\":" ENTRY("U8", "[1]", 0, 1) ",\"b\":" ENTRY("U8", "[2]", 2, 4) "}", 4, "safetensors.hole" },
        { "a polyglot's tail", "{\"a\":" ENTRY("U8", "[4]", 0, 4) "}", 100, "safetensors.hole" },
        { "data without a tensor", "{}", 4, "safetensors.hole" },
        { "zeros", "{\"a\":" ENTRY("F16", "[2,2]", 0, 8) "}", 8, "data.zero" },
        { "a good one", "{\"__metadata__\":{\"format\":\"pt\"},\"a\":" ENTRY("U8", "[1]", 0, 1) "}", 1, NULL },
    };

    (void)unused;
    scratch_folder("st");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_safetensors("st", "x.safetensors", cases[i].header, cases[i].data);
        expect_path(cases[i].what, scratch_path("st/x.safetensors"), NB_CHECK_CONTENT, cases[i].expected);
    }
    scratch_write("st/x.safetensors", "\0\1", 2);
    expect_path("two bytes", scratch_path("st/x.safetensors"), NB_CHECK_CONTENT, "safetensors.header");
    scratch_write("st/x.safetensors", "\xff\xff\xff\xff\0\0\0\0{}", 10);
    expect_path("a header of 4 GB", scratch_path("st/x.safetensors"), NB_CHECK_CONTENT, "safetensors.header");
    scratch_write("st/x.safetensors", "\xff\0\0\0\0\0\0\0{}", 10);
    expect_path("a header beyond the file", scratch_path("st/x.safetensors"), NB_CHECK_CONTENT, "safetensors.header");
}

/* --- folders ------------------------------------------------------------------------------------------------------ */

/* The good folder with NAME written anew, or without it where TEXT is NULL. */
static void
with_file(const char *what, const char *name, const char *text, const char *expected)
{
    char path[SCRATCH_PATH];

    tiny_checkpoint("folder");
    snprintf(path, sizeof path, "folder/%s", name);
    if (text == NULL)
        scratch_remove(path);
    else
        scratch_write_text(path, text);
    expect_path(what, scratch_path("folder"), NB_CHECK_FULL, expected);
}

/* tiny_config with one word in it replaced. */
static const char *
config_with(const char *word, const char *other)
{
    static char text[4096];
    const char *at = strstr(tiny_config, word);

    assert_non_null(at);
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - tiny_config), tiny_config, other, at + strlen(word));
    return text;
}

static void
folders_that_make_no_model(void **unused)
{
    (void)unused;
    with_file("a good one", "notes.txt", "x", NULL);
    with_file("no config", "config.json", NULL, "checkpoint.config");
    with_file("a config of nonsense", "config.json", "{", "checkpoint.config");
    with_file("no weights", "model.safetensors", NULL, "checkpoint.weights");
    with_file("a pickle beside", "optimizer.pt", "x", "file.pickle");
    with_file("a program beside", "modeling_x.py", "x", "checkpoint.code");
    with_file("a tokenizer that names a program", "tokenizer_config.json",
              "{\"auto_map\":{\"AutoTokenizer\":[\"x--y.Z\",null]}}", "checkpoint.code");
    with_file("another class", "config.json", config_with("LlamaForCausalLM", "RwkvForCausalLM"), "checkpoint.family");
    with_file("an entry that GGUF has no place for", "config.json",
              config_with("\"vocab_size\"", "\"logit_scale\":0.5,\"vocab_size\""), "checkpoint.config-entry");
    with_file("an activation that the architecture lacks", "config.json",
              config_with("\"vocab_size\"", "\"hidden_act\":\"relu\",\"vocab_size\""), "checkpoint.model");
    with_file("a layer more", "config.json", config_with("\"num_hidden_layers\":1", "\"num_hidden_layers\":2"),
              "model.tensor-missing");
    with_file("another width", "config.json", config_with("\"intermediate_size\":", "\"intermediate_size\":1"),
              "model.tensor-shape");
    with_file("a tokenizer of nonsense", "tokenizer.json", "{}", "checkpoint.model");
    with_file("an index of nonsense", "model.safetensors.index.json", "{\"weight_map\": 1}", "checkpoint.index");
    with_file("an index out of the folder", "model.safetensors.index.json",
              "{\"weight_map\": {\"a\": \"../model.safetensors\"}}", "checkpoint.index");
    with_file("an index with a tensor twice", "model.safetensors.index.json",
              "{\"weight_map\": {\"a\": \"model.safetensors\", \"a\": \"model.safetensors\"}}",
              "checkpoint.index-duplicate");
    with_file("a shard that is missing", "model.safetensors.index.json",
              "{\"weight_map\": {\"a\": \"model.safetensors\", \"b\": \"model-00001-of-00001.safetensors\"}}",
              "checkpoint.shard");
    with_file("a tensor that is elsewhere", "model.safetensors.index.json",
              "{\"weight_map\": {\"a\": \"model.safetensors\"}}", "checkpoint.tensor-place");
}

/* --- importance matrices ------------------------------------------------------------------------------- */

static void
imatrix_head(uint64_t tensors, bool whole)
{
    header(3, tensors, whole ? 3 : 2);
    str("imatrix.datasets"), u32(9), u32(8), u64(1), str("a.txt");
    str("imatrix.chunk_count"), u32(4), u32(1);
    if (whole)
        str("imatrix.chunk_size"), u32(4), u32(512);
}

/* Sums of two columns and a count. */
static void
imatrix_pair(const char *sums, const char *counts, float value, float count)
{
    imatrix_head(2, true);
    info(sums, 1, 2, 0, 0, 0), info(counts, 1, 1, 0, 0, 32), pad(64);
    memcpy(file + length - 64, &value, 4);
    memcpy(file + length - 32, &count, 4);
}

static void
expect_imatrix(const char *what, const char *expected)
{
    scratch_write("bad.imatrix", file, length);
    expect_path(what, scratch_path("bad.imatrix"), NB_CHECK_FULL, expected);
}

static void
importance_matrices_that_are_none(void **unused)
{
    (void)unused;
    imatrix_pair("a.in_sum2", "a.counts", 4, 512);
    expect_imatrix("a good one", NULL);
    imatrix_head(0, false), pad(0);
    expect_imatrix("without chunk_size", "imatrix.keys");
    imatrix_head(0, true), pad(0);
    expect_imatrix("without entries", "imatrix.form");
    imatrix_pair("a.in_sum2", "b.counts", 4, 512);
    expect_imatrix("sums and counts of two", "imatrix.pair");
    imatrix_pair("a.in_sum2", "a.weight", 4, 512);
    expect_imatrix("a weight", "imatrix.pair");
    imatrix_head(2, true), info("a.in_sum2", 1, 2, 0, 1, 0), info("a.counts", 1, 1, 0, 0, 32), pad(64);
    expect_imatrix("sums of F16", "imatrix.shape");
    imatrix_head(2, true), info("a.in_sum2", 1, 3, 0, 0, 0), info("a.counts", 1, 2, 0, 0, 32), pad(64);
    expect_imatrix("three sums for two counts", "imatrix.shape");
    imatrix_pair("a.in_sum2", "a.counts", 4, INFINITY);
    expect_imatrix("a count without end", "imatrix.count");
    imatrix_pair("a.in_sum2", "a.counts", -4, 512);
    expect_imatrix("a square below zero", "imatrix.value");
    imatrix_pair("a.in_sum2", "a.counts", NAN, 512);
    expect_imatrix("a square of NaN", "imatrix.value");
    imatrix_pair("a.in_sum2", "a.counts", 4, 0);
    expect_imatrix("no token", "imatrix.idle");
    length = 0, u32(1u << 30), pad(32);
    expect_imatrix("2^30 entries of the older form", "imatrix.form");
    length = 0, u32(1), u32(1), put("a", 1), u32(1), u32(1u << 30), pad(32);
    expect_imatrix("2^30 values", "imatrix.form");
    length = 0, u32(2);
    for (int i = 0; i < 2; i++)
        u32(1), put("a", 1), u32(1), u32(1), put("\0\0\x80?", 4);
    expect_imatrix("an entry twice", "imatrix.duplicate");
}

/* --- the command ---------------------------------------------------------------------------------------- */

/* What an edit in place leaves that was killed while it wrote, and a journal that is none. */
static void
what_an_edit_left_behind(void **unused)
{
    struct nb_header_change change = { .offset = 24, .end = 25 };
    struct nb_gguf gguf;
    struct nb_file_in in;
    struct nb_error err;
    size_t size;
    unsigned char *old, *new;
    char *journal;

    (void)unused;
    load_good();
    old = scratch_read(scratch_path("good.gguf"), &size);
    new = scratch_read(scratch_path("good.gguf"), &size);
    scratch_write("torn.gguf", old, size);
    assert_int_equal(nb_file_open(&in, scratch_path("torn.gguf"), &err), NB_OK);
    assert_int_equal(nb_gguf_read(&in, 0, &gguf, &err), NB_OK);
    change.old = old;
    change.new = new;
    change.size = gguf.data_offset;
    new[24] ^= 1;
    assert_int_equal(nb_journal_write(&in, &change, &journal, &err), NB_OK);
    nb_file_close(&in);
    nb_gguf_free(&gguf);
    new[24] ^= 2;
    scratch_write("torn.gguf", new, size);
    expect_path("a torn header", scratch_path("torn.gguf"), NB_CHECK_STRUCTURE, "file.torn");
    scratch_write("torn.gguf", old, size);
    expect_path("a journal of an edit", scratch_path("torn.gguf"), NB_CHECK_STRUCTURE, "file.undo");
    unlink(journal);
    free(journal);
    free(old);
    free(new);
}

static void
a_link_that_leads_out_of_the_folder(void **unused)
{
    (void)unused;
    tiny_checkpoint("linked");
    scratch_write_text("card.md", "private");
    assert_int_equal(symlink("../card.md", scratch_path("linked/README.md")), 0);
    expect_path("a link out of the folder", scratch_path("linked"), NB_CHECK_STRUCTURE, "checkpoint.link");
    scratch_remove("linked");
}

/* COUNT one-row tensors of NaN: each is a fault of its data, in a header without any. */
static void
write_bad_tensors(const char *name, size_t count)
{
    unsigned char *all = calloc(count, 128), *at = all;
    const uint32_t nan = 0x7fc00000;

    assert_non_null(all);
    header(3, count, 0);
    memcpy(at, file, length);
    at += length;
    for (size_t i = 0; i < count; i++) {
        char tensor[16];

        snprintf(tensor, sizeof tensor, "t%zu", i);
        length = 0;
        info(tensor, 1, 8, 1, 0, 32 * i);
        memcpy(at, file, length);
        at += length;
    }
    at += 31 - (size_t)(at - all + 31) % 32;
    for (size_t i = 0; i < 8 * count; i++, at += 4)
        memcpy(at, &nan, 4);
    scratch_write(name, all, (size_t)(at - all));
    free(all);
}

/* The list so far is the answer, also where reading ends because of it. */
static void
too_many_faults_are_still_listed(void **unused)
{
    (void)unused;
    write_bad_tensors("many.gguf", NB_MAX_FINDINGS + 100);
    expect_path("too many faults", scratch_path("many.gguf"), NB_CHECK_CONTENT, "file.too-many");
    unlink(scratch_path("many.gguf"));
}

static void
the_command_tells_by_its_exit_code(void **unused)
{
    struct run run;

    (void)unused;
    load_good();
    RUN(&run, "check", "good.gguf");
    assert_int_equal(run.code, 0);
    assert_non_null(strstr(run.out, "good.gguf: sound: GGUF"));
    header(3, 0, 1), str(""), u32(4), u32(1);
    scratch_write("bad.gguf", file, length);
    RUN(&run, "check", "good.gguf", "bad.gguf", "--level", "structure");
    assert_int_equal(run.code, 1);
    assert_non_null(strstr(run.out, "[gguf.key]"));
    RUN(&run, "check", "--json", "bad.gguf");
    assert_int_equal(run.code, 1);
    assert_non_null(strstr(run.out, "\"code\":\"gguf.key\""));
    header(3, 0, 1), str("\xff\xc2\x9b\x1b[2J"), u32(4), u32(1);
    scratch_write("bad.gguf", file, length);
    RUN(&run, "check", "--json", "bad.gguf"); /* names that are no text, or would command the terminal */
    assert_int_equal(run.code, 1);
    assert_non_null(strstr(run.out, "\"code\":\"gguf.key\""));
    assert_non_null(strstr(run.out, "\"code\":\"gguf.key-style\""));
    RUN(&run, "check", "bad.gguf");
    assert_non_null(strstr(run.out, "key '\\xFF\\u{9B}\\x1B[2J'"));
    scratch_write_text("note.txt", "no model at all");
    RUN(&run, "check", "note.txt");
    assert_int_equal(run.code, 1);
    assert_non_null(strstr(run.out, "note.txt: not sound: no model; 1 error"));
    RUN(&run, "check", "nowhere.gguf");
    assert_int_equal(run.code, 3);
    RUN(&run, "check", "--level", "deep", "good.gguf");
    assert_int_equal(run.code, 2);
    RUN(&run, "check", "--codes");
    assert_int_equal(run.code, 0);
    assert_non_null(strstr(run.out, "template.file"));
}

/* Runs last: a code that no file here yields might as well not be looked for. */
static void
every_code_has_its_file(void **unused)
{
    (void)unused;
    for (unsigned i = 0; i < NB_CODES; i++)
        if (!seen[i])
            fail_msg("no file here yields %s", nb_code_info((enum nb_code)i)->name);
    assert_true(bad_files >= 80);
    print_message("%u bad files\n", bad_files);
    nb_gguf_free(&good.gguf);
    free(good.infos);
    free(good.whole);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers_that_are_none),
        cmocka_unit_test(metadata_that_lies),
        cmocka_unit_test(tensor_infos_that_lie),
        cmocka_unit_test(layouts_that_lie),
        cmocka_unit_test(all_faults_are_listed),
        cmocka_unit_test(no_count_fills_the_memory),
        cmocka_unit_test(a_million_faults_end_the_reading),
        cmocka_unit_test(no_file_that_it_knows),
        cmocka_unit_test(values_that_are_no_numbers),
        cmocka_unit_test(floats_that_are_no_numbers),
        cmocka_unit_test(a_file_that_shrinks_is_told),
        cmocka_unit_test(keys_that_make_no_model),
        cmocka_unit_test(tensors_that_make_no_model),
        cmocka_unit_test(vocabularies_that_are_none),
        cmocka_unit_test(templates_that_reach_out),
        cmocka_unit_test(templates_that_hide_what_they_reach_for),
        cmocka_unit_test(templates_that_do_not_end),
        cmocka_unit_test(split_sets_that_are_none),
        cmocka_unit_test(safetensors_that_lie),
        cmocka_unit_test(folders_that_make_no_model),
        cmocka_unit_test(importance_matrices_that_are_none),
        cmocka_unit_test(what_an_edit_left_behind),
        cmocka_unit_test(a_link_that_leads_out_of_the_folder),
        cmocka_unit_test(too_many_faults_are_still_listed),
        cmocka_unit_test(the_command_tells_by_its_exit_code),
        cmocka_unit_test(every_code_has_its_file),
    };

    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
