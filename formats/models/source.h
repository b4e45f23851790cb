/*
 * The seam: a checkpoint folder, a bare safetensors file and a GGUF file (or
 * split set) look the same behind it. GGUF metadata, tensors under their GGUF
 * names, and the elements of any tensor from any place on. What quantizes,
 * calibrates or verifies never learns where the weights came from.
 */
#ifndef NB_SOURCE_H
#define NB_SOURCE_H

#include "formats/base/arena.h"
#include "formats/base/file_in.h"
#include "formats/base/findings.h"
#include "formats/base/status.h"
#include "formats/elements/tensor.h"
#include "formats/gguf/metadata.h"
#include "formats/gguf/split.h"
#include "formats/tokenizer/vocabulary.h"

enum nb_source_kind { NB_SOURCE_CHECKPOINT, NB_SOURCE_GGUF };

/* Something the user should hear of, though nothing is wrong. */
struct nb_note {
    struct nb_note *next;
    const char *text;
};

struct nb_source {
    enum nb_source_kind kind;
    const char *path;
    struct nb_metadata meta;
    struct nb_tensor *tensors; /* in the order the reference converter writes, or of the GGUF file */
    size_t n_tensors;
    struct nb_file_in *files;
    uint32_t n_files;
    uint64_t file_bytes; /* of all files together */
    struct nb_note *notes;
    struct nb_arena arena;
    struct nb_checkpoint *checkpoint; /* behind a checkpoint */
};

/*
 * Opens PATH, whatever it is. Tensor data is not touched. A source may be read
 * by many threads at once. PRE_TOKENIZER, if not NULL, is what
 * tokenizer.ggml.pre will say of a checkpoint, unseen.
 */
enum nb_status nb_source_open(struct nb_source *source, const char *path, const char *pre_tokenizer,
                              struct nb_error *err) NB_MUST_CHECK;
void nb_source_close(struct nb_source *source);

/*
 * COUNT elements of TENSOR from element FIRST on (row-major, as in GGUF), in
 * the stored type, into BUFFER. Both numbers must be multiples of the type's
 * block.
 */
enum nb_status nb_source_read(const struct nb_source *source, const struct nb_tensor *tensor, uint64_t first,
                              uint64_t count, void *buffer, struct nb_error *err) NB_MUST_CHECK;

/* Total elements of all tensors. */
uint64_t nb_source_parameters(const struct nb_source *source);
void nb_source_note(struct nb_source *source, const char *format, ...) NB_PRINTF(2, 3);

/* The vocabulary of SOURCE, which must stay open as long as it is used. */
enum nb_status nb_source_vocabulary(const struct nb_source *source, struct nb_vocabulary *vocabulary,
                                    struct nb_error *err) NB_MUST_CHECK;
/* SOURCE, which must be of NB_SOURCE_GGUF, as a set to split or merge. */
struct nb_gguf_set nb_source_gguf_set(const struct nb_source *source);

/* The two kinds, for nb_source_open. */
enum nb_status nb_source_open_checkpoint(struct nb_source *source, const char *path, const char *pre_tokenizer,
                                         struct nb_error *err) NB_MUST_CHECK;
/* The same, but what is wrong with config, tensors or tokenizer goes into FINDINGS as far as it can be read past. */
enum nb_status nb_source_examine_checkpoint(struct nb_source *source, const char *path, struct nb_findings *findings,
                                            struct nb_error *err) NB_MUST_CHECK;
enum nb_status nb_source_open_gguf(struct nb_source *source, const char *path, struct nb_error *err) NB_MUST_CHECK;

#endif
