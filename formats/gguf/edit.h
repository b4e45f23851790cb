/*
 * Changes the metadata of a GGUF file: in place if the new header, with padding, is as long as the
 * old one, otherwise by writing a new file.
 */
#ifndef NB_GGUF_EDIT_H
#define NB_GGUF_EDIT_H

#include "formats/base/file_in.h"
#include "formats/base/status.h"
#include "formats/gguf/gguf.h"
#include "formats/gguf/metadata.h"

#include <stdbool.h>

/* Whether a header with META has the same length as GGUF's header, both padded to the alignment. */
enum nb_status nb_edit_fits(const struct nb_gguf *gguf, const struct nb_metadata *meta, bool *fits,
                            struct nb_error *err) NB_MUST_CHECK;
/*
 * Overwrites the header of the file PATH with META, which must fit. The old bytes are kept in
 * PATH.undo until the new ones are synced, so that nb_edit_recover can restore them.
 */
enum nb_status nb_edit_in_place(const char *path, const struct nb_gguf *gguf, const struct nb_metadata *meta,
                                struct nb_error *err) NB_MUST_CHECK;
/* Restores the header from PATH.undo, which a killed edit has left. *RECOVERED: whether there was one. */
enum nb_status nb_edit_recover(const char *path, bool *recovered, struct nb_error *err) NB_MUST_CHECK;
/*
 * Writes META and the tensors of GGUF, which was read from FILE, to the file OUTPUT, atomically. With
 * REPLACE, OUTPUT may be FILE itself.
 */
enum nb_status nb_edit_copy(const struct nb_file_in *file, const struct nb_gguf *gguf, const struct nb_metadata *meta,
                            const char *output, bool replace, struct nb_error *err) NB_MUST_CHECK;

#endif
