/*
 * Architectures with Llama's structure and their own names: smollm3, arcee, granite, granitemoe,
 * mistral3, minicpm, internlm2, exaone, ernie4_5, seed_oss, hunyuan-dense, baichuan, apertus, phi3, bitnet. Source: llama.cpp v0.5.0,
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

static const struct nb_arch_tensor apertus[] = {
    LLAMA,
    O_BIAS,
    Q_K_NORMS("key_length", "key_length"),
    { BLOCK "attn_q_norm.bias", { "key_length" }, NB_OPTIONAL, NULL },
    { BLOCK "attn_k_norm.bias", { "key_length" }, NB_OPTIONAL, NULL },
    UP_AND_DOWN,
};

/* The projections are fused, gate and up too. */
static const struct nb_arch_tensor phi3[] = {
    EMBEDDINGS,
    ROPE_FACTORS,
    NORMS,
    { BLOCK "attn_qkv.weight", { "embedding", "(heads + 2 * kv_heads) * key_length" }, NB_REQUIRED, NULL },
    { BLOCK "attn_output.weight", { "embedding", "embedding" }, NB_REQUIRED, NULL },
    { BLOCK "ffn_up.weight", { "embedding", "2 * feed_forward" }, NB_REQUIRED, NULL },
    { BLOCK "ffn_down.weight", { "feed_forward", "embedding" }, NB_REQUIRED, NULL },
};

/* The output is the embedding. */
static const struct nb_arch_tensor bitnet[] = {
    { "token_embd.weight", { "embedding", "vocab" }, NB_REQUIRED, NULL },
    { "output_norm.weight", { "embedding" }, NB_REQUIRED, NULL },
    NORMS,
    ATTENTION,
    { BLOCK "attn_sub_norm.weight", { "embedding" }, NB_REQUIRED, NULL },
    GATED_MLP,
    { BLOCK "ffn_sub_norm.weight", { "feed_forward" }, NB_REQUIRED, NULL },
};

static const enum nb_hparam demanded[] = { DEMANDED };
static const enum nb_hparam demanded_of_xielu[] = { DEMANDED, NB_HP_XIELU_ALPHA_N, NB_HP_XIELU_ALPHA_P, NB_HP_XIELU_BETA,
                                                    NB_HP_XIELU_EPS };
static const enum nb_hparam demanded_with_scale[] = { DEMANDED, NB_HP_LOGIT_SCALE };
static const enum nb_hparam demanded_of_mixtures[] = { DEMANDED, NB_HP_LOGIT_SCALE, NB_HP_EXPERTS, NB_HP_EXPERTS_USED };

static const struct nb_arch_block blocks[] = { DENSE_BLOCKS };
static const struct nb_arch_block sparse_blocks[] = { SPARSE_BLOCKS };
static const struct nb_arch_block seed_blocks[] = {
    { .kind = "attention" },
    { .kind = "dense", .norm = "post_attention_norm" },
};
/* The larger of the two models has ALiBi instead of rotary positions. */
#define BAICHUAN_7B "layers != 40"
static const struct nb_arch_default defaults_of_baichuan[] = { { NB_HP_MAX_ALIBI_BIAS, "(layers == 40) * 8" } };
static const struct nb_arch_default shares_are_normalized[] = { { NB_HP_EXPERT_WEIGHTS_NORM, "1" } };

const struct nb_arch nb_arch_smollm3 = { ARCH("smollm3", plain, demanded), RUNS(blocks), .attention = { .rotates = "(layer + 1) % 4 != 0" }, .rope = NB_ROPE_NEIGHBOURS };
const struct nb_arch nb_arch_arcee = { ARCH("arcee", arcee, demanded), RUNS(blocks), .activation = NB_ACTIVATION_RELU_SQUARED, .rope = NB_ROPE_NEIGHBOURS };
const struct nb_arch nb_arch_granite = { ARCH("granite", dense, demanded_with_scale), RUNS(blocks), .divides_logits = true, .rope = NB_ROPE_NEIGHBOURS };
const struct nb_arch nb_arch_granitemoe = {
    ARCH("granitemoe", granitemoe, demanded_of_mixtures), RUNS(sparse_blocks), ASSUMES(shares_are_normalized),
    .divides_logits = true, .rope = NB_ROPE_NEIGHBOURS
};
const struct nb_arch nb_arch_mistral3 = { ARCH("mistral3", dense, demanded), RUNS(blocks), .rope = NB_ROPE_NEIGHBOURS };
const struct nb_arch nb_arch_minicpm = { ARCH("minicpm", dense, demanded), RUNS(blocks), .divides_logits = true, .rope = NB_ROPE_NEIGHBOURS };
const struct nb_arch nb_arch_internlm2 = { ARCH("internlm2", plain, demanded), RUNS(blocks), .rope = NB_ROPE_NEIGHBOURS };
const struct nb_arch nb_arch_exaone = { ARCH("exaone", plain, demanded), RUNS(blocks), .rope = NB_ROPE_HALVES };
const struct nb_arch nb_arch_ernie4_5 = { ARCH("ernie4_5", dense, demanded), RUNS(blocks), .rope = NB_ROPE_NEIGHBOURS };
const struct nb_arch nb_arch_seed_oss = { ARCH("seed_oss", seed_oss, demanded), RUNS(seed_blocks), .rope = NB_ROPE_HALVES };
const struct nb_arch nb_arch_hunyuan_dense = { ARCH("hunyuan-dense", hunyuan, demanded), RUNS(blocks), .attention = { .norms_after_rotation = true }, .rope = NB_ROPE_HALVES };
const struct nb_arch nb_arch_baichuan = { ARCH("baichuan", plain, demanded), RUNS(blocks), ASSUMES(defaults_of_baichuan),
    .attention = { .rotates = BAICHUAN_7B }, .rope = NB_ROPE_NEIGHBOURS };
const struct nb_arch nb_arch_apertus = { ARCH("apertus", apertus, demanded_of_xielu), RUNS(blocks), .activation = NB_ACTIVATION_XIELU, .rope = NB_ROPE_HALVES };
const struct nb_arch nb_arch_phi3 = { ARCH("phi3", phi3, demanded), RUNS(blocks), .attention = { .always_slides = true }, .rope = NB_ROPE_HALVES };
const struct nb_arch nb_arch_bitnet = { ARCH("bitnet", bitnet, demanded), RUNS(blocks), .rope = NB_ROPE_HALVES };
