/* What the formats of quantized weights share: only for the files of this folder. */
#ifndef NB_PACKED_FORMAT_H
#define NB_PACKED_FORMAT_H

#include "formats/models/packed/packed.h"

#define NB_PACKED_PARTS 8
#define NB_ANY_SIDE UINT64_MAX

struct nb_packed;

/*
 * A matrix of small codes, packed in units of UNIT codes in UNIT_BYTES bytes; each row begins a unit. UNPACK gives COUNT
 * codes, of those that begin with UNITS after the first SKIP, as floats.
 */
struct nb_codes {
    const struct nb_tensor *tensor;
    uint64_t row_bytes;
    unsigned bits, unit, unit_bytes;
    int minus;          /* is subtracted from each code: integers, so the float is exact */
    enum nb_type type;  /* of codes that are elements */
    const float *table; /* values of codes that are numbers of values */
    void (*unpack)(const struct nb_codes *codes, const unsigned char *units, uint64_t skip, uint64_t count, float *out);
};

/* A matrix of numbers, one for every HIGH x WIDE elements of the weight; of all MATRICES of a stack, or one for all. */
struct nb_grid {
    const struct nb_tensor *tensor; /* NULL: there is none */
    enum nb_type type;              /* how its bytes are read: its own type, or F8_E8M0 for bytes */
    uint64_t high, wide, rows, columns, matrices;
};

struct nb_packed {
    const struct nb_packed_format *format;
    const struct nb_tensor *part[NB_PACKED_PARTS]; /* codes, and what the row of formats.def names */
    uint64_t rows, columns, matrices;              /* of the weight */
    struct nb_codes codes, packed_zeros;           /* those of a by-columns format are of its transpose */
    struct nb_grid scales, zeros, biases, blocks;  /* W = (code - zero) * scale + bias */
    const uint32_t *index;                         /* the group of each column, if they are not in order */
    float factor, scale_factor;                    /* of all elements, after their scales; of all scales. 1: none */
    float input_factor;                            /* NVFP4: of what it is multiplied with */
    bool is_turned;                                /* is the transpose of a weight; ROWS and COLUMNS are its own */
    const struct nb_tensor *turned;                /* of a weight that is stored by columns, its transpose */
    const void *own;                               /* what only its format knows */
    bool scales_have_no_sign;                      /* NVFP4's: the bit is not looked at */
    enum nb_type rounding;                         /* F16 or BF16: products and sums are rounded to it */
    enum nb_type kept;                             /* stays in this type of GGUF; else NB_TYPE_NONE */
};

/* A part of a weight: rows of one of its matrices, all columns or, of a single row, some. */
struct nb_packed_job {
    const struct nb_packed *packed;
    const struct nb_store *store;
    uint64_t matrix, row, rows, column, columns;
    struct nb_buffer *buffers;
    struct nb_view_reader *reader; /* whose buffers they are; NULL for the transpose of a weight */
    struct nb_error *err;
};

enum nb_packed_buffer { NB_BUFFER_CODES, NB_BUFFER_RAW, NB_BUFFER_SCALES, NB_BUFFER_ZEROS, NB_BUFFER_STRIP };

/* What a format sees when it opens a weight. */
struct nb_packing {
    const struct nb_store *store;
    const struct nb_quantization *quantization;
    struct nb_arena *arena;
    struct nb_error *err;
};

struct nb_packed_format {
    const char *name;                         /* for people */
    const char *methods;                      /* the quant_methods of config.json that have it, separated by "|" */
    const char *codes;                        /* what the name of its codes ends with, and ... */
    const char *weight;                       /* ... what the weight's ends with instead */
    enum nb_type types[2];                    /* of the codes */
    const char *endings[NB_PACKED_PARTS - 1]; /* of its companions' names, instead of CODES */
    unsigned needed;                          /* as many of them must be there for this to be the format */
    bool is_last;                             /* such weights come after all others */
    const char *const
        *dropped; /* endings of further tensors that say nothing about the weight; ends with NULL. NULL: none */
    /* Whether the parts are this format's; NULL: always. Rows with the same codes are told apart by it. */
    bool (*suits)(const struct nb_packed *packed, const struct nb_packing *packing);
    /* Checks the shapes of the parts against each other and against the config, and sets the rest of PACKED. */
    enum nb_status (*open)(struct nb_packed *packed, const struct nb_packing *packing);
    /* Computes the elements of JOB: floats, or blocks of PACKED's type. */
    enum nb_status (*read)(const struct nb_packed_job *job, void *out);
};

#define NB_PACKED_FORMAT(identifier) extern const struct nb_packed_format nb_packed_##identifier;
#include "formats/models/packed/formats.def"
#undef NB_PACKED_FORMAT

/* --- opening ---------------------------------------------------------------------------------------------------- */

/* The dimensions of T, a matrix or a stack of matrices: rows and columns of each, and how many. */
struct nb_sides {
    uint64_t rows, columns, matrices;
};
struct nb_sides nb_sides_of(const struct nb_tensor *tensor);

/* An error unless part NUMBER is ROWS x COLUMNS (NB_ANY_SIDE: any), and has one of these types (NB_TYPE_NONE: no second). */
enum nb_status nb_packed_expect(const struct nb_packed *packed, const struct nb_packing *packing, unsigned number,
                                uint64_t rows, uint64_t columns) NB_MUST_CHECK;
enum nb_status nb_packed_is_number(const struct nb_packed *packed, const struct nb_packing *packing,
                                   unsigned number) NB_MUST_CHECK;
/* The sentence for what no part is at fault for alone: "weight 'x' (GPTQ) WHAT". */
enum nb_status nb_packed_refuse(const struct nb_packed *packed, const struct nb_packing *packing,
                                const char *what) NB_MUST_CHECK;
/* GRID of part NUMBER, which must have one number for each WIDE columns of each row; WIDE does not divide them: the last is cut. */
enum nb_status nb_packed_groups(struct nb_packed *packed, const struct nb_packing *packing, unsigned number,
                                uint64_t wide, struct nb_grid *grid) NB_MUST_CHECK;
/* The number of groups of the columns that the part NUMBER has, and their length in *WIDE: the same for all. */
enum nb_status nb_packed_group_size(const struct nb_packed *packed, const struct nb_packing *packing, unsigned number,
                                    uint64_t columns, uint64_t *wide) NB_MUST_CHECK;
/* The COUNT numbers of T, as floats from the arena. */
enum nb_status nb_packed_load(const struct nb_packing *packing, const struct nb_tensor *tensor,
                              float **out) NB_MUST_CHECK;
/* The bytes of T, which are not many, from the arena. */
enum nb_status nb_packed_load_bytes(const struct nb_packing *packing, const struct nb_tensor *tensor,
                                    unsigned char **out) NB_MUST_CHECK;
/* The single number of T; NB_INPUT unless it is finite and not zero. */
enum nb_status nb_packed_scalar(const struct nb_packed *packed, const struct nb_packing *packing,
                                const struct nb_tensor *tensor, float *out) NB_MUST_CHECK;
/* The group of each column in part NUMBER, I32, one for each: each below GROUPS. */
enum nb_status nb_packed_index(struct nb_packed *packed, const struct nb_packing *packing, unsigned number,
                               uint64_t groups) NB_MUST_CHECK;

/* With --keep-quantized, makes PACKED, which is open, one that stays in Q4_0 or Q4_1; an error if that is not exact. */
enum nb_status nb_packed_keep(struct nb_packed *packed, const struct nb_packing *packing) NB_MUST_CHECK;
/* Entry NAME of the quantization's parameters, looked up in groups of compressed-tensors too; NULL if absent. */
json_t *nb_quantization_entry(const struct nb_quantization *quantization, const char *name);

/* --- codes ------------------------------------------------------------------------------------------------------- */

/* Codes of BITS (1 to 8), the lowest first, one after the other through the bytes of a row. */
struct nb_codes nb_codes_stream(const struct nb_tensor *tensor, uint64_t row_bytes, unsigned bits, int minus);
/* The same, but no code is in two 32-bit words. */
struct nb_codes nb_codes_words(const struct nb_tensor *tensor, uint64_t row_bytes, unsigned bits, int minus);
/* An element of the tensor's type for each code; or of TYPE, whatever the tensor's is. */
struct nb_codes nb_codes_plain(const struct nb_tensor *tensor, uint64_t row_bytes);
struct nb_codes nb_codes_floats(const struct nb_tensor *tensor, uint64_t row_bytes, enum nb_type type);
/* Two codes in a byte, the values in TABLE; FIRST_HIGH: the first one is in the high half. */
struct nb_codes nb_codes_nibbles(const struct nb_tensor *tensor, uint64_t row_bytes, const float table[16],
                                 bool first_high);

/*
 * Codes that run down the columns of a matrix of 32-bit words, WIDTH wide in WORDS: code NUMBER, counted from the first
 * word there, of each of COUNT columns. UNIT 0: codes may be in two words.
 */
struct nb_codes nb_codes_of_columns(const struct nb_tensor *tensor, unsigned bits, bool dense, int minus);
void nb_codes_down(const struct nb_codes *codes, const unsigned char *words, uint64_t width, uint64_t number,
                   uint64_t count, float *out);

/* GROUP codes of 4 bits, two neighbours in a byte, to GGUF's order: element k with element k + GROUP / 2. */
void nb_packed_reorder(const unsigned char *codes, unsigned group, unsigned char *out);

/* --- reading ----------------------------------------------------------------------------------------------------- */

void *nb_packed_buffer(const struct nb_packed_job *job, enum nb_packed_buffer which, uint64_t size);
/* Reads SIZE bytes of T from byte OFFSET on into a buffer; NULL after an error. */
enum nb_status nb_packed_bytes(const struct nb_packed_job *job, const struct nb_tensor *tensor, uint64_t offset,
                               uint64_t size, enum nb_packed_buffer which, unsigned char **out) NB_MUST_CHECK;
/*
 * The words with COUNT codes of each column from code FIRST on, of the columns COLUMN to COLUMN + WIDTH of a matrix of
 * ALL columns. *BEGIN is the code with which they begin.
 */
enum nb_status nb_packed_words_down(const struct nb_packed_job *job, const struct nb_codes *codes, uint64_t first,
                                    uint64_t count, uint64_t column, uint64_t width, uint64_t all,
                                    enum nb_packed_buffer which, unsigned char **out, uint64_t *begin) NB_MUST_CHECK;
/* COUNT numbers of T, read as TYPE, from number FIRST on, as floats. */
enum nb_status nb_packed_numbers(const struct nb_packed_job *job, const struct nb_tensor *tensor, enum nb_type type,
                                 uint64_t first, uint64_t count, float *out) NB_MUST_CHECK;
/* Any type that scales have, also F8_E8M0, to floats. */
void nb_packed_decode(enum nb_type type, const void *from, uint64_t count, float *out);

/*
 * Applies OPERATION to the COUNT elements at X, of which the first is number FIRST of its row, with the same number for
 * WIDE of them: the first of NUMBERS is that of the stretch in which FIRST is.
 */
enum nb_packed_operation { NB_PACKED_SUBTRACT, NB_PACKED_MULTIPLY, NB_PACKED_ADD };
void nb_packed_each(enum nb_packed_operation operation, const float *numbers, uint64_t wide, uint64_t first,
                    uint64_t count, float *x);
/* Weights whose codes run along the rows: CODES, ZEROS, SCALES, BIASES and factors of JOB's PACKED. */
enum nb_status nb_packed_by_rows(const struct nb_packed_job *job, void *out) NB_MUST_CHECK;
/*
 * Weights stored as their transpose: CODES, PACKED_ZEROS and SCALES (groups x rows); and JOB's part of the transpose of such a
 * weight.
 */
enum nb_status nb_packed_by_columns(const struct nb_packed_job *job, void *out) NB_MUST_CHECK;
/* Blocks of a weight that nb_packed_keep has kept. */
enum nb_status nb_packed_read_kept(const struct nb_packed_job *job, void *out) NB_MUST_CHECK;
enum nb_status nb_packed_turned(const struct nb_packed_job *job, void *out) NB_MUST_CHECK;

#endif
