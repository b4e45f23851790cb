/* A text that a model writes itself (verify/say/writer.h), for calibration where there is none that it is for. */
#ifndef NB_WRITTEN_TEXT_H
#define NB_WRITTEN_TEXT_H

#include "formats/base/status.h"
#include "formats/base/watch.h"
#include "formats/models/source.h"
#include "verify/tokenize/text_file.h"

#include <stdint.h>

#define NB_WRITTEN_TEXT "self" /* its name */

struct nb_written_text_options {
    uint32_t tokens;       /* about so many, as pieces of a chunk each */
    uint32_t chunk_tokens; /* 0: as nb_calibration_chunk has it */
    unsigned threads;      /* 0: one per core */
    struct nb_step_watch watch;
};

/* TEXT receives it, with bytes from malloc: always the same for a model and these options. */
enum nb_status nb_written_text(const struct nb_source *source, const struct nb_written_text_options *options,
                               struct nb_text *text, struct nb_error *err) NB_MUST_CHECK;

#endif
