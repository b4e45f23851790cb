/* Four-bit floats with a scale for each 16 or 32 of a row, as several toolkits store them. */
#ifndef NB_PACKED_FP4_H
#define NB_PACKED_FP4_H

#include "formats/models/packed/format.h"

/*
 * Part 0 is the codes, two in a byte, the first one in the low half; part 1 the scales: F8_E4M3 for each 16 (NVFP4) or bytes
 * of E8M0 for each 32 (MXFP4). Sets everything but the factors.
 */
enum nb_status nb_packed_open_nvfp4(struct nb_packed *packed, const struct nb_packing *packing) NB_MUST_CHECK;
enum nb_status nb_packed_open_mxfp4(struct nb_packed *packed, const struct nb_packing *packing) NB_MUST_CHECK;
/* Computes floats, or blocks of GGUF's type if the weight is kept in it. */
enum nb_status nb_packed_read_fp4(const struct nb_packed_job *job, void *out) NB_MUST_CHECK;

/* The values of E2M1. */
extern const float nb_packed_e2m1[16];

#endif
