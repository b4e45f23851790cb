/*
 * Weights of checkpoints that are quantized already: FP8, GPTQ, AWQ, compressed-tensors, ModelOpt, bitsandbytes, HQQ,
 * MLX. Such a weight is several stored tensors: codes, and companions with scales, zero points, an order. They are
 * taken together into one stored tensor with the name and shape that the weight has in a plain checkpoint, so that
 * families, views and everything above know nothing of them; its elements are computed when they are read.
 *
 * The numbers are float32, computed in the order of the reference's converter (llama.cpp v0.5.0, conversion/base.py)
 * where that reads the format: codes minus zero points, times the scale, one rounding each.
 *
 * To add a format: a file here, and a row in formats.def.
 */
#ifndef NB_PACKED_H
#define NB_PACKED_H

#include "formats/base/arena.h"
#include "formats/base/findings.h"
#include "formats/base/status.h"
#include "formats/elements/tensor.h"
#include "formats/mlx/format.h"
#include "formats/models/view.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nb_checkpoint;

/* How a checkpoint says that it is quantized. */
struct nb_quantization {
    const char *method; /* its quant_method, or "mlx"; NULL: it says nothing */
    json_t *config;     /* the object with the parameters, kept by OWNED or by config.json */
    const char *file;   /* where it stands */
    json_t *owned;
    bool keep;       /* weights in MXFP4 and NVFP4 stay so */
    bool keep_exact; /* weights in 4 bits stay as Q4_0 or Q4_1, and are refused if that is not exact */
};

/* Finds it: in config.json, or in the files that tools put beside it. The caller frees it, also after an error. */
enum nb_status nb_quantization_find(struct nb_checkpoint *cp, struct nb_quantization *quantization,
                                    struct nb_error *err) NB_MUST_CHECK;
/*
 * NB_UNSUPPORTED, by name, if the config says of the weights what their parts do not: another format of compressed-tensors,
 * zeros that are left out, a transformation while the model runs.
 */
enum nb_status nb_quantization_check(const struct nb_quantization *quantization, struct nb_error *err) NB_MUST_CHECK;
void nb_quantization_free(struct nb_quantization *quantization);

/* What was found, for people. */
struct nb_packed_summary {
    size_t count, kept;               /* weights that were put together; of them, those that stay in a type of GGUF */
    const char *format, *kept_format; /* of the first one that does not stay, and of the first that does */
    enum nb_type kept_type;           /* in which that stays */
};

/*
 * Replaces, in STORE, the parts of quantized weights by these; the array of its tensors becomes another one, from ARENA,
 * which must be kept as long as STORE, and so must the old one. Weights whose codes have the weight's own
 * name keep their place, the others come last, as in the reference. NB_UNSUPPORTED: a method or format that is not known, by name. Parts that do not fit together are
 * findings, or an error if FINDINGS is NULL.
 */
enum nb_status nb_packed_replace(struct nb_store *store, const struct nb_quantization *quantization, const char *folder,
                                 struct nb_arena *arena, struct nb_packed_summary *summary,
                                 struct nb_findings *findings, struct nb_error *err) NB_MUST_CHECK;

/*
 * Computes elements of TENSOR, whose PACKED is set, in its type: SIZE bytes from byte OFFSET on, whole elements or
 * blocks, as if they were stored so.
 */
enum nb_status nb_packed_read(const struct nb_store *store, const struct nb_tensor *tensor, uint64_t offset,
                              uint64_t size, void *to, struct nb_view_reader *reader,
                              struct nb_error *err) NB_MUST_CHECK;
/* The transpose of a weight whose codes run down its columns, which is read much faster; NULL of any other. */
const struct nb_tensor *nb_packed_transpose(const struct nb_packed *packed);
bool nb_packed_is_transpose(const struct nb_packed *packed);
/* Computes ROWS rows from ROW on of such a transpose, COLUMNS columns of each from COLUMN on, to TO, one after the other. */
enum nb_status nb_packed_rectangle(const struct nb_store *store, const struct nb_tensor *transpose, uint64_t row,
                                   uint64_t rows, uint64_t column, uint64_t columns, void *to,
                                   struct nb_view_reader *reader, struct nb_error *err) NB_MUST_CHECK;
/* Makes TENSOR, which may stay in a type of GGUF, one of floats. NULL if out of memory. */
struct nb_tensor *nb_packed_as_floats(const struct nb_tensor *tensor, struct nb_arena *arena);
/* The name of its format. */
const char *nb_packed_format(const struct nb_packed *packed);
/* What its parts take in the files: codes, scales and the rest. */
uint64_t nb_packed_stored_bytes(const struct nb_packed *packed);

/* A weight in an affine format of MLX, with the arrays that it is: codes, scales and biases. */
struct nb_packed_mlx {
    struct nb_mlx_format format;
    enum nb_type type; /* of scales and biases; F32 where there are no biases */
    uint64_t columns;
    const struct nb_tensor *part[NB_MAX_PLANES];
};
/* False for weights in other formats (MXFP8 too), or whose scales and biases differ in type. */
bool nb_packed_as_mlx(const struct nb_packed *packed, struct nb_packed_mlx *out);

/* The factors of a weight that stays in NVFP4: in GGUF they are tensors beside it. 1 of any other. */
float nb_packed_factor(const struct nb_packed *packed);
float nb_packed_input_factor(const struct nb_packed *packed);

#endif
