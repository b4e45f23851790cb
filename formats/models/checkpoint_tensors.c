/* The tensors of a checkpoint as views with GGUF names, shapes and row order, by the tables of its family. */
#include "formats/models/checkpoint_builder.h"

#include "formats/base/text.h"
#include "formats/models/expression.h"
#include "formats/models/multimodal.h"
#include "formats/models/packed/packed.h"
#include "formats/models/stored_tensors.h"
#include "formats/models/view_build.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- stored tensors to rows of the table --------------------------------------------------------------------- */

static bool
has_ending(const char *const *endings, const char *name)
{
    for (; endings != NULL && *endings != NULL; endings++)
        if (nb_ends_with(name, *endings))
            return true;
    return false;
}

static bool
has_beginning(const char *const *beginnings, const char *name)
{
    for (; beginnings != NULL && *beginnings != NULL; beginnings++)
        if (strncmp(name, *beginnings, strlen(*beginnings)) == 0)
            return true;
    return false;
}

/* The next row, from FROM on, that matches the stored tensor NAME and whose layer has its tensor; NULL if there is none. */
static const struct nb_map_row *
next_row(const struct nb_builder *b, const struct nb_map_row *from, const char *name, uint64_t *layer, uint64_t *expert)
{
    const struct nb_map_row *end = b->family->to_gguf + b->family->n_to_gguf;

    *layer = *expert = 0;
    for (; from < end; from++) {
        if (!nb_name_matches(from->from, name, layer, expert))
            continue;
        if (strstr(from->from, "%l") == NULL && strstr(from->to, "%l") != NULL)
            *layer = b->layers - 1;
        if (nb_expression_holds(nb_arch_row(b->family->arch, from->to)->when, b->hp, *layer))
            return from;
    }
    return NULL;
}

static const struct nb_map_row *
row_to(const struct nb_builder *b, const char *to)
{
    for (size_t i = 0; i < b->family->n_to_gguf; i++)
        if (strcmp(b->family->to_gguf[i].to, to) == 0)
            return &b->family->to_gguf[i];
    return NULL;
}

/* The architecture's NB_TIED tensor, or NULL. */
static const struct nb_arch_tensor *
tied_tensor(const struct nb_builder *b)
{
    const struct nb_arch *arch = b->family->arch;

    for (size_t i = 0; i < arch->n_tensors; i++)
        if (arch->tensors[i].presence == NB_TIED)
            return &arch->tensors[i];
    return NULL;
}

/* The row to use for ROW: a tied embedding may be stored under the output's name only. */
static const struct nb_map_row *
actual_row(const struct nb_builder *b, const struct nb_map_row *row)
{
    const struct nb_arch_tensor *tied = tied_tensor(b);

    return b->tied_under_output && tied != NULL && strcmp(row->to, tied->name) == 0 ? row_to(b, NB_EMBEDDING) : row;
}

/* The stored tensor for the architecture's tensor TO. */
static const struct nb_tensor *
stored_for(const struct nb_builder *b, const char *to)
{
    const struct nb_map_row *rows = b->family->to_gguf;
    uint64_t layer, expert;

    for (size_t r = 0; r < b->family->n_to_gguf; r++) /* names in more than one form have a row for each */
        for (size_t i = 0; strcmp(rows[r].to, to) == 0 && i < b->source->store.count; i++)
            if (nb_name_matches(rows[r].from, b->source->store.tensors[i].name, &layer, &expert))
                return &b->source->store.tensors[i];
    return NULL;
}

/* The vocabulary size is the number of rows of the stored embedding. */
enum nb_status
nb_builder_vocabulary(struct nb_builder *b)
{
    const struct nb_arch_tensor *tied = tied_tensor(b);
    const struct nb_tensor *embedding = stored_for(b, NB_EMBEDDING);
    const struct nb_hparam_value stated = b->hp->value[NB_HP_VOCAB];
    double rows;

    b->tied_under_output = embedding == NULL && json_is_true(nb_config_find(b->cp->config, "tie_word_embeddings"));
    if (embedding == NULL && tied != NULL)
        embedding = stored_for(b, tied->name);
    if (embedding == NULL)
        return nb_fail(b->err, NB_INPUT, "%s: has no token embedding ('%s')%s%s%s", b->cp->folder,
                       row_to(b, NB_EMBEDDING)->from, b->cp->n_tensors > 0 ? "; its first tensor is '" : "",
                       b->cp->n_tensors > 0 ? b->cp->tensors[0].info.name : "", b->cp->n_tensors > 0 ? "'" : "");
    if (embedding->bytes == 0)
        return nb_fail(b->err, NB_INPUT,
                       "%s: tensor '%s' is empty, as if ZeRO-3 had saved the model without gathering its weights",
                       b->cp->folder, embedding->name);
    if (embedding->n_dims != 2 || embedding->ne[1] < 1 || embedding->ne[1] > 1u << 30)
        return nb_fail(b->err, NB_INPUT, "%s: tensor '%s' is not a matrix of tokens", b->cp->folder, embedding->name);
    if (b->family->vocab_of_config)
        return NB_OK;
    rows = (double)embedding->ne[1];
    nb_hp_set(b->hp, NB_HP_VOCAB, rows, stated.given);
    if (stated.given && stated.number != rows)
        nb_source_note(b->source, "config.json says vocab_size %.0f, but the embedding has %.0f rows: %.0f is used",
                       stated.number, rows, rows);
    return NB_OK;
}

/* --- views -------------------------------------------------------------------------------------------------- */

/* The type in an unquantized GGUF file: F32 for vectors and norms, otherwise the stored type. */
static enum nb_type
plain_type(const struct nb_view *v)
{
    return nb_view_is_packed(v) || (!nb_view_is_always_f32(v) && (v->type == NB_F16 || v->type == NB_BF16)) ? v->type
                                                                                                            : NB_F32;
}

/* What a family that keeps types writes: as the reference's converter of DeepSeek V4 has it. */
static void
keep_type(struct nb_view *v)
{
    const bool was_fp8 = v->pieces->stored->packed != NULL && v->type == NB_F32;
    const bool is_matrix = v->n_dims > 1 && !nb_ends_with(v->name, "_norm.weight");

    v->in_f32 = is_matrix && (was_fp8 || v->type != NB_F32) ? NB_F32_AS_OTHERS : NB_F32_ALWAYS;
    v->plain_type = plain_type(v);
    v->has_own_type = is_matrix && v->type != NB_F16; /* F16 becomes what the file is */
    if (is_matrix && was_fp8)
        v->plain_type = v->ne[0] % nb_type_info(NB_Q8_0)->block == 0 ? NB_Q8_0 : NB_F16;
}

static void
set_plain_type(const struct nb_family *family, struct nb_view *v)
{
    if (family->no_matrix_in_f32)
        v->in_f32 = NB_F32_AS_OTHERS;
    else if (family->matrices_in_f32 != NULL && strstr(v->name, family->matrices_in_f32) != NULL)
        v->in_f32 = NB_F32_ALWAYS;
    v->plain_type = plain_type(v);
    if (nb_type_info(v->type)->kind == NB_KIND_INTEGER) {
        v->plain_type = v->type;
        v->has_own_type = true;
    } else if (family->keeps_types) {
        keep_type(v);
    }
}

/* "a x b x c", in the order of checkpoints: slowest dimension first. */
static void
write_shape(const uint64_t *ne, uint32_t n_dims, char *text, size_t size)
{
    size_t at = 0;

    *text = '\0';
    for (uint32_t i = n_dims; i-- > 0 && at < size;)
        at += (size_t)snprintf(text + at, size - at, "%s%" PRIu64, at > 0 ? " x " : "", ne[i]);
}

/* Whether the row's operations keep the shape of the stored tensor. */
static bool
keeps_shape(const struct nb_map_row *row)
{
    for (size_t i = 0; i < NB_MAP_OPS; i++)
        if (row->op[i].kind >= NB_MAP_CUT && row->op[i].kind <= NB_MAP_FIT)
            return false;
    return true;
}

/* Whether two shapes are equal except for dimensions of 1. */
static bool
same_sides(const uint64_t *a, const uint64_t *b)
{
    for (unsigned i = 0, k = 0; i < NB_MAX_DIMS || k < NB_MAX_DIMS;) {
        if (i < NB_MAX_DIMS && a[i] == 1)
            i++;
        else if (k < NB_MAX_DIMS && b[k] == 1)
            k++;
        else if (i == NB_MAX_DIMS || k == NB_MAX_DIMS || a[i++] != b[k++])
            return false;
    }
    return true;
}

/* Checks a stored tensor, or one expert of a stack, against the shape NE that the architecture gives the view. */
static enum nb_status
check_stored(const struct nb_builder *b, const struct nb_map_row *row, const struct nb_tensor *t,
             const uint64_t ne[NB_MAX_DIMS], uint32_t n_dims, bool *good)
{
    uint64_t want[NB_MAX_DIMS];
    char found[128], wanted[128];
    uint32_t sides = n_dims;

    *good = false;
    memcpy(want, ne, sizeof want);
    if (nb_row_is_stacked(row)) /* a single expert has no expert dimension */
        want[--sides] = 1;
    for (size_t i = 0; i < NB_MAP_OPS; i++) {
        if (row->op[i].kind == NB_MAP_TRANSPOSE) {
            const uint64_t rows = want[0];

            want[0] = want[1];
            want[1] = rows;
        }
    }
    if (keeps_shape(row) && !same_sides(t->ne, want)) {
        write_shape(t->ne, t->n_dims, found, sizeof found);
        write_shape(want, sides, wanted, sizeof wanted);
        return NB_BUILDER_FOUND(b, NB_BAD_MODEL_TENSOR_SHAPE, "tensor '%s' is %s, but config.json makes it %s", t->name,
                                found, wanted);
    }
    if (nb_type_info(t->type)->kind != NB_KIND_FLOAT && t->packed == NULL && row->op[0].kind != NB_MAP_NUMBERS)
        return NB_BUILDER_FOUND(b, NB_BAD_MODEL_TENSOR_SHAPE, "tensor '%s' has dtype %s, which holds no weights",
                                t->name, nb_type_info(t->type)->safetensors);
    *good = true;
    return NB_OK;
}

static bool
is_packed(const struct nb_map_row *row)
{
    return row->op[0].kind == NB_MAP_MXFP4;
}

/* The tensor "x_scales" beside BLOCKS, "x_blocks"; NULL if there is none. */
static const struct nb_tensor *
scales_of(const struct nb_builder *b, const struct nb_tensor *blocks)
{
    const struct nb_store *store = &b->source->store;
    const size_t n = strlen(blocks->name) - strlen("blocks");

    for (size_t i = 0; i < store->count; i++)
        if (strncmp(store->tensors[i].name, blocks->name, n) == 0 && strcmp(store->tensors[i].name + n, "scales") == 0)
            return &store->tensors[i];
    return NULL;
}

static enum nb_status
grow_tensors(struct nb_builder *b)
{
    struct nb_source *s = b->source;
    const size_t room = b->room == 0 ? 256 : 2 * b->room;
    struct nb_view *grown;

    if (s->n_tensors < b->room)
        return NB_OK;
    grown = realloc(s->tensors, room * sizeof *grown);
    if (grown == NULL)
        return nb_fail_memory(b->err);
    s->tensors = grown;
    b->room = room;
    return NB_OK;
}

/*
 * Builds VIEW. Weights that stay in a quantized type of GGUF can be cut and put in order by whole rows; for all that needs
 * their elements they become floats.
 */
static enum nb_status
build_view(struct nb_builder *b, struct nb_view *view, struct nb_view_origin *origin, struct nb_error *why)
{
    const struct nb_view empty = *view;
    struct nb_arena *arena = &b->source->arena;
    const struct nb_tensor **floats;
    enum nb_status status = nb_view_build(view, origin, arena, why);

    if (nb_type_info(origin->stored[0]->type)->kind != NB_KIND_BLOCK ||
        (status == NB_OK && view->ops[0].kind == NB_OP_NONE) || (status != NB_OK && !nb_status_is(status, NB_INPUT)))
        return status;
    floats = nb_arena_calloc(arena, origin->n_stored + 1, sizeof *floats);
    if (floats == NULL)
        return nb_fail_memory(why);
    for (size_t i = 0; i < origin->n_stored; i++) {
        floats[i] = origin->stored[i]->packed == NULL ? origin->stored[i]
                                                      : nb_packed_as_floats(origin->stored[i], arena);
        if (floats[i] == NULL)
            return nb_fail_memory(why);
    }
    *view = empty;
    view->type = NB_F32;
    origin->stored = floats;
    return nb_view_build(view, origin, arena, why);
}

/* Adds the vector "x.ENDING" of VALUES beside the view of "x.weight". */
static enum nb_status
add_vector(struct nb_builder *b, const struct nb_view *weight, const char *ending, const float *values, uint64_t count)
{
    struct nb_arena *arena = &b->source->arena;
    struct nb_tensor *t = nb_arena_calloc(arena, 1, sizeof *t);
    struct nb_piece *piece = nb_arena_calloc(arena, 1, sizeof *piece);
    char name[NB_MAX_NAME + 32];
    enum nb_status status = t == NULL || piece == NULL ? nb_fail_memory(b->err) : grow_tensors(b);

    if (status != NB_OK)
        return status;
    snprintf(name, sizeof name, "%.*s%s", (int)(strlen(weight->name) - strlen(".weight")), weight->name, ending);
    *t = (struct nb_tensor){ .name = nb_arena_strdup(arena, name),
                             .type = NB_F32,
                             .n_dims = 1,
                             .ne = { count, 1, 1, 1 },
                             .bytes_in_memory = values };
    if (t->name == NULL || !nb_tensor_measure(t))
        return nb_fail_memory(b->err);
    nb_view_whole(&b->source->tensors[b->source->n_tensors], &b->source->store, t, piece);
    b->source->tensors[b->source->n_tensors++].source_name = weight->source_name;
    return NB_OK;
}

/*
 * The factors of weights in NVFP4, one for each expert, and of what is multiplied with them. As the reference has it, none
 * is written that is 1 but for 1e-6.
 */
static enum nb_status
add_factors(struct nb_builder *b, const struct nb_view *weight, const struct nb_slot *slot)
{
    static const struct {
        const char *ending;
        float (*factor)(const struct nb_packed *packed);
    } kinds[] = { { ".scale", nb_packed_factor }, { ".input_scale", nb_packed_input_factor } };
    enum nb_status status = NB_OK;

    for (unsigned k = 0; k < 2 && status == NB_OK && weight->type == NB_NVFP4 && nb_ends_with(weight->name, ".weight");
         k++) {
        float *values = nb_arena_calloc(&b->source->arena, slot->count + 1, sizeof *values);
        bool is_told = false;

        if (values == NULL)
            return nb_fail_memory(b->err);
        for (uint64_t i = 0; i < slot->count; i++) {
            values[i] = kinds[k].factor(slot->stored[i]->packed);
            is_told = is_told || fabs((double)values[i] - 1.0) >= 1e-6;
        }
        if (is_told)
            status = add_vector(b, weight, kinds[k].ending, values, slot->count);
    }
    return status;
}

/* Makes the view of ROW in LAYER from SLOT, which is complete. */
enum nb_status
nb_builder_add_view(struct nb_builder *b, const struct nb_map_row *row, uint64_t layer, const struct nb_slot *slot)
{
    const struct nb_arch_tensor *target = nb_arch_row(b->family->arch, row->to);
    struct nb_view_origin origin = { row,
                                     b->hp,
                                     layer,
                                     slot->stored,
                                     (size_t)slot->count,
                                     is_packed(row) ? scales_of(b, slot->stored[0]) : NULL,
                                     b->cp->config };
    struct nb_view view = { .type = slot->stored[0]->type,
                            .source_name = slot->stored[0]->name,
                            .store = &b->source->store };
    char name[NB_MAX_NAME + 1];
    struct nb_error why;
    bool good = true;
    enum nb_status status = grow_tensors(b);

    if (status == NB_OK && !nb_arch_shape(target, b->hp, layer, view.ne, &view.n_dims))
        return NB_BUILDER_FOUND(b, NB_BAD_MODEL_TENSOR_SHAPE, "tensor '%s' has a shape that config.json does not give",
                                view.source_name);
    for (uint64_t i = 0; i < slot->count && status == NB_OK && good && !is_packed(row); i++)
        status = check_stored(b, row, slot->stored[i], view.ne, view.n_dims, &good);
    if (status != NB_OK || !good)
        return status;
    nb_name_fill(row->to, layer, 0, name, sizeof name);
    view.name = nb_arena_strdup(&b->source->arena, name);
    if (view.name == NULL)
        return nb_fail_memory(b->err);
    status = build_view(b, &view, &origin, &why);
    if (nb_status_is(status, NB_INPUT))
        return NB_BUILDER_FOUND(b, NB_BAD_MODEL_TENSOR_SHAPE, "%s", why.message);
    if (status != NB_OK)
        return nb_fail(b->err, status, "%s", why.message);
    set_plain_type(b->family, &view);
    b->source->tensors[b->source->n_tensors++] = view;
    return add_factors(b, &view, slot);
}

/* Whether NAME is that of a tensor of a LoRA adapter, or of what PEFT wraps with one. */
static bool
is_of_adapter(const char *name)
{
    return strstr(name, ".lora_") != NULL || strstr(name, ".base_layer.") != NULL ||
           strstr(name, ".modules_to_save.") != NULL;
}

/* Whether ROW is an output matrix that the family leaves out because it is the embedding. */
static bool
is_skipped_output(const struct nb_builder *b, const struct nb_map_row *row)
{
    const struct nb_arch_tensor *tied = tied_tensor(b);

    return b->family->skips_tied_output && !b->tied_under_output && tied != NULL && strcmp(row->to, tied->name) == 0 &&
           json_is_true(nb_config_find(b->cp->config, "tie_word_embeddings"));
}

/* Whether NAME belongs to a layer beyond the last, which the family leaves out. */
static bool
is_of_extra_layer(const struct nb_builder *b, const char *name)
{
    const char *beginning = b->family->extra_layers;
    const size_t n = beginning == NULL ? 0 : strlen(beginning);

    return n > 0 && strncmp(name, beginning, n) == 0 && isdigit((unsigned char)name[n]) &&
           strtoull(name + n, NULL, 10) >= b->layers;
}

/* Whether ROW takes a part of a fused matrix. */
static bool
is_cut(const struct nb_map_row *row)
{
    for (size_t i = 0; i < NB_MAP_OPS; i++)
        if (row->op[i].kind == NB_MAP_CUT || row->op[i].kind == NB_MAP_CUT_GROUPS ||
            row->op[i].kind == NB_MAP_CUT_COLUMNS)
            return !nb_row_is_stacked(row);
    return false;
}

/* The tensors from FIRST on are the parts of the fused matrix STORED: together they are all of it. */
static enum nb_status
check_parts(const struct nb_builder *b, const struct nb_tensor *stored, size_t first)
{
    uint64_t elements = 0;

    for (size_t i = first; i < b->source->n_tensors; i++)
        elements += b->source->tensors[i].elements;
    if (elements == stored->elements)
        return NB_OK;
    return NB_BUILDER_FOUND(b, NB_BAD_MODEL_TENSOR_SHAPE,
                            "tensor '%s' has %" PRIu64 " elements, but config.json makes its parts have %" PRIu64,
                            stored->name, stored->elements, elements);
}

/* Whether STORED is an output that this family does not write, because it is equal to the embedding. */
static enum nb_status
find_equal_output(struct nb_builder *b, const struct nb_map_row *row, const struct nb_tensor *stored, bool *equal)
{
    const struct nb_arch_tensor *tied = tied_tensor(b);
    const struct nb_view *last = b->source->tensors + b->source->n_tensors;

    *equal = false;
    if (!b->family->drops_equal_output || tied == NULL || strcmp(row->to, tied->name) != 0)
        return NB_OK;
    for (const struct nb_view *v = b->source->tensors; v < last; v++)
        if (strcmp(v->name, NB_EMBEDDING) == 0)
            return nb_stored_are_equal(&b->source->store, v->pieces->stored, stored, equal, b->err);
    return NB_OK;
}

/* A tensor that is left out because it is 0. */
static enum nb_status
skip_zeros(struct nb_builder *b, const struct nb_tensor *stored)
{
    bool zero;
    enum nb_status status = nb_stored_is_zero(&b->source->store, stored, &zero, b->err);

    if (status != NB_OK || zero)
        return status;
    return NB_BUILDER_FOUND(b, NB_BAD_MODEL_TENSOR_UNEXPECTED,
                            "tensor '%s' is not 0 everywhere, and llama.cpp has no place for it in a %s", stored->name,
                            b->family->classes[0]);
}

/* Processes one stored tensor with all rows that match it. */
static enum nb_status
map_tensor(struct nb_builder *b, const struct nb_tensor *stored)
{
    uint64_t layer, expert;
    const struct nb_map_row *row = next_row(b, b->family->to_gguf, stored->name, &layer, &expert);
    const size_t before = b->source->n_tensors;
    size_t cut = 0; /* rows that take a part of it */
    enum nb_status status = NB_OK;
    bool equal;

    if (row == NULL && (has_ending(b->family->ignored_suffixes, stored->name) ||
                        has_beginning(b->family->ignored_prefixes, stored->name)))
        return NB_OK;
    if (row == NULL && has_ending(b->family->zero_suffixes, stored->name))
        return skip_zeros(b, stored);
    if (row == NULL && nb_is_beyond_text(stored->name)) {
        b->n_beyond_text++;
        return NB_OK;
    }
    if (row != NULL && is_skipped_output(b, row))
        return NB_OK;
    if (is_of_extra_layer(b, stored->name)) {
        b->n_extra++;
        return NB_OK;
    }
    if (row == NULL && is_of_adapter(stored->name))
        return NB_BUILDER_FOUND(b, NB_BAD_MODEL_TENSOR_UNEXPECTED,
                                "tensor '%s' belongs to an adapter: merge it into its base first", stored->name);
    if (row == NULL || layer >= b->layers)
        return NB_BUILDER_FOUND(b, NB_BAD_MODEL_TENSOR_UNEXPECTED,
                                "tensor '%s' is no part of a %s with %" PRIu64 " layers", stored->name,
                                b->family->classes[0], b->layers);
    status = find_equal_output(b, row, stored, &equal);
    b->output_is_embedding = b->output_is_embedding || equal;
    if (equal)
        return status;
    for (; row != NULL && status == NB_OK; row = next_row(b, row + 1, stored->name, &layer, &expert)) {
        cut += is_cut(row);
        status = nb_builder_take(b, actual_row(b, row), layer, expert, stored);
    }
    return status == NB_OK && cut > 0 && cut == b->source->n_tensors - before ? check_parts(b, stored, before) : status;
}

/* Computed tensors come first. */
static enum nb_status
add_made(struct nb_builder *b)
{
    const struct nb_conversion conversion = { b->family, b->cp->config, b->hp, &b->source->store, 0, b->cp };
    enum nb_status status = NB_OK;

    for (size_t i = 0; i < b->family->n_made && status == NB_OK; i++) {
        const struct nb_made_row *row = &b->family->made[i];
        struct nb_arena *arena = &b->source->arena;
        struct nb_tensor *t = nb_arena_calloc(arena, 1, sizeof *t);
        struct nb_piece *piece = nb_arena_calloc(arena, 1, sizeof *piece);
        const float *values = NULL;
        uint64_t count = 0;

        status = t == NULL || piece == NULL ? nb_fail_memory(b->err)
                                            : row->make(&conversion, arena, &values, &count, b->err);
        if (status == NB_OK && values != NULL)
            status = grow_tensors(b);
        if (status != NB_OK || values == NULL)
            continue;
        *t = (struct nb_tensor){
            .name = row->to, .type = NB_F32, .n_dims = 1, .ne = { count, 1, 1, 1 }, .bytes_in_memory = values
        };
        if (!nb_tensor_measure(t))
            return nb_fail_memory(b->err);
        nb_view_whole(&b->source->tensors[b->source->n_tensors], &b->source->store, t, piece);
        b->source->tensors[b->source->n_tensors++].source_name = row->origin;
    }
    return status;
}

static bool
is_of_packed_row(const struct nb_builder *b, const struct nb_tensor *stored)
{
    uint64_t layer, expert;
    const struct nb_map_row *row = next_row(b, b->family->to_gguf, stored->name, &layer, &expert);

    return row != NULL && (is_packed(row) || nb_type_info(stored->type)->kind == NB_KIND_BLOCK);
}

enum nb_status
nb_builder_tensors(struct nb_builder *b)
{
    enum nb_status status;

    b->slots = nb_arena_calloc(&b->source->arena, b->family->n_to_gguf * (size_t)b->layers, sizeof *b->slots);
    if (b->slots == NULL)
        return nb_fail_memory(b->err);
    status = grow_tensors(b);
    if (status == NB_OK)
        status = add_made(b);
    for (size_t i = 0; i < b->source->store.count && status == NB_OK; i++)
        if (is_of_packed_row(b, &b->source->store.tensors[i]))
            status = map_tensor(b, &b->source->store.tensors[i]);
    for (size_t i = 0; i < b->source->store.count && status == NB_OK; i++)
        if (!is_of_packed_row(b, &b->source->store.tensors[i]))
            status = map_tensor(b, &b->source->store.tensors[i]);
    if (status == NB_OK)
        status = nb_builder_put_first(b);
    if (status == NB_OK)
        status = nb_builder_check_complete(b);
    if (status == NB_OK && b->n_beyond_text > 0)
        nb_source_note(b->source,
                       "%zu tensor%s of its vision or audio parts %s left out: only the text model is written",
                       b->n_beyond_text, b->n_beyond_text == 1 ? "" : "s", b->n_beyond_text == 1 ? "is" : "are");
    if (status == NB_OK && b->n_extra > 0)
        nb_source_note(
            b->source,
            "%zu tensors of layers that predict further tokens are left out: llama.cpp has no place for them",
            b->n_extra);
    if (status == NB_OK && b->tied_under_output)
        nb_source_note(b->source, "the tied embedding is stored as '%s'; it is written as '%s'",
                       row_to(b, tied_tensor(b)->name)->from, NB_EMBEDDING);
    return status;
}
