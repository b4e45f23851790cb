/*
 * Causal convolutions: each channel of a token's row becomes a sum over the channel's last values, weighted by taps of its
 * own. Recurrent layers have them in front of their recurrence.
 */
#ifndef NB_CONVOLUTION_H
#define NB_CONVOLUTION_H

#include "formats/base/status.h"
#include "verify/run/load.h"
#include "verify/run/run.h"

#include <stdbool.h>
#include <stddef.h>

struct nb_convolution {
    size_t length, channels;
    const float *taps; /* LENGTH x CHANNELS, the oldest value's first */
    const float *bias; /* NULL: none */
};

/* Loads "PATTERN.weight", which has LENGTH elements for each channel, and "PATTERN.bias" if there is one. */
enum nb_status nb_load_convolution(const struct nb_loader *loader, const char *pattern,
                                   struct nb_convolution *out) NB_MUST_CHECK;
/* Takes what a chunk keeps for the tokens that continue it: its last rows. */
float *nb_convolution_take(const struct nb_convolution *convolution, struct nb_scratch *state);
/*
 * Convolves the channels of the batch's rows: those of IN, IN_ROW elements apart, to OUT (tokens x channels), with SiLU
 * behind if it ACTIVATES. KEPT is what nb_convolution_take took.
 */
enum nb_status nb_convolve(const struct nb_run *run, const struct nb_convolution *convolution, const float *in,
                           size_t in_row, float *kept, float *out, bool activates, struct nb_error *err) NB_MUST_CHECK;

#endif
