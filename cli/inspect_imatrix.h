/* 'nibble inspect' of an importance matrix. */
#ifndef NB_INSPECT_IMATRIX_H
#define NB_INSPECT_IMATRIX_H

#include <stdbool.h>

/* True if the file at PATH is one, GGUF or .dat. */
bool inspect_is_imatrix(const char *path);
/* Prints it; returns the exit code. */
int inspect_imatrix(const char *path, bool json);

#endif
