/*
 * The journal of an edit in place: NAME.undo beside the model NAME holds what the edit overwrites, until
 * the new header is on the disk. It names its file by inode and size, and both headers by their hashes,
 * and reaches no further than the header. One that does not fit, because the model was replaced since or
 * because it came with a download, is never applied.
 */
#ifndef NB_GGUF_JOURNAL_H
#define NB_GGUF_JOURNAL_H

#include "formats/base/file_in.h"
#include "formats/base/status.h"

#include <stdint.h>

enum nb_journal_state {
    NB_JOURNAL_NONE,
    NB_JOURNAL_FOREIGN, /* of another file, or no journal at all */
    NB_JOURNAL_DONE,    /* the model's header is the old one or the new one, whole */
    NB_JOURNAL_TORN,    /* the header is partly old and partly new; the journal has what makes it the old one */
};

struct nb_journal {
    enum nb_journal_state state;
    char *path;               /* of the journal: beside the model itself, where NAME is a link */
    const char *why;          /* for FOREIGN: what is wrong with it, as "belongs to another file" */
    uint64_t offset, size;    /* for TORN: the bytes of the old header ... */
    const unsigned char *old; /* ... that were overwritten */
    char *text;               /* the journal's content */
};

/* Looks for a journal of MODEL, and how it fits. JOURNAL is to be freed, also after an error. */
enum nb_status nb_journal_read(const struct nb_file_in *model, struct nb_journal *journal,
                               struct nb_error *err) NB_MUST_CHECK;
void nb_journal_free(struct nb_journal *journal);
/*
 * For those that only read MODEL: NB_INPUT if an interrupted edit has left it with a torn header. Else
 * NOTE, of NB_ERROR_SIZE bytes, receives a sentence about a journal that is there, or "".
 */
enum nb_status nb_journal_check(const struct nb_file_in *model, char *note, struct nb_error *err) NB_MUST_CHECK;

/* Bytes OFFSET to END of the header, which are all that the edit changes. */
struct nb_header_change {
    const unsigned char *old, *new; /* both headers, of SIZE bytes */
    uint64_t size, offset, end;
};
/* Writes the journal of CHANGE to MODEL; an existing one is an error. *PATH: its name, from malloc. */
enum nb_status nb_journal_write(const struct nb_file_in *model, const struct nb_header_change *change, char **path,
                                struct nb_error *err) NB_MUST_CHECK;

#endif
