/*
 * The seam: a checkpoint folder, a bare safetensors file and a GGUF file (or
 * split set) look the same behind it. GGUF metadata, tensors under their GGUF
 * names, and views of these from which any rows can be read as floats. What quantizes,
 * calibrates or verifies never learns where the weights came from.
 */
#ifndef NB_SOURCE_H
#define NB_SOURCE_H

#include "formats/base/arena.h"
#include "formats/base/file_in.h"
#include "formats/base/findings.h"
#include "formats/base/status.h"
#include "formats/gguf/metadata.h"
#include "formats/gguf/split.h"
#include "formats/models/view.h"
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
    struct nb_view *tensors; /* in the order the reference converter writes, or of the GGUF file */
    size_t n_tensors;
    struct nb_store store;
    struct nb_tensor *stored; /* the store's tensors and files, of a GGUF file */
    struct nb_file_in *files;
    uint64_t file_bytes; /* of all files together */
    struct nb_note *notes;
    struct nb_arena arena;
    struct nb_checkpoint *checkpoint; /* behind a checkpoint */
};

struct nb_family;

/* What to assume of a checkpoint instead of what its files say; NULL: what they say. */
struct nb_source_options {
    const char *pre_tokenizer; /* tokenizer.ggml.pre */
    const char *model_class;   /* the class that config.json names */
    const struct nb_family *family; /* a family that no table has, for programs of their own and tests */
};

/*
 * Opens PATH, whatever it is; OPTIONS may be NULL. Tensor data is not touched. A source may be read
 * by many threads at once; it must not be moved in memory while it is open.
 */
enum nb_status nb_source_open(struct nb_source *source, const char *path, const struct nb_source_options *options,
                              struct nb_error *err) NB_MUST_CHECK;
void nb_source_close(struct nb_source *source);

/* Total elements of all tensors. */
uint64_t nb_source_parameters(const struct nb_source *source);
void nb_source_note(struct nb_source *source, const char *format, ...) NB_PRINTF(2, 3);

/* The vocabulary of SOURCE, which must stay open as long as it is used. */
enum nb_status nb_source_vocabulary(const struct nb_source *source, struct nb_vocabulary *vocabulary,
                                    struct nb_error *err) NB_MUST_CHECK;
/* SOURCE, which must be of NB_SOURCE_GGUF, as a set to split or merge. */
struct nb_gguf_set nb_source_gguf_set(const struct nb_source *source);

/* The two kinds, for nb_source_open. */
enum nb_status nb_source_open_checkpoint(struct nb_source *source, const char *path,
                                         const struct nb_source_options *options, struct nb_error *err) NB_MUST_CHECK;
/* The same, but what is wrong with config, tensors or tokenizer goes into FINDINGS as far as it can be read past. */
enum nb_status nb_source_examine_checkpoint(struct nb_source *source, const char *path, struct nb_findings *findings,
                                            struct nb_error *err) NB_MUST_CHECK;
enum nb_status nb_source_open_gguf(struct nb_source *source, const char *path, struct nb_error *err) NB_MUST_CHECK;

#endif
