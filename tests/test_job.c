/* Jobs: tiles that can be done in any part, by any threads, into several planes at their places. */
#include "formats/base/file_out.h"
#include "formats/base/pool.h"
#include "formats/models/view.h"
#include "quantize/job.h"
#include "quantize/search/encode.h"
#include "scratch.h"
#include "splitmix.h"
#include "testing.h"

#include <stdbool.h>

#define WIDTH 96u
#define ROWS 3000u
#define BLOCK 4u

/* A made-up encoding: four signed bytes in one plane, and their scale in another. */
static void
encode_bytes_and_scales(const struct nb_encoding *encoding, const float *x, size_t rows, size_t columns,
                        const float *importance, void *out)
{
    const size_t blocks = rows * columns / BLOCK;
    signed char *codes = out;
    unsigned char *scales = (unsigned char *)out + blocks * BLOCK;

    (void)encoding;
    (void)importance;
    for (size_t b = 0; b < blocks; b++, x += BLOCK) {
        float most = 0;

        for (unsigned i = 0; i < BLOCK; i++)
            most = fmaxf(most, fabsf(x[i]));
        most /= 127;
        memcpy(scales + b * sizeof most, &most, sizeof most);
        for (unsigned i = 0; i < BLOCK; i++)
            codes[b * BLOCK + i] = (signed char)(most > 0 ? lrintf(x[i] / most) : 0);
    }
}

static const struct nb_encoding two_planes = { .name = "bytes and scales",
                                               .type = NB_TYPE_NONE,
                                               .block = BLOCK,
                                               .n_planes = 2,
                                               .plane_bytes = { BLOCK, sizeof(float) },
                                               .encode = encode_bytes_and_scales };

struct fixture {
    float *weights;
    struct nb_tensor stored;
    struct nb_store store;
    struct nb_piece piece;
    struct nb_view view;
    struct nb_output outputs[2];
    unsigned char *codes, *scales; /* what the planes should be */
};

static void
set_up(struct fixture *f)
{
    const size_t n = (size_t)WIDTH * ROWS;
    unsigned char *whole = malloc(n * 2);
    uint64_t state = 3;

    *f = (struct fixture){ .weights = malloc(n * sizeof(float)), .codes = malloc(n), .scales = malloc(n) };
    assert_true(whole != NULL && f->weights != NULL && f->codes != NULL && f->scales != NULL);
    for (size_t i = 0; i < n; i++)
        f->weights[i] = (float)splitmix_gaussian(&state);
    f->stored = (struct nb_tensor){
        .name = "w", .type = NB_F32, .n_dims = 2, .ne = { WIDTH, ROWS, 1, 1 }, .bytes_in_memory = f->weights
    };
    assert_true(nb_tensor_measure(&f->stored));
    f->store = (struct nb_store){ &f->stored, 1, NULL, 0 };
    nb_view_whole(&f->view, &f->store, &f->stored, &f->piece);
    encode_bytes_and_scales(&two_planes, f->weights, ROWS, WIDTH, NULL, whole);
    memcpy(f->codes, whole, n);
    memcpy(f->scales, whole + n, n);
    free(whole);
    /* The two planes into two files, the second from byte 32 on; and the weights themselves after the codes. */
    f->outputs[0] = (struct nb_output){ .view = &f->view, .encoding = two_planes, .via = NB_TYPE_NONE };
    f->outputs[0].plane[1].file = 1;
    f->outputs[0].plane[1].offset = 32;
    f->outputs[1] = (struct nb_output){ .view = &f->view, .encoding = nb_encoding_of(NB_F32), .via = NB_TYPE_NONE };
    f->outputs[1].plane[0].offset = n;
}

static void
tear_down(struct fixture *f)
{
    free(f->weights);
    free(f->codes);
    free(f->scales);
}

/* Runs tiles FIRST to END by THREADS threads into files A and B. */
static void
run_tiles(const struct fixture *f, struct nb_file_out *files, uint64_t first, uint64_t end, unsigned threads)
{
    const struct nb_run_job job = {
        .outputs = f->outputs, .n_outputs = 2, .files = files, .n_files = 2, .first_tile = first, .end_tile = end
    };
    struct nb_pool *pool;
    struct nb_error err;

    assert_int_equal(nb_pool_new(&pool, threads, &err), NB_OK);
    if (nb_job_run(&job, pool, &err) != NB_OK)
        fail_msg("%s", err.message);
    nb_pool_free(pool);
}

static void
check_files(const struct fixture *f)
{
    const size_t n = (size_t)WIDTH * ROWS;
    size_t size;
    unsigned char *a = scratch_read(scratch_path("a"), &size), *b;

    assert_int_equal(size, 5 * n);
    assert_memory_equal(a, f->codes, n);
    assert_memory_equal(a + n, f->weights, 4 * n);
    b = scratch_read(scratch_path("b"), &size);
    assert_int_equal(size, 32 + n);
    assert_memory_equal(b + 32, f->scales, n);
    free(a);
    free(b);
}

static void
planes_and_parts_give_the_same_files(void **unused)
{
    static const unsigned threads[] = { 1, 2, 5 };
    const size_t n = (size_t)WIDTH * ROWS;
    struct fixture f;
    uint64_t tiles;

    (void)unused;
    set_up(&f);
    tiles = nb_job_tiles(f.outputs, 2);
    assert_true(tiles > 4);
    for (size_t t = 0; t < sizeof threads / sizeof threads[0]; t++) {
        for (uint64_t cut = 0; cut <= tiles; cut++) { /* two parts, the second first */
            struct nb_file_out files[2];
            struct nb_error err;

            assert_int_equal(nb_out_create(&files[0], scratch_path("a"), 5 * n, true, &err), NB_OK);
            assert_int_equal(nb_out_create(&files[1], scratch_path("b"), 32 + n, true, &err), NB_OK);
            run_tiles(&f, files, cut, tiles, threads[t]);
            run_tiles(&f, files, 0, cut, threads[t]);
            assert_int_equal(nb_out_commit(&files[0], true, &err), NB_OK);
            assert_int_equal(nb_out_commit(&files[1], true, &err), NB_OK);
            check_files(&f);
        }
    }
    tear_down(&f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(planes_and_parts_give_the_same_files) };

    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
