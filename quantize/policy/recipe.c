#include "quantize/policy/recipe.h"

#include "formats/models/hparams.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Bits per weight in the descriptions: for Llama-3.1-8B, from llama-quantize's documentation. */
static const struct nb_recipe recipes[] = {
    { "IQ1_S", NB_FT_IQ1_S, NB_IQ1_S, "smallest; needs importance" },
    { "IQ1_M", NB_FT_IQ1_M, NB_IQ1_M, "needs importance" },
    { "Q1_0", NB_FT_Q1_0, NB_Q1_0, "for models trained with one bit" },
    { "IQ2_XXS", NB_FT_IQ2_XXS, NB_IQ2_XXS, "needs importance" },
    { "TQ1_0", NB_FT_TQ1_0, NB_TQ1_0, "for models trained ternary" },
    { "TQ2_0", NB_FT_TQ2_0, NB_TQ2_0, "for models trained ternary, faster" },
    { "Q2_0", NB_FT_Q2_0, NB_Q2_0, "for models trained ternary" },
    { "IQ2_XS", NB_FT_IQ2_XS, NB_IQ2_XS, "needs importance" },
    { "IQ2_S", NB_FT_IQ2_S, NB_IQ2_XS, "needs importance" },
    { "IQ2_M", NB_FT_IQ2_M, NB_IQ2_S, "needs importance" },
    { "Q2_K_S", NB_FT_Q2_K_S, NB_Q2_K, "needs importance" },
    { "Q2_K", NB_FT_Q2_K, NB_Q2_K, "very small, large loss" },
    { "IQ3_XXS", NB_FT_IQ3_XXS, NB_IQ3_XXS, "needs importance" },
    { "IQ3_XS", NB_FT_IQ3_XS, NB_IQ3_S, "needs importance" },
    { "Q3_K_S", NB_FT_Q3_K_S, NB_Q3_K, "small, noticeable loss" },
    { "IQ3_S", NB_FT_IQ3_S, NB_IQ3_S, "better than Q3_K_S at its size" },
    { "IQ3_M", NB_FT_IQ3_M, NB_IQ3_S, "IQ3_S with more for sensitive tensors" },
    { "Q3_K_M", NB_FT_Q3_K_M, NB_Q3_K, "small" },
    { "Q3_K_L", NB_FT_Q3_K_L, NB_Q3_K, "small, less loss" },
    { "MXFP4_MOE", NB_FT_MXFP4_MOE, NB_MXFP4, "for models trained in MXFP4" },
    { "IQ4_XS", NB_FT_IQ4_XS, NB_IQ4_XS, "4 bits, small" },
    { "IQ4_NL", NB_FT_IQ4_NL, NB_IQ4_NL, "4 bits, any row of 32" },
    { "Q4_0", NB_FT_Q4_0, NB_Q4_0, "4 bits, the simplest" },
    { "Q4_K_S", NB_FT_Q4_K_S, NB_Q4_K, "4 bits, small" },
    { "Q4_K_M", NB_FT_Q4_K_M, NB_Q4_K, "4 bits, the usual choice" },
    { "Q4_1", NB_FT_Q4_1, NB_Q4_1, "4 bits with minimums" },
    { "Q5_0", NB_FT_Q5_0, NB_Q5_0, "5 bits, simple" },
    { "Q5_K_S", NB_FT_Q5_K_S, NB_Q5_K, "5 bits, small" },
    { "Q5_K_M", NB_FT_Q5_K_M, NB_Q5_K, "5 bits, little loss" },
    { "Q5_1", NB_FT_Q5_1, NB_Q5_1, "5 bits with minimums" },
    { "Q6_K", NB_FT_Q6_K, NB_Q6_K, "6 bits, very little loss" },
    { "Q8_0", NB_FT_Q8_0, NB_Q8_0, "8 bits, next to no loss" },
    { "F16", NB_FT_F16, NB_F16, "half floats" },
    { "BF16", NB_FT_BF16, NB_BF16, "brain floats" },
    { "F32", NB_FT_F32, NB_F32, "floats" },
    { "COPY", NB_FT_COPY, NB_TYPE_NONE, "every tensor as it is" },
};

#define N_RECIPES (sizeof recipes / sizeof recipes[0])

const struct nb_recipe *
nb_recipes(size_t *count)
{
    *count = N_RECIPES;
    return recipes;
}

const char *const nb_recipe_aliases[][2] = {
    { "Q3_K", "Q3_K_M" }, { "Q4_K", "Q4_K_M" }, { "Q5_K", "Q5_K_M" }, { NULL, NULL }
};

const struct nb_recipe *
nb_recipe_by_name(const char *name)
{
    for (size_t i = 0; nb_recipe_aliases[i][0] != NULL; i++)
        if (strcasecmp(nb_recipe_aliases[i][0], name) == 0)
            name = nb_recipe_aliases[i][1];
    for (size_t i = 0; i < N_RECIPES; i++)
        if (strcasecmp(recipes[i].name, name) == 0)
            return &recipes[i];
    return NULL;
}

const struct nb_recipe *
nb_recipe_by_file_type(uint64_t file_type)
{
    for (size_t i = 0; i < N_RECIPES; i++)
        if (recipes[i].file_type == file_type && file_type != NB_FT_COPY)
            return &recipes[i];
    return NULL;
}

const char *
nb_file_type_name(uint64_t file_type)
{
    const struct nb_recipe *recipe = nb_recipe_by_file_type(file_type);

    return recipe == NULL ? NULL : recipe->name;
}

/* The value of an integer key, or the first element of a per-layer array. */
static uint64_t
first_number(const struct nb_metadata *meta, const char *arch, enum nb_hparam hparam)
{
    char key[128];
    const struct nb_kv *kv;
    uint64_t value = 0;
    int32_t first;

    nb_hparam_key(hparam, arch, key);
    kv = nb_meta_find(meta, key);
    if (kv != NULL && kv->type == NB_KV_ARRAY && kv->size >= sizeof first &&
        (kv->element == NB_KV_I32 || kv->element == NB_KV_U32)) {
        memcpy(&first, kv->data, sizeof first);
        return first > 0 ? (uint64_t)first : 0;
    }
    return nb_meta_get_u64(meta, key, &value) ? value : 0;
}

struct nb_model_facts
nb_model_facts(const struct nb_metadata *meta)
{
    struct nb_model_facts facts = { .arch = nb_meta_get_string(meta, "general.architecture") };

    if (facts.arch == NULL)
        facts.arch = "";
    facts.layers = first_number(meta, facts.arch, NB_HP_LAYERS);
    facts.heads = first_number(meta, facts.arch, NB_HP_HEADS);
    facts.kv_heads = first_number(meta, facts.arch, NB_HP_KV_HEADS);
    if (facts.kv_heads == 0)
        facts.kv_heads = facts.heads;
    facts.experts = first_number(meta, facts.arch, NB_HP_EXPERTS);
    return facts;
}

/* The N of "blk.N.", or -1. */
static int64_t
layer_of(const char *name)
{
    char *end;
    long n;

    if (strncmp(name, "blk.", 4) != 0 || name[4] < '0' || name[4] > '9')
        return -1;
    n = strtol(name + 4, &end, 10);
    return *end == '.' && n < INT32_MAX ? n : -1;
}

int
nb_layer_order(const void *a, const void *b)
{
    const struct nb_view *x = *(const struct nb_view *const *)a, *y = *(const struct nb_view *const *)b;
    const int64_t i = layer_of(x->name), k = layer_of(y->name);

    return i != k ? (i < k ? -1 : 1) : strcmp(x->name, y->name);
}

static bool
contains(const char *name, const char *part)
{
    return strstr(name, part) != NULL;
}

/* Whether the type is always kept: vectors, and small matrices that are sensitive to quantization. */
static bool
is_quantized(const struct nb_recipe_options *o, const struct nb_view *t)
{
    /* clang-format off */
    static const char *const kept[] = {
        "_norm.weight", "ffn_gate_inp.weight", "ffn_gate_tid2eid.weight", "altup", "laurel", "per_layer_model_proj",
        "ssm_conv1d", "shortconv.conv.weight", "indexer.k_proj.weight", "indexer.q_proj.weight",
        "time_mix_first.weight", "time_mix_w0.weight", "time_mix_w1.weight", "time_mix_w2.weight",
        "time_mix_v0.weight", "time_mix_v1.weight", "time_mix_v2.weight", "time_mix_a0.weight",
        "time_mix_a1.weight", "time_mix_a2.weight", "time_mix_g1.weight", "time_mix_g2.weight",
        "time_mix_decay_w1.weight", "time_mix_decay_w2.weight", "time_mix_lerp_fused.weight", "attn_rel_b.weight",
        ".position_embd", "sam.pos_embd", "sam.neck.", "sam.net_", ".rel_pos", ".patch_embd", ".patch_merger",
        "a.rvq.codebook", "mm.a.code_embd",
    };
    /* clang-format on */
    const size_t n = strlen(t->name);

    if (t->ne[1] * t->ne[2] * t->ne[3] == 1 || n < 6 || strcmp(t->name + n - 6, "weight") != 0)
        return false;
    if (strcmp(t->name, "position_embd.weight") == 0 || strcmp(t->name, "token_types.weight") == 0)
        return false;
    if (o->leave_output && strcmp(t->name, "output.weight") == 0)
        return false;
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
        if (contains(t->name, kept[i]))
            return false;
    return true;
}

enum category { OUTPUT, EMBEDDING, ATTN_V, ATTN_K, ATTN_Q, ATTN_OUTPUT, FFN_UP, FFN_GATE, FFN_DOWN, OTHER };

static enum category
category_of(const char *name)
{
    static const struct {
        const char *part;
        enum category category;
    } parts[] = {
        /* fused matrices that contain V are treated as V */
        { "attn_qkv.weight", ATTN_V }, { "attn_kv_b.weight", ATTN_V }, { "attn_v.weight", ATTN_V },
        { "attn_k.weight", ATTN_K },   { "attn_q.weight", ATTN_Q },    { "attn_output.weight", ATTN_OUTPUT },
        { "ffn_up", FFN_UP },          { "ffn_gate", FFN_GATE },       { "ffn_down", FFN_DOWN },
    };

    if (strcmp(name, "output.weight") == 0)
        return OUTPUT;
    if (strcmp(name, "token_embd.weight") == 0 || strcmp(name, "per_layer_token_embd.weight") == 0)
        return EMBEDDING;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (contains(name, parts[i].part))
            return parts[i].category;
    return OTHER;
}

/* State of the rules from one tensor to the next. */
struct rules {
    const struct nb_recipe_options *o;
    enum nb_file_type ft;
    const char *arch;
    int64_t layers, gqa, experts;
    int64_t n_v, i_v, i_down, i_gate, i_up;
    bool tied, falcon, is_70b, importance, out_of_memory;
};

/* The first and last eighth of the layers, and every third in between. */
static bool
more_bits(int64_t i, int64_t n)
{
    return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
}

/* The smallest recipes have separate rules. */
static bool
is_very_low(enum nb_file_type ft)
{
    return ft == NB_FT_IQ1_S || ft == NB_FT_IQ1_M || ft == NB_FT_IQ2_XXS || ft == NB_FT_IQ2_XS || ft == NB_FT_IQ2_S ||
           ft == NB_FT_IQ2_M;
}

static enum nb_type
output_rule(const struct rules *r, const struct nb_view *t, enum nb_type type)
{
    if (r->o->output_type != NB_TYPE_NONE)
        return r->o->output_type;
    if (r->ft == NB_FT_MXFP4_MOE || r->falcon || t->ne[0] % nb_type_info(type)->block != 0)
        return NB_Q8_0;
    if (r->ft == NB_FT_IQ3_XXS || is_very_low(r->ft))
        return NB_Q5_K;
    return type == NB_Q8_0 ? type : NB_Q6_K;
}

static enum nb_type
embedding_rule(const struct rules *r, enum nb_type type)
{
    switch (r->ft) {
    case NB_FT_IQ1_S:
    case NB_FT_IQ1_M:
    case NB_FT_IQ2_XXS:
    case NB_FT_IQ2_XS:
        return NB_Q2_K;
    case NB_FT_IQ2_S:
    case NB_FT_IQ2_M:
    case NB_FT_IQ3_XXS:
        return NB_IQ3_S;
    case NB_FT_TQ1_0:
    case NB_FT_TQ2_0:
    case NB_FT_Q2_0:
        return NB_Q4_K;
    default:
        return type;
    }
}

static enum nb_type
very_low_rule(struct rules *r, enum category category, enum nb_type type)
{
    const enum nb_type better = r->ft == NB_FT_IQ2_S || r->ft == NB_FT_IQ2_M ? NB_IQ3_S : NB_Q2_K;

    switch (category) {
    case ATTN_V:
        r->i_v++;
        return r->gqa >= 4 || r->experts >= 4 ? NB_Q4_K : better;
    case ATTN_K:
        return r->experts == 8 ? NB_Q4_K : type;
    case FFN_DOWN:
        return r->i_down++ < r->layers / 8 ? better : type;
    case ATTN_OUTPUT:
        if (r->experts == 8)
            return NB_Q5_K;
        if (r->ft == NB_FT_IQ1_S || r->ft == NB_FT_IQ1_M)
            return NB_IQ2_XXS;
        return better == NB_IQ3_S ? NB_IQ3_S : type;
    default:
        return type;
    }
}

static enum nb_type
v_by_recipe(const struct rules *r, enum nb_type type)
{
    const bool grouped = r->gqa >= 4;

    switch (r->ft) {
    case NB_FT_Q2_K:
        return grouped ? NB_Q4_K : NB_Q3_K;
    case NB_FT_Q2_K_S:
        return grouped ? NB_Q4_K : type;
    case NB_FT_IQ3_XXS:
        return grouped ? NB_Q4_K : r->importance ? NB_IQ3_XXS : NB_IQ3_S;
    case NB_FT_IQ3_XS:
    case NB_FT_IQ3_S:
        return grouped ? NB_Q4_K : type;
    case NB_FT_IQ3_M:
        return NB_Q4_K;
    case NB_FT_Q3_K_M:
        return r->i_v < 2 ? NB_Q5_K : NB_Q4_K;
    case NB_FT_Q3_K_L:
        return NB_Q5_K;
    case NB_FT_IQ4_NL:
    case NB_FT_IQ4_XS:
        return grouped ? NB_Q5_K : type;
    case NB_FT_Q4_K_M:
    case NB_FT_Q5_K_M:
        return more_bits(r->i_v, r->n_v) ? NB_Q6_K : type;
    case NB_FT_Q4_K_S:
        return r->i_v < 4 ? NB_Q5_K : type;
    default:
        return type;
    }
}

static enum nb_type
v_rule(struct rules *r, enum nb_type type)
{
    type = v_by_recipe(r, type);
    /* Eight heads share a V matrix in a 70B model: more bits cost almost nothing. */
    if (r->is_70b && (type == NB_Q3_K || type == NB_Q4_K))
        type = NB_Q5_K;
    if (r->experts == 8)
        type = NB_Q8_0;
    r->i_v++;
    return type;
}

/* The layer: from the name for mixtures of experts, otherwise the number of such tensors so far. */
static int64_t
ffn_layer(const struct rules *r, const struct nb_view *t, int64_t counter)
{
    return r->experts > 1 ? layer_of(t->name) : counter;
}

static enum nb_type
down_rule(struct rules *r, const struct nb_view *t, enum nb_type type)
{
    const int64_t i = ffn_layer(r, t, r->i_down), n = r->layers;
    const bool early = i < n / 8, more = more_bits(i, n);

    r->i_down++;
    switch (r->ft) {
    case NB_FT_Q2_K:
        return NB_Q3_K;
    case NB_FT_Q2_K_S:
        return early ? NB_Q4_K : type;
    case NB_FT_IQ3_XXS:
        return r->importance ? type : early ? NB_Q4_K : NB_Q3_K;
    case NB_FT_Q3_K_M:
        return i < n / 16 ? NB_Q5_K : !r->falcon || more ? NB_Q4_K : NB_Q3_K;
    case NB_FT_IQ3_M:
        return early || (r->experts == 8 && more) ? NB_Q4_K : type;
    case NB_FT_Q3_K_L:
        return r->falcon ? NB_Q4_K : NB_Q5_K;
    case NB_FT_Q4_K_M:
        if (r->falcon)
            return i < n / 16 ? NB_Q6_K : more ? NB_Q5_K : NB_Q4_K;
        return more ? NB_Q6_K : type;
    case NB_FT_IQ4_NL:
    case NB_FT_IQ4_XS:
        return early && !r->importance ? NB_Q5_K : type;
    case NB_FT_Q5_K_M:
        return more ? NB_Q6_K : type;
    case NB_FT_Q4_K_S:
        return early && !r->falcon ? NB_Q5_K : type;
    case NB_FT_Q4_0:
        return early && r->importance ? NB_Q4_1 : type;
    case NB_FT_Q5_0:
        return early && r->importance ? NB_Q5_1 : type;
    default:
        return type;
    }
}

static enum nb_type
attn_output_rule(const struct rules *r, enum nb_type type)
{
    if (r->falcon)
        return r->ft == NB_FT_Q3_K_L ? NB_Q4_K : type;
    if (r->experts == 8) {
        switch (r->ft) {
        case NB_FT_Q2_K:
        case NB_FT_IQ3_XS:
        case NB_FT_IQ3_XXS:
        case NB_FT_Q3_K_S:
        case NB_FT_Q3_K_M:
        case NB_FT_IQ4_NL:
        case NB_FT_Q4_K_S:
        case NB_FT_Q4_K_M:
        case NB_FT_IQ3_S:
        case NB_FT_IQ3_M:
        case NB_FT_IQ4_XS:
            return NB_Q5_K;
        default:
            return type;
        }
    }
    switch (r->ft) {
    case NB_FT_Q2_K:
        return NB_Q3_K;
    case NB_FT_IQ3_XXS:
        return NB_IQ3_S;
    case NB_FT_Q3_K_M:
    case NB_FT_IQ3_M:
        return NB_Q4_K;
    case NB_FT_Q3_K_L:
        return NB_Q5_K;
    default:
        return type;
    }
}

/* Q and K of the IQ3 recipes, which need fewer bits. */
static enum nb_type
q_rule(const struct rules *r, enum nb_type type)
{
    return r->ft == NB_FT_IQ3_XS ? NB_IQ3_XXS : r->ft == NB_FT_IQ3_XXS ? NB_IQ2_S : type;
}

static enum nb_type
gate_up_rule(const struct rules *r, const struct nb_view *t, int64_t counter, enum nb_type type)
{
    const int64_t i = ffn_layer(r, t, counter), n = r->layers;

    return r->ft == NB_FT_IQ3_XS && i >= n / 8 && i < 7 * n / 8 ? NB_IQ3_XXS : type;
}

static enum nb_type
by_rules(struct rules *r, const struct nb_view *t, enum category category, enum nb_type type)
{
    if (category == OUTPUT || (category == EMBEDDING && r->tied))
        return output_rule(r, t, type);
    if (r->ft == NB_FT_MXFP4_MOE)
        return t->ne[2] > 1 && (strcmp(r->arch, "bailingmoe3") != 0 || category == FFN_UP || category == FFN_GATE ||
                                category == FFN_DOWN)
                   ? NB_MXFP4
                   : NB_Q8_0;
    if (category == EMBEDDING)
        return embedding_rule(r, type);
    if (is_very_low(r->ft))
        return very_low_rule(r, category, type);
    switch (category) {
    case ATTN_V:
        return v_rule(r, type);
    case ATTN_K:
        return r->experts == 8 ? NB_Q8_0 : q_rule(r, type);
    case ATTN_Q:
        return q_rule(r, type);
    case FFN_DOWN:
        return down_rule(r, t, type);
    case ATTN_OUTPUT:
        return attn_output_rule(r, type);
    case FFN_GATE:
        return gate_up_rule(r, t, r->i_gate++, type);
    case FFN_UP:
        return gate_up_rule(r, t, r->i_up++, type);
    case OUTPUT:
    case EMBEDDING:
    case OTHER:
    default:
        return type;
    }
}

static bool
fits(const struct nb_view *t, enum nb_type type)
{
    return t->ne[0] % nb_type_info(type)->block == 0;
}

/* The fallback for a row that does not divide into TYPE's blocks; NB_TYPE_NONE if there is none. */
static enum nb_type
fallback_for(const struct nb_view *t, enum nb_type type)
{
    enum nb_type smaller;

    switch (type) {
    case NB_IQ1_S:
    case NB_IQ1_M:
    case NB_IQ2_XXS:
    case NB_IQ2_XS:
    case NB_IQ2_S:
    case NB_IQ3_XXS:
    case NB_IQ3_S:
    case NB_IQ4_XS:
        smaller = NB_IQ4_NL;
        break;
    case NB_Q2_0:
    case NB_Q2_K:
    case NB_Q3_K:
    case NB_TQ1_0:
    case NB_TQ2_0:
        smaller = NB_Q4_0;
        break;
    case NB_Q4_K:
        smaller = NB_Q5_0;
        break;
    case NB_Q5_K:
        smaller = NB_Q5_1;
        break;
    case NB_Q6_K:
        smaller = NB_Q8_0;
        break;
    default:
        if (nb_type_info(type)->block > 32)
            return NB_TYPE_NONE;
        smaller = NB_F16;
        break;
    }
    return fits(t, smaller) ? smaller : NB_F16;
}

static enum nb_status
cannot_have(const struct nb_view *t, enum nb_type type, enum nb_status status, const char *hint, struct nb_error *err)
{
    return nb_fail(err, status,
                   "tensor '%s' cannot become %s: its rows of %" PRIu64 " elements do not divide into blocks of %u%s",
                   t->name, nb_type_info(type)->name, t->ne[0], nb_type_info(type)->block, hint);
}

static int
compare_name(const void *name, const void *named)
{
    return strcmp(name, ((const struct nb_named_type *)named)->name);
}

static enum nb_type
named_type(const struct nb_recipe_options *o, const char *name)
{
    const struct nb_named_type *found =
        o->n_named == 0 ? NULL : bsearch(name, o->named, o->n_named, sizeof *o->named, compare_name);

    return found == NULL ? NB_TYPE_NONE : found->type;
}

/* The user's type for T, or NB_TYPE_NONE; records which overrides matched. */
static enum nb_type
user_type(struct rules *r, const struct nb_view *t, enum category category, bool *matched)
{
    const struct nb_recipe_options *o = r->o;
    enum nb_type by_name = NB_TYPE_NONE;

    for (size_t i = 0; i < o->n_overrides; i++) {
        if (!nb_regex_search(o->overrides[i].regex, t->name, &r->out_of_memory))
            continue;
        matched[i] = true;
        if (by_name == NB_TYPE_NONE)
            by_name = o->overrides[i].type;
    }
    /* The second embedding table gets the type of the first, unless an override matches it. */
    if (category == EMBEDDING && o->embedding_type != NB_TYPE_NONE &&
        (by_name == NB_TYPE_NONE || strcmp(t->name, "token_embd.weight") == 0))
        return o->embedding_type;
    if (category == OUTPUT && o->output_type != NB_TYPE_NONE)
        return o->output_type;
    return by_name != NB_TYPE_NONE ? by_name : named_type(o, t->name);
}

static enum nb_status
choose(struct rules *r, const struct nb_view *t, bool *matched, struct nb_choice *out, struct nb_error *err)
{
    const struct nb_recipe_options *o = r->o;
    const enum category category = category_of(t->name);
    const enum nb_type base = o->recipe->base;
    enum nb_type wanted;

    if (o->recipe->file_type == NB_FT_COPY) {
        *out = (struct nb_choice){ t->type, t->type, NB_WHY_KEPT };
        return NB_OK;
    }
    /* Converters write some matrices as F32 that quantizers would change, and some in the file's type that those keep. */
    if ((o->converts ? nb_view_is_always_f32(t) : !is_quantized(o, t)) || (o->converts && t->has_own_type) ||
        (nb_view_is_packed(t) && nb_type_info(base)->kind == NB_KIND_FLOAT)) {
        *out = (struct nb_choice){ t->plain_type, t->plain_type, NB_WHY_KEPT };
        return NB_OK;
    }
    wanted = user_type(r, t, category, matched);
    if (r->out_of_memory)
        return nb_fail_memory(err);
    if (wanted == NB_TYPE_NONE && nb_view_is_packed(t) && !o->requantize_all) {
        *out = (struct nb_choice){ t->type, t->type, NB_WHY_KEPT };
        return NB_OK;
    }
    if (wanted == NB_TYPE_NONE && o->output_type != NB_TYPE_NONE && category == EMBEDDING && r->tied && !o->pure)
        wanted = o->output_type;
    if (wanted != NB_TYPE_NONE) {
        *out = (struct nb_choice){ wanted, wanted, NB_WHY_USER };
        return fits(t, wanted) ? NB_OK : cannot_have(t, wanted, NB_USAGE, "", err);
    }
    out->type = base;
    if (!o->pure && nb_type_info(base)->kind == NB_KIND_BLOCK)
        out->type = by_rules(r, t, category, base);
    out->meant = out->type;
    out->why = out->type == base ? NB_WHY_BASE : NB_WHY_RULE;
    if (fits(t, out->type))
        return NB_OK;
    out->type = fallback_for(t, out->meant);
    out->why = NB_WHY_FALLBACK;
    if (out->type == NB_TYPE_NONE)
        return cannot_have(t, out->meant, NB_INPUT, "", err);
    if (o->no_fallback)
        return cannot_have(t, out->meant, NB_INPUT, " (--no-fallback; without it, another type is taken)", err);
    return NB_OK;
}

static bool
is_70b(const struct nb_model_facts *f)
{
    if (strcmp(f->arch, "llama") == 0)
        return f->layers == 80 && f->heads != f->kv_heads;
    if (strcmp(f->arch, "jais2") == 0)
        return f->layers == 68;
    return f->layers == 80 &&
           (strcmp(f->arch, "qwen2") == 0 || strcmp(f->arch, "deci") == 0 || strcmp(f->arch, "olmo") == 0);
}

enum nb_status
nb_recipe_choose(const struct nb_recipe_options *o, const struct nb_model_facts *facts,
                 const struct nb_view *const *tensors, size_t count, struct nb_choice *choices, struct nb_error *err)
{
    struct rules r = {
        .o = o,
        .ft = o->recipe->file_type,
        .arch = facts->arch,
        .layers = (int64_t)(facts->layers < INT32_MAX ? facts->layers : 0),
        .gqa = facts->kv_heads == 0 ? 0 : (int64_t)(facts->heads / facts->kv_heads),
        .experts = (int64_t)facts->experts,
        .tied = true,
        .falcon = strcmp(facts->arch, "falcon") == 0,
        .is_70b = is_70b(facts),
        .importance = o->has_importance,
    };
    bool *matched = calloc(o->n_overrides + 1, sizeof *matched);
    enum nb_status status = NB_OK;

    if (matched == NULL)
        return nb_fail_memory(err);
    for (size_t i = 0; i < count; i++) {
        const enum category category = category_of(tensors[i]->name);

        r.n_v += category == ATTN_V;
        r.tied = r.tied && category != OUTPUT;
    }
    for (size_t i = 0; i < count && status == NB_OK; i++)
        status = choose(&r, tensors[i], matched, &choices[i], err);
    for (size_t i = 0; i < o->n_overrides && status == NB_OK; i++)
        if (!matched[i])
            status = nb_fail(err, NB_USAGE, "--tensor-type '%s' matches no tensor that is quantized",
                             o->overrides[i].pattern);
    free(matched);
    return status;
}
