/*
 * Writes a made-up checkpoint: make_checkpoint FOLDER MEGABYTES SHARDS TOKENIZER_FOLDER [KIND].
 * BF16, Gaussian weights, real proportions, and the sample model's tokenizer, whose vocabulary is
 * filled up to the embedding. KIND is "dense", a Llama; "large", one with the layers of 8 billion weights; "mixture", a Qwen 3 MoE with 128 experts a
 * layer, each stored by itself; or "transposed", a Llama 4, whose 16 experts a layer are stored
 * together, gates and up projections in one, on their sides.
 */
#include <inttypes.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VOCAB 32000u
#define EXPERTS 128u /* of a mixture */
#define EXPERT_FEED_FORWARD 768u
#define STACK 16u /* experts of a transposed mixture */
#define STACK_FEED_FORWARD 4096u
#define MAX_TENSORS 4096

struct tensor {
    char name[128];
    uint64_t rows, columns; /* columns 0: a vector */
    uint64_t matrices;      /* 0: a single one, of two dimensions */
    unsigned shard;
};

static unsigned hidden, kv, feed_forward; /* of its layers */
static struct tensor tensors[MAX_TENSORS];
static size_t n_tensors;
static uint16_t gaussian[65536];

static uint64_t
next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void
make_gaussian(void)
{
    uint64_t state = 88172645463325252u;

    for (size_t i = 0; i < 65536; i++) {
        double sum = 0;
        float f;
        uint32_t bits;

        for (int k = 0; k < 12; k++)
            sum += (double)(next(&state) >> 40) * 0x1p-24;
        f = (float)(0.02 * (sum - 6));
        memcpy(&bits, &f, sizeof bits);
        gaussian[i] = (uint16_t)(bits >> 16);
    }
}

/* A tensor of LAYER, or of the whole model if that is negative; its name may have a place for an expert. */
static struct tensor *
add(int layer, const char *name, unsigned expert, uint64_t rows, uint64_t columns)
{
    struct tensor *t = &tensors[n_tensors++];
    int at = 0;

    if (layer >= 0)
        at = snprintf(t->name, sizeof t->name, "model.layers.%d.", layer);
    snprintf(t->name + at, sizeof t->name - (size_t)at, name, expert);
    t->rows = rows;
    t->columns = columns;
    return t;
}

static uint64_t
elements(const struct tensor *t)
{
    return t->rows * (t->columns == 0 ? 1 : t->columns) * (t->matrices == 0 ? 1 : t->matrices);
}

static void
add_attention(int layer)
{
    add(layer, "input_layernorm.weight", 0, hidden, 0);
    add(layer, "post_attention_layernorm.weight", 0, hidden, 0);
    add(layer, "self_attn.q_proj.weight", 0, hidden, hidden);
    add(layer, "self_attn.k_proj.weight", 0, kv, hidden);
    add(layer, "self_attn.v_proj.weight", 0, kv, hidden);
    add(layer, "self_attn.o_proj.weight", 0, hidden, hidden);
}

static void
add_dense(int layer)
{
    add(layer, "mlp.gate_proj.weight", 0, feed_forward, hidden);
    add(layer, "mlp.up_proj.weight", 0, feed_forward, hidden);
    add(layer, "mlp.down_proj.weight", 0, hidden, feed_forward);
}

static void
add_mixture(int layer)
{
    add(layer, "self_attn.q_norm.weight", 0, 64, 0);
    add(layer, "self_attn.k_norm.weight", 0, 64, 0);
    add(layer, "mlp.gate.weight", 0, EXPERTS, hidden);
    for (unsigned i = 0; i < EXPERTS; i++) {
        add(layer, "mlp.experts.%u.gate_proj.weight", i, EXPERT_FEED_FORWARD, hidden);
        add(layer, "mlp.experts.%u.up_proj.weight", i, EXPERT_FEED_FORWARD, hidden);
        add(layer, "mlp.experts.%u.down_proj.weight", i, hidden, EXPERT_FEED_FORWARD);
    }
}

static void
add_transposed(int layer)
{
    add(layer, "feed_forward.router.weight", 0, STACK, hidden);
    add(layer, "feed_forward.experts.gate_up_proj", 0, hidden, 2 * STACK_FEED_FORWARD)->matrices = STACK;
    add(layer, "feed_forward.experts.down_proj", 0, STACK_FEED_FORWARD, hidden)->matrices = STACK;
    add(layer, "feed_forward.shared_expert.gate_proj.weight", 0, STACK_FEED_FORWARD, hidden);
    add(layer, "feed_forward.shared_expert.up_proj.weight", 0, STACK_FEED_FORWARD, hidden);
    add(layer, "feed_forward.shared_expert.down_proj.weight", 0, hidden, STACK_FEED_FORWARD);
}

/* A kind of checkpoint; CONFIG has its own entries of config.json. */
static const struct kind {
    const char *name, *class;
    void (*add_feed_forward)(int layer);
    unsigned hidden, kv, feed_forward;
    const char *config;
} kinds[] = {
    { "dense", "LlamaForCausalLM", add_dense, 2048, 512, 5632, "" },
    { "large", "LlamaForCausalLM", add_dense, 4096, 1024, 14336, "" },
    { "mixture", "Qwen3MoeForCausalLM", add_mixture, 2048, 512, 5632,
      ",\"head_dim\":64,\"num_experts\":128,\"num_experts_per_tok\":8,\"moe_intermediate_size\":768" },
    { "transposed", "Llama4ForCausalLM", add_transposed, 2048, 512, STACK_FEED_FORWARD,
      ",\"head_dim\":64,\"num_local_experts\":16,\"num_experts_per_tok\":1,\"intermediate_size_mlp\":4096" },
};

/* As many layers as make BYTES with the embedding; returns how many. */
static unsigned
add_layers(const struct kind *kind, uint64_t bytes)
{
    uint64_t total = 4ull * VOCAB * hidden;
    unsigned layer = 0;

    for (; total < bytes && n_tensors + 4 * EXPERTS < MAX_TENSORS; layer++) {
        const size_t before = n_tensors;

        add_attention((int)layer);
        kind->add_feed_forward((int)layer);
        for (size_t i = before; i < n_tensors; i++)
            total += 2 * elements(&tensors[i]);
    }
    return layer;
}

static FILE *
create(const char *folder, const char *name)
{
    char path[4096];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    f = fopen(path, "wb");
    if (f == NULL) {
        perror(path);
        exit(1);
    }
    return f;
}

static void
finish(FILE *f)
{
    if (fclose(f) != 0) {
        perror("writing");
        exit(1);
    }
}

static void
write_shard(const char *folder, unsigned shard, unsigned shards)
{
    static uint16_t buffer[1 << 18];
    char name[64], *header = malloc(1 << 20);
    size_t length = 0;
    uint64_t at = 0, state = 0x9E3779B97F4A7C15u + shard;
    FILE *f;

    snprintf(name, sizeof name, "model-%05u-of-%05u.safetensors", shard + 1, shards);
    f = create(folder, name);
    length += (size_t)sprintf(header, "{");
    for (size_t i = 0; i < n_tensors; i++) {
        const struct tensor *t = &tensors[i];
        const uint64_t bytes = 2 * elements(t);

        if (t->shard != shard)
            continue;
        length += (size_t)sprintf(header + length, "%s\"%s\":{\"dtype\":\"BF16\",\"shape\":[", at > 0 ? "," : "",
                                  t->name);
        if (t->matrices != 0)
            length += (size_t)sprintf(header + length, "%" PRIu64 ",", t->matrices);
        length += (size_t)sprintf(header + length, "%" PRIu64, t->rows);
        if (t->columns != 0)
            length += (size_t)sprintf(header + length, ",%" PRIu64, t->columns);
        length += (size_t)sprintf(header + length, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", at, at + bytes);
        at += bytes;
    }
    length += (size_t)sprintf(header + length, "}");
    fwrite(&(uint64_t){ length }, 8, 1, f);
    fwrite(header, 1, length, f);
    free(header);
    for (uint64_t left = at / 2; left > 0;) {
        const uint64_t n = left < 1 << 18 ? left : 1 << 18;

        for (uint64_t i = 0; i < n; i += 4) {
            const uint64_t r = next(&state);

            for (unsigned k = 0; k < 4; k++)
                buffer[i + k] = gaussian[r >> (16 * k) & 0xFFFF];
        }
        fwrite(buffer, 2, n, f);
        left -= n;
    }
    finish(f);
}

static void
write_index(const char *folder, unsigned shards)
{
    FILE *f = create(folder, "model.safetensors.index.json");

    fputs("{\"metadata\":{},\"weight_map\":{", f);
    for (size_t i = 0; i < n_tensors; i++)
        fprintf(f, "%s\"%s\":\"model-%05u-of-%05u.safetensors\"", i > 0 ? "," : "", tensors[i].name,
                tensors[i].shard + 1, shards);
    fputs("}}", f);
    finish(f);
}

static void
copy(const char *folder, const char *from_folder, const char *name)
{
    char path[4096], buffer[65536];
    FILE *from, *to = create(folder, name);
    size_t n;

    snprintf(path, sizeof path, "%s/%s", from_folder, name);
    from = fopen(path, "rb");
    if (from == NULL) {
        perror(path);
        exit(1);
    }
    while ((n = fread(buffer, 1, sizeof buffer, from)) > 0)
        fwrite(buffer, 1, n, to);
    fclose(from);
    finish(to);
}

static void
write_config(const char *folder, const struct kind *kind, unsigned layers)
{
    FILE *f = create(folder, "config.json");

    fprintf(f,
            "{\"architectures\":[\"%s\"],\"hidden_size\":%u,\"intermediate_size\":%u,"
            "\"num_hidden_layers\":%u,\"num_attention_heads\":%u,\"num_key_value_heads\":%u,\"vocab_size\":%u,"
            "\"max_position_embeddings\":2048,\"rms_norm_eps\":1e-05,\"tie_word_embeddings\":false%s}\n",
            kind->class, hidden, feed_forward, layers, hidden / 64, kv / 64, VOCAB, kind->config);
    finish(f);
}

int
main(int argc, char **argv)
{
    const struct kind *kind = kinds, *const last = kinds + sizeof kinds / sizeof kinds[0];
    uint64_t total = 0, at = 0;
    unsigned shards, layers;

    while (argc == 6 && kind < last && strcmp(kind->name, argv[5]) != 0)
        kind++;
    if (argc < 5 || argc > 6 || kind == last) {
        fputs("usage: make_checkpoint FOLDER MEGABYTES SHARDS TOKENIZER_FOLDER [dense|large|mixture|transposed]\n",
              stderr);
        return 2;
    }
    shards = (unsigned)strtoul(argv[3], NULL, 10);
    hidden = kind->hidden;
    kv = kind->kv;
    feed_forward = kind->feed_forward;
    make_gaussian();
    add(-1, "model.embed_tokens.weight", 0, VOCAB, hidden);
    layers = add_layers(kind, strtoull(argv[2], NULL, 10) * 1000000);
    add(-1, "model.norm.weight", 0, hidden, 0);
    add(-1, "lm_head.weight", 0, VOCAB, hidden);
    for (size_t i = 0; i < n_tensors; i++)
        total += elements(&tensors[i]);
    for (size_t i = 0; i < n_tensors; i++) {
        tensors[i].shard = (unsigned)(at * shards / total);
        at += elements(&tensors[i]);
    }
    for (unsigned i = 0; i < shards; i++)
        write_shard(argv[1], i, shards);
    write_index(argv[1], shards);
    copy(argv[1], argv[4], "tokenizer.json");
    copy(argv[1], argv[4], "tokenizer_config.json");
    write_config(argv[1], kind, layers);
    return 0;
}
