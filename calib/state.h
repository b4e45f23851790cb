/* The state of a run that was stopped: sums in full precision, and how far it was. */
#ifndef NB_STATE_H
#define NB_STATE_H

#include "calib/sums.h"
#include "formats/base/status.h"

/*
 * FINGERPRINT stands for all that must be the same for a run to go on: model, text
 * and options.
 */
enum nb_status nb_state_write(const struct nb_sums *sums, const char *path, uint64_t fingerprint, uint32_t chunks,
                              struct nb_error *err) NB_MUST_CHECK;
/* Fills SUMS, which has the entries of the model already; *CHUNKS are done. */
enum nb_status nb_state_read(struct nb_sums *sums, const char *path, uint64_t fingerprint, uint32_t *chunks,
                             struct nb_error *err) NB_MUST_CHECK;

#endif
