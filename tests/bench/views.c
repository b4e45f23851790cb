/*
 * views FILE MEGABYTES [THREADS]: how fast weights come through the seam. Writes a made-up BF16 tensor
 * of so many megabytes to FILE and reads it as floats, tile by tile: as it is, as a stack of 64
 * matrices, with rows of heads put in another order, with every second row, and transposed. Each is
 * read three times; the best counts. Prints how fast that is beside the first, and the peak memory.
 */
#include "formats/base/file_in.h"
#include "formats/base/pool.h"
#include "formats/models/view.h"
#include "formats/models/view_panel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define WIDTH 4096u
#define STACKED 64u
#define TILE 65536u
#define CHUNK 8192u
#define TIMES 3

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

static double
now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static enum nb_status
read_tile(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    struct job *j = context;
    const uint64_t first = task * j->tile, left = j->view->elements - first, n = left < j->tile ? left : j->tile;
    enum nb_status status = nb_view_fetch_shared(j->view, first, n, &j->readers[worker], j->panel, err);

    for (uint64_t at = 0; at < n && status == NB_OK; at += CHUNK)
        nb_view_decode(j->view, &j->readers[worker], at, n - at < CHUNK ? n - at : CHUNK, j->floats[worker]);
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

/* Seconds, and of the processors, too: where others use the machine these say more. */
static double
measure(struct nb_pool *pool, const struct nb_view *view, double *cpu)
{
    struct job j = { .view = view, .tile = TILE };
    const unsigned threads = nb_pool_threads(pool);
    double best = 0;
    struct nb_error err;

    j.panel = nb_view_panel_new();
    j.readers = calloc(threads, sizeof *j.readers);
    j.floats = calloc(threads, sizeof *j.floats);
    for (unsigned i = 0; i < threads; i++)
        j.floats[i] = malloc(CHUNK * sizeof(float));
    for (int k = 0; k < TIMES; k++) {
        const double start = now(), cpu_start = cpu_seconds();

        if (nb_pool_run(pool, read_tile, &j, (size_t)((view->elements + j.tile - 1) / j.tile), &err) != NB_OK)
            die(err.message);
        if (k == 0 || now() - start < best)
            best = now() - start;
        if (k == 0 || cpu_seconds() - cpu_start < *cpu)
            *cpu = cpu_seconds() - cpu_start;
    }
    for (unsigned i = 0; i < threads; i++) {
        nb_view_reader_free(&j.readers[i]);
        free(j.floats[i]);
    }
    free(j.readers);
    nb_view_panel_free(j.panel);
    free(j.floats);
    return best;
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

static void
report(struct nb_pool *pool, const char *what, struct nb_view *v, double plain[2])
{
    struct rusage use;
    double seconds, cpu;

    if (!nb_view_measure(v))
        die(what);
    seconds = measure(pool, v, &cpu) / (2e-9 * (double)v->elements); /* for each gigabyte */
    cpu /= 2e-9 * (double)v->elements;
    if (plain[0] <= 0) {
        plain[0] = seconds;
        plain[1] = cpu;
    }
    getrusage(RUSAGE_SELF, &use);
    printf("%-28s %8.3f %8.2f %8.3f %8.2f %10.1f\n", what, seconds, plain[0] / seconds, cpu, plain[1] / cpu,
           (double)use.ru_maxrss / 1024);
    fflush(stdout);
}

int
main(int argc, char **argv)
{
    const uint64_t megabytes = argc > 2 ? strtoull(argv[2], NULL, 10) : 0, rows = megabytes * 1000000 / 2 / WIDTH / 512 * 512;
    struct nb_tensor stored = { .name = "made-up", .type = NB_BF16, .n_dims = 2, .ne = { WIDTH, rows, 1, 1 } };
    struct nb_file_in file;
    const struct nb_store store = { &stored, 1, &file, 1 };
    struct nb_piece pieces[STACKED];
    struct nb_view view;
    struct nb_pool *pool;
    struct nb_error err;
    double plain[2] = { 0 };

    if (rows == 0)
        die("views FILE MEGABYTES [THREADS]");
    write_file(argv[1], rows);
    if (!nb_tensor_measure(&stored) || nb_file_open(&file, argv[1], &err) != NB_OK ||
        nb_pool_new(&pool, argc > 3 ? (unsigned)atoi(argv[3]) : 0, &err) != NB_OK)
        die("the file cannot be read");
    printf("%-28s %8s %8s %8s %8s %10s\n", "view", "s/GB", "ratio", "CPU s/GB", "ratio", "peak MiB");

    nb_view_whole(&view, &store, &stored, pieces);
    report(pool, "as it is", &view, plain);

    view.n_pieces = STACKED;
    for (unsigned i = 0; i < STACKED; i++)
        pieces[i] = (struct nb_piece){ .stored = &stored, .start = (STACKED - 1 - i) * (rows / STACKED) * WIDTH,
                                       .pitch = WIDTH, .rows = rows / STACKED, .columns = WIDTH };
    report(pool, "a stack of 64 matrices", &view, plain);

    nb_view_whole(&view, &store, &stored, pieces);
    view.row_order = (struct nb_order){ .n = 3, .digit = { rows / 128, 64, 2 }, .stride = { 128, 1, 64 } };
    report(pool, "rows of heads reordered", &view, plain);

    view.ne[1] = rows / 2;
    view.row_order = (struct nb_order){ .n = 1, .digit = { rows / 2 }, .stride = { 2 } };
    report(pool, "every second row", &view, plain);

    nb_view_whole(&view, &store, &stored, pieces);
    view.n_pieces = STACKED;
    view.transposed = true;
    view.n_dims = 3;
    view.ne[0] = rows / STACKED;
    view.ne[1] = WIDTH;
    view.ne[2] = STACKED;
    for (unsigned i = 0; i < STACKED; i++)
        pieces[i] = (struct nb_piece){ .stored = &stored, .start = i * (rows / STACKED) * WIDTH, .pitch = WIDTH,
                                       .rows = rows / STACKED, .columns = WIDTH };
    report(pool, "64 matrices transposed", &view, plain);

    nb_view_whole(&view, &store, &stored, pieces);
    view.transposed = true;
    view.ne[0] = rows;
    view.ne[1] = WIDTH;
    report(pool, "one matrix transposed", &view, plain);

    nb_pool_free(pool);
    nb_file_close(&file);
    return 0;
}
