/*
 * nibble.h - read, quantize, calibrate, verify, check and write the files of language models.
 *
 * This is the whole public interface of libnibble, for C11 and C++11. It has these parts:
 *
 *   version, errors        nibble_version, nibble_code_name
 *   how long calls run     struct nibble_run: threads, progress, cancellation
 *   element types          nibble_type_*, and rows of floats to and from blocks
 *   metadata               nibble_metadata_*: typed keys of a model file
 *   sources                nibble_source_*: a checkpoint folder, safetensors or GGUF file
 *   quantizing a model     nibble_recipe_*, nibble_plan_*, nibble_quantize
 *   calibrating            nibble_calibrate: text to an importance matrix
 *   verifying              nibble_verify: perplexity and KL divergence
 *   checking               nibble_check: what is wrong with a file
 *   writing GGUF           nibble_writer_*: a file of your own metadata and tensors
 *
 * These rules hold everywhere:
 *
 * Errors. A function that can fail returns an enum nibble_code; NIBBLE_OK is 0. Its last parameter,
 * ERROR, may be NULL; otherwise it receives the code and one sentence that says what is wrong and
 * where. After an error there is nothing to free: an OUT parameter for a handle is NULL then.
 *
 * Structs. Every struct that crosses the interface begins with its size, so that it can grow in later
 * versions without breaking programs that were compiled before. NIBBLE_INIT(x) sets the size and
 * makes everything else zero, which is the default of every option. Do so before every use. A pointer
 * to options may be NULL: all defaults.
 *
 * Lifetime. A pointer in a struct that a handle fills (a name, a value) belongs to the handle and is
 * valid until that is freed or, for metadata, changed. Strings that you pass are copied unless the
 * function says otherwise. The free functions take NULL.
 *
 * Threads. Any number of threads may use different handles at the same time, and any number may use
 * one handle in functions that take it as const. All other use of a handle is for one thread at a time.
 *
 * Shapes. As in GGUF, shape[0] is the length of a row and changes fastest; PyTorch lists the same
 * numbers in the opposite order. A tensor of more than two dimensions has shape[1] x shape[2] x ... rows.
 *
 * Text. Strings are UTF-8 and end with a NUL. Paths are given to the system as they are. Names of
 * types, recipes and keys are those that llama.cpp uses; types and recipes in any case.
 *
 * The library prints nothing, never ends the process, changes no signal handler or locale, and keeps
 * nothing between calls but the choice of instructions that this CPU can run.
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

/* Of this header. Until 1.0, a new minor version may break programs. */
#define NIBBLE_VERSION_MAJOR 0
#define NIBBLE_VERSION_MINOR 1
#define NIBBLE_VERSION_PATCH 0
#define NIBBLE_VERSION_STRING "0.1.0"

/* Of the library that is loaded, as NIBBLE_VERSION_STRING. */
NIBBLE_API const char *nibble_version(void);

/* --- errors ------------------------------------------------------------------------------------- */

/* Numbers never change; later versions may add some. */
enum nibble_code {
    NIBBLE_OK = 0,
    NIBBLE_USAGE = 1,       /* the call makes no sense: an argument, an option, an unknown name */
    NIBBLE_INVALID = 2,     /* an input is malformed or cut short, or does not fit the others */
    NIBBLE_UNSUPPORTED = 3, /* an input may be sound, but this version cannot use it */
    NIBBLE_NOT_FOUND = 4,   /* an input file, a tensor or a key does not exist */
    NIBBLE_EXISTS = 5,      /* a file to be written exists, and was not to be replaced */
    NIBBLE_IO = 6,          /* the system failed: reading, writing, permissions, threads */
    NIBBLE_NO_SPACE = 7,    /* the disk is full */
    NIBBLE_NO_MEMORY = 8,
    NIBBLE_INTERRUPTED = 9  /* the progress callback asked for a stop */
};

#define NIBBLE_MESSAGE_SIZE 1024

struct nibble_error {
    size_t size;
    enum nibble_code code;
    char message[NIBBLE_MESSAGE_SIZE]; /* one sentence without control characters; "" if all went well */
};

/* "ok", "usage", "no space", ...; "unknown" for a number that is no code. */
NIBBLE_API const char *nibble_code_name(enum nibble_code code);

/* Makes a variable of one of the structs below ready for use: everything zero but its size. */
#define NIBBLE_INIT(variable) (memset(&(variable), 0, sizeof(variable)), (void)((variable).size = sizeof(variable)))

/* --- how long calls run ------------------------------------------------------------------------- */

/*
 * Called by a call that takes long, from the thread that made it, at the start and then about ten times
 * a second: DONE of TOTAL are done, in units that the function names. CONTEXT is that of struct
 * nibble_run. A result other than 0 asks for a stop: the call then ends with NIBBLE_INTERRUPTED, and
 * no file that it was to write is there. Once all is done a stop comes too late.
 */
typedef int nibble_progress(void *context, uint64_t done, uint64_t total);

struct nibble_run {
    size_t size;
    unsigned threads;          /* 0: one for each core. Results do not depend on it */
    nibble_progress *progress; /* NULL: none */
    void *context;
};

/* --- element types, and rows of them ------------------------------------------------------------ */

enum nibble_importance {
    NIBBLE_IMPORTANCE_IGNORED,
    NIBBLE_IMPORTANCE_USED,  /* makes better blocks */
    NIBBLE_IMPORTANCE_NEEDED /* without it the type cannot be written */
};

/* What a tensor can consist of: blocks of quantized elements, floats, integers. */
struct nibble_type {
    size_t size;
    const char *name; /* "q4_K" */
    int gguf_number;  /* ggml's number of the type; -1 for one that only checkpoints have */
    uint32_t block_elements; /* 1 for floats and integers */
    uint32_t block_bytes;
    double bits_per_element;
    bool quantized; /* neither floats nor integers */
    bool readable;  /* nibble_dequantize_rows takes it */
    bool writable;  /* nibble_quantize_rows takes it */
    enum nibble_importance importance;
};

NIBBLE_API size_t nibble_type_count(void);
/* Type INDEX, from 0 to nibble_type_count() - 1. NIBBLE_USAGE: there is none. */
NIBBLE_API enum nibble_code nibble_type_at(size_t index, struct nibble_type *out, struct nibble_error *error);
/* The type NAME, in any case. NIBBLE_USAGE: there is none. */
NIBBLE_API enum nibble_code nibble_type_find(const char *name, struct nibble_type *out, struct nibble_error *error);

/*
 * *BYTES receives the bytes that ROWS x COLUMNS elements of TYPE take. NIBBLE_USAGE: no such type;
 * COLUMNS is not a multiple of its block; the number does not fit 63 bits.
 */
NIBBLE_API enum nibble_code nibble_rows_bytes(const char *type, uint64_t rows, uint64_t columns, uint64_t *bytes,
                                              struct nibble_error *error);
/*
 * Quantizes ROWS x COLUMNS floats, row after row, to blocks of TYPE. BLOCKS has room for BYTES bytes,
 * as many as nibble_rows_bytes says or more. IMPORTANCE is NULL or has one weight for each column, not
 * negative: how much an error there counts. The bytes are those that llama.cpp makes on x86-64, on
 * every machine. Uses the calling thread only; for speed, give many rows at once, and parts of the
 * rows to several threads.
 * NIBBLE_USAGE: a type that cannot be written, a block that does not divide COLUMNS, too little room,
 * no IMPORTANCE for a type that needs it. NIBBLE_INVALID: a float or weight that is NaN, infinite or,
 * of the weights, negative; a float that is too large for the type.
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
 * The other way: ROWS x COLUMNS elements of TYPE, in BLOCKS of BYTES bytes, to FLOATS. NIBBLE_USAGE: a
 * type that cannot be read, a block that does not divide COLUMNS, too few bytes.
 */
NIBBLE_API enum nibble_code nibble_dequantize_rows(const char *type, const void *blocks, size_t bytes, size_t rows,
                                                   size_t columns, float *floats, struct nibble_error *error);

/* --- metadata ----------------------------------------------------------------------------------- */

/* An ordered list of keys with typed values, as a GGUF file has it. */
struct nibble_metadata;

/* The numbers of the GGUF format. */
enum nibble_value_type {
    NIBBLE_U8 = 0,
    NIBBLE_I8 = 1,
    NIBBLE_U16 = 2,
    NIBBLE_I16 = 3,
    NIBBLE_U32 = 4,
    NIBBLE_I32 = 5,
    NIBBLE_F32 = 6,
    NIBBLE_BOOL = 7, /* a byte, 0 or 1 */
    NIBBLE_STRING = 8,
    NIBBLE_U64 = 10,
    NIBBLE_I64 = 11,
    NIBBLE_F64 = 12
};

struct nibble_value {
    size_t size;
    const char *key;
    enum nibble_value_type type; /* of an array: of its elements */
    bool is_array;
    uint64_t count; /* elements of an array; 1 for anything else */
    /*
     * Numbers: one after another, little-endian, not aligned. A string: its bytes, followed by a NUL.
     * An array of strings: each as its length, a 64-bit number, and its bytes. BYTES bytes in all.
     */
    const void *data;
    uint64_t bytes;
};

/* A string in an array. It may contain NUL, and has none after its end. */
struct nibble_string {
    const char *bytes;
    size_t length;
};

/* An empty list. To be freed. */
NIBBLE_API enum nibble_code nibble_metadata_new(struct nibble_metadata **out, struct nibble_error *error);
NIBBLE_API void nibble_metadata_free(struct nibble_metadata *metadata);

NIBBLE_API size_t nibble_metadata_count(const struct nibble_metadata *metadata);
/* Value INDEX, from 0. NIBBLE_USAGE: there is none. */
NIBBLE_API enum nibble_code nibble_metadata_at(const struct nibble_metadata *metadata, size_t index,
                                               struct nibble_value *out, struct nibble_error *error);
/* The value of KEY. NIBBLE_NOT_FOUND: there is none. */
NIBBLE_API enum nibble_code nibble_metadata_find(const struct nibble_metadata *metadata, const char *key,
                                                 struct nibble_value *out, struct nibble_error *error);

/*
 * Elements FIRST to FIRST + COUNT - 1 of VALUE (0 and 1 for a value that is no array) into OUT, as
 * integers, floats or strings. NIBBLE_USAGE: it has not so many; it is of another kind (integers and
 * booleans can be had as integers or floats, floats as floats only); an integer does not fit 64 bits
 * with sign.
 */
NIBBLE_API enum nibble_code nibble_value_integers(const struct nibble_value *value, uint64_t first, uint64_t count,
                                                  int64_t *out, struct nibble_error *error);
NIBBLE_API enum nibble_code nibble_value_floats(const struct nibble_value *value, uint64_t first, uint64_t count,
                                                double *out, struct nibble_error *error);
NIBBLE_API enum nibble_code nibble_value_strings(const struct nibble_value *value, uint64_t first, uint64_t count,
                                                 struct nibble_string *out, struct nibble_error *error);

/*
 * Sets KEY: in its place if it is there already, otherwise at the end. TYPE is any of integers and
 * BOOL for set_integer, F32 or F64 for set_float. NIBBLE_USAGE: a key or text that is not UTF-8, or a
 * key that is empty, longer than 65535 bytes or has control characters; a number that TYPE cannot
 * hold; an array without elements, which readers refuse.
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
/* VALUE as another list had it, or made by you: an array of numbers, for example. Its data is checked and copied. */
NIBBLE_API enum nibble_code nibble_metadata_set(struct nibble_metadata *metadata, const struct nibble_value *value,
                                                struct nibble_error *error);
/* Removes KEY, if it is there. */
NIBBLE_API void nibble_metadata_remove(struct nibble_metadata *metadata, const char *key);

/* --- sources ------------------------------------------------------------------------------------ */

/*
 * A model that can be read: a checkpoint folder (config.json and safetensors), a .safetensors file
 * with its config.json beside it, or a GGUF file, also the first of a split set. They look the same:
 * metadata under GGUF's keys, and tensors under GGUF's names, in the order and with the shapes that a
 * GGUF file has. Opening reads no weights, and memory in use does not grow with the model.
 */
struct nibble_source;

/* What to assume of a checkpoint instead of what its files say; NULL: what they say. */
struct nibble_source_options {
    size_t size;
    const char *pre_tokenizer; /* tokenizer.ggml.pre, where the tokenizer is none that is known */
    const char *model_class;   /* the class in config.json, of a model that is a known one under another name */
};

struct nibble_source_info {
    size_t size;
    const char *format; /* "GGUF" or "checkpoint" */
    size_t tensors;
    size_t notes;        /* sentences for the user, though nothing is wrong: nibble_source_note */
    uint64_t parameters; /* elements of all tensors */
    uint64_t file_bytes; /* of all files together */
};

struct nibble_tensor {
    size_t size;
    const char *name;        /* "blk.0.attn_q.weight" */
    const char *stored_name; /* in the checkpoint: "model.layers.0.self_attn.q_proj.weight" */
    const char *type;        /* as stored: "bf16" */
    uint32_t dims;           /* 1 to 4 */
    uint64_t shape[4];       /* 1 beyond DIMS */
    uint64_t elements;
    uint64_t bytes; /* as stored */
};

/*
 * Opens PATH. NIBBLE_NOT_FOUND; NIBBLE_INVALID: a file is malformed, or files do not fit one another;
 * NIBBLE_UNSUPPORTED: a model class, tokenizer or format that is not known.
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
NIBBLE_API void nibble_source_close(struct nibble_source *source);

NIBBLE_API void nibble_source_get_info(const struct nibble_source *source, struct nibble_source_info *out);
/* Note INDEX, from 0; NULL beyond the last. */
NIBBLE_API const char *nibble_source_note(const struct nibble_source *source, size_t index);
/* Belongs to SOURCE: not to be freed. */
NIBBLE_API const struct nibble_metadata *nibble_source_metadata(const struct nibble_source *source);
/* Tensor INDEX, from 0. NIBBLE_USAGE: there is none. */
NIBBLE_API enum nibble_code nibble_source_tensor(const struct nibble_source *source, size_t index,
                                                 struct nibble_tensor *out, struct nibble_error *error);
/* *INDEX receives which tensor is called NAME. NIBBLE_NOT_FOUND: none. */
NIBBLE_API enum nibble_code nibble_source_find(const struct nibble_source *source, const char *name, size_t *index,
                                               struct nibble_error *error);
/*
 * Reads COUNT rows of tensor INDEX, from row FIRST on, as floats into OUT: COUNT x shape[0] of them.
 * NIBBLE_USAGE: no such tensor or rows. NIBBLE_UNSUPPORTED: a type that is no numbers (readable is false).
 * NIBBLE_INVALID, NIBBLE_IO: the file is shorter than it was, or cannot be read.
 */
NIBBLE_API enum nibble_code nibble_source_rows(const struct nibble_source *source, size_t index, uint64_t first,
                                               uint64_t count, float *out, struct nibble_error *error);

/* --- quantizing a model ------------------------------------------------------------------------- */

/* A recipe says which tensor becomes which type: those of llama-quantize. */
struct nibble_recipe {
    size_t size;
    const char *name; /* "Q4_K_M" */
    const char *description;
    const char *type;   /* what most tensors become; NULL for COPY */
    uint32_t file_type; /* the number in general.file_type */
};

/* Smallest file first. */
NIBBLE_API size_t nibble_recipe_count(void);
/* Recipe INDEX, from 0. NIBBLE_USAGE: there is none. */
NIBBLE_API enum nibble_code nibble_recipe_at(size_t index, struct nibble_recipe *out, struct nibble_error *error);
/* The recipe NAME, in any case; "Q4_K" is "Q4_K_M". NIBBLE_USAGE: there is none. */
NIBBLE_API enum nibble_code nibble_recipe_find(const char *name, struct nibble_recipe *out, struct nibble_error *error);

/* The type for tensors whose names match PATTERN, a regular expression, anywhere and in any case. */
struct nibble_type_rule {
    const char *pattern, *type;
};

/* The options of 'nibble quantize', which has them with more words. */
struct nibble_quantize_options {
    size_t size;
    const char *recipe;  /* NULL: "Q4_K_M" */
    const char *imatrix; /* file with an importance matrix, GGUF or .dat; NULL: none */
    const char *const *include_weights; /* use only its entries whose names contain one of these */
    size_t n_include_weights;
    const char *const *exclude_weights; /* or only those whose names contain none of these */
    size_t n_exclude_weights;
    const struct nibble_type_rule *tensor_types; /* the first that matches counts */
    size_t n_tensor_types;
    const char *output_type;    /* of output.weight; NULL: by the recipe */
    const char *embedding_type; /* of token_embd.weight; NULL: by the recipe */
    const char *via;            /* "f16" or "bf16": weights are rounded to it first; NULL: they are not */
    const struct nibble_metadata *metadata; /* single values to set in the file; NULL: none */
    const uint64_t *prune_layers;           /* layers to leave out; the rest is numbered anew */
    size_t n_prune_layers;
    bool pure;             /* the recipe's own type for every tensor that is quantized */
    bool leave_output;     /* output.weight stays as it is */
    bool no_fallback;      /* refuse where a row does not divide into blocks, instead of taking another type */
    bool keep_split;       /* as many files as a split source has */
    bool allow_requantize; /* of tensors that are quantized already */
    bool allow_nonfinite;  /* NaN and infinity are written instead of refused */
    bool replace;          /* an existing file */
    bool dry_run; /* the plan is not to be written: importance that is needed and missing is no error then */
};

/*
 * A whole output file, decided before the first weight is read: its header, and the type, place and
 * size of every tensor. The source must stay open, and unchanged on the disk, as long as the plan is used.
 */
struct nibble_plan;

struct nibble_plan_info {
    size_t size;
    const char *recipe;
    const char *file_name; /* a name for the file, by GGUF's convention: "Tiny-3M-Q4_K_M.gguf" */
    size_t tensors, files;
    uint64_t parameters, source_bytes, file_bytes;
    double bits_per_parameter; /* of all tensors together */
    size_t fallbacks;          /* tensors that got another type because their rows do not divide into blocks */
    size_t lack_importance;    /* tensors that would use importance, of which the matrix has no entry */
    bool needs_importance;     /* with dry_run: without that it would have been refused */
};

/* Why a tensor has the type it has. */
enum nibble_reason {
    NIBBLE_WHY_KEPT = 0,     /* never quantized: vectors, norms, routers */
    NIBBLE_WHY_RECIPE = 1,   /* the recipe's own type */
    NIBBLE_WHY_RULE = 2,     /* a rule of the recipe for this tensor */
    NIBBLE_WHY_USER = 3,     /* tensor_types, output_type, embedding_type */
    NIBBLE_WHY_FALLBACK = 4  /* the type that was meant does not fit the rows */
};

struct nibble_planned_tensor {
    size_t size;
    const char *name;        /* that it gets */
    const char *stored_name; /* in the source */
    uint32_t dims;           /* 1 to 4 */
    uint64_t shape[4];       /* 1 beyond DIMS */
    const char *source_type;
    uint64_t source_bytes;
    const char *type;  /* that it gets */
    const char *meant; /* the type before a fallback; otherwise the same */
    enum nibble_reason reason;
    bool importance;       /* the matrix has weights for it, and the type uses them */
    bool lacks_importance; /* the type would use them, but the matrix has no entry for it */
    uint32_t file;         /* of the output files, from 0 */
    uint64_t offset;       /* of its first byte in that */
    uint64_t bytes;
};

/*
 * Plans the file that SOURCE becomes. Nothing is written. NIBBLE_USAGE: an unknown recipe or type, a
 * rule that matches no tensor, options that exclude each other, importance that is needed and not given.
 * NIBBLE_INVALID: a matrix that is none or does not fit the model; a tensor that is quantized already.
 * NIBBLE_NOT_FOUND: no file with the matrix.
 */
NIBBLE_API enum nibble_code nibble_plan_new(const struct nibble_source *source,
                                            const struct nibble_quantize_options *options, struct nibble_plan **out,
                                            struct nibble_error *error);
NIBBLE_API void nibble_plan_free(struct nibble_plan *plan);
NIBBLE_API void nibble_plan_get_info(const struct nibble_plan *plan, struct nibble_plan_info *out);
/* Tensor INDEX, from 0, in the order of the files. NIBBLE_USAGE: there is none. */
NIBBLE_API enum nibble_code nibble_plan_tensor(const struct nibble_plan *plan, size_t index,
                                               struct nibble_planned_tensor *out, struct nibble_error *error);
/*
 * Writes the file OUTPUT, or with several files "OUTPUT-00001-of-00003.gguf" and so on, whole or not
 * at all: the bytes go to OUTPUT.partial, and only a finished file gets the name. Progress is in bytes
 * of the source. NIBBLE_USAGE: OUTPUT is one of the files that are read; a plan of
 * dry_run that needs importance. NIBBLE_EXISTS. NIBBLE_INVALID: a weight that is NaN, infinite, or too
 * large for the type.
 */
NIBBLE_API enum nibble_code nibble_plan_write(const struct nibble_plan *plan, const char *output,
                                              const struct nibble_run *run, struct nibble_error *error);
/*
 * The three in one: plans, writes, frees the plan.
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
                                            const struct nibble_quantize_options *options,
                                            const struct nibble_run *run, struct nibble_error *error);

/* --- calibrating -------------------------------------------------------------------------------- */

/* A text: a file, plain or gzip, or bytes in memory. */
struct nibble_text {
    const char *name;  /* of the file; with BYTES, what to call the text */
    const char *bytes; /* NULL: the file is read */
    size_t length;
};

struct nibble_calibrate_options {
    size_t size;
    uint32_t chunk_tokens; /* tokens that the model sees together; 0: 512 */
    uint32_t from_chunk;   /* leaves out so many at the front */
    uint32_t max_chunks;   /* 0: all there are */
    bool process_output;   /* also for the output matrix, or the embedding that it is tied to */
    bool parse_special;    /* the names of control tokens in the text are these tokens */
    bool dat;              /* writes the older .dat form instead of GGUF */
    bool replace;          /* an existing file */
    /*
     * A file that keeps the state of a run that was cancelled, so that the same call goes on from there
     * to the same matrix; NULL: none. Written when cancelled, and after every SAVE_EVERY chunks.
     */
    const char *state;
    uint32_t save_every; /* 0: only when cancelled */
};

/* What the text reached. */
struct nibble_calibration {
    size_t size;
    uint64_t chunks, tokens;                    /* tokens: of the matrix that saw most */
    uint64_t entries, entries_without_tokens;   /* an entry is a matrix of the model */
    uint64_t experts, experts_without_tokens;   /* of all mixtures together */
    uint64_t columns, zero_columns;             /* of the entries and experts that saw tokens */
};

/*
 * Runs COUNT texts through the model in SOURCE and writes an importance matrix to OUTPUT, whole or not
 * at all, as llama-imatrix does. RESULT may be NULL. Progress is in chunks. NIBBLE_USAGE: no text.
 * NIBBLE_INVALID: a text that is not UTF-8 or has fewer tokens than a chunk; a state of another run;
 * NaN or infinity in the model. NIBBLE_UNSUPPORTED: a model that cannot be run. NIBBLE_EXISTS.
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

/* --- verifying ---------------------------------------------------------------------------------- */

struct nibble_verify_options {
    size_t size;
    uint32_t chunk_tokens; /* each chunk begins anew, and its second half is scored; 0: 512 */
    uint32_t max_chunks;   /* 0: all there are */
};

/* A mean, or what is made of means, and its standard error. */
struct nibble_estimate {
    double value, error;
};

/* Shares of the tokens below a value; the minimum and the maximum at the ends. */
enum nibble_quantile {
    NIBBLE_QUANTILE_MIN,
    NIBBLE_QUANTILE_001, /* of 0.1 % */
    NIBBLE_QUANTILE_01,  /* of 1 % */
    NIBBLE_QUANTILE_05,
    NIBBLE_QUANTILE_10,
    NIBBLE_QUANTILE_25,
    NIBBLE_QUANTILE_50, /* the median */
    NIBBLE_QUANTILE_75,
    NIBBLE_QUANTILE_90,
    NIBBLE_QUANTILE_95,
    NIBBLE_QUANTILE_99,
    NIBBLE_QUANTILE_999, /* of 99.9 % */
    NIBBLE_QUANTILE_MAX
};
#define NIBBLE_QUANTILES 13

/* llama-perplexity's numbers of one model. Logarithms are natural; a divergence is in nats a token. */
struct nibble_drift {
    size_t size;
    uint64_t chunks, chunk_tokens;
    uint64_t scored; /* tokens */
    struct nibble_estimate perplexity;
    /* Against the base; of the base itself 0, or 1 for shares and ratios. */
    struct nibble_estimate ln_ratio, ratio; /* of its perplexity to the base's */
    double correlation;                     /* of the two, token by token */
    struct nibble_estimate kld;             /* KL divergence from the base's distribution */
    double kld_quantiles[NIBBLE_QUANTILES];
    struct nibble_estimate dp, rms_dp; /* change of the true token's probability; root of its mean square */
    double dp_quantiles[NIBBLE_QUANTILES];
    struct nibble_estimate same_top; /* share of the tokens whose likeliest successor is the base's */
};

/* What was measured, of every model. */
struct nibble_verification;

/*
 * Measures COUNT models on TEXT, all in one pass; the first is the base, to which the others are
 * compared. Progress is in chunks. NIBBLE_USAGE: no model, no text. NIBBLE_INVALID: a text that is not
 * UTF-8 or has fewer tokens than two chunks; models of different vocabularies; NaN or infinity in a model.
 * NIBBLE_UNSUPPORTED: a model that cannot be run.
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
NIBBLE_API void nibble_verification_free(struct nibble_verification *verification);
/* The numbers of model INDEX, from 0, the base. NIBBLE_USAGE: there is none. */
NIBBLE_API enum nibble_code nibble_verification_model(const struct nibble_verification *verification, size_t index,
                                                      struct nibble_drift *out, struct nibble_error *error);

/* --- checking ----------------------------------------------------------------------------------- */

enum nibble_check_level {
    NIBBLE_CHECK_FULL = 0,      /* and whether keys, tensors, tokenizer and chat template make a model */
    NIBBLE_CHECK_STRUCTURE = 1, /* the container; no tensor data is read */
    NIBBLE_CHECK_CONTENT = 2    /* and the data: NaN, infinity, bad scales and codes, tensors of one value */
};

struct nibble_check_options {
    size_t size;
    enum nibble_check_level level;
};

/* What is wrong with a file, all of it. */
struct nibble_findings;

struct nibble_check_info {
    size_t size;
    const char *format; /* "GGUF", "safetensors", "checkpoint", "importance matrix"; "unknown" */
    uint64_t files, tensors;
    uint64_t bytes_read;       /* of tensor data */
    uint64_t errors, warnings; /* found; of one code at most 1000 are listed */
    size_t findings;           /* listed */
};

enum nibble_severity {
    NIBBLE_SEVERITY_ERROR = 0,  /* readers refuse the file, or the model is wrong */
    NIBBLE_SEVERITY_WARNING = 1 /* worth a look */
};

struct nibble_finding {
    size_t size;
    const char *code; /* "gguf.key-duplicate"; never changes its meaning. 'nibble check --codes' lists all */
    enum nibble_severity severity;
    const char *file;
    const char *key, *tensor; /* which of them it is about; NULL: none */
    bool has_offset;
    uint64_t offset; /* in the file, in bytes */
    const char *sentence;
};

/*
 * Checks PATH: a GGUF file or split set, a safetensors file, a checkpoint folder or an importance matrix.
 * NIBBLE_OK where it could be checked, whatever was found. Progress is in bytes of tensor data.
 * NIBBLE_NOT_FOUND; NIBBLE_INVALID: neither file nor folder; NIBBLE_IO.
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
NIBBLE_API void nibble_findings_free(struct nibble_findings *findings);
NIBBLE_API void nibble_findings_get_info(const struct nibble_findings *findings, struct nibble_check_info *out);
/* Finding INDEX, from 0. NIBBLE_USAGE: there is none. */
NIBBLE_API enum nibble_code nibble_findings_at(const struct nibble_findings *findings, size_t index,
                                               struct nibble_finding *out, struct nibble_error *error);

/* --- writing GGUF ------------------------------------------------------------------------------- */

/* A GGUF file in the making, whole or not at all. */
struct nibble_writer;

/* With a copy of METADATA, whose general.alignment counts (32 without it). To be freed. */
NIBBLE_API enum nibble_code nibble_writer_new(const struct nibble_metadata *metadata, struct nibble_writer **out,
                                              struct nibble_error *error);
/*
 * Adds a tensor; name, type, dims and shape of TENSOR count. The first is tensor 0. NIBBLE_USAGE: a name
 * that is there already, is longer than 63 bytes, empty, not UTF-8 or has control characters; a type
 * that GGUF does not have; a shape with 0, or rows that do not divide into blocks; begun already.
 */
NIBBLE_API enum nibble_code nibble_writer_add(struct nibble_writer *writer, const struct nibble_tensor *tensor,
                                              struct nibble_error *error);
/*
 * Takes the room for PATH on the disk and writes its header; no tensor can be added then. NIBBLE_EXISTS;
 * NIBBLE_NO_SPACE; NIBBLE_USAGE: begun already; a general.alignment that is no power of two.
 */
NIBBLE_API enum nibble_code nibble_writer_begin(struct nibble_writer *writer, const char *path, bool replace,
                                                struct nibble_error *error);
/*
 * Writes BYTES bytes of tensor INDEX, from byte OFFSET of it on; the whole tensor at once, or parts of
 * it in any order. Of each byte once: nibble_writer_finish counts them. Any number of threads may do so
 * at the same time. NIBBLE_USAGE: not begun; no such tensor or bytes.
 */
NIBBLE_API enum nibble_code nibble_writer_put(struct nibble_writer *writer, size_t index, uint64_t offset,
                                              const void *data, uint64_t bytes, struct nibble_error *error);
/*
 * Gives the file its name, once it is on the disk. NIBBLE_USAGE: not begun, or a tensor lacks bytes, and
 * more can be put.
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
/* Without nibble_writer_finish before it, nothing of the file stays. */
NIBBLE_API void nibble_writer_free(struct nibble_writer *writer);

#ifdef __cplusplus
}
#endif

#endif
