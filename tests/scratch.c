#include "scratch.h"

#include "formats/gguf/gguf.h"
#include "formats/models/source.h"

#include "formats/base/status.h"
#include "formats/elements/tensor.h"
#include "formats/elements/types.h"
#include "formats/gguf/metadata.h"
#include "testing.h"

#include <dirent.h>
#include <fcntl.h>
#ifdef __linux__
#include <sys/mount.h>
#endif
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include <xxhash.h>

static char root[SCRATCH_PATH / 2];

int
scratch_setup(void **state)
{
    const char *base = getenv("TMPDIR");

    (void)state;
    snprintf(root, sizeof root, "%s/nibble-test.XXXXXX", base == NULL ? "/tmp" : base);
    return mkdtemp(root) == NULL ? -1 : 0;
}

static void
remove_all(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    char inner[4 * SCRATCH_PATH];

    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        assert_true(snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name) < (int)sizeof inner);
        if (entry->d_type == DT_DIR)
            remove_all(inner);
        else
            unlink(inner);
    }
    if (dir != NULL)
        closedir(dir);
    if (rmdir(path) != 0)
        unlink(path);
}

int
scratch_teardown(void **state)
{
    (void)state;
    remove_all(root);
    return 0;
}

const char *
scratch_path(const char *name)
{
    static char paths[8][SCRATCH_PATH];
    static unsigned turn;
    char *path = paths[turn++ % 8];

    assert_true(snprintf(path, SCRATCH_PATH, "%s/%s", root, name) < SCRATCH_PATH);
    return path;
}

void
scratch_open_source(struct nb_source *source, const char *name)
{
    struct nb_error err;

    if (nb_source_open(source, scratch_path(name), NULL, &err) != NB_OK)
        fail_msg("%s", err.message);
}

void
scratch_remove(const char *name)
{
    remove_all(scratch_path(name));
}

void
scratch_folder(const char *name)
{
    assert_int_equal(mkdir(scratch_path(name), 0777), 0);
}

void
scratch_write(const char *name, const void *bytes, size_t size)
{
    FILE *f = fopen(scratch_path(name), "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

void
scratch_write_text(const char *name, const char *text)
{
    scratch_write(name, text, strlen(text));
}

void
scratch_small_disk(const char *path, const char *options)
{
#ifdef __linux__
    if (mount("tmpfs", path, "tmpfs", 0, options) == 0)
        return;
#else
    (void)path;
    (void)options;
#endif
    print_message("a tmpfs cannot be mounted here: skipped\n");
    skip();
}

void
scratch_small_disk_gone(const char *path)
{
#ifdef __linux__
    umount(path);
#else
    (void)path;
#endif
}

unsigned char *
scratch_read(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    unsigned char *bytes;
    long length;

    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    length = ftell(f);
    rewind(f);
    bytes = malloc((size_t)length + 1);
    assert_non_null(bytes);
    *size = fread(bytes, 1, (size_t)length, f);
    assert_int_equal(*size, length);
    fclose(f);
    return bytes;
}

uint64_t
scratch_hash(const char *path)
{
    size_t size;
    unsigned char *bytes = scratch_read(path, &size);
    uint64_t hash = XXH64(bytes, size, 0);

    free(bytes);
    return hash;
}

bool
scratch_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

/* Reads the pipe to its end, so that it cannot fill up and stall the child; keeps what there is room for. */
static void
drain(int fd, char *to, size_t room)
{
    char rest[4096];
    size_t at = 0;
    ssize_t n;

    while ((n = read(fd, to + at, room - 1 - at)) > 0)
        at += (size_t)n;
    to[at] = '\0';
    while (n == 0 && at == room - 1 && read(fd, rest, sizeof rest) > 0)
        continue;
    close(fd);
}

/* In a child: becomes the program. */
static void
become_nibble(const char *const *args)
{
    const char *argv[64] = { "nibble" };

    for (int i = 0; args[i] != NULL; i++)
        argv[i + 1] = args[i];
    if (chdir(root) != 0)
        _exit(126);
    execv(NIBBLE_PROGRAM, (char *const *)argv);
    _exit(127);
}

static int
code_of(int status)
{
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

bool
run_on_terminal(struct run *run, int columns, const char *term, const char *const *args)
{
    const int ours = posix_openpt(O_RDWR | O_NOCTTY);
    const struct winsize size = { .ws_row = 24, .ws_col = (unsigned short)columns };
    struct termios mode;
    int theirs, status;
    pid_t child;

    if (ours < 0 || grantpt(ours) != 0 || unlockpt(ours) != 0 || (theirs = open(ptsname(ours), O_RDWR | O_NOCTTY)) < 0)
        return false;
    assert_int_equal(tcgetattr(theirs, &mode), 0);
    mode.c_oflag &= ~(tcflag_t)OPOST;
    assert_int_equal(tcsetattr(theirs, TCSANOW, &mode), 0);
    assert_int_equal(ioctl(theirs, TIOCSWINSZ, &size), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(theirs, STDOUT_FILENO);
        dup2(theirs, STDERR_FILENO);
        close(theirs);
        close(ours);
        setenv("TERM", term, 1);
        become_nibble(args);
    }
    close(theirs);
    drain(ours, run->out, sizeof run->out); /* ends with an error when the program has */
    *run->err = '\0';
    assert_int_equal(waitpid(child, &status, 0), child);
    run->code = code_of(status);
    return true;
}

void
run_nibble(struct run *run, const char *const *args)
{
    int out[2], status;
    char errors[sizeof root + 16];
    struct rusage usage;
    pid_t child;
    FILE *f;

    snprintf(errors, sizeof errors, "%s/stderr", root);
    assert_int_equal(pipe(out), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        int err = open(errors, O_WRONLY | O_CREAT | O_TRUNC, 0600);

        dup2(out[1], STDOUT_FILENO);
        dup2(err, STDERR_FILENO);
        close(out[0]);
        close(out[1]);
        become_nibble(args);
    }
    close(out[1]);
    drain(out[0], run->out, sizeof run->out);
    assert_int_equal(wait4(child, &status, 0, &usage), child);
#ifdef __APPLE__
    run->peak = (uint64_t)usage.ru_maxrss;
#else
    run->peak = (uint64_t)usage.ru_maxrss * 1024;
#endif
    run->code = code_of(status);
    f = fopen(errors, "r");
    assert_non_null(f);
    run->err[fread(run->err, 1, sizeof run->err - 1, f)] = '\0';
    fclose(f);
    unlink(errors);
}

const char tiny_config[] =
    "{\"architectures\":[\"LlamaForCausalLM\"],\"hidden_size\":64,\"intermediate_size\":96,"
    "\"num_hidden_layers\":1,\"num_attention_heads\":2,\"num_key_value_heads\":1,\"vocab_size\":32,"
    "\"max_position_embeddings\":128,\"rms_norm_eps\":1e-05,\"rope_theta\":10000.0,"
    "\"tie_word_embeddings\":true,\"bos_token_id\":0,\"eos_token_id\":1}";

const char tiny_tokenizer[] =
    "{\"added_tokens\":[{\"id\":0,\"content\":\"<s>\",\"special\":true,\"normalized\":false},"
    "{\"id\":1,\"content\":\"</s>\",\"special\":true,\"normalized\":false}],"
    "\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true},"
    "\"post_processor\":null,\"decoder\":{\"type\":\"ByteLevel\"},"
    "\"model\":{\"type\":\"BPE\",\"byte_fallback\":false,\"vocab\":{\"a\":2,\"b\":3,\"ab\":4,\"\\u0120\":5},"
    "\"merges\":[\"a b\"]}}";

void
write_safetensors(const char *folder, const char *name, const char *header, size_t data_bytes)
{
    const size_t length = strlen(header);
    unsigned char *bytes = calloc(1, 8 + length + data_bytes);
    char path[SCRATCH_PATH];

    assert_non_null(bytes);
    memcpy(bytes, &(uint64_t){ length }, 8);
    memcpy(bytes + 8, header, length);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    scratch_write(path, bytes, 8 + length + data_bytes);
    free(bytes);
}

/* The five coarse weights, in bytes of each dtype. */
static const struct dtype {
    const char *name;
    size_t size;
    uint64_t weights[5]; /* little-endian */
} dtypes[] = {
    { "F64", 8, { 0xBFF0000000000000u, 0xBFE0000000000000u, 0, 0x3FE0000000000000u, 0x3FF0000000000000u } },
    { "F32", 4, { 0xBF800000, 0xBF000000, 0, 0x3F000000, 0x3F800000 } },
    { "F16", 2, { 0xBC00, 0xB800, 0, 0x3800, 0x3C00 } },
    { "BF16", 2, { 0xBF80, 0xBF00, 0, 0x3F00, 0x3F80 } },
    { "F8_E4M3", 1, { 0xB8, 0xB0, 0, 0x30, 0x38 } },
    { "F8_E5M2", 1, { 0xBC, 0xB8, 0, 0x38, 0x3C } },
};

/* Weights in DTYPE, or finer ones in F32 where that is NULL. */
static void
tiny_weights(const char *folder, const struct dtype *dtype)
{
    static const struct {
        const char *name;
        unsigned rows, columns;
    } tensors[] = {
        { "model.embed_tokens.weight", 32, 64 },
        { "model.norm.weight", 64, 0 },
        { "model.layers.0.input_layernorm.weight", 64, 0 },
        { "model.layers.0.post_attention_layernorm.weight", 64, 0 },
        { "model.layers.0.self_attn.q_proj.weight", 64, 64 },
        { "model.layers.0.self_attn.k_proj.weight", 32, 64 },
        { "model.layers.0.self_attn.v_proj.weight", 32, 64 },
        { "model.layers.0.self_attn.o_proj.weight", 64, 64 },
        { "model.layers.0.mlp.gate_proj.weight", 96, 64 },
        { "model.layers.0.mlp.up_proj.weight", 96, 64 },
        { "model.layers.0.mlp.down_proj.weight", 64, 96 },
    };
    char header[8192], path[SCRATCH_PATH];
    const size_t element = dtype == NULL ? 4 : dtype->size;
    size_t length = 0, at = 0, size;
    unsigned char *bytes;

    for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++) {
        const size_t n = element * tensors[i].rows * (tensors[i].columns == 0 ? 1 : tensors[i].columns);
        char shape[64];

        snprintf(shape, sizeof shape, tensors[i].columns == 0 ? "[%u]" : "[%u,%u]", tensors[i].rows,
                 tensors[i].columns);
        length += (size_t)snprintf(header + length, sizeof header - length,
                                   "%s\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%zu,%zu]}",
                                   i == 0 ? "{" : ",", tensors[i].name, dtype == NULL ? "F32" : dtype->name, shape, at,
                                   at + n);
        at += n;
    }
    snprintf(header + length, sizeof header - length, "}");
    write_safetensors(folder, "model.safetensors", header, at);
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    bytes = scratch_read(scratch_path(path), &size);
    for (size_t i = 0; i < at / element; i++) { /* something to tell the rows apart by */
        const size_t random = i * 2654435761u % 1000;
        const float fine = (float)((double)random / 500 - 1);

        memcpy(bytes + size - at + element * i, dtype == NULL ? (const void *)&fine : &dtype->weights[random % 5],
               element);
    }
    scratch_write(path, bytes, size);
    free(bytes);
}

static void
tiny_folder(const char *folder, const struct dtype *dtype)
{
    char path[SCRATCH_PATH];

    scratch_remove(folder);
    scratch_folder(folder);
    snprintf(path, sizeof path, "%s/config.json", folder);
    scratch_write_text(path, tiny_config);
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    scratch_write_text(path, tiny_tokenizer);
    tiny_weights(folder, dtype);
}

void
tiny_checkpoint(const char *folder)
{
    tiny_folder(folder, NULL);
}

void
tiny_checkpoint_in(const char *folder, const char *dtype)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++) {
        if (strcmp(dtypes[i].name, dtype) == 0) {
            tiny_folder(folder, &dtypes[i]);
            return;
        }
    }
    fail_msg("no dtype '%s'", dtype);
}

float *
make_tensor(struct gguf_maker *g, const char *name, uint64_t columns, uint64_t rows, uint64_t experts)
{
    const size_t i = g->count++, bytes = (size_t)(columns * (rows == 0 ? 1 : rows) * experts) * sizeof(float);
    const size_t at = g->size;

    assert_true(i < 64);
    snprintf(g->names[i], sizeof g->names[i], "%s", name);
    g->ne[i][0] = columns;
    g->ne[i][1] = rows;
    g->ne[i][2] = experts;
    g->infos[i] = (struct nb_gguf_info){ g->names[i], NB_F32, experts > 1 ? 3 : rows > 0 ? 2 : 1, g->ne[i], at };
    g->size += (bytes + 31) / 32 * 32;
    g->data = realloc(g->data, g->size);
    assert_non_null(g->data);
    memset(g->data + at, 0, g->size - at);
    return (float *)(void *)(g->data + at);
}

static void
copy_tensor(struct gguf_maker *g, const struct nb_view *t, unsigned experts)
{
    const bool stacked = strstr(t->name, ".ffn_") != NULL && strstr(t->name, "_norm") == NULL;
    struct nb_view_reader reader = { 0 };
    char name[NB_MAX_NAME + 1];
    struct nb_error err;
    float *to;

    snprintf(name, sizeof name, "%.*s%s", (int)(strlen(t->name) - strlen(".weight")), t->name,
             stacked ? "_exps.weight" : ".weight");
    to = make_tensor(g, name, t->ne[0], t->n_dims > 1 ? t->ne[1] : 0, stacked ? experts : 1);
    for (unsigned x = 0; x < (stacked ? experts : 1); x++)
        assert_int_equal(nb_view_rows(t, 0, t->elements / t->ne[0], to + x * t->elements, &reader, &err), NB_OK);
    nb_view_reader_free(&reader);
    if (strstr(t->name, ".ffn_gate.weight") == NULL)
        return;
    snprintf(name, sizeof name, "%.*s_inp.weight", (int)(strlen(t->name) - strlen(".weight")), t->name);
    to = make_tensor(g, name, t->ne[0], experts, 1);
    for (size_t i = 0; i < t->ne[0] * experts; i++)
        to[i] = (float)(i * 2654435761u % 1000) / 500 - 1;
}

void
make_file(struct gguf_maker *g, const struct nb_metadata *meta, const char *name)
{
    struct nb_error err;
    unsigned char *header, *whole;
    uint64_t size;

    assert_int_equal(nb_gguf_header(meta, g->infos, g->count, &header, &size, &err), NB_OK);
    whole = malloc((size_t)size + g->size);
    assert_non_null(whole);
    memcpy(whole, header, (size_t)size);
    memcpy(whole + size, g->data, g->size);
    scratch_write(name, whole, (size_t)size + g->size);
    free(whole);
    free(header);
    free(g->data);
}

void
mixture_of(const char *dense, const char *name, unsigned experts, unsigned used)
{
    struct gguf_maker g = { .count = 0 };
    struct nb_source source;
    struct nb_error err;

    assert_int_equal(nb_source_open(&source, scratch_path(dense), NULL, &err), NB_OK);
    for (size_t i = 0; i < source.n_tensors; i++)
        copy_tensor(&g, &source.tensors[i], experts);
    nb_meta_set_u32(&source.meta, "llama.expert_count", experts);
    nb_meta_set_u32(&source.meta, "llama.expert_used_count", used);
    make_file(&g, &source.meta, name);
    nb_source_close(&source);
}
