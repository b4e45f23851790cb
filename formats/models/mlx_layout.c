#include "formats/models/mlx_layout.h"

#include "formats/models/architecture.h"
#include "formats/models/expression.h"
#include "formats/models/mlx_packed.h"
#include "formats/models/stored_tensors.h"
#include "formats/models/view_build.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_EXPERTS 4096
#define OUTPUT "lm_head"
#define EMBEDDING "model.embed_tokens"

struct builder {
    struct nb_mlx_tensors *out;
    const struct nb_source *source;
    const struct nb_mlx_layout *layout;
    const struct nb_tensor **sorted; /* the stored tensors by name */
    bool *used;                      /* of each stored tensor: whether it has a place */
    struct nb_hparams hp;
    bool tied; /* config.json says that the output matrix is the embedding */
    bool in_language_model, inside_model;
    size_t room;
    struct nb_error *err;
};

static const struct nb_tensor *
find(const struct builder *b, const char *name)
{
    return nb_tensors_find(b->sorted, b->source->store.count, name);
}

static void
use(struct builder *b, const struct nb_tensor *t)
{
    b->used[t - b->source->store.tensors] = true;
}

/* --- one array ------------------------------------------------------------------------------------------------ */

/* The stored tensors that PATTERN names in LAYER: one, or those of all experts. None if there is not even the first. */
static enum nb_status
gather(struct builder *b, const char *pattern, uint64_t layer, const struct nb_tensor ***stored, size_t *count)
{
    const bool stacked = strstr(pattern, "%e") != NULL;
    char name[256];
    size_t n = 0;

    *count = 0;
    for (nb_name_fill(pattern, layer, n, name, sizeof name); n < MAX_EXPERTS && find(b, name) != NULL;) {
        n++;
        if (!stacked)
            break;
        nb_name_fill(pattern, layer, n, name, sizeof name);
    }
    *stored = nb_arena_calloc(&b->out->arena, n + 1, sizeof **stored);
    if (*stored == NULL)
        return nb_fail_memory(b->err);
    for (; *count < n; ++*count) {
        nb_name_fill(pattern, layer, *count, name, sizeof name);
        (*stored)[*count] = find(b, name);
        use(b, (*stored)[*count]);
    }
    return NB_OK;
}

static enum nb_status
check_stored(const struct builder *b, const struct nb_tensor *const *stored, size_t count)
{
    if (nb_type_info(stored[0]->type)->kind != NB_KIND_FLOAT)
        return nb_fail(b->err, NB_UNSUPPORTED, "%s: tensor '%s' has dtype %s; only floats are written for MLX",
                       b->source->path, stored[0]->name, nb_type_info(stored[0]->type)->name);
    for (size_t i = 1; i < count; i++)
        if (stored[i]->type != stored[0]->type || stored[i]->n_dims != stored[0]->n_dims ||
            memcmp(stored[i]->ne, stored[0]->ne, sizeof stored[i]->ne) != 0)
            return nb_fail(b->err, NB_INPUT, "%s: tensors '%s' and '%s' of two experts differ in shape or type",
                           b->source->path, stored[0]->name, stored[i]->name);
    return NB_OK;
}

/* The shape of the view: that of the row, or as stored, turned, or with a dimension more for experts. */
static enum nb_status
set_shape(const struct builder *b, const struct nb_mlx_row *row, bool applies, uint64_t layer,
          const struct nb_tensor *stored, size_t experts, struct nb_view *v)
{
    const enum nb_map_op_kind first = applies ? row->op[0].kind : NB_MAP_NOTHING;

    memcpy(v->ne, stored->ne, sizeof v->ne);
    v->n_dims = stored->n_dims;
    if (row->dim[0] != NULL && applies) {
        for (v->n_dims = 0; v->n_dims < NB_MAX_DIMS && row->dim[v->n_dims] != NULL; v->n_dims++)
            if (!nb_expression_count(row->dim[v->n_dims], &b->hp, layer, &v->ne[v->n_dims]))
                return nb_fail(b->err, NB_INPUT, "%s: config.json does not give the shape of '%s'", b->source->path,
                               v->name);
        for (uint32_t i = v->n_dims; i < NB_MAX_DIMS; i++)
            v->ne[i] = 1;
    } else if (strstr(row->from == NULL ? "" : row->from, "%e") != NULL) {
        if (v->n_dims >= NB_MAX_DIMS)
            return nb_fail(b->err, NB_INPUT, "%s: tensor '%s' has too many dimensions for an expert's", b->source->path,
                           stored->name);
        v->ne[v->n_dims++] = experts;
    } else if (first == NB_MAP_FOLD || first == NB_MAP_TRANSPOSE) {
        v->ne[0] = stored->ne[1];
        v->ne[1] = stored->ne[0];
    }
    return NB_OK;
}

static enum nb_status
grow(struct builder *b)
{
    struct nb_mlx_tensors *out = b->out;
    const size_t room = b->room == 0 ? 256 : 2 * b->room;
    struct nb_mlx_tensor *grown;

    if (out->count < b->room)
        return NB_OK;
    grown = realloc(out->tensors, room * sizeof *grown);
    if (grown == NULL)
        return nb_fail_memory(b->err);
    out->tensors = grown;
    b->room = room;
    return NB_OK;
}

/* Text as A and B one after the other, in the arena. */
static char *
joined(struct builder *b, const char *first, const char *second)
{
    char text[512];

    snprintf(text, sizeof text, "%s%s", first, second);
    return nb_arena_strdup(&b->out->arena, text);
}

/* Adds the array of MODULE that the stored tensors make, if there are any. SUFFIX is ".weight", ".bias" or "". */
static enum nb_status
add_array(struct builder *b, const struct nb_mlx_row *row, uint64_t layer, const char *module, const char *suffix,
          const char *pattern)
{
    const bool is_weight = strcmp(suffix, ".weight") == 0;
    /* What is done to the weight is not done to its bias. */
    const bool applies = strcmp(suffix, ".bias") != 0 || row->op[0].kind == NB_MAP_EVERY_COLUMN;
    struct nb_map_row map = { pattern, suffix, { { 0 } } };
    struct nb_view_origin origin = { .row = &map, .hp = &b->hp, .layer = layer };
    struct nb_view view = { .store = &b->source->store };
    const struct nb_tensor **stored;
    struct nb_error why;
    enum nb_status status = gather(b, pattern, layer, &stored, &origin.n_stored);

    if (status != NB_OK || origin.n_stored == 0)
        return status;
    origin.stored = stored;
    view.name = joined(b, module, suffix);
    view.type = stored[0]->type;
    view.source_name = stored[0]->name;
    status = view.name == NULL ? nb_fail_memory(b->err) : check_stored(b, stored, origin.n_stored);
    if (status == NB_OK)
        status = set_shape(b, row, applies, layer, stored[0], origin.n_stored, &view);
    if (status == NB_OK)
        status = grow(b);
    if (status != NB_OK)
        return status;
    if (applies)
        memcpy(map.op, row->op, sizeof map.op);
    status = nb_view_build(&view, &origin, &b->out->arena, &why);
    if (status != NB_OK)
        return nb_fail(b->err, status, "%s: %s", b->source->path, why.message);
    b->out->tensors[b->out->count++] = (struct nb_mlx_tensor){
        .view = view,
        .module = module,
        .kind = row->kind,
        .is_weight = is_weight && (row->kind == NB_MLX_MATRIX || row->kind == NB_MLX_EIGHT_BITS) && view.n_dims > 1,
        .scalar = row->scalar && view.elements == 1,
    };
    return NB_OK;
}

/* --- modules ---------------------------------------------------------------------------------------------------- */

/* Whether the last arrays are those of MODULE: another form of it has come. */
static bool
has_come(const struct builder *b, const char *module)
{
    return b->out->count > 0 && strcmp(b->out->tensors[b->out->count - 1].module, module) == 0;
}

/* What ROW is made of: an output matrix that is stored alone is the embedding, if the two are tied. */
static const char *
stored_as(const struct builder *b, const struct nb_mlx_row *row)
{
    if (b->tied && strcmp(row->module, EMBEDDING) == 0 && find(b, EMBEDDING ".weight") == NULL)
        return OUTPUT;
    return row->from == NULL ? row->module : row->from;
}

/* NAME in its place in the class. */
static const char *
module_name(struct builder *b, const char *name)
{
    static const char model[] = "model.";

    if (b->inside_model && strncmp(name, model, strlen(model)) == 0)
        return joined(b, "model.language_model.", name + strlen(model));
    return joined(b, b->in_language_model ? "language_model." : "", name);
}

/* --- packed matrices -------------------------------------------------------------------------------------------- */

/* Adds the codes or the scales of a packed matrix. */
static enum nb_status
add_bytes(struct builder *b, const struct nb_mlx_row *row, uint64_t layer, const char *module, enum nb_mlx_kind kind,
          const struct nb_tensor *stored)
{
    const char *const *rows = row->op[0].argument; /* of NB_MAP_EVERY */
    struct nb_view view;
    uint64_t first, n;
    enum nb_status status = grow(b);

    if (status != NB_OK)
        return status;
    use(b, stored);
    if (!nb_expression_count(rows[0], &b->hp, layer, &first) || !nb_expression_count(rows[1], &b->hp, layer, &n) ||
        !nb_mlx_packed_view(&view, &b->source->store, stored, kind == NB_MLX_CODES, first, n, &b->out->arena))
        return b->out->arena.exhausted ? nb_fail_memory(b->err)
                                       : nb_fail(b->err, NB_INPUT, "%s: tensor '%s' has not the form of packed MXFP4",
                                                 b->source->path, stored->name);
    view.name = joined(b, module, kind == NB_MLX_CODES ? ".weight" : ".scales");
    if (view.name == NULL)
        return nb_fail_memory(b->err);
    b->out->tensors[b->out->count++] = (struct nb_mlx_tensor){ .view = view, .module = module, .kind = kind };
    b->out->has_packed = true;
    return NB_OK;
}

/* Of the biases of a packed matrix: the same rows, which are columns of what is stored. */
static enum nb_status
add_packed_bias(struct builder *b, const struct nb_mlx_row *row, uint64_t layer, const char *module)
{
    char pattern[256];
    struct nb_mlx_row bias = { .module = row->module, .kind = NB_MLX_PLAIN };

    snprintf(pattern, sizeof pattern, "%s_bias", row->from);
    if (strcmp(row->op[0].argument[1], "1") != 0) {
        bias.op[0] = row->op[0];
        bias.op[0].kind = NB_MAP_EVERY_COLUMN;
        bias.dim[0] = "expert_feed_forward";
        bias.dim[1] = "experts";
    }
    return add_array(b, &bias, layer, module, ".bias", pattern);
}

static enum nb_status
add_packed(struct builder *b, const struct nb_mlx_row *row, uint64_t layer, const char *module)
{
    const struct nb_tensor *blocks, *scales;
    char name[256], pattern[256];
    enum nb_status status;

    snprintf(pattern, sizeof pattern, "%s_blocks", row->from);
    nb_name_fill(pattern, layer, 0, name, sizeof name);
    blocks = find(b, name);
    snprintf(pattern, sizeof pattern, "%s_scales", row->from);
    nb_name_fill(pattern, layer, 0, name, sizeof name);
    scales = find(b, name);
    if (blocks == NULL || scales == NULL)
        return nb_fail(b->err, NB_UNSUPPORTED, "%s: '%s' is not packed in MXFP4, which is not written for MLX",
                       b->source->path, module);
    status = add_bytes(b, row, layer, module, NB_MLX_CODES, blocks);
    if (status == NB_OK)
        status = add_bytes(b, row, layer, module, NB_MLX_SCALES, scales);
    return status == NB_OK ? add_packed_bias(b, row, layer, module) : status;
}

/* --- all of them ------------------------------------------------------------------------------------------------- */

static enum nb_status
add_module(struct builder *b, const struct nb_mlx_row *row, uint64_t layer)
{
    const char *from = stored_as(b, row);
    const bool bare = row->kind == NB_MLX_PARAMETER || row->kind == NB_MLX_AS_STORED;
    char name[256], pattern[256];
    const char *module;
    enum nb_status status;

    nb_name_fill(row->module, layer, 0, name, sizeof name);
    module = module_name(b, name);
    if (module == NULL)
        return nb_fail_memory(b->err);
    if (has_come(b, module))
        return NB_OK;
    if (row->kind == NB_MLX_PACKED)
        return add_packed(b, row, layer, module);
    snprintf(pattern, sizeof pattern, "%s%s", from, bare || row->without_suffix ? "" : ".weight");
    status = add_array(b, row, layer, module, bare ? "" : ".weight", pattern);
    if (status != NB_OK || bare || row->without_suffix)
        return status;
    snprintf(pattern, sizeof pattern, "%s.bias", from);
    return add_array(b, row, layer, module, ".bias", pattern);
}

static bool
is_layered(const struct nb_mlx_row *row)
{
    return strstr(row->module, "%l") != NULL;
}

/* The output matrix of a tied model is no module; a model that is not tied must have one. */
static bool
is_tied_output(struct builder *b, const struct nb_mlx_row *row)
{
    const struct nb_tensor *stored = find(b, OUTPUT ".weight");

    if (strcmp(row->module, OUTPUT) != 0)
        return false;
    if (b->tied && stored != NULL)
        use(b, stored);
    b->out->has_output = !b->tied && stored != NULL;
    return b->tied;
}

static enum nb_status
add_modules(struct builder *b)
{
    const struct nb_mlx_row *row = b->layout->rows, *end = row + b->layout->n_rows;
    enum nb_status status = NB_OK;

    while (row < end && status == NB_OK) {
        const struct nb_mlx_row *first = row;

        if (!is_layered(row)) {
            status = is_tied_output(b, row) ? NB_OK : add_module(b, row, 0);
            row++;
            continue;
        }
        while (row < end && is_layered(row))
            row++;
        for (uint64_t layer = 0; layer < b->out->layers; layer++)
            for (const struct nb_mlx_row *r = first; r < row && status == NB_OK; r++)
                status = add_module(b, r, layer);
    }
    return status;
}

/* --- what has no place ------------------------------------------------------------------------------------------ */

static bool
is_of_further_layer(const struct builder *b, const char *name)
{
    static const char layers[] = "model.layers.";

    return strncmp(name, layers, sizeof layers - 1) == 0 && isdigit((unsigned char)name[sizeof layers - 1]) &&
           strtoull(name + sizeof layers - 1, NULL, 10) >= b->out->layers;
}

/* Every stored tensor that the model's GGUF file has must be in MLX's, too, but those of further layers. */
static enum nb_status
check_all_used(struct builder *b)
{
    const struct nb_store *store = &b->source->store;

    for (size_t i = 0; i < b->source->n_tensors; i++) {
        const struct nb_view *v = &b->source->tensors[i];

        for (size_t k = 0; k < v->n_pieces; k++) {
            const struct nb_tensor *t = v->pieces[k].stored;

            if (t < store->tensors || t >= store->tensors + store->count || b->used[t - store->tensors])
                continue;
            if (!is_of_further_layer(b, t->name))
                return nb_fail(b->err, NB_UNSUPPORTED, "%s: tensor '%s' has no place in MLX's model of this class",
                               b->source->path, t->name);
            b->used[t - store->tensors] = true;
            b->out->n_left_out++;
        }
    }
    return NB_OK;
}

/* Whether an array without a module of its own belongs to a module that has modules. */
static bool
is_of_parent(const struct nb_mlx_tensors *t, const struct nb_mlx_tensor *array)
{
    const char *dot = strrchr(array->module, '.');
    const size_t n = dot == NULL ? 0 : (size_t)(dot - array->module) + 1;

    for (size_t i = 0; i < t->count; i++) {
        const struct nb_mlx_tensor *other = &t->tensors[i];

        if (other->kind != NB_MLX_PARAMETER && other->kind != NB_MLX_AS_STORED &&
            strncmp(other->module, array->module, n) == 0)
            return true;
    }
    return false;
}

static void
count_parameters(struct nb_mlx_tensors *t)
{
    for (size_t i = 0; i < t->count; i++) {
        const struct nb_mlx_tensor *a = &t->tensors[i];
        const bool bare = a->kind == NB_MLX_PARAMETER || a->kind == NB_MLX_AS_STORED;

        if (a->kind != NB_MLX_SCALES && !(bare && is_of_parent(t, a)))
            t->parameters += a->view.elements * (a->kind == NB_MLX_CODES ? 2 : 1);
    }
}

static enum nb_status
make(struct builder *b)
{
    json_t *config = b->source->checkpoint->config;
    char name[512];
    enum nb_status status;

    snprintf(name, sizeof name, "%s/config.json", b->source->checkpoint->folder);
    status = nb_family_hparams(b->source->family, config, name, &b->hp, b->err);
    if (status != NB_OK)
        return status;
    b->out->layers = (uint64_t)(nb_hp(&b->hp, NB_HP_LAYERS) - nb_hp(&b->hp, NB_HP_NEXTN_LAYERS));
    b->tied = json_is_true(nb_config_find(config, "tie_word_embeddings"));
    b->inside_model = b->layout->place == NB_MLX_INSIDE_MODEL;
    b->in_language_model = !b->inside_model && (b->layout->place == NB_MLX_IN_LANGUAGE_MODEL ||
                                                json_object_get(config, "text_config") != NULL);
    b->sorted = nb_tensors_by_name(b->source->store.tensors, b->source->store.count);
    b->used = calloc(b->source->store.count + 1, sizeof *b->used);
    status = b->sorted == NULL || b->used == NULL ? nb_fail_memory(b->err) : add_modules(b);
    if (status == NB_OK)
        status = check_all_used(b);
    count_parameters(b->out);
    return status;
}

enum nb_status
nb_mlx_tensors_make(struct nb_mlx_tensors *out, const struct nb_source *source, struct nb_error *err)
{
    struct builder b = { .out = out, .source = source, .err = err };
    enum nb_status status;

    *out = (struct nb_mlx_tensors){ 0 };
    if (source->kind != NB_SOURCE_CHECKPOINT)
        return nb_fail(err, NB_UNSUPPORTED, "%s: an MLX model is made of a checkpoint folder, not of a GGUF file",
                       source->path);
    if (source->family->mlx == NULL)
        return nb_fail(err, NB_UNSUPPORTED,
                       "%s: model class '%s' cannot be written for MLX ('nibble families' lists those that can)",
                       source->path, source->family->classes[0]);
    b.layout = source->family->mlx;
    status = make(&b);
    nb_hparams_free(&b.hp);
    free(b.sorted);
    free(b.used);
    if (status != NB_OK)
        nb_mlx_tensors_free(out);
    return status;
}

void
nb_mlx_tensors_free(struct nb_mlx_tensors *t)
{
    free(t->tensors);
    nb_arena_free(&t->arena);
    *t = (struct nb_mlx_tensors){ 0 };
}
