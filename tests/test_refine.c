/*
 * Refining blocks: what it changes must be better where it is judged, and everything else must stay as it was.
 */
#include "calib/moments.h"
#include "calib/refine.h"
#include "calib/texts.h"
#include "formats/base/blas.h"
#include "formats/elements/decode.h"
#include "formats/elements/tier.h"
#include "halves.h"
#include "quantize/search/mlx.h"
#include "quantize/search/parts_rows.h"
#include "quantize/search/refine.h"
#include "scratch.h"
#include "splitmix.h"
#include "testing.h"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SAMPLE SAMPLE_DATA "/tinystories-3m"
#define COLUMNS 512
#define ROWS 70 /* more than a tile */
#define TOKENS 700
#define MOST_BYTES (ROWS * COLUMNS * 2)

static struct nb_error err;
static struct run run;

/* --- parts ---------------------------------------------------------------------------------------------------- */

/* Zero of four-bit floats has no sign in what is taken apart, nor in what encoders write. */
static void
remove_signs_of_zero(unsigned char *codes, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        codes[i] = (codes[i] & 15) == 8 ? codes[i] & 0xF0 : codes[i];
        codes[i] = codes[i] >> 4 == 8 ? codes[i] & 15 : codes[i];
    }
}

/* A block whose half floats are finite. */
static void
random_block(enum nb_type type, uint64_t *state, unsigned char *block)
{
    const size_t bytes = nb_type_info(type)->block_bytes;

    do
        for (size_t i = 0; i < bytes; i++)
            block[i] = (unsigned char)(splitmix(state) >> 56);
    while (nb_find_nonfinite(type, block, nb_type_info(type)->block) == 0);
    if (type == NB_MXFP4) {
        block[0] %= 248; /* with larger scales some values are infinite */
        remove_signs_of_zero(block + 1, bytes - 1);
    }
}

static void
blocks_taken_apart_are_put_together_again(void **unused)
{
    unsigned char block[512], again[512];
    float decoded[NB_PARTS_ELEMENTS];
    struct nb_parts parts;
    uint64_t state = 1;
    unsigned seen = 0;

    (void)unused;
    for (unsigned type = 0; type < NB_TYPES; type++) {
        const struct nb_parts_type *t = nb_parts_type((enum nb_type)type);

        seen += t != NULL;
        for (int n = 0; t != NULL && n < 200; n++) {
            random_block((enum nb_type)type, &state, block);
            nb_parts_unpack((enum nb_type)type, block, &parts);
            memset(again, 0xAA, sizeof again);
            nb_parts_pack((enum nb_type)type, &parts, again);
            assert_memory_equal(block, again, nb_type_info((enum nb_type)type)->block_bytes);
            nb_decode((enum nb_type)type, block, t->block, decoded);
            for (int i = 0; i < t->block; i++) {
                const int g = i / t->group, code = parts.code[i] & (t->cell > 0 ? ~NB_NEGATIVE : 255);
                const float level = nb_parts_level(t, parts.code[i]);
                const float value = parts.d * (float)parts.scale[g] * level - parts.dmin * (float)parts.min[g];

                assert_true(code < t->codes && parts.scale[g] >= t->scale_low && parts.scale[g] <= t->scale_top);
                assert_true(fabsf(value - decoded[i]) <=
                            1e-4f * (fabsf(value) + fabsf(parts.dmin * (float)parts.min[g])));
            }
        }
    }
    assert_int_equal(seen, 17);
}

#define MLX_ENCODINGS 56

/* Of all widths, groups and types. */
static size_t
mlx_encodings(struct nb_encoding *out)
{
    static const uint8_t bits[] = { 2, 3, 4, 5, 6, 8 };
    static const uint16_t groups[] = { 32, 64, 128 };
    static const enum nb_type types[] = { NB_F16, NB_BF16, NB_F32 };
    size_t count = 0;

    for (size_t b = 0; b < 6; b++)
        for (size_t g = 0; g < 3; g++)
            for (size_t t = 0; t < 3; t++) {
                const struct nb_mlx_format format = { NB_MLX_AFFINE, bits[b], groups[g] };

                out[count++] = nb_mlx_encoding(&format, types[t]);
            }
    out[count++] = nb_mlx_encoding(&(struct nb_mlx_format){ NB_MLX_MXFP4, 4, 32 }, NB_BF16);
    out[count++] = nb_mlx_encoding(&(struct nb_mlx_format){ NB_MLX_NVFP4, 4, 16 }, NB_BF16);
    assert_int_equal(count, MLX_ENCODINGS);
    return count;
}

/* Codes, scales and biases of a row stand in three planes, and mean what they were made of. */
static void
rows_of_mlx_taken_apart_are_put_together_again(void **unused)
{
    struct nb_encoding each[MLX_ENCODINGS];
    unsigned char row[COLUMNS * 4], again[COLUMNS * 4];
    float w[COLUMNS], decoded[COLUMNS];
    uint64_t state = 7;

    (void)unused;
    (void)mlx_encodings(each);
    for (size_t i = 0; i < COLUMNS; i++)
        w[i] = (float)(i / 32 + 1) * (float)splitmix_gaussian(&state);
    for (const struct nb_encoding *e = each; e < each + MLX_ENCODINGS; e++) {
        const size_t bytes = nb_rows_bytes(e, COLUMNS);
        struct nb_parts parts;

        e->encode(e, w, 1, COLUMNS, NULL, row);
        memset(again, 0xAA, sizeof again);
        nb_rows_decode(e, row, 1, COLUMNS, decoded);
        for (size_t block = 0; block < COLUMNS / e->block; block++) {
            nb_rows_unpack(e, row, COLUMNS, block, &parts);
            nb_rows_pack(e, &parts, again, COLUMNS, block);
            for (size_t i = block * e->block; i < (block + 1) * e->block; i++)
                /* The ends may be cut off; the largest four-bit floats are four halved steps apart. */
                assert_true(fabsf(w[i] - decoded[i]) <= (e->n_planes == 2 ? 4 : 1.5f) * fabsf(parts.d));
        }
        assert_memory_equal(row, again, bytes);
        assert_true(again[bytes] == 0xAA);
    }
}

/* --- one matrix ----------------------------------------------------------------------------------------------- */

/* Inputs whose columns depend on one another, as those of models do. */
static float *
made_inputs(uint64_t seed, size_t tokens)
{
    float *x = malloc(tokens * COLUMNS * sizeof *x);

    for (size_t t = 0; t < tokens; t++) {
        float common[8];

        for (int k = 0; k < 8; k++)
            common[k] = (float)splitmix_gaussian(&seed);
        for (size_t i = 0; i < COLUMNS; i++)
            x[t * COLUMNS + i] = (float)splitmix_gaussian(&seed) + common[i % 8] * (float)(1 + i % 3);
    }
    return x;
}

static float *
made_weights(uint64_t seed)
{
    float *w = malloc(ROWS * COLUMNS * sizeof *w);

    for (size_t i = 0; i < ROWS * COLUMNS; i++)
        w[i] = 0.02f * (float)splitmix_gaussian(&seed);
    return w;
}

/* The moments of TOKENS inputs, for a product that should add ERROR (tokens x ROWS; NULL: nothing). */
static struct nb_moments
moments_of(struct nb_pool *pool, const float *x, const float *original, const float *error, size_t tokens)
{
    struct nb_moments m;
    const struct nb_moments_input input = { .n = tokens, .x = x, .o = original, .e = error };

    assert_true(nb_moments_new(&m, COLUMNS, original != NULL, error == NULL ? 0 : ROWS));
    assert_int_equal(nb_moments_add(&m, pool, &input, &err), NB_OK);
    nb_moments_finish(&m);
    return m;
}

/* (t - w) H (t - w)' of row R */
static double
row_error(const float *target, const float *w, const float *h)
{
    double sum = 0;

    for (size_t i = 0; i < COLUMNS; i++) {
        double product = 0;

        for (size_t k = 0; k < COLUMNS; k++)
            product += (double)h[i * COLUMNS + k] * (double)(target[k] - w[k]);
        sum += product * (double)(target[i] - w[i]);
    }
    return sum;
}

static struct nb_pool *
new_pool(unsigned threads)
{
    struct nb_pool *pool = NULL;

    if (nb_blas_load(threads, &err) != NB_OK || nb_pool_new(&pool, threads, &err) != NB_OK)
        fail_msg("%s", err.message);
    return pool;
}

/* Sums over rows that are refined. */
struct refined_rows {
    double before, after;
};

/* No row has a larger error than before. FEEDBACK may be NULL. */
static struct refined_rows
refine_rows(const struct nb_encoding *e, const float *w, const float *h, const float *feedback, void *memory)
{
    const struct nb_refine refine = { e, COLUMNS, h, feedback, 12 };
    const size_t bytes = nb_rows_bytes(e, COLUMNS);
    unsigned char *rows = malloc(NB_REFINE_ROWS * bytes);
    float *decoded = malloc(2 * NB_REFINE_ROWS * COLUMNS * sizeof *decoded),
          *after = decoded + NB_REFINE_ROWS * COLUMNS;
    struct refined_rows sums = { 0, 0 };

    for (size_t r = 0; r < NB_REFINE_ROWS; r++)
        e->encode(e, w + r * COLUMNS, 1, COLUMNS, NULL, rows + r * bytes);
    nb_rows_decode(e, rows, NB_REFINE_ROWS, COLUMNS, decoded);
    nb_refine_rows(&refine, w, NB_REFINE_ROWS, rows, memory);
    nb_rows_decode(e, rows, NB_REFINE_ROWS, COLUMNS, after);
    for (size_t r = 0; r < NB_REFINE_ROWS; r++) {
        const double was = row_error(w + r * COLUMNS, decoded + r * COLUMNS, h);
        const double is = row_error(w + r * COLUMNS, after + r * COLUMNS, h);

        if (is > was * 1.0001)
            fail_msg("%s: row %zu: %g became %g", e->name, r, was, is);
        sums.before += was;
        sums.after += is;
    }
    free(decoded);
    free(rows);
    return sums;
}

/* H is U D U' again, of which the first and the last rows are looked at. */
static void
multiplies_to(const float *h, const float *u)
{
    static const size_t rows[] = { 0, 1, COLUMNS / 2, COLUMNS - 1 };
    double *d = calloc(COLUMNS, sizeof *d);

    for (size_t k = COLUMNS; k-- > 0;) {
        d[k] = (double)h[k * COLUMNS + k];
        for (size_t j = k + 1; j < COLUMNS; j++)
            d[k] -= d[j] * (double)u[k * COLUMNS + j] * (double)u[k * COLUMNS + j];
    }
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (size_t k = rows[i]; k < COLUMNS; k++) {
            double sum = 0;

            for (size_t j = k; j < COLUMNS; j++)
                sum += (double)u[rows[i] * COLUMNS + j] * d[j] * (double)u[k * COLUMNS + j];
            assert_true(fabs(sum - (double)h[rows[i] * COLUMNS + k]) < 1e-3 * (double)h[0]);
            assert_true(u[rows[i] * COLUMNS + k] == u[k * COLUMNS + rows[i]]);
        }
    free(d);
}

/* For every type, and for MLX's formats; and all together have much less, and still less from where feedback begins. */
static void
no_row_gets_worse(void **unused)
{
    struct nb_pool *pool = new_pool(1);
    float *x = made_inputs(2, TOKENS), *w = made_weights(3), *feedback = malloc(COLUMNS * COLUMNS * sizeof *feedback);
    struct nb_moments m = moments_of(pool, x, NULL, NULL, TOKENS);
    void *memory = aligned_alloc(64, nb_refine_memory(COLUMNS));
    struct nb_encoding each[NB_TYPES + MLX_ENCODINGS];
    size_t count = mlx_encodings(each);
    double plain = 0, fed = 0;
    bool definite;

    (void)unused;
    for (size_t i = 0; i < COLUMNS; i++)
        m.h[i * COLUMNS + i] *= 1.02f;
    assert_int_equal(nb_refine_feedback(m.h, COLUMNS, feedback, &definite, &err), NB_OK);
    assert_true(definite);
    multiplies_to(m.h, feedback);
    for (unsigned type = 0; type < NB_TYPES; type++) {
        each[count] = nb_encoding_of((enum nb_type)type);
        count += nb_can_refine(&each[count]);
    }
    for (size_t i = 0; i < count; i++) {
        const struct refined_rows sums = refine_rows(&each[i], w, m.h, NULL, memory);
        const struct refined_rows with = refine_rows(&each[i], w, m.h, feedback, memory);

        if (!(sums.after < 0.7 * sums.before && with.after < 1.02 * sums.after))
            fail_msg("%s, %u bits, groups of %u: %g became %g and %g", each[i].name, each[i].bits, each[i].block,
                     sums.before, sums.after, with.after);
        plain += sums.after / sums.before;
        fed += with.after / with.before;
    }
    if (!(fed < 0.95 * plain))
        fail_msg("%g of the error is left, without feedback %g", fed, plain);
    free(memory);
    free(feedback);
    free(w);
    free(x);
    nb_moments_free(&m);
    nb_pool_free(pool);
}

struct case_of_matrix {
    float *weights;
    unsigned char *blocks, *given;
    size_t bytes;
    struct nb_refine_result result;
};

/* IS_EXACT: for weights that the given blocks hold exactly. */
static struct case_of_matrix
refine_matrix(const struct nb_moments *fit, const struct nb_moments *held, struct nb_pool *pool, bool is_exact)
{
    struct case_of_matrix c = {
        made_weights(5), malloc(MOST_BYTES), malloc(MOST_BYTES), ROWS * COLUMNS / 256 * 84, { .taken = false }
    };
    const struct nb_encoding encoding = nb_encoding_of(NB_Q2_K);
    const struct nb_refine_matrix matrix = { &encoding, ROWS, COLUMNS, c.weights, c.blocks };
    struct nb_refine_inputs in;

    nb_encode(NB_Q2_K, c.weights, ROWS, COLUMNS, NULL, c.given);
    if (is_exact)
        nb_decode(NB_Q2_K, c.given, ROWS * COLUMNS, c.weights);
    memcpy(c.blocks, c.given, c.bytes);
    if (nb_refine_prepare(&in, fit, held, true, &err) != NB_OK ||
        nb_refine_matrix(&in, &matrix, pool, &c.result, &err) != NB_OK)
        fail_msg("%s", err.message);
    nb_refine_inputs_free(&in);
    return c;
}

static void
free_case(struct case_of_matrix *c)
{
    free(c->weights);
    free(c->blocks);
    free(c->given);
}

/*
 * The tokens that blocks are fitted to say that the matrix should have the opposite sign, the held-out ones that it is
 * right as it is: it keeps its blocks, bit for bit.
 */
static void
what_does_not_help_held_out_tokens_is_not_taken(void **unused)
{
    struct nb_pool *pool = new_pool(2);
    float *x = made_inputs(6, 2 * TOKENS), *opposite = malloc(TOKENS * COLUMNS * sizeof *opposite);
    struct nb_moments fit, held;
    struct case_of_matrix c;

    (void)unused;
    for (size_t i = 0; i < TOKENS * COLUMNS; i++)
        opposite[i] = -x[i];
    fit = moments_of(pool, x, opposite, NULL, TOKENS);
    held = moments_of(pool, x + TOKENS * COLUMNS, x + TOKENS * COLUMNS, NULL, TOKENS);
    c = refine_matrix(&fit, &held, pool, true);
    assert_false(c.result.taken);
    assert_true(c.result.shift == 0);
    assert_memory_equal(c.blocks, c.given, c.bytes);
    free_case(&c);
    nb_moments_free(&fit);
    nb_moments_free(&held);
    free(x);
    free(opposite);
    nb_pool_free(pool);
}

/* Inputs that have moved away from the original ones, and an error that the product can repair: both are followed. */
static void
the_error_of_earlier_layers_is_made_up_for(void **unused)
{
    struct nb_pool *pool = new_pool(2);
    float *original = made_inputs(7, 2 * TOKENS), *moved = made_inputs(7, 2 * TOKENS);
    float *error = malloc(2 * TOKENS * ROWS * sizeof *error);
    struct nb_moments fit, held;
    struct case_of_matrix c;

    (void)unused;
    for (size_t i = 0; i < 2 * TOKENS * COLUMNS; i++)
        moved[i] *= 1.1f;
    for (size_t t = 0; t < 2 * TOKENS; t++)
        for (size_t r = 0; r < ROWS; r++)
            error[t * ROWS + r] = 0.05f * moved[t * COLUMNS + r];
    fit = moments_of(pool, moved, original, error, TOKENS);
    held = moments_of(pool, moved + TOKENS * COLUMNS, original + TOKENS * COLUMNS, error + TOKENS * ROWS, TOKENS);
    c = refine_matrix(&fit, &held, pool, false);
    assert_true(c.result.taken && c.result.after < c.result.before);
    assert_true(c.result.shift > 0.9 && c.result.repair > 0.9);
    free_case(&c);
    nb_moments_free(&fit);
    nb_moments_free(&held);
    free(original);
    free(moved);
    free(error);
    nb_pool_free(pool);
}

/* Columns that are always zero, and fewer tokens than columns: H is singular. */
static void
a_singular_matrix_of_moments_is_no_trouble(void **unused)
{
    struct nb_pool *pool = new_pool(1);
    float *x = made_inputs(8, 40);
    struct nb_moments m;
    struct case_of_matrix c;
    float decoded[COLUMNS];

    (void)unused;
    for (size_t t = 0; t < 40; t++)
        for (size_t i = 0; i < COLUMNS; i += 5)
            x[t * COLUMNS + i] = 0;
    m = moments_of(pool, x, NULL, NULL, 40);
    c = refine_matrix(&m, &m, pool, false);
    assert_true(c.result.taken);
    nb_decode(NB_Q2_K, c.blocks, COLUMNS, decoded);
    for (size_t i = 0; i < COLUMNS; i++)
        assert_true(fabsf(decoded[i]) < 1);
    free_case(&c);
    nb_moments_free(&m);
    free(x);
    nb_pool_free(pool);
}

static void
inputs_that_are_no_numbers_are_refused(void **unused)
{
    struct nb_pool *pool = new_pool(1);
    float *x = made_inputs(9, 40);
    struct nb_refine_inputs in;
    struct nb_moments m;

    (void)unused;
    x[17] = NAN;
    m = moments_of(pool, x, NULL, NULL, 40);
    assert_int_equal(nb_refine_prepare(&in, &m, &m, true, &err), NB_INPUT);
    assert_non_null(strstr(err.message, "NaN or infinite"));
    nb_moments_free(&m);
    free(x);
    nb_pool_free(pool);
}

/* --- whole files ----------------------------------------------------------------------------------------------- */

static void
quantize(const char *type, const char *name, const char *threads, bool refined)
{
    RUN(&run, "quantize", SAMPLE, "-t", type, refined ? "--refine" : "--calibrate", "first.txt", "-c", "64", "-o", name,
        "-j", threads, refined ? "--refine-tokens" : "-q", refined ? "3200" : "-q");
    if (run.code != 0)
        fail_msg("%s", run.err);
}

/* Judged by text that it was not fitted to. */
static void
a_refined_model_is_nearer_to_its_base(void **unused)
{
    static const char *const types[] = { "Q2_K", "Q4_0" };

    (void)unused;
    write_halves();
    for (size_t i = 0; i < 2; i++) {
        double start, end;

        quantize(types[i], "start.gguf", "2", false);
        quantize(types[i], "end.gguf", "2", true);
        assert_non_null(strstr(run.out, "refined: 29 of 29 matrices, by 3200 tokens"));
        start = divergence_of(SAMPLE, "start.gguf");
        end = divergence_of(SAMPLE, "end.gguf");
        if (!(end < 0.7 * start))
            fail_msg("%s: %g became %g", types[i], start, end);
        scratch_remove("start.gguf");
        if (i == 0)
            scratch_remove("end.gguf");
    }
    assert_false(scratch_exists(scratch_path("end.gguf.refining")));
    RUN(&run, "check", "end.gguf");
    assert_int_equal(run.code, 0);
}

/* "end.gguf" was made by two threads. */
static void
threads_do_not_change_a_refined_file(void **unused)
{
    (void)unused;
    quantize("Q4_0", "one.gguf", "1", true);
    assert_true(scratch_hash(scratch_path("one.gguf")) == scratch_hash(scratch_path("end.gguf")));
}

static void
states_in_a_file_do_not_change_a_refined_file(void **unused)
{
    (void)unused;
    scratch_folder("states");
    RUN(&run, "quantize", SAMPLE, "-t", "Q4_0", "--refine", "first.txt", "-c", "64", "-o", "spilled.gguf",
        "--refine-tokens", "3200", "--scratch", scratch_path("states"));
    assert_int_equal(run.code, 0);
    assert_true(scratch_hash(scratch_path("spilled.gguf")) == scratch_hash(scratch_path("end.gguf")));
    assert_int_equal(rmdir(scratch_path("states")), 0); /* it is empty */
}

static void
a_disk_without_room_for_states_is_told(void **unused)
{
    const char *disk = scratch_path("small");

    (void)unused;
    scratch_folder("small");
    scratch_small_disk(disk, "size=1m");
    RUN(&run, "quantize", SAMPLE, "-t", "Q4_0", "--refine", "first.txt", "-c", "64", "-o", "x.gguf", "--scratch", disk);
    scratch_small_disk_gone(disk);
    if (run.code != 4 || strstr(run.err, "cannot hold a file of") == NULL)
        fail_msg("exit code %d: %s", run.code, run.err);
    assert_false(scratch_exists(scratch_path("x.gguf")) || scratch_exists(scratch_path("x.gguf.refining")));
}

/* Each expert by its own tokens, and one that no token reaches stays as it is. */
static void
experts_are_refined_by_the_tokens_they_get(void **unused)
{
    double start, end;

    (void)unused;
    RUN(&run, "quantize", SAMPLE, "-t", "F32", "-o", "dense.gguf");
    mixture_of("dense.gguf", "mixture.gguf", 3, 2);
    RUN(&run, "quantize", "mixture.gguf", "-t", "Q4_0", "--pure", "--calibrate", "first.txt", "-c", "64", "-o",
        "start.gguf");
    assert_int_equal(run.code, 0);
    RUN(&run, "quantize", "mixture.gguf", "-t", "Q4_0", "--pure", "--refine", "first.txt", "-c", "64",
        "--refine-tokens", "4096", "-o", "mixed.gguf");
    assert_int_equal(run.code, 0);
    start = divergence_of("mixture.gguf", "start.gguf");
    end = divergence_of("mixture.gguf", "mixed.gguf");
    if (!(end < 0.7 * start))
        fail_msg("%g became %g: %s", start, end, run.out);
    scratch_remove("start.gguf");
}

/* What is copied as it is has lost nothing, and would only be made to repair what others lose. */
static void
weights_that_are_copied_stay(void **unused)
{
    (void)unused;
    RUN(&run, "quantize", SAMPLE, "-t", "F16", "--tensor-type", "ffn=mxfp4", "-o", "source.gguf");
    assert_int_equal(run.code, 0);
    RUN(&run, "quantize", "source.gguf", "-t", "Q4_0", "--tensor-type", "ffn=mxfp4", "--refine", "first.txt", "-c",
        "64", "--refine-tokens", "1024", "--allow-requantize", "-o", "copied.gguf");
    assert_int_equal(run.code, 0);
    assert_non_null(strstr(run.out, " of 17 matrices"));
    RUN(&run, "diff", "source.gguf", "copied.gguf");
    assert_non_null(strstr(run.out, "attn_q"));
    assert_null(strstr(run.out, "ffn_"));
}

/* Stopped in the middle, and taken up again: the file is the same. */
static void
a_stopped_run_is_taken_up_again_to_the_same_bytes(void **unused)
{
    const struct timespec moment = { 0, 20000000 };
    int status, tries = 0;

    (void)unused;
    for (bool stopped = false; !stopped && tries < 10; tries++) { /* a fast machine may be done before */
        pid_t child;

        scratch_remove("again.gguf");
        child = fork();
        if (child == 0) {
            execl(NIBBLE_PROGRAM, "nibble", "quantize", SAMPLE, "-t", "Q4_0", "--refine", scratch_path("first.txt"),
                  "-c", "64", "-o", scratch_path("again.gguf"), "-j", "1", "--refine-tokens", "3200", (char *)NULL);
            _exit(127);
        }
        for (int i = 0; i < 3000 && !scratch_exists(scratch_path("again.gguf.refining.state")) &&
                        waitpid(child, &status, WNOHANG) == 0;
             i++)
            nanosleep(&moment, NULL);
        kill(child, SIGINT);
        waitpid(child, &status, 0);
        stopped = scratch_exists(scratch_path("again.gguf.refining.state"));
    }
    assert_true(tries < 10 && scratch_exists(scratch_path("again.gguf.refining")) &&
                !scratch_exists(scratch_path("again.gguf")));
    quantize("Q4_0", "again.gguf", "2", true);
    assert_non_null(strstr(run.err, "going on with what a stopped run left"));
    assert_non_null(strstr(run.out, "refined: 29 of 29 matrices, by 3200 tokens"));
    assert_true(scratch_hash(scratch_path("again.gguf")) == scratch_hash(scratch_path("end.gguf")));
    assert_false(scratch_exists(scratch_path("again.gguf.refining")) ||
                 scratch_exists(scratch_path("again.gguf.refining.state")));
}

/* The F32 file DENSE with an output matrix of its own. */
static void
untied_of(const char *dense, const char *name)
{
    struct gguf_maker g = { .count = 0 };
    struct nb_view_reader reader = { 0 };
    struct nb_source source;

    assert_int_equal(nb_source_open(&source, scratch_path(dense), NULL, &err), NB_OK);
    for (size_t i = 0; i < source.n_tensors; i++) {
        const struct nb_view *t = &source.tensors[i];
        const uint64_t rows = t->n_dims > 1 ? t->ne[1] : 1;
        const bool is_embedding = strcmp(t->name, "token_embd.weight") == 0;
        float *to = make_tensor(&g, t->name, t->ne[0], t->n_dims > 1 ? rows : 0, 1);

        assert_int_equal(nb_view_rows(t, 0, rows, to, &reader, &err), NB_OK);
        if (is_embedding) {
            to = make_tensor(&g, "output.weight", t->ne[0], rows, 1);
            assert_int_equal(nb_view_rows(t, 0, rows, to, &reader, &err), NB_OK);
        }
    }
    nb_view_reader_free(&reader);
    make_file(&g, &source.meta, name);
    nb_source_close(&source);
}

struct stopping {
    const char *where; /* NULL: nowhere */
    volatile sig_atomic_t stop;
};

static void
stop_there(void *context, const char *what, double share)
{
    struct stopping *s = context;

    (void)share;
    if (s->where != NULL && strstr(what, s->where) == what)
        s->stop = 1;
}

/* Refines a copy PATH of "untied_q.gguf", until it is at WHERE. */
static enum nb_status
refine_until(const char *where, const char *path)
{
    struct stopping stopping = { where, 0 };
    const struct nb_refine_options o = { .chunk_tokens = 64,
                                         .threads = 1,
                                         .bos = -1,
                                         .state = scratch_path("untied.state"),
                                         .progress = stop_there,
                                         .context = &stopping,
                                         .stop = &stopping.stop };
    struct nb_refine_summary summary;
    struct nb_source source;
    struct nb_model model;
    const struct nb_text text = { .name = scratch_path("first.txt") };
    struct nb_ids ids = { 0 };
    int64_t bos;
    enum nb_status status;

    assert_int_equal(nb_source_open(&source, scratch_path("untied.gguf"), NULL, &err), NB_OK);
    assert_int_equal(nb_model_open(&model, &source, &err), NB_OK);
    assert_int_equal(nb_calibration_chunks(&source, &text, 64, &ids, &bos, &err), NB_OK);
    status = nb_refine_file(&model, scratch_path(path), ids.id, ids.count < 3200 ? ids.count : 3200, &o, &summary,
                            &err);
    nb_ids_free(&ids);
    nb_model_close(&model);
    nb_source_close(&source);
    return status;
}

/* A fast machine may have done what was to be stopped; then the file is whole, and stays as it is. */
static void
an_output_of_its_own_is_a_step_that_is_taken_up_again(void **unused)
{
    static const char *const places[] = { "block 2 ", "the output matrix" };
    size_t length;
    void *start;

    (void)unused;
    untied_of("dense.gguf", "untied.gguf");
    RUN(&run, "quantize", "untied.gguf", "-t", "Q4_0", "--pure", "-o", "untied_q.gguf");
    assert_int_equal(run.code, 0);
    start = scratch_read(scratch_path("untied_q.gguf"), &length);
    scratch_write("whole.gguf", start, length);
    assert_int_equal(refine_until(NULL, "whole.gguf"), NB_OK);
    assert_true(scratch_hash(scratch_path("whole.gguf")) != scratch_hash(scratch_path("untied_q.gguf")));
    for (size_t i = 0; i < 2; i++) {
        enum nb_status status;

        scratch_write("parts.gguf", start, length);
        status = refine_until(places[i], "parts.gguf");
        assert_true(status == NB_INTERRUPTED || status == NB_OK);
        if (status == NB_INTERRUPTED) {
            assert_true(scratch_exists(scratch_path("untied.state")));
            assert_int_equal(refine_until(NULL, "parts.gguf"), NB_OK);
        }
        assert_true(scratch_hash(scratch_path("parts.gguf")) == scratch_hash(scratch_path("whole.gguf")));
        assert_false(scratch_exists(scratch_path("untied.state")));
    }
    free(start);
}

/* By no text but its own; a second time to the same bytes, and the file tells so. */
static void
a_model_is_refined_by_what_it_writes(void **unused)
{
    double start, end;

    (void)unused;
    RUN(&run, "quantize", SAMPLE, "-t", "Q2_K", "-o", "plain.gguf");
    for (int i = 0; i < 2; i++) {
        RUN(&run, "quantize", SAMPLE, "-t", "Q2_K", "--refine", "self", "-c", "64", "--refine-tokens", "2048", "-j",
            i == 0 ? "2" : "1", "-o", i == 0 ? "own.gguf" : "own2.gguf");
        if (run.code != 0)
            fail_msg("%s", run.err);
    }
    assert_true(scratch_hash(scratch_path("own.gguf")) == scratch_hash(scratch_path("own2.gguf")));
    start = divergence_of(SAMPLE, "plain.gguf");
    end = divergence_of(SAMPLE, "own.gguf");
    if (!(end < 0.6 * start))
        fail_msg("%g became %g", start, end);
    RUN(&run, "inspect", "own.gguf", "--json");
    assert_non_null(strstr(run.out, "\"quantize.imatrix.file\":\"self\""));
}

static void
refinement_that_cannot_be_done_is_refused_before_the_work(void **unused)
{
    (void)unused;
    scratch_write_text("short.txt", "Once upon a time there was a little dog.");
    RUN(&run, "quantize", SAMPLE, "--refine", "short.txt", "-o", "x.gguf");
    assert_int_equal(run.code, 3);
    assert_non_null(strstr(run.err, "fewer than a chunk"));
    RUN(&run, "quantize", SAMPLE, "--refine", "first.txt", "-o", "end.gguf");
    assert_int_equal(run.code, 2);
    assert_non_null(strstr(run.err, "exists already"));
    RUN(&run, "quantize", SAMPLE, "--scratch", ".", "-o", "x.gguf");
    assert_int_equal(run.code, 2);
    RUN(&run, "quantize", SAMPLE, "--refine", "first.txt", "--scratch", "nowhere", "-o", "x.gguf");
    assert_int_equal(run.code, 3);
    assert_non_null(strstr(run.err, "nowhere: "));
    RUN(&run, "quantize", SAMPLE, "--refine-tokens", "1000", "-o", "x.gguf");
    assert_int_equal(run.code, 2);
    assert_false(scratch_exists(scratch_path("x.gguf")) || scratch_exists(scratch_path("x.gguf.refining")));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_taken_apart_are_put_together_again),
        cmocka_unit_test(rows_of_mlx_taken_apart_are_put_together_again),
        cmocka_unit_test(no_row_gets_worse),
        cmocka_unit_test(what_does_not_help_held_out_tokens_is_not_taken),
        cmocka_unit_test(the_error_of_earlier_layers_is_made_up_for),
        cmocka_unit_test(a_singular_matrix_of_moments_is_no_trouble),
        cmocka_unit_test(inputs_that_are_no_numbers_are_refused),
        cmocka_unit_test(a_refined_model_is_nearer_to_its_base),
        cmocka_unit_test(threads_do_not_change_a_refined_file),
        cmocka_unit_test(states_in_a_file_do_not_change_a_refined_file),
        cmocka_unit_test(a_disk_without_room_for_states_is_told),
        cmocka_unit_test(experts_are_refined_by_the_tokens_they_get),
        cmocka_unit_test(weights_that_are_copied_stay),
        cmocka_unit_test(a_stopped_run_is_taken_up_again_to_the_same_bytes),
        cmocka_unit_test(an_output_of_its_own_is_a_step_that_is_taken_up_again),
        cmocka_unit_test(a_model_is_refined_by_what_it_writes),
        cmocka_unit_test(refinement_that_cannot_be_done_is_refused_before_the_work),
    };

    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
