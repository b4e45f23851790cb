/*
 * Shared by source_checkpoint.c, which opens a checkpoint, checkpoint_tensors.c, which makes views of its tensors,
 * checkpoint_slots.c, which knows of each tensor what has come of it, and checkpoint_order.c, which puts some first.
 */
#ifndef NB_CHECKPOINT_BUILDER_H
#define NB_CHECKPOINT_BUILDER_H

#include "formats/models/family.h"
#include "formats/models/source.h"
#include "formats/safetensors/checkpoint.h"

#define NB_EMBEDDING "token_embd.weight"

/* The stored tensors found so far for one row of the table in one layer. */
struct nb_slot {
    const struct nb_tensor **stored; /* one, or an array of experts */
    uint64_t count, wanted;
};

/* A source in the making. */
struct nb_builder {
    struct nb_source *source;
    struct nb_checkpoint *cp;
    const struct nb_family *family;
    struct nb_hparams *hp;
    uint64_t layers;
    size_t room;           /* for tensors of the source */
    struct nb_slot *slots; /* rows x layers; rows without a layer use layer 0 */
    bool tied_under_output;
    bool output_is_embedding;     /* and is left out, see nb_family.drops_equal_output */
    size_t n_beyond_text;         /* tensors of vision and audio parts */
    size_t n_extra;               /* tensors of layers beyond the last that are left out */
    struct nb_findings *findings; /* NULL: the first finding is an error */
    struct nb_error *err;
};

/* Records a finding about the folder; building continues. */
#define NB_BUILDER_FOUND(b, code, ...) nb_found((b)->findings, (b)->err, code, nb_in_file((b)->cp->folder), __VA_ARGS__)

/* Sets the vocabulary size and whether the output is tied, from the stored tensors. */
enum nb_status nb_builder_vocabulary(struct nb_builder *builder) NB_MUST_CHECK;
/* Makes the views of the source, in the reference converter's order. */
enum nb_status nb_builder_tensors(struct nb_builder *builder) NB_MUST_CHECK;

/* Whether ROW is of single experts, which become one tensor with a dimension of experts. */
bool nb_row_is_stacked(const struct nb_map_row *row);
/* Adds the view of ROW in LAYER to the source, made of all that is in SLOT. */
enum nb_status nb_builder_add_view(struct nb_builder *builder, const struct nb_map_row *row, uint64_t layer,
                                   const struct nb_slot *slot) NB_MUST_CHECK;
/* Puts STORED where ROW has it in LAYER, as EXPERT or part, and adds the views that are complete by now. */
enum nb_status nb_builder_take(struct nb_builder *builder, const struct nb_map_row *row, uint64_t layer,
                               uint64_t expert, const struct nb_tensor *stored) NB_MUST_CHECK;
/* Puts the family's FIRST_TENSORS before the others. */
enum nb_status nb_builder_put_first(struct nb_builder *builder) NB_MUST_CHECK;
/* Finds the tensors that are missing, of which no part has come or not all. */
enum nb_status nb_builder_check_complete(const struct nb_builder *builder) NB_MUST_CHECK;

#endif
