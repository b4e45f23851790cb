/*
 * views FILE MEGABYTES [THREADS]: how fast weights come through the seam. Writes a made-up BF16 tensor
 * of so many megabytes to FILE and reads it as floats, tile by tile: as it is, as a stack of 128
 * matrices, with rows of heads put in another order, with every second row, and transposed. All
 * are read by turns, five times; the best counts. Prints how fast that is beside the first, and the peak memory.
 */
#include "formats/base/clock.h"
#include "formats/base/file_in.h"
#include "formats/base/pool.h"
#include "formats/models/view.h"
#include "formats/models/view_panel.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define WIDTH 4096u
#define WIDE 32768u /* of the one large matrix that is transposed */
#define STACKED 128u
#define TILE 65536u
#define CHUNK 8192u
#define ROUNDS 5
#define WAYS 6

struct job {
    const struct nb_view *view;
    uint64_t tile;
    struct nb_view_reader *readers;
    struct nb_view_panel *panel;
    float **floats;
};

static void
die(const char *what)
{
    fprintf(stderr, "views: %s\n", what);
    exit(1);
}

static enum nb_status
read_tile(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    struct job *j = context;
    const uint64_t first = task * j->tile, left = j->view->elements - first, n = left < j->tile ? left : j->tile;
    enum nb_status status = nb_view_fetch_shared(j->view, first, n, &j->readers[worker], j->panel, err);

    for (uint64_t at = 0; at < n && status == NB_OK; at += CHUNK)
        nb_view_decode(j->view, &j->readers[worker], at, n - at < CHUNK ? n - at : CHUNK, j->floats[worker]);
    nb_view_release(&j->readers[worker], j->panel);
    return status;
}

static double
cpu_seconds(void)
{
    struct rusage use;

    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           1e-6 * (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
}

/* One of the ways that are compared. */
struct way {
    const char *what;
    struct nb_view view;
    struct nb_piece pieces[STACKED];
    double seconds, cpu; /* best so far, for each gigabyte; where others use the machine, CPU says more */
    double peak;         /* MiB, up to when it was first read */
};

static void
measure(struct nb_pool *pool, struct way *way)
{
    const struct nb_view *v = &way->view;
    const unsigned threads = nb_pool_threads(pool);
    struct job j = { v, v->ne[0] < TILE ? TILE / v->ne[0] * v->ne[0] : TILE, calloc(threads, sizeof *j.readers),
                     nb_view_panel_new(), calloc(threads, sizeof *j.floats) };
    const double gigabytes = 2e-9 * (double)v->elements;
    double start, cpu_start;
    struct rusage use;
    struct nb_error err;

    for (unsigned i = 0; i < threads; i++)
        j.floats[i] = malloc(CHUNK * sizeof(float));
    start = nb_seconds();
    cpu_start = cpu_seconds();
    if (nb_pool_run(pool, read_tile, &j, (size_t)((v->elements + j.tile - 1) / j.tile), &err) != NB_OK)
        die(err.message);
    way->seconds = fmin(way->seconds, (nb_seconds() - start) / gigabytes);
    way->cpu = fmin(way->cpu, (cpu_seconds() - cpu_start) / gigabytes);
    getrusage(RUSAGE_SELF, &use);
    if (way->peak <= 0)
        way->peak = (double)use.ru_maxrss / 1024;
    for (unsigned i = 0; i < threads; i++) {
        nb_view_reader_free(&j.readers[i]);
        free(j.floats[i]);
    }
    free(j.readers);
    free(j.floats);
    nb_view_panel_free(j.panel);
}

static void
write_file(const char *name, uint64_t rows)
{
    FILE *f = fopen(name, "wb");
    static uint16_t row[WIDTH];

    if (f == NULL)
        die("the file cannot be written");
    for (uint64_t r = 0; r < rows; r++) {
        for (unsigned c = 0; c < WIDTH; c++)
            row[c] = (uint16_t)(0x3C00 + (r * 31 + c) % 1024);
        if (fwrite(row, sizeof row, 1, f) != 1)
            die("the file cannot be written");
    }
    if (fclose(f) != 0)
        die("the file cannot be written");
}

/* The matrix as STACKED matrices in the order of their numbers times STEP. */
static void
cut_pieces(struct way *way, const struct nb_tensor *stored, uint64_t rows, unsigned step)
{
    way->view.n_pieces = STACKED;
    for (unsigned i = 0; i < STACKED; i++)
        way->pieces[i] = (struct nb_piece){ .stored = stored,
                                            .start = i * step % STACKED * (rows / STACKED) * WIDTH,
                                            .pitch = WIDTH,
                                            .rows = rows / STACKED,
                                            .columns = WIDTH };
}

static void
set_sides(struct nb_view *v, uint64_t a, uint64_t b, uint64_t c)
{
    v->n_dims = 3;
    v->ne[0] = a;
    v->ne[1] = b;
    v->ne[2] = c;
}

static void
make_ways(struct way *ways, const struct nb_store *store, const struct nb_tensor *stored, uint64_t rows)
{
    static const char *const what[WAYS] = { "as it is",         "a stack of 128 matrices", "rows of heads reordered",
                                            "every second row", "128 matrices transposed", "one matrix transposed" };

    for (unsigned i = 0; i < WAYS; i++) {
        ways[i] = (struct way){ .what = what[i], .seconds = INFINITY, .cpu = INFINITY };
        nb_view_whole(&ways[i].view, store, stored, ways[i].pieces);
        ways[i].view.transposed = i >= 4;
    }
    cut_pieces(&ways[1], stored, rows, 7);
    ways[2].view.row_order = (struct nb_order){ .n = 3, .digit = { rows / 128, 64, 2 }, .stride = { 128, 1, 64 } };
    ways[3].view.row_order = (struct nb_order){ .n = 1, .digit = { rows / 2 }, .stride = { 2 } };
    set_sides(&ways[3].view, WIDTH, rows / 2, 1);
    cut_pieces(&ways[4], stored, rows, 1);
    set_sides(&ways[4].view, rows / STACKED, WIDTH, STACKED);
    ways[5].pieces[0] =
        (struct nb_piece){ .stored = stored, .pitch = WIDE, .rows = rows * WIDTH / WIDE, .columns = WIDE };
    set_sides(&ways[5].view, rows * WIDTH / WIDE, WIDE, 1);
    for (unsigned i = 0; i < WAYS; i++)
        if (!nb_view_measure(&ways[i].view))
            die(what[i]);
}

int
main(int argc, char **argv)
{
    const uint64_t megabytes = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
    const uint64_t rows = megabytes * 1000000 / 2 / WIDTH / 512 * 512;
    struct nb_tensor stored = { .name = "made-up", .type = NB_BF16, .n_dims = 2, .ne = { WIDTH, rows, 1, 1 } };
    static struct way ways[WAYS];
    struct nb_file_in file;
    const struct nb_store store = { &stored, 1, &file, 1 };
    struct nb_pool *pool;
    struct nb_error err;

    if (rows == 0)
        die("views FILE MEGABYTES [THREADS]");
    write_file(argv[1], rows);
    if (!nb_tensor_measure(&stored) || nb_file_open(&file, argv[1], &err) != NB_OK ||
        nb_pool_new(&pool, argc > 3 ? (unsigned)atoi(argv[3]) : 0, &err) != NB_OK)
        die("the file cannot be read");
    make_ways(ways, &store, &stored, rows);
    for (int round = 0; round < ROUNDS; round++)
        for (unsigned i = 0; i < WAYS; i++)
            measure(pool, &ways[i]);
    printf("%-28s %8s %8s %8s %8s %10s\n", "view", "s/GB", "ratio", "CPU s/GB", "ratio", "peak MiB");
    for (unsigned i = 0; i < WAYS; i++)
        printf("%-28s %8.3f %8.2f %8.3f %8.2f %10.1f\n", ways[i].what, ways[i].seconds,
               ways[0].seconds / ways[i].seconds, ways[i].cpu, ways[0].cpu / ways[i].cpu, ways[i].peak);
    nb_pool_free(pool);
    nb_file_close(&file);
    return 0;
}
