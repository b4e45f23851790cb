/* What the fuzz targets share: each hands the bytes it is given to one parser, as a file. */
#ifndef NB_FUZZ_H
#define NB_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* A target: the parser, and what follows from its answer. Called once or twice for each input. */
void fuzz_target(const uint8_t *data, size_t size);

/* The path of a file that holds these bytes and nothing else, until the next call. */
const char *fuzz_file(const void *data, size_t size);
/*
 * A folder that lives as long as the process, with a checkpoint of one layer in it:
 * config.json, tokenizer.json, model.safetensors.
 */
const char *fuzz_checkpoint(void);
/* Writes NAME in that folder. */
void fuzz_put(const char *name, const void *data, size_t size);
/* Removes NAME from it. */
void fuzz_drop(const char *name);
/* Ends the process as a finding where CLAIM does not hold. */
void fuzz_claim(int claim, const char *what);

#endif
