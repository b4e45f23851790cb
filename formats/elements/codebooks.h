/*
 * The codebooks of the IQ types. An entry packs eight levels of two bits (IQ1, IQ2) or four levels of
 * three bits (IQ3), the first level in the lowest bits. Files store the index of the entry.
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
