/*
 * What a file from a stranger may cost: the budgets of SECURITY.md. Each file is one that cost many times as much. The
 * time that is allowed is a hundred times what is needed and a fraction of what an unbounded algorithm takes.
 */
#include "formats/base/status.h"
#include "formats/gguf/metadata.h"
#include "scratch.h"
#include "testing.h"
#include "verify/tokenize/added_tokens.h"

#include <sys/resource.h>
#include <unistd.h>
#include <zlib.h>

#define SAMPLE SAMPLE_DATA "/tinystories-3m"
#define MIB ((uint64_t)1 << 20)
#define CPU_SECONDS 120

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1 /* memory is then that of the sanitizer */
#else
#define SANITIZED 0
#endif

static struct run run;

/* Every program that is run from here on ends after CPU_SECONDS. */
static int
setup(void **state)
{
    const struct rlimit limit = { CPU_SECONDS, CPU_SECONDS };

    return setrlimit(RLIMIT_CPU, &limit) != 0 ? -1 : scratch_setup(state);
}

/* The last run ended by itself, with exit code CODE, and used at most BYTES of memory. */
static void
expect_within(const char *what, int code, uint64_t bytes)
{
    if (run.code != code)
        fail_msg("%s: exit code %d: %.200s%.200s", what, run.code, run.out, run.err);
    if (!SANITIZED && run.peak > bytes)
        fail_msg("%s: %llu MiB of memory, should be at most %llu", what, (unsigned long long)(run.peak / MIB),
                 (unsigned long long)(bytes / MIB));
}

/* BEFORE, COUNT times PIECE and AFTER, as the file NAME. */
static void
write_repeated(const char *name, const char *before, const char *piece, size_t count, const char *after)
{
    FILE *f = fopen(scratch_path(name), "wb");

    assert_non_null(f);
    fputs(before, f);
    for (size_t i = 0; i < count; i++)
        fputs(piece, f);
    fputs(after, f);
    assert_int_equal(fclose(f), 0);
}

/* --- JSON ---------------------------------------------------------------------------------------- */

#define EMPTY_VALUES 1700000 /* "{}," of 3 bytes each; 230 in a tree */

static void
empty_values_fill_no_memory(void **unused)
{
    static const struct {
        const char *file, *before, *after;
    } rows[] = {
        { "config.json", "{\"architectures\":[\"LlamaForCausalLM\"],\"x\":[", "1]}" },
        { "tokenizer_config.json", "{\"x\":[", "1]}" },
        { "generation_config.json", "{\"x\":[", "1]}" },
        { "model.safetensors.index.json", "{\"metadata\":[", "1],\"weight_map\":{}}" },
        { "tokenizer.json", "{\"added_tokens\":[", "1],\"model\":{}}" },
        { "tokenizer.json", "{\"normalizer\":[", "1],\"model\":{}}" },
        { "tokenizer.json", "{\"model\":{},\"post_processor\":[", "1]}" },
    };

    (void)unused;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char path[SCRATCH_PATH];

        scratch_remove("model");
        tiny_checkpoint("model");
        snprintf(path, sizeof path, "model/%s", rows[i].file);
        write_repeated(path, rows[i].before, "{},", EMPTY_VALUES, rows[i].after);
        RUN(&run, "check", "model");
        expect_within(rows[i].file, 1, 160 * MIB);
        RUN(&run, "inspect", "model");
        expect_within(rows[i].file, 3, 160 * MIB);
    }
}

static void
a_header_of_empty_values_fills_no_memory(void **unused)
{
    static const char *const before[] = { "{\"__metadata__\":{\"x\":[", "{\"t\":{\"dtype\":[" };

    (void)unused;
    for (size_t i = 0; i < 2; i++) {
        FILE *f = fopen(scratch_path("big.safetensors"), "wb");
        const uint64_t length = strlen(before[i]) + 3 * (uint64_t)EMPTY_VALUES + strlen("1]}}");

        assert_non_null(f);
        for (unsigned b = 0; b < 8; b++)
            fputc((int)(length >> (8 * b) & 0xFF), f);
        fputs(before[i], f);
        for (size_t k = 0; k < EMPTY_VALUES; k++)
            fputs("{},", f);
        fputs("1]}}", f);
        assert_int_equal(fclose(f), 0);
        RUN(&run, "check", "big.safetensors");
        expect_within(before[i], 1, 160 * MIB);
    }
}

/* --- YAML ---------------------------------------------------------------------------------------- */

static void
a_model_card_takes_no_quadratic_time(void **unused)
{
    FILE *f;

    (void)unused;
    tiny_checkpoint("card");
    write_repeated("card/README.md", "---\na: ", "[", 700000, "\n---\n");
    RUN(&run, "check", "card");
    expect_within("brackets", 0, 160 * MIB);
    write_repeated("card/README.md", "---\na: ", "{a: ", 700000, "\n---\n");
    RUN(&run, "check", "card");
    expect_within("braces", 0, 160 * MIB);
    for (int kind = 0; kind < 2; kind++) {
        f = fopen(scratch_path("card/README.md"), "wb");
        assert_non_null(f);
        fputs("---\n", f);
        for (int i = 0; i < 400000; i++)
            fprintf(f, kind == 0 ? "a: &a%d 1\n" : "%%TAG !a%d! x\n", i);
        fputs("---\n", f);
        assert_int_equal(fclose(f), 0);
        RUN(&run, "check", "card");
        expect_within(kind == 0 ? "anchors" : "directives", 0, 160 * MIB);
    }
    scratch_write_text("card/README.md", "---\nlicense: mit\ntags: &t [a, b]\n---\n"); /* what is usual is read */
    RUN(&run, "inspect", "card");
    assert_non_null(strstr(run.out, "mit"));
}

/* --- GGUF metadata ------------------------------------------------------------------------------- */

/* A file of SIZE bytes, nearly all of them a hole, whose only entry has VALUE. */
static void
write_sparse(const char *name, const void *value, size_t value_size, uint64_t size)
{
    static const unsigned char head[] = { 'G', 'G', 'U', 'F', 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,   0,   1,  0,
                                          0,   0,   0,   0,   0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 'a', '.', 'b' };
    FILE *f = fopen(scratch_path(name), "wb");

    assert_non_null(f);
    fwrite(head, 1, sizeof head, f);
    fwrite(value, 1, value_size, f);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(truncate(scratch_path(name), (off_t)size), 0);
}

static void
a_sparse_file_fills_no_memory(void **unused)
{
    struct {
        const char *what;
        unsigned char value[24];
        size_t size;
        uint64_t count, each;
    } rows[] = {
        { "a string", { 8 }, 4, (uint64_t)3 << 30, 1 },
        { "empty strings", { 9, 0, 0, 0, 8 }, 8, 100000000, 8 },
        { "booleans", { 9, 0, 0, 0, 7 }, 8, 800000000, 1 },
        { "no bytes beyond the limit", { 9, 0, 0, 0, 7 }, 8, 5000000, 1 },
    };

    (void)unused;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (unsigned b = 0; b < 8; b++)
            rows[i].value[rows[i].size + b] = (unsigned char)(rows[i].count >> (8 * b));
        write_sparse("sparse.gguf", rows[i].value, rows[i].size + 8, rows[i].count * rows[i].each + 128);
        RUN(&run, "check", "sparse.gguf");
        expect_within(rows[i].what, 1, 64 * MIB);
        assert_non_null(strstr(run.out, "[gguf.count]"));
        RUN(&run, "inspect", "--json", "sparse.gguf");
        expect_within(rows[i].what, 3, 64 * MIB);
    }
}

/* The most that is allowed: what is said of it in SECURITY.md. */
static void
metadata_within_the_limits_costs_what_is_said(void **unused)
{
    const unsigned char strings[16] = { 9, 0, 0, 0, 8, 0, 0, 0, 0, 0, 64 }; /* 4,194,304 empty strings */

    (void)unused;
    write_sparse("full.gguf", strings, sizeof strings, 35 + 16 + ((uint64_t)32 << 20) + 64);
    RUN(&run, "check", "full.gguf");
    expect_within("check", 1, (64 + 4 * 32) * MIB);
    RUN(&run, "inspect", "--json", "full.gguf");
    expect_within("inspect", 0, (64 + 16 * 32) * MIB);
}

/* What would be refused when it is read is refused when it is written. */
static void
metadata_beyond_the_limits_is_not_written(void **unused)
{
    struct nb_metadata meta = { 0 };
    struct nb_error err;
    unsigned char *header, *flags = calloc(1, 5000000);
    uint64_t size;

    (void)unused;
    assert_non_null(flags);
    nb_meta_set(&meta, "a.b", NB_KV_ARRAY, NB_KV_BOOL, 4 * MIB, flags, 4 * MIB);
    assert_int_equal(nb_gguf_header(&meta, NULL, 0, &header, &size, &err), NB_OK);
    free(header);
    nb_meta_set(&meta, "a.b", NB_KV_ARRAY, NB_KV_BOOL, 4 * MIB + 1, flags, 4 * MIB + 1);
    assert_int_equal(nb_gguf_header(&meta, NULL, 0, &header, &size, &err), NB_UNSUPPORTED);
    nb_meta_free(&meta);
    free(flags);
}

/* --- texts --------------------------------------------------------------------------------------- */

static void
a_text_that_expands_too_far_is_refused(void **unused)
{
    gzFile f = gzopen(scratch_path("bomb.gz"), "wb9");
    char *block = calloc(1, MIB);

    (void)unused;
    assert_non_null(f);
    assert_non_null(block);
    memset(block, 'a', MIB);
    for (int i = 0; i < 100; i++)
        assert_int_equal(gzwrite(f, block, MIB), MIB);
    assert_int_equal(gzclose(f), Z_OK);
    free(block);
    RUN(&run, "tokenize", SAMPLE, "-f", "bomb.gz", "--ids");
    expect_within("tokenize", 3, 160 * MIB);
    assert_non_null(strstr(run.err, "expands to more than"));
    RUN(&run, "verify", SAMPLE, "-f", "bomb.gz", "--chunks", "1", "-c", "64");
    expect_within("verify", 3, 512 * MIB);
}

/* --- tokenizers ---------------------------------------------------------------------------------- */

#define N_BYTES 256

/* The byte-level alphabet's characters, and then what ADD gives, until it returns false. */
struct tokens {
    struct nb_strings texts;
    int32_t *types;
    size_t count;
};

static void
add_token(struct tokens *t, const char *text, size_t length, int32_t type)
{
    nb_strings_add(&t->texts, text, length);
    t->types = realloc(t->types, (t->count + 1) * sizeof *t->types);
    assert_non_null(t->types);
    t->types[t->count++] = type;
}

static void
add_bytes(struct tokens *t)
{
    for (unsigned b = 0, other = 0x100; b < N_BYTES; b++) {
        const unsigned c = (b > 0x20 && b < 0x7F) || (b > 0xA0 && b != 0xAD) ? b : other++;
        const char text[2] = { (char)(c < 0x80 ? c : 0xC0 | c >> 6), (char)(0x80 | (c & 0x3F)) };

        add_token(t, text, c < 0x80 ? 1 : 2, 1);
    }
}

/* Writes NAME: a GGUF file with these tokens and MERGES, cut by PRE. Takes both. */
static void
write_vocabulary(const char *name, const char *pre, struct tokens *t, struct nb_strings *merges)
{
    struct gguf_maker maker = { .count = 0 };
    struct nb_metadata meta = { 0 };

    if (merges->count == 0)
        nb_strings_add(merges, "a a", 3);
    nb_meta_set_string(&meta, "general.architecture", "llama");
    nb_meta_set_string(&meta, "tokenizer.ggml.model", "gpt2");
    nb_meta_set_string(&meta, "tokenizer.ggml.pre", pre);
    nb_meta_set_bool(&meta, "tokenizer.ggml.add_bos_token", false);
    nb_meta_set(&meta, "tokenizer.ggml.token_type", NB_KV_ARRAY, NB_KV_I32, t->count, t->types, 4 * t->count);
    nb_meta_set_strings(&meta, "tokenizer.ggml.tokens", &t->texts);
    nb_meta_set_strings(&meta, "tokenizer.ggml.merges", merges);
    make_tensor(&maker, "output_norm.weight", 32, 0, 1);
    make_file(&maker, &meta, name);
    nb_meta_free(&meta);
    free(t->types);
}

static void
added_tokens_in_each_other_take_linear_time(void **unused)
{
    enum { N = 2500, TEXT = 2000000 };
    struct tokens t = { 0 };
    struct nb_strings merges = { 0 };
    static char text[N];

    (void)unused;
    memset(text, 'a', sizeof text);
    add_bytes(&t);
    for (size_t n = 2; n < N; n++)
        add_token(&t, text, n, 4);
    write_vocabulary("nested.gguf", "gpt-2", &t, &merges);
    write_repeated("a.txt", "", "a", TEXT, "");
    RUN(&run, "tokenize", "nested.gguf", "-f", "a.txt", "--ids");
    expect_within("a, aa, aaa, ...", 0, (64 + 40 * 4 + 40 * 2) * MIB);
}

static void
many_added_tokens_in_a_text_take_linear_time(void **unused)
{
    enum { N = 200000 };
    struct tokens t = { 0 };
    struct nb_strings merges = { 0 };
    FILE *f = fopen(scratch_path("all.txt"), "wb");
    char text[16];

    (void)unused;
    assert_non_null(f);
    add_bytes(&t);
    for (unsigned i = 0; i < N; i++) {
        add_token(&t, text, (size_t)snprintf(text, sizeof text, "<%06u>", i), 4);
        fputs(text, f);
    }
    assert_int_equal(fclose(f), 0);
    write_vocabulary("many.gguf", "gpt-2", &t, &merges);
    RUN(&run, "tokenize", "many.gguf", "-f", "all.txt", "--ids");
    expect_within("tokens", 0, (64 + 40 * 4 + 40 * 2) * MIB);
}

/* Pairs that a hash without a secret, the one that was here before, puts into neighbouring places. */
static void
a_flooded_table_of_merges_takes_linear_time(void **unused)
{
    enum { N = 32768, MERGES = 500000 };
    struct tokens t = { 0 };
    struct nb_strings merges = { 0 };
    char line[32];

    (void)unused;
    add_bytes(&t);
    for (unsigned i = N_BYTES; i < N; i++)
        add_token(&t, line, (size_t)snprintf(line, sizeof line, "t%05u", i), 1);
    for (uint64_t left = N_BYTES; left < N && merges.count < MERGES; left++)
        for (uint64_t right = N_BYTES; right < N && merges.count < MERGES; right++)
            if (((left << 32 | right) * 0x9E3779B97F4A7C15u >> 32 & 0xFFFFF) < 2000)
                nb_strings_add(&merges, line,
                               (uint64_t)snprintf(line, sizeof line, "t%05u t%05u", (unsigned)left, (unsigned)right));
    assert_true(merges.count > MERGES / 2);
    write_vocabulary("flood.gguf", "gpt-2", &t, &merges);
    RUN(&run, "tokenize", "flood.gguf", "-p", "hello", "--ids");
    expect_within("flooded merges", 0, 320 * MIB);
}

static void
long_words_do_not_stop_a_pre_tokenizer(void **unused)
{
    static const char *const names[] = { "gpt-4o",      "tekken", "llama-bpe", "qwen2",    "qwen35",
                                         "deepseek-v3", "smollm", "gpt-2",     "smaug-bpe" };
    static const char *const pieces[] = { "a", "A", "\xC3\xA9", "A\xC3\xA9", "a\xE4\xB8\xAD",
                                          "1", " ", "\n",       "!",         "\xCC\x81" };

    (void)unused;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct tokens t = { 0 };
        struct nb_strings merges = { 0 };

        add_bytes(&t);
        write_vocabulary("pre.gguf", names[i], &t, &merges);
        for (size_t k = 0; k < sizeof pieces / sizeof pieces[0]; k++) {
            write_repeated("word.txt", "", pieces[k], 100000, "");
            RUN(&run, "tokenize", "pre.gguf", "-f", "word.txt", "--ids");
            expect_within(names[i], 0, 160 * MIB);
        }
    }
}

/* Two marks in the wrong order, again and again, and one that is of two marks. */
static void
runs_of_marks_take_linear_time(void **unused)
{
    static const char *const forms[] = { "NFC", "NFD", "NFKC", "NFKD" };
    char tokenizer[4096];

    (void)unused;
    write_repeated("marks.txt", "a", "\xCC\x81\xCC\x96", 500000, "");
    write_repeated("pairs.txt", "a", "\xE0\xBD\xB3", 500000, "");
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        tiny_checkpoint("marks");
        snprintf(tokenizer, sizeof tokenizer, "%.*s\"normalizer\":{\"type\":\"%s\"}%s",
                 (int)(strstr(tiny_tokenizer, "\"normalizer\"") - tiny_tokenizer), tiny_tokenizer, forms[i],
                 strstr(tiny_tokenizer, "null") + strlen("null"));
        scratch_write_text("marks/tokenizer.json", tokenizer);
        RUN(&run, "tokenize", "marks", "-f", "marks.txt", "--ids");
        expect_within(forms[i], 0, 256 * MIB);
        RUN(&run, "tokenize", "marks", "-f", "pairs.txt", "--ids");
        expect_within(forms[i], 0, 256 * MIB);
    }
}

/* Base64 of LENGTH bytes BYTE, into F. */
static void
write_run(FILE *f, unsigned char byte, size_t length)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (size_t at = 0; at < length; at += 3) {
        const size_t n = length - at < 3 ? length - at : 3;
        const unsigned bits = (unsigned)byte << 16 | (n > 1 ? (unsigned)byte << 8 : 0) | (n > 2 ? byte : 0);

        for (unsigned i = 0; i < 4; i++)
            putc(i <= n ? digits[bits >> (18 - 6 * i) & 63] : '=', f);
    }
}

/* Runs of one byte are each made of two others in as many ways as they have bytes: the merges would be longer than all. */
static void
tokens_that_are_made_of_each_other_fill_no_memory(void **unused)
{
    enum { LONGEST = 128, TOKENS = N_BYTES * LONGEST };
    unsigned rank = 0;
    FILE *f;

    (void)unused;
    tiny_checkpoint("runs");
    scratch_remove("runs/tokenizer.json");
    f = fopen(scratch_path("runs/tekken.json"), "wb");
    assert_non_null(f);
    fprintf(f, "{\"config\":{\"pattern\":\"x\",\"default_vocab_size\":%d,\"default_num_special_tokens\":3},\"vocab\":[",
            TOKENS + 3);
    for (unsigned length = 1; length <= LONGEST; length++) {
        for (unsigned byte = 0; byte < N_BYTES; byte++) {
            fprintf(f, "%s{\"rank\":%u,\"token_bytes\":\"", rank > 0 ? "," : "", rank);
            write_run(f, (unsigned char)byte, length);
            fputs("\"}", f);
            rank++;
        }
    }
    fputs("]}", f);
    assert_int_equal(fclose(f), 0);
    RUN(&run, "inspect", "runs");
    expect_within("tekken.json", 3, 80 * MIB);
    assert_non_null(strstr(run.err, "made of each other in too many ways"));
}

/* --- chat templates that are run ---------------------------------------------------------------------------------- */

static void
a_chat_template_ends_and_fills_no_memory(void **unused)
{
    static const char *const templates[] = {
        "{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}",
        "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(100) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(100) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x='ab') %}{% for i in range(20) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}"
        "{% for i in range(99999) %}{{ ns.x }}{% endfor %}",
        "{% macro f(n) %}{{ f(n) }}{{ f(n) }}{% endmacro %}{{ f(1) }}",
        "{% for i in range(99999) %}{{ 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' | replace('a', 'bbbbbbbbbbbbbbbbbbbbbbbb') }}"
        "{% endfor %}",
    };

    (void)unused;
    tiny_checkpoint("talks");
    for (size_t i = 0; i < sizeof templates / sizeof templates[0]; i++) {
        scratch_write_text("talks/chat_template.jinja", templates[i]);
        RUN(&run, "generate", "--chat", "-p", "a", "-n", "1", "talks");
        expect_within(templates[i], 3, (32 + 64 + 64) * MIB);
        assert_non_null(strstr(run.err, "the chat template "));
    }
}

/* --- little memory ------------------------------------------------------------------------------- */

static void
with_little_memory_a_model_is_refused_and_nothing_spins(void **unused)
{
    struct rlimit old, limit;

    (void)unused;
    if (SANITIZED)
        skip();
    assert_int_equal(getrlimit(RLIMIT_AS, &old), 0);
    limit = old;
    for (uint64_t size = 60 * MIB; size < 1000 * MIB; size += 60 * MIB) {
        limit.rlim_cur = (rlim_t)size;
        assert_int_equal(setrlimit(RLIMIT_AS, &limit), 0);
        RUN(&run, "verify", SAMPLE, "--chunks", "1", "-c", "64", "-j", "2");
        assert_int_equal(setrlimit(RLIMIT_AS, &old), 0);
        if (run.code != 0 && run.code != 4)
            fail_msg("with %u MiB: exit code %d: %s", (unsigned)(size / MIB), run.code, run.err);
        if (size < 100 * MIB)
            assert_int_equal(run.code, 4);
    }
}

/* --- the same as a plain search ------------------------------------------------------------------ */

#define N_PLAIN 12
static struct nb_added_token plain[N_PLAIN];
static char plain_texts[N_PLAIN][8];

static uint32_t
drawn(uint32_t below)
{
    static uint32_t state = 1;

    state = state * 1664525u + 1013904223u;
    return (state >> 16) % below;
}

/* Whether A comes before B where the longest comes first. */
static bool
is_first(const struct nb_added_token *a, const struct nb_added_token *b)
{
    return a->length != b->length ? a->length > b->length : a->id < b->id;
}

/* Fills OWNER with the id of the token that has each byte of TEXT, or -1: every token in turn, from left to right. */
static void
search_plainly(const char *text, size_t length, size_t n, bool special, int32_t *owner)
{
    bool done[N_PLAIN] = { false };

    for (size_t i = 0; i < length; i++)
        owner[i] = -1;
    for (size_t turn = 0; turn < n; turn++) {
        const struct nb_added_token *t = NULL;

        for (size_t i = 0; i < n; i++)
            if (!done[i] && (t == NULL || is_first(&plain[i], t)))
                t = &plain[i];
        done[t - plain] = true;
        for (size_t at = 0; at + t->length <= length && (special || !t->special);) {
            bool here = memcmp(text + at, t->text, t->length) == 0;

            for (size_t k = 0; k < t->length; k++)
                here = here && owner[at + k] < 0;
            for (size_t k = 0; k < t->length && here; k++)
                owner[at + k] = (int32_t)t->id;
            at += here ? t->length : 1;
        }
    }
}

static void
expect_owners(const struct nb_fragments *f, const int32_t *owner, size_t length)
{
    size_t at = 0;

    for (size_t i = 0; i < f->count; i++) {
        assert_int_equal(f->item[i].at, at);
        for (size_t k = 0; k < f->item[i].length; k++)
            assert_int_equal(f->item[i].id, owner[at + k]);
        at += f->item[i].length;
    }
    assert_int_equal(at, length);
}

/* The leftmost token, and of several there the longest, until the end. */
static void
scan_plainly(const char *text, size_t length, size_t n, bool special, int32_t *owner)
{
    for (size_t at = 0; at < length;) {
        const struct nb_added_token *t = NULL;

        for (size_t i = 0; i < n; i++)
            if (plain[i].length <= length - at && memcmp(text + at, plain[i].text, plain[i].length) == 0 &&
                (special || !plain[i].special) && (t == NULL || plain[i].length > t->length))
                t = &plain[i];
        owner[at] = t == NULL ? -1 : (int32_t)t->id;
        for (size_t k = 1; t != NULL && k < t->length; k++)
            owner[at + k] = (int32_t)t->id;
        at += t == NULL ? 1 : t->length;
    }
}

static void
added_tokens_are_found_as_by_a_plain_search(void **unused)
{
    char text[40];
    int32_t owner[sizeof text];

    (void)unused;
    for (int round = 0; round < 20000; round++) {
        const size_t wanted = 1 + drawn(N_PLAIN), length = drawn(sizeof text);
        const bool special = drawn(2) == 0;
        struct nb_fragments f = { 0 };
        struct nb_added_tokens *tokens;
        size_t n = 0;

        for (size_t i = 0; i < wanted; i++) {
            const uint32_t k = 1 + drawn(5);
            bool known = false;

            for (uint32_t c = 0; c < k; c++)
                plain_texts[n][c] = (char)('a' + drawn(2));
            for (size_t other = 0; other < n; other++)
                known |= plain[other].length == k && memcmp(plain_texts[other], plain_texts[n], k) == 0;
            plain[n] = (struct nb_added_token){ (uint32_t)n, plain_texts[n], k, .special = drawn(3) == 0 };
            n += !known;
        }
        for (size_t i = 0; i < length; i++)
            text[i] = (char)('a' + drawn(2));
        tokens = nb_added_tokens_new(plain, n);
        assert_non_null(tokens);
        assert_true(nb_added_tokens_longest_first(tokens, text, length, special, &f));
        search_plainly(text, length, n, special, owner);
        expect_owners(&f, owner, length);
        f.count = 0;
        assert_true(nb_added_tokens_leftmost(tokens, text, 0, length, special, &f));
        scan_plainly(text, length, n, special, owner);
        expect_owners(&f, owner, length);
        free(f.item);
        nb_added_tokens_free(tokens);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_values_fill_no_memory),
        cmocka_unit_test(a_header_of_empty_values_fills_no_memory),
        cmocka_unit_test(a_model_card_takes_no_quadratic_time),
        cmocka_unit_test(a_sparse_file_fills_no_memory),
        cmocka_unit_test(metadata_within_the_limits_costs_what_is_said),
        cmocka_unit_test(metadata_beyond_the_limits_is_not_written),
        cmocka_unit_test(a_text_that_expands_too_far_is_refused),
        cmocka_unit_test(added_tokens_in_each_other_take_linear_time),
        cmocka_unit_test(many_added_tokens_in_a_text_take_linear_time),
        cmocka_unit_test(a_flooded_table_of_merges_takes_linear_time),
        cmocka_unit_test(long_words_do_not_stop_a_pre_tokenizer),
        cmocka_unit_test(runs_of_marks_take_linear_time),
        cmocka_unit_test(tokens_that_are_made_of_each_other_fill_no_memory),
        cmocka_unit_test(a_chat_template_ends_and_fills_no_memory),
        cmocka_unit_test(with_little_memory_a_model_is_refused_and_nothing_spins),
        cmocka_unit_test(added_tokens_are_found_as_by_a_plain_search),
    };

    return cmocka_run_group_tests(tests, setup, scratch_teardown);
}
