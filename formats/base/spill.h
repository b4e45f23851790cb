/*
 * Large arrays that may lie in a file: what does not fit into memory, the system then writes to the disk. The file has no
 * name, so nothing is left of it however the program ends.
 */
#ifndef NB_SPILL_H
#define NB_SPILL_H

#include "formats/base/status.h"

#include <stddef.h>
#include <stdint.h>

struct nb_spill {
    void *memory;  /* aligned to 64; undefined contents */
    size_t mapped; /* bytes; 0: it is in no file */
};

/*
 * BYTES of memory, in a file of FOLDER; if that is NULL, in none. A folder that cannot be written to, and a disk without so
 * much room, are refused.
 */
enum nb_status nb_spill_new(struct nb_spill *spill, const char *folder, uint64_t bytes,
                            struct nb_error *err) NB_MUST_CHECK;
/* Also of one that is zero. */
void nb_spill_free(struct nb_spill *spill);

#endif
