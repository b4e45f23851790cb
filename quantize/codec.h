/*
 * Floats to the elements of any type and back, by the fastest kernels that this
 * CPU can run. Every tier gives the same bytes.
 */
#ifndef NB_CODEC_H
#define NB_CODEC_H

#include "status.h"
#include "types.h"

#include <stdbool.h>
#include <stddef.h>

bool nb_can_encode(enum nb_type type);
bool nb_can_decode(enum nb_type type);

/* What importance is to the search of a type; to one that is not written, nothing. */
enum nb_importance {
    NB_IMPORTANCE_IGNORED,
    NB_IMPORTANCE_USED,
    NB_IMPORTANCE_NEEDED, /* ggml refuses to search without */
};
enum nb_importance nb_importance_of(enum nb_type type);

/*
 * ROWS x COLUMNS floats, row-major, to elements of TYPE. COLUMNS is a multiple
 * of the type's block. IMPORTANCE is NULL or COLUMNS weights for the errors of
 * the columns, none negative; types whose search has no use for it ignore it.
 * Types that need it weigh by x^2 without.
 * Only for types with nb_can_encode. The bytes are those of ggml 0.25.1's
 * ggml_quantize_chunk as its x86-64 build computes them.
 */
void nb_encode(enum nb_type type, const float *x, size_t rows, size_t columns, const float *importance, void *out);
/* COUNT elements, a multiple of the block, to floats. Only for types with nb_can_decode. */
void nb_decode(enum nb_type type, const void *from, size_t count, float *out);

/*
 * The index of the first of COUNT elements that is NaN or infinite, or COUNT.
 * For a block type that is one whose scale is. Elements of other types are
 * never that.
 */
size_t nb_find_nonfinite(enum nb_type type, const void *from, size_t count);

/*
 * The index of the first of COUNT elements whose block has a code that nothing writes, or COUNT:
 * a scale of NVFP4 with a sign or the code of NaN, and the fourth value of a trit in TQ2_0.
 * The codes of all other types are all in use.
 */
size_t nb_find_bad_code(enum nb_type type, const void *from, size_t count);

/* The tier in use: "scalar", "sse2", "neon", "avx2" or "avx512". */
const char *nb_tier(void);
/*
 * Takes the tier NAME for this process; NULL chooses again. False if this CPU or
 * this build lacks it. Not to be called while kernels run.
 */
bool nb_tier_set(const char *name);
/* The tiers this CPU can run, slowest first; ends with NULL. */
const char *const *nb_tiers(void);
/*
 * Chooses by the environment variable NIBBLE_CPU, if that is set, and refuses
 * what cannot be run. Without this call the fastest tier is taken.
 */
enum nb_status nb_tier_from_environment(struct nb_error *err) NB_MUST_CHECK;

#endif
