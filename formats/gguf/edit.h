/*
 * Changes the metadata of a GGUF file: in place if the new header, with padding, is as long as the
 * old one, otherwise by writing a new file.
 */
#ifndef NB_GGUF_EDIT_H
#define NB_GGUF_EDIT_H

#include "formats/base/file_in.h"
#include "formats/base/status.h"
#include "formats/base/watch.h"
#include "formats/gguf/gguf.h"
#include "formats/gguf/metadata.h"

#include <stdbool.h>

/*
 * nb_gguf_read of a file that is to be changed: texts that are not UTF-8 and booleans that are neither 0 nor 1 are passed
 * over, since a change may mend them. The writer refuses those that are left.
 */
enum nb_status nb_edit_read(const struct nb_file_in *file, struct nb_gguf *gguf, struct nb_error *err) NB_MUST_CHECK;
/*
 * Whether a header with META has the same length as that of FILE, which was read as GGUF, both padded to
 * the alignment. False for a file without tensors that ends before its padding, and for one with further names: it
 * may be kept by its hash under them, as in Ollama's store.
 */
enum nb_status nb_edit_fits(const struct nb_file_in *file, const struct nb_gguf *gguf, const struct nb_metadata *meta,
                            bool *fits, struct nb_error *err) NB_MUST_CHECK;
/*
 * Overwrites the header of FILE with META, which must fit. FILE must come from nb_file_open_to_change and
 * stay open from nb_edit_recover to this call, so that no other edit can come between. The old bytes
 * are kept in a journal beside it until the new ones are synced.
 */
enum nb_status nb_edit_in_place(const struct nb_file_in *file, const struct nb_gguf *gguf,
                                const struct nb_metadata *meta, struct nb_error *err) NB_MUST_CHECK;
/*
 * Makes FILE, from nb_file_open_to_change, whole again if an edit was interrupted, and removes the
 * journal. *RECOVERED: whether the old header had to be restored. A journal that does not belong to FILE
 * is NB_INPUT.
 */
enum nb_status nb_edit_recover(const struct nb_file_in *file, bool *recovered, struct nb_error *err) NB_MUST_CHECK;
/*
 * Writes META and the tensors of GGUF, which was read from FILE, to the file OUTPUT, atomically. With
 * REPLACE, OUTPUT may be FILE itself. WATCH may be NULL.
 */
enum nb_status nb_edit_copy(const struct nb_file_in *file, const struct nb_gguf *gguf, const struct nb_metadata *meta,
                            const char *output, bool replace, const struct nb_watch *watch,
                            struct nb_error *err) NB_MUST_CHECK;

#endif
