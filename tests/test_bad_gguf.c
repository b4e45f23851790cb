/*
 * GGUF files that lie, built field by field: exit code 3, one sentence, and
 * neither time nor memory beyond what the file's own size allows.
 */
#include "gguf_bytes.h"
#include "scratch.h"
#include "testing.h"

#include <jansson.h>
#include <unistd.h>

static struct run run;

static void
expect(const char *what, int code, const char *expected)
{
    size_t lines = 0;

    scratch_write("bad.gguf", file, length);
    RUN(&run, "inspect", "bad.gguf");
    for (const char *p = run.err; *p != '\0'; p++)
        lines += *p == '\n';
    if (run.code != code || (code != 0 && lines != 1) || strstr(code == 0 ? run.out : run.err, expected) == NULL)
        fail_msg("%s: exit code %d: %s (expected '%s')", what, run.code, run.err, expected);
}

static void
good_files_of_both_versions_are_read(void **unused)
{
    (void)unused;
    for (uint32_t version = 2; version <= 3; version++) {
        header(version, 2, 2);
        str("general.architecture"), u32(8), str("llama");
        str("a.list"), u32(9), u32(4), u64(0); /* an empty array is legal */
        info("a.weight", 2, 32, 2, 8, 0);
        info("b.weight", 1, 3, 0, 0, 96);
        pad(96 + 12);
        expect("a good file", 0, "2 tensors");
    }
}

static void
counts_beyond_the_file_are_refused(void **unused)
{
    static const uint64_t counts[] = { 1, 1000, 1u << 31, (uint64_t)1 << 32, (uint64_t)1 << 62, INT64_MAX, UINT64_MAX };

    (void)unused;
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        const uint64_t more = counts[i] > UINT64_MAX - 20 ? UINT64_MAX : counts[i] + 20; /* than the 20 bytes there */

        header(3, counts[i], 0);
        expect("tensors", 3, "tensors, more than the file can hold");
        header(3, 0, counts[i]);
        expect("metadata", 3, "more than the file can hold");
        header(3, 0, 1), u64(more), put("12345678901234567890", 20);
        expect("a key's length", 3, "more than there can be");
        header(3, 0, 1), str("k"), u32(8), u64(more), put("12345678901234567890", 20);
        expect("a string's length", 3, "more than there can be");
        header(3, 0, 1), str("k"), u32(9), u32(10), u64(more), put("12345678901234567890", 20);
        expect("an array of u64", 3, "more than the file can hold");
        header(3, 0, 1), str("k"), u32(9), u32(0), u64(more), put("12345678901234567890", 20);
        expect("an array of u8", 3, "more than the file can hold");
        header(3, 0, 1), str("k"), u32(9), u32(8), u64(1), u64(more), put("12345678901234567890", 20);
        expect("a string in an array", 3, "is longer than the file");
    }
}

static void
preambles_that_are_none_are_refused(void **unused)
{
    static const uint32_t versions[] = { 0, 1, 4, 0x02000000, 0x03000000, UINT32_MAX };

    (void)unused;
    length = 0;
    expect("an empty file", 3, "too short to be a GGUF file");
    header(3, 0, 0);
    memcpy(file, "GGML", 4);
    expect("another magic", 3, "not a GGUF file");
    for (size_t i = 0; i < sizeof versions / sizeof versions[0]; i++) {
        header(versions[i], 0, 0);
        expect("a version", 3, (versions[i] & 0xFFFF) == 0 ? "big-endian" : "2 and 3 can be read");
    }
}

static void
metadata_that_lies_is_refused(void **unused)
{
    static char long_key[70000];

    (void)unused;
    header(3, 0, 1), str(""), u32(4), u32(1);
    expect("an empty key", 3, "is empty or not UTF-8");
    header(3, 0, 1), str("\xff\xfe"), u32(4), u32(1);
    expect("a key that is not UTF-8", 3, "is empty or not UTF-8");
    header(3, 0, 1), u64(3), put("a\0b", 3), u32(4), u32(1);
    expect("a key with NUL", 3, "is empty or not UTF-8");
    header(3, 0, 1), str("k"), u32(8), str("\xc0\x80");
    expect("an overlong character", 3, "not UTF-8");
    header(3, 0, 1), str("k"), u32(9), u32(8), u64(1), str("\xed\xa0\x80");
    expect("a surrogate", 3, "not UTF-8");
    header(3, 0, 2), str("k"), u32(4), u32(1), str("k"), u32(4), u32(2);
    expect("a key twice", 3, "'k' occurs twice");
    header(3, 0, 1), str("k"), u32(13), u32(1);
    expect("an unknown type", 3, "unknown value type 13");
    header(3, 0, 1), str("k"), u32(9), u32(9), u64(1), u32(4), u64(0), u64(0);
    expect("an array of arrays", 3, "cannot be read");
    header(3, 0, 1), str("k"), u32(9), u32(99), u64(1), u64(0);
    expect("an array of nothing", 3, "cannot be read");
    header(3, 0, 1), str("k"), u32(7), put("\2", 1), u64(0);
    expect("a boolean of 2", 3, "2 is not a boolean");
    header(3, 0, 1), str("k"), u32(9), u32(7), u64(2), put("\1\5", 2);
    expect("booleans of 5", 3, "5 is not a boolean");
    memset(long_key, 'k', sizeof long_key - 1);
    header(3, 0, 1), u64(69999), length += 30000;
    expect("a giant key", 3, "more than there can be");
    for (uint32_t alignment = 0; alignment < 4; alignment++) {
        static const uint32_t bad[] = { 0, 3, 1u << 31, 48 };

        header(3, 0, 1), str("general.alignment"), u32(4), u32(bad[alignment]);
        expect("an alignment", 3, "general.alignment");
    }
    header(3, 0, 1), str("general.alignment"), u32(10), u64(32);
    expect("an alignment of u64", 3, "general.alignment");
}

static void
tensor_infos_that_lie_are_refused(void **unused)
{
    static const struct {
        const char *what, *name;
        uint32_t n_dims;
        uint64_t a, b;
        uint32_t type;
        uint64_t offset;
        const char *expected;
    } cases[] = {
        { "no name", "", 1, 4, 0, 0, 0, "is empty or not UTF-8" },
        { "a name of 64 bytes", "0123456789012345678901234567890123456789012345678901234567890123", 1, 4, 0, 0, 0,
          "more than there can be" },
        { "no dimensions", "t", 0, 0, 0, 0, 0, "0 dimensions" },
        { "five dimensions", "t", 5, 1, 1, 0, 0, "5 dimensions" },
        { "2^31 dimensions", "t", 0x80000000u, 1, 1, 0, 0, "dimensions" },
        { "a side of zero", "t", 2, 4, 0, 0, 0, "dimension 1 is zero" },
        { "a negative side", "t", 1, (uint64_t)-4, 0, 0, 0, "overflow" },
        { "2^32 x 2^32", "t", 2, (uint64_t)1 << 32, (uint64_t)1 << 32, 0, 0, "overflow" },
        { "2^62 - 1 floats", "t", 1, ((uint64_t)1 << 62) - 1, 0, 0, 0, "overflow" },
        { "2^63 bytes of i8", "t", 1, (uint64_t)1 << 63, 0, 24, 0, "overflow" },
        { "a withdrawn type", "t", 1, 32, 0, 4, 0, "unknown type 4" },
        { "an unknown type", "t", 1, 32, 0, 43, 0, "unknown type 43" },
        { "a type of 2^32 - 1", "t", 1, 32, 0, UINT32_MAX, 0, "unknown type" },
        { "half a block", "t", 1, 16, 0, 2, 0, "do not fill blocks" },
        { "rows of part blocks", "t", 2, 16, 2, 2, 0, "do not fill blocks" },
        { "an offset that is not aligned", "t", 1, 4, 0, 0, 1, "its offset is 1" },
        { "a gap", "t", 1, 4, 0, 0, 32, "its offset is 32" },
        { "an offset of 2^64 - 32", "t", 1, 4, 0, 0, (uint64_t)-32, "its offset is" },
        { "more than the file", "t", 1, 1024, 0, 0, 0, "cut short" },
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        header(3, 1, 0);
        info(cases[i].name, cases[i].n_dims, cases[i].a, cases[i].b, cases[i].type, cases[i].offset);
        pad(64);
        expect(cases[i].what, 3, cases[i].expected);
    }
    header(3, 2, 0);
    info("t", 1, 8, 0, 0, 0), info("t", 1, 8, 0, 0, 32), pad(64);
    expect("a name twice", 3, "'t' occurs twice");
    header(3, 2, 0);
    info("t", 1, 8, 0, 0, 0), info("u", 1, 8, 0, 0, 0), pad(64);
    expect("an overlap", 3, "its offset is 0");
}

static void
every_truncation_of_a_good_file_is_refused(void **unused)
{
    size_t size;
    unsigned char *whole;

    (void)unused;
    tiny_checkpoint("model");
    RUN(&run, "quantize", "model", "-t", "f16", "-o", "good.gguf", "--force");
    assert_int_equal(run.code, 0);
    whole = scratch_read(scratch_path("good.gguf"), &size);
    for (size_t n = 0; n < size; n += n < 3000 ? 37 : 1777) {
        scratch_write("bad.gguf", whole, n);
        RUN(&run, "quantize", "bad.gguf", "-t", "q8_0", "-o", "out.gguf");
        if (run.code != 3)
            fail_msg("%zu of %zu bytes: exit code %d: %s", n, size, run.code, run.err);
        assert_false(scratch_exists(scratch_path("out.gguf")));
        assert_false(scratch_exists(scratch_path("out.gguf.partial")));
    }
    free(whole);
}

/* Every byte of the header in turn takes other values: anything may come of it but a crash. */
static void
no_changed_byte_crashes(void **unused)
{
    static const unsigned char values[] = { 0x00, 0xFF, 0x80, 0x01 };
    size_t size;
    unsigned char *whole;

    (void)unused;
    tiny_checkpoint("model");
    RUN(&run, "quantize", "model", "-t", "q4_0", "-o", "good.gguf", "--force");
    whole = scratch_read(scratch_path("good.gguf"), &size);
    for (size_t at = 0; at < 2600 && at < size; at += 3) {
        const unsigned char good = whole[at];

        whole[at] = values[at / 3 % 4];
        scratch_write("bad.gguf", whole, size);
        RUN(&run, "inspect", "bad.gguf", "--tensors");
        if (run.code != 0 && run.code != 3)
            fail_msg("byte %zu: exit code %d: %s", at, run.code, run.err);
        whole[at] = good;
    }
    free(whole);
}

/* Where the bytes of tensor NAME end, by the JSON of the last run. */
static size_t
end_of_tensor(const char *name)
{
    json_t *object = json_loads(run.out, 0, NULL), *tensor;
    size_t end = 0, i;

    assert_non_null(object);
    json_array_foreach(json_object_get(object, "tensors"), i, tensor)
        if (strcmp(json_string_value(json_object_get(tensor, "name")), name) == 0)
            end = (size_t)(json_integer_value(json_object_get(tensor, "offset")) +
                           json_integer_value(json_object_get(tensor, "bytes")));
    json_decref(object);
    return end;
}

static void
nan_in_floats_and_in_scales_is_refused(void **unused)
{
    static const struct {
        const char *recipe, *expected;
    } cases[] = {
        { "f32", "element 6143" },
        { "f16", "element 6143" },
        { "bf16", "element 6143" },
        { "q8_0", "element 6112" }, /* the block, by its first element */
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t size, at;
        unsigned char *whole;

        tiny_checkpoint("model");
        RUN(&run, "quantize", "model", "-t", cases[i].recipe, "-o", "good.gguf", "--force");
        assert_int_equal(run.code, 0);
        RUN(&run, "inspect", "good.gguf", "--json");
        whole = scratch_read(scratch_path("good.gguf"), &size);
        at = end_of_tensor("blk.0.ffn_down.weight");
        assert_true(at > 0);
        /* the last element, or the scale of the last block of 34 bytes */
        if (strcmp(cases[i].recipe, "q8_0") == 0)
            at -= 32;
        whole[at - 1] = 0x7F;
        whole[at - 2] = 0xFF;
        scratch_write("bad.gguf", whole, size);
        free(whole);
        /* copied, and quantized again */
        RUN(&run, "quantize", "bad.gguf", "-t", cases[i].recipe, "-o", "out.gguf");
        if (run.code != 3 || strstr(run.err, cases[i].expected) == NULL)
            fail_msg("%s: exit code %d: %s", cases[i].recipe, run.code, run.err);
        RUN(&run, "quantize", "bad.gguf", "-t", "q4_0", "--allow-requantize", "-o", "out.gguf");
        if (run.code != 3 || strstr(run.err, cases[i].expected) == NULL)
            fail_msg("%s: exit code %d: %s", cases[i].recipe, run.code, run.err);
        assert_false(scratch_exists(scratch_path("out.gguf")));
    }
}

/* Part NUMBER of COUNT with one tensor. */
static void
write_part(const char *name, uint16_t number, uint16_t count, const char *tensor, int32_t total)
{
    header(3, 1, 4);
    str("general.architecture"), u32(8), str("llama");
    str("split.no"), u32(2), put(&number, 2);
    str("split.count"), u32(2), put(&count, 2);
    str("split.tensors.count"), u32(5), put(&total, 4);
    info(tensor, 1, 8, 0, 0, 0);
    pad(32);
    scratch_write(name, file, length);
}

static void
split_sets_must_be_whole(void **unused)
{
    (void)unused;
    write_part("s-00001-of-00002.gguf", 0, 2, "a", 2);
    RUN(&run, "inspect", "s-00001-of-00002.gguf");
    assert_int_equal(run.code, 3);
    assert_non_null(strstr(run.err, "s-00002-of-00002.gguf: cannot be opened"));
    write_part("s-00002-of-00002.gguf", 1, 2, "b", 2);
    RUN(&run, "inspect", "s-00001-of-00002.gguf");
    assert_int_equal(run.code, 0);
    assert_non_null(strstr(run.out, "in 2 files"));
    RUN(&run, "quantize", "s-00001-of-00002.gguf", "-t", "f16", "-o", "joined.gguf");
    assert_int_equal(run.code, 0);
    RUN(&run, "inspect", "joined.gguf");
    assert_null(strstr(run.out, "split."));
    RUN(&run, "inspect", "s-00002-of-00002.gguf");
    assert_int_equal(run.code, 3);
    assert_non_null(strstr(run.err, "not the first part"));
    write_part("s-00002-of-00002.gguf", 1, 2, "a", 2);
    RUN(&run, "inspect", "s-00001-of-00002.gguf");
    assert_non_null(strstr(run.err, "in two files"));
    write_part("s-00002-of-00002.gguf", 0, 2, "b", 2);
    RUN(&run, "inspect", "s-00001-of-00002.gguf");
    assert_non_null(strstr(run.err, "does not say that it is part 2 of 2"));
    write_part("s-00001-of-00002.gguf", 0, 2, "a", 3);
    write_part("s-00002-of-00002.gguf", 1, 2, "b", 3);
    RUN(&run, "inspect", "s-00001-of-00002.gguf");
    assert_non_null(strstr(run.err, "should have 3"));
    write_part("s-00001-of-65535.gguf", 0, 65535, "a", 3);
    RUN(&run, "inspect", "s-00001-of-65535.gguf");
    assert_non_null(strstr(run.err, "one of 65535 parts"));
    write_part("other.gguf", 0, 2, "a", 2);
    RUN(&run, "inspect", "other.gguf");
    assert_non_null(strstr(run.err, "its name does not end with"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_files_of_both_versions_are_read),
        cmocka_unit_test(counts_beyond_the_file_are_refused),
        cmocka_unit_test(preambles_that_are_none_are_refused),
        cmocka_unit_test(metadata_that_lies_is_refused),
        cmocka_unit_test(tensor_infos_that_lie_are_refused),
        cmocka_unit_test(every_truncation_of_a_good_file_is_refused),
        cmocka_unit_test(no_changed_byte_crashes),
        cmocka_unit_test(nan_in_floats_and_in_scales_is_refused),
        cmocka_unit_test(split_sets_must_be_whole),
    };

    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
