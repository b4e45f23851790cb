/*
 * A GGUF file as the checkpoint that it was made of: the tables of a family read backwards. Names, the order of rows, parts
 * of fused matrices and stacks of experts are undone, and config.json is written from the file's keys. What comes out is
 * then read forwards, as any checkpoint; a family with which that does not give the keys of the file is not taken.
 */
#ifndef NB_REVERSE_H
#define NB_REVERSE_H

#include "formats/models/source.h"

/*
 * Makes CHECKPOINT, a source of the kind NB_SOURCE_CHECKPOINT, of GGUF, which must outlive it. Its files, config.json and
 * those of the tokenizer, are in memory (nb_checkpoint.made). MODEL_CLASS: the class to take; NULL: the first one of the
 * architecture that gives the same keys. NB_UNSUPPORTED: there is none, or a tensor or key has no place in it.
 */
enum nb_status nb_reverse(struct nb_source *checkpoint, const struct nb_source *gguf, const char *model_class,
                          struct nb_error *err) NB_MUST_CHECK;

#endif
