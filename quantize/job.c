#include "quantize/job.h"

#include "formats/base/checked.h"
#include "formats/elements/decode.h"
#include "formats/models/view_panel.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/*
 * Elements per tile, a multiple of every block size. The stored, float and
 * encoded data of a tile fit a second-level cache together: 65,536 BF16
 * weights take 128 KiB, 256 KiB and less than 256 KiB. With importance a tile
 * is as many whole rows as fit, at least one.
 */
#define TILE 65536u
/* Elements of a tile that are converted at once: they fit the first-level cache. */
#define CHUNK 8192u

struct tile {
    const struct nb_output *output;
    uint64_t first, count; /* elements */
};

/* How an output is divided: into spans, which no tile crosses, and these into tiles. */
struct cut {
    uint64_t span, tile, tiles_in_span, tiles;
};

/* The buffers and position of one thread. A worker gets tiles in ascending order, so it searches forward only. */
struct worker {
    struct nb_view_reader reader;
    float *floats;
    unsigned char *done;
    const struct nb_output *output;
    uint64_t before; /* number of tiles of the previous outputs */
    struct cut cut;
};

struct run {
    const struct nb_run_job *job;
    struct nb_view_panel *panel; /* for transposed views */
    struct worker *workers;
    uint64_t largest_done, largest_chunk; /* bytes, elements */
    atomic_uint_fast64_t bytes_done;
};

static uint64_t
bytes_of(enum nb_type type, uint64_t elements)
{
    const struct nb_type_info *info = nb_type_info(type);

    return elements / info->block * info->block_bytes;
}

/* --- cutting ---------------------------------------------------------------------------------------------- */

static struct cut
cut_output(const struct nb_output *o)
{
    const uint64_t *ne = o->view->ne;
    struct cut cut = { .span = o->view->elements, .tile = TILE };

    if (o->importance != NULL) {
        cut.span = ne[0] * ne[1];
        cut.tile = ne[0] < TILE ? TILE / ne[0] * ne[0] : ne[0];
    }
    cut.tiles_in_span = (cut.span + cut.tile - 1) / cut.tile;
    cut.tiles = cut.span == 0 ? 0 : o->view->elements / cut.span * cut.tiles_in_span;
    return cut;
}

static struct tile
tile_of(const struct nb_output *o, const struct cut *cut, uint64_t number)
{
    const uint64_t within = number % cut->tiles_in_span * cut->tile;
    const uint64_t left = cut->span - within;

    return (struct tile){ o, number / cut->tiles_in_span * cut->span + within, left < cut->tile ? left : cut->tile };
}

/*
 * Elements per chunk: with importance, all rows of the tile, since one row per lane is summed for the
 * mean squares.
 */
static uint64_t
chunk_elements(const struct nb_output *o)
{
    const uint64_t row = o->view->ne[0];

    return o->importance == NULL ? CHUNK : row < TILE ? TILE / row * row : row;
}

uint64_t
nb_job_tiles(const struct nb_output *outputs, size_t n_outputs)
{
    uint64_t tiles = 0;

    for (size_t i = 0; i < n_outputs; i++)
        tiles += cut_output(&outputs[i]).tiles;
    return tiles;
}

/* --- converting ------------------------------------------------------------------------------------------- */

static enum nb_status
nonfinite_error(const struct tile *tile, uint64_t at, struct nb_error *err)
{
    const struct nb_view *v = tile->output->view;
    const uint64_t element = tile->first + at;

    return nb_fail(err, NB_INPUT,
                   "tensor '%s' (%s): element %" PRIu64 " (row %" PRIu64 ", column %" PRIu64
                   ") is NaN or infinite (--allow-nonfinite writes it all the same)",
                   v->source_name, v->name, element, element / v->ne[0], element % v->ne[0]);
}

static enum nb_status
overflow_error(const struct tile *tile, const char *type, uint64_t at, struct nb_error *err)
{
    const struct nb_view *v = tile->output->view;

    return nb_fail(err, NB_INPUT, "tensor '%s' (%s): near element %" PRIu64 " a value is too large for %s",
                   v->source_name, v->name, tile->first + at, type);
}

/* A part of a tile: COUNT elements from element AT of the tile on. */
struct chunk {
    uint64_t at, count;
};

/* Rounds the floats to type VIA and back, as an intermediate file would; DONE is used as a buffer. */
static enum nb_status
round_via(const struct run *r, struct worker *w, const struct tile *tile, const struct chunk *c, unsigned char *done,
          struct nb_error *err)
{
    const enum nb_type via = tile->output->via;
    const size_t n = (size_t)c->count;
    size_t bad;

    nb_encode(via, w->floats, 1, n, NULL, done);
    bad = nb_find_nonfinite(via, done, n);
    if (bad < n && !r->job->allow_nonfinite)
        return overflow_error(tile, nb_type_info(via)->name, c->at + bad, err);
    nb_decode(via, done, n, w->floats);
    return NB_OK;
}

static void
encode(const struct tile *tile, const struct chunk *c, const float *x, void *out)
{
    const struct nb_output *o = tile->output;
    const uint64_t *ne = o->view->ne;

    if (o->importance == NULL)
        o->encoding.encode(&o->encoding, x, 1, (size_t)c->count, NULL, out);
    else /* chunks are whole rows, and no tile crosses experts */
        o->encoding.encode(&o->encoding, x, (size_t)(c->count / ne[0]), (size_t)ne[0],
                           o->importance + tile->first / (ne[0] * ne[1]) * ne[0], out);
}

static uint64_t
encoded_bytes(const struct nb_encoding *e, uint64_t elements)
{
    uint64_t bytes = 0;

    for (unsigned i = 0; i < e->n_planes; i++)
        bytes += elements / e->block * e->plane_bytes[i];
    return bytes;
}

static bool
is_only_copied(const struct nb_output *o)
{
    return o->view->type == o->encoding.type && o->via == NB_TYPE_NONE && nb_view_is_stored(o->view);
}

/* Converts a chunk from the source's type to encoded elements at DONE, and checks it while it is in the cache. */
static enum nb_status
convert_chunk(const struct run *r, struct worker *w, const struct tile *tile, const struct chunk *c,
              unsigned char *done, struct nb_error *err)
{
    const struct nb_output *o = tile->output;
    const enum nb_type to = o->encoding.type;
    const bool strict = !r->job->allow_nonfinite;
    const size_t n = (size_t)c->count;
    enum nb_status status = NB_OK;
    uint64_t bad;

    if (strict && (bad = nb_view_find_nonfinite(o->view, &w->reader, c->at, n)) < n)
        return nonfinite_error(tile, c->at + bad, err);
    if (is_only_copied(o))
        return NB_OK;
    nb_view_decode(o->view, &w->reader, c->at, n, w->floats);
    if (o->via != NB_TYPE_NONE)
        status = round_via(r, w, tile, c, done, err);
    if (status != NB_OK)
        return status;
    encode(tile, c, w->floats, done);
    if (o->lost != NULL && o->encoding.count_lost != NULL)
        atomic_fetch_add_explicit(o->lost, o->encoding.count_lost(&o->encoding, w->floats, n, done),
                                  memory_order_relaxed);
    if (strict && to != NB_TYPE_NONE && (bad = nb_find_nonfinite(to, done, n)) < n)
        return overflow_error(tile, o->encoding.name, c->at + bad, err);
    return NB_OK;
}

/* Moves the planes of a chunk, one after another at BYTES, to their places among those of the tile, in the same form. */
static void
gather_planes(struct worker *w, const struct tile *tile, const struct chunk *c, const unsigned char *bytes)
{
    const struct nb_encoding *e = &tile->output->encoding;
    unsigned char *plane = w->done;

    for (unsigned i = 0; i < e->n_planes; i++) {
        const uint64_t size = c->count / e->block * e->plane_bytes[i];

        memcpy(plane + c->at / e->block * e->plane_bytes[i], bytes, (size_t)size);
        plane += tile->count / e->block * e->plane_bytes[i];
        bytes += size;
    }
}

/* Writes the encoded elements of a tile, each plane at its offset. */
static enum nb_status
write_tile(const struct run *r, const struct tile *tile, const unsigned char *bytes, struct nb_error *err)
{
    const struct nb_encoding *e = &tile->output->encoding;
    enum nb_status status = NB_OK;

    for (unsigned i = 0; i < e->n_planes && status == NB_OK; i++) {
        const uint64_t size = tile->count / e->block * e->plane_bytes[i];
        const uint64_t before = tile->first / e->block * e->plane_bytes[i];

        status = nb_out_write(&r->job->files[tile->output->plane[i].file], tile->output->plane[i].offset + before,
                              bytes, size, err);
        bytes += size;
    }
    return status;
}

/* With several planes each chunk is encoded behind the tile's planes, and then divided among them. */
static enum nb_status
convert_fetched(const struct run *r, struct worker *w, const struct tile *tile, struct nb_error *err)
{
    const struct nb_output *o = tile->output;
    const bool has_planes = o->encoding.n_planes > 1;
    const uint64_t step = chunk_elements(o);
    enum nb_status status = NB_OK;

    for (struct chunk c = { .at = 0 }; c.at < tile->count && status == NB_OK; c.at += step) {
        unsigned char *done = w->done + encoded_bytes(&o->encoding, has_planes ? tile->count : c.at);

        c.count = tile->count - c.at < step ? tile->count - c.at : step;
        status = convert_chunk(r, w, tile, &c, done, err);
        if (status == NB_OK && has_planes)
            gather_planes(w, tile, &c, done);
    }
    return status != NB_OK ? status : write_tile(r, tile, is_only_copied(o) ? w->reader.elements : w->done, err);
}

static enum nb_status
do_tile(const struct run *r, struct worker *w, const struct tile *tile, struct nb_error *err)
{
    enum nb_status status = nb_view_fetch_shared(tile->output->view, tile->first, tile->count, &w->reader, r->panel,
                                                 err);

    if (status == NB_OK) {
        status = convert_fetched(r, w, tile, err);
        nb_view_release(&w->reader, r->panel);
    }
    return status;
}

/* --- running ------------------------------------------------------------------------------------------------ */

static enum nb_status
begin_work(const struct run *r, struct worker *w, struct nb_error *err)
{
    w->floats = nb_malloc(r->largest_chunk * sizeof *w->floats);
    w->done = nb_malloc(r->largest_done);
    if (w->floats == NULL || w->done == NULL)
        return nb_fail_memory(err);
    w->output = r->job->outputs;
    w->cut = cut_output(w->output);
    return NB_OK;
}

static enum nb_status
do_task(void *context, size_t task, unsigned worker, struct nb_error *err)
{
    struct run *r = context;
    struct worker *w = &r->workers[worker];
    const uint64_t number = r->job->first_tile + task;
    struct tile tile;
    enum nb_status status = NB_OK;

    if (w->output == NULL)
        status = begin_work(r, w, err);
    if (status != NB_OK)
        return status;
    while (number - w->before >= w->cut.tiles) {
        w->before += w->cut.tiles;
        w->cut = cut_output(++w->output);
    }
    tile = tile_of(w->output, &w->cut, number - w->before);
    status = do_tile(r, w, &tile, err);
    atomic_fetch_add_explicit(&r->bytes_done, bytes_of(tile.output->view->type, tile.count), memory_order_relaxed);
    return status;
}

/* Reports progress and starts writing back what has been written. */
static void
look(void *context)
{
    struct run *r = context;

    if (r->job->progress != NULL)
        r->job->progress(r->job->context, atomic_load(&r->bytes_done));
    for (uint32_t i = 0; i < r->job->n_files; i++)
        nb_out_flush(&r->job->files[i]);
}

/* Computes the sizes of the workers' buffers. */
static void
measure_buffers(struct run *r)
{
    for (size_t i = 0; i < r->job->n_outputs; i++) {
        const struct nb_output *o = &r->job->outputs[i];
        const uint64_t chunk = chunk_elements(o);
        /* Rounding a chunk to VIA temporarily needs more room than its encoded form; one of several planes comes behind. */
        const uint64_t done = encoded_bytes(&o->encoding, cut_output(o).tile) + encoded_bytes(&o->encoding, chunk) +
                              chunk * sizeof(float);

        r->largest_chunk = chunk > r->largest_chunk ? chunk : r->largest_chunk;
        r->largest_done = done > r->largest_done ? done : r->largest_done;
    }
}

enum nb_status
nb_job_run(const struct nb_run_job *job, struct nb_pool *pool, struct nb_error *err)
{
    const unsigned threads = nb_pool_threads(pool);
    struct run r = { .job = job, .panel = nb_view_panel_new(), .workers = calloc(threads, sizeof *r.workers) };
    const struct nb_pool_watch watch = { look, &r, job->stop };
    enum nb_status status;

    measure_buffers(&r);
    status = r.workers == NULL || r.panel == NULL
                 ? nb_fail_memory(err)
                 : nb_pool_run_watched(pool, do_task, &r, (size_t)(job->end_tile - job->first_tile), &watch, err);
    for (unsigned i = 0; i < threads && r.workers != NULL; i++) {
        nb_view_reader_free(&r.workers[i].reader);
        free(r.workers[i].floats);
        free(r.workers[i].done);
    }
    free(r.workers);
    nb_view_panel_free(r.panel);
    return status;
}
