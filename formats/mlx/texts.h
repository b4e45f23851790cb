/* The JSON files beside the weights of an MLX model, as mlx-lm 0.32.2 writes them. */
#ifndef NB_MLX_TEXTS_H
#define NB_MLX_TEXTS_H

#include "formats/base/status.h"
#include "formats/elements/types.h"
#include "formats/mlx/format.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A module whose format config.json names, because it is not that of all others. */
struct nb_mlx_exception {
    const char *module;
    struct nb_mlx_format format;
    bool without_mode; /* only group and bits, as for what a model class chooses itself: it is then affine */
};

struct nb_mlx_quantization {
    struct nb_mlx_format format; /* of all modules that have no entry; BITS 0: nothing is quantized */
    struct nb_mlx_exception *exceptions;
    size_t n_exceptions;
};

/*
 * config.json, made of that of a checkpoint and of its GENERATION settings (NULL: none). DTYPE (F32, F16, BF16, or
 * NB_TYPE_NONE for what CONFIG says) is that of what is not quantized. Entries that mlx-lm expects at the top and
 * that newer files have only among rope_parameters are repeated there. TEXT is from malloc.
 */
enum nb_status nb_mlx_config_text(json_t *config, json_t *generation, enum nb_type dtype,
                                  const struct nb_mlx_quantization *quantization, char **text,
                                  struct nb_error *err) NB_MUST_CHECK;
/* The type that CONFIG says the weights have: F32, F16 or BF16; NB_TYPE_NONE if it says no such. */
enum nb_type nb_mlx_config_dtype(json_t *config);
/* Makes CONFIG say that the weights are of DTYPE, wherever it says what they are; if nowhere, at its top. False if out of memory. */
bool nb_mlx_set_dtype(json_t *config, enum nb_type dtype);

/* A stored array and the file that has it. */
struct nb_mlx_placed {
    const char *name, *file;
};
/* model.safetensors.index.json. TEXT is from malloc. */
enum nb_status nb_mlx_index_text(const struct nb_mlx_placed *arrays, size_t count, uint64_t bytes, uint64_t parameters,
                                 char **text, struct nb_error *err) NB_MUST_CHECK;

#endif
