/*
 * Other metadata for a GGUF file whose tensors stay as they are: in its own place where the
 * padding before the tensor data leaves room for it, otherwise by a new file.
 */
#ifndef NB_GGUF_EDIT_H
#define NB_GGUF_EDIT_H

#include "formats/base/file_in.h"
#include "formats/base/status.h"
#include "formats/gguf/gguf.h"
#include "formats/gguf/metadata.h"

#include <stdbool.h>

/* Whether META takes up as much as GGUF's own header, to the next multiple of the alignment. */
enum nb_status nb_edit_fits(const struct nb_gguf *gguf, const struct nb_metadata *meta, bool *fits,
                            struct nb_error *err) NB_MUST_CHECK;
/*
 * Writes META, which must fit, over the header of the file PATH. The bytes that it replaces are
 * kept in PATH.undo until the new ones are on the disk, so that nb_edit_recover can put them back.
 */
enum nb_status nb_edit_in_place(const char *path, const struct nb_gguf *gguf, const struct nb_metadata *meta,
                                struct nb_error *err) NB_MUST_CHECK;
/* Puts back what an edit that was killed left in PATH.undo. *RECOVERED tells whether there was such. */
enum nb_status nb_edit_recover(const char *path, bool *recovered, struct nb_error *err) NB_MUST_CHECK;
/*
 * Writes the tensors of GGUF, which was read from FILE, under META as the file OUTPUT, whole or not
 * at all. With REPLACE, OUTPUT may be FILE itself.
 */
enum nb_status nb_edit_copy(const struct nb_file_in *file, const struct nb_gguf *gguf, const struct nb_metadata *meta,
                            const char *output, bool replace, struct nb_error *err) NB_MUST_CHECK;

#endif
