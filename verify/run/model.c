#include "verify/run/model.h"

#include "formats/models/expression.h"
#include "verify/run/block.h"
#include "verify/run/load.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint32_t
nb_model_layers(const struct nb_model *m)
{
    const double layers = nb_hp(&m->hp, NB_HP_LAYERS), further = nb_hp(&m->hp, NB_HP_NEXTN_LAYERS);

    return (uint32_t)(further < layers ? layers - further : layers);
}

uint32_t
nb_model_embedding(const struct nb_model *m)
{
    return (uint32_t)nb_hp(&m->hp, NB_HP_EMBEDDING);
}

uint32_t
nb_model_vocab(const struct nb_model *m)
{
    return (uint32_t)nb_hp(&m->hp, NB_HP_VOCAB);
}

size_t
nb_model_longest_row(const struct nb_model *m)
{
    uint64_t longest = m->token_embedding->columns;

    for (const struct nb_linear *l = m->matrices; l != NULL; l = l->next)
        longest = l->columns > longest ? l->columns : longest;
    return (size_t)longest;
}

/* --- opening -------------------------------------------------------------------------------------------- */

static enum nb_status
read_hparams(struct nb_model *m, struct nb_error *err)
{
    const char *path = m->source->path;
    const struct nb_kv *tokens = nb_meta_find(&m->source->meta, "tokenizer.ggml.tokens");
    enum nb_status status = nb_hparams_read(&m->hp, &m->source->meta, m->arch->name, err);

    if (status == NB_OK)
        status = nb_arch_complete(m->arch, &m->hp, path, err);
    if (status != NB_OK)
        return status;
    if (tokens == NULL || tokens->type != NB_KV_ARRAY || tokens->count == 0 || tokens->count > 1u << 30)
        return nb_fail(err, NB_INPUT, "%s: has no vocabulary (tokenizer.ggml.tokens)", path);
    nb_hp_set(&m->hp, NB_HP_VOCAB, (double)tokens->count, false); /* as in llama.cpp; vocab_size is ignored */
    return NB_OK;
}

/* The norm of a block, "blk.%l.NAME"; of NAMES that are separated by "|" the first that the layer has; NULL: none. */
static enum nb_status
load_block_norm(struct nb_loader *l, const char *names, const struct nb_norm **out)
{
    enum nb_status status = NB_OK;

    *out = NULL;
    if (names == NULL)
        return NB_OK;
    if (l->model->arch->plain_norms)
        return nb_load_plain_norm(l, out);
    while (*names != '\0' && *out == NULL && status == NB_OK) {
        const size_t length = strcspn(names, "|");
        char pattern[NB_MAX_NAME + 1];

        snprintf(pattern, sizeof pattern, "blk.%%l.%.*s", (int)length, names);
        status = nb_load_norm(l, pattern, out);
        names += length + (names[length] == '|');
    }
    return status;
}

/* The norm of a block's result, which may have an epsilon of its own. */
static enum nb_status
load_norm_after(struct nb_loader *l, const char *names, const struct nb_norm **out)
{
    const double epsilon = l->model->arch->epsilon_after;
    enum nb_status status = load_block_norm(l, names, out);
    struct nb_norm *own;

    if (status != NB_OK || *out == NULL || epsilon == 0)
        return status;
    own = nb_load_room(l, sizeof *own);
    if (own == NULL)
        return nb_fail_memory(l->err);
    *own = **out;
    own->epsilon = (float)epsilon;
    *out = own;
    return NB_OK;
}

/* Whether the current layer has the block of ROW. */
static bool
has_block(const struct nb_loader *l, const struct nb_arch_block *row)
{
    char pattern[NB_MAX_NAME + 1];

    if (!nb_expression_holds(row->when, &l->model->hp, l->layer))
        return false;
    if (row->has == NULL)
        return true;
    snprintf(pattern, sizeof pattern, "blk.%%l.%s", row->has);
    return nb_load_has(l, pattern);
}

/* The factor of the stream after a block. */
static enum nb_status
load_times(struct nb_loader *l, const struct nb_arch_block *row, float *times)
{
    char pattern[NB_MAX_NAME + 1];
    const float *scale = NULL;
    enum nb_status status = NB_OK;

    *times = row->times == NULL ? 1 : (float)nb_expression(row->times, &l->model->hp, l->layer);
    if (row->scale == NULL)
        return NB_OK;
    snprintf(pattern, sizeof pattern, "blk.%%l.%s.weight", row->scale);
    status = nb_load_small(l, pattern, &scale);
    if (status == NB_OK && scale != NULL)
        *times *= scale[0];
    return status;
}

static enum nb_status
load_block(struct nb_loader *l, const struct nb_arch_block *row)
{
    struct nb_model *m = l->model;
    struct nb_block *b = &m->blocks[m->n_blocks];
    enum nb_status status;

    if (!has_block(l, row))
        return NB_OK;
    *b = (struct nb_block){ .kind = nb_block_kind_by_name(row->kind), .layer = l->layer };
    b->beside = row->beside != NULL && nb_expression_holds(row->beside, &m->hp, l->layer);
    if (b->kind == NULL)
        return nb_fail(l->err, NB_UNSUPPORTED,
                       "%s: models of architecture '%s' cannot be run: their layer %" PRIu32
                       " has a block of kind '%s'",
                       m->source->path, m->arch->name, l->layer, row->kind);
    m->n_blocks++;
    status = load_block_norm(l, row->norm == NULL ? b->kind->norm : row->norm, &b->norm);
    if (status == NB_OK)
        status = load_norm_after(l, row->norm_after, &b->norm_after);
    if (status == NB_OK)
        status = load_block_norm(l, row->norm_sum, &b->norm_sum);
    if (status == NB_OK)
        status = load_times(l, row, &b->times);
    return status == NB_OK ? b->kind->load(l, b) : status;
}

static enum nb_status
load_layers(struct nb_loader *l)
{
    struct nb_model *m = l->model;
    const uint32_t layers = nb_model_layers(m);
    enum nb_status status = NB_OK;

    m->blocks = nb_arena_calloc(&m->arena, layers * m->arch->n_blocks, sizeof *m->blocks);
    if (m->blocks == NULL)
        return nb_fail_memory(l->err);
    for (l->layer = 0; l->layer < layers && status == NB_OK; l->layer++)
        for (size_t i = 0; i < m->arch->n_blocks && status == NB_OK; i++)
            status = load_block(l, &m->arch->blocks[i]);
    l->layer = 0;
    return status;
}

/* Otherwise "token_embd_norm" is the output's norm. */
static bool
has_norm_of_output(const struct nb_arch *arch)
{
    return arch->plain_norms || nb_arch_row(arch, "output_norm.weight") != NULL;
}

/* The embeddings of tokens, and of positions where they are not rotary. */
static enum nb_status
load_inputs(struct nb_loader *l)
{
    struct nb_model *m = l->model;
    struct nb_linear *embedding = nb_load_room(l, sizeof *embedding), *positions = nb_load_room(l, sizeof *positions);
    enum nb_status status;

    if (embedding == NULL || positions == NULL)
        return nb_fail_memory(l->err);
    status = nb_load_table(l, "token_embd.weight", embedding);
    m->token_embedding = embedding;
    if (status == NB_OK && nb_load_has(l, "position_embd.weight")) {
        status = nb_load_table(l, "position_embd.weight", positions);
        m->positions = positions;
    }
    if (status != NB_OK)
        return status;
    if (m->arch->norms_embeddings)
        return nb_load_plain_norm(l, &m->embedding_norm);
    return has_norm_of_output(m->arch) ? nb_load_norm(l, "token_embd_norm", &m->embedding_norm) : NB_OK;
}

/* Architectures whose table has no output matrix use the embeddings of tokens. */
static enum nb_status
load_output(struct nb_loader *l, struct nb_linear *output)
{
    if (nb_arch_row(l->model->arch, "output.weight") != NULL)
        return nb_load_linear(l, "output", output);
    *output = *l->model->token_embedding;
    *l->end = output;
    l->end = &output->next;
    return NB_OK;
}

static enum nb_status
load_tensors(struct nb_loader *l)
{
    struct nb_model *m = l->model;
    struct nb_linear *output = nb_load_room(l, sizeof *output);
    enum nb_status status = output == NULL ? nb_fail_memory(l->err) : load_inputs(l);

    if (status == NB_OK && m->arch->plain_norms)
        status = nb_load_plain_norm(l, &m->output_norm);
    else if (status == NB_OK)
        status = nb_load_norm(l, has_norm_of_output(m->arch) ? "output_norm" : "token_embd_norm", &m->output_norm);
    if (status == NB_OK)
        status = load_layers(l);
    if (status == NB_OK)
        status = load_output(l, output);
    m->output = output;
    return status;
}

enum nb_status
nb_model_open_as(struct nb_model *m, const struct nb_source *source, const struct nb_arch *arch, struct nb_error *err)
{
    struct nb_loader l = { .model = m, .end = &m->matrices, .ropes_end = &m->ropes, .err = err };
    enum nb_status status;

    *m = (struct nb_model){ .source = source, .arch = arch };
    if (arch->n_blocks == 0)
        return nb_fail(err, NB_UNSUPPORTED, "%s: models of architecture '%s' cannot be run", source->path, arch->name);
    status = read_hparams(m, err);
    l.sorted = nb_views_by_name(source->tensors, source->n_tensors);
    if (status == NB_OK && l.sorted == NULL)
        status = nb_fail_memory(err);
    if (status == NB_OK)
        status = load_tensors(&l);
    free(l.sorted);
    if (status != NB_OK)
        nb_model_close(m);
    return status;
}

enum nb_status
nb_model_open(struct nb_model *m, const struct nb_source *source, struct nb_error *err)
{
    const char *name = nb_meta_get_string(&source->meta, "general.architecture");
    const struct nb_arch *arch = name == NULL ? NULL : nb_arch_by_name(name);

    *m = (struct nb_model){ .source = source };
    if (arch == NULL)
        return nb_fail(err, NB_UNSUPPORTED, "%s: models of architecture '%s' cannot be run", source->path,
                       name == NULL ? "" : name);
    return nb_model_open_as(m, source, arch, err);
}

void
nb_model_close(struct nb_model *m)
{
    nb_hparams_free(&m->hp);
    nb_arena_free(&m->arena);
    *m = (struct nb_model){ 0 };
}

enum nb_status
nb_model_fetch(const struct nb_model *m, const struct nb_view *weight, uint64_t first, uint64_t rows,
               struct nb_view_reader *reader, struct nb_error *err)
{
    const uint64_t n = rows * weight->ne[0];
    enum nb_status status = nb_view_fetch(weight, first * weight->ne[0], n, reader, err);
    uint64_t bad;

    if (status != NB_OK)
        return status;
    bad = nb_view_find_nonfinite(weight, reader, 0, n);
    if (bad < n)
        return nb_fail(err, NB_INPUT, "%s: tensor '%s': row %" PRIu64 " has a weight that is NaN or infinite",
                       m->source->path, weight->name, first + bad / weight->ne[0]);
    return NB_OK;
}

enum nb_status
nb_model_rows(const struct nb_model *m, const struct nb_view *weight, uint64_t first, uint64_t rows,
              struct nb_view_reader *reader, float *out, struct nb_error *err)
{
    enum nb_status status;

    weight = nb_model_view(m, weight);
    status = nb_model_fetch(m, weight, first, rows, reader, err);
    if (status == NB_OK)
        nb_view_decode(weight, reader, 0, rows * weight->ne[0], out);
    return status;
}
