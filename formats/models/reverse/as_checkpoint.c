#include "formats/models/reverse/as_checkpoint.h"

#include "formats/models/family.h"
#include "formats/models/reverse/reverse.h"

/* Whether SOURCE, a checkpoint, has weights in blocks that only its family puts together. */
static bool
has_blocks(const struct nb_source *source)
{
    for (size_t i = 0; i < source->n_tensors && source->family->packed_as != NULL; i++)
        if (source->tensors[i].foreign != NULL)
            return true;
    return false;
}

enum nb_status
nb_as_checkpoint_open(struct nb_as_checkpoint *out, const struct nb_source *source, const char *model_class, bool apart,
                      struct nb_error *err)
{
    const bool is_folder = source->kind == NB_SOURCE_CHECKPOINT;
    enum nb_status status;

    *out = (struct nb_as_checkpoint){ .source = source };
    if (is_folder && !(apart && has_blocks(source)))
        return NB_OK;
    status = nb_reverse(&out->reversed, source, is_folder ? source->family->classes[0] : model_class, err);
    if (status != NB_OK)
        return status;
    out->is_reversed = true;
    out->mixed = out->reversed;
    if (is_folder)
        out->mixed.checkpoint = source->checkpoint;
    out->source = &out->mixed;
    return NB_OK;
}

void
nb_as_checkpoint_close(struct nb_as_checkpoint *as)
{
    if (as->is_reversed)
        nb_source_close(&as->reversed);
}
