#include "calib/refine_run.h"
#include "formats/elements/types.h"
#include "formats/models/hparams.h"
#include "verify/run/block.h"

#include <stdio.h>
#include <string.h>

const struct nb_linear *
nb_refine_original_of(const struct nb_refine_run *r, const struct nb_linear *m)
{
    const struct nb_linear *o = r->original->matrices;

    while (o != NULL && strcmp(o->name, m->name) != 0)
        o = o->next;
    return o;
}

bool
nb_refine_can(const struct nb_refine_run *r, const struct nb_linear *m, struct nb_encoding *encoding)
{
    const struct nb_linear *o = nb_refine_original_of(r, m);
    const enum nb_type type = m->weight->type; /* that of floats, if it is packed */
    const bool is_copy = o != NULL && o->weight->type == type && nb_type_info(type)->block > 1;

    return !is_copy && nb_refine_encoding(m, encoding);
}

static bool
has_role(const struct nb_linear *m, const char *name)
{
    char role[64];

    snprintf(role, sizeof role, "blk.%%l.%s.weight", name);
    return m->role != NULL && strcmp(m->role, role) == 0;
}

static enum nb_refine_weighting
weighting_of(const struct nb_linear *m)
{
    if (has_role(m, "attn_k") || has_role(m, "attn_v"))
        return NB_BY_SHARES;
    return has_role(m, "attn_output") || has_role(m, "ffn_down") ? NB_BY_STREAM : NB_ALL_ALIKE;
}

/* Whether the result of block B is added to the stream without a norm or a factor. */
static bool
adds_plainly(const struct nb_model *m, const struct nb_block *b)
{
    return b->norm_after == NULL && b->norm_sum == NULL && b->times == 1 &&
           nb_hp_or(&m->hp, NB_HP_RESIDUAL_SCALE, 1) == 1;
}

/* The group of the product that begins with KEY and of WEIGHTING, made if need be; NULL if there are too many. */
static struct nb_refine_group *
group_of(struct nb_refine_run *r, const char *key, enum nb_refine_weighting weighting)
{
    struct nb_refine_group *g = r->groups;

    while (g < r->groups + r->n_groups && (strcmp(g->key, key) != 0 || g->weighting != weighting))
        g++;
    if (g == r->groups + NB_REFINE_GROUPS)
        return NULL;
    if (g == r->groups + r->n_groups) {
        *g = (struct nb_refine_group){ .key = key, .weighting = weighting };
        r->n_groups++;
    }
    return g;
}

/* Whether an earlier block has the same weights: they are refined where they are used first. */
static bool
is_used_before(const struct nb_refine_run *r, const struct nb_linear *m)
{
    const struct nb_linear *first = r->quantized.matrices;

    while (first != NULL && first->weight != m->weight)
        first = first->next;
    return first != NULL && first != m;
}

/* Notes the matrices of the quantized model that are used. */
static enum nb_status
note(void *context, const struct nb_linear *const *matrices, size_t count, uint32_t expert, const float *input,
     size_t tokens, struct nb_error *err)
{
    struct nb_refine_run *r = context;

    (void)expert;
    (void)input;
    (void)tokens;
    (void)err;
    for (size_t i = 0; i < count; i++) {
        struct nb_encoding encoding;
        struct nb_refine_group *g = nb_refine_can(r, matrices[i], &encoding) && !is_used_before(r, matrices[i])
                                        ? group_of(r, matrices[0]->name, weighting_of(matrices[i]))
                                        : NULL;
        bool is_new = g != NULL && g->count < NB_MAX_PRODUCTS;

        for (size_t k = 0; is_new && k < g->count; k++)
            is_new = g->matrix[k] != matrices[i];
        if (is_new) {
            g->encoding[g->count] = encoding;
            g->matrix[g->count++] = matrices[i];
        }
    }
    return NB_OK;
}

/* Those of the first batch: experts are stacked in matrices, of which it uses at least one. */
enum nb_status
nb_refine_find_groups(struct nb_refine_run *r, struct nb_error *err)
{
    const struct nb_block *b = &r->quantized.blocks[r->step];
    const size_t blocks = nb_forward_step_end(&r->quantized, r->step) - r->step;
    const struct nb_stream copy = nb_refine_copy(r, false, 0);
    enum nb_status status;

    r->n_groups = 0;
    nb_forward_observe(r->of_quantized, note, r);
    status = nb_forward_step(r->of_quantized, &r->quantized, r->tokens, r->options->bos, nb_refine_chunks_in(r, 0),
                             r->step, &copy, err);
    nb_forward_observe(r->of_quantized, NULL, NULL);
    for (size_t i = 0; i < r->n_groups; i++) {
        struct nb_refine_group *g = &r->groups[i];

        g->is_last = i + 1 == r->n_groups && g->weighting != NB_ALL_ALIKE && g->matrix[0]->experts == 1;
        g->repairs = g->is_last && blocks == 1 && g->count == 1 && g->weighting == NB_BY_STREAM &&
                     adds_plainly(&r->quantized, b);
    }
    return status;
}
