/* Makes an importance matrix from text, for 'calibrate' and for 'quantize --calibrate'. */
#ifndef NB_CALIBRATION_H
#define NB_CALIBRATION_H

#include "calib/calibrate.h"
#include "calib/sums.h"
#include "formats/base/status.h"
#include "formats/models/source.h"
#include "verify/tokenize/text_file.h"

#define MAX_TEXTS 64

struct calibration {
    struct nb_text text[MAX_TEXTS]; /* none: the default text */
    size_t texts;
    unsigned tokenize_flags;
    size_t most_tokens;                  /* in chunks from all over the texts; 0: all */
    struct nb_calibrate_options options; /* all but bos and progress; chunk_tokens 0: as the model has it */
};

/*
 * Runs the texts through the model in SOURCE and adds to SUMS. Shows progress; an
 * interrupt ends the run, and its state is saved if the options name a file for it.
 */
enum nb_status calibration_run(struct calibration *c, const struct nb_source *source, struct nb_sums *sums,
                               struct nb_error *err) NB_MUST_CHECK;

/* Prints a line to stderr for every entry of which a part was not reached. */
void calibration_warn(const struct nb_sums *sums);

#endif
