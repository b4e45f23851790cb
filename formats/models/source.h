/*
 * A common interface to a checkpoint folder, a single safetensors file and a GGUF file (or split
 * set): GGUF metadata, and views of the tensors under their GGUF names, from which any rows can be
 * read as floats. Code that quantizes, calibrates or verifies does not depend on the input format.
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

/* Information for the user that is not an error. */
struct nb_note {
    struct nb_note *next;
    const char *text;
};

struct nb_family;

struct nb_source {
    enum nb_source_kind kind;
    const char *path;
    struct nb_metadata meta;
    struct nb_view *tensors; /* in the reference converter's order, or in the order of the GGUF file */
    size_t n_tensors;
    struct nb_store store;
    struct nb_tensor *stored; /* for a GGUF file: the tensors and files of STORE */
    struct nb_file_in *files;
    uint64_t file_bytes; /* size of all files */
    struct nb_note *notes;
    struct nb_arena arena;
    struct nb_checkpoint *checkpoint; /* for a checkpoint */
    const struct nb_family *family;   /* of a checkpoint */
};

/* Overrides for what a checkpoint's files say (NULL: no override), and how they are read. */
struct nb_source_options {
    const char *pre_tokenizer;      /* tokenizer.ggml.pre */
    const char *model_class;        /* the class name in config.json */
    bool follow_links;              /* also links that lead out of the checkpoint's folder */
    bool keep_packed;               /* weights in MXFP4 and NVFP4 stay so, and are no floats */
    bool keep_quantized;            /* weights in 4 bits stay as Q4_0 or Q4_1, and are refused if that is not exact */
    const struct nb_family *family; /* a family outside the built-in tables, for other programs and tests */
};

/*
 * Opens PATH, whatever its format; OPTIONS may be NULL. Tensor data is not read yet. Many threads may
 * read a source at once; it must not be moved in memory while it is open.
 */
enum nb_status nb_source_open(struct nb_source *source, const char *path, const struct nb_source_options *options,
                              struct nb_error *err) NB_MUST_CHECK;
void nb_source_close(struct nb_source *source);

/* Total number of elements of all tensors. */
uint64_t nb_source_parameters(const struct nb_source *source);
/* What VIEW takes in the files: of weights that are quantized already, the codes and scales; of parts, their share of that. */
uint64_t nb_source_stored_bytes(const struct nb_view *view);
/* The format of quantized weights, "GPTQ", from which VIEW is computed as floats; NULL: it holds its elements as they are. */
const char *nb_source_packed_format(const struct nb_view *view);
/* Of the tensors as they are stored, without headers: of weights that are quantized already, their codes and scales. */
double nb_source_bits_per_weight(const struct nb_source *source);
void nb_source_note(struct nb_source *source, const char *format, ...) NB_PRINTF(2, 3);

/* The vocabulary of SOURCE, which must stay open while the vocabulary is used. */
enum nb_status nb_source_vocabulary(const struct nb_source *source, struct nb_vocabulary *vocabulary,
                                    struct nb_error *err) NB_MUST_CHECK;
/* SOURCE, whose kind must be NB_SOURCE_GGUF, as a set to split or merge. */
struct nb_gguf_set nb_source_gguf_set(const struct nb_source *source);

/* Used by nb_source_open: */
enum nb_status nb_source_open_checkpoint(struct nb_source *source, const char *path,
                                         const struct nb_source_options *options, struct nb_error *err) NB_MUST_CHECK;
/* The same, but faults of config, tensors or tokenizer go into FINDINGS where reading can continue. */
enum nb_status nb_source_examine_checkpoint(struct nb_source *source, const char *path, struct nb_findings *findings,
                                            struct nb_error *err) NB_MUST_CHECK;
enum nb_status nb_source_open_gguf(struct nb_source *source, const char *path, struct nb_error *err) NB_MUST_CHECK;

#endif
