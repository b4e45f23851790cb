/* What each type costs in each tensor, and the file in which this is kept (JSON). */
#ifndef NB_EFFECTS_FILE_H
#define NB_EFFECTS_FILE_H

#include "formats/base/status.h"
#include "quantize/policy/allocation.h"

#include <stddef.h>

/*
 * Reads the costs of COUNT tensors from PATH; candidates whose type the file does not know, and tensors that it does not
 * name, are left out. COUNT receives how many tensors are left.
 */
enum nb_status effects_read(const char *path, struct nb_allocated *tensors, size_t *count,
                            struct nb_error *err) NB_MUST_CHECK;
enum nb_status effects_write(const char *path, const struct nb_allocated *tensors, size_t count,
                             struct nb_error *err) NB_MUST_CHECK;

#endif
