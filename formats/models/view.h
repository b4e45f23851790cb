/*
 * The seam of a source: a store is the tensors of its files as they are stored, under their own names;
 * a view is a tensor that the source offers, made of pieces of stored ones. Fused matrices that are
 * cut, experts that are stacked, rows that are put in another order, matrices that are transposed,
 * norms that get one added, numbers in formats of other toolkits: all are views, and everyone who
 * wants weights gets them from nb_view_rows.
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

/* ROWS x COLUMNS elements of a stored tensor: from element START on, rows PITCH elements apart. */
struct nb_piece {
    const struct nb_tensor *stored;
    uint64_t start, pitch, rows, columns;
    uint64_t at; /* the row of the view's matrix that it begins with; set by nb_view_measure */
};

#define NB_ORDER_DIGITS 4

/*
 * A permutation or choice of rows or columns. The number of a row of the view is written in digits,
 * DIGIT[0] the slowest; each digit moves on by its stride in the pieces, from START. No digits: they
 * stay as they are. Rows of heads of 2 x half, from halves to neighbours: digits { heads, half, 2 },
 * strides { 2 half, 1, half }.
 */
struct nb_order {
    unsigned n;
    uint64_t start, digit[NB_ORDER_DIGITS], stride[NB_ORDER_DIGITS];
};

/* What is computed of each element, in the order of the list; of F16 rounded to F16 each time, as torch does. */
struct nb_element_op {
    enum nb_element_op_kind { NB_OP_NONE, NB_OP_ADD, NB_OP_SCALE, NB_OP_NEGATE_EXP } kind;
    float by;
};

#define NB_VIEW_OPS 3
#define NB_VIEW_COMPANIONS 4

struct nb_view;
struct nb_view_reader;

/* A format of another toolkit, whose numbers lie in several stored tensors: packed codes, scales, zeros. */
struct nb_foreign {
    const char *name;
    /* COUNT elements of VIEW from element FIRST on as floats, into OUT. READER's memory may be used. */
    enum nb_status (*read)(const struct nb_view *view, uint64_t first, uint64_t count, float *out,
                           struct nb_view_reader *reader, struct nb_error *err);
};

struct nb_view {
    const char *name;        /* in GGUF; first, so that lists by name can be made */
    const char *source_name; /* of the stored tensor, or the first of them */
    enum nb_type type;       /* of the pieces, which all have the same; F32 where FOREIGN is read */
    enum nb_type plain_type; /* the type it has in a GGUF file that nobody quantized */
    uint32_t n_dims;
    uint64_t ne[NB_MAX_DIMS]; /* GGUF order: ne[0] is the length of a row; 1 beyond n_dims */
    uint64_t elements, bytes; /* bytes: as stored */

    const struct nb_store *store;
    struct nb_piece *pieces; /* one after another */
    size_t n_pieces;
    /*
     * The pieces together, transposed and in their order, are a matrix of ROWS x COLUMNS whose elements
     * one after another are the tensor's; set by nb_view_measure. COLUMNS is ne[0] but for reshaped
     * tensors, and vectors whose elements are put in another order.
     */
    uint64_t rows, columns;
    bool transposed;           /* a piece's columns are rows of the view */
    bool together;             /* the elements lie together, piece by piece; set by nb_view_measure */
    struct nb_order row_order, column_order;
    struct nb_element_op ops[NB_VIEW_OPS];
    const struct nb_foreign *foreign; /* NULL: elements of TYPE */
    const struct nb_tensor *companions[NB_VIEW_COMPANIONS]; /* of FOREIGN */
};

/* A view of the whole of STORED as it is, under its own name and shape. *PIECE is its only piece. */
void nb_view_whole(struct nb_view *view, const struct nb_store *store, const struct nb_tensor *stored,
                   struct nb_piece *piece);
/*
 * Fills elements, bytes, rows, columns and what else follows from type, ne, pieces and orders. False
 * where they do not fit one another: the pieces make up another number of rows or columns, a block
 * does not fit the row or the piece, something overflows.
 */
bool nb_view_measure(struct nb_view *view);
/* Where in its file the first piece begins. */
uint64_t nb_view_offset(const struct nb_view *view);
/* Whether nothing is computed of the elements: bytes can be copied as stored. */
bool nb_view_is_stored(const struct nb_view *view);
/* True for what converters write as F32 whatever they write else: vectors, norms. */
bool nb_view_is_always_f32(const struct nb_view *view);

/* The COUNT views as a list by name, to be freed; NULL when memory is out. */
const struct nb_view **nb_views_by_name(const struct nb_view *views, size_t count);
/* The one in such a list that is called NAME, or NULL. */
const struct nb_view *nb_views_find(const struct nb_view *const *sorted, size_t count, const char *name);

/* The memory of one thread that reads views: begins as { 0 } and grows to what the largest read needs. */
struct nb_view_reader {
    unsigned char *raw; /* what nb_view_fetch has read */
    size_t raw_size;
    unsigned char *span; /* a long read, of which parts are wanted */
    size_t span_size;
    struct nb_segment *segments;
    size_t n_segments;
};
void nb_view_reader_free(struct nb_view_reader *reader);

/*
 * The most elements, in whole rows, to read at once: about WANTED, and more where few rows would need
 * many short reads. What a reader holds then stays within 8 MiB, or a few rows.
 */
uint64_t nb_view_run(const struct nb_view *view, uint64_t wanted);

/*
 * Reads COUNT elements of VIEW from element FIRST on (row-major, as in GGUF) into the memory of
 * READER, as stored. Both numbers must be multiples of the type's block, or of a row. Any number of
 * threads may read a view, each with a reader of its own.
 */
enum nb_status nb_view_fetch(const struct nb_view *view, uint64_t first, uint64_t count, struct nb_view_reader *reader,
                             struct nb_error *err) NB_MUST_CHECK;
/* COUNT of the elements that were fetched, from element AT of them on, as floats. */
void nb_view_decode(const struct nb_view *view, const struct nb_view_reader *reader, uint64_t at, uint64_t count,
                    float *out);
/* The index of the first of these that is NaN or infinite as stored (of a block: its scale), or COUNT. */
uint64_t nb_view_find_nonfinite(const struct nb_view *view, const struct nb_view_reader *reader, uint64_t at,
                                uint64_t count);
/* ROWS rows of ne[0] elements from row FIRST on, as floats: the two above in one. */
enum nb_status nb_view_rows(const struct nb_view *view, uint64_t first, uint64_t rows, float *out,
                            struct nb_view_reader *reader, struct nb_error *err) NB_MUST_CHECK;

#endif
