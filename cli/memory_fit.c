#include "cli/memory_fit.h"

#include "cli/cache_size.h"
#include "cli/compute_buffer.h"
#include "cli/model_shape.h"

#include <string.h>

struct placement {
    uint64_t ram, vram;
};

/*
 * For prompts, the GPU also computes the layers of the CPU: weights and cache of each are copied to it then, and the
 * copies leave gaps (seen in the runtime: up to half of the cache, where that is the largest part).
 */
static uint64_t
copies(const struct model_shape *shape, const struct cache_size *cache, uint64_t on_cpu)
{
    uint64_t largest = 0;

    for (uint64_t i = 0; i < on_cpu; i++) {
        const uint64_t bytes = shape->layer[i].largest + cache->layer[i].bytes * 3 / 2;

        largest = bytes > largest ? bytes : largest;
    }
    return largest;
}

/* What computing takes of the GPU when the first ON_CPU layers are the CPU's: their results are handed over, too. */
static uint64_t
gpu_buffers(const struct model_shape *shape, const struct cache_size *cache, const struct compute_size *compute,
            uint64_t on_cpu)
{
    const uint64_t handed = on_cpu == 0 ? 0 : shape->embedding * COMPUTE_BATCH * sizeof(float);
    const uint64_t in_layers = compute->layers + copies(shape, cache, on_cpu);

    return in_layers > compute->bytes + handed ? in_layers : compute->bytes + handed;
}

/* With -ngl GPU_LAYERS, of which the output is the first. */
static struct placement
place(const struct model_shape *shape, const struct cache_size *cache, const struct compute_size *compute,
      uint64_t gpu_layers)
{
    const uint64_t on_cpu = shape->layers + 1 - gpu_layers;
    struct placement p = { 0 };

    p.ram = shape->bytes + compute->host + compute->output - (shape->is_tied ? 0 : shape->output_bytes);
    p.vram = shape->output_bytes + gpu_buffers(shape, cache, compute, on_cpu);
    for (uint64_t i = 0; i < shape->layers; i++) {
        if (i < on_cpu) {
            p.ram += cache->layer[i].bytes;
        } else {
            p.ram -= shape->layer[i].bytes;
            p.vram += shape->layer[i].bytes + cache->layer[i].bytes;
        }
    }
    return p;
}

static void
place_on_gpu(const struct model_shape *shape, const struct cache_size *cache, const struct memory_question *question,
             struct memory_fit *out)
{
    struct compute_size compute;

    measure_compute(shape, cache, question->cache_type, true, &compute);
    for (uint64_t n = out->all_gpu_layers; n > 0; n--) {
        const struct placement p = place(shape, cache, &compute, n);

        if (p.vram <= question->vram) {
            out->gpu_layers = n;
            out->ram = p.ram;
            out->vram = p.vram;
            return;
        }
    }
}

void
fit_memory(const struct model_shape *shape, const struct nb_metadata *meta, const struct memory_question *question,
           struct memory_fit *out)
{
    struct cache_size cache;
    struct compute_size compute;

    memset(out, 0, sizeof *out);
    out->weights = out->sum = shape->bytes;
    measure_cache(meta, question->context, question->cache_type, &cache);
    if (!cache.known)
        return;
    measure_compute(shape, &cache, question->cache_type, false, &compute);
    out->known = true;
    out->is_exact = compute.is_exact;
    out->has_state = cache.has_state;
    out->context = cache.context;
    out->window = cache.window;
    out->layers = cache.layers;
    out->sliding = cache.sliding;
    out->cache = cache.bytes;
    out->state = cache.state;
    out->buffers = compute.bytes + compute.output;
    out->sum = out->ram = out->weights + out->cache + out->state + out->buffers;
    out->all_gpu_layers = shape->layers + 1;
    if (question->vram > 0)
        place_on_gpu(shape, &cache, question, out);
    out->fits = question->ram == 0 || out->ram <= question->ram;
}
