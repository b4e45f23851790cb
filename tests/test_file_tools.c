/*
 * edit, split, merge, hash, diff and inspect: what they write is what others would have
 * written, nothing else changes, and nothing is ever lost.
 */
#include "formats/base/file_in.h"
#include "formats/base/status.h"
#include "formats/gguf/gguf.h"
#include "formats/gguf/journal.h"
#include "formats/gguf/metadata.h"
#include "formats/gguf/split.h"
#include "formats/models/source.h"
#include "formats/models/stored_tensors.h"
#include "gguf_bytes.h"
#include "scratch.h"
#include "testing.h"

#include "verify/check/hash.h"

#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#define SAMPLE SAMPLE_DATA "/tinystories-3m"

static struct run run;

static void
must_run(const char *what, int code)
{
    if (run.code != code)
        fail_msg("%s: exit code %d: %s%s", what, run.code, run.out, run.err);
}

#define MUST(code, ...)               \
    do {                              \
        RUN(&run, __VA_ARGS__);       \
        must_run(#__VA_ARGS__, code); \
    } while (0)

static void
expect_output(const char *text)
{
    if (strstr(run.out, text) == NULL && strstr(run.err, text) == NULL)
        fail_msg("'%s' is not in: %s%s", text, run.out, run.err);
}

/* model.gguf, the sample in Q8_0, made once. */
static void
make_model(void)
{
    if (!scratch_exists(scratch_path("model.gguf")))
        MUST(0, "quantize", SAMPLE, "-t", "q8_0", "-o", "model.gguf");
}

static uint64_t
hash_of(const char *name)
{
    return scratch_hash(scratch_path(name));
}

static void
copy(const char *from, const char *to)
{
    size_t size;
    unsigned char *bytes = scratch_read(scratch_path(from), &size);

    scratch_write(to, bytes, size);
    free(bytes);
}

/* --- split and merge ------------------------------------------------------------------------------------- */

/* SHA-256, the first eight bytes, of what llama-gguf-split of v0.5.0 makes of model.gguf. */
static void
splits_are_the_reference_s_bytes(void **unused)
{
    static const struct {
        const char *name, *sha256;
    } parts[] = {
        { "r-00001-of-00004.gguf", "7ccc6257fa691ff3" }, { "r-00002-of-00004.gguf", "2c6a83ef5ba3c536" },
        { "r-00003-of-00004.gguf", "e2cd093ec255abed" }, { "r-00004-of-00004.gguf", "6d3fe9e67acf58ca" },
        { "z-00001-of-00006.gguf", "9996e72a353d7baf" }, { "z-00002-of-00006.gguf", "a16b4eaaf8032b0a" },
        { "z-00003-of-00006.gguf", "d03fda606f4489b8" }, { "z-00004-of-00006.gguf", "0d8e3e9a00fc3a91" },
        { "z-00005-of-00006.gguf", "373194e994df672c" }, { "z-00006-of-00006.gguf", "6d5df3922d3fa002" },
    };

    (void)unused;
    make_model();
    MUST(0, "split", "--split-max-tensors", "10", "model.gguf", "r");
    MUST(0, "split", "--split-max-size", "1M", "--no-tensor-first-split", "model.gguf", "z");
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        MUST(0, "hash", "--whole-file", parts[i].name);
        expect_output(parts[i].sha256);
    }
    MUST(0, "check", "r-00001-of-00004.gguf", "z-00001-of-00006.gguf");
}

static void
merging_gives_the_file_back(void **unused)
{
    (void)unused;
    make_model();
    MUST(0, "split", "--max-tensors", "7", "model.gguf", "m", "--force");
    MUST(0, "merge", "m-00001-of-00006.gguf", "-o", "whole.gguf");
    assert_int_equal(hash_of("whole.gguf"), hash_of("model.gguf"));
    /* A set may be cut anew, straight from its parts. */
    MUST(0, "split", "--max-size", "2M", "m-00001-of-00006.gguf", "n");
    MUST(0, "merge", "n-00001-of-00003.gguf", "-o", "whole.gguf", "--force");
    assert_int_equal(hash_of("whole.gguf"), hash_of("model.gguf"));
}

static void
alignment_is_kept(void **unused)
{
    (void)unused;
    make_model();
    MUST(0, "edit", "model.gguf", "-o", "wide.gguf", "--set", "general.alignment=u32:512");
    MUST(0, "split", "--max-tensors", "9", "wide.gguf");
    MUST(0, "check", "wide-00003-of-00005.gguf");
    MUST(0, "merge", "wide-00001-of-00005.gguf", "-o", "back.gguf");
    assert_int_equal(hash_of("back.gguf"), hash_of("wide.gguf"));
    MUST(0, "diff", "--no-metadata", "wide.gguf", "model.gguf");
    MUST(0, "quantize", "wide.gguf", "-t", "COPY", "-o", "copy.gguf");
    MUST(0, "check", "copy.gguf");
    MUST(0, "diff", "wide.gguf", "copy.gguf");
    MUST(0, "quantize", "wide-00001-of-00005.gguf", "-t", "COPY", "--keep-split", "-o", "parts.gguf");
    MUST(0, "check", "parts-00003-of-00005.gguf");
    MUST(0, "quantize", "wide.gguf", "-t", "Q8_0", "-o",
         "narrow.gguf"); /* llama-quantize's layout is the default one */
    MUST(0, "check", "narrow.gguf");
    MUST(1, "diff", "wide.gguf", "narrow.gguf");
}

/* 'merge model-*.gguf' with the output forgotten: the last part would be it. */
/* A set is replaced as a whole: as long as a part cannot be written, all old ones stay, and no new one is left. */
static void
a_split_that_fails_leaves_the_old_parts(void **unused)
{
    uint64_t before[2];

    (void)unused;
    make_model();
    MUST(0, "split", "--max-tensors", "13", "model.gguf", "o");
    MUST(0, "edit", "model.gguf", "--set", "general.description=str:another", "-o", "another.gguf");
    before[0] = hash_of("o-00001-of-00003.gguf");
    before[1] = hash_of("o-00002-of-00003.gguf");
    scratch_remove("o-00003-of-00003.gguf");
    scratch_folder("o-00003-of-00003.gguf");
    RUN(&run, "split", "--max-tensors", "13", "another.gguf", "o", "--force");
    assert_int_not_equal(run.code, 0);
    assert_int_equal(hash_of("o-00001-of-00003.gguf"), before[0]);
    assert_int_equal(hash_of("o-00002-of-00003.gguf"), before[1]);
    assert_false(scratch_exists(scratch_path("o-00001-of-00003.gguf.partial")));
    assert_false(scratch_exists(scratch_path("o-00002-of-00003.gguf.partial")));
    scratch_remove("o-00003-of-00003.gguf");
    MUST(0, "split", "--max-tensors", "13", "another.gguf", "o", "--force");
    assert_int_not_equal(hash_of("o-00001-of-00003.gguf"), before[0]);
    MUST(0, "check", "o-00001-of-00003.gguf");
}

/* There may be more parts than files that a process has open as a rule. */
static void
a_split_has_as_many_parts_as_there_are_tensors(void **unused)
{
    struct rlimit old, few;

    (void)unused;
    make_model();
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    few = old;
    few.rlim_cur = 24;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    RUN(&run, "split", "--max-tensors", "1", "model.gguf", "each");
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    if (run.code != 0)
        fail_msg("%s", run.err);
    assert_true(scratch_exists(scratch_path("each-00038-of-00038.gguf")));
}

static void
no_part_is_ever_overwritten(void **unused)
{
    uint64_t before;

    (void)unused;
    make_model();
    MUST(0, "split", "--max-tensors", "20", "model.gguf", "p", "--force");
    before = hash_of("p-00002-of-00002.gguf");
    MUST(2, "merge", "p-00001-of-00002.gguf", "p-00002-of-00002.gguf");
    MUST(2, "merge", "p-00001-of-00002.gguf", "-o", "p-00002-of-00002.gguf", "--force");
    expect_output("is one of the files that are read");
    MUST(2, "merge", "p-00001-of-00002.gguf", "-o", "./p-00001-of-00002.gguf", "--force");
    MUST(2, "merge", "p-00001-of-00002.gguf", "model.gguf", "-o", "x.gguf");
    expect_output("is not a part of the set");
    MUST(0, "merge", "p-00001-of-00002.gguf", "p-00002-of-00002.gguf", "-o", "x.gguf");
    assert_int_equal(hash_of("p-00002-of-00002.gguf"), before);
    scratch_write_text("y.gguf", "precious");
    MUST(2, "merge", "p-00001-of-00002.gguf", "-o", "y.gguf");
    MUST(2, "split", "--max-tensors", "20", "model.gguf", "p");
    expect_output("exists already");
    MUST(2, "split", "--max-tensors", "20", "p-00001-of-00002.gguf", "p", "--force");
    MUST(2, "split", "--max-size", "1K", "model.gguf");
    MUST(2, "split", "--max-size", "1GX", "model.gguf");
    MUST(2, "split", "--max-size", "1", "model.gguf");
    MUST(0, "split", "--max-size", "1GB", "--dry-run", "model.gguf");
    MUST(0, "split", "--max-size", "2g", "--dry-run", "model.gguf");
    MUST(0, "split", "--max-size", "1MiB", "--dry-run", "model.gguf");
    MUST(3, "merge", "p-00002-of-00002.gguf", "-o", "z.gguf");
    assert_int_equal(hash_of("p-00002-of-00002.gguf"), before);
}

static void
half_a_set_is_not_left_behind(void **unused)
{
    (void)unused;
    make_model();
    scratch_write_text("h-00003-of-00004.gguf", "precious");
    MUST(2, "split", "--max-tensors", "10", "model.gguf", "h");
    assert_false(scratch_exists(scratch_path("h-00001-of-00004.gguf")));
    assert_false(scratch_exists(scratch_path("h-00002-of-00004.gguf")));
    assert_true(scratch_exists(scratch_path("h-00003-of-00004.gguf")));
    MUST(0, "split", "--max-tensors", "10", "--dry-run", "model.gguf", "d");
    expect_output("d-00004-of-00004.gguf: 8 tensors");
    assert_false(scratch_exists(scratch_path("d-00001-of-00004.gguf")));
}

/* --- edit -------------------------------------------------------------------------------------------------- */

/* What the library reads of KEY in NAME. */
static void
expect_key(const char *name, const char *key, enum nb_kv_type type, enum nb_kv_type element, uint64_t count,
           const void *data, uint64_t size)
{
    struct nb_gguf gguf;
    struct nb_file_in in;
    struct nb_error err;
    const struct nb_kv *kv;

    assert_int_equal(nb_file_open(&in, scratch_path(name), &err), NB_OK);
    assert_int_equal(nb_gguf_read(&in, 0, &gguf, &err), NB_OK);
    kv = nb_meta_find(&gguf.meta, key);
    if (data == NULL) {
        assert_null(kv);
    } else {
        assert_non_null(kv);
        assert_int_equal(kv->type, type);
        assert_int_equal(kv->element, element);
        assert_int_equal(kv->count, count);
        assert_int_equal(kv->size, size);
        assert_memory_equal(kv->data, data, (size_t)size);
    }
    nb_gguf_free(&gguf);
    nb_file_close(&in);
}

static void
expect_number(const char *name, const char *key, enum nb_kv_type type, const void *data)
{
    expect_key(name, key, type, type, 1, data, nb_kv_type_size(type));
}

static void
values_of_every_type_are_set(void **unused)
{
    (void)unused;
    make_model();
    scratch_write_text("words.json", "[\"a\", \"\xC3\xA9\", \"\"]\n");
    MUST(0, "edit", "model.gguf", "-o", "e.gguf", "--set", "x.u8=u8:255", "--set", "x.i8=i8:-128", "--set",
         "x.u16=u16:65535", "--set", "x.i16=i16:-1", "--set", "x.u32=u32:4294967295", "--set", "x.i32=i32:-7", "--set",
         "x.u64=u64:18446744073709551615", "--set", "x.i64=i64:-9223372036854775808", "--set", "x.f32=f32:0.5", "--set",
         "x.f64=f64:1e300", "--set", "x.bool=bool:true", "--set", "x.str=str:a=b: c", "--set", "x.list=f32[]:[1, 2.5]",
         "--set", "x.flags=bool[]:[true, false]", "--set", "x.empty=u32[]:[]", "--set-file",
         "x.words=str[]:words.json");
    expect_number("e.gguf", "x.u8", NB_KV_U8, &(uint8_t){ 255 });
    expect_number("e.gguf", "x.i8", NB_KV_I8, &(int8_t){ -128 });
    expect_number("e.gguf", "x.u16", NB_KV_U16, &(uint16_t){ 65535 });
    expect_number("e.gguf", "x.i16", NB_KV_I16, &(int16_t){ -1 });
    expect_number("e.gguf", "x.u32", NB_KV_U32, &(uint32_t){ UINT32_MAX });
    expect_number("e.gguf", "x.i32", NB_KV_I32, &(int32_t){ -7 });
    expect_number("e.gguf", "x.u64", NB_KV_U64, &(uint64_t){ UINT64_MAX });
    expect_number("e.gguf", "x.i64", NB_KV_I64, &(int64_t){ INT64_MIN });
    expect_number("e.gguf", "x.f32", NB_KV_F32, &(float){ 0.5f });
    expect_number("e.gguf", "x.f64", NB_KV_F64, &(double){ 1e300 });
    expect_number("e.gguf", "x.bool", NB_KV_BOOL, "\1");
    expect_key("e.gguf", "x.str", NB_KV_STRING, NB_KV_STRING, 1, "a=b: c", 6);
    expect_key("e.gguf", "x.list", NB_KV_ARRAY, NB_KV_F32, 2, (float[]){ 1, 2.5f }, 8);
    expect_key("e.gguf", "x.flags", NB_KV_ARRAY, NB_KV_BOOL, 2, "\1\0", 2);
    expect_key("e.gguf", "x.empty", NB_KV_ARRAY, NB_KV_U32, 0, "", 0);
    expect_key("e.gguf", "x.words", NB_KV_ARRAY, NB_KV_STRING, 3,
               "\1\0\0\0\0\0\0\0a\2\0\0\0\0\0\0\0\xC3\xA9\0\0\0\0\0\0\0\0", 27);
    MUST(0, "check", "e.gguf");
    MUST(0, "diff", "--no-metadata", "model.gguf", "e.gguf");
}

static void
keys_are_renamed_removed_and_replaced(void **unused)
{
    (void)unused;
    make_model();
    copy("model.gguf", "e.gguf");
    scratch_write_text("chat.jinja", "{% for m in messages %}{{ m.content }}\n{% endfor %}");
    MUST(0, "edit", "e.gguf", "--rename", "general.name=general.title", "--remove", "general.license", "--set",
         "llama.context_length=512", "--chat-template", "chat.jinja", "--special-token", "pad=7", "--set",
         "tokenizer.ggml.tokens[3]=three");
    expect_key("e.gguf", "general.name", 0, 0, 0, NULL, 0);
    expect_key("e.gguf", "general.license", 0, 0, 0, NULL, 0);
    expect_key("e.gguf", "general.title", NB_KV_STRING, NB_KV_STRING, 1, "Tinystories 3m", 14);
    expect_number("e.gguf", "llama.context_length", NB_KV_U32, &(uint32_t){ 512 });
    expect_number("e.gguf", "tokenizer.ggml.padding_token_id", NB_KV_U32, &(uint32_t){ 7 });
    MUST(0, "check", "e.gguf");
    MUST(1, "diff", "model.gguf", "e.gguf");
    expect_output("1 of 2048 elements differ, the first is element 3");
    expect_output("0 tensors differ");
    MUST(0, "edit", "e.gguf", "--rename", "general.title=general.name", "--set", "general.license=str:mit", "--remove",
         "tokenizer.chat_template", "--remove", "tokenizer.ggml.padding_token_id", "--set", "llama.context_length=256",
         "--special-token", "eos=three");
    expect_number("e.gguf", "tokenizer.ggml.eos_token_id", NB_KV_U32, &(uint32_t){ 3 });
}

/* Where the header keeps its size only its bytes are written: the file is the same one as before. */
static void
what_fits_is_written_in_its_place(void **unused)
{
    struct stat before, after;

    (void)unused;
    make_model();
    copy("model.gguf", "e.gguf");
    stat(scratch_path("e.gguf"), &before);
    MUST(0, "edit", "e.gguf", "--set", "llama.context_length=1024", "--json");
    expect_output("\"in_place\":true");
    stat(scratch_path("e.gguf"), &after);
    assert_int_equal(before.st_ino, after.st_ino);
    assert_false(scratch_exists(scratch_path("e.gguf.undo")));
    MUST(0, "edit", "e.gguf", "--set", "llama.context_length=256");
    assert_int_equal(hash_of("e.gguf"), hash_of("model.gguf"));
    chmod(scratch_path("e.gguf"), 0640);
    MUST(0, "edit", "e.gguf", "--set", "general.description=str:longer than any padding there can be, by far");
    expect_output("as a new file");
    stat(scratch_path("e.gguf"), &after);
    assert_int_equal(after.st_mode & 0777, 0640);
    MUST(0, "edit", "e.gguf", "--remove", "general.description");
    assert_int_equal(hash_of("e.gguf"), hash_of("model.gguf"));
    MUST(0, "edit", "e.gguf", "--set", "general.alignment=u32:4096");
    MUST(0, "check", "e.gguf");
    MUST(0, "edit", "e.gguf", "--remove", "general.alignment");
    assert_int_equal(hash_of("e.gguf"), hash_of("model.gguf"));
}

static void
edits_that_make_no_sense_change_nothing(void **unused)
{
    static const struct {
        const char *option, *text, *expected;
    } cases[] = {
        { "--set", "llama.context_length=many", "is not a valid u32" },
        { "--set", "x=u8:256", "is not a valid u8" },
        { "--set", "x=i8:-129", "is not a valid i8" },
        { "--set", "x=u32:-1", "is not a valid u32" },
        { "--set", "x=f32:1e99", "is not a valid f32" },
        { "--set", "x=bool:maybe", "is not a valid bool" },
        { "--set", "x=u32[]:1,2", "written as JSON" },
        { "--set", "x=u8[]:[1, 300]", "is not a valid u8" },
        { "--set", "x=str[]:[1]", "element 0 is not a string" },
        { "--set", "x=str:\xff", "not UTF-8" },
        { "--set", "x=5", "is new" },
        { "--set", "=u32:5", "is not a valid key" },
        { "--set", "novalue", "has no '='" },
        { "--set", "tokenizer.ggml.tokens[99999]=x", "not an array with an element 99999" },
        { "--set", "general.name[0]=x", "not an array with an element 0" },
        { "--set", "general.alignment=u32:48", "power of two" },
        { "--rename", "no.such=x", "there is no key" },
        { "--rename", "general.name=general.type", "already" },
        { "--remove", "no.such", "there is no key" },
        { "--special-token", "bos=no such token", "neither a token nor" },
        { "--set-file", "x=str:no/such/file", "cannot be opened" },
    };

    (void)unused;
    make_model();
    copy("model.gguf", "e.gguf");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        RUN(&run, "edit", "e.gguf", "--set", "general.name=str:changed", cases[i].option, cases[i].text);
        if (run.code != 2 && run.code != 3)
            fail_msg("%s: exit code %d", cases[i].text, run.code);
        expect_output(cases[i].expected);
        assert_int_equal(hash_of("e.gguf"), hash_of("model.gguf"));
    }
    MUST(0, "edit", "e.gguf", "--dry-run", "--set", "general.name=str:changed");
    expect_output("+ general.name");
    assert_int_equal(hash_of("e.gguf"), hash_of("model.gguf"));
    MUST(2, "edit", "e.gguf", "-o", "e.gguf", "--force", "--set", "general.name=str:x");
    MUST(2, "edit", "e.gguf", "-o", "model.gguf", "--set", "general.name=str:x");
    expect_output("exists already");
    MUST(2, "edit", "e.gguf");
}

static pid_t
start_edit(const char *value)
{
    char text[64], path[SCRATCH_PATH];
    pid_t child;

    snprintf(text, sizeof text, "llama.context_length=%s", value);
    snprintf(path, sizeof path, "%s", scratch_path("e.gguf"));
    child = fork();
    if (child == 0) {
        const int null = open("/dev/null", O_WRONLY);

        dup2(null, 1);
        execl(NIBBLE_PROGRAM, "nibble", "edit", path, "--set", text, "--set", "general.name=str:Tinystories 3M",
              (char *)NULL);
        _exit(127);
    }
    return child;
}

/* Killed at any moment, the file is the old or the new one, at the latest after the next edit. */
static void
a_killed_edit_is_undone(void **unused)
{
    unsigned state = 1, old = 0, fresh = 0, window;
    struct timespec start, end;
    uint64_t before, after;
    int status;

    (void)unused;
    make_model();
    copy("model.gguf", "e.gguf");
    before = hash_of("e.gguf");
    clock_gettime(CLOCK_MONOTONIC, &start);
    waitpid(start_edit("777"), &status, 0);
    clock_gettime(CLOCK_MONOTONIC, &end);
    window = (unsigned)((end.tv_sec - start.tv_sec) * 1000000 + (end.tv_nsec - start.tv_nsec) / 1000) * 5 / 4 + 1;
    after = hash_of("e.gguf");
    assert_true(before != after);
    for (unsigned i = 0; i < 60; i++) {
        pid_t child;

        copy("model.gguf", "e.gguf");
        child = start_edit("777");
        state = state * 1103515245 + 12345;
        usleep(state / 16 % window);
        kill(child, SIGKILL);
        waitpid(child, &status, 0);
        RUN(&run, "edit", "e.gguf", "--remove", "no.such.key"); /* does nothing but undo */
        assert_int_equal(run.code, 2);
        if (hash_of("e.gguf") == before)
            old++;
        else if (hash_of("e.gguf") == after)
            fresh++;
        else
            fail_msg("round %u: neither the old nor the new file", i);
        assert_false(scratch_exists(scratch_path("e.gguf.undo")));
    }
    print_message("%u old, %u new\n", old, fresh);
}

/* A copy of model.gguf as e.gguf, with the journal of an edit of bytes 100 to 164, and TORN written at byte 120. */
static void
make_torn(const char *torn)
{
    unsigned char *old, *new;
    struct nb_header_change change = { .offset = 100, .end = 164 };
    struct nb_gguf gguf;
    struct nb_file_in in;
    struct nb_error err;
    size_t size;
    char *journal;
    int fd;

    unlink(scratch_path("e.gguf"));
    unlink(scratch_path("e.gguf.undo"));
    copy("model.gguf", "e.gguf");
    assert_int_equal(nb_file_open(&in, scratch_path("e.gguf"), &err), NB_OK);
    assert_int_equal(nb_gguf_read(&in, 0, &gguf, &err), NB_OK);
    change.size = gguf.data_offset;
    nb_gguf_free(&gguf);
    old = scratch_read(scratch_path("model.gguf"), &size);
    new = scratch_read(scratch_path("model.gguf"), &size);
    memset(new + 100, 'n', 64);
    change.old = old;
    change.new = new;
    assert_int_equal(nb_journal_write(&in, &change, &journal, &err), NB_OK);
    nb_file_close(&in);
    free(journal);
    free(old);
    free(new);
    fd = open(scratch_path("e.gguf"), O_WRONLY);
    assert_int_equal(pwrite(fd, torn, strlen(torn), 120), (ssize_t)strlen(torn));
    close(fd);
}

/* Torn in the middle of writing: everybody says so, and the next edit puts the old bytes back. */
static void
a_torn_header_is_put_back(void **unused)
{
    uint64_t torn;

    (void)unused;
    make_model();
    make_torn("torn torn torn");
    torn = hash_of("e.gguf");
    MUST(1, "check", "e.gguf");
    expect_output("[file.torn]");
    MUST(3, "quantize", "e.gguf", "-t", "q8_0", "-o", "q.gguf");
    expect_output("header is half written");
    MUST(3, "inspect", "e.gguf");
    expect_output("header is half written");
    MUST(3, "edit", "e.gguf", "-o", "q.gguf", "--set", "general.name=str:x");
    MUST(3, "edit", "e.gguf", "--dry-run", "--set", "general.name=str:x");
    assert_int_equal(hash_of("e.gguf"), torn); /* only an edit of the file itself writes to it */
    MUST(2, "edit", "e.gguf", "--remove", "no.such.key");
    expect_output("has been undone");
    assert_int_equal(hash_of("e.gguf"), hash_of("model.gguf"));
    assert_false(scratch_exists(scratch_path("e.gguf.undo")));
    make_torn(""); /* killed before the first byte was written */
    MUST(0, "check", "e.gguf");
    expect_output("[file.undo]");
    MUST(2, "edit", "e.gguf", "--remove", "no.such.key");
    assert_int_equal(hash_of("e.gguf"), hash_of("model.gguf"));
    assert_false(scratch_exists(scratch_path("e.gguf.undo")));
}

/* e.gguf.undo does not fit e.gguf, for the reason WHY: nobody applies it, and all say that it is there. */
static void
expect_ignored(const char *why)
{
    const uint64_t before = hash_of("e.gguf"), undo = hash_of("e.gguf.undo");

    MUST(0, "check", "e.gguf");
    expect_output("[file.undo]");
    expect_output(why);
    MUST(0, "inspect", "e.gguf");
    expect_output(why);
    unlink(scratch_path("q.gguf"));
    MUST(0, "quantize", "e.gguf", "-t", "f16", "--allow-requantize", "-o", "q.gguf");
    expect_output(why);
    unlink(scratch_path("q.gguf"));
    MUST(0, "edit", "e.gguf", "-o", "q.gguf", "--set", "general.name=str:x");
    MUST(3, "edit", "e.gguf", "--set", "llama.context_length=64");
    expect_output("move it away");
    assert_int_equal(hash_of("e.gguf"), before);
    assert_int_equal(hash_of("e.gguf.undo"), undo);
}

static void
an_undo_of_another_file_is_never_applied(void **unused)
{
    unsigned char *bytes, old_format[8 + 16 + 8 + 8] = "nbundo1";
    const uint64_t far = 1000000, eight = 8;
    uint64_t hash;
    size_t size;

    (void)unused;
    make_model();
    make_torn("torn torn torn"); /* the model is replaced since */
    copy("model.gguf", "fresh.gguf");
    assert_int_equal(rename(scratch_path("fresh.gguf"), scratch_path("e.gguf")), 0);
    expect_ignored("belongs to another file");
    make_torn("");
    MUST(0, "edit", "e.gguf", "-o", "fresh.gguf", "--set", "llama.context_length=77");
    bytes = scratch_read(scratch_path("fresh.gguf"), &size); /* changed since by another program, with the same inode */
    scratch_write("e.gguf", bytes, size);
    free(bytes);
    expect_ignored("was changed since");
    make_torn("");
    bytes = scratch_read(scratch_path("e.gguf.undo"), &size);
    for (unsigned spoiled = 0; spoiled < 3; spoiled++) {
        if (spoiled == 0)
            memcpy(bytes + 8 + 40, &far, 8); /* the offset: reaches beyond the header */
        else if (spoiled == 1)
            memset(bytes + 8 + 16, 0xff, 8); /* the size of the header: reaches beyond the file */
        else
            bytes[70] ^= 1; /* damaged */
        scratch_write("journal", bytes, size - 8);
        hash = hash_of("journal");
        memcpy(bytes + size - 8, &hash, spoiled < 2 ? 8 : 0);
        scratch_write("e.gguf.undo", bytes, size);
        expect_ignored(spoiled < 2 ? "reaches beyond the header" : "is damaged");
    }
    free(bytes);
    memcpy(old_format + 8, &far, 8); /* of an earlier version, which named no file */
    memcpy(old_format + 16, &eight, 8);
    scratch_write("journal", old_format, sizeof old_format - 8);
    hash = hash_of("journal");
    memcpy(old_format + sizeof old_format - 8, &hash, 8);
    scratch_write("e.gguf.undo", old_format, sizeof old_format);
    expect_ignored("is not the journal of an edit");
    scratch_remove("e.gguf.undo");
}

/* One at a time, or refused: each change that was said to be made is there. */
static void
edits_at_once_lose_nothing(void **unused)
{
    enum { EDITS = 8 };
    unsigned done = 0, refused = 0;

    (void)unused;
    make_model();
    unlink(scratch_path("e.gguf.undo"));
    for (unsigned round = 0; round < 10; round++) {
        pid_t children[EDITS];
        bool said[EDITS];
        char value[16], path[SCRATCH_PATH];

        copy("model.gguf", "e.gguf");
        snprintf(path, sizeof path, "%s", scratch_path("e.gguf"));
        for (unsigned i = 0; i < EDITS; i++) { /* some in place, some as a new file */
            char set[256];

            snprintf(set, sizeof set, i % 2 == 0 ? "test.key%u=str:x" : "test.key%u=str:%0*d", i, 150, 0);
            children[i] = fork();
            if (children[i] == 0) {
                const int null = open("/dev/null", O_WRONLY);

                dup2(null, 1);
                dup2(null, 2);
                execl(NIBBLE_PROGRAM, "nibble", "edit", path, "--set", set, (char *)NULL);
                _exit(127);
            }
        }
        for (unsigned i = 0; i < EDITS; i++) {
            int status;

            assert_int_equal(waitpid(children[i], &status, 0), children[i]);
            assert_true(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 4));
            said[i] = WEXITSTATUS(status) == 0;
            done += said[i];
            refused += !said[i];
        }
        MUST(0, "check", "e.gguf");
        assert_false(scratch_exists(scratch_path("e.gguf.undo")));
        MUST(0, "inspect", "--json", "e.gguf");
        for (unsigned i = 0; i < EDITS; i++) {
            snprintf(value, sizeof value, "test.key%u", i);
            if ((strstr(run.out, value) != NULL) != said[i])
                fail_msg("round %u: edit %u exited with %d, but the file says otherwise", round, i, said[i] ? 0 : 4);
        }
    }
    print_message("%u done, %u refused\n", done, refused);
    assert_true(done >= 10);
}

static void
a_file_that_is_read_is_not_edited_in_place(void **unused)
{
    struct nb_file_in in;
    struct nb_error err;

    (void)unused;
    make_model();
    copy("model.gguf", "e.gguf");
    assert_int_equal(nb_file_open(&in, scratch_path("e.gguf"), &err), NB_OK);
    MUST(4, "edit", "e.gguf", "--set", "llama.context_length=64");
    expect_output("is reading or writing it");
    MUST(0, "check", "e.gguf"); /* readers do not exclude each other */
    nb_file_close(&in);
    assert_int_equal(nb_file_open_to_change(&in, scratch_path("e.gguf"), &err), NB_OK);
    MUST(4, "quantize", "e.gguf", "-t", "f16", "-o", "q.gguf");
    expect_output("is writing it");
    nb_file_close(&in);
}

/* As the models in a hub's cache are. */
static void
a_link_to_a_model_stays_a_link(void **unused)
{
    struct stat info;

    (void)unused;
    make_model();
    scratch_folder("blobs");
    copy("model.gguf", "blobs/b");
    unlink(scratch_path("link.gguf"));
    assert_int_equal(symlink("blobs/b", scratch_path("link.gguf")), 0);
    MUST(0, "edit", "--set", "llama.context_length=128", "link.gguf"); /* in place */
    MUST(0, "edit", "--set",
         "general.description=str:"
         "A text that is longer than the padding behind the metadata, so a new file is made.",
         "link.gguf");
    assert_int_equal(lstat(scratch_path("link.gguf"), &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    MUST(1, "diff", "--no-tensors", "model.gguf", "blobs/b");
    expect_output("128");
    expect_output("A text that is longer");
}

static void
a_full_disk_keeps_the_old_file(void **unused)
{
    const char *disk;

    (void)unused;
    make_model();
    scratch_folder("disk");
    disk = scratch_path("disk");
    scratch_small_disk(disk, "size=5m");
    copy("model.gguf", "disk/e.gguf");
    RUN(&run, "edit", "disk/e.gguf", "--set", "general.description=str:longer than any padding there can be, by far");
    if (run.code != 4 || hash_of("disk/e.gguf") != hash_of("model.gguf") ||
        scratch_exists(scratch_path("disk/e.gguf.partial"))) {
        scratch_small_disk_gone(disk);
        fail_msg("exit code %d: %s", run.code, run.err);
    }
    RUN(&run, "split", "disk/e.gguf", "--max-tensors", "20");
    if (run.code != 4 || scratch_exists(scratch_path("disk/e-00001-of-00002.gguf"))) {
        scratch_small_disk_gone(disk);
        fail_msg("exit code %d: %s", run.code, run.err);
    }
    scratch_small_disk_gone(disk);
}

/* --- hash ------------------------------------------------------------------------------------------------------ */

/* What llama-gguf-hash of v0.5.0 prints of model.gguf. */
static void
hashes_are_the_reference_s(void **unused)
{
    (void)unused;
    make_model();
    MUST(0, "hash", "--all", "--uuid", "model.gguf");
    expect_output("xxh64     6a9f17e480c15800  model.gguf:output_norm.weight\n"
                  "sha1      77cbe8c4a953f14e32af958d3d521a85f9c0c072  model.gguf:output_norm.weight\n"
                  "sha256    5d9040a09c1becfadb247f1b90c08fcd9967de56a099de1a10d97f29095b391f  "
                  "model.gguf:output_norm.weight\n"
                  "xxh64     13cba03f8e1fdaa9  model.gguf:token_embd.weight\n");
    expect_output("xxh64     941561f89a97f068  model.gguf\n"
                  "sha1      c1036ba7ea9e67cb8a3fc506f552721680c6756f  model.gguf\n"
                  "sha256    ddbb04cecfcc834c3b49074f4697b4f4571f82417aa907b6d897630ac2b15af4  model.gguf\n"
                  "uuid      18bd920f-61e9-5218-9863-e40fbe85680e  model.gguf\n");
}

static void
manifests_tell_what_has_changed(void **unused)
{
    size_t size;
    unsigned char *bytes;

    (void)unused;
    make_model();
    copy("model.gguf", "e.gguf");
    MUST(0, "hash", "--all", "--xxh3", "e.gguf", "-o", "e.manifest");
    MUST(0, "hash", "--check", "e.manifest");
    MUST(0, "hash", "--check", "e.manifest", "--json");
    expect_output("\"equal\":39,\"different\":0");
    MUST(0, "hash", "--no-layer", "--json", "e.gguf");
    expect_output("{\"version\":1,\"path\":\"e.gguf\",\"hashes\":[{\"hash\":\"xxh64\",\"of\":\"model\",\"digest\":"
                  "\"941561f89a97f068\"}]}");
    MUST(0, "hash", "--check", "e.manifest", "--all", "--xxh3", "-j", "3");
    expect_output("156 equal, 0 different, 0 not found"); /* 38 tensors and the model, four hashes of each */
    MUST(0, "hash", "--whole-file", "e.gguf", "-o", "e.sha256");
    MUST(0, "hash", "--check", "e.sha256");
    MUST(0, "edit", "e.gguf", "--set", "llama.context_length=77"); /* metadata: the tensors' hashes hold */
    MUST(0, "hash", "--check", "e.manifest");
    MUST(1, "hash", "--check", "e.sha256");
    bytes = scratch_read(scratch_path("e.gguf"), &size);
    bytes[size - 100] ^= 1;
    scratch_write("e.gguf", bytes, size);
    free(bytes);
    MUST(1, "hash", "--check", "e.manifest");
    expect_output("37 equal, 2 different, 0 not found");
    scratch_write_text("odd.manifest", "xxh64 0123456789abcdef e.gguf:no.such\n");
    MUST(1, "hash", "--check", "odd.manifest");
    expect_output("Not found");
    scratch_write_text("odd.manifest", "what is this\n");
    MUST(3, "hash", "--check", "odd.manifest");
    scratch_write_text("notes.txt", "abc");
    scratch_write_text("odd.manifest", "a9993e364706816aba3e25717850c26c9cd0d89d *notes.txt\n"
                                       "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  notes.txt\n");
    MUST(0, "hash", "--check", "odd.manifest", "--sha1", "--sha256");
    expect_output("2 equal");
    scratch_write_text("a (b) = c.txt", "abc");
    scratch_write_text("odd.manifest",
                       "SHA256 (notes.txt) = ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n"
                       "SHA1 (a (b) = c.txt) = A9993E364706816ABA3E25717850C26C9CD0D89D\r\n"
                       "SHA2-256(notes.txt)= ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n"
                       "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  notes.txt\n");
    MUST(0, "hash", "--check", "odd.manifest", "--sha1", "--sha256");
    expect_output("4 equal");
    scratch_write_text("odd.manifest", "SHA256 (notes.txt) = ba78\n");
    MUST(3, "hash", "--check", "odd.manifest");
    scratch_write_text("odd.manifest", "SHA256 () = ba78\n");
    MUST(3, "hash", "--check", "odd.manifest");
    scratch_write_text("odd.manifest", "SHA256 (notes.txt\n");
    MUST(3, "hash", "--check", "odd.manifest");
}

/* --- diff and inspect -------------------------------------------------------------------------------------------- */

static void
differences_are_told_with_their_size(void **unused)
{
    json_t *object, *tensors, *first;

    (void)unused;
    make_model();
    MUST(0, "diff", "model.gguf", "model.gguf");
    MUST(0, "quantize", SAMPLE, "-t", "f16", "-o", "f16.gguf");
    MUST(1, "diff", "--json", SAMPLE, "model.gguf");
    object = json_loads(run.out, 0, NULL);
    tensors = json_object_get(object, "tensors");
    first = json_array_get(tensors, 0);
    assert_true(json_is_false(json_object_get(object, "same")));
    assert_string_equal(json_string_value(json_object_get(first, "name")), "token_embd.weight");
    assert_true(json_real_value(json_object_get(first, "relative_rms")) > 0.001);
    assert_true(json_real_value(json_object_get(first, "relative_rms")) < 0.01);
    assert_true(json_real_value(json_object_get(first, "cosine")) > 0.9999);
    json_decref(object);
    /* A folder is the file it becomes: its rows are in the order of GGUF. */
    MUST(1, "diff", "--wide", "--no-metadata", SAMPLE, "f16.gguf");
    expect_output("relative RMS 0, cosine 1");
    MUST(0, "diff", "--no-tensors", "--ignore", "general.file_type", SAMPLE, "f16.gguf");
    MUST(2, "diff", "model.gguf");
    MUST(3, "diff", "model.gguf", "nowhere.gguf");
}

static void
inspect_shows_one_tensor_or_all(void **unused)
{
    json_t *object;

    (void)unused;
    make_model();
    MUST(0, "inspect", "model.gguf");
    expect_output("without embedding and output");
    MUST(0, "inspect", "--markdown", "model.gguf");
    expect_output("| token_embd.weight | q8_0 | 256 x 2048 |");
    MUST(0, "inspect", "--tensor", "output_norm.weight", "--json", "model.gguf");
    object = json_loads(run.out, 0, NULL);
    assert_non_null(object);
    assert_int_equal(json_array_size(json_object_get(object, "largest")), 8);
    json_decref(object);
    MUST(2, "inspect", "--tensor", "no.such", "model.gguf");
}

/* --- memory ---------------------------------------------------------------------------------------------------- */

/*
 * jansson's lexer leaves out a character that it has no room for, without a word. It is the last but one of this class: its
 * name is the first in config.json that is longer than the room that there is at first.
 */
#define CUT_CLASS "'LlamaForCausalM'"

/* Each allocation of a command fails once: the answer is the right one, or that memory is out; never another. */
static void
starve(const char *const *args, const char *output)
{
    unsigned in_a_row = 0, refused = 0;
    char number[16];
    uint64_t right;

    if (output != NULL)
        unlink(scratch_path(output));
    run_nibble(&run, args);
    assert_int_equal(run.code, 0);
    right = XXH64(run.out, strlen(run.out), 0);
    setenv("LD_PRELOAD", FAILING_MALLOC, 1);
    for (unsigned i = 1; in_a_row < 30 && i < 5000; i++) {
        snprintf(number, sizeof number, "%u", i);
        setenv("FAIL_AT", number, 1);
        if (output != NULL)
            unlink(scratch_path(output));
        run_nibble(&run, args);
        in_a_row = run.code == 0 ? in_a_row + 1 : 0;
        refused += run.code != 0;
        if (strstr(run.out, CUT_CLASS) != NULL || strstr(run.err, CUT_CLASS) != NULL)
            continue;
        if (run.code == 0 && XXH64(run.out, strlen(run.out), 0) != right)
            fail_msg("%s, allocation %u: another answer: %s", args[0], i, run.out);
        if (run.code != 0 && run.code != 4)
            fail_msg("%s, allocation %u: exit code %d: %s%s", args[0], i, run.code, run.out, run.err);
        /* What is written may be more than what can be told of it. */
        if (output != NULL && run.code == 0 && !scratch_exists(scratch_path(output)))
            fail_msg("%s, allocation %u: exit code %d, but files say otherwise", args[0], i, run.code);
    }
    unsetenv("LD_PRELOAD");
    print_message("%s: %u refused\n", args[0], refused);
    assert_true(refused > 5);
}

#define STARVE(output, ...) starve((const char *const[]){ __VA_ARGS__, NULL }, output)

static void
running_out_of_memory_is_told(void **unused)
{
    (void)unused;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(NB_COVERAGE) || !defined(__GLIBC__)
    print_message("the allocator cannot be replaced here: skipped\n");
    skip();
#endif
    tiny_checkpoint("tiny");
    MUST(0, "quantize", "tiny", "-t", "q8_0", "-o", "tiny.gguf");
    MUST(0, "hash", "--all", "tiny.gguf", "-o", "tiny.manifest");
    STARVE(NULL, "check", "-j", "1", "tiny.gguf");
    STARVE(NULL, "check", "-j", "1", "tiny");
    STARVE(NULL, "inspect", "tiny");
    STARVE(NULL, "inspect", "--markdown", "tiny");
    STARVE(NULL, "inspect", "--json", "tiny");
    scratch_write_text("effects.json",
                       "{\"in which jansson may lose a character\": 0, \"effects\": 1, \"tensors\": [{\"name\": "
                       "\"blk.0.attn_q.weight\", \"kld\": {\"q4_K\": 0.5, \"q8_0\": 0.25}}]}");
    STARVE(NULL, "inspect", "--layers", "--effects", "effects.json", "tiny.gguf");
    STARVE(NULL, "inspect", "--json", "--effects", "effects.json", "tiny.gguf");
    STARVE(NULL, "inspect", "effects.json");
    STARVE(NULL, "quantize", "-j", "1", "tiny", "--dry-run", "--json");
    STARVE(NULL, "tokenize", "-p", "abab", "--json", "tiny");
    STARVE(NULL, "diff", "-j", "1", "tiny.gguf", "tiny.gguf");
    STARVE(NULL, "hash", "-j", "1", "--check", "tiny.manifest", "tiny.gguf");
    STARVE("t.gguf", "edit", "tiny.gguf", "-o", "t.gguf", "--set", "x=str:a", "--rename", "x=y");
    STARVE("t-00002-of-00002.gguf", "split", "tiny.gguf", "t", "--max-tensors", "6", "--force");
    STARVE("w.gguf", "merge", "t-00001-of-00002.gguf", "-o", "w.gguf");
    assert_int_equal(hash_of("w.gguf"), hash_of("tiny.gguf"));
}

/* By Ctrl-C, at the latest after 16 MB that are copied. */
static void
what_is_interrupted_leaves_no_file(void **unused)
{
    static const volatile sig_atomic_t stop = 1;
    static const struct nb_watch watch = { .stop = &stop };
    const struct nb_split_options four = { .max_tensors = 10 };
    char whole[SCRATCH_PATH], parts[SCRATCH_PATH];
    struct nb_source source;
    struct nb_gguf_set set;
    struct nb_split plan;
    struct nb_error err;

    (void)unused;
    make_model();
    strcpy(whole, scratch_path("interrupted.gguf"));
    strcpy(parts, scratch_path("interrupted"));
    assert_int_equal(nb_source_open(&source, scratch_path("model.gguf"), NULL, &err), NB_OK);
    set = nb_source_gguf_set(&source);
    set.watch = &watch;
    assert_int_equal(nb_split_merge(&set, whole, false, &err), NB_INTERRUPTED);
    assert_int_equal(nb_split_plan(&plan, &set, &four, &err), NB_OK);
    assert_int_equal(nb_split_write(&plan, &set, parts, false, &err), NB_INTERRUPTED);
    assert_false(scratch_exists(whole));
    assert_false(scratch_exists(scratch_path("interrupted.gguf.partial")));
    assert_false(scratch_exists(scratch_path("interrupted-00001-of-00004.gguf")));
    assert_false(scratch_exists(scratch_path("interrupted-00001-of-00004.gguf.partial")));
    nb_split_free(&plan);
    nb_source_close(&source);
}

/* What was named is one file of a set, and what is meant is the model. */
static void
a_set_is_split_anew_as_a_whole(void **unused)
{
    (void)unused;
    make_model();
    MUST(0, "split", "model.gguf", "anew", "--max-tensors", "10");
    MUST(0, "split", "anew-00001-of-00004.gguf", "--max-tensors", "20");
    expect_output("anew-00001-of-00002.gguf: 20 tensors");
    assert_non_null(strstr(run.err, "is the first of 4 parts; the whole set is split anew"));
    MUST(0, "merge", "anew-00001-of-00002.gguf", "-o", "anew.gguf");
    assert_int_equal(scratch_hash(scratch_path("anew.gguf")), scratch_hash(scratch_path("model.gguf")));
    MUST(3, "split", "anew-00002-of-00004.gguf");
    assert_non_null(strstr(run.err, "not the first part of its split set"));
    MUST(0, "split", "--dry-run", "--max-size", "1M", "model.gguf");
    assert_non_null(strstr(run.err, "larger than --max-size: it counts tensors, not the metadata"));
}

static void
a_change_of_what_others_depend_on_is_warned_of(void **unused)
{
    static const struct {
        const char *option, *text, *warning;
    } cases[] = {
        { "--set", "general.architecture=phi3", "warning: general.architecture: readers find" },
        { "--remove", "general.architecture", "warning: general.architecture: readers find" },
        { "--rename", "general.architecture=x.y", "warning: general.architecture: readers find" },
        { "--set", "llama.block_count=5", "warning: llama.block_count: the tensors have" },
        { "--set", "tokenizer.ggml.pre=gpt-2", "warning: tokenizer.ggml.pre: texts become" },
        { "--set", "tokenizer.ggml.tokens[3]=x", "warning: tokenizer.ggml.tokens: texts become" },
        { "--set", "general.name=str:x", NULL },
        { "--set", "llama.context_length=512", NULL },
    };

    (void)unused;
    make_model();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        MUST(0, "edit", "--dry-run", cases[i].option, cases[i].text, "model.gguf");
        if ((strstr(run.err, cases[i].warning == NULL ? "warning" : cases[i].warning) != NULL) !=
            (cases[i].warning != NULL))
            fail_msg("%s %s: %s", cases[i].option, cases[i].text, run.err);
    }
}

/* What a watch was told. */
struct told {
    uint64_t calls, done, total;
    bool backwards;
};

static void
listen(void *context, uint64_t done, uint64_t total)
{
    struct told *t = context;

    t->backwards = t->backwards || done < t->done || done > total || (t->calls > 0 && total != t->total);
    t->calls++;
    t->done = done;
    t->total = total;
}

static void
what_copies_or_reads_tells_how_far_it_is(void **unused)
{
    struct told split = { .calls = 0 }, merge = split, hash = split;
    struct nb_watch watch = { .progress = listen, .context = &split };
    const struct nb_split_options four = { .max_tensors = 10 };
    struct nb_hash_job job = { .kind = NB_HASH_XXH64, .scope = NB_HASH_MODEL };
    struct nb_stored_tensors stored;
    struct nb_source source;
    struct nb_gguf_set set;
    struct nb_split plan;
    struct nb_error err;

    (void)unused;
    make_model();
    scratch_open_source(&source, "model.gguf");
    set = nb_source_gguf_set(&source);
    set.watch = &watch;
    assert_int_equal(nb_split_plan(&plan, &set, &four, &err), NB_OK);
    assert_int_equal(nb_split_write(&plan, &set, scratch_path("watched"), false, &err), NB_OK);
    watch.context = &merge;
    assert_int_equal(nb_split_merge(&set, scratch_path("watched.gguf"), false, &err), NB_OK);
    watch.context = &hash;
    assert_int_equal(nb_stored_open(&stored, scratch_path("model.gguf"), false, &err), NB_OK);
    assert_int_equal(nb_hash_run(&stored, &job, 1, 1, &watch, &err), NB_OK);
    assert_true(split.calls >= plan.count && split.done == split.total && !split.backwards);
    assert_true(merge.calls >= 1 && merge.done == merge.total && merge.total == split.total && !merge.backwards);
    assert_true(hash.calls >= 1 && hash.total == split.total && !hash.backwards);
    nb_stored_close(&stored);
    nb_split_free(&plan);
    nb_source_close(&source);
}

/* The first byte of general.name becomes BYTE: the length and the text follow the key and its type. */
static void
spoil_name(const char *name, unsigned char byte)
{
    size_t size, at = 0;
    unsigned char *bytes = scratch_read(scratch_path(name), &size);

    while (memcmp(bytes + at, "general.name", 12) != 0)
        at++;
    bytes[at + 12 + 4 + 8] = byte;
    scratch_write(name, bytes, size);
    free(bytes);
}

static void
a_text_that_is_not_utf8_can_be_mended(void **unused)
{
    (void)unused;
    make_model();
    copy("model.gguf", "spoilt.gguf");
    spoil_name("spoilt.gguf", 0xE9);
    MUST(3, "inspect", "spoilt.gguf");
    MUST(3, "edit", "spoilt.gguf", "--set", "llama.context_length=u32:512"); /* it would stay as it is */
    MUST(0, "edit", "spoilt.gguf", "--set", "general.name=str:Mended");
    MUST(0, "check", "spoilt.gguf");
    spoil_name("spoilt.gguf", 0xE9);
    MUST(0, "edit", "spoilt.gguf", "--remove", "general.name");
    MUST(0, "check", "spoilt.gguf");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(splits_are_the_reference_s_bytes),
        cmocka_unit_test(merging_gives_the_file_back),
        cmocka_unit_test(alignment_is_kept),
        cmocka_unit_test(a_split_that_fails_leaves_the_old_parts),
        cmocka_unit_test(a_split_has_as_many_parts_as_there_are_tensors),
        cmocka_unit_test(no_part_is_ever_overwritten),
        cmocka_unit_test(half_a_set_is_not_left_behind),
        cmocka_unit_test(values_of_every_type_are_set),
        cmocka_unit_test(keys_are_renamed_removed_and_replaced),
        cmocka_unit_test(what_fits_is_written_in_its_place),
        cmocka_unit_test(edits_that_make_no_sense_change_nothing),
        cmocka_unit_test(a_killed_edit_is_undone),
        cmocka_unit_test(a_torn_header_is_put_back),
        cmocka_unit_test(an_undo_of_another_file_is_never_applied),
        cmocka_unit_test(edits_at_once_lose_nothing),
        cmocka_unit_test(a_file_that_is_read_is_not_edited_in_place),
        cmocka_unit_test(a_link_to_a_model_stays_a_link),
        cmocka_unit_test(a_full_disk_keeps_the_old_file),
        cmocka_unit_test(hashes_are_the_reference_s),
        cmocka_unit_test(manifests_tell_what_has_changed),
        cmocka_unit_test(differences_are_told_with_their_size),
        cmocka_unit_test(inspect_shows_one_tensor_or_all),
        cmocka_unit_test(what_is_interrupted_leaves_no_file),
        cmocka_unit_test(a_set_is_split_anew_as_a_whole),
        cmocka_unit_test(a_change_of_what_others_depend_on_is_warned_of),
        cmocka_unit_test(what_copies_or_reads_tells_how_far_it_is),
        cmocka_unit_test(running_out_of_memory_is_told),
        cmocka_unit_test(a_text_that_is_not_utf8_can_be_mended),
    };

    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
