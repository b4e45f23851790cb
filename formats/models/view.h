/*
 * Stores and views. A store is the stored tensors of a source's files under their stored names; a
 * view is a tensor that the source presents, composed of pieces of stored tensors. Split fused
 * matrices, stacked experts, permuted rows, transposed matrices, norms with one added, and formats of
 * other toolkits are all views; all code reads weights with nb_view_rows.
 */
#ifndef NB_VIEW_H
#define NB_VIEW_H

#include "formats/base/file_in.h"
#include "formats/base/status.h"
#include "formats/elements/tensor.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nb_store {
    const struct nb_tensor *tensors;
    size_t count;
    const struct nb_file_in *files;
    uint32_t n_files;
};

/* ROWS x COLUMNS elements of a stored tensor, beginning at element START; rows are PITCH elements apart. */
struct nb_piece {
    const struct nb_tensor *stored;
    uint64_t start, pitch, rows, columns;
    uint64_t at; /* its first row in the view's matrix; set by nb_view_measure */
};

#define NB_ORDER_DIGITS 4

/*
 * A permutation or selection of rows or columns. The row number in the view is split into digits of a
 * mixed radix, DIGIT[0] the slowest; the row in the pieces is START plus each digit times its stride.
 * No digits: the order is unchanged. Example, the q/k permutation of heads of 2 x half rows:
 * digits { heads, half, 2 }, strides { 2 half, 1, half }.
 */
struct nb_order {
    unsigned n;
    uint64_t start, digit[NB_ORDER_DIGITS], stride[NB_ORDER_DIGITS];
};

/* An operation on each element, applied in list order. F16 elements are rounded to F16 after each, as in torch. */
struct nb_element_op {
    enum nb_element_op_kind {
        NB_OP_NONE,
        NB_OP_ADD,
        NB_OP_SCALE,
        NB_OP_SCALE_ROWS,
        NB_OP_NEGATE_EXP,
        NB_OP_LOG_NEGATED,
        NB_OP_TERNARY,
    } kind;
    float by;
    const float *rows; /* SCALE_ROWS: a factor for each row of the view */
};

#define NB_VIEW_OPS 3
#define NB_VIEW_COMPANIONS 4

struct nb_view;
struct nb_view_reader;

/* A format of another toolkit that uses several stored tensors: packed codes, scales, zero points. */
struct nb_foreign {
    const char *name;
    /*
     * Puts COUNT elements of VIEW from element FIRST on into OUT: floats, or elements of the view's type if that
     * holds the same values. It may use READER's span.
     */
    enum nb_status (*read)(const struct nb_view *view, uint64_t first, uint64_t count, void *out,
                           struct nb_view_reader *reader, struct nb_error *err);
};

struct nb_view {
    const char *name;        /* the GGUF name; first member, as nb_views_by_name needs it */
    const char *source_name; /* name of the (first) stored tensor */
    enum nb_type type;       /* the common type of all pieces; what FOREIGN gives if that is set */
    enum nb_type plain_type; /* its type in an unquantized GGUF file */
    enum { NB_F32_BY_NAME, NB_F32_ALWAYS, NB_F32_AS_OTHERS } in_f32; /* whether converters always write it as F32 */
    bool has_own_type; /* converters write it in PLAIN_TYPE, whatever that of the file */
    uint32_t n_dims;
    uint64_t ne[NB_MAX_DIMS]; /* GGUF order: ne[0] is the row length; 1 after n_dims */
    uint64_t elements, bytes; /* bytes: as stored */

    const struct nb_store *store;
    struct nb_piece *pieces; /* concatenated by rows */
    size_t n_pieces;
    /*
     * The shape of the matrix that results from concatenating, transposing and reordering the pieces;
     * its elements in row-major order are the tensor's. Set by nb_view_measure. COLUMNS is ne[0]
     * except for reshaped tensors and for vectors whose elements are reordered.
     */
    uint64_t rows, columns;
    bool transposed; /* the columns of a piece are rows of the view */
    bool contiguous; /* the elements of each piece are contiguous; set by nb_view_measure */
    struct nb_order row_order, column_order;
    struct nb_element_op ops[NB_VIEW_OPS];
    /* A transposed view with the same elements, which threads read faster together (view_panel.h); NULL: there is none. */
    const struct nb_view *turned;
    const struct nb_foreign *foreign;                       /* NULL: elements of TYPE */
    const struct nb_tensor *companions[NB_VIEW_COMPANIONS]; /* further tensors that FOREIGN uses */
    uint64_t limit;                                         /* integers are below it (numbers.h) */
};

/* A view of all of STORED, unchanged, with its name and shape. *PIECE becomes its only piece. */
void nb_view_whole(struct nb_view *view, const struct nb_store *store, const struct nb_tensor *stored,
                   struct nb_piece *piece);
/*
 * Computes elements, bytes, rows, columns and other members from type, ne, pieces and orders. False if
 * these are inconsistent: the pieces have a different number of rows or columns, a row or piece is
 * not a whole number of blocks, or a size overflows.
 */
bool nb_view_measure(struct nb_view *view);
/* The file offset of the first piece. */
uint64_t nb_view_offset(const struct nb_view *view);
/* Whether the values are not changed, so that what is fetched can be copied. */
bool nb_view_is_stored(const struct nb_view *view);
/*
 * Whether each row of the view is a stored row, or a part of one: *STORED then is the tensor, and *FIRST the number of the
 * element in it with which row ROW begins.
 */
bool nb_view_stored_row(const struct nb_view *view, uint64_t row, const struct nb_tensor **stored, uint64_t *first);
/* Whether a checkpoint holds the elements in a quantized type of GGUF, only in another order of bytes. */
bool nb_view_is_packed(const struct nb_view *view);
/* True for tensors that converters always write as F32: vectors, norms, and what IN_F32 says. */
bool nb_view_is_always_f32(const struct nb_view *view);

/* The COUNT views sorted by name, to be freed by the caller; NULL if out of memory. */
const struct nb_view **nb_views_by_name(const struct nb_view *views, size_t count);
/* The view called NAME in a list that nb_views_by_name returned, or NULL. */
const struct nb_view *nb_views_find(const struct nb_view *const *sorted, size_t count, const char *name);

struct nb_buffer {
    unsigned char *bytes;
    size_t size;
};

#define NB_PACKED_BUFFERS 5

/* Buffers of one reading thread: initialized with { 0 }, they grow to the largest read. */
struct nb_view_reader {
    uint64_t first;                /* number of the first element that was fetched */
    const unsigned char *elements; /* that were fetched, in the view's type: in RAW, or in a panel (view_panel.h) */
    unsigned char *raw;
    size_t raw_size;
    unsigned char *span; /* a long read that contains the wanted segments */
    size_t span_size;
    struct nb_segment *segments;
    size_t n_segments;
    struct nb_buffer packed[NB_PACKED_BUFFERS]; /* for weights of quantized checkpoints */
    struct nb_view_reader *within;              /* for weights that are composed of other views */
};
void nb_view_reader_free(struct nb_view_reader *reader);

/*
 * How many elements, in whole rows, to read at once: about WANTED, but more if that avoids many short
 * reads. The buffers of a reader then stay below 8 MiB, or a few rows.
 */
uint64_t nb_view_run(const struct nb_view *view, uint64_t wanted);

/*
 * Reads COUNT elements of VIEW from element FIRST on (row-major, as in GGUF) into READER, in their
 * stored type. Both numbers must be multiples of the block size or of the row length. Any number of
 * threads may read a view, each with its own reader.
 */
enum nb_status nb_view_fetch(const struct nb_view *view, uint64_t first, uint64_t count, struct nb_view_reader *reader,
                             struct nb_error *err) NB_MUST_CHECK;
/* Decodes COUNT of the fetched elements to floats, beginning with fetched element AT. */
void nb_view_decode(const struct nb_view *view, const struct nb_view_reader *reader, uint64_t at, uint64_t count,
                    float *out);
/* The index of the first of these that is stored as NaN or infinity (for blocks: the scale), or COUNT. */
uint64_t nb_view_find_nonfinite(const struct nb_view *view, const struct nb_view_reader *reader, uint64_t at,
                                uint64_t count);
/* Reads ROWS rows of ne[0] elements from row FIRST on as floats: nb_view_fetch and nb_view_decode. */
enum nb_status nb_view_rows(const struct nb_view *view, uint64_t first, uint64_t rows, float *out,
                            struct nb_view_reader *reader, struct nb_error *err) NB_MUST_CHECK;

#endif
