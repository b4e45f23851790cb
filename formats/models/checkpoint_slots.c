/*
 * What has come of each tensor that a checkpoint is to have: its parts, such as a layer's experts, until all are there, and
 * what is missing in the end.
 */
#include "formats/models/checkpoint_builder.h"

#include "formats/models/expression.h"

#include <inttypes.h>
#include <string.h>

static bool
is_joined(const struct nb_map_row *row)
{
    return row->op[0].kind == NB_MAP_JOIN;
}

bool
nb_row_is_stacked(const struct nb_map_row *row)
{
    return strstr(row->from, "%e") != NULL && !is_joined(row);
}

static struct nb_slot *
slot_of(const struct nb_builder *b, const struct nb_map_row *row, uint64_t layer)
{
    return &b->slots[(size_t)(row - b->family->to_gguf) * (size_t)b->layers + layer];
}

/* The number of stored tensors for ROW in LAYER: one, or the last dimension of the stack. */
static enum nb_status
open_slot(struct nb_builder *b, const struct nb_map_row *row, uint64_t layer, struct nb_slot *slot)
{
    uint64_t ne[NB_MAX_DIMS];
    uint32_t n_dims;

    if (slot->stored != NULL)
        return NB_OK;
    slot->wanted = 1;
    if (is_joined(row) && (!nb_expression_count(row->op[0].argument[0], b->hp, layer, &slot->wanted) ||
                           slot->wanted == 0 || slot->wanted > NB_MAX_EXPERTS))
        return nb_fail(b->err, NB_INPUT, "%s: config.json does not say in how many parts '%s' is", b->cp->folder,
                       row->from);
    if (nb_row_is_stacked(row)) {
        const struct nb_arch_tensor *target = nb_arch_row(b->family->arch, row->to);

        if (!nb_arch_shape(target, b->hp, layer, ne, &n_dims) || ne[n_dims - 1] > NB_MAX_EXPERTS)
            return nb_fail(b->err, NB_INPUT, "%s: config.json does not say how many experts there are", b->cp->folder);
        slot->wanted = ne[n_dims - 1];
    }
    slot->stored = nb_arena_calloc(&b->source->arena, (size_t)slot->wanted + 1, sizeof *slot->stored);
    return slot->stored == NULL ? nb_fail_memory(b->err) : NB_OK;
}

/* Whether some row has produced the same tensor: checkpoints store some tensors in more than one form. */
static bool
has_come(const struct nb_builder *b, const char *to, uint64_t layer)
{
    for (size_t i = 0; i < b->family->n_to_gguf; i++) {
        const struct nb_slot *slot = slot_of(b, &b->family->to_gguf[i], layer);

        if (strcmp(b->family->to_gguf[i].to, to) == 0 && slot->stored != NULL && slot->count == slot->wanted)
            return true;
    }
    return false;
}

/* Whether all stacks begun in LAYER are complete; their views are made together, in table order. */
static bool
stacks_are_complete(const struct nb_builder *b, uint64_t layer)
{
    for (size_t i = 0; i < b->family->n_to_gguf; i++) {
        const struct nb_map_row *row = &b->family->to_gguf[i];
        const struct nb_arch_tensor *target = nb_arch_row(b->family->arch, row->to);

        if (nb_row_is_stacked(row) && nb_expression_holds(target->when, b->hp, layer) && !has_come(b, row->to, layer))
            return false;
    }
    return true;
}

static enum nb_status
add_stacks(struct nb_builder *b, uint64_t layer)
{
    enum nb_status status = NB_OK;

    for (size_t i = 0; i < b->family->n_to_gguf && status == NB_OK; i++) {
        const struct nb_map_row *row = &b->family->to_gguf[i];
        const struct nb_slot *slot = slot_of(b, row, layer);

        if (nb_row_is_stacked(row) && slot->stored != NULL)
            status = nb_builder_add_view(b, row, layer, slot);
    }
    return status;
}

enum nb_status
nb_builder_take(struct nb_builder *b, const struct nb_map_row *row, uint64_t layer, uint64_t expert,
                const struct nb_tensor *stored)
{
    struct nb_slot *slot = slot_of(b, row, layer);
    enum nb_status status = open_slot(b, row, layer, slot);

    if (status != NB_OK)
        return status;
    if (expert >= slot->wanted)
        return NB_BUILDER_FOUND(b, NB_BAD_MODEL_TENSOR_UNEXPECTED,
                                "tensor '%s' belongs to an expert or a part beyond the last, %" PRIu64, stored->name,
                                slot->wanted - 1);
    if (slot->stored[expert] != NULL)
        return NB_BUILDER_FOUND(b, NB_BAD_CP_TENSOR_PLACE, "tensor '%s' is in two shards", stored->name);
    slot->stored[expert] = stored;
    slot->count++;
    if (!nb_row_is_stacked(row))
        return slot->count == slot->wanted ? nb_builder_add_view(b, row, layer, slot) : NB_OK;
    return stacks_are_complete(b, layer) ? add_stacks(b, layer) : NB_OK;
}

/* --- what is missing ---------------------------------------------------------------------------------------------- */

/* Whether the tensor that ROW produces is required. */
static bool
is_needed(const struct nb_builder *b, const struct nb_map_row *row, uint64_t layer)
{
    const struct nb_arch_tensor *target = nb_arch_row(b->family->arch, row->to);

    if (!nb_expression_holds(target->when, b->hp, layer))
        return false;
    return target->presence == NB_REQUIRED || (target->presence == NB_TIED && !b->output_is_embedding &&
                                               json_is_false(nb_config_find(b->cp->config, "tie_word_embeddings")));
}

/* Whether the tensor TO has come, in LAYER or, if the model has it once, in any. */
static bool
has_come_for(const struct nb_builder *b, const char *to, uint64_t layer)
{
    if (strstr(to, "%l") != NULL)
        return has_come(b, to, layer);
    for (uint64_t i = 0; i < b->layers; i++)
        if (has_come(b, to, i))
            return true;
    return false;
}

/* Whether some of the parts of TO are there in LAYER. */
static bool
has_begun(const struct nb_builder *b, const char *to, uint64_t layer)
{
    for (size_t i = 0; i < b->family->n_to_gguf; i++) {
        const struct nb_slot *slot = slot_of(b, &b->family->to_gguf[i], layer);

        if (strcmp(b->family->to_gguf[i].to, to) == 0 && slot->stored != NULL && slot->count < slot->wanted)
            return true;
    }
    return false;
}

enum nb_status
nb_builder_check_complete(const struct nb_builder *b)
{
    enum nb_status status = NB_OK;

    for (size_t i = 0; i < b->family->n_to_gguf; i++) {
        const struct nb_map_row *row = &b->family->to_gguf[i];
        const uint64_t n = strstr(row->to, "%l") == NULL && strstr(row->from, "%l") == NULL ? 1 : b->layers;

        for (uint64_t layer = 0; layer < n && status == NB_OK; layer++) {
            const struct nb_slot *slot = slot_of(b, row, layer);
            const bool begun = slot->stored != NULL && slot->count < slot->wanted;
            uint64_t expert = 0;
            char name[256];

            if (has_come_for(b, row->to, layer) || (!begun && !is_needed(b, row, layer)))
                continue;
            if (!begun && has_begun(b, row->to, layer)) /* what is missing is a part */
                continue;
            while (begun && slot->stored[expert] != NULL)
                expert++;
            nb_name_fill(row->from, layer, expert, name, sizeof name);
            status = NB_BUILDER_FOUND(b, NB_BAD_MODEL_TENSOR_MISSING, "tensor '%s' is missing", name);
        }
    }
    return status;
}
