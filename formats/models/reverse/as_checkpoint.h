/* Any source as a checkpoint, for those that write the files of one. */
#ifndef NB_AS_CHECKPOINT_H
#define NB_AS_CHECKPOINT_H

#include "formats/models/source.h"

struct nb_as_checkpoint {
    const struct nb_source *source; /* to use */
    struct nb_source reversed, mixed;
    bool is_reversed;
};

/*
 * A checkpoint is itself, a GGUF file what nb_reverse makes of it (MODEL_CLASS is its). With APART also a checkpoint whose
 * weights are in blocks that only its family puts together (gpt-oss) is written back as it was before; it keeps its own
 * config.json and tokenizer. SOURCE must outlive OUT.
 */
enum nb_status nb_as_checkpoint_open(struct nb_as_checkpoint *out, const struct nb_source *source,
                                     const char *model_class, bool apart, struct nb_error *err) NB_MUST_CHECK;
void nb_as_checkpoint_close(struct nb_as_checkpoint *as);

#endif
