/* The changes that 'nibble edit' makes to metadata. */
#ifndef NB_EDITS_H
#define NB_EDITS_H

#include "formats/base/status.h"
#include "formats/gguf/metadata.h"

enum edit_kind { EDIT_SET, EDIT_SET_FILE, EDIT_RENAME, EDIT_REMOVE, EDIT_SPECIAL_TOKEN };

/*
 * Makes one change to META. TEXT is as on the command line: "KEY=TYPE:VALUE", "KEY=TYPE:FILE",
 * "OLD=NEW", "KEY", "NAME=TOKEN". NB_USAGE says what is wrong with it.
 */
enum nb_status edit_apply(struct nb_metadata *meta, enum edit_kind kind, const char *text,
                          struct nb_error *err) NB_MUST_CHECK;

#endif
