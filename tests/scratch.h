/* A scratch folder, a tiny checkpoint to spoil, and the program run in a child. */
#ifndef NB_SCRATCH_H
#define NB_SCRATCH_H

#include "formats/elements/tensor.h"
#include "formats/gguf/gguf.h"
#include "formats/models/source.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCRATCH_PATH 512

/* For cmocka's group fixtures: makes and removes the folder. */
int scratch_setup(void **state);
int scratch_teardown(void **state);
/* The path of NAME in the scratch folder; in a static buffer, one of eight in turn. */
const char *scratch_path(const char *name);
/* Opens the model NAME of the scratch folder, which must be one. */
void scratch_open_source(struct nb_source *source, const char *name);
void scratch_remove(const char *name); /* a file, or a folder with all that is in it */
void scratch_folder(const char *name);
void scratch_write(const char *name, const void *bytes, size_t size);
void scratch_write_text(const char *name, const char *text);
/* The file's bytes, from malloc. */
unsigned char *scratch_read(const char *path, size_t *size);
/* Mounts a disk in memory on the folder PATH, with OPTIONS as "size=1m"; where that cannot be done the test is skipped. */
void scratch_small_disk(const char *path, const char *options);
void scratch_small_disk_gone(const char *path);
uint64_t scratch_hash(const char *path); /* XXH64, seed 0 */
bool scratch_exists(const char *path);

struct run {
    int code;      /* exit code, or 128 + signal */
    uint64_t peak; /* bytes of memory at most, in use at one time */
    char out[65536], err[65536];
};
/* Runs the program with ARGS, a list that ends with NULL and does not begin with its name. */
void run_nibble(struct run *run, const char *const *args);
/*
 * The same with both outputs, in OUT, on a terminal of COLUMNS columns, of the kind TERM, which changes no byte. False
 * where there are no such terminals.
 */
bool run_on_terminal(struct run *run, int columns, const char *term, const char *const *args);
#define RUN(run, ...) run_nibble(run, (const char *const[]){ __VA_ARGS__, NULL })

/*
 * A valid checkpoint FOLDER: one layer, hidden 64, two heads and one key-value
 * head, 32 tokens of byte-level BPE, F32; about 200 KiB.
 */
void tiny_checkpoint(const char *folder);
/* The same with weights of -1, -0.5, 0, 0.5 and 1, stored as DTYPE: F64, F32, F16, BF16, F8_E4M3 or F8_E5M2. */
void tiny_checkpoint_in(const char *folder, const char *dtype);
/* Its config.json and tokenizer.json, for those who want to change them. */
extern const char tiny_config[], tiny_tokenizer[];

/*
 * The F32 GGUF file DENSE as a mixture NAME of EXPERTS experts, USED of them for a
 * token: the dense model's feed-forward matrices, each so many times, and routers that
 * tell the experts apart.
 */
void mixture_of(const char *dense, const char *name, unsigned experts, unsigned used);

/* A GGUF file in the making: at most 64 tensors of floats. Begins as { .count = 0 }. */
struct gguf_maker {
    struct nb_gguf_info infos[64];
    uint64_t ne[64][3];
    char names[64][NB_MAX_NAME + 1];
    size_t count, size;
    unsigned char *data;
};
/* The zeroed elements of a new tensor, until the next one is made. ROWS is 0 for a vector, EXPERTS 1 but for stacks. */
float *make_tensor(struct gguf_maker *maker, const char *name, uint64_t columns, uint64_t rows, uint64_t experts);
/* Writes the file NAME, and frees what MAKER holds. */
void make_file(struct gguf_maker *maker, const struct nb_metadata *meta, const char *name);

/* Writes FOLDER/NAME as a safetensors file with this header and DATA_BYTES of zeros. */
void write_safetensors(const char *folder, const char *name, const char *header, size_t data_bytes);

#endif
