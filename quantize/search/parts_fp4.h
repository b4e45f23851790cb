/* The parts of blocks of four-bit floats (E2M1), and their steps: powers of two (E8M0), or E4M3 numbers. */
#ifndef NB_PARTS_FP4_H
#define NB_PARTS_FP4_H

#include "formats/elements/types.h"

#include <stddef.h>
#include <stdint.h>

#define NB_FP4_LEVELS 15 /* one of them for both zeros */
/* The values of E2M1 times two, ascending; steps are halved in return. */
extern const float nb_fp4_levels[NB_FP4_LEVELS];

/* COUNT codes of E2M1 as numbers of levels, in place, and back; zero has no sign then. */
void nb_fp4_to_levels(uint8_t *codes, size_t count);
void nb_fp4_to_codes(uint8_t *levels, size_t count);

/* The halved step that BYTE means, by TYPE: F8_E8M0 or F8_E4M3; and the byte of the nearest of those that can be stored. */
float nb_fp4_step(enum nb_type type, uint8_t byte);
uint8_t nb_fp4_byte(enum nb_type type, float step);

#endif
