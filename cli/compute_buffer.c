#include "cli/compute_buffer.h"

#include "cli/cache_size.h"
#include "cli/graph_memory.h"
#include "cli/model_shape.h"
#include "formats/elements/types.h"

#include <string.h>

#define CPU_ALIGNMENT 32u
#define GPU_ALIGNMENT 128u
#define SMALLEST_ROTATION 64u /* values are rotated so many at a time, and keys if they divide into such parts */

/* What the attention of all full layers, or of all that slide, takes besides results. */
struct attention_inputs {
    struct graph_block key_rotation, value_rotation; /* matrices, for caches of quantized types */
    struct graph_block key_cells, value_cells;       /* where a token's key and value are put */
    struct graph_block mask;
};

/*
 * The computation in the making. Results are taken and given back in the order in which llama.cpp's graph
 * computes them; what it computes in place, such as sums, norms with weights, and rotations, does not appear.
 */
struct graph {
    struct graph_memory memory;
    const struct model_shape *shape;
    const struct cache_size *cache;
    uint64_t tokens, cells; /* in a batch; in a full layer's cache */
    bool is_quantized;      /* the cache is */
    bool rotates;           /* keys and values are rotated before they are quantized */
    bool on_gpu;
    struct attention_inputs inputs[2]; /* of full layers, of sliding ones */
    struct graph_block positions, output_ids;
    struct graph_block residual;
};

/* LENGTH floats for each token. */
static struct graph_block
take(struct graph *g, uint64_t length)
{
    return graph_take(&g->memory, length * g->tokens * sizeof(float));
}

static void
give(struct graph *g, struct graph_block block)
{
    graph_give(&g->memory, block);
}

/* What takes the place of BLOCK, as another result that cannot be computed in place. */
static struct graph_block
replace(struct graph *g, struct graph_block block, uint64_t length)
{
    const struct graph_block result = take(g, length);

    give(g, block);
    return result;
}

static bool
has_layer(const struct graph *g, bool slides)
{
    for (uint64_t i = 0; i < g->shape->layers; i++)
        if (g->cache->layer[i].slides == slides)
            return true;
    return false;
}

static bool
is_last_of_kind(const struct graph *g, uint64_t number)
{
    for (uint64_t i = number + 1; i < g->shape->layers; i++)
        if (g->cache->layer[i].slides == g->cache->layer[number].slides)
            return false;
    return true;
}

static struct graph_block
take_square(struct graph *g, uint64_t side)
{
    return graph_take(&g->memory, side * side * sizeof(float));
}

/* The side of the largest rotation, a power of two that divides a key. */
static uint64_t
key_rotation(const struct graph *g)
{
    uint64_t side = SMALLEST_ROTATION;

    while (g->shape->key_length % (2 * side) == 0)
        side *= 2;
    return side;
}

/* What is first used in a layer that SLIDES, or does not: of all such layers in the order of use. */
static void
take_attention_inputs(struct graph *g, bool slides, bool is_first)
{
    struct attention_inputs *inputs = &g->inputs[slides];
    const uint64_t cells = slides ? g->cache->window_cells : g->cells;

    if (g->rotates)
        inputs->key_rotation = take_square(g, key_rotation(g));
    if (is_first)
        g->positions = graph_take(&g->memory, g->tokens * sizeof(int32_t));
    if (g->rotates)
        inputs->value_rotation = take_square(g, SMALLEST_ROTATION);
    inputs->key_cells = graph_take(&g->memory, g->tokens * sizeof(int64_t));
    inputs->value_cells = graph_take(&g->memory, g->tokens * sizeof(int64_t));
    inputs->mask = graph_take(&g->memory, cells * g->tokens * sizeof(uint16_t));
}

static void
take_inputs(struct graph *g)
{
    const bool slides = g->cache->layer[0].slides;
    const struct graph_block ids = graph_take(&g->memory, g->tokens * sizeof(int32_t));

    if (!g->on_gpu)
        (void)take(g, g->shape->embedding); /* for embeddings in place of ids: never used, nor given back */
    take_attention_inputs(g, slides, true);
    if (has_layer(g, !slides))
        take_attention_inputs(g, !slides, false);
    g->output_ids = graph_take(&g->memory, g->tokens * sizeof(int32_t));
    g->residual = take(g, g->shape->embedding);
    give(g, ids);
}

/*
 * A query, a key or (if not HAS_POSITION) a value of LENGTH. Norms and rotations are not computed in the place of the
 * matrix product that they change. A part of a fused product is used where it is, until it is changed. LAST is given
 * back with the last use of what this is computed from.
 */
static struct graph_block
project(struct graph *g, const struct layer_shape *l, uint64_t length, bool has_position, struct graph_block last)
{
    const bool is_fused = l->qkv > 0;
    struct graph_block result = { 0 };

    if (!is_fused || has_position || g->rotates)
        result = take(g, length);
    give(g, last);
    if (!is_fused && has_position)
        result = replace(g, result, length);
    return g->rotates ? replace(g, result, length) : result;
}

/*
 * The query of layer NUMBER; its key and value have been put into the cache. With layers that slide, llama.cpp
 * computes keys before values.
 */
static struct graph_block
query(struct graph *g, const struct layer_shape *l, struct attention_inputs *inputs, uint64_t number)
{
    const struct graph_block none = { 0 }, norm = l->attn_norm ? take(g, g->shape->embedding) : none;
    const struct graph_block input = l->qkv > 0 ? replace(g, norm, l->qkv) : norm;
    const struct graph_block q = project(g, l, l->q, true, none);
    const bool keys_first = g->cache->sliding > 0, is_last = is_last_of_kind(g, number);
    const bool stays = l->qkv > 0 && !g->rotates; /* INPUT has the value in it */
    struct graph_block k = none, v;

    if (keys_first)
        k = project(g, l, l->k, true, none);
    v = project(g, l, l->v, false, keys_first && !stays ? input : none);
    if (!keys_first)
        k = project(g, l, l->k, true, stays ? none : input);
    if (number + 1 == g->shape->layers)
        give(g, g->positions);
    if (is_last)
        give(g, inputs->key_rotation);
    give(g, k);
    if (is_last)
        give(g, inputs->key_cells);
    give(g, stays ? input : v);
    if (is_last)
        give(g, inputs->value_cells);
    return q;
}

/* On a GPU, attention also takes room for the keys and values of the layer as F16, if they are of a quantized type. */
static uint64_t
unpacked(const struct graph *g, const struct layer_shape *l, uint64_t number)
{
    const uint64_t cells = g->cache->layer[number].slides ? g->cache->window_cells : g->cells;

    return g->on_gpu && g->is_quantized ? cells * (l->k + l->v) * sizeof(uint16_t) : 0;
}

static struct graph_block
attention(struct graph *g, const struct layer_shape *l, uint64_t number)
{
    struct attention_inputs *inputs = &g->inputs[g->cache->layer[number].slides];
    const bool is_last = is_last_of_kind(g, number);
    const struct graph_block q = query(g, l, inputs, number);
    struct graph_block result = graph_take(&g->memory,
                                           l->attended * g->tokens * sizeof(float) + unpacked(g, l, number));

    give(g, q);
    if (is_last)
        give(g, inputs->mask);
    if (g->rotates)
        result = replace(g, result, l->attended);
    if (is_last)
        give(g, inputs->value_rotation);
    return replace(g, result, g->shape->embedding);
}

/* The product of two results; or one alone, which is changed in place. */
static struct graph_block
feed_forward(struct graph *g, const struct ffn_shape *f, uint64_t copies, struct graph_block input)
{
    struct graph_block gate = { 0 }, up, product;

    if (f->gate > 0)
        gate = take(g, copies * f->gate);
    up = take(g, copies * f->up);
    give(g, input);
    if (f->gate == 0 && f->up == f->down)
        return up;
    product = take(g, copies * f->down);
    give(g, gate);
    give(g, up);
    return product;
}

static struct graph_block
mixture(struct graph *g, const struct layer_shape *l, struct graph_block norm)
{
    struct graph_block scores = take(g, l->experts), order = take(g, l->experts),
                       weights = take(g, g->shape->experts_used);
    struct graph_block results, sum, kept = { 0 };

    give(g, scores);
    if (l->shared.down > 0) {
        kept = norm;
        norm = (struct graph_block){ 0 };
    }
    results = replace(g, feed_forward(g, &l->expert, g->shape->experts_used, norm),
                      g->shape->experts_used * g->shape->embedding);
    give(g, order);
    give(g, weights);
    sum = replace(g, results, g->shape->embedding);
    if (l->shared.down > 0)
        give(g, replace(g, feed_forward(g, &l->shared, 1, kept), g->shape->embedding));
    return sum;
}

static void
layer(struct graph *g, uint64_t number)
{
    const struct layer_shape *l = &g->shape->layer[number];
    struct graph_block result = attention(g, l, number), norm = { 0 };

    if (number + 1 == g->shape->layers) { /* only the rows that are asked for, which are all */
        result = replace(g, result, g->shape->embedding);
        g->residual = replace(g, g->residual, g->shape->embedding);
        give(g, g->output_ids);
    }
    give(g, g->residual); /* the sum is in the place of RESULT */
    g->residual = result;
    if (l->ffn_norm)
        norm = take(g, g->shape->embedding);
    if (l->expert.down > 0)
        result = mixture(g, l, norm);
    else
        result = replace(g, feed_forward(g, &l->ffn, 1, norm), g->shape->embedding);
    give(g, g->residual);
    g->residual = result;
}

void
measure_compute(const struct model_shape *shape, const struct cache_size *cache, enum nb_type type, bool on_gpu,
                struct compute_size *out)
{
    const bool is_quantized = nb_type_info(type)->block > 1;
    const uint64_t room = cache->context > 0 ? cache->context : COMPUTE_BATCH; /* a batch without a cache */
    struct graph g = {
        .memory.alignment = on_gpu ? GPU_ALIGNMENT : CPU_ALIGNMENT,
        .shape = shape,
        .cache = cache,
        .tokens = room < COMPUTE_BATCH ? room : COMPUTE_BATCH,
        .cells = cache->context > 0 ? cache->cells : COMPUTE_BATCH,
        .is_quantized = is_quantized,
        .rotates = is_quantized && shape->key_length > 0 && shape->key_length % SMALLEST_ROTATION == 0,
        .on_gpu = on_gpu,
    };

    memset(out, 0, sizeof *out);
    take_inputs(&g);
    if (on_gpu)
        out->host = g.memory.peak + shape->embedding * g.tokens * sizeof(float); /* it also takes embeddings */
    for (uint64_t i = 0; i < shape->layers; i++)
        layer(&g, i);
    out->layers = g.memory.peak;
    if (shape->has_means)
        g.residual = replace(&g, g.residual, shape->embedding);
    (void)take(&g, shape->vocabulary);
    out->bytes = g.memory.peak;
    out->output = shape->vocabulary * sizeof(float);
    out->is_exact = shape->is_usual && !on_gpu && cache->context > 0;
}
