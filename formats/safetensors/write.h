/* Writing the header of a safetensors file. */
#ifndef NB_SAFETENSORS_WRITE_H
#define NB_SAFETENSORS_WRITE_H

#include "formats/base/status.h"
#include "formats/elements/types.h"
#include "formats/safetensors/safetensors.h"

#include <stddef.h>
#include <stdint.h>

struct nb_safetensor_out {
    const char *name;
    enum nb_type type; /* one that has a dtype */
    uint32_t n_dims;
    uint64_t shape[NB_SAFETENSORS_MAX_DIMS]; /* row-major: the last is the row length */
    uint64_t offset, bytes;                  /* of its data, from the end of the header on */
};

/*
 * The length and the JSON text of a header that says the file's format is FORMAT ("pt", "mlx") and has COUNT tensors
 * in this order; HEADER is from malloc. The text is as short as it can be, and padded with blanks to a multiple of
 * ALIGNMENT bytes, the length included (1: not padded).
 */
enum nb_status nb_safetensors_header(const char *format, const struct nb_safetensor_out *tensors, size_t count,
                                     uint64_t alignment, unsigned char **header, uint64_t *header_bytes,
                                     struct nb_error *err) NB_MUST_CHECK;

#endif
