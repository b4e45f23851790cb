/*
 * The MLX side of a family: the modules of the class that mlx-lm (0.32.2) runs it with, in the order in which that
 * class declares them, and which stored tensors each is made of. The order decides the order of tensor data, the
 * shards, and the order of entries in config.json.
 */
#ifndef NB_MLX_LAYOUT_H
#define NB_MLX_LAYOUT_H

#include "formats/base/arena.h"
#include "formats/mlx/format.h"
#include "formats/models/family.h"
#include "formats/models/source.h"
#include "formats/models/view.h"

enum nb_mlx_kind {
    NB_MLX_MATRIX,     /* a linear layer, an embedding, stacked experts: quantized if a recipe says so */
    NB_MLX_EIGHT_BITS, /* one that the class wants in eight bits, if others have fewer */
    NB_MLX_PLAIN,      /* a norm, a convolution: not quantized */
    NB_MLX_PARAMETER,  /* an array without a module of its own: its name is all of it */
    NB_MLX_AS_STORED,  /* the same, and it keeps its type whatever that of the others is */
    NB_MLX_PACKED,     /* rows: a matrix in MXFP4, "FROM_blocks", "FROM_scales" and "FROM_bias", which stays as it is */
    NB_MLX_CODES,      /* tensors: the codes of such a matrix, eight in an element of MLX's, as bytes */
    NB_MLX_SCALES,     /* its scales */
};

struct nb_mlx_row {
    const char *module; /* "model.layers.%l.self_attn.q_proj" */
    enum nb_mlx_kind kind;
    /*
     * Its name in the checkpoint, if it is another: "%e" for experts that are stacked. Of a module the tensors are
     * "FROM.weight" and, if it is there, "FROM.bias". Several rows with one module are different forms in which
     * checkpoints have it.
     */
    const char *from;
    /* The shape of what the operations make of a weight, fastest dimension first, as expressions. None: as stored. */
    const char *dim[NB_MAX_DIMS];
    struct nb_map_op op[NB_MAP_OPS];
    bool without_suffix; /* the stored tensor is called FROM, without ".weight" */
    bool scalar;         /* the array has no dimension, though a vector of one is stored */
};

struct nb_mlx_layout {
    const struct nb_mlx_row *rows; /* those of layers one after another */
    size_t n_rows;
    /*
     * Where the class has the text model: its names as they are, behind "language_model.", or with
     * "model.language_model." instead of "model.". Behind "language_model." it always is in a model with a text_config,
     * unless it is inside.
     */
    enum { NB_MLX_ALONE, NB_MLX_IN_LANGUAGE_MODEL, NB_MLX_INSIDE_MODEL } place;
    bool all_named; /* config.json names the format of every module */
};

/* The format in which packed matrices of a checkpoint stay. */
#define NB_MLX_PACKED_FORMAT ((struct nb_mlx_format){ NB_MLX_MXFP4, 4, 32 })

/* An array of the output. */
struct nb_mlx_tensor {
    struct nb_view view; /* its name is MODULE, ".weight" or ".bias", unless it is a parameter */
    const char *module;
    enum nb_mlx_kind kind;
    bool is_weight; /* of a module that can be quantized */
    bool scalar;    /* the array has no dimension */
};

struct nb_mlx_tensors {
    struct nb_mlx_tensor *tensors; /* in the order of the model */
    size_t count;
    size_t n_left_out;   /* stored tensors of layers that predict further tokens */
    uint64_t parameters; /* as mlx-lm counts them: without arrays of modules that have modules of their own */
    bool has_packed;     /* matrices that stay in MXFP4 */
    bool has_output;     /* an output matrix of its own */
    uint64_t layers;
    struct nb_arena arena;
};

/*
 * The arrays of SOURCE, a checkpoint, under MLX's names. Errors: a family that has no layout; a tensor that has no
 * place in it; tensors that hold no floats.
 */
enum nb_status nb_mlx_tensors_make(struct nb_mlx_tensors *out, const struct nb_source *source,
                                   struct nb_error *err) NB_MUST_CHECK;
void nb_mlx_tensors_free(struct nb_mlx_tensors *tensors);
/*
 * NB_UNSUPPORTED unless a folder with these arrays, made of SOURCE, can be opened as a checkpoint of its class: MLX has other
 * names and shapes for a few, as stacked experts.
 */
enum nb_status nb_mlx_tensors_check_readable(const struct nb_mlx_tensors *tensors, const struct nb_source *source,
                                             struct nb_error *err) NB_MUST_CHECK;

#define NB_MLX_LAYOUT(identifier) extern const struct nb_mlx_layout nb_mlx_##identifier;
#include "formats/models/families/mlx.def"
#undef NB_MLX_LAYOUT

#endif
