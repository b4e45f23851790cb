"""Checkpoints of classes of which there is no golden: what is not said is as in the class's configuration."""


def like(class_name, model_type, tokenizer, pre, **config):
    small = dict(vocab_size=2064 if tokenizer.startswith("bpe") else 512, hidden_size=64, intermediate_size=96,
                 num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512)
    nested = config.pop("nested", None)
    small.update(config)
    whole = dict(architectures=[class_name], model_type=model_type)
    whole.update({"text_config": dict(small, model_type=nested)} if nested else small)
    return dict(tokenizer=tokenizer, pre=pre, config=whole)


QWEN_VISION = dict(depth=1, hidden_size=32, intermediate_size=32, num_heads=2, out_hidden_size=64)
SECTIONS = dict(rope_scaling={"type": "mrope", "rope_type": "default", "mrope_section": [2, 3, 3]})

OTHERS = {
    "arcee": like("ArceeForCausalLM", "arcee", "bpe-llama-bpe", "llama-bpe", hidden_act="relu2", head_dim=16, rope_theta=10000.0,
                  rms_norm_eps=1e-5, attention_bias=False, mlp_bias=False, tie_word_embeddings=False, rope_scaling=None),
    "ernie4_5": like("Ernie4_5ForCausalLM", "ernie4_5", "spm-llama", None, head_dim=16, use_bias=False, rope_theta=500000.0,
                     rms_norm_eps=1e-5, tie_word_embeddings=True),
    "ernie4_5_moe": like("Ernie4_5_MoeForCausalLM", "ernie4_5_moe", "spm-llama", None, moe_num_experts=4, moe_k=2,
                         moe_intermediate_size=32, moe_num_shared_experts=1, moe_layer_start_index=1, moe_layer_end_index=-1,
                         moe_layer_interval=1, use_bias=False, rope_theta=500000.0, rms_norm_eps=1e-5,
                         tie_word_embeddings=True),
    "falcon": like("FalconForCausalLM", "falcon", "bpe-other", "falcon", num_kv_heads=2, new_decoder_architecture=True,
                   bias=False, alibi=False, parallel_attn=True, multi_query=True, layer_norm_epsilon=1e-5),
    "glm": like("GlmForCausalLM", "glm", "bpe-glm", "glm4", head_dim=16, partial_rotary_factor=0.5, rope_theta=10000.0,
                rms_norm_eps=1e-5, attention_bias=True, tie_word_embeddings=False, pad_token_id=2050),
    "granitemoeshared": like("GraniteMoeSharedForCausalLM", "granitemoeshared", "bpe-other", "refact", num_local_experts=4,
                             num_experts_per_tok=2, shared_intermediate_size=64, attention_multiplier=0.0625,
                             embedding_multiplier=12.0, residual_multiplier=0.22, logits_scaling=6.0, rope_theta=10000.0,
                             rms_norm_eps=1e-6, tie_word_embeddings=True),
    "mamba2": like("Mamba2ForCausalLM", "mamba2", "bpe-other", "olmo", state_size=16, num_heads=8, head_dim=16, expand=2,
                   n_groups=1, conv_kernel=4, chunk_size=16, layer_norm_epsilon=1e-5, tie_word_embeddings=False),
    "olmo3": like("Olmo3ForCausalLM", "olmo3", "bpe-other", "dbrx", rope_theta=500000.0, rms_norm_eps=1e-6, sliding_window=24,
                  attention_bias=False, tie_word_embeddings=False),
    "qwen2vl": like("Qwen2VLForConditionalGeneration", "qwen2_vl", "bpe-qwen2", "qwen2", rope_theta=1000000.0, rms_norm_eps=1e-6,
                    vision_config=dict(depth=1, embed_dim=32, num_heads=2, hidden_size=64), **SECTIONS),
    "qwen25vl": like("Qwen2_5_VLForConditionalGeneration", "qwen2_5_vl", "bpe-qwen2", "qwen2", rope_theta=1000000.0,
                     rms_norm_eps=1e-6, vision_config=QWEN_VISION, **SECTIONS),
    "qwen3vlmoe": like("Qwen3VLMoeForConditionalGeneration", "qwen3_vl_moe", "bpe-qwen2", "qwen2", nested="qwen3_vl_moe_text",
                       head_dim=16, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32, decoder_sparse_step=1,
                       rope_theta=1000000.0, rms_norm_eps=1e-6, **SECTIONS),
    "seed_oss": like("SeedOssForCausalLM", "seed_oss", "bpe-other", "seed-coder", head_dim=16, rope_theta=10000000.0,
                     rms_norm_eps=1e-6, attention_bias=True, attention_out_bias=False, mlp_bias=False,
                     tie_word_embeddings=False),
}
for other in OTHERS.values():
    if "text_config" in other["config"]:
        other["config"]["vision_config"] = dict(QWEN_VISION, deepstack_visual_indexes=[0], num_position_embeddings=16)
