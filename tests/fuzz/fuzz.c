/*
 * The entry that libFuzzer calls, files in memory, and memory that runs out: with
 * FUZZ_MEMORY=fails in the environment every input is run twice, and the second time
 * one of the allocations that the first run made fails; the input says which. Only
 * nibble's own: jansson 2.14 itself crashes where its lexer gets no memory.
 */
#include "fuzz.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* --- memory that runs out: the linker turns malloc into __wrap_malloc (--wrap) ------------------- */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *p, size_t size);

static bool counting;
static uint64_t allocations, fail_at; /* from 1; 0: none fails */

static bool
fails(void)
{
    return counting && ++allocations == fail_at;
}

void *
__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *
__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

void *
__wrap_realloc(void *p, size_t size)
{
    return fails() ? NULL : __real_realloc(p, size);
}

static uint64_t
hash(const uint8_t *data, size_t size) /* FNV-1a */
{
    uint64_t h = 0xCBF29CE484222325u;

    for (size_t i = 0; i < size; i++)
        h = (h ^ data[i]) * 0x100000001B3u;
    return h;
}

static void
run(const uint8_t *data, size_t size, uint64_t failing)
{
    allocations = 0;
    fail_at = failing;
    counting = true;
    fuzz_target(data, size);
    counting = false;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int memory_fails = -1;

    if (memory_fails < 0) {
        const char *mode = getenv("FUZZ_MEMORY");

        memory_fails = mode != NULL && strcmp(mode, "fails") == 0;
    }
    run(data, size, 0);
    if (memory_fails && allocations > 0)
        run(data, size, hash(data, size) % allocations + 1);
    return 0;
}

/* --- files ---------------------------------------------------------------------------------------- */

static void
system_must(bool worked, const char *what)
{
    if (!worked) {
        perror(what);
        _exit(1); /* no finding: the machine's own trouble */
    }
}

static void
write_all(int fd, const void *data, size_t size)
{
    system_must(ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size, "writing the input");
}

const char *
fuzz_file(const void *data, size_t size)
{
    static int fd = -1;
    static char path[64];

    if (fd < 0) {
        fd = memfd_create("input", 0);
        system_must(fd >= 0, "memfd_create");
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    write_all(fd, data, size);
    return path;
}

/* Tensors of a Llama of one layer: hidden 8, two heads, one key-value head, 4 tokens. */
static const struct {
    const char *name;
    unsigned rows, columns; /* 0: a vector */
} tensors[] = {
    { "model.embed_tokens.weight", 4, 8 },
    { "model.layers.0.input_layernorm.weight", 0, 8 },
    { "model.layers.0.mlp.down_proj.weight", 8, 16 },
    { "model.layers.0.mlp.gate_proj.weight", 16, 8 },
    { "model.layers.0.mlp.up_proj.weight", 16, 8 },
    { "model.layers.0.post_attention_layernorm.weight", 0, 8 },
    { "model.layers.0.self_attn.k_proj.weight", 4, 8 },
    { "model.layers.0.self_attn.o_proj.weight", 8, 8 },
    { "model.layers.0.self_attn.q_proj.weight", 8, 8 },
    { "model.layers.0.self_attn.v_proj.weight", 4, 8 },
    { "model.norm.weight", 0, 8 },
};

static const char folder_config[] =
    "{\"architectures\": [\"LlamaForCausalLM\"], \"hidden_size\": 8, \"intermediate_size\": 16, "
    "\"num_hidden_layers\": 1, \"num_attention_heads\": 2, \"num_key_value_heads\": 1, \"vocab_size\": 4, "
    "\"max_position_embeddings\": 64, \"rms_norm_eps\": 1e-5, \"tie_word_embeddings\": true}";

static const char folder_tokenizer[] =
    "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1, \"ab\": 2, \"<s>\": 3}, \"merges\": [\"a b\"]}, "
    "\"added_tokens\": [{\"id\": 3, \"content\": \"<s>\", \"special\": true}], \"pre_tokenizer\": "
    "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": true}}";

static void
put_weights(void)
{
    static unsigned char file[16384];
    char header[8192] = "{";
    size_t at = 1, bytes = 0;

    for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++) {
        const unsigned rows = tensors[i].rows, columns = tensors[i].columns, size = 2 * columns * (rows > 0 ? rows : 1);
        char shape[32];

        snprintf(shape, sizeof shape, rows > 0 ? "%u, %u" : "%.0u%u", rows, columns);
        at += (size_t)snprintf(header + at, sizeof header - at,
                               "%s\"%s\": {\"dtype\": \"F16\", \"shape\": [%s], \"data_offsets\": [%zu, %zu]}",
                               i > 0 ? ", " : "", tensors[i].name, shape, bytes, bytes + size);
        bytes += size;
    }
    header[at++] = '}';
    for (unsigned i = 0; i < 8; i++)
        file[i] = (unsigned char)((uint64_t)at >> (8 * i));
    memcpy(file + 8, header, at);
    fuzz_put("model.safetensors", file, 8 + at + bytes);
}

static char folder[512];

static void
remove_folder(void)
{
    static const char *const files[] = {
        "config.json",
        "tokenizer.json",
        "model.safetensors",
        "tokenizer_config.json",
        "generation_config.json",
        "README.md",
        "tokenizer.model",
        "model.safetensors.index.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "j.gguf",
        "j.gguf.undo",
        "0.gguf",
        "1.gguf",
        "2.gguf",
        "3.gguf",
        "4.gguf",
        "5.gguf",
        "6.gguf",
        "7.gguf",
        "8.gguf",
        "9.gguf",
    };

    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        fuzz_drop(files[i]);
    rmdir(folder);
}

const char *
fuzz_checkpoint(void)
{
    const char *base = getenv("TMPDIR");

    if (*folder != '\0')
        return folder;
    counting = false; /* what is made once is no part of a run */
    snprintf(folder, sizeof folder, "%s/nibble-fuzz-XXXXXX", base != NULL ? base : "/tmp");
    system_must(mkdtemp(folder) != NULL, folder);
    atexit(remove_folder);
    fuzz_put("config.json", folder_config, sizeof folder_config - 1);
    fuzz_put("tokenizer.json", folder_tokenizer, sizeof folder_tokenizer - 1);
    put_weights();
    counting = true;
    return folder;
}

static void
in_folder(char *path, size_t size, const char *name)
{
    snprintf(path, size, "%s/%s", folder, name);
}

void
fuzz_put(const char *name, const void *data, size_t size)
{
    char path[1024];
    int fd;

    in_folder(path, sizeof path, name);
    fd = open(path, O_RDWR | O_CREAT, 0600);
    system_must(fd >= 0, path);
    write_all(fd, data, size);
    close(fd);
}

void
fuzz_drop(const char *name)
{
    char path[1024];

    in_folder(path, sizeof path, name);
    unlink(path);
}

void
fuzz_claim(int claim, const char *what)
{
    if (claim)
        return;
    fprintf(stderr, "does not hold: %s\n", what);
    abort();
}
