/* The state of a stopped run: the sums in full precision, and the number of chunks done. */
#ifndef NB_STATE_H
#define NB_STATE_H

#include "calib/sums.h"
#include "formats/base/status.h"

/*
 * FINGERPRINT is a hash of what must be equal for a run to be resumed: model, text
 * and options.
 */
enum nb_status nb_state_write(const struct nb_sums *sums, const char *path, uint64_t fingerprint, uint32_t chunks,
                              struct nb_error *err) NB_MUST_CHECK;
/* Fills SUMS, which already has the model's entries; *CHUNKS receives the number of chunks done. */
enum nb_status nb_state_read(struct nb_sums *sums, const char *path, uint64_t fingerprint, uint32_t *chunks,
                             struct nb_error *err) NB_MUST_CHECK;

#endif
