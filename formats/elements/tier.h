/*
 * Tiers: the widths that kernels are compiled for. A source that defines kernels is compiled once
 * for each tier, with NB_TIER and NB_LANES set on the command line, and its names get the tier as
 * a suffix. Which tier runs is chosen when the first kernel is called. Every tier of decoders and
 * encoders gives the same bytes.
 */
#ifndef NB_TIER_H
#define NB_TIER_H

#include "formats/base/status.h"

#include <stdbool.h>

/* The tiers of this build, slowest first, as X(name). */
#if defined(__x86_64__)
#define NB_TIERS(X) X(scalar) X(sse2) X(avx2) X(avx512)
#elif defined(__aarch64__)
#define NB_TIERS(X) X(scalar) X(neon)
#else
#define NB_TIERS(X) X(scalar)
#endif

#define NB_PASTE_(a, b) a##_##b
#define NB_PASTE(a, b) NB_PASTE_(a, b)
/* NAME_<tier> in a source that is compiled for each tier. */
#define NB_TIERED(name) NB_PASTE(name, NB_TIER)

/* The tier in use: "scalar", "sse2", "neon", "avx2" or "avx512"; and its place among NB_TIERS. */
const char *nb_tier(void);
unsigned nb_tier_index(void);
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
