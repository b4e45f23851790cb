/* The inputs of the golden tables of codecs: 14 matrices that anyone can make again. */
#ifndef GOLDEN_INPUTS_H
#define GOLDEN_INPUTS_H

#define GOLDEN_ROWS 16
#define GOLDEN_COLUMNS 1024
#define GOLDEN_COUNT (GOLDEN_ROWS * GOLDEN_COLUMNS)

/* The number of the input called NAME. */
unsigned golden_input_index(const char *name);
/* GOLDEN_COUNT floats, row-major. */
void golden_input(unsigned number, float *x);
/* GOLDEN_COLUMNS weights of errors; for K = 1 some of them are 0. */
void golden_importance(unsigned k, float *w);

#endif
