/*
 * nibble.h - read, quantize, calibrate, verify, check and write model files.
 *
 * This is the complete public interface of libnibble, for C11 and C++11. Its parts:
 *
 *   version and errors     nibble_version, nibble_code_name
 *   long calls             struct nibble_run: threads, progress, cancellation
 *   element types          nibble_type_*; converting rows of floats to blocks and back
 *   metadata               nibble_metadata_*: the typed keys of a model file
 *   sources                nibble_source_*: reading a checkpoint folder, a safetensors or a GGUF file
 *   quantizing a model     nibble_recipe_*, nibble_plan_*, nibble_quantize
 *   folders                nibble_dequantize, nibble_quantize_mlx
 *   calibrating            nibble_calibrate: an importance matrix from text
 *   by a text              nibble_tune: types that fit the model, blocks that are nearer to it
 *   verifying              nibble_verify: perplexity and KL divergence
 *   running                nibble_model_*: tokens, logits; nibble_generate
 *   checking               nibble_check: everything that is wrong with a file
 *   writing GGUF           nibble_writer_*: a file with your own metadata and tensors
 *
 * The following rules apply to all functions.
 *
 * Errors. A function that can fail returns an enum nibble_code; NIBBLE_OK is 0. Its last parameter,
 * ERROR, receives the code and a sentence that says what is wrong and where; it may be NULL. A function
 * that creates a handle sets OUT to NULL if it fails, so there is nothing to free after an error.
 *
 * Structs. Almost every struct begins with its size, so that later versions can add members without
 * breaking programs that are already compiled. Initialize each such variable with NIBBLE_INIT, which
 * sets its size and makes all other members zero. Zero is the default of every option. A pointer to
 * options may be NULL, which means all defaults.
 *
 * Lifetime. Pointers in a struct that is filled from a handle (names, values) stay valid until the
 * handle is freed or, for metadata, changed. Functions copy the strings that are passed to them. Every
 * function that frees a handle accepts NULL.
 *
 * Threads. Different handles can be used by different threads at the same time. One handle can be used
 * by several threads at the same time in functions that take it as const; otherwise only by one.
 *
 * Shapes. As in GGUF, shape[0] is the length of a row, whose elements are adjacent; PyTorch lists the
 * dimensions in the opposite order. The number of rows is the product of the other dimensions.
 *
 * Text. Strings are UTF-8 and end with a NUL. Paths are passed to the system unchanged. Types, recipes
 * and keys have the names that llama.cpp uses; the case of types and recipes does not matter.
 *
 * The library does not print, exit, install signal handlers or change the locale. Between calls it keeps
 * only the choice of kernels for this CPU and tables for the IQ types. Functions that run models
 * set the number of OpenBLAS's own threads to 1 for the process.
 */
#ifndef NIBBLE_H
#define NIBBLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__GNUC__)
#define NIBBLE_API __attribute__((visibility("default")))
#else
#define NIBBLE_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* --- version ------------------------------------------------------------------------------------ */

/* The version of this header. Before 1.0, a new minor version may be incompatible. */
#define NIBBLE_VERSION_MAJOR 0
#define NIBBLE_VERSION_MINOR 1
#define NIBBLE_VERSION_PATCH 0
#define NIBBLE_VERSION_STRING "0.1.0"

/* The version of the library that the program runs with, like NIBBLE_VERSION_STRING. */
NIBBLE_API const char *nibble_version(void);

/* --- errors ------------------------------------------------------------------------------------- */

/* The numbers are stable. Later versions may add codes. */
enum nibble_code {
    NIBBLE_OK = 0,
    NIBBLE_USAGE = 1,       /* an argument, an option or a name is wrong */
    NIBBLE_INVALID = 2,     /* an input is malformed, truncated or inconsistent with another */
    NIBBLE_UNSUPPORTED = 3, /* an input may be valid, but this version cannot use it */
    NIBBLE_NOT_FOUND = 4,   /* an input file, a tensor or a key does not exist */
    NIBBLE_EXISTS = 5,      /* the output file exists and REPLACE is not set */
    NIBBLE_IO = 6,          /* reading, writing or another system call failed */
    NIBBLE_NO_SPACE = 7,    /* the disk is full */
    NIBBLE_NO_MEMORY = 8,   /* memory allocation failed */
    NIBBLE_INTERRUPTED = 9  /* the progress callback requested a stop */
};

#define NIBBLE_MESSAGE_SIZE 1024

struct nibble_error {
    size_t size;
    enum nibble_code code;
    char message[NIBBLE_MESSAGE_SIZE]; /* a sentence without control characters; "" after success */
};

/* "ok", "usage", "no space", ...; "unknown" if there is no such code. */
NIBBLE_API const char *nibble_code_name(enum nibble_code code);

/* Initializes VARIABLE, whose type is a struct that begins with its size. */
#define NIBBLE_INIT(variable) (memset(&(variable), 0, sizeof(variable)), (void)((variable).size = sizeof(variable)))

/* --- long calls --------------------------------------------------------------------------------- */

/*
 * A long call calls this from the thread that made the call: at its start, and then about ten times a
 * second. DONE of TOTAL units are done; the function says what a unit is. CONTEXT is that of struct
 * nibble_run. A result other than 0 requests a stop: the call returns NIBBLE_INTERRUPTED and leaves no
 * output file, unless it was already complete.
 */
typedef int nibble_progress(void *context, uint64_t done, uint64_t total);

struct nibble_run {
    size_t size;
    unsigned threads;          /* 0: one per core. Results do not depend on the number */
    nibble_progress *progress; /* NULL: none */
    void *context;
};

/* --- element types, and rows of them ------------------------------------------------------------ */

enum nibble_importance {
    NIBBLE_IMPORTANCE_IGNORED,
    NIBBLE_IMPORTANCE_USED,  /* improves the result */
    NIBBLE_IMPORTANCE_NEEDED /* required */
};

/* A type of tensor elements: floats, integers or quantized blocks. */
struct nibble_type {
    size_t size;
    const char *name;        /* "q4_K" */
    int gguf_number;         /* its number in GGUF files; -1 if GGUF does not have it */
    uint32_t block_elements; /* 1 for floats and integers */
    uint32_t block_bytes;
    double bits_per_element;
    bool quantized;                    /* neither floats nor integers */
    bool readable;                     /* nibble_dequantize_rows supports it */
    bool writable;                     /* nibble_quantize_rows supports it */
    enum nibble_importance importance; /* how nibble_quantize_rows uses importance */
};

/* The number of types. */
NIBBLE_API size_t nibble_type_count(void);
/* Type number INDEX, which begins at 0. NIBBLE_USAGE: there is no such type. */
NIBBLE_API enum nibble_code nibble_type_at(size_t index, struct nibble_type *out, struct nibble_error *error);
/* The type called NAME. NIBBLE_USAGE: there is no such type. */
NIBBLE_API enum nibble_code nibble_type_find(const char *name, struct nibble_type *out, struct nibble_error *error);

/*
 * Sets *BYTES to the size of ROWS x COLUMNS elements of TYPE in bytes. NIBBLE_USAGE: there is no such
 * type, COLUMNS is not a multiple of its block, or the size does not fit 63 bits.
 */
NIBBLE_API enum nibble_code nibble_rows_bytes(const char *type, uint64_t rows, uint64_t columns, uint64_t *bytes,
                                              struct nibble_error *error);
/*
 * Converts ROWS x COLUMNS floats, stored row by row, to blocks of TYPE. BLOCKS has room for BYTES bytes;
 * nibble_rows_bytes returns how many are needed. IMPORTANCE is NULL or has a weight for each column,
 * which says how much an error in that column matters. On every machine the result is the bytes that
 * llama.cpp computes on x86-64. The function uses only the calling thread. Pass many rows at once; other
 * threads can convert other rows at the same time.
 * NIBBLE_USAGE: TYPE is not writable, COLUMNS is not a multiple of its block, BYTES is too small, or
 * TYPE needs IMPORTANCE. NIBBLE_INVALID: a float or a weight is NaN or infinite, a weight is negative, or
 * a float is too large for TYPE.
 *
 * Example (tests/installed/quantize_rows.c):
 *     nibble_rows_bytes("q4_K", 2, 256, &bytes, &error);
 *     blocks = malloc((size_t)bytes);
 *     if (nibble_quantize_rows("q4_K", weights, 2, 256, NULL, blocks, (size_t)bytes, &error) != NIBBLE_OK ||
 *         nibble_dequantize_rows("q4_K", blocks, (size_t)bytes, 2, 256, again, &error) != NIBBLE_OK)
 *         return fail(&error);
 */
NIBBLE_API enum nibble_code nibble_quantize_rows(const char *type, const float *floats, size_t rows, size_t columns,
                                                 const float *importance, void *blocks, size_t bytes,
                                                 struct nibble_error *error);
/*
 * Converts ROWS x COLUMNS elements of TYPE to floats. BLOCKS has BYTES bytes. NIBBLE_USAGE: TYPE is not
 * readable, COLUMNS is not a multiple of its block, or BYTES is too small.
 */
NIBBLE_API enum nibble_code nibble_dequantize_rows(const char *type, const void *blocks, size_t bytes, size_t rows,
                                                   size_t columns, float *floats, struct nibble_error *error);

/* --- metadata ----------------------------------------------------------------------------------- */

/* An ordered list of keys with typed values, as in a GGUF file. */
struct nibble_metadata;

/* The numbers are those of the GGUF format. */
enum nibble_value_type {
    NIBBLE_U8 = 0,
    NIBBLE_I8 = 1,
    NIBBLE_U16 = 2,
    NIBBLE_I16 = 3,
    NIBBLE_U32 = 4,
    NIBBLE_I32 = 5,
    NIBBLE_F32 = 6,
    NIBBLE_BOOL = 7, /* one byte, 0 or 1 */
    NIBBLE_STRING = 8,
    NIBBLE_U64 = 10,
    NIBBLE_I64 = 11,
    NIBBLE_F64 = 12
};

struct nibble_value {
    size_t size;
    const char *key;
    enum nibble_value_type type; /* for an array: of its elements */
    bool is_array;
    uint64_t count; /* the number of elements; 1 if it is not an array */
    /*
     * BYTES bytes. Numbers: little-endian, without padding, not aligned. A string: its bytes; a NUL
     * follows them. An array of strings: for each the length as a 64-bit number and then its bytes.
     */
    const void *data;
    uint64_t bytes;
};

/* A string that may contain NUL and does not end with one. */
struct nibble_string {
    const char *bytes;
    size_t length;
};

/* Creates an empty list. */
NIBBLE_API enum nibble_code nibble_metadata_new(struct nibble_metadata **out, struct nibble_error *error);
/* Frees a list that nibble_metadata_new created. */
NIBBLE_API void nibble_metadata_free(struct nibble_metadata *metadata);

/* The number of keys. */
NIBBLE_API size_t nibble_metadata_count(const struct nibble_metadata *metadata);
/* Value number INDEX, which begins at 0. NIBBLE_USAGE: there is no such value. */
NIBBLE_API enum nibble_code nibble_metadata_at(const struct nibble_metadata *metadata, size_t index,
                                               struct nibble_value *out, struct nibble_error *error);
/* The value of KEY. NIBBLE_NOT_FOUND: the list does not have that key. */
NIBBLE_API enum nibble_code nibble_metadata_find(const struct nibble_metadata *metadata, const char *key,
                                                 struct nibble_value *out, struct nibble_error *error);

/*
 * Copies COUNT elements of VALUE, from element FIRST on, to OUT. If VALUE is not an array, FIRST is 0 and
 * COUNT is 1. Integers and booleans can be read as integers or as floats, floats only as floats. Strings
 * point into VALUE's data. NIBBLE_USAGE: VALUE has fewer elements, they have another type, or an integer
 * does not fit int64_t.
 */
NIBBLE_API enum nibble_code nibble_value_integers(const struct nibble_value *value, uint64_t first, uint64_t count,
                                                  int64_t *out, struct nibble_error *error);
NIBBLE_API enum nibble_code nibble_value_floats(const struct nibble_value *value, uint64_t first, uint64_t count,
                                                double *out, struct nibble_error *error);
NIBBLE_API enum nibble_code nibble_value_strings(const struct nibble_value *value, uint64_t first, uint64_t count,
                                                 struct nibble_string *out, struct nibble_error *error);

/*
 * Sets the value of KEY. A new key is added at the end; an existing one keeps its place. TYPE is an
 * integer type or NIBBLE_BOOL for set_integer, NIBBLE_F32 or NIBBLE_F64 for set_float. NIBBLE_USAGE: KEY
 * is empty, is longer than 65535 bytes or has control characters; KEY or a text is not UTF-8; the
 * number does not fit TYPE; an array is empty, which readers do not accept.
 */
NIBBLE_API enum nibble_code nibble_metadata_set_string(struct nibble_metadata *metadata, const char *key,
                                                       const char *text, struct nibble_error *error);
NIBBLE_API enum nibble_code nibble_metadata_set_integer(struct nibble_metadata *metadata, const char *key,
                                                        enum nibble_value_type type, int64_t number,
                                                        struct nibble_error *error);
NIBBLE_API enum nibble_code nibble_metadata_set_float(struct nibble_metadata *metadata, const char *key,
                                                      enum nibble_value_type type, double number,
                                                      struct nibble_error *error);
NIBBLE_API enum nibble_code nibble_metadata_set_strings(struct nibble_metadata *metadata, const char *key,
                                                        const char *const *texts, size_t count,
                                                        struct nibble_error *error);
/*
 * Sets a value that was read from another list, or that you filled in, such as an array of numbers. Its
 * data is checked and copied; BYTES matters for strings only. The same errors.
 */
NIBBLE_API enum nibble_code nibble_metadata_set(struct nibble_metadata *metadata, const struct nibble_value *value,
                                                struct nibble_error *error);
/* Removes KEY if the list has it. */
NIBBLE_API void nibble_metadata_remove(struct nibble_metadata *metadata, const char *key);

/* --- sources ------------------------------------------------------------------------------------ */

/*
 * A model that is open for reading: a checkpoint folder (config.json and safetensors), a .safetensors
 * file with config.json in the same folder, or a GGUF file, which may be the first of a split set. All
 * have the same interface: metadata with GGUF's keys, and tensors with the names, shapes and order that
 * they have in a GGUF file. Opening a source does not read weights. The files must not change while it
 * is open.
 */
struct nibble_source;

/* Options for checkpoints. NULL: as the checkpoint's files say. */
struct nibble_source_options {
    size_t size;
    const char *pre_tokenizer; /* the value of tokenizer.ggml.pre, if the tokenizer is not recognized */
    const char *model_class;   /* treat the model as this class instead of the one in config.json */
    bool follow_links;         /* also links that lead out of the folder, which are refused otherwise */
    /*
     * Weights that are quantized already are read as floats. These keep what GGUF can hold, for quantizing the model as the
     * command does it, which sets the first one.
     */
    bool keep_packed;    /* MXFP4 and NVFP4 stay so, unless the options of quantizing say otherwise */
    bool keep_quantized; /* codes of 4 bits stay as q4_0 or q4_1; NIBBLE_UNSUPPORTED where that is not exact */
};

struct nibble_source_info {
    size_t size;
    const char *format; /* "GGUF" or "checkpoint" */
    size_t tensors;
    size_t notes;        /* remarks for the user; see nibble_source_note */
    uint64_t parameters; /* elements of all tensors */
    uint64_t file_bytes; /* total size of the files */
};

struct nibble_tensor {
    size_t size;
    const char *name;        /* "blk.0.attn_q.weight" */
    const char *stored_name; /* its name in the checkpoint: "model.layers.0.self_attn.q_proj.weight" */
    const char *type;        /* the type it is stored in: "bf16" */
    uint32_t dims;           /* 1 to 4 */
    uint64_t shape[4];       /* 1 beyond DIMS */
    uint64_t elements;
    uint64_t bytes; /* as stored */
};

/*
 * Opens the model PATH. NIBBLE_NOT_FOUND: there is no such file or folder. NIBBLE_INVALID: a file is
 * malformed, or the files are inconsistent. NIBBLE_UNSUPPORTED: an unknown model class, tokenizer or
 * format.
 *
 * Example (tests/installed/list_source.c):
 *     if (nibble_source_open(path, NULL, &source, &error) != NIBBLE_OK)
 *         return fail(&error);
 *     nibble_source_get_info(source, &info);
 *     for (size_t i = 0; i < info.tensors; i++) {
 *         nibble_source_tensor(source, i, &tensor, &error);
 *         printf("%s %s %llu x %llu\n", tensor.name, tensor.type, (unsigned long long)tensor.shape[0],
 *                (unsigned long long)(tensor.elements / tensor.shape[0]));
 *     }
 */
NIBBLE_API enum nibble_code nibble_source_open(const char *path, const struct nibble_source_options *options,
                                               struct nibble_source **out, struct nibble_error *error);
/* Closes the files and frees SOURCE. */
NIBBLE_API void nibble_source_close(struct nibble_source *source);

/* Fills OUT, which must be initialized. */
NIBBLE_API void nibble_source_get_info(const struct nibble_source *source, struct nibble_source_info *out);
/* Note number INDEX, which begins at 0; NULL after the last. */
NIBBLE_API const char *nibble_source_note(const struct nibble_source *source, size_t index);
/* The metadata of SOURCE, which owns it: do not free it. */
NIBBLE_API const struct nibble_metadata *nibble_source_metadata(const struct nibble_source *source);
/* Tensor number INDEX, which begins at 0. NIBBLE_USAGE: there is no such tensor. */
NIBBLE_API enum nibble_code nibble_source_tensor(const struct nibble_source *source, size_t index,
                                                 struct nibble_tensor *out, struct nibble_error *error);
/* Sets *INDEX to the number of the tensor NAME. NIBBLE_NOT_FOUND: there is no such tensor. */
NIBBLE_API enum nibble_code nibble_source_find(const struct nibble_source *source, const char *name, size_t *index,
                                               struct nibble_error *error);
/*
 * Reads COUNT rows of tensor INDEX, from row FIRST on, as floats. OUT has room for COUNT x shape[0]
 * floats. NIBBLE_USAGE: there is no such tensor, or no such rows. NIBBLE_UNSUPPORTED: the tensor's type is
 * not readable. NIBBLE_INVALID, NIBBLE_IO: the file became shorter, or cannot be read.
 */
NIBBLE_API enum nibble_code nibble_source_rows(const struct nibble_source *source, size_t index, uint64_t first,
                                               uint64_t count, float *out, struct nibble_error *error);

/* Whether two tokenizers make the same tokens of a text. */
enum nibble_agreement {
    NIBBLE_AGREES = 0,
    NIBBLE_AGREEMENT_UNKNOWN = 1, /* the folder has no tokenizer.json, or one with steps that cannot be followed */
    NIBBLE_DIFFERS_RARELY = 2,    /* only beside control tokens, with combining marks or a space at the beginning */
    NIBBLE_DIFFERS = 3            /* in plain text: the command 'nibble quantize' refuses such a model */
};

/*
 * Sets *AGREEMENT to whether llama.cpp, by the keys that a GGUF file of SOURCE has, makes the tokens that the tokenizer of
 * the checkpoint's folder makes, over texts of many kinds. WHAT, of ROOM bytes, receives the first difference, or why it is
 * not known, as the end of a sentence, as far as there is room; "" if they agree. A GGUF file agrees with itself.
 */
NIBBLE_API enum nibble_code nibble_source_agreement(const struct nibble_source *source,
                                                    enum nibble_agreement *agreement, char *what, size_t room,
                                                    struct nibble_error *error);

/* --- quantizing a model ------------------------------------------------------------------------- */

/* A recipe chooses a type for each tensor. The recipes are those of llama-quantize. */
struct nibble_recipe {
    size_t size;
    const char *name; /* "Q4_K_M" */
    const char *description;
    const char *type;   /* the type of most tensors; NULL for COPY */
    uint32_t file_type; /* its number in general.file_type */
};

/* The number of recipes. */
NIBBLE_API size_t nibble_recipe_count(void);
/* Recipe number INDEX, which begins at 0; the smallest files first. NIBBLE_USAGE: there is no such recipe. */
NIBBLE_API enum nibble_code nibble_recipe_at(size_t index, struct nibble_recipe *out, struct nibble_error *error);
/* The recipe called NAME; "Q4_K" means "Q4_K_M". NIBBLE_USAGE: there is no such recipe. */
NIBBLE_API enum nibble_code nibble_recipe_find(const char *name, struct nibble_recipe *out, struct nibble_error *error);

/* Gives TYPE to the tensors with names in which the regular expression PATTERN matches, in any case. */
struct nibble_type_rule {
    const char *pattern, *type;
};

/* The options of the command 'nibble quantize'; its manual page explains them. */
struct nibble_quantize_options {
    size_t size;
    const char *recipe;                 /* NULL: "Q4_K_M" */
    const char *imatrix;                /* a file with an importance matrix, GGUF or .dat; NULL: none */
    const char *const *include_weights; /* use only entries of the matrix with names that contain one of these */
    size_t n_include_weights;
    const char *const *exclude_weights; /* or only entries with names that contain none of these */
    size_t n_exclude_weights;
    const struct nibble_type_rule *tensor_types; /* the first rule that matches applies */
    size_t n_tensor_types;
    const char *output_type;                /* the type of output.weight; NULL: as the recipe says */
    const char *embedding_type;             /* the type of token_embd.weight; NULL: as the recipe says */
    const char *via;                        /* "f16" or "bf16": round all weights to this type first; NULL: do not */
    const struct nibble_metadata *metadata; /* keys to set in the output, no arrays; NULL: none */
    const uint64_t *prune_layers;           /* layers to remove; the others are renumbered */
    size_t n_prune_layers;
    bool pure;             /* use the recipe's main type for every tensor that is quantized */
    bool leave_output;     /* do not change output.weight */
    bool no_fallback;      /* fail if rows do not divide into blocks, instead of choosing another type */
    bool keep_split;       /* write as many files as a split source has */
    bool allow_requantize; /* quantize tensors that are already quantized */
    bool allow_nonfinite;  /* write NaN and infinity instead of failing */
    bool replace;          /* replace an existing output file */
    bool dry_run;          /* the plan will not be written, so a missing importance matrix is no error */
    bool requantize_all;   /* also what a source has in MXFP4 or NVFP4; sets allow_requantize */
};

/*
 * The complete layout of an output file: its header and the type, offset and size of every tensor. It is
 * made before any weight is read. The source must stay open as long as the plan is used.
 */
struct nibble_plan;

struct nibble_plan_info {
    size_t size;
    const char *recipe;
    const char *file_name; /* a name by the GGUF naming convention: "Tiny-3M-Q4_K_M.gguf" */
    size_t tensors, files;
    uint64_t parameters, source_bytes, file_bytes;
    double bits_per_parameter; /* average over all tensors */
    size_t fallbacks;          /* tensors with another type because their rows do not divide into blocks */
    size_t lack_importance;    /* tensors that would use importance, but the matrix has no entry for them */
    bool needs_importance;     /* the plan was made with dry_run and needs an importance matrix */
};

/* Why a tensor has its type. */
enum nibble_reason {
    NIBBLE_WHY_KEPT = 0,    /* it is never quantized: vectors, norms, routers */
    NIBBLE_WHY_RECIPE = 1,  /* it is the recipe's main type */
    NIBBLE_WHY_RULE = 2,    /* a rule of the recipe applies to this tensor */
    NIBBLE_WHY_USER = 3,    /* an option says so: tensor_types, output_type, embedding_type */
    NIBBLE_WHY_FALLBACK = 4 /* the intended type does not fit the rows */
};

struct nibble_planned_tensor {
    size_t size;
    const char *name;        /* in the output */
    const char *stored_name; /* in the source */
    uint32_t dims;           /* 1 to 4 */
    uint64_t shape[4];       /* 1 beyond DIMS */
    const char *source_type;
    uint64_t source_bytes;
    const char *type;  /* in the output */
    const char *meant; /* the intended type: differs from TYPE after a fallback */
    enum nibble_reason reason;
    bool importance;       /* importance is used */
    bool lacks_importance; /* it would be used, but the matrix has no entry for this tensor */
    uint32_t file;         /* number of the output file, which begins at 0 */
    uint64_t offset;       /* of the first byte in that file */
    uint64_t bytes;
};

/*
 * Plans how SOURCE is quantized. Nothing is written. NIBBLE_USAGE: an unknown recipe or type, a rule that
 * matches no tensor, options that exclude each other, or no importance matrix for a type that needs one.
 * NIBBLE_INVALID: the importance matrix is malformed or does not fit the model, or a tensor is already
 * quantized. NIBBLE_NOT_FOUND: the file of the importance matrix does not exist.
 */
NIBBLE_API enum nibble_code nibble_plan_new(const struct nibble_source *source,
                                            const struct nibble_quantize_options *options, struct nibble_plan **out,
                                            struct nibble_error *error);
/* Frees PLAN. */
NIBBLE_API void nibble_plan_free(struct nibble_plan *plan);
/* Fills OUT, which must be initialized. */
NIBBLE_API void nibble_plan_get_info(const struct nibble_plan *plan, struct nibble_plan_info *out);
/* Tensor number INDEX, which begins at 0, in the order of the output. NIBBLE_USAGE: there is no such tensor. */
NIBBLE_API enum nibble_code nibble_plan_tensor(const struct nibble_plan *plan, size_t index,
                                               struct nibble_planned_tensor *out, struct nibble_error *error);
/*
 * Writes the planned file OUTPUT; several files are called "OUTPUT-00001-of-00003.gguf" and so on. The
 * data goes to OUTPUT.partial, which is renamed when it is complete and on the disk, so that there is
 * never an incomplete OUTPUT. Progress is in bytes of the source. NIBBLE_USAGE: OUTPUT is one of the
 * files that are read, or the plan lacks importance that it needs. NIBBLE_EXISTS. NIBBLE_NO_SPACE.
 * NIBBLE_INVALID: a weight is NaN, infinite or too large for its type.
 */
NIBBLE_API enum nibble_code nibble_plan_write(const struct nibble_plan *plan, const char *output,
                                              const struct nibble_run *run, struct nibble_error *error);
/*
 * Plans, writes and frees the plan, with the errors of nibble_plan_new and nibble_plan_write.
 *
 * Example (tests/installed/quantize_model.c):
 *     options.recipe = "Q4_K_M";
 *     run.progress = report; // returns 1 to cancel
 *     if (nibble_source_open(path, NULL, &source, &error) != NIBBLE_OK ||
 *         nibble_quantize(source, output, &options, &run, &error) != NIBBLE_OK)
 *         code = fail(&error);
 *     nibble_source_close(source);
 */
NIBBLE_API enum nibble_code nibble_quantize(const struct nibble_source *source, const char *output,
                                            const struct nibble_quantize_options *options, const struct nibble_run *run,
                                            struct nibble_error *error);

/* --- folders: checkpoints of floats, MLX -------------------------------------------------------- */

struct nibble_dequantize_options {
    size_t size;
    const char *dtype;       /* of the weights: "bf16", "f16" or "f32"; NULL: "bf16" */
    const char *model_class; /* of a GGUF file: the class to write; NULL: the first one that gives the same keys */
    bool allow_nonfinite;    /* write NaN and infinity instead of failing */
};

/*
 * Writes SOURCE as the new folder FOLDER in Hugging Face's layout, with weights that are floats: a folder whose weights are
 * quantized, or a GGUF file, with config.json and the tokenizer. Progress is in bytes of the source. NIBBLE_UNSUPPORTED: no
 * class gives back what the GGUF file has. NIBBLE_EXISTS. NIBBLE_NO_SPACE. NIBBLE_INVALID: a weight is NaN, infinite or too
 * large for the type.
 */
NIBBLE_API enum nibble_code nibble_dequantize(const struct nibble_source *source, const char *folder,
                                              const struct nibble_dequantize_options *options,
                                              const struct nibble_run *run, struct nibble_error *error);

struct nibble_mlx_options {
    size_t size;
    const char *recipe;      /* as 'nibble types' lists them: "4bit", "mxfp4", "mixed_3_6", "bf16"; NULL: "4bit" */
    uint32_t group_size;     /* of affine formats: how many weights share a scale; 0: 64 */
    const char *dtype;       /* of what is not quantized, of scales and biases; NULL: as config.json says */
    const char *imatrix;     /* a file with an importance matrix, by which scales are fitted; NULL: none */
    const char *model_class; /* as in nibble_dequantize_options */
    const struct nibble_type_rule *tensor_types; /* recipes of tensors; the first rule that matches applies */
    size_t n_tensor_types;
    bool no_fallback; /* fail if rows do not divide into groups, instead of leaving the tensor in floats */
};

/*
 * Writes SOURCE as the new folder FOLDER for mlx-lm. Progress is in bytes of the source. NIBBLE_USAGE: an unknown recipe or
 * type, or a rule that matches no tensor. NIBBLE_UNSUPPORTED: mlx-lm does not have the model's class. The other errors are
 * those of nibble_dequantize.
 *
 * Example (tests/installed/folders.c):
 *     mlx.recipe = "mxfp4";
 *     if (nibble_quantize_mlx(source, "mlx", &mlx, NULL, &error) != NIBBLE_OK ||
 *         nibble_dequantize(source, "floats", NULL, NULL, &error) != NIBBLE_OK)
 *         code = fail(&error);
 */
NIBBLE_API enum nibble_code nibble_quantize_mlx(const struct nibble_source *source, const char *folder,
                                                const struct nibble_mlx_options *options, const struct nibble_run *run,
                                                struct nibble_error *error);

/* --- calibrating -------------------------------------------------------------------------------- */

/* A text: a file, plain or compressed with gzip, or bytes in memory. */
struct nibble_text {
    const char *name;  /* the path of the file ("-": the standard input), or a name for BYTES */
    const char *bytes; /* NULL: read the file */
    size_t length;
};

struct nibble_calibrate_options {
    size_t size;
    /* The text is divided into chunks of so many tokens; 0: 512, or the model's context length if that is less. */
    uint32_t chunk_tokens;
    uint32_t from_chunk; /* skip so many chunks */
    uint32_t max_chunks; /* use at most so many chunks; 0: all */
    bool process_output; /* include the output matrix, or the embedding if that is used instead */
    bool parse_special;  /* treat the names of control tokens in the text as these tokens */
    bool dat;            /* write the older .dat format instead of GGUF */
    bool replace;        /* replace an existing output file */
    /*
     * A file for the state of a run that was stopped; NULL: none. It is written after every SAVE_EVERY
     * chunks, every ten seconds and at a stop, always after a whole batch of chunks; a batch that lasts
     * longer than half a second after a stop is broken off and its work lost. The same call continues
     * from it, and gives the same result as a run without a stop.
     */
    const char *state;
    uint32_t save_every; /* 0: only by time */
};

/* How much of the model the text reached. An entry is the matrix entry of one weight tensor. */
struct nibble_calibration {
    size_t size;
    uint64_t chunks, tokens; /* tokens: of the entry that received most */
    uint64_t entries, entries_without_tokens;
    uint64_t experts, experts_without_tokens; /* of all layers */
    uint64_t columns, zero_columns;           /* of entries and experts that received tokens */
};

/*
 * Runs COUNT texts through the model SOURCE and writes the importance matrix OUTPUT, atomically, in the
 * format of llama-imatrix. RESULT may be NULL. Progress is in chunks. NIBBLE_USAGE: there is no text.
 * NIBBLE_INVALID: a text is not UTF-8 or is shorter than a chunk, STATE belongs to another run, or the
 * model computes NaN or infinity. NIBBLE_UNSUPPORTED: the model cannot be run. NIBBLE_NOT_FOUND: a text
 * does not exist. NIBBLE_EXISTS.
 *
 * Example (tests/installed/calibrate.c):
 *     text.name = "calibration.txt";
 *     options.max_chunks = 8;
 *     if (nibble_calibrate(source, &text, 1, output, &options, NULL, &result, &error) != NIBBLE_OK)
 *         return fail(&error);
 */
NIBBLE_API enum nibble_code nibble_calibrate(const struct nibble_source *source, const struct nibble_text *texts,
                                             size_t count, const char *output,
                                             const struct nibble_calibrate_options *options,
                                             const struct nibble_run *run, struct nibble_calibration *result,
                                             struct nibble_error *error);

/* --- quantizing a model by what flows through it ------------------------------------------------ */

/* What nibble_tune does with a text; the options of 'nibble quantize' of the same names explain it. */
struct nibble_tune_options {
    size_t size;
    /*
     * The text, of the kind that the model is for; it is read several times. It may be NULL where it is not needed: with
     * LIKE, or with a file of EFFECTS that exists.
     */
    const struct nibble_text *text;
    bool write_text;        /* instead, the model writes one of REFINE_TOKENS tokens first */
    uint32_t chunk_tokens;  /* the text is divided into chunks of so many tokens; 0: as in nibble_calibrate_options */
    uint32_t refine_tokens; /* use so many tokens of it to refine by, from all over it; 0: 65536 */
    const char *scratch;    /* keep their states, 8 bytes for each element, in a file in this folder; NULL: in memory */
    bool calibrate;         /* make the importance matrix from the text */
    /*
     * Find better blocks of the same types, layer by layer; without an imatrix, calibrate, too. A fifth of the tokens are
     * held out, and blocks that are not better on them are not taken. The file's keys nibble.refine.* tell of it.
     */
    bool refine;
    /* Choose the type of each tensor; at most one of these four. The recipe is then that of most weights. */
    uint64_t target_bytes; /* the least harm in a file of at most so many bytes */
    double target_bpw;     /* the same for bits per weight */
    double max_kld;        /* the smallest file with this expected KL divergence, in nats per token */
    const char *like;      /* the types that the tensors have in this GGUF file */
    /* For the first three: */
    const char *const *
        types; /* that may be chosen; NULL: q2_K to q6_K and q8_0, or simpler ones where rows ask for them; i-quants if these are too large */
    size_t n_types;
    const char *effects; /* a file to keep in what the types do to the model, or to use if it exists; NULL: none */
};

struct nibble_tuning {
    size_t size;
    double expected_kld;        /* of the types that were chosen, in nats per token; 0 if none were */
    uint64_t matrices, refined; /* that could be refined, and that were */
    uint64_t tokens;            /* they were refined by */
    double kld_before, kld;     /* before and after, on the tokens held out, in nats per token */
};

/*
 * Quantizes SOURCE to the file OUTPUT as nibble_quantize does, with types and blocks that fit the model by what a text
 * makes of it. Any reader of GGUF reads the file. RESULT may be NULL. Progress is in thousandths of a step; there are several
 * steps. Refining works in OUTPUT.refining, which a stop leaves: the same call continues there. Refined blocks can differ
 * between CPUs and BLAS libraries, but not with the number of threads.
 * The errors of nibble_plan_new, nibble_plan_write and nibble_calibrate, and NIBBLE_USAGE: options that exclude each other.
 * NIBBLE_INVALID: no choice of types reaches the target, or EFFECTS is malformed.
 *
 * Example (tests/installed/tune.c):
 *     text.name = "calibration.txt";
 *     tune.text = &text;
 *     tune.target_bpw = 4.5;
 *     tune.refine = true;
 *     if (nibble_tune(source, output, NULL, &tune, NULL, &result, &error) != NIBBLE_OK)
 *         return fail(&error);
 *     printf("KLD %.4f, was %.4f\n", result.kld, result.kld_before);
 */
NIBBLE_API enum nibble_code nibble_tune(const struct nibble_source *source, const char *output,
                                        const struct nibble_quantize_options *options,
                                        const struct nibble_tune_options *tune, const struct nibble_run *run,
                                        struct nibble_tuning *result, struct nibble_error *error);

/* --- verifying ---------------------------------------------------------------------------------- */

/* How a file of questions is written; llama-perplexity reads the same. The numbers are stable. */
enum nibble_task_kind { NIBBLE_HELLASWAG = 0, NIBBLE_WINOGRANDE = 1, NIBBLE_MULTIPLE_CHOICE = 2 };

/* Questions with answers to choose from: a model's answer is the one that it finds likeliest. */
struct nibble_task {
    enum nibble_task_kind kind;
    const char *file;
    uint32_t max_questions; /* use only so many of the first ones; 0: all */
};

struct nibble_verify_options {
    size_t size;
    uint32_t chunk_tokens; /* the text is divided into chunks of so many tokens; 0: 512, or those of BASE_FROM */
    uint32_t max_chunks;   /* use at most so many chunks; 0: all */
    /*
     * Run all models but the base with what goes into matrix products rounded to 8 bits, as llama.cpp's kernels for CPUs
     * do; false: in float32.
     */
    bool round_activations;
    bool replace;          /* replace an existing file SAVE_BASE */
    const char *save_base; /* a file to write the predictions of the base to; NULL: none */
    /*
     * Such a file, in the place of a base that is not run; NULL: the first model is the base. With it all models are
     * compared with the one that was saved, which is number 0 of the results: that of models[0] is 1. TEXT may then be
     * NULL. Mean divergences are within 1e-5, or 1 %, of those from the base itself.
     */
    const char *base_from;
    const struct nibble_task *tasks; /* that all models do, too */
    size_t n_tasks;
};

/* A value and its standard error. */
struct nibble_estimate {
    double value, error;
};

/* Indices of the quantiles over all scored tokens. */
enum nibble_quantile {
    NIBBLE_QUANTILE_MIN,
    NIBBLE_QUANTILE_001, /* 0.1 % of the tokens are below */
    NIBBLE_QUANTILE_01,  /* 1 % */
    NIBBLE_QUANTILE_05,
    NIBBLE_QUANTILE_10,
    NIBBLE_QUANTILE_25,
    NIBBLE_QUANTILE_50, /* the median */
    NIBBLE_QUANTILE_75,
    NIBBLE_QUANTILE_90,
    NIBBLE_QUANTILE_95,
    NIBBLE_QUANTILE_99,
    NIBBLE_QUANTILE_999, /* 99.9 % */
    NIBBLE_QUANTILE_MAX
};
#define NIBBLE_QUANTILES 13

/*
 * The measurements of one model, as llama-perplexity defines them. Each chunk is run by itself, and the
 * tokens of its second half are scored. Logarithms are natural, divergences are in nats per token.
 */
struct nibble_drift {
    size_t size;
    uint64_t chunks, chunk_tokens;
    uint64_t scored; /* tokens */
    struct nibble_estimate perplexity;
    /* Compared with the base. For the base itself: no difference. */
    struct nibble_estimate ratio;           /* of the perplexity to the base's */
    struct nibble_estimate ln_ratio;        /* its logarithm */
    double correlation;                     /* of the two models' log-probabilities of the true tokens */
    struct nibble_estimate kld;             /* KL divergence from the base */
    double kld_quantiles[NIBBLE_QUANTILES]; /* see enum nibble_quantile */
    struct nibble_estimate dp, rms_dp;      /* change of the true token's probability: mean, root mean square */
    double dp_quantiles[NIBBLE_QUANTILES];
    struct nibble_estimate same_top; /* share of tokens for which both models predict the same token first */
    /*
     * How the model's own tokenizer would make other tokens of the text than the base's, which were measured: users of
     * the model see another quality. The end of a sentence; NULL: it makes the same, or it cannot be known.
     */
    const char *other_tokens;
};

/* What a model made of a task. */
struct nibble_task_score {
    size_t size;
    uint64_t questions;
    struct nibble_estimate right; /* the share of right answers */
    double same_as_base;          /* the share of the questions with the base's answer; NaN with a saved base */
};

/* The measurements of all models. */
struct nibble_verification;

/*
 * Measures COUNT models on TEXT in one pass, and compares them with the first, the base. Progress is in
 * chunks, and then, for each task, in thousandths. NIBBLE_USAGE: there is no model or no text, or options exclude each
 * other. NIBBLE_INVALID: the text is not UTF-8 or is shorter than two chunks, the models have different vocabularies, a file
 * of questions or a saved base is malformed or does not fit, or a model computes NaN or infinity. NIBBLE_UNSUPPORTED: a
 * model cannot be run. NIBBLE_NOT_FOUND: the text, or another file, does not exist. NIBBLE_EXISTS: SAVE_BASE exists.
 *
 * Example (tests/installed/verify.c):
 *     text.name = "wiki.test.raw";
 *     if (nibble_verify(models, 2, &text, NULL, NULL, &verification, &error) != NIBBLE_OK)
 *         return fail(&error);
 *     nibble_verification_model(verification, 1, &drift, &error);
 *     printf("PPL %.4f, KLD %.6f +- %.6f\n", drift.perplexity.value, drift.kld.value, drift.kld.error);
 *     nibble_verification_free(verification);
 */
NIBBLE_API enum nibble_code nibble_verify(const struct nibble_source *const *models, size_t count,
                                          const struct nibble_text *text, const struct nibble_verify_options *options,
                                          const struct nibble_run *run, struct nibble_verification **out,
                                          struct nibble_error *error);
/* Frees VERIFICATION. */
NIBBLE_API void nibble_verification_free(struct nibble_verification *verification);
/* The measurements of model number INDEX; 0 is the base. NIBBLE_USAGE: there is no such model. */
NIBBLE_API enum nibble_code nibble_verification_model(const struct nibble_verification *verification, size_t index,
                                                      struct nibble_drift *out, struct nibble_error *error);
/* What that model made of task number TASK. NIBBLE_USAGE: there is no such model or task. NIBBLE_NOT_FOUND: a saved base. */
NIBBLE_API enum nibble_code nibble_verification_task(const struct nibble_verification *verification, size_t index,
                                                     size_t task, struct nibble_task_score *out,
                                                     struct nibble_error *error);

/* --- running a model ---------------------------------------------------------------------------- */

/*
 * A model that is open for running, and the text that it has read so far. Everything is computed in float32, by weights as
 * they are stored: for looking at what a model says, and for comparing. It is not as fast as a runtime.
 */
struct nibble_model;

struct nibble_model_options {
    size_t size;
    unsigned threads; /* 0: one per core. Results do not depend on the number */
    uint32_t context; /* tokens that a text may have; 0: the model's context length, but at most 4096 */
};

/*
 * Opens SOURCE, which must stay open, for running. NIBBLE_UNSUPPORTED: the architecture, or the tokenizer, cannot be run.
 * NIBBLE_INVALID: tensors or keys are missing or do not fit. NIBBLE_NO_MEMORY.
 */
NIBBLE_API enum nibble_code nibble_model_open(const struct nibble_source *source,
                                              const struct nibble_model_options *options, struct nibble_model **out,
                                              struct nibble_error *error);
/* Frees MODEL. */
NIBBLE_API void nibble_model_close(struct nibble_model *model);
/* The number of tokens in the vocabulary. */
NIBBLE_API size_t nibble_model_vocabulary(const struct nibble_model *model);
/*
 * Sets *COUNT to the number of tokens in the LENGTH bytes at TEXT, and copies the first ROOM of them to IDS. SPECIAL: begins and
 * ends with the tokens that the model wants there (BOS, EOS), and recognizes the names of control tokens. NIBBLE_INVALID: TEXT
 * is not UTF-8, and the tokenizer of a checkpoint needs that.
 */
NIBBLE_API enum nibble_code nibble_model_tokens(const struct nibble_model *model, const char *text, size_t length,
                                                bool special, int32_t *ids, size_t room, size_t *count,
                                                struct nibble_error *error);
/*
 * Sets *LENGTH to that of the text of COUNT tokens in bytes, and copies the first ROOM of them to TEXT; no NUL follows. Control
 * tokens have no text. NIBBLE_USAGE: there is no such token.
 */
NIBBLE_API enum nibble_code nibble_model_text(const struct nibble_model *model, const int32_t *ids, size_t count,
                                              char *text, size_t room, size_t *length, struct nibble_error *error);
/*
 * Reads the next COUNT tokens of the text, at least one. LOGITS, which may be NULL, receives those of the token that comes
 * next, one for each token of the vocabulary. NIBBLE_USAGE: there is no such token, or the context is full; nothing was read
 * then. NIBBLE_INVALID: the logits are NaN or infinite.
 *
 * Example (tests/installed/logits.c):
 *     if (nibble_model_tokens(model, text, strlen(text), true, ids, 64, &count, &error) != NIBBLE_OK || count > 64 ||
 *         nibble_model_read(model, ids, count, logits, &error) != NIBBLE_OK)
 *         return fail(&error);
 */
NIBBLE_API enum nibble_code nibble_model_read(struct nibble_model *model, const int32_t *ids, size_t count,
                                              float *logits, struct nibble_error *error);
/* Forgets the text: the next token that is read is the first. */
NIBBLE_API enum nibble_code nibble_model_restart(struct nibble_model *model, struct nibble_error *error);

struct nibble_generate_options {
    size_t size;
    uint32_t max_tokens; /* 0: 64 */
    double temperature;  /* 0: always the most likely token */
    uint64_t seed;
    /* Called with each token as soon as it is known; NULL: not. A result other than 0 requests a stop: NIBBLE_INTERRUPTED. */
    int (*say)(void *context, int32_t id);
    void *context;
};

/*
 * Continues a prompt of COUNT tokens, whatever the model has read before, which does not change. IDS has room for max_tokens;
 * *SAID is set to how many were said, also after a stop. It ends before the token that ends the text, or where the context is
 * full. NIBBLE_USAGE: the prompt has no token, or one that does not exist, or fills the context.
 */
NIBBLE_API enum nibble_code nibble_generate(struct nibble_model *model, const int32_t *prompt, size_t count,
                                            const struct nibble_generate_options *options, int32_t *ids, size_t *said,
                                            struct nibble_error *error);

/* --- checking ----------------------------------------------------------------------------------- */

enum nibble_check_level {
    NIBBLE_CHECK_STRUCTURE = 1, /* the container; no tensor data is read */
    NIBBLE_CHECK_CONTENT = 2,   /* also the data: NaN, infinity, bad scales and codes, tensors of one value */
    NIBBLE_CHECK_FULL = 0       /* also the model: keys, tensors, tokenizer, chat template */
};

struct nibble_check_options {
    size_t size;
    enum nibble_check_level level;
    bool follow_links; /* as in nibble_source_options */
};

/* The list of everything that is wrong with a file. */
struct nibble_findings;

struct nibble_check_info {
    size_t size;
    const char *format; /* "GGUF", "safetensors", "checkpoint", "importance matrix"; "unknown" */
    uint64_t files, tensors;
    uint64_t bytes_read;       /* of tensor data */
    uint64_t errors, warnings; /* found; at most 1000 of each code are listed */
    size_t findings;           /* that are listed */
};

enum nibble_severity {
    NIBBLE_SEVERITY_ERROR = 0,  /* readers reject the file, or the model does not work */
    NIBBLE_SEVERITY_WARNING = 1 /* suspicious */
};

struct nibble_finding {
    size_t size;
    const char *code; /* "gguf.key-duplicate": stable; 'nibble check --codes' lists all of them */
    enum nibble_severity severity;
    const char *file;
    const char *key, *tensor; /* what it is about; NULL: something else */
    bool has_offset;
    uint64_t offset; /* its place in the file, in bytes */
    const char *sentence;
};

/*
 * Checks PATH: a GGUF file or split set, a safetensors file, a checkpoint folder or an importance matrix.
 * NIBBLE_OK means that it was checked, not that it is valid: see the findings. Progress is in bytes of
 * tensor data. NIBBLE_NOT_FOUND. NIBBLE_INVALID: neither a file nor a folder. NIBBLE_IO.
 *
 * Example (tests/installed/check.c):
 *     if (nibble_check(path, NULL, NULL, &findings, &error) != NIBBLE_OK)
 *         return fail(&error);
 *     nibble_findings_get_info(findings, &info);
 *     for (size_t i = 0; i < info.findings; i++) {
 *         nibble_findings_at(findings, i, &finding, &error);
 *         printf("%s: %s [%s]\n", finding.file, finding.sentence, finding.code);
 *     }
 */
NIBBLE_API enum nibble_code nibble_check(const char *path, const struct nibble_check_options *options,
                                         const struct nibble_run *run, struct nibble_findings **out,
                                         struct nibble_error *error);
/* Frees FINDINGS. */
NIBBLE_API void nibble_findings_free(struct nibble_findings *findings);
/* Fills OUT, which must be initialized. */
NIBBLE_API void nibble_findings_get_info(const struct nibble_findings *findings, struct nibble_check_info *out);
/* Finding number INDEX, which begins at 0. NIBBLE_USAGE: there is no such finding. */
NIBBLE_API enum nibble_code nibble_findings_at(const struct nibble_findings *findings, size_t index,
                                               struct nibble_finding *out, struct nibble_error *error);

/* --- writing GGUF ------------------------------------------------------------------------------- */

/* A GGUF file that is being written, atomically. */
struct nibble_writer;

/* Creates a writer with a copy of METADATA. Tensors are aligned to its general.alignment, or to 32 bytes. */
NIBBLE_API enum nibble_code nibble_writer_new(const struct nibble_metadata *metadata, struct nibble_writer **out,
                                              struct nibble_error *error);
/*
 * Adds a tensor with the name, type, dims and shape of TENSOR; the other members do not matter. The
 * first is tensor 0. NIBBLE_USAGE: the name is a duplicate, is empty, is longer than 63 bytes, is not
 * UTF-8 or has control characters; GGUF does not have the type; a dimension is 0; rows do not divide
 * into blocks; nibble_writer_begin was called before.
 */
NIBBLE_API enum nibble_code nibble_writer_add(struct nibble_writer *writer, const struct nibble_tensor *tensor,
                                              struct nibble_error *error);
/*
 * Begins the file PATH: allocates its size on the disk and writes the header. REPLACE allows an existing
 * PATH to be replaced. NIBBLE_EXISTS. NIBBLE_NO_SPACE. NIBBLE_USAGE: the file has begun already.
 * NIBBLE_INVALID: general.alignment is not a power of two.
 */
NIBBLE_API enum nibble_code nibble_writer_begin(struct nibble_writer *writer, const char *path, bool replace,
                                                struct nibble_error *error);
/*
 * Writes BYTES bytes of tensor INDEX, beginning at byte OFFSET of the tensor. A tensor can be written at
 * once, or in parts, in any order and by several threads at the same time. Write each byte only once.
 * NIBBLE_USAGE: the file has not begun, there is no such tensor, or it has fewer bytes.
 */
NIBBLE_API enum nibble_code nibble_writer_put(struct nibble_writer *writer, size_t index, uint64_t offset,
                                              const void *data, uint64_t bytes, struct nibble_error *error);
/*
 * Completes the file: syncs it to the disk and renames it to PATH. NIBBLE_USAGE: the file has not begun, or
 * a tensor lacks bytes, which can still be written.
 *
 * Example (tests/installed/write_gguf.c):
 *     if (nibble_metadata_new(&metadata, &error) ||
 *         nibble_metadata_set_string(metadata, "general.architecture", "toy", &error) ||
 *         nibble_writer_new(metadata, &writer, &error) || nibble_writer_add(writer, &tensor, &error) ||
 *         nibble_writer_begin(writer, output, false, &error) ||
 *         nibble_writer_put(writer, 0, 0, weights, sizeof weights, &error) || nibble_writer_finish(writer, &error))
 *         return fail(&error);
 */
NIBBLE_API enum nibble_code nibble_writer_finish(struct nibble_writer *writer, struct nibble_error *error);
/* Frees WRITER. A file that was not finished is removed. */
NIBBLE_API void nibble_writer_free(struct nibble_writer *writer);

#ifdef __cplusplus
}
#endif

#endif
