/* Begins the file of a saved base (saved_base.h). */
#ifndef NB_SAVE_BASE_H
#define NB_SAVE_BASE_H

#include "formats/base/status.h"
#include "formats/models/source.h"
#include "verify/drift/drift.h"
#include "verify/drift/saved_base.h"
#include "verify/tokenize/tokenize.h"

#include <stdbool.h>

/* What is to be saved: the predictions of BASE for the tokens IDS of the file TEXT, with the vocabulary of TOKENIZER. */
struct nb_base_to_save {
    const struct nb_source *base;
    const char *text;
    const struct nb_ids *ids;
    const struct nb_tokenizer *tokenizer;
};

/* Begins the file PATH, for nb_drift_measure with OPTIONS. */
enum nb_status nb_save_base(struct nb_base_writer **writer, const char *path, bool replace,
                            const struct nb_base_to_save *of, const struct nb_drift_options *options,
                            struct nb_error *err) NB_MUST_CHECK;

#endif
