/*
 * The entries of the IQ types' codebooks. An entry is a code: for IQ1 and IQ2 eight levels of two
 * bits, for IQ3 four levels of three bits, the first level lowest. Files hold the entry's index.
 */
#ifndef NB_CODEBOOKS_H
#define NB_CODEBOOKS_H

#include <stdint.h>

#define NB_GRID_IQ2_XXS 256
#define NB_GRID_IQ2_XS 512
#define NB_GRID_IQ2_S 1024
#define NB_GRID_IQ1 2048
#define NB_GRID_IQ3_XXS 256
#define NB_GRID_IQ3_S 512

extern const uint16_t nb_grid_iq2_xxs[NB_GRID_IQ2_XXS], nb_grid_iq2_xs[NB_GRID_IQ2_XS], nb_grid_iq2_s[NB_GRID_IQ2_S],
    nb_grid_iq1[NB_GRID_IQ1], nb_grid_iq3_xxs[NB_GRID_IQ3_XXS], nb_grid_iq3_s[NB_GRID_IQ3_S];

#endif
