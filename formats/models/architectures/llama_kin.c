/*
 * Architectures with Llama's structure and their own names: smollm3, arcee, granite, granitemoe,
 * mistral3, minicpm, internlm2, exaone, ernie4_5, seed_oss, hunyuan-dense. Source: llama.cpp v0.5.0,
 * src/models, one file each.
 */
#include "formats/models/architectures/rows.h"

#define LLAMA      \
    EMBEDDINGS,    \
    ROPE_FACTORS,  \
    NORMS,         \
    ATTENTION,     \
    QKV_BIASES(NB_OPTIONAL)

static const struct nb_arch_tensor dense[] = { LLAMA, O_BIAS, GATED_MLP, GATED_MLP_BIASES };
static const struct nb_arch_tensor plain[] = { LLAMA, GATED_MLP };
static const struct nb_arch_tensor arcee[] = { LLAMA, UP_AND_DOWN };

static const struct nb_arch_tensor granitemoe[] = {
    LLAMA,
    O_BIAS,
    EXPERTS("feed_forward"),
    SHARED_EXPERT("shared_feed_forward > 0"),
};

/* The norm before the feed-forward part has another name. */
static const struct nb_arch_tensor seed_oss[] = {
    EMBEDDINGS,
    { BLOCK "attn_norm.weight", { "embedding" }, NB_REQUIRED, NULL },
    { BLOCK "post_attention_norm.weight", { "embedding" }, NB_REQUIRED, NULL },
    ATTENTION,
    QKV_BIASES(NB_OPTIONAL),
    GATED_MLP,
};

static const struct nb_arch_tensor hunyuan[] = {
    LLAMA,
    Q_K_NORMS("key_length", "key_length"),
    GATED_MLP,
};

static const enum nb_hparam demanded[] = { DEMANDED };
static const enum nb_hparam demanded_with_scale[] = { DEMANDED, NB_HP_LOGIT_SCALE };
static const enum nb_hparam demanded_of_mixtures[] = { DEMANDED, NB_HP_LOGIT_SCALE, NB_HP_EXPERTS, NB_HP_EXPERTS_USED };

const struct nb_arch nb_arch_smollm3 = { ARCH("smollm3", plain, demanded), .rope = NB_ROPE_NEIGHBOURS };
const struct nb_arch nb_arch_arcee = { ARCH("arcee", arcee, demanded), .rope = NB_ROPE_NEIGHBOURS };
const struct nb_arch nb_arch_granite = { ARCH("granite", dense, demanded_with_scale), .rope = NB_ROPE_NEIGHBOURS };
const struct nb_arch nb_arch_granitemoe = {
    ARCH("granitemoe", granitemoe, demanded_of_mixtures), .rope = NB_ROPE_NEIGHBOURS
};
const struct nb_arch nb_arch_mistral3 = { ARCH("mistral3", dense, demanded), .rope = NB_ROPE_NEIGHBOURS };
const struct nb_arch nb_arch_minicpm = { ARCH("minicpm", dense, demanded), .rope = NB_ROPE_NEIGHBOURS };
const struct nb_arch nb_arch_internlm2 = { ARCH("internlm2", plain, demanded), .rope = NB_ROPE_NEIGHBOURS };
const struct nb_arch nb_arch_exaone = { ARCH("exaone", plain, demanded), .rope = NB_ROPE_HALVES };
const struct nb_arch nb_arch_ernie4_5 = { ARCH("ernie4_5", dense, demanded), .rope = NB_ROPE_NEIGHBOURS };
const struct nb_arch nb_arch_seed_oss = { ARCH("seed_oss", seed_oss, demanded), .rope = NB_ROPE_HALVES };
const struct nb_arch nb_arch_hunyuan_dense = { ARCH("hunyuan-dense", hunyuan, demanded), .rope = NB_ROPE_HALVES };
