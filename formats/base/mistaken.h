/*
 * What a file is that was taken for another: a download that gave a Git LFS pointer, a web page or an error in place of
 * a model, an archive that was not unpacked, a format of other programs.
 */
#ifndef NB_MISTAKEN_H
#define NB_MISTAKEN_H

#include "formats/base/file_in.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NB_MISTAKEN 400 /* room for the phrase */

/*
 * Writes to WHAT what a file of SIZE bytes is that begins with the LENGTH bytes at FIRST, and what to do with it, as a
 * phrase that follows "not a GGUF file, but ": "a Git LFS pointer to one of 3.97 MB: run 'git lfs pull' in its folder". False, and "", if it
 * is nothing that is known. For a reader that could not make anything of the file.
 */
bool nb_mistaken(const char *first, size_t length, uint64_t size, char what[NB_MISTAKEN]);
/* The same for an open file. */
bool nb_file_mistaken(const struct nb_file_in *file, char what[NB_MISTAKEN]);
/* The same for all of a file that was read as a text: only what can be none, whatever a text may begin with. */
bool nb_text_mistaken(const char *text, size_t length, char what[NB_MISTAKEN]);
/* The same for a JSON object that was read: true if it is what a server answers in place of a file. */
bool nb_json_mistaken(const json_t *object, char what[NB_MISTAKEN]);

#define NB_CUT_SHORT 160
/* "cut short: 2.00 MB of 3.97 MB; download it again" to TEXT, which is returned; HERE is less than WHOLE. */
const char *nb_cut_short(char text[NB_CUT_SHORT], uint64_t here, uint64_t whole);

#endif
