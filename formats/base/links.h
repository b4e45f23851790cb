/* Links in a folder that a stranger may have made. */
#ifndef NB_LINKS_H
#define NB_LINKS_H

#include "formats/base/status.h"

#include <stdbool.h>

/*
 * *INSIDE: whether FOLDER/NAME is no link, or one that stays in FOLDER, or one from a revision in Hugging
 * Face's cache to a file of that cache (from MODEL/snapshots/REVISION to MODEL/blobs). Also true for a link
 * that leads nowhere, which cannot be read.
 */
enum nb_status nb_link_stays_inside(const char *folder, const char *name, bool *inside,
                                    struct nb_error *err) NB_MUST_CHECK;

#endif
