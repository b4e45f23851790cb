/*
 * Tiers: the instruction sets for which kernels are compiled. A source file with kernels is compiled
 * once per tier, with NB_TIER and NB_LANES set on the command line; the tier becomes the suffix of
 * its names. The tier is chosen when the first kernel is called. All tiers of decoders and encoders
 * give the same bytes.
 */
#ifndef NB_TIER_H
#define NB_TIER_H

#include "formats/base/status.h"

#include <stdbool.h>

/* The tiers of this build, slowest first. */
#if defined(__x86_64__)
#define NB_TIERS(X) X(scalar) X(sse2) X(avx2) X(avx512)
#elif defined(__aarch64__)
#define NB_TIERS(X) X(scalar) X(neon)
#else
#define NB_TIERS(X) X(scalar)
#endif

#define NB_PASTE_(a, b) a##_##b
#define NB_PASTE(a, b) NB_PASTE_(a, b)
/* NAME_<tier>, in a source file that is compiled once per tier. */
#define NB_TIERED(name) NB_PASTE(name, NB_TIER)

/* The current tier: "scalar", "sse2", "neon", "avx2" or "avx512"; and its index in NB_TIERS. */
const char *nb_tier(void);
unsigned nb_tier_index(void);
/*
 * Sets the tier of this process; NULL chooses automatically. False if this CPU
 * or this build lacks it. Must not be called while kernels run.
 */
bool nb_tier_set(const char *name);
/* The tiers that this CPU can run, slowest first; ends with NULL. */
const char *const *nb_tiers(void);
/*
 * Sets the tier that the environment variable NIBBLE_CPU names, if it is set;
 * an error if this CPU cannot run it. Without this call the fastest is used.
 */
enum nb_status nb_tier_from_environment(struct nb_error *err) NB_MUST_CHECK;

#endif
