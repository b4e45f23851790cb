/*
 * Writes a made-up Llama checkpoint: make_checkpoint FOLDER MEGABYTES SHARDS.
 * BF16, Gaussian weights, real proportions, and the sample model's tokenizer
 * (copied from TOKENIZER_FOLDER), whose vocabulary is filled up to the embedding.
 */
#include <inttypes.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HIDDEN 2048u
#define FEED_FORWARD 5632u
#define KV 512u
#define VOCAB 32000u
#define MAX_TENSORS 4096

struct tensor {
    char name[128];
    uint64_t rows, columns; /* columns 0: a vector */
    unsigned shard;
};

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

static void
add(const char *name, uint64_t rows, uint64_t columns)
{
    snprintf(tensors[n_tensors].name, sizeof tensors[n_tensors].name, "%s", name);
    tensors[n_tensors].rows = rows;
    tensors[n_tensors++].columns = columns;
}

static uint64_t
elements(const struct tensor *t)
{
    return t->rows * (t->columns == 0 ? 1 : t->columns);
}

static unsigned
add_layers(uint64_t bytes)
{
    static const struct {
        const char *name;
        uint64_t rows, columns;
    } parts[] = {
        { "input_layernorm", HIDDEN, 0 },          { "post_attention_layernorm", HIDDEN, 0 },
        { "self_attn.q_proj", HIDDEN, HIDDEN },    { "self_attn.k_proj", KV, HIDDEN },
        { "self_attn.v_proj", KV, HIDDEN },        { "self_attn.o_proj", HIDDEN, HIDDEN },
        { "mlp.gate_proj", FEED_FORWARD, HIDDEN }, { "mlp.up_proj", FEED_FORWARD, HIDDEN },
        { "mlp.down_proj", HIDDEN, FEED_FORWARD },
    };
    uint64_t total = 4ull * VOCAB * HIDDEN;
    unsigned layer = 0;

    for (; total < bytes && n_tensors + 16 < MAX_TENSORS; layer++) {
        for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
            char name[128];

            snprintf(name, sizeof name, "model.layers.%u.%s.weight", layer, parts[i].name);
            add(name, parts[i].rows, parts[i].columns);
            total += 2 * elements(&tensors[n_tensors - 1]);
        }
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
        length += (size_t)sprintf(header + length, "%s\"%s\":{\"dtype\":\"BF16\",\"shape\":[%" PRIu64,
                                  at > 0 ? "," : "", t->name, t->rows);
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

int
main(int argc, char **argv)
{
    uint64_t total = 0, at = 0;
    unsigned shards, layers;
    FILE *config;

    if (argc != 5) {
        fputs("usage: make_checkpoint FOLDER MEGABYTES SHARDS TOKENIZER_FOLDER\n", stderr);
        return 2;
    }
    shards = (unsigned)strtoul(argv[3], NULL, 10);
    make_gaussian();
    add("model.embed_tokens.weight", VOCAB, HIDDEN);
    layers = add_layers(strtoull(argv[2], NULL, 10) * 1000000);
    add("model.norm.weight", HIDDEN, 0);
    add("lm_head.weight", VOCAB, HIDDEN);
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
    config = create(argv[1], "config.json");
    fprintf(config,
            "{\"architectures\":[\"LlamaForCausalLM\"],\"hidden_size\":%u,\"intermediate_size\":%u,"
            "\"num_hidden_layers\":%u,\"num_attention_heads\":%u,\"num_key_value_heads\":%u,\"vocab_size\":%u,"
            "\"max_position_embeddings\":2048,\"rms_norm_eps\":1e-05,\"tie_word_embeddings\":false}\n",
            HIDDEN, FEED_FORWARD, layers, HIDDEN / 64, KV / 64, VOCAB);
    finish(config);
    return 0;
}
