#include "cli/model_shape.h"

#include "formats/base/status.h"
#include "formats/base/text.h"
#include "formats/gguf/metadata.h"
#include "formats/models/hparams.h"
#include "formats/models/source.h"
#include "formats/models/view.h"
#include "quantize/plan.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* A matrix of a layer, and the dimension that tells how long its result is, or what it takes. */
struct part {
    const char *name;
    unsigned dimension;
    size_t field; /* of struct layer_shape */
};

#define LENGTH(name, dimension, field)                                 \
    {                                                                  \
        name ".weight", dimension, offsetof(struct layer_shape, field) \
    }

static const struct part lengths[] = {
    LENGTH("attn_q", 1, q),
    LENGTH("attn_k", 1, k),
    LENGTH("attn_v", 1, v),
    LENGTH("attn_qkv", 1, qkv),
    LENGTH("attn_output", 0, attended),
    LENGTH("attn_kv_a_mqa", 1, k),
    LENGTH("attn_k_b", 2, heads),
    LENGTH("attn_v_b", 0, rank),
    LENGTH("ffn_gate", 1, ffn.gate),
    LENGTH("ffn_up", 1, ffn.up),
    LENGTH("ffn_down", 0, ffn.down),
    LENGTH("ffn_gate_inp", 1, experts),
    LENGTH("ffn_gate_exps", 1, expert.gate),
    LENGTH("ffn_up_exps", 1, expert.up),
    LENGTH("ffn_gate_up_exps", 1, expert.up),
    LENGTH("ffn_down_exps", 0, expert.down),
    LENGTH("ffn_gate_shexp", 1, shared.gate),
    LENGTH("ffn_up_shexp", 1, shared.up),
    LENGTH("ffn_down_shexp", 0, shared.down),
};

#define NORM(name, field)                                      \
    {                                                          \
        name ".weight", 0, offsetof(struct layer_shape, field) \
    }

static const struct part norms[] = {
    NORM("attn_norm", attn_norm),
    NORM("ffn_norm", ffn_norm),
    NORM("post_attention_norm", post_attn_norm),
    NORM("post_ffw_norm", post_ffn_norm),
};

/* What only changes results where they are, besides biases. */
static const char *const in_place[] = { "attn_q_norm.weight", "attn_k_norm.weight", "attn_sinks.weight",
                                        "ffn_gate_inp_shexp.weight" };

static const struct part *
find(const struct part *list, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(list[i].name, name) == 0)
            return &list[i];
    return NULL;
}

#define FIND(list, name) find(list, sizeof(list) / sizeof(list)[0], name)

/* NAME is that of the tensor without "blk.N.". False if it is none that is known here. */
static bool
read_part(struct layer_shape *layer, const char *name, const uint64_t *ne)
{
    const struct part *length = FIND(lengths, name), *norm = FIND(norms, name);
    unsigned char *at = (unsigned char *)layer;
    uint64_t elements = length == NULL ? 0 : ne[length->dimension];

    elements = elements < NB_MAX_SIDE ? elements : NB_MAX_SIDE;
    if (length != NULL)
        memcpy(at + length->field, &elements, sizeof elements);
    else if (norm != NULL)
        memcpy(at + norm->field, &(bool){ true }, sizeof(bool));
    for (size_t i = 0; i < sizeof in_place / sizeof in_place[0]; i++)
        if (strcmp(in_place[i], name) == 0)
            return true;
    return length != NULL || norm != NULL || nb_ends_with(name, ".bias");
}

static void
add_tensor(struct model_shape *s, const struct nb_view *t, uint64_t bytes)
{
    char *end = NULL;
    const uint64_t number = strncmp(t->name, "blk.", 4) == 0 ? strtoull(t->name + 4, &end, 10) : NB_MAX_LAYERS;

    s->bytes += bytes;
    if (end != NULL && *end == '.' && number < NB_MAX_LAYERS) {
        struct layer_shape *layer = &s->layer[number];

        s->layers = number >= s->layers ? number + 1 : s->layers;
        layer->bytes += bytes;
        layer->largest = bytes > layer->largest ? bytes : layer->largest;
        s->is_usual &= read_part(layer, end + 1, t->ne);
    } else if (strcmp(t->name, "token_embd.weight") == 0) {
        s->embedding = t->ne[0] < NB_MAX_SIDE ? t->ne[0] : NB_MAX_SIDE;
        s->vocabulary = t->ne[1] < NB_MAX_SIDE ? t->ne[1] : NB_MAX_SIDE;
        s->output_bytes = s->is_tied ? bytes : s->output_bytes;
    } else if (strcmp(t->name, "output.weight") == 0) {
        s->is_tied = false;
        s->output_bytes = bytes;
    } else {
        s->has_means |= strcmp(t->name, "output_norm.bias") == 0;
        s->is_usual &= strncmp(t->name, "output_norm.", 12) == 0 || strncmp(t->name, "rope_freqs.", 11) == 0;
    }
}

static void
start(struct model_shape *s)
{
    memset(s, 0, sizeof *s);
    s->is_tied = s->is_usual = true;
}

static void
read_numbers(struct model_shape *s, const struct nb_metadata *meta)
{
    const char *arch = nb_meta_get_string(meta, "general.architecture");
    struct nb_hparams hp = { 0 };

    if (arch != NULL && nb_hparams_read(&hp, meta, arch, NULL) == NB_OK) {
        const double heads = nb_hp(&hp, NB_HP_HEADS);

        s->is_usual &= nb_hp(&hp, NB_HP_DEEPSTACK_LAYERS) == 0; /* inputs of several parts */
        s->experts_used = (uint64_t)nb_hp(&hp, NB_HP_EXPERTS_USED);
        s->key_length = (uint64_t)nb_hp_or(&hp, NB_HP_KEY_LENGTH, heads > 0 ? nb_hp(&hp, NB_HP_EMBEDDING) / heads : 0);
        nb_hparams_free(&hp);
    }
    if (s->experts_used > NB_MAX_EXPERTS)
        s->experts_used = NB_MAX_EXPERTS;
}

static uint64_t
product(uint64_t a, uint64_t b)
{
    return b > 0 && a > NB_MAX_SIDE / b ? NB_MAX_SIDE : a * b;
}

/* Lengths that follow from others. False if the layer is not computed in the usual way. */
static bool
finish_layer(struct layer_shape *l)
{
    if (l->qkv > l->attended) {
        l->q = l->attended;
        l->k = l->v = (l->qkv - l->attended) / 2;
    }
    if (l->heads > 0) {
        l->q = product(l->heads, l->k);
        l->attended = product(l->heads, l->rank);
    }
    l->ffn_norm |= l->post_attn_norm && !l->post_ffn_norm; /* then it is not after attention, but before the network */
    return l->attn_norm && l->ffn_norm && l->attended > 0 && l->qkv == 0 && l->q > 0 && l->k > 0 && l->v > 0 &&
           (l->ffn.down > 0 || l->expert.down > 0);
}

static void
finish(struct model_shape *s, const struct nb_metadata *meta)
{
    read_numbers(s, meta);
    for (uint64_t i = 0; i < s->layers; i++)
        s->is_usual &= finish_layer(&s->layer[i]);
    s->is_usual &= s->layers > 0 && s->embedding > 0;
}

void
shape_of_source(const struct nb_source *source, struct model_shape *out)
{
    start(out);
    for (size_t i = 0; i < source->n_tensors; i++)
        add_tensor(out, &source->tensors[i], source->tensors[i].bytes);
    finish(out, &source->meta);
}

void
shape_of_plan(const struct nb_plan *plan, struct model_shape *out)
{
    start(out);
    for (size_t i = 0; i < plan->n_tensors; i++)
        add_tensor(out, plan->tensors[i].source, plan->tensors[i].bytes);
    finish(out, &plan->meta);
}
